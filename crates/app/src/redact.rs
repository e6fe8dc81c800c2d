//! Takes secrets out of what is recorded of a change: by the names of members, and by the form of
//! our own tokens. A record is bounded.

use serde_json::Value;
use veritwin_access::TokenKind;

/// What stands in a secret's place.
const REDACTED: &str = "[redacted]";
/// Members whose names hold one of these are secrets.
const SECRET_NAMES: [&str; 11] = [
    "password",
    "secret",
    "token",
    "hash",
    "credential",
    "private",
    "api_key",
    "apikey",
    "pem",
    "passphrase",
    "recovery",
];
/// Longest text that is recorded whole, in characters.
const TEXT_CHARS_MAX: usize = 500;
/// Most members or items of one value.
const ITEMS_MAX: usize = 128;
/// Deepest nesting.
const DEPTH_MAX: usize = 6;

/// The value without secrets.
pub(crate) fn redacted(value: Value) -> Value {
    redact(value, 0)
}

fn redact(value: Value, depth: usize) -> Value {
    match value {
        Value::Object(_) | Value::Array(_) if depth >= DEPTH_MAX => Value::from("[nested]"),
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .take(ITEMS_MAX)
                .map(|(name, value)| {
                    let is_secret = is_secret_name(&name) && !value.is_null();
                    let value =
                        if is_secret { Value::from(REDACTED) } else { redact(value, depth + 1) };
                    (name, value)
                })
                .collect(),
        ),
        Value::Array(items) => {
            let more = items.len().saturating_sub(ITEMS_MAX);
            let kept = items.into_iter().take(ITEMS_MAX).map(|item| redact(item, depth + 1));
            kept.chain((more > 0).then(|| Value::from(format!("{more} more")))).collect()
        }
        Value::String(text) if TokenKind::of(&text).is_some() => Value::from(REDACTED),
        Value::String(text) if text.chars().count() > TEXT_CHARS_MAX => {
            let start: String = text.chars().take(TEXT_CHARS_MAX).collect();
            Value::from(format!("{start}…"))
        }
        other => other,
    }
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_lowercase();
    SECRET_NAMES.iter().any(|secret| name.contains(secret))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_taken_out_and_the_rest_stays() {
        let check = |value: Value, expect: Value| assert_eq!(redacted(value), expect);
        check(
            json!({"name": "Pump", "wifi_password": "hunter2", "list": [{"apiKey": "x"}, 1]}),
            json!({"name": "Pump", "wifi_password": "[redacted]",
                "list": [{"apiKey": "[redacted]"}, 1]}),
        );
        check(json!({"note": "vtk_abcdef"}), json!({"note": "[redacted]"}));
        check(json!({"secret": null}), json!({"secret": null}));
        let long = redacted(json!("x".repeat(2000)));
        assert_eq!(long.as_str().map(|text| text.chars().count()), Some(TEXT_CHARS_MAX + 1));
        let many = redacted(Value::from(vec![1; 1000]));
        assert_eq!(many.as_array().map(Vec::len), Some(ITEMS_MAX + 1));
        assert_eq!(many[ITEMS_MAX], "872 more");
    }
}
