//! Slows down guessing of passwords and codes. A pure state machine over monotonic time with
//! bounded memory; the caller names subjects by keyed digests, never by address or e-mail. Who
//! guesses is slowed down at once; an account only as a whole when very many guess, and then not
//! for addresses it has signed in from: nobody can lock somebody else out.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use veritwin_keys::sha256;

/// Failures that cost nothing, so that a typing mistake is not punished.
pub const THROTTLE_FREE_FAILURES: u32 = 5;
/// The same for a network address, behind which many people may sit.
pub const THROTTLE_ADDRESS_FREE_FAILURES: u32 = 100;
/// The same for an account, whoever guesses.
pub const THROTTLE_ACCOUNT_FREE_FAILURES: u32 = 100;
/// The delay after the first failure that counts; it doubles with each further one.
pub const THROTTLE_DELAY_FIRST: Duration = Duration::from_secs(2);
/// The longest delay.
pub const THROTTLE_DELAY_MAX: Duration = Duration::from_secs(15 * 60);
/// A subject without a failure for this long is forgotten.
pub const THROTTLE_MEMORY: Duration = Duration::from_secs(3600);
/// Most subjects remembered at once.
pub const THROTTLE_SUBJECTS_MAX: usize = 65_536;

/// Who is being guessed at, or who guesses: a keyed digest of the account or the address. The
/// same answer for accounts that exist and those that do not keeps them indistinguishable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ThrottleSubject {
    /// An account, by its blind index.
    Account([u8; 32]),
    /// A network address, by its keyed digest.
    Address([u8; 32]),
    /// An account from one address, by a digest of both.
    Pair([u8; 32]),
}

impl ThrottleSubject {
    const fn free_failures(&self) -> u32 {
        match self {
            Self::Account(_) => THROTTLE_ACCOUNT_FREE_FAILURES,
            Self::Address(_) => THROTTLE_ADDRESS_FREE_FAILURES,
            Self::Pair(_) => THROTTLE_FREE_FAILURES,
        }
    }
}

/// One attempt to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    account: [u8; 32],
    /// The account of the same e-mail address that the organisation at whose door somebody stands
    /// alone knows.
    own: Option<[u8; 32]>,
    address: Option<[u8; 32]>,
}

impl Attempt {
    /// An attempt on an account (its blind index) from an address (its keyed digest, if known).
    pub const fn new(account: [u8; 32], address: Option<[u8; 32]>) -> Self {
        Self { account, own: None, address }
    }

    /// The same at the door of an organisation, which may have an account of its own for the same
    /// e-mail address (its digest there). Failures count for `account` all the same: the name that
    /// is tried at every door is one. What a success there opens is the door's own account alone.
    pub const fn at_door(self, own: [u8; 32]) -> Self {
        Self { own: Some(own), ..self }
    }

    /// The same where the door has no account of its own, or it was not the one that was tried.
    pub const fn without_door(self) -> Self {
        Self { own: None, ..self }
    }

    fn pair_of(&self, account: [u8; 32]) -> ThrottleSubject {
        let address = self.address.unwrap_or_default();
        ThrottleSubject::Pair(sha256(&[account, address].concat()))
    }

    /// At a door it is the door's own account, until it is clear that it is not.
    fn pair(&self) -> ThrottleSubject {
        self.pair_of(self.own.unwrap_or(self.account))
    }

    fn subjects(&self) -> impl Iterator<Item = ThrottleSubject> {
        let address = self.address.map(ThrottleSubject::Address);
        [self.pair(), ThrottleSubject::Account(self.account)].into_iter().chain(address)
    }
}

/// Too many failures: how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many failed attempts: try again in {} s", retry_after.as_secs().max(1))]
pub struct Throttled {
    /// The wait, for `Retry-After`.
    pub retry_after: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Duration,
    blocked_until: Duration,
}

/// Subjects with their failures, found by how many and how old: no step looks at all of them.
#[derive(Debug, Default)]
struct Subjects {
    all: HashMap<ThrottleSubject, Failures>,
    by_count: BTreeSet<(u32, Duration, ThrottleSubject)>,
    by_age: BTreeSet<(Duration, ThrottleSubject)>,
}

impl Subjects {
    fn put(&mut self, subject: ThrottleSubject, failures: Failures) {
        self.remove(&subject);
        self.by_count.insert((failures.count, failures.last, subject));
        self.by_age.insert((failures.last, subject));
        self.all.insert(subject, failures);
    }

    fn remove(&mut self, subject: &ThrottleSubject) {
        if let Some(failures) = self.all.remove(subject) {
            self.by_count.remove(&(failures.count, failures.last, *subject));
            self.by_age.remove(&(failures.last, *subject));
        }
    }

    /// Forgets one: the oldest if it is past its time; otherwise the one with the fewest failures,
    /// the oldest of these: a flood of new subjects cannot wash out a blocked one.
    fn forget_one(&mut self, now: Duration) {
        let oldest = self.by_age.first().copied();
        let past = oldest.filter(|(last, _)| now.saturating_sub(*last) >= THROTTLE_MEMORY);
        let fewest = self.by_count.first().map(|(_, _, subject)| *subject);
        if let Some(subject) = past.map(|(_, subject)| subject).or(fewest) {
            self.remove(&subject);
        }
    }
}

/// Accounts with addresses that they have signed in from, and when; the oldest makes room.
#[derive(Debug, Default)]
struct Known {
    all: HashMap<ThrottleSubject, Duration>,
    by_age: BTreeSet<(Duration, ThrottleSubject)>,
}

impl Known {
    fn put(&mut self, pair: ThrottleSubject, now: Duration, max: usize) {
        if let Some(before) = self.all.insert(pair, now) {
            self.by_age.remove(&(before, pair));
        }
        self.by_age.insert((now, pair));
        while self.all.len() > max
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.all.remove(&oldest);
        }
    }
}

/// The failures seen lately. One per process; callers hold it behind a lock.
#[derive(Debug)]
pub struct Throttle {
    subjects: Subjects,
    known: Known,
    subjects_max: usize,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::with_capacity(THROTTLE_SUBJECTS_MAX)
    }
}

impl Throttle {
    /// An empty memory for at most `subjects_max` subjects (at least one).
    pub fn with_capacity(subjects_max: usize) -> Self {
        let (subjects, known) = (Subjects::default(), Known::default());
        Self { subjects, known, subjects_max: subjects_max.max(1) }
    }

    /// Whether the account, or the door's own one, has signed in from this address before.
    pub fn is_known(&self, attempt: &Attempt) -> bool {
        let is_known = |pair: &ThrottleSubject| self.known.all.contains_key(pair);
        is_known(&attempt.pair()) || is_known(&attempt.without_door().pair())
    }

    /// Asked of an attempt that was let through, once it is clear that the account is not the
    /// door's own: it counts for the other one of this name from here on, and whoever was let
    /// through for having signed in at the door waits like others, so that an account behind one
    /// door opens no other's.
    pub fn goes_on(&mut self, attempt: &Attempt, now: Duration) -> Result<(), Throttled> {
        if attempt.own.is_none() {
            return Ok(());
        }
        let was_known = self.is_known(attempt);
        self.take_back(attempt.pair());
        let attempt = attempt.without_door();
        let by_door = was_known && !self.is_known(&attempt);
        let account = by_door.then_some(ThrottleSubject::Account(attempt.account));
        self.lets_through([attempt.pair()].into_iter().chain(account), now)?;
        self.failed(attempt.pair(), now);
        Ok(())
    }

    /// The same of an attempt that names no account, such as a passkey nobody knows yet: it counts
    /// for its address alone.
    pub fn attempt_from(&mut self, address: [u8; 32], now: Duration) -> Result<(), Throttled> {
        let subject = ThrottleSubject::Address(address);
        self.lets_through([subject], now)?;
        self.failed(subject, now);
        Ok(())
    }

    /// Takes back an attempt that named no account.
    pub fn withdrawn_from(&mut self, address: [u8; 32]) {
        self.take_back(ThrottleSubject::Address(address));
    }

    /// Whether an attempt may be made at `now` (monotonic). It counts as failed at once, so that
    /// many at the same time do not slip through. Ask before checking the secret.
    pub fn attempt(&mut self, attempt: &Attempt, now: Duration) -> Result<(), Throttled> {
        let is_known = self.is_known(attempt);
        let asked = attempt
            .subjects()
            .filter(|subject| !(is_known && matches!(subject, ThrottleSubject::Account(_))));
        self.lets_through(asked, now)?;
        for subject in attempt.subjects() {
            self.failed(subject, now);
        }
        Ok(())
    }

    /// Notes that the attempt succeeded: its own count goes, and the failures from this address
    /// are forgotten for this account. Others' failures stay, otherwise one valid account would
    /// let an address guess at all the others.
    ///
    /// Where it was the door's own account, nothing that was failed at the other account of this
    /// name is forgotten.
    pub fn succeeded(&mut self, attempt: &Attempt, now: Duration) {
        if let Some(own) = attempt.own {
            self.withdrawn(attempt);
            self.subjects.remove(&attempt.pair());
            self.known.put(attempt.pair_of(own), now, self.subjects_max);
            return;
        }
        self.subjects.remove(&attempt.pair());
        let others = [
            Some(ThrottleSubject::Account(attempt.account)),
            attempt.address.map(ThrottleSubject::Address),
        ];
        for subject in others.into_iter().flatten() {
            if let Some(failures) = self.subjects.all.get(&subject).copied() {
                let count = failures.count.saturating_sub(1);
                let failures = Failures { count, blocked_until: Duration::ZERO, ..failures };
                self.subjects.put(subject, failures);
            }
        }
        self.known.put(attempt.pair(), now, self.subjects_max);
    }

    /// Takes an attempt back whose secret was not looked at: it says nothing of who guesses. Of
    /// other failures nothing is forgotten.
    pub fn withdrawn(&mut self, attempt: &Attempt) {
        for subject in attempt.subjects() {
            self.take_back(subject);
        }
    }

    /// The secret was right and a second one is asked for: no failure of the address, nor of the
    /// account. From this address it counts until the sign-in is whole.
    pub fn half_done(&mut self, attempt: &Attempt) {
        let pair = attempt.pair();
        for subject in attempt.subjects().filter(|subject| *subject != pair) {
            self.take_back(subject);
        }
    }

    fn take_back(&mut self, subject: ThrottleSubject) {
        if let Some(failures) = self.subjects.all.get(&subject).copied() {
            let count = failures.count.saturating_sub(1);
            let delay = delay_after(count, subject.free_failures());
            let blocked_until = failures.last + delay;
            self.subjects.put(subject, Failures { count, blocked_until, ..failures });
        }
    }

    /// Notes a failed attempt.
    fn failed(&mut self, subject: ThrottleSubject, now: Duration) {
        let known = self.subjects.all.get(&subject);
        let lately = known.filter(|known| now.saturating_sub(known.last) < THROTTLE_MEMORY);
        let count = lately.map_or(0, |known| known.count).saturating_add(1);
        if known.is_none() && self.subjects.all.len() >= self.subjects_max {
            self.subjects.forget_one(now);
        }
        let blocked_until = now + delay_after(count, subject.free_failures());
        self.subjects.put(subject, Failures { count, last: now, blocked_until });
    }

    /// Refuses while one of these is blocked, for as long as the last of them is.
    fn lets_through(
        &self,
        subjects: impl IntoIterator<Item = ThrottleSubject>,
        now: Duration,
    ) -> Result<(), Throttled> {
        let blocked_until = subjects
            .into_iter()
            .filter_map(|subject| self.subjects.all.get(&subject))
            .map(|failures| failures.blocked_until)
            .max();
        match blocked_until.filter(|until| *until > now) {
            Some(until) => Err(Throttled { retry_after: until - now }),
            None => Ok(()),
        }
    }

    /// How many subjects are remembered.
    pub fn len(&self) -> usize {
        self.subjects.all.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.subjects.all.is_empty()
    }
}

fn delay_after(count: u32, free_failures: u32) -> Duration {
    if count <= free_failures {
        return Duration::ZERO;
    }
    let doublings = (count - free_failures - 1).min(16);
    (THROTTLE_DELAY_FIRST * 2u32.pow(doublings)).min(THROTTLE_DELAY_MAX)
}

#[cfg(test)]
mod tests;
