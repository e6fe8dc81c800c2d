//! Which messages of the log a tenant's rules want, and what is sent of them. Only open streams
//! leave (promise P04), whoever wrote the rule: what is declared personal, or not declared yet,
//! does not, and a message to a topic only where its device as a whole is open.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use veritwin_domain::{
    Clock, DeviceBatch, DeviceId, GroupId, Quality, Reading, RelayMessage, RouteDestinationId,
    RouteRuleId, SiteId, Timestamp,
};
use veritwin_log::{Entry, Record};
use veritwin_metastore::{Device, DeviceGroup};
use veritwin_script::Predicate;

use crate::directory::TenantDevices;
use crate::route_attributes::{Holding, StoredAttribute, holds};
use crate::route_body::{
    ROUTE_MESSAGE_BYTES_MAX, RouteBody, Rows, body_of, parts_of, put_payload, rows_of,
};
use crate::route_expression::{Allowance, Asked, ask, compile, scalar};
use crate::route_rules::{StoredMatch, StoredRule};
use crate::stream_book::StreamBook;
use crate::{Error, Result};

/// Most messages of a tenant that are made at once of what the log gives, and most questions to its
/// conditions; what is over is counted and not sent.
const CANDIDATES_MAX: usize = 4_000;
const QUESTIONS_MAX: usize = 10_000;
/// Most values that are looked at for it.
const VALUES_MAX: usize = 500_000;
/// Most bytes of what is made at once.
const MADE_BYTES_MAX: usize = 32 << 20;

/// What a rule is about, to be asked often.
#[derive(Debug)]
enum Wanted {
    Messages(String),
    Readings {
        /// None: of all.
        devices: Option<HashSet<DeviceId>>,
        types: HashSet<String>,
        twin: Option<SiteId>,
        keys: HashSet<String>,
    },
}

/// A rule that holds.
#[derive(Debug)]
pub(crate) struct LiveRule {
    pub(crate) id: RouteRuleId,
    name: String,
    wanted: Wanted,
    /// What the device's attributes have to be.
    pub(crate) attributes: Vec<StoredAttribute>,
    predicate: Option<Arc<Predicate>>,
    /// The places that are switched on.
    pub(crate) destinations: Vec<RouteDestinationId>,
    /// What arrived before is none of its business.
    since: Timestamp,
}

/// A message that a rule wants sent.
pub(crate) struct Matched {
    /// Which of the rules.
    pub(crate) rule: usize,
    pub(crate) device: DeviceId,
    /// Where it stands in the log, and which part of that it is.
    pub(crate) position: u64,
    pub(crate) part: u64,
    /// None: it is larger than a message may be.
    pub(crate) body: Option<Vec<u8>>,
}

/// What is known of a tenant while its messages are looked at.
pub(crate) struct Known<'a> {
    pub(crate) devices: &'a TenantDevices,
    pub(crate) book: &'a StreamBook,
    /// For which rules attributes are as they say, of devices whose attributes are asked for.
    pub(crate) holding: HashMap<DeviceId, Holding>,
}

/// A message before its condition was asked.
struct Candidate<'a> {
    rule: usize,
    position: u64,
    device: &'a Device,
    received_at: Timestamp,
    said: Said<'a>,
    /// A simulation of the device has made it up.
    is_simulated: bool,
    /// Where its questions begin, of those that have any.
    asked_from: Option<usize>,
}

enum Said<'a> {
    Readings(Rows<'a>),
    Message(&'a RelayMessage),
}

impl Said<'_> {
    fn values(&self) -> usize {
        match self {
            Self::Readings(rows) => rows.values().map(BTreeMap::len).sum(),
            Self::Message(_) => 1,
        }
    }
}

impl LiveRule {
    /// Whether it has a condition to be asked.
    pub(crate) const fn is_conditional(&self) -> bool {
        self.predicate.is_some()
    }

    /// A rule as it was stored. A condition that no longer compiles matches nothing.
    pub(crate) async fn of(
        row: &veritwin_metastore::RouteRule,
        enabled: &HashSet<RouteDestinationId>,
        known: &[DeviceGroup],
    ) -> Result<Self> {
        let StoredRule { name, matches, expression, destinations } = StoredRule::read(row)?;
        let (wanted, attributes) = match matches {
            StoredMatch::Messages { topic } => (Wanted::Messages(topic), Vec::new()),
            StoredMatch::Readings { devices, groups, types, twin, keys, attributes } => {
                let devices = devices_of(devices, &groups, known);
                let (types, keys) = (types.into_iter().collect(), keys.into_iter().collect());
                (Wanted::Readings { devices, types, twin, keys }, attributes)
            }
        };
        let mut destinations = destinations;
        destinations.retain(|id| enabled.contains(id));
        let predicate = match &expression {
            Some(text) => match compile("expression", text).await {
                Ok(predicate) => Some(predicate),
                Err(Error::Invalid { .. }) => {
                    tracing::warn!(rule = %row.id, "a routing rule's condition does not compile");
                    destinations.clear();
                    None
                }
                Err(error) => return Err(error),
            },
            None => None,
        };
        let since = row.created_at;
        Ok(Self { id: row.id, name, wanted, attributes, predicate, destinations, since })
    }

    /// Whether a rule is about the readings of a device, whatever its attributes are.
    fn is_about(&self, device: &Device) -> bool {
        let Wanted::Readings { devices, types, twin, .. } = &self.wanted else { return false };
        devices.as_ref().is_none_or(|devices| devices.contains(&device.id))
            && is_in(types, device.kind.as_str())
            && twin.is_none_or(|twin| device.twin == Some(twin))
    }

    /// Whether it depends on the attributes of a device whether its readings are wanted.
    fn asks_of(&self, device: &Device) -> bool {
        let asks = !self.attributes.is_empty() && !self.destinations.is_empty();
        asks && self.is_about(device)
    }
}

/// The devices that a rule names, by themselves and by their groups; none: it names nobody.
fn devices_of(
    devices: Vec<DeviceId>,
    groups: &[GroupId],
    known: &[DeviceGroup],
) -> Option<HashSet<DeviceId>> {
    if devices.is_empty() && groups.is_empty() {
        return None;
    }
    let members = known.iter().filter(|group| groups.contains(&group.id));
    let members = members.flat_map(|group| group.devices.iter().copied());
    Some(devices.into_iter().chain(members).collect())
}

/// Whether a topic filter of MQTT matches a topic. A wildcard at its start does not match `$`
/// (MQTT-4.7.2-1).
fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut filter_levels, mut topic_levels) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter_levels.next(), topic_levels.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(_)) => {}
            (Some(left), Some(right)) if left == right => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

fn is_in<T, Q>(set: &HashSet<T>, one: &Q) -> bool
where
    T: Hash + Eq + Borrow<Q>,
    Q: Hash + Eq + ?Sized,
{
    set.is_empty() || set.contains(one)
}

/// What a rule wants of readings; none: nothing.
fn readings_wanted<'a>(
    rule: &LiveRule,
    known: &Known<'_>,
    device: &Device,
    batch: &'a DeviceBatch,
) -> Option<Rows<'a>> {
    let Wanted::Readings { keys, .. } = &rule.wanted else { return None };
    if !rule.is_about(device) {
        return None;
    }
    let is_wanted = |key: &str| is_in(keys, key) && known.book.is_open(device, Some(key));
    Some(rows_of(batch, is_wanted)).filter(|rows| !rows.is_empty())
}

/// The devices of these entries whose attributes rules ask for.
pub(crate) fn devices_asked(
    rules: &[LiveRule],
    devices: &TenantDevices,
    entries: &[(u64, Arc<Entry>)],
) -> BTreeSet<DeviceId> {
    if rules.iter().all(|rule| rule.attributes.is_empty()) {
        return BTreeSet::new();
    }
    let of = |entry: &Entry| match &entry.record {
        Record::Readings(batch) => Some(batch.device),
        _ => None,
    };
    let mut all: BTreeSet<DeviceId> =
        entries.iter().filter_map(|(_, entry)| of(entry.as_ref())).collect();
    all.retain(|id| {
        devices.get(*id).is_some_and(|device| rules.iter().any(|rule| rule.asks_of(device)))
    });
    all
}

fn message_wanted(
    rule: &LiveRule,
    known: &Known<'_>,
    device: &Device,
    message: &RelayMessage,
) -> bool {
    let Wanted::Messages(filter) = &rule.wanted else { return false };
    matches(filter, &message.topic) && known.book.is_open(device, None)
}

/// All readings of a batch come with one credential, and are made up or none of them is.
fn is_simulated(entry: &Entry) -> bool {
    let is_so = |one: &Reading| one.quality == Quality::Simulated;
    matches!(&entry.record, Record::Readings(batch) if batch.readings.first().is_some_and(is_so))
}

fn candidates<'a>(
    rules: &[LiveRule],
    known: &Known<'a>,
    entries: &'a [(u64, Arc<Entry>)],
) -> (Vec<Candidate<'a>>, Vec<Matched>) {
    let (mut all, mut over, mut values) = (Vec::<Candidate<'a>>::new(), Vec::new(), 0);
    for (position, entry) in entries {
        let (device, received_at) = match &entry.record {
            Record::Readings(batch) => (batch.device, batch.received_at),
            Record::Relay(message) => (message.device, message.received_at),
            _ => continue,
        };
        let Some(device) = known.devices.get(device).map(Arc::as_ref) else { continue };
        for (number, rule) in rules.iter().enumerate() {
            if received_at < rule.since || rule.destinations.is_empty() {
                continue;
            }
            if !rule.attributes.is_empty() {
                let holding = known.holding.get(&device.id).copied().unwrap_or(0);
                if !holds(holding, number) {
                    continue;
                }
            }
            let said = match &entry.record {
                Record::Readings(batch) => {
                    readings_wanted(rule, known, device, batch).map(Said::Readings)
                }
                Record::Relay(message) => {
                    message_wanted(rule, known, device, message).then_some(Said::Message(message))
                }
                _ => None,
            };
            let Some(said) = said else { continue };
            let (rule, position) = (number, *position);
            let more = said.values();
            if all.len() >= CANDIDATES_MAX || values + more > VALUES_MAX {
                over.push(unsent(rule, device.id, position));
                continue;
            }
            values += more;
            all.push(Candidate {
                rule,
                position,
                device,
                received_at,
                said,
                is_simulated: is_simulated(entry),
                asked_from: None,
            });
        }
    }
    (all, over)
}

/// The questions to a rule's condition: one for a message, one for each moment of readings.
fn questions(candidate: &Candidate<'_>) -> Vec<Asked> {
    let device = candidate.device;
    let at = |at: Timestamp| Asked {
        device: device.name.clone(),
        device_type: device.kind.clone(),
        ts_ms: at.as_millis(),
        ..Asked::default()
    };
    match &candidate.said {
        Said::Message(message) => {
            vec![Asked { topic: message.topic.to_string(), ..at(candidate.received_at) }]
        }
        Said::Readings(rows) => rows
            .iter()
            .map(|(moment, values)| {
                let values = values.iter().map(|(key, value)| ((*key).to_owned(), scalar(value)));
                Asked { values: values.collect(), ..at(*moment) }
            })
            .collect(),
    }
}

/// Takes out what a condition does not hold for. Whether something is left, and whether something
/// was not asked about for want of time.
fn keep_held(candidate: &mut Candidate<'_>, answers: &[bool]) -> (bool, bool) {
    let Some(from) = candidate.asked_from else { return (true, false) };
    let mut answers = answers.iter().skip(from);
    let mut is_unasked = false;
    let mut holds = || {
        let answer = answers.next();
        is_unasked |= answer.is_none();
        answer == Some(&true)
    };
    let is_left = match &mut candidate.said {
        Said::Message(_) => holds(),
        Said::Readings(rows) => {
            rows.retain(|_, _| holds());
            !rows.is_empty()
        }
    };
    (is_left, is_unasked)
}

/// What a rule may want and does not get: it is counted.
const fn unsent(rule: usize, device: DeviceId, position: u64) -> Matched {
    Matched { rule, device, position, part: 0, body: None }
}

fn written(rules: &[LiveRule], candidate: Candidate<'_>, all: &mut Vec<Matched>) -> Result<()> {
    let Candidate { rule, position, device, received_at, said, is_simulated, .. } = candidate;
    let Some(named) = rules.get(rule).map(|one| (one.id, one.name.as_str())) else {
        return Ok(());
    };
    let mut bodies: Vec<RouteBody> = Vec::new();
    match said {
        Said::Message(message) => {
            let mut body = body_of("message", received_at, named, device);
            put_payload(&mut body.data, message);
            body.hops = message.hops;
            bodies.push(body);
        }
        Said::Readings(rows) => {
            for readings in parts_of(rows) {
                let mut body = body_of("readings", received_at, named, device);
                (body.data.readings, body.data.simulated) = (readings, is_simulated);
                bodies.push(body);
            }
        }
    }
    for (part, body) in (0..).zip(bodies) {
        let bytes = body.bytes()?;
        let body = Some(bytes).filter(|bytes| bytes.len() <= ROUTE_MESSAGE_BYTES_MAX);
        all.push(Matched { rule, device: device.id, position, part, body });
    }
    Ok(())
}

/// What of these entries the rules want sent.
pub(crate) async fn matched(
    rules: &[LiveRule],
    known: &Known<'_>,
    entries: &[(u64, Arc<Entry>)],
    (clock, allowance): (Arc<dyn Clock>, &mut Allowance),
) -> Result<Vec<Matched>> {
    let (mut found, mut all) = candidates(rules, known, entries);
    let mut asked = Vec::new();
    for candidate in &mut found {
        let rule = rules.get(candidate.rule);
        if let Some(predicate) = rule.and_then(|rule| rule.predicate.as_ref()) {
            candidate.asked_from = Some(asked.len());
            let room = QUESTIONS_MAX.saturating_sub(asked.len());
            let questions = questions(candidate);
            if questions.len() > room {
                // Nothing is answered there.
                candidate.asked_from = Some(usize::MAX);
                continue;
            }
            asked.extend(questions.into_iter().map(|one| (Arc::clone(predicate), one)));
        }
    }
    let answers = ask(asked, clock, allowance).await?;
    let mut made = 0;
    for mut candidate in found {
        let (is_left, is_unasked) = keep_held(&mut candidate, &answers);
        if is_unasked {
            all.push(unsent(candidate.rule, candidate.device.id, candidate.position));
        }
        if is_left && made > MADE_BYTES_MAX {
            all.push(unsent(candidate.rule, candidate.device.id, candidate.position));
        } else if is_left {
            let before = all.len();
            written(rules, candidate, &mut all)?;
            let bytes = |one: &Matched| one.body.as_ref().map_or(0, Vec::len);
            made += all.iter().skip(before).map(bytes).sum::<usize>();
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        let check = |filter: &str, topic: &str, expect: bool| {
            assert_eq!(matches(filter, topic), expect, "{filter} {topic}");
        };
        check("a/+/c", "a/b/c", true);
        check("a/#", "a", true);
        check("a/#", "a/b/c", true);
        check("+", "a/b", false);
        check("#", "$SYS/x", false);
        check("a", "a/", false);
    }

    #[test]
    fn an_empty_group_is_nobody_and_no_group_is_everybody() {
        let (one, two) = (DeviceId::from_bytes([1; 16]), DeviceId::from_bytes([2; 16]));
        let group = |number: u8, devices: Vec<DeviceId>| DeviceGroup {
            id: GroupId::from_bytes([number; 16]),
            name: "g".to_owned(),
            workspace: None,
            devices,
            version: 1,
            created_at: Timestamp::from_micros(0),
        };
        let known = [group(1, vec![]), group(2, vec![two])];
        assert_eq!(devices_of(vec![], &[], &known), None);
        assert_eq!(devices_of(vec![], &[known[0].id], &known), Some(HashSet::new()));
        let both = devices_of(vec![one], &[known[1].id], &known);
        assert_eq!(both, Some(HashSet::from([one, two])));
    }

    #[test]
    fn nothing_named_narrows_nothing() {
        assert!(is_in(&HashSet::<String>::new(), "anything"));
        assert!(!is_in(&HashSet::from(["a".to_owned()]), "b"));
    }
}
