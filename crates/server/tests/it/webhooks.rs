//! A customer's HTTPS endpoint on this machine: the peer of what is tested, not a part of the
//! product. It keeps what it is sent and answers as it is told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tempfile::TempDir;
use veritwin_keys::hmac_sha256;

use crate::harness::PATIENCE;

/// A message as it arrived.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Arrived {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    /// Whether it is signed with a secret as Standard Webhooks says.
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let secret = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let head = format!("{}.{}.", self.id(), self.headers["webhook-timestamp"]);
        let signed = [head.as_bytes(), &self.body].concat();
        let expect = format!("v1,{}", STANDARD.encode(hmac_sha256(&secret, &signed)));
        self.headers["webhook-signature"] == expect
    }
}

/// The endpoint.
pub(crate) struct Endpoint {
    pub(crate) port: u16,
    /// PEM file of the authority behind it.
    pub(crate) authority: String,
    status: Arc<AtomicU16>,
    arrived: Receiver<Arrived>,
    _folder: TempDir,
}

/// A certificate for this machine, as PEM.
pub(crate) struct Papers {
    pub(crate) authority: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Papers {
    pub(crate) fn new() -> Self {
        let root_key = rcgen::KeyPair::generate().unwrap();
        let mut root = rcgen::CertificateParams::new(Vec::new()).unwrap();
        // Other programs take two of one name for one that vouches for itself.
        root.distinguished_name.push(rcgen::DnType::CommonName, "authority");
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = root.self_signed(&root_key).unwrap().pem();
        let issuer = rcgen::Issuer::from_ca_cert_pem(&authority, &root_key).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned()];
        let leaf = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        Self { authority, certificate: leaf.pem(), key: key.serialize_pem() }
    }

    fn tls(&self) -> ServerConfig {
        let chain = CertificateDer::pem_slice_iter(self.certificate.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap()
    }
}

impl Endpoint {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let papers = Papers::new();
        let authority = folder.path().join("authority.pem");
        std::fs::write(&authority, &papers.authority).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, arrived) = channel();
        let status = Arc::new(AtomicU16::new(204));
        let (config, answers) = (Arc::new(papers.tls()), Arc::clone(&status));
        // Ends with this process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let stream = StreamOwned::new(connection, stream);
                // Somebody who breaks off is none of the others' business.
                let _ = serve(BufReader::new(stream), answers.load(Ordering::SeqCst), &sender);
            }
        });
        let authority = authority.to_str().unwrap().to_owned();
        Self { port, authority, status, arrived, _folder: folder }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/hook", self.port)
    }

    /// What it answers from now on.
    pub(crate) fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// The next message.
    pub(crate) fn next(&self) -> Arrived {
        self.arrived.recv_timeout(PATIENCE).expect("a message")
    }

    /// A message that has arrived already.
    pub(crate) fn try_next(&self) -> Option<Arrived> {
        self.arrived.try_recv().ok()
    }
}

fn serve(
    mut stream: BufReader<StreamOwned<ServerConnection, std::net::TcpStream>>,
    status: u16,
    sender: &Sender<Arrived>,
) -> std::io::Result<()> {
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ") {
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
    }
    let bytes = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; bytes];
    stream.read_exact(&mut body)?;
    let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: 0\r\n\r\n");
    stream.get_mut().write_all(answer.as_bytes())?;
    stream.get_mut().flush()?;
    // The test may have ended.
    let _ = sender.send(Arrived { headers, body });
    Ok(())
}
