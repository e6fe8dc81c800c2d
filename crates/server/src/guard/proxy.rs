//! The PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): the few bytes before
//! TLS in which a balancer says where a client is. Bounded, and read without a byte too many.

use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest header, in bytes, version 2's extensions included.
const PROXY_HEADER_BYTES_MAX: usize = 1024;
/// Longest line of version 1, its end included.
const LINE_BYTES_MAX: usize = 107;
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const LINE_START: &[u8] = b"PROXY ";

fn refuse(detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, detail)
}

/// Reads the header. None: the balancer speaks for itself, as in a health check.
pub(crate) async fn read_header<S>(stream: &mut S) -> Result<Option<SocketAddr>>
where
    S: AsyncRead + Unpin,
{
    // No header of either version is shorter.
    let mut start = [0u8; 12];
    stream.read_exact(&mut start).await?;
    if start == SIGNATURE {
        return read_binary(stream).await;
    }
    if !start.starts_with(LINE_START) {
        return Err(refuse("no PROXY header: proxies.networks lists this peer as a balancer"));
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE_BYTES_MAX {
            return Err(refuse("the PROXY line is longer than 107 bytes"));
        }
        line.push(stream.read_u8().await?);
    }
    parse_line(&line)
}

fn parse_line(line: &[u8]) -> Result<Option<SocketAddr>> {
    let wrong = || refuse("the PROXY line is malformed");
    let text = std::str::from_utf8(line).map_err(|_| wrong())?;
    let text = text.strip_suffix("\r\n").ok_or_else(wrong)?;
    let words: Vec<&str> = text.split(' ').collect();
    match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        ["PROXY", family, source, target, source_port, target_port] => {
            let source: IpAddr = source.parse().map_err(|_| wrong())?;
            let target: IpAddr = target.parse().map_err(|_| wrong())?;
            let fits = match *family {
                "TCP4" => source.is_ipv4() && target.is_ipv4(),
                "TCP6" => source.is_ipv6() && target.is_ipv6(),
                _ => false,
            };
            let port = |text: &str| text.parse::<u16>().ok();
            match (fits, port(source_port), port(target_port)) {
                (true, Some(port), Some(_)) => Ok(Some(SocketAddr::new(source, port))),
                _ => Err(wrong()),
            }
        }
        _ => Err(wrong()),
    }
}

async fn read_binary<S>(stream: &mut S) -> Result<Option<SocketAddr>>
where
    S: AsyncRead + Unpin,
{
    let mut head = [0u8; 4];
    stream.read_exact(&mut head).await?;
    let [version_command, family, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > PROXY_HEADER_BYTES_MAX {
        return Err(refuse("the PROXY header is longer than 1024 bytes"));
    }
    let mut body = vec![0u8; length];
    stream.read_exact(&mut body).await?;
    match (version_command, family) {
        // LOCAL, and families that are no address of the internet.
        (0x20, _) | (0x21, 0x00) => Ok(None),
        (0x21, 0x11) => {
            let fields: &[u8; 12] = body.first_chunk().ok_or_else(short)?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *fields;
            let address = Ipv4Addr::new(a, b, c, d).into();
            Ok(Some(SocketAddr::new(address, u16::from_be_bytes([high, low]))))
        }
        (0x21, 0x21) => {
            let address: [u8; 16] = *body.first_chunk().ok_or_else(short)?;
            let ports: [u8; 2] = *body.get(32..).and_then(<[u8]>::first_chunk).ok_or_else(short)?;
            let address = Ipv6Addr::from(address).to_canonical();
            Ok(Some(SocketAddr::new(address, u16::from_be_bytes(ports))))
        }
        _ => Err(refuse("the PROXY header names a version or family that is not TCP")),
    }
}

fn short() -> Error {
    refuse("the PROXY header is too short for its addresses")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(bytes: &[u8], expect: std::result::Result<Option<&str>, &str>) {
        let input = [bytes, b"rest"].concat();
        let mut stream = input.as_slice();
        let read = read_header(&mut stream).await;
        match (read, expect) {
            (Ok(found), Ok(expect)) => {
                let expect = expect.map(|text| text.parse::<SocketAddr>().expect(text));
                assert_eq!(found, expect, "{bytes:?}");
                assert_eq!(stream, b"rest", "not a byte too many: {bytes:?}");
            }
            (Err(error), Err(expect)) => {
                assert!(error.to_string().contains(expect), "{bytes:?}: {error}");
            }
            (read, expect) => panic!("{bytes:?}: {read:?}, expected {expect:?}"),
        }
    }

    fn binary(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("short").to_be_bytes();
        [SIGNATURE.as_slice(), &[version_command, family], &length, body].concat()
    }

    #[tokio::test]
    async fn lines() {
        let v4 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
        check(v4, Ok(Some("192.0.2.7:4711"))).await;
        let v6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n";
        check(v6, Ok(Some("[2001:db8::7]:4711"))).await;
        check(b"PROXY UNKNOWN\r\n", Ok(None)).await;
        check(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Ok(None)).await;
        check(b"PROXY TCP4 2001:db8::7 198.51.100.1 1 2\r\n", Err("malformed")).await;
        check(b"PROXY TCP4 192.0.2.7 198.51.100.1 70000 2\r\n", Err("malformed")).await;
        check(b"PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n", Err("malformed")).await;
        check(b"PROXY TCP4 192.0.2.7\r\n", Err("malformed")).await;
        check(&[b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat(), Err("107 bytes")).await;
        check(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0", Err("no PROXY header")).await;
        check(b"GET / HTTP/1.1\r\n", Err("no PROXY header")).await;
    }

    #[tokio::test]
    async fn binary_headers() {
        let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 1, 187];
        check(&binary(0x21, 0x11, &v4), Ok(Some("192.0.2.7:4711"))).await;
        let with_extension = [v4.as_slice(), &[4, 0, 1, 9]].concat();
        check(&binary(0x21, 0x11, &with_extension), Ok(Some("192.0.2.7:4711"))).await;
        let mut v6 = [0u8; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        v6[15] = 7;
        v6[32..34].copy_from_slice(&[0x12, 0x67]);
        check(&binary(0x21, 0x21, &v6), Ok(Some("[2001:db8::7]:4711"))).await;
        check(&binary(0x20, 0, &[]), Ok(None)).await;
        check(&binary(0x21, 0, &[1, 2, 3]), Ok(None)).await;
        check(&binary(0x21, 0x11, &[1, 2, 3]), Err("too short")).await;
        check(&binary(0x21, 0x21, &v4), Err("too short")).await;
        check(&binary(0x31, 0x11, &v4), Err("not TCP")).await;
        check(&binary(0x21, 0x12, &v4), Err("not TCP")).await;
        check(&binary(0x21, 0x11, &[0; 1025]), Err("1024 bytes")).await;
    }
}
