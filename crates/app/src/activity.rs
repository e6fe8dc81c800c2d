//! The activity record: who did what to what, with what outcome. Changes are written with their
//! effect; reads and refusals are gathered, at most one a minute per actor, action and resource,
//! and written in bounded batches.

use std::collections::HashMap;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{
    ActivityId, ActorKind, OpContext, PlatformContext, RequestId, TenantId, Timestamp,
};
use veritwin_metastore::{Activity, PlatformTx, TenantTx};

use crate::model::{ActivityView, Page, PageRequest};
use crate::{App, Error, Result};

/// Most gathered records that wait to be written.
const GATHERED_MAX: usize = 4096;
/// A read that repeats within this time is the same record.
const REPEAT_MICROS: i64 = 60_000_000;

#[derive(Debug, Serialize, Deserialize)]
struct Envelope {
    actor: String,
    action: String,
    outcome: String,
    request: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Details {
    resource: String,
}

#[derive(Debug)]
struct Gathered {
    tenant: TenantId,
    record: Activity,
}

/// Records that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct ActivityWriter {
    waiting: Mutex<Vec<Gathered>>,
    seen: Mutex<HashMap<(TenantId, String, Action, String), Timestamp>>,
}

fn actor_text(kind: &ActorKind) -> String {
    match kind {
        ActorKind::User { user, .. } => format!("user:{user}"),
        ActorKind::ApiKey(key) => format!("api_key:{key}"),
        ActorKind::Device { device, .. } => format!("device:{device}"),
        ActorKind::Job(name) => format!("job:{name}"),
        ActorKind::LocalOperator => "local operator".to_owned(),
        ActorKind::Anonymous => "anonymous".to_owned(),
    }
}

fn resource_text(resource: &Resource) -> String {
    match resource {
        Resource::Platform => "platform".to_owned(),
        Resource::Owned { kind, id: None, .. } => kind.as_str().to_lowercase(),
        Resource::Owned { kind, id: Some(id), .. } => {
            format!("{}:{}", kind.as_str().to_lowercase(), RequestId::from_bytes(*id))
        }
    }
}

impl App {
    fn activity(
        &self,
        actor: &ActorKind,
        request: RequestId,
        at: Timestamp,
        what: (Action, &Resource, &str),
    ) -> Activity {
        let (action, resource, outcome) = what;
        let envelope = Envelope {
            actor: actor_text(actor),
            action: action.as_str().to_owned(),
            outcome: outcome.to_owned(),
            request: request.to_string(),
        };
        let details = Details { resource: resource_text(resource) };
        Activity {
            id: ActivityId::generate(at, self.rng()),
            at,
            envelope: serde_json::to_vec(&envelope).unwrap_or_default(),
            details: serde_json::to_vec(&details).ok(),
        }
    }

    /// Writes a record in the transaction of what was done.
    pub(crate) async fn record(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        action: Action,
        resource: &Resource,
    ) -> Result<()> {
        let what = (action, resource, "done");
        let record = self.activity(&context.actor.kind, context.request, context.at, what);
        Ok(tx.activity_add(&record).await?)
    }

    /// Writes a record of something done on the platform, in a tenant's record or in the
    /// platform's own.
    pub(crate) async fn record_platform(
        &self,
        tx: &PlatformTx,
        context: &PlatformContext,
        action: Action,
        tenant: Option<TenantId>,
        outcome: &str,
    ) -> Result<()> {
        let what = (action, &Resource::Platform, outcome);
        let mut record = self.activity(&context.actor.kind, context.request, context.at, what);
        if tenant.is_none() {
            record.details = None;
        }
        Ok(tx.activity_add(&record, tenant).await?)
    }

    /// Gathers a read or a refusal.
    pub(crate) fn note(
        &self,
        context: &OpContext,
        action: Action,
        resource: &Resource,
        outcome: &str,
    ) {
        // The platform's own jobs read all the time; what they change is recorded with it.
        if matches!(context.actor.kind, ActorKind::Job(_)) {
            return;
        }
        let writer = &self.0.activity;
        let resource_name = resource_text(resource);
        let actor = actor_text(&context.actor.kind);
        {
            let mut seen = writer.seen.lock();
            if seen.len() >= GATHERED_MAX {
                let oldest = context.at.as_micros() - REPEAT_MICROS;
                seen.retain(|_, at| at.as_micros() > oldest);
            }
            let slot = (context.tenant, actor, action, format!("{resource_name} {outcome}"));
            let recent = |at: &Timestamp| context.at.as_micros() - at.as_micros() < REPEAT_MICROS;
            if seen.get(&slot).is_some_and(recent) {
                return;
            }
            if seen.len() < GATHERED_MAX {
                seen.insert(slot, context.at);
            }
        }
        let what = (action, resource, outcome);
        let record = self.activity(&context.actor.kind, context.request, context.at, what);
        let mut waiting = writer.waiting.lock();
        if waiting.len() >= GATHERED_MAX {
            metrics::counter!("veritwin_activity_dropped_total").increment(1);
            return;
        }
        waiting.push(Gathered { tenant: context.tenant, record });
    }

    /// Writes what was gathered; whether the records took it. What a tenant's withdrawn key cannot
    /// seal is written without its details.
    pub(crate) async fn flush_activity(&self) -> bool {
        let waiting = std::mem::take(&mut *self.0.activity.waiting.lock());
        if waiting.is_empty() {
            return true;
        }
        let written = async {
            use veritwin_metastore::Error::{KeyDenied, KeyUnavailable};
            let context = self.job(veritwin_access::jobs::RETENTION);
            let tx = self.0.store.begin_platform(&context).await?;
            for Gathered { tenant, record } in &waiting {
                match tx.activity_add(record, Some(*tenant)).await {
                    Err(KeyDenied(_) | KeyUnavailable(_)) => {
                        let bare = Activity { details: None, ..record.clone() };
                        tx.activity_add(&bare, Some(*tenant)).await?;
                    }
                    other => other?,
                }
            }
            tx.commit().await
        };
        match written.await {
            Ok(()) => true,
            Err(error) => {
                let records = waiting.len();
                tracing::warn!(%error, records, "activity records were not written");
                false
            }
        }
    }

    /// The tenant's activity record, newest first.
    pub async fn list_activity(
        &self,
        context: &OpContext,
        page: &PageRequest,
    ) -> Result<Page<ActivityView>> {
        let resource = self.authorize_all(context, Action::ActivityRead, Kind::Activity)?;
        self.flush_activity().await;
        let tx = self.0.store.read(context).await?;
        let listed = tx.activity(&store_page(page)?).await?;
        let mut names: HashMap<String, String> = HashMap::new();
        for member in tx.members(&veritwin_metastore::Page::whole()).await?.items {
            let shown =
                member.user.name.filter(|name| !name.is_empty()).unwrap_or(member.user.email);
            names.insert(format!("user:{}", member.user.id), shown);
        }
        for key in tx.api_keys(&veritwin_metastore::Page::whole()).await?.items {
            names.insert(format!("api_key:{}", key.id), format!("API key {}", key.name));
        }
        let items = listed.items.into_iter().map(|row| view(row, &names)).collect::<Result<_>>()?;
        self.note(context, Action::ActivityRead, &resource, "done");
        Ok(Page { items, next_cursor: listed.next.map(|cursor| cursor.to_string()) })
    }
}

fn view(row: Activity, names: &HashMap<String, String>) -> Result<ActivityView> {
    let damaged = |_| Error::Internal("an activity record is damaged".to_owned());
    let envelope: Envelope = serde_json::from_slice(&row.envelope).map_err(damaged)?;
    let details: Option<Details> =
        row.details.map(|bytes| serde_json::from_slice(&bytes).map_err(damaged)).transpose()?;
    Ok(ActivityView {
        id: row.id,
        at: row.at,
        actor: names.get(&envelope.actor).cloned().unwrap_or(envelope.actor),
        action: envelope.action,
        resource: details.map(|details| details.resource).unwrap_or_default(),
        outcome: envelope.outcome,
        request: envelope.request.parse().unwrap_or(RequestId::from_bytes([0; 16])),
    })
}

/// A list request as the store takes it.
pub(crate) fn store_page(page: &PageRequest) -> Result<veritwin_metastore::Page> {
    let after = page
        .cursor
        .as_deref()
        .map(|text| {
            text.parse().map_err(|_| Error::invalid_at("cursor", "not a cursor of this list"))
        })
        .transpose()?;
    let limit = u32::try_from(page.rows()).unwrap_or(u32::MAX);
    Ok(veritwin_metastore::Page { limit, after })
}
