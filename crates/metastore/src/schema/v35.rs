//! Version 35 of the schema: imports of readings, how far each has come, and which rows it refused.
//! Published: never edited.

use super::v1::{OF_TENANT, column, nullable};
use super::{Category, ColumnKind, Reference, Rows, TableDef};

pub(super) const TABLES: &[TableDef] = &[
    TableDef {
        name: "imports",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::DeviceRegistry),
            column("id", ColumnKind::Id, Category::DeviceRegistry),
            // Of the file and of how it is read: the same import asked for again goes on.
            column("file_index", ColumnKind::BlindIndex, Category::DeviceRegistry),
            column("state", ColumnKind::Enum, Category::Operation),
            // The file's name, how it is read, and who asked.
            column("body", ColumnKind::Sealed, Category::DeviceRegistry),
            // The piece that is next, and what of it was taken.
            column("piece", ColumnKind::Integer, Category::Operation),
            column("rows_taken", ColumnKind::Integer, Category::Operation),
            // Lines, or rows, before that piece.
            column("rows_before", ColumnKind::Integer, Category::Operation),
            column("rows_seen", ColumnKind::Integer, Category::Operation),
            column("readings", ColumnKind::Integer, Category::Operation),
            column("refused", ColumnKind::Integer, Category::Operation),
            column("version", ColumnKind::Integer, Category::Operation),
            column("created_at", ColumnKind::Time, Category::Operation),
            column("updated_at", ColumnKind::Time, Category::Operation),
            nullable(column("ended_at", ColumnKind::Time, Category::Operation)),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[&["tenant_id", "file_index"]],
        indexes: &[&["updated_at"]],
        references: &[OF_TENANT],
    },
    TableDef {
        name: "import_refusals",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::DeviceRegistry),
            column("import_id", ColumnKind::Id, Category::DeviceRegistry),
            // Where it stands in the file; nothing of what it says is kept.
            column("file_row", ColumnKind::Integer, Category::Operation),
            column("body", ColumnKind::Sealed, Category::DeviceRegistry),
        ],
        primary_key: &["tenant_id", "import_id", "file_row"],
        unique: &[],
        indexes: &[],
        references: &[
            OF_TENANT,
            Reference {
                columns: &["tenant_id", "import_id"],
                table: "imports",
                keys: &["tenant_id", "id"],
            },
        ],
    },
];
