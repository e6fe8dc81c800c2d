//! Where local devices come in: how many at once, and how many from one address, so that whoever
//! opens connections and says nothing does not keep all others out.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use veritwin_ingest::mqtt::Broker;
use veritwin_ingest::{PeerInfo, Transport};

use super::EDGE_CONNECTIONS_MAX;

/// Most connections from one address.
const ADDRESS_CONNECTIONS_MAX: usize = EDGE_CONNECTIONS_MAX / 2;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// After so much time without a byte the other end is asked whether it is there, and again after
/// each interval; one that never answers is gone.
const QUIET_TIME: Duration = Duration::from_secs(300);
const ASK_INTERVAL: Duration = Duration::from_secs(60);
const ASKS_MAX: u32 = 5;
/// Wait before accepting again when the system has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How many connections each address has.
#[derive(Debug, Clone, Default)]
struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection of an address; it counts until this is dropped.
#[derive(Debug)]
struct Counted {
    address: IpAddr,
    of: Addresses,
}

impl Addresses {
    /// Counts one more connection of an address, if it may have one.
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

/// Room for local connections, whatever they speak. Clones are the same room.
#[derive(Debug, Clone)]
pub(super) struct Room {
    all: Arc<Semaphore>,
    addresses: Addresses,
}

/// The place of one connection; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
}

impl Room {
    pub(super) fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(EDGE_CONNECTIONS_MAX)),
            addresses: Addresses::default(),
        }
    }

    /// The next connection that there is a place for.
    pub(super) async fn next(
        &self,
        listener: &TcpListener,
    ) -> Option<(TcpStream, SocketAddr, Taken)> {
        // The semaphore is never closed.
        let permit = Arc::clone(&self.all).acquire_owned().await.ok()?;
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "the edge cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(counted) = self.addresses.count(peer.ip().to_canonical()) else {
                tracing::debug!("an address has as many connections as it may");
                continue;
            };
            return Some((stream, peer, Taken { _permit: permit, _counted: counted }));
        }
    }
}

/// Lets the system ask whether the other end is still there: a device may be silent for as long as
/// it likes, and its place would never be free again.
fn ask_the_quiet(stream: &TcpStream) -> std::io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, QUIET_TIME)?;
    sockopt::set_tcp_keepintvl(stream, ASK_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, ASKS_MAX)?;
    Ok(())
}

/// A connection with TLS; none when that did not come about in time.
pub(super) async fn secured(
    acceptor: TlsAcceptor,
    stream: TcpStream,
) -> Option<TlsStream<TcpStream>> {
    // A connection that cannot be set up so is slower, no more.
    let _set = stream.set_nodelay(true);
    if let Err(error) = ask_the_quiet(&stream) {
        tracing::debug!(%error, "a device that is gone without a word is not noticed");
    }
    tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await.ok()?.ok()
}

/// Accepts connections of local devices that speak MQTT, for ever.
pub(super) async fn accept_all(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    room: &Room,
    broker: &Arc<Broker>,
    connections: &mut JoinSet<()>,
) {
    loop {
        while connections.try_join_next().is_some() {}
        let Some((stream, peer, taken)) = room.next(&listener).await else { return };
        let (acceptor, broker) = (acceptor.clone(), Arc::clone(broker));
        connections.spawn(async move {
            if let Some(stream) = secured(acceptor, stream).await {
                broker.serve(stream, PeerInfo::new(Some(peer), Transport::Mqtt5)).await;
            }
            drop(taken);
        });
    }
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
        assert_eq!(held.len(), ADDRESS_CONNECTIONS_MAX);
        assert!(addresses.count(one).is_none());
        drop(addresses.count(other).expect("another address comes in"));
        drop(held);
        assert!(addresses.0.lock().is_empty(), "nothing is remembered of who is gone");
    }
}
