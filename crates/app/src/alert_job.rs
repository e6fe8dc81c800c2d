//! Evaluates alert rules over the log, in order and once: the evaluator's state, the alerts it
//! raised and the mail it queued are written in one transaction, so that a replay after a crash
//! repeats nothing.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use veritwin_access::jobs;
use veritwin_alerting::{
    AlertEvent as Step, DeviceFacts, Evaluator, EvaluatorLimits, Message, Rule, SeriesId,
    Transition, TransitionKind,
};
use veritwin_domain::{AlertId, Declaration, DeviceBatch, DeviceId, RuleId, TenantId, Timestamp};
use veritwin_log::{Committed, Consumer, LogError, Record};
use veritwin_metastore::{Alert, AlertEvent, AlertEventKind, AlertSeverity, AlertState, TenantTx};

use crate::alert_place::detail;
use crate::alerts::{to_domain, to_store};
use crate::directory::TenantDevices;
use crate::live::LiveEvent;
use crate::maintenance::{MailPayload, mail_key};
use crate::rules::{all_rules, stored};
use crate::{App, Error, Result};

const SETTING: &str = "alert_state";
const CONSUMER: &str = "alerts";
/// A reading further ahead of its arrival than this is recorded but raises nothing.
const FUTURE_MAX: Duration = Duration::from_secs(300);
const TICK: Duration = Duration::from_secs(1);
/// State that changed without a transition is written this often.
const SAVE_TICKS: u32 = 10;

/// What other parts tell the job, and what it tells them.
#[derive(Debug, Default)]
pub(crate) struct AlertBoard {
    changed: Mutex<HashSet<TenantId>>,
    wake: Notify,
    saved_position: Mutex<u64>,
}

impl AlertBoard {
    /// Everything before this position has had its effect.
    pub(crate) fn saved_position(&self) -> u64 {
        *self.saved_position.lock()
    }
}

/// The stored state: the evaluator's snapshot and which alert each series has open.
#[derive(Default, Serialize, Deserialize)]
struct Stored {
    snapshot: String,
    open: Vec<(String, Option<String>, String, String)>,
}

struct TenantAlerts {
    evaluator: Evaluator,
    rules: BTreeMap<RuleId, Rule>,
    devices: Arc<TenantDevices>,
    known: HashSet<DeviceId>,
    open: HashMap<SeriesId, AlertId>,
    /// Transitions whose transaction has not succeeded yet.
    pending: Vec<Transition>,
    dirty: bool,
}

struct Job {
    app: App,
    tenants: HashMap<TenantId, TenantAlerts>,
}

impl App {
    /// Rules, devices or places of a tenant changed.
    pub(crate) fn alert_sources_changed(&self, tenant: TenantId) {
        self.0.alerts.changed.lock().insert(tenant);
        self.0.alerts.wake.notify_one();
    }

    pub(crate) async fn start_alerts(&self) -> Result<()> {
        let platform = self.job(jobs::ALERTS);
        let tx = self.0.store.read_platform(&platform).await?;
        let offset = tx.offset(CONSUMER).await?.unwrap_or(0);
        drop(tx);
        let first = self.0.log.first_position();
        let start = offset.clamp(first, self.0.log.tail_position());
        *self.0.alerts.saved_position.lock() = start;
        let mut job = Job { app: self.clone(), tenants: HashMap::new() };
        for tenant in self.all_tenants(&platform).await? {
            job.load(tenant.id).await?;
        }
        let consumer = self.0.log.consumer(start)?;
        let caught_up_at = self.0.log.tail_position();
        self.0.tasks.spawn(async move { job.run(consumer, caught_up_at).await });
        Ok(())
    }
}

impl Job {
    async fn run(mut self, mut consumer: Consumer, caught_up_at: u64) {
        let stop = self.app.0.stop.clone();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut caught_up = consumer.position() >= caught_up_at;
        if caught_up {
            self.resume();
        }
        let mut ticks = 0u32;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                next = consumer.next() => match next {
                    Ok(Some(batch)) => {
                        // A rule that was written before a reading came counts for it.
                        self.reload_changed().await;
                        self.apply(&batch);
                        if !caught_up && batch.end() >= caught_up_at {
                            caught_up = true;
                            self.resume();
                        }
                        self.settle(false).await;
                    }
                    Ok(None) => break,
                    Err(LogError::Truncated { first, .. }) => match self.app.0.log.consumer(first) {
                        Ok(fresh) => consumer = fresh,
                        Err(error) => { tracing::error!(%error, "alerts stopped"); break }
                    },
                    Err(error) => { tracing::error!(%error, "alerts stopped"); break }
                },
                () = self.app.0.alerts.wake.notified() => self.reload_changed().await,
                _ = tick.tick() => {
                    if caught_up {
                        self.tick();
                    }
                    ticks += 1;
                    let save = ticks.is_multiple_of(SAVE_TICKS);
                    if self.settle(save).await && save {
                        self.advance(consumer.position()).await;
                    }
                }
            }
        }
        if self.settle(true).await {
            self.advance(consumer.position()).await;
        }
    }

    async fn load(&mut self, tenant: TenantId) -> Result<()> {
        let context = self.app.job_in(jobs::ALERTS, tenant);
        let tx = self.app.0.store.read(&context).await?;
        let mut evaluator = Evaluator::new(EvaluatorLimits::default());
        let mut open = HashMap::new();
        if let Some(setting) = tx.setting(SETTING).await? {
            let damaged = || Error::Internal("the stored alert state is damaged".to_owned());
            let stored: Stored = serde_json::from_slice(&setting.body).map_err(|_| damaged())?;
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
        let devices = self.app.tenant_devices(&context).await?;
        let alerts = TenantAlerts {
            evaluator,
            rules: BTreeMap::new(),
            devices,
            known: HashSet::new(),
            open,
            pending: Vec::new(),
            dirty: false,
        };
        self.tenants.insert(tenant, alerts);
        self.reload(tenant).await
    }

    async fn reload_changed(&mut self) {
        let changed = std::mem::take(&mut *self.app.0.alerts.changed.lock());
        if changed.is_empty() {
            return;
        }
        for tenant in changed {
            let outcome = if self.tenants.contains_key(&tenant) {
                self.reload(tenant).await
            } else {
                self.load(tenant).await
            };
            if let Err(error) = outcome {
                tracing::warn!(%error, "alert rules were not read again; trying once more");
                self.app.0.alerts.changed.lock().insert(tenant);
            }
        }
        self.settle(true).await;
    }

    /// Puts the tenant's present rules and devices into its evaluator.
    async fn reload(&mut self, tenant: TenantId) -> Result<()> {
        let context = self.app.job_in(jobs::ALERTS, tenant);
        let tx = self.app.0.store.read(&context).await?;
        let rules: BTreeMap<RuleId, Rule> = all_rules(&tx)
            .await?
            .iter()
            .map(|row| stored(row).map(|rule| (rule.id, rule)))
            .collect::<Result<_>>()?;
        drop(tx);
        let devices = self.app.tenant_devices(&context).await?;
        let now = self.app.clock().now();
        let Some(alerts) = self.tenants.get_mut(&tenant) else { return Ok(()) };
        let refused = |error: veritwin_alerting::EvaluatorError| {
            tracing::warn!(%error, "an alert rule or device is not watched");
            Vec::new()
        };
        let present: HashSet<DeviceId> = devices.all().map(|device| device.id).collect();
        for gone in alerts.known.difference(&present) {
            alerts.pending.extend(alerts.evaluator.remove_device(*gone, now));
        }
        for device in devices.all() {
            let facts = DeviceFacts {
                device: device.id,
                device_type: device.kind.clone(),
                twin: device.twin,
                since: device.created_at,
            };
            let made = alerts.evaluator.put_device(facts, now).unwrap_or_else(refused);
            alerts.pending.extend(made);
        }
        for gone in alerts.rules.keys().filter(|id| !rules.contains_key(id)) {
            alerts.pending.extend(alerts.evaluator.remove_rule(*gone, now));
        }
        for rule in rules.values() {
            let made = alerts.evaluator.put_rule(rule.clone(), now).unwrap_or_else(refused);
            alerts.pending.extend(made);
        }
        // A transition of a rule that is gone still needs its name.
        alerts.rules.extend(rules.clone());
        if alerts.pending.is_empty() {
            alerts.rules = rules;
        }
        alerts.devices = devices;
        alerts.known = present;
        alerts.dirty = true;
        Ok(())
    }

    fn apply(&mut self, batch: &Committed) {
        for (position, entry) in batch.iter() {
            let Some(alerts) = self.tenants.get_mut(&entry.tenant) else { continue };
            if let Record::Readings(readings) = &entry.record {
                let readings = without_future(readings);
                alerts.pending.extend(alerts.evaluator.apply(position, &readings));
                alerts.dirty = true;
            }
        }
    }

    fn tick(&mut self) {
        let now = self.app.clock().now();
        for alerts in self.tenants.values_mut() {
            alerts.pending.extend(alerts.evaluator.tick(now));
        }
    }

    fn resume(&mut self) {
        let now = self.app.clock().now();
        for alerts in self.tenants.values_mut() {
            alerts.evaluator.resume(now);
        }
    }

    /// Writes transitions, and with `save` every changed state. Answers whether all is written.
    async fn settle(&mut self, save: bool) -> bool {
        let mut all = true;
        for (tenant, alerts) in &mut self.tenants {
            if alerts.pending.is_empty() && !(save && alerts.dirty) {
                continue;
            }
            match self.app.write_alerts(*tenant, alerts).await {
                Ok(changed) => {
                    alerts.pending.clear();
                    alerts.dirty = false;
                    for alert in changed {
                        self.app.0.live.publish(*tenant, || LiveEvent::Alert(alert));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "alert state was not written; trying again");
                    all = false;
                }
            }
        }
        all
    }

    async fn advance(&self, position: u64) {
        let platform = self.app.job(jobs::ALERTS);
        let written = async {
            let tx = self.app.0.store.begin_platform(&platform).await?;
            if tx.offset(CONSUMER).await?.is_none_or(|known| known < position) {
                tx.offset_advance(CONSUMER, position).await?;
            }
            tx.commit().await
        };
        match written.await {
            Ok(()) => *self.app.0.alerts.saved_position.lock() = position,
            Err(error) => tracing::warn!(%error, "alert offset was not written"),
        }
    }
}

/// Leaves out readings that claim to be measured well after they were received: one of them
/// would make every right one after it look late.
fn without_future(batch: &DeviceBatch) -> Cow<'_, DeviceBatch> {
    let end = batch.received_at.saturating_add(FUTURE_MAX);
    if batch.readings.iter().all(|reading| reading.at <= end) {
        return Cow::Borrowed(batch);
    }
    let mut kept = batch.clone();
    kept.readings.retain(|reading| reading.at <= end);
    Cow::Owned(kept)
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
    /// Writes a tenant's transitions, mail and state in one transaction.
    async fn write_alerts(
        &self,
        tenant: TenantId,
        alerts: &mut TenantAlerts,
    ) -> Result<Vec<AlertId>> {
        let context = self.job_in(jobs::ALERTS, tenant);
        let tx = self.0.store.begin(&context).await?;
        let mut open = alerts.open.clone();
        let mut changed = Vec::new();
        for transition in &alerts.pending {
            let Some(rule) = alerts.rules.get(&transition.id.series.rule) else { continue };
            let id = match transition.kind {
                TransitionKind::Raised => {
                    Some(self.raise(&tx, tenant, alerts, &mut open, rule, transition).await?)
                }
                TransitionKind::Cleared => clear(&tx, &mut open, transition).await?,
            };
            changed.extend(id);
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
        tx.setting_put(SETTING, &body, None).await?;
        tx.commit().await?;
        alerts.open = open;
        Ok(changed)
    }

    async fn raise(
        &self,
        tx: &TenantTx,
        tenant: TenantId,
        alerts: &TenantAlerts,
        open: &mut HashMap<SeriesId, AlertId>,
        rule: &Rule,
        transition: &Transition,
    ) -> Result<AlertId> {
        let series = &transition.id.series;
        let names = self.place_names(tenant, &alerts.devices, series).await;
        let message = Message::of(transition, rule, &names.names);
        let event = raised_event(transition.at);
        let reopened = match open.get(series) {
            Some(id) => tx.alert(*id).await.ok().filter(|alert| {
                to_domain(alert.state) == veritwin_alerting::AlertState::ClearedUnacknowledged
            }),
            None => None,
        };
        let id = if let Some(mut alert) = reopened {
            alert.state = AlertState::ActiveUnacknowledged;
            alert.cleared_at = None;
            tx.alert_update(&alert, Some(alert.version)).await?;
            alert.id
        } else {
            let alert = Alert {
                id: AlertId::generate(self.clock().now(), self.rng()),
                rule: rule.id,
                device: Some(series.device),
                twin: names.twin,
                state: to_store(veritwin_alerting::AlertState::START),
                severity: severity(rule),
                raised_at: transition.at,
                cleared_at: None,
                acknowledged_at: None,
                acknowledged_by: None,
                detail: serde_json::to_vec(&detail(rule, transition, &names, &message))
                    .map_err(|error| Error::Internal(error.to_string()))?,
                version: 0,
            };
            tx.alert_create(&alert).await?;
            alert.id
        };
        tx.alert_event_add(id, &event).await?;
        open.insert(series.clone(), id);
        if !transition.late {
            let is_open = alerts
                .devices
                .get(series.device)
                .is_some_and(|device| device.declaration == Declaration::NonPersonal);
            for email in &rule.notify_emails {
                let mail = MailPayload {
                    to: email.clone(),
                    // Mail leaves the platform: values of other streams stay here.
                    subject: if is_open {
                        format!("[{}] {}", rule.severity.as_str(), message.headline())
                    } else {
                        format!("[{}] {}", rule.severity.as_str(), rule.name)
                    },
                    text: if is_open {
                        message.paragraph()
                    } else {
                        "An alert was raised. Sign in to see it.".to_owned()
                    },
                    alert: Some(id.to_string()),
                };
                let body = serde_json::to_vec(&mail).map_err(|e| Error::Internal(e.to_string()))?;
                tx.outbox_add(&mail_key(&transition.id.to_string(), email), &body).await?;
            }
        }
        Ok(id)
    }
}

fn raised_event(at: Timestamp) -> AlertEvent {
    AlertEvent { at, kind: AlertEventKind::Raised, by: None, comment: None }
}

async fn clear(
    tx: &TenantTx,
    open: &mut HashMap<SeriesId, AlertId>,
    transition: &Transition,
) -> Result<Option<AlertId>> {
    let Some(id) = open.get(&transition.id.series).copied() else { return Ok(None) };
    let mut alert = tx.alert(id).await?;
    let Ok(state) = to_domain(alert.state).apply(Step::Clear) else { return Ok(None) };
    alert.state = to_store(state);
    alert.cleared_at = Some(transition.at);
    tx.alert_update(&alert, Some(alert.version)).await?;
    let kind = AlertEventKind::Cleared;
    let comment = Some(transition.reason.as_str().to_owned()).filter(|reason| reason != "value");
    tx.alert_event_add(id, &AlertEvent { at: transition.at, kind, by: None, comment }).await?;
    if !state.is_open() {
        open.remove(&transition.id.series);
    }
    Ok(Some(id))
}
