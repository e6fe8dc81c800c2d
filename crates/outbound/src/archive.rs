//! The client of the ledger archive: one reconnecting HTTP/2 connection with mutual TLS. The
//! archive's certificate is pinned or comes from one stated CA; no other server is spoken to.

mod tls;

use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Semaphore};
use tokio_rustls::TlsConnector;
use veritwin_domain::LogId;
use veritwin_ledger::wire::{
    AboutBody, AppendQuery, AppendedBody, CreateLogBody, LogSummaryBody, PeriodBody, ProblemBody,
    encode_append,
};
use veritwin_ledger::{Append, Appended, CreateLog, LedgerError, LogSummary};

pub use tls::{ClientIdentity, ServerTrust, TrustError};

use crate::register::{Destination, EgressRegister, NotRegistered};

/// Largest answer in JSON.
const JSON_BYTES_MAX: usize = 1 << 20;
/// Largest resource read: a payload or a full entry bundle.
const RESOURCE_BYTES_MAX: usize = 17 << 20;
/// Most requests on their way at once; more wait.
const REQUESTS_MAX: usize = 64;
const WINDOW_BYTES: u32 = 4 << 20;

/// Why the archive could not be asked, or what it answered.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The address is not in the egress register.
    #[error(transparent)]
    NotRegistered(#[from] NotRegistered),
    /// No connection, no TLS, a connection that broke, or an answer that took too long. Try later;
    /// every request may be repeated.
    #[error("archive {address}: {problem}")]
    Unreachable {
        /// The archive's address.
        address: String,
        /// What happened.
        problem: String,
    },
    /// An answer that this client does not understand.
    #[error("archive answered {status}: {problem}")]
    Answer {
        /// The HTTP status.
        status: u16,
        /// What is wrong.
        problem: String,
    },
    /// The archive refused or failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// How to reach an archive.
#[derive(Debug)]
pub struct ArchiveClientConfig {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How its certificate is recognised.
    pub server: ServerTrust,
    /// This client's certificate and key.
    pub identity: ClientIdentity,
    /// Longest wait for a connection with TLS.
    pub connect_timeout: Duration,
    /// Longest wait for an answer.
    pub request_timeout: Duration,
}

impl ArchiveClientConfig {
    /// With the usual timeouts: 10 s to connect, 30 s to answer.
    pub fn new(host: &str, port: u16, server: ServerTrust, identity: ClientIdentity) -> Self {
        Self {
            host: host.to_owned(),
            port,
            server,
            identity,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
        }
    }
}

type Sender = SendRequest<Full<Bytes>>;

struct Inner {
    host: String,
    port: u16,
    tls: TlsConnector,
    connect_timeout: Duration,
    request_timeout: Duration,
    register: Arc<EgressRegister>,
    connection: Mutex<Option<Sender>>,
    room: Semaphore,
}

/// A client of one archive. Cloning shares the connection.
#[derive(Clone)]
pub struct ArchiveClient(Arc<Inner>);

impl std::fmt::Debug for ArchiveClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ArchiveClient({}:{})", self.0.host, self.0.port)
    }
}

struct Call {
    method: Method,
    path: String,
    content_type: &'static str,
    body: Bytes,
    log: Option<LogId>,
    bytes_max: usize,
}

impl Call {
    fn get(path: String, log: Option<LogId>, bytes_max: usize) -> Self {
        let content_type = "application/octet-stream";
        Self { method: Method::GET, path, content_type, body: Bytes::new(), log, bytes_max }
    }
}

impl ArchiveClient {
    /// A client; connects at the first call.
    pub fn new(
        config: ArchiveClientConfig,
        register: Arc<EgressRegister>,
    ) -> Result<Self, TrustError> {
        let tls = tls::connector(config.server, config.identity)?;
        Ok(Self(Arc::new(Inner {
            host: config.host,
            port: config.port,
            tls,
            connect_timeout: config.connect_timeout,
            request_timeout: config.request_timeout,
            register,
            connection: Mutex::new(None),
            room: Semaphore::new(REQUESTS_MAX),
        })))
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.0.host, self.0.port)
    }

    /// What the archive says of itself; also the test whether it can be reached.
    #[boxed]
    pub async fn about(&self) -> Result<AboutBody, ArchiveError> {
        self.json(Call::get("/v1/archive".to_owned(), None, JSON_BYTES_MAX)).await
    }

    /// Makes a log, or finds the same one.
    #[boxed]
    pub async fn create_log(&self, create: &CreateLog) -> Result<LogSummary, ArchiveError> {
        let body = serde_json::to_vec(&CreateLogBody::from(create))
            .map_err(|error| ArchiveError::Ledger(LedgerError::Invalid(error.to_string())))?;
        let body: LogSummaryBody = self
            .json(Call {
                method: Method::POST,
                path: "/v1/logs".to_owned(),
                content_type: "application/json",
                body: body.into(),
                log: Some(create.log),
                bytes_max: JSON_BYTES_MAX,
            })
            .await?;
        summary(body)
    }

    /// Where a log stands.
    #[boxed]
    pub async fn summary(&self, log: LogId) -> Result<LogSummary, ArchiveError> {
        let call = Call::get(format!("/v1/logs/{log}"), Some(log), JSON_BYTES_MAX);
        summary(self.json(call).await?)
    }

    /// Has every leaf of a log kept at least so long; a shorter time than before changes nothing.
    #[boxed]
    pub async fn keep_for(&self, log: LogId, period: Duration) -> Result<LogSummary, ArchiveError> {
        let body = serde_json::to_vec(&PeriodBody { period_seconds: period.as_secs() })
            .map_err(|error| ArchiveError::Ledger(LedgerError::Invalid(error.to_string())))?;
        let body: LogSummaryBody = self
            .json(Call {
                method: Method::POST,
                path: format!("/v1/logs/{log}/period"),
                content_type: "application/json",
                body: body.into(),
                log: Some(log),
                bytes_max: JSON_BYTES_MAX,
            })
            .await?;
        summary(body)
    }

    /// Appends a leaf. After a broken connection the same call may be made again: the archive knows
    /// the batch.
    #[boxed]
    pub async fn append(&self, append: &Append) -> Result<Appended, ArchiveError> {
        let AppendQuery { expected_size, cursor } =
            AppendQuery { expected_size: append.expected_size, cursor: append.cursor };
        let log = append.log;
        let path = format!("/v1/logs/{log}/leaves?expected_size={expected_size}&cursor={cursor}");
        let body: AppendedBody = self
            .json(Call {
                method: Method::POST,
                path,
                content_type: "application/octet-stream",
                body: encode_append(append).into(),
                log: Some(log),
                bytes_max: JSON_BYTES_MAX,
            })
            .await?;
        Ok(body.into())
    }

    /// Tries to alter or delete what a log holds, on its paths and with the methods that do so
    /// elsewhere. The answer is what succeeded: nothing, of an archive that keeps its word.
    #[boxed]
    pub async fn try_changes(&self, log: LogId) -> Result<Vec<String>, ArchiveError> {
        const FILES: [&str; 4] = ["checkpoint", "log.vkey", "tile/entries/000", "tile/0/000"];
        let own = ["", "/leaves", "/period"].map(|end| format!("/v1/logs/{log}{end}"));
        let files = FILES.map(|name| format!("/v1/logs/{log}/files/{name}"));
        let mut done = Vec::new();
        for path in own.into_iter().chain(files) {
            for method in [Method::DELETE, Method::PUT, Method::PATCH] {
                let shown = format!("{method} {path}");
                let (status, _) = self
                    .call(Call {
                        method,
                        path: path.clone(),
                        content_type: "application/octet-stream",
                        body: Bytes::from_static(b"changed"),
                        log: Some(log),
                        bytes_max: JSON_BYTES_MAX,
                    })
                    .await?;
                if status.is_success() {
                    done.push(shown);
                }
            }
        }
        Ok(done)
    }

    /// Reads `checkpoint`, `log.vkey`, `tile/...` or `payload/SHA256`. None when it is not there.
    #[boxed]
    pub async fn read(&self, log: LogId, name: &str) -> Result<Option<Bytes>, ArchiveError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._".contains(&byte);
        if name.is_empty() || name.len() > 255 || !name.bytes().all(plain) {
            return Ok(None);
        }
        let path = format!("/v1/logs/{log}/files/{name}");
        let (status, body) = self.call(Call::get(path, Some(log), RESOURCE_BYTES_MAX)).await?;
        match status {
            StatusCode::OK => Ok(Some(body)),
            StatusCode::NOT_FOUND
                if serde_json::from_slice(&body)
                    .is_ok_and(|body: ProblemBody| body.is_absent()) =>
            {
                Ok(None)
            }
            other => Err(problem(other, &body, Some(log))),
        }
    }

    /// One log as a [`veritwin_ledger::Source`], to verify or export it. For blocking threads only.
    pub fn source(&self, log: LogId) -> RemoteSource {
        RemoteSource { client: self.clone(), log, runtime: tokio::runtime::Handle::current() }
    }

    async fn json<T: DeserializeOwned>(&self, call: Call) -> Result<T, ArchiveError> {
        let log = call.log;
        let (status, body) = self.call(call).await?;
        if !status.is_success() {
            return Err(problem(status, &body, log));
        }
        serde_json::from_slice(&body).map_err(|error| ArchiveError::Answer {
            status: status.as_u16(),
            problem: error.to_string(),
        })
    }

    /// Every request may be repeated, so that one that died with an old connection is sent again.
    async fn call(&self, call: Call) -> Result<(StatusCode, Bytes), ArchiveError> {
        let _room = self.0.room.acquire().await;
        let (sender, fresh) = self.sender().await?;
        match self.exchange(sender, &call).await {
            Err(ArchiveError::Unreachable { .. }) if !fresh => {
                self.0.connection.lock().await.take();
                let (sender, _) = self.sender().await?;
                self.exchange(sender, &call).await
            }
            other => other,
        }
    }

    async fn exchange(
        &self,
        mut sender: Sender,
        call: &Call,
    ) -> Result<(StatusCode, Bytes), ArchiveError> {
        let request = Request::builder()
            .method(call.method.clone())
            .uri(format!("https://{}{}", self.address(), call.path))
            .header(hyper::header::CONTENT_TYPE, call.content_type)
            .body(Full::new(call.body.clone()))
            .map_err(|error| self.unreachable(error))?;
        let bytes_max = call.bytes_max;
        let exchange = async {
            let answer = sender.send_request(request).await;
            let answer = answer.map_err(|error| self.unreachable(error))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), bytes_max).collect().await;
            let body = body.map_err(|error| self.unreachable(error))?;
            Ok((status, body.to_bytes()))
        };
        match tokio::time::timeout(self.0.request_timeout, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.unreachable("no answer in time")),
        }
    }

    fn unreachable(&self, problem: impl ToString) -> ArchiveError {
        ArchiveError::Unreachable { address: self.address(), problem: problem.to_string() }
    }

    /// The connection in use, or a new one (then `true`).
    async fn sender(&self) -> Result<(Sender, bool), ArchiveError> {
        let mut connection = self.0.connection.lock().await;
        if let Some(sender) = connection.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok((sender.clone(), false));
        }
        self.0.register.check(&Destination::new(&self.0.host, self.0.port))?;
        let connect = self.connect();
        let sender = match tokio::time::timeout(self.0.connect_timeout, connect).await {
            Ok(outcome) => outcome?,
            Err(_) => return Err(self.unreachable("no connection in time")),
        };
        *connection = Some(sender.clone());
        Ok((sender, true))
    }

    async fn connect(&self) -> Result<Sender, ArchiveError> {
        let host = self.0.host.trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, self.0.port)).await;
        let stream = stream.map_err(|error| self.unreachable(error))?;
        stream.set_nodelay(true).map_err(|error| self.unreachable(error))?;
        let name = rustls_pki_types::ServerName::try_from(host.to_owned());
        let name = name.map_err(|error| self.unreachable(error))?;
        let stream = self.0.tls.connect(name, stream).await;
        let stream = stream.map_err(|error| self.unreachable(error))?;
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .keep_alive_interval(Duration::from_secs(20))
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.unreachable(error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the ledger archive ended");
            }
        });
        Ok(sender)
    }
}

fn summary(body: LogSummaryBody) -> Result<LogSummary, ArchiveError> {
    LogSummary::try_from(body)
        .map_err(|error| ArchiveError::Answer { status: 200, problem: error.to_string() })
}

fn problem(status: StatusCode, body: &[u8], log: Option<LogId>) -> ArchiveError {
    match serde_json::from_slice::<ProblemBody>(body) {
        Ok(problem) => ArchiveError::Ledger(problem.into_error(log)),
        Err(_) => ArchiveError::Answer {
            status: status.as_u16(),
            problem: "not a problem document".to_owned(),
        },
    }
}

/// One log of a remote archive, read from blocking threads.
#[derive(Debug, Clone)]
pub struct RemoteSource {
    client: ArchiveClient,
    log: LogId,
    runtime: tokio::runtime::Handle,
}

impl veritwin_ledger::Source for RemoteSource {
    fn open(
        &self,
        name: &str,
    ) -> Result<Option<Box<dyn std::io::Read + '_>>, veritwin_ledger::SourceError> {
        let read = self.runtime.block_on(self.client.read(self.log, name));
        let read = read.map_err(|error| veritwin_ledger::SourceError {
            name: name.to_owned(),
            problem: error.to_string(),
            is_damaged: matches!(&error, ArchiveError::Ledger(cause) if cause.is_damaged()),
        })?;
        Ok(read.map(|bytes| Box::new(std::io::Cursor::new(bytes)) as Box<dyn std::io::Read>))
    }
}
