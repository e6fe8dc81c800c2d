//! Accept loops: TLS first, then the protocol. A connection that does not finish its handshake in
//! time, or comes over the bound, is closed; plaintext never gets past the handshake.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::connect_info::ConnectInfo;
use axum::http::{HeaderValue, Version, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use veritwin_domain::LimitExceeded;
use veritwin_ingest::{PeerInfo, Transport};

use crate::api::{Asked, Problem};
use crate::guard::{AddressConnections, AddressPlace, Guard, Outgoing, read_header};
use crate::web;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A listed balancer says where its client is within this time.
const PROXY_TIMEOUT: Duration = Duration::from_secs(5);
/// After so much time without a byte the other end is asked whether it is there, and again after
/// each interval; one that never answers is gone.
const QUIET_TIME: Duration = Duration::from_secs(300);
const ASK_INTERVAL: Duration = Duration::from_secs(60);
const ASKS_MAX: u32 = 5;
const HTTP2_STREAMS_MAX: u32 = 128;
const HEADER_LIST_BYTES_MAX: u32 = 32 * 1024;
/// The same for HTTP/1.1, where the request line and the separators count as well.
const HEADER_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 100;
const BACKLOG: i32 = 1024;

/// A connection's place under the bounds; clones keep it taken.
pub(crate) type ConnectionSlot = Arc<Places>;

/// A place among all connections of a listener, and one among those of the same address.
pub(crate) struct Places {
    _listener: OwnedSemaphorePermit,
    address: AddressPlace,
}

impl Places {
    /// The bound that the address is over: the connection may only be told so.
    pub(crate) fn over(&self) -> Option<LimitExceeded> {
        self.address.over.clone()
    }
}

/// A bound socket, its name for logs, and how many connections it takes at once.
pub(crate) struct Listener {
    pub(crate) name: &'static str,
    pub(crate) socket: TcpListener,
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) connections_max: usize,
    pub(crate) connections_per_address_max: usize,
    /// Listed balancers begin with the PROXY protocol.
    pub(crate) proxy_protocol: bool,
    pub(crate) guard: Arc<Guard>,
}

/// Lets the system ask whether the other end is still there: a client may be silent for as long as
/// it likes, and its place would never be free again.
fn ask_the_quiet(stream: &TcpStream) -> std::io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, QUIET_TIME)?;
    sockopt::set_tcp_keepintvl(stream, ASK_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, ASKS_MAX)?;
    Ok(())
}

/// What every connection of a listener needs before it is handed on.
struct Gate {
    name: &'static str,
    acceptor: TlsAcceptor,
    addresses: AddressConnections,
    proxy_protocol: bool,
    guard: Arc<Guard>,
}

impl Gate {
    fn refused(&self, limit: &'static str) {
        metrics::counter!(
            "veritwin_connections_refused_total", "listener" => self.name, "limit" => limit
        )
        .increment(1);
    }

    /// Where the client is: the peer, or what a listed balancer says.
    async fn client(
        &self,
        stream: &mut TcpStream,
        peer: SocketAddr,
    ) -> std::io::Result<SocketAddr> {
        if !self.proxy_protocol || !self.guard.proxies.is_listed(peer.ip()) {
            return Ok(peer);
        }
        let header = tokio::time::timeout(PROXY_TIMEOUT, read_header(stream)).await;
        Ok(header.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))?.unwrap_or(peer))
    }

    /// Takes a place, then the TLS handshake.
    async fn enter(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
        listener: OwnedSemaphorePermit,
    ) -> Option<(TlsStream<TcpStream>, SocketAddr, ConnectionSlot)> {
        let name = self.name;
        let _ = stream.set_nodelay(true);
        if let Err(error) = ask_the_quiet(&stream) {
            tracing::debug!(listener = name, %error, "who is gone without a word is not noticed");
        }
        let client = match self.client(&mut stream, peer).await {
            Ok(client) => client,
            Err(error) => {
                tracing::debug!(listener = name, %error, "PROXY header");
                metrics::counter!("veritwin_proxy_headers_refused_total", "listener" => name)
                    .increment(1);
                return None;
            }
        };
        let Some(address) = self.addresses.enter(client.ip()) else {
            self.refused("connections_per_address_max");
            return None;
        };
        if address.over.is_some() {
            self.refused("connections_per_address_max");
        }
        let slot = Arc::new(Places { _listener: listener, address });
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(stream)).await {
            Ok(Ok(tls)) => Some((tls, client, slot)),
            Ok(Err(error)) => {
                metrics::counter!("veritwin_tls_handshakes_failed_total", "listener" => name)
                    .increment(1);
                tracing::debug!(listener = name, %error, "TLS handshake failed");
                None
            }
            Err(_) => {
                tracing::debug!(listener = name, "TLS handshake timed out");
                None
            }
        }
    }
}

/// Binds a listener; the error names the address and what usually helps.
pub(crate) async fn bind(
    name: &'static str,
    address: &str,
    port: u16,
) -> anyhow::Result<TcpListener> {
    let resolved: SocketAddr = tokio::net::lookup_host((address, port))
        .await
        .with_context(|| format!("{name}.bind {address:?} is not an address of this machine"))?
        .next()
        .with_context(|| format!("{name}.bind {address:?} names no address"))?;
    let socket = if resolved.is_ipv4() {
        tokio::net::TcpSocket::new_v4()?
    } else {
        tokio::net::TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(resolved).with_context(|| {
        format!("cannot listen on {resolved} ({name}): is another program using port {port}? Set {name}.port (0 picks a free one)")
    })?;
    Ok(socket.listen(BACKLOG.unsigned_abs())?)
}

/// Runs an accept loop until `stop`; each connection gets its own task in `tasks`.
pub(crate) async fn accept_loop<F, Fut>(
    listener: Listener,
    stop: CancellationToken,
    tasks: TaskTracker,
    handle: F,
) where
    F: Fn(TlsStream<TcpStream>, SocketAddr, ConnectionSlot) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let Listener { name, socket, acceptor, connections_max, proxy_protocol, guard, .. } = listener;
    let slots = Arc::new(Semaphore::new(connections_max));
    let addresses = AddressConnections::new(listener.connections_per_address_max);
    let gate = Arc::new(Gate { name, acceptor, addresses, proxy_protocol, guard });
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = socket.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(pair) => pair,
            Err(error) => {
                // Out of file descriptors, mostly: let others finish before trying again.
                tracing::warn!(listener = name, %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            gate.refused("connections_max");
            drop(stream);
            continue;
        };
        metrics::counter!("veritwin_connections_total", "listener" => name).increment(1);
        let (gate, handle) = (Arc::clone(&gate), handle.clone());
        tasks.spawn(async move {
            if let Some((tls, client, slot)) = gate.enter(stream, peer, slot).await {
                handle(tls, client, slot).await;
            }
        });
    }
}

/// What answers on an HTTPS connection, and what its requests pass first.
#[derive(Clone)]
pub(crate) struct HttpSide {
    pub(crate) router: Router,
    pub(crate) guard: Arc<Guard>,
    pub(crate) stop: CancellationToken,
}

impl HttpSide {
    /// One request: whose it is, whether it may come in, then the router.
    async fn answer(
        self,
        request: hyper::Request<hyper::body::Incoming>,
        peer: SocketAddr,
        slot: ConnectionSlot,
        outgoing: Arc<Outgoing>,
    ) -> Result<Response, Infallible> {
        let mut request = request.map(axum::body::Body::new);
        let client = self.guard.proxies.client(peer, request.headers());
        let refused = match slot.over() {
            Some(limit) => Some(Problem::too_many("Too many connections", &limit)),
            None => {
                let counted = self.guard.count(request.uri().path(), client.ip());
                counted.err().map(|exceeded| Problem::rate(&exceeded))
            }
        };
        if let Some(problem) = refused {
            let mut response = problem.into_response();
            web::common_headers(response.headers_mut());
            if slot.over().is_some() && request.version() < Version::HTTP_2 {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            return Ok(response);
        }
        let extensions = request.extensions_mut();
        extensions.insert(ConnectInfo(client));
        extensions.insert(slot);
        extensions.insert(PeerInfo::new(Some(client), Transport::Http));
        let mut response = self.router.oneshot(request).await?;
        let asked = response.extensions_mut().remove::<Asked>();
        Ok(response.map(|body| outgoing.watch(body, asked)))
    }
}

/// Ends when nothing was asked in time, and never otherwise. Before the first request nobody else
/// looks at the clock: which version is spoken shows in its first bytes.
async fn silence(asked: Arc<AtomicBool>, limit: Duration) {
    tokio::time::sleep(limit).await;
    if asked.load(Ordering::Acquire) {
        std::future::pending().await
    }
}

/// Serves HTTP/1.1 and HTTP/2 on one TLS stream until it ends or `stop` asks it to finish.
pub(crate) async fn serve_http(
    tls: TlsStream<TcpStream>,
    peer: SocketAddr,
    slot: ConnectionSlot,
    side: HttpSide,
) {
    let (stop, header_timeout) = (side.stop.clone(), side.guard.header_timeout);
    let response_idle_max = side.guard.response_idle_max;
    let asked = Arc::new(AtomicBool::new(false));
    let silence = silence(Arc::clone(&asked), header_timeout);
    tokio::pin!(silence);
    let outgoing = Arc::new(Outgoing::default());
    let answers = Arc::clone(&outgoing);
    let service = tower::service_fn(move |request| {
        asked.store(true, Ordering::Release);
        side.clone().answer(request, peer, Arc::clone(&slot), Arc::clone(&answers))
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .enable_connect_protocol();
    let connection = builder
        .serve_connection_with_upgrades(TokioIo::new(tls), TowerToHyperService::new(service));
    tokio::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => {
            if let Err(error) = result {
                tracing::debug!(%error, "HTTP connection ended with an error");
            }
        }
        () = silence.as_mut() => tracing::debug!("an HTTP connection asked nothing in time"),
        () = outgoing.stalled(response_idle_max) => {
            tracing::debug!("an HTTP client takes nothing of an answer");
        }
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(Duration::from_secs(5), connection).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_is_quiet_is_asked() {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("its address");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), socket.accept());
        let (stream, _) = accepted.expect("a connection");
        ask_the_quiet(&stream).expect("set");
        assert!(sockopt::socket_keepalive(&stream).expect("read"));
        assert_eq!(sockopt::tcp_keepidle(&stream).expect("read"), QUIET_TIME);
        drop(client);
    }
}
