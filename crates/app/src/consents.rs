//! What people agree to, purpose by purpose, and the engine that every use of an optional field
//! asks (promises P12 to P17, P58). A withdrawal is never refused, takes the field with it, and
//! stops what was queued.

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Kind, Resource, jobs};
use veritwin_domain::{
    ActorKind, ConsentId, DAY_MICROS, LedgerItemId, OpContext, PlatformContext, Secret, TenantId,
    Timestamp, UserId,
};
use veritwin_governance::{DeclaredPurpose, OptionalField, Said, UseRefused};
use veritwin_metastore::{
    Consent, ConsentChannel, ConsentDecision, LedgerItem, LedgerKind, PlatformTx,
};

use crate::change::Change;
use crate::consent_links::UNKNOWN_LINK;
use crate::consent_record::{Before, ConsentSigner, Decided};
use crate::error::found;
use crate::links::text;
use crate::model::ConsentInput;
use crate::provision::PLATFORM_TENANT;
use crate::sign_in::person;
use crate::tree::over;
use crate::{App, Error, Result};

/// Most decisions of a person in a day. Above it nothing more is given; withdrawals go on.
pub const CONSENTS_PER_DAY_MAX: usize = 50;
/// Digits of a telephone number (ITU-T E.164).
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// What the engine says about using a field.
#[derive(Debug)]
pub(crate) enum FieldUse {
    /// It may be used, for this purpose and no other.
    Value(Secret<String>),
    /// It may be used and is not there.
    Empty,
    /// It may not.
    Refused(UseRefused),
}

/// Who takes a consent back, and by which way.
#[derive(Clone, Copy)]
struct Way {
    channel: ConsentChannel,
    by: Option<[u8; 16]>,
}

impl Way {
    const fn own(channel: ConsentChannel) -> Self {
        Self { channel, by: None }
    }
}

pub(crate) fn said(consent: &Consent) -> Said {
    Said {
        version: u32::try_from(consent.purpose_version).unwrap_or(0),
        is_given: consent.decision == ConsentDecision::Given,
        at: consent.at,
    }
}

/// A telephone number as it is kept: `+` and digits.
fn phone(given: &str) -> Result<String> {
    let kept: String =
        given.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')' | '.')).collect();
    let digits = kept.strip_prefix('+').unwrap_or_default();
    let is_number = PHONE_DIGITS.contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0');
    if !is_number {
        let detail = "expected a number with its country, such as +44 20 7946 0000";
        return Err(Error::invalid_at("value", detail));
    }
    Ok(kept)
}

fn field_value(field: OptionalField, given: &Secret<String>) -> Result<String> {
    match field {
        OptionalField::Phone => phone(given.expose()),
        OptionalField::Address => text("value", given.expose()),
    }
}

impl App {
    /// The purpose engine: the value of a person's optional field, for a purpose. Every use asks
    /// here, at the moment of the use.
    pub(crate) async fn field_for(
        &self,
        user: UserId,
        field: OptionalField,
        purpose: &str,
    ) -> Result<FieldUse> {
        let tx = self.0.store.read_platform(&self.job(jobs::MAIL)).await?;
        let newest = tx.consent_newest(user, purpose).await?;
        if let Err(refused) = self.may_use(field, purpose, newest.as_ref()) {
            return Ok(FieldUse::Refused(refused));
        }
        let value = tx.account_field(user, field.as_str()).await?;
        Ok(value.map_or(FieldUse::Empty, |value| FieldUse::Value(Secret::new(value))))
    }

    fn may_use(
        &self,
        field: OptionalField,
        purpose: &str,
        newest: Option<&Consent>,
    ) -> std::result::Result<(), UseRefused> {
        let judged = self.0.purposes.may_use(field, purpose, newest.map(said));
        #[cfg(feature = "test-controls")]
        if self.0.promises.overlooks(judged) {
            return Ok(());
        }
        judged
    }

    /// The purpose that people are asked about under this name.
    fn asked_purpose(&self, id: &str) -> Result<&DeclaredPurpose> {
        let found = self.0.purposes.get(id).filter(|purpose| purpose.is_asked());
        found.ok_or_else(|| {
            Error::invalid_at("purpose", "expected a purpose that people are asked about")
        })
    }

    /// Agrees to a purpose, and gives the field that serves it. Both are there afterwards, or
    /// neither. `pages` is the address of the platform's pages.
    #[boxed]
    pub async fn give_consent(
        &self,
        context: &OpContext,
        input: ConsentInput,
        pages: &str,
    ) -> Result<()> {
        self.authorize_all(context, Action::ConsentGive, Kind::Session)?;
        let (user, _) = person(context)?;
        let purpose = self.asked_purpose(&input.purpose)?.clone();
        if input.version != purpose.version {
            return Err(Error::Conflict("the text has changed since: read it again".to_owned()));
        }
        let is_kept = input.value.expose().trim().is_empty();
        let value = match purpose.field {
            Some(field) if !is_kept => Some((field, field_value(field, &input.value)?)),
            _ => None,
        };
        let signer = self.consent_signer().await?;
        let controller = self.controller()?;
        let platform = self.above_as(context);
        let pages = self.pages_of(&platform, context.tenant, pages).await?;
        let tx = self.0.store.begin_platform(&platform).await?;
        tx.user_hold(user).await?;
        let day_ago = Timestamp::from_micros(context.at.as_micros().saturating_sub(DAY_MICROS));
        let today = tx.consents_since(user, day_ago).await?;
        if today >= CONSENTS_PER_DAY_MAX {
            let (max, found) = (CONSENTS_PER_DAY_MAX as u64, today as u64 + 1);
            return Err(over("consents_per_day_max", max, found));
        }
        if let Some((field, value)) = &value {
            tx.account_field_put(user, field.as_str(), value).await?;
        } else if let Some(field) = purpose.field
            && tx.account_field(user, field.as_str()).await?.is_none()
        {
            return Err(Error::invalid_at("value", "give what the consent is about"));
        }
        let newest = tx.consent_newest(user, &purpose.id).await?;
        let decided = Decided {
            id: ConsentId::generate(context.at, self.rng()),
            user,
            purpose: &purpose,
            decision: ConsentDecision::Given,
            channel: ConsentChannel::Settings,
            at: after(newest.as_ref(), context.at),
            by: None,
            expressed: None,
            before: None,
            controller: (&controller.0, controller.1),
        };
        let consent = self.signed(&signer, &decided)?;
        keep(&tx, &consent).await?;
        self.mail_receipt(&tx, (context, &pages), &purpose, &consent).await?;
        let change = Change::to(json!({"purpose": purpose.id, "version": purpose.version}));
        let done = (Action::ConsentGive, "done", change);
        self.record_platform_change(&tx, &platform, Some(context.tenant), done).await?;
        Ok(tx.commit().await?)
    }

    pub(crate) fn signed(&self, signer: &ConsentSigner, decided: &Decided<'_>) -> Result<Consent> {
        let consent = signer.signed(decided)?;
        #[cfg(feature = "test-controls")]
        let consent = self.0.promises.with_damaged_record(consent);
        Ok(consent)
    }

    /// Writes an optional field, which needs the consent of its purpose; an empty value deletes it,
    /// and with it the consent.
    #[boxed]
    pub async fn set_optional_field(
        &self,
        context: &OpContext,
        field: OptionalField,
        value: &Secret<String>,
    ) -> Result<()> {
        let purpose = self.0.purposes.of_field(field);
        let purpose = purpose.ok_or(Error::NotFound("purpose"))?.clone();
        let way = Way::own(ConsentChannel::FieldDeleted);
        if value.expose().trim().is_empty() {
            self.authorize_all(context, Action::ConsentWithdraw, Kind::Session)?;
            let (user, _) = person(context)?;
            let acts = (self.above_as(context), Some(context.tenant));
            self.withdraw(acts, Action::ConsentWithdraw, user, (&purpose, way)).await?;
            return Ok(());
        }
        self.authorize_all(context, Action::ConsentGive, Kind::Session)?;
        let (user, _) = person(context)?;
        let value = field_value(field, value)?;
        let platform = self.above_as(context);
        let tx = self.0.store.begin_platform(&platform).await?;
        tx.user_hold(user).await?;
        let newest = tx.consent_newest(user, &purpose.id).await?;
        let judged = self.may_use(field, &purpose.id, newest.as_ref());
        #[cfg(feature = "test-controls")]
        let judged = if self.0.promises.is_sabotaged(12) { Ok(()) } else { judged };
        judged.map_err(|refused| {
            Error::Conflict(format!("{field} is kept with consent only: {refused}"))
        })?;
        tx.account_field_put(user, field.as_str(), &value).await?;
        let change = Change::to(json!({"field": field.as_str()}));
        let done = (Action::ConsentGive, "done", change);
        self.record_platform_change(&tx, &platform, Some(context.tenant), done).await?;
        Ok(tx.commit().await?)
    }

    /// Withdraws a consent of one's own; once more does nothing.
    #[boxed]
    pub async fn withdraw_consent(&self, context: &OpContext, purpose: &str) -> Result<()> {
        self.authorize_all(context, Action::ConsentWithdraw, Kind::Session)?;
        let (user, _) = person(context)?;
        let purpose = self.asked_purpose(purpose)?.clone();
        let way = Way::own(ConsentChannel::Settings);
        let acts = (self.above_as(context), Some(context.tenant));
        self.withdraw(acts, Action::ConsentWithdraw, user, (&purpose, way)).await.map(|_| ())
    }

    /// Withdraws a consent by the link in a mail, without a sign-in; the short name of the purpose.
    #[boxed]
    pub async fn withdraw_consent_by_link(
        &self,
        context: &PlatformContext,
        token: &Secret<String>,
    ) -> Result<String> {
        self.authorize_platform(context, Action::ConsentWithdrawByLink)?;
        let id = self.consent_of_link(token.expose())?;
        let tx = self.0.store.read_platform(context).await?;
        let consent = tx.consent(id).await.map_err(|_| UNKNOWN_LINK)?;
        drop(tx);
        let purpose = self.0.purposes.get(&consent.purpose).ok_or(UNKNOWN_LINK)?.clone();
        let way = Way::own(ConsentChannel::MailLink);
        let acts = (context.clone(), None);
        self.withdraw(acts, Action::ConsentWithdrawByLink, consent.user, (&purpose, way)).await?;
        Ok(purpose.title)
    }

    /// Records that a member withdrew by mail or by word, or through a program of the organisation.
    #[boxed]
    pub async fn record_withdrawal(
        &self,
        context: &OpContext,
        user: UserId,
        purpose: &str,
    ) -> Result<()> {
        let resource = Resource::user(context.tenant, user);
        self.authorize(context, Action::ConsentRecord, &resource)?;
        let tx = self.0.store.read(context).await?;
        tx.member(user).await?;
        drop(tx);
        let purpose = self.asked_purpose(purpose)?.clone();
        let way = match context.actor.kind {
            ActorKind::ApiKey(id) => Way { channel: ConsentChannel::Api, by: Some(*id.as_bytes()) },
            ActorKind::User { user, .. } => {
                Way { channel: ConsentChannel::Officer, by: Some(*user.as_bytes()) }
            }
            _ => Way::own(ConsentChannel::Officer),
        };
        let acts = (self.above_as(context), Some(context.tenant));
        self.withdraw(acts, Action::ConsentRecord, user, (&purpose, way)).await.map(|_| ())
    }

    /// Ends every consent of an account that is about to go.
    pub(crate) async fn end_consents(&self, user: UserId) -> Result<()> {
        for purpose in self.0.purposes.purposes().iter().filter(|one| one.is_asked()) {
            let way = Way::own(ConsentChannel::AccountEnded);
            let acts = (self.job(jobs::RETENTION), None);
            self.withdraw(acts, Action::ConsentWithdraw, user, (purpose, way)).await?;
        }
        Ok(())
    }

    /// Takes a consent back: the record, the field and what is queued, in one step. Whether there
    /// was one.
    async fn withdraw(
        &self,
        (platform, tenant): (PlatformContext, Option<TenantId>),
        action: Action,
        user: UserId,
        (purpose, way): (&DeclaredPurpose, Way),
    ) -> Result<bool> {
        let read = self.0.store.read_platform(&platform).await?;
        let known = read.consent_newest(user, &purpose.id).await?;
        drop(read);
        if known.is_none_or(|one| one.decision == ConsentDecision::Withdrawn) {
            self.forget_stray(&platform, user, purpose).await?;
            return Ok(false);
        }
        let signer = self.consent_signer().await?;
        let controller = self.controller()?;
        let tx = self.0.store.begin_platform(&platform).await?;
        // The account may be gone by now; its consents are not.
        found(tx.user_hold(user).await)?;
        let newest = tx.consent_newest(user, &purpose.id).await?;
        let Some(before) = newest.filter(|one| one.decision == ConsentDecision::Given) else {
            return Ok(false);
        };
        let decided = Decided {
            id: ConsentId::generate(platform.at, self.rng()),
            user,
            purpose,
            decision: ConsentDecision::Withdrawn,
            channel: way.channel,
            at: after(Some(&before), platform.at),
            by: way.by,
            expressed: None,
            before: Some(Before::from(&before)),
            controller: (&controller.0, controller.1),
        };
        keep(&tx, &self.signed(&signer, &decided)?).await?;
        self.forget_field(&tx, user, purpose).await?;
        #[cfg(feature = "test-controls")]
        self.withdraw_others(&tx, user, (&signer, &decided)).await?;
        let change = Change::from(json!({
            "purpose": purpose.id,
            "given_at": before.at.to_string(),
            "channel": way.channel.as_str(),
        }));
        self.record_platform_change(&tx, &platform, tenant, (action, "done", change)).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// A field without its consent does not stay, however it came about.
    async fn forget_stray(
        &self,
        platform: &PlatformContext,
        user: UserId,
        purpose: &DeclaredPurpose,
    ) -> Result<()> {
        if purpose.field.is_none() {
            return Ok(());
        }
        let tx = self.0.store.begin_platform(platform).await?;
        let newest = tx.consent_newest(user, &purpose.id).await?;
        if newest.is_none_or(|one| one.decision == ConsentDecision::Withdrawn) {
            self.forget_field(&tx, user, purpose).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    async fn forget_field(
        &self,
        tx: &PlatformTx,
        user: UserId,
        purpose: &DeclaredPurpose,
    ) -> Result<()> {
        #[cfg(feature = "test-controls")]
        if self.0.promises.is_sabotaged(17) {
            return Ok(());
        }
        if let Some(field) = purpose.field {
            tx.account_field_delete(user, field.as_str()).await?;
        }
        if purpose.field == Some(OptionalField::Phone) {
            tx.sms_delete_of(user).await?;
        }
        Ok(())
    }

    /// P15 broken on purpose: one withdrawal takes the others along.
    #[cfg(feature = "test-controls")]
    async fn withdraw_others(
        &self,
        tx: &PlatformTx,
        user: UserId,
        (signer, own): (&ConsentSigner, &Decided<'_>),
    ) -> Result<()> {
        if !self.0.promises.is_sabotaged(15) {
            return Ok(());
        }
        let others = self.0.purposes.purposes().iter();
        for purpose in others.filter(|one| one.is_asked() && one.id != own.purpose.id) {
            let newest = tx.consent_newest(user, &purpose.id).await?;
            let id = ConsentId::generate(own.at, self.rng());
            let at = after(newest.as_ref(), own.at);
            let decided = Decided { id, purpose, at, before: None, ..*own };
            tx.consent_add(&signer.signed(&decided)?).await?;
        }
        Ok(())
    }
}

/// Keeps a decision, and what the platform's own log seals of it: words, and the digest of the
/// signed record.
async fn keep(tx: &PlatformTx, consent: &Consent) -> Result<()> {
    tx.consent_add(consent).await?;
    let (id, body) = (*consent.id.as_bytes(), sealed(consent));
    let item = LedgerItem {
        id: LedgerItemId::from_bytes(id),
        kind: LedgerKind::Consent,
        about: Some(id),
        body: body.to_string().into_bytes(),
        created_at: consent.at,
    };
    Ok(tx.ledger_item_add(PLATFORM_TENANT, &item).await?)
}

/// What is sealed of a decision.
pub(crate) fn sealed(consent: &Consent) -> serde_json::Value {
    json!({
        "purpose": consent.purpose,
        "version": consent.purpose_version,
        "decision": consent.decision.as_str(),
        "channel": consent.channel.as_str(),
        "sha256": hex::encode(consent.record_digest),
    })
}

/// What is said later has a later time, whatever the clock does.
fn after(newest: Option<&Consent>, now: Timestamp) -> Timestamp {
    let least = newest.map(|one| Timestamp::from_micros(one.at.as_micros().saturating_add(1)));
    least.map_or(now, |least| now.max(least))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telephone_numbers_are_kept_in_one_form() {
        let check = |given: &str, expect: Option<&str>| {
            assert_eq!(phone(given).ok().as_deref(), expect, "{given}");
        };
        check("+44 (20) 7946-0000", Some("+442079460000"));
        check("+886912345678", Some("+886912345678"));
        check("0912 345 678", None);
        check("+0912345678", None);
        check("+44", None);
        check("+1234567890123456", None);
        check("+44 20 call me", None);
        check("", None);
    }
}
