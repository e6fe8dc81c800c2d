//! SenML JSON (RFC 8428): an array of records with base values. A device's keys are the resolved
//! names; with an API key the resolved name is DEVICE/KEY or DEVICE:KEY, cut at the last of these.
//! Sums and data values are refused; units and update times are left out.

use serde::Deserialize;
use serde_json::Number;
use veritwin_domain::{Timestamp, Value};

use super::{BulkError, Rows, line_and_column};
use crate::payload::check_json;

/// Times below this are relative to now (RFC 8428, section 4.5.3).
const RELATIVE_BELOW_SECONDS: f64 = 268_435_456.0;
/// SenML versions we read.
const VERSION_MAX: u32 = 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    bn: Option<String>,
    bt: Option<f64>,
    #[serde(rename = "bu")]
    _base_unit: Option<String>,
    bv: Option<Number>,
    bver: Option<u32>,
    n: Option<String>,
    #[serde(rename = "u")]
    _unit: Option<String>,
    v: Option<Number>,
    vs: Option<String>,
    vb: Option<bool>,
    t: Option<f64>,
    #[serde(rename = "ut")]
    _update_time: Option<f64>,
}

#[derive(Default)]
struct Base {
    name: String,
    seconds: f64,
    value: Option<Number>,
}

pub(super) fn parse(text: &str, rows: &mut Rows<'_>) -> Result<(), BulkError> {
    let records: Vec<&serde_json::value::RawValue> =
        serde_json::from_str(text).map_err(|error| pack_error(text, &error))?;
    let mut base = Base::default();
    for raw in records {
        let offset = (raw.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        let (line, column) = line_and_column(text.as_bytes(), offset);
        let record: Record = serde_json::from_str(raw.get()).map_err(|_| {
            let detail = "expected a record of bn, bt, bu, bv, bver, n, u, v, vs, vb, t and ut \
                with the types of RFC 8428";
            BulkError::new(line, column, detail)
        })?;
        take(record, &mut base, (line, column), rows)?;
    }
    Ok(())
}

fn pack_error(text: &str, error: &serde_json::Error) -> BulkError {
    if let Err(error) = check_json(text.as_bytes()) {
        let (line, column) = line_and_column(text.as_bytes(), error.position);
        return BulkError::new(line, column, error.detail);
    }
    let detail = "expected a SenML pack: an array of records";
    BulkError::new(error.line().max(1), error.column().max(1), detail)
}

fn take(
    record: Record,
    base: &mut Base,
    (line, column): (usize, usize),
    rows: &mut Rows<'_>,
) -> Result<(), BulkError> {
    let error = |detail: &str| BulkError::new(line, column, detail);
    if record.bver.is_some_and(|version| version > VERSION_MAX) {
        return Err(error("SenML version: expected at most 10"));
    }
    base.name = record.bn.unwrap_or(std::mem::take(&mut base.name));
    base.seconds = record.bt.unwrap_or(base.seconds);
    if record.bv.is_some() {
        base.value = record.bv;
    }
    let value = match (record.v, record.vs, record.vb) {
        (None, None, None) if record.n.is_none() => return Ok(()),
        (None, None, None) if base.value.is_none() => {
            return Err(error("expected one of v, vs and vb"));
        }
        (value, None, None) => number(value.as_ref(), base.value.as_ref())
            .ok_or_else(|| error("number out of range: expected a finite sum of v and bv"))?,
        (None, Some(text), None) => rows.text(&text, line, column)?,
        (None, None, Some(flag)) => Value::Boolean(flag),
        _ => return Err(error("expected only one of v, vs and vb")),
    };
    let name = format!("{}{}", base.name, record.n.unwrap_or_default());
    let seconds = base.seconds + record.t.unwrap_or(0.0);
    let at = time(seconds, rows.context.received_at).ok_or_else(|| {
        error("time out of range: expected seconds since 1970 or relative to now")
    })?;
    let (device, key) = if rows.context.one_device {
        (None, name.as_str())
    } else {
        let cut = name.rfind(['/', ':']).filter(|cut| *cut > 0 && cut + 1 < name.len());
        let cut = cut.ok_or_else(|| error("expected a name of the form DEVICE/KEY"))?;
        (Some(&name[..cut]), &name[cut + 1..])
    };
    let key = rows.key(key, line, column)?;
    rows.check(&key, &value, line, column)?;
    let place = rows.device(device, line)?;
    rows.count(1, line, column)?;
    let at = if seconds == 0.0 { rows.moment_of(place, &key) } else { at };
    rows.push(place, key, at, value);
    Ok(())
}

/// The sum of value and base value: an integer when both are written as integers.
fn number(value: Option<&Number>, base: Option<&Number>) -> Option<Value> {
    let zero = Number::from(0);
    let (value, base) = (value.unwrap_or(&zero), base.unwrap_or(&zero));
    if let (Some(value), Some(base)) = (value.as_i64(), base.as_i64()) {
        return value.checked_add(base).map(Value::Integer);
    }
    Value::double(value.as_f64()? + base.as_f64()?).ok()
}

fn time(seconds: f64, now: Timestamp) -> Option<Timestamp> {
    const MICROS_MAX: f64 = 9.0e18;
    let micros = (seconds * 1e6).round();
    if !micros.is_finite() || micros.abs() > MICROS_MAX {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked against the range above")]
    let micros = micros as i64;
    if seconds < RELATIVE_BELOW_SECONDS {
        return Timestamp::measured(now.as_micros().checked_add(micros)?).ok();
    }
    Timestamp::measured(micros).ok()
}
