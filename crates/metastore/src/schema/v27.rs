//! Version 27 of the schema: to which places outside a tenant's messages go and by which rules, how
//! it went, and what is on its way or parked. Published: never edited.

use super::v1::{OF_TENANT, column, nullable};
use super::{Category, ColumnKind, Rows, TableDef};

pub(super) const TABLES: &[TableDef] = &[
    TableDef {
        name: "route_destinations",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Organisation),
            column("id", ColumnKind::Id, Category::Organisation),
            // Name, recipient, purpose, address.
            column("body", ColumnKind::Sealed, Category::Organisation),
            // What calls are signed with.
            column("secret", ColumnKind::Sealed, Category::Authentication),
            column("enabled", ColumnKind::Boolean, Category::Organisation),
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
        name: "route_rules",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Organisation),
            column("id", ColumnKind::Id, Category::Organisation),
            column("body", ColumnKind::Sealed, Category::Organisation),
            column("enabled", ColumnKind::Boolean, Category::Organisation),
            column("version", ColumnKind::Integer, Category::Organisation),
            column("created_at", ColumnKind::Time, Category::Organisation),
            column("updated_at", ColumnKind::Time, Category::Organisation),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[],
        indexes: &[],
        references: &[OF_TENANT],
    },
    // From one rule to one destination messages go in their order: a lane.
    TableDef {
        name: "route_lanes",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Operation),
            column("rule_id", ColumnKind::Id, Category::Operation),
            column("destination_id", ColumnKind::Id, Category::Operation),
            column("matched", ColumnKind::Integer, Category::Operation),
            column("delivered", ColumnKind::Integer, Category::Operation),
            column("retried", ColumnKind::Integer, Category::Operation),
            column("parked", ColumnKind::Integer, Category::Operation),
            column("dropped", ColumnKind::Integer, Category::Operation),
            // How often its first message was tried.
            column("attempts", ColumnKind::Integer, Category::Operation),
            // When its first message is tried; none: none waits.
            nullable(column("next_at", ColumnKind::Time, Category::Operation)),
            nullable(column("last_error", ColumnKind::Enum, Category::Operation)),
            nullable(column("last_status", ColumnKind::Integer, Category::Operation)),
            nullable(column("failed_at", ColumnKind::Time, Category::Operation)),
            nullable(column("delivered_at", ColumnKind::Time, Category::Operation)),
        ],
        primary_key: &["tenant_id", "rule_id", "destination_id"],
        unique: &[],
        indexes: &[&["next_at"], &["tenant_id", "next_at"]],
        references: &[OF_TENANT],
    },
    TableDef {
        name: "route_messages",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::DeviceRegistry),
            column("id", ColumnKind::Id, Category::DeviceRegistry),
            column("rule_id", ColumnKind::Id, Category::DeviceRegistry),
            column("destination_id", ColumnKind::Id, Category::DeviceRegistry),
            column("device_id", ColumnKind::Id, Category::DeviceRegistry),
            // Where it stood in the log, and which part of it this is.
            column("position", ColumnKind::Integer, Category::DeviceRegistry),
            column("part", ColumnKind::Integer, Category::DeviceRegistry),
            column("state", ColumnKind::Enum, Category::DeviceRegistry),
            column("bytes", ColumnKind::Integer, Category::DeviceRegistry),
            column("body", ColumnKind::Sealed, Category::DeviceRegistry),
            // Why it was parked, and what the other side answered.
            nullable(column("reason", ColumnKind::Enum, Category::DeviceRegistry)),
            nullable(column("status", ColumnKind::Integer, Category::DeviceRegistry)),
            column("created_at", ColumnKind::Time, Category::DeviceRegistry),
            // Since when it waits or is parked.
            column("updated_at", ColumnKind::Time, Category::DeviceRegistry),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[],
        indexes: &[
            // What is parked in a lane does not stand before what waits.
            &["tenant_id", "rule_id", "destination_id", "state", "position"],
            &["tenant_id", "state", "position"],
            &["tenant_id", "device_id"],
            &["state", "updated_at"],
        ],
        references: &[OF_TENANT],
    },
];
