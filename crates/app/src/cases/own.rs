//! What people do by themselves, signed in: ask, look, take back, fetch their copy. What can be
//! done at once is; the rest waits for an officer, with its clock.

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Kind};
use veritwin_domain::{CaseId, OpContext, UserId};
use veritwin_metastore::{CaseKind, CaseSource, CaseState, TenantTx};

use super::body::{Case, CaseBody};
use super::{NewCase, kind_of, purpose_of, view, words};
use crate::activity::actor_text;
use crate::change::Change;
use crate::model::{CaseView, OwnCaseInput};
use crate::records::Names;
use crate::rights::bounded;
use crate::sign_in::{check_recent_proof, person};
use crate::subject::Subject;
use crate::{App, Error, Result};

/// Most cases of one person that are open at once.
const OWN_OPEN_MAX: usize = 10;

fn close(case: &mut Case, context: &OpContext, text: &str) -> Result<()> {
    case.body.answer = Some(text.to_owned());
    case.row.state = CaseState::Answered;
    case.note(context.at, "answered", (None, None))
}

impl App {
    /// Who a session is about: the account, and personal streams that name its address. Another
    /// name would be anybody's to take.
    async fn own_subject(&self, tx: &TenantTx, user: UserId) -> Result<(Subject, String)> {
        let email = tx.member(user).await?.user.email;
        let subject =
            Subject { user: Some(user), email: Some(email.clone()), person: Some(email.clone()) };
        Ok((subject, email))
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
        let is_at_once = text.is_empty();
        let tx = self.0.store.read(context).await?;
        let open = tx.cases_of(user).await?.iter().filter(|one| !one.state.is_closed()).count();
        bounded("rights_cases_of_person_max", OWN_OPEN_MAX, open + 1)?;
        let (subject, email) = self.own_subject(&tx, user).await?;
        drop(tx);
        let is_limit = matches!(kind, CaseKind::Restriction | CaseKind::Objection);
        let streams = match subject.person.as_deref().filter(|_| is_limit) {
            Some(person) => self.streams_naming(context, person).await?,
            None => Vec::new(),
        };
        let tx = self.0.store.begin(context).await?;
        let body = CaseBody {
            email: Some(email),
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
            self.add_limit(&tx, &case, streams).await?;
            close(&mut case, context, "It is done.")?;
        } else if case.gives_copy() && is_at_once {
            let text = "Your copy is under My privacy, where you can fetch it at any time.";
            close(&mut case, context, text)?;
        }
        self.create_case(&tx, &case, context.at).await?;
        let change =
            Change::to(json!({"request": case.row.id.to_string(), "right": kind.as_str()}));
        self.record_change(&tx, context, Action::RequestOwn, &resource, change).await?;
        if !case.row.state.is_closed() {
            self.tell_officers_of(&tx, context, &case).await?;
        }
        tx.commit().await?;
        self.limits_changed(context.tenant);
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
        if case.row.state == CaseState::Answered {
            tx.limit_delete(id).await?;
            case.note(context.at, "lifted", (None, None))?;
        } else {
            case.check_open()?;
            case.note(context.at, "withdrawn", (None, None))?;
        }
        case.row.state = CaseState::Withdrawn;
        self.save_case(&tx, &mut case, context.at).await?;
        let change = Change::from_to(json!({"state": before}), json!({"state": "withdrawn"}));
        self.record_change(&tx, context, Action::RequestOwn, &resource, change).await?;
        tx.commit().await?;
        self.limits_changed(context.tenant);
        Ok(())
    }

    /// Everything that is kept of whoever asks, as one file.
    #[boxed]
    pub async fn export_own(&self, context: &OpContext) -> Result<Vec<u8>> {
        let resource = self.authorize_all(context, Action::RequestOwn, Kind::Session)?;
        check_recent_proof(context)?;
        let (user, _) = person(context)?;
        let tx = self.0.store.read(context).await?;
        let (subject, _) = self.own_subject(&tx, user).await?;
        drop(tx);
        let bundle = self.subject_bundle(context, &subject).await?;
        let tx = self.0.store.begin(context).await?;
        let change = Change::to(json!({"copy_sha256": bundle.digest, "rows": bundle.rows}));
        self.record_change(&tx, context, Action::RequestOwn, &resource, change).await?;
        tx.commit().await?;
        Ok(bundle.bytes)
    }
}
