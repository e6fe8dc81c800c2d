//! The keys as the running proxy has them: read again when the file is another one, opened once,
//! wiped when they are dropped. What cannot be read any more lets nobody in.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use veritwin_domain::{Rng, Secret, TenantId};
use veritwin_keys::pkcs11::{Pkcs11Answer, Pkcs11Error, Pkcs11Token};
use veritwin_keys::{GcmKey, GcmSealed, KeyError, RootProvider, SecretKey};
use zeroize::Zeroizing;

use super::KeyProxyError;
use super::state::{ProxyKeyState, State, path};
use super::wire::Refusal;

/// Longest time that a token has for one answer: less than the caller waits.
const TOKEN_TIMEOUT: Duration = Duration::from_millis(220);
const PROBE: &[u8] = b"veritwin probe";

/// Which state of the file was read: a file that is written anew is another one.
type Seen = Option<(SystemTime, u64)>;

fn seen(path: &Path) -> Seen {
    let facts = std::fs::metadata(path).ok()?;
    Some((facts.modified().ok()?, facts.ino()))
}

/// One key, opened.
pub(super) struct OpenKey {
    pub(super) state: ProxyKeyState,
    pub(super) serial: u32,
    pub(super) tenants: Vec<TenantId>,
    place: Place,
}

enum Place {
    Here(GcmKey),
    Token(String),
    Nowhere,
}

/// Everything that was read.
#[derive(Default)]
pub(super) struct Known {
    pub(super) keys: BTreeMap<String, OpenKey>,
    pub(super) credentials: BTreeMap<String, Secret<String>>,
}

/// The keys.
pub(super) struct Vault {
    directory: PathBuf,
    root: Box<dyn RootProvider>,
    rng: Arc<dyn Rng>,
    token: Option<Pkcs11Token>,
    known: Mutex<(Seen, Arc<Known>)>,
}

/// The secret access key as it is written: Base64 of 32 bytes, 43 characters.
pub(super) fn spelt(secret: &SecretKey) -> Secret<String> {
    Secret::new(STANDARD_NO_PAD.encode(secret.expose()))
}

fn load(directory: &Path, root: &dyn RootProvider) -> Result<Known, KeyProxyError> {
    let state = State::read(directory, root)?.ok_or_else(|| {
        let directory = directory.display();
        KeyProxyError::Configuration(format!(
            "there is no key proxy in {directory}: make it with veritwin keyproxy init"
        ))
    })?;
    let mut known = Known::default();
    for key in &state.keys {
        let place = match (key.secret(root)?, &key.label) {
            (Some(secret), _) => Place::Here(GcmKey::new(&secret)),
            (None, Some(label)) if key.state != ProxyKeyState::Destroyed => {
                Place::Token(label.clone())
            }
            (None, _) => Place::Nowhere,
        };
        let (state, serial, tenants) = (key.state, key.serial, key.tenants.clone());
        known.keys.insert(key.id.clone(), OpenKey { state, serial, tenants, place });
    }
    for credential in &state.credentials {
        let secret = spelt(&credential.secret(root)?);
        known.credentials.insert(credential.access_key.clone(), secret);
    }
    Ok(known)
}

fn refused(error: Pkcs11Error) -> Refusal {
    tracing::warn!(%error, "the token did not do what was asked");
    match error {
        Pkcs11Error::Unavailable(_) => Refusal::DependencyTimeout,
        // A key counts as destroyed when somebody said so to the proxy: a token that was exchanged
        // by mistake destroys nothing.
        Pkcs11Error::Denied(_) | Pkcs11Error::Invalid(_) | Pkcs11Error::NoKey => Refusal::Internal,
        Pkcs11Error::NotAuthentic => Refusal::InvalidCiphertext,
    }
}

async fn answer<T: Send + 'static>(ask: impl FnOnce(Pkcs11Answer<T>)) -> Result<T, Refusal> {
    let (tell, told) = oneshot::channel();
    // Whoever asked may be gone: then nobody needs the answer.
    ask(Box::new(move |outcome| drop(tell.send(outcome))));
    match tokio::time::timeout(TOKEN_TIMEOUT, told).await {
        Ok(Ok(outcome)) => outcome.map_err(refused),
        Ok(Err(_)) | Err(_) => Err(Refusal::DependencyTimeout),
    }
}

impl Vault {
    pub(super) fn open(
        directory: &Path,
        root: Box<dyn RootProvider>,
        token: Option<Pkcs11Token>,
        rng: Arc<dyn Rng>,
    ) -> Result<Self, KeyProxyError> {
        let seen = seen(&path(directory));
        let known = Mutex::new((seen, Arc::new(load(directory, root.as_ref())?)));
        Ok(Self { directory: directory.to_path_buf(), root, rng, token, known })
    }

    /// The keys as the file has them now. Where it cannot be read nothing is known.
    pub(super) fn known(&self) -> Arc<Known> {
        let mut known = self.known.lock();
        let now = seen(&path(&self.directory));
        if known.0 != now || now.is_none() {
            let loaded = load(&self.directory, self.root.as_ref());
            let loaded = loaded.unwrap_or_else(|error| {
                tracing::error!(%error, "the keys cannot be read again: nobody is let in");
                Known::default()
            });
            *known = (now, Arc::new(loaded));
        }
        Arc::clone(&known.1)
    }

    /// Seals under a key.
    pub(super) async fn seal(
        &self,
        key: &OpenKey,
        bound: Vec<u8>,
        plaintext: Zeroizing<Vec<u8>>,
    ) -> Result<GcmSealed, Refusal> {
        match (&key.place, &self.token) {
            (Place::Here(here), _) => {
                let sealed = here.seal(self.rng.as_ref(), &bound, &plaintext);
                sealed.map_err(|_| Refusal::Internal)
            }
            (Place::Token(label), Some(token)) => {
                answer(|answer| token.seal(label.clone(), bound, plaintext, answer)).await
            }
            (Place::Token(_), None) => Err(Refusal::Internal),
            (Place::Nowhere, _) => Err(Refusal::KeyNotFound),
        }
    }

    /// Opens under a key.
    pub(super) async fn unseal(
        &self,
        key: &OpenKey,
        bound: Vec<u8>,
        sealed: GcmSealed,
    ) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        match (&key.place, &self.token) {
            (Place::Here(here), _) => {
                let opened = here.open(&sealed.nonce, &bound, &sealed.ciphertext, &sealed.tag);
                opened.map_err(|error| match error {
                    KeyError::NotAuthentic => Refusal::InvalidCiphertext,
                    _ => Refusal::Internal,
                })
            }
            (Place::Token(label), Some(token)) => {
                answer(|answer| token.open(label.clone(), bound, sealed, answer)).await
            }
            (Place::Token(_), None) => Err(Refusal::Internal),
            (Place::Nowhere, _) => Err(Refusal::KeyNotFound),
        }
    }

    /// Whether keys can be used: the token lets us in, or a key made for this seals and opens.
    pub(super) async fn is_well(&self) -> bool {
        if let Some(token) = &self.token {
            return answer(|answer| token.check(answer)).await.is_ok();
        }
        let key = GcmKey::new(&SecretKey::generate(self.rng.as_ref()));
        let sealed = key.seal(self.rng.as_ref(), b"", PROBE);
        let opened = sealed.and_then(|one| key.open(&one.nonce, b"", &one.ciphertext, &one.tag));
        opened.is_ok_and(|opened| opened.as_slice() == PROBE)
    }
}
