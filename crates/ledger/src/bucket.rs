//! A bucket that speaks S3 as the place of an archive's objects and journal. What is put is locked
//! in compliance mode for the archive's minimum period; what has to be new is put under the
//! condition that nothing has its name. Calls block: they run on a thread of the bucket's own.

mod lock;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3Builder, Checksum};
use object_store::path::Path as ObjectPath;
use object_store::{
    ClientOptions, Error, GetOptions, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions,
    PutPayload,
};
use tokio::runtime::Runtime;
use veritwin_domain::{Secret, Timestamp};

use self::lock::{COMPLIANCE, Held, Signer, Until};
use crate::LedgerError;

/// Longest wait for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Tries of a put whose answer was lost: each looks first whether the one before came through.
const PUT_TRIES: usize = 5;
/// Objects that are read at once.
const AT_ONCE: usize = 16;
/// Largest object that is read: a frame of the journal.
const OBJECT_BYTES_MAX: u64 = crate::journal::FRAME_BYTES_MAX as u64 + 4096;
/// Most names that are listed.
const NAMES_MAX: usize = 1_000_000;

/// Where a bucket is, and what opens it.
#[derive(Debug, Clone)]
pub struct BucketConfig {
    /// Its name.
    pub name: String,
    /// In front of every object's name; may be empty.
    pub front: String,
    /// `https://HOST` or `https://HOST:PORT`; empty for that of AWS in the region. `http://` is for
    /// this machine alone.
    pub endpoint: String,
    /// Its region.
    pub region: String,
    /// Who asks.
    pub access_key_id: String,
    /// The key that requests are signed with.
    pub secret_access_key: Secret<String>,
    /// Every object is locked in compliance mode for the archive's minimum period.
    pub is_locked: bool,
}

/// An open bucket. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Bucket(Arc<Inner>);

struct Inner {
    store: Arc<dyn ObjectStore>,
    /// Always there until the end.
    runtime: Option<Runtime>,
    front: String,
    shown: String,
    is_locked: bool,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inner({})", self.shown)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Waiting for it is not allowed where the last handle may go.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Bucket {
    /// Opens it; nothing is asked of it yet.
    pub fn open(config: &BucketConfig) -> Result<Self, LedgerError> {
        let BucketConfig { name, region, access_key_id, .. } = config;
        if name.is_empty() || access_key_id.is_empty() {
            return Err(LedgerError::invalid("a bucket needs a name and an access key"));
        }
        let amazon = format!("https://s3.{region}.amazonaws.com");
        let endpoint = if config.endpoint.is_empty() { &amazon } else { &config.endpoint };
        let is_plain = is_plain(endpoint)?;
        let signer = Signer {
            region: region.clone(),
            access_key_id: access_key_id.clone(),
            secret_access_key: config.secret_access_key.clone(),
        };
        let options = ClientOptions::new().with_timeout(ANSWER_MAX).with_allow_http(is_plain);
        let store = AmazonS3Builder::new()
            .with_bucket_name(name)
            .with_endpoint(endpoint)
            .with_region(region)
            .with_access_key_id(access_key_id)
            .with_secret_access_key(config.secret_access_key.expose())
            .with_checksum_algorithm(Checksum::SHA256)
            .with_allow_http(is_plain)
            .with_client_options(options)
            .with_http_connector(signer)
            .build()
            .map_err(LedgerError::invalid)?;
        let shown = format!("s3://{name}");
        Self::over(Arc::new(store), (config.front.as_str(), shown.as_str()), config.is_locked)
    }

    /// The same over any store of objects: the front of every name, and the place in words.
    pub fn over(
        store: Arc<dyn ObjectStore>,
        (front, shown): (&str, &str),
        is_locked: bool,
    ) -> Result<Self, LedgerError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("ledger-bucket")
            .enable_all()
            .build()
            .map_err(LedgerError::io("start the thread of", shown))?;
        let front = front.trim_matches('/');
        let front = if front.is_empty() { String::new() } else { format!("{front}/") };
        let (runtime, shown) = (Some(runtime), shown.to_owned());
        Ok(Self(Arc::new(Inner { store, runtime, front, shown, is_locked })))
    }

    /// True when what is put is locked.
    pub fn is_locked(&self) -> bool {
        self.0.is_locked
    }

    /// Where an object is, in words.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("{}/{}{name}", self.0.shown, self.0.front))
    }

    fn path(&self, name: &str) -> ObjectPath {
        ObjectPath::from(format!("{}{name}", self.0.front))
    }

    fn failed(
        &self,
        action: &'static str,
        name: &str,
    ) -> impl FnOnce(Error) -> LedgerError + use<> {
        let failed = LedgerError::io(action, self.at(name));
        move |error| failed(std::io::Error::other(error))
    }

    /// Runs one call to its end.
    fn wait<T: Send + 'static>(
        &self,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let broken = || LedgerError::Stopped(format!("a call of {} broke off", self.0.shown));
        let (sender, answer) = sync_channel(1);
        let runtime = self.0.runtime.as_ref().ok_or_else(broken)?;
        runtime.spawn(async move {
            // The one that asked waits for it below.
            let _ = sender.send(call.await);
        });
        answer.recv().map_err(|_| broken())
    }

    fn options(&self, mode: PutMode, until: Timestamp) -> PutOptions {
        let mut options = PutOptions::from(mode);
        if self.0.is_locked
            && let Some(until) = Until::new(until)
        {
            options.extensions.insert(until);
        }
        options
    }

    /// Puts an object in the place of the one that has its name.
    pub(crate) fn put(
        &self,
        name: &str,
        bytes: Bytes,
        until: Timestamp,
    ) -> Result<(), LedgerError> {
        let (store, path) = (Arc::clone(&self.0.store), self.path(name));
        let options = self.options(PutMode::Overwrite, until);
        let put = async move { store.put_opts(&path, PutPayload::from(bytes), options).await };
        self.wait(put)?.map(|_| ()).map_err(self.failed("write", name))
    }

    /// Puts an object under a name that nothing has. False when something else has it.
    pub(crate) fn put_new(
        &self,
        name: &str,
        bytes: Bytes,
        until: Timestamp,
    ) -> Result<bool, LedgerError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let (store, path) = (Arc::clone(&self.0.store), self.path(name));
            let options = self.options(PutMode::Create, until);
            let payload = PutPayload::from(bytes.clone());
            let put = async move { store.put_opts(&path, payload, options).await };
            match self.wait(put)? {
                Ok(_) => return Ok(true),
                // It may be this one, put by a try whose answer was lost. No two are alike.
                Err(Error::AlreadyExists { .. }) => match self.get(name)? {
                    Some(there) => return Ok(there == bytes),
                    // Another put of the name is under way, or was just taken away.
                    None if tries < PUT_TRIES => {}
                    None => return Ok(false),
                },
                Err(error) if tries >= PUT_TRIES => {
                    return Err(self.failed("write", name)(error));
                }
                Err(error) => {
                    tracing::warn!(place = %self.at(name).display(), %error, "put again");
                }
            }
        }
    }

    /// A whole object; none when there is none.
    pub(crate) fn get(&self, name: &str) -> Result<Option<Bytes>, LedgerError> {
        let mut found = self.get_all(&[name.to_owned()])?;
        Ok(found.pop().flatten())
    }

    /// Whole objects, in the order of their names; none for those that are not there.
    pub(crate) fn get_all(&self, names: &[String]) -> Result<Vec<Option<Bytes>>, LedgerError> {
        let store = Arc::clone(&self.0.store);
        let paths: Vec<_> = names.iter().map(|name| self.path(name)).collect();
        let all = futures::stream::iter(paths.into_iter().enumerate())
            .map(move |(at, path)| {
                let store = Arc::clone(&store);
                async move { read(store.as_ref(), &path).await.map_err(|error| (at, error)) }
            })
            .buffered(AT_ONCE)
            .try_collect::<Vec<_>>();
        self.wait(all)?.map_err(|(at, error)| {
            let name = names.get(at).map_or("", String::as_str);
            self.failed("read", name)(error)
        })
    }

    /// Every name below a folder, in order.
    pub(crate) fn list(&self, folder: &str) -> Result<Vec<String>, LedgerError> {
        self.list_behind(folder, None)
    }

    /// Those below a folder that come behind a name.
    pub(crate) fn list_behind(
        &self,
        folder: &str,
        name: Option<&str>,
    ) -> Result<Vec<String>, LedgerError> {
        let (store, prefix) = (Arc::clone(&self.0.store), self.path(folder));
        let behind = name.map(|name| self.path(name));
        let list = async move {
            let listed = match &behind {
                Some(behind) => store.list_with_offset(Some(&prefix), behind),
                None => store.list(Some(&prefix)),
            };
            let names = listed.map_ok(|meta| meta.location.to_string());
            names.take(NAMES_MAX + 1).try_collect::<Vec<_>>().await
        };
        let all = self.wait(list)?.map_err(self.failed("list", folder))?;
        if all.len() > NAMES_MAX {
            let (name, max, actual) = ("bucket_names_max", NAMES_MAX, all.len());
            return Err(veritwin_domain::LimitExceeded { name, max, actual }.into());
        }
        let front = &self.0.front;
        let named = |full: &String| full.strip_prefix(front.as_str()).map(str::to_owned);
        let mut names: Vec<_> = all.iter().filter_map(named).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Takes a name away. A lock keeps what had it until its end.
    pub(crate) fn delete(&self, name: &str) -> Result<(), LedgerError> {
        let (store, path) = (Arc::clone(&self.0.store), self.path(name));
        match self.wait(async move { store.delete(&path).await })? {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("delete", name)(error)),
        }
    }

    /// Takes names away and does not wait; those that stay are found at the next opening.
    pub(crate) fn forget(&self, names: Vec<String>) {
        let Some(runtime) = &self.0.runtime else { return };
        let (store, shown) = (Arc::clone(&self.0.store), self.0.shown.clone());
        let paths: Vec<_> = names.iter().map(|name| self.path(name)).collect();
        // In their order: what is left when this is cut off begins in the middle of a journal.
        runtime.spawn(async move {
            for path in paths {
                match store.delete(&path).await {
                    Ok(()) | Err(Error::NotFound { .. }) => {}
                    Err(error) => {
                        tracing::warn!(%shown, %path, %error, "an old object stays");
                    }
                }
            }
        });
    }

    /// Refuses a bucket that did not lock an object at least until a moment.
    pub(crate) fn check_lock(&self, name: &str, until: Timestamp) -> Result<(), LedgerError> {
        if !self.0.is_locked {
            return Ok(());
        }
        let (store, path) = (Arc::clone(&self.0.store), self.path(name));
        let options = GetOptions { head: true, ..GetOptions::default() };
        let asked = self.wait(async move { store.get_opts(&path, options).await })?;
        let asked = asked.map_err(self.failed("ask for the lock of", name))?;
        let held = asked.extensions.get::<Held>();
        let holds =
            |held: &Held| held.mode == COMPLIANCE && held.until.is_some_and(|its| its >= until);
        if held.is_some_and(holds) {
            return Ok(());
        }
        Err(LedgerError::invalid(format!(
            "{}: the bucket does not show a lock in compliance mode until {until}. It has to be \
             made with object lock, and the key needs s3:PutObjectRetention and \
             s3:GetObjectRetention",
            self.at(name).display()
        )))
    }
}

async fn read(store: &dyn ObjectStore, path: &ObjectPath) -> Result<Option<Bytes>, Error> {
    let found = match store.get(path).await {
        Ok(found) => found,
        Err(Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let bytes = found.meta.size;
    if bytes > OBJECT_BYTES_MAX {
        let source = format!("it has {bytes} bytes, at most {OBJECT_BYTES_MAX} are read");
        return Err(Error::Generic { store: "bucket", source: source.into() });
    }
    found.bytes().await.map(Some)
}

/// Whether an endpoint is without TLS, which is for this machine alone.
fn is_plain(endpoint: &str) -> Result<bool, LedgerError> {
    if endpoint.starts_with("https://") {
        return Ok(false);
    }
    let host = endpoint.strip_prefix("http://").unwrap_or_default();
    let host = host.split('/').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    if ["127.0.0.1", "localhost", "[::1]"].contains(&host) {
        return Ok(true);
    }
    Err(LedgerError::invalid("a bucket's endpoint begins with https://"))
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    fn bucket(front: &str, is_locked: bool) -> Bucket {
        Bucket::over(Arc::new(InMemory::new()), (front, "memory"), is_locked).unwrap()
    }

    #[test]
    fn endpoints_without_tls_are_on_this_machine() {
        let check = |endpoint: &str, expect: Option<bool>| {
            assert_eq!(is_plain(endpoint).ok(), expect, "{endpoint}");
        };
        check("https://s3.example", Some(false));
        check("http://127.0.0.1:9000", Some(true));
        check("http://localhost/", Some(true));
        check("http://s3.example", None);
        check("http://localhost@s3.example", None);
        check("s3.example", None);
    }

    #[test]
    fn a_name_is_taken_once() {
        let bucket = bucket("/a/b/", false);
        let until = Timestamp::EPOCH;
        let one = || Bytes::from_static(b"one");
        assert!(bucket.put_new("x/1", one(), until).unwrap());
        assert!(bucket.put_new("x/1", one(), until).unwrap(), "the answer was lost");
        assert!(!bucket.put_new("x/1", Bytes::from_static(b"two"), until).unwrap());
        bucket.put("x/2", one(), until).unwrap();
        assert_eq!(bucket.list("x").unwrap(), ["x/1", "x/2"]);
        assert_eq!(bucket.list_behind("x", Some("x/1")).unwrap(), ["x/2"]);
        assert!(bucket.list_behind("x", Some("x/2")).unwrap().is_empty());
        let all = bucket.get_all(&["x/2".to_owned(), "x/3".to_owned()]).unwrap();
        assert_eq!(all, [Some(one()), None]);
        bucket.delete("x/2").unwrap();
        bucket.delete("x/2").unwrap();
        assert_eq!(bucket.get("x/2").unwrap(), None);
        assert_eq!(bucket.at("x").display().to_string(), "memory/a/b/x");
    }

    #[test]
    fn a_bucket_that_keeps_no_lock_is_refused() {
        let unlocked = bucket("", false);
        unlocked.put("x", Bytes::new(), Timestamp::EPOCH).unwrap();
        unlocked.check_lock("x", Timestamp::EPOCH).unwrap();
        let locked = bucket("", true);
        locked.put("x", Bytes::new(), Timestamp::EPOCH).unwrap();
        let refused = locked.check_lock("x", Timestamp::EPOCH).unwrap_err().to_string();
        assert!(refused.contains("compliance mode"), "{refused}");
    }

    #[tokio::test]
    async fn calls_may_come_from_anywhere_and_its_end_too() {
        let bucket = bucket("", false);
        bucket.put("x", Bytes::new(), Timestamp::EPOCH).unwrap();
        assert_eq!(bucket.get("x").unwrap(), Some(Bytes::new()));
    }
}
