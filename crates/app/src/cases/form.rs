//! Requests of people who are not signed in: a form, and a one-time code to an address that is held
//! already. The answer is the same whether or not it is.

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Attempt};
use veritwin_domain::{Actor, ActorKind, CaseId, OpContext, PlatformContext, TenantId, UserId};
use veritwin_metastore::{CaseKind, CaseSource, CaseState, Realm};

use super::body::{Case, CaseBody};
use super::{FETCHES_MAX, NewCase, check_strangers, kind_of, resource, words};
use crate::activity::actor_text;
use crate::change::Change;
use crate::error::found;
use crate::model::FormCaseInput;
use crate::provision::{PLATFORM_TENANT, is_nobodys};
use crate::{App, Error, Result};

const WRONG: Error =
    Error::Unauthenticated("the code is wrong or has ended: ask whom you wrote to for another");

/// An account of a tenant that an address belongs to.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) user: UserId,
    /// Its address as the account has it: mail goes there, however somebody wrote it.
    pub(crate) email: String,
}

impl CaseBody {
    /// Whose account its address is, if it is one's.
    pub(super) fn held_by(mut self, held: Option<&Held>) -> Self {
        if let Some(held) = held {
            self.held = Some(held.user);
            self.email = Some(held.email.clone());
        }
        self
    }
}

/// Somebody who is not known, inside a tenant.
pub(super) fn nobody_in(context: &PlatformContext, tenant: TenantId) -> OpContext {
    context.in_tenant(tenant, Actor::without_roles(ActorKind::Anonymous))
}

impl App {
    /// The account of a tenant that an address belongs to. Nobody asks while they write.
    pub(crate) async fn held_by(
        &self,
        context: &OpContext,
        email: Option<&str>,
    ) -> Result<Option<Held>> {
        let Some(email) = email else { return Ok(None) };
        let tx = self.0.store.read_platform(&self.above(context)).await?;
        let realms = [Realm::of_tenant(context.tenant), Realm::PLATFORM];
        for user in tx.users_by_email(realms, email).await? {
            let memberships = tx.memberships(user.id).await?;
            if !user.disabled && memberships.iter().any(|(tenant, _)| *tenant == context.tenant) {
                return Ok(Some(Held { user: user.id, email: user.email }));
            }
        }
        Ok(None)
    }

    /// Whose business a request of an address is: of the organisation that was asked, else of the
    /// one that the address has an account in, else of whoever answers for the host name.
    pub(super) async fn tenant_asked(
        &self,
        context: &PlatformContext,
        (organisation, host): (Option<TenantId>, Option<&str>),
        email: &str,
    ) -> Result<TenantId> {
        let is_there = |id: &TenantId| !is_nobodys(*id) && self.0.tree.read().get(*id).is_some();
        if let Some(asked) = organisation.filter(is_there) {
            return Ok(asked);
        }
        let tx = self.0.store.read_platform(context).await?;
        if let Some(user) = tx.user_by_email(Realm::PLATFORM, email).await?
            && let Some(tenant) = self.first_served(&tx.memberships(user.id).await?)
        {
            return Ok(tenant);
        }
        let at = self.tenant_of_host(host);
        Ok(if at == PLATFORM_TENANT { at } else { self.answers_at(at) })
    }

    /// Asks for a right without an account, or without signing in. A code goes to the address if it
    /// is held; a request of any other waits for an officer.
    #[boxed]
    pub async fn send_request(
        &self,
        context: &PlatformContext,
        host: Option<&str>,
        input: &FormCaseInput,
    ) -> Result<CaseId> {
        self.authorize_platform(context, Action::RequestSend)?;
        let kind = kind_of(&input.kind)?;
        let email = input.email.expose().trim().to_owned();
        if !veritwin_outbound::mail::is_address(&email) {
            return Err(Error::invalid_at("email", "expected the form name@host"));
        }
        let asks_words = matches!(kind, CaseKind::Rectification | CaseKind::Complaint);
        let text = words("text", &input.text, usize::from(asks_words))?;
        self.slow_down(context)?;
        let tenant = self.tenant_asked(context, (input.organisation, host), &email).await?;
        let inside = nobody_in(context, tenant);
        let body = CaseBody {
            language: input.language.map(|language| language.as_str().to_owned()),
            email: Some(email),
            text,
            purpose: (kind == CaseKind::Objection)
                .then(|| veritwin_domain::Purpose::ServiceCommunication.to_string()),
            made_by: actor_text(&inside.actor.kind),
            ..CaseBody::default()
        };
        let (source, received_at) = (CaseSource::Form, context.at);
        let new = NewCase { kind, source, user: None, mail: None, received_at, body };
        let case = self.receive_case(&inside, new).await?;
        let tx = self.0.store.begin_platform(context).await?;
        self.record_platform(&tx, context, Action::RequestSend, Some(tenant), "done").await?;
        tx.commit().await?;
        Ok(case.row.id)
    }

    /// Takes a request in of somebody who is not known yet. Where as many requests of strangers
    /// wait as may, everybody is refused in the same words; who is known has the number and the
    /// code in the mail all the same.
    async fn receive_case(&self, context: &OpContext, new: NewCase) -> Result<Case> {
        let held = self.held_by(context, new.body.email.as_deref()).await?;
        let tx = self.0.store.begin(context).await?;
        let refused = match check_strangers(&tx, (new.source, new.kind)).await {
            Ok(()) => None,
            Err(refused @ Error::Limit(_)) => Some(refused),
            Err(error) => return Err(error),
        };
        if held.is_none()
            && let Some(refused) = refused
        {
            return Err(refused);
        }
        let new = NewCase { body: new.body.held_by(held.as_ref()), ..new };
        // In the same words, whichever bound it is.
        let (opened, refused) = match (self.open_case(&tx, context, new).await, refused) {
            (Err(Error::Limit(_)), Some(refused)) => return Err(refused),
            both => both,
        };
        let mut case = opened?;
        self.ask_identity(&tx, context, (&mut case, held.as_ref())).await?;
        if held.is_some() {
            self.acknowledge_case(&tx, context, &mut case).await?;
        } else {
            // An address that nobody here is known under gets no mail, as anybody may have written
            // it: the page says that the request came, and its number.
            case.body.acknowledged_at = Some(context.at.as_micros());
            case.note(context.at, "acknowledged", (None, None))?;
        }
        self.create_case(&tx, &case, context.at).await?;
        self.tell_officers_of(&tx, context, &case).await?;
        tx.commit().await?;
        match refused {
            Some(refused) => Err(refused),
            None => Ok(case),
        }
    }

    /// The case that somebody shows a code for.
    async fn case_shown(&self, context: &PlatformContext, id: CaseId) -> Result<(OpContext, Case)> {
        self.authorize_platform(context, Action::RequestSend)?;
        let attempt = Attempt::new(
            veritwin_keys::sha256(format!("case {id}").as_bytes()),
            self.address_digest(context),
        );
        let throttled = self.0.contact_throttle.lock().attempt(&attempt, context.clock.monotonic());
        throttled.map_err(|throttled| Error::Busy { retry_after: throttled.retry_after })?;
        let tx = self.0.store.read_platform(context).await?;
        let tenant = tx.tenant_of_case(id).await?.ok_or(WRONG)?;
        drop(tx);
        let inside = nobody_in(context, tenant);
        let tx = self.0.store.read(&inside).await?;
        let row = found(tx.case(id).await)?.ok_or(WRONG)?;
        Ok((inside, Case::read(row)?))
    }

    /// Shows a mailed code: it is known then who asks.
    #[boxed]
    pub async fn confirm_request(
        &self,
        context: &PlatformContext,
        id: CaseId,
        code: &str,
    ) -> Result<()> {
        let (inside, mut case) = self.case_shown(context, id).await?;
        let is_right = self.show_code(&inside, &mut case, code).await?;
        let tx = self.0.store.begin_platform(context).await?;
        let outcome = if is_right { "done" } else { "denied" };
        let tenant = Some(inside.tenant);
        self.record_platform(&tx, context, Action::RequestSend, tenant, outcome).await?;
        tx.commit().await?;
        if is_right { Ok(()) } else { Err(WRONG) }
    }

    /// Takes a code in, right or wrong.
    pub(super) async fn show_code(
        &self,
        context: &OpContext,
        case: &mut Case,
        code: &str,
    ) -> Result<bool> {
        if case.check_open().is_err() {
            return Ok(false);
        }
        let is_right = self.is_code((case.row.id, &mut case.body.code), code, context.at)?;
        if is_right {
            case.row.user = case.row.user.or(case.body.held);
            case.body.person = case.body.person.take().or_else(|| case.body.email.clone());
            case.verify(context.at, "code", None);
            case.note(context.at, "verified", (None, None))?;
        }
        let tx = self.0.store.begin(context).await?;
        self.save_case(&tx, case, context.at).await?;
        tx.commit().await?;
        Ok(is_right)
    }

    /// The copy that a case was answered with, by the code of the answer.
    #[boxed]
    pub async fn fetch_copy(
        &self,
        context: &PlatformContext,
        id: CaseId,
        code: &str,
    ) -> Result<Vec<u8>> {
        let (inside, mut case) = self.case_shown(context, id).await?;
        let is_answered = case.gives_copy() && case.row.state == CaseState::Answered;
        let is_right =
            is_answered && self.is_code((id, &mut case.body.download), code, context.at)?;
        let left = case.body.download.as_ref().is_some_and(|code| code.fetched < FETCHES_MAX);
        let is_given = is_right && left;
        if is_given {
            case.note(context.at, "copy_fetched", (None, None))?;
            if let Some(code) = &mut case.body.download {
                code.fetched += 1;
            }
        }
        let tx = self.0.store.begin(&inside).await?;
        self.save_case(&tx, &mut case, context.at).await?;
        let outcome = if is_given { "copy_fetched" } else { "refused" };
        let change = Change::to(json!({"step": outcome}));
        let about = resource(&inside, id);
        self.record_change(&tx, &inside, Action::RequestSend, &about, change).await?;
        tx.commit().await?;
        if !is_given {
            return Err(WRONG);
        }
        let bundle = self.subject_bundle(&inside, &case.subject()).await?;
        let tx = self.0.store.begin_platform(context).await?;
        let tenant = Some(inside.tenant);
        self.record_platform(&tx, context, Action::RequestSend, tenant, "done").await?;
        tx.commit().await?;
        Ok(bundle.bytes)
    }
}
