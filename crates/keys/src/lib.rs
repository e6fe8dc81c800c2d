//! Keys: the hierarchy from root to file key, sealing of values and files, destruction with a
//! record, signing, passwords and tokens. The only crate that touches ciphers (`verify` checks
//! signatures and hashes by itself). It refuses to seal without a stated tenant and data class.

mod above;
mod dek;
mod entry;
mod error;
mod file;
mod gcm;
mod given;
mod held;
mod import;
mod jose;
mod journal;
mod level;
mod passkey;
mod passphrase;
pub mod password;
pub mod pkcs11;
mod primitive;
mod private;
mod provider;
mod ring;
mod root;
mod rsa_signing;
mod scope;
mod service;
mod signing;
mod sigv4;
mod spool;
mod status;
pub mod tail;
pub mod token;
pub mod totp;
mod wire;

pub use above::{BROUGHT_FINGERPRINT_BYTES, brought_fingerprint};
pub use dek::{Dek, TAG_BYTES, open_value, seal_value, sealed_dek_id};
pub use error::KeyError;
pub use file::{FileHeader, FileKey, FileSealer};
pub use gcm::{GCM_NONCE_BYTES, GcmKey, GcmSealed};
pub use given::{
    KEYRING_DESCRIPTION_BYTES_MAX, PASSPHRASE_BYTES_MAX, PASSPHRASE_CHARS_MIN, Passphrase,
    PassphraseError,
};
pub use held::{NewAbove, NewKek, SPOOL_DAYS_AHEAD, WrappedKek};
pub use import::{IMPORT_BYTES_MAX, ImportKey, ImportWrapping};
pub use jose::{JoseAlgorithm, JoseKey};
pub use level::{KEY_LEVELS_OFFERED, KeyLevel};
pub use passkey::PasskeyKey;
pub use passphrase::PassphraseRoot;
pub use primitive::{
    ChecksumAlgorithm, SecretKey, Sha256, SystemRng, constant_time_eq, hmac_sha256, sha256,
};
pub use private::{is_given_by_systemd, is_private};
pub use provider::{
    KeyCall, KeyMetadata, KeyProtection, KeyProvider, PROVIDER_CIPHERTEXT_BYTES_MAX,
    PROVIDER_CREDENTIAL_BYTES_MAX, PROVIDER_TEXT_BYTES_MAX, PROVIDER_TIMEOUT, ProviderAnswer,
    ProviderConnector, ProviderError, ProviderKind, ProviderSettings,
};
pub use ring::{DEK_CACHE_MAX, KEK_CACHE_MAX};
pub use root::{KekContext, PlatformFile, RootDescription, RootProvider};
pub use rsa_signing::RsaSigningKey;
pub use scope::{Aad, DataClass, DekId, DekScope, Epoch, ShredUnit};
pub use service::KeyService;
pub use signing::{SigningKey, verify_signature};
pub use sigv4::{
    SIGV4_DATE_HEADER, SIGV4_SKEW_SECONDS_MAX, SigV4Claim, SigV4Request, SigV4Scope,
    sigv4_authorization, sigv4_moment,
};
pub use spool::{SPOOL_WRAP_BYTES, SpoolKey, Writing};
pub use status::{
    ClassStatus, DayKey, DekSummary, Destruction, DestructionMethod, KeyState, KeyStatus, Rotation,
};
