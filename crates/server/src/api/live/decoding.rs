//! The decoder of a device that is let in: the ingest crate's `Decoding`, answered by use cases.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use veritwin_app::model::{DecoderFault, DecoderRule, NotDecoded, PayloadToDecode};
use veritwin_app::{App, Error};
use veritwin_domain::{DeviceId, TenantId};
use veritwin_ingest::mqtt::topic_matches;
use veritwin_ingest::{DecodeError, Decoding, PayloadDecoder, RawPayload};

/// The decoder of one device, whichever that is when a message comes.
struct DeviceDecoder {
    app: App,
    on: Arc<AtomicBool>,
    tenant: TenantId,
    device: DeviceId,
}

/// The decoder of a device's session.
pub(super) async fn decoder(app: &App, tenant: TenantId, device: DeviceId) -> PayloadDecoder {
    let on = app.decoders_on(tenant).await;
    PayloadDecoder::new(Arc::new(DeviceDecoder { app: app.clone(), on, tenant, device }))
}

/// By its type, or as it looks: bytes may begin with a brace by chance, and what is said to be
/// bytes is not looked at.
fn is_json(content_type: &str, payload: &[u8]) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || kind.ends_with("+json") {
        return true;
    }
    let text = payload.trim_ascii();
    kind != "application/octet-stream"
        && matches!(
            (text.first(), text.last()),
            (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']'))
        )
        && std::str::from_utf8(text).is_ok()
}

fn is_for(rule: &DecoderRule, topic: &str, content_type: &str, payload: &[u8]) -> bool {
    rule.topics.iter().any(|filter| topic_matches(filter, topic))
        && (rule.decodes_json || !is_json(content_type, payload))
}

fn counts(rule: &DecoderRule, payload: &PayloadToDecode) -> bool {
    is_for(rule, &payload.topic, &payload.content_type, &payload.bytes)
}

fn not_decoded(error: NotDecoded) -> DecodeError {
    match error {
        NotDecoded::Refused(fault) => {
            let DecoderFault { line, column, detail, .. } = fault;
            let detail = match (line, column) {
                (Some(line), Some(column)) => format!("line {line}, column {column}: {detail}"),
                _ => detail,
            };
            DecodeError::Refused { detail, line, column }
        }
        NotDecoded::Failed(Error::Busy { retry_after }) => DecodeError::Busy { retry_after },
        NotDecoded::Failed(error) => {
            tracing::warn!(%error, "a payload could not be decoded");
            DecodeError::Unavailable("decoders cannot be had now".to_owned())
        }
    }
}

#[async_trait]
impl Decoding for DeviceDecoder {
    fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    fn wants(&self, topic: &str, content_type: Option<&str>, payload: &[u8]) -> bool {
        let content_type = content_type.unwrap_or_default();
        let is_for = |rule: &DecoderRule| is_for(rule, topic, content_type, payload);
        self.app.may_decode(self.tenant, self.device, is_for)
    }

    async fn decode(&self, raw: RawPayload) -> Result<Option<String>, DecodeError> {
        let RawPayload { topic, content_type, meta, bytes } = raw;
        let payload = PayloadToDecode { topic, content_type, meta, bytes };
        let decoded = self.app.decode_payload(self.tenant, self.device, payload, counts).await;
        decoded.map_err(not_decoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_for_its_topics_and_for_json_only_if_it_says_so() {
        let mut rule = DecoderRule {
            topics: vec!["v1/devices/me/telemetry".to_owned(), "up/+".to_owned()],
            decodes_json: false,
        };
        assert!(is_for(&rule, "v1/devices/me/telemetry", "", &[1, 2]));
        assert!(is_for(&rule, "up/7", "text/plain", b"21.5"));
        assert!(!is_for(&rule, "down/7", "", &[1]));
        assert!(!is_for(&rule, "up/7", "", b" {\"t\":1}"));
        assert!(!is_for(&rule, "up/7", "application/JSON; charset=utf-8", b"1"));
        assert!(is_for(&rule, "up/7", "", b"[\x01\x02"));
        assert!(is_for(&rule, "up/7", "", b"{\x90\xff}"));
        assert!(is_for(&rule, "up/7", "application/octet-stream", b"[1]"));
        rule.decodes_json = true;
        assert!(is_for(&rule, "up/7", "application/json", b"{}"));
    }
}
