//! Checkpoints that were published earlier, in verification: each is one that the log has to
//! extend, its cosignatures count for the witness policy, and its time stamp is checked.

use super::VerifyOptions;
use super::head::Head;
use crate::published::{published_checkpoint, published_roll, published_sizes, published_stamp};
use crate::report::{Finding, FindingKind, Report, StampSeen, Witnessed};
use crate::{
    CHECKPOINT_BYTES_MAX, Policy, ROLL_PROOF_BYTES_MAX, RollProof, STAMP_BYTES_MAX,
    SignedCheckpoint, Source, StampError, VerifierKey, WitnessState, sha256, verify_stamp,
};

/// One of them.
pub(super) struct Published {
    pub(super) name: String,
    pub(super) signed: SignedCheckpoint,
    /// The checkpoint of the log of logs under which it stands there, when that log's key is known.
    pub(super) rolled: Option<SignedCheckpoint>,
}

/// The tree sizes of those that there are.
pub(super) fn sizes(source: &dyn Source, report: &mut Report) -> Vec<u64> {
    published_sizes(source).unwrap_or_else(|error| {
        report.add(Finding::new(FindingKind::Malformed, &error.name, error.problem));
        Vec::new()
    })
}

/// Reads them. What does not belong to this log is a finding and is left out.
pub(super) fn read(
    source: &dyn Source,
    options: &VerifyOptions,
    (key, sizes): (Option<&VerifierKey>, &[u64]),
    report: &mut Report,
) -> Vec<Published> {
    let mut found = Vec::new();
    let mut listed_now = None;
    for size in sizes.iter().copied() {
        let name = published_checkpoint(size);
        let bytes = match source.read(&name, CHECKPOINT_BYTES_MAX) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                // Of a log that is served one may have given way to a newer one meanwhile.
                let now = listed_now.get_or_insert_with(|| {
                    published_sizes(source).unwrap_or_else(|_| sizes.to_vec())
                });
                if now.contains(&size) {
                    report.add(Finding::new(FindingKind::Missing, &name, "not there"));
                }
                continue;
            }
            Err(error) => {
                report.add(Finding::new(FindingKind::Unreadable, &name, error.problem));
                continue;
            }
        };
        let signed = match SignedCheckpoint::parse(&bytes) {
            Ok(signed) => signed,
            Err(error) => {
                report.add(Finding::new(FindingKind::Malformed, &name, error));
                continue;
            }
        };
        if let Some(key) = key
            && let Err(error) = signed.verify(key)
        {
            report.add(Finding::new(FindingKind::Signature, &name, error));
            continue;
        }
        if signed.checkpoint.size != size {
            let finding = Finding::new(FindingKind::Malformed, &name, "another tree size");
            report.add(finding.values(size, signed.checkpoint.size));
            continue;
        }
        stamp(source, options, size, &bytes, report);
        let rolled = roll(source, options, &signed, report);
        found.push(Published { name, signed, rolled });
    }
    found
}

/// Checks where a published checkpoint stands in the log of logs, if it does. The key of that log
/// is the one that the policy names.
fn roll(
    source: &dyn Source,
    options: &VerifyOptions,
    signed: &SignedCheckpoint,
    report: &mut Report,
) -> Option<SignedCheckpoint> {
    let name = published_roll(signed.checkpoint.size);
    let bytes = match source.read(&name, ROLL_PROOF_BYTES_MAX as u64) {
        Ok(bytes) => bytes?,
        Err(error) => {
            report.add(Finding::new(FindingKind::Unreadable, &name, error.problem));
            return None;
        }
    };
    let proof = RollProof::from_json(&String::from_utf8_lossy(&bytes));
    let checked = proof.and_then(|proof| {
        let logs = options.policy.as_ref().map_or(&[][..], Policy::logs);
        let origin = proof.origin();
        let key = logs.iter().find(|log| Some(log.name()) == origin.as_deref());
        Ok((proof.check(signed.note.text(), key)?, key.is_some()))
    });
    match checked {
        Ok((rolled, is_known)) => Some(rolled).filter(|_| is_known),
        Err(error) => {
            report.add(Finding::new(FindingKind::Signature, &name, error));
            None
        }
    }
}

/// Checks the time stamp of a published checkpoint, if there is one.
fn stamp(
    source: &dyn Source,
    options: &VerifyOptions,
    size: u64,
    checkpoint: &[u8],
    report: &mut Report,
) {
    let name = published_stamp(size);
    let response = match source.read(&name, STAMP_BYTES_MAX as u64) {
        Ok(None) => return,
        Ok(Some(response)) => response,
        Err(error) => {
            report.add(Finding::new(FindingKind::Unreadable, &name, error.problem));
            return;
        }
    };
    let check =
        |bytes: &[u8]| verify_stamp(&response, sha256(bytes), None, options.authorities.as_ref());
    // It was stamped with the cosignatures that a served checkpoint may have got just now.
    let again = || {
        let read = source.read(&published_checkpoint(size), CHECKPOINT_BYTES_MAX);
        read.ok().flatten().filter(|bytes| bytes != checkpoint)
    };
    let stamped = match check(checkpoint) {
        Err(StampError::Imprint) => again().map_or(Err(StampError::Imprint), |bytes| check(&bytes)),
        other => other,
    };
    match stamped {
        Ok(stamp) => report.stamps.push(StampSeen { size, stamp }),
        Err(error) => report.add(Finding::new(FindingKind::Signature, &name, error)),
    }
}

/// What the witnesses come to: of the newest checkpoint, or of the newest published one for which
/// the policy is met. The answer says whether the policy is unmet.
pub(super) fn conclude(head: &Head, options: &VerifyOptions, report: &mut Report) -> bool {
    report.note_stamps();
    let newest_first = || {
        let published = head.published.iter().rev().map(|one| &one.signed);
        std::iter::once(&head.signed).chain(published)
    };
    let Some(policy) = &options.policy else {
        let cosigned = newest_first().find(|signed| signed.note.signatures().len() > 1);
        report.notes.push(match cosigned {
            Some(signed) => format!(
                "the checkpoint of {} leaves carries other signatures, and no witness policy was \
                 given: they were not checked (pass --policy)",
                signed.checkpoint.size
            ),
            None => "unwitnessed: no checkpoint of this log carries a cosignature".to_owned(),
        });
        return false;
    };
    // A checkpoint is witnessed by itself, or with the log of logs that it stands in.
    let direct = newest_first().map(|signed| (signed.checkpoint.size, signed));
    let rolled =
        head.published.iter().rev().filter_map(|one| {
            one.rolled.as_ref().map(|rolled| (one.signed.checkpoint.size, rolled))
        });
    let mut best: Option<(u64, WitnessState)> = None;
    for (size, signed) in direct.chain(rolled) {
        let state = policy.evaluate(signed);
        let better = best.as_ref().is_none_or(|(_, best)| {
            (state.met, state.cosigned.len()) > (best.met, best.cosigned.len())
        });
        if better {
            best = Some((size, state));
        }
        if best.as_ref().is_some_and(|(_, best)| best.met && !best.cosigned.is_empty()) {
            break;
        }
    }
    let Some((size, state)) = best else { return false };
    settle(size, state, policy, report)
}

fn settle(size: u64, state: WitnessState, policy: &Policy, report: &mut Report) -> bool {
    let unmet = !state.met;
    let known = policy.witnesses().len();
    if unmet {
        let required = state.required.clone().unwrap_or_default();
        report.notes.push(format!(
            "witness policy unmet: {required} required, {} of {known} known witnesses have \
             cosigned",
            state.cosigned.len(),
        ));
    } else if state.cosigned.is_empty() {
        let note = "unwitnessed: no known witness has cosigned a checkpoint of this log";
        report.notes.push(note.to_owned());
    } else {
        let after = report.size.saturating_sub(size);
        report.notes.push(format!(
            "witnessed up to {size} leaves by {} of {known}; {after} leaves after that are \
             unwitnessed",
            state.cosigned.len(),
        ));
        report.witnessed = Some(Witnessed { size, unwitnessed: after });
    }
    report.witnesses = Some(state);
    unmet
}
