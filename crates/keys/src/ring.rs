//! The keyring at work: state, journal and caches under one lock. A change is durable in the
//! journal before the state shows it; secrets leave only as [`Dek`] and [`SecretKey`].

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use veritwin_domain::{Clock, Rng, TenantId, Timestamp};

use crate::above::{brought_context, unwrap_under_brought, wrap_under_brought};
use crate::dek::{NEVER_MICROS, open_salted, seal_salted};
use crate::entry::{DekEntry, Entry, KekEntry, Owner, State};
use crate::held::Held;
use crate::journal::{FRAME_BYTES_MAX, Journal};
use crate::root::secret_from;
use crate::{
    Dek, DekId, DekScope, Destruction, KekContext, KeyError, KeyLevel, RootProvider, Rotation,
    SecretKey,
};

/// Most unwrapped data keys held in memory.
pub const DEK_CACHE_MAX: usize = 65_536;
/// Most unwrapped tenant keys held in memory.
pub const KEK_CACHE_MAX: usize = 16_384;
/// A journal above this size is written anew at opening if that at least halves it.
const COMPACT_ABOVE_BYTES: u64 = 1024 * 1024;
/// Largest encoded entry, with room to spare for a provider's own wrapping format.
const ENTRY_BYTES_MAX: usize = 128 * 1024;
const DEK_WRAP_LABEL: &[u8] = b"veritwin dek wrap v1";
/// Longest wrapped KEK, in bytes.
pub(crate) const WRAPPED_BYTES_MAX: usize = crate::PROVIDER_CIPHERTEXT_BYTES_MAX;

pub(crate) struct Inner {
    pub(crate) root: Box<dyn RootProvider>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) ring: Mutex<Ring>,
    // Written only while `ring` is locked, so that nothing withdrawn comes back.
    pub(crate) cache: RwLock<Cache>,
    /// See [`crate::KeyService::changes`].
    pub(crate) changes: AtomicU64,
}

pub(crate) struct Ring {
    journal: Journal,
    pub(crate) state: State,
    pub(crate) keks: HashMap<Owner, SecretKey>,
    last_used_micros: HashMap<Owner, Arc<AtomicI64>>,
}

#[derive(Default)]
pub(crate) struct Cache {
    pub(crate) by_scope: HashMap<DekScope, Dek>,
    pub(crate) by_id: HashMap<DekId, Dek>,
    /// Tenants whose key is held elsewhere and may be asked for.
    pub(crate) held: HashMap<TenantId, Held>,
    /// Tenants whose keys are revoked, gone or destroyed.
    pub(crate) denied: HashSet<TenantId>,
}

impl Cache {
    /// Keeps a key; one that is retired is found by its id only.
    fn insert(&mut self, dek: &Dek, is_retired: bool) {
        if self.by_id.len() >= DEK_CACHE_MAX {
            self.by_id.clear();
            self.by_scope.clear();
        }
        self.by_id.insert(dek.id(), dek.clone());
        if !is_retired {
            self.by_scope.insert(*dek.scope(), dek.clone());
        }
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&Dek) -> bool) {
        self.by_id.retain(|_, dek| keep(dek));
        self.by_scope.retain(|_, dek| keep(dek));
    }
}

impl Ring {
    /// Makes entries durable, then visible. What is known of last uses goes along.
    pub(crate) fn commit(&mut self, mut entries: Vec<Entry>) -> Result<(), KeyError> {
        entries.extend(self.unsaved_uses());
        for frame in frames(entries.iter()) {
            self.journal.append(&frame)?;
        }
        entries.into_iter().for_each(|entry| self.state.apply(entry));
        Ok(())
    }

    /// Applies entries to the state and writes the journal anew from it. If that fails the journal
    /// refuses further writes, so that memory and disk cannot drift apart unnoticed.
    pub(crate) fn commit_by_rewrite(&mut self, entries: Vec<Entry>) -> Result<(), KeyError> {
        for entry in entries {
            self.state.apply(entry);
        }
        for entry in self.unsaved_uses() {
            self.state.apply(entry);
        }
        let payloads = frames(self.state.entries().collect::<Vec<_>>().iter());
        self.journal.rewrite(&payloads)
    }

    fn unsaved_uses(&self) -> Vec<Entry> {
        let known = |owner: &Owner| self.state.keks.contains_key(owner);
        let owners = self.last_used_micros.keys().filter(|owner| known(owner));
        owners
            .filter_map(|owner| {
                let at = self.last_used_at(*owner)?;
                (self.state.last_used.get(owner) != Some(&at))
                    .then_some(Entry::LastUsed(*owner, at))
            })
            .collect()
    }

    pub(crate) fn last_used_at(&self, owner: Owner) -> Option<Timestamp> {
        let micros = self.last_used_micros.get(&owner).map(|cell| cell.load(Ordering::Relaxed));
        micros
            .filter(|micros| *micros != NEVER_MICROS)
            .map(Timestamp::from_micros)
            .or_else(|| self.state.last_used.get(&owner).copied())
    }
}

/// Encodes entries into as few frames as their bound allows.
fn frames<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut frame = Vec::new();
    for entry in entries {
        if frame.len() > FRAME_BYTES_MAX - ENTRY_BYTES_MAX {
            frames.push(std::mem::take(&mut frame));
        }
        entry.encode(&mut frame);
    }
    if !frame.is_empty() {
        frames.push(frame);
    }
    frames
}

impl Inner {
    pub(crate) fn open(
        root: Box<dyn RootProvider>,
        directory: &Path,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Result<Self, KeyError> {
        let (journal, frames) = Journal::open(directory)?;
        let mut state = State::default();
        let mut wrapped_count = 0;
        for frame in &frames {
            let entries = Entry::decode_all(frame).ok_or(KeyError::Format {
                expected: "keyring entry",
                reason: "written by a newer version, or not by this program",
            })?;
            for entry in entries {
                wrapped_count += usize::from(matches!(entry, Entry::Kek(..) | Entry::Dek(..)));
                state.apply(entry);
            }
        }
        let live_count = state.keks.len() + state.deks.len();
        let ring = Ring { journal, state, keks: HashMap::new(), last_used_micros: HashMap::new() };
        let (ring, cache) = (Mutex::new(ring), RwLock::default());
        let inner = Self { root, clock, rng, ring, cache, changes: AtomicU64::new(0) };
        {
            let mut ring = inner.ring.lock();
            if ring.state.keks.contains_key(&None) {
                inner.kek(&mut ring, None)?;
            } else {
                inner.create_kek(&mut ring, None)?;
            }
            compact(&mut ring, wrapped_count > live_count)?;
            let state = &ring.state;
            let odd = state.above.keys().chain(state.revoked.keys()).chain(state.gone.keys());
            let odd = odd.chain(state.tenants_destroyed.keys());
            let odd: HashSet<TenantId> = odd.copied().collect();
            for tenant in odd {
                inner.refresh_held(&ring, tenant);
            }
        }
        Ok(inner)
    }

    /// Makes an owner's first KEK.
    pub(crate) fn create_kek(&self, ring: &mut Ring, owner: Owner) -> Result<(), KeyError> {
        let (secret, entry) = self.new_kek(&ring.state, owner, 1)?;
        ring.commit(vec![Entry::Kek(owner, entry)])?;
        cache_kek(ring, owner, secret);
        Ok(())
    }

    fn new_kek(
        &self,
        state: &State,
        owner: Owner,
        version: u32,
    ) -> Result<(SecretKey, KekEntry), KeyError> {
        let secret = SecretKey::generate(self.rng.as_ref());
        let context = KekContext { tenant: owner, version };
        let wrapped = match self.brought(state, owner)? {
            Some(key) => wrap_under_brought(&key, self.rng.as_ref(), &context, &secret),
            None => self.root.wrap(&context, &secret)?,
        };
        if wrapped.len() > WRAPPED_BYTES_MAX {
            return Err(KeyError::Format {
                expected: "wrapped KEK",
                reason: "the root provider returned more than 16384 bytes",
            });
        }
        Ok((secret, KekEntry { version, created_at: self.clock.now(), wrapped }))
    }

    /// The key that a tenant brought, if it brought one.
    fn brought(&self, state: &State, owner: Owner) -> Result<Option<SecretKey>, KeyError> {
        let Some((tenant, wrapped)) = state.brought(owner) else { return Ok(None) };
        self.root.unwrap(&brought_context(tenant), wrapped).map(Some)
    }

    /// A cached key, unless the time of what was unwrapped is over.
    pub(crate) fn cached(&self, find: impl FnOnce(&Cache) -> Option<&Dek>) -> Option<Dek> {
        let cache = self.cache.read();
        let dek = find(&cache)?;
        cache.is_fresh(dek.scope().tenant, self.clock.as_ref()).then(|| {
            dek.note_use(self.clock.now());
            dek.clone()
        })
    }

    pub(crate) fn kek(&self, ring: &mut Ring, owner: Owner) -> Result<SecretKey, KeyError> {
        if let Some(secret) = ring.keks.get(&owner)
            && self.is_fresh(owner)
        {
            return Ok(secret.clone());
        }
        ring.state.check_usable(owner)?;
        let Some(kek) = ring.state.keks.get(&owner) else {
            return Err(KeyError::Format { expected: "keyring", reason: "a KEK is missing" });
        };
        let context = KekContext { tenant: owner, version: kek.version };
        let secret = match (ring.state.level(owner), owner) {
            (KeyLevel::Held, Some(tenant)) => return Err(KeyError::Silent(tenant)),
            _ => match self.brought(&ring.state, owner)? {
                Some(key) => unwrap_under_brought(&key, &context, &kek.wrapped)?,
                None => self.root.unwrap(&context, &kek.wrapped)?,
            },
        };
        cache_kek(ring, owner, secret.clone());
        Ok(secret)
    }

    /// Makes keys for those usable scopes that have none. A failure shows when they are loaded.
    pub(crate) fn create_missing(
        &self,
        ring: &mut Ring,
        scopes: &[DekScope],
    ) -> Result<(), KeyError> {
        let mut seen = HashSet::new();
        let mut entries = Vec::new();
        for scope in scopes {
            let missing = !ring.state.by_scope.contains_key(scope) && seen.insert(*scope);
            if !missing || ring.state.check_usable(scope.tenant).is_err() {
                continue;
            }
            let Ok(kek) = self.kek(ring, scope.tenant) else { continue };
            let id = DekId::generate(self.rng.as_ref());
            let secret = SecretKey::generate(self.rng.as_ref());
            let version = ring.state.keks.get(&scope.tenant).map_or(0, |kek| kek.version);
            let entry = DekEntry {
                scope: *scope,
                kek_version: version,
                created_at: self.clock.now(),
                wrapped: wrap_dek(&kek, self.rng.as_ref(), id, scope, version, &secret),
            };
            entries.push(Entry::Dek(id, entry));
        }
        if entries.is_empty() { Ok(()) } else { ring.commit(entries) }
    }

    /// Unwraps a live key into the cache.
    pub(crate) fn load(&self, ring: &mut Ring, id: DekId) -> Result<Dek, KeyError> {
        let now = self.clock.now();
        if let Some(dek) = self.cached(|cache| cache.by_id.get(&id)) {
            return Ok(dek);
        }
        let entry = ring.state.live(id)?.clone();
        let owner = entry.scope.tenant;
        ring.state.check_usable(owner)?;
        let kek = self.kek(ring, owner)?;
        let secret = unwrap_dek(&kek, id, &entry)?;
        let cell = ring.last_used_micros.entry(owner);
        let cell = cell.or_insert_with(|| Arc::new(AtomicI64::new(NEVER_MICROS)));
        let dek = Dek::new(id, entry.scope, secret, Arc::clone(&self.rng), Arc::clone(cell));
        dek.note_use(now);
        self.cache.write().insert(&dek, ring.state.retired.contains_key(&id));
        Ok(dek)
    }

    pub(crate) fn destroy_and_rewrite(
        &self,
        ring: &mut Ring,
        destructions: &[Destruction],
        whole_tenant: Option<(TenantId, Timestamp)>,
    ) -> Result<(), KeyError> {
        let mut entries: Vec<_> = destructions.iter().copied().map(Entry::Destroyed).collect();
        entries.extend(whole_tenant.map(|(tenant, at)| Entry::TenantDestroyed(tenant, at)));
        // First as a durable fact, then by writing the wrapped keys out of the file: a crash in
        // between finds the fact at opening.
        ring.commit(entries)?;
        let gone: HashSet<DekId> = destructions.iter().map(|record| record.dek).collect();
        self.cache.write().retain(|dek| !gone.contains(&dek.id()));
        if let Some((tenant, _)) = whole_tenant {
            ring.keks.remove(&Some(tenant));
            ring.last_used_micros.remove(&Some(tenant));
        }
        let tenants: HashSet<TenantId> =
            destructions.iter().filter_map(|record| record.scope.tenant).collect();
        for tenant in tenants.into_iter().chain(whole_tenant.map(|(tenant, _)| tenant)) {
            self.refresh_held(ring, tenant);
        }
        self.changes.fetch_add(1, Ordering::AcqRel);
        ring.commit_by_rewrite(Vec::new())
    }

    pub(crate) fn rotate(&self, owner: Owner) -> Result<Rotation, KeyError> {
        let mut ring = self.ring.lock();
        ring.state.check_usable(owner)?;
        if let (KeyLevel::Held, Some(tenant)) = (ring.state.level(owner), owner) {
            return Err(KeyError::HeldElsewhere(tenant));
        }
        let old_kek = self.kek(&mut ring, owner)?;
        let old_version = ring.state.keks.get(&owner).map_or(0, |kek| kek.version);
        let new_version = old_version + 1;
        let (new_kek, kek_entry) = self.new_kek(&ring.state, owner, new_version)?;
        let mut entries = vec![Entry::Kek(owner, kek_entry)];
        entries.extend(self.rewrap(&ring, owner, &old_kek, &new_kek, new_version)?);
        let rewrapped_count = entries.len() - 1;
        // If the rewrite fails, memory goes on with the new version, freshly unwrapped.
        ring.keks.remove(&owner);
        ring.commit_by_rewrite(entries)?;
        cache_kek(&mut ring, owner, new_kek);
        Ok(Rotation { old_version, new_version, rewrapped_count })
    }

    /// Every data key of an owner, wrapped under another KEK.
    pub(crate) fn rewrap(
        &self,
        ring: &Ring,
        owner: Owner,
        old_kek: &SecretKey,
        new_kek: &SecretKey,
        new_version: u32,
    ) -> Result<Vec<Entry>, KeyError> {
        let own = ring.state.deks.iter().filter(|(_, dek)| dek.scope.tenant == owner);
        own.map(|(id, dek)| {
            let secret = unwrap_dek(old_kek, *id, dek)?;
            let rng = self.rng.as_ref();
            let wrapped = wrap_dek(new_kek, rng, *id, &dek.scope, new_version, &secret);
            let entry = DekEntry { kek_version: new_version, wrapped, ..dek.clone() };
            Ok(Entry::Dek(*id, entry))
        })
        .collect()
    }
}

pub(crate) fn cache_kek(ring: &mut Ring, owner: Owner, secret: SecretKey) {
    if ring.keks.len() >= KEK_CACHE_MAX {
        // What only a customer's key service can unwrap again stays.
        let state = &ring.state;
        ring.keks.retain(|owner, _| state.level(*owner) == KeyLevel::Held);
    }
    ring.keks.insert(owner, secret);
}

/// Writes the journal anew when most of it is history. A crash at any moment leaves the old or the
/// new file in place; both say the same. A file that still holds keys which are destroyed by now (a
/// crash fell between the two steps of a destruction) is always written anew.
fn compact(ring: &mut Ring, holds_destroyed: bool) -> Result<(), KeyError> {
    let needed: usize =
        frames(ring.state.entries().collect::<Vec<_>>().iter()).iter().map(Vec::len).sum();
    let length_bytes = ring.journal.length_bytes();
    let mostly_history = length_bytes > COMPACT_ABOVE_BYTES && needed as u64 * 2 < length_bytes;
    if holds_destroyed || mostly_history {
        ring.commit_by_rewrite(Vec::new())?;
    }
    Ok(())
}

fn dek_aad(id: DekId, scope: &DekScope, kek_version: u32) -> Vec<u8> {
    let mut aad = id.as_bytes().to_vec();
    scope.encode(&mut aad);
    aad.extend_from_slice(&kek_version.to_le_bytes());
    aad
}

fn wrap_dek(
    kek: &SecretKey,
    rng: &dyn Rng,
    id: DekId,
    scope: &DekScope,
    kek_version: u32,
    secret: &SecretKey,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(76);
    let aad = dek_aad(id, scope, kek_version);
    seal_salted(kek, rng, DEK_WRAP_LABEL, &aad, secret.expose(), &mut out);
    out
}

pub(crate) fn unwrap_dek(
    kek: &SecretKey,
    id: DekId,
    entry: &DekEntry,
) -> Result<SecretKey, KeyError> {
    let aad = dek_aad(id, &entry.scope, entry.kek_version);
    let opened = zeroize::Zeroizing::new(open_salted(kek, DEK_WRAP_LABEL, &aad, &entry.wrapped)?);
    secret_from(&opened)
}
