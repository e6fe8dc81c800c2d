//! A platform that is asked through its REST interface, from anywhere: over TLS, with an API key.
//! What it is too busy for is asked again after the time that it names.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use veritwin_domain::Secret;
use veritwin_simulator::Endpoint;

use super::replay::{endpoint_of, read_small};
use super::{BadArguments, JsonPlace};
use crate::datadir::{Paths, is_running};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// Largest answer that is read whole.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How often a busy platform is asked again in a row.
const TRIES_MAX: u32 = 120;
/// A platform that names no time is asked again after this.
const AGAIN_DEFAULT: Duration = Duration::from_secs(2);
/// A time that is longer is not waited for.
const AGAIN_MAX: Duration = Duration::from_secs(60);

/// Where the platform is, and as whom it is asked.
#[derive(Args, Debug, Clone)]
pub(super) struct RemoteArguments {
    /// The platform's HTTPS listener, host:port; from the data directory's run.json by default.
    #[arg(long, value_name = "HOST:PORT", requires = "ca")]
    address: Option<String>,
    /// The authority to trust (PEM); the platform's own by default.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// An API key.
    #[arg(
        long,
        value_name = "KEY",
        env = "VERITWIN_API_KEY",
        hide_env_values = true,
        conflicts_with = "api_key_file"
    )]
    api_key: Option<String>,
    /// A file that holds an API key.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) place: JsonPlace,
}

/// What is needed of `run.json`.
#[derive(Deserialize)]
struct RunFile {
    https: String,
    ca: PathBuf,
}

fn bad(detail: impl Into<String>) -> anyhow::Error {
    BadArguments(detail.into()).into()
}

/// A connection to a platform, or to another server of what anybody may read.
pub(super) struct Remote {
    endpoint: Endpoint,
    key: Option<Secret<String>>,
    open: Option<SendRequest<Full<Bytes>>>,
}

/// One request.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
    /// A further header.
    pub(super) header: Option<(&'static str, String)>,
}

/// What a refusal says.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Refused {
    title: String,
    detail: String,
    position: Option<String>,
}

impl RemoteArguments {
    /// Whether another platform is named than that of the data directory.
    pub(super) const fn is_elsewhere(&self) -> bool {
        self.address.is_some()
    }

    /// The platform that is meant.
    pub(super) fn remote(&self) -> anyhow::Result<Remote> {
        let key = match (&self.api_key, &self.api_key_file) {
            (Some(key), _) => key.clone(),
            (None, Some(path)) => String::from_utf8(read_small(path)?)
                .map_err(|_| bad(format!("{} is not text", path.display())))?,
            (None, None) => {
                return Err(bad(
                    "an API key is needed: give --api-key-file FILE, or VERITWIN_API_KEY",
                ));
            }
        };
        let endpoint = match (&self.address, &self.ca) {
            (Some(address), Some(ca)) => endpoint_of(address, ca)?,
            _ => self.local()?,
        };
        Ok(Remote::to(endpoint, Some(Secret::new(key.trim().to_owned()))))
    }

    fn local(&self) -> anyhow::Result<Endpoint> {
        let data = &self.place.place.data;
        if !is_running(data) {
            bail!(
                "no platform runs on {}: start it, name its directory with --data, or give \
                 --address and --ca",
                data.display()
            );
        }
        let path = Paths::new(data).run_json();
        let run: RunFile = serde_json::from_slice(&read_small(&path)?)
            .with_context(|| format!("{} is not as expected", path.display()))?;
        let ca = self.ca.clone().unwrap_or_else(|| data.join(&run.ca));
        endpoint_of(run.https.trim_start_matches("https://").trim_end_matches('/'), &ca)
    }
}

/// How long a platform asks to be left alone; none when it is not busy.
fn again(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    let is_busy = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let named =
        headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    is_busy.then(|| named.map_or(AGAIN_DEFAULT, Duration::from_secs))
}

impl Remote {
    /// Nothing is asked yet, nor connected.
    pub(super) const fn to(endpoint: Endpoint, key: Option<Secret<String>>) -> Self {
        Self { endpoint, key, open: None }
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let connecting = async {
            let tcp = TcpStream::connect(self.endpoint.address.as_str()).await?;
            tcp.set_nodelay(true)?;
            let connector = TlsConnector::from(self.endpoint.tls.clone());
            connector.connect(self.endpoint.server_name.clone(), tcp).await
        };
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
        let connected = connected.context("the platform does not answer in time")?;
        let tls = connected.with_context(|| format!("cannot reach {}", self.endpoint.address))?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the platform ended");
            }
        });
        Ok(sender)
    }

    async fn send(&mut self, ask: &Ask<'_>) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(ask.path)
            .header(header::HOST, self.endpoint.address.as_str());
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", key.expose()));
        }
        if !ask.content_type.is_empty() {
            request = request.header(header::CONTENT_TYPE, ask.content_type);
        }
        if let Some((name, value)) = &ask.header {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(ask.body.clone()))?;
        let open = match self.open.take() {
            // The platform may have closed it meanwhile.
            Some(mut open) => open.ready().await.is_ok().then_some(open),
            None => None,
        };
        let mut sender = match open {
            Some(open) => open,
            None => self.connect().await?,
        };
        sender.ready().await?;
        let answered = tokio::time::timeout(ANSWER_TIMEOUT, sender.send_request(request)).await;
        let answer = answered.context("the platform does not answer in time")??;
        self.open = Some(sender);
        Ok(answer)
    }

    /// Asks, again where the platform is busy.
    pub(super) async fn answer(&mut self, ask: &Ask<'_>) -> anyhow::Result<Response<Incoming>> {
        let mut tries = 0;
        loop {
            let answer = self.send(ask).await?;
            tries += 1;
            let wait = again(answer.status(), answer.headers());
            let Some(wait) = wait.filter(|wait| *wait <= AGAIN_MAX && tries <= TRIES_MAX) else {
                return Ok(answer);
            };
            whole(answer).await?;
            tokio::time::sleep(wait).await;
        }
    }

    /// Asks, and gives an answer that is none of an error.
    pub(super) async fn ask(&mut self, ask: &Ask<'_>) -> anyhow::Result<Response<Incoming>> {
        let answer = self.answer(ask).await?;
        if answer.status().is_success() { Ok(answer) } else { Err(refusal(answer).await?) }
    }

    /// Asks for what may not be there, or not be the asker's: then what the platform says.
    pub(super) async fn see(
        &mut self,
        ask: &Ask<'_>,
    ) -> anyhow::Result<Result<Response<Incoming>, String>> {
        self.unless(ask, &[StatusCode::NOT_FOUND, StatusCode::FORBIDDEN]).await
    }

    /// Asks for something to be made or changed, which may be refused for what it is: then what the
    /// platform says.
    pub(super) async fn find(
        &mut self,
        ask: &Ask<'_>,
    ) -> anyhow::Result<Result<Response<Incoming>, String>> {
        let refused = [
            StatusCode::NOT_FOUND,
            StatusCode::FORBIDDEN,
            StatusCode::CONFLICT,
            StatusCode::BAD_REQUEST,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::UNPROCESSABLE_ENTITY,
        ];
        self.unless(ask, &refused).await
    }

    async fn unless(
        &mut self,
        ask: &Ask<'_>,
        refused: &[StatusCode],
    ) -> anyhow::Result<Result<Response<Incoming>, String>> {
        let answer = self.answer(ask).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(Ok(answer));
        }
        let refusal = refusal(answer).await?;
        if refused.contains(&status) { Ok(Err(refusal.to_string())) } else { Err(refusal) }
    }

    /// Asks and reads the answer as JSON.
    pub(super) async fn json<T: DeserializeOwned>(&mut self, ask: &Ask<'_>) -> anyhow::Result<T> {
        let answer = self.ask(ask).await?;
        serde_json::from_slice(&whole(answer).await?)
            .context("the platform is of another version than this command")
    }
}

impl<'a> Ask<'a> {
    /// A question without a body.
    pub(super) fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, content_type: "", body: Bytes::new(), header: None }
    }

    /// A question in JSON.
    pub(super) fn post(path: &'a str, body: &serde_json::Value) -> Self {
        let body = Bytes::from(body.to_string());
        let content_type = "application/json";
        Self { method: Method::POST, path, content_type, body, header: None }
    }
}

/// What an answer says that is one of an error.
async fn refusal(answer: Response<Incoming>) -> anyhow::Result<anyhow::Error> {
    let status = answer.status();
    let refused: Refused = serde_json::from_slice(&whole(answer).await?).unwrap_or_default();
    let position = refused.position.map(|at| format!("{at}: ")).unwrap_or_default();
    Ok(match (refused.detail.as_str(), refused.title.as_str()) {
        ("", "") => anyhow::anyhow!("the platform answers {status}"),
        ("", title) => anyhow::anyhow!("{position}{title} ({status})"),
        (detail, _) => anyhow::anyhow!("{position}{detail} ({status})"),
    })
}

/// How many series an export lacks because their people limited what is done with them.
pub(super) fn restricted_in(headers: &HeaderMap) -> u64 {
    let said = headers.get("veritwin-series-restricted");
    said.and_then(|said| said.to_str().ok()?.parse().ok()).unwrap_or(0)
}

/// An answer's body, within its bound.
pub(super) async fn whole(answer: Response<Incoming>) -> anyhow::Result<Bytes> {
    whole_within(answer, ANSWER_BYTES_MAX).await
}

/// The same of an answer that may not be longer.
pub(super) async fn whole_within(
    answer: Response<Incoming>,
    bytes_max: usize,
) -> anyhow::Result<Bytes> {
    let body = Limited::new(answer.into_body(), bytes_max.min(ANSWER_BYTES_MAX)).collect();
    let body = tokio::time::timeout(ANSWER_TIMEOUT, body).await;
    let body = body.context("the platform's answer does not end in time")?;
    Ok(body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?.to_bytes())
}

/// The first bytes of an answer's body; what is behind them is not read.
pub(super) async fn begin_of(
    answer: Response<Incoming>,
    bytes_max: usize,
) -> anyhow::Result<Bytes> {
    let bytes_max = bytes_max.min(ANSWER_BYTES_MAX);
    let begin = tokio::time::timeout(ANSWER_TIMEOUT, begin_of_body(answer.into_body(), bytes_max));
    begin.await.context("the platform's answer does not end in time")?
}

async fn begin_of_body<B>(mut body: B, bytes_max: usize) -> anyhow::Result<Bytes>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut begin = Vec::new();
    while begin.len() < bytes_max {
        let Some(frame) = body.frame().await else { break };
        let frame = frame.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?;
        if let Some(data) = frame.data_ref() {
            let room = bytes_max - begin.len();
            begin.extend_from_slice(data.get(..room).unwrap_or(data));
        }
    }
    Ok(Bytes::from(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_a_long_answer_only_the_beginning_is_read() {
        let body = || Full::new(Bytes::from_static(b"0123456789"));
        for (bytes_max, expect) in [(4, "0123"), (10, "0123456789"), (99, "0123456789"), (0, "")] {
            let begin = begin_of_body(body(), bytes_max).await.expect("read");
            assert_eq!(begin, expect, "{bytes_max}");
        }
    }

    #[test]
    fn only_a_busy_platform_is_asked_again() {
        let mut headers = HeaderMap::new();
        assert_eq!(again(StatusCode::BAD_REQUEST, &headers), None);
        assert_eq!(again(StatusCode::TOO_MANY_REQUESTS, &headers), Some(AGAIN_DEFAULT));
        headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("7"));
        let named = again(StatusCode::SERVICE_UNAVAILABLE, &headers);
        assert_eq!(named, Some(Duration::from_secs(7)));
    }
}
