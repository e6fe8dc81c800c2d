//! The records: the only SQL of the product, on encrypted SQLite and on PostgreSQL. Whatever a
//! person or customer wrote is sealed before it gets here; the connection pool is private, and
//! the only ways in are [`TenantTx`] and [`PlatformTx`].

mod bind;
mod dump;
mod entity;
mod error;
mod gate;
mod migrate;
mod names;
mod open;
mod page;
mod query;
pub mod schema;
mod seal;
mod spent;
mod store;
mod tx;
mod upgrade;
mod verify;
mod walls;

pub use dump::{DumpSummary, import};
pub use entity::*;
pub use error::{CHANGED, Error, Result};
pub use names::{NAME_INDEX_NAMES_MAX, NAME_INDEX_TENANTS_MAX, NamesTurn};
pub use open::{Database, PostgresConfig};
pub use page::{Cursor, Listed, PAGE_ROWS_MAX, Page, WALK_ROWS_MAX, every_row};
pub use seal::SEALED_BYTES_MAX;
pub use spent::count_statements;
pub use store::{CONNECTIONS_DEFAULT, Config, Metastore};
#[cfg(feature = "test-controls")]
pub use tx::forget_tenant_filter;
pub use tx::{PlatformTx, TenantTx, Usage};
pub use upgrade::{PendingStep, Upgrade};
pub use walls::WallGap;
