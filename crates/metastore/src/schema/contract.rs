//! Steps that take away what no build uses any more. A step of the schema only adds; what it
//! replaces goes in a later step of its own, which refuses while an older build is there.

/// A step that drops columns. Published: never edited.
pub(crate) struct Contraction {
    /// Its number, in one row with the steps that add.
    pub(crate) version: i64,
    /// What goes: table and column. Indexes over it went with an earlier step.
    pub(crate) dropped: &'static [(&'static str, &'static str)],
    /// What stands in its place: table and column, set in every row.
    pub(crate) filled: &'static [(&'static str, &'static str)],
    /// The first schema version whose builds do without it.
    pub(crate) unused_since: i64,
}

/// None was needed yet.
pub(crate) const CONTRACTIONS: &[Contraction] = &[];

/// The SQL of a contraction, the same for both databases.
pub(crate) fn contraction_statements(contraction: &Contraction) -> Vec<String> {
    let drop = |(table, column): &(&str, &str)| format!("ALTER TABLE {table} DROP COLUMN {column}");
    contraction.dropped.iter().map(drop).collect()
}
