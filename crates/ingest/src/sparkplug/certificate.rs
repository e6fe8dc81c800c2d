//! Birth certificates that are kept: what is known of a node, or a device behind one, that has not
//! been born since the platform started.

use veritwin_domain::{IngestLimits, RelayMessage, Screening};

use super::metric::{Context, Metrics};
use super::node::bd_seq_of;
use super::payload;
use super::topic::{CERTIFICATES, Kind, Topic};
use super::view::SparkplugView;
use crate::payload::KeyTable;

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
