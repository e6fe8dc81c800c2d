//! `X-Forwarded-For` and `Forwarded` (RFC 7239): the hops they name, the last one first. Only one
//! of the two is looked at, the one that the operator's balancer writes.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

/// Hops that are looked at.
const HOPS_MAX: usize = 32;
/// Longer values are not looked into.
const VALUE_BYTES_MAX: usize = 4096;

/// Which header says where a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForwardHeader {
    XForwardedFor,
    Forwarded,
}

impl ForwardHeader {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }

    /// The hops, the last one first; none for one that is no address.
    pub(super) fn hops(self, headers: &HeaderMap) -> Vec<Option<IpAddr>> {
        let values: Vec<_> = headers.get_all(self.name()).iter().collect();
        let mut hops = Vec::new();
        for value in values.into_iter().rev() {
            let text = value.to_str().ok().filter(|text| text.len() <= VALUE_BYTES_MAX);
            let Some(text) = text else {
                hops.push(None);
                break;
            };
            for element in elements(text).into_iter().rev() {
                hops.push(match self {
                    Self::XForwardedFor => address(element.trim()),
                    Self::Forwarded => forwarded_for(element),
                });
            }
        }
        hops.truncate(HOPS_MAX);
        hops
    }
}

/// Splits at commas outside quotes.
fn elements(text: &str) -> Vec<&str> {
    split_outside_quotes(text, ',')
}

fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(|character| {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        character == separator && !is_quoted
    })
    .collect()
}

/// The address in `for=` of one element.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = split_outside_quotes(element, ';').into_iter();
    let mut named = pairs
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    let (_, value) = named.next()?;
    named.next().is_none().then(|| address(value.trim().trim_matches('"')))?
}

/// An address with or without a port; IPv6 with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.parse::<IpAddr>();
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    bare.or_else(|_| with_port()).ok().or_else(bracketed).map(|address| address.to_canonical())
}
