//! A key in a PKCS#11 token on the platform's own machine or network, by a module that the operator
//! allows. A tenant never names code: an address that is none of the allowed modules is refused.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use veritwin_keys::pkcs11::{Pkcs11Answer, Pkcs11Error, Pkcs11Place, Pkcs11Token};
use veritwin_keys::{
    GcmSealed, KeyCall, KeyMetadata, KeyProtection, KeyProvider, ProviderAnswer, ProviderError,
    ProviderKind, ProviderSettings,
};
use zeroize::Zeroizing;

use super::KeyServices;
use super::envelope::Envelope;
use super::settings::{absent, invalid, needed};

/// One key in one token.
#[derive(Debug)]
struct Token {
    token: Pkcs11Token,
    key: String,
    timeout: Duration,
}

/// Settings: `address`, the module's file; `place`, the token's label; `key`, the key's label;
/// `credential`, the PIN.
pub(super) fn connect(
    of: &KeyServices,
    settings: &ProviderSettings,
) -> Result<Arc<dyn KeyProvider>, ProviderError> {
    absent("user", settings.user.is_some())?;
    absent("trust", settings.trust.is_some())?;
    let module = PathBuf::from(&settings.address);
    if !of.modules.contains(&module) {
        return Err(invalid("address: expected one of the modules that the operator allows"));
    }
    let token = needed("place", settings.place.as_ref(), "the label of the token")?.clone();
    let pin = needed("credential", settings.credential.as_ref(), "the PIN")?.clone();
    let place = Pkcs11Place { module, token, pin };
    let token = Pkcs11Token::new(place, Arc::clone(&of.rng)).map_err(refused)?;
    Ok(Arc::new(Token { token, key: settings.key.clone(), timeout: of.timeout }))
}

/// What a token's answer means for a key.
fn refused(error: Pkcs11Error) -> ProviderError {
    match error {
        Pkcs11Error::Unavailable(detail) => ProviderError::Unavailable(detail),
        Pkcs11Error::Denied(_) => ProviderError::Denied,
        Pkcs11Error::NoKey => ProviderError::Destroyed,
        Pkcs11Error::NotAuthentic => invalid("the wrapped key does not open under this key"),
        Pkcs11Error::Invalid(detail) => invalid(detail),
    }
}

impl Token {
    /// The answer of the token's thread, for as long as there is time.
    async fn answer<T: Send + 'static>(
        &self,
        ask: impl FnOnce(Pkcs11Answer<T>),
    ) -> Result<T, ProviderError> {
        let (tell, told) = oneshot::channel();
        // Whoever asked may be gone: then nobody needs the answer.
        ask(Box::new(move |outcome| drop(tell.send(outcome))));
        match tokio::time::timeout(self.timeout, told).await {
            Ok(Ok(outcome)) => outcome.map_err(refused),
            Ok(Err(_)) => Err(ProviderError::Unavailable("its thread has ended".to_owned())),
            Err(_) => Err(ProviderError::Unavailable("no answer in time".to_owned())),
        }
    }
}

impl KeyProvider for Token {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Pkcs11
    }

    fn wrap<'a>(&'a self, call: &'a KeyCall, plaintext: &'a [u8]) -> ProviderAnswer<'a, Vec<u8>> {
        let (key, bound) = (self.key.clone(), call.associated_data.clone());
        let plaintext = Zeroizing::new(plaintext.to_vec());
        let asked = self.answer(move |answer| self.token.seal(key, bound, plaintext, answer));
        Box::pin(async move {
            let GcmSealed { nonce, ciphertext, tag } = asked.await?;
            let (nonce, metadata) = (nonce.to_vec(), Vec::new());
            Envelope { nonce, tag, metadata, ciphertext }.encode()
        })
    }

    fn unwrap<'a>(
        &'a self,
        call: &'a KeyCall,
        ciphertext: &'a [u8],
    ) -> ProviderAnswer<'a, Zeroizing<Vec<u8>>> {
        Box::pin(async move {
            let Envelope { nonce, tag, ciphertext, .. } = Envelope::decode(ciphertext)?;
            let nonce = nonce
                .try_into()
                .map_err(|_| invalid("the wrapped key is not one of this kind of service"))?;
            let sealed = GcmSealed { nonce, ciphertext, tag };
            let (key, bound) = (self.key.clone(), call.associated_data.clone());
            self.answer(|answer| self.token.open(key, bound, sealed, answer)).await
        })
    }

    fn metadata<'a>(&'a self, _call: &'a KeyCall) -> ProviderAnswer<'a, KeyMetadata> {
        let key = self.key.clone();
        let asked = self.answer(move |answer| self.token.describe(key, answer));
        Box::pin(async move {
            let facts = asked.await?;
            if facts.bits != 256 {
                return Err(invalid("the key is not an AES key of 256 bits"));
            }
            let protection = match (facts.is_hardware, facts.is_extractable) {
                (true, false) => KeyProtection::Hardware,
                _ => KeyProtection::Software,
            };
            Ok(KeyMetadata {
                key: self.key.clone(),
                spec: "AES_256".to_owned(),
                enabled: facts.is_usable,
                protection,
            })
        })
    }

    fn health<'a>(&'a self, _call: &'a KeyCall) -> ProviderAnswer<'a, ()> {
        Box::pin(self.answer(move |answer| self.token.check(answer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_of_a_token_means_one_thing() {
        let text = || "x".to_owned();
        assert_eq!(refused(Pkcs11Error::NoKey), ProviderError::Destroyed);
        assert_eq!(refused(Pkcs11Error::Denied(text())), ProviderError::Denied);
        assert_eq!(refused(Pkcs11Error::Unavailable(text())), ProviderError::Unavailable(text()));
        assert_eq!(refused(Pkcs11Error::Invalid(text())), ProviderError::Invalid(text()));
        assert!(matches!(refused(Pkcs11Error::NotAuthentic), ProviderError::Invalid(_)));
    }
}
