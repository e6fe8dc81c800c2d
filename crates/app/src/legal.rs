//! The published texts: which version is in force, what it says with this installation's facts in
//! it, and which version a person was told of at sign-up (promises P13, P62).

use std::collections::BTreeMap;
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use veritwin_access::Action;
use veritwin_domain::{OpContext, PlatformContext, Timestamp, UserId};
use veritwin_governance::{
    Block, Document, Language, PolicyFacts, PurposeRegister, SentenceMap, TEXT_VERSION,
    canonical_text, published_text, rendered_text,
};
use veritwin_keys::sha256;
use veritwin_metastore::{LegalVersion, NoticeKind, NoticeState};

use crate::brands::{Door, PRODUCT};
use crate::config_parts::Operator;
use crate::consent_views::purpose_view;
use crate::links::ATTESTATION_TEXT;
use crate::model::{AnnouncementView, LegalText, NoticeView, SubProcessor};
use crate::{App, Error, Result};

/// Between what a person attested and the version of the notice that they were shown.
const NOTICE_MARK: &str = "-notice-";

/// What a version holds beside its texts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VersionBody {
    operator: String,
    address: String,
    contact: String,
    law: String,
    court: String,
    pub(crate) sub_processors: Vec<SubProcessor>,
    pub(crate) summary: String,
}

impl VersionBody {
    /// What the configuration says now.
    pub(crate) fn of(operator: &Operator, summary: &str) -> Self {
        let said = |text: &str, otherwise: &str| {
            let text = text.trim();
            if text.is_empty() { otherwise.to_owned() } else { text.to_owned() }
        };
        Self {
            operator: said(&operator.name, "the operator of this installation"),
            address: said(&operator.address, "at the address in the imprint"),
            contact: said(&operator.contact, "the contact form of the sign-in page"),
            law: said(&operator.law, "the law of the operator's seat"),
            court: said(&operator.court, "the court of the operator's seat"),
            sub_processors: operator.sub_processors.clone(),
            summary: summary.to_owned(),
        }
    }

    pub(crate) fn facts(&self, product: &str) -> PolicyFacts {
        PolicyFacts {
            product: product.to_owned(),
            operator: self.operator.clone(),
            address: self.address.clone(),
            contact: self.contact.clone(),
            law: self.law.clone(),
            court: self.court.clone(),
        }
    }
}

/// A published version.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) number: u64,
    /// Which version of the texts it publishes.
    pub(crate) text_version: u32,
    pub(crate) is_material: bool,
    pub(crate) body: VersionBody,
    pub(crate) digest: [u8; 32],
    pub(crate) announced_at: Timestamp,
    pub(crate) effective_at: Timestamp,
}

impl Published {
    fn load(row: LegalVersion) -> Result<Self> {
        let damaged = |_| Error::Internal("a published version is damaged".to_owned());
        let text_version = u32::try_from(row.text_version)
            .map_err(|_| Error::Internal("a published version is damaged".to_owned()))?;
        Ok(Self {
            number: row.number,
            text_version,
            is_material: row.is_material,
            body: serde_json::from_slice(&row.body).map_err(damaged)?,
            digest: row.digest,
            announced_at: row.announced_at,
            effective_at: row.effective_at,
        })
    }
}

/// The published versions in memory, oldest first.
#[derive(Debug, Default)]
pub(crate) struct LegalBoard(RwLock<Arc<Vec<Published>>>);

impl LegalBoard {
    pub(crate) fn all(&self) -> Arc<Vec<Published>> {
        Arc::clone(&self.0.read())
    }

    /// The newest whose time has come.
    pub(crate) fn in_force(&self, now: Timestamp) -> Option<Published> {
        self.0.read().iter().rev().find(|one| one.effective_at <= now).cloned()
    }

    /// The next whose time has not come.
    fn announced(&self, now: Timestamp) -> Option<Published> {
        self.0.read().iter().find(|one| one.effective_at > now).cloned()
    }

    pub(crate) fn replace(&self, versions: Vec<Published>) {
        *self.0.write() = Arc::new(versions);
    }
}

pub(crate) fn purpose_register() -> Result<PurposeRegister> {
    PurposeRegister::built_in().map_err(|error| Error::Internal(error.to_string()))
}

/// A text of a version of the texts.
pub(crate) fn text_of(version: u32, document: Document, language: Language) -> Result<Vec<Block>> {
    published_text(version, document, language).map_err(|error| Error::Internal(error.to_string()))
}

/// The privacy policy that people are told of at sign-up, in the language in force.
fn notice_text(body: &VersionBody, version: u32) -> Result<String> {
    let blocks = text_of(version, Document::Privacy, Language::English)?;
    Ok(canonical_text(&rendered_text(&blocks, &body.facts(PRODUCT))))
}

/// SHA-256 of the privacy policy with an installation's facts, and of its sub-processors.
pub(crate) fn digest_of(body: &VersionBody) -> Result<[u8; 32]> {
    let mut whole = String::new();
    for document in Document::ALL {
        let blocks = text_of(TEXT_VERSION, document, Language::English)?;
        whole.push_str(&canonical_text(&rendered_text(&blocks, &body.facts(PRODUCT))));
    }
    for one in &body.sub_processors {
        whole.push_str(&format!(
            "{}\n{}\n{}\n{}\n",
            one.name, one.purpose, one.country, one.agreement
        ));
    }
    Ok(sha256(whole.as_bytes()))
}

impl App {
    /// Reads the published versions: at the start. The first one of an installation is published
    /// by that, and changes nothing for anybody.
    pub(crate) async fn load_legal(&self) -> Result<()> {
        let context = self.local_operator();
        let tx = self.0.store.read_platform(&context).await?;
        let mut rows = tx.legal_versions().await?;
        drop(tx);
        if rows.is_empty() {
            let body = VersionBody::of(&self.0.config.operator, "The first version.");
            let first = LegalVersion {
                number: 1,
                text_version: u64::from(TEXT_VERSION),
                is_material: false,
                digest: digest_of(&body)?,
                body: serde_json::to_vec(&body)
                    .map_err(|error| Error::Internal(error.to_string()))?,
                announced_at: context.at,
                effective_at: context.at,
            };
            let tx = self.0.store.begin_platform(&context).await?;
            tx.legal_version_add(&first).await?;
            tx.commit().await?;
            rows.push(first);
        }
        let versions = rows.into_iter().map(Published::load).collect::<Result<Vec<_>>>()?;
        self.0.legal.replace(versions);
        Ok(())
    }

    /// Who answers, and the number of the version in force.
    pub(crate) fn controller(&self) -> Result<(PolicyFacts, u64)> {
        let found = self.0.legal.in_force(self.clock().now());
        let found = found.ok_or_else(|| Error::Internal("no policy is in force".to_owned()))?;
        Ok((found.body.facts(PRODUCT), found.number))
    }

    /// A text of the version in force, with this installation's facts in it.
    pub(crate) fn text_in_force(&self, document: Document) -> Result<Vec<Block>> {
        let found = self.0.legal.in_force(self.clock().now());
        let found = found.ok_or_else(|| Error::Internal("no policy is in force".to_owned()))?;
        let blocks = text_of(found.text_version, document, Language::English)?;
        Ok(rendered_text(&blocks, &found.body.facts(PRODUCT)))
    }

    /// Whether the version in force names a sub-processor: nothing personal goes to another.
    pub(crate) fn is_sub_processor(&self, name: &str) -> bool {
        let found = self.0.legal.in_force(self.clock().now());
        found.is_some_and(|one| one.body.sub_processors.iter().any(|known| known.name == name))
    }

    /// What a person attests, with the version of the notice that the page showed.
    pub(crate) fn attested_text(&self, now: Timestamp) -> String {
        let number = self.0.legal.in_force(now).map_or(0, |one| one.number);
        #[cfg(feature = "test-controls")]
        let number = if self.0.promises.is_sabotaged(13) { 0 } else { number };
        format!("{ATTESTATION_TEXT}{NOTICE_MARK}{number}")
    }

    /// What a person was told when they signed up: the text of that version.
    pub(crate) async fn notice_of(
        &self,
        context: &OpContext,
        user: UserId,
    ) -> Result<Option<NoticeView>> {
        let tx = self.0.store.read_platform(&self.above(context)).await?;
        let Some(attestation) = tx.user(user).await?.attestation else { return Ok(None) };
        let number =
            attestation.text.rsplit_once(NOTICE_MARK).map(|(_, number)| number.parse::<u64>());
        let Some(Ok(number)) = number else { return Ok(None) };
        let versions = self.0.legal.all();
        let Some(found) = versions.iter().find(|one| one.number == number) else {
            return Ok(None);
        };
        let text = notice_text(&found.body, found.text_version)?;
        Ok(Some(NoticeView {
            version: number,
            at: attestation.at,
            digest: hex::encode(sha256(text.as_bytes())),
            text,
        }))
    }

    /// A change that is on its way, as a person stands to it.
    pub(crate) async fn announced_to(
        &self,
        context: &OpContext,
        user: UserId,
    ) -> Result<Option<AnnouncementView>> {
        let Some(next) = self.0.legal.announced(context.at) else { return Ok(None) };
        let tx = self.0.store.read_platform(&self.above(context)).await?;
        let told = tx.notices_of(user).await?;
        let is_seen = told.iter().any(|one| {
            one.version == next.number
                && one.kind == NoticeKind::Announcement
                && one.state == NoticeState::Seen
        });
        Ok(Some(announcement(&next, is_seen)))
    }

    /// A text for anybody, in the name of the face of the page.
    #[boxed]
    pub async fn legal_text<'a>(
        &'a self,
        context: &'a PlatformContext,
        door: Door<'a>,
        document: Document,
        language: Language,
    ) -> Result<LegalText> {
        self.authorize_platform(context, Action::LegalShow)?;
        let product = self.face(context, door)?.product;
        let found = self.0.legal.in_force(context.at);
        let found = found.ok_or(Error::NotFound("policy"))?;
        let map = SentenceMap::built_in().map_err(|error| Error::Internal(error.to_string()))?;
        let version = found.text_version;
        let blocks = text_of(version, document, language)?;
        let blocks = rendered_text(&blocks, &found.body.facts(&product));
        let english = text_of(version, document, Language::English)?;
        let english = canonical_text(&rendered_text(&english, &found.body.facts(&product)));
        #[cfg(feature = "test-controls")]
        let blocks = self.0.promises.with_broken_links(blocks);
        let purposes = self.0.purposes.purposes().iter();
        Ok(LegalText {
            document: document.as_str(),
            language: language.as_str(),
            version: found.number,
            effective_at: found.effective_at,
            reviewed: map.reviewed(document).unwrap_or_default().to_owned(),
            digest: hex::encode(sha256(english.as_bytes())),
            blocks,
            sub_processors: found.body.sub_processors,
            purposes: purposes.map(|purpose| purpose_view(purpose, language)).collect(),
            announcement: self.0.legal.announced(context.at).map(|next| announcement(&next, false)),
        })
    }
}

fn announcement(next: &Published, is_seen: bool) -> AnnouncementView {
    AnnouncementView {
        version: next.number,
        summary: next.body.summary.clone(),
        is_material: next.is_material,
        effective_at: next.effective_at,
        is_seen,
    }
}

/// What of the texts nobody reviewed, by text; nothing is good.
pub(crate) fn unreviewed() -> Result<BTreeMap<&'static str, Vec<String>>> {
    let map = SentenceMap::built_in().map_err(|error| Error::Internal(error.to_string()))?;
    let mut problems = BTreeMap::new();
    for document in Document::ALL {
        let blocks = text_of(TEXT_VERSION, document, Language::English)?;
        let found = map.unreviewed(document, &blocks, |text| hex::encode(sha256(text.as_bytes())));
        if !found.is_empty() {
            problems.insert(document.as_str(), found);
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use veritwin_metastore::schema::{Category, ColumnKind, columns};

    use super::*;

    #[test]
    fn every_sentence_of_the_texts_was_reviewed_as_it_stands() {
        let problems = unreviewed().expect("the texts");
        assert!(problems.is_empty(), "{problems:#?}");
    }

    #[test]
    fn a_changed_sentence_is_found() {
        let map = SentenceMap::built_in().expect("a map");
        let digest = |text: &str| hex::encode(sha256(text.as_bytes()));
        let mut blocks =
            text_of(TEXT_VERSION, Document::Cookies, Language::English).expect("a text");
        assert!(map.unreviewed(Document::Cookies, &blocks, digest).is_empty());
        blocks[1].sentences[0].text.push_str(" Or so.");
        let found = map.unreviewed(Document::Cookies, &blocks, digest);
        assert!(found.iter().any(|one| one.contains("nobody reviewed")), "{found:?}");
        let mut blocks =
            text_of(TEXT_VERSION, Document::Cookies, Language::English).expect("a text");
        blocks[1].sentences[0].promises.clear();
        let found = map.unreviewed(Document::Cookies, &blocks, digest);
        assert!(found.iter().any(|one| one.contains("other promises")), "{found:?}");
    }

    /// A column without a purpose fails here: name it in `crates/governance/purposes.toml`.
    #[test]
    fn every_column_of_the_records_stands_under_a_purpose() {
        let register = PurposeRegister::built_in().expect("a register");
        let all = columns();
        for column in &all {
            let (table, name) = (column.table, column.column);
            assert!(register.of_column(table, name).is_some(), "{table}.{name} has no purpose");
            // What is about people is named field by field.
            if column.category == Category::Account {
                assert!(register.names_column(table, name), "name {table}.{name} itself");
            }
            if column.kind == ColumnKind::Sealed && table == "users" {
                assert!(register.names_column(table, name), "name {table}.{name} itself");
            }
        }
        for (table, name) in register.columns() {
            let is_there = |column: &veritwin_metastore::schema::Column| {
                column.table == table && (name == "*" || column.column == name)
            };
            assert!(all.iter().any(is_there), "{table}.{name} is no column");
        }
    }

    #[test]
    fn an_installation_without_facts_still_has_sentences() {
        let body = VersionBody::of(&Operator::default(), "x");
        assert!(digest_of(&body).is_ok());
        let text = notice_text(&body, TEXT_VERSION).expect("a text");
        assert!(text.contains("the operator of this installation"), "{text}");
    }
}
