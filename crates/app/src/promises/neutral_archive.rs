//! P27: the archive takes no call that alters or deletes, and does not go back; what is changed
//! beneath it is found by whoever holds an earlier checkpoint, no log contradicts a witness; where
//! it shares host and user with the platform, the Ledger page says so.

use std::io::{Cursor, Read};
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use veritwin_access::jobs;
use veritwin_domain::OpContext;
use veritwin_ledger::{Append, LogSummary, Source, SourceError};
use veritwin_verify::{ExitClass, KnownCheckpoint, VerifyOptions, verify_log};

use super::run::InApp;
use super::{PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::{App, Error, Result};

const PROMISE: u8 = 27;
const VERSION: u32 = 2;
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
    /// An earlier leaf was taken once more.
    went_back: bool,
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
            ("an earlier leaf was taken again".to_owned(), found.went_back.to_string()),
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
        } else if found.went_back {
            failed("The archive took an earlier leaf once more.", "POST leaves")
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
        let entry = earlier.last_entry.clone().unwrap_or_default();
        let (log, cursor) = (before.log, earlier.cursor);
        let expected_size = earlier.size.saturating_sub(1);
        let again = Append { log, expected_size, cursor, entry, payload: None };
        let went_back = client.append(&again).await.is_ok_and(|appended| !appended.duplicate);
        let known = [("earlier", &earlier), ("before", &before)].map(|(name, summary)| {
            let note = summary.checkpoint.clone().into_bytes();
            KnownCheckpoint { name: name.to_owned(), note }
        });
        let (vkey, source) = (before.vkey.parse().ok(), client.source(log));
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
            went_back,
            log: report.exit,
            changed,
            is_shared,
        }))
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
