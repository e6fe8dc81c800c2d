//! What of a breach is still owed, and to whom. From it follows when its alarms come, which go on
//! until the last notice is out, what a notice has to say, and what keeps a breach open.

use std::time::Duration;

use veritwin_domain::Timestamp;

use super::breaches::Breach;
use crate::model::BreachContent;

/// How long an organisation has from the moment of awareness.
const CLOCK: Duration = Duration::from_secs(72 * HOUR_SECONDS);
const HOUR_SECONDS: u64 = 3600;
/// Hours after awareness at which an alarm is raised while nobody was told yet; then every day.
pub(crate) const ALARM_HOURS: [u64; 6] = [24, 48, 60, 66, 70, 72];
/// Hours of the clock between alarms while somebody has not been told at all.
const UNTOLD_HOURS: u64 = 24;
/// Hours of the clock between alarms while a final notice is all that is owed.
const UNFINISHED_HOURS: u64 = 7 * 24;

/// What is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owed {
    /// A first notice to whoever has to be told within the 72 hours.
    First,
    /// A notice to the people concerned.
    Subjects,
    /// A final notice to whoever was told first.
    Final,
}

impl Owed {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Subjects => "subjects",
            Self::Final => "final",
        }
    }

    /// The hours of alarms that come once.
    const fn once(self) -> &'static [u64] {
        match self {
            Self::First => &ALARM_HOURS,
            Self::Subjects | Self::Final => &[],
        }
    }

    /// The hours between those that come again and again.
    const fn every(self) -> u64 {
        match self {
            Self::First | Self::Subjects => UNTOLD_HOURS,
            Self::Final => UNFINISHED_HOURS,
        }
    }
}

/// Whom a breach has to be told to within the 72 hours: a processor tells its controllers.
pub(super) fn first_to_tell(content: &BreachContent) -> &'static str {
    if content.role == "processor" { "controllers" } else { "authority" }
}

pub(super) fn was_told(breach: &Breach, to: &str) -> bool {
    breach.facts.notices.iter().any(|notice| notice.to == to)
}

/// Whether the newest notice was a final one: none of those is sent that lacks something.
fn has_final(breach: &Breach, to: &str) -> bool {
    let newest = breach.facts.notices.iter().rev().find(|notice| notice.to == to);
    newest.is_some_and(|notice| notice.phase == "final")
}

pub(super) fn ends_at(content: &BreachContent) -> Option<Timestamp> {
    content.aware_at.map(|at| at.saturating_add(CLOCK))
}

/// Whether nobody has to be told: the risk is unlikely, and it says why.
fn concerns_nobody(content: &BreachContent) -> bool {
    content.role != "processor" && content.risk == "unlikely" && !content.risk_reason.is_empty()
}

/// Whether a controller still owes the people concerned a notice (Article 34 of the GDPR). Why the
/// risk is high waives nothing; one of the grounds of Article 34(3) does.
fn owes_subjects(breach: &Breach) -> bool {
    let content = &breach.content;
    let is_owed = content.role != "processor" && content.risk == "high";
    is_owed && content.not_told_ground.is_empty() && !was_told(breach, "subjects")
}

/// What a breach still owes, what presses most first.
pub(super) fn owed(breach: &Breach) -> Vec<Owed> {
    let content = &breach.content;
    if breach.row.state == "closed" || concerns_nobody(content) {
        return Vec::new();
    }
    let to = first_to_tell(content);
    let (is_untold, is_unfinished) = (!was_told(breach, to), !has_final(breach, to));
    let all = [
        (Owed::First, is_untold),
        (Owed::Subjects, owes_subjects(breach)),
        (Owed::Final, is_unfinished && !is_untold),
    ];
    all.into_iter().filter(|(_, is_owed)| *is_owed).map(|(owed, _)| owed).collect()
}

fn last_alarm(breach: &Breach) -> u64 {
    breach.facts.alarms.iter().copied().max().unwrap_or(0)
}

/// When the next alarm is due; none once nothing is owed.
pub(super) fn next_alarm(breach: &Breach) -> Option<Timestamp> {
    let aware_at = breach.content.aware_at?;
    let owed = owed(breach).first().copied()?;
    let last = last_alarm(breach);
    let once = owed.once().iter().copied().find(|hours| *hours > last);
    let again = || (last / owed.every()).saturating_add(1).saturating_mul(owed.every());
    let hours = once.unwrap_or_else(again);
    Some(aware_at.saturating_add(Duration::from_secs(hours.saturating_mul(HOUR_SECONDS))))
}

/// What alarms tell of by a moment, and the hours at which they were due. Of those that come again
/// and again the newest stands for the ones that nobody was there to raise.
pub(super) fn alarms_due(breach: &Breach, now: Timestamp) -> Option<(Owed, Vec<u64>)> {
    let hours = now.since(breach.content.aware_at?).as_secs() / HOUR_SECONDS;
    let owed = owed(breach).first().copied()?;
    let last = last_alarm(breach);
    let is_due = |one: &u64| *one > last && *one <= hours;
    let mut due: Vec<u64> = owed.once().iter().copied().filter(is_due).collect();
    let newest = hours - hours % owed.every();
    if newest > due.last().copied().unwrap_or(last) {
        due.push(newest);
    }
    (!due.is_empty()).then_some((owed, due))
}

/// The fields that a notice still lacks. In a first notice the numbers may follow (Article 33(4));
/// in every other they are stated.
pub(super) fn missing(
    content: &BreachContent,
    (to, phase): (&str, &str),
    is_late: bool,
) -> Vec<&'static str> {
    let is_first = phase == "first";
    let is_subjects = to == "subjects";
    let is_authority = to == "authority";
    let lacks = [
        ("nature", content.nature.is_empty()),
        ("subjects", content.subjects.is_none() && !is_first && !is_subjects),
        ("records", content.records.is_none() && !is_first && !is_subjects),
        ("contact", content.contact.is_empty()),
        ("consequences", content.consequences.is_empty()),
        ("measures", content.measures.is_empty()),
        ("risk", content.risk == "unknown" && is_authority),
        ("authority", content.authority.is_empty() && is_authority),
        ("authority_email", content.authority_email.is_empty() && is_authority),
        ("late_reason", is_late && content.late_reason.is_empty() && !is_subjects),
    ];
    lacks.into_iter().filter(|(_, lacks)| *lacks).map(|(field, _)| field).collect()
}

/// What has to be done before a breach is closed.
pub(super) fn not_done(breach: &Breach) -> Option<String> {
    let content = &breach.content;
    match content.risk.as_str() {
        "unknown" => return Some("say how high the risk is first".to_owned()),
        "unlikely" if content.risk_reason.is_empty() => {
            let text = "say why the risk is unlikely: then nobody has to be told";
            return Some(text.to_owned());
        }
        _ if concerns_nobody(content) => return None,
        _ => {}
    }
    let to = first_to_tell(content);
    let (whom, have) = if to == "authority" { (to, "has") } else { (to, "have") };
    let owed = owed(breach);
    if owed.contains(&Owed::First) {
        return Some(format!("the {whom} {have} not been told"));
    }
    let was_late = breach.facts.notices.iter().any(|one| one.to == to && one.is_late);
    let lacks = missing(content, (to, "final"), was_late);
    if !lacks.is_empty() {
        return Some(format!("a final notice to the {whom} lacks {}", lacks.join(", ")));
    }
    if owed.contains(&Owed::Final) {
        return Some(format!("the last notice to the {whom} is not a final one"));
    }
    owed.contains(&Owed::Subjects).then(|| {
        "the people concerned have not been told: tell them, or state not_told_ground and \
         why_not_subjects"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use veritwin_domain::GovernanceId;
    use veritwin_metastore::{GovernanceItem, GovernanceKind};

    use super::super::breaches::Facts;
    use super::*;
    use crate::model::BreachNoticeView;

    const HOUR: i64 = 3_600_000_000;
    const AWARE: i64 = 1_800_000_000_000_000;

    fn breach(role: &str) -> Breach {
        let at = Timestamp::from_micros(AWARE);
        Breach {
            row: GovernanceItem {
                id: GovernanceId::from_bytes([1; 16]),
                kind: GovernanceKind::Breach,
                parent: None,
                state: "open".to_owned(),
                body: Vec::new(),
                due_at: None,
                version: 1,
                created_at: at,
                updated_at: at,
            },
            content: BreachContent {
                title: "Lost laptop".to_owned(),
                role: role.to_owned(),
                risk: "high".to_owned(),
                aware_at: Some(at),
                ..BreachContent::default()
            },
            facts: Facts::default(),
        }
    }

    fn described(role: &str) -> Breach {
        let mut breach = breach(role);
        let text = || "said".to_owned();
        breach.content = BreachContent {
            nature: text(),
            subjects: Some(12),
            records: Some(120),
            contact: text(),
            consequences: text(),
            measures: text(),
            authority: text(),
            authority_email: "authority@example.test".to_owned(),
            ..breach.content
        };
        breach
    }

    fn told(to: &str, phase: &str) -> BreachNoticeView {
        BreachNoticeView {
            to: to.to_owned(),
            phase: phase.to_owned(),
            at: String::new(),
            recipients: 1,
            sha256: String::new(),
            texts: Vec::new(),
            is_drill: false,
            is_late: false,
        }
    }

    /// The hour of the clock at which the next alarm comes.
    fn next(breach: &Breach) -> Option<i64> {
        next_alarm(breach).map(|at| (at.as_micros() - AWARE) / HOUR)
    }

    /// Raises what is due by an hour.
    fn by(breach: &mut Breach, hours: i64) -> Option<(Owed, Vec<u64>)> {
        let due = alarms_due(breach, Timestamp::from_micros(AWARE + hours * HOUR))?;
        breach.facts.alarms.extend(&due.1);
        Some(due)
    }

    #[test]
    fn alarms_come_at_their_hours_and_every_day_after_until_somebody_was_told() {
        let mut breach = breach("controller");
        for hours in [24, 48, 60, 66, 70, 72, 96, 120] {
            assert_eq!(next(&breach), Some(hours));
            assert_eq!(by(&mut breach, hours - 1), None);
            let expect = vec![u64::try_from(hours).expect("hours")];
            assert_eq!(by(&mut breach, hours), Some((Owed::First, expect)));
        }
        breach.facts.alarms.clear();
        let all = by(&mut breach, 200).expect("alarms");
        assert_eq!(all.1, [24, 48, 60, 66, 70, 72, 192], "the days in between are told of once");
        assert_eq!(next(&breach), Some(216));
        breach.row.state = "closed".to_owned();
        assert_eq!((next(&breach), by(&mut breach, 300)), (None, None));
    }

    #[test]
    fn alarms_go_on_until_the_people_and_the_final_notice_are_out() {
        let mut breach = breach("controller");
        by(&mut breach, 30);
        breach.row.state = "told".to_owned();
        breach.facts.notices.push(told("authority", "first"));
        assert_eq!(owed(&breach), [Owed::Subjects, Owed::Final]);
        assert_eq!(next(&breach), Some(48));
        assert_eq!(by(&mut breach, 50), Some((Owed::Subjects, vec![48])));
        assert_eq!(next(&breach), Some(72));
        breach.facts.notices.push(told("subjects", "first"));
        assert_eq!(owed(&breach), [Owed::Final]);
        assert_eq!(next(&breach), Some(168));
        assert_eq!(by(&mut breach, 167), None);
        assert_eq!(by(&mut breach, 168), Some((Owed::Final, vec![168])));
        assert_eq!(by(&mut breach, 700), Some((Owed::Final, vec![672])));
        breach.facts.notices.push(told("authority", "final"));
        assert_eq!((owed(&breach), next(&breach)), (Vec::new(), None));
        breach.facts.notices.push(told("authority", "further"));
        assert_eq!(owed(&breach), [Owed::Final], "what came after it is not the whole");
    }

    #[test]
    fn a_risk_that_turns_out_high_is_told_of_at_once() {
        let mut breach = breach("controller");
        breach.content.risk = "risk".to_owned();
        breach.facts.notices.push(told("authority", "first"));
        by(&mut breach, 168);
        assert_eq!(next(&breach), Some(336));
        breach.content.risk = "high".to_owned();
        assert_eq!(next(&breach), Some(192));
        assert_eq!(by(&mut breach, 200), Some((Owed::Subjects, vec![192])));
        breach.content.not_told_ground = "protected".to_owned();
        assert_eq!(owed(&breach), [Owed::Final]);
    }

    #[test]
    fn an_unlikely_risk_with_its_reasons_owes_nothing() {
        let mut breach = breach("controller");
        breach.content.risk = "unlikely".to_owned();
        assert_eq!(next(&breach), Some(24));
        breach.content.risk_reason = "It was encrypted".to_owned();
        assert_eq!((next(&breach), not_done(&breach)), (None, None));
        breach.content.role = "processor".to_owned();
        assert_eq!(next(&breach), Some(24), "whether it is, its controllers judge");
    }

    #[test]
    fn a_notice_says_what_it_has_to() {
        let mut content = breach("controller").content;
        let all = missing(&content, ("authority", "final"), true);
        let expect = [
            "nature",
            "subjects",
            "records",
            "contact",
            "consequences",
            "measures",
            "authority",
            "authority_email",
            "late_reason",
        ];
        assert_eq!(all, expect);
        let first = missing(&content, ("authority", "first"), false);
        assert!(!first.contains(&"subjects") && !first.contains(&"late_reason"));
        content.nature = "Names of tenants".to_owned();
        assert!(!missing(&content, ("authority", "final"), true).contains(&"nature"));
        assert!(!missing(&content, ("subjects", "final"), true).contains(&"records"));
    }

    #[test]
    fn nothing_is_closed_before_everybody_was_told_everything() {
        let keeps_open = |breach: &Breach, words: &str| {
            let why = not_done(breach).unwrap_or_default();
            assert!(why.contains(words), "{why:?} does not say {words:?}");
        };
        let mut breach = described("controller");
        breach.content.risk_reason = "Passwords were in clear".to_owned();
        keeps_open(&breach, "the authority has not been told");
        breach.content.subjects = None;
        breach.facts.notices.push(told("authority", "first"));
        keeps_open(&breach, "a final notice to the authority lacks subjects");
        breach.content.subjects = Some(12);
        keeps_open(&breach, "the last notice to the authority is not a final one");
        breach.facts.notices.push(told("authority", "final"));
        keeps_open(&breach, "the people concerned have not been told");
        let mut waived = described("controller");
        waived.facts.notices.push(told("authority", "final"));
        waived.content.not_told_ground = "removed".to_owned();
        assert_eq!(not_done(&waived), None);
        breach.facts.notices.push(told("subjects", "first"));
        assert_eq!(not_done(&breach), None);
    }

    #[test]
    fn a_late_notice_keeps_its_reasons_to_the_end() {
        let mut breach = described("controller");
        breach.content.risk = "risk".to_owned();
        let late = BreachNoticeView { is_late: true, ..told("authority", "first") };
        breach.facts.notices.extend([late, told("authority", "final")]);
        let why = not_done(&breach).expect("reasons are missing");
        assert!(why.ends_with("lacks late_reason"), "{why}");
        breach.content.late_reason = "It was found late".to_owned();
        assert_eq!(not_done(&breach), None);
    }

    #[test]
    fn a_processor_tells_its_controllers_alone() {
        let mut breach = described("processor");
        assert_eq!(not_done(&breach).as_deref(), Some("the controllers have not been told"));
        breach.facts.notices.push(told("controllers", "final"));
        assert_eq!((owed(&breach), not_done(&breach)), (Vec::new(), None));
    }
}
