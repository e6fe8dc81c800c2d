//! Telling everybody of a published version by mail, page after page of accounts: where it came to
//! is written down with each page, so that a crash, or a mail server that is set later, loses
//! nobody. Who comes in before the version takes effect is told as well.

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use veritwin_access::jobs;
use veritwin_domain::{Timestamp, UserId};
use veritwin_governance::Language;
use veritwin_metastore::{
    MailRank, NewMail, NoticeKind, NoticeReceipt, NoticeState, PlatformTx, User,
};

use crate::consent_words::ConsentWords;
use crate::languages::{filled, read_language};
use crate::legal::Published;
use crate::mail::{MailPayload, mail_key};
use crate::mail_kinds::MessageKind;
use crate::{App, Error, Result};

const SETTING: &str = "legal_notices";
/// Pages of accounts that are told in one round.
const PAGES_AT_ONCE: usize = 5;

/// How far telling of a version has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Telling {
    version: u64,
    /// The address of the platform's pages.
    pages: String,
    /// The last account that was told.
    after: Option<String>,
    /// Everybody was told who was there; who comes in later still is.
    is_through: bool,
}

impl Telling {
    fn last(&self) -> Option<UserId> {
        self.after.as_deref().and_then(|id| id.parse().ok())
    }
}

fn packed(all: &[Telling]) -> Result<Vec<u8>> {
    serde_json::to_vec(all).map_err(|error| Error::Internal(error.to_string()))
}

async fn read(tx: &PlatformTx) -> Result<(Vec<Telling>, u64)> {
    let Some(setting) = tx.setting(SETTING).await? else { return Ok((Vec::new(), 0)) };
    let all = serde_json::from_slice(&setting.body)
        .map_err(|_| Error::Internal("what is told of versions is damaged".to_owned()))?;
    Ok((all, setting.version))
}

/// Notes, in the transaction of a version, that everybody is to be told of it.
pub(crate) async fn begin_telling(tx: &PlatformTx, version: u64, pages: &str) -> Result<()> {
    let (mut all, expected) = read(tx).await?;
    let pages = pages.to_owned();
    all.push(Telling { version, pages, after: None, is_through: false });
    tx.setting_put(SETTING, &packed(&all)?, Some(expected)).await?;
    Ok(())
}

impl App {
    /// Tells the next pages of accounts; what fails is tried again in the next round.
    pub(crate) async fn tell_of_versions(&self) {
        for _ in 0..PAGES_AT_ONCE {
            match self.tell_page().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%error, "notices of a change of the texts wait");
                    return;
                }
            }
        }
    }

    /// Tells one page of accounts of the oldest version that somebody has not been told of; whether
    /// there may be more.
    #[boxed]
    async fn tell_page(&self) -> Result<bool> {
        if self.0.mailer.is_none() {
            return Ok(false);
        }
        let context = self.job(jobs::MAIL);
        let tx = self.0.store.read_platform(&context).await?;
        let (known, _) = read(&tx).await?;
        let versions = self.0.legal.all();
        let mut is_due = false;
        for one in known.iter().filter(|one| is_open(one, &versions, context.at)) {
            is_due |= !one.is_through || !tx.users_after(one.last()).await?.is_empty();
        }
        drop(tx);
        if !is_due {
            return Ok(false);
        }
        let tx = self.0.store.begin_platform(&context).await?;
        let (mut all, expected) = read(&tx).await?;
        all.retain(|one| is_open(one, &versions, context.at));
        let mut goes_on = false;
        for one in &mut all {
            let Some(version) = versions.iter().find(|known| known.number == one.version) else {
                continue;
            };
            let people = tx.users_after(one.last()).await?;
            let Some(end) = people.last() else {
                one.is_through = true;
                continue;
            };
            one.after = Some(end.0.to_string());
            let readable = people.into_iter().filter_map(|(_, user)| user);
            for user in readable.filter(has_mailbox) {
                tell_one(&tx, (version, one.pages.as_str()), user).await?;
            }
            goes_on = true;
            break;
        }
        if all != known {
            tx.setting_put(SETTING, &packed(&all)?, Some(expected)).await?;
            tx.commit().await?;
        }
        Ok(goes_on)
    }
}

/// Queues the notice of a version to somebody, with its receipt.
async fn tell_one(tx: &PlatformTx, (version, pages): (&Published, &str), user: User) -> Result<()> {
    let receipt = NoticeReceipt {
        user: user.id,
        version: version.number,
        kind: NoticeKind::Mail,
        digest: version.digest,
        state: NoticeState::Queued,
        at: told_at(version, user.created_at),
        done_at: None,
    };
    tx.notice_add(&receipt).await?;
    let chosen = tx.user_language(user.id).await?;
    let language = chosen.map_or(Language::English, read_language);
    let mail = notice_mail(version, pages, (user.id, user.email), language);
    let body = serde_json::to_vec(&mail).map_err(|error| Error::Internal(error.to_string()))?;
    let key = mail_key(&format!("legal {}", version.number), &mail.to);
    tx.outbox_add(NewMail::new(MailRank::Bulk, &key, &body), None).await?;
    Ok(())
}

/// When somebody is told: with the announcement, or when they came in.
fn told_at(version: &Published, came_in: Timestamp) -> Timestamp {
    version.announced_at.max(came_in)
}

/// Whether somebody may still have to be told of a version.
fn is_open(one: &Telling, versions: &[Published], now: Timestamp) -> bool {
    let version = versions.iter().find(|known| known.number == one.version);
    version.is_some_and(|version| !one.is_through || version.effective_at > now)
}

/// Who is told by mail: not people whom a check made up (RFC 2606).
fn has_mailbox(user: &User) -> bool {
    !user.disabled && !user.email.ends_with(".invalid")
}

/// The mail that announces a version of the texts.
pub(crate) fn notice_mail(
    version: &Published,
    pages: &str,
    (user, to): (UserId, String),
    language: Language,
) -> MailPayload {
    let effect = version.effective_at.to_string();
    let (date, _) = effect.split_once('T').unwrap_or((effect.as_str(), ""));
    let (subject, text) = ConsentWords::of(language).notice;
    let (number, link) = (version.number.to_string(), format!("{pages}/legal/privacy"));
    let said = [
        ("date", date),
        ("version", number.as_str()),
        ("summary", version.body.summary.as_str()),
        ("link", link.as_str()),
    ];
    MailPayload {
        to,
        subject: filled(subject, &said),
        text: filled(text, &said),
        notice: Some((user.to_string(), version.number)),
        ..MailPayload::of(MessageKind::Policy)
    }
}
