//! Problem documents (RFC 9457) of the device API.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use veritwin_domain::{LimitExceeded, Rule, Timestamp};

use crate::bulk::{BulkError, Place};
use crate::decoding::DecodeError;
use crate::model::{DeviceSession, Refusal, RefusalReason};
use crate::payload::PayloadError;
use crate::traits::{LoginError, Objection, SubmitError};

/// An error answer.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'static str>,
    /// Byte position in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u32>,
    #[serde(skip)]
    retry_after_seconds: Option<u32>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            limit: None,
            position: None,
            line: None,
            row: None,
            column: None,
            retry_after_seconds: None,
        }
    }

    pub(super) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = u32::try_from(seconds.max(1)).ok();
        self
    }

    fn busy(detail: String, limit: Option<&'static str>, retry_after: Duration) -> Self {
        let seconds = u64::try_from(retry_after.as_millis().div_ceil(1000)).unwrap_or(u64::MAX);
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(seconds);
        Self { limit, ..problem }
    }

    /// At a line, or what is counted instead; 0 is none.
    pub(super) fn at(mut self, place: Place, line: usize) -> Self {
        let number = u32::try_from(line).ok().filter(|number| *number > 0);
        match place {
            Place::Line => self.line = number,
            Place::Row => self.row = number,
            Place::Byte => {}
        }
        self
    }

    /// Of readings that a decoder gave.
    pub(super) fn of_decoded(self) -> Self {
        Self { position: None, detail: format!("decoded readings: {}", self.detail), ..self }
    }

    /// What is remembered of it for the device's people; nothing of what is wrong on this side.
    pub(super) fn refusal(
        &self,
        session: &DeviceSession,
        received_at: Timestamp,
        payload_bytes: usize,
    ) -> Option<Refusal> {
        let reason = match self.status {
            400 | 415 => RefusalReason::Payload,
            403 => RefusalReason::NotAllowed,
            413 | 429 | 507 => RefusalReason::Limit,
            422 => RefusalReason::Policy,
            _ => return None,
        };
        Some(Refusal {
            tenant: session.tenant,
            device: session.device,
            credential: session.credential,
            received_at,
            reason,
            detail: self.detail.clone(),
            position: self.position.and_then(|position| usize::try_from(position).ok()),
            limit: self.limit,
            payload_bytes: payload_bytes as u64,
        })
    }

    fn of_limit(limit: &LimitExceeded) -> Self {
        let problem = Self::new(StatusCode::PAYLOAD_TOO_LARGE, limit.to_string());
        Self { limit: Some(limit.name), ..problem }
    }
}

/// What could be read and must not be kept is 422; what could not be read is 400.
const fn status_of(rule: Option<Rule>) -> StatusCode {
    match rule {
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
        None => StatusCode::BAD_REQUEST,
    }
}

impl From<LimitExceeded> for Problem {
    fn from(limit: LimitExceeded) -> Self {
        Self::of_limit(&limit)
    }
}

impl From<PayloadError> for Problem {
    fn from(error: PayloadError) -> Self {
        let problem = match &error.limit {
            Some(limit) => Self::of_limit(limit),
            None => Self::new(status_of(error.rule), error.to_string()),
        };
        Self { position: u32::try_from(error.position).ok(), ..problem }
    }
}

impl From<DecodeError> for Problem {
    fn from(error: DecodeError) -> Self {
        let detail = error.to_string();
        match error {
            DecodeError::Refused { line, column, .. } => Self {
                line: line.and_then(|line| u32::try_from(line).ok()),
                column: column.and_then(|column| u32::try_from(column).ok()),
                ..Self::new(StatusCode::BAD_REQUEST, detail)
            },
            DecodeError::Busy { retry_after } => Self::busy(detail, None, retry_after),
            DecodeError::Unavailable(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, detail),
        }
    }
}

impl From<BulkError> for Problem {
    fn from(error: BulkError) -> Self {
        let problem = match &error.limit {
            Some(limit) => Self::of_limit(limit),
            None => Self::new(status_of(error.rule), error.to_string()),
        };
        let number = u32::try_from(error.column).ok();
        match error.place {
            Place::Byte => Self { position: number, ..problem },
            Place::Line | Place::Row => {
                let column = number.filter(|number| *number > 0);
                Self { column, ..problem.at(error.place, error.line) }
            }
        }
    }
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        let detail = error.to_string();
        match error {
            LoginError::Unknown => Self::new(StatusCode::UNAUTHORIZED, detail),
            LoginError::Denied(_) => Self::new(StatusCode::FORBIDDEN, detail),
            LoginError::Busy { retry_after, limit, .. } => Self::busy(detail, limit, retry_after),
            LoginError::Unavailable(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(5)
            }
        }
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        let detail = error.to_string();
        match error {
            SubmitError::Unavailable(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(5)
            }
            SubmitError::Busy { retry_after, limit, .. } => Self::busy(detail, limit, retry_after),
            SubmitError::Denied(_) => Self::new(StatusCode::FORBIDDEN, detail),
            SubmitError::NotFound(_) => Self::new(StatusCode::NOT_FOUND, detail),
            SubmitError::Limit(limit) => limit.into(),
            SubmitError::Invalid(_) => Self::new(StatusCode::BAD_REQUEST, detail),
        }
    }
}

impl From<Objection> for Problem {
    fn from(objection: Objection) -> Self {
        let detail = objection.to_string();
        match objection {
            Objection::Policy(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail),
            Objection::Storage(limit) => {
                let problem = Self::new(StatusCode::INSUFFICIENT_STORAGE, detail);
                Self { limit: Some(limit.name), ..problem }
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let retry_after = self.retry_after_seconds;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
