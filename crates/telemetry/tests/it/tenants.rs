//! Many small tenants on one node: what is written for all of them together takes as many files and
//! as many fsyncs as for a few, and so it is with merging.

use std::path::Path;
use std::sync::Arc;

use object_store::ObjectStore;
use veritwin_domain::{DeviceBatch, DeviceId, TenantId, Value};
use veritwin_log::{Entry, FileLog, LogConfig};
use veritwin_telemetry::{Series, TimeRange};

use crate::simulation::disk::{Disk, DiskView};
use crate::simulation::objects::Objects;
use crate::support::{Setup, TODAY, batch, key, reading, runtime};

const FEW: u16 = 20;
const MANY: u16 = 300;
const ROUNDS: i64 = 3;
/// A merge writes the merged sections and a manifest; one call of `maintain` makes at most eight,
/// and one flush.
const WRITES_PER_CALL_MAX: u64 = 8 * 2 + 3;

/// What one node did for its tenants.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    /// Writes of objects by each flush.
    flush_puts: Vec<u64>,
    objects: usize,
    log_syncs: u64,
    log_files: usize,
    keyring_files: usize,
    /// Writes of objects by merges, and calls of `maintain` until nothing is left to merge.
    merge_puts: u64,
    merge_calls: usize,
}

fn tenant(number: u16) -> TenantId {
    let [high, low] = number.to_be_bytes();
    let mut bytes = [9; 16];
    bytes[14] = high;
    bytes[15] = low;
    TenantId::from_bytes(bytes)
}

fn small(number: u16, round: i64) -> DeviceBatch {
    let readings = (0..3)
        .map(|i| reading("n", TODAY + round * 60_000_000 + i * 1000, Value::Integer(round + i)));
    let tenant = tenant(number);
    let device = DeviceId::from_bytes([5; 16]);
    DeviceBatch { tenant, device, ..batch(0, 0, readings.collect()) }
}

fn files(directory: &Path) -> usize {
    std::fs::read_dir(directory).expect("a folder").count()
}

/// So many tenants each send a little, again and again, and all is flushed each time.
async fn cost_of(tenants: u16) -> Cost {
    let mut setup = Setup::new();
    (0..tenants).for_each(|number| setup.keys.create_tenant(tenant(number)).expect("keys"));
    let objects = Arc::new(Objects::new());
    setup.store = Arc::clone(&objects) as Arc<dyn ObjectStore>;
    setup.limits.compaction_sections_min = ROUNDS as usize;
    let engine = setup.open().await;
    let disk = Arc::new(Disk::new(1));
    let folder = setup.directory.path().join("log");
    let (keys, clock, rng) = (setup.keys.clone(), setup.clock.clone(), setup.rng.clone());
    let mut config = LogConfig::new(folder.clone(), keys, clock, rng);
    config.storage = Arc::new(DiskView(Arc::clone(&disk)));
    let log = FileLog::open(config, vec![engine.observer()]).expect("the log opens");
    let mut flush_puts = Vec::new();
    for round in 0..ROUNDS {
        let entries = (0..tenants).map(|number| Entry::from(small(number, round))).collect();
        log.append(entries).await.expect("appends");
        let before = objects.puts();
        let persisted = engine.flush().await.expect("flushes");
        flush_puts.push(objects.puts() - before);
        log.truncate_before(persisted).expect("cuts");
    }
    let mut cost = Cost {
        flush_puts,
        objects: crate::support::objects(&setup.store).await.len(),
        log_syncs: disk.syncs(),
        log_files: files(&folder),
        keyring_files: files(&setup.directory.path().join("keyring")),
        merge_puts: 0,
        merge_calls: 0,
    };
    let mut merged = 0;
    loop {
        let before = objects.puts();
        let done = engine.maintain().await.expect("maintains");
        let puts = objects.puts() - before;
        assert!(puts <= WRITES_PER_CALL_MAX, "{puts} writes in one go for {tenants} tenants");
        if done.compactions == 0 {
            break;
        }
        merged += done.compactions;
        cost.merge_puts += puts;
        cost.merge_calls += 1;
    }
    assert_eq!(merged, usize::from(tenants), "a day of each");
    assert_eq!(engine.status().sections, usize::from(tenants));
    for number in [0, tenants / 2, tenants - 1] {
        let device = DeviceId::from_bytes([5; 16]);
        let series = Series { tenant: tenant(number), device, key: key("n") };
        let stats = engine.stats(&series, TimeRange::ALL).await.expect("answers");
        assert_eq!(stats.count, 3 * ROUNDS as u64);
    }
    cost
}

#[test]
fn many_tenants_cost_no_more_files_and_fsyncs_than_a_few() {
    runtime().block_on(async {
        let (few, many) = (cost_of(FEW).await, cost_of(MANY).await);
        assert_eq!(many, few);
        // Sections, latest values, manifest.
        assert!(many.flush_puts.iter().all(|puts| *puts == 3), "{many:?}");
        assert_eq!((many.merge_puts, many.merge_calls), (2, 1), "the merged sections, manifest");
        assert_eq!(many.log_syncs, 1 + ROUNDS as u64, "the header, and one for each append");
    });
}
