//! AES-256-GCM keys inside a PKCS#11 token (OASIS PKCS #11 2.40). A module may block for as long as
//! its hardware likes, so that each token has a thread of its own and a short queue in front of it.
//! Which module is loaded is the operator's word alone: it is code that runs in this process.

mod token;
mod work;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use parking_lot::Mutex;
use veritwin_domain::Secret;

use crate::constant_time_eq;

pub use token::{PKCS11_THREADS_MAX, PKCS11_WAITING_MAX, Pkcs11Answer, Pkcs11Token};

/// Longest label of a token or key, in bytes.
pub const PKCS11_LABEL_BYTES_MAX: usize = 128;

/// Why a token gave no answer. Holds neither PIN nor key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Pkcs11Error {
    /// No token, no session, a device that fails, or too much to do. Asking again may help.
    #[error("the token does not answer: {0}")]
    Unavailable(String),
    /// The PIN is not taken, or the key may not be used so.
    #[error("the token refuses: {0}")]
    Denied(String),
    /// There is no such key in the token.
    #[error("the token holds no such key")]
    NoKey,
    /// The ciphertext does not open under this key with this associated data.
    #[error("sealed bytes do not open in the token")]
    NotAuthentic,
    /// What is asked can never work; the text says what is expected.
    #[error("the token cannot be used: {0}")]
    Invalid(String),
}

/// Which token, and how to get into it.
#[derive(Debug, Clone)]
pub struct Pkcs11Place {
    /// The module's file.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The user's PIN.
    pub pin: Secret<String>,
}

/// What a token says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pkcs11KeyFacts {
    /// Its length, in bits.
    pub bits: u64,
    /// Whether it may encrypt and decrypt.
    pub is_usable: bool,
    /// Whether the token lets it out.
    pub is_extractable: bool,
    /// Whether the slot says that it is hardware.
    pub is_hardware: bool,
}

/// A module that is loaded. It stays so until the process ends.
struct Loaded {
    context: Pkcs11,
    /// The PIN that each token is open with. Whoever is logged in is so for the whole process:
    /// without this a second party would come in with any PIN.
    pins: Mutex<HashMap<String, Pin>>,
}

/// A PIN that a token is open with, or that is being tried.
struct Pin {
    pin: Secret<String>,
    /// For how many.
    count: usize,
    /// The token took it.
    is_in: bool,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Loaded(..)")
    }
}

static MODULES: Mutex<BTreeMap<PathBuf, Arc<Loaded>>> = Mutex::new(BTreeMap::new());

fn load(path: &Path) -> Result<Arc<Loaded>, Pkcs11Error> {
    let shown = path.display();
    let path = std::fs::canonicalize(path)
        .map_err(|error| Pkcs11Error::Invalid(format!("no module at {shown}: {error}")))?;
    let mut modules = MODULES.lock();
    if let Some(loaded) = modules.get(&path) {
        return Ok(Arc::clone(loaded));
    }
    let context = Pkcs11::new(&path)
        .map_err(|_| Pkcs11Error::Invalid(format!("{shown} is no PKCS#11 module")))?;
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(classify(&error)),
    }
    let loaded = Arc::new(Loaded { context, pins: Mutex::default() });
    modules.insert(path, Arc::clone(&loaded));
    Ok(loaded)
}

/// A token that is open with one PIN, for as long as this is there.
#[derive(Debug)]
struct Held {
    loaded: Arc<Loaded>,
    token: String,
}

impl Held {
    fn take(loaded: &Arc<Loaded>, place: &Pkcs11Place) -> Result<Self, Pkcs11Error> {
        let mut pins = loaded.pins.lock();
        let new = || Pin { pin: place.pin.clone(), count: 0, is_in: false };
        let entry = pins.entry(place.token.clone()).or_insert_with(new);
        if !constant_time_eq(entry.pin.expose().as_bytes(), place.pin.expose().as_bytes()) {
            // One that is only being tried may be the wrong one of the two.
            return Err(if entry.is_in {
                Pkcs11Error::Denied("the token is in use with another PIN".to_owned())
            } else {
                Pkcs11Error::Unavailable("another PIN is being tried at the token".to_owned())
            });
        }
        entry.count += 1;
        drop(pins);
        Ok(Self { loaded: Arc::clone(loaded), token: place.token.clone() })
    }

    /// The token took the PIN.
    fn came_in(&self) {
        if let Some(entry) = self.loaded.pins.lock().get_mut(&self.token) {
            entry.is_in = true;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut pins = self.loaded.pins.lock();
        if let Some(entry) = pins.get_mut(&self.token) {
            entry.count = entry.count.saturating_sub(1);
            if entry.count == 0 {
                pins.remove(&self.token);
            }
        }
    }
}

/// What a code of the module means for whoever asked.
fn classify(error: &Error) -> Pkcs11Error {
    let Error::Pkcs11(code, function) = error else {
        return Pkcs11Error::Unavailable(error.to_string());
    };
    let said = format!("{function} gave {code:?}");
    match code {
        RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange => Pkcs11Error::NotAuthentic,
        RvError::PinIncorrect
        | RvError::PinInvalid
        | RvError::PinLenRange
        | RvError::PinExpired
        | RvError::PinLocked
        | RvError::UserPinNotInitialized
        | RvError::KeyFunctionNotPermitted
        | RvError::ActionProhibited => Pkcs11Error::Denied(said),
        RvError::KeyHandleInvalid | RvError::ObjectHandleInvalid => Pkcs11Error::NoKey,
        RvError::MechanismInvalid
        | RvError::MechanismParamInvalid
        | RvError::KeyTypeInconsistent
        | RvError::KeySizeRange
        | RvError::DataInvalid
        | RvError::DataLenRange
        | RvError::ArgumentsBad
        | RvError::AttributeTypeInvalid
        | RvError::AttributeValueInvalid
        | RvError::TemplateIncomplete
        | RvError::TemplateInconsistent
        | RvError::TokenWriteProtected
        | RvError::FunctionNotSupported => Pkcs11Error::Invalid(said),
        _ => Pkcs11Error::Unavailable(said),
    }
}
