//! What a restore does about access: it ends what lets somebody in without asking again, tells what
//! is in force again as of the backup, and leaves a record in every tenant.

use std::sync::Arc;

use serde_json::json;
use veritwin_domain::{
    ActivityId, Actor, ActorKind, Clock, OpContext, Origin, PlatformContext, Purpose, RequestId,
    Role, TenantId, Timestamp,
};
use veritwin_keys::SystemRng;
use veritwin_metastore::{
    Activity, EndedAccess, Error as StoreError, Metastore, PlatformTx, Tenant, every_row,
};

use crate::Result;
use crate::activity::{Details, Envelope};
use crate::provision::is_nobodys;

/// The action of the record that a restore leaves.
const RESTORED: &str = "system.restore";

/// What is in force again in a tenant, as of the backup.
#[derive(Debug, Clone)]
pub struct RestoredTenant {
    /// The tenant.
    pub id: TenantId,
    /// Its name; none when its key cannot be used.
    pub name: Option<String>,
    /// Its people with their addresses; none when their keys cannot be used.
    pub members: Option<Vec<(String, Vec<Role>)>>,
    /// Its API keys; none when its key cannot be used.
    pub api_keys: Option<Vec<RestoredKey>>,
    /// Roles that people and programs hold over parts of it.
    pub grants: u64,
}

/// An API key that works again.
#[derive(Debug, Clone)]
pub struct RestoredKey {
    /// What its owner calls it.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Its end.
    pub expires_at: Option<Timestamp>,
    /// When it was last used before the backup.
    pub last_used_at: Option<Timestamp>,
}

/// What was done about access.
#[derive(Debug, Clone)]
pub struct AccessReview {
    /// What was ended.
    pub ended: EndedAccess,
    /// API keys that were revoked because that was asked for.
    pub keys_revoked: u64,
    /// What is in force again.
    pub tenants: Vec<RestoredTenant>,
}

fn operator(clock: &Arc<dyn Clock>) -> PlatformContext {
    let at = clock.now();
    PlatformContext {
        acts_from: None,
        turn_of: None,
        actor: Actor::without_roles(ActorKind::LocalOperator),
        purpose: Purpose::SecuritySupport,
        request: RequestId::generate(at, &SystemRng),
        origin: Origin::default(),
        at,
        clock: Arc::clone(clock),
    }
}

/// Ends access in restored records, before anything can start on them.
pub(super) async fn end_access(
    store: &Metastore,
    clock: &Arc<dyn Clock>,
    (taken_at, revoke_keys): (Timestamp, bool),
) -> Result<AccessReview> {
    let context = operator(clock);
    let tx = store.read_platform(&context).await?;
    let tx_ref = &tx;
    let mut rows = every_row(|page| async move { tx_ref.tenants(&page).await }).await?;
    drop(tx);
    rows.retain(|tenant| !is_nobodys(tenant.id));
    let mut review = AccessReview {
        ended: EndedAccess::default(),
        keys_revoked: 0,
        tenants: Vec::with_capacity(rows.len()),
    };
    for tenant in rows {
        let inside = context.in_tenant(tenant.id, context.actor.clone());
        review.tenants.push(in_force(store, &inside, tenant).await?);
        if revoke_keys {
            review.keys_revoked += revoke(store, &inside).await?;
        }
    }
    let tx = store.begin_platform(&context).await?;
    review.ended = tx.access_end(context.at).await?;
    let after = json!({
        "back_at": taken_at.to_string(),
        "ended": "sessions, one-time links, support grants",
        "keys_revoked": revoke_keys,
    });
    for tenant in &review.tenants {
        record(&tx, &context, tenant.id, after.clone()).await?;
    }
    tx.commit().await?;
    Ok(review)
}

/// What cannot be unsealed is left out; everything else is an error.
fn readable<T>(read: veritwin_metastore::Result<T>) -> Result<Option<T>> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(StoreError::KeyDenied(_) | StoreError::KeyUnavailable(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn in_force(
    store: &Metastore,
    context: &OpContext,
    tenant: Tenant,
) -> Result<RestoredTenant> {
    let tx = store.read(context).await?;
    let tx = &tx;
    let members = every_row(|page| async move { tx.members(&page).await }).await;
    let members = readable(members)?
        .map(|all| all.into_iter().filter(|member| !member.user.disabled))
        .map(|all| all.map(|member| (member.user.email, member.roles)).collect());
    let keys = every_row(|page| async move { tx.api_keys(&page).await }).await;
    let api_keys = readable(keys)?.map(|all| {
        let key = |key: veritwin_metastore::ApiKey| RestoredKey {
            name: key.name,
            role: key.role,
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
        };
        let works =
            |key: &veritwin_metastore::ApiKey| key.expires_at.is_none_or(|end| end > context.at);
        all.into_iter().filter(works).map(key).collect()
    });
    let grants = tx.grants().await?.len() as u64;
    Ok(RestoredTenant { id: tenant.id, name: Some(tenant.name), members, api_keys, grants })
}

async fn revoke(store: &Metastore, context: &OpContext) -> Result<u64> {
    let tx = store.begin(context).await?;
    let count = tx.api_keys_revoke_all().await?;
    tx.commit().await?;
    Ok(count)
}

async fn record(
    tx: &PlatformTx,
    context: &PlatformContext,
    tenant: TenantId,
    after: serde_json::Value,
) -> Result<()> {
    let envelope = Envelope {
        actor: crate::activity::actor_text(&context.actor.kind),
        action: RESTORED.to_owned(),
        outcome: "done".to_owned(),
        request: context.request.to_string(),
        ..Envelope::default()
    };
    let details = Details { resource: "platform".to_owned(), before: None, after: Some(after) };
    let record = Activity {
        id: ActivityId::generate(context.at, &SystemRng),
        at: context.at,
        actor: None,
        action: RESTORED.to_owned(),
        outcome: "done".to_owned(),
        envelope: serde_json::to_vec(&envelope).unwrap_or_default(),
        details: serde_json::to_vec(&details).ok(),
    };
    match readable(tx.activity_add(&record, Some(tenant)).await)? {
        Some(()) => Ok(()),
        None => Ok(tx.activity_add(&Activity { details: None, ..record }, Some(tenant)).await?),
    }
}
