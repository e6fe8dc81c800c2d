//! P61: every profile of a law is held against the texts in force and against what is produced: the
//! page of laws names its authority and its time, a request that is opened has a clock that is as
//! short, a letter of refusal names its authority, and its legal bases are those of the purposes.
//! What is not so has to be among the gaps that are shown.

use std::sync::Arc;
use std::time::Duration;

use veritwin_access::jobs;
use veritwin_governance::{Block, BlockKind, Document, LegalBasis, ProcessingRole, canonical_text};

use super::run::InApp;
use super::{PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::cases::letters;
use crate::model::JurisdictionView;
use crate::processing::{has_basis, used_bases};
use crate::{App, Result};

const PROMISE: u8 = 61;
/// With the texts in force and what is produced.
const VERSION: u32 = 2;
const DAY_S: u64 = 86_400;

/// A law that the policy names.
struct Law {
    code: &'static str,
    /// Its name in the policy's sentence.
    named: &'static str,
    /// How its heading on the page of laws begins.
    heading: &'static str,
    /// What the page calls the authority where that is another in each member state.
    authority: Option<&'static str>,
}

const fn law(code: &'static str, named: &'static str, heading: &'static str) -> Law {
    Law { code, named, heading, authority: None }
}

const LAWS: [Law; 6] = [
    law("GB", "UK GDPR", "United Kingdom"),
    Law { authority: Some("member state"), ..law("EU", "EU GDPR", "European Union") },
    law("US-CA", "CCPA and CPRA", "California"),
    law("JP", "APPI", "Japan"),
    law("KR", "PIPA", "Republic of Korea"),
    law("TW", "Personal Data Protection Act of Taiwan", "Taiwan"),
];

/// What the policy says of each legal basis.
const fn words_of(basis: LegalBasis) -> &'static str {
    match basis {
        LegalBasis::Contract => "your contract",
        LegalBasis::LegitimateInterest => "our legitimate interest",
        LegalBasis::LegalObligation => "what the law asks of us",
        LegalBasis::Consent => "your explicit consent",
        LegalBasis::Instruction => "your documented instructions",
    }
}

pub(super) fn probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, PROMISE, VERSION, |app: App| async move { app.check_laws().await })
}

/// What a request under a profile gets.
struct Produced {
    /// How long its clock runs.
    clock: Duration,
    /// Its letter of refusal; none where the profile names nobody to complain to.
    refusal: Option<String>,
}

/// The parts of the page of laws that are about one law: heading and text.
fn sections(blocks: &[Block]) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for block in blocks {
        let words: Vec<&str> = block.sentences.iter().map(|one| one.text.as_str()).collect();
        let words = words.join(" ");
        if block.kind == BlockKind::Heading {
            found.push((words, String::new()));
        } else if let Some((_, text)) = found.last_mut() {
            text.push_str(&words);
            text.push(' ');
        }
    }
    found.retain(|(heading, _)| heading.contains(": "));
    found
}

/// How the page says a law's own time to answer.
fn time_in_words(profile: &JurisdictionView) -> String {
    match profile.answer_days {
        Some(30) => "one month".to_owned(),
        Some(days) => format!("{days} days"),
        None => "without delay".to_owned(),
    }
}

/// Entries that a profile lacks and does not show as a gap.
fn hidden_gap(profile: &JurisdictionView) -> Option<&'static str> {
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
    let is_hidden =
        |(name, is_missing): &(&'static str, bool)| *is_missing && !profile.gaps.contains(name);
    missing.into_iter().find(is_hidden).map(|(name, _)| name)
}

/// What of a profile is not as the page in force says, or not as what is produced, and is no gap
/// that is shown.
fn problem(
    (law, profile): (&Law, &JurisdictionView),
    page: &str,
    bases: &[LegalBasis],
    produced: &Produced,
) -> Option<String> {
    if let Some(entry) = hidden_gap(profile) {
        return Some(format!("{entry} is missing and not shown as a gap"));
    }
    let authority = law.authority.or(profile.authority.as_deref());
    if authority.is_some_and(|authority| !page.contains(authority)) {
        return Some("the page of laws names another authority".to_owned());
    }
    if !page.contains(&time_in_words(profile)) {
        return Some("the page of laws names another time to answer".to_owned());
    }
    let days = profile.answer_days.map(u64::from);
    let is_late = days.is_some_and(|days| produced.clock > Duration::from_secs(days * DAY_S));
    if is_late && !profile.gaps.contains(&"answer_clock") {
        return Some("a request has a longer clock, and no gap says so".to_owned());
    }
    let names_it = |complain_to: &String| {
        produced.refusal.as_ref().is_some_and(|letter| letter.contains(complain_to))
    };
    if profile.complain_to.as_ref().is_some_and(|complain_to| !names_it(complain_to)) {
        return Some("a letter of refusal does not name its authority".to_owned());
    }
    let lacks_basis = bases.iter().any(|basis| !has_basis(profile, *basis));
    (lacks_basis && !profile.gaps.contains(&"purpose_bases"))
        .then(|| "a purpose rests on a basis that it does not have, and no gap says so".to_owned())
}

fn failed(summary: &str, place: String) -> ProbeAnswer {
    ProbeAnswer::Failed { summary: summary.to_owned(), facts: Vec::new(), place }
}

impl App {
    async fn check_laws(&self) -> Result<ProbeAnswer> {
        self.ensure_probe_tenant().await?;
        let profiles = self.profiles()?;
        let page = sections(&self.text_in_force(Document::Jurisdictions)?);
        let policy = canonical_text(&self.text_in_force(Document::Privacy)?);
        let bases = used_bases(&self.0.purposes, ProcessingRole::Controller);
        if let Some(basis) = bases.iter().find(|basis| !policy.contains(words_of(**basis))) {
            let summary = "A purpose rests on a basis that the policy in force does not name.";
            return Ok(failed(summary, basis.as_str().to_owned()));
        }
        let is_known = |heading: &str| LAWS.iter().any(|law| heading.starts_with(law.heading));
        if let Some((heading, _)) = page.iter().find(|(heading, _)| !is_known(heading)) {
            return Ok(failed("The page of laws names one without a profile.", heading.clone()));
        }
        let mut facts = Vec::new();
        for law in &LAWS {
            let profile = profiles.iter().find(|one| one.code == law.code);
            let text = page.iter().find(|(heading, _)| heading.starts_with(law.heading));
            let (Some(profile), Some((_, text)), true) =
                (profile, text, policy.contains(law.named))
            else {
                let summary = "A law lacks its profile, or its place in the texts in force.";
                return Ok(failed(summary, law.code.to_owned()));
            };
            let produced = self.produced_under(profile).await?;
            if let Some(problem) = problem((law, profile), text, &bases, &produced) {
                let summary = "A profile of a law is not what is said or done.";
                return Ok(failed(summary, format!("{}: {problem}", law.code)));
            }
            let gaps = profile.gaps.join(", ");
            let gaps = if gaps.is_empty() { "none".to_owned() } else { gaps };
            facts.push((format!("gaps of {}", law.code), gaps));
        }
        let summary = "Each profile says what the texts in force say and what a request gets; \
                       where a law asks for more, that is shown as a gap.";
        Ok(ProbeAnswer::Passed { summary: summary.to_owned(), facts })
    }

    /// A request of nobody, opened and refused under a profile; nothing of it is stored.
    async fn produced_under(&self, profile: &JurisdictionView) -> Result<Produced> {
        let context = self.job_in(jobs::PROMISES, PROBE_TENANT);
        let tx = self.0.store.read(&context).await?;
        let case = self.open_case_of_nobody(&tx, &context).await?;
        drop(tx);
        let clock = case.answer_by(context.at).since(context.at);
        let refusal = match profile.complain_to {
            Some(_) => {
                let authority = self.named_authority(Some(&profile.code))?;
                Some(letters::refusal(&case, "unfounded", "", &authority).text)
            }
            None => None,
        };
        Ok(Produced { clock, refusal })
    }
}

#[cfg(test)]
mod tests {
    use veritwin_governance::{Language, PurposeRegister, TEXT_VERSION};

    use super::*;
    use crate::legal::text_of;
    use crate::processing::{jurisdictions, shown_gaps};

    #[test]
    fn what_a_profile_lacks_is_a_gap_or_a_problem() {
        let purposes = PurposeRegister::built_in().expect("a register");
        let blocks = text_of(TEXT_VERSION, Document::Jurisdictions, Language::English);
        let page = sections(&blocks.expect("a text"));
        let bases = used_bases(&purposes, ProcessingRole::Controller);
        let profile = |code: &str| {
            let mut all = jurisdictions().expect("profiles").into_iter();
            let mut one = all.find(|one| one.code == code).expect("a profile");
            let more = shown_gaps(&one, &purposes);
            one.gaps.extend(more);
            one
        };
        let judged = |profile: &JurisdictionView| {
            let law = LAWS.iter().find(|law| law.code == profile.code).expect("a law");
            let (_, text) =
                page.iter().find(|(heading, _)| heading.starts_with(law.heading)).expect("a part");
            let refusal = profile.complain_to.clone();
            let produced = Produced { clock: Duration::from_secs(30 * DAY_S), refusal };
            problem((law, profile), text, &bases, &produced)
        };
        for law in &LAWS {
            assert_eq!(judged(&profile(law.code)), None, "{}", law.code);
        }
        let check = |code: &str, change: fn(&mut JurisdictionView), expect: &str| {
            let mut changed = profile(code);
            change(&mut changed);
            let found = judged(&changed).unwrap_or_default();
            assert!(found.contains(expect), "{code}: {found}");
        };
        check("GB", |one| one.authority = None, "authority is missing");
        check("GB", |one| one.authority = Some("Nobody".to_owned()), "another authority");
        check("GB", |one| one.answer_days = Some(45), "another time");
        check("GB", |one| one.bases.retain(|basis| basis != "contract"), "no gap says so");
        check("KR", |one| one.gaps.clear(), "a longer clock");
        check("TW", |one| one.gaps.retain(|gap| *gap != "breach_hours"), "breach_hours is missing");
    }
}
