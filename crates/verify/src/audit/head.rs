//! The beginning and the end of a verification: checkpoint, keys, known checkpoints, witnesses.

use super::published::{self, Published};
use super::{VerifyOptions, policy_unmet};
use crate::report::{Finding, FindingKind, KeyTrust, Report};
use crate::{
    CHECKPOINT_BYTES_MAX, Checkpoint, CheckpointError, Digest, SignedCheckpoint, Source,
    VerifierKey,
};

const VKEY_BYTES_MAX: u64 = 4096;

/// The checkpoint under test, and what its root is compared with on the way.
pub(super) struct Head {
    pub(super) checkpoint: Checkpoint,
    /// The checkpoint as it was read: a log that grows has another one a moment later.
    pub(super) note: String,
    pub(super) signed: SignedCheckpoint,
    /// Known checkpoints not larger than the log, ascending.
    pub(super) known: Vec<Known>,
    /// Tree sizes of the checkpoints that came with the log.
    pub(super) listed: Vec<u64>,
    /// Those of them that can be believed.
    pub(super) published: Vec<Published>,
}

/// A checkpoint that the log has to extend.
pub(super) struct Known {
    pub(super) size: u64,
    pub(super) root: Digest,
    pub(super) name: String,
    /// The reader brought it; it did not come with the log.
    pub(super) is_given: bool,
}

/// Reads checkpoint and key. None when there is nothing to go on with.
pub(super) fn read(
    source: &dyn Source,
    options: &VerifyOptions,
    report: &mut Report,
) -> Option<Head> {
    let key = key(source, options, report);
    // Before the checkpoint: a log that is served may grow meanwhile.
    let sizes = published::sizes(source, report);
    let bytes = match source.read("checkpoint", CHECKPOINT_BYTES_MAX) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            report.add(Finding::new(FindingKind::Missing, "checkpoint", "not there"));
            return None;
        }
        Err(error) => {
            report.add(Finding::new(FindingKind::Unreadable, "checkpoint", error.problem));
            return None;
        }
    };
    let signed = match SignedCheckpoint::parse(&bytes) {
        Ok(signed) => signed,
        Err(error) => {
            report.add(Finding::new(FindingKind::Malformed, "checkpoint", error));
            return None;
        }
    };
    let checkpoint = signed.checkpoint.clone();
    report.origin = Some(checkpoint.origin.clone());
    report.size = checkpoint.size;
    report.root = Some(checkpoint.root);
    let policy_logs = options.policy.as_ref().map_or(&[][..], |policy| policy.logs());
    let from_policy = policy_logs.iter().find(|log| log.name() == checkpoint.origin);
    if options.vkey.is_none() && !policy_logs.is_empty() && from_policy.is_none() {
        let finding = Finding::new(FindingKind::Identity, "checkpoint", "not a log of the policy");
        report.add(finding.values("a log that the policy lists", &checkpoint.origin));
    }
    let key = match (&options.vkey, from_policy) {
        (None, Some(listed)) => {
            report.key = KeyTrust::Authenticated(listed.to_string());
            Some(listed.clone())
        }
        _ => key,
    };
    match &key {
        Some(key) => {
            if let Err(error) = signed.verify(key) {
                report.add(signature_finding("checkpoint", &error, key, &checkpoint));
            }
        }
        None => {
            let problem = "not there, so that the checkpoint's signature cannot be verified";
            report.add(Finding::new(FindingKind::Missing, "log.vkey", problem));
        }
    }
    let published = published::read(source, options, (key.as_ref(), &sizes), report);
    let mut known = known(options, key.as_ref(), &checkpoint, report);
    for one in &published {
        if one.size > checkpoint.size {
            report.add(went_back(&one.name, one.size, &checkpoint));
            continue;
        }
        let (size, root, name) = (one.size, one.root, one.name.clone());
        known.push(Known { size, root, name, is_given: false });
    }
    known.sort_by_key(|known| known.size);
    let note = String::from_utf8_lossy(&bytes).into_owned();
    Some(Head { checkpoint, note, signed, known, listed: sizes, published })
}

fn signature_finding(
    file: &str,
    error: &CheckpointError,
    key: &VerifierKey,
    checkpoint: &Checkpoint,
) -> Finding {
    if key.name() == checkpoint.origin {
        Finding::new(FindingKind::Signature, file, error)
    } else {
        let problem = "the checkpoint of another log: origin";
        Finding::new(FindingKind::Identity, file, problem).values(key.name(), &checkpoint.origin)
    }
}

fn key(source: &dyn Source, options: &VerifyOptions, report: &mut Report) -> Option<VerifierKey> {
    let with_log = match source.read("log.vkey", VKEY_BYTES_MAX) {
        Ok(None) => None,
        Err(error) => {
            report.add(Finding::new(FindingKind::Unreadable, "log.vkey", error.problem));
            None
        }
        Ok(Some(bytes)) => {
            let text = String::from_utf8(bytes).unwrap_or_default();
            match text.strip_suffix('\n').unwrap_or(&text).parse::<VerifierKey>() {
                Ok(key) => Some(key),
                Err(error) => {
                    report.add(Finding::new(FindingKind::Malformed, "log.vkey", error));
                    None
                }
            }
        }
    };
    match (&options.vkey, with_log) {
        (Some(given), with_log) => {
            report.key = KeyTrust::Authenticated(given.to_string());
            if let Some(with_log) = with_log.filter(|with_log| with_log != given) {
                let problem = "it is not the key that you gave";
                let finding = Finding::new(FindingKind::Identity, "log.vkey", problem);
                report.add(finding.values(given, with_log));
            }
            Some(given.clone())
        }
        (None, Some(with_log)) => {
            report.key = KeyTrust::NotAuthenticated(with_log.to_string());
            Some(with_log)
        }
        (None, None) => None,
    }
}

fn known(
    options: &VerifyOptions,
    key: Option<&VerifierKey>,
    checkpoint: &Checkpoint,
    report: &mut Report,
) -> Vec<Known> {
    let mut known = Vec::new();
    for earlier in &options.known {
        let signed = match SignedCheckpoint::parse(&earlier.note) {
            Ok(signed) => signed,
            Err(error) => {
                report.add(Finding::new(FindingKind::Malformed, &earlier.name, error));
                continue;
            }
        };
        if let Some(key) = key
            && let Err(error) = signed.verify(key)
        {
            report.add(signature_finding(&earlier.name, &error, key, &signed.checkpoint));
            continue;
        }
        let size = signed.checkpoint.size;
        if size > checkpoint.size {
            report.add(went_back(&earlier.name, size, checkpoint));
            continue;
        }
        let (root, name) = (signed.checkpoint.root, earlier.name.clone());
        known.push(Known { size, root, name, is_given: true });
    }
    known
}

fn went_back(earlier: &str, size: u64, checkpoint: &Checkpoint) -> Finding {
    let problem = format!("the log went back behind {earlier}: tree size");
    let finding = Finding::new(FindingKind::Rewind, "checkpoint", problem);
    finding.values(format!("{size} or more"), checkpoint.size)
}

/// What is said at the end: the witnesses, the time stamps. `compared`: the published checkpoints
/// that the log was found to extend, newest first.
pub(super) fn conclude(
    head: &Head,
    options: &VerifyOptions,
    compared: &[&Published],
    report: &mut Report,
) {
    if published::conclude(head, options, compared, report) {
        policy_unmet(report);
    }
}
