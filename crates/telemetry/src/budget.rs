//! What answers hold in memory: bounded for one query, whichever of its series needs it, and for
//! all queries together. There is always room for a tenant that holds little, whoever asks much.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use veritwin_domain::{TenantId, Value};

use crate::TelemetryError;
use crate::engine::Engine;

/// The name of the bound of one query.
const QUERY: &str = "query_memory_bytes_max";
/// The name of the bound of all queries.
const QUERIES: &str = "queries_memory_bytes_max";
/// A tenant holds at most so many times what is free: alone three quarters of all.
const TENANT_TIMES_FREE: usize = 3;

/// What all queries hold.
#[derive(Debug)]
pub(crate) struct Pool {
    bytes_max: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    tenants: HashMap<TenantId, usize>,
}

impl Pool {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, held: Mutex::default() }
    }

    fn take(&self, tenant: TenantId, bytes: usize) -> Result<(), TelemetryError> {
        let mut held = self.held.lock();
        let of_tenant = held.tenants.get(&tenant).copied().unwrap_or_default();
        let free = self.bytes_max.checked_sub(held.bytes).and_then(|free| free.checked_sub(bytes));
        let most = free.map_or(0, |free| free.saturating_mul(TENANT_TIMES_FREE));
        if free.is_none() || of_tenant.saturating_add(bytes) > most {
            return Err(TelemetryError::Busy { name: QUERIES, max: self.bytes_max });
        }
        held.bytes += bytes;
        *held.tenants.entry(tenant).or_default() += bytes;
        Ok(())
    }

    fn give_back(&self, tenant: TenantId, bytes: usize) {
        let mut held = self.held.lock();
        held.bytes = held.bytes.saturating_sub(bytes);
        if let Some(of_tenant) = held.tenants.get_mut(&tenant) {
            *of_tenant = of_tenant.saturating_sub(bytes);
            if *of_tenant == 0 {
                held.tenants.remove(&tenant);
            }
        }
    }
}

/// Bytes that one query may hold, for as long as this lives. Clones share what is left.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Share>);

#[derive(Debug)]
struct Share {
    pool: Arc<Pool>,
    tenant: TenantId,
    bytes_max: usize,
    taken: Mutex<usize>,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.pool.give_back(self.tenant, *self.taken.get_mut());
    }
}

impl Budget {
    pub(crate) fn new(pool: Arc<Pool>, tenant: TenantId, bytes_max: usize) -> Self {
        Self(Arc::new(Share { pool, tenant, bytes_max, taken: Mutex::new(0) }))
    }

    /// Takes bytes out of it, or refuses the query.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), TelemetryError> {
        let mut taken = self.0.taken.lock();
        let sum = taken.checked_add(bytes).filter(|sum| *sum <= self.0.bytes_max);
        let Some(sum) = sum else {
            return Err(TelemetryError::Limit { name: QUERY, max: self.0.bytes_max });
        };
        self.0.pool.take(self.0.tenant, bytes)?;
        *taken = sum;
        Ok(())
    }
}

impl TelemetryError {
    /// Whether one query's budget is used up.
    pub(crate) fn is_over_budget(&self) -> bool {
        matches!(self, Self::Limit { name, .. } if *name == QUERY)
    }
}

impl Engine {
    /// A budget for one query of a tenant, as the engine's limits have it.
    pub fn budget(&self, tenant: TenantId) -> Budget {
        let pool = Arc::clone(&self.inner.query_memory);
        Budget::new(pool, tenant, self.inner.limits.query_memory_bytes_max)
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

    fn tenant(number: u8) -> TenantId {
        TenantId::from_bytes([number; 16])
    }

    #[test]
    fn clones_share_what_is_left() {
        let budget = Budget::new(Arc::new(Pool::new(1_000)), tenant(1), 100);
        budget.clone().take(60).expect("fits");
        let error = budget.take(41).expect_err("too much");
        assert!(error.is_over_budget());
        let error = error.to_string();
        assert!(error.contains(QUERY) && error.contains("100"), "{error}");
        budget.take(40).expect("the rest");
    }

    #[test]
    fn there_is_room_for_whoever_holds_little() {
        let pool = Arc::new(Pool::new(1_000));
        let budget = |number| Budget::new(Arc::clone(&pool), tenant(number), 10_000);
        let (one, two) = (budget(1), budget(2));
        one.take(750).expect("three times what is free");
        let error = budget(1).take(1).expect_err("more than that");
        assert!(matches!(error, TelemetryError::Busy { name: QUERIES, .. }), "{error}");
        two.take(180).expect("three times what is free now");
        budget(3).take(40).expect("room for another");
        budget(3).take(71).expect_err("more than there is");
        drop(one);
        budget(3).take(500).expect("given back");
        assert_eq!(pool.held.lock().tenants.len(), 1);
    }
}
