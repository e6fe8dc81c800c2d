//! The end of what the ledger sealed (promise P52): at the end of a plan's audit period, or within
//! 30 days of being asked for. Keys are destroyed, statements in the log say so, the archive
//! removes the prefix, and a certificate is sealed; every leaf that is kept is proven as before.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_access::jobs;
use veritwin_domain::{DestructionId, LogId, OpContext, TenantId, Timestamp};
use veritwin_keys::{DataClass, DekId, DekSummary, DestructionMethod, Epoch};
use veritwin_ledger::{Act, LogSummary, ShredReason};
use veritwin_metastore::{DestructionState, HoldScope, PlatformTx, StoredDestruction};
use veritwin_verify::TILE_WIDTH;

use crate::destruction_certificate::destroyed_key;
use crate::destruction_scope::StoredScope;
use crate::destructions::{Body, fresh, is_held};
use crate::{App, Error, Result};

/// A destruction of what the ledger sealed is over so long after it was asked for.
const DUE_AFTER: Duration = Duration::from_secs(30 * 86_400);
/// The newest leaves stay in the archive, so that checkpoints of before can still be compared; what
/// they seal is destroyed all the same.
const LEAVES_KEPT: u64 = 2 * TILE_WIDTH;
/// What acts at the end of a plan's period give as their reason.
const PERIOD_ENDED: &str = "audit period ended";
/// Acts of ended periods are kept so long, with their certificates: there is one of each day.
const CERTIFICATES_KEPT: Duration = Duration::from_secs(400 * 86_400);
/// Those that are older by more than this were forgotten before.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(60 * 86_400);

/// By when a destruction is over, of one that has a date.
pub(crate) fn due_at(body: &Body) -> Option<Timestamp> {
    matches!(body.scope, StoredScope::Ledger { .. })
        .then(|| Timestamp::from_micros(body.requested_at).saturating_add(DUE_AFTER))
}

/// Why, as statements in the log give it.
pub(crate) fn reason_of(body: &Body) -> ShredReason {
    // Whoever asks may give the same words; acts of earlier versions are told by the job.
    let is_of_job = body.reason == PERIOD_ENDED && body.requested_by.starts_with("job:");
    if body.is_period || is_of_job { ShredReason::PeriodEnded } else { ShredReason::Requested }
}

/// The key of a day up to one, if it is of the ledger's payloads.
fn is_of_days(key: &DekSummary, last: i64) -> bool {
    let is_until = matches!(key.scope.epoch, Epoch::Day(day) if day <= last);
    key.scope.class == DataClass::Ledger && is_until
}

impl App {
    /// From here on payloads are sealed under new keys; the old ones are the act's to destroy.
    pub(crate) fn retire_ledger(
        &self,
        tenant: TenantId,
        (act, before): (DestructionId, i64),
        body: &mut Body,
    ) -> Result<Option<DestructionState>> {
        if self.0.keys.silent_since(tenant).is_some() {
            return Ok(None);
        }
        let last = Timestamp::from_micros(before).day();
        let all = self.0.keys.list(Some(tenant)).into_iter();
        let keys: Vec<DekSummary> = all.filter(|key| is_of_days(key, last)).collect();
        let ids: Vec<DekId> = keys.iter().map(|key| key.id).collect();
        self.0.keys.retire(&ids, Some(*act.as_bytes()))?;
        let by_key = DestructionMethod::KeyDestroyed;
        body.keys = keys.iter().map(|key| destroyed_key(key, by_key)).collect();
        Ok(Some(DestructionState::Destroying))
    }

    /// Notes the end of a tenant's audit period as an act with keys, in the transaction that says
    /// so: whatever ends in between, the keys are destroyed and the certificate is made.
    pub(crate) async fn note_period_end(
        &self,
        tx: PlatformTx,
        tenant: TenantId,
        (keys, before): (&[DekId], Timestamp),
    ) -> Result<PlatformTx> {
        let context = self.job_in(jobs::RETENTION, tenant);
        let scope = StoredScope::Ledger { before: before.as_micros() };
        let mut body = fresh(&context, (scope, false), PERIOD_ENDED);
        body.is_period = true;
        let all = self.0.keys.list(Some(tenant)).into_iter();
        let named = all.filter(|key| keys.contains(&key.id));
        let by_key = DestructionMethod::KeyDestroyed;
        body.keys = named.map(|key| destroyed_key(&key, by_key)).collect();
        let stored = StoredDestruction {
            id: DestructionId::generate(context.at, self.rng()),
            state: DestructionState::Destroying,
            body: body.to_store()?,
            version: 1,
            requested_at: context.at,
        };
        let tx = tx.inside(tenant).await?;
        tx.destruction_create(&stored).await?;
        Ok(tx.above().await?)
    }

    /// Forgets the acts of periods that ended long before a trusted moment, also of who sends
    /// nothing any more. Their digests stay in the ledger.
    pub(crate) async fn forget_periods(&self, trusted: Timestamp) -> Result<()> {
        let to = trusted.saturating_sub(CERTIFICATES_KEPT);
        let span = (to.saturating_sub(FORGOTTEN_WITHIN), to);
        let mut after = None;
        loop {
            let tx = self.0.store.begin_platform(&self.job(jobs::RETENTION)).await?;
            let some = tx.destructions_over(span, after).await?;
            let Some((_, last)) = some.last() else { return Ok(()) };
            after = Some((last.requested_at, last.id));
            for (tenant, one) in &some {
                if Body::read(&one.body).is_ok_and(|body| body.is_period) {
                    tx.destruction_forget(*tenant, one.id).await?;
                }
            }
            tx.commit().await?;
        }
    }

    /// States in the tenant's log what was destroyed: the prefix that the archive removes, and the
    /// leaves behind it whose payloads cannot be opened any more. False while the archive is away.
    #[boxed]
    pub(crate) async fn state_end(
        &self,
        context: &OpContext,
        (before, reason): (Timestamp, ShredReason),
    ) -> Result<bool> {
        let (log, _) = self.log_of(context).await?;
        let summary = match self.own_summary(context, log).await {
            Ok(summary) => summary,
            Err(Error::Unavailable(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        let before = self.first_kept(context.tenant, before);
        let end = self.first_sealed_at(log, &summary, before).await?;
        // Also where a crash came between the statements and what is forgotten here.
        if end > summary.minimum_index
            && !self.state_prefix(context, (&summary, end), reason).await?
        {
            return Ok(false);
        }
        let tx = self.0.store.begin(context).await?;
        tx.ledger_places_end(end).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Seals the statements about everything below a leaf. False where they have to wait.
    async fn state_prefix(
        &self,
        context: &OpContext,
        (summary, end): (&LogSummary, u64),
        reason: ShredReason,
    ) -> Result<bool> {
        // The archive has a minimum period of its own, and says so.
        let let_go = if summary.period_min.is_zero() {
            end
        } else {
            let before = context.at.saturating_sub(summary.period_min);
            self.first_sealed_at(summary.log, summary, before).await?.min(end)
        };
        let whole = let_go.min(summary.size.saturating_sub(LEAVES_KEPT)) / TILE_WIDTH * TILE_WIDTH;
        let mut minimum = summary.minimum_index;
        if whole > minimum {
            let act = Act::Retention { minimum_index: whole, reason };
            // One that does not let go of it yet is asked again by the next act.
            if self.seal_act(context.tenant, act, context.at).await?.is_some() {
                minimum = whole;
            } else if self.archive().is_err() {
                return Ok(false);
            }
        }
        let shred = Act::Shred { from: minimum, to: end, reason };
        if end > minimum && self.seal_act(context.tenant, shred, context.at).await?.is_none() {
            return Ok(false);
        }
        Ok(true)
    }

    /// Days under a hold keep their keys: nothing from the first of them on is stated. Of a day
    /// whose old key was destroyed the new one seals what comes.
    fn first_kept(&self, tenant: TenantId, before: Timestamp) -> Timestamp {
        let all = self.0.keys.day_keys(DataClass::Ledger).into_iter();
        let live = all.filter(|key| key.tenant == tenant).map(|key| key.day);
        let first = live.filter(|day| *day < before.day()).min();
        let begins =
            |day: i64| Timestamp::from_micros(day.saturating_mul(veritwin_domain::DAY_MICROS));
        first.map_or(before, |day| before.min(begins(day)))
    }

    /// The first leaf that was sealed at a moment or later: leaves are sealed in their order.
    async fn first_sealed_at(
        &self,
        log: LogId,
        summary: &LogSummary,
        at: Timestamp,
    ) -> Result<u64> {
        let (mut low, mut high) = (summary.minimum_index, summary.size);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.leaf(log, middle, summary.size).await?.leaf.sealed_at < at {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Destructions of what ledgers sealed that should be over and are not. What an organisation
    /// holds up itself, by a hold or by withholding its key, is not late.
    pub(crate) async fn overdue_ledger_ends(&self, now: Timestamp) -> Result<u64> {
        let tx = self.0.store.read_platform(&self.job(jobs::RETENTION)).await?;
        let holds = tx.holds_in_force(now).await?;
        drop(tx);
        let is_held_up = |tenant: TenantId, body: &Body| {
            let own = holds.iter().filter(|(owner, _)| *owner == tenant);
            let own: Vec<HoldScope> = own.map(|(_, hold)| hold.clone()).collect();
            is_held(&body.scope, &own) || self.0.keys.check(tenant).is_err()
        };
        let (mut overdue, mut after) = (0, None);
        loop {
            let tx = self.0.store.read_platform(&self.job(jobs::RETENTION)).await?;
            let open = tx.destructions_open(after).await?;
            drop(tx);
            let Some((_, last)) = open.last() else { return Ok(overdue) };
            after = Some((last.requested_at, last.id));
            for (tenant, stored) in &open {
                let body = Body::read(&stored.body)?;
                let is_late = due_at(&body).is_some_and(|due| due < now);
                overdue += u64::from(is_late && !is_held_up(*tenant, &body));
            }
        }
    }
}
