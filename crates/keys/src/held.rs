//! Keys above a KEK that are not the platform's: changing whose they are, and the life of a KEK
//! that a customer's key service unwraps. Such a KEK is in memory until a stated moment; after it
//! the tenant is silent and everything unwrapped under it is wiped. Nothing here waits.

use std::sync::atomic::Ordering;
use std::time::Duration;

use veritwin_domain::{TenantId, Timestamp};

use crate::above::{
    Above, AboveKind, brought_context, brought_fingerprint, unwrap_under_brought,
    wrap_under_brought,
};
use crate::entry::{Entry, KekEntry, Owner};
use crate::ring::{Cache, Inner, Ring, WRAPPED_BYTES_MAX, cache_kek, unwrap_dek};
use crate::spool::{Spool, public_of};
use crate::{
    DataClass, DekScope, Epoch, KekContext, KeyError, KeyLevel, KeyService, Rotation, SecretKey,
};

/// Days for which the log's keys of a tenant with a held key are made ahead: for so long its
/// readings are taken while its key service is silent.
pub const SPOOL_DAYS_AHEAD: i64 = 7;
/// Longest id of a certificate of destruction, in bytes.
const CERTIFICATE_ID_BYTES_MAX: usize = 128;

/// What is known in memory of a tenant whose key is held elsewhere.
#[derive(Debug)]
pub(crate) struct Held {
    /// On the monotonic clock: before it, what was unwrapped may be used.
    fresh_until: Duration,
    silent_since: Option<Timestamp>,
    /// By day, ascending.
    spools: Vec<Spool>,
}

impl Held {
    pub(crate) fn is_fresh(&self, now: Duration) -> bool {
        now < self.fresh_until
    }

    /// Its time is over and nobody was told yet.
    fn is_due(&self, now: Duration) -> bool {
        !self.is_fresh(now) && self.silent_since.is_none()
    }

    /// The newest spool key of that day or before it; the oldest there is, if all are later.
    pub(crate) fn spool(&self, day: i64) -> Option<Spool> {
        let after = self.spools.partition_point(|spool| spool.day <= day);
        self.spools.get(after.saturating_sub(1)).copied()
    }
}

/// A new KEK that is not in use yet: whoever holds the key above wraps it first.
#[derive(Debug)]
pub struct NewKek {
    tenant: TenantId,
    version: u32,
    secret: SecretKey,
}

impl NewKek {
    /// What the wrapping is for.
    pub const fn context(&self) -> KekContext {
        KekContext { tenant: Some(self.tenant), version: self.version }
    }

    /// The KEK itself, for the service that wraps it.
    pub const fn secret(&self) -> &SecretKey {
        &self.secret
    }
}

/// What will stand above a new KEK.
#[derive(Debug)]
pub enum NewAbove {
    /// The platform's root.
    Platform,
    /// A key that the customer brought.
    Brought(SecretKey),
    /// A key at the customer's key service.
    Held {
        /// The KEK as that service wrapped it.
        wrapped: Vec<u8>,
        /// Until when the KEK may be used without asking again, on the monotonic clock.
        fresh_until: Duration,
    },
}

/// The wrapped KEK of a tenant whose key is held elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKek {
    /// What it was wrapped for.
    pub context: KekContext,
    /// What the key service answered.
    pub wrapped: Vec<u8>,
}

impl Inner {
    /// Makes what is known in memory of a tenant agree with the keyring.
    pub(crate) fn refresh_held(&self, ring: &Ring, tenant: TenantId) {
        let mut cache = self.cache.write();
        let is_denied = ring.state.check_usable(Some(tenant)).is_err();
        if is_denied {
            cache.denied.insert(tenant);
        } else {
            cache.denied.remove(&tenant);
        }
        let is_held = ring.state.level(Some(tenant)) == KeyLevel::Held && !is_denied;
        if !is_held {
            cache.held.remove(&tenant);
            return;
        }
        let mut spools: Vec<Spool> = ring
            .state
            .spools
            .iter()
            .filter_map(|(dek, public)| {
                let scope = ring.state.deks.get(dek)?.scope;
                if ring.state.by_scope.get(&scope) != Some(dek) {
                    return None;
                }
                let Epoch::Day(day) = scope.epoch else { return None };
                (scope.tenant == Some(tenant)).then_some(Spool { day, dek: *dek, public: *public })
            })
            .collect();
        spools.sort_unstable_by_key(|spool| spool.day);
        let silent_since = Some(self.clock.now());
        let fresh_until = Duration::ZERO;
        let held = Held { fresh_until, silent_since, spools: Vec::new() };
        cache.held.entry(tenant).or_insert(held).spools = spools;
    }

    /// Makes the log's keys of today and the days ahead, and their public halves.
    fn ensure_spools(&self, ring: &mut Ring, tenant: TenantId) -> Result<(), KeyError> {
        let today = self.clock.now().day();
        let scopes: Vec<DekScope> = (today..=today + SPOOL_DAYS_AHEAD)
            .map(|day| DekScope::tenant(tenant, DataClass::Log).with_epoch(Epoch::Day(day)))
            .collect();
        let has_spool = |ring: &Ring, scope: &DekScope| {
            let dek = ring.state.by_scope.get(scope);
            dek.is_some_and(|dek| ring.state.spools.contains_key(dek))
        };
        if scopes.iter().all(|scope| has_spool(ring, scope)) {
            return Ok(());
        }
        self.create_missing(ring, &scopes)?;
        let mut entries = Vec::new();
        for scope in &scopes {
            if has_spool(ring, scope) {
                continue;
            }
            let Some(id) = ring.state.by_scope.get(scope).copied() else {
                return Err(KeyError::Silent(tenant));
            };
            let dek = self.load(ring, id)?;
            entries.push(Entry::Spool(id, public_of(&dek)?));
        }
        ring.commit(entries)?;
        self.refresh_held(ring, tenant);
        Ok(())
    }

    /// Takes a tenant's keys out of use until they are restored.
    pub(crate) fn withdraw(&self, ring: &mut Ring, tenant: TenantId) -> Result<(), KeyError> {
        ring.state.check_known(Some(tenant))?;
        if ring.state.revoked.contains_key(&tenant) {
            return Ok(());
        }
        let at = self.clock.now();
        ring.commit(vec![Entry::Revoked(tenant, at)])?;
        self.wipe(ring, tenant);
        self.refresh_held(ring, tenant);
        Ok(())
    }

    /// Wipes what was unwrapped for a tenant.
    pub(crate) fn wipe(&self, ring: &mut Ring, tenant: TenantId) {
        ring.keks.remove(&Some(tenant));
        self.cache.write().retain(|dek| dek.scope().tenant != Some(tenant));
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    fn set_fresh(&self, tenant: TenantId, fresh_until: Duration) -> bool {
        let mut cache = self.cache.write();
        let Some(held) = cache.held.get_mut(&tenant) else { return false };
        held.fresh_until = held.fresh_until.max(fresh_until);
        let was_silent = held.silent_since.take().is_some();
        drop(cache);
        if was_silent {
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
        was_silent
    }

    pub(crate) fn is_fresh(&self, owner: Owner) -> bool {
        self.cache.read().is_fresh(owner, self.clock.as_ref())
    }

    fn wrap_new(
        &self,
        tenant: TenantId,
        kek: &NewKek,
        above: &NewAbove,
    ) -> Result<(AboveKind, Vec<u8>), KeyError> {
        let wrapped = match above {
            NewAbove::Platform => {
                (AboveKind::Platform, self.root.wrap(&kek.context(), &kek.secret)?)
            }
            NewAbove::Brought(key) => {
                let kind = AboveKind::Brought {
                    fingerprint: brought_fingerprint(key),
                    wrapped: self.root.wrap(&brought_context(tenant), key)?,
                };
                let rng = self.rng.as_ref();
                (kind, wrap_under_brought(key, rng, &kek.context(), &kek.secret))
            }
            NewAbove::Held { wrapped, .. } => (AboveKind::Held, wrapped.clone()),
        };
        if wrapped.1.is_empty() || wrapped.1.len() > WRAPPED_BYTES_MAX {
            return Err(KeyError::Format {
                expected: "wrapped KEK",
                reason: "it is empty or longer than 16384 bytes",
            });
        }
        Ok(wrapped)
    }
}

impl Cache {
    pub(crate) fn is_fresh(&self, owner: Owner, clock: &dyn veritwin_domain::Clock) -> bool {
        if self.held.is_empty() {
            return true;
        }
        let held = owner.and_then(|tenant| self.held.get(&tenant));
        held.is_none_or(|held| held.is_fresh(clock.monotonic()))
    }
}

impl KeyService {
    /// Whose key stands above a tenant's keys.
    pub fn level(&self, tenant: TenantId) -> KeyLevel {
        self.0.ring.lock().state.level(Some(tenant))
    }

    /// Tenants whose key is held elsewhere and neither denied nor gone.
    pub fn held_tenants(&self) -> Vec<TenantId> {
        let mut tenants: Vec<_> = self.0.cache.read().held.keys().copied().collect();
        tenants.sort_unstable();
        tenants
    }

    /// Since when the service that holds a tenant's key has been silent; none while it is not, or
    /// if the key is not held elsewhere.
    pub fn silent_since(&self, tenant: TenantId) -> Option<Timestamp> {
        let cache = self.0.cache.read();
        let held = cache.held.get(&tenant)?;
        let is_lapsing = held.is_due(self.0.clock.monotonic());
        held.silent_since.or_else(|| is_lapsing.then(|| self.0.clock.now()))
    }

    /// What the service that holds a tenant's key has to unwrap.
    pub fn wrapped_kek(&self, tenant: TenantId) -> Result<WrappedKek, KeyError> {
        let ring = self.0.ring.lock();
        ring.state.check_known(Some(tenant))?;
        let kek = ring.state.keks.get(&Some(tenant)).ok_or(KeyError::UnknownTenant(tenant))?;
        if ring.state.level(Some(tenant)) != KeyLevel::Held {
            return Err(KeyError::HeldElsewhere(tenant));
        }
        let context = KekContext { tenant: Some(tenant), version: kek.version };
        Ok(WrappedKek { context, wrapped: kek.wrapped.clone() })
    }

    /// Takes the KEK that a key service unwrapped; true if the tenant was silent until now. A KEK
    /// that does not open the tenant's keys is refused and changes nothing.
    pub fn admit(
        &self,
        tenant: TenantId,
        version: u32,
        kek: SecretKey,
        fresh_until: Duration,
    ) -> Result<bool, KeyError> {
        let mut ring = self.0.ring.lock();
        let owner = Some(tenant);
        ring.state.check_usable(owner)?;
        ring.state.check_asked(tenant, version)?;
        let known =
            self.0.cache.read().held.get(&tenant).and_then(|held| held.spools.first().copied());
        let record = ring.state.by_scope.get(&DekScope::tenant(tenant, DataClass::Record));
        let known = known.map(|spool| spool.dek).or_else(|| record.copied());
        if let Some((id, dek)) = known.and_then(|id| Some((id, ring.state.deks.get(&id)?))) {
            unwrap_dek(&kek, id, dek)?;
        }
        cache_kek(&mut ring, owner, kek);
        let was_silent = self.0.set_fresh(tenant, fresh_until);
        self.0.ensure_spools(&mut ring, tenant)?;
        Ok(was_silent)
    }

    /// Wipes the keys of tenants whose time is over, and answers who fell silent by that.
    pub fn lapse(&self) -> Vec<TenantId> {
        let now = self.0.clock.monotonic();
        if !self.0.cache.read().held.values().any(|held| held.is_due(now)) {
            return Vec::new();
        }
        let mut ring = self.0.ring.lock();
        let mut cache = self.0.cache.write();
        let mut lapsed = Vec::new();
        let at = self.0.clock.now();
        for (tenant, held) in cache.held.iter_mut().filter(|(_, held)| held.is_due(now)) {
            held.silent_since = Some(at);
            lapsed.push(*tenant);
        }
        drop(cache);
        for tenant in &lapsed {
            self.0.wipe(&mut ring, *tenant);
        }
        lapsed
    }

    /// A new KEK for a tenant, not in use yet.
    pub fn new_kek(&self, tenant: TenantId) -> Result<NewKek, KeyError> {
        let ring = self.0.ring.lock();
        ring.state.check_usable(Some(tenant))?;
        let version = ring.state.keks.get(&Some(tenant)).map_or(0, |kek| kek.version) + 1;
        Ok(NewKek { tenant, version, secret: SecretKey::generate(self.0.rng.as_ref()) })
    }

    /// Puts a new KEK to use: every key of the tenant is wrapped anew under it and the old version
    /// is destroyed, all in one write. Whose key stands above may change by it.
    pub fn install_kek(&self, kek: NewKek, above: NewAbove) -> Result<Rotation, KeyError> {
        let tenant = kek.tenant;
        let owner = Some(tenant);
        let (kind, wrapped) = self.0.wrap_new(tenant, &kek, &above)?;
        let mut ring = self.0.ring.lock();
        ring.state.check_usable(owner)?;
        let old_kek = self.0.kek(&mut ring, owner)?;
        let old_version = ring.state.keks.get(&owner).map_or(0, |kek| kek.version);
        if old_version + 1 != kek.version {
            return Err(KeyError::Replaced(tenant));
        }
        let created_at = self.0.clock.now();
        let mut entries =
            vec![Entry::Kek(owner, KekEntry { version: kek.version, created_at, wrapped })];
        let new_above = Above { kind, since: created_at };
        let stays =
            ring.state.level(owner) == new_above.level() && new_above.level() != KeyLevel::Brought;
        if !stays {
            entries.push(Entry::Above(tenant, new_above));
        }
        let rewrapped = self.0.rewrap(&ring, owner, &old_kek, &kek.secret, kek.version)?;
        let rewrapped_count = rewrapped.len();
        entries.extend(rewrapped);
        ring.keks.remove(&owner);
        ring.commit_by_rewrite(entries)?;
        cache_kek(&mut ring, owner, kek.secret);
        self.0.refresh_held(&ring, tenant);
        if let NewAbove::Held { fresh_until, .. } = above {
            self.0.set_fresh(tenant, fresh_until);
            self.0.ensure_spools(&mut ring, tenant)?;
        }
        Ok(Rotation { old_version, new_version: kek.version, rewrapped_count })
    }

    /// Takes the key away that a customer brought: it is written out of the keyring, and nothing
    /// of the tenant can be read until the same key is brought again.
    pub fn take_away_brought(&self, tenant: TenantId) -> Result<(), KeyError> {
        let mut ring = self.0.ring.lock();
        ring.state.check_usable(Some(tenant))?;
        let Some(Above { kind: AboveKind::Brought { fingerprint, .. }, since }) =
            ring.state.above.get(&tenant)
        else {
            return Err(KeyError::HeldElsewhere(tenant));
        };
        let kind = AboveKind::Brought { fingerprint: *fingerprint, wrapped: Vec::new() };
        let above = Above { kind, since: *since };
        let at = self.0.clock.now();
        ring.commit_by_rewrite(vec![Entry::Above(tenant, above), Entry::Revoked(tenant, at)])?;
        self.0.wipe(&mut ring, tenant);
        self.0.refresh_held(&ring, tenant);
        Ok(())
    }

    /// Gives back the key that was taken away; another one is refused.
    pub fn give_back_brought(&self, tenant: TenantId, key: &SecretKey) -> Result<(), KeyError> {
        let mut ring = self.0.ring.lock();
        ring.state.check_known(Some(tenant))?;
        let Some(Above { kind: AboveKind::Brought { fingerprint, .. }, since }) =
            ring.state.above.get(&tenant)
        else {
            return Err(KeyError::HeldElsewhere(tenant));
        };
        if brought_fingerprint(key) != *fingerprint {
            return Err(KeyError::NotAuthentic);
        }
        // A fingerprint is short: what counts is that the key opens what it has to.
        if let Some(kek) = ring.state.keks.get(&Some(tenant)) {
            let context = KekContext { tenant: Some(tenant), version: kek.version };
            unwrap_under_brought(key, &context, &kek.wrapped)?;
        }
        let wrapped = self.0.root.wrap(&brought_context(tenant), key)?;
        let kind = AboveKind::Brought { fingerprint: *fingerprint, wrapped };
        let above = Above { kind, since: *since };
        ring.commit(vec![Entry::Above(tenant, above), Entry::Restored(tenant)])?;
        self.0.refresh_held(&ring, tenant);
        self.0.changes.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Withdraws the keys of a tenant whose key service refused to unwrap this version of its KEK.
    /// Where another version is in use by now the answer was about something else, and counts for
    /// nothing: [`KeyError::Replaced`].
    pub fn note_refused(&self, tenant: TenantId, version: u32) -> Result<(), KeyError> {
        let mut ring = self.0.ring.lock();
        ring.state.check_asked(tenant, version)?;
        self.0.withdraw(&mut ring, tenant)
    }

    /// Notes that the key above this version of a tenant's KEK was destroyed where it was held; of
    /// another version as [`Self::note_refused`]. Nothing is deleted by that: whether everything
    /// shall go is the customer's to say.
    pub fn note_gone(&self, tenant: TenantId, version: u32) -> Result<(), KeyError> {
        let mut ring = self.0.ring.lock();
        ring.state.check_known(Some(tenant))?;
        if ring.state.gone.contains_key(&tenant) {
            return Ok(());
        }
        ring.state.check_asked(tenant, version)?;
        let at = self.0.clock.now();
        ring.commit(vec![Entry::Gone(tenant, at)])?;
        self.0.wipe(&mut ring, tenant);
        self.0.refresh_held(&ring, tenant);
        Ok(())
    }

    /// Keeps the id of the certificate that tells how a tenant's keys ended; refusals name it.
    pub fn note_certificate(&self, tenant: TenantId, id: &str) -> Result<(), KeyError> {
        if id.is_empty() || id.len() > CERTIFICATE_ID_BYTES_MAX {
            return Err(KeyError::Format {
                expected: "certificate id",
                reason: "it is empty or longer than 128 bytes",
            });
        }
        self.0.ring.lock().commit(vec![Entry::Certificate(tenant, id.to_owned())])
    }

    /// Fails if nothing of a tenant may be read now, and says why. Cheap while all is well.
    pub fn check(&self, tenant: TenantId) -> Result<(), KeyError> {
        {
            let cache = self.0.cache.read();
            if !cache.denied.contains(&tenant) {
                let is_fresh = cache.is_fresh(Some(tenant), self.0.clock.as_ref());
                return if is_fresh { Ok(()) } else { Err(KeyError::Silent(tenant)) };
            }
        }
        self.0.ring.lock().state.check_usable(Some(tenant))
    }

    /// Whether a tenant's key is held elsewhere and may be asked for.
    pub fn is_held(&self, tenant: TenantId) -> bool {
        self.0.cache.read().held.contains_key(&tenant)
    }

    /// Counts up whenever keys of some tenant are withheld or given back: what was opened with
    /// them has to be asked for again.
    pub fn changes(&self) -> u64 {
        self.0.changes.load(Ordering::Acquire)
    }
}
