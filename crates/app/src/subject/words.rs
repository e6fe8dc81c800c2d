//! What somebody wrote themselves, in their own words: notes of incidents, comments on alerts,
//! tickets and reasons of holds; and from which kinds of browser they signed in.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use veritwin_domain::{AlertId, IncidentId, OpContext, UserId};
use veritwin_metastore::{PersonRow, Shown};

use crate::error::found;
use crate::{App, Result};

/// The ids in a column of the rows of a table.
fn ids(rows: &[PersonRow], table: &str, column: &str) -> BTreeSet<[u8; 16]> {
    let of_table = rows.iter().filter(|row| row.table == table);
    let id = |row: &PersonRow| match row.cells.get(column) {
        Some(Shown::Id(id)) => Some(*id),
        _ => None,
    };
    of_table.filter_map(id).collect()
}

impl App {
    /// What an account wrote in a tenant, of what its rows say that it did.
    pub(super) async fn words_of(
        &self,
        context: &OpContext,
        user: UserId,
        rows: &[PersonRow],
    ) -> Result<Vec<Value>> {
        let tx = self.0.store.read(context).await?;
        let mut words = Vec::new();
        for id in ids(rows, "incident_notes", "incident_id") {
            let notes = found(tx.incident_notes(IncidentId::from_bytes(id)).await)?;
            let own = notes.unwrap_or_default().into_iter().filter(|one| one.by == Some(user));
            words.extend(own.map(|one| {
                json!({"table": "incident_notes", "at": one.at.to_string(), "text": one.text})
            }));
        }
        for id in ids(rows, "alert_events", "alert_id") {
            let events = found(tx.alert_events(AlertId::from_bytes(id)).await)?;
            let own = events.unwrap_or_default().into_iter().filter(|one| one.by == Some(user));
            words.extend(own.filter(|one| one.comment.is_some()).map(|one| {
                json!({"table": "alert_events", "at": one.at.to_string(), "text": one.comment})
            }));
        }
        for one in tx.tickets().await?.into_iter().filter(|one| one.opened_by == user) {
            words.push(json!({
                "table": "support_tickets",
                "at": one.opened_at.to_string(),
                "subject": one.subject,
                "text": one.text,
            }));
        }
        for one in tx.holds().await?.into_iter().filter(|one| one.requested_by == user) {
            let at = one.requested_at.to_string();
            words.push(json!({"table": "activity_holds", "at": at, "text": one.note}));
        }
        Ok(words)
    }

    /// With what an account signed in to a tenant.
    pub(super) async fn sign_ins_of(
        &self,
        context: &OpContext,
        user: UserId,
    ) -> Result<Vec<Value>> {
        let tx = self.0.store.read_platform(&self.above(context)).await?;
        let sessions = tx.sessions_of(user).await?.into_iter();
        let here = sessions.filter(|one| one.tenant == context.tenant);
        let shown = here.map(|one| {
            json!({
                "table": "sessions",
                "at": one.created_at.to_string(),
                "browser": one.browser,
                "system": one.system,
            })
        });
        Ok(shown.collect())
    }
}
