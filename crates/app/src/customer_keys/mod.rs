//! Customers' keys: a key that the customer brought or holds above the tenant's own. Which service
//! holds it and how it is asked stands in the platform's settings, sealed under the platform's key:
//! it has to be read while the tenant's is out of reach.

mod acts;
mod book;
mod import;
mod keeper;
mod reseal;
mod view;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedMutexGuard, Semaphore};
use veritwin_access::Action;
use veritwin_domain::{ActorKind, OpContext, PlatformContext, Purpose, Rng, TenantId, Timestamp};
use veritwin_keys::{KeyProvider, ProviderConnector};
use veritwin_outbound::key_services::KeyServices;
use veritwin_outbound::register::EgressRegister;

use crate::activity::actor_text;
use crate::open::guarded_client;
use crate::{App, Config, Error, Result};

pub use acts::{KEY_REVOKE_WORD, KEY_TTL_DEFAULT_S, KEY_TTL_MAX_S, KeyServiceInput};
pub use import::KEY_IMPORT_LIFE;
pub use view::{
    CustomerKeyView, KeyChangeView, KeyImportView, KeyResealView, KeyServiceView, KeyTestView,
};

/// Key services that are asked at once.
const ASKED_AT_ONCE_MAX: usize = 32;

/// The way to the services that hold customers' keys.
pub(crate) fn open_key_services(
    config: &Config,
    egress: &Arc<EgressRegister>,
    rng: &Arc<dyn Rng>,
) -> Result<KeyServices> {
    let client = Arc::new(guarded_client(config, egress)?);
    let (clock, rng) = (Arc::clone(&config.clock), Arc::clone(rng));
    Ok(KeyServices::new(client, Arc::clone(egress), config.key_modules.clone(), clock, rng))
}

/// What is known of the service that holds one tenant's key.
#[derive(Debug, Default)]
struct Known {
    /// None until its settings were read.
    provider: Option<Arc<dyn KeyProvider>>,
    /// The version of the tenant's KEK that this service wrapped.
    version: u32,
    ttl: Duration,
    /// On the monotonic clock.
    next_ask: Duration,
    tries: u32,
    answered_at: Option<Timestamp>,
    /// When it was asked what it answered last: who needed the key before was told then.
    told_at: Option<Timestamp>,
    problem: Option<String>,
}

/// Why a tenant's key was needed last, and for whom.
#[derive(Debug, Clone)]
struct Reason {
    purpose: Purpose,
    actor: String,
    at: Timestamp,
}

/// Services that hold tenants' keys, as this process knows them.
#[derive(Debug)]
pub(crate) struct KeyBoard {
    connector: Arc<dyn ProviderConnector>,
    known: Mutex<HashMap<TenantId, Known>>,
    reasons: Mutex<HashMap<TenantId, Reason>>,
    /// Tenants whose service is being asked.
    asking: Mutex<HashSet<TenantId>>,
    turns: Arc<Semaphore>,
    /// Tenants of which a destruction has to be carried out again before anything is shown.
    unreplayed: Mutex<HashSet<TenantId>>,
    /// Those of them of which it is being carried out; gone again where it was refused.
    replaying: Mutex<HashSet<TenantId>>,
    /// Of each tenant, taken to change what stands above its keys.
    changes: Mutex<HashMap<TenantId, Arc<tokio::sync::Mutex<()>>>>,
    /// Taken to make the key pair of an import.
    imports: tokio::sync::Mutex<()>,
    /// Taken to write what is kept of a tenant's key.
    books: tokio::sync::Mutex<()>,
}

impl KeyBoard {
    pub(crate) fn new(connector: impl ProviderConnector + 'static) -> Self {
        Self {
            connector: Arc::new(connector),
            known: Mutex::default(),
            reasons: Mutex::default(),
            asking: Mutex::default(),
            turns: Arc::new(Semaphore::new(ASKED_AT_ONCE_MAX)),
            unreplayed: Mutex::default(),
            replaying: Mutex::default(),
            changes: Mutex::default(),
            imports: tokio::sync::Mutex::new(()),
            books: tokio::sync::Mutex::new(()),
        }
    }

    fn changes_of(&self, tenant: TenantId) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.changes.lock().entry(tenant).or_default())
    }

    /// The turn to change what stands above a tenant's keys.
    async fn turn(&self, tenant: TenantId) -> OwnedMutexGuard<()> {
        self.changes_of(tenant).lock_owned().await
    }

    /// The same, if nobody has it.
    fn free_turn(&self, tenant: TenantId) -> Option<OwnedMutexGuard<()>> {
        self.changes_of(tenant).try_lock_owned().ok()
    }

    /// Nothing of the tenant is shown until a destruction was carried out again.
    pub(crate) fn close_until_replayed(&self, tenant: TenantId) {
        self.replaying.lock().remove(&tenant);
        self.unreplayed.lock().insert(tenant);
    }

    fn reason(&self, tenant: TenantId) -> Option<Reason> {
        self.reasons.lock().get(&tenant).cloned()
    }

    /// Asks as soon as may be, with settings read anew.
    fn forget(&self, tenant: TenantId) {
        self.known.lock().remove(&tenant);
    }

    /// The tenant needs no key any more.
    fn forget_all(&self, tenant: TenantId) {
        self.forget(tenant);
        self.reasons.lock().remove(&tenant);
        self.changes.lock().remove(&tenant);
    }
}

/// What is done of a tenant whose key is out of reach: writing goes on, and so does what is not
/// the tenant's content.
const fn needs_key(action: Action) -> bool {
    use veritwin_access::Kind;
    let is_writing = matches!(
        action,
        Action::TelemetryWrite
            | Action::AttributeReport
            | Action::DevicePresence
            | Action::DeviceSpeakFor
    );
    // What waits on its way out is the tenant's content too, and so is how it is read.
    let is_passed_on = matches!(
        action,
        Action::RouteRead | Action::RouteWrite | Action::DecoderRead | Action::DecoderWrite
    );
    !is_writing
        && (is_passed_on
            || matches!(
                action.kind(),
                Kind::Telemetry
                    | Kind::Device
                    | Kind::Alert
                    | Kind::Rule
                    | Kind::Twin
                    | Kind::Ledger
                    | Kind::Incident
                    | Kind::Governance
                    | Kind::Case
            ))
}

impl App {
    /// Whether a tenant asks for a second factor; yes while that cannot be read.
    pub(crate) async fn asks_or_away(
        &self,
        context: &PlatformContext,
        tenant: TenantId,
    ) -> Result<bool> {
        match self.asks_second_factor(context, tenant).await {
            Err(Error::KeyRevoked | Error::KeySilent | Error::KeyDestroyed(_)) => Ok(true),
            asks => asks,
        }
    }

    /// Fails while the key of what is asked for is revoked, out of reach or destroyed, whatever of
    /// it is still in memory. Background jobs are stopped by the key itself.
    pub(crate) fn check_key(&self, context: &OpContext, action: Action) -> Result<()> {
        if !needs_key(action) || matches!(context.actor.kind, ActorKind::Job(_)) {
            return Ok(());
        }
        #[cfg(feature = "test-controls")]
        if self.0.promises.forgets_keys() {
            return Ok(());
        }
        if self.0.keys.is_held(context.tenant) {
            let actor = actor_text(&context.actor.kind);
            let reason = Reason { purpose: context.purpose, actor, at: context.at };
            self.0.key_board.reasons.lock().insert(context.tenant, reason);
        }
        self.0.keys.check(context.tenant)?;
        let unreplayed = self.0.key_board.unreplayed.lock();
        if unreplayed.contains(&context.tenant) { Err(Error::KeySilent) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_needs_the_key_and_writing_does_not() {
        for action in
            [Action::TelemetryRead, Action::DeviceList, Action::AlertRead, Action::RouteRead]
        {
            assert!(needs_key(action), "{action}");
        }
        for action in [Action::TelemetryWrite, Action::KeyManage, Action::SessionRead] {
            assert!(!needs_key(action), "{action}");
        }
    }
}
