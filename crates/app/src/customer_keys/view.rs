//! What people see of a customer's key: never the key, and never what a service is asked with.

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind};
use veritwin_domain::{OpContext, Timestamp};
use veritwin_keys::{KeyLevel, KeyState};

use crate::{App, Result};

/// The service that holds a key.
#[derive(Debug, Clone)]
pub struct KeyServiceView {
    /// What kind of service.
    pub kind: &'static str,
    /// Its address.
    pub address: String,
    /// The key's name there.
    pub key: String,
    /// Where the key is inside the service.
    pub place: Option<String>,
    /// How long a key is in memory after an answer, in seconds.
    pub ttl_s: u64,
    /// What protects the key, as the service says.
    pub protection: String,
    /// When it last gave the key, since the platform started.
    pub answered_at: Option<Timestamp>,
    /// Why it gives none, if it does not.
    pub problem: Option<String>,
}

/// A change of whose key stands above, on its way.
#[derive(Debug, Clone)]
pub struct KeyChangeView {
    /// The level that comes.
    pub level: String,
    /// Since when.
    pub since: Timestamp,
    /// Data keys that are to be wrapped anew.
    pub total: u64,
    /// Data keys that are.
    pub done: u64,
    /// What it waits for.
    pub problem: Option<String>,
}

/// Readings that are sealed anew under new data keys.
#[derive(Debug, Clone)]
pub struct KeyResealView {
    /// Since when.
    pub since: Timestamp,
    /// Old data keys when it began.
    pub total: u64,
    /// Those of them that seal nothing any more.
    pub done: u64,
    /// What it waits for.
    pub problem: Option<String>,
}

/// An import that waits for the wrapped key.
#[derive(Debug, Clone)]
pub struct KeyImportView {
    /// Its id.
    pub id: String,
    /// The public key, RSA-4096, in PEM.
    pub public_key_pem: String,
    /// Until when the wrapped key is taken.
    pub ends_at: Timestamp,
}

/// What a test of a key service found.
#[derive(Debug, Clone)]
pub struct KeyTestView {
    /// The key's name at the service.
    pub key: String,
    /// Its kind, as the service names it.
    pub spec: String,
    /// What protects it.
    pub protection: &'static str,
}

/// The key above a tenant's keys.
#[derive(Debug, Clone)]
pub struct CustomerKeyView {
    /// Whose it is: `platform`, `brought` or `held`.
    pub level: &'static str,
    /// Since when; none for a tenant that never had another level than the platform's.
    pub level_since: Option<Timestamp>,
    /// The level that the plan pays for.
    pub plan_level: &'static str,
    /// `active`, `silent`, `revoked`, `gone` or `destroyed`.
    pub state: &'static str,
    /// Since when, unless it is active.
    pub state_since: Option<Timestamp>,
    /// Version of the tenant's own key.
    pub version: u32,
    /// When that version was made.
    pub created_at: Option<Timestamp>,
    /// When a key was last used.
    pub last_used_at: Option<Timestamp>,
    /// By whom, if the key is held elsewhere.
    pub last_used_by: Option<String>,
    /// Why, if the key is held elsewhere.
    pub last_used_for: Option<&'static str>,
    /// The service that holds the key.
    pub service: Option<KeyServiceView>,
    /// Fingerprint of the key that was brought.
    pub fingerprint: Option<String>,
    /// A change that is on its way.
    pub change: Option<KeyChangeView>,
    /// Readings that are sealed anew.
    pub reseal: Option<KeyResealView>,
    /// Bytes of readings that wait in the log for the key.
    pub waiting_bytes: u64,
    /// Readings were taken that are not in history yet.
    pub is_behind: bool,
    /// Kinds of services that this installation reaches.
    pub service_kinds: Vec<&'static str>,
}

const fn state_of(state: KeyState) -> (&'static str, Option<Timestamp>) {
    match state {
        KeyState::Active => ("active", None),
        KeyState::Silent { since } => ("silent", Some(since)),
        KeyState::Revoked { since } => ("revoked", Some(since)),
        KeyState::Gone { at } => ("gone", Some(at)),
        KeyState::Destroyed { at } => ("destroyed", Some(at)),
    }
}

impl App {
    /// The key level that a tenant's plan pays for.
    pub(super) fn plan_key_level(&self, tenant: veritwin_domain::TenantId) -> KeyLevel {
        let tree = self.0.tree.read();
        // Without a plan nothing is limited.
        let plan = tree.plan(tenant).map(|plan| plan.limits.key_level.unwrap_or_default());
        plan.unwrap_or(KeyLevel::Held)
    }

    /// The key above the tenant's keys.
    #[boxed]
    pub async fn customer_key(&self, context: &OpContext) -> Result<CustomerKeyView> {
        let resource = self.authorize_all(context, Action::KeyRead, Kind::Keys)?;
        let tenant = context.tenant;
        let status = self.0.keys.status(Some(tenant))?;
        let book = self.key_book(tenant).await?;
        let (answered_at, problem) = {
            let known = self.0.key_board.known.lock();
            let known = known.get(&tenant);
            (
                known.and_then(|known| known.answered_at),
                known.and_then(|known| known.problem.clone()),
            )
        };
        let service = book.service.filter(|_| status.level == KeyLevel::Held);
        let service = service.map(|service| {
            Ok::<_, crate::Error>(KeyServiceView {
                kind: service.kind()?.as_str(),
                address: service.address,
                key: service.key,
                place: service.place,
                ttl_s: service.ttl_s,
                protection: service.protection,
                answered_at,
                problem,
            })
        });
        let live = status.classes.iter().map(|class| class.count as u64).sum();
        let change = book.change.map(|change| KeyChangeView {
            since: change.since(),
            level: change.level,
            total: live,
            done: 0,
            problem: change.problem,
        });
        let reason = self.0.key_board.reason(tenant).filter(|_| status.level == KeyLevel::Held);
        let (state, state_since) = state_of(status.state);
        self.note(context, Action::KeyRead, &resource, "done");
        Ok(CustomerKeyView {
            level: status.level.as_str(),
            level_since: status.level_since,
            plan_level: self.plan_key_level(tenant).as_str(),
            state,
            state_since,
            version: status.kek_version,
            created_at: status.kek_created_at,
            last_used_at: status.last_used_at.max(reason.as_ref().map(|reason| reason.at)),
            last_used_for: reason.as_ref().map(|reason| reason.purpose.as_str()),
            last_used_by: reason.map(|reason| reason.actor),
            service: service.transpose()?,
            fingerprint: status.brought,
            change,
            reseal: book.reseal.map(|reseal| KeyResealView {
                since: reseal.since(),
                total: reseal.total,
                done: reseal.total.saturating_sub(reseal.left),
                problem: reseal.problem,
            }),
            waiting_bytes: self.0.log.spooled_bytes(tenant),
            is_behind: self.0.engine.is_behind(tenant),
            service_kinds: self
                .0
                .key_board
                .connector
                .kinds()
                .iter()
                .map(|kind| kind.as_str())
                .collect(),
        })
    }
}
