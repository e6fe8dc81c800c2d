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

/// The value of a property.
struct Property<'a> {
    value: Raw<'a>,
    is_null: bool,
}

/// Reads a payload whose metrics become keys and values, where they are held to the rules on what
/// must not be kept. Here that is done with everything else: properties, and what is inside of
/// tables and templates.
pub(crate) fn read(bytes: &[u8], screening: Screening) -> Result<Payload<'_>, PayloadError> {
    Decoder { screening, parts: 0, is_passed_on: false }.payload(bytes)
}

/// Reads a payload that is only passed on: its metrics are held to the rules, too.
pub(crate) fn read_passed_on(
    bytes: &[u8],
    screening: Screening,
) -> Result<Payload<'_>, PayloadError> {
    Decoder { screening, parts: 0, is_passed_on: true }.payload(bytes)
}

struct Decoder {
    screening: Screening,
    parts: usize,
    /// Nobody makes keys and values of its metrics.
    is_passed_on: bool,
}

fn rule_broken(at: usize, rule: Rule, part: &str) -> PayloadError {
    PayloadError { rule: Some(rule), ..PayloadError::new(at, rule.refusal(part)) }
}

impl Decoder {
    fn payload(mut self, bytes: &[u8]) -> Result<Payload<'_>, PayloadError> {
        let (mut reader, mut payload) = (Reader::new(bytes), Payload::default());
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 => payload.timestamp = Some(field.number()?),
                2 => payload.metrics.push(self.metric(&field, 0)?),
                3 => payload.seq = Some(field.number()?),
                // The UUID of its schema.
                4 => {
                    self.text(&field)?;
                }
                // A body of another form, and what is not known.
                _ => {}
            }
        }
        Ok(payload)
    }

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

    /// A name that becomes no key by itself.
    fn name<'a>(&self, field: &Field<'a>) -> Result<&'a str, PayloadError> {
        let name = field.text()?;
        match self.screening.key(name) {
            Some(rule) => Err(rule_broken(field.at, rule, "the name of a part")),
            None => Ok(name),
        }
    }

    /// A text that is no value.
    fn text<'a>(&self, field: &Field<'a>) -> Result<&'a str, PayloadError> {
        let text = field.text()?;
        self.screen(field.at, None, &Raw::Text(text))?;
        Ok(text)
    }

    /// A text, which may be the value of a name.
    fn screen(&self, at: usize, name: Option<&str>, value: &Raw<'_>) -> Result<(), PayloadError> {
        if let Raw::Text(text) = value
            && let Some(rule) = self.screening.text(name, text)
        {
            return Err(rule_broken(at, rule, "the text of a part"));
        }
        Ok(())
    }

    fn metric<'a>(&mut self, field: &Field<'a>, depth: usize) -> Result<Metric<'a>, PayloadError> {
        self.count(field.at)?;
        let mut metric = Metric { at: field.at, ..Metric::default() };
        let becomes_key = depth == 0 && !self.is_passed_on;
        let mut reader = field.message()?;
        while let Some(field) = reader.next_field()? {
            match field.number {
                // Of two the one that does not count would be looked at by nobody.
                1 if metric.name.is_some() => {
                    return Err(PayloadError::new(field.at, "a metric with two names"));
                }
                10..=19 if !matches!(metric.value, Raw::None) => {
                    return Err(PayloadError::new(field.at, "a metric with two values"));
                }
                1 if becomes_key => metric.name = Some(field.text()?),
                1 => metric.name = Some(self.name(&field)?),
                2 => metric.alias = Some(field.number()?),
                3 => metric.timestamp = Some(field.number()?),
                4 => metric.datatype = Some(field.number_32()?),
                5 => metric.is_historical = field.flag()?,
                6 => metric.is_transient = field.flag()?,
                7 => metric.is_null = field.flag()?,
                8 => self.metadata(&field)?,
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
        if !becomes_key || metric.is_null {
            self.screen(metric.at, metric.name, &metric.value)?;
        }
        Ok(metric)
    }

    /// What a file or a part of one is. It is checked, and nothing of it is made use of.
    fn metadata(&self, field: &Field<'_>) -> Result<(), PayloadError> {
        let mut reader = field.message()?;
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 | 3 | 4 => {
                    field.number()?;
                }
                2 | 5..=8 => {
                    self.text(&field)?;
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
        for (key, (at, Property { value, is_null })) in keys.into_iter().zip(values) {
            match (key, &value) {
                _ if is_null => {}
                ("engUnit", Raw::Text(text)) => properties.unit = Some(*text),
                ("Quality" | "quality", Raw::Number(number)) => {
                    properties.quality = u32::try_from(*number).ok();
                }
                _ => {}
            }
            // What a null holds all the same is passed on with it.
            if let Raw::Text(text) = value
                && let Some(rule) = self.screening.text(Some(key), text)
            {
                return Err(rule_broken(at, rule, "the value of a property"));
            }
        }
        Ok(properties)
    }

    /// The value of a property. Of sets inside it nothing is made use of.
    fn property<'a>(
        &mut self,
        field: &Field<'a>,
        depth: usize,
    ) -> Result<Property<'a>, PayloadError> {
        self.count(field.at)?;
        let (mut value, mut is_null, mut has_value) = (Raw::None, false, false);
        let mut reader = field.message()?;
        while let Some(field) = reader.next_field()? {
            if (3..=11).contains(&field.number) && std::mem::replace(&mut has_value, true) {
                return Err(PayloadError::new(field.at, "a property with two values"));
            }
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
        Ok(Property { value, is_null })
    }

    fn data_set<'a>(&mut self, field: &Field<'a>) -> Result<DataSet<'a>, PayloadError> {
        let mut table = DataSet { at: field.at, ..DataSet::default() };
        let mut reader = field.message()?;
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 => table.count = Some(field.number()?),
                2 => {
                    self.count(field.at)?;
                    table.columns.push(self.name(&field)?);
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
                if (1..=7).contains(&field.number) && !matches!(value, Raw::None) {
                    return Err(PayloadError::new(field.at, "a cell with two values"));
                }
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
            self.screen(field.at, None, &value)?;
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
                1 => template.version = Some(self.text(&field)?),
                2 => template.metrics.push(self.metric(&field, depth)?),
                3 => template.parameters.push(self.parameter(&field)?),
                4 => template.reference = Some(self.name(&field)?),
                5 => template.is_definition = field.flag()?,
                _ => {}
            }
        }
        Ok(template)
    }

    fn parameter<'a>(&mut self, field: &Field<'a>) -> Result<Parameter<'a>, PayloadError> {
        self.count(field.at)?;
        let mut parameter = Parameter { at: field.at, ..Parameter::default() };
        let (mut has_name, mut reader) = (false, field.message()?);
        while let Some(field) = reader.next_field()? {
            if (3..=9).contains(&field.number) && !matches!(parameter.value, Raw::None) {
                return Err(PayloadError::new(field.at, "a parameter with two values"));
            }
            match field.number {
                1 if std::mem::replace(&mut has_name, true) => {
                    return Err(PayloadError::new(field.at, "a parameter with two names"));
                }
                1 => parameter.name = self.name(&field)?,
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
        self.screen(parameter.at, Some(parameter.name), &parameter.value)?;
        Ok(parameter)
    }
}

#[cfg(test)]
mod tests;
