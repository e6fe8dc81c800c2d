//! P13, P57 and P62: what a person was told at sign-up can be read again word by word; a material
//! change of the texts cannot be published too early; and the texts stand beside each other, with
//! links that resolve, sentences that were reviewed, and the roles of the register.

use std::sync::Arc;
use std::time::Duration;

use veritwin_governance::{
    BlockKind, Document, Generated, Language, NOTICE_TIME, ProcessingRole, TEXT_VERSION,
    canonical_text, rendered_text,
};
use veritwin_keys::sha256;

use super::run::InApp;
use super::sign_up::{Guest, answer, fact};
use super::{PlatformProbe, ProbeAnswer};
use crate::brands::Door;
use crate::legal::{VersionBody, text_of, unreviewed};
use crate::model::LegalVersionInput;
use crate::{App, Error, Result};

const VERSION: u32 = 1;
const DAY: Duration = Duration::from_secs(86_400);
/// The only purposes of customer content (promise P01).
const OF_CONTENT: [&str; 4] =
    ["ingest_routing", "twin_building", "ledger_archive", "security_support"];

type Found = std::result::Result<Vec<(String, String)>, (String, String)>;

pub(super) fn notice_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, 13, VERSION, |app: App| async move { app.check_notice().await })
}

pub(super) fn publication_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, 57, VERSION, |app: App| async move { app.check_publishing().await })
}

pub(super) fn pages_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, 62, VERSION, |app: App| async move { app.check_pages().await })
}

fn wrong(summary: &str, place: &str) -> Found {
    Err((summary.to_owned(), place.to_owned()))
}

impl App {
    async fn check_notice(&self) -> Result<ProbeAnswer> {
        let guest = self.sign_up_guest(true).await?;
        let walked = self.walk_notice(&guest).await;
        self.destroy_account(guest.signed_in.session.user.id).await?;
        Ok(answer(walked?, "What a person was told at sign-up can be read again, word by word."))
    }

    async fn walk_notice(&self, guest: &Guest) -> Result<Found> {
        let context = self.guest_context(&guest.signed_in).await?;
        let told = self.privacy(&context, Language::English).await?;
        let Some(notice) = told.notice else {
            let summary = "A person who signed up has no receipt of the notice.";
            return Ok(wrong(summary, "table users"));
        };
        let (facts, number) = self.controller()?;
        let in_force = self.0.legal.in_force(self.clock().now());
        let version = in_force.map_or(TEXT_VERSION, |one| one.text_version);
        let blocks = text_of(version, Document::Privacy, Language::English)?;
        let text = canonical_text(&rendered_text(&blocks, &facts));
        let digest = hex::encode(sha256(text.as_bytes()));
        if notice.version != number || notice.text != text || notice.digest != digest {
            let summary = "The receipt does not reproduce the notice of its version.";
            return Ok(wrong(summary, "table legal_versions"));
        }
        let has_purposes = told.purposes.iter().all(|one| !one.text.is_empty());
        if !has_purposes || told.consents.iter().any(|one| one.purpose.recipients.is_empty()) {
            let summary = "A purpose or its recipients are not told.";
            return Ok(wrong(summary, "purpose register"));
        }
        Ok(Ok(vec![fact("version", &number.to_string()), fact("sha256 of the notice", &digest)]))
    }

    async fn check_publishing(&self) -> Result<ProbeAnswer> {
        let now = self.clock().now();
        let body = VersionBody::of(&self.0.config.operator, "probe");
        let versions = self.0.legal.all();
        let Some(last) = versions.last() else {
            return Err(Error::Internal("no policy was published".to_owned()));
        };
        // Behind whatever is announced already, and a day too early.
        let notice_end = now.saturating_add(NOTICE_TIME);
        let early = LegalVersionInput {
            summary: "probe".to_owned(),
            is_material: true,
            effective_at: now.saturating_add(NOTICE_TIME.saturating_sub(DAY)),
        };
        if self.next_version(&early, &body, now).is_ok() {
            let found = wrong("A material change could be published too early.", "publishing");
            return Ok(answer(found, ""));
        }
        let after_last = last.effective_at.saturating_add(DAY).max(notice_end);
        let in_time = LegalVersionInput { effective_at: after_last, ..early };
        self.next_version(&in_time, &body, now)?;
        let early = versions.iter().skip(1).find(|one| {
            one.is_material && one.effective_at < one.announced_at.saturating_add(NOTICE_TIME)
        });
        if let Some(one) = early {
            let place = format!("version {}", one.number);
            let found = wrong("A material change took effect too early.", &place);
            return Ok(answer(found, ""));
        }
        let tx = self.0.store.read_platform(&self.job(veritwin_access::jobs::PROMISES)).await?;
        let [queued, delivered, failed, seen] = tx.notice_counts(last.number).await?;
        let found = Ok(vec![
            fact("newest version", &last.number.to_string()),
            fact("notices by mail: delivered", &delivered.to_string()),
            fact("notices by mail: failed", &failed.to_string()),
            fact("notices by mail: queued", &queued.to_string()),
            fact("announcement: seen", &seen.to_string()),
        ]);
        Ok(answer(found, "A material change is refused before its notice is 30 days old."))
    }

    async fn check_pages(&self) -> Result<ProbeAnswer> {
        Ok(answer(
            self.walk_pages().await?,
            "The texts stand beside each other, reviewed, and their links resolve.",
        ))
    }

    async fn walk_pages(&self) -> Result<Found> {
        if let Some((document, problems)) = unreviewed()?.into_iter().next() {
            let summary = format!("{} sentences of a text were not reviewed.", problems.len());
            return Ok(wrong(&summary, document));
        }
        let (mut links, mut sentences) = (0, 0);
        let context = self.visitor();
        for document in Document::ALL {
            for language in Language::ALL {
                let text = self.legal_text(&context, Door::default(), document, language).await?;
                let place = format!("{document} ({})", language.as_str());
                for sentence in text.blocks.iter().flat_map(|block| &block.sentences) {
                    sentences += 1;
                    for target in sentence.text.split("](").skip(1) {
                        links += 1;
                        let target = target.split(')').next().unwrap_or_default();
                        let name = target.strip_prefix("/legal/").unwrap_or_default();
                        if name.parse::<Document>().is_err() {
                            return Ok(wrong("A link between the texts leads nowhere.", &place));
                        }
                    }
                }
                let is_roles = document == Document::Roles;
                if is_roles && !shows_roles(text.blocks.iter().map(|one| one.kind)) {
                    return Ok(wrong("The page on roles lacks the register's lists.", &place));
                }
            }
        }
        let purposes = self.0.purposes.purposes().iter();
        let of_content = purposes.filter(|one| one.role == ProcessingRole::Processor);
        let of_content: Vec<&str> = of_content.map(|one| one.id.as_str()).collect();
        if of_content != OF_CONTENT {
            let summary = "The purposes as processor are not the four of the policy.";
            return Ok(wrong(summary, "purpose register"));
        }
        Ok(Ok(vec![
            fact("texts", &Document::ALL.len().to_string()),
            fact("languages", &Language::ALL.len().to_string()),
            fact("links", &links.to_string()),
            fact("sentences", &sentences.to_string()),
        ]))
    }
}

fn shows_roles(kinds: impl Iterator<Item = BlockKind>) -> bool {
    let kinds: Vec<BlockKind> = kinds.collect();
    [Generated::ProcessorPurposes, Generated::ControllerPurposes]
        .into_iter()
        .all(|list| kinds.contains(&BlockKind::List(list)))
}
