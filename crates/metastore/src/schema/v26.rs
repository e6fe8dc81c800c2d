//! Version 26 of the schema: devices that wait to be claimed, and which went from one tenant to
//! another. Published: never edited.

use super::v1::{OF_DEVICE, OF_TENANT, column};
use super::{Category, ColumnKind, Rows, TableDef};

pub(super) const TABLES: &[TableDef] = &[
    // While it is open, whoever knows the secret claims the device.
    TableDef {
        name: "claim_windows",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Authentication),
            column("device_id", ColumnKind::Id, Category::Authentication),
            column("secret_digest", ColumnKind::Digest, Category::Authentication),
            column("opened_at", ColumnKind::Time, Category::Authentication),
            column("expires_at", ColumnKind::Time, Category::Authentication),
        ],
        primary_key: &["tenant_id", "device_id"],
        unique: &[],
        indexes: &[&["tenant_id", "expires_at"]],
        references: &[OF_TENANT, OF_DEVICE],
    },
    // Both tenants of a move have a row of their own. A device that was claimed may be claimed from
    // there again: it has one row for each of both sides.
    TableDef {
        name: "device_moves",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::DeviceRegistry),
            column("device_id", ColumnKind::Id, Category::DeviceRegistry),
            column("other_tenant_id", ColumnKind::Id, Category::DeviceRegistry),
            column("other_device_id", ColumnKind::Id, Category::DeviceRegistry),
            column("state", ColumnKind::Enum, Category::DeviceRegistry),
            column("moved_at", ColumnKind::Time, Category::DeviceRegistry),
        ],
        primary_key: &["tenant_id", "device_id", "state"],
        unique: &[],
        indexes: &[
            &["tenant_id", "other_tenant_id", "other_device_id"],
            &["tenant_id", "state", "moved_at"],
        ],
        references: &[OF_TENANT, OF_DEVICE],
    },
];
