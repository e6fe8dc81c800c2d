//! Sealing: one tenant's trouble is its own.

use std::path::Path;

use veritwin_keys::NewAbove;
use veritwin_ledger::{Act, ArchiveLimits, ShredReason};
use veritwin_metastore::{DestructionState, StoredDestruction};

use super::*;
use crate::destruction_scope::StoredScope;
use crate::destructions::fresh;
use crate::ledger_head::HEAD_SETTING;
use crate::ledger_open::VKEY_SETTING;
use crate::promises::tests::check_ledgers;

async fn ledger_with(trouble: Trouble) {
    let mut world = World::new().await;
    world.archive().await;
    let (bad, good) = (world.customer("Bad").await, world.customer("Good").await);
    let first = world.send(&bad, 1.0).await;
    world.send(&good, 1.0).await;
    match trouble {
        Trouble::KeyRevoked => world.app.0.keys.revoke(bad.tenant()).expect("revoked"),
        Trouble::RecordDamaged => {
            world.app.open_log(bad.tenant()).await.expect("made");
            world.setting(&bad, VKEY_SETTING, b"another key").await;
        }
        Trouble::ArchiveConflict => world.foreign_log(&bad).await,
    }
    world.app.start_ledger();
    world.until("the first leaf", async || (world.sealed(&good).await == 1).then_some(())).await;
    world.send(&good, 2.0).await;
    world.until("the second leaf", async || (world.sealed(&good).await == 2).then_some(())).await;
    assert_eq!(world.held(), [("ledger", bad.tenant())].into(), "{trouble:?}");
    let kept = world.until("an offset", async || world.offset("ledger").await).await;
    assert!(kept <= first, "{trouble:?}: {kept} is past {first}");
    match trouble {
        Trouble::KeyRevoked => world.app.0.keys.restore(bad.tenant()).expect("restored"),
        Trouble::RecordDamaged => {
            let (log, _) = world.app.log_of(&bad.context).await.expect("a log");
            let told = world.app.summary_of(log).await.expect_err("another key").to_string();
            assert!(told.contains("another key than the one it was made with"), "{told}");
            let id = log.to_string();
            assert_eq!(world.app.public_vkey(&id).await.expect("noted"), "another key\n");
            let archive = world.app.archive().expect("connected");
            let vkey = archive.summary(log).await.expect("a summary").vkey;
            world.setting(&bad, VKEY_SETTING, vkey.as_bytes()).await;
        }
        Trouble::ArchiveConflict => {
            // Nothing mends this from here: it is told, and it lasts beyond a restart.
            let told = world.app.ledger_held_up(bad.tenant()).expect("told").reason;
            assert!(told.contains("the log exists with another origin or submitter"), "{told}");
            world = world.reopen().await;
            assert!(world.offset("ledger").await.is_some_and(|at| at <= first), "{trouble:?}");
            return world.app.close().await;
        }
    }
    world.until("the release", async || world.held().is_empty().then_some(())).await;
    world.send(&bad, 2.0).await;
    world.until("its leaves", async || (world.sealed(&bad).await == 2).then_some(())).await;
    assert_eq!((world.sealed(&good).await, world.sealed(&bad).await), (2, 2), "{trouble:?}");
    let tail = world.app.0.log.tail_position();
    world = world.reopen().await;
    assert_eq!(world.offset("ledger").await, Some(tail), "{trouble:?}");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealing_of_the_others_goes_on() {
    for trouble in [Trouble::KeyRevoked, Trouble::RecordDamaged, Trouble::ArchiveConflict] {
        ledger_with(trouble).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_that_revokes_its_keys_breaks_no_promise() {
    let world = World::new().await;
    world.archive().await;
    let (bad, good) = (world.customer("Bad").await, world.customer("Good").await);
    world.send(&bad, 1.0).await;
    world.send(&good, 1.0).await;
    let (log, _) = world.app.log_of(&bad.context).await.expect("a log");
    world.app.0.keys.revoke(bad.tenant()).expect("revoked");
    world.app.start_ledger();
    world.until("the leaf", async || (world.sealed(&good).await == 1).then_some(())).await;
    world.until("the hold", async || world.app.ledger_held_up(bad.tenant())).await;
    let proven = async |left_out: &str| {
        let view = check_ledgers(&world.app).await;
        assert_eq!(view.state, "proven", "{view:?}");
        let fact = ("logs left out, whose keys are withheld".to_owned(), left_out.to_owned());
        assert!(view.facts.contains(&fact), "{view:?}");
        for name in [log.to_string(), bad.tenant().to_string()] {
            assert!(!format!("{view:?}").contains(&name), "{view:?}");
        }
    };
    proven("1").await;
    world.app.0.keys.restore(bad.tenant()).expect("restored");
    world.until("the release", async || world.held().is_empty().then_some(())).await;
    proven("0").await;
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaves_of_several_customers_are_on_their_way_at_once() {
    let world = World::new().await;
    world.archive().await;
    let mut customers = Vec::new();
    for name in ["One", "Two", "Three", "Four"] {
        customers.push(world.customer(name).await);
    }
    world.app.start_ledger();
    for round in 1..=3 {
        for customer in &customers {
            world.send(customer, 1.0).await;
        }
        for customer in &customers {
            let all = async || (world.sealed(customer).await == round).then_some(());
            world.until("its leaves", all).await;
        }
    }
    assert!(world.held().is_empty(), "{:?}", world.held());
    let most = world.app.0.ledger.most_on_way();
    assert!(most > 1, "{most} at once: one waits for the other");
    world.app.close().await;
}

/// Sends readings until the customer's log has no room; how many were sent.
async fn fill(world: &World, customer: &Customer) -> u64 {
    let mut sent = 0;
    let full = async || {
        world.send(customer, 1.0).await;
        sent += 1;
        world.app.ledger_held_up(customer.tenant())
    };
    let told = world.until("the hold", full).await.reason;
    assert!(told.contains("log_bytes_max"), "{told}");
    sent
}

/// A destruction that was asked for: of what the ledger sealed of a customer before now.
pub(super) async fn asked_end(world: &World, customer: &Customer) -> StoredDestruction {
    let context = world.app.job_in(veritwin_access::jobs::RETENTION, customer.tenant());
    let scope = StoredScope::Ledger { before: context.at.as_micros() };
    let asked = StoredDestruction {
        id: veritwin_domain::DestructionId::generate(context.at, world.app.rng()),
        state: DestructionState::Asked,
        body: fresh(&context, (scope, false), "asked for").to_store().expect("a body"),
        version: 1,
        requested_at: context.at,
    };
    let tx = world.app.0.store.begin(&context).await.expect("records");
    tx.destruction_create(&asked).await.expect("made");
    tx.commit().await.expect("written");
    asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_full_log_does_not_take_waits_until_there_is_room() {
    let world = World::new().await;
    let customer = world.customer("Full").await;
    let stop = CancellationToken::new();
    let limits = ArchiveLimits { log_bytes_max: 1500, ..ArchiveLimits::default() };
    let served = world.archive_of(stop.clone(), limits).await;
    world.app.start_ledger();
    let sent = fill(&world, &customer).await;
    assert!(world.sealed(&customer).await < sent);
    let world = world.reopen().await;
    stop.cancel();
    served.await.expect("closed");
    world.archive().await;
    world.app.start_ledger();
    let all = async || (world.sealed(&customer).await == sent).then_some(());
    world.until("what waited", all).await;
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_something_goes_once_in_front_of_what_a_full_log_has_waiting() {
    let world = World::new().await;
    let customer = world.customer("Full").await;
    let stop = CancellationToken::new();
    let limits = ArchiveLimits { log_bytes_max: 5000, ..ArchiveLimits::default() };
    let served = world.archive_of(stop.clone(), limits).await;
    world.app.start_ledger();
    seal(&world, &customer, 1).await;
    let sent = 1 + fill(&world, &customer).await;
    world.clock.advance(Duration::from_secs(5));
    let mut known = asked_end(&world, &customer).await;
    while let Some(next) = world.app.step(customer.tenant(), &known).await.expect("a step") {
        known = next;
    }
    let (log, _) = world.app.log_of(&customer.context).await.expect("a log");
    let last = async || {
        let size = world.app.summary_of(log).await.expect("a summary").size;
        (size, world.app.leaf(log, size - 1, size).await.expect("a leaf").leaf.act)
    };
    let (size, act) = last().await;
    assert_eq!(act, Act::Shred { from: 0, to: size - 1, reason: ShredReason::Requested });
    assert!(world.sealed(&customer).await < sent);
    // For the certificate there is no room yet; the log is not told again meanwhile.
    assert_eq!(known.state, DestructionState::Certifying);
    assert!(world.app.step(customer.tenant(), &known).await.expect("a step").is_none());
    assert_eq!(last().await, (size, act));
    assert!(world.app.ledger_held_up(customer.tenant()).is_some());
    let world = world.reopen().await;
    stop.cancel();
    served.await.expect("closed");
    world.archive().await;
    world.app.start_ledger();
    let all = async || (world.sealed(&customer).await >= sent).then_some(());
    world.until("what waited", all).await;
    while world.destruction(&customer, known.id).await.state != DestructionState::Done {
        world.step_of(&customer, known.id).await;
    }
    // With the certificate.
    assert_eq!(world.sealed(&customer).await, sent + 1);
    world.app.close().await;
}

/// Why nothing of a tenant can be sealed any more.
#[derive(Debug, Clone, Copy)]
enum Gone {
    Keys,
    /// The key above them, where it was held.
    Held,
    Row,
}

async fn gone(what: Gone) {
    let mut world = World::new().await;
    world.archive().await;
    let (bad, good) = (world.customer("Bad").await, world.customer("Good").await);
    world.send(&bad, 30.0).await;
    world.send(&good, 30.0).await;
    match what {
        Gone::Keys => drop(world.app.0.keys.destroy_tenant(bad.tenant()).expect("destroyed")),
        Gone::Held => {
            let keys = &world.app.0.keys;
            let kek = keys.new_kek(bad.tenant()).expect("a key");
            let version = kek.context().version;
            let fresh_until = world.app.clock().monotonic().saturating_add(Duration::from_secs(60));
            let above = NewAbove::Held { wrapped: vec![1], fresh_until };
            keys.install_kek(kek, above).expect("held");
            keys.note_gone(bad.tenant(), version).expect("noted");
        }
        Gone::Row => {
            let context = world.app.local_operator();
            let tx = world.app.0.store.begin_platform(&context).await.expect("records");
            tx.tenant_delete(bad.tenant()).await.expect("deleted");
            tx.commit().await.expect("written");
        }
    }
    world.app.start_alerts().await.expect("started");
    world.app.start_ledger();
    world.only_alert(&good, AlertState::ActiveUnacknowledged).await;
    world.until("the leaf", async || (world.sealed(&good).await == 1).then_some(())).await;
    assert!(world.held().is_empty(), "{what:?}: {:?}", world.held());
    let tail = world.app.0.log.tail_position();
    world = world.reopen().await;
    let offsets = (world.offset("alerts").await, world.offset("ledger").await);
    assert_eq!(offsets, (Some(tail), Some(tail)), "{what:?}");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn destroyed_keys_and_rows_that_are_gone_hold_nobody_up() {
    for what in [Gone::Keys, Gone::Held, Gone::Row] {
        gone(what).await;
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for item in std::fs::read_dir(from).expect("a list") {
        let path = item.expect("an item").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("a copy");
        }
    }
}

/// A platform and its archive, started and stopped together; the archive's folder is put back in
/// between.
struct Pair {
    world: World,
    customer: Customer,
}

impl Pair {
    fn folder(&self, name: &str) -> std::path::PathBuf {
        self.world.folder.path().join(name)
    }

    /// Runs both while `work` goes on.
    async fn run(mut self, work: impl AsyncFnOnce(&World, &Customer)) -> Self {
        let stop = CancellationToken::new();
        let served = self.world.archive_until(stop.clone()).await;
        self.world.app.start_ledger();
        work(&self.world, &self.customer).await;
        self.world = self.world.reopen().await;
        stop.cancel();
        served.await.expect("closed");
        self
    }

    fn keep(&self, name: &str) {
        copy(&self.folder("archive"), &self.folder(name));
    }

    fn put_back(&self, name: &str) {
        std::fs::remove_dir_all(self.folder("archive")).expect("removed");
        copy(&self.folder(name), &self.folder("archive"));
    }

    async fn head(&self) -> Vec<u8> {
        let tx = self.world.app.0.store.read(&self.customer.context).await.expect("records");
        tx.setting(HEAD_SETTING).await.expect("read").expect("a checkpoint").body
    }
}

pub(super) async fn seal(world: &World, customer: &Customer, sealed: u64) {
    world.send(customer, 1.0).await;
    let all = async || (world.sealed(customer).await == sealed).then_some(());
    world.until("the leaf", all).await;
    assert!(world.held().is_empty());
}

async fn hold(world: &World, customer: &Customer, why: &str) {
    let before = world.sealed(customer).await;
    world.send(customer, 1.0).await;
    let told = world.until("the hold", async || world.app.ledger_held_up(customer.tenant())).await;
    assert!(told.reason.contains(why), "{}", told.reason);
    // Tried again, and still nothing of it is sealed.
    for _ in 0..5 {
        world.send(customer, 1.0).await;
    }
    assert_eq!(world.sealed(customer).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_went_back_gets_nothing_to_sign() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    let pair = Pair { world, customer };
    let pair = pair.run(async |world, customer| seal(world, customer, 1).await).await;
    pair.keep("old");
    let old_head = pair.head().await;
    let pair = pair.run(async |world, customer| seal(world, customer, 2).await).await;
    pair.keep("new");
    let new_head = pair.head().await;
    pair.put_back("old");
    let went_back = "went back behind what it acknowledged";
    let pair = pair.run(async |world, customer| hold(world, customer, went_back).await).await;
    // Put right, it takes everything that waited.
    pair.put_back("new");
    let pair = pair.run(async |world, customer| seal(world, customer, 9).await).await;

    // A platform that had not seen the second leaf goes on from the first, and is found out.
    pair.put_back("old");
    pair.world.setting(&pair.customer, HEAD_SETTING, &old_head).await;
    let pair = pair.run(async |world, customer| seal(world, customer, 2).await).await;
    pair.world.setting(&pair.customer, HEAD_SETTING, &new_head).await;
    let fork = "holds another history than the one it acknowledged";
    let pair = pair.run(async |world, customer| hold(world, customer, fork).await).await;

    // One that has lost the log altogether does not get it made anew.
    let journal = pair.folder("archive").join("archive/journal");
    assert!(journal.exists() || pair.folder("archive").join("journal").exists());
    for folder in ["archive/journal", "archive/logs", "journal", "logs"] {
        let _ = std::fs::remove_dir_all(pair.folder("archive").join(folder));
    }
    let pair = pair.run(async |world, customer| hold(world, customer, "no log").await).await;
    pair.world.app.close().await;
}
