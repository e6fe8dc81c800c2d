//! Columns of readings: one vector of times, one typed vector of values, and the quality where it
//! is not good throughout. A column holds one kind of value; a series that switches has several.

use std::sync::Arc;

use veritwin_domain::{Quality, Value};
use zeroize::Zeroize;

/// The type of the values of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Double,
    Integer,
    Boolean,
    Text,
    Json,
}

impl Kind {
    pub(crate) const fn of(value: &Value) -> Self {
        match value {
            Value::Double(_) => Self::Double,
            Value::Integer(_) => Self::Integer,
            Value::Boolean(_) => Self::Boolean,
            Value::Text(_) => Self::Text,
            Value::Json(_) => Self::Json,
        }
    }

    /// Whether its values are numbers to reckon with; booleans count as 0 and 1.
    pub(crate) const fn is_number(self) -> bool {
        matches!(self, Self::Double | Self::Integer | Self::Boolean)
    }

    pub(crate) const fn as_u8(self) -> u8 {
        match self {
            Self::Double => 0,
            Self::Integer => 1,
            Self::Boolean => 2,
            Self::Text => 3,
            Self::Json => 4,
        }
    }

    pub(crate) const fn from_u8(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Double),
            1 => Some(Self::Integer),
            2 => Some(Self::Boolean),
            3 => Some(Self::Text),
            4 => Some(Self::Json),
            _ => None,
        }
    }
}

/// Values of one kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Values {
    Double(Vec<f64>),
    Integer(Vec<i64>),
    Boolean(Vec<bool>),
    Text(Vec<Arc<str>>),
    Json(Vec<Arc<str>>),
}

macro_rules! each {
    ($self:expr, $vector:ident => $body:expr) => {
        match $self {
            Self::Double($vector) => $body,
            Self::Integer($vector) => $body,
            Self::Boolean($vector) => $body,
            Self::Text($vector) => $body,
            Self::Json($vector) => $body,
        }
    };
}

macro_rules! map_each {
    ($self:expr, $to:ident, $vector:ident => $body:expr) => {
        match $self {
            Self::Double($vector) => $to::Double($body),
            Self::Integer($vector) => $to::Integer($body),
            Self::Boolean($vector) => $to::Boolean($body),
            Self::Text($vector) => $to::Text($body),
            Self::Json($vector) => $to::Json($body),
        }
    };
}

impl Values {
    pub(crate) const fn empty(kind: Kind) -> Self {
        match kind {
            Kind::Double => Self::Double(Vec::new()),
            Kind::Integer => Self::Integer(Vec::new()),
            Kind::Boolean => Self::Boolean(Vec::new()),
            Kind::Text => Self::Text(Vec::new()),
            Kind::Json => Self::Json(Vec::new()),
        }
    }

    /// Overwrites the values, texts that nobody else reads included.
    pub(crate) fn wipe(&mut self) {
        match self {
            Self::Double(values) => values.zeroize(),
            Self::Integer(values) => values.zeroize(),
            Self::Boolean(values) => values.zeroize(),
            Self::Text(values) | Self::Json(values) => {
                for text in values {
                    if let Some(text) = Arc::get_mut(text) {
                        text.zeroize();
                    }
                }
            }
        }
    }

    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::Double(_) => Kind::Double,
            Self::Integer(_) => Kind::Integer,
            Self::Boolean(_) => Kind::Boolean,
            Self::Text(_) => Kind::Text,
            Self::Json(_) => Kind::Json,
        }
    }

    /// Appends a value of this column's kind and returns the bytes it takes; nothing happens to a
    /// value of another kind, which callers sort out by [`Kind::of`] before.
    pub(crate) fn push(&mut self, value: &Value) -> usize {
        match (self, value) {
            (Self::Double(vector), Value::Double(number)) => vector.push(*number),
            (Self::Integer(vector), Value::Integer(number)) => vector.push(*number),
            (Self::Boolean(vector), Value::Boolean(flag)) => {
                vector.push(*flag);
                return 1;
            }
            (Self::Text(vector), Value::Text(text)) | (Self::Json(vector), Value::Json(text)) => {
                vector.push(Arc::clone(text));
                return 32 + text.len();
            }
            _ => debug_assert!(false, "a column takes values of its own kind"),
        }
        8
    }

    /// Appends values of this column's kind.
    pub(crate) fn extend(&mut self, values: ValuesRef<'_>) {
        match (self, values) {
            (Self::Double(vector), ValuesRef::Double(more)) => vector.extend_from_slice(more),
            (Self::Integer(vector), ValuesRef::Integer(more)) => vector.extend_from_slice(more),
            (Self::Boolean(vector), ValuesRef::Boolean(more)) => vector.extend_from_slice(more),
            (Self::Text(vector), ValuesRef::Text(more))
            | (Self::Json(vector), ValuesRef::Json(more)) => vector.extend_from_slice(more),
            _ => debug_assert!(false, "a column takes values of its own kind"),
        }
    }

    /// The same, taken over.
    pub(crate) fn append(&mut self, values: Self) {
        match (self, values) {
            (Self::Double(vector), Self::Double(mut more)) => vector.append(&mut more),
            (Self::Integer(vector), Self::Integer(mut more)) => vector.append(&mut more),
            (Self::Boolean(vector), Self::Boolean(mut more)) => vector.append(&mut more),
            (Self::Text(vector), Self::Text(mut more))
            | (Self::Json(vector), Self::Json(mut more)) => vector.append(&mut more),
            _ => debug_assert!(false, "a column takes values of its own kind"),
        }
    }

    pub(crate) fn truncate(&mut self, count: usize) {
        each!(self, vector => vector.truncate(count));
    }

    pub(crate) fn drop_front(&mut self, count: usize) {
        each!(self, vector => { vector.drain(..count); });
    }

    pub(crate) fn reverse(&mut self) {
        each!(self, vector => vector.reverse());
    }

    pub(crate) fn as_ref(&self) -> ValuesRef<'_> {
        map_each!(self, ValuesRef, vector => vector.as_slice())
    }
}

/// A borrowed stretch of values of one kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ValuesRef<'a> {
    Double(&'a [f64]),
    Integer(&'a [i64]),
    Boolean(&'a [bool]),
    Text(&'a [Arc<str>]),
    Json(&'a [Arc<str>]),
}

impl<'a> ValuesRef<'a> {
    pub(crate) const fn kind(self) -> Kind {
        match self {
            Self::Double(_) => Kind::Double,
            Self::Integer(_) => Kind::Integer,
            Self::Boolean(_) => Kind::Boolean,
            Self::Text(_) => Kind::Text,
            Self::Json(_) => Kind::Json,
        }
    }

    pub(crate) fn slice(self, from: usize, to: usize) -> Self {
        map_each!(self, Self, vector => &vector[from..to])
    }

    pub(crate) fn to_owned(self) -> Values {
        map_each!(self, Values, vector => vector.to_vec())
    }

    /// The value at `index` as a number; none for text and JSON.
    pub(crate) fn number_at(self, index: usize) -> Option<f64> {
        match self {
            Self::Double(vector) => Some(vector[index]),
            Self::Integer(vector) => Some(vector[index] as f64),
            Self::Boolean(vector) => Some(f64::from(u8::from(vector[index]))),
            Self::Text(_) | Self::Json(_) => None,
        }
    }

    /// The value at `index`; callers keep it inside the column.
    pub(crate) fn get(self, index: usize) -> Value {
        match self {
            Self::Double(vector) => Value::Double(vector[index]),
            Self::Integer(vector) => Value::Integer(vector[index]),
            Self::Boolean(vector) => Value::Boolean(vector[index]),
            Self::Text(vector) => Value::Text(Arc::clone(&vector[index])),
            Self::Json(vector) => Value::Json(Arc::clone(&vector[index])),
        }
    }
}

/// A column whose times rise strictly (or fall strictly, while a query walks backwards).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    pub(crate) at: Vec<i64>,
    pub(crate) values: Values,
    /// One byte per value, or empty when every value is good.
    pub(crate) quality: Vec<u8>,
}

impl Column {
    pub(crate) const fn empty(kind: Kind) -> Self {
        Self { at: Vec::new(), values: Values::empty(kind), quality: Vec::new() }
    }

    pub(crate) fn push(&mut self, at: i64, value: &Value, quality: Quality) -> usize {
        push_quality(&mut self.quality, self.at.len(), quality);
        self.at.push(at);
        8 + self.values.push(value)
    }

    /// Appends a run of this column's kind that lies behind it in time.
    pub(crate) fn extend(&mut self, run: ColumnRef<'_>) {
        self.extend_quality(run.quality, run.at.len());
        self.at.extend_from_slice(run.at);
        self.values.extend(run.values);
    }

    /// The same of a whole column, whose values are taken over.
    pub(crate) fn append(&mut self, later: Self) {
        let Self { at, values, quality } = later;
        self.extend_quality(&quality, at.len());
        self.at.extend_from_slice(&at);
        self.values.append(values);
    }

    /// Appends the quality of so many values, before their times are there.
    fn extend_quality(&mut self, quality: &[u8], count: usize) {
        let good = Quality::Good.as_u8();
        if !quality.is_empty() || !self.quality.is_empty() {
            self.quality.resize(self.at.len(), good);
            self.quality.extend_from_slice(quality);
            self.quality.resize(self.at.len() + count, good);
        }
    }

    pub(crate) fn as_ref(&self) -> ColumnRef<'_> {
        ColumnRef { at: &self.at, values: self.values.as_ref(), quality: &self.quality }
    }

    pub(crate) fn reverse(&mut self) {
        self.at.reverse();
        self.values.reverse();
        self.quality.reverse();
    }

    /// Cuts a rising column to the times `low..=high`.
    pub(crate) fn clip(&mut self, low: i64, high: i64) {
        let end = self.at.partition_point(|at| *at <= high);
        let start = self.at.partition_point(|at| *at < low).min(end);
        self.at.truncate(end);
        self.values.truncate(end);
        self.quality.truncate(end);
        if start > 0 {
            self.at.drain(..start);
            self.values.drop_front(start);
            if !self.quality.is_empty() {
                self.quality.drain(..start);
            }
        }
    }
}

/// Appends one quality after `count` earlier values; the vector stays empty while all are good.
pub(crate) fn push_quality(vector: &mut Vec<u8>, count: usize, quality: Quality) {
    if vector.is_empty() {
        if quality == Quality::Good {
            return;
        }
        vector.resize(count, Quality::Good.as_u8());
    }
    vector.push(quality.as_u8());
}

/// A borrowed stretch of a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ColumnRef<'a> {
    pub(crate) at: &'a [i64],
    pub(crate) values: ValuesRef<'a>,
    pub(crate) quality: &'a [u8],
}

impl<'a> ColumnRef<'a> {
    pub(crate) fn slice(self, from: usize, to: usize) -> Self {
        let quality = if self.quality.is_empty() { self.quality } else { &self.quality[from..to] };
        Self { at: &self.at[from..to], values: self.values.slice(from, to), quality }
    }

    /// The stretch of a rising column with times in `low..=high`.
    pub(crate) fn between(self, low: i64, high: i64) -> Self {
        let end = self.at.partition_point(|at| *at <= high);
        let start = self.at.partition_point(|at| *at < low).min(end);
        self.slice(start, end)
    }

    pub(crate) fn to_owned(self) -> Column {
        Column {
            at: self.at.to_vec(),
            values: self.values.to_owned(),
            quality: self.quality.to_vec(),
        }
    }

    pub(crate) fn quality_at(self, index: usize) -> Quality {
        self.quality.get(index).and_then(|byte| Quality::from_u8(*byte)).unwrap_or_default()
    }
}
