//! One log's checkpoint on its way: what it lacks, what it gets, and how it is kept.

use async_recursion::async_recursion as boxed;
use veritwin_access::jobs;
use veritwin_domain::{TenantId, Timestamp};
use veritwin_metastore::PublishedCheckpoint;
use veritwin_verify::{
    PUBLISHED_MAX, STAMP_NONCE_BYTES, SignedCheckpoint, StampRequest, VerifierKey, sha256,
    verify_stamp,
};

use super::Contradicts;
use crate::error::found;
use crate::provision::PLATFORM_TENANT;
use crate::{App, Error, Result};

/// A checkpoint that is being published.
pub(super) struct Draft {
    pub(super) tenant: TenantId,
    /// What was published last; of size 0 when nothing was.
    before: PublishedCheckpoint,
    pub(super) now: PublishedCheckpoint,
    /// The text of its note.
    pub(super) text: String,
    /// Its log gets time stamps.
    is_stamped: bool,
    /// When the newest time stamp was published.
    stamped_at: Option<Timestamp>,
}

impl Draft {
    /// Whether it lacks a place in the log of logs.
    pub(super) fn lacks_roll(&self) -> bool {
        self.tenant != PLATFORM_TENANT && self.now.roll.is_none()
    }
}

impl App {
    /// The newest checkpoint of a log with what its witnesses say; none where there is nothing.
    #[boxed]
    pub(super) async fn draft(&self, tenant: TenantId) -> Result<Option<Draft>> {
        let publisher = &self.0.publisher;
        let context = self.job_in(jobs::LEDGER, tenant);
        let tx = self.0.store.read(&context).await?;
        let Some(row) = found(tx.tenant().await)? else {
            publisher.forget(tenant);
            return Ok(None);
        };
        let last = tx.ledger_published_newest(false, 1).await?.pop();
        let stamped = tx.ledger_published_newest(true, 1).await?.pop();
        drop(tx);
        let Some(vkey) = self.known_log_key(tenant).await? else { return Ok(None) };
        let damaged = |error: String| Error::Conflict(format!("ledger archive: {error}"));
        let contradicts = |problem: String| {
            publisher.alarm((tenant, Contradicts::Published), Some(problem.clone()));
            damaged(problem)
        };
        let summary = match self.summary_of(row.log_id).await {
            // Its key is known, so that it was there.
            Err(Error::NotFound(_)) => {
                return Err(contradicts("the log is not there any more".to_owned()));
            }
            other => other?,
        };
        if summary.size == 0 && last.is_none() {
            return Ok(None);
        }
        let vkey: VerifierKey = vkey.parse().map_err(|_| damaged("its key".to_owned()))?;
        let signed = SignedCheckpoint::parse(summary.checkpoint.as_bytes());
        let signed = signed.map_err(|error| damaged(error.to_string()))?;
        signed.verify(&vkey).map_err(|error| contradicts(error.to_string()))?;
        let fresh = PublishedCheckpoint {
            size: summary.size,
            met: false,
            cosigned: 0,
            note: summary.checkpoint.clone().into_bytes(),
            stamp: None,
            stamped_at: None,
            roll: None,
            published_at: context.at,
        };
        let before = last.unwrap_or_else(|| PublishedCheckpoint { size: 0, ..fresh.clone() });
        if before.size > fresh.size {
            return Err(contradicts(format!("the log went back behind {} leaves", before.size)));
        }
        publisher.alarm((tenant, Contradicts::Published), None);
        let mut now = if before.size == fresh.size { before.clone() } else { fresh };
        let is_platform = tenant == PLATFORM_TENANT;
        // A time stamp is over the note with the cosignatures that it had.
        if now.stamp.is_none() && (is_platform || publisher.every_log) {
            let contradicted = self.cosign(row.log_id, &summary.checkpoint, &mut now).await?;
            if contradicted.is_some() || now.met {
                publisher.alarm((tenant, Contradicts::Witness), contradicted);
            }
        }
        Ok(Some(Draft {
            tenant,
            before,
            now,
            text: signed.note.text().to_owned(),
            is_stamped: is_platform || row.archive_subscribed,
            stamped_at: stamped.map(|one| one.published_at),
        }))
    }

    /// Adds a time stamp where one is due, and keeps the checkpoint. True when nothing is left to
    /// be done for it.
    #[boxed]
    pub(super) async fn finish(&self, draft: Draft) -> Result<bool> {
        let is_witnessed =
            draft.now.met || draft.tenant != PLATFORM_TENANT && !self.0.publisher.every_log;
        let is_done = is_witnessed && !draft.lacks_roll();
        let Draft { tenant, before, mut now, is_stamped, stamped_at, .. } = draft;
        if is_stamped && now.stamp.is_none() && self.is_stamp_due(stamped_at, is_witnessed) {
            self.stamp(&mut now).await;
        }
        let is_worth = now.cosigned > 0 || now.stamp.is_some() || now.roll.is_some();
        if now != before && is_worth {
            now.published_at = self.clock().now();
            self.keep_published(tenant, &now).await?;
        }
        Ok(is_done)
    }

    async fn keep_published(&self, tenant: TenantId, now: &PublishedCheckpoint) -> Result<()> {
        let tx = self.0.store.begin(&self.job_in(jobs::LEDGER, tenant)).await?;
        tx.ledger_published_put(now).await?;
        let met = if now.met { None } else { tx.ledger_published_met().await? };
        tx.ledger_published_thin(now.size, met.map(|one| one.size)).await?;
        if now.stamp.is_some() {
            let most = PUBLISHED_MAX as u64;
            let sizes = tx.ledger_published_sizes(most.saturating_add(1)).await?;
            if sizes.len() >= PUBLISHED_MAX {
                // The oldest goes: what it vouches for, the next one vouches for too, a bit later.
                tx.ledger_published_cut(sizes.first().copied().unwrap_or(0)).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    /// What its witnesses do not cosign is stamped all the same, after waiting twice as long.
    fn is_stamp_due(&self, stamped_at: Option<Timestamp>, is_witnessed: bool) -> bool {
        let Some(stamps) = &self.0.publisher.stamps else { return false };
        let wait = if is_witnessed { stamps.interval } else { stamps.interval * 2 };
        let now = self.clock().now();
        let is_due = stamped_at.is_none_or(|last| now.since(last) >= wait);
        is_due && stamps.breaker.may_ask(self.clock().monotonic())
    }

    /// Asks for a time stamp over the note as it is stored, cosignatures included.
    async fn stamp(&self, now: &mut PublishedCheckpoint) {
        let Some(stamps) = &self.0.publisher.stamps else { return };
        let mut random = [0; STAMP_NONCE_BYTES];
        self.rng().fill(&mut random);
        let request = StampRequest::new(sha256(&now.note), random);
        let outcome = match stamps.client.stamp(request.to_der()).await {
            Err(error) => Err(error.to_string()),
            Ok(answer) => {
                let nonce = Some(request.nonce());
                let authorities = Some(&stamps.authorities);
                verify_stamp(&answer, request.imprint(), nonce, authorities)
                    .map(|stamp| (answer, stamp.at))
                    .map_err(|error| error.to_string())
            }
        };
        match outcome {
            Ok((answer, at)) => {
                stamps.breaker.answered();
                now.stamp = Some(answer.to_vec());
                now.stamped_at = Some(at);
            }
            Err(problem) => {
                if stamps.breaker.failed(self.clock().monotonic()) {
                    tracing::warn!(problem, "no time stamp of a ledger's checkpoint");
                }
            }
        }
    }
}
