//! The properties of the packets that a client sends (MQTT 5.0, 2.2.2): each of the right type, in
//! a packet that may hold it, and once. What the broker has no use for is checked and passed over.

use super::wire::{Fault, Reader};

// Identifiers (table 2-4), as far as a client may send them or be tempted to.
const PAYLOAD_FORMAT: u8 = 0x01;
const MESSAGE_EXPIRY: u8 = 0x02;
const CONTENT_TYPE: u8 = 0x03;
const RESPONSE_TOPIC: u8 = 0x08;
const CORRELATION_DATA: u8 = 0x09;
const SUBSCRIPTION_ID: u8 = 0x0b;
const SESSION_EXPIRY: u8 = 0x11;
const AUTHENTICATION_METHOD: u8 = 0x15;
const AUTHENTICATION_DATA: u8 = 0x16;
const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
const WILL_DELAY: u8 = 0x18;
const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
const SERVER_REFERENCE: u8 = 0x1c;
const REASON_STRING: u8 = 0x1f;
const RECEIVE_MAXIMUM: u8 = 0x21;
const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
const TOPIC_ALIAS: u8 = 0x23;
const USER_PROPERTY: u8 = 0x26;
const MAXIMUM_PACKET_SIZE: u8 = 0x27;

/// What holds properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    Connect,
    Will,
    Publish,
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Acknowledgement,
    Subscribe,
    Unsubscribe,
    Disconnect,
}

impl Holder {
    const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Will => "a will",
            Self::Publish => "PUBLISH",
            Self::Acknowledgement => "an acknowledgement",
            Self::Subscribe => "SUBSCRIBE",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Disconnect => "DISCONNECT",
        }
    }

    /// A bit for each property that it may hold.
    const fn allowed(self) -> u64 {
        match self {
            Self::Connect => bits(&[
                SESSION_EXPIRY,
                AUTHENTICATION_METHOD,
                AUTHENTICATION_DATA,
                REQUEST_PROBLEM_INFORMATION,
                REQUEST_RESPONSE_INFORMATION,
                RECEIVE_MAXIMUM,
                TOPIC_ALIAS_MAXIMUM,
                USER_PROPERTY,
                MAXIMUM_PACKET_SIZE,
            ]),
            Self::Will => bits(&[
                PAYLOAD_FORMAT,
                MESSAGE_EXPIRY,
                CONTENT_TYPE,
                RESPONSE_TOPIC,
                CORRELATION_DATA,
                WILL_DELAY,
                USER_PROPERTY,
            ]),
            Self::Publish => bits(&[
                PAYLOAD_FORMAT,
                MESSAGE_EXPIRY,
                CONTENT_TYPE,
                RESPONSE_TOPIC,
                CORRELATION_DATA,
                SUBSCRIPTION_ID,
                TOPIC_ALIAS,
                USER_PROPERTY,
            ]),
            Self::Acknowledgement => bits(&[REASON_STRING, USER_PROPERTY]),
            Self::Subscribe => bits(&[SUBSCRIPTION_ID, USER_PROPERTY]),
            Self::Unsubscribe => bits(&[USER_PROPERTY]),
            Self::Disconnect => {
                bits(&[SESSION_EXPIRY, SERVER_REFERENCE, REASON_STRING, USER_PROPERTY])
            }
        }
    }

    /// A bit for each property that only a server sends in it.
    const fn of_servers(self) -> u64 {
        match self {
            // MQTT-3.3.4-6 and 3.14.2.2.5.
            Self::Publish => bits(&[SUBSCRIPTION_ID]),
            Self::Disconnect => bits(&[SERVER_REFERENCE]),
            _ => 0,
        }
    }
}

const fn bit(property: u8) -> u64 {
    if property < 64 { 1 << property } else { 0 }
}

const fn bits(properties: &[u8]) -> u64 {
    let (mut all, mut index) = (0, 0);
    while index < properties.len() {
        all |= bit(properties[index]);
        index += 1;
    }
    all
}

/// What the broker makes use of.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Properties {
    pub(crate) session_expiry_seconds: Option<u32>,
    /// Never 0.
    pub(crate) receive_maximum: Option<u16>,
    /// Never 0.
    pub(crate) packet_bytes_max: Option<u32>,
    pub(crate) topic_alias_maximum: Option<u16>,
    pub(crate) problem_information: Option<bool>,
    pub(crate) has_authentication_method: bool,
    pub(crate) will_delay_seconds: Option<u32>,
    /// Never 0.
    pub(crate) subscription_id: Option<u32>,
    /// May be 0 or too large: that has a reason code of its own.
    pub(crate) topic_alias: Option<u16>,
}

/// Reads a property length and the properties after it.
pub(crate) fn read(reader: &mut Reader<'_>, holder: Holder) -> Result<Properties, Fault> {
    let length = reader.variable("property length")?;
    let start = reader.at();
    let mut part = reader.part(length as usize, "properties")?;
    let mut found = Properties::default();
    let mut seen = 0;
    while !part.is_at_end() {
        let at = part.at();
        let property = part.byte("property identifier")?;
        let name = holder.name();
        if holder.allowed() & bit(property) == 0 {
            let text = format_args!("property 0x{property:02x} is unknown or not for {name}");
            return Err(Fault::malformed(at, text));
        }
        if holder.of_servers() & bit(property) != 0 {
            let text = format_args!("property 0x{property:02x} of {name} is for servers only");
            return Err(Fault::protocol(at, text));
        }
        if seen & bit(property) != 0 && property != USER_PROPERTY {
            let text = format_args!("property 0x{property:02x} of {name} comes twice");
            return Err(Fault::protocol(at, text));
        }
        seen |= bit(property);
        found.take(property, &mut part)?;
    }
    if seen & bit(AUTHENTICATION_DATA) != 0 && !found.has_authentication_method {
        return Err(Fault::protocol(start, "authentication data without authentication method"));
    }
    Ok(found)
}

/// What of a message goes on to those who receive it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PassedOn<'a> {
    /// Payload format, content type, response topic, correlation data and user properties, as they
    /// came and in their order (MQTT-3.3.2-4, -15, -16, -17, -18, -20).
    pub(crate) bytes: Vec<u8>,
    pub(crate) expiry_seconds: Option<u32>,
    /// Every text in it; those of user properties with their names.
    pub(crate) texts: Vec<(Option<&'a str>, &'a str)>,
    /// Correlation data.
    pub(crate) correlation: &'a [u8],
}

/// Takes what is passed on out of a property length and properties that [`read`] has accepted.
pub(crate) fn passed_on(raw: &[u8]) -> Result<PassedOn<'_>, Fault> {
    let mut found = PassedOn::default();
    if raw.is_empty() {
        return Ok(found);
    }
    let mut reader = Reader::new(raw, 0);
    reader.variable("property length")?;
    while !reader.is_at_end() {
        let start = reader.at();
        match reader.byte("property identifier")? {
            MESSAGE_EXPIRY => {
                found.expiry_seconds = Some(reader.four("message expiry interval")?);
                continue;
            }
            TOPIC_ALIAS => {
                reader.two("topic alias")?;
                continue;
            }
            WILL_DELAY => {
                reader.four("will delay interval")?;
                continue;
            }
            PAYLOAD_FORMAT => {
                reader.byte("payload format indicator")?;
            }
            CORRELATION_DATA => {
                found.correlation = reader.binary("correlation data")?;
            }
            CONTENT_TYPE | RESPONSE_TOPIC => found.texts.push((None, reader.text("text")?)),
            USER_PROPERTY => {
                let name = reader.text("user property's name")?;
                found.texts.push((Some(name), reader.text("user property's value")?));
            }
            other => {
                let text = format_args!("property 0x{other:02x} is not passed on");
                return Err(Fault::malformed(start, text));
            }
        }
        found.bytes.extend_from_slice(raw.get(start..reader.at()).unwrap_or_default());
    }
    Ok(found)
}

impl Properties {
    fn take(&mut self, property: u8, part: &mut Reader<'_>) -> Result<(), Fault> {
        match property {
            PAYLOAD_FORMAT => {
                part.flag("payload format indicator")?;
            }
            MESSAGE_EXPIRY => {
                part.four("message expiry interval")?;
            }
            CONTENT_TYPE => {
                part.text("content type")?;
            }
            // MQTT-3.3.2-13, MQTT-3.3.2-14.
            RESPONSE_TOPIC => {
                part.topic_name("response topic")?;
            }
            CORRELATION_DATA => {
                part.binary("correlation data")?;
            }
            SUBSCRIPTION_ID => self.subscription_id = Some(subscription_id(part)?),
            SESSION_EXPIRY => {
                self.session_expiry_seconds = Some(part.four("session expiry interval")?);
            }
            AUTHENTICATION_METHOD => {
                part.text("authentication method")?;
                self.has_authentication_method = true;
            }
            AUTHENTICATION_DATA => {
                part.binary("authentication data")?;
            }
            REQUEST_PROBLEM_INFORMATION => {
                self.problem_information = Some(part.flag("request problem information")?);
            }
            WILL_DELAY => self.will_delay_seconds = Some(part.four("will delay interval")?),
            REQUEST_RESPONSE_INFORMATION => {
                part.flag("request response information")?;
            }
            REASON_STRING => {
                part.text("reason string")?;
            }
            RECEIVE_MAXIMUM => self.receive_maximum = Some(receive_maximum(part)?),
            TOPIC_ALIAS_MAXIMUM => {
                self.topic_alias_maximum = Some(part.two("topic alias maximum")?);
            }
            TOPIC_ALIAS => self.topic_alias = Some(part.two("topic alias")?),
            USER_PROPERTY => {
                part.text("user property's name")?;
                part.text("user property's value")?;
            }
            MAXIMUM_PACKET_SIZE => self.packet_bytes_max = Some(packet_bytes_max(part)?),
            other => {
                let text = format_args!("property 0x{other:02x} is unknown");
                return Err(Fault::malformed(part.at(), text));
            }
        }
        Ok(())
    }
}

fn subscription_id(part: &mut Reader<'_>) -> Result<u32, Fault> {
    let at = part.at();
    match part.variable("subscription identifier")? {
        0 => Err(Fault::protocol(at, "subscription identifier: expected 1 or more, found 0")),
        id => Ok(id),
    }
}

fn receive_maximum(part: &mut Reader<'_>) -> Result<u16, Fault> {
    let at = part.at();
    match part.two("receive maximum")? {
        0 => Err(Fault::protocol(at, "receive maximum: expected 1 or more, found 0")),
        max => Ok(max),
    }
}

fn packet_bytes_max(part: &mut Reader<'_>) -> Result<u32, Fault> {
    let at = part.at();
    match part.four("maximum packet size")? {
        0 => Err(Fault::protocol(at, "maximum packet size: expected 1 or more, found 0")),
        max => Ok(max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_on() {
        let raw =
            b"\x1c\x01\x01\x02\0\0\0\x09\x03\0\x01t\x23\0\x05\x26\0\x01a\0\x01b\x09\0\x01\xff";
        let found = passed_on(raw).unwrap();
        let expect = b"\x01\x01\x03\0\x01t\x26\0\x01a\0\x01b\x09\0\x01\xff";
        assert_eq!(found.bytes, expect);
        assert_eq!(found.expiry_seconds, Some(9));
        assert_eq!(found.correlation, b"\xff");
        assert_eq!(found.texts, [(None, "t"), (Some("a"), "b")]);
        assert_eq!(passed_on(b""), Ok(PassedOn::default()));
        assert_eq!(passed_on(b"\0"), Ok(PassedOn::default()));
    }
}
