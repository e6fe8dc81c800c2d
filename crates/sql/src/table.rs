//! Tables as DataFusion reads them: conditions narrow which devices, series and times are read, and
//! rows are read a page at a time, as they are taken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
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
use crate::source::{DeviceRow, Failure, Source};
use crate::wanted::Wanted;

/// What a statement reads from, and what became of it.
#[derive(Debug)]
pub(crate) struct Reading {
    source: Arc<dyn Source>,
    /// Why it could not be read further. DataFusion wraps errors, and this one has to be known.
    failed: Mutex<Option<Error>>,
    /// Bytes that were read, and how many there may be.
    bytes: AtomicUsize,
    bytes_max: AtomicUsize,
}

impl Reading {
    pub(crate) fn new(source: Arc<dyn Source>) -> Arc<Self> {
        Arc::new(Self {
            source,
            failed: Mutex::new(None),
            bytes: AtomicUsize::new(0),
            bytes_max: AtomicUsize::new(usize::MAX),
        })
    }

    /// What is read is kept by what reads it, and is not counted there.
    pub(crate) fn hold_to(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
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
        let more = batch.get_array_memory_size();
        let bytes = self.bytes.fetch_add(more, Ordering::Relaxed).saturating_add(more);
        let max = self.bytes_max.load(Ordering::Relaxed);
        if bytes > max {
            let limit =
                LimitExceeded { name: "sql_memory_bytes_max", max, actual: LimitExceeded::MORE };
            return Err(self.fail(limit.into()));
        }
        Ok(())
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
