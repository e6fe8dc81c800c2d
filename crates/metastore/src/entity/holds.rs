//! Holds: what keeps activity records beyond their time. A hold counts from its approval by a
//! second person to its end.

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use veritwin_domain::{ActivityId, HoldId, TenantId, Timestamp, UserId};

use crate::bind::{Row, opaque_debug, stored_enum};
use crate::query::{above, is_null, is_set};
use crate::seal::{Cell, Owner};
use crate::tx::Vault;
use crate::{Error, PlatformTx, Result, TenantTx};

const TABLE: &str = "activity_holds";
/// Most holds of a tenant that are looked at.
const HOLDS_MAX: u64 = 1000;

stored_enum! {
    /// Why records are kept longer.
    HoldReason {
        /// Suspected fraud.
        Fraud = "fraud",
        /// A security incident.
        Incident = "incident",
        /// A duty by law.
        LegalDuty = "legal_duty",
    }
}

/// Which records are held; every part that is set has to fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HoldScope {
    /// Whose acts.
    pub actor: Option<[u8; 16]>,
    /// What the action begins with.
    pub action: Option<String>,
    /// From this moment on.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub to: Option<Timestamp>,
    /// Single records.
    pub records: Vec<ActivityId>,
}

#[derive(Serialize, Deserialize)]
struct Body {
    actor: Option<[u8; 16]>,
    action: Option<String>,
    from: Option<i64>,
    to: Option<i64>,
    records: Vec<ActivityId>,
    note: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    release: Option<Release>,
}

/// Somebody asked for the end of a hold before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Who: somebody else has to confirm it.
    pub asked_by: UserId,
    /// When, in microseconds since the epoch.
    pub asked_at_micros: i64,
}

/// A hold.
#[derive(Clone, PartialEq, Eq)]
pub struct Hold {
    /// Its id.
    pub id: HoldId,
    /// Which records.
    pub scope: HoldScope,
    /// Why.
    pub reason: HoldReason,
    /// Why, in words.
    pub note: String,
    /// Who asked for it.
    pub requested_by: UserId,
    /// When.
    pub requested_at: Timestamp,
    /// Who approved it: somebody else.
    pub approved_by: Option<UserId>,
    /// When; it holds nothing before.
    pub approved_at: Option<Timestamp>,
    /// Its end.
    pub expires_at: Timestamp,
    /// Who asked to end it before its time.
    pub release: Option<Release>,
    /// When it was ended before its time.
    pub released_at: Option<Timestamp>,
}

opaque_debug!(Hold { id, reason, expires_at });

fn load(row: &Row, vault: &Vault<'_>) -> Result<Hold> {
    let id: HoldId = row.get("id")?;
    let body: Body = vault.open_json(row, "body", id.as_bytes())?;
    Ok(Hold {
        id,
        scope: HoldScope {
            actor: body.actor,
            action: body.action,
            from: body.from.map(Timestamp::from_micros),
            to: body.to.map(Timestamp::from_micros),
            records: body.records,
        },
        reason: row.get("reason")?,
        note: body.note,
        requested_by: row.get("requested_by")?,
        requested_at: row.get("requested_at")?,
        approved_by: row.maybe("approved_by")?,
        approved_at: row.maybe("approved_at")?,
        expires_at: row.get("expires_at")?,
        release: body.release,
        released_at: row.maybe("released_at")?,
    })
}

impl TenantTx {
    /// Writes a new hold.
    #[boxed]
    pub async fn hold_create(&self, hold: &Hold) -> Result<()> {
        let insert = self
            .insert(TABLE)
            .set("id", hold.id)
            .set("reason", hold.reason)
            .set("body", self.hold_body(hold)?)
            .set("requested_by", hold.requested_by)
            .set("requested_at", hold.requested_at)
            .set("approved_by", hold.approved_by)
            .set("approved_at", hold.approved_at)
            .set("expires_at", hold.expires_at)
            .set("released_at", hold.released_at);
        self.core.insert(insert).await.map(|_| ())
    }

    fn hold_body(&self, hold: &Hold) -> Result<Vec<u8>> {
        let scope = &hold.scope;
        let body = Body {
            actor: scope.actor,
            action: scope.action.clone(),
            from: scope.from.map(Timestamp::as_micros),
            to: scope.to.map(Timestamp::as_micros),
            records: scope.records.clone(),
            note: hold.note.clone(),
            release: hold.release,
        };
        let cell = Cell { table: TABLE, column: "body", row: hold.id.as_bytes() };
        self.core.vault(Owner::Platform).seal_json(cell, &body)
    }

    /// Notes who asks to end a hold before its time; it goes on until somebody else confirms.
    #[boxed]
    pub async fn hold_release_ask(&self, hold: &Hold) -> Result<()> {
        let body = self.hold_body(hold)?;
        let update = self.update(TABLE).set("body", body).eq("id", hold.id);
        if self.core.update(update.filter(is_null("released_at"))).await? == 0 {
            return Err(Error::Conflict { what: TABLE, reason: "released already" });
        }
        Ok(())
    }

    /// The tenant's holds, newest first.
    #[boxed]
    pub async fn holds(&self) -> Result<Vec<Hold>> {
        let select = self.select(TABLE).descending("requested_at").limit(HOLDS_MAX);
        let vault = self.core.vault(Owner::Platform);
        self.core.all(select).await?.iter().map(|row| load(row, &vault)).collect()
    }

    /// One hold.
    #[boxed]
    pub async fn hold(&self, id: HoldId) -> Result<Hold> {
        let row = self.core.one(self.select(TABLE).eq("id", id)).await?;
        load(&row, &self.core.vault(Owner::Platform))
    }

    /// Notes that a second person approved; refused when that happened already.
    #[boxed]
    pub async fn hold_approve(&self, id: HoldId, by: UserId, at: Timestamp) -> Result<()> {
        let update = self
            .update(TABLE)
            .set("approved_by", Some(by))
            .set("approved_at", Some(at))
            .eq("id", id)
            .filter(is_null("approved_at"))
            .filter(is_null("released_at"));
        if self.core.update(update).await? == 0 {
            self.hold(id).await?;
            return Err(Error::Conflict { what: TABLE, reason: "approved or released already" });
        }
        Ok(())
    }

    /// Removes a hold with its traces; for checks in a tenant of nobody.
    #[boxed]
    pub async fn hold_delete(&self, id: HoldId) -> Result<()> {
        self.delete_id(TABLE, id).await
    }

    /// Ends a hold.
    #[boxed]
    pub async fn hold_release(&self, id: HoldId, at: Timestamp) -> Result<()> {
        let update = self.update(TABLE).set("released_at", Some(at)).eq("id", id);
        if self.core.update(update.filter(is_null("released_at"))).await? == 0 {
            self.hold(id).await?;
            return Err(Error::Conflict { what: TABLE, reason: "released already" });
        }
        Ok(())
    }
}

impl PlatformTx {
    /// What every tenant's holds keep at `now`.
    #[boxed]
    pub async fn holds_in_force(&self, now: Timestamp) -> Result<Vec<(TenantId, HoldScope)>> {
        let select = self
            .select(TABLE)
            .filter(is_set("approved_at"))
            .filter(is_null("released_at"))
            .filter(above("expires_at", now));
        let vault = self.vault();
        let rows = self.core.all(select).await?;
        rows.iter().map(|row| Ok((row.get("tenant_id")?, load(row, &vault)?.scope))).collect()
    }
}
