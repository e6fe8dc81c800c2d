//! `veritwin readings sql`: one statement, whose answer is printed as it comes.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use http_body_util::BodyExt;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::cli::remote::{Ask, RemoteArguments};

#[derive(Args, Debug, Clone)]
pub(in crate::cli) struct AskSql {
    /// One SELECT over the tables readings, latest and devices.
    statement: String,
    /// csv, json or arrow; `--json` is json.
    #[arg(
        long,
        value_name = "FORMAT",
        value_parser = ["csv", "json", "arrow"],
        default_value = "csv"
    )]
    format: String,
    #[command(flatten)]
    remote: RemoteArguments,
}

pub(super) async fn run(arguments: &AskSql) -> anyhow::Result<ExitCode> {
    let mut remote = arguments.remote.remote()?;
    let is_json = arguments.remote.place.json;
    let format = if is_json { "json" } else { arguments.format.as_str() };
    let body = json!({"query": arguments.statement, "format": format});
    let answer = remote.ask(&Ask::post("/v1/telemetry/sql", &body)).await?;
    let mut body = answer.into_body();
    let mut out = tokio::io::stdout();
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the answer broke off: what was printed is not all of it")?;
        let Ok(part) = frame.into_data() else { continue };
        // A closed pipe is the reader's choice, not an error.
        if out.write_all(&part).await.is_err() {
            return Ok(ExitCode::SUCCESS);
        }
    }
    // As above.
    let _closed = out.flush().await;
    Ok(ExitCode::SUCCESS)
}
