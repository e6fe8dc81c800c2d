//! Where decoders run: a few threads with a stack of their own, one payload of a tenant at a time.
//! Who writes a slow decoder waits for it alone.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use veritwin_domain::TenantId;
use veritwin_script::STACK_BYTES;

use crate::{Error, Result};

/// Threads that decoders run on. Named `decoder_threads` in the documents.
const DECODER_THREADS: usize = 2;
/// How long a payload waits for its turn.
const DECODER_WAIT: Duration = Duration::from_secs(30);
/// From how many tenants on those without a payload are forgotten.
const TIDIED_FROM: usize = 1024;

type Work = Box<dyn FnOnce() + Send>;

/// The threads, and whose turn it is.
pub(crate) struct DecodeWork {
    threads: OnceLock<Option<Sender<Work>>>,
    free: Arc<Semaphore>,
    tenants: Mutex<HashMap<TenantId, Weak<Semaphore>>>,
}

impl Default for DecodeWork {
    fn default() -> Self {
        Self {
            threads: OnceLock::new(),
            free: Arc::new(Semaphore::new(DECODER_THREADS)),
            tenants: Mutex::default(),
        }
    }
}

/// Starts the threads; none where the system gives none.
fn start() -> Option<Sender<Work>> {
    let (sender, receiver) = channel::<Work>();
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..DECODER_THREADS {
        let receiver = Arc::clone(&receiver);
        let thread = std::thread::Builder::new().name("decoder".to_owned());
        let run = move || {
            loop {
                let next = receiver.lock().recv();
                let Ok(work) = next else { return };
                // Who waits for it sees that nothing came.
                let _ = std::panic::catch_unwind(AssertUnwindSafe(work));
            }
        };
        thread.stack_size(STACK_BYTES).spawn(run).ok()?;
    }
    Some(sender)
}

impl DecodeWork {
    /// A tenant's own place; it is there as long as somebody waits for it or has it.
    fn place_of(&self, tenant: TenantId) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock();
        if let Some(place) = tenants.get(&tenant).and_then(Weak::upgrade) {
            return place;
        }
        if tenants.len() >= TIDIED_FROM {
            tenants.retain(|_, place| place.strong_count() > 0);
        }
        let place = Arc::new(Semaphore::new(1));
        tenants.insert(tenant, Arc::downgrade(&place));
        place
    }

    /// Does something on one of the threads, in the tenant's turn. Both places are held until it
    /// is done, whether or not anybody still waits for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        tenant: TenantId,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let (own, free) = (self.place_of(tenant), Arc::clone(&self.free));
        let turns = async move {
            let own = own.acquire_owned().await.ok()?;
            Some((own, free.acquire_owned().await.ok()?))
        };
        let Ok(Some(turns)) = tokio::time::timeout(DECODER_WAIT, turns).await else {
            return Err(Error::Busy { retry_after: DECODER_WAIT });
        };
        let (answer, answered) = oneshot::channel();
        let stopped = || Error::Unavailable("decoders do not run".to_owned());
        let threads = self.threads.get_or_init(start).as_ref().ok_or_else(stopped)?;
        let work: Work = Box::new(move || {
            let _turns = turns;
            // Nobody may wait for it any more.
            let _ = answer.send(work());
        });
        threads.send(work).map_err(|_| stopped())?;
        answered.await.map_err(|_| Error::Internal("a decoder stopped".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: u8) -> TenantId {
        TenantId::from_bytes([number; 16])
    }

    #[tokio::test]
    async fn one_tenants_payloads_do_not_hold_anothers() {
        let work = Arc::new(DecodeWork::default());
        let (open, gate) = channel::<()>();
        let (began, begun) = oneshot::channel();
        let busy = tokio::spawn({
            let work = Arc::clone(&work);
            async move {
                let slow = move || {
                    let _ = began.send(());
                    gate.recv().is_ok()
                };
                work.run(tenant(1), slow).await
            }
        });
        begun.await.unwrap();
        let second = tokio::spawn({
            let work = Arc::clone(&work);
            async move { work.run(tenant(1), || 2).await }
        });
        assert_eq!(work.run(tenant(2), || 3).await.unwrap(), 3);
        assert!(!second.is_finished());
        open.send(()).unwrap();
        assert!(busy.await.unwrap().unwrap());
        assert_eq!(second.await.unwrap().unwrap(), 2);
    }

    #[tokio::test]
    async fn work_that_stops_leaves_its_place() {
        let work = DecodeWork::default();
        for _ in 0..DECODER_THREADS + 1 {
            let stopped = work.run(tenant(1), || assert!(std::hint::black_box(false), "stops"));
            assert!(stopped.await.is_err());
        }
        assert_eq!(work.run(tenant(1), || 1).await.unwrap(), 1);
    }
}
