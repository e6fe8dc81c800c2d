//! Imports and exports of readings.

use veritwin_domain::{DeviceId, ImportId, Key, Reading, Timestamp};

use super::{PointView, SeriesId};

/// A new import.
#[derive(Debug, Clone)]
pub struct ImportInput {
    /// What the file is called.
    pub name: String,
    /// What tells this file from others; with the plan it says which import this is.
    pub digest: String,
    /// How it is read, in a form of the caller's.
    pub plan: String,
}

/// How an import stands.
#[derive(Debug, Clone)]
pub struct ImportView {
    /// Its id.
    pub id: ImportId,
    /// What the file is called.
    pub name: String,
    /// How it is read, in a form of the caller's.
    pub plan: String,
    /// `open`, `done` or `cancelled`.
    pub state: &'static str,
    /// The piece that is next, from 0.
    pub piece: u64,
    /// Rows of that piece that were taken.
    pub rows_taken: u64,
    /// Lines, or rows, of the file before that piece.
    pub rows_before: u64,
    /// Rows that were looked at.
    pub rows: u64,
    /// Readings that were stored.
    pub readings: u64,
    /// Rows that were refused.
    pub refused: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When something of it was taken last.
    pub updated_at: Timestamp,
    /// When it was done or cancelled.
    pub ended_at: Option<Timestamp>,
}

/// A row that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportRefusedRow {
    /// Where it stands in the file, from 1.
    pub row: u64,
    /// The column, from 1; 0 is none.
    pub column: u64,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// Some rows of a piece, which become durable together.
#[derive(Debug, Clone, Default)]
pub struct ImportStep {
    /// The readings by device.
    pub batches: Vec<(DeviceId, Vec<Reading>)>,
    /// Rows that were looked at.
    pub rows: u64,
    /// Rows that were refused.
    pub refused: Vec<ImportRefusedRow>,
    /// Lines, or rows, of the whole piece, where it ends with this step.
    pub ends_piece: Option<u64>,
    /// Whether the file ends with this step.
    pub ends_file: bool,
}

/// Which readings leave.
#[derive(Debug, Clone)]
pub struct ExportQuery {
    /// Devices; all that the actor may see when not given.
    pub devices: Option<Vec<DeviceId>>,
    /// Series of them; all when not given.
    pub keys: Option<Vec<Key>>,
    /// From, inclusive.
    pub from: Timestamp,
    /// To, exclusive.
    pub to: Timestamp,
    /// What is written, for the record.
    pub format: &'static str,
}

/// A series that leaves, with its device's name.
#[derive(Debug, Clone)]
pub struct ExportSeries {
    /// Which.
    pub series: SeriesId,
    /// The device's name.
    pub device: String,
}

/// What an export takes away.
#[derive(Debug, Clone)]
pub struct ExportBegun {
    /// The series that leave.
    pub series: Vec<ExportSeries>,
    /// How many stay because the person whom they are about limited what is done with them.
    pub restricted: usize,
}

/// Points of a series that leave, and where to go on.
#[derive(Debug, Clone)]
pub struct ExportPage {
    /// The points, oldest first.
    pub points: Vec<PointView>,
    /// From where the next ones are; none: that was all.
    pub next: Option<Timestamp>,
}
