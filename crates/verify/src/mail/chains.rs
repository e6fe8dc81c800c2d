//! How the checkpoints of mails follow each other: within a sequence each extends the one before
//! it, and all sequences of a log tell one history.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use veritwin_domain::Timestamp;

use super::receipts::{Bridge, Parsed, ReceiptChain, ReceiptReport};
use crate::report::{Finding, FindingKind, Report};
use crate::{Digest, verify_consistency};

/// Mails that are written so close to each other may have read the log in the other order.
const CLOSE: Duration = Duration::from_secs(600);

/// Mails by the id of their sequence and the log's origin.
pub(super) type Mailings = BTreeMap<(String, String), Vec<Parsed>>;
/// A checkpoint, whichever mails brought it.
type Tree = (u64, Digest);

fn tree(one: &Parsed) -> Tree {
    (one.checkpoint.size, one.checkpoint.root)
}

/// Two checkpoints of one size have one root, whichever sequence brought them.
pub(super) fn same_tree(chains: &Mailings, report: &mut Report) {
    let mut roots = BTreeMap::<(&str, u64), (&Parsed, Digest)>::new();
    for one in chains.values().flatten() {
        let place = (one.mail.origin.as_str(), one.checkpoint.size);
        let (first, root) = roots.entry(place).or_insert((one, one.checkpoint.root));
        if *root != one.checkpoint.root {
            let problem = format!(
                "its checkpoint and that of {} show two histories of {} leaves: root",
                first.file, one.checkpoint.size
            );
            let finding = Finding::new(FindingKind::Fork, &one.file, problem);
            report.add(finding.values(*root, one.checkpoint.root));
        }
    }
}

/// One sequence, in the order of its numbers.
pub(super) fn chain(mailing: String, origin: String, mails: &[Parsed], out: &mut ReceiptReport) {
    let (Some(first), Some(last)) = (mails.first(), mails.last()) else { return };
    let mut missing = Vec::new();
    let mut count = 1;
    if first.mail.number > 1 {
        let before = first.mail.number - 1;
        out.report.notes.push(format!("mailing {mailing}: mails 1-{before} are not in the folder"));
    }
    for pair in mails.windows(2) {
        let [old, new] = pair else { continue };
        if old.mail.number == new.mail.number {
            if old.mail == new.mail {
                out.report.notes.push(format!("{} is the same mail as {}", new.file, old.file));
            } else {
                let problem = format!("it has the number of {} and says something else", old.file);
                out.report.add(Finding::new(FindingKind::Fork, &new.file, problem));
            }
            continue;
        }
        count += 1;
        let (from, to) = (old.mail.number + 1, new.mail.number - 1);
        if from <= to {
            missing.push((from, to));
            let problem = match to - from {
                0 => format!("mail {from} of mailing {mailing} is missing before it"),
                _ => format!("mails {from}-{to} of mailing {mailing} are missing before it"),
            };
            out.report.add(Finding::new(FindingKind::Missing, &new.file, problem));
        }
        if let Err(finding) = extends(old, new) {
            out.report.add(*finding);
        }
    }
    out.report.origin.get_or_insert_with(|| origin.clone());
    if last.checkpoint.size >= out.report.size {
        out.report.size = last.checkpoint.size;
        out.report.root = Some(last.checkpoint.root);
    }
    out.chains.push(ReceiptChain {
        mailing,
        origin,
        first: first.mail.number,
        last: last.mail.number,
        mails: count,
        missing,
        tree_size: last.checkpoint.size,
    });
}

/// The later mail proves that its checkpoint extends the earlier mail's.
fn extends(old: &Parsed, new: &Parsed) -> Result<(), Box<Finding>> {
    let finding = |kind, problem: String| Box::new(Finding::new(kind, &new.file, problem));
    if new.written_at < old.written_at {
        let problem = format!("it was written before {}, whose number is lower", old.file);
        return Err(finding(FindingKind::Chain, problem));
    }
    let (was, is) = (&old.checkpoint, &new.checkpoint);
    if is.size < was.size {
        let problem = format!("the log went back behind the checkpoint of {}: tree size", old.file);
        let rewind = Finding::new(FindingKind::Rewind, &new.file, problem);
        return Err(Box::new(rewind.values(format!("{} or more", was.size), is.size)));
    }
    let mut bridges = new.mail.since.iter().filter(|bridge| bridge.mailing.is_none());
    let Some(bridge) = bridges.find(|bridge| bridge.number == old.mail.number) else {
        let problem = format!("it proves nothing about the checkpoint of {}", old.file);
        return Err(finding(FindingKind::Missing, problem));
    };
    leads(old, new, bridge)
}

/// A bridge of the later mail begins at the earlier mail's checkpoint, and its proof holds.
fn leads(old: &Parsed, new: &Parsed, bridge: &Bridge) -> Result<(), Box<Finding>> {
    let fork = |why: String| {
        let problem = format!("it does not extend the checkpoint of {}: {why}", old.file);
        Box::new(Finding::new(FindingKind::Fork, &new.file, problem))
    };
    if (bridge.tree_size, &bridge.root_hash) != (old.checkpoint.size, &tree(old).1.to_base64()) {
        return Err(fork("it begins at another checkpoint".to_owned()));
    }
    proven(new, bridge).map(drop).map_err(fork)
}

/// The checkpoint that a bridge begins at, once its proof holds.
fn proven(new: &Parsed, bridge: &Bridge) -> Result<Tree, String> {
    let hash = |text: &String| {
        Digest::from_base64(text).map_err(|_| "a hash is not 32 bytes of base64".to_owned())
    };
    let old = (bridge.tree_size, hash(&bridge.root_hash)?);
    let path: Vec<Digest> = bridge.path.iter().map(hash).collect::<Result<_, _>>()?;
    verify_consistency(old, tree(new), &path).map_err(|error| error.to_string())?;
    Ok(old)
}

/// The sequences of each log tell one history: what was written later is not smaller, and the
/// largest checkpoint is shown to extend the last of every sequence.
pub(super) fn one_history(chains: &Mailings, report: &mut Report) {
    let origins: BTreeSet<&String> = chains.keys().map(|(_, origin)| origin).collect();
    for origin in origins {
        let of = chains.iter().filter(|((_, one), _)| one == origin);
        let mailings: Vec<&Vec<Parsed>> = of.map(|(_, mails)| mails).collect();
        if mailings.len() > 1 {
            crossings(&mailings, report);
            let extended = extended(&mailings);
            went_back(&mailings, &extended, report);
            unshown(&mailings, &extended, report);
        }
    }
}

/// A bridge to a mail of another sequence that is there leads to that mail's checkpoint.
fn crossings(mailings: &[&Vec<Parsed>], report: &mut Report) {
    let all = || mailings.iter().copied().flatten();
    let known: BTreeMap<(&str, u64), &Parsed> =
        all().map(|one| ((one.mail.mailing.as_str(), one.mail.number), one)).collect();
    for new in all() {
        for bridge in &new.mail.since {
            let mailing = bridge.mailing.as_deref();
            let old = mailing.and_then(|mailing| known.get(&(mailing, bridge.number)));
            if let Some(old) = old
                && let Err(finding) = leads(old, new, bridge)
            {
                report.add(*finding);
            }
        }
    }
}

/// The largest checkpoint of all, and those that it is shown to extend: they are all beginnings of
/// one tree.
fn extended(mailings: &[&Vec<Parsed>]) -> BTreeSet<Tree> {
    let mut brought = BTreeMap::<Tree, Vec<&Parsed>>::new();
    for one in mailings.iter().copied().flatten() {
        brought.entry(tree(one)).or_default().push(one);
    }
    let mut waiting: Vec<Tree> = brought.keys().next_back().copied().into_iter().collect();
    let mut extended: BTreeSet<Tree> = waiting.iter().copied().collect();
    while let Some(one) = waiting.pop() {
        for mail in brought.get(&one).into_iter().flatten() {
            for bridge in &mail.mail.since {
                let root = Digest::from_base64(&bridge.root_hash);
                if root.is_ok_and(|root| extended.contains(&(bridge.tree_size, root))) {
                    continue;
                }
                if let Ok(old) = proven(mail, bridge)
                    && extended.insert(old)
                {
                    waiting.push(old);
                }
            }
        }
    }
    extended
}

/// Of two sequences, a mail that was written later does not bring a smaller checkpoint.
fn went_back(mailings: &[&Vec<Parsed>], extended: &BTreeSet<Tree>, report: &mut Report) {
    let mut mails: Vec<(Timestamp, &Parsed)> =
        mailings.iter().copied().flatten().filter_map(|one| Some((one.written_at?, one))).collect();
    mails.sort_by_key(|(at, one)| (*at, one.checkpoint.size));
    let mut largest: Option<(Timestamp, &Parsed)> = None;
    for (at, one) in mails {
        let Some((when, before)) = largest.filter(|(_, before)| tree(before).0 > tree(one).0)
        else {
            largest = Some((at, one));
            continue;
        };
        let is_close = at <= when.saturating_add(CLOSE);
        let is_shown = extended.contains(&tree(before)) && extended.contains(&tree(one));
        if one.mail.mailing != before.mail.mailing && !(is_close && is_shown) {
            let problem =
                format!("the log went back behind the checkpoint of {}: tree size", before.file);
            let (was, is) = (before.checkpoint.size, one.checkpoint.size);
            let finding = Finding::new(FindingKind::Rewind, &one.file, problem);
            report.add(finding.values(format!("{was} or more"), is));
        }
    }
}

/// The last checkpoint of each sequence is one that the largest of all extends.
fn unshown(mailings: &[&Vec<Parsed>], extended: &BTreeSet<Tree>, report: &mut Report) {
    let lasts: Vec<&Parsed> = mailings
        .iter()
        .copied()
        .filter_map(|mails| mails.iter().max_by_key(|one| tree(one)))
        .collect();
    let Some(top) = lasts.iter().max_by_key(|one| tree(one)) else { return };
    for one in lasts.iter().filter(|one| !extended.contains(&tree(one))) {
        let (new, old) = (&top.mail.mailing, &one.mail.mailing);
        let problem =
            format!("mailing {new}, up to {}, is not shown to extend mailing {old}", top.file);
        report.add(Finding::new(FindingKind::Missing, &one.file, problem));
    }
}
