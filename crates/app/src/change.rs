//! A change of configuration as it is recorded: what was there, and what is.

/// A change of configuration, as it is recorded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Change {
    pub(crate) before: Option<serde_json::Value>,
    pub(crate) after: Option<serde_json::Value>,
}

impl Change {
    /// From a value that was there to one that is.
    pub(crate) fn from_to(before: serde_json::Value, after: serde_json::Value) -> Self {
        Self { before: Some(before), after: Some(after) }
    }

    /// Something new.
    pub(crate) fn to(after: serde_json::Value) -> Self {
        Self { before: None, after: Some(after) }
    }

    /// Something that is gone.
    pub(crate) fn from(before: serde_json::Value) -> Self {
        Self { before: Some(before), after: None }
    }
}
