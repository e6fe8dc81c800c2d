//! The purpose register, read from `purposes.toml`: why personal data is processed, on which legal
//! basis, which fields of the records serve which purpose, and whether a field may be used now.
//! What stands under no purpose may be used for none.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use veritwin_domain::Timestamp;

use crate::published::Language;

/// The register that is part of the product.
const BUILT_IN: &str = include_str!("../purposes.toml");
/// Longest consent text, in characters.
const TEXT_CHARS_MAX: usize = 600;

/// Why a register of purposes is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("purpose register: {0}")]
pub struct PurposesError(String);

/// What makes a processing lawful (GDPR, Article 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LegalBasis {
    /// As processor: the customer's documented instruction.
    Instruction,
    /// The contract.
    Contract,
    /// A legitimate interest.
    LegitimateInterest,
    /// A duty by law.
    LegalObligation,
    /// The person's explicit consent.
    Consent,
}

impl LegalBasis {
    /// The name used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Instruction => "instruction",
            Self::Contract => "contract",
            Self::LegitimateInterest => "legitimate_interest",
            Self::LegalObligation => "legal_obligation",
            Self::Consent => "consent",
        }
    }
}

/// In which role the platform processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessingRole {
    /// On behalf of the customer.
    Processor,
    /// For its own accounts, bills and records of access.
    Controller,
}

impl ProcessingRole {
    /// The name used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Processor => "processor",
            Self::Controller => "controller",
        }
    }
}

/// An optional field of an account, which is written with consent only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptionalField {
    /// Telephone number.
    Phone,
    /// Postal address.
    Address,
}

impl OptionalField {
    /// Every field there is.
    pub const ALL: [Self; 2] = [Self::Phone, Self::Address];

    /// The name used in records and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Phone => "phone",
            Self::Address => "address",
        }
    }
}

impl fmt::Display for OptionalField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OptionalField {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|field| field.as_str() == text).ok_or(())
    }
}

/// A purpose in a language.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurposeWords {
    /// Its short name.
    pub title: String,
    /// What it is.
    pub text: String,
}

/// A purpose of the register.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredPurpose {
    /// Its name.
    pub id: String,
    /// The version of its text: a consent counts for the version it was given to.
    pub version: u32,
    /// The platform's role.
    pub role: ProcessingRole,
    /// The legal basis.
    pub basis: LegalBasis,
    /// Whether people are asked for their consent at all.
    #[serde(default = "offered")]
    pub offered: bool,
    /// Its short name.
    pub title: String,
    /// What it is; of a consent, what a person agrees to.
    pub text: String,
    /// The same in other languages, by their tags; the English text is the one in force.
    pub translations: BTreeMap<String, PurposeWords>,
    /// Who receives the data, by names from a closed list.
    pub recipients: Vec<String>,
    /// The purpose's term in the Data Privacy Vocabulary.
    pub dpv: String,
    /// The optional field of an account that serves it.
    #[serde(default)]
    pub field: Option<OptionalField>,
    /// The data's term in the vocabulary.
    #[serde(default)]
    pub data: Option<String>,
}

/// Who may receive data.
const RECIPIENTS: [&str; 7] = [
    "administrators",
    "auditors",
    "authorities",
    "email_provider",
    "payment_processor",
    "registered_places",
    "sms_gateway",
];

impl DeclaredPurpose {
    /// Its short name and what it is, in a language.
    pub fn words(&self, language: Language) -> (&str, &str) {
        match self.translations.get(language.as_str()) {
            Some(words) => (&words.title, &words.text),
            None => (&self.title, &self.text),
        }
    }

    /// Whether it rests on consent and people are asked.
    pub fn is_asked(&self) -> bool {
        self.basis == LegalBasis::Consent && self.offered
    }
}

const fn offered() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DataWire {
    purpose: String,
    fields: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileWire {
    purpose: Vec<DeclaredPurpose>,
    data: Vec<DataWire>,
}

/// All purposes, and the fields that serve them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurposeRegister {
    purposes: Vec<DeclaredPurpose>,
    /// `table.column`, or `table.*`, with the place of its purpose.
    fields: BTreeMap<String, usize>,
}

/// The newest that a person said about a purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// To which version of the text.
    pub version: u32,
    /// Whether it was a consent; otherwise its withdrawal.
    pub is_given: bool,
    /// When.
    pub at: Timestamp,
}

/// Why a field may not be used for a purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UseRefused {
    /// It is no purpose of that field.
    #[error("the field does not serve this purpose")]
    OtherPurpose,
    /// Nobody is asked for it.
    #[error("this purpose is not in use")]
    NotOffered,
    /// The person never agreed.
    #[error("the person gave no consent")]
    NoConsent,
    /// The person withdrew.
    #[error("the person withdrew the consent")]
    Withdrawn,
    /// The person agreed to an earlier text.
    #[error("the consent was given to an earlier text")]
    EarlierText,
}

impl PurposeRegister {
    /// The register that is part of the product.
    pub fn built_in() -> Result<Self, PurposesError> {
        Self::parse(BUILT_IN)
    }

    /// Reads and checks a register.
    pub fn parse(text: &str) -> Result<Self, PurposesError> {
        let file: FileWire =
            toml::from_str(text).map_err(|error| PurposesError(error.to_string()))?;
        let mut known = BTreeMap::new();
        for (place, purpose) in file.purpose.iter().enumerate() {
            check(purpose)?;
            if known.insert(purpose.id.clone(), place).is_some() {
                return Err(PurposesError(format!("{} is there twice", purpose.id)));
            }
        }
        let mut fields = BTreeMap::new();
        for data in file.data {
            let place = known.get(&data.purpose).copied();
            let place = place
                .ok_or_else(|| PurposesError(format!("data: no purpose {:?}", data.purpose)))?;
            for field in data.fields {
                if field.split('.').count() != 2 {
                    return Err(PurposesError(format!("{field:?}: expected table.column")));
                }
                if fields.insert(field.clone(), place).is_some() {
                    return Err(PurposesError(format!("{field} stands under two purposes")));
                }
            }
        }
        Ok(Self { purposes: file.purpose, fields })
    }

    /// All purposes, in their order.
    pub fn purposes(&self) -> &[DeclaredPurpose] {
        &self.purposes
    }

    /// One purpose.
    pub fn get(&self, id: &str) -> Option<&DeclaredPurpose> {
        self.purposes.iter().find(|purpose| purpose.id == id)
    }

    /// The purpose that an optional field of accounts serves.
    pub fn of_field(&self, field: OptionalField) -> Option<&DeclaredPurpose> {
        self.purposes.iter().find(|purpose| purpose.field == Some(field))
    }

    /// The purpose of a column of the records.
    pub fn of_column(&self, table: &str, column: &str) -> Option<&DeclaredPurpose> {
        let whole = || self.fields.get(&format!("{table}.*"));
        let place = self.fields.get(&format!("{table}.{column}")).or_else(whole)?;
        self.purposes.get(*place)
    }

    /// Whether a column is named, and not only its table.
    pub fn names_column(&self, table: &str, column: &str) -> bool {
        self.fields.contains_key(&format!("{table}.{column}"))
    }

    /// What the register says of tables and columns, in order.
    pub fn columns(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.keys().filter_map(|field| field.split_once('.'))
    }

    /// Whether an optional field of a person may be used for a purpose, by what the person said
    /// last about it. Using the service says nothing.
    pub fn may_use(
        &self,
        field: OptionalField,
        purpose: &str,
        said: Option<Said>,
    ) -> Result<(), UseRefused> {
        let declared = self.get(purpose).filter(|one| one.field == Some(field));
        let declared = declared.ok_or(UseRefused::OtherPurpose)?;
        if !declared.is_asked() {
            return Err(UseRefused::NotOffered);
        }
        let said = said.ok_or(UseRefused::NoConsent)?;
        if !said.is_given {
            return Err(UseRefused::Withdrawn);
        }
        if said.version == declared.version { Ok(()) } else { Err(UseRefused::EarlierText) }
    }
}

fn check(purpose: &DeclaredPurpose) -> Result<(), PurposesError> {
    let wrong = |what: &str| Err(PurposesError(format!("{}: {what}", purpose.id)));
    let is_code = |c: char| c.is_ascii_lowercase() || c == '_';
    if purpose.id.is_empty() || !purpose.id.chars().all(is_code) {
        return wrong("expected a name of small letters and underscores");
    }
    if purpose.version == 0 || purpose.title.is_empty() || purpose.text.is_empty() {
        return wrong("needs a version from 1, a title and a text");
    }
    if purpose.text.chars().count() > TEXT_CHARS_MAX {
        return wrong("its text is too long");
    }
    let others = Language::ALL.iter().filter(|language| **language != Language::English);
    for language in others {
        if !purpose.translations.contains_key(language.as_str()) {
            return wrong(&format!("has no words in {}", language.as_str()));
        }
    }
    if purpose.recipients.iter().any(|one| !RECIPIENTS.contains(&one.as_str())) {
        return wrong(&format!("its recipients have to be of {}", RECIPIENTS.join(", ")));
    }
    if !purpose.dpv.starts_with("dpv:") {
        return wrong("needs a term of the Data Privacy Vocabulary");
    }
    if purpose.field.is_some() && purpose.basis != LegalBasis::Consent {
        return wrong("an optional field rests on consent");
    }
    if purpose.basis == LegalBasis::Consent && purpose.data.is_none() {
        return wrong("a consent names the data it is about");
    }
    Ok(())
}
