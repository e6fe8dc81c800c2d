//! One key service at an address of the customer's: its place in the egress register for as long as
//! a client of it is there, its own trust, and what the guard's answers mean for a key.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use parking_lot::Mutex;
use veritwin_domain::Secret;
use veritwin_keys::{KeyCall, ProviderError, ProviderSettings};
use zeroize::Zeroizing;

use super::KeyServices;
use super::settings::invalid;
use crate::archive::ClientIdentity;
use crate::guard::{Call, CallTls, Caller, GuardError, GuardedClient, Reply, Target};
use crate::register::{Destination, DestinationKind, EgressRegister};

/// Largest answer of a key service, in bytes.
pub const KEY_SERVICE_REPLY_BYTES_MAX: usize = 64 * 1024;
/// Longest value of a header that says who asks.
const SAID_BYTES_MAX: usize = 200;
const PURPOSE: &str = "a customer's key service";

/// Which places clients are there for, and how many.
#[derive(Debug)]
pub(super) struct Places {
    register: Arc<EgressRegister>,
    counts: Mutex<BTreeMap<Destination, usize>>,
}

/// A place that stays in the register until this is dropped.
#[derive(Debug)]
struct Entered {
    destination: Destination,
    places: Arc<Places>,
}

impl Places {
    pub(super) fn new(register: Arc<EgressRegister>) -> Self {
        Self { register, counts: Mutex::default() }
    }

    fn enter(self: &Arc<Self>, destination: Destination) -> Entered {
        let mut counts = self.counts.lock();
        *counts.entry(destination.clone()).or_default() += 1;
        self.register.register(destination.clone(), DestinationKind::Recipient, PURPOSE);
        Entered { destination, places: Arc::clone(self) }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut counts = self.places.counts.lock();
        let Some(count) = counts.get_mut(&self.destination) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&self.destination);
            self.places.register.withdraw_of(&self.destination, PURPOSE);
        }
    }
}

/// A service that is called.
#[derive(Debug)]
pub(super) struct Service {
    client: Arc<GuardedClient>,
    tls: Option<CallTls>,
    base: Target,
    timeout: Duration,
    _entered: Entered,
}

/// What is sent. It may hold a key, and shows itself nowhere.
pub(super) struct Outgoing<'a> {
    pub(super) method: Method,
    pub(super) target: &'a Target,
    pub(super) content_type: &'static str,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Vec<u8>,
}

impl Service {
    /// Judges the address and the certificates. `identity` is the platform's own certificate and
    /// key, in one PEM text.
    pub(super) fn new(
        of: &KeyServices,
        settings: &ProviderSettings,
        identity: Option<&Secret<String>>,
    ) -> Result<Self, ProviderError> {
        let base = Target::parse(&settings.address)
            .map_err(|error| invalid(format!("address: {error}")))?;
        if base.path_and_query().contains('?') {
            return Err(invalid("address: a part behind `?` has no meaning here"));
        }
        let judged = of.client.guard().check(&base);
        judged.map_err(|error| invalid(format!("address: {error}")))?;
        let identity = identity.map(|pem| ClientIdentity::from_pem(pem.expose(), pem.expose()));
        // The text of such an error names the part and never quotes a key.
        let identity =
            identity.transpose().map_err(|error| invalid(format!("credential: {error}")))?;
        let trust = settings.trust.as_deref();
        let tls = match (trust, identity) {
            (None, None) => None,
            (trust, identity) => Some(
                of.client
                    .call_tls(trust, identity)
                    .map_err(|error| invalid(format!("trust: {error}")))?,
            ),
        };
        let entered = of.places.enter(Destination::new(base.host(), base.port()));
        let client = Arc::clone(&of.client);
        Ok(Self { client, tls, base, timeout: of.timeout, _entered: entered })
    }

    /// The path of the address, without a slash at its end.
    pub(super) fn base_path(&self) -> &str {
        self.base.path_and_query().trim_end_matches('/')
    }

    /// The same place with another path.
    pub(super) fn at(&self, path: &str) -> Result<Target, ProviderError> {
        self.base.with_path(path).map_err(|error| invalid(format!("address: {error}")))
    }

    /// Sends a request on behalf of a call.
    pub(super) async fn send(
        &self,
        call: &KeyCall,
        outgoing: Outgoing<'_>,
    ) -> Result<Reply, ProviderError> {
        let Outgoing { method, target, content_type, mut headers, body } = outgoing;
        headers.push((CONTENT_TYPE, HeaderValue::from_static(content_type)));
        headers.extend(said(call));
        let request = Call {
            method,
            target,
            headers,
            body: Bytes::from_owner(Zeroizing::new(body)),
            reply_bytes_max: KEY_SERVICE_REPLY_BYTES_MAX,
            timeout: self.timeout,
            tls: self.tls.as_ref(),
        };
        let caller = Caller { tenant: call.tenant, branch: call.tenant };
        self.client.call(Some(caller), request).await.map_err(refused)
    }

    /// Gives everything that a question takes one time together.
    pub(super) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ProviderError::Unavailable("no answer in time".to_owned())),
        }
    }
}

/// For whom, why and on whose behalf, for the service's own records.
fn said(call: &KeyCall) -> Vec<(HeaderName, HeaderValue)> {
    let (tenant, purpose, request) =
        (call.tenant.to_string(), call.purpose.to_string(), call.request.to_string());
    let agent = format!(
        "Veritwin tenant/{tenant} purpose/{purpose} actor/{} request/{request}",
        plain(&call.actor)
    );
    let rows = [
        (USER_AGENT, agent),
        (HeaderName::from_static("x-veritwin-tenant"), tenant),
        (HeaderName::from_static("x-veritwin-purpose"), purpose),
        (HeaderName::from_static("x-veritwin-actor"), plain(&call.actor)),
        (HeaderName::from_static("x-request-id"), request),
    ];
    let value = |text: String| HeaderValue::try_from(text).ok();
    rows.into_iter().filter_map(|(name, text)| Some((name, value(text)?))).collect()
}

/// What can stand in a header and in a record of one line.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).take(SAID_BYTES_MAX).collect()
}

/// What it means for a key that a call did not get through.
fn refused(error: GuardError) -> ProviderError {
    match error {
        GuardError::Resolve { .. } | GuardError::Unreachable { .. } | GuardError::Busy(_) => {
            ProviderError::Unavailable(error.to_string())
        }
        GuardError::Target(_)
        | GuardError::NotRegistered(_)
        | GuardError::Port { .. }
        | GuardError::Address { .. }
        | GuardError::Redirect { .. }
        | GuardError::Size { .. } => ProviderError::Invalid(error.to_string()),
    }
}

/// What a status means where the body says nothing that is understood. A key is never taken for
/// destroyed or refused by a status alone: any server in between can answer 403 or 404.
pub(super) fn by_status(status: u16) -> ProviderError {
    match status {
        408 | 425 | 429 | 500.. => {
            ProviderError::Unavailable(format!("it answered with status {status}"))
        }
        _ => ProviderError::Invalid(format!("an answer that is not understood, status {status}")),
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::{Purpose, RequestId, TenantId};

    use super::*;

    #[test]
    fn a_status_alone_destroys_and_denies_nothing() {
        for status in [408, 429, 500, 503, 599] {
            assert!(matches!(by_status(status), ProviderError::Unavailable(_)), "{status}");
        }
        for status in [200, 204, 400, 401, 403, 404, 410] {
            assert!(matches!(by_status(status), ProviderError::Invalid(_)), "{status}");
        }
    }

    #[test]
    fn a_call_says_who_asks_in_one_line() {
        let call = KeyCall {
            tenant: TenantId::from_bytes([1; 16]),
            purpose: Purpose::IngestRouting,
            actor: "job:ledger\r\nx: y".to_owned(),
            request: RequestId::from_bytes([2; 16]),
            associated_data: Vec::new(),
        };
        let rows = said(&call);
        assert_eq!(rows.len(), 5);
        let actor = rows.iter().find(|(name, _)| name.as_str() == "x-veritwin-actor");
        assert_eq!(actor.expect("the actor").1, "job:ledgerx:y");
    }

    #[test]
    fn a_place_is_registered_while_somebody_needs_it() {
        let register = Arc::new(EgressRegister::default());
        let places = Arc::new(Places::new(Arc::clone(&register)));
        let destination = Destination::new("proxy.example", 443);
        let (one, two) = (places.enter(destination.clone()), places.enter(destination.clone()));
        drop(one);
        assert!(register.check(&destination).is_ok());
        drop(two);
        assert!(register.check(&destination).is_err());
    }
}
