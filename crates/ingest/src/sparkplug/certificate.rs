//! Birth certificates that are kept: what is known of a node, or a device behind one, that has not
//! been born since the platform started.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use veritwin_domain::{DeviceId, IngestLimits, RelayMessage, Screening, TenantId};

use super::metric::{Context, Metrics};
use super::node::bd_seq_of;
use super::payload;
use super::topic::{CERTIFICATES, Kind, Topic};
use super::view::SparkplugView;
use crate::payload::KeyTable;

/// Most devices of a tenant whose certificates are known; over it they are looked through again.
const CERTIFIED_MAX: usize = 16_384;

/// Where devices have their certificates, so that they are looked through once and not whenever
/// somebody asks.
#[derive(Debug, Default)]
pub(crate) struct Certificates(Mutex<HashMap<TenantId, Certified>>);

#[derive(Debug, Default)]
struct Certified {
    topics: HashMap<DeviceId, Arc<str>>,
    /// They were looked through.
    is_whole: bool,
}

impl Certificates {
    /// The topic of a device's certificate, or that it has none; nothing when they have to be
    /// looked through first.
    pub(crate) fn of(&self, tenant: TenantId, device: DeviceId) -> Option<Option<Arc<str>>> {
        let all = self.0.lock();
        let certified = all.get(&tenant).filter(|certified| certified.is_whole)?;
        Some(certified.topics.get(&device).map(Arc::clone))
    }

    /// A device has a new certificate.
    pub(crate) fn note(&self, message: &RelayMessage) {
        let mut all = self.0.lock();
        let certified = all.entry(message.tenant).or_default();
        if certified.topics.len() >= CERTIFIED_MAX {
            *certified = Certified::default();
        }
        certified.topics.insert(message.device, Arc::clone(&message.topic));
    }

    /// The tenant's were looked through: these are all that there are, but for those of this
    /// moment.
    pub(crate) fn note_all(&self, tenant: TenantId, found: HashMap<DeviceId, Arc<str>>) {
        let mut all = self.0.lock();
        let certified = all.entry(tenant).or_default();
        for (device, topic) in found {
            certified.topics.entry(device).or_insert(topic);
        }
        certified.is_whole = certified.topics.len() <= CERTIFIED_MAX;
    }
}

/// What a certificate says. It was held to the rules when it came.
pub(crate) fn of_certificate(
    message: &RelayMessage,
    limits: &IngestLimits,
) -> Option<SparkplugView> {
    let topic = Topic::parse(message.topic.strip_prefix(CERTIFICATES)?);
    let Ok(Topic::Node { group, node, kind: Kind::Birth, device }) = topic else { return None };
    let birth = payload::read(&message.payload, Screening::NONE).ok()?;
    let mut keys = KeyTable::new(Screening::NONE);
    let mut context = Context { keys: &mut keys, limits, untimed: message.received_at };
    let (metrics, _) = Metrics::of_birth(&birth, &mut context).ok()?;
    Some(SparkplugView {
        group: group.to_owned(),
        node: node.to_owned(),
        device: device.map(str::to_owned),
        is_online: false,
        bd_seq: bd_seq_of(&birth),
        seq: None,
        born_at: Some(message.received_at),
        births: 0,
        deaths: 0,
        gaps: 0,
        rebirths: 0,
        last_error: None,
        devices: (0, 0),
        metrics: metrics.view(true),
    })
}

#[cfg(test)]
mod tests {
    use veritwin_domain::Timestamp;

    use super::super::host::said;
    use super::*;

    #[test]
    fn certificates_are_looked_through_once_and_are_their_tenants_own() {
        let (mine, theirs) = (TenantId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]));
        let [old, new, none] = [3, 4, 5].map(|number| DeviceId::from_bytes([number; 16]));
        let all = Certificates::default();
        let note = |tenant, device, topic: &str| {
            all.note(&said((tenant, device), topic.to_owned(), Vec::new(), Timestamp::EPOCH));
        };
        assert_eq!(all.of(mine, old), None, "to be looked through");
        note(mine, new, "born meanwhile");
        assert_eq!(all.of(mine, new), None, "not whole");
        all.note_all(mine, HashMap::from([(old, "old".into()), (new, "before".into())]));
        let topic =
            |device| all.of(mine, device).expect("looked through").map(|one| one.to_string());
        assert_eq!(topic(new).as_deref(), Some("born meanwhile"));
        assert_eq!(topic(none), None);
        note(mine, old, "born again");
        assert_eq!(topic(old).as_deref(), Some("born again"));
        assert_eq!(all.of(theirs, old), None);
        // Nobody's memory grows without end.
        for number in 0..CERTIFIED_MAX as u128 {
            note(mine, DeviceId::from_bytes((number + 9).to_be_bytes()), "another");
        }
        assert_eq!(all.of(mine, old), None, "to be looked through again");
    }
}
