//! What people do by themselves, signed in: ask, look, take back, fetch their copy. What can be
//! done at once is; the rest waits for an officer, with its clock.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Kind};
use veritwin_domain::{CaseId, OpContext, UserId};
use veritwin_metastore::{CaseKind, CaseSource, CaseState, StoredLimit, TenantTx};

use super::body::{Case, CaseBody};
use super::letter_words::Words;
use super::{NewCase, kind_of, purpose_of, view, words};
use crate::activity::actor_text;
use crate::change::Change;
use crate::languages::language_of;
use crate::model::{CaseView, OwnCaseInput};
use crate::records::Names;
use crate::rights::bounded;
use crate::sign_in::{check_recent_proof, is_by_provider, person};
use crate::subject::Subject;
use crate::{App, Error, Result};

/// Most cases of one person that are open at once.
const OWN_OPEN_MAX: usize = 10;
/// Most cases that one person makes in a day.
const OWN_PER_DAY_MAX: usize = 20;
const DAY: Duration = Duration::from_secs(86_400);

fn close(case: &mut Case, context: &OpContext, text: &str) -> Result<()> {
    case.body.answer = Some(text.to_owned());
    case.row.state = CaseState::Answered;
    case.note(context.at, "answered", (None, None))
}

impl App {
    /// Who a session is about: the account, and personal streams that name its address, if it is
    /// shown that the address is theirs. Another name would be anybody's to take.
    async fn own_subject(&self, tx: &TenantTx, user: UserId) -> Result<Subject> {
        let account = tx.member(user).await?.user;
        let email = account.email_verified_at.map(|_| account.email);
        Ok(Subject { user: Some(user), person: email.clone(), email })
    }

    /// Refuses what would be one request too many, and a limit that counts already.
    async fn check_own_case(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (user, kind, purpose): (UserId, CaseKind, Option<&str>),
    ) -> Result<()> {
        let cases = tx.cases_of(user).await?;
        let open = cases.iter().filter(|one| !one.state.is_closed()).count();
        bounded("rights_cases_of_person_max", OWN_OPEN_MAX, open + 1)?;
        let since = context.at.saturating_sub(DAY);
        let today = cases.iter().filter(|one| one.received_at > since).count();
        bounded("rights_cases_per_day_max", OWN_PER_DAY_MAX, today + 1)?;
        if matches!(kind, CaseKind::Restriction | CaseKind::Objection) {
            let is_same = |limit: &StoredLimit| {
                limit.user == Some(user) && limit.purpose.as_deref() == purpose
            };
            if tx.limits().await?.iter().any(is_same) {
                return Err(Error::Conflict("you asked for that before, and it counts".to_owned()));
            }
        }
        Ok(())
    }

    /// Exercises a right over one's own data.
    #[boxed]
    pub async fn create_own_case(
        &self,
        context: &OpContext,
        input: &OwnCaseInput,
    ) -> Result<CaseId> {
        let resource = self.authorize_all(context, Action::RequestOwn, Kind::Session)?;
        let (user, _) = person(context)?;
        let kind = kind_of(&input.kind)?;
        let asks_words = matches!(kind, CaseKind::Rectification | CaseKind::Complaint);
        let text = words("text", &input.text, usize::from(asks_words))?;
        let purpose = purpose_of(kind, input.purpose.as_deref())?;
        // Whom a tenant's provider vouches for asks an officer for what stands above the tenant.
        let is_at_once = text.is_empty() && !is_by_provider(context);
        let tx = self.0.store.read(context).await?;
        self.check_own_case(&tx, context, (user, kind, purpose.as_deref())).await?;
        let subject = self.own_subject(&tx, user).await?;
        drop(tx);
        let is_limit = matches!(kind, CaseKind::Restriction | CaseKind::Objection);
        let shared = match subject.person.as_deref().filter(|_| is_limit) {
            Some(person) => self.shared_streams_naming(context, person).await?,
            None => Vec::new(),
        };
        let tx = self.0.store.begin(context).await?;
        // Again where nobody else writes.
        self.check_own_case(&tx, context, (user, kind, purpose.as_deref())).await?;
        let chosen = match input.language {
            Some(language) => language,
            None => language_of(&tx, Some(user)).await?,
        };
        let body = CaseBody {
            language: Some(chosen.as_str().to_owned()),
            email: subject.email.clone(),
            person: subject.person.clone(),
            text,
            purpose,
            made_by: actor_text(&context.actor.kind),
            ..CaseBody::default()
        };
        let (source, received_at) = (CaseSource::Account, context.at);
        let new = NewCase { kind, source, user: Some(user), mail: None, received_at, body };
        let mut case = self.open_case(&tx, context, new).await?;
        case.verify(context.at, "session", None);
        self.acknowledge_case(&tx, context, &mut case).await?;
        if is_limit {
            // Streams that others are in as well are an officer's to decide over.
            self.add_limit(&tx, &case, Vec::new()).await?;
            if shared.is_empty() {
                close(&mut case, context, Words::of(chosen).done)?;
            }
        } else if case.gives_copy() && is_at_once {
            close(&mut case, context, Words::of(chosen).copy_is_yours)?;
        }
        self.create_case(&tx, &case, context.at).await?;
        let change =
            Change::to(json!({"request": case.row.id.to_string(), "right": kind.as_str()}));
        self.record_change(&tx, context, Action::RequestOwn, &resource, change).await?;
        // Of a limit they are told in any case: it keeps something from them.
        if is_limit || !case.row.state.is_closed() {
            self.tell_officers_of(&tx, context, &case).await?;
        }
        tx.commit().await?;
        if is_limit {
            self.limits_changed(context.tenant);
        }
        Ok(case.row.id)
    }

    /// One's own requests, newest first. Who of the organisation did what to them is not shown.
    #[boxed]
    pub async fn list_own_cases(&self, context: &OpContext) -> Result<Vec<CaseView>> {
        let resource = self.authorize_all(context, Action::RequestOwn, Kind::Session)?;
        let (user, _) = person(context)?;
        let tx = self.0.store.read(context).await?;
        let rows = tx.cases_of(user).await?;
        self.note(context, Action::RequestOwn, &resource, "done");
        let own = |row| {
            let mut case = Case::read(row)?;
            case.body.events.retain(|event| event.kind != "note");
            case.body.events.iter_mut().for_each(|event| event.by = None);
            Ok(view(case, &Names::new(), context.at))
        };
        rows.into_iter().map(own).collect()
    }

    /// Takes one's own request back, or ends what it made: a restriction, an objection.
    #[boxed]
    pub async fn withdraw_own_case(&self, context: &OpContext, id: CaseId) -> Result<()> {
        let resource = self.authorize_all(context, Action::RequestOwn, Kind::Session)?;
        let (user, _) = person(context)?;
        let tx = self.0.store.begin(context).await?;
        let mut case = Case::read(tx.case(id).await?)?;
        if case.row.user != Some(user) {
            return Err(Error::NotFound("request"));
        }
        let before = case.row.state.as_str();
        if case.row.state == CaseState::Answered && case.is_limit() {
            case.note(context.at, "lifted", (None, None))?;
        } else {
            case.check_open()?;
            case.note(context.at, "withdrawn", (None, None))?;
        }
        if case.is_limit() {
            tx.limit_delete(id).await?;
        }
        case.row.state = CaseState::Withdrawn;
        self.save_case(&tx, &mut case, context.at).await?;
        let change = Change::from_to(json!({"state": before}), json!({"state": "withdrawn"}));
        self.record_change(&tx, context, Action::RequestOwn, &resource, change).await?;
        tx.commit().await?;
        if case.is_limit() {
            self.limits_changed(context.tenant);
        }
        Ok(())
    }

    /// Everything that is kept of whoever asks, as one file.
    #[boxed]
    pub async fn export_own(&self, context: &OpContext) -> Result<Vec<u8>> {
        let resource = self.authorize_all(context, Action::RequestOwn, Kind::Session)?;
        check_recent_proof(context)?;
        if is_by_provider(context) {
            let detail = "your organisation's provider vouches for you: ask for the copy";
            return Err(Error::Conflict(detail.to_owned()));
        }
        let (user, _) = person(context)?;
        let tx = self.0.store.read(context).await?;
        let subject = self.own_subject(&tx, user).await?;
        drop(tx);
        let bundle = self.subject_bundle(context, &subject).await?;
        let tx = self.0.store.begin(context).await?;
        let change = Change::to(json!({"copy_sha256": bundle.digest, "rows": bundle.rows}));
        self.record_change(&tx, context, Action::RequestOwn, &resource, change).await?;
        tx.commit().await?;
        Ok(bundle.bytes)
    }
}
