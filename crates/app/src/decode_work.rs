//! Where decoders run: a few threads with a stack of their own, one payload of a tenant at a time.
//! Who writes a slow decoder waits for it alone: the slow ones share one thread.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use veritwin_domain::TenantId;
use veritwin_script::{STACK_BYTES, take_work};

use crate::{Error, Result};

/// Threads that decoders run on. Named `decoder_threads` in the documents.
const DECODER_THREADS: usize = 2;
/// From what work of one payload on a tenant counts as slow: a few milliseconds.
const SLOW_WORK: u64 = 200_000;
/// How many payloads in a row have to be quick before a slow tenant counts as quick again.
const QUICK_AFTER: u32 = 64;
/// How long a payload waits for its turn.
const DECODER_WAIT: Duration = Duration::from_secs(30);
/// From how many tenants on those without a payload are forgotten.
const TIDIED_FROM: usize = 1024;

type Work = Box<dyn FnOnce() + Send>;

/// A tenant's own place; it is there as long as somebody waits for it or has it.
#[derive(Default)]
struct Place {
    own: Weak<Semaphore>,
    /// Quick payloads that are missing until the tenant counts as quick.
    slow: u32,
}

type Places = Mutex<HashMap<TenantId, Place>>;

/// The threads, and whose turn it is.
pub(crate) struct DecodeWork {
    threads: OnceLock<Option<Sender<Work>>>,
    free: Arc<Semaphore>,
    /// Of the threads, those that slow tenants may have: one is always left for the others.
    slow: Arc<Semaphore>,
    places: Arc<Places>,
}

impl Default for DecodeWork {
    fn default() -> Self {
        Self {
            threads: OnceLock::new(),
            free: Arc::new(Semaphore::new(DECODER_THREADS)),
            slow: Arc::new(Semaphore::new(DECODER_THREADS - 1)),
            places: Arc::default(),
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
    fn place_of(&self, tenant: TenantId) -> Arc<Semaphore> {
        let mut places = self.places.lock();
        if let Some(own) = places.get(&tenant).and_then(|place| place.own.upgrade()) {
            return own;
        }
        if places.len() >= TIDIED_FROM {
            places.retain(|_, place| place.slow > 0 || place.own.strong_count() > 0);
        }
        let own = Arc::new(Semaphore::new(1));
        places.entry(tenant).or_default().own = Arc::downgrade(&own);
        own
    }

    fn is_slow(&self, tenant: TenantId) -> bool {
        self.places.lock().get(&tenant).is_some_and(|place| place.slow > 0)
    }

    /// Does something on one of the threads, in the tenant's turn. The places are held until it is
    /// done, whether or not anybody still waits for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        tenant: TenantId,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let turns = async {
            let own = self.place_of(tenant).acquire_owned().await.ok()?;
            let mut slow = None;
            if self.is_slow(tenant) {
                slow = Some(Arc::clone(&self.slow).acquire_owned().await.ok()?);
            }
            Some((own, slow, Arc::clone(&self.free).acquire_owned().await.ok()?))
        };
        let Ok(Some(turns)) = tokio::time::timeout(DECODER_WAIT, turns).await else {
            return Err(Error::Busy { retry_after: DECODER_WAIT });
        };
        let (answer, answered) = oneshot::channel();
        let stopped = || Error::Unavailable("decoders do not run".to_owned());
        let threads = self.threads.get_or_init(start).as_ref().ok_or_else(stopped)?;
        let places = Arc::clone(&self.places);
        let work: Work = Box::new(move || {
            let _turns = turns;
            take_work();
            let done = work();
            note(&places, tenant, take_work());
            // Nobody may wait for it any more.
            let _ = answer.send(done);
        });
        threads.send(work).map_err(|_| stopped())?;
        answered.await.map_err(|_| Error::Internal("a decoder stopped".to_owned()))
    }
}

/// What a payload of a tenant cost says which threads its next ones may have.
fn note(places: &Places, tenant: TenantId, work: u64) {
    if let Some(place) = places.lock().get_mut(&tenant) {
        place.slow = if work >= SLOW_WORK { QUICK_AFTER } else { place.slow.saturating_sub(1) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use veritwin_script::{Decoder, Payload};

    use super::*;

    fn tenant(number: u8) -> TenantId {
        TenantId::from_bytes([number; 16])
    }

    #[tokio::test]
    async fn one_tenants_payloads_do_not_hold_anothers() {
        let work = Arc::new(DecodeWork::default());
        let (open, gate) = mpsc::channel::<()>();
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
    async fn slow_tenants_leave_a_thread_to_the_others() {
        let work = Arc::new(DecodeWork::default());
        let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let (mut gates, mut held) = (Vec::new(), Vec::new());
        for number in 1..=3 {
            work.places.lock().entry(tenant(number)).or_default().slow = 1;
            let (open, gate) = mpsc::channel::<()>();
            let (work, began) = (Arc::clone(&work), began.clone());
            held.push(tokio::spawn(async move {
                let slow = move || {
                    let _ = began.send(number);
                    gate.recv().is_ok()
                };
                work.run(tenant(number), slow).await
            }));
            gates.push(open);
        }
        begun.recv().await.unwrap();
        assert_eq!(work.run(tenant(4), || 4).await.unwrap(), 4);
        assert!(begun.try_recv().is_err(), "two slow ones at once");
        for gate in gates {
            gate.send(()).unwrap();
        }
        for one in held {
            assert!(one.await.unwrap().unwrap());
        }
    }

    #[tokio::test]
    async fn what_a_payload_costs_says_who_is_slow() {
        let work = DecodeWork::default();
        let run = |source: &'static str| {
            let run = move || Decoder::compile(source).unwrap().run(&Payload::default()).is_ok();
            work.run(tenant(1), run)
        };
        assert!(run("#{ a: 1 }").await.unwrap());
        assert!(!work.is_slow(tenant(1)));
        assert!(!run("loop { }").await.unwrap());
        for _ in 0..QUICK_AFTER {
            assert!(work.is_slow(tenant(1)));
            assert!(run("#{ a: 1 }").await.unwrap());
        }
        assert!(!work.is_slow(tenant(1)));
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
