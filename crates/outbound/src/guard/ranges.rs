//! Which addresses are not public. IPv4: the special-purpose registry of RFC 6890. IPv6: only
//! global unicast (2000::/3) is public, without the parts of it that lead into IPv4 or nowhere.

use std::net::IpAddr;

use veritwin_domain::Network;

/// Services that hand credentials to whoever asks from inside a cloud. Two of them have public
/// or unremarkable addresses.
const METADATA: [Network; 8] = [
    Network::v4([169, 254, 169, 254], 32),
    Network::v4([169, 254, 170, 0], 24),
    Network::v4([168, 63, 129, 16], 32),
    Network::v4([100, 100, 100, 200], 32),
    Network::v4([192, 0, 0, 192], 32),
    Network::v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128),
    Network::v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23], 128),
    Network::v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128),
];

const REFUSED_V4: [(Network, &str); 16] = [
    (Network::v4([0, 0, 0, 0], 8), "an unspecified"),
    (Network::v4([10, 0, 0, 0], 8), "a private"),
    (Network::v4([100, 64, 0, 0], 10), "a carrier-grade NAT"),
    (Network::v4([127, 0, 0, 0], 8), "a loopback"),
    (Network::v4([169, 254, 0, 0], 16), "a link-local"),
    (Network::v4([172, 16, 0, 0], 12), "a private"),
    (Network::v4([192, 0, 0, 0], 24), "a reserved"),
    (Network::v4([192, 0, 2, 0], 24), "a documentation"),
    (Network::v4([192, 31, 196, 0], 24), "a reserved"),
    (Network::v4([192, 88, 99, 0], 24), "a relay"),
    (Network::v4([192, 168, 0, 0], 16), "a private"),
    (Network::v4([198, 18, 0, 0], 15), "a benchmarking"),
    (Network::v4([198, 51, 100, 0], 24), "a documentation"),
    (Network::v4([203, 0, 113, 0], 24), "a documentation"),
    (Network::v4([224, 0, 0, 0], 4), "a multicast"),
    (Network::v4([240, 0, 0, 0], 4), "a reserved"),
];

const GLOBAL_UNICAST_V6: Network = Network::v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// What is refused in IPv6; whatever is in no row and not global unicast is refused as well.
const REFUSED_V6: [(Network, &str); 14] = [
    (Network::v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "an unspecified"),
    (Network::v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "a loopback"),
    (Network::v6([0, 0, 0, 0, 0, 0, 0, 0], 96), "an IPv4-compatible"),
    (Network::v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96), "an IPv4-translated"),
    (Network::v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), "a NAT64"),
    (Network::v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "a NAT64"),
    (Network::v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "a discarding"),
    (Network::v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "a reserved"),
    (Network::v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "a documentation"),
    (Network::v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "a relay"),
    (Network::v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "a documentation"),
    (Network::v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "a private"),
    (Network::v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 9), "a link-local"),
    (Network::v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "a multicast"),
];

pub(super) fn is_metadata(address: IpAddr) -> bool {
    METADATA.iter().any(|network| network.contains(address))
}

/// The kind of a refused address, with an article.
pub(super) fn refused(address: IpAddr) -> Option<&'static str> {
    let rows: &[(Network, &str)] =
        if address.to_canonical().is_ipv4() { &REFUSED_V4 } else { &REFUSED_V6 };
    let row = rows.iter().find(|(network, _)| network.contains(address)).map(|(_, kind)| *kind);
    let is_public = address.to_canonical().is_ipv4() || GLOBAL_UNICAST_V6.contains(address);
    row.or_else(|| (!is_public).then_some("a reserved"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<&str>) {
        let address: IpAddr = text.parse().expect(text);
        let kind = if is_metadata(address) { Some("metadata") } else { refused(address) };
        match expect {
            None => assert_eq!(kind, None, "{text}"),
            Some(part) => {
                let kind = kind.unwrap_or_else(|| panic!("{text} passed"));
                assert!(kind.contains(part), "{text}: {kind}");
            }
        }
    }

    #[test]
    fn public_addresses_pass() {
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:1.1.1.1",
            "2606:4700:4700::1111",
            "2a00::1",
            "2001:200::1",
        ] {
            check(public, None);
        }
    }

    #[test]
    fn all_others_are_refused_by_kind() {
        for (address, kind) in [
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("10.0.0.0", "private"),
            ("10.255.255.255", "private"),
            ("100.64.0.1", "carrier"),
            ("100.127.255.255", "carrier"),
            ("100.100.100.200", "metadata"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("168.63.129.16", "metadata"),
            ("169.254.0.1", "link-local"),
            ("169.254.169.254", "metadata"),
            ("169.254.170.2", "metadata"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.0.0.8", "reserved"),
            ("192.0.0.192", "metadata"),
            ("192.0.2.1", "documentation"),
            ("192.88.99.1", "relay"),
            ("192.168.0.1", "private"),
            ("198.18.0.1", "benchmarking"),
            ("198.19.255.255", "benchmarking"),
            ("198.51.100.1", "documentation"),
            ("203.0.113.1", "documentation"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "reserved"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::7f00:1", "IPv4-compatible"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:10.0.0.1", "private"),
            ("::ffff:169.254.169.254", "metadata"),
            ("::ffff:0:127.0.0.1", "IPv4-translated"),
            ("64:ff9b::7f00:1", "NAT64"),
            ("64:ff9b::a9fe:a9fe", "NAT64"),
            ("64:ff9b:1::1", "NAT64"),
            ("100::1", "discarding"),
            ("2001::1", "reserved"),
            ("2001:20::1", "reserved"),
            ("2001:db8::1", "documentation"),
            ("2002:7f00:1::", "relay"),
            ("2002:a00:1::1", "relay"),
            ("3fff::1", "documentation"),
            ("4000::1", "reserved"),
            ("5f00::1", "reserved"),
            ("fc00::1", "private"),
            ("fd12:3456::1", "private"),
            ("fd00:ec2::254", "metadata"),
            ("fd00:ec2::23", "metadata"),
            ("fd20:ce::254", "metadata"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("fec0::1", "link-local"),
            ("ff02::1", "multicast"),
            ("ff0e::1", "multicast"),
        ] {
            check(address, Some(kind));
        }
    }
}
