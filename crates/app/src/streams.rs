//! Declarations of sensor streams (promise P04): which streams there are and what counts for each,
//! and declaring them, one or many in one act. A declaration opens or closes a stream with its
//! whole history: nothing is copied and nothing is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind, Reach, Resource};
use veritwin_domain::{Declaration, DeviceId, Key, OpContext, Timestamp, find_unseen};
use veritwin_governance::streams::{DeviceStatements, Ground, Statement, Subject, Verdict};
use veritwin_metastore::{Device, TenantTx};

use crate::access::place_of;
use crate::activity::actor_text;
use crate::directory::TenantDevices;
use crate::model::{
    DeclarationInput, Page, PageRequest, StreamActView, StreamCounts, StreamPage, StreamQuery,
    StreamState, StreamSubject, StreamTarget, StreamView,
};
use crate::records::{Names, names};
use crate::rights::bounded;
use crate::sight::Sight;
use crate::stream_acts::{Act, Said, Step};
use crate::stream_book::{StreamBook, said_in, say_in};
use crate::{App, Error, Result};

/// Most streams and devices that one act declares.
const TARGETS_MAX: usize = 500;
/// Most streams of one device that something is said of by themselves.
pub(crate) const STREAMS_SAID_MAX: usize = 1024;
/// Most statements about devices and their streams that a tenant adds to.
pub(crate) const STATEMENTS_MAX: usize = 100_000;
/// Devices whose streams are judged before others have their turn.
const DEVICES_AT_ONCE: usize = 256;
/// Longest name of the person whose device it is, in characters.
pub(crate) const PERSON_CHARS_MAX: usize = 200;

/// Where somebody may do something with streams: where they may do it, and see what is personal.
pub(crate) struct Among {
    pub(crate) reach: Reach,
    pub(crate) sight: Sight,
    pub(crate) devices: Arc<TenantDevices>,
}

impl Among {
    pub(crate) fn has(&self, device: &Device) -> bool {
        self.reach.covers(place_of(device)) && self.sight.sees_personal_of(device)
    }

    pub(crate) fn device(&self, id: DeviceId) -> Option<&Arc<Device>> {
        self.devices.get(id).filter(|device| self.has(device))
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.reach.is_whole() && self.sight.sees_everything()
    }
}

/// Whose data it is, as people see it.
pub(crate) fn shown(subject: &Subject, said: Option<&DeviceStatements>) -> StreamSubject {
    match subject {
        Subject::Device => {
            StreamSubject::Device { person: said.and_then(|said| said.person.clone()) }
        }
        Subject::Field { key } => StreamSubject::Field { key: key.clone() },
    }
}

/// Checks whose data something is declared to be; gives it as it is stored.
pub(crate) fn checked(
    declaration: Declaration,
    subject: Option<&StreamSubject>,
) -> Result<Option<Subject>> {
    let Some(subject) = subject else {
        if declaration == Declaration::Personal {
            let detail = "a personal stream names whose data it is: kind device or field";
            return Err(Error::invalid_at("subject", detail));
        }
        return Ok(None);
    };
    if declaration != Declaration::Personal {
        return Err(Error::invalid_at("subject", "only a personal stream has one"));
    }
    Ok(Some(match subject {
        StreamSubject::Device { person } => {
            let person = person.as_deref().unwrap_or("-");
            let count = person.trim().chars().count();
            if count == 0 || count > PERSON_CHARS_MAX || find_unseen(person).is_some() {
                let detail = format!("needs 1 to {PERSON_CHARS_MAX} visible characters");
                return Err(Error::invalid_at("subject.person", detail));
            }
            Subject::Device
        }
        StreamSubject::Field { key } => {
            let key = Key::new(key)
                .map_err(|error| Error::invalid_at("subject.field", error.to_string()))?;
            Subject::Field { key: key.to_string() }
        }
    }))
}

/// Whose data a stream is. With nothing else said, what is personal with its device is that of
/// its person.
pub(crate) fn subject_of(
    verdict: &Verdict<'_>,
    said: Option<&DeviceStatements>,
) -> Option<StreamSubject> {
    let is_of_device =
        verdict.declaration == Declaration::Personal && verdict.ground == Ground::Device;
    let named = verdict.statement.and_then(|one| one.subject.as_ref());
    named.or(is_of_device.then_some(&Subject::Device)).map(|subject| shown(subject, said))
}

fn is_wanted(state: StreamState, verdict: &Verdict<'_>) -> bool {
    match state {
        StreamState::Waiting => verdict.waits(),
        StreamState::Personal => verdict.declaration == Declaration::Personal,
        StreamState::NonPersonal => verdict.is_open(),
        StreamState::All => true,
    }
}

fn count(counts: &mut StreamCounts, verdict: &Verdict<'_>) {
    counts.waiting += usize::from(verdict.waits());
    counts.personal += usize::from(verdict.declaration == Declaration::Personal);
    counts.non_personal += usize::from(verdict.is_open());
}

fn view(device: &Device, key: Key, sight: &Sight, names: &Names) -> StreamView {
    let verdict = sight.verdict(device, Some(&key));
    let said = sight.book().said(device.id);
    let by = verdict.statement.map(|one| one.by.clone());
    StreamView {
        device: device.id,
        device_name: device.name.as_str().into(),
        device_type: device.kind.as_str().into(),
        declaration: verdict.declaration,
        ground: verdict.ground.as_str(),
        rule: match verdict.ground {
            Ground::Rule(id) => Some(id),
            _ => None,
        },
        subject: subject_of(&verdict, said),
        declared_at: verdict.statement.map(|one| Timestamp::from_micros(one.at_us)),
        declared_by: by.map(|by| names.get(&by).cloned().unwrap_or(by)),
        key,
    }
}

/// Lets others have their turn, once in a while.
pub(crate) async fn make_room(turn: usize) {
    if turn % DEVICES_AT_ONCE == DEVICES_AT_ONCE - 1 {
        tokio::task::yield_now().await;
    }
}

/// Where a page of streams goes on: behind a series of a device.
pub(crate) fn behind(cursor: &str) -> Result<(DeviceId, &str)> {
    let wrong = || Error::invalid_at("cursor", "must be one that a page gave");
    let (device, key) = cursor.split_once('/').ok_or_else(wrong)?;
    Ok((device.parse().map_err(|_| wrong())?, key))
}

fn unique(targets: Vec<StreamTarget>) -> Result<BTreeMap<DeviceId, BTreeSet<Option<Key>>>> {
    if targets.is_empty() {
        return Err(Error::invalid_at("targets", "name at least one stream or device"));
    }
    bounded("targets_max", TARGETS_MAX, targets.len())?;
    let mut by_device: BTreeMap<DeviceId, BTreeSet<Option<Key>>> = BTreeMap::new();
    for StreamTarget { device, key } in targets {
        by_device.entry(device).or_default().insert(key);
    }
    Ok(by_device)
}

/// Refuses what would add to more statements than a tenant keeps. What is there is declared anew
/// without a bound.
fn bound_statements(
    book: &StreamBook,
    targets: &BTreeMap<DeviceId, BTreeSet<Option<Key>>>,
) -> Result<()> {
    let added = |(id, keys): (&DeviceId, &BTreeSet<Option<Key>>)| {
        let said = book.said(*id);
        let is_new = |key: &&Key| said.is_none_or(|said| !said.streams.contains_key(&***key));
        usize::from(said.is_none()) + keys.iter().flatten().filter(is_new).count()
    };
    match targets.iter().map(added).sum::<usize>() {
        0 => Ok(()),
        added => bounded("statements_max", STATEMENTS_MAX, book.statements() + added),
    }
}

impl App {
    /// Where the actor may do something with streams.
    pub(crate) async fn among(&self, context: &OpContext, action: Action) -> Result<Among> {
        let reach = self.reach(context, action, Kind::Telemetry)?;
        let sight = self.sight(context).await?;
        Ok(Among { reach, sight, devices: self.tenant_devices(context).await? })
    }

    pub(crate) async fn names_of(&self, context: &OpContext) -> Result<Names> {
        names(&self.0.store.read(context).await?).await
    }

    /// Lists streams with what counts for them, by device; with the first page how many there are
    /// in each state.
    #[boxed]
    pub async fn list_streams(
        &self,
        context: &OpContext,
        query: &StreamQuery,
        page: &PageRequest,
    ) -> Result<StreamPage> {
        let among = self.among(context, Action::StreamRead).await?;
        let resource = Resource::all(context.tenant, Kind::Telemetry);
        let behind = page.cursor.as_deref().map(behind).transpose()?;
        let names = self.names_of(context).await?;
        let is_asked = |id: DeviceId| query.device.is_none_or(|wanted| wanted == id);
        let is_left = |id: DeviceId| behind.is_none_or(|(from, _)| from <= id);
        let mut devices: Vec<&Arc<Device>> =
            among.devices.all().filter(|one| among.has(one) && is_asked(one.id)).collect();
        devices.retain(|one| is_left(one.id));
        devices.sort_by_key(|one| one.id);
        let (mut counts, mut items, mut next_cursor) = (StreamCounts::default(), Vec::new(), None);
        'devices: for (turn, device) in devices.into_iter().enumerate() {
            make_room(turn).await;
            let mut keys = self.streams_of(context.tenant, device.id)?;
            keys.sort();
            for key in keys {
                if behind.is_some_and(|(from, last)| from == device.id && *key <= *last) {
                    continue;
                }
                let verdict = among.sight.verdict(device, Some(&key));
                count(&mut counts, &verdict);
                if !is_wanted(query.state, &verdict) {
                    continue;
                }
                if items.len() < page.rows() {
                    items.push(view(device, key, &among.sight, &names));
                } else if next_cursor.is_none() {
                    let last: Option<&StreamView> = items.last();
                    next_cursor = last.map(|last| format!("{}/{}", last.device, last.key));
                    if behind.is_some() {
                        break 'devices;
                    }
                }
            }
        }
        self.note(context, Action::StreamRead, &resource, "done");
        let counts = behind.is_none().then_some(counts);
        Ok(StreamPage { page: Page { items, next_cursor }, counts })
    }

    /// Declares streams and devices, all of them or none.
    #[boxed]
    pub async fn declare_streams(
        &self,
        context: &OpContext,
        input: DeclarationInput,
    ) -> Result<StreamActView> {
        let among = self.among(context, Action::StreamDeclare).await?;
        let subject = checked(input.declaration, input.subject.as_ref())?;
        let person = match &input.subject {
            Some(StreamSubject::Device { person }) => person.clone(),
            _ => None,
        };
        let statement = (input.declaration != Declaration::Undeclared).then(|| Statement {
            is_personal: input.declaration == Declaration::Personal,
            subject,
            by: actor_text(&context.actor.kind),
            at_us: context.at.as_micros(),
        });
        let targets = unique(input.targets)?;
        if targets.keys().any(|id| among.device(*id).is_none()) {
            return Err(Error::NotFound("device"));
        }
        if statement.is_some() {
            bound_statements(among.sight.book(), &targets)?;
        }
        let tx = self.0.store.begin(context).await?;
        let mut steps = Vec::new();
        for (id, keys) in targets {
            let said = (statement.as_ref(), person.as_deref());
            steps.extend(declare(&tx, &among, id, keys, said).await?);
        }
        let act = Act { by: actor_text(&context.actor.kind), steps };
        self.finish_act(tx, context, &among, act).await
    }
}

/// Declares streams of one device, or the device as a whole.
async fn declare(
    tx: &TenantTx,
    among: &Among,
    id: DeviceId,
    keys: BTreeSet<Option<Key>>,
    (statement, person): (Option<&Statement>, Option<&str>),
) -> Result<Vec<Step>> {
    let mut device = tx.device(id).await?;
    // It may have moved since it was looked up.
    if !among.has(&device) {
        return Err(Error::NotFound("device"));
    }
    let mut said = said_in(tx, id).await?;
    let mut steps = Vec::with_capacity(keys.len());
    let stood = device.declaration;
    let names_itself = |key: &Key| {
        let subject = statement.and_then(|one| one.subject.as_ref());
        matches!(subject, Some(Subject::Field { key: field }) if **field == **key)
    };
    for key in keys {
        if key.as_ref().is_some_and(names_itself) {
            let detail = "a stream cannot name its own subject: name another series";
            return Err(Error::invalid_at("subject.field", detail));
        }
        let key = key.map(|key| key.to_string());
        let before = Said::of(&device, &said, key.as_deref());
        let after = Said {
            declaration: statement.map_or(Declaration::Undeclared, Statement::declaration),
            statement: statement.cloned(),
            person: person.map(str::to_owned).or_else(|| before.person.clone()),
        };
        after.put(&mut device, &mut said, key.as_deref());
        steps.push(Step::stream(id, key, before, after));
    }
    bounded("streams_said_max", STREAMS_SAID_MAX, said.streams.len())?;
    if device.declaration != stood {
        tx.device_update(&device, None).await?;
    }
    say_in(tx, id, &said).await?;
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_tenant_adds_no_more_statements_than_the_bound() {
        let (known, new) = (DeviceId::from_bytes([1; 16]), DeviceId::from_bytes([2; 16]));
        let statement =
            Statement { is_personal: false, subject: None, by: "user:1".to_owned(), at_us: 1 };
        let mut said = DeviceStatements::default();
        said.streams.insert("flow".to_owned(), statement);
        let check = |statements: usize, id: DeviceId, keys: &[Option<&str>], fits: bool| {
            let book = StreamBook::counting(statements, HashMap::from([(known, said.clone())]));
            let keys = keys.iter().map(|key| key.map(|key| Key::new(key).expect("a key")));
            let asked = bound_statements(&book, &BTreeMap::from([(id, keys.collect())]));
            assert_eq!(asked.is_ok(), fits, "{statements} {id}");
        };
        check(STATEMENTS_MAX - 1, known, &[Some("heat")], true);
        check(STATEMENTS_MAX, known, &[Some("flow"), None], true);
        check(STATEMENTS_MAX + 9, known, &[Some("flow")], true);
        check(STATEMENTS_MAX, known, &[Some("flow"), Some("heat")], false);
        check(STATEMENTS_MAX - 1, new, &[None], true);
        check(STATEMENTS_MAX - 1, new, &[Some("heat")], false);
        check(STATEMENTS_MAX, new, &[None], false);
    }
}
