//! A key of the customer's that somebody else holds: what the platform asks of the service that
//! holds it, what travels with each question, and what may be answered. Adapters to such services
//! implement [`KeyProvider`]; nothing here calls the network.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use veritwin_domain::{Purpose, RequestId, Secret, TenantId};
use zeroize::Zeroizing;

/// Longest time a key service has for one answer, its connection included.
pub const PROVIDER_TIMEOUT: Duration = Duration::from_millis(250);
/// Longest wrapped key that a key service may answer with, in bytes.
pub const PROVIDER_CIPHERTEXT_BYTES_MAX: usize = 16 * 1024;
/// Longest address, key name or parameter in [`ProviderSettings`], in bytes.
pub const PROVIDER_TEXT_BYTES_MAX: usize = 2048;
/// Longest credential or certificate in [`ProviderSettings`], in bytes.
pub const PROVIDER_CREDENTIAL_BYTES_MAX: usize = 16 * 1024;

/// The kinds of services that can hold a customer's key. The names are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProviderKind {
    /// A proxy that speaks AWS's external key store protocol (`veritwin keyproxy` among them).
    Xks,
    /// The transit engine of Vault or OpenBao.
    Transit,
    /// AWS KMS.
    AwsKms,
    /// A module that speaks PKCS#11.
    Pkcs11,
}

impl ProviderKind {
    /// Every kind there is.
    pub const ALL: [Self; 4] = [Self::Xks, Self::Transit, Self::AwsKms, Self::Pkcs11];

    /// The name used in settings, records and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Xks => "xks",
            Self::Transit => "transit",
            Self::AwsKms => "aws_kms",
            Self::Pkcs11 => "pkcs11",
        }
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// What travels with every question: for whom, why, on whose behalf. A service that can keep a
/// record of its calls is given all of it; the associated data is bound to the ciphertext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyCall {
    /// Whose keys.
    pub tenant: TenantId,
    /// Why they are needed.
    pub purpose: Purpose,
    /// Who needs them, as a kind and an id (`user:0188...`, `job:ledger`); never a name.
    pub actor: String,
    /// For tracing.
    pub request: RequestId,
    /// Authenticated with the ciphertext: unwrapping with other associated data fails. At most
    /// 64 bytes, the same for the wrap and each unwrap of one key.
    pub associated_data: Vec<u8>,
}

/// Why a key service gave no key. Holds no secret and nothing personal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// It gave no answer: not reached, too slow, overloaded, or an error of its own. Asking again
    /// may help.
    #[error("the key service does not answer: {0}")]
    Unavailable(String),
    /// It refused: the key is disabled or the platform may no longer use it. It is not asked again
    /// until the customer says so.
    #[error("the key service refuses the use of the key")]
    Denied,
    /// The key is gone for ever.
    #[error("the key was destroyed at the key service")]
    Destroyed,
    /// The settings or the answer cannot be right; the text says what is expected.
    #[error("the key service cannot be used: {0}")]
    Invalid(String),
}

/// What protects the key at the service, as the service itself says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyProtection {
    /// A hardware module.
    Hardware,
    /// Software.
    Software,
    /// The service does not say.
    Unstated,
}

impl KeyProtection {
    /// The name used in the API and in evidence.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Software => "software",
            Self::Unstated => "unstated",
        }
    }
}

/// What a key service says about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMetadata {
    /// Its name at the service.
    pub key: String,
    /// Its kind as the service names it, for example `AES_256`.
    pub spec: String,
    /// Whether it may be used now.
    pub enabled: bool,
    /// What protects it.
    pub protection: KeyProtection,
}

/// An answer that is on its way.
pub type ProviderAnswer<'a, T> =
    Pin<Box<dyn Future<Output = Result<T, ProviderError>> + Send + 'a>>;

/// One key at one key service. An adapter answers within [`PROVIDER_TIMEOUT`] and does not retry.
pub trait KeyProvider: Send + Sync + fmt::Debug {
    /// What kind of service it is.
    fn kind(&self) -> ProviderKind;

    /// Wraps a key of 32 bytes under the customer's key.
    fn wrap<'a>(&'a self, call: &'a KeyCall, plaintext: &'a [u8]) -> ProviderAnswer<'a, Vec<u8>>;

    /// Unwraps what [`Self::wrap`] made with the same associated data.
    fn unwrap<'a>(
        &'a self,
        call: &'a KeyCall,
        ciphertext: &'a [u8],
    ) -> ProviderAnswer<'a, Zeroizing<Vec<u8>>>;

    /// What the service says about the key.
    fn metadata<'a>(&'a self, call: &'a KeyCall) -> ProviderAnswer<'a, KeyMetadata>;

    /// Whether the service is there and well.
    fn health<'a>(&'a self, call: &'a KeyCall) -> ProviderAnswer<'a, ()>;
}

/// How to reach a customer's key. Which fields a kind uses, its adapter says; a field that it does
/// not use has to be absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSettings {
    /// What kind of service it is.
    pub kind: ProviderKind,
    /// Its address (`https://...`, with a path before the protocol's own where there is one), or
    /// the path of a PKCS#11 module.
    pub address: String,
    /// The key's name at the service: XKS key id, transit key, KMS key ARN, PKCS#11 label.
    pub key: String,
    /// Where the key is inside the service: transit mount, AWS region, PKCS#11 token label.
    pub place: Option<String>,
    /// Public half of the credential: access key id of XKS and AWS.
    pub user: Option<String>,
    /// Secret half of the credential: secret access key, Vault token, PIN.
    pub credential: Option<Secret<String>>,
    /// Certificates in PEM that the service's certificate has to chain to; without them the
    /// public authorities count.
    pub trust: Option<String>,
}

/// Makes adapters out of settings. Settings that cannot be right are [`ProviderError::Invalid`];
/// nothing is called yet.
pub trait ProviderConnector: Send + Sync + fmt::Debug {
    /// The adapter for one key.
    fn connect(&self, settings: &ProviderSettings) -> Result<Arc<dyn KeyProvider>, ProviderError>;

    /// The kinds of services that this build has an adapter for.
    fn kinds(&self) -> &'static [ProviderKind];
}
