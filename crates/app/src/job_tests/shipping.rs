//! Shipping on a real platform: what is kept for a restore, and for how long.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use veritwin_keys::{DataClass, NewAbove};

use super::*;
use crate::lineage::Lineage;
use crate::shipping::{Copies, LogLine};
use crate::{
    BackupPlan, Config, Moment, MomentSummary, RestorePlan, S3Access, ShipConfig, ShipStatus,
    restore,
};

const DAY: Duration = Duration::from_secs(86_400);

impl World {
    /// One that ships to a folder of its own.
    async fn shipping() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000)));
        let ships = folder.path().join("ships");
        std::fs::create_dir(&ships).expect("a place");
        let config = ShipConfig {
            url: format!("file://{}", ships.display()),
            s3: S3Access {
                endpoint: String::new(),
                region: String::new(),
                access_key_id: String::new(),
                secret_access_key: Secret::new(String::new()),
            },
            interval: Duration::from_secs(1),
            records_interval: Duration::from_secs(3600),
            kept: 14 * DAY,
            log_hold_bytes_max: 1 << 30,
        };
        let app = open(&folder, &clock, Some(config)).await;
        let instance = folder.path().join("data/instance.json");
        std::fs::write(instance, r#"{"instance":"i"}"#).expect("named");
        Self { folder, clock, app }
    }

    fn ships(&self) -> PathBuf {
        self.folder.path().join("ships")
    }

    fn lines(&self) -> (LogLine, Copies) {
        let config = self.app.0.config.shipping.as_ref().expect("it ships");
        self.app.ship_lines(config).expect("a platform")
    }

    /// Names of the files below a folder of the place.
    fn files(&self, below: &str) -> Vec<String> {
        let found = crate::backup::files::plain_files(&self.ships(), Path::new(below));
        found.expect("listed").iter().map(|file| file.display().to_string()).collect()
    }

    /// Those of one kind before any restore.
    fn shipped(&self, kind: &str) -> Vec<String> {
        self.files(&format!("i/00000/{kind}"))
    }

    /// Files have the machine's time: gives those below a folder the platform's.
    fn date_files(&self, below: &str) {
        let since = Duration::from_micros(self.app.clock().now().as_micros().unsigned_abs());
        for name in self.files(below) {
            let file = File::options().write(true).open(self.ships().join(name)).expect("there");
            file.set_modified(SystemTime::UNIX_EPOCH + since).expect("dated");
        }
    }

    async fn ship_log(&self, line: &mut LogLine) -> ShipStatus {
        self.clock.advance(Duration::from_secs(2));
        self.app.ship_log_round(line).await.expect("shipped");
        self.app.ship_status()
    }

    fn log_days(&self, customer: &Customer) -> BTreeSet<i64> {
        let all = self.app.0.keys.day_keys(DataClass::Log).into_iter();
        all.filter(|key| key.tenant == customer.tenant()).map(|key| key.day).collect()
    }

    /// A reading today and one tomorrow, and today's file is cut; answers today.
    async fn cut_a_day(&self, customer: &Customer) -> i64 {
        self.send(customer, 1.0).await;
        let day = self.app.clock().now().day();
        self.clock.advance(DAY);
        let end = self.send(customer, 2.0).await;
        self.cut(end).await;
        day
    }

    async fn cut(&self, end: u64) {
        let log = self.app.0.log.clone();
        let cut = tokio::task::spawn_blocking(move || log.truncate_before(end)).await;
        assert!(cut.expect("done").expect("cut").files_deleted > 0);
    }

    /// A copy of the keyring of now.
    async fn copy_keyring(&self) -> PathBuf {
        self.clock.advance(Duration::from_secs(1));
        let out = self.folder.path().join("keyrings");
        let copied = self.app.backup_keyring(&self.app.local_operator(), &out).await;
        copied.expect("copied").folder
    }

    /// A base of now.
    async fn back_up(&self) {
        let plan = BackupPlan { out: self.folder.path().join("base"), archive: false };
        self.app.backup(&self.app.local_operator(), plan).await.expect("a base");
    }

    /// Restores the base to the newest moment, into a folder of that name.
    async fn restore(
        &self,
        name: &str,
        keyring: PathBuf,
    ) -> crate::Result<(Config, MomentSummary)> {
        let data = self.folder.path().join(name);
        let config = Config { data, ..self.app.0.config.clone() };
        let ship = config.shipping.clone().expect("it ships");
        let moment = Some(Moment { at: None, ship, records_of_base: false });
        let source = self.folder.path().join("base");
        let plan = RestorePlan { source, keyring, revoke_keys: false, moment };
        let restored = restore(&config, plan, Arc::default()).await?;
        Ok((config, restored.moment.expect("to a moment")))
    }

    async fn expire_log_keys(&self) {
        self.app.expire_log_keys(self.app.clock().now()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_a_cut_log_are_kept_for_a_restore_and_no_longer() {
    let world = World::shipping().await;
    let customer = world.customer("Only").await;
    let day = world.cut_a_day(&customer).await;
    world.expire_log_keys().await;
    assert_eq!(world.log_days(&customer), BTreeSet::from([day, day + 1]));
    world.clock.advance(6 * DAY);
    world.expire_log_keys().await;
    assert_eq!(world.log_days(&customer), BTreeSet::from([day, day + 1]), "the seventh day");
    world.clock.advance(DAY);
    world.expire_log_keys().await;
    assert_eq!(world.log_days(&customer), BTreeSet::from([day + 1]), "its file is there");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_shipped_log_what_a_stop_left_of_a_cut_is_destroyed() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    let day = world.cut_a_day(&customer).await;
    assert_eq!(world.log_days(&customer), BTreeSet::from([day, day + 1]));
    world.expire_log_keys().await;
    assert_eq!(world.log_days(&customer), BTreeSet::from([day + 1]));
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_key_service_keeps_the_keys_that_the_log_seals_to() {
    let world = World::new().await;
    let (silent, other) = (world.customer("Silent").await, world.customer("Other").await);
    let keys = &world.app.0.keys;
    let kek = keys.new_kek(silent.tenant()).expect("a key");
    let fresh_until = world.app.clock().monotonic().saturating_add(Duration::from_secs(60));
    keys.install_kek(kek, NewAbove::Held { wrapped: vec![1], fresh_until }).expect("held");
    world.clock.advance(20 * DAY);
    assert_eq!(keys.lapse(), [silent.tenant()]);
    let days = world.log_days(&silent);
    assert!(!days.is_empty(), "made ahead");
    world.send(&other, 1.0).await;
    world.expire_log_keys().await;
    assert_eq!(world.log_days(&silent), days, "no new ones can be made");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_place_is_said_and_filled_again_and_a_backup_ends_the_gap() {
    let world = World::shipping().await;
    let customer = world.customer("Only").await;
    world.send(&customer, 1.0).await;
    let (mut line, _) = world.lines();
    let status = world.ship_log(&mut line).await;
    assert!(status.reached_at.is_some() && status.gap_at.is_none(), "{status:?}");
    let tail = world.app.0.log.tail_position();
    assert_eq!((status.position, world.app.shipped_position()), (Some(tail), tail));
    let first = world.shipped("log");
    assert!(!first.is_empty());
    std::fs::remove_dir_all(world.ships().join("i")).expect("emptied");
    // Its own note is believed after a stop too, and what is there is looked at.
    let (mut line, _) = world.lines();
    let status = world.ship_log(&mut line).await;
    assert!(status.gap_at.is_some() && status.position.is_none(), "{status:?}");
    let status = world.ship_log(&mut line).await;
    assert_eq!(status.position, Some(tail));
    assert_eq!(world.shipped("log")[0], first[0], "from the beginning");
    let world = world.reopen().await;
    let (mut line, _) = world.lines();
    let status = world.ship_log(&mut line).await;
    assert!(status.gap_at.is_some(), "it is known after a stop: {status:?}");
    world.app.0.upkeep.ships.backed_up(world.app.clock().now());
    assert_eq!(world.ship_log(&mut line).await.gap_at, None);
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_part_under_the_next_ones_name_is_refused() {
    let world = World::shipping().await;
    let customer = world.customer("Only").await;
    world.send(&customer, 1.0).await;
    let (mut line, _) = world.lines();
    world.ship_log(&mut line).await;
    let part = world.shipped("log").pop().expect("a part");
    // Where the next one begins is no secret: the head before it says so.
    let kept = std::fs::read(world.folder.path().join("data/shipping.json")).expect("kept");
    let kept: serde_json::Value = serde_json::from_slice(&kept).expect("its form");
    let (position, offset) = (kept["position"].as_u64().unwrap(), kept["offset"].as_u64().unwrap());
    let file = kept["file"].as_str().unwrap();
    let next = format!("i/00000/log/{position:020}-{file}-{offset:012}");
    std::fs::copy(world.ships().join(part), world.ships().join(&next)).expect("put there");
    world.send(&customer, 2.0).await;
    world.clock.advance(Duration::from_secs(2));
    let refused = world.app.ship_log_round(&mut line).await.expect_err("it is another's");
    assert!(refused.to_string().contains("than its name says"), "{refused}");
    std::fs::remove_file(world.ships().join(next)).expect("taken away");
    let status = world.ship_log(&mut line).await;
    assert_eq!(status.position, Some(world.app.0.log.tail_position()));
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_copied_once_though_what_comes_behind_fails() {
    let world = World::shipping().await;
    world.customer("Only").await;
    let (_, mut copies) = world.lines();
    let objects = world.ships().join("i/00000/objects");
    // A file where a folder has to be: nothing can be written below it.
    std::fs::create_dir_all(world.ships().join("i/00000")).expect("made");
    std::fs::write(&objects, "in the way").expect("put there");
    let own = world.folder.path().join("data/objects/twins/t");
    std::fs::create_dir_all(&own).expect("made");
    std::fs::write(own.join("o"), "an object").expect("written");
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(2));
        assert!(world.app.ship_copies_round(&mut copies).await.is_err());
    }
    assert_eq!(world.shipped("records").len(), 2, "a piece and its head, once");
    std::fs::remove_file(&objects).expect("taken away");
    world.app.ship_copies_round(&mut copies).await.expect("copied");
    assert_eq!(world.shipped("objects").len(), 2, "a piece and its head");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lives_before_a_restore_end_and_a_clock_that_jumped_deletes_nothing() {
    let world = World::shipping().await;
    let customer = world.customer("Only").await;
    world.send(&customer, 1.0).await;
    let (mut line, mut copies) = world.lines();
    world.ship_log(&mut line).await;
    world.app.ship_copies_round(&mut copies).await.expect("copied");
    world.date_files("i/00000");
    let data = world.folder.path().join("data");
    Lineage::note_restore(&data, world.app.clock().now()).expect("noted");
    let world = world.reopen().await;
    world.clock.advance(13 * DAY);
    world.send(&customer, 2.0).await;
    let (mut line, mut copies) = world.lines();
    world.ship_log(&mut line).await;
    world.date_files("i/00001");
    world.app.ship_copies_round(&mut copies).await.expect("copied");
    assert!(!world.shipped("log").is_empty() && !world.shipped("records").is_empty());
    world.clock.advance(2 * DAY);
    world.app.ship_copies_round(&mut copies).await.expect("copied");
    assert_eq!((world.shipped("log").len(), world.shipped("records").len()), (0, 0));
    let own = || world.files("i/00001/log").len();
    let left = own();
    assert!(left > 0);
    world.app.purge_records().await.expect("the time is noted");
    world.clock.advance(1000 * DAY);
    world.app.ship_copies_round(&mut copies).await.expect("copied");
    assert_eq!(own(), left, "nothing is deleted by a clock that jumped");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moment_is_reached_over_a_log_that_was_cut() {
    let world = World::shipping().await;
    let customer = world.customer("Only").await;
    let (mut line, _) = world.lines();
    world.send(&customer, 0.0).await;
    world.back_up().await;
    world.send(&customer, 1.0).await;
    let day = world.app.clock().now().day();
    world.clock.advance(DAY);
    let end = world.send(&customer, 2.0).await;
    world.ship_log(&mut line).await;
    world.cut(end).await;
    world.expire_log_keys().await;
    let shipped = world.ship_log(&mut line).await;
    assert_eq!(shipped.gap_at, None, "the day was shipped before it was cut");
    let keyring = world.copy_keyring().await;
    let (config, moment) = world.restore("restored", keyring).await.expect("restored");
    let tail = world.app.0.log.tail_position();
    assert_eq!((moment.closed, moment.end_position), (0, tail));
    let app = App::open(config).await.expect("a platform");
    let log = app.0.log.clone();
    let batches = log.read_from(0).expect("reads");
    let values = batches.flat_map(|batch| {
        let batch = batch.expect("whole");
        let of = |entry: &veritwin_log::Entry| match &entry.record {
            veritwin_log::Record::Readings(batch) => Some(batch.readings[0].value.clone()),
            _ => None,
        };
        batch.iter().filter_map(|(_, entry)| of(entry)).collect::<Vec<_>>()
    });
    let expected = [0.0, 1.0, 2.0].map(Value::Double);
    assert_eq!(values.collect::<Vec<_>>(), expected);
    app.close().await;

    // A copy of the keyring from after their end does not open them, and that is said.
    let keys = world.app.0.keys.day_keys(DataClass::Log).into_iter();
    let gone: Vec<_> = keys.filter(|key| key.day == day).map(|key| key.dek).collect();
    let method = veritwin_keys::DestructionMethod::KeyDestroyed;
    world.app.0.keys.destroy(&gone, method).expect("destroyed");
    let keyring = world.copy_keyring().await;
    let (_, moment) = world.restore("later", keyring).await.expect("restored");
    assert!(moment.closed >= 1, "{moment:?}");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_away_at_the_end_is_missed() {
    let world = World::shipping().await;
    let customer = world.customer("Only").await;
    let (mut line, mut copies) = world.lines();
    world.back_up().await;
    world.send(&customer, 1.0).await;
    world.clock.advance(Duration::from_secs(1));
    world.app.ship_copies_round(&mut copies).await.expect("copied");
    world.ship_log(&mut line).await;
    let keyring = world.copy_keyring().await;
    let (_, moment) = world.restore("whole", keyring.clone()).await.expect("restored");
    assert!(moment.newest.is_some_and(|newest| moment.records_at >= newest), "{moment:?}");
    let below = world.ships().join("i/00000");
    let check = async |kind: &str, expected: &str| {
        let aside = world.folder.path().join("aside");
        std::fs::rename(below.join(kind), &aside).expect("taken away");
        let refused = world.restore(kind, keyring.clone()).await.expect_err(kind).to_string();
        assert!(refused.contains(expected), "{kind}: {refused}");
        std::fs::rename(&aside, below.join(kind)).expect("put back");
    };
    check("log", "which were shipped").await;
    check("records", "lacks the copy of the records").await;
    check("reached", "holds nothing that was shipped").await;
    world.restore("again", keyring).await.expect("restored");
    world.app.close().await;
}
