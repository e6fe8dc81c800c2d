//! Version 24 of the schema: what a device credential says of itself and how long it counts, the
//! authorities whose certificates let devices in, and how devices come in by themselves.
//! Published: never edited.

use super::v1::{OF_DEVICE, OF_TENANT, column, nullable};
use super::{AddedColumns, Category, ColumnKind, Rows, TableDef};

pub(super) const ADDED: &[AddedColumns] = &[AddedColumns {
    table: "credentials",
    columns: &[
        // Name, and what is shown of what the device presents.
        nullable(column("body", ColumnKind::Sealed, Category::Authentication)),
        nullable(column("valid_from", ColumnKind::Time, Category::Authentication)),
        nullable(column("valid_until", ColumnKind::Time, Category::Authentication)),
        nullable(column("disabled_at", ColumnKind::Time, Category::Authentication)),
        nullable(column("used_at", ColumnKind::Time, Category::Authentication)),
        // When the certificate ends that was shown last.
        nullable(column("certificate_until", ColumnKind::Time, Category::Authentication)),
    ],
    indexes: &[&["tenant_id", "kind", "certificate_until"]],
}];

pub(super) const TABLES: &[TableDef] = &[
    TableDef {
        name: "device_authorities",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Authentication),
            column("id", ColumnKind::Id, Category::Authentication),
            // Of its public key: an authority belongs to one tenant.
            column("key_digest", ColumnKind::Digest, Category::Authentication),
            // Of its name, which its certificates carry as their issuer.
            column("subject_digest", ColumnKind::Digest, Category::Authentication),
            column("body", ColumnKind::Sealed, Category::Authentication),
            nullable(column("revocation", ColumnKind::Sealed, Category::Authentication)),
            column("valid_until", ColumnKind::Time, Category::Authentication),
            nullable(column("revocation_until", ColumnKind::Time, Category::Authentication)),
            // How many devices it made.
            column("made", ColumnKind::Integer, Category::Authentication),
            nullable(column("disabled_at", ColumnKind::Time, Category::Authentication)),
            column("version", ColumnKind::Integer, Category::Authentication),
            column("created_at", ColumnKind::Time, Category::Authentication),
            column("updated_at", ColumnKind::Time, Category::Authentication),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[&["key_digest"]],
        indexes: &[&["subject_digest"]],
        references: &[OF_TENANT],
    },
    TableDef {
        name: "provision_profiles",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Authentication),
            column("id", ColumnKind::Id, Category::Authentication),
            column("key_digest", ColumnKind::Digest, Category::Authentication),
            column("secret_digest", ColumnKind::Digest, Category::Authentication),
            column("body", ColumnKind::Sealed, Category::Authentication),
            // How many devices came in by it.
            column("made", ColumnKind::Integer, Category::Authentication),
            nullable(column("expires_at", ColumnKind::Time, Category::Authentication)),
            nullable(column("disabled_at", ColumnKind::Time, Category::Authentication)),
            column("version", ColumnKind::Integer, Category::Authentication),
            column("created_at", ColumnKind::Time, Category::Authentication),
            column("updated_at", ColumnKind::Time, Category::Authentication),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[&["key_digest"]],
        indexes: &[],
        references: &[OF_TENANT],
    },
    // A device that came in by itself does so once.
    TableDef {
        name: "provisioned_devices",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::Authentication),
            column("device_id", ColumnKind::Id, Category::Authentication),
            column("profile_id", ColumnKind::Id, Category::Authentication),
            // Of what it asked for, so that the same request is answered alike.
            column("request_digest", ColumnKind::Digest, Category::Authentication),
            column("created_at", ColumnKind::Time, Category::Authentication),
        ],
        primary_key: &["tenant_id", "device_id"],
        unique: &[],
        indexes: &[],
        references: &[OF_TENANT, OF_DEVICE],
    },
];
