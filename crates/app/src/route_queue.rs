//! What waits on the way to places outside: written with how far the tenant is in the log, bounded
//! for each tenant. Over the bounds the oldest is parked, and of what is parked the oldest goes;
//! both are counted and recorded.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{OpContext, RouteDestinationId, RouteMessageId, RouteRuleId, TenantId};
use veritwin_metastore::{RouteMessage, RouteMessageState, RouteRoom, TenantTx};

use crate::change::Change;
use crate::route_match::{LiveRule, Matched};
use crate::{App, Result};

/// Most messages of a tenant that wait, and most that are parked.
pub(crate) const ROUTE_MESSAGES_MAX: u64 = 10_000;
/// Most bytes of either.
pub(crate) const ROUTE_MESSAGES_BYTES_MAX: u64 = 64 << 20;
/// How long a parked message is kept.
pub(crate) const PARKED_KEPT: Duration = Duration::from_secs(30 * 86_400);
/// Most messages that are written at once; of more, the newest are.
pub(crate) const QUEUED_AT_ONCE_MAX: usize = 2_000;
pub(crate) const QUEUED_BYTES_MAX: usize = 32 << 20;
/// Most messages that are parked or removed at once.
const EVICTED_AT_ONCE_MAX: u64 = 5_000;
/// A tenant's losses are recorded this often: devices that flood must not fill the record.
const RECORDED_EVERY: Duration = Duration::from_secs(600);

/// A way from a rule to a place.
pub(crate) type LaneKey = (RouteRuleId, RouteDestinationId);

/// Room that a tenant is known to have left. Deliveries only make more of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RoomLeft {
    messages: u64,
    bytes: u64,
}

impl RoomLeft {
    /// Takes room; false if there may not be as much.
    const fn take(&mut self, wanted: RouteRoom) -> bool {
        if self.messages < wanted.messages || self.bytes < wanted.bytes {
            return false;
        }
        self.messages -= wanted.messages;
        self.bytes -= wanted.bytes;
        true
    }
}

/// What was parked and dropped for want of room and is not recorded yet.
#[derive(Debug, Default)]
pub(crate) struct RouteLosses(Mutex<HashMap<TenantId, Losses>>);

#[derive(Debug, Clone, Copy, Default)]
struct Losses {
    parked: u64,
    dropped: u64,
    /// On the monotonic clock.
    recorded_at: Option<Duration>,
}

impl RouteLosses {
    /// Adds to a tenant's; answers what is to be recorded now.
    fn add(&self, tenant: TenantId, now: Duration, parked: u64, dropped: u64) -> Option<Losses> {
        let mut all = self.0.lock();
        let known = all.entry(tenant).or_default();
        known.parked += parked;
        known.dropped += dropped;
        if let Some(at) = known.recorded_at
            && now.saturating_sub(at) < RECORDED_EVERY
        {
            return None;
        }
        let told = *known;
        *known = Losses { recorded_at: Some(now), ..Losses::default() };
        Some(told)
    }
}

/// What is over the bounds, and a tenth of them more, so that it is not over them again at once.
fn over(room: RouteRoom) -> Option<RouteRoom> {
    let is_over = room.messages > ROUTE_MESSAGES_MAX || room.bytes > ROUTE_MESSAGES_BYTES_MAX;
    let (messages, bytes) = (ROUTE_MESSAGES_MAX / 10 * 9, ROUTE_MESSAGES_BYTES_MAX / 10 * 9);
    is_over.then(|| RouteRoom {
        messages: room.messages.saturating_sub(messages),
        bytes: room.bytes.saturating_sub(bytes),
    })
}

/// How many of the newest are written at once, by their sizes, oldest first.
fn newest(sizes: impl DoubleEndedIterator<Item = usize>) -> usize {
    let mut bytes = 0;
    let is_room = |size: &usize| {
        bytes += size;
        bytes <= QUEUED_BYTES_MAX
    };
    sizes.rev().take(QUEUED_AT_ONCE_MAX).take_while(is_room).count()
}

/// Counts what became of messages, over all tenants.
pub(crate) fn count(outcome: &'static str, messages: u64) {
    metrics::counter!("veritwin_route_messages_total", "outcome" => outcome).increment(messages);
}

impl App {
    /// Queues what the rules want, once: what stands before the tenant's place in the log was
    /// queued already.
    pub(crate) async fn queue_routes(
        &self,
        (consumer, context): (&'static str, &OpContext),
        rules: &[LiveRule],
        wanted: Vec<Matched>,
        room: &mut RoomLeft,
    ) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        tx.route_hold().await?;
        let done = tx.offset(consumer).await?;
        let is_new = |one: &Matched| done.is_none_or(|done| one.position > done);
        let wanted: Vec<Matched> = wanted.into_iter().filter(is_new).collect();
        let Some(last) = wanted.iter().map(|one| one.position).max() else { return Ok(()) };
        let places = |one: &Matched| {
            let rule = rules.get(one.rule);
            rule.map(|rule| (rule.id, rule.destinations.as_slice()))
        };
        // In one order for everybody who writes lanes.
        let mut lanes = BTreeMap::<LaneKey, (u64, u64)>::new();
        let mut queued = Vec::new();
        for (number, one) in wanted.iter().enumerate() {
            let Some((rule, destinations)) = places(one) else { continue };
            for destination in destinations {
                let lane = lanes.entry((rule, *destination)).or_default();
                lane.0 += 1;
                match &one.body {
                    Some(body) => queued.push((number, (rule, *destination), body)),
                    None => lane.1 += 1,
                }
            }
        }
        let newest = newest(queued.iter().map(|(_, _, body)| body.len()));
        for (_, lane, _) in queued.drain(..queued.len().saturating_sub(newest)) {
            lanes.entry(lane).or_default().1 += 1;
        }
        for (lane, (matched, dropped)) in &lanes {
            tx.route_lane_matched(*lane, *matched).await?;
            if *dropped > 0 {
                tx.route_lane_lost(*lane, (0, *dropped)).await?;
            }
        }
        let queued = queued.into_iter().filter_map(|(number, lane, body)| {
            Some(self.queued(context, lane, wanted.get(number)?, body))
        });
        let queued: Vec<RouteMessage> = queued.collect();
        let bytes = queued.iter().map(|message| message.body.len() as u64).sum();
        let added = RouteRoom { messages: queued.len() as u64, bytes };
        tx.route_messages_add(&queued).await?;
        if !room.take(added) {
            *room = self.make_room(&tx, context).await?;
        }
        tx.offset_advance(consumer, last).await?;
        tx.commit().await?;
        count("matched", lanes.values().map(|(matched, _)| *matched).sum());
        count("dropped", lanes.values().map(|(_, dropped)| *dropped).sum());
        Ok(())
    }

    fn queued(
        &self,
        context: &OpContext,
        (rule, destination): LaneKey,
        one: &Matched,
        body: &[u8],
    ) -> RouteMessage {
        RouteMessage {
            id: RouteMessageId::generate(context.at, self.rng()),
            rule,
            destination,
            device: one.device,
            position: one.position,
            part: one.part,
            state: RouteMessageState::Waiting,
            body: body.to_vec(),
            reason: None,
            status: None,
            created_at: context.at,
            updated_at: context.at,
        }
    }

    /// Parks the oldest of what waits over the bounds; answers the room that is left then.
    async fn make_room(&self, tx: &TenantTx, context: &OpContext) -> Result<RoomLeft> {
        let mut waiting = tx.route_room(RouteMessageState::Waiting).await?;
        if let Some(over) = over(waiting) {
            let parked =
                tx.route_messages_evict(RouteMessageState::Waiting, over, EVICTED_AT_ONCE_MAX);
            let mut messages = 0;
            for (lane, parked) in parked.await? {
                tx.route_lane_lost(lane, (parked, 0)).await?;
                count("parked", parked);
                messages += parked;
            }
            self.record_lost(tx, context, messages, 0).await?;
            self.trim_parked(tx, context).await?;
            waiting = tx.route_room(RouteMessageState::Waiting).await?;
        }
        Ok(RoomLeft {
            messages: ROUTE_MESSAGES_MAX.saturating_sub(waiting.messages),
            bytes: ROUTE_MESSAGES_BYTES_MAX.saturating_sub(waiting.bytes),
        })
    }

    /// Removes the oldest of what is parked over the bounds.
    pub(crate) async fn trim_parked(&self, tx: &TenantTx, context: &OpContext) -> Result<()> {
        let parked = tx.route_room(RouteMessageState::Parked).await?;
        let Some(over) = over(parked) else { return Ok(()) };
        let dropped = tx.route_messages_evict(RouteMessageState::Parked, over, EVICTED_AT_ONCE_MAX);
        let mut messages = 0;
        for (lane, dropped) in dropped.await? {
            tx.route_lane_lost(lane, (0, dropped)).await?;
            count("dropped", dropped);
            messages += dropped;
        }
        self.record_lost(tx, context, 0, messages).await
    }

    async fn record_lost(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        parked: u64,
        dropped: u64,
    ) -> Result<()> {
        let now = self.clock().monotonic();
        let Some(lost) = self.0.routes.losses.add(context.tenant, now, parked, dropped) else {
            return Ok(());
        };
        let what = json!({ "parked": lost.parked, "dropped": lost.dropped, "why": "full" });
        let resource = Resource::all(context.tenant, Kind::Tenant);
        let change = Change::to(what);
        self.record_change(tx, context, Action::RouteDeliver, &resource, change).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_for_some_time() {
        let room = |messages, bytes| RouteRoom { messages, bytes };
        assert_eq!(over(room(ROUTE_MESSAGES_MAX, 0)), None);
        assert_eq!(over(room(ROUTE_MESSAGES_MAX + 1, 0)), Some(room(1001, 0)));
        let mut left = RoomLeft { messages: 2, bytes: 10 };
        assert!(left.take(room(1, 10)) && !left.take(room(1, 1)) && left.take(room(1, 0)));
    }

    #[test]
    fn what_is_written_at_once_is_bounded_in_number_and_size() {
        assert_eq!(newest([10; 3].into_iter()), 3);
        assert_eq!(newest([1; QUEUED_AT_ONCE_MAX + 1].into_iter()), QUEUED_AT_ONCE_MAX);
        assert_eq!(newest([1, QUEUED_BYTES_MAX, 0].into_iter()), 2);
    }

    #[test]
    fn losses_are_recorded_now_and_then_and_none_is_left_out() {
        let (losses, tenant) = (RouteLosses::default(), TenantId::from_bytes([1; 16]));
        let add = |at, parked, dropped| {
            let told = losses.add(tenant, Duration::from_secs(at), parked, dropped);
            told.map(|one| (one.parked, one.dropped))
        };
        assert_eq!(add(5, 1, 0), Some((1, 0)));
        assert_eq!(add(6, 2, 0), None);
        assert_eq!(add(604, 0, 3), None);
        assert_eq!(add(605, 4, 0), Some((6, 3)));
        let other = losses.add(TenantId::from_bytes([2; 16]), Duration::from_secs(6), 1, 0);
        assert!(other.is_some(), "another's are its own");
    }
}
