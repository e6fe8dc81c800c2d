//! What the platform says itself: commands, its own state, and the time in a death that it
//! delivers for a client that is gone.

use veritwin_domain::Timestamp;

use super::topic::{Kind, Topic};
use super::value::{DataType, Sent};
use super::wire::{Reader, Writer};

/// The metric by which a node is asked for a new birth (6.4.21).
const REBIRTH: &str = "Node Control/Rebirth";
/// The data type of [`REBIRTH`].
const BOOLEAN: u32 = 11;

fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or_default()
}

/// Which metric is written: one with an alias by that alone (6.4.3).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Written<'a> {
    Name(&'a str),
    Alias(u64),
}

fn written(of: Written<'_>, datatype: u32, value: &Sent, at: Timestamp) -> Vec<u8> {
    let mut metric = Writer::default();
    match of {
        Written::Name(name) => metric.bytes(1, name.as_bytes()),
        Written::Alias(alias) => metric.number(2, alias),
    }
    metric.number(3, millis(at));
    metric.number(4, datatype.into());
    match value {
        Sent::Number32(number) => metric.number(10, (*number).into()),
        Sent::Number64(number) => metric.number(11, *number),
        Sent::Float(number) => metric.float(12, *number),
        Sent::Double(number) => metric.double(13, *number),
        Sent::Boolean(flag) => metric.number(14, (*flag).into()),
        Sent::Text(text) => metric.bytes(15, text.as_bytes()),
    }
    let mut payload = Writer::default();
    payload.number(1, millis(at));
    payload.bytes(2, &metric.finish());
    payload.finish()
}

/// The payload of NCMD or DCMD: one metric is to have a value.
pub(crate) fn command(of: Written<'_>, datatype: DataType, value: &Sent, at: Timestamp) -> Vec<u8> {
    written(of, datatype.number(), value, at)
}

/// The payload of the NCMD that asks for a new birth.
pub(crate) fn rebirth(at: Timestamp) -> Vec<u8> {
    written(Written::Name(REBIRTH), BOOLEAN, &Sent::Boolean(true), at)
}

/// The payload of STATE (4.3): since when the host is there, or was.
pub(crate) fn state(is_online: bool, since: Timestamp) -> Vec<u8> {
    format!("{{\"online\":{is_online},\"timestamp\":{}}}", since.as_millis()).into_bytes()
}

/// The payload of a will that is an NDEATH, with the time at which it is delivered (10.1.3).
pub(crate) fn death_at(topic: &str, payload: &[u8], at: Timestamp) -> Option<Vec<u8>> {
    let Ok(Topic::Node { kind: Kind::Death, device: None, .. }) = Topic::parse(topic) else {
        return None;
    };
    let mut stamped = Writer::default();
    stamped.number(1, millis(at));
    let mut reader = Reader::new(payload);
    // One that is malformed goes on as it is, and is refused with its byte.
    while let Some(field) = reader.next_field().ok()? {
        if field.number != 1 {
            stamped.raw(payload.get(field.at..reader.at())?);
        }
    }
    Some(stamped.finish())
}

#[cfg(test)]
mod tests {
    use veritwin_domain::Screening;

    use super::super::payload::{self, Raw};
    use super::*;

    #[test]
    fn what_is_said_is_read() {
        let at = Timestamp::from_micros(1_700_000_000_123_000);
        let bytes = rebirth(at);
        let found = payload::read(&bytes, Screening::ALL).expect("well formed");
        assert_eq!(found.timestamp, Some(1_700_000_000_123));
        let metric = &found.metrics[0];
        assert_eq!((metric.name, metric.datatype), (Some(REBIRTH), Some(BOOLEAN)));
        assert_eq!(metric.value, Raw::Boolean(true));
        let text = String::from_utf8(state(false, at)).expect("text");
        assert_eq!(text, r#"{"online":false,"timestamp":1700000000123}"#);
    }

    #[test]
    fn a_death_has_the_time_at_which_it_is_delivered() {
        let mut will = Writer::default();
        will.number(1, 5);
        let mut metric = Writer::default();
        metric.bytes(1, b"bdSeq");
        metric.number(11, 7);
        will.bytes(2, &metric.finish());
        let (will, at) = (will.finish(), Timestamp::from_micros(9_000));
        let stamped = death_at("spBv1.0/g/NDEATH/n", &will, at).expect("a death");
        let found = payload::read(&stamped, Screening::ALL).expect("well formed");
        assert_eq!(found.timestamp, Some(9));
        assert_eq!(found.metrics[0].value, Raw::Number(7));
        assert_eq!(death_at("spBv1.0/g/NDATA/n", &will, at), None);
        assert_eq!(death_at("spBv1.0/g/DDEATH/n/d", &will, at), None);
        assert_eq!(death_at("spBv1.0/g/NDEATH/n", &will[..3], at), None);
    }
}
