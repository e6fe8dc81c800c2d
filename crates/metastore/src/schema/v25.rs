//! Version 25 of the schema: which devices are gateways and which device speaks through which;
//! calls to devices that are kept until their end; firmware and software packages. Published:
//! never edited.

use super::v1::{OF_DEVICE, OF_TENANT, column, nullable};
use super::{AddedColumns, Category, ColumnKind, Reference, Rows, TableDef};

pub(super) const ADDED: &[AddedColumns] = &[AddedColumns {
    table: "devices",
    columns: &[
        nullable(column("is_gateway", ColumnKind::Boolean, Category::DeviceRegistry)),
        // The gateway that speaks for it; none of devices that speak for themselves.
        nullable(column("gateway_id", ColumnKind::Id, Category::DeviceRegistry)),
    ],
    indexes: &[&["tenant_id", "gateway_id"]],
}];

const OF_PACKAGE: Reference = Reference {
    columns: &["tenant_id", "package_id"],
    table: "packages",
    keys: &["tenant_id", "id"],
};

pub(super) const TABLES: &[TableDef] = &[
    TableDef {
        name: "device_calls",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::DeviceRegistry),
            column("id", ColumnKind::Id, Category::DeviceRegistry),
            column("device_id", ColumnKind::Id, Category::DeviceRegistry),
            // What the device knows it by.
            column("number", ColumnKind::Integer, Category::DeviceRegistry),
            column("state", ColumnKind::Enum, Category::DeviceRegistry),
            // Method, parameters, answer.
            column("body", ColumnKind::Sealed, Category::DeviceRegistry),
            column("attempts", ColumnKind::Integer, Category::DeviceRegistry),
            column("expires_at", ColumnKind::Time, Category::DeviceRegistry),
            column("version", ColumnKind::Integer, Category::DeviceRegistry),
            column("created_at", ColumnKind::Time, Category::DeviceRegistry),
            column("updated_at", ColumnKind::Time, Category::DeviceRegistry),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[&["tenant_id", "device_id", "number"]],
        indexes: &[&["state", "expires_at"], &["tenant_id", "state"]],
        references: &[OF_TENANT, OF_DEVICE],
    },
    TableDef {
        name: "packages",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::DeviceRegistry),
            column("id", ColumnKind::Id, Category::DeviceRegistry),
            // Kind, title and version together.
            column("name_index", ColumnKind::BlindIndex, Category::DeviceRegistry),
            // Title, version, checksum, and where the bytes are.
            column("body", ColumnKind::Sealed, Category::DeviceRegistry),
            column("bytes", ColumnKind::Integer, Category::DeviceRegistry),
            column("created_at", ColumnKind::Time, Category::DeviceRegistry),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[&["tenant_id", "name_index"]],
        indexes: &[],
        references: &[OF_TENANT],
    },
    TableDef {
        name: "package_assignments",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::DeviceRegistry),
            column("device_id", ColumnKind::Id, Category::DeviceRegistry),
            column("kind", ColumnKind::Enum, Category::DeviceRegistry),
            column("package_id", ColumnKind::Id, Category::DeviceRegistry),
            column("version", ColumnKind::Integer, Category::DeviceRegistry),
            column("created_at", ColumnKind::Time, Category::DeviceRegistry),
        ],
        primary_key: &["tenant_id", "device_id", "kind"],
        unique: &[],
        indexes: &[&["tenant_id", "package_id"]],
        references: &[OF_TENANT, OF_DEVICE, OF_PACKAGE],
    },
];
