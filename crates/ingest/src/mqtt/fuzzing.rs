//! What has to hold for any bytes of an MQTT connection: packets that are read can be written and
//! are read as the same, faults name a byte of the packet, and the tree matches as a filter does.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use bytes::{BufMut, BytesMut};
use veritwin_domain::{DeviceId, IngestLimits};

use super::alias::Naming;
use super::encode::{self, Encoder, Outgoing, put_variable_length};
use super::frame::{self, Header, PublishView, Version};
use super::packet::{self, Packet};
use super::properties::{self, PassedOn};
use super::session::SESSION_SECONDS_MAX;
use super::tree::{Leaf, Tree};
use super::wire::Fault;
use super::{connect, topic};
use crate::model::{PeerInfo, Transport};

/// Longest text of a fault that a packet can bring about.
const FAULT_BYTES_MAX: usize = 300;
/// Most filters of one input.
const FILTERS_MAX: usize = 32;

/// A version in the first byte, and packets of a client that is connected.
pub fn mqtt_packet(data: &[u8]) {
    let Some((first, mut rest)) = data.split_first() else { return };
    let version = if first & 1 == 0 { Version::V3 } else { Version::V5 };
    while let Ok(Some(header)) = frame::header(rest) {
        check_header(header, rest);
        let Some((packet, behind)) = rest.split_at_checked(header.packet_bytes()) else {
            if header.is_publish() {
                // Its beginning is looked at before it is whole.
                let _ = frame::publish_view(version, header, rest);
            }
            return;
        };
        check_packet(version, header, packet);
        rest = behind;
    }
}

/// The whole packets at the start of `bytes`.
pub(crate) fn packets_of(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Ok(Some(header)) = frame::header(bytes)
        && let Some((packet, rest)) = bytes.split_at_checked(header.packet_bytes())
    {
        found.push(packet);
        bytes = rest;
    }
    found
}

/// Their types.
pub(crate) fn kinds_of(bytes: &[u8]) -> Vec<u8> {
    packets_of(bytes).into_iter().map(|packet| packet[0] >> 4).collect()
}

/// Where the packets end behind which a client waits before it sends PUBREL: messages of QoS 2 that
/// come for the first time; of version 5 all, for it sends none again on its connection.
pub(crate) fn waits_at(level: u8, bytes: &[u8]) -> Vec<usize> {
    let version = if level == 4 { Version::V3 } else { Version::V5 };
    let (mut ids, mut end, mut found) = (BTreeSet::new(), 0, Vec::new());
    for packet in packets_of(bytes) {
        end += packet.len();
        let Ok(Some(header)) = frame::header(packet) else { break };
        if header.check_length(version).is_err() {
            break;
        }
        if header.is_publish() {
            let Ok(view) = frame::publish_view(version, header, packet) else { break };
            if view.qos == 2 && (ids.insert(view.packet_id) || version == Version::V5) {
                found.push(end);
            }
        } else if let Ok(Packet::Release(id)) = packet::read(version, header, packet) {
            ids.remove(&id);
        }
    }
    found
}

fn check_header(header: Header, bytes: &[u8]) {
    for end in 0..header.header_bytes {
        assert_eq!(frame::header(&bytes[..end]), Ok(None), "a header that is not whole");
    }
    let mut written = BytesMut::new();
    put_variable_length(&mut written, header.body_bytes);
    let is_same = written == bytes[1..header.header_bytes];
    assert_eq!(is_same, !header.is_padded, "the remaining length");
}

fn check_packet(version: Version, header: Header, packet: &[u8]) {
    if header.check_length(version).is_err() {
        return;
    }
    if header.is_publish() {
        match frame::publish_view(version, header, packet) {
            Ok(view) => check_publish(version, view),
            Err(fault) => check_fault(&fault, packet),
        }
        return;
    }
    match packet::read(version, header, packet) {
        Ok(found) => check_read(version, &found),
        Err(fault) => check_fault(&fault, packet),
    }
}

/// A fault names a byte of the packet, or the one behind it, and is short.
fn check_fault(fault: &Fault, packet: &[u8]) {
    let text = &fault.text;
    assert!(text.is_ascii() && text.len() <= FAULT_BYTES_MAX, "{text}");
    let at = text.split_once("byte ").and_then(|(_, rest)| rest.split_once(':'));
    let at: Option<usize> = at.and_then(|(number, _)| number.parse().ok());
    assert!(at.is_some_and(|at| at <= packet.len()), "{text}: {} bytes", packet.len());
}

fn encoder(version: Version) -> Encoder {
    Encoder { version, packet_bytes_max: usize::MAX, problem_information: true }
}

fn passed_on(raw: &[u8]) -> PassedOn<'_> {
    match properties::passed_on(raw) {
        Ok(found) => found,
        Err(fault) => panic!("accepted properties cannot be passed on: {}", fault.text),
    }
}

/// What is relayed arrives as it was sent.
fn check_publish(version: Version, view: PublishView<'_>) {
    assert!(view.qos <= 2);
    assert_eq!(view.packet_id == 0, view.qos == 0);
    assert!(view.topic.is_empty() || topic::name_fault(view.topic).is_none());
    assert!(!view.topic.is_empty() || view.topic_alias.is_some());
    let on = passed_on(view.properties);
    let naming = Naming { alias: view.topic_alias, is_known: view.topic.is_empty() };
    let mut out = BytesMut::new();
    let outgoing = Outgoing {
        topic: view.topic,
        naming,
        payload: view.payload,
        qos: view.qos,
        packet_id: (view.qos > 0).then_some(view.packet_id),
        dup: false,
        retain: view.retain,
        properties: &on.bytes,
        expiry_seconds: on.expiry_seconds,
        subscription_ids: &[],
    };
    assert!(encoder(version).publish(&mut out, outgoing));
    let header = whole(&out);
    let again = match frame::publish_view(version, header, &out) {
        Ok(again) => again,
        Err(fault) => panic!("what was relayed cannot be read: {}", fault.text),
    };
    let parts = |view: PublishView<'_>| {
        (view.topic.to_owned(), view.qos, view.retain, view.packet_id, view.topic_alias)
    };
    assert_eq!(parts(again), parts(view));
    assert_eq!(again.payload, view.payload);
    assert_eq!(passed_on(again.properties), on);
}

/// The header of a packet that we wrote.
fn whole(packet: &[u8]) -> Header {
    match frame::header(packet) {
        Ok(Some(header)) if header.packet_bytes() == packet.len() => header,
        other => panic!("a packet of ours is not whole: {other:?}"),
    }
}

fn check_read(version: Version, found: &Packet<'_>) {
    let mut out = BytesMut::new();
    let acknowledge = |kind, id, reason| {
        let mut out = BytesMut::new();
        encoder(version).acknowledge(&mut out, kind, id, reason, Some("text"));
        out
    };
    match found {
        Packet::Acknowledged(id) => out = acknowledge(encode::PUBACK, *id, 0),
        Packet::Received(id, reason) => out = acknowledge(encode::PUBREC, *id, *reason),
        Packet::Release(id) => out = acknowledge(encode::PUBREL, *id, 0),
        Packet::Complete(id) => out = acknowledge(encode::PUBCOMP, *id, 0),
        Packet::Subscribe(subscribe) => {
            let mut body = BytesMut::new();
            body.put_u16(subscribe.packet_id);
            put_properties(version, &mut body, subscribe.id);
            for (filter, options) in &subscribe.filters {
                put_text(&mut body, filter);
                let (no_local, as_published) = (options.no_local, options.retain_as_published);
                let flags = (u8::from(no_local) << 2) | (u8::from(as_published) << 3);
                body.put_u8(options.qos | flags | (options.retain_handling << 4));
                assert_eq!(topic::filter_fault(filter, version == Version::V5), None);
            }
            put_packet(&mut out, 0x82, &body);
        }
        Packet::Unsubscribe(unsubscribe) => {
            let mut body = BytesMut::new();
            body.put_u16(unsubscribe.packet_id);
            put_properties(version, &mut body, None);
            unsubscribe.filters.iter().for_each(|filter| put_text(&mut body, filter));
            put_packet(&mut out, 0xa2, &body);
        }
        Packet::Ping => put_packet(&mut out, 0xc0, &[]),
        Packet::Disconnect(disconnect) => {
            let mut body = BytesMut::new();
            if version == Version::V5 {
                body.put_u8(disconnect.reason);
                let seconds = disconnect.session_expiry_seconds;
                body.put_u8(if seconds.is_some() { 5 } else { 0 });
                if let Some(seconds) = seconds {
                    body.put_u8(0x11);
                    body.put_u32(seconds);
                }
            }
            put_packet(&mut out, 0xe0, &body);
        }
    }
    assert_eq!(packet::read(version, whole(&out), &out).as_ref(), Ok(found));
}

fn put_properties(version: Version, body: &mut BytesMut, subscription_id: Option<u32>) {
    if version == Version::V3 {
        return;
    }
    let mut part = BytesMut::new();
    if let Some(id) = subscription_id {
        part.put_u8(0x0b);
        put_variable_length(&mut part, id as usize);
    }
    put_variable_length(body, part.len());
    body.put_slice(&part);
}

fn put_text(body: &mut BytesMut, text: &str) {
    body.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
    body.put_slice(text.as_bytes());
}

fn put_packet(out: &mut BytesMut, first_byte: u8, body: &[u8]) {
    out.put_u8(first_byte);
    put_variable_length(out, body.len());
    out.put_slice(body);
}

/// A first packet: what its beginning says, more bytes do not change.
pub fn mqtt_connect(data: &[u8]) {
    let mut known = None;
    for end in 0..=data.len().min(64) {
        let found = connect::version_of(&data[..end]).map_err(|rejection| rejection.text);
        if let Some(known) = &known {
            assert_eq!(&found, known, "{end} bytes");
        } else if found != Ok(None) {
            known = Some(found);
        }
    }
    let (Ok(Some(version)), Ok(Some(header))) = (connect::version_of(data), frame::header(data))
    else {
        return;
    };
    let Some(packet) = data.get(..header.packet_bytes()) else { return };
    let (peer, limits) = (PeerInfo::new(None, Transport::Mqtt5), IngestLimits::default());
    match connect::read(version, header, packet, &peer, &limits) {
        Err(rejection) => {
            let text = &rejection.text;
            assert!(text.is_ascii() && text.len() <= 2 * FAULT_BYTES_MAX, "{text}");
            let answer = rejection.encode();
            assert!(answer.is_empty() || whole(&answer).first_byte == 0x20);
            for bytes_max in [1, 8, 64] {
                let answer = connect::read(version, header, packet, &peer, &limits)
                    .map_err(|rejection| rejection.within(bytes_max).encode());
                let is_within = answer.is_err_and(|answer| answer.len() <= bytes_max);
                assert!(is_within || version == Version::V3, "an answer over {bytes_max} bytes");
            }
        }
        Ok(hello) => {
            assert!(hello.client_id.len() <= connect::CLIENT_ID_BYTES_MAX);
            assert!(hello.session_seconds <= SESSION_SECONDS_MAX);
            assert!(hello.receive_maximum > 0 && hello.packet_bytes_max > 0);
            let Some(will) = &hello.will else { return };
            assert!(will.qos <= 2 && topic::classify(&will.topic, &limits).is_ok());
            passed_on(&will.properties);
        }
    }
}

/// A topic in the first line, filters in the others: the tree finds what each filter does, and
/// what is taken out is not found.
pub fn mqtt_topic(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let name = lines.next().unwrap_or_default();
    let limits = IngestLimits::default();
    let _ = topic::classify(name, &limits);
    let filters: Vec<&str> = lines.take(FILTERS_MAX).collect();
    for filter in &filters {
        let who = topic::Subscriber { id: "d1", is_gateway: true, knows_shared: true };
        if topic::check_filter(filter, who, &limits).is_ok()
            && topic::filter_fault(filter, true).is_none()
        {
            let (_, plain) = topic::share(filter);
            assert_eq!(topic::filter_fault(plain, false), None, "a shared filter");
        }
    }
    let is_plain = |filter: &&str| topic::filter_fault(filter, false).is_none();
    let filters: Vec<&str> = filters.into_iter().filter(is_plain).collect();
    if topic::name_fault(name).is_some() {
        return;
    }
    let mut tree = Tree::default();
    for (filter, session) in filters.iter().zip(0..) {
        let share = (session % 3 == 2).then(|| Arc::from(format!("$share/g/{filter}")));
        tree.insert(filter, (share, session), leaf());
    }
    for (filter, session) in filters.iter().zip(0..).chain([(&"", u64::MAX)]) {
        let mut found = Vec::new();
        tree.matching(name, &mut |(_, session), _| found.push(*session));
        found.sort_unstable();
        let left = filters.iter().zip(0u64..).filter(|(_, other)| *other >= session);
        let expect: Vec<u64> =
            left.filter(|(filter, _)| matches_plainly(filter, name)).map(|(_, s)| s).collect();
        if session != u64::MAX {
            assert_eq!(found, expect, "{name:?} {filters:?}");
            assert_eq!(topic::matches(filter, name), matches_plainly(filter, name));
        } else {
            assert!(found.is_empty(), "taken out and found: {name:?} {filters:?}");
            break;
        }
        let share = (session % 3 == 2).then(|| Arc::from(format!("$share/g/{filter}")));
        tree.remove(filter, &(share, session));
    }
}

fn leaf() -> Leaf {
    let (device, options) = (DeviceId::from_bytes([1; 16]), packet::Options::default());
    Leaf { session: Weak::new(), device, options, id: None, turn: None }
}

/// Section 4.7 of the standard once more, written as it reads.
fn matches_plainly(filter: &str, name: &str) -> bool {
    let (filter, name): (Vec<_>, Vec<_>) = (filter.split('/').collect(), name.split('/').collect());
    if name[0].starts_with('$') && (filter[0] == "+" || filter[0] == "#") {
        return false;
    }
    let parent = filter.len() - 1;
    if filter[parent] == "#" {
        let is_one = |(level, other): (&&str, &&str)| *level == "+" || level == other;
        return name.len() >= parent && filter[..parent].iter().zip(&name).all(is_one);
    }
    let is_one = |(level, other): (&&str, &&str)| *level == "+" || level == other;
    filter.len() == name.len() && filter.iter().zip(&name).all(is_one)
}
