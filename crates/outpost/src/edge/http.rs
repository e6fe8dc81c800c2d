//! The site's door for devices that speak HTTP: ThingsBoard's device API and bulk writes, with the
//! same tokens and into the same log. An answer of 2xx means that it is on the edge's disk.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use veritwin_domain::{Clock, IngestLimits};
use veritwin_ingest::http::{HttpParts, router};
use veritwin_ingest::{PeerInfo, Transport};

use super::EdgeError;
use super::front::Front;
use super::listening::{Room, secured};

/// Largest body, in bytes, also after decompression: one line of a batch has to hold it, as it
/// holds a message over MQTT.
pub const EDGE_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Largest head of a request, in bytes, and most fields in it: whoever sends it is not known yet.
const HEADER_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 100;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection takes no further request after this time.
const CONNECTION_LIFE: Duration = Duration::from_secs(600);
/// How long the request that is under way then may take: more than the longest poll.
const LAST_REQUEST: Duration = Duration::from_secs(330);

/// The door, bound to its address.
pub(super) struct HttpDoor {
    listener: TcpListener,
    pub(super) address: SocketAddr,
    routes: Router,
}

impl HttpDoor {
    /// Binds the address; none where there is to be no such door.
    pub(super) async fn bind(
        listen: Option<SocketAddr>,
        front: &Arc<Front>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<Self>, EdgeError> {
        let Some(listen) = listen else { return Ok(None) };
        let routes = router(HttpParts {
            login: front.clone(),
            sink: front.clone(),
            clock: Arc::clone(clock),
            limits: IngestLimits { body_bytes_max: EDGE_BODY_BYTES_MAX, ..IngestLimits::default() },
        });
        let listener = TcpListener::bind(listen).await.map_err(EdgeError::io(listen))?;
        let address = listener.local_addr().map_err(EdgeError::io(listen))?;
        Ok(Some(Self { listener, address, routes }))
    }
}

/// Accepts connections of local devices that speak HTTP, for ever; none without such a door.
pub(super) async fn accept_http(
    door: Option<HttpDoor>,
    acceptor: TlsAcceptor,
    room: &Room,
    stopped: &watch::Receiver<bool>,
    connections: &mut JoinSet<()>,
) {
    let Some(HttpDoor { listener, routes, .. }) = door else { return std::future::pending().await };
    loop {
        while connections.try_join_next().is_some() {}
        let Some((stream, peer, taken)) = room.next(&listener).await else { return };
        let routes = routes.clone().layer(Extension(PeerInfo::new(Some(peer), Transport::Http)));
        let (acceptor, stopped) = (acceptor.clone(), stopped.clone());
        connections.spawn(async move {
            if let Some(stream) = secured(acceptor, stream).await
                && let Err(error) = serve(stream, routes, stopped).await
            {
                tracing::debug!(%error, "a connection of a local device ended");
            }
            drop(taken);
        });
    }
}

async fn serve(
    stream: TlsStream<TcpStream>,
    routes: Router,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), String> {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    let service = TowerToHyperService::new(routes);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(|error| error.to_string()),
        _ = stopped.wait_for(|stopped| *stopped) => {}
        () = tokio::time::sleep(CONNECTION_LIFE) => {}
    }
    connection.as_mut().graceful_shutdown();
    match tokio::time::timeout(LAST_REQUEST, connection).await {
        Ok(ended) => ended.map_err(|error| error.to_string()),
        Err(_) => Err("its last request took too long".to_owned()),
    }
}
