//! What an alert says: what, where, since when, how sure, what usually helps. Each phrase is a
//! code with parameters, for translation, and plain English, for mail and for whoever has no
//! translation. It never says more than the facts it was given.

use veritwin_domain::{Quality, Timestamp};

use crate::rule::{Condition, Operator, Rule};
use crate::series::{Reason, Transition, TransitionKind};

/// Names for the ids in a transition, looked up by whoever may see them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// The device's name.
    pub device: String,
    /// The unit of the series; empty when it has none.
    pub unit: String,
    /// The space it is in; empty when it is in none.
    pub space: String,
    /// The storey of that space; empty when unknown.
    pub storey: String,
    /// The building; empty when unknown.
    pub building: String,
}

/// One phrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phrase {
    /// The message code, for translation.
    pub code: &'static str,
    /// Its parameters by name, in the order the English text uses them.
    pub params: Vec<(&'static str, String)>,
    /// The phrase in English.
    pub english: String,
}

/// The whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What happened.
    pub what: Phrase,
    /// Where.
    pub place: Phrase,
    /// Since when.
    pub since: Phrase,
    /// How sure.
    pub how_sure: Phrase,
    /// What usually helps; none when the rule says nothing.
    pub what_helps: Option<Phrase>,
}

impl Message {
    /// The message of `transition`, which `rule` made.
    pub fn of(transition: &Transition, rule: &Rule, names: &Names) -> Self {
        Self {
            what: what(transition, rule, names),
            place: place(names),
            since: since(transition),
            how_sure: how_sure(transition),
            what_helps: (!rule.what_helps.trim().is_empty()).then(|| {
                let advice = rule.what_helps.trim().to_owned();
                phrase("alert.what_helps", [("advice", advice.clone())], advice)
            }),
        }
    }

    /// One line: what and where.
    pub fn headline(&self) -> String {
        format!("{}, {}", self.what.english, self.place.english)
    }

    /// All parts as sentences, for a mail.
    pub fn paragraph(&self) -> String {
        let parts = [Some(&self.since), Some(&self.how_sure), self.what_helps.as_ref()];
        let sentences = parts.into_iter().flatten().map(|phrase| sentence(&phrase.english));
        // It begins with a name, which is left as it is.
        let first = ended(&self.headline());
        std::iter::once(first).chain(sentences).collect::<Vec<_>>().join(" ")
    }
}

fn phrase<const N: usize>(
    code: &'static str,
    params: [(&'static str, String); N],
    english: String,
) -> Phrase {
    Phrase { code, params: params.into(), english }
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let capital = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    ended(&format!("{capital}{}", chars.as_str()))
}

fn ended(text: &str) -> String {
    let end = if text.ends_with(['.', '!', '?', '。']) { "" } else { "." };
    format!("{text}{end}")
}

fn what(transition: &Transition, rule: &Rule, names: &Names) -> Phrase {
    let device = if names.device.is_empty() {
        transition.id.series.device.to_string()
    } else {
        names.device.clone()
    };
    let raised = transition.kind == TransitionKind::Raised;
    match (&rule.condition, transition.reason) {
        (_, Reason::RuleChanged) => {
            let english =
                format!("{device}: the rule {} was changed or no longer applies", rule.name);
            phrase(
                "alert.what.rule_changed",
                [("device", device), ("rule", rule.name.clone())],
                english,
            )
        }
        (_, Reason::DeviceRemoved) => {
            let english = format!("{device}: the device was removed");
            phrase("alert.what.device_removed", [("device", device)], english)
        }
        (Condition::Threshold { key, operator, threshold, for_seconds, .. }, _) => {
            let value = number(transition.value.unwrap_or(*threshold), &names.unit);
            let threshold = number(*threshold, &names.unit);
            let lasted = duration(u64::from(*for_seconds));
            let (code, english) = match (raised, for_seconds) {
                (true, 0) => (
                    threshold_code(*operator),
                    format!("{device}: {key} is {value}, {} {threshold}", side(*operator)),
                ),
                (true, _) => (
                    threshold_code(*operator),
                    format!(
                        "{device}: {key} is {value}, {} {threshold} for at least {lasted}",
                        side(*operator)
                    ),
                ),
                (false, _) => (
                    "alert.what.back_to_normal",
                    format!("{device}: {key} is back to normal at {value} (limit {threshold})"),
                ),
            };
            let params = [
                ("device", device),
                ("key", key.to_string()),
                ("value", value),
                ("threshold", threshold),
                ("for_seconds", for_seconds.to_string()),
            ];
            phrase(code, params, english)
        }
        (Condition::NoData { key, after_seconds }, _) => {
            let subject = key.as_ref().map_or_else(String::new, |key| format!(" for {key}"));
            let (code, english) = if raised {
                let silence = duration(u64::from(*after_seconds));
                ("alert.what.no_data", format!("{device}: no data{subject} for {silence}"))
            } else {
                ("alert.what.data_returned", format!("{device}: data{subject} arrives again"))
            };
            let params = [
                ("device", device),
                ("key", key.as_ref().map(ToString::to_string).unwrap_or_default()),
                ("after_seconds", after_seconds.to_string()),
            ];
            phrase(code, params, english)
        }
    }
}

const fn threshold_code(operator: Operator) -> &'static str {
    match operator {
        Operator::Greater => "alert.what.above",
        Operator::GreaterOrEqual => "alert.what.at_or_above",
        Operator::Less => "alert.what.below",
        Operator::LessOrEqual => "alert.what.at_or_below",
    }
}

const fn side(operator: Operator) -> &'static str {
    match operator {
        Operator::Greater => "above",
        Operator::GreaterOrEqual => "at or above",
        Operator::Less => "below",
        Operator::LessOrEqual => "at or below",
    }
}

fn place(names: &Names) -> Phrase {
    let parts = [&names.space, &names.storey, &names.building];
    let known: Vec<&str> =
        parts.into_iter().filter(|name| !name.is_empty()).map(String::as_str).collect();
    if known.is_empty() {
        return phrase("alert.where.unplaced", [], "not placed in a building".to_owned());
    }
    let english = format!("in {}", known.join(", "));
    let params = [
        ("space", names.space.clone()),
        ("storey", names.storey.clone()),
        ("building", names.building.clone()),
    ];
    phrase("alert.where.placed", params, english)
}

fn since(transition: &Transition) -> Phrase {
    // Whole seconds read better than microseconds; the exact time stands in the record.
    let second = |at: Timestamp| {
        Timestamp::from_micros(at.as_micros().div_euclid(1_000_000).saturating_mul(1_000_000))
    };
    let moment = second(transition.since).to_string();
    let (code, english) = match (transition.kind, transition.reason) {
        (TransitionKind::Raised, Reason::Silence) => {
            ("alert.since.last_heard", format!("last heard at {moment}"))
        }
        (TransitionKind::Raised, _) => ("alert.since.since", format!("since {moment}")),
        (TransitionKind::Cleared, _) => ("alert.since.ended", format!("ended at {moment}")),
    };
    phrase(code, [("at", moment)], english)
}

fn how_sure(transition: &Transition) -> Phrase {
    let plain = |code, english: &str| phrase(code, [], english.to_owned());
    if transition.late {
        return plain("alert.sure.late", "the data arrived late; the situation may be over by now");
    }
    match (transition.reason, transition.quality) {
        (Reason::Value, Quality::Good) => {
            plain("alert.sure.measured", "measured, the device reports good quality")
        }
        (Reason::Value, Quality::Simulated) => {
            plain("alert.sure.simulated", "not measured: a simulation of the device made it up")
        }
        (Reason::Value, Quality::Uncertain | Quality::Bad) => {
            plain("alert.sure.uncertain", "the device itself doubts this measurement")
        }
        (Reason::Silence, _) => plain(
            "alert.sure.silence",
            "certain that nothing arrived; the cause may be the device, its power or the network",
        ),
        (Reason::DataReturned, _) => plain("alert.sure.data_returned", "certain: data arrived"),
        (Reason::RuleChanged | Reason::DeviceRemoved, _) => {
            plain("alert.sure.changed", "closed by a change of configuration, not by a measurement")
        }
    }
}

/// A number with at most three decimals and its unit.
fn number(value: f64, unit: &str) -> String {
    let rounded = (value * 1000.0).round() / 1000.0;
    let shown = if rounded.is_finite() { rounded } else { value };
    if unit.is_empty() { format!("{shown}") } else { format!("{shown} {unit}") }
}

fn duration(seconds: u64) -> String {
    let (count, unit) = match seconds {
        s if s > 0 && s % 86_400 == 0 => (s / 86_400, "day"),
        s if s > 0 && s % 3_600 == 0 => (s / 3_600, "hour"),
        s if s > 0 && s % 60 == 0 => (s / 60, "minute"),
        s => (s, "second"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}
