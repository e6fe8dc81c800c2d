//! Version 30 of the schema: which devices are host applications of Sparkplug. Published: never
//! edited.

use super::v1::{column, nullable};
use super::{AddedColumns, Category, ColumnKind};

pub(super) const ADDED: &[AddedColumns] = &[AddedColumns {
    table: "devices",
    // None of devices that are older: they are none.
    columns: &[nullable(column(
        "is_sparkplug_host",
        ColumnKind::Boolean,
        Category::DeviceRegistry,
    ))],
    indexes: &[],
}];
