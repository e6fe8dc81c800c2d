//! The networks an API key works from: `address/length` (CIDR, RFC 4632 and RFC 4291), and what
//! kind of network an address belongs to.

use std::net::IpAddr;

use veritwin_metastore::UsedFrom;

/// A network, in the form in which its addresses are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// A network; an address alone is the network of itself.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most)?,
            None => most,
        };
        Some(Self { address, bits })
    }

    /// Whether an address is in it.
    pub(crate) fn holds(self, address: IpAddr) -> bool {
        let shift = |most: u32| most - u32::from(self.bits);
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let cut = |bits: u32| bits.checked_shr(shift(32)).unwrap_or(0);
                cut(own.to_bits()) == cut(other.to_bits())
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let cut = |bits: u128| bits.checked_shr(shift(128)).unwrap_or(0);
                cut(own.to_bits()) == cut(other.to_bits())
            }
            _ => false,
        }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// As much as is kept of where a key was used from.
pub(crate) fn used_from(address: IpAddr) -> UsedFrom {
    match address.to_canonical() {
        address if address.is_loopback() => UsedFrom::Loopback,
        IpAddr::V4(v4) if v4.is_private() || v4.is_link_local() => UsedFrom::Private,
        IpAddr::V6(v6) if v6.is_unique_local() || v6.is_unicast_link_local() => UsedFrom::Private,
        _ => UsedFrom::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_own_addresses() {
        let check = |network: &str, address: &str, expect: bool| {
            let network = Network::parse(network).expect("a network");
            assert_eq!(network.holds(address.parse().expect("address")), expect, "{address}");
        };
        check("192.0.2.0/24", "192.0.2.77", true);
        check("192.0.2.0/24", "::ffff:192.0.2.77", true);
        check("192.0.2.0/24", "192.0.3.1", false);
        check("192.0.2.7", "192.0.2.7", true);
        check("192.0.2.7", "192.0.2.8", false);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("2001:db8::/32", "2001:db8:1::9", true);
        check("2001:db8::/32", "2001:db9::9", false);
        check("::/0", "2001:db9::9", true);
        for wrong in ["", "192.0.2.0/33", "192.0.2/24", "::/129", "host", "192.0.2.0/-1"] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }
}
