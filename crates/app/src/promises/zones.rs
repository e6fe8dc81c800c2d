//! P18: what a source of a public zone says is in no log, numbers of groups alone leave, and the
//! published attacks on them do no better than a coin. P19: details are taken with consent only,
//! under an identity that nothing of before names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use veritwin_access::jobs;
use veritwin_collection::attacks::{ATTACK_STEPS_MAX, Score, play};
use veritwin_collection::{
    Book, Measure, MeasureKind, Outcome, ZoneConfig, capped_sum, noisy_amount,
};
use veritwin_domain::{
    CredentialId, DeviceBatch, DeviceId, Key, OpContext, Quality, Reading, RegisterEntryId,
    Timestamp, Value,
};
use veritwin_log::Record;
use veritwin_metastore::{RegisterEntry, RegisterKind, RegisterState};

use super::canary::canary;
use super::run::InApp;
use super::{PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::model::{OptInDetails, OptInInput};
use crate::zones::{StoredZone, Zone};
use crate::{App, Error, Result, Submission};

const PUBLIC: u8 = 18;
const OPT_IN: u8 = 19;
const VERSION: u32 = 1;
/// Sources of the probe's zone.
const SOURCES: usize = 16;
/// How often each attack is played.
const ROUNDS: u64 = 1500;
/// The noise that is attacked, in thousandths of epsilon.
const EPSILON_MILLI: u32 = 100;

pub(super) fn public_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, PUBLIC, VERSION, |app: App| async move { app.check_public_zone().await })
}

pub(super) fn opt_in_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, OPT_IN, VERSION, |app: App| async move { app.check_opt_ins().await })
}

fn failed(summary: &str, place: &str) -> ProbeAnswer {
    ProbeAnswer::Failed { summary: summary.to_owned(), facts: Vec::new(), place: place.to_owned() }
}

fn stored(devices: BTreeSet<DeviceId>, output: DeviceId) -> StoredZone {
    let kind = MeasureKind::Amount { step: 1.0, steps_max: 100 };
    let measure = Measure { key: "used".to_owned(), epsilon_milli: EPSILON_MILLI, kind };
    let config = ZoneConfig {
        name: "check".to_owned(),
        window_minutes: 60,
        budget_milli_per_day: 2400,
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
        let mut collector = veritwin_collection::Collector::new(zone.stored.config.clone(), start);
        for device in devices {
            let batch = said(*device, (&canary, start))?;
            collector.take(*device, &batch.readings, (start, devices));
        }
        let end = start.saturating_add(std::time::Duration::from_secs(3600));
        let turn = collector.settle(&Book::default(), (end, devices), self.rng());
        let releases = turn.map(|turn| turn.releases).unwrap_or_default();
        let [release] = releases.as_slice() else {
            return Ok(Some("A window was not let out once."));
        };
        if !matches!(release.outcome, Outcome::Released { sources: SOURCES, .. }) {
            return Ok(Some("A window of a whole group was not let out."));
        }
        let named = ["window_minutes", "sources", "used.sum"];
        let mut readings = release.readings().into_iter();
        Ok(readings
            .any(|one| !named.contains(&&*one.key) || one.at != end)
            .then_some("Something left a public zone that nobody named."))
    }

    async fn play_attacks(&self) -> Result<Vec<Score>> {
        let rng = self.shared_rng();
        #[cfg(feature = "test-controls")]
        let is_bare = self.0.promises.is_sabotaged(PUBLIC);
        #[cfg(not(feature = "test-controls"))]
        let is_bare = false;
        let playing = super::spent::blocking(move || {
            let mechanism = |steps: &[u64]| {
                if is_bare {
                    return i64::try_from(capped_sum(steps, ATTACK_STEPS_MAX)).unwrap_or(i64::MAX);
                }
                noisy_amount(steps, ATTACK_STEPS_MAX, EPSILON_MILLI, rng.as_ref())
            };
            play(&mechanism, ROUNDS, rng.as_ref())
        });
        playing.await.map_err(|_| Error::Internal("the attacks stopped".to_owned()))
    }

    async fn check_opt_ins(&self) -> Result<ProbeAnswer> {
        self.ensure_probe_tenant().await?;
        let context = self.job_in(jobs::PROMISES, PROBE_TENANT);
        let canary = canary(self.rng());
        let details = OptInDetails { name: Some(canary.clone()), ..OptInDetails::default() };
        let text = "check".to_owned();
        let refused = OptInInput { consent: false, text: text.clone(), details: details.clone() };
        let given = OptInInput { consent: true, text, details };
        #[cfg(feature = "test-controls")]
        let refused = OptInInput { consent: self.0.promises.is_sabotaged(OPT_IN), ..refused };
        if let Ok(taken) = self.keep_opt_in(&context, refused).await {
            self.drop_opt_in(&context, taken.id).await?;
            return Ok(failed("Details were taken without consent.", "opt-ins"));
        }
        let one = self.keep_opt_in(&context, given.clone()).await?;
        let other = self.keep_opt_in(&context, given).await?;
        let differ = one.identity != other.identity;
        let tx = self.0.store.read(&context).await?;
        let kept = tx.register_entry(one.id).await?;
        // Nothing of before has the identity as its name.
        let known = tx.device_by_name(&one.identity).await?;
        drop(tx);
        for id in [one.id, other.id] {
            self.drop_opt_in(&context, id).await?;
        }
        let is_gone = self.0.store.read(&context).await?.register_entry(one.id).await.is_err();
        Ok(match (differ, known.is_none() && names_no_device(&kept), is_gone) {
            (false, ..) => failed("Two people were given one identity.", "opt-ins"),
            (_, false, _) => failed("An opt-in names something of before.", "opt-ins"),
            (.., false) => failed("Details stay when consent is taken back.", "opt-ins"),
            (true, true, true) => ProbeAnswer::Passed {
                summary: "Details need consent, and their identity links to nothing before."
                    .to_owned(),
                facts: vec![("random bits of an identity".to_owned(), "128".to_owned())],
            },
        })
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
    const FIELDS: [&str; 7] =
        ["identity", "text", "agreed_at_us", "name", "email", "phone", "address"];
    let stored: serde_json::Value = serde_json::from_slice(&entry.body).unwrap_or_default();
    stored.as_object().is_some_and(|all| all.keys().all(|key| FIELDS.contains(&key.as_str())))
}

fn scored(scores: &[Score]) -> ProbeAnswer {
    let fact = |score: &Score| {
        let right = format!("{} of 1000 right", score.right_milli());
        (score.attack.to_owned(), right)
    };
    let facts = scores.iter().map(fact).collect();
    match scores.iter().find(|score| !score.is_chance()) {
        Some(score) => ProbeAnswer::Failed {
            summary: "An attack on the numbers of a public zone succeeds.".to_owned(),
            facts,
            place: score.attack.to_owned(),
        },
        None => ProbeAnswer::Passed {
            summary: "Only numbers of groups leave, and attacks on them do as well as a coin."
                .to_owned(),
            facts,
        },
    }
}
