//! Notices of a breach: to the authority, to the people concerned, to the controllers. One that
//! lacks something is not sent (promise P54). A drill's is written down and stays inside.

use std::collections::HashMap;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde_json::Value;
use veritwin_access::Action;
use veritwin_domain::{GovernanceId, OpContext, TenantId, Timestamp};
use veritwin_governance::Language;
use veritwin_keys::sha256;
use veritwin_metastore::{MailRank, NewMail, TenantTx};
use veritwin_outbound::mail::is_address;

use super::breach_owed::{ends_at, first_to_tell, missing, next_alarm, was_told};
use super::breach_words::Notice;
use super::breaches::{Breach, KIND, incident_resource};
use super::due::Told;
use super::{thing, things, word};
use crate::alert_mail::waiting_max;
use crate::languages::{Worded, languages_of, worded_for};
use crate::mail::{MailPayload, mail_key};
use crate::mail_kinds::MessageKind;
use crate::model::{BreachContent, BreachNoticeInput, BreachNoticeView, BreachTextView};
use crate::provision::is_nobodys;
use crate::tree::over;
use crate::{App, Error, Result};

pub(super) const TO: [&str; 3] = ["authority", "subjects", "controllers"];
pub(super) const PHASES: [&str; 3] = ["first", "further", "final"];
/// Most addresses that one notice is written to.
const RECIPIENTS_MAX: usize = 1_000;
/// Most notices of one breach.
const NOTICES_MAX: usize = 200;
/// Most mails about breaches that an organisation has sent in 24 hours, to whatever addresses.
const MAILS_PER_DAY_MAX: u64 = 5_000;
const DAY: Duration = Duration::from_secs(86_400);

/// A notice that is about to be sent.
struct Prepared {
    breach: Breach,
    before: Value,
    recipients: Vec<String>,
    /// What it says, in every language that somebody may read it in.
    mails: Vec<Worded>,
    event: String,
}

/// Whether the first notice to whoever has to be told comes after the 72 hours.
fn is_late(breach: &Breach, to: &str, now: Timestamp) -> bool {
    let is_over = ends_at(&breach.content).is_some_and(|end| now > end);
    is_over && !was_told(breach, to) && to == first_to_tell(&breach.content)
}

fn digest_of((language, _, text): &Worded) -> BreachTextView {
    let sha256 = hex::encode(sha256(text.as_bytes()));
    BreachTextView { language: language.as_str().to_owned(), sha256 }
}

fn addresses(input: &BreachNoticeInput, content: &BreachContent) -> Result<Vec<String>> {
    if input.to == "authority" {
        return Ok(vec![content.authority_email.clone()]);
    }
    if input.recipients.len() > RECIPIENTS_MAX || input.tenants.len() > RECIPIENTS_MAX {
        return Err(Error::invalid_at("recipients", format!("at most {RECIPIENTS_MAX}")));
    }
    let mut found = std::collections::BTreeSet::new();
    for address in &input.recipients {
        let address = address.trim();
        if !is_address(address) {
            return Err(Error::invalid_at("recipients", "expected addresses for mail"));
        }
        found.insert(address.to_owned());
    }
    Ok(found.into_iter().collect())
}

impl App {
    #[cfg(feature = "test-controls")]
    fn sends_anything(&self) -> bool {
        self.0.promises.is_sabotaged(54)
    }

    #[cfg(not(feature = "test-controls"))]
    const fn sends_anything(&self) -> bool {
        false
    }

    /// Sends a notice of a breach. Whatever it lacks is named, and nothing is sent then.
    #[boxed]
    pub async fn notify_breach(
        &self,
        context: &OpContext,
        id: GovernanceId,
        input: BreachNoticeInput,
    ) -> Result<()> {
        self.authorize(context, Action::BreachNotify, &incident_resource(context, id))?;
        self.send_breach_notice(context, id, input).await
    }

    /// The same for those who may already: people, and the check of the promise in its own tenant.
    /// Those below are told first: what was begun is told once, however often it is tried.
    pub(crate) async fn send_breach_notice(
        &self,
        context: &OpContext,
        id: GovernanceId,
        input: BreachNoticeInput,
    ) -> Result<()> {
        let tx = self.0.store.read(context).await?;
        let prepared = self.prepare_notice(&tx, context, id, &input).await?;
        if !prepared.breach.content.is_drill {
            self.check_breach_mails(&tx, context, &prepared).await?;
        }
        drop(tx);
        if !prepared.breach.content.is_drill {
            for tenant in &input.tenants {
                let (mails, event) = (&prepared.mails, prepared.event.as_str());
                let whom = (*tenant, Told::Answering);
                if self.tell_tenant(whom, MessageKind::Breach, mails, event).await? == 0 {
                    let detail = "one of them has nobody who can be told: nothing was noted";
                    return Err(Error::invalid_at("tenants", detail));
                }
            }
        }
        let tx = self.0.store.begin(context).await?;
        let prepared = self.prepare_notice(&tx, context, id, &input).await?;
        let Prepared { mut breach, before, recipients, mails, event } = prepared;
        if !breach.content.is_drill {
            self.queue_notices(&tx, &recipients, &mails, &event).await?;
        }
        let done = (Action::BreachNotify, "notified");
        self.put_changed(&tx, context, done, (before, &mut breach)).await?;
        Ok(tx.commit().await?)
    }

    /// Whether the mails of a notice can be sent: what is not sent is not noted as told, and no
    /// organisation writes to ever more addresses.
    async fn check_breach_mails(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        prepared: &Prepared,
    ) -> Result<()> {
        if self.0.mailer.is_none() || is_nobodys(context.tenant) {
            let detail = "the platform sends no mail: nothing was sent";
            return Err(Error::Conflict(detail.to_owned()));
        }
        let more = u64::try_from(prepared.recipients.len()).unwrap_or(u64::MAX);
        let (waiting, max) = (tx.outbox_waiting().await?, waiting_max(MailRank::Account));
        if waiting.saturating_add(more) > max {
            return Err(over("mails_waiting_max", max, waiting.saturating_add(more)));
        }
        let since = context.at.saturating_sub(DAY);
        let is_of_today = |notice: &&BreachNoticeView| {
            !notice.is_drill && Timestamp::parse_rfc3339(&notice.at).is_ok_and(|at| at > since)
        };
        let known: Vec<Breach> = things(tx, KIND, None).await?;
        let notices = known.iter().flat_map(|breach| &breach.facts.notices);
        let sent = notices.filter(is_of_today).map(|notice| notice.recipients).sum::<u64>();
        let actual = sent.saturating_add(more);
        if actual > MAILS_PER_DAY_MAX {
            return Err(over("breach_mails_per_day_max", MAILS_PER_DAY_MAX, actual));
        }
        Ok(())
    }

    /// A breach with a notice more, and what is sent for it.
    async fn prepare_notice(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        id: GovernanceId,
        input: &BreachNoticeInput,
    ) -> Result<Prepared> {
        let mut breach: Breach = thing(tx, KIND, id).await?;
        word("to", &input.to, &TO)?;
        word("phase", &input.phase, &PHASES)?;
        if breach.row.state == "closed" || breach.facts.notices.len() >= NOTICES_MAX {
            return Err(Error::Conflict("this breach takes no more notices".to_owned()));
        }
        let content = &breach.content;
        let is_late = is_late(&breach, &input.to, context.at);
        let lacks = missing(content, (&input.to, &input.phase), is_late);
        if let Some(first) = lacks.first()
            && !self.sends_anything()
        {
            let detail = format!("the notice lacks {}: nothing was sent", lacks.join(", "));
            return Err(Error::invalid_at(*first, detail));
        }
        let recipients = addresses(input, content)?;
        if input.to == "authority" && !input.tenants.is_empty() {
            return Err(Error::invalid_at("tenants", "a notice to an authority goes to it alone"));
        }
        self.check_told_tenants(context, &input.tenants)?;
        let told = recipients.len().saturating_add(input.tenants.len());
        if told == 0 {
            return Err(Error::invalid_at("recipients", "say whom the notice is to reach"));
        }
        let before = breach.value();
        let from = self.0.tree.read().answering(context.tenant).name;
        let notice =
            Notice { content, to: &input.to, phase: &input.phase, from: &from, at: context.at };
        let mails = notice.mails(input.language.unwrap_or(Language::English));
        let texts: Vec<BreachTextView> = mails.iter().map(digest_of).collect();
        let notice = BreachNoticeView {
            to: input.to.clone(),
            phase: input.phase.clone(),
            at: context.at.to_string(),
            recipients: u64::try_from(told).unwrap_or(u64::MAX),
            sha256: texts.first().map(|one| one.sha256.clone()).unwrap_or_default(),
            texts,
            is_drill: content.is_drill,
            is_late,
        };
        breach.facts.notices.push(notice);
        breach.row.state = "told".to_owned();
        breach.row.due_at = next_alarm(&breach);
        // Of one state of what is known: once that was changed, those below are told what it says.
        let event = format!("breach {id} {} {} {}", breach.row.version, input.to, input.phase);
        Ok(Prepared { breach, before, recipients, mails, event })
    }

    /// Only those below may be told as a processor's controllers.
    fn check_told_tenants(&self, context: &OpContext, tenants: &[TenantId]) -> Result<()> {
        let tree = self.0.tree.read();
        let is_below =
            |one: &TenantId| tree.get(*one).is_some() && tree.stands_above(context.tenant, *one);
        if tenants.iter().all(is_below) {
            return Ok(());
        }
        Err(Error::invalid_at("tenants", "only organisations below yours can be told"))
    }

    /// Queues a notice to addresses: each in the language of its account here, where one is known.
    async fn queue_notices(
        &self,
        tx: &TenantTx,
        recipients: &[String],
        mails: &[Worded],
        event: &str,
    ) -> Result<()> {
        let Some((picked, ..)) = mails.first() else { return Ok(()) };
        let chosen = match mails {
            [_] => HashMap::new(),
            _ => languages_of(tx, recipients).await?,
        };
        for to in recipients {
            let language = chosen.get(to).copied().unwrap_or(*picked);
            let (subject, said) = worded_for(mails, language);
            let mail = MailPayload {
                to: to.clone(),
                subject: subject.to_owned(),
                text: said.to_owned(),
                ..MailPayload::of(MessageKind::Breach)
            };
            let body = serde_json::to_vec(&mail).map_err(|e| Error::Internal(e.to_string()))?;
            let key = mail_key(event, to);
            tx.outbox_add(NewMail::new(MailRank::Account, &key, &body)).await?;
        }
        Ok(())
    }
}
