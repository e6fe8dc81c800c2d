//! The place that shipped files go to: a folder, or a bucket that speaks S3. What is written is
//! read back and compared, gets its name in one step, and replaces nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use veritwin_domain::Timestamp;
use veritwin_outbound::register::{Destination, DestinationKind, EgressRegister};

use super::S3Access;
use crate::{Error, Result};

/// Names below one folder that are listed.
const SHIPPED_FILES_MAX: usize = 2_000_000;
/// Bytes of a file that is read whole: a part of the log with one group of the largest append. A
/// place is another's: what lies there may be of any size.
pub(crate) const SHIPPED_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Longest wait for one answer of a bucket.
const ANSWER_MAX: Duration = Duration::from_secs(60);
const PURPOSE: &str = "backups: shipped log files";

/// Whether something was written, or stood there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    New,
    There,
}

/// An open place.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    store: Arc<dyn ObjectStore>,
    /// In front of every name.
    front: String,
    shown: String,
    /// Asked before every call of a bucket.
    egress: Option<(Arc<EgressRegister>, Destination)>,
}

impl Place {
    /// Opens `file:///FOLDER` or `s3://BUCKET/FRONT`. A folder has to be there: one that is made
    /// where a disk is not mounted would be no copy.
    pub(crate) fn open(url: &str, s3: &S3Access, egress: &Arc<EgressRegister>) -> Result<Self> {
        if let Some(folder) = url.strip_prefix("file://") {
            return Self::folder(Path::new(folder));
        }
        if let Some(rest) = url.strip_prefix("s3://") {
            return Self::bucket(rest, s3, egress);
        }
        Err(refused("must be file:///FOLDER or s3://BUCKET/FRONT"))
    }

    fn folder(folder: &Path) -> Result<Self> {
        if !folder.is_absolute() || !folder.is_dir() {
            let detail = format!("{} is not a folder that is there", folder.display());
            return Err(refused(&detail));
        }
        let store = LocalFileSystem::new_with_prefix(folder)
            .map_err(|error| refused(&format!("cannot open {}: {error}", folder.display())))?
            .with_fsync(true)
            .with_automatic_cleanup(true);
        Ok(Self {
            store: Arc::new(store),
            front: String::new(),
            shown: folder.display().to_string(),
            egress: None,
        })
    }

    fn bucket(rest: &str, s3: &S3Access, egress: &Arc<EgressRegister>) -> Result<Self> {
        let (bucket, front) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() || s3.access_key_id.is_empty() {
            return Err(refused("needs a bucket, and backup.s3_access_key_id"));
        }
        let amazon = format!("https://s3.{}.amazonaws.com", s3.region);
        let endpoint = if s3.endpoint.is_empty() { amazon } else { s3.endpoint.clone() };
        let destination = destination_of("backup.s3_endpoint", &endpoint)?;
        let is_plain = endpoint.starts_with("http://");
        if is_plain && !destination.is_loopback() {
            return Err(Error::invalid_at("backup.s3_endpoint", "must begin with https://"));
        }
        let store = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_endpoint(&endpoint)
            .with_region(&s3.region)
            .with_access_key_id(&s3.access_key_id)
            .with_secret_access_key(s3.secret_access_key.expose())
            .with_allow_http(is_plain)
            .with_client_options(
                ClientOptions::new().with_timeout(ANSWER_MAX).with_allow_http(is_plain),
            )
            .build()
            .map_err(|error| refused(&error.to_string()))?;
        egress.register(destination.clone(), DestinationKind::SubProcessor, PURPOSE);
        let front = front.trim_matches('/');
        Ok(Self {
            store: Arc::new(store),
            front: if front.is_empty() { String::new() } else { format!("{front}/") },
            shown: format!("s3://{rest}"),
            egress: Some((Arc::clone(egress), destination)),
        })
    }

    /// The place in words.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    fn path(&self, name: &str) -> ObjectPath {
        ObjectPath::from(format!("{}{name}", self.front))
    }

    fn check(&self) -> Result<()> {
        let Some((register, destination)) = &self.egress else { return Ok(()) };
        register.check(destination).map_err(|error| Error::Internal(error.to_string()))
    }

    fn failed(
        &self,
        action: &'static str,
        name: &str,
    ) -> impl FnOnce(object_store::Error) -> Error + use<> {
        let at = format!("{}/{name}", self.shown);
        move |error| Error::invalid_at(at, format!("cannot {action}: {error}"))
    }

    /// Writes a file that must not be there yet, reads it back and compares.
    pub(crate) async fn put(&self, name: &str, bytes: Bytes) -> Result<Put> {
        self.write(name, bytes, PutMode::Create).await
    }

    /// Writes a file in the place of the one that has its name.
    pub(crate) async fn replace(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.write(name, bytes, PutMode::Overwrite).await.map(|_| ())
    }

    async fn write(&self, name: &str, bytes: Bytes, mode: PutMode) -> Result<Put> {
        self.check()?;
        let path = self.path(name);
        let options = PutOptions { mode, ..PutOptions::default() };
        let payload = PutPayload::from(bytes.clone());
        match self.store.put_opts(&path, payload, options).await {
            Ok(_) => {}
            Err(object_store::Error::AlreadyExists { .. }) => return Ok(Put::There),
            Err(error) => return Err(self.failed("write", name)(error)),
        }
        if self.get(name).await? != bytes {
            return Err(self.wrong(name, "does not hold what was written to it".to_owned()));
        }
        metrics::counter!("veritwin_ship_bytes_total").increment(bytes.len() as u64);
        Ok(Put::New)
    }

    /// A whole file.
    pub(crate) async fn get(&self, name: &str) -> Result<Bytes> {
        self.find(name).await?.ok_or_else(|| self.wrong(name, "is not there".to_owned()))
    }

    /// A whole file; none when there is none. One that is larger than anything that is shipped is
    /// not read.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<Bytes>> {
        self.check()?;
        let found = match self.store.get(&self.path(name)).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.failed("read", name)(error)),
        };
        let bytes = found.meta.size;
        if bytes > SHIPPED_FILE_BYTES_MAX {
            return Err(self.wrong(
                name,
                format!(
                    "has {bytes} bytes: limit shipped_file_bytes_max exceeded: at most \
                     {SHIPPED_FILE_BYTES_MAX}"
                ),
            ));
        }
        found.bytes().await.map(Some).map_err(self.failed("read", name))
    }

    fn wrong(&self, name: &str, detail: String) -> Error {
        Error::invalid_at(format!("{}/{name}", self.shown), detail)
    }

    /// Goes over the names below a folder and when each was written, until one is refused.
    async fn each(
        &self,
        folder: &str,
        mut take: impl FnMut(&str, Timestamp) -> bool + Send,
    ) -> Result<()> {
        self.check()?;
        let prefix = self.path(folder);
        let mut all = self.store.list(Some(&prefix));
        while let Some(meta) = all.try_next().await.map_err(self.failed("list", folder))? {
            let at = Timestamp::from_micros(meta.last_modified.timestamp_micros());
            let full: &str = meta.location.as_ref();
            if let Some(name) = full.strip_prefix(&self.front)
                && !take(name, at)
            {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Names below a folder, sorted.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        self.each(folder, |name, _| {
            found.push(name.to_owned());
            found.len() <= SHIPPED_FILES_MAX
        })
        .await?;
        if found.len() > SHIPPED_FILES_MAX {
            let detail = format!("limit shipped_files_max exceeded: at most {SHIPPED_FILES_MAX}");
            return Err(self.wrong(folder, detail));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The last name below a folder.
    pub(crate) async fn last(&self, folder: &str) -> Result<Option<String>> {
        let mut last: Option<String> = None;
        self.each(folder, |name, _| {
            if last.as_deref().is_none_or(|last| last < name) {
                last = Some(name.to_owned());
            }
            true
        })
        .await?;
        Ok(last)
    }

    /// Names below a folder that were written before a moment, at most `max`.
    pub(crate) async fn before(
        &self,
        folder: &str,
        before: Timestamp,
        max: usize,
    ) -> Result<Vec<String>> {
        let mut found = Vec::new();
        self.each(folder, |name, at| {
            if at < before {
                found.push(name.to_owned());
            }
            found.len() < max.min(SHIPPED_FILES_MAX)
        })
        .await?;
        Ok(found)
    }

    /// Deletes a file; one that is gone already is fine.
    pub(crate) async fn delete(&self, name: &str) -> Result<()> {
        self.check()?;
        match self.store.delete(&self.path(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("delete", name)(error)),
        }
    }
}

fn refused(detail: &str) -> Error {
    Error::invalid_at("backup.ship_url", detail)
}

/// Host and port of an address.
pub(crate) fn destination_of(key: &'static str, endpoint: &str) -> Result<Destination> {
    let wrong = || Error::invalid_at(key, "must be https://HOST or https://HOST:PORT");
    let (rest, port) = match (endpoint.strip_prefix("https://"), endpoint.strip_prefix("http://")) {
        (Some(rest), _) => (rest, 443),
        (None, Some(rest)) => (rest, 80),
        (None, None) => return Err(wrong()),
    };
    let host = rest.split('/').next().unwrap_or_default();
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') => (host, port.parse().map_err(|_| wrong())?),
        _ => (host, port),
    };
    if host.is_empty() || host.contains('@') {
        return Err(wrong());
    }
    Ok(Destination::new(host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        let check = |endpoint: &str, expect: Option<(&str, u16)>| {
            let found = destination_of("backup.s3_endpoint", endpoint).ok();
            let expect = expect.map(|(host, port)| Destination::new(host, port));
            assert_eq!(found, expect, "{endpoint}");
        };
        check("https://s3.example", Some(("s3.example", 443)));
        check("https://s3.example:9000/", Some(("s3.example", 9000)));
        check("http://127.0.0.1:9000", Some(("127.0.0.1", 9000)));
        check("s3.example", None);
        check("https://me@s3.example", None);
        check("https://s3.example:port", None);
    }

    #[tokio::test]
    async fn what_is_there_is_not_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = Place::folder(dir.path()).expect("opens");
        let one = || Bytes::from_static(b"one");
        assert_eq!(place.put("a/b", one()).await.expect("written"), Put::New);
        let other = Bytes::from_static(b"other");
        assert_eq!(place.put("a/b", other.clone()).await.expect("there"), Put::There);
        assert_eq!(place.get("a/b").await.expect("read"), one());
        place.replace("a/b", other.clone()).await.expect("replaced");
        assert_eq!(place.find("a/b").await.expect("read"), Some(other));
        assert_eq!(place.find("a/c").await.expect("asked"), None);
        place.put("a/a", one()).await.expect("written");
        assert_eq!(place.list("a").await.expect("listed"), ["a/a", "a/b"]);
        assert_eq!(place.last("a").await.expect("listed").as_deref(), Some("a/b"));
        let old = |at| place.before("a", at, 1);
        assert!(old(Timestamp::EPOCH).await.expect("listed").is_empty());
        let end = Timestamp::from_micros(i64::MAX);
        assert_eq!(old(end).await.expect("listed").len(), 1, "as many as are wanted");
        place.delete("a/b").await.expect("deleted");
        place.delete("a/b").await.expect("gone");
        assert!(Place::folder(&dir.path().join("absent")).is_err());
        let huge = std::fs::File::create(dir.path().join("huge")).expect("made");
        huge.set_len(SHIPPED_FILE_BYTES_MAX + 1).expect("long");
        let refused = place.get("huge").await.expect_err("too large").to_string();
        assert!(refused.contains("shipped_file_bytes_max"), "{refused}");
    }
}
