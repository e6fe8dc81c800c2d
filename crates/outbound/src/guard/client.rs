//! An HTTPS client for addresses that tenants choose: one request, one connection, verified TLS,
//! bounded in time and bytes, no redirects, no cookies, nothing kept.

use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::turns::{Caller, Turn, Turns, Waits};
use super::{Guard, GuardError, Target};
use crate::archive::{ClientIdentity, TrustError};
use crate::register::{Destination, EgressRegister};

/// Largest answer unless the caller asks for less, in bytes.
pub const REPLY_BYTES_MAX: usize = 1 << 20;
/// Longest header section of an answer, in bytes.
const REPLY_HEADER_BYTES_MAX: usize = 32 * 1024;
const AGENT: HeaderValue = HeaderValue::from_static("Veritwin");

/// One request.
#[derive(Debug)]
pub struct Call<'a> {
    /// The method.
    pub method: Method,
    /// Where to.
    pub target: &'a Target,
    /// Headers beside `Host`; without a `User-Agent` among them there is the platform's usual one.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
    /// Largest answer, in bytes; at most [`REPLY_BYTES_MAX`] counts.
    pub reply_bytes_max: usize,
    /// For everything together: resolving, connecting, sending and the whole answer.
    pub timeout: Duration,
    /// Which certificates are trusted and shown; none is what the client does for all.
    pub tls: Option<&'a CallTls>,
}

/// What is trusted, and with which certificate the platform comes, at places of one kind.
#[derive(Clone)]
pub struct CallTls(TlsConnector);

impl std::fmt::Debug for CallTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CallTls(..)")
    }
}

impl<'a> Call<'a> {
    /// A GET with the usual bounds: 10 s, 1 MiB.
    pub const fn get(target: &'a Target) -> Self {
        Self {
            method: Method::GET,
            target,
            headers: Vec::new(),
            body: Bytes::new(),
            reply_bytes_max: REPLY_BYTES_MAX,
            timeout: Duration::from_secs(10),
            tls: None,
        }
    }

    /// A POST with the usual bounds.
    pub fn post(target: &'a Target, content_type: HeaderValue, body: Bytes) -> Self {
        let headers = vec![(hyper::header::CONTENT_TYPE, content_type)];
        Self { method: Method::POST, headers, body, ..Self::get(target) }
    }

    /// A POST of an encoded form.
    pub fn post_form(target: &'a Target, form: String) -> Self {
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        Self::post(target, kind, Bytes::from(form))
    }

    /// The same with an `Authorization` header; none when its text can be no header.
    pub fn authorized(mut self, text: &str) -> Option<Self> {
        let mut value = HeaderValue::from_str(text).ok()?;
        value.set_sensitive(true);
        self.headers.push((AUTHORIZATION, value));
        Some(self)
    }
}

/// What the other side answered; never a redirect.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// The client.
pub struct GuardedClient {
    guard: Guard,
    register: Arc<EgressRegister>,
    tls: TlsConnector,
    /// For what is not HTTP.
    plain_tls: TlsConnector,
    roots: Arc<RootCertStore>,
    turns: Turns,
}

impl std::fmt::Debug for GuardedClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuardedClient").field("guard", &self.guard).finish_non_exhaustive()
    }
}

impl GuardedClient {
    /// A client. Destinations have to be in the register before they are called. Trusted are the
    /// public authorities and those in `authorities_pem`, the operator's own.
    pub fn new(
        guard: Guard,
        register: Arc<EgressRegister>,
        authorities_pem: Option<&str>,
    ) -> Result<Self, TrustError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        add_authorities(&mut roots, authorities_pem.unwrap_or_default())?;
        let roots = Arc::new(roots);
        let mut config = client_config(Arc::clone(&roots), None)?;
        let plain_tls = TlsConnector::from(Arc::new(config.clone()));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self { guard, register, tls, plain_tls, roots, turns: Turns::default() })
    }

    /// Trust in the authorities of a PEM text alone, where one is given, and a certificate of the
    /// platform's own, where there is one.
    pub fn call_tls(
        &self,
        authorities_pem: Option<&str>,
        identity: Option<ClientIdentity>,
    ) -> Result<CallTls, TrustError> {
        let roots = match authorities_pem {
            None => Arc::clone(&self.roots),
            Some(pem) => {
                let mut own = RootCertStore::empty();
                add_authorities(&mut own, pem)?;
                if own.is_empty() {
                    let problem = "no certificate in it".to_owned();
                    return Err(TrustError::Pem { what: "authorities", problem });
                }
                Arc::new(own)
            }
        };
        let mut config = client_config(roots, identity)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(CallTls(TlsConnector::from(Arc::new(config))))
    }

    /// The guard, to judge an address when a tenant stores it.
    pub const fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Makes one request for a tenant, or for the platform itself.
    #[boxed]
    pub async fn call<'a>(
        &'a self,
        caller: Option<Caller>,
        call: Call<'a>,
    ) -> Result<Reply, GuardError> {
        let host = call.target.host().to_owned();
        let waits = Waits::default();
        match tokio::time::timeout(call.timeout, self.exchange(caller, call, &waits)).await {
            Ok(outcome) => outcome,
            Err(_) => match waits.into_inner() {
                Some(limit) => Err(GuardError::Busy(limit)),
                None => {
                    Err(GuardError::Unreachable { host, problem: "no answer in time".to_owned() })
                }
            },
        }
    }

    /// A connection to a place that is registered and may be called, with its turn.
    pub(super) async fn open(
        &self,
        caller: Option<Caller>,
        target: &Target,
        waits: &Waits,
    ) -> Result<(Turn, TcpStream), GuardError> {
        self.guard.check(target)?;
        let destination = Destination::new(target.host(), target.port());
        self.register.check(&destination)?;
        let turn = self.turns.take(caller, destination, waits).await;
        let turn = turn.map_err(GuardError::Busy)?;
        Ok((turn, self.guard.connect(target).await?))
    }

    /// Verified TLS for what is not HTTP.
    pub(super) async fn secure_plainly(
        &self,
        target: &Target,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, GuardError> {
        secure(&self.plain_tls, target, stream).await
    }

    async fn exchange(
        &self,
        caller: Option<Caller>,
        call: Call<'_>,
        waits: &Waits,
    ) -> Result<Reply, GuardError> {
        let target = call.target;
        let host = target.host().to_owned();
        let broken = |problem: String| GuardError::Unreachable { host: host.clone(), problem };
        let (_turn, stream) = self.open(caller, target, waits).await?;
        let tls = call.tls.map_or(&self.tls, |own| &own.0);
        let stream = secure(tls, target, stream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(REPLY_HEADER_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(error.to_string()))?;
        // Ends with the connection, which ends when the sender is dropped.
        let driver = tokio::spawn(connection);
        let request = request(&call).map_err(|error| broken(error.to_string()))?;
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| broken(error.to_string()))?;
        let status = answer.status();
        let reply = if status.is_redirection() {
            Err(GuardError::Redirect { host: host.clone(), status: status.as_u16() })
        } else {
            let headers = answer.headers().clone();
            let max = call.reply_bytes_max.min(REPLY_BYTES_MAX);
            let body = Limited::new(answer.into_body(), max).collect().await;
            body.map(|body| Reply { status: status.as_u16(), headers, body: body.to_bytes() })
                .map_err(|error| {
                    if error.is::<LengthLimitError>() {
                        let name = "reply_bytes_max";
                        GuardError::Size { host: host.clone(), name, max, status: status.as_u16() }
                    } else {
                        broken(error.to_string())
                    }
                })
        };
        drop(sender);
        driver.abort();
        reply
    }
}

fn add_authorities(roots: &mut RootCertStore, pem: &str) -> Result<(), TrustError> {
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate
            .map_err(|error| TrustError::Pem { what: "authorities", problem: error.to_string() })?;
        roots.add(certificate)?;
    }
    Ok(())
}

fn client_config(
    roots: Arc<RootCertStore>,
    identity: Option<ClientIdentity>,
) -> Result<ClientConfig, TrustError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_root_certificates(roots);
    Ok(match identity {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let (chain, key) = own.into_parts();
            builder.with_client_auth_cert(chain, key)?
        }
    })
}

async fn secure(
    tls: &TlsConnector,
    target: &Target,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, GuardError> {
    let broken =
        |problem: String| GuardError::Unreachable { host: target.host().to_owned(), problem };
    let name = target.host().trim_matches(['[', ']']).trim_end_matches('.').to_owned();
    let name = ServerName::try_from(name).map_err(|error| broken(error.to_string()))?;
    tls.connect(name, stream).await.map_err(|error| broken(format!("TLS: {error}")))
}

fn request(call: &Call<'_>) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let mut request = Request::builder()
        .method(call.method.clone())
        .uri(call.target.path_and_query())
        .header(HOST, call.target.authority());
    if !call.headers.iter().any(|(name, _)| *name == USER_AGENT) {
        request = request.header(USER_AGENT, AGENT);
    }
    for (name, value) in call.headers.iter().filter(|(name, _)| *name != HOST) {
        request = request.header(name, value);
    }
    request.body(Full::new(call.body.clone()))
}
