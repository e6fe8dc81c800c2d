//! Object lock on the wire: `object_store` has no word for it, but hands what a put was given down
//! to the HTTP service. This one adds the headers of a lock and signs the request anew, and
//! shows what a bucket answers about an object's lock.

use std::fmt;

use async_trait::async_trait;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use object_store::{ClientOptions, HeaderMap, HeaderValue};
use veritwin_domain::{Secret, Timestamp};

/// The only mode that is asked for: nobody can shorten or lift it, the bucket's owner included.
pub(super) const COMPLIANCE: &str = "COMPLIANCE";
const MODE_HEADER: &str = "x-amz-object-lock-mode";
const UNTIL_HEADER: &str = "x-amz-object-lock-retain-until-date";
const DIGEST_HEADER: &str = "x-amz-content-sha256";
/// Which checksum goes along: S3 wants that said of what is to be locked.
const CHECKSUM_HEADER: &str = "x-amz-sdk-checksum-algorithm";
const SERVICE: &str = "s3";

/// Goes with a put: the object is locked until then.
#[derive(Debug, Clone)]
pub(super) struct Until(HeaderValue);

impl Until {
    /// In whole seconds, as S3 reads them; never sooner than `at`.
    pub(super) fn new(at: Timestamp) -> Option<Self> {
        let seconds = at.as_micros().div_euclid(1_000_000).saturating_add(1);
        let whole = Timestamp::from_micros(seconds.saturating_mul(1_000_000)).to_string();
        HeaderValue::from_str(&whole).ok().map(Self)
    }
}

/// What a bucket says of an object's lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) mode: String,
    /// Until when; none when the answer is no moment.
    pub(super) until: Option<Timestamp>,
}

impl Held {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
        let until = text(UNTIL_HEADER).and_then(|text| Timestamp::parse_rfc3339(&text).ok());
        Some(Self { mode: text(MODE_HEADER)?, until })
    }
}

/// Whose requests are signed.
#[derive(Clone)]
pub(super) struct Signer {
    pub(super) region: String,
    pub(super) access_key_id: String,
    pub(super) secret_access_key: Secret<String>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.access_key_id)
    }
}

impl Signer {
    /// Signs a request whose headers were changed since it was signed.
    fn sign(&self, request: &mut HttpRequest) -> Result<(), HttpError> {
        let digest = request.headers().get(DIGEST_HEADER);
        let digest = digest.and_then(|value| hex::decode(value.as_bytes()).ok());
        request.headers_mut().remove("authorization");
        let credential = AwsCredential {
            key_id: self.access_key_id.clone(),
            secret_key: self.secret_access_key.expose().clone(),
            token: None,
        };
        AwsAuthorizer::new(&credential, SERVICE, &self.region)
            .try_authorize(request, digest.as_deref())
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))
    }

    /// Adds the lock to a request that is to have one.
    fn lock(&self, request: &mut HttpRequest) -> Result<(), HttpError> {
        let Some(Until(until)) = request.extensions().get::<Until>().cloned() else {
            return Ok(());
        };
        request.headers_mut().insert(MODE_HEADER, HeaderValue::from_static(COMPLIANCE));
        request.headers_mut().insert(UNTIL_HEADER, until);
        request.headers_mut().insert(CHECKSUM_HEADER, HeaderValue::from_static("SHA256"));
        self.sign(request)
    }
}

impl HttpConnector for Signer {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Locking { client, signer: self.clone() }))
    }
}

/// An HTTP client that locks what is put.
#[derive(Debug)]
struct Locking {
    client: HttpClient,
    signer: Signer,
}

#[async_trait]
impl HttpService for Locking {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.signer.lock(&mut request)?;
        let mut response = self.client.execute(request).await?;
        if let Some(held) = Held::of(response.headers()) {
            response.extensions_mut().insert(held);
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use object_store::client::HttpRequestBody;

    use super::*;

    fn signer() -> Signer {
        Signer {
            region: "eu-west-1".to_owned(),
            access_key_id: "key".to_owned(),
            secret_access_key: Secret::new("canary-secret".to_owned()),
        }
    }

    fn put() -> HttpRequest {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = "PUT".parse().unwrap();
        *request.uri_mut() = "https://s3.example/bucket/journal/1".parse().unwrap();
        request
    }

    #[test]
    fn a_lock_is_added_and_signed_with_the_rest() {
        let at = Timestamp::parse_rfc3339("2027-01-01T00:00:00.5Z").unwrap();
        let mut request = put();
        request.extensions_mut().insert(Until::new(at).unwrap());
        signer().lock(&mut request).unwrap();
        let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header(MODE_HEADER), COMPLIANCE);
        assert_eq!(header(UNTIL_HEADER), "2027-01-01T00:00:01Z");
        let signed = header("authorization");
        for name in [MODE_HEADER, UNTIL_HEADER, CHECKSUM_HEADER] {
            assert!(signed.contains(name), "{signed}");
        }
        assert!(!format!("{:?}", signer()).contains("canary"));
        let held = Held::of(request.headers()).unwrap();
        assert_eq!(held.mode, COMPLIANCE);
        assert!(held.until.unwrap() > at, "never sooner than asked for");
    }

    #[test]
    fn what_is_not_to_be_locked_goes_out_as_it_came() {
        let mut request = put();
        signer().lock(&mut request).unwrap();
        assert!(request.headers().is_empty());
        assert_eq!(Held::of(request.headers()), None);
    }
}
