//! Checkpoints that were published earlier, in verification: each is one that the log has to
//! extend, and of those that were compared with it the cosignatures and time stamps count.

use veritwin_domain::Timestamp;

use super::VerifyOptions;
use super::head::Head;
use crate::published::{published_checkpoint, published_roll, published_sizes, published_stamp};
use crate::report::{Finding, FindingKind, Report, StampSeen, Witnessed};
use crate::{
    Digest, Policy, ROLL_PROOF_BYTES_MAX, RollProof, STAMP_BYTES_MAX, SignedCheckpoint, Source,
    StampError, TimeStamp, VerifierKey, WitnessState, sha256, verify_stamp,
};

/// Largest checkpoint with cosignatures that is read.
const NOTE_BYTES_MAX: u64 = 64 * 1024;

/// One of them, as far as its own signatures go.
pub(super) struct Published {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) root: Digest,
    /// It carries other signatures than the log's.
    is_cosigned: bool,
    /// What the policy's witnesses say of it.
    state: Option<WitnessState>,
    /// The log of logs that it stands in, where the policy names that log's key.
    rolled: Option<Rolled>,
    stamp: Option<TimeStamp>,
}

impl Published {
    /// Its size and the time of its stamp, if it has one.
    pub(super) fn stamped(&self) -> Option<(u64, Timestamp)> {
        Some((self.size, self.stamp.as_ref()?.at))
    }
}

/// A checkpoint of the log of logs.
struct Rolled {
    origin: String,
    /// Known witnesses that have cosigned it.
    cosigned: usize,
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
        let bytes = match source.read(&name, NOTE_BYTES_MAX) {
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
        found.push(Published {
            size,
            root: signed.checkpoint.root,
            is_cosigned: signed.note.signatures().len() > 1,
            state: options.policy.as_ref().map(|policy| policy.evaluate(&signed)),
            rolled: roll(source, options, &signed, report),
            stamp: stamp(source, options, (size, &bytes), report),
            name,
        });
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
) -> Option<Rolled> {
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
        Ok((rolled, is_known)) => is_known.then(|| Rolled {
            cosigned: options.policy.as_ref().map_or(0, |one| one.evaluate(&rolled).cosigned.len()),
            origin: rolled.checkpoint.origin,
        }),
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
    (size, checkpoint): (u64, &[u8]),
    report: &mut Report,
) -> Option<TimeStamp> {
    let name = published_stamp(size);
    let response = match source.read(&name, STAMP_BYTES_MAX as u64) {
        Ok(response) => response?,
        Err(error) => {
            report.add(Finding::new(FindingKind::Unreadable, &name, error.problem));
            return None;
        }
    };
    let check =
        |bytes: &[u8]| verify_stamp(&response, sha256(bytes), None, options.authorities.as_ref());
    // It was stamped with the cosignatures that a served checkpoint may have got just now.
    let again = || {
        let read = source.read(&published_checkpoint(size), NOTE_BYTES_MAX);
        read.ok().flatten().filter(|bytes| bytes != checkpoint)
    };
    let stamped = match check(checkpoint) {
        Err(StampError::Imprint) => again().map_or(Err(StampError::Imprint), |bytes| check(&bytes)),
        other => other,
    };
    match stamped {
        Ok(stamp) => Some(stamp),
        Err(StampError::Chain(_)) => {
            report.stamps_untrusted += 1;
            None
        }
        Err(error) => {
            report.add(Finding::new(FindingKind::Signature, &name, error));
            None
        }
    }
}

/// What the witnesses and time stamps come to: of the newest checkpoint, or of the newest published
/// one for which the policy is met. Only what was `compared` with the log counts, newest first. The
/// answer says whether the policy is unmet.
pub(super) fn conclude(
    head: &Head,
    options: &VerifyOptions,
    compared: &[&Published],
    report: &mut Report,
) -> bool {
    for one in compared.iter().rev() {
        if let Some(stamp) = &one.stamp {
            report.stamps.push(StampSeen { size: one.size, stamp: stamp.clone() });
        }
    }
    report.note_stamps();
    let Some(policy) = &options.policy else {
        let own = (head.signed.note.signatures().len() > 1).then_some(head.checkpoint.size);
        let published = || compared.iter().find(|one| one.is_cosigned).map(|one| one.size);
        report.notes.push(match own.or_else(published) {
            Some(size) => format!(
                "the checkpoint of {size} leaves carries other signatures, and no witness policy \
                 was given: they were not checked (pass --policy)"
            ),
            None => "unwitnessed: no checkpoint of this log carries a cosignature".to_owned(),
        });
        return false;
    };
    let rolled = compared.iter().find_map(|one| Some((one.size, one.rolled.as_ref()?)));
    if let Some((size, Rolled { origin, cosigned })) = rolled {
        // Whoever keeps that log can enter two histories of this one, and show each to somebody.
        report.notes.push(format!(
            "{size} leaves stand in the log of logs {origin} under a checkpoint that {cosigned} \
             known witnesses have cosigned: they were there then, and another history of this log \
             may stand there too"
        ));
    }
    let (mut size, mut best) = (head.checkpoint.size, policy.evaluate(&head.signed));
    for one in compared {
        if best.met && !best.cosigned.is_empty() {
            break;
        }
        let better = one
            .state
            .as_ref()
            .filter(|state| (state.met, state.cosigned.len()) > (best.met, best.cosigned.len()));
        if let Some(state) = better {
            (size, best) = (one.size, state.clone());
        }
    }
    settle(size, best, policy, report)
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
