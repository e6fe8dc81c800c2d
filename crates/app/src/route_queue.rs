//! What waits on the way to places outside: written with how far the tenant is in the log, bounded
//! for each tenant. Over the bounds the oldest is parked, and of what is parked the oldest goes;
//! both are counted and recorded.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{OpContext, RouteDestinationId, RouteMessageId, RouteRuleId};
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
const QUEUED_AT_ONCE_MAX: usize = 2_000;
/// Most messages that are parked or removed at once.
const EVICTED_AT_ONCE_MAX: u64 = 5_000;

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

/// What is over the bounds, and a tenth of them more, so that it is not over them again at once.
fn over(room: RouteRoom) -> Option<RouteRoom> {
    let is_over = room.messages > ROUTE_MESSAGES_MAX || room.bytes > ROUTE_MESSAGES_BYTES_MAX;
    let (messages, bytes) = (ROUTE_MESSAGES_MAX / 10 * 9, ROUTE_MESSAGES_BYTES_MAX / 10 * 9);
    is_over.then(|| RouteRoom {
        messages: room.messages.saturating_sub(messages),
        bytes: room.bytes.saturating_sub(bytes),
    })
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
        for (_, lane, _) in queued.drain(..queued.len().saturating_sub(QUEUED_AT_ONCE_MAX)) {
            lanes.entry(lane).or_default().1 += 1;
        }
        for (lane, (matched, dropped)) in &lanes {
            tx.route_lane_matched(*lane, *matched).await?;
            count("matched", *matched);
            if *dropped > 0 {
                tx.route_lane_lost(*lane, (0, *dropped)).await?;
                count("dropped", *dropped);
            }
        }
        let mut added = RouteRoom::default();
        for (number, lane, body) in queued {
            let Some(one) = wanted.get(number) else { continue };
            let message = self.queued(context, lane, one, body);
            added.messages += 1;
            added.bytes += message.body.len() as u64;
            tx.route_message_add(&message).await?;
        }
        if !room.take(added) {
            *room = self.make_room(&tx, context).await?;
        }
        tx.offset_advance(consumer, last).await?;
        Ok(tx.commit().await?)
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
            self.record_lost(tx, context, json!({ "parked": messages, "why": "full" })).await?;
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
        self.record_lost(tx, context, json!({ "dropped": messages, "why": "full" })).await
    }

    async fn record_lost(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        what: serde_json::Value,
    ) -> Result<()> {
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
}
