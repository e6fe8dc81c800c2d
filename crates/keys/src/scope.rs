//! What a data encryption key protects: tenant, class, shred unit, epoch. The stored numbers here
//! are part of the on-disk format and never change meaning.

use std::fmt;
use std::str::FromStr;

use veritwin_domain::{DeviceId, Rng, TenantId};

use crate::KeyError;
use crate::wire::Reader;

/// The kind of data a key protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataClass {
    /// The durable log.
    Log,
    /// Telemetry segments.
    Segment,
    /// Columns of the records database.
    Record,
    /// The ledger on the platform's side.
    Ledger,
    /// Payloads of the ledger archive.
    Archive,
    /// Twin models and graphs.
    Twin,
    /// Other stored files: geometry, exports, attachments.
    Blob,
}

impl DataClass {
    /// Every class there is.
    pub const ALL: [Self; 7] = [
        Self::Log,
        Self::Segment,
        Self::Record,
        Self::Ledger,
        Self::Archive,
        Self::Twin,
        Self::Blob,
    ];

    /// The stored form.
    pub const fn as_u8(self) -> u8 {
        match self {
            Self::Log => 1,
            Self::Segment => 2,
            Self::Record => 3,
            Self::Ledger => 4,
            Self::Archive => 5,
            Self::Twin => 6,
            Self::Blob => 7,
        }
    }

    /// From the stored form.
    pub fn from_u8(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_u8() == byte)
    }

    /// The name used in status and certificates.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Segment => "segment",
            Self::Record => "record",
            Self::Ledger => "ledger",
            Self::Archive => "archive",
            Self::Twin => "twin",
            Self::Blob => "blob",
        }
    }
}

/// What is shredded together when the key is destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShredUnit {
    /// The whole tenant (or, in the platform's scope, the platform).
    Tenant,
    /// One data subject.
    Subject([u8; 16]),
    /// One device.
    Device(DeviceId),
}

/// The time span a key covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Epoch {
    /// No span: for as long as the data lives.
    None,
    /// One UTC day, counted from 1970-01-01.
    Day(i64),
    /// One UTC month, counted from 1970-01.
    Month(i64),
    /// What is made of the readings of one UTC month and kept longer than they are.
    MonthFigures(i64),
}

/// What one data encryption key protects; there is exactly one live key for each scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DekScope {
    /// The tenant, or none for the platform itself.
    pub tenant: Option<TenantId>,
    /// The kind of data.
    pub class: DataClass,
    /// What is shredded together.
    pub unit: ShredUnit,
    /// The time span.
    pub epoch: Epoch,
}

impl DekScope {
    /// The scope of a tenant's data of one class that lives as long as the tenant.
    pub const fn tenant(tenant: TenantId, class: DataClass) -> Self {
        Self { tenant: Some(tenant), class, unit: ShredUnit::Tenant, epoch: Epoch::None }
    }

    /// The scope of the platform's own data of one class.
    pub const fn platform(class: DataClass) -> Self {
        Self { tenant: None, class, unit: ShredUnit::Tenant, epoch: Epoch::None }
    }

    /// The same scope for one time span.
    pub const fn with_epoch(self, epoch: Epoch) -> Self {
        Self { epoch, ..self }
    }

    /// The same scope for one shred unit.
    pub const fn with_unit(self, unit: ShredUnit) -> Self {
        Self { unit, ..self }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        encode_owner(self.tenant, out);
        out.push(self.class.as_u8());
        match self.unit {
            ShredUnit::Tenant => out.push(0),
            ShredUnit::Subject(id) => {
                out.push(1);
                out.extend_from_slice(&id);
            }
            ShredUnit::Device(id) => {
                out.push(2);
                out.extend_from_slice(id.as_bytes());
            }
        }
        let (kind, number) = match self.epoch {
            Epoch::None => (0, 0),
            Epoch::Day(day) => (1, day),
            Epoch::Month(month) => (2, month),
            Epoch::MonthFigures(month) => (3, month),
        };
        out.push(kind);
        out.extend_from_slice(&number.to_le_bytes());
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let tenant = decode_owner(reader)?;
        let class = DataClass::from_u8(reader.u8()?)?;
        let unit = match reader.u8()? {
            0 => ShredUnit::Tenant,
            1 => ShredUnit::Subject(reader.array()?),
            2 => ShredUnit::Device(DeviceId::from_bytes(reader.array()?)),
            _ => return None,
        };
        let (kind, number) = (reader.u8()?, reader.i64()?);
        let epoch = match kind {
            0 => Epoch::None,
            1 => Epoch::Day(number),
            2 => Epoch::Month(number),
            3 => Epoch::MonthFigures(number),
            _ => return None,
        };
        Some(Self { tenant, class, unit, epoch })
    }
}

pub(crate) fn encode_owner(owner: Option<TenantId>, out: &mut Vec<u8>) {
    match owner {
        None => out.push(0),
        Some(tenant) => {
            out.push(1);
            out.extend_from_slice(tenant.as_bytes());
        }
    }
}

pub(crate) fn decode_owner(reader: &mut Reader<'_>) -> Option<Option<TenantId>> {
    match reader.u8()? {
        0 => Some(None),
        1 => Some(Some(TenantId::from_bytes(reader.array()?))),
        _ => None,
    }
}

/// The public name of a data encryption key: 16 random bytes, stored in every sealed header.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DekId([u8; 16]);

impl DekId {
    /// The id made of these bytes, as stored.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes to store.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    pub(crate) fn generate(rng: &dyn Rng) -> Self {
        let mut bytes = [0u8; 16];
        rng.fill(&mut bytes);
        Self(bytes)
    }
}

impl fmt::Display for DekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for DekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DekId({self})")
    }
}

impl FromStr for DekId {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0u8; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| KeyError::Format {
            expected: "key id",
            reason: "expected 32 hexadecimal digits",
        })?;
        Ok(Self(bytes))
    }
}

/// Associated data of a sealing: tenant and class by construction, then the caller's own context
/// (position, column, row, version). All of it is authenticated, none of it is stored.
#[derive(Debug, Clone, Copy)]
pub struct Aad<'a> {
    tenant: Option<TenantId>,
    class: DataClass,
    context: &'a [u8],
}

impl<'a> Aad<'a> {
    const PREFIX_BYTES: usize = 19;
    const STACK_BYTES: usize = 128;

    /// Associated data for a tenant's (or, with `None`, the platform's) data of one class.
    pub fn new(tenant: impl Into<Option<TenantId>>, class: DataClass, context: &'a [u8]) -> Self {
        Self { tenant: tenant.into(), class, context }
    }

    pub(crate) fn matches(&self, scope: &DekScope) -> bool {
        self.tenant == scope.tenant && self.class == scope.class
    }

    /// Calls `with` with the canonical bytes; short contexts stay on the stack.
    pub(crate) fn with_bytes<R>(&self, with: impl FnOnce(&[u8]) -> R) -> R {
        let mut prefix = [0u8; Self::PREFIX_BYTES];
        prefix[0] = 1;
        prefix[1] = self.class.as_u8();
        if let Some(tenant) = self.tenant {
            prefix[2] = 1;
            prefix[3..].copy_from_slice(tenant.as_bytes());
        }
        let total = Self::PREFIX_BYTES + self.context.len();
        if total <= Self::STACK_BYTES {
            let mut bytes = [0u8; Self::STACK_BYTES];
            bytes[..Self::PREFIX_BYTES].copy_from_slice(&prefix);
            bytes[Self::PREFIX_BYTES..total].copy_from_slice(self.context);
            with(&bytes[..total])
        } else {
            with(&[&prefix, self.context].concat())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn associated_data_differs_in_every_part() {
        let bytes = |tenant, class, context: &[u8]| {
            Aad::new(tenant, class, context).with_bytes(<[u8]>::to_vec)
        };
        let one = Some(TenantId::from_bytes([1; 16]));
        let long = [7u8; 400];
        let mut all = vec![
            bytes(one, DataClass::Log, b""),
            bytes(None, DataClass::Log, b""),
            bytes(Some(TenantId::from_bytes([0; 16])), DataClass::Log, b""),
            bytes(one, DataClass::Blob, b""),
            bytes(one, DataClass::Log, b"\0"),
            bytes(one, DataClass::Log, &long),
            bytes(one, DataClass::Log, &long[1..]),
        ];
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(all.iter().any(|bytes| bytes.len() == Aad::PREFIX_BYTES + long.len()));
    }
}
