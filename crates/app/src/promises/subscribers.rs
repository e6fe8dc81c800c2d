//! P01, as far as the archive goes: a reading of nobody, who is not subscribed, goes by the ledger
//! and is not sealed; the newest leaves of everybody who is not subscribed hold a digest at most.
//! So whoever runs the archive is sent salted roots alone.

use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_access::jobs;
use veritwin_domain::{
    CredentialId, DeviceBatch, DeviceId, Key, LogId, OpContext, Quality, Reading, Value,
};
use veritwin_ledger::{Act, Leaf, open_payload, payload_dek_id};
use veritwin_log::Entry;

use super::run::InApp;
use super::{PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::{App, Error, Result};

const PROMISE: u8 = 1;
const VERSION: u32 = 1;
/// Where something is wrong, for every reader: whose ledger it is, is the operator's to know.
const PLACE: &str = "a ledger of this installation";
/// Newest leaves that are looked at of each log.
const LEAVES_MAX: u64 = 64;
/// Logs looked at in one run.
const LOGS_MAX: usize = 200;
/// Bytes of a digest.
const DIGEST_BYTES: usize = 32;
/// How long the ledger may take to come to the reading.
const WAIT: Duration = Duration::from_secs(25);
const LOOK: Duration = Duration::from_millis(250);

pub(super) fn probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, PROMISE, VERSION, |app: App| async move { app.check_subscribers().await })
}

/// What a round has seen.
#[derive(Default)]
struct Seen {
    logs: u64,
    leaves: u64,
    digests: u64,
    /// Whether the payload of a leaf is more than a digest.
    is_wrong: bool,
}

impl App {
    async fn check_subscribers(&self) -> Result<ProbeAnswer> {
        self.ensure_probe_tenant().await?;
        self.archive()?;
        let context = self.job_in(jobs::PROMISES, PROBE_TENANT);
        let before = self.leaves_of(&context).await?;
        if !self.send_and_wait(&context).await? {
            let reason = "the ledger has not come to the reading of the check";
            return Ok(ProbeAnswer::CouldNotRun(reason.to_owned()));
        }
        let mut seen = Seen::default();
        self.look_for_payloads(&context, before, &mut seen).await?;
        let tenants = self.customer_tenants(&self.job(jobs::PROMISES)).await?;
        let others = tenants.iter().filter(|tenant| !tenant.archive_subscribed);
        for tenant in others.take(LOGS_MAX) {
            if seen.is_wrong {
                break;
            }
            let context = self.job_in(jobs::PROMISES, tenant.id);
            self.look_for_payloads(&context, 0, &mut seen).await?;
        }
        let facts = vec![
            ("logs of who is not subscribed".to_owned(), seen.logs.to_string()),
            ("leaves looked at".to_owned(), seen.leaves.to_string()),
            ("payloads that are one digest".to_owned(), seen.digests.to_string()),
        ];
        Ok(if seen.is_wrong {
            let summary = "The archive was sent content of somebody who is not subscribed.";
            ProbeAnswer::Failed { summary: summary.to_owned(), facts, place: PLACE.to_owned() }
        } else {
            let summary = "Of who is not subscribed the archive was sent roots alone.";
            ProbeAnswer::Passed { summary: summary.to_owned(), facts }
        })
    }

    /// How many leaves a log has; none where the archive has not made it.
    async fn leaves_of(&self, context: &OpContext) -> Result<u64> {
        let (log, _) = self.log_of(context).await?;
        match self.summary_of(log).await {
            Ok(summary) => Ok(summary.size),
            Err(Error::NotFound(_)) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Writes a reading of nobody, and waits until the ledger has passed it and holds nothing of it
    /// back. False when it does not come that far in time.
    async fn send_and_wait(&self, context: &OpContext) -> Result<bool> {
        let key = Key::new("check").map_err(|error| Error::Internal(error.to_string()))?;
        let (at, value) = (context.at, Value::Integer(1));
        let batch = DeviceBatch {
            tenant: context.tenant,
            device: DeviceId::generate(context.at, self.rng()),
            credential: CredentialId::from_bytes([0; 16]),
            received_at: context.at,
            readings: vec![Reading { key, at, value, quality: Quality::Good }],
        };
        let written = self.0.log.append(vec![Entry::from(batch)]).await?;
        let end = written.first + written.count;
        for _ in 0..WAIT.as_millis() / LOOK.as_millis() {
            let (taken_to, records) = {
                let unsealed = self.0.ledger.unsealed.lock();
                (unsealed.taken_to, unsealed.records(context.tenant))
            };
            if taken_to >= end && records == 0 {
                return Ok(self.ledger_held_up(context.tenant).is_none());
            }
            tokio::select! {
                () = self.0.stop.cancelled() => break,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        Ok(false)
    }

    #[boxed]
    async fn look_for_payloads(
        &self,
        context: &OpContext,
        from: u64,
        seen: &mut Seen,
    ) -> Result<()> {
        let (log, _) = self.log_of(context).await?;
        let summary = match self.summary_of(log).await {
            Ok(summary) => summary,
            Err(Error::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        seen.logs += 1;
        let newest = summary.size.saturating_sub(LEAVES_MAX).max(summary.minimum_index);
        for index in newest.max(from)..summary.size {
            let leaf = self.leaf(log, index, summary.size).await?.leaf;
            seen.leaves += 1;
            if leaf.payload_bytes == 0 {
                continue;
            }
            seen.digests += 1;
            if !self.is_digest_alone(context, (log, &summary.origin), &leaf).await? {
                tracing::warn!(%log, leaf = index, "a payload of who is not subscribed");
                seen.is_wrong = true;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether a payload is one digest of evidence. One that nobody can open any more counts as
    /// that: its key was destroyed.
    async fn is_digest_alone(
        &self,
        context: &OpContext,
        (log, origin): (LogId, &str),
        leaf: &Leaf,
    ) -> Result<bool> {
        if leaf.count != 1 || !matches!(leaf.act, Act::Evidence | Act::Reseal { .. }) {
            return Ok(false);
        }
        let Some(payload) = self.payload(log, leaf).await? else { return Ok(true) };
        let Ok(key) = payload_dek_id(&payload) else { return Ok(false) };
        let Ok(dek) = self.0.keys.dek_by_id(key) else { return Ok(true) };
        let opened = open_payload(&payload, leaf, origin, (context.tenant, &dek));
        let is_digest = |record: &Vec<u8>| record.len() == DIGEST_BYTES;
        Ok(opened.is_ok_and(|opened| opened.records().iter().all(is_digest)))
    }
}
