//! Evaluates alert rules over the log, in order and once. A tenant that cannot be read or written
//! is held by itself: the others go on, it comes back on a lane of its own from where it was, and
//! the log keeps what it has not had.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use veritwin_access::jobs;
use veritwin_alerting::{DeviceFacts, Rule};
use veritwin_domain::{DeviceId, RuleId, TenantId, Timestamp};
use veritwin_log::{Committed, Consumer, LogError, Record, Unreadable};

use crate::alert_state::TenantAlerts;
use crate::directory::TenantDevices;
use crate::held::{Batch, HeldTenants, Lane, key_withdrawn, next_of};
use crate::job_board::{Job, JobWatch};
use crate::live::LiveEvent;
use crate::rule_streams::Withheld;
use crate::{App, Error, Result};

const CONSUMER: &str = "alerts";
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
    /// Every tenant that is not held, and held ones on their way back.
    tenants: HashMap<TenantId, TenantAlerts>,
    /// Everything before this position was given to the tenants that are not late.
    here: u64,
    /// Reads again what late tenants have not had.
    late: Option<Lane>,
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
        let tx = self.0.store.read_platform(&platform).await?;
        let offset = tx.offset(CONSUMER).await?.unwrap_or(0);
        drop(tx);
        let first = self.0.log.first_position();
        let start = offset.clamp(first, self.0.log.tail_position());
        *self.0.alerts.saved_position.lock() = start;
        let mut job = AlertJob {
            app: self.clone(),
            tenants: HashMap::new(),
            here: start,
            late: None,
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
        let caught_up_at = self.0.log.tail_position();
        let watch = self.watch_job(Job::Alerts);
        self.0.tasks.spawn(async move { job.run(consumer, caught_up_at, &watch).await });
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

impl AlertJob {
    async fn run(mut self, mut consumer: Consumer, caught_up_at: u64, watch: &JobWatch) {
        let stop = self.app.0.stop.clone();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        self.resume_at(caught_up_at);
        let mut ticks = 0u32;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                next = consumer.next(), if !self.is_waiting => match next {
                    Ok(Some(batch)) => {
                        // A rule that was written before a reading came counts for it.
                        self.reload_changed().await;
                        self.take(&batch, false);
                        self.here = batch.end();
                        self.resume_at(caught_up_at);
                        self.settle(false).await;
                    }
                    Ok(None) => break,
                    Err(LogError::Truncated { first, .. }) => match self.app.0.log.consumer(first) {
                        Ok(fresh) => consumer = fresh,
                        Err(error) => { tracing::error!(%error, "alerts stopped"); break }
                    },
                    Err(error) => { tracing::error!(%error, "alerts stopped"); break }
                },
                next = next_of(&mut self.late), if !self.is_waiting => self.take_late(next).await,
                () = self.app.0.alerts.wake.notified() => self.reload_changed().await,
                _ = tick.tick() => {
                    self.tick();
                    self.retry().await;
                    ticks += 1;
                    let save = ticks.is_multiple_of(SAVE_TICKS);
                    if self.settle(save).await && save && self.advance().await {
                        watch.turned();
                    }
                }
            }
        }
        self.tenants.values_mut().for_each(TenantAlerts::rest_no_more);
        if self.settle(true).await {
            self.advance().await;
        }
    }

    fn held(&self) -> &HeldTenants {
        &self.app.0.jobs.alerts_held
    }

    /// Reads a tenant in, or holds it with everything from `position` on.
    async fn take_in(&mut self, tenant: TenantId, position: u64, late: bool) {
        let (tenant, read) = self.app.clone().read_alerts(tenant).await;
        self.put_in(tenant, read, position, late).await;
    }

    async fn put_in(&mut self, tenant: TenantId, read: Read, position: u64, late: bool) {
        match read {
            Ok((mut alerts, sources)) => {
                alerts.late = late;
                self.tenants.insert(tenant, alerts);
                self.refresh(tenant, sources).await;
            }
            Err(error) => self.hold(tenant, position, &error),
        }
    }

    /// Drops what is in memory of a tenant; it is read again, and from the log, later on.
    fn hold(&mut self, tenant: TenantId, position: u64, error: &Error) {
        let known = self.tenants.remove(&tenant);
        let is_rowless = matches!(error, Error::NotFound("tenants"));
        if is_rowless || self.app.is_tenant_destroyed(tenant) {
            self.held().release(CONSUMER, tenant);
            return;
        }
        let dirty_from = known.filter(|known| known.dirty).map(|known| known.stored_to);
        let position = dirty_from.map_or(position, |from| from.min(position));
        self.held().hold(CONSUMER, tenant, position, error, self.app.clock());
    }

    async fn reload_changed(&mut self) {
        let changed = std::mem::take(&mut *self.app.0.alerts.changed.lock());
        if changed.is_empty() {
            return;
        }
        for tenant in changed {
            if self.tenants.contains_key(&tenant) {
                if let Err(error) = self.reload(tenant).await {
                    self.hold(tenant, self.here, &error);
                }
            } else if !self.held().contains(tenant) {
                self.take_in(tenant, self.here, false).await;
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
        if let Some(alerts) = self.tenants.get_mut(&tenant) {
            app.judge_present(tenant, alerts).await;
        }
    }

    /// What was deleted while nobody looked, such as just before a crash, is removed with its
    /// alerts.
    fn put_sources(&mut self, tenant: TenantId, sources: Sources) {
        let Sources { rules, devices, withheld } = sources;
        let now = self.app.clock().now();
        let place = self.held().position(tenant);
        let here = self.here;
        let Some(alerts) = self.tenants.get_mut(&tenant) else { return };
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

    /// Gives the entries to the tenants they belong to: to late ones, or to all others.
    fn take(&mut self, batch: &Committed, late: bool) {
        for (position, entry) in batch.iter() {
            let tenant = entry.tenant;
            let Some(alerts) = self.tenants.get_mut(&tenant).filter(|one| one.late == late) else {
                continue;
            };
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
    }

    async fn take_late(&mut self, next: Batch) {
        match next {
            Ok(Some(batch)) => {
                self.take(&batch, true);
                self.settle(false).await;
                self.join().await;
            }
            Ok(None) => self.late = None,
            Err(error) => {
                self.late = None;
                let error = Error::from(error);
                for tenant in self.late_tenants() {
                    self.hold(tenant, 0, &error);
                }
            }
        }
    }

    fn late_tenants(&self) -> Vec<TenantId> {
        self.tenants.iter().filter(|(_, one)| one.late).map(|(tenant, _)| *tenant).collect()
    }

    /// Reads held tenants in again whose time has come. They share one lane; who is further back
    /// than it waits for the next.
    async fn retry(&mut self) {
        for (tenant, position) in self.held().due(self.app.clock().monotonic()) {
            let is_past = self.late.as_ref().is_some_and(|lane| lane.position() > position);
            if !is_past && !self.tenants.contains_key(&tenant) {
                self.take_in(tenant, position, true).await;
            }
        }
        if self.late.is_some() {
            return;
        }
        let places = self.late_tenants().into_iter().filter_map(|one| self.held().position(one));
        if let Some(from) = places.min().filter(|from| *from < self.here) {
            match self.app.0.log.consumer(from.max(self.app.0.log.first_position())) {
                Ok(reader) => self.late = Some(Lane::start(reader, &self.app.0.tasks)),
                Err(error) => self.take_late(Err(error)).await,
            }
        }
        self.join().await;
    }

    /// Late tenants that have had everything go on with the others.
    async fn join(&mut self) {
        if self.late.as_ref().is_some_and(|lane| lane.position() < self.here) {
            return;
        }
        self.late = None;
        for tenant in self.late_tenants() {
            if !self.write(tenant).await {
                continue;
            }
            if let Some(alerts) = self.tenants.get_mut(&tenant) {
                alerts.late = false;
                if let Some(at) = self.resumed_at {
                    alerts.evaluator.resume(at);
                }
                self.held().release(CONSUMER, tenant);
            }
        }
    }

    fn tick(&mut self) {
        if self.resumed_at.is_none() {
            return;
        }
        let now = self.app.clock().now();
        for alerts in self.tenants.values_mut().filter(|one| !one.late) {
            let made = alerts.evaluator.tick(now);
            if !made.is_empty() {
                alerts.touch(self.here);
                alerts.pending.extend(made);
            }
        }
    }

    /// Once what came before the start is read, time counts again.
    fn resume_at(&mut self, caught_up_at: u64) {
        if self.resumed_at.is_some() || self.here < caught_up_at {
            return;
        }
        let now = self.app.clock().now();
        self.resumed_at = Some(now);
        for alerts in self.tenants.values_mut() {
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
        let due = self.tenants.iter().filter(|(_, alerts)| alerts.is_due(save, now));
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
        let Some(alerts) = self.tenants.get_mut(&tenant) else { return false };
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
                self.hold(tenant, self.here, &error);
                false
            }
        }
    }

    /// Notes how far everybody is, held and resting tenants included.
    async fn advance(&self) -> bool {
        // Held tenants come back to where they were; resting ones are written later.
        let resting = self.tenants.values().filter(|one| one.dirty).map(|one| one.stored_to);
        let open = self.held().lowest().into_iter().chain(resting);
        let position = open.fold(self.here, u64::min);
        let platform = self.app.job(jobs::ALERTS);
        let written = async {
            let tx = self.app.0.store.begin_platform(&platform).await?;
            if tx.offset(CONSUMER).await?.is_none_or(|known| known < position) {
                tx.offset_advance(CONSUMER, position).await?;
            }
            tx.commit().await
        };
        match written.await {
            Ok(()) => {
                let mut saved = self.app.0.alerts.saved_position.lock();
                *saved = (*saved).max(position);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "alert offset was not written");
                false
            }
        }
    }
}
