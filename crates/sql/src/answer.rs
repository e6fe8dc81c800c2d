//! The answer to a statement: understood, planned, looked at, carried out, and written as it is
//! asked for, piece by piece. Dropping it ends the statement.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::execution::context::SQLOptions;
use datafusion::physical_plan::{SendableRecordBatchStream, execute_stream};
use datafusion::sql::parser::Statement;
use futures::StreamExt;
use veritwin_domain::Timestamp;

use crate::encode::{Encoder, Format};
use crate::error::{self, Error, within};
use crate::gate;
use crate::session;
use crate::source::Source;
use crate::table::Reading;
use crate::text::Text;

/// What one statement may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most memory for what it sorts, groups and joins.
    pub memory_bytes_max: usize,
    /// Most rows of its answer.
    pub rows_max: usize,
    /// Most bytes of its answer.
    pub bytes_max: usize,
}

/// A piece of an answer.
#[derive(Debug, Default)]
pub struct Piece {
    /// What is sent.
    pub bytes: Vec<u8>,
    /// How many rows have been written so far.
    pub rows_so_far: usize,
    /// How many bytes have been written so far, with these.
    pub bytes_so_far: usize,
}

/// An answer under way.
pub struct Answer {
    reading: Arc<Reading>,
    batches: SendableRecordBatchStream,
    bounds: Bounds,
    /// None once the answer is whole.
    encoder: Option<Encoder>,
    /// What stands before the rows, until it is sent with the first of them.
    head: Vec<u8>,
    /// The batch that is written, and how many rows of it are.
    present: Option<(RecordBatch, usize)>,
    rows: usize,
    bytes: usize,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Answer {
    /// Understands a statement and begins to carry it out; `now` is the time that it is told.
    pub async fn begin(
        statement: &str,
        format: Format,
        source: Arc<dyn Source>,
        (now, bounds): (Timestamp, Bounds),
    ) -> Result<Self, Error> {
        let text = Text::read(statement)?;
        let query = text.query()?;
        let reading = Reading::new(source);
        let memory_bytes_max = bounds.memory_bytes_max;
        let context = session::open(&reading, now, memory_bytes_max)
            .map_err(|_| Error::Internal("its session cannot be opened"))?;
        let state = context.state();
        let told = |error| error::planning(&error, &text);
        let understood = state.statement_to_plan(Statement::Statement(Box::new(query)));
        let plan = Box::pin(understood).await.map_err(told)?;
        let nothing_else = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        nothing_else.verify_plan(&plan).map_err(told)?;
        let shape = gate::check(&plan)?;
        reading.hold_to(shape, text.longest_literal(), memory_bytes_max);
        let plan = Box::pin(state.create_physical_plan(&plan)).await.map_err(told)?;
        let begun = execute_stream(plan, state.task_ctx());
        let batches = begun.map_err(|error| error::running(&error, memory_bytes_max))?;
        let begun = Encoder::begin(format, &batches.schema());
        let (encoder, head) = begun.map_err(|_| Error::Internal("it has no such form"))?;
        Ok(Self {
            reading,
            batches,
            bounds,
            encoder: Some(encoder),
            head,
            present: None,
            rows: 0,
            bytes: 0,
        })
    }

    /// The next piece, the first with the first rows; none once the answer is whole.
    pub async fn next(&mut self) -> Result<Option<Piece>, Error> {
        if self.encoder.is_none() {
            return Ok(None);
        }
        if self.present.is_none() {
            self.present = self.batch().await?.map(|batch| (batch, 0));
        }
        let mut bytes = std::mem::take(&mut self.head);
        let lost = |_| Error::Internal("a row cannot be written");
        match self.present.take() {
            Some((batch, from)) => {
                let Some(encoder) = &mut self.encoder else { return Ok(None) };
                let (written, rows) = encoder.rows(&batch, from).map_err(lost)?;
                bytes.extend_from_slice(&written);
                self.rows = self.rows.saturating_add(rows);
                let next = from.saturating_add(rows);
                self.present = (next < batch.num_rows()).then_some((batch, next));
            }
            None => {
                let Some(encoder) = self.encoder.take() else { return Ok(None) };
                bytes.extend_from_slice(&encoder.end().map_err(lost)?);
            }
        }
        self.bytes = self.bytes.saturating_add(bytes.len());
        within("sql_rows_max", self.bounds.rows_max, self.rows)?;
        within("sql_answer_bytes_max", self.bounds.bytes_max, self.bytes)?;
        Ok(Some(Piece { bytes, rows_so_far: self.rows, bytes_so_far: self.bytes }))
    }

    /// The next batch that has rows.
    async fn batch(&mut self) -> Result<Option<RecordBatch>, Error> {
        loop {
            match self.batches.next().await {
                None => return Ok(None),
                Some(Ok(batch)) if batch.num_rows() == 0 => {}
                Some(Ok(batch)) => return Ok(Some(batch)),
                Some(Err(error)) => {
                    let known = self.reading.take_failure();
                    let told = || error::running(&error, self.bounds.memory_bytes_max);
                    return Err(known.unwrap_or_else(told));
                }
            }
        }
    }
}
