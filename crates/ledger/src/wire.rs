//! What archive and client say to each other in JSON, on both ends of one connection. Numbers that
//! name leaves are integers; hashes and keys are lower-case hexadecimal, entries base64.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use veritwin_domain::{BatchId, LogId};
use veritwin_verify::Digest;

use crate::{Append, Appended, ConflictState, CreateLog, LedgerError, LogSummary};

/// Why a message is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct WireError {
    field: &'static str,
    problem: &'static str,
}

fn wrong(field: &'static str, problem: &'static str) -> WireError {
    WireError { field, problem }
}

fn key(field: &'static str, text: &str) -> Result<[u8; 32], WireError> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| wrong(field, "expected 64 hexadecimal digits"))?;
    Ok(bytes)
}

fn digest(field: &'static str, text: &str) -> Result<Digest, WireError> {
    text.parse().map_err(|_| wrong(field, "expected 64 hexadecimal digits"))
}

/// `POST /v1/logs`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateLogBody {
    log: LogId,
    origin: String,
    submitter: String,
}

impl From<&CreateLog> for CreateLogBody {
    fn from(create: &CreateLog) -> Self {
        Self {
            log: create.log,
            origin: create.origin.clone(),
            submitter: hex::encode(create.submitter),
        }
    }
}

impl TryFrom<CreateLogBody> for CreateLog {
    type Error = WireError;
    fn try_from(body: CreateLogBody) -> Result<Self, WireError> {
        let submitter = key("submitter", &body.submitter)?;
        Ok(Self { log: body.log, origin: body.origin, submitter })
    }
}

/// `POST /v1/logs/LOG/period`: see [`crate::Archive::keep_for`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeriodBody {
    /// In whole seconds.
    pub period_seconds: u64,
}

/// Where a log stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogSummaryBody {
    log: LogId,
    origin: String,
    vkey: String,
    size: u64,
    root: String,
    checkpoint: String,
    last_entry: Option<String>,
    cursor: u64,
    submitter: String,
    /// An archive of before prunes nothing.
    #[serde(default)]
    minimum_index: u64,
    #[serde(default)]
    period_min_seconds: u64,
}

impl From<LogSummary> for LogSummaryBody {
    fn from(summary: LogSummary) -> Self {
        Self {
            log: summary.log,
            origin: summary.origin,
            vkey: summary.vkey,
            size: summary.size,
            root: summary.root.to_string(),
            checkpoint: summary.checkpoint,
            last_entry: summary.last_entry.map(|entry| STANDARD.encode(entry)),
            cursor: summary.cursor,
            submitter: hex::encode(summary.submitter),
            minimum_index: summary.minimum_index,
            period_min_seconds: summary.period_min.as_secs(),
        }
    }
}

impl TryFrom<LogSummaryBody> for LogSummary {
    type Error = WireError;
    fn try_from(body: LogSummaryBody) -> Result<Self, WireError> {
        let entry = body.last_entry.map(|entry| STANDARD.decode(entry)).transpose();
        Ok(Self {
            log: body.log,
            origin: body.origin,
            vkey: body.vkey,
            size: body.size,
            root: digest("root", &body.root)?,
            checkpoint: body.checkpoint,
            last_entry: entry.map_err(|_| wrong("last_entry", "expected base64"))?,
            cursor: body.cursor,
            submitter: key("submitter", &body.submitter)?,
            minimum_index: body.minimum_index,
            period_min: Duration::from_secs(body.period_min_seconds),
        })
    }
}

/// The query of `POST /v1/logs/LOG/leaves`. Its body is [`encode_append`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppendQuery {
    /// See [`Append::expected_size`].
    pub expected_size: u64,
    /// See [`Append::cursor`].
    pub cursor: u64,
}

/// The body of an append: 16-bit length of the leaf, leaf, payload (nothing when there is none).
pub fn encode_append(append: &Append) -> Vec<u8> {
    let payload = append.payload.as_deref().unwrap_or_default();
    let mut body = Vec::with_capacity(2 + append.entry.len() + payload.len());
    body.extend_from_slice(&(append.entry.len() as u16).to_be_bytes());
    body.extend_from_slice(&append.entry);
    body.extend_from_slice(payload);
    body
}

/// From query and body.
pub fn decode_append(log: LogId, query: AppendQuery, body: &[u8]) -> Result<Append, WireError> {
    let cut = || wrong("body", "expected a 16-bit length, the leaf and its payload");
    let (length, rest) = body.split_first_chunk::<2>().ok_or_else(cut)?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (entry, payload) = rest.split_at_checked(length).ok_or_else(cut)?;
    Ok(Append {
        log,
        expected_size: query.expected_size,
        cursor: query.cursor,
        entry: entry.to_vec(),
        payload: (!payload.is_empty()).then(|| payload.to_vec()),
    })
}

/// The answer to an append.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AppendedBody {
    index: u64,
    size: u64,
    checkpoint: String,
    duplicate: bool,
}

impl From<Appended> for AppendedBody {
    fn from(appended: Appended) -> Self {
        let Appended { index, size, checkpoint, duplicate } = appended;
        Self { index, size, checkpoint, duplicate }
    }
}

impl From<AppendedBody> for Appended {
    fn from(body: AppendedBody) -> Self {
        let AppendedBody { index, size, checkpoint, duplicate } = body;
        Self { index, size, checkpoint, duplicate }
    }
}

/// What the archive says of itself: `GET /v1/archive`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AboutBody {
    /// Its program version.
    pub version: String,
    /// SHA-256 over a label and the machine's id: equal to the platform's own on a shared host.
    pub host: Option<String>,
    /// The operating system's user id that it runs as.
    pub os_user: u32,
    /// Number of logs.
    pub logs: u64,
}

impl AboutBody {
    /// What this process would say; the platform compares it with the archive's answer.
    pub fn of_this_process(version: &str, logs: u64) -> Self {
        let machine = std::fs::read_to_string("/etc/machine-id").ok();
        let machine = machine.filter(|id| !id.trim().is_empty());
        let host = machine.map(|id| {
            let labelled = format!("veritwin archive host\n{}", id.trim());
            veritwin_verify::sha256(labelled.as_bytes()).to_string()
        });
        let os_user = rustix::process::getuid().as_raw();
        Self { version: version.to_owned(), host, os_user, logs }
    }
}

impl AboutBody {
    /// Whether it runs on this process's host under its user.
    pub fn is_of_this_process(&self) -> bool {
        let own = Self::of_this_process(&self.version, self.logs);
        own.os_user == self.os_user && (own.host == self.host || self.host.is_none())
    }
}

/// An RFC 9457 problem; `kind` says what the caller does next.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProblemBody {
    title: String,
    status: u16,
    detail: String,
    kind: ProblemKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<ConflictBody>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ProblemKind {
    UnknownLog,
    Absent,
    Invalid,
    Conflict,
    Limit,
    Unavailable,
    Damaged,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct ConflictBody {
    size: u64,
    last_batch: Option<BatchId>,
    last_hash: Option<String>,
    last_sequence: u64,
}

impl ProblemBody {
    /// The problem of an archive error. Paths and causes stay in the archive's own log.
    pub fn of(error: &LedgerError) -> Self {
        let (status, kind, detail) = match error {
            LedgerError::UnknownLog(_) => (404, ProblemKind::UnknownLog, error.to_string()),
            LedgerError::Invalid(_) => (422, ProblemKind::Invalid, error.to_string()),
            LedgerError::Conflict { reason, .. } => (409, ProblemKind::Conflict, reason.clone()),
            LedgerError::Limit(_) => (413, ProblemKind::Limit, error.to_string()),
            LedgerError::Corrupt { .. } | LedgerError::Damaged(_) => {
                (500, ProblemKind::Damaged, "the archive's copy is damaged".to_owned())
            }
            _ => (503, ProblemKind::Unavailable, "the archive cannot serve this now".to_owned()),
        };
        let state = match error {
            LedgerError::Conflict { state, .. } => Some(ConflictBody {
                size: state.size,
                last_batch: state.last_batch,
                last_hash: state.last_hash.map(|hash| hash.to_string()),
                last_sequence: state.last_sequence,
            }),
            _ => None,
        };
        Self { state, ..Self::new(status, kind, detail) }
    }

    /// A request that is not one: unknown path, broken form.
    pub fn invalid(detail: impl ToString) -> Self {
        Self::new(422, ProblemKind::Invalid, detail.to_string())
    }

    /// The log has no such resource.
    pub fn absent(name: &str) -> Self {
        Self::new(404, ProblemKind::Absent, format!("{name}: not there"))
    }

    /// The archive is too busy or too slow.
    pub fn unavailable(detail: &str) -> Self {
        Self::new(503, ProblemKind::Unavailable, detail.to_owned())
    }

    fn new(status: u16, kind: ProblemKind, detail: String) -> Self {
        Self { title: "ledger archive".to_owned(), status, detail, kind, state: None }
    }

    /// True for [`Self::absent`].
    pub fn is_absent(&self) -> bool {
        self.kind == ProblemKind::Absent
    }

    /// The HTTP status.
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The error that a client hands on.
    pub fn into_error(self, log: Option<LogId>) -> LedgerError {
        match (self.kind, self.state, log) {
            (ProblemKind::Conflict, Some(state), _) => LedgerError::Conflict {
                reason: self.detail,
                state: Box::new(ConflictState {
                    size: state.size,
                    last_batch: state.last_batch,
                    last_hash: state.last_hash.and_then(|hash| hash.parse().ok()),
                    last_sequence: state.last_sequence,
                }),
            },
            (ProblemKind::UnknownLog, _, Some(log)) => LedgerError::UnknownLog(log),
            (ProblemKind::Unavailable, _, _) => LedgerError::Unavailable(self.detail),
            (ProblemKind::Damaged, _, _) => LedgerError::Damaged(self.detail),
            _ => LedgerError::Invalid(self.detail),
        }
    }
}
