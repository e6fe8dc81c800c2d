//! A bucket that speaks S3 as the place of sealed objects: how many requests are under way at once
//! and how long each may take has a bound, and whoever lists what the platform speaks to is asked
//! before each.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::{AmazonS3Builder, Checksum};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use object_store::limit::LimitStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use veritwin_domain::Secret;

use crate::TelemetryError;

/// Requests under way at once; others wait for one of them to end.
const REQUESTS_MAX: usize = 32;
/// Longest wait for a connection, and for one answer with what it holds.
const CONNECT_MAX: Duration = Duration::from_secs(10);
const ANSWER_MAX: Duration = Duration::from_secs(120);
/// Tries after the first, how long they rest at most, and after how long there is none: the engine
/// then says that it failed, keeps what it has, and does it again later.
const RETRIES_MAX: usize = 4;
const REST_MIN: Duration = Duration::from_millis(100);
const REST_MAX: Duration = Duration::from_secs(5);
const RETRY_TIME_MAX: Duration = Duration::from_secs(60);

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
}

impl BucketConfig {
    /// The address that is spoken to.
    pub fn address(&self) -> String {
        if self.endpoint.is_empty() {
            format!("https://s3.{}.amazonaws.com", self.region)
        } else {
            self.endpoint.clone()
        }
    }
}

/// Asked before each request; a refusal in words means that nothing is sent.
pub type BeforeRequest = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Opens a bucket; nothing is asked of it yet. An engine on it has [`is_shared`] set.
///
/// [`is_shared`]: crate::EngineConfig::is_shared
pub fn open_bucket(
    config: &BucketConfig,
    before: BeforeRequest,
) -> Result<Arc<dyn ObjectStore>, TelemetryError> {
    let refuse = |detail: &str| Err(TelemetryError::Bucket(detail.to_owned()));
    if config.name.is_empty() || config.access_key_id.is_empty() {
        return refuse("it needs a name and an access key");
    }
    let address = config.address();
    let Some(is_plain) = is_plain(&address) else {
        return refuse("its endpoint has to begin with https://");
    };
    let options = ClientOptions::new()
        .with_timeout(ANSWER_MAX)
        .with_connect_timeout(CONNECT_MAX)
        .with_allow_http(is_plain);
    let backoff = BackoffConfig { init_backoff: REST_MIN, max_backoff: REST_MAX, base: 2.0 };
    let retry = RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: RETRY_TIME_MAX };
    let store = AmazonS3Builder::new()
        .with_bucket_name(&config.name)
        .with_endpoint(&address)
        .with_region(&config.region)
        .with_access_key_id(&config.access_key_id)
        .with_secret_access_key(config.secret_access_key.expose())
        .with_checksum_algorithm(Checksum::SHA256)
        .with_allow_http(is_plain)
        .with_client_options(options)
        .with_retry(retry)
        .with_http_connector(Watch(before))
        .build();
    let store = match store {
        Ok(store) => LimitStore::new(store, REQUESTS_MAX),
        Err(error) => return refuse(&error.to_string()),
    };
    let front = config.front.trim_matches('/');
    if front.is_empty() {
        return Ok(Arc::new(store));
    }
    Ok(Arc::new(PrefixStore::new(store, Path::from(front))))
}

/// Whether an endpoint is without TLS, which is for this machine alone; none where it is not to be
/// spoken to.
fn is_plain(endpoint: &str) -> Option<bool> {
    if endpoint.starts_with("https://") {
        return Some(false);
    }
    let host = endpoint.strip_prefix("http://")?.split('/').next().unwrap_or_default();
    let is_port = |rest: &str| {
        rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
    };
    let is_own = |own: &str| host.strip_prefix(own).is_some_and(is_port);
    ["127.0.0.1", "localhost", "[::1]"].into_iter().any(is_own).then_some(true)
}

#[derive(Clone)]
struct Watch(BeforeRequest);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

impl HttpConnector for Watch {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Watched { client, before: self.clone() }))
    }
}

/// An HTTP client that asks first.
#[derive(Debug)]
struct Watched {
    client: HttpClient,
    before: Watch,
}

#[async_trait]
impl HttpService for Watched {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if let Err(refusal) = (self.before.0)() {
            return Err(HttpError::new(HttpErrorKind::Unknown, std::io::Error::other(refusal)));
        }
        self.client.execute(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_without_tls_are_on_this_machine() {
        let check = |endpoint: &str, expect: Option<bool>| {
            assert_eq!(is_plain(endpoint), expect, "{endpoint}");
        };
        check("https://s3.example", Some(false));
        check("http://127.0.0.1:9000", Some(true));
        check("http://localhost/", Some(true));
        check("http://s3.example", None);
        check("http://[::1]", Some(true));
        check("http://[::1]:9000", Some(true));
        check("http://localhost@s3.example", None);
        check("http://localhost:80@s3.example", None);
        check("http://localhost.example", None);
        check("s3.example", None);
    }
}
