//! Segments in a bucket of moto on a real platform: none of them is in the data directory, a backup
//! holds them, and a restore puts them into another place while the first platform goes on.

use veritwin_telemetry::{BucketConfig, Series, TimeRange};

use super::moto_server::Moto;
use super::*;
use crate::{BackupPlan, Config, RestorePlan, restore};

impl World {
    /// One whose segments are in a bucket, or in its folder.
    async fn keeping(segments: Option<BucketConfig>) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000)));
        let app = open_at(Config { segments, ..config(&folder, &clock, None) }).await;
        let instance = folder.path().join("data/instance.json");
        std::fs::write(instance, r#"{"instance":"i"}"#).expect("named");
        Self { folder, clock, app }
    }

    /// A backup of now with the keyring's.
    async fn copies(&self) -> RestorePlan {
        let source = self.folder.path().join("base");
        let plan = BackupPlan { out: source.clone(), archive: false };
        self.app.backup(&self.app.local_operator(), plan).await.expect("a backup");
        self.clock.advance(Duration::from_secs(1));
        let out = self.folder.path().join("keyrings");
        let copied = self.app.backup_keyring(&self.app.local_operator(), &out).await;
        let keyring = copied.expect("a keyring").folder;
        RestorePlan { source, keyring, revoke_keys: false, moment: None }
    }

    /// How a restored platform is opened.
    fn restored(&self, segments: Option<BucketConfig>) -> Config {
        Config { data: self.folder.path().join("restored"), segments, ..self.app.0.config.clone() }
    }
}

async fn count(app: &App, customer: &Customer) -> u64 {
    let (tenant, device) = (customer.tenant(), customer.device);
    let series = Series { tenant, device, key: Key::new(KEY).expect("a key") };
    app.0.engine.stats(&series, TimeRange::ALL).await.expect("answers").count
}

fn has_segments(config: &Config) -> bool {
    config.data.join("objects/segments/manifests").exists()
}

fn front(bucket: &BucketConfig, front: &str) -> BucketConfig {
    BucketConfig { front: front.to_owned(), ..bucket.clone() }
}

/// One platform writes, is backed up and restored elsewhere, and goes on beside the restored one.
async fn move_history(from: Option<BucketConfig>, to: Option<BucketConfig>) {
    let world = World::keeping(from.clone()).await;
    let customer = world.customer("Only").await;
    world.send(&customer, 1.0).await;
    world.app.0.engine.flush().await.expect("flushes");
    // This one is in the log alone.
    world.send(&customer, 2.0).await;
    assert_eq!(has_segments(&world.app.0.config), from.is_none());
    let plan = world.copies().await;
    if let Some(used) = from {
        let taken = world.restored(Some(used));
        let refused = restore(&taken, plan.clone(), Arc::default()).await.expect_err("is used");
        assert!(refused.to_string().contains("already"), "{refused}");
    }
    let config = world.restored(to.clone());
    restore(&config, plan, Arc::default()).await.expect("restored");
    assert_eq!(has_segments(&config), to.is_none());
    let restored = App::open(config.clone()).await.expect("opens");
    assert_eq!(count(&restored, &customer).await, 2);
    restored.0.engine.flush().await.expect("flushes");
    restored.close().await;
    drop(restored);
    // And after a restart, with nothing to read from the log.
    let restored = App::open(config).await.expect("opens again");
    assert_eq!(count(&restored, &customer).await, 2);
    restored.close().await;
    world.send(&customer, 3.0).await;
    world.app.0.engine.flush().await.expect("the first one has its own place");
    assert_eq!(count(&world.app, &customer).await, 3);
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_moves_between_folder_and_bucket_by_a_backup() {
    let Some(moto) = Moto::start().await else { return };
    let bucket = moto.bucket("platforms");
    move_history(None, Some(front(&bucket, "one"))).await;
    move_history(Some(front(&bucket, "two")), Some(front(&bucket, "three"))).await;
    move_history(Some(front(&bucket, "four")), None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_with_segments_is_not_left_for_an_empty_bucket() {
    let Some(moto) = Moto::start().await else { return };
    let bucket = moto.bucket("empty");
    assert!(!crate::ask_segments(&bucket).await.expect("it answers"));
    let world = World::keeping(None).await;
    let customer = world.customer("Only").await;
    world.send(&customer, 1.0).await;
    world.app.0.engine.flush().await.expect("flushes");
    let config = Config { segments: Some(bucket.clone()), ..world.app.0.config.clone() };
    world.app.close().await;
    drop(world.app);
    let refused = App::open(config).await.expect_err("the folder has a history").to_string();
    assert!(refused.contains("objects/segments"), "{refused}");
    assert!(!crate::ask_segments(&bucket).await.expect("it answers"), "nothing was written");
}
