//! A disk that is full when a test says so. Exists only in builds with the feature
//! `test-controls`.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use veritwin_log::{DiskStorage, LogWrite, Storage};

use crate::App;

/// The switch.
#[derive(Debug, Clone, Default)]
pub(crate) struct Switch(Arc<AtomicBool>);

struct SwitchedFile {
    switch: Switch,
    file: Box<dyn LogWrite>,
}

impl Switch {
    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
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
        self.0.disk.0.store(on, Ordering::SeqCst);
    }
}
