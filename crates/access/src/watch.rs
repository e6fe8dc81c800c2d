//! Anomalous access, by rules with stated thresholds. Pure: time comes in, findings come out, and
//! memory is bounded. Subjects are keyed digests or ids, never addresses or names.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use veritwin_domain::Timestamp;

use crate::countries::distance_km;

/// Failed sign-ins of one address are counted this long.
pub const STUFFING_WINDOW: Duration = Duration::from_secs(600);
/// Different accounts that one address may fail at within the window.
pub const STUFFING_ACCOUNTS_MAX: usize = 10;
/// Failures of one address within the window, whatever the accounts.
pub const STUFFING_FAILURES_MAX: u64 = 50;
/// Refusals of one actor are counted this long.
pub const DENIED_WINDOW: Duration = Duration::from_secs(300);
/// Refusals of one actor within the window.
pub const DENIED_MAX: u64 = 30;
/// Refused API keys of one address are counted this long.
pub const REFUSED_KEYS_WINDOW: Duration = Duration::from_secs(300);
/// Refused API keys of one address within the window.
pub const REFUSED_KEYS_MAX: u64 = 20;
/// What one actor takes away is counted this long.
pub const EXPORT_WINDOW: Duration = Duration::from_secs(3600);
/// Rows that one actor may take away within the window.
pub const EXPORT_ROWS_MAX: u64 = 1_000_000;
/// Exports that one actor may make within the window.
pub const EXPORTS_MAX: u64 = 20;
/// Countries nearer than this are not compared: their middles say too little.
pub const TRAVEL_KM_MIN: f64 = 2000.0;
/// Nobody travels faster than this.
pub const TRAVEL_KM_PER_HOUR_MAX: f64 = 1000.0;
/// Earlier sign-ins that have to be known before an hour of the day can be odd.
pub const HOURS_KNOWN_MIN: usize = 20;
/// A finding of one kind about one subject is not told again within this time.
pub const TOLD_AGAIN: Duration = Duration::from_secs(3600);
/// Most subjects that are counted at once, over all kinds.
pub const WATCHED_MAX: usize = 65_536;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Finding {
    /// One address fails at many accounts, or very often.
    CredentialStuffing,
    /// Two sign-ins of one account are further apart than anybody travels.
    ImpossibleTravel,
    /// A sign-in with a device and from a network that the account never used.
    NewDevice,
    /// One actor takes very much away.
    BulkExport,
    /// One actor is refused very often.
    DeniedSpike,
    /// One address presents API keys that are unknown or expired, very often.
    RefusedKeys,
    /// A sign-in at an hour of the day at which the account was never seen.
    OddHours,
    /// A certificate or revocation list by which devices come in ends soon.
    CertificatesEnding,
    /// Something that is stored does not read back as it was written.
    StorageDamaged,
    /// A tenant has used most of what its plan gives it.
    QuotaNear,
    /// A check found that a promise of the published policy is not kept.
    PromiseBroken,
    /// The mailbox for requests of data subjects cannot be read, or mails are left in it.
    MailboxUnread,
}

impl Finding {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::CredentialStuffing,
        Self::ImpossibleTravel,
        Self::NewDevice,
        Self::BulkExport,
        Self::DeniedSpike,
        Self::RefusedKeys,
        Self::OddHours,
        Self::CertificatesEnding,
        Self::StorageDamaged,
        Self::QuotaNear,
        Self::PromiseBroken,
        Self::MailboxUnread,
    ];

    /// The name used in records and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CredentialStuffing => "credential_stuffing",
            Self::ImpossibleTravel => "impossible_travel",
            Self::NewDevice => "new_device",
            Self::BulkExport => "bulk_export",
            Self::DeniedSpike => "denied_spike",
            Self::RefusedKeys => "refused_keys",
            Self::OddHours => "odd_hours",
            Self::CertificatesEnding => "certificates_ending",
            Self::StorageDamaged => "storage_damaged",
            Self::QuotaNear => "quota_near",
            Self::PromiseBroken => "promise_broken",
            Self::MailboxUnread => "mailbox_unread",
        }
    }

    /// How loud the alert is, as for other alerts.
    pub const fn severity(self) -> &'static str {
        match self {
            Self::CredentialStuffing | Self::ImpossibleTravel | Self::StorageDamaged => "critical",
            Self::BulkExport
            | Self::RefusedKeys
            | Self::CertificatesEnding
            | Self::QuotaNear
            | Self::PromiseBroken => "high",
            // Who looks after requests is mailed in words of its own.
            Self::DeniedSpike | Self::MailboxUnread => "medium",
            Self::NewDevice | Self::OddHours => "low",
        }
    }

    /// Whether the session should prove itself again.
    pub const fn asks_step_up(self) -> bool {
        matches!(self, Self::ImpossibleTravel | Self::BulkExport | Self::DeniedSpike)
    }
}

/// Whom the counting is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WatchSubject {
    /// A network address, by its keyed digest.
    Address([u8; 32]),
    /// A person, program or device, by its id.
    Actor([u8; 16]),
}

#[derive(Debug, Default)]
struct Window {
    started: Duration,
    count: u64,
    events: u64,
    accounts: HashSet<[u8; 32]>,
    told_until: Option<Duration>,
}

/// What happened lately. One per process; callers hold it behind a lock.
#[derive(Debug, Default)]
pub struct Watch {
    windows: HashMap<(Finding, WatchSubject), Window>,
}

impl Watch {
    /// A failed sign-in from an address at an account. Time is monotonic, here and below.
    pub fn sign_in_failed(
        &mut self,
        address: [u8; 32],
        account: [u8; 32],
        now: Duration,
    ) -> Option<Finding> {
        let kind = Finding::CredentialStuffing;
        let window = self.window(kind, WatchSubject::Address(address), STUFFING_WINDOW, now);
        window.count += 1;
        if window.accounts.len() <= STUFFING_ACCOUNTS_MAX {
            window.accounts.insert(account);
        }
        let found =
            window.accounts.len() > STUFFING_ACCOUNTS_MAX || window.count > STUFFING_FAILURES_MAX;
        tell(window, found, kind, now)
    }

    /// An actor was refused something.
    pub fn denied(&mut self, actor: [u8; 16], now: Duration) -> Option<Finding> {
        let kind = Finding::DeniedSpike;
        let window = self.window(kind, WatchSubject::Actor(actor), DENIED_WINDOW, now);
        window.count += 1;
        let found = window.count > DENIED_MAX;
        tell(window, found, kind, now)
    }

    /// An address presented an API key that is unknown or expired.
    pub fn key_refused(&mut self, address: [u8; 32], now: Duration) -> Option<Finding> {
        let kind = Finding::RefusedKeys;
        let window = self.window(kind, WatchSubject::Address(address), REFUSED_KEYS_WINDOW, now);
        window.count += 1;
        let found = window.count > REFUSED_KEYS_MAX;
        tell(window, found, kind, now)
    }

    /// An actor took rows away: `is_export` for an export, else an ordinary question.
    pub fn taken(
        &mut self,
        actor: [u8; 16],
        rows: u64,
        is_export: bool,
        now: Duration,
    ) -> Option<Finding> {
        let kind = Finding::BulkExport;
        let window = self.window(kind, WatchSubject::Actor(actor), EXPORT_WINDOW, now);
        window.count = window.count.saturating_add(rows);
        window.events += u64::from(is_export);
        let found = window.count > EXPORT_ROWS_MAX || window.events > EXPORTS_MAX;
        tell(window, found, kind, now)
    }

    fn window(
        &mut self,
        kind: Finding,
        subject: WatchSubject,
        length: Duration,
        now: Duration,
    ) -> &mut Window {
        if self.windows.len() >= WATCHED_MAX && !self.windows.contains_key(&(kind, subject)) {
            self.make_room(now);
        }
        let window = self
            .windows
            .entry((kind, subject))
            .or_insert_with(|| Window { started: now, ..Window::default() });
        if now.saturating_sub(window.started) >= length {
            let told_until = window.told_until;
            *window = Window { started: now, told_until, ..Window::default() };
        }
        window
    }

    /// Forgets the windows that are over; when that is not enough, the quarter that counted least.
    fn make_room(&mut self, now: Duration) {
        self.windows.retain(|_, window| now.saturating_sub(window.started) < EXPORT_WINDOW);
        if self.windows.len() < WATCHED_MAX {
            return;
        }
        let mut order: Vec<_> =
            self.windows.iter().map(|(key, window)| (window.count, *key)).collect();
        order.sort_by_key(|(count, _)| *count);
        for (_, key) in order.iter().take(WATCHED_MAX / 4) {
            self.windows.remove(key);
        }
    }
}

/// Tells a finding once, and again only after a while.
fn tell(window: &mut Window, found: bool, kind: Finding, now: Duration) -> Option<Finding> {
    let is_told = window.told_until.is_some_and(|until| now < until);
    if !found || is_told {
        return None;
    }
    window.told_until = Some(now + TOLD_AGAIN);
    Some(kind)
}

/// A sign-in, as far as it is compared with others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    /// When.
    pub at: Timestamp,
    /// ISO 3166-1 alpha-2 code, where a location file is configured.
    pub country: Option<String>,
    /// Browser and system.
    pub device: Option<String>,
    /// The network that the address belongs to; see [`network_of`].
    pub network: Option<String>,
}

/// The network of an address: 24 bits of IPv4, 48 of IPv6.
pub fn network_of(address: std::net::IpAddr) -> String {
    match address.to_canonical() {
        std::net::IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        std::net::IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}::/48")
        }
    }
}

/// Compares a sign-in with earlier ones of the account, newest first.
pub fn judge_sign_in(now: &SignIn, earlier: &[SignIn]) -> Vec<Finding> {
    let mut found = Vec::new();
    if is_impossible_travel(now, earlier) {
        found.push(Finding::ImpossibleTravel);
    }
    let is_new = |part: fn(&SignIn) -> &Option<String>| {
        let own = part(now);
        let mut known = earlier.iter().filter_map(|one| part(one).as_ref()).peekable();
        known.peek().is_some() && own.as_ref().is_some_and(|own| !known.any(|one| one == own))
    };
    if is_new(|one| &one.device) && is_new(|one| &one.network) {
        found.push(Finding::NewDevice);
    }
    if earlier.len() >= HOURS_KNOWN_MIN && is_odd_hour(now, earlier) {
        found.push(Finding::OddHours);
    }
    found
}

fn is_impossible_travel(now: &SignIn, earlier: &[SignIn]) -> bool {
    let Some(here) = &now.country else { return false };
    let last = earlier.iter().find_map(|one| Some((one.at, one.country.as_ref()?)));
    let Some((at, there)) = last else { return false };
    let Some(km) = distance_km(there, here) else { return false };
    let hours = now.at.since(at).as_secs_f64() / 3600.0;
    km >= TRAVEL_KM_MIN && km > hours * TRAVEL_KM_PER_HOUR_MAX
}

/// Whether no earlier sign-in was within an hour of this time of day (UTC).
fn is_odd_hour(now: &SignIn, earlier: &[SignIn]) -> bool {
    let hour = |at: Timestamp| at.as_millis().div_euclid(3_600_000).rem_euclid(24);
    let own = hour(now.at);
    !earlier.iter().any(|one| {
        let apart = (hour(one.at) - own).abs();
        apart.min(24 - apart) <= 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);
    const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn digest(number: usize) -> [u8; 32] {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        digest
    }

    #[test]
    fn many_accounts_of_one_address_are_stuffing_and_one_forgotten_password_is_not() {
        let mut watch = Watch::default();
        for number in 0..STUFFING_ACCOUNTS_MAX {
            assert_eq!(watch.sign_in_failed(digest(0), digest(number), SECOND), None);
        }
        let eleventh = watch.sign_in_failed(digest(0), digest(99), SECOND);
        assert_eq!(eleventh, Some(Finding::CredentialStuffing));
        assert_eq!(watch.sign_in_failed(digest(0), digest(100), SECOND), None, "told once");
        for _ in 0..STUFFING_FAILURES_MAX {
            assert_eq!(watch.sign_in_failed(digest(1), digest(1), SECOND), None);
        }
        assert!(watch.sign_in_failed(digest(1), digest(1), SECOND).is_some());
        // Spread over time it is no attack.
        for number in 0..100 {
            let now = STUFFING_WINDOW * u32::try_from(number).expect("small");
            assert_eq!(watch.sign_in_failed(digest(2), digest(number), now), None);
        }
    }

    #[test]
    fn exports_refusals_and_refused_keys_have_their_limits() {
        let mut watch = Watch::default();
        assert_eq!(watch.taken([1; 16], EXPORT_ROWS_MAX, false, SECOND), None);
        assert_eq!(watch.taken([1; 16], 1, false, SECOND), Some(Finding::BulkExport));
        for _ in 0..EXPORTS_MAX {
            assert_eq!(watch.taken([2; 16], 1, true, SECOND), None);
        }
        assert_eq!(watch.taken([2; 16], 1, true, SECOND), Some(Finding::BulkExport));
        for _ in 0..DENIED_MAX {
            assert_eq!(watch.denied([1; 16], SECOND), None);
        }
        assert_eq!(watch.denied([1; 16], SECOND), Some(Finding::DeniedSpike));
        for _ in 0..REFUSED_KEYS_MAX {
            assert_eq!(watch.key_refused(digest(1), SECOND), None);
        }
        assert_eq!(watch.key_refused(digest(1), SECOND), Some(Finding::RefusedKeys));
        assert_eq!(watch.denied([1; 16], HOUR * 3), None, "the window is over");
    }

    #[test]
    fn sign_ins_are_compared_with_earlier_ones() {
        let sign_in = |hours: u32, country: &str, device: &str, network: &str| SignIn {
            at: START.saturating_add(HOUR * hours),
            country: Some(country.to_owned()).filter(|code| !code.is_empty()),
            device: Some(device.to_owned()),
            network: Some(network.to_owned()),
        };
        let check = |now: SignIn, earlier: &[SignIn], expect: &[Finding]| {
            assert_eq!(judge_sign_in(&now, earlier), expect, "{now:?}");
        };
        let home = [sign_in(0, "TW", "Firefox, Linux", "192.0.2.0/24")];
        check(sign_in(1, "TW", "Firefox, Linux", "192.0.2.0/24"), &home, &[]);
        check(sign_in(1, "TW", "Firefox, Linux", "203.0.113.0/24"), &home, &[]);
        check(sign_in(1, "", "Safari, iOS 18", "203.0.113.0/24"), &home, &[Finding::NewDevice]);
        let far = |hours| sign_in(hours, "GB", "Firefox, Linux", "203.0.113.0/24");
        check(far(1), &home, &[Finding::ImpossibleTravel]);
        check(far(12), &home, &[]);
        check(sign_in(0, "KR", "Firefox, Linux", "203.0.113.0/24"), &home, &[]);
        check(far(1), &[], &[]);
        let days: Vec<SignIn> =
            (0..25).map(|day| sign_in(day * 24, "TW", "Firefox, Linux", "192.0.2.0/24")).collect();
        check(sign_in(25 * 24, "TW", "Firefox, Linux", "192.0.2.0/24"), &days, &[]);
        let night = sign_in(25 * 24 + 12, "TW", "Firefox, Linux", "192.0.2.0/24");
        check(night.clone(), &days, &[Finding::OddHours]);
        check(night, &days[..10], &[]);
    }

    #[test]
    fn networks_and_memory_are_bounded() {
        let network = |text: &str| network_of(text.parse().expect("an address"));
        assert_eq!(network("192.0.2.77"), "192.0.2.0/24");
        assert_eq!(network("::ffff:192.0.2.77"), "192.0.2.0/24");
        assert_eq!(network("2001:db8:1:2::3"), "2001:db8:1::/48");
        let mut watch = Watch::default();
        for number in 0..WATCHED_MAX + 1000 {
            watch.key_refused(digest(number), SECOND);
        }
        assert!(watch.windows.len() <= WATCHED_MAX);
    }
}
