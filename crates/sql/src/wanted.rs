//! What of a table a statement can need, out of its conditions: devices by id and name, series, and
//! a stretch of time. It is never less than what the conditions let through; they are looked at row
//! by row all the same.

use std::collections::HashSet;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use veritwin_domain::Timestamp;

use crate::columns::Column;

/// Texts of which a column has to be one.
type Texts = HashSet<String>;

/// What is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    device_ids: Option<Texts>,
    devices: Option<Texts>,
    keys: Option<Texts>,
    /// The first moment inside.
    pub(crate) from: Timestamp,
    /// The first moment outside.
    pub(crate) to: Timestamp,
}

impl Default for Wanted {
    fn default() -> Self {
        let (from, to) = (Timestamp::MIN, Timestamp::MAX);
        Self { device_ids: None, devices: None, keys: None, from, to }
    }
}

impl Wanted {
    /// What conditions that all hold leave.
    pub(crate) fn of(conditions: &[Expr]) -> Self {
        conditions.iter().fold(Self::default(), |wanted, one| wanted.and(Self::by(one)))
    }

    /// Whether a condition narrows anything.
    pub(crate) fn is_narrowed_by(condition: &Expr) -> bool {
        Self::by(condition) != Self::default()
    }

    pub(crate) fn wants_device(&self, id: &str, name: &str) -> bool {
        let is_one = |texts: &Option<Texts>, text: &str| {
            texts.as_ref().is_none_or(|texts| texts.contains(text))
        };
        is_one(&self.device_ids, id) && is_one(&self.devices, name)
    }

    pub(crate) fn wants_key(&self, key: &str) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.contains(key))
    }

    /// Whether there is no time that is wanted.
    pub(crate) fn is_never(&self) -> bool {
        self.from >= self.to
    }

    /// What one condition leaves; everything where it is not understood.
    fn by(condition: &Expr) -> Self {
        match condition {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                Self::by(left).and(Self::by(right))
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                Self::by(left).or(Self::by(right))
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (&**left, &**right) {
                (Expr::Column(column), Expr::Literal(value, _)) => {
                    Self::compared(&column.name, *op, value)
                }
                (Expr::Literal(value, _), Expr::Column(column)) => {
                    op.swap().map(|op| Self::compared(&column.name, op, value)).unwrap_or_default()
                }
                _ => Self::default(),
            },
            Expr::InList(InList { expr, list, negated: false }) => Self::listed(expr, list),
            Expr::Between(Between { expr, negated: false, low, high }) => {
                match (&**expr, &**low, &**high) {
                    (Expr::Column(column), Expr::Literal(low, _), Expr::Literal(high, _)) => {
                        let from = Self::compared(&column.name, Operator::GtEq, low);
                        from.and(Self::compared(&column.name, Operator::LtEq, high))
                    }
                    _ => Self::default(),
                }
            }
            _ => Self::default(),
        }
    }

    fn listed(column: &Expr, list: &[Expr]) -> Self {
        let Expr::Column(column) = column else { return Self::default() };
        let text = |one: &Expr| match one {
            Expr::Literal(value, _) => text_of(value).map(str::to_owned),
            _ => None,
        };
        let texts: Option<Texts> = list.iter().map(text).collect();
        texts.map(|texts| Self::one_of(&column.name, texts)).unwrap_or_default()
    }

    fn compared(column: &str, operator: Operator, value: &ScalarValue) -> Self {
        if let (Operator::Eq, Some(text)) = (operator, text_of(value)) {
            return Self::one_of(column, Texts::from([text.to_owned()]));
        }
        let mut wanted = Self::default();
        if column != Column::At.name() {
            return wanted;
        }
        let Some(at) = time_of(value) else { return wanted };
        // A moment may lie between two microseconds, so that the one before it is its neighbour on
        // either side: too much is read by one, never too little.
        if matches!(operator, Operator::Eq | Operator::Gt | Operator::GtEq) {
            wanted.from = at;
        }
        if matches!(operator, Operator::Eq | Operator::Lt | Operator::LtEq) {
            wanted.to = at.just_after();
        }
        wanted
    }

    fn one_of(column: &str, texts: Texts) -> Self {
        let mut wanted = Self::default();
        if column == Column::DeviceId.name() {
            wanted.device_ids = Some(texts);
        } else if column == Column::Device.name() {
            wanted.devices = Some(texts);
        } else if column == Column::Key.name() {
            wanted.keys = Some(texts);
        }
        wanted
    }

    /// What both leave.
    fn and(self, other: Self) -> Self {
        let both = |one: Option<Texts>, other: Option<Texts>| match (one, other) {
            (Some(one), Some(other)) => Some(one.intersection(&other).cloned().collect()),
            (one, other) => one.or(other),
        };
        Self {
            device_ids: both(self.device_ids, other.device_ids),
            devices: both(self.devices, other.devices),
            keys: both(self.keys, other.keys),
            from: self.from.max(other.from),
            to: self.to.min(other.to),
        }
    }

    /// What either leaves, or more.
    fn or(self, other: Self) -> Self {
        let either = |one: Option<Texts>, other: Option<Texts>| {
            one.zip(other).map(|(one, other)| one.into_iter().chain(other).collect())
        };
        Self {
            device_ids: either(self.device_ids, other.device_ids),
            devices: either(self.devices, other.devices),
            keys: either(self.keys, other.keys),
            from: self.from.min(other.from),
            to: self.to.max(other.to),
        }
    }
}

fn text_of(value: &ScalarValue) -> Option<&str> {
    match value {
        ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text) => {
            text.as_deref()
        }
        _ => None,
    }
}

/// The microsecond of a time, rounded down.
fn time_of(value: &ScalarValue) -> Option<Timestamp> {
    let micros = match value {
        ScalarValue::TimestampSecond(Some(seconds), _) => seconds.checked_mul(1_000_000)?,
        ScalarValue::TimestampMillisecond(Some(millis), _) => millis.checked_mul(1_000)?,
        ScalarValue::TimestampMicrosecond(Some(micros), _) => *micros,
        ScalarValue::TimestampNanosecond(Some(nanos), _) => nanos.div_euclid(1_000),
        _ => return None,
    };
    Some(Timestamp::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    fn at(micros: i64) -> Expr {
        lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())))
    }

    fn times(conditions: &[Expr]) -> (i64, i64) {
        let wanted = Wanted::of(conditions);
        (wanted.from.as_micros(), wanted.to.as_micros())
    }

    #[test]
    fn times_narrow_and_never_too_far() {
        let check = |conditions: &[Expr], expect| assert_eq!(times(conditions), expect);
        check(&[], (i64::MIN, i64::MAX));
        check(&[col("at").gt_eq(at(5)), col("at").lt(at(9))], (5, 10));
        check(&[at(5).lt_eq(col("at"))], (5, i64::MAX));
        check(&[col("at").eq(at(7))], (7, 8));
        check(&[col("at").between(at(3), at(4))], (3, 5));
        check(&[col("at").lt(at(3)).or(col("at").gt(at(8)))], (i64::MIN, i64::MAX));
        check(&[col("at").not_eq(at(3))], (i64::MIN, i64::MAX));
        check(&[col("number").gt(at(3))], (i64::MIN, i64::MAX));
        let nanos = lit(ScalarValue::TimestampNanosecond(Some(-1_500), None));
        check(&[col("at").gt(nanos)], (-2, i64::MAX));
    }

    #[test]
    fn devices_and_series_narrow() {
        let wanted = Wanted::of(&[
            col("device_id").eq(lit("d1")).or(col("device_id").eq(lit("d2"))),
            col("key").in_list(vec![lit("a"), lit("b")], false),
        ]);
        assert!(wanted.wants_device("d1", "any") && wanted.wants_device("d2", "any"));
        assert!(!wanted.wants_device("d3", "any"));
        assert!(wanted.wants_key("a") && !wanted.wants_key("c"));
        // What is not understood on one side of an "or" leaves everything.
        let open = col("device_id").eq(lit("d1")).or(col("number").gt(lit(3)));
        assert!(!Wanted::is_narrowed_by(&open));
        assert!(!Wanted::is_narrowed_by(&col("key").in_list(vec![lit("a")], true)));
        let never = Wanted::of(&[col("at").gt(at(9)), col("at").lt(at(3))]);
        assert!(never.is_never());
    }
}
