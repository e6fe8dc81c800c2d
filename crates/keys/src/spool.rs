//! Writing for a tenant whose key is held elsewhere, without asking for it: each log file has a
//! random key, sealed by HPKE (RFC 9180, base mode) to a public key that stands in the keyring in
//! the open. The private key comes of the log's data key of a day, which only the tenant's KEK
//! unwraps; it is destroyed with that key.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use aws_lc_rs::agreement::{PrivateKey, X25519};
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey};
use veritwin_domain::FileId;
use zeroize::Zeroizing;

use crate::dek::NEVER_MICROS;
use crate::primitive::hkdf_sha256;
use crate::root::secret_from;
use crate::{Dek, DekId, DekScope, Epoch, FileHeader, FileKey, KeyError, KeyService, SecretKey};

/// Length of a file key that is sealed to a spool key: 32 bytes of encapsulated secret, then the
/// sealed key with its tag.
pub const SPOOL_WRAP_BYTES: usize = ENCAPSULATED_BYTES + 32 + 16;

const ENCAPSULATED_BYTES: usize = 32;
const PRIVATE_LABEL: &[u8] = b"veritwin spool private key v1";
const INFO: &[u8] = b"veritwin spool file key v1";

/// A public spool key of one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spool {
    pub(crate) day: i64,
    pub(crate) dek: DekId,
    pub(crate) public: [u8; 32],
}

/// What a tenant's log entries are to be sealed with.
#[derive(Debug, Clone)]
pub enum Writing {
    /// The data key itself.
    Dek(Dek),
    /// A random key, sealed to this one.
    Spool(SpoolKey),
}

impl Writing {
    /// The data key that opens what is sealed.
    pub fn dek_id(&self) -> DekId {
        match self {
            Self::Dek(dek) => dek.id(),
            Self::Spool(spool) => spool.dek,
        }
    }

    /// Whether what is written may be shown: the tenant's key is within reach.
    pub const fn is_reachable(&self) -> bool {
        match self {
            Self::Dek(_) => true,
            Self::Spool(spool) => spool.is_reachable,
        }
    }
}

/// The public key to which the file keys of a tenant are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolKey {
    dek: DekId,
    scope: DekScope,
    public: [u8; 32],
    is_reachable: bool,
}

fn private_of(dek: &Dek) -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0u8; 32]);
    hkdf_sha256(dek.secret(), dek.id().as_bytes(), &[PRIVATE_LABEL], bytes.as_mut());
    bytes
}

/// The public spool key that belongs to a data key.
pub(crate) fn public_of(dek: &Dek) -> Result<[u8; 32], KeyError> {
    let wrong = || KeyError::Format { expected: "spool key", reason: "it has no public half" };
    let key = PrivateKey::from_private_key(&X25519, private_of(dek).as_ref());
    let public = key.map_err(|_| wrong())?.compute_public_key().map_err(|_| wrong())?;
    let public: &[u8] = public.as_ref();
    public.try_into().map_err(|_| wrong())
}

fn associated_data(dek: DekId, scope: &DekScope, file: FileId) -> Vec<u8> {
    let mut aad = dek.as_bytes().to_vec();
    aad.extend_from_slice(file.as_bytes());
    scope.encode(&mut aad);
    aad
}

impl KeyService {
    /// What the log entries of this scope are to be sealed with. For a tenant whose key is held
    /// elsewhere no key service is asked: there is a public key, whoever is silent.
    pub fn writing(&self, scope: &DekScope) -> Result<Writing, KeyError> {
        {
            let cache = self.0.cache.read();
            if !cache.held.is_empty()
                && let Some(tenant) = scope.tenant
                && let Some(held) = cache.held.get(&tenant)
            {
                let day = if let Epoch::Day(day) = scope.epoch { day } else { i64::MAX };
                let spool = held.spool(day).ok_or(KeyError::Silent(tenant))?;
                return Ok(Writing::Spool(SpoolKey {
                    dek: spool.dek,
                    scope: scope.with_epoch(Epoch::Day(spool.day)),
                    public: spool.public,
                    is_reachable: held.is_fresh(self.0.clock.monotonic()),
                }));
            }
        }
        self.dek(scope).map(Writing::Dek)
    }

    /// A random key for a new file, and that key sealed to the spool key.
    pub fn spool_file(
        &self,
        spool: &SpoolKey,
        file: FileId,
    ) -> Result<(FileKey, FileHeader, [u8; SPOOL_WRAP_BYTES]), KeyError> {
        let rng = Arc::clone(&self.0.rng);
        let secret = SecretKey::generate(rng.as_ref());
        let aad = associated_data(spool.dek, &spool.scope, file);
        let public = HpkePublicKey(spool.public.to_vec());
        let unfit = || KeyError::Format { expected: "spool key", reason: "nothing seals to it" };
        let (encapsulated, sealed) =
            SUITE.seal(INFO, &aad, secret.expose(), &public).map_err(|_| unfit())?;
        let bytes = [encapsulated.0, sealed].concat();
        let wrap = bytes.as_slice().try_into().map_err(|_| unfit())?;
        let never = Arc::new(AtomicI64::new(NEVER_MICROS));
        let dek = Dek::new(spool.dek, spool.scope, secret, rng, never);
        let key = FileKey::derive(&dek, file);
        let header = FileHeader::spooled(&key);
        Ok((key, header, wrap))
    }

    /// The key of a file that was written with [`Self::spool_file`], its commitment checked.
    pub fn open_spooled(
        &self,
        header: &FileHeader,
        wrap: &[u8; SPOOL_WRAP_BYTES],
    ) -> Result<FileKey, KeyError> {
        let dek = self.dek_by_id(header.dek)?;
        let aad = associated_data(dek.id(), dek.scope(), header.file);
        let private = HpkePrivateKey::from(private_of(&dek).to_vec());
        let (encapsulated, sealed) = wrap.split_at(ENCAPSULATED_BYTES);
        let encapsulated = EncapsulatedSecret(encapsulated.to_vec());
        let opened = SUITE
            .open(&encapsulated, INFO, &aad, sealed, &private)
            .map_err(|_| KeyError::NotAuthentic)?;
        let secret = secret_from(&Zeroizing::new(opened))?;
        header.open_with(&dek.with_secret(secret))
    }
}
