//! What is processed, read out of the schema and the register of purposes: records of processing
//! (Article 30, promise P03), profiles of jurisdictions (P61), and data processing agreements made
//! from a template (Article 28, P08).

use std::collections::{BTreeMap, BTreeSet};

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use serde_json::json;
use veritwin_access::{Action, Kind};
use veritwin_domain::{LimitExceeded, OpContext, RegisterEntryId};
use veritwin_governance::{LegalBasis, ProcessingRole, PurposeRegister};
use veritwin_keys::sha256;
use veritwin_metastore::schema::{Category, Column, columns};
use veritwin_metastore::{REGISTER_ENTRIES_MAX, RegisterEntry, RegisterKind, RegisterState};

use crate::cases::clock::ANSWER_WITHIN;
use crate::change::Change;
use crate::model::{AgreementView, JurisdictionView, ProcessingView};
use crate::provision::PLATFORM_TENANT;
use crate::{App, Error, Result};

const JURISDICTIONS: &str = include_str!("../jurisdictions.toml");
/// Counts up whenever the template below says something else.
const AGREEMENT_VERSION: u32 = 1;

/// How long a category is kept.
const fn kept(category: Category) -> &'static str {
    match category {
        Category::Account => "the term, and at most 30 days after it",
        Category::Authentication => "as long as it lets in",
        Category::Organisation => "the term",
        Category::DeviceRegistry | Category::Twin | Category::Alerting => "until it is deleted",
        Category::Activity => "90 days, longer under a hold",
        Category::Evidence => "the audit period",
        Category::Correspondence => {
            "until it is dealt with, and for what is owed at most two years"
        }
        Category::Operation => "as what it is about",
    }
}

/// The published list of categories: what is not in it may not be in the schema.
pub(crate) const PUBLISHED: [&str; 10] = [
    "account",
    "authentication",
    "organisation",
    "device_registry",
    "twin",
    "alerting",
    "activity",
    "evidence",
    "correspondence",
    "operation",
];

/// Columns of a category that is not published.
pub(crate) fn unpublished<'a>(columns: &'a [Column], published: &[&str]) -> Vec<&'a Column> {
    let is_open = |column: &&Column| !published.contains(&column.category.as_str());
    columns.iter().filter(is_open).collect()
}

/// Every category with each purpose that its columns serve, out of the register of purposes.
pub(crate) fn processing(purposes: &PurposeRegister) -> Vec<ProcessingView> {
    let mut of: BTreeMap<(&'static str, &str), ProcessingView> = BTreeMap::new();
    for column in columns() {
        let Some(purpose) = purposes.of_column(column.table, column.column) else { continue };
        let category = column.category.as_str();
        let view = of.entry((category, purpose.id.as_str())).or_insert_with(|| ProcessingView {
            category,
            purpose: purpose.id.clone(),
            role: purpose.role.as_str(),
            basis: purpose.basis.as_str(),
            kept: kept(column.category),
            tables: Vec::new(),
            columns: 0,
        });
        view.columns += 1;
        if view.tables.last() != Some(&column.table) {
            view.tables.push(column.table);
        }
    }
    of.into_values().collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    jurisdiction: Vec<Profile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    code: String,
    law: String,
    authority: Option<String>,
    authority_url: Option<String>,
    complain_to: Option<String>,
    answer_days: Option<u32>,
    breach_hours: Option<u32>,
    child_age: Option<u32>,
    #[serde(default)]
    bases: Vec<String>,
    #[serde(default)]
    transfer: Vec<String>,
}

/// The profiles, each with what it does not say.
pub(crate) fn jurisdictions() -> Result<Vec<JurisdictionView>> {
    let file: File =
        toml::from_str(JURISDICTIONS).map_err(|error| Error::Internal(error.to_string()))?;
    let view = |profile: Profile| {
        let missing = [
            ("authority", profile.authority.is_none()),
            ("authority_url", profile.authority_url.is_none()),
            ("complain_to", profile.complain_to.is_none()),
            ("answer_days", profile.answer_days.is_none()),
            ("breach_hours", profile.breach_hours.is_none()),
            ("child_age", profile.child_age.is_none()),
            ("bases", profile.bases.is_empty()),
            ("transfer", profile.transfer.is_empty()),
        ];
        let gaps = missing.into_iter().filter(|(_, is_gap)| *is_gap).map(|(name, _)| name);
        JurisdictionView {
            gaps: gaps.collect(),
            code: profile.code,
            law: profile.law,
            authority: profile.authority,
            authority_url: profile.authority_url,
            complain_to: profile.complain_to,
            answer_days: profile.answer_days,
            breach_hours: profile.breach_hours,
            child_age: profile.child_age,
            bases: profile.bases,
            transfer: profile.transfer,
        }
    };
    Ok(file.jurisdiction.into_iter().map(view).collect())
}

/// The bases on which purposes of a role rest.
pub(crate) fn used_bases(purposes: &PurposeRegister, role: ProcessingRole) -> Vec<LegalBasis> {
    let of_role = purposes.purposes().iter().filter(|purpose| purpose.role == role);
    of_role.map(|purpose| purpose.basis).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Whether a law has a basis. Profiles have some names in the plural, as the laws do.
pub(crate) fn has_basis(profile: &JurisdictionView, basis: LegalBasis) -> bool {
    profile.bases.iter().any(|known| known.trim_end_matches('s') == basis.as_str())
}

/// Where the platform falls short of a law: its clocks run longer than the law's time to answer,
/// or a purpose rests on a basis that the law does not have.
pub(crate) fn shown_gaps(
    profile: &JurisdictionView,
    purposes: &PurposeRegister,
) -> Vec<&'static str> {
    let clock_days = ANSWER_WITHIN.as_secs() / 86_400;
    let is_late = profile.answer_days.is_some_and(|days| u64::from(days) < clock_days);
    let bases = used_bases(purposes, ProcessingRole::Controller);
    let lacks_basis = bases.into_iter().any(|basis| !has_basis(profile, basis));
    let gaps = [("answer_clock", is_late), ("purpose_bases", lacks_basis)];
    gaps.into_iter().filter(|(_, is_gap)| *is_gap).map(|(name, _)| name).collect()
}

/// What Article 28(3) asks of an agreement, letter by letter, with the words that keep it.
pub(crate) const CLAUSES: [(&str, &str); 8] = [
    (
        "28(3)(a)",
        "The processor processes personal data only on documented instructions from the \
         controller, transfers to another country included, which the register of flows blocks \
         without an entry.",
    ),
    ("28(3)(b)", "Whoever is authorised to process the data is bound to confidentiality."),
    (
        "28(3)(c)",
        "The processor takes the measures of Article 32: encryption at rest and on the way, least \
         privilege, separation of customers, records of access, tested restores.",
    ),
    (
        "28(3)(d)",
        "Another processor is engaged only as the register of sub-processors shows, under the same \
         duties; changes are announced before they take effect, and may be objected to.",
    ),
    (
        "28(3)(e)",
        "The processor helps the controller to answer requests of data subjects, by the interfaces \
         of the service.",
    ),
    (
        "28(3)(f)",
        "The processor helps the controller to keep Articles 32 to 36: security, notice of \
         breaches, impact assessments, prior consultation.",
    ),
    (
        "28(3)(g)",
        "At the end the processor deletes or returns all personal data, as the controller chooses, \
         and certifies the deletion.",
    ),
    (
        "28(3)(h)",
        "The processor makes available what shows that these duties are kept, allows audits, and \
         says at once where an instruction infringes the law.",
    ),
];

/// What an agreement is made of.
struct Parties<'a> {
    customer: &'a str,
    operator: &'a str,
    /// Of the published texts.
    version: u64,
}

/// The text of an agreement with a customer.
fn agreement(
    of: &Parties<'_>,
    context: &OpContext,
    clauses: &[(&str, &str)],
    rows: &[ProcessingView],
) -> String {
    let mut text = format!(
        "# Data processing agreement\n\nVersion {AGREEMENT_VERSION}. Made {} for {} ({}), the \
         controller, by {}, the processor. The data processing agreement that the processor \
         publishes, in version {}, is part of it.\n\n\
         ## Subject\n\nSubject, nature and purpose: receiving and routing the customer's content, \
         building its twins, sealing it into the ledger archive where that is subscribed to, \
         security and support. Duration: the term of the service. Data subjects: those whom the \
         customer's devices and people are about.\n\n## Categories of data\n\n",
        context.at, of.customer, context.tenant, of.operator, of.version
    );
    for row in rows.iter().filter(|row| row.role == ProcessingRole::Processor.as_str()) {
        text.push_str(&format!("- {}: {}; kept {}\n", row.category, row.purpose, row.kept));
    }
    text.push_str("\n## Duties of the processor\n\n");
    for (letter, words) in clauses {
        text.push_str(&format!("- Article {letter}: {words}\n"));
    }
    text
}

/// What of Article 28(3) an agreement does not say.
pub(crate) fn missing_clauses(text: &str) -> Vec<&'static str> {
    let is_missing =
        |(letter, words): &&(&'static str, &str)| !text.contains(letter) || !text.contains(words);
    CLAUSES.iter().filter(is_missing).map(|(letter, _)| *letter).collect()
}

#[derive(Serialize, Deserialize)]
struct StoredAgreement {
    text: String,
    key: String,
    signature: String,
}

fn view(entry: &RegisterEntry) -> Result<AgreementView> {
    let stored: StoredAgreement = serde_json::from_slice(&entry.body)
        .map_err(|_| Error::Internal("a stored agreement is damaged".to_owned()))?;
    Ok(AgreementView {
        id: entry.id,
        sha256: hex::encode(sha256(stored.text.as_bytes())),
        text: stored.text,
        key: stored.key,
        signature: stored.signature,
        made_at: entry.created_at,
    })
}

impl App {
    /// The records of processing, by category.
    #[boxed]
    pub async fn list_processing(&self, context: &OpContext) -> Result<Vec<ProcessingView>> {
        let resource = self.authorize_all(context, Action::RegisterRead, Kind::Tenant)?;
        self.note(context, Action::RegisterRead, &resource, "done");
        Ok(processing(&self.0.purposes))
    }

    /// The profiles of jurisdictions.
    #[boxed]
    pub async fn list_jurisdictions(&self, context: &OpContext) -> Result<Vec<JurisdictionView>> {
        let resource = self.authorize_all(context, Action::RegisterRead, Kind::Tenant)?;
        self.note(context, Action::RegisterRead, &resource, "done");
        self.profiles()
    }

    /// The profiles with every gap: what they do not say, and where the platform falls short.
    pub(crate) fn profiles(&self) -> Result<Vec<JurisdictionView>> {
        let mut profiles = jurisdictions()?;
        for profile in &mut profiles {
            let more = shown_gaps(profile, &self.0.purposes);
            profile.gaps.extend(more);
        }
        #[cfg(feature = "test-controls")]
        self.0.promises.lose_an_entry(&mut profiles);
        Ok(profiles)
    }

    /// The agreements that were made for the customer, newest first.
    #[boxed]
    pub async fn list_agreements(&self, context: &OpContext) -> Result<Vec<AgreementView>> {
        let resource = self.authorize_all(context, Action::RegisterRead, Kind::Tenant)?;
        let tx = self.0.store.read(context).await?;
        let entries = tx.register_entries(RegisterKind::Agreement).await?;
        self.note(context, Action::RegisterRead, &resource, "done");
        entries.iter().map(view).collect()
    }

    /// Makes an agreement for the customer, signed by the platform.
    #[boxed]
    pub async fn make_agreement(&self, context: &OpContext) -> Result<AgreementView> {
        let resource = self.authorize_all(context, Action::RegisterWrite, Kind::Tenant)?;
        let made = self.signed_agreement(context).await?;
        let body = serde_json::to_vec(&made).map_err(|error| Error::Internal(error.to_string()))?;
        let entry = RegisterEntry {
            id: RegisterEntryId::generate(context.at, self.rng()),
            kind: RegisterKind::Agreement,
            state: RegisterState::InForce,
            body,
            book: None,
            review_at: None,
            version: 1,
            created_at: context.at,
        };
        let tx = self.0.store.begin(context).await?;
        let known = tx.register_entries(RegisterKind::Agreement).await?.len();
        let max = usize::try_from(REGISTER_ENTRIES_MAX).unwrap_or(usize::MAX);
        if known >= max {
            let (name, actual) = ("agreements_max", known + 1);
            return Err(LimitExceeded { name, max, actual }.into());
        }
        tx.register_entry_create(&entry).await?;
        // The record is sealed into the ledger with all others: the digest stands there.
        let digest = hex::encode(sha256(made.text.as_bytes()));
        let change = Change::to(json!({"agreement": entry.id.to_string(), "sha256": digest}));
        self.record_change(&tx, context, Action::RegisterWrite, &resource, change).await?;
        tx.commit().await?;
        view(&entry)
    }

    async fn signed_agreement(&self, context: &OpContext) -> Result<StoredAgreement> {
        let name = self.0.store.read(context).await?.tenant().await?.name;
        #[cfg(feature = "test-controls")]
        let clauses = if self.0.promises.is_sabotaged(8) { &CLAUSES[1..] } else { &CLAUSES[..] };
        #[cfg(not(feature = "test-controls"))]
        let clauses = &CLAUSES[..];
        let (operator, version) = self.controller()?;
        let of = Parties { customer: &name, operator: &operator.operator, version };
        let text = agreement(&of, context, clauses, &processing(&self.0.purposes));
        let key = self.submitter_key(PLATFORM_TENANT).await?;
        let signature = hex::encode(key.sign(text.as_bytes()));
        Ok(StoredAgreement { text, key: hex::encode(key.public_bytes()), signature })
    }

    /// An agreement for a tenant of nobody: its text, who signed it, and the signature.
    pub(crate) async fn try_agreement(
        &self,
        context: &OpContext,
    ) -> Result<(String, String, String)> {
        let StoredAgreement { text, key, signature } = self.signed_agreement(context).await?;
        Ok((text, key, signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_a_published_category() {
        let columns = columns();
        assert!(unpublished(&columns, &PUBLISHED).is_empty());
        assert!(!unpublished(&columns, &PUBLISHED[1..]).is_empty());
        let rows = processing(&PurposeRegister::built_in().expect("a register"));
        assert_eq!(rows.iter().map(|row| row.columns).sum::<usize>(), columns.len());
        assert!(rows.iter().all(|row| PUBLISHED.contains(&row.category)));
    }

    #[test]
    fn every_profile_is_read_and_its_gaps_are_told() {
        let profiles = jurisdictions().expect("read");
        let codes: Vec<&str> = profiles.iter().map(|one| one.code.as_str()).collect();
        assert_eq!(codes, ["GB", "EU", "US-CA", "JP", "KR", "TW"]);
        assert!(profiles[0].gaps.is_empty());
        assert!(profiles[5].gaps.contains(&"breach_hours"));
        let purposes = PurposeRegister::built_in().expect("a register");
        let short = |code: &str| {
            let profile = profiles.iter().find(|one| one.code == code).expect("a profile");
            shown_gaps(profile, &purposes)
        };
        assert!(short("GB").is_empty() && short("EU").is_empty());
        // Korea gives ten days, and the clocks thirty.
        assert_eq!(short("KR"), ["answer_clock"]);
        assert_eq!(short("JP"), ["purpose_bases"]);
        assert_eq!(short("TW"), ["answer_clock", "purpose_bases"]);
    }

    #[test]
    fn a_clause_that_is_left_out_is_missed() {
        let text: String =
            CLAUSES[1..].iter().map(|(letter, words)| format!("{letter} {words}\n")).collect();
        assert_eq!(missing_clauses(&text), ["28(3)(a)"]);
    }
}
