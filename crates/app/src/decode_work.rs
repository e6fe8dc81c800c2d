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
/// How soon one tries again that found no room to wait.
const DECODER_RETRY: Duration = Duration::from_secs(1);
/// Most bytes of payloads that wait for their decoder: of a tenant, and of all. Named
/// `decoder_waiting_bytes_max` in the documents.
const WAITING_BYTES_MAX: (usize, usize) = (16 * 1024 * 1024, 64 * 1024 * 1024);
/// From how many tenants on those without a payload are forgotten.
const TIDIED_FROM: usize = 1024;

type Work = Box<dyn FnOnce() + Send>;

/// A tenant's own place; it is there as long as somebody waits for it or has it.
#[derive(Default)]
struct Place {
    own: Weak<Semaphore>,
    /// Quick payloads that are missing until the tenant counts as quick.
    slow: u32,
    /// Bytes of the payloads that wait or are decoded.
    waiting: usize,
}

/// The places of all tenants.
#[derive(Default)]
struct Places {
    of: HashMap<TenantId, Place>,
    waiting: usize,
}

/// Bytes that wait, until this is dropped.
struct Waiting {
    places: Arc<Mutex<Places>>,
    tenant: TenantId,
    bytes: usize,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut places = self.places.lock();
        places.waiting -= self.bytes;
        if let Some(place) = places.of.get_mut(&self.tenant) {
            place.waiting -= self.bytes;
        }
    }
}

/// The threads, and whose turn it is.
pub(crate) struct DecodeWork {
    threads: OnceLock<Option<Sender<Work>>>,
    free: Arc<Semaphore>,
    /// Of the threads, those that slow tenants may have: one is always left for the others.
    slow: Arc<Semaphore>,
    places: Arc<Mutex<Places>>,
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
        if let Some(own) = places.of.get(&tenant).and_then(|place| place.own.upgrade()) {
            return own;
        }
        let own = Arc::new(Semaphore::new(1));
        places.of.entry(tenant).or_default().own = Arc::downgrade(&own);
        own
    }

    /// Room to wait with so many bytes; none: too much of the tenant's, or in all, waits.
    fn wait(&self, tenant: TenantId, bytes: usize) -> Option<Waiting> {
        let mut places = self.places.lock();
        if places.of.len() >= TIDIED_FROM && !places.of.contains_key(&tenant) {
            let is_used =
                |place: &Place| place.slow > 0 || place.waiting > 0 || place.own.strong_count() > 0;
            places.of.retain(|_, place| is_used(place));
        }
        let (own_max, all_max) = WAITING_BYTES_MAX;
        let all = places.waiting + bytes;
        let place = places.of.entry(tenant).or_default();
        if all > all_max || place.waiting + bytes > own_max {
            return None;
        }
        place.waiting += bytes;
        places.waiting = all;
        Some(Waiting { places: Arc::clone(&self.places), tenant, bytes })
    }

    fn is_slow(&self, tenant: TenantId) -> bool {
        self.places.lock().of.get(&tenant).is_some_and(|place| place.slow > 0)
    }

    /// Does something on one of the threads, in the tenant's turn. The places are held until it is
    /// done, whether or not anybody still waits for it. `bytes`: how large what it is done to is.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        tenant: TenantId,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let Some(waiting) = self.wait(tenant, bytes) else {
            return Err(Error::Busy { retry_after: DECODER_RETRY });
        };
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
            let _places = (turns, waiting);
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
fn note(places: &Mutex<Places>, tenant: TenantId, work: u64) {
    if let Some(place) = places.lock().of.get_mut(&tenant) {
        place.slow = if work >= SLOW_WORK { QUICK_AFTER } else { place.slow.saturating_sub(1) };
    }
}

#[cfg(test)]
mod tests {
    use veritwin_script::{Decoder, Payload};

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
                work.run(tenant(1), 1, slow).await
            }
        });
        begun.await.unwrap();
        let second = tokio::spawn({
            let work = Arc::clone(&work);
            async move { work.run(tenant(1), 1, || 2).await }
        });
        assert_eq!(work.run(tenant(2), 1, || 3).await.unwrap(), 3);
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
            work.places.lock().of.entry(tenant(number)).or_default().slow = 1;
            let (open, gate) = channel::<()>();
            let (work, began) = (Arc::clone(&work), began.clone());
            held.push(tokio::spawn(async move {
                let slow = move || {
                    let _ = began.send(number);
                    gate.recv().is_ok()
                };
                work.run(tenant(number), 1, slow).await
            }));
            gates.push(open);
        }
        begun.recv().await.unwrap();
        assert_eq!(work.run(tenant(4), 1, || 4).await.unwrap(), 4);
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
            work.run(tenant(1), 1, run)
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
    async fn what_waits_is_bounded_of_a_tenant_and_in_all() {
        let work = DecodeWork::default();
        let (own_max, all_max) = WAITING_BYTES_MAX;
        let first = work.wait(tenant(1), own_max).unwrap();
        assert!(matches!(work.run(tenant(1), 1, || 1).await, Err(Error::Busy { .. })));
        let others: Vec<Waiting> =
            (2..).map_while(|number| work.wait(tenant(number), own_max)).collect();
        assert_eq!(others.len() + 1, all_max / own_max);
        drop((first, others));
        assert_eq!(work.places.lock().waiting, 0);
        assert_eq!(work.run(tenant(1), 1, || 1).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn work_that_stops_leaves_its_place() {
        let work = DecodeWork::default();
        for _ in 0..DECODER_THREADS + 1 {
            let stopped = work.run(tenant(1), 1, || assert!(std::hint::black_box(false), "stops"));
            assert!(stopped.await.is_err());
        }
        assert_eq!(work.run(tenant(1), 1, || 1).await.unwrap(), 1);
    }
}
