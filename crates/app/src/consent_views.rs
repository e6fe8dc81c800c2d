//! What people agreed to, as they and their organisation see it. What stands in a field is shown to
//! its person alone, or through the purpose engine.

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{OpContext, PlatformContext, Secret, UserId};
use veritwin_governance::{DeclaredPurpose, Language, LegalBasis, OptionalField};
use veritwin_metastore::Consent;

use crate::consents::{FieldUse, said};
use crate::model::{ConsentRecordView, ConsentView, PrivacyView, PurposeView};
use crate::sign_in::person;
use crate::{App, Error, Result};

/// Most signed records that are shown, the newest.
const RECORDS_SHOWN_MAX: u64 = 500;

pub(crate) fn purpose_view(purpose: &DeclaredPurpose, language: Language) -> PurposeView {
    let (title, text) = purpose.words(language);
    PurposeView {
        id: purpose.id.clone(),
        version: purpose.version,
        title: title.to_owned(),
        text: text.to_owned(),
        role: purpose.role.as_str(),
        basis: purpose.basis.as_str(),
        recipients: purpose.recipients.clone(),
        field: purpose.field.map(OptionalField::as_str),
        is_asked: purpose.is_asked(),
    }
}

fn state_of(purpose: &DeclaredPurpose, newest: Option<&Consent>) -> &'static str {
    match newest.map(said) {
        None => "none",
        Some(said) if !said.is_given => "withdrawn",
        Some(said) if said.version == purpose.version => "given",
        Some(_) => "earlier_text",
    }
}

impl App {
    /// One's own privacy settings.
    #[boxed]
    pub async fn privacy(&self, context: &OpContext, language: Language) -> Result<PrivacyView> {
        self.authorize_all(context, Action::AccountRead, Kind::Session)?;
        let (user, _) = person(context)?;
        let consents = self.consent_views(&self.above(context), user, (language, true)).await?;
        let others = self.0.purposes.purposes().iter();
        let others = others.filter(|purpose| purpose.basis != LegalBasis::Consent);
        Ok(PrivacyView {
            consents,
            purposes: others.map(|purpose| purpose_view(purpose, language)).collect(),
            notice: self.notice_of(context, user).await?,
            announcement: self.announced_to(context, user).await?,
        })
    }

    async fn consent_views(
        &self,
        platform: &PlatformContext,
        user: UserId,
        (language, with_values): (Language, bool),
    ) -> Result<Vec<ConsentView>> {
        let tx = self.0.store.read_platform(platform).await?;
        let mut views = Vec::new();
        for purpose in self.0.purposes.purposes().iter().filter(|one| one.is_asked()) {
            let newest = tx.consent_newest(user, &purpose.id).await?;
            let value = match purpose.field.filter(|_| with_values) {
                Some(field) => tx.account_field(user, field.as_str()).await?,
                None => None,
            };
            views.push(ConsentView {
                purpose: purpose_view(purpose, language),
                state: state_of(purpose, newest.as_ref()),
                at: newest.as_ref().map(|one| one.at),
                channel: newest.as_ref().map(|one| one.channel.as_str()),
                value: value.map(Secret::new),
            });
        }
        Ok(views)
    }

    /// One's own signed records, newest first.
    #[boxed]
    pub async fn consent_records(&self, context: &OpContext) -> Result<Vec<ConsentRecordView>> {
        let resource = self.authorize_all(context, Action::AccountRead, Kind::Session)?;
        let (user, _) = person(context)?;
        let tx = self.0.store.read_platform(&self.above(context)).await?;
        let records = tx.consents_of(user, RECORDS_SHOWN_MAX).await?;
        self.note(context, Action::AccountRead, &resource, "done");
        let view = |one: Consent| {
            let damaged = |_| Error::Internal("a consent record is damaged".to_owned());
            Ok(ConsentRecordView {
                purpose: one.purpose,
                decision: one.decision.as_str(),
                channel: one.channel.as_str(),
                at: one.at,
                record: String::from_utf8(one.record).map_err(damaged)?,
            })
        };
        records.into_iter().map(view).collect()
    }

    /// What a member agreed to, without what stands in the fields.
    #[boxed]
    pub async fn consents_of_member(
        &self,
        context: &OpContext,
        user: UserId,
    ) -> Result<Vec<ConsentView>> {
        let resource = Resource::user(context.tenant, user);
        self.authorize(context, Action::ConsentRead, &resource)?;
        let tx = self.0.store.read(context).await?;
        tx.member(user).await?;
        drop(tx);
        let platform = self.above(context);
        let views = self.consent_views(&platform, user, (Language::English, false)).await?;
        self.note(context, Action::ConsentRead, &resource, "done");
        Ok(views)
    }

    /// The postal address of a member, for letters, while they agree to that.
    #[boxed]
    pub async fn postal_address_of(
        &self,
        context: &OpContext,
        user: UserId,
    ) -> Result<Secret<String>> {
        let resource = Resource::user(context.tenant, user);
        self.authorize(context, Action::ConsentUse, &resource)?;
        let tx = self.0.store.read(context).await?;
        tx.member(user).await?;
        drop(tx);
        if !self.may_be_reached(context.tenant, user).await? {
            let detail = "the person restricted what is done with their data";
            return Err(Error::Conflict(detail.to_owned()));
        }
        let used = self.field_for(user, OptionalField::Address, "postal_correspondence").await?;
        self.note(context, Action::ConsentUse, &resource, "done");
        match used {
            FieldUse::Value(address) => Ok(address),
            FieldUse::Empty | FieldUse::Refused(_) => {
                Err(Error::Conflict("the person has not agreed to letters".to_owned()))
            }
        }
    }
}
