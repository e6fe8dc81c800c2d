//! Version 25 of the schema: which devices are gateways, and which device speaks through which.
//! Published: never edited.

use super::v1::{column, nullable};
use super::{AddedColumns, Category, ColumnKind};

pub(super) const ADDED: &[AddedColumns] = &[AddedColumns {
    table: "devices",
    columns: &[
        nullable(column("is_gateway", ColumnKind::Boolean, Category::DeviceRegistry)),
        // The gateway that speaks for it; none of devices that speak for themselves.
        nullable(column("gateway_id", ColumnKind::Id, Category::DeviceRegistry)),
    ],
    indexes: &[&["tenant_id", "gateway_id"]],
}];
