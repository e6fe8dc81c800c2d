//! What a device asks that is to be claimed: the JSON of ThingsBoard, over MQTT and HTTP alike, or
//! nothing at all. Nothing the device wrote is quoted in an error.

use std::time::Duration;

use serde::Deserialize;
use veritwin_domain::{ClaimRequest, Secret};

/// Largest request, in bytes.
pub const CLAIM_BYTES_MAX: usize = 4 * 1024;

const FORM: &str = "expected a JSON object with secretKey (text) and durationMs (a whole number of \
                    milliseconds), both of which may be left out";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    secret_key: Option<String>,
    duration_ms: Option<u64>,
}

/// Reads a request; the text of an error is for the device.
pub(crate) fn parse(bytes: &[u8]) -> Result<ClaimRequest, String> {
    if bytes.len() > CLAIM_BYTES_MAX {
        let max = CLAIM_BYTES_MAX;
        return Err(format!("limit claim_bytes_max exceeded: at most {max} bytes"));
    }
    let wire = if bytes.trim_ascii().is_empty() {
        Wire { secret_key: None, duration_ms: None }
    } else {
        serde_json::from_slice(bytes).map_err(|_| FORM.to_owned())?
    };
    // None, and zero as ThingsBoard's clients send it: as long as the platform says.
    let duration = wire.duration_ms.filter(|millis| *millis > 0).map(Duration::from_millis);
    Ok(ClaimRequest { secret: Secret::new(wire.secret_key.unwrap_or_default()), duration })
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
}
