//! What stands in the buckets of a range that hold no readings.

use veritwin_domain::Value;

use crate::TelemetryError;
use crate::aggregate_state::{Aggregate, BucketRow};
use crate::budget::Budget;
use crate::query_downsample::{Downsample, row, row_bytes};

/// What stands in buckets without readings. Their count is 0, whatever else stands there.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Fill {
    /// They are left out.
    #[default]
    None,
    /// Nothing.
    Null,
    /// What stood there before; at the beginning the reading before the range, for aggregates that
    /// are a reading rather than a sum or a change.
    Previous,
    /// On the straight line between the numbers before and after, by where the buckets begin.
    Linear,
    /// This number.
    Value(f64),
}

/// All buckets of a range.
pub(crate) struct Grid<'q> {
    pub(crate) query: &'q Downsample,
    pub(crate) range: (i64, i64),
    pub(crate) rows_max: usize,
    pub(crate) budget: &'q Budget,
}

impl Grid<'_> {
    /// Fills up the rows that hold readings; `opening` is the reading before the range.
    pub(crate) async fn fill(
        &self,
        rows: Vec<BucketRow>,
        opening: Option<&Value>,
    ) -> Result<Vec<BucketRow>, TelemetryError> {
        if self.query.fill == Fill::None {
            return Ok(rows);
        }
        let mut rows = self.spread(rows).await?;
        for (column, aggregate) in self.query.aggregates.iter().enumerate() {
            match (*aggregate, self.query.fill) {
                (Aggregate::Count, _) => put(&mut rows, column, &Value::Integer(0)),
                (_, Fill::None | Fill::Null) => {}
                (_, Fill::Value(number)) => put(&mut rows, column, &Value::Double(number)),
                (_, Fill::Previous) => {
                    let opening = opening.and_then(|value| opening_of(*aggregate, value));
                    hold(&mut rows, column, opening);
                }
                (_, Fill::Linear) => connect(&mut rows, column),
            }
        }
        Ok(rows)
    }

    /// The rows with all others of the range between them.
    async fn spread(&self, rows: Vec<BucketRow>) -> Result<Vec<BucketRow>, TelemetryError> {
        let mut known = rows.into_iter().peekable();
        let mut spread = Vec::new();
        let mut at = self.range.0;
        loop {
            let bounds = self.query.buckets.bounds(at, self.range);
            if spread.len() == self.rows_max {
                let (name, max) = ("query_points_max", self.rows_max);
                return Err(TelemetryError::Limit { name, max });
            }
            let found = known.next_if(|row| row.from.as_micros() == bounds.0);
            let found = match found {
                Some(row) => row,
                None => {
                    let row = row(bounds, 0, vec![None; self.query.aggregates.len()]);
                    self.budget.take(row_bytes(&row))?;
                    row
                }
            };
            spread.push(found);
            match bounds.1.checked_add(1).filter(|next| *next <= self.range.1) {
                Some(next) => at = next,
                None => return Ok(spread),
            }
            tokio::task::consume_budget().await;
        }
    }
}

/// What an aggregate of nothing but the reading before the range would be.
fn opening_of(aggregate: Aggregate, value: &Value) -> Option<Value> {
    match aggregate {
        Aggregate::First | Aggregate::Last => Some(value.clone()),
        Aggregate::Min
        | Aggregate::Max
        | Aggregate::Avg
        | Aggregate::TimeWeighted
        | Aggregate::Percentile(_) => value.as_f64().map(Value::Double),
        Aggregate::Count | Aggregate::Sum | Aggregate::Delta | Aggregate::Rate => None,
    }
}

fn put(rows: &mut [BucketRow], column: usize, value: &Value) {
    for row in rows.iter_mut().filter(|row| row.count == 0) {
        row.values[column] = Some(value.clone());
    }
}

fn hold(rows: &mut [BucketRow], column: usize, opening: Option<Value>) {
    let mut held = opening;
    for row in rows {
        let value = &mut row.values[column];
        if row.count == 0 {
            value.clone_from(&held);
        } else if value.is_some() {
            held.clone_from(value);
        }
    }
}

fn connect(rows: &mut [BucketRow], column: usize) {
    let number = |row: &BucketRow| row.values[column].as_ref().and_then(Value::as_f64);
    let place = |row: &BucketRow| row.from.as_micros() as f64;
    let known: Vec<(usize, f64)> = rows
        .iter()
        .enumerate()
        .filter(|(_, row)| row.count > 0)
        .filter_map(|(index, row)| Some((index, number(row)?)))
        .collect();
    for pair in known.windows(2) {
        let ((start, from), (end, to)) = (pair[0], pair[1]);
        let (left, right) = (place(&rows[start]), place(&rows[end]));
        for row in rows[start + 1..end].iter_mut().filter(|row| row.count == 0) {
            let part = (place(row) - left) / (right - left);
            row.values[column] = Some(Value::Double(from * (1.0 - part) + to * part));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[Option<Value>]) -> Vec<BucketRow> {
        let rows = values.iter().enumerate();
        rows.map(|(index, value)| {
            let (start, count) = (index as i64 * 10, u64::from(value.is_some()));
            row((start, start + 9), count, vec![value.clone()])
        })
        .collect()
    }

    fn doubles(rows: &[BucketRow]) -> Vec<Option<f64>> {
        rows.iter().map(|row| row.values[0].as_ref().and_then(Value::as_f64)).collect()
    }

    #[test]
    fn gaps_hold_connect_or_take_a_number() {
        let known = [None, Some(Value::Double(1.0)), None, None, Some(Value::Integer(7)), None];
        let mut held = rows(&known);
        hold(&mut held, 0, Some(Value::Double(0.5)));
        assert_eq!(doubles(&held), [0.5, 1.0, 1.0, 1.0, 7.0, 7.0].map(Some));
        let mut connected = rows(&known);
        connect(&mut connected, 0);
        let expect = [None, Some(1.0), Some(3.0), Some(5.0), Some(7.0), None];
        assert_eq!(doubles(&connected), expect);
        let mut put_in = rows(&known);
        put(&mut put_in, 0, &Value::Double(-1.0));
        assert_eq!(doubles(&put_in), [-1.0, 1.0, -1.0, -1.0, 7.0, -1.0].map(Some));
    }

    #[test]
    fn texts_hold_and_do_not_connect() {
        let known = [Some(Value::Text("on".into())), None, Some(Value::Double(4.0))];
        let mut held = rows(&known);
        hold(&mut held, 0, None);
        assert_eq!(held[1].values[0], known[0]);
        let mut connected = rows(&known);
        connect(&mut connected, 0);
        assert_eq!(connected[1].values[0], None);
        assert_eq!(opening_of(Aggregate::Sum, &Value::Double(1.0)), None);
        assert_eq!(opening_of(Aggregate::Avg, &Value::Text("on".into())), None);
    }
}
