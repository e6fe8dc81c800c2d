//! A connection to the platform's HTTPS side, opened when it is needed, with one request on it at a
//! time. What it is asked for is not its business.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::request::Builder;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper::{HeaderMap, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use veritwin_domain::Secret;

use super::EdgeError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// What the platform answered.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// The platform's side of HTTPS, as the gateway.
pub(super) struct Line {
    host: String,
    port: u16,
    name: ServerName<'static>,
    connector: TlsConnector,
    token: Secret<String>,
    open: Option<SendRequest<Full<Bytes>>>,
}

fn bad(detail: impl ToString) -> EdgeError {
    EdgeError::Configuration(detail.to_string())
}

/// Host and port of `https://HOST[:PORT]`.
fn address(platform: &str) -> Result<(String, u16), EdgeError> {
    let uri: hyper::Uri = platform.parse().map_err(|error| bad(format!("platform: {error}")))?;
    let host = uri.host().filter(|_| uri.scheme_str() == Some("https"));
    let host = host.filter(|_| matches!(uri.path(), "" | "/")).ok_or_else(|| {
        bad("platform: expected https://HOST or https://HOST:PORT and nothing behind it")
    })?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok((host, uri.port_u16().unwrap_or(443)))
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, EdgeError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(roots);
    };
    let pem = std::fs::read(path).map_err(EdgeError::io(path.display()))?;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| bad(format!("platform_ca: {error}")))?;
        roots.add(certificate).map_err(|error| bad(format!("platform_ca: {error}")))?;
    }
    if roots.is_empty() {
        return Err(bad(format!("platform_ca: no certificate in {}", path.display())));
    }
    Ok(roots)
}

/// What the platform's certificate is checked against.
pub(super) fn server(host: &str) -> Result<ServerName<'static>, EdgeError> {
    ServerName::try_from(host.to_owned()).map_err(|error| bad(error.to_string()))
}

/// TLS that trusts the platform's authority, or the public ones.
pub(super) fn tls(ca: Option<&Path>) -> Result<TlsConnector, EdgeError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| EdgeError::Certificate(error.to_string()))?
        .with_root_certificates(roots(ca)?)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Line {
    pub(super) fn new(
        (platform, ca): (&str, Option<&Path>),
        token: Secret<String>,
    ) -> Result<Self, EdgeError> {
        let (host, port) = address(platform)?;
        let (name, connector) = (server(&host)?, tls(ca)?);
        Ok(Self { host, port, name, connector, token, open: None })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let connecting = async {
            let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
            tcp.set_nodelay(true)?;
            self.connector.connect(self.name.clone(), tcp).await
        };
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
        let tls = connected.map_err(|_| "no connection in time".to_owned())?;
        let tls = tls.map_err(|error| error.to_string())?;
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await;
        let (sender, connection) = shaken.map_err(|error| error.to_string())?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the platform ended");
            }
        });
        Ok(sender)
    }

    /// Asks one thing, and waits so long for an answer of so many bytes. After an error the
    /// connection is another one, and so it is when this is dropped.
    pub(super) async fn ask(
        &mut self,
        request: Builder,
        body: Bytes,
        (patience, bytes_max): (Duration, usize),
    ) -> Result<Answered, String> {
        let is_six = self.host.contains(':');
        let (left, right) = if is_six { ("[", "]") } else { ("", "") };
        let host = format!("{left}{}{right}:{}", self.host, self.port);
        let request = request
            .header(header::HOST, host)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.expose()))
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        let mut sender = match self.open.take().filter(|open| !open.is_closed()) {
            Some(open) => open,
            None => self.connect().await?,
        };
        let asking = async {
            sender.ready().await.map_err(|error| error.to_string())?;
            let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, bytes_max).collect().await;
            Ok::<_, String>((head, body.map_err(|error| error.to_string())?.to_bytes()))
        };
        let answered = tokio::time::timeout(patience, asking).await;
        let (head, body) = answered.map_err(|_| "no answer in time".to_owned())??;
        self.open = Some(sender);
        Ok(Answered { status: head.status, headers: head.headers, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_https_and_nothing_else() {
        let check = |text: &str, expect: Option<(&str, u16)>| {
            let found = address(text).ok();
            assert_eq!(found.as_ref().map(|(host, port)| (host.as_str(), *port)), expect, "{text}");
        };
        check("https://twin.example:8443", Some(("twin.example", 8443)));
        check("https://twin.example/", Some(("twin.example", 443)));
        check("https://[::1]:8443", Some(("::1", 8443)));
        for refused in ["http://twin.example", "twin.example:8443", "https://twin.example/x"] {
            check(refused, None);
        }
    }
}
