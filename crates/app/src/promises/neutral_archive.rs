//! P27: the archive takes no call that alters or deletes, and no fork; what is changed
//! beneath it is found by whoever holds an earlier checkpoint, no log contradicts a witness; where
//! it shares host and user with the platform, the Ledger page says so.

use std::io::{Cursor, Read};
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use veritwin_access::jobs;
use veritwin_domain::OpContext;
use veritwin_keys::SigningKey;
use veritwin_ledger::{
    Append, BatchBuilder, BatchLimits, BatchSigner, BuildError, Leaf, LedgerError, LogSummary,
    RecordBytes, Source, SourceError,
};
use veritwin_outbound::archive::ArchiveError;
use veritwin_verify::{ExitClass, KnownCheckpoint, VerifyOptions, verify_log};

use super::run::InApp;
use super::{PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::{App, Error, Result};

const PROMISE: u8 = 27;
const VERSION: u32 = 3;
/// Largest resource of a log, with room.
const RESOURCE_BYTES_MAX: u64 = 32 << 20;

pub(super) fn probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, PROMISE, VERSION, |app: App| async move { app.check_archive().await })
}

/// A log with a byte changed beneath each of its bundles.
struct Altered<S>(S);

impl<S: Source> Source for Altered<S> {
    fn open(&self, name: &str) -> std::result::Result<Option<Box<dyn Read + '_>>, SourceError> {
        let Some(mut bytes) = self.0.read(name, RESOURCE_BYTES_MAX)? else { return Ok(None) };
        if name.starts_with("tile/entries/")
            && let Some(last) = bytes.last_mut()
        {
            *last ^= 1;
        }
        Ok(Some(Box::new(Cursor::new(bytes))))
    }
}

/// What a round has found.
struct Found {
    leaves: u64,
    /// Calls that succeeded and should not.
    altered: Vec<String>,
    /// A leaf behind an earlier one than the last was taken.
    forked: bool,
    /// The log against earlier checkpoints of it: as it is, and with a byte changed.
    log: ExitClass,
    changed: ExitClass,
    /// Whether it shares host and user, and whether that is shown.
    is_shared: (bool, bool),
}

impl App {
    async fn check_archive(&self) -> Result<ProbeAnswer> {
        self.ensure_probe_tenant().await?;
        let context = self.job_in(jobs::LEDGER, PROBE_TENANT);
        let Some(found) = self.try_the_archive(&context).await? else {
            let reason = "the ledger archive does not answer";
            return Ok(ProbeAnswer::CouldNotRun(reason.to_owned()));
        };
        let (shared, shown) = found.is_shared;
        let contradicted = self.0.publisher.contradicted_logs();
        let facts = vec![
            ("leaves verified".to_owned(), found.leaves.to_string()),
            ("calls that altered something".to_owned(), found.altered.len().to_string()),
            ("a fork was taken".to_owned(), found.forked.to_string()),
            ("the log against earlier checkpoints".to_owned(), found.log.as_str().to_owned()),
            ("the same with a byte changed".to_owned(), found.changed.as_str().to_owned()),
            ("ledgers that contradict a witness".to_owned(), contradicted.to_string()),
            ("shares host and user with the platform".to_owned(), shared.to_string()),
            ("that is shown".to_owned(), shown.to_string()),
        ];
        let failed = |summary: &str, place: &str| ProbeAnswer::Failed {
            summary: summary.to_owned(),
            facts: facts.clone(),
            place: place.to_owned(),
        };
        Ok(if let Some(call) = found.altered.first() {
            failed("The archive took a call that alters what it holds.", call)
        } else if found.forked {
            failed("The archive took a leaf that does not follow the last one.", "POST leaves")
        } else if found.log != ExitClass::Verified {
            failed("The log does not extend its earlier checkpoints.", "checkpoint")
        } else if found.changed == ExitClass::Verified {
            failed("A byte that was changed beneath the archive is not found.", "tile/entries")
        } else if contradicted > 0 {
            let summary = "A ledger of this installation contradicts what was published of it, or \
                           what a witness has seen.";
            failed(summary, "published")
        } else if shared != shown {
            failed("The Ledger page says wrongly whether the archive runs apart.", "shared_host")
        } else {
            let summary = "The archive takes additions only; a changed byte beneath it is found.";
            ProbeAnswer::Passed { summary: summary.to_owned(), facts }
        })
    }

    /// None while the archive is away.
    #[boxed]
    async fn try_the_archive(&self, context: &OpContext) -> Result<Option<Found>> {
        let Some(earlier) = self.one_leaf_more(context).await? else { return Ok(None) };
        let Some(before) = self.one_leaf_more(context).await? else { return Ok(None) };
        let client = self.archive()?;
        let altered = client.try_changes(before.log).await?;
        let forked = self.try_to_fork(context, (&earlier, &before)).await?;
        let known = [("earlier", &earlier), ("before", &before)].map(|(name, summary)| {
            let note = summary.checkpoint.clone().into_bytes();
            KnownCheckpoint { name: name.to_owned(), note }
        });
        let (vkey, source) = (before.vkey.parse().ok(), client.source(before.log));
        let options = VerifyOptions { vkey, known: known.into(), ..VerifyOptions::default() };
        let verified = super::spent::blocking(move || {
            let as_it_is = verify_log(&source, &options, &mut |_| {});
            let changed = verify_log(&Altered(source), &options, &mut |_| {});
            (as_it_is, changed.exit)
        });
        let stopped = |_| Error::Internal("the check stopped".to_owned());
        let (report, changed) = verified.await.map_err(stopped)?;
        let is_shared = (client.about().await?.is_of_this_process(), self.shares_host());
        Ok(Some(Found {
            leaves: report.size,
            altered,
            forked,
            log: report.exit,
            changed,
            is_shared,
        }))
    }

    /// Sends a new leaf, signed as every other, behind one that is not the last: what a second
    /// writer would have, or one whose records were set back. Whatever size it believes the log to
    /// have, it has to be refused as a conflict.
    async fn try_to_fork(
        &self,
        context: &OpContext,
        (earlier, last): (&LogSummary, &LogSummary),
    ) -> Result<bool> {
        let key = self.submitter_key(context.tenant).await?;
        let entry = self.fork_behind(context, (earlier, last), &key)?;
        for expected_size in [earlier.size, last.size] {
            let (log, cursor, entry) = (last.log, earlier.cursor, entry.clone());
            let append = Append { log, expected_size, cursor, entry, payload: None };
            match self.archive()?.append(&append).await {
                Ok(_) => return Ok(true),
                Err(ArchiveError::Ledger(LedgerError::Conflict { .. })) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Ok(false)
    }

    /// A leaf behind the last one of `earlier`, with nothing else that is wrong with it.
    fn fork_behind(
        &self,
        context: &OpContext,
        (earlier, last): (&LogSummary, &LogSummary),
        key: &SigningKey,
    ) -> Result<Vec<u8>> {
        let previous = earlier.resume(&earlier.vkey, &key.public_bytes());
        let previous = previous.map_err(|error| Error::Internal(error.to_string()))?;
        let newest = last.last_entry.as_deref().and_then(|entry| Leaf::decode(entry).ok());
        let newest = newest.map_or(context.at, |leaf| leaf.sealed_at);
        let sealed_at = self.clock().now().max(newest);
        let dek = self.payload_dek(context.tenant, sealed_at)?;
        let (tenant, origin, rng) = (context.tenant, last.origin.as_str(), self.rng());
        let signer = BatchSigner { tenant, dek: &dek, origin, key, rng };
        let mut builder = BatchBuilder::new(BatchLimits::default(), previous.as_ref());
        let (sequence, bytes) = (builder.next_sequence(), b"a fork".to_vec());
        let record = RecordBytes { sequence, events_from: sealed_at, events_to: sealed_at, bytes };
        let wrong = |error: BuildError| Error::Internal(format!("a leaf of the check: {error}"));
        builder.push(record).map_err(wrong)?;
        let sealed = builder.seal_digest(previous.as_ref(), sealed_at, &signer);
        sealed.map(|(fork, _)| fork.entry).map_err(wrong)
    }

    /// The log of the checks with one leaf more; none while the archive is away.
    async fn one_leaf_more(&self, context: &OpContext) -> Result<Option<LogSummary>> {
        let mut digest = [0; 32];
        self.rng().fill(&mut digest);
        if self.seal_evidence_of(context.tenant, digest, context.at).await?.is_none() {
            return Ok(None);
        }
        let (log, _) = self.log_of(context).await?;
        self.summary_of(log).await.map(Some)
    }
}
