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
use object_store::{
    ClientOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};
use veritwin_outbound::register::{Destination, DestinationKind, EgressRegister};

use super::S3Access;
use crate::{Error, Result};

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
            .with_fsync(true);
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
        let destination = destination_of(&endpoint)?;
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
            let detail = "does not hold what was written to it";
            return Err(Error::invalid_at(format!("{}/{name}", self.shown), detail));
        }
        metrics::counter!("veritwin_ship_bytes_total").increment(bytes.len() as u64);
        Ok(Put::New)
    }

    /// A whole file.
    pub(crate) async fn get(&self, name: &str) -> Result<Bytes> {
        self.check()?;
        let path = self.path(name);
        let read = async { self.store.get(&path).await?.bytes().await };
        read.await.map_err(self.failed("read", name))
    }

    /// A whole file; none when there is none.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<Bytes>> {
        self.check()?;
        let path = self.path(name);
        let read = async { self.store.get(&path).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", name)(error)),
        }
    }

    /// Names below a folder with their facts, sorted, at most `max`.
    pub(crate) async fn list(&self, folder: &str, max: usize) -> Result<Vec<(String, ObjectMeta)>> {
        self.check()?;
        let prefix = self.path(folder);
        let mut found = Vec::new();
        let mut all = self.store.list(Some(&prefix));
        while let Some(meta) = all.try_next().await.map_err(self.failed("list", folder))? {
            let full = meta.location.to_string();
            let Some(name) = full.strip_prefix(&self.front) else { continue };
            found.push((name.to_owned(), meta));
            if found.len() > max {
                let detail = format!("limit shipped_files_max exceeded: at most {max}");
                return Err(Error::invalid_at(format!("{}/{folder}", self.shown), detail));
            }
        }
        found.sort_unstable_by(|one, other| one.0.cmp(&other.0));
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
fn destination_of(endpoint: &str) -> Result<Destination> {
    let wrong =
        || Error::invalid_at("backup.s3_endpoint", "must be https://HOST or https://HOST:PORT");
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
            let found = destination_of(endpoint).ok();
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
        let names = place.list("a", 9).await.expect("listed");
        assert_eq!(names.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a/b"]);
        place.delete("a/b").await.expect("deleted");
        place.delete("a/b").await.expect("gone");
        assert!(Place::folder(&dir.path().join("absent")).is_err());
    }
}
