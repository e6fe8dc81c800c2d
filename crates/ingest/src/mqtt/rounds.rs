//! From time to time everything about sessions that outlive the process is told anew, so that what
//! is before it may go. A round goes on with other tenants where one's does not get in, and tries
//! that one again by itself.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::{StreamExt, stream};
use veritwin_domain::{SessionNote, TenantId};

use super::broker::Broker;
use super::session::SharedState;
use super::telling::{NOTE_BYTES_AT_ONCE, retry_after};
use crate::traits::SubmitError;

/// So often everything is told anew, at most.
pub const SESSION_ROUND_SECONDS_MIN: u64 = 10;
/// So much of it is told in a second, on average: a large round is followed by a longer pause.
pub const SESSION_ROUND_BYTES_PER_SECOND_MAX: usize = 1024 * 1024;
/// So many notes are told in one submission.
const NOTES_AT_ONCE: usize = 256;
/// The limit of a tenant of which the log takes nothing more until its key is back.
const SPOOL_LIMIT: &str = "spool_bytes_max";
/// So many tenants are told of at once.
const TENANTS_AT_ONCE: usize = 8;

/// When everything is told anew.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    open: Option<Round>,
    next_at: Duration,
}

/// A round that has begun.
#[derive(Debug)]
struct Round {
    /// The position it is for.
    from: u64,
    /// What was under way before.
    before: Weak<()>,
    /// Tenants of whom it is told where their sessions stand, and in how many bytes.
    told: HashSet<TenantId>,
    bytes: usize,
    /// So often it could not be ended.
    failures: u32,
}

/// Notes that are told together.
#[derive(Default)]
struct Batch {
    notes: Vec<SessionNote>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, note: SessionNote) {
        self.bytes += note.body.len();
        self.notes.push(note);
    }

    fn is_full(&self) -> bool {
        self.notes.len() >= NOTES_AT_ONCE || self.bytes >= NOTE_BYTES_AT_ONCE
    }
}

impl Broker {
    /// Tells everything anew when it is time, and when what was under way before is done.
    pub(super) async fn tend_round(&self) {
        if !self.sink.keeps_sessions() {
            return;
        }
        let Some((from, mut told)) = self.open_round() else { return };
        let (bytes, mut failure) = self.tell_further(from, &mut told).await;
        if failure.is_none() {
            failure = self.sink.sessions_kept_from(from).await.err();
        }
        let now = self.clock.monotonic();
        let mut rounds = self.sessions.rounds.lock();
        let Some(mut round) = rounds.open.take() else { return };
        round.bytes += bytes;
        let Some(error) = failure else {
            let pause = (round.bytes / SESSION_ROUND_BYTES_PER_SECOND_MAX) as u64;
            rounds.next_at = now + Duration::from_secs(pause.max(SESSION_ROUND_SECONDS_MIN));
            return;
        };
        tracing::warn!(%error, "where sessions stand was not told anew of all; trying again");
        round.failures = round.failures.saturating_add(1);
        round.told = told;
        rounds.next_at = now + retry_after(round.failures, &error);
        rounds.open = Some(round);
    }

    /// The position that a round is for, and who is told already, once every message before it is
    /// put before who has subscribed.
    fn open_round(&self) -> Option<(u64, HashSet<TenantId>)> {
        let mut rounds = self.sessions.rounds.lock();
        if self.clock.monotonic() < rounds.next_at {
            return None;
        }
        let round = rounds.open.get_or_insert_with(|| self.begin_round());
        let is_ready = round.before.strong_count() == 0;
        is_ready.then(|| (round.from, std::mem::take(&mut round.told)))
    }

    fn begin_round(&self) -> Round {
        // What joins the new epoch becomes durable after this.
        let from = self.sink.log_tail();
        let before = std::mem::take(&mut *self.sessions.epoch.lock());
        let (before, told) = (Arc::downgrade(&before), HashSet::new());
        Round { from, before, told, bytes: 0, failures: 0 }
    }

    /// Tells where the sessions of further tenants stand: how many bytes that were, and what was
    /// last in the way of one.
    async fn tell_further(
        &self,
        from: u64,
        told: &mut HashSet<TenantId>,
    ) -> (usize, Option<SubmitError>) {
        let mut tenants: HashMap<TenantId, Vec<SharedState>> = HashMap::new();
        for session in self.sessions.all_kept() {
            let tenant = session.kept().map(|key| key.tenant);
            if let Some(tenant) = tenant.filter(|tenant| !told.contains(tenant)) {
                tenants.entry(tenant).or_default().push(session);
            }
        }
        let tell = |(tenant, sessions)| self.tell_tenant(from, tenant, sessions);
        let mut telling = stream::iter(tenants).map(tell).buffer_unordered(TENANTS_AT_ONCE);
        let (mut bytes, mut failure) = (0, None);
        while let Some((tenant, bytes_of_tenant, stopped)) = telling.next().await {
            bytes += bytes_of_tenant;
            if let Some(error) = stopped {
                tracing::warn!(%tenant, %error, "where its sessions stand waits to be told");
                failure = Some(error);
            } else {
                told.insert(tenant);
            }
        }
        (bytes, failure)
    }

    /// Tells where the sessions of a tenant stand, as far as it gets in.
    async fn tell_tenant(
        &self,
        from: u64,
        tenant: TenantId,
        sessions: Vec<SharedState>,
    ) -> (TenantId, usize, Option<SubmitError>) {
        let (mut bytes, mut batch) = (0, Batch::default());
        for session in sessions {
            let Some(key) = session.kept() else { continue };
            for note in session.all_notes(from) {
                batch.push(note.of(key));
                if !batch.is_full() {
                    continue;
                }
                match self.tell_some(tenant, std::mem::take(&mut batch)).await {
                    Ok(told) => bytes += told,
                    Err(error) => return (tenant, bytes, Some(error)),
                }
            }
        }
        match self.tell_some(tenant, batch).await {
            Ok(told) => (tenant, bytes + told, None),
            Err(error) => (tenant, bytes, Some(error)),
        }
    }

    /// Tells notes of a tenant. One whose keys are withdrawn has no sessions after a restart, nor
    /// has one of which the log takes nothing more until its key is back; nor does what is refused
    /// for good hold up the others.
    async fn tell_some(&self, tenant: TenantId, batch: Batch) -> Result<usize, SubmitError> {
        if batch.notes.is_empty() {
            return Ok(0);
        }
        match self.sink.tell_sessions(tenant, batch.notes).await {
            Ok(()) => Ok(batch.bytes),
            Err(SubmitError::Denied(_) | SubmitError::NotFound(_)) => Ok(0),
            Err(error @ SubmitError::Busy { limit: Some(SPOOL_LIMIT), .. }) => {
                tracing::warn!(%tenant, %error, "where its sessions stand is not on record");
                Ok(0)
            }
            Err(error) if error.is_final() => {
                tracing::warn!(%tenant, %error, "where some sessions stand is not on record");
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }
}
