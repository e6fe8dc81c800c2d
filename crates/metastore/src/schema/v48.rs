//! Version 48 of the schema: organisations that end, and mailboxes from which requests of data
//! subjects are read. Published: never edited.

use super::v1::{OF_TENANT, column, nullable};
use super::{Category, ColumnKind, Rows, TableDef};

pub(super) const TABLES: &[TableDef] = &[
    TableDef {
        name: "tenant_ends",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Organisation),
            column("state", ColumnKind::Enum, Category::Organisation),
            // Who asked, who agreed, what was done, as JSON, under the platform's key: it outlives
            // the tenant's keys.
            column("body", ColumnKind::Sealed, Category::Organisation),
            column("asked_at", ColumnKind::Time, Category::Organisation),
            // When the next thing happens by itself; none once it is over.
            nullable(column("due_at", ColumnKind::Time, Category::Operation)),
            column("version", ColumnKind::Integer, Category::Operation),
            column("updated_at", ColumnKind::Time, Category::Operation),
        ],
        primary_key: &["tenant_id"],
        unique: &[],
        indexes: &[&["due_at"]],
        references: &[OF_TENANT],
    },
    TableDef {
        name: "rights_mailboxes",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Correspondence),
            // Server, user and password, as JSON.
            column("body", ColumnKind::Sealed, Category::Authentication),
            // Which numbering of its mails counts, and up to which number they were read.
            column("numbering", ColumnKind::Integer, Category::Operation),
            column("read_to", ColumnKind::Integer, Category::Operation),
            nullable(column("read_at", ColumnKind::Time, Category::Operation)),
            // Why the last try did not work.
            nullable(column("problem", ColumnKind::Enum, Category::Operation)),
            column("next_at", ColumnKind::Time, Category::Operation),
            column("version", ColumnKind::Integer, Category::Operation),
            column("updated_at", ColumnKind::Time, Category::Operation),
        ],
        primary_key: &["tenant_id"],
        unique: &[],
        indexes: &[&["next_at"]],
        references: &[OF_TENANT],
    },
];
