//! What lies among a log's files and is no part of it: tiles that its tree does not reach, and
//! payloads that no leaf names. A tile that has grown since may lie beside what it became.

use crate::report::{ExitClass, Finding, FindingKind, Report};
use crate::{Source, TileKind, TilePath};

/// Looks through a log that can be listed, once everything that belongs to it was read.
pub(super) fn check(source: &dyn Source, size: u64, reads_payloads: bool, report: &mut Report) {
    let tiles = source.list("tile", &mut |name| {
        if !is_reached(name, size) {
            let problem = "no part of the tree that the checkpoint states";
            report.add(Finding::new(FindingKind::Extra, name, problem));
        }
    });
    if let Err(error) = tiles {
        report.add(Finding::new(FindingKind::Unreadable, error.name, error.problem));
    }
    // Whose payloads are damaged or missing cannot be told from strange ones by their number.
    if !reads_payloads || report.exit != ExitClass::Verified {
        return;
    }
    let mut payloads = 0;
    let mut strange = None;
    let listed = source.list("payload", &mut |name| {
        payloads += 1;
        if name.strip_prefix("payload/").is_none_or(|hash| hash.parse::<crate::Digest>().is_err()) {
            strange.get_or_insert_with(|| name.to_owned());
        }
    });
    match listed {
        Ok(_) if payloads > report.counts.payloads => {
            let name = strange.unwrap_or_else(|| "payload".to_owned());
            let finding = Finding::new(FindingKind::Extra, name, "files that no leaf names: files");
            report.add(finding.values(report.counts.payloads, payloads));
        }
        Ok(_) => {}
        Err(error) => {
            report.add(Finding::new(FindingKind::Unreadable, error.name, error.problem));
        }
    }
}

/// A tile may be wider than its tree calls for: the log may have grown since.
fn is_reached(name: &str, size: u64) -> bool {
    let reached = |tile: TilePath| match tile.kind {
        // Levels above hold nothing.
        TileKind::Hashes(level) if level > 7 => false,
        kind => TilePath::in_tree(kind, tile.index, size).is_some(),
    };
    name.parse().is_ok_and(reached)
}
