//! What gateways write: ThingsBoard's gateway JSON, several devices in one message or one device
//! with members. A device is known by its name; whose it is, is for others to say.

use veritwin_domain::{IngestLimits, Key, LimitExceeded, Value};

use super::cursor::{Cursor, Number};
use super::device::{attributes_of, key_list};
use super::{KeyTable, PayloadError};

/// Most devices in one message of a gateway.
pub const CHILD_NAMES_MAX: usize = 1_024;
/// Longest name of a device behind a gateway, in bytes.
pub(crate) const CHILD_NAME_BYTES_MAX: usize = 256;
/// Longest type of a device behind a gateway, in bytes.
const CHILD_TYPE_BYTES_MAX: usize = 400;

/// The next name of a device, after `count` others.
pub(super) fn child_name(cursor: &mut Cursor<'_>, count: usize) -> Result<String, PayloadError> {
    cursor.skip_whitespace();
    let at = cursor.position;
    let name = cursor.string("a device's name in double quotes")?;
    let bounds = [
        ("gateway_names_max", CHILD_NAMES_MAX, count + 1),
        ("device_name_bytes_max", CHILD_NAME_BYTES_MAX, name.len()),
    ];
    for (name, max, actual) in bounds {
        if actual > max {
            return Err(PayloadError::limit(at, LimitExceeded { name, max, actual }));
        }
    }
    Ok(name.into_owned())
}

/// Attributes of several devices, each with its name.
pub type ChildrenAttributes = Vec<(String, Vec<(Key, Value)>)>;

/// Parses `{"device":{"key":value,...},...}`.
pub fn parse_children_attributes(
    payload: &[u8],
    limits: &IngestLimits,
    keys: &mut KeyTable,
) -> Result<ChildrenAttributes, PayloadError> {
    let mut cursor = Cursor::new(payload)?;
    let (mut children, mut count) = (ChildrenAttributes::new(), 0);
    cursor.expect(b'{', "an object with devices' names and attributes")?;
    if !cursor.take(b'}') {
        loop {
            let name = child_name(&mut cursor, children.len())?;
            cursor.expect(b':', "':' after a name")?;
            let at = cursor.position;
            let entries = attributes_of(&mut cursor, limits, keys, 2)?;
            count += entries.len();
            let (max, actual) = (limits.readings_per_message_max, count);
            if actual > max {
                let limit = LimitExceeded { name: "readings_per_message_max", max, actual };
                return Err(PayloadError::limit(at, limit));
            }
            children.push((name, entries));
            if cursor.take(b'}') {
                break;
            }
            cursor.expect(b',', "',' or '}'")?;
        }
    }
    cursor.end()?;
    Ok(children)
}

/// A message about one device.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ChildMessage {
    /// Its name.
    pub name: String,
    /// What kind of device it is.
    pub kind: Option<String>,
    /// The number of a request or a call.
    pub id: Option<i64>,
    /// Whether client attributes are asked for, not shared ones.
    pub client: bool,
    /// The attributes asked for.
    pub keys: Vec<Key>,
    /// Those asked for by their scope, client and shared.
    pub scopes: Option<(Vec<Key>, Vec<Key>)>,
    /// An answer, as checked JSON text.
    pub data: Option<String>,
}

/// Parses `{"device":"name",...}`: `type` when a device connects; `id` and lists `client` and
/// `shared`, or `id`, whether `client`, and `key` or `keys`, when attributes are asked for; `id`
/// and `data` when a call is answered. Other members are left out.
pub fn parse_child_message(
    payload: &[u8],
    limits: &IngestLimits,
) -> Result<ChildMessage, PayloadError> {
    let mut cursor = Cursor::new(payload)?;
    let (mut message, mut name) = (ChildMessage::default(), None);
    cursor.expect(b'{', "an object with \"device\"")?;
    if !cursor.take(b'}') {
        loop {
            let member = cursor.string("a key in double quotes")?;
            cursor.expect(b':', "':' after a key")?;
            cursor.skip_whitespace();
            if member == "device" {
                name = Some(child_name(&mut cursor, 0)?);
            } else {
                message.member(&member, &mut cursor, limits)?;
            }
            if cursor.take(b'}') {
                break;
            }
            cursor.expect(b',', "',' or '}'")?;
        }
    }
    let end = cursor.position;
    cursor.end()?;
    let expected = "expected a key \"device\" with the device's name";
    message.name = name.ok_or_else(|| PayloadError::new(end, expected))?;
    Ok(message)
}

impl ChildMessage {
    fn member(
        &mut self,
        member: &str,
        cursor: &mut Cursor<'_>,
        limits: &IngestLimits,
    ) -> Result<(), PayloadError> {
        let at = cursor.position;
        match (member, cursor.peek()) {
            ("type", Some(b'"')) => {
                let kind = cursor.string("a type")?;
                let (name, max, actual) =
                    ("device_type_bytes_max", CHILD_TYPE_BYTES_MAX, kind.len());
                if actual > max {
                    return Err(PayloadError::limit(at, LimitExceeded { name, max, actual }));
                }
                self.kind = Some(kind.into_owned());
            }
            ("id", Some(b'-' | b'0'..=b'9')) => match cursor.number()? {
                Number::Integer(id) => self.id = Some(id),
                Number::Double(_) => return Err(PayloadError::new(at, "expected a whole number")),
            },
            ("client", Some(b't')) => {
                cursor.word("true")?;
                self.client = true;
            }
            ("key" | "keys", Some(b'"')) => {
                let list = cursor.string("a key")?;
                let moved = |error| PayloadError { position: at, ..error };
                self.keys.extend(key_list(&list, limits).map_err(moved)?);
            }
            ("keys", Some(b'[')) => listed(cursor, limits, &mut self.keys)?,
            ("client", Some(b'[')) => listed(cursor, limits, &mut self.scoped().0)?,
            ("shared", Some(b'[')) => listed(cursor, limits, &mut self.scoped().1)?,
            ("data", _) => {
                let mut data = String::new();
                cursor.minify(&mut data, 1)?;
                let (max, actual) = (limits.value_bytes_max, data.len());
                if actual > max {
                    let limit = LimitExceeded { name: "value_bytes_max", max, actual };
                    return Err(PayloadError::limit(at, limit));
                }
                self.data = Some(data);
            }
            _ => cursor.minify(&mut String::new(), 1)?,
        }
        Ok(())
    }

    fn scoped(&mut self) -> &mut (Vec<Key>, Vec<Key>) {
        self.scopes.get_or_insert_default()
    }
}

/// `["a","b"]`.
fn listed(
    cursor: &mut Cursor<'_>,
    limits: &IngestLimits,
    keys: &mut Vec<Key>,
) -> Result<(), PayloadError> {
    cursor.expect(b'[', "'['")?;
    if cursor.take(b']') {
        return Ok(());
    }
    loop {
        cursor.skip_whitespace();
        let at = cursor.position;
        let (max, actual) = (limits.keys_per_message_max, keys.len() + 1);
        if actual > max {
            let limit = LimitExceeded { name: "keys_per_message_max", max, actual };
            return Err(PayloadError::limit(at, limit));
        }
        let key = cursor.string("a key in double quotes")?;
        let key = Key::new(&key).map_err(|error| PayloadError::new(at, error.to_string()))?;
        keys.push(key);
        if cursor.take(b']') {
            return Ok(());
        }
        cursor.expect(b',', "',' or ']'")?;
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::Screening;

    use super::*;

    fn limits() -> IngestLimits {
        IngestLimits::default()
    }

    #[test]
    fn attributes_of_several_devices() {
        let mut keys = KeyTable::new(Screening::ALL);
        let payload = br#"{"a": {"fw": "1", "n": 2}, "b": {}}"#;
        let found = parse_children_attributes(payload, &limits(), &mut keys).expect("parsed");
        let names: Vec<_> = found.iter().map(|(name, all)| (name.as_str(), all.len())).collect();
        assert_eq!(names, [("a", 2), ("b", 0)]);
        for (bad, part) in [
            ("[]", "byte 0: expected an object with devices"),
            (r#"{"a":1}"#, "byte 5: expected an object"),
            (r#"{"a":{}"#, "',' or '}'"),
        ] {
            let error = parse_children_attributes(bad.as_bytes(), &limits(), &mut keys);
            let text = error.expect_err(bad).to_string();
            assert!(text.contains(part), "{bad}: {text}");
        }
    }

    #[test]
    fn names_are_bounded() {
        let mut keys = KeyTable::new(Screening::ALL);
        let many: Vec<String> = (0..=CHILD_NAMES_MAX).map(|n| format!("\"{n}\":{{}}")).collect();
        let many = format!("{{{}}}", many.join(","));
        let long = format!("{{\"{}\":{{}}}}", "n".repeat(257));
        for (payload, name) in [(many, "gateway_names_max"), (long, "device_name_bytes_max")] {
            let error = parse_children_attributes(payload.as_bytes(), &limits(), &mut keys);
            let limit = error.expect_err(name).limit.map(|limit| limit.name);
            assert_eq!(limit, Some(name));
        }
    }

    #[test]
    fn messages_about_one_device() {
        let parse = |text: &str| parse_child_message(text.as_bytes(), &limits());
        let found = parse(r#"{"device":"A","type":"meter","more":[1]}"#).expect("parsed");
        assert_eq!((found.name.as_str(), found.kind.as_deref()), ("A", Some("meter")));
        let found = parse(r#"{"id":3,"device":"A","client":true,"key":"x"}"#).expect("parsed");
        assert_eq!((found.id, found.client, found.keys.len()), (Some(3), true, 1));
        let found = parse(r#"{"keys":["x","y"],"device":"A","client":false,"id":4}"#);
        let found = found.expect("parsed");
        assert_eq!((found.client, found.keys.len(), found.scopes), (false, 2, None));
        let found = parse(r#"{"id":5,"device":"A","client":["x"],"shared":[]}"#).expect("parsed");
        let scopes = found.scopes.map(|(client, shared)| (client.len(), shared.len()));
        assert_eq!((scopes, found.client), (Some((1, 0)), false));
        let found = parse(r#"{"device":"A","id":1,"data":{"ok": true}}"#).expect("parsed");
        assert_eq!(found.data.as_deref(), Some(r#"{"ok":true}"#));
        for (bad, part) in [
            ("{}", "\"device\""),
            (r#"{"device":1}"#, "a device's name"),
            (r#"{"device":"A","id":1.5}"#, "whole number"),
        ] {
            let text = parse(bad).expect_err(bad).to_string();
            assert!(text.contains(part), "{bad}: {text}");
        }
    }
}
