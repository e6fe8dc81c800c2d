//! What happens on a token's thread: a session that is opened when it is needed, logged in once,
//! and dropped after a failure of the device. A PIN that was refused is not tried again, since a
//! token counts wrong ones and locks itself.

use std::cell::Cell;
use std::sync::Arc;

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use veritwin_domain::Rng;
use zeroize::Zeroizing;

use super::{Held, Pkcs11Error, Pkcs11KeyFacts, Pkcs11Place, classify, load};
use crate::dek::TAG_BYTES;
use crate::{GCM_NONCE_BYTES, GcmSealed};

const TAG_BITS: u64 = 128;
const KEY_BYTES: u64 = 32;
/// What a key seals and opens to show that it works.
const PROBE: &[u8] = b"veritwin probe";

/// The token's thread.
pub(super) struct Worker {
    place: Pkcs11Place,
    rng: Arc<dyn Rng>,
    open: Option<Open>,
    refused: Option<Pkcs11Error>,
}

struct Open {
    session: Session,
    slot: Slot,
    held: Held,
}

impl Worker {
    pub(super) const fn new(place: Pkcs11Place, rng: Arc<dyn Rng>) -> Self {
        Self { place, rng, open: None, refused: None }
    }

    fn opened(&self) -> Result<Open, Pkcs11Error> {
        let loaded = load(&self.place.module)?;
        let held = Held::take(&loaded, &self.place)?;
        let said = |error: Error| classify(&error);
        let mut found = None;
        for slot in loaded.context.get_slots_with_token().map_err(said)? {
            let info = loaded.context.get_token_info(slot).map_err(said)?;
            if info.label().trim_end() == self.place.token && found.replace(slot).is_some() {
                let detail = format!("two tokens have the label {}", self.place.token);
                return Err(Pkcs11Error::Invalid(detail));
            }
        }
        let slot = found.ok_or_else(|| {
            Pkcs11Error::Unavailable(format!("no token has the label {}", self.place.token))
        })?;
        let session = loaded.context.open_rw_session(slot).map_err(said)?;
        let pin = AuthPin::new(self.place.pin.expose().as_str().into());
        match session.login(UserType::User, Some(&pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => held.came_in(),
            Err(error) => return Err(classify(&error)),
        }
        Ok(Open { session, slot, held })
    }

    /// A session that was just logged in.
    fn anew(&mut self) -> Result<Open, Pkcs11Error> {
        if let Some(refused) = &self.refused {
            return Err(refused.clone());
        }
        let opened = self.opened();
        if let Err(Pkcs11Error::Denied(detail)) = &opened {
            self.refused = Some(Pkcs11Error::Denied(detail.clone()));
        }
        opened
    }

    /// Does something in a session. After a failure of the device the next one begins anew. A key
    /// that is not found is looked for in a new session: without a login none is found.
    fn with_session<T>(
        &mut self,
        work: impl Fn(&Open) -> Result<T, Pkcs11Error>,
    ) -> Result<T, Pkcs11Error> {
        let open = match self.open.take() {
            None => self.anew()?,
            Some(used) => match work(&used) {
                Err(Pkcs11Error::NoKey) => {
                    drop(used);
                    self.anew()?
                }
                Err(Pkcs11Error::Unavailable(detail)) => {
                    return Err(Pkcs11Error::Unavailable(detail));
                }
                done => {
                    self.open = Some(used);
                    return done;
                }
            },
        };
        let done = work(&open);
        if !matches!(done, Err(Pkcs11Error::Unavailable(_))) {
            self.open = Some(open);
        }
        done
    }

    /// Does something with the key of this label.
    pub(super) fn with_key<T>(
        &mut self,
        label: &str,
        work: impl Fn(&Session, ObjectHandle, &dyn Rng) -> Result<T, Pkcs11Error>,
    ) -> Result<T, Pkcs11Error> {
        let rng = Arc::clone(&self.rng);
        let is_there = Cell::new(false);
        let done = self.with_session(|open| {
            let found = find(&open.session, label)?;
            is_there.set(found.is_some());
            work(&open.session, found.ok_or(Pkcs11Error::NoKey)?, rng.as_ref())
        });
        match done {
            // The handle is what is not taken: the key was found under its label a moment ago.
            Err(Pkcs11Error::NoKey) if is_there.get() => {
                Err(Pkcs11Error::Unavailable("it does not take the key's handle".to_owned()))
            }
            done => done,
        }
    }

    pub(super) fn describe(&mut self, label: &str) -> Result<Pkcs11KeyFacts, Pkcs11Error> {
        self.with_session(|open| {
            let key = find(&open.session, label)?.ok_or(Pkcs11Error::NoKey)?;
            let wanted = [
                AttributeType::ValueLen,
                AttributeType::Encrypt,
                AttributeType::Decrypt,
                AttributeType::Extractable,
            ];
            let said = |error: Error| classify(&error);
            let attributes = open.session.get_attributes(key, &wanted).map_err(said)?;
            let (mut bytes, mut encrypts, mut decrypts, mut leaves) = (0, false, false, true);
            for attribute in attributes {
                match attribute {
                    Attribute::ValueLen(length) => bytes = *length,
                    Attribute::Encrypt(may) => encrypts = may,
                    Attribute::Decrypt(may) => decrypts = may,
                    Attribute::Extractable(may) => leaves = may,
                    _ => {}
                }
            }
            let slot = open.held.loaded.context.get_slot_info(open.slot).map_err(said)?;
            Ok(Pkcs11KeyFacts {
                bits: bytes.saturating_mul(8),
                is_usable: encrypts && decrypts,
                is_extractable: leaves,
                is_hardware: slot.hardware_slot(),
            })
        })
    }

    pub(super) fn make(&mut self, label: &str) -> Result<(), Pkcs11Error> {
        self.with_session(|open| {
            if find(&open.session, label)?.is_some() {
                let detail = "the token holds a key of this label already";
                return Err(Pkcs11Error::Invalid(detail.to_owned()));
            }
            let template = [
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Encrypt(true),
                Attribute::Decrypt(true),
                Attribute::ValueLen(KEY_BYTES.into()),
                Attribute::Label(label.as_bytes().to_vec()),
            ];
            let made = open.session.generate_key(&Mechanism::AesKeyGen, &template);
            made.map(|_| ()).map_err(|error| classify(&error))
        })
    }

    pub(super) fn check(&mut self) -> Result<(), Pkcs11Error> {
        self.with_session(|open| {
            open.session.get_session_info().map(|_| ()).map_err(|error| classify(&error))
        })
    }
}

fn find(session: &Session, label: &str) -> Result<Option<ObjectHandle>, Pkcs11Error> {
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Label(label.as_bytes().to_vec()),
    ];
    let found = session.find_objects(&template).map_err(|error| classify(&error))?;
    match found.as_slice() {
        [] => Ok(None),
        [key] => Ok(Some(*key)),
        _ => Err(Pkcs11Error::Invalid(format!("two keys have the label {label}"))),
    }
}

pub(super) fn seal(
    session: &Session,
    key: ObjectHandle,
    rng: &dyn Rng,
    associated: &[u8],
    plaintext: &[u8],
) -> Result<GcmSealed, Pkcs11Error> {
    let mut nonce = [0u8; GCM_NONCE_BYTES];
    rng.fill(&mut nonce);
    let said = |error: Error| classify(&error);
    // Some modules write a nonce of their own in place of the one that they are given.
    let parameters = GcmParams::new(&mut nonce, associated, TAG_BITS.into()).map_err(said)?;
    let sealed = session.encrypt(&Mechanism::AesGcm(parameters), key, plaintext).map_err(said)?;
    let whole = sealed.len() == plaintext.len() + TAG_BYTES;
    let (ciphertext, end) = sealed.split_at(plaintext.len().min(sealed.len()));
    let tag = end.try_into().ok().filter(|_| whole).ok_or_else(|| {
        Pkcs11Error::Invalid("the module does not put a tag of 16 bytes behind".to_owned())
    })?;
    Ok(GcmSealed { nonce, ciphertext: ciphertext.to_vec(), tag })
}

pub(super) fn open(
    session: &Session,
    key: ObjectHandle,
    rng: &dyn Rng,
    associated: &[u8],
    sealed: &GcmSealed,
) -> Result<Zeroizing<Vec<u8>>, Pkcs11Error> {
    match decrypt(session, key, associated, sealed) {
        // Some modules say no more of a tag that is wrong. Where the key still works, it was that.
        Err(Error::Pkcs11(RvError::GeneralError | RvError::FunctionFailed, function)) => {
            let probe = seal(session, key, rng, associated, PROBE)?;
            match decrypt(session, key, associated, &probe) {
                Ok(opened) if opened.as_slice() == PROBE => Err(Pkcs11Error::NotAuthentic),
                _ => Err(Pkcs11Error::Unavailable(format!("{function} fails"))),
            }
        }
        opened => opened.map_err(|error| classify(&error)),
    }
}

fn decrypt(
    session: &Session,
    key: ObjectHandle,
    associated: &[u8],
    sealed: &GcmSealed,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut nonce = sealed.nonce;
    let parameters = GcmParams::new(&mut nonce, associated, TAG_BITS.into())?;
    let whole = [sealed.ciphertext.as_slice(), &sealed.tag].concat();
    session.decrypt(&Mechanism::AesGcm(parameters), key, &whole).map(Zeroizing::new)
}

pub(super) fn destroy(session: &Session, key: ObjectHandle) -> Result<(), Pkcs11Error> {
    session.destroy_object(key).map_err(|error| classify(&error))
}
