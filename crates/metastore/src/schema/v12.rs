//! Version 12 of the schema: who invited a member. Published: never edited.

use super::v1::{column, nullable};
use super::{AddedColumns, Category, ColumnKind};

pub(super) const ADDED: &[AddedColumns] = &[AddedColumns {
    table: "memberships",
    columns: &[
        // None: whoever holds the data directory, a provider, or before this was noted.
        nullable(column("invited_by", ColumnKind::Id, Category::Account)),
    ],
    indexes: &[],
}];
