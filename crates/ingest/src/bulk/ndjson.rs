//! Newline-delimited JSON: each line `{"device":"NAME","ts":MILLISECONDS,"values":{...}}`, with
//! `ts_us` for microseconds instead and `quality` where it is not good. A device leaves `device`
//! out and may use every ThingsBoard telemetry shape as a line; without a time that of receipt
//! counts.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use veritwin_domain::Timestamp;

use super::{BulkError, QUALITIES, Rows};
use crate::payload::{MessageContext, check_json, parse_telemetry, parse_values};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row<'a> {
    #[serde(borrow)]
    device: Cow<'a, str>,
    ts: Option<i64>,
    /// Microseconds, instead of `ts`.
    ts_us: Option<i64>,
    #[serde(borrow)]
    quality: Option<Cow<'a, str>>,
    #[serde(borrow)]
    values: &'a RawValue,
}

pub(super) fn parse(text: &str, rows: &mut Rows<'_>) -> Result<(), BulkError> {
    for (index, line) in text.split('\n').enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let number = index + 1;
        if rows.context.one_device {
            own_line(line, number, rows)?;
        } else {
            named_line(line, number, rows)?;
        }
    }
    Ok(())
}

fn own_line(line: &str, number: usize, rows: &mut Rows<'_>) -> Result<(), BulkError> {
    let place = rows.device(None, number)?;
    let received_at = rows.untimed[place].next_at;
    let context = MessageContext { received_at, limits: rows.context.limits };
    let readings = &mut rows.devices[place].readings;
    let before = readings.len();
    rows.untimed[place].next_at =
        parse_telemetry(line.as_bytes(), context, &mut rows.keys, readings)
            .map_err(|error| BulkError::of_payload(number, error))?;
    let more = readings.len() - before;
    rows.count(more, number, 1)
}

fn named_line(line: &str, number: usize, rows: &mut Rows<'_>) -> Result<(), BulkError> {
    let row: Row<'_> = serde_json::from_str(line).map_err(|error| {
        if let Err(error) = check_json(line.as_bytes()) {
            return BulkError::of_payload(number, error);
        }
        let detail = "expected an object with device (a name), ts (milliseconds) or ts_us \
            (microseconds), both optional, values (an object) and quality (optional), and nothing \
            else";
        BulkError::new(number, error.column().max(1), detail)
    })?;
    let at = match (row.ts, row.ts_us) {
        (Some(_), Some(_)) => {
            return Err(BulkError::new(number, 1, "expected ts or ts_us, and not both"));
        }
        (millis, None) => millis.map(Timestamp::from_millis),
        (None, micros) => micros.map(Timestamp::measured),
    };
    let at = at.transpose().map_err(|error| BulkError::new(number, 1, error.to_string()))?;
    let values = row.values.get();
    // The raw value is a part of the line, so the distance of their starts is its column.
    let offset = (values.as_ptr() as usize).saturating_sub(line.as_ptr() as usize);
    let place = rows.device(Some(&row.device), number)?;
    let received_at = at.unwrap_or_else(|| rows.moment(place));
    let context = MessageContext { received_at, limits: rows.context.limits };
    let readings = &mut rows.devices[place].readings;
    let before = readings.len();
    parse_values(values.as_bytes(), context, &mut rows.keys, readings)
        .map_err(|error| BulkError::of_payload(number, error.moved_by(offset)))?;
    if let Some(text) = row.quality {
        let quality = QUALITIES.into_iter().find(|quality| quality.as_str() == text);
        let Some(quality) = quality else {
            readings.truncate(before);
            let detail = "quality: expected good, uncertain, bad or simulated";
            return Err(BulkError::new(number, 1, detail));
        };
        readings[before..].iter_mut().for_each(|reading| reading.quality = quality);
    }
    let more = readings.len() - before;
    rows.count(more, number, offset + 1)
}
