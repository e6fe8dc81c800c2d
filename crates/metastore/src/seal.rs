//! Seals and opens single columns. The associated data names tenant, table, column and row, so
//! that a sealed value copied to any other place does not open.

use veritwin_domain::{TenantId, UserId};
use veritwin_keys::{
    Aad, DataClass, DekScope, KeyService, SecretKey, ShredUnit, hmac_sha256, open_value,
    seal_value, sealed_dek_id,
};

use crate::names::fold;
use crate::{Error, Result};

/// Largest value of one sealed column, in bytes.
pub const SEALED_BYTES_MAX: usize = 1024 * 1024;

const INDEX_LABEL: &str = "metastore index v1";

/// Whose key seals a value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner {
    /// The tenant's: customer content.
    Tenant(TenantId),
    /// The platform's, one key for all.
    Platform,
    /// The platform's, one key for each person.
    Subject(UserId),
}

/// The place of a sealed value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell<'a> {
    pub(crate) table: &'static str,
    pub(crate) column: &'static str,
    /// The bytes of the row's key.
    pub(crate) row: &'a [u8],
}

/// The keys behind the store.
pub(crate) struct Sealer {
    pub(crate) keys: KeyService,
    index_key: SecretKey,
}

impl Sealer {
    pub(crate) fn new(keys: KeyService) -> Result<Self> {
        let index_key = keys
            .platform_subkey(INDEX_LABEL)
            .map_err(|error| Error::from_key(error, "index key"))?;
        Ok(Self { keys, index_key })
    }

    pub(crate) fn seal(&self, owner: Owner, cell: Cell<'_>, plaintext: &[u8]) -> Result<Vec<u8>> {
        if plaintext.len() > SEALED_BYTES_MAX {
            return Err(Error::Invalid { what: cell.table, reason: "value is above 1 MiB" });
        }
        let scope = match owner {
            Owner::Tenant(tenant) => DekScope::tenant(tenant, DataClass::Record),
            Owner::Platform => DekScope::platform(DataClass::Record),
            Owner::Subject(user) => DekScope::platform(DataClass::Record)
                .with_unit(ShredUnit::Subject(*user.as_bytes())),
        };
        let failed = |error| Error::from_key(error, cell.table);
        let dek = self.keys.dek(&scope).map_err(failed)?;
        let context = cell.context();
        seal_value(&dek, Aad::new(owner.tenant(), DataClass::Record, &context), plaintext)
            .map_err(failed)
    }

    pub(crate) fn open(&self, owner: Owner, cell: Cell<'_>, sealed: &[u8]) -> Result<Vec<u8>> {
        let failed = |error| Error::from_key(error, cell.table);
        let dek = self.keys.dek_by_id(sealed_dek_id(sealed).map_err(failed)?).map_err(failed)?;
        let context = cell.context();
        open_value(&dek, Aad::new(owner.tenant(), DataClass::Record, &context), sealed)
            .map_err(failed)
    }

    /// The blind index of a device's name in its tenant, in any case of letters.
    pub(crate) fn device_name_index(&self, tenant: TenantId, name: &str) -> [u8; 32] {
        self.blind_index("device name", tenant.as_bytes(), &fold(name))
    }

    /// A blind index: equal values of one realm and purpose have equal indexes, and without the
    /// platform's key nothing can be said about the value.
    pub(crate) fn blind_index(&self, purpose: &str, realm: &[u8; 16], value: &str) -> [u8; 32] {
        let mut message = Vec::with_capacity(purpose.len() + 17 + value.len());
        message.extend_from_slice(purpose.as_bytes());
        message.push(0);
        message.extend_from_slice(realm);
        message.extend_from_slice(value.as_bytes());
        hmac_sha256(self.index_key.expose(), &message)
    }
}

impl Owner {
    fn tenant(self) -> Option<TenantId> {
        match self {
            Self::Tenant(tenant) => Some(tenant),
            Self::Platform | Self::Subject(_) => None,
        }
    }
}

impl Cell<'_> {
    /// Table and column names hold no zero byte, so that the parts cannot run into each other.
    fn context(&self) -> Vec<u8> {
        let mut context =
            Vec::with_capacity(self.table.len() + self.column.len() + self.row.len() + 2);
        context.extend_from_slice(self.table.as_bytes());
        context.push(0);
        context.extend_from_slice(self.column.as_bytes());
        context.push(0);
        context.extend_from_slice(self.row);
        context
    }
}
