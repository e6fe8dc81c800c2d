//! Messages to a customer's HTTPS endpoint, signed as the specification Standard Webhooks 1.0 says
//! (`webhook-id`, `webhook-timestamp`, `webhook-signature`), so that any library for it checks
//! them.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue, RETRY_AFTER};
use veritwin_domain::{Secret, Timestamp};
use veritwin_keys::hmac_sha256;

use super::{Call, Caller, GuardError, GuardedClient, Target};

/// For one message: resolving, connecting, sending and the whole answer.
pub const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest answer to a message, in bytes; nothing of it is kept.
pub const WEBHOOK_REPLY_BYTES_MAX: usize = 64 * 1024;
/// What a signing secret begins with, as it is shown.
const SECRET_PREFIX: &str = "whsec_";

/// One message.
#[derive(Debug)]
pub struct Webhook<'a> {
    /// Where to.
    pub target: &'a Target,
    /// The same for every try: the receiver tells repetitions by it.
    pub id: &'a str,
    /// When this try is made.
    pub at: Timestamp,
    /// JSON.
    pub body: Bytes,
    /// What it is signed with.
    pub secret: &'a Secret<Vec<u8>>,
}

/// What the other side said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebhookReply {
    /// The HTTP status.
    pub status: u16,
    /// How long it wants to be left alone.
    pub retry_after: Option<Duration>,
}

/// A signing secret in the form that receivers are given: `whsec_` and Base64.
pub fn webhook_secret(secret: &[u8]) -> Secret<String> {
    Secret::new(format!("{SECRET_PREFIX}{}", STANDARD.encode(secret)))
}

/// The signature over id, time and body, with its version.
fn signature(secret: &[u8], id: &str, seconds: i64, body: &[u8]) -> String {
    let signed = [format!("{id}.{seconds}.").as_bytes(), body].concat();
    format!("v1,{}", STANDARD.encode(hmac_sha256(secret, &signed)))
}

impl GuardedClient {
    /// Sends a message for a tenant.
    #[boxed]
    pub async fn send_webhook<'a>(
        &'a self,
        caller: Caller,
        webhook: &'a Webhook<'a>,
    ) -> Result<WebhookReply, GuardError> {
        let seconds = webhook.at.as_micros().div_euclid(1_000_000);
        let signed = signature(webhook.secret.expose(), webhook.id, seconds, &webhook.body);
        let json = HeaderValue::from_static("application/json");
        let mut call = Call::post(webhook.target, json, webhook.body.clone());
        (call.timeout, call.reply_bytes_max) = (WEBHOOK_TIMEOUT, WEBHOOK_REPLY_BYTES_MAX);
        let headers = [
            ("webhook-id", webhook.id.to_owned()),
            ("webhook-timestamp", seconds.to_string()),
            ("webhook-signature", signed),
        ];
        for (name, text) in headers {
            let value = HeaderValue::try_from(text).map_err(|_| GuardError::Unreachable {
                host: webhook.target.host().to_owned(),
                problem: "the id of a message is no header".to_owned(),
            })?;
            call.headers.push((HeaderName::from_static(name), value));
        }
        let reply = match self.call(Some(caller), call).await {
            // It has the message; how much it says about that is no matter.
            Err(GuardError::Size { status, .. }) => {
                return Ok(WebhookReply { status, retry_after: None });
            }
            reply => reply?,
        };
        let after = reply.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        Ok(WebhookReply { status: reply.status, retry_after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    #[test]
    fn signatures_are_those_of_the_specification() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("Base64");
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#);
        assert_eq!(
            signature(&secret, id, 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        assert_eq!(webhook_secret(&secret).expose(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    }
}
