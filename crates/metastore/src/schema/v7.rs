//! Version 7 of the schema: roles of a tenant's own, parts of a tenant, grants; and who made an
//! API key. Published: never edited.

use super::v1::{OF_DEVICE, OF_TENANT, column, nullable};
use super::{AddedColumns, Category, ColumnKind, Reference, Rows, TableDef};

const OF_GROUP: Reference = Reference {
    columns: &["tenant_id", "group_id"],
    table: "device_groups",
    keys: &["tenant_id", "id"],
};
const OF_WORKSPACE: Reference = Reference {
    columns: &["tenant_id", "workspace_id"],
    table: "workspaces",
    keys: &["tenant_id", "id"],
};
const OF_TWIN: Reference =
    Reference { columns: &["tenant_id", "twin_id"], table: "twins", keys: &["tenant_id", "id"] };

pub(super) const TABLES: &[TableDef] = &[
    TableDef {
        name: "custom_roles",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Account),
            column("id", ColumnKind::Id, Category::Account),
            column("body", ColumnKind::Sealed, Category::Account),
            column("version", ColumnKind::Integer, Category::Account),
            column("created_at", ColumnKind::Time, Category::Account),
            column("updated_at", ColumnKind::Time, Category::Account),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[],
        indexes: &[],
        references: &[OF_TENANT],
    },
    TableDef {
        name: "workspaces",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Organisation),
            column("id", ColumnKind::Id, Category::Organisation),
            column("name", ColumnKind::Sealed, Category::Organisation),
            column("version", ColumnKind::Integer, Category::Organisation),
            column("created_at", ColumnKind::Time, Category::Organisation),
            column("updated_at", ColumnKind::Time, Category::Organisation),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[],
        indexes: &[],
        references: &[OF_TENANT],
    },
    TableDef {
        name: "workspace_twins",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Organisation),
            column("twin_id", ColumnKind::Id, Category::Organisation),
            column("workspace_id", ColumnKind::Id, Category::Organisation),
        ],
        // A twin is in one workspace.
        primary_key: &["tenant_id", "twin_id"],
        unique: &[],
        indexes: &[&["tenant_id", "workspace_id"]],
        references: &[OF_WORKSPACE, OF_TWIN],
    },
    TableDef {
        name: "device_groups",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::DeviceRegistry),
            column("id", ColumnKind::Id, Category::DeviceRegistry),
            nullable(column("workspace_id", ColumnKind::Id, Category::DeviceRegistry)),
            column("name", ColumnKind::Sealed, Category::DeviceRegistry),
            column("version", ColumnKind::Integer, Category::DeviceRegistry),
            column("created_at", ColumnKind::Time, Category::DeviceRegistry),
            column("updated_at", ColumnKind::Time, Category::DeviceRegistry),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[],
        indexes: &[],
        references: &[OF_TENANT],
    },
    TableDef {
        name: "group_devices",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::DeviceRegistry),
            column("group_id", ColumnKind::Id, Category::DeviceRegistry),
            column("device_id", ColumnKind::Id, Category::DeviceRegistry),
        ],
        primary_key: &["tenant_id", "group_id", "device_id"],
        unique: &[],
        indexes: &[&["tenant_id", "device_id"]],
        references: &[OF_GROUP, OF_DEVICE],
    },
    TableDef {
        name: "grants",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Account),
            column("id", ColumnKind::Id, Category::Account),
            column("holder_kind", ColumnKind::Enum, Category::Account),
            column("holder_id", ColumnKind::Id, Category::Account),
            nullable(column("role", ColumnKind::Enum, Category::Account)),
            nullable(column("custom_role_id", ColumnKind::Id, Category::Account)),
            column("scope_kind", ColumnKind::Enum, Category::Account),
            nullable(column("scope_id", ColumnKind::Id, Category::Account)),
            nullable(column("node", ColumnKind::Sealed, Category::Account)),
            nullable(column("expires_at", ColumnKind::Time, Category::Account)),
            column("created_at", ColumnKind::Time, Category::Account),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[],
        indexes: &[&["tenant_id", "holder_id"]],
        references: &[OF_TENANT],
    },
];

pub(super) const ADDED: &[AddedColumns] = &[AddedColumns {
    table: "api_keys",
    columns: &[
        // None: made by the platform itself, or before makers were noted.
        nullable(column("maker_id", ColumnKind::Id, Category::Authentication)),
        nullable(column("maker_key_id", ColumnKind::Id, Category::Authentication)),
        nullable(column("addresses", ColumnKind::Sealed, Category::Authentication)),
        nullable(column("last_used_from", ColumnKind::Enum, Category::Authentication)),
    ],
    indexes: &[],
}];
