//! Version 11 of the schema: mail leaves by turns, and mail about alerts is gathered. Published:
//! never edited.

use super::v1::{column, nullable};
use super::{AddedColumns, Category, ColumnKind};

pub(super) const ADDED: &[AddedColumns] = &[AddedColumns {
    table: "outbox",
    columns: &[
        // What leaves first: see `MailRank`.
        nullable(column("rank", ColumnKind::Integer, Category::Correspondence)),
        // Whose turn it takes: the tenant, or the one in whose name the platform writes.
        nullable(column("turn_id", ColumnKind::Id, Category::Correspondence)),
        // The newest alert it tells of.
        nullable(column("alert_id", ColumnKind::Id, Category::Correspondence)),
        // Rule, device and recipient together.
        nullable(column("thread_index", ColumnKind::BlindIndex, Category::Correspondence)),
        // It is being sent; until then nobody else touches it.
        nullable(column("claimed_until", ColumnKind::Time, Category::Correspondence)),
        // When the server had the last word.
        nullable(column("tried_at", ColumnKind::Time, Category::Correspondence)),
    ],
    indexes: &[
        &["done_at", "rank", "turn_id", "next_at"],
        &["tenant_id", "done_at"],
        &["tenant_id", "rank", "created_at"],
        &["alert_id"],
        &["thread_index", "tried_at"],
    ],
}];
