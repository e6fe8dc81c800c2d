//! Messages on their way to places outside, in the order in which they stood in the log, and those
//! that were parked.

use std::collections::BTreeMap;

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::Expr;
use veritwin_domain::{DeviceId, RouteDestinationId, RouteMessageId, RouteRuleId, Timestamp};

use crate::bind::{Row, opaque_debug, stored_enum};
use crate::query::{Insert, Select, at_most, below, one_of};
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{Cursor, Listed, Page, PlatformTx, Result, TenantTx};

const TABLE: &str = "route_messages";
/// Messages that are written in one statement.
const ADDED_AT_ONCE: usize = 100;

stored_enum! {
    /// Whether a message waits for its turn or for somebody's decision.
    RouteMessageState {
        /// It waits for its turn.
        Waiting = "waiting",
        /// It is not tried any more until somebody says so.
        Parked = "parked",
    }
}

stored_enum! {
    /// Why a message did not get through.
    RouteFailure {
        /// The place was not reached, or broke off.
        Unreachable = "unreachable",
        /// The other side has trouble, or wants less.
        Failing = "failing",
        /// The other side does not want it.
        Refused = "refused",
        /// The other side wants us to go elsewhere.
        Redirect = "redirect",
        /// The address is not one that may be called.
        NotAllowed = "not_allowed",
        /// More waited than may wait.
        Full = "full",
        /// Rules passed it on too often already.
        Looped = "looped",
    }
}

/// A message to one place.
#[derive(Clone, PartialEq, Eq)]
pub struct RouteMessage {
    /// Its id, which the receiver is given as well.
    pub id: RouteMessageId,
    /// By which rule.
    pub rule: RouteRuleId,
    /// Where to.
    pub destination: RouteDestinationId,
    /// Of which device.
    pub device: DeviceId,
    /// Where it stood in the log.
    pub position: u64,
    /// Which part of that it is.
    pub part: u64,
    /// Whether it waits or is parked.
    pub state: RouteMessageState,
    /// What it says, in a form of the caller's.
    pub body: Vec<u8>,
    /// Why it was parked.
    pub reason: Option<RouteFailure>,
    /// What the other side answered.
    pub status: Option<u64>,
    /// When it was taken up.
    pub created_at: Timestamp,
    /// Since when it waits or is parked.
    pub updated_at: Timestamp,
}

opaque_debug!(RouteMessage { id, rule, destination, state });

/// A parked message, without what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteParked {
    /// Its id.
    pub id: RouteMessageId,
    /// By which rule.
    pub rule: RouteRuleId,
    /// Where to.
    pub destination: RouteDestinationId,
    /// Of which device.
    pub device: DeviceId,
    /// Its size, in bytes.
    pub bytes: u64,
    /// Why it was parked.
    pub reason: Option<RouteFailure>,
    /// What the other side answered.
    pub status: Option<u64>,
    /// When it was taken up.
    pub created_at: Timestamp,
    /// Since when it is parked.
    pub parked_at: Timestamp,
}

/// What messages of a state weigh together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouteRoom {
    /// How many there are.
    pub messages: u64,
    /// Their bodies, in bytes.
    pub bytes: u64,
}

/// Which parked messages are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouteParkedFilter {
    /// By this rule.
    pub rule: Option<RouteRuleId>,
    /// To this place.
    pub destination: Option<RouteDestinationId>,
}

fn load(row: &Row, vault: &Vault<'_>) -> Result<RouteMessage> {
    let id: RouteMessageId = row.get("id")?;
    Ok(RouteMessage {
        id,
        rule: row.get("rule_id")?,
        destination: row.get("destination_id")?,
        device: row.get("device_id")?,
        position: row.get("position")?,
        part: row.get("part")?,
        state: row.get("state")?,
        body: vault.open(row, "body", id.as_bytes())?,
        reason: row.maybe("reason")?,
        status: row.maybe("status")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}

/// Only these columns: bodies are large, and are left where they are.
fn columns(select: Select, names: [&'static str; 9]) -> Select {
    let [first, rest @ ..] = names;
    let select = select.only(Expr::col(first), first);
    rest.into_iter().fold(select, |select, name| select.also(Expr::col(name), name))
}

const HEAD: [&str; 9] = [
    "id",
    "rule_id",
    "destination_id",
    "device_id",
    "bytes",
    "reason",
    "status",
    "created_at",
    "updated_at",
];

fn load_head(row: &Row) -> Result<RouteParked> {
    Ok(RouteParked {
        id: row.get("id")?,
        rule: row.get("rule_id")?,
        destination: row.get("destination_id")?,
        device: row.get("device_id")?,
        bytes: row.get("bytes")?,
        reason: row.maybe("reason")?,
        status: row.maybe("status")?,
        created_at: row.get("created_at")?,
        parked_at: row.get("updated_at")?,
    })
}

/// Lanes, by rule and place, and how many of their messages were taken.
type Evicted = Vec<((RouteRuleId, RouteDestinationId), u64)>;

fn by_lane(heads: &[RouteParked]) -> Evicted {
    let mut lanes = BTreeMap::new();
    for head in heads {
        *lanes.entry((head.rule, head.destination)).or_insert(0u64) += 1;
    }
    lanes.into_iter().collect()
}

impl TenantTx {
    /// Writes a new message.
    #[boxed]
    pub async fn route_message_add(&self, one: &RouteMessage) -> Result<()> {
        self.core.insert(self.route_message_row(one)?).await.map(drop)
    }

    /// Writes new messages, so many in one statement.
    #[boxed]
    pub async fn route_messages_add(&self, all: &[RouteMessage]) -> Result<()> {
        for some in all.chunks(ADDED_AT_ONCE) {
            let Some((first, rest)) = some.split_first() else { continue };
            let mut insert = self.route_message_row(first)?;
            for one in rest {
                insert = insert.and(self.route_message_row(one)?);
            }
            self.core.insert(insert).await?;
        }
        Ok(())
    }

    fn route_message_row(&self, one: &RouteMessage) -> Result<Insert> {
        let cell = Cell { table: TABLE, column: "body", row: one.id.as_bytes() };
        let row = self
            .insert(TABLE)
            .set("id", one.id)
            .set("rule_id", one.rule)
            .set("destination_id", one.destination)
            .set("device_id", one.device)
            .set("position", one.position)
            .set("part", one.part)
            .set("state", one.state)
            .set("bytes", u64::try_from(one.body.len()).unwrap_or(u64::MAX))
            .set("body", self.vault().seal(cell, &one.body)?)
            .set("reason", one.reason.map(|reason| reason.as_str().to_owned()))
            .set("status", one.status)
            .set("created_at", self.core.at)
            .set("updated_at", self.core.at);
        Ok(row)
    }

    /// What messages of a state weigh together.
    #[boxed]
    pub async fn route_room(&self, state: RouteMessageState) -> Result<RouteRoom> {
        let bytes = Expr::cust("CAST(coalesce(sum(bytes), 0) AS bigint)");
        let select = self
            .select(TABLE)
            .eq("state", state)
            .only(Expr::cust("count(*)"), "messages")
            .also(bytes, "bytes");
        let row = self.core.one(select).await?;
        Ok(RouteRoom { messages: row.get("messages")?, bytes: row.get("bytes")? })
    }

    /// The first message of a lane.
    #[boxed]
    pub async fn route_message_head(
        &self,
        rule: RouteRuleId,
        destination: RouteDestinationId,
    ) -> Result<Option<RouteMessage>> {
        let select = self.waiting(rule, destination).limit(1);
        self.core.maybe(select).await?.map(|row| load(&row, &self.vault())).transpose()
    }

    fn waiting(&self, rule: RouteRuleId, destination: RouteDestinationId) -> Select {
        let select = self.select(TABLE).eq("rule_id", rule).eq("destination_id", destination);
        select.eq("state", RouteMessageState::Waiting).ascending("position").ascending("part")
    }

    /// The first messages of a lane, at most `rows_max`.
    #[boxed]
    pub async fn route_messages_first(
        &self,
        (rule, destination): (RouteRuleId, RouteDestinationId),
        rows_max: u64,
    ) -> Result<Vec<RouteMessage>> {
        let rows = self.core.all(self.waiting(rule, destination).limit(rows_max)).await?;
        rows.iter().map(|row| load(row, &self.vault())).collect()
    }

    /// Takes every message out of a lane; how many there were.
    #[boxed]
    pub async fn route_messages_take(
        &self,
        (rule, destination): (RouteRuleId, RouteDestinationId),
    ) -> Result<u64> {
        let delete = self.delete(TABLE).eq("rule_id", rule).eq("destination_id", destination);
        self.core.delete(delete.eq("state", RouteMessageState::Waiting)).await
    }

    /// Removes a message.
    #[boxed]
    pub async fn route_message_delete(&self, id: RouteMessageId) -> Result<()> {
        self.delete_id(TABLE, id).await
    }

    /// Removes what is there of a device.
    #[boxed]
    pub async fn route_messages_delete_of(&self, device: DeviceId) -> Result<()> {
        self.route_hold().await?;
        self.core.delete(self.delete(TABLE).eq("device_id", device)).await.map(drop)
    }

    /// Parks a message.
    #[boxed]
    pub async fn route_message_park(
        &self,
        id: RouteMessageId,
        reason: RouteFailure,
        status: Option<u64>,
    ) -> Result<()> {
        let update = self
            .update(TABLE)
            .set("state", RouteMessageState::Parked)
            .set("reason", reason)
            .set("status", status)
            .set("updated_at", self.core.at)
            .eq("id", id);
        self.core.update(update).await.map(drop)
    }

    /// Parks what has waited in a lane since `before` or longer; answers how many.
    #[boxed]
    pub async fn route_messages_park_old(
        &self,
        (rule, destination): (RouteRuleId, RouteDestinationId),
        before: Timestamp,
        (reason, status): (RouteFailure, Option<u64>),
    ) -> Result<u64> {
        let update = self
            .update(TABLE)
            .set("state", RouteMessageState::Parked)
            .set("reason", reason)
            .set("status", status)
            .set("updated_at", self.core.at)
            .eq("rule_id", rule)
            .eq("destination_id", destination)
            .eq("state", RouteMessageState::Waiting)
            .filter(at_most("updated_at", before));
        self.core.update(update).await
    }

    fn parked(&self, filter: RouteParkedFilter) -> Select {
        let mut select = self.select(TABLE).eq("state", RouteMessageState::Parked);
        if let Some(rule) = filter.rule {
            select = select.eq("rule_id", rule);
        }
        if let Some(destination) = filter.destination {
            select = select.eq("destination_id", destination);
        }
        select
    }

    /// Parked messages, newest first.
    #[boxed]
    pub async fn route_messages_parked(
        &self,
        filter: RouteParkedFilter,
        page: &Page,
    ) -> Result<Listed<RouteParked>> {
        let mut select = self.parked(filter).descending("id").limit(page.rows() + 1);
        if let Some(cursor) = &page.after {
            select = select.filter(below("id", cursor.id()?));
        }
        let rows = self.core.all(columns(select, HEAD)).await?;
        let items = rows.iter().map(load_head).collect::<Result<Vec<_>>>()?;
        Ok(Listed::cut(items, page, |one| Cursor::by_id(one.id.as_bytes())))
    }

    /// One parked message.
    #[boxed]
    pub async fn route_message_parked(&self, id: RouteMessageId) -> Result<RouteMessage> {
        let select = self.parked(RouteParkedFilter::default()).eq("id", id);
        load(&self.core.one(select).await?, &self.vault())
    }

    /// Puts parked messages back into their lanes, the oldest first, at most `rows_max`; answers
    /// the lanes.
    #[boxed]
    pub async fn route_messages_unpark(
        &self,
        filter: RouteParkedFilter,
        one: Option<RouteMessageId>,
        rows_max: u64,
    ) -> Result<Vec<((RouteRuleId, RouteDestinationId), u64)>> {
        let mut select = self.parked(filter).ascending("position").ascending("part");
        if let Some(id) = one {
            select = select.eq("id", id);
        }
        let rows = self.core.all(columns(select.limit(rows_max), HEAD)).await?;
        let heads = rows.iter().map(load_head).collect::<Result<Vec<_>>>()?;
        if heads.is_empty() {
            return Ok(Evicted::new());
        }
        let update = self
            .update(TABLE)
            .set("state", RouteMessageState::Waiting)
            .set("reason", None::<String>)
            .set("status", None::<u64>)
            .set("updated_at", self.core.at)
            .filter(one_of("id", heads.iter().map(|head| head.id)));
        self.core.update(update).await?;
        Ok(by_lane(&heads))
    }

    /// Takes the oldest messages of a state until what is over its bounds is gone, at most
    /// `rows_max` of them: those that wait are parked, those that are parked are removed.
    #[boxed]
    pub async fn route_messages_evict(
        &self,
        state: RouteMessageState,
        over: RouteRoom,
        rows_max: u64,
    ) -> Result<Vec<((RouteRuleId, RouteDestinationId), u64)>> {
        let select = self.select(TABLE).eq("state", state).ascending("position");
        let select = columns(select.ascending("part").limit(rows_max), HEAD);
        let mut freed = RouteRoom::default();
        let mut taken = Vec::new();
        for row in &self.core.all(select).await? {
            if freed.messages >= over.messages && freed.bytes >= over.bytes {
                break;
            }
            let head = load_head(row)?;
            freed.messages += 1;
            freed.bytes += head.bytes;
            taken.push(head);
        }
        if taken.is_empty() {
            return Ok(Evicted::new());
        }
        let ids = taken.iter().map(|head| head.id);
        match state {
            RouteMessageState::Waiting => {
                let update = self
                    .update(TABLE)
                    .set("state", RouteMessageState::Parked)
                    .set("reason", RouteFailure::Full)
                    .set("updated_at", self.core.at)
                    .filter(one_of("id", ids));
                self.core.update(update).await?;
            }
            RouteMessageState::Parked => {
                self.core.delete(self.delete(TABLE).filter(one_of("id", ids))).await?;
            }
        }
        Ok(by_lane(&taken))
    }
}

impl PlatformTx {
    /// Deletes messages that were parked up to `before`, and those that have waited since then:
    /// for a place that is switched off, or of a tenant that is suspended.
    #[boxed]
    pub async fn route_messages_purge(&self, before: Timestamp) -> Result<u64> {
        let mut rows = 0;
        for state in [RouteMessageState::Parked, RouteMessageState::Waiting] {
            let delete = self.delete(TABLE).eq("state", state);
            rows += self.core.delete(delete.filter(at_most("updated_at", before))).await?;
        }
        Ok(rows)
    }
}
