//! Acts of declaring streams: what was before and what was said, kept so that it can be taken back;
//! and the rules for groups of streams, which are made and taken away by acts too.

use std::collections::HashMap;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{
    Declaration, DeviceId, OpContext, StreamActId, StreamRuleId, Timestamp, find_unseen,
};
use veritwin_governance::streams::{DeviceStatements, Ground, GroupRule, Statement, StreamRules};
use veritwin_metastore::{Device, StreamAct, StreamActHead, TenantTx};

use crate::activity::actor_text;
use crate::change::Change;
use crate::model::{
    Page, PageRequest, StreamActView, StreamRuleInput, StreamRuleView, StreamSubject,
};
use crate::records::{Names, store_page};
use crate::stream_book::{rules_in, stored, to_store};
use crate::stream_heads::{Head, recorded};
use crate::stream_steps::{bound_steps, carry_out};
use crate::streams::{Among, checked, make_room, shown};
use crate::{App, Error, Result};

/// Most acts of a tenant that are kept to be taken back; the oldest go first.
const ACTS_MAX: u64 = 1000;
/// Most rules of a tenant.
pub(crate) const STREAM_RULES_MAX: usize = 200;
/// Longest type and key pattern of a rule, in characters.
const PATTERN_CHARS_MAX: usize = 256;

/// What is said of a stream or a device at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredSaid", into = "StoredSaid")]
pub(crate) struct Said {
    pub(crate) declaration: Declaration,
    pub(crate) statement: Option<Statement>,
    /// Whose device it is.
    pub(crate) person: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct StoredSaid {
    declaration: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    statement: Option<Statement>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    person: Option<String>,
}

impl From<StoredSaid> for Said {
    fn from(stored: StoredSaid) -> Self {
        let StoredSaid { declaration, statement, person } = stored;
        let declaration = Declaration::parse(&declaration).unwrap_or_default();
        Self { declaration, statement, person }
    }
}

impl From<Said> for StoredSaid {
    fn from(said: Said) -> Self {
        let Said { declaration, statement, person } = said;
        Self { declaration: declaration.as_str().to_owned(), statement, person }
    }
}

impl Said {
    /// What is said of a stream now, or of its device as a whole.
    pub(crate) fn of(device: &Device, said: &DeviceStatements, key: Option<&str>) -> Self {
        let person = said.person.clone();
        let Some(key) = key else {
            let (declaration, statement) = (device.declaration, said.whole.clone());
            return Self { declaration, statement, person };
        };
        let statement = said.streams.get(key).cloned();
        let declaration =
            statement.as_ref().map_or(Declaration::Undeclared, Statement::declaration);
        Self { declaration, statement, person }
    }

    /// Says it.
    pub(crate) fn put(&self, device: &mut Device, said: &mut DeviceStatements, key: Option<&str>) {
        said.person.clone_from(&self.person);
        match (key, &self.statement) {
            (None, statement) => {
                device.declaration = self.declaration;
                said.whole.clone_from(statement);
            }
            (Some(key), Some(statement)) => {
                said.streams.insert(key.to_owned(), statement.clone());
            }
            (Some(key), None) => {
                said.streams.remove(key);
            }
        }
    }
}

/// One step of an act.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub(crate) enum Step {
    Stream { device: String, key: Option<String>, before: Said, after: Said },
    Rule { id: String, before: Option<GroupRule>, after: Option<GroupRule> },
}

impl Step {
    pub(crate) fn stream(device: DeviceId, key: Option<String>, before: Said, after: Said) -> Self {
        Self::Stream { device: device.to_string(), key, before, after }
    }

    /// The other way round.
    fn reversed(self) -> Self {
        match self {
            Self::Stream { device, key, before, after } => {
                Self::Stream { device, key, before: after, after: before }
            }
            Self::Rule { id, before, after } => Self::Rule { id, before: after, after: before },
        }
    }
}

/// An act as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Act {
    /// Who, as in the records.
    pub(crate) by: String,
    pub(crate) steps: Vec<Step>,
}

/// What an act is listed by; of one that was stored without, it is made from the whole.
pub(crate) async fn head_of(tx: &TenantTx, row: &StreamActHead) -> Result<Head> {
    match &row.head {
        Some(head) => stored(head),
        None => Ok(Head::of(&stored(&tx.stream_act(row.id).await?.body)?)),
    }
}

fn rule_view(
    (id, rule): (StreamRuleId, &GroupRule),
    names: &Names,
    streams: usize,
) -> StreamRuleView {
    let statement = &rule.statement;
    StreamRuleView {
        id,
        rule: StreamRuleInput {
            device_type: rule.device_type.clone(),
            key: rule.key.clone(),
            declaration: statement.declaration(),
            subject: statement.subject.as_ref().map(|subject| shown(subject, None)),
        },
        declared_at: Timestamp::from_micros(statement.at_us),
        declared_by: names.get(&statement.by).unwrap_or(&statement.by).clone(),
        streams,
    }
}

/// A type or key pattern of a rule; none when it is not given.
fn pattern(field: &str, text: Option<String>) -> Result<Option<String>> {
    let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    if let Some(text) = &text
        && (text.chars().count() > PATTERN_CHARS_MAX || find_unseen(text).is_some())
    {
        let detail = format!("needs 1 to {PATTERN_CHARS_MAX} visible characters");
        return Err(Error::invalid_at(field, detail));
    }
    Ok(text)
}

fn checked_rule(context: &OpContext, input: StreamRuleInput) -> Result<GroupRule> {
    let device_type = pattern("device_type", input.device_type)?;
    let key = pattern("key", input.key)?;
    if device_type.is_none() && key.is_none() {
        return Err(Error::invalid_at("device_type", "name a type, a key, or both"));
    }
    if input.declaration == Declaration::Undeclared {
        return Err(Error::invalid_at("declaration", "must be non_personal or personal"));
    }
    if matches!(&input.subject, Some(StreamSubject::Device { person: Some(_) })) {
        let detail = "a rule is about many devices: name the person with the device";
        return Err(Error::invalid_at("subject.person", detail));
    }
    let statement = Statement {
        is_personal: input.declaration == Declaration::Personal,
        subject: checked(input.declaration, input.subject.as_ref())?,
        by: actor_text(&context.actor.kind),
        at_us: context.at.as_micros(),
    };
    Ok(GroupRule { device_type, key, statement })
}

impl App {
    /// Keeps an act that was carried out in this transaction, with its record, and lets everything
    /// in memory take note of it.
    pub(crate) async fn finish_act(
        &self,
        tx: TenantTx,
        context: &OpContext,
        among: &Among,
        act: Act,
    ) -> Result<StreamActView> {
        let head = Head::of(&act);
        let row = StreamAct {
            id: StreamActId::generate(context.at, self.rng()),
            head: Some(to_store(&head)?),
            body: to_store(&act)?,
            created_at: context.at,
            undone_at: None,
        };
        tx.stream_act_create(&row).await?;
        let over = tx.stream_acts_count().await?.saturating_sub(ACTS_MAX);
        if over > 0 {
            tx.stream_acts_cut(over).await?;
        }
        self.record_act(&tx, context, &act.steps).await?;
        tx.commit().await?;
        self.streams_declared(context);
        let names = self.names_of(context).await?;
        Ok(head.view((row.id, row.created_at), None, (among, &names)))
    }

    /// Records what was done.
    async fn record_act(&self, tx: &TenantTx, context: &OpContext, steps: &[Step]) -> Result<()> {
        let (before, after) = recorded(steps);
        let change = Change::from_to(before, after);
        let resource = Resource::all(context.tenant, Kind::Telemetry);
        self.record_change(tx, context, Action::StreamDeclare, &resource, change).await
    }

    /// What may be read has changed, for open connections too.
    fn streams_declared(&self, context: &OpContext) {
        self.0.stream_books.changed(context.tenant);
        self.note_devices_changed(context.tenant, None);
    }

    /// Acts of declaring, newest first.
    #[boxed]
    pub async fn list_stream_acts(
        &self,
        context: &OpContext,
        page: &PageRequest,
    ) -> Result<Page<StreamActView>> {
        let among = self.among(context, Action::StreamRead).await?;
        let resource = Resource::all(context.tenant, Kind::Telemetry);
        let names = self.names_of(context).await?;
        let tx = self.0.store.read(context).await?;
        let listed = tx.stream_act_heads(&store_page(page)?).await?;
        let mut items = Vec::with_capacity(listed.items.len());
        for row in &listed.items {
            let head = head_of(&tx, row).await?;
            if head.is_among(&among) {
                items.push(head.view((row.id, row.created_at), row.undone_at, (&among, &names)));
            }
        }
        self.note(context, Action::StreamRead, &resource, "done");
        Ok(Page { items, next_cursor: listed.next.map(|cursor| cursor.to_string()) })
    }

    /// Takes an act back: what was said before counts again. Refused where something else was said
    /// since.
    #[boxed]
    pub async fn undo_stream_act(
        &self,
        context: &OpContext,
        id: StreamActId,
    ) -> Result<StreamActView> {
        let among = self.among(context, Action::StreamDeclare).await?;
        let tx = self.0.store.begin(context).await?;
        let row = tx.stream_act(id).await?;
        let act: Act = stored(&row.body)?;
        let head = Head::of(&act);
        if !head.is_among(&among) {
            return Err(Error::NotFound("declaration"));
        }
        if row.undone_at.is_some() {
            return Err(Error::Conflict("it was taken back already".to_owned()));
        }
        let steps: Vec<Step> = act.steps.iter().rev().cloned().map(Step::reversed).collect();
        bound_steps(among.sight.book(), &steps)?;
        let rules = StreamRules::new(rules_in(&tx).await?);
        for step in &steps {
            carry_out(&tx, (&among, &rules), (step, row.created_at), context.at).await?;
        }
        tx.stream_act_undone(id, context.at).await?;
        self.record_act(&tx, context, &steps).await?;
        tx.commit().await?;
        self.streams_declared(context);
        let names = self.names_of(context).await?;
        Ok(head.view((id, row.created_at), Some(context.at), (&among, &names)))
    }

    /// The rules for groups of streams, the most specific first.
    #[boxed]
    pub async fn list_stream_rules(&self, context: &OpContext) -> Result<Vec<StreamRuleView>> {
        let among = self.among(context, Action::StreamRead).await?;
        let resource = Resource::all(context.tenant, Kind::Telemetry);
        let mut counts: HashMap<StreamRuleId, usize> = HashMap::new();
        let devices: Vec<_> = among.devices.all().filter(|device| among.has(device)).collect();
        for (turn, device) in devices.into_iter().enumerate() {
            make_room(turn).await;
            for key in self.streams_of(context.tenant, device.id)? {
                if let Ground::Rule(id) = among.sight.verdict(device, Some(&key)).ground {
                    *counts.entry(id).or_default() += 1;
                }
            }
        }
        let names = self.names_of(context).await?;
        self.note(context, Action::StreamRead, &resource, "done");
        let rules = among.sight.book().rules().iter();
        let streams = |id| counts.get(&id).copied().unwrap_or_default();
        Ok(rules.map(|(id, rule)| rule_view((id, rule), &names, streams(id))).collect())
    }

    /// Makes a rule for a group of streams: those that are there and those that come.
    #[boxed]
    pub async fn create_stream_rule(
        &self,
        context: &OpContext,
        input: StreamRuleInput,
    ) -> Result<StreamRuleView> {
        let among = self.among_everything(context).await?;
        let rule = checked_rule(context, input)?;
        let id = StreamRuleId::generate(context.at, self.rng());
        let step = Step::Rule { id: id.to_string(), before: None, after: Some(rule) };
        self.do_rule(context, &among, step).await?;
        let all = self.list_stream_rules(context).await?;
        all.into_iter().find(|one| one.id == id).ok_or(Error::NotFound("rule"))
    }

    /// Takes a rule away: what rested on it waits for a declaration again.
    #[boxed]
    pub async fn delete_stream_rule(&self, context: &OpContext, id: StreamRuleId) -> Result<()> {
        let among = self.among_everything(context).await?;
        let mut rules = among.sight.book().rules().iter();
        let before = rules.find(|(known, _)| *known == id).map(|(_, rule)| rule.clone());
        let before = Some(before.ok_or(Error::NotFound("rule"))?);
        let step = Step::Rule { id: id.to_string(), before, after: None };
        self.do_rule(context, &among, step).await
    }

    async fn do_rule(&self, context: &OpContext, among: &Among, step: Step) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        let rules = StreamRules::new(rules_in(&tx).await?);
        carry_out(&tx, (among, &rules), (&step, context.at), context.at).await?;
        let act = Act { by: actor_text(&context.actor.kind), steps: vec![step] };
        self.finish_act(tx, context, among, act).await.map(|_| ())
    }

    /// A rule is about every device, so it takes the rights over all of them.
    async fn among_everything(&self, context: &OpContext) -> Result<Among> {
        let among = self.among(context, Action::StreamDeclare).await?;
        if !among.is_whole() {
            let right = if among.reach.is_whole() {
                Action::TelemetryReadPersonal
            } else {
                Action::StreamDeclare
            };
            return Err(Error::Forbidden(format!("{right} on the whole tenant")));
        }
        Ok(among)
    }
}
