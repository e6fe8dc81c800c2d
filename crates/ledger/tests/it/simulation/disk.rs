//! A disk that forgets: what no sync has reached is there until the process ends, and then some of
//! it is: cut, with a block of zeros, under its old name, or as it was.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use veritwin_domain::{Rng, SeededRng};
use veritwin_ledger::Disk;

const BLOCK: u64 = 512;

/// What happens to one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process ends in the middle of it.
    Ends,
    /// It fails once, and the process goes on.
    Fails,
}

#[derive(Debug)]
enum Name {
    Renamed { from: PathBuf, to: PathBuf, replaced: Option<Vec<u8>> },
    Removed { path: PathBuf, bytes: Vec<u8> },
}

#[derive(Debug)]
struct State {
    rng: SeededRng,
    fault: Option<(u64, Fault)>,
    is_over: bool,
    /// Durable length of files that were written since.
    files: HashMap<PathBuf, u64>,
    /// Names whose directory was not synced since, in their order.
    names: Vec<Name>,
}

#[derive(Debug)]
pub(crate) struct SimDisk(Mutex<State>);

fn failed(what: &str) -> io::Error {
    io::Error::other(what.to_owned())
}

impl State {
    fn below(&self, end: u64) -> u64 {
        self.rng.next_u64() % end.max(1)
    }

    fn step(&mut self) -> io::Result<()> {
        if self.is_over {
            return Err(failed("the process has ended"));
        }
        match &mut self.fault {
            Some((0, fault)) => {
                self.is_over = *fault == Fault::Ends;
                self.fault = None;
                Err(failed("an injected fault"))
            }
            Some((left, _)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Ends a file that no sync has reached.
    fn forget_content(&self, path: &Path, durable: u64) {
        let Ok(bytes) = fs::read(path) else { return };
        let length = bytes.len() as u64;
        if durable >= length {
            return;
        }
        let cut = durable + self.below(length - durable + 1);
        let mut kept = bytes;
        match self.below(4) {
            0 => {}
            1 => kept.truncate(cut as usize),
            // The length reached the disk before the blocks did: whole ones are missing.
            2 => {
                let whole = cut.next_multiple_of(BLOCK).min(length);
                let from = if cut == durable { durable } else { whole };
                kept[from as usize..].fill(0);
            }
            _ => {
                let block = (cut / BLOCK * BLOCK).max(durable) as usize;
                let end = ((block as u64 / BLOCK + 1) * BLOCK).min(length) as usize;
                kept[block..end].fill(0);
            }
        }
        fs::write(path, kept).unwrap();
    }
}

impl SimDisk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(State {
            rng: SeededRng::new(seed),
            fault: None,
            is_over: false,
            files: HashMap::new(),
            names: Vec::new(),
        }))
    }

    /// After so many more steps.
    pub(crate) fn fault_after(&self, steps: u64, fault: Fault) {
        self.0.lock().fault = Some((steps, fault));
    }

    pub(crate) fn heal(&self) {
        self.0.lock().fault = None;
    }

    /// Nothing is written from now on.
    pub(crate) fn end(&self) {
        self.0.lock().is_over = true;
    }

    /// The process has ended and takes along what was not durable, as chance has it.
    pub(crate) fn lose(&self) {
        let mut state = self.0.lock();
        for name in std::mem::take(&mut state.names).into_iter().rev() {
            if state.below(2) == 0 {
                continue;
            }
            match name {
                Name::Removed { path, bytes } if !path.exists() => fs::write(path, bytes).unwrap(),
                Name::Renamed { from, to, replaced } if to.exists() && !from.exists() => {
                    fs::rename(&to, &from).unwrap();
                    if let Some(durable) = state.files.remove(&to) {
                        state.files.insert(from, durable);
                    }
                    if let Some(replaced) = replaced {
                        fs::write(to, replaced).unwrap();
                    }
                }
                Name::Removed { .. } | Name::Renamed { .. } => {}
            }
        }
        let mut files: Vec<_> = std::mem::take(&mut state.files).into_iter().collect();
        files.sort();
        for (path, durable) in files {
            state.forget_content(&path, durable);
        }
        (state.is_over, state.fault) = (false, None);
    }
}

impl Disk for SimDisk {
    fn create_new(&self, path: &Path) -> io::Result<File> {
        let mut state = self.0.lock();
        state.step()?;
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        state.files.insert(path.to_owned(), 0);
        Ok(file)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        let mut state = self.0.lock();
        state.step()?;
        let file = File::create(path)?;
        state.files.insert(path.to_owned(), 0);
        Ok(file)
    }

    fn write(&self, path: &Path, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        let before = file.metadata()?.len();
        state.files.entry(path.to_owned()).or_insert(before);
        if let Err(error) = state.step() {
            let part = state.below(bytes.len() as u64 + 1) as usize;
            if error.to_string().starts_with("an injected") {
                file.write_all(&bytes[..part])?;
            }
            return Err(error);
        }
        file.write_all(bytes)
    }

    fn sync_data(&self, path: &Path, _: &File) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        state.files.remove(path);
        Ok(())
    }

    fn sync_path(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        state.files.remove(path);
        let in_it = |other: &Path| other.parent() == Some(path);
        state.names.retain(|name| match name {
            Name::Renamed { to, .. } => !in_it(to),
            Name::Removed { path, .. } => !in_it(path),
        });
        Ok(())
    }

    fn sync_all(&self, _: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        state.files.clear();
        state.names.clear();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        let replaced = fs::read(to).ok();
        fs::rename(from, to)?;
        state.files.remove(to);
        if let Some(durable) = state.files.remove(from) {
            state.files.insert(to.to_owned(), durable);
        }
        state.names.push(Name::Renamed { from: from.to_owned(), to: to.to_owned(), replaced });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        let bytes = fs::read(path)?;
        fs::remove_file(path)?;
        state.files.remove(path);
        state.names.push(Name::Removed { path: path.to_owned(), bytes });
        Ok(())
    }
}
