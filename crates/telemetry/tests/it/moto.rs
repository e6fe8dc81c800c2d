//! An engine on a bucket of moto, an implementation of AWS's interfaces that others wrote, or of a
//! server that is named: what is flushed is there for whoever has the keys, and of two engines the
//! later goes on. moto takes any signature.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use object_store::ObjectStore;
use veritwin_domain::Secret;
use veritwin_telemetry::{BeforeRequest, BucketConfig, Engine, TelemetryError, open_bucket};

use crate::crash::{check, write};
use crate::skipped::skipped;
use crate::support::{History, Setup, objects};

/// How often a server that starts is asked whether it is there, 50 ms apart.
const TRIES: usize = 1_200;

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
    fn ask(&self, line: &str, body: &str) {
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

    fn bucket(&self, name: &str) -> BucketConfig {
        self.ask(&format!("PUT /{name}"), "");
        config(format!("http://127.0.0.1:{}", self.port), (name, "key", "secret"), "segments/one")
    }
}

fn config(endpoint: String, (name, key, secret): (&str, &str, &str), front: &str) -> BucketConfig {
    BucketConfig {
        name: name.to_owned(),
        front: front.to_owned(),
        endpoint,
        region: "us-east-1".to_owned(),
        access_key_id: key.to_owned(),
        secret_access_key: Secret::new(secret.to_owned()),
    }
}

/// A set-up whose store is a bucket, and how many requests were asked about.
fn setup(config: &BucketConfig) -> (Setup, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let before: BeforeRequest = Arc::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let store = open_bucket(config, before).expect("a bucket");
    (Setup { store, is_shared: true, ..Setup::new() }, asked)
}

async fn keeps_a_history(config: &BucketConfig) {
    let (mut setup, asked) = setup(config);
    setup.limits.compaction_sections_min = 2;
    let one = setup.open().await;
    let mut history = History::default();
    for round in 0..3 {
        write(&one, &mut history, round);
        one.flush().await.expect("flushes");
    }
    one.maintain().await.expect("merges");
    check(&one, 3, "merged").await;
    let two = setup.open().await;
    check(&two, 3, "another host").await;
    write(&one, &mut history, 3);
    let error = one.flush().await.expect_err("another one has the bucket");
    assert!(matches!(error, TelemetryError::Conflict(_)), "{error}");
    assert_eq!(one.persisted_position(), 3, "its log is not cut");
    history.replay(&two);
    two.flush().await.expect("flushes");
    drop((one, two));
    let next = setup.open().await;
    assert_eq!(next.persisted_position(), 4);
    check(&next, 4, "the next one").await;
    let names = objects(&setup.store).await;
    let count = |front: &str| names.iter().filter(|name| name.starts_with(front)).count();
    assert_eq!((count("epochs/"), count("manifests/")), (1, 1), "{names:?}");
    assert!(asked.load(Ordering::SeqCst) > 20, "each request is asked about");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_keeps_a_history() {
    let Some(moto) = Moto::start().await else { return };
    keeps_a_history(&moto.bucket("history")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_with_versions_is_refused() {
    let Some(moto) = Moto::start().await else { return };
    let config = moto.bucket("versions");
    let body = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                <Status>Enabled</Status></VersioningConfiguration>";
    moto.ask("PUT /versions?versioning", body);
    let (setup, _) = setup(&config);
    let opened = Engine::open(setup.config(Arc::clone(&setup.store))).await;
    let refused = opened.expect_err("what is deleted would stay").to_string();
    assert!(refused.contains("without versioning"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_a_place_that_is_refused() {
    // Nobody has to be there.
    let config = config("http://127.0.0.1:9".to_owned(), ("history", "key", "secret"), "");
    let before: BeforeRequest = Arc::new(|| Err("not registered".to_owned()));
    let store: Arc<dyn ObjectStore> = open_bucket(&config, before).expect("a bucket");
    let setup = Setup { store, is_shared: true, ..Setup::new() };
    let opened = Engine::open(setup.config(Arc::clone(&setup.store))).await;
    let error = opened.expect_err("refused");
    let TelemetryError::Store { source, .. } = &error else { panic!("{error}") };
    assert!(format!("{source:?}").contains("not registered"), "{source:?}");
}

/// The same with a server that is named: `VERITWIN_TEST_S3` is its endpoint, `_PLAIN_BUCKET` a
/// bucket without versioning, `_KEY` and `_SECRET` open it.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_named_keeps_a_history() {
    let named = |name: &str| std::env::var(format!("VERITWIN_TEST_S3{name}")).ok();
    let (Some(endpoint), Some(bucket)) = (named(""), named("_PLAIN_BUCKET")) else {
        skipped("VERITWIN_TEST_S3 and VERITWIN_TEST_S3_PLAIN_BUCKET name no server");
        return;
    };
    let key = named("_KEY").expect("VERITWIN_TEST_S3_KEY");
    let secret = named("_SECRET").expect("VERITWIN_TEST_S3_SECRET");
    // Nobody has used it before.
    let folder = tempfile::tempdir().expect("a temporary directory");
    let front = folder.path().file_name().expect("a name").to_string_lossy().into_owned();
    keeps_a_history(&config(endpoint, (&bucket, &key, &secret), &front)).await;
}
