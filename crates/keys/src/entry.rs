//! What the keyring's journal says: one entry per fact, and the state that the facts add up to.
//! Keys stand here wrapped only.

use std::collections::HashMap;

use veritwin_domain::{TenantId, Timestamp};

use crate::above::{Above, AboveKind};
use crate::scope::{decode_owner, encode_owner};
use crate::wire::{Reader, put_short_bytes};
use crate::{
    ClassStatus, DataClass, DekId, DekScope, Destruction, DestructionMethod, KeyError, KeyLevel,
    KeyState,
};

/// None is the platform.
pub(crate) type Owner = Option<TenantId>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KekEntry {
    pub(crate) version: u32,
    pub(crate) created_at: Timestamp,
    pub(crate) wrapped: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DekEntry {
    pub(crate) scope: DekScope,
    pub(crate) kek_version: u32,
    pub(crate) created_at: Timestamp,
    pub(crate) wrapped: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    Kek(Owner, KekEntry),
    Dek(DekId, DekEntry),
    Destroyed(Destruction),
    TenantDestroyed(TenantId, Timestamp),
    Revoked(TenantId, Timestamp),
    Restored(TenantId),
    LastUsed(Owner, Timestamp),
    Above(TenantId, Above),
    /// The public key to which file keys are sealed; its private key comes of the data key.
    Spool(DekId, [u8; 32]),
    /// The key that the customer holds was destroyed where it was held.
    Gone(TenantId, Timestamp),
    /// The id of the certificate that tells how a tenant's keys ended.
    Certificate(TenantId, String),
    Retired(DekId, Retired),
}

/// A live key that seals nothing new and waits to be destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retired {
    pub(crate) at: Timestamp,
    /// The act that will destroy it; none: it goes after a time.
    pub(crate) by: Option<[u8; 16]>,
}

impl Entry {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Kek(owner, kek) => {
                out.push(1);
                encode_owner(*owner, out);
                out.extend_from_slice(&kek.version.to_le_bytes());
                put_time(out, kek.created_at);
                put_short_bytes(out, &kek.wrapped);
            }
            Self::Dek(id, dek) => {
                out.push(2);
                out.extend_from_slice(id.as_bytes());
                dek.scope.encode(out);
                out.extend_from_slice(&dek.kek_version.to_le_bytes());
                put_time(out, dek.created_at);
                put_short_bytes(out, &dek.wrapped);
            }
            Self::Destroyed(destruction) => {
                out.push(3);
                out.extend_from_slice(destruction.dek.as_bytes());
                destruction.scope.encode(out);
                put_time(out, destruction.at);
                out.push(destruction.method.as_u8());
                out.extend_from_slice(&destruction.kek_version.to_le_bytes());
            }
            Self::TenantDestroyed(tenant, at) => {
                out.push(4);
                out.extend_from_slice(tenant.as_bytes());
                put_time(out, *at);
            }
            Self::Revoked(tenant, at) => {
                out.push(5);
                out.extend_from_slice(tenant.as_bytes());
                put_time(out, *at);
            }
            Self::Restored(tenant) => {
                out.push(6);
                out.extend_from_slice(tenant.as_bytes());
            }
            Self::LastUsed(owner, at) => {
                out.push(7);
                encode_owner(*owner, out);
                put_time(out, *at);
            }
            Self::Above(tenant, above) => {
                out.push(8);
                out.extend_from_slice(tenant.as_bytes());
                above.encode(out);
            }
            Self::Spool(dek, public) => {
                out.push(9);
                out.extend_from_slice(dek.as_bytes());
                out.extend_from_slice(public);
            }
            Self::Gone(tenant, at) => {
                out.push(10);
                out.extend_from_slice(tenant.as_bytes());
                put_time(out, *at);
            }
            Self::Certificate(tenant, id) => {
                out.push(11);
                out.extend_from_slice(tenant.as_bytes());
                put_short_bytes(out, id.as_bytes());
            }
            Self::Retired(id, retired) => {
                out.push(20);
                out.extend_from_slice(id.as_bytes());
                put_time(out, retired.at);
                out.push(u8::from(retired.by.is_some()));
                out.extend_from_slice(&retired.by.unwrap_or_default());
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(match reader.u8()? {
            1 => Self::Kek(
                decode_owner(reader)?,
                KekEntry {
                    version: reader.u32()?,
                    created_at: time(reader)?,
                    wrapped: reader.short_bytes()?.to_vec(),
                },
            ),
            2 => Self::Dek(
                DekId::from_bytes(reader.array()?),
                DekEntry {
                    scope: DekScope::decode(reader)?,
                    kek_version: reader.u32()?,
                    created_at: time(reader)?,
                    wrapped: reader.short_bytes()?.to_vec(),
                },
            ),
            3 => Self::Destroyed(Destruction {
                dek: DekId::from_bytes(reader.array()?),
                scope: DekScope::decode(reader)?,
                at: time(reader)?,
                method: DestructionMethod::from_u8(reader.u8()?)?,
                kek_version: reader.u32()?,
            }),
            4 => Self::TenantDestroyed(tenant(reader)?, time(reader)?),
            5 => Self::Revoked(tenant(reader)?, time(reader)?),
            6 => Self::Restored(tenant(reader)?),
            7 => Self::LastUsed(decode_owner(reader)?, time(reader)?),
            8 => Self::Above(tenant(reader)?, Above::decode(reader)?),
            9 => Self::Spool(DekId::from_bytes(reader.array()?), reader.array()?),
            10 => Self::Gone(tenant(reader)?, time(reader)?),
            11 => {
                let tenant = tenant(reader)?;
                let id = std::str::from_utf8(reader.short_bytes()?).ok()?.to_owned();
                Self::Certificate(tenant, id)
            }
            20 => {
                let (id, at) = (DekId::from_bytes(reader.array()?), time(reader)?);
                let (is_by_act, act) = (reader.u8()? == 1, reader.array()?);
                Self::Retired(id, Retired { at, by: is_by_act.then_some(act) })
            }
            _ => return None,
        })
    }

    /// The entries of one frame; `None` when they are not in this form.
    pub(crate) fn decode_all(payload: &[u8]) -> Option<Vec<Self>> {
        let mut reader = Reader::new(payload);
        let mut entries = Vec::new();
        while !reader.is_empty() {
            entries.push(Self::decode(&mut reader)?);
        }
        Some(entries)
    }
}

fn put_time(out: &mut Vec<u8>, at: Timestamp) {
    out.extend_from_slice(&at.as_micros().to_le_bytes());
}

fn time(reader: &mut Reader<'_>) -> Option<Timestamp> {
    reader.i64().map(Timestamp::from_micros)
}

fn tenant(reader: &mut Reader<'_>) -> Option<TenantId> {
    reader.array().map(TenantId::from_bytes)
}

/// What the entries so far add up to.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) keks: HashMap<Owner, KekEntry>,
    pub(crate) deks: HashMap<DekId, DekEntry>,
    pub(crate) by_scope: HashMap<DekScope, DekId>,
    pub(crate) destroyed: HashMap<DekId, Destruction>,
    pub(crate) tenants_destroyed: HashMap<TenantId, Timestamp>,
    pub(crate) revoked: HashMap<TenantId, Timestamp>,
    pub(crate) last_used: HashMap<Owner, Timestamp>,
    pub(crate) above: HashMap<TenantId, Above>,
    pub(crate) spools: HashMap<DekId, [u8; 32]>,
    pub(crate) gone: HashMap<TenantId, Timestamp>,
    pub(crate) certificates: HashMap<TenantId, String>,
    /// Of live keys only.
    pub(crate) retired: HashMap<DekId, Retired>,
}

impl State {
    pub(crate) fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Kek(owner, kek) => {
                self.keks.insert(owner, kek);
            }
            Entry::Dek(id, dek) => {
                if !self.retired.contains_key(&id) {
                    self.by_scope.insert(dek.scope, id);
                }
                self.deks.insert(id, dek);
            }
            Entry::Destroyed(destruction) => {
                if self.by_scope.get(&destruction.scope) == Some(&destruction.dek) {
                    self.by_scope.remove(&destruction.scope);
                }
                self.deks.remove(&destruction.dek);
                self.spools.remove(&destruction.dek);
                self.retired.remove(&destruction.dek);
                self.destroyed.insert(destruction.dek, destruction);
            }
            Entry::TenantDestroyed(tenant, at) => {
                self.keks.remove(&Some(tenant));
                self.revoked.remove(&tenant);
                self.last_used.remove(&Some(tenant));
                self.above.remove(&tenant);
                self.gone.remove(&tenant);
                self.tenants_destroyed.insert(tenant, at);
            }
            Entry::Revoked(tenant, at) => {
                self.revoked.insert(tenant, at);
            }
            Entry::Restored(tenant) => {
                self.revoked.remove(&tenant);
            }
            Entry::LastUsed(owner, at) => {
                self.last_used.insert(owner, at);
            }
            Entry::Above(tenant, above) => {
                self.above.insert(tenant, above);
            }
            Entry::Spool(dek, public) => {
                self.spools.insert(dek, public);
            }
            Entry::Gone(tenant, at) => {
                self.gone.insert(tenant, at);
            }
            Entry::Certificate(tenant, id) => {
                self.certificates.insert(tenant, id);
            }
            Entry::Retired(id, retired) => {
                let Some(dek) = self.deks.get(&id) else { return };
                if self.by_scope.get(&dek.scope) == Some(&id) {
                    self.by_scope.remove(&dek.scope);
                }
                self.retired.insert(id, retired);
            }
        }
    }

    /// The shortest list of entries that adds up to this state. Retired keys come first, so that
    /// none of them counts as its scope's.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        let keks = self.keks.iter().map(|(owner, kek)| Entry::Kek(*owner, kek.clone()));
        let is_retired = move |id: &DekId| self.retired.contains_key(id);
        let old = self.deks.iter().filter(move |(id, _)| is_retired(id));
        let old = old.map(|(id, dek)| Entry::Dek(*id, dek.clone()));
        let retired = self.retired.iter().map(|(id, retired)| Entry::Retired(*id, *retired));
        let deks = self.deks.iter().filter(move |(id, _)| !is_retired(id));
        let deks = deks.map(|(id, dek)| Entry::Dek(*id, dek.clone()));
        let destroyed = self.destroyed.values().copied().map(Entry::Destroyed);
        let tenants =
            self.tenants_destroyed.iter().map(|(id, at)| Entry::TenantDestroyed(*id, *at));
        let revoked = self.revoked.iter().map(|(id, at)| Entry::Revoked(*id, *at));
        let used = self.last_used.iter().map(|(owner, at)| Entry::LastUsed(*owner, *at));
        let deks = old.chain(retired).chain(deks);
        let above = self.above.iter().map(|(id, above)| Entry::Above(*id, above.clone()));
        let spools = self.spools.iter().map(|(id, public)| Entry::Spool(*id, *public));
        let gone = self.gone.iter().map(|(id, at)| Entry::Gone(*id, *at));
        let certificates = self.certificates.iter();
        let certificates = certificates.map(|(id, text)| Entry::Certificate(*id, text.clone()));
        keks.chain(deks)
            .chain(destroyed)
            .chain(tenants)
            .chain(revoked)
            .chain(used)
            .chain(above)
            .chain(spools)
            .chain(gone)
            .chain(certificates)
    }

    /// Fails for a tenant that never had keys, or has them no more.
    pub(crate) fn check_known(&self, owner: Owner) -> Result<(), KeyError> {
        match self.key_state(owner)? {
            KeyState::Destroyed { at } => Err(match owner {
                Some(tenant) => self.tenant_destroyed(tenant, at),
                None => KeyError::Poisoned,
            }),
            KeyState::Active
            | KeyState::Revoked { .. }
            | KeyState::Silent { .. }
            | KeyState::Gone { .. } => Ok(()),
        }
    }

    /// Why nothing of a tenant can be done any more.
    pub(crate) fn tenant_destroyed(&self, tenant: TenantId, at: Timestamp) -> KeyError {
        let certificate = self.certificates.get(&tenant).cloned();
        KeyError::TenantDestroyed { tenant, at, certificate }
    }

    /// Fails unless the owner's keys may be used now.
    pub(crate) fn check_usable(&self, owner: Owner) -> Result<(), KeyError> {
        self.check_known(owner)?;
        if let Some((tenant, at)) = owner.and_then(|id| Some((id, *self.gone.get(&id)?))) {
            let certificate = self.certificates.get(&tenant).cloned();
            return Err(KeyError::Gone { tenant, at, certificate });
        }
        match owner.and_then(|tenant| Some((tenant, *self.revoked.get(&tenant)?))) {
            Some((tenant, since)) => Err(KeyError::Revoked { tenant, since }),
            None => Ok(()),
        }
    }

    pub(crate) fn key_state(&self, owner: Owner) -> Result<KeyState, KeyError> {
        let Some(tenant) = owner else { return Ok(KeyState::Active) };
        if let Some(at) = self.tenants_destroyed.get(&tenant) {
            return Ok(KeyState::Destroyed { at: *at });
        }
        if !self.keks.contains_key(&owner) {
            return Err(KeyError::UnknownTenant(tenant));
        }
        if let Some(at) = self.gone.get(&tenant) {
            return Ok(KeyState::Gone { at: *at });
        }
        let revoked = self.revoked.get(&tenant);
        Ok(revoked.map_or(KeyState::Active, |since| KeyState::Revoked { since: *since }))
    }

    /// Whose key stands above a tenant's KEK.
    pub(crate) fn level(&self, owner: Owner) -> KeyLevel {
        let above = owner.and_then(|tenant| self.above.get(&tenant));
        above.map_or(KeyLevel::Platform, Above::level)
    }

    /// Fails unless this version of the tenant's KEK is in use and held elsewhere.
    pub(crate) fn check_asked(&self, tenant: TenantId, version: u32) -> Result<(), KeyError> {
        let owner = Some(tenant);
        let is_it = self.keks.get(&owner).is_some_and(|kek| kek.version == version);
        if is_it && self.level(owner) == KeyLevel::Held {
            Ok(())
        } else {
            Err(KeyError::Replaced(tenant))
        }
    }

    /// The key that a tenant brought, as it is stored.
    pub(crate) fn brought(&self, owner: Owner) -> Option<(TenantId, &[u8])> {
        let tenant = owner?;
        match &self.above.get(&tenant)?.kind {
            AboveKind::Brought { wrapped, .. } => Some((tenant, wrapped)),
            AboveKind::Platform | AboveKind::Held => None,
        }
    }

    /// A live key, or why there is none.
    pub(crate) fn live(&self, id: DekId) -> Result<&DekEntry, KeyError> {
        match (self.deks.get(&id), self.destroyed.get(&id)) {
            (Some(dek), _) => Ok(dek),
            (None, Some(record)) => Err(KeyError::Destroyed { id, at: record.at }),
            (None, None) => Err(KeyError::UnknownDek(id)),
        }
    }

    /// The record of destroying a live key.
    pub(crate) fn destruction(
        &self,
        id: DekId,
        at: Timestamp,
        method: DestructionMethod,
    ) -> Result<Destruction, KeyError> {
        let dek = self.live(id)?;
        Ok(Destruction { dek: id, scope: dek.scope, at, method, kek_version: dek.kek_version })
    }

    pub(crate) fn class_statuses(&self, owner: Owner) -> Vec<ClassStatus> {
        let mut by_class = HashMap::<DataClass, ClassStatus>::new();
        for dek in self.deks.values().filter(|dek| dek.scope.tenant == owner) {
            let (class, at) = (dek.scope.class, dek.created_at);
            let status = by_class.entry(class).or_insert(ClassStatus {
                class,
                count: 0,
                oldest_at: at,
                newest_at: at,
            });
            status.count += 1;
            status.oldest_at = status.oldest_at.min(at);
            status.newest_at = status.newest_at.max(at);
        }
        let mut statuses: Vec<_> = by_class.into_values().collect();
        statuses.sort_unstable_by_key(|status| status.class);
        statuses
    }
}
