//! How many mails the platform sends to one address, counted in memory by digests of addresses; a
//! restart begins anew. Mails that anybody can ask for wait less long than the last one's links
//! work, so that nobody keeps somebody else out by asking. Mails to somebody who asked for none
//! are bounded by address, for each sender, for each branch of tenants and over all.

use std::collections::HashMap;
use std::time::Duration;

use veritwin_access::MAILED_LINK_LIFETIME;
use veritwin_domain::{TenantId, Timestamp, UserId};

use crate::tree::over;
use crate::{App, Error, Result, RowError};

/// Mails with links for a new password that an address gets in a row without waiting.
const RESET_MAILS_AT_ONCE: u32 = 3;
/// The wait after those; it doubles with each further mail.
const RESET_WAIT_FIRST: Duration = Duration::from_secs(60);
/// The longest wait. The links of the last mail work for at least as long after it.
const RESET_WAIT_MAX: Duration = Duration::from_secs(30 * 60);
const _: () = assert!(RESET_WAIT_MAX.as_secs() * 2 <= MAILED_LINK_LIFETIME.as_secs());

/// Most mails that an address which asked for none gets in 24 hours from one sender.
const ADDRESS_MAILS_OF_SENDER_MAX: usize = 3;
/// Most of them from all senders of one branch: a tenant directly below the platform, with all
/// below it.
const ADDRESS_MAILS_OF_BRANCH_MAX: usize = 5;
/// The same for a sender that has sent it none yet.
const ADDRESS_FIRST_MAILS_OF_BRANCH_MAX: usize = 10;
/// Most of them from everybody together, but for the first of each branch.
const ADDRESS_MAILS_MAX: usize = 40;
// No few branches use up what the others have.
const _: () = assert!(ADDRESS_MAILS_MAX >= 4 * ADDRESS_FIRST_MAILS_OF_BRANCH_MAX);
/// The one name of these bounds: which of them it was would tell who else writes to an address.
const ADDRESS_MAILS: &str = "address_mails_per_day_max";
/// Most such mails that a person sends in 24 hours, to whatever addresses.
const PERSON_MAILS_PER_DAY_MAX: usize = 10;
/// Most times in 24 hours that whoever is above a tenant shortens how long its readings are kept:
/// each time its administrators are told.
const SHORTENINGS_PER_DAY_MAX: usize = 3;
/// In what the bounds count, and after what an address is forgotten.
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

/// Who sends a mail to somebody who asked for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    Tenant(TenantId),
    /// Somebody who is signed in to a tenant.
    Person(UserId, TenantId),
}

impl Sender {
    fn digest(self) -> Mailbox {
        let text = match self {
            Self::Tenant(tenant) => format!("tenant {tenant}"),
            Self::Person(person, _) => format!("person {person}"),
        };
        veritwin_keys::sha256(text.as_bytes())
    }

    const fn tenant(self) -> TenantId {
        match self {
            Self::Tenant(tenant) | Self::Person(_, tenant) => tenant,
        }
    }
}

/// One mail: from whom or to whom, and when.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Sent {
    other: Mailbox,
    /// The branch of who sent it.
    branch: TenantId,
    at: Timestamp,
}

/// What addresses got lately, and what some senders sent.
#[derive(Default)]
pub(crate) struct MailBounds {
    resets: HashMap<Mailbox, Pace>,
    /// By address and, for persons, by sender; the oldest first, none older than a day.
    sent: HashMap<Mailbox, Vec<Sent>>,
}

/// Places that mails have taken; given back unless they are kept.
#[must_use]
pub(crate) struct Places<'a> {
    app: &'a App,
    taken: Vec<(Mailbox, Sent)>,
}

impl Places<'_> {
    /// The mails are queued.
    pub(crate) fn keep(mut self) {
        self.taken.clear();
    }
}

impl Drop for Places<'_> {
    fn drop(&mut self) {
        if self.taken.is_empty() {
            return;
        }
        let mut bounds = self.app.0.mail_bounds.lock();
        for (key, sent) in &self.taken {
            bounds.give_back(*key, *sent);
        }
    }
}

/// Under what an address is counted.
pub(crate) fn mailbox(email: &str) -> Result<Mailbox> {
    let email = veritwin_metastore::normalise_email(email)?;
    Ok(veritwin_keys::sha256(email.as_bytes()))
}

/// Under what an address is counted that asked for nothing: what stands after a plus sign is one
/// mailbox to most mail servers.
fn stranger(email: &str) -> Result<Mailbox> {
    let email = veritwin_metastore::normalise_email(email)?;
    let (name, host) = email.rsplit_once('@').unwrap_or((&email, ""));
    let name = name.split_once('+').map_or(name, |(name, _)| name);
    mailbox(&format!("{name}@{host}"))
}

/// Under what the mails of an organisation's page to an address are counted.
fn at_page(mailbox: Mailbox, page: TenantId) -> Mailbox {
    veritwin_keys::sha256(&[&mailbox[..], page.as_bytes()].concat())
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
    /// Whether a mail with links for a new password goes to an address now: it counts as sent. The
    /// mails that one organisation's page alone brings about have a pace of their own: those that
    /// anybody brings about elsewhere keep none of them away.
    pub(crate) fn take_reset(
        &mut self,
        mailbox: Mailbox,
        page: Option<TenantId>,
        now: Timestamp,
    ) -> bool {
        make_room(&mut self.resets, now, |pace| pace.last);
        let key = page.map_or(mailbox, |page| at_page(mailbox, page));
        let pace = self.resets.entry(key).or_insert(Pace { mails: 0, last: now });
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

    /// What counts under a key at a moment.
    fn recent(&mut self, key: Mailbox, now: Timestamp) -> &mut Vec<Sent> {
        let last = |sent: &Vec<Sent>| sent.last().map_or(Timestamp::MIN, |one| one.at);
        make_room(&mut self.sent, now, last);
        let sent = self.sent.entry(key).or_default();
        sent.retain(|one| now.since(one.at) < DAY);
        sent
    }

    /// Takes a place for a mail of a sender, of a branch, to an address that asked for none: where
    /// it stands.
    fn take(
        &mut self,
        (sender, branch): (Sender, TenantId),
        address: Mailbox,
        now: Timestamp,
    ) -> Result<Vec<(Mailbox, Sent)>> {
        let from = sender.digest();
        if let Sender::Person(..) = sender {
            let own = self.recent(from, now).len();
            bound("person_mails_per_day_max", PERSON_MAILS_PER_DAY_MAX, own)?;
        }
        if !has_place(self.recent(address, now), from, branch) {
            return Err(over(ADDRESS_MAILS, ADDRESS_MAILS_OF_SENDER_MAX as u64, u64::MAX));
        }
        let mut taken = vec![(address, Sent { other: from, branch, at: now })];
        if let Sender::Person(..) = sender {
            taken.push((from, Sent { other: address, branch, at: now }));
        }
        for (key, sent) in &taken {
            self.sent.entry(*key).or_default().push(*sent);
        }
        Ok(taken)
    }

    fn take_shortening(&mut self, of: TenantId, now: Timestamp) -> Result<(Mailbox, Sent)> {
        let key = veritwin_keys::sha256(format!("shortening {of}").as_bytes());
        let known = self.recent(key, now);
        bound("retention_shortenings_per_day_max", SHORTENINGS_PER_DAY_MAX, known.len())?;
        let sent = Sent { other: key, branch: of, at: now };
        known.push(sent);
        Ok((key, sent))
    }

    fn give_back(&mut self, key: Mailbox, sent: Sent) {
        let Some(known) = self.sent.get_mut(&key) else { return };
        if let Some(at) = known.iter().rposition(|one| *one == sent) {
            known.remove(at);
        }
        if known.is_empty() {
            self.sent.remove(&key);
        }
    }
}

/// Whether an address that got these mails in a day gets another: what others sent it keeps nobody
/// of another branch from sending, and hardly anybody of the same from sending a first one.
fn has_place(known: &[Sent], from: Mailbox, branch: TenantId) -> bool {
    let of_sender = known.iter().filter(|one| one.other == from).count();
    let of_branch = known.iter().filter(|one| one.branch == branch).count();
    let of_branch_max = match of_sender {
        0 => ADDRESS_FIRST_MAILS_OF_BRANCH_MAX,
        _ => ADDRESS_MAILS_OF_BRANCH_MAX,
    };
    of_sender < ADDRESS_MAILS_OF_SENDER_MAX
        && of_branch < of_branch_max
        && (of_branch == 0 || known.len() < ADDRESS_MAILS_MAX)
}

fn bound(name: &'static str, max: usize, found: usize) -> Result<()> {
    if found >= max {
        return Err(over(name, max as u64, found as u64 + 1));
    }
    Ok(())
}

impl App {
    fn with_branch(&self, sender: Sender) -> (Sender, TenantId) {
        (sender, self.0.tree.read().branch(sender.tenant()))
    }

    /// Takes places for mails, all or none; none where no mail is sent at all.
    fn take_places(
        &self,
        take: impl FnOnce(&mut MailBounds, &mut Vec<(Mailbox, Sent)>) -> Result<()>,
    ) -> Result<Places<'_>> {
        let mut places = Places { app: self, taken: Vec::new() };
        if self.0.mailer.is_some() {
            let outcome = take(&mut self.0.mail_bounds.lock(), &mut places.taken);
            outcome?;
        }
        Ok(places)
    }

    /// Takes a place for a mail to an address that has not asked for it itself.
    pub(crate) fn mail_place(
        &self,
        sender: Sender,
        email: &str,
        now: Timestamp,
    ) -> Result<Places<'_>> {
        let (sender, address) = (self.with_branch(sender), stranger(email)?);
        self.take_places(|bounds, taken| {
            taken.extend(bounds.take(sender, address, now)?);
            Ok(())
        })
    }

    /// Takes places for all lines of a file, or none: each that has none is told, up to so many.
    pub(crate) fn mail_places<'a>(
        &self,
        sender: Sender,
        lines: impl Iterator<Item = (u64, &'a str)>,
        (now, mistakes_max): (Timestamp, usize),
    ) -> Result<Places<'_>> {
        let sender = self.with_branch(sender);
        self.take_places(|bounds, taken| {
            let mut mistakes = Vec::new();
            for (line, email) in lines {
                match bounds.take(sender, stranger(email)?, now) {
                    Ok(places) => taken.extend(places),
                    Err(Error::Limit(limit)) => {
                        let at = format!("line {line}, column email");
                        mistakes.push(RowError { at, detail: limit.to_string() });
                        if mistakes.len() == mistakes_max {
                            break;
                        }
                    }
                    Err(other) => return Err(other),
                }
            }
            if mistakes.is_empty() { Ok(()) } else { Err(Error::InvalidRows(mistakes)) }
        })
    }

    /// Takes places for telling tenants that something of theirs is kept for less time.
    pub(crate) fn shortening_places(
        &self,
        of: impl IntoIterator<Item = TenantId>,
        now: Timestamp,
    ) -> Result<Places<'_>> {
        self.take_places(|bounds, taken| {
            for tenant in of {
                taken.push(bounds.take_shortening(tenant, now)?);
            }
            Ok(())
        })
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
            if bounds.take_reset(own, None, now) {
                (sent, last) = (sent + 1, now);
            }
            // Whoever has the mailbox finds links in it that work for as long again.
            assert!(now.since(last) < RESET_WAIT_MAX);
        }
        assert!((90..110).contains(&sent), "{sent}");
        // Nor those of a page whose account is in none of these mails.
        let page = TenantId::from_bytes([1; 16]);
        assert!(bounds.take_reset(own, Some(page), last));
        assert!(!bounds.take_reset(own, None, last));
        let other = mailbox("b@x.example").expect("address");
        assert!(bounds.take_reset(other, None, start()));
    }

    #[test]
    fn waits_grow_and_end() {
        let (mut bounds, own) = (MailBounds::default(), mailbox("a@x.example").expect("address"));
        let mut now = start();
        for wait_s in [0, 0, 0, 60, 120, 240, 480, 960, 1_800, 1_800] {
            if wait_s > 0 {
                let early = now.saturating_add(Duration::from_secs(wait_s - 1));
                assert!(!bounds.take_reset(own, None, early), "{wait_s}");
            }
            now = now.saturating_add(Duration::from_secs(wait_s));
            assert!(bounds.take_reset(own, None, now), "{wait_s}");
        }
        now = now.saturating_add(DAY);
        assert!((0..3).all(|_| bounds.take_reset(own, None, now)));
        assert!(!bounds.take_reset(own, None, now));
    }

    fn refused(result: Result<Vec<(Mailbox, Sent)>>) -> Option<&'static str> {
        match result {
            Ok(_) => None,
            Err(Error::Limit(limit)) => Some(limit.name),
            Err(error) => panic!("{error}"),
        }
    }

    /// A sender of a branch.
    fn of(branch: u8, number: u8) -> (Sender, TenantId) {
        let tenant = TenantId::from_bytes([number; 16]);
        (Sender::Tenant(tenant), TenantId::from_bytes([branch; 16]))
    }

    #[test]
    fn who_asked_for_none_gets_few_mails_from_each_and_from_all() {
        let mut bounds = MailBounds::default();
        let own = TenantId::from_bytes([1; 16]);
        let person = (Sender::Person(UserId::from_bytes([1; 16]), own), own);
        let address = |name: &str| stranger(&format!("{name}@x.example")).expect("address");
        let mut check = |sender, name: &str, day: u64, expect: Option<&str>| {
            let now = start().saturating_add(DAY * u32::try_from(day).expect("small"));
            assert_eq!(refused(bounds.take(sender, address(name), now)), expect, "{name} {day}");
        };
        for tag in 0..3 {
            check(of(1, 1), &format!("ann+{tag}"), 0, None);
        }
        check(of(1, 1), "ann", 0, Some(ADDRESS_MAILS));
        check(person, "ann", 0, None);
        check(person, "Ann", 0, None);
        check(person, "ann", 0, Some(ADDRESS_MAILS));
        for number in 0..8 {
            check(person, &format!("b{number}"), 0, None);
        }
        check(person, "c", 0, Some("person_mails_per_day_max"));
        check(of(1, 1), "b1", 0, None);
        check(of(1, 1), "ann", 1, None);
        check(person, "ann", 1, None);
    }

    #[test]
    fn strangers_keep_nobody_from_writing() {
        let mut bounds = MailBounds::default();
        let ann = stranger("ann@x.example").expect("address");
        let mut check = |sender, expect: Option<&str>| {
            assert_eq!(refused(bounds.take(sender, ann, start())), expect, "{sender:?}");
        };
        // Whatever one branch sends, by however many senders.
        for number in 1..=10 {
            check(of(1, number), None);
        }
        check(of(1, 11), Some(ADDRESS_MAILS));
        check(of(1, 1), Some(ADDRESS_MAILS));
        for _ in 0..3 {
            check(of(2, 20), None);
        }
        // In one's own branch a first one goes, and another where the branch has sent few.
        check(of(2, 21), None);
        check(of(2, 21), None);
        check(of(2, 21), Some(ADDRESS_MAILS));
        check(of(2, 22), None);
        // The refusals are all the same.
        let mut told = [of(1, 11), of(1, 1), of(2, 20), of(2, 22)].map(|sender| {
            bounds.take(sender, ann, start()).map(|_| ()).expect_err("refused").to_string()
        });
        told.sort();
        assert_eq!(told[0], told[3]);
        // All that four branches can send, and the first of one more.
        let of_all = (0..4).flat_map(|n| (0..10).map(move |m| of(10 + n, 100 + n * 10 + m)));
        let sent = of_all.filter(|one| refused(bounds.take(*one, ann, start())).is_none()).count();
        assert_eq!(sent + 16, ADDRESS_MAILS_MAX + 1);
        // Nor do they keep a further one from its first.
        assert_eq!(refused(bounds.take(of(9, 90), ann, start())), None);
        assert_eq!(refused(bounds.take(of(9, 90), ann, start())), Some(ADDRESS_MAILS));
    }

    #[test]
    fn a_place_that_was_not_used_is_given_back() {
        let mut bounds = MailBounds::default();
        let of = TenantId::from_bytes([1; 16]);
        let person = (Sender::Person(UserId::from_bytes([1; 16]), of), of);
        let own = mailbox("a@x.example").expect("address");
        for _ in 0..20 {
            let taken = bounds.take(person, own, start()).expect("a place");
            taken.into_iter().for_each(|(key, sent)| bounds.give_back(key, sent));
        }
        assert!(bounds.sent.is_empty());
        let tenant = TenantId::from_bytes([1; 16]);
        for _ in 0..SHORTENINGS_PER_DAY_MAX {
            bounds.take_shortening(tenant, start()).expect("a place");
        }
        let spent = bounds.take_shortening(tenant, start());
        assert!(matches!(spent, Err(Error::Limit(limit)) if limit.max == SHORTENINGS_PER_DAY_MAX));
    }

    #[test]
    fn spellings_of_an_address_are_one() {
        let check = |one: &str, other: &str, is_same: bool| {
            assert_eq!(mailbox(one).expect(one) == mailbox(other).expect(other), is_same, "{one}");
        };
        check("Ann@X.example", "ann@x.example", true);
        // Otherwise accounts of the one would keep the other out.
        check("ann+1@x.example", "ann@x.example", false);
        let tagged = stranger("Ann+1@x.example").expect("address");
        assert_eq!(tagged, mailbox("ann@x.example").expect("address"));
        check("ann@x.example", "anna@x.example", false);
    }
}
