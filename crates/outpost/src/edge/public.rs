//! The gateway of a public zone: what devices say is taken into memory, and only what a whole group
//! did in a whole window becomes an entry of the log. What a crash takes is one open window.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use veritwin_collection::{Book, Collector, Noise, Release, Turn, ZoneConfig};
use veritwin_domain::{
    Clock, CredentialId, DeviceBatch, DeviceId, Key, Quality, Reading, Rng, TenantId, Timestamp,
    Value,
};
use veritwin_ingest::SinkEntry;
use veritwin_keys::SigningKey;
use veritwin_log::{Entry, FileLog, Record};

use super::devices::{self, Devices};
use super::place::{self, Place};
use super::{EdgeConfig, EdgeError};

/// Day, budget and last window: nothing of any device.
const BOOK_FILE: &str = "collection.json";

/// How the gateway of a public zone is set, signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attestation {
    /// What is signed, line by line.
    pub statement: String,
    /// The edge's public key, in hexadecimal.
    pub key: String,
    /// Ed25519 over the statement, in hexadecimal.
    pub signature: String,
}

impl Attestation {
    pub(super) fn of(zone: &ZoneConfig, gateway: DeviceId, signing: &SigningKey) -> Self {
        let statement = format!("{}by {gateway}\n", zone.bounded().statement());
        let signature = hex::encode(signing.sign(statement.as_bytes()));
        Self { statement, key: hex::encode(signing.public_bytes()), signature }
    }
}

/// A public zone that is gathered.
pub(super) struct Public {
    path: PathBuf,
    tenant: TenantId,
    /// The device that the aggregates are of.
    zone: DeviceId,
    attestation: Value,
    collector: Mutex<Collector>,
    book: Mutex<Book>,
    sources: RwLock<Arc<BTreeSet<DeviceId>>>,
}

impl Public {
    /// The zone of an edge, if it is the gateway of one. An edge that was one stays one: its
    /// devices were told so.
    pub(super) fn open(
        config: &EdgeConfig,
        place: &Place,
        clock: &dyn Clock,
        rng: &dyn Rng,
    ) -> Result<Option<Self>, EdgeError> {
        let path = place.directory.join(BOOK_FILE);
        let book = place::read_json::<Book>(&path)?;
        let Some(zone) = &config.zone else {
            return match book {
                None => Ok(None),
                Some(_) => {
                    let detail = "this is the gateway of a public zone: its file needs \
                                  [collection], and an edge of another kind another directory";
                    Err(EdgeError::Configuration(detail.to_owned()))
                }
            };
        };
        if *zone != zone.bounded() {
            tracing::warn!(
                zone = %zone.name,
                "the file names larger costs than are permitted: the largest permitted ones count"
            );
        }
        let device = devices::of_zone(&place.directory, &zone.name, clock, rng)?;
        let book = book.unwrap_or_default().begun();
        // Whatever happens next, it is a public zone from here on.
        place::write_json(&path, &book)?;
        let attested = Attestation::of(zone, place.identity.gateway, &place.signing);
        let attested = serde_json::to_string(&attested)
            .map_err(|error| EdgeError::Damaged(error.to_string()))?;
        Ok(Some(Self {
            path,
            tenant: place.identity.tenant,
            zone: device,
            attestation: Value::Json(Arc::from(attested)),
            collector: Mutex::new(Collector::new(zone, clock.now())),
            book: Mutex::new(book),
            sources: RwLock::default(),
        }))
    }

    /// Takes what a device says into the open window. Everything but readings is dropped.
    pub(super) fn take(&self, entry: &SinkEntry, now: Timestamp) {
        if let SinkEntry::Readings(batch) = entry {
            let sources = Arc::clone(&self.sources.read());
            self.collector.lock().take(batch.device, &batch.readings, (now, &sources));
        }
    }

    /// Zone, what is spent of today's budget, the budget, and what is spent of the year's.
    pub(super) fn spent(&self, now: Timestamp) -> (String, u32, u32, u32) {
        let book = *self.book.lock();
        let spent = if book.day == now.day() { book.spent_milli } else { 0 };
        let collector = self.collector.lock();
        let config = collector.config();
        (config.name.clone(), spent, config.budget_milli_per_day, book.spent_squares_at(now))
    }

    /// Lets out what is over. What cannot be written down is a gap.
    pub(super) async fn turn(
        &self,
        devices: &Devices,
        log: &FileLog,
        (clock, rng): (&dyn Clock, &dyn Rng),
    ) {
        let (now, sources) = (clock.now(), Arc::new(devices.let_in()));
        *self.sources.write() = Arc::clone(&sources);
        let before = *self.book.lock();
        let settled = self.collector.lock().settle(&before, (now, &sources), Noise::Drawn(rng));
        let Some(Turn { book, releases }) = settled else { return };
        if let Err(error) = self.let_out(book, &releases, (log, now)).await {
            tracing::warn!(%error, "a window of the public zone is lost: it will be a gap");
        }
    }

    async fn let_out(
        &self,
        book: Book,
        releases: &[Release],
        (log, now): (&FileLog, Timestamp),
    ) -> Result<(), EdgeError> {
        // What it costs is spent before anything of it can be seen.
        place::write_json(&self.path, &book)?;
        let entries = releases.iter().map(|release| self.entry(release, now)).collect();
        if let Err(error) = log.append(entries).await {
            *self.book.lock() = book.begun();
            return Err(error.into());
        }
        *self.book.lock() = book.done();
        place::write_json(&self.path, &book.done())
    }

    fn entry(&self, release: &Release, received_at: Timestamp) -> Entry {
        let mut readings = release.readings();
        readings.extend(Key::new("attestation").ok().map(|key| Reading {
            key,
            at: release.to,
            value: self.attestation.clone(),
            quality: Quality::Good,
        }));
        let (tenant, device) = (self.tenant, self.zone);
        // Nobody comes in as the zone.
        let credential = CredentialId::from_bytes([0; 16]);
        let batch = DeviceBatch { tenant, device, credential, received_at, readings };
        Entry { tenant, record: Record::Readings(batch) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use veritwin_collection::{Measure, MeasureKind};
    use veritwin_domain::ManualClock;
    use veritwin_keys::{SystemRng, verify_signature};

    use super::super::{WhenFull, init, open_log};
    use super::*;

    const SOURCES: usize = 16;

    fn config(place: &Path, zone: Option<ZoneConfig>) -> EdgeConfig {
        EdgeConfig {
            directory: place.join("edge"),
            root_key: place.join("root.key"),
            listen: "127.0.0.1:0".parse().expect("an address"),
            listen_http: None,
            names: vec!["localhost".to_owned()],
            platform: "https://twin.example".to_owned(),
            platform_ca: None,
            platform_mqtt: None,
            gateway: DeviceId::from_bytes([1; 16]),
            disk_bytes_max: 1 << 30,
            when_full: WhenFull::Refuse,
            batch_age: Duration::from_secs(10),
            batch_bytes_max: 1 << 20,
            zone,
        }
    }

    fn zone() -> ZoneConfig {
        let kind = MeasureKind::Amount { step: 1.0, steps_max: 100 };
        let measure = Measure { key: "used".to_owned(), epsilon_milli: 100, kind };
        ZoneConfig {
            name: "square".to_owned(),
            window_minutes: 60,
            budget_milli_per_day: 400,
            measures: vec![measure],
        }
    }

    fn said(device: DeviceId, at: Timestamp) -> SinkEntry {
        let reading = |key: &str, value: Value| Reading {
            key: Key::new(key).expect("a key"),
            at,
            value,
            quality: Quality::Good,
        };
        let card = Value::Text(Arc::from("canary of a card"));
        SinkEntry::Readings(DeviceBatch {
            tenant: TenantId::from_bytes([9; 16]),
            device,
            credential: CredentialId::from_bytes([9; 16]),
            received_at: at,
            readings: vec![reading("used", Value::Integer(50)), reading("card", card)],
        })
    }

    fn read(log: &FileLog) -> Vec<Entry> {
        let mut entries = Vec::new();
        for batch in log.read_from(log.first_position()).expect("read") {
            entries.extend(batch.expect("read").iter().map(|(_, entry)| Entry::clone(entry)));
        }
        entries
    }

    fn text(readings: &[Reading], key: &str) -> Option<Value> {
        readings.iter().find(|one| &*one.key == key).map(|one| one.value.clone())
    }

    #[tokio::test]
    async fn only_aggregates_are_written_and_a_crash_is_a_gap() {
        let place = tempfile::tempdir().expect("folder");
        let start = Timestamp::from_micros(1_767_225_600_000_000);
        let manual = Arc::new(ManualClock::new(start));
        let clock: Arc<dyn Clock> = manual.clone();
        let rng: Arc<dyn Rng> = Arc::new(SystemRng);
        let config = config(place.path(), Some(zone()));
        let public_key = init(&config, &clock, &rng).expect("made");
        for number in 0..SOURCES {
            let name = format!("post-{number}");
            devices::add(&config.directory, &name, &*clock, &*rng).expect("added");
        }
        let opened = Place::open(&config, &clock, &rng).expect("opened");
        let open = || Public::open(&config, &opened, &*clock, &*rng).expect("opened");
        let public = open().expect("a zone");
        let devices = Devices::open(&config.directory).expect("opened");
        let log = open_log(&config, &opened, &clock, &rng).await.expect("a log");
        let hour = Duration::from_secs(3600);
        public.turn(&devices, &log, (&*clock, &*rng)).await;
        for device in devices.let_in() {
            public.take(&said(device, clock.now()), clock.now());
        }
        manual.advance(hour);
        public.turn(&devices, &log, (&*clock, &*rng)).await;
        // The next window is open when the process ends.
        for device in devices.let_in() {
            public.take(&said(device, clock.now()), clock.now());
        }
        drop(public);
        let public = open().expect("a zone");
        manual.advance(hour);
        public.turn(&devices, &log, (&*clock, &*rng)).await;
        let entries = read(&log);
        let of = |entry: &Entry| match &entry.record {
            Record::Readings(batch) => batch.readings.clone(),
            other => panic!("{other:?}"),
        };
        let (first, second) = (of(&entries[0]), of(&entries[1]));
        assert_eq!(entries.len(), 2);
        assert_eq!(text(&first, "sources"), Some(Value::Integer(16)));
        assert!(text(&first, "used.sum").is_some() && text(&first, "card").is_none());
        assert_eq!(text(&second, "withheld"), Some(Value::Text(Arc::from("gap"))));
        assert!(!format!("{entries:?}").contains("canary"));
        assert_eq!(public.spent(clock.now()), ("square".to_owned(), 100, 400, 10_000));
        // What is said of the setting is signed by the edge.
        let attested = Attestation::of(&zone(), config.gateway, &opened.signing);
        assert_eq!(attested.key, public_key);
        let key: [u8; 32] = hex::decode(&attested.key).unwrap().try_into().unwrap();
        let signature = hex::decode(&attested.signature).unwrap();
        assert!(verify_signature(&key, attested.statement.as_bytes(), &signature));
        // It stays a public zone.
        let bare = EdgeConfig { zone: None, ..config.clone() };
        assert!(Public::open(&bare, &opened, &*clock, &*rng).is_err());
        let log = log.clone();
        tokio::task::spawn_blocking(move || log.close()).await.expect("closed");
    }
}
