//! Security alerts and incidents: raised by the watch over access or opened by people, noted,
//! closed.

use std::collections::HashMap;

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{ActivityId, ActorKind, AlertId, IncidentId, OpContext, Timestamp, UserId};
use veritwin_metastore::{Incident, IncidentNote, TenantTx, every_row};

use crate::activity::ActorName;
use crate::change::Change;
use crate::holds::words;
use crate::model::{IncidentNoteView, IncidentView, Page, PageRequest, SecurityAlertView};
use crate::records::store_page;
use crate::{App, Error, Result};

const TITLE_CHARS_MAX: usize = 200;
const NOTE_CHARS_MAX: usize = 4000;
const SEVERITIES: [&str; 4] = ["critical", "high", "medium", "low"];

/// Names of the tenant's people.
pub(crate) async fn people(tx: &TenantTx) -> Result<HashMap<UserId, String>> {
    let members = every_row(|page| async move { tx.members(&page).await }).await?;
    let shown = |user: veritwin_metastore::User| {
        let name = user.name.filter(|name| !name.is_empty());
        (user.id, name.unwrap_or(user.email))
    };
    Ok(members.into_iter().map(|member| shown(member.user)).collect())
}

/// Puts the name of a member in the place of the account's id.
fn name_person(value: &mut String, people: &HashMap<UserId, String>) {
    let id = match ActorName::read(value) {
        Some(ActorName::User(id)) => Some(id),
        _ => value.parse().ok(),
    };
    if let Some(name) = id.and_then(|id| people.get(&id)) {
        value.clone_from(name);
    }
}

fn resource(context: &OpContext, id: IncidentId) -> Resource {
    Resource::one(context.tenant, Kind::Incident, id.as_bytes())
}

fn author(context: &OpContext) -> Option<UserId> {
    match context.actor.kind {
        ActorKind::User { user, .. } => Some(user),
        _ => None,
    }
}

fn view(incident: Incident, notes: Vec<IncidentNoteView>) -> IncidentView {
    IncidentView {
        id: incident.id,
        kind: incident.kind,
        severity: incident.severity,
        title: incident.title,
        opened_at: incident.opened_at,
        closed_at: incident.closed_at,
        notes,
    }
}

impl App {
    /// Adds a note to an incident.
    pub(crate) async fn note_incident(
        &self,
        tx: &TenantTx,
        id: IncidentId,
        (kind, by, at): (&str, Option<UserId>, Timestamp),
        text: String,
    ) -> Result<()> {
        let row = *ActivityId::generate(at, self.rng()).as_bytes();
        let note = IncidentNote { kind: kind.to_owned(), by, at, text };
        Ok(tx.incident_note_add(id, row, &note).await?)
    }

    /// The tenant's security alerts, newest first.
    #[boxed]
    pub async fn list_security_alerts(
        &self,
        context: &OpContext,
        page: &PageRequest,
    ) -> Result<Page<SecurityAlertView>> {
        let resource = self.authorize_all(context, Action::IncidentList, Kind::Incident)?;
        let tx = self.0.store.read(context).await?;
        let people = people(&tx).await?;
        let listed = tx.security_alerts(&store_page(page)?).await?;
        let mut items = Vec::with_capacity(listed.items.len());
        for alert in listed.items {
            let damaged = |_| Error::Internal("a security alert is damaged".to_owned());
            let mut facts: Vec<(String, String)> =
                serde_json::from_slice(&alert.body).map_err(damaged)?;
            for (_, value) in &mut facts {
                name_person(value, &people);
            }
            items.push(SecurityAlertView {
                id: alert.id,
                incident: alert.incident,
                kind: alert.kind,
                severity: alert.severity,
                facts,
                raised_at: alert.raised_at,
                acknowledged_at: alert.acknowledged_at,
                acknowledged_by: alert
                    .acknowledged_by
                    .map(|user| people.get(&user).cloned().unwrap_or_default()),
            });
        }
        self.note(context, Action::IncidentList, &resource, "done");
        Ok(Page { items, next_cursor: listed.next.map(|cursor| cursor.to_string()) })
    }

    /// Takes note of a security alert.
    #[boxed]
    pub async fn acknowledge_security_alert(&self, context: &OpContext, id: AlertId) -> Result<()> {
        let resource = Resource::one(context.tenant, Kind::Incident, id.as_bytes());
        self.authorize(context, Action::IncidentUpdate, &resource)?;
        let tx = self.0.store.begin(context).await?;
        tx.security_alert_acknowledge(id, author(context), context.at).await?;
        self.record(&tx, context, Action::IncidentUpdate, &resource).await?;
        Ok(tx.commit().await?)
    }

    /// The tenant's incidents, newest first.
    #[boxed]
    pub async fn list_incidents(
        &self,
        context: &OpContext,
        page: &PageRequest,
    ) -> Result<Page<IncidentView>> {
        let resource = self.authorize_all(context, Action::IncidentList, Kind::Incident)?;
        let tx = self.0.store.read(context).await?;
        let listed = tx.incidents(&store_page(page)?).await?;
        self.note(context, Action::IncidentList, &resource, "done");
        let items = listed.items.into_iter().map(|one| view(one, Vec::new())).collect();
        Ok(Page { items, next_cursor: listed.next.map(|cursor| cursor.to_string()) })
    }

    /// One incident with what happened to it.
    #[boxed]
    pub async fn incident(&self, context: &OpContext, id: IncidentId) -> Result<IncidentView> {
        let resource = resource(context, id);
        self.authorize(context, Action::IncidentRead, &resource)?;
        let tx = self.0.store.read(context).await?;
        let found = tx.incident(id).await?;
        let people = people(&tx).await?;
        let name =
            |user: UserId| people.get(&user).cloned().unwrap_or_else(|| "former member".to_owned());
        let notes = tx.incident_notes(id).await?.into_iter().map(|note| IncidentNoteView {
            kind: note.kind,
            by: note.by.map(name),
            at: note.at,
            text: note.text,
        });
        let notes = notes.collect();
        self.note(context, Action::IncidentRead, &resource, "done");
        Ok(view(found, notes))
    }

    /// Opens an incident by hand.
    #[boxed]
    pub async fn open_incident(
        &self,
        context: &OpContext,
        title: &str,
        severity: &str,
        text: &str,
    ) -> Result<IncidentView> {
        self.authorize_all(context, Action::IncidentOpen, Kind::Incident)?;
        let title = words("title", title, TITLE_CHARS_MAX)?;
        let text = words("text", text, NOTE_CHARS_MAX)?;
        if !SEVERITIES.contains(&severity) {
            let detail = format!("must be one of {}", SEVERITIES.join(", "));
            return Err(Error::invalid_at("severity", detail));
        }
        let incident = Incident {
            id: IncidentId::generate(context.at, self.rng()),
            kind: "other".to_owned(),
            severity: severity.to_owned(),
            title,
            opened_at: context.at,
            closed_at: None,
            version: 0,
        };
        let tx = self.0.store.begin(context).await?;
        tx.incident_create(&incident).await?;
        let by = author(context);
        self.note_incident(&tx, incident.id, ("opened", by, context.at), text).await?;
        let change = Change::to(json!({"title": incident.title, "severity": severity}));
        let resource = resource(context, incident.id);
        self.record_change(&tx, context, Action::IncidentOpen, &resource, change).await?;
        tx.commit().await?;
        self.incident(context, incident.id).await
    }

    /// Notes something at an incident.
    #[boxed]
    pub async fn add_incident_note(
        &self,
        context: &OpContext,
        id: IncidentId,
        text: &str,
    ) -> Result<IncidentView> {
        let resource = resource(context, id);
        self.authorize(context, Action::IncidentUpdate, &resource)?;
        let text = words("text", text, NOTE_CHARS_MAX)?;
        let tx = self.0.store.begin(context).await?;
        tx.incident(id).await?;
        self.note_incident(&tx, id, ("note", author(context), context.at), text).await?;
        self.record(&tx, context, Action::IncidentUpdate, &resource).await?;
        tx.commit().await?;
        self.incident(context, id).await
    }

    /// Closes an incident with what was concluded.
    #[boxed]
    pub async fn close_incident(
        &self,
        context: &OpContext,
        id: IncidentId,
        text: &str,
    ) -> Result<IncidentView> {
        let resource = resource(context, id);
        self.authorize(context, Action::IncidentUpdate, &resource)?;
        let text = words("text", text, NOTE_CHARS_MAX)?;
        let tx = self.0.store.begin(context).await?;
        tx.incident_close(id, context.at).await?;
        self.note_incident(&tx, id, ("closed", author(context), context.at), text).await?;
        let change = Change::from_to(json!({"state": "open"}), json!({"state": "closed"}));
        self.record_change(&tx, context, Action::IncidentUpdate, &resource, change).await?;
        tx.commit().await?;
        self.incident(context, id).await
    }
}
