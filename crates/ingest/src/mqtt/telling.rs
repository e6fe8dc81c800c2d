//! What became of sessions that outlive the process is told the sink, each tenant's by itself: one
//! whose notes are slow, or do not get in, holds up no others. What waits is bounded by tenant and
//! tried again; what finds no room is on record.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use veritwin_domain::{DeviceId, SessionNote, TenantId};

use super::broker::Broker;
use super::sessions::{NO_CREDENTIAL, TEND_INTERVAL};
use crate::model::{DeviceSession, Origin, Refusal, RefusalReason, SinkEntry};
use crate::traits::SubmitError;

/// Most bytes of notes of sessions that wait to be told.
pub const SESSION_NOTES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The same of one tenant; less where less than that is free of the above.
pub const TENANT_SESSION_NOTES_BYTES_MAX: usize = 16 * 1024 * 1024;
const LIMIT: &str = "tenant_session_notes_bytes_max";
/// What a note takes besides its text.
const NOTE_BYTES: usize = 64;
/// So many notes, and bytes of them, are told in one submission.
pub(super) const NOTES_AT_ONCE: usize = 256;
pub(super) const NOTE_BYTES_AT_ONCE: usize = 1024 * 1024;
/// Of so many tenants notes are told at once.
const TENANTS_AT_ONCE: usize = 64;
/// What was not told is tried again after so long; twice as long after each further time.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest of these times.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// When to try again after so many failures, of which this is the last.
pub(super) fn retry_after(failures: u32, error: &SubmitError) -> Duration {
    let asked = match error {
        SubmitError::Busy { retry_after, .. } => *retry_after,
        _ => Duration::ZERO,
    };
    let doubled = RETRY_FIRST * 2u32.pow(failures.saturating_sub(1).min(5));
    doubled.max(asked).min(RETRY_MAX)
}

/// Notes of one tenant.
#[derive(Debug, Default)]
struct OfTenant {
    waiting: VecDeque<SessionNote>,
    /// Of those that wait and those that are being told.
    bytes: usize,
    /// So many were taken in, and so many of these, the first ones, are told or wanted by nobody.
    taken_in: u64,
    done: u64,
    /// So many had been taken in when its sessions were last asked what they have to say.
    gathered: u64,
    /// So often in a row they did not get in, and from when on they are tried again.
    failures: u32,
    again_at: Duration,
    lost: Option<Lost>,
}

/// Notes that are lost: how many, and whose the last one was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lost {
    count: u64,
    device: DeviceId,
}

impl OfTenant {
    /// What its sessions have to say stays with these. What they said the last time has to be told
    /// first: then they take it for that. What else becomes of sessions is no part of it: somebody
    /// comes or goes at any moment.
    const fn is_held_up(&self) -> bool {
        self.failures > 0 || self.done < self.gathered
    }

    fn lose(&mut self, count: usize, device: DeviceId) {
        metrics::counter!("veritwin_ingest_session_notes_lost_total").increment(count as u64);
        let before = self.lost.map_or(0, |lost| lost.count);
        self.lost = Some(Lost { count: before + count as u64, device });
    }
}

/// Notes that are not told yet.
#[derive(Debug, Default)]
pub(super) struct Untold {
    tenants: HashMap<TenantId, OfTenant>,
    /// Tenants whose notes nobody is telling, in their turns.
    turns: VecDeque<TenantId>,
    bytes: usize,
}

fn bytes_of(note: &SessionNote) -> usize {
    NOTE_BYTES + note.body.len()
}

impl Untold {
    /// Takes a note, or counts it as lost.
    pub(super) fn push(&mut self, note: SessionNote) {
        let bytes = bytes_of(&note);
        let free = SESSION_NOTES_BYTES_MAX.saturating_sub(self.bytes + bytes);
        let own = match self.tenants.entry(note.tenant) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                self.turns.push_back(note.tenant);
                new.insert(OfTenant::default())
            }
        };
        if own.bytes + bytes > TENANT_SESSION_NOTES_BYTES_MAX.min(free) {
            own.lose(1, note.device);
            return;
        }
        own.bytes += bytes;
        own.taken_in += 1;
        self.bytes += bytes;
        own.waiting.push_back(note);
    }

    /// Takes what a session has to say.
    fn gather(&mut self, notes: Vec<SessionNote>) {
        for note in notes {
            let tenant = note.tenant;
            self.push(note);
            if let Some(own) = self.tenants.get_mut(&tenant) {
                own.gathered = own.taken_in;
            }
        }
    }

    /// Tenants whose sessions are not asked now.
    fn held_up(&self) -> HashSet<TenantId> {
        let held_up = self.tenants.iter().filter(|(_, own)| own.is_held_up());
        held_up.map(|(tenant, _)| *tenant).collect()
    }

    /// So many tenants whose turn it is by now, or without a time all, of the first `left` in their
    /// turns: of how many it was not looked yet.
    fn take_due(&mut self, now: Option<Duration>, count: usize, left: &mut usize) -> Vec<TenantId> {
        let mut due = Vec::new();
        while due.len() < count
            && *left > 0
            && let Some(tenant) = self.turns.pop_front()
        {
            *left -= 1;
            let again_at = self.tenants.get(&tenant).map(|own| own.again_at);
            if now.zip(again_at).is_some_and(|(now, again_at)| now < again_at) {
                self.turns.push_back(tenant);
            } else {
                due.push(tenant);
            }
        }
        due
    }

    fn take_batch(&mut self, tenant: TenantId) -> Vec<SessionNote> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let Some(own) = self.tenants.get_mut(&tenant) else { return batch };
        while batch.len() < NOTES_AT_ONCE
            && bytes < NOTE_BYTES_AT_ONCE
            && let Some(note) = own.waiting.pop_front()
        {
            bytes += bytes_of(&note);
            batch.push(note);
        }
        batch
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.tenants.values().map(|own| own.waiting.len()).sum()
    }

    /// Notes are told, or nobody wants them.
    fn forget(&mut self, tenant: TenantId, batch: &[SessionNote]) {
        let bytes: usize = batch.iter().map(bytes_of).sum();
        self.bytes -= bytes;
        if let Some(own) = self.tenants.get_mut(&tenant) {
            own.bytes -= bytes;
            own.done += batch.len() as u64;
            own.failures = 0;
        }
    }

    /// Nobody is telling the tenant's notes any more. What was not told waits first.
    fn give_back(&mut self, tenant: TenantId, untold: Vec<SessionNote>) {
        let Some(own) = self.tenants.get_mut(&tenant) else { return };
        untold.into_iter().rev().for_each(|note| own.waiting.push_front(note));
        if own.waiting.is_empty() && own.lost.is_none() {
            self.tenants.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
    }
}

/// The notes of a tenant while they are told. What is not told when it is dropped waits again.
struct Telling {
    untold: Arc<Mutex<Untold>>,
    tenant: TenantId,
    batch: Vec<SessionNote>,
}

impl Drop for Telling {
    fn drop(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.untold.lock().give_back(self.tenant, batch);
    }
}

impl Telling {
    /// What is told next.
    fn next(&mut self) -> Option<Vec<SessionNote>> {
        self.batch = self.untold.lock().take_batch(self.tenant);
        (!self.batch.is_empty()).then(|| self.batch.clone())
    }

    fn told(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.untold.lock().forget(self.tenant, &batch);
    }

    /// They are refused for good.
    fn refused(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let mut untold = self.untold.lock();
        untold.forget(self.tenant, &batch);
        if let Some(last) = batch.last()
            && let Some(own) = untold.tenants.get_mut(&self.tenant)
        {
            own.lose(batch.len(), last.device);
        }
    }

    /// They did not get in now.
    fn failed(&self, now: Duration, error: &SubmitError) {
        if let Some(own) = self.untold.lock().tenants.get_mut(&self.tenant) {
            own.failures = own.failures.saturating_add(1);
            own.again_at = now + retry_after(own.failures, error);
        }
    }

    /// What is lost could not be recorded now. Its notes wait for that time as well, and no longer.
    fn unrecorded(&self, now: Duration, error: &SubmitError) {
        if let Some(own) = self.untold.lock().tenants.get_mut(&self.tenant) {
            own.again_at = now + retry_after(1, error);
        }
    }

    fn lost(&self) -> Option<Lost> {
        self.untold.lock().tenants.get(&self.tenant)?.lost
    }

    /// So many lost ones are on record.
    fn recorded(&self, recorded: Lost) {
        if let Some(own) = self.untold.lock().tenants.get_mut(&self.tenant) {
            let rest = own.lost.map(|lost| Lost { count: lost.count - recorded.count, ..lost });
            own.lost = rest.filter(|rest| rest.count > 0);
        }
    }
}

impl Broker {
    /// Tells what has become of sessions since the last time. Call it before the end, when every
    /// connection is gone.
    pub async fn flush_sessions(&self) {
        self.gather_notes(&HashSet::new());
        let mut left = usize::MAX;
        let all = stream::iter(self.take_tellings(None, usize::MAX, &mut left));
        all.for_each_concurrent(TENANTS_AT_ONCE, |telling| self.tell_of(telling)).await;
    }

    /// Tells it each second, until every connection is closed.
    pub(super) async fn tend_notes(&self) {
        let mut ticks = interval(TEND_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut closing = self.closing.subscribe();
        let (mut telling, mut left) = (FuturesUnordered::new(), 0);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let held_up = self.sessions.untold.lock().held_up();
                    self.gather_notes(&held_up);
                    left = self.sessions.untold.lock().turns.len();
                }
                Some(()) = telling.next() => {}
                () = closed(&mut closing) => break,
            }
            // Each tenant has its turn in this second, however many there are.
            let free = TENANTS_AT_ONCE.saturating_sub(telling.len());
            let due = self.take_tellings(Some(self.clock.monotonic()), free, &mut left);
            telling.extend(due.into_iter().map(|telling| self.tell_of(telling)));
        }
        while telling.next().await.is_some() {}
    }

    /// Takes from sessions what they have to say, those of some tenants left out.
    fn gather_notes(&self, without: &HashSet<TenantId>) {
        for session in self.sessions.all_kept() {
            let Some(key) = session.kept() else { continue };
            if without.contains(&key.tenant) {
                continue;
            }
            let notes: Vec<_> = session.take_notes().iter().map(|note| note.of(key)).collect();
            if !notes.is_empty() {
                self.sessions.untold.lock().gather(notes);
            }
        }
    }

    fn take_tellings(&self, now: Option<Duration>, count: usize, left: &mut usize) -> Vec<Telling> {
        let due = self.sessions.untold.lock().take_due(now, count, left);
        let untold = || Arc::clone(&self.sessions.untold);
        let begin = |tenant| Telling { untold: untold(), tenant, batch: Vec::new() };
        due.into_iter().map(begin).collect()
    }

    /// Tells notes of a tenant until there are none, or they do not get in.
    async fn tell_of(&self, mut telling: Telling) {
        let tenant = telling.tenant;
        while let Some(notes) = telling.next() {
            match self.sink.tell_sessions(tenant, notes).await {
                // One whose keys are withdrawn has no sessions after a restart.
                Ok(()) | Err(SubmitError::Denied(_) | SubmitError::NotFound(_)) => telling.told(),
                Err(error) if error.is_final() => {
                    tracing::warn!(%tenant, %error, "what became of sessions is refused");
                    telling.refused();
                }
                Err(error) => {
                    tracing::warn!(%tenant, %error, "what became of sessions waits to be told");
                    telling.failed(self.clock.monotonic(), &error);
                    return;
                }
            }
        }
        if let Some(lost) = telling.lost() {
            self.record_lost_notes(&telling, lost).await;
        }
    }

    async fn record_lost_notes(&self, telling: &Telling, lost: Lost) {
        let (tenant, Lost { count, device }) = (telling.tenant, lost);
        let session = DeviceSession::new(tenant, device, NO_CREDENTIAL);
        let refusal = Refusal {
            tenant,
            device,
            credential: NO_CREDENTIAL,
            received_at: self.clock.now(),
            reason: RefusalReason::Limit,
            detail: format!(
                "limit {LIMIT} reached: {count} notes of what became of sessions are lost; after \
                 a crash before all is told anew, clients may get again what they have had"
            ),
            position: None,
            limit: Some(LIMIT),
            payload_bytes: 0,
        };
        let entries = vec![SinkEntry::Refusal(refusal)];
        match self.sink.submit(Origin::Device(&session), entries).await {
            Ok(_) => telling.recorded(lost),
            Err(error) if error.is_final() => telling.recorded(lost),
            Err(error) => {
                tracing::warn!(%tenant, %error, "lost notes of sessions are not on record yet");
                telling.unrecorded(self.clock.monotonic(), &error);
            }
        }
    }
}

async fn closed(closing: &mut watch::Receiver<bool>) {
    let _closed = closing.wait_for(|is_closing| *is_closing).await.is_ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(seed: u8) -> TenantId {
        TenantId::from_bytes([seed; 16])
    }

    fn note(of: u8, bytes: usize) -> SessionNote {
        let device = DeviceId::from_bytes([of; 16]);
        SessionNote { tenant: tenant(of), device, body: vec![0; bytes].into() }
    }

    #[test]
    fn a_tenant_that_fills_the_room_leaves_some_for_others_and_what_is_lost_is_counted() {
        const PART: usize = 1024 * 1024 - NOTE_BYTES;
        let mut untold = Untold::default();
        for _ in 0..20 {
            untold.push(note(1, PART));
        }
        let lost = untold.tenants[&tenant(1)].lost;
        assert_eq!(lost, Some(Lost { count: 4, device: DeviceId::from_bytes([1; 16]) }));
        for of in 2..=60 {
            untold.push(note(of, PART));
            untold.push(note(of, PART));
        }
        assert!(untold.bytes <= SESSION_NOTES_BYTES_MAX);
        assert!(untold.tenants[&tenant(20)].bytes > 0);
        assert!(untold.tenants[&tenant(2)].lost.is_none());
    }

    #[test]
    fn what_is_not_told_waits_first_and_a_tenant_that_failed_waits_alone() {
        let untold = Arc::new(Mutex::new(Untold::default()));
        let telling =
            || Telling { untold: Arc::clone(&untold), tenant: tenant(1), batch: Vec::new() };
        let (first, second) = (note(1, 1), note(1, 2));
        untold.lock().push(first.clone());
        untold.lock().push(note(2, 1));
        let due = |seconds: u64, count: usize| {
            untold.lock().take_due(Some(Duration::from_secs(seconds)), count, &mut 9)
        };
        assert_eq!(due(0, 1), [tenant(1)]);
        let mut failing = telling();
        assert_eq!(failing.next(), Some(vec![first.clone()]));
        untold.lock().push(second.clone());
        let busy = SubmitError::Busy {
            detail: String::new(),
            limit: None,
            retry_after: Duration::from_secs(5),
        };
        failing.failed(Duration::ZERO, &busy);
        drop(failing);
        assert_eq!(untold.lock().held_up(), HashSet::from([tenant(1)]));
        assert_eq!(due(4, 9), [tenant(2)]);
        assert_eq!(due(5, 9), [tenant(1)]);
        let mut told = telling();
        assert_eq!(told.next(), Some(vec![first, second]));
        told.told();
        drop(told);
        assert!(!untold.lock().tenants.contains_key(&tenant(1)));
    }

    /// Else the sessions of a tenant whose clients come and go all the time would never be asked.
    #[test]
    fn what_sessions_have_to_say_waits_for_what_they_said_before_and_for_nothing_else() {
        let untold = Arc::new(Mutex::new(Untold::default()));
        let mut telling =
            Telling { untold: Arc::clone(&untold), tenant: tenant(1), batch: Vec::new() };
        let is_held_up = || !untold.lock().held_up().is_empty();
        untold.lock().push(note(1, 1));
        assert!(!is_held_up(), "somebody went");
        untold.lock().gather(vec![note(1, 2), note(1, 3)]);
        assert!(is_held_up());
        assert_eq!(telling.next().map(|notes| notes.len()), Some(3));
        assert!(is_held_up(), "it is being told");
        untold.lock().push(note(1, 4));
        telling.told();
        assert!(!is_held_up(), "who went meanwhile is no part of it");
        untold.lock().gather(vec![note(1, 5)]);
        assert_eq!(telling.next().map(|notes| notes.len()), Some(2));
        telling.refused();
        assert!(!is_held_up());
        let away = SubmitError::Unavailable(String::new());
        telling.unrecorded(Duration::ZERO, &away);
        assert!(!is_held_up(), "that what is lost is not on record is in nobody's way");
        telling.failed(Duration::ZERO, &away);
        assert!(is_held_up());
    }

    #[test]
    fn each_tenant_is_looked_at_once_in_a_second() {
        let mut untold = Untold::default();
        (1..=5).for_each(|of| untold.push(note(of, 1)));
        let (now, mut left) = (Some(Duration::ZERO), untold.turns.len());
        if let Some(own) = untold.tenants.get_mut(&tenant(2)) {
            own.again_at = Duration::from_secs(1);
        }
        assert_eq!(untold.take_due(now, 2, &mut left), [tenant(1), tenant(3)]);
        // One is told, and has more to say: that is for the next second.
        untold.give_back(tenant(1), Vec::new());
        assert_eq!(untold.take_due(now, 9, &mut left), [tenant(4), tenant(5)]);
        assert!(untold.take_due(now, 9, &mut left).is_empty() && left == 0);
    }

    #[test]
    fn waits_are_bounded() {
        let away = SubmitError::Unavailable(String::new());
        let seconds = |failures: u32| retry_after(failures, &away).as_secs();
        assert_eq!([1, 2, 3, 6, 7, 1000].map(seconds), [1, 2, 4, 30, 30, 30]);
    }
}
