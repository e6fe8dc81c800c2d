//! Security alerts and the incidents they belong to, with what people noted.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{AlertId, IncidentId, Timestamp, UserId};

use crate::bind::{Row, code, opaque_debug};
use crate::query::{above, is_null};
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{Cursor, Error, Listed, Page, Result, TenantTx};

const INCIDENTS: &str = "incidents";
const NOTES: &str = "incident_notes";
const ALERTS: &str = "security_alerts";
/// Most notes of an incident that are read.
const NOTES_MAX: u64 = 1000;

/// An incident.
#[derive(Clone, PartialEq, Eq)]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// What was found, or `other`: a word of a closed list.
    pub kind: String,
    /// `critical`, `high`, `medium` or `low`.
    pub severity: String,
    /// What it is about.
    pub title: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// Counts changes.
    pub version: u64,
}

opaque_debug!(Incident { id, kind, severity, opened_at, closed_at });

/// A note of an incident.
#[derive(Clone, PartialEq, Eq)]
pub struct IncidentNote {
    /// `opened`, `alert`, `note` or `closed`.
    pub kind: String,
    /// Who wrote it; none for the platform.
    pub by: Option<UserId>,
    /// When.
    pub at: Timestamp,
    /// What it says.
    pub text: String,
}

opaque_debug!(IncidentNote { kind, at });

/// A security alert.
#[derive(Clone, PartialEq, Eq)]
pub struct SecurityAlert {
    /// Its id.
    pub id: AlertId,
    /// The incident it belongs to.
    pub incident: IncidentId,
    /// What was found: a word of a closed list.
    pub kind: String,
    /// `critical`, `high`, `medium` or `low`.
    pub severity: String,
    /// What was seen, as JSON.
    pub body: Vec<u8>,
    /// When it was raised.
    pub raised_at: Timestamp,
    /// When somebody took note.
    pub acknowledged_at: Option<Timestamp>,
    /// Who.
    pub acknowledged_by: Option<UserId>,
}

opaque_debug!(SecurityAlert { id, kind, severity, raised_at });

fn incident(row: &Row, vault: &Vault<'_>) -> Result<Incident> {
    let id: IncidentId = row.get("id")?;
    Ok(Incident {
        id,
        kind: row.get("kind")?,
        severity: row.get("severity")?,
        title: vault.open_text(row, "title", id.as_bytes())?,
        opened_at: row.get("opened_at")?,
        closed_at: row.maybe("closed_at")?,
        version: row.get("version")?,
    })
}

fn alert(row: &Row, vault: &Vault<'_>) -> Result<SecurityAlert> {
    let id: AlertId = row.get("id")?;
    Ok(SecurityAlert {
        id,
        incident: row.get("incident_id")?,
        kind: row.get("kind")?,
        severity: row.get("severity")?,
        body: vault.open(row, "body", id.as_bytes())?,
        raised_at: row.get("raised_at")?,
        acknowledged_at: row.maybe("acknowledged_at")?,
        acknowledged_by: row.maybe("acknowledged_by")?,
    })
}

impl TenantTx {
    /// Writes a new incident.
    #[boxed]
    pub async fn incident_create(&self, incident: &Incident) -> Result<()> {
        let cell = Cell { table: INCIDENTS, column: "title", row: incident.id.as_bytes() };
        let insert = self
            .insert(INCIDENTS)
            .set("id", incident.id)
            .set("kind", code("kind", &incident.kind)?)
            .set("severity", code("severity", &incident.severity)?)
            .set("title", self.vault().seal(cell, incident.title.as_bytes())?)
            .set("opened_at", incident.opened_at)
            .set("closed_at", incident.closed_at)
            .set("version", 1u64);
        self.core.insert(insert).await.map(|_| ())
    }

    /// The tenant's incidents, newest first.
    #[boxed]
    pub async fn incidents(&self, page: &Page) -> Result<Listed<Incident>> {
        let mut select = self.select(INCIDENTS);
        if let Some(cursor) = &page.after {
            let (at, id) = cursor.time()?;
            select = select.before("opened_at", at, id);
        }
        let select = select.descending("opened_at").descending("id").limit(page.rows() + 1);
        let vault = self.vault();
        let rows = self.core.all(select).await?;
        let items = rows.iter().map(|row| incident(row, &vault)).collect::<Result<Vec<_>>>()?;
        Ok(Listed::cut(items, page, |one| Cursor::by_time(one.opened_at, one.id.as_bytes())))
    }

    /// One incident.
    #[boxed]
    pub async fn incident(&self, id: IncidentId) -> Result<Incident> {
        let row = self.core.one(self.select(INCIDENTS).eq("id", id)).await?;
        incident(&row, &self.vault())
    }

    /// The newest open incident of a kind that was opened after `since`.
    #[boxed]
    pub async fn incident_open_of(&self, kind: &str, since: Timestamp) -> Result<Option<Incident>> {
        let select = self
            .select(INCIDENTS)
            .eq("kind", code("kind", kind)?)
            .filter(is_null("closed_at"))
            .filter(above("opened_at", since))
            .descending("opened_at")
            .limit(1);
        self.core.maybe(select).await?.map(|row| incident(&row, &self.vault())).transpose()
    }

    /// Closes an incident; refused when it is closed.
    #[boxed]
    pub async fn incident_close(&self, id: IncidentId, at: Timestamp) -> Result<()> {
        let update = self
            .update(INCIDENTS)
            .set("closed_at", Some(at))
            .increment("version")
            .eq("id", id)
            .filter(is_null("closed_at"));
        if self.core.update(update).await? == 0 {
            self.incident(id).await?;
            return Err(Error::Conflict { what: INCIDENTS, reason: "closed already" });
        }
        Ok(())
    }

    /// Removes an incident with its notes and alerts; for checks in a tenant of nobody.
    #[boxed]
    pub async fn incident_delete(&self, id: IncidentId) -> Result<()> {
        self.delete_id(INCIDENTS, id).await
    }

    /// Adds a note; `row` is the note's own random id.
    #[boxed]
    pub async fn incident_note_add(
        &self,
        incident: IncidentId,
        row: [u8; 16],
        note: &IncidentNote,
    ) -> Result<()> {
        let cell = Cell { table: NOTES, column: "text", row: &row };
        let insert = self
            .insert(NOTES)
            .set("id", row)
            .set("incident_id", incident)
            .set("kind", code("kind", &note.kind)?)
            .set("by_user", note.by)
            .set("at", note.at)
            .set("text", self.vault().seal(cell, note.text.as_bytes())?);
        self.core.insert(insert).await.map(|_| ())
    }

    /// An incident's notes, oldest first.
    #[boxed]
    pub async fn incident_notes(&self, incident: IncidentId) -> Result<Vec<IncidentNote>> {
        let select = self.select(NOTES).eq("incident_id", incident);
        let select = select.ascending("at").ascending("id").limit(NOTES_MAX);
        let vault = self.vault();
        let load = |row: &Row| {
            let id: [u8; 16] = row.get("id")?;
            Ok(IncidentNote {
                kind: row.get("kind")?,
                by: row.maybe("by_user")?,
                at: row.get("at")?,
                text: vault.open_text(row, "text", &id)?,
            })
        };
        self.core.all(select).await?.iter().map(load).collect()
    }

    /// Writes a new security alert.
    #[boxed]
    pub async fn security_alert_create(&self, alert: &SecurityAlert) -> Result<()> {
        let cell = Cell { table: ALERTS, column: "body", row: alert.id.as_bytes() };
        let insert = self
            .insert(ALERTS)
            .set("id", alert.id)
            .set("incident_id", alert.incident)
            .set("kind", code("kind", &alert.kind)?)
            .set("severity", code("severity", &alert.severity)?)
            .set("body", self.vault().seal(cell, &alert.body)?)
            .set("raised_at", alert.raised_at)
            .set("acknowledged_at", alert.acknowledged_at)
            .set("acknowledged_by", alert.acknowledged_by);
        self.core.insert(insert).await.map(|_| ())
    }

    /// The tenant's security alerts, newest first.
    #[boxed]
    pub async fn security_alerts(&self, page: &Page) -> Result<Listed<SecurityAlert>> {
        let mut select = self.select(ALERTS);
        if let Some(cursor) = &page.after {
            let (at, id) = cursor.time()?;
            select = select.before("raised_at", at, id);
        }
        let select = select.descending("raised_at").descending("id").limit(page.rows() + 1);
        let vault = self.vault();
        let rows = self.core.all(select).await?;
        let items = rows.iter().map(|row| alert(row, &vault)).collect::<Result<Vec<_>>>()?;
        Ok(Listed::cut(items, page, |one| Cursor::by_time(one.raised_at, one.id.as_bytes())))
    }

    /// Notes who took note of an alert; the first one counts.
    #[boxed]
    pub async fn security_alert_acknowledge(
        &self,
        id: AlertId,
        by: Option<UserId>,
        at: Timestamp,
    ) -> Result<()> {
        let row = self.core.one(self.select(ALERTS).eq("id", id)).await?;
        if row.maybe::<Timestamp>("acknowledged_at")?.is_some() {
            return Ok(());
        }
        let update = self
            .update(ALERTS)
            .set("acknowledged_at", Some(at))
            .set("acknowledged_by", by)
            .eq("id", id);
        self.core.update(update).await.map(|_| ())
    }
}
