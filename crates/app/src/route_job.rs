//! Takes from the log, in order and once, what routing rules want sent, and puts it into lanes in
//! the transaction that notes how far the tenant is. A place that does not answer holds nothing
//! here; a tenant that cannot be read or written is held by itself.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use parking_lot::Mutex;
use tokio::sync::Notify;
use veritwin_access::jobs;
use veritwin_domain::{RouteDestinationId, TenantId};
use veritwin_log::{Committed, Consumer, Entry, Record, Unreadable};

use crate::held::key_withdrawn;
use crate::job_board::{Job, JobWatch};
use crate::lanes::{LaneJob, Lanes, Step};
use crate::route_attributes::{RouteAttributes, StoredAttribute};
use crate::route_expression::Allowance;
use crate::route_mail::RouteMails;
use crate::route_match::{Known, LiveRule, devices_asked, matched};
use crate::route_places::{RoutePlaces, StoredDestination};
use crate::route_pressure::{LATE_ENTRIES_AT_ONCE, full};
use crate::route_queue::{RoomLeft, RouteLosses};
use crate::route_topic::TopicDoor;
use crate::{App, Error, Result};

const CONSUMER: &str = veritwin_metastore::ROUTE_CONSUMER;
/// Entries of a tenant that are looked at in one go.
const ENTRIES_AT_ONCE: usize = 10_000;
/// Tenants that are read in at once at a start.
const TENANTS_AT_ONCE: usize = 16;
const TICK: Duration = Duration::from_secs(1);
/// How far everybody is, is noted this often.
const SAVE_TICKS: u32 = 5;

/// What other parts tell the job, and what it tells them.
#[derive(Debug, Default)]
pub(crate) struct RouteBoard {
    changed: Mutex<HashSet<TenantId>>,
    wake: Notify,
    saved_position: Mutex<u64>,
    pub(crate) losses: RouteLosses,
    /// Something waits in a lane.
    pub(crate) due: Notify,
    pub(crate) places: RoutePlaces,
    pub(crate) attributes: RouteAttributes,
    pub(crate) topics: TopicDoor,
    pub(crate) mails: RouteMails,
    /// What organisations entered about where their data may go.
    pub(crate) flows: crate::transfers::FlowBoard,
}

impl RouteBoard {
    /// Everything before this position has had its effect.
    pub(crate) fn saved_position(&self) -> u64 {
        *self.saved_position.lock()
    }
}

/// A tenant that has rules.
struct TenantRoutes {
    rules: Vec<LiveRule>,
    room: RoomLeft,
    allowance: Allowance,
    late: bool,
}

struct RouteJob {
    app: App,
    /// Of the tenants that have rules.
    lanes: Lanes<TenantRoutes>,
    /// How many tenants have conditions, as it was counted last.
    conditional: usize,
}

/// What a tenant is given at once.
type Given = BTreeMap<TenantId, Vec<(u64, Arc<Entry>)>>;

impl App {
    /// Rules or places of a tenant changed.
    pub(crate) fn route_sources_changed(&self, tenant: TenantId) {
        self.0.routes.changed.lock().insert(tenant);
        self.0.routes.wake.notify_one();
        self.0.routes.due.notify_one();
    }

    pub(crate) async fn start_routes(&self) -> Result<()> {
        let platform = self.job(jobs::ROUTES);
        let mut lanes = Lanes::new(self, CONSUMER, |app| {
            (&app.0.jobs.routes_held, &app.0.routes.saved_position)
        });
        // A platform of before had no rules, so nothing that stands in its log is wanted.
        let is_known = lanes.begin(u64::MAX).await?;
        let start = lanes.here;
        let mut job = RouteJob { app: self.clone(), lanes, conditional: 1 };
        let tenants = self.all_tenants(&platform).await?.into_iter();
        let reads = tenants.map(|tenant| {
            let app = self.clone();
            async move { (tenant.id, app.load_routes(tenant.id).await) }
        });
        let mut reads = stream::iter(reads).buffer_unordered(TENANTS_AT_ONCE);
        while let Some((tenant, loaded)) = reads.next().await {
            job.put_in(tenant, loaded, start, false);
        }
        if !is_known {
            job.advance().await;
        }
        let consumer = self.0.log.consumer(start)?;
        let watch = self.watch_job(Job::Routes);
        self.0.tasks.spawn(async move { job.run(consumer, &watch).await });
        let app = self.clone();
        self.0.tasks.spawn(async move { app.keep_lanes().await });
        Ok(())
    }

    /// The rules of a tenant that hold; its places are in the egress register from then on.
    pub(crate) async fn load_routes(&self, tenant: TenantId) -> Result<Vec<LiveRule>> {
        let tx = self.0.store.read(&self.job_in(jobs::ROUTES, tenant)).await?;
        let (places, rows) = (tx.route_destinations().await?, tx.route_rules().await?);
        let groups = if rows.is_empty() { Vec::new() } else { tx.device_groups().await? };
        drop(tx);
        let mut enabled = HashSet::<RouteDestinationId>::new();
        for place in places.iter().filter(|place| place.enabled) {
            let stored = StoredDestination::read(place)?;
            if let Ok(entered) = stored.place() {
                self.enter_route_place(tenant, place.id, entered);
                enabled.insert(place.id);
            }
        }
        self.0.routes.places.keep(&self.0.egress, tenant, |id| enabled.contains(&id));
        let mut rules = Vec::new();
        for row in rows.iter().filter(|row| row.enabled) {
            rules.push(LiveRule::of(row, &enabled, &groups).await?);
        }
        Ok(rules)
    }
}

impl TenantRoutes {
    fn is_conditional(&self) -> bool {
        self.rules.iter().any(LiveRule::is_conditional)
    }
}

#[async_trait]
impl LaneJob for RouteJob {
    type Tenant = TenantRoutes;
    type Stop = Infallible;

    fn lanes(&mut self) -> &mut Lanes<TenantRoutes> {
        &mut self.lanes
    }

    fn late(routes: &mut TenantRoutes) -> &mut bool {
        &mut routes.late
    }

    async fn take(&mut self, batch: &Committed, late: bool) -> Step<Self> {
        if !late {
            // A rule that was written before a message came counts for it.
            self.reload_changed().await;
        }
        let at_once = if late { LATE_ENTRIES_AT_ONCE } else { ENTRIES_AT_ONCE };
        for (tenant, entries) in self.sort(batch, late) {
            for some in entries.chunks(at_once) {
                if !self.serve_some(tenant, some).await {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn take_in(&mut self, tenant: TenantId, position: u64, late: bool) -> Step<Self> {
        let since = self.lanes.held().of(tenant).filter(|_| late).map(|held| held.since);
        if let Some(since) = since
            && !self.app.may_go_on(tenant, since).await
        {
            self.hold(tenant, position, &full());
            return Ok(());
        }
        let loaded = self.app.load_routes(tenant).await;
        self.put_in(tenant, loaded, position, late);
        Ok(())
    }

    fn lost(&mut self, error: Error) -> Step<Self> {
        for tenant in self.late_tenants() {
            self.hold(tenant, 0, &error);
        }
        Ok(())
    }
}

impl RouteJob {
    async fn run(mut self, mut front: Consumer, watch: &JobWatch) {
        let app = self.app.clone();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut ticks = 0u32;
        loop {
            tokio::select! {
                () = app.0.stop.cancelled() => break,
                next = self.lanes.next(&mut front) => match next {
                    Ok(Some(next)) => {
                        let Ok(()) = self.serve(next).await;
                    }
                    Ok(None) => break,
                    Err(error) => { tracing::error!(%error, "routing stopped"); break }
                },
                () = app.0.routes.wake.notified() => self.reload_changed().await,
                _ = tick.tick() => {
                    let Ok(()) = self.retry().await;
                    self.conditional =
                        self.lanes.tenants.values().filter(|one| one.is_conditional()).count();
                    ticks = ticks.wrapping_add(1);
                    if ticks.is_multiple_of(SAVE_TICKS) && self.advance().await {
                        watch.turned();
                    }
                }
            }
        }
        self.advance().await;
    }

    fn put_in(&mut self, tenant: TenantId, loaded: Result<Vec<LiveRule>>, at: u64, late: bool) {
        match loaded {
            Ok(rules) if rules.is_empty() => {
                self.app.0.routes.attributes.begin(tenant, false);
                self.lanes.tenants.remove(&tenant);
                self.lanes.release(tenant);
            }
            Ok(rules) => {
                let asks = rules.iter().any(|rule| !rule.attributes.is_empty());
                self.app.0.routes.attributes.begin(tenant, asks);
                // Whoever changes rules gets no more time for them.
                let known = self.lanes.tenants.get(&tenant).map(|one| one.allowance);
                let (room, allowance) = (RoomLeft::default(), known.unwrap_or_default());
                let routes = TenantRoutes { rules, room, allowance, late };
                self.lanes.tenants.insert(tenant, routes);
            }
            Err(error) => self.hold(tenant, at, &error),
        }
    }

    /// Drops what is in memory of a tenant; it is read again, and from the log, later on.
    fn hold(&mut self, tenant: TenantId, position: u64, error: &Error) {
        self.lanes.tenants.remove(&tenant);
        self.app.0.routes.attributes.begin(tenant, false);
        if !self.lanes.hold(tenant, position, error) {
            self.app.0.routes.places.keep(&self.app.0.egress, tenant, |_| false);
        }
    }

    async fn reload_changed(&mut self) {
        let changed = std::mem::take(&mut *self.app.0.routes.changed.lock());
        for tenant in changed {
            // A held tenant is read in when its time has come.
            let late = self.lanes.tenants.get(&tenant).is_some_and(|one| one.late);
            if late || !self.lanes.held().contains(tenant) {
                // A late one has not had what is before here.
                let position = self.lanes.held().position(tenant).unwrap_or(self.lanes.here);
                let Ok(()) = self.take_in(tenant, position, late).await;
            }
        }
    }

    /// The entries that rules may want, by their tenants: of late ones, or of all others.
    fn sort(&mut self, batch: &Committed, late: bool) -> Given {
        let mut given = Given::new();
        for (position, entry) in batch.iter() {
            let tenant = entry.tenant;
            if self.lanes.tenants.get(&tenant).is_none_or(|one| one.late != late) {
                continue;
            }
            match &entry.record {
                Record::Readings(_) | Record::Relay(_) => {
                    given.entry(tenant).or_default().push((position, Arc::clone(entry)));
                }
                Record::Unreadable(Unreadable::KeyRevoked | Unreadable::KeyUnavailable) => {
                    // What came before it in this batch is read again with it.
                    let waits = given.remove(&tenant).unwrap_or_default();
                    let from = waits.first().map_or(position, |(first, _)| *first);
                    self.hold(tenant, from, &key_withdrawn());
                }
                _ => {}
            }
        }
        given
    }

    /// Serves a tenant; false if it is held from then on.
    async fn serve_some(&mut self, tenant: TenantId, entries: &[(u64, Arc<Entry>)]) -> bool {
        let from = entries.first().map_or(self.lanes.here, |(first, _)| *first);
        while let Err(error) = self.serve_one(tenant, entries).await {
            if self.app.is_database_away().await {
                tracing::warn!(%error, "routed messages were not written; trying again");
                if self.waited().await {
                    continue;
                }
                // They are read again at the next start.
            }
            self.hold(tenant, from, &error);
            return false;
        }
        true
    }

    /// Waits for a moment; false when the platform stops.
    async fn waited(&self) -> bool {
        tokio::select! {
            () = self.app.0.stop.cancelled() => false,
            () = tokio::time::sleep(TICK) => true,
        }
    }

    async fn serve_one(&mut self, tenant: TenantId, entries: &[(u64, Arc<Entry>)]) -> Result<()> {
        let app = self.app.clone();
        let Some(routes) = self.lanes.tenants.get_mut(&tenant) else { return Ok(()) };
        routes.allowance.share(self.conditional);
        let context = app.job_in(jobs::ROUTES, tenant);
        let devices = app.tenant_devices(&context).await?;
        let book = app.stream_book(&context).await?;
        let asked: Vec<&[StoredAttribute]> =
            routes.rules.iter().map(|rule| rule.attributes.as_slice()).collect();
        let of = devices_asked(&routes.rules, &devices, entries);
        let holding = app.route_holding(&context, &asked, of).await?;
        let known = Known { devices: &devices, book: &book, holding };
        let time = (app.shared_clock(), &mut routes.allowance);
        let wanted = matched(&routes.rules, &known, entries, time).await?;
        if wanted.is_empty() {
            return Ok(());
        }
        let (place, room) = ((CONSUMER, &context), &mut routes.room);
        if routes.late && app.may_wait_for_room(entries) {
            return app.queue_patiently(place, &routes.rules, wanted, room).await;
        }
        app.queue_routes(place, &routes.rules, wanted, room).await?;
        app.0.routes.due.notify_one();
        Ok(())
    }

    /// Notes how far everybody is, held tenants included.
    async fn advance(&self) -> bool {
        let written = self.lanes.advance(None).await;
        written
            .inspect_err(|error| tracing::warn!(%error, "the position of routing was not written"))
            .is_ok()
    }
}
