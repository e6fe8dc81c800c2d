//! Version 9 of the schema: sign-in through a tenant's own provider, and certificates of host
//! names. Published: never edited.

use super::v1::{OF_TENANT, OF_USER, column, nullable};
use super::{AddedColumns, Category, ColumnKind, Rows, TableDef};

pub(super) const ADDED: &[AddedColumns] = &[AddedColumns {
    table: "sessions",
    columns: &[
        // How the person proved who they are; none: by what their account holds.
        nullable(column("method", ColumnKind::Enum, Category::Authentication)),
    ],
    indexes: &[],
}];

pub(super) const TABLES: &[TableDef] = &[
    TableDef {
        name: "identity_providers",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Authentication),
            // Issuer, client, domains and the like, as JSON.
            column("body", ColumnKind::Sealed, Category::Authentication),
            nullable(column("client_secret", ColumnKind::Sealed, Category::Authentication)),
            column("version", ColumnKind::Integer, Category::Authentication),
            column("updated_at", ColumnKind::Time, Category::Authentication),
        ],
        primary_key: &["tenant_id"],
        unique: &[],
        indexes: &[],
        references: &[OF_TENANT],
    },
    // Which of a provider's people is which account.
    TableDef {
        name: "provider_identities",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Authentication),
            column("id", ColumnKind::Id, Category::Authentication),
            column("user_id", ColumnKind::Id, Category::Authentication),
            // Of issuer and subject together.
            column("subject_index", ColumnKind::BlindIndex, Category::Authentication),
            column("created_at", ColumnKind::Time, Category::Authentication),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[&["tenant_id", "subject_index"], &["tenant_id", "user_id"]],
        indexes: &[&["user_id"]],
        references: &[OF_TENANT, OF_USER],
    },
    // Read before anybody is known, for any handshake, so under the platform's key.
    TableDef {
        name: "host_certificates",
        rows: Rows::Platform,
        columns: &[
            column("id", ColumnKind::Id, Category::Organisation),
            column("tenant_id", ColumnKind::Id, Category::Organisation),
            column("host_index", ColumnKind::BlindIndex, Category::Organisation),
            column("host", ColumnKind::Sealed, Category::Organisation),
            // The chain, PEM, and its private key, PKCS #8.
            column("chain", ColumnKind::Sealed, Category::Organisation),
            column("private_key", ColumnKind::Sealed, Category::Organisation),
            column("not_after", ColumnKind::Time, Category::Organisation),
            column("created_at", ColumnKind::Time, Category::Organisation),
        ],
        primary_key: &["id"],
        unique: &[&["host_index"]],
        indexes: &[&["tenant_id"]],
        references: &[OF_TENANT],
    },
];
