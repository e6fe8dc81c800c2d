//! Turns of writers, where the database has one writer at a time: tenants that wait are served in
//! turn, the platform's own work as one more of them, and each waits among itself first come first
//! served. Refuses to let anybody wait beyond a bound, by the bound's name.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use veritwin_domain::{LimitExceeded, TenantId};

use crate::{Error, Result};

/// Most writers of one party that wait at once.
const PARTY_WAITING_MAX: usize = 1_024;
/// Most writers of all parties that wait at once.
const WAITING_MAX: usize = 16_384;
/// How long a writer waits for its turn. An operation that begins a second writing transaction
/// while it holds one fails after this time.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Who waits together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Party {
    Tenant(TenantId),
    /// What nobody signed in asked for: sign-ins, links and the platform's own jobs.
    Platform,
}

impl Party {
    const fn limit_name(self) -> &'static str {
        match self {
            Self::Tenant(_) => "tenant_writes_waiting_max",
            Self::Platform => "platform_writes_waiting_max",
        }
    }
}

/// The door that one writer at a time is behind. Clones are the same door.
#[derive(Clone, Default)]
pub(crate) struct WriteGate(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    /// Somebody is behind the door. Nobody waits as long as nobody is.
    held: bool,
    /// The parties that wait, each once, in the order of their turns.
    turns: VecDeque<Party>,
    /// Their writers in the order of their arrival; a line is never empty.
    waiting: HashMap<Party, VecDeque<Waiter>>,
    count: usize,
    next_number: u64,
}

struct Waiter {
    number: u64,
    admit: oneshot::Sender<WritePermit>,
}

/// The right to write, for one transaction; the next writer has it when this is dropped.
pub(crate) struct WritePermit {
    /// None once it was passed on.
    gate: Option<WriteGate>,
}

impl Drop for WritePermit {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.pass_on();
        }
    }
}

/// A place in a line, given up when dropped. A permit that has come already is dropped with it and
/// goes to the next.
struct Place {
    gate: WriteGate,
    party: Party,
    number: u64,
    admitted: oneshot::Receiver<WritePermit>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.0.lock().leave(self.party, self.number);
    }
}

enum Arrival {
    Admitted(WritePermit),
    Waits(Place),
}

impl WriteGate {
    /// Waits for the party's turn, at most [`WAIT_MAX`].
    pub(crate) async fn enter(&self, party: Party) -> Result<WritePermit> {
        self.enter_within(party, WAIT_MAX).await
    }

    async fn enter_within(&self, party: Party, wait_max: Duration) -> Result<WritePermit> {
        let mut place = match self.arrive(party)? {
            Arrival::Admitted(permit) => return Ok(permit),
            Arrival::Waits(place) => place,
        };
        match tokio::time::timeout(wait_max, &mut place.admitted).await {
            Ok(Ok(permit)) => Ok(permit),
            // Nobody forgets a waiter; the other way in is a transaction that is held for too long.
            Ok(Err(_)) | Err(_) => Err(Error::Late { seconds_max: wait_max.as_secs() }),
        }
    }

    fn arrive(&self, party: Party) -> Result<Arrival> {
        let mut lines = self.0.lock();
        if !lines.held {
            lines.held = true;
            return Ok(Arrival::Admitted(WritePermit { gate: Some(self.clone()) }));
        }
        let (number, admitted) = lines.join(party).map_err(Error::Crowded)?;
        Ok(Arrival::Waits(Place { gate: self.clone(), party, number, admitted }))
    }

    /// Lets the next one in. Whoever turns out to have gone away is passed over.
    fn pass_on(self) {
        let mut gate = self;
        loop {
            let next = gate.0.lock().next();
            let Some(waiter) = next else { return };
            // Outside of the lock: a permit that nobody takes comes back and is passed on.
            let Err(mut unwanted) = waiter.admit.send(WritePermit { gate: Some(gate) }) else {
                return;
            };
            let Some(again) = unwanted.gate.take() else { return };
            gate = again;
        }
    }
}

impl Lines {
    fn join(
        &mut self,
        party: Party,
    ) -> std::result::Result<(u64, oneshot::Receiver<WritePermit>), LimitExceeded> {
        let of_party = self.waiting.get(&party).map_or(0, VecDeque::len);
        let bounds = [
            (party.limit_name(), PARTY_WAITING_MAX, of_party),
            ("writes_waiting_max", WAITING_MAX, self.count),
        ];
        if let Some((name, max, waiting)) =
            bounds.into_iter().find(|(_, max, waiting)| waiting >= max)
        {
            return Err(LimitExceeded { name, max, actual: waiting + 1 });
        }
        let number = self.next_number;
        self.next_number += 1;
        let (admit, admitted) = oneshot::channel();
        if of_party == 0 {
            self.turns.push_back(party);
        }
        self.waiting.entry(party).or_default().push_back(Waiter { number, admit });
        self.count += 1;
        Ok((number, admitted))
    }

    /// The first writer of the party whose turn it is; without one the door is free.
    fn next(&mut self) -> Option<Waiter> {
        while let Some(party) = self.turns.pop_front() {
            let Some(line) = self.waiting.get_mut(&party) else { continue };
            let waiter = line.pop_front();
            if line.is_empty() {
                self.waiting.remove(&party);
            } else {
                self.turns.push_back(party);
            }
            if waiter.is_some() {
                self.count -= 1;
                return waiter;
            }
        }
        self.held = false;
        None
    }

    fn leave(&mut self, party: Party, number: u64) {
        let Some(line) = self.waiting.get_mut(&party) else { return };
        let Some(at) = line.iter().position(|waiter| waiter.number == number) else { return };
        line.remove(at);
        self.count -= 1;
        if line.is_empty() {
            self.waiting.remove(&party);
            self.turns.retain(|waiting| *waiting != party);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::Poll;

    use futures::poll;

    use super::*;

    fn tenant(number: u8) -> Party {
        Party::Tenant(TenantId::from_bytes([number; 16]))
    }

    type Entering = Pin<Box<dyn Future<Output = Result<WritePermit>> + Send>>;

    fn enter(gate: &WriteGate, party: Party) -> Entering {
        let gate = gate.clone();
        Box::pin(async move { gate.enter(party).await })
    }

    async fn waits(gate: &WriteGate, party: Party) -> Entering {
        let mut entering = enter(gate, party);
        assert!(poll!(&mut entering).is_pending());
        entering
    }

    async fn held(gate: &WriteGate) -> WritePermit {
        gate.enter(Party::Platform).await.expect("nobody else is there")
    }

    /// Lets everybody in, one after the other: who came, by name.
    async fn order(mut first: Vec<(&str, Entering)>, permit: WritePermit) -> String {
        let mut order = Vec::new();
        let mut permit = Some(permit);
        while !first.is_empty() {
            drop(permit.take());
            let mut admitted = Vec::new();
            for (at, (_, entering)) in first.iter_mut().enumerate() {
                if let Poll::Ready(entered) = poll!(entering) {
                    admitted.push((at, entered.expect("a permit")));
                }
            }
            assert_eq!(admitted.len(), 1, "one writer at a time, after {order:?}");
            let (at, entered) = admitted.remove(0);
            permit = Some(entered);
            order.push(first.remove(at).0);
        }
        order.join(" ")
    }

    #[tokio::test]
    async fn parties_take_turns_and_wait_among_themselves() {
        let (a, b, p) = (tenant(1), tenant(2), Party::Platform);
        let table: [(&[(&str, Party)], &str); 4] = [
            (&[("a1", a), ("a2", a), ("a3", a)], "a1 a2 a3"),
            (&[("a1", a), ("a2", a), ("a3", a), ("b1", b)], "a1 b1 a2 a3"),
            (&[("a1", a), ("a2", a), ("b1", b), ("p1", p), ("b2", b)], "a1 b1 p1 a2 b2"),
            (&[("p1", p), ("p2", p), ("p3", p), ("a1", a)], "p1 a1 p2 p3"),
        ];
        for (arrivals, expect) in table {
            let gate = WriteGate::default();
            let permit = held(&gate).await;
            let mut first = Vec::new();
            for (name, party) in arrivals {
                first.push((*name, waits(&gate, *party).await));
            }
            assert_eq!(order(first, permit).await, expect);
            drop(held(&gate).await);
        }
    }

    #[tokio::test]
    async fn whoever_was_just_served_goes_behind_the_others() {
        let gate = WriteGate::default();
        let (a, b) = (tenant(1), tenant(2));
        let permit = gate.enter(a).await.expect("free");
        let mut line: Vec<Entering> = Vec::new();
        for _ in 0..400 {
            line.push(waits(&gate, a).await);
        }
        let mut other = waits(&gate, b).await;
        drop(permit);
        let Poll::Ready(Ok(first)) = poll!(&mut line[0]) else { panic!("a's first") };
        // It is back before it has gone.
        let again = waits(&gate, a).await;
        drop(first);
        assert!(poll!(&mut other).is_ready(), "one of another tenant's at most is before it");
        drop((line, again));
    }

    #[tokio::test]
    async fn a_waiter_that_goes_away_gives_its_place_up() {
        let (a, b) = (tenant(1), tenant(2));
        // Which of the waiters a1 a2 b1 goes, and when: before its turn, or with its permit.
        for (gone, has_permit, expect) in
            [(0, false, "a2 b1"), (1, false, "a1 b1"), (2, false, "a1 a2"), (0, true, "b1 a2")]
        {
            let gate = WriteGate::default();
            let permit = held(&gate).await;
            let mut first = vec![
                ("a1", waits(&gate, a).await),
                ("a2", waits(&gate, a).await),
                ("b1", waits(&gate, b).await),
            ];
            let leaver = first.remove(gone);
            let permit = if has_permit {
                // The permit is on its way to a1, which does not take it; the next one has it.
                drop(permit);
                drop(leaver);
                let Poll::Ready(Ok(permit)) = poll!(&mut first[1].1) else { panic!("b1 is next") };
                let (name, _) = first.remove(1);
                let rest = order(first, permit).await;
                assert_eq!(format!("{name} {rest}"), expect);
                drop(held(&gate).await);
                continue;
            } else {
                drop(leaver);
                permit
            };
            assert_eq!(order(first, permit).await, expect, "{gone}");
            let lines = gate.0.lock();
            assert!(!lines.held && lines.count == 0 && lines.turns.is_empty());
            assert!(lines.waiting.is_empty());
        }
    }

    #[tokio::test]
    async fn what_waits_is_bounded_by_party_and_in_all() {
        let gate = WriteGate::default();
        let permit = held(&gate).await;
        let mut line = Vec::new();
        let refused = |polled: Poll<Result<WritePermit>>| match polled {
            Poll::Ready(Err(Error::Crowded(limit))) => (limit.name, limit.max),
            other => panic!("{:?}", other.map(|entered| entered.map(drop))),
        };
        for party in 0..WAITING_MAX / PARTY_WAITING_MAX {
            let party = tenant(u8::try_from(party).expect("few"));
            for _ in 0..PARTY_WAITING_MAX {
                line.push(waits(&gate, party).await);
            }
            let (name, max) = refused(poll!(enter(&gate, party)));
            assert_eq!((name, max), ("tenant_writes_waiting_max", PARTY_WAITING_MAX));
        }
        let (name, max) = refused(poll!(enter(&gate, Party::Platform)));
        assert_eq!((name, max), ("writes_waiting_max", WAITING_MAX));
        line.pop();
        let mut late = waits(&gate, Party::Platform).await;
        drop(line);
        drop(permit);
        assert!(poll!(&mut late).is_ready());
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let gate = WriteGate::default();
        let permit = held(&gate).await;
        let late = gate.enter_within(tenant(1), Duration::ZERO).await;
        let text = late.map(drop).expect_err("held all the time").to_string();
        assert!(text.contains("write_wait_seconds_max exceeded: at most 0"), "{text}");
        assert_eq!(gate.0.lock().count, 0);
        drop(permit);
        drop(held(&gate).await);
    }
}
