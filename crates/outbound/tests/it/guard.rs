//! Redirects, over-long answers, unregistered and private places, certificates nobody vouches for.

use std::sync::Arc;

use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use veritwin_domain::AddressList;
use veritwin_outbound::guard::{Call, Guard, GuardPolicy, GuardedClient, Target};
use veritwin_outbound::register::{Destination, DestinationKind, EgressRegister};

struct Server {
    port: u16,
    authority_pem: String,
}

/// A TLS server that gives each connection the same answer.
async fn server(answer: String) -> Server {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut tls) = acceptor.accept(stream).await else { continue };
            let mut request = [0u8; 4096];
            let _ = tls.read(&mut request).await;
            let _ = tls.write_all(answer.as_bytes()).await;
            let _ = tls.shutdown().await;
        }
    });
    Server { port, authority_pem: made.cert.pem() }
}

struct Client {
    networks: &'static [&'static str],
    trusted: bool,
    registered: bool,
}

const OPEN: Client = Client { networks: &["127.0.0.0/8", "::1"], trusted: true, registered: true };

/// The status and body of a GET, or the text of the refusal.
async fn ask(client: Client, answer: &str) -> Result<(u16, String), String> {
    let Server { port, authority_pem } = server(answer.to_owned()).await;
    let register = Arc::new(EgressRegister::default());
    if client.registered {
        let destination = Destination::new("localhost", port);
        register.register(destination, DestinationKind::Recipient, "a test");
    }
    let allowed = AddressList::parse(client.networks).expect("list");
    let guard = Guard::new(GuardPolicy { allowed, ports: vec![port] });
    let authority = client.trusted.then_some(authority_pem.as_str());
    let client = GuardedClient::new(guard, register, authority).expect("client");
    let target = Target::parse(&format!("https://localhost:{port}/hook")).expect("target");
    let call = Call { reply_bytes_max: 1024, ..Call::get(&target) };
    let reply = client.call(call).await.map_err(|error| error.to_string())?;
    Ok((reply.status, String::from_utf8_lossy(&reply.body).into_owned()))
}

#[tokio::test]
async fn answers_and_refusals() {
    let fine = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned();
    assert_eq!(ask(OPEN, &fine).await, Ok((200, "ok".to_owned())));

    let redirect = "HTTP/1.1 302 Found\r\nLocation: https://169.254.169.254/\r\n\
        Content-Length: 0\r\n\r\n";
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 2048\r\n\r\n{}", "x".repeat(2048));
    for (client, answer, expect) in [
        (OPEN, redirect, "redirects are not followed"),
        (OPEN, &long, "reply_bytes_max"),
        (OPEN, "not HTTP at all\r\n\r\n", "localhost: "),
        (Client { networks: &[], ..OPEN }, &fine, "a loopback address"),
        (Client { networks: &["10.0.0.0/8"], ..OPEN }, &fine, "a loopback address"),
        (Client { trusted: false, ..OPEN }, &fine, "TLS"),
        (Client { registered: false, ..OPEN }, &fine, "not registered"),
    ] {
        let error = ask(client, answer).await.expect_err(expect);
        assert!(error.contains(expect), "{error}, expected {expect}");
    }
}
