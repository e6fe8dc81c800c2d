//! Certificates of destruction: what was destroyed, how and when, until when backups of before may
//! still be opened, and what such a paper cannot prove. Signed with the key that signs the tenant's
//! ledger, or, of a tenant whose keys are gone, with the platform's.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use veritwin_domain::{TenantId, Timestamp};
use veritwin_keys::{DekSummary, DestructionMethod, Epoch, ShredUnit, sha256, verify_signature};
use veritwin_ledger::origin_of;

use crate::backup::KEYRING_HORIZON;
use crate::destruction_scope::StoredScope;
use crate::destructions::Body;
use crate::model::CheckedCertificate;
use crate::provision::PLATFORM_TENANT;
use crate::{App, Error, Result};

/// In front of what is signed.
const SIGNED: &[u8] = b"veritwin destruction certificate v1\n";
/// Largest certificate that is checked, in bytes.
pub(crate) const CERTIFICATE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What every certificate says of itself.
const PROVES: &str = "that the acts above were recorded as done, in this order and at these times; \
                      not that no copy exists of what was read or exported before, or of keys \
                      that were copied against the rules";

/// A key of a destruction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DestroyedKey {
    pub(crate) id: String,
    class: String,
    unit: String,
    epoch: String,
    pub(crate) method: String,
}

/// What a certificate file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Certificate {
    /// The statement, as it was signed.
    pub(crate) statement: String,
    /// Whose ledger's key signed it.
    pub(crate) log_origin: String,
    pub(crate) public_key: String,
    pub(crate) signature: String,
}

/// A month, counted from 1970-01, as people write it.
pub(crate) fn month_text(month: i64) -> String {
    format!("{:04}-{:02}", 1970 + month.div_euclid(12), month.rem_euclid(12) + 1)
}

fn day_text(day: i64) -> String {
    let at = Timestamp::from_micros(day.saturating_mul(veritwin_domain::DAY_MICROS));
    let (year, month, day) = at.date();
    format!("{year:04}-{month:02}-{day:02}")
}

/// A key as a certificate names it.
pub(crate) fn destroyed_key(key: &DekSummary, method: DestructionMethod) -> DestroyedKey {
    DestroyedKey {
        id: key.id.to_string(),
        class: key.scope.class.as_str().to_owned(),
        unit: match key.scope.unit {
            ShredUnit::Tenant => "tenant".to_owned(),
            ShredUnit::Subject(id) => format!("subject {}", hex::encode(id)),
            ShredUnit::Device(id) => format!("device {id}"),
        },
        epoch: match key.scope.epoch {
            Epoch::None => "none".to_owned(),
            Epoch::Day(day) => day_text(day),
            Epoch::Month(month) => month_text(month),
            Epoch::MonthFigures(month) => format!("figures of {}", month_text(month)),
        },
        method: method.as_str().to_owned(),
    }
}

/// What a destruction leaves where it is, by name.
pub(crate) fn stays(body: &Body) -> Vec<&'static str> {
    match body.scope {
        StoredScope::Tenant => return vec!["exports"],
        StoredScope::Ledger { .. } => {
            return vec!["readings", "ledger_leaves", "activity_records", "alerts", "exports"];
        }
        _ => {}
    }
    let mut stays = vec![
        "ledger_payloads",
        "activity_records",
        "alerts",
        "messages_on_their_way",
        "retained_messages",
        "exports",
    ];
    if !body.attributes {
        stays.push("attributes");
    }
    if body.scope.is_named_by_fields() {
        // Of hours whose readings ended, nobody knows any more whom they were about.
        stays.push("figures_of_ended_readings");
    }
    stays
}

/// The statement of a destruction: JSON with its fields in one order.
fn statement(tenant: TenantId, id: &str, body: &Body, (origin, at): (&str, Timestamp)) -> Value {
    let horizon = at.saturating_add(KEYRING_HORIZON);
    let is_ledger = matches!(body.scope, StoredScope::Ledger { .. });
    json!({
        "type": "veritwin destruction certificate",
        "version": 1,
        "id": id,
        "tenant": tenant.to_string(),
        "scope": body.scope,
        "attributes": body.attributes,
        "reason": body.reason,
        "requested_by": body.requested_by,
        "requested_at": Timestamp::from_micros(body.requested_at).to_string(),
        "destroyed_at": at.to_string(),
        "log_origin": origin,
        "counted_at_request": {
            "devices": body.counts.devices,
            "series": body.counts.series,
            "readings_at_most": body.counts.readings,
        },
        "destroyed": {
            "readings": body.done.readings,
            "sections_rewritten": body.done.rewritten,
            "sections_dropped": body.done.dropped,
            "latest_values": !is_ledger,
            "log": !is_ledger,
            "ledger_payloads": is_ledger || body.scope == StoredScope::Tenant,
        },
        "keys": body.keys,
        "backup_horizon": horizon.to_string(),
        "stays": stays(body),
        "proves": PROVES,
    })
}

impl App {
    /// Signs what was destroyed at a moment.
    pub(crate) async fn certify(
        &self,
        tenant: TenantId,
        (id, at): (&str, Timestamp),
        body: &Body,
    ) -> Result<Certificate> {
        let signer = if body.scope.kind() == "tenant" { PLATFORM_TENANT } else { tenant };
        let said = |origin: &str| statement(tenant, id, body, (origin, at));
        self.sign_certificate(signer, said).await
    }

    /// Signs a statement, which names the log whose key signs it.
    pub(crate) async fn sign_certificate(
        &self,
        signer: TenantId,
        said: impl FnOnce(&str) -> Value,
    ) -> Result<Certificate> {
        let key = self.submitter_key(signer).await?;
        let log = self.0.store.read(&self.job_in(veritwin_access::jobs::LEDGER, signer)).await?;
        let log_id = log.tenant().await?.log_id;
        let origin = origin_of(&self.0.config.ledger_host, log_id, self.0.config.simulated);
        let statement = said(&origin).to_string();
        let signature = key.sign(&[SIGNED, statement.as_bytes()].concat());
        Ok(Certificate {
            statement,
            log_origin: origin,
            public_key: hex::encode(key.public_bytes()),
            signature: hex::encode(signature),
        })
    }
}

impl Certificate {
    /// What its leaf in the ledger holds.
    pub(crate) fn digest(&self) -> [u8; 32] {
        sha256(self.statement.as_bytes())
    }

    /// The file that is given to people.
    pub(crate) fn to_text(&self, ledger_index: Option<u64>) -> String {
        let file = json!({
            "statement": self.statement,
            "statement_sha256": hex::encode(self.digest()),
            "log_origin": self.log_origin,
            "public_key": self.public_key,
            "signature": self.signature,
            "ledger_index": ledger_index,
        });
        format!("{file:#}\n")
    }
}

/// Checks a certificate without a platform: its signature, and, when a key is given, that it is by
/// that key.
pub fn check_certificate(text: &[u8], public_key: Option<&str>) -> Result<CheckedCertificate> {
    if text.len() > CERTIFICATE_BYTES_MAX {
        return Err(Error::invalid(format!("has more than {CERTIFICATE_BYTES_MAX} bytes")));
    }
    let not_one = |_| Error::invalid("not a certificate of destruction");
    let found: Certificate = serde_json::from_slice(text).map_err(not_one)?;
    let bytes = |field: &'static str, text: &str| {
        hex::decode(text).map_err(|_| Error::invalid_at(field, "expected hexadecimal digits"))
    };
    let key = bytes("public_key", &found.public_key)?;
    let key: [u8; 32] = key
        .as_slice()
        .try_into()
        .map_err(|_| Error::invalid_at("public_key", "expected 64 hexadecimal digits"))?;
    let signed = [SIGNED, found.statement.as_bytes()].concat();
    if !verify_signature(&key, &signed, &bytes("signature", &found.signature)?) {
        return Err(Error::Conflict(
            "the signature does not match: the certificate was changed, or is not by this key"
                .to_owned(),
        ));
    }
    Ok(CheckedCertificate {
        digest: hex::encode(found.digest()),
        is_expected: public_key.map(|asked| asked.eq_ignore_ascii_case(&found.public_key)),
        public_key: found.public_key.clone(),
        statement: found.statement,
    })
}

#[cfg(test)]
mod tests {
    use veritwin_keys::{SecretKey, SigningKey};

    use super::*;

    #[test]
    fn a_changed_certificate_is_refused() {
        let key = SigningKey::from_seed(SecretKey::from_bytes([3; 32]));
        let statement = json!({"id": "1"}).to_string();
        let signature = hex::encode(key.sign(&[SIGNED, statement.as_bytes()].concat()));
        let public_key = hex::encode(key.public_bytes());
        let log_origin = "example/1".to_owned();
        let one = Certificate { statement, log_origin, public_key, signature };
        let text = one.to_text(Some(7));
        let checked = check_certificate(text.as_bytes(), None).expect("right");
        assert_eq!((checked.statement.as_str(), checked.is_expected), ("{\"id\":\"1\"}", None));
        let asked = check_certificate(text.as_bytes(), Some(&one.public_key)).expect("right");
        assert_eq!(asked.is_expected, Some(true));
        let other = check_certificate(text.as_bytes(), Some("00")).expect("right");
        assert_eq!(other.is_expected, Some(false));
        let changed = text.replace("{\\\"id\\\":\\\"1\\\"}", "{\\\"id\\\":\\\"2\\\"}");
        assert_ne!(changed, text);
        assert!(matches!(check_certificate(changed.as_bytes(), None), Err(Error::Conflict(_))));
        assert!(check_certificate(b"{}", None).is_err());
    }

    #[test]
    fn a_certificate_names_what_stays() {
        let of = |scope: Value, attributes: bool| {
            let scope = serde_json::from_value(scope).expect("a scope");
            let body = json!({
                "scope": StoredScope::Tenant,
                "attributes": attributes,
                "reason": "",
                "requested_by": "",
                "requested_at": 0,
                "counts": crate::destructions::Counts::default(),
                "log_mark": null,
                "done": crate::destructions::Done::default(),
                "keys": [],
                "destroyed_at": null,
                "certificate": null,
                "ledger_index": null,
            });
            let body: Body = serde_json::from_value(body).expect("a body");
            stays(&Body { scope, ..body })
        };
        assert_eq!(of(json!({"kind": "tenant"}), false), ["exports"]);
        let month = of(json!({"kind": "month", "month": 1}), false);
        assert!(month.contains(&"retained_messages") && month.contains(&"attributes"));
        let device = json!({"kind": "device", "device": "00000000-0000-7000-8000-000000000000"});
        assert!(!of(device, true).contains(&"attributes"));
        let person = |field: Option<&str>| {
            let device = "00000000-0000-7000-8000-000000000000";
            let series = json!([{"device": device, "keys": ["t"], "field": field}]);
            of(json!({"kind": "subject", "person": "Ada", "series": series}), false)
        };
        assert!(!person(None).contains(&"figures_of_ended_readings"));
        assert!(person(Some("driver")).contains(&"figures_of_ended_readings"));
    }

    #[test]
    fn months_and_days_are_written_as_people_do() {
        assert_eq!((month_text(681).as_str(), month_text(-1).as_str()), ("2026-10", "1969-12"));
        assert_eq!(day_text(0), "1970-01-01");
    }
}
