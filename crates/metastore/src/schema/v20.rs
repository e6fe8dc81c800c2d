//! Version 20 of the schema: alerts are found by urgency, building and device. Published: never
//! edited.

use super::AddedColumns;

pub(super) const ADDED: &[AddedColumns] = &[AddedColumns {
    table: "alerts",
    columns: &[],
    indexes: &[
        &["tenant_id", "state", "severity", "raised_at", "id"],
        &["tenant_id", "twin_id", "state", "severity", "raised_at", "id"],
        &["tenant_id", "device_id", "raised_at", "id"],
    ],
}];
