//! Version 43 of the schema: mails of checkpoints to auditors, and what is kept of mail that was
//! sent. Published: never edited.

use super::v1::{OF_TENANT, column, nullable};
use super::{Category, ColumnKind, Rows, TableDef};

pub(super) const TABLES: &[TableDef] = &[
    TableDef {
        name: "ledger_mailings",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Correspondence),
            column("id", ColumnKind::Id, Category::Correspondence),
            // To whom, how often, what goes with it, and the checkpoints that were mailed.
            column("body", ColumnKind::Sealed, Category::Correspondence),
            // None when it is sent on demand alone.
            nullable(column("next_at", ColumnKind::Time, Category::Operation)),
            column("version", ColumnKind::Integer, Category::Operation),
            column("created_at", ColumnKind::Time, Category::Operation),
            column("updated_at", ColumnKind::Time, Category::Operation),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[],
        indexes: &[&["next_at"]],
        references: &[OF_TENANT],
    },
    TableDef {
        name: "sent_mails",
        rows: Rows::Tenant,
        columns: &[
            // The platform's own tenant for mail about accounts.
            column("tenant_id", ColumnKind::Id, Category::Correspondence),
            column("id", ColumnKind::Id, Category::Correspondence),
            column("sent_at", ColumnKind::Time, Category::Correspondence),
            // The record whose digest is sealed: hash of the mail's bytes, reply, signatures.
            column("body", ColumnKind::Sealed, Category::Correspondence),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[],
        indexes: &[&["tenant_id", "sent_at"], &["sent_at"]],
        references: &[OF_TENANT],
    },
];
