//! Replay: every reading arrives, also over a connection that breaks.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use veritwin_domain::{Secret, SystemClock, Timestamp};
use veritwin_simulator::Endpoint;
use veritwin_simulator::replay::{
    Progress, ReadOptions, ReplayContext, ReplayError, Stream, backfill, first_moment, live,
    read_csv,
};

use crate::broker::{Behaviour, Published, start};
use crate::skipped::skipped;

fn context(endpoint: Endpoint) -> ReplayContext {
    let clock = Arc::new(SystemClock::new());
    ReplayContext { endpoint, clock, shutdown: CancellationToken::new() }
}

/// A stream of `count` rows, ten seconds apart, two keys.
fn stream(count: usize) -> Stream {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plant.csv");
    let rows: String =
        (0..count).map(|i| format!("{},{i},{}.5\n", 1_569_888_000 + i * 10, i)).collect();
    std::fs::write(&path, format!("date,a,b\n{rows}")).expect("written");
    let recording = read_csv(&path, &ReadOptions::default()).expect("read");
    Stream {
        name: "plant".to_owned(),
        token: Secret::new("token".to_owned()),
        recordings: vec![recording],
    }
}

/// Time stamps of all rows published so far.
fn stamps(published: &mut tokio::sync::mpsc::UnboundedReceiver<Published>) -> Vec<i64> {
    let mut all = Vec::new();
    while let Ok(message) = published.try_recv() {
        for row in message.body.as_array().expect("rows") {
            assert_eq!(row["values"].as_object().expect("values").len(), 2);
            all.push(row["ts"].as_i64().expect("a stamp"));
        }
    }
    all
}

#[tokio::test]
async fn a_backfill_keeps_its_stamps_and_survives_a_cut() {
    let behaviour = Behaviour { cuts_first_at: Some(3), ..Behaviour::default() };
    let (endpoint, mut published) = start(behaviour).await;
    let stream = stream(2_600);
    let mut last = Progress::default();
    let report =
        backfill(&context(endpoint), &stream, |progress| last = progress).await.expect("sent");
    assert_eq!(report, Progress { total: 5_200, sent: 5_200, acknowledged: 5_200 });
    assert_eq!(last, report);
    let unique: HashSet<i64> = stamps(&mut published).into_iter().collect();
    assert_eq!(unique.len(), 2_600);
    assert!(unique.contains(&1_569_888_000_000));
}

#[tokio::test]
async fn a_live_replay_uses_fresh_stamps_that_never_collide() {
    let (endpoint, mut published) = start(Behaviour::default()).await;
    let stream = stream(300);
    let origin = first_moment(std::slice::from_ref(&stream)).expect("a moment");
    let report = live(&context(endpoint), &stream, 1e6, origin, |_| {}).await.expect("sent");
    assert_eq!(report.acknowledged, 600);
    let all = stamps(&mut published);
    assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(Timestamp::from_millis(all[0]).expect("a time") > origin);
}

#[tokio::test]
async fn a_refused_token_ends_the_replay_at_once() {
    let behaviour = Behaviour { refuses: vec!["token"], ..Behaviour::default() };
    let (endpoint, _published) = start(behaviour).await;
    let error = backfill(&context(endpoint), &stream(1), |_| {}).await.expect_err("refused");
    assert!(matches!(error, ReplayError::Connection { acknowledged: 0, .. }), "{error}");
}

/// Reads the recordings of the shared test data; skipped where they are absent.
#[test]
fn recorded_files_are_read() {
    let shared = std::env::var_os("VERITWIN_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let sensors = shared.join("data/sensors");
    if !sensors.is_dir() {
        skipped(&format!("{} is not there (set VERITWIN_SHARED)", sensors.display()));
        return;
    }
    let check = |file: &str, rows: usize, keys: &[&str], notes: usize| {
        let recording = read_csv(&sensors.join(file), &ReadOptions::default()).expect(file);
        let names: Vec<&str> = recording.keys.iter().map(|key| &**key).collect();
        assert_eq!((recording.rows.len(), names.as_slice()), (rows, keys), "{file}");
        assert_eq!(recording.notes.len(), notes, "{:?}", recording.notes);
    };
    check("berlin/pressure.csv", 13_654, &["pressure"], 0);
    check("puerto-natales/room_temperature.csv", 16_025, &["room_temperature"], 0);
    let keys = ["Temperature", "Humidity", "Light", "CO2", "HumidityRatio", "Occupancy"];
    check("occupancy/datatraining.txt", 8_143, &keys, 2);
}
