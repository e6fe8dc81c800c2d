//! An archive in a bucket of moto, an implementation of AWS's interfaces that others wrote, or of a
//! server that is named: objects are locked, numbers are taken once, a bucket without a lock is
//! refused. moto takes any signature.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use veritwin_domain::{Clock as _, Secret, SystemClock};
use veritwin_ledger::{ArchiveLimits, Bucket, BucketConfig};

use crate::bucket::{open_at, verified};
use crate::fixture::{Submitter, World};
use crate::skipped::skipped;

/// How often a server that starts is asked whether it is there, 50 ms apart.
const TRIES: usize = 1_200;
const DAY: Duration = Duration::from_secs(86_400);
const MANY: u64 = 300;

/// A server as a process of its own.
struct Moto {
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
    async fn start() -> Option<Self> {
        let target = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target"));
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or(target, PathBuf::from);
        let python = target.join("python/moto/bin/python3");
        if !python.exists() {
            skipped("the Python packages moto are not installed (cargo xtask test does)");
            return None;
        }
        // A port that was free a moment ago.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let child = Command::new(python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let moto = Self { child, port };
        for _ in 0..TRIES {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(moto);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("moto does not listen");
    }

    /// A request without a body; what is answered.
    fn ask(&self, line: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 0\r\n\
             Connection: close\r\n{headers}\r\n",
            self.port
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn bucket(&self, name: &str, headers: &str) -> BucketConfig {
        let answer = self.ask(&format!("PUT /{name}"), headers);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        config(endpoint, (name, "key", "secret"), "archive")
    }
}

/// It looks at no signature, but refuses whoever shows none.
const BY_OWNER: &str = "Authorization: AWS4-HMAC-SHA256 \
     Credential=key/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0\r\n";

fn config(endpoint: String, (name, key, secret): (&str, &str, &str), front: &str) -> BucketConfig {
    BucketConfig {
        name: name.to_owned(),
        front: front.to_owned(),
        endpoint,
        region: "us-east-1".to_owned(),
        access_key_id: key.to_owned(),
        secret_access_key: Secret::new(secret.to_owned()),
        is_locked: true,
    }
}

/// A world at the time that it is: the server's clock says how long a lock is.
fn world(seed: u64) -> World {
    let world = World::new(seed);
    world.clock.advance(SystemClock::new().now().since(world.clock.now()));
    world
}

fn limits() -> ArchiveLimits {
    ArchiveLimits { period_min: DAY, ..ArchiveLimits::default() }
}

/// Appends, goes on at another host, and verifies.
async fn check(world: &World, config: &BucketConfig) {
    let at = |name: &str| open_at(world, name, (Bucket::open(config).unwrap(), limits()));
    let first = at("one").unwrap();
    let mut submitter = Submitter::create(world, &first).await;
    submitter.append_digests(&first, MANY).await;
    let batch = submitter.batch(40);
    submitter.append(&first, &batch).await;
    let second = at("two").unwrap();
    let batch = submitter.digest(1);
    let request = submitter.request(&batch);
    let refused = first.append(request.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("another archive process"), "{refused}");
    second.append(request).await.unwrap();
    submitter.advance(&batch);
    verified(&second, &submitter, MANY + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_object_is_locked_and_a_number_is_taken_once() {
    let Some(moto) = Moto::start().await else { return };
    let locked = "x-amz-bucket-object-lock-enabled: true\r\n";
    let config = moto.bucket("with-lock", locked);
    let world = world(70);
    check(&world, &config).await;
    // Each version that lies there has its lock, those that got a delete marker as well.
    let versions = moto.ask("GET /with-lock?versions", "");
    let field = |part: &str, name: &str| {
        let text = part.split_once(&format!("<{name}>"))?.1;
        Some(text.split_once(&format!("</{name}>"))?.0.to_owned())
    };
    let mut seen = 0;
    for part in versions.split("<Version>").skip(1) {
        let (key, version) = (field(part, "Key").unwrap(), field(part, "VersionId").unwrap());
        let head = moto.ask(&format!("HEAD /with-lock/{key}?versionId={version}"), BY_OWNER);
        let head = head.to_ascii_lowercase();
        assert!(head.contains("x-amz-object-lock-mode: compliance"), "{key}: {head}");
        assert!(head.contains("x-amz-object-lock-retain-until-date: 2"), "{key}: {head}");
        let gone = moto.ask(&format!("DELETE /with-lock/{key}?versionId={version}"), BY_OWNER);
        assert!(gone.starts_with("HTTP/1.1 403"), "{key}: {gone}");
        seen += 1;
    }
    assert!(seen > 4, "{seen} versions: {versions}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_locks_is_refused() {
    let Some(moto) = Moto::start().await else { return };
    let config = moto.bucket("without-lock", "");
    let world = world(71);
    let opened = open_at(&world, "one", (Bucket::open(&config).unwrap(), limits()));
    assert!(opened.is_err(), "nothing would keep what is put there");
}

/// The same with a server that is named: `VERITWIN_TEST_S3` is its endpoint, `_BUCKET` a bucket that
/// was made with object lock, `_KEY` and `_SECRET` open it. What is written stays for a day.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_named_keeps_an_archive() {
    let named = |name: &str| std::env::var(format!("VERITWIN_TEST_S3{name}")).ok();
    let Some(endpoint) = named("") else {
        skipped("VERITWIN_TEST_S3 names no server");
        return;
    };
    let (name, key) = (named("_BUCKET").unwrap(), named("_KEY").unwrap());
    let (secret, world) = (named("_SECRET").unwrap(), world(72));
    let front = format!("test-{}", world.clock.now().as_micros());
    check(&world, &config(endpoint, (&name, &key, &secret), &front)).await;
}
