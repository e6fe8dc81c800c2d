//! P33: one source floods the HTTPS listener until it gets 429, forged headers change nothing, and
//! another source is served meanwhile. A tenant of nobody lets its people in from one network, and
//! they are refused from another.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::{Method, StatusCode};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;
use veritwin_app::{AccessFixture, App, PlatformProbe, ProbeAnswer};

use super::Wiring;
use super::access::{Outside, fact};
use super::transport::{client_config, reachable};
use super::walk::{Answered, Ask, ask};
use super::words;
use crate::guard::Guard;

const PROMISE: u8 = 33;
const VERSION: u32 = 1;
/// The flood, and each single request, end within this time.
const FLOOD_TIMEOUT: Duration = Duration::from_secs(45);
/// Requests of a flood that are under way at once.
const AT_ONCE: usize = 100;
/// How long the socket alone is flooded.
const SOCKET_FLOOD_TIMEOUT: Duration = Duration::from_secs(3);
/// How often the bucket of a flooding source is emptied.
const PRESS_INTERVAL: Duration = Duration::from_millis(1);
const PATH: &str = "/healthz";
/// Where the people of other checks come from, this check's own network 12 left out.
const OTHERS: [&str; 2] = ["127.0.0.0/8", "2001:db8::/45"];
/// A flood gives up after so many times what is allowed at once.
const BURSTS_MAX: usize = 4;
/// Where an address may make more requests at once, a flood passes as everyday use.
const BURST_MAX: u32 = 100_000;
/// An answer, headers included, is shorter.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

pub(super) struct Flood {
    out: Outside,
    guard: Arc<Guard>,
    tls: Result<Arc<ClientConfig>, String>,
    target: String,
    server_name: String,
    proxy_protocol: bool,
}

type Stream = TlsStream<tokio::net::TcpStream>;

/// What came of a flood.
struct Flooded {
    served: usize,
    /// The first refusal, as it came.
    refusal: Option<String>,
}

impl Flood {
    pub(super) fn new(app: &App, wiring: &Wiring) -> Self {
        Self {
            out: Outside::new(app, wiring),
            guard: Arc::clone(&wiring.guard),
            tls: client_config(app, wiring),
            target: reachable(wiring.https_address),
            server_name: wiring.server_name.clone(),
            proxy_protocol: wiring.proxy_protocol,
        }
    }

    /// A new address of this machine's own network that nobody uses.
    fn source(&self) -> Ipv4Addr {
        let mut random = [0u8; 3];
        self.out.app.rng().fill(&mut random);
        Ipv4Addr::new(127, 128 | random[0], random[1], random[2].clamp(1, 254))
    }

    async fn connect(&self, source: Ipv4Addr) -> Result<Stream, String> {
        let target: SocketAddr = self.target.parse().map_err(|_| "the listener's address")?;
        if !target.ip().is_ipv4() {
            return Err("the check needs a listener that IPv4 reaches on this machine".to_owned());
        }
        let socket = TcpSocket::new_v4().map_err(failed)?;
        socket.bind(SocketAddr::from((source, 0))).map_err(failed)?;
        let mut stream = socket.connect(target).await.map_err(failed)?;
        if self.proxy_protocol && self.guard.proxies.is_listed(source.into()) {
            let line = format!("PROXY TCP4 {source} {} 9 {}\r\n", target.ip(), target.port());
            stream.write_all(line.as_bytes()).await.map_err(failed)?;
        }
        let name = ServerName::try_from(self.server_name.clone())
            .map_err(|error| ProbeAnswer::instead("the server's name is none", &error))?;
        let connector = TlsConnector::from(self.tls.clone()?);
        connector.connect(name, stream).await.map_err(failed)
    }

    /// Floods over the socket; on a machine that is too slow for that, the listener's own gate is
    /// flooded beside.
    async fn flood_until_refused(&self, source: Ipv4Addr) -> Result<Flooded, String> {
        let requests_max = self.burst().saturating_mul(BURSTS_MAX);
        let by_socket = self.flood(source, "", requests_max);
        match tokio::time::timeout(SOCKET_FLOOD_TIMEOUT, by_socket).await {
            Ok(Ok(flooded)) if flooded.refusal.is_some() => Ok(flooded),
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) | Err(_) => {
                let _pressed = self.press(source);
                self.flood(source, "", AT_ONCE).await
            }
        }
    }

    /// Asks at the gate what no socket is needed for, so fast that its bucket stays empty.
    fn press(&self, source: Ipv4Addr) -> AbortOnDropHandle<()> {
        let guard = Arc::clone(&self.guard);
        let tries = self.burst().saturating_mul(2);
        let empty = move || {
            for _ in 0..tries {
                if guard.count(PATH, source.into()).is_err() {
                    break;
                }
            }
        };
        empty();
        AbortOnDropHandle::new(tokio::spawn(async move {
            let mut interval = tokio::time::interval(PRESS_INTERVAL);
            loop {
                interval.tick().await;
                empty();
            }
        }))
    }

    /// Asks the same thing again and again, many at once, until something is refused.
    async fn flood(
        &self,
        source: Ipv4Addr,
        headers: &str,
        requests_max: usize,
    ) -> Result<Flooded, String> {
        let mut stream = self.connect(source).await?;
        let mut served = 0;
        let question = request(headers).repeat(AT_ONCE);
        let mut answers = Answers::default();
        while served < requests_max {
            stream.write_all(question.as_bytes()).await.map_err(failed)?;
            for _ in 0..AT_ONCE {
                let answer = answers.next(&mut stream).await?;
                if status(&answer) == StatusCode::TOO_MANY_REQUESTS.as_u16() {
                    return Ok(Flooded { served, refusal: Some(answer) });
                }
                served += 1;
            }
        }
        Ok(Flooded { served, refusal: None })
    }

    fn burst(&self) -> usize {
        usize::try_from(self.guard.burst()).unwrap_or(usize::MAX)
    }

    async fn once(&self, source: Ipv4Addr) -> Result<u16, String> {
        let mut stream = self.connect(source).await?;
        let question = request("");
        stream.write_all(question.as_bytes()).await.map_err(failed)?;
        Ok(status(&Answers::default().next(&mut stream).await?))
    }

    /// Whether the people of a tenant are kept to its networks.
    async fn check_networks(&self, fixture: &AccessFixture) -> Result<(u16, u16), String> {
        let (inside, outside) = (self.out.address(11), self.out.address(12));
        let cookie = self.out.session(&fixture.customer, inside).await?;
        // Other checks sign people of the same tenant in meanwhile.
        let people = [OTHERS.map(str::to_owned).as_slice(), &[inside.to_string()]].concat();
        let set = async |people: &[String]| -> Result<Answered, String> {
            let body = json!({"people": people, "devices": []});
            let question = Ask::json(Method::PUT, "/v1/networks", &body);
            let question = Ask { cookie: Some(&cookie), peer: inside, ..question };
            ask(&self.out.router, question).await
        };
        let is_set = set(&people).await?.status;
        if is_set != StatusCode::OK {
            return Err(format!("setting the networks of the check: {}", is_set.as_u16()));
        }
        let read = async |peer: IpAddr| -> Result<u16, String> {
            let question = Ask { cookie: Some(&cookie), peer, ..Ask::get("/v1/devices") };
            Ok(ask(&self.out.router, question).await?.status.as_u16())
        };
        let seen = (read(inside).await?, read(outside).await?);
        set(&[]).await?;
        Ok(seen)
    }

    async fn look(&self, fixture: &AccessFixture) -> Result<ProbeAnswer, String> {
        let burst = self.guard.burst();
        if burst > BURST_MAX {
            return Ok(ProbeAnswer::Failed {
                summary: "The configuration lets every flood pass.".to_owned(),
                facts: vec![fact("requests that one address may make at once", burst)],
                place: "limits.address_requests_per_second".to_owned(),
            });
        }
        let (flooding, other) = (self.source(), self.source());
        let floods = async {
            let first = self.flood_until_refused(flooding).await?;
            // From a new address it would have all of a burst again.
            let _pressed = self.press(flooding);
            let forged = "x-forwarded-for: 192.0.2.9\r\n";
            let forged = self.flood(flooding, forged, AT_ONCE).await?.refusal.is_some();
            Ok::<_, String>((first, forged))
        };
        let floods = tokio::time::timeout(FLOOD_TIMEOUT, floods).await;
        let (Flooded { served, refusal }, forged) =
            floods.map_err(|_| "this machine is too slow to make a flood".to_owned())??;
        let meanwhile = self.once(other).await?;
        let (inside, outside) = self.check_networks(fixture).await?;
        let listed = self.guard.proxies.is_listed(flooding.into());
        let names_limit = refusal.as_deref().is_some_and(|answer| {
            let answer = answer.to_ascii_lowercase();
            answer.contains("retry-after:") && answer.contains("address_requests_per_second")
        });
        let facts = vec![
            fact("requests served before the refusal", served),
            fact("the flood was refused with 429", refusal.is_some()),
            fact("the refusal names the limit and the wait", names_limit),
            fact("the same source with a forged header was refused", forged),
            fact("another source meanwhile", meanwhile),
            fact("a person from the tenant's network", inside),
            fact("the same person from another network", outside),
        ];
        let place = match () {
            () if refusal.is_none() => Some("the HTTPS listener answers a flood"),
            () if !names_limit => Some("the refusal does not name its limit"),
            // A balancer on this machine's own network may say where its clients are.
            () if !forged && !listed => Some("a forged header opens the listener"),
            () if meanwhile != 200 => Some("another source is not served"),
            () if inside != 200 => Some("a person from the tenant's network is refused"),
            () if outside != 403 => Some("a person from another network is let in"),
            () => None,
        };
        Ok(match place {
            None => ProbeAnswer::Passed {
                summary: "A flood from one source is refused while another is served, and a \
                          tenant's networks hold."
                    .to_owned(),
                facts,
            },
            Some(place) => ProbeAnswer::Failed {
                summary: "Protection against floods or foreign networks does not hold.".to_owned(),
                facts,
                place: place.to_owned(),
            },
        })
    }
}

#[async_trait]
impl PlatformProbe for Flood {
    fn promise(&self) -> u8 {
        PROMISE
    }

    fn version(&self) -> u32 {
        VERSION
    }

    async fn check(&self) -> ProbeAnswer {
        self.out.with("flood probe", async |_: &Outside, fixture| self.look(fixture).await).await
    }
}

/// What readers are told of an error at the listener.
fn failed(error: std::io::Error) -> String {
    words::io("the HTTPS listener", &error)
}

fn request(headers: &str) -> String {
    format!("GET {PATH} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n")
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default()
}

/// Answers of HTTP/1.1 out of a stream, one after the other.
#[derive(Default)]
struct Answers(Vec<u8>);

impl Answers {
    async fn next(&mut self, stream: &mut Stream) -> Result<String, String> {
        loop {
            if let Some(length) = self.complete() {
                let answer: Vec<u8> = self.0.drain(..length).collect();
                return Ok(String::from_utf8_lossy(&answer).into_owned());
            }
            if self.0.len() > ANSWER_BYTES_MAX + AT_ONCE * 4096 {
                return Err("an answer without an end".to_owned());
            }
            match stream.read_buf(&mut self.0).await {
                Ok(0) => return Err("the listener closed the connection".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// The length of the first answer, when all of it is there.
    fn complete(&self) -> Option<usize> {
        let end = self.0.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&self.0[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"))?;
        let length: usize = length.trim().parse().ok()?;
        (self.0.len() >= end + length).then_some(end + length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let two = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\nHTTP/1.1 429 Too";
        let answers = Answers(two.to_vec());
        let length = answers.complete().expect("one is whole");
        assert_eq!(&two[length..length + 12], b"HTTP/1.1 429");
        assert_eq!(status("HTTP/1.1 429 Too Many Requests\r\n"), 429);
        assert!(Answers(two[length..].to_vec()).complete().is_none());
    }
}
