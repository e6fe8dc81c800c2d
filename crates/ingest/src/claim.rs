//! What a device asks that is to be claimed: the JSON of ThingsBoard, over MQTT and HTTP alike, or
//! nothing at all; and what a gateway asks for devices behind it. Nothing that was written is
//! quoted in an error.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use veritwin_domain::{ClaimRequest, LimitExceeded, Secret};

use crate::payload::CHILD_NAME_BYTES_MAX;

/// Largest request, in bytes.
pub const CLAIM_BYTES_MAX: usize = 4 * 1024;
/// Largest request of a gateway, in bytes.
pub const GATEWAY_CLAIM_BYTES_MAX: usize = 64 * 1024;
/// Most devices in one request of a gateway.
pub const GATEWAY_CLAIMS_MAX: usize = 64;

const FORM: &str = "expected a JSON object with secretKey (text) and durationMs (a whole number of \
                    milliseconds), both of which may be left out";

const GATEWAY_FORM: &str = "expected a JSON object with devices' names, and for each an object \
                            with secretKey (text) and durationMs (a whole number of milliseconds), \
                            both of which may be left out";

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    secret_key: Option<String>,
    duration_ms: Option<u64>,
}

impl From<Wire> for ClaimRequest {
    fn from(wire: Wire) -> Self {
        // None, and zero as ThingsBoard's clients send it: as long as the platform says.
        let duration = wire.duration_ms.filter(|millis| *millis > 0).map(Duration::from_millis);
        Self { secret: Secret::new(wire.secret_key.unwrap_or_default()), duration }
    }
}

/// Why a gateway's request is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ChildrenRefused {
    /// It is none.
    Form(&'static str),
    /// It passes a bound.
    Limit(LimitExceeded),
}

/// Reads a request; the text of an error is for the device.
pub(crate) fn parse(bytes: &[u8]) -> Result<ClaimRequest, String> {
    if bytes.len() > CLAIM_BYTES_MAX {
        let max = CLAIM_BYTES_MAX;
        return Err(format!("limit claim_bytes_max exceeded: at most {max} bytes"));
    }
    let wire = if bytes.trim_ascii().is_empty() {
        Wire::default()
    } else {
        serde_json::from_slice(bytes).map_err(|_| FORM.to_owned())?
    };
    Ok(wire.into())
}

/// Reads what a gateway asks for devices behind it, by their names. Of one that is named twice the
/// last counts.
pub(crate) fn parse_children(bytes: &[u8]) -> Result<Vec<(String, ClaimRequest)>, ChildrenRefused> {
    let within = |name, max, actual| {
        let limit = LimitExceeded { name, max, actual };
        if actual > max { Err(ChildrenRefused::Limit(limit)) } else { Ok(()) }
    };
    within("gateway_claim_bytes_max", GATEWAY_CLAIM_BYTES_MAX, bytes.len())?;
    let read = serde_json::from_slice::<BTreeMap<String, Wire>>(bytes);
    let all = read.map_err(|_| ChildrenRefused::Form(GATEWAY_FORM))?;
    within("gateway_claims_max", GATEWAY_CLAIMS_MAX, all.len())?;
    let longest = all.keys().map(String::len).max().unwrap_or(0);
    within("device_name_bytes_max", CHILD_NAME_BYTES_MAX, longest)?;
    Ok(all.into_iter().map(|(name, wire)| (name, wire.into())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_and_mistakes_quote_nothing() {
        let check = |text: &str, secret: &str, millis: Option<u64>| {
            let read = parse(text.as_bytes()).expect(text);
            let duration = millis.map(Duration::from_millis);
            assert_eq!(read.secret.expose(), secret, "{text}");
            assert_eq!(read.duration, duration, "{text}");
        };
        check("", "", None);
        check(" ", "", None);
        check("{}", "", None);
        check(r#"{"secretKey":"a","durationMs":60000}"#, "a", Some(60_000));
        check(r#"{"secretKey":null,"durationMs":0}"#, "", None);
        for bad in ["[", "7", "\"secret\"", r#"{"secretKey":7}"#, r#"{"durationMs":-1}"#] {
            assert_eq!(parse(bad.as_bytes()).expect_err(bad), FORM);
        }
        let large = parse(&vec![b' '; CLAIM_BYTES_MAX + 1]);
        assert!(large.is_err_and(|text| text.contains("claim_bytes_max")));
    }

    #[test]
    fn gateways_ask_for_several_by_name_within_bounds() {
        let text = r#"{"b":{"secretKey":"x","durationMs":5},"a":{},"b":{"secretKey":"y"}}"#;
        let read = parse_children(text.as_bytes()).expect("several");
        let read: Vec<_> = read
            .iter()
            .map(|(name, one)| (name.as_str(), one.secret.expose().as_str(), one.duration))
            .collect();
        assert_eq!(read, [("a", "", None), ("b", "y", None)]);
        assert!(parse_children(b"{}").is_ok_and(|none| none.is_empty()));
        for bad in ["", "[]", "7", r#"{"a":7}"#, r#"{"a":null}"#, r#"{"a":{"secretKey":1}}"#] {
            let refused = parse_children(bad.as_bytes()).expect_err(bad);
            assert_eq!(refused, ChildrenRefused::Form(GATEWAY_FORM), "{bad}");
        }
        let many = |count: usize| {
            let all: Vec<String> =
                (0..count).map(|number| format!(r#""d{number}":{{}}"#)).collect();
            format!("{{{}}}", all.join(","))
        };
        assert!(parse_children(many(GATEWAY_CLAIMS_MAX).as_bytes()).is_ok());
        let long = format!(r#"{{"{}":{{}}}}"#, "n".repeat(CHILD_NAME_BYTES_MAX + 1));
        let large = " ".repeat(GATEWAY_CLAIM_BYTES_MAX + 1);
        for (text, name) in [
            (many(GATEWAY_CLAIMS_MAX + 1), "gateway_claims_max"),
            (long, "device_name_bytes_max"),
            (large, "gateway_claim_bytes_max"),
        ] {
            let refused = parse_children(text.as_bytes()).expect_err(name);
            assert!(matches!(refused, ChildrenRefused::Limit(one) if one.name == name), "{name}");
        }
    }
}
