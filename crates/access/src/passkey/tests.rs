//! An authenticator in software makes and uses a passkey; every part that is changed is noticed.

use veritwin_domain::SeededRng;
use veritwin_keys::SigningKey;

use super::*;

const CHALLENGE: &[u8] = b"a challenge of this platform";

fn party() -> RelyingParty {
    RelyingParty::of("https://localhost:8443")
}

fn client_data(kind: &str, origin: &str) -> Vec<u8> {
    let challenge = URL_SAFE_NO_PAD.encode(CHALLENGE);
    serde_json::json!({"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": false})
        .to_string()
        .into_bytes()
}

fn data(flags: u8, counter: u32) -> Vec<u8> {
    let mut data = sha256(b"localhost").to_vec();
    data.push(flags);
    data.extend(counter.to_be_bytes());
    data
}

fn cose(key: &SigningKey) -> Vec<u8> {
    let mut cose = vec![0xa4, 0x01, 0x01, 0x03, 0x27, 0x20, 0x06, 0x21, 0x58, 0x20];
    cose.extend(key.public_bytes());
    cose
}

fn registration(key: &SigningKey, flags: u8) -> Registration {
    let mut auth = data(flags, 0);
    auth.extend([0; 16]);
    auth.extend([0, 2, 7, 7]);
    auth.extend(cose(key));
    let mut attestation = vec![0xa3, 0x63];
    attestation.extend(b"fmt");
    attestation.push(0x64);
    attestation.extend(b"none");
    attestation.push(0x67);
    attestation.extend(b"attStmt");
    attestation.extend([0xa0, 0x68]);
    attestation.extend(b"authData");
    attestation.extend([0x58, u8::try_from(auth.len()).expect("short")]);
    attestation.extend(auth);
    let client_data = client_data("webauthn.create", "https://localhost:8443");
    Registration { client_data, attestation }
}

fn assertion(key: &SigningKey, origin: &str, flags: u8, counter: u32) -> Assertion {
    let client_data = client_data("webauthn.get", origin);
    let authenticator_data = data(flags, counter);
    let signed = [authenticator_data.as_slice(), &sha256(&client_data)].concat();
    let signature = key.sign(&signed).to_vec();
    Assertion { credential: vec![7, 7], client_data, authenticator_data, signature }
}

#[test]
fn a_passkey_is_made_and_used() {
    let key = SigningKey::generate(&SeededRng::new(1));
    let made = registration(&key, 0x45).verify(&party(), CHALLENGE).expect("a passkey");
    assert_eq!((made.credential.as_slice(), made.counter), ([7, 7].as_slice(), 0));
    let origin = "https://localhost:8443";
    let check = |assertion: Assertion, counter: u32, expect: Result<u32, PasskeyError>| {
        assert_eq!(assertion.verify(&party(), CHALLENGE, &made.cose, counter), expect);
    };
    check(assertion(&key, origin, 0x05, 0), 0, Ok(0));
    check(assertion(&key, origin, 0x05, 8), 7, Ok(8));
    check(assertion(&key, origin, 0x05, 7), 7, Err(PasskeyError::Cloned));
    check(assertion(&key, origin, 0x01, 0), 0, Err(PasskeyError::NotVerified));
    let elsewhere = assertion(&key, "https://evil.example", 0x05, 0);
    check(elsewhere, 0, Err(PasskeyError::Foreign("page")));
    let other = SigningKey::generate(&SeededRng::new(2));
    check(assertion(&other, origin, 0x05, 0), 0, Err(PasskeyError::Signature));
    let mut changed = assertion(&key, origin, 0x05, 0);
    changed.authenticator_data[36] = 9;
    check(changed, 0, Err(PasskeyError::Signature));
    let used = assertion(&key, origin, 0x05, 0);
    let replayed = used.verify(&party(), b"another challenge", &made.cose, 0);
    assert_eq!(replayed, Err(PasskeyError::Foreign("challenge")));
}

#[test]
fn other_ceremonies_hosts_and_keys_are_refused() {
    let key = SigningKey::generate(&SeededRng::new(1));
    let made = registration(&key, 0x45);
    let swapped = Registration {
        client_data: client_data("webauthn.get", "https://localhost:8443"),
        ..made.clone()
    };
    assert_eq!(swapped.verify(&party(), CHALLENGE), Err(PasskeyError::Foreign("ceremony")));
    let elsewhere = RelyingParty { id: "example.org".to_owned(), ..party() };
    assert_eq!(made.verify(&elsewhere, CHALLENGE), Err(PasskeyError::Foreign("host")));
    let unverified = registration(&key, 0x41);
    assert_eq!(unverified.verify(&party(), CHALLENGE), Err(PasskeyError::NotVerified));
    for length in 0..made.attestation.len() {
        let cut = Registration { attestation: made.attestation[..length].to_vec(), ..made.clone() };
        assert!(cut.verify(&party(), CHALLENGE).is_err(), "{length}");
    }
}
