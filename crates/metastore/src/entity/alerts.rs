//! Alerts and their events. State and severity are columns, so that lists need no key; what
//! happened is sealed.

use std::collections::HashSet;

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::Expr;
use veritwin_domain::{AlertId, DeviceId, LedgerItemId, RuleId, SiteId, Timestamp, UserId};
use veritwin_keys::sha256;

use super::ledger_items::{LedgerItem, LedgerKind};
use crate::bind::{Row, opaque_debug, stored_enum};
use crate::query::{Update, is_null, is_set, one_of};
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{Error, Result, TenantTx};

pub(super) const TABLE: &str = "alerts";
const EVENTS: &str = "alert_events";

stored_enum! {
    /// Active or cleared, acknowledged or not (ISA-18.2).
    AlertState {
        /// The condition holds, nobody has seen it.
        ActiveUnacknowledged = "active_unacknowledged",
        /// The condition holds, somebody has.
        ActiveAcknowledged = "active_acknowledged",
        /// It is over, nobody has seen it.
        ClearedUnacknowledged = "cleared_unacknowledged",
        /// It is over and done.
        Cleared = "cleared",
    }
}

stored_enum! {
    /// How bad it is.
    AlertSeverity {
        /// Act now.
        Critical = "critical",
        /// Act today.
        High = "high",
        /// Act this week.
        Medium = "medium",
        /// Good to know.
        Low = "low",
    }
}

stored_enum! {
    /// What happened to an alert.
    AlertEventKind {
        /// It became active.
        Raised = "raised",
        /// Somebody acknowledged it.
        Acknowledged = "acknowledged",
        /// The condition ended.
        Cleared = "cleared",
        /// Somebody was told by mail.
        Notified = "notified",
        /// Somebody was not told by mail, for a reason.
        NotMailed = "not_mailed",
        /// Somebody wrote a comment.
        Commented = "commented",
    }
}

/// An alert.
#[derive(Clone, PartialEq, Eq)]
pub struct Alert {
    /// Its id.
    pub id: AlertId,
    /// The rule that raised it.
    pub rule: RuleId,
    /// The device it is about.
    pub device: Option<DeviceId>,
    /// The twin that device is bound to; once the alert is over, the one it was bound to.
    pub twin: Option<SiteId>,
    /// Its state.
    pub state: AlertState,
    /// How bad it is.
    pub severity: AlertSeverity,
    /// When it became active; the last time, if it did so again.
    pub raised_at: Timestamp,
    /// When the condition ended.
    pub cleared_at: Option<Timestamp>,
    /// When somebody acknowledged it.
    pub acknowledged_at: Option<Timestamp>,
    /// Who.
    pub acknowledged_by: Option<UserId>,
    /// Names, key, value, message: as JSON.
    pub detail: Vec<u8>,
    /// Counts changes.
    pub version: u64,
}

opaque_debug!(Alert { id, rule, state, severity, version });

/// Something that happened to an alert.
#[derive(Clone, PartialEq, Eq)]
pub struct AlertEvent {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: AlertEventKind,
    /// Who, if a person.
    pub by: Option<UserId>,
    /// Their words.
    pub comment: Option<String>,
}

opaque_debug!(AlertEvent { at, kind });

pub(super) fn load(row: &Row, vault: &Vault<'_>) -> Result<Alert> {
    let id: AlertId = row.get("id")?;
    Ok(Alert {
        id,
        rule: row.get("rule_id")?,
        device: row.maybe("device_id")?,
        twin: row.maybe("twin_id")?,
        state: row.get("state")?,
        severity: row.get("severity")?,
        raised_at: row.get("raised_at")?,
        cleared_at: row.maybe("cleared_at")?,
        acknowledged_at: row.maybe("acknowledged_at")?,
        acknowledged_by: row.maybe("acknowledged_by")?,
        detail: vault.open(row, "detail", id.as_bytes())?,
        version: row.get("version")?,
    })
}

fn open_states() -> impl Iterator<Item = AlertState> {
    AlertState::ALL.iter().copied().filter(|state| *state != AlertState::Cleared)
}

fn event_key(alert: AlertId, sequence: u64) -> Vec<u8> {
    [&alert.as_bytes()[..], &sequence.to_be_bytes()].concat()
}

impl TenantTx {
    fn seal_detail(&self, alert: &Alert) -> Result<Vec<u8>> {
        let cell = Cell { table: TABLE, column: "detail", row: alert.id.as_bytes() };
        self.vault().seal(cell, &alert.detail)
    }

    /// Writes a new alert.
    #[boxed]
    pub async fn alert_create(&self, alert: &Alert) -> Result<()> {
        let insert = self
            .insert(TABLE)
            .set("id", alert.id)
            .set("rule_id", alert.rule)
            .set("device_id", alert.device)
            .set("twin_id", alert.twin)
            .set("state", alert.state)
            .set("severity", alert.severity)
            .set("raised_at", alert.raised_at)
            .set("cleared_at", alert.cleared_at)
            .set("acknowledged_at", alert.acknowledged_at)
            .set("acknowledged_by", alert.acknowledged_by)
            .set("detail", self.seal_detail(alert)?)
            .set("version", 1u64);
        self.core.insert(insert).await.map(|_| ())
    }

    /// Writes a changed alert, if its version is still `expected`. Rule and device stay.
    #[boxed]
    pub async fn alert_update(&self, alert: &Alert, expected: Option<u64>) -> Result<()> {
        let update = self
            .update(TABLE)
            .set("twin_id", alert.twin)
            .set("state", alert.state)
            .set("severity", alert.severity)
            .set("raised_at", alert.raised_at)
            .set("cleared_at", alert.cleared_at)
            .set("acknowledged_at", alert.acknowledged_at)
            .set("acknowledged_by", alert.acknowledged_by)
            .set("detail", self.seal_detail(alert)?);
        self.update_version(update, *alert.id.as_bytes(), expected).await
    }

    /// Open alerts; the columns of what is over stay as they are.
    fn update_open(&self) -> Update {
        self.update(TABLE).increment("version").filter(one_of("state", open_states()))
    }

    /// The open alerts of a twin that goes stand nowhere.
    pub(super) async fn alerts_leave_twin(&self, twin: SiteId) -> Result<()> {
        let update = self.update_open().set("twin_id", Option::<SiteId>::None);
        self.core.update(update.eq("twin_id", twin)).await.map(drop)
    }

    /// The open alerts of a device that goes are over: nobody is left to be told of it.
    pub(super) async fn alerts_end_with(&self, device: DeviceId) -> Result<()> {
        let cleared = self.update_open().set("cleared_at", self.core.at).eq("device_id", device);
        self.core.update(cleared.filter(is_null("cleared_at"))).await?;
        let ended = self.update_open().set("state", AlertState::Cleared).eq("device_id", device);
        self.core.update(ended).await.map(drop)
    }

    /// Which devices have an open alert.
    #[boxed]
    pub async fn alerting_devices(&self) -> Result<HashSet<DeviceId>> {
        let select = self
            .select(TABLE)
            .filter(one_of("state", open_states()))
            .filter(is_set("device_id"))
            .only(Expr::col("device_id"), "device")
            .group_by("device_id");
        self.core.all(select).await?.iter().map(|row| row.get("device")).collect()
    }

    /// One alert.
    #[boxed]
    pub async fn alert(&self, id: AlertId) -> Result<Alert> {
        load(&self.core.one(self.select(TABLE).eq("id", id)).await?, &self.vault())
    }

    /// Deletes an alert with its events; for checks, whose alerts are nobody's.
    #[boxed]
    pub async fn alert_delete(&self, id: AlertId) -> Result<()> {
        self.delete_id(TABLE, id).await
    }

    /// Adds an event at the end of an alert's history.
    #[boxed]
    pub async fn alert_event_add(&self, alert: AlertId, event: &AlertEvent) -> Result<()> {
        // Holds the alert until the end, so that two who add at once do not take one number.
        let held = self.update(TABLE).set("id", alert).eq("id", alert);
        self.core.update_known(held, self.select(TABLE).eq("id", alert)).await?;
        let newest = self.select(EVENTS).eq("alert_id", alert).descending("sequence").limit(1);
        let sequence = match self.core.maybe(newest).await? {
            Some(row) => row.get::<u64>("sequence")? + 1,
            None => 1,
        };
        let key = event_key(alert, sequence);
        let cell = Cell { table: EVENTS, column: "comment", row: &key };
        let comment = event.comment.as_ref();
        let comment = comment.map(|text| self.vault().seal(cell, text.as_bytes())).transpose()?;
        let insert = self
            .insert(EVENTS)
            .set("alert_id", alert)
            .set("sequence", sequence)
            .set("at", event.at)
            .set("kind", event.kind)
            .set("by_user", event.by)
            .set("comment", comment);
        self.core.insert(insert).await?;
        // Who did it and their words stay here.
        let body = serde_json::json!({"event": event.kind.as_str(), "sequence": sequence});
        let mut id = [0; 16];
        id.copy_from_slice(&sha256(&key)[..16]);
        let item = LedgerItem {
            id: LedgerItemId::from_bytes(id),
            kind: LedgerKind::Alert,
            about: Some(*alert.as_bytes()),
            body: body.to_string().into_bytes(),
            created_at: event.at,
        };
        self.ledger_item_add(&item).await
    }

    /// An alert's history, oldest first.
    #[boxed]
    pub async fn alert_events(&self, alert: AlertId) -> Result<Vec<AlertEvent>> {
        self.core.one(self.select(TABLE).eq("id", alert)).await?;
        let select = self.select(EVENTS).eq("alert_id", alert).ascending("sequence");
        let vault = self.vault();
        let load = |row: &Row| {
            let key = event_key(alert, row.get("sequence")?);
            let comment = vault.maybe_open(row, "comment", &key)?;
            let comment = comment
                .map(|text| String::from_utf8(text).map_err(|_| Error::Corrupt { what: EVENTS }));
            Ok(AlertEvent {
                at: row.get("at")?,
                kind: row.get("kind")?,
                by: row.maybe("by_user")?,
                comment: comment.transpose()?,
            })
        };
        self.core.all(select).await?.iter().map(load).collect()
    }
}
