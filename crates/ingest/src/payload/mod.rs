//! What devices write in their messages: ThingsBoard JSON in and out. Everything is parsed in one
//! pass over the received bytes; what is wrong is named with its byte position, and never quoted.

mod cursor;
mod device;
mod edge;
mod encode;
mod gateway;
mod keys;
mod telemetry;

use std::borrow::Cow;

use veritwin_domain::{LimitExceeded, Rule, Screening, Value};

pub(crate) use cursor::{Cursor, Number, check_json};
pub(crate) use device::{asked, key_list};
pub use device::{parse_attributes, parse_attributes_request, parse_client_rpc, parse_json_text};
pub use edge::{EDGE_LINES_MAX, EdgeContent, EdgeLine, parse_edge_content, push_edge_line};
pub use encode::{attributes_json, changes_json, deleted_json, entries_json, rpc_json};
pub(crate) use encode::{
    child_deleted_json, child_entries_json, child_error_json, child_gone_json, child_rpc_json,
    child_scopes_json, child_values_json, push_text, push_value,
};
pub(crate) use gateway::CHILD_NAME_BYTES_MAX;
pub use gateway::{
    CHILD_NAMES_MAX, ChildMessage, ChildrenAttributes, parse_child_message,
    parse_children_attributes,
};
pub use keys::{KEYS_INTERNED_MAX, KeyRefused, KeyTable};
pub use telemetry::{
    ChildrenReadings, MessageContext, parse_children_telemetry, parse_telemetry, parse_values,
};

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
    /// The rule on what must not be kept that was broken, if that is the reason.
    pub rule: Option<Rule>,
}

impl PayloadError {
    pub(crate) fn new(position: usize, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { position, detail: detail.into(), limit: None, rule: None }
    }

    pub(crate) fn limit(position: usize, limit: LimitExceeded) -> Self {
        Self { position, detail: limit.to_string().into(), limit: Some(limit), rule: None }
    }

    fn refused_key(position: usize, error: KeyRefused) -> Self {
        let (detail, rule) = error.told();
        Self { rule, ..Self::new(position, detail) }
    }

    fn refused_value(position: usize, refused: RefusedValue) -> Self {
        let RefusedValue { rule, limit, detail } = refused;
        Self { rule, limit, ..Self::new(position, detail) }
    }

    /// The same error inside a larger text that starts `bytes` earlier.
    pub(crate) fn moved_by(mut self, bytes: usize) -> Self {
        self.position += bytes;
        self
    }
}

impl KeyRefused {
    /// What is wrong, and the rule that was broken.
    pub(crate) fn told(&self) -> (String, Option<Rule>) {
        match self {
            Self::NoKey(error) => (error.to_string(), None),
            Self::Rule(rule) => (rule.refusal("this key"), Some(*rule)),
        }
    }
}

/// A value that must not be kept, or that could not be looked at to its end.
pub(crate) struct RefusedValue {
    pub(crate) rule: Option<Rule>,
    pub(crate) limit: Option<LimitExceeded>,
    pub(crate) detail: String,
}

/// Looks at the value of a key. Measured numbers cost nothing; those of attributes may be written
/// ones.
#[inline]
pub(crate) fn check_value(
    screening: Screening,
    key: &str,
    value: &Value,
    kind: Kept,
) -> Result<(), RefusedValue> {
    let integers = kind == Kept::Attribute;
    match value {
        Value::Double(_) | Value::Boolean(_) => Ok(()),
        Value::Integer(_) if !integers => Ok(()),
        _ => match screening.value(key, value, integers) {
            Ok(None) => Ok(()),
            Ok(Some((rule, path))) => Err(refused_value(rule, path.as_deref())),
            Err(limit) => {
                Err(RefusedValue { rule: None, detail: limit.to_string(), limit: Some(limit) })
            }
        },
    }
}

/// What a value is kept as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// A reading.
    Telemetry,
    /// An attribute.
    Attribute,
}

#[cold]
fn refused_value(rule: Rule, path: Option<&str>) -> RefusedValue {
    let detail = match path {
        Some(path) if !path.is_empty() => {
            rule.refusal(&format!("the value of this key, in {path}"))
        }
        _ => rule.refusal("the value of this key"),
    };
    RefusedValue { rule: Some(rule), limit: None, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_looked_at_to_its_end_is_refused() {
        let check = |depth: usize, expect: Option<&str>| {
            let value = Value::Json("[".repeat(depth).into());
            for kind in [Kept::Telemetry, Kept::Attribute] {
                let refused = check_value(Screening::ALL, "key", &value, kind).err();
                let error = refused.map(|refused| PayloadError::refused_value(7, refused));
                let limit = error.as_ref().and_then(|error| error.limit.as_ref());
                assert_eq!(limit.map(|limit| limit.name), expect, "{depth}: {error:?}");
            }
        };
        check(NESTING_MAX, None);
        check(128, None);
        check(129, Some("json_nesting_max"));
    }
}
