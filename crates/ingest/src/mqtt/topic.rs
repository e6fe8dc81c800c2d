//! Topics: which of ours a message was published to, whether a name or filter is well formed, and
//! whether a filter matches a name (MQTT 5.0, section 4.7).

use veritwin_domain::{IngestLimits, LimitExceeded};

use super::short;
use crate::model::PackageKind;
use crate::sparkplug;

pub(crate) const ATTRIBUTES: &str = "v1/devices/me/attributes";
pub(crate) const ATTRIBUTES_RESPONSE: &str = "v1/devices/me/attributes/response/";
pub(crate) const RPC_REQUEST: &str = "v1/devices/me/rpc/request/";
pub(crate) const RPC_RESPONSE: &str = "v1/devices/me/rpc/response/";
/// Where a device publishes its readings.
pub const TELEMETRY: &str = "v1/devices/me/telemetry";
pub(crate) const GATEWAY_ATTRIBUTES: &str = "v1/gateway/attributes";
pub(crate) const GATEWAY_ATTRIBUTES_RESPONSE: &str = "v1/gateway/attributes/response";
pub(crate) const GATEWAY_DISCONNECT: &str = "v1/gateway/disconnect";
pub(crate) const GATEWAY_RPC: &str = "v1/gateway/rpc";
/// What a shared subscription's filter starts with (MQTT 5.0, 4.8.2).
pub(crate) const SHARED: &str = "$share/";
pub(crate) const ATTRIBUTES_REQUEST: &str = "v1/devices/me/attributes/request/";
const DEVICE: &str = "v1/devices/me/";
const CLAIM: &str = "v1/devices/me/claim";
/// Topics of the platform's device API, those that it does not have included.
const DEVICES: &str = "v1/devices/";
/// Topics of gateways.
const GATEWAY: &str = "v1/gateway/";
/// Below it each device has topics of its own: `devices/ID/...`.
const OWN: &str = "devices/";
/// What the platform keeps for an API that it has not yet.
const RESERVED: [(&str, &str); 1] =
    [("/provision/", "provisioning by a device that is in (it asks with the user name provision)")];

/// What a device can publish to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceTopic {
    Telemetry,
    Attributes,
    AttributesRequest(u32),
    /// A call from the device.
    RpcRequest(u32),
    /// The answer to a call to the device.
    RpcResponse(u32),
    /// The device lets itself be claimed.
    Claim,
    /// Of a gateway, for the devices behind it.
    Gateway(GatewayTopic),
    /// A piece of a package is asked for.
    Chunk {
        kind: PackageKind,
        id: u32,
        chunk: u32,
    },
    /// None of the platform's own: relayed inside the tenant.
    Relay,
    /// Sparkplug B: relayed, and understood.
    Sparkplug,
}

/// What a gateway can publish to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GatewayTopic {
    Connect,
    Disconnect,
    Telemetry,
    Attributes,
    AttributesRequest,
    /// The answer to a call to a device behind it.
    Rpc,
    /// Devices behind it let themselves be claimed.
    Claim,
}

/// Who subscribes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subscriber<'a> {
    /// The device's id.
    pub(crate) id: &'a str,
    pub(crate) is_gateway: bool,
    /// Whether its version of the protocol has shared subscriptions.
    pub(crate) knows_shared: bool,
}

/// Why a topic is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TopicError {
    Malformed(&'static str),
    Limit(LimitExceeded),
    /// Ours, but not in this version.
    Unsupported(&'static str),
    /// Neither one of ours nor one that is relayed.
    Unknown,
    /// Another device's own.
    Foreign,
    /// A gateway's, and the device is none.
    NoGateway,
}

impl TopicError {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Malformed(text) => (*text).to_owned(),
            Self::Limit(limit) => limit.to_string(),
            Self::Unsupported(what) => format!("{what} is not supported yet"),
            Self::Unknown => "unknown topic: devices publish to v1/devices/me/telemetry, \
                v1/devices/me/attributes, v1/devices/me/attributes/request/ID, \
                v1/devices/me/rpc/request/ID, v1/devices/me/rpc/response/ID or \
                v1/devices/me/claim; other topics are relayed, but for those below v1/devices/ \
                and those that begin with '$'"
                .to_owned(),
            Self::Foreign => "topics below devices/ID/ are the device's own that has this id: \
                expected the id of this device, or a topic elsewhere"
                .to_owned(),
            Self::NoGateway => {
                "topics below v1/gateway/ are for gateways: this device is none until \
                somebody makes it one"
                    .to_owned()
            }
        }
    }
}

/// Which of our topics `topic` is.
#[inline]
pub(crate) fn classify(topic: &str, limits: &IngestLimits) -> Result<DeviceTopic, TopicError> {
    match topic {
        TELEMETRY => return Ok(DeviceTopic::Telemetry),
        ATTRIBUTES => return Ok(DeviceTopic::Attributes),
        _ => {}
    }
    check_size(topic, limits)?;
    if short::is_short(topic) {
        return classify(&short::long_of(topic).ok_or(TopicError::Unknown)?, limits);
    }
    let make: fn(u32) -> DeviceTopic;
    let id = if let Some(id) = topic.strip_prefix(ATTRIBUTES_REQUEST) {
        make = DeviceTopic::AttributesRequest;
        Some(id)
    } else if let Some(id) = topic.strip_prefix(RPC_REQUEST) {
        make = DeviceTopic::RpcRequest;
        Some(id)
    } else {
        make = DeviceTopic::RpcResponse;
        topic.strip_prefix(RPC_RESPONSE)
    };
    if let Some(id) = id {
        return id.parse().map(make).map_err(|_| {
            TopicError::Malformed("the topic's last level: expected a number up to 4294967295")
        });
    }
    if topic == CLAIM {
        return Ok(DeviceTopic::Claim);
    }
    if let Some(rest) = topic.strip_prefix(GATEWAY) {
        return of_gateway(rest).map(DeviceTopic::Gateway);
    }
    if let Some((kind, rest)) = package(topic) {
        return chunk(kind, rest);
    }
    check_reserved(topic)?;
    match topic {
        _ if topic.starts_with(DEVICES) => Err(TopicError::Unknown),
        _ if topic.starts_with(sparkplug::PREFIX) => Ok(DeviceTopic::Sparkplug),
        _ => Ok(DeviceTopic::Relay),
    }
}

fn of_gateway(rest: &str) -> Result<GatewayTopic, TopicError> {
    match rest {
        "connect" => Ok(GatewayTopic::Connect),
        "disconnect" => Ok(GatewayTopic::Disconnect),
        "telemetry" => Ok(GatewayTopic::Telemetry),
        "attributes" => Ok(GatewayTopic::Attributes),
        "attributes/request" => Ok(GatewayTopic::AttributesRequest),
        "rpc" => Ok(GatewayTopic::Rpc),
        "claim" => Ok(GatewayTopic::Claim),
        _ => Err(TopicError::Malformed(
            "unknown topic: gateways publish to v1/gateway/connect, disconnect, telemetry, \
             attributes, attributes/request, rpc or claim",
        )),
    }
}

/// Topics of packages, and what is below.
fn package(topic: &str) -> Option<(PackageKind, &str)> {
    let firmware = topic.strip_prefix("v2/fw/").map(|rest| (PackageKind::Firmware, rest));
    firmware.or_else(|| topic.strip_prefix("v2/sw/").map(|rest| (PackageKind::Software, rest)))
}

/// `request/ID/chunk/N`.
fn chunk(kind: PackageKind, rest: &str) -> Result<DeviceTopic, TopicError> {
    let parts = rest.strip_prefix("request/").and_then(|rest| rest.split_once("/chunk/"));
    let numbers = parts.and_then(|(id, chunk)| Some((id.parse().ok()?, chunk.parse().ok()?)));
    let (id, chunk) = numbers.ok_or(TopicError::Malformed(
        "the topic: expected v2/fw/request/ID/chunk/N or v2/sw/request/ID/chunk/N, with numbers",
    ))?;
    Ok(DeviceTopic::Chunk { kind, id, chunk })
}

/// Where a piece of a package goes to: `v2/fw/response/ID/chunk/N`, and its first four levels.
pub(crate) fn chunk_response(kind: PackageKind, id: u32, chunk: u32) -> (String, String) {
    let kind = match kind {
        PackageKind::Firmware => "fw",
        PackageKind::Software => "sw",
    };
    let short = format!("v2/{kind}/response/{id}");
    (format!("{short}/chunk/{chunk}"), short)
}

/// Where it is said that a piece of a package is not to be had.
pub(crate) const fn chunk_error(kind: PackageKind) -> &'static str {
    match kind {
        PackageKind::Firmware => "v2/fw/error",
        PackageKind::Software => "v2/sw/error",
    }
}

/// What is neither published to nor subscribed to.
fn check_reserved(topic: &str) -> Result<(), TopicError> {
    if let Some((_, what)) = RESERVED.iter().find(|(prefix, _)| topic.starts_with(prefix)) {
        return Err(TopicError::Unsupported(what));
    }
    if topic.starts_with('$') { Err(TopicError::Unknown) } else { Ok(()) }
}

/// Whose own a topic is, by the id in it: only that device publishes to it and receives it.
pub(crate) fn owner(topic: &str) -> Option<&str> {
    topic.strip_prefix(OWN).map(|rest| rest.split_once('/').map_or(rest, |(id, _)| id))
}

/// A share name and the filter behind it, or no share and the filter (MQTT 5.0, 4.8.2).
pub(crate) fn share(filter: &str) -> (Option<&str>, &str) {
    let shared = filter.strip_prefix(SHARED).and_then(|shared| shared.split_once('/'));
    shared.map_or((None, filter), |(name, filter)| (Some(name), filter))
}

fn check_size(topic: &str, limits: &IngestLimits) -> Result<(), TopicError> {
    let limit = |name, max, actual| {
        if actual > max {
            Err(TopicError::Limit(LimitExceeded { name, max, actual }))
        } else {
            Ok(())
        }
    };
    limit("topic_bytes_max", limits.topic_bytes_max, topic.len())?;
    limit("topic_levels_max", limits.topic_levels_max, topic.split('/').count())?;
    Ok(())
}

/// What is wrong with a topic name whatever it is published to (MQTT-4.7.0-1, MQTT-4.7.3-1); in
/// 3.1.1 MQTT-4.7.1-1.
pub(crate) fn name_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("is empty: expected at least one character");
    }
    // Without an early end it is done for many bytes at once: every PUBLISH comes by here.
    let is_wildcard = |byte: u8| (byte == b'+') | (byte == b'#');
    let has_wildcard = name.bytes().fold(false, |found, byte| found | is_wildcard(byte));
    has_wildcard.then_some("holds a wildcard: expected a plain name")
}

/// What is wrong with a topic filter whoever subscribes to it (MQTT-4.7.1-1, MQTT-4.7.1-2,
/// MQTT-4.7.3-1; of shared ones MQTT-4.8.2-1, MQTT-4.8.2-2).
pub(crate) fn filter_fault(filter: &str, knows_shared: bool) -> Option<&'static str> {
    let mut filter = filter;
    if knows_shared && let Some(shared) = filter.strip_prefix(SHARED) {
        let Some((name, rest)) = shared.split_once('/') else {
            return Some("is shared and has no filter: expected $share/NAME/FILTER");
        };
        if name.is_empty() || name.contains(['+', '#']) {
            return Some("is shared: expected a share name without '+' and '#'");
        }
        filter = rest;
    }
    if filter.is_empty() {
        return Some("is empty: expected at least one character");
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let is_last = levels.peek().is_none();
        if level.contains('#') && (level != "#" || !is_last) {
            return Some("holds '#' that is not the whole last level");
        }
        if level.contains('+') && level != "+" {
            return Some("holds '+' that is not a whole level");
        }
    }
    None
}

/// Whether a topic's last level is the id of one message, as of a request.
pub(crate) fn ends_in_id(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or_default();
    !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit())
}

/// What a well-formed filter asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FilterKind {
    /// Only what the platform sends to the device.
    Downlinks,
    /// What others publish; with a wildcard what the platform sends, too.
    Relay,
}

/// A well-formed filter that a device can subscribe to.
pub(crate) fn check_filter(
    filter: &str,
    who: Subscriber<'_>,
    limits: &IngestLimits,
) -> Result<FilterKind, TopicError> {
    check_size(filter, limits)?;
    let (name, filter) = if who.knows_shared { share(filter) } else { (None, filter) };
    let is_short = short::is_short(filter);
    if filter.starts_with(GATEWAY) || package(filter).is_some() || is_short {
        let is_of_gateway = filter.starts_with(GATEWAY);
        return match name {
            Some(_) => Err(TopicError::Unsupported("a shared subscription to this topic")),
            None if is_of_gateway && !who.is_gateway => Err(TopicError::NoGateway),
            None => Ok(FilterKind::Downlinks),
        };
    }
    if filter.strip_prefix(DEVICE).is_some_and(|rest| !rest.is_empty()) {
        if name.is_some() {
            return Err(TopicError::Unsupported("a shared subscription to v1/devices/me/..."));
        }
        return Ok(FilterKind::Downlinks);
    }
    // Where the platform keeps birth certificates everybody may read, and nobody writes.
    if !filter.starts_with(sparkplug::CERTIFICATES) {
        check_reserved(filter)?;
    }
    if filter.starts_with(DEVICES) {
        return Err(TopicError::Unknown);
    }
    match owner(filter) {
        Some(id) if !id.is_empty() && id != who.id && id != "+" && id != "#" => {
            Err(TopicError::Foreign)
        }
        _ => Ok(FilterKind::Relay),
    }
}

/// Whether `filter` matches `topic`. A wildcard at its start does not match `$` (MQTT-4.7.2-1).
pub fn matches(filter: &str, topic: &str) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        let check = |filter: &str, topic: &str, expect: bool| {
            assert_eq!(matches(filter, topic), expect, "{filter} {topic}");
        };
        check("v1/devices/me/attributes", "v1/devices/me/attributes", true);
        check("v1/devices/me/attributes", "v1/devices/me/attributes/response/1", false);
        check("v1/devices/me/attributes/response/+", "v1/devices/me/attributes/response/1", true);
        check("v1/devices/me/+", "v1/devices/me/attributes/response/1", false);
        check("v1/devices/me/#", "v1/devices/me/attributes/response/1", true);
        check("v1/devices/me/attributes/#", "v1/devices/me/attributes", true);
        check("+/+", "/finance", true);
        check("+", "/finance", false);
        // No character is changed (MQTT-4.7.3-4).
        check("a/\u{c5}", "a/A\u{30a}", false);
        check("ACCOUNTS", "Accounts", false);
        check("a//b", "a/b", false);
        check("#", "$SYS/uptime", false);
        check("+/uptime", "$SYS/uptime", false);
        check("$SYS/#", "$SYS/uptime", true);
    }

    #[test]
    fn topics_are_told_apart() {
        let limits = IngestLimits::default();
        let ok = |topic: &str, expect| assert_eq!(classify(topic, &limits), Ok(expect), "{topic}");
        ok("v1/devices/me/telemetry", DeviceTopic::Telemetry);
        ok("v1/devices/me/attributes/request/7", DeviceTopic::AttributesRequest(7));
        ok("v1/devices/me/rpc/response/4294967295", DeviceTopic::RpcResponse(u32::MAX));
        ok("v1/devices/me/claim", DeviceTopic::Claim);
        ok("v2/t", DeviceTopic::Telemetry);
        ok("v2/a/req/7", DeviceTopic::AttributesRequest(7));
        ok("v2/r/res/3", DeviceTopic::RpcResponse(3));
        let bad = |topic: &str, part: &str| {
            let text = classify(topic, &limits).expect_err(topic).text();
            assert!(text.contains(part), "{topic}: {text}");
        };
        bad("v1/devices/me/rpc/request/x", "number");
        bad("v2/r/req/x", "number");
        bad("v2/a/res/7", "unknown topic");
        ok("v1/gateway/telemetry", DeviceTopic::Gateway(GatewayTopic::Telemetry));
        ok("v1/gateway/attributes/request", DeviceTopic::Gateway(GatewayTopic::AttributesRequest));
        ok("v1/gateway/claim", DeviceTopic::Gateway(GatewayTopic::Claim));
        bad("v1/gateway/claims", "gateways publish to");
        bad("v1/gateway/telemetry/", "gateways publish to");
        let kind = PackageKind::Firmware;
        ok("v2/fw/request/7/chunk/2", DeviceTopic::Chunk { kind, id: 7, chunk: 2 });
        let kind = PackageKind::Software;
        ok("v2/sw/request/0/chunk/0", DeviceTopic::Chunk { kind, id: 0, chunk: 0 });
        bad("v2/fw/request/x/chunk/2", "expected v2/fw/request");
        bad("v2/sw/response/1/chunk/2", "expected v2/fw/request");
        bad("$sparkplug/certificates/spBv1.0/g/NBIRTH/n", "unknown topic");
        ok("spBv1.0/g/NBIRTH/n", DeviceTopic::Sparkplug);
        bad("/provision/request", "provisioning");
        bad("v1/devices/me/telemetry/", "unknown topic");
        bad("$SYS/uptime", "unknown topic");
        ok("plant/line 1/speed", DeviceTopic::Relay);
        ok("/", DeviceTopic::Relay);
        bad(&"a".repeat(2000), "topic_bytes_max");
        bad(&"/".repeat(40), "topic_levels_max");
    }

    #[test]
    fn filters_are_checked() {
        let limits = IngestLimits::default();
        let check = |filter: &str, expect: Result<FilterKind, &str>| {
            let who = Subscriber { id: "d1", is_gateway: false, knows_shared: true };
            let found = check_filter(filter, who, &limits).map_err(|error| error.text());
            match (found, expect) {
                (Ok(found), Ok(expect)) => assert_eq!(found, expect, "{filter}"),
                (Err(text), Err(part)) => assert!(text.contains(part), "{filter}: {text}"),
                (found, expect) => panic!("{filter}: {found:?}, expected {expect:?}"),
            }
        };
        for good in ["v1/devices/me/attributes", "v1/devices/me/+", "v1/devices/me/rpc/#"] {
            check(good, Ok(FilterKind::Downlinks));
        }
        let sparkplug = "$sparkplug/certificates/#";
        for good in
            ["#", "+/a", "$share/g/a/#", "devices/d1/#", "devices/+/a", "devices/#", sparkplug]
        {
            check(good, Ok(FilterKind::Relay));
        }
        check("v1/devices/me/", Err("unknown topic"));
        check("$SYS/#", Err("unknown topic"));
        check("$share/g/v1/devices/me/+", Err("shared subscription"));
        check("v1/gateway/rpc", Err("for gateways"));
        check("v2/fw/response/+", Ok(FilterKind::Downlinks));
        check("v2/a/res/+", Ok(FilterKind::Downlinks));
        check("$share/g/v2/sw/response/+", Err("shared subscription"));
        let who = Subscriber { id: "d1", is_gateway: true, knows_shared: true };
        assert_eq!(check_filter("v1/gateway/+", who, &limits), Ok(FilterKind::Downlinks));
        check("devices/d2/#", Err("devices/ID/"));
    }

    #[test]
    fn owners_and_shares() {
        assert_eq!(owner("devices/d1/state"), Some("d1"));
        assert_eq!(owner("devices/d1"), Some("d1"));
        assert_eq!(owner("devices"), None);
        assert_eq!(share("$share/g/a/b"), (Some("g"), "a/b"));
        assert_eq!(share("a/b"), (None, "a/b"));
    }

    #[test]
    fn names_and_filters_are_well_formed() {
        assert_eq!(name_fault("/"), None);
        for bad in ["", "a/+", "#", "a#b"] {
            assert!(name_fault(bad).is_some(), "{bad}");
        }
        for good in ["#", "+", "+/+", "/", "a/#", "a/+/b", "$share/g/#", "$share", "$SYS/#"] {
            assert_eq!(filter_fault(good, true), None, "{good}");
        }
        for bad in ["", "a#", "#/a", "a/#/b", "a+", "+a/b", "a/b+"] {
            assert!(filter_fault(bad, true).is_some(), "{bad}");
            assert!(filter_fault(bad, false).is_some(), "{bad}");
        }
        for bad in ["$share/g", "$share//a", "$share/g/", "$share/+/a", "$share/g#/a"] {
            assert!(filter_fault(bad, true).is_some(), "{bad}");
        }
        assert_eq!(filter_fault("$share/g", false), None);
    }

    #[test]
    fn topics_that_end_in_an_id() {
        for (topic, expect) in [("a/7", true), ("a/7b", false), ("a/", false), ("a", false)] {
            assert_eq!(ends_in_id(topic), expect, "{topic}");
        }
    }
}
