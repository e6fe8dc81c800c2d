//! The stored form of a retained message.

use veritwin_domain::{CredentialId, DeviceId, RelayMessage, TenantId, Timestamp};
use veritwin_metastore::RetainedMessage;

use crate::{Error, Result};

/// Version of the stored form.
const FORM: u8 = 1;

/// The stored form: version, device, credential, time of receipt in microseconds, QoS, lengths of
/// topic and properties (each four bytes, little-endian), topic, properties, payload.
pub(super) fn encode(message: &RelayMessage) -> Result<Vec<u8>> {
    let length = |bytes: usize| {
        let error = |_| Error::Internal("a retained message is too long".to_owned());
        u32::try_from(bytes).map(u32::to_le_bytes).map_err(error)
    };
    let mut out = Vec::with_capacity(64 + message.content_bytes());
    out.push(FORM);
    out.extend_from_slice(message.device.as_bytes());
    out.extend_from_slice(message.credential.as_bytes());
    out.extend_from_slice(&message.received_at.as_micros().to_le_bytes());
    out.push(message.qos);
    out.extend_from_slice(&length(message.topic.len())?);
    out.extend_from_slice(&length(message.properties.len())?);
    out.extend_from_slice(message.topic.as_bytes());
    out.extend_from_slice(&message.properties);
    out.extend_from_slice(&message.payload);
    Ok(out)
}

pub(super) fn decode(tenant: TenantId, stored: &RetainedMessage) -> Option<RelayMessage> {
    fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
        let (taken, left) = rest.split_at_checked(count)?;
        *rest = left;
        Some(taken)
    }
    fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
        take(rest, N)?.try_into().ok()
    }
    let mut rest = stored.body.as_slice();
    if array(&mut rest)? != [FORM] {
        return None;
    }
    let device = DeviceId::from_bytes(array(&mut rest)?);
    let credential = CredentialId::from_bytes(array(&mut rest)?);
    let received_at = Timestamp::from_micros(i64::from_le_bytes(array(&mut rest)?));
    let [qos] = array(&mut rest)?;
    let topic_bytes = u32::from_le_bytes(array(&mut rest)?) as usize;
    let property_bytes = u32::from_le_bytes(array(&mut rest)?) as usize;
    let topic = std::str::from_utf8(take(&mut rest, topic_bytes)?).ok()?;
    let properties = take(&mut rest, property_bytes)?;
    Some(RelayMessage {
        tenant,
        device,
        credential,
        received_at,
        expires_at: stored.expires_at,
        topic: topic.into(),
        properties: properties.into(),
        payload: rest.into(),
        qos,
        retain: true,
        hops: 0,
    })
}

#[cfg(test)]
mod tests {
    use veritwin_domain::MessageId;

    use super::super::draft::tests::message;
    use super::*;

    #[test]
    fn the_stored_form_comes_back_and_damage_is_seen() {
        let message = message("a/ä", b"on\0\xff", Some(5));
        let (id, body) = (MessageId::from_bytes([4; 16]), encode(&message).expect("encoded"));
        let stored = RetainedMessage { id, body, expires_at: message.expires_at };
        assert_eq!(decode(message.tenant, &stored).as_ref(), Some(&*message));
        for end in 0..50 {
            let body = stored.body[..end].to_vec();
            let cut = RetainedMessage { body, ..stored.clone() };
            assert_eq!(decode(message.tenant, &cut), None, "{end}");
        }
    }
}
