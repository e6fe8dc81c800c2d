//! moto, an implementation of AWS's interfaces that others wrote, as a server of its own. It takes any
//! signature. The tests of the crate `app` share this file.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use veritwin_domain::Secret;
use veritwin_telemetry::BucketConfig;

use super::skipped::skipped;

/// How often a server that starts is asked whether it is there, 50 ms apart.
const TRIES: usize = 1_200;

/// A server as a process of its own.
pub(crate) struct Moto {
    child: Child,
    port: u16,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Moto {
    /// None where it is not installed.
    pub(crate) async fn start() -> Option<Self> {
        let target = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target"));
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or(target, PathBuf::from);
        let python = target.join("python/moto/bin/python3");
        if !python.exists() {
            skipped("the Python packages moto are not installed (cargo xtask test does)");
            return None;
        }
        // A port that was free a moment ago.
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("its address").port();
        drop(free);
        let child = Command::new(python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto");
        let moto = Self { child, port };
        for _ in 0..TRIES {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(moto);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("moto does not listen");
    }

    /// Makes a request; it has to succeed.
    pub(crate) fn ask(&self, line: &str, body: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connects");
        let request = format!(
            "{line} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            self.port,
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("asks");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// A place in a new bucket.
    pub(crate) fn bucket(&self, name: &str) -> BucketConfig {
        self.ask(&format!("PUT /{name}"), "");
        config(format!("http://127.0.0.1:{}", self.port), (name, "key", "secret"), "segments/one")
    }
}

/// A place in a bucket: its name, who opens it and with what, and its front.
pub(crate) fn config(
    endpoint: String,
    (name, key, secret): (&str, &str, &str),
    front: &str,
) -> BucketConfig {
    BucketConfig {
        name: name.to_owned(),
        front: front.to_owned(),
        endpoint,
        region: "us-east-1".to_owned(),
        access_key_id: key.to_owned(),
        secret_access_key: Secret::new(secret.to_owned()),
    }
}
