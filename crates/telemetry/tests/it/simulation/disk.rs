//! A disk for the log that fails as disks do: a write is torn, there is no space, the power goes.
//! What was made durable stays; of the rest some is lost, or comes out of order.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use veritwin_domain::SeededRng;
use veritwin_log::{DiskStorage, LogWrite, Storage};

use super::below;

const BLOCK_BYTES: u64 = 512;

/// What goes wrong at one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiskFault {
    /// A part is written, then the device fails.
    TornWrite,
    /// All is written, and the device fails before it is durable.
    SyncFails,
    /// A part is written, then there is no space.
    Full,
    /// The process or the machine stops while this is written.
    StopsInWrite,
    /// It stops before this is durable.
    StopsBeforeSync,
    /// It stops when this is durable and nobody has been told.
    StopsAfterSync,
}

pub(super) const DISK_FAULTS: [DiskFault; 6] = [
    DiskFault::TornWrite,
    DiskFault::SyncFails,
    DiskFault::Full,
    DiskFault::StopsInWrite,
    DiskFault::StopsBeforeSync,
    DiskFault::StopsAfterSync,
];

#[derive(Debug)]
struct State {
    rng: SeededRng,
    /// What goes wrong, and how many writes go well before.
    plan: Option<(DiskFault, u64)>,
    is_stopped: bool,
    /// How many bytes of each file are durable.
    durable: BTreeMap<PathBuf, u64>,
    /// Files as they were at the stop: the log tidies up after a failed write, a dead process
    /// does not.
    left: Vec<(PathBuf, Vec<u8>)>,
    syncs: u64,
}

impl State {
    fn due(&mut self) -> Option<DiskFault> {
        let (fault, writes_before) = self.plan?;
        if let Some(left) = writes_before.checked_sub(1) {
            self.plan = Some((fault, left));
            return None;
        }
        self.plan = None;
        Some(fault)
    }

    fn stop(&mut self, path: &Path) {
        self.is_stopped = true;
        if let Ok(bytes) = fs::read(path) {
            self.left.push((path.to_owned(), bytes));
        }
    }

    fn put_back_what_was_left(&mut self) {
        for (path, bytes) in self.left.drain(..) {
            if !path.exists() {
                fs::write(path, bytes).expect("writes back");
            }
        }
    }
}

/// The disk; it outlives the processes that write on it.
#[derive(Debug)]
pub(crate) struct Disk(Mutex<State>);

impl Disk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(State {
            rng: SeededRng::new(seed),
            plan: None,
            is_stopped: false,
            durable: BTreeMap::new(),
            left: Vec::new(),
            syncs: 0,
        }))
    }

    /// How often a file was made durable.
    pub(crate) fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    pub(super) fn plan(&self, fault: DiskFault, writes_before: u64) {
        self.0.lock().plan = Some((fault, writes_before));
    }

    /// Nothing more goes wrong; says whether everything has stopped.
    pub(super) fn settle(&self) -> bool {
        let mut state = self.0.lock();
        state.plan = None;
        state.is_stopped
    }

    pub(super) fn stop(&self) {
        self.0.lock().is_stopped = true;
    }

    pub(super) fn start(&self) {
        self.0.lock().is_stopped = false;
    }

    /// The process has died: what it wrote is there, durable or not.
    pub(super) fn after_a_kill(&self) {
        self.0.lock().put_back_what_was_left();
    }

    /// The power has gone: what was not durable is lost, torn or out of order.
    pub(super) fn after_a_power_loss(&self) {
        let mut state = self.0.lock();
        state.put_back_what_was_left();
        let State { rng, durable, .. } = &mut *state;
        for (path, durable) in durable.iter_mut() {
            let Ok(meta) = fs::metadata(path) else { continue };
            if meta.len() > *durable {
                lose(path, *durable, meta.len(), rng).expect("damages what is not durable");
            }
            *durable = fs::metadata(path).map_or(0, |meta| meta.len());
        }
        durable.retain(|path, _| path.exists());
    }
}

/// Damages what stands between `durable` and `length`.
fn lose(path: &Path, durable: u64, length: u64, rng: &SeededRng) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    match below(rng, 6) {
        // Its name was not durable either.
        0 if durable == 0 => fs::remove_file(path),
        0 | 1 => file.set_len(durable + below(rng, length - durable)),
        2 => file.set_len(durable),
        // The length came, the bytes did not.
        3 => zero(&mut file, durable, length),
        // One block did not come; others did, also later ones.
        4 => {
            let blocks = durable / BLOCK_BYTES..=(length - 1) / BLOCK_BYTES;
            let block = blocks.start() + below(rng, blocks.end() - blocks.start() + 1);
            let start = durable.max(block * BLOCK_BYTES);
            zero(&mut file, start, length.min((block + 1) * BLOCK_BYTES))
        }
        _ => Ok(()),
    }
}

fn zero(file: &mut fs::File, start: u64, end: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(start))?;
    file.write_all(&vec![0; usize::try_from(end - start).unwrap_or(0)])
}

/// The disk as the log sees it.
#[derive(Debug)]
pub(crate) struct DiskView(pub(crate) Arc<Disk>);

struct DiskFile {
    disk: Arc<Disk>,
    path: PathBuf,
    file: Box<dyn LogWrite>,
    bytes: u64,
    at_sync: Option<DiskFault>,
}

fn gone() -> io::Error {
    io::Error::other("the machine has stopped")
}

fn failed() -> io::Error {
    io::Error::other("the device failed")
}

impl Storage for DiskView {
    fn create(&self, path: &Path) -> io::Result<Box<dyn LogWrite>> {
        let mut state = self.0.0.lock();
        if state.is_stopped {
            return Err(gone());
        }
        let file = DiskStorage.create(path)?;
        state.durable.insert(path.to_owned(), 0);
        let (disk, path) = (Arc::clone(&self.0), path.to_owned());
        Ok(Box::new(DiskFile { disk, path, file, bytes: 0, at_sync: None }))
    }

    fn sync_existing(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.0.lock();
        if state.is_stopped {
            return Err(gone());
        }
        let length = fs::metadata(path)?.len();
        state.durable.insert(path.to_owned(), length);
        Ok(())
    }
}

impl LogWrite for DiskFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        if state.is_stopped {
            return Err(gone());
        }
        let fault = state.due();
        let is_torn =
            matches!(fault, Some(DiskFault::TornWrite | DiskFault::Full | DiskFault::StopsInWrite));
        let length = bytes.len() as u64;
        let written = if is_torn { below(&state.rng, length) } else { length };
        self.file.write_all(&bytes[..usize::try_from(written).unwrap_or(0)])?;
        self.bytes += written;
        match fault {
            Some(DiskFault::TornWrite) => Err(failed()),
            Some(DiskFault::Full) => Err(ErrorKind::StorageFull.into()),
            Some(DiskFault::StopsInWrite) => {
                state.stop(&self.path);
                Err(gone())
            }
            at_sync => {
                self.at_sync = at_sync;
                Ok(())
            }
        }
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        if state.is_stopped {
            return Err(gone());
        }
        state.syncs += 1;
        let fault = self.at_sync.take();
        if matches!(fault, None | Some(DiskFault::StopsAfterSync)) {
            state.durable.insert(self.path.clone(), self.bytes);
        }
        match fault {
            None => Ok(()),
            Some(DiskFault::StopsBeforeSync | DiskFault::StopsAfterSync) => {
                state.stop(&self.path);
                Err(gone())
            }
            Some(_) => Err(failed()),
        }
    }
}
