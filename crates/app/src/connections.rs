//! The last connections of each device: how it came, with what, from where, and why it went. They
//! wait in memory, one for each connection however often it changes, and are written in batches:
//! a storm of connections is merged, bounded, and never waited for. Where devices come from is told
//! to those who may read access records.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use async_recursion::async_recursion as boxed;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use veritwin_access::{Action, Kind, jobs};
use veritwin_domain::{ConnectionId, CredentialId, DeviceId, OpContext, TenantId, Timestamp};
use veritwin_metastore::StoredConnection;

use crate::error::found;
use crate::model::ConnectionView;
use crate::{App, Error, Result};

/// Most connections that are kept of one device.
const CONNECTIONS_PER_DEVICE_MAX: u64 = 200;
/// Most connections that go on and are followed to their end; more leave a count in the metrics.
const OPEN_MAX: usize = 50_000;
/// So many wait to be written while new ones are followed; more leave a count in the metrics. The
/// ends of those that are followed find room all the same.
const UNWRITTEN_MAX: usize = 20_000;
/// Connections that are written in one round: few, since others wait for it that write.
const WRITTEN_AT_ONCE: usize = 250;
/// Most rounds at a time.
const ROUNDS_MAX: usize = 32;

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

/// What of a connection is sealed.
#[derive(Serialize, Deserialize)]
struct Body {
    protocol: String,
    is_relayed: bool,
    credential: CredentialId,
    address: Option<IpAddr>,
    keep_alive_seconds: Option<u16>,
    ended_by: Option<String>,
    code: Option<u8>,
    reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    id: ConnectionId,
    device: Owned,
    view: ConnectionView,
}

impl Held {
    fn stored(&self) -> Result<StoredConnection> {
        let view = self.view.clone();
        let body = Body {
            protocol: view.protocol,
            is_relayed: view.is_relayed,
            credential: view.credential,
            address: view.address,
            keep_alive_seconds: view.keep_alive_seconds,
            ended_by: view.ended_by,
            code: view.code,
            reason: view.reason,
        };
        let damaged = |error: serde_json::Error| Error::Internal(error.to_string());
        Ok(StoredConnection {
            id: self.id,
            device: self.device.1,
            connected_at: view.connected_at,
            ended_at: view.ended_at,
            body: serde_json::to_vec(&body).map_err(damaged)?,
        })
    }
}

fn view_of(stored: &StoredConnection) -> Result<ConnectionView> {
    let damaged = |_| Error::Internal("a connection's record is damaged".to_owned());
    let body: Body = serde_json::from_slice(&stored.body).map_err(damaged)?;
    Ok(ConnectionView {
        connected_at: stored.connected_at,
        ended_at: stored.ended_at,
        protocol: body.protocol,
        is_relayed: body.is_relayed,
        credential: body.credential,
        address: body.address,
        keep_alive_seconds: body.keep_alive_seconds,
        ended_by: body.ended_by,
        code: body.code,
        reason: body.reason,
    })
}

/// What is known of connections and is not written yet, and the turn to write it: what is newer of
/// one is never overwritten by what is older.
#[derive(Default)]
pub(crate) struct Connections(Mutex<Known>, tokio::sync::Mutex<()>);

#[derive(Default)]
struct Known {
    /// Those that go on, by their number in this process.
    open: HashMap<u64, Held>,
    /// How many of each tenant do.
    open_of: HashMap<TenantId, usize>,
    /// Those whose row is not as it should be. None is empty.
    unwritten: HashMap<TenantId, BTreeMap<ConnectionId, Held>>,
    unwritten_count: usize,
    /// Those that are being written.
    writing: Vec<Held>,
    /// Those of before this process were given an end.
    has_closed: bool,
}

impl Known {
    /// Whether one more of a tenant's is followed: it takes no more than it leaves free to others.
    fn has_room(&self, tenant: TenantId) -> bool {
        let open = self.open_of.get(&tenant).copied().unwrap_or_default();
        let waiting = self.unwritten.get(&tenant).map_or(0, BTreeMap::len);
        open < OPEN_MAX.saturating_sub(self.open.len())
            && waiting < UNWRITTEN_MAX.saturating_sub(self.unwritten_count)
    }

    fn queue(&mut self, held: Held) {
        let own = self.unwritten.entry(held.device.0).or_default();
        if own.insert(held.id, held).is_none() {
            self.unwritten_count += 1;
        }
    }

    fn is_unwritten(&self, held: &Held) -> bool {
        self.unwritten.get(&held.device.0).is_some_and(|own| own.contains_key(&held.id))
    }
}

impl Connections {
    fn opened(&self, number: u64, held: Held) {
        let (mut known, tenant) = (self.0.lock(), held.device.0);
        // One whose end could not be told would seem to go on for ever.
        if !known.has_room(tenant) {
            metrics::counter!("veritwin_device_connections_unrecorded_total").increment(1);
            return;
        }
        if known.open.insert(number, held.clone()).is_none() {
            *known.open_of.entry(tenant).or_default() += 1;
        }
        known.queue(held);
    }

    fn ended(&self, number: u64, at: Timestamp, end: Option<ConnectionEnd>) {
        let mut known = self.0.lock();
        let Some(mut held) = known.open.remove(&number) else { return };
        if let Some(count) = known.open_of.get_mut(&held.device.0) {
            *count -= 1;
            if *count == 0 {
                known.open_of.remove(&held.device.0);
            }
        }
        held.view.ended_at = Some(at);
        if let Some(ConnectionEnd { by, code, reason }) = end {
            held.view.ended_by = Some(by.to_owned());
            held.view.code = code;
            held.view.reason = Some(reason);
        }
        known.queue(held);
    }

    /// Takes some that are to be written: of each tenant its share, the oldest first.
    fn take(&self) -> Vec<Held> {
        let mut guard = self.0.lock();
        let known = &mut *guard;
        let mut taken: Vec<Held> = Vec::new();
        while taken.len() < WRITTEN_AT_ONCE && !known.unwritten.is_empty() {
            let share = ((WRITTEN_AT_ONCE - taken.len()) / known.unwritten.len()).max(1);
            for own in known.unwritten.values_mut() {
                let room = share.min(WRITTEN_AT_ONCE - taken.len());
                let oldest = std::iter::from_fn(|| own.pop_first());
                taken.extend(oldest.take(room).map(|(_, held)| held));
            }
            known.unwritten.retain(|_, own| !own.is_empty());
        }
        known.unwritten_count -= taken.len();
        known.writing.clone_from(&taken);
        taken
    }

    /// Those that were taken are written, or wait again.
    fn written(&self) {
        self.0.lock().writing.clear();
    }

    /// Those that could not be written wait again, unless something newer of them does.
    fn put_back(&self, all: Vec<Held>) {
        let mut known = self.0.lock();
        for held in all {
            if !known.is_unwritten(&held) {
                known.queue(held);
            }
        }
    }

    /// Those of a device that are not written yet; what is newer comes later.
    fn of(&self, device: Owned) -> Vec<Held> {
        let known = self.0.lock();
        let unwritten = known.unwritten.get(&device.0).into_iter().flat_map(BTreeMap::values);
        let all = known.writing.iter().chain(unwritten);
        all.filter(|held| held.device == device).cloned().collect()
    }

    pub(crate) fn forget(&self, device: Owned) {
        let mut guard = self.0.lock();
        let known = &mut *guard;
        if let Some(own) = known.unwritten.get_mut(&device.0) {
            let before = own.len();
            own.retain(|_, held| held.device != device);
            known.unwritten_count -= before - own.len();
            if own.is_empty() {
                known.unwritten.remove(&device.0);
            }
        }
    }
}

impl App {
    /// A connection of a device began. Never waits.
    pub fn connection_opened(
        &self,
        device: (TenantId, DeviceId),
        number: u64,
        view: ConnectionView,
    ) {
        let id = ConnectionId::generate(view.connected_at, self.rng());
        self.0.connections.opened(number, Held { id, device, view });
    }

    /// It ended, and how, if that is known. Never waits.
    pub fn connection_ended(&self, number: u64, end: Option<ConnectionEnd>) {
        self.0.connections.ended(number, self.clock().now(), end);
    }

    /// Writes what waits, in rounds. What fails for one tenant leaves the others alone.
    pub(crate) async fn flush_connections(&self) {
        let _turn = self.0.connections.1.lock().await;
        if let Err(error) = self.close_connections().await {
            tracing::debug!(%error, "connections of before were not ended; trying again");
            return;
        }
        for _ in 0..ROUNDS_MAX {
            let taken = self.0.connections.take();
            let is_last = taken.len() < WRITTEN_AT_ONCE;
            self.flush_taken(taken).await;
            if is_last {
                break;
            }
        }
    }

    async fn flush_taken(&self, taken: Vec<Held>) {
        let mut by_tenant: HashMap<TenantId, Vec<Held>> = HashMap::new();
        for held in taken {
            by_tenant.entry(held.device.0).or_default().push(held);
        }
        for (tenant, all) in by_tenant {
            let Err(error) = self.write_connections(tenant, &all).await else { continue };
            tracing::debug!(%tenant, %error, "connections were not written");
            // Of a tenant that is gone, or whose key is, nothing can be written any more.
            let is_gone = matches!(
                error,
                Error::NotFound(_)
                    | Error::Forbidden(_)
                    | Error::KeyRevoked
                    | Error::KeyDestroyed(_)
            );
            if !is_gone {
                self.0.connections.put_back(all);
            }
        }
        self.0.connections.written();
    }

    /// Gives an end to the connections of before this process; once.
    async fn close_connections(&self) -> Result<()> {
        if self.0.connections.0.lock().has_closed {
            return Ok(());
        }
        let tx = self.0.store.begin_platform(&self.job(jobs::INGEST)).await?;
        tx.connections_close(self.0.started_at).await?;
        tx.commit().await?;
        self.0.connections.0.lock().has_closed = true;
        Ok(())
    }

    async fn write_connections(&self, tenant: TenantId, all: &[Held]) -> Result<()> {
        let tx = self.0.store.begin(&self.job_in(jobs::INGEST, tenant)).await?;
        let devices: BTreeSet<DeviceId> = all.iter().map(|held| held.device.1).collect();
        for device in devices {
            // It may have been deleted in the meantime.
            if found(tx.device(device).await)?.is_none() {
                continue;
            }
            for held in all.iter().filter(|held| held.device.1 == device) {
                tx.connection_put(&held.stored()?).await?;
            }
            tx.connections_trim(device, CONNECTIONS_PER_DEVICE_MAX).await?;
        }
        Ok(tx.commit().await?)
    }

    /// The last connections of a device, the newest first. Where it came from is told to those who
    /// may read the activity record.
    #[boxed]
    pub async fn device_connections(
        &self,
        context: &OpContext,
        id: DeviceId,
    ) -> Result<Vec<ConnectionView>> {
        let resource = self.authorize_device(context, Action::DeviceRead, id).await?;
        // Before the records: what is written meanwhile is then in one of the two at least.
        let unwritten = self.0.connections.of((context.tenant, id));
        let mut all: BTreeMap<ConnectionId, ConnectionView> =
            unwritten.into_iter().map(|held| (held.id, held.view)).collect();
        let tx = self.0.store.read(context).await?;
        tx.device(id).await?;
        for one in &tx.connections(id, CONNECTIONS_PER_DEVICE_MAX).await? {
            if one.ended_at.is_some() || !all.contains_key(&one.id) {
                let mut view = view_of(one)?;
                // It went with the process before this one, though that may not be written yet.
                if view.ended_at.is_none() && view.connected_at <= self.0.started_at {
                    view.ended_at = Some(self.0.started_at);
                }
                all.insert(one.id, view);
            }
        }
        drop(tx);
        let records = self.0.authorizer.reach(context, Action::ActivityRead, Kind::Activity);
        let sees_addresses = records.is_ok_and(|reach| reach.is_whole());
        self.note(context, Action::DeviceRead, &resource, "done");
        let shown = |mut view: ConnectionView| {
            view.address = view.address.filter(|_| sees_addresses);
            view
        };
        let max = usize::try_from(CONNECTIONS_PER_DEVICE_MAX).unwrap_or(usize::MAX);
        Ok(all.into_values().rev().take(max).map(shown).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(device: u8, number: u64) -> Held {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let view = ConnectionView {
            connected_at: Timestamp::EPOCH,
            ended_at: None,
            protocol: "mqtt5".to_owned(),
            is_relayed: false,
            credential: CredentialId::from_bytes([3; 16]),
            address: Some(IpAddr::from([10, 0, 0, 7])),
            keep_alive_seconds: Some(60),
            ended_by: None,
            code: None,
            reason: None,
        };
        let device = (TenantId::from_bytes([1; 16]), DeviceId::from_bytes([device; 16]));
        Held { id: ConnectionId::from_bytes(id), device, view }
    }

    #[test]
    fn what_is_stored_is_read_as_it_was() {
        let held = held(1, 1);
        let stored = held.stored().expect("stored");
        assert_eq!(view_of(&stored).expect("read"), held.view);
    }

    #[test]
    fn a_connection_that_comes_and_goes_is_written_once() {
        let (known, at) = (Connections::default(), Timestamp::from_micros(7));
        known.opened(1, held(1, 1));
        known.opened(2, held(2, 2));
        let end = ConnectionEnd { by: "network", code: None, reason: "lost".to_owned() };
        known.ended(1, at, Some(end));
        known.ended(9, at, None);
        let of_one = known.of(held(1, 1).device);
        assert_eq!(of_one.len(), 1);
        assert_eq!((of_one[0].view.ended_at, of_one[0].id), (Some(at), held(1, 1).id));
        let taken = known.take();
        assert_eq!((taken.len(), known.of(held(1, 1).device).len()), (2, 1));
        known.written();
        assert!(known.of(held(1, 1).device).is_empty());
        // The end that came meanwhile stands.
        known.ended(2, at, None);
        known.put_back(taken);
        let again = known.take();
        assert!(again.len() == 2 && again.iter().all(|held| held.view.ended_at.is_some()));
        known.opened(3, held(3, 3));
        known.forget(held(3, 3).device);
        assert!(known.take().is_empty());
    }

    #[test]
    fn a_storm_is_bounded() {
        let (known, at) = (Connections::default(), Timestamp::from_micros(7));
        for number in 0..30_000 {
            known.opened(number, held(1, number));
        }
        assert_eq!(known.0.lock().unwritten_count, UNWRITTEN_MAX / 2, "the rest is others'");
        // Another tenant's is taken, and written beside them.
        let mut other = held(1, 30_000);
        other.device.0 = TenantId::from_bytes([2; 16]);
        known.opened(30_000, other.clone());
        let taken = known.take();
        assert!(taken.len() == WRITTEN_AT_ONCE && taken.contains(&other), "{}", taken.len());
        // What is followed has its end, and what is not leaves no beginning without one.
        for number in 0..=30_000 {
            known.ended(number, at, None);
        }
        let known = known.0.into_inner();
        let all: Vec<&Held> = known.unwritten.values().flat_map(BTreeMap::values).collect();
        assert_eq!((all.len(), known.unwritten_count), (UNWRITTEN_MAX / 2 + 1, all.len()));
        assert!(all.iter().all(|held| held.view.ended_at.is_some()));
        assert!(known.open.is_empty() && known.open_of.is_empty());
    }
}
