//! Which streams alert rules are kept off: those that are not open, where the writer of a rule may
//! read open ones only. Devices of which the same counts are judged once, and others have their
//! turn in between: one job judges for all tenants.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use veritwin_alerting::{Rule, Scope};
use veritwin_domain::{Declaration, DeviceId, OpContext, RuleId, SiteId};
use veritwin_governance::streams::{JudgedDevice, KindCounts};
use veritwin_metastore::Device;

use crate::directory::TenantDevices;
use crate::limits::withhold_limited;
use crate::stream_book::StreamBook;
use crate::{App, Result};

/// What is judged before others have their turn.
const STEPS_AT_ONCE: usize = 4096;

/// For each device the rules that may not watch it.
pub(crate) type Withheld = HashMap<DeviceId, Arc<BTreeSet<RuleId>>>;

/// A rule that may watch open streams only, and the key that it watches.
#[derive(Clone, Copy)]
struct Bound<'a> {
    rule: &'a Rule,
    key: &'a str,
}

/// Such rules by what they watch.
#[derive(Default)]
struct BoundRules<'a> {
    of_all: Vec<Bound<'a>>,
    of_type: HashMap<&'a str, Vec<Bound<'a>>>,
    of_twin: HashMap<SiteId, Vec<Bound<'a>>>,
    of_device: HashMap<DeviceId, Vec<Bound<'a>>>,
    of_key: HashMap<&'a str, Vec<Bound<'a>>>,
}

impl<'a> BoundRules<'a> {
    fn of(rules: impl Iterator<Item = &'a Rule>) -> Self {
        let mut all = Self::default();
        for rule in rules.filter(|rule| rule.enabled && rule.sees_closed != Some(true)) {
            // That a device is heard at all is shown with it, so its silence is withheld from
            // nobody.
            let Some(key) = rule.condition.key() else { continue };
            let key: &str = key;
            let bound = Bound { rule, key };
            all.of_key.entry(bound.key).or_default().push(bound);
            match &rule.scope {
                Scope::All => all.of_all.push(bound),
                Scope::DeviceType(kind) => all.of_type.entry(kind).or_default().push(bound),
                Scope::Twin(twin) => all.of_twin.entry(*twin).or_default().push(bound),
                Scope::Device(id) => all.of_device.entry(*id).or_default().push(bound),
            }
        }
        all
    }
}

/// What devices have in common of which the same rules are kept off the same streams, where nothing
/// is said of a stream by itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Group<'a> {
    declaration: Declaration,
    counts: KindCounts<'a>,
    /// Only where rules are about it.
    kind: Option<&'a str>,
    twin: Option<SiteId>,
}

struct Judging<'a> {
    rules: &'a BoundRules<'a>,
    book: &'a StreamBook,
    kinds: HashMap<&'a str, KindCounts<'a>>,
    streams: HashMap<(Declaration, KindCounts<'a>, &'a str), bool>,
    groups: HashMap<Group<'a>, Arc<BTreeSet<RuleId>>>,
    /// Devices mostly share one set.
    sets: HashSet<Arc<BTreeSet<RuleId>>>,
    /// What was done since others had their turn.
    steps: usize,
}

impl<'a> Judging<'a> {
    fn new(rules: &'a BoundRules<'a>, book: &'a StreamBook) -> Self {
        Self {
            rules,
            book,
            kinds: HashMap::new(),
            streams: HashMap::new(),
            groups: HashMap::new(),
            sets: HashSet::new(),
            steps: 0,
        }
    }

    fn group(&mut self, device: &'a Device) -> Group<'a> {
        let (rules, known) = (self.rules, self.book.rules());
        let kind = device.kind.as_str();
        Group {
            declaration: device.declaration,
            counts: *self.kinds.entry(kind).or_insert_with(|| known.kind_counts(kind)),
            kind: Some(kind).filter(|kind| rules.of_type.contains_key(kind)),
            twin: device.twin.filter(|twin| rules.of_twin.contains_key(twin)),
        }
    }

    /// Whether a stream of a device is closed when nothing is said of it by itself.
    fn is_closed(&mut self, device: &Device, group: Group<'a>, key: &'a str) -> bool {
        self.steps += 1;
        let rules = self.book.rules();
        *self.streams.entry((group.declaration, group.counts, key)).or_insert_with(|| {
            let (kind, declaration) = (device.kind.as_str(), device.declaration);
            !rules.judge(JudgedDevice { kind, declaration, said: None }, Some(key)).is_open()
        })
    }

    fn of_group(&mut self, device: &'a Device, group: Group<'a>) -> Arc<BTreeSet<RuleId>> {
        if let Some(known) = self.groups.get(&group) {
            return Arc::clone(known);
        }
        let rules = self.rules;
        let of_type = group.kind.and_then(|kind| rules.of_type.get(kind));
        let of_twin = group.twin.and_then(|twin| rules.of_twin.get(&twin));
        let others = of_type.into_iter().chain(of_twin).flatten();
        let mut set = BTreeSet::new();
        for &Bound { rule, key } in rules.of_all.iter().chain(others) {
            if self.is_closed(device, group, key) {
                set.insert(rule.id);
            }
        }
        let set = Arc::new(set);
        self.groups.insert(group, Arc::clone(&set));
        set
    }

    /// The rules that may not watch a device.
    fn withheld_from(&mut self, device: &'a Device) -> Arc<BTreeSet<RuleId>> {
        self.steps += 1;
        let group = self.group(device);
        let mut set = self.of_group(device, group);
        let (rules, book) = (self.rules, self.book);
        for &Bound { rule, key } in rules.of_device.get(&device.id).into_iter().flatten() {
            if self.is_closed(device, group, key) {
                Arc::make_mut(&mut set).insert(rule.id);
            }
        }
        for key in book.said(device.id).into_iter().flat_map(|said| said.streams.keys()) {
            self.steps += 1;
            let is_open = book.verdict(device, Some(key)).is_open();
            for &Bound { rule, .. } in rules.of_key.get(key.as_str()).into_iter().flatten() {
                self.steps += 1;
                let is_covered = rule.scope.covers(device.id, &device.kind, device.twin);
                if !is_covered || set.contains(&rule.id) != is_open {
                    continue;
                }
                let set = Arc::make_mut(&mut set);
                if is_open {
                    set.remove(&rule.id);
                } else {
                    set.insert(rule.id);
                }
            }
        }
        let set = self.sets.get(&set).cloned().unwrap_or(set);
        self.sets.insert(Arc::clone(&set));
        set
    }
}

impl App {
    /// What rules may not watch now: a stream that is not open, unless their writers may read it.
    pub(crate) async fn withheld(
        &self,
        context: &OpContext,
        rules: &BTreeMap<RuleId, Rule>,
        devices: &TenantDevices,
    ) -> Result<Withheld> {
        let all = rules;
        let rules = BoundRules::of(rules.values());
        let mut withheld = Withheld::new();
        if all.values().all(|rule| rule.condition.key().is_none()) {
            return Ok(withheld);
        }
        let book = self.stream_book(context).await?;
        let is_bound = !rules.of_key.is_empty();
        let mut judging = Judging::new(&rules, &book);
        for device in devices.all().take_while(|_| is_bound) {
            let set = judging.withheld_from(device);
            if !set.is_empty() {
                withheld.insert(device.id, set);
            }
            if judging.steps >= STEPS_AT_ONCE {
                judging.steps = 0;
                tokio::task::yield_now().await;
            }
        }
        withhold_limited(&mut withheld, all, (devices, &book));
        Ok(withheld)
    }
}

#[cfg(test)]
mod tests {
    use veritwin_alerting::{Condition, Operator, Severity};
    use veritwin_domain::Key;
    use veritwin_governance::streams::{DeviceStatements, Statement};

    use super::*;
    use crate::stream_book::tests::device;

    fn rule(number: u8, scope: Scope, key: &str, sees_closed: Option<bool>) -> Rule {
        Rule {
            id: RuleId::from_bytes([number; 16]),
            name: "a rule".to_owned(),
            severity: Severity::High,
            enabled: true,
            scope,
            condition: Condition::Threshold {
                key: Key::new(key).expect("a key"),
                operator: Operator::Greater,
                threshold: 1.0,
                hysteresis: 0.0,
                for_seconds: 0,
            },
            notify_emails: Vec::new(),
            what_helps: String::new(),
            sees_closed,
            sees_closed_anywhere: false,
            sees_closed_twin: None,
        }
    }

    fn in_twin(twin: u8, device: Device) -> Device {
        Device { twin: Some(SiteId::from_bytes([twin; 16])), ..device }
    }

    #[test]
    fn a_rule_is_kept_off_what_it_watches_and_may_not_see_and_off_nothing_else() {
        let (open, unsaid) = (Declaration::NonPersonal, Declaration::Undeclared);
        let all = [
            rule(1, Scope::All, "heat", Some(false)),
            rule(2, Scope::DeviceType("pump".to_owned()), "heat", None),
            rule(3, Scope::Twin(SiteId::from_bytes([7; 16])), "flow", Some(false)),
            rule(4, Scope::Device(DeviceId::from_bytes([2; 16])), "flow", Some(false)),
            rule(5, Scope::All, "heat", Some(true)),
            Rule { enabled: false, ..rule(6, Scope::All, "heat", Some(false)) },
            Rule {
                condition: Condition::NoData { key: None, after_seconds: 60 },
                ..rule(7, Scope::All, "heat", Some(false))
            },
        ];
        let said = |is_personal| {
            let by = "user:1".to_owned();
            let statement = Statement { is_personal, subject: None, by, at_us: 1 };
            let streams = BTreeMap::from([("heat".to_owned(), statement)]);
            DeviceStatements { person: None, whole: None, streams }
        };
        let of = |number: u8, is_personal| (DeviceId::from_bytes([number; 16]), said(is_personal));
        let book = StreamBook::counting(2, HashMap::from([of(5, false), of(6, true)]));
        let rules = BoundRules::of(all.iter());
        let devices = [
            (device(1, "pump", unsaid), vec![1, 2]),
            (in_twin(7, device(2, "fan", unsaid)), vec![1, 3, 4]),
            (in_twin(7, device(3, "fan", open)), vec![]),
            (in_twin(8, device(4, "fan", Declaration::Personal)), vec![1]),
            (in_twin(7, device(5, "pump", unsaid)), vec![3]),
            (device(6, "pump", open), vec![1, 2]),
        ];
        let mut judging = Judging::new(&rules, &book);
        for (device, expect) in &devices {
            let found = judging.withheld_from(device);
            let expect: BTreeSet<RuleId> =
                expect.iter().map(|number| RuleId::from_bytes([*number; 16])).collect();
            assert_eq!(*found, expect, "{}", device.name);
        }
    }

    #[test]
    fn devices_of_which_the_same_counts_are_judged_once() {
        let keys: Vec<String> = (0..50).map(|number| format!("key {number}")).collect();
        let all: Vec<Rule> =
            (0..50).map(|n| rule(n, Scope::All, &keys[usize::from(n)], Some(false))).collect();
        let (rules, book) = (BoundRules::of(all.iter()), StreamBook::default());
        let devices: Vec<Device> = (0..200)
            .map(|number| device(number, &format!("type {number}"), Declaration::Undeclared))
            .collect();
        let mut judging = Judging::new(&rules, &book);
        let sets: Vec<_> = devices.iter().map(|one| judging.withheld_from(one)).collect();
        assert_eq!((sets[0].len(), judging.streams.len(), judging.groups.len()), (50, 50, 1));
        assert!(sets.iter().all(|set| Arc::ptr_eq(set, &sets[0])), "one set for all");
        assert_eq!(judging.steps, 200 + 50);
    }
}
