//! Ed25519 (RFC 8032) with keys that sign many leaves: multiples of such a key are worked out once,
//! and a verification then adds some of them instead of doubling 252 times. What is accepted is
//! what the single check accepts, to the bit: the sum is a point whichever way it is reached, and
//! its encoding is compared with that in the signature. Everything here is public, so that time may
//! depend on it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA512};
use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::Identity;

use crate::note::ed25519_verifies;

/// Bits of a scalar that one row of multiples answers for: of the base point, of which there is
/// one table (640 KiB), and of a key (215 KiB).
const BASE_BITS: u32 = 8;
const KEY_BITS: u32 = 6;
/// Bits of a reduced scalar, with one for the carry.
const SCALAR_BITS: u32 = 254;
/// Keys remembered at a time, which bounds what they take to 56 MiB.
const KEYS_MAX: usize = 256;
/// Signatures of a key after which its multiples are worked out: that takes as long as some ten
/// verifications.
const PREPARED_AFTER: u32 = 32;

static BASE: LazyLock<Multiples> =
    LazyLock::new(|| Multiples::new(&ED25519_BASEPOINT_POINT, BASE_BITS));

/// In row `i` the multiples 1 to `2^(bits - 1)` of `2^(bits * i)` times a point.
struct Multiples {
    bits: u32,
    points: Vec<EdwardsPoint>,
}

impl Multiples {
    fn new(point: &EdwardsPoint, bits: u32) -> Self {
        let (rows, width) = (SCALAR_BITS.div_ceil(bits), 1usize << (bits - 1));
        let mut points = Vec::with_capacity(rows as usize * width);
        let mut first = *point;
        for _ in 0..rows {
            let mut multiple = first;
            for _ in 1..width {
                points.push(multiple);
                multiple += first;
            }
            points.push(multiple);
            first = multiple + multiple;
        }
        Self { bits, points }
    }

    /// Adds `scalar` times the point. Digits are from `-2^(bits - 1)` to `2^(bits - 1)`, so that a
    /// row holds half of them and the others are subtracted.
    fn add_to(&self, sum: &mut EdwardsPoint, scalar: &Scalar) {
        let mut bytes = [0; 40];
        bytes[..32].copy_from_slice(scalar.as_bytes());
        let half = 1usize << (self.bits - 1);
        let mut carry = 0;
        for (row, multiples) in self.points.chunks_exact(half).enumerate() {
            let bit = row * self.bits as usize;
            let window = u16::from_le_bytes([bytes[bit / 8], bytes[bit / 8 + 1]]) >> (bit % 8);
            let digit = (usize::from(window) & (2 * half - 1)) + carry;
            carry = usize::from(digit > half);
            match if carry == 1 { 2 * half - digit } else { digit } {
                0 => {}
                multiple if carry == 1 => *sum -= &multiples[multiple - 1],
                multiple => *sum += &multiples[multiple - 1],
            }
        }
    }
}

/// A public key with its multiples.
struct PreparedKey {
    public: [u8; 32],
    /// Of the negated point.
    multiples: Multiples,
}

impl PreparedKey {
    /// None of a key that is no point, or one written in another way than its own: what such a key
    /// verifies is left to the single check.
    fn new(public: &[u8; 32]) -> Option<Self> {
        let point = CompressedEdwardsY(*public).decompress()?;
        let is_canonical = point.compress().as_bytes() == public;
        let multiples = || Multiples::new(&-point, KEY_BITS);
        is_canonical.then(|| Self { public: *public, multiples: multiples() })
    }

    /// Whether `[S]B - [k]A` is the R of the signature (RFC 8032, section 5.1.7, without the
    /// cofactor).
    fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let (r, s) = signature.split_at(32);
        let s = s.try_into().ok().and_then(|s| Option::from(Scalar::from_canonical_bytes(s)));
        let Some(s) = s else { return false };
        let mut hash = Context::new(&SHA512);
        for part in [r, &self.public, message] {
            hash.update(part);
        }
        let mut wide = [0; 64];
        wide.copy_from_slice(hash.finish().as_ref());
        let mut sum = EdwardsPoint::identity();
        self.multiples.add_to(&mut sum, &Scalar::from_bytes_mod_order_wide(&wide));
        BASE.add_to(&mut sum, &s);
        sum.compress().as_bytes() == r
    }
}

/// What is known of a key.
#[derive(Default)]
struct Known {
    signatures: u32,
    /// When it was asked for last, counted in questions.
    asked: u64,
    prepared: Option<Arc<PreparedKey>>,
}

#[derive(Default)]
struct Keys {
    known: HashMap<[u8; 32], Known>,
    questions: u64,
}

/// Verifies signatures, and prepares the keys that sign many. Which they are makes no difference to
/// what is accepted. Of the keys the [`KEYS_MAX`] asked for last are remembered.
#[derive(Default)]
pub struct Signers(Mutex<Keys>);

impl std::fmt::Debug for Signers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signers").finish_non_exhaustive()
    }
}

impl Signers {
    /// True when `signature` is the Ed25519 signature of `message` by `public`.
    pub fn verifies(&self, public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        match self.prepared(public) {
            Some(key) => key.verifies(message, signature),
            None => ed25519_verifies(public, message, signature),
        }
    }

    fn prepared(&self, public: &[u8; 32]) -> Option<Arc<PreparedKey>> {
        {
            let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            keys.questions += 1;
            let asked = keys.questions;
            if keys.known.len() >= KEYS_MAX && !keys.known.contains_key(public) {
                let oldest = keys.known.iter().min_by_key(|(_, known)| known.asked);
                if let Some(oldest) = oldest.map(|(key, _)| *key) {
                    keys.known.remove(&oldest);
                }
            }
            let known = keys.known.entry(*public).or_default();
            known.asked = asked;
            known.signatures = known.signatures.saturating_add(1);
            // Exactly then, so that one thread works and the others go on.
            if known.signatures != PREPARED_AFTER {
                return known.prepared.clone();
            }
        }
        let prepared = PreparedKey::new(public).map(Arc::new);
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = keys.known.get_mut(public) {
            known.prepared.clone_from(&prepared);
        }
        prepared
    }
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::EIGHT_TORSION;

    use super::*;

    /// A scalar out of a number.
    fn scalar(of: &str) -> Scalar {
        let digest = aws_lc_rs::digest::digest(&SHA512, of.as_bytes());
        Scalar::from_bytes_mod_order_wide(digest.as_ref().try_into().unwrap())
    }

    fn challenge(r: &[u8], public: &[u8; 32], message: &[u8]) -> Scalar {
        let mut hash = Context::new(&SHA512);
        [r, public, message].into_iter().for_each(|part| hash.update(part));
        Scalar::from_bytes_mod_order_wide(hash.finish().as_ref().try_into().unwrap())
    }

    /// A signature by `secret`, for a key that may be written or twisted in any way.
    fn sign(
        (secret, public): (&Scalar, &[u8; 32]),
        twist: &EdwardsPoint,
        message: &[u8],
    ) -> [u8; 64] {
        let nonce = scalar(&hex::encode(message));
        let r = (ED25519_BASEPOINT_POINT * nonce + twist).compress();
        let s = nonce + challenge(r.as_bytes(), public, message) * secret;
        [r.to_bytes(), s.to_bytes()].concat().try_into().unwrap()
    }

    /// The verdict of both ways, which is the same.
    fn verdict(signers: &Signers, public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        let verdict = ed25519_verifies(public, message, signature);
        let context = format!("{} {}", hex::encode(public), hex::encode(signature));
        assert_eq!(signers.verifies(public, message, signature), verdict, "{context}");
        if let Some(key) = PreparedKey::new(public) {
            assert_eq!(key.verifies(message, signature), verdict, "prepared: {context}");
        }
        verdict
    }

    #[test]
    fn a_prepared_key_accepts_what_the_single_check_accepts() {
        let signers = Signers::default();
        for number in 0..4 {
            let secret = scalar(&format!("secret {number}"));
            let public = (ED25519_BASEPOINT_POINT * secret).compress().to_bytes();
            let key = PreparedKey::new(&public).unwrap();
            for length in 0..50 {
                let message = vec![number; length * 9];
                let signature = sign((&secret, &public), &EdwardsPoint::identity(), &message);
                assert!(verdict(&signers, &public, &message, &signature));
                let bit = (length * 37 + usize::from(number)) % 512;
                let mut wrong = signature;
                wrong[bit / 8] ^= 1 << (bit % 8);
                assert!(!verdict(&signers, &public, &message, &wrong));
                assert!(!key.verifies(&[&message[..], b"x"].concat(), &signature));
            }
            assert!(signers.0.lock().unwrap().known[&public].prepared.is_some());
        }
    }

    /// The edges of a scalar: digits at their bounds, carries through every row.
    #[test]
    fn multiples_add_up_for_every_scalar() {
        let mut scalars = vec![Scalar::ZERO, Scalar::ONE, -Scalar::ONE, -Scalar::from(2u8)];
        for byte in [0x01, 0x20, 0x7f, 0x80, 0x81, 0xff, 0xdf, 0x5f] {
            scalars.push(Scalar::from_bytes_mod_order([byte; 32]));
        }
        scalars.extend((0..252).map(|bit| {
            let mut bytes = [0; 32];
            bytes[bit / 8] = 1 << (bit % 8);
            Scalar::from_bytes_mod_order(bytes)
        }));
        for (point, bits) in [(EIGHT_TORSION[1], 6), (ED25519_BASEPOINT_POINT, 6)] {
            let multiples = Multiples::new(&point, bits);
            for scalar in &scalars {
                for (multiples, point) in [(&multiples, point), (&BASE, ED25519_BASEPOINT_POINT)] {
                    let mut sum = EIGHT_TORSION[3];
                    multiples.add_to(&mut sum, scalar);
                    assert_eq!(sum, EIGHT_TORSION[3] + point * scalar, "{scalar:?}");
                }
            }
        }
    }

    /// Keys and signatures with a part of small order, on which verifiers differ.
    #[test]
    fn twisted_keys_and_signatures_are_judged_as_by_the_single_check() {
        let signers = Signers::default();
        let mut verdicts = [0; 2];
        for (at, torsion) in EIGHT_TORSION.iter().enumerate() {
            for secret in [Scalar::ZERO, scalar("twisted")] {
                let point = ED25519_BASEPOINT_POINT * secret + torsion;
                let public = point.compress().to_bytes();
                for (number, twist) in (0u8..).zip(EIGHT_TORSION.iter().cycle().take(40)) {
                    let message = [number, at as u8];
                    let signature = sign((&secret, &public), twist, &message);
                    let accepted = verdict(&signers, &public, &message, &signature);
                    verdicts[usize::from(accepted)] += 1;
                }
            }
        }
        assert!(verdicts.iter().all(|count| *count > 50), "{verdicts:?}");
    }

    #[test]
    fn other_spellings_of_a_key_or_a_signature_are_judged_as_by_the_single_check() {
        let signers = Signers::default();
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut negative_zero = neutral;
        negative_zero[31] = 0x80;
        // One more than the prime 2^255 - 19: one, in another way.
        let mut above = [0xff; 32];
        (above[0], above[31]) = (0xee, 0x7f);
        let no_point = [2; 32];
        for public in [neutral, negative_zero, above, no_point] {
            for number in 0..PREPARED_AFTER as u8 + 8 {
                let secret = Scalar::ZERO;
                let twist = EdwardsPoint::identity();
                let signature = sign((&secret, &public), &twist, &[number]);
                verdict(&signers, &public, &[number], &signature);
            }
        }
        for public in [negative_zero, above] {
            assert!(PreparedKey::new(&public).is_none(), "left to the single check");
        }
        let secret = scalar("spelled");
        let public = (ED25519_BASEPOINT_POINT * secret).compress().to_bytes();
        // A nonce of zero makes R the neutral point, which has three spellings.
        for (r, accepted) in [(neutral, true), (negative_zero, false), (above, false)] {
            let s = challenge(&r, &public, b"m") * secret;
            let signature = [r, s.to_bytes()].concat().try_into().unwrap();
            assert_eq!(verdict(&signers, &public, b"m", &signature), accepted);
        }
        // S and the group's order more is the same number, and not canonical.
        let signature = sign((&secret, &public), &EdwardsPoint::identity(), b"m");
        let mut carry = 1u16;
        let mut above = signature;
        for (byte, less) in above[32..].iter_mut().zip((-Scalar::ONE).as_bytes()) {
            carry += u16::from(*byte) + u16::from(*less);
            *byte = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        assert!(verdict(&signers, &public, b"m", &signature));
        assert!(!verdict(&signers, &public, b"m", &above));
    }

    #[test]
    fn only_the_keys_asked_for_last_are_remembered() {
        let signers = Signers::default();
        for number in 0..KEYS_MAX as u32 + 10 {
            let mut public = [9; 32];
            public[..4].copy_from_slice(&number.to_le_bytes());
            for public in [&[7; 32], &public] {
                assert!(!signers.verifies(public, b"m", &[0; 64]));
            }
        }
        let keys = signers.0.lock().unwrap();
        assert_eq!(keys.known.len(), KEYS_MAX);
        assert!(keys.known.contains_key(&[7; 32]), "asked for all the time");
    }
}
