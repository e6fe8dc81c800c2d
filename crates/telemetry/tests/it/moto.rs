//! An engine on a bucket of moto, an implementation of AWS's interfaces that others wrote, or of a
//! server that is named: what is flushed is there for whoever has the keys, and of two engines the
//! later goes on. moto takes any signature.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use object_store::ObjectStore;
use veritwin_telemetry::{BeforeRequest, BucketConfig, Engine, TelemetryError, open_bucket};

use crate::crash::{check, write};
use crate::moto_server::{Moto, config};
use crate::skipped::skipped;
use crate::support::{History, Setup, objects};

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
