//! What leaves say of their times, against the time stamps of checkpoints: what a stamped
//! checkpoint covers was sealed before it, and what it does not cover was not there yet.

use std::time::Duration;

use veritwin_domain::Timestamp;

use super::read_leaf;
use crate::report::{Finding, FindingKind, Report};
use crate::{Source, TileKind, TilePath};

/// Most time stamps that leaves are compared with, spread over all that there are: the times of
/// leaves never go back.
const STAMPS_MAX: usize = 256;
/// Clocks differ, and a stamp comes a while after its checkpoint.
const SLACK: Duration = Duration::from_secs(3600);
/// Most leaves named that came later than they say.
const NAMED_MAX: usize = 4;

/// Looks at the last leaf that each stamped checkpoint covers, and at the first that it does not.
/// That one may have come late; `is_strict` takes it for dated back.
pub(super) fn check(
    source: &dyn Source,
    size: u64,
    (stamped, is_strict): (&[(u64, Timestamp)], bool),
    report: &mut Report,
) {
    let step = stamped.len().div_ceil(STAMPS_MAX).max(1);
    let mut named = 0;
    for (covered, at) in stamped.iter().copied().step_by(step) {
        let last = covered.checked_sub(1);
        if let Some(index) = last
            && let Some(leaf) = read_leaf(source, index, size)
            && leaf.sealed_at > at.saturating_add(SLACK)
        {
            let problem = "it says that it was sealed after the time stamp that covers it";
            let finding = Finding::new(FindingKind::Time, file_of(index, size), problem);
            let finding = finding.at(leaf.place(index));
            report.add(finding.values(format!("{at} or earlier"), leaf.sealed_at));
        }
        if (is_strict || named < NAMED_MAX)
            && covered < size
            && let Some(leaf) = read_leaf(source, covered, size)
            && leaf.sealed_at < at.saturating_sub(SLACK)
        {
            if is_strict {
                let problem = "it says that it was sealed before a time stamp that does not cover \
                               it";
                let finding = Finding::new(FindingKind::Time, file_of(covered, size), problem);
                let finding = finding.at(leaf.place(covered));
                report.add(finding.values(format!("{at} or later"), leaf.sealed_at));
                continue;
            }
            named += 1;
            report.notes.push(format!(
                "leaf {covered} says that it was sealed at {}, and was not there at {at}: it was \
                 dated back, or came late, as after an outage",
                leaf.sealed_at
            ));
        }
    }
}

fn file_of(index: u64, size: u64) -> String {
    let file = TilePath::in_tree(TileKind::Entries, index / 256, size);
    file.map_or_else(String::new, |file| file.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use veritwin_domain::BatchId;

    use super::*;
    use crate::{Act, Digest, Leaf, SIGNATURE_LEN, SourceError, encode_bundle};

    /// One bundle.
    struct Bundle(Vec<u8>);

    impl Source for Bundle {
        fn open(&self, name: &str) -> Result<Option<Box<dyn Read + '_>>, SourceError> {
            let is_there = name == "tile/entries/000.p/4";
            Ok(is_there.then(|| Box::new(Cursor::new(self.0.as_slice())) as Box<dyn Read + '_>))
        }
    }

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_micros(hours * 3_600_000_000)
    }

    fn entry(sealed_at: Timestamp) -> Vec<u8> {
        let leaf = Leaf {
            act: Act::Evidence,
            batch: BatchId::from_bytes([1; 16]),
            previous_batch: BatchId::from_bytes([0; 16]),
            previous_hash: Digest::ZERO,
            first_sequence: 1,
            count: 1,
            events_from: sealed_at,
            events_to: sealed_at,
            sealed_at,
            payload: Digest::ZERO,
            payload_bytes: 0,
            records_root: Digest::ZERO,
            submitter: [2; 32],
            signature: [3; SIGNATURE_LEN],
        };
        leaf.encode()
    }

    #[test]
    fn leaves_after_their_time_stamp_or_dated_back_behind_one_are_told() {
        let entries = [10, 20, 30, 40].map(|hours| entry(at(hours)));
        let source = Bundle(encode_bundle(&entries).unwrap());
        let looked = |stamped: &[(u64, Timestamp)], is_strict: bool| {
            let mut report = Report::empty();
            check(&source, 4, (stamped, is_strict), &mut report);
            (report.findings, report.notes)
        };
        let found = |stamped: &[(u64, Timestamp)]| looked(stamped, false);
        let (findings, notes) = found(&[(1, at(11)), (2, at(30)), (4, at(40)), (0, at(10))]);
        assert!(findings.is_empty() && notes.is_empty(), "{findings:?} {notes:?}");
        let (findings, notes) = found(&[(3, at(28))]);
        assert!(findings.len() == 1 && notes.is_empty(), "{findings:?} {notes:?}");
        assert_eq!(
            (findings[0].kind, findings[0].leaf.map(|leaf| leaf.index)),
            (FindingKind::Time, Some(2))
        );
        let (findings, notes) = found(&[(2, at(35))]);
        assert!(findings.is_empty() && notes.len() == 1, "{findings:?} {notes:?}");
        assert!(notes[0].starts_with("leaf 2 says"), "{notes:?}");
        let (findings, notes) = looked(&[(2, at(35))], true);
        assert!(findings.len() == 1 && notes.is_empty(), "{findings:?} {notes:?}");
        assert_eq!(
            (findings[0].kind, findings[0].leaf.map(|leaf| leaf.index)),
            (FindingKind::Time, Some(2))
        );
        assert!(looked(&[(2, at(30))], true).0.is_empty(), "within an hour");
    }
}
