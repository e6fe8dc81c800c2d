//! How many mails the platform sends to one address, counted in memory by digests of addresses; a
//! restart begins anew. Mails that anybody can ask for wait less long than the last one's links
//! work, so that nobody keeps somebody else out by asking.

use std::collections::HashMap;
use std::time::Duration;

use veritwin_access::MAILED_LINK_LIFETIME;
use veritwin_domain::Timestamp;

use crate::Result;

/// Mails with links for a new password that an address gets in a row without waiting.
const RESET_MAILS_AT_ONCE: u32 = 3;
/// The wait after those; it doubles with each further mail.
const RESET_WAIT_FIRST: Duration = Duration::from_secs(60);
/// The longest wait. The links of the last mail work for at least as long after it.
const RESET_WAIT_MAX: Duration = Duration::from_secs(30 * 60);
const _: () = assert!(RESET_WAIT_MAX.as_secs() * 2 <= MAILED_LINK_LIFETIME.as_secs());
/// An address that got no such mail for so long waits for nothing again.
const DAY: Duration = Duration::from_secs(86_400);
/// Most addresses that are counted; those that got their last mail longest ago make room.
const ADDRESSES_MAX: usize = 500_000;

/// An address by its digest.
pub(crate) type Mailbox = [u8; 32];

/// The mails that an address got in a row.
#[derive(Clone, Copy)]
struct Pace {
    mails: u32,
    last: Timestamp,
}

/// What addresses got lately.
#[derive(Default)]
pub(crate) struct MailBounds {
    resets: HashMap<Mailbox, Pace>,
}

/// Under what an address is counted.
pub(crate) fn mailbox(email: &str) -> Result<Mailbox> {
    let email = veritwin_metastore::normalise_email(email)?;
    Ok(veritwin_keys::sha256(email.as_bytes()))
}

fn reset_wait(mails: u32) -> Duration {
    match mails.checked_sub(RESET_MAILS_AT_ONCE) {
        None => Duration::ZERO,
        Some(more) => (RESET_WAIT_FIRST * 2u32.pow(more.min(10))).min(RESET_WAIT_MAX),
    }
}

/// Forgets what is past its time; when that is not enough, the quarter that is oldest.
fn make_room<T>(known: &mut HashMap<Mailbox, T>, now: Timestamp, last: impl Fn(&T) -> Timestamp) {
    if known.len() < ADDRESSES_MAX {
        return;
    }
    known.retain(|_, one| now.since(last(one)) < DAY);
    if known.len() < ADDRESSES_MAX {
        return;
    }
    let mut times: Vec<Timestamp> = known.values().map(&last).collect();
    let quarter = times.len() / 4;
    let (_, cut, _) = times.select_nth_unstable(quarter);
    let cut = *cut;
    known.retain(|_, one| last(one) > cut);
}

impl MailBounds {
    /// Whether a mail with links for a new password goes to an address now: it counts as sent.
    pub(crate) fn take_reset(&mut self, mailbox: Mailbox, now: Timestamp) -> bool {
        make_room(&mut self.resets, now, |pace| pace.last);
        let pace = self.resets.entry(mailbox).or_insert(Pace { mails: 0, last: now });
        let passed = now.since(pace.last);
        if passed >= DAY {
            pace.mails = 0;
        }
        if passed < reset_wait(pace.mails) {
            return false;
        }
        *pace = Pace { mails: pace.mails.saturating_add(1), last: now };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000)
    }

    #[test]
    fn nobody_uses_up_the_resets_of_an_address() {
        let (mut bounds, own) = (MailBounds::default(), mailbox("a@x.example").expect("address"));
        let (mut sent, mut last) = (0, start());
        // Somebody asks every ten seconds for two days.
        for step in 0..2 * 8_640u64 {
            let now = start().saturating_add(Duration::from_secs(step * 10));
            if bounds.take_reset(own, now) {
                (sent, last) = (sent + 1, now);
            }
            // Whoever has the mailbox finds links in it that work for as long again.
            assert!(now.since(last) < RESET_WAIT_MAX);
        }
        assert!((90..110).contains(&sent), "{sent}");
        let other = mailbox("b@x.example").expect("address");
        assert!(bounds.take_reset(other, start()));
    }

    #[test]
    fn waits_grow_and_end() {
        let (mut bounds, own) = (MailBounds::default(), mailbox("a@x.example").expect("address"));
        let mut now = start();
        for wait_s in [0, 0, 0, 60, 120, 240, 480, 960, 1_800, 1_800] {
            if wait_s > 0 {
                let early = now.saturating_add(Duration::from_secs(wait_s - 1));
                assert!(!bounds.take_reset(own, early), "{wait_s}");
            }
            now = now.saturating_add(Duration::from_secs(wait_s));
            assert!(bounds.take_reset(own, now), "{wait_s}");
        }
        now = now.saturating_add(DAY);
        assert!((0..3).all(|_| bounds.take_reset(own, now)));
        assert!(!bounds.take_reset(own, now));
    }

    #[test]
    fn spellings_of_an_address_are_one() {
        let check = |one: &str, other: &str, is_same: bool| {
            assert_eq!(mailbox(one).expect(one) == mailbox(other).expect(other), is_same, "{one}");
        };
        check("Ann@X.example", "ann@x.example", true);
        // Otherwise accounts of the one would keep the other out.
        check("ann+1@x.example", "ann@x.example", false);
        check("ann@x.example", "anna@x.example", false);
    }
}
