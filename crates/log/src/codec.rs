//! The binary form of a record, version 1: compact, one pass, keys written once per record and
//! then by number. It refuses whatever it did not write itself, and never allocates more than a
//! small multiple of the bytes it is given.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use veritwin_domain::{
    CredentialId, DeviceBatch, DeviceId, Key, Quality, Reading, RelayMessage, SessionNote,
    TenantId, Timestamp, Value,
};

use crate::record::{
    AttributeScope, Attributes, EdgeEntry, Entry, Record, Refusal, SessionEvent, SessionEventKind,
};

/// Longest reason of a refusal, in bytes.
pub(crate) const REASON_BYTES_MAX: usize = 256;
/// Most distinct keys that a decoder shares between records.
const SHARED_KEYS_MAX: usize = 65_536;
/// Above this many keys in one record a hash map finds them.
const LINEAR_KEYS_MAX: usize = 24;

const KIND_READINGS: u8 = 1;
const KIND_ATTRIBUTES: u8 = 2;
const KIND_SESSION: u8 = 3;
const KIND_REFUSAL: u8 = 4;
const KIND_RELAY: u8 = 5;
const KIND_NOTE: u8 = 6;
const KIND_EDGE: u8 = 7;

// A relayed message has one byte of QoS and three flags.
const QOS_MASK: u8 = 0b0000_0011;
const RETAIN: u8 = 0b0000_0100;
const EXPIRES: u8 = 0b0000_1000;
const HOPS: u8 = 0b0001_0000;

// One reading begins with one byte: value type, quality, and three flags that save fields.
const TYPE_MASK: u8 = 0b0000_0111;
const QUALITY_SHIFT: u8 = 3;
const QUALITY_MASK: u8 = 0b0001_1000;
const SAME_TIME: u8 = 0b0010_0000;
const NEXT_KEY: u8 = 0b0100_0000;
const NEW_KEY: u8 = 0b1000_0000;
const TYPE_DOUBLE: u8 = 0;
const TYPE_INTEGER: u8 = 1;
const TYPE_FALSE: u8 = 2;
const TYPE_TRUE: u8 = 3;
const TYPE_TEXT: u8 = 4;
const TYPE_JSON: u8 = 5;
const TYPE_DELETED: u8 = 6;

/// Appends the binary form of an entry's record, or says why it has none.
pub(crate) fn encode(entry: &Entry, out: &mut Vec<u8>) -> Result<(), String> {
    match &entry.record {
        Record::Readings(batch) => {
            check_tenant(entry, "its readings are", batch.tenant)?;
            out.push(KIND_READINGS);
            encode_readings(batch, out);
        }
        Record::Attributes(attributes) => {
            out.push(KIND_ATTRIBUTES);
            encode_attributes(attributes, out);
        }
        Record::Session(event) => {
            out.push(KIND_SESSION);
            out.extend_from_slice(event.device.as_bytes());
            out.extend_from_slice(event.credential.as_bytes());
            out.push(match event.kind {
                SessionEventKind::Connected => 0,
                SessionEventKind::Disconnected => 1,
                SessionEventKind::Lost => 2,
            });
            put_signed(out, event.at.as_micros());
        }
        Record::Refusal(refusal) => {
            if refusal.reason.len() > REASON_BYTES_MAX {
                return Err(format!("its reason is longer than {REASON_BYTES_MAX} bytes"));
            }
            out.push(KIND_REFUSAL);
            out.extend_from_slice(refusal.device.as_bytes());
            out.extend_from_slice(refusal.credential.as_bytes());
            put_signed(out, refusal.at.as_micros());
            // A key is never empty, so that an empty text stands for none.
            put_text(out, refusal.key.as_deref().unwrap_or_default());
            put_text(out, &refusal.reason);
        }
        Record::Relay(message) => {
            check_tenant(entry, "its message is", message.tenant)?;
            out.push(KIND_RELAY);
            encode_relay(message, out);
        }
        Record::Note(note) => {
            check_tenant(entry, "its note is", note.tenant)?;
            out.push(KIND_NOTE);
            out.extend_from_slice(note.device.as_bytes());
            put_unsigned(out, note.body.len() as u64);
            out.extend_from_slice(&note.body);
        }
        Record::Edge(edge) => {
            out.push(KIND_EDGE);
            out.extend_from_slice(edge.device.as_bytes());
            out.extend_from_slice(edge.credential.as_bytes());
            put_signed(out, edge.received_at.as_micros());
            put_unsigned(out, edge.statement.len() as u64);
            out.extend_from_slice(&edge.statement);
        }
        Record::Unreadable(_) => return Err("unreadable entries are read, never appended".into()),
    }
    Ok(())
}

/// The form leaves out whose a record is: it is of its entry's tenant.
fn check_tenant(entry: &Entry, what: &str, tenant: TenantId) -> Result<(), String> {
    if tenant == entry.tenant {
        return Ok(());
    }
    Err(format!("{what} of tenant {tenant}, the entry of tenant {}", entry.tenant))
}

struct KeyTable<'a> {
    keys: Vec<&'a str>,
    by_name: HashMap<&'a str, usize>,
}

impl<'a> KeyTable<'a> {
    fn find(&self, key: &str) -> Option<usize> {
        if self.keys.len() <= LINEAR_KEYS_MAX {
            self.keys.iter().position(|known| *known == key)
        } else {
            self.by_name.get(key).copied()
        }
    }

    fn push(&mut self, key: &'a str) {
        self.keys.push(key);
        if self.keys.len() == LINEAR_KEYS_MAX + 1 {
            self.by_name = self.keys.iter().enumerate().map(|(at, key)| (*key, at)).collect();
        } else if self.keys.len() > LINEAR_KEYS_MAX {
            self.by_name.insert(key, self.keys.len() - 1);
        }
    }
}

fn encode_readings(batch: &DeviceBatch, out: &mut Vec<u8>) {
    out.reserve(64 + batch.readings.len() * 12);
    out.extend_from_slice(batch.device.as_bytes());
    out.extend_from_slice(batch.credential.as_bytes());
    put_signed(out, batch.received_at.as_micros());
    put_unsigned(out, batch.readings.len() as u64);
    let mut table = KeyTable { keys: Vec::with_capacity(16), by_name: HashMap::new() };
    let mut previous_micros = batch.received_at.as_micros();
    // The key after the last is the first: messages repeat the same keys in the same order.
    let mut next_key = 0;
    for reading in &batch.readings {
        let micros = reading.at.as_micros();
        let time_flag = if micros == previous_micros { SAME_TIME } else { 0 };
        let (value_type, quality) = (type_of(&reading.value), reading.quality.as_u8());
        let flags = value_type | (quality << QUALITY_SHIFT) | time_flag;
        let name = &*reading.key;
        let used = if table.keys.get(next_key).is_some_and(|known| *known == name) {
            out.push(flags | NEXT_KEY);
            next_key
        } else if let Some(index) = table.find(name) {
            out.push(flags);
            put_unsigned(out, index as u64);
            index
        } else {
            out.push(flags | NEW_KEY);
            put_text(out, name);
            table.push(name);
            table.keys.len() - 1
        };
        next_key = if used + 1 < table.keys.len() { used + 1 } else { 0 };
        if time_flag == 0 {
            put_signed(out, micros.wrapping_sub(previous_micros));
            previous_micros = micros;
        }
        put_value(out, &reading.value);
    }
}

fn encode_attributes(attributes: &Attributes, out: &mut Vec<u8>) {
    out.extend_from_slice(attributes.device.as_bytes());
    out.push(match attributes.scope {
        AttributeScope::Client => 0,
        AttributeScope::Shared => 1,
        AttributeScope::Server => 2,
    });
    put_signed(out, attributes.received_at.as_micros());
    put_unsigned(out, attributes.entries.len() as u64);
    for (key, value) in &attributes.entries {
        out.push(value.as_ref().map_or(TYPE_DELETED, type_of));
        put_text(out, key);
        if let Some(value) = value {
            put_value(out, value);
        }
    }
}

fn encode_relay(message: &RelayMessage, out: &mut Vec<u8>) {
    out.reserve(64 + message.content_bytes());
    out.extend_from_slice(message.device.as_bytes());
    out.extend_from_slice(message.credential.as_bytes());
    put_signed(out, message.received_at.as_micros());
    let retain = if message.retain { RETAIN } else { 0 };
    let expires = if message.expires_at.is_some() { EXPIRES } else { 0 };
    let hops = if message.hops > 0 { HOPS } else { 0 };
    out.push((message.qos & QOS_MASK) | retain | expires | hops);
    if let Some(expires_at) = message.expires_at {
        put_signed(out, expires_at.as_micros());
    }
    if message.hops > 0 {
        out.push(message.hops);
    }
    put_text(out, &message.topic);
    put_unsigned(out, message.properties.len() as u64);
    out.extend_from_slice(&message.properties);
    put_unsigned(out, message.payload.len() as u64);
    out.extend_from_slice(&message.payload);
}

const fn type_of(value: &Value) -> u8 {
    match value {
        Value::Double(_) => TYPE_DOUBLE,
        Value::Integer(_) => TYPE_INTEGER,
        Value::Boolean(false) => TYPE_FALSE,
        Value::Boolean(true) => TYPE_TRUE,
        Value::Text(_) => TYPE_TEXT,
        Value::Json(_) => TYPE_JSON,
    }
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Double(number) => out.extend_from_slice(&number.to_le_bytes()),
        Value::Integer(number) => put_signed(out, *number),
        Value::Boolean(_) => {}
        Value::Text(text) | Value::Json(text) => put_text(out, text),
    }
}

fn put_unsigned(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_unsigned(out, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_unsigned(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Decodes records and shares equal keys between them.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    shared_keys: HashSet<Key>,
    /// The keys of the record at hand, by number.
    table: Vec<Key>,
    /// Those of the record before: a device's next message mostly has the same keys.
    previous: Vec<Key>,
}

impl Decoder {
    /// The record of these bytes; `None` if they are not in version 1 of the form.
    pub(crate) fn decode(&mut self, tenant: TenantId, bytes: &[u8]) -> Option<Record> {
        let mut input = Input(bytes);
        let record = match input.byte()? {
            KIND_READINGS => Record::Readings(self.readings(tenant, &mut input)?),
            KIND_ATTRIBUTES => Record::Attributes(self.attributes(&mut input)?),
            KIND_SESSION => Record::Session(session(&mut input)?),
            KIND_REFUSAL => Record::Refusal(self.refusal(&mut input)?),
            KIND_RELAY => Record::Relay(Arc::new(relay(tenant, &mut input)?)),
            KIND_NOTE => Record::Note(note(tenant, &mut input)?),
            KIND_EDGE => Record::Edge(edge(&mut input)?),
            _ => return None,
        };
        input.0.is_empty().then_some(record)
    }

    fn key(&mut self, text: &str) -> Option<Key> {
        if let Some(key) = self.shared_keys.get(text) {
            return Some(key.clone());
        }
        let key = Key::new(text).ok()?;
        if self.shared_keys.len() >= SHARED_KEYS_MAX {
            self.shared_keys.clear();
        }
        self.shared_keys.insert(key.clone());
        Some(key)
    }

    fn readings(&mut self, tenant: TenantId, input: &mut Input<'_>) -> Option<DeviceBatch> {
        let device = DeviceId::from_bytes(input.array()?);
        let credential = CredentialId::from_bytes(input.array()?);
        let received_at = input.time()?;
        let count = input.count()?;
        std::mem::swap(&mut self.table, &mut self.previous);
        self.table.clear();
        let mut readings = Vec::with_capacity(count);
        let mut micros = received_at.as_micros();
        let mut next_key = 0;
        for _ in 0..count {
            let head = input.byte()?;
            let used = match head & (NEXT_KEY | NEW_KEY) {
                NEXT_KEY => next_key,
                NEW_KEY => {
                    let text = input.text()?;
                    let key = match self.previous.get(self.table.len()) {
                        Some(key) if **key == *text => key.clone(),
                        _ => self.key(text)?,
                    };
                    self.table.push(key);
                    self.table.len() - 1
                }
                0 => usize::try_from(input.unsigned()?).ok()?,
                _ => return None,
            };
            let key = self.table.get(used)?.clone();
            next_key = if used + 1 < self.table.len() { used + 1 } else { 0 };
            if head & SAME_TIME == 0 {
                micros = micros.wrapping_add(input.signed()?);
            }
            readings.push(Reading {
                key,
                at: Timestamp::from_micros(micros),
                value: input.value(head & TYPE_MASK)?,
                quality: Quality::from_u8((head & QUALITY_MASK) >> QUALITY_SHIFT)?,
            });
        }
        Some(DeviceBatch { tenant, device, credential, received_at, readings })
    }

    fn attributes(&mut self, input: &mut Input<'_>) -> Option<Attributes> {
        let device = DeviceId::from_bytes(input.array()?);
        let scope = match input.byte()? {
            0 => AttributeScope::Client,
            1 => AttributeScope::Shared,
            2 => AttributeScope::Server,
            _ => return None,
        };
        let received_at = input.time()?;
        let count = input.count()?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let value_type = input.byte()?;
            let key = self.key(input.text()?)?;
            let deleted = value_type == TYPE_DELETED;
            let value = if deleted { None } else { Some(input.value(value_type)?) };
            entries.push((key, value));
        }
        Some(Attributes { device, scope, received_at, entries })
    }

    fn refusal(&mut self, input: &mut Input<'_>) -> Option<Refusal> {
        let device = DeviceId::from_bytes(input.array()?);
        let credential = CredentialId::from_bytes(input.array()?);
        let at = input.time()?;
        let key = match input.text()? {
            "" => None,
            text => Some(self.key(text)?),
        };
        Some(Refusal { device, credential, at, key, reason: Arc::from(input.text()?) })
    }
}

fn relay(tenant: TenantId, input: &mut Input<'_>) -> Option<RelayMessage> {
    let device = DeviceId::from_bytes(input.array()?);
    let credential = CredentialId::from_bytes(input.array()?);
    let received_at = input.time()?;
    let flags = input.byte()?;
    let (qos, retain) = (flags & QOS_MASK, flags & RETAIN != 0);
    if qos > 2 || flags & !(QOS_MASK | RETAIN | EXPIRES | HOPS) != 0 {
        return None;
    }
    let expires_at = if flags & EXPIRES != 0 { Some(input.time()?) } else { None };
    let hops = if flags & HOPS != 0 { input.byte()? } else { 0 };
    let topic = input.text()?.into();
    let property_bytes = input.count()?;
    let properties = input.bytes(property_bytes)?.into();
    let payload_bytes = input.count()?;
    let payload = input.bytes(payload_bytes)?.into();
    Some(RelayMessage {
        tenant,
        device,
        credential,
        received_at,
        expires_at,
        topic,
        properties,
        payload,
        qos,
        retain,
        hops,
    })
}

fn note(tenant: TenantId, input: &mut Input<'_>) -> Option<SessionNote> {
    let device = DeviceId::from_bytes(input.array()?);
    let bytes = input.count()?;
    Some(SessionNote { tenant, device, body: input.bytes(bytes)?.into() })
}

fn edge(input: &mut Input<'_>) -> Option<EdgeEntry> {
    let device = DeviceId::from_bytes(input.array()?);
    let credential = CredentialId::from_bytes(input.array()?);
    let received_at = input.time()?;
    let bytes = input.count()?;
    Some(EdgeEntry { device, credential, received_at, statement: input.bytes(bytes)?.into() })
}

fn session(input: &mut Input<'_>) -> Option<SessionEvent> {
    let device = DeviceId::from_bytes(input.array()?);
    let credential = CredentialId::from_bytes(input.array()?);
    let kind = match input.byte()? {
        0 => SessionEventKind::Connected,
        1 => SessionEventKind::Disconnected,
        2 => SessionEventKind::Lost,
        _ => return None,
    };
    Some(SessionEvent { device, credential, kind, at: input.time()? })
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        let (head, tail) = self.0.split_first()?;
        self.0 = tail;
        Some(*head)
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            // The tenth byte holds one bit only.
            if shift == 63 && part > 1 {
                return None;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.unsigned()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    fn time(&mut self) -> Option<Timestamp> {
        self.signed().map(Timestamp::from_micros)
    }

    /// A count of things that take at least one byte each.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.unsigned()?).ok()?;
        (count <= self.0.len()).then_some(count)
    }

    fn text(&mut self) -> Option<&'a str> {
        let count = self.count()?;
        std::str::from_utf8(self.bytes(count)?).ok()
    }

    fn value(&mut self, value_type: u8) -> Option<Value> {
        Some(match value_type {
            TYPE_DOUBLE => Value::double(f64::from_le_bytes(self.array()?)).ok()?,
            TYPE_INTEGER => Value::Integer(self.signed()?),
            TYPE_FALSE => Value::Boolean(false),
            TYPE_TRUE => Value::Boolean(true),
            TYPE_TEXT => Value::Text(Arc::from(self.text()?)),
            TYPE_JSON => Value::Json(Arc::from(self.text()?)),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
