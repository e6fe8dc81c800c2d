//! Version 46 of the schema: the governance workspace and breaches, with everything that was
//! changed in them. Published: never edited.

use super::v1::{OF_TENANT, column, nullable};
use super::{Category, ColumnKind, Reference, Rows, TableDef};

pub(super) const TABLES: &[TableDef] = &[
    TableDef {
        name: "governance_items",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Organisation),
            column("id", ColumnKind::Id, Category::Organisation),
            column("kind", ColumnKind::Enum, Category::Operation),
            // The framework of a control; what a task belongs to.
            nullable(column("parent_id", ColumnKind::Id, Category::Operation)),
            column("state", ColumnKind::Enum, Category::Operation),
            column("body", ColumnKind::Sealed, Category::Organisation),
            // When somebody has to be told next.
            nullable(column("due_at", ColumnKind::Time, Category::Operation)),
            column("version", ColumnKind::Integer, Category::Operation),
            column("created_at", ColumnKind::Time, Category::Operation),
            column("updated_at", ColumnKind::Time, Category::Operation),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[],
        indexes: &[&["tenant_id", "kind"], &["due_at"]],
        references: &[OF_TENANT],
    },
    TableDef {
        name: "governance_changes",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Organisation),
            column("id", ColumnKind::Id, Category::Organisation),
            column("item_id", ColumnKind::Id, Category::Organisation),
            column("action", ColumnKind::Enum, Category::Operation),
            nullable(column("by_user", ColumnKind::Id, Category::Activity)),
            column("at", ColumnKind::Time, Category::Operation),
            // What was before and after.
            column("body", ColumnKind::Sealed, Category::Organisation),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[],
        indexes: &[&["tenant_id", "item_id"]],
        references: &[
            OF_TENANT,
            Reference {
                columns: &["tenant_id", "item_id"],
                table: "governance_items",
                keys: &["tenant_id", "id"],
            },
        ],
    },
];
