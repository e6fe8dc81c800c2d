//! Accept loops: TLS first, then the protocol. A connection that does not finish its handshake in
//! time, or comes over the bound, is closed; plaintext never gets past the handshake.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::connect_info::ConnectInfo;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use veritwin_ingest::{PeerInfo, Transport};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(15);
const HTTP2_STREAMS_MAX: u32 = 128;
const HEADER_LIST_BYTES_MAX: u32 = 32 * 1024;
const BACKLOG: i32 = 1024;

/// A connection's place under the bound; clones keep it taken.
pub(crate) type ConnectionSlot = Arc<OwnedSemaphorePermit>;

/// A bound socket, its name for logs, and how many connections it takes at once.
pub(crate) struct Listener {
    pub(crate) name: &'static str,
    pub(crate) socket: TcpListener,
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) connections_max: usize,
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
    let slots = Arc::new(Semaphore::new(listener.connections_max));
    let name = listener.name;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.socket.accept() => accepted,
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
            metrics::counter!("veritwin_connections_refused_total", "listener" => name)
                .increment(1);
            drop(stream);
            continue;
        };
        metrics::counter!("veritwin_connections_total", "listener" => name).increment(1);
        let acceptor = listener.acceptor.clone();
        let handle = handle.clone();
        tasks.spawn(async move {
            let slot = Arc::new(slot);
            let _ = stream.set_nodelay(true);
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(tls)) => handle(tls, peer, slot).await,
                Ok(Err(error)) => {
                    metrics::counter!("veritwin_tls_handshakes_failed_total", "listener" => name)
                        .increment(1);
                    tracing::debug!(listener = name, %error, "TLS handshake failed");
                }
                Err(_) => tracing::debug!(listener = name, "TLS handshake timed out"),
            }
        });
    }
}

/// Serves HTTP/1.1 and HTTP/2 on one TLS stream until it ends or `stop` asks it to finish.
pub(crate) async fn serve_http(
    tls: TlsStream<TcpStream>,
    peer: SocketAddr,
    slot: ConnectionSlot,
    router: Router,
    stop: CancellationToken,
) {
    let service = router.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(Arc::clone(&slot));
        request.extensions_mut().insert(PeerInfo::new(Some(peer), Transport::Http));
        request.map(axum::body::Body::new)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
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
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(Duration::from_secs(5), connection).await;
        }
    }
}
