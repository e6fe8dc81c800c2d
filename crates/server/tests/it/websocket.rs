//! A small WebSocket client (RFC 6455) for `/v1/ws`, JSON text messages over TLS, and for `/mqtt`,
//! binary ones.

use std::io::{BufReader, Read, Write};

use serde_json::Value;

use crate::http::{Http, Request, Tls};

pub(crate) struct WebSocket {
    stream: BufReader<Tls>,
}

impl WebSocket {
    /// Opens `/v1/ws` without a credential; the first command has to bring one.
    pub(crate) fn connect(http: &Http) -> Self {
        Self::open(http, None)
    }

    /// Opens it with the session of a person; the server is ready.
    pub(crate) fn of_session(http: &Http, cookie: &str) -> Self {
        let mut socket = Self::open(http, Some(cookie));
        assert_eq!(socket.receive()["type"], "ready");
        socket
    }

    fn open(http: &Http, cookie: Option<&str>) -> Self {
        let request = http.get("/v1/ws");
        let request = match cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        };
        Self::upgrade(http, request, None)
    }

    /// Opens `/mqtt` and offers these subprotocols.
    pub(crate) fn of_mqtt(http: &Http, offers: &str) -> Self {
        let request = http.get("/mqtt").header("sec-websocket-protocol", offers);
        Self::upgrade(http, request, Some("mqtt"))
    }

    fn upgrade(http: &Http, request: Request, protocol: Option<&str>) -> Self {
        let mut connection = http.connect().unwrap();
        let request = request
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            // The example of RFC 6455, section 1.3, with its answer below.
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let answer = connection.send(request).unwrap();
        assert_eq!(answer.status, 101, "{}", answer.text());
        let accepted = answer.header("sec-websocket-accept");
        assert_eq!(accepted, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(answer.header("sec-websocket-protocol"), protocol);
        Self { stream: connection.into_stream() }
    }

    /// Opens it and authenticates; the server is ready.
    pub(crate) fn authenticated(http: &Http, token: &str) -> Self {
        let mut socket = Self::connect(http);
        socket.send(&serde_json::json!({"op": "authenticate", "token": token}));
        assert_eq!(socket.receive()["type"], "ready");
        socket
    }

    pub(crate) fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string());
    }

    pub(crate) fn send_text(&mut self, text: &str) {
        self.send_frame(1, text.as_bytes());
    }

    /// Sends one whole frame of a kind.
    pub(crate) fn send_frame(&mut self, opcode: u8, payload: &[u8]) {
        let mut frame = vec![0x80 | opcode];
        let length = payload.len();
        if length < 126 {
            frame.push(0x80 | u8::try_from(length).unwrap());
        } else if let Ok(length) = u16::try_from(length) {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        } else {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&u64::try_from(length).unwrap().to_be_bytes());
        }
        // A mask of zeros leaves the payload as it is.
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        let stream = self.stream.get_mut();
        stream.write_all(&frame).unwrap();
        stream.flush().unwrap();
    }

    /// The next JSON message; pings are passed over.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> Value {
        loop {
            let (opcode, payload) = self.frame();
            match opcode {
                1 => return serde_json::from_slice(&payload).expect("JSON"),
                9 | 10 => {}
                8 => panic!("closed: {}", String::from_utf8_lossy(&payload)),
                other => panic!("opcode {other}"),
            }
        }
    }

    /// Code and reason of the close frame that has to come next but for pings, which are not
    /// answered.
    #[track_caller]
    pub(crate) fn closed(&mut self) -> (u16, String) {
        let (opcode, payload) = std::iter::repeat_with(|| self.frame())
            .find(|(opcode, _)| *opcode != 9)
            .expect("a frame");
        assert_eq!(opcode, 8, "{}", String::from_utf8_lossy(&payload));
        let code = u16::from_be_bytes([payload[0], payload[1]]);
        (code, String::from_utf8_lossy(&payload[2..]).into_owned())
    }

    /// As [`Self::closed`], after whatever messages are still on the way.
    #[track_caller]
    pub(crate) fn closed_after(&mut self) -> (u16, String) {
        loop {
            let (opcode, payload) = self.frame();
            if opcode == 8 {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                return (code, String::from_utf8_lossy(&payload[2..]).into_owned());
            }
        }
    }

    /// Kind and payload of the next frame.
    #[track_caller]
    pub(crate) fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0u8; 2];
        self.stream.read_exact(&mut head).expect("a frame");
        let length = match head[1] & 0x7f {
            126 => {
                let mut bytes = [0u8; 2];
                self.stream.read_exact(&mut bytes).unwrap();
                u64::from(u16::from_be_bytes(bytes))
            }
            127 => {
                let mut bytes = [0u8; 8];
                self.stream.read_exact(&mut bytes).unwrap();
                u64::from_be_bytes(bytes)
            }
            short => u64::from(short),
        };
        let mut payload = vec![0u8; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut payload).unwrap();
        (head[0] & 0x0f, payload)
    }
}
