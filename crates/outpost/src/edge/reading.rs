//! Reading the edge's log batch after batch: the next one begins where the last one ended, and a
//! file is not gone over from its front for each of them.

use std::sync::Arc;

use veritwin_log::{Committed, Entry, FileLog, LogError, LogReader};

/// A place in the log.
pub(super) struct Reading {
    reader: LogReader,
    /// What was read last: a batch may end within it.
    group: Option<Arc<Committed>>,
}

impl Reading {
    /// Begins at a position.
    pub(super) fn at(log: &FileLog, position: u64) -> Result<Self, LogError> {
        Ok(Self { reader: log.read_from(position)?, group: None })
    }

    /// Whether it can go on at a position without another look for it.
    pub(super) fn goes_on_at(&self, position: u64) -> bool {
        self.group.as_ref().is_some_and(|group| (group.first..=group.end()).contains(&position))
    }

    /// Hands over the entries from the first position to the last, in their order, as far as they
    /// are there.
    pub(super) fn each<E: From<LogError>>(
        &mut self,
        (first, last): (u64, u64),
        mut take: impl FnMut(&Entry) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            if let Some(group) = &self.group {
                let wanted = group.iter().filter(|(at, _)| (first..=last).contains(at));
                for (_, entry) in wanted {
                    take(entry)?;
                }
                if group.end() > last {
                    return Ok(());
                }
            }
            self.reader.extend();
            match self.reader.next_batch()? {
                Some(group) => self.group = Some(group),
                None => return Ok(()),
            }
        }
    }
}
