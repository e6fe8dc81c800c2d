//! What came of an import: counts by kind, and by name what was not taken.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::commands::columns;
use crate::cli::print;

/// Most things that were not taken and are named.
const NAMED_MAX: usize = 1_000;

/// What became of one kind of thing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) created: u64,
    pub(super) known: u64,
    pub(super) not_taken: u64,
}

/// What came of an import.
#[derive(Default, Serialize)]
pub(super) struct Report {
    kinds: BTreeMap<&'static str, Counts>,
    pub(super) readings: u64,
    pub(super) readings_refused: u64,
    pub(super) refused_file: Option<String>,
    /// Things that were not taken, and why.
    pub(super) not_taken: Vec<String>,
    /// Files that are to be read by a person.
    pub(super) to_read: Vec<String>,
}

impl Report {
    pub(super) fn count(&mut self, kind: &'static str) -> &mut Counts {
        self.kinds.entry(kind).or_default()
    }

    pub(super) fn refuse(&mut self, kind: &'static str, name: &str, why: &str) {
        self.count(kind).not_taken += 1;
        if self.not_taken.len() < NAMED_MAX {
            self.not_taken.push(format!("{kind} {name}: {why}"));
        }
    }
}

/// Shows what came of it.
pub(super) fn show(report: &Report) {
    let mut rows = vec![["", "new", "there already", "not taken"].map(str::to_owned).to_vec()];
    for (kind, counts) in &report.kinds {
        let Counts { created, known, not_taken } = counts;
        rows.push(vec![
            (*kind).to_owned(),
            created.to_string(),
            known.to_string(),
            not_taken.to_string(),
        ]);
    }
    print(&columns(&rows));
    print(&format!("{} readings, {} rows refused", report.readings, report.readings_refused));
    if let Some(file) = &report.refused_file {
        print(&format!("refused rows: {file}"));
    }
    for one in &report.not_taken {
        print(&format!("not taken: {one}"));
    }
    if !report.to_read.is_empty() {
        print(&format!("for a person to set up: {}", report.to_read.join(", ")));
    }
}
