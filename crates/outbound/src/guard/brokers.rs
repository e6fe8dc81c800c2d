//! Messages to a customer's own broker over verified TLS: MQTT 3.1.1 with QoS 1, and NATS. One
//! connection for one message, bounded in time and bytes; nothing is subscribed to.

use std::io::{Error as IoError, ErrorKind};
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use veritwin_domain::Secret;

use super::turns::Waits;
use super::{Caller, GuardError, GuardedClient, Target};

/// For one message: resolving, connecting, sending and the answer.
pub const BROKER_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest line of a NATS server, in bytes.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Most lines that are read for one answer.
const LINES_MAX: usize = 16;
/// The code of an MQTT server that is there and takes nobody for now (3.2.2.3).
const UNAVAILABLE: u8 = 3;
/// What a NATS server is not content with for good; anything else it says passes, such as that it
/// shuts down or has too many connections.
const NOT_CONTENT: [&str; 5] =
    ["authorization", "authentication", "permissions", "invalid", "payload"];
/// The identifier of the one message of a connection.
const PACKET_ID: [u8; 2] = [0, 1];
/// The same for every server of MQTT 3.1.1 (3.1.3.1): it takes at least so many.
const CLIENT_ID_BYTES: usize = 23;

/// What a broker speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerKind {
    /// MQTT 3.1.1.
    Mqtt,
    /// NATS.
    Nats,
}

/// One message.
#[derive(Debug)]
pub struct BrokerMessage<'a> {
    /// What the broker speaks.
    pub kind: BrokerKind,
    /// Where it is.
    pub target: &'a Target,
    /// Who signs in; empty: nobody.
    pub user: &'a str,
    /// The password.
    pub password: &'a Secret<String>,
    /// The same for every try.
    pub id: &'a str,
    /// Topic or subject.
    pub topic: &'a str,
    /// What it says.
    pub payload: Bytes,
}

/// What the broker said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerReply {
    /// It took the message.
    Taken,
    /// It did not let the user in.
    NotLetIn,
    /// It did not take the message.
    NotTaken,
}

fn put_text(packet: &mut Vec<u8>, text: &[u8]) {
    // Whoever sets them holds them shorter.
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    packet.extend_from_slice(&length.to_be_bytes());
    packet.extend_from_slice(&text[..usize::from(length)]);
}

/// A packet with its remaining length (MQTT 3.1.1, 2.2.3).
fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = rest.len();
    loop {
        let digit = u8::try_from(length % 128).unwrap_or(0);
        length /= 128;
        packet.push(if length > 0 { digit | 128 } else { digit });
        if length == 0 {
            break;
        }
    }
    packet.extend_from_slice(rest);
    packet
}

fn connect_packet(message: &BrokerMessage<'_>) -> Vec<u8> {
    let is_named = !message.user.is_empty();
    // A clean session, and user and password where there is a user.
    let flags = if is_named { 0b1100_0010 } else { 0b0000_0010 };
    let mut rest = Vec::new();
    put_text(&mut rest, b"MQTT");
    rest.extend_from_slice(&[4, flags, 0, 30]);
    let id: Vec<u8> = message.id.bytes().filter(u8::is_ascii_alphanumeric).collect();
    put_text(&mut rest, &id[..id.len().min(CLIENT_ID_BYTES)]);
    if is_named {
        put_text(&mut rest, message.user.as_bytes());
        put_text(&mut rest, message.password.expose().as_bytes());
    }
    packet(0x10, &rest)
}

fn publish_packet(message: &BrokerMessage<'_>) -> Vec<u8> {
    let mut rest = Vec::new();
    put_text(&mut rest, message.topic.as_bytes());
    rest.extend_from_slice(&PACKET_ID);
    rest.extend_from_slice(&message.payload);
    packet(0x32, &rest)
}

fn strange() -> IoError {
    IoError::new(ErrorKind::InvalidData, "not what this protocol says")
}

async fn over_mqtt<S: AsyncRead + AsyncWrite + Unpin + Send>(
    stream: &mut S,
    message: &BrokerMessage<'_>,
) -> Result<BrokerReply, IoError> {
    stream.write_all(&connect_packet(message)).await?;
    stream.flush().await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    match answer {
        [0x20, 2, _, 0] => {}
        [0x20, 2, _, UNAVAILABLE] => return Err(ErrorKind::ConnectionRefused.into()),
        [0x20, 2, _, _] => return Ok(BrokerReply::NotLetIn),
        _ => return Err(strange()),
    }
    stream.write_all(&publish_packet(message)).await?;
    stream.flush().await?;
    stream.read_exact(&mut answer).await?;
    if answer != [0x40, 2, PACKET_ID[0], PACKET_ID[1]] {
        return Err(strange());
    }
    // It has the message: how the connection ends is no matter.
    let _ = stream.write_all(&[0xe0, 0]).await;
    let _ = stream.shutdown().await;
    Ok(BrokerReply::Taken)
}

/// A line without its end. Byte by byte: what follows the first one is TLS.
async fn line<S: AsyncRead + Unpin + Send>(stream: &mut S) -> Result<String, IoError> {
    let mut line = Vec::new();
    while line.len() < LINE_BYTES_MAX {
        match stream.read_u8().await? {
            b'\n' => return String::from_utf8(line).map_err(|_| strange()),
            b'\r' => {}
            byte => line.push(byte),
        }
    }
    Err(strange())
}

/// Whether the server is content with what it was sent last.
async fn is_content<S: AsyncRead + AsyncWrite + Unpin + Send>(
    stream: &mut S,
) -> Result<bool, IoError> {
    for _ in 0..LINES_MAX {
        let line = line(stream).await?;
        match line.split_whitespace().next().unwrap_or_default() {
            "+OK" => return Ok(true),
            "-ERR" => {
                let why = line.to_ascii_lowercase();
                let is_late = why.contains("timeout");
                if !is_late && NOT_CONTENT.iter().any(|known| why.contains(known)) {
                    return Ok(false);
                }
                return Err(ErrorKind::ConnectionAborted.into());
            }
            "PING" => stream.write_all(b"PONG\r\n").await?,
            "INFO" | "PONG" => {}
            _ => break,
        }
    }
    Err(strange())
}

async fn over_nats<S: AsyncRead + AsyncWrite + Unpin + Send>(
    stream: &mut S,
    message: &BrokerMessage<'_>,
) -> Result<BrokerReply, IoError> {
    let mut options = serde_json::json!({
        "verbose": true, "pedantic": false, "tls_required": true, "headers": true, "lang": "rust",
        "name": "Veritwin", "version": "1", "protocol": 0,
    });
    if !message.user.is_empty() {
        options["user"] = message.user.into();
        options["pass"] = message.password.expose().as_str().into();
    }
    stream.write_all(format!("CONNECT {options}\r\n").as_bytes()).await?;
    stream.flush().await?;
    if !is_content(stream).await? {
        return Ok(BrokerReply::NotLetIn);
    }
    let headers = format!("NATS/1.0\r\nNats-Msg-Id: {}\r\n\r\n", message.id);
    let (begin, all) = (headers.len(), headers.len() + message.payload.len());
    stream.write_all(format!("HPUB {} {begin} {all}\r\n", message.topic).as_bytes()).await?;
    stream.write_all(headers.as_bytes()).await?;
    stream.write_all(&message.payload).await?;
    stream.write_all(b"\r\n").await?;
    stream.flush().await?;
    let taken = is_content(stream).await?;
    let _ = stream.shutdown().await;
    Ok(if taken { BrokerReply::Taken } else { BrokerReply::NotTaken })
}

impl GuardedClient {
    /// Hands a message to a tenant's broker.
    #[boxed]
    pub async fn publish<'a>(
        &'a self,
        caller: Caller,
        message: &'a BrokerMessage<'a>,
    ) -> Result<BrokerReply, GuardError> {
        let waits = Waits::default();
        let publish = self.publish_now(caller, message, &waits);
        match tokio::time::timeout(BROKER_TIMEOUT, publish).await {
            Ok(outcome) => outcome,
            Err(_) => Err(waits
                .into_inner()
                .map_or_else(|| broken(message.target, "no answer in time"), GuardError::Busy)),
        }
    }

    async fn publish_now(
        &self,
        caller: Caller,
        message: &BrokerMessage<'_>,
        waits: &Waits,
    ) -> Result<BrokerReply, GuardError> {
        let target = message.target;
        let failed = |error: IoError| broken(target, &error.kind().to_string());
        let (_turn, mut stream) = self.open(Some(caller), target, waits).await?;
        if message.kind == BrokerKind::Nats {
            // The server speaks first, and then expects TLS.
            let info = line(&mut stream).await.map_err(failed)?;
            if !info.starts_with("INFO ") {
                return Err(failed(strange()));
            }
        }
        let mut stream = self.secure_plainly(target, stream).await?;
        let answer = match message.kind {
            BrokerKind::Mqtt => over_mqtt(&mut stream, message).await,
            BrokerKind::Nats => over_nats(&mut stream, message).await,
        };
        answer.map_err(failed)
    }
}

fn broken(target: &Target, problem: &str) -> GuardError {
    GuardError::Unreachable { host: target.host().to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_those_of_the_standard() {
        let target = Target::parse("https://broker.example:8883/").expect("a target");
        let password = Secret::new("p".to_owned());
        let message = BrokerMessage {
            kind: BrokerKind::Mqtt,
            target: &target,
            user: "u",
            password: &password,
            id: "01-ab",
            topic: "t",
            payload: Bytes::from(vec![7; 200]),
        };
        assert_eq!(
            connect_packet(&message),
            b"\x10\x16\0\x04MQTT\x04\xc2\0\x1e\0\x0401ab\0\x01u\0\x01p"
        );
        let publish = publish_packet(&message);
        // 205 bytes follow: two for the length of the topic, the topic, the id, the payload.
        assert_eq!(publish[..8], [0x32, 0xcd, 0x01, 0, 1, b't', 0, 1]);
        assert_eq!(publish.len(), 3 + 205);
    }

    /// What a server says over a connection of which the other end is ours.
    async fn said(kind: BrokerKind, says: &[u8]) -> Result<BrokerReply, ErrorKind> {
        let target = Target::parse("https://broker.example:8883/").expect("a target");
        let password = Secret::new(String::new());
        let message = BrokerMessage {
            kind,
            target: &target,
            user: "",
            password: &password,
            id: "01-ab",
            topic: "t",
            payload: Bytes::from_static(b"{}"),
        };
        let (mut ours, mut theirs) = tokio::io::duplex(4096);
        theirs.write_all(says).await.expect("written");
        let answer = match kind {
            BrokerKind::Mqtt => over_mqtt(&mut ours, &message).await,
            BrokerKind::Nats => over_nats(&mut ours, &message).await,
        };
        answer.map_err(|error| error.kind())
    }

    #[tokio::test]
    async fn what_passes_is_told_from_what_is_not_wanted() {
        let (mqtt, nats) = (BrokerKind::Mqtt, BrokerKind::Nats);
        for (kind, says, expect) in [
            (mqtt, "\x20\x02\0\0\x40\x02\0\x01", Ok(BrokerReply::Taken)),
            (mqtt, "\x20\x02\0\x05", Ok(BrokerReply::NotLetIn)),
            (mqtt, "\x20\x02\0\x03", Err(ErrorKind::ConnectionRefused)),
            (mqtt, "\x20\x02\0\0\x40\x02\0\x02", Err(ErrorKind::InvalidData)),
            (nats, "+OK\r\nPING\r\n+OK\r\n", Ok(BrokerReply::Taken)),
            (nats, "-ERR 'Authorization Violation'\r\n", Ok(BrokerReply::NotLetIn)),
            (nats, "-ERR 'Authentication Timeout'\r\n", Err(ErrorKind::ConnectionAborted)),
            (nats, "-ERR 'Server Shutdown'\r\n", Err(ErrorKind::ConnectionAborted)),
            (
                nats,
                "+OK\r\n-ERR 'Permissions Violation for Publish to \"t\"'\r\n",
                Ok(BrokerReply::NotTaken),
            ),
        ] {
            assert_eq!(said(kind, says.as_bytes()).await, expect, "{says:?}");
        }
    }
}
