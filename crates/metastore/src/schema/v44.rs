//! Version 44 of the schema: optional fields of accounts, what people said about purposes, the
//! published versions of the policy with their notices, and queued text messages.
//! Published: never edited.

use super::v1::{OF_TENANT, OF_USER, column, nullable};
use super::{Category, ColumnKind, Rows, TableDef};

pub(super) const TABLES: &[TableDef] = &[
    TableDef {
        name: "account_fields",
        rows: Rows::Platform,
        columns: &[
            column("user_id", ColumnKind::Id, Category::Account),
            column("field", ColumnKind::Enum, Category::Account),
            // Under the person's own key.
            column("value", ColumnKind::Sealed, Category::Account),
            column("version", ColumnKind::Integer, Category::Account),
            column("created_at", ColumnKind::Time, Category::Account),
            column("updated_at", ColumnKind::Time, Category::Account),
        ],
        primary_key: &["user_id", "field"],
        unique: &[],
        indexes: &[],
        references: &[OF_USER],
    },
    // Kept when the account is gone: by then the id is a pseudonym, and a record names nobody.
    TableDef {
        name: "consents",
        rows: Rows::Platform,
        columns: &[
            column("id", ColumnKind::Id, Category::Account),
            column("user_id", ColumnKind::Id, Category::Account),
            column("purpose", ColumnKind::Enum, Category::Account),
            column("purpose_version", ColumnKind::Integer, Category::Account),
            column("decision", ColumnKind::Enum, Category::Account),
            column("channel", ColumnKind::Enum, Category::Account),
            column("at", ColumnKind::Time, Category::Account),
            // The officer or the key that recorded it for the person.
            nullable(column("by_id", ColumnKind::Id, Category::Account)),
            column("text_digest", ColumnKind::Digest, Category::Account),
            // The signed record, as it was given to the person.
            column("record", ColumnKind::Sealed, Category::Account),
            column("record_digest", ColumnKind::Digest, Category::Account),
        ],
        primary_key: &["id"],
        unique: &[],
        indexes: &[&["user_id", "purpose", "at"]],
        references: &[],
    },
    TableDef {
        name: "legal_versions",
        rows: Rows::Platform,
        columns: &[
            column("number", ColumnKind::Integer, Category::Operation),
            column("text_version", ColumnKind::Integer, Category::Operation),
            column("material", ColumnKind::Boolean, Category::Operation),
            // The installation's facts, and what changed, in words.
            column("body", ColumnKind::Sealed, Category::Organisation),
            // Of all texts in the language in force.
            column("digest", ColumnKind::Digest, Category::Operation),
            column("announced_at", ColumnKind::Time, Category::Operation),
            column("effective_at", ColumnKind::Time, Category::Operation),
        ],
        primary_key: &["number"],
        unique: &[],
        indexes: &[],
        references: &[],
    },
    TableDef {
        name: "notice_receipts",
        rows: Rows::Platform,
        columns: &[
            column("user_id", ColumnKind::Id, Category::Account),
            column("notice_version", ColumnKind::Integer, Category::Account),
            column("kind", ColumnKind::Enum, Category::Account),
            column("digest", ColumnKind::Digest, Category::Account),
            column("state", ColumnKind::Enum, Category::Account),
            column("at", ColumnKind::Time, Category::Account),
            nullable(column("done_at", ColumnKind::Time, Category::Account)),
        ],
        primary_key: &["user_id", "notice_version", "kind"],
        unique: &[],
        indexes: &[&["notice_version", "state"]],
        references: &[OF_USER],
    },
    TableDef {
        name: "sms_queue",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Correspondence),
            column("id", ColumnKind::Id, Category::Correspondence),
            // Who it is for. Where it goes is asked when it leaves.
            column("user_id", ColumnKind::Id, Category::Correspondence),
            column("body", ColumnKind::Sealed, Category::Correspondence),
            column("attempts", ColumnKind::Integer, Category::Operation),
            column("next_at", ColumnKind::Time, Category::Operation),
            column("created_at", ColumnKind::Time, Category::Correspondence),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[],
        indexes: &[&["next_at"]],
        references: &[OF_TENANT, OF_USER],
    },
];
