//! The payload of Sparkplug B (`org.eclipse.tahu.protobuf.Payload`), read in one pass and in place,
//! within bounds of nesting and of parts. What it holds is looked at where it is used.

use veritwin_domain::{LimitExceeded, Rule, Screening};

use super::wire::{Field, Reader};
use crate::payload::PayloadError;

/// Most metrics, properties, parameters, columns, rows and cells of one payload together.
pub const PARTS_MAX: usize = 65_536;
/// Deepest nesting of templates and property sets.
pub const NESTING_MAX: usize = 8;

/// A payload.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Payload<'a> {
    /// Milliseconds since the epoch.
    pub(crate) timestamp: Option<u64>,
    pub(crate) metrics: Vec<Metric<'a>>,
    pub(crate) seq: Option<u64>,
}

/// A metric, in a birth or with a value.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Metric<'a> {
    /// Where it begins in the payload.
    pub(crate) at: usize,
    pub(crate) name: Option<&'a str>,
    pub(crate) alias: Option<u64>,
    pub(crate) timestamp: Option<u64>,
    pub(crate) datatype: Option<u32>,
    pub(crate) is_historical: bool,
    pub(crate) is_transient: bool,
    pub(crate) is_null: bool,
    pub(crate) properties: Properties<'a>,
    pub(crate) value: Raw<'a>,
}

/// What is made use of in a metric's properties.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Properties<'a> {
    /// `Quality`.
    pub(crate) quality: Option<u32>,
    /// `engUnit`.
    pub(crate) unit: Option<&'a str>,
}

/// A value as it was sent; what it means its data type says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Raw<'a> {
    #[default]
    None,
    Number(u64),
    Float(f32),
    Double(f64),
    Boolean(bool),
    Text(&'a str),
    Bytes(&'a [u8]),
    DataSet(Box<DataSet<'a>>),
    Template(Box<Template<'a>>),
    /// Something of the sender's own.
    Extension,
}

/// A table.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct DataSet<'a> {
    pub(crate) at: usize,
    pub(crate) columns: Vec<&'a str>,
    pub(crate) types: Vec<u32>,
    pub(crate) rows: Vec<Vec<Raw<'a>>>,
    count: Option<u64>,
}

/// A value with parts of its own.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Template<'a> {
    pub(crate) version: Option<&'a str>,
    pub(crate) reference: Option<&'a str>,
    pub(crate) is_definition: bool,
    pub(crate) metrics: Vec<Metric<'a>>,
    pub(crate) parameters: Vec<Parameter<'a>>,
}

/// A parameter of a template.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Parameter<'a> {
    pub(crate) at: usize,
    pub(crate) name: &'a str,
    pub(crate) datatype: u32,
    pub(crate) value: Raw<'a>,
}

/// Reads a payload. Properties are held to the rules on what must not be kept; names and values
/// are where they become keys and values.
pub(crate) fn read(bytes: &[u8], screening: Screening) -> Result<Payload<'_>, PayloadError> {
    let mut decoder = Decoder { screening, parts: 0 };
    let (mut reader, mut payload) = (Reader::new(bytes), Payload::default());
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => payload.timestamp = Some(field.number()?),
            2 => payload.metrics.push(decoder.metric(&field, 0)?),
            3 => payload.seq = Some(field.number()?),
            // The UUID of its schema, a body of another form, and what is not known.
            4 => {
                field.text()?;
            }
            _ => {}
        }
    }
    Ok(payload)
}

struct Decoder {
    screening: Screening,
    parts: usize,
}

fn rule_broken(at: usize, rule: Rule, part: &str) -> PayloadError {
    PayloadError { rule: Some(rule), ..PayloadError::new(at, rule.refusal(part)) }
}

impl Decoder {
    fn count(&mut self, at: usize) -> Result<(), PayloadError> {
        self.parts += 1;
        if self.parts > PARTS_MAX {
            let (max, actual) = (PARTS_MAX, LimitExceeded::MORE);
            let limit = LimitExceeded { name: "sparkplug_parts_max", max, actual };
            return Err(PayloadError::limit(at, limit));
        }
        Ok(())
    }

    fn deeper(at: usize, depth: usize) -> Result<usize, PayloadError> {
        if depth >= NESTING_MAX {
            let (max, actual) = (NESTING_MAX, depth + 1);
            let limit = LimitExceeded { name: "sparkplug_nesting_max", max, actual };
            return Err(PayloadError::limit(at, limit));
        }
        Ok(depth + 1)
    }

    fn metric<'a>(&mut self, field: &Field<'a>, depth: usize) -> Result<Metric<'a>, PayloadError> {
        self.count(field.at)?;
        let mut metric = Metric { at: field.at, ..Metric::default() };
        let mut reader = field.message()?;
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 => metric.name = Some(field.text()?),
                2 => metric.alias = Some(field.number()?),
                3 => metric.timestamp = Some(field.number()?),
                4 => metric.datatype = Some(field.number_32()?),
                5 => metric.is_historical = field.flag()?,
                6 => metric.is_transient = field.flag()?,
                7 => metric.is_null = field.flag()?,
                8 => Self::metadata(&field)?,
                9 => metric.properties = self.property_set(&field, depth)?,
                10 => metric.value = Raw::Number(field.number_32()?.into()),
                11 => metric.value = Raw::Number(field.number()?),
                12 => metric.value = Raw::Float(field.float()?),
                13 => metric.value = Raw::Double(field.double()?),
                14 => metric.value = Raw::Boolean(field.flag()?),
                15 => metric.value = Raw::Text(field.text()?),
                16 => metric.value = Raw::Bytes(field.bytes()?),
                17 => metric.value = Raw::DataSet(Box::new(self.data_set(&field)?)),
                18 => metric.value = Raw::Template(Box::new(self.template(&field, depth)?)),
                19 => metric.value = Raw::Extension,
                _ => {}
            }
        }
        Ok(metric)
    }

    /// What a file or a part of one is. It is checked, and nothing of it is made use of.
    fn metadata(field: &Field<'_>) -> Result<(), PayloadError> {
        let mut reader = field.message()?;
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 | 3 | 4 => {
                    field.number()?;
                }
                2 | 5..=8 => {
                    field.text()?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn property_set<'a>(
        &mut self,
        field: &Field<'a>,
        depth: usize,
    ) -> Result<Properties<'a>, PayloadError> {
        let depth = Self::deeper(field.at, depth)?;
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let mut reader = field.message()?;
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 => {
                    self.count(field.at)?;
                    let key = field.text()?;
                    if let Some(rule) = self.screening.key(key) {
                        return Err(rule_broken(field.at, rule, "the name of a property"));
                    }
                    keys.push(key);
                }
                2 => values.push((field.at, self.property(&field, depth)?)),
                _ => {}
            }
        }
        if keys.len() != values.len() {
            let text = "a property set: expected as many values as keys";
            return Err(PayloadError::new(field.at, text));
        }
        let mut properties = Properties::default();
        for (key, (at, value)) in keys.into_iter().zip(values) {
            match (key, &value) {
                ("engUnit", Raw::Text(text)) => properties.unit = Some(*text),
                ("Quality" | "quality", Raw::Number(number)) => {
                    properties.quality = u32::try_from(*number).ok();
                }
                _ => {}
            }
            if let Raw::Text(text) = value
                && let Some(rule) = self.screening.text(Some(key), text)
            {
                return Err(rule_broken(at, rule, "the value of a property"));
            }
        }
        Ok(properties)
    }

    /// The value of a property. Of sets inside it nothing is made use of.
    fn property<'a>(&mut self, field: &Field<'a>, depth: usize) -> Result<Raw<'a>, PayloadError> {
        self.count(field.at)?;
        let (mut value, mut is_null) = (Raw::None, false);
        let mut reader = field.message()?;
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 => {
                    field.number_32()?;
                }
                2 => is_null = field.flag()?,
                3 => value = Raw::Number(field.number_32()?.into()),
                4 => value = Raw::Number(field.number()?),
                5 => value = Raw::Float(field.float()?),
                6 => value = Raw::Double(field.double()?),
                7 => value = Raw::Boolean(field.flag()?),
                8 => value = Raw::Text(field.text()?),
                9 => {
                    self.property_set(&field, depth)?;
                }
                10 => {
                    let depth = Self::deeper(field.at, depth)?;
                    let mut list = field.message()?;
                    while let Some(field) = list.next_field()? {
                        if field.number == 1 {
                            self.property_set(&field, depth)?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(if is_null { Raw::None } else { value })
    }

    fn data_set<'a>(&mut self, field: &Field<'a>) -> Result<DataSet<'a>, PayloadError> {
        let mut table = DataSet { at: field.at, ..DataSet::default() };
        let mut reader = field.message()?;
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 => table.count = Some(field.number()?),
                2 => {
                    self.count(field.at)?;
                    table.columns.push(field.text()?);
                }
                3 => {
                    field.numbers_32(&mut table.types)?;
                    if table.types.len() > PARTS_MAX {
                        self.parts = PARTS_MAX;
                        self.count(field.at)?;
                    }
                }
                4 => table.rows.push(self.row(&field)?),
                _ => {}
            }
        }
        let width = table.columns.len();
        let is_counted = table.count.is_none_or(|count| usize::try_from(count) == Ok(width));
        let fits = |row: &Vec<Raw<'_>>| row.len() == width;
        if !is_counted || table.types.len() != width || !table.rows.iter().all(fits) {
            let text = "a data set: expected a name, a type and in each row a value for each of \
                its columns";
            return Err(PayloadError::new(table.at, text));
        }
        Ok(table)
    }

    fn row<'a>(&mut self, field: &Field<'a>) -> Result<Vec<Raw<'a>>, PayloadError> {
        self.count(field.at)?;
        let (mut row, mut reader) = (Vec::new(), field.message()?);
        while let Some(field) = reader.next_field()? {
            if field.number != 1 {
                continue;
            }
            self.count(field.at)?;
            let (mut value, mut cell) = (Raw::None, field.message()?);
            while let Some(field) = cell.next_field()? {
                match field.number {
                    1 => value = Raw::Number(field.number_32()?.into()),
                    2 => value = Raw::Number(field.number()?),
                    3 => value = Raw::Float(field.float()?),
                    4 => value = Raw::Double(field.double()?),
                    5 => value = Raw::Boolean(field.flag()?),
                    6 => value = Raw::Text(field.text()?),
                    7 => value = Raw::Extension,
                    _ => {}
                }
            }
            row.push(value);
        }
        Ok(row)
    }

    fn template<'a>(
        &mut self,
        field: &Field<'a>,
        depth: usize,
    ) -> Result<Template<'a>, PayloadError> {
        let depth = Self::deeper(field.at, depth)?;
        let (mut template, mut reader) = (Template::default(), field.message()?);
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 => template.version = Some(field.text()?),
                2 => template.metrics.push(self.metric(&field, depth)?),
                3 => template.parameters.push(self.parameter(&field)?),
                4 => template.reference = Some(field.text()?),
                5 => template.is_definition = field.flag()?,
                _ => {}
            }
        }
        Ok(template)
    }

    fn parameter<'a>(&mut self, field: &Field<'a>) -> Result<Parameter<'a>, PayloadError> {
        self.count(field.at)?;
        let mut parameter = Parameter { at: field.at, ..Parameter::default() };
        let mut reader = field.message()?;
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 => parameter.name = field.text()?,
                2 => parameter.datatype = field.number_32()?,
                3 => parameter.value = Raw::Number(field.number_32()?.into()),
                4 => parameter.value = Raw::Number(field.number()?),
                5 => parameter.value = Raw::Float(field.float()?),
                6 => parameter.value = Raw::Double(field.double()?),
                7 => parameter.value = Raw::Boolean(field.flag()?),
                8 => parameter.value = Raw::Text(field.text()?),
                9 => parameter.value = Raw::Extension,
                _ => {}
            }
        }
        Ok(parameter)
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::Writer;
    use super::*;

    fn message(field: u64, content: &[u8]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.bytes(field, content);
        writer.finish()
    }

    /// A payload with one metric, whose value is this field.
    fn with(field: u64, content: &[u8]) -> Vec<u8> {
        message(2, &message(field, content))
    }

    fn fault(bytes: &[u8]) -> (usize, String) {
        let error = read(bytes, Screening::ALL).expect_err("refused");
        let name = error.limit.as_ref().map(|limit| limit.name.to_owned());
        (error.position, name.unwrap_or_else(|| error.detail.into_owned()))
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| {
            let template = (1..depth).fold(Vec::new(), |inner, _| message(2, &message(18, &inner)));
            with(18, &template)
        };
        assert!(read(&nested(NESTING_MAX), Screening::ALL).is_ok());
        assert_eq!(fault(&nested(NESTING_MAX + 1)).1, "sparkplug_nesting_max");
        let sets = (0..=NESTING_MAX).fold(Vec::new(), |inner, _| {
            [message(1, b"k"), message(2, &message(9, &inner))].concat()
        });
        assert_eq!(fault(&with(9, &sets)).1, "sparkplug_nesting_max");
    }

    #[test]
    fn parts_are_bounded() {
        let metric = message(2, b"");
        assert!(read(&metric.repeat(PARTS_MAX), Screening::ALL).is_ok());
        let (position, limit) = fault(&metric.repeat(PARTS_MAX + 1));
        assert_eq!((position, &*limit), (PARTS_MAX * metric.len(), "sparkplug_parts_max"));
        let types = [0x1a_u8, 3, 1, 1, 1].repeat(PARTS_MAX);
        assert_eq!(fault(&with(17, &types)).1, "sparkplug_parts_max");
    }

    #[test]
    fn tables_and_property_sets_are_whole() {
        let cell = message(1, &[0x08, 7]);
        let row = message(4, &cell);
        let table = |parts: &[&[u8]]| with(17, &parts.concat());
        let column = message(2, b"a");
        let good = table(&[&[0x08, 1], &column, &[0x18, 3], &row, &row]);
        let found = read(&good, Screening::ALL).expect("whole");
        let Raw::DataSet(set) = &found.metrics[0].value else { panic!("no data set") };
        assert_eq!((set.columns.len(), set.rows.len()), (1, 2));
        assert_eq!(set.rows[0], [Raw::Number(7)]);
        for bad in [
            table(&[&[0x08, 2], &column, &[0x18, 3], &row]),
            table(&[&column, &row]),
            table(&[&column, &[0x18, 3], &message(4, &[cell.clone(), cell.clone()].concat())]),
        ] {
            assert!(fault(&bad).1.contains("a data set"), "{bad:02x?}");
        }
        assert!(fault(&with(9, &message(1, b"k"))).1.contains("as many values as keys"));
    }

    #[test]
    fn whatever_comes_is_read_or_refused_with_its_byte() {
        let cell = message(1, &[0x08, 7]);
        let table = [message(2, b"a"), vec![0x18, 3], message(4, &cell)].concat();
        let property = [message(1, b"k"), message(2, &message(8, b"text"))].concat();
        let metric = [message(1, b"name"), message(9, &property), message(17, &table)].concat();
        let good = [vec![0x08, 5], message(2, &metric), vec![0x18, 1]].concat();
        assert!(read(&good, Screening::ALL).is_ok());
        let check = |bytes: &[u8]| {
            if let Err(error) = read(bytes, Screening::ALL) {
                assert!(error.position <= bytes.len(), "{bytes:02x?}: {error}");
            }
        };
        for end in 0..good.len() {
            check(&good[..end]);
        }
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                check(&bad);
            }
        }
    }

    #[test]
    fn quality_and_unit_are_made_use_of() {
        let property = |key: &[u8], value: &[u8]| [message(1, key), message(2, value)].concat();
        let unit = property(b"engUnit", &message(8, "°C".as_bytes()));
        let quality = property(b"Quality", &[0x18, 0xc0, 1]);
        let bytes = with(9, &[unit, quality].concat());
        let found = read(&bytes, Screening::ALL).expect("well formed");
        let expect = Properties { quality: Some(192), unit: Some("°C") };
        assert_eq!(found.metrics[0].properties, expect);
    }
}
