//! P18: what a source of a public zone says is in no log, numbers of groups alone leave, within the
//! budgets of day and year, and the published attacks on them do no better than these budgets
//! allow. P19: details are taken with consent only, of which a signed record stays, under an
//! identity that nothing of before names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use veritwin_access::jobs;
use veritwin_collection::attacks::{Score, play};
use veritwin_collection::{
    BUDGET_MILLI_PER_DAY_MAX, BUDGET_SQUARES_PER_YEAR, Book, Collector, EPSILON_MILLI_MAX, Measure,
    MeasureKind, Outcome, ZoneConfig,
};
use veritwin_domain::{
    CredentialId, DeviceBatch, DeviceId, Key, OpContext, Quality, Reading, RegisterEntryId,
    Timestamp, UserId, Value,
};
use veritwin_log::Record;
use veritwin_metastore::{RegisterEntry, RegisterKind, RegisterState};

use super::canary::canary;
use super::run::InApp;
use super::{PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::consent_record::check_consent;
use crate::model::{OptInDetails, OptInInput, OptInView};
use crate::zones::{StoredZone, Zone};
use crate::{App, Error, Result, Submission};

const PUBLIC: u8 = 18;
const OPT_IN: u8 = 19;
const VERSION: u32 = 2;
/// Sources of the probe's zone.
const SOURCES: usize = 16;
/// How often an attack is played.
const ROUNDS: u64 = 6000;
/// Windows of a day when budgets are looked at: more than any budget has.
const WINDOWS_OF_DAY: u32 = 8;
const YEAR_DAYS: u32 = 365;
/// The words that the probe agrees to.
const TEXT: &str = "check";

pub(super) fn public_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, PUBLIC, VERSION, |app: App| async move { app.check_public_zone().await })
}

pub(super) fn opt_in_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, OPT_IN, VERSION, |app: App| async move { app.check_opt_ins().await })
}

fn failed(summary: &str, place: &str) -> ProbeAnswer {
    ProbeAnswer::Failed { summary: summary.to_owned(), facts: Vec::new(), place: place.to_owned() }
}

/// A zone with the largest costs that may be set.
fn stored(devices: BTreeSet<DeviceId>, output: DeviceId) -> StoredZone {
    let kind = MeasureKind::Amount { step: 1.0, steps_max: 100 };
    let measure = Measure { key: "used".to_owned(), epsilon_milli: EPSILON_MILLI_MAX, kind };
    let config = ZoneConfig {
        name: "check".to_owned(),
        window_minutes: 60,
        budget_milli_per_day: BUDGET_MILLI_PER_DAY_MAX,
        measures: vec![measure],
    };
    let [statement, key, signature]: [String; 3] = Default::default();
    StoredZone { config, output, devices, statement, key, signature }
}

fn said(device: DeviceId, (canary, at): (&str, Timestamp)) -> Result<DeviceBatch> {
    let wrong = |error: veritwin_domain::KeyError| Error::Internal(error.to_string());
    let reading = |key: &str, value: Value| {
        let key = Key::new(key).map_err(wrong)?;
        Ok::<_, Error>(Reading { key, at, value, quality: Quality::Good })
    };
    Ok(DeviceBatch {
        tenant: PROBE_TENANT,
        device,
        credential: CredentialId::from_bytes([0; 16]),
        received_at: at,
        readings: vec![
            reading("used", Value::Integer(50))?,
            reading("who", Value::Text(canary.into()))?,
        ],
    })
}

impl App {
    async fn check_public_zone(&self) -> Result<ProbeAnswer> {
        self.ensure_probe_tenant().await?;
        let now = self.clock().now();
        let devices: BTreeSet<DeviceId> =
            (0..SOURCES).map(|_| DeviceId::generate(now, self.rng())).collect();
        let id = RegisterEntryId::generate(now, self.rng());
        let output = DeviceId::generate(now, self.rng());
        let zone = || {
            let given = (Value::Boolean(true), Book::default());
            Zone::new((PROBE_TENANT, id), stored(devices.clone(), output), given, now)
        };
        self.0.zones.put(Arc::new(zone()));
        let found = self.send_as_sources(&devices).await;
        self.0.zones.remove(PROBE_TENANT, id);
        if found? {
            let summary = "What a source of a public zone said is in the log.";
            return Ok(failed(summary, "log"));
        }
        if let Some(summary) = self.look_at_a_window(&zone(), &devices)? {
            return Ok(failed(summary, "collection"));
        }
        if let Some(summary) = self.look_at_the_budgets(&zone(), &devices) {
            return Ok(failed(summary, "collection"));
        }
        Ok(scored(&self.play_attacks().await?))
    }

    /// Sends as every source; whether the log has anything of it.
    async fn send_as_sources(&self, devices: &BTreeSet<DeviceId>) -> Result<bool> {
        let (canary, at) = (canary(self.rng()), self.clock().now());
        let from = self.0.log.tail_position();
        for device in devices {
            let batch = said(*device, (&canary, at))?;
            self.submit(PROBE_TENANT, vec![Submission::Readings(batch)]).await?;
        }
        let (log, devices) = (self.0.log.clone(), devices.clone());
        let looking = super::spent::blocking(move || {
            let from = from.max(log.first_position()).min(log.tail_position());
            for batch in log.read_from(from)? {
                for (_, entry) in batch?.iter() {
                    if let Record::Readings(batch) = &entry.record
                        && devices.contains(&batch.device)
                    {
                        return Ok(true);
                    }
                }
            }
            Ok::<_, Error>(false)
        });
        looking.await.map_err(|_| Error::Internal("reading the log stopped".to_owned()))?
    }

    /// What a window of a group lets out has to be what is named, and no more.
    fn look_at_a_window(
        &self,
        zone: &Zone,
        devices: &BTreeSet<DeviceId>,
    ) -> Result<Option<&'static str>> {
        let (canary, start) = (canary(self.rng()), Timestamp::EPOCH);
        let mut collector = Collector::new(&zone.stored.config, start);
        for device in devices {
            let batch = said(*device, (&canary, start))?;
            collector.take(*device, &batch.readings, (start, devices));
        }
        let end = start.saturating_add(std::time::Duration::from_secs(3600));
        let turn = collector.settle(&Book::default(), (end, devices), self.zone_noise());
        let releases = turn.map(|turn| turn.releases).unwrap_or_default();
        let [release] = releases.as_slice() else {
            return Ok(Some("A window was not let out once."));
        };
        if !matches!(release.outcome, Outcome::Released { sources: SOURCES, .. }) {
            return Ok(Some("A window of a whole group was not let out."));
        }
        let named = ["window_minutes", "sources", "used.sum"];
        let readings = release.readings();
        if named.iter().any(|name| readings.iter().all(|one| &*one.key != *name)) {
            return Ok(Some("A number of a public zone is missing."));
        }
        Ok(readings
            .iter()
            .any(|one| !named.contains(&&*one.key) || one.at != end)
            .then_some("Something left a public zone that nobody named."))
    }

    /// A year of windows: those that leave have to be paid for by the budgets of their days, and
    /// all together by the year's.
    fn look_at_the_budgets(
        &self,
        zone: &Zone,
        devices: &BTreeSet<DeviceId>,
    ) -> Option<&'static str> {
        let window_minutes = 24 * 60 / WINDOWS_OF_DAY;
        let config = ZoneConfig { window_minutes, ..zone.stored.config.clone() };
        let mut collector = Collector::new(&config, Timestamp::EPOCH);
        let (mut book, mut days) = (Book::default(), BTreeMap::<i64, u32>::new());
        for window in 1..=i64::from(YEAR_DAYS * WINDOWS_OF_DAY) {
            let now = Timestamp::from_micros(window.saturating_mul(config.window_micros()));
            let Some(turn) = collector.settle(&book, (now, devices), self.zone_noise()) else {
                continue;
            };
            book = turn.book.done();
            for release in &turn.releases {
                if matches!(release.outcome, Outcome::Released { .. }) {
                    *days.entry(release.from.day()).or_default() += 1;
                }
            }
        }
        let let_out: u32 = days.values().sum();
        let is_day_kept =
            days.values().all(|count| count * config.cost_milli() <= BUDGET_MILLI_PER_DAY_MAX);
        if !is_day_kept {
            return Some("More left a public zone than the budget of a day has.");
        }
        (let_out == 0 || let_out * config.cost_squares() > BUDGET_SQUARES_PER_YEAR)
            .then_some("What left a public zone in a year is not what its budget has.")
    }

    /// Plays the attacks on what leaves by the way by which everything does.
    async fn play_attacks(&self) -> Result<Vec<Score>> {
        let app = self.clone();
        let playing = super::spent::blocking(move || play(app.zone_noise(), ROUNDS, app.rng()));
        let played =
            playing.await.map_err(|_| Error::Internal("the attacks stopped".to_owned()))?;
        played.map_err(|error| Error::Internal(error.to_string()))
    }

    async fn check_opt_ins(&self) -> Result<ProbeAnswer> {
        self.ensure_probe_tenant().await?;
        let context = self.job_in(jobs::PROMISES, PROBE_TENANT);
        let canary = canary(self.rng());
        let details = OptInDetails { name: Some(canary.clone()), ..OptInDetails::default() };
        let (how, text) = ("in_writing".to_owned(), TEXT.to_owned());
        let given = OptInInput { consent: true, how, text, details };
        let refused = OptInInput { consent: false, ..given.clone() };
        if let Ok(taken) = self.keep_opt_in(&context, refused).await {
            self.drop_opt_in(&context, taken.id).await?;
            self.forget_opt_ins(&context, TEXT).await?;
            return Ok(failed("Details were taken without consent.", "opt-ins"));
        }
        let one = self.keep_opt_in(&context, given.clone()).await?;
        let other = self.keep_opt_in(&context, given).await?;
        let wrong = self.walk_opt_ins(&context, (&one, &other), &canary).await;
        for id in [one.id, other.id] {
            match self.drop_opt_in(&context, id).await {
                Ok(()) | Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.forget_opt_ins(&context, TEXT).await?;
        Ok(match wrong? {
            Some(summary) => failed(summary, "opt-ins"),
            None => ProbeAnswer::Passed {
                summary: "Details need consent, of which a signed record stays, and their \
                          identity links to nothing before."
                    .to_owned(),
                facts: vec![("random bits of an identity".to_owned(), "128".to_owned())],
            },
        })
    }

    /// Two people gave details, and one of them takes it back; what is wrong with that.
    async fn walk_opt_ins(
        &self,
        context: &OpContext,
        (one, other): (&OptInView, &OptInView),
        canary: &str,
    ) -> Result<Option<&'static str>> {
        if one.identity == other.identity {
            return Ok(Some("Two people were given one identity."));
        }
        let tx = self.0.store.read(context).await?;
        let kept = tx.register_entry(one.id).await?;
        // Nothing of before has the identity as its name.
        let known = tx.device_by_name(&one.identity).await?;
        drop(tx);
        if known.is_some() || !names_no_device(&kept) {
            return Ok(Some("An opt-in names something of before."));
        }
        let key = self.consent_signer_of(context.tenant).await?.public_key();
        let is_recorded = |entry: &RegisterEntry, decisions: &[&str]| {
            let records = records_of(entry, (&one.identity, &key, canary));
            records.is_some_and(|records| records == decisions)
        };
        if !is_recorded(&kept, &["given"]) {
            return Ok(Some("A consent to details has no right record."));
        }
        let found = self.opt_ins_of(context, (None, Some(&one.identity))).await?;
        if !matches!(found.as_slice(), [only] if only.id == one.id) {
            return Ok(Some("Who gave a name alone is not found by it as an officer names them."));
        }
        self.drop_opt_in(context, one.id).await?;
        let kept = self.0.store.read(context).await?.register_entry(one.id).await?;
        if String::from_utf8_lossy(&kept.body).contains(canary) {
            return Ok(Some("Details stay when consent is taken back."));
        }
        if !is_recorded(&kept, &["given", "withdrawn"]) {
            return Ok(Some("The record of a consent goes when it is taken back."));
        }
        Ok(None)
    }

    /// An ended zone and an opt-in of nobody, for the checks that ask for others' things.
    pub(super) async fn probe_zones(
        &self,
        context: &OpContext,
        things: &mut BTreeMap<&'static str, String>,
    ) -> Result<()> {
        for (kind, name) in [
            (RegisterKind::Zone, "zone"),
            (RegisterKind::OptIn, "opt_in"),
            (RegisterKind::Flow, "register_entry"),
        ] {
            let tx = self.0.store.begin(context).await?;
            let known = tx.register_entries(kind).await?.first().map(|known| known.id);
            let id = known.unwrap_or_else(|| RegisterEntryId::generate(context.at, self.rng()));
            if known.is_none() {
                let nobody = stored(BTreeSet::new(), DeviceId::from_bytes([0; 16]));
                let body = serde_json::to_vec(&nobody)
                    .map_err(|error| Error::Internal(error.to_string()))?;
                let entry = RegisterEntry {
                    id,
                    kind,
                    state: RegisterState::Ended,
                    body: if kind == RegisterKind::Zone { body } else { b"{}".to_vec() },
                    book: None,
                    review_at: None,
                    version: 1,
                    created_at: context.at,
                };
                tx.register_entry_create(&entry).await?;
                tx.commit().await?;
            }
            things.insert(name, id.to_string());
        }
        Ok(())
    }
}

/// Whether what is stored of an opt-in has the fields that it may have.
fn names_no_device(entry: &RegisterEntry) -> bool {
    const FIELDS: [&str; 11] = [
        "identity",
        "text",
        "how",
        "recorded_by",
        "agreed_at_us",
        "withdrawn_at_us",
        "decisions",
        "name",
        "email",
        "phone",
        "address",
    ];
    let stored: serde_json::Value = serde_json::from_slice(&entry.body).unwrap_or_default();
    stored.as_object().is_some_and(|all| all.keys().all(|key| FIELDS.contains(&key.as_str())))
}

/// What each record of an opt-in says that was decided; none if one of them is not signed by this
/// key, names another identity, or holds a detail.
fn records_of(
    entry: &RegisterEntry,
    (identity, key, canary): (&str, &str, &str),
) -> Option<Vec<String>> {
    let stored: serde_json::Value = serde_json::from_slice(&entry.body).ok()?;
    let mut bytes = [0; 16];
    hex::decode_to_slice(identity, &mut bytes).ok()?;
    let principal = UserId::from_bytes(bytes).to_string();
    let decided = |one: &serde_json::Value| {
        let checked = check_consent(one["record"].as_str()?.as_bytes(), Some(key)).ok()?;
        let record: serde_json::Value = serde_json::from_str(&checked.record).ok()?;
        let is_theirs = record["pii_principal_id"].as_str() == Some(principal.as_str())
            && record["pii_processing"]["purpose_description"].as_str() == Some(TEXT)
            && !checked.record.contains(canary);
        let last = record["events"].as_array()?.last()?;
        let decision = last["event_state"].as_str()?.to_owned();
        let is_told = decision != "given" || record["expressed"].as_str() == Some("in_writing");
        (is_theirs && is_told).then_some(decision)
    };
    stored["decisions"].as_array()?.iter().map(decided).collect()
}

fn scored(scores: &[Score]) -> ProbeAnswer {
    let fact = |score: &Score| {
        let (right, most) = (score.right_milli(), score.bound_milli());
        let right = format!("{right} of 1000 right, at most {most} by the budget");
        (score.attack.to_owned(), right)
    };
    let facts = scores.iter().map(fact).collect();
    match scores.iter().find(|score| !score.is_kept()) {
        Some(score) => ProbeAnswer::Failed {
            summary: "An attack on the numbers of a public zone succeeds.".to_owned(),
            facts,
            place: score.attack.to_owned(),
        },
        None => ProbeAnswer::Passed {
            summary: "Only numbers of groups leave, and attacks on them do no better than their \
                      budget allows."
                .to_owned(),
            facts,
        },
    }
}
