//! Asks sign-in providers: their description, their keys, and tokens for codes. Every address goes
//! through the guard, the ones that a description names too. What was fetched is kept for a
//! while, tenant by tenant; keys that are not known are looked for once more.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Deserialize;
use veritwin_access::oidc::{Description, KeySet, OidcError, description_address};
use veritwin_domain::{LimitExceeded, Rng, Secret, TenantId};
use veritwin_outbound::guard::{Call, Caller, GuardError, GuardedClient, Target, TargetError};
use veritwin_outbound::register::{Destination, DestinationKind, EgressRegister};

use crate::provider_flow::Flows;

/// How long a description and its keys are believed.
const KNOWN_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// How long a provider that did not answer is left alone.
const FAILURE_LIFETIME: Duration = Duration::from_secs(5);
/// How often keys are looked for before their time.
const KEYS_AGAIN: Duration = Duration::from_secs(20);
/// Largest answer of a provider, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
const PURPOSE: &str = "sign-in provider that a customer set";

/// Why a provider cannot be used now.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ProviderError {
    /// It was not reached, or may not be.
    #[error("{0}")]
    Guard(Arc<GuardError>),
    /// An address in its description is of no form that is called.
    #[error("its {0} cannot be called: {1}")]
    Address(&'static str, TargetError),
    /// What it says is refused.
    #[error("{0}")]
    Oidc(#[from] OidcError),
    /// It answers with another status.
    #[error("its {0} answers with status {1}")]
    Status(&'static str, u16),
    /// It did not answer a moment ago.
    #[error("it did not answer a moment ago")]
    Resting,
}

impl ProviderError {
    /// The bound on calls that kept it from being asked.
    pub(crate) fn busy(&self) -> Option<&LimitExceeded> {
        match self {
            Self::Guard(error) => match error.as_ref() {
                GuardError::Busy(limit) => Some(limit),
                _ => None,
            },
            _ => None,
        }
    }
}

impl From<GuardError> for ProviderError {
    fn from(error: GuardError) -> Self {
        Self::Guard(Arc::new(error))
    }
}

/// A provider as its description and keys say.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) description: Description,
    pub(crate) keys: KeySet,
}

struct Entry {
    issuer: String,
    known: Option<Arc<Known>>,
    at: Duration,
    looked_again: Option<Duration>,
    destinations: BTreeSet<Destination>,
}

/// What a code is exchanged with.
pub(crate) struct Exchange<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) client_secret: Option<&'a Secret<String>>,
    pub(crate) redirect_uri: &'a str,
    pub(crate) code: &'a Secret<String>,
    pub(crate) verifier: &'a Secret<String>,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: Option<String>,
}

/// The providers of all tenants.
pub(crate) struct Providers {
    pub(crate) flows: Flows,
    pub(crate) client: GuardedClient,
    register: Arc<EgressRegister>,
    entries: Mutex<HashMap<TenantId, Entry>>,
}

fn target(what: &'static str, address: &str) -> Result<Target, ProviderError> {
    Target::parse(address).map_err(|error| ProviderError::Address(what, error))
}

/// A value in `application/x-www-form-urlencoded` (WHATWG URL, 5.2): all but letters, digits and
/// `*-._` is written by its bytes.
pub(crate) fn form_value(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"*-._".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Pairs as a form or query.
pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| format!("{name}={}", form_value(value));
    pairs.iter().map(pair).collect::<Vec<_>>().join("&")
}

impl Providers {
    /// As the platform is configured.
    pub(crate) fn open(
        config: &crate::Config,
        egress: &Arc<EgressRegister>,
        rng: &dyn Rng,
    ) -> crate::Result<Self> {
        let client = crate::open::guarded_client(config, egress)?;
        Ok(Self::new(rng, client, Arc::clone(egress)))
    }

    fn new(rng: &dyn Rng, client: GuardedClient, register: Arc<EgressRegister>) -> Self {
        Self { flows: Flows::new(rng), client, register, entries: Mutex::default() }
    }

    /// Forgets what was fetched for a tenant, and no longer calls there.
    pub(crate) fn forget(&self, tenant: TenantId) {
        self.put(tenant, None);
    }

    /// Puts an entry in another's place; what nobody names any more leaves the register.
    fn put(&self, tenant: TenantId, entry: Option<Entry>) {
        let mut entries = self.entries.lock();
        let gone = match entry {
            Some(entry) => entries.insert(tenant, entry),
            None => entries.remove(&tenant),
        };
        for destination in gone.map(|entry| entry.destinations).unwrap_or_default() {
            if entries.values().all(|entry| !entry.destinations.contains(&destination)) {
                self.register.withdraw_of(&destination, PURPOSE);
            }
        }
    }

    /// Puts a place into the register.
    fn enter(&self, target: &Target, entered: &mut BTreeSet<Destination>) {
        let destination = Destination::new(target.host(), target.port());
        self.register.register(destination.clone(), DestinationKind::Recipient, PURPOSE);
        entered.insert(destination);
    }

    async fn get(
        &self,
        caller: Caller,
        what: &'static str,
        target: &Target,
    ) -> Result<Bytes, ProviderError> {
        let call = Call { reply_bytes_max: ANSWER_BYTES_MAX, ..Call::get(target) };
        let reply = self.client.call(Some(caller), call).await?;
        match reply.status {
            200 => Ok(reply.body),
            status => Err(ProviderError::Status(what, status)),
        }
    }

    async fn fetch(
        &self,
        caller: Caller,
        issuer: &str,
        entered: &mut BTreeSet<Destination>,
    ) -> Result<Known, ProviderError> {
        let place = target("issuer", &description_address(issuer))?;
        self.enter(&place, entered);
        let description = self.get(caller, "description", &place).await?;
        let description = Description::parse(&description, issuer)?;
        target("authorization_endpoint", &description.authorization_endpoint)?;
        let token = target("token_endpoint", &description.token_endpoint)?;
        let keys = target("jwks_uri", &description.jwks_uri)?;
        for place in [&token, &keys] {
            self.client.guard().check(place)?;
            self.enter(place, entered);
        }
        let keys = KeySet::parse(&self.get(caller, "key set", &keys).await?)?;
        Ok(Known { description, keys })
    }

    /// Asks a provider now, whatever is known of it.
    pub(crate) async fn ask(
        &self,
        caller: Caller,
        issuer: &str,
        now: Duration,
    ) -> Result<Arc<Known>, ProviderError> {
        let mut destinations = BTreeSet::new();
        let known = self.fetch(caller, issuer, &mut destinations).await.map(Arc::new);
        let was_busy = known.as_ref().is_err_and(|error| error.busy().is_some());
        let looked_again = {
            let entries = self.entries.lock();
            let before = entries.get(&caller.tenant);
            // Nobody asked it: what was known stays, and it need not rest.
            if was_busy && before.is_some_and(|entry| entry.issuer == issuer) {
                return known;
            }
            before.and_then(|entry| entry.looked_again)
        };
        let entry = Entry {
            issuer: issuer.to_owned(),
            known: known.as_ref().ok().cloned(),
            at: if was_busy { Duration::ZERO } else { now },
            looked_again,
            destinations,
        };
        self.put(caller.tenant, Some(entry));
        known
    }

    /// What is known of a tenant's provider, fetched when it is not fresh.
    pub(crate) async fn known(
        &self,
        caller: Caller,
        issuer: &str,
        now: Duration,
    ) -> Result<Arc<Known>, ProviderError> {
        if let Some(entry) = self.entries.lock().get(&caller.tenant)
            && entry.issuer == issuer
        {
            let age = now.saturating_sub(entry.at);
            match &entry.known {
                Some(known) if age < KNOWN_LIFETIME => return Ok(Arc::clone(known)),
                None if age < FAILURE_LIFETIME => return Err(ProviderError::Resting),
                _ => {}
            }
        }
        self.ask(caller, issuer, now).await
    }

    /// Looks once more for keys that are not known; no more often than they may change.
    pub(crate) async fn known_again(
        &self,
        caller: Caller,
        issuer: &str,
        now: Duration,
    ) -> Result<Arc<Known>, ProviderError> {
        {
            let mut entries = self.entries.lock();
            let entry = entries.get_mut(&caller.tenant).ok_or(OidcError::UnknownKey)?;
            let is_early = |at: Duration| now.saturating_sub(at) < KEYS_AGAIN;
            if entry.looked_again.is_some_and(is_early) {
                return Err(OidcError::UnknownKey.into());
            }
            entry.looked_again = Some(now);
        }
        self.ask(caller, issuer, now).await
    }

    /// Exchanges a code for an ID token (RFC 6749, 4.1.3). None: the provider refuses the code.
    pub(crate) async fn exchange(
        &self,
        caller: Caller,
        description: &Description,
        exchange: &Exchange<'_>,
    ) -> Result<Option<Secret<String>>, ProviderError> {
        let target = target("token_endpoint", &description.token_endpoint)?;
        let mut pairs = vec![
            ("grant_type", "authorization_code"),
            ("code", exchange.code.expose().as_str()),
            ("redirect_uri", exchange.redirect_uri),
            ("code_verifier", exchange.verifier.expose().as_str()),
        ];
        let in_header = exchange.client_secret.filter(|_| !description.secret_in_body);
        if in_header.is_none() {
            pairs.push(("client_id", exchange.client_id));
            let secret = exchange.client_secret.map(|secret| secret.expose().as_str());
            pairs.extend(secret.map(|secret| ("client_secret", secret)));
        }
        let mut call = Call::post_form(&target, form(&pairs));
        if let Some(secret) = in_header {
            let (id, secret) = (form_value(exchange.client_id), form_value(secret.expose()));
            let text = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
            call = call.authorized(&text).ok_or(OidcError::Malformed("client"))?;
        }
        call.reply_bytes_max = ANSWER_BYTES_MAX;
        let reply = self.client.call(Some(caller), call).await?;
        match reply.status {
            200 => {
                let tokens: Tokens = serde_json::from_slice(&reply.body)
                    .map_err(|_| OidcError::Malformed("token answer"))?;
                let token = tokens.id_token.ok_or(OidcError::Malformed("ID token"))?;
                Ok(Some(Secret::new(token)))
            }
            400 => Ok(None),
            status => Err(ProviderError::Status("token endpoint", status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_written_so_that_no_value_ends_early() {
        let pairs = [("scope", "openid email"), ("state", "a&b=c%\u{e9}+")];
        assert_eq!(form(&pairs), "scope=openid%20email&state=a%26b%3Dc%25%C3%A9%2B");
    }
}
