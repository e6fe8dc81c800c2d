//! Publishing a version of the texts: announced to everybody by mail and in the service, in force
//! 30 days later when it changes something for people (promise P57). Receipts are kept.

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Kind};
use veritwin_domain::{OpContext, Timestamp, UserId};
use veritwin_governance::{TEXT_VERSION, check_publication};
use veritwin_metastore::{LegalVersion, NoticeKind, NoticeReceipt, NoticeState, OutboxEntry};

use crate::change::Change;
use crate::holds::words;
use crate::legal::{Published, VersionBody, digest_of};
use crate::legal_notices::begin_telling;
use crate::model::{LegalVersionInput, LegalVersionView};
use crate::provision::PLATFORM_TENANT;
use crate::sign_in::person;
use crate::tree::over;
use crate::{App, Error, Result};

const SUMMARY_CHARS_MAX: usize = 1000;
/// Most versions of the texts.
pub(crate) const LEGAL_VERSIONS_MAX: usize = 200;

impl App {
    /// Publishes what the configuration and this build say now as a new version: the notices are
    /// queued with it. Only the platform's own people do. `pages` is the address of its pages.
    #[boxed]
    pub async fn publish_legal_version(
        &self,
        context: &OpContext,
        input: LegalVersionInput,
        pages: &str,
    ) -> Result<u64> {
        self.authorize_all(context, Action::LegalPublish, Kind::Tenant)?;
        if context.tenant != PLATFORM_TENANT {
            let detail = "the texts are the platform administration's";
            return Err(Error::Forbidden(detail.to_owned()));
        }
        let summary = words("summary", &input.summary, SUMMARY_CHARS_MAX)?;
        let body = VersionBody::of(&self.0.config.operator, &summary);
        let version = self.next_version(&input, &body, context.at)?;
        let platform = self.above_as(context);
        let tx = self.0.store.begin_platform(&platform).await?;
        tx.legal_version_add(&version).await?;
        begin_telling(&tx, version.number, pages).await?;
        let change = Change::to(json!({
            "version": version.number, "material": version.is_material,
            "effective_at": version.effective_at.to_string(),
        }));
        let done = (Action::LegalPublish, "done", change);
        self.record_platform_change(&tx, &platform, Some(context.tenant), done).await?;
        tx.commit().await?;
        self.load_legal().await?;
        self.tell_of_versions().await;
        Ok(version.number)
    }

    /// The version that would be published, if it may be.
    pub(crate) fn next_version(
        &self,
        input: &LegalVersionInput,
        body: &VersionBody,
        now: Timestamp,
    ) -> Result<LegalVersion> {
        let known = self.0.legal.all();
        if known.len() >= LEGAL_VERSIONS_MAX {
            let max = LEGAL_VERSIONS_MAX as u64;
            return Err(over("legal_versions_max", max, max + 1));
        }
        let last = known.last();
        let digest = digest_of(body)?;
        // Other texts, sub-processors, operator, law or court change something for people.
        let is_changed = |last: &Published| last.digest != digest || is_other(last, body);
        let is_material = input.is_material || last.is_some_and(is_changed);
        let times = (now, input.effective_at);
        let judged = check_publication(times, is_material, last.map(|one| one.effective_at));
        #[cfg(feature = "test-controls")]
        let judged = if self.0.promises.is_sabotaged(57) { Ok(()) } else { judged };
        judged.map_err(|refused| Error::invalid_at("effective_at", refused.to_string()))?;
        Ok(LegalVersion {
            number: last.map_or(1, |one| one.number + 1),
            text_version: u64::from(TEXT_VERSION),
            is_material,
            body: serde_json::to_vec(body).map_err(|error| Error::Internal(error.to_string()))?,
            digest,
            announced_at: now,
            effective_at: input.effective_at,
        })
    }

    /// Writes down what became of the notice that a mail was.
    pub(crate) async fn note_notice(
        &self,
        entry: &OutboxEntry,
        (user, version): (UserId, u64),
        was_delivered: bool,
    ) -> Result<()> {
        let context = self.job(veritwin_access::jobs::MAIL);
        let state = if was_delivered { NoticeState::Delivered } else { NoticeState::Failed };
        let tx = self.0.store.begin_platform(&context).await?;
        tx.notice_done((user, version, NoticeKind::Mail), state, context.at).await?;
        tx.commit().await?;
        tracing::debug!(mail = %hex::encode(entry.id.0), ?state, "a notice of a change ended");
        Ok(())
    }

    /// Says that one saw the announcement of a version.
    #[boxed]
    pub async fn see_announcement(&self, context: &OpContext, number: u64) -> Result<()> {
        let resource = self.authorize_all(context, Action::NoticeSee, Kind::Session)?;
        let (user, _) = person(context)?;
        let versions = self.0.legal.all();
        let found = versions.iter().find(|one| one.number == number);
        let found = found.ok_or(Error::NotFound("version"))?;
        let receipt = NoticeReceipt {
            user,
            version: number,
            kind: NoticeKind::Announcement,
            digest: found.digest,
            state: NoticeState::Seen,
            at: context.at,
            done_at: Some(context.at),
        };
        let tx = self.0.store.begin_platform(&self.above(context)).await?;
        tx.notice_add(&receipt).await?;
        tx.commit().await?;
        self.note(context, Action::NoticeSee, &resource, "done");
        Ok(())
    }

    /// Every version, newest first.
    #[boxed]
    pub async fn legal_versions(&self, context: &OpContext) -> Result<Vec<LegalVersionView>> {
        let resource = self.authorize_all(context, Action::LegalRead, Kind::Tenant)?;
        let in_force = self.0.legal.in_force(context.at).map(|one| one.number);
        let tx = self.0.store.read_platform(&self.above(context)).await?;
        let mut views = Vec::new();
        for one in self.0.legal.all().iter().rev() {
            let notices = match context.tenant {
                PLATFORM_TENANT => Some(tx.notice_counts(one.number).await?),
                _ => None,
            };
            views.push(LegalVersionView {
                version: one.number,
                summary: one.body.summary.clone(),
                is_material: one.is_material,
                announced_at: one.announced_at,
                effective_at: one.effective_at,
                is_in_force: in_force == Some(one.number),
                digest: hex::encode(one.digest),
                notices,
            });
        }
        self.note(context, Action::LegalRead, &resource, "done");
        Ok(views)
    }
}

fn is_other(last: &Published, body: &VersionBody) -> bool {
    let mut body = body.clone();
    body.summary.clone_from(&last.body.summary);
    body != last.body
}
