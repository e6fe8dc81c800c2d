//! Sign-ins through a provider that are on their way. Nothing is remembered of one until it comes
//! back: its `state` is signed, carries its end, and belongs to the page that keeps its secret;
//! nonce and PKCE verifier are made from it under a key of this process.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use veritwin_domain::{Rng, Secret, TenantId, Timestamp};
use veritwin_keys::{constant_time_eq, hmac_sha256, sha256};

use crate::{Error, Result};

/// How long a person may take at the provider.
pub(crate) const FLOW_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// Most finished sign-ins of one tenant remembered at once; over it, signing in this way waits
/// there. Only what a provider confirmed is remembered.
const FINISHED_MAX: usize = 16_384;
const FLAG_FRESH: u8 = 1;
const FLAG_ATTESTED: u8 = 2;
const HEAD_BYTES: usize = 16 + 8 + 8 + 1 + 16;

/// What a sign-in was begun with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) tenant: TenantId,
    pub(crate) begun_at: Timestamp,
    pub(crate) is_fresh: bool,
    pub(crate) attested: bool,
}

/// What goes to the provider, and what stays.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) state: String,
    pub(crate) nonce: String,
    pub(crate) verifier: Secret<String>,
    pub(crate) secret: Secret<String>,
}

/// A sign-in that came back.
#[derive(Debug)]
pub(crate) struct Returned {
    pub(crate) flow: Flow,
    pub(crate) nonce: String,
    pub(crate) verifier: Secret<String>,
    once: [u8; 32],
    end: Duration,
}

pub(crate) struct Flows {
    key: [u8; 32],
    finished: Mutex<HashMap<TenantId, HashMap<[u8; 32], Duration>>>,
}

fn eight(bytes: &[u8]) -> [u8; 8] {
    let mut out = [0; 8];
    out.copy_from_slice(bytes);
    out
}

impl Flows {
    pub(crate) fn new(rng: &dyn Rng) -> Self {
        let mut key = [0; 32];
        rng.fill(&mut key);
        Self { key, finished: Mutex::default() }
    }

    fn derived(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut message = purpose.as_bytes().to_vec();
        message.push(0);
        for part in parts {
            message.extend_from_slice(part);
        }
        hmac_sha256(&self.key, &message)
    }

    fn text(&self, purpose: &str, head: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(self.derived(purpose, &[head]))
    }

    pub(crate) fn begin(&self, rng: &dyn Rng, now: Duration, flow: Flow) -> Begun {
        let mut head = [0u8; HEAD_BYTES];
        head[..16].copy_from_slice(flow.tenant.as_bytes());
        head[16..24].copy_from_slice(&(now + FLOW_LIFETIME).as_secs().to_be_bytes());
        head[24..32].copy_from_slice(&flow.begun_at.as_micros().to_be_bytes());
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        head[32] = flag(flow.is_fresh, FLAG_FRESH) | flag(flow.attested, FLAG_ATTESTED);
        rng.fill(&mut head[33..]);
        let mut secret = [0u8; 32];
        rng.fill(&mut secret);
        let secret = URL_SAFE_NO_PAD.encode(secret);
        let tag = self.derived("state", &[&head, &sha256(secret.as_bytes())]);
        Begun {
            state: URL_SAFE_NO_PAD.encode([head.as_slice(), &tag].concat()),
            nonce: self.text("nonce", &head),
            verifier: Secret::new(self.text("verifier", &head)),
            secret: Secret::new(secret),
        }
    }

    /// A sign-in that comes back, if it is ours, in time, and begun by whoever holds the secret.
    /// Nothing is remembered of it before its provider has confirmed it.
    pub(crate) fn returned(
        &self,
        now: Duration,
        state: &str,
        secret: &Secret<String>,
    ) -> Option<Returned> {
        let bytes = URL_SAFE_NO_PAD.decode(state).ok()?;
        let (head, tag) = bytes.split_at_checked(HEAD_BYTES)?;
        let expected = self.derived("state", &[head, &sha256(secret.expose().as_bytes())]);
        let end = Duration::from_secs(u64::from_be_bytes(eight(&head[16..24])));
        if !constant_time_eq(&expected, tag) || end <= now {
            return None;
        }
        let mut tenant = [0; 16];
        tenant.copy_from_slice(&head[..16]);
        let flow = Flow {
            tenant: TenantId::from_bytes(tenant),
            begun_at: Timestamp::from_micros(i64::from_be_bytes(eight(&head[24..32]))),
            is_fresh: head[32] & FLAG_FRESH != 0,
            attested: head[32] & FLAG_ATTESTED != 0,
        };
        let verifier = Secret::new(self.text("verifier", head));
        let (nonce, once) = (self.text("nonce", head), sha256(head));
        Some(Returned { flow, nonce, verifier, once, end })
    }

    /// Whether a sign-in was used up before.
    pub(crate) fn is_used(&self, returned: &Returned) -> bool {
        let finished = self.finished.lock();
        let of_tenant = finished.get(&returned.flow.tenant);
        of_tenant.is_some_and(|of_tenant| of_tenant.contains_key(&returned.once))
    }

    /// Uses a sign-in up that its provider confirmed; whether it is the first time.
    pub(crate) fn use_up(&self, now: Duration, returned: &Returned) -> Result<bool> {
        let mut finished = self.finished.lock();
        finished.retain(|_, of_tenant| of_tenant.values().any(|end| *end > now));
        let of_tenant = finished.entry(returned.flow.tenant).or_default();
        if of_tenant.len() >= FINISHED_MAX {
            of_tenant.retain(|_, end| *end > now);
            if of_tenant.len() >= FINISHED_MAX {
                return Err(Error::Busy { retry_after: FLOW_LIFETIME });
            }
        }
        Ok(of_tenant.insert(returned.once, returned.end).is_none())
    }
}

#[cfg(test)]
mod tests {
    use veritwin_keys::SystemRng;

    use super::*;

    #[test]
    fn a_sign_in_comes_back_once_in_time_and_to_its_own_page() {
        let flows = Flows::new(&SystemRng);
        let now = Duration::from_secs(1000);
        let flow = Flow {
            tenant: TenantId::from_bytes([7; 16]),
            begun_at: Timestamp::from_micros(5),
            is_fresh: true,
            attested: false,
        };
        let begin = || flows.begin(&SystemRng, now, flow);
        let check = |what: &str, state: &str, secret: &Secret<String>, at: Duration, good: bool| {
            let back = flows.returned(at, state, secret);
            assert_eq!(back.map(|back| back.flow), good.then_some(flow), "{what}");
        };
        let (one, two) = (begin(), begin());
        check("another page", &one.state, &two.secret, now, false);
        check("too late", &one.state, &one.secret, now + FLOW_LIFETIME, false);
        check("no state", "", &one.secret, now, false);
        let mut changed = URL_SAFE_NO_PAD.decode(&one.state).expect("base64");
        for place in 0..changed.len() {
            changed[place] ^= 1;
            check("changed", &URL_SAFE_NO_PAD.encode(&changed), &one.secret, now, false);
            changed[place] ^= 1;
        }
        let back = flows.returned(now, &one.state, &one.secret).expect("right");
        assert_eq!(back.nonce, one.nonce);
        assert_eq!(back.verifier.expose(), one.verifier.expose());
        assert!(back.nonce != two.nonce && back.verifier.expose() != two.verifier.expose());
        check("not confirmed", &one.state, &one.secret, now, true);
        assert!(!flows.is_used(&back));
        assert!(flows.use_up(now, &back).expect("room"), "confirmed");
        assert!(flows.is_used(&back));
        assert!(!flows.use_up(now, &back).expect("room"), "again");
        check("the other", &two.state, &two.secret, now, true);
        let other = Flows::new(&SystemRng);
        let three = begin();
        assert!(other.returned(now, &three.state, &three.secret).is_none());
    }
}
