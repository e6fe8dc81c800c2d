//! Alerts by SMS: queued for people, not for numbers. When one leaves, the purpose engine is asked
//! whether and where to it may go, so that a withdrawal stops what is queued at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use veritwin_access::jobs;
use veritwin_domain::{MessageId, OpContext, Timestamp, UserId};
use veritwin_governance::OptionalField;
use veritwin_metastore::{DueSms, Page, QueuedSms, TenantTx};
use veritwin_outbound::register::EgressRegister;
use veritwin_outbound::sms::{Sms as Message, SmsGateway};

use crate::consents::FieldUse;
use crate::{App, Config, Error, Result};

/// Most text messages of a tenant that wait.
pub(crate) const SMS_WAITING_MAX: u64 = 500;
/// Most text messages to a person in an hour.
pub(crate) const SMS_PER_HOUR_MAX: u32 = 10;
const SMS_AT_ONCE_MAX: u64 = 32;
/// One that could not leave for this long is no news any more.
const SMS_AGE_MAX: Duration = Duration::from_secs(3_600);
const INTERVAL: Duration = Duration::from_secs(2);
/// Wait before a message is tried again, times the number of tries.
const RETRY: Duration = Duration::from_secs(60);
const ATTEMPTS_MAX: u64 = 5;
/// People whose pace is known; above it the eldest hours are forgotten.
const PACES_MAX: usize = 100_000;
const HOUR_MICROS: i64 = 3_600_000_000;
/// The purpose that a telephone number serves.
pub(crate) const SMS_PURPOSE: &str = "sms_alerts";

/// The gateway, and how much went to whom.
pub(crate) struct Sms {
    gateway: Option<SmsGateway>,
    paces: Mutex<HashMap<UserId, (i64, u32)>>,
}

/// What is told to whom by SMS.
pub(crate) struct SmsStory {
    /// Addresses of the rule's recipients; members among them may get a message.
    pub(crate) recipients: Vec<String>,
    pub(crate) text: String,
}

impl Sms {
    pub(crate) fn open(config: &Config, egress: &Arc<EgressRegister>) -> Result<Self> {
        let gateway = config.sms.clone().map(|sms| SmsGateway::new(sms, Arc::clone(egress)));
        let gateway = gateway.transpose().map_err(|error| Error::invalid(error.to_string()))?;
        Ok(Self { gateway, paces: Mutex::default() })
    }

    pub(crate) const fn is_on(&self) -> bool {
        self.gateway.is_some()
    }

    /// Counts a message to a person; false above what an hour may bring.
    fn take(&self, user: UserId, now: Timestamp) -> bool {
        let hour = now.as_micros().div_euclid(HOUR_MICROS);
        let mut paces = self.paces.lock();
        if paces.len() >= PACES_MAX {
            paces.retain(|_, (at, _)| *at == hour);
        }
        let pace = paces.entry(user).or_insert((hour, 0));
        if pace.0 != hour {
            *pace = (hour, 0);
        }
        pace.1 += 1;
        pace.1 <= SMS_PER_HOUR_MAX
    }
}

impl App {
    /// Queues what alerts say, for members among the recipients, in the same transaction. Who of
    /// them agreed is asked when it leaves.
    pub(crate) async fn queue_sms(&self, tx: &TenantTx, stories: &[SmsStory]) -> Result<()> {
        if !self.0.sms.is_on() || stories.is_empty() {
            return Ok(());
        }
        let mut waiting = tx.sms_waiting().await?;
        if waiting >= SMS_WAITING_MAX {
            return Ok(());
        }
        let mut members = tx.members(&Page::whole()).await?.items;
        members.retain(|member| !member.user.disabled);
        let now = self.clock().now();
        for story in stories {
            for member in &members {
                let is_told = |email: &String| email.eq_ignore_ascii_case(&member.user.email);
                if !story.recipients.iter().any(is_told) || waiting >= SMS_WAITING_MAX {
                    continue;
                }
                tx.sms_add(&QueuedSms {
                    id: MessageId::generate(now, self.rng()),
                    user: member.user.id,
                    text: story.text.clone(),
                    created_at: now,
                })
                .await?;
                waiting += 1;
            }
        }
        Ok(())
    }

    pub(crate) async fn keep_sms(&self) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                _ = interval.tick() => {}
            }
            if let Err(error) = self.send_due_sms().await {
                tracing::warn!(%error, "text messages wait; trying again");
            }
        }
    }

    /// Sends what is due; how many were handed over.
    pub(crate) async fn send_due_sms(&self) -> Result<usize> {
        let Some(gateway) = &self.0.sms.gateway else { return Ok(0) };
        let context = self.job(jobs::MAIL);
        let tx = self.0.store.read_platform(&context).await?;
        let due = tx.sms_due(context.at, SMS_AT_ONCE_MAX).await?;
        drop(tx);
        let mut sent = 0;
        for one in due {
            match self.send_sms(gateway, &one).await {
                Ok(was_sent) => sent += usize::from(was_sent),
                // Whose number cannot be read now holds nobody else up, and is tried again.
                Err(error) => {
                    tracing::warn!(%error, tenant = %one.tenant, "a text message waits");
                    self.put_off_sms(&one).await?;
                }
            }
        }
        Ok(sent)
    }

    /// Counts a try of one, or takes it out after the last.
    async fn put_off_sms(&self, one: &DueSms) -> Result<()> {
        if one.attempts >= ATTEMPTS_MAX {
            return self.drop_sms(one).await.map(|_| ());
        }
        let wait = RETRY.saturating_mul(u32::try_from(one.attempts + 1).unwrap_or(u32::MAX));
        let next_at = self.clock().now().saturating_add(wait);
        let tx = self.0.store.begin_platform(&self.job(jobs::MAIL)).await?;
        tx.sms_tried(one, next_at).await?;
        Ok(tx.commit().await?)
    }

    /// Sends one; whether it was handed over. What may not be sent is taken out.
    async fn send_sms(&self, gateway: &SmsGateway, one: &DueSms) -> Result<bool> {
        let now = self.clock().now();
        let is_over = one.attempts >= ATTEMPTS_MAX || now.since(one.sms.created_at) > SMS_AGE_MAX;
        if !self.may_be_reached(one.tenant, one.sms.user).await? {
            return self.drop_sms(one).await;
        }
        let Some(to) = self.sms_number(gateway.provider(), one.sms.user).await? else {
            return self.drop_sms(one).await;
        };
        if is_over || (one.attempts == 0 && !self.0.sms.take(one.sms.user, now)) {
            tracing::warn!(tenant = %one.tenant, "a text message was given up");
            return self.drop_sms(one).await;
        }
        self.put_off_sms(one).await?;
        let (text, id) = (one.sms.text.clone(), one.sms.id.to_string());
        if !one.is_readable {
            return Ok(false);
        }
        match gateway.send(&Message { to, text, id }).await {
            Ok(()) => {
                self.drop_sms(one).await?;
                Ok(true)
            }
            Err(error) if error.may_pass() => {
                tracing::warn!(%error, tenant = %one.tenant, "a text message waits");
                Ok(false)
            }
            Err(error) => {
                tracing::warn!(%error, tenant = %one.tenant, "a text message was refused");
                self.drop_sms(one).await
            }
        }
    }

    /// Where a message to a person may go now: with their consent, and to a gateway that the
    /// policy in force names.
    async fn sms_number(
        &self,
        provider: &str,
        user: UserId,
    ) -> Result<Option<veritwin_domain::Secret<String>>> {
        if !self.is_sub_processor(provider) {
            tracing::warn!("text messages are not sent before the policy names their gateway");
            return Ok(None);
        }
        match self.field_for(user, OptionalField::Phone, SMS_PURPOSE).await? {
            FieldUse::Value(number) => Ok(Some(number)),
            FieldUse::Empty | FieldUse::Refused(_) => Ok(None),
        }
    }

    async fn drop_sms(&self, one: &DueSms) -> Result<bool> {
        let tx = self.0.store.begin_platform(&self.job(jobs::MAIL)).await?;
        tx.sms_delete(one).await?;
        tx.commit().await?;
        Ok(false)
    }

    /// How many messages wait in a tenant: for checks.
    pub(crate) async fn waiting_sms(&self, context: &OpContext) -> Result<u64> {
        Ok(self.0.store.read(context).await?.sms_waiting().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_brings_a_person_so_many_and_the_next_one_as_many() {
        let sms = Sms { gateway: None, paces: Mutex::default() };
        let at = |hour: i64| Timestamp::from_micros(hour * HOUR_MICROS);
        let (ann, ben) = (UserId::from_bytes([1; 16]), UserId::from_bytes([2; 16]));
        let taken = (0..20).filter(|_| sms.take(ann, at(1))).count();
        assert_eq!(taken, 10);
        assert!(sms.take(ben, at(1)));
        assert!(sms.take(ann, at(2)));
    }
}
