//! Signed records of consents, in the shape of ISO/IEC TS 27560 with terms of the W3C Data Privacy
//! Vocabulary. A record holds a pseudonym and no name, address or number, so it outlives the
//! account. Anybody checks one without a platform.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use veritwin_access::jobs;
use veritwin_domain::{ConsentId, TenantId, Timestamp, UserId};
use veritwin_governance::{DeclaredPurpose, PolicyFacts};
use veritwin_keys::{SigningKey, sha256, verify_signature};
use veritwin_ledger::origin_of;
use veritwin_metastore::{Consent, ConsentChannel, ConsentDecision};

use crate::provision::PLATFORM_TENANT;
use crate::{App, Error, Result};

/// In front of what is signed.
const SIGNED: &[u8] = b"veritwin consent record v1\n";
/// Largest record that is checked, in bytes.
const RECORD_BYTES_MAX: usize = 64 * 1024;

/// A record as it is given to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SignedRecord {
    /// The record, as it was signed: JSON.
    record: String,
    log_origin: String,
    public_key: String,
    signature: String,
}

/// What was found of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedConsent {
    /// The record, JSON.
    pub record: String,
    /// The key that signed it, in hexadecimal digits.
    pub public_key: String,
    /// Its SHA-256, which the ledger holds.
    pub digest: String,
}

/// Signs in the platform's name.
pub(crate) struct ConsentSigner {
    key: SigningKey,
    origin: String,
}

/// What a decision is about.
pub(crate) struct Decided<'a> {
    pub(crate) id: ConsentId,
    pub(crate) user: UserId,
    pub(crate) purpose: &'a DeclaredPurpose,
    pub(crate) decision: ConsentDecision,
    pub(crate) channel: ConsentChannel,
    pub(crate) at: Timestamp,
    /// Who recorded it for the person.
    pub(crate) by: Option<[u8; 16]>,
    /// How the person said so, where somebody else wrote it down.
    pub(crate) expressed: Option<&'a str>,
    /// The consent that is taken back.
    pub(crate) before: Option<Before>,
    /// Who answers, and the version of the policy in force.
    pub(crate) controller: (&'a PolicyFacts, u64),
}

/// A consent that is taken back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before {
    pub(crate) id: ConsentId,
    pub(crate) channel: ConsentChannel,
    pub(crate) at: Timestamp,
}

impl From<&Consent> for Before {
    fn from(consent: &Consent) -> Self {
        Self { id: consent.id, channel: consent.channel, at: consent.at }
    }
}

fn event(decision: ConsentDecision, channel: ConsentChannel, at: Timestamp) -> Value {
    let status = match decision {
        ConsentDecision::Given => "dpv:ConsentGiven",
        ConsentDecision::Withdrawn => "dpv:ConsentWithdrawn",
    };
    json!({
        "event_time": at.to_string(),
        "event_type": "explicit",
        "event_state": decision.as_str(),
        "dpv:hasConsentStatus": status,
        "channel": channel.as_str(),
    })
}

/// The record of a decision: with its fields in one order.
fn record(decided: &Decided<'_>) -> Value {
    let purpose = decided.purpose;
    let (facts, notice) = decided.controller;
    let before = decided.before.map(|one| event(ConsentDecision::Given, one.channel, one.at));
    let own = event(decided.decision, decided.channel, decided.at);
    let events: Vec<Value> = before.into_iter().chain([own]).collect();
    let first = decided.before.map_or(decided.id, |one| one.id);
    let withdrawal_methods: Vec<&str> =
        ConsentChannel::ALL.iter().map(|channel| channel.as_str()).collect();
    let recorded_by = match decided.by {
        None if decided.expressed.is_none() => "the person",
        _ => "somebody for the person",
    };
    let mut record = json!({
        "@context": {
            "dpv": "https://w3id.org/dpv#",
            "pd": "https://w3id.org/dpv/pd#",
        },
        "@type": "dpv:ConsentRecord",
        "schema_version": "ISO/IEC TS 27560:2023",
        "record_id": first.to_string(),
        "record_version": decided.id.to_string(),
        "pii_principal_id": decided.user.to_string(),
        "pii_controllers": [{ "name": facts.operator, "contact": facts.contact }],
        "privacy_notice": { "version": notice },
        "pii_processing": {
            "purpose": purpose.id,
            "purpose_version": purpose.version,
            "purpose_description": purpose.text,
            "purpose_description_sha256": hex::encode(sha256(purpose.text.as_bytes())),
            "dpv:hasPurpose": purpose.dpv,
            "dpv:hasLegalBasis": "dpv:ExplicitlyExpressedConsent",
            "pii_information": [{ "type": purpose.data, "optional": true }],
            "pii_recipients": purpose.recipients,
            "withdrawal_methods": withdrawal_methods,
        },
        "recorded_by": recorded_by,
        "events": events,
    });
    if let Some(expressed) = decided.expressed {
        record["expressed"] = Value::from(expressed);
        record["recorded_by_id"] =
            Value::from(decided.by.map(|by| UserId::from_bytes(by).to_string()));
    }
    record
}

impl App {
    /// Whoever signs consents: the platform, with the key of its own ledger. Asked for before a
    /// turn to write is taken.
    pub(crate) async fn consent_signer(&self) -> Result<ConsentSigner> {
        self.consent_signer_of(PLATFORM_TENANT).await
    }

    /// The same of an organisation, for what people agreed to towards it.
    pub(crate) async fn consent_signer_of(&self, tenant: TenantId) -> Result<ConsentSigner> {
        let key = self.submitter_key(tenant).await?;
        let tx = self.0.store.read(&self.job_in(jobs::LEDGER, tenant)).await?;
        let log = tx.tenant().await?.log_id;
        let origin = origin_of(&self.0.config.ledger_host, log, self.0.config.simulated);
        Ok(ConsentSigner { key, origin })
    }
}

impl ConsentSigner {
    /// The public half of its key, in hexadecimal digits.
    pub(crate) fn public_key(&self) -> String {
        hex::encode(self.key.public_bytes())
    }

    /// A decision with its signed record.
    pub(crate) fn signed(&self, decided: &Decided<'_>) -> Result<Consent> {
        let text = record(decided).to_string();
        let signature = self.key.sign(&[SIGNED, text.as_bytes()].concat());
        let record_digest = sha256(text.as_bytes());
        let signed = SignedRecord {
            record: text,
            log_origin: self.origin.clone(),
            public_key: hex::encode(self.key.public_bytes()),
            signature: hex::encode(signature),
        };
        let record =
            serde_json::to_vec(&signed).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Consent {
            id: decided.id,
            user: decided.user,
            purpose: decided.purpose.id.clone(),
            purpose_version: u64::from(decided.purpose.version),
            decision: decided.decision,
            channel: decided.channel,
            at: decided.at,
            by: decided.by,
            text_digest: sha256(decided.purpose.text.as_bytes()),
            record,
            record_digest,
        })
    }
}

/// Checks a consent record without a platform: its signature, and, when a key is given, that it is
/// by that key.
pub fn check_consent(text: &[u8], public_key: Option<&str>) -> Result<CheckedConsent> {
    if text.len() > RECORD_BYTES_MAX {
        return Err(Error::invalid(format!("has more than {RECORD_BYTES_MAX} bytes")));
    }
    let found: SignedRecord =
        serde_json::from_slice(text).map_err(|_| Error::invalid("not a consent record"))?;
    let bytes = |field: &'static str, text: &str| {
        hex::decode(text).map_err(|_| Error::invalid_at(field, "expected hexadecimal digits"))
    };
    let key = bytes("public_key", &found.public_key)?;
    let key: [u8; 32] = key
        .as_slice()
        .try_into()
        .map_err(|_| Error::invalid_at("public_key", "expected 64 hexadecimal digits"))?;
    let signed = [SIGNED, found.record.as_bytes()].concat();
    if !verify_signature(&key, &signed, &bytes("signature", &found.signature)?) {
        let detail = "the signature does not match: the record was changed, or is not by this key";
        return Err(Error::Conflict(detail.to_owned()));
    }
    if public_key.is_some_and(|asked| !asked.eq_ignore_ascii_case(&found.public_key)) {
        return Err(Error::Conflict("the record is signed by another key".to_owned()));
    }
    Ok(CheckedConsent {
        digest: hex::encode(sha256(found.record.as_bytes())),
        public_key: found.public_key,
        record: found.record,
    })
}

#[cfg(test)]
mod tests {
    use veritwin_governance::PurposeRegister;
    use veritwin_keys::SecretKey;

    use super::*;

    fn signer() -> ConsentSigner {
        let key = SigningKey::from_seed(SecretKey::from_bytes([3; 32]));
        ConsentSigner { key, origin: "example/1".to_owned() }
    }

    fn decided<'a>(
        purpose: &'a DeclaredPurpose,
        facts: &'a PolicyFacts,
        before: Option<&Consent>,
    ) -> Decided<'a> {
        let decision = match before {
            Some(_) => ConsentDecision::Withdrawn,
            None => ConsentDecision::Given,
        };
        Decided {
            id: ConsentId::from_bytes([1 + u8::from(before.is_some()); 16]),
            user: UserId::from_bytes([9; 16]),
            purpose,
            decision,
            channel: ConsentChannel::Settings,
            at: Timestamp::from_micros(1_800_000_000_000_000),
            by: None,
            expressed: None,
            before: before.map(Before::from),
            controller: (facts, 1),
        }
    }

    #[test]
    fn a_record_is_checked_by_anybody_and_a_changed_one_is_refused() {
        let register = PurposeRegister::built_in().expect("a register");
        let purpose = register.get("sms_alerts").expect("a purpose");
        let facts = PolicyFacts::default();
        let given = signer().signed(&decided(purpose, &facts, None)).expect("signed");
        let checked = check_consent(&given.record, None).expect("right");
        assert_eq!(checked.digest, hex::encode(given.record_digest));
        assert!(checked.record.contains("dpv:ConsentGiven"), "{}", checked.record);
        assert!(check_consent(&given.record, Some(&checked.public_key)).is_ok());
        assert!(check_consent(&given.record, Some("00")).is_err());
        let text = String::from_utf8(given.record.clone()).expect("text");
        let changed = text.replace("ConsentGiven", "ConsentNever");
        assert_ne!(changed, text);
        assert!(matches!(check_consent(changed.as_bytes(), None), Err(Error::Conflict(_))));
        assert!(check_consent(b"{}", None).is_err());
    }

    #[test]
    fn what_somebody_wrote_down_for_a_person_says_who_and_how() {
        let register = PurposeRegister::built_in().expect("a register");
        let purpose = register.get("sms_alerts").expect("a purpose");
        let facts = PolicyFacts::default();
        let own = decided(purpose, &facts, None);
        let record_of = |decided: &Decided<'_>| -> Value {
            let signed = signer().signed(decided).expect("signed");
            let checked = check_consent(&signed.record, None).expect("right");
            serde_json::from_str(&checked.record).expect("JSON")
        };
        let said = record_of(&own);
        assert_eq!(said["recorded_by"], "the person");
        assert!(said.get("expressed").is_none());
        let (by, expressed) = (Some([7; 16]), Some("in_writing"));
        let said = record_of(&Decided { by, expressed, ..own });
        assert_eq!(said["recorded_by"], "somebody for the person");
        assert_eq!(said["recorded_by_id"], UserId::from_bytes([7; 16]).to_string());
        assert_eq!(said["expressed"], "in_writing");
    }

    #[test]
    fn a_withdrawal_tells_what_it_ends_and_names_nobody() {
        let register = PurposeRegister::built_in().expect("a register");
        let purpose = register.get("sms_alerts").expect("a purpose");
        let facts = PolicyFacts { operator: "Op".to_owned(), ..PolicyFacts::default() };
        let given = signer().signed(&decided(purpose, &facts, None)).expect("signed");
        let ended = signer().signed(&decided(purpose, &facts, Some(&given))).expect("signed");
        let checked = check_consent(&ended.record, None).expect("right");
        let record: Value = serde_json::from_str(&checked.record).expect("JSON");
        assert_eq!(record["record_id"], given.id.to_string());
        assert_eq!(record["events"].as_array().map(Vec::len), Some(2));
        assert_eq!(record["events"][1]["event_state"], "withdrawn");
        assert_eq!(record["pii_principal_id"], UserId::from_bytes([9; 16]).to_string());
    }
}
