//! To which places outside a tenant's messages go, by which rules, and how it went on each way from
//! a rule to a place: a lane.

use std::collections::HashSet;

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::Expr;
use veritwin_domain::{RouteDestinationId, RouteRuleId, TenantId, Timestamp};

use super::route_messages::RouteFailure;
use crate::bind::{Row, opaque_debug};
use crate::query::{Update, at_most, is_null, is_set};
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{PlatformTx, Result, TenantTx};

const DESTINATIONS: &str = "route_destinations";
const RULES: &str = "route_rules";
const LANES: &str = "route_lanes";
const MESSAGES: &str = "route_messages";
const OFFSETS: &str = "consumer_offsets";
/// The consumer of the log that queues messages.
pub const ROUTE_CONSUMER: &str = "routes";
/// Most tenants that are asked for at once.
const TENANTS_MAX: u64 = 10_000;

/// A place outside.
#[derive(Clone, PartialEq, Eq)]
pub struct RouteDestination {
    /// Its id.
    pub id: RouteDestinationId,
    /// Name, recipient, purpose and address, in a form of the caller's.
    pub body: Vec<u8>,
    /// What calls are signed with.
    pub secret: Vec<u8>,
    /// Whether messages go there.
    pub enabled: bool,
    /// Counts changes.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

opaque_debug!(RouteDestination { id, enabled, version });

/// A rule.
#[derive(Clone, PartialEq, Eq)]
pub struct RouteRule {
    /// Its id.
    pub id: RouteRuleId,
    /// What it says, in a form of the caller's.
    pub body: Vec<u8>,
    /// Whether it holds.
    pub enabled: bool,
    /// Counts changes.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

opaque_debug!(RouteRule { id, enabled, version });

/// How it went from a rule to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteLane {
    /// The rule.
    pub rule: RouteRuleId,
    /// The place.
    pub destination: RouteDestinationId,
    /// Messages that were to go there.
    pub matched: u64,
    /// Messages that went.
    pub delivered: u64,
    /// Tries that failed.
    pub retried: u64,
    /// Messages that were parked, each time it happened.
    pub parked: u64,
    /// Messages that went nowhere: what may leave of them was nothing, or there was no room.
    pub dropped: u64,
    /// How often the first message was tried.
    pub attempts: u64,
    /// When the first message is tried; none: none waits.
    pub next_at: Option<Timestamp>,
    /// Why a try failed last.
    pub last_error: Option<RouteFailure>,
    /// What the other side answered then.
    pub last_status: Option<u64>,
    /// When that was.
    pub failed_at: Option<Timestamp>,
    /// When a message went last.
    pub delivered_at: Option<Timestamp>,
}

/// What became of the first message of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteSettled {
    /// It went.
    Delivered,
    /// It is tried again.
    Retried {
        /// When.
        next_at: Timestamp,
        /// Why.
        failure: RouteFailure,
        /// What the other side answered.
        status: Option<u64>,
    },
    /// It was parked.
    Parked {
        /// Why.
        failure: RouteFailure,
        /// What the other side answered.
        status: Option<u64>,
        /// When the place is tried again, if the place was what was wrong.
        next_at: Option<Timestamp>,
    },
    /// Nothing of it may leave.
    Dropped,
    /// There was none.
    Nothing,
}

fn load_destination(row: &Row, vault: &Vault<'_>) -> Result<RouteDestination> {
    let id: RouteDestinationId = row.get("id")?;
    Ok(RouteDestination {
        id,
        body: vault.open(row, "body", id.as_bytes())?,
        secret: vault.open(row, "secret", id.as_bytes())?,
        enabled: row.get("enabled")?,
        version: row.get("version")?,
        created_at: row.get("created_at")?,
    })
}

fn load_rule(row: &Row, vault: &Vault<'_>) -> Result<RouteRule> {
    let id: RouteRuleId = row.get("id")?;
    Ok(RouteRule {
        id,
        body: vault.open(row, "body", id.as_bytes())?,
        enabled: row.get("enabled")?,
        version: row.get("version")?,
        created_at: row.get("created_at")?,
    })
}

fn load_lane(row: &Row) -> Result<RouteLane> {
    Ok(RouteLane {
        rule: row.get("rule_id")?,
        destination: row.get("destination_id")?,
        matched: row.get("matched")?,
        delivered: row.get("delivered")?,
        retried: row.get("retried")?,
        parked: row.get("parked")?,
        dropped: row.get("dropped")?,
        attempts: row.get("attempts")?,
        next_at: row.maybe("next_at")?,
        last_error: row.maybe("last_error")?,
        last_status: row.maybe("last_status")?,
        failed_at: row.maybe("failed_at")?,
        delivered_at: row.maybe("delivered_at")?,
    })
}

impl TenantTx {
    fn seal_route(
        &self,
        (table, column): (&'static str, &'static str),
        id: &[u8; 16],
        text: &[u8],
    ) -> Result<Vec<u8>> {
        self.vault().seal(Cell { table, column, row: id }, text)
    }

    /// Every place, oldest first; how many there are is bounded where they are made.
    #[boxed]
    pub async fn route_destinations(&self) -> Result<Vec<RouteDestination>> {
        let vault = self.vault();
        let rows = self.core.all(self.select(DESTINATIONS).ascending("id")).await?;
        rows.iter().map(|row| load_destination(row, &vault)).collect()
    }

    /// One place.
    #[boxed]
    pub async fn route_destination(&self, id: RouteDestinationId) -> Result<RouteDestination> {
        load_destination(
            &self.core.one(self.select(DESTINATIONS).eq("id", id)).await?,
            &self.vault(),
        )
    }

    /// Writes a new place.
    #[boxed]
    pub async fn route_destination_create(&self, one: &RouteDestination) -> Result<()> {
        let id = one.id.as_bytes();
        let insert = self
            .insert(DESTINATIONS)
            .set("id", one.id)
            .set("body", self.seal_route((DESTINATIONS, "body"), id, &one.body)?)
            .set("secret", self.seal_route((DESTINATIONS, "secret"), id, &one.secret)?)
            .set("enabled", one.enabled)
            .set("version", 1u64)
            .set("created_at", self.core.at)
            .set("updated_at", self.core.at);
        self.core.insert(insert).await.map(drop)
    }

    /// Writes a changed place, if its version is still `expected`.
    #[boxed]
    pub async fn route_destination_update(
        &self,
        one: &RouteDestination,
        expected: Option<u64>,
    ) -> Result<()> {
        let id = one.id.as_bytes();
        let update = self
            .update(DESTINATIONS)
            .set("body", self.seal_route((DESTINATIONS, "body"), id, &one.body)?)
            .set("secret", self.seal_route((DESTINATIONS, "secret"), id, &one.secret)?)
            .set("enabled", one.enabled)
            .set("updated_at", self.core.at);
        self.update_version(update, *id, expected).await
    }

    /// Removes a place with what waits for it and what is parked.
    #[boxed]
    pub async fn route_destination_delete(&self, id: RouteDestinationId) -> Result<()> {
        self.route_hold().await?;
        self.delete_id(DESTINATIONS, id).await?;
        for table in [MESSAGES, LANES] {
            self.core.delete(self.delete(table).eq("destination_id", id)).await?;
        }
        Ok(())
    }

    /// Every rule, oldest first; how many there are is bounded where they are made.
    #[boxed]
    pub async fn route_rules(&self) -> Result<Vec<RouteRule>> {
        let vault = self.vault();
        let rows = self.core.all(self.select(RULES).ascending("id")).await?;
        rows.iter().map(|row| load_rule(row, &vault)).collect()
    }

    /// One rule.
    #[boxed]
    pub async fn route_rule(&self, id: RouteRuleId) -> Result<RouteRule> {
        load_rule(&self.core.one(self.select(RULES).eq("id", id)).await?, &self.vault())
    }

    /// Writes a new rule.
    #[boxed]
    pub async fn route_rule_create(&self, one: &RouteRule) -> Result<()> {
        let insert = self
            .insert(RULES)
            .set("id", one.id)
            .set("body", self.seal_route((RULES, "body"), one.id.as_bytes(), &one.body)?)
            .set("enabled", one.enabled)
            .set("version", 1u64)
            .set("created_at", self.core.at)
            .set("updated_at", self.core.at);
        self.core.insert(insert).await.map(drop)
    }

    /// Writes a changed rule, if its version is still `expected`.
    #[boxed]
    pub async fn route_rule_update(&self, one: &RouteRule, expected: Option<u64>) -> Result<()> {
        let id = one.id.as_bytes();
        let update = self
            .update(RULES)
            .set("body", self.seal_route((RULES, "body"), id, &one.body)?)
            .set("enabled", one.enabled)
            .set("updated_at", self.core.at);
        self.update_version(update, *id, expected).await
    }

    /// Removes a rule with what waits by it and what is parked.
    #[boxed]
    pub async fn route_rule_delete(&self, id: RouteRuleId) -> Result<()> {
        self.route_hold().await?;
        self.delete_id(RULES, id).await?;
        for table in [MESSAGES, LANES] {
            self.core.delete(self.delete(table).eq("rule_id", id)).await?;
        }
        Ok(())
    }

    /// Nobody else of this tenant writes lanes or messages before the transaction ends. Comes
    /// first: whoever writes them touches several, and two who did so in different orders would
    /// wait for each other.
    #[boxed]
    pub async fn route_hold(&self) -> Result<()> {
        // Lanes are there since the row was written with the first of them.
        let update = self.update(OFFSETS).eq("consumer", ROUTE_CONSUMER.to_owned());
        self.core.update(update.add("position", 0)).await.map(drop)
    }

    /// Every lane.
    #[boxed]
    pub async fn route_lanes(&self) -> Result<Vec<RouteLane>> {
        let select = self.select(LANES).ascending("rule_id").ascending("destination_id");
        self.core.all(select).await?.iter().map(load_lane).collect()
    }

    /// The lanes whose first message is due, longest waiting first.
    #[boxed]
    pub async fn route_lanes_due(&self, now: Timestamp, rows_max: u64) -> Result<Vec<RouteLane>> {
        let select = self.select(LANES).filter(at_most("next_at", now)).ascending("next_at");
        self.core.all(select.limit(rows_max)).await?.iter().map(load_lane).collect()
    }

    fn lane(&self, rule: RouteRuleId, destination: RouteDestinationId) -> Update {
        self.update(LANES).eq("rule_id", rule).eq("destination_id", destination)
    }

    /// Counts messages that a lane is about to be given, and wakes it. Comes before they are
    /// written: whoever takes its first message away waits for this.
    #[boxed]
    pub async fn route_lane_matched(
        &self,
        (rule, destination): (RouteRuleId, RouteDestinationId),
        count: u64,
    ) -> Result<()> {
        let mut insert = self.insert(LANES).set("rule_id", rule).set("destination_id", destination);
        for column in ["matched", "delivered", "retried", "parked", "dropped", "attempts"] {
            insert = insert.set(column, 0u64);
        }
        let insert = insert.or_ignore(&["tenant_id", "rule_id", "destination_id"]);
        self.core.insert(insert).await?;
        let update = self.lane(rule, destination).add("matched", count);
        self.core.update(update).await?;
        self.route_lane_wake(rule, destination).await
    }

    /// A lane that waits for nothing is due now.
    #[boxed]
    pub async fn route_lane_wake(
        &self,
        rule: RouteRuleId,
        destination: RouteDestinationId,
    ) -> Result<()> {
        let update = self.lane(rule, destination).set("next_at", self.core.at);
        self.core.update(update.filter(is_null("next_at"))).await.map(drop)
    }

    /// A lane is due now, whatever it waited for: its first message may be another.
    #[boxed]
    pub async fn route_lane_retry(
        &self,
        rule: RouteRuleId,
        destination: RouteDestinationId,
    ) -> Result<()> {
        let update = self.lane(rule, destination).set("next_at", self.core.at);
        self.core.update(update.set("attempts", 0u64)).await.map(drop)
    }

    /// Every lane to a place is due now: it was changed.
    #[boxed]
    pub async fn route_lanes_wake(&self, destination: RouteDestinationId) -> Result<()> {
        self.route_hold().await?;
        let update = self.update(LANES).eq("destination_id", destination);
        self.core.update(update.set("next_at", self.core.at).set("attempts", 0u64)).await.map(drop)
    }

    /// No lane to a place is tried before a moment.
    #[boxed]
    pub async fn route_lanes_postpone(
        &self,
        destination: RouteDestinationId,
        until: Timestamp,
    ) -> Result<()> {
        let update = self.update(LANES).eq("destination_id", destination).set("next_at", until);
        self.core.update(update.filter(at_most("next_at", until))).await.map(drop)
    }

    /// Notes on a lane what became of its first message. Comes before that message is touched.
    #[boxed]
    pub async fn route_lane_settled(
        &self,
        (rule, destination): (RouteRuleId, RouteDestinationId),
        settled: RouteSettled,
    ) -> Result<()> {
        let lane = self.lane(rule, destination);
        let failed = |lane: Update, failure: RouteFailure, status: Option<u64>| {
            lane.set("last_error", failure)
                .set("last_status", status)
                .set("failed_at", self.core.at)
        };
        let update = match settled {
            RouteSettled::Delivered => {
                lane.add("delivered", 1).set("attempts", 0u64).set("delivered_at", self.core.at)
            }
            RouteSettled::Retried { next_at, failure, status } => {
                let lane = lane.add("retried", 1).increment("attempts").set("next_at", next_at);
                failed(lane, failure, status)
            }
            RouteSettled::Parked { failure, status, next_at } => {
                let lane = lane.add("parked", 1);
                // The place has not got better by it.
                let lane = match next_at {
                    Some(_) => lane.increment("attempts"),
                    None => lane.set("attempts", 0u64),
                };
                failed(lane, failure, status)
            }
            RouteSettled::Dropped => lane.add("dropped", 1).set("attempts", 0u64),
            RouteSettled::Nothing => lane.set("attempts", 0u64),
        };
        self.core.update(update).await.map(drop)
    }

    /// Says when a lane is tried next; none: nothing waits.
    #[boxed]
    pub async fn route_lane_next(
        &self,
        (rule, destination): (RouteRuleId, RouteDestinationId),
        next_at: Option<Timestamp>,
    ) -> Result<()> {
        self.core.update(self.lane(rule, destination).set("next_at", next_at)).await.map(drop)
    }

    /// Counts messages that were parked or dropped for want of room.
    #[boxed]
    pub async fn route_lane_lost(
        &self,
        (rule, destination): (RouteRuleId, RouteDestinationId),
        (parked, dropped): (u64, u64),
    ) -> Result<()> {
        let update = self.lane(rule, destination).add("parked", parked).add("dropped", dropped);
        self.core.update(update).await.map(drop)
    }

    /// Notes that everything in a lane was taken out at once, so much of it on its way and so much
    /// of it nowhere: nothing waits in it. It is touched before its messages are, see
    /// [`TenantTx::route_lane_settled`].
    #[boxed]
    pub async fn route_lane_emptied(
        &self,
        (rule, destination): (RouteRuleId, RouteDestinationId),
        (delivered, dropped): (u64, u64),
    ) -> Result<()> {
        let mut update = self
            .lane(rule, destination)
            .add("delivered", delivered)
            .add("dropped", dropped)
            .set("attempts", 0u64)
            .set("next_at", None::<Timestamp>);
        if delivered > 0 {
            update = update.set("delivered_at", self.core.at);
        }
        self.core.update(update).await.map(drop)
    }

    /// Removes a lane whose rule or place is gone, with its messages.
    #[boxed]
    pub async fn route_lane_delete(
        &self,
        rule: RouteRuleId,
        destination: RouteDestinationId,
    ) -> Result<()> {
        for table in [MESSAGES, LANES] {
            let delete = self.delete(table).eq("rule_id", rule).eq("destination_id", destination);
            self.core.delete(delete).await?;
        }
        Ok(())
    }
}

impl PlatformTx {
    /// Tenants that have a lane whose first message is due; a bounded number.
    #[boxed]
    pub async fn route_tenants_due(&self, now: Timestamp) -> Result<HashSet<TenantId>> {
        let select = self
            .select(LANES)
            .filter(is_set("next_at"))
            .filter(at_most("next_at", now))
            .only(Expr::col("tenant_id"), "tenant_id")
            .group_by("tenant_id")
            .limit(TENANTS_MAX);
        self.core.all(select).await?.iter().map(|row| row.get("tenant_id")).collect()
    }
}
