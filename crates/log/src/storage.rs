//! The thin layer between the log and the disk, so that tests can make a disk fail.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A log file being written.
pub trait LogWrite: Send {
    /// Writes all bytes at the end.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything written durable.
    fn sync_data(&mut self) -> io::Result<()>;
}

/// Where log files are written.
pub trait Storage: Send + Sync + fmt::Debug {
    /// Makes a new file; fails if it exists.
    fn create(&self, path: &Path) -> io::Result<Box<dyn LogWrite>>;

    /// Makes durable what an earlier process wrote into a file and perhaps did not.
    fn sync_existing(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// The machine's file system.
#[derive(Debug, Default, Clone, Copy)]
pub struct DiskStorage;

impl Storage for DiskStorage {
    fn create(&self, path: &Path) -> io::Result<Box<dyn LogWrite>> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Box::new(DiskFile(file)))
    }
}

struct DiskFile(File);

impl LogWrite for DiskFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}
