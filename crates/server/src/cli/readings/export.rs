//! `veritwin readings export`: written beside its name and moved there when it is whole.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;
use http_body_util::BodyExt;
use serde_json::json;
use tokio::fs::{File, OpenOptions, rename};
use tokio::io::AsyncWriteExt;
use veritwin_domain::{DeviceId, Timestamp};
use veritwin_ingest::bulk::FileForm;

use super::plan::{form_of, parse_form};
use crate::cli::commands::spinner;
use crate::cli::remote::{Ask, RemoteArguments, restricted_in};
use crate::cli::{BadArguments, print, print_json};

#[derive(Args, Debug, Clone)]
pub(in crate::cli) struct ExportReadings {
    /// The file to write.
    out: PathBuf,
    /// csv, ndjson, line_protocol or parquet; by default the file's name says it.
    #[arg(long, value_name = "FORMAT", value_parser = parse_form)]
    format: Option<FileForm>,
    /// A device; may be given several times. All that the key may read by default.
    #[arg(long = "device", value_name = "ID")]
    devices: Vec<DeviceId>,
    /// A series; may be given several times. All by default.
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// From this time on, RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<Timestamp>,
    /// Before this time, RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: Option<Timestamp>,
    #[command(flatten)]
    remote: RemoteArguments,
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text).map_err(|error| error.to_string())
}

pub(super) async fn run(arguments: &ExportReadings) -> anyhow::Result<ExitCode> {
    let shown = arguments.out.display().to_string();
    let form = arguments
        .format
        .or_else(|| form_of(&arguments.out))
        .ok_or_else(|| BadArguments(format!("{shown}: its name tells no form: give --format")))?;
    ensure!(!arguments.out.exists(), "{shown} is there already");
    let mut remote = arguments.remote.remote()?;
    let mut body = json!({"format": form.as_str()});
    if !arguments.devices.is_empty() {
        body["device_ids"] = json!(arguments.devices);
    }
    if !arguments.keys.is_empty() {
        body["keys"] = json!(arguments.keys);
    }
    for (name, at) in [("from", arguments.from), ("to", arguments.to)] {
        if let Some(at) = at {
            body[name] = json!(at.to_string());
        }
    }
    let answer = remote.ask(&Ask::post("/v1/telemetry/export", &body)).await?;
    let mut beside = arguments.out.as_os_str().to_owned();
    beside.push(".part");
    let beside = PathBuf::from(beside);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    // Readings may be personal: nobody else reads them here.
    options.mode(0o600);
    let file = options.open(&beside).await;
    let mut file: File = file.with_context(|| format!("cannot write {}", beside.display()))?;
    let bar = spinner(format!("exporting to {shown}"));
    let restricted = restricted_in(answer.headers());
    let mut body = answer.into_body();
    let mut bytes = 0u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the export broke off: nothing was kept of it")?;
        if let Ok(part) = frame.into_data() {
            bytes += part.len() as u64;
            file.write_all(&part).await?;
        }
    }
    file.sync_all().await?;
    rename(&beside, &arguments.out).await?;
    bar.finish_and_clear();
    if arguments.remote.place.json {
        print_json(&json!({
            "file": shown,
            "format": form.as_str(),
            "bytes": bytes,
            "series_restricted": restricted,
        }))?;
    } else {
        print(&format!("{shown}: {bytes} bytes"));
        if restricted > 0 {
            print(&format!("left out: {restricted} series that people limited the use of"));
        }
    }
    Ok(ExitCode::SUCCESS)
}
