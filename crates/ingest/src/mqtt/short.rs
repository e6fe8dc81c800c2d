//! The short names that ThingsBoard has for the topics of devices. What comes down goes to the
//! long name, or, where only the short one is subscribed to, to that.

use super::topic::{
    ATTRIBUTES, ATTRIBUTES_REQUEST, ATTRIBUTES_RESPONSE, RPC_REQUEST, RPC_RESPONSE, TELEMETRY,
};

const TREES: [&str; 3] = ["v2/t", "v2/a", "v2/r"];
/// Each with the topic that it stands for. Where that ends in an id, so does this one.
const NAMES: [(&str, &str); 6] = [
    ("v2/t", TELEMETRY),
    ("v2/a", ATTRIBUTES),
    ("v2/a/req/", ATTRIBUTES_REQUEST),
    ("v2/a/res/", ATTRIBUTES_RESPONSE),
    ("v2/r/req/", RPC_REQUEST),
    ("v2/r/res/", RPC_RESPONSE),
];

fn id_of<'a>(name: &'a str, known: &str) -> Option<&'a str> {
    let id = name.strip_prefix(known)?;
    (known.ends_with('/') || id.is_empty()).then_some(id)
}

/// The topic that a short name stands for.
pub(super) fn long_of(name: &str) -> Option<String> {
    if !is_short(name) {
        return None;
    }
    NAMES.iter().find_map(|(short, long)| Some(format!("{long}{}", id_of(name, short)?)))
}

/// The short name of a topic.
pub(super) fn short_of(name: &str) -> Option<String> {
    NAMES.iter().find_map(|(short, long)| Some(format!("{short}{}", id_of(name, long)?)))
}

/// Whether a name or filter is among the short ones, those included that stand for nothing.
pub(super) fn is_short(name: &str) -> bool {
    let is_in = |tree: &&str| {
        let rest = name.strip_prefix(*tree);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    name.starts_with("v2/") && TREES.iter().any(is_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_stand_for_long_ones() {
        for (short, long) in [
            ("v2/t", "v1/devices/me/telemetry"),
            ("v2/a", "v1/devices/me/attributes"),
            ("v2/a/req/7", "v1/devices/me/attributes/request/7"),
            ("v2/a/res/7", "v1/devices/me/attributes/response/7"),
            ("v2/r/req/+", "v1/devices/me/rpc/request/+"),
            ("v2/r/res/8", "v1/devices/me/rpc/response/8"),
        ] {
            assert_eq!(long_of(short).as_deref(), Some(long));
            assert_eq!(short_of(long).as_deref(), Some(short));
        }
        for name in ["v2/a/", "v2/t/x", "v2/r", "v2/fw/error", "v2/tt", "v2", "plant/a"] {
            assert_eq!((long_of(name), short_of(name)), (None, None), "{name}");
        }
        assert!(is_short("v2/t/x") && is_short("v2/r") && !is_short("v2/fw/error"));
    }
}
