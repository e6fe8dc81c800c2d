//! Clients of key services. Vault, OpenBao and AWS itself cannot be installed for a test: servers
//! on loopback stand in for them, whose answers are those of their public API documents, and which
//! check what they are asked. KMS is asked in `moto` too. The proxy's client is tested against the
//! real key proxy in `outpost`; here it meets answers that no proxy should give.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;
use veritwin_domain::{Purpose, RequestId, Secret, TenantId, Timestamp};
use veritwin_keys::{
    KeyCall, KeyProtection, ProviderConnector, ProviderError, ProviderKind, ProviderSettings,
    SigV4Claim, SigV4Request,
};
use veritwin_outbound::register::Destination;

use crate::stand_in::{Asked, NOW, StandIn, services, stand_in};

pub(crate) const KEK: &[u8] = &[7; 32];
const SECRET: &str = "FYtE5EFA5FT0mCc3DrGUe2sti527BitkQ0Zr9MO9fvE";

pub(crate) fn call() -> KeyCall {
    KeyCall {
        tenant: TenantId::from_bytes([1; 16]),
        purpose: Purpose::TwinBuilding,
        actor: "user:0188".to_owned(),
        request: RequestId::from_bytes([2; 16]),
        associated_data: b"kek 1".to_vec(),
    }
}

/// As transit would, without a cipher: what it gives back is what it was given.
fn transit(asked: &Asked, token: &str) -> (u16, String) {
    if asked.header("x-vault-token") != token {
        return (403, json!({"errors": ["permission denied"]}).to_string());
    }
    let bound = STANDARD.encode("kek 1");
    let data = match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/v1/team/transit/keys/k") => json!({
            "type": "aes256-gcm96", "supports_encryption": true, "supports_decryption": true,
            "latest_version": 1, "deletion_allowed": false,
        }),
        ("POST", "/v1/team/transit/encrypt/k") => {
            let plaintext = asked.body["plaintext"].as_str().expect("plaintext");
            assert_eq!(asked.body["associated_data"], bound);
            assert_eq!(asked.body["context"], bound);
            json!({"ciphertext": format!("vault:v1:{plaintext}"), "key_version": 1})
        }
        ("POST", "/v1/team/transit/decrypt/k") => {
            if asked.body["associated_data"] != bound {
                let said = "cipher: message authentication failed";
                return (400, json!({"errors": [said]}).to_string());
            }
            let ciphertext = asked.body["ciphertext"].as_str().expect("ciphertext");
            json!({"plaintext": ciphertext.strip_prefix("vault:v1:").expect("a version")})
        }
        _ => return (404, json!({"errors": ["no handler for route"]}).to_string()),
    };
    (200, json!({"request_id": "1", "data": data}).to_string())
}

#[tokio::test]
async fn transit_is_asked_as_its_documents_say() {
    let vault = stand_in(|asked| match asked.path.as_str() {
        path if path.starts_with("/v1/sys/health") => (200, "{}".to_owned()),
        _ => transit(asked, "hvs.token"),
    })
    .await;
    let place = Some("ns1/ns2:team/transit".to_owned());
    let settings = ProviderSettings { place, ..vault.settings(ProviderKind::Transit) };
    let key = vault.connect(&settings);
    let wrapped = key.wrap(&call(), KEK).await.expect("wrapped");
    assert!(wrapped.starts_with(b"vault:v1:"));
    // First whether the key is there: encrypting would make another one.
    let paths: Vec<_> = vault.asked.lock().iter().map(|asked| asked.path.clone()).collect();
    assert_eq!(paths, ["/v1/team/transit/keys/k", "/v1/team/transit/encrypt/k"]);
    assert_eq!(&**key.unwrap(&call(), &wrapped).await.expect("unwrapped"), KEK);
    let asked = vault.last();
    assert_eq!(asked.header("x-vault-namespace"), "ns1/ns2");
    assert_eq!(asked.header("x-veritwin-purpose"), "twin_building");
    assert_eq!(asked.header("x-veritwin-actor"), "user:0188");
    assert!(asked.header("user-agent").contains("actor/user:0188"));
    let other = KeyCall { associated_data: b"kek 2".to_vec(), ..call() };
    assert!(matches!(key.unwrap(&other, &wrapped).await, Err(ProviderError::Invalid(_))));
    let facts = key.metadata(&call()).await.expect("metadata");
    assert_eq!((facts.enabled, facts.protection), (true, KeyProtection::Software));
    key.health(&call()).await.expect("well");
    // A token that is taken back.
    let secret = Some(Secret::new("hvs.other".to_owned()));
    let denied = vault.connect(&ProviderSettings { credential: secret, ..settings });
    assert_eq!(denied.unwrap(&call(), &wrapped).await, Err(ProviderError::Denied));
}

#[tokio::test]
async fn a_role_logs_in_again_when_its_token_is_taken_back() {
    let current = Arc::new(Mutex::new(1));
    let valid = Arc::clone(&current);
    let vault = stand_in(move |asked| {
        let token = format!("hvs.{}", *valid.lock());
        if asked.path == "/v1/auth/approle/login" {
            if asked.body["role_id"] != "role" || asked.body["secret_id"] != "secret" {
                return (400, json!({"errors": ["invalid role or secret ID"]}).to_string());
            }
            let auth = json!({"client_token": token, "lease_duration": 3600, "renewable": true});
            return (200, json!({"auth": auth}).to_string());
        }
        transit(asked, &token)
    })
    .await;
    let settings = ProviderSettings {
        place: Some("team/transit".to_owned()),
        user: Some("role".to_owned()),
        credential: Some(Secret::new("secret".to_owned())),
        ..vault.settings(ProviderKind::Transit)
    };
    let key = vault.connect(&settings);
    key.metadata(&call()).await.expect("in");
    key.metadata(&call()).await.expect("still in");
    assert_eq!(vault.asked.lock().len(), 3, "one login is enough");
    *current.lock() = 2;
    key.metadata(&call()).await.expect("in again");
    assert_eq!(vault.asked.lock().len(), 6);
    let secret = Some(Secret::new("wrong".to_owned()));
    let denied = vault.connect(&ProviderSettings { credential: secret, ..settings });
    assert_eq!(denied.metadata(&call()).await, Err(ProviderError::Denied));
}

#[tokio::test]
async fn a_transit_key_that_is_gone_is_not_made_anew() {
    let vault = stand_in(|asked| match asked.method.as_str() {
        "GET" => (404, json!({"errors": []}).to_string()),
        _ => (400, json!({"errors": ["encryption key not found"]}).to_string()),
    })
    .await;
    let key = vault.connect(&vault.settings(ProviderKind::Transit));
    assert_eq!(key.wrap(&call(), KEK).await, Err(ProviderError::Destroyed));
    assert_eq!(vault.asked.lock().len(), 1, "nothing was encrypted");
    assert_eq!(key.unwrap(&call(), b"vault:v1:AAAA").await, Err(ProviderError::Destroyed));
    assert!(matches!(key.unwrap(&call(), b"AAAA").await, Err(ProviderError::Invalid(_))));
}

#[tokio::test]
async fn kms_is_asked_signed_and_with_its_context() {
    let kms = stand_in(|asked| {
        let signed = SigV4Claim::parse(asked.header("authorization")).expect("a signature");
        let headers: Vec<_> = signed
            .signed_headers
            .iter()
            .map(|name| (name.clone(), asked.header(name).to_owned()))
            .collect();
        let request =
            SigV4Request { method: "POST", path: "/", headers: &headers, body: &asked.raw };
        let now = Timestamp::parse_rfc3339(NOW).expect("a moment");
        assert!(signed.holds(&Secret::new(SECRET.to_owned()), "kms", now, &request));
        assert_eq!(signed.scope.region, "eu-central-1");
        let body = &asked.body;
        let context = json!({
            "veritwin:tenant": call().tenant.to_string(),
            "veritwin:bound": STANDARD.encode("kek 1"),
        });
        match asked.header("x-amz-target") {
            "TrentService.Encrypt" => {
                assert_eq!(body["EncryptionContext"], context);
                let blob = &body["Plaintext"];
                (200, json!({"CiphertextBlob": blob, "KeyId": "arn"}).to_string())
            }
            "TrentService.Decrypt" if body["EncryptionContext"] == context => {
                let plaintext = &body["CiphertextBlob"];
                (200, json!({"Plaintext": plaintext, "KeyId": "arn"}).to_string())
            }
            "TrentService.DescribeKey" => {
                let metadata = json!({
                    "KeyId": "1234", "Arn": "arn:aws:kms:eu-central-1:1:key/1234",
                    "Enabled": false, "KeyState": "PendingDeletion", "KeySpec":
                    "SYMMETRIC_DEFAULT", "KeyUsage": "ENCRYPT_DECRYPT", "Origin": "AWS_KMS",
                });
                (200, json!({"KeyMetadata": metadata}).to_string())
            }
            _ => (400, json!({"__type": "InvalidCiphertextException"}).to_string()),
        }
    })
    .await;
    let settings = ProviderSettings {
        key: "arn:aws:kms:eu-central-1:1:key/1234".to_owned(),
        place: Some("eu-central-1".to_owned()),
        user: Some("AKIAI2SFODNN7EXAMPLE".to_owned()),
        credential: Some(Secret::new(SECRET.to_owned())),
        ..kms.settings(ProviderKind::AwsKms)
    };
    let key = kms.connect(&settings);
    let wrapped = key.wrap(&call(), KEK).await.expect("wrapped");
    assert_eq!(&**key.unwrap(&call(), &wrapped).await.expect("unwrapped"), KEK);
    assert!(kms.last().header("user-agent").contains("purpose/twin_building"));
    let other = KeyCall { tenant: TenantId::from_bytes([9; 16]), ..call() };
    assert!(matches!(key.unwrap(&other, &wrapped).await, Err(ProviderError::Invalid(_))));
    let facts = key.metadata(&call()).await.expect("metadata");
    assert_eq!((facts.enabled, facts.protection), (false, KeyProtection::Hardware));
    key.health(&call()).await.expect("well");
}

#[tokio::test]
async fn kms_tells_apart_what_became_of_a_key() {
    for (status, name, expect) in [
        (400, "NotFoundException", Some(ProviderError::Destroyed)),
        (400, "DisabledException", Some(ProviderError::Denied)),
        (400, "AccessDeniedException", Some(ProviderError::Denied)),
        (400, "ThrottlingException", None),
        (500, "KMSInternalException", None),
    ] {
        let kms = stand_in(move |_| (status, json!({"__type": name}).to_string())).await;
        let settings = ProviderSettings {
            place: Some("eu-1".to_owned()),
            user: Some("AKIAI2SFODNN7EXAMPLE".to_owned()),
            credential: Some(Secret::new(SECRET.to_owned())),
            ..kms.settings(ProviderKind::AwsKms)
        };
        let said = kms.connect(&settings).unwrap(&call(), b"blob").await.expect_err(name);
        match expect {
            Some(expect) => assert_eq!(said, expect, "{name}"),
            None => assert!(matches!(said, ProviderError::Unavailable(_)), "{name}"),
        }
    }
}

fn xks(of: &StandIn) -> ProviderSettings {
    ProviderSettings {
        user: Some("A".repeat(24)),
        credential: Some(Secret::new(SECRET.to_owned())),
        ..of.settings(ProviderKind::Xks)
    }
}

#[tokio::test]
async fn garbage_is_no_key_and_destroys_nothing() {
    let part = |bytes: &[u8]| STANDARD.encode(bytes);
    let encrypted = |tag: &[u8], hash: &[u8]| {
        json!({
            "ciphertext": part(&[1; 32]), "initializationVector": part(&[2; 12]),
            "authenticationTag": part(tag), "ciphertextDataIntegrityValue": part(hash),
        })
        .to_string()
    };
    for (status, body) in [
        (200, String::new()),
        (200, "<html>hello</html>".to_owned()),
        (200, "{}".to_owned()),
        (200, json!({"ciphertext": 7}).to_string()),
        // A tag that is too short, and an integrity value of something else.
        (200, encrypted(&[3; 15], &[4; 32])),
        (200, encrypted(&[3; 16], &[4; 32])),
        (404, "<html>not found</html>".to_owned()),
        (404, json!({"errorName": "Nothing"}).to_string()),
        (302, String::new()),
        (200, "x".repeat(100_000)),
    ] {
        let shown: String = body.chars().take(40).collect();
        let proxy = stand_in(move |_| (status, body.clone())).await;
        let key = proxy.connect(&xks(&proxy));
        let said = key.wrap(&call(), KEK).await.expect_err("refused");
        assert!(matches!(said, ProviderError::Invalid(_)), "{status} {shown}: {said}");
        assert!(!said.to_string().contains("hello"), "{said}");
    }
}

#[tokio::test]
async fn whoever_is_silent_is_unavailable_in_time() {
    // It takes connections and says nothing on any.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let authority_pem = String::new();
    let silent = StandIn { port, authority_pem, asked: Arc::default() };
    let settings = ProviderSettings { trust: None, ..xks(&silent) };
    let (services, register) = services(port, Vec::new());
    let key = services.with_timeout(Duration::from_millis(50)).connect(&settings);
    let key = key.expect("settings");
    for _ in 0..2 {
        let said = key.unwrap(&call(), &[1; 100]).await.expect_err("no key");
        // What is kept is none of a proxy's: nothing is asked.
        assert!(matches!(said, ProviderError::Invalid(_)), "{said}");
        let said = key.wrap(&call(), KEK).await.expect_err("silent");
        assert!(matches!(said, ProviderError::Unavailable(_)), "{said}");
    }
    // The place is in the register for as long as the client is there.
    let place = Destination::new("localhost", port);
    assert!(register.check(&place).is_ok());
    drop(key);
    assert!(register.check(&place).is_err());
}

#[tokio::test]
async fn settings_that_cannot_be_right_are_refused_by_field() {
    let somewhere = stand_in(|_| (500, String::new())).await;
    let good = xks(&somewhere);
    let (services, register) = services(somewhere.port, vec![PathBuf::from("/lib/a.so")]);
    assert!(services.connect(&good).is_ok());
    assert_eq!(services.kinds(), &ProviderKind::ALL);
    let with = |kind: ProviderKind| ProviderSettings { kind, ..good.clone() };
    let at = |address: &str| ProviderSettings { address: address.to_owned(), ..good.clone() };
    for (settings, field) in [
        (at("http://localhost/"), "address"),
        (at("https://localhost:1/"), "address"),
        (at("https://10.0.0.1/"), "address"),
        (at(&format!("https://localhost:{}/a?b=c", somewhere.port)), "address"),
        (ProviderSettings { key: "a/b".to_owned(), ..good.clone() }, "key"),
        (ProviderSettings { user: None, ..good.clone() }, "user"),
        (ProviderSettings { user: Some("short".to_owned()), ..good.clone() }, "user"),
        (ProviderSettings { credential: None, ..good.clone() }, "credential"),
        (ProviderSettings { trust: Some("no PEM".to_owned()), ..good.clone() }, "trust"),
        (with(ProviderKind::AwsKms), "place"),
        (
            ProviderSettings { place: Some("../sys".to_owned()), ..with(ProviderKind::Transit) },
            "place",
        ),
        (with(ProviderKind::Pkcs11), "user"),
        (
            ProviderSettings {
                user: None,
                trust: None,
                address: "/lib/b.so".to_owned(),
                ..with(ProviderKind::Pkcs11)
            },
            "address",
        ),
    ] {
        let error = services.connect(&settings).expect_err(field);
        assert!(matches!(error, ProviderError::Invalid(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains(field) && !text.contains(SECRET), "{field}: {text}");
    }
    drop(services);
    assert!(register.rows().is_empty(), "what was refused is not called");
}
