//! Where requests come in: TLS only, so many connections at once and so many from one address, each
//! with a time for its handshake and its headers, and an end when it is silent for long.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use veritwin_domain::AddressList;

use super::routes::Peer;

/// Most connections at once.
pub const KEYPROXY_CONNECTIONS_MAX: usize = 256;
/// Most of them from one address.
const ADDRESS_CONNECTIONS_MAX: usize = KEYPROXY_CONNECTIONS_MAX / 2;
/// Most of them from outside the networks that are answered, so that those find room.
const STRANGERS_MAX: usize = KEYPROXY_CONNECTIONS_MAX / 4;
/// Most requests at once on one connection.
const STREAMS_MAX: u32 = 32;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest life of a connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(600);
/// Wait before accepting again when the system has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How many connections each address has.
#[derive(Debug, Clone, Default)]
struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection of an address; it counts until this is dropped.
struct Counted {
    address: IpAddr,
    of: Addresses,
}

impl Addresses {
    fn count(&self, address: IpAddr) -> Option<Counted> {
        let mut all = self.0.lock();
        let count = all.entry(address).or_default();
        if *count >= ADDRESS_CONNECTIONS_MAX {
            return None;
        }
        *count += 1;
        Some(Counted { address, of: self.clone() })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut all = self.of.0.lock();
        if let Some(count) = all.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.remove(&self.address);
            }
        }
    }
}

/// Room for connections from outside the networks that are answered.
struct Strangers {
    networks: AddressList,
    room: Arc<Semaphore>,
}

impl Strangers {
    fn new(networks: AddressList) -> Self {
        Self { networks, room: Arc::new(Semaphore::new(STRANGERS_MAX)) }
    }

    /// A place of theirs, which whoever is answered does not need; an error when there is none.
    fn admit(&self, address: IpAddr) -> Result<Option<OwnedSemaphorePermit>, TryAcquireError> {
        if self.networks.is_empty() || self.networks.contains(address) {
            return Ok(None);
        }
        Arc::clone(&self.room).try_acquire_owned().map(Some)
    }
}

/// Accepts connections, for ever.
pub(crate) async fn accept_all(
    (listener, networks): (TcpListener, AddressList),
    acceptor: TlsAcceptor,
    routes: Router,
    stopped: watch::Receiver<bool>,
    connections: &mut JoinSet<()>,
) {
    let room = Arc::new(Semaphore::new(KEYPROXY_CONNECTIONS_MAX));
    let (addresses, strangers) = (Addresses::default(), Strangers::new(networks));
    loop {
        while connections.try_join_next().is_some() {}
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let address = peer.ip().to_canonical();
        let (Some(counted), Ok(stranger)) = (addresses.count(address), strangers.admit(address))
        else {
            tracing::debug!("an address has as many connections as it may");
            continue;
        };
        let routes = routes.clone().layer(Extension(Peer(address)));
        let (acceptor, stopped) = (acceptor.clone(), stopped.clone());
        connections.spawn(async move {
            let served = serve(acceptor, routes, stopped, stream);
            match tokio::time::timeout(CONNECTION_TIMEOUT, served).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%address, %error, "a connection ended"),
                Err(_) => tracing::debug!(%address, "a connection was open for too long"),
            }
            drop((permit, counted, stranger));
        });
    }
}

async fn serve(
    acceptor: TlsAcceptor,
    routes: Router,
    mut stopped: watch::Receiver<bool>,
    stream: TcpStream,
) -> Result<(), String> {
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
    let stream = handshake.await.map_err(|_| "no TLS handshake in time".to_owned())?;
    let stream = stream.map_err(|error| error.to_string())?;
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(Duration::from_secs(20));
    let service = TowerToHyperService::new(routes);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(|error| error.to_string()),
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_does_not_keep_others_out() {
        let addresses = Addresses::default();
        let [one, other] = [[192u8, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        let held: Vec<_> =
            (0..ADDRESS_CONNECTIONS_MAX).filter_map(|_| addresses.count(one)).collect();
        assert!(addresses.count(one).is_none());
        assert!(addresses.count(other).is_some());
        drop(held);
        assert!(addresses.0.lock().is_empty(), "nothing is remembered of who is gone");
    }

    #[test]
    fn whoever_is_not_answered_leaves_room_for_the_others() {
        let networks = AddressList::parse(&["192.0.2.1"]).expect("a list");
        let strangers = Strangers::new(networks);
        let [one, other] = [[192u8, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        let held: Vec<_> =
            (0..STRANGERS_MAX).map(|_| strangers.admit(other).expect("room")).collect();
        assert!(strangers.admit(other).is_err());
        assert!(strangers.admit(one).is_ok_and(|place| place.is_none()));
        drop(held);
        assert!(strangers.admit(other).is_ok());
        let everybody = Strangers::new(AddressList::default());
        assert!(everybody.admit(other).is_ok_and(|place| place.is_none()));
    }
}
