//! CONNECT: what the client asks for, and the CONNACK that answers it. It refuses what cannot be
//! honoured (enhanced authentication, wills to foreign topics) with the standard's own codes.

use bytes::{BufMut, BytesMut};
use rmqtt_codec::error::DecodeError;
use rmqtt_codec::types::QoS;
use rmqtt_codec::version::{ProtocolVersion, VersionCodec};
use rmqtt_codec::{v3, v5};
use tokio_util::codec::{Decoder, Encoder as _};
use veritwin_domain::{IngestLimits, Secret};

use super::frame::{Packet, Version, decode};
use super::session::SESSION_SECONDS_MAX;
use super::topic;
use crate::model::{Credential, PeerInfo};
use crate::traits::LoginError;

/// Longest client id, in bytes.
pub const CLIENT_ID_BYTES_MAX: usize = 256;

/// What a client asks for.
#[derive(Debug)]
pub(crate) struct Hello {
    pub(crate) version: Version,
    /// Empty when the server has to choose.
    pub(crate) client_id: String,
    pub(crate) clean_start: bool,
    pub(crate) keep_alive_seconds: u16,
    /// How long the session outlives the connection.
    pub(crate) session_seconds: u32,
    /// What was asked for, before the bound.
    session_seconds_asked: u32,
    pub(crate) receive_maximum: u16,
    pub(crate) packet_bytes_max: usize,
    pub(crate) problem_information: bool,
    pub(crate) credential: Option<Credential>,
    pub(crate) will: Option<Will>,
}

/// A will message.
#[derive(Debug)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) delay_seconds: u32,
}

/// Why a connection is refused.
#[derive(Debug)]
pub(crate) struct Rejection {
    /// Which form of CONNACK the client understands; `None`: close without one.
    pub(crate) version: Option<Version>,
    pub(crate) v5_code: u8,
    pub(crate) v3_code: u8,
    pub(crate) text: String,
}

impl Rejection {
    pub(crate) fn new(version: Version, v5_code: u8, v3_code: u8, text: impl Into<String>) -> Self {
        Self { version: Some(version), v5_code, v3_code, text: text.into() }
    }

    fn without_answer(text: impl Into<String>) -> Self {
        Self { version: None, v5_code: 0x82, v3_code: 0, text: text.into() }
    }

    pub(crate) fn of_login(version: Version, error: &LoginError) -> Self {
        let (v5_code, v3_code) = match error {
            LoginError::Unknown => (0x86, 4),
            LoginError::Denied(_) => (0x87, 5),
            LoginError::Busy { .. } => (0x97, 3),
            LoginError::Unavailable(_) => (0x88, 3),
        };
        Self::new(version, v5_code, v3_code, error.to_string())
    }

    /// The CONNACK to send; nothing when the client's version is not known or its malformed
    /// packet has no code in version 3.
    pub(crate) fn encode(&self) -> BytesMut {
        let mut out = BytesMut::new();
        match self.version {
            Some(Version::V3) if self.v3_code != 0 => out.put_slice(&[0x20, 2, 0, self.v3_code]),
            Some(Version::V5) => {
                let text = self.text.as_bytes();
                let text = &text[..text.len().min(200)];
                let text = String::from_utf8_lossy(text);
                let mut body = BytesMut::new();
                body.put_slice(&[0, self.v5_code]);
                // Both lengths stay below 128 + 128 bytes, so two length bytes are enough.
                let property_bytes = text.len() + 3;
                put_short_length(&mut body, property_bytes);
                body.put_u8(0x1f);
                body.put_u16(u16::try_from(text.len()).unwrap_or(0));
                body.put_slice(text.as_bytes());
                out.put_u8(0x20);
                put_short_length(&mut out, body.len());
                out.put_slice(&body);
            }
            _ => {}
        }
        out
    }
}

fn put_short_length(out: &mut BytesMut, length: usize) {
    let (low, high) = (length & 0x7f, length >> 7);
    let low = u8::try_from(low).unwrap_or(0);
    if high == 0 {
        out.put_u8(low);
    } else {
        out.put_slice(&[low | 0x80, u8::try_from(high).unwrap_or(0)]);
    }
}

/// Which version the first packet asks for; `None` while too little of it is there.
pub(crate) fn version_of(input: &mut BytesMut) -> Result<Option<Version>, Rejection> {
    match VersionCodec.decode(input) {
        Ok(None) => Ok(None),
        Ok(Some(ProtocolVersion::MQTT3)) => Ok(Some(Version::V3)),
        Ok(Some(ProtocolVersion::MQTT5)) => Ok(Some(Version::V5)),
        Err(DecodeError::UnsupportedPacketType) => {
            Err(Rejection::without_answer("the first packet is not CONNECT"))
        }
        Err(_) if input.windows(6).take(8).any(|name| name == b"\x00\x04MQTT") => {
            let text = "unsupported protocol level: expected 3.1, 3.1.1 or 5.0";
            Err(Rejection::new(Version::V3, 0x84, 1, text))
        }
        Err(_) => Err(Rejection::without_answer("not MQTT: expected the protocol name MQTT")),
    }
}

/// Reads a whole CONNECT packet.
pub(crate) fn read(
    version: Version,
    packet: &[u8],
    peer: &PeerInfo,
    limits: &IngestLimits,
) -> Result<Hello, Rejection> {
    let hello = match decode_connect(version, packet) {
        Ok(Packet::V3(v3::Packet::Connect(connect))) => from_v3(*connect, peer),
        Ok(Packet::V5(v5::Packet::Connect(connect))) => from_v5(*connect, peer)?,
        Ok(_) => return Err(Rejection::without_answer("the first packet is not CONNECT")),
        Err(DecodeError::InvalidClientId) => {
            let text = "an empty client id is only allowed with a clean session";
            return Err(Rejection::new(version, 0x85, 2, text));
        }
        Err(error) => {
            let text = format!("malformed CONNECT: {error}");
            return Err(Rejection::new(version, 0x81, 0, text));
        }
    };
    check(&hello, limits)?;
    Ok(hello)
}

fn decode_connect(version: Version, packet: &[u8]) -> Result<Packet, DecodeError> {
    match (version, decode(version, packet)) {
        (Version::V5, Err(DecodeError::InvalidClientId)) => {
            // Version 5 allows an empty client id without clean start, the codec does not. No
            // session can be stored under an id that the server has yet to choose, so setting
            // the flag changes nothing else.
            let mut packet = packet.to_vec();
            let body =
                packet.iter().skip(1).position(|byte| byte & 0x80 == 0).map_or(2, |at| at + 2);
            if let Some(flags) = packet.get_mut(body + 7) {
                *flags |= 0b10;
            }
            decode(version, &packet)
        }
        (_, decoded) => decoded,
    }
}

fn credential(
    client_id: &str,
    user: Option<String>,
    password: Option<Vec<u8>>,
    peer: &PeerInfo,
) -> Option<Credential> {
    match (user, password.filter(|password| !password.is_empty())) {
        (Some(user), None) if !user.is_empty() => Some(Credential::Token(Secret::new(user))),
        (Some(user), Some(password)) => Some(Credential::Password {
            client_id: Secret::new(client_id.to_owned()),
            user: Secret::new(user),
            password: Secret::new(password),
        }),
        _ => peer.certificate.clone().map(Credential::Certificate),
    }
}

fn from_v3(connect: v3::Connect, peer: &PeerInfo) -> Hello {
    let client_id = connect.client_id.to_string();
    let user = connect.username.map(|user| user.to_string());
    let password = connect.password.map(|password| password.to_vec());
    Hello {
        version: Version::V3,
        clean_start: connect.clean_session,
        keep_alive_seconds: connect.keep_alive,
        session_seconds: if connect.clean_session { 0 } else { SESSION_SECONDS_MAX },
        session_seconds_asked: 0,
        receive_maximum: u16::MAX,
        packet_bytes_max: usize::MAX,
        problem_information: false,
        credential: credential(&client_id, user, password, peer),
        client_id,
        will: connect.last_will.map(|will| Will {
            topic: will.topic.to_string(),
            payload: will.message.to_vec(),
            delay_seconds: 0,
        }),
    }
}

fn from_v5(connect: v5::Connect, peer: &PeerInfo) -> Result<Hello, Rejection> {
    if connect.auth_method.is_some() {
        let text = "enhanced authentication is not supported: connect without a method";
        return Err(Rejection::new(Version::V5, 0x8c, 0, text));
    }
    if connect.last_will.as_ref().is_some_and(|will| will.retain) {
        let text = "retained messages are not supported: expected a will without retain";
        return Err(Rejection::new(Version::V5, 0x9a, 0, text));
    }
    let client_id = connect.client_id.to_string();
    let user = connect.username.map(|user| user.to_string());
    let password = connect.password.map(|password| password.to_vec());
    Ok(Hello {
        version: Version::V5,
        clean_start: connect.clean_start,
        keep_alive_seconds: connect.keep_alive,
        session_seconds: connect.session_expiry_interval_secs.min(SESSION_SECONDS_MAX),
        session_seconds_asked: connect.session_expiry_interval_secs,
        receive_maximum: connect.receive_max.map_or(u16::MAX, Into::into),
        packet_bytes_max: connect.max_packet_size.map_or(usize::MAX, |max| max.get() as usize),
        problem_information: connect.request_problem_info,
        credential: credential(&client_id, user, password, peer),
        client_id,
        will: connect.last_will.map(|will| Will {
            topic: will.topic.to_string(),
            payload: will.message.to_vec(),
            delay_seconds: will.will_delay_interval_sec.unwrap_or(0),
        }),
    })
}

fn check(hello: &Hello, limits: &IngestLimits) -> Result<(), Rejection> {
    let id = &hello.client_id;
    if id.len() > CLIENT_ID_BYTES_MAX {
        let text = format!(
            "limit client_id_bytes_max exceeded: at most {CLIENT_ID_BYTES_MAX}, got {}",
            id.len()
        );
        return Err(Rejection::new(hello.version, 0x85, 2, text));
    }
    if id.contains('\0') {
        let text = "the client id holds U+0000, which MQTT forbids";
        return Err(Rejection::new(hello.version, 0x85, 2, text));
    }
    if let Some(will) = &hello.will
        && let Err(error) = topic::classify(&will.topic, limits)
    {
        let text = format!("will: {}", error.text());
        return Err(Rejection::new(hello.version, 0x90, 5, text));
    }
    Ok(())
}

/// The CONNACK of an accepted connection.
pub(crate) fn accepted(
    hello: &Hello,
    session_present: bool,
    assigned: Option<&str>,
    limits: &IngestLimits,
) -> BytesMut {
    let mut out = BytesMut::new();
    if hello.version == Version::V3 {
        out.put_slice(&[0x20, 2, u8::from(session_present), 0]);
        return out;
    }
    let capped = hello.session_seconds != hello.session_seconds_asked;
    let acknowledgement = v5::ConnectAck {
        session_present,
        reason_code: v5::ConnectAckReason::Success,
        session_expiry_interval_secs: capped.then_some(hello.session_seconds),
        receive_max: limits.receive_maximum.try_into().unwrap_or(std::num::NonZeroU16::MIN),
        max_qos: QoS::ExactlyOnce,
        max_packet_size: u32::try_from(limits.packet_bytes_max).ok(),
        assigned_client_id: assigned.map(Into::into),
        retain_available: false,
        shared_subscription_available: false,
        ..v5::ConnectAck::default()
    };
    let packet = v5::Packet::ConnectAck(Box::new(acknowledgement));
    if let Err(error) = v5::Codec::new(0, 0).encode(packet, &mut out) {
        tracing::error!(%error, "CONNACK could not be encoded");
    }
    out
}
