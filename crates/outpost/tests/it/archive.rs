//! The neutral archive and its client.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use veritwin_domain::{Clock, LogId, ManualClock, Rng, SeededRng, TenantId, Timestamp};
use veritwin_keys::{DataClass, Dek, DekScope, KeyService, PlatformFile, SigningKey};
use veritwin_ledger::wire::AboutBody;
use veritwin_ledger::{
    Act, Append, ArchiveLimits, BatchBuilder, BatchLimits, BatchSigner, CreateLog, LeafReference,
    LedgerError, RecordBytes, SealedBatch, ShredReason, export, origin_of, seal_statement,
};
use veritwin_outbound::archive::{
    ArchiveClient, ArchiveClientConfig, ArchiveError, ClientIdentity, ServerTrust,
};
use veritwin_outbound::register::{Destination, DestinationKind, EgressRegister};
use veritwin_outpost::archive::{
    ClientLimits, ClientPair, ClientTrust, RunFile, ServeConfig, ServeError, Server,
    generate_client, open_stopped,
};
use veritwin_verify::{DirectorySource, ExitClass, VerifyOptions, verify_log};

const CANARY: &str = "canary-51c2-door-of-room-12";
const DAY: Duration = Duration::from_secs(86_400);
/// What a client of the tests may have.
const BYTES_MAX: u64 = 300_000;

struct World {
    directory: TempDir,
    clock: Arc<ManualClock>,
    rng: Arc<SeededRng>,
    register: Arc<EgressRegister>,
}

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let start = Timestamp::parse_rfc3339("2026-03-01T08:00:00Z").unwrap();
        Self {
            directory: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::new(start)),
            rng: Arc::new(SeededRng::new(seed)),
            register: Arc::new(EgressRegister::default()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn start(&self, listen: &str, clients: ClientTrust) -> Running {
        self.start_with(listen, clients, HashMap::new()).await
    }

    async fn start_with(
        &self,
        listen: &str,
        clients: ClientTrust,
        renewed: HashMap<[u8; 32], [u8; 32]>,
    ) -> Running {
        let server = Server::bind(ServeConfig {
            directory: self.path("archive"),
            root_key: self.path("archive-root.key"),
            listen: listen.parse().unwrap(),
            names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            clients,
            renewed,
            client: ClientLimits { logs_max: 3, bytes_max: BYTES_MAX },
            bucket: None,
            limits: ArchiveLimits { payload_bytes_max: 100_000, ..ArchiveLimits::default() },
            clock: self.clock.clone(),
            rng: self.rng.clone(),
        })
        .await
        .unwrap();
        let address = server.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(server.run(async {
            stopped.await.ok();
        }));
        let destination = Destination::new("127.0.0.1", address.port());
        self.register.register(destination, DestinationKind::OwnPart, "ledger archive");
        Running { address, stop, task }
    }

    fn certificate(&self) -> String {
        std::fs::read_to_string(self.path("archive/certificate.pem")).unwrap()
    }

    fn client(&self, address: SocketAddr, pair: &ClientPair, server: ServerTrust) -> ArchiveClient {
        let identity =
            ClientIdentity::from_pem(&pair.certificate_pem, pair.key_pem.expose()).unwrap();
        let mut config = ArchiveClientConfig::new("127.0.0.1", address.port(), server, identity);
        config.connect_timeout = Duration::from_secs(20);
        ArchiveClient::new(config, Arc::clone(&self.register)).unwrap()
    }

    fn pinned(&self, address: SocketAddr, pair: &ClientPair) -> ArchiveClient {
        let server = ServerTrust::certificate_pem(&self.certificate()).unwrap();
        self.client(address, pair, server)
    }
}

struct Submitter {
    tenant: TenantId,
    keys: KeyService,
    key: SigningKey,
    create: CreateLog,
    previous: Option<LeafReference>,
    size: u64,
}

impl Submitter {
    fn new(world: &World) -> Self {
        let rng: Arc<dyn Rng> = world.rng.clone();
        let root = PlatformFile::open_or_create(&world.path("platform-root.key"), rng.clone());
        let keys = KeyService::open(
            Box::new(root.unwrap()),
            &world.path("platform-keyring"),
            world.clock.clone(),
            rng.clone(),
        )
        .unwrap();
        let tenant = TenantId::generate(world.clock.now(), rng.as_ref());
        keys.create_tenant(tenant).unwrap();
        let key = SigningKey::generate(rng.as_ref());
        let log = LogId::generate(world.clock.now(), rng.as_ref());
        let origin = origin_of("localhost:8444", log, true);
        let create = CreateLog { log, origin, submitter: key.public_bytes() };
        Self { tenant, keys, key, create, previous: None, size: 0 }
    }

    fn batch(&self, world: &World, records: usize) -> SealedBatch {
        let mut builder = BatchBuilder::new(BatchLimits::default(), self.previous.as_ref());
        for _ in 0..records {
            let (sequence, at) = (builder.next_sequence(), world.clock.now());
            let bytes = format!("{CANARY} {sequence}").into_bytes();
            let record = RecordBytes { sequence, events_from: at, events_to: at, bytes };
            assert!(builder.push(record).unwrap());
        }
        let dek = self.keys.dek(&DekScope::tenant(self.tenant, DataClass::Ledger)).unwrap();
        let signer = self.signer(world, &dek);
        world.clock.advance(Duration::from_secs(1));
        builder.seal(Act::Batch, self.previous.as_ref(), world.clock.now(), &signer).unwrap()
    }

    fn statement(&self, world: &World, act: Act) -> SealedBatch {
        let dek = self.keys.dek(&DekScope::tenant(self.tenant, DataClass::Ledger)).unwrap();
        let signer = self.signer(world, &dek);
        seal_statement(act, self.previous.as_ref(), world.clock.now(), &signer).unwrap()
    }

    fn signer<'a>(&'a self, world: &'a World, dek: &'a Dek) -> BatchSigner<'a> {
        BatchSigner {
            tenant: self.tenant,
            dek,
            origin: &self.create.origin,
            key: &self.key,
            rng: world.rng.as_ref(),
        }
    }

    fn request(&self, batch: &SealedBatch) -> Append {
        Append {
            log: self.create.log,
            expected_size: self.size,
            cursor: self.size + 1,
            entry: batch.entry.clone(),
            payload: batch.payload.clone(),
        }
    }

    async fn append(&mut self, world: &World, client: &ArchiveClient, records: usize) {
        let batch = self.batch(world, records);
        let appended = client.append(&self.request(&batch)).await.unwrap();
        assert_eq!(appended.index, self.size);
        self.previous = Some(batch.reference());
        self.size += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_lives_in_the_archive_across_restarts() {
    let world = World::new(1);
    let pair = generate_client("platform").unwrap();
    let trust = ClientTrust::Fingerprints(vec![pair.fingerprint]);
    let running = world.start("127.0.0.1:0", trust.clone()).await;
    let address = running.address;
    let client = world.pinned(address, &pair);
    let about = client.about().await.unwrap();
    let run = RunFile::read(&world.path("archive")).unwrap();
    assert_eq!(run.archive, address.to_string());
    let here = AboutBody::of_this_process("", 0);
    assert_eq!((about.logs, about.os_user, about.host), (0, here.os_user, here.host));

    let mut one = Submitter::new(&world);
    let summary = client.create_log(&one.create).await.unwrap();
    assert_eq!(client.create_log(&one.create).await.unwrap(), summary);
    assert!(summary.origin.ends_with("/simulated"));
    for _ in 0..3 {
        one.append(&world, &client, 20).await;
    }
    running.stop().await;
    assert!(RunFile::read(&world.path("archive")).is_none());
    assert!(matches!(client.about().await, Err(ArchiveError::Unreachable { .. })));

    let running = world.start(&address.to_string(), trust).await;
    one.append(&world, &client, 5).await;
    let summary = client.summary(one.create.log).await.unwrap();
    assert_eq!((summary.size, summary.cursor), (4, 4));
    assert_eq!(client.read(one.create.log, "tile/0/007").await.unwrap(), None);
    assert_eq!(client.read(one.create.log, "../../keyring").await.unwrap(), None);

    let (source, out) = (client.source(one.create.log), world.path("export"));
    let to = out.clone();
    let exported =
        tokio::task::spawn_blocking(move || export(&source, &to, &mut |_, _| {})).await.unwrap();
    assert_eq!(exported.unwrap().size, 4);
    verified(&out, &summary.vkey);
    running.stop().await;

    let stopped = open_stopped(
        &world.path("archive"),
        &world.path("archive-root.key"),
        world.clock.clone(),
        world.rng.clone(),
    )
    .unwrap();
    let out = world.path("offline");
    export(&stopped.source(one.create.log), &out, &mut |_, _| {}).unwrap();
    verified(&out, &summary.vkey);
    for file in files(&world.path("archive")) {
        let bytes = std::fs::read(&file).unwrap();
        let needle = CANARY.as_bytes();
        assert!(!bytes.windows(needle.len()).any(|part| part == needle), "{}", file.display());
        let private = b"PRIVATE KEY";
        assert!(!bytes.windows(private.len()).any(|part| part == private), "{}", file.display());
    }
}

fn verified(at: &Path, vkey: &str) {
    let options = VerifyOptions { vkey: Some(vkey.parse().unwrap()), ..VerifyOptions::default() };
    let report = verify_log(&DirectorySource::new(at), &options, &mut |_| {});
    assert_eq!(report.exit, ExitClass::Verified, "{report}");
    assert_eq!((report.size, report.counts.payloads), (4, 4));
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_kept_out_and_refusals_are_told() {
    let world = World::new(2);
    let (pair, stranger) =
        (generate_client("platform").unwrap(), generate_client("platform").unwrap());
    let trust = ClientTrust::Fingerprints(vec![pair.fingerprint]);
    let running = world.start("127.0.0.1:0", trust).await;
    let client = world.pinned(running.address, &pair);
    let refused = world.pinned(running.address, &stranger).about().await;
    assert!(matches!(refused, Err(ArchiveError::Unreachable { .. })), "{refused:?}");
    let elsewhere = ServerTrust::Fingerprint(stranger.fingerprint);
    let refused = world.client(running.address, &pair, elsewhere).about().await;
    assert!(matches!(refused, Err(ArchiveError::Unreachable { .. })), "{refused:?}");
    let unregistered = SocketAddr::from(([127, 0, 0, 1], 9));
    let refused = world.pinned(unregistered, &pair).about().await;
    assert!(matches!(refused, Err(ArchiveError::NotRegistered(_))), "{refused:?}");

    let mut one = Submitter::new(&world);
    let unknown = client.summary(one.create.log).await;
    assert!(
        matches!(unknown, Err(ArchiveError::Ledger(LedgerError::UnknownLog(_)))),
        "{unknown:?}"
    );
    client.create_log(&one.create).await.unwrap();
    let first = one.batch(&world, 3);
    let fork = one.request(&one.batch(&world, 4));
    let appended = client.append(&one.request(&first)).await.unwrap();
    let again = client.append(&one.request(&first)).await.unwrap();
    assert!(again.duplicate && again.checkpoint == appended.checkpoint);
    match client.append(&fork).await {
        Err(ArchiveError::Ledger(LedgerError::Conflict { state, .. })) => {
            assert_eq!((state.size, state.last_sequence), (1, 3));
            assert_eq!(state.last_hash, Some(first.reference().hash));
        }
        other => panic!("{other:?}"),
    }
    one.previous = Some(first.reference());
    one.size = 1;
    let large = one.batch(&world, 3000);
    assert!(large.payload.as_ref().unwrap().len() > 100_000);
    let refused = client.append(&one.request(&large)).await.unwrap_err().to_string();
    assert!(refused.contains("100000") || refused.contains("100_000"), "{refused}");
    one.append(&world, &client, 2).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_platform_never_reaches_the_logs_of_another() {
    let world = World::new(7);
    let (pair, other) = (generate_client("one").unwrap(), generate_client("other").unwrap());
    let trust = ClientTrust::Fingerprints(vec![pair.fingerprint, other.fingerprint]);
    let running = world.start("127.0.0.1:0", trust.clone()).await;
    let address = running.address;
    let mut one = Submitter::new(&world);
    let owner = world.pinned(address, &pair);
    owner.create_log(&one.create).await.unwrap();
    one.append(&world, &owner, 2).await;
    running.stop().await;

    // As true after a restart.
    let running = world.start(&address.to_string(), trust.clone()).await;
    let stranger = world.pinned(address, &other);
    let log = one.create.log;
    let append = one.request(&one.batch(&world, 1));
    let refusals = [
        stranger.create_log(&one.create).await.unwrap_err(),
        stranger.summary(log).await.unwrap_err(),
        stranger.append(&append).await.unwrap_err(),
        stranger.read(log, "checkpoint").await.unwrap_err(),
        stranger.keep_for(log, DAY).await.unwrap_err(),
    ];
    for refusal in refusals {
        let unknown = matches!(refusal, ArchiveError::Ledger(LedgerError::UnknownLog(_)));
        assert!(unknown, "{refusal:?}");
    }
    assert_eq!(stranger.about().await.unwrap().logs, 0);
    assert_eq!(owner.about().await.unwrap().logs, 1);
    assert_eq!(owner.summary(log).await.unwrap().size, 1);

    let another = || {
        let log = LogId::generate(world.clock.now(), world.rng.as_ref());
        let origin = origin_of("localhost:8444", log, true);
        CreateLog { log, origin, submitter: one.create.submitter }
    };
    // One platform that makes as many logs as it may takes no room from the other.
    for _ in 0..2 {
        owner.create_log(&another()).await.unwrap();
    }
    let refused = owner.create_log(&another()).await.unwrap_err().to_string();
    assert!(refused.contains("client_logs_max"), "{refused}");
    owner.create_log(&one.create).await.unwrap();
    let mut of_stranger = another();
    let key = SigningKey::generate(world.rng.as_ref());
    of_stranger.submitter = key.public_bytes();
    stranger.create_log(&of_stranger).await.unwrap();

    // Nor one that fills what it may have; to end a prefix it has room all the same.
    let large = |submitter: &Submitter| submitter.batch(&world, 1500);
    let refused = loop {
        let batch = large(&one);
        if let Err(error) = owner.append(&one.request(&batch)).await {
            break error.to_string();
        }
        one.previous = Some(batch.reference());
        one.size += 1;
        assert!(one.size < 100, "the bound is never reached");
    };
    assert!(refused.contains("client_bytes_max"), "{refused}");
    let act = Act::Retention { minimum_index: 0, reason: ShredReason::Requested };
    let ended = one.statement(&world, act);
    owner.append(&one.request(&ended)).await.unwrap();
    one.previous = Some(ended.reference());
    one.size += 1;
    running.stop().await;
    let running = world.start(&address.to_string(), trust).await;
    let owner = world.pinned(address, &pair);
    let refused = owner.append(&one.request(&large(&one))).await.unwrap_err().to_string();
    assert!(refused.contains("client_bytes_max"), "after a restart: {refused}");
    let stranger = world.pinned(address, &other);
    let (tenant, keys) = (one.tenant, one.keys.clone());
    let mut two = Submitter { tenant, keys, key, create: of_stranger, previous: None, size: 0 };
    two.append(&world, &stranger, 2).await;
    running.stop().await;

    // With another certificate it is the same party, and the old one is not admitted any more.
    let new = generate_client("one").unwrap();
    let trust = ClientTrust::Fingerprints(vec![new.fingerprint, other.fingerprint]);
    let renewed = [(new.fingerprint, pair.fingerprint)].into();
    let running = world.start_with(&address.to_string(), trust, renewed).await;
    let owner = world.pinned(address, &new);
    assert_eq!(owner.about().await.unwrap().logs, 3);
    assert_eq!(owner.summary(log).await.unwrap().size, one.size);
    assert!(world.pinned(address, &pair).about().await.is_err());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_can_stand_for_the_clients() {
    let world = World::new(3);
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(params, ca_key);
    let mut params = rcgen::CertificateParams::new(vec!["platform.example".to_owned()]).unwrap();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(world.path("ca.pem"), ca.pem()).unwrap();
    let running =
        world.start("127.0.0.1:0", ClientTrust::AuthorityFile(world.path("ca.pem"))).await;
    let pair = ClientPair {
        certificate_pem: certificate.pem(),
        key_pem: veritwin_domain::Secret::new(key.serialize_pem()),
        fingerprint: [0; 32],
    };
    assert_eq!(world.pinned(running.address, &pair).about().await.unwrap().logs, 0);
    let stranger = generate_client("platform").unwrap();
    assert!(world.pinned(running.address, &stranger).about().await.is_err());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_call_that_alters_or_deletes() {
    let world = World::new(4);
    let pair = generate_client("platform").unwrap();
    std::fs::write(world.path("client.pem"), &pair.certificate_pem).unwrap();
    let trust = ClientTrust::CertificateFile(world.path("client.pem"));
    let running = world.start("127.0.0.1:0", trust).await;
    let client = world.pinned(running.address, &pair);
    let one = Submitter::new(&world);
    let log = one.create.log;
    client.create_log(&one.create).await.unwrap();
    assert_eq!(client.keep_for(log, DAY * 10).await.unwrap().period_min, DAY * 10);
    assert_eq!(client.keep_for(log, DAY).await.unwrap().period_min, DAY * 10);
    for path in ["", "/leaves", "/period", "/files/checkpoint"] {
        for method in ["DELETE", "PUT", "PATCH"] {
            let status = raw(&world, running.address, &pair, method, log, path).await;
            assert_eq!(status, "405", "{method} {path}");
        }
    }
    running.stop().await;
}

/// Sends one HTTP/1.1 request; the answer is its status.
async fn raw(
    world: &World,
    address: SocketAddr,
    pair: &ClientPair,
    method: &str,
    log: LogId,
    path: &str,
) -> String {
    use rustls_pki_types::pem::PemObject as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut roots = rustls::RootCertStore::empty();
    let server = rustls_pki_types::CertificateDer::from_pem_slice(world.certificate().as_bytes());
    roots.add(server.unwrap()).unwrap();
    let certificate =
        rustls_pki_types::CertificateDer::from_pem_slice(pair.certificate_pem.as_bytes()).unwrap();
    let key =
        rustls_pki_types::PrivateKeyDer::from_pem_slice(pair.key_pem.expose().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)
        .unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let request = format!(
        "{method} /v1/logs/{log}{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    String::from_utf8(answer[9..].to_vec()).unwrap()
}
