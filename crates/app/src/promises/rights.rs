//! P40, P41 and P44: a person of nobody's tenant has something in every store. A copy holds all of
//! it and nothing of somebody else; what they put right is right wherever it is shown; and the
//! readings of the copy, written a second time, are the same.

use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde_json::{Value as Json, json};
use veritwin_access::jobs;
use veritwin_domain::{
    CaseId, CredentialId, Declaration, DeviceBatch, DeviceId, Key, OpContext, Quality, Reading,
    Role, Secret, Timestamp, UserId, Value,
};
use veritwin_log::Entry;
use veritwin_metastore::{Device, DeviceFilter, Page, StreamStatements, User};
use veritwin_telemetry::{Point, TimeRange};

use super::canary::canary as random_word;
use super::consents::PHONE;
use super::run::InApp;
use super::sign_up::{Guest, answer, fact};
use super::{PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::model::{DeviceInput, OwnCaseInput};
use crate::subject::{Subject, check_copy, readings_of, unzipped};
use crate::{App, Error, Result};

const VERSION: u32 = 1;
/// With every sealed column looked through for what a copy has to hold.
const ACCESS_VERSION: u32 = 3;
/// How the name of every device of these checks begins.
pub(super) const NAME: &str = "rights probe";
/// Most readings of a check that are read.
const READINGS_MAX: usize = 1_000;
/// Stores in which the person's own word or address stands.
const WITH_WORDS: [&str; 11] = [
    "account",
    "sign_in",
    "acts",
    "rules",
    "mails",
    "messages",
    "requests",
    "consents",
    "registers",
    "devices",
    "declarations",
];

/// What was seen, or what is wrong and where.
pub(super) type Found = std::result::Result<Vec<(String, String)>, (String, String)>;

pub(super) fn probes(app: &App) -> [Arc<dyn PlatformProbe>; 3] {
    [
        InApp::shared(
            app,
            40,
            ACCESS_VERSION,
            |app: App| async move { app.check_access_right().await },
        ),
        InApp::shared(app, 41, VERSION, |app: App| async move { app.check_rectified().await }),
        InApp::shared(app, 44, VERSION, |app: App| async move { app.check_portable().await }),
    ]
}

pub(super) fn wrong(summary: &str, place: &str) -> Found {
    Err((summary.to_owned(), place.to_owned()))
}

/// Somebody with something in every store.
pub(super) struct Canary {
    pub(super) context: OpContext,
    pub(super) user: UserId,
    pub(super) email: String,
    /// A word of their own.
    pub(super) word: String,
    /// A word of theirs in what stays as the organisation's.
    pub(super) kept: String,
    pub(super) device: DeviceId,
}

impl Canary {
    pub(super) fn subject(&self) -> Subject {
        let email = Some(self.email.clone());
        Subject { user: Some(self.user), person: email.clone(), email }
    }

    /// What tells of them wherever it stands.
    pub(super) fn traces(&self) -> Vec<String> {
        vec![self.word.clone(), self.email.clone()]
    }
}

pub(super) fn asks(kind: &str, text: &str, purpose: Option<&str>) -> OwnCaseInput {
    OwnCaseInput {
        language: None,
        kind: kind.to_owned(),
        text: Secret::new(text.to_owned()),
        purpose: purpose.map(str::to_owned),
    }
}

pub(super) fn internal(error: impl std::fmt::Display) -> Error {
    Error::Internal(error.to_string())
}

/// The key of the device's readings.
pub(super) fn key() -> Result<Key> {
    Key::new("check").map_err(internal)
}

/// The text of one file of a copy.
fn file(files: &[(String, Vec<u8>)], name: &str) -> String {
    let found = files.iter().find(|(path, _)| path == name);
    found.map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
}

impl App {
    /// Makes somebody, with something in every store.
    pub(super) async fn open_canary(&self) -> Result<Canary> {
        self.open_canary_with(true).await
    }

    /// The same; without readings where nothing could end their destruction.
    #[boxed]
    pub(super) async fn open_canary_with(&self, readings: bool) -> Result<Canary> {
        self.remove_worn_devices().await?;
        let guest = self.sign_up_guest(true).await?;
        let user = guest.signed_in.session.user.id;
        let filled = self.fill_canary(&guest, readings).await;
        if filled.is_err() {
            self.leave_nothing(user).await?;
        }
        filled
    }

    async fn fill_canary(&self, guest: &Guest, readings: bool) -> Result<Canary> {
        let job = self.job_in(jobs::PROMISES, PROBE_TENANT);
        let user = guest.signed_in.session.user.id;
        let word = random_word(self.rng());
        let email = guest.email.expose().clone();
        let tx = self.0.store.begin_platform(&self.job(jobs::PROMISES)).await?;
        let account = tx.user(user).await?;
        let (name, email_verified_at) = (Some(word.clone()), Some(job.at));
        tx.user_update(&User { name, email_verified_at, ..account }, None).await?;
        tx.commit().await?;
        // Nobody's tenant has another administrator, who stays.
        let tx = self.0.store.begin(&job).await?;
        tx.member_roles_set(user, &[Role::Viewer]).await?;
        tx.commit().await?;
        self.access_changed(PROBE_TENANT);
        self.0.logins.forget_all();
        let context = self.guest_context(&guest.signed_in).await?;
        let device = self.wear_device(&email).await?;
        if readings {
            self.write_points(device, &word).await?;
        }
        let kept = random_word(self.rng());
        let canary = Canary { context, user, email, word, kept, device };
        self.write_canary_rows(&canary).await?;
        Ok(canary)
    }

    /// A device that is said to be somebody's.
    async fn wear_device(&self, email: &str) -> Result<DeviceId> {
        let maker = self.open_probe_identity(PROBE_TENANT, NAME, Role::Administrator).await?;
        let input = DeviceInput {
            name: format!("{NAME} {}", random_word(self.rng())),
            kind: "probe".to_owned(),
            declaration: Declaration::Personal,
            ..DeviceInput::default()
        };
        let made = self.create_device(&maker.context, input).await;
        self.close_probe_identity(&maker).await?;
        let device = made?.0.id;
        let job = self.job_in(jobs::PROMISES, PROBE_TENANT);
        let body = serde_json::to_vec(&json!({"person": email})).map_err(internal)?;
        let tx = self.0.store.begin(&job).await?;
        tx.stream_statements_put(&StreamStatements { device, body }).await?;
        tx.commit().await?;
        self.limits_changed(PROBE_TENANT);
        Ok(device)
    }

    /// Writes readings of a device, a millisecond apart.
    async fn write_points(&self, device: DeviceId, word: &str) -> Result<()> {
        let (now, key) = (self.clock().now(), key()?);
        let reading = |(text, back): (&str, i64)| Reading {
            key: key.clone(),
            at: Timestamp::from_micros(now.as_micros() - back * 1000),
            value: Value::Text(text.into()),
            quality: Quality::Good,
        };
        let texts = [word, "-1, \"two\"", "three"];
        let readings = texts.into_iter().zip(0..).map(reading).collect();
        self.append_readings(device, readings).await
    }

    async fn append_readings(&self, device: DeviceId, readings: Vec<Reading>) -> Result<()> {
        let batch = DeviceBatch {
            tenant: PROBE_TENANT,
            device,
            credential: CredentialId::from_bytes([0; 16]),
            received_at: self.clock().now(),
            readings,
        };
        self.0.log.append(vec![Entry::from(batch)]).await?;
        Ok(())
    }

    /// Takes everything of a check away again.
    #[boxed]
    pub(super) async fn close_canary(&self, canary: &Canary, kept: Option<CaseId>) -> Result<()> {
        let job = self.job_in(jobs::PROMISES, PROBE_TENANT);
        let tx = self.0.store.read(&job).await?;
        let cases: Vec<CaseId> = {
            let index = tx.subject_index(&canary.email)?;
            let mut theirs = tx.cases_of(canary.user).await?;
            theirs.extend(tx.cases_of_address(index).await?);
            theirs.into_iter().map(|one| one.id).filter(|id| Some(*id) != kept).collect()
        };
        drop(tx);
        let mails = self.mails_to(&job, &canary.email).await?;
        let messages = self.messages_from(&job, &canary.email).await?;
        let ids: Vec<_> = mails.iter().map(|(id, ..)| *id).collect();
        self.forget_sent(&job, &ids).await?;
        for given in self.opt_ins_of(&job, (Some(&canary.email), None)).await? {
            self.drop_opt_in(&job, given.id).await?;
        }
        self.remove_canary_elsewhere(&job, canary).await?;
        self.forget_opt_ins(&job, NAME).await?;
        let tx = self.0.store.begin(&job).await?;
        for id in cases {
            tx.limit_delete(id).await?;
            crate::error::found(tx.case_delete(id).await)?;
        }
        for (id, ..) in mails {
            tx.outbox_remove(id).await?;
        }
        for (id, ..) in messages {
            crate::error::found(tx.contact_delete(id).await)?;
        }
        for ticket in tx.tickets().await? {
            if ticket.opened_by == canary.user {
                tx.ticket_delete(ticket.id).await?;
            }
        }
        tx.commit().await?;
        self.limits_changed(PROBE_TENANT);
        self.remove_worn_device(canary.device).await?;
        self.destroy_of_nobody_now(canary.user).await
    }

    /// The account of a check goes, if an erasure has not taken it already.
    async fn destroy_of_nobody_now(&self, user: UserId) -> Result<()> {
        let tx = self.0.store.read_platform(&self.job(jobs::PROMISES)).await?;
        let is_there = crate::error::found(tx.user(user).await)?.is_some();
        drop(tx);
        if is_there { self.leave_nothing(user).await } else { self.forget_decisions(user).await }
    }

    async fn remove_worn_device(&self, device: DeviceId) -> Result<()> {
        let maker = self.open_probe_identity(PROBE_TENANT, NAME, Role::Administrator).await?;
        let gone = self.delete_device(&maker.context, device).await;
        self.close_probe_identity(&maker).await?;
        match gone {
            Err(Error::NotFound(_)) => Ok(()),
            other => other,
        }
    }

    /// Devices that a check left which was cut short. Those of another that runs now are younger.
    async fn remove_worn_devices(&self) -> Result<()> {
        self.ensure_probe_tenant().await?;
        let job = self.job_in(jobs::PROMISES, PROBE_TENANT);
        let tx = self.0.store.read(&job).await?;
        let filter = DeviceFilter { search: Some(NAME.to_owned()), twin: None, among: None };
        let left = tx.devices(&filter, &Page::whole()).await?.items;
        drop(tx);
        let is_left = |one: &Device| {
            let age = job.at.since(one.created_at);
            one.name.starts_with(NAME) && age > Duration::from_secs(3_600)
        };
        for device in left.into_iter().filter(is_left) {
            self.remove_worn_device(device.id).await?;
        }
        Ok(())
    }

    pub(super) async fn copy_of(&self, canary: &Canary) -> Result<Vec<(String, Vec<u8>)>> {
        let bundle = self.subject_bundle(&canary.context, &canary.subject()).await?;
        check_copy(&bundle.bytes).map_err(|what| internal(format!("a copy is damaged: {what}")))?;
        Ok(unzipped(&bundle.bytes))
    }

    async fn check_access_right(&self) -> Result<ProbeAnswer> {
        let one = self.open_canary().await?;
        let other = self.open_canary().await;
        let walked = match &other {
            Ok(other) => self.walk_copy(&one, other).await,
            Err(_) => Ok(wrong("There is nobody else.", "sign-up")),
        };
        self.close_canary(&one, None).await?;
        self.close_canary(&other?, None).await?;
        Ok(answer(walked?, "A copy holds everything of its person, and nothing of anybody else."))
    }

    async fn walk_copy(&self, one: &Canary, other: &Canary) -> Result<Found> {
        let files = self.copy_of(one).await?;
        let data: Json = serde_json::from_str(&file(&files, "data.json")).map_err(internal)?;
        for store in WITH_WORDS {
            let text = data["stores"][store].to_string();
            let holds = match store {
                "consents" => text.contains(PHONE),
                "acts" => text.contains(&one.kept),
                "declarations" | "rules" | "sign_in" => text.contains(&one.email),
                "mails" => text.contains(&one.word) && text.contains("sent_mails"),
                _ => text.contains(&one.word),
            };
            if !holds {
                let summary = "A copy lacks something that is kept of its person.";
                return Ok(wrong(summary, &format!("store {store}")));
            }
        }
        for store in ["memberships", "records"] {
            if data["stores"][store].as_array().is_none_or(Vec::is_empty) {
                let summary = "A copy lacks what refers to its person.";
                return Ok(wrong(summary, &format!("store {store}")));
            }
        }
        if let Some(place) = self.left_out(one, &data).await? {
            return Ok(wrong("A copy lacks a store in which its person stands.", &place));
        }
        if !file(&files, "readings.csv").contains(&one.word) {
            return Ok(wrong("A copy lacks readings about its person.", "store readings"));
        }
        let all: String = files.iter().map(|(name, _)| file(&files, name)).collect();
        if all.contains(&other.word) || all.contains(&other.email) {
            return Ok(wrong("A copy holds something of somebody else.", "data.json"));
        }
        Ok(Ok(vec![
            fact("stores with a canary", &(WITH_WORDS.len() + 3).to_string()),
            fact("files", &files.len().to_string()),
        ]))
    }

    async fn check_rectified(&self) -> Result<ProbeAnswer> {
        let canary = self.open_canary().await?;
        let walked = self.walk_rectified(&canary).await;
        self.close_canary(&canary, None).await?;
        Ok(answer(walked?, "A name that was put right is right wherever it is shown."))
    }

    async fn walk_rectified(&self, canary: &Canary) -> Result<Found> {
        let right = format!("right {}", canary.word);
        let name = Secret::new(right.clone());
        self.change_profile(&canary.context, Some(&name), None).await?;
        let tx = self.0.store.read(&canary.context).await?;
        let shown = tx.member(canary.user).await?.user.name;
        drop(tx);
        if shown.as_deref() != Some(right.as_str()) {
            return Ok(wrong("The list of people shows a name that was put right.", "table users"));
        }
        let files = self.copy_of(canary).await?;
        let data: Json = serde_json::from_str(&file(&files, "data.json")).map_err(internal)?;
        if data["stores"]["account"][0]["name"] != right {
            return Ok(wrong("A copy holds a name that was put right.", "data.json"));
        }
        Ok(Ok(vec![fact("looked at", "the account, the list of people, a copy")]))
    }

    async fn check_portable(&self) -> Result<ProbeAnswer> {
        let canary = self.open_canary().await?;
        let walked = self.walk_portable(&canary).await;
        self.close_canary(&canary, None).await?;
        Ok(answer(
            walked?,
            "A copy is what its schema says, and its readings can be written again.",
        ))
    }

    async fn walk_portable(&self, canary: &Canary) -> Result<Found> {
        let files = self.copy_of(canary).await?;
        let parse = |name: &str| serde_json::from_str::<Json>(&file(&files, name));
        let (Ok(data), Ok(schema)) = (parse("data.json"), parse("schema.json")) else {
            return Ok(wrong("A copy is no JSON.", "data.json"));
        };
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let mut named = required.iter().filter_map(Json::as_str);
        if required.is_empty() || !named.all(|name| !data[name].is_null()) {
            return Ok(wrong("A copy lacks what its schema asks for.", "data.json"));
        }
        let known = &schema["properties"]["stores"]["properties"];
        let stores = data["stores"].as_object().cloned().unwrap_or_default();
        if let Some(store) = stores.keys().find(|store| known[store.as_str()].is_null()) {
            return Ok(wrong("A copy has a store without a schema.", &format!("store {store}")));
        }
        let Some(read) = readings_of(&file(&files, "readings.csv")) else {
            return Ok(wrong("The readings of a copy cannot be read.", "readings.csv"));
        };
        // A second time, as of another device.
        let second = self.wear_device(&canary.email).await?;
        self.write_points(second, "second").await?;
        let written = self.write_again(second, read).await;
        let (first, again) = (self.points_of(canary.device).await?, self.points_of(second).await?);
        self.remove_worn_device(second).await?;
        written?;
        let again: Vec<Point> = again.into_iter().filter(|one| first.contains(one)).collect();
        if first.is_empty() || first != again {
            return Ok(wrong("Readings of a copy are others than before.", "readings.csv"));
        }
        Ok(Ok(vec![
            fact("readings written again", &first.len().to_string()),
            fact("stores in the schema", &stores.len().to_string()),
        ]))
    }

    async fn write_again(&self, device: DeviceId, read: Vec<(DeviceId, Key, Point)>) -> Result<()> {
        let reading = |(_, key, point): (DeviceId, Key, Point)| Reading {
            key,
            at: point.at,
            value: point.value,
            quality: point.quality,
        };
        self.append_readings(device, read.into_iter().map(reading).collect()).await
    }

    pub(super) async fn points_of(&self, device: DeviceId) -> Result<Vec<Point>> {
        let duty = self.by_duty(PROBE_TENANT);
        let sight = self.sight(&duty).await?;
        let devices = self.tenant_devices(&duty).await?;
        let mut points = Vec::new();
        let known = devices.get(device).and_then(|device| sight.series(device, &key().ok()?));
        if let Some(seen) = known {
            let take = |point: &Point| points.push(point.clone());
            self.each_point(&seen, (TimeRange::ALL, READINGS_MAX), take).await?;
        }
        Ok(points)
    }
}
