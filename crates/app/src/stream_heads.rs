//! What an act on streams is told by: a head that lists read in place of the whole act, and what
//! records keep of it. Both are bounded, however much was declared at once.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use veritwin_domain::{Declaration, DeviceId, StreamActId, Timestamp};
use veritwin_governance::streams::{GroupRule, Subject};

use crate::model::{StreamActStep, StreamActView};
use crate::records::Names;
use crate::stream_acts::{Act, Said, Step};
use crate::streams::Among;

/// Most steps of an act that are shown.
const STEPS_SHOWN_MAX: usize = 20;
/// Most keys that a record names.
const KEYS_RECORDED_MAX: usize = 20;

/// What an act is listed by, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    by: String,
    count: usize,
    /// It made a rule or took one away.
    has_rule: bool,
    /// Every device that it declared something of.
    devices: BTreeSet<String>,
    /// The first steps.
    steps: Vec<HeadStep>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct HeadStep {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_type: Option<String>,
    before: String,
    after: String,
}

fn declared(rule: Option<&GroupRule>) -> Declaration {
    rule.map(|rule| rule.statement.declaration()).unwrap_or_default()
}

impl HeadStep {
    fn of(step: &Step) -> Self {
        let text = |declaration: Declaration| declaration.as_str().to_owned();
        match step {
            Step::Stream { device, key, before, after } => Self {
                device: Some(device.clone()),
                key: key.clone(),
                device_type: None,
                before: text(before.declaration),
                after: text(after.declaration),
            },
            Step::Rule { before, after, .. } => {
                let rule = after.as_ref().or(before.as_ref());
                Self {
                    device: None,
                    key: rule.and_then(|rule| rule.key.clone()),
                    device_type: rule.and_then(|rule| rule.device_type.clone()),
                    before: text(declared(before.as_ref())),
                    after: text(declared(after.as_ref())),
                }
            }
        }
    }

    fn view(&self, among: &Among) -> StreamActStep {
        let id: Option<DeviceId> = self.device.as_ref().and_then(|id| id.parse().ok());
        let known = id.and_then(|id| among.devices.get(id));
        let name = known.map(|known| known.name.as_str()).or(self.device.as_deref());
        StreamActStep {
            device: id,
            device_name: name.map(Into::into),
            key: self.key.clone(),
            device_type: self.device_type.clone(),
            before: Declaration::parse(&self.before).unwrap_or_default(),
            after: Declaration::parse(&self.after).unwrap_or_default(),
        }
    }
}

impl Head {
    pub(crate) fn of(act: &Act) -> Self {
        let device = |step: &Step| match step {
            Step::Stream { device, .. } => Some(device.clone()),
            Step::Rule { .. } => None,
        };
        Self {
            by: act.by.clone(),
            count: act.steps.len(),
            has_rule: act.steps.iter().any(|step| matches!(step, Step::Rule { .. })),
            devices: act.steps.iter().filter_map(device).collect(),
            steps: act.steps.iter().take(STEPS_SHOWN_MAX).map(HeadStep::of).collect(),
        }
    }

    /// Whether it declared a device, or a stream of it.
    pub(crate) fn is_about(&self, id: DeviceId) -> bool {
        self.devices.contains(&id.to_string())
    }

    /// Whether all of it is about what the actor may declare.
    pub(crate) fn is_among(&self, among: &Among) -> bool {
        let may = |id: &String| id.parse::<DeviceId>().is_ok_and(|id| among.device(id).is_some());
        among.is_whole() || (!self.has_rule && self.devices.iter().all(may))
    }

    pub(crate) fn view(
        &self,
        (id, at): (StreamActId, Timestamp),
        undone_at: Option<Timestamp>,
        (among, names): (&Among, &Names),
    ) -> StreamActView {
        StreamActView {
            id,
            at,
            by: names.get(&self.by).unwrap_or(&self.by).clone(),
            undone_at,
            count: self.count,
            steps: self.steps.iter().map(|step| step.view(among)).collect(),
        }
    }
}

const fn kind(subject: &Subject) -> &'static str {
    match subject {
        Subject::Device => "device",
        Subject::Field { .. } => "field",
    }
}

/// What a record says of streams of one device that were declared alike.
#[derive(Default)]
struct Told {
    streams: usize,
    /// The device as a whole is among them.
    whole: bool,
    /// Those of them that were open before and after: a name may say what is closed.
    keys: Vec<String>,
}

/// Streams that are told together: of a device, declared as what, about whom.
type Alike<'a> = (&'a str, &'static str, Option<&'static str>);

fn told<'a>(
    all: &mut BTreeMap<Alike<'a>, Told>,
    (device, key): (&'a str, Option<&String>),
    said: &Said,
    is_named: bool,
) {
    let subject = said.statement.as_ref().and_then(|one| one.subject.as_ref()).map(kind);
    let told = all.entry((device, said.declaration.as_str(), subject)).or_default();
    match key {
        None => told.whole = true,
        Some(key) => {
            told.streams += 1;
            if is_named {
                told.keys.push(key.clone());
            }
        }
    }
}

fn values(all: BTreeMap<Alike<'_>, Told>) -> impl Iterator<Item = Value> {
    all.into_iter().map(|((device, declaration, subject), told)| {
        let Told { streams, whole, keys } = told;
        json!({
            "device": device, "declaration": declaration, "subject": subject,
            "streams": streams, "whole": whole, "keys": keys,
        })
    })
}

fn rule_value(id: &str, rule: &GroupRule) -> Value {
    json!({
        "rule": id,
        "device_type": rule.device_type,
        // It may say what is closed, or was before the rule.
        "key": null,
        "has_key": rule.key.is_some(),
        "declaration": rule.statement.declaration().as_str(),
        "subject": rule.statement.subject.as_ref().map(kind),
    })
}

/// Before and after, as it is recorded: devices and how many streams of each. Who a person is
/// stays out of it.
pub(crate) fn recorded(steps: &[Step]) -> (Value, Value) {
    let (mut before_all, mut after_all) = (BTreeMap::new(), BTreeMap::new());
    let (mut rules_before, mut rules_after) = (Vec::new(), Vec::new());
    let mut named = 0;
    for step in steps {
        match step {
            Step::Stream { device, key, before, after } => {
                let open = [before, after].map(|said| said.declaration == Declaration::NonPersonal);
                let is_named = open == [true, true] && key.is_some() && named < KEYS_RECORDED_MAX;
                named += usize::from(is_named);
                told(&mut before_all, (device, key.as_ref()), before, is_named);
                told(&mut after_all, (device, key.as_ref()), after, is_named);
            }
            Step::Rule { id, before, after } => {
                rules_before.extend(before.as_ref().map(|rule| rule_value(id, rule)));
                rules_after.extend(after.as_ref().map(|rule| rule_value(id, rule)));
            }
        }
    }
    let with = |all, rules: Vec<Value>| {
        let said: Vec<Value> = values(all).chain(rules).collect();
        json!({"count": steps.len(), "said": said})
    };
    (with(before_all, rules_before), with(after_all, rules_after))
}

#[cfg(test)]
mod tests {
    use veritwin_governance::streams::Statement;

    use super::*;

    fn said(is_personal: Option<bool>) -> Said {
        let statement = is_personal.map(|is_personal| Statement {
            is_personal,
            subject: is_personal.then(|| Subject::Field { key: "holder".to_owned() }),
            by: "user:1".to_owned(),
            at_us: 1,
        });
        let declaration =
            statement.as_ref().map_or(Declaration::Undeclared, |one| one.declaration());
        Said { declaration, statement, person: Some("A. Person".to_owned()) }
    }

    fn step(device: u8, key: Option<&str>, before: Option<bool>, after: Option<bool>) -> Step {
        let id = DeviceId::from_bytes([device; 16]);
        Step::stream(id, key.map(str::to_owned), said(before), said(after))
    }

    #[test]
    fn a_record_names_devices_and_counts_and_only_keys_that_were_open_and_are() {
        let (open, closed) = (Some(false), Some(true));
        let steps = [
            step(1, Some("flow"), open, open),
            step(1, Some("badge"), closed, open),
            step(1, Some("steps"), open, closed),
            step(2, None, None, closed),
        ];
        let (before, after) = recorded(&steps);
        assert_eq!((&before["count"], &after["count"]), (&json!(4), &json!(4)));
        let first = &after["said"][0];
        assert_eq!((&first["declaration"], &first["streams"]), (&json!("non_personal"), &json!(2)));
        assert_eq!(first["keys"], json!(["flow"]));
        assert_eq!(after["said"][2]["whole"], true, "{after}");
        let all = format!("{before}{after}");
        for hidden in ["badge", "steps", "holder", "Person"] {
            assert!(!all.contains(hidden), "{hidden}: {all}");
        }
    }

    #[test]
    fn a_record_names_few_keys_of_all_devices_together_and_none_of_a_rule() {
        let open = Some(false);
        let steps: Vec<Step> =
            (0..100).map(|number| step(number, Some("flow"), open, open)).collect();
        let (before, after) = recorded(&steps);
        for told in [before, after] {
            let said = told["said"].as_array().expect("said").iter();
            let keys = said.filter_map(|one| one["keys"].as_array()).map(Vec::len).sum::<usize>();
            assert_eq!((keys, &told["count"]), (KEYS_RECORDED_MAX, &json!(100)));
        }
        for key in [None, Some("badge*".to_owned())] {
            let has_key = key.is_some();
            let statement =
                Statement { is_personal: false, subject: None, by: "user:1".to_owned(), at_us: 1 };
            let rule = GroupRule { device_type: Some("gate".to_owned()), key, statement };
            let step = Step::Rule { id: "1".to_owned(), before: None, after: Some(rule) };
            let (_, after) = recorded(&[step]);
            let said = &after["said"][0];
            assert_eq!((&said["key"], &said["has_key"]), (&Value::Null, &json!(has_key)));
            assert_eq!(said["device_type"], "gate", "{after}");
            assert!(!after.to_string().contains("badge"), "{after}");
        }
    }

    #[test]
    fn a_head_and_a_record_stay_small_however_much_was_declared() {
        let long = "k".repeat(200);
        let name = |number: usize| Some(format!("{long}{number}"));
        let steps: Vec<Step> = (0..500)
            .map(|number| step(1, name(number).as_deref(), Some(false), Some(false)))
            .collect();
        let (before, after) = recorded(&steps);
        assert!(before.to_string().len() + after.to_string().len() < 16_384);
        let head = Head::of(&Act { by: "user:1".to_owned(), steps });
        let body = serde_json::to_vec(&head).expect("a body");
        assert!(body.len() < 16_384, "{}", body.len());
        assert_eq!((head.count, head.steps.len(), head.devices.len()), (500, STEPS_SHOWN_MAX, 1));
        assert!(head.is_about(DeviceId::from_bytes([1; 16])));
        let again: Head = serde_json::from_slice(&body).expect("a head");
        assert_eq!(again, head);
    }
}
