//! Time-based one-time codes (RFC 6238): six digits, 30 seconds, HMAC-SHA-1, which is what every
//! authenticator app speaks. One step of drift is allowed either way; a step is used once.

use aws_lc_rs::hmac;
use veritwin_domain::Rng;

use crate::constant_time_eq;

/// Length of a shared secret, in bytes (RFC 4226 asks for 20).
pub const TOTP_SECRET_BYTES: usize = 20;
/// Length of a step, in seconds.
pub const TOTP_STEP_S: u64 = 30;
/// Digits of a code.
pub const TOTP_DIGITS: usize = 6;
/// Steps that a device's clock may be off.
const DRIFT_STEPS: u64 = 1;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A new shared secret.
pub fn generate(rng: &dyn Rng) -> [u8; TOTP_SECRET_BYTES] {
    let mut secret = [0u8; TOTP_SECRET_BYTES];
    rng.fill(&mut secret);
    secret
}

/// The code of a step.
pub fn code(secret: &[u8], step: u64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let offset = tag.last().map_or(0, |byte| usize::from(byte & 0x0f));
    let mut word = [0u8; 4];
    word.copy_from_slice(&tag[offset..offset + 4]);
    let number = (u32::from_be_bytes(word) & 0x7fff_ffff) % 1_000_000;
    format!("{number:06}")
}

/// The step whose code this is, if it is one of now or a step beside it and later than the step
/// that was used last.
pub fn matching_step(secret: &[u8], entered: &str, unix_s: u64, used_step: u64) -> Option<u64> {
    let now = unix_s / TOTP_STEP_S;
    let mut found = None;
    for step in now.saturating_sub(DRIFT_STEPS)..=now + DRIFT_STEPS {
        if constant_time_eq(code(secret, step).as_bytes(), entered.as_bytes()) && step > used_step {
            found = Some(step);
        }
    }
    found
}

/// RFC 4648 base 32 without padding: how a secret is typed in.
pub fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut bits, mut count) = (0u32, 0u32);
    for byte in bytes {
        bits = (bits << 8) | u32::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            text.push(char::from(BASE32[(bits >> count) as usize & 31]));
        }
        bits &= (1 << count) - 1;
    }
    if count > 0 {
        text.push(char::from(BASE32[(bits << (5 - count)) as usize & 31]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8; 20] = b"12345678901234567890";

    #[test]
    fn codes_of_rfc_6238() {
        for (unix_s, expect) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
        ] {
            assert_eq!(code(SECRET, unix_s / TOTP_STEP_S), expect, "{unix_s}");
        }
    }

    #[test]
    fn one_step_of_drift_and_no_replay() {
        let check = |entered: &str, unix_s: u64, used: u64, expect: Option<u64>| {
            assert_eq!(matching_step(SECRET, entered, unix_s, used), expect, "{entered} {unix_s}");
        };
        check("287082", 59, 0, Some(1));
        check("287082", 89, 0, Some(1));
        check("287082", 90, 0, None);
        check("287082", 29, 0, Some(1));
        check("287082", 59, 1, None);
        check("28708", 59, 0, None);
        check("", 59, 0, None);
    }

    #[test]
    fn base_32_of_rfc_4648() {
        for (bytes, expect) in [("", ""), ("f", "MY"), ("fo", "MZXQ"), ("foobar", "MZXW6YTBOI")] {
            assert_eq!(base32(bytes.as_bytes()), expect);
        }
    }
}
