//! The handle of a token: what is asked goes to its thread, and the answer comes back by a
//! function, so that an asynchronous caller waits no longer than it wants to.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use veritwin_domain::Rng;
use zeroize::Zeroizing;

use super::work::Worker;
use super::{PKCS11_LABEL_BYTES_MAX, Pkcs11Error, Pkcs11KeyFacts, Pkcs11Place};
use crate::GcmSealed;

/// Most questions that wait for one token; more are refused at once.
pub const PKCS11_WAITING_MAX: usize = 32;

/// Most threads of tokens. One whose module hangs does not end, and more must not come of it.
pub const PKCS11_THREADS_MAX: usize = 256;

static THREADS: AtomicUsize = AtomicUsize::new(0);

/// A thread that counts until this is dropped.
struct Thread(&'static AtomicUsize);

impl Thread {
    fn count(all: &'static AtomicUsize) -> Result<Self, Pkcs11Error> {
        let before = all.fetch_add(1, Ordering::AcqRel);
        let counted = Self(all);
        if before >= PKCS11_THREADS_MAX {
            return Err(Pkcs11Error::Unavailable("limit pkcs11_threads_max exceeded".to_owned()));
        }
        Ok(counted)
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What is done with an answer. It is called once, on the token's thread.
pub type Pkcs11Answer<T> = Box<dyn FnOnce(Result<T, Pkcs11Error>) + Send>;

type Job = Box<dyn FnOnce(&mut Worker) + Send>;

/// A token. Cloning shares its thread, which ends with the last clone.
#[derive(Clone)]
pub struct Pkcs11Token {
    jobs: SyncSender<Job>,
    shown: Arc<str>,
}

impl fmt::Debug for Pkcs11Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pkcs11Token({})", self.shown)
    }
}

fn check_label(what: &str, label: &str) -> Result<(), Pkcs11Error> {
    if label.is_empty() || label.len() > PKCS11_LABEL_BYTES_MAX {
        let detail = format!("{what}: expected a label of 1 to {PKCS11_LABEL_BYTES_MAX} bytes");
        return Err(Pkcs11Error::Invalid(detail));
    }
    Ok(())
}

fn serve(mut worker: Worker, jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        job(&mut worker);
    }
}

impl Pkcs11Token {
    /// A handle with a thread of its own. The module is loaded when something is asked first.
    pub fn new(place: Pkcs11Place, rng: Arc<dyn Rng>) -> Result<Self, Pkcs11Error> {
        check_label("token", &place.token)?;
        let shown = format!("{} in {}", place.token, place.module.display()).into();
        let (jobs, queue) = sync_channel(PKCS11_WAITING_MAX);
        let (worker, counted) = (Worker::new(place, rng), Thread::count(&THREADS)?);
        std::thread::Builder::new()
            .name("pkcs11".to_owned())
            .spawn(move || {
                serve(worker, &queue);
                drop(counted);
            })
            .map_err(|error| Pkcs11Error::Unavailable(format!("no thread: {error}")))?;
        Ok(Self { jobs, shown })
    }

    fn ask<T: 'static>(
        &self,
        label: String,
        work: impl FnOnce(&mut Worker, &str) -> Result<T, Pkcs11Error> + Send + 'static,
        answer: Pkcs11Answer<T>,
    ) {
        if let Err(error) = check_label("key", &label) {
            answer(Err(error));
            return;
        }
        // Shared, so that there is an answer also where there is no room for the job.
        let (slot, taken) = shared(answer);
        let job: Job = Box::new(move |worker| {
            let outcome = work(worker, &label);
            if let Some(answer) = taken.lock().take() {
                answer(outcome);
            }
        });
        let refused = match self.jobs.try_send(job) {
            Ok(()) => return,
            Err(TrySendError::Full(_)) => "limit pkcs11_waiting_max exceeded",
            Err(TrySendError::Disconnected(_)) => "its thread has ended",
        };
        if let Some(answer) = slot.lock().take() {
            answer(Err(Pkcs11Error::Unavailable(refused.to_owned())));
        }
    }

    /// Seals under the key with this label.
    pub fn seal(
        &self,
        label: String,
        associated: Vec<u8>,
        plaintext: Zeroizing<Vec<u8>>,
        answer: Pkcs11Answer<GcmSealed>,
    ) {
        let work = move |worker: &mut Worker, label: &str| {
            worker.with_key(label, |session, key, rng| {
                super::work::seal(session, key, rng, &associated, &plaintext)
            })
        };
        self.ask(label, work, answer);
    }

    /// Opens what was sealed under the key with this label.
    pub fn open(
        &self,
        label: String,
        associated: Vec<u8>,
        sealed: GcmSealed,
        answer: Pkcs11Answer<Zeroizing<Vec<u8>>>,
    ) {
        let work = move |worker: &mut Worker, label: &str| {
            worker.with_key(label, |session, key, rng| {
                super::work::open(session, key, rng, &associated, &sealed)
            })
        };
        self.ask(label, work, answer);
    }

    /// What the token says of the key with this label.
    pub fn describe(&self, label: String, answer: Pkcs11Answer<Pkcs11KeyFacts>) {
        self.ask(label, |worker, label| worker.describe(label), answer);
    }

    /// Makes a key that does not leave the token. A label that is taken is refused.
    pub fn make(&self, label: String, answer: Pkcs11Answer<()>) {
        self.ask(label, |worker, label| worker.make(label), answer);
    }

    /// Destroys the key with this label.
    pub fn destroy(&self, label: String, answer: Pkcs11Answer<()>) {
        let work = |worker: &mut Worker, label: &str| {
            worker.with_key(label, |session, key, _| super::work::destroy(session, key))
        };
        self.ask(label, work, answer);
    }

    /// Whether the token is there and lets us in.
    pub fn check(&self, answer: Pkcs11Answer<()>) {
        self.ask("any".to_owned(), |worker, _| worker.check(), answer);
    }
}

type Slot<T> = Arc<parking_lot::Mutex<Option<Pkcs11Answer<T>>>>;

fn shared<T>(answer: Pkcs11Answer<T>) -> (Slot<T>, Slot<T>) {
    let slot = Arc::new(parking_lot::Mutex::new(Some(answer)));
    (Arc::clone(&slot), slot)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::mpsc::channel;

    use veritwin_domain::Secret;

    use super::*;
    use crate::SystemRng;

    fn described(module: &str, label: &str) -> Result<Pkcs11KeyFacts, Pkcs11Error> {
        let place = Pkcs11Place {
            module: PathBuf::from(module),
            token: "token".to_owned(),
            pin: Secret::new("1234".to_owned()),
        };
        let token = Pkcs11Token::new(place, Arc::new(SystemRng)).unwrap();
        assert!(!format!("{token:?}").contains("1234"));
        let (tell, told) = channel();
        token.describe(label.to_owned(), Box::new(move |facts| tell.send(facts).unwrap()));
        told.recv().unwrap()
    }

    #[test]
    fn what_is_no_module_is_refused() {
        for module in ["/nowhere/module.so", "/etc/hostname"] {
            assert!(matches!(described(module, "key"), Err(Pkcs11Error::Invalid(_))), "{module}");
        }
        let long = "x".repeat(PKCS11_LABEL_BYTES_MAX + 1);
        for label in ["", long.as_str()] {
            assert!(matches!(described("/nowhere", label), Err(Pkcs11Error::Invalid(_))));
        }
    }

    #[test]
    fn a_thread_counts_until_it_ends() {
        static ALL: AtomicUsize = AtomicUsize::new(PKCS11_THREADS_MAX - 1);
        let last = Thread::count(&ALL).expect("room for one");
        assert!(matches!(Thread::count(&ALL), Err(Pkcs11Error::Unavailable(_))));
        drop(last);
        assert!(Thread::count(&ALL).is_ok());
        assert_eq!(ALL.load(Ordering::Acquire), PKCS11_THREADS_MAX - 1);
    }
}
