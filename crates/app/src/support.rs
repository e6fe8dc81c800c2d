//! Support, from the customer's side: tickets, and what they open to the platform's staff, until
//! when. Taking it back works at once.

use std::collections::BTreeMap;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{OpContext, SupportAreas, SupportGrantId, TicketId, Timestamp};
use veritwin_metastore::{SupportGrant, SupportTicket};

use crate::change::Change;
use crate::holds::{person, words};
use crate::model::{SupportGrantView, TicketView};
use crate::sign_in::check_recent_proof;
use crate::{App, Error, Result};

const SUBJECT_CHARS_MAX: usize = 200;
const TEXT_CHARS_MAX: usize = 4000;
/// Longest grant, in hours.
pub(crate) const GRANT_HOURS_MAX: u64 = 72;

fn ticket_resource(context: &OpContext, id: TicketId) -> Resource {
    Resource::one(context.tenant, Kind::Support, id.as_bytes())
}

fn grant_resource(context: &OpContext, id: SupportGrantId) -> Resource {
    Resource::one(context.tenant, Kind::Support, id.as_bytes())
}

pub(crate) fn area_names(areas: SupportAreas) -> Vec<&'static str> {
    areas.iter().map(veritwin_domain::SupportArea::as_str).collect()
}

pub(crate) fn grant_view(grant: &SupportGrant, now: Timestamp) -> SupportGrantView {
    let state = if grant.is_live(now) {
        "live"
    } else if grant.revoked_at.is_some() {
        "revoked"
    } else if grant.granted_at.is_none() && now < grant.expires_at {
        "asked"
    } else {
        "ended"
    };
    SupportGrantView {
        id: grant.id,
        ticket: grant.ticket,
        areas: grant.areas,
        reason: grant.reason.clone(),
        state,
        requested_at: grant.requested_at,
        expires_at: grant.expires_at,
        revoked_at: grant.revoked_at,
    }
}

/// The hours of a grant, as its length.
pub(crate) fn length(hours: u64, hours_max: u64) -> Result<Duration> {
    if hours == 0 || hours > hours_max {
        return Err(Error::invalid_at("hours", format!("needs 1 to {hours_max} hours")));
    }
    Ok(Duration::from_secs(hours * 3600))
}

pub(crate) fn check_areas(areas: SupportAreas) -> Result<()> {
    if areas.is_empty() {
        return Err(Error::invalid_at("areas", "name at least one area"));
    }
    Ok(())
}

impl App {
    /// The tenant's tickets with their grants, and the grants that nobody of the tenant asked for.
    #[boxed]
    pub async fn list_support(
        &self,
        context: &OpContext,
    ) -> Result<(Vec<TicketView>, Vec<SupportGrantView>)> {
        let resource = self.authorize_all(context, Action::SupportRead, Kind::Support)?;
        let tx = self.0.store.read(context).await?;
        let people = crate::incidents::people(&tx).await?;
        let mut by_ticket: BTreeMap<Option<TicketId>, Vec<SupportGrantView>> = BTreeMap::new();
        for grant in tx.support_grants().await? {
            by_ticket.entry(grant.ticket).or_default().push(grant_view(&grant, context.at));
        }
        let emergency = by_ticket.remove(&None).unwrap_or_default();
        let view = |ticket: SupportTicket| TicketView {
            grants: by_ticket.remove(&Some(ticket.id)).unwrap_or_default(),
            id: ticket.id,
            subject: ticket.subject,
            text: ticket.text,
            opened_by: people
                .get(&ticket.opened_by)
                .cloned()
                .unwrap_or_else(|| "former member".to_owned()),
            opened_at: ticket.opened_at,
            closed_at: ticket.closed_at,
        };
        let tickets = tx.tickets().await?.into_iter().map(view).collect();
        self.note(context, Action::SupportRead, &resource, "done");
        Ok((tickets, emergency))
    }

    /// Opens a ticket. It opens nothing else.
    #[boxed]
    pub async fn open_ticket(
        &self,
        context: &OpContext,
        subject: &str,
        text: &str,
    ) -> Result<TicketId> {
        self.authorize_all(context, Action::SupportManage, Kind::Support)?;
        let ticket = SupportTicket {
            id: TicketId::generate(context.at, self.rng()),
            subject: words("subject", subject, SUBJECT_CHARS_MAX)?,
            text: words("text", text, TEXT_CHARS_MAX)?,
            opened_by: person(context)?,
            opened_at: context.at,
            closed_at: None,
        };
        let tx = self.0.store.begin(context).await?;
        tx.ticket_create(&ticket).await?;
        let resource = ticket_resource(context, ticket.id);
        let change = Change::to(json!({"subject": ticket.subject}));
        self.record_change(&tx, context, Action::SupportManage, &resource, change).await?;
        tx.commit().await?;
        Ok(ticket.id)
    }

    /// Closes a ticket; what was granted for it ends with it.
    #[boxed]
    pub async fn close_ticket(&self, context: &OpContext, id: TicketId) -> Result<()> {
        let resource = ticket_resource(context, id);
        self.authorize(context, Action::SupportManage, &resource)?;
        let tx = self.0.store.begin(context).await?;
        tx.ticket_close(id, context.at).await?;
        for grant in tx.support_grants().await?.iter().filter(|grant| grant.ticket == Some(id)) {
            tx.support_grant_revoke(grant.id, context.at).await?;
        }
        let change = Change::from_to(json!({"state": "open"}), json!({"state": "closed"}));
        self.record_change(&tx, context, Action::SupportManage, &resource, change).await?;
        tx.commit().await?;
        self.sessions_ended([context.tenant]);
        Ok(())
    }

    /// Opens areas of the tenant to support, for reading, for some hours.
    #[boxed]
    pub async fn grant_support(
        &self,
        context: &OpContext,
        ticket: TicketId,
        areas: SupportAreas,
        hours: u64,
    ) -> Result<SupportGrantView> {
        self.authorize(context, Action::SupportManage, &ticket_resource(context, ticket))?;
        check_recent_proof(context)?;
        let tx = self.0.store.begin(context).await?;
        let known = tx.ticket(ticket).await?;
        let requested_by = person(context)?;
        if known.closed_at.is_some() {
            return Err(Error::Conflict("the ticket is closed: open a new one".to_owned()));
        }
        check_areas(areas)?;
        let grant = SupportGrant {
            id: SupportGrantId::generate(context.at, self.rng()),
            ticket: Some(ticket),
            areas,
            reason: String::new(),
            requested_by,
            requested_at: context.at,
            approved_by: None,
            granted_at: Some(context.at),
            expires_at: context.at.saturating_add(length(hours, GRANT_HOURS_MAX)?),
            revoked_at: None,
        };
        tx.support_grant_create(&grant).await?;
        let change = Change::to(json!({
            "areas": area_names(areas), "until": grant.expires_at.to_string(),
        }));
        let resource = grant_resource(context, grant.id);
        self.record_change(&tx, context, Action::SupportManage, &resource, change).await?;
        tx.commit().await?;
        Ok(grant_view(&grant, context.at))
    }

    /// Takes a grant back; the sessions that rest on it end at once.
    #[boxed]
    pub async fn revoke_support(&self, context: &OpContext, id: SupportGrantId) -> Result<()> {
        let resource = grant_resource(context, id);
        self.authorize(context, Action::SupportManage, &resource)?;
        #[cfg(feature = "test-controls")]
        if self.0.promises.is_revocation_ignored() {
            return Ok(());
        }
        let tx = self.0.store.begin(context).await?;
        tx.support_grant_revoke(id, context.at).await?;
        let change = Change::from_to(json!({"state": "live"}), json!({"state": "revoked"}));
        self.record_change(&tx, context, Action::SupportManage, &resource, change).await?;
        tx.commit().await?;
        self.sessions_ended([context.tenant]);
        Ok(())
    }
}
