//! The data types of Sparkplug B 3.0 (6.4.16): what a value means that came as a number of some
//! width, as bytes, as a table or a template, and what is kept of it.

use serde_json::{Value as Json, json};
use veritwin_domain::{IngestLimits, LimitExceeded, Value};

use super::payload::{DataSet, Metric, Raw, Template};
use crate::payload::PayloadError;

/// The type of a metric, a cell or a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DataType(u32);

/// Names in the order of their numbers, from 0 on.
const NAMES: [&str; 35] = [
    "Unknown",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "Float",
    "Double",
    "Boolean",
    "String",
    "DateTime",
    "Text",
    "UUID",
    "DataSet",
    "Bytes",
    "File",
    "Template",
    "PropertySet",
    "PropertySetList",
    "Int8Array",
    "Int16Array",
    "Int32Array",
    "Int64Array",
    "UInt8Array",
    "UInt16Array",
    "UInt32Array",
    "UInt64Array",
    "FloatArray",
    "DoubleArray",
    "BooleanArray",
    "StringArray",
    "DateTimeArray",
];

const INT64: u32 = 4;
const UINT64: u32 = 8;
const FLOAT: u32 = 9;
const DOUBLE: u32 = 10;
const BOOLEAN: u32 = 11;
const DATE_TIME: u32 = 13;
const DATA_SET: u32 = 16;
const TEMPLATE: u32 = 19;
const FLOAT_ARRAY: u32 = 30;
const DOUBLE_ARRAY: u32 = 31;
const BOOLEAN_ARRAY: u32 = 32;
const STRING_ARRAY: u32 = 33;
const DATE_TIME_ARRAY: u32 = 34;

impl DataType {
    /// The type with this number, if metrics can have it.
    pub(crate) fn of(number: u32, at: usize) -> Result<Self, PayloadError> {
        match number {
            1..=19 | 22..=34 => Ok(Self(number)),
            _ => Err(PayloadError::new(at, "data type: expected 1 to 19 or 22 to 34")),
        }
    }

    pub(crate) const fn number(self) -> u32 {
        self.0
    }

    pub(crate) fn name(self) -> &'static str {
        usize::try_from(self.0).ok().and_then(|at| NAMES.get(at)).copied().unwrap_or("Unknown")
    }

    /// How many bits, and whether there are negative numbers.
    const fn integer(self) -> Option<(u32, bool)> {
        match self.0 {
            1..=4 => Some((4 << self.0, true)),
            5..=8 => Some((4 << (self.0 - 4), false)),
            DATE_TIME => Some((64, true)),
            22..=25 => Some((4 << (self.0 - 21), true)),
            26..=29 => Some((4 << (self.0 - 25), false)),
            DATE_TIME_ARRAY => Some((64, true)),
            _ => None,
        }
    }
}

/// What a value says.
#[derive(Debug, Clone, PartialEq)]
enum Meaning<'a> {
    /// Nothing that can be kept: no value, a number that is not finite.
    Nothing,
    Integer(i64),
    /// An unsigned number above the signed ones.
    Large(u64),
    Double(f64),
    Boolean(bool),
    Text(&'a str),
    Json(Json),
    /// Bytes of a form of their own.
    Opaque,
}

fn wrong(datatype: DataType, at: usize) -> PayloadError {
    PayloadError::new(at, format!("the value is none of the data type {}", datatype.name()))
}

/// The signed number that is sent as this one: as wide as its type, or as 32 or 64 bits.
fn signed(raw: u64, bits: u32) -> Option<i64> {
    let unused = 64 - bits;
    let own_width =
        (raw.checked_shr(bits).unwrap_or(0) == 0).then(|| (raw << unused).cast_signed() >> unused);
    let of_32 = u32::try_from(raw).ok().map(|raw| i64::from(raw.cast_signed()));
    let of_64 = Some(raw.cast_signed());
    let fits = |number: &i64| *number == (*number << unused) >> unused;
    own_width.or_else(|| of_32.filter(fits)).or_else(|| of_64.filter(fits))
}

fn unsigned(raw: u64) -> Meaning<'static> {
    i64::try_from(raw).map_or(Meaning::Large(raw), Meaning::Integer)
}

fn integer(raw: u64, (bits, is_signed): (u32, bool)) -> Option<Meaning<'static>> {
    if is_signed {
        return signed(raw, bits).map(Meaning::Integer);
    }
    (raw.checked_shr(bits).unwrap_or(0) == 0).then(|| unsigned(raw))
}

fn double(number: f64) -> Meaning<'static> {
    if number.is_finite() { Meaning::Double(number) } else { Meaning::Nothing }
}

fn meaning<'a>(
    datatype: DataType,
    raw: &Raw<'a>,
    at: usize,
    limits: &IngestLimits,
) -> Result<Meaning<'a>, PayloadError> {
    let found = match (raw, datatype.0) {
        (Raw::None, _) => Some(Meaning::Nothing),
        (Raw::Number(number), 1..=8 | DATE_TIME) => {
            datatype.integer().and_then(|kind| integer(*number, kind))
        }
        (Raw::Float(number), FLOAT | DOUBLE) => Some(double((*number).into())),
        (Raw::Double(number), FLOAT | DOUBLE) => Some(double(*number)),
        (Raw::Boolean(flag), BOOLEAN) => Some(Meaning::Boolean(*flag)),
        (Raw::Text(text), 12 | 14 | 15) => Some(Meaning::Text(text)),
        (Raw::Bytes(_), 17 | 18) => Some(Meaning::Opaque),
        (Raw::Bytes(bytes), 22..=34) => {
            let (max, actual) = (limits.value_bytes_max, bytes.len());
            if actual > max {
                let limit = LimitExceeded { name: "value_bytes_max", max, actual };
                return Err(PayloadError::limit(at, limit));
            }
            array(datatype, bytes).map(Meaning::Json)
        }
        (Raw::DataSet(table), DATA_SET) => Some(Meaning::Json(data_set(table, limits)?)),
        (Raw::Template(value), TEMPLATE) => Some(Meaning::Json(template(value, at, limits)?)),
        _ => None,
    };
    found.ok_or_else(|| wrong(datatype, at))
}

impl Meaning<'_> {
    fn into_json(self) -> Json {
        match self {
            Self::Nothing | Self::Opaque => Json::Null,
            Self::Integer(number) => number.into(),
            Self::Large(number) => number.into(),
            Self::Double(number) => number.into(),
            Self::Boolean(flag) => flag.into(),
            Self::Text(text) => text.into(),
            Self::Json(json) => json,
        }
    }
}

/// What is kept of a metric's value: nothing of null, of numbers that are not finite, of bytes and
/// of files. Unsigned numbers above the signed ones become doubles.
pub(crate) fn kept(
    datatype: DataType,
    metric: &Metric<'_>,
    limits: &IngestLimits,
) -> Result<Option<Value>, PayloadError> {
    if metric.is_null {
        return Ok(None);
    }
    let value = match meaning(datatype, &metric.value, metric.at, limits)? {
        Meaning::Nothing | Meaning::Opaque => return Ok(None),
        Meaning::Integer(number) => Value::Integer(number),
        Meaning::Large(number) => Value::Double(number as f64),
        Meaning::Double(number) => Value::Double(number),
        Meaning::Boolean(flag) => Value::Boolean(flag),
        Meaning::Text(text) => Value::Text(text.into()),
        Meaning::Json(json) => Value::Json(json.to_string().into()),
    };
    let (max, actual) = (limits.value_bytes_max, value.text_bytes());
    if actual > max {
        let limit = LimitExceeded { name: "value_bytes_max", max, actual };
        return Err(PayloadError::limit(metric.at, limit));
    }
    Ok(Some(value))
}

/// An array of 3.0 (6.4.16): little-endian numbers, bits with the highest first behind their
/// count, or strings that end in a zero byte.
fn array(datatype: DataType, bytes: &[u8]) -> Option<Json> {
    match datatype.0 {
        BOOLEAN_ARRAY => return booleans(bytes),
        STRING_ARRAY => {
            let Some(body) = bytes.strip_suffix(&[0]) else {
                return bytes.is_empty().then(|| Json::Array(Vec::new()));
            };
            let text = |one: &[u8]| std::str::from_utf8(one).ok().map(Json::from);
            return body.split(|byte| *byte == 0).map(text).collect::<Option<_>>().map(Json::Array);
        }
        _ => {}
    }
    let bits = match datatype.0 {
        FLOAT_ARRAY => 32,
        DOUBLE_ARRAY => 64,
        _ => datatype.integer()?.0,
    };
    let width = usize::try_from(bits / 8).ok()?;
    let chunks = bytes.chunks_exact(width);
    if !chunks.remainder().is_empty() {
        return None;
    }
    let one = |chunk: &[u8]| {
        let mut wide = [0; 8];
        wide.get_mut(..width)?.copy_from_slice(chunk);
        let raw = u64::from_le_bytes(wide);
        let found = match datatype.0 {
            FLOAT_ARRAY => double(f32::from_bits(u32::try_from(raw).ok()?).into()),
            DOUBLE_ARRAY => double(f64::from_bits(raw)),
            _ => integer(raw, datatype.integer()?)?,
        };
        Some(found.into_json())
    };
    chunks.map(one).collect::<Option<Vec<Json>>>().map(Json::Array)
}

fn booleans(bytes: &[u8]) -> Option<Json> {
    let (count, bits) = bytes.split_first_chunk::<4>()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    if bits.len() != count.div_ceil(8) {
        return None;
    }
    let is_set = |at: usize| bits.get(at / 8).is_some_and(|byte| byte & (0x80 >> (at % 8)) != 0);
    Some((0..count).map(|at| Json::Bool(is_set(at))).collect())
}

fn data_set(table: &DataSet<'_>, limits: &IngestLimits) -> Result<Json, PayloadError> {
    let of = |number: &u32| DataType::of(*number, table.at);
    let types = table.types.iter().map(of).collect::<Result<Vec<_>, _>>()?;
    let mut rows = Vec::with_capacity(table.rows.len());
    for row in &table.rows {
        let cells = row.iter().zip(&types);
        let cell = |(raw, datatype): (&Raw<'_>, &DataType)| {
            meaning(*datatype, raw, table.at, limits).map(Meaning::into_json)
        };
        rows.push(Json::Array(cells.map(cell).collect::<Result<_, _>>()?));
    }
    let types: Vec<&str> = types.into_iter().map(DataType::name).collect();
    // Each row as an object too would say the names of columns again and again.
    let named: serde_json::Map<String, Json> = table
        .columns
        .iter()
        .zip(&types)
        .map(|(name, kind)| ((*name).into(), json!(kind)))
        .collect();
    Ok(json!({"types": named, "columns": table.columns, "rows": rows}))
}

fn template(
    template: &Template<'_>,
    at: usize,
    limits: &IngestLimits,
) -> Result<Json, PayloadError> {
    let mut metrics = serde_json::Map::new();
    for metric in &template.metrics {
        let Some(name) = metric.name else {
            return Err(PayloadError::new(metric.at, "a metric of a template: expected a name"));
        };
        let value = match metric.datatype {
            Some(number) if !metric.is_null => {
                let datatype = DataType::of(number, metric.at)?;
                meaning(datatype, &metric.value, metric.at, limits)?.into_json()
            }
            _ if metric.is_null || metric.value == Raw::None => Json::Null,
            _ => return Err(PayloadError::new(metric.at, "expected a data type")),
        };
        metrics.insert(name.to_owned(), value);
    }
    let mut parameters = serde_json::Map::new();
    for parameter in &template.parameters {
        let datatype = DataType::of(parameter.datatype, parameter.at)?;
        let value = meaning(datatype, &parameter.value, parameter.at, limits)?;
        parameters.insert(parameter.name.to_owned(), value.into_json());
    }
    if template.is_definition && template.reference.is_some_and(|name| !name.is_empty()) {
        let text = "the definition of a template: expected no reference to another one";
        return Err(PayloadError::new(at, text));
    }
    Ok(json!({
        "definition": template.is_definition,
        "template": template.reference,
        "version": template.version,
        "parameters": parameters,
        "metrics": metrics,
    }))
}

/// The value of a command, in the form of its type: the field of a metric and what it holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sent {
    Number32(u32),
    Number64(u64),
    Float(f32),
    Double(f64),
    Boolean(bool),
    Text(String),
}

/// A JSON value as the data type sends it; the text says what would be right.
pub(crate) fn to_send(datatype: DataType, value: &Json) -> Result<Sent, String> {
    let expected = |what: &str| format!("expected {what}, for the metric is {}", datatype.name());
    let number = datatype.0;
    match number {
        1..=8 | DATE_TIME => {
            let (bits, is_signed) = datatype.integer().unwrap_or((64, true));
            let raw = match (is_signed, value.as_i64(), value.as_u64()) {
                (true, Some(found), _) => Some(found.cast_unsigned()).filter(|_| {
                    let unused = 64 - bits;
                    found == (found << unused) >> unused
                }),
                (false, _, Some(found)) => {
                    Some(found).filter(|found| found.checked_shr(bits).unwrap_or(0) == 0)
                }
                _ => None,
            };
            let what = format!("a whole number of {bits} bits");
            let raw = raw.ok_or_else(|| expected(&what))?;
            if matches!(number, INT64 | UINT64 | DATE_TIME) {
                return Ok(Sent::Number64(raw));
            }
            // Negative ones of less than 32 bits are sent as 32 bits.
            Ok(Sent::Number32(u32::try_from(raw & u64::from(u32::MAX)).unwrap_or(u32::MAX)))
        }
        FLOAT | DOUBLE => {
            let found = value.as_f64().ok_or_else(|| expected("a number"))?;
            if number == DOUBLE {
                return Ok(Sent::Double(found));
            }
            let narrow = found as f32;
            if narrow.is_finite() { Ok(Sent::Float(narrow)) } else { Err(expected("a number")) }
        }
        BOOLEAN => value.as_bool().map(Sent::Boolean).ok_or_else(|| expected("true or false")),
        12 | 14 | 15 => {
            let text = value.as_str().ok_or_else(|| expected("a text"))?;
            Ok(Sent::Text(text.to_owned()))
        }
        _ => Err(format!("metrics of the type {} cannot be written here", datatype.name())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(datatype: u32, raw: Raw<'_>) -> Result<Option<Value>, String> {
        let metric = Metric { value: raw, ..Metric::default() };
        let datatype = DataType::of(datatype, 0).expect("a type");
        kept(datatype, &metric, &IngestLimits::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_are_as_wide_as_their_type() {
        let check = |datatype: u32, raw: u64, expect: Option<i64>| {
            let value = found(datatype, Raw::Number(raw));
            match expect {
                Some(number) => assert_eq!(value, Ok(Some(Value::Integer(number))), "{datatype}"),
                None => assert!(value.is_err(), "{datatype} {raw}: {value:?}"),
            }
        };
        check(1, 0x7f, Some(127));
        check(1, 0xff, Some(-1));
        check(1, 0xffff_ff80, Some(-128));
        check(1, u64::MAX, Some(-1));
        check(1, 0x100, None);
        check(1, 0xffff_ff7f, None);
        check(2, 0x8000, Some(-32_768));
        check(3, 0xffff_fffe, Some(-2));
        check(4, u64::MAX - 1, Some(-2));
        check(5, 255, Some(255));
        check(5, 256, None);
        check(7, 0xffff_ffff, Some(4_294_967_295));
        check(8, 7, Some(7));
        check(13, 1_700_000_000_000, Some(1_700_000_000_000));
        let large = found(8, Raw::Number(u64::MAX));
        assert_eq!(large, Ok(Some(Value::Double(18_446_744_073_709_551_615.0))));
    }

    #[test]
    fn values_of_each_kind() {
        let check = |datatype: u32, raw: Raw<'_>, expect: Result<Option<Value>, ()>| {
            let value = found(datatype, raw.clone()).map_err(|_| ());
            assert_eq!(value, expect, "{datatype} {raw:?}");
        };
        check(9, Raw::Float(0.5), Ok(Some(Value::Double(0.5))));
        check(10, Raw::Double(f64::NAN), Ok(None));
        check(11, Raw::Boolean(true), Ok(Some(Value::Boolean(true))));
        check(12, Raw::Text("溫度"), Ok(Some(Value::Text("溫度".into()))));
        check(15, Raw::None, Ok(None));
        check(17, Raw::Bytes(&[1, 2]), Ok(None));
        check(3, Raw::Text("1"), Err(()));
        check(12, Raw::Number(1), Err(()));
        check(11, Raw::Extension, Err(()));
        check(22, Raw::Bytes(&[0xff, 1]), Ok(Some(Value::Json("[-1,1]".into()))));
        check(27, Raw::Bytes(&[1, 2, 3]), Err(()));
        check(27, Raw::Bytes(&[1, 2]), Ok(Some(Value::Json("[513]".into()))));
        check(30, Raw::Bytes(&1.5f32.to_le_bytes()), Ok(Some(Value::Json("[1.5]".into()))));
        check(33, Raw::Bytes(b"ABC\0hello\0"), Ok(Some(Value::Json(r#"["ABC","hello"]"#.into()))));
        check(33, Raw::Bytes(b"ABC"), Err(()));
        check(33, Raw::Bytes(b""), Ok(Some(Value::Json("[]".into()))));
        // The example of the specification.
        let bits = [0x0c, 0, 0, 0, 0x34, 0xd0];
        let expect = "[false,false,true,true,false,true,false,false,true,true,false,true]";
        check(32, Raw::Bytes(&bits), Ok(Some(Value::Json(expect.into()))));
        check(32, Raw::Bytes(&[9, 0, 0, 0, 1]), Err(()));
        let long = "x".repeat(70_000);
        check(12, Raw::Text(&long), Err(()));
    }

    #[test]
    fn commands_are_sent_in_the_form_of_their_type() {
        let check = |datatype: u32, value: Json, expect: Option<Sent>| {
            let datatype = DataType::of(datatype, 0).expect("a type");
            assert_eq!(to_send(datatype, &value).ok(), expect, "{value}");
        };
        check(1, json!(-1), Some(Sent::Number32(u32::MAX)));
        check(1, json!(128), None);
        check(5, json!(255), Some(Sent::Number32(255)));
        check(5, json!(-1), None);
        check(4, json!(-1), Some(Sent::Number64(u64::MAX)));
        check(8, json!(u64::MAX), Some(Sent::Number64(u64::MAX)));
        check(9, json!(0.5), Some(Sent::Float(0.5)));
        check(9, json!(1e300), None);
        check(10, json!(1), Some(Sent::Double(1.0)));
        check(11, json!(true), Some(Sent::Boolean(true)));
        check(11, json!(1), None);
        check(12, json!("on"), Some(Sent::Text("on".to_owned())));
        check(16, json!({}), None);
    }
}
