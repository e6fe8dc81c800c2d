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
use tokio::sync::Semaphore;
use veritwin_access::Action;
use veritwin_domain::{ActorKind, OpContext, PlatformContext, Purpose, TenantId, Timestamp};
use veritwin_keys::{KeyProvider, ProviderConnector};

use crate::activity::actor_text;
use crate::{App, Error, Result};

pub use acts::{KEY_REVOKE_WORD, KEY_TTL_DEFAULT_S, KEY_TTL_MAX_S, KeyServiceInput};
pub use import::KEY_IMPORT_LIFE;
pub use view::{
    CustomerKeyView, KeyChangeView, KeyImportView, KeyResealView, KeyServiceView, KeyTestView,
};

/// Key services that are asked at once.
const ASKED_AT_ONCE_MAX: usize = 32;

/// What is known of the service that holds one tenant's key.
#[derive(Debug, Default)]
struct Known {
    /// None until its settings were read.
    provider: Option<Arc<dyn KeyProvider>>,
    ttl: Duration,
    /// On the monotonic clock.
    next_ask: Duration,
    tries: u32,
    answered_at: Option<Timestamp>,
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
    /// Taken to change what stands above a tenant's keys.
    changes: tokio::sync::Mutex<()>,
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
            changes: tokio::sync::Mutex::new(()),
        }
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
    !is_writing
        && matches!(
            action.kind(),
            Kind::Telemetry
                | Kind::Device
                | Kind::Alert
                | Kind::Rule
                | Kind::Twin
                | Kind::Ledger
                | Kind::Incident
        )
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
        for action in [Action::TelemetryRead, Action::DeviceList, Action::AlertRead] {
            assert!(needs_key(action), "{action}");
        }
        for action in [Action::TelemetryWrite, Action::KeyManage, Action::SessionRead] {
            assert!(!needs_key(action), "{action}");
        }
    }
}
