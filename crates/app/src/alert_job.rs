//! Evaluates alert rules over the log, in order and once. A tenant that cannot be read or written
//! is held by itself: the others go on, it comes back on a lane of its own from where it was, and
//! the log keeps what it has not had.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use veritwin_access::jobs;
use veritwin_alerting::{DeviceFacts, Rule};
use veritwin_domain::{DeviceId, RuleId, TenantId, Timestamp};
use veritwin_log::{Committed, Consumer, Record, Unreadable};

use crate::alert_state::TenantAlerts;
use crate::directory::TenantDevices;
use crate::held::key_withdrawn;
use crate::job_board::{Job, JobWatch};
use crate::lanes::{LaneJob, Lanes, Step};
use crate::live::LiveEvent;
use crate::rule_streams::Withheld;
use crate::{App, Error, Result};

/// Tenants that are read in at once at a start: the records answer several questions at a time.
const TENANTS_AT_ONCE: usize = 16;
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

struct AlertJob {
    app: App,
    lanes: Lanes<TenantAlerts>,
    /// The log ended here at the start.
    caught_up_at: u64,
    /// When the platform was back after its last stop; silence counts from there.
    resumed_at: Option<Timestamp>,
    /// The records are away: nothing is read ahead.
    is_waiting: bool,
}

impl App {
    /// Rules, devices or places of a tenant changed.
    pub(crate) fn alert_sources_changed(&self, tenant: TenantId) {
        self.0.alerts.changed.lock().insert(tenant);
        self.0.alerts.wake.notify_one();
    }

    pub(crate) async fn start_alerts(&self) -> Result<()> {
        let platform = self.job(jobs::ALERTS);
        let mut lanes = Lanes::new(self, jobs::ALERTS, |app| {
            (&app.0.jobs.alerts_held, &app.0.alerts.saved_position)
        });
        lanes.begin(0).await?;
        let start = lanes.here;
        let mut job = AlertJob {
            app: self.clone(),
            lanes,
            caught_up_at: start,
            resumed_at: None,
            is_waiting: false,
        };
        let tenants = self.all_tenants(&platform).await?.into_iter();
        let reads = tenants.map(|tenant| self.clone().read_alerts(tenant.id));
        let mut reads = stream::iter(reads).buffer_unordered(TENANTS_AT_ONCE);
        while let Some((tenant, read)) = reads.next().await {
            job.put_in(tenant, read, start, false).await;
        }
        let consumer = self.0.log.consumer(start)?;
        job.caught_up_at = self.0.log.tail_position();
        let watch = self.watch_job(Job::Alerts);
        self.0.tasks.spawn(async move { job.run(consumer, &watch).await });
        Ok(())
    }
}

/// A tenant's rules and devices as they are now.
struct Sources {
    rules: BTreeMap<RuleId, Rule>,
    devices: Arc<TenantDevices>,
    withheld: Withheld,
}

/// What is stored of a tenant, and what it is watched by.
type Read = Result<(TenantAlerts, Sources)>;

impl App {
    async fn alert_sources(&self, tenant: TenantId) -> Result<Sources> {
        let context = self.job_in(jobs::ALERTS, tenant);
        let rules = self.rules_with_sight(&context).await?;
        let devices = self.tenant_devices(&context).await?;
        let withheld = self.withheld(&context, &rules, &devices).await?;
        Ok(Sources { rules, devices, withheld })
    }

    async fn read_alerts(self, tenant: TenantId) -> (TenantId, Read) {
        let read = async {
            let alerts = self.load_alerts(tenant).await?;
            Ok((alerts, self.alert_sources(tenant).await?))
        };
        (tenant, read.await)
    }
}

#[async_trait]
impl LaneJob for AlertJob {
    type Tenant = TenantAlerts;
    type Stop = Infallible;

    fn lanes(&mut self) -> &mut Lanes<TenantAlerts> {
        &mut self.lanes
    }

    fn late(alerts: &mut TenantAlerts) -> &mut bool {
        &mut alerts.late
    }

    async fn take(&mut self, batch: &Committed, late: bool) -> Step<Self> {
        if !late {
            // A rule that was written before a reading came counts for it.
            self.reload_changed().await;
        }
        for (position, entry) in batch.iter() {
            let tenant = entry.tenant;
            let known = self.lanes.tenants.get_mut(&tenant);
            let Some(alerts) = known.filter(|one| one.late == late) else { continue };
            match &entry.record {
                Record::Readings(readings) => {
                    alerts.touch(position);
                    alerts.pending.extend(alerts.evaluator.apply(position, readings));
                }
                Record::Unreadable(Unreadable::KeyRevoked | Unreadable::KeyUnavailable) => {
                    self.hold(tenant, position, &key_withdrawn());
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn taken(&mut self) -> Step<Self> {
        self.resume();
        self.settle(false).await;
        Ok(())
    }

    async fn take_in(&mut self, tenant: TenantId, position: u64, late: bool) -> Step<Self> {
        let (tenant, read) = self.app.clone().read_alerts(tenant).await;
        self.put_in(tenant, read, position, late).await;
        Ok(())
    }

    async fn may_join(&mut self, tenant: TenantId) -> Step<Self, bool> {
        let is_written = self.write(tenant).await;
        if let (true, Some(at)) = (is_written, self.resumed_at)
            && let Some(alerts) = self.lanes.tenants.get_mut(&tenant)
        {
            alerts.evaluator.resume(at);
        }
        Ok(is_written)
    }

    fn lost(&mut self, error: Error) -> Step<Self> {
        for tenant in self.late_tenants() {
            self.hold(tenant, 0, &error);
        }
        Ok(())
    }
}

impl AlertJob {
    async fn run(mut self, mut front: Consumer, watch: &JobWatch) {
        let app = self.app.clone();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        self.resume();
        let mut ticks = 0u32;
        loop {
            tokio::select! {
                () = app.0.stop.cancelled() => break,
                next = self.lanes.next(&mut front), if !self.is_waiting => match next {
                    Ok(Some(next)) => {
                        let Ok(()) = self.serve(next).await;
                    }
                    Ok(None) => break,
                    Err(error) => { tracing::error!(%error, "alerts stopped"); break }
                },
                () = app.0.alerts.wake.notified() => self.reload_changed().await,
                _ = tick.tick() => {
                    self.tick();
                    let Ok(()) = self.retry().await;
                    ticks += 1;
                    let save = ticks.is_multiple_of(SAVE_TICKS);
                    if self.settle(save).await && save && self.advance().await {
                        watch.turned();
                    }
                }
            }
        }
        self.lanes.tenants.values_mut().for_each(TenantAlerts::rest_no_more);
        if self.settle(true).await {
            self.advance().await;
        }
    }

    async fn put_in(&mut self, tenant: TenantId, read: Read, position: u64, late: bool) {
        match read {
            Ok((mut alerts, sources)) => {
                alerts.late = late;
                self.lanes.tenants.insert(tenant, alerts);
                self.refresh(tenant, sources).await;
            }
            Err(error) => self.hold(tenant, position, &error),
        }
    }

    /// Drops what is in memory of a tenant; it is read again, and from the log, later on.
    fn hold(&mut self, tenant: TenantId, position: u64, error: &Error) {
        let known = self.lanes.tenants.remove(&tenant);
        let dirty_from = known.filter(|known| known.dirty).map(|known| known.stored_to);
        let position = dirty_from.map_or(position, |from| from.min(position));
        self.lanes.hold(tenant, position, error);
    }

    async fn reload_changed(&mut self) {
        let changed = std::mem::take(&mut *self.app.0.alerts.changed.lock());
        if changed.is_empty() {
            return;
        }
        for tenant in changed {
            if self.lanes.tenants.contains_key(&tenant) {
                if let Err(error) = self.reload(tenant).await {
                    self.hold(tenant, self.lanes.here, &error);
                }
            } else if !self.lanes.held().contains(tenant) {
                let Ok(()) = self.take_in(tenant, self.lanes.here, false).await;
            }
        }
        self.settle(true).await;
    }

    async fn reload(&mut self, tenant: TenantId) -> Result<()> {
        let sources = self.app.alert_sources(tenant).await?;
        self.refresh(tenant, sources).await;
        Ok(())
    }

    /// Puts the tenant's present rules and devices into its evaluator, and judges what stands
    /// where one begins to watch.
    async fn refresh(&mut self, tenant: TenantId, sources: Sources) {
        self.put_sources(tenant, sources);
        let app = self.app.clone();
        if let Some(alerts) = self.lanes.tenants.get_mut(&tenant) {
            app.judge_present(tenant, alerts).await;
        }
    }

    /// What was deleted while nobody looked, such as just before a crash, is removed with its
    /// alerts.
    fn put_sources(&mut self, tenant: TenantId, sources: Sources) {
        let Sources { rules, devices, withheld } = sources;
        let now = self.app.clock().now();
        let place = self.lanes.held().position(tenant);
        let here = self.lanes.here;
        let Some(alerts) = self.lanes.tenants.get_mut(&tenant) else { return };
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
                withheld: withheld.get(&device.id).cloned().unwrap_or_default(),
            };
            let made = alerts.evaluator.put_device(facts, now).unwrap_or_else(refused);
            alerts.pending.extend(made);
        }
        let watched: HashSet<RuleId> =
            alerts.evaluator.watched().map(|series| series.rule).collect();
        for gone in watched.union(&alerts.rules.keys().copied().collect()) {
            if !rules.contains_key(gone) {
                alerts.pending.extend(alerts.evaluator.remove_rule(*gone, now));
            }
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
        let from = if alerts.late { place.unwrap_or(here) } else { here };
        alerts.touch(from);
    }

    fn tick(&mut self) {
        if self.resumed_at.is_none() {
            return;
        }
        let now = self.app.clock().now();
        for alerts in self.lanes.tenants.values_mut().filter(|one| !one.late) {
            let made = alerts.evaluator.tick(now);
            if !made.is_empty() {
                alerts.touch(self.lanes.here);
                alerts.pending.extend(made);
            }
        }
    }

    /// Once what came before the start is read, time counts again.
    fn resume(&mut self) {
        if self.resumed_at.is_some() || self.lanes.here < self.caught_up_at {
            return;
        }
        let now = self.app.clock().now();
        self.resumed_at = Some(now);
        for alerts in self.lanes.tenants.values_mut() {
            alerts.evaluator.resume(now);
        }
    }

    /// Writes transitions, and with `save` every changed state. False while the records are away;
    /// a tenant that alone cannot be written is held.
    async fn settle(&mut self, save: bool) -> bool {
        if self.is_waiting {
            self.is_waiting = self.app.is_database_away().await;
        }
        let now = Instant::now();
        let due = self.lanes.tenants.iter().filter(|(_, alerts)| alerts.is_due(save, now));
        let due: Vec<TenantId> = due.map(|(tenant, _)| *tenant).collect();
        for tenant in due {
            if self.is_waiting {
                break;
            }
            self.write(tenant).await;
        }
        !self.is_waiting
    }

    /// Writes one tenant; whether that was done.
    async fn write(&mut self, tenant: TenantId) -> bool {
        let Some(alerts) = self.lanes.tenants.get_mut(&tenant) else { return false };
        let began = Instant::now();
        let written = self.app.write_alerts(tenant, alerts).await;
        alerts.rest(began, Instant::now());
        match written {
            Ok(changed) => {
                for alert in changed {
                    self.app.0.live.publish(tenant, || LiveEvent::Alert(alert));
                }
                true
            }
            Err(error) if self.app.is_database_away().await => {
                tracing::warn!(%error, "alert state was not written; trying again");
                self.is_waiting = true;
                false
            }
            Err(error) => {
                self.hold(tenant, self.lanes.here, &error);
                false
            }
        }
    }

    /// Notes how far everybody is, held and resting tenants included.
    async fn advance(&self) -> bool {
        // Held tenants come back to where they were; resting ones are written later.
        let resting = self.lanes.tenants.values().filter(|one| one.dirty).map(|one| one.stored_to);
        let written = self.lanes.advance(resting.min()).await;
        written.inspect_err(|error| tracing::warn!(%error, "alert offset was not written")).is_ok()
    }
}
