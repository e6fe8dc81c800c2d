//! The client of AWS KMS against moto, an implementation of AWS's interfaces that others wrote. It
//! has ciphers and encryption contexts of its own, and takes any signature: that is checked against
//! AWS's published example in `keys`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde_json::{Value, json};
use veritwin_domain::{AddressList, Secret, TenantId};
use veritwin_keys::{
    KeyCall, KeyProtection, ProviderConnector, ProviderError, ProviderKind, ProviderSettings,
};
use veritwin_outbound::guard::{Call, Guard, GuardPolicy, GuardedClient, Target};
use veritwin_outbound::register::{Destination, DestinationKind, EgressRegister};

use crate::key_services::{KEK, call};
use crate::skipped::skipped;
use crate::stand_in::services;

const REGION: &str = "eu-central-1";
const ACCESS_KEY: &str = "AKIAI2SFODNN7EXAMPLE";
const SECRET: &str = "FYtE5EFA5FT0mCc3DrGUe2sti527BitkQ0Zr9MO9fvE";
/// How often a server that starts is asked whether it is there, 50 ms apart.
const TRIES: usize = 1_200;

/// A server as a process of its own, with its certificate.
struct Moto {
    child: Child,
    folder: PathBuf,
    port: u16,
    certificate: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn interpreter() -> Option<PathBuf> {
    let target = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(target, PathBuf::from);
    let found = target.join("python/moto/bin/python3");
    found.exists().then_some(found)
}

impl Moto {
    async fn start(python: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let made = made.expect("certificate");
        let folder = std::env::temp_dir().join(format!("veritwin-moto-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("folder");
        let (chain, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        let certificate = made.cert.pem();
        std::fs::write(&chain, &certificate).expect("certificate");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("key");
        // A port that was free a moment ago.
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = free.local_addr().expect("address").port();
        drop(free);
        let child = Command::new(python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p"])
            .arg(port.to_string())
            .arg("-c")
            .arg(&chain)
            .arg("-k")
            .arg(&key)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto");
        let moto = Self { child, folder, port, certificate };
        for _ in 0..TRIES {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return moto;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("moto does not listen");
    }

    /// What an administrator of the account would do.
    async fn operate(&self, operation: &str, body: &Value) -> Value {
        let register = Arc::new(EgressRegister::default());
        let place = Destination::new("localhost", self.port);
        register.register(place, DestinationKind::Recipient, "a test");
        let allowed = AddressList::parse(&["127.0.0.0/8", "::1"]).expect("list");
        let guard = Guard::new(GuardPolicy { allowed, ports: vec![self.port] });
        let client = GuardedClient::new(guard, register, Some(&self.certificate)).expect("client");
        let address = format!("https://localhost:{}/", self.port);
        let target = Target::parse(&address).expect("target");
        let kind = HeaderValue::from_static("application/x-amz-json-1.1");
        let mut call = Call::post(&target, kind, Bytes::from(body.to_string()));
        call.timeout = Duration::from_secs(60);
        let scope = format!("{ACCESS_KEY}/20260301/{REGION}/kms/aws4_request");
        let signed = format!(
            "AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={}",
            "0".repeat(64)
        );
        for (name, text) in [
            (AUTHORIZATION, signed),
            (HeaderName::from_static("x-amz-target"), format!("TrentService.{operation}")),
        ] {
            call.headers.push((name, HeaderValue::try_from(text).expect("header")));
        }
        let reply = client.call(None, call).await.expect("an answer");
        assert_eq!(reply.status, 200, "{operation}");
        serde_json::from_slice(&reply.body).unwrap_or(Value::Null)
    }
}

#[tokio::test]
async fn kms_as_others_wrote_it() {
    let Some(python) = interpreter() else {
        skipped("the Python packages moto are not installed (cargo xtask test does)");
        return;
    };
    let moto = Moto::start(&python).await;
    let made = moto.operate("CreateKey", &json!({"KeyUsage": "ENCRYPT_DECRYPT"})).await;
    let id = made["KeyMetadata"]["KeyId"].as_str().expect("an id").to_owned();
    let (services, _) = services(moto.port, Vec::new());
    let settings = ProviderSettings {
        kind: ProviderKind::AwsKms,
        address: format!("https://localhost:{}", moto.port),
        key: id.clone(),
        place: Some(REGION.to_owned()),
        user: Some(ACCESS_KEY.to_owned()),
        credential: Some(Secret::new(SECRET.to_owned())),
        trust: Some(moto.certificate.clone()),
    };
    let key = services.connect(&settings).expect("settings");
    let wrapped = key.wrap(&call(), KEK).await.expect("wrapped");
    assert!(!wrapped.windows(KEK.len()).any(|part| part == KEK));
    assert_eq!(&**key.unwrap(&call(), &wrapped).await.expect("unwrapped"), KEK);
    let other = KeyCall { tenant: TenantId::from_bytes([9; 16]), ..call() };
    assert!(matches!(key.unwrap(&other, &wrapped).await, Err(ProviderError::Invalid(_))));
    let bound = KeyCall { associated_data: b"kek 2".to_vec(), ..call() };
    assert!(matches!(key.unwrap(&bound, &wrapped).await, Err(ProviderError::Invalid(_))));
    let facts = key.metadata(&call()).await.expect("metadata");
    assert_eq!((facts.enabled, facts.protection), (true, KeyProtection::Hardware));
    assert_eq!((facts.key, facts.spec.as_str()), (id.clone(), "SYMMETRIC_DEFAULT"));

    moto.operate("DisableKey", &json!({"KeyId": id})).await;
    assert!(!key.metadata(&call()).await.expect("metadata").enabled);
    let gone = "00000000-0000-4000-8000-000000000000".to_owned();
    let absent = services.connect(&ProviderSettings { key: gone, ..settings });
    let absent = absent.expect("settings");
    assert_eq!(absent.metadata(&call()).await, Err(ProviderError::Destroyed));
    assert_eq!(absent.wrap(&call(), KEK).await, Err(ProviderError::Destroyed));
}
