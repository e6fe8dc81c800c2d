//! P12, P15, P16, P17 and P58: a person of nobody's tenant agrees, is asked for, and takes back. An
//! optional field needs its consent and serves its purpose alone; one withdrawal leaves the others;
//! the record verifies by itself; each way out stops the next message; and use is no consent.

use std::sync::Arc;

use veritwin_access::jobs;
use veritwin_domain::{MessageId, OpContext, Role, Secret, UserId};
use veritwin_governance::{Language, OptionalField, UseRefused};
use veritwin_metastore::{ConsentChannel, ConsentDecision, QueuedSms};

use super::fixture::NAME;
use super::run::InApp;
use super::sign_up::{Guest, PAGES, answer, fact};
use super::{PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::consent_record::check_consent;
use crate::consents::FieldUse;
use crate::model::ConsentInput;
use crate::sms::SMS_PURPOSE;
use crate::{App, Error, Result};

const VERSION: u32 = 1;
/// A number that is kept for stories (Ofcom).
pub(super) const PHONE: &str = "+447700900123";
const ADDRESS: &str = "1 Nowhere Lane";
const LETTERS: &str = "postal_correspondence";
/// Decisions that are looked through.
const DECISIONS_MAX: u64 = 100;

/// What was seen, or what is wrong and where.
type Found = std::result::Result<Vec<(String, String)>, (String, String)>;

pub(super) fn basis_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, 12, VERSION, |app: App| async move { app.check_basis().await })
}

pub(super) fn separate_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, 15, VERSION, |app: App| async move { app.check_separate().await })
}

pub(super) fn record_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, 16, VERSION, |app: App| async move { app.check_records().await })
}

pub(super) fn withdrawal_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, 17, VERSION, |app: App| async move { app.check_withdrawal().await })
}

pub(super) fn use_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, 58, VERSION, |app: App| async move { app.check_use().await })
}

fn wrong(summary: &str, place: &str) -> Found {
    Err((summary.to_owned(), place.to_owned()))
}

impl App {
    pub(super) async fn agree(
        &self,
        context: &OpContext,
        purpose: &str,
        value: &str,
    ) -> Result<()> {
        let version = self.0.purposes.get(purpose).map_or(0, |one| one.version);
        let value = Secret::new(value.to_owned());
        let input = ConsentInput { purpose: purpose.to_owned(), version, value };
        self.give_consent(context, input, PAGES).await
    }

    /// The account of a check goes, and what it decided with it: it was nobody's.
    pub(super) async fn leave_nothing(&self, user: UserId) -> Result<()> {
        self.destroy_account(user).await?;
        self.forget_decisions(user).await
    }

    pub(super) async fn forget_decisions(&self, user: UserId) -> Result<()> {
        let tx = self.0.store.begin_platform(&self.job(jobs::PROMISES)).await?;
        tx.consents_forget(user).await?;
        Ok(tx.commit().await?)
    }

    async fn check_basis(&self) -> Result<ProbeAnswer> {
        let guest = self.sign_up_guest(true).await?;
        let walked = self.walk_basis(&guest).await;
        self.leave_nothing(guest.signed_in.session.user.id).await?;
        let held =
            "An optional field is kept with its consent alone, and serves its purpose alone.";
        Ok(answer(walked?, held))
    }

    async fn walk_basis(&self, guest: &Guest) -> Result<Found> {
        let context = self.guest_context(&guest.signed_in).await?;
        let user = guest.signed_in.session.user.id;
        for (field, value) in [(OptionalField::Phone, PHONE), (OptionalField::Address, ADDRESS)] {
            let value = Secret::new(value.to_owned());
            match self.set_optional_field(&context, field, &value).await {
                Err(Error::Conflict(_)) => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    let summary = "An optional field was written without consent.";
                    return Ok(wrong(summary, &format!("account field {field}")));
                }
            }
        }
        self.agree(&context, SMS_PURPOSE, PHONE).await?;
        let mut refused = 0;
        for purpose in self.0.purposes.purposes() {
            let used = self.field_for(user, OptionalField::Phone, &purpose.id).await?;
            let is_own = purpose.id == SMS_PURPOSE;
            match used {
                FieldUse::Value(_) if is_own => {}
                FieldUse::Refused(UseRefused::OtherPurpose) if !is_own => refused += 1,
                _ => {
                    let summary = "A telephone number is used for another purpose, or not for its \
                                   own.";
                    return Ok(wrong(summary, &format!("purpose {}", purpose.id)));
                }
            }
        }
        Ok(Ok(vec![
            fact("optional fields refused without consent", "phone, address"),
            fact("purposes refused for a telephone number", &refused.to_string()),
        ]))
    }

    async fn check_separate(&self) -> Result<ProbeAnswer> {
        let guest = self.sign_up_guest(true).await?;
        let walked = self.walk_separate(&guest).await;
        self.leave_nothing(guest.signed_in.session.user.id).await?;
        Ok(answer(walked?, "Of two consents one was withdrawn, and the other stands."))
    }

    async fn walk_separate(&self, guest: &Guest) -> Result<Found> {
        let context = self.guest_context(&guest.signed_in).await?;
        let user = guest.signed_in.session.user.id;
        self.agree(&context, SMS_PURPOSE, PHONE).await?;
        if !matches!(self.use_letters(user).await?, FieldUse::Refused(_)) {
            return Ok(wrong("One consent counts for another purpose.", "table consents"));
        }
        self.agree(&context, LETTERS, ADDRESS).await?;
        self.withdraw_consent(&context, SMS_PURPOSE).await?;
        let views = self.privacy(&context, Language::English).await?.consents;
        let states: Vec<_> =
            views.iter().map(|view| (view.purpose.id.as_str(), view.state)).collect();
        let is_right = states.contains(&(SMS_PURPOSE, "withdrawn"))
            && states.contains(&(LETTERS, "given"))
            && matches!(self.use_letters(user).await?, FieldUse::Value(_));
        if !is_right {
            return Ok(wrong("Withdrawing one consent changed another.", "table consents"));
        }
        Ok(Ok(vec![fact("withdrawn", SMS_PURPOSE), fact("stands", LETTERS)]))
    }

    async fn use_letters(&self, user: UserId) -> Result<FieldUse> {
        self.field_for(user, OptionalField::Address, LETTERS).await
    }

    async fn check_records(&self) -> Result<ProbeAnswer> {
        let guest = self.sign_up_guest(true).await?;
        let walked = self.walk_records(&guest).await;
        self.leave_nothing(guest.signed_in.session.user.id).await?;
        Ok(answer(walked?, "The record of a consent verifies by itself and holds time and text."))
    }

    async fn walk_records(&self, guest: &Guest) -> Result<Found> {
        let context = self.guest_context(&guest.signed_in).await?;
        self.agree(&context, SMS_PURPOSE, PHONE).await?;
        let records = self.consent_records(&context).await?;
        let Some(newest) = records.first() else {
            return Ok(wrong("A consent left no record.", "table consents"));
        };
        let key = self.consent_signer().await?.public_key();
        let Ok(checked) = check_consent(newest.record.as_bytes(), Some(&key)) else {
            return Ok(wrong("The record of a consent does not verify.", "table consents"));
        };
        let record: serde_json::Value = serde_json::from_str(&checked.record)
            .map_err(|_| Error::Internal("a consent record is no JSON".to_owned()))?;
        let text = self.0.purposes.get(SMS_PURPOSE).map(|purpose| purpose.text.as_str());
        let processing = &record["pii_processing"];
        let has_all = processing["purpose_description"].as_str() == text
            && record["events"][0]["event_time"] == newest.at.to_string()
            && record["schema_version"] == "ISO/IEC TS 27560:2023";
        if !has_all {
            let summary = "The record of a consent lacks its time or its text.";
            return Ok(wrong(summary, "table consents"));
        }
        if checked.record.contains(PHONE) {
            return Ok(wrong("The record of a consent holds personal data.", "table consents"));
        }
        Ok(Ok(vec![fact("shape", "ISO/IEC TS 27560:2023"), fact("signed by", &checked.public_key)]))
    }

    async fn check_withdrawal(&self) -> Result<ProbeAnswer> {
        let guest = self.sign_up_guest(true).await?;
        let identity = self.open_probe_identity(PROBE_TENANT, NAME, Role::Administrator).await?;
        let user = guest.signed_in.session.user.id;
        let walked = self.walk_withdrawal(&guest, &identity.context).await;
        self.close_probe_identity(&identity).await?;
        self.destroy_account(user).await?;
        let has_ended = self.ended_with_account(user).await?;
        self.forget_decisions(user).await?;
        let found = match walked? {
            Ok(_) if !has_ended => {
                wrong("A consent stands although its account is gone.", "table consents")
            }
            Ok(facts) => {
                let last = fact("when the account ended", "stopped");
                Ok(facts.into_iter().chain([last]).collect())
            }
            broken => broken,
        };
        Ok(answer(found, "Each way of withdrawing stops the next message and what is queued."))
    }

    async fn ended_with_account(&self, user: UserId) -> Result<bool> {
        let tx = self.0.store.read_platform(&self.job(jobs::PROMISES)).await?;
        let newest = tx.consents_of(user, DECISIONS_MAX).await?.into_iter().next();
        Ok(newest.is_some_and(|one| {
            one.decision == ConsentDecision::Withdrawn
                && one.channel == ConsentChannel::AccountEnded
        }))
    }

    /// Agrees and withdraws by each way in turn; at the end one consent is left for the account's
    /// end.
    async fn walk_withdrawal(&self, guest: &Guest, program: &OpContext) -> Result<Found> {
        let context = self.guest_context(&guest.signed_in).await?;
        let user = guest.signed_in.session.user.id;
        let ways = ["settings", "field_deleted", "mail_link", "officer", "api"];
        for way in ways {
            self.agree(&context, SMS_PURPOSE, PHONE).await?;
            if !matches!(self.use_phone(user).await?, FieldUse::Value(_)) {
                let summary = "A consent that was given does not count.";
                return Ok(wrong(summary, "purpose engine"));
            }
            self.queue_probe_sms(user).await?;
            self.leave_by(way, (&context, program), user).await?;
            let is_stopped = matches!(self.use_phone(user).await?, FieldUse::Refused(_));
            let probe = self.job_in(jobs::PROMISES, PROBE_TENANT);
            if !is_stopped || self.waiting_sms(&probe).await? > 0 {
                let summary = "A message could still be sent after a withdrawal.";
                return Ok(wrong(summary, &format!("withdrawal by {way}")));
            }
        }
        self.agree(&context, SMS_PURPOSE, PHONE).await?;
        Ok(Ok(ways.map(|way| fact(&format!("by {way}"), "stopped")).to_vec()))
    }

    pub(super) async fn use_phone(&self, user: UserId) -> Result<FieldUse> {
        self.field_for(user, OptionalField::Phone, SMS_PURPOSE).await
    }

    async fn queue_probe_sms(&self, user: UserId) -> Result<()> {
        let context = self.job_in(jobs::PROMISES, PROBE_TENANT);
        let tx = self.0.store.begin(&context).await?;
        tx.sms_add(&QueuedSms {
            id: MessageId::generate(context.at, self.rng()),
            user,
            text: "probe".to_owned(),
            created_at: context.at,
        })
        .await?;
        Ok(tx.commit().await?)
    }

    async fn leave_by(
        &self,
        way: &str,
        (context, program): (&OpContext, &OpContext),
        user: UserId,
    ) -> Result<()> {
        match way {
            "settings" => self.withdraw_consent(context, SMS_PURPOSE).await,
            "field_deleted" => {
                let nothing = Secret::new(String::new());
                self.set_optional_field(context, OptionalField::Phone, &nothing).await
            }
            "mail_link" => {
                let tx = self.0.store.read_platform(&self.job(jobs::PROMISES)).await?;
                let newest = tx.consent_newest(user, SMS_PURPOSE).await?;
                drop(tx);
                let newest = newest.ok_or(Error::NotFound("consent"))?;
                let token = self.consent_token(newest.id)?;
                self.withdraw_consent_by_link(&self.visitor(), &token).await.map(|_| ())
            }
            "officer" => self.record_withdrawal(context, user, SMS_PURPOSE).await,
            _ => self.record_withdrawal(program, user, SMS_PURPOSE).await,
        }
    }

    async fn check_use(&self) -> Result<ProbeAnswer> {
        let guest = self.sign_up_guest(true).await?;
        let walked = self.walk_use(&guest).await;
        self.leave_nothing(guest.signed_in.session.user.id).await?;
        Ok(answer(walked?, "A person who uses the service and agreed to nothing stays unasked."))
    }

    async fn walk_use(&self, guest: &Guest) -> Result<Found> {
        let steps = self.core_journey(guest).await?;
        let user = guest.signed_in.session.user.id;
        for field in OptionalField::ALL {
            let Some(purpose) = self.0.purposes.of_field(field) else { continue };
            let used = self.field_for(user, field, &purpose.id).await?;
            if !matches!(used, FieldUse::Refused(UseRefused::NoConsent)) {
                let summary = "Using the service counts as a consent.";
                return Ok(wrong(summary, &format!("purpose {}", purpose.id)));
            }
        }
        let purposes = self.0.purposes.purposes().iter().filter(|one| one.is_asked()).count();
        Ok(Ok(vec![
            fact("steps of use", &steps.to_string()),
            fact("purposes that stay blocked", &purposes.to_string()),
        ]))
    }
}
