//! What became of a replay: per series the rows, what was sent and acknowledged, its extremes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;
use veritwin_simulator::replay::{Recording, Stream};

use super::{NewDevice, Outcome, ReplayArguments};
use crate::cli::commands::columns;
use crate::cli::{print, print_error, print_json};

pub(super) fn show_devices(devices: &[NewDevice]) {
    if devices.is_empty() {
        return;
    }
    let header = ["new device (non-personal)", "id", "access token (shown once)"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(
        devices.iter().map(|device| {
            vec![device.name.clone(), device.device_id.clone(), device.token.clone()]
        }),
    );
    print(&columns(&rows));
    print("");
}

/// What became of one series.
#[derive(Debug, Serialize)]
struct Series {
    device: String,
    key: String,
    file: PathBuf,
    /// Values in the file.
    rows: u64,
    /// Values sent; of several with one time stamp the last counts.
    sent: u64,
    /// Values that are durable; none is known of a stream that broke off.
    acknowledged: Option<u64>,
    min: f64,
    max: f64,
}

/// Readings of one key with different time stamps.
fn distinct(recording: &Recording, column: usize) -> u64 {
    let with_value = recording.rows.iter().filter(|row| row.values[column].is_some());
    with_value.map(|row| row.at).collect::<BTreeSet<_>>().len() as u64
}

pub(super) fn sent_of(stream: &Stream) -> u64 {
    let recordings = stream.recordings.iter();
    recordings.flat_map(|one| (0..one.keys.len()).map(|column| distinct(one, column))).sum()
}

fn series(stream: &Stream, outcome: &Outcome) -> Vec<Series> {
    let mut rows = Vec::new();
    for recording in &stream.recordings {
        let summary = recording.summary();
        for (column, key) in recording.keys.iter().enumerate() {
            let Some(found) = summary.get(key) else { continue };
            let sent = distinct(recording, column);
            rows.push(Series {
                device: stream.name.clone(),
                key: key.to_string(),
                file: recording.file.clone(),
                rows: found.count,
                sent,
                acknowledged: outcome.is_ok().then_some(sent),
                min: found.min,
                max: found.max,
            });
        }
    }
    rows
}

pub(super) fn report(
    arguments: &ReplayArguments,
    devices: &[NewDevice],
    streams: &[Stream],
    outcomes: &[Outcome],
) -> anyhow::Result<ExitCode> {
    let rows: Vec<Series> = streams
        .iter()
        .zip(outcomes)
        .flat_map(|(stream, outcome)| series(stream, outcome))
        .collect();
    if arguments.place.json {
        print_json(&json!({"devices": devices, "series": rows}))?;
    } else {
        let header = ["device", "key", "rows", "sent", "acknowledged", "min", "max"];
        let mut shown = vec![header.map(str::to_owned).to_vec()];
        shown.extend(rows.into_iter().map(|row| {
            vec![
                row.device,
                row.key,
                row.rows.to_string(),
                row.sent.to_string(),
                row.acknowledged.map_or_else(|| "?".to_owned(), |count| count.to_string()),
                row.min.to_string(),
                row.max.to_string(),
            ]
        }));
        print(&columns(&shown));
    }
    let mut is_done = true;
    for (stream, outcome) in streams.iter().zip(outcomes) {
        match outcome {
            Ok(progress) if progress.acknowledged == progress.total => {}
            Ok(progress) => {
                is_done = false;
                print_error(&format!(
                    "{}: {} of {} readings acknowledged",
                    stream.name, progress.acknowledged, progress.total
                ));
            }
            Err(error) => {
                is_done = false;
                print_error(&chain(error));
            }
        }
    }
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// An error with everything that caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use veritwin_domain::Secret;
    use veritwin_simulator::replay::{Progress, ReadOptions, read_csv};

    use super::*;

    #[test]
    fn series_say_what_is_in_the_file_and_what_was_sent() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let file = dir.path().join("room.csv");
        let text = "date,value\n1569888000,20.5\n1569888360,21\n1569888360,22\n";
        std::fs::write(&file, text).expect("write");
        let recording = read_csv(&file, &ReadOptions { key: None }).expect("CSV");

        let stream = Stream {
            name: "north".to_owned(),
            token: Secret::new("T".to_owned()),
            recordings: vec![recording],
        };
        let done = Progress { total: 2, sent: 2, acknowledged: 2 };
        let rows = series(&stream, &Ok(done));
        assert_eq!((rows[0].rows, rows[0].sent, rows[0].acknowledged), (3, 2, Some(2)));
        assert_eq!((rows[0].min, rows[0].max), (20.5, 22.0));
    }
}
