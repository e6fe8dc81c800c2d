//! Mail to be sent. An entry is written in the transaction of what it reports, once per
//! idempotency key; sending is at least once. What an alert says can change until it leaves.

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::{Expr, ExprTrait};
use veritwin_domain::{AlertId, TenantId, Timestamp};

use super::mail_turns::MailRank;
use crate::bind::{Row, opaque_debug};
use crate::query::{Insert, Update, above, at_most, is_null, is_set, one_of};
use crate::seal::{Cell, Owner};
use crate::tx::Core;
use crate::{PlatformTx, Result, TenantTx};

pub(super) const TABLE: &str = "outbox";

/// Most waiting entries that are read at once.
const WAITING_MAX: u64 = 10_000;

/// The id of an entry: its idempotency key's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboxId(pub [u8; 16]);

/// A message to queue.
#[derive(Clone, Copy)]
pub struct NewMail<'a> {
    /// The same key is queued once.
    pub idempotency_key: &'a str,
    /// The message, as JSON.
    pub payload: &'a [u8],
    /// When it leaves, compared with others.
    pub rank: MailRank,
    /// Not before; at once, if none.
    pub next_at: Option<Timestamp>,
    /// The alert it tells of, if it does.
    pub about: Option<MailAbout<'a>>,
}

impl<'a> NewMail<'a> {
    /// A message that leaves as soon as it can.
    pub const fn new(rank: MailRank, idempotency_key: &'a str, payload: &'a [u8]) -> Self {
        Self { idempotency_key, payload, rank, next_at: None, about: None }
    }
}

/// What a message about an alert belongs to.
#[derive(Clone, Copy)]
pub struct MailAbout<'a> {
    /// The newest alert it tells of.
    pub alert: AlertId,
    /// Rule, device and recipient together.
    pub thread: &'a str,
}

/// An entry that is due.
#[derive(Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Its id.
    pub id: OutboxId,
    /// Whose mail it is; none for the platform's own.
    pub tenant: Option<TenantId>,
    /// The message, as JSON.
    pub payload: Vec<u8>,
    /// How often sending was tried, this time included.
    pub attempts: u64,
    /// When it was written.
    pub created_at: Timestamp,
}

opaque_debug!(OutboxEntry { id, tenant, attempts });

/// A message about an alert that has not left.
#[derive(Clone, PartialEq, Eq)]
pub struct WaitingMail {
    /// Its id.
    pub id: OutboxId,
    /// The newest alert it tells of.
    pub alert: Option<AlertId>,
    /// The message, as JSON.
    pub payload: Vec<u8>,
    /// It is being sent at the moment: what it says is said.
    pub is_leaving: bool,
    /// When it was written.
    pub created_at: Timestamp,
}

opaque_debug!(WaitingMail { id, alert, is_leaving });

/// The messages about one rule on one device to one recipient.
#[derive(Clone, Default)]
pub struct MailThread {
    /// What has not left, the newest first.
    pub waiting: Vec<WaitingMail>,
    /// The newest that was sent or refused: when, and what it said.
    pub last: Option<(Timestamp, Vec<u8>)>,
}

fn owner(tenant: Option<TenantId>) -> Owner {
    tenant.map_or(Owner::Platform, Owner::Tenant)
}

fn realm(tenant: Option<TenantId>) -> [u8; 16] {
    tenant.map_or([0; 16], |tenant| *tenant.as_bytes())
}

fn thread_index(core: &Core, tenant: Option<TenantId>, thread: &str) -> [u8; 32] {
    core.sealer.blind_index("outbox-thread", &realm(tenant), thread)
}

fn seal(core: &Core, tenant: Option<TenantId>, id: OutboxId, payload: &[u8]) -> Result<Vec<u8>> {
    let cell = Cell { table: TABLE, column: "payload", row: &id.0 };
    core.vault(owner(tenant)).seal(cell, payload)
}

fn fill(
    core: &Core,
    insert: Insert,
    (tenant, turn): (Option<TenantId>, Option<TenantId>),
    mail: &NewMail<'_>,
) -> Result<Insert> {
    let index = core.sealer.blind_index("outbox", &realm(tenant), mail.idempotency_key);
    let mut id = [0; 16];
    id.copy_from_slice(&index[..16]);
    Ok(insert
        .set("id", id)
        .set("tenant_id", tenant)
        .set("idempotency", index)
        .set("payload", seal(core, tenant, OutboxId(id), mail.payload)?)
        .set("attempts", 0u64)
        .set("next_at", mail.next_at.unwrap_or(core.at))
        .set("created_at", core.at)
        .set("done_at", Option::<Timestamp>::None)
        .set("rank", mail.rank.stored())
        .set("turn_id", turn)
        .set("alert_id", mail.about.map(|about| about.alert))
        .set("thread_index", mail.about.map(|about| thread_index(core, tenant, about.thread)))
        .or_ignore(&["idempotency"]))
}

impl TenantTx {
    /// Queues a message of this tenant; false if the key was queued before.
    #[boxed]
    pub async fn outbox_add<'a>(&'a self, mail: NewMail<'a>) -> Result<bool> {
        let whose = (Some(self.tenant), Some(self.tenant));
        let insert = fill(&self.core, Insert::new(TABLE), whose, &mail)?;
        Ok(self.core.insert(insert).await? > 0)
    }

    /// How many messages of this tenant have not left.
    #[boxed]
    pub async fn outbox_waiting(&self) -> Result<u64> {
        let select = self.select(TABLE).filter(is_null("done_at"));
        self.core.one(select.only(Expr::cust("count(*)"), "count")).await?.get("count")
    }

    /// How many invitations of this tenant were queued after a moment.
    #[boxed]
    pub async fn outbox_invitations(&self, after: Timestamp) -> Result<u64> {
        let ranks = [MailRank::Invitation.stored(), MailRank::Bulk.stored()];
        let select = self
            .select(TABLE)
            .filter(one_of("rank", ranks))
            .filter(above("created_at", after))
            .only(Expr::cust("count(*)"), "count");
        self.core.one(select).await?.get("count")
    }

    /// The messages of a thread.
    #[boxed]
    pub async fn outbox_thread(&self, thread: &str) -> Result<MailThread> {
        let index = thread_index(&self.core, Some(self.tenant), thread);
        let all = || self.select(TABLE).eq("thread_index", index);
        let select = all().filter(is_null("done_at")).descending("created_at").limit(WAITING_MAX);
        let rows = self.core.all(select).await?;
        let waiting = rows.iter().map(|row| self.load_waiting(row)).collect::<Result<_>>()?;
        let last = all().filter(is_set("tried_at")).descending("tried_at").limit(1);
        let last = match self.core.maybe(last).await? {
            Some(row) => {
                let id: [u8; 16] = row.get("id")?;
                Some((row.get("tried_at")?, self.vault().open(&row, "payload", &id)?))
            }
            None => None,
        };
        Ok(MailThread { waiting, last })
    }

    /// The messages about some alerts that have not left, the oldest first.
    #[boxed]
    pub async fn outbox_about(&self, alerts: &[AlertId]) -> Result<Vec<WaitingMail>> {
        let select = self
            .select(TABLE)
            .filter(is_null("done_at"))
            .filter(one_of("alert_id", alerts.iter().copied()))
            .ascending("created_at")
            .limit(WAITING_MAX);
        self.core.all(select).await?.iter().map(|row| self.load_waiting(row)).collect()
    }

    /// Changes what a message about an alert says; false if it has left, or is leaving.
    #[boxed]
    pub async fn outbox_rewrite(
        &self,
        id: OutboxId,
        alert: AlertId,
        payload: &[u8],
    ) -> Result<bool> {
        let at_rest = is_null("claimed_until").or(at_most("claimed_until", self.core.at));
        let update = self
            .update(TABLE)
            .set("payload", seal(&self.core, Some(self.tenant), id, payload)?)
            .set("alert_id", alert)
            .eq("id", id.0)
            .filter(is_null("done_at"))
            .filter(at_rest);
        Ok(self.core.update(update).await? > 0)
    }

    fn load_waiting(&self, row: &Row) -> Result<WaitingMail> {
        let id: [u8; 16] = row.get("id")?;
        let claimed_until: Option<Timestamp> = row.maybe("claimed_until")?;
        Ok(WaitingMail {
            id: OutboxId(id),
            alert: row.maybe("alert_id")?,
            payload: self.vault().open(row, "payload", &id)?,
            is_leaving: claimed_until.is_some_and(|until| until > self.core.at),
            created_at: row.get("created_at")?,
        })
    }
}

impl PlatformTx {
    /// Queues a message of the platform itself, in the name of a tenant if it says one; false if
    /// the key was queued before.
    #[boxed]
    pub async fn outbox_add<'a>(
        &'a self,
        mail: NewMail<'a>,
        voice: Option<TenantId>,
    ) -> Result<bool> {
        let insert = fill(&self.core, self.insert(TABLE), (None, voice), &mail)?;
        Ok(self.core.insert(insert).await? > 0)
    }

    /// Gives back what an earlier process has claimed: it is due now.
    #[boxed]
    pub async fn outbox_release(&self) -> Result<u64> {
        let update = self
            .update(TABLE)
            .set("claimed_until", Option::<Timestamp>::None)
            .set("next_at", self.core.at)
            .filter(is_null("done_at"))
            .filter(is_set("claimed_until"));
        self.core.update(update).await
    }

    fn outbox_end_claim(&self, id: OutboxId) -> Update {
        self.update(TABLE).set("claimed_until", Option::<Timestamp>::None).eq("id", id.0)
    }

    /// Notes that the server took or refused an entry for good, or that it was given up.
    #[boxed]
    pub async fn outbox_done(&self, id: OutboxId, at: Timestamp) -> Result<()> {
        let update = self.outbox_end_claim(id).set("done_at", at).set("tried_at", at);
        self.core.update(update).await.map(|_| ())
    }

    /// Ends an entry that was not shown to any server.
    #[boxed]
    pub async fn outbox_drop(&self, id: OutboxId, at: Timestamp) -> Result<()> {
        let update = self.outbox_end_claim(id).set("done_at", at);
        self.core.update(update).await.map(|_| ())
    }

    /// Sets when an entry is tried again, and what it says by then.
    #[boxed]
    pub async fn outbox_retry(
        &self,
        entry: &OutboxEntry,
        next_at: Timestamp,
        payload: &[u8],
    ) -> Result<()> {
        let update = self
            .outbox_end_claim(entry.id)
            .set("next_at", next_at)
            .set("payload", seal(&self.core, entry.tenant, entry.id, payload)?);
        self.core.update(update).await.map(|_| ())
    }

    /// The newest entries of everybody, and how many of those cannot be opened now.
    #[boxed]
    pub async fn outbox_newest(&self, most: u64) -> Result<(Vec<OutboxEntry>, u64)> {
        let select = self.select(TABLE).descending("created_at").descending("id").limit(most);
        let (mut entries, mut closed) = (Vec::new(), 0);
        for row in &self.core.all(select).await? {
            // One tenant's key may be away, or gone.
            match load(&self.core, row, OutboxId(row.get("id")?)) {
                Ok(entry) => entries.push(entry),
                Err(_) => closed += 1,
            }
        }
        Ok((entries, closed))
    }

    /// Deletes entries that were done up to `before`; their keys can be queued again.
    #[boxed]
    pub async fn outbox_purge(&self, before: Timestamp) -> Result<u64> {
        self.core.delete(self.delete(TABLE).filter(at_most("done_at", before))).await
    }
}

pub(super) fn load(core: &Core, row: &Row, id: OutboxId) -> Result<OutboxEntry> {
    let tenant: Option<TenantId> = row.maybe("tenant_id")?;
    Ok(OutboxEntry {
        id,
        tenant,
        payload: core.vault(owner(tenant)).open(row, "payload", &id.0)?,
        attempts: row.get::<u64>("attempts")?,
        created_at: row.get("created_at")?,
    })
}
