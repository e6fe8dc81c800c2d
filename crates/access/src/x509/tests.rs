//! Certificates are made here as operators make them, and judged at moments around their times.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};
use time::OffsetDateTime;

use super::*;

const NOW_S: i64 = 1_800_000_000;
const DAY: Duration = Duration::from_secs(86_400);

fn now() -> Timestamp {
    Timestamp::from_micros(NOW_S * 1_000_000)
}

fn day(days: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW_S + days * 86_400).expect("a time")
}

struct Ca {
    params: CertificateParams,
    key: KeyPair,
    der: Vec<u8>,
}

fn named(name: &str, days: (i64, i64)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (day(days.0), day(days.1));
    params
}

fn authority(name: &str) -> Ca {
    let mut params = named(name, (-10, 1000));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().expect("a key");
    let der = params.self_signed(&key).expect("an authority").der().to_vec();
    Ca { params, key, der }
}

impl Ca {
    fn issue(&self, params: CertificateParams) -> Vec<u8> {
        let key = KeyPair::generate().expect("a key");
        let issuer = Issuer::new(self.params.clone(), &self.key);
        params.signed_by(&key, &issuer).expect("a certificate").der().to_vec()
    }

    fn leaf(&self, name: &str, serial: u8, days: (i64, i64)) -> Vec<u8> {
        let mut params = named(name, days);
        params.serial_number = Some(SerialNumber::from_slice(&[serial]));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
    }

    fn list(&self, revoked: &[u8], days: (i64, i64)) -> Vec<u8> {
        let one = |serial: &u8| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&[*serial]),
            revocation_time: day(days.0),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: day(days.0),
            next_update: day(days.1),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(one).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let issuer = Issuer::new(self.params.clone(), &self.key);
        params.signed_by(&issuer).expect("a list").der().to_vec()
    }
}

#[test]
fn an_authority_may_vouch_and_a_device_may_not() {
    let ca = authority("Works");
    let facts = read_authority(&ca.der, now()).expect("an authority");
    assert_eq!(facts.common_name.as_deref(), Some("Works"));
    let leaf = ca.leaf("pump-1", 7, (-1, 30));
    let refused = read_authority(&leaf, now()).expect_err("a device's");
    assert!(matches!(refused, CertificateFault::NotAuthority(_)), "{refused}");
    let late = read_authority(&ca.der, now().saturating_add(DAY * 2000)).expect_err("ended");
    assert!(matches!(late, CertificateFault::OutOfTime(..)), "{late}");
    assert_eq!(read_device_certificate(&leaf, now()), read_certificate(&leaf));
    let ended = read_device_certificate(&leaf, now().saturating_add(DAY * 31)).expect_err("ended");
    assert!(matches!(ended, CertificateFault::OutOfTime(..)), "{ended}");
    let mut params = named("pump-1", (-1, 30));
    let mut odd = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
    odd.set_criticality(true);
    params.custom_extensions = vec![odd];
    let odd = ca.issue(params);
    assert_eq!(read_device_certificate(&odd, now()), Err(CertificateFault::Unusable));
    assert_eq!(read_certificate(b"none"), Err(CertificateFault::Malformed("certificate")));
    let large = read_certificate(&vec![0x30; CERTIFICATE_BYTES_MAX + 1]).expect_err("large");
    assert!(matches!(large, CertificateFault::Large { .. }), "{large}");
}

#[test]
fn a_chain_leads_to_its_own_authority_in_its_time_and_unless_it_is_revoked() {
    let (ca, other) = (authority("Works"), authority("Works"));
    let leaf = ca.leaf("pump-1", 7, (-1, 30));
    let check = |leaf: &[u8], ca: &Ca, list: Option<&[u8]>, days: u32, expect: Option<&str>| {
        let at = now().saturating_add(DAY * days);
        let said = check_chain((leaf, &[]), (&ca.der, list), at).map_err(|fault| fault.to_string());
        match (said, expect) {
            (Ok(()), None) => {}
            (Err(text), Some(part)) => assert!(text.contains(part), "{text}"),
            (said, expect) => panic!("{said:?}, expected {expect:?}"),
        }
    };
    check(&leaf, &ca, None, 0, None);
    check(&leaf, &other, None, 0, Some("does not lead"));
    check(&leaf, &ca, None, 31, Some("ended"));
    check(&ca.leaf("later", 8, (2, 30)), &ca, None, 0, Some("not valid yet"));
    let mut server = named("server", (-1, 30));
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    check(&ca.issue(server), &ca, None, 0, Some("clientAuth"));
    let list = ca.list(&[7], (-1, 7));
    check(&leaf, &ca, Some(&list), 0, Some("revoked"));
    check(&ca.leaf("pump-2", 9, (-1, 30)), &ca, Some(&list), 0, None);
    check(&ca.leaf("pump-2", 9, (-1, 30)), &ca, Some(&list), 8, Some("next update"));
}

#[test]
fn a_certificate_between_leads_on() {
    let root = authority("Root");
    let mut params = named("Plant 1", (-1, 500));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().expect("a key");
    let issuer = Issuer::new(root.params.clone(), &root.key);
    let der = params.signed_by(&key, &issuer).expect("between").der().to_vec();
    let plant = Ca { params, key, der };
    let leaf = plant.leaf("pump-1", 7, (-1, 30));
    assert_eq!(check_chain((&leaf, &[&plant.der]), (&root.der, None), now()), Ok(()));
    assert_eq!(check_chain((&leaf, &[]), (&plant.der, None), now()), Ok(()));
    assert!(check_chain((&leaf, &[]), (&root.der, None), now()).is_err());
}

#[test]
fn a_proof_is_of_one_key_and_one_code() {
    let (ca, other) = (authority("Works"), authority("Works"));
    let fingerprint = read_certificate(&ca.der).expect("facts").fingerprint;
    let code = proof_code(&[1; 32], &[2; 16], &fingerprint);
    assert_ne!(code, proof_code(&[1; 32], &[3; 16], &fingerprint), "another tenant's");
    let proof = ca.issue(named(&code, (-1, 1)));
    assert_eq!(check_proof(&proof, &ca.der, &code), Ok(()));
    let elsewhere = proof_code(&[1; 32], &[3; 16], &fingerprint);
    for (proof, code) in [(&proof, &elsewhere), (&other.issue(named(&code, (-1, 1))), &code)] {
        let refused = check_proof(proof, &ca.der, code).expect_err("no proof");
        assert!(matches!(refused, CertificateFault::Proof(_)), "{refused}");
    }
    // A device proves itself.
    let key = KeyPair::generate().expect("a key");
    let leaf = named("pump-1", (-1, 30)).self_signed(&key).expect("a leaf").der().to_vec();
    let proof = named(&code, (-1, 1)).self_signed(&key).expect("a proof").der().to_vec();
    assert_eq!(check_proof(&proof, &leaf, &code), Ok(()));
}

#[test]
fn a_list_is_the_authoritys_own_and_counts_now() {
    let (ca, other) = (authority("Works"), authority("Works"));
    let list = ca.list(&[7, 8], (-1, 7));
    let read = read_revocation_list(&list, &ca.der, now()).expect("a list");
    assert_eq!((read.revoked, read.next_update), (2, now().saturating_add(DAY * 7)));
    let foreign = read_revocation_list(&list, &other.der, now());
    assert_eq!(foreign, Err(CertificateFault::Foreign));
    let stale = read_revocation_list(&ca.list(&[], (-9, -1)), &ca.der, now());
    assert_eq!(stale, Err(CertificateFault::ListOutOfTime));
    assert!(read_revocation_list(b"none", &ca.der, now()).is_err());
}

#[test]
fn a_pem_text_holds_one_certificate() {
    let key = KeyPair::generate().expect("a key");
    let pem = named("pump-1", (-1, 30)).self_signed(&key).expect("a leaf").pem();
    assert!(certificate_of_pem(&pem).is_ok());
    for text in [String::new(), format!("{pem}{pem}"), key.serialize_pem()] {
        assert_eq!(certificate_of_pem(&text), Err(CertificateFault::Pem("certificate")));
    }
}
