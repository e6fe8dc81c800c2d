//! Asks a certificate authority by ACME (RFC 8555): an account, orders, and the TLS-ALPN-01
//! challenge (RFC 8737), which the caller answers. The directory is the operator's own choice, so
//! it may be a private address; nothing but its own host and port is called.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{HOST, USER_AGENT};
use hyper::{Request, Response};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType,
    HttpClient, Identifier, NewAccount, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use veritwin_domain::{AddressList, Secret};

use crate::archive::TrustError;
use crate::guard::{Call, Guard, GuardError, GuardPolicy, GuardedClient, Target, TargetError};
use crate::register::{Destination, DestinationKind, EgressRegister};

/// Longest text of an authority that is kept, in characters.
const DETAIL_CHARS_MAX: usize = 400;
/// Longest wait for an authority to judge a challenge, and for it to issue.
const JUDGEMENT_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_FIRST: Duration = Duration::from_millis(500);
/// Each wait for an answer is so much longer than the one before: by the end they are ten seconds.
const POLL_GROWTH: f32 = 1.2;
/// Waits before a call is made again that did not get through: a stumble of the network is no
/// refusal. A call that did arrive is not carried out twice, because its nonce is used up.
const STUMBLE_PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(3)];
const PURPOSE: &str = "certificates of host names (ACME)";

/// Which authority, and as whom.
#[derive(Debug, Clone)]
pub struct AcmeConfig {
    /// The address of its directory.
    pub directory: String,
    /// Where it may write to.
    pub contact: Option<String>,
    /// Authorities that are trusted for the directory's own TLS beside the public ones, PEM.
    pub authorities_pem: Option<String>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AcmeConfigError {
    /// The directory's address.
    #[error("acme.directory: {0}")]
    Directory(#[from] TargetError),
    /// The authorities.
    #[error("acme.ca_file: {0}")]
    Trust(#[from] TrustError),
}

/// Of what kind a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The authority was not reached.
    Unreachable,
    /// The authority does not reach the host name.
    Connection,
    /// The host name leads nowhere.
    Dns,
    /// The host name's CAA records name other authorities.
    Caa,
    /// Under the host name the platform's answer was not found: somebody else answers, something in
    /// front of the platform, or nobody.
    WrongAnswer,
    /// The authority has had enough of us for a while.
    RateLimited,
    /// The authority does not offer TLS-ALPN-01.
    NoChallenge,
    /// What came cannot be used.
    Unusable,
    /// It took too long.
    TooSlow,
    /// Whatever else the authority says.
    Refused,
}

impl RefusalKind {
    /// Every kind there is.
    pub const ALL: [Self; 10] = [
        Self::Unreachable,
        Self::Connection,
        Self::Dns,
        Self::Caa,
        Self::WrongAnswer,
        Self::RateLimited,
        Self::NoChallenge,
        Self::Unusable,
        Self::TooSlow,
        Self::Refused,
    ];

    /// The name used in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Connection => "connection",
            Self::Dns => "dns",
            Self::Caa => "caa",
            Self::WrongAnswer => "wrong_answer",
            Self::RateLimited => "rate_limited",
            Self::NoChallenge => "no_challenge",
            Self::Unusable => "unusable",
            Self::TooSlow => "too_slow",
            Self::Refused => "refused",
        }
    }

    /// The kind of an ACME error type (RFC 8555, 6.7).
    fn of_type(text: Option<&str>) -> Self {
        let name = text.unwrap_or_default();
        match name.strip_prefix("urn:ietf:params:acme:error:").unwrap_or_default() {
            "connection" => Self::Connection,
            "dns" => Self::Dns,
            "caa" => Self::Caa,
            "tls" | "unauthorized" | "incorrectResponse" => Self::WrongAnswer,
            "rateLimited" => Self::RateLimited,
            _ => Self::Refused,
        }
    }
}

/// Why there is no certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Of what kind.
    pub kind: RefusalKind,
    /// What the authority said, or what happened; never a secret.
    pub detail: String,
}

impl Refusal {
    /// A refusal; control characters and what is too long are cut from its text.
    pub fn new(kind: RefusalKind, detail: &str) -> Self {
        let shown = detail.chars().map(|one| if one.is_control() { ' ' } else { one });
        Self { kind, detail: shown.take(DETAIL_CHARS_MAX).collect() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.detail)
    }
}

impl From<&Problem> for Refusal {
    fn from(problem: &Problem) -> Self {
        let kind = RefusalKind::of_type(problem.r#type.as_deref());
        let first = problem.subproblems.iter().find_map(|inner| inner.detail.as_deref());
        let said = problem.detail.as_deref().or(first);
        Self::new(kind, said.or(problem.r#type.as_deref()).unwrap_or("no reason given"))
    }
}

impl From<instant_acme::Error> for Refusal {
    fn from(error: instant_acme::Error) -> Self {
        use instant_acme::Error;
        match &error {
            Error::Api(problem) => problem.into(),
            Error::Timeout(_) => Self::new(RefusalKind::TooSlow, &error.to_string()),
            Error::Other(inner) if inner.is::<GuardError>() => {
                Self::new(RefusalKind::Unreachable, &inner.to_string())
            }
            // Its own text may quote the answer.
            Error::Json(_) => Self::new(
                RefusalKind::Unusable,
                "the answer is none of ACME: is acme.directory the address of a directory?",
            ),
            _ => Self::new(RefusalKind::Unusable, &error.to_string()),
        }
    }
}

/// The authority's answers go through the guard: verified TLS, bounds, no redirects.
struct Http {
    client: Arc<GuardedClient>,
    directory: Target,
    pauses: [Duration; 2],
}

/// Whether the other side may not have heard of it at all.
const fn is_stumble(error: &GuardError) -> bool {
    matches!(error, GuardError::Unreachable { .. } | GuardError::Resolve { .. })
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let (client, directory) = (Arc::clone(&self.client), self.directory.clone());
        let mut pauses = self.pauses.into_iter();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let other = |error: GuardError| instant_acme::Error::Other(Box::new(error));
            let target = Target::parse(&parts.uri.to_string());
            let target = target.map_err(|error| other(error.into()))?;
            if (target.host(), target.port()) != (directory.host(), directory.port()) {
                let problem = "the directory names another host, which is not called".to_owned();
                let host = target.host().to_owned();
                return Err(other(GuardError::Unreachable { host, problem }));
            }
            let Ok(body) = body.collect().await;
            let own = |name: &hyper::header::HeaderName| *name == USER_AGENT || *name == HOST;
            let headers = parts.headers.iter().filter(|(name, _)| !own(name));
            let headers: Vec<_> =
                headers.map(|(name, value)| (name.clone(), value.clone())).collect();
            let body = body.to_bytes();
            let reply = loop {
                let call = Call {
                    method: parts.method.clone(),
                    headers: headers.clone(),
                    body: body.clone(),
                    ..Call::get(&target)
                };
                match client.call(None, call).await {
                    Ok(reply) => break reply,
                    Err(error) => match pauses.next().filter(|_| is_stumble(&error)) {
                        Some(pause) => tokio::time::sleep(pause).await,
                        None => return Err(other(error)),
                    },
                }
            };
            let mut response = Response::builder().status(reply.status);
            if let Some(headers) = response.headers_mut() {
                *headers = reply.headers;
            }
            Ok(BytesResponse::from(response.body(Full::new(reply.body))?))
        })
    }
}

/// An account at the authority.
#[derive(Clone)]
pub struct AcmeAccount(Account);

impl fmt::Debug for AcmeAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcmeAccount").finish_non_exhaustive()
    }
}

/// A name and the request (PKCS #10, DER) for its certificate.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The host name.
    pub host: &'a str,
    /// The certificate signing request.
    pub request_der: &'a [u8],
}

/// The client of one authority.
#[derive(Debug)]
pub struct AcmeClient {
    config: AcmeConfig,
    client: Arc<GuardedClient>,
    directory: Target,
    pauses: [Duration; 2],
}

impl AcmeClient {
    /// A client; its authority is entered in the register.
    pub fn new(config: AcmeConfig, register: Arc<EgressRegister>) -> Result<Self, AcmeConfigError> {
        let directory = Target::parse(&config.directory)?;
        // Whoever runs the platform may name any place; the guard still refuses metadata services.
        let allowed = AddressList::parse(&["0.0.0.0/0", "::/0"]).unwrap_or_default();
        let guard = Guard::new(GuardPolicy { allowed, ports: vec![directory.port()] });
        let destination = Destination::new(directory.host(), directory.port());
        register.register(destination, DestinationKind::SubProcessor, PURPOSE);
        let authorities = config.authorities_pem.as_deref();
        let client = Arc::new(GuardedClient::new(guard, register, authorities)?);
        Ok(Self { config, client, directory, pauses: STUMBLE_PAUSES })
    }

    /// The address of the directory.
    pub fn directory(&self) -> &str {
        &self.config.directory
    }

    fn http(&self) -> Box<dyn HttpClient> {
        Box::new(Http {
            client: Arc::clone(&self.client),
            directory: self.directory.clone(),
            pauses: self.pauses,
        })
    }

    /// Opens an account that was made before.
    #[boxed]
    pub async fn open(&self, credentials: &Secret<Vec<u8>>) -> Result<AcmeAccount, Refusal> {
        let known: AccountCredentials = serde_json::from_slice(credentials.expose())
            .map_err(|_| Refusal::new(RefusalKind::Unusable, "the kept account is damaged"))?;
        let builder = Account::builder_with_http(self.http());
        Ok(AcmeAccount(builder.from_credentials(known).await?))
    }

    /// Makes an account. What comes back beside it, to be kept sealed, holds its private key.
    #[boxed]
    pub async fn create(&self) -> Result<(AcmeAccount, Secret<Vec<u8>>), Refusal> {
        let contact = self.config.contact.as_ref().map(|mail| format!("mailto:{mail}"));
        let contact: Vec<&str> = contact.as_deref().into_iter().collect();
        let account = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let builder = Account::builder_with_http(self.http());
        let (account, kept) = builder.create(&account, self.config.directory.clone(), None).await?;
        let kept = serde_json::to_vec(&kept)
            .map_err(|_| Refusal::new(RefusalKind::Unusable, "the account cannot be kept"))?;
        Ok((AcmeAccount(account), Secret::new(kept)))
    }

    /// Orders a certificate and gives its chain, PEM. None: the authority does not know the
    /// account. `answer` gets the challenge's digest; what it gives back is held until the
    /// authority has judged, and no longer.
    pub async fn order<A: Send>(
        &self,
        account: &AcmeAccount,
        wanted: Wanted<'_>,
        answer: impl Fn([u8; 32]) -> Result<A, String> + Send,
    ) -> Result<Option<String>, Refusal> {
        let identifiers = [Identifier::Dns(wanted.host.to_owned())];
        let mut order = match account.0.new_order(&NewOrder::new(&identifiers)).await {
            Err(instant_acme::Error::Api(problem)) if is_unknown_account(&problem) => {
                return Ok(None);
            }
            order => order?,
        };
        let answers = answer_challenges(&mut order, answer).await?;
        let patience = RetryPolicy::new().initial_delay(POLL_FIRST).backoff(POLL_GROWTH);
        let patience = patience.timeout(JUDGEMENT_TIMEOUT);
        let judged = order.poll_ready(&patience).await;
        drop(answers);
        match judged {
            Ok(OrderStatus::Ready) => {}
            Ok(_) => return Err(reason(&mut order, None).await),
            Err(error) => return Err(reason(&mut order, Some(error.into())).await),
        }
        order.finalize_csr(wanted.request_der).await?;
        Ok(Some(order.poll_certificate(&patience).await?))
    }
}

fn is_unknown_account(problem: &Problem) -> bool {
    problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:accountDoesNotExist")
}

async fn answer_challenges<A: Send>(
    order: &mut Order,
    answer: impl Fn([u8; 32]) -> Result<A, String> + Send,
) -> Result<Vec<A>, Refusal> {
    let mut answers = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        // An authority may remember what it judged before.
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let Some(mut challenge) = authorization.challenge(ChallengeType::TlsAlpn01) else {
            let detail = "the authority does not offer the challenge tls-alpn-01 for this name";
            return Err(Refusal::new(RefusalKind::NoChallenge, detail));
        };
        let digest: [u8; 32] = challenge
            .key_authorization()
            .digest()
            .as_ref()
            .try_into()
            .map_err(|_| Refusal::new(RefusalKind::Unusable, "a digest of another length"))?;
        let held = answer(digest);
        answers.push(held.map_err(|error| Refusal::new(RefusalKind::Unusable, &error))?);
        challenge.set_ready().await?;
    }
    Ok(answers)
}

/// Why an order came to nothing: what its challenges say, else what the order said.
async fn reason(order: &mut Order, said: Option<Refusal>) -> Refusal {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        if let Some(problem) = state.challenges.iter().find_map(|one| one.error.as_ref()) {
            return problem.into();
        }
    }
    said.unwrap_or_else(|| Refusal::new(RefusalKind::Refused, "the order became invalid"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn config(directory: &str) -> AcmeConfig {
        AcmeConfig { directory: directory.to_owned(), contact: None, authorities_pem: None }
    }

    #[test]
    fn refusals_are_told_apart_and_bounded() {
        let check = |kind: &str, expect: RefusalKind| {
            let kind = format!("urn:ietf:params:acme:error:{kind}");
            assert_eq!(RefusalKind::of_type(Some(&kind)), expect, "{kind}");
        };
        check("connection", RefusalKind::Connection);
        check("unauthorized", RefusalKind::WrongAnswer);
        check("rateLimited", RefusalKind::RateLimited);
        check("rejectedIdentifier", RefusalKind::Refused);
        assert_eq!(RefusalKind::of_type(None), RefusalKind::Refused);
        let long = Refusal::new(RefusalKind::Dns, &format!("a\r\nb{}", "x".repeat(1000)));
        assert!(long.detail.starts_with("a  b") && long.detail.len() == DETAIL_CHARS_MAX);
        let names: std::collections::BTreeSet<_> =
            RefusalKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), RefusalKind::ALL.len());
    }

    #[tokio::test]
    async fn only_the_directorys_own_place_is_called() {
        let register = Arc::new(EgressRegister::default());
        let wrong = AcmeClient::new(config("http://acme.example/"), Arc::clone(&register));
        let error = wrong.map(|_| ()).expect_err("plain").to_string();
        assert!(error.contains("acme.directory: only https://"), "{error}");
        // A closed port of this machine: allowed, and nobody there.
        let directory = "https://127.0.0.1:1/directory";
        let client = AcmeClient::new(config(directory), Arc::clone(&register)).expect("a client");
        let client = AcmeClient { pauses: [Duration::ZERO; 2], ..client };
        assert_eq!(register.rows().len(), 1);
        let refusal = client.create().await.map(|_| ()).expect_err("nobody there");
        assert_eq!(refusal.kind, RefusalKind::Unreachable, "{refusal}");
        let elsewhere = Request::builder().uri("https://127.0.0.2:1/order");
        let elsewhere = elsewhere.body(BodyWrapper::default()).expect("a request");
        let refused = client.http().request(elsewhere).await.map(|_| ()).expect_err("elsewhere");
        assert!(Refusal::from(refused).detail.contains("another host"));
    }
    #[tokio::test]
    async fn a_call_that_does_not_get_through_is_made_again() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let knocked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&knocked);
        tokio::spawn(async move {
            // Each connection ends before it said anything.
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        let directory = format!("https://127.0.0.1:{port}/directory");
        let client = AcmeClient::new(config(&directory), Arc::default()).expect("a client");
        let client = AcmeClient { pauses: [Duration::ZERO; 2], ..client };
        let refusal = client.create().await.map(|_| ()).expect_err("nobody answers");
        assert_eq!(refusal.kind, RefusalKind::Unreachable, "{refusal}");
        assert_eq!(knocked.load(Ordering::SeqCst), 3, "once, and again after each pause");
    }
}
