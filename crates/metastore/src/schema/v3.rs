//! Version 3 of the schema: second factors, what is known of a sign-in, verified addresses and the
//! attestation of a person. Published: never edited.

use super::v1::{OF_USER, column, nullable};
use super::{AddedColumns, Category, ColumnKind, Rows, TableDef};

pub(super) const TABLES: &[TableDef] = &[TableDef {
    name: "factors",
    rows: Rows::Platform,
    columns: &[
        column("id", ColumnKind::Id, Category::Authentication),
        column("user_id", ColumnKind::Id, Category::Authentication),
        column("kind", ColumnKind::Enum, Category::Authentication),
        // Of a passkey's credential id or a recovery code.
        nullable(column("lookup", ColumnKind::Digest, Category::Authentication)),
        column("body", ColumnKind::Sealed, Category::Authentication),
        // The last step of an authenticator, the signature counter of a passkey.
        column("counter", ColumnKind::Integer, Category::Authentication),
        column("created_at", ColumnKind::Time, Category::Authentication),
        nullable(column("last_used_at", ColumnKind::Time, Category::Authentication)),
    ],
    primary_key: &["id"],
    unique: &[&["lookup"]],
    indexes: &[&["user_id"]],
    references: &[OF_USER],
}];

pub(super) const ADDED: &[AddedColumns] = &[
    AddedColumns {
        table: "users",
        columns: &[
            nullable(column("email_verified_at", ColumnKind::Time, Category::Account)),
            nullable(column("attested_at", ColumnKind::Time, Category::Account)),
            // Version of the text that was attested.
            nullable(column("attested_text", ColumnKind::Enum, Category::Account)),
        ],
        indexes: &[],
    },
    AddedColumns {
        table: "sessions",
        columns: &[
            nullable(column("proved_at", ColumnKind::Time, Category::Authentication)),
            nullable(column("second_factor", ColumnKind::Boolean, Category::Authentication)),
            nullable(column("browser", ColumnKind::Enum, Category::Authentication)),
            nullable(column("system", ColumnKind::Enum, Category::Authentication)),
        ],
        indexes: &[],
    },
];
