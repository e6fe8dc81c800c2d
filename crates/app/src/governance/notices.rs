//! Notices of the service: beginning, releases, maintenance. An organisation writes them to its own
//! people and to everybody below it; nothing else is sent to them (promise P60).

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use veritwin_access::{Action, Kind, jobs};
use veritwin_domain::{GovernanceId, OpContext, TenantId, Timestamp};
use veritwin_governance::Language;
use veritwin_metastore::{GovernanceKind, TenantTx};

use super::due::Told;
use super::transfer_words::Transfer;
use super::{NOTE_CHARS_MAX, TITLE_CHARS_MAX, Thing, page_of, thing};
use crate::holds::words;
use crate::languages::{Worded, worded_for};
use crate::mail_kinds::MessageKind;
use crate::model::{Governed, NoticeContent, NoticeFacts, PageRequest};
use crate::provision::is_nobodys;
use crate::{App, Error, Result};

const KIND: GovernanceKind = GovernanceKind::Notice;
/// The kind of a notice that a register publishes, and nobody writes.
const TRANSFER: &str = "transfer";
/// Letters of an acquirer's name in a title.
const NAMED_CHARS_MAX: usize = 100;
/// Newest notices of one organisation that are shown.
const SHOWN_MAX: usize = 50;
/// Organisations that are told by mail in one turn; the others are in the next.
const TOLD_AT_ONCE: usize = 50;

/// How far telling has come.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Facts {
    told: u64,
    /// The newest that was told, in the order of ids.
    told_until: Option<TenantId>,
    /// Of a transfer of the business: what is mailed to each in their language.
    transfer: Option<Transfer>,
}

type Notice = Thing<NoticeContent, Facts>;

/// What a kind of notice is as a message.
fn message_kind(kind: &str) -> Result<MessageKind> {
    match kind {
        "onboarding" => Ok(MessageKind::Onboarding),
        "release" => Ok(MessageKind::Release),
        "service" | TRANSFER => Ok(MessageKind::Service),
        _ => Err(Error::invalid_at("kind", "must be one of onboarding, release, service")),
    }
}

/// What a notice is as a mail: what people wrote stands as they wrote it.
fn mails_of(notice: &Notice) -> Vec<Worded> {
    match &notice.facts.transfer {
        Some(transfer) => transfer.mails(),
        None => {
            let NoticeContent { title, text, .. } = &notice.content;
            vec![(Language::English, title.clone(), text.clone())]
        }
    }
}

/// Whether a notice has not reached everybody yet.
pub(crate) async fn is_on_its_way(tx: &TenantTx, notice: Option<&str>) -> Result<bool> {
    let Some(id) = notice.and_then(|id| id.parse::<GovernanceId>().ok()) else { return Ok(false) };
    let found = crate::error::found(tx.governance_any(id).await)?;
    Ok(found.is_some_and(|one| one.due_at.is_some()))
}

impl App {
    /// The notices of the organisation and of those above it, newest first.
    #[boxed]
    pub async fn list_notices(
        &self,
        context: &OpContext,
    ) -> Result<Vec<Governed<NoticeContent, NoticeFacts>>> {
        let all = self.authorize_all(context, Action::GovernanceSee, Kind::Governance)?;
        let above: Vec<TenantId> = self.0.tree.read().upwards(context.tenant).collect();
        let mut views = Vec::new();
        for tenant in above {
            let job = self.job_in(jobs::GOVERNANCE, tenant);
            let tx = self.0.store.read(&job).await?;
            let name = self.0.tree.read().answering(tenant).name;
            let newest = PageRequest { cursor: None, limit: Some(SHOWN_MAX) };
            // An organisation whose key is away has nothing to say meanwhile.
            let found = match page_of(&tx, KIND, &newest, Some::<Notice>).await {
                Ok(found) => found.items,
                Err(error) if error.is_withheld() && tenant != context.tenant => continue,
                Err(error) => return Err(error),
            };
            views.extend(found.into_iter().map(|notice: Notice| {
                // How many organisations somebody above has is not for those below.
                let told = if tenant == context.tenant { notice.facts.told } else { 0 };
                notice.view(NoticeFacts { from_whom: name.clone(), told })
            }));
        }
        views.sort_by_key(|view| std::cmp::Reverse(view.created_at));
        self.note(context, Action::GovernanceSee, &all, "done");
        Ok(views)
    }

    /// Writes a notice; those who answer for each organisation below are told by mail.
    #[boxed]
    pub async fn publish_notice(
        &self,
        context: &OpContext,
        content: NoticeContent,
    ) -> Result<GovernanceId> {
        self.authorize_all(context, Action::NoticeWrite, Kind::Governance)?;
        message_kind(&content.kind)?;
        if content.kind == TRANSFER {
            let detail = "a transfer of the business is announced by its entry in the register";
            return Err(Error::invalid_at("kind", detail));
        }
        if let (Some(from), Some(until)) = (content.from, content.until)
            && from > until
        {
            return Err(Error::invalid_at("until", "must not be before `from`"));
        }
        let content = NoticeContent {
            title: words("title", &content.title, TITLE_CHARS_MAX)?,
            text: words("text", &content.text, NOTE_CHARS_MAX)?,
            ..content
        };
        let facts = Facts::default();
        let mut notice = Notice::new(self, context, KIND, (content, facts), "published");
        notice.row.due_at = Some(context.at);
        let tx = self.0.store.begin(context).await?;
        self.put_new(&tx, context, Action::NoticeWrite, &notice).await?;
        tx.commit().await?;
        Ok(notice.row.id)
    }

    /// Announces a transfer of the business: everybody of the organisation and of those below it is
    /// told by mail. Of an organisation of nobody there is nobody to tell.
    pub(crate) async fn announce_transfer(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (acquirer, effective_at, text): (&str, &str, &str),
    ) -> Result<Option<GovernanceId>> {
        if is_nobodys(context.tenant) {
            return Ok(None);
        }
        let transfer = Transfer {
            acquirer: acquirer.chars().take(NAMED_CHARS_MAX).collect(),
            effective_at: effective_at.to_owned(),
            text: text.to_owned(),
        };
        let mails = transfer.mails();
        let (title, text) = worded_for(&mails, Language::English);
        let content = NoticeContent {
            kind: TRANSFER.to_owned(),
            title: title.to_owned(),
            text: text.to_owned(),
            from: Timestamp::parse_rfc3339(effective_at).ok(),
            until: None,
        };
        let facts = Facts { transfer: Some(transfer), ..Facts::default() };
        let mut notice = Notice::new(self, context, KIND, (content, facts), "published");
        notice.row.due_at = Some(context.at);
        self.put_new(tx, context, Action::NoticeWrite, &notice).await?;
        Ok(Some(notice.row.id))
    }

    /// Tells the next organisations of a notice.
    pub(super) async fn notice_is_due(&self, context: &OpContext, id: GovernanceId) -> Result<()> {
        let tx = self.0.store.read(context).await?;
        let mut notice: Notice = thing(&tx, KIND, id).await?;
        drop(tx);
        let kind = message_kind(&notice.content.kind)?;
        let mut below = self.0.tree.read().with_all_below(context.tenant);
        below.retain(|tenant| !is_nobodys(*tenant));
        below.sort_unstable();
        let last = notice.facts.told_until;
        let next: Vec<TenantId> =
            below.into_iter().filter(|one| last.is_none_or(|last| *one > last)).collect();
        let event = format!("notice {id}");
        let is_transfer = notice.content.kind == TRANSFER;
        let told_whom = if is_transfer { Told::Everybody } else { Told::Answering };
        let mails = mails_of(&notice);
        let mut told = 0u64;
        for tenant in next.iter().take(TOLD_AT_ONCE) {
            match self.tell_tenant((*tenant, told_whom), kind, &mails, &event).await {
                Ok(0) => {}
                Ok(_) => told += 1,
                // Whose key is away reads it later; the others are told now.
                Err(error) if error.is_withheld() => {
                    tracing::warn!(%tenant, %error, "a tenant was not told of a notice by mail");
                }
                Err(error) => return Err(error),
            }
        }
        notice.facts.told = notice.facts.told.saturating_add(told);
        notice.facts.told_until = next.iter().take(TOLD_AT_ONCE).next_back().copied().or(last);
        let is_done = next.len() <= TOLD_AT_ONCE;
        notice.row.due_at = notice.row.due_at.filter(|_| !is_done);
        let tx = self.0.store.begin(context).await?;
        tx.governance_replace(&notice.packed()?, notice.row.version).await?;
        Ok(tx.commit().await?)
    }
}
