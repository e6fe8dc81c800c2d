//! An address that a tenant wrote: `https://host[:port]/path`, taken apart once. It refuses other
//! schemes, credentials inside the address, fragments and what two parsers could read differently.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use hyper::Uri;

/// Longest address, in bytes.
pub const TARGET_BYTES_MAX: usize = 2048;
/// Longest host name, in bytes (RFC 1035).
const HOST_BYTES_MAX: usize = 253;

/// Why an address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Too long.
    #[error("limit target_bytes_max exceeded: an address has at most {TARGET_BYTES_MAX} bytes")]
    Length,
    /// Not an address of the right form.
    #[error("not an address: expected one like https://hooks.example/path")]
    Syntax,
    /// Not HTTPS.
    #[error("only https:// is allowed here")]
    Scheme,
    /// A user or password inside.
    #[error("an address may not hold a user or password")]
    UserInfo,
    /// A part behind `#`.
    #[error("an address may not have a part behind `#`")]
    Fragment,
}

/// An HTTPS address.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    host: String,
    literal: Option<IpAddr>,
    port: u16,
    path_and_query: String,
}

/// Without path and query: they may hold a secret of the tenant.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({}:{})", self.host, self.port)
    }
}

fn is_host(host: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !host.is_empty()
        && host.len() <= HOST_BYTES_MAX
        && host.bytes().all(plain)
        && host.trim_end_matches('.').split('.').all(|label| (1..=63).contains(&label.len()))
}

impl Target {
    /// Takes an address apart.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if text.len() > TARGET_BYTES_MAX {
            return Err(TargetError::Length);
        }
        if text.contains('#') {
            return Err(TargetError::Fragment);
        }
        // Backslashes and spaces are read as a slash or dropped by some parsers.
        if text.bytes().any(|byte| byte <= b' ' || byte == b'\\' || byte >= 0x7f) {
            return Err(TargetError::Syntax);
        }
        let uri: Uri = text.parse().map_err(|_| TargetError::Syntax)?;
        if uri.scheme_str() != Some("https") {
            return Err(TargetError::Scheme);
        }
        let authority = uri.authority().ok_or(TargetError::Syntax)?.as_str();
        if authority.contains('@') {
            return Err(TargetError::UserInfo);
        }
        let host = uri.host().ok_or(TargetError::Syntax)?.to_ascii_lowercase();
        let port = match authority.strip_prefix(uri.host().unwrap_or_default()) {
            Some("") => 443,
            Some(rest) => {
                let digits = rest.strip_prefix(':').ok_or(TargetError::Syntax)?;
                digits.parse().ok().filter(|port| *port > 0).ok_or(TargetError::Syntax)?
            }
            None => return Err(TargetError::Syntax),
        };
        let literal = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inside) => {
                Some(IpAddr::V6(inside.parse::<Ipv6Addr>().map_err(|_| TargetError::Syntax)?))
            }
            None if is_host(&host) => host.trim_end_matches('.').parse().ok(),
            None => return Err(TargetError::Syntax),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self { host, literal, port, path_and_query: path.to_owned() })
    }

    /// Host name or address as written, lower case; IPv6 in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The address, where one is written out instead of a name.
    pub const fn literal(&self) -> Option<IpAddr> {
        self.literal
    }

    /// Path and query, at least `/`.
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// `host` or `host:port`, for the `Host` header.
    pub fn authority(&self) -> String {
        if self.port == 443 { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// The same place with another path, such as a discovery document below an issuer.
    pub fn with_path(&self, path_and_query: &str) -> Result<Self, TargetError> {
        if !path_and_query.starts_with('/') {
            return Err(TargetError::Syntax);
        }
        Self::parse(&format!("https://{}:{}{path_and_query}", self.host, self.port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_or_refused() {
        let check = |text: &str, expect: Result<(&str, u16, &str), TargetError>| {
            let parsed = Target::parse(text);
            let parts = parsed.as_ref().map(|t| (t.host(), t.port(), t.path_and_query()));
            assert_eq!(parts.map_err(|error| *error), expect, "{text}");
        };
        check("https://Hooks.Example", Ok(("hooks.example", 443, "/")));
        check("https://hooks.example:8443/a?b=c", Ok(("hooks.example", 8443, "/a?b=c")));
        check("https://[2606:4700::1]:443/", Ok(("[2606:4700::1]", 443, "/")));
        check("https://hooks.example./", Ok(("hooks.example.", 443, "/")));
        check("http://hooks.example/", Err(TargetError::Scheme));
        check("ftp://hooks.example/", Err(TargetError::Scheme));
        check("hooks.example", Err(TargetError::Scheme));
        check("/path", Err(TargetError::Scheme));
        check("https://user:secret@hooks.example/", Err(TargetError::UserInfo));
        check("https://hooks.example@127.0.0.1/", Err(TargetError::UserInfo));
        check("https://hooks.example/#x", Err(TargetError::Fragment));
        check("https://hooks.example\\@127.0.0.1/", Err(TargetError::Syntax));
        check("https://hooks.example/ HTTP/1.1", Err(TargetError::Syntax));
        check("https://hooks.example/\r\nHost: x", Err(TargetError::Syntax));
        check("https://hooks.example:0/", Err(TargetError::Syntax));
        check("https://hooks.example:99999/", Err(TargetError::Syntax));
        check("https://hooks..example/", Err(TargetError::Syntax));
        check("https://[::1%25eth0]/", Err(TargetError::Syntax));
        check("https://b\u{fc}cher.example/", Err(TargetError::Syntax));
        check("https:///path", Err(TargetError::Syntax));
        check("", Err(TargetError::Syntax));
        let long = format!("https://hooks.example/{}", "x".repeat(TARGET_BYTES_MAX));
        check(&long, Err(TargetError::Length));
    }

    #[test]
    fn another_path_keeps_the_place() {
        let issuer = Target::parse("https://id.example:8443/realm").expect("target");
        let found = issuer.with_path("/realm/.well-known/openid-configuration").expect("path");
        assert_eq!((found.host(), found.port()), ("id.example", 8443));
        assert!(issuer.with_path("@127.0.0.1/").is_err());
        assert_eq!(issuer.authority(), "id.example:8443");
    }
}
