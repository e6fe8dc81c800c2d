//! Real series out of files of comma-separated values: how few bytes their points take on disk.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, ensure};
use veritwin_domain::{
    CredentialId, DeviceBatch, DeviceId, Key, Quality, Reading, Timestamp, Value,
};
use veritwin_telemetry::measure::{MeasureError, MeasuredStore};

use super::TelemetryOptions;
use crate::entry::{Better, Entry, Peer};

/// Largest file that is read, and most files, in one folder and those below it.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
const FILES_MAX: usize = 10_000;
/// Points of one append.
const APPEND_POINTS: usize = 20_000;

/// Measures every series of two columns below a folder: a time (seconds since 1970 or
/// `2014-03-07 03:41:00`) and a number. Other files are passed by.
pub(super) async fn measure(options: &TelemetryOptions, folder: &Path) -> Result<Vec<Entry>> {
    let mut files = Vec::new();
    find(folder, &mut files)?;
    files.sort();
    let directory = tempfile::tempdir_in(&options.directory)?;
    let given = (options.clock.clone(), options.rng.clone());
    let failed = |error: MeasureError| anyhow!("telemetry engine: {error}");
    let store = MeasuredStore::open(directory.path(), 1, given).await.map_err(failed)?;
    let tenant = store.tenants[0];
    let (mut points, mut series, mut text_bytes) = (0usize, 0usize, 0usize);
    let key = Key::new("value")?;
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        let readings = parse(&text, &key);
        if readings.len() < 2 {
            continue;
        }
        (points, series, text_bytes) =
            (points + readings.len(), series + 1, text_bytes + text.len());
        let device = DeviceId::generate(options.clock.now(), options.rng.as_ref());
        for part in readings.chunks(APPEND_POINTS) {
            let batch = DeviceBatch {
                tenant,
                device,
                credential: CredentialId::from_bytes([1; 16]),
                received_at: options.clock.now(),
                readings: part.to_vec(),
            };
            store.ingest(vec![batch]).await.map_err(failed)?;
        }
    }
    ensure!(points > 0, "{} holds no series of a time and a number", folder.display());
    store.settle().await.map_err(failed)?;
    let (bytes, points) = (store.object_bytes()? as f64, points as f64);
    let text = Peer { name: "the files' own text".to_owned(), value: text_bytes as f64 / points };
    let entry = |name: &str, unit, better, value, peer| {
        Entry::new(&format!("telemetry.real.{name}"), unit, better, value, peer)
    };
    Ok(vec![
        entry("bytes_per_point", "B", Better::Lower, bytes / points, Some(text)),
        entry("points", "points", Better::Higher, points, None),
        entry("series", "series", Better::Higher, series as f64, None),
    ])
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for item in std::fs::read_dir(folder)? {
        let path = item?.path();
        let meta = path.symlink_metadata()?;
        if meta.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "csv") {
            ensure!(files.len() < FILES_MAX, "more than {FILES_MAX} files");
            ensure!(meta.len() <= FILE_BYTES_MAX, "{} is too large", path.display());
            files.push(path);
        }
    }
    Ok(())
}

fn parse(text: &str, key: &Key) -> Vec<Reading> {
    let row = |line: &str| {
        let (time, number) = line.trim_end().split_once(',')?;
        let value = Value::double(number.parse().ok()?).ok()?;
        Some(Reading { key: key.clone(), at: moment(time)?, value, quality: Quality::Good })
    };
    text.lines().filter_map(row).collect()
}

/// Seconds since 1970, or a date and a time of day in UTC.
fn moment(text: &str) -> Option<Timestamp> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Timestamp::from_millis(seconds.checked_mul(1000)?).ok();
    }
    Timestamp::parse_rfc3339(&format!("{}Z", text.replacen(' ', "T", 1))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_both_forms_are_read_and_others_passed_by() {
        let key = Key::new("value").expect("a key");
        let text = "date,value\n1569888000,38.0\n1569888360,42.5\r\nx,1\n1,NaN\n";
        let readings = parse(text, &key);
        assert_eq!(readings.len(), 2);
        assert_eq!(readings[1].at.as_micros(), 1_569_888_360_000_000);
        let readings = parse("timestamp,value\n2014-03-07 03:41:00,45.868\n", &key);
        assert_eq!(readings[0].at.as_micros(), 1_394_163_660_000_000);
        assert_eq!(readings[0].value, Value::Double(45.868));
    }
}
