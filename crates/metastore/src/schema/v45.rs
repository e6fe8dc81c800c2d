//! Version 45 of the schema: requests of data subjects, and what is not done with their data any
//! more. Published: never edited.

use super::v1::{OF_TENANT, column, nullable};
use super::{Category, ColumnKind, Rows, TableDef};

pub(super) const TABLES: &[TableDef] = &[
    TableDef {
        name: "rights_cases",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Correspondence),
            column("id", ColumnKind::Id, Category::Correspondence),
            column("kind", ColumnKind::Enum, Category::Correspondence),
            column("state", ColumnKind::Enum, Category::Correspondence),
            column("source", ColumnKind::Enum, Category::Correspondence),
            // Of the address it was made with; stays when the address is gone.
            nullable(column("address_index", ColumnKind::BlindIndex, Category::Correspondence)),
            // No reference: a case outlives the account it is about.
            nullable(column("user_id", ColumnKind::Id, Category::Correspondence)),
            // Of the mail it came with, so that one is read once.
            nullable(column("mail_digest", ColumnKind::Digest, Category::Correspondence)),
            // Who, what, when, steps, letters and certificate, as JSON.
            column("body", ColumnKind::Sealed, Category::Correspondence),
            column("received_at", ColumnKind::Time, Category::Correspondence),
            column("answer_by", ColumnKind::Time, Category::Correspondence),
            // When it is looked at next by itself; none once it is closed.
            nullable(column("next_at", ColumnKind::Time, Category::Operation)),
            nullable(column("closed_at", ColumnKind::Time, Category::Correspondence)),
            column("version", ColumnKind::Integer, Category::Operation),
            column("updated_at", ColumnKind::Time, Category::Operation),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[&["tenant_id", "mail_digest"]],
        indexes: &[
            &["id"],
            &["user_id"],
            &["tenant_id", "user_id"],
            &["tenant_id", "address_index"],
            &["tenant_id", "received_at"],
            &["next_at"],
            &["closed_at"],
        ],
        references: &[OF_TENANT],
    },
    TableDef {
        name: "rights_limits",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Account),
            // That of the case that made it.
            column("id", ColumnKind::Id, Category::Account),
            nullable(column("user_id", ColumnKind::Id, Category::Account)),
            nullable(column("address_index", ColumnKind::BlindIndex, Category::Account)),
            // What is objected to; none: everything but keeping it.
            nullable(column("purpose", ColumnKind::Enum, Category::Account)),
            // How streams name the person, and which streams do, as JSON.
            column("body", ColumnKind::Sealed, Category::Account),
            column("since", ColumnKind::Time, Category::Account),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[],
        indexes: &[],
        references: &[OF_TENANT],
    },
];
