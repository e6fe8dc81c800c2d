//! Opening connections: TLS, or none to a loopback address; many of them from several loopback
//! addresses, for one address has no more ports.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{LoadError, packet};

/// Connections that are opened at once.
const CONNECTING_MAX: usize = 64;
/// Connections from one loopback address; it has about 28,000 ports.
const CONNECTIONS_PER_SOURCE_MAX: usize = 25_000;
/// A connection is open within this time.
const PATIENCE_SECONDS_MAX: u64 = 20;

/// A broker, and how to get in.
#[derive(Debug, Clone)]
pub struct Target {
    /// `host:port`.
    pub address: String,
    /// The name in the server's certificate.
    pub server_name: ServerName<'static>,
    /// How to check it. Without it nothing is encrypted, which only loopback addresses get.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Access tokens, given to the connections in turn; none: connect without user name.
    pub tokens: Vec<String>,
}

/// A connection, whatever is below it.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}
pub(super) type Stream = Box<dyn Duplex>;

/// How connections present themselves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clients {
    /// Client ids are this with a number.
    pub(super) prefix: &'static str,
    /// 0: none.
    pub(super) keep_alive_seconds: u16,
}

/// Opens so many connections, in the order of their numbers.
pub(super) async fn connect_all(
    target: &Arc<Target>,
    count: usize,
    clients: Clients,
) -> Result<Vec<Stream>, LoadError> {
    let mut streams = Vec::with_capacity(count);
    let mut connecting = JoinSet::new();
    let mut next = 0;
    while streams.len() < count {
        while next < count && connecting.len() < CONNECTING_MAX {
            let (target, index) = (Arc::clone(target), next);
            connecting.spawn(async move { (index, connect(&target, index, clients).await) });
            next += 1;
        }
        match connecting.join_next().await {
            Some(Ok((index, stream))) => streams.push((index, stream?)),
            Some(Err(error)) => return Err(LoadError::broken(error)),
            None => return Err(LoadError::broken("no connection is left")),
        }
    }
    streams.sort_by_key(|(index, _)| *index);
    Ok(streams.into_iter().map(|(_, stream)| stream).collect())
}

/// A TCP connection. From the second 25,000 on they come from 127.0.0.2 and so on.
async fn dial(address: &str, index: usize) -> Result<TcpStream, Error> {
    let source = index / CONNECTIONS_PER_SOURCE_MAX;
    if source == 0 {
        return TcpStream::connect(address).await;
    }
    let mut found = tokio::net::lookup_host(address).await?;
    let Some(server) = found.find(|server| server.is_ipv4() && server.ip().is_loopback()) else {
        let text = "so many connections go to a loopback address only";
        return Err(Error::new(ErrorKind::InvalidInput, text));
    };
    let last = u8::try_from(source + 1).map_err(|_| Error::from(ErrorKind::InvalidInput))?;
    let socket = TcpSocket::new_v4()?;
    // Ports of connections that have just ended may be used again.
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0)))?;
    socket.connect(server).await
}

async fn secure(target: &Target, tcp: TcpStream) -> Result<Stream, Error> {
    match &target.tls {
        Some(tls) => {
            let connector = TlsConnector::from(Arc::clone(tls));
            Ok(Box::new(connector.connect(target.server_name.clone(), tcp).await?))
        }
        None if tcp.peer_addr()?.ip().is_loopback() => Ok(Box::new(tcp)),
        None => {
            let text = "without TLS only a loopback address is spoken to";
            Err(Error::new(ErrorKind::InvalidInput, text))
        }
    }
}

async fn connect(target: &Target, index: usize, clients: Clients) -> Result<Stream, LoadError> {
    let failed = |source| LoadError::Connect { address: target.address.clone(), source };
    let handshake = async {
        let tcp = dial(&target.address, index).await?;
        tcp.set_nodelay(true)?;
        let mut stream = secure(target, tcp).await?;
        let token = target.tokens.get(index % target.tokens.len().max(1)).map(String::as_str);
        let client_id = format!("{}-{index}", clients.prefix);
        let hello = packet::connect(&client_id, token, clients.keep_alive_seconds);
        stream.write_all(&hello).await?;
        stream.flush().await?;
        let mut answer = [0u8; 4];
        stream.read_exact(&mut answer).await?;
        Ok::<_, Error>((stream, answer))
    };
    let limit = Duration::from_secs(PATIENCE_SECONDS_MAX);
    let result = timeout(limit, handshake).await;
    let (stream, answer) =
        result.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())).map_err(failed)?;
    match answer {
        [0x20, 2, _, 0] => Ok(stream),
        [0x20, 2, _, code] => Err(LoadError::Refused(code)),
        _ => Err(LoadError::broken("the first packet is not CONNACK")),
    }
}
