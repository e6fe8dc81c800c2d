//! Redirects, over-long answers, unregistered and private places, certificates nobody vouches for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use veritwin_domain::{AddressList, Secret, TenantId, Timestamp};
use veritwin_outbound::guard::{
    BRANCH_CALLS_MAX, CALLS_MAX, Call, Caller, DESTINATION_CALLS_MAX, Guard, GuardPolicy,
    GuardedClient, TENANT_CALLS_MAX, TENANT_CALLS_WAITING_MAX, Target, WEBHOOK_REPLY_BYTES_MAX,
    Webhook,
};
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

fn tenant(number: u8) -> TenantId {
    TenantId::from_bytes([number; 16])
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
    let reply =
        client.call(Some(alone(tenant(1))), call).await.map_err(|error| error.to_string())?;
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

#[tokio::test]
async fn whoever_takes_a_message_and_talks_at_length_has_taken_it() {
    let long = "x".repeat(WEBHOOK_REPLY_BYTES_MAX + 1);
    let length = long.len();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{long}");
    let Server { port, authority_pem } = server(answer).await;
    let register = Arc::new(EgressRegister::default());
    let destination = Destination::new("localhost", port);
    register.register(destination, DestinationKind::Recipient, "a test");
    let allowed = AddressList::parse(OPEN.networks).expect("list");
    let guard = Guard::new(GuardPolicy { allowed, ports: vec![port] });
    let client = GuardedClient::new(guard, register, Some(&authority_pem)).expect("client");
    let target = Target::parse(&format!("https://localhost:{port}/hook")).expect("target");
    let secret = Secret::new(vec![7; 32]);
    let body = Bytes::from_static(b"{}");
    let at = Timestamp::from_micros(1_800_000_000_000_000);
    let webhook = Webhook { target: &target, id: "01-ab", at, body, secret: &secret };
    let reply = client.send_webhook(alone(tenant(1)), &webhook).await.expect("taken");
    assert_eq!(reply.status, 200);
}

/// A server that takes connections, tells of each, and says nothing on any.
async fn silent_server() -> (u16, mpsc::UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
            let _ = tell.send(());
        }
    });
    (port, told)
}

/// A tenant directly below the platform.
fn alone(tenant: TenantId) -> Caller {
    Caller { tenant, branch: tenant }
}

/// A client that may call a silent place and one that answers, and how often the first was called.
struct Crowd {
    client: Arc<GuardedClient>,
    silent: Target,
    good: Target,
    reached: mpsc::UnboundedReceiver<()>,
}

impl Crowd {
    async fn new() -> Self {
        let good = server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned()).await;
        let (silent, reached) = silent_server().await;
        let register = Arc::new(EgressRegister::default());
        for port in [good.port, silent] {
            let destination = Destination::new("localhost", port);
            register.register(destination, DestinationKind::Recipient, "a test");
        }
        let allowed = AddressList::parse(OPEN.networks).expect("list");
        let guard = Guard::new(GuardPolicy { allowed, ports: vec![good.port, silent] });
        let client = GuardedClient::new(guard, register, Some(good.authority_pem.as_str()));
        let target = |port: u16| Target::parse(&format!("https://localhost:{port}/")).expect("one");
        Self {
            client: Arc::new(client.expect("client")),
            silent: target(silent),
            good: target(good.port),
            reached,
        }
    }

    /// Lets a tenant call the silent place so often, and waits until `reach` of it got there. What
    /// ends before its time is told.
    async fn fill(&mut self, caller: Caller, calls: usize, reach: usize) -> mpsc::Receiver<String> {
        let (tell, told) = mpsc::channel(calls);
        for _ in 0..calls {
            let (client, silent, tell) =
                (Arc::clone(&self.client), self.silent.clone(), tell.clone());
            tokio::spawn(async move {
                let call = Call { timeout: Duration::from_secs(600), ..Call::get(&silent) };
                let outcome = client.call(Some(caller), call).await;
                let _ = tell.send(outcome.expect_err("no answer").to_string()).await;
            });
        }
        for _ in 0..reach {
            self.reached.recv().await.expect("a connection");
        }
        told
    }

    async fn refusal(&self, caller: Caller) -> String {
        let call = Call { timeout: Duration::from_millis(50), ..Call::get(&self.silent) };
        self.client.call(Some(caller), call).await.expect_err("no room").to_string()
    }

    async fn is_served(&self, caller: Caller) -> bool {
        self.client
            .call(Some(caller), Call::get(&self.good))
            .await
            .is_ok_and(|reply| reply.status == 200)
    }
}

#[tokio::test]
async fn one_tenant_with_a_slow_place_takes_no_room_of_the_others() {
    let mut crowd = Crowd::new().await;
    let many = TENANT_CALLS_MAX + TENANT_CALLS_WAITING_MAX + 1;
    let mut ended = crowd.fill(alone(tenant(1)), many, TENANT_CALLS_MAX).await;
    let first = ended.recv().await.expect("a refusal");
    assert!(first.contains("limit tenant_calls_waiting_max exceeded: 64"), "{first}");
    assert!(crowd.is_served(alone(tenant(2))).await, "another tenant goes on");
    assert!(crowd.reached.try_recv().is_err(), "no more than its own room");
    assert!(ended.try_recv().is_err(), "only what is over is refused at once");
}

#[tokio::test]
async fn one_slow_place_takes_no_room_of_the_others() {
    const { assert!(DESTINATION_CALLS_MAX * 2 <= CALLS_MAX) };
    let mut crowd = Crowd::new().await;
    let _first = crowd.fill(alone(tenant(1)), TENANT_CALLS_MAX, TENANT_CALLS_MAX).await;
    let refusal = crowd.refusal(alone(tenant(1))).await;
    assert!(refusal.contains("limit tenant_calls_max exceeded: 16"), "{refusal}");
    let mut all = Vec::new();
    for number in 2..=8 {
        let reach = if number <= 4 { TENANT_CALLS_MAX } else { 0 };
        all.push(crowd.fill(alone(tenant(number)), TENANT_CALLS_MAX, reach).await);
    }
    let refusal = crowd.refusal(alone(tenant(9))).await;
    assert!(refusal.contains("limit destination_calls_max exceeded: 64"), "{refusal}");
    assert!(crowd.is_served(alone(tenant(9))).await, "another place is called");
}

#[tokio::test]
async fn one_partner_with_many_customers_takes_no_room_of_the_others() {
    const { assert!(BRANCH_CALLS_MAX * 2 <= CALLS_MAX) };
    let mut crowd = Crowd::new().await;
    let customer = |number| Caller { tenant: tenant(number), branch: tenant(1) };
    let mut all = vec![crowd.fill(customer(2), 2 * TENANT_CALLS_MAX, TENANT_CALLS_MAX).await];
    assert!(crowd.is_served(customer(3)).await, "a sibling goes on");
    for number in 3..=5 {
        all.push(crowd.fill(customer(number), TENANT_CALLS_MAX, TENANT_CALLS_MAX).await);
    }
    let refusal = crowd.refusal(customer(6)).await;
    assert!(refusal.contains("limit branch_calls_max exceeded: 64"), "{refusal}");
    assert!(crowd.is_served(alone(tenant(9))).await, "another branch goes on");
}
