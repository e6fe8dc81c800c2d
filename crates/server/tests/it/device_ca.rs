//! A certificate authority as a manufacturer has one, and what a tenant does with it.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::harness::Platform;
use crate::http::Answer;
use crate::tenant::Tenant;

/// A certificate with its private key, PEM.
pub(crate) struct Held {
    pub(crate) certificate: String,
    pub(crate) key: KeyPair,
}

impl Held {
    /// Files for mosquitto's clients: certificate and key.
    pub(crate) fn files(&self, platform: &Platform, name: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) =
            (platform.scratch(&format!("{name}.pem")), platform.scratch(&format!("{name}.key")));
        std::fs::write(&certificate, &self.certificate).unwrap();
        std::fs::write(&key, self.key.serialize_pem()).unwrap();
        (certificate, key)
    }
}

/// An authority.
pub(crate) struct Ca {
    params: CertificateParams,
    key: KeyPair,
    pub(crate) certificate: String,
    now: OffsetDateTime,
}

fn named(name: &str, now: OffsetDateTime, days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (now - Duration::days(1), now + Duration::days(days));
    params
}

impl Ca {
    pub(crate) fn new() -> Self {
        let seconds = crate::harness::now_ms().div_euclid(1000);
        Self::at(OffsetDateTime::from_unix_timestamp(seconds).unwrap())
    }

    pub(crate) fn at(now: OffsetDateTime) -> Self {
        let mut params = named("Works", now, 1000);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { params, key, certificate, now }
    }

    /// A newer certificate with the same name and key.
    pub(crate) fn renew(&mut self, days: i64) {
        self.params.not_after = self.now + Duration::days(days);
        self.certificate = self.params.self_signed(&self.key).unwrap().pem();
    }

    /// A device's certificate.
    pub(crate) fn leaf(&self, name: &str, serial: u8, days: i64) -> Held {
        let mut params = named(name, self.now, days);
        params.serial_number = Some(SerialNumber::from_slice(&[serial]));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::new(self.params.clone(), &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap().pem();
        Held { certificate, key }
    }

    /// A list that names these.
    pub(crate) fn list(&self, revoked: &[u8]) -> Vec<u8> {
        let one = |serial: &u8| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&[*serial]),
            revocation_time: self.now,
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: self.now - Duration::days(1),
            next_update: self.now + Duration::days(30),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(one).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let issuer = Issuer::new(self.params.clone(), &self.key);
        params.signed_by(&issuer).unwrap().der().to_vec()
    }

    /// The proof for a code.
    pub(crate) fn proof(&self, code: &str) -> String {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::new(self.params.clone(), &self.key);
        named(code, self.now, 1).signed_by(&key, &issuer).unwrap().pem()
    }

    /// Registers it in a tenant.
    pub(crate) fn register(&self, tenant: &Tenant, settings: &Value) -> Answer {
        let proof = self.proof(&code(tenant, &self.certificate));
        let body = json!({"certificate": self.certificate, "proof": proof, "settings": settings});
        tenant.post("/v1/device-authorities", &body)
    }
}

/// What a proof has to carry.
pub(crate) fn code(tenant: &Tenant, certificate: &str) -> String {
    let answer = tenant.post("/v1/device-authorities/code", &json!({"certificate": certificate}));
    answer.expect(200)["code"].as_str().unwrap().to_owned()
}

/// The proof that a device's own key is at hand.
pub(crate) fn own_proof(tenant: &Tenant, held: &Held) -> String {
    let code = code(tenant, &held.certificate);
    let seconds = crate::harness::now_ms().div_euclid(1000);
    let now = OffsetDateTime::from_unix_timestamp(seconds).unwrap();
    named(&code, now, 1).self_signed(&held.key).unwrap().pem()
}
