//! Kept calls on their way: who listens is sent what waits, one at a time, and what was delivered
//! is written down. Connections only leave a note here; one task works it off.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::Notify;
use veritwin_app::{App, CALL_NUMBER_MIN};
use veritwin_domain::{CredentialId, IngestLimits};
use veritwin_ingest::{DeviceSession, Downlink, RpcRequest};

use super::caps::Caps;
use super::devices::{LiveState, Owned};

/// Devices that are looked after at once.
const AT_ONCE: usize = 16;
/// Most devices that a note is kept of. Beyond it one waits until it listens anew.
const NOTES_MAX: usize = 1_000_000;

/// What is known of one device.
#[derive(Debug, Default)]
struct Note {
    /// What was on its way was lost with its connection.
    again: bool,
    /// Calls that it has, and the credential that it has them by.
    delivered: BTreeMap<u32, CredentialId>,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct CallNotes {
    notes: Mutex<HashMap<Owned, Note>>,
    wake: Notify,
}

impl CallNotes {
    fn add(&self, device: Owned, note: impl FnOnce(&mut Note)) {
        let mut notes = self.notes.lock();
        if notes.len() < NOTES_MAX || notes.contains_key(&device) {
            note(notes.entry(device).or_default());
        }
        drop(notes);
        self.wake.notify_one();
    }

    /// A device listens anew.
    pub(super) fn listens(&self, session: &DeviceSession) {
        self.add((session.tenant, session.device), |note| note.again = true);
    }

    /// A device has a call.
    pub(super) fn delivered(&self, session: &DeviceSession, number: u32) {
        if number >= CALL_NUMBER_MIN {
            let device = (session.tenant, session.device);
            self.add(device, |note| drop(note.delivered.insert(number, session.credential)));
        }
    }

    /// A call waits for a device.
    pub(super) fn waits(&self, device: Owned) {
        self.add(device, |_| {});
    }
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
        loop {
            self.call_notes().wake.notified().await;
            let notes = std::mem::take(&mut *self.call_notes().notes.lock());
            let all = futures::stream::iter(notes);
            all.for_each_concurrent(AT_ONCE, |(device, note)| self.tend(device, note)).await;
        }
    }

    async fn tend(&self, device: Owned, note: Note) {
        for (number, credential) in note.delivered {
            if let Err(error) = self.app().call_delivered(device, credential, number).await {
                tracing::debug!(%error, "that a call was delivered was not written down");
            }
        }
        let Some(credential) = self.listener(device) else { return };
        let call = match self.app().next_call(device, credential, note.again).await {
            Ok(Some(call)) => call,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "kept calls of a device were not read");
                return;
            }
        };
        let request = RpcRequest { id: call.number, method: call.method, params: call.params };
        let (tenant, id) = (device.0, device.1);
        let sent = self.send(tenant, id, |link| link.send(Downlink::Rpc(request.clone())));
        if sent.is_err()
            && let Err(error) = self.app().call_unsent(device, credential, call.id).await
        {
            tracing::debug!(%error, "a call that was not sent counts as sent");
        }
    }
}
