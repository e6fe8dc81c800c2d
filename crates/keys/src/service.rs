//! The key service: makes, finds, rotates, withdraws and destroys keys. Every change is durable in
//! the keyring before it is visible. Unwrapped keys are cached within a bound.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use veritwin_domain::{Clock, FileId, Rng, TenantId, Timestamp};

use crate::above::AboveKind;
use crate::entry::{Entry, Retired};
use crate::journal::Journal;
use crate::primitive::hkdf_sha256;
use crate::ring::Inner;
use crate::{
    DataClass, DayKey, Dek, DekId, DekScope, DekSummary, Destruction, DestructionMethod, Epoch,
    FileHeader, FileKey, KeyError, KeyState, KeyStatus, RootProvider, Rotation, SecretKey,
};

const SUBKEY_LABEL: &[u8] = b"veritwin platform subkey v1";

/// The keys of the platform and its tenants. Cloning shares it.
#[derive(Clone)]
pub struct KeyService(pub(crate) Arc<Inner>);

impl KeyService {
    /// Opens the keyring in `directory` (made if absent, its parent has to exist), and makes the
    /// platform's own KEK at the first start. Fails if `root` is not the root of this keyring.
    pub fn open(
        root: Box<dyn RootProvider>,
        directory: &Path,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Result<Self, KeyError> {
        Ok(Self(Arc::new(Inner::open(root, directory, clock, rng)?)))
    }

    /// Reads the journal of a keyring that nobody has open and changes nothing: an error names the
    /// damage. The answer is where an unfinished write begins, which the next opening cuts off.
    pub fn check_files(directory: &Path) -> Result<Option<u64>, KeyError> {
        Journal::check(directory)
    }

    /// Makes a tenant's first KEK; nothing happens if it has one.
    pub fn create_tenant(&self, tenant: TenantId) -> Result<(), KeyError> {
        let mut ring = self.0.ring.lock();
        if let Some(at) = ring.state.tenants_destroyed.get(&tenant) {
            return Err(ring.state.tenant_destroyed(tenant, *at));
        }
        if ring.state.keks.contains_key(&Some(tenant)) {
            return Ok(());
        }
        self.0.create_kek(&mut ring, Some(tenant))
    }

    /// The key of a scope; made and durable at the first call.
    pub fn dek(&self, scope: &DekScope) -> Result<Dek, KeyError> {
        if let Some(dek) = self.0.cached(|cache| cache.by_scope.get(scope)) {
            return Ok(dek);
        }
        self.deks(std::slice::from_ref(scope)).remove(0)
    }

    /// The keys of many scopes, in their order; all new ones become durable together.
    pub fn deks(&self, scopes: &[DekScope]) -> Vec<Result<Dek, KeyError>> {
        let mut ring = self.0.ring.lock();
        let mut failure = self.0.create_missing(&mut ring, scopes).err();
        scopes
            .iter()
            .map(|scope| {
                ring.state.check_usable(scope.tenant)?;
                match ring.state.by_scope.get(scope).copied() {
                    Some(id) => self.0.load(&mut ring, id),
                    // Either the root provider or the journal refused.
                    None => Err(match self.0.kek(&mut ring, scope.tenant) {
                        Err(error) => error,
                        Ok(_) => failure.take().unwrap_or(KeyError::Poisoned),
                    }),
                }
            })
            .collect()
    }

    /// The key that a sealed header names.
    pub fn dek_by_id(&self, id: DekId) -> Result<Dek, KeyError> {
        if let Some(dek) = self.0.cached(|cache| cache.by_id.get(&id)) {
            return Ok(dek);
        }
        self.0.load(&mut self.0.ring.lock(), id)
    }

    /// The file key and header for a new file. `file` must be fresh: one file id, one file.
    pub fn create_file(
        &self,
        scope: &DekScope,
        file: FileId,
    ) -> Result<(FileKey, FileHeader), KeyError> {
        let key = FileKey::derive(&self.dek(scope)?, file);
        let header = FileHeader::new(&key);
        Ok((key, header))
    }

    /// The file key for a header that was read, its commitment checked.
    pub fn open_file(&self, header: &FileHeader) -> Result<FileKey, KeyError> {
        header.open(&self.dek_by_id(header.dek)?)
    }

    /// A secret for the platform itself (database, index or cookie key): HKDF-SHA-256 of a platform
    /// DEK and the label. The same label always gives the same secret.
    pub fn platform_subkey(&self, label: &str) -> Result<SecretKey, KeyError> {
        let dek = self.dek(&DekScope::platform(DataClass::Record))?;
        let mut bytes = zeroize::Zeroizing::new([0u8; 32]);
        hkdf_sha256(dek.secret(), SUBKEY_LABEL, &[label.as_bytes()], bytes.as_mut());
        Ok(SecretKey::from_bytes(*bytes))
    }

    /// Destroys keys for ever and returns the record of each. All of them have to exist; an error
    /// destroys none. The keyring is written anew, so that the wrapped keys are gone from it.
    /// Clones of a [`Dek`] that are in use elsewhere live until they are dropped.
    pub fn destroy(
        &self,
        deks: &[DekId],
        method: DestructionMethod,
    ) -> Result<Vec<Destruction>, KeyError> {
        let mut ring = self.0.ring.lock();
        let at = self.0.clock.now();
        let distinct: HashSet<DekId> = deks.iter().copied().collect();
        let destructions = distinct
            .into_iter()
            .map(|id| ring.state.destruction(id, at, method))
            .collect::<Result<Vec<_>, _>>()?;
        self.0.destroy_and_rewrite(&mut ring, &destructions, None)?;
        Ok(destructions)
    }

    /// Destroys every key of a tenant, its KEK included, for ever.
    pub fn destroy_tenant(&self, tenant: TenantId) -> Result<Vec<Destruction>, KeyError> {
        let mut ring = self.0.ring.lock();
        ring.state.check_known(Some(tenant))?;
        let at = self.0.clock.now();
        let ids = ring.state.deks.iter().filter(|(_, dek)| dek.scope.tenant == Some(tenant));
        let destructions = ids
            .map(|(id, _)| ring.state.destruction(*id, at, DestructionMethod::TenantKeysDestroyed))
            .collect::<Result<Vec<_>, _>>()?;
        self.0.destroy_and_rewrite(&mut ring, &destructions, Some((tenant, at)))?;
        Ok(destructions)
    }

    /// Makes a new KEK version for a tenant, wraps every key anew, destroys the old version.
    pub fn rotate_tenant(&self, tenant: TenantId) -> Result<Rotation, KeyError> {
        self.0.rotate(Some(tenant))
    }

    /// The same for the platform's own KEK.
    pub fn rotate_platform(&self) -> Result<Rotation, KeyError> {
        self.0.rotate(None)
    }

    /// Withdraws a tenant's keys: nothing of it can be sealed or opened until [`Self::restore`].
    pub fn revoke(&self, tenant: TenantId) -> Result<(), KeyError> {
        self.0.withdraw(&mut self.0.ring.lock(), tenant)
    }

    /// Ends a withdrawal.
    pub fn restore(&self, tenant: TenantId) -> Result<(), KeyError> {
        let mut ring = self.0.ring.lock();
        ring.state.check_known(Some(tenant))?;
        if !ring.state.revoked.contains_key(&tenant) {
            return Ok(());
        }
        if ring.state.brought(Some(tenant)).is_some_and(|(_, wrapped)| wrapped.is_empty()) {
            return Err(KeyError::HeldElsewhere(tenant));
        }
        ring.commit(vec![Entry::Restored(tenant)])?;
        self.0.refresh_held(&ring, tenant);
        self.0.changes.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// The tenants that have, or had, keys.
    pub fn tenants(&self) -> Vec<TenantId> {
        let ring = self.0.ring.lock();
        let live = ring.state.keks.keys().filter_map(|owner| *owner);
        let mut tenants: Vec<_> =
            live.chain(ring.state.tenants_destroyed.keys().copied()).collect();
        tenants.sort_unstable();
        tenants
    }

    /// Which keys protect a tenant or, with `None`, the platform.
    pub fn status(&self, tenant: Option<TenantId>) -> Result<KeyStatus, KeyError> {
        let ring = self.0.ring.lock();
        let mut state = ring.state.key_state(tenant)?;
        let above = tenant.and_then(|tenant| ring.state.above.get(&tenant));
        let brought = above.and_then(|above| match &above.kind {
            AboveKind::Brought { fingerprint, .. } => Some(hex::encode(fingerprint)),
            AboveKind::Platform | AboveKind::Held => None,
        });
        let silent = tenant.and_then(|tenant| self.silent_since(tenant));
        if let (KeyState::Active, Some(since)) = (state, silent) {
            state = KeyState::Silent { since };
        }
        let kek = ring.state.keks.get(&tenant);
        let destroyed = ring.state.destroyed.values();
        Ok(KeyStatus {
            tenant,
            root: self.0.root.describe(),
            level: ring.state.level(tenant),
            level_since: above.map(|above| above.since),
            brought,
            state,
            kek_version: kek.map_or(0, |kek| kek.version),
            kek_created_at: kek.map(|kek| kek.created_at),
            classes: ring.state.class_statuses(tenant),
            destroyed_count: destroyed.filter(|record| record.scope.tenant == tenant).count(),
            last_used_at: ring.last_used_at(tenant),
        })
    }

    /// The live keys of a tenant or of the platform, oldest first.
    pub fn list(&self, tenant: Option<TenantId>) -> Vec<DekSummary> {
        let ring = self.0.ring.lock();
        let own = ring.state.deks.iter().filter(|(_, dek)| dek.scope.tenant == tenant);
        let mut summaries: Vec<_> = own
            .map(|(id, dek)| DekSummary {
                id: *id,
                scope: dek.scope,
                created_at: dek.created_at,
                kek_version: dek.kek_version,
            })
            .collect();
        summaries.sort_unstable_by_key(|summary| (summary.created_at, summary.id));
        summaries
    }

    /// The live keys of a class that are each of one day, of all tenants.
    pub fn day_keys(&self, class: DataClass) -> Vec<DayKey> {
        let ring = self.0.ring.lock();
        let of_class = ring.state.by_scope.iter().filter(|(scope, _)| scope.class == class);
        of_class
            .filter_map(|(scope, dek)| match (scope.tenant, scope.epoch) {
                (Some(tenant), Epoch::Day(day)) => Some(DayKey { tenant, day, dek: *dek }),
                _ => None,
            })
            .collect()
    }

    /// Takes keys out of use: what is sealed from now on gets new ones, and what they sealed opens
    /// as before until they are destroyed. `by` names the act that will do it; without one they
    /// go after a time. A key that an act has retired stays that act's.
    pub fn retire(&self, deks: &[DekId], by: Option<[u8; 16]>) -> Result<(), KeyError> {
        let mut ring = self.0.ring.lock();
        let now = self.0.clock.now();
        let mut entries = Vec::new();
        for id in deks.iter().copied().collect::<BTreeSet<DekId>>() {
            ring.state.live(id)?;
            match ring.state.retired.get(&id) {
                None => entries.push(Entry::Retired(id, Retired { at: now, by })),
                Some(Retired { at, by: None }) if by.is_some() => {
                    entries.push(Entry::Retired(id, Retired { at: *at, by }));
                }
                Some(_) => {}
            }
        }
        if entries.is_empty() {
            return Ok(());
        }
        ring.commit(entries)?;
        let retired = &ring.state.retired;
        self.0.cache.write().by_scope.retain(|_, dek| !retired.contains_key(&dek.id()));
        let owners = deks.iter().filter_map(|id| ring.state.deks.get(id)?.scope.tenant);
        for tenant in owners.collect::<BTreeSet<TenantId>>() {
            self.0.refresh_held(&ring, tenant);
        }
        Ok(())
    }

    /// The live keys that an act has retired, in the order of their ids.
    pub fn retired_by(&self, act: [u8; 16]) -> Vec<DekSummary> {
        self.retired(|retired| retired.by == Some(act))
    }

    /// The live keys that were retired before a moment and are no act's to destroy, in the order
    /// of their ids.
    pub fn retired_before(&self, at: Timestamp) -> Vec<DekSummary> {
        self.retired(|retired| retired.by.is_none() && retired.at < at)
    }

    /// Whether a live key is retired.
    pub fn is_retired(&self, dek: DekId) -> bool {
        self.0.ring.lock().state.retired.contains_key(&dek)
    }

    fn retired(&self, is_meant: impl Fn(&Retired) -> bool) -> Vec<DekSummary> {
        let ring = self.0.ring.lock();
        let meant = ring.state.retired.iter().filter(|(_, retired)| is_meant(retired));
        let summary = |id: &DekId| {
            let dek = ring.state.deks.get(id)?;
            let (created_at, kek_version) = (dek.created_at, dek.kek_version);
            Some(DekSummary { id: *id, scope: dek.scope, created_at, kek_version })
        };
        let mut found: Vec<DekSummary> = meant.filter_map(|(id, _)| summary(id)).collect();
        found.sort_unstable_by_key(|one| one.id);
        found
    }

    /// Those of these keys that are live.
    pub fn live(&self, deks: &[DekId]) -> Vec<DekId> {
        let ring = self.0.ring.lock();
        deks.iter().copied().filter(|id| ring.state.deks.contains_key(id)).collect()
    }

    /// Tenants of whose readings or records keys were destroyed under a KEK version that was made
    /// before a moment and still wraps the others; so many of them at most.
    pub fn shredded_since_wrap(&self, before: Timestamp, tenants_max: usize) -> Vec<TenantId> {
        let ring = self.0.ring.lock();
        let is_due = |record: &&Destruction| {
            let kek = ring.state.keks.get(&record.scope.tenant);
            record.scope.class != DataClass::Log
                && kek
                    .is_some_and(|kek| kek.created_at < before && record.kek_version == kek.version)
        };
        let due = ring.state.destroyed.values().filter(is_due);
        let tenants: BTreeSet<TenantId> = due.filter_map(|record| record.scope.tenant).collect();
        let usable = |tenant: &TenantId| ring.state.check_usable(Some(*tenant)).is_ok();
        tenants.into_iter().filter(usable).take(tenants_max).collect()
    }

    /// The record of a destroyed key.
    pub fn destruction(&self, dek: DekId) -> Option<Destruction> {
        self.0.ring.lock().state.destroyed.get(&dek).copied()
    }
}

impl fmt::Debug for KeyService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyService({:?})", self.0.root)
    }
}
