//! RFC 9457 problem documents: the one mapping from errors to HTTP answers.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use veritwin_app::{Error, RateExceeded, RowError};
use veritwin_domain::LimitExceeded;

/// When to come back after something was crowded, in seconds.
const CROWDED_RETRY_S: u16 = 2;

/// What went wrong, as `application/problem+json`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// A URI reference that names the kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "/problems/not-found")]
    kind: &'static str,
    /// The kind in plain words.
    title: &'static str,
    /// HTTP status code.
    status: u16,
    /// What happened here, and what would be right.
    detail: String,
    /// The field, row or position that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    /// The limit that was passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<&'static str>,
    /// Every row that is wrong, when several are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<RowProblem>>)]
    errors: Option<Box<[RowProblem]>>,
    #[serde(skip)]
    retry_after_s: Option<u16>,
}

/// What is wrong with one row.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RowProblem {
    /// Line and column.
    position: String,
    /// What is wrong, and what would be right.
    detail: String,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            title,
            status: status.as_u16(),
            detail: detail.into(),
            position: None,
            limit: None,
            errors: None,
            retry_after_s: None,
        }
    }

    /// Something inside broke while it was done.
    pub(crate) fn broken() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "/problems/internal",
            "Internal error",
            "something inside broke. The log of the platform says more",
        )
    }

    /// The common answer for whatever does not exist or must not be seen.
    pub(crate) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "/problems/not-found",
            "Not found",
            "there is no such resource",
        )
    }

    /// A rate was passed.
    pub(crate) fn rate(exceeded: &RateExceeded) -> Self {
        let title = "Too many requests";
        let kind = "/problems/rate";
        let mut problem =
            Self::new(StatusCode::TOO_MANY_REQUESTS, kind, title, exceeded.to_string());
        problem.limit = Some(exceeded.name);
        let seconds = exceeded.retry_after.as_millis().div_ceil(1000).max(1);
        problem.retry_after_s = Some(u16::try_from(seconds).unwrap_or(u16::MAX));
        problem
    }

    /// Uploads on their way take all of a room.
    pub(crate) fn no_room(limit: &'static str, wait: Duration) -> Self {
        let seconds = wait.as_secs().max(1);
        let detail = format!(
            "limit {limit}: other uploads on their way take all the room; try again in {seconds} s"
        );
        let status = StatusCode::TOO_MANY_REQUESTS;
        let mut problem = Self::new(status, "/problems/busy", "Too many uploads", detail);
        problem.limit = Some(limit);
        problem.retry_after_s = Some(u16::try_from(seconds).unwrap_or(u16::MAX));
        problem
    }

    /// Too much of an address, a tenant or a person is connected or asked at once.
    pub(crate) fn too_many(title: &'static str, limit: &LimitExceeded) -> Self {
        let status = StatusCode::TOO_MANY_REQUESTS;
        let mut problem = Self::new(status, "/problems/limit", title, limit.to_string());
        problem.limit = Some(limit.name);
        problem.retry_after_s = Some(5);
        problem
    }

    pub(crate) fn unauthenticated(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "/problems/unauthenticated", "Not signed in", detail)
    }

    pub(crate) fn is_unauthenticated(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED.as_u16()
    }

    fn conflict(detail: String) -> Self {
        Self::new(StatusCode::CONFLICT, "/problems/conflict", "Conflict", detail)
    }

    fn changed(what: &str) -> Self {
        let detail = format!("{what}: changed since it was read; nothing was overwritten");
        let title = "Changed in the meantime";
        Self::new(StatusCode::CONFLICT, "/problems/changed", title, detail)
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "/problems/invalid", "Invalid input", detail)
    }

    /// The body holds what must not be kept.
    pub(super) fn refused_data(detail: String) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::new(status, "/problems/refused-data", "Not kept", detail)
    }

    /// Several rows are wrong.
    fn of_rows(rows: Vec<RowError>) -> Self {
        let mut problem = Self::invalid(format!("{} rows are wrong; nothing was done", rows.len()));
        problem.position = rows.first().map(|row| row.at.clone());
        let row = |row: RowError| RowProblem { position: row.at, detail: row.detail };
        problem.errors = Some(rows.into_iter().map(row).collect());
        problem
    }

    /// Names the limit that was passed.
    pub(crate) const fn of_limit(mut self, name: &'static str) -> Self {
        self.limit = Some(name);
        self
    }

    /// So much of it is on its way already.
    fn crowded(limit: LimitExceeded) -> Self {
        let name = limit.name;
        let detail = Error::Crowded(limit).to_string();
        let (kind, title) = ("/problems/crowded", "Too much at once");
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, kind, title, detail);
        Self { retry_after_s: Some(CROWDED_RETRY_S), ..problem.of_limit(name) }
    }

    /// So much was tried that the next try has to wait.
    fn busy(retry_after: Duration) -> Self {
        let detail = Error::Busy { retry_after }.to_string();
        let (kind, title) = ("/problems/busy", "Too many requests");
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, kind, title, detail);
        let seconds = retry_after.as_secs().max(1);
        Self { retry_after_s: Some(u16::try_from(seconds).unwrap_or(u16::MAX)), ..problem }
    }

    fn key_revoked() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "/problems/key-revoked",
            "Key revoked",
            "key_revoked: the key of this customer's data is revoked. An owner or the security \
             lead restores it under Keys",
        )
    }

    fn key_silent() -> Self {
        let problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "/problems/key-unavailable",
            "Key unavailable",
            "key_unavailable: the customer's key service does not answer, and nothing can be read \
             without it. Readings are still taken",
        );
        Self { retry_after_s: Some(5), ..problem }
    }

    pub(crate) fn at(mut self, position: impl Into<String>) -> Self {
        self.position = Some(position.into());
        self
    }
}

/// An action, or what somebody would be doing, is what the role does not allow; anything else is a
/// sentence of its own.
fn forbidden(what: String) -> String {
    let first = what.split(' ').next().unwrap_or_default();
    if first.contains('.') || first.ends_with("ing") {
        return format!("your role does not allow: {what}");
    }
    what
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Unauthenticated(detail) => Self::unauthenticated(detail),
            Error::SecondFactor => Self::new(
                StatusCode::UNAUTHORIZED,
                "/problems/second-factor",
                "Second factor needed",
                "send the code of your authenticator, a recovery code or a passkey as well",
            ),
            Error::NotProven(detail) => Self::new(
                StatusCode::FORBIDDEN,
                "/problems/confirm-identity",
                "Confirm who you are",
                detail,
            ),
            Error::SecondFactorMissing => Self::new(
                StatusCode::FORBIDDEN,
                "/problems/second-factor-missing",
                "Second factor missing",
                "your organisation asks everybody for a second factor: set one up first",
            ),
            Error::InvalidRows(rows) => Self::of_rows(rows),
            Error::Forbidden(what) => Self::new(
                StatusCode::FORBIDDEN,
                "/problems/forbidden",
                "Not allowed",
                forbidden(what),
            ),
            Error::Outside(detail) => Self::new(
                StatusCode::FORBIDDEN,
                "/problems/network",
                "Not from this network",
                detail,
            ),
            Error::NotFound(_) => Self::not_found(),
            Error::Destroyed(detail) => {
                Self::new(StatusCode::GONE, "/problems/destroyed", "Destroyed", detail)
            }
            Error::KeyRevoked => Self::key_revoked(),
            Error::KeyDestroyed(detail) => {
                let kind = "/problems/key-destroyed";
                Self::new(StatusCode::GONE, kind, "Key destroyed", detail)
            }
            Error::KeySilent => Self::key_silent(),
            Error::Changed(what) => Self::changed(what),
            Error::Conflict(detail) => Self::conflict(detail),
            Error::Invalid { detail, at } => {
                let mut problem = Self::invalid(detail);
                problem.position = at;
                problem
            }
            Error::Limit(limit) => {
                let mut problem = Self::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "/problems/limit",
                    "Limit exceeded",
                    limit.to_string(),
                );
                problem.limit = Some(limit.name);
                problem
            }
            Error::StorageFull(limit) => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "/problems/storage",
                "No storage left",
                limit.to_string(),
            )
            .of_limit(limit.name),
            Error::Rate(exceeded) => Self::rate(&exceeded),
            Error::Busy { retry_after } => Self::busy(retry_after),
            Error::Crowded(limit) => Self::crowded(limit),
            Error::Unavailable(detail) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "/problems/unavailable",
                "Not available",
                detail,
            ),
            Error::Internal(detail) => {
                tracing::error!(%detail, "internal error");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "/problems/internal",
                    "Internal error",
                    "something inside broke; nothing was changed. The log of the platform says more",
                )
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after_s = self.retry_after_s;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The answer of every handler.
pub(crate) type Answer<T> = Result<T, Problem>;

#[cfg(test)]
mod tests {
    use super::forbidden;

    #[test]
    fn a_refusal_is_one_sentence() {
        let check = |what: &str, expect: &str| assert_eq!(forbidden(what.to_owned()), expect);
        check("role.read", "your role does not allow: role.read");
        let giving = "giving role.write, which you do not hold there yourself";
        check(giving, &format!("your role does not allow: {giving}"));
        let sentence = "an owner denied this person something, so only an owner takes them out";
        check(sentence, sentence);
    }
}
