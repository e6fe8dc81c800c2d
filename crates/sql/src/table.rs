//! Tables as DataFusion reads them: conditions narrow which devices, series and times are read, and
//! rows are read a page at a time, as they are taken.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use parking_lot::Mutex;
use veritwin_domain::{Key, LimitExceeded, Timestamp};

use crate::columns::{Column, Row, Rows, Table, schema};
use crate::error::Error;
use crate::gate::Shape;
use crate::source::{DeviceRow, Failure, Source};
use crate::wanted::Wanted;

/// What windows keep of a row beside its columns, and of a value that they make of it.
const HELD_ROW_BYTES: usize = 64;
const HELD_VALUE_BYTES: usize = 16;
/// Longest text that a statement with joins reads: it may stand in every row that they make, of
/// which many are made at once.
const JOINED_TEXT_BYTES_MAX: usize = 4 * 1024;

/// What a statement keeps of what it reads where nobody else counts it.
#[derive(Debug, Default)]
struct Held {
    shape: Shape,
    bytes_max: usize,
    bytes: usize,
    rows: usize,
    longest: usize,
}

impl Held {
    /// Counts a batch. A text may stand in every row that is kept, whichever came first.
    fn take(&mut self, batch: &RecordBatch) -> std::result::Result<(), LimitExceeded> {
        let Shape { windows, text_windows, has_join } = self.shape;
        if !has_join && windows == 0 {
            return Ok(());
        }
        self.longest = self.longest.max(longest_text(batch));
        if has_join && self.longest > JOINED_TEXT_BYTES_MAX {
            let (name, max) = ("sql_joined_text_bytes_max", JOINED_TEXT_BYTES_MAX);
            return Err(LimitExceeded { name, max, actual: self.longest });
        }
        if windows == 0 {
            return Ok(());
        }
        self.bytes = self.bytes.saturating_add(batch.get_array_memory_size());
        self.rows = self.rows.saturating_add(batch.num_rows());
        let made = windows.saturating_mul(HELD_VALUE_BYTES);
        let made = made.saturating_add(text_windows.saturating_mul(self.longest));
        let rows = self.rows.saturating_mul(made.saturating_add(HELD_ROW_BYTES));
        if self.bytes.saturating_add(rows) > self.bytes_max {
            let (name, max) = ("sql_memory_bytes_max", self.bytes_max);
            return Err(LimitExceeded { name, max, actual: LimitExceeded::MORE });
        }
        Ok(())
    }
}

fn longest_text(batch: &RecordBatch) -> usize {
    let texts = batch.columns().iter().filter_map(|column| column.as_string_opt::<i32>());
    texts.flat_map(|texts| texts.iter().flatten().map(str::len)).max().unwrap_or(0)
}

/// What a statement reads from, and what became of it.
#[derive(Debug)]
pub(crate) struct Reading {
    source: Arc<dyn Source>,
    /// Why it could not be read further. DataFusion wraps errors, and this one has to be known.
    failed: Mutex<Option<Error>>,
    held: Mutex<Held>,
}

impl Reading {
    pub(crate) fn new(source: Arc<dyn Source>) -> Arc<Self> {
        Arc::new(Self { source, failed: Mutex::default(), held: Mutex::default() })
    }

    /// What is read is kept by what reads it, and is not counted there. The statement's own texts
    /// may stand in each row as well.
    pub(crate) fn hold_to(&self, shape: Shape, literal_bytes: usize, bytes_max: usize) {
        *self.held.lock() = Held { shape, bytes_max, longest: literal_bytes, ..Held::default() };
    }

    /// Why it could not be read, once.
    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.failed.lock().take()
    }

    fn fail(&self, error: Error) -> DataFusionError {
        self.failed.lock().get_or_insert(error);
        DataFusionError::Execution("what it reads from failed".to_owned())
    }

    fn lost(&self, failure: Failure) -> DataFusionError {
        self.fail(Error::Source(failure))
    }

    fn count(&self, batch: &RecordBatch) -> Result<()> {
        let counted = self.held.lock().take(batch);
        counted.map_err(|limit| self.fail(limit.into()))
    }
}

/// A table of what may be seen.
#[derive(Debug)]
pub(crate) struct SeenTable {
    table: Table,
    schema: SchemaRef,
    reading: Arc<Reading>,
}

impl SeenTable {
    pub(crate) fn new(table: Table, reading: &Arc<Reading>) -> Self {
        Self { table, schema: schema(table.columns()), reading: Arc::clone(reading) }
    }
}

#[async_trait]
impl TableProvider for SeenTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = self.table.columns();
        let columns: Vec<Column> = match projection {
            None => all.to_vec(),
            Some(places) => places.iter().filter_map(|place| all.get(*place).copied()).collect(),
        };
        let schema = schema(&columns);
        let scan = Scan {
            table: self.table,
            columns: columns.into(),
            schema: Arc::clone(&schema),
            wanted: Wanted::of(filters),
            reading: Arc::clone(&self.reading),
        };
        let parts: Vec<Arc<dyn PartitionStream>> = vec![Arc::new(scan)];
        let plan = StreamingTableExec::try_new(schema, parts, None, Vec::new(), false, limit)?;
        Ok(Arc::new(plan))
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| {
            if Wanted::is_narrowed_by(filter) {
                TableProviderFilterPushDown::Inexact
            } else {
                TableProviderFilterPushDown::Unsupported
            }
        };
        Ok(filters.iter().map(support).collect())
    }
}

/// One reading of a table.
#[derive(Debug, Clone)]
struct Scan {
    table: Table,
    columns: Arc<[Column]>,
    schema: SchemaRef,
    wanted: Wanted,
    reading: Arc<Reading>,
}

impl PartitionStream for Scan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let walk = Walk {
            scan: self.clone(),
            next_device: 0,
            series: VecDeque::new(),
            from: self.wanted.from,
        };
        let batches = futures::stream::try_unfold(walk, |mut walk| async move {
            walk.batch().await.map(|found| found.map(|batch| (batch, walk)))
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}

/// Where a reading of a table is.
struct Walk {
    scan: Scan,
    next_device: usize,
    /// What is left of the device before, by its place.
    series: VecDeque<(usize, Key)>,
    /// From where the first of these series is read on.
    from: Timestamp,
}

impl Walk {
    async fn batch(&mut self) -> Result<Option<RecordBatch>> {
        let mut rows = Rows::new(&self.scan.columns, &self.scan.schema);
        match self.scan.table {
            Table::Readings => self.readings(&mut rows).await?,
            Table::Latest => self.latest(&mut rows).await?,
            Table::Devices => self.devices(&mut rows),
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let batch = rows.finish()?;
        self.scan.reading.count(&batch)?;
        Ok(Some(batch))
    }

    /// The place and id of the next device that is wanted.
    fn device(&mut self) -> Option<(usize, String)> {
        let devices = self.scan.reading.source.devices();
        while let Some(device) = devices.get(self.next_device) {
            let place = self.next_device;
            self.next_device += 1;
            let id = device.id.to_string();
            if self.scan.wanted.wants_device(&id, &device.name) {
                return Some((place, id));
            }
        }
        None
    }

    /// The series that is read, of a device at a place.
    async fn present(&mut self) -> Result<Option<(usize, Key)>> {
        let reading = Arc::clone(&self.scan.reading);
        loop {
            if let Some((place, key)) = self.series.front() {
                return Ok(Some((*place, key.clone())));
            }
            let Some((place, _)) = self.device() else { return Ok(None) };
            let Some(device) = reading.source.devices().get(place) else { return Ok(None) };
            let keys = reading.source.keys(device.id).await.map_err(|lost| reading.lost(lost))?;
            let wanted = keys.into_iter().filter(|key| self.scan.wanted.wants_key(key));
            self.series = wanted.map(|key| (place, key)).collect();
        }
    }

    async fn readings(&mut self, rows: &mut Rows) -> Result<()> {
        let reading = Arc::clone(&self.scan.reading);
        let to = self.scan.wanted.to;
        while !rows.is_full() && !self.scan.wanted.is_never() {
            let Some((place, key)) = self.present().await? else { break };
            let Some(device) = reading.source.devices().get(place) else { break };
            let found = reading.source.page(device.id, &key, (self.from, to)).await;
            let page = found.map_err(|lost| reading.lost(lost))?;
            let device_id = device.id.to_string();
            for point in &page.points {
                rows.push(&Row { device, device_id: &device_id, reading: Some((&*key, point)) });
            }
            match page.next.filter(|next| *next < to) {
                Some(next) => self.from = next,
                None => {
                    self.series.pop_front();
                    self.from = self.scan.wanted.from;
                }
            }
        }
        Ok(())
    }

    async fn latest(&mut self, rows: &mut Rows) -> Result<()> {
        let reading = Arc::clone(&self.scan.reading);
        while !rows.is_full() {
            let Some((place, device_id)) = self.device() else { break };
            let Some(device) = reading.source.devices().get(place) else { break };
            let found = reading.source.latest(device.id).await;
            let found = found.map_err(|lost| reading.lost(lost))?;
            for (key, point) in found.iter().filter(|(key, _)| self.scan.wanted.wants_key(key)) {
                rows.push(&Row { device, device_id: &device_id, reading: Some((&**key, point)) });
            }
        }
        Ok(())
    }

    fn devices(&mut self, rows: &mut Rows) {
        let reading = Arc::clone(&self.scan.reading);
        while !rows.is_full() {
            let Some((place, device_id)) = self.device() else { break };
            let listed = reading.source.devices().get(place);
            let listed: Option<&DeviceRow> = listed.filter(|device| device.is_listed);
            if let Some(device) = listed {
                rows.push(&Row { device, device_id: &device_id, reading: None });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, RecordBatchOptions, StringArray};
    use datafusion::arrow::datatypes::Schema;

    use super::*;

    fn batch(text: &str) -> RecordBatch {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![text; 4]));
        RecordBatch::try_from_iter([("text", texts)]).expect("a batch")
    }

    fn passed(held: &mut Held, bytes: usize) -> Option<&'static str> {
        held.take(&batch(&"x".repeat(bytes))).err().map(|limit| limit.name)
    }

    #[test]
    fn a_text_that_joins_would_multiply_is_short() {
        let shape = Shape { has_join: true, ..Shape::default() };
        let mut held = Held { shape, ..Held::default() };
        assert_eq!(passed(&mut held, JOINED_TEXT_BYTES_MAX), None);
        let long = JOINED_TEXT_BYTES_MAX + 1;
        assert_eq!(passed(&mut held, long), Some("sql_joined_text_bytes_max"));
        assert_eq!(passed(&mut Held::default(), long), None, "without a join");
    }

    #[test]
    fn windows_may_put_the_longest_text_in_every_row() {
        let shape = Shape { windows: 1, text_windows: 1, ..Shape::default() };
        let mut held = Held { shape, bytes_max: 256 * 1024, ..Held::default() };
        for _ in 0..50 {
            assert_eq!(passed(&mut held, 8), None);
        }
        assert_eq!(passed(&mut held, 2_000), Some("sql_memory_bytes_max"));
        let numbers = Shape { text_windows: 0, ..shape };
        let mut held = Held { shape: numbers, bytes_max: 256 * 1024, ..Held::default() };
        for _ in 0..50 {
            assert_eq!(passed(&mut held, 8), None);
        }
        assert_eq!(passed(&mut held, 2_000), None);
        // Rows without columns are kept all the same.
        let none = RecordBatchOptions::new().with_row_count(Some(10_000));
        let schema = Arc::new(Schema::empty());
        let rows = RecordBatch::try_new_with_options(schema, Vec::new(), &none).expect("rows");
        assert!(held.take(&rows).is_err());
    }
}
