//! What the governance workspace holds, and breaches. A content is what people write; the facts
//! beside it come out of what they did.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use veritwin_domain::{GovernanceId, TenantId, Timestamp};
use veritwin_governance::Language;

use super::stored_time;

/// A thing of the workspace as people see it.
#[derive(Debug, Clone)]
pub struct Governed<C, V> {
    /// Its id.
    pub id: GovernanceId,
    /// How it stands.
    pub state: String,
    /// Counts changes.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// When somebody is told next.
    pub due_at: Option<Timestamp>,
    /// What people wrote.
    pub content: C,
    /// What came of what they did.
    pub facts: V,
}

/// A change of a thing.
#[derive(Debug, Clone)]
pub struct GovernanceChangeView {
    /// What was done.
    pub action: String,
    /// Who did it; none for a program or the platform.
    pub by: Option<String>,
    /// When.
    pub at: Timestamp,
    /// What was before.
    pub before: Option<Value>,
    /// What is after.
    pub after: Option<Value>,
}

/// What a policy says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyContent {
    /// Its title.
    pub title: String,
    /// Its text, in Markdown.
    pub text: String,
    /// Who answers for it.
    pub owner: String,
    /// When it has to be looked at again.
    #[serde(with = "stored_time")]
    pub review_at: Option<Timestamp>,
    /// The controls it is about.
    pub controls: Vec<GovernanceId>,
}

/// How a policy stands.
#[derive(Debug, Clone, Default)]
pub struct PolicyFacts {
    /// How many editions were published.
    pub edition: u64,
    /// The edition in force, while another is being written.
    pub in_force: Option<PolicyContent>,
    /// SHA-256 of the text in force.
    pub sha256: Option<String>,
    /// Who approved the newest.
    pub approved_by: Option<String>,
    /// When the edition in force was published.
    pub published_at: Option<Timestamp>,
    /// How many members said that they have read the edition in force.
    pub attested: u64,
    /// Whether whoever asks did.
    pub attested_by_me: bool,
}

/// A risk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RiskContent {
    /// What may happen.
    pub title: String,
    /// In words.
    pub text: String,
    /// Who answers for it.
    pub owner: String,
    /// How likely it is without anything done, 1 to 5.
    pub likelihood: u64,
    /// How bad it is without anything done, 1 to 5.
    pub impact: u64,
    /// How likely it is with what is done, 1 to 5.
    pub residual_likelihood: u64,
    /// How bad it is with what is done, 1 to 5.
    pub residual_impact: u64,
    /// `mitigate`, `transfer`, `avoid` or `accept`.
    pub treatment: String,
    /// The controls that help.
    pub controls: Vec<GovernanceId>,
    /// When it has to be looked at again.
    #[serde(with = "stored_time")]
    pub review_at: Option<Timestamp>,
}

/// How a risk stands.
#[derive(Debug, Clone, Default)]
pub struct RiskFacts {
    /// Who accepted it.
    pub accepted_by: Option<String>,
    /// Until when.
    pub accepted_until: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
}

/// A square of the heat map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeatSquare {
    /// 1 to 5.
    pub likelihood: u64,
    /// 1 to 5.
    pub impact: u64,
    /// Risks that stand here without anything done.
    pub inherent: Vec<GovernanceId>,
    /// Risks that stand here with what is done.
    pub residual: Vec<GovernanceId>,
}

/// A framework of controls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FrameworkContent {
    /// Its name.
    pub name: String,
    /// Which edition of it.
    pub edition: String,
    /// `shipped` or `oscal`.
    pub source: String,
    /// The OSCAL id of the catalogue, or its name among the shipped.
    pub reference: String,
}

/// How a framework stands.
#[derive(Debug, Clone, Copy, Default)]
pub struct FrameworkFacts {
    /// Its controls.
    pub controls: u64,
    /// Controls that were decided on.
    pub decided: u64,
    /// Controls that apply.
    pub applicable: u64,
    /// Controls that apply and are in place.
    pub in_place: u64,
}

/// What is decided on a control.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ControlContent {
    /// `undecided`, `applicable` or `not_applicable`.
    pub applies: String,
    /// Why it applies or does not.
    pub justification: String,
    /// `not_started`, `planned` or `in_place`.
    pub implementation: String,
    /// Who answers for it.
    pub owner: String,
}

/// What the catalogue says of a control.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ControlFacts {
    /// Its identifier, such as `A.5.1` or `ac-2`.
    pub identifier: String,
    /// A short label.
    pub label: String,
    /// The text of the catalogue, where it may be shown.
    pub text: String,
    /// The group it stands in.
    pub group: String,
    /// Promises whose checks are evidence for it.
    pub promises: Vec<String>,
}

/// What is known of a piece of evidence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EvidenceContent {
    /// What it shows.
    pub title: String,
    /// Where it comes from.
    pub source: String,
    /// What collected it.
    pub collector: String,
    /// Of which version.
    pub collector_version: String,
    /// SHA-256 of the evidence itself, in hexadecimal.
    pub sha256: String,
    /// From when it is about.
    #[serde(with = "stored_time")]
    pub period_from: Option<Timestamp>,
    /// Until when.
    #[serde(with = "stored_time")]
    pub period_to: Option<Timestamp>,
    /// When it was collected.
    #[serde(with = "stored_time")]
    pub collected_at: Option<Timestamp>,
    /// Until when it counts.
    #[serde(with = "stored_time")]
    pub expires_at: Option<Timestamp>,
    /// The controls it is for.
    pub controls: Vec<GovernanceId>,
    /// `passed`, `failed`, `partial` or `not_applicable`.
    pub result: String,
    /// The collector's signature of the evidence, as it gave it.
    pub signature: String,
    /// The piece that this one replaces.
    pub previous: Option<GovernanceId>,
}

/// How a piece of evidence is kept.
#[derive(Debug, Clone, Default)]
pub struct EvidenceFacts {
    /// SHA-256 of this record, in hexadecimal.
    pub record_sha256: String,
    /// Its leaf in the ledger.
    pub ledger_index: Option<u64>,
    /// The promise whose check it is; none for what people and programs bring.
    pub promise: Option<String>,
    /// SHA-256 of the record that this one replaces.
    pub previous_sha256: Option<String>,
}

/// Something that somebody has to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskContent {
    /// What.
    pub title: String,
    /// In words.
    pub text: String,
    /// Who.
    pub owner: String,
    /// Until when.
    #[serde(with = "stored_time")]
    pub due_at: Option<Timestamp>,
    /// The thing it is about.
    pub about: Option<GovernanceId>,
}

/// A certificate or an audit report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateContent {
    /// `iso_27001`, `iso_27017`, `iso_27018`, `soc_2_type_2`, `fips_140` or `other`.
    pub standard: String,
    /// Who holds it, as it is printed.
    pub holder: String,
    /// `own` or `supplier`.
    pub relation: String,
    /// What it covers.
    pub scope: String,
    /// Who issued it.
    pub issuer: String,
    /// Its number.
    pub number: String,
    /// SHA-256 of the document, in hexadecimal.
    pub sha256: String,
    /// Since when it counts.
    #[serde(with = "stored_time")]
    pub valid_from: Option<Timestamp>,
    /// Until when.
    #[serde(with = "stored_time")]
    pub expires_at: Option<Timestamp>,
}

/// How a certificate is shown.
#[derive(Debug, Clone, Default)]
pub struct CertificateFacts {
    /// Whose register it stands in.
    pub register_of: String,
    /// Whether the organisation of the register is its holder.
    pub is_own: bool,
}

/// A notice of the service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NoticeContent {
    /// `onboarding`, `release` or `service`.
    pub kind: String,
    /// What it is about.
    pub title: String,
    /// What it says.
    pub text: String,
    /// From when it counts.
    #[serde(with = "stored_time")]
    pub from: Option<Timestamp>,
    /// Until when.
    #[serde(with = "stored_time")]
    pub until: Option<Timestamp>,
}

/// Whose notice it is.
#[derive(Debug, Clone, Default)]
pub struct NoticeFacts {
    /// The organisation that wrote it.
    pub from_whom: String,
    /// How many organisations were told by mail.
    pub told: u64,
}

/// A step of beginning with the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnboardingStep {
    /// Which: a word of a closed list.
    pub step: &'static str,
    /// Whether it was done.
    pub is_done: bool,
}

/// What is known of a breach of personal data (Article 33 of the GDPR).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BreachContent {
    /// What it is about.
    pub title: String,
    /// The incident it came out of.
    pub incident: Option<String>,
    /// `controller` or `processor`.
    pub role: String,
    /// A drill: it is marked everywhere and nothing of it leaves.
    pub is_drill: bool,
    /// When the organisation became aware; the clock begins here.
    #[serde(with = "stored_time")]
    pub aware_at: Option<Timestamp>,
    /// What happened, and to which kinds of people and records.
    pub nature: String,
    /// About how many people; none while that is not known.
    pub subjects: Option<u64>,
    /// About how many records; none while that is not known.
    pub records: Option<u64>,
    /// Whom to ask.
    pub contact: String,
    /// What is likely to come of it.
    pub consequences: String,
    /// What was done and is to be done.
    pub measures: String,
    /// `unknown`, `unlikely`, `risk` or `high`.
    pub risk: String,
    /// Why the risk is that.
    pub risk_reason: String,
    /// On which ground people are not told of a high risk: `protected`, `removed` or
    /// `disproportionate`; empty where they are told.
    pub not_told_ground: String,
    /// What that ground rests on.
    pub why_not_subjects: String,
    /// Where the public is told in their place.
    pub public_notice: String,
    /// Which authority.
    pub authority: String,
    /// Where notices to it go.
    pub authority_email: String,
    /// Why a notice comes later than 72 hours.
    pub late_reason: String,
    /// Who had the data, as the registers name them.
    pub recipients: Vec<String>,
    /// Where it was, as the registers have it.
    pub regions: Vec<String>,
}

/// What the registers know of recipients and regions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BreachPlaces {
    /// Recipients, in the order of their names.
    pub recipients: Vec<String>,
    /// Regions, likewise.
    pub regions: Vec<String>,
}

/// A notice that went out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreachNoticeView {
    /// `authority`, `subjects` or `controllers`.
    pub to: String,
    /// `first`, `further` or `final`.
    pub phase: String,
    /// When.
    pub at: String,
    /// How many it was written to.
    pub recipients: u64,
    /// SHA-256 of its text, in hexadecimal; in several languages, of the first.
    pub sha256: String,
    /// Its text in each language that it was ready in; none of those of before there were several.
    #[serde(default)]
    pub texts: Vec<BreachTextView>,
    /// Whether it was a drill's: nothing left.
    pub is_drill: bool,
    /// Whether it came later than 72 hours.
    pub is_late: bool,
}

/// The text of a notice in a language.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreachTextView {
    /// The language's tag (BCP 47).
    pub language: String,
    /// SHA-256 of the text, in hexadecimal.
    pub sha256: String,
}

/// How a breach stands.
#[derive(Debug, Clone, Default)]
pub struct BreachFacts {
    /// When the 72 hours end.
    pub ends_at: Option<Timestamp>,
    /// What a notice still lacks, by field.
    pub missing: Vec<String>,
    /// What is still owed: `first`, `subjects`, `final`.
    pub owed: Vec<String>,
    /// The notices, oldest first.
    pub notices: Vec<BreachNoticeView>,
    /// The hours at which an alarm was raised.
    pub alarms: Vec<u64>,
    /// What of recipients and regions may be named.
    pub known: BreachPlaces,
}

/// A notice of a breach to send.
#[derive(Debug, Clone, Default)]
pub struct BreachNoticeInput {
    /// `authority`, `subjects` or `controllers`.
    pub to: String,
    /// `first`, `further` or `final`.
    pub phase: String,
    /// In which language it is; the people concerned read it in their own where that is known.
    pub language: Option<Language>,
    /// Addresses, for people and controllers.
    pub recipients: Vec<String>,
    /// Organisations below, whose administrators are told.
    pub tenants: Vec<TenantId>,
}
