//! One series in memory: readings in the order they arrived, by kind, and the way from there to
//! columns whose times rise strictly. The later arrival wins where times are equal.

use std::collections::BTreeSet;

use veritwin_domain::{DAY_MICROS, Key, Quality, Reading, Timestamp, Value};

use crate::values::{Column, ColumnRef, Kind};

/// Arrival order of rows; kept only once a series holds more than one kind.
type Ordinals = Vec<u32>;

#[derive(Debug, Clone)]
struct Arrivals {
    kind: Kind,
    column: Column,
    ordinals: Ordinals,
    rises: bool,
}

/// Readings of one series that are not in a segment yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct SeriesRows {
    arrivals: Vec<Arrivals>,
    count: u32,
}

impl SeriesRows {
    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Overwrites the values; the rows are of no use any more.
    pub(crate) fn wipe(&mut self) {
        self.arrivals.iter_mut().for_each(|arrivals| arrivals.column.values.wipe());
    }

    /// When they were measured, in no order.
    pub(crate) fn times(&self) -> impl Iterator<Item = i64> {
        self.arrivals.iter().flat_map(|arrivals| arrivals.column.at.iter().copied())
    }

    /// The row with the highest time; of equal times the last to come.
    pub(crate) fn newest(&self) -> Option<(i64, Value, Quality)> {
        let columns = self.copy_between(i64::MIN, i64::MAX, true, 1);
        let newest = columns.iter().max_by_key(|column| column.at.last().copied())?;
        let (row, column) = (newest.at.len().checked_sub(1)?, newest.as_ref());
        Some((column.at[row], column.values.get(row), column.quality_at(row)))
    }

    /// Takes a reading and returns the bytes it occupies.
    pub(crate) fn push(&mut self, reading: &Reading) -> usize {
        let kind = Kind::of(&reading.value);
        let place = match self.arrivals.iter().position(|arrivals| arrivals.kind == kind) {
            Some(place) => place,
            None => self.add_kind(kind),
        };
        let ordinal = self.count;
        let several_kinds = self.arrivals.len() > 1;
        let arrivals = &mut self.arrivals[place];
        let at = reading.at.as_micros();
        arrivals.rises = arrivals.rises && arrivals.column.at.last().is_none_or(|last| *last < at);
        let mut bytes = arrivals.column.push(at, &reading.value, reading.quality);
        if several_kinds {
            arrivals.ordinals.push(ordinal);
            bytes += size_of::<u32>();
        }
        self.count += 1;
        bytes
    }

    /// A second kind appears: from here on arrival order no longer follows from the row number.
    fn add_kind(&mut self, kind: Kind) -> usize {
        if let [only] = self.arrivals.as_mut_slice() {
            only.ordinals = (0..self.count).collect();
        }
        // Nearly every series has one kind, and there are many series.
        self.arrivals.reserve_exact(1);
        self.arrivals.push(Arrivals {
            kind,
            column: Column::empty(kind),
            ordinals: Ordinals::new(),
            rises: true,
        });
        self.arrivals.len() - 1
    }

    /// Columns with strictly rising times; a series that arrived in order is lent, not copied.
    pub(crate) fn resolve(&self) -> Resolved<'_> {
        match self.arrivals.as_slice() {
            [only] if only.rises => Resolved::Lent(only.column.as_ref()),
            _ => Resolved::Made(self.sorted(i64::MIN, i64::MAX)),
        }
    }

    /// Copies of the rows with times in `low..=high`, as columns with strictly rising times.
    /// `count_max` of them from the named end are enough for the caller.
    pub(crate) fn copy_between(
        &self,
        low: i64,
        high: i64,
        descending: bool,
        count_max: usize,
    ) -> Vec<Column> {
        let [Arrivals { column, rises: true, .. }] = self.arrivals.as_slice() else {
            return self.sorted(low, high);
        };
        let rows = column.as_ref().between(low, high);
        let (count, taken) = (rows.at.len(), rows.at.len().min(count_max));
        let rows = if descending { rows.slice(count - taken, count) } else { rows.slice(0, taken) };
        if taken == 0 { Vec::new() } else { vec![rows.to_owned()] }
    }

    /// Adds the UTC days of all rows; stops once there are more than `days_max`.
    pub(crate) fn note_days(&self, days: &mut BTreeSet<i64>, days_max: usize) {
        for arrivals in &self.arrivals {
            let at = arrivals.column.at.as_slice();
            let mut start = 0;
            while start < at.len() && days.len() <= days_max {
                let day = at[start].div_euclid(DAY_MICROS);
                days.insert(day);
                let is_same = |at: &i64| at.div_euclid(DAY_MICROS) == day;
                start += if arrivals.rises {
                    at[start..].partition_point(is_same)
                } else {
                    at[start..].iter().take_while(|at| is_same(at)).count()
                };
            }
        }
    }

    fn sorted(&self, low: i64, high: i64) -> Vec<Column> {
        let mut rows: Vec<(i64, u32, u8, u32)> = Vec::new();
        for (place, arrivals) in self.arrivals.iter().enumerate() {
            for (row, at) in arrivals.column.at.iter().enumerate() {
                if (low..=high).contains(at) {
                    let row = row as u32;
                    let ordinal = arrivals.ordinals.get(row as usize).copied().unwrap_or(row);
                    rows.push((*at, ordinal, place as u8, row));
                }
            }
        }
        rows.sort_unstable();
        let mut columns: Vec<Column> =
            self.arrivals.iter().map(|arrivals| Column::empty(arrivals.kind)).collect();
        for (index, (at, _, place, row)) in rows.iter().enumerate() {
            // The last of equal times arrived last and wins.
            if rows.get(index + 1).is_some_and(|next| next.0 == *at) {
                continue;
            }
            let source = self.arrivals[usize::from(*place)].column.as_ref();
            let row = *row as usize;
            let (value, quality) = (source.values.get(row), source.quality_at(row));
            columns[usize::from(*place)].push(*at, &value, quality);
        }
        columns.retain(|column| !column.at.is_empty());
        columns
    }

    /// Appends the rows of a later table, in their order of arrival.
    pub(crate) fn append(&mut self, later: &Self, key: &Key) {
        let mut rows: Vec<(u32, usize, usize)> = Vec::new();
        for (place, arrivals) in later.arrivals.iter().enumerate() {
            for row in 0..arrivals.column.at.len() {
                let ordinal = arrivals.ordinals.get(row).copied().unwrap_or(row as u32);
                rows.push((ordinal, place, row));
            }
        }
        rows.sort_unstable();
        for (_, place, row) in rows {
            let source = later.arrivals[place].column.as_ref();
            self.push(&Reading {
                key: key.clone(),
                at: Timestamp::from_micros(source.at[row]),
                value: source.values.get(row),
                quality: source.quality_at(row),
            });
        }
    }
}

/// A series as columns with strictly rising times, no time in two of them.
#[derive(Debug)]
pub(crate) enum Resolved<'a> {
    /// As it stands in memory.
    Lent(ColumnRef<'a>),
    /// Sorted copies, one for each kind.
    Made(Vec<Column>),
}

impl Resolved<'_> {
    pub(crate) fn columns(&self) -> impl Iterator<Item = ColumnRef<'_>> {
        let (lent, made) = match self {
            Self::Lent(column) => (Some(*column), [].as_slice()),
            Self::Made(columns) => (None, columns.as_slice()),
        };
        lent.into_iter().chain(made.iter().map(Column::as_ref))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(readings: &[(i64, Value)]) -> SeriesRows {
        let key = Key::new("k").expect("a key");
        let mut rows = SeriesRows::default();
        for (at, value) in readings {
            rows.push(&Reading {
                key: key.clone(),
                at: Timestamp::from_micros(*at),
                value: value.clone(),
                quality: Quality::Good,
            });
        }
        rows
    }

    #[test]
    fn rising_rows_are_lent_and_others_sorted() {
        let rising = rows(&[(1, Value::Double(1.0)), (2, Value::Double(2.0))]);
        assert!(matches!(rising.resolve(), Resolved::Lent(column) if column.at == [1, 2]));
        let falling = rows(&[(2, Value::Double(2.0)), (1, Value::Double(1.0))]);
        assert!(matches!(falling.resolve(), Resolved::Made(columns) if columns[0].at == [1, 2]));
    }

    #[test]
    fn the_last_arrival_wins_across_kinds() {
        let mixed = rows(&[
            (5, Value::Integer(1)),
            (6, Value::Integer(2)),
            (5, Value::Double(1.5)),
            (6, Value::Text("x".into())),
            (6, Value::Integer(3)),
        ]);
        let Resolved::Made(columns) = mixed.resolve() else { panic!("several kinds are sorted") };
        let mut seen: Vec<(i64, Value)> = columns
            .iter()
            .flat_map(|c| (0..c.at.len()).map(|i| (c.at[i], c.as_ref().values.get(i))))
            .collect();
        seen.sort_by_key(|(at, _)| *at);
        assert_eq!(seen, [(5, Value::Double(1.5)), (6, Value::Integer(3))]);
    }

    #[test]
    fn tables_append_in_order_of_arrival() {
        let mut early = rows(&[(5, Value::Integer(1)), (9, Value::Integer(9))]);
        let late =
            rows(&[(5, Value::Double(0.5)), (5, Value::Integer(7)), (9, Value::Double(8.0))]);
        early.append(&late, &Key::new("k").expect("a key"));
        let columns = early.sorted(i64::MIN, i64::MAX);
        let find = |at| {
            columns
                .iter()
                .find_map(|c| c.at.iter().position(|x| *x == at).map(|i| c.as_ref().values.get(i)))
        };
        assert_eq!(find(5), Some(Value::Integer(7)));
        assert_eq!(find(9), Some(Value::Double(8.0)));
    }
}
