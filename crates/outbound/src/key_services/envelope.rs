//! How the parts of an AES-GCM ciphertext stand in the bytes that are kept: a version, the nonce,
//! the tag, what the service wants back with it, the ciphertext. Lengths are checked when read.

use veritwin_keys::{PROVIDER_CIPHERTEXT_BYTES_MAX, ProviderError};

use super::settings::invalid;

const VERSION: u8 = 1;
pub(super) const TAG_BYTES: usize = 16;
/// Longest metadata of a ciphertext (external key store proxy specification, "Encrypt").
pub(super) const METADATA_BYTES_MAX: usize = 20;

/// The parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) nonce: Vec<u8>,
    pub(super) tag: [u8; TAG_BYTES],
    pub(super) metadata: Vec<u8>,
    pub(super) ciphertext: Vec<u8>,
}

fn is_nonce(length: usize) -> bool {
    matches!(length, 12 | 16)
}

impl Envelope {
    /// The bytes to keep.
    pub(super) fn encode(&self) -> Result<Vec<u8>, ProviderError> {
        let Self { nonce, tag, metadata, ciphertext } = self;
        let lengths = u8::try_from(nonce.len()).ok().zip(u8::try_from(metadata.len()).ok());
        let (nonce_bytes, metadata_bytes) = lengths
            .filter(|_| is_nonce(nonce.len()) && metadata.len() <= METADATA_BYTES_MAX)
            .ok_or_else(|| invalid("its ciphertext is not of AES-GCM"))?;
        let lengths = [VERSION, nonce_bytes, metadata_bytes];
        let bytes = [lengths.as_slice(), nonce, tag, metadata, ciphertext].concat();
        if bytes.len() > PROVIDER_CIPHERTEXT_BYTES_MAX {
            return Err(invalid("its ciphertext is too long"));
        }
        Ok(bytes)
    }

    /// The parts of kept bytes.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, ProviderError> {
        let parts = || {
            let (lengths, rest) = bytes.split_at_checked(3)?;
            let [VERSION, nonce_bytes, metadata_bytes] = *lengths else { return None };
            let (nonce_bytes, metadata_bytes) =
                (usize::from(nonce_bytes), usize::from(metadata_bytes));
            if !is_nonce(nonce_bytes) || metadata_bytes > METADATA_BYTES_MAX {
                return None;
            }
            let (nonce, rest) = rest.split_at_checked(nonce_bytes)?;
            let (tag, rest) = rest.split_at_checked(TAG_BYTES)?;
            let (metadata, ciphertext) = rest.split_at_checked(metadata_bytes)?;
            Some(Self {
                nonce: nonce.to_vec(),
                tag: tag.try_into().ok()?,
                metadata: metadata.to_vec(),
                ciphertext: ciphertext.to_vec(),
            })
        };
        parts().ok_or_else(|| invalid("the wrapped key is not one of this kind of service"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_or_refused() {
        let whole = Envelope {
            nonce: vec![1; 12],
            tag: [2; TAG_BYTES],
            metadata: vec![3; 5],
            ciphertext: vec![4; 32],
        };
        let bytes = whole.encode().expect("encoded");
        assert_eq!(Envelope::decode(&bytes), Ok(whole.clone()));
        for end in [0, 2, 3, 15, 30, 35] {
            assert!(Envelope::decode(&bytes[..end]).is_err(), "{end}");
        }
        for (at, byte) in [(0, 2), (1, 13), (2, 21)] {
            let mut changed = bytes.clone();
            changed[at] = byte;
            assert!(Envelope::decode(&changed).is_err(), "{at}");
        }
        for bad in [
            Envelope { nonce: vec![1; 13], ..whole.clone() },
            Envelope { metadata: vec![0; 21], ..whole.clone() },
            Envelope { ciphertext: vec![0; PROVIDER_CIPHERTEXT_BYTES_MAX], ..whole },
        ] {
            assert!(bad.encode().is_err());
        }
    }
}
