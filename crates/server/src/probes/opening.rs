//! First words that a listener must not take up, written by hand: plain text, and the ClientHello
//! of TLS 1.0 and 1.1, which no library here speaks. And what its reply means.

use veritwin_domain::Rng;

/// TLS record types (RFC 8446, section 5.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// What a plaintext client would say first.
pub(super) const PLAIN: [(&str, &[u8]); 2] = [
    ("HTTP in plain text", b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
    // MQTT 3.1.1 CONNECT, clean session, client id `p` (OASIS MQTT 3.1.1, section 3.1).
    ("MQTT in plain text", b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x0a\x00\x01p"),
];
/// Protocol versions that must be refused, as the minor number on the wire (RFC 2246, RFC 4346).
pub(super) const OLD: [(&str, u8); 2] = [("TLS 1.0", 1), ("TLS 1.1", 2)];

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// The connection was closed without a byte.
    Closed,
    /// A TLS alert with this description.
    Alert(u8),
    /// A TLS handshake message: it would go on.
    Handshake,
    /// Something else.
    Other,
    /// Nothing, and the connection stays open.
    Silence,
}

impl Reply {
    pub(super) fn of(bytes: &[u8]) -> Self {
        match bytes {
            [] => Self::Closed,
            [ALERT, 3, _, _, _, _, description, ..] => Self::Alert(*description),
            [HANDSHAKE, 3, ..] => Self::Handshake,
            _ => Self::Other,
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::Closed => "closed".to_owned(),
            Self::Alert(description) => format!("alert {description}"),
            Self::Handshake => "goes on with the handshake".to_owned(),
            Self::Other => "answered".to_owned(),
            Self::Silence => "not answered".to_owned(),
        }
    }
}

/// A ClientHello as an old client writes it (RFC 2246, section 7.4.1.2), with suites of its time
/// for every kind of key.
pub(super) fn old_hello(minor: u8, rng: &dyn Rng) -> Vec<u8> {
    const SUITES: [u16; 8] = [0xc00a, 0xc014, 0xc009, 0xc013, 0x0035, 0x002f, 0x000a, 0x00ff];
    let mut random = [0u8; 32];
    rng.fill(&mut random);
    let mut body = vec![3, minor];
    body.extend_from_slice(&random);
    body.push(0); // no session
    let suites: Vec<u8> = SUITES.iter().flat_map(|suite| suite.to_be_bytes()).collect();
    push_16(&mut body, &suites);
    body.extend_from_slice(&[1, 0]); // no compression
    let mut extensions = Vec::new();
    // supported_groups: secp256r1 and secp384r1; ec_point_formats: uncompressed (RFC 8422).
    extensions.extend_from_slice(&[0, 10, 0, 6, 0, 4, 0, 23, 0, 24]);
    extensions.extend_from_slice(&[0, 11, 0, 2, 1, 0]);
    push_16(&mut body, &extensions);
    let mut message = vec![1, 0];
    push_16(&mut message, &body);
    // The record layer of a first message says 3.1 in both versions.
    let mut record = vec![HANDSHAKE, 3, 1];
    push_16(&mut record, &message);
    record
}

fn push_16(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use veritwin_domain::SeededRng;

    #[test]
    fn an_old_hello_has_the_lengths_it_says() {
        for (_, minor) in OLD {
            let hello = old_hello(minor, &SeededRng::new(1));
            assert_eq!(hello[..3], [HANDSHAKE, 3, 1]);
            let record = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
            assert_eq!(hello.len(), 5 + record);
            assert_eq!(hello[5], 1);
            let message = usize::from(u16::from_be_bytes([hello[7], hello[8]]));
            assert_eq!((hello[6], record), (0, 4 + message));
            assert_eq!(hello[9..11], [3, minor]);
        }
    }

    #[test]
    fn replies_are_told_apart() {
        assert_eq!(Reply::of(b""), Reply::Closed);
        assert_eq!(Reply::of(&[21, 3, 1, 0, 2, 2, 70]), Reply::Alert(70));
        assert_eq!(Reply::of(&[22, 3, 3, 0, 80, 2, 0]), Reply::Handshake);
        assert_eq!(Reply::of(b"HTTP/1.1 400"), Reply::Other);
        assert_eq!(Reply::of(&[0x20, 2, 0, 5]), Reply::Other);
    }
}
