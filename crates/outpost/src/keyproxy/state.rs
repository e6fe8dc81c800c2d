//! What the key proxy keeps in `keys.json`: its keys and the credentials of who may ask, each
//! secret wrapped under the root key, the whole under a keyed hash. Someone who can write the file
//! and has not the root key cannot enable a key or let anybody in.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use veritwin_domain::{Rng, TenantId};
use veritwin_keys::{KekContext, RootProvider, SecretKey, constant_time_eq, hmac_sha256};

use super::{KeyProxyError, files};

pub(super) const STATE_FILE: &str = "keys.json";
const VERSION: u8 = 1;
/// The serial number of the key that the file is authenticated with.
const FIRST_SERIAL: u32 = 1;
const MAC_LABEL: &[u8] = b"veritwin keyproxy state v1\n";

/// What may be done with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyKeyState {
    /// Everything.
    Enabled,
    /// Nothing, until it is enabled.
    Disabled,
    /// Nothing, for ever.
    Destroyed,
}

impl ProxyKeyState {
    /// The name used in files and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Destroyed => "destroyed",
        }
    }
}

/// A key of the proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyKey {
    /// Its id, by which it is asked for.
    pub id: String,
    /// Bound to each ciphertext: another key of the same id opens nothing of this one.
    pub serial: u32,
    /// What may be done with it.
    pub state: ProxyKeyState,
    /// When it was made, in microseconds.
    pub made_at_us: i64,
    /// When its state changed last, in microseconds.
    pub changed_at_us: i64,
    /// For which tenants it may be used; empty: for every one that a credential asks for.
    pub tenants: Vec<TenantId>,
    /// The label in the token, where the key is in one.
    pub label: Option<String>,
    /// The key itself, wrapped, in hexadecimal; none in a token, none when it was destroyed.
    wrapped: Option<String>,
}

/// Who may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyCredential {
    /// The access key id.
    pub access_key: String,
    /// What it is for, in somebody's words.
    pub name: String,
    /// When it was made, in microseconds.
    pub made_at_us: i64,
    serial: u32,
    wrapped: String,
}

/// Everything in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    v: u8,
    last_serial: u32,
    mac_key: String,
    pub(super) keys: Vec<ProxyKey>,
    pub(super) credentials: Vec<ProxyCredential>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    state: String,
    mac: String,
}

fn context(serial: u32) -> KekContext {
    KekContext { tenant: None, version: serial }
}

fn damaged(path: &Path, detail: &str) -> KeyProxyError {
    KeyProxyError::Damaged(format!("{}: {detail}", path.display()))
}

fn unwrap(root: &dyn RootProvider, serial: u32, wrapped: &str) -> Result<SecretKey, KeyProxyError> {
    let bytes = hex::decode(wrapped)
        .map_err(|_| KeyProxyError::Damaged("a wrapped key is not hexadecimal".to_owned()))?;
    Ok(root.unwrap(&context(serial), &bytes)?)
}

pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join(STATE_FILE)
}

impl State {
    /// A state without keys.
    pub(super) fn new(root: &dyn RootProvider, rng: &dyn Rng) -> Result<Self, KeyProxyError> {
        let wrapped = root.wrap(&context(FIRST_SERIAL), &SecretKey::generate(rng))?;
        Ok(Self {
            v: VERSION,
            last_serial: FIRST_SERIAL,
            mac_key: hex::encode(wrapped),
            keys: Vec::new(),
            credentials: Vec::new(),
        })
    }

    /// Reads the file; none when it is not there. A file that was altered is refused.
    pub(super) fn read(
        directory: &Path,
        root: &dyn RootProvider,
    ) -> Result<Option<Self>, KeyProxyError> {
        let path = path(directory);
        let Some(bytes) = files::read(&path)? else { return Ok(None) };
        let sealed = serde_json::from_slice::<Sealed>(&bytes);
        let sealed = sealed.map_err(|_| damaged(&path, "it is not a key proxy's"))?;
        let state = serde_json::from_str::<Self>(&sealed.state);
        let state = state.map_err(|_| damaged(&path, "it is not of this version"))?;
        if state.v != VERSION {
            return Err(damaged(&path, "it is not of this version"));
        }
        let mac = hex::decode(&sealed.mac).unwrap_or_default();
        if !constant_time_eq(&state.mac(root, &sealed.state)?, &mac) {
            return Err(damaged(&path, "it was altered, or belongs to another root key"));
        }
        Ok(Some(state))
    }

    /// Writes the file.
    pub(super) fn write(
        &self,
        directory: &Path,
        root: &dyn RootProvider,
    ) -> Result<(), KeyProxyError> {
        let form = |error: serde_json::Error| KeyProxyError::Damaged(error.to_string());
        let state = serde_json::to_string(self).map_err(form)?;
        let mac = hex::encode(self.mac(root, &state)?);
        let bytes = serde_json::to_vec(&Sealed { state, mac }).map_err(form)?;
        files::write(&path(directory), &bytes)
    }

    fn mac(&self, root: &dyn RootProvider, state: &str) -> Result<[u8; 32], KeyProxyError> {
        let key = unwrap(root, FIRST_SERIAL, &self.mac_key)?;
        Ok(hmac_sha256(key.expose(), &[MAC_LABEL, state.as_bytes()].concat()))
    }

    fn next_serial(&mut self) -> Result<u32, KeyProxyError> {
        let next = self.last_serial.checked_add(1);
        self.last_serial =
            next.ok_or_else(|| KeyProxyError::Damaged("no serial number is left".to_owned()))?;
        Ok(self.last_serial)
    }

    /// Adds a key; with a label it is in the token and nothing of it is here.
    pub(super) fn add_key(
        &mut self,
        (id, label, tenants): (&str, Option<String>, Vec<TenantId>),
        at_us: i64,
        root: &dyn RootProvider,
        rng: &dyn Rng,
    ) -> Result<ProxyKey, KeyProxyError> {
        let serial = self.next_serial()?;
        let wrapped = match &label {
            Some(_) => None,
            None => Some(hex::encode(root.wrap(&context(serial), &SecretKey::generate(rng))?)),
        };
        let key = ProxyKey {
            id: id.to_owned(),
            serial,
            state: ProxyKeyState::Enabled,
            made_at_us: at_us,
            changed_at_us: at_us,
            tenants,
            label,
            wrapped,
        };
        self.keys.push(key.clone());
        Ok(key)
    }

    /// Adds a credential and answers its 32 secret bytes.
    pub(super) fn add_credential(
        &mut self,
        (access_key, name): (String, &str),
        at_us: i64,
        root: &dyn RootProvider,
        rng: &dyn Rng,
    ) -> Result<SecretKey, KeyProxyError> {
        let serial = self.next_serial()?;
        let secret = SecretKey::generate(rng);
        let wrapped = hex::encode(root.wrap(&context(serial), &secret)?);
        let name = name.to_owned();
        self.credentials.push(ProxyCredential {
            access_key,
            name,
            made_at_us: at_us,
            serial,
            wrapped,
        });
        Ok(secret)
    }
}

impl ProxyKey {
    /// The key itself; none where it is in a token or was destroyed.
    pub(super) fn secret(
        &self,
        root: &dyn RootProvider,
    ) -> Result<Option<SecretKey>, KeyProxyError> {
        let wrapped = self.wrapped.as_deref();
        wrapped.map(|wrapped| unwrap(root, self.serial, wrapped)).transpose()
    }

    /// Nothing of the key is left here after this.
    pub(super) fn destroy(&mut self, at_us: i64) {
        self.state = ProxyKeyState::Destroyed;
        self.changed_at_us = at_us;
        self.wrapped = None;
    }
}

impl ProxyCredential {
    pub(super) fn secret(&self, root: &dyn RootProvider) -> Result<SecretKey, KeyProxyError> {
        unwrap(root, self.serial, &self.wrapped)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use veritwin_keys::{PlatformFile, SystemRng};

    use super::*;

    #[test]
    fn what_was_altered_is_refused() {
        let place = tempfile::tempdir().expect("folder");
        let open = |name: &str| {
            let path = place.path().join(name);
            PlatformFile::open_or_create(&path, Arc::new(SystemRng)).expect("root")
        };
        let (root, other) = (open("one.key"), open("other.key"));
        assert!(State::read(place.path(), &root).expect("read").is_none());
        let mut state = State::new(&root, &SystemRng).expect("state");
        let key = state.add_key(("k", None, Vec::new()), 5, &root, &SystemRng).expect("key");
        let name = ("AKIA".to_owned(), "the platform");
        state.add_credential(name, 5, &root, &SystemRng).expect("credential");
        state.keys[0].state = ProxyKeyState::Disabled;
        state.write(place.path(), &root).expect("written");
        let read = State::read(place.path(), &root).expect("read").expect("there");
        assert_eq!(read.keys[0].state, ProxyKeyState::Disabled);
        assert!(read.keys[0].secret(&root).expect("unwrapped").is_some());
        assert_eq!((key.serial, read.last_serial), (2, 3));
        assert!(State::read(place.path(), &other).is_err());
        let path = path(place.path());
        let text = std::fs::read_to_string(&path).expect("text");
        std::fs::write(&path, text.replace("disabled", "enabled")).expect("altered");
        let error = State::read(place.path(), &root).expect_err("altered").to_string();
        assert!(error.contains("altered"), "{error}");
        std::fs::write(&path, "{}").expect("altered");
        assert!(State::read(place.path(), &root).is_err());
    }

    #[test]
    fn a_destroyed_key_is_gone() {
        let place = tempfile::tempdir().expect("folder");
        let root = PlatformFile::open_or_create(&place.path().join("r"), Arc::new(SystemRng));
        let root = root.expect("root");
        let mut state = State::new(&root, &SystemRng).expect("state");
        state.add_key(("k", None, Vec::new()), 5, &root, &SystemRng).expect("key");
        let wrapped = state.keys[0].wrapped.clone().expect("wrapped");
        state.keys[0].destroy(6);
        state.write(place.path(), &root).expect("written");
        let text = std::fs::read_to_string(path(place.path())).expect("text");
        assert!(!text.contains(&wrapped));
        assert!(state.keys[0].secret(&root).expect("nothing").is_none());
    }
}
