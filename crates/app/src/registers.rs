//! Registers that people keep: residency, flows to other jurisdictions, sub-processors,
//! instructions, disclosures that the law compels, transfers of the business (promises P07, P10,
//! P11, P37). What opens a way out counts once a second person has approved it.

use std::collections::BTreeMap;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use serde_json::json;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{LimitExceeded, OpContext, RegisterEntryId, Timestamp};
use veritwin_metastore::{
    REGISTER_ENTRIES_MAX, RegisterEntry, RegisterKind, RegisterState, TenantTx,
};

use crate::change::Change;
use crate::governance::is_on_its_way;
use crate::holds::person;
use crate::model::{RegisterInput, RegisterView};
use crate::transfers::{FlowWay, Flows};
use crate::zones::resource;
use crate::{App, Error, Result};

const FIELD_CHARS_MAX: usize = 2000;
/// How long before it takes effect a transfer of the business is announced.
pub const TRANSFER_NOTICE_DAYS: u64 = 30;
const DAY: Duration = Duration::from_secs(86_400);

/// A field of a register: its name, whether it has to be there, and the words that it may hold.
type Field = (&'static str, bool, &'static [&'static str]);

const ANY: &[&str] = &[];
const WAYS: &[&str] = &["routing", "export", "support", "subprocessor"];
const MECHANISMS: &[&str] = &[
    "domestic",
    "adequacy",
    "idta",
    "uk_addendum",
    "scc_controller_processor",
    "scc_processor_processor",
];

/// The registers that people write, with their fields.
const FORMS: [(RegisterKind, &[Field]); 6] = [
    (RegisterKind::Residency, &[("jurisdiction", true, ANY), ("statement", false, ANY)]),
    (
        RegisterKind::Flow,
        &[
            ("way", true, WAYS),
            ("jurisdiction", true, ANY),
            ("host", false, ANY),
            ("recipient", true, ANY),
            ("mechanism", true, MECHANISMS),
            ("assessment", true, ANY),
        ],
    ),
    (
        RegisterKind::Subprocessor,
        &[
            ("name", true, ANY),
            ("service", true, &["cloud", "payment", "email", "support", "other"]),
            ("jurisdiction", true, ANY),
            ("host", false, ANY),
            ("agreement", true, &["signed", "pending"]),
            ("data", true, ANY),
        ],
    ),
    (RegisterKind::Instruction, &[("given_by", true, ANY), ("text", true, ANY)]),
    (
        RegisterKind::Disclosure,
        &[
            ("authority", true, ANY),
            ("law", true, ANY),
            ("scope", true, ANY),
            ("jurisdiction", true, ANY),
        ],
    ),
    (
        RegisterKind::BusinessTransfer,
        &[("acquirer", true, ANY), ("effective_at", true, ANY), ("notice", true, ANY)],
    ),
];

/// What is written in an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Fields {
    fields: BTreeMap<String, String>,
    entered_by: String,
    approved_by: Option<String>,
    /// Who asked that it ends, where that takes two.
    ending_by: Option<String>,
    /// When its notice was published, in microseconds.
    announced_at: Option<i64>,
    /// The notice that tells everybody of it.
    notice: Option<String>,
    /// When it was carried out, in microseconds.
    carried_out_at: Option<i64>,
}

impl Fields {
    /// What somebody enters.
    pub(crate) fn entered(fields: BTreeMap<String, String>, by: &str) -> Self {
        Self { fields, entered_by: by.to_owned(), ..Self::default() }
    }

    /// Whether somebody entered it.
    pub(crate) fn is_by(&self, by: &str) -> bool {
        self.entered_by == by
    }

    /// Whether somebody entered it, approved it or asked that it ends.
    pub(crate) fn names(&self, who: &str) -> bool {
        let others = [self.approved_by.as_deref(), self.ending_by.as_deref()];
        self.is_by(who) || others.contains(&Some(who))
    }

    pub(crate) fn read(stored: &[u8]) -> Result<Self> {
        serde_json::from_slice(stored)
            .map_err(|_| Error::Internal("a stored register entry is damaged".to_owned()))
    }

    pub(crate) fn to_store(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::Internal(error.to_string()))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
}

/// Whether a second person has to approve.
const fn takes_two(kind: RegisterKind) -> bool {
    matches!(kind, RegisterKind::Flow | RegisterKind::Disclosure | RegisterKind::BusinessTransfer)
}

fn form(kind: &str) -> Result<(RegisterKind, &'static [Field])> {
    let known = FORMS.iter().find(|(known, _)| known.as_str() == kind);
    known.copied().ok_or_else(|| {
        let kinds: Vec<&str> = FORMS.iter().map(|(kind, _)| kind.as_str()).collect();
        Error::invalid_at("kind", format!("must be one of {}", kinds.join(", ")))
    })
}

/// ISO 3166-1 alpha-2, or a union's own code of two letters.
fn is_jurisdiction(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

fn check_fields(form: &[Field], fields: &BTreeMap<String, String>) -> Result<()> {
    if let Some(other) = fields.keys().find(|name| !form.iter().any(|(known, ..)| known == name)) {
        return Err(Error::invalid_at(format!("fields.{other}"), "is no field of this register"));
    }
    for (name, is_needed, words) in form {
        let at = || format!("fields.{name}");
        let Some(text) = fields.get(*name) else {
            if *is_needed {
                return Err(Error::invalid_at(at(), "is needed"));
            }
            continue;
        };
        let chars = text.chars().count();
        if text.trim().is_empty() || chars > FIELD_CHARS_MAX {
            let detail = format!("needs 1 to {FIELD_CHARS_MAX} characters");
            return Err(Error::invalid_at(at(), detail));
        }
        if !words.is_empty() && !words.contains(&text.as_str()) {
            return Err(Error::invalid_at(at(), format!("must be one of {}", words.join(", "))));
        }
        if *name == "jurisdiction" && !is_jurisdiction(text) {
            return Err(Error::invalid_at(at(), "must be a country's code of two letters, as GB"));
        }
        if *name == "effective_at" && Timestamp::parse_rfc3339(text).is_err() {
            return Err(Error::invalid_at(at(), "must be a time, as 2026-01-31T00:00:00Z"));
        }
    }
    Ok(())
}

fn view(entry: &RegisterEntry) -> Result<RegisterView> {
    let stored = Fields::read(&entry.body)?;
    Ok(RegisterView {
        id: entry.id,
        kind: entry.kind.as_str(),
        state: entry.state.as_str(),
        fields: stored.fields,
        entered_by: stored.entered_by,
        approved_by: stored.approved_by,
        ending_by: stored.ending_by,
        announced_at: stored.announced_at.map(Timestamp::from_micros),
        carried_out_at: stored.carried_out_at.map(Timestamp::from_micros),
        review_at: entry.review_at,
        created_at: entry.created_at,
    })
}

/// An entry that people write.
async fn written(tx: &TenantTx, id: RegisterEntryId) -> Result<RegisterEntry> {
    let entry = tx.register_entry(id).await?;
    let is_written = FORMS.iter().any(|(kind, _)| *kind == entry.kind);
    if is_written { Ok(entry) } else { Err(Error::NotFound("register entry")) }
}

/// What the gate goes by.
async fn of_gate(tx: &TenantTx) -> Result<Vec<RegisterEntry>> {
    let mut entries = tx.register_entries(RegisterKind::Residency).await?;
    entries.extend(tx.register_entries(RegisterKind::Flow).await?);
    Ok(entries)
}

impl App {
    /// The entries of every register that people write, newest first in each.
    #[boxed]
    pub async fn list_register(&self, context: &OpContext) -> Result<Vec<RegisterView>> {
        let resource = self.authorize_all(context, Action::RegisterRead, Kind::Tenant)?;
        let tx = self.0.store.read(context).await?;
        let mut views = Vec::new();
        for (kind, _) in FORMS {
            for entry in tx.register_entries(kind).await? {
                views.push(view(&entry)?);
            }
        }
        self.note(context, Action::RegisterRead, &resource, "done");
        Ok(views)
    }

    /// Enters something.
    #[boxed]
    pub async fn enter_register(
        &self,
        context: &OpContext,
        input: RegisterInput,
    ) -> Result<RegisterView> {
        self.authorize_all(context, Action::RegisterWrite, Kind::Tenant)?;
        let by = person(context)?.to_string();
        let (kind, form) = form(&input.kind)?;
        check_fields(form, &input.fields)?;
        for (name, text) in &input.fields {
            self.check_kept(&format!("fields.{name}"), text)?;
        }
        let is_flow = kind == RegisterKind::Flow;
        if is_flow && input.review_at.is_none_or(|at| at <= context.at) {
            let why = "a flow counts until it is reviewed: needs a time to come";
            return Err(Error::invalid_at("review_at", why));
        }
        let is_routing = input.fields.get("way").is_some_and(|way| way == "routing");
        if is_flow && is_routing && !input.fields.contains_key("host") {
            return Err(Error::invalid_at("fields.host", "is needed for routing"));
        }
        if let (RegisterKind::Subprocessor, Some(to)) = (kind, input.fields.get("jurisdiction")) {
            self.check_flow(context.tenant, FlowWay::Subprocessor, to)?;
        }
        if kind == RegisterKind::Residency {
            let pin = input.fields.get("jurisdiction").map(String::as_str);
            self.check_pin(context.tenant, pin)?;
        }
        let fields = Fields::entered(input.fields, &by);
        self.put_entry(context, (kind, fields), input.review_at).await
    }

    /// Writes an entry that was looked at.
    pub(crate) async fn put_entry(
        &self,
        context: &OpContext,
        (kind, fields): (RegisterKind, Fields),
        review_at: Option<Timestamp>,
    ) -> Result<RegisterView> {
        let tx = self.0.store.begin(context).await?;
        let known = tx.register_entries(kind).await?;
        let max = usize::try_from(REGISTER_ENTRIES_MAX).unwrap_or(usize::MAX);
        if known.len() >= max {
            let (name, actual) = ("register_entries_max", known.len() + 1);
            return Err(LimitExceeded { name, max, actual }.into());
        }
        let is_there = |one: &RegisterEntry| one.state == RegisterState::InForce;
        if kind == RegisterKind::Residency && known.iter().any(is_there) {
            let why = "a jurisdiction is pinned already: end that entry first";
            return Err(Error::Conflict(why.to_owned()));
        }
        let two = takes_two(kind);
        let entry = RegisterEntry {
            id: RegisterEntryId::generate(context.at, self.rng()),
            kind,
            state: if two { RegisterState::Asked } else { RegisterState::InForce },
            body: fields.to_store()?,
            book: None,
            review_at,
            version: 1,
            created_at: context.at,
        };
        tx.register_entry_create(&entry).await?;
        let all = Resource::all(context.tenant, Kind::Tenant);
        let change = Change::to(recorded(&entry));
        self.record_change(&tx, context, Action::RegisterWrite, &all, change).await?;
        self.commit_register(context, tx).await?;
        view(&entry)
    }

    /// Commits, and lets the gate know.
    async fn commit_register(&self, context: &OpContext, tx: TenantTx) -> Result<()> {
        let _turn = self.0.routes.flows.turn.lock().await;
        let seen = of_gate(&tx).await?;
        tx.commit().await?;
        // What others committed meanwhile is not in what this transaction saw.
        let entries = match self.0.store.read(context).await {
            Ok(tx) => of_gate(&tx).await.unwrap_or(seen),
            Err(_) => seen,
        };
        self.0.routes.flows.put(context.tenant, Flows::of(&entries));
        // Support that is in by a way which is closed now goes at once.
        self.sessions_ended([context.tenant]);
        Ok(())
    }

    /// A second person approves what somebody else entered, or that a pin ends.
    #[boxed]
    pub async fn approve_register(&self, context: &OpContext, id: RegisterEntryId) -> Result<()> {
        self.authorize(context, Action::RegisterApprove, &resource(context, id))?;
        let tx = self.0.store.read(context).await?;
        written(&tx, id).await?;
        drop(tx);
        let by = person(context)?.to_string();
        self.approve_entry(context, id, by).await
    }

    pub(crate) async fn approve_entry(
        &self,
        context: &OpContext,
        id: RegisterEntryId,
        by: String,
    ) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        let mut entry = written(&tx, id).await?;
        let mut fields = Fields::read(&entry.body)?;
        let is_end = entry.state == RegisterState::InForce && fields.ending_by.is_some();
        if entry.state != RegisterState::Asked && !is_end {
            return Err(Error::Conflict("the entry does not wait for an approval".to_owned()));
        }
        let first = if is_end { fields.ending_by.as_ref() } else { Some(&fields.entered_by) };
        if first == Some(&by) {
            return Err(Error::Conflict("whoever entered it cannot approve it".to_owned()));
        }
        let before = recorded(&entry);
        fields.approved_by = Some(by);
        let state = if is_end { RegisterState::Ended } else { RegisterState::InForce };
        if entry.kind == RegisterKind::BusinessTransfer {
            let said = |name: &str| fields.get(name).unwrap_or_default().to_owned();
            let (acquirer, at, text) = (said("acquirer"), said("effective_at"), said("notice"));
            let said = (acquirer.as_str(), at.as_str(), text.as_str());
            let notice = self.announce_transfer(&tx, context, said).await?;
            fields.announced_at = Some(context.at.as_micros());
            fields.notice = notice.map(|id| id.to_string());
        }
        (entry.state, entry.body) = (state, fields.to_store()?);
        tx.register_entry_update(&entry).await?;
        let change = Change::from_to(before, recorded(&entry));
        let itself = resource(context, id);
        self.record_change(&tx, context, Action::RegisterApprove, &itself, change).await?;
        self.commit_register(context, tx).await
    }

    /// Notes that a disclosure or a transfer of the business is carried out: only what is in
    /// force may be, and a transfer only after its notice has been out long enough.
    #[boxed]
    pub async fn carry_out_register(&self, context: &OpContext, id: RegisterEntryId) -> Result<()> {
        self.authorize(context, Action::RegisterWrite, &resource(context, id))?;
        self.carry_out_entry(context, id).await
    }

    pub(crate) async fn carry_out_entry(
        &self,
        context: &OpContext,
        id: RegisterEntryId,
    ) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        let mut entry = written(&tx, id).await?;
        let mut fields = Fields::read(&entry.body)?;
        self.check_carried_out(context, &entry, &fields)?;
        if is_on_its_way(&tx, fields.notice.as_deref()).await? {
            let why = "the notice of the transfer is still on its way to somebody";
            return Err(Error::Conflict(why.to_owned()));
        }
        let before = recorded(&entry);
        fields.carried_out_at = Some(context.at.as_micros());
        (entry.state, entry.body) = (RegisterState::Ended, fields.to_store()?);
        tx.register_entry_update(&entry).await?;
        let change = Change::from_to(before, recorded(&entry));
        let itself = resource(context, id);
        self.record_change(&tx, context, Action::RegisterWrite, &itself, change).await?;
        self.commit_register(context, tx).await
    }

    fn check_carried_out(
        &self,
        context: &OpContext,
        entry: &RegisterEntry,
        fields: &Fields,
    ) -> Result<()> {
        let refuse = |why: &str| Err(Error::Conflict(why.to_owned()));
        #[cfg(feature = "test-controls")]
        let broken = match entry.kind {
            RegisterKind::Disclosure => 7,
            _ => 11,
        };
        #[cfg(feature = "test-controls")]
        if self.0.promises.is_sabotaged(broken) {
            return Ok(());
        }
        if !matches!(entry.kind, RegisterKind::Disclosure | RegisterKind::BusinessTransfer) {
            return refuse("only a disclosure or a transfer of the business is carried out");
        }
        if entry.state != RegisterState::InForce {
            return refuse("the entry is not in force: a second person has to approve it");
        }
        if entry.kind == RegisterKind::Disclosure {
            let to = fields.get("jurisdiction").unwrap_or_default();
            return self.check_flow(context.tenant, FlowWay::Export, to);
        }
        let announced = fields.announced_at.map(Timestamp::from_micros);
        let days = u32::try_from(TRANSFER_NOTICE_DAYS).unwrap_or(u32::MAX);
        let is_told = announced.is_some_and(|at| context.at.since(at) >= DAY * days);
        let effective = fields.get("effective_at").map(Timestamp::parse_rfc3339);
        let is_due = matches!(effective, Some(Ok(at)) if at <= context.at);
        if !is_told || !is_due {
            return refuse(
                "a transfer of the business takes effect at its time, and not before its notice \
                 has been out for 30 days",
            );
        }
        Ok(())
    }

    /// Ends an entry: it counts no more. A pin does until a second person has approved its end:
    /// without it every way out is open.
    #[boxed]
    pub async fn end_register(&self, context: &OpContext, id: RegisterEntryId) -> Result<()> {
        let itself = resource(context, id);
        self.authorize(context, Action::RegisterWrite, &itself)?;
        let tx = self.0.store.begin(context).await?;
        let mut entry = written(&tx, id).await?;
        let before = recorded(&entry);
        if entry.state == RegisterState::Ended {
            return Err(Error::Conflict("the entry has ended already".to_owned()));
        }
        if entry.kind == RegisterKind::Residency {
            let mut fields = Fields::read(&entry.body)?;
            if fields.ending_by.is_some() {
                return Err(Error::Conflict("its end waits for a second person".to_owned()));
            }
            fields.ending_by = Some(person(context)?.to_string());
            entry.body = fields.to_store()?;
        } else {
            entry.state = RegisterState::Ended;
        }
        tx.register_entry_update(&entry).await?;
        let change = Change::from_to(before, recorded(&entry));
        self.record_change(&tx, context, Action::RegisterWrite, &itself, change).await?;
        self.commit_register(context, tx).await
    }
}

/// An entry as a change of it is recorded: its words may name people, and stay in it.
fn recorded(entry: &RegisterEntry) -> serde_json::Value {
    json!({
        "entry": entry.id.to_string(),
        "register": entry.kind.as_str(),
        "state": entry.state.as_str(),
        "review_at": entry.review_at.map(|at| at.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_register_asks_for_has_to_be_there() {
        let check = |kind: &str, fields: &[(&str, &str)], at: Option<&str>| {
            let fields = fields.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
            let (_, form) = form(kind).expect("a register");
            let found = match check_fields(form, &fields.collect()) {
                Ok(()) => None,
                Err(Error::Invalid { at, .. }) => at,
                Err(other) => panic!("{other}"),
            };
            assert_eq!(found.as_deref(), at, "{kind}");
        };
        check("residency", &[("jurisdiction", "GB")], None);
        check("residency", &[("jurisdiction", "gb")], Some("fields.jurisdiction"));
        check("residency", &[], Some("fields.jurisdiction"));
        check("residency", &[("jurisdiction", "GB"), ("x", "y")], Some("fields.x"));
        check("instruction", &[("given_by", "a"), ("text", " ")], Some("fields.text"));
        let transfer = [("acquirer", "a"), ("effective_at", "soon"), ("notice", "n")];
        check("business_transfer", &transfer, Some("fields.effective_at"));
        assert!(form("zone").is_err(), "zones have an interface of their own");
    }
}
