//! A whole tenant as a folder: written from a platform's REST interface with an API key, so that
//! nobody takes away what they may not read, and read into another one the same way.

mod export;
mod folder;
mod import;
mod later;
mod lists;
mod report;

pub(super) use export::{ExportArguments, run as export};
pub(super) use import::run as import;

/// Shown below `--help`.
pub(super) const EXPORT_EXAMPLE: &str =
    "Example: veritwin export ./acme --api-key-file key --address iot.example:8443 --ca ca.pem";
