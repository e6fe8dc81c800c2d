//! The way to the platform: one batch at a time over HTTPS, in the order of the counters, again and
//! again until it is taken. Nothing is asked of the platform but what became of a batch.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use veritwin_domain::{Clock, Secret};

use super::EdgeError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long an answer is waited for, when there is hardly anything to send.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// For each of so many bytes a second more: a slow line has to carry a batch in one go.
const BYTES_PER_SECOND: u64 = 4 * 1024;
/// The longest wait; the platform itself waits for less.
const ANSWER_TIMEOUT_MAX: Duration = Duration::from_secs(200);
/// Fast, and small enough: readings take about a tenth.
const PACKED_LEVEL: i32 = 1;
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Longest pause that the platform can ask for.
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// Longest text of a refusal that is kept.
const DETAIL_CHARS_MAX: usize = 300;

/// What became of an attempt.
#[derive(Debug)]
pub(super) enum Sent {
    /// The platform has it; go on after the pause.
    Taken { pause: Duration, refused: u64, clock_offset_us: Option<i64> },
    /// Not now: again after a pause, the platform's own if it named one.
    Later { detail: String, pause: Option<Duration> },
    /// The platform will not take it as things stand: somebody has to do something.
    Refused(String),
}

#[derive(Deserialize)]
struct Answer {
    outcome: String,
    last_counter: u64,
    #[serde(default)]
    refused: u64,
    #[serde(default)]
    wait_ms: u64,
    now_us: Option<i64>,
}

#[derive(Deserialize)]
struct Problem {
    detail: String,
}

/// The client.
pub(super) struct Uploader {
    host: String,
    port: u16,
    name: ServerName<'static>,
    connector: TlsConnector,
    token: Secret<String>,
    clock: Arc<dyn Clock>,
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

impl Uploader {
    pub(super) fn new(
        (platform, ca): (&str, Option<&Path>),
        token: Secret<String>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, EdgeError> {
        let (host, port) = address(platform)?;
        let (name, connector) = (server(&host)?, tls(ca)?);
        Ok(Self { host, port, name, connector, token, clock, open: None })
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

    /// Sends one batch and says what became of it.
    pub(super) async fn send(&mut self, body: Bytes, waiting: u64) -> Sent {
        match self.try_send(body, waiting).await {
            Ok(sent) => sent,
            Err(detail) => {
                self.open = None;
                Sent::Later { detail, pause: None }
            }
        }
    }

    async fn try_send(&mut self, body: Bytes, waiting: u64) -> Result<Sent, String> {
        let patience = answer_timeout(body.len());
        let is_six = self.host.contains(':');
        let (left, right) = if is_six { ("[", "]") } else { ("", "") };
        let host = format!("{left}{}{right}:{}", self.host, self.port);
        let request = Request::builder()
            .method(Method::POST)
            .uri("/v1/edge/batches")
            .header(header::HOST, host)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.expose()))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_ENCODING, "zstd")
            .header("veritwin-edge-waiting", waiting)
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
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            Ok::<_, String>((head, body.map_err(|error| error.to_string())?.to_bytes()))
        };
        let answered = tokio::time::timeout(patience, asking).await;
        let (head, body) = answered.map_err(|_| "no answer in time".to_owned())??;
        // The platform looks at its clock last of all: sending may have taken minutes.
        let answered_us = self.clock.now().as_micros();
        self.open = Some(sender);
        Ok(read(head.status, retry_after(&head.headers), &body, answered_us))
    }
}

/// The body of a request: length of the statement, statement and content, compressed.
pub(super) fn body(statement: &[u8], content: &str) -> Result<Bytes, EdgeError> {
    let length = u16::try_from(statement.len());
    let length = length.map_err(|error| EdgeError::Damaged(error.to_string()))?;
    let plain = [length.to_be_bytes().as_slice(), statement, content.as_bytes()].concat();
    let packed = zstd::bulk::compress(&plain, PACKED_LEVEL);
    packed.map(Bytes::from).map_err(EdgeError::io("compressing a batch"))
}

fn answer_timeout(bytes: usize) -> Duration {
    let more = Duration::from_secs(bytes as u64 / BYTES_PER_SECOND);
    (ANSWER_TIMEOUT + more).min(ANSWER_TIMEOUT_MAX)
}

fn retry_after(headers: &hyper::HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(PAUSE_MAX))
}

/// What the platform says of a refusal, without what a terminal would act on.
fn detail(status: StatusCode, body: &[u8]) -> String {
    let problem = serde_json::from_slice::<Problem>(body).map(|problem| problem.detail);
    let text = problem.unwrap_or_default();
    let text: String =
        text.chars().filter(|one| !one.is_control()).take(DETAIL_CHARS_MAX).collect();
    format!("{}: {text}", status.as_u16())
}

fn read(status: StatusCode, pause: Option<Duration>, body: &[u8], answered_us: i64) -> Sent {
    match (status, serde_json::from_slice::<Answer>(body)) {
        (StatusCode::OK, Ok(answer)) if matches!(&*answer.outcome, "kept" | "known") => {
            Sent::Taken {
                pause: Duration::from_millis(answer.wait_ms).min(PAUSE_MAX),
                refused: answer.refused,
                clock_offset_us: answer.now_us.map(|now| now.saturating_sub(answered_us)),
            }
        }
        (StatusCode::CONFLICT, Ok(answer)) => Sent::Refused(format!(
            "the platform has other batches of this edge, up to {}: {}",
            answer.last_counter,
            if answer.outcome == "fork" { "this one contradicts them" } else { "this is too late" }
        )),
        (StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT, _) => {
            Sent::Later { detail: detail(status, body), pause }
        }
        (status, _) if status.is_client_error() => Sent::Refused(detail(status, body)),
        (status, _) => Sent::Later { detail: detail(status, body), pause },
    }
}

/// The pause after so many failures in a row: doubled each time up to the most, and half of it by
/// chance, so that edges do not come back all at once.
pub(super) fn back_off(failures: u32, chance: u64) -> Duration {
    const MOST: Duration = Duration::from_secs(30);
    let whole = Duration::from_secs(1 << failures.min(5)).min(MOST);
    let half = whole / 2;
    let millis = u64::try_from(half.as_millis()).unwrap_or(0).max(1);
    half + Duration::from_millis(chance % millis)
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

    #[test]
    fn answers_are_told_apart() {
        let kept = br#"{"outcome":"kept","last_counter":4,"refused":1,"wait_ms":5,"now_us":107}"#;
        let Sent::Taken { pause, refused, clock_offset_us } = read(StatusCode::OK, None, kept, 100)
        else {
            panic!("taken");
        };
        assert_eq!((pause, refused, clock_offset_us), (Duration::from_millis(5), 1, Some(7)));
        let fork = br#"{"outcome":"fork","last_counter":4}"#;
        let is_refused =
            |status, body: &[u8]| matches!(read(status, None, body, 0), Sent::Refused(_));
        assert!(is_refused(StatusCode::CONFLICT, fork));
        assert!(is_refused(StatusCode::FORBIDDEN, br#"{"detail":"not registered"}"#));
        for status in [408, 429, 500, 503, 507] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert!(!is_refused(status, b""), "{status}");
        }
        // What is no answer of a platform is no proof of anything.
        assert!(matches!(read(StatusCode::OK, None, b"<html>", 0), Sent::Later { .. }));
    }

    #[test]
    fn a_slow_line_has_time_for_a_batch() {
        for (bytes, seconds) in [(300, 60), (100 * 1024, 85), (8 * 1024 * 1024, 200)] {
            assert_eq!(answer_timeout(bytes), Duration::from_secs(seconds), "{bytes}");
        }
    }

    #[test]
    fn a_body_is_what_the_platform_unpacks() {
        let content = "{\"device\":\"pump\"}\n".repeat(1_000);
        let packed = body(b"statement", &content).expect("packed");
        assert!(packed.len() < content.len() / 10, "{}", packed.len());
        let plain = zstd::bulk::decompress(&packed, 1024 * 1024).expect("unpacked");
        assert_eq!(plain, [&b"\x00\x09statement"[..], content.as_bytes()].concat());
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        for (failures, least, most) in [(0, 500, 1_000), (3, 4_000, 8_000), (40, 15_000, 30_000)] {
            for chance in [0, 1, 999_999_999] {
                let pause = back_off(failures, chance).as_millis();
                assert!((least..=most).contains(&pause), "{failures}: {pause}");
            }
        }
    }
}
