//! Imports of readings: how a file is read, as clients write it, and what becomes of a piece of it.
//! A piece is taken step by step; each step is durable before the import moves on.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use veritwin_app::model::{ImportRefusedRow, ImportStep, ImportView};
use veritwin_app::{App, Error};
use veritwin_domain::{DeviceId, ImportId, IngestLimits, OpContext};
use veritwin_ingest::bulk::{
    BulkError, COLUMN_BYTES_MAX, DeviceFrom, FILE_COLUMNS_MAX, FileForm, FileMapping, FileRules,
    Piece, PieceReader, Precision, RefusedRow, Step, TimeForm, ValueColumn, ValueKind, ValuesFrom,
    lines_of,
};

/// Longest piece of text, in bytes.
pub(crate) const TEXT_PIECE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Longest Parquet file, in bytes: it is one piece.
pub(crate) const PARQUET_PIECE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// After so long a piece is left where it is, and its sender goes on with it.
const PIECE_TIME: Duration = Duration::from_secs(20);

/// A column of values.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ImportColumn {
    pub(crate) column: String,
    /// The key of its series; the column's name when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// `auto` (the default), `double`, `integer`, `boolean`, `text` or `json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
}

/// How a file is read. NDJSON and line protocol name devices, keys and times themselves.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ImportPlan {
    /// `csv`, `ndjson`, `line_protocol` or `parquet`.
    pub(crate) format: String,
    /// The header of a CSV file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) columns: Vec<String>,
    /// What stands between the columns of a CSV file: `,` (the default), `;`, `|` or a tab.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delimiter: Option<String>,
    /// The name or id of the device whose all rows are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<String>,
    /// The column that names the device of each row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device_column: Option<String>,
    /// The column of the times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time_column: Option<String>,
    /// `rfc3339` (the default), `s`, `ms`, `us`, `ns` or `local`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time_format: Option<String>,
    /// Of local times: a name of the IANA database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time_zone: Option<String>,
    /// Of local times: how they are written, such as `%d.%m.%Y %H:%M`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time_pattern: Option<String>,
    /// The columns of values; every other one when not given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) values: Vec<ImportColumn>,
    /// The column of the keys, where each row is one value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_column: Option<String>,
    /// The columns of that value: the first that holds one counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) value_columns: Vec<String>,
    /// The column that says which kind each value is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind_column: Option<String>,
    /// The column of `good`, `uncertain`, `bad` or `simulated`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) quality_column: Option<String>,
    /// The unit of the times in line protocol: `ns` (the default), `us`, `ms` or `s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) precision: Option<String>,
}

fn wrong(at: &str, detail: impl Into<String>) -> Error {
    Error::invalid_at(format!("plan.{at}"), detail)
}

impl ImportPlan {
    /// What it means, or what is wrong with it.
    pub(crate) fn mapping(&self) -> Result<FileMapping, Error> {
        let form = FileForm::parse(&self.format)
            .ok_or_else(|| wrong("format", "must be csv, ndjson, line_protocol or parquet"))?;
        let is_table = matches!(form, FileForm::Csv | FileForm::Parquet);
        if self.columns.len() > FILE_COLUMNS_MAX
            || self.columns.iter().any(|name| name.len() > COLUMN_BYTES_MAX)
        {
            let detail =
                format!("at most {FILE_COLUMNS_MAX} names of {COLUMN_BYTES_MAX} bytes each");
            return Err(wrong("columns", detail));
        }
        if form == FileForm::Csv && self.columns.is_empty() {
            return Err(wrong("columns", "needs the header of the file"));
        }
        let precision = self.precision.as_deref().map_or(Ok(Precision::default()), str::parse);
        let time = TimeForm::parse(
            self.time_format.as_deref().unwrap_or("rfc3339"),
            self.time_zone.as_deref(),
            self.time_pattern.as_deref(),
        );
        Ok(FileMapping {
            form,
            delimiter: self.delimiter()?,
            device: self.device(is_table)?,
            time_column: match &self.time_column {
                Some(column) => column.clone(),
                None if is_table => {
                    return Err(wrong("time_column", "needs the column of the times"));
                }
                None => String::new(),
            },
            time: time.map_err(|detail| wrong("time_format", detail))?,
            values: self.values()?,
            quality_column: self.quality_column.clone(),
            precision: precision.map_err(|detail: &str| wrong("precision", detail))?,
        })
    }

    /// What stands between the columns.
    pub(crate) fn delimiter(&self) -> Result<u8, Error> {
        match self.delimiter.as_deref() {
            None | Some(",") => Ok(b','),
            Some(";") => Ok(b';'),
            Some("|") => Ok(b'|'),
            Some("\t") => Ok(b'\t'),
            Some(_) => Err(wrong("delimiter", "must be a comma, a semicolon, | or a tab")),
        }
    }

    fn device(&self, is_table: bool) -> Result<DeviceFrom, Error> {
        match (&self.device, &self.device_column) {
            (Some(name), None) => Ok(DeviceFrom::Named(name.clone())),
            (None, Some(column)) => Ok(DeviceFrom::Column(column.clone())),
            (None, None) if !is_table => Ok(DeviceFrom::Named(String::new())),
            _ => Err(wrong("device", "needs a device, or the column that names one, not both")),
        }
    }

    fn values(&self) -> Result<ValuesFrom, Error> {
        if let Some(key) = &self.key_column {
            if self.value_columns.is_empty() {
                return Err(wrong("value_columns", "needs the column of the values"));
            }
            let (key, values) = (key.clone(), self.value_columns.clone());
            return Ok(ValuesFrom::Pairs { key, values, kind: self.kind_column.clone() });
        }
        if self.values.is_empty() {
            return Ok(ValuesFrom::Others);
        }
        let column = |one: &ImportColumn| {
            let kind = one.kind.as_deref().unwrap_or("auto");
            let kind = ValueKind::parse(kind).ok_or_else(|| {
                wrong("values", "kind must be auto, double, integer, boolean, text or json")
            })?;
            let key = one.key.clone().unwrap_or_else(|| one.column.clone());
            Ok(ValueColumn { column: one.column.clone(), key, kind })
        };
        let columns = self.values.iter().map(column).collect::<Result<Vec<_>, Error>>()?;
        Ok(ValuesFrom::Columns(columns))
    }
}

/// The plan of an import, as it was written.
pub(crate) fn plan_of(view: &ImportView) -> Result<ImportPlan, Error> {
    serde_json::from_str(&view.plan)
        .map_err(|error| Error::Internal(format!("an import's plan cannot be read: {error}")))
}

/// A piece of a file, as it came.
pub(crate) struct SentPiece {
    /// Its number, from 0.
    pub(crate) number: u64,
    pub(crate) body: Bytes,
    /// Nothing follows.
    pub(crate) is_last: bool,
}

/// What is wrong with a piece as a whole.
pub(crate) fn refused_piece(error: &BulkError) -> Error {
    match &error.limit {
        Some(limit) => Error::Limit(limit.clone()),
        None => Error::invalid(error.to_string()),
    }
}

fn stopped() -> Error {
    Error::Internal("reading a piece stopped".to_owned())
}

/// Takes a piece of an import, or as much of it as there is time for: then its sender sends it
/// again. One that was taken before changes nothing.
pub(crate) async fn take_piece(
    app: &App,
    limits: &IngestLimits,
    context: &OpContext,
    (id, piece): (ImportId, SentPiece),
) -> Result<ImportView, Error> {
    let mut view = app.import(context, id).await?;
    if piece.number < view.piece {
        return Ok(view);
    }
    if piece.number > view.piece {
        let detail = format!("piece {} is next, and this is {}", view.piece, piece.number);
        return Err(Error::Conflict(detail));
    }
    if view.state != "open" {
        return Err(Error::Conflict(format!(
            "the import is {}: it takes nothing more",
            view.state
        )));
    }
    let began = app.clock().monotonic();
    let plan = plan_of(&view)?;
    let mapping = plan.mapping()?;
    let is_table_file = mapping.form == FileForm::Parquet;
    let lines = if is_table_file { None } else { Some(lines_of(&piece.body)) };
    let rules = FileRules::new(*limits, app.screening());
    let given = Piece {
        body: piece.body,
        header: plan.columns,
        is_first: piece.number == 0,
        before: view.rows_before,
        rows_taken: view.rows_taken,
    };
    let opened = tokio::task::spawn_blocking(move || PieceReader::open(mapping, rules, given));
    let mut reader = opened.await.map_err(|_| stopped())?.map_err(|error| refused_piece(&error))?;
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let step = reader.step();
            (reader, step)
        });
        let (back, step) = read.await.map_err(|_| stopped())?;
        reader = back;
        let step = step.map_err(|error| refused_piece(&error))?;
        let is_end = step.is_end;
        let mut taken = resolve(app, context, step).await?;
        if is_end {
            let rows = view.rows_taken + taken.rows;
            taken.ends_piece = Some(lines.unwrap_or(rows));
            taken.ends_file = piece.is_last;
        }
        view = app.take_import_step(context, &view, taken).await?;
        let is_late = app.clock().monotonic().saturating_sub(began) >= PIECE_TIME;
        if is_end || is_late {
            return Ok(view);
        }
    }
}

fn refused_row(row: RefusedRow) -> ImportRefusedRow {
    let RefusedRow { row, column, detail } = row;
    ImportRefusedRow { row, column, detail }
}

/// A step with devices instead of names; the rows of those that are not known are refused.
async fn resolve(app: &App, context: &OpContext, step: Step) -> Result<ImportStep, Error> {
    let names: Vec<String> =
        step.devices.iter().map(|rows| rows.device.clone().unwrap_or_default()).collect();
    let found = app.devices_to_write(context, &names).await?;
    let mut refused: Vec<ImportRefusedRow> = step.refused.into_iter().map(refused_row).collect();
    let is_known = |place: usize| found.get(place).copied().flatten().is_some();
    refused.extend(step.rows_of.into_iter().filter(|(place, _)| !is_known(*place)).map(
        |(_, row)| {
            ImportRefusedRow {
                row,
                column: 0,
                detail:
                    "unknown device: expected the name or id of a device that you may write for"
                        .to_owned(),
            }
        },
    ));
    refused.sort_by_key(|refused| refused.row);
    let known = found.iter().zip(step.devices);
    let batches: Vec<(DeviceId, Vec<_>)> =
        known.filter_map(|(device, rows)| Some(((*device)?, rows.readings))).collect();
    Ok(ImportStep { batches, rows: step.rows, refused, ends_piece: None, ends_file: false })
}

/// What a plan makes of the beginning of a file.
pub(crate) struct Preview {
    pub(crate) columns: Vec<String>,
    pub(crate) step: Step,
    /// Which of the step's devices may be written for.
    pub(crate) known: Vec<bool>,
}

/// Reads the beginning of a file and stores nothing of it.
pub(crate) async fn preview(
    app: &App,
    limits: &IngestLimits,
    context: &OpContext,
    (plan, body): (ImportPlan, Bytes),
) -> Result<Preview, Error> {
    let form = FileForm::parse(&plan.format)
        .ok_or_else(|| wrong("format", "must be csv, ndjson, line_protocol or parquet"))?;
    let delimiter = plan.delimiter()?;
    let rules = FileRules::new(*limits, app.screening());
    let read = tokio::task::spawn_blocking(move || {
        let columns = veritwin_ingest::bulk::columns_of(form, delimiter, &body)
            .map_err(|error| refused_piece(&error))?;
        let is_table = matches!(form, FileForm::Csv | FileForm::Parquet);
        if is_table && plan.time_column.is_none() {
            return Ok((columns, Step::default()));
        }
        let plan = ImportPlan { columns: columns.clone(), ..plan };
        let piece =
            Piece { body, header: columns.clone(), is_first: true, before: 0, rows_taken: 0 };
        let opened = PieceReader::open(plan.mapping()?, rules, piece);
        let mut reader = opened.map_err(|error| refused_piece(&error))?;
        let step = reader.step().map_err(|error| refused_piece(&error))?;
        Ok::<_, Error>((columns, step))
    });
    let (columns, step) = read.await.map_err(|_| stopped())??;
    let names: Vec<String> =
        step.devices.iter().map(|rows| rows.device.clone().unwrap_or_default()).collect();
    let known = app.devices_to_write(context, &names).await?;
    Ok(Preview { columns, step, known: known.iter().map(Option::is_some).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Result<FileMapping, Error> {
        serde_json::from_str::<ImportPlan>(text).expect(text).mapping()
    }

    #[test]
    fn plans_say_what_is_missing() {
        let check = |text: &str, at: Option<&str>| {
            let found = plan(text).err().map(|error| match error {
                Error::Invalid { at, .. } => at.unwrap_or_default(),
                other => other.to_string(),
            });
            assert_eq!(found.as_deref(), at, "{text}");
        };
        check(r#"{"format":"xml"}"#, Some("plan.format"));
        check(r#"{"format":"ndjson"}"#, None);
        check(r#"{"format":"csv"}"#, Some("plan.columns"));
        let csv = |more: &str| format!(r#"{{"format":"csv","columns":["t","v"]{more}}}"#);
        check(&csv(""), Some("plan.device"));
        check(&csv(r#","device":"a""#), Some("plan.time_column"));
        check(&csv(r#","device":"a","time_column":"t""#), None);
        check(&csv(r#","device":"a","device_column":"t","time_column":"t""#), Some("plan.device"));
        let local = csv(r#","device":"a","time_column":"t","time_format":"local""#);
        check(&local, Some("plan.time_format"));
        assert!(serde_json::from_str::<ImportPlan>(r#"{"formt":"csv"}"#).is_err());
    }
}
