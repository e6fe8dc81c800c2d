//! From a group's payload to its entries: finds each tenant's key, opens, decodes. A key that is
//! gone makes its own entries unreadable and no others; a wrong tag or form is damage.

use std::collections::HashMap;
use std::sync::Arc;

use veritwin_domain::{FileId, TenantId};
use veritwin_keys::{Aad, DataClass, FileKey, KeyError, KeyService};

use crate::codec::Decoder;
use crate::format::{GroupHeader, TenantKey, take_frame};
use crate::shared::Shared;
use crate::{Committed, Entry, Record, Unreadable};

/// Opens the groups of one file after the other.
pub(crate) struct Opener {
    service: KeyService,
    file: Option<FileId>,
    /// The keys of the file at hand, by their number in it.
    keys: HashMap<usize, Result<FileKey, Unreadable>>,
    /// The state of the key service that these keys are of.
    changes: u64,
    /// Entries that wait for their tenant's key: whose, where, how many bytes.
    spooled: Vec<(TenantId, u64, u64)>,
    decoder: Decoder,
}

/// One group as it was read.
pub(crate) struct Group<'a> {
    pub(crate) file: FileId,
    pub(crate) file_first_position: u64,
    pub(crate) tenants: &'a [TenantKey],
    pub(crate) header: GroupHeader,
}

impl Opener {
    pub(crate) fn new(service: KeyService) -> Self {
        let changes = service.changes();
        Self {
            service,
            file: None,
            keys: HashMap::new(),
            changes,
            spooled: Vec::new(),
            decoder: Decoder::default(),
        }
    }

    /// Tells how much was found that waits for its tenant's key.
    pub(crate) fn note_spooled(&mut self, shared: &Shared) {
        for (tenant, position, bytes) in self.spooled.drain(..) {
            shared.note_spooled(tenant, position, bytes);
        }
    }

    /// The same where there is nobody to be told.
    pub(crate) fn forget_spooled(&mut self) {
        self.spooled.clear();
    }

    /// The group's entries from position `from` on, or what is wrong with it.
    pub(crate) fn open(
        &mut self,
        group: &Group<'_>,
        payload: &mut [u8],
        from: u64,
    ) -> Result<Committed, String> {
        let changes = self.service.changes();
        if self.file != Some(group.file) || changes != self.changes {
            self.keys.clear();
            self.changes = changes;
            self.file = Some(group.file);
        }
        let mut frames = &mut payload[group.header.tenant_bytes as usize..];
        let first = from.max(group.header.first_position);
        let count = usize::try_from(group.header.end() - first).unwrap_or(0);
        let mut entries = Vec::with_capacity(count.min(frames.len()));
        for position in group.header.first_position..group.header.end() {
            let (key_number, sealed) = take_frame(&mut frames)
                .ok_or_else(|| format!("the frame of position {position} is cut short"))?;
            if position >= first {
                entries.push(Arc::new(self.entry(group, key_number, position, sealed)?));
            }
        }
        if !frames.is_empty() {
            return Err("a group has bytes after its last frame".into());
        }
        Ok(Committed { first, entries, passed: 0 })
    }

    fn entry(
        &mut self,
        group: &Group<'_>,
        key_number: usize,
        position: u64,
        sealed: &mut [u8],
    ) -> Result<Entry, String> {
        let tenant_key = group
            .tenants
            .get(key_number)
            .ok_or_else(|| format!("position {position} names an unknown tenant key"))?;
        let tenant = tenant_key.tenant;
        if !self.keys.contains_key(&key_number) {
            let found = self.find_key(tenant_key)?;
            self.keys.insert(key_number, found);
        }
        let key = match self.keys.get(&key_number) {
            Some(Ok(key)) => key,
            Some(Err(reason)) => {
                if *reason == Unreadable::KeyUnavailable {
                    self.spooled.push((tenant, position, sealed.len() as u64));
                }
                return Ok(Entry { tenant, record: Record::Unreadable(*reason) });
            }
            None => return Err(format!("position {position} has no key")),
        };
        let context = position.to_le_bytes();
        let plain = key
            .open_in_place(
                position - group.file_first_position,
                Aad::new(tenant, DataClass::Log, &context),
                sealed,
            )
            .map_err(|error| format!("position {position}: {error}"))?;
        let record = self
            .decoder
            .decode(tenant, plain)
            .ok_or_else(|| format!("position {position} holds no known record"))?;
        Ok(Entry { tenant, record })
    }

    /// Whether a key that seals entries of a tenant in this group was never in the keyring: it is
    /// a copy of before the key. One that does not answer, or is gone, is there.
    pub(crate) fn lacks_key(&self, group: &Group<'_>, tenant: TenantId) -> bool {
        let mut own = group.tenants.iter().filter(|key| key.tenant == tenant);
        own.any(|key| {
            let asked = self.ask(key);
            matches!(asked, Err(KeyError::UnknownDek(_) | KeyError::UnknownTenant(_)))
        })
    }

    fn ask(&self, key: &TenantKey) -> Result<FileKey, KeyError> {
        match &key.wrap {
            Some(wrap) => self.service.open_spooled(&key.header, wrap),
            None => self.service.open_file(&key.header),
        }
    }

    fn find_key(&self, key: &TenantKey) -> Result<Result<FileKey, Unreadable>, String> {
        match self.ask(key) {
            Ok(key) => Ok(Ok(key)),
            // What was destroyed where it was held comes back as little: nobody waits for it.
            Err(
                KeyError::Destroyed { .. }
                | KeyError::TenantDestroyed { .. }
                | KeyError::Gone { .. },
            ) => Ok(Err(Unreadable::KeyDestroyed)),
            Err(KeyError::Revoked { .. }) => Ok(Err(Unreadable::KeyRevoked)),
            Err(KeyError::Silent(_)) => Ok(Err(Unreadable::KeyUnavailable)),
            // The file's key is there and is not the one that the file commits to.
            Err(error @ (KeyError::NotAuthentic | KeyError::WrongScope(_))) => {
                Err(format!("key of tenant {}: {error}", key.tenant))
            }
            Err(error) => {
                tracing::warn!(tenant = %key.tenant, %error, "log entries cannot be read for now");
                Ok(Err(Unreadable::KeyUnavailable))
            }
        }
    }
}
