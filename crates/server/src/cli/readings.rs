//! `veritwin readings`: readings with their own times in from files, and out into a file, through
//! the REST interface of a platform. Stopped at any moment, the same command goes on.

mod export;
mod import;
mod pieces;
mod plan;

use std::process::ExitCode;

use clap::Subcommand;

use super::commands::block_on;

pub(super) use import::import_file;

/// Shown below `--help`.
pub(super) const EXAMPLES: &str = "Examples:
  veritwin readings import hall.csv --device Hall --time-column date --api-key-file key
  veritwin readings export hall.parquet --device ID --from 2026-01-01T00:00:00Z --api-key-file key";

const IMPORT_EXAMPLES: &str = "Examples:
  veritwin readings import hall.csv --device Hall --time-column date \\
      --time-format local --time-zone Europe/Berlin --api-key-file key
  veritwin readings import plant.parquet --device-column machine --time-column ts \\
      --value temp=temperature --value rpm --address iot.example:8443 --ca ca.pem
  veritwin readings import export.csv        (a file that was exported needs no more)";

const EXPORT_EXAMPLES: &str = "Example: veritwin readings export january.parquet \\
      --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z --key temperature";

#[derive(Subcommand)]
pub(super) enum ReadingsCommand {
    /// Brings readings in, with the times that their files say. Exit 1 where a row was refused.
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(Box<import::ImportReadings>),
    /// Takes readings away as CSV, NDJSON, line protocol or Parquet; the name decides.
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(Box<export::ExportReadings>),
}

pub(super) fn run(command: &ReadingsCommand) -> anyhow::Result<ExitCode> {
    match command {
        ReadingsCommand::Import(arguments) => block_on(import::run(arguments)),
        ReadingsCommand::Export(arguments) => block_on(export::run(arguments)),
    }
}
