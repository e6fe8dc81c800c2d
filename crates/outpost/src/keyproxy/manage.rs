//! What the people who run the proxy do with its keys and credentials: each act changes the file
//! whole, and a proxy that runs has it with the next request. A destroyed key's id is never given
//! to another.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use veritwin_domain::{Clock, Rng, Secret, TenantId, find_unseen};
use veritwin_keys::RootProvider;
use veritwin_keys::pkcs11::{Pkcs11Answer, Pkcs11Error};

use super::state::{ProxyCredential, ProxyKey, ProxyKeyState, State};
use super::vault::spelt;
use super::{KeyProxyConfig, KeyProxyError, files};

/// Most keys of a proxy, destroyed ones included.
pub const KEYPROXY_KEYS_MAX: usize = 1_000;
/// Most credentials at once: two for each caller, so that they can be exchanged.
pub const KEYPROXY_CREDENTIALS_MAX: usize = 16;
const KEY_BYTES_MAX: usize = 128;
const NAME_BYTES_MAX: usize = 128;
const ACCESS_KEY_CHARS: usize = 24;
const ACCESS_KEY_ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Longest wait for a token on the command line.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);

/// A key to make.
#[derive(Debug, Clone, Default)]
pub struct NewKey {
    /// Its id; none: a random one.
    pub id: Option<String>,
    /// For which tenants it may be used; empty: for every one.
    pub tenants: Vec<TenantId>,
    /// The label of a key that is in the token already; none: a new one is made there.
    pub label: Option<String>,
}

/// A credential that was made; its secret is shown once.
#[derive(Debug)]
pub struct NewCredential {
    /// The access key id.
    pub access_key: String,
    /// The secret access key.
    pub secret: Secret<String>,
}

fn refuse<T>(detail: impl Into<String>) -> Result<T, KeyProxyError> {
    Err(KeyProxyError::Configuration(detail.into()))
}

fn read(config: &KeyProxyConfig, root: &dyn RootProvider) -> Result<State, KeyProxyError> {
    State::read(&config.directory, root)?.map_or_else(
        || {
            let directory = config.directory.display();
            refuse(format!(
                "there is no key proxy in {directory}: make it with veritwin keyproxy init"
            ))
        },
        Ok,
    )
}

/// Changes the file, alone.
fn change<T>(
    config: &KeyProxyConfig,
    rng: &Arc<dyn Rng>,
    act: impl FnOnce(&mut State, &dyn RootProvider) -> Result<T, KeyProxyError>,
) -> Result<T, KeyProxyError> {
    config.check()?;
    let root = config.root(rng, false)?;
    let _lock = files::lock(&config.directory)?;
    let mut state = read(config, root.as_ref())?;
    let done = act(&mut state, root.as_ref())?;
    state.write(&config.directory, root.as_ref())?;
    Ok(done)
}

/// Waits for a token, on a thread that may wait.
pub(super) fn wait<T: Send + 'static>(
    ask: impl FnOnce(Pkcs11Answer<T>),
) -> Result<T, KeyProxyError> {
    let (tell, told) = channel();
    // Whoever asked may be gone: then nobody needs the answer.
    ask(Box::new(move |outcome| drop(tell.send(outcome))));
    let silent = || Pkcs11Error::Unavailable("no answer in time".to_owned());
    Ok(told.recv_timeout(TOKEN_TIMEOUT).map_err(|_| silent())??)
}

fn find<'a>(state: &'a mut State, id: &str) -> Result<&'a mut ProxyKey, KeyProxyError> {
    match state.keys.iter_mut().find(|key| key.id == id) {
        Some(key) => Ok(key),
        None => refuse(format!("there is no key {id}")),
    }
}

/// The keys of a proxy, destroyed ones included.
pub fn keys(config: &KeyProxyConfig, rng: &Arc<dyn Rng>) -> Result<Vec<ProxyKey>, KeyProxyError> {
    let root = config.root(rng, false)?;
    Ok(read(config, root.as_ref())?.keys)
}

/// The credentials of a proxy.
pub fn credentials(
    config: &KeyProxyConfig,
    rng: &Arc<dyn Rng>,
) -> Result<Vec<ProxyCredential>, KeyProxyError> {
    let root = config.root(rng, false)?;
    Ok(read(config, root.as_ref())?.credentials)
}

/// Makes a key, in the token where the proxy has one.
pub fn add_key(
    config: &KeyProxyConfig,
    new: NewKey,
    clock: &dyn Clock,
    rng: &Arc<dyn Rng>,
) -> Result<ProxyKey, KeyProxyError> {
    let NewKey { id, tenants, label } = new;
    let id = id.unwrap_or_else(|| {
        let mut bytes = [0u8; 16];
        rng.fill(&mut bytes);
        hex::encode(bytes)
    });
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if id.is_empty() || id.len() > KEY_BYTES_MAX || !id.bytes().all(plain) {
        return refuse("a key's id has 1 to 128 letters, digits, `-`, `.` and `_`");
    }
    if label.is_some() && config.token.is_none() {
        return refuse("a label is of a key in a token, and this proxy has none");
    }
    change(config, rng, |state, root| {
        if state.keys.iter().any(|key| key.id == id) {
            return refuse(format!("there is or was a key {id}: an id is given once"));
        }
        if state.keys.len() >= KEYPROXY_KEYS_MAX {
            return refuse(format!("a key proxy has at most {KEYPROXY_KEYS_MAX} keys"));
        }
        let label = match (config.open_token(rng)?, label) {
            (None, _) => None,
            (Some(token), Some(label)) => {
                let facts = wait(|answer| token.describe(label.clone(), answer))?;
                if facts.bits != 256 || !facts.is_usable {
                    return refuse(
                        "the key of this label is no AES key of 256 bits that may \
                                   encrypt and decrypt",
                    );
                }
                Some(label)
            }
            (Some(token), None) => {
                wait(|answer| token.make(id.clone(), answer))?;
                Some(id.clone())
            }
        };
        let at_us = clock.now().as_micros();
        state.add_key((id.as_str(), label, tenants), at_us, root, rng.as_ref())
    })
}

/// Lets a key be used, or not.
pub fn set_key_enabled(
    config: &KeyProxyConfig,
    id: &str,
    enabled: bool,
    clock: &dyn Clock,
    rng: &Arc<dyn Rng>,
) -> Result<(), KeyProxyError> {
    change(config, rng, |state, _| {
        let key = find(state, id)?;
        if key.state == ProxyKeyState::Destroyed {
            return refuse(format!("key {id} was destroyed, for ever"));
        }
        let wanted = if enabled { ProxyKeyState::Enabled } else { ProxyKeyState::Disabled };
        if key.state != wanted {
            key.state = wanted;
            key.changed_at_us = clock.now().as_micros();
        }
        Ok(())
    })
}

/// Destroys a key, for ever: what is wrapped under it never opens again. Doing it again finishes
/// what a crash or a silent token left.
pub fn destroy_key(
    config: &KeyProxyConfig,
    id: &str,
    clock: &dyn Clock,
    rng: &Arc<dyn Rng>,
) -> Result<(), KeyProxyError> {
    // First nobody can use it any more, then it goes out of the token.
    let label = change(config, rng, |state, _| {
        let key = find(state, id)?;
        if key.state != ProxyKeyState::Destroyed {
            key.destroy(clock.now().as_micros());
        }
        Ok(key.label.clone())
    })?;
    let (Some(label), Some(token)) = (label, config.open_token(rng)?) else { return Ok(()) };
    match wait(|answer| token.destroy(label, answer)) {
        Ok(()) | Err(KeyProxyError::Token(Pkcs11Error::NoKey)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Lets a caller in, with a credential of its own.
pub fn add_credential(
    config: &KeyProxyConfig,
    name: &str,
    clock: &dyn Clock,
    rng: &Arc<dyn Rng>,
) -> Result<NewCredential, KeyProxyError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || find_unseen(name).is_some() {
        return refuse("a credential's name has 1 to 128 bytes of text");
    }
    let mut bytes = [0u8; ACCESS_KEY_CHARS];
    rng.fill(&mut bytes);
    let letter = |byte: &u8| char::from(ACCESS_KEY_ALPHABET[usize::from(byte & 31)]);
    let access_key: String = bytes.iter().map(letter).collect();
    change(config, rng, |state, root| {
        if state.credentials.len() >= KEYPROXY_CREDENTIALS_MAX {
            let most = KEYPROXY_CREDENTIALS_MAX;
            return refuse(format!("a key proxy has at most {most} credentials: remove one first"));
        }
        let at_us = clock.now().as_micros();
        let named = (access_key.clone(), name);
        let secret = spelt(&state.add_credential(named, at_us, root, rng.as_ref())?);
        Ok(NewCredential { access_key, secret })
    })
}

/// Lets a caller in no more.
pub fn remove_credential(
    config: &KeyProxyConfig,
    access_key: &str,
    rng: &Arc<dyn Rng>,
) -> Result<(), KeyProxyError> {
    change(config, rng, |state, _| {
        let before = state.credentials.len();
        state.credentials.retain(|one| one.access_key != access_key);
        if state.credentials.len() == before {
            return refuse(format!("there is no credential {access_key}"));
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use veritwin_domain::{AddressList, ManualClock, Timestamp};
    use veritwin_keys::SystemRng;

    use super::super::{ProxyCertificate, ProxyRoot, init};
    use super::*;

    fn config(place: &std::path::Path) -> KeyProxyConfig {
        KeyProxyConfig {
            directory: place.join("proxy"),
            root: ProxyRoot::KeyFile(place.join("root.key")),
            listen: "127.0.0.1:0".parse().expect("an address"),
            certificate: ProxyCertificate::Own(vec!["localhost".to_owned()]),
            clients: None,
            path_prefix: String::new(),
            networks: AddressList::default(),
            metrics_networks: AddressList::default(),
            purposes: Vec::new(),
            requests_per_second: 100,
            token: None,
        }
    }

    #[test]
    fn a_key_lives_and_is_destroyed_once() {
        let place = tempfile::tempdir().expect("folder");
        let config = config(place.path());
        let clock = ManualClock::new(Timestamp::from_micros(5));
        let rng: Arc<dyn Rng> = Arc::new(SystemRng);
        assert!(keys(&config, &rng).is_err(), "it is not made yet");
        init(&config, &rng).expect("made");
        let id = |id: &str| NewKey { id: Some(id.to_owned()), ..NewKey::default() };
        add_key(&config, id("k"), &clock, &rng).expect("added");
        assert!(add_key(&config, id("k"), &clock, &rng).is_err());
        let labelled = NewKey { label: Some("l".to_owned()), ..id("l") };
        assert!(add_key(&config, labelled, &clock, &rng).is_err(), "there is no token");
        for bad in ["", "a b", "a/b", &"x".repeat(129)] {
            assert!(add_key(&config, id(bad), &clock, &rng).is_err(), "{bad}");
        }
        let state = || keys(&config, &rng).expect("keys")[0].state;
        set_key_enabled(&config, "k", false, &clock, &rng).expect("disabled");
        assert_eq!(state(), ProxyKeyState::Disabled);
        set_key_enabled(&config, "k", true, &clock, &rng).expect("enabled");
        init(&config, &rng).expect("stays");
        assert_eq!(state(), ProxyKeyState::Enabled);
        destroy_key(&config, "k", &clock, &rng).expect("destroyed");
        destroy_key(&config, "k", &clock, &rng).expect("again");
        assert_eq!(state(), ProxyKeyState::Destroyed);
        assert!(set_key_enabled(&config, "k", true, &clock, &rng).is_err());
        assert!(add_key(&config, id("k"), &clock, &rng).is_err(), "an id is given once");
        assert!(destroy_key(&config, "other", &clock, &rng).is_err());
    }

    #[test]
    fn credentials_have_the_form_of_the_protocol() {
        let place = tempfile::tempdir().expect("folder");
        let config = config(place.path());
        let clock = ManualClock::new(Timestamp::from_micros(5));
        let rng: Arc<dyn Rng> = Arc::new(SystemRng);
        init(&config, &rng).expect("made");
        let made = add_credential(&config, "the platform", &clock, &rng).expect("made");
        let allowed = |byte: u8| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte);
        assert!(made.access_key.len() == 24 && made.access_key.bytes().all(allowed));
        assert_eq!(made.secret.expose().len(), 43);
        assert_eq!(credentials(&config, &rng).expect("there").len(), 1);
        remove_credential(&config, &made.access_key, &rng).expect("removed");
        assert!(remove_credential(&config, &made.access_key, &rng).is_err());
        assert!(add_credential(&config, "a\nb", &clock, &rng).is_err());
    }
}
