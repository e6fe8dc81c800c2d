//! Reads recorded readings from CSV: a time column and one or many value columns. A mistake is
//! named by file, line and column; nothing is guessed silently (what was assumed is in `notes`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use veritwin_domain::{Key, Timestamp};

/// Most rows of one file.
pub const ROWS_MAX: usize = 20_000_000;
/// Most value columns of one file.
pub const COLUMNS_MAX: usize = 1024;
/// Headers of the time column, in lower case.
const TIME_HEADERS: &[&str] = &["date", "ts", "timestamp", "time"];
/// Epoch numbers below this are seconds (they reach the year 5138), others milliseconds.
const SECONDS_BELOW: f64 = 1e11;

/// How to read a file.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// The key of a single column that is only called `value`; the file's stem when absent.
    pub key: Option<String>,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// The file.
    pub file: PathBuf,
    /// The keys, in the order of the columns.
    pub keys: Vec<Key>,
    /// The rows, in the order of the file.
    pub rows: Vec<Row>,
    /// What was assumed about the file, in plain words.
    pub notes: Vec<String>,
}

/// One row: a time, and a value per key where there is one.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// When.
    pub at: Timestamp,
    /// One entry per key.
    pub values: Vec<Option<f64>>,
}

/// What one key holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeySummary {
    /// Number of values.
    pub count: u64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
}

impl Recording {
    /// Number of values in all columns.
    pub fn reading_count(&self) -> u64 {
        self.rows.iter().map(|row| row.values.iter().flatten().count() as u64).sum()
    }

    /// Count, minimum and maximum per key, for keys with values.
    pub fn summary(&self) -> BTreeMap<Key, KeySummary> {
        let mut summaries = BTreeMap::new();
        for row in &self.rows {
            for (key, value) in self.keys.iter().zip(&row.values) {
                let Some(value) = *value else { continue };
                let summary = summaries.entry(key.clone()).or_insert(KeySummary {
                    count: 0,
                    min: value,
                    max: value,
                });
                summary.count += 1;
                summary.min = summary.min.min(value);
                summary.max = summary.max.max(value);
            }
        }
        summaries
    }
}

/// Why a file is refused: where the mistake is and what it is.
#[derive(Debug, thiserror::Error)]
#[error("{}, line {line}, column {column}: {problem}", file.display())]
pub struct CsvError {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 when the file could not be read.
    pub line: u64,
    /// The column, from 1; 0 when the whole line is meant.
    pub column: usize,
    /// What is wrong and what would be right.
    pub problem: String,
}

struct Layout {
    /// Index of the time in a row.
    time: usize,
    /// Indices of the values in a row.
    values: Vec<usize>,
    fields: usize,
}

/// Reads a CSV file.
pub fn read_csv(path: &Path, options: &ReadOptions) -> Result<Recording, CsvError> {
    let fail = |line, column, problem: String| CsvError {
        file: path.to_path_buf(),
        line,
        column,
        problem,
    };
    let file = std::fs::File::open(path)
        .map_err(|error| fail(0, 0, format!("cannot be opened: {error}")))?;
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(std::io::BufReader::new(file));
    let mut record = csv::StringRecord::new();
    let mut next = |record: &mut csv::StringRecord| {
        reader.read_record(record).map_err(|error| {
            let line = error.position().map_or(0, csv::Position::line);
            fail(line, 0, error.to_string())
        })
    };
    if !next(&mut record)? {
        return Err(fail(1, 0, "the file is empty; expected a header like date,value".to_owned()));
    }
    let header: Vec<String> =
        record.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
    if !next(&mut record)? {
        return Err(fail(2, 0, "there are no rows after the header".to_owned()));
    }
    let mut notes = Vec::new();
    let layout = layout(&header, &record, &mut notes)
        .map_err(|(line, column, problem)| fail(line, column, problem))?;
    let keys = keys(path, options, &header, &layout)
        .map_err(|(column, problem)| fail(1, column, problem))?;
    let mut recording = Recording { file: path.to_path_buf(), keys, rows: Vec::new(), notes };
    let mut is_zone_assumed = false;
    loop {
        let line = record.position().map_or(0, csv::Position::line);
        if recording.rows.len() >= ROWS_MAX {
            return Err(fail(line, 0, format!("limit ROWS_MAX exceeded: at most {ROWS_MAX} rows")));
        }
        let row = row(&layout, &record, &mut is_zone_assumed)
            .map_err(|(column, problem)| fail(line, column, problem))?;
        recording.rows.push(row);
        if !next(&mut record)? {
            break;
        }
    }
    if is_zone_assumed {
        recording.notes.push("times without a zone were read as UTC".to_owned());
    }
    Ok(recording)
}

fn layout(
    header: &[String],
    first: &csv::StringRecord,
    notes: &mut Vec<String>,
) -> Result<Layout, (u64, usize, String)> {
    let is_time = |name: &String| TIME_HEADERS.contains(&name.to_lowercase().as_str());
    let Some(time) = header.iter().position(is_time) else {
        let found = header.join(",");
        let expected = TIME_HEADERS.join(", ");
        return Err((1, 0, format!("no time column: expected one of {expected}; found {found}")));
    };
    // Some tools write row numbers without giving them a header: each row has one field more.
    let is_numbered = first.len() == header.len() + 1
        && first.get(0).is_some_and(|field| field.parse::<u64>().is_ok());
    let shift = usize::from(is_numbered);
    if is_numbered {
        notes.push(format!(
            "rows have {} fields and the header {}; the first field is a row number without a \
             header and was left out",
            first.len(),
            header.len()
        ));
    }
    let values: Vec<usize> =
        (0..header.len()).filter(|index| *index != time).map(|index| index + shift).collect();
    if values.is_empty() {
        return Err((1, 0, "no value column beside the time column".to_owned()));
    }
    if values.len() > COLUMNS_MAX {
        let problem = format!("limit COLUMNS_MAX exceeded: at most {COLUMNS_MAX} value columns");
        return Err((1, 0, problem));
    }
    Ok(Layout { time: time + shift, values, fields: header.len() + shift })
}

fn keys(
    path: &Path,
    options: &ReadOptions,
    header: &[String],
    layout: &Layout,
) -> Result<Vec<Key>, (usize, String)> {
    let shift = layout.fields - header.len();
    let mut keys: Vec<Key> = Vec::new();
    for index in &layout.values {
        let index = index - shift;
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let is_plain = layout.values.len() == 1 && header[index].eq_ignore_ascii_case("value");
        let name = match (&options.key, is_plain) {
            (Some(key), _) if layout.values.len() == 1 => key.clone(),
            (_, true) => stem.unwrap_or_default(),
            _ => header[index].clone(),
        };
        let key = Key::new(&name).map_err(|error| (index + 1, format!("header: {error}")))?;
        if keys.contains(&key) {
            return Err((index + 1, format!("header: column {key} is there twice")));
        }
        keys.push(key);
    }
    Ok(keys)
}

fn row(
    layout: &Layout,
    record: &csv::StringRecord,
    is_zone_assumed: &mut bool,
) -> Result<Row, (usize, String)> {
    if record.len() != layout.fields {
        let problem = format!("expected {} fields, found {}", layout.fields, record.len());
        return Err((0, problem));
    }
    let text = record.get(layout.time).unwrap_or_default();
    let at = time(text, is_zone_assumed).ok_or_else(|| {
        let expected = "epoch seconds or milliseconds, or a form like 2026-01-31T08:00:00Z";
        (layout.time + 1, format!("not a time: {}; expected {expected}", shown(text)))
    })?;
    let mut values = Vec::with_capacity(layout.values.len());
    for index in &layout.values {
        let text = record.get(*index).unwrap_or_default();
        let value = match text {
            "" => None,
            _ => Some(text.parse::<f64>().ok().filter(|value| value.is_finite()).ok_or_else(
                || {
                    let expected = "expected a finite number, or nothing";
                    (index + 1, format!("not a value: {}; {expected}", shown(text)))
                },
            )?),
        };
        values.push(value);
    }
    Ok(Row { at, values })
}

/// At most a few characters of a field, quoted.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(40).collect::<String>())
}

fn time(text: &str, is_zone_assumed: &mut bool) -> Option<Timestamp> {
    if let Ok(whole) = text.parse::<i64>() {
        let is_seconds = (whole.unsigned_abs() as f64) < SECONDS_BELOW;
        let millis = if is_seconds { whole.checked_mul(1000)? } else { whole };
        return Timestamp::from_millis(millis).ok();
    }
    if let Ok(number) = text.parse::<f64>() {
        let scale = if number.abs() < SECONDS_BELOW { 1e6 } else { 1e3 };
        let micros = (number * scale).round();
        return (micros.abs() < 9e18).then_some(Timestamp::from_micros(micros as i64));
    }
    if let Ok(at) = Timestamp::parse_rfc3339(text) {
        return Some(at);
    }
    let at = Timestamp::parse_rfc3339(&format!("{text}Z")).ok()?;
    *is_zone_assumed = true;
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Recording, CsvError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("flow_temperature.csv");
        std::fs::write(&path, text).expect("written");
        read_csv(&path, &ReadOptions::default())
    }

    #[test]
    fn forms_that_are_read() {
        let check = |text: &str, keys: &[&str], first: (i64, &[Option<f64>]), notes: usize| {
            let recording = read(text).expect(text);
            let names: Vec<&str> = recording.keys.iter().map(|key| &**key).collect();
            assert_eq!(names, keys, "{text}");
            assert_eq!(recording.rows[0].at.as_millis(), first.0, "{text}");
            assert_eq!(recording.rows[0].values, first.1, "{text}");
            assert_eq!(recording.notes.len(), notes, "{text}: {:?}", recording.notes);
        };
        let at = 1_569_888_000_000;
        check("date,value\n1569888000,58.85\n", &["flow_temperature"], (at, &[Some(58.85)]), 0);
        check("TS,a,b\n1569888000000,1,\n", &["a", "b"], (at, &[Some(1.0), None]), 0);
        check("v,timestamp\n2,2019-10-01T02:00:00+02:00\n", &["v"], (at, &[Some(2.0)]), 0);
        check("date,a\n2019-10-01 00:00:00,7\n", &["a"], (at, &[Some(7.0)]), 1);
        check(
            "\"date\",\"a\",\"b\"\n\"1\",\"2019-10-01 00:00:00\",7,8\n\"2\",\"2019-10-01 00:01:00\",7,9\n",
            &["a", "b"],
            (at, &[Some(7.0), Some(8.0)]),
            2,
        );
    }

    #[test]
    fn mistakes_are_named_by_line_and_column() {
        let check = |text: &str, line: u64, column: usize, part: &str| {
            let error = read(text).expect_err(text);
            assert_eq!((error.line, error.column), (line, column), "{error}");
            assert!(error.problem.contains(part), "{error}");
        };
        check("", 1, 0, "empty");
        check("date,value\n", 2, 0, "no rows");
        check("when,value\n1,2\n", 1, 0, "no time column");
        check("date\n1\n", 1, 0, "no value column");
        check("date,value\n1569888000,1\n1569888001\n", 3, 0, "expected 2 fields, found 1");
        check("date,value\n1569888000,1\nyesterday,2\n", 3, 1, "not a time: \"yesterday\"");
        check("date,value\n1569888000,NaN\n", 2, 2, "finite");
        check("date,a,a\n1,2,3\n", 1, 3, "twice");
        check("date,value\nx,1569888000,1\n", 2, 0, "expected 2 fields, found 3");
    }

    #[test]
    fn summaries_count_values_only() {
        let recording = read("ts,a,b\n1,3,\n2,-1,5\n").expect("read");
        let summary = recording.summary();
        let a = summary[&Key::new("a").expect("key")];
        assert_eq!(a, KeySummary { count: 2, min: -1.0, max: 3.0 });
        assert_eq!(recording.reading_count(), 3);
    }
}
