//! Alerts as people see them: list, read, acknowledge.

use std::collections::HashMap;
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use veritwin_access::{Action, Kind, Reach, Resource};
use veritwin_alerting::AlertEvent as Step;
use veritwin_domain::{ActorKind, AlertId, DeviceId, Key, OpContext, UserId};
use veritwin_metastore::{
    Alert, AlertEvent, AlertEventKind, AlertSeverity, AlertState, TenantTx, every_row,
};

use crate::access::place_of;
use crate::directory::TenantDevices;
use crate::live::LiveEvent;
use crate::model::{
    AlertCount, AlertEventView, AlertFilter, AlertOrder, AlertPage, AlertQuery, AlertView, Page,
    PageRequest, Placement,
};
use crate::records::store_page;
use crate::sight::Sight;
use crate::{App, Error, Result};

const COMMENT_CHARS_MAX: usize = 1000;
const BULK_MAX: usize = 500;
/// How the note of an event begins that stands for others.
pub(crate) const LEFT_OUT: &str = "left_out ";

/// What an alert keeps of the moment it was raised, so that a later rename changes nothing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Detail {
    pub(crate) rule_name: String,
    pub(crate) device_name: String,
    pub(crate) key: Option<String>,
    pub(crate) unit: Option<String>,
    pub(crate) space_id: Option<String>,
    pub(crate) storey_id: Option<String>,
    /// What the message says, for translation; alerts of before have none.
    #[serde(default)]
    pub(crate) code: Option<String>,
    pub(crate) message: String,
    pub(crate) value: Option<f64>,
    pub(crate) threshold: Option<f64>,
    pub(crate) what_helps: String,
}

pub(crate) fn to_domain(state: AlertState) -> veritwin_alerting::AlertState {
    use veritwin_alerting::AlertState as Domain;
    match state {
        AlertState::ActiveUnacknowledged => Domain::ActiveUnacknowledged,
        AlertState::ActiveAcknowledged => Domain::ActiveAcknowledged,
        AlertState::ClearedUnacknowledged => Domain::ClearedUnacknowledged,
        AlertState::Cleared => Domain::Cleared,
    }
}

pub(crate) fn to_store(state: veritwin_alerting::AlertState) -> AlertState {
    use veritwin_alerting::AlertState as Domain;
    match state {
        Domain::ActiveUnacknowledged => AlertState::ActiveUnacknowledged,
        Domain::ActiveAcknowledged => AlertState::ActiveAcknowledged,
        Domain::ClearedUnacknowledged => AlertState::ClearedUnacknowledged,
        Domain::Cleared => AlertState::Cleared,
    }
}

const fn stored_filter(filter: AlertFilter) -> veritwin_metastore::AlertFilter {
    use veritwin_metastore::AlertFilter as Stored;
    match filter {
        AlertFilter::Attention => Stored::Attention,
        AlertFilter::Active => Stored::Active,
        AlertFilter::Unacknowledged => Stored::Unacknowledged,
        AlertFilter::Open => Stored::Open,
        AlertFilter::All => Stored::All,
    }
}

fn severities(words: &[String]) -> Result<Vec<AlertSeverity>> {
    let wrong = || Error::invalid_at("severity", "must be of critical, high, medium and low");
    words.iter().map(|word| AlertSeverity::parse(word).ok_or_else(wrong)).collect()
}

fn count(stored: veritwin_metastore::AlertCount) -> AlertCount {
    let veritwin_metastore::AlertCount { severity, state, count } = stored;
    AlertCount { severity: severity.as_str(), state: state.as_str(), count }
}

async fn people(tx: &TenantTx) -> Result<HashMap<UserId, String>> {
    let members = every_row(|page| async move { tx.members(&page).await }).await?;
    Ok(members
        .into_iter()
        .map(|member| {
            let name = member.user.name.filter(|name| !name.is_empty());
            (member.user.id, name.unwrap_or(member.user.email))
        })
        .collect())
}

/// Who reads alerts: names of people, and which devices' values may be shown.
struct Reader {
    people: HashMap<UserId, String>,
    /// Mail that has not left.
    waiting: HashMap<AlertId, Vec<AlertEventView>>,
    devices: Arc<TenantDevices>,
    sight: Sight,
}

impl Reader {
    /// Values of a stream that is personal, or that nobody declared, are for those only who may
    /// read it.
    fn conceal(&self, device: Option<DeviceId>, detail: &mut Detail) {
        let device = device.and_then(|id| self.devices.get(id));
        let key = detail.key.as_deref();
        let is_visible = device.is_some_and(|device| self.sight.shows(device, key));
        if !self.sight.sees_everything() && !is_visible {
            detail.code = None;
            detail.value = None;
            detail.key = None;
            detail.message =
                format!("{}: values of this device are not shown to you", detail.rule_name);
        }
    }
}

pub(crate) fn detail_of(alert: &Alert) -> Result<Detail> {
    serde_json::from_slice(&alert.detail)
        .map_err(|_| Error::Internal("a stored alert is damaged".to_owned()))
}

async fn view(tx: &TenantTx, alert: Alert, reader: &Reader) -> Result<AlertView> {
    let people = &reader.people;
    let mut detail = detail_of(&alert)?;
    reader.conceal(alert.device, &mut detail);
    if alert.twin.is_none() {
        // The building went, and its rooms with it.
        (detail.space_id, detail.storey_id) = (None, None);
    }
    let name_of = |user: Option<UserId>| {
        user.map(|id| people.get(&id).cloned().unwrap_or_else(|| "former member".to_owned()))
    };
    let mut events: Vec<AlertEventView> = tx
        .alert_events(alert.id)
        .await?
        .into_iter()
        .map(|event| {
            let (kind, by) = (event.kind.as_str(), name_of(event.by));
            let (mut mail, mut note, mut comment) = (None, None, None);
            match event.kind {
                AlertEventKind::Notified | AlertEventKind::NotMailed => {
                    mail = event.comment.and_then(|body| serde_json::from_str(&body).ok());
                }
                AlertEventKind::Raised | AlertEventKind::Cleared => note = event.comment,
                AlertEventKind::Acknowledged | AlertEventKind::Commented => {
                    comment = event.comment;
                }
            }
            let left_out = note.as_ref().and_then(|note| note.strip_prefix(LEFT_OUT)?.parse().ok());
            let reason = note.filter(|_| left_out.is_none());
            AlertEventView { at: event.at, kind, by, comment, reason, left_out, mail }
        })
        .collect();
    events.extend(reader.waiting.get(&alert.id).into_iter().flatten().cloned());
    Ok(AlertView {
        id: alert.id,
        rule_id: alert.rule,
        rule_name: detail.rule_name,
        severity: alert.severity.as_str(),
        state: alert.state.as_str(),
        device_id: alert.device.unwrap_or(DeviceId::from_bytes([0; 16])),
        device_name: detail.device_name.into(),
        key: detail.key.and_then(|key| Key::new(&key).ok()),
        unit: detail.unit,
        placement: Placement {
            twin_id: alert.twin,
            space_id: detail.space_id,
            element_id: None,
            position: None,
        },
        storey_id: detail.storey_id,
        code: detail.code,
        message: detail.message,
        value: detail.value,
        threshold: detail.threshold,
        raised_at: alert.raised_at,
        cleared_at: alert.cleared_at,
        acknowledged_at: alert.acknowledged_at,
        acknowledged_by: name_of(alert.acknowledged_by),
        what_helps: detail.what_helps,
        events,
    })
}

impl App {
    async fn alert_reader(
        &self,
        context: &OpContext,
        tx: &TenantTx,
        alerts: &[AlertId],
    ) -> Result<Reader> {
        Ok(Reader {
            people: people(tx).await?,
            waiting: self.waiting_mail(tx, alerts).await?,
            devices: self.tenant_devices(context).await?,
            sight: self.sight(context).await?,
        })
    }

    /// Whether the actor may follow alerts.
    pub fn authorize_alert_list(&self, context: &OpContext) -> Result<()> {
        self.reach(context, Action::AlertList, Kind::Alert).map(|_| ())
    }

    /// An alert stands where its device does.
    async fn confine_alert(&self, context: &OpContext, reach: &Reach, alert: &Alert) -> Result<()> {
        if reach.is_whole() {
            return Ok(());
        }
        let devices = self.tenant_devices(context).await?;
        let device = alert.device.and_then(|id| devices.get(id));
        if device.is_some_and(|device| reach.covers(place_of(device))) {
            return Ok(());
        }
        Err(Error::NotFound("alert"))
    }

    /// Lists alerts; with the first page how many there are.
    #[boxed]
    pub async fn list_alerts(
        &self,
        context: &OpContext,
        query: &AlertQuery,
        page: &PageRequest,
    ) -> Result<AlertPage> {
        let reach = self.reach(context, Action::AlertList, Kind::Alert)?;
        let resource = Resource::all(context.tenant, Kind::Alert);
        let among = self.devices_in(context, &reach).await?;
        let severities = severities(&query.severities)?;
        let wanted = veritwin_metastore::AlertQuery {
            filter: stored_filter(query.filter),
            severities: &severities,
            device: query.device,
            twin: query.twin,
            among: among.as_deref(),
        };
        let order = match query.order {
            AlertOrder::Newest => veritwin_metastore::AlertOrder::Newest,
            AlertOrder::Urgency => veritwin_metastore::AlertOrder::Urgency,
        };
        let tx = self.0.store.read(context).await?;
        let listed = tx.alerts_of(&wanted, order, &store_page(page)?).await?;
        let counts = match page.cursor {
            Some(_) => None,
            None => Some(tx.alert_counts(&wanted).await?.into_iter().map(count).collect()),
        };
        let ids: Vec<AlertId> = listed.items.iter().map(|alert| alert.id).collect();
        let reader = self.alert_reader(context, &tx, &ids).await?;
        let mut items = Vec::with_capacity(listed.items.len());
        for alert in listed.items {
            // One that cannot be read does not hide the others.
            if let Err(error) = detail_of(&alert) {
                tracing::error!(alert = %alert.id, %error, "an alert is left out of a list");
                continue;
            }
            items.push(view(&tx, alert, &reader).await?);
        }
        self.note(context, Action::AlertList, &resource, "done");
        let next_cursor = listed.next.map(|cursor| cursor.to_string());
        Ok(AlertPage { page: Page { items, next_cursor }, counts })
    }

    /// Reads an alert with its life so far.
    #[boxed]
    pub async fn alert(&self, context: &OpContext, id: AlertId) -> Result<AlertView> {
        let resource = Resource::alert(context.tenant, id);
        let reach = self.reach(context, Action::AlertRead, Kind::Alert)?;
        let tx = self.0.store.read(context).await?;
        let alert = tx.alert(id).await?;
        self.confine_alert(context, &reach, &alert).await?;
        let reader = self.alert_reader(context, &tx, &[id]).await?;
        let view = view(&tx, alert, &reader).await?;
        self.note(context, Action::AlertRead, &resource, "done");
        Ok(view)
    }

    /// Acknowledges an alert.
    #[boxed]
    pub async fn acknowledge_alert(
        &self,
        context: &OpContext,
        id: AlertId,
        comment: Option<String>,
    ) -> Result<AlertView> {
        let mut alerts = self.acknowledge_alerts(context, &[id], comment).await?;
        alerts.pop().ok_or(Error::NotFound("alert"))
    }

    /// Acknowledges several alerts, all of them or none.
    #[boxed]
    pub async fn acknowledge_alerts(
        &self,
        context: &OpContext,
        ids: &[AlertId],
        comment: Option<String>,
    ) -> Result<Vec<AlertView>> {
        if ids.is_empty() || ids.len() > BULK_MAX {
            return Err(Error::invalid_at("ids", format!("needs 1 to {BULK_MAX} alerts")));
        }
        let comment = comment.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        if comment.as_ref().is_some_and(|text| text.chars().count() > COMMENT_CHARS_MAX) {
            let detail = format!("at most {COMMENT_CHARS_MAX} characters");
            return Err(Error::invalid_at("comment", detail));
        }
        let by = match context.actor.kind {
            ActorKind::User { user, .. } => Some(user),
            _ => None,
        };
        let tx = self.0.store.begin(context).await?;
        for id in ids {
            let resource = Resource::alert(context.tenant, *id);
            let reach = self.reach(context, Action::AlertAcknowledge, Kind::Alert)?;
            let mut alert = tx.alert(*id).await?;
            self.confine_alert(context, &reach, &alert).await?;
            let state = to_domain(alert.state)
                .apply(Step::Acknowledge)
                .map_err(|error| Error::Conflict(error.to_string()))?;
            alert.state = to_store(state);
            alert.acknowledged_at = Some(context.at);
            alert.acknowledged_by = by;
            tx.alert_update(&alert, Some(alert.version)).await?;
            let kind = AlertEventKind::Acknowledged;
            let event = AlertEvent { at: context.at, kind, by, comment: comment.clone() };
            tx.alert_event_add(*id, &event).await?;
            self.record(&tx, context, Action::AlertAcknowledge, &resource).await?;
        }
        let reader = self.alert_reader(context, &tx, ids).await?;
        let mut views = Vec::with_capacity(ids.len());
        for id in ids {
            let alert = tx.alert(*id).await?;
            views.push(view(&tx, alert, &reader).await?);
        }
        tx.commit().await?;
        for id in ids {
            self.0.live.publish(context.tenant, || LiveEvent::Alert(*id));
        }
        Ok(views)
    }
}
