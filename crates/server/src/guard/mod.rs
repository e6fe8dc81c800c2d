//! What protects the listeners from floods before anybody is known: rates and connection caps by
//! address, and where a client behind a balancer really is. Every refusal carries its limit's name.

mod connections;
mod forwarded;
mod outgoing;
mod proxy;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::http::HeaderMap;
use parking_lot::Mutex;
use veritwin_app::{Rate, RateExceeded, RateLimiter, Rates};
use veritwin_domain::{AddressList, Clock, address_party};

use crate::config::{Config, Limits};
use crate::controls::Controls;

pub(crate) use connections::{AddressConnections, AddressPlace};
pub(crate) use forwarded::ForwardHeader;
pub(crate) use outgoing::Outgoing;
pub(crate) use proxy::read_header;

/// Requests by address, in the documents' own words.
const ADDRESS_REQUESTS: &str = "address_requests_per_second";
const ADDRESS_DEVICE_REQUESTS: &str = "address_device_requests_per_second";

/// Balancers that may say where a client is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies {
    networks: AddressList,
    header: Option<ForwardHeader>,
}

impl Proxies {
    /// Reads `[proxies]`; an error names the key.
    pub(crate) fn new(config: &Config) -> anyhow::Result<Self> {
        let networks = AddressList::parse(&config.proxies.networks).context("proxies.networks")?;
        let header = match config.proxies.header.as_str() {
            "" => None,
            "x-forwarded-for" => Some(ForwardHeader::XForwardedFor),
            "forwarded" => Some(ForwardHeader::Forwarded),
            _ => bail!("proxies.header must be \"x-forwarded-for\", \"forwarded\" or empty"),
        };
        let speaks = config.proxies.http_protocol || config.proxies.mqtt_protocol;
        if speaks && networks.is_empty() {
            bail!(
                "proxies.http_protocol and proxies.mqtt_protocol need proxies.networks: nobody \
                 else may say where a client is"
            );
        }
        Ok(Self { networks, header })
    }

    /// Whether an address is a listed balancer's.
    pub(crate) fn is_listed(&self, address: IpAddr) -> bool {
        self.networks.contains(address)
    }

    /// Where a request comes from: of the hops that listed balancers name, the last one that is
    /// not a listed balancer itself. What anybody else claims is not looked at.
    pub(crate) fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        let Some(header) = self.header.filter(|_| self.is_listed(peer.ip())) else { return peer };
        let mut client = peer.ip().to_canonical();
        for hop in header.hops(headers) {
            if !self.is_listed(client) {
                break;
            }
            // What a balancer says and is no address ends the way there.
            let Some(hop) = hop else { break };
            client = hop;
        }
        let is_peer = client == peer.ip().to_canonical();
        if is_peer { peer } else { SocketAddr::new(client, 0) }
    }
}

/// The rates that hold by address, and the clock they run on.
pub(crate) struct Guard {
    clock: Arc<dyn Clock>,
    pub(crate) proxies: Proxies,
    /// Sabotage switches of test builds.
    #[cfg_attr(not(feature = "test-controls"), expect(dead_code, reason = "for test builds"))]
    controls: Arc<Controls>,
    pub(crate) header_timeout: Duration,
    pub(crate) response_idle_max: Duration,
    request_rate: Rate,
    device_rate: Rate,
    requests: Mutex<RateLimiter<IpAddr>>,
    device_requests: Mutex<RateLimiter<IpAddr>>,
}

impl Guard {
    pub(crate) fn new(
        config: &Config,
        clock: Arc<dyn Clock>,
        controls: Arc<Controls>,
    ) -> anyhow::Result<Self> {
        let Limits { address_requests_per_second, address_device_requests_per_second, .. } =
            config.limits;
        Ok(Self {
            clock,
            proxies: Proxies::new(config)?,
            controls,
            header_timeout: Duration::from_secs(config.http.header_seconds_max),
            response_idle_max: Duration::from_secs(config.http.response_idle_seconds_max.max(1)),
            request_rate: Rate::new(300, 900).scaled_to(address_requests_per_second),
            device_rate: Rate::new(2_000, 10_000).scaled_to(address_device_requests_per_second),
            requests: Mutex::new(RateLimiter::new(ADDRESS_REQUESTS)),
            device_requests: Mutex::new(RateLimiter::new(ADDRESS_DEVICE_REQUESTS)),
        })
    }

    /// How many requests one address may make at once.
    pub(crate) const fn burst(&self) -> u32 {
        self.request_rate.burst
    }

    /// Counts a request. Many devices may share one address, so that theirs count by themselves.
    pub(crate) fn count(&self, path: &str, address: IpAddr) -> Result<(), RateExceeded> {
        #[cfg(feature = "test-controls")]
        if self.controls.is_broken(33) {
            return Ok(());
        }
        let (limiter, rate) = if is_of_devices(path) {
            (&self.device_requests, self.device_rate)
        } else {
            (&self.requests, self.request_rate)
        };
        let now = self.clock.monotonic();
        let counted = limiter.lock().take(address_party(address), 1, rate, now);
        counted.inspect_err(|exceeded| {
            metrics::counter!("veritwin_rate_refusals_total", "limit" => exceeded.name)
                .increment(1);
        })
    }
}

fn is_of_devices(path: &str) -> bool {
    path.starts_with("/api/v1/")
        || matches!(path, "/v1/telemetry/write" | "/v1/edge/batches" | "/v1/edge/packages")
}

/// The rates that hold for whoever is known, as configured.
pub(crate) fn rates(limits: &Limits) -> Rates {
    let usual = Rates::default();
    Rates {
        user_requests: usual.user_requests.scaled_to(limits.user_requests_per_second),
        api_key_requests: usual.api_key_requests.scaled_to(limits.api_key_requests_per_second),
        tenant_requests: usual.tenant_requests.scaled_to(limits.tenant_requests_per_second),
        device_messages: usual.device_messages.scaled_to(limits.device_messages_per_second),
        tenant_messages: usual.tenant_messages.scaled_to(limits.tenant_messages_per_second),
        device_readings: usual.device_readings.scaled_to(limits.device_readings_per_second),
        tenant_readings: usual.tenant_readings.scaled_to(limits.tenant_readings_per_second),
        ledger_bytes_per_day: limits.ledger_bytes_per_day,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn proxies(networks: &[&str], header: &str) -> anyhow::Result<Proxies> {
        let mut config = Config::default();
        config.proxies.networks = networks.iter().map(|one| (*one).to_owned()).collect();
        header.clone_into(&mut config.proxies.header);
        Proxies::new(&config)
    }

    #[test]
    fn only_listed_balancers_are_believed() {
        let check = |header: &'static str, peer: &str, values: &[&'static str], expect: &str| {
            let proxies = proxies(&["10.0.0.0/8", "2001:db8:1::/48"], header).expect("networks");
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header, HeaderValue::from_static(value));
            }
            let peer = SocketAddr::new(peer.parse().expect(peer), 9);
            let client = proxies.client(peer, &headers).ip();
            assert_eq!(client, expect.parse::<IpAddr>().expect(expect), "{peer} {values:?}");
        };
        let x = "x-forwarded-for";
        check(x, "192.0.2.1", &["198.51.100.7"], "192.0.2.1");
        check(x, "10.0.0.1", &["198.51.100.7"], "198.51.100.7");
        check(x, "::ffff:10.0.0.1", &["198.51.100.7"], "198.51.100.7");
        check(x, "10.0.0.1", &["203.0.113.9, 198.51.100.7"], "198.51.100.7");
        check(x, "10.0.0.1", &["203.0.113.9", "198.51.100.7, 10.0.0.2"], "198.51.100.7");
        check(x, "10.0.0.1", &["10.9.9.9, 10.0.0.2"], "10.9.9.9");
        check(x, "10.0.0.1", &[], "10.0.0.1");
        check(x, "10.0.0.1", &["198.51.100.7, unknown"], "10.0.0.1");
        check(x, "10.0.0.1", &["198.51.100.7, , 10.0.0.2"], "10.0.0.2");
        check(x, "10.0.0.1", &["198.51.100.7:4711"], "198.51.100.7");
        check(x, "10.0.0.1", &["[2001:db8:2::7]:4711"], "2001:db8:2::7");
        check(x, "10.0.0.1", &["2001:db8:2::7"], "2001:db8:2::7");
        let f = "forwarded";
        check(f, "10.0.0.1", &["for=198.51.100.7"], "198.51.100.7");
        check(f, "10.0.0.1", &["For=\"[2001:db8:2::7]:47\";proto=https"], "2001:db8:2::7");
        check(f, "10.0.0.1", &["for=203.0.113.9, by=x;for=198.51.100.7"], "198.51.100.7");
        check(f, "10.0.0.1", &["for=198.51.100.7;host=\"a,for=1.1.1.1\""], "198.51.100.7");
        check(f, "10.0.0.1", &["for=198.51.100.7, for=_hidden"], "10.0.0.1");
        check(f, "10.0.0.1", &["for=198.51.100.7, proto=https"], "10.0.0.1");
        check(f, "192.0.2.1", &["for=198.51.100.7"], "192.0.2.1");
    }

    #[test]
    fn one_header_is_believed_and_not_the_other() {
        let proxies = proxies(&["10.0.0.0/8"], "forwarded").expect("networks");
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("198.51.100.7"));
        let peer = SocketAddr::from(([10, 0, 0, 1], 9));
        assert_eq!(proxies.client(peer, &headers), peer);
    }

    #[test]
    fn mistakes_name_their_key() {
        let check = |networks: &[&str], header: &str, expect: &str| {
            let error = format!("{:#}", proxies(networks, header).expect_err(expect));
            assert!(error.contains(expect), "{error}");
        };
        check(&["10.0.0.1/8"], "", "proxies.networks");
        check(&["10.0.0.1/8"], "", "did you mean 10.0.0.0/8");
        check(&[], "via", "proxies.header");
        let mut config = Config::default();
        config.proxies.mqtt_protocol = true;
        let error = Proxies::new(&config).expect_err("no networks").to_string();
        assert!(error.contains("proxies.networks"), "{error}");
    }

    #[test]
    fn a_flooding_address_is_refused_and_another_is_not() {
        let clock = Arc::new(veritwin_domain::ManualClock::new(veritwin_domain::Timestamp::EPOCH));
        let config = Config::default();
        let guard = Guard::new(&config, clock.clone(), Arc::default()).expect("guard");
        let one: IpAddr = "192.0.2.1".parse().expect("address");
        let other: IpAddr = "192.0.2.2".parse().expect("address");
        for _ in 0..guard.burst() {
            assert!(guard.count("/v1/session", one).is_ok());
        }
        let refused = guard.count("/v1/session", one).expect_err("over");
        assert_eq!(refused.name, ADDRESS_REQUESTS);
        assert!(refused.to_string().contains("at most 300 a second and 900 at once"));
        assert!(guard.count("/v1/session", other).is_ok());
        assert!(guard.count("/api/v1/telemetry", one).is_ok(), "devices count by themselves");
        clock.advance(Duration::from_secs(1));
        assert!(guard.count("/v1/session", one).is_ok());
    }
}
