//! Requests through the router that the HTTPS listener serves, without a socket in between, and
//! the frame of a probe that walks all endpoints: open, walk, close, answer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::connect_info::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use tower::ServiceExt;
use veritwin_app::{Error, PlatformProbe, ProbeAnswer};

/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Headers that may differ between two answers to the same question.
const VARYING: [&str; 2] = ["date", "x-request-id"];

/// A probe that asks every endpoint with something that it opens before.
#[async_trait]
pub(super) trait Walk: Sync {
    /// What it asks with.
    type Fixture: Send + Sync;
    /// What it found.
    type Walked: Send;

    /// As in [`PlatformProbe::version`].
    const VERSION: u32;

    /// The promise that it checks.
    fn promise(&self) -> u8;

    async fn open(&self) -> Result<Self::Fixture, Error>;

    /// Asks everything; an error says what could not be asked.
    async fn walk(&self, fixture: &Self::Fixture) -> Result<Self::Walked, String>;

    async fn close(&self, fixture: Self::Fixture) -> Result<(), Error>;

    fn answer(walked: Self::Walked) -> ProbeAnswer;
}

/// The probe that runs a walk. What was opened is closed whatever came of it.
pub(super) struct Walker<W>(pub(super) W);

#[async_trait]
impl<W: Walk + Send> PlatformProbe for Walker<W> {
    fn promise(&self) -> u8 {
        self.0.promise()
    }

    fn version(&self) -> u32 {
        W::VERSION
    }

    async fn check(&self) -> ProbeAnswer {
        let fixture = match self.0.open().await {
            Ok(fixture) => fixture,
            Err(error) => return error.into(),
        };
        let walked = self.0.walk(&fixture).await;
        if let Err(error) = self.0.close(fixture).await {
            tracing::warn!(%error, "what a probe opened was not closed");
        }
        walked.map_or_else(ProbeAnswer::CouldNotRun, W::answer)
    }
}

/// A request to make.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) uri: &'a str,
    /// An API key.
    pub(super) token: Option<&'a str>,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
    /// Further headers.
    pub(super) headers: &'static [(&'static str, &'static str)],
    /// A session.
    pub(super) cookie: Option<&'a str>,
    /// Where it seems to come from.
    pub(super) peer: IpAddr,
}

impl<'a> Ask<'a> {
    /// A request without a body or credential.
    pub(super) fn get(uri: &'a str) -> Self {
        Self {
            method: Method::GET,
            uri,
            token: None,
            content_type: "",
            body: Vec::new(),
            headers: &[],
            cookie: None,
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }

    /// A request with a JSON body.
    pub(super) fn json(method: Method, uri: &'a str, body: &serde_json::Value) -> Self {
        let body = body.to_string().into_bytes();
        Self { method, content_type: "application/json", body, ..Self::get(uri) }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answered {
    /// Without what may differ between two answers to the same question.
    pub(super) fn without_varying(mut self) -> Self {
        for name in VARYING {
            self.headers.remove(name);
        }
        self
    }

    pub(super) fn content_type(&self) -> &str {
        self.headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// Asks; an error says what could not be asked.
pub(super) async fn ask(router: &Router, ask: Ask<'_>) -> Result<Answered, String> {
    let mut request = Request::builder().method(ask.method).uri(ask.uri);
    if let Some(token) = ask.token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    if let Some(cookie) = ask.cookie {
        request = request.header(header::COOKIE, cookie);
    }
    if !ask.content_type.is_empty() {
        request = request.header(header::CONTENT_TYPE, ask.content_type);
    }
    for (name, value) in ask.headers {
        request = request.header(*name, *value);
    }
    let peer = SocketAddr::from((ask.peer, 0));
    let request = request
        .header(header::HOST, "localhost")
        .extension(ConnectInfo(peer))
        .body(Body::from(ask.body))
        .map_err(|error| ProbeAnswer::instead("a request of the check cannot be made", &error))?;
    let response = match router.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, ANSWER_BYTES_MAX)
        .await
        .map_err(|error| ProbeAnswer::instead("an answer cannot be read to its end", &error))?;
    Ok(Answered { status: parts.status, headers: parts.headers, body })
}
