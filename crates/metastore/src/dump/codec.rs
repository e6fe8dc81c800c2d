//! Rows as bytes: a tag and a value for each column.

use sea_orm::QueryResult;
use sea_orm::sea_query::Value;

use super::WHAT;
use crate::schema::ColumnKind;
use crate::{Error, Result};

const NULL: u8 = 0;
const INTEGER: u8 = 1;
const BOOLEAN: u8 = 2;
const TEXT: u8 = 3;
const BYTES: u8 = 4;

/// Reads a column out of a row, as a value that can be bound again.
pub(super) fn value(row: &QueryResult, column: &str, kind: ColumnKind) -> Result<Value> {
    let failed = |error| Error::from_db(error, WHAT);
    Ok(match kind {
        ColumnKind::Id | ColumnKind::Digest | ColumnKind::BlindIndex | ColumnKind::Sealed => {
            Value::Bytes(row.try_get_by(column).map_err(failed)?)
        }
        ColumnKind::Enum => Value::String(row.try_get_by(column).map_err(failed)?),
        ColumnKind::Time | ColumnKind::Integer => {
            Value::BigInt(row.try_get_by(column).map_err(failed)?)
        }
        ColumnKind::Boolean => Value::Bool(row.try_get_by(column).map_err(failed)?),
    })
}

/// Appends a value.
pub(super) fn put(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::BigInt(Some(number)) => {
            out.push(INTEGER);
            out.extend_from_slice(&number.to_le_bytes());
        }
        Value::Bool(Some(flag)) => out.extend_from_slice(&[BOOLEAN, u8::from(*flag)]),
        Value::String(Some(text)) => put_bytes(TEXT, text.as_bytes(), out),
        Value::Bytes(Some(bytes)) => put_bytes(BYTES, bytes, out),
        _ => out.push(NULL),
    }
}

fn put_bytes(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// What is left of a frame.
pub(super) struct Items<'a>(pub(super) &'a [u8]);

impl<'a> Items<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count).ok_or(Error::Corrupt { what: WHAT })?;
        self.0 = rest;
        Ok(front)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| Error::Corrupt { what: WHAT })
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn sized(&mut self) -> Result<&'a [u8]> {
        let length = u32::from_le_bytes(self.array()?);
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// The value of a column of this kind.
    pub(super) fn value(&mut self, kind: ColumnKind) -> Result<Value> {
        let tag = self.byte()?;
        let is_text = kind == ColumnKind::Enum;
        let is_number = matches!(kind, ColumnKind::Time | ColumnKind::Integer);
        let is_flag = kind == ColumnKind::Boolean;
        let is_bytes = !is_text && !is_number && !is_flag;
        Ok(match tag {
            NULL if is_text => Value::String(None),
            NULL if is_number => Value::BigInt(None),
            NULL if is_flag => Value::Bool(None),
            NULL => Value::Bytes(None),
            INTEGER if is_number => Value::BigInt(Some(i64::from_le_bytes(self.array()?))),
            BOOLEAN if is_flag => Value::Bool(Some(self.byte()? != 0)),
            TEXT if is_text => {
                let text = String::from_utf8(self.sized()?.to_vec());
                Value::String(Some(text.map_err(|_| Error::Corrupt { what: WHAT })?))
            }
            BYTES if is_bytes => Value::Bytes(Some(self.sized()?.to_vec())),
            _ => return Err(Error::Corrupt { what: WHAT }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_trip_and_cuts_are_damage() {
        let check = |value: Value, kind: ColumnKind| {
            let mut bytes = Vec::new();
            put(&value, &mut bytes);
            let mut items = Items(&bytes);
            assert_eq!(items.value(kind).expect("a value"), value);
            assert!(items.0.is_empty());
            for cut in 0..bytes.len() {
                assert!(Items(&bytes[..cut]).value(kind).is_err(), "cut at {cut}");
            }
        };
        check(Value::BigInt(Some(-7)), ColumnKind::Time);
        check(Value::BigInt(None), ColumnKind::Integer);
        check(Value::Bool(Some(true)), ColumnKind::Boolean);
        check(Value::String(Some("operator".to_owned())), ColumnKind::Enum);
        check(Value::Bytes(Some(vec![1; 300])), ColumnKind::Sealed);
        check(Value::Bytes(None), ColumnKind::Id);
        let mut bytes = Vec::new();
        put(&Value::BigInt(Some(1)), &mut bytes);
        assert!(Items(&bytes).value(ColumnKind::Enum).is_err(), "another kind");
    }
}
