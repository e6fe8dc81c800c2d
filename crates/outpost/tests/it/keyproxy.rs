//! The key proxy over TLS on loopback, asked by the platform's own client of key services: what it
//! answers to whom, what stops a key, and what its record says of it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use veritwin_domain::{
    AddressList, Clock, ManualClock, Purpose, RequestId, Rng, Secret, TenantId, Timestamp,
};
use veritwin_keys::{
    KeyCall, KeyProvider, ProviderConnector, ProviderError, ProviderKind, ProviderSettings,
    SIGV4_DATE_HEADER, SigV4Request, SigV4Scope, SystemRng, sigv4_authorization, sigv4_moment,
};
use veritwin_outbound::guard::{Call, Guard, GuardPolicy, GuardedClient, Target};
use veritwin_outbound::key_services::KeyServices;
use veritwin_outbound::register::{Destination, DestinationKind, EgressRegister};
use veritwin_outpost::archive::{ClientTrust, generate_client};
use veritwin_outpost::keyproxy::{
    KeyProxy, KeyProxyConfig, KeyProxyError, NewCredential, NewKey, ProxyCertificate, ProxyRoot,
    add_credential, add_key, certificate_path, destroy_key, init, remove_credential,
    set_key_enabled, status, verify_uses,
};

/// Far more than an answer on loopback takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(30);
const KEK: &[u8] = &[7; 32];

struct World {
    folder: TempDir,
    clock: Arc<ManualClock>,
    rng: Arc<dyn Rng>,
    config: KeyProxyConfig,
    credential: NewCredential,
}

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), KeyProxyError>>,
}

impl Running {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

fn tenant(number: u8) -> TenantId {
    TenantId::from_bytes([number; 16])
}

fn call(of: u8) -> KeyCall {
    KeyCall {
        tenant: tenant(of),
        purpose: Purpose::IngestRouting,
        actor: "job:ledger".to_owned(),
        request: RequestId::from_bytes([9; 16]),
        associated_data: b"kek 1".to_vec(),
    }
}

impl World {
    /// A proxy with one key `k`, which is for every tenant.
    fn new(change: impl FnOnce(&mut KeyProxyConfig, &Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let start = Timestamp::parse_rfc3339("2026-03-01T08:00:00Z").unwrap();
        let clock = Arc::new(ManualClock::new(start));
        let rng: Arc<dyn Rng> = Arc::new(SystemRng);
        let names = vec!["localhost".to_owned()];
        let mut config = KeyProxyConfig {
            directory: folder.path().join("proxy"),
            root: ProxyRoot::KeyFile(folder.path().join("root.key")),
            listen: "127.0.0.1:0".parse().unwrap(),
            certificate: ProxyCertificate::Own(names),
            clients: None,
            path_prefix: "/store-1".to_owned(),
            networks: AddressList::default(),
            metrics_networks: AddressList::parse(&["127.0.0.0/8"]).unwrap(),
            purposes: Vec::new(),
            requests_per_second: 1_000,
            token: None,
        };
        change(&mut config, folder.path());
        init(&config, &rng).unwrap();
        let key = NewKey { id: Some("k".to_owned()), ..NewKey::default() };
        add_key(&config, key, clock.as_ref(), &rng).unwrap();
        let credential = add_credential(&config, "the platform", clock.as_ref(), &rng).unwrap();
        Self { folder, clock, rng, config, credential }
    }

    async fn start(&self) -> Running {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let proxy = KeyProxy::bind(self.config.clone(), clock, Arc::clone(&self.rng));
        let proxy = proxy.await.unwrap();
        let address = proxy.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(proxy.run(async {
            stopped.await.ok();
        }));
        Running { address, stop, task }
    }

    fn certificate(&self) -> String {
        std::fs::read_to_string(certificate_path(&self.config)).unwrap()
    }

    fn settings(&self, running: &Running) -> ProviderSettings {
        ProviderSettings {
            kind: ProviderKind::Xks,
            address: format!("https://localhost:{}/store-1", running.address.port()),
            key: "k".to_owned(),
            place: None,
            user: Some(self.credential.access_key.clone()),
            credential: Some(self.credential.secret.clone()),
            trust: Some(self.certificate()),
        }
    }

    fn key(&self, running: &Running) -> Arc<dyn KeyProvider> {
        self.key_of(running, &self.settings(running), self.clock.clone())
    }

    fn key_of(
        &self,
        running: &Running,
        settings: &ProviderSettings,
        clock: Arc<dyn Clock>,
    ) -> Arc<dyn KeyProvider> {
        let register = Arc::new(EgressRegister::default());
        let client = Arc::new(client(running, &register, None));
        KeyServices::new(client, register, Vec::new(), clock, Arc::clone(&self.rng))
            .with_timeout(PATIENCE)
            .connect(settings)
            .unwrap()
    }
}

fn client(
    running: &Running,
    register: &Arc<EgressRegister>,
    authority: Option<&str>,
) -> GuardedClient {
    let allowed = AddressList::parse(&["127.0.0.0/8", "::1"]).unwrap();
    let guard = Guard::new(GuardPolicy { allowed, ports: vec![running.address.port()] });
    GuardedClient::new(guard, Arc::clone(register), authority).unwrap()
}

fn is_unavailable<T: std::fmt::Debug>(outcome: &Result<T, ProviderError>) -> bool {
    matches!(outcome, Err(ProviderError::Unavailable(_)))
}

fn is_invalid<T: std::fmt::Debug>(outcome: &Result<T, ProviderError>) -> bool {
    matches!(outcome, Err(ProviderError::Invalid(_)))
}

#[tokio::test]
async fn a_key_wraps_unwraps_and_says_what_it_is() {
    let world = World::new(|_, _| {});
    let running = world.start().await;
    let key = world.key(&running);
    let wrapped = key.wrap(&call(1), KEK).await.unwrap();
    assert!(!wrapped.windows(KEK.len()).any(|part| part == KEK));
    assert_eq!(&**key.unwrap(&call(1), &wrapped).await.unwrap(), KEK);
    let metadata = key.metadata(&call(1)).await.unwrap();
    assert!(metadata.enabled && metadata.spec == "AES_256" && metadata.key == "k");
    key.health(&call(1)).await.unwrap();

    // Other associated data, and bytes that were altered, open nothing.
    let other = KeyCall { associated_data: b"kek 2".to_vec(), ..call(1) };
    assert!(is_invalid(&key.unwrap(&other, &wrapped).await));
    for at in [3, wrapped.len() - 1] {
        let mut altered = wrapped.clone();
        altered[at] ^= 1;
        assert!(is_invalid(&key.unwrap(&call(1), &altered).await), "{at}");
    }
    running.stop().await;

    // The record: who, why and with which outcome, each line from the one before.
    let summary = verify_uses(&world.config.directory).unwrap();
    assert_eq!((summary.uses, summary.refused, summary.broken_at), (6, 3, None));
    let text = std::fs::read_to_string(world.config.directory.join("use.log")).unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    for (field, expect) in [
        ("operation", "encrypt"),
        ("outcome", "ok"),
        ("key", "k"),
        ("purpose", "ingest_routing"),
        ("actor", "job:ledger"),
        ("credential", &world.credential.access_key),
    ] {
        assert_eq!(first[field], expect, "{field}");
    }
    assert_eq!(first["tenant"], tenant(1).to_string());
    assert_eq!(first["request"], RequestId::from_bytes([9; 16]).to_string());
    // After a start it goes on with the same key and the same record, and nobody beside it.
    let running = world.start().await;
    let second = KeyProxy::bind(world.config.clone(), world.clock.clone(), Arc::clone(&world.rng));
    let error = second.await.expect_err("two would write one record").to_string();
    assert!(error.contains("already"), "{error}");
    assert_eq!(&**world.key(&running).unwrap(&call(1), &wrapped).await.unwrap(), KEK);
    running.stop().await;
    let summary = verify_uses(&world.config.directory).unwrap();
    assert_eq!((summary.uses, summary.broken_at), (7, None));
}

#[tokio::test]
async fn whoever_disables_or_destroys_has_the_last_word() {
    let world = World::new(|_, _| {});
    let running = world.start().await;
    let key = world.key(&running);
    let wrapped = key.wrap(&call(1), KEK).await.unwrap();
    let enabled = |enabled: bool| {
        set_key_enabled(&world.config, "k", enabled, world.clock.as_ref(), &world.rng).unwrap();
    };
    enabled(false);
    assert_eq!(key.unwrap(&call(1), &wrapped).await, Err(ProviderError::Denied));
    assert_eq!(key.wrap(&call(1), KEK).await, Err(ProviderError::Denied));
    assert!(!key.metadata(&call(1)).await.unwrap().enabled);
    enabled(true);
    assert_eq!(&**key.unwrap(&call(1), &wrapped).await.unwrap(), KEK);
    destroy_key(&world.config, "k", world.clock.as_ref(), &world.rng).unwrap();
    assert_eq!(key.unwrap(&call(1), &wrapped).await, Err(ProviderError::Destroyed));
    assert_eq!(key.metadata(&call(1)).await, Err(ProviderError::Destroyed));
    let settings = ProviderSettings { key: "never".to_owned(), ..world.settings(&running) };
    let never = world.key_of(&running, &settings, world.clock.clone());
    assert_eq!(never.metadata(&call(1)).await, Err(ProviderError::Destroyed));
    running.stop().await;
}

#[tokio::test]
async fn a_key_is_for_its_tenants_and_purposes() {
    let purposes = |config: &mut KeyProxyConfig, _: &Path| {
        config.purposes = vec![Purpose::IngestRouting.to_string()];
    };
    let world = World::new(purposes);
    let own = NewKey { id: Some("own".to_owned()), tenants: vec![tenant(2)], label: None };
    add_key(&world.config, own, world.clock.as_ref(), &world.rng).unwrap();
    let running = world.start().await;
    let settings = ProviderSettings { key: "own".to_owned(), ..world.settings(&running) };
    let key = world.key_of(&running, &settings, world.clock.clone());
    assert_eq!(key.wrap(&call(1), KEK).await, Err(ProviderError::Denied));
    assert!(key.wrap(&call(2), KEK).await.is_ok());
    let support = KeyCall { purpose: Purpose::SecuritySupport, ..call(2) };
    assert_eq!(key.wrap(&support, KEK).await, Err(ProviderError::Denied));
    running.stop().await;
}

#[tokio::test]
async fn only_the_holder_of_a_credential_is_answered() {
    let world = World::new(|_, _| {});
    let running = world.start().await;
    let good = world.settings(&running);
    // Not a refusal of the key: a clock that is wrong looks the same.
    let unknown_to_it = |settings: ProviderSettings, clock: Arc<dyn Clock>| {
        let key = world.key_of(&running, &settings, clock);
        async move { is_invalid(&key.metadata(&call(1)).await) }
    };
    let secret = Some(Secret::new("A".repeat(43)));
    let wrong = ProviderSettings { credential: secret, ..good.clone() };
    assert!(unknown_to_it(wrong, world.clock.clone()).await);
    let unknown = ProviderSettings { user: Some("A".repeat(24)), ..good.clone() };
    assert!(unknown_to_it(unknown, world.clock.clone()).await);
    // Signed too long ago, and signed in what is the future here.
    for seconds in [-301, 301] {
        let at = world.clock.now().as_micros() + seconds * 1_000_000;
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(at)));
        assert!(unknown_to_it(good.clone(), clock).await, "{seconds}");
    }
    // A second credential comes in beside the first, which is then taken back.
    let next = add_credential(&world.config, "next", world.clock.as_ref(), &world.rng).unwrap();
    remove_credential(&world.config, &world.credential.access_key, &world.rng).unwrap();
    assert!(unknown_to_it(good.clone(), world.clock.clone()).await);
    let (user, credential) = (Some(next.access_key), Some(next.secret));
    let settings = ProviderSettings { user, credential, ..good };
    let key = world.key_of(&running, &settings, world.clock.clone());
    assert!(key.metadata(&call(1)).await.unwrap().enabled);
    running.stop().await;
    // Whoever is not known leaves no line.
    assert_eq!(verify_uses(&world.config.directory).unwrap().uses, 1);
}

/// A client that sends what it is given.
struct Raw {
    client: GuardedClient,
    target: Target,
}

impl Raw {
    fn new(world: &World, running: &Running, path: &str) -> Self {
        let register = Arc::new(EgressRegister::default());
        let port = running.address.port();
        let place = Destination::new("localhost", port);
        register.register(place, DestinationKind::Recipient, "a test");
        let client = client(running, &register, Some(&world.certificate()));
        let target = Target::parse(&format!("https://localhost:{port}{path}")).unwrap();
        Self { client, target }
    }

    async fn post(&self, headers: &[(&'static str, String)], body: &[u8]) -> (u16, Value) {
        let json = HeaderValue::from_static("application/json");
        let mut call = Call::post(&self.target, json, Bytes::copy_from_slice(body));
        call.timeout = PATIENCE;
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).unwrap();
            call.headers.push((HeaderName::from_static(name), value));
        }
        let reply = self.client.call(None, call).await.unwrap();
        (reply.status, serde_json::from_slice(&reply.body).unwrap_or(Value::Null))
    }

    async fn get(&self) -> (u16, String) {
        let call = Call { timeout: PATIENCE, ..Call::get(&self.target) };
        let reply = self.client.call(None, call).await.unwrap();
        (reply.status, String::from_utf8_lossy(&reply.body).into_owned())
    }

    fn signed(&self, world: &World, body: &[u8]) -> Vec<(&'static str, String)> {
        let now = world.clock.now();
        let moment = sigv4_moment(now);
        let headers = [
            ("host".to_owned(), self.target.authority()),
            (SIGV4_DATE_HEADER.to_owned(), moment.clone()),
        ];
        let path = self.target.path_and_query();
        let request = SigV4Request { method: "POST", path, headers: &headers, body };
        let scope = SigV4Scope { region: "eu-1".to_owned(), service: "kms-xks-proxy".to_owned() };
        let NewCredential { access_key, secret } = &world.credential;
        let authorization = sigv4_authorization(access_key, secret, &scope, now, &request);
        vec![("authorization", authorization), (SIGV4_DATE_HEADER, moment)]
    }
}

#[tokio::test]
async fn a_request_is_good_for_five_minutes_and_as_it_was_signed() {
    let world = World::new(|_, _| {});
    let running = world.start().await;
    let raw = Raw::new(&world, &running, "/store-1/kms/xks/v1/keys/k/metadata");
    let body = br#"{"requestMetadata":{"kmsRequestId":"1","kmsOperation":"DescribeKey"}}"#;
    let headers = raw.signed(&world, body);
    let (status, said) = raw.post(&headers, body).await;
    assert_eq!((status, &said["keyStatus"]), (200, &Value::from("ENABLED")));
    // The same again, within the window, is answered: nothing is changed by it.
    world.clock.advance(Duration::from_secs(299));
    assert_eq!(raw.post(&headers, body).await.0, 200);
    world.clock.advance(Duration::from_secs(2));
    let (status, said) = raw.post(&headers, body).await;
    let failed = Value::from("AuthenticationFailedException");
    assert_eq!((status, &said["errorName"]), (401, &failed));
    // Another body, another path, no signature.
    let fresh = raw.signed(&world, body);
    assert_eq!(raw.post(&fresh, b"{}").await.0, 401);
    let other = Raw::new(&world, &running, "/store-1/kms/xks/v1/keys/k/decrypt");
    assert_eq!(other.post(&fresh, body).await.0, 401);
    let query = Raw::new(&world, &running, "/store-1/kms/xks/v1/keys/k/metadata?a=b");
    assert_eq!(query.post(&fresh, body).await.0, 401);
    assert_eq!(raw.post(&[], body).await.0, 401);
    running.stop().await;
}

#[tokio::test]
async fn what_is_not_of_the_protocol_is_refused_by_name() {
    let world = World::new(|_, _| {});
    let running = world.start().await;
    let check = async |path: &str, body: Vec<u8>, expect: (u16, &str)| {
        let raw = Raw::new(&world, &running, path);
        let (status, said) = raw.post(&raw.signed(&world, &body), &body).await;
        assert_eq!((status, said["errorName"].as_str().unwrap_or("")), expect, "{path}");
    };
    let encrypt = "/store-1/kms/xks/v1/keys/k/encrypt";
    check("/kms/xks/v1/health", b"{}".to_vec(), (404, "InvalidUriPathException")).await;
    check("/store-1/kms/xks/v1/keys/k/destroy", Vec::new(), (404, "InvalidUriPathException")).await;
    check(encrypt, b"not JSON".to_vec(), (400, "ValidationException")).await;
    let long = format!(
        r#"{{"requestMetadata":{{}},"plaintext":"{}","encryptionAlgorithm":"AES_GCM"}}"#,
        "AAAA".repeat(3_000)
    );
    check(encrypt, long.into_bytes(), (501, "UnsupportedOperationException")).await;
    let nothing = br#"{"requestMetadata":{},"ciphertext":"AAAA","encryptionAlgorithm":"AES_GCM",
        "initializationVector":"AAAA","authenticationTag":"AAAA"}"#;
    let decrypt = "/store-1/kms/xks/v1/keys/k/decrypt";
    check(decrypt, nothing.to_vec(), (400, "InvalidCiphertextException")).await;
    // A look is no use of a key.
    assert_eq!(Raw::new(&world, &running, encrypt).get().await.0, 405);
    assert_eq!(Raw::new(&world, &running, "/ping").get().await, (200, "pong\n".to_owned()));
    let (code, text) = Raw::new(&world, &running, "/metrics").get().await;
    assert_eq!(code, 200);
    let line = "{operation=\"encrypt\",outcome=\"ValidationException\"} 1";
    assert!(text.contains(line), "{text}");
    running.stop().await;
    let said = status(&world.config.directory).unwrap().unwrap();
    assert!(!said.running && said.well);
    assert_eq!(said.answers.get("encrypt/ValidationException"), Some(&1));
}

#[tokio::test]
async fn a_credential_has_a_rate_and_an_address_may_be_shut_out() {
    let world = World::new(|config, _| config.requests_per_second = 2);
    let running = world.start().await;
    let key = world.key(&running);
    for _ in 0..2 {
        key.metadata(&call(1)).await.unwrap();
    }
    assert!(is_unavailable(&key.metadata(&call(1)).await));
    world.clock.advance(Duration::from_secs(1));
    key.metadata(&call(1)).await.unwrap();
    running.stop().await;

    let networks = AddressList::parse(&["192.0.2.0/24"]).unwrap();
    let world = World::new(|config, _| {
        config.networks = networks.clone();
        config.metrics_networks = networks;
    });
    let running = world.start().await;
    assert_eq!(world.key(&running).metadata(&call(1)).await, Err(ProviderError::Denied));
    assert_eq!(Raw::new(&world, &running, "/metrics").get().await.0, 403);
    running.stop().await;
}

#[tokio::test]
async fn a_client_certificate_is_wanted_where_it_is_configured() {
    let pair = generate_client("the platform").unwrap();
    let world = World::new(|config, folder| {
        let path = folder.join("clients.pem");
        std::fs::write(&path, &pair.certificate_pem).unwrap();
        config.clients = Some(ClientTrust::CertificateFile(path));
    });
    let running = world.start().await;
    assert!(is_unavailable(&world.key(&running).metadata(&call(1)).await));
    let good = world.settings(&running);
    let with = |pem: &str, key: &str| {
        let secret = world.credential.secret.expose();
        Some(Secret::new(format!("{secret}\n{pem}{key}")))
    };
    let credential = with(&pair.certificate_pem, pair.key_pem.expose());
    let settings = ProviderSettings { credential, ..good.clone() };
    let key = world.key_of(&running, &settings, world.clock.clone());
    key.metadata(&call(1)).await.unwrap();
    let other = generate_client("somebody else").unwrap();
    let credential = with(&other.certificate_pem, other.key_pem.expose());
    let settings = ProviderSettings { credential, ..good };
    let key = world.key_of(&running, &settings, world.clock.clone());
    assert!(is_unavailable(&key.metadata(&call(1)).await));
    running.stop().await;
}

#[tokio::test]
async fn a_passphrase_or_another_root_key() {
    let text = || ProxyRoot::Passphrase(Secret::new("correct horse battery".to_owned()));
    let world = World::new(|config, _| config.root = text());
    let running = world.start().await;
    let wrapped = world.key(&running).wrap(&call(1), KEK).await.unwrap();
    running.stop().await;
    let bind = |root: ProxyRoot| {
        let config = KeyProxyConfig { root, ..world.config.clone() };
        KeyProxy::bind(config, world.clock.clone(), Arc::clone(&world.rng))
    };
    let wrong = ProxyRoot::Passphrase(Secret::new("another horse battery".to_owned()));
    let error = bind(wrong).await.expect_err("refused").to_string();
    assert!(error.contains("not the one") && !error.contains("horse"), "{error}");
    let running = world.start().await;
    assert_eq!(&**world.key(&running).unwrap(&call(1), &wrapped).await.unwrap(), KEK);
    running.stop().await;

    // The keys of one root do not open under another.
    let world = World::new(|_, _| {});
    std::fs::rename(world.folder.path().join("root.key"), world.folder.path().join("old")).unwrap();
    assert!(init(&world.config, &world.rng).is_err(), "another key is no way in");
}
