//! Shipping on a real platform: what is kept for a restore, and for how long.

use veritwin_keys::DataClass;

use super::*;
use crate::{S3Access, ShipConfig};

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
            records_interval: Duration::from_secs(1),
            kept: 14 * DAY,
            log_hold_bytes_max: 1 << 30,
        };
        let app = open(&folder, &clock, Some(config)).await;
        Self { folder, clock, app }
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
        let log = self.app.0.log.clone();
        let cut = tokio::task::spawn_blocking(move || log.truncate_before(end)).await;
        assert!(cut.expect("done").expect("cut").files_deleted > 0);
        day
    }

    async fn expire_log_keys(&self) {
        self.app.expire_log_keys(self.app.clock().now()).await.expect("expired");
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
