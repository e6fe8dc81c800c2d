//! Every part of a description and of an ID token, changed one at a time.

use serde_json::json;
use veritwin_keys::{SecretKey, SigningKey};

use super::*;

const NOW_S: i64 = 1_800_000_000;
const ISSUER: &str = "https://id.example";

fn signer(seed: u8) -> SigningKey {
    SigningKey::from_seed(SecretKey::from_bytes([seed; 32]))
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn token(header: &Value, claims: &Value, seed: u8) -> String {
    let signed = format!("{}.{}", encoded(header), encoded(claims));
    let signature = signer(seed).sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn keys() -> KeySet {
    let x = URL_SAFE_NO_PAD.encode(signer(1).public_bytes());
    let set = json!({"keys": [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "shared", "alg": "HS256"},
        {"kty": "OKP", "crv": "Ed25519", "kid": "enc", "use": "enc", "x": x},
        {"kty": "OKP", "crv": "Ed25519", "kid": "one", "use": "sig", "x": x},
    ]});
    KeySet::parse(set.to_string().as_bytes()).expect("keys")
}

fn header() -> Value {
    json!({"alg": "EdDSA", "kid": "one", "typ": "JWT"})
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "s-1", "aud": "client", "exp": NOW_S + 300, "iat": NOW_S,
        "nonce": "n", "email": "ada@id.example", "email_verified": true,
    })
}

fn expected() -> Expected<'static> {
    Expected {
        issuer: ISSUER,
        client_id: "client",
        nonce: "n",
        now: timestamp(NOW_S),
        asked_since: None,
    }
}

fn with(mut base: Value, change: Value) -> Value {
    for (name, value) in change.as_object().expect("members") {
        if value.is_null() {
            base.as_object_mut().expect("object").remove(name);
        } else {
            base[name] = value.clone();
        }
    }
    base
}

#[test]
fn a_right_token_says_who_it_is() {
    let said = verify(&token(&header(), &claims(), 1), &keys(), &expected()).expect("right");
    assert_eq!((said.subject.as_str(), said.email_verified), ("s-1", true));
    assert!(!said.second_factor && said.asked_at.is_none());
    let more = with(claims(), json!({"amr": ["pwd", "mfa"], "auth_time": NOW_S - 5}));
    let said = verify(&token(&header(), &more, 1), &keys(), &expected()).expect("right");
    assert_eq!((said.second_factor, said.asked_at), (true, Some(timestamp(NOW_S - 5))));
}

#[test]
fn every_wrong_header_is_refused() {
    let check = |change: Value, expect: OidcError| {
        let made = token(&with(header(), change.clone()), &claims(), 1);
        assert_eq!(verify(&made, &keys(), &expected()), Err(expect), "{change}");
    };
    for name in ["none", "None", "HS256", "HS512", "RS512", "ES384", "", "EdDSA "] {
        check(json!({"alg": name}), OidcError::Algorithm);
    }
    // The right algorithm with a key of another kind, of another use or of no name.
    check(json!({"alg": "RS256"}), OidcError::UnknownKey);
    check(json!({"alg": "ES256"}), OidcError::UnknownKey);
    check(json!({"kid": "shared"}), OidcError::UnknownKey);
    check(json!({"kid": "enc"}), OidcError::UnknownKey);
    check(json!({"kid": "two"}), OidcError::UnknownKey);
    check(json!({"crit": ["b64"]}), OidcError::Malformed("ID token"));
    check(json!({"typ": "at+jwt"}), OidcError::Malformed("ID token"));
    let nameless = token(&with(header(), json!({"kid": null})), &claims(), 1);
    assert!(verify(&nameless, &keys(), &expected()).is_ok());
}

#[test]
fn every_wrong_signature_or_form_is_refused() {
    let right = token(&header(), &claims(), 1);
    let (signed, _) = right.rsplit_once('.').expect("three parts");
    let other = with(claims(), json!({"email": "eve@id.example"}));
    let foreign = token(&header(), &claims(), 2);
    let moved = format!("{}.{}", token(&header(), &other, 2).rsplit_once('.').expect("three").0, {
        right.rsplit_once('.').expect("three parts").1
    });
    for (made, expect) in [
        (foreign, OidcError::Signature),
        (moved, OidcError::Signature),
        (format!("{signed}."), OidcError::Signature),
        (signed.to_owned(), OidcError::Malformed("ID token")),
        (format!("{right}.more"), OidcError::Signature),
        (String::new(), OidcError::Malformed("ID token")),
        ("x".repeat(ID_TOKEN_BYTES_MAX + 1), OidcError::Malformed("ID token")),
    ] {
        assert_eq!(verify(&made, &keys(), &expected()), Err(expect), "{made:.80}");
    }
}

#[test]
fn every_wrong_claim_is_refused() {
    let check = |change: Value, expect: Result<(), OidcError>| {
        let made = token(&header(), &with(claims(), change.clone()), 1);
        let said = verify(&made, &keys(), &expected()).map(|_| ());
        assert_eq!(said, expect, "{change}");
    };
    check(json!({"iss": "https://id.example/"}), Err(OidcError::Issuer));
    check(json!({"iss": "https://other.example"}), Err(OidcError::Issuer));
    check(json!({"aud": "another"}), Err(OidcError::Audience));
    check(json!({"aud": ["client"]}), Ok(()));
    check(json!({"aud": ["client", "another"]}), Err(OidcError::Audience));
    check(json!({"aud": ["client", "another"], "azp": "client"}), Ok(()));
    check(json!({"aud": ["client", "another"], "azp": "another"}), Err(OidcError::Audience));
    check(json!({"azp": "another"}), Err(OidcError::Audience));
    check(json!({"nonce": "m"}), Err(OidcError::Nonce));
    check(json!({"nonce": null}), Err(OidcError::Nonce));
    check(json!({"exp": NOW_S - CLOCK_SKEW_S_MAX + 1}), Ok(()));
    check(json!({"exp": NOW_S - CLOCK_SKEW_S_MAX}), Err(OidcError::Time));
    check(json!({"exp": null}), Err(OidcError::Malformed("ID token")));
    check(json!({"exp": "soon"}), Err(OidcError::Malformed("exp")));
    check(json!({"iat": NOW_S + CLOCK_SKEW_S_MAX}), Ok(()));
    check(json!({"iat": NOW_S + CLOCK_SKEW_S_MAX + 1}), Err(OidcError::Time));
    check(json!({"iat": NOW_S - 3600}), Err(OidcError::Time));
    check(json!({"nbf": NOW_S + 3600}), Err(OidcError::Time));
    check(json!({"sub": ""}), Err(OidcError::Malformed("sub")));
    check(json!({"sub": null}), Err(OidcError::Malformed("ID token")));
    for (value, expect) in [
        (json!(true), true),
        (json!("true"), true),
        (json!(false), false),
        (json!("false"), false),
        (json!(1), false),
        (Value::Null, false),
    ] {
        let made = token(&header(), &with(claims(), json!({"email_verified": value})), 1);
        let said = verify(&made, &keys(), &expected()).expect("right");
        assert_eq!(said.email_verified, expect, "{value}");
    }
}

#[test]
fn a_second_look_needs_a_recent_answer() {
    let expected = Expected { asked_since: Some(timestamp(NOW_S)), ..expected() };
    for (change, expect) in [
        (json!({}), Err(OidcError::NotFresh)),
        (json!({"auth_time": NOW_S - 600}), Err(OidcError::NotFresh)),
        (json!({"auth_time": NOW_S}), Ok(())),
        (json!({"auth_time": NOW_S + 1}), Ok(())),
    ] {
        let made = token(&header(), &with(claims(), change.clone()), 1);
        assert_eq!(verify(&made, &keys(), &expected).map(|_| ()), expect, "{change}");
    }
}

#[test]
fn a_description_is_its_issuers_own() {
    let base = json!({
        "issuer": ISSUER, "authorization_endpoint": "https://id.example/auth",
        "token_endpoint": "https://id.example/token", "jwks_uri": "https://id.example/jwks",
    });
    let check = |change: Value, expect: Result<bool, OidcError>| {
        let document = with(base.clone(), change.clone()).to_string();
        let read = Description::parse(document.as_bytes(), ISSUER);
        assert_eq!(read.map(|one| one.secret_in_body), expect, "{change}");
    };
    check(json!({}), Ok(false));
    check(json!({"issuer": "https://other.example"}), Err(OidcError::Issuer));
    check(json!({"token_endpoint": null}), Err(OidcError::Malformed("description")));
    let methods = "token_endpoint_auth_methods_supported";
    check(json!({methods: ["client_secret_post"]}), Ok(true));
    let wanted = "client_secret_basic or client_secret_post";
    check(json!({methods: ["private_key_jwt"]}), Err(OidcError::Unsupported(wanted)));
    let plain = json!({"code_challenge_methods_supported": ["plain"]});
    check(plain, Err(OidcError::Unsupported("PKCE with S256")));
    let other = json!({"response_types_supported": ["id_token"]});
    check(other, Err(OidcError::Unsupported("the authorisation code flow")));
    assert_eq!(
        description_address("https://id.example/realm/"),
        "https://id.example/realm/.well-known/openid-configuration"
    );
    // RFC 7636, appendix B.
    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    assert_eq!(code_challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
}
