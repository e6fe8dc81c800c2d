//! The governance workspace: how its things are kept, and the history that every change leaves in
//! the same transaction. What may follow on what is each kind's own module.

mod breach_notice;
mod breach_owed;
mod breach_places;
mod breach_words;
mod breaches;
mod certificates;
mod controls;
mod due;
mod due_words;
mod evidence;
mod notices;
mod onboarding;
mod oscal_in;
mod oscal_out;
mod policies;
mod risks;
mod shipped;
mod tasks;
mod transfer_words;

use std::collections::HashMap;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{
    ActivityId, ActorKind, GovernanceId, LimitExceeded, OpContext, Timestamp, UserId,
};
use veritwin_metastore::{GovernanceChange, GovernanceItem, GovernanceKind, TenantTx};

use crate::change::Change;
use crate::incidents::people;
use crate::model::{GovernanceChangeView, Governed, Page, PageRequest};
use crate::records::store_page;
use crate::{App, Error, Result};

pub(crate) use breach_owed::ALARM_HOURS;
pub(crate) use certificates::{OWN_STANDARDS, module_certificates, own_standards};
pub use controls::StatementLine;
pub(crate) use due::Told;
pub(crate) use notices::is_on_its_way;
pub use oscal_in::{CATALOGUE_BYTES_MAX, CatalogueFile};

pub(super) const TITLE_CHARS_MAX: usize = 200;
/// Longest text of a policy. Two editions of it, before and after a change, fit a sealed row.
pub(super) const TEXT_CHARS_MAX: usize = 30_000;
pub(super) const NOTE_CHARS_MAX: usize = 4000;
pub(super) const NAME_CHARS_MAX: usize = 200;
/// Most controls that a thing names.
pub(super) const LINKS_MAX: usize = 200;
const POLICIES_MAX: usize = 200;
const RISKS_MAX: usize = 500;
const FRAMEWORKS_MAX: usize = 20;
const EVIDENCE_MAX: usize = 5_000;
const TASKS_MAX: usize = 2_000;
const CERTIFICATES_MAX: usize = 200;
const NOTICES_MAX: usize = 500;
const BREACHES_MAX: usize = 500;

/// Most things of a kind that a tenant has, with the limit's name.
const fn most(kind: GovernanceKind) -> (&'static str, usize) {
    match kind {
        GovernanceKind::Policy => ("policies_max", POLICIES_MAX),
        GovernanceKind::Risk => ("risks_max", RISKS_MAX),
        GovernanceKind::Framework => ("frameworks_max", FRAMEWORKS_MAX),
        GovernanceKind::Control => ("controls_max", controls::CONTROLS_MAX),
        GovernanceKind::Evidence => ("evidence_max", EVIDENCE_MAX),
        GovernanceKind::Task => ("tasks_max", TASKS_MAX),
        GovernanceKind::Certificate => ("certificates_max", CERTIFICATES_MAX),
        GovernanceKind::Notice => ("notices_max", NOTICES_MAX),
        GovernanceKind::Breach => ("breaches_max", BREACHES_MAX),
    }
}

#[derive(Deserialize)]
struct Body<C, F> {
    content: C,
    facts: F,
}

/// A thing as it is stored: what people wrote, and what came of what they did.
pub(crate) struct Thing<C, F> {
    row: GovernanceItem,
    content: C,
    facts: F,
}

/// What a stored content or its facts can do.
pub(crate) trait Part: Serialize + DeserializeOwned + Send + Sync {}
impl<T: Serialize + DeserializeOwned + Send + Sync> Part for T {}

impl<C: Part, F: Part> Thing<C, F> {
    /// A new one.
    fn new(app: &App, context: &OpContext, kind: GovernanceKind, of: (C, F), state: &str) -> Self {
        let row = GovernanceItem {
            id: GovernanceId::generate(context.at, app.rng()),
            kind,
            parent: None,
            state: state.to_owned(),
            body: Vec::new(),
            due_at: None,
            version: 1,
            created_at: context.at,
            updated_at: context.at,
        };
        Self { row, content: of.0, facts: of.1 }
    }

    fn read(mut row: GovernanceItem) -> Result<Self> {
        let damaged = |_| Error::Internal("a thing of the workspace is damaged".to_owned());
        let body: Body<C, F> = serde_json::from_slice(&row.body).map_err(damaged)?;
        row.body = Vec::new();
        Ok(Self { row, content: body.content, facts: body.facts })
    }

    fn packed(&self) -> Result<GovernanceItem> {
        let body = json!({"content": self.content, "facts": self.facts});
        let body = serde_json::to_vec(&body).map_err(|e| Error::Internal(e.to_string()))?;
        Ok(GovernanceItem { body, ..self.row.clone() })
    }

    /// As it stands in a history.
    fn value(&self) -> Value {
        json!({"state": self.row.state, "content": self.content, "facts": self.facts})
    }

    fn view<V>(self, facts: V) -> Governed<C, V> {
        Governed {
            id: self.row.id,
            state: self.row.state,
            version: self.row.version,
            created_at: self.row.created_at,
            updated_at: self.row.updated_at,
            due_at: self.row.due_at,
            content: self.content,
            facts,
        }
    }
}

const DAY: Duration = Duration::from_secs(86_400);
/// How long what is over is kept, by its state: then it goes, with its history. The register of
/// breaches is what an authority asks for (Article 33(5) of the GDPR): it is kept longest.
pub(crate) const ENDED_KEPT: [(GovernanceKind, &[&str], Duration); 6] = [
    (GovernanceKind::Task, &["done"], DAY.saturating_mul(731)),
    (GovernanceKind::Evidence, &["superseded", "expired"], DAY.saturating_mul(731)),
    (GovernanceKind::Notice, &["published"], DAY.saturating_mul(731)),
    (GovernanceKind::Risk, &["closed"], DAY.saturating_mul(1_827)),
    (GovernanceKind::Policy, &["retired"], DAY.saturating_mul(1_827)),
    (GovernanceKind::Breach, &["closed"], DAY.saturating_mul(1_827)),
];

/// Longest text and list that an activity record repeats; the history holds them whole.
const BRIEF_CHARS_MAX: usize = 200;
const BRIEF_ITEMS_MAX: usize = 20;

/// A value with its long texts and lists cut, for the activity records.
fn brief(value: Value) -> Value {
    match value {
        Value::String(text) if text.chars().count() > BRIEF_CHARS_MAX => {
            let begins: String = text.chars().take(BRIEF_CHARS_MAX).collect();
            json!({"begins": begins, "characters": text.chars().count()})
        }
        Value::Array(items) if items.len() > BRIEF_ITEMS_MAX => json!({"items": items.len()}),
        Value::Array(items) => items.into_iter().map(brief).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name, brief(value))).collect()
        }
        other => other,
    }
}

/// Who acts, if it is a person.
pub(super) fn author(context: &OpContext) -> Option<UserId> {
    match context.actor.kind {
        ActorKind::User { user, .. } => Some(user),
        _ => None,
    }
}

/// Who stands behind what is written: a person, or whoever made the key of a program. Nobody writes
/// something with a key and approves it in person.
pub(super) async fn writer(tx: &TenantTx, context: &OpContext) -> Result<Option<UserId>> {
    match context.actor.kind {
        ActorKind::User { user, .. } => Ok(Some(user)),
        ActorKind::ApiKey(key) => Ok(tx.key_makers(&[*key.as_bytes()]).await?.first().copied()),
        _ => Ok(None),
    }
}

/// The name of somebody who may have left.
pub(super) fn name_of(people: &HashMap<UserId, String>, user: UserId) -> String {
    people.get(&user).cloned().unwrap_or_else(|| "former member".to_owned())
}

/// A value with the names of members in the place of their accounts' ids.
fn with_names(value: Value, people: &HashMap<UserId, String>) -> Value {
    match value {
        Value::String(text) => {
            let name = text.parse::<UserId>().ok().and_then(|user| people.get(&user));
            Value::String(name.cloned().unwrap_or(text))
        }
        Value::Array(items) => items.into_iter().map(|one| with_names(one, people)).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, one)| (name, with_names(one, people))).collect()
        }
        other => other,
    }
}

pub(super) fn resource(context: &OpContext, id: GovernanceId) -> Resource {
    Resource::one(context.tenant, Kind::Governance, id.as_bytes())
}

/// A text that may be empty.
pub(super) fn text(field: &'static str, text: &str, chars_max: usize) -> Result<String> {
    let text = text.trim();
    if text.chars().count() > chars_max {
        return Err(Error::invalid_at(field, format!("at most {chars_max} characters")));
    }
    Ok(text.to_owned())
}

/// A word of a closed list.
pub(super) fn word(field: &'static str, word: &str, of: &[&str]) -> Result<()> {
    if of.contains(&word) {
        return Ok(());
    }
    Err(Error::invalid_at(field, format!("must be one of {}", of.join(", "))))
}

/// A SHA-256 in hexadecimal; empty where it may be left out.
pub(super) fn digest(field: &'static str, text: &str, is_optional: bool) -> Result<String> {
    let text = text.trim().to_ascii_lowercase();
    let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex || (is_optional && text.is_empty()) {
        return Ok(text);
    }
    Err(Error::invalid_at(field, "a SHA-256 has 64 hexadecimal digits"))
}

/// Refuses a change of something that was changed since it was read.
pub(super) fn check_version(version: u64, expected: Option<i64>) -> Result<()> {
    match expected {
        Some(expected) if u64::try_from(expected) != Ok(version) => Err(Error::Changed("it")),
        _ => Ok(()),
    }
}

/// Everything of a kind, oldest first.
pub(crate) async fn things<C: Part, F: Part>(
    tx: &TenantTx,
    kind: GovernanceKind,
    parent: Option<GovernanceId>,
) -> Result<Vec<Thing<C, F>>> {
    tx.governance_items(kind, parent).await?.into_iter().map(Thing::read).collect()
}

/// A page of a kind, newest first, each as `view` shows it; what it leaves out is not shown.
async fn page_of<C: Part, F: Part, V>(
    tx: &TenantTx,
    kind: GovernanceKind,
    page: &PageRequest,
    view: impl Fn(Thing<C, F>) -> Option<V>,
) -> Result<Page<V>> {
    let listed = tx.governance_page(kind, &store_page(page)?).await?;
    let read = listed.items.into_iter().map(Thing::<C, F>::read).collect::<Result<Vec<_>>>()?;
    let items = read.into_iter().filter_map(view).collect();
    Ok(Page { items, next_cursor: listed.next.map(|next| next.to_string()) })
}

/// One thing.
pub(crate) async fn thing<C: Part, F: Part>(
    tx: &TenantTx,
    kind: GovernanceKind,
    id: GovernanceId,
) -> Result<Thing<C, F>> {
    Thing::read(tx.governance_item(kind, id).await?)
}

/// Controls that a thing names have to be the tenant's.
pub(super) async fn check_controls(tx: &TenantTx, controls: &[GovernanceId]) -> Result<()> {
    if controls.len() > LINKS_MAX {
        return Err(Error::invalid_at("controls", format!("at most {LINKS_MAX} controls")));
    }
    for id in controls {
        let known = tx.governance_item(GovernanceKind::Control, *id).await;
        if crate::error::found(known)?.is_none() {
            return Err(Error::invalid_at("controls", "there is no such control"));
        }
    }
    Ok(())
}

impl App {
    #[cfg(feature = "test-controls")]
    fn leaves_no_history(&self) -> bool {
        self.0.promises.is_sabotaged(59)
    }

    #[cfg(not(feature = "test-controls"))]
    const fn leaves_no_history(&self) -> bool {
        false
    }

    /// Writes a new thing with the first entry of its history.
    async fn put_new<C: Part, F: Part>(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        action: Action,
        thing: &Thing<C, F>,
    ) -> Result<()> {
        let (name, max) = most(thing.row.kind);
        let known = usize::try_from(tx.governance_count(thing.row.kind).await?);
        let actual = known.unwrap_or(usize::MAX).saturating_add(1);
        if actual > max {
            return Err(LimitExceeded { name, max, actual }.into());
        }
        tx.governance_create(&thing.packed()?).await?;
        self.remember(tx, context, (thing.row.id, "made"), (None, thing.value())).await?;
        let change = Change::to(brief(thing.value()));
        let resource = resource(context, thing.row.id);
        self.record_change(tx, context, action, &resource, change).await
    }

    /// Writes a change of a thing with its entry in the history; counts its version up.
    async fn put_changed<C: Part, F: Part>(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        done: (Action, &'static str),
        (before, thing): (Value, &mut Thing<C, F>),
    ) -> Result<()> {
        let after = thing.value();
        self.put_changed_as(tx, context, done, thing, (before, after)).await
    }

    /// The same, where the history does not repeat the whole thing.
    async fn put_changed_as<C: Part, F: Part>(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (action, word): (Action, &'static str),
        thing: &mut Thing<C, F>,
        (before, after): (Value, Value),
    ) -> Result<()> {
        thing.row.updated_at = context.at;
        tx.governance_replace(&thing.packed()?, thing.row.version).await?;
        thing.row.version = thing.row.version.saturating_add(1);
        self.remember(tx, context, (thing.row.id, word), (Some(before.clone()), after.clone()))
            .await?;
        let resource = resource(context, thing.row.id);
        let change = Change::from_to(brief(before), brief(after));
        self.record_change(tx, context, action, &resource, change).await
    }

    /// The entry of a change in a thing's own history, which outlives the activity records.
    async fn remember(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (id, action): (GovernanceId, &str),
        (before, after): (Option<Value>, Value),
    ) -> Result<()> {
        if self.leaves_no_history() {
            return Ok(());
        }
        let row = *ActivityId::generate(context.at, self.rng()).as_bytes();
        let body = json!({"before": before, "after": after});
        let change = GovernanceChange {
            action: action.to_owned(),
            by: author(context),
            at: context.at,
            body: serde_json::to_vec(&body).map_err(|e| Error::Internal(e.to_string()))?,
        };
        Ok(tx.governance_change_add(id, row, &change).await?)
    }

    /// The history of a thing of the workspace, newest first.
    #[boxed]
    pub async fn governance_history(
        &self,
        context: &OpContext,
        id: GovernanceId,
    ) -> Result<Vec<GovernanceChangeView>> {
        let resource = resource(context, id);
        self.authorize(context, Action::GovernanceRead, &resource)?;
        let tx = self.0.store.read(context).await?;
        if tx.governance_any(id).await?.kind == GovernanceKind::Breach {
            self.authorize(
                context,
                Action::IncidentRead,
                &breaches::incident_resource(context, id),
            )?;
        }
        let people = people(&tx).await?;
        let changes = tx.governance_changes(id).await?;
        self.note(context, Action::GovernanceRead, &resource, "done");
        let view = |change: GovernanceChange| {
            let damaged = |_| Error::Internal("a history is damaged".to_owned());
            let mut body: Value = serde_json::from_slice(&change.body).map_err(damaged)?;
            let mut part = |name: &str| body.get_mut(name).map(Value::take);
            let (before, after) = (part("before"), part("after"));
            Ok(GovernanceChangeView {
                action: change.action,
                by: change.by.map(|user| name_of(&people, user)),
                at: change.at,
                before: before.filter(|one| !one.is_null()).map(|one| with_names(one, &people)),
                after: after.filter(|one| !one.is_null()).map(|one| with_names(one, &people)),
            })
        };
        changes.into_iter().map(view).collect()
    }
}

/// The earliest of moments that may be none.
pub(super) fn earliest(moments: impl IntoIterator<Item = Option<Timestamp>>) -> Option<Timestamp> {
    moments.into_iter().flatten().min()
}
