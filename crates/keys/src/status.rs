//! What the keyring can say in public: which key protects what, how old it is, and the record of
//! every destruction.

use veritwin_domain::{TenantId, Timestamp};

use crate::{DataClass, DekId, DekScope, KeyLevel, RootDescription};

/// How a key came to be destroyed; certificates name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DestructionMethod {
    /// The wrapped key was destroyed; what it sealed cannot be opened again.
    KeyDestroyed,
    /// The surviving data was first sealed anew under another key, then this key was destroyed.
    RewrittenThenKeyDestroyed,
    /// All keys of the tenant, its KEK included, were destroyed.
    TenantKeysDestroyed,
}

impl DestructionMethod {
    const ALL: [Self; 3] =
        [Self::KeyDestroyed, Self::RewrittenThenKeyDestroyed, Self::TenantKeysDestroyed];

    pub(crate) const fn as_u8(self) -> u8 {
        match self {
            Self::KeyDestroyed => 1,
            Self::RewrittenThenKeyDestroyed => 2,
            Self::TenantKeysDestroyed => 3,
        }
    }

    pub(crate) fn from_u8(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_u8() == byte)
    }

    /// The name used in certificates and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeyDestroyed => "key_destroyed",
            Self::RewrittenThenKeyDestroyed => "rewritten_then_key_destroyed",
            Self::TenantKeysDestroyed => "tenant_keys_destroyed",
        }
    }
}

/// The record of one destroyed key; it outlives the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destruction {
    /// The key.
    pub dek: DekId,
    /// What it protected.
    pub scope: DekScope,
    /// When it was destroyed.
    pub at: Timestamp,
    /// How.
    pub method: DestructionMethod,
    /// The KEK version under which it was last wrapped.
    pub kek_version: u32,
}

/// Whether a tenant's keys can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// In use.
    Active,
    /// Withdrawn; can be restored.
    Revoked {
        /// Since when.
        since: Timestamp,
    },
    /// The service that holds the key does not answer.
    Silent {
        /// Since when.
        since: Timestamp,
    },
    /// The key that the customer holds was destroyed where it was held.
    Gone {
        /// When the platform learned of it.
        at: Timestamp,
    },
    /// Destroyed for ever.
    Destroyed {
        /// When.
        at: Timestamp,
    },
}

/// The keys of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassStatus {
    /// The kind of data.
    pub class: DataClass,
    /// Live keys.
    pub count: usize,
    /// When the oldest of them was made.
    pub oldest_at: Timestamp,
    /// When the newest of them was made.
    pub newest_at: Timestamp,
}

/// Which keys protect one tenant, or the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatus {
    /// The tenant, or none for the platform itself.
    pub tenant: Option<TenantId>,
    /// The root above the KEK.
    pub root: RootDescription,
    /// Whose key stands above the KEK.
    pub level: KeyLevel,
    /// Since when; none for a tenant that never had another level than the platform's.
    pub level_since: Option<Timestamp>,
    /// The public fingerprint of the key that the customer brought, in hexadecimal digits.
    pub brought: Option<String>,
    /// Whether the keys can be used.
    pub state: KeyState,
    /// The KEK's version, from 1; 0 once it is destroyed.
    pub kek_version: u32,
    /// When this KEK version was made.
    pub kek_created_at: Option<Timestamp>,
    /// Live keys by class; classes without keys are left out.
    pub classes: Vec<ClassStatus>,
    /// How many keys were destroyed so far.
    pub destroyed_count: usize,
    /// When a key was last asked for. Kept across restarts as of the last change to the keyring.
    pub last_used_at: Option<Timestamp>,
}

/// One live key, without its secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DekSummary {
    /// The key.
    pub id: DekId,
    /// What it protects.
    pub scope: DekScope,
    /// When it was made.
    pub created_at: Timestamp,
    /// The KEK version that wraps it.
    pub kek_version: u32,
}

/// The live key of one UTC day of a tenant's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayKey {
    /// Whose data.
    pub tenant: TenantId,
    /// The day, counted from 1970-01-01.
    pub day: i64,
    /// The key.
    pub dek: DekId,
}

/// What a rotation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// The version that was destroyed.
    pub old_version: u32,
    /// The version that wraps every key now.
    pub new_version: u32,
    /// How many keys were wrapped anew.
    pub rewrapped_count: usize,
}
