//! P52: a payload of nobody is sealed, shredded and looked for. It cannot be opened, its leaf and
//! the whole log are proven as before, and no end that was asked for is later than its 30 days.

use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use veritwin_access::jobs;
use veritwin_domain::OpContext;
use veritwin_ledger::{Act, Leaf, ShredReason, open_payload, payload_dek_id};
use veritwin_verify::{ExitClass, VerifyOptions, verify_log};

use super::run::InApp;
use super::{PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::{App, Error, Result};

const PROMISE: u8 = 52;
const VERSION: u32 = 1;

pub(super) fn probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, PROMISE, VERSION, |app: App| async move { app.check_ledger_end().await })
}

/// What a round has found.
struct Found {
    index: u64,
    /// Whether the payload could be opened, before and after.
    opened: (bool, bool),
    is_leaf_proven: bool,
    log: ExitClass,
    leaves: u64,
    overdue: u64,
}

impl App {
    async fn check_ledger_end(&self) -> Result<ProbeAnswer> {
        self.ensure_probe_tenant().await?;
        let context = self.job_in(jobs::RETENTION, PROBE_TENANT);
        let Some(found) = self.shred_and_look(&context).await? else {
            let reason = "the ledger archive does not answer";
            return Ok(ProbeAnswer::CouldNotRun(reason.to_owned()));
        };
        let facts = vec![
            ("leaf".to_owned(), found.index.to_string()),
            ("opened before".to_owned(), found.opened.0.to_string()),
            ("opened after its end".to_owned(), found.opened.1.to_string()),
            ("leaf proven after its end".to_owned(), found.is_leaf_proven.to_string()),
            ("the whole log".to_owned(), found.log.as_str().to_owned()),
            ("leaves verified".to_owned(), found.leaves.to_string()),
            ("ends asked for and overdue".to_owned(), found.overdue.to_string()),
        ];
        let failed = |summary: &str| ProbeAnswer::Failed {
            summary: summary.to_owned(),
            facts: facts.clone(),
            place: format!("leaf {}", found.index),
        };
        Ok(if !found.opened.0 {
            ProbeAnswer::CouldNotRun("the payload to shred could not be opened".to_owned())
        } else if found.opened.1 {
            failed("A payload can still be opened after its end.")
        } else if !found.is_leaf_proven || found.log != ExitClass::Verified {
            failed("The log is not proven any more after a payload ended.")
        } else if found.overdue > 0 {
            failed("An end that was asked for is not over after 30 days.")
        } else {
            let summary = "A shredded payload cannot be opened; its leaf and the log are proven.";
            ProbeAnswer::Passed { summary: summary.to_owned(), facts }
        })
    }

    /// None while the archive is away.
    #[boxed]
    async fn shred_and_look(&self, context: &OpContext) -> Result<Option<Found>> {
        let mut digest = [0; 32];
        self.rng().fill(&mut digest);
        let tenant = context.tenant;
        let Some(index) = self.seal_evidence_of(tenant, digest, context.at).await? else {
            return Ok(None);
        };
        let (log, _) = self.log_of(context).await?;
        let summary = self.summary_of(log).await?;
        let leaf = self.leaf(log, index, summary.size).await?.leaf;
        let missing = || Error::Internal("the sealed payload is not in the archive".to_owned());
        let payload = self.payload(log, &leaf).await?.ok_or_else(missing)?;
        let damaged = |error: &dyn std::fmt::Display| Error::Internal(format!("payload: {error}"));
        let key = payload_dek_id(&payload).map_err(|error| damaged(&error))?;
        let origin = summary.origin.as_str();
        let before = self.opens(context, origin, (&leaf, &payload[..]));
        self.destroy_payload_keys(&[key])?;
        let act = Act::Shred { from: index, to: index + 1, reason: ShredReason::Requested };
        if self.seal_act(tenant, act, context.at).await?.is_none() {
            return Ok(None);
        }
        let after = self.opens(context, origin, (&leaf, &payload[..]));
        let is_leaf_proven = self.prove(log, index).await.is_ok();
        let source = self.archive()?.source(log);
        let vkey = self.summary_of(log).await?.vkey.parse().ok();
        let report = super::spent::blocking(move || {
            let options = VerifyOptions { vkey, ..VerifyOptions::default() };
            verify_log(&source, &options, &mut |_| {})
        });
        let report = report.await.map_err(|_| Error::Internal("the check stopped".to_owned()))?;
        let overdue = self.overdue_ledger_ends(context.at).await?;
        let opened = (before, after);
        Ok(Some(Found {
            index,
            opened,
            is_leaf_proven,
            log: report.exit,
            leaves: report.size,
            overdue,
        }))
    }

    /// Whether a payload can be opened now.
    fn opens(&self, context: &OpContext, origin: &str, (leaf, payload): (&Leaf, &[u8])) -> bool {
        let Ok(id) = payload_dek_id(payload) else { return false };
        let Ok(dek) = self.0.keys.dek_by_id(id) else { return false };
        open_payload(payload, leaf, origin, (context.tenant, &dek)).is_ok()
    }
}
