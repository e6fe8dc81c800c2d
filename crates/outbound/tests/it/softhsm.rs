//! The client of PKCS#11 modules with SoftHSM's own module and a token of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use veritwin_domain::Secret;
use veritwin_keys::pkcs11::{Pkcs11Place, Pkcs11Token};
use veritwin_keys::{
    KeyCall, KeyProtection, ProviderConnector, ProviderError, ProviderKind, ProviderSettings,
    SystemRng,
};

use crate::key_services::{KEK, call};
use crate::skipped::skipped;
use crate::stand_in::services;

fn softhsm() -> Option<PathBuf> {
    let folders = ["/usr/lib/softhsm", "/usr/lib/x86_64-linux-gnu/softhsm"];
    let mut found = folders.iter().map(|folder| Path::new(folder).join("libsofthsm2.so"));
    found.find(|module| module.exists())
}

/// SoftHSM takes its configuration from the environment of the process that loads it, so that the
/// test runs itself once more with one.
#[tokio::test]
async fn keys_in_a_token_are_softhsms() {
    const NAME: &str = "softhsm::keys_in_a_token_are_softhsms";
    const CONFIGURED: &str = "SOFTHSM2_CONF";
    let Some(module) = softhsm() else {
        skipped("SoftHSM is not installed (cargo xtask test does)");
        return;
    };
    if std::env::var_os("VERITWIN_TEST_TOKEN").is_some() {
        return in_the_token(&module).await;
    }
    let folder = std::env::temp_dir().join(format!("veritwin-softhsm-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("tokens")).expect("folder");
    let config = folder.join("softhsm2.conf");
    let text = format!("directories.tokendir = {}\n", folder.join("tokens").display());
    std::fs::write(&config, text).expect("configuration");
    let init = ["--init-token", "--free", "--label", "veritwin", "--so-pin", "9876", "--pin"];
    let made = Command::new("softhsm2-util")
        .env(CONFIGURED, &config)
        .args(init)
        .arg("4321")
        .output()
        .expect("softhsm2-util");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let inside = Command::new(std::env::current_exe().expect("this program"))
        .env(CONFIGURED, &config)
        .env("VERITWIN_TEST_TOKEN", "1")
        .args(["--exact", NAME, "--nocapture"])
        .output()
        .expect("this program");
    let (said, errors) =
        (String::from_utf8_lossy(&inside.stdout), String::from_utf8_lossy(&inside.stderr));
    assert!(inside.status.success() && said.contains("1 passed"), "{said}\n{errors}");
    std::fs::remove_dir_all(&folder).expect("removed");
}

async fn in_the_token(module: &Path) {
    let pin = || Secret::new("4321".to_owned());
    let place = |token: &str| Pkcs11Place {
        module: module.to_path_buf(),
        token: token.to_owned(),
        pin: pin(),
    };
    let token = Pkcs11Token::new(place("veritwin"), Arc::new(SystemRng)).expect("token");
    let (tell, told) = std::sync::mpsc::channel();
    token.make("k".to_owned(), Box::new(move |made| tell.send(made).expect("told")));
    told.recv().expect("an answer").expect("made");

    let settings = ProviderSettings {
        kind: ProviderKind::Pkcs11,
        address: module.display().to_string(),
        key: "k".to_owned(),
        place: Some("veritwin".to_owned()),
        user: None,
        credential: Some(pin()),
        trust: None,
    };
    let (services, _) = services(443, vec![module.to_path_buf()]);
    let connect = |settings: &ProviderSettings| services.connect(settings).expect("settings");
    let key = connect(&settings);
    let wrapped = key.wrap(&call(), KEK).await.expect("wrapped");
    assert_eq!(&**key.unwrap(&call(), &wrapped).await.expect("unwrapped"), KEK);
    let facts = key.metadata(&call()).await.expect("metadata");
    assert_eq!((facts.enabled, facts.protection), (true, KeyProtection::Software));
    key.health(&call()).await.expect("well");
    let other = KeyCall { associated_data: b"kek 2".to_vec(), ..call() };
    assert!(matches!(key.unwrap(&other, &wrapped).await, Err(ProviderError::Invalid(_))));
    // Somebody else's PIN does not come in on the login of the first.
    let wrong = Some(Secret::new("0000".to_owned()));
    let denied = connect(&ProviderSettings { credential: wrong, ..settings.clone() });
    assert_eq!(denied.unwrap(&call(), &wrapped).await, Err(ProviderError::Denied));
    let nowhere = Some("another".to_owned());
    let absent = connect(&ProviderSettings { place: nowhere, ..settings.clone() });
    assert!(matches!(absent.health(&call()).await, Err(ProviderError::Unavailable(_))));

    let (tell, told) = std::sync::mpsc::channel();
    token.destroy("k".to_owned(), Box::new(move |gone| tell.send(gone).expect("told")));
    told.recv().expect("an answer").expect("destroyed");
    assert_eq!(key.unwrap(&call(), &wrapped).await, Err(ProviderError::Destroyed));
    assert_eq!(key.metadata(&call()).await, Err(ProviderError::Destroyed));
}
