//! Takes messages from their lanes to the places outside: in order on each lane, one at a time to
//! each place, by turns of the tenants. What fails is tried again, less and less often, and then
//! parked. A message is noted as delivered after it was: it goes at least once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use veritwin_access::jobs;
use veritwin_domain::{OpContext, Secret, TenantId, Timestamp};
use veritwin_metastore::{RouteFailure, RouteLane, RouteMessage, RouteSettled, TenantTx};
use veritwin_outbound::guard::{
    BrokerKind, BrokerMessage, BrokerReply, GuardError, TargetError, Webhook, WebhookReply,
};
use veritwin_outbound::register::NotRegistered;

use crate::error::found;
use crate::route_body::RouteBody;
use crate::route_places::{Outlet, StoredKind};
use crate::route_queue::{LaneKey, count};
use crate::route_turns::{Turn, UnderWay};
use crate::transfers::FlowWay;
use crate::{App, Result};

const TICK: Duration = Duration::from_secs(1);
/// Most deliveries on their way at once, and most of them of one tenant.
const ROUTE_DELIVERIES_MAX: usize = 128;
const TENANT_ROUTE_DELIVERIES_MAX: usize = 4;
/// Messages of a lane before others have their turn, and how long a turn goes on.
const MESSAGES_AT_A_TURN: usize = 16;
const TURN_MAX: Duration = Duration::from_secs(5);
/// Lanes of a tenant that are looked at; it has no more.
const LANES_MAX: u64 = 1_000;
/// How long a tenant that cannot be read or written is left alone.
const REST: Duration = Duration::from_secs(30);
/// Wait before the second try; twice as long before each further one, up to the longest.
const RETRY_MIN: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(3600);
/// How long a message is tried.
const ROUTE_MESSAGE_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How often one that the other side does not want is tried.
const REFUSED_TRIES_MAX: u64 = 3;

/// What the other side said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouteReply {
    Http(WebhookReply),
    Broker(BrokerReply),
}

/// How a try went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tried {
    Delivered,
    /// There was no room to try.
    Busy,
    Failed {
        failure: RouteFailure,
        status: Option<u64>,
        /// How long the other side wants to be left alone.
        after: Option<Duration>,
    },
}

impl Tried {
    /// It failed, and nothing was answered.
    pub(crate) const fn failed(failure: RouteFailure) -> Self {
        Self::Failed { failure, status: None, after: None }
    }
}

fn judged(sent: std::result::Result<RouteReply, GuardError>) -> Tried {
    let failed = |failure, status: Option<u16>, after| Tried::Failed {
        failure,
        status: status.map(u64::from),
        after,
    };
    match sent {
        Ok(
            RouteReply::Http(WebhookReply { status: 200..=299, .. })
            | RouteReply::Broker(BrokerReply::Taken),
        ) => Tried::Delivered,
        Ok(RouteReply::Broker(BrokerReply::NotLetIn | BrokerReply::NotTaken)) => {
            failed(RouteFailure::Refused, None, None)
        }
        Ok(RouteReply::Http(WebhookReply { status, retry_after })) => {
            let passes = matches!(status, 408 | 425 | 429 | 500..);
            let failure = if passes { RouteFailure::Failing } else { RouteFailure::Refused };
            failed(failure, Some(status), retry_after)
        }
        Err(GuardError::Busy(_)) => Tried::Busy,
        Err(GuardError::Redirect { status, .. }) => {
            failed(RouteFailure::Redirect, Some(status), None)
        }
        Err(
            GuardError::Target(_)
            | GuardError::NotRegistered(_)
            | GuardError::Port { .. }
            | GuardError::Address { .. },
        ) => failed(RouteFailure::NotAllowed, None, None),
        Err(GuardError::Size { .. }) => failed(RouteFailure::Failing, None, None),
        Err(GuardError::Resolve { .. } | GuardError::Unreachable { .. }) => {
            failed(RouteFailure::Unreachable, None, None)
        }
    }
}

/// The wait before the next try, between half and the whole of what doubling says.
fn wait(attempts: u64, chance: u16) -> Duration {
    let doublings = u32::try_from(attempts).unwrap_or(u32::MAX).min(16);
    let whole = RETRY_MIN.saturating_mul(2u32.saturating_pow(doublings)).min(RETRY_MAX);
    whole / 2 + (whole / 2).mul_f64(f64::from(chance) / f64::from(u16::MAX))
}

const fn is_unwanted(failure: RouteFailure) -> bool {
    matches!(failure, RouteFailure::Refused | RouteFailure::Redirect | RouteFailure::NotAllowed)
}

/// Until when a place is left alone, if it was what was wrong.
const fn trouble_until(settled: RouteSettled) -> Option<Timestamp> {
    match settled {
        RouteSettled::Retried {
            next_at,
            failure: RouteFailure::Failing | RouteFailure::Unreachable,
            ..
        } => Some(next_at),
        RouteSettled::Parked { next_at, .. } => next_at,
        _ => None,
    }
}

impl App {
    /// Sends a message to a place of a tenant.
    pub(crate) async fn send_route(
        &self,
        tenant: TenantId,
        outlet: &Outlet,
        (id, body): (&str, Bytes),
    ) -> std::result::Result<RouteReply, GuardError> {
        let (client, caller) = (&self.0.providers.client, self.caller(tenant));
        let Outlet { kind, target, secret, .. } = outlet;
        let Some(target) = target else { return Err(TargetError::Syntax.into()) };
        #[cfg(feature = "test-controls")]
        self.enter_anybody(target);
        if let Err(error) = self.check_flow(tenant, FlowWay::Routing, target.host()) {
            tracing::debug!(%error, "a message stays: its flow is not entered");
            let (host, port) = (target.host().to_owned(), target.port());
            return Err(NotRegistered { host, port }.into());
        }
        let (kind, topic, user) = match kind {
            StoredKind::Webhook => {
                let webhook = Webhook { target, id, at: self.clock().now(), body, secret };
                return client.send_webhook(caller, &webhook).await.map(RouteReply::Http);
            }
            StoredKind::Mqtt { topic, user } => (BrokerKind::Mqtt, topic, user),
            StoredKind::Nats { topic, user } => (BrokerKind::Nats, topic, user),
            StoredKind::Topic { .. } | StoredKind::Mail { .. } => {
                return Err(TargetError::Syntax.into());
            }
        };
        let password = Secret::new(String::from_utf8_lossy(secret.expose()).into_owned());
        let message =
            BrokerMessage { kind, target, user, password: &password, id, topic, payload: body };
        client.publish(caller, &message).await.map(RouteReply::Broker)
    }

    pub(crate) async fn keep_lanes(self) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let all = Arc::new(UnderWay::default());
        let mut on_the_way = JoinSet::new();
        let mut last = None;
        loop {
            match self.due_lanes(&all, &mut last).await {
                Ok(due) => {
                    for (turn, lane) in due {
                        let app = self.clone();
                        on_the_way.spawn(async move { app.deliver_lane(turn, lane).await });
                    }
                }
                Err(error) => tracing::warn!(%error, "routed messages wait; trying again"),
            }
            tokio::select! {
                () = self.0.stop.cancelled() => break,
                Some(_) = on_the_way.join_next() => {}
                () = self.0.routes.due.notified() => {}
                _ = interval.tick() => all.ask_again(),
            }
        }
        // What is on its way at a stop goes once more after the start.
        on_the_way.shutdown().await;
    }

    /// Lanes to serve now, as many as there is room for: a few of each tenant, beginning after the
    /// one that was served last.
    async fn due_lanes(
        &self,
        all: &Arc<UnderWay>,
        last: &mut Option<TenantId>,
    ) -> Result<Vec<(Turn, RouteLane)>> {
        let mut due = Vec::new();
        let mut room = ROUTE_DELIVERIES_MAX.saturating_sub(all.count());
        if room == 0 {
            return Ok(due);
        }
        let platform = self.job(jobs::ROUTES);
        let tx = self.0.store.read_platform(&platform).await?;
        let mut tenants: Vec<TenantId> =
            tx.route_tenants_due(platform.at).await?.into_iter().collect();
        drop(tx);
        // Nothing leaves for tenants that are suspended; it waits.
        tenants.retain(|tenant| self.0.tree.read().is_served(*tenant));
        tenants.sort_unstable();
        let split = tenants.partition_point(|one| last.is_some_and(|last| *one <= last));
        tenants.rotate_left(split);
        let now = self.clock().monotonic();
        for tenant in tenants {
            let of_tenant = TENANT_ROUTE_DELIVERIES_MAX.saturating_sub(all.count_of(tenant));
            let mut of_tenant = of_tenant.min(room);
            if of_tenant == 0 || !all.may_ask(tenant, now) {
                continue;
            }
            let context = self.job_in(jobs::ROUTES, tenant);
            let lanes = match self.0.store.read(&context).await {
                Ok(tx) => tx.route_lanes_due(context.at, LANES_MAX).await,
                Err(error) => Err(error),
            };
            let Ok(lanes) = lanes else {
                all.rest(tenant, now.saturating_add(REST));
                continue;
            };
            for lane in lanes {
                if of_tenant == 0 {
                    break;
                }
                if let Some(turn) = all.turn((tenant, lane.destination)) {
                    due.push((turn, lane));
                    (of_tenant, room, *last) = (of_tenant - 1, room - 1, Some(tenant));
                }
            }
            if of_tenant > 0 {
                all.set_served(tenant);
            }
        }
        Ok(due)
    }

    /// What is wrong with one lane or its tenant does not hold the others.
    async fn deliver_lane(self, turn: Turn, lane: RouteLane) {
        let (tenant, _) = turn.key;
        if let Err(error) = self.serve_lane(&turn, &lane).await {
            let mut rest = REST;
            if self.is_tenant_destroyed(tenant) {
                self.0.routes.places.keep(&self.0.egress, tenant, |_| false);
                rest = RETRY_MAX;
            } else {
                tracing::warn!(%tenant, %error, "messages of a tenant wait on their way out");
            }
            let until = self.clock().monotonic().saturating_add(rest);
            turn.rest(until);
        }
    }

    async fn serve_lane(&self, turn: &Turn, lane: &RouteLane) -> Result<()> {
        let (key, (tenant, _)) = ((lane.rule, lane.destination), turn.key);
        let may_try = || {
            let most = self.plan_limits(tenant).routes.deliveries_per_minute;
            turn.may_try(most, self.clock().monotonic())
        };
        let context = self.job_in(jobs::ROUTES, tenant);
        let tx = self.0.store.read(&context).await?;
        let place = found(tx.route_destination(lane.destination).await)?;
        let rule = found(tx.route_rule(lane.rule).await)?;
        let mut head = tx.route_message_head(lane.rule, lane.destination).await?;
        drop(tx);
        let (Some(place), Some(_)) = (place, rule) else {
            let tx = self.0.store.begin(&context).await?;
            tx.route_hold().await?;
            tx.route_lane_delete(lane.rule, lane.destination).await?;
            return Ok(tx.commit().await?);
        };
        let version = place.version;
        if !place.enabled || head.is_none() {
            let nothing = RouteSettled::Nothing;
            return self.settle(tenant, (key, None), nothing, version).await.map(drop);
        }
        let outlet = Outlet::of(place)?;
        self.enter_route_place(tenant, lane.destination, outlet.place());
        let mut tries = (lane.attempts, lane.last_error);
        if let (StoredKind::Mail { people }, Some(message)) = (&outlet.kind, &head) {
            if !may_try() {
                return Ok(());
            }
            let Some(tried) = self.mail_lane(tenant, lane, (&outlet.name, people)).await? else {
                return Ok(());
            };
            let settled = self.decided(tried, message, tries);
            return self.settle(tenant, (key, Some(message)), settled, version).await.map(drop);
        }
        let until = self.clock().monotonic().saturating_add(TURN_MAX);
        for _ in 0..MESSAGES_AT_A_TURN {
            let Some(message) = head.take().filter(|_| may_try()) else { return Ok(()) };
            let settled = self.try_message((tenant, &outlet), &message, tries).await?;
            head = self.settle(tenant, (key, Some(&message)), settled, version).await?;
            if self.clock().monotonic() > until {
                return Ok(());
            }
            tries = (0, None);
        }
        Ok(())
    }

    /// Sends one message, as much of it as may leave now.
    async fn try_message(
        &self,
        (tenant, outlet): (TenantId, &Outlet),
        message: &RouteMessage,
        tries: (u64, Option<RouteFailure>),
    ) -> Result<RouteSettled> {
        let context = self.job_in(jobs::ROUTES, tenant);
        let (devices, book) =
            (self.tenant_devices(&context).await?, self.stream_book(&context).await?);
        let Some(device) = devices.get(message.device) else { return Ok(RouteSettled::Dropped) };
        // What cannot be read must not hold what comes after it.
        let Ok(mut body) = RouteBody::read(&message.body) else {
            tracing::warn!(%tenant, message = %message.id, "a routed message is damaged");
            return Ok(RouteSettled::Dropped);
        };
        if !body.keep(|key| book.is_open(device, key)) {
            return Ok(RouteSettled::Dropped);
        }
        let (id, hops) = (message.id.to_string(), std::mem::take(&mut body.hops));
        if let StoredKind::Topic { topic } = &outlet.kind {
            let tried = self.pass_on((tenant, topic), (&id, hops), &body).await?;
            return Ok(self.decided(tried, message, tries));
        }
        let bytes = Bytes::from(body.bytes()?);
        let sent = self.send_route(tenant, outlet, (&id, bytes)).await;
        Ok(self.decided(judged(sent), message, tries))
    }

    /// What becomes of a message, after so many tries of which the last failed in this way.
    fn decided(
        &self,
        tried: Tried,
        message: &RouteMessage,
        (attempts, last): (u64, Option<RouteFailure>),
    ) -> RouteSettled {
        let now = self.clock().now();
        let (failure, status, after) = match tried {
            Tried::Delivered => return RouteSettled::Delivered,
            Tried::Busy => (RouteFailure::Failing, None, None),
            Tried::Failed { failure, status, after } => (failure, status, after),
        };
        let is_refused = is_unwanted(failure);
        if failure == RouteFailure::Looped {
            return RouteSettled::Parked { failure, status, next_at: None };
        }
        let is_over = if is_refused {
            // A place that comes back may refuse once, before all of it is there.
            attempts + 1 >= REFUSED_TRIES_MAX && last.is_none_or(is_unwanted)
        } else {
            now.since(message.updated_at) > ROUTE_MESSAGE_AGE_MAX
        };
        if is_over && is_refused {
            return RouteSettled::Parked { failure, status, next_at: None };
        }
        let mut chance = [0; 2];
        self.rng().fill(&mut chance);
        let wait = wait(attempts, u16::from_be_bytes(chance));
        let wait = after.map_or(wait, |after| wait.max(after.min(RETRY_MAX)));
        let next_at = now.saturating_add(wait);
        if is_over {
            return RouteSettled::Parked { failure, status, next_at: Some(next_at) };
        }
        RouteSettled::Retried { next_at, failure, status }
    }

    /// Notes what became of a lane's first message; answers the next, if it goes on now and to
    /// the place as it was at the given version.
    async fn settle(
        &self,
        tenant: TenantId,
        (key, message): (LaneKey, Option<&RouteMessage>),
        settled: RouteSettled,
        version: u64,
    ) -> Result<Option<RouteMessage>> {
        let context = self.job_in(jobs::ROUTES, tenant);
        let tx = self.0.store.begin(&context).await?;
        tx.route_hold().await?;
        // First, so that whoever adds a message now waits until the next is looked for.
        tx.route_lane_settled(key, settled).await?;
        if let Some(message) = message {
            self.settle_message(&tx, &context, message, settled).await?;
        }
        // A place in trouble is left alone by everybody.
        if let Some(until) = trouble_until(settled) {
            tx.route_lanes_postpone(key.1, until).await?;
        }
        if matches!(settled, RouteSettled::Retried { .. }) {
            tx.commit().await?;
            return Ok(None);
        }
        let place = found(tx.route_destination(key.1).await)?.filter(|place| place.enabled);
        let head = if place.is_some() { tx.route_message_head(key.0, key.1).await? } else { None };
        let goes_on = trouble_until(settled).is_none();
        if goes_on || head.is_none() {
            let next_at: Option<Timestamp> = head.as_ref().map(|_| context.at);
            tx.route_lane_next(key, next_at).await?;
        }
        tx.commit().await?;
        if place.is_none() {
            // It went while this was on its way.
            self.enter_route_place(tenant, key.1, None);
        }
        let is_same = place.is_some_and(|place| place.version == version);
        Ok(head.filter(|_| goes_on && is_same))
    }

    async fn settle_message(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        message: &RouteMessage,
        settled: RouteSettled,
    ) -> Result<()> {
        match settled {
            RouteSettled::Delivered | RouteSettled::Dropped => {
                let is_dropped = settled == RouteSettled::Dropped;
                count(if is_dropped { "dropped" } else { "delivered" }, 1);
                // It may be gone with its device.
                found(tx.route_message_delete(message.id).await).map(drop)
            }
            RouteSettled::Parked { failure, status, next_at } => {
                tx.route_message_park(message.id, failure, status).await?;
                let mut parked = 1;
                if next_at.is_some() {
                    // What has waited as long was not delivered for the same reason.
                    let lane = (message.rule, message.destination);
                    let old = context.at.saturating_sub(ROUTE_MESSAGE_AGE_MAX);
                    let why = (failure, status);
                    let more = tx.route_messages_park_old(lane, old, why).await?;
                    tx.route_lane_lost(lane, (more, 0)).await?;
                    parked += more;
                }
                count("parked", parked);
                self.trim_parked(tx, context).await
            }
            RouteSettled::Retried { .. } => {
                count("retried", 1);
                Ok(())
            }
            RouteSettled::Nothing => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_bound_and_differ() {
        assert_eq!(wait(0, u16::MAX), RETRY_MIN);
        assert_eq!(wait(0, 0), RETRY_MIN / 2);
        assert_eq!(wait(3, u16::MAX), RETRY_MIN * 8);
        assert_eq!(wait(u64::MAX, u16::MAX), RETRY_MAX);
    }

    #[test]
    fn answers_are_told_apart() {
        let check = |status: u16, expect: Option<RouteFailure>| {
            let tried = judged(Ok(RouteReply::Http(WebhookReply { status, retry_after: None })));
            let found = match tried {
                Tried::Failed { failure, .. } => Some(failure),
                Tried::Delivered | Tried::Busy => None,
            };
            assert_eq!(found, expect, "{status}");
        };
        check(204, None);
        check(400, Some(RouteFailure::Refused));
        check(410, Some(RouteFailure::Refused));
        check(429, Some(RouteFailure::Failing));
        check(503, Some(RouteFailure::Failing));
        let redirect = GuardError::Redirect { host: "a".to_owned(), status: 302 };
        let failed = |failure, status| Tried::Failed { failure, status, after: None };
        assert_eq!(judged(Err(redirect)), failed(RouteFailure::Redirect, Some(302)));
    }
}
