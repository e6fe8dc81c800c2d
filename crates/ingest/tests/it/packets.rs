//! Packets as a client makes them, byte by byte.

/// A fixed header before `body`.
pub(crate) fn packet(first_byte: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first_byte];
    let mut length = body.len();
    loop {
        let low = u8::try_from(length & 0x7f).expect("seven bits");
        length >>= 7;
        out.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    let mut out = u16::try_from(text.len()).expect("short").to_be_bytes().to_vec();
    out.extend_from_slice(text.as_bytes());
    out
}

/// CONNECT with a token. `level` 4 or 5.
pub(crate) fn connect(level: u8, flags: u8, client_id: &str, token: &str) -> Vec<u8> {
    let mut body = text("MQTT");
    body.extend_from_slice(&[level, flags | 0x80, 0, 60]);
    if level == 5 {
        body.push(0);
    }
    body.extend(text(client_id));
    body.extend(text(token));
    packet(0x10, &body)
}

pub(crate) fn publish(level: u8, qos: u8, id: u16, topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    if qos > 0 {
        body.extend_from_slice(&id.to_be_bytes());
    }
    if level == 5 {
        body.push(0);
    }
    body.extend_from_slice(payload);
    packet(0x30 | (qos << 1), &body)
}

pub(crate) fn subscribe(level: u8, id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if level == 5 {
        body.push(0);
    }
    for (filter, qos) in filters {
        body.extend(text(filter));
        body.push(*qos);
    }
    packet(0x82, &body)
}

/// A CONNECT of 5.0 with these flags and a session of two hours.
pub(crate) fn connect_for_hours(client_id: &str, flags: u8) -> Vec<u8> {
    let mut body = text("MQTT");
    body.extend_from_slice(&[5, flags, 0, 60, 5, 0x11, 0, 0, 0x1c, 0x20]);
    body.extend([text(client_id), text("token")].concat());
    packet(0x10, &body)
}
