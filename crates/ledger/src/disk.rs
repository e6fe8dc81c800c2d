//! What the archive does to its files, behind one seam, so that a test can end a process between
//! any two steps and take back what no sync had reached. It refuses to know what is in the files.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

/// Changes of files. Reading is done on the files themselves.
pub trait Disk: Debug + Send + Sync {
    /// Makes a file that must not exist.
    fn create_new(&self, path: &Path) -> io::Result<File>;
    /// Makes a file, or empties the one there is.
    fn create(&self, path: &Path) -> io::Result<File>;
    /// Writes at the end of an open file.
    fn write(&self, path: &Path, file: &mut File, bytes: &[u8]) -> io::Result<()>;
    /// Makes the content of an open file durable.
    fn sync_data(&self, path: &Path, file: &File) -> io::Result<()>;
    /// Makes a file, or the names in a directory, durable.
    fn sync_path(&self, path: &Path) -> io::Result<()>;
    /// Makes everything in the file system of a directory durable.
    fn sync_all(&self, directory: &Path) -> io::Result<()>;
    /// Gives a file another name, in place of one that may have it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The operating system's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn create_new(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        File::create(path)
    }

    fn write(&self, _: &Path, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync_data(&self, _: &Path, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_path(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn sync_all(&self, directory: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&File::open(directory)?)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}
