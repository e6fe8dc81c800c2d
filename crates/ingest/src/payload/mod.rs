//! What devices write in their messages: ThingsBoard JSON in and out. Everything is parsed in one
//! pass over the received bytes; what is wrong is named with its byte position, and never quoted.

mod cursor;
mod device;
mod encode;
mod keys;
mod telemetry;

use std::borrow::Cow;

use veritwin_domain::LimitExceeded;

pub(crate) use cursor::{Cursor, Number, check_json};
pub(crate) use device::key_list;
pub use device::{parse_attributes, parse_attributes_request, parse_client_rpc, parse_json_text};
pub use encode::{attributes_json, deleted_json, entries_json, rpc_json};
pub use keys::{KEYS_INTERNED_MAX, KeyTable};
pub use telemetry::{MessageContext, parse_telemetry, parse_values};

/// Deepest nesting of objects and arrays in one payload.
pub const NESTING_MAX: usize = 32;

/// Why a payload is refused. The text holds positions, limits and what would be right, but
/// nothing that the device wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {position}: {detail}")]
pub struct PayloadError {
    /// Where, counted in bytes from 0.
    pub position: usize,
    /// What was wrong and what would be right.
    pub detail: Cow<'static, str>,
    /// The limit that was passed, if that is the reason.
    pub limit: Option<LimitExceeded>,
}

impl PayloadError {
    pub(crate) fn new(position: usize, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { position, detail: detail.into(), limit: None }
    }

    pub(crate) fn limit(position: usize, limit: LimitExceeded) -> Self {
        Self { position, detail: limit.to_string().into(), limit: Some(limit) }
    }

    /// The same error inside a larger text that starts `bytes` earlier.
    pub(crate) fn moved_by(mut self, bytes: usize) -> Self {
        self.position += bytes;
        self
    }
}
