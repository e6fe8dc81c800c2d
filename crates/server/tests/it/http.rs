//! A small HTTP/1.1 client over TLS that trusts one authority. It speaks in blocking calls, opens
//! one connection per request unless asked otherwise, and follows nothing.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::harness::Ports;

/// Longest silence of the other side: twice what a change waits for its turn before it is refused
/// (`write_wait_seconds_max`). Whoever tests a shorter bound sets it on the socket.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A TLS connection.
pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Trusts the certificates of a PEM file and nothing else.
pub(crate) fn client_tls(pem: &[u8]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// Opens a TLS connection to `host:port`.
pub(crate) fn connect(address: &str, tls: &Arc<ClientConfig>) -> io::Result<Tls> {
    secured(TcpStream::connect(address)?, address, tls)
}

/// A TCP connection from one of this machine's own addresses.
fn bound(source: Ipv4Addr, address: &str) -> io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let (_, port) = address.rsplit_once(':').expect("host:port");
    let port = port.parse().expect("a port");
    let stream = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&stream, &SocketAddrV4::new(source, 0))?;
    connect(&stream, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    Ok(stream.into())
}

/// The same, for bytes that no client sends.
pub(crate) fn plain(source: Ipv4Addr, address: &str) -> io::Result<TcpStream> {
    let stream = bound(source, address)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    Ok(stream)
}

/// TLS on a stream that has been used before.
pub(crate) fn secured(
    stream: TcpStream,
    address: &str,
    tls: &Arc<ClientConfig>,
) -> io::Result<Tls> {
    let (host, _) = address.rsplit_once(':').expect("host:port");
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    let name = ServerName::try_from(host.to_owned()).expect("a host name");
    let connection = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(connection, stream))
}

/// A platform's HTTPS side.
#[derive(Clone)]
pub(crate) struct Http {
    ports: Arc<Mutex<Ports>>,
    tls: Arc<ClientConfig>,
}

impl Http {
    pub(crate) fn new(ports: Arc<Mutex<Ports>>, tls: Arc<ClientConfig>) -> Self {
        Self { ports, tls }
    }

    pub(crate) fn ports(&self) -> Ports {
        self.ports.lock().unwrap().clone()
    }

    pub(crate) fn tls(&self) -> &Arc<ClientConfig> {
        &self.tls
    }

    /// A connection for several requests.
    pub(crate) fn connect(&self) -> io::Result<Connection> {
        let stream = connect(&self.ports().https, &self.tls)?;
        Ok(Connection { stream: BufReader::new(stream) })
    }

    /// A connection from one of this machine's own addresses.
    pub(crate) fn connect_from(&self, source: Ipv4Addr) -> io::Result<Connection> {
        let address = self.ports().https;
        let stream = secured(bound(source, &address)?, &address, &self.tls)?;
        Ok(Connection { stream: BufReader::new(stream) })
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        Request {
            http: self.clone(),
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: None,
            source: None,
        }
    }

    pub(crate) fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    pub(crate) fn post(&self, path: &str) -> Request {
        self.request("POST", path)
    }
}

/// A request that is being put together.
#[derive(Clone)]
pub(crate) struct Request {
    http: Http,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    source: Option<Ipv4Addr>,
}

impl Request {
    /// Comes from this address of this machine (any of 127.0.0.0/8).
    pub(crate) fn from(mut self, source: Ipv4Addr) -> Self {
        self.source = Some(source);
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn body(mut self, content_type: &str, bytes: &[u8]) -> Self {
        self.body = Some(bytes.to_owned());
        self.header("content-type", content_type)
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string().as_bytes())
    }

    /// Sends it on a connection of its own.
    #[track_caller]
    pub(crate) fn send(self) -> Answer {
        let (method, path) = (self.method.clone(), self.path.clone());
        self.try_send().unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    pub(crate) fn try_send(self) -> io::Result<Answer> {
        let mut connection = match self.source {
            None => self.http.connect()?,
            Some(source) => {
                let address = self.http.ports().https;
                let stream = bound(source, &address)?;
                let stream = secured(stream, &address, &self.http.tls)?;
                Connection { stream: BufReader::new(stream) }
            }
        };
        connection.send(self.header("connection", "close"))
    }

    fn head(&self) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if !self.headers.iter().any(|(name, _)| name == "host") {
            head.push_str(&format!("host: {}\r\n", self.http.ports().https));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        head
    }
}

/// A kept connection.
pub(crate) struct Connection {
    stream: BufReader<Tls>,
}

impl Connection {
    /// Sends a request and reads its answer.
    pub(crate) fn send(&mut self, request: Request) -> io::Result<Answer> {
        let stream = self.stream.get_mut();
        let sent = stream
            .write_all(request.head().as_bytes())
            .and_then(|()| stream.write_all(request.body.as_deref().unwrap_or_default()))
            .and_then(|()| stream.flush());
        match sent {
            Ok(()) => read_answer(&mut self.stream),
            // A server that refuses a large body answers before it has read all of it, and closes.
            Err(error) => read_answer(&mut &*received(stream)).map_err(|_| error),
        }
    }

    pub(crate) fn of_stream(stream: Tls) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// Sends bytes as they are and reads what answers them.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> io::Result<Answer> {
        let stream = self.stream.get_mut();
        let sent = stream.write_all(bytes).and_then(|()| stream.flush());
        match sent {
            Ok(()) => read_answer(&mut self.stream),
            Err(error) => read_answer(&mut &*received(stream)).map_err(|_| error),
        }
    }

    /// The stream, after an upgrade.
    pub(crate) fn into_stream(self) -> BufReader<Tls> {
        self.stream
    }
}

/// What has arrived on a connection that can no longer be written to.
fn received(stream: &mut Tls) -> Vec<u8> {
    let mut bytes = Vec::new();
    while stream.conn.read_tls(&mut stream.sock).is_ok_and(|count| count > 0) {
        if stream.conn.process_new_packets().is_err() {
            break;
        }
        let _ = stream.conn.reader().read_to_end(&mut bytes);
    }
    bytes
}

fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn read_answer(stream: &mut impl BufRead) -> io::Result<Answer> {
    let status_line = read_line(stream)?;
    let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("not HTTP: {status_line}")))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    if status == 101 || status == 204 || status == 304 {
        return Ok(answer);
    }
    if answer.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        answer.body = read_chunks(stream)?;
    } else if let Some(length) = answer.header("content-length") {
        let length = length.parse().map_err(|_| io::Error::other("content-length"))?;
        answer.body.resize(length, 0);
        stream.read_exact(&mut answer.body)?;
    } else {
        let _ = stream.read_to_end(&mut answer.body);
    }
    Ok(answer)
}

fn read_chunks(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(stream)?;
        let length = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        let start = body.len();
        body.resize(start + length, 0);
        stream.read_exact(&mut body[start..])?;
        read_line(stream)?;
        if length == 0 {
            return Ok(body);
        }
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, when the status is the expected one.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|_| Value::from(self.text()))
    }

    /// The problem document of a refusal: it has to be one, and to say what is wrong.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> Value {
        let problem = self.expect(status);
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        problem
    }

    /// `name=value` of the cookie it sets.
    pub(crate) fn cookie(&self) -> Option<String> {
        let line = self.header("set-cookie")?;
        Some(line.split(';').next().unwrap_or_default().to_owned())
    }
}
