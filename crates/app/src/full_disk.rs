//! A disk that is full, or can only be read, when a test says so. Exists only in builds with the
//! feature `test-controls`.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use veritwin_log::{DiskStorage, LogWrite, Storage};

use crate::App;

const FULL: u8 = 1;
const READ_ONLY: u8 = 2;

/// The switch.
#[derive(Debug, Clone, Default)]
pub(crate) struct Switch(Arc<AtomicU8>);

struct SwitchedFile {
    switch: Switch,
    file: Box<dyn LogWrite>,
}

impl Switch {
    fn check(&self) -> io::Result<()> {
        match self.0.load(Ordering::SeqCst) {
            FULL => Err(io::ErrorKind::StorageFull.into()),
            READ_ONLY => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            _ => Ok(()),
        }
    }
}

impl Storage for Switch {
    fn create(&self, path: &Path) -> io::Result<Box<dyn LogWrite>> {
        self.check()?;
        let file = DiskStorage.create(path)?;
        Ok(Box::new(SwitchedFile { switch: self.clone(), file }))
    }
}

impl LogWrite for SwitchedFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.switch.check()?;
        self.file.write_all(bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.switch.check()?;
        self.file.sync_data()
    }
}

impl App {
    /// The log's disk is full, or has space again.
    pub fn fill_disk(&self, on: bool) {
        self.0.disk.0.store(if on { FULL } else { 0 }, Ordering::SeqCst);
    }

    /// The log's disk can only be read from now on.
    pub fn lock_disk(&self) {
        self.0.disk.0.store(READ_ONLY, Ordering::SeqCst);
    }
}
