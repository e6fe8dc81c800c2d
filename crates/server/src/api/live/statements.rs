//! Statements of SQL under way, which take memory and time: so many of a tenant, so many in all.

use std::sync::Arc;

use veritwin_app::Error;
use veritwin_domain::TenantId;

use super::seats::{Seat, Seats};
use crate::api::Problem;

/// Most statements of one tenant at once.
const TENANT_STATEMENTS_MAX: usize = 2;
/// Most statements at once.
const STATEMENTS_MAX: usize = 4;

/// How many statements are under way.
pub(crate) struct Statements {
    tenants: Arc<Seats<TenantId>>,
    all: Arc<Seats<()>>,
}

/// The places of a statement; given up when dropped.
pub(crate) struct SqlSeats {
    _tenant: Seat<TenantId>,
    _all: Seat<()>,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            tenants: Seats::new("sql_tenant_at_once_max", TENANT_STATEMENTS_MAX),
            all: Seats::new("sql_at_once_max", STATEMENTS_MAX),
        }
    }

    /// Counts a statement of a tenant, until it ends.
    pub(crate) fn begin(&self, tenant: TenantId) -> Result<SqlSeats, Problem> {
        let own = self.tenants.take(tenant);
        let own = own.map_err(|limit| Problem::too_many("Too many statements", &limit))?;
        let all = self.all.take(()).map_err(Error::Crowded)?;
        Ok(SqlSeats { _tenant: own, _all: all })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_of_tenants_and_of_all() {
        let statements = Statements::new();
        let tenant = |number: u8| TenantId::from_bytes([number; 16]);
        let begin = |number: u8| statements.begin(tenant(number));
        let limit = |number: u8| begin(number).err().and_then(|problem| problem.limit);
        let first = begin(1).ok();
        let second = begin(1).ok();
        assert!(first.is_some() && second.is_some());
        assert_eq!(limit(1), Some("sql_tenant_at_once_max"));
        let others = (begin(2).ok(), begin(3).ok());
        assert!(others.0.is_some() && others.1.is_some());
        assert_eq!(limit(4), Some("sql_at_once_max"));
        drop(first);
        assert_eq!(limit(4), None);
    }
}
