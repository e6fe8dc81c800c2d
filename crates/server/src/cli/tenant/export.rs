//! `veritwin export`: everything of a tenant that the key may read, without a secret, since the
//! REST interface gives none away. Killed, the same command goes on with the file that is next.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use veritwin_domain::{Clock, SystemClock, TenantId};

use super::folder::{Manifest, Writing, WritingFile};
use super::lists::{LISTS, text, walk};
use crate::cli::commands::{columns, spinner};
use crate::cli::remote::{Ask, Remote, RemoteArguments, restricted_in, whole};
use crate::cli::{BadArguments, print, print_json};

#[derive(Args, Debug, Clone)]
pub(in crate::cli) struct ExportArguments {
    /// A new folder.
    out: PathBuf,
    /// The tenant that is meant: another one's key is refused.
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    /// Leaves the readings out.
    #[arg(long)]
    without_readings: bool,
    #[command(flatten)]
    remote: RemoteArguments,
}

fn now() -> String {
    SystemClock::new().now().to_string()
}

/// `veritwin export`
pub(in crate::cli) async fn run(arguments: &ExportArguments) -> anyhow::Result<ExitCode> {
    let mut remote = arguments.remote.remote()?;
    let own: Value = remote.json(&Ask::get("/v1/tenants?limit=1")).await?;
    let tenant = own["items"].get(0).cloned().context("the platform names no tenant")?;
    if arguments.tenant.is_some_and(|wanted| wanted.to_string() != text(&tenant, "id")) {
        let detail = format!("the key is of the tenant {}", text(&tenant, "id"));
        return Err(BadArguments(detail).into());
    }
    let begin = Ask::post("/v1/tenant-exports", &Value::Null);
    remote.ask(&begin).await.context("the key may not export the tenant")?;
    let mut writing = Writing::open(&arguments.out, Manifest::new(&tenant, now()))?;
    let bar = spinner("exporting".to_owned());
    for (name, path) in LISTS.iter().copied() {
        list(&mut remote, &mut writing, &bar, (name, path)).await?;
    }
    of_each(&mut remote, &mut writing, &bar, &ATTRIBUTES).await?;
    of_each(&mut remote, &mut writing, &bar, &CREDENTIALS).await?;
    of_each(&mut remote, &mut writing, &bar, &PROFILE_DEVICES).await?;
    twins(&mut remote, &mut writing, &bar).await?;
    if arguments.without_readings {
        writing.leave_out("readings", "asked for without them".to_owned());
    } else {
        bar.set_message("readings");
        readings(&mut remote, &mut writing).await?;
    }
    let payloads = "payloads of packages are not read back: keep what they were made from";
    writing.leave_out("packages", payloads.to_owned());
    writing.leave_out("ledger", "see `veritwin ledger export`".to_owned());
    let manifest = writing.end(now())?;
    bar.finish_and_clear();
    show(arguments, &manifest)?;
    Ok(ExitCode::SUCCESS)
}

fn show(arguments: &ExportArguments, manifest: &Manifest) -> anyhow::Result<()> {
    if arguments.remote.place.json {
        return print_json(manifest);
    }
    let mut rows = vec![["file", "things", "bytes"].map(str::to_owned).to_vec()];
    rows.extend(manifest.files.iter().map(|file| {
        let items = file.items.map(|items| items.to_string()).unwrap_or_default();
        vec![file.path.clone(), items, file.bytes.to_string()]
    }));
    print(&columns(&rows));
    for left_out in &manifest.left_out {
        print(&format!("left out: {}: {}", left_out.what, left_out.why));
    }
    Ok(())
}

/// A list as a file; one that may not be read is left out by name.
async fn list(
    remote: &mut Remote,
    writing: &mut Writing,
    bar: &ProgressBar,
    (name, path): (&str, &str),
) -> anyhow::Result<()> {
    let Some(mut file) = writing.begin(&format!("{name}.ndjson"))? else { return Ok(()) };
    bar.set_message(name.to_owned());
    let mut items = 0;
    let walked = walk(remote, path, |item| {
        items += 1;
        file.line(&item)
    })
    .await?;
    match walked {
        Ok(()) => writing.finish(file, Some(items)),
        Err(why) => {
            file.discard();
            writing.leave_out(name, why);
            Ok(())
        }
    }
}

/// Something that is asked for each thing of a list.
struct OfEach {
    /// The file, without its end.
    name: &'static str,
    /// The list of the things.
    of: &'static str,
    /// What comes before and behind the id.
    path: (&'static str, &'static str),
    /// What the id is called.
    id: &'static str,
}

const ATTRIBUTES: OfEach = OfEach {
    name: "attributes",
    of: "devices",
    path: ("/v1/devices/", "/attributes"),
    id: "device_id",
};
const CREDENTIALS: OfEach = OfEach {
    name: "credentials",
    of: "devices",
    path: ("/v1/devices/", "/credentials"),
    id: "device_id",
};
const PROFILE_DEVICES: OfEach = OfEach {
    name: "device-profile-devices",
    of: "device-profiles",
    path: ("/v1/device-profiles/", "/devices"),
    id: "profile_id",
};

async fn of_each(
    remote: &mut Remote,
    writing: &mut Writing,
    bar: &ProgressBar,
    what: &OfEach,
) -> anyhow::Result<()> {
    let list = format!("{}.ndjson", what.of);
    if writing.manifest.file(&list).is_none() {
        return Ok(());
    }
    let Some(mut file) = writing.begin(&format!("{}.ndjson", what.name))? else { return Ok(()) };
    bar.set_message(what.name);
    let (mut rows, mut items) = (writing.rows(&list)?, 0);
    while let Some(row) = rows.next()? {
        let id = text(&row, "id").to_owned();
        let path = format!("{}{id}{}", what.path.0, what.path.1);
        let answer = match remote.see(&Ask::get(&path)).await? {
            Ok(answer) => answer,
            // It is gone by now, or may not be read.
            Err(why) => {
                writing.leave_out(&format!("{} of {id}", what.name), why);
                continue;
            }
        };
        let found: Value = serde_json::from_slice(&whole(answer).await?)?;
        let mut line = json!({});
        match found {
            Value::Object(members) => line = Value::Object(members),
            other => line["items"] = other,
        }
        line[what.id] = json!(id);
        file.line(&line)?;
        items += 1;
    }
    writing.finish(file, Some(items))
}

/// Sources and geometry of twins.
async fn twins(
    remote: &mut Remote,
    writing: &mut Writing,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    if writing.manifest.file("twins.ndjson").is_none() {
        return Ok(());
    }
    let mut rows = writing.rows("twins.ndjson")?;
    while let Some(twin) = rows.next()? {
        let id = text(&twin, "id").to_owned();
        bar.set_message(format!("twin {}", text(&twin, "name")));
        let has_geometry = text(&twin, "geometry") != "none";
        let parts = [("source", "source.ifc", true), ("geometry", "geometry.glb", has_geometry)];
        for (part, name, is_there) in parts {
            let path = format!("twins/{id}/{name}");
            let Some(file) = (if is_there { writing.begin(&path)? } else { None }) else {
                continue;
            };
            match remote.see(&Ask::get(&format!("/v1/twins/{id}/{part}"))).await? {
                Ok(answer) => download(answer, file, writing).await?,
                Err(why) => {
                    file.discard();
                    writing.leave_out(&path, why);
                }
            }
        }
    }
    Ok(())
}

async fn download(
    answer: Response<Incoming>,
    mut file: WritingFile,
    writing: &mut Writing,
) -> anyhow::Result<()> {
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        if let Ok(part) = frame.context("a download broke off")?.into_data() {
            file.write(&part)?;
        }
    }
    writing.finish(file, None)
}

async fn readings(remote: &mut Remote, writing: &mut Writing) -> anyhow::Result<()> {
    let Some(file) = writing.begin("readings.csv")? else { return Ok(()) };
    let body = json!({"format": "csv"});
    match remote.see(&Ask::post("/v1/telemetry/export", &body)).await? {
        Ok(answer) => {
            let is_csv = answer.headers().get("content-type").is_some();
            ensure!(is_csv, "the platform sends no file");
            let restricted = restricted_in(answer.headers());
            if restricted > 0 {
                let why = "people limited what is done with these: they are not taken elsewhere";
                writing.leave_out(&format!("readings of {restricted} series"), why.to_owned());
            }
            download(answer, file, writing).await
        }
        Err(why) => {
            file.discard();
            writing.leave_out("readings", why);
            Ok(())
        }
    }
}
