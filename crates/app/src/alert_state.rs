//! What the alert job keeps of one tenant, and how it is stored: the evaluator's state, the alerts
//! it raised and the mail it queued in one transaction, so that a replay repeats nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use veritwin_access::jobs;
use veritwin_alerting::{
    AlertEvent as Step, Evaluator, EvaluatorLimits, Message, Pending, Reason, Rule, SeriesId,
    Transition, TransitionKind,
};
use veritwin_domain::{AlertId, DeviceId, RuleId, TenantId};
use veritwin_metastore::{Alert, AlertEvent, AlertEventKind, AlertSeverity, AlertState, TenantTx};

use crate::alert_mail::Stories;
use crate::alert_place::detail;
use crate::alerts::{LEFT_OUT, to_domain, to_store};
use crate::directory::TenantDevices;
use crate::error::found;
use crate::stream_book::is_open_now;
use crate::{App, Error, LATEST_AHEAD_MAX, Result};

pub(crate) const SETTING: &str = "alert_state";
/// A tenant whose writing took this long rests before the next time.
const WRITE_NOTED_MIN: Duration = Duration::from_millis(50);
/// It rests so many times as long as it wrote.
const RESTS_PER_WRITE: u32 = 4;

/// The stored state: the evaluator's snapshot and which alert each series has open.
#[derive(Default, Serialize, Deserialize)]
struct Stored {
    snapshot: String,
    open: Vec<(String, Option<String>, String, String)>,
}

/// One tenant in the job.
pub(crate) struct TenantAlerts {
    pub(crate) evaluator: Evaluator,
    pub(crate) rules: BTreeMap<RuleId, Rule>,
    pub(crate) devices: Arc<TenantDevices>,
    pub(crate) known: HashSet<DeviceId>,
    open: HashMap<SeriesId, AlertId>,
    /// Transitions whose transaction has not succeeded yet.
    pub(crate) pending: Pending,
    /// It had much to write, and is not written before this time: the records are for the
    /// others too. By real time, since that is what the writing took.
    rests_until: Option<Instant>,
    /// It differs from what is stored.
    pub(crate) dirty: bool,
    /// Everything before this position is in what is stored; counts while it is dirty.
    pub(crate) stored_to: u64,
    /// It is behind the others, on its way back to them.
    pub(crate) late: bool,
}

impl TenantAlerts {
    /// Something of it changes at this position of the log.
    pub(crate) const fn touch(&mut self, position: u64) {
        if !self.dirty {
            self.dirty = true;
            self.stored_to = position;
        }
    }

    /// Whether there is something to write now; states alone wait for `save`.
    pub(crate) fn is_due(&self, save: bool, now: Instant) -> bool {
        self.rests_until.is_none_or(|until| now >= until)
            && (!self.pending.is_empty() || (save && self.dirty))
    }

    /// There is no later: it is written now.
    pub(crate) const fn rest_no_more(&mut self) {
        self.rests_until = None;
    }

    /// Writing it took from `began` until `now`.
    pub(crate) fn rest(&mut self, began: Instant, now: Instant) {
        let took = now.saturating_duration_since(began);
        if took >= WRITE_NOTED_MIN {
            self.rests_until = now.checked_add(took.saturating_mul(RESTS_PER_WRITE));
        }
    }
}

fn damaged() -> Error {
    Error::Internal("the stored alert state is damaged".to_owned())
}

fn severity(rule: &Rule) -> AlertSeverity {
    match rule.severity {
        veritwin_alerting::Severity::Critical => AlertSeverity::Critical,
        veritwin_alerting::Severity::High => AlertSeverity::High,
        veritwin_alerting::Severity::Medium => AlertSeverity::Medium,
        veritwin_alerting::Severity::Low => AlertSeverity::Low,
    }
}

impl App {
    /// What is stored of a tenant, without its rules.
    pub(crate) async fn load_alerts(&self, tenant: TenantId) -> Result<TenantAlerts> {
        let context = self.job_in(jobs::ALERTS, tenant);
        let tx = self.0.store.read(&context).await?;
        // Its row may be gone, or have come after the cut of a backup: nothing is kept for it.
        tx.tenant().await?;
        let ahead_seconds_max = u32::try_from(LATEST_AHEAD_MAX.as_secs()).unwrap_or(u32::MAX);
        let limits = EvaluatorLimits { ahead_seconds_max, ..EvaluatorLimits::default() };
        let mut evaluator = Evaluator::new(limits);
        let mut open = HashMap::new();
        if let Some(body) = tx.setting_large(SETTING).await? {
            let stored: Stored = serde_json::from_slice(&body).map_err(|_| damaged())?;
            evaluator.restore(stored.snapshot.as_bytes()).map_err(|_| damaged())?;
            for (device, key, rule, alert) in stored.open {
                let key = key.and_then(|key| veritwin_domain::Key::new(&key).ok());
                if let (Ok(device), Ok(rule), Ok(alert)) =
                    (device.parse(), rule.parse(), alert.parse())
                {
                    open.insert(SeriesId { rule, device, key }, alert);
                }
            }
        }
        drop(tx);
        let devices = self.tenant_devices(&context).await?;
        // What was deleted just before a crash is known by its series alone.
        let known = evaluator.watched().map(|series| series.device).collect();
        Ok(TenantAlerts {
            evaluator,
            rules: BTreeMap::new(),
            devices,
            known,
            open,
            pending: Pending::default(),
            rests_until: None,
            dirty: false,
            stored_to: 0,
            late: false,
        })
    }

    /// Writes a tenant's transitions, mail and state in one transaction.
    pub(crate) async fn write_alerts(
        &self,
        tenant: TenantId,
        alerts: &mut TenantAlerts,
    ) -> Result<Vec<AlertId>> {
        let context = self.job_in(jobs::ALERTS, tenant);
        let tx = self.0.store.begin(&context).await?;
        let mut open = alerts.open.clone();
        let mut changed = Vec::new();
        let mut stories = Stories::default();
        for transition in alerts.pending.iter() {
            let rule = alerts.rules.get(&transition.id.series.rule);
            let id = match (transition.kind, rule) {
                (TransitionKind::Raised, Some(rule)) => {
                    let told = (&mut open, &mut stories);
                    self.raise(&tx, told, rule, transition).await?
                }
                (TransitionKind::Raised, None) => None,
                (TransitionKind::Cleared, _) => {
                    let id = clear(&tx, &mut open, transition).await?;
                    if let Some(id) = id {
                        stories.cleared(transition, id);
                    }
                    id
                }
            };
            changed.extend(id);
        }
        // What came while a customer's key was away is history: nobody is mailed about it.
        if !(alerts.late && self.0.keys.is_held(tenant)) {
            self.queue_stories(&tx, stories).await?;
        }
        let snapshot = alerts
            .evaluator
            .snapshot()
            .map_err(|error| Error::Internal(format!("alert state: {error}")))?;
        let stored = Stored {
            snapshot: String::from_utf8(snapshot)
                .map_err(|_| Error::Internal("alert state is not text".to_owned()))?,
            open: open
                .iter()
                .map(|(series, alert)| {
                    let key = series.key.as_ref().map(ToString::to_string);
                    (series.device.to_string(), key, series.rule.to_string(), alert.to_string())
                })
                .collect(),
        };
        let body = serde_json::to_vec(&stored).map_err(|e| Error::Internal(e.to_string()))?;
        tx.setting_put_large(SETTING, &body).await?;
        tx.commit().await?;
        alerts.open = open;
        alerts.pending.clear();
        alerts.dirty = false;
        Ok(changed)
    }

    /// Raises an alert where its device stands as of this transaction; none for a device that is
    /// gone.
    async fn raise(
        &self,
        tx: &TenantTx,
        (open, stories): (&mut HashMap<SeriesId, AlertId>, &mut Stories),
        rule: &Rule,
        transition: &Transition,
    ) -> Result<Option<AlertId>> {
        let series = &transition.id.series;
        let Some(device) = found(tx.device(series.device).await)? else { return Ok(None) };
        let names = self.place_names(tx, &device, series).await;
        let message = Message::of(transition, rule, &names.names);
        let event = raised_event(transition);
        let reopened = match open.get(series) {
            Some(id) => tx.alert(*id).await.ok().filter(|alert| {
                to_domain(alert.state) == veritwin_alerting::AlertState::ClearedUnacknowledged
            }),
            None => None,
        };
        let detail = serde_json::to_vec(&detail(rule, transition, &names, &message))
            .map_err(|error| Error::Internal(error.to_string()))?;
        let id = if let Some(mut alert) = reopened {
            // What it says is of this time; its events still tell of the first.
            alert.twin = names.standing.twin;
            alert.state = AlertState::ActiveUnacknowledged;
            alert.severity = severity(rule);
            alert.raised_at = transition.at;
            alert.cleared_at = None;
            alert.detail = detail;
            tx.alert_update(&alert, Some(alert.version)).await?;
            alert.id
        } else {
            let alert = Alert {
                id: AlertId::generate(self.clock().now(), self.rng()),
                rule: rule.id,
                device: Some(series.device),
                twin: names.standing.twin,
                state: to_store(veritwin_alerting::AlertState::START),
                severity: severity(rule),
                raised_at: transition.at,
                cleared_at: None,
                acknowledged_at: None,
                acknowledged_by: None,
                detail,
                version: 0,
            };
            tx.alert_create(&alert).await?;
            alert.id
        };
        tx.alert_event_add(id, &event).await?;
        open.insert(series.clone(), id);
        // As of this transaction: mail cannot be taken back.
        let key = series.key.as_deref();
        let is_open = !rule.notify_emails.is_empty() && is_open_now(tx, &device, key).await?;
        stories.raised(transition, (id, rule), &message, is_open);
        Ok(Some(id))
    }
}

fn raised_event(transition: &Transition) -> AlertEvent {
    let comment = left_out(transition);
    AlertEvent { at: transition.at, kind: AlertEventKind::Raised, by: None, comment }
}

/// What the event says of transitions that it stands for.
fn left_out(transition: &Transition) -> Option<String> {
    (transition.left_out > 0).then(|| format!("{LEFT_OUT}{}", transition.left_out))
}

async fn clear(
    tx: &TenantTx,
    open: &mut HashMap<SeriesId, AlertId>,
    transition: &Transition,
) -> Result<Option<AlertId>> {
    let Some(id) = open.get(&transition.id.series).copied() else { return Ok(None) };
    let Some(mut alert) = found(tx.alert(id).await)? else {
        // It went with what it was about.
        open.remove(&transition.id.series);
        return Ok(None);
    };
    let state = match to_domain(alert.state).apply(Step::Clear) {
        // It ended with its device, whose removal is still to be told.
        _ if transition.reason == Reason::DeviceRemoved => veritwin_alerting::AlertState::Cleared,
        Ok(state) => state,
        Err(_) => return Ok(None),
    };
    alert.state = to_store(state);
    alert.cleared_at = Some(alert.cleared_at.unwrap_or(transition.at));
    tx.alert_update(&alert, Some(alert.version)).await?;
    let kind = AlertEventKind::Cleared;
    let reason = Some(transition.reason.as_str().to_owned()).filter(|reason| reason != "value");
    let comment = left_out(transition).or(reason);
    tx.alert_event_add(id, &AlertEvent { at: transition.at, kind, by: None, comment }).await?;
    if !state.is_open() {
        open.remove(&transition.id.series);
    }
    Ok(Some(id))
}
