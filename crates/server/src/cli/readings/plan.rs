//! How a file is to be read: what the arguments say, and what the file itself tells.

use std::path::Path;

use clap::Args;
use veritwin_ingest::bulk::FileForm;

use crate::cli::BadArguments;
use crate::imports::{ImportColumn, ImportPlan};

/// What a table's time column is usually called.
const TIMES: [&str; 5] = ["time", "timestamp", "ts", "date", "datetime"];
/// The header of a file that was exported.
const EXPORTED: [&str; 7] = ["device_id", "device", "key", "time", "value", "type", "quality"];

/// How files are read.
#[derive(Args, Debug, Clone, Default)]
pub(super) struct PlanArguments {
    /// csv, ndjson, line_protocol or parquet; by default the file's name says it.
    #[arg(long, value_name = "FORMAT", value_parser = parse_form)]
    format: Option<FileForm>,
    /// What stands between the columns of a CSV file: a comma, a semicolon, | or tab.
    #[arg(long, value_name = "CHARACTER")]
    delimiter: Option<String>,
    /// The name or id of the device whose all rows are.
    #[arg(long, value_name = "DEVICE", conflicts_with = "device_column")]
    device: Option<String>,
    /// The column that names the device of each row.
    #[arg(long, value_name = "COLUMN")]
    device_column: Option<String>,
    /// The column of the times; time, timestamp, ts, date or datetime by default.
    #[arg(long, value_name = "COLUMN")]
    time_column: Option<String>,
    /// rfc3339 (the default), s, ms, us, ns or local.
    #[arg(long, value_name = "FORM")]
    time_format: Option<String>,
    /// Of local times: where the clock hung, such as Asia/Tokyo.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Of local times: how they are written, such as "%d.%m.%Y %H:%M".
    #[arg(long, value_name = "PATTERN")]
    time_pattern: Option<String>,
    /// A column of values, COLUMN, COLUMN=KEY or COLUMN=KEY:KIND; by default every other one.
    #[arg(long = "value", value_name = "COLUMN[=KEY[:KIND]]", conflicts_with = "key_column")]
    values: Vec<String>,
    /// The column of the keys, where each row is one value.
    #[arg(long, value_name = "COLUMN", requires = "value_columns")]
    key_column: Option<String>,
    /// The column of that value; may be given several times.
    #[arg(long = "value-column", value_name = "COLUMN")]
    value_columns: Vec<String>,
    /// The column that says which kind each value is of.
    #[arg(long, value_name = "COLUMN")]
    kind_column: Option<String>,
    /// The column of good, uncertain, bad or simulated.
    #[arg(long, value_name = "COLUMN")]
    quality_column: Option<String>,
    /// The unit of the times in line protocol: ns (the default), us, ms or s.
    #[arg(long, value_name = "UNIT")]
    precision: Option<String>,
}

pub(super) fn parse_form(text: &str) -> Result<FileForm, String> {
    let names = FileForm::ALL.map(FileForm::as_str).join(", ");
    FileForm::parse(text).ok_or_else(|| format!("expected one of {names}"))
}

/// The form that a file's name tells.
pub(super) fn form_of(path: &Path) -> Option<FileForm> {
    let end = path.extension()?.to_str()?.to_ascii_lowercase();
    match end.as_str() {
        "csv" | "tsv" => Some(FileForm::Csv),
        "ndjson" | "jsonl" => Some(FileForm::NdJson),
        "lp" | "line" | "influx" => Some(FileForm::LineProtocol),
        "parquet" => Some(FileForm::Parquet),
        _ => None,
    }
}

fn value_of(text: &str) -> ImportColumn {
    let (column, rest) = match text.split_once('=') {
        None => (text, None),
        Some((column, rest)) => (column, Some(rest)),
    };
    let (key, kind) = match rest.map(|rest| rest.rsplit_once(':').map_or((rest, None), split)) {
        None => (None, None),
        Some((key, kind)) => (Some(key.to_owned()), kind.map(str::to_owned)),
    };
    ImportColumn { column: column.to_owned(), key, kind }
}

const fn split<'a>((key, kind): (&'a str, &'a str)) -> (&'a str, Option<&'a str>) {
    (key, Some(kind))
}

impl PlanArguments {
    /// The form of a file.
    pub(super) fn form(&self, path: &Path) -> anyhow::Result<FileForm> {
        self.format.or_else(|| form_of(path)).ok_or_else(|| {
            let shown = path.display();
            BadArguments(format!("{shown}: its name tells no form: give --format")).into()
        })
    }

    /// The delimiter of a CSV file.
    pub(super) fn delimiter(&self, path: &Path) -> Option<String> {
        let is_tabs = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("tsv"));
        match self.delimiter.as_deref() {
            Some("tab" | "\\t") => Some("\t".to_owned()),
            Some(other) => Some(other.to_owned()),
            None => is_tabs.then(|| "\t".to_owned()),
        }
    }

    /// The plan of a file with these columns.
    pub(super) fn plan(&self, path: &Path, columns: Vec<String>) -> anyhow::Result<ImportPlan> {
        let form = self.form(path)?;
        let is_exported = match form {
            FileForm::Csv => columns == EXPORTED,
            FileForm::Parquet => {
                let has = |name: &&str| columns.iter().any(|column| column == name);
                ["device_id", "key", "time", "double", "integer", "boolean", "text", "type"]
                    .iter()
                    .all(has)
            }
            FileForm::NdJson | FileForm::LineProtocol => false,
        };
        let says_nothing =
            self.device.is_none() && self.device_column.is_none() && self.values.is_empty();
        let is_table = matches!(form, FileForm::Csv | FileForm::Parquet);
        let time_column = self.time_column.clone().filter(|_| is_table).or_else(|| {
            let usual = |column: &&String| TIMES.contains(&column.to_ascii_lowercase().as_str());
            columns.iter().find(usual).cloned()
        });
        let mut plan = ImportPlan {
            format: form.as_str().to_owned(),
            columns: if form == FileForm::Csv { columns } else { Vec::new() },
            delimiter: self.delimiter(path),
            device: self.device.clone(),
            device_column: self.device_column.clone(),
            time_column,
            time_format: self.time_format.clone(),
            time_zone: self.time_zone.clone(),
            time_pattern: self.time_pattern.clone(),
            values: self.values.iter().map(|text| value_of(text)).collect(),
            key_column: self.key_column.clone(),
            value_columns: self.value_columns.clone(),
            kind_column: self.kind_column.clone(),
            quality_column: self.quality_column.clone(),
            precision: self.precision.clone(),
        };
        if is_exported && says_nothing {
            let text = |name: &str| Some(name.to_owned());
            let values: &[&str] = match form {
                FileForm::Csv => &["value"],
                _ => &["double", "integer", "boolean", "text"],
            };
            plan.device_column = text("device_id");
            plan.key_column = text("key");
            plan.value_columns = values.iter().map(|name| (*name).to_owned()).collect();
            plan.kind_column = text("type");
            plan.quality_column = text("quality");
        }
        plan.mapping().map_err(|error| match error {
            veritwin_app::Error::Invalid { detail, at: Some(at) } => {
                let at = at.trim_start_matches("plan.").replace('_', "-");
                anyhow::Error::from(BadArguments(format!("{}: --{at}: {detail}", path.display())))
            }
            other => anyhow::Error::new(other),
        })?;
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_have_keys_and_kinds() {
        let check = |text: &str, column: &str, key: Option<&str>, kind: Option<&str>| {
            let value = value_of(text);
            assert_eq!((value.column.as_str(), value.key.as_deref()), (column, key), "{text}");
            assert_eq!(value.kind.as_deref(), kind, "{text}");
        };
        check("rpm", "rpm", None, None);
        check("temp=temperature", "temp", Some("temperature"), None);
        check("temp=temperature:double", "temp", Some("temperature"), Some("double"));
    }

    #[test]
    fn an_exported_file_needs_no_more() {
        let arguments = PlanArguments::default();
        let columns = EXPORTED.map(str::to_owned).to_vec();
        let plan = arguments.plan(Path::new("a.csv"), columns).expect("a plan");
        assert_eq!(plan.key_column.as_deref(), Some("key"));
        let other = arguments.plan(Path::new("a.csv"), vec!["time".to_owned(), "v".to_owned()]);
        let error = other.expect_err("no device").to_string();
        assert!(error.contains("--device"), "{error}");
        assert!(arguments.form(Path::new("a.xls")).is_err());
    }
}
