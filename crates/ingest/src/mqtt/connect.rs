//! CONNECT: which version it is, and what the client asks for. It refuses what breaks the standard
//! and what cannot be honoured (enhanced authentication, wills to topics that mean nothing) with
//! the standard's own codes.

use veritwin_domain::{IngestLimits, Secret};

use super::connack::Rejection;
use super::frame::{self, Header, Version};
use super::properties::{self, Holder, Properties};
use super::session::SESSION_SECONDS_MAX;
use super::topic;
use super::wire::{Fault, Reader};
use crate::model::{Credential, PeerInfo};

/// Longest client id, in bytes.
pub const CLIENT_ID_BYTES_MAX: usize = 256;

/// Longest time of silence that a client of version 5 may ask for; who asks for more, or for no
/// bound, is told this one.
const KEEP_ALIVE_SECONDS_MAX: u16 = 3_600;

const CONNECT: u8 = 0x10;

/// What a client asks for.
#[derive(Debug)]
pub(crate) struct Hello {
    pub(crate) version: Version,
    /// Empty when the server has to choose.
    pub(crate) client_id: String,
    pub(crate) clean_start: bool,
    /// Within which time it sends something; 0 is never.
    pub(crate) keep_alive_seconds: u16,
    /// What was asked for, before the bound.
    pub(crate) keep_alive_seconds_asked: u16,
    /// How long the session outlives the connection.
    pub(crate) session_seconds: u32,
    /// What was asked for, before the bound.
    pub(crate) session_seconds_asked: u32,
    pub(crate) receive_maximum: u16,
    pub(crate) packet_bytes_max: usize,
    /// So many topics may be named to it by number.
    pub(crate) topic_alias_maximum: u16,
    pub(crate) problem_information: bool,
    pub(crate) credential: Option<Credential>,
    pub(crate) will: Option<Will>,
}

/// A will message.
#[derive(Debug)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    /// 0 to 2.
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// Property length and properties, as in the packet; empty in version 3.
    pub(crate) properties: Vec<u8>,
    pub(crate) delay_seconds: u32,
}

impl Hello {
    /// Of a client that is gone, for its will.
    pub(super) const fn of_will(version: Version) -> Self {
        Self {
            version,
            client_id: String::new(),
            clean_start: false,
            keep_alive_seconds: 0,
            keep_alive_seconds_asked: 0,
            session_seconds: 0,
            session_seconds_asked: 0,
            receive_maximum: u16::MAX,
            packet_bytes_max: usize::MAX,
            topic_alias_maximum: 0,
            problem_information: false,
            credential: None,
            will: None,
        }
    }
}

/// Which version the first packet asks for; `None` while too little of it is there.
pub(crate) fn version_of(input: &[u8]) -> Result<Option<Version>, Rejection> {
    let Some(first_byte) = input.first() else { return Ok(None) };
    if first_byte >> 4 != CONNECT >> 4 {
        return Err(Rejection::without_answer("the first packet is not CONNECT"));
    }
    if *first_byte != CONNECT {
        return Err(Rejection::without_answer("flags of CONNECT: expected 0"));
    }
    let header = match frame::header(input) {
        Ok(Some(header)) => header,
        Ok(None) => return Ok(None),
        Err(_) => {
            let text = "malformed remaining length: expected at most four bytes";
            return Err(Rejection::without_answer(text));
        }
    };
    let body = input.get(header.header_bytes..).unwrap_or_default();
    let body = body.get(..header.body_bytes).unwrap_or(body);
    let is_whole = body.len() == header.body_bytes;
    for (name, levels) in [(&b"\x00\x04MQTT"[..], &[4, 5][..]), (&b"\x00\x06MQIsdp"[..], &[3][..])]
    {
        let Some(rest) = body.strip_prefix(name) else {
            if !is_whole && name.starts_with(body) {
                return Ok(None);
            }
            continue;
        };
        return match rest.first() {
            Some(level) if levels.contains(level) => {
                Ok(Some(if *level == 5 { Version::V5 } else { Version::V3 }))
            }
            Some(_) => {
                let text = "unsupported protocol level: expected 3.1, 3.1.1 or 5.0";
                Err(Rejection::new(Version::V3, 0x84, 1, text))
            }
            None if is_whole => Err(Rejection::without_answer("CONNECT ends after its name")),
            None => Ok(None),
        };
    }
    Err(Rejection::without_answer("not MQTT: expected the protocol name MQTT"))
}

/// Reads a whole CONNECT packet of a version that [`version_of`] has found.
pub(crate) fn read(
    version: Version,
    header: Header,
    packet: &[u8],
    peer: &PeerInfo,
    limits: &IngestLimits,
) -> Result<Hello, Rejection> {
    let connect = Connect::read(version, header, packet)
        .map_err(|fault| Rejection::of_fault(version, &fault))?;
    let hello = connect.hello(version, peer);
    let checked = connect.check(version, limits);
    checked.map_err(|rejection| rejection.within(hello.packet_bytes_max))?;
    Ok(hello)
}

/// The keep-alive that counts. Version 5 can be told of another one, and so no connection of it is
/// silent for ever.
fn keep_alive(version: Version, asked: u16) -> u16 {
    match version {
        Version::V5 if asked == 0 => KEEP_ALIVE_SECONDS_MAX,
        Version::V5 => asked.min(KEEP_ALIVE_SECONDS_MAX),
        Version::V3 => asked,
    }
}

/// The packet, in place.
#[derive(Debug)]
struct Connect<'a> {
    clean_start: bool,
    keep_alive_seconds: u16,
    properties: Properties,
    client_id: &'a str,
    will: Option<ConnectWill<'a>>,
    user: Option<&'a str>,
    password: Option<&'a [u8]>,
}

#[derive(Debug)]
struct ConnectWill<'a> {
    qos: u8,
    retain: bool,
    properties: &'a [u8],
    delay_seconds: u32,
    topic: &'a str,
    payload: &'a [u8],
}

impl<'a> Connect<'a> {
    fn read(version: Version, header: Header, packet: &'a [u8]) -> Result<Self, Fault> {
        header.check_length(version)?;
        let mut reader = Reader::new(packet, header.header_bytes);
        reader.text("protocol name")?;
        reader.byte("protocol level")?;
        let at = reader.at();
        let flags = reader.byte("connect flags")?;
        check_flags(version, flags).map_err(|text| Fault::malformed(at, text))?;
        let keep_alive_seconds = reader.two("keep-alive")?;
        let mut properties = Properties::default();
        if version == Version::V5 {
            properties = properties::read(&mut reader, Holder::Connect)?;
        }
        let client_id = reader.text("client id")?;
        let will = (flags & WILL != 0).then(|| ConnectWill::read(version, flags, &mut reader));
        let will = will.transpose()?;
        let user = (flags & USER_NAME != 0).then(|| reader.text("user name")).transpose()?;
        let password = (flags & PASSWORD != 0).then(|| reader.binary("password")).transpose()?;
        reader.finish("CONNECT")?;
        let clean_start = flags & CLEAN_START != 0;
        Ok(Self { clean_start, keep_alive_seconds, properties, client_id, will, user, password })
    }

    fn hello(&self, version: Version, peer: &PeerInfo) -> Hello {
        let properties = &self.properties;
        let asked = match version {
            Version::V3 if self.clean_start => 0,
            Version::V3 => SESSION_SECONDS_MAX,
            Version::V5 => properties.session_expiry_seconds.unwrap_or(0),
        };
        let packet_bytes_max = properties.packet_bytes_max.map_or(usize::MAX, |max| max as usize);
        Hello {
            version,
            client_id: self.client_id.to_owned(),
            clean_start: self.clean_start,
            keep_alive_seconds: keep_alive(version, self.keep_alive_seconds),
            keep_alive_seconds_asked: self.keep_alive_seconds,
            session_seconds: asked.min(SESSION_SECONDS_MAX),
            session_seconds_asked: asked,
            receive_maximum: properties.receive_maximum.unwrap_or(u16::MAX),
            packet_bytes_max,
            topic_alias_maximum: properties.topic_alias_maximum.unwrap_or(0),
            problem_information: version == Version::V5
                && properties.problem_information.unwrap_or(true),
            credential: self.credential(peer),
            will: self.will.as_ref().map(|will| Will {
                topic: will.topic.to_owned(),
                payload: will.payload.to_vec(),
                qos: will.qos,
                retain: will.retain,
                properties: will.properties.to_vec(),
                delay_seconds: will.delay_seconds,
            }),
        }
    }

    fn credential(&self, peer: &PeerInfo) -> Option<Credential> {
        match (self.user, self.password.filter(|password| !password.is_empty())) {
            (Some(user), None) if !user.is_empty() => {
                Some(Credential::Token(Secret::new(user.to_owned())))
            }
            (Some(user), Some(password)) => Some(Credential::Password {
                client_id: Secret::new(self.client_id.to_owned()),
                user: Secret::new(user.to_owned()),
                password: Secret::new(password.to_vec()),
            }),
            // Version 5 allows a password without a user name.
            (None, Some(password)) => Some(Credential::Password {
                client_id: Secret::new(self.client_id.to_owned()),
                user: Secret::new(String::new()),
                password: Secret::new(password.to_vec()),
            }),
            _ => peer.certificate.clone().map(Credential::Certificate),
        }
    }

    /// What is well-formed and cannot be honoured.
    fn check(&self, version: Version, limits: &IngestLimits) -> Result<(), Rejection> {
        if self.properties.has_authentication_method {
            let text = "enhanced authentication is not supported: connect without a method";
            return Err(Rejection::new(version, 0x8c, 0, text));
        }
        let (max, actual) = (CLIENT_ID_BYTES_MAX, self.client_id.len());
        if actual > max {
            let text = format!("limit client_id_bytes_max exceeded: at most {max}, got {actual}");
            return Err(Rejection::new(version, 0x85, 2, text));
        }
        if version == Version::V3 && self.client_id.is_empty() && !self.clean_start {
            let text = "an empty client id is only allowed with a clean session";
            return Err(Rejection::new(version, 0x85, 2, text));
        }
        let Some(will) = &self.will else { return Ok(()) };
        topic::classify(will.topic, limits).map(|_| ()).map_err(|error| {
            let text = format!("will: {}", error.text());
            Rejection::new(version, 0x90, 5, text)
        })
    }
}

impl<'a> ConnectWill<'a> {
    fn read(version: Version, flags: u8, reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let (mut delay_seconds, mut raw) = (0, &[][..]);
        if version == Version::V5 {
            let rest = reader.rest();
            let properties = properties::read(reader, Holder::Will)?;
            delay_seconds = properties.will_delay_seconds.unwrap_or(0);
            raw = rest.get(..rest.len() - reader.rest().len()).unwrap_or_default();
        }
        let topic = reader.topic_name("will topic")?;
        let payload = reader.binary("will payload")?;
        let (qos, retain) = ((flags & WILL_QOS) >> 3, flags & WILL_RETAIN != 0);
        Ok(Self { qos, retain, properties: raw, delay_seconds, topic, payload })
    }
}

const RESERVED: u8 = 0b0000_0001;
const CLEAN_START: u8 = 0b0000_0010;
const WILL: u8 = 0b0000_0100;
const WILL_QOS: u8 = 0b0001_1000;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USER_NAME: u8 = 0b1000_0000;

/// MQTT-3.1.2-3 and the flags' dependence on one another (3.1.2.3 to 3.1.2.9).
fn check_flags(version: Version, flags: u8) -> Result<(), &'static str> {
    if flags & RESERVED != 0 {
        return Err("connect flags: the reserved flag is not 0");
    }
    if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        return Err("connect flags: will QoS or will retain without a will");
    }
    if flags & WILL_QOS == WILL_QOS {
        return Err("connect flags: will QoS 3: expected 0, 1 or 2");
    }
    // Version 5 allows it.
    if version == Version::V3 && flags & (PASSWORD | USER_NAME) == PASSWORD {
        return Err("connect flags: a password without a user name");
    }
    Ok(())
}
