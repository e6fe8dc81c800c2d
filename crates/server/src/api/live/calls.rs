//! Kept calls on their way: who listens is sent what waits, one at a time, and what was delivered
//! is written down. Connections only leave a note here; one task works it off.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::Notify;
use veritwin_app::{App, CALL_NUMBER_MIN, Error};
use veritwin_domain::{CredentialId, DeviceId, IngestLimits, TenantId, Timestamp};
use veritwin_ingest::{DeviceSession, Downlink, RpcRequest};

use super::caps::Caps;
use super::devices::{LiveState, Owned};
use super::later::Later;

/// Devices that are looked after at once.
const AT_ONCE: usize = 16;
/// Devices of a tenant that are looked after before it is the next one's turn.
const TURN: usize = 32;
/// Most devices that a note is kept of. Beyond it one waits until it listens anew.
const NOTES_MAX: usize = 200_000;
/// Most calls of a device that are noted as delivered: more are not open.
const DEVICE_CALLS_MAX: usize = 128;
/// How often it is looked which calls on their way are past their time.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// When what could not be done is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// What is known of one device.
#[derive(Debug, Default)]
pub(super) struct Note {
    /// What was on its way was lost with its connection.
    pub(super) again: bool,
    /// Calls that it has, and the credential that it has them by.
    pub(super) delivered: BTreeMap<u32, CredentialId>,
}

impl Note {
    /// Both. There are no more calls of a device than can be open.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.again |= other.again;
        self.delivered.extend(other.delivered);
        while self.delivered.len() > DEVICE_CALLS_MAX {
            self.delivered.pop_first();
        }
        self
    }
}

#[derive(Debug, Default)]
struct Notes {
    by_tenant: HashMap<TenantId, HashMap<DeviceId, Note>>,
    count: usize,
    later: Later,
}

impl Notes {
    fn of(&mut self, (tenant, device): Owned) -> Option<&mut Note> {
        let own = self.by_tenant.entry(tenant).or_default();
        if !own.contains_key(&device) {
            // A tenant takes no more than it leaves free.
            if own.len() >= NOTES_MAX.saturating_sub(self.count) {
                return None;
            }
            self.count += 1;
        }
        Some(own.entry(device).or_default())
    }

    /// Notes some devices of each tenant: nobody waits for all of another's.
    fn take(&mut self) -> Vec<(Owned, Note)> {
        let mut taken = Vec::new();
        for (tenant, own) in &mut self.by_tenant {
            let some: Vec<DeviceId> = own.keys().take(TURN).copied().collect();
            for device in some {
                taken.extend(own.remove(&device).map(|note| ((*tenant, device), note)));
            }
        }
        self.by_tenant.retain(|_, own| !own.is_empty());
        self.count -= taken.len();
        taken
    }

    /// What is to be done next: what is due waits for nobody who always has something.
    fn next(&mut self, now: Timestamp) -> Vec<(Owned, Note)> {
        self.wake_due(now);
        self.take()
    }

    /// What is due is to be done now.
    fn wake_due(&mut self, now: Timestamp) {
        for (device, note) in self.later.take_due(now) {
            match self.of(device) {
                Some(known) => *known = std::mem::take(known).and(note),
                None => {
                    self.later.retry_at(device, now.saturating_add(TRY_AGAIN), note);
                }
            }
        }
    }
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct CallNotes {
    notes: Mutex<Notes>,
    wake: Notify,
}

impl CallNotes {
    fn add(&self, device: Owned, note: impl FnOnce(&mut Note)) {
        if let Some(known) = self.notes.lock().of(device) {
            note(known);
        }
        self.wake.notify_one();
    }

    /// A call is on its way to a device: it is over at this time.
    fn on_its_way(&self, device: Owned, until: Timestamp, number: u32) {
        if !self.notes.lock().later.over_at(device, (until, number)) {
            tracing::debug!("when a call to a device is over is not noted: it waits for the next");
        }
    }

    /// A call is not on its way any more.
    fn has_come(&self, device: Owned, number: u32) {
        self.notes.lock().later.nothing_on_its_way(device, Some(number));
    }

    /// What could not be done for a device is tried again at this time.
    fn retry(&self, device: Owned, at: Timestamp, note: Note) {
        let (tenant, device_id) = device;
        if !self.notes.lock().later.retry_at(device, at, note) {
            tracing::warn!(%tenant, device = %device_id, "what became of calls finds no room");
        }
    }

    /// A device has no connection any more: nothing is on its way to it.
    pub(super) fn gone(&self, device: Owned) {
        self.notes.lock().later.nothing_on_its_way(device, None);
    }

    /// A device listens anew.
    pub(super) fn listens(&self, session: &DeviceSession) {
        self.add((session.tenant, session.device), |note| note.again = true);
    }

    /// A device has a call.
    pub(super) fn delivered(&self, session: &DeviceSession, number: u32) {
        if number >= CALL_NUMBER_MIN {
            let device = (session.tenant, session.device);
            let credential = session.credential;
            self.add(device, |note| {
                if note.delivered.len() < DEVICE_CALLS_MAX {
                    note.delivered.insert(number, credential);
                }
            });
        }
    }

    /// A call waits for a device.
    pub(super) fn waits(&self, device: Owned) {
        self.add(device, |_| {});
    }
}

/// Whether what failed may be done a little later.
const fn may_pass(error: &Error) -> bool {
    !matches!(
        error,
        Error::Forbidden(_)
            | Error::KeyRevoked
            | Error::KeyDestroyed(_)
            | Error::NotFound(_)
            | Error::Unauthenticated(_)
    )
}

impl LiveState {
    /// As [`LiveState::new`], with kept calls looked after for as long as the platform runs.
    pub(crate) fn start(
        app: App,
        limits: IngestLimits,
        idle_seconds_max: u32,
        caps: Caps,
    ) -> Arc<Self> {
        let live = Arc::new(Self::new(app, limits, idle_seconds_max, caps));
        let _calls = tokio::spawn(Arc::clone(&live).keep_calls());
        live
    }

    /// Works off the notes.
    async fn keep_calls(self: Arc<Self>) {
        let CallNotes { notes, wake } = self.call_notes();
        loop {
            let some = notes.lock().next(self.app().clock().now());
            if some.is_empty() {
                // Woken or not, it is time to look.
                let _woken = tokio::time::timeout(LOOK_EVERY, wake.notified()).await;
                continue;
            }
            let all = futures::stream::iter(some);
            all.for_each_concurrent(AT_ONCE, |(device, note)| self.tend(device, note)).await;
        }
    }

    async fn tend(&self, device: Owned, mut note: Note) {
        let mut failed = Note::default();
        for (number, credential) in std::mem::take(&mut note.delivered) {
            match self.app().call_delivered(device, credential, number).await {
                Ok(()) => self.call_notes().has_come(device, number),
                Err(error) => {
                    tracing::debug!(%error, "that a call was delivered was not written down");
                    if may_pass(&error) {
                        failed.delivered.insert(number, credential);
                    }
                }
            }
        }
        let again_at = self.app().clock().now().saturating_add(TRY_AGAIN);
        if !failed.delivered.is_empty() {
            failed.again = note.again;
            self.call_notes().retry(device, again_at, failed);
            return;
        }
        let Some(credential) = self.listener(device) else { return };
        let call = match self.app().next_call(device, credential, note.again).await {
            Ok(Some(call)) => call,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "kept calls of a device were not read");
                if may_pass(&error) {
                    self.call_notes().retry(device, again_at, note);
                }
                return;
            }
        };
        let request = RpcRequest { id: call.number, method: call.method, params: call.params };
        let (tenant, id) = (device.0, device.1);
        // Should it not be acknowledged, the next one goes when it is over.
        self.call_notes().on_its_way(device, call.expires_at, call.number);
        let sent = self.send(tenant, id, |link| link.send(Downlink::Rpc(request.clone())));
        if sent.is_ok() {
            self.show_call(device, &request);
        } else if let Err(error) = self.app().call_unsent(device, credential, call.id).await {
            tracing::debug!(%error, "a call that was not sent counts as sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(tenant: u8, device: usize) -> Owned {
        let device = DeviceId::from_bytes((device as u128).to_be_bytes());
        (TenantId::from_bytes([tenant; 16]), device)
    }

    #[test]
    fn devices_are_looked_after_by_turns_of_tenants() {
        let mut notes = Notes::default();
        for device in 0..1_000 {
            notes.of(owned(1, device)).expect("room");
        }
        notes.of(owned(2, 0)).expect("room").again = true;
        let first = notes.take();
        assert_eq!(first.len(), TURN + 1);
        assert!(first.iter().any(|(device, note)| *device == owned(2, 0) && note.again));
        let mut rest = first.len();
        while notes.count > 0 {
            rest += notes.take().len();
        }
        assert_eq!((rest, notes.by_tenant.len()), (1_001, 0));
        assert!(notes.take().is_empty());
    }

    #[test]
    fn what_is_due_is_looked_at_again() {
        let (notes, soon) = (CallNotes::default(), Timestamp::EPOCH.saturating_add(TRY_AGAIN));
        let credential = CredentialId::from_bytes([3; 16]);
        let delivered =
            |number: u32| Note { again: false, delivered: BTreeMap::from([(number, credential)]) };
        notes.retry(owned(1, 1), soon, Note { again: true, ..delivered(7) });
        // What is known already is not forgotten for what comes after it.
        notes.retry(owned(1, 1), soon, delivered(8));
        notes.on_its_way(owned(1, 2), soon.saturating_add(TRY_AGAIN), 9);
        let mut inner = notes.notes.lock();
        assert!(inner.next(Timestamp::EPOCH).is_empty());
        // Others have something to be done all the time.
        for device in 10..100 {
            inner.of(owned(1, device)).expect("room");
        }
        inner.of(owned(2, 1)).expect("room");
        let busy = inner.next(Timestamp::EPOCH).len();
        assert_eq!(busy, TURN + 1);
        let mut woken = inner.next(soon);
        assert_eq!(woken.len(), TURN);
        while !woken.iter().any(|(device, _)| *device == owned(1, 1)) {
            woken = inner.next(soon);
            assert!(!woken.is_empty());
        }
        woken.retain(|(_, note)| !note.delivered.is_empty());
        assert_eq!(woken.len(), 1);
        let numbers: Vec<u32> = woken[0].1.delivered.keys().copied().collect();
        assert_eq!((woken[0].1.again, &numbers[..]), (true, &[7, 8][..]));
        assert_eq!(inner.later.len(), 1);
        drop(inner);
        // It is gone, and so is what was on its way.
        notes.gone(owned(1, 2));
        assert_eq!(notes.notes.lock().later.len(), 0);
    }

    #[test]
    fn a_tenant_leaves_room_for_notes_of_others() {
        let mut notes = Notes::default();
        let taken = (0..NOTES_MAX).filter(|device| notes.of(owned(1, *device)).is_some()).count();
        assert_eq!(taken, NOTES_MAX / 2);
        assert!(notes.of(owned(2, 0)).is_some() && notes.of(owned(1, 0)).is_some());
    }
}
