//! A consumer reads the log without gap (but for what nobody needs any more) and without
//! duplicate: first from the files, then from memory as entries become durable, and from the files
//! again if it falls behind. It holds at most one batch, so a slow consumer costs nothing but its
//! own delay.

use std::sync::Arc;

use tokio::sync::watch;

use crate::shared::{Progress, Shared};
use crate::{Committed, LogError, LogReader};

/// Reads the log from a position on, for ever.
pub struct Consumer {
    shared: Arc<Shared>,
    next: u64,
    progress: watch::Receiver<Progress>,
    reader: Option<LogReader>,
}

impl Consumer {
    pub(crate) fn new(shared: Arc<Shared>, next: u64) -> Self {
        let progress = shared.progress.subscribe();
        Self { shared, next, progress, reader: None }
    }

    /// The position of the next entry: what to store, with the effect, to go on from later.
    pub const fn position(&self) -> u64 {
        self.next
    }

    /// The next batch; waits until there is one. `None` once the log was closed and everything in
    /// it was read. May be cancelled. A failed write ends it with [`LogError::Poisoned`] after the
    /// last durable entry; [`LogError::Truncated`] says where to go on.
    pub async fn next(&mut self) -> Result<Option<Arc<Committed>>, LogError> {
        loop {
            // Looked at before the entries: what becomes durable in between wakes the wait below.
            let progress = *self.progress.borrow_and_update();
            let recent = self.shared.recent.lock().from(self.next);
            if let Some(batch) = recent {
                self.reader = None;
                self.next = batch.end();
                return Ok(Some(batch));
            }
            if self.next < progress.tail {
                return self.read_file(progress.tail).await.map(Some);
            }
            if !progress.open {
                return if self.shared.is_poisoned() {
                    Err(self.shared.refusal())
                } else {
                    Ok(None)
                };
            }
            // The sender lives in `shared`, so this ends only by a change.
            let _ = self.progress.changed().await;
        }
    }

    /// Reads one batch on a thread that may block.
    async fn read_file(&mut self, tail: u64) -> Result<Arc<Committed>, LogError> {
        let next = self.next;
        let mut reader = match self.reader.take() {
            Some(reader) if reader.position() == next => reader,
            _ => LogReader::new(Arc::clone(&self.shared), next),
        };
        reader.extend_to(tail);
        let read = tokio::task::spawn_blocking(move || {
            let batch = reader.next_batch();
            (reader, batch)
        });
        let (reader, batch) = read.await.map_err(|_| LogError::Closed)?;
        // Where the log was thinned it may be one without entries.
        let batch = batch?.ok_or(LogError::BeyondTail { requested: next, tail })?;
        self.reader = Some(reader);
        self.next = batch.end();
        Ok(batch)
    }
}
