//! What the answer of one query may hold in memory, whichever of its series needs it.

use std::sync::Arc;

use parking_lot::Mutex;
use veritwin_domain::Value;

use crate::TelemetryError;
use crate::engine::Engine;

/// Bytes that one query may hold. Clones share what is left.
#[derive(Debug, Clone)]
pub struct Budget {
    bytes_max: usize,
    bytes_left: Arc<Mutex<usize>>,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes_left: Arc::new(Mutex::new(bytes_max)) }
    }

    /// Takes bytes out of it, or refuses the query.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), TelemetryError> {
        let mut left = self.bytes_left.lock();
        match left.checked_sub(bytes) {
            Some(less) => {
                *left = less;
                Ok(())
            }
            None => {
                let (name, max) = ("query_memory_bytes_max", self.bytes_max);
                Err(TelemetryError::Limit { name, max })
            }
        }
    }
}

impl Engine {
    /// A budget for one query, as the engine's limits have it.
    pub fn budget(&self) -> Budget {
        Budget::new(self.inner.limits.query_memory_bytes_max)
    }
}

/// What a value takes in an answer, with its time and quality.
pub(crate) fn value_bytes(value: &Value) -> usize {
    let text = match value {
        Value::Text(text) | Value::Json(text) => text.len(),
        Value::Double(_) | Value::Integer(_) | Value::Boolean(_) => 0,
    };
    size_of::<crate::query::Point>() + text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_what_is_left() {
        let budget = Budget::new(100);
        budget.clone().take(60).expect("fits");
        let error = budget.take(41).expect_err("too much").to_string();
        assert!(error.contains("query_memory_bytes_max") && error.contains("100"), "{error}");
        budget.take(40).expect("the rest");
    }
}
