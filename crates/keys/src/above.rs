//! What stands above a tenant's KEK: the platform's root, a key that the customer brought, or one
//! that the customer holds elsewhere. The stored forms stand in the keyring's journal.

use veritwin_domain::{Rng, TenantId, Timestamp};

use crate::dek::{open_salted, seal_salted};
use crate::root::secret_from;
use crate::wire::{Reader, put_short_bytes};
use crate::{KekContext, KeyError, KeyLevel, SecretKey, sha256};

const BROUGHT_WRAP_LABEL: &[u8] = b"veritwin brought key wrap v1";
const BROUGHT_FINGERPRINT_LABEL: &[u8] = b"veritwin brought key fingerprint v1";
/// Length of a brought key's public fingerprint, in bytes.
pub const BROUGHT_FINGERPRINT_BYTES: usize = 8;
/// The "version" under which the root wraps a key that was brought: KEK versions begin at 1.
const BROUGHT_VERSION: u32 = 0;

/// A fingerprint by which a customer knows a brought key again; it says nothing of the key.
pub fn brought_fingerprint(key: &SecretKey) -> [u8; BROUGHT_FINGERPRINT_BYTES] {
    let mut labelled = BROUGHT_FINGERPRINT_LABEL.to_vec();
    labelled.extend_from_slice(key.expose());
    let digest = sha256(&labelled);
    zeroize::Zeroize::zeroize(&mut labelled);
    let mut out = [0u8; BROUGHT_FINGERPRINT_BYTES];
    out.copy_from_slice(&digest[..BROUGHT_FINGERPRINT_BYTES]);
    out
}

/// What stands above one tenant's KEK, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Above {
    pub(crate) kind: AboveKind,
    pub(crate) since: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AboveKind {
    Platform,
    /// The brought key, wrapped by the platform's root; empty once the customer took it away.
    Brought {
        fingerprint: [u8; BROUGHT_FINGERPRINT_BYTES],
        wrapped: Vec<u8>,
    },
    /// The wrapped form of the KEK is the key service's.
    Held,
}

impl Above {
    pub(crate) const fn level(&self) -> KeyLevel {
        match self.kind {
            AboveKind::Platform => KeyLevel::Platform,
            AboveKind::Brought { .. } => KeyLevel::Brought,
            AboveKind::Held => KeyLevel::Held,
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.since.as_micros().to_le_bytes());
        match &self.kind {
            AboveKind::Platform => out.push(0),
            AboveKind::Brought { fingerprint, wrapped } => {
                out.push(1);
                out.extend_from_slice(fingerprint);
                put_short_bytes(out, wrapped);
            }
            AboveKind::Held => out.push(2),
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let since = reader.i64().map(Timestamp::from_micros)?;
        let kind = match reader.u8()? {
            0 => AboveKind::Platform,
            1 => AboveKind::Brought {
                fingerprint: reader.array()?,
                wrapped: reader.short_bytes()?.to_vec(),
            },
            2 => AboveKind::Held,
            _ => return None,
        };
        Some(Self { kind, since })
    }
}

/// The context under which the root wraps the key that a tenant brought.
pub(crate) const fn brought_context(tenant: TenantId) -> KekContext {
    KekContext { tenant: Some(tenant), version: BROUGHT_VERSION }
}

/// Wraps a KEK under a key that was brought.
pub(crate) fn wrap_under_brought(
    brought: &SecretKey,
    rng: &dyn Rng,
    context: &KekContext,
    kek: &SecretKey,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(76);
    let aad = context.associated_data();
    seal_salted(brought, rng, BROUGHT_WRAP_LABEL, &aad, kek.expose(), &mut out);
    out
}

/// Unwraps what [`wrap_under_brought`] made.
pub(crate) fn unwrap_under_brought(
    brought: &SecretKey,
    context: &KekContext,
    wrapped: &[u8],
) -> Result<SecretKey, KeyError> {
    let aad = context.associated_data();
    let opened = open_salted(brought, BROUGHT_WRAP_LABEL, &aad, wrapped)?;
    secret_from(&zeroize::Zeroizing::new(opened))
}
