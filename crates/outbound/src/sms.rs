//! Text messages through a gateway that the operator chose: one HTTPS request each, in the form
//! and with the names of fields that the gateway asks for. Without a gateway none is sent.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use veritwin_domain::{AddressList, Secret};

use crate::archive::TrustError;
use crate::guard::{Call, Guard, GuardError, GuardPolicy, GuardedClient, Target, TargetError};
use crate::register::{Destination, DestinationKind, EgressRegister};

/// Longest text that is sent, in characters: two parts of a long message.
pub const SMS_CHARS_MAX: usize = 300;
/// Largest answer of a gateway that is read, in bytes.
const REPLY_BYTES_MAX: usize = 64 * 1024;
const PURPOSE: &str = "alerts by SMS";

/// How a gateway wants the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmsForm {
    /// A JSON object.
    Json,
    /// An encoded form.
    Form,
}

/// Which gateway, and how it is asked.
#[derive(Clone)]
pub struct SmsConfig {
    /// The sub-processor behind it, by the name on the published list.
    pub provider: String,
    /// Where messages are posted to: an `https` address.
    pub url: String,
    /// The `Authorization` header.
    pub authorization: Option<Secret<String>>,
    /// How it wants the message.
    pub form: SmsForm,
    /// Who the message is from; empty: the gateway knows.
    pub sender: String,
    /// The names of the fields for the number, the text and the sender.
    pub fields: [String; 3],
    /// Authorities that are trusted beside the public ones, PEM.
    pub authorities_pem: Option<String>,
}

impl fmt::Debug for SmsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmsConfig").field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SmsConfigError {
    /// The gateway's address.
    #[error("sms.url: {0}")]
    Address(#[from] TargetError),
    /// The authorities.
    #[error("outbound.authorities: {0}")]
    Trust(#[from] TrustError),
    /// The names of the fields.
    #[error("sms: the names of the fields for number and text have to be there and differ")]
    Fields,
    /// Nobody stands behind it.
    #[error("sms.provider: name the sub-processor as it stands in operator.sub_processors")]
    Provider,
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SmsError {
    /// The gateway was not reached.
    #[error(transparent)]
    Unreachable(#[from] GuardError),
    /// The gateway said no.
    #[error("the gateway answered {0}")]
    Refused(u16),
    /// The configured header cannot be one.
    #[error("the configured authorization can be no header")]
    Authorization,
}

impl SmsError {
    /// Whether trying again may help.
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused(status) => *status == 429 || *status >= 500,
            Self::Authorization => false,
        }
    }
}

/// A message.
#[derive(Debug)]
pub struct Sms {
    /// The number, `+` and digits.
    pub to: Secret<String>,
    /// What it says; cut at [`SMS_CHARS_MAX`].
    pub text: String,
    /// The same for every try of a message.
    pub id: String,
}

/// The way to the gateway.
#[derive(Debug)]
pub struct SmsGateway {
    config: SmsConfig,
    target: Target,
    client: GuardedClient,
}

impl SmsGateway {
    /// A gateway; it is entered in the register as a sub-processor.
    pub fn new(config: SmsConfig, register: Arc<EgressRegister>) -> Result<Self, SmsConfigError> {
        let target = Target::parse(&config.url)?;
        let [number, text, sender] = &config.fields;
        let is_named = !number.is_empty() && !text.is_empty() && number != text;
        if !is_named || (!config.sender.is_empty() && sender.is_empty()) {
            return Err(SmsConfigError::Fields);
        }
        if config.provider.trim().is_empty() {
            return Err(SmsConfigError::Provider);
        }
        // The operator's own choice may be a private address; metadata services stay refused.
        let allowed = AddressList::parse(&["0.0.0.0/0", "::/0"]).unwrap_or_default();
        let guard = Guard::new(GuardPolicy { allowed, ports: vec![target.port()] });
        let destination = Destination::new(target.host(), target.port());
        register.register(destination, DestinationKind::SubProcessor, PURPOSE);
        let client = GuardedClient::new(guard, register, config.authorities_pem.as_deref())?;
        Ok(Self { config, target, client })
    }

    /// The sub-processor behind it.
    pub fn provider(&self) -> &str {
        &self.config.provider
    }

    /// Hands a message over.
    #[boxed]
    pub async fn send(&self, sms: &Sms) -> Result<(), SmsError> {
        let pairs = self.pairs(sms);
        let mut call = match self.config.form {
            SmsForm::Json => {
                let body: serde_json::Map<String, serde_json::Value> = pairs
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value.into()))
                    .collect();
                let json = HeaderValue::from_static("application/json");
                let body = serde_json::Value::Object(body).to_string();
                Call::post(&self.target, json, Bytes::from(body))
            }
            SmsForm::Form => Call::post_form(&self.target, encoded(&pairs)),
        };
        call.reply_bytes_max = REPLY_BYTES_MAX;
        if let Ok(id) = HeaderValue::try_from(sms.id.as_str()) {
            call.headers.push((HeaderName::from_static("idempotency-key"), id));
        }
        if let Some(text) = &self.config.authorization {
            call = call.authorized(text.expose()).ok_or(SmsError::Authorization)?;
        }
        let status = match self.client.call(None, call).await {
            // It has the message; how much it says about that is no matter.
            Err(GuardError::Size { status, .. }) => status,
            reply => reply?.status,
        };
        if (200..300).contains(&status) { Ok(()) } else { Err(SmsError::Refused(status)) }
    }

    fn pairs(&self, sms: &Sms) -> Vec<(&str, String)> {
        let [number, text, sender] = &self.config.fields;
        let words: String = sms.text.chars().take(SMS_CHARS_MAX).collect();
        let mut pairs = vec![(number.as_str(), sms.to.expose().clone()), (text.as_str(), words)];
        if !self.config.sender.is_empty() {
            pairs.push((sender.as_str(), self.config.sender.clone()));
        }
        pairs
    }
}

/// `application/x-www-form-urlencoded` (URL standard, section 5.2).
fn encoded(pairs: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        encode(&mut text, name);
        text.push('=');
        encode(&mut text, value);
    }
    text
}

fn encode(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._*".contains(&byte) {
            out.push(char::from(byte));
        } else if byte == b' ' {
            out.push('+');
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SmsConfig {
        SmsConfig {
            provider: "Gateway Ltd".to_owned(),
            url: "https://sms.example/v1/messages".to_owned(),
            authorization: Some(Secret::new("Bearer secret".to_owned())),
            form: SmsForm::Json,
            sender: "Veritwin".to_owned(),
            fields: ["to".to_owned(), "text".to_owned(), "from".to_owned()],
            authorities_pem: None,
        }
    }

    #[test]
    fn a_gateway_is_a_registered_sub_processor() {
        let register = Arc::new(EgressRegister::default());
        let gateway = SmsGateway::new(config(), Arc::clone(&register)).expect("a gateway");
        assert_eq!(gateway.provider(), "Gateway Ltd");
        let rows = register.rows();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].kind, DestinationKind::SubProcessor);
        assert_eq!(rows[0].destination, Destination::new("sms.example", 443));
        assert!(!format!("{gateway:?}").contains("secret"));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let check = |change: fn(&mut SmsConfig), expect: &str| {
            let mut config = config();
            change(&mut config);
            let made = SmsGateway::new(config, Arc::default());
            let error = made.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(expect), "{error}");
        };
        check(|config| config.url = "http://sms.example".to_owned(), "sms.url");
        check(|config| config.fields[1].clear(), "names of the fields");
        check(|config| config.fields[1] = "to".to_owned(), "names of the fields");
        check(|config| config.fields[2].clear(), "names of the fields");
        check(|config| config.provider = " ".to_owned(), "sms.provider");
    }

    #[test]
    fn forms_are_encoded() {
        let pairs = [("to", "+4420".to_owned()), ("text", "a & b=ü".to_owned())];
        assert_eq!(encoded(&pairs), "to=%2B4420&text=a+%26+b%3D%C3%BC");
    }

    #[test]
    fn long_texts_are_cut() {
        let gateway = SmsGateway::new(config(), Arc::default()).expect("a gateway");
        let sms =
            Sms { to: Secret::new("+1".to_owned()), text: "x".repeat(1000), id: "1".to_owned() };
        let pairs = gateway.pairs(&sms);
        assert_eq!(pairs[1].1.chars().count(), SMS_CHARS_MAX);
        assert_eq!(pairs.len(), 3);
    }
}
