//! An application in memory: a login with a few tokens, and a sink that keeps what it is given
//! and can be told to hold or fail commits.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use proptest::test_runner::{Config as ProptestConfig, RngSeed};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Semaphore, watch};
use veritwin_domain::{
    ClaimRequest, CredentialId, DeviceId, IngestLimits, Key, LimitExceeded, ManualClock, Reading,
    RelayMessage, Secret, SeededRng, TenantId, Timestamp, Value,
};
use veritwin_ingest::mqtt::{Broker, BrokerParts, RETAINED_PAGE_MESSAGES_MAX, topic_matches};
use veritwin_ingest::{
    Arrivals, Attributes, AttributesRequest, ChildName, ClientRpc, Credential, DeviceLink,
    DeviceSession, EntryRefused, Login, LoginError, Objection, Origin, PayloadDecoder, PeerInfo,
    Place, Refusal, RefusalReason, RpcReply, Sink, SinkEntry, SubmitError, Transport, Writer,
    WriterSession,
};

pub(crate) use crate::children::child_of;
pub(crate) use crate::packets::{connect, packet, publish, subscribe, text};

pub(crate) const TENANT: TenantId = TenantId::from_bytes([1; 16]);
pub(crate) const DEVICE: DeviceId = DeviceId::from_bytes([2; 16]);
pub(crate) const OTHER: DeviceId = DeviceId::from_bytes([3; 16]);
/// What the gateway speaks for as `g/n/pump`.
pub(crate) const CHILD: DeviceId =
    DeviceId::from_bytes(*b"g/n/pump\xc0\xc0\xc0\xc0\xc0\xc0\xc0\xc0");
pub(crate) const CREDENTIAL: CredentialId = CredentialId::from_bytes([4; 16]);
pub(crate) const API_KEY: CredentialId = CredentialId::from_bytes([5; 16]);
pub(crate) const NOW_MICROS: i64 = 1_700_000_000_000_000;

#[derive(Default)]
pub(crate) struct Store {
    arrivals: Arrivals,
    pub(crate) submissions: Mutex<Vec<Vec<SinkEntry>>>,
    pub(crate) replies: Mutex<Vec<RpcReply>>,
    /// When set, answers to calls fail with it.
    pub(crate) reply_failure: Mutex<Option<SubmitError>>,
    /// Secrets and durations of devices that let themselves be claimed.
    pub(crate) claims: Mutex<Vec<(String, Option<Duration>)>>,
    retained: Mutex<BTreeMap<Arc<str>, Arc<RelayMessage>>>,
    pub(crate) links: Mutex<HashMap<u64, DeviceLink>>,
    /// So often reading retained messages fails.
    pub(crate) retained_failures: Mutex<usize>,
    /// When set, commits fail with it.
    pub(crate) failure: Mutex<Option<SubmitError>>,
    /// When set, each commit takes one permit.
    pub(crate) gate: Mutex<Option<Arc<Semaphore>>>,
    pub(crate) started: watch::Sender<usize>,
    /// What each read counted in the rate of readings.
    pub(crate) paced: Mutex<Vec<u32>>,
}

impl Store {
    pub(crate) fn entries(&self) -> Vec<SinkEntry> {
        self.submissions.lock().iter().flatten().cloned().collect()
    }

    pub(crate) fn readings(&self) -> Vec<(String, i64, Value)> {
        let plain =
            |reading: Reading| (reading.key.to_string(), reading.at.as_millis(), reading.value);
        let batches = self.entries().into_iter().filter_map(|entry| match entry {
            SinkEntry::Readings(batch) => Some(batch.readings),
            _ => None,
        });
        batches.flatten().map(plain).collect()
    }

    pub(crate) fn refusals(&self) -> Vec<String> {
        let entries = self.entries().into_iter();
        entries
            .filter_map(|entry| match entry {
                SinkEntry::Refusal(refusal) => Some(refusal.detail),
                _ => None,
            })
            .collect()
    }

    fn retain(&self, entries: &[SinkEntry]) {
        for entry in entries {
            let SinkEntry::Relay { message, .. } = entry else { continue };
            let mut retained = self.retained.lock();
            if message.retain && message.payload.is_empty() {
                retained.remove(&message.topic);
            } else if message.retain {
                retained.insert(Arc::clone(&message.topic), Arc::clone(message));
            }
        }
    }

    pub(crate) fn hold(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.gate.lock() = Some(Arc::clone(&gate));
        gate
    }

    /// The link of the only attached device, once there is one that `suits`.
    pub(crate) async fn link(&self, suits: impl Fn(&DeviceLink) -> bool) -> DeviceLink {
        loop {
            if let Some(link) = self.links.lock().values().find(|link| suits(link)) {
                return link.clone();
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Refuses attributes of the key `over`, as the application does over a bound of the records.
pub(crate) fn refuse_wide(entries: &mut Vec<SinkEntry>) -> Vec<EntryRefused> {
    let mut refused = Vec::new();
    let kept = std::mem::take(entries).into_iter().enumerate().filter_map(|(index, entry)| {
        let SinkEntry::Attributes(update) = &entry else { return Some(entry) };
        if update.entries.iter().all(|(key, _)| &**key != "over") {
            return Some(entry);
        }
        let limit = LimitExceeded { name: "attributes_max", max: 1, actual: 2 };
        let refusal = Refusal {
            tenant: update.tenant,
            device: update.device,
            credential: update.credential,
            received_at: update.received_at,
            reason: RefusalReason::Limit,
            detail: limit.to_string(),
            position: None,
            limit: Some(limit.name),
            payload_bytes: update.payload_bytes,
        };
        refused.push(EntryRefused { index, limit });
        update.refusal_recorded.then_some(SinkEntry::Refusal(refusal))
    });
    *entries = kept.collect();
    refused
}

#[async_trait]
impl Sink for Store {
    fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    async fn submit(
        &self,
        _: Origin<'_>,
        mut entries: Vec<SinkEntry>,
    ) -> Result<Vec<EntryRefused>, SubmitError> {
        self.started.send_modify(|count| *count += 1);
        let gate = self.gate.lock().clone();
        if let Some(gate) = gate {
            gate.acquire().await.expect("gate").forget();
        }
        let only_refusals = entries.iter().all(|entry| matches!(entry, SinkEntry::Refusal(_)));
        if let Some(error) = self.failure.lock().clone()
            && !(error.is_final() && only_refusals)
        {
            return Err(error);
        }
        let refused = refuse_wide(&mut entries);
        self.retain(&entries);
        self.submissions.lock().push(entries);
        Ok(refused)
    }

    fn pace(&self, _: Origin<'_>, _: u32, readings: u32) -> Duration {
        self.paced.lock().push(readings);
        Duration::ZERO
    }

    fn inspect(&self, _: Origin<'_>, readings: &[Reading]) -> Result<(), Objection> {
        if readings.iter().any(|reading| &*reading.key == "forbidden") {
            let rule = "policy deny-list: a key of this message is not allowed";
            return Err(Objection::Policy(rule.to_owned()));
        }
        Ok(())
    }

    async fn attributes(
        &self,
        _: &DeviceSession,
        request: AttributesRequest,
    ) -> Result<Attributes, SubmitError> {
        let pairs = |keys: Option<Vec<Key>>| {
            let keys = keys.unwrap_or_default();
            keys.into_iter().map(|key| (key, Value::Double(2.0))).collect()
        };
        Ok(Attributes { client: pairs(request.client), shared: pairs(request.shared) })
    }

    async fn retained(
        &self,
        _: &DeviceSession,
        filter: &str,
        after: Option<Arc<str>>,
    ) -> Result<Vec<Arc<RelayMessage>>, SubmitError> {
        {
            let mut failures = self.retained_failures.lock();
            if *failures > 0 {
                *failures -= 1;
                return Err(SubmitError::Unavailable("disk full".to_owned()));
            }
        }
        let retained = self.retained.lock();
        let found = retained.values().filter(|one| topic_matches(filter, &one.topic));
        let found = found.filter(|one| after.as_ref().is_none_or(|after| one.topic > *after));
        Ok(found.take(RETAINED_PAGE_MESSAGES_MAX).cloned().collect())
    }

    async fn rpc_reply(&self, _: &DeviceSession, reply: RpcReply) -> Result<(), SubmitError> {
        if let Some(error) = self.reply_failure.lock().clone() {
            return Err(error);
        }
        self.replies.lock().push(reply);
        Ok(())
    }

    async fn claim(&self, _: &DeviceSession, request: ClaimRequest) -> Result<(), SubmitError> {
        if request.secret.expose() == "refused" {
            return Err(SubmitError::Denied("not this one".to_owned()));
        }
        self.claims.lock().push((request.secret.into_exposed(), request.duration));
        Ok(())
    }

    async fn rpc_call(&self, _: &DeviceSession, call: ClientRpc) -> Result<String, SubmitError> {
        if call.method == "echo" {
            return Ok(call.params);
        }
        Err(SubmitError::NotFound("no such method".to_owned()))
    }

    async fn attach(&self, _: &Arc<DeviceSession>, link: DeviceLink) {
        self.links.lock().insert(link.id(), link);
    }

    async fn detach(&self, _: &Arc<DeviceSession>, link: &DeviceLink) {
        self.links.lock().remove(&link.id()).expect("a link is detached once");
    }
}

pub(crate) struct Door;

fn session(device: DeviceId) -> Arc<DeviceSession> {
    Arc::new(DeviceSession::new(TENANT, device, CREDENTIAL))
}

#[async_trait]
impl Login for Door {
    async fn authenticate(
        &self,
        credential: Credential,
        _: &PeerInfo,
    ) -> Result<Arc<DeviceSession>, LoginError> {
        match credential {
            Credential::Token(token) => match token.expose().as_str() {
                "token" => Ok(session(DEVICE)),
                "other" => Ok(session(OTHER)),
                "gateway" => {
                    let plain = DeviceSession::new(TENANT, DEVICE, CREDENTIAL);
                    Ok(Arc::new(DeviceSession { gateway: true, ..plain }))
                }
                "scada" => {
                    let plain = DeviceSession::new(TENANT, DEVICE, CREDENTIAL);
                    Ok(Arc::new(DeviceSession { sparkplug_host: true, ..plain }))
                }
                "bytes" => {
                    let plain = DeviceSession::new(TENANT, DEVICE, CREDENTIAL);
                    let decoder = PayloadDecoder::new(Arc::new(crate::mqtt_decoding::FirstByte));
                    Ok(Arc::new(DeviceSession { decoder: Some(decoder), ..plain }))
                }
                "disabled" => Err(LoginError::Denied("the device is disabled".to_owned())),
                "busy" => Err(LoginError::Busy {
                    limit: None,
                    detail: "limit attempts_max".to_owned(),
                    retry_after: Duration::from_secs(7),
                }),
                _ => Err(LoginError::Unknown),
            },
            Credential::Password { client_id, user, password }
                if client_id.expose() == "c1"
                    && user.expose() == "user"
                    && password.expose() == b"secret" =>
            {
                Ok(session(DEVICE))
            }
            _ => Err(LoginError::Unknown),
        }
    }

    async fn authenticate_writer(
        &self,
        token: Secret<String>,
        peer: &PeerInfo,
    ) -> Result<Writer, LoginError> {
        if token.expose() == "key" {
            let (place, context) = (Place::default(), None);
            let session = WriterSession { tenant: TENANT, context, credential: API_KEY, place };
            return Ok(Writer::Tenant(Arc::new(session)));
        }
        self.authenticate(Credential::Token(token), peer).await.map(Writer::Device)
    }

    async fn devices_by_name(
        &self,
        _: &WriterSession,
        names: &[String],
    ) -> Result<Vec<Option<Arc<DeviceSession>>>, LoginError> {
        let device = |name: &String| match name.as_str() {
            "pump" => Some(session(DEVICE)),
            "valve" => Some(session(OTHER)),
            _ => None,
        };
        Ok(names.iter().map(device).collect())
    }

    async fn children(
        &self,
        gateway: &DeviceSession,
        names: &[ChildName],
    ) -> Result<Vec<Result<Arc<DeviceSession>, LoginError>>, LoginError> {
        if !gateway.gateway {
            return Err(LoginError::Denied("this device is no gateway".to_owned()));
        }
        // A device behind the gateway is found after a while.
        tokio::task::yield_now().await;
        if names.iter().any(|one| one.name == "later") {
            return Ok(names.iter().map(|_| Err(LoginError::Unavailable("full".into()))).collect());
        }
        let child = |one: &ChildName| match one.name.as_str() {
            "foreign" | "g/n/valve" => {
                Err(LoginError::Denied("not behind this gateway".to_owned()))
            }
            name => Ok(session(child_of(name))),
        };
        Ok(names.iter().map(child).collect())
    }

    async fn children_there(
        &self,
        _: &DeviceSession,
        names: &[String],
    ) -> Result<Vec<Option<DeviceId>>, LoginError> {
        // One that is deleted as soon as it has spoken.
        Ok(names.iter().map(|name| (name != "gone").then(|| child_of(name))).collect())
    }
}

pub(crate) fn broker(limits: IngestLimits) -> (Arc<Broker>, Arc<Store>) {
    let store = Arc::new(Store::default());
    (of_store(&store, limits), store)
}

/// Another broker on what is stored, as after a restart.
pub(crate) fn again(store: &Arc<Store>) -> Arc<Broker> {
    of_store(store, IngestLimits::default())
}

fn of_store(store: &Arc<Store>, limits: IngestLimits) -> Arc<Broker> {
    Broker::new(BrokerParts {
        login: Arc::new(Door),
        sink: Arc::clone(store) as Arc<dyn Sink>,
        clock: Arc::new(ManualClock::new(Timestamp::from_micros(NOW_MICROS))),
        rng: Arc::new(SeededRng::new(1)),
        limits,
    })
}

/// A client of raw bytes.
pub(crate) struct Client {
    pub(crate) stream: DuplexStream,
    pub(crate) server: tokio::task::JoinHandle<()>,
}

impl Client {
    pub(crate) fn open(broker: &Arc<Broker>) -> Self {
        let (stream, other) = tokio::io::duplex(16 * 1024);
        let broker = Arc::clone(broker);
        let peer = PeerInfo::new(None, Transport::Mqtt3);
        let server = tokio::spawn(async move { broker.serve(other, peer).await });
        Self { stream, server }
    }

    /// Sends all bytes; an early end of the server is not an error here.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    pub(crate) async fn expect(&mut self, bytes: &[u8]) {
        let mut found = vec![0; bytes.len()];
        let limit = Duration::from_secs(20);
        let read = tokio::time::timeout(limit, self.stream.read_exact(&mut found)).await;
        let shown = format!("expected {bytes:02x?}, found {found:02x?}");
        read.expect(&shown).expect(&shown);
        assert_eq!(found, bytes, "{}", String::from_utf8_lossy(&found));
    }

    /// One whole packet.
    pub(crate) async fn packet(&mut self) -> Vec<u8> {
        let mut packet = vec![self.stream.read_u8().await.expect("a packet")];
        let mut length = 0usize;
        for index in 0..4 {
            let byte = self.stream.read_u8().await.expect("a length");
            packet.push(byte);
            length |= usize::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                break;
            }
        }
        let start = packet.len();
        packet.resize(start + length, 0);
        self.stream.read_exact(&mut packet[start..]).await.expect("a body");
        packet
    }

    /// Everything until the server closes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, self.stream.read_to_end(&mut rest))
            .await
            .expect("the server closes")
            .expect("read");
        rest
    }

    /// The client goes away; waits until the server has noticed.
    pub(crate) async fn leave(self) {
        drop(self.stream);
        self.server.await.expect("served");
    }
}

/// A connected client.
pub(crate) async fn connected(broker: &Arc<Broker>, level: u8) -> Client {
    let mut client = Client::open(broker);
    client.send(&connect(level, 2, "c1", "token")).await;
    let answer = client.packet().await;
    assert_eq!(answer[0], 0x20);
    assert_eq!(answer[3], 0, "{answer:02x?}");
    client
}

pub(crate) const TELEMETRY: &str = "v1/devices/me/telemetry";

/// Properties with a fixed seed; `PROPTEST_RNG_SEED` and `PROPTEST_CASES` choose others.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let rng_seed = match default.rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        chosen => chosen,
    };
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { cases };
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..default }
}
