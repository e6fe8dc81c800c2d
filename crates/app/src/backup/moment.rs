//! Brings a restored backup on to a moment after it: the shipped log behind its own, cut at the
//! moment, with the newest copy of the records of before it and the objects that they name.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use veritwin_domain::Timestamp;
use veritwin_keys::KeyService;
use veritwin_log::{FileLog, MomentBounds, is_thinned};

use super::blocking;
use super::files::{create_folder, io, safe_name, sync_file_system};
use super::manifest::Manifest;
use crate::lineage::Lineage;
use crate::shipping::parcel::{Carrier, folder_of};
use crate::shipping::part::{PartHead, Reached, Whose, open_part};
use crate::shipping::place::Place;
use crate::shipping::{COPY, ShipConfig, done_at, open_place, reached, records_folder};
use crate::{Error, Result};

/// To which moment, and from where.
#[derive(Debug, Clone)]
pub struct Moment {
    /// What was acknowledged by then is there, what was received later is not; none: the newest
    /// moment that was shipped.
    pub at: Option<Timestamp>,
    /// Where the log was shipped to.
    pub ship: ShipConfig,
    /// Takes the records of the backup, and its ledger archive with them.
    pub records_of_base: bool,
}

/// What was brought.
#[derive(Debug, Clone, Copy)]
pub struct MomentSummary {
    /// The moment.
    pub at: Timestamp,
    /// When the newest entry of the shipped log was received that is there.
    pub newest: Option<Timestamp>,
    /// The moment that the records are of.
    pub records_at: Timestamp,
    /// Where the log ends.
    pub end_position: u64,
    /// Entries of it behind the backup that no key opens.
    pub closed: u64,
}

/// The copy of the records to read, and what it has to hold.
pub(super) struct RecordsCopy {
    pub(super) path: PathBuf,
    pub(super) rows: u64,
    pub(super) schema: i64,
    /// The moment it is of.
    pub(super) at: Timestamp,
    log_position: u64,
}

impl RecordsCopy {
    /// The copy in a backup.
    pub(super) fn of_base(path: PathBuf, base: &Manifest) -> Self {
        Self {
            path,
            rows: base.rows,
            schema: base.schema,
            at: base.taken_at(),
            log_position: base.log_position.unwrap_or(0),
        }
    }
}

/// A backup whose files are staged.
pub(super) struct Base<'a> {
    pub(super) staging: &'a Path,
    pub(super) keys: &'a KeyService,
    pub(super) manifest: &'a Manifest,
    /// When the copy of the keyring was made.
    pub(super) keyring_at: Timestamp,
}

impl Base<'_> {
    /// Brings the staged files to the moment; answers which records belong to it.
    pub(super) async fn bring_to(
        &self,
        moment: &Moment,
        own: RecordsCopy,
    ) -> Result<(RecordsCopy, MomentSummary)> {
        let whose = Whose {
            instance: self.manifest.instance.clone(),
            restores: Lineage::read(self.staging)?.restores(),
        };
        let place = open_place(&moment.ship)?;
        let (at, reached) = self.moment_at(moment, &whose, &place).await?;
        let carrier = Carrier { place: &place, keys: self.keys, whose: &whose };
        let shipped = if moment.records_of_base {
            None
        } else {
            self.records(&carrier, at, &reached).await?
        };
        let records = shipped.unwrap_or(own);
        self.bring_objects(&carrier).await?;
        self.bring_log(&whose, &place).await?;
        let (folder, keys) = (self.staging.join("log"), self.keys.clone());
        let open_from = self.manifest.log_position.unwrap_or(0);
        let bounds = MomentBounds { at, keep: records.log_position.max(open_from), open_from };
        let cut = blocking(move || {
            FileLog::cut_at(&folder, &keys, bounds)
                .map_err(|error| Error::invalid(crate::store_check::describe(&error)))
        })
        .await?;
        // Nothing was cut for the moment, so everything that was shipped is to be there.
        let shipped_to = reached.position;
        if cut.next.is_none() && cut.end_position < shipped_to {
            let detail = format!(
                "lacks the log's positions {} to {shipped_to}, which were shipped: parts of it \
                 were taken away. Put them back, or name a moment before them",
                cut.end_position
            );
            return Err(Error::invalid_at(place.shown().to_owned(), detail));
        }
        let (newest, end_position, closed) = (cut.newest, cut.end_position, cut.closed);
        let summary = MomentSummary { at, newest, records_at: records.at, end_position, closed };
        Ok((records, summary))
    }

    /// The moment, if base and shipped log reach it; and how far everything was shipped.
    async fn moment_at(
        &self,
        moment: &Moment,
        whose: &Whose,
        place: &Place,
    ) -> Result<(Timestamp, Reached)> {
        let shown = || place.shown().to_owned();
        let refuse = |at: &str, detail: String| Err(Error::invalid_at(at, detail));
        let Some(base_at) = self.manifest.cut_at() else {
            return refuse("the backup", "was made by an older version: make a new one".to_owned());
        };
        let Some(reached) = reached(self.keys, whose, place).await? else {
            let detail = "holds nothing that was shipped since the backup was made";
            return Err(Error::invalid_at(shown(), detail));
        };
        let end = Timestamp::from_micros(reached.at_us);
        let at = moment.at.unwrap_or(end);
        if at < base_at {
            let detail = format!(
                "lies before the backup, whose cut ended at {base_at}: name an older backup"
            );
            return refuse("--at", detail);
        }
        if at > end {
            let detail = format!(
                "lies behind what was shipped, which ends at {end}: name that, or `latest`"
            );
            return refuse("--at", detail);
        }
        Ok((at, reached))
    }

    /// The newest shipped copy of the records of before the moment, received; none when there is
    /// none behind the backup's own.
    async fn records(
        &self,
        carrier: &Carrier<'_>,
        at: Timestamp,
        reached: &Reached,
    ) -> Result<Option<RecordsCopy>> {
        let heads = carrier.place.list(&carrier.whose.folder("records")).await?;
        let before = at.min(self.keyring_at);
        let newest = heads.iter().filter_map(|name| done_at(name)).filter(|at| *at <= before);
        let newest = newest.max();
        // Older ones would take back what ended since.
        let known = reached.records_at_us.map(Timestamp::from_micros).filter(|at| *at <= before);
        if let Some(known) = known.filter(|known| newest.is_none_or(|newest| newest < *known)) {
            let detail = format!(
                "lacks the copy of the records of {known}: it was taken away. Put it back, or take \
                 those of the backup with --records-of-base"
            );
            return Err(Error::invalid_at(carrier.place.shown(), detail));
        }
        let Some(newest) = newest.filter(|at| *at > self.manifest.taken_at()) else {
            return Ok(None);
        };
        let head = carrier.head(&records_folder(carrier.whose, newest)).await?;
        let Some(facts) = head.records else {
            return Err(Error::invalid_at(carrier.place.shown(), "holds records without facts"));
        };
        let path = self.staging.join(COPY);
        carrier.receive(&head, &path).await?;
        Ok(Some(RecordsCopy {
            path,
            rows: facts.rows,
            schema: facts.schema,
            at: Timestamp::from_micros(facts.done_at_us),
            log_position: facts.log_position,
        }))
    }

    /// Objects that were made since the backup.
    async fn bring_objects(&self, carrier: &Carrier<'_>) -> Result<()> {
        let front = carrier.whose.folder("objects");
        for name in carrier.place.list(&front).await? {
            let Some(folder) = folder_of(&name) else { continue };
            let file = folder.strip_prefix(&front).and_then(|rest| rest.strip_prefix('/'));
            let Some(file) = file.filter(|file| file.starts_with("objects/twins/")) else {
                return Err(Error::invalid_at(name, "is no object of a twin"));
            };
            if safe_name(Path::new(file)).is_none() {
                return Err(Error::invalid_at(name, "names a file outside the platform"));
            }
            let target = self.staging.join(file);
            if target.exists() {
                continue;
            }
            if let Some(above) = target.parent() {
                create_folder(above)?;
            }
            carrier.receive(&carrier.head(folder).await?, &target).await?;
        }
        Ok(())
    }

    /// The parts of the log of behind the backup, put into the files that they are of.
    async fn bring_log(&self, whose: &Whose, place: &Place) -> Result<()> {
        let base_end = self.manifest.log_position.unwrap_or(0);
        let parts = place.list(&whose.folder("log")).await?;
        let starts: Vec<Option<u64>> = parts.iter().map(|name| position_of(name)).collect();
        let log = self.staging.join("log");
        let mut last: Option<(PathBuf, u64)> = None;
        for (index, name) in parts.iter().enumerate() {
            let next = starts.get(index + 1).copied().flatten();
            // The backup's own files hold it.
            if next.is_some_and(|next| next <= base_end) {
                continue;
            }
            let sealed = place.get(name).await?;
            let (head, body) = open_part(self.keys, whose, name, &sealed)?;
            let path = log.join(&head.name);
            // What the backup has of it was thinned after it was shipped, and ends before the
            // backup does.
            if is_thinned(&path) {
                continue;
            }
            // What a backup copied behind the end of a file that has another behind it was never
            // durable.
            if let Some((before, bytes)) = last.take().filter(|(before, _)| *before != path) {
                set_length(&before, bytes)?;
            }
            put_part(&path, &head, body)?;
            last = Some((path, head.offset + head.bytes));
        }
        // It names the file that was the newest at some stop before.
        let closed = log.join("closed");
        match std::fs::remove_file(&closed) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io("remove", &closed)(error));
            }
            _ => {}
        }
        sync_file_system(self.staging)
    }
}

/// The position that a part begins with, by its name.
fn position_of(name: &str) -> Option<u64> {
    name.rsplit('/').next()?.split('-').next()?.parse().ok()
}

fn put_part(path: &Path, head: &PartHead, body: &[u8]) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(path).map_err(io("open", path))?;
    let length = file.metadata().map_err(io("inspect", path))?.len();
    if head.offset > length {
        let detail = format!(
            "lacks bytes {length} to {}: a part of it was not shipped, or was deleted. Restore \
             from a newer backup",
            head.offset
        );
        return Err(Error::invalid_at(head.name.clone(), detail));
    }
    file.write_all_at(body, head.offset).map_err(io("write", path))
}

fn set_length(path: &Path, bytes: u64) -> Result<()> {
    let file = File::options().write(true).open(path).map_err(io("open", path))?;
    file.set_len(bytes).map_err(io("write", path))
}
