//! A tenant that catches up after it was held queues as much as there is room for, and waits with
//! the rest, which stands in the log: nothing of it is lost that is not older than a message may
//! become.

use std::sync::Arc;
use std::time::Duration;

use veritwin_access::jobs;
use veritwin_domain::{LimitExceeded, OpContext, TenantId, Timestamp};
use veritwin_log::{Entry, Record};
use veritwin_metastore::{RouteMessageState, RouteRoom};

use crate::route_match::{LiveRule, Matched};
use crate::route_queue::{
    QUEUED_AT_ONCE_MAX, QUEUED_BYTES_MAX, ROUTE_MESSAGES_BYTES_MAX, ROUTE_MESSAGES_MAX, RoomLeft,
};
use crate::{App, Error, Result};

/// Entries of a tenant that catches up that are looked at in one go: what they say is made at once.
pub(crate) const LATE_ENTRIES_AT_ONCE: usize = 500;
/// What is older waits no longer for room: a message of that age is parked at its next failure, and
/// a tenant whose places are gone for good must not keep everybody's log from being cut.
const WAITED_MAX: Duration = Duration::from_secs(24 * 3600);
/// A tenant goes on once so much of its room is free.
const FREE_SHARE: u64 = 10;

/// Why a tenant waits.
pub(crate) fn full() -> Error {
    let max = usize::try_from(ROUTE_MESSAGES_MAX).unwrap_or(usize::MAX);
    Error::Crowded(LimitExceeded { name: "route_messages_max", max, actual: LimitExceeded::MORE })
}

fn received_at(record: &Record) -> Option<Timestamp> {
    match record {
        Record::Readings(batch) => Some(batch.received_at),
        Record::Relay(message) => Some(message.received_at),
        _ => None,
    }
}

fn sum(one: RouteRoom, other: RouteRoom) -> RouteRoom {
    RouteRoom {
        messages: one.messages.saturating_add(other.messages),
        bytes: one.bytes.saturating_add(other.bytes),
    }
}

/// What one makes of messages.
fn weight(one: &Matched, rules: &[LiveRule]) -> RouteRoom {
    let places = rules.get(one.rule).map_or(0, |rule| rule.destinations.len());
    let (places, body) = (places as u64, one.body.as_ref());
    body.map_or_else(RouteRoom::default, |body| RouteRoom {
        messages: places,
        bytes: places.saturating_mul(body.len() as u64),
    })
}

fn is_within(room: RouteRoom, most: RouteRoom) -> bool {
    room.messages <= most.messages && room.bytes <= most.bytes
}

/// How many of them are written at once where so much room is left, and what they weigh: whole
/// entries of the log, the first one whatever it weighs.
fn at_once(
    wanted: &[Matched],
    left: RouteRoom,
    weight: impl Fn(&Matched) -> RouteRoom,
) -> (usize, RouteRoom) {
    let most = RouteRoom {
        messages: left.messages.min(QUEUED_AT_ONCE_MAX as u64),
        bytes: left.bytes.min(QUEUED_BYTES_MAX as u64),
    };
    let (mut count, mut all) = (0, RouteRoom::default());
    for entry in wanted.chunk_by(|one, next| one.position == next.position) {
        let more = entry.iter().map(&weight).fold(all, sum);
        if count > 0 && !is_within(more, most) {
            break;
        }
        (count, all) = (count + entry.len(), more);
    }
    (count, all)
}

impl App {
    fn is_young(&self, at: Timestamp) -> bool {
        self.clock().now() < at.saturating_add(WAITED_MAX)
    }

    /// Whether what begins with these entries may wait for room.
    pub(crate) fn may_wait(&self, entries: &[(u64, Arc<Entry>)]) -> bool {
        let at = entries.first().and_then(|(_, entry)| received_at(&entry.record));
        at.is_some_and(|at| self.is_young(at))
    }

    /// Whether a tenant that was held since a moment may go on: there is room again, it waits no
    /// longer for it, or nobody can say.
    pub(crate) async fn may_go_on(&self, tenant: TenantId, since: Timestamp) -> bool {
        if !self.is_young(since) {
            return true;
        }
        let weighed = async {
            let tx = self.0.store.read(&self.job_in(jobs::ROUTES, tenant)).await?;
            tx.route_room(RouteMessageState::Waiting).await
        };
        let share = |max: u64| max - max / FREE_SHARE;
        weighed.await.map_or(true, |waiting| {
            waiting.messages <= share(ROUTE_MESSAGES_MAX)
                && waiting.bytes <= share(ROUTE_MESSAGES_BYTES_MAX)
        })
    }

    /// Queues what the rules want of a tenant that catches up, some at a time and once. Fails where
    /// there is no room for more: what is queued is, and the rest is wanted again later.
    pub(crate) async fn queue_patiently(
        &self,
        (consumer, context): (&'static str, &OpContext),
        rules: &[LiveRule],
        mut wanted: Vec<Matched>,
        room: &mut RoomLeft,
    ) -> Result<()> {
        let tx = self.0.store.read(context).await?;
        let done = tx.offset(consumer).await?;
        let mut waiting = tx.route_room(RouteMessageState::Waiting).await?;
        drop(tx);
        wanted.retain(|one| done.is_none_or(|done| one.position > done));
        wanted.sort_by_key(|one| one.position);
        while !wanted.is_empty() {
            let left = RouteRoom {
                messages: ROUTE_MESSAGES_MAX.saturating_sub(waiting.messages),
                bytes: ROUTE_MESSAGES_BYTES_MAX.saturating_sub(waiting.bytes),
            };
            let (count, more) = at_once(&wanted, left, |one| weight(one, rules));
            if !is_within(more, left) {
                return Err(full());
            }
            waiting = sum(waiting, more);
            let rest = wanted.split_off(count);
            self.queue_routes((consumer, context), rules, wanted, room).await?;
            self.0.routes.due.notify_one();
            wanted = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::DeviceId;

    use super::*;

    fn wanted(position: u64, bytes: usize) -> Matched {
        let device = DeviceId::from_bytes([1; 16]);
        Matched { rule: 0, device, position, part: 0, body: Some(vec![0; bytes]) }
    }

    #[test]
    fn whole_entries_are_written_at_once_and_one_at_least() {
        let all = RouteRoom { messages: ROUTE_MESSAGES_MAX, bytes: ROUTE_MESSAGES_BYTES_MAX };
        let check = |wanted: &[Matched], each: u64, expect: (usize, u64)| {
            let left = all;
            let weight = |one: &Matched| RouteRoom {
                messages: each,
                bytes: one.body.as_ref().map_or(0, Vec::len) as u64,
            };
            let (count, all) = at_once(wanted, left, weight);
            assert_eq!((count, all.messages), expect, "{}", wanted.len());
        };
        let many = QUEUED_AT_ONCE_MAX as u64;
        let three = [wanted(1, 1), wanted(1, 1), wanted(2, 1)];
        check(&[], 1, (0, 0));
        check(&three, 1, (3, 3));
        check(&three, many / 2, (2, many));
        check(&three, many, (2, 2 * many));
        let large = [wanted(1, QUEUED_BYTES_MAX), wanted(2, 1)];
        check(&large, 1, (1, 1));
        // Where little room is left, what fits into that.
        let weight = |_: &Matched| RouteRoom { messages: 1, bytes: 1 };
        assert_eq!(at_once(&three, RouteRoom { messages: 2, ..all }, weight).0, 2);
        assert_eq!(at_once(&three, RouteRoom { messages: 1, ..all }, weight).0, 2);
    }
}
