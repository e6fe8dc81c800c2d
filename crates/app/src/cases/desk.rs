//! What officers do with requests: write one down, make sure who asks, take more time, refuse with
//! reasons, answer. Every step is a line of the case's history and a record.

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Kind};
use veritwin_domain::{CaseId, OpContext, Secret, Timestamp, UserId};
use veritwin_metastore::{CaseKind, CaseSource, CaseState, TenantTx};

use super::body::{Case, CaseBody, Extension, Refusal};
use super::clock::extended_until_max;
use super::form::Held;
use super::{NewCase, kind_of, letters, purpose_of, resource, view, words};
use crate::activity::actor_text;
use crate::change::Change;
use crate::governance::check_version;
use crate::languages::language_of;
use crate::model::{CaseStep, CaseView, DeskCaseInput, Page, PageRequest};
use crate::records::{names, store_page};
use crate::streams::PERSON_CHARS_MAX;
use crate::subject::Subject;
use crate::tree::over;
use crate::{App, Error, Result};

impl Case {
    /// Whom it is about, as the stores are asked.
    pub(crate) fn subject(&self) -> Subject {
        Subject {
            user: self.row.user,
            email: self.body.email.clone(),
            person: self.body.person.clone(),
        }
    }
}

/// How streams name a person.
fn checked_person(person: &Secret<String>) -> Result<String> {
    let person = person.expose().trim();
    if person.is_empty() || person.chars().count() > PERSON_CHARS_MAX {
        let detail = format!("needs 1 to {PERSON_CHARS_MAX} characters");
        return Err(Error::invalid_at("person", detail));
    }
    Ok(person.to_owned())
}

/// Says how streams name the person. Of somebody else it is not known that they ask.
fn name_person(case: &mut Case, person: Option<&Secret<String>>) -> Result<()> {
    let named = person.map(checked_person).transpose()?;
    if named != case.body.person {
        case.body.verified = None;
    }
    case.body.person = named;
    Ok(())
}

/// What of a step its record says; a person's own words and names stay in the case.
fn said(step: &CaseStep) -> serde_json::Value {
    match step {
        CaseStep::Verify { how } => json!({"how": how}),
        CaseStep::Right { kind } => json!({"right": kind}),
        CaseStep::Person { person } => json!({"names_somebody": person.is_some()}),
        CaseStep::Extend { until, .. } => json!({"until": until.to_string()}),
        CaseStep::Refuse { reason, jurisdiction, .. } => {
            json!({"reason": reason, "jurisdiction": jurisdiction})
        }
        _ => serde_json::Value::Null,
    }
}

fn text_of(field: &'static str, text: &str, chars_min: usize) -> Result<String> {
    words(field, &Secret::new(text.to_owned()), chars_min)
}

/// Says which right a mail is about, which its words did not. That somebody asks for another one
/// is not known: they have to show it again.
fn name_right(
    case: &mut Case,
    (now, by): (Timestamp, Option<String>),
    kind: &str,
) -> Result<&'static str> {
    if case.row.source != CaseSource::Mail {
        return Err(Error::Conflict("who asked said which right it is".to_owned()));
    }
    let named = kind_of(kind)?;
    if named != case.row.kind {
        case.body.verified = None;
    }
    case.row.kind = named;
    case.body.purpose = (case.row.kind == CaseKind::Objection)
        .then(|| veritwin_domain::Purpose::ServiceCommunication.to_string());
    case.note(now, "right_named", (by, Some(kind.to_owned())))?;
    Ok("right_named")
}

/// Whom a request at the desk is about: an account of this tenant and its own address, or an
/// address, with the account that it belongs to.
async fn named_at_desk(
    tx: &TenantTx,
    (user, held): (Option<UserId>, Option<Held>),
    email: Option<String>,
) -> Result<(Option<UserId>, Option<String>)> {
    let Some(user) = user else {
        return Ok(match held {
            Some(held) => (Some(held.user), Some(held.email)),
            None => (None, email),
        });
    };
    let own = tx.member(user).await?.user.email;
    if email.is_some_and(|given| !given.eq_ignore_ascii_case(own.trim())) {
        return Err(Error::invalid_at("email", "is not the address of that account"));
    }
    Ok((Some(user), Some(own)))
}

impl App {
    /// The tenant's requests, newest first.
    #[boxed]
    pub async fn list_cases(
        &self,
        context: &OpContext,
        only_open: bool,
        page: &PageRequest,
    ) -> Result<Page<CaseView>> {
        let resource = self.authorize_all(context, Action::RequestRead, Kind::Case)?;
        let tx = self.0.store.read(context).await?;
        let listed = tx.cases(only_open, &store_page(page)?).await?;
        let names = names(&tx).await?;
        self.note(context, Action::RequestRead, &resource, "done");
        let shown = |row| Ok(view(Case::read(row)?, &names, context.at));
        let items = listed.items.into_iter().map(shown).collect::<Result<Vec<_>>>()?;
        Ok(Page { items, next_cursor: listed.next.map(|next| next.to_string()) })
    }

    /// One request.
    #[boxed]
    pub async fn case(&self, context: &OpContext, id: CaseId) -> Result<CaseView> {
        let resource = resource(context, id);
        self.authorize(context, Action::RequestRead, &resource)?;
        let tx = self.0.store.read(context).await?;
        let case = Case::read(tx.case(id).await?)?;
        let names = names(&tx).await?;
        self.note(context, Action::RequestRead, &resource, "done");
        Ok(view(case, &names, context.at))
    }

    /// Writes a request down that came by another way; when it came may be earlier.
    #[boxed]
    pub async fn create_case_at_desk(
        &self,
        context: &OpContext,
        input: &DeskCaseInput,
    ) -> Result<CaseId> {
        self.authorize_all(context, Action::RequestWrite, Kind::Case)?;
        let kind = kind_of(&input.kind)?;
        let text = words("text", &input.text, 0)?;
        let person = input.person.as_ref().map(checked_person).transpose()?;
        let purpose = purpose_of(kind, input.purpose.as_deref())?;
        let received_at = input.received_at.unwrap_or(context.at);
        if received_at > context.at {
            return Err(Error::invalid_at("received_at", "must not be in the future"));
        }
        let given = input.email.as_ref().map(|email| email.expose().trim().to_owned());
        let held = self.held_by(context, given.as_deref()).await?;
        let tx = self.0.store.begin(context).await?;
        let (user, email) = named_at_desk(&tx, (input.user, held), given).await?;
        if email.is_none() && person.is_none() {
            return Err(Error::invalid_at("email", "say whom it is about: email or person"));
        }
        if email.as_ref().is_some_and(|email| !veritwin_outbound::mail::is_address(email)) {
            return Err(Error::invalid_at("email", "expected the form name@host"));
        }
        let made_by = actor_text(&context.actor.kind);
        let chosen = match input.language {
            Some(language) => language,
            None => language_of(&tx, user).await?,
        };
        let language = Some(chosen.as_str().to_owned());
        let body =
            CaseBody { email, person, text, purpose, made_by, language, ..CaseBody::default() };
        let source = CaseSource::Officer;
        let new = NewCase { kind, source, user, mail: None, received_at, body };
        let mut case = self.open_case(&tx, context, new).await?;
        self.acknowledge_case(&tx, context, &mut case).await?;
        self.create_case(&tx, &case, context.at).await?;
        let change = Change::to(json!({"right": kind.as_str(), "source": source.as_str()}));
        let made = resource(context, case.row.id);
        self.record_change(&tx, context, Action::RequestWrite, &made, change).await?;
        tx.commit().await?;
        Ok(case.row.id)
    }

    /// One step of an officer, if nothing else was done since the version that they have read.
    #[boxed]
    pub async fn step_case(
        &self,
        context: &OpContext,
        (id, if_version): (CaseId, Option<i64>),
        step: &CaseStep,
    ) -> Result<CaseView> {
        let resource = resource(context, id);
        self.authorize(context, Action::RequestWrite, &resource)?;
        let held = match step {
            CaseStep::AskIdentity { .. } => {
                let tx = self.0.store.read(context).await?;
                let email = Case::read(tx.case(id).await?)?.body.email;
                drop(tx);
                self.held_by(context, email.as_deref()).await?
            }
            _ => None,
        };
        let tx = self.0.store.begin(context).await?;
        let mut case = Case::read(tx.case(id).await?)?;
        check_version(case.row.version, if_version)?;
        self.refuse_own_case(context, &case)?;
        let before = case.row.state.as_str();
        let done = self.take_step(&tx, context, (&mut case, step, held.as_ref())).await?;
        self.save_case(&tx, &mut case, context.at).await?;
        let change = Change::from_to(
            json!({"state": before}),
            json!({"state": case.row.state.as_str(), "step": done, "said": said(step)}),
        );
        self.record_change(&tx, context, Action::RequestWrite, &resource, change).await?;
        let names = names(&tx).await?;
        tx.commit().await?;
        if matches!(step, CaseStep::Lift | CaseStep::Refuse { .. }) && case.is_limit() {
            self.limits_changed(context.tenant);
        }
        Ok(view(case, &names, context.at))
    }

    /// Nobody decides over their own request.
    pub(super) fn refuse_own_case(&self, context: &OpContext, case: &Case) -> Result<()> {
        let own = crate::holds::person(context).ok();
        if own.is_some() && case.row.user == own {
            let detail = "it is your own request: somebody else decides over it";
            return Err(Error::Forbidden(detail.to_owned()));
        }
        Ok(())
    }

    /// Does what a step says; the step's name.
    async fn take_step(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (case, step, held): (&mut Case, &CaseStep, Option<&Held>),
    ) -> Result<&'static str> {
        let (now, by) = (context.at, Some(actor_text(&context.actor.kind)));
        match step {
            CaseStep::Note { text } => {
                let text = text_of("text", text, 1)?;
                case.note(now, "note", (by, Some(text)))?;
                return Ok("note");
            }
            CaseStep::Lift => {
                if case.row.state != CaseState::Answered || !case.is_limit() {
                    return Err(Error::Conflict("nothing was done that could end".to_owned()));
                }
                // The person is told before it ends (Article 18(3)).
                let letter = letters::lifted(case, &self.named_authority(None)?);
                self.send_letter(tx, context, (&mut *case, &letter)).await?;
                tx.limit_delete(case.row.id).await?;
                case.row.state = CaseState::Withdrawn;
                case.note(now, "lifted", (by, None))?;
                return Ok("lifted");
            }
            CaseStep::Reopen { text } => {
                let text = text_of("text", text, 1)?;
                self.reopen_case(tx, context, (case, text)).await?;
                return Ok("reopened");
            }
            _ => case.check_open()?,
        }
        match step {
            CaseStep::Acknowledge => {
                if !self.acknowledge_case(tx, context, case).await? {
                    case.body.acknowledged_at = Some(now.as_micros());
                    case.note(now, "acknowledged", (by, None))?;
                }
                Ok("acknowledged")
            }
            CaseStep::AskIdentity { text } => {
                self.ask_who_it_is(tx, context, (case, held, text)).await?;
                Ok("identity_asked")
            }
            CaseStep::Verify { how } => {
                if !matches!(how.as_str(), "document" | "known") {
                    return Err(Error::invalid_at("how", "must be one of document, known"));
                }
                case.verify(now, how, by.clone());
                case.note(now, "verified", (by, Some(how.clone())))?;
                Ok("verified")
            }
            CaseStep::Person { person } => {
                name_person(case, person.as_ref())?;
                case.note(now, "person_named", (by, None))?;
                Ok("person_named")
            }
            CaseStep::Right { kind } => name_right(case, (now, by), kind),
            CaseStep::Extend { until, reason } => {
                self.extend(tx, context, (case, *until, reason)).await?;
                Ok("extended")
            }
            CaseStep::Refuse { reason, text, jurisdiction } => {
                let why = (reason.as_str(), text.as_str());
                self.refuse_case(tx, context, case, (why, jurisdiction.as_deref())).await?;
                tx.limit_delete(case.row.id).await?;
                Ok("refused")
            }
            CaseStep::Answer { text } => {
                let text = text_of("text", text, 1)?;
                if case.is_limit() || case.row.kind == CaseKind::Erasure {
                    let detail = "carry it out: that answers it too";
                    return Err(Error::Conflict(detail.to_owned()));
                }
                if case.row.kind != CaseKind::Complaint {
                    case.check_verified()?;
                }
                self.answer_case(tx, context, (case, &text)).await?;
                Ok("answered")
            }
            CaseStep::Note { .. } | CaseStep::Lift | CaseStep::Reopen { .. } => Ok("note"),
        }
    }

    /// Asks the person who they are: with a code where an account is held under the address, else
    /// with a letter, else the officer has asked, and says how and when. The clock stands from then
    /// on, and only because they were asked.
    async fn ask_who_it_is(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (case, held, text): (&mut Case, Option<&Held>, &str),
    ) -> Result<()> {
        if case.body.verified.is_some() || case.row.kind == CaseKind::Complaint {
            return Err(Error::Conflict("who asks is known, or need not be".to_owned()));
        }
        let by = Some(actor_text(&context.actor.kind));
        if !text.trim().is_empty() {
            let text = text_of("text", text, 1)?;
            case.pause(context.at);
            return case.note(context.at, "identity_asked", (by, Some(text)));
        }
        if self.ask_identity(tx, context, (&mut *case, held)).await? {
            return Ok(());
        }
        case.pause(context.at);
        let letter = letters::proof(case);
        if !self.mail_subject(tx, context, (&*case, &letter)).await? {
            let detail = "no letter can be mailed: ask them, then say here how and when you did";
            return Err(Error::invalid_at("text", detail));
        }
        case.note(context.at, "identity_asked", (by, None))
    }

    /// A refusal was wrong. What was asked for is open again with the clock that it had; what is
    /// over by then is overdue.
    async fn reopen_case(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (case, text): (&mut Case, String),
    ) -> Result<()> {
        if case.row.state != CaseState::Refused || case.body.account_ended {
            return Err(Error::Conflict("only a refusal can be taken back".to_owned()));
        }
        let open = tx.cases_open(None).await?;
        if open >= super::CASES_OPEN_MAX {
            return Err(over("rights_cases_open_max", super::CASES_OPEN_MAX, open + 1));
        }
        (case.row.state, case.row.closed_at, case.body.refusal) = (CaseState::Open, None, None);
        // Who was never asked again is no reason to refuse by itself a second time.
        case.body.code = None;
        case.forget_answer_alarms();
        let letter = letters::reopened(case, context.at);
        self.send_letter(tx, context, (&mut *case, &letter)).await?;
        let by = Some(actor_text(&context.actor.kind));
        case.note(context.at, "reopened", (by, Some(text)))
    }

    /// Takes more time. The person is told why, before the time of before is over.
    async fn extend(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (case, until, reason): (&mut Case, Timestamp, &str),
    ) -> Result<()> {
        let now = context.at;
        let reason = text_of("reason", reason, 1)?;
        if case.clocks().verifying_since.is_some() {
            let detail = "the clock stands until it is known who asks: extend it afterwards";
            return Err(Error::Conflict(detail.to_owned()));
        }
        let (by_now, latest) =
            (case.answer_by(now), extended_until_max(case.row.received_at, case.stood(now)));
        if now > by_now {
            let detail = "the time to answer is over: the person had to be told before";
            return Err(Error::Conflict(detail.to_owned()));
        }
        if until <= by_now || until > latest {
            let detail = format!("must be after {by_now}, and {latest} at the latest");
            return Err(Error::invalid_at("until", detail));
        }
        let letter = letters::extension(case, until, &reason, &self.named_authority(None)?);
        self.send_letter(tx, context, (&mut *case, &letter)).await?;
        case.row.answer_by = until;
        case.forget_answer_alarms();
        let told_at = now.as_micros();
        case.body.extension =
            Some(Extension { until: until.as_micros(), reason: reason.clone(), told_at });
        let by = Some(actor_text(&context.actor.kind));
        case.note(now, "extended", (by, Some(reason)))
    }

    /// Refuses a request: the letter says why, and where to complain.
    pub(crate) async fn refuse_case(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        case: &mut Case,
        ((reason, text), jurisdiction): ((&str, &str), Option<&str>),
    ) -> Result<letters::Letter> {
        letters::check_reason(reason)?;
        let text = text_of("text", text, 0)?;
        let authority = self.named_authority(jurisdiction)?;
        let letter = letters::refusal(case, reason, &text, &authority);
        self.send_letter(tx, context, (&mut *case, &letter)).await?;
        case.body.refusal = Some(Refusal { reason: reason.to_owned(), text, authority });
        case.row.state = CaseState::Refused;
        let by = Some(actor_text(&context.actor.kind));
        case.note(context.at, "refused", (by, Some(reason.to_owned())))?;
        Ok(letter)
    }

    /// Answers a request, and closes it.
    pub(super) async fn answer_case(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (case, text): (&mut Case, &str),
    ) -> Result<()> {
        let fetch = if case.gives_copy() && case.body.email.is_some() {
            let until = context.at.saturating_add(super::DOWNLOAD_LASTS);
            let (code, stored) = self.fresh_code(case.row.id, until)?;
            case.body.download = Some(stored);
            Some(code)
        } else {
            None
        };
        let letter = letters::answer(case, text, fetch.as_deref());
        self.send_letter(tx, context, (&mut *case, &letter)).await?;
        case.body.answer = Some(text.to_owned());
        case.row.state = CaseState::Answered;
        let by = Some(actor_text(&context.actor.kind));
        case.note(context.at, "answered", (by, None))
    }
}
