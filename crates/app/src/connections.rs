//! The last connections of each device since the platform started: how it came, with what, from
//! where, and why it went. Bounded and in memory; where devices come from is told to those who may
//! read access records, for as long as those are kept.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use parking_lot::Mutex;
use veritwin_access::{Action, Kind};
use veritwin_domain::{DeviceId, OpContext, TenantId, Timestamp};

use crate::model::ConnectionView;
use crate::{App, Result};

/// Most connections that are remembered of one device.
const CONNECTIONS_PER_DEVICE_MAX: usize = 50;
/// Most devices whose connections are remembered; the one that came longest ago makes room.
const DEVICES_MAX: usize = 5_000;
/// How long one that has ended is remembered: as long as records of access.
const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

type Owned = (TenantId, DeviceId);

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionEnd {
    /// Who ended it.
    pub by: &'static str,
    /// The reason code of MQTT 5, where the platform ended it.
    pub code: Option<u8>,
    /// Why.
    pub reason: String,
}

/// A connection under its number, which is unique in this process.
type Numbered = (u64, ConnectionView);

/// The last connections by device, the newest first.
#[derive(Default)]
pub(crate) struct Connections(Mutex<Known>);

#[derive(Default)]
struct Known {
    by_device: HashMap<Owned, VecDeque<Numbered>>,
    /// Devices in the order in which they were first remembered; may name one that is gone.
    order: VecDeque<Owned>,
}

impl Connections {
    fn opened(&self, owned: Owned, number: u64, view: ConnectionView) {
        let mut known = self.0.lock();
        let oldest_kept = view.connected_at.saturating_sub(KEPT);
        if !known.by_device.contains_key(&owned) {
            while known.by_device.len() >= DEVICES_MAX {
                let Some(oldest) = known.order.pop_front() else { break };
                known.by_device.remove(&oldest);
            }
            known.order.push_back(owned);
        }
        let list = known.by_device.entry(owned).or_default();
        list.retain(|(_, one)| one.ended_at.is_none_or(|end| end >= oldest_kept));
        list.truncate(CONNECTIONS_PER_DEVICE_MAX - 1);
        list.push_front((number, view));
    }

    fn ended(&self, owned: Owned, number: u64, (at, end): (Timestamp, Option<ConnectionEnd>)) {
        let mut known = self.0.lock();
        let list = known.by_device.get_mut(&owned);
        let Some((_, view)) = list.and_then(|list| list.iter_mut().find(|one| one.0 == number))
        else {
            return;
        };
        view.ended_at = Some(at);
        if let Some(ConnectionEnd { by, code, reason }) = end {
            (view.ended_by, view.code, view.reason) = (Some(by), code, Some(reason));
        }
    }

    fn of(&self, owned: Owned, now: Timestamp) -> Vec<ConnectionView> {
        let oldest_kept = now.saturating_sub(KEPT);
        let known = self.0.lock();
        let list = known.by_device.get(&owned).into_iter().flatten();
        let is_kept = |one: &&Numbered| one.1.ended_at.is_none_or(|end| end >= oldest_kept);
        list.filter(is_kept).map(|(_, view)| view.clone()).collect()
    }

    pub(crate) fn forget(&self, owned: Owned) {
        let mut known = self.0.lock();
        if known.by_device.remove(&owned).is_some() {
            known.order.retain(|one| *one != owned);
        }
    }
}

impl App {
    /// A connection of a device began.
    pub fn connection_opened(
        &self,
        device: (TenantId, DeviceId),
        number: u64,
        view: ConnectionView,
    ) {
        self.0.connections.opened(device, number, view);
    }

    /// It ended, and how, if that is known.
    pub fn connection_ended(
        &self,
        device: (TenantId, DeviceId),
        number: u64,
        end: Option<ConnectionEnd>,
    ) {
        self.0.connections.ended(device, number, (self.clock().now(), end));
    }

    /// The last connections of a device since the platform started, the newest first. Where it came
    /// from is told to those who may read the activity record.
    #[boxed]
    pub async fn device_connections(
        &self,
        context: &OpContext,
        id: DeviceId,
    ) -> Result<Vec<ConnectionView>> {
        let resource = self.authorize_device(context, Action::DeviceRead, id).await?;
        self.0.store.read(context).await?.device(id).await?;
        let records = self.0.authorizer.reach(context, Action::ActivityRead, Kind::Activity);
        let sees_addresses = records.is_ok_and(|reach| reach.is_whole());
        self.note(context, Action::DeviceRead, &resource, "done");
        let mut connections = self.0.connections.of((context.tenant, id), context.at);
        if !sees_addresses {
            connections.iter_mut().for_each(|one| one.address = None);
        }
        Ok(connections)
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::CredentialId;

    use super::*;

    fn view(seconds: i64) -> ConnectionView {
        ConnectionView {
            connected_at: Timestamp::from_micros(seconds * 1_000_000),
            ended_at: None,
            protocol: "mqtt5",
            is_relayed: false,
            credential: CredentialId::from_bytes([3; 16]),
            address: None,
            keep_alive_seconds: Some(60),
            ended_by: None,
            code: None,
            reason: None,
        }
    }

    fn device(number: usize) -> Owned {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&u64::try_from(number).expect("small").to_be_bytes());
        (TenantId::from_bytes([1; 16]), DeviceId::from_bytes(bytes))
    }

    #[test]
    fn the_last_ones_are_remembered_with_their_end() {
        let (known, at) = (Connections::default(), Timestamp::from_micros);
        for number in 0..60 {
            known.opened(device(0), number, view(1));
        }
        let listed = known.of(device(0), at(0));
        assert_eq!(listed.len(), CONNECTIONS_PER_DEVICE_MAX);
        let end = ConnectionEnd { by: "network", code: None, reason: "lost".to_owned() };
        known.ended(device(0), 59, (at(7), Some(end.clone())));
        known.ended(device(0), 0, (at(7), Some(end)));
        let newest = &known.of(device(0), at(0))[0];
        assert_eq!((newest.ended_at, newest.ended_by), (Some(at(7)), Some("network")));
        let later = at(8 + i64::try_from(KEPT.as_micros()).expect("90 days"));
        assert_eq!(known.of(device(0), later).len(), listed.len() - 1, "its time is over");
        assert!(known.of((TenantId::from_bytes([2; 16]), device(0).1), at(0)).is_empty());
        known.forget(device(0));
        assert!(known.of(device(0), at(0)).is_empty());
    }

    #[test]
    fn a_storm_of_devices_is_bounded() {
        let known = Connections::default();
        for number in 0..=DEVICES_MAX {
            known.opened(device(number), 1, view(1));
            known.opened(device(number), 2, view(2));
        }
        let held = known.0.lock();
        assert_eq!((held.by_device.len(), held.order.len()), (DEVICES_MAX, DEVICES_MAX));
        assert!(!held.by_device.contains_key(&device(0)), "the first one made room");
    }
}
