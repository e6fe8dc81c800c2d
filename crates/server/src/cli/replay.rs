//! `veritwin replay`: recorded readings from CSV through MQTT over TLS, live at a speed factor or
//! as a backfill with their own time stamps. It ends well only when every reading was acknowledged.

mod report;
mod target;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use veritwin_domain::{Clock, Declaration, Secret, SystemClock, TenantId, Timestamp};
use veritwin_simulator::replay::{
    self, Progress, ReadOptions, Recording, ReplayContext, ReplayError, Stream, first_moment,
    read_csv,
};

use super::commands::block_on;
use super::{BadArguments, JsonPlace, Place, print_error};
use crate::control::Request;
use crate::dispatch;
use report::{report, sent_of, show_devices};
use target::{endpoint, target};

pub(super) use target::{endpoint_of, read_small};

/// Shown below `--help`.
pub(super) const EXAMPLES: &str = "Examples:
  veritwin replay --csv berlin --backfill
      one new device for the folder, on the platform in ./veritwin-data
  veritwin replay --csv room.csv --speed 60 --address iot.example:8883 --ca ca.pem \\
      --token-file device.token";

/// Most files of one replay.
const FILES_MAX: usize = 1000;
/// Streams of a backfill that send at the same time.
const STREAMS_AT_ONCE: usize = 4;

#[derive(Args, Debug, Clone)]
pub(crate) struct ReplayArguments {
    /// A CSV file, or a folder of them; may be given several times.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    csv: Vec<PathBuf>,
    /// The platform's MQTT listener, host:port; from the data directory's run.json by default.
    #[arg(long, value_name = "HOST:PORT", requires = "ca")]
    address: Option<String>,
    /// The authority to trust (PEM); the platform's own by default.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The device's access token; without one, devices are made through the control socket.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "VERITWIN_DEVICE_TOKEN",
        hide_env_values = true,
        conflicts_with = "token_file"
    )]
    device_token: Option<String>,
    /// A file that holds the device's access token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Name of the one new device for all files; by default each folder is a device.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["device_token", "token_file"])]
    device_name: Option<String>,
    /// The tenant of new devices; not needed while there is only one.
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    /// Key of the values of a single file; by default the column's name, or the file's.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Live: with fresh time stamps, this many times as fast as recorded.
    #[arg(
        long,
        value_name = "FACTOR",
        default_value = "1",
        value_parser = parse_speed,
        conflicts_with = "backfill"
    )]
    speed: f64,
    /// Sends everything at once, with its own time stamps.
    #[arg(long)]
    backfill: bool,
    #[command(flatten)]
    place: JsonPlace,
}

fn parse_speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed.is_finite() && speed > 0.0 => Ok(speed),
        _ => Err("expected a number above 0, such as 60".to_owned()),
    }
}

fn bad(detail: String) -> anyhow::Error {
    BadArguments(detail).into()
}

/// `veritwin replay`
pub(super) fn run(arguments: &ReplayArguments) -> anyhow::Result<ExitCode> {
    let files = files(&arguments.csv)?;
    if arguments.key.is_some() && files.len() > 1 {
        return Err(bad(format!("--key is for one file, and there are {}", files.len())));
    }
    let options = ReadOptions { key: arguments.key.clone() };
    let recordings =
        files.iter().map(|file| read_csv(file, &options)).collect::<Result<Vec<_>, _>>()?;
    for recording in &recordings {
        for note in &recording.notes {
            print_error(&format!("{}: {note}", recording.file.display()));
        }
    }
    let groups = group(arguments, recordings)?;
    block_on(replay(arguments, groups))
}

/// The CSV files of the arguments, folders taken apart, in order of their names.
fn files(given: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in given {
        let shown = path.display();
        let meta = std::fs::metadata(path).map_err(|e| bad(format!("cannot read {shown}: {e}")))?;
        if !meta.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut inside: Vec<PathBuf> = std::fs::read_dir(path)?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end.eq_ignore_ascii_case("csv")))
            .take(FILES_MAX + 1)
            .collect();
        if inside.is_empty() {
            return Err(bad(format!("the folder {shown} holds no .csv file")));
        }
        inside.sort();
        files.append(&mut inside);
    }
    if files.len() > FILES_MAX {
        return Err(bad(format!("limit replay_files_max exceeded: at most {FILES_MAX}")));
    }
    Ok(files)
}

/// The recordings of one device.
#[derive(Debug)]
struct Group {
    name: String,
    recordings: Vec<Recording>,
}

/// One group for a token or a device name; else one per folder.
fn group(arguments: &ReplayArguments, recordings: Vec<Recording>) -> anyhow::Result<Vec<Group>> {
    let has_token = arguments.device_token.is_some() || arguments.token_file.is_some();
    let common = match &arguments.device_name {
        Some(name) => Some(name.clone()),
        None => has_token.then(|| "replay".to_owned()),
    };
    let mut groups: BTreeMap<String, Vec<Recording>> = BTreeMap::new();
    for recording in recordings {
        let name = common.clone().unwrap_or_else(|| folder_name(&recording.file));
        groups.entry(name).or_default().push(recording);
    }
    let groups: Vec<Group> =
        groups.into_iter().map(|(name, recordings)| Group { name, recordings }).collect();
    for group in &groups {
        let mut keys = BTreeMap::new();
        for recording in &group.recordings {
            for key in &recording.keys {
                if let Some(other) = keys.insert(key, &recording.file) {
                    return Err(bad(format!(
                        "{} and {} both hold the key {key} of the device {}: give them different \
                         folders or replay them one by one with --key",
                        other.display(),
                        recording.file.display(),
                        group.name
                    )));
                }
            }
        }
    }
    Ok(groups)
}

/// The name of the folder a file lies in; the file's own when it has none.
fn folder_name(file: &Path) -> String {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let folder = absolute.parent().and_then(Path::file_name).or_else(|| file.file_stem());
    folder.map_or_else(|| "replay".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// A device that was made for a replay.
#[derive(Debug, Serialize)]
struct NewDevice {
    device_id: String,
    name: String,
    token: String,
}

async fn new_device(
    place: &Place,
    tenant: Option<TenantId>,
    name: &str,
) -> anyhow::Result<NewDevice> {
    // Recorded sensors say nothing of persons; whoever replays them says so by replaying.
    let declaration = Declaration::NonPersonal.as_str();
    let arguments = json!({
        "tenant": tenant, "name": name, "type": "recording", "declaration": declaration,
    });
    let facts = dispatch::ask(place, Request::new("create_device", arguments)).await.with_context(
        || format!("no device {name}: name another with --device-name, or give its token"),
    )?;
    let text = |key: &str| facts[key].as_str().map(str::to_owned).context("not a device");
    Ok(NewDevice { device_id: text("device_id")?, name: text("name")?, token: text("token")? })
}

fn given_token(arguments: &ReplayArguments) -> anyhow::Result<Option<Secret<String>>> {
    if let Some(token) = &arguments.device_token {
        return Ok(Some(Secret::new(token.trim().to_owned())));
    }
    let Some(path) = &arguments.token_file else { return Ok(None) };
    let text = String::from_utf8(read_small(path)?)
        .map_err(|_| anyhow::anyhow!("{} is not text", path.display()))?;
    let token = text.trim();
    if token.is_empty() {
        bail!("{} holds no token", path.display());
    }
    Ok(Some(Secret::new(token.to_owned())))
}

async fn replay(arguments: &ReplayArguments, groups: Vec<Group>) -> anyhow::Result<ExitCode> {
    let endpoint = endpoint(&target(arguments)?)?;
    let token = given_token(arguments)?;
    if token.is_none() && arguments.address.is_some() {
        return Err(bad("--address needs the device's token".to_owned()));
    }
    let mut devices = Vec::new();
    let mut streams = Vec::new();
    for Group { name, recordings } in groups {
        let token = match &token {
            Some(token) => token.clone(),
            None => {
                let device = new_device(&arguments.place.place, arguments.tenant, &name).await?;
                let token = Secret::new(device.token.clone());
                devices.push(device);
                token
            }
        };
        streams.push(Stream { name, token, recordings });
    }
    if !arguments.place.json {
        show_devices(&devices);
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let shutdown = CancellationToken::new();
    let context = ReplayContext { endpoint, clock, shutdown: shutdown.clone() };
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            shutdown.cancel();
        }
    });
    let outcomes = send(arguments, &context, &streams).await;
    report(arguments, &devices, &streams, &outcomes)
}

type Outcome = Result<Progress, ReplayError>;

/// Sends every stream; one that fails does not stop the others.
async fn send(
    arguments: &ReplayArguments,
    context: &ReplayContext,
    streams: &[Stream],
) -> Vec<Outcome> {
    let total = streams.iter().map(sent_of).sum();
    let bar = ProgressBar::new(total);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {pos}/{len} acknowledged  {per_sec}  {eta}")
    {
        bar.set_style(style);
    }
    let origin = first_moment(streams).unwrap_or(Timestamp::EPOCH);
    // A live replay has to send all streams side by side; a backfill need not.
    let at_once = if arguments.backfill { STREAMS_AT_ONCE } else { streams.len().max(1) };
    let work = streams.iter().map(|stream| {
        let bar = bar.clone();
        let mut before = 0;
        let progress = move |now: Progress| {
            bar.inc(now.acknowledged.saturating_sub(before));
            before = now.acknowledged;
        };
        async move {
            if arguments.backfill {
                replay::backfill(context, stream, progress).await
            } else {
                replay::live(context, stream, arguments.speed, origin, progress).await
            }
        }
    });
    let outcomes = futures::stream::iter(work).buffered(at_once).collect().await;
    bar.finish_and_clear();
    outcomes
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        replay: ReplayArguments,
    }

    fn parse(line: &str) -> ReplayArguments {
        Line::try_parse_from(format!("replay {line}").split(' ')).expect(line).replay
    }

    fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        std::fs::write(&path, text).expect("write");
        path
    }

    #[test]
    fn folders_are_devices_and_doubled_keys_are_refused() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let text = "date,value\n1569888000,20.5\n1569888360,21\n1569888360,22\n";
        write(dir.path(), "berlin/room.csv", text);
        write(dir.path(), "berlin/flow.csv", text);
        write(dir.path(), "north/room.csv", text);
        let shown = dir.path().display();
        let arguments = parse(&format!("--csv {shown}/berlin {shown}/north/room.csv --backfill"));
        let files = files(&arguments.csv).expect("files");
        assert_eq!(files.len(), 3);
        let read = || {
            let options = ReadOptions { key: None };
            files.iter().map(|file| read_csv(file, &options).expect("CSV")).collect::<Vec<_>>()
        };
        let groups = group(&arguments, read()).expect("groups");
        let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names, ["berlin", "north"]);
        let one = parse(&format!("--csv {shown}/berlin --device-name all"));
        let error = group(&one, read()).expect_err("doubled key").to_string();
        assert!(error.contains("both hold the key room"), "{error}");
    }

    #[test]
    fn missing_files_and_stopped_platforms_are_named() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let absent = files(&[dir.path().join("absent.csv")]).expect_err("absent");
        assert!(absent.is::<BadArguments>(), "{absent:#}");
        let empty = files(&[dir.path().to_owned()]).expect_err("empty folder").to_string();
        assert!(empty.contains("no .csv file"), "{empty}");
        let arguments = parse(&format!("--csv a.csv --data {}", dir.path().display()));
        let stopped = target(&arguments).err().expect("not running").to_string();
        assert!(stopped.contains("no platform runs on"), "{stopped}");
    }
}
