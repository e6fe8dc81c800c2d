//! Networks in CIDR form and lists of them: allow-lists, trusted proxies, refused ranges. An IPv4
//! address inside IPv6 (`::ffff:a.b.c.d`) counts as the IPv4 address everywhere.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Most networks in one list.
pub const ADDRESS_LIST_NETWORKS_MAX: usize = 256;
/// Longest text of a network, in bytes.
const NETWORK_BYTES_MAX: usize = 64;

/// A network: all addresses whose first `prefix` bits are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no network; it says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Not an address with a prefix.
    #[error("not a network: expected one like 203.0.113.0/24, 2001:db8::/32 or 203.0.113.7")]
    Syntax,
    /// The prefix is longer than the address.
    #[error("the prefix is at most /{0} here")]
    Prefix(u8),
    /// Bits behind the prefix are set.
    #[error("bits behind the prefix are set: did you mean {0}?")]
    HostBits(Network),
}

/// The bits of an address from the left, in 128 bits, and how many there are.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let kept = bits(address).0 & mask(prefix);
    match address {
        IpAddr::V4(_) => {
            IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(kept >> 96).unwrap_or(u32::MAX)))
        }
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(kept)),
    }
}

const fn mask(prefix: u8) -> u128 {
    if prefix == 0 { 0 } else { u128::MAX << (128 - prefix as u32) }
}

impl Network {
    /// The network of `prefix` bits around an address.
    pub fn around(address: IpAddr, prefix: u8) -> Result<Self, NetworkError> {
        let longest = bits(address).1;
        if prefix > longest {
            return Err(NetworkError::Prefix(longest));
        }
        Ok(Self { address: masked(address, prefix), prefix })
    }

    /// An IPv4 network known to be right when the program is built; bits behind the prefix are
    /// dropped.
    pub const fn v4(octets: [u8; 4], prefix: u8) -> Self {
        assert!(prefix <= 32, "at most 32 bits");
        let kept = u32::from_be_bytes(octets) & (mask(prefix) >> 96) as u32;
        Self { address: IpAddr::V4(Ipv4Addr::from_bits(kept)), prefix }
    }

    /// An IPv6 network known to be right when the program is built; bits behind the prefix are
    /// dropped.
    pub const fn v6(segments: [u16; 8], prefix: u8) -> Self {
        assert!(prefix <= 128, "at most 128 bits");
        let [a, b, c, d, e, f, g, h] = segments;
        let kept = Ipv6Addr::new(a, b, c, d, e, f, g, h).to_bits() & mask(prefix);
        Self { address: IpAddr::V6(Ipv6Addr::from_bits(kept)), prefix }
    }

    /// Whether an address is inside.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let ((ours, length), (theirs, other)) = (bits(self.address), bits(address));
        length == other && (ours ^ theirs) & mask(self.prefix) == 0
    }

    /// Whether all of another network is inside.
    pub fn covers(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.address)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let text = text.trim();
        if text.len() > NETWORK_BYTES_MAX {
            return Err(NetworkError::Syntax);
        }
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| NetworkError::Syntax)?;
        let longest = bits(written).1;
        let prefix: u8 = match prefix {
            // `u8` would take a sign.
            Some(digits) if !digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err(NetworkError::Syntax);
            }
            Some(digits) => digits.parse().map_err(|_| NetworkError::Prefix(longest))?,
            None => longest,
        };
        if prefix > longest {
            return Err(NetworkError::Prefix(longest));
        }
        // An IPv4 network in IPv6 clothes is taken as what it is.
        let (address, prefix) = match (written.to_canonical(), written) {
            (v4 @ IpAddr::V4(_), IpAddr::V6(_)) if prefix >= 96 => (v4, prefix - 96),
            _ => (written, prefix),
        };
        let network = Self { address: masked(address, prefix), prefix };
        if network.address == address { Ok(network) } else { Err(NetworkError::HostBits(network)) }
    }
}

/// A list of networks. As an allow-list an empty one lets everybody in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressList(Vec<Network>);

/// Why a list is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressListError {
    /// One of its rows.
    #[error("row {}: {problem}", index + 1)]
    Row {
        /// Its place, from 0.
        index: usize,
        /// What is wrong with it.
        problem: NetworkError,
    },
    /// Too many rows.
    #[error(
        "limit address_list_networks_max exceeded: at most {ADDRESS_LIST_NETWORKS_MAX}, got {0}"
    )]
    Length(usize),
}

impl AddressList {
    /// A list from texts; repeated networks are kept once, in the order written.
    pub fn parse<S: AsRef<str>>(rows: &[S]) -> Result<Self, AddressListError> {
        if rows.len() > ADDRESS_LIST_NETWORKS_MAX {
            return Err(AddressListError::Length(rows.len()));
        }
        let mut networks = Vec::with_capacity(rows.len());
        for (index, row) in rows.iter().enumerate() {
            let parsed = row.as_ref().parse();
            let network = parsed.map_err(|problem| AddressListError::Row { index, problem })?;
            if !networks.contains(&network) {
                networks.push(network);
            }
        }
        Ok(Self(networks))
    }

    /// The networks.
    pub fn networks(&self) -> &[Network] {
        &self.0
    }

    /// The list as texts, as [`Self::parse`] takes them.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an address is in one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Whether somebody from this address comes in: an empty list lets everybody in; any other
    /// only its own networks, and nobody whose address is not known.
    pub fn allows(&self, address: Option<IpAddr>) -> bool {
        self.is_empty() || address.is_some_and(|address| self.contains(address))
    }

    /// Whether everybody whom another list lets in comes in by this one, as far as each network is
    /// inside one of these.
    pub fn allows_all_of(&self, other: &Self) -> bool {
        let is_inside = |network: &Network| self.0.iter().any(|own| own.covers(network));
        self.is_empty() || (!other.is_empty() && other.0.iter().all(is_inside))
    }
}

/// The addresses that count as one party where requests are counted: a single IPv4 address, or
/// the /64 of an IPv6 one, which one subscriber has all to itself.
pub fn address_party(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        v6 @ IpAddr::V6(_) => masked(v6, 64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_lets_everybody_of_another_in_or_leaves_somebody_out() {
        let check = |now: &[&str], before: &[&str], expect: bool| {
            let list = |rows: &[&str]| AddressList::parse(rows).unwrap();
            assert_eq!(list(now).allows_all_of(&list(before)), expect, "{now:?} {before:?}");
        };
        check(&[], &[], true);
        check(&[], &["203.0.113.0/24"], true);
        check(&["203.0.113.0/24"], &[], false);
        check(&["0.0.0.0/0"], &[], false);
        check(&["203.0.113.0/24"], &["203.0.113.0/24"], true);
        check(&["203.0.0.0/16", "2001:db8::/32"], &["203.0.113.0/24", "2001:db8:1::/48"], true);
        check(&["203.0.113.0/25"], &["203.0.113.0/24"], false);
        check(&["203.0.113.0/24"], &["203.0.113.0/24", "198.51.100.7"], false);
        check(&["203.0.113.0/24"], &["2001:db8::/32"], false);
    }

    #[test]
    fn texts_become_networks_or_say_what_would_be_right() {
        let check = |text: &str, expect: Result<&str, &str>| {
            let parsed = text.parse::<Network>();
            let shown = parsed.map(|n| n.to_string()).map_err(|error| error.to_string());
            match (shown, expect) {
                (Ok(shown), Ok(expect)) => assert_eq!(shown, expect, "{text}"),
                (Err(shown), Err(expect)) => assert!(shown.contains(expect), "{text}: {shown}"),
                (shown, expect) => panic!("{text}: {shown:?}, expected {expect:?}"),
            }
        };
        check("10.0.0.0/8", Ok("10.0.0.0/8"));
        check(" 203.0.113.7 ", Ok("203.0.113.7/32"));
        check("0.0.0.0/0", Ok("0.0.0.0/0"));
        check("2001:db8::/32", Ok("2001:db8::/32"));
        check("::1", Ok("::1/128"));
        check("::/0", Ok("::/0"));
        check("::ffff:10.0.0.0/104", Ok("10.0.0.0/8"));
        check("::ffff:10.0.0.1", Ok("10.0.0.1/32"));
        check("10.0.0.1/8", Err("did you mean 10.0.0.0/8?"));
        check("2001:db8::1/32", Err("did you mean 2001:db8::/32?"));
        check("10.0.0.0/33", Err("at most /32"));
        check("::/129", Err("at most /128"));
        check("10.0.0.0/999", Err("at most /32"));
        check("10.0.0.0/+8", Err("not a network"));
        check("10.0.0.0/", Err("at most /32"));
        check("10.0.0/8", Err("not a network"));
        check("010.0.0.0/8", Err("not a network"));
        check("fe80::1%eth0/64", Err("not a network"));
        check("localhost", Err("not a network"));
        check("", Err("not a network"));
        check(&"1".repeat(100), Err("not a network"));
    }

    #[test]
    fn lists_decide() {
        let list =
            AddressList::parse(&["10.0.0.0/8", "2001:db8::/32", "10.0.0.0/8"]).expect("list");
        assert_eq!(list.texts(), ["10.0.0.0/8", "2001:db8::/32"]);
        let check = |address: &str, expect: bool| {
            assert_eq!(list.allows(Some(address.parse().expect(address))), expect, "{address}");
        };
        check("10.255.0.1", true);
        check("::ffff:10.1.2.3", true);
        check("11.0.0.1", false);
        check("2001:db8:1::1", true);
        check("2001:db9::1", false);
        check("::a00:1", false);
        assert!(!list.allows(None));
        assert!(AddressList::default().allows(None));
        let all = AddressList::parse(&["0.0.0.0/0"]).expect("list");
        assert!(all.contains("255.1.1.1".parse().expect("v4")));
        assert!(!all.contains("::1".parse().expect("v6")));
    }

    #[test]
    fn lists_are_bounded_and_name_the_row() {
        let error = AddressList::parse(&["10.0.0.0/8", "x"]).expect_err("row").to_string();
        assert!(error.starts_with("row 2: not a network"), "{error}");
        let many = vec!["10.0.0.0/8"; ADDRESS_LIST_NETWORKS_MAX + 1];
        let error = AddressList::parse(&many).expect_err("length").to_string();
        assert!(error.contains("address_list_networks_max"), "{error}");
    }

    #[test]
    fn one_subscriber_is_one_party() {
        let check = |address: &str, expect: &str| {
            let party = address_party(address.parse().expect(address));
            assert_eq!(party, expect.parse::<IpAddr>().expect(expect), "{address}");
        };
        check("203.0.113.9", "203.0.113.9");
        check("::ffff:203.0.113.9", "203.0.113.9");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
        check("2001:db8:1:2::", "2001:db8:1:2::");
    }
}
