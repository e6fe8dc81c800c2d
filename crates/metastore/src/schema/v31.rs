//! Version 31 of the schema: keys of store-and-forward edges, and how far each has submitted.
//! Published: never edited.

use super::v1::{OF_DEVICE, OF_TENANT, column, nullable};
use super::{Category, ColumnKind, Rows, TableDef};

pub(super) const TABLES: &[TableDef] = &[TableDef {
    name: "edge_keys",
    rows: Rows::Tenant,
    columns: &[
        column("tenant_id", ColumnKind::Id, Category::Authentication),
        column("id", ColumnKind::Id, Category::Authentication),
        column("device_id", ColumnKind::Id, Category::Authentication),
        // Of the public key.
        column("key_digest", ColumnKind::Digest, Category::Authentication),
        // The public key, its name, and what was submitted under it.
        column("body", ColumnKind::Sealed, Category::Authentication),
        // Where the log ended when a batch was about to be kept of which nobody has noted yet
        // whether it was.
        nullable(column("pending_position", ColumnKind::Integer, Category::Operation)),
        nullable(column("revoked_at", ColumnKind::Time, Category::Authentication)),
        column("version", ColumnKind::Integer, Category::Operation),
        column("created_at", ColumnKind::Time, Category::Authentication),
        column("updated_at", ColumnKind::Time, Category::Operation),
    ],
    primary_key: &["tenant_id", "id"],
    unique: &[&["tenant_id", "key_digest"]],
    indexes: &[&["tenant_id", "device_id"], &["pending_position"]],
    references: &[OF_TENANT, OF_DEVICE],
}];
