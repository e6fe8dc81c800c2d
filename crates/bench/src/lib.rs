//! The benchmarks behind `veritwin bench`: of a running platform as its client, and of the engines
//! in directories of their own; beside a peer where one is installed. They print what they measure
//! and judge nothing.

mod cell;
mod cells;
mod entry;
mod fair;
mod influx;
mod ledger;
mod mosquitto;
mod mqtt;
mod process;
mod shape;
mod telemetry;

pub use cell::{Cell, Qos};
pub use cells::{CellOptions, cell};
pub use entry::{Better, Entry, Peer, table};
pub use fair::{FairOptions, fair};
pub use influx::INFLUXD;
pub use ledger::{LedgerOptions, ledger};
pub use mosquitto::{MOSQUITTO, PeerCertificate};
pub use process::cpu_seconds_of_tree;
pub use shape::vehicle_lines;
pub use telemetry::{
    TelemetryOptions, TelemetryPart, active_series, active_series_entries, telemetry,
};
