//! MQTT over WebSocket (MQTT 5.0, section 6) through the running platform. The statements that the
//! tests show are named in docs/reference/mqtt-conformance.md.

use crate::harness::Platform;
use crate::mqtt::{Version, connect_packet, packet};
use crate::websocket::WebSocket;

const BINARY: u8 = 2;
const TELEMETRY: &str = "v1/devices/me/telemetry";

fn publish(topic: &str, id: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(topic.len()).unwrap().to_be_bytes();
    packet(0x32, &[&length[..], topic.as_bytes(), &id.to_be_bytes(), payload].concat())
}

/// Receives so many bytes, in whatever frames they come.
#[track_caller]
fn receive(socket: &mut WebSocket, expect: &[u8]) {
    let mut found = Vec::new();
    while found.len() < expect.len() {
        let (opcode, payload) = socket.frame();
        assert_eq!(opcode, BINARY, "{}", String::from_utf8_lossy(&payload));
        found.extend(payload);
    }
    assert_eq!(found, expect);
}

/// 6.0.0-2: packets begin and end anywhere in frames. 6.0.0-4: `mqtt` is selected.
#[test]
fn packets_come_in_any_frames() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("browser");
    let mut socket = WebSocket::of_mqtt(platform.http(), "mqttv3.1, mqtt");
    let hello = connect_packet(Version::V311, "web", &device.token);
    let subscribe = packet(0x82, b"\x00\x01\x00\x06plant/\x00");
    let bytes = [hello, publish(TELEMETRY, 7, b"{\"k\":21.5}"), subscribe].concat();
    let (first, rest) = bytes.split_at(9);
    for byte in first {
        socket.send_frame(BINARY, &[*byte]);
    }
    socket.send_frame(BINARY, rest);
    let mut found = Vec::new();
    while found.len() < 13 {
        let (opcode, payload) = socket.frame();
        assert_eq!(opcode, BINARY);
        found.extend(payload);
    }
    assert_eq!(found[..4], [0x20, 2, 0, 0]);
    let has = |part: &[u8]| found.windows(part.len()).any(|window| window == part);
    assert!(has(&[0x40, 2, 0, 7]) && has(&[0x90, 3, 0, 1, 0]), "{found:02x?}");
    assert_eq!(tenant.latest(&device, "k"), 21.5);

    let mut other = platform.mqtt(Version::V5, &tenant.device("other").token);
    assert_eq!(other.publish("plant/", b"from TLS").0, 0);
    let expect = [&[0x30, 16, 0, 6][..], b"plant/from TLS"].concat();
    receive(&mut socket, &expect);
    socket.send_frame(BINARY, &[0xe0, 0]);
    assert_eq!(socket.closed().0, 1000);
}

/// 6.0.0-1: a frame that is not binary ends the connection.
#[test]
fn text_frames_end_the_connection() {
    let platform = Platform::shared();
    let device = platform.tenant().device("browser");
    let mut socket = WebSocket::of_mqtt(platform.http(), "mqtt");
    socket.send_frame(BINARY, &connect_packet(Version::V311, "web", &device.token));
    receive(&mut socket, &[0x20, 2, 0, 0]);
    socket.send_frame(1, b"xx");
    assert_eq!(socket.closed(), (1003, "MQTT comes in binary frames".to_owned()));
}

/// 6.0.0-3: a client that does not offer `mqtt` is told to.
#[test]
fn the_subprotocol_has_to_be_offered() {
    let platform = Platform::shared();
    for offer in [None, Some("mqttv3.1")] {
        let request = platform
            .http()
            .get("/mqtt")
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let request = match offer {
            Some(offer) => request.header("sec-websocket-protocol", offer),
            None => request,
        };
        let answer = request.send();
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("Sec-WebSocket-Protocol: mqtt"), "{}", answer.text());
    }
}
