//! The guard of every address that a tenant may choose: webhooks, sign-in providers, key proxies,
//! object stores. HTTPS to public addresses only; a name is resolved once, every address it has
//! is judged, and that very address is connected to. Redirects are never followed.

mod brokers;
mod client;
mod mailbox;
mod ranges;
mod target;
mod turns;
mod webhook;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use tokio::net::TcpStream;
use veritwin_domain::{AddressList, LimitExceeded};

pub use brokers::{BROKER_TIMEOUT, BrokerKind, BrokerMessage, BrokerReply};
pub use client::{Call, CallTls, GuardedClient, REPLY_BYTES_MAX, Reply};
pub use mailbox::{
    MAIL_BYTES_MAX, MAILBOX_TIMEOUT, MAILS_AGAIN_MAX, MAILS_OF_ROUND_MAX, MailboxCall,
    MailboxError, MailboxMail, MailboxRound, MailboxSpan, ROUND_BYTES_MAX,
};
pub use target::{TARGET_BYTES_MAX, Target, TargetError};
pub use turns::{
    BRANCH_CALLS_MAX, CALLS_MAX, Caller, DESTINATION_CALLS_MAX, TENANT_CALLS_MAX,
    TENANT_CALLS_WAITING_MAX,
};
pub use webhook::{
    WEBHOOK_REPLY_BYTES_MAX, WEBHOOK_TIMEOUT, Webhook, WebhookReply, webhook_secret,
};

use crate::register::NotRegistered;

/// Most addresses of one name that are looked at; a name with more is refused.
pub const ADDRESSES_MAX: usize = 32;
/// Of these, so many are tried.
const ATTEMPTS_MAX: usize = 4;
/// Longest wait for the resolver.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for one TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Ports that a tenant may name when the operator says nothing else.
pub const PORTS_DEFAULT: [u16; 2] = [443, 8443];

/// Why nothing was sent, or what went wrong. The texts reach the tenant: they name what the
/// tenant wrote and the kind of a refused address, never the address itself.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The address is not of the right form.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The destination is not in the egress register.
    #[error(transparent)]
    NotRegistered(#[from] NotRegistered),
    /// The port is not one that may be named.
    #[error("port {port} is not allowed here: allowed are {allowed}")]
    Port {
        /// The port asked for.
        port: u16,
        /// Those that are allowed.
        allowed: String,
    },
    /// The name leads to an address that is refused.
    #[error("{host} leads to {kind} address, which is refused: only public addresses are called")]
    Address {
        /// As the tenant wrote it.
        host: String,
        /// Of what kind, with an article.
        kind: &'static str,
    },
    /// The name has no address, or too many.
    #[error("{host} cannot be resolved: {problem}")]
    Resolve {
        /// As the tenant wrote it.
        host: String,
        /// What happened.
        problem: String,
    },
    /// No connection, no TLS, or an answer that broke off or came too late.
    #[error("{host}: {problem}")]
    Unreachable {
        /// As the tenant wrote it.
        host: String,
        /// What happened.
        problem: String,
    },
    /// The other side wants us to go elsewhere.
    #[error(
        "{host} answered {status}, a redirect, and redirects are not followed: give the final address"
    )]
    Redirect {
        /// As the tenant wrote it.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// So many calls are on their way or wait already.
    #[error("limit {} exceeded: {} calls are there already, try again in a moment", .0.name, .0.max)]
    Busy(LimitExceeded),
    /// The answer is larger than it may be.
    #[error("limit {name} exceeded: {host} answered with more than {max} bytes")]
    Size {
        /// As the tenant wrote it.
        host: String,
        /// The limit's name.
        name: &'static str,
        /// The bound.
        max: usize,
        /// The HTTP status.
        status: u16,
    },
}

/// What the operator allows beyond the rule.
#[derive(Debug, Clone)]
pub struct GuardPolicy {
    /// Networks that are called although they are not public. Cloud metadata services stay
    /// refused whatever stands here.
    pub allowed: AddressList,
    /// Ports that may be named.
    pub ports: Vec<u16>,
}

impl Default for GuardPolicy {
    fn default() -> Self {
        Self { allowed: AddressList::default(), ports: PORTS_DEFAULT.to_vec() }
    }
}

/// Judges addresses and connects to those that pass.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    policy: GuardPolicy,
}

impl Guard {
    /// A guard with the operator's exceptions.
    pub const fn new(policy: GuardPolicy) -> Self {
        Self { policy }
    }

    /// The kind of a refused address, with an article; `None`: it may be called.
    pub fn refusal(&self, address: IpAddr) -> Option<&'static str> {
        let address = address.to_canonical();
        if ranges::is_metadata(address) {
            return Some("a cloud metadata");
        }
        if self.policy.allowed.contains(address) {
            return None;
        }
        ranges::refused(address)
    }

    /// Whether a tenant may store this target: form and port, and the address where it is written
    /// out. Names are judged at each connection, since what they lead to changes.
    pub fn check(&self, target: &Target) -> Result<(), GuardError> {
        let port = target.port();
        if !self.policy.ports.contains(&port) {
            let allowed = self.policy.ports.iter().map(u16::to_string).collect::<Vec<_>>();
            return Err(GuardError::Port { port, allowed: allowed.join(", ") });
        }
        match target.literal() {
            Some(address) => self.judge(target, &[address]).map(|_| ()),
            None => Ok(()),
        }
    }

    /// All addresses, when every one of them may be called. One refused address refuses the
    /// name: a list of a public and a private one is how a name is turned round later.
    fn judge(&self, target: &Target, found: &[IpAddr]) -> Result<Vec<SocketAddr>, GuardError> {
        let unresolved =
            |problem: String| GuardError::Resolve { host: target.host().to_owned(), problem };
        if found.is_empty() {
            return Err(unresolved("it has no address".to_owned()));
        }
        if found.len() > ADDRESSES_MAX {
            let problem = format!(
                "limit addresses_max exceeded: at most {ADDRESSES_MAX}, got {}",
                found.len()
            );
            return Err(unresolved(problem));
        }
        let judged = found.iter().map(|address| match self.refusal(*address) {
            Some(kind) => Err(GuardError::Address { host: target.host().to_owned(), kind }),
            None => Ok(SocketAddr::new(*address, target.port())),
        });
        judged.collect()
    }

    async fn resolve(&self, target: &Target) -> Result<Vec<SocketAddr>, GuardError> {
        self.check(target)?;
        if let Some(address) = target.literal() {
            return self.judge(target, &[address]);
        }
        let unresolved = |problem: &str| GuardError::Resolve {
            host: target.host().to_owned(),
            problem: problem.to_owned(),
        };
        let lookup = tokio::net::lookup_host((target.host(), target.port()));
        let found = tokio::time::timeout(RESOLVE_TIMEOUT, lookup).await;
        let found = found.map_err(|_| unresolved("the resolver did not answer in time"))?;
        // The resolver's own text may name servers inside the operator's network.
        let found = found.map_err(|_| unresolved("no such name"))?;
        let addresses: Vec<IpAddr> =
            found.take(ADDRESSES_MAX + 1).map(|address| address.ip()).collect();
        self.judge(target, &addresses)
    }

    /// Connects to the target: resolved once, judged, and connected to what was judged.
    #[boxed]
    pub async fn connect(&self, target: &Target) -> Result<TcpStream, GuardError> {
        let mut problem = "no connection".to_owned();
        for address in self.resolve(target).await?.into_iter().take(ATTEMPTS_MAX) {
            let connect = TcpStream::connect(address);
            match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
                Ok(Ok(stream)) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => problem = format!("no connection: {}", error.kind()),
                Err(_) => "no connection in time".clone_into(&mut problem),
            }
        }
        Err(GuardError::Unreachable { host: target.host().to_owned(), problem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        Target::parse(text).expect(text)
    }

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn written_addresses_and_ports_are_judged_when_stored() {
        let check = |text: &str, expect: Option<&str>| {
            let judged = Guard::default().check(&target(text)).map_err(|error| error.to_string());
            match expect {
                None => assert_eq!(judged, Ok(()), "{text}"),
                Some(part) => {
                    let error = judged.expect_err(text);
                    assert!(error.contains(part), "{text}: {error}");
                }
            }
        };
        check("https://hooks.example/alerts", None);
        check("https://93.184.215.14/alerts", None);
        check("https://[2606:4700::1111]:8443/", None);
        check("https://hooks.example:22/", Some("allowed are 443, 8443"));
        check("https://127.0.0.1/", Some("a loopback"));
        check("https://[::1]/", Some("a loopback"));
        check("https://[::ffff:169.254.169.254]/", Some("a cloud metadata"));
        check("https://10.0.0.1:8443/", Some("a private"));
    }

    #[test]
    fn one_refused_address_refuses_the_name() {
        let guard = Guard::default();
        let hook = target("https://hooks.example/");
        assert!(guard.judge(&hook, &addresses(&["93.184.215.14", "2606:4700::1111"])).is_ok());
        let mixed = guard.judge(&hook, &addresses(&["93.184.215.14", "192.168.1.1"]));
        let error = mixed.expect_err("mixed").to_string();
        assert!(error.contains("a private address"), "{error}");
        assert!(!error.contains("192.168"), "{error}");
        assert!(guard.judge(&hook, &[]).is_err());
        let many = vec![addresses(&["93.184.215.14"])[0]; ADDRESSES_MAX + 1];
        let error = guard.judge(&hook, &many).expect_err("many").to_string();
        assert!(error.contains("addresses_max"), "{error}");
    }

    #[test]
    fn the_operator_may_open_networks_but_never_metadata() {
        let allowed = AddressList::parse(&["10.0.0.0/8", "169.254.0.0/16", "fd00::/8"]);
        let policy = GuardPolicy { allowed: allowed.expect("list"), ..GuardPolicy::default() };
        let guard = Guard::new(policy);
        for (address, expect) in [
            ("10.1.2.3", true),
            ("192.168.1.1", false),
            ("169.254.1.1", true),
            ("169.254.169.254", false),
            ("fd00:ec2::254", false),
            ("fd00::1", true),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(guard.refusal(address).is_none(), expect, "{address}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_home_is_not_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        let ports = vec![port];
        let closed = Guard::new(GuardPolicy { ports: ports.clone(), ..GuardPolicy::default() });
        // Every spelling that a resolver turns into this machine.
        for host in ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f.1", "0.0.0.0"] {
            let Ok(target) = Target::parse(&format!("https://{host}:{port}/")) else { continue };
            let error = closed.connect(&target).await.expect_err(host);
            let is_refused =
                matches!(error, GuardError::Address { .. } | GuardError::Resolve { .. });
            assert!(is_refused, "{host}: {error}");
        }
        let allowed = AddressList::parse(&["127.0.0.0/8", "::1"]).expect("list");
        let open = Guard::new(GuardPolicy { allowed, ports });
        let target = target(&format!("https://localhost:{port}/"));
        assert!(open.connect(&target).await.is_ok());
    }
}
