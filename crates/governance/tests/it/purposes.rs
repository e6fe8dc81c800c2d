//! The purpose register as shipped, registers that are refused, and when a field may be used.

use veritwin_domain::{Purpose, Timestamp};
use veritwin_governance::{LegalBasis, OptionalField, PurposeRegister, Said, UseRefused};

const SHIPPED: &str = include_str!("../../purposes.toml");

#[test]
fn the_shipped_register_is_whole() {
    let register = PurposeRegister::built_in().unwrap();
    for purpose in Purpose::ALL {
        assert!(register.get(purpose.as_str()).is_some(), "{purpose}");
    }
    for field in OptionalField::ALL {
        let purpose = register.of_field(field).unwrap();
        assert_eq!(purpose.basis, LegalBasis::Consent, "{field}");
        assert!(purpose.is_asked(), "{field}");
    }
    let asked = register.purposes().iter().filter(|purpose| purpose.is_asked());
    assert_eq!(asked.count(), OptionalField::ALL.len());
    assert!(!register.get("device_location").unwrap().is_asked());
}

#[test]
fn columns_have_one_purpose() {
    let register = PurposeRegister::built_in().unwrap();
    let of = |table: &str, column: &str| {
        register.of_column(table, column).map(|purpose| purpose.id.clone())
    };
    assert_eq!(of("users", "email").as_deref(), Some("account_billing"));
    assert_eq!(of("users", "password_hash").as_deref(), Some("authentication_security"));
    assert_eq!(of("sessions", "browser").as_deref(), Some("authentication_security"));
    assert_eq!(of("users", "shoe_size"), None);
    assert!(register.names_column("users", "email"));
    assert!(!register.names_column("sessions", "browser"));
}

#[test]
fn mistakes_are_named() {
    let check = |from: &str, to: &str, expect: &str| {
        let text = SHIPPED.replacen(from, to, 1);
        assert_ne!(text, SHIPPED, "{from} is not in the register");
        let error = PurposeRegister::parse(&text).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    check("id = \"twin_building\"", "id = \"ingest_routing\"", "ingest_routing is there twice");
    check("\"users.email\",", "\"users.email\", \"outbox.*\",", "under two purposes");
    check("purpose = \"twin_building\"\nfields", "purpose = \"x\"\nfields", "no purpose \"x\"");
    check("dpv = \"dpv:ServiceProvision\"", "dpv = \"service\"", "Data Privacy Vocabulary");
    check("version = 1", "version = 0", "needs a version from 1");
    check("basis = \"consent\"", "basis = \"contract\"", "an optional field rests on consent");
}

#[test]
fn a_field_is_used_for_its_purpose_while_the_consent_stands() {
    let register = PurposeRegister::built_in().unwrap();
    let said = |version: u32, is_given: bool| {
        Some(Said { version, is_given, at: Timestamp::from_micros(1) })
    };
    let check = |field, purpose: &str, said, expect| {
        assert_eq!(register.may_use(field, purpose, said), expect, "{field} {purpose} {said:?}");
    };
    let phone = OptionalField::Phone;
    check(phone, "sms_alerts", said(1, true), Ok(()));
    check(phone, "sms_alerts", said(1, false), Err(UseRefused::Withdrawn));
    check(phone, "sms_alerts", None, Err(UseRefused::NoConsent));
    check(phone, "sms_alerts", said(2, true), Err(UseRefused::EarlierText));
    // A telephone number serves alerts by SMS and nothing else.
    for other in register.purposes().iter().filter(|one| one.id != "sms_alerts") {
        check(phone, &other.id, said(1, true), Err(UseRefused::OtherPurpose));
    }
    check(phone, "advertising", said(1, true), Err(UseRefused::OtherPurpose));
}
