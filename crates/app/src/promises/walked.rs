//! What a daily journey found: its steps, the promises that each is evidence of, and what that says
//! of a promise beside its own check.

use veritwin_domain::Timestamp;

use super::ProbeAnswer;
use super::sign_up::fact;

/// The promises whose checks walk the journey: without it, what they found is not all.
pub(super) const LEADING: [u8; 3] = [40, 43, 45];

/// A step of the journey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    SignUp,
    Consent,
    Readings,
    Copy,
    Objection,
    Restriction,
    Withdrawal,
}

impl Step {
    /// In the order in which they are walked; the first is walked by itself.
    pub(super) const AFTER_SIGN_UP: [Self; 6] = [
        Self::Consent,
        Self::Readings,
        Self::Copy,
        Self::Objection,
        Self::Restriction,
        Self::Withdrawal,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::SignUp => "sign-up",
            Self::Consent => "consent",
            Self::Readings => "readings",
            Self::Copy => "copy",
            Self::Objection => "objection",
            Self::Restriction => "restriction",
            Self::Withdrawal => "withdrawal",
        }
    }

    /// The promises that it is evidence of.
    pub(super) const fn promises(self) -> &'static [u8] {
        match self {
            Self::SignUp => &[14, 55],
            Self::Consent => &[16],
            Self::Readings => &[4],
            Self::Copy => &[40],
            Self::Objection => &[45],
            Self::Restriction => &[43],
            Self::Withdrawal => &[17],
        }
    }
}

/// A step that was walked, and what broke in it.
#[derive(Debug)]
pub(super) struct WalkedStep {
    pub(super) step: Step,
    pub(super) broken: Option<String>,
}

/// A journey that was walked.
#[derive(Debug)]
pub(super) struct Walked {
    pub(super) at: Timestamp,
    pub(super) steps: Vec<WalkedStep>,
}

impl Walked {
    pub(super) fn of(&self, promise: u8) -> impl Iterator<Item = &WalkedStep> {
        self.steps.iter().filter(move |one| one.step.promises().contains(&promise))
    }

    pub(super) fn is_broken(&self, promise: u8) -> bool {
        self.of(promise).any(|one| one.broken.is_some())
    }

    /// What the journey says beside the promise's own check.
    pub(super) fn beside(&self, promise: u8, answer: ProbeAnswer) -> ProbeAnswer {
        let (summary, mut facts) = match answer {
            ProbeAnswer::Passed { summary, facts } => (summary, facts),
            other => return other,
        };
        let mut steps = self.of(promise).peekable();
        if steps.peek().is_none() && LEADING.contains(&promise) {
            let first = self.steps.iter().find(|one| one.broken.is_some());
            let name = first.map_or("its beginning", |one| one.step.name());
            return ProbeAnswer::CouldNotRun(format!("the daily journey ended at {name}"));
        }
        for one in steps {
            if let Some(why) = &one.broken {
                return broken(one.step, why, facts);
            }
            let held = format!("{} held at {}", one.step.name(), self.at);
            facts.push(fact("daily journey", &held));
        }
        ProbeAnswer::Passed { summary, facts }
    }
}

fn broken(step: Step, why: &str, facts: Vec<(String, String)>) -> ProbeAnswer {
    ProbeAnswer::Failed {
        summary: format!("The daily journey broke: {why}"),
        facts,
        place: format!("daily journey, {}", step.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walked(broken: Option<Step>) -> Walked {
        let all = [Step::SignUp].into_iter().chain(Step::AFTER_SIGN_UP);
        let steps = all.map(|step| WalkedStep {
            step,
            broken: (broken == Some(step)).then(|| "so".to_owned()),
        });
        Walked { at: Timestamp::from_micros(0), steps: steps.collect() }
    }

    fn passed() -> ProbeAnswer {
        ProbeAnswer::Passed { summary: "fine".to_owned(), facts: Vec::new() }
    }

    #[test]
    fn a_broken_step_is_red_for_its_promises_alone() {
        let walk = walked(Some(Step::Withdrawal));
        assert!(matches!(walk.beside(17, passed()), ProbeAnswer::Failed { .. }));
        assert!(matches!(walk.beside(16, passed()), ProbeAnswer::Passed { facts, .. }
            if facts.len() == 1));
        assert_eq!(walk.beside(32, passed()), passed());
        assert!(matches!(walk.beside(40, passed()), ProbeAnswer::Passed { .. }));
        let walk = walked(Some(Step::Copy));
        assert!(matches!(walk.beside(40, passed()), ProbeAnswer::Failed { place, .. }
            if place == "daily journey, copy"));
    }

    #[test]
    fn what_was_not_walked_proves_nothing() {
        let mut walk = walked(Some(Step::Readings));
        walk.steps.truncate(3);
        assert!(matches!(walk.beside(40, passed()), ProbeAnswer::CouldNotRun(why)
            if why.ends_with("ended at readings")));
        // What has other evidence is not held up by it.
        assert_eq!(walk.beside(17, passed()), passed());
    }
}
