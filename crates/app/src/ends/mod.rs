//! The end of an organisation (promises P49 and P50): one who answers for it asks, another agrees,
//! or, where there is nobody else, a wait stands in for them. Then it can be taken back for 30 days
//! and everything be taken away; what happens by itself is in `tend`.

mod tend;
mod words;

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use serde_json::json;
use veritwin_access::{Action, Kind};
use veritwin_domain::{DestructionId, OpContext, Role, TenantId, Timestamp, UserId};
use veritwin_governance::Language;
use veritwin_metastore::{
    Line, MailRank, Member, NewMail, StoredTenantEnd, TenantEndState, TenantTx, every_row,
};

use self::words::News;
use crate::change::Change;
use crate::governance::Told;
use crate::holds::person;
use crate::languages::{Worded, language_of, worded_for};
use crate::mail::{MailPayload, mail_key};
use crate::mail_kinds::MessageKind;
use crate::model::TenantEndView;
use crate::provision::is_own;
use crate::records::names;
use crate::two_people::{BY_WHOEVER_ANSWERS, check_two_keepers, of_member};
use crate::{App, Error, Result};

/// What nobody agreed to for so long is asked for no more.
pub(crate) const AGREE_WITHIN: Duration = Duration::from_secs(7 * 86_400);
/// Where nobody else could agree, so long passes first, of which everybody is told.
pub(crate) const SOLE_WAIT: Duration = Duration::from_secs(72 * 3600);
/// How long everything is still there once the end is decided.
pub(crate) const TAKEN_BACK_WITHIN: Duration = Duration::from_secs(30 * 86_400);
const REASON_CHARS_MAX: usize = 1000;
/// Who may ask and agree.
pub(crate) const ANSWERING: [Role; 2] = [Role::Owner, Role::Administrator];
/// Before the end everybody is told again: by name, how long before.
const REMINDERS: [(&str, Duration); 2] =
    [("week", Duration::from_secs(7 * 86_400)), ("day", Duration::from_secs(86_400))];

/// What is stored of an end beside its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EndBody {
    pub(crate) requested_by: UserId,
    /// Empty once everything is gone.
    pub(crate) reason: String,
    /// Nobody else could agree when it was asked for.
    pub(crate) is_sole: bool,
    pub(crate) approved_by: Option<UserId>,
    pub(crate) decided_at: Option<i64>,
    /// When everything goes.
    pub(crate) ends_at: Option<i64>,
    /// Reminders that were sent.
    pub(crate) told: Vec<String>,
    /// What it waits for although its time has come.
    pub(crate) waits_for: Option<String>,
    pub(crate) destruction: Option<DestructionId>,
    pub(crate) done_at: Option<i64>,
}

impl EndBody {
    /// As it was stored.
    pub(crate) fn read(stored: &[u8]) -> Result<Self> {
        let damaged = |_| Error::Internal("the end of an organisation is damaged".to_owned());
        serde_json::from_slice(stored).map_err(damaged)
    }

    /// One of which nothing is known.
    const fn of_nobody() -> Self {
        Self {
            requested_by: UserId::from_bytes([0; 16]),
            reason: String::new(),
            is_sole: false,
            approved_by: None,
            decided_at: None,
            ends_at: None,
            told: Vec::new(),
            waits_for: None,
            destruction: None,
            done_at: None,
        }
    }

    fn to_store(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::Internal(error.to_string()))
    }

    /// It is decided: from here on it can be taken back for a while.
    fn decide(&mut self, now: Timestamp, approved_by: Option<UserId>) {
        self.approved_by = approved_by;
        self.decided_at = Some(now.as_micros());
        self.ends_at = Some(now.saturating_add(TAKEN_BACK_WITHIN).as_micros());
    }

    /// The reminders whose time has come and that were not sent.
    fn reminders(&self, now: Timestamp) -> Vec<&'static str> {
        let ends_at = self.ends();
        let is_due = |(name, before): &(&'static str, Duration)| {
            !self.is_told(name) && ends_at.saturating_sub(*before) <= now
        };
        REMINDERS.into_iter().filter(is_due).map(|(name, _)| name).collect()
    }

    /// When the next thing happens by itself.
    fn next(&self) -> Timestamp {
        let ends_at = self.ends();
        let left = REMINDERS.into_iter().filter(|(name, _)| !self.is_told(name));
        left.map(|(_, before)| ends_at.saturating_sub(before)).min().unwrap_or(ends_at)
    }

    fn is_told(&self, name: &str) -> bool {
        self.told.iter().any(|told| told == name)
    }

    fn ends(&self) -> Timestamp {
        Timestamp::from_micros(self.ends_at.unwrap_or(i64::MAX))
    }
}

/// Refuses whoever asked, and whoever was just brought in by them.
pub(crate) fn check_agreeing(asked: &Line, agrees: &Line, now: Timestamp) -> Result<()> {
    check_two_keepers((asked, agrees), now, BY_WHOEVER_ANSWERS)
}

/// What is said to everybody, to each in their language.
struct Said {
    mails: Vec<Worded>,
    event: String,
}

impl Said {
    fn of(news: News<'_>, event: String) -> Self {
        Self { mails: words::mails(news), event }
    }
}

impl App {
    /// The end of one's own organisation, if somebody asked for it.
    #[boxed]
    pub async fn tenant_end(&self, context: &OpContext) -> Result<Option<TenantEndView>> {
        let resource = self.authorize_all(context, Action::TenantRead, Kind::Tenant)?;
        let tx = self.0.store.read(context).await?;
        let stored = tx.tenant_end().await?;
        let view = match &stored {
            Some(stored) => Some(end_view(&tx, context, stored).await?),
            None => None,
        };
        self.note(context, Action::TenantRead, &resource, "done");
        Ok(view)
    }

    /// Asks for the end of one's own organisation. Everybody in it is told.
    #[boxed]
    pub async fn ask_tenant_end(&self, context: &OpContext, reason: &str) -> Result<TenantEndView> {
        let resource = self.authorize_all(context, Action::TenantDelete, Kind::Tenant)?;
        let user = person(context)?;
        let reason = crate::holds::words("reason", reason, REASON_CHARS_MAX)?;
        self.check_can_end(context.tenant)?;
        let tx = self.0.store.read(context).await?;
        let is_sole = !others_answer(&tx, user).await?;
        drop(tx);
        if is_sole {
            self.check_own_second_factor(context).await?;
        }
        let body = EndBody { requested_by: user, reason, is_sole, ..EndBody::of_nobody() };
        let wait = if is_sole { SOLE_WAIT } else { AGREE_WITHIN };
        let due_at = context.at.saturating_add(wait);
        let stored = StoredTenantEnd {
            state: TenantEndState::Asked,
            body: body.to_store()?,
            asked_at: context.at,
            due_at: Some(due_at),
            version: 1,
        };
        let tx = self.0.store.begin(context).await?;
        if tx.tenant_end().await?.is_some() {
            return Err(Error::Conflict("the end was asked for already".to_owned()));
        }
        tx.tenant_end_create(&stored).await?;
        self.tell_members(&tx, &asked_words(is_sole, due_at, context.at)).await?;
        let change = Change::to(json!({"state": "asked", "alone": is_sole}));
        self.record_change(&tx, context, Action::TenantDelete, &resource, change).await?;
        let view = end_view(&tx, context, &stored).await?;
        tx.commit().await?;
        Ok(view)
    }

    /// Agrees to the end that somebody else asked for: from now on it can be taken back for 30
    /// days, and then everything goes.
    #[boxed]
    pub async fn approve_tenant_end(&self, context: &OpContext) -> Result<TenantEndView> {
        let resource = self.authorize_all(context, Action::TenantDelete, Kind::Tenant)?;
        let user = person(context)?;
        self.check_can_end(context.tenant)?;
        let tx = self.0.store.begin(context).await?;
        let stored = tx.tenant_end().await?.ok_or(Error::NotFound("tenant end"))?;
        if stored.state != TenantEndState::Asked {
            return Err(Error::Conflict("it is decided already".to_owned()));
        }
        let mut body = EndBody::read(&stored.body)?;
        let agrees = of_member(tx.line(user).await?)?;
        let asked = of_member(tx.line(body.requested_by).await?)?;
        self.judge_agreeing(&asked, &agrees, context.at)?;
        body.decide(context.at, Some(user));
        let decided = decided(&stored, &body)?;
        tx.tenant_end_update(&decided).await?;
        self.tell_members(&tx, &decided_words(&body)).await?;
        let change = Change::from_to(json!({"state": "asked"}), json!({"state": "decided"}));
        self.record_change(&tx, context, Action::TenantDelete, &resource, change).await?;
        let view = end_view(&tx, context, &decided).await?;
        tx.commit().await?;
        Ok(view)
    }

    /// Takes the end back, as long as nothing is being destroyed. One person is enough.
    #[boxed]
    pub async fn take_back_tenant_end(&self, context: &OpContext) -> Result<()> {
        let resource = self.authorize_all(context, Action::TenantDelete, Kind::Tenant)?;
        person(context)?;
        let tx = self.0.store.begin(context).await?;
        let stored = tx.tenant_end().await?.ok_or(Error::NotFound("tenant end"))?;
        if !matches!(stored.state, TenantEndState::Asked | TenantEndState::Decided) {
            let detail = "everything is being destroyed: that cannot be taken back";
            return Err(Error::Conflict(detail.to_owned()));
        }
        tx.tenant_end_delete().await?;
        let event = format!("tenant end {} taken back", stored.asked_at.as_micros());
        let said = Said::of(News::TakenBack, event);
        self.tell_members(&tx, &said).await?;
        let change = Change::from(json!({"state": stored.state.as_str()}));
        self.record_change(&tx, context, Action::TenantDelete, &resource, change).await?;
        Ok(tx.commit().await?)
    }

    /// Whether two people count as two for this.
    pub(crate) fn judge_agreeing(&self, asked: &Line, agrees: &Line, now: Timestamp) -> Result<()> {
        #[cfg(feature = "test-controls")]
        if self.0.promises.is_sabotaged(49) {
            return Ok(());
        }
        check_agreeing(asked, agrees, now)
    }

    /// Refuses an end that would take others along.
    fn check_can_end(&self, tenant: TenantId) -> Result<()> {
        if is_own(tenant) {
            let detail = "the platform's own organisation ends with the platform";
            return Err(Error::Conflict(detail.to_owned()));
        }
        if self.0.tree.read().count_below(tenant) > 0 {
            let detail = "there are customers below it: they end, or move, first";
            return Err(Error::Conflict(detail.to_owned()));
        }
        Ok(())
    }

    /// Queues a mail to everybody in the tenant, once per event.
    async fn tell_members(&self, tx: &TenantTx, said: &Said) -> Result<()> {
        for member in self.who_is_told(tx, Told::Everybody).await? {
            let language = language_of(tx, Some(member.user.id)).await?;
            let (key, body) = letter(Some(tx.tenant_id()), (&member, language), said)?;
            tx.outbox_add(NewMail::new(MailRank::Notice, &key, &body)).await?;
        }
        Ok(())
    }
}

/// A mail to a member, in whose brand it speaks, with what tells it from others.
fn letter(
    voice: Option<TenantId>,
    (member, language): (&Member, Language),
    said: &Said,
) -> Result<(String, Vec<u8>)> {
    let (subject, text) = worded_for(&said.mails, language);
    let mail = MailPayload {
        to: member.user.email.clone(),
        subject: subject.to_owned(),
        text: text.to_owned(),
        voice,
        ..MailPayload::of(MessageKind::Service)
    };
    let body = serde_json::to_vec(&mail).map_err(|error| Error::Internal(error.to_string()))?;
    Ok((mail_key(&said.event, &member.user.email), body))
}

/// Whether anybody but one person could agree.
async fn others_answer(tx: &TenantTx, user: UserId) -> Result<bool> {
    let members = every_row(|page| async move { tx.members(&page).await }).await?;
    Ok(members.iter().any(|one| one.user.id != user && !one.user.disabled && answers(one)))
}

/// Whether somebody answers for the organisation.
fn answers(member: &Member) -> bool {
    member.roles.iter().any(|role| ANSWERING.contains(role))
}

/// An end that was asked for as it is once it is decided.
fn decided(stored: &StoredTenantEnd, body: &EndBody) -> Result<StoredTenantEnd> {
    Ok(StoredTenantEnd {
        state: TenantEndState::Decided,
        body: body.to_store()?,
        due_at: Some(body.next()),
        ..stored.clone()
    })
}

fn asked_words(is_sole: bool, due_at: Timestamp, now: Timestamp) -> Said {
    Said::of(News::Asked { is_sole, due_at }, format!("tenant end {} asked", now.as_micros()))
}

fn decided_words(body: &EndBody) -> Said {
    Said::of(
        News::Decided { ends_at: body.ends() },
        format!("tenant end {} decided", body.decided_at.unwrap_or_default()),
    )
}

fn reminder_words(body: &EndBody, name: &str) -> Said {
    Said::of(
        News::Soon { ends_at: body.ends() },
        format!("tenant end {} {name}", body.decided_at.unwrap_or_default()),
    )
}

/// An end as people see it.
async fn end_view(
    tx: &TenantTx,
    context: &OpContext,
    stored: &StoredTenantEnd,
) -> Result<TenantEndView> {
    let body = EndBody::read(&stored.body)?;
    let names = names(tx).await?;
    let name = |user: UserId| {
        let actor = crate::activity::ActorName::User(user).to_string();
        names.get(&actor).cloned().unwrap_or(actor)
    };
    let own = person(context).ok();
    Ok(TenantEndView {
        state: stored.state.as_str(),
        requested_by: name(body.requested_by),
        is_own: own == Some(body.requested_by),
        requested_at: stored.asked_at,
        is_sole: body.is_sole,
        approved_by: body.approved_by.map(name),
        decided_by: match stored.state {
            TenantEndState::Asked => stored.due_at,
            _ => None,
        },
        ends_at: body.ends_at.map(Timestamp::from_micros),
        reason: body.reason,
        waits_for: body.waits_for,
        destruction: body.destruction,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn body() -> EndBody {
        let requested_by = UserId::from_bytes([1; 16]);
        EndBody { requested_by, reason: "moved".to_owned(), ..EndBody::of_nobody() }
    }

    #[test]
    fn reminders_come_a_week_and_a_day_before_and_once() {
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        let mut body = body();
        body.decide(now, None);
        let on = |day: u32| now.saturating_add(DAY * day);
        assert_eq!(body.ends(), on(30));
        assert_eq!(body.next(), on(23));
        assert!(body.reminders(on(22)).is_empty());
        assert_eq!(body.reminders(on(23)), ["week"]);
        body.told.push("week".to_owned());
        assert_eq!(body.next(), on(29));
        assert_eq!(body.reminders(on(30)), ["day"]);
        body.told.push("day".to_owned());
        assert_eq!(body.next(), on(30));
        assert!(body.reminders(on(31)).is_empty());
    }

    #[test]
    fn what_is_stored_is_read_again() {
        let stored = body().to_store().expect("stored");
        assert_eq!(EndBody::read(&stored).expect("read"), body());
        assert!(EndBody::read(b"{}").is_err());
    }

    #[test]
    fn nobody_agrees_with_themselves() {
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        let line = |user: u8| Line {
            user: UserId::from_bytes([user; 16]),
            since: now.saturating_sub(DAY * 90),
            by_operator: true,
            inviters: Vec::new(),
            is_cut: false,
        };
        assert!(check_agreeing(&line(1), &line(1), now).is_err());
        assert!(check_agreeing(&line(1), &line(2), now).is_ok());
    }
}
