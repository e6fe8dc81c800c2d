//! Support tickets, the grants that open a tenant to the platform's staff, and the sessions that
//! rest on them.

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use veritwin_domain::{
    SessionId, SupportAreas, SupportGrantId, TenantId, TicketId, Timestamp, UserId,
};

use crate::bind::{Row, opaque_debug};
use crate::query::{above, is_null, is_set};
use crate::seal::{Cell, Owner};
use crate::tx::Vault;
use crate::{Error, PlatformTx, Result, TenantTx};

const TICKETS: &str = "support_tickets";
const GRANTS: &str = "support_grants";
const SESSIONS: &str = "support_sessions";
/// Most tickets or grants that are listed.
const LISTED_MAX: u64 = 500;

/// A ticket of a customer.
#[derive(Clone, PartialEq, Eq)]
pub struct SupportTicket {
    /// Its id.
    pub id: TicketId,
    /// What it is about.
    pub subject: String,
    /// What happened.
    pub text: String,
    /// Who opened it.
    pub opened_by: UserId,
    /// When.
    pub opened_at: Timestamp,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
}

opaque_debug!(SupportTicket { id, opened_at, closed_at });

#[derive(Serialize, Deserialize)]
struct TicketBody {
    subject: String,
    text: String,
}

/// What support may see of a tenant, until when.
#[derive(Clone, PartialEq, Eq)]
pub struct SupportGrant {
    /// Its id.
    pub id: SupportGrantId,
    /// The ticket it answers; none when nobody of the customer asked.
    pub ticket: Option<TicketId>,
    /// What it opens.
    pub areas: SupportAreas,
    /// Why, in words; needed when nobody of the customer asked.
    pub reason: String,
    /// Who granted it, or of the staff who asked for it.
    pub requested_by: UserId,
    /// When.
    pub requested_at: Timestamp,
    /// The second of the staff, when nobody of the customer asked.
    pub approved_by: Option<UserId>,
    /// From when it counts.
    pub granted_at: Option<Timestamp>,
    /// Its end.
    pub expires_at: Timestamp,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
}

opaque_debug!(SupportGrant { id, ticket, granted_at, expires_at, revoked_at });

impl SupportGrant {
    /// Whether it opens anything at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        let has_begun = self.granted_at.is_some_and(|at| at <= now);
        has_begun && self.revoked_at.is_none() && now < self.expires_at
    }
}

/// A session of the staff inside a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupportSession {
    /// Its id.
    pub id: SessionId,
    /// The customer's tenant.
    pub tenant: TenantId,
    /// The grant it rests on.
    pub grant: SupportGrantId,
    /// Of the staff, who.
    pub user: UserId,
    /// Their own session.
    pub staff_session: SessionId,
    /// When it began.
    pub created_at: Timestamp,
}

fn ticket(row: &Row, vault: &Vault<'_>) -> Result<SupportTicket> {
    let id: TicketId = row.get("id")?;
    let TicketBody { subject, text } = vault.open_json(row, "body", id.as_bytes())?;
    Ok(SupportTicket {
        id,
        subject,
        text,
        opened_by: row.get("opened_by")?,
        opened_at: row.get("opened_at")?,
        closed_at: row.maybe("closed_at")?,
    })
}

fn grant(row: &Row, vault: &Vault<'_>) -> Result<SupportGrant> {
    let id: SupportGrantId = row.get("id")?;
    let areas: u64 = row.get("areas")?;
    Ok(SupportGrant {
        id,
        ticket: row.maybe("ticket_id")?,
        areas: SupportAreas::from_bits(u8::try_from(areas).unwrap_or(0)),
        reason: vault.open_text(row, "reason", id.as_bytes())?,
        requested_by: row.get("requested_by")?,
        requested_at: row.get("requested_at")?,
        approved_by: row.maybe("approved_by")?,
        granted_at: row.maybe("granted_at")?,
        expires_at: row.get("expires_at")?,
        revoked_at: row.maybe("revoked_at")?,
    })
}

fn session(row: &Row) -> Result<SupportSession> {
    Ok(SupportSession {
        id: row.get("id")?,
        tenant: row.get("tenant_id")?,
        grant: row.get("grant_id")?,
        user: row.get("user_id")?,
        staff_session: row.get("staff_session_id")?,
        created_at: row.get("created_at")?,
    })
}

impl TenantTx {
    /// Writes a new ticket.
    #[boxed]
    pub async fn ticket_create(&self, ticket: &SupportTicket) -> Result<()> {
        let cell = Cell { table: TICKETS, column: "body", row: ticket.id.as_bytes() };
        let body = TicketBody { subject: ticket.subject.clone(), text: ticket.text.clone() };
        let insert = self
            .insert(TICKETS)
            .set("id", ticket.id)
            .set("body", self.core.vault(Owner::Platform).seal_json(cell, &body)?)
            .set("opened_by", ticket.opened_by)
            .set("opened_at", ticket.opened_at)
            .set("closed_at", ticket.closed_at);
        self.core.insert(insert).await.map(|_| ())
    }

    /// The tenant's tickets, newest first.
    #[boxed]
    pub async fn tickets(&self) -> Result<Vec<SupportTicket>> {
        let select = self.select(TICKETS).descending("opened_at").limit(LISTED_MAX);
        let vault = self.core.vault(Owner::Platform);
        self.core.all(select).await?.iter().map(|row| ticket(row, &vault)).collect()
    }

    /// One ticket.
    #[boxed]
    pub async fn ticket(&self, id: TicketId) -> Result<SupportTicket> {
        let row = self.core.one(self.select(TICKETS).eq("id", id)).await?;
        ticket(&row, &self.core.vault(Owner::Platform))
    }

    /// Closes a ticket.
    #[boxed]
    pub async fn ticket_close(&self, id: TicketId, at: Timestamp) -> Result<()> {
        let update = self.update(TICKETS).set("closed_at", Some(at)).eq("id", id);
        if self.core.update(update.filter(is_null("closed_at"))).await? == 0 {
            self.ticket(id).await?;
            return Err(Error::Conflict { what: TICKETS, reason: "closed already" });
        }
        Ok(())
    }

    /// Removes a ticket with its grants and their sessions; for checks in a tenant of nobody.
    #[boxed]
    pub async fn ticket_delete(&self, id: TicketId) -> Result<()> {
        self.core.delete(self.delete(GRANTS).eq("ticket_id", id)).await?;
        self.delete_id(TICKETS, id).await
    }

    /// Writes a new grant.
    #[boxed]
    pub async fn support_grant_create(&self, grant: &SupportGrant) -> Result<()> {
        let cell = Cell { table: GRANTS, column: "reason", row: grant.id.as_bytes() };
        let insert = self
            .insert(GRANTS)
            .set("id", grant.id)
            .set("ticket_id", grant.ticket)
            .set("areas", u64::from(grant.areas.bits()))
            .set("reason", self.core.vault(Owner::Platform).seal(cell, grant.reason.as_bytes())?)
            .set("requested_by", grant.requested_by)
            .set("requested_at", grant.requested_at)
            .set("approved_by", grant.approved_by)
            .set("granted_at", grant.granted_at)
            .set("expires_at", grant.expires_at)
            .set("revoked_at", grant.revoked_at);
        self.core.insert(insert).await.map(|_| ())
    }

    /// The tenant's grants, newest first.
    #[boxed]
    pub async fn support_grants(&self) -> Result<Vec<SupportGrant>> {
        let select = self.select(GRANTS).descending("requested_at").limit(LISTED_MAX);
        let vault = self.core.vault(Owner::Platform);
        self.core.all(select).await?.iter().map(|row| grant(row, &vault)).collect()
    }

    /// Lets a second of the staff approve a grant that nobody of the customer asked for.
    #[boxed]
    pub async fn support_grant_approve(
        &self,
        id: SupportGrantId,
        by: UserId,
        at: Timestamp,
        expires_at: Timestamp,
    ) -> Result<()> {
        let update = self
            .update(GRANTS)
            .set("approved_by", Some(by))
            .set("granted_at", Some(at))
            .set("expires_at", expires_at)
            .eq("id", id)
            .filter(is_null("granted_at"))
            .filter(is_null("revoked_at"));
        if self.core.update(update).await? == 0 {
            return Err(Error::Conflict { what: GRANTS, reason: "approved or ended already" });
        }
        Ok(())
    }

    /// Takes a grant back and ends the sessions that rest on it.
    #[boxed]
    pub async fn support_grant_revoke(&self, id: SupportGrantId, at: Timestamp) -> Result<()> {
        let update = self.update(GRANTS).set("revoked_at", Some(at)).eq("id", id);
        if self.core.update(update.filter(is_null("revoked_at"))).await? == 0 {
            self.core.one(self.select(GRANTS).eq("id", id)).await?;
        }
        self.core.delete(self.delete(SESSIONS).eq("grant_id", id)).await.map(|_| ())
    }
}

impl PlatformTx {
    /// Whether a tenant ever opened a ticket.
    #[boxed]
    pub async fn has_tickets(&self, tenant: TenantId) -> Result<bool> {
        let select = self.select(TICKETS).eq("tenant_id", tenant).limit(1);
        Ok(self.core.maybe(select).await?.is_some())
    }

    /// One ticket, as staff sees it.
    #[boxed]
    pub async fn support_ticket(&self, tenant: TenantId, id: TicketId) -> Result<SupportTicket> {
        let select = self.select(TICKETS).eq("tenant_id", tenant).eq("id", id);
        ticket(&self.core.one(select).await?, &self.vault())
    }

    /// Grants that were given and have not ended at `now`, of every tenant, newest first.
    #[boxed]
    pub async fn support_grants_live(
        &self,
        now: Timestamp,
    ) -> Result<Vec<(TenantId, SupportGrant)>> {
        let select = self
            .select(GRANTS)
            .filter(is_set("granted_at"))
            .filter(is_null("revoked_at"))
            .filter(above("expires_at", now))
            .descending("granted_at")
            .limit(LISTED_MAX);
        self.support_grants_of(select).await
    }

    /// What staff asked for and nobody has approved yet, of every tenant.
    #[boxed]
    pub async fn support_grants_asked(
        &self,
        now: Timestamp,
    ) -> Result<Vec<(TenantId, SupportGrant)>> {
        let select = self
            .select(GRANTS)
            .filter(is_null("granted_at"))
            .filter(is_null("revoked_at"))
            .filter(above("expires_at", now))
            .descending("requested_at")
            .limit(LISTED_MAX);
        self.support_grants_of(select).await
    }

    /// The grants of one tenant that were given and have not ended at `now`, newest first. Nothing
    /// is left out: what a session may see comes from them.
    #[boxed]
    pub async fn support_grants_live_in(
        &self,
        tenant: TenantId,
        now: Timestamp,
    ) -> Result<Vec<SupportGrant>> {
        let select = self
            .select(GRANTS)
            .eq("tenant_id", tenant)
            .filter(is_set("granted_at"))
            .filter(is_null("revoked_at"))
            .filter(above("expires_at", now))
            .descending("granted_at");
        let vault = self.vault();
        self.core.all(select).await?.iter().map(|row| grant(row, &vault)).collect()
    }

    async fn support_grants_of(
        &self,
        select: crate::query::Select,
    ) -> Result<Vec<(TenantId, SupportGrant)>> {
        let vault = self.vault();
        let rows = self.core.all(select).await?;
        rows.iter().map(|row| Ok((row.get("tenant_id")?, grant(row, &vault)?))).collect()
    }

    /// A grant by its id alone.
    #[boxed]
    pub async fn support_grant(&self, id: SupportGrantId) -> Result<(TenantId, SupportGrant)> {
        let row = self.core.one(self.select(GRANTS).eq("id", id)).await?;
        Ok((row.get("tenant_id")?, grant(&row, &self.vault())?))
    }

    /// Writes a support session under its token's digest.
    #[boxed]
    pub async fn support_session_create(
        &self,
        session: &SupportSession,
        token_digest: [u8; 32],
    ) -> Result<()> {
        let insert = self
            .insert(SESSIONS)
            .set("id", session.id)
            .set("tenant_id", session.tenant)
            .set("grant_id", session.grant)
            .set("user_id", session.user)
            .set("staff_session_id", session.staff_session)
            .set("token_digest", token_digest)
            .set("created_at", session.created_at);
        self.core.insert(insert).await.map(|_| ())
    }

    /// The support session of a token.
    #[boxed]
    pub async fn support_session_by_digest(
        &self,
        token_digest: [u8; 32],
    ) -> Result<Option<SupportSession>> {
        let select = self.select(SESSIONS).eq("token_digest", token_digest);
        self.core.maybe(select).await?.map(|row| session(&row)).transpose()
    }

    /// Ends a support session.
    #[boxed]
    pub async fn support_session_delete(&self, id: SessionId) -> Result<()> {
        self.core.delete(self.delete(SESSIONS).eq("id", id)).await.map(|_| ())
    }
}
