//! Attributes that routing rules ask for. A device is read once, and again after one of its
//! attributes changed; what is kept of it is one bit for each rule. The attributes themselves
//! leave the platform with no message.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use veritwin_domain::{DeviceId, Key, OpContext, TenantId, Value};
use veritwin_metastore::AttributeScope;

use crate::attributes::decode;
use crate::devices::check_text;
use crate::model::RouteAttribute;
use crate::{App, Error, Result};

/// Most attributes that a rule asks for.
pub(crate) const ROUTE_RULE_ATTRIBUTES_MAX: usize = 10;
/// Longest text that one is compared with, in characters.
const TEXT_CHARS_MAX: usize = 255;
/// Devices of a tenant of which it is kept what holds; with one more, all of them are read again.
const KEPT_DEVICES_MAX: usize = 100_000;
/// Devices that are read at once: each scope is a sealed value of up to a mebibyte.
const READ_AT_ONCE: usize = 16;

/// An attribute that has to be as a rule says, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredAttribute {
    scope: String,
    name: String,
    equals: Json,
}

impl StoredAttribute {
    pub(crate) fn shown(self) -> RouteAttribute {
        RouteAttribute { scope: self.scope, name: self.name, equals: self.equals }
    }

    fn scope(&self) -> Option<AttributeScope> {
        AttributeScope::parse(&self.scope)
    }
}

/// What is kept of the attributes of a rule, when everything in them is right.
pub(crate) fn checked_attributes(given: Vec<RouteAttribute>) -> Result<Vec<StoredAttribute>> {
    let wrong = |detail: String| Error::invalid_at("attributes", detail);
    if given.len() > ROUTE_RULE_ATTRIBUTES_MAX {
        let count = given.len();
        return Err(wrong(format!("at most {ROUTE_RULE_ATTRIBUTES_MAX}, got {count}")));
    }
    let checked = |RouteAttribute { scope, name, equals }: RouteAttribute| {
        if AttributeScope::parse(&scope).is_none() {
            return Err(wrong("scope must be server, shared or client".to_owned()));
        }
        Key::new(&name).map_err(|error| wrong(error.to_string()))?;
        match &equals {
            Json::Bool(_) | Json::Number(_) => {}
            Json::String(text) => check_text("attributes", text, TEXT_CHARS_MAX)?,
            _ => return Err(wrong("equals must be a text, a number, true or false".to_owned())),
        }
        Ok(StoredAttribute { scope, name, equals })
    };
    given.into_iter().map(checked).collect()
}

/// Whether a value is the one that a rule says. A whole number and one with a fraction of nothing
/// are the same.
fn is_same(value: &Value, equals: &Json) -> bool {
    match (value, equals) {
        (Value::Text(text), Json::String(expect)) => **text == **expect,
        (Value::Boolean(flag), Json::Bool(expect)) => flag == expect,
        (Value::Integer(_) | Value::Double(_), Json::Number(expect)) => {
            if let (Value::Integer(number), Some(expect)) = (value, expect.as_i64()) {
                return *number == expect;
            }
            let numbers = value.as_f64().zip(expect.as_f64());
            numbers.is_some_and(|(is, expect)| is.partial_cmp(&expect) == Some(Ordering::Equal))
        }
        _ => false,
    }
}

/// For which rules the attributes of a device are as they say: the first rule is the lowest bit.
pub(crate) type Holding = u64;

/// Whether what a rule asks for holds; rules are fewer than there are bits.
pub(crate) fn holds(holding: Holding, rule: usize) -> bool {
    let shifted = u32::try_from(rule).ok().and_then(|rule| holding.checked_shr(rule));
    shifted.is_some_and(|bits| bits & 1 == 1)
}

/// Scopes of a device, each with what is in it.
type Scopes = Vec<(AttributeScope, BTreeMap<String, Value>)>;

fn holding_of(rules: &[&[StoredAttribute]], scopes: &Scopes) -> Holding {
    let is_so = |asked: &StoredAttribute| {
        let scope = scopes.iter().find(|(scope, _)| Some(*scope) == asked.scope());
        let value = scope.and_then(|(_, values)| values.get(&asked.name));
        value.is_some_and(|value| is_same(value, &asked.equals))
    };
    let mut holding = 0;
    for (rule, asked) in (0u32..Holding::BITS).zip(rules) {
        if asked.iter().all(is_so) {
            holding |= 1 << rule;
        }
    }
    holding
}

/// What is kept of the devices of tenants whose rules ask for attributes.
#[derive(Debug, Default)]
pub(crate) struct RouteAttributes(Mutex<Slots>);

#[derive(Debug, Default)]
struct Slots {
    tenants: HashMap<TenantId, HashMap<DeviceId, Slot>>,
    /// Counts readings and changes; no two of them have one number.
    count: u64,
}

#[derive(Debug)]
struct Slot {
    generation: u64,
    holding: Option<Holding>,
}

impl RouteAttributes {
    /// The rules of a tenant are others, or gone: what was kept says nothing any more.
    pub(crate) fn begin(&self, tenant: TenantId, asks: bool) {
        let mut slots = self.0.lock();
        if asks {
            slots.tenants.insert(tenant, HashMap::new());
        } else {
            slots.tenants.remove(&tenant);
        }
    }

    /// Attributes of a device changed, and whoever asks from now on finds them so.
    pub(crate) fn changed(&self, tenant: TenantId, device: DeviceId) {
        let mut slots = self.0.lock();
        slots.count += 1;
        let generation = slots.count;
        let devices = slots.tenants.get_mut(&tenant);
        if let Some(slot) = devices.and_then(|devices| devices.get_mut(&device)) {
            *slot = Slot { generation, holding: None };
        }
    }

    /// What is kept of a device, or a ticket for what is read next.
    fn get(&self, tenant: TenantId, device: DeviceId) -> std::result::Result<Holding, u64> {
        let mut slots = self.0.lock();
        slots.count += 1;
        let generation = slots.count;
        let devices = slots.tenants.entry(tenant).or_default();
        if devices.len() >= KEPT_DEVICES_MAX && !devices.contains_key(&device) {
            devices.clear();
        }
        let slot = devices.entry(device).or_insert(Slot { generation, holding: None });
        slot.holding.ok_or(slot.generation)
    }

    /// Keeps what was read with a ticket, unless something changed meanwhile.
    fn put(&self, tenant: TenantId, (device, ticket): (DeviceId, u64), holding: Holding) {
        let mut slots = self.0.lock();
        let slot = slots.tenants.get_mut(&tenant).and_then(|devices| devices.get_mut(&device));
        if let Some(slot) = slot.filter(|slot| slot.generation == ticket) {
            slot.holding = Some(holding);
        }
    }
}

impl App {
    /// Attributes of a device were written.
    pub(crate) fn route_attributes_changed(&self, tenant: TenantId, device: DeviceId) {
        self.0.routes.attributes.changed(tenant, device);
    }

    /// For which rules the attributes of these devices are as they say. Only devices are read of
    /// which nothing is kept.
    pub(crate) async fn route_holding(
        &self,
        context: &OpContext,
        rules: &[&[StoredAttribute]],
        devices: BTreeSet<DeviceId>,
    ) -> Result<HashMap<DeviceId, Holding>> {
        let (tenant, kept) = (context.tenant, &self.0.routes.attributes);
        let (mut all, mut unread) = (HashMap::with_capacity(devices.len()), Vec::new());
        for device in devices {
            match kept.get(tenant, device) {
                Ok(holding) => {
                    all.insert(device, holding);
                }
                Err(ticket) => unread.push((device, ticket)),
            }
        }
        if unread.is_empty() {
            return Ok(all);
        }
        let asked = rules.iter().flat_map(|rule| rule.iter());
        let scopes: BTreeSet<AttributeScope> = asked.filter_map(StoredAttribute::scope).collect();
        let scopes: Vec<AttributeScope> = scopes.into_iter().collect();
        let tx = self.0.store.read(context).await?;
        for some in unread.chunks(READ_AT_ONCE) {
            let ids: Vec<DeviceId> = some.iter().map(|(device, _)| *device).collect();
            let mut found: HashMap<DeviceId, Scopes> = HashMap::new();
            for (device, stored) in tx.attributes_of(&ids, &scopes).await? {
                match decode(&stored.body) {
                    Ok(values) => found.entry(device).or_default().push((stored.scope, values)),
                    // What cannot be read holds for no rule, and holds up nobody.
                    Err(error) => tracing::warn!(%error, "routing leaves out attributes"),
                }
            }
            for (device, ticket) in some {
                let scopes = found.remove(device).unwrap_or_default();
                let holding = holding_of(rules, &scopes);
                kept.put(tenant, (*device, *ticket), holding);
                all.insert(*device, holding);
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId::from_bytes([1; 16]);
    const DEVICE: DeviceId = DeviceId::from_bytes([2; 16]);

    fn asked(scope: &str, equals: Json) -> RouteAttribute {
        RouteAttribute { scope: scope.to_owned(), name: "floor".to_owned(), equals }
    }

    #[test]
    fn values_are_compared_by_what_they_are() {
        let check = |value: Value, equals: Json, expect: bool| {
            assert_eq!(is_same(&value, &equals), expect, "{value:?} {equals}");
        };
        check(Value::Integer(3), Json::from(3), true);
        check(Value::Integer(3), Json::from(3.0), true);
        check(Value::Double(3.0), Json::from(3), true);
        check(Value::Double(3.5), Json::from(3), false);
        check(Value::Integer(i64::MAX), Json::from(i64::MAX - 1), false);
        check(Value::Text("3".into()), Json::from(3), false);
        check(Value::Text("a".into()), Json::from("a"), true);
        check(Value::Boolean(true), Json::from(true), true);
        check(Value::Boolean(true), Json::from(1), false);
        check(Value::Json("\"a\"".into()), Json::from("a"), false);
    }

    #[test]
    fn only_texts_numbers_and_flags_of_known_scopes_are_asked_for() {
        let check = |one: RouteAttribute, is_right: bool| {
            assert_eq!(checked_attributes(vec![one.clone()]).is_ok(), is_right, "{one:?}");
        };
        for scope in ["server", "shared", "client"] {
            check(asked(scope, Json::from(1)), true);
        }
        check(asked("other", Json::from(1)), false);
        check(asked("server", Json::Null), false);
        check(asked("server", Json::from(vec![1])), false);
        check(asked("server", Json::from("x".repeat(TEXT_CHARS_MAX + 1))), false);
        check(RouteAttribute { name: String::new(), ..asked("server", Json::from(1)) }, false);
        let many = vec![asked("server", Json::from(1)); ROUTE_RULE_ATTRIBUTES_MAX + 1];
        assert!(checked_attributes(many).is_err());
    }

    #[test]
    fn all_that_a_rule_asks_for_has_to_hold() {
        let of = |scope, equals| checked_attributes(vec![asked(scope, equals)]).expect("right");
        let (server, client) = (of("server", Json::from(3)), of("client", Json::from(3)));
        let both = [server.clone(), client.clone()].concat();
        let values = [("floor".to_owned(), Value::Integer(3))].into_iter().collect();
        let scopes = vec![(AttributeScope::Server, values)];
        let holding = holding_of(&[&server, &client, &both, &[]], &scopes);
        let found: Vec<bool> = (0..4).map(|rule| holds(holding, rule)).collect();
        assert_eq!(found, [true, false, false, true]);
        assert!(!holds(u64::MAX, 64));
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let kept = RouteAttributes::default();
        kept.begin(TENANT, true);
        let early = kept.get(TENANT, DEVICE).expect_err("a ticket");
        kept.changed(TENANT, DEVICE);
        kept.put(TENANT, (DEVICE, early), 1);
        let late = kept.get(TENANT, DEVICE).expect_err("another ticket");
        kept.put(TENANT, (DEVICE, late), 2);
        assert_eq!(kept.get(TENANT, DEVICE), Ok(2));
        kept.begin(TENANT, true);
        assert!(kept.get(TENANT, DEVICE).is_err(), "the rules are others");
    }
}
