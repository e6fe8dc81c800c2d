//! What people agreed to, and the published texts.

use veritwin_domain::{Secret, Timestamp};
use veritwin_governance::Block;

/// A consent that is given, with the field that serves the purpose.
#[derive(Debug)]
pub struct ConsentInput {
    /// The purpose's name.
    pub purpose: String,
    /// The version of the text that was read.
    pub version: u32,
    /// The field's value; empty: the one that is there.
    pub value: Secret<String>,
}

/// A purpose as a person sees it.
#[derive(Debug)]
pub struct PurposeView {
    /// Its name.
    pub id: String,
    /// The version of its text.
    pub version: u32,
    /// Its short name, in the language asked for.
    pub title: String,
    /// What it is, in the language asked for.
    pub text: String,
    /// `processor` or `controller`.
    pub role: &'static str,
    /// The legal basis.
    pub basis: &'static str,
    /// Who receives the data.
    pub recipients: Vec<String>,
    /// The optional field that serves it.
    pub field: Option<&'static str>,
    /// Whether people are asked for their consent.
    pub is_asked: bool,
}

/// How a person stands to a purpose that rests on consent.
#[derive(Debug)]
pub struct ConsentView {
    /// The purpose.
    pub purpose: PurposeView,
    /// `none`, `given`, `withdrawn`, or `earlier_text`.
    pub state: &'static str,
    /// When that was said.
    pub at: Option<Timestamp>,
    /// By which way.
    pub channel: Option<&'static str>,
    /// What stands in the field; none for anybody else.
    pub value: Option<Secret<String>>,
}

/// What a person was told when they signed up.
#[derive(Debug)]
pub struct NoticeView {
    /// The version of the policy.
    pub version: u64,
    /// When.
    pub at: Timestamp,
    /// SHA-256 of the text, in hexadecimal digits.
    pub digest: String,
    /// The text itself.
    pub text: String,
}

/// A change that is announced.
#[derive(Debug, Clone)]
pub struct AnnouncementView {
    /// The version.
    pub version: u64,
    /// What changes, in words.
    pub summary: String,
    /// Whether it changes something for people.
    pub is_material: bool,
    /// When it takes effect.
    pub effective_at: Timestamp,
    /// Whether the person has seen it.
    pub is_seen: bool,
}

/// Everything about one's own privacy settings.
#[derive(Debug)]
pub struct PrivacyView {
    /// The optional purposes.
    pub consents: Vec<ConsentView>,
    /// What else data is processed for.
    pub purposes: Vec<PurposeView>,
    /// What the person was told at sign-up; accounts of before have none.
    pub notice: Option<NoticeView>,
    /// A change that is on its way.
    pub announcement: Option<AnnouncementView>,
}

/// A signed record of a decision.
#[derive(Debug)]
pub struct ConsentRecordView {
    /// The purpose.
    pub purpose: String,
    /// `given` or `withdrawn`.
    pub decision: &'static str,
    /// By which way.
    pub channel: &'static str,
    /// When.
    pub at: Timestamp,
    /// The signed record, JSON.
    pub record: String,
}

/// A published text.
#[derive(Debug)]
pub struct LegalText {
    /// Which one.
    pub document: &'static str,
    /// Its language.
    pub language: &'static str,
    /// The version of the policy.
    pub version: u64,
    /// Since when it is in force.
    pub effective_at: Timestamp,
    /// When its sentences were reviewed last, a date.
    pub reviewed: String,
    /// SHA-256 of the English text, in hexadecimal digits.
    pub digest: String,
    /// What it says.
    pub blocks: Vec<Block>,
    /// The sub-processors of the version.
    pub sub_processors: Vec<SubProcessor>,
    /// All purposes, in the text's language.
    pub purposes: Vec<PurposeView>,
    /// A change that is on its way.
    pub announcement: Option<AnnouncementView>,
}

/// A provider that the operator uses to run the service.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SubProcessor {
    /// Its name.
    pub name: String,
    /// What for.
    pub purpose: String,
    /// Where it processes.
    pub country: String,
    /// How it is bound: `signed` with a date, or what is missing.
    pub agreement: String,
}

/// A version that is to be published.
#[derive(Debug)]
pub struct LegalVersionInput {
    /// What changes, in words that people read.
    pub summary: String,
    /// Whether it changes something for people.
    pub is_material: bool,
    /// When it takes effect.
    pub effective_at: Timestamp,
}

/// A published version.
#[derive(Debug)]
pub struct LegalVersionView {
    /// Its number.
    pub version: u64,
    /// What changed.
    pub summary: String,
    /// Whether it changed something for people.
    pub is_material: bool,
    /// When it was announced.
    pub announced_at: Timestamp,
    /// When it takes effect.
    pub effective_at: Timestamp,
    /// Whether it is the one in force.
    pub is_in_force: bool,
    /// SHA-256 of its texts, in hexadecimal digits.
    pub digest: String,
    /// Notices that are queued, delivered, failed and seen; the platform's own people see them.
    pub notices: Option<[u64; 4]>,
}
