//! What a probe says of an error: a sentence that every tenant may read. The error itself may name
//! files, addresses and other people's things; it goes to the operator's log.

use serde_json::Value;
use veritwin_app::ProbeAnswer;

use crate::api;

/// Says of which kind an error at a connection is.
pub(super) fn io(with: &str, error: &std::io::Error) -> String {
    tracing::warn!(%error, with, "a promise's check met an error");
    format!("{with}: {}", error.kind())
}

/// The OpenAPI document to walk.
pub(super) fn openapi() -> Result<Value, String> {
    serde_json::to_value(api::openapi())
        .map_err(|error| ProbeAnswer::instead("the OpenAPI document cannot be written", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_of_an_error_is_told() {
        let said = "/var/lib/x secret-host:1234";
        assert_eq!(ProbeAnswer::instead("it broke", &said), "it broke");
        let refused = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, said);
        assert_eq!(io("listener archive", &refused), "listener archive: connection refused");
        assert!(!io("MQTT", &std::io::Error::other(said)).contains("secret-host"));
    }
}
