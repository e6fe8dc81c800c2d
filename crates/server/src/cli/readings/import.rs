//! `veritwin readings import`: each file is one import on the platform, which says how far it has
//! come. Rows that were refused are written beside the file, with their lines and why.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::Args;
use hyper::Method;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::json;
use veritwin_ingest::bulk::{FileForm, columns_of};

use super::pieces::{FilePiece, Pieces, fingerprint};
use super::plan::PlanArguments;
use crate::cli::commands::columns;
use crate::cli::remote::{Ask, Remote, RemoteArguments};
use crate::cli::{print, print_error, print_json};
use crate::imports::ImportPlan;

/// Most files of one command.
const FILES_MAX: usize = 1_000;
/// A piece that is not taken whole after so many times is not sent again.
const SENT_MAX: u32 = 1_000;

#[derive(Args, Debug, Clone)]
pub(in crate::cli) struct ImportReadings {
    /// Files of readings.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    plan: PlanArguments,
    /// Where refused rows are written; FILE.refused.ndjson by default.
    #[arg(long, value_name = "FILE")]
    refused: Option<PathBuf>,
    #[command(flatten)]
    remote: RemoteArguments,
}

/// How an import stands, as the platform says it.
#[derive(Deserialize)]
struct Import {
    id: String,
    state: String,
    next_piece: u64,
    rows_taken: u64,
    rows: u64,
    readings: u64,
    refused: u64,
}

/// A row that was refused.
#[derive(Serialize, Deserialize)]
struct Refused {
    row: u64,
    column: u64,
    detail: String,
    /// What stands there, as far as it is one line of text.
    #[serde(skip_deserializing)]
    line: Option<String>,
}

#[derive(Deserialize)]
struct RefusedPage {
    items: Vec<Refused>,
    next_cursor: Option<String>,
}

/// What became of a file.
#[derive(Serialize)]
pub(in crate::cli) struct Imported {
    file: String,
    import: String,
    rows: u64,
    pub(in crate::cli) readings: u64,
    pub(in crate::cli) refused: u64,
    pub(in crate::cli) refused_file: Option<String>,
    /// It had been imported before: nothing was sent.
    was_done: bool,
}

fn bar(bytes: u64, name: String) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    if let Ok(style) =
        ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
    {
        bar.set_style(style);
    }
    bar.set_message(name);
    bar
}

pub(super) async fn run(arguments: &ImportReadings) -> anyhow::Result<ExitCode> {
    ensure!(
        arguments.files.len() <= FILES_MAX,
        "limit import_files_max exceeded: at most {FILES_MAX}"
    );
    ensure!(
        arguments.refused.is_none() || arguments.files.len() == 1,
        "--refused is for one file, and there are {}",
        arguments.files.len()
    );
    let mut remote = arguments.remote.remote()?;
    let mut done = Vec::new();
    for file in &arguments.files {
        let imported = import(arguments, &mut remote, file).await;
        done.push(imported.with_context(|| file.display().to_string())?);
    }
    let refused: u64 = done.iter().map(|one| one.refused).sum();
    if arguments.remote.place.json {
        print_json(&json!({"files": done}))?;
    } else {
        show(&done);
    }
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(done: &[Imported]) {
    let header = ["file", "rows", "readings stored", "rows refused", ""];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for one in done {
        let note = match (&one.refused_file, one.was_done) {
            (Some(file), _) => format!("see {file}"),
            (None, true) => "imported before".to_owned(),
            (None, false) => String::new(),
        };
        let numbers = [one.rows, one.readings, one.refused].map(|number| number.to_string());
        let [seen, stored, refused] = numbers;
        rows.push(vec![one.file.clone(), seen, stored, refused, note]);
    }
    print(&columns(&rows));
}

async fn import(
    arguments: &ImportReadings,
    remote: &mut Remote,
    path: &Path,
) -> anyhow::Result<Imported> {
    let form = arguments.plan.form(path)?;
    let delimiter = arguments.plan.delimiter(path).and_then(|text| text.bytes().next());
    let delimiter = delimiter.unwrap_or(b',');
    let head = Pieces::open(path, form, delimiter)?.next()?;
    let head = head.map(|piece| piece.body).unwrap_or_default();
    let names = columns_of(form, delimiter, &head).map_err(|error| anyhow::anyhow!("{error}"))?;
    let plan = arguments.plan.plan(path, names)?;
    import_file(remote, (path, form), &plan, arguments.refused.clone()).await
}

/// Sends the pieces that the platform does not have yet.
async fn send_pieces(
    remote: &mut Remote,
    mut state: Import,
    mut pieces: Pieces,
    bar: &ProgressBar,
) -> anyhow::Result<Import> {
    let mut number = 0;
    while let Some(piece) = pieces.next()? {
        let length = piece.body.len() as u64;
        if number >= state.next_piece {
            state = send(remote, &state.id, (number, piece)).await?;
        }
        bar.inc(length);
        number += 1;
    }
    Ok(state)
}

/// Imports a file by a plan; where it is imported already, nothing is sent.
pub(in crate::cli) async fn import_file(
    remote: &mut Remote,
    (path, form): (&Path, FileForm),
    plan: &ImportPlan,
    refused: Option<PathBuf>,
) -> anyhow::Result<Imported> {
    let (fingerprint, bytes) = fingerprint(path)?;
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
    let body = json!({"name": name, "digest": fingerprint, "plan": plan});
    let mut state: Import = remote.json(&Ask::post("/v1/imports", &body)).await?;
    let was_done = state.state == "done";
    let bar = bar(bytes, name);
    if !was_done {
        state =
            send_pieces(remote, state, Pieces::open(path, form, plan.delimiter()?)?, &bar).await?;
    }
    bar.finish_and_clear();
    ensure!(state.state == "done", "the import is {}: start it again to go on", state.state);
    let refused_file = match state.refused {
        0 => None,
        _ => Some(write_refused(refused, remote, (path, form), &state).await?),
    };
    Ok(Imported {
        file: path.display().to_string(),
        import: state.id,
        rows: state.rows,
        readings: state.readings,
        refused: state.refused,
        refused_file,
        was_done,
    })
}

/// Sends a piece, as often as it takes until all of it was taken.
async fn send(
    remote: &mut Remote,
    id: &str,
    (number, piece): (u64, FilePiece),
) -> anyhow::Result<Import> {
    let path = format!("/v1/imports/{id}/piece?number={number}&last={}", piece.is_last);
    let (mut sent, mut taken) = (0, None);
    loop {
        let ask = Ask {
            method: Method::PUT,
            path: &path,
            content_type: "application/octet-stream",
            body: piece.body.clone(),
            header: None,
        };
        let state: Import = remote.json(&ask).await?;
        if state.next_piece > number {
            return Ok(state);
        }
        sent += 1;
        let is_stuck = taken == Some(state.rows_taken);
        if is_stuck || sent >= SENT_MAX {
            bail!("piece {number} does not go on: the platform took {} rows", state.rows_taken);
        }
        taken = Some(state.rows_taken);
    }
}

/// Writes the refused rows, each as it stands in the file and with what is wrong.
async fn write_refused(
    given: Option<PathBuf>,
    remote: &mut Remote,
    (path, form): (&Path, FileForm),
    state: &Import,
) -> anyhow::Result<String> {
    let out = given.unwrap_or_else(|| {
        let mut name = path.as_os_str().to_owned();
        name.push(".refused.ndjson");
        PathBuf::from(name)
    });
    let shown = out.display().to_string();
    let mut options = OpenOptions::new();
    // They hold the rows as they stand: nobody else reads them here.
    options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(&out).with_context(|| format!("cannot write {shown}"))?;
    let mut writer = BufWriter::new(file);
    let mut lines = match form {
        FileForm::Parquet => None,
        _ => Some(Lines { reader: BufReader::new(File::open(path)?), line: 0 }),
    };
    let (mut cursor, mut written) = (String::new(), 0u64);
    loop {
        let asked = format!("/v1/imports/{}/refused{cursor}", state.id);
        let page: RefusedPage = remote.json(&Ask::get(&asked)).await?;
        for mut refused in page.items {
            if let Some(lines) = &mut lines {
                refused.line = lines.at(refused.row)?;
            }
            serde_json::to_writer(&mut writer, &refused)?;
            writer.write_all(b"\n")?;
            written += 1;
        }
        match page.next_cursor {
            Some(next) => cursor = format!("?cursor={next}"),
            None => break,
        }
    }
    writer.flush()?;
    if written < state.refused {
        print_error(&format!(
            "{shown} holds the first {written} of {} refused rows: the platform keeps no more",
            state.refused
        ));
    }
    Ok(shown)
}

/// The lines of a file, gone through once.
struct Lines {
    reader: BufReader<File>,
    line: u64,
}

impl Lines {
    /// The line with this number, which is no smaller than any asked for before.
    fn at(&mut self, number: u64) -> anyhow::Result<Option<String>> {
        let mut bytes = Vec::new();
        while self.line < number {
            bytes.clear();
            if self.reader.read_until(b'\n', &mut bytes)? == 0 {
                return Ok(None);
            }
            self.line += 1;
        }
        let text = String::from_utf8_lossy(&bytes);
        Ok((!bytes.is_empty()).then(|| text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}
