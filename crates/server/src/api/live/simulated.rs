//! Which devices are simulated now, and by which credential. What comes with it is marked as made
//! up. When one of them is heard by itself, its simulation ends: made-up readings do not go on
//! among measured ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use veritwin_domain::{CredentialId, DeviceId, Quality, Reading, TenantId};
use veritwin_ingest::SinkEntry;

use super::devices::{LiveState, Owned};

/// A simulation that runs.
struct Running {
    credential: CredentialId,
    stop: CancellationToken,
    is_heard: Arc<AtomicBool>,
}

impl Running {
    fn heard(&self, credential: CredentialId) {
        if self.credential != credential {
            self.is_heard.store(true, Ordering::Release);
            self.stop.cancel();
        }
    }
}

/// The devices that are simulated.
#[derive(Default)]
pub(super) struct Simulated {
    /// How many there are: nothing is looked up while there are none.
    count: AtomicUsize,
    running: Mutex<HashMap<Owned, Running>>,
}

impl Simulated {
    fn begin(&self, device: Owned, one: Running) {
        let mut running = self.running.lock();
        running.insert(device, one);
        self.count.store(running.len(), Ordering::Release);
    }

    fn end(&self, device: Owned, credential: CredentialId) {
        let mut running = self.running.lock();
        // Another one of the device may have begun.
        if running.get(&device).is_some_and(|one| one.credential == credential) {
            running.remove(&device);
        }
        self.count.store(running.len(), Ordering::Release);
    }

    /// A device has come with a credential.
    pub(super) fn heard(&self, device: Owned, credential: CredentialId) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        if let Some(one) = self.running.lock().get(&device) {
            one.heard(credential);
        }
    }

    /// Something of devices is about to be stored: what simulations say is marked.
    pub(super) fn heard_in(&self, tenant: TenantId, entries: &mut [SinkEntry]) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let running = self.running.lock();
        if !running.keys().any(|(of, _)| *of == tenant) {
            return;
        }
        for entry in entries {
            let (device, credential, readings) = match entry {
                SinkEntry::Readings(batch) => {
                    (batch.device, batch.credential, batch.readings.as_mut_slice())
                }
                SinkEntry::Attributes(update) => {
                    (update.device, update.credential, <&mut [Reading]>::default())
                }
                SinkEntry::Refusal(_) | SinkEntry::Relay { .. } | SinkEntry::Note(_) => continue,
            };
            let Some(one) = running.get(&(tenant, device)) else { continue };
            one.heard(credential);
            if one.credential == credential {
                readings.iter_mut().for_each(|reading| reading.quality = Quality::Simulated);
            }
        }
    }
}

/// A device that is simulated, until this is dropped.
pub(crate) struct BeingSimulated {
    live: Arc<LiveState>,
    device: Owned,
    credential: CredentialId,
    is_heard: Arc<AtomicBool>,
}

impl BeingSimulated {
    /// Whether the device itself was heard meanwhile.
    pub(crate) fn is_heard(&self) -> bool {
        self.is_heard.load(Ordering::Acquire)
    }
}

impl Drop for BeingSimulated {
    fn drop(&mut self) {
        self.live.simulated.end(self.device, self.credential);
    }
}

impl LiveState {
    /// A device is simulated from now on with this credential; `stop` is cancelled when the device
    /// itself is heard, or is there already.
    pub(crate) fn begin_simulation(
        self: &Arc<Self>,
        device: (TenantId, DeviceId),
        credential: CredentialId,
        stop: CancellationToken,
    ) -> BeingSimulated {
        let is_heard = Arc::new(AtomicBool::new(false));
        let one = Running { credential, stop, is_heard: Arc::clone(&is_heard) };
        self.simulated.begin(device, one);
        // It may have come just before.
        let there: Vec<CredentialId> = {
            let attached = self.attached.lock();
            attached.get(&device).into_iter().flatten().map(|one| one.credential).collect()
        };
        for other in there {
            self.simulated.heard(device, other);
        }
        BeingSimulated { live: Arc::clone(self), device, credential, is_heard }
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::{DeviceBatch, Key, Timestamp, Value};

    use super::*;

    fn readings((tenant, device): Owned, credential: CredentialId) -> SinkEntry {
        let key = Key::new("t").expect("a key");
        let (at, value, quality) = (Timestamp::EPOCH, Value::Integer(1), Quality::Good);
        let (received_at, readings) = (at, vec![Reading { key, at, value, quality }]);
        SinkEntry::Readings(DeviceBatch { tenant, device, credential, received_at, readings })
    }

    #[test]
    fn only_what_the_device_itself_sends_ends_its_simulation() {
        let owned = |tenant, device| {
            (TenantId::from_bytes([tenant; 16]), DeviceId::from_bytes([device; 16]))
        };
        let (made, own) = (CredentialId::from_bytes([1; 16]), CredentialId::from_bytes([2; 16]));
        let simulated = Simulated::default();
        let (stop, is_heard) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let one = Running { credential: made, stop: stop.clone(), is_heard: Arc::clone(&is_heard) };
        simulated.begin(owned(1, 1), one);
        simulated.heard(owned(1, 1), made);
        simulated.heard(owned(1, 2), own);
        let of = |device: Owned, credential, expect: Quality| {
            let mut entries = [readings(device, credential)];
            simulated.heard_in(device.0, &mut entries);
            let [SinkEntry::Readings(batch)] = &entries else { panic!("readings") };
            assert_eq!(batch.readings[0].quality, expect);
        };
        of(owned(1, 1), made, Quality::Simulated);
        of(owned(1, 2), own, Quality::Good);
        of(owned(2, 1), own, Quality::Good);
        assert!(!stop.is_cancelled() && !is_heard.load(Ordering::Acquire));
        of(owned(1, 1), own, Quality::Good);
        assert!(stop.is_cancelled() && is_heard.load(Ordering::Acquire));
        // Another one has begun: the end of the first is not its.
        let next = CredentialId::from_bytes([3; 16]);
        let one = Running { credential: next, stop, is_heard };
        simulated.begin(owned(1, 1), one);
        simulated.end(owned(1, 1), made);
        of(owned(1, 1), next, Quality::Simulated);
        simulated.end(owned(1, 1), next);
        of(owned(1, 1), next, Quality::Good);
        assert_eq!(simulated.count.load(Ordering::Acquire), 0);
    }
}
