//! P26: the newest batches of every log are read back from the archive. The SHA-256 of what lies
//! there is the one in the leaf, the leaf is in the tree of the signed checkpoint, and one flipped
//! bit in a copy of either is found. A ledger that is held up breaks the promise, unless its tenant
//! alone withholds the keys. Every tenant reads what is found, so it names no log.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use veritwin_access::jobs;
use veritwin_domain::{LogId, OpContext, Rng, TenantId};
use veritwin_verify::{
    Act, Digest, Leaf, SignedCheckpoint, VerifierKey, leaf_hash, sha256, verify_inclusion,
};

use super::probe::public_words;
use super::run::InApp;
use super::{PlatformProbe, ProbeAnswer};
use crate::held::is_key_withheld;
use crate::model::{LedgerProofView, PageRequest};
use crate::{App, Error, Result};

const PROMISE: u8 = 26;
const VERSION: u32 = 3;
/// Where something is wrong, for every reader: whose ledger it is, is the operator's to know.
const PLACE: &str = "a ledger of this installation";
/// Newest batches checked of each log.
const BATCHES_MAX: usize = 3;
/// Newest leaves among which they are looked for.
const LEAVES_MAX: usize = 20;
/// Logs checked in one run.
const LOGS_MAX: usize = 200;
/// A log grows while it is read: what does not fit is read anew, and is wrong if it never fits.
const PROOFS_MAX: usize = 3;
/// Bits flipped in copies of each batch: one in the payload, one in the leaf.
const FLIPS: u64 = 2;
/// A platform that has just started seals its first batch within this time.
const FIRST_BATCH_WAIT: Duration = Duration::from_secs(25);
const FIRST_BATCH_LOOK: Duration = Duration::from_millis(500);

pub(super) fn probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, PROMISE, VERSION, |app: App| async move { app.check_fingerprints().await })
}

/// What can be wrong with a ledger: all that its readers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Problem {
    HeldUp,
    Missing,
    Payload,
    Length,
    Leaf,
    Signature,
    Checkpoint,
    Inclusion,
    Flip,
}

impl Problem {
    const fn text(self) -> &'static str {
        match self {
            Self::HeldUp => "what comes in is not sealed for now",
            Self::Missing => "a batch's payload is missing",
            Self::Payload => "a payload's SHA-256 is not the one in the leaf",
            Self::Length => "a payload's length is not the one in the leaf",
            Self::Leaf => "a leaf cannot be read",
            Self::Signature => "a leaf's signature does not hold",
            Self::Checkpoint => "a checkpoint does not hold",
            Self::Inclusion => "a leaf is not in the tree",
            Self::Flip => "a flipped bit in a copy was not found",
        }
    }

    const fn summary(self) -> &'static str {
        match self {
            Self::HeldUp => "A ledger is held up: what comes in has no fingerprint.",
            _ => "A batch does not fit its fingerprint.",
        }
    }

    fn with(self, detail: impl Display) -> Wrong {
        Wrong { problem: self, detail: detail.to_string() }
    }
}

/// What is wrong, with what was seen of it.
#[derive(Debug)]
struct Wrong {
    problem: Problem,
    detail: String,
}

impl From<Problem> for Wrong {
    fn from(problem: Problem) -> Self {
        Self { problem, detail: String::new() }
    }
}

/// Where something is wrong: for the operator's log, since every tenant reads the answer.
#[derive(Debug)]
struct Found {
    log: LogId,
    leaf: Option<u64>,
    wrong: Wrong,
}

/// An error, and the log that it was met at.
struct Unread {
    log: Option<LogId>,
    error: Error,
}

impl From<Error> for Unread {
    fn from(error: Error) -> Self {
        Self { log: None, error }
    }
}

impl Unread {
    /// Says to the operator what it is, and to every reader that it is.
    fn answer(&self) -> ProbeAnswer {
        let log = self.log.map(tracing::field::display);
        tracing::warn!(log, error = %self.error, "fingerprints could not be checked");
        ProbeAnswer::CouldNotRun(public_words(&self.error).to_owned())
    }
}

/// Counts of a run, and the first thing that is wrong.
#[derive(Debug, Default)]
struct Seen {
    logs: u64,
    batches: u64,
    bytes: u64,
    flips_found: u64,
    /// Tenants that revoked their keys, or whose key service does not answer: what comes in of
    /// them waits to be sealed. That is theirs to do and nobody else's to read, so they are left
    /// out of the verdict and counted.
    withheld: BTreeSet<TenantId>,
    wrong: Option<Found>,
}

impl Seen {
    fn is_held_up(&self) -> bool {
        self.wrong.as_ref().is_some_and(|found| found.wrong.problem == Problem::HeldUp)
    }
}

/// Checks a leaf with its payload against the signed checkpoint; the error says what is wrong.
fn verify(view: &LedgerProofView, payload: &[u8]) -> std::result::Result<(), Wrong> {
    let leaf = Leaf::decode(&view.leaf).map_err(|error| Problem::Leaf.with(error))?;
    if sha256(payload) != leaf.payload {
        return Err(Problem::Payload.into());
    }
    if payload.len() as u64 != leaf.payload_bytes {
        return Err(Problem::Length.into());
    }
    let checkpoint = Problem::Checkpoint;
    let key: VerifierKey = view.vkey.parse().map_err(|_| checkpoint.with("not a verifier key"))?;
    let signed = SignedCheckpoint::parse(view.checkpoint.as_bytes())
        .map_err(|error| checkpoint.with(error))?;
    let tree = signed.verify(&key).map_err(|error| checkpoint.with(error))?;
    leaf.verify_signature(&tree.origin).map_err(|error| Problem::Signature.with(error))?;
    let path: Vec<Digest> = view.path.iter().map(|hash| Digest::from_bytes(*hash)).collect();
    verify_inclusion(view.index, leaf_hash(&view.leaf), &path, tree.size, tree.root)
        .map_err(|error| Problem::Inclusion.with(error))
}

/// Flips one random bit.
fn flip(bytes: &mut [u8], rng: &dyn Rng) {
    let bits = (bytes.len() as u64).saturating_mul(8).max(1);
    let bit = rng.next_u64() % bits;
    if let Some(byte) = bytes.get_mut(usize::try_from(bit / 8).unwrap_or(usize::MAX)) {
        *byte ^= 1 << (bit % 8);
    }
}

/// How many of two flipped bits, one in the payload and one in the leaf, are found.
fn flips_found(view: &LedgerProofView, payload: &[u8], rng: &dyn Rng) -> u64 {
    let mut other_payload = payload.to_vec();
    flip(&mut other_payload, rng);
    let mut other_leaf = view.clone();
    flip(&mut other_leaf.leaf, rng);
    u64::from(verify(view, &other_payload).is_err())
        + u64::from(verify(&other_leaf, payload).is_err())
}

impl App {
    async fn check_fingerprints(&self) -> Result<ProbeAnswer> {
        let attempts = FIRST_BATCH_WAIT.as_millis() / FIRST_BATCH_LOOK.as_millis();
        let (mut last, mut held_up): (Option<Unread>, Option<Seen>) = (None, None);
        let mut is_withheld = false;
        for _ in 0..attempts {
            match self.look_at_batches().await {
                // A hold may end by itself in a moment.
                Ok(seen) if seen.is_held_up() => {
                    (held_up, last) = (Some(seen), None);
                }
                Ok(seen) if seen.batches > 0 || seen.wrong.is_some() => {
                    return Ok(answer(&seen));
                }
                Ok(seen) => {
                    (held_up, last) = (None, None);
                    is_withheld = !seen.withheld.is_empty();
                }
                Err(unread)
                    if matches!(unread.error, Error::Unavailable(_) | Error::NotFound(_)) =>
                {
                    last = Some(unread);
                }
                Err(unread) => return Ok(unread.answer()),
            }
            tokio::select! {
                () = self.0.stop.cancelled() => break,
                () = tokio::time::sleep(FIRST_BATCH_LOOK) => {}
            }
        }
        Ok(match (last, held_up) {
            (Some(unread), _) => unread.answer(),
            (None, Some(seen)) => answer(&seen),
            (None, None) => ProbeAnswer::CouldNotRun(nothing_to_check(is_withheld).to_owned()),
        })
    }

    async fn look_at_batches(&self) -> std::result::Result<Seen, Unread> {
        let mut seen = Seen::default();
        let tenants = self.all_tenants(&self.job(jobs::PROMISES)).await?;
        self.archive()?;
        for tenant in &tenants {
            let Some(held) = self.0.jobs.ledger_held.of(tenant.id) else { continue };
            if held.is_by_key {
                seen.withheld.insert(tenant.id);
                continue;
            }
            // Its archive may not even answer; the promise is not kept whatever the others say.
            let wrong = Problem::HeldUp.with(held.reason);
            seen.wrong = Some(Found { log: tenant.log_id, leaf: None, wrong });
            return Ok(seen);
        }
        for tenant in tenants.iter().take(LOGS_MAX) {
            let context = self.job_in(jobs::PROMISES, tenant.id);
            let log = tenant.log_id;
            match self.look_at_log(&context, log, &mut seen).await {
                // A log that was never opened needs the key.
                Err(error) if is_key_withheld(&error) => {
                    seen.withheld.insert(tenant.id);
                }
                looked => looked.map_err(|error| Unread { log: Some(log), error })?,
            }
            if seen.wrong.is_some() {
                break;
            }
        }
        Ok(seen)
    }

    async fn look_at_log(&self, context: &OpContext, log: LogId, seen: &mut Seen) -> Result<()> {
        let page = PageRequest { cursor: None, limit: Some(LEAVES_MAX) };
        let entries = match self.ledger_entries(context, &page).await {
            // The archive knows no such log yet: nothing was sealed for this tenant.
            Err(Error::NotFound(_)) => return Ok(()),
            entries => entries?.items,
        };
        let with_payload = entries.iter().filter(|entry| entry.payload_bytes > 0);
        let batches: Vec<_> = with_payload.take(BATCHES_MAX).collect();
        seen.logs += u64::from(!batches.is_empty());
        for entry in batches {
            let mut checked = self.look_at_leaf(context, log, entry.index).await?;
            for _ in 1..PROOFS_MAX {
                if checked.is_ok() {
                    break;
                }
                checked = self.look_at_leaf(context, log, entry.index).await?;
            }
            match checked {
                Ok(bytes) => {
                    seen.batches += 1;
                    seen.bytes += bytes;
                    seen.flips_found += FLIPS;
                }
                Err(wrong) => {
                    seen.wrong = Some(Found { log, leaf: Some(entry.index), wrong });
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Checks one leaf with its payload; answers the payload's length, or what is wrong.
    async fn look_at_leaf(
        &self,
        context: &OpContext,
        log: LogId,
        index: u64,
    ) -> Result<std::result::Result<u64, Wrong>> {
        let view = self.ledger_proof(context, index).await?;
        let leaf = match Leaf::decode(&view.leaf) {
            Ok(leaf) => leaf,
            Err(error) => return Ok(Err(Problem::Leaf.with(error))),
        };
        // An edge's statement has no payload that could differ from it.
        if matches!(leaf.act, Act::Edge(_)) {
            return Ok(Ok(0));
        }
        let Some(payload) = self.payload(log, &leaf).await? else {
            // Lawfully destroyed payloads are said by later leaves; the newest are not.
            return Ok(Err(Problem::Missing.into()));
        };
        #[cfg(feature = "test-controls")]
        let payload = {
            let mut altered = payload.to_vec();
            self.0.promises.alter_payload(&mut altered);
            altered
        };
        if let Err(wrong) = verify(&view, &payload) {
            return Ok(Err(wrong));
        }
        if flips_found(&view, &payload, self.rng()) < FLIPS {
            return Ok(Err(Problem::Flip.into()));
        }
        Ok(Ok(payload.len() as u64))
    }
}

const fn nothing_to_check(is_withheld: bool) -> &'static str {
    if is_withheld {
        "no batch can be checked; logs whose keys are withheld are left out"
    } else {
        "no batch has been sealed yet"
    }
}

fn answer(seen: &Seen) -> ProbeAnswer {
    let fact = |name: &str, value: &dyn Display| (name.to_owned(), value.to_string());
    let Some(Found { log, leaf, wrong: Wrong { problem, detail } }) = &seen.wrong else {
        return ProbeAnswer::Passed {
            summary: format!(
                "{} batches were read back; each fingerprint holds and each flipped bit was found.",
                seen.batches
            ),
            facts: vec![
                fact("batches recomputed", &seen.batches),
                fact("bytes hashed", &seen.bytes),
                fact("flipped bits found", &seen.flips_found),
                fact("logs", &seen.logs),
                fact("logs left out, whose keys are withheld", &seen.withheld.len()),
                fact("newest batches of each log, at most", &BATCHES_MAX),
            ],
        };
    };
    let text = problem.text();
    tracing::warn!(%log, leaf, problem = text, %detail, "a ledger keeps no promise");
    ProbeAnswer::Failed {
        summary: problem.summary().to_owned(),
        // Logs are looked at in an order: counts would say which of them is wrong.
        facts: vec![fact("problem", &text)],
        place: PLACE.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veritwin_domain::SeededRng;

    #[test]
    fn exactly_one_bit_is_flipped() {
        let rng = SeededRng::new(11);
        for length in [1, 2, 100] {
            let mut bytes = vec![0u8; length];
            flip(&mut bytes, &rng);
            assert_eq!(bytes.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
        }
        flip(&mut [], &rng);
    }

    #[test]
    fn who_withholds_keys_is_counted_and_not_named() {
        let withheld = BTreeSet::from([1, 2].map(|number| TenantId::from_bytes([number; 16])));
        let answered = answer(&Seen { logs: 1, batches: 3, withheld, ..Seen::default() });
        let said = format!("{answered:?}");
        let ProbeAnswer::Passed { facts, .. } = answered else { panic!("{said}") };
        let expect = ("logs left out, whose keys are withheld".to_owned(), "2".to_owned());
        assert!(facts.contains(&expect), "{facts:?}");
        assert!(!said.contains(&TenantId::from_bytes([1; 16]).to_string()), "{said}");
    }

    #[test]
    fn what_is_wrong_names_no_log() {
        const PROBLEMS: [Problem; 9] = [
            Problem::HeldUp,
            Problem::Missing,
            Problem::Payload,
            Problem::Length,
            Problem::Leaf,
            Problem::Signature,
            Problem::Checkpoint,
            Problem::Inclusion,
            Problem::Flip,
        ];
        let log = LogId::from_bytes([0xab; 16]);
        let detail = "archive secret-host:1234: /var/lib/x";
        for problem in PROBLEMS {
            let found = Found { log, leaf: Some(123_456), wrong: problem.with(detail) };
            let seen = Seen { logs: 7, batches: 21, bytes: 4_242, ..Seen::default() };
            let answered = answer(&Seen { wrong: Some(found), ..seen });
            let said = format!("{answered:?}");
            for secret in [log.to_string().as_str(), "123456", "secret-host", "/var/lib"] {
                assert!(!said.contains(secret), "{said}");
            }
            let ProbeAnswer::Failed { facts, place, .. } = answered else { panic!("{said}") };
            assert_eq!(place, PLACE);
            // Nor the log's place among all that were looked at.
            assert_eq!(facts, [("problem".to_owned(), problem.text().to_owned())]);
        }
        assert_eq!(nothing_to_check(false), "no batch has been sealed yet");
        assert!(nothing_to_check(true).contains("left out"));
        let held = Error::Destroyed(format!("log {log}: {detail}"));
        let said = format!("{:?}", Unread { log: Some(log), error: held }.answer());
        assert!(!said.contains(&log.to_string()) && !said.contains("secret-host"), "{said}");
    }
}
