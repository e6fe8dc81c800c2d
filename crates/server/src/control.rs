//! The control socket: how the command line talks to a running platform. One request and one
//! answer per connection; only the same user (or root) may speak. It is not a network listener.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const HEADER_BYTES_MAX: u64 = 1024 * 1024;
/// Largest body: an IFC file.
const BODY_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// What the command line asks for. `body` carries a file where a command takes one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) command: String,
    #[serde(default)]
    pub(crate) arguments: serde_json::Value,
    #[serde(default)]
    body_bytes: u64,
    #[serde(skip)]
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(command: &str, arguments: serde_json::Value) -> Self {
        Self { command: command.to_owned(), arguments, body_bytes: 0, body: Vec::new() }
    }

    pub(crate) fn with_body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }
}

/// The answer: facts, or why not.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Done(serde_json::Value),
    Refused(String),
}

/// Carries out requests; the same for a running and a stopped platform.
#[async_trait]
pub(crate) trait Dispatch: Send + Sync {
    async fn dispatch(&self, request: Request) -> anyhow::Result<serde_json::Value>;
}

/// Listens on the socket until `stop`.
pub(crate) fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    let _ = std::fs::remove_file(path);
    let socket = UnixListener::bind(path)
        .with_context(|| format!("cannot make the control socket {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(socket)
}

/// Answers requests until `stop`.
pub(crate) async fn serve(
    socket: UnixListener,
    dispatch: Arc<dyn Dispatch>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = socket.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        let own = rustix::process::geteuid().as_raw();
        let allowed = stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0);
        if !allowed {
            tracing::warn!("control socket: a process of another user was turned away");
            continue;
        }
        let dispatch = Arc::clone(&dispatch);
        tasks.spawn(async move {
            if let Err(error) = answer(stream, dispatch.as_ref()).await {
                tracing::debug!(%error, "control connection ended");
            }
        });
    }
}

async fn answer(stream: UnixStream, dispatch: &dyn Dispatch) -> anyhow::Result<()> {
    let mut stream = BufReader::new(stream);
    let request = read_request(&mut stream).await?;
    let answer = match dispatch.dispatch(request).await {
        Ok(facts) => Answer::Done(facts),
        Err(error) => Answer::Refused(format!("{error:#}")),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.flush().await?;
    Ok(())
}

async fn read_request(stream: &mut BufReader<UnixStream>) -> anyhow::Result<Request> {
    let mut line = Vec::new();
    (&mut *stream).take(HEADER_BYTES_MAX).read_until(b'\n', &mut line).await?;
    let mut request: Request = serde_json::from_slice(&line).context("not a control request")?;
    ensure!(
        request.body_bytes <= BODY_BYTES_MAX,
        "limit body_bytes_max exceeded: at most {BODY_BYTES_MAX}, got {}",
        request.body_bytes
    );
    let expected = usize::try_from(request.body_bytes)?;
    // In one piece: a buffer that grows leaves as much again behind for the allocator to keep.
    request.body.try_reserve_exact(expected)?;
    (&mut *stream).take(request.body_bytes).read_to_end(&mut request.body).await?;
    ensure!(request.body.len() == expected, "the control request ended early");
    Ok(request)
}

/// Sends one request to the platform that listens on `path`.
pub(crate) async fn call(path: &Path, mut request: Request) -> anyhow::Result<serde_json::Value> {
    let stream = UnixStream::connect(path)
        .await
        .with_context(|| format!("no platform answers on {}", path.display()))?;
    let mut stream = BufReader::new(stream);
    request.body_bytes = request.body.len() as u64;
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.write_all(&request.body).await?;
    stream.flush().await?;
    let mut text = String::new();
    stream.read_line(&mut text).await?;
    match serde_json::from_str(&text).context("the platform stopped before it answered")? {
        Answer::Done(facts) => Ok(facts),
        Answer::Refused(reason) => bail!(reason),
    }
}
