//! Clients of the services that hold customers' keys: XKS proxies, the transit engine of Vault and
//! OpenBao, AWS KMS, and PKCS#11 modules that the operator allows. Each answer is one of what was
//! asked for, unavailable, denied, destroyed or invalid; nothing is retried and nothing is kept.

mod aws_kms;
mod envelope;
mod pkcs11;
mod service;
mod settings;
mod transit;
mod xks;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use veritwin_domain::{Clock, Rng};
use veritwin_keys::{
    KeyProvider, PROVIDER_TIMEOUT, ProviderConnector, ProviderError, ProviderKind, ProviderSettings,
};

use crate::guard::GuardedClient;
use crate::register::EgressRegister;
use service::Places;

pub use service::KEY_SERVICE_REPLY_BYTES_MAX;

/// What makes the clients.
pub struct KeyServices {
    client: Arc<GuardedClient>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    modules: Vec<PathBuf>,
    timeout: Duration,
    places: Arc<Places>,
}

impl fmt::Debug for KeyServices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyServices").field("modules", &self.modules).finish_non_exhaustive()
    }
}

impl KeyServices {
    /// Clients that call through `client`, whose register is `register`. A PKCS#11 module is code
    /// that runs in this process: only those of `modules` are ever loaded.
    pub fn new(
        client: Arc<GuardedClient>,
        register: Arc<EgressRegister>,
        modules: Vec<PathBuf>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        let places = Arc::new(Places::new(register));
        Self { client, clock, rng, modules, timeout: PROVIDER_TIMEOUT, places }
    }

    /// The same with another time for each answer.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl ProviderConnector for KeyServices {
    fn connect(&self, settings: &ProviderSettings) -> Result<Arc<dyn KeyProvider>, ProviderError> {
        settings::check(settings)?;
        match settings.kind {
            ProviderKind::Xks => xks::connect(self, settings),
            ProviderKind::Transit => transit::connect(self, settings),
            ProviderKind::AwsKms => aws_kms::connect(self, settings),
            ProviderKind::Pkcs11 => pkcs11::connect(self, settings),
        }
    }

    fn kinds(&self) -> &'static [ProviderKind] {
        const NETWORK: &[ProviderKind] =
            &[ProviderKind::Xks, ProviderKind::Transit, ProviderKind::AwsKms];
        if self.modules.is_empty() { NETWORK } else { &ProviderKind::ALL }
    }
}
