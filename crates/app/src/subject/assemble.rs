//! Everything that the stores hold about one person: nothing of anybody else, and nothing that
//! somebody could sign in with. Each store's part is one function.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use serde_json::{Map, Value, json};
use veritwin_domain::{
    ActorKind, DeviceId, Key, MessageId, OpContext, RequestId, Timestamp, Value as Reading,
};
use veritwin_governance::OptionalField;
use veritwin_metastore::{
    ActivityFilter, PersonRow, RegisterKind, Shown, StoredCase, User, every_row,
};
use veritwin_telemetry::{Point, TimeRange};

use super::bundle::BUNDLE_BYTES_MAX;
use super::{Assembler, STORES, Subject, SubjectStore};
use crate::activity::{Details, Envelope};
use crate::cases::body::Case;
use crate::model::StreamSubject;
use crate::registers::Fields;
use crate::rights::bounded;
use crate::stream_book::stored;
use crate::stream_subjects::names;
use crate::streams::subject_of;
use crate::{App, Error, Result};

/// Most rows of one table that one copy holds.
const ROWS_MAX: u64 = 100_000;
/// Most readings of one person that one copy holds.
const READINGS_MAX: usize = 1_000_000;

/// A reading about somebody.
pub(super) struct PersonReading {
    pub(super) device: DeviceId,
    pub(super) device_name: Arc<str>,
    pub(super) key: Key,
    pub(super) point: Point,
}

/// What was found.
#[derive(Default)]
pub(super) struct Assembled {
    /// By store.
    pub(super) sections: Vec<(&'static str, Vec<Value>)>,
    pub(super) readings: Vec<PersonReading>,
}

#[cfg(feature = "test-controls")]
impl Assembled {
    /// P44: a copy that lacks a reading.
    pub(super) fn without_newest(mut self) -> Self {
        self.readings.pop();
        self
    }
}

fn damaged(_: serde_json::Error) -> Error {
    Error::Internal("what is kept of somebody is damaged".to_owned())
}

/// A copy that was cut would say that it is all.
fn whole_or_none((_, is_cut): (usize, bool)) -> Result<()> {
    bounded("subject_readings_max", READINGS_MAX, READINGS_MAX + usize::from(is_cut))
}

/// About how much memory a reading takes.
fn size_of_reading(point: &Point) -> usize {
    let text = match &point.value {
        Reading::Text(text) | Reading::Json(text) => text.len(),
        Reading::Double(_) | Reading::Integer(_) | Reading::Boolean(_) => 0,
    };
    text + size_of::<PersonReading>()
}

fn shown(value: Shown) -> Value {
    match value {
        Shown::Word(word) => Value::from(word),
        Shown::Time(at) => Value::from(at.to_string()),
        Shown::Number(number) => Value::from(number),
        Shown::Flag(flag) => Value::from(flag),
        Shown::Id(id) => Value::from(RequestId::from_bytes(id).to_string()),
    }
}

fn row(row: PersonRow) -> Value {
    let mut members = Map::new();
    members.insert("table".to_owned(), Value::from(row.table));
    for (name, cell) in row.cells {
        members.insert(name.to_owned(), shown(cell));
    }
    Value::Object(members)
}

fn account(user: &User) -> Value {
    json!({
        "id": user.id.to_string(),
        "email": user.email,
        "name": user.name,
        "email_verified_at": user.email_verified_at.map(|at| at.to_string()),
        "attested_at": user.attestation.as_ref().map(|one| one.at.to_string()),
        "has_password": user.password_hash.is_some(),
        "disabled": user.disabled,
        "created_at": user.created_at.to_string(),
    })
}

impl App {
    /// Everything about a person in a tenant, store by store.
    #[boxed]
    pub(super) async fn assemble(
        &self,
        context: &OpContext,
        subject: &Subject,
    ) -> Result<Assembled> {
        let subject = &self.present(context, subject).await?;
        let mut found = Assembled::default();
        for store in STORES {
            let rows = match store.assembler {
                Assembler::Account => self.assemble_account(context, subject).await?,
                Assembler::Rows => self.assemble_rows(context, subject, store).await?,
                Assembler::SignIn => self.assemble_sign_in(context, subject, store).await?,
                Assembler::Rules => self.assemble_rules(context, subject).await?,
                Assembler::Devices => self.assemble_devices(context, subject).await?,
                Assembler::Records => self.assemble_records(context, subject).await?,
                Assembler::Mails => self.assemble_mails(context, subject).await?,
                Assembler::Messages => self.assemble_messages(context, subject).await?,
                Assembler::Requests => self.assemble_requests(context, subject).await?,
                Assembler::Consents => self.assemble_consents(context, subject).await?,
                Assembler::Registers => self.assemble_registers(context, subject).await?,
                Assembler::Declarations => self.assemble_declarations(context, subject).await?,
                Assembler::Readings => {
                    found.readings = self.assemble_readings(context, subject).await?;
                    continue;
                }
                Assembler::Nothing(_) => continue,
            };
            found.sections.push((store.name, rows));
        }
        Ok(found)
    }

    /// The same person; the account only while it is one of the tenant's.
    async fn present(&self, context: &OpContext, subject: &Subject) -> Result<Subject> {
        let Some(user) = subject.user else { return Ok(subject.clone()) };
        let tx = self.0.store.read(context).await?;
        let is_member = crate::error::found(tx.member(user).await)?.is_some();
        Ok(Subject { user: is_member.then_some(user), ..subject.clone() })
    }

    async fn assemble_account(&self, context: &OpContext, subject: &Subject) -> Result<Vec<Value>> {
        let Some(user) = subject.user else { return Ok(Vec::new()) };
        let tx = self.0.store.read_platform(&self.above(context)).await?;
        let Some(found) = crate::error::found(tx.user(user).await)? else { return Ok(Vec::new()) };
        let mut row = account(&found);
        row["language"] = json!(tx.user_language(user).await?.map(|one| one.as_str()));
        Ok(vec![row])
    }

    async fn assemble_rows(
        &self,
        context: &OpContext,
        subject: &Subject,
        store: &SubjectStore,
    ) -> Result<Vec<Value>> {
        let Some(user) = subject.user else { return Ok(Vec::new()) };
        let tx = self.0.store.read(context).await?;
        let mut rows = tx.rows_naming(user, ROWS_MAX).await?;
        drop(tx);
        let tx = self.0.store.read_platform(&self.above(context)).await?;
        rows.extend(tx.rows_naming(user, ROWS_MAX).await?);
        drop(tx);
        rows.retain(|one| store.tables.contains(&one.table));
        let mut shown = if store.tables.contains(&"support_tickets") {
            self.words_of(context, user, &rows).await?
        } else if store.tables.contains(&"sessions") {
            self.sign_ins_of(context, user).await?
        } else {
            Vec::new()
        };
        shown.extend(rows.into_iter().map(row));
        Ok(shown)
    }

    async fn assemble_sign_in(
        &self,
        context: &OpContext,
        subject: &Subject,
        store: &SubjectStore,
    ) -> Result<Vec<Value>> {
        let mut rows = self.assemble_rows(context, subject, store).await?;
        rows.extend(self.assemble_invitations(context, subject).await?);
        Ok(rows)
    }

    async fn assemble_records(&self, context: &OpContext, subject: &Subject) -> Result<Vec<Value>> {
        let Some(user) = subject.user else { return Ok(Vec::new()) };
        self.flush_activity().await;
        let tx = &self.0.store.read(context).await?;
        let filter = &ActivityFilter { actor: Some(*user.as_bytes()), ..ActivityFilter::default() };
        let records = every_row(|page| async move { tx.activity(filter, &page).await }).await?;
        let shown = |record: veritwin_metastore::Activity| {
            let envelope: Envelope = serde_json::from_slice(&record.envelope).map_err(damaged)?;
            let details = record.details.as_deref().map(serde_json::from_slice::<Details>);
            let details = details.transpose().map_err(damaged)?.unwrap_or_default();
            Ok(json!({
                "at": record.at.to_string(),
                "action": envelope.action,
                "outcome": envelope.outcome,
                "address": envelope.address,
                "browser": envelope.browser,
                "system": envelope.system,
                "country": envelope.country,
                "city": envelope.city,
                "resource": details.resource,
            }))
        };
        records.into_iter().map(shown).collect()
    }

    async fn assemble_messages(
        &self,
        context: &OpContext,
        subject: &Subject,
    ) -> Result<Vec<Value>> {
        let Some(email) = &subject.email else { return Ok(Vec::new()) };
        let messages = self.messages_from(context, email).await?;
        let shown = |(_, at, text): (MessageId, Timestamp, String)| {
            let at = at.to_string();
            json!({"at": at, "from": email, "text": text})
        };
        Ok(messages.into_iter().map(shown).collect())
    }

    /// The cases of somebody: of the account, or of the address.
    pub(super) async fn cases_about(
        &self,
        context: &OpContext,
        subject: &Subject,
    ) -> Result<Vec<Case>> {
        let tx = &self.0.store.read(context).await?;
        let index = subject.email.as_deref().and_then(|email| tx.subject_index(email).ok());
        let rows = every_row(|page| async move { tx.cases(false, &page).await }).await?;
        let is_theirs = |one: &StoredCase| {
            let by_account = subject.user.is_some() && one.user == subject.user;
            by_account || (index.is_some() && one.address == index)
        };
        let read = rows.into_iter().filter(is_theirs).map(Case::read);
        let cases = read.collect::<Result<Vec<Case>>>()?;
        // An index stands for several addresses that differ in letters beyond ASCII.
        let is_named = |one: &Case| {
            let by_account = subject.user.is_some() && one.row.user == subject.user;
            by_account || subject.email.as_deref().is_some_and(|email| one.is_of(email))
        };
        Ok(cases.into_iter().filter(is_named).collect())
    }

    async fn assemble_requests(
        &self,
        context: &OpContext,
        subject: &Subject,
    ) -> Result<Vec<Value>> {
        let shown = |case: Case| {
            json!({
                "id": case.row.id.to_string(),
                "right": case.row.kind.as_str(),
                "state": case.row.state.as_str(),
                "received_at": case.row.received_at.to_string(),
                "answer_by": case.row.answer_by.to_string(),
                "email": case.body.email,
                "text": case.body.text,
                "answer": case.body.answer,
                "refusal": case.body.refusal.map(|one| one.reason),
            })
        };
        let mut rows: Vec<Value> =
            self.cases_about(context, subject).await?.into_iter().map(shown).collect();
        if let Some(user) = subject.user {
            let tx = self.0.store.read(context).await?;
            let named = tx.rows_naming(user, ROWS_MAX).await?;
            rows.extend(named.into_iter().filter(|one| one.table == "rights_limits").map(row));
        }
        Ok(rows)
    }

    /// What somebody agreed to, with the signed records, and the fields that rest on it. What
    /// stands in a field is shown to its person alone.
    async fn assemble_consents(
        &self,
        context: &OpContext,
        subject: &Subject,
    ) -> Result<Vec<Value>> {
        let Some(user) = subject.user else { return Ok(Vec::new()) };
        let is_own = match context.actor.kind {
            ActorKind::User { user: asking, .. } => asking == user,
            ActorKind::Anonymous => true,
            _ => false,
        };
        let tx = self.0.store.read_platform(&self.above(context)).await?;
        let mut rows = Vec::new();
        for field in OptionalField::ALL {
            if let Some(value) = tx.account_field(user, field.as_str()).await? {
                let value = is_own.then_some(value);
                rows.push(json!({"field": field.as_str(), "value": value}));
            }
        }
        for one in tx.consents_of(user, ROWS_MAX).await? {
            rows.push(json!({
                "purpose": one.purpose,
                "version": one.purpose_version,
                "decision": one.decision.as_str(),
                "channel": one.channel.as_str(),
                "at": one.at.to_string(),
                "record": String::from_utf8_lossy(&one.record),
            }));
        }
        let told = tx.rows_naming(user, ROWS_MAX).await?.into_iter();
        rows.extend(told.filter(|one| one.table == "notice_receipts").map(row));
        drop(tx);
        let tx = self.0.store.read(context).await?;
        let waiting = tx.rows_naming(user, ROWS_MAX).await?.into_iter();
        rows.extend(waiting.filter(|one| one.table == "sms_queue").map(row));
        Ok(rows)
    }

    /// What somebody entered or approved, and the details that they gave.
    async fn assemble_registers(
        &self,
        context: &OpContext,
        subject: &Subject,
    ) -> Result<Vec<Value>> {
        let named = (subject.email.as_deref(), subject.person.as_deref());
        let given = self.opt_ins_of(context, named).await?.into_iter().map(|one| {
            json!({
                "register": "opt_in",
                "identity": one.identity,
                "agreed_at": one.agreed_at.to_string(),
                "how": one.how,
                "text": one.text,
                "records": one.records,
                "name": one.details.name,
                "email": one.details.email,
                "phone": one.details.phone,
                "address": one.details.address,
            })
        });
        let mut rows: Vec<Value> = given.collect();
        let Some(user) = subject.user.map(|user| user.to_string()) else { return Ok(rows) };
        let tx = self.0.store.read(context).await?;
        for kind in RegisterKind::ALL.iter().filter(|kind| **kind != RegisterKind::OptIn) {
            for entry in tx.register_entries(*kind).await? {
                if Fields::read(&entry.body).is_ok_and(|fields| fields.names(&user)) {
                    rows.push(json!({
                        "register": kind.as_str(),
                        "state": entry.state.as_str(),
                        "at": entry.created_at.to_string(),
                    }));
                }
            }
        }
        Ok(rows)
    }

    async fn assemble_declarations(
        &self,
        context: &OpContext,
        subject: &Subject,
    ) -> Result<Vec<Value>> {
        let Some(person) = &subject.person else { return Ok(Vec::new()) };
        let devices = self.tenant_devices(context).await?;
        let tx = &self.0.store.read(context).await?;
        let mut found = Vec::new();
        for row in every_row(|page| async move { tx.stream_statements(&page).await }).await? {
            let said: veritwin_governance::streams::DeviceStatements = stored(&row.body)?;
            if said.person.as_deref().map(str::trim) != Some(person.as_str()) {
                continue;
            }
            let name = devices.get(row.device).map(|device| device.name.clone());
            found.push(json!({
                "device_id": row.device.to_string(), "device": name, "person": person,
            }));
        }
        Ok(found)
    }

    /// The readings that are about a person, stream by stream. Also what they restricted: it is
    /// theirs to see.
    async fn assemble_readings(
        &self,
        context: &OpContext,
        subject: &Subject,
    ) -> Result<Vec<PersonReading>> {
        let Some(person) = &subject.person else { return Ok(Vec::new()) };
        let duty = self.by_duty(context.tenant);
        let sight = self.sight(&duty).await?;
        let devices = self.tenant_devices(&duty).await?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        for (id, key) in self.streams_naming(context, person).await? {
            let Some(device) = devices.get(id) else { continue };
            let Some(seen) = sight.series(device, &key) else { continue };
            let verdict = sight.verdict(device, Some(&key));
            let field = match subject_of(&verdict, sight.book().said(id)) {
                Some(StreamSubject::Field { key }) => Some(key),
                _ => None,
            };
            let times = match field.and_then(|field| Key::new(&field).ok()) {
                None => None,
                Some(field) => {
                    let Some(named) = sight.series(device, &field) else { continue };
                    let mut times = BTreeSet::new();
                    let add = |point: &Point| {
                        if names(&point.value, person) {
                            times.insert(point.at);
                        }
                    };
                    let whole = (TimeRange::ALL, READINGS_MAX);
                    whole_or_none(self.each_point(&named, whole, add).await?)?;
                    Some(times)
                }
            };
            let name: Arc<str> = device.name.as_str().into();
            let take = |point: &Point| {
                let is_theirs = times.as_ref().is_none_or(|times| times.contains(&point.at));
                // What is too much is not held: it is refused below.
                if is_theirs && bytes <= BUNDLE_BYTES_MAX {
                    bytes += size_of_reading(point);
                    found.push(PersonReading {
                        device: id,
                        device_name: Arc::clone(&name),
                        key: key.clone(),
                        point: point.clone(),
                    });
                }
            };
            whole_or_none(self.each_point(&seen, (TimeRange::ALL, READINGS_MAX), take).await?)?;
            bounded("subject_readings_max", READINGS_MAX, found.len())?;
            bounded("subject_copy_bytes_max", BUNDLE_BYTES_MAX, bytes)?;
        }
        Ok(found)
    }
}
