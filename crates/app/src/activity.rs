//! The activity record: who did what to what, from where, with what outcome. Changes are written
//! with their effect; reads and refusals wait in a bounded queue of their tenant and are written
//! soon. What a queue cannot take leaves a record of the gap; nothing is dropped in silence.

mod actor;
mod queue;

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use veritwin_access::{Action, Resource};
use veritwin_domain::{
    ActivityId, ActorKind, DeviceId, OpContext, Origin, PlatformContext, RequestId, SessionId,
    SignIn, TenantId, Timestamp, UserId,
};
use veritwin_metastore::{Activity, Error as StoreError, PlatformTx, TenantTx};

use crate::change::Change;
use crate::provision::PLATFORM_TENANT;
use crate::redact::redacted;
use crate::{App, Result};
pub(crate) use actor::{ActorName, actor_text};
use queue::{Gap, Queue, Seen, Slot};

/// Most reads of one tenant that are remembered so as to count their repetitions.
const SEEN_MAX: usize = 1024;
/// A read that repeats within this time is counted, and written once more with the count.
const REPEAT_MICROS: i64 = 60_000_000;
/// Records of one write.
const WRITTEN_AT_ONCE: usize = 1024;

/// The action of a record that says how many others are missing.
pub(crate) const GAP: &str = "records.gap";
/// The action of a record of a request for something that is not there, or not the caller's.
pub(crate) const MISSING: &str = "api.missing";
/// The action of a record that somebody watched what a device sends, as it came.
const WATCH: &str = "device.watch";

/// What is readable to who answers for security.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Envelope {
    pub(crate) actor: String,
    pub(crate) action: String,
    pub(crate) outcome: String,
    pub(crate) request: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) browser: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) system: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) country: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) city: Option<String>,
    /// The tenant above from which it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) acts_from: Option<String>,
    /// How often it was repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) times: Option<u64>,
}

/// What may hold customer content.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Details {
    pub(crate) resource: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<serde_json::Value>,
}

/// The parts of a record.
struct Written<'a> {
    actor: &'a ActorKind,
    acts_from: Option<TenantId>,
    origin: &'a Origin,
    request: RequestId,
    at: Timestamp,
    action: &'a str,
    resource: String,
    outcome: &'a str,
    change: Change,
}

impl<'a> Written<'a> {
    fn new(context: &'a OpContext, action: &'a str, resource: String, outcome: &'a str) -> Self {
        Self {
            actor: &context.actor.kind,
            acts_from: None,
            origin: &context.origin,
            request: context.request,
            at: context.at,
            action,
            resource,
            outcome,
            change: Change::default(),
        }
    }
}

/// Records that wait to be written, tenant by tenant: one that does very much cannot push out
/// another's. There are as many queues as tenants that did something lately.
#[derive(Debug, Default)]
pub(crate) struct ActivityWriter {
    queues: Mutex<HashMap<TenantId, Queue>>,
    wake: Notify,
    /// One write at a time, so that who asks for the records afterwards sees all of them.
    writing: tokio::sync::Mutex<()>,
}

/// The id by which an actor's records are found: of support, the grant's.
pub(crate) fn actor_id(kind: &ActorKind) -> Option<[u8; 16]> {
    match kind {
        ActorKind::User { user, .. } => Some(*user.as_bytes()),
        ActorKind::Support { grant, .. } => Some(*grant.as_bytes()),
        ActorKind::ApiKey(key) => Some(*key.as_bytes()),
        ActorKind::Device { device, .. } => Some(*device.as_bytes()),
        ActorKind::Job(_) | ActorKind::LocalOperator | ActorKind::Anonymous => None,
    }
}

fn session_of(kind: &ActorKind) -> Option<SessionId> {
    match kind {
        ActorKind::User { session, .. } | ActorKind::Support { session, .. } => Some(*session),
        _ => None,
    }
}

pub(crate) fn resource_text(resource: &Resource) -> String {
    match resource {
        Resource::Platform => "platform".to_owned(),
        Resource::Owned { kind, id: None, .. } => kind.as_str().to_lowercase(),
        Resource::Owned { kind, id: Some(id), .. } => {
            format!("{}:{}", kind.as_str().to_lowercase(), RequestId::from_bytes(*id))
        }
    }
}

impl App {
    fn envelope(&self, written: &Written<'_>) -> Envelope {
        let origin = written.origin;
        let place = origin.address.and_then(|address| self.0.geo.place(address));
        let (country, city) = place.map(|place| (place.country, place.city)).unwrap_or_default();
        #[cfg(feature = "test-controls")]
        let city = if self.0.promises.keeps_coordinates() {
            let finer = origin.address.and_then(|address| self.0.geo.coordinates(address));
            city.map(|city| format!("{city} {}", finer.unwrap_or_default()))
        } else {
            city
        };
        Envelope {
            actor: actor_text(written.actor),
            action: written.action.to_owned(),
            outcome: written.outcome.to_owned(),
            request: written.request.to_string(),
            address: origin.address.map(|address| address.to_string()),
            browser: origin.browser.map(str::to_owned),
            system: origin.system.as_deref().map(str::to_owned),
            session: session_of(written.actor).map(|session| session.to_string()),
            country,
            city,
            acts_from: written.acts_from.map(|tenant| tenant.to_string()),
            times: None,
        }
    }

    fn activity(&self, written: Written<'_>) -> (Activity, Envelope) {
        let envelope = self.envelope(&written);
        let details = Details {
            resource: written.resource,
            before: written.change.before.map(redacted),
            after: written.change.after.map(redacted),
        };
        let record = Activity {
            id: ActivityId::generate(written.at, self.rng()),
            at: written.at,
            actor: actor_id(written.actor),
            action: written.action.to_owned(),
            outcome: written.outcome.to_owned(),
            envelope: serde_json::to_vec(&envelope).unwrap_or_default(),
            details: serde_json::to_vec(&details).ok(),
        };
        (record, envelope)
    }

    /// Writes a record in the transaction of what was done.
    pub(crate) async fn record(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        action: Action,
        resource: &Resource,
    ) -> Result<()> {
        self.record_change(tx, context, action, resource, Change::default()).await
    }

    /// Writes a record of a change of configuration, with what was before and what is now.
    /// Secrets are taken out.
    pub(crate) async fn record_change(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        action: Action,
        resource: &Resource,
        change: Change,
    ) -> Result<()> {
        let written = Written::new(context, action.as_str(), resource_text(resource), "done");
        let (record, _) = self.activity(Written { change, ..written });
        Ok(tx.activity_add(&record).await?)
    }

    /// Writes a record of something done on the platform, in a tenant's record or, of no tenant,
    /// in that of the platform's own, where its administrators read it.
    pub(crate) async fn record_platform(
        &self,
        tx: &PlatformTx,
        context: &PlatformContext,
        action: Action,
        tenant: Option<TenantId>,
        outcome: &str,
    ) -> Result<()> {
        let as_actor = &context.actor.kind;
        let done = (outcome, Change::default());
        self.record_as(tx, context, (as_actor, action), tenant, done).await
    }

    /// The same of a change of configuration.
    pub(crate) async fn record_platform_change(
        &self,
        tx: &PlatformTx,
        context: &PlatformContext,
        tenant: Option<TenantId>,
        (action, outcome, change): (Action, &str, Change),
    ) -> Result<()> {
        let as_actor = &context.actor.kind;
        self.record_as(tx, context, (as_actor, action), tenant, (outcome, change)).await
    }

    /// Writes a record of a sign-in, as the person's own.
    pub(crate) async fn record_sign_in(
        &self,
        tx: &PlatformTx,
        context: &PlatformContext,
        tenant: TenantId,
        ((user, session), how): ((UserId, SessionId), &str),
    ) -> Result<()> {
        let sign_in = SignIn::proved(context.at);
        let actor = ActorKind::User { user, session, sign_in };
        let change = Change::to(serde_json::json!({"method": how}));
        let done = (&actor, Action::SessionCreate);
        self.record_as(tx, context, done, Some(tenant), ("done", change)).await
    }

    async fn record_as(
        &self,
        tx: &PlatformTx,
        context: &PlatformContext,
        (actor, action): (&ActorKind, Action),
        tenant: Option<TenantId>,
        (outcome, change): (&str, Change),
    ) -> Result<()> {
        // One who comes from elsewhere, such as a member of another tenant who switches, does not
        // act from there: nobody learns of it here.
        let is_above = |from: &TenantId| {
            tenant.is_none_or(|tenant| self.0.tree.read().stands_above(*from, tenant))
        };
        let (record, _) = self.activity(Written {
            actor,
            acts_from: context.acts_from.filter(is_above),
            origin: &context.origin,
            request: context.request,
            at: context.at,
            action: action.as_str(),
            resource: resource_text(&Resource::Platform),
            outcome,
            change,
        });
        Ok(tx.activity_add(&record, tenant.or(Some(PLATFORM_TENANT))).await?)
    }

    /// Gathers a read or a refusal.
    pub(crate) fn note(
        &self,
        context: &OpContext,
        action: Action,
        resource: &Resource,
        outcome: &'static str,
    ) {
        if action == Action::TelemetryRead {
            self.count_query(context.tenant);
        }
        self.gather(context, action.as_str(), resource_text(resource), outcome);
    }

    /// Leaves a record that somebody watches what a device sends, as it comes.
    pub(crate) fn note_watch(&self, context: &OpContext, id: DeviceId) {
        let resource = Resource::device(context.tenant, id);
        self.gather(context, WATCH, resource_text(&resource), "done");
    }

    /// Leaves a record of a request for something that is not there. Whether it is somebody
    /// else's is told neither to the caller nor in the record.
    pub fn note_missing(&self, context: &OpContext, method: &str, path: &str) {
        self.gather(context, MISSING, format!("{method} {path}"), "not_found");
    }

    fn gather(
        &self,
        context: &OpContext,
        action: &'static str,
        resource: String,
        outcome: &'static str,
    ) {
        // The platform's own jobs read all the time; what they change is recorded with it.
        if matches!(context.actor.kind, ActorKind::Job(_)) {
            return;
        }
        // Of support every single step counts.
        let is_counted = !matches!(context.actor.kind, ActorKind::Support { .. });
        let slot = Slot {
            actor: actor_text(&context.actor.kind),
            action,
            resource: resource.clone(),
            outcome,
            origin: context.origin.clone(),
        };
        let writer = &self.0.activity;
        let at = context.at;
        let is_recent = |seen: &Seen| at.as_micros() - seen.since.as_micros() < REPEAT_MICROS;
        if is_counted {
            let mut queues = writer.queues.lock();
            let queue = queues.entry(context.tenant).or_default();
            if let Some(seen) = queue.seen.get_mut(&slot)
                && is_recent(seen)
            {
                seen.repeats += 1;
                seen.last = at;
                return;
            }
        }
        let written = Written::new(context, action, resource, outcome);
        let (record, envelope) = self.activity(written);
        let mut queues = writer.queues.lock();
        let queue = queues.entry(context.tenant).or_default();
        let over = queue.seen.remove(&slot).and_then(|seen| self.repetitions(seen));
        let mut is_long = over.is_some_and(|over| queue.push(over));
        if is_counted && queue.seen.len() < SEEN_MAX {
            let record = record.clone();
            queue.seen.insert(slot, Seen { since: at, last: at, repeats: 0, record, envelope });
        }
        is_long |= queue.push(record);
        drop(queues);
        if is_long {
            writer.wake.notify_one();
        }
    }

    /// One record for all the repetitions of a read.
    fn repetitions(&self, seen: Seen) -> Option<Activity> {
        if seen.repeats == 0 {
            return None;
        }
        let envelope = Envelope { times: Some(seen.repeats), ..seen.envelope };
        Some(Activity {
            id: ActivityId::generate(seen.last, self.rng()),
            at: seen.last,
            envelope: serde_json::to_vec(&envelope).unwrap_or_default(),
            ..seen.record
        })
    }

    /// A record that says how many others are missing.
    fn gap_record(&self, gap: Gap) -> Activity {
        let at = gap.to;
        let envelope = Envelope {
            actor: "platform".to_owned(),
            action: GAP.to_owned(),
            outcome: "failed".to_owned(),
            request: RequestId::generate(at, self.rng()).to_string(),
            times: Some(gap.count),
            ..Envelope::default()
        };
        let resource = format!("{} records from {} to {}", gap.count, gap.from, gap.to);
        let details = Details { resource, ..Details::default() };
        Activity {
            id: ActivityId::generate(at, self.rng()),
            at,
            actor: None,
            action: GAP.to_owned(),
            outcome: "failed".to_owned(),
            envelope: serde_json::to_vec(&envelope).unwrap_or_default(),
            details: serde_json::to_vec(&details).ok(),
        }
    }

    /// Takes everything that waits, and the repetitions whose time is over.
    fn take_waiting(&self, is_last: bool) -> Vec<(TenantId, Activity)> {
        let now = self.clock().now().as_micros();
        let mut taken = Vec::new();
        let mut queues = self.0.activity.queues.lock();
        queues.retain(|tenant, queue| {
            let is_over = |seen: &Seen| is_last || now - seen.since.as_micros() >= REPEAT_MICROS;
            let over: Vec<Seen> =
                queue.seen.extract_if(|_, seen| is_over(seen)).map(|(_, seen)| seen).collect();
            taken.extend(queue.waiting.drain(..).map(|record| (*tenant, record)));
            let repeated = over.into_iter().filter_map(|seen| self.repetitions(seen));
            taken.extend(repeated.map(|record| (*tenant, record)));
            taken.extend(queue.gap.take().map(|gap| (*tenant, self.gap_record(gap))));
            !queue.seen.is_empty()
        });
        taken
    }

    /// Writes what was gathered; whether the records took it.
    pub(crate) async fn flush_activity(&self) -> bool {
        self.write_activity(false).await
    }

    /// Writes what was gathered, open counts included.
    pub(crate) async fn finish_activity(&self) {
        self.write_activity(true).await;
    }

    async fn write_activity(&self, is_last: bool) -> bool {
        let _writing = self.0.activity.writing.lock().await;
        let taken = self.take_waiting(is_last);
        let mut is_written = true;
        for part in taken.chunks(WRITTEN_AT_ONCE) {
            if let Err(error) = self.write_records(part).await {
                tracing::debug!(%error, "activity records are written tenant by tenant");
                is_written &= self.write_by_tenant(part).await;
            }
        }
        is_written
    }

    /// So that a tenant whose key is away stops nobody else's records. What its key cannot seal
    /// is written without its details.
    async fn write_by_tenant(&self, records: &[(TenantId, Activity)]) -> bool {
        let mut tenants: BTreeMap<TenantId, Vec<(TenantId, Activity)>> = BTreeMap::new();
        for (tenant, record) in records {
            tenants.entry(*tenant).or_default().push((*tenant, record.clone()));
        }
        let mut is_written = true;
        for (tenant, records) in tenants {
            let Err(error) = self.write_records(&records).await else { continue };
            if matches!(error, StoreError::NotFound { .. }) {
                tracing::warn!(%error, records = records.len(), "records of a tenant that is gone");
                continue;
            }
            let bare = |(tenant, record): &(TenantId, Activity)| {
                (*tenant, Activity { details: None, ..record.clone() })
            };
            let bare: Vec<_> = records.iter().map(bare).collect();
            let is_key = matches!(error, StoreError::KeyDenied(_) | StoreError::KeyUnavailable(_));
            if is_key && self.write_records(&bare).await.is_ok() {
                continue;
            }
            tracing::warn!(%error, records = records.len(), "activity records wait");
            let records = records.into_iter().map(|(_, record)| record).collect();
            self.0.activity.queues.lock().entry(tenant).or_default().put_back(records);
            is_written = false;
        }
        is_written
    }

    async fn write_records(
        &self,
        records: &[(TenantId, Activity)],
    ) -> veritwin_metastore::Result<()> {
        let context = self.job(veritwin_access::jobs::RETENTION);
        let tx = self.0.store.begin_platform(&context).await?;
        for (tenant, record) in records {
            tx.activity_add(record, Some(*tenant)).await?;
        }
        tx.commit().await
    }

    /// Writes queues that grow long before their usual time.
    pub(crate) async fn keep_activity(&self) {
        loop {
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                () = self.0.activity.wake.notified() => {
                    self.flush_activity().await;
                }
            }
        }
    }
}
