//! An archive whose storage is a bucket: what is acknowledged is there, also for another host with
//! the same keys; two of them never sign beside each other; a bucket that lost something is refused.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use veritwin_ledger::{
    Act, Archive, ArchiveConfig, ArchiveLimits, Bucket, LedgerError, ShredReason, seal_statement,
};
use veritwin_verify::{ExitClass, SignatureCheck, VerifyOptions, verify_log};

use crate::fixture::{Submitter, World};

/// Leaves until a bundle is full, and some.
const MANY: u64 = 600;

pub(crate) fn open_at(
    world: &World,
    name: &str,
    (bucket, limits): (Bucket, ArchiveLimits),
) -> Result<Archive, LedgerError> {
    let config = ArchiveConfig {
        directory: world.path(name),
        keys: world.keys("archive"),
        clock: world.clock.clone(),
        rng: world.rng.clone(),
        limits,
    };
    Archive::open_in(config, bucket)
}

fn memory(store: &Arc<InMemory>) -> Bucket {
    Bucket::over(store.clone(), ("archive", "memory"), false).unwrap()
}

fn open(world: &World, name: &str, store: &Arc<InMemory>) -> Result<Archive, LedgerError> {
    // A journal is replaced every few groups.
    let limits = ArchiveLimits { journal_bytes_max: 1 << 16, ..ArchiveLimits::default() };
    open_at(world, name, (memory(store), limits))
}

async fn names(store: &InMemory, folder: &str) -> Vec<ObjectPath> {
    let prefix = ObjectPath::from(format!("archive/{folder}"));
    let listed = store.list(Some(&prefix)).map_ok(|meta| meta.location);
    let mut names: Vec<_> = listed.try_collect().await.unwrap();
    names.sort();
    names
}

pub(crate) fn verified(archive: &Archive, submitter: &Submitter, size: u64) {
    let options = VerifyOptions { signatures: SignatureCheck::Every, ..VerifyOptions::default() };
    let report = verify_log(&archive.source(submitter.log), &options, &mut |_| {});
    assert_eq!((report.exit, report.size), (ExitClass::Verified, size), "{report}");
}

fn has_files(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_in_the_bucket_for_whoever_has_the_keys() {
    let world = World::new(60);
    let store = Arc::new(InMemory::new());
    let archive = open(&world, "one", &store).unwrap();
    let mut submitter = Submitter::create(&world, &archive).await;
    submitter.append_digests(&archive, MANY).await;
    let batch = submitter.batch(40);
    let request = submitter.request(&batch);
    submitter.append(&archive, &batch).await;
    verified(&archive, &submitter, MANY + 1);
    assert!(!has_files(&world.path("one/logs")) && !has_files(&world.path("one/journal")));
    // Nobody closes it: it ends here, and goes on at another host.
    drop(archive);
    let archive = open(&world, "two", &store).unwrap();
    verified(&archive, &submitter, MANY + 1);
    let again = archive.append(request).await.unwrap();
    assert!(again.duplicate);
    submitter.append_digests(&archive, 3).await;
    archive.close().await.unwrap();
    drop(archive);
    verified(&open(&world, "two", &store).unwrap(), &submitter, MANY + 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_archives_on_one_bucket_the_later_goes_on() {
    let world = World::new(61);
    let store = Arc::new(InMemory::new());
    let first = open(&world, "one", &store).unwrap();
    let mut submitter = Submitter::create(&world, &first).await;
    submitter.append_digests(&first, 2).await;
    let second = open(&world, "two", &store).unwrap();
    let batch = submitter.digest(1);
    let request = submitter.request(&batch);
    let refused = first.append(request.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("another archive process"), "{refused}");
    second.append(request).await.unwrap();
    submitter.advance(&batch);
    verified(&second, &submitter, 3);
    verified(&first, &submitter, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_stood_still_does_not_go_on_when_its_number_is_free_again() {
    let world = World::new(68);
    let store = Arc::new(InMemory::new());
    let stopped = open(&world, "one", &store).unwrap();
    let mut submitter = Submitter::create(&world, &stopped).await;
    submitter.append_digests(&stopped, 2).await;
    let last = names(&store, "journal").await.pop().unwrap();
    let last: u64 = last.filename().unwrap().parse().unwrap();
    let next = ObjectPath::from(format!("archive/journal/{:020}", last + 1));
    // Of a writer that has not seen what comes now.
    let fork = submitter.digest(1);
    let fork = submitter.request(&fork);
    let second = open(&world, "two", &store).unwrap();
    submitter.append_digests(&second, 1).await;
    second.close().await.unwrap();
    drop(second);
    let second = open(&world, "two", &store).unwrap();
    while names(&store, "journal").await.contains(&next) {
        tokio::task::yield_now().await;
    }
    let refused = stopped.append(fork).await.unwrap_err().to_string();
    assert!(refused.contains("another archive process"), "{refused}");
    assert!(names(&store, "journal").await.contains(&next), "it was free");
    verified(&stopped, &submitter, 2);
    submitter.append_digests(&second, 1).await;
    verified(&second, &submitter, 4);
    second.close().await.unwrap();
    drop(second);
    // What was put under the free number is nobody's.
    verified(&open(&world, "two", &store).unwrap(), &submitter, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_lost_what_was_acknowledged_is_refused() {
    let world = World::new(62);
    let store = Arc::new(InMemory::new());
    let archive = open(&world, "one", &store).unwrap();
    let mut submitter = Submitter::create(&world, &archive).await;
    submitter.append_digests(&archive, 1).await;
    archive.close().await.unwrap();
    drop(archive);
    let parts = names(&store, "journal").await;
    // The newest: only who wrote it can know.
    let last = parts.last().unwrap();
    let bytes = store.get(last).await.unwrap().bytes().await.unwrap();
    store.delete(last).await.unwrap();
    let refused = open(&world, "one", &store).unwrap_err();
    assert!(refused.is_damaged() && refused.to_string().contains("is gone"), "{refused}");
    store.put(last, bytes.into()).await.unwrap();
    // One in the middle: the numbers say so to everybody.
    let middle = &parts[parts.len() - 2];
    let bytes = store.get(middle).await.unwrap().bytes().await.unwrap();
    store.delete(middle).await.unwrap();
    let refused = open(&world, "two", &store).unwrap_err();
    assert!(refused.is_damaged() && refused.to_string().contains("later ones"), "{refused}");
    // Under another number it is not taken for the one that is missing.
    let other = store.get(last).await.unwrap().bytes().await.unwrap();
    store.put(middle, other.into()).await.unwrap();
    assert!(open(&world, "two", &store).unwrap_err().is_damaged());
    store.put(middle, bytes.into()).await.unwrap();
    verified(&open(&world, "two", &store).unwrap(), &submitter, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_journal_goes_and_what_is_left_of_it_does_no_harm() {
    let world = World::new(63);
    let store = Arc::new(InMemory::new());
    let archive = open(&world, "one", &store).unwrap();
    let mut submitter = Submitter::create(&world, &archive).await;
    let first = names(&store, "journal").await[0].clone();
    let kept = store.get(&first).await.unwrap().bytes().await.unwrap();
    for _ in 0..20 {
        submitter.append_digests(&archive, 1).await;
    }
    archive.close().await.unwrap();
    while names(&store, "journal").await.contains(&first) {
        tokio::task::yield_now().await;
    }
    drop(archive);
    // As after an end in the middle of taking names away.
    store.put(&first, kept.into()).await.unwrap();
    verified(&open(&world, "one", &store).unwrap(), &submitter, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_ends_in_a_bucket_too() {
    let world = World::new(64);
    let store = Arc::new(InMemory::new());
    let archive = open(&world, "one", &store).unwrap();
    let mut submitter = Submitter::create(&world, &archive).await;
    submitter.append_digests(&archive, MANY).await;
    let act = Act::Retention { minimum_index: 512, reason: ShredReason::PeriodEnded };
    let previous = submitter.previous.as_ref();
    let ended = seal_statement(act, previous, submitter.tick(), &submitter.signer()).unwrap();
    submitter.append(&archive, &ended).await;
    while archive.prune(submitter.log).await.unwrap().is_some() {}
    let folder = format!("logs/{}/tile/entries", submitter.log);
    assert!(names(&store, &folder).await.is_empty());
    drop(archive);
    let archive = open(&world, "two", &store).unwrap();
    assert!(names(&store, &folder).await.is_empty(), "replaying wrote them again");
    assert_eq!(archive.summary(submitter.log).unwrap().minimum_index, 512);
}

/// A store that gives a name as often as it is asked for.
#[derive(Debug)]
struct Careless(InMemory);

impl std::fmt::Display for Careless {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("careless")
    }
}

#[async_trait]
impl ObjectStore for Careless {
    async fn put_opts(
        &self,
        at: &ObjectPath,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let options = PutOptions { mode: PutMode::Overwrite, ..options };
        self.0.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        at: &ObjectPath,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(at, options).await
    }

    async fn get_opts(
        &self,
        at: &ObjectPath,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.0.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        all: BoxStream<'static, object_store::Result<ObjectPath>>,
    ) -> BoxStream<'static, object_store::Result<ObjectPath>> {
        self.0.delete_stream(all)
    }

    fn list(
        &self,
        prefix: Option<&ObjectPath>,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(
        &self,
        prefix: Option<&ObjectPath>,
    ) -> object_store::Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &ObjectPath,
        to: &ObjectPath,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

#[test]
fn a_bucket_that_gives_a_name_twice_is_refused() {
    let world = World::new(67);
    let store = Arc::new(Careless(InMemory::new()));
    let bucket = Bucket::over(store, ("", "careless"), false).unwrap();
    let refused = open_at(&world, "one", (bucket, ArchiveLimits::default())).unwrap_err();
    assert!(refused.to_string().contains("If-None-Match"), "{refused}");
}

#[test]
fn a_lock_needs_a_period() {
    let world = World::new(65);
    let locked = Bucket::over(Arc::new(InMemory::new()), ("", "memory"), true).unwrap();
    let refused = open_at(&world, "one", (locked, ArchiveLimits::default())).unwrap_err();
    assert!(refused.to_string().contains("locked for a period"), "{refused}");
}
