//! Ships the log itself: what became durable, part by part, and up to where everything is there.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use veritwin_domain::{FileId, Timestamp};
use veritwin_log::{LogError, LogPart, PartPlace};

use super::pace::Pace;
use super::part::{self, Reached, Whose, open_part, part_name, seal_head, seal_part};
use super::place::{Place, Put};
use super::{FILE, ShipConfig};
use crate::backup::files::{read_small, write_whole};
use crate::{App, Error, Result};

/// Bytes of the log that go into one file.
const PART_BYTES: usize = 4 * 1024 * 1024;
/// Parts that are sent before other work of the round has its turn.
const PARTS_PER_ROUND_MAX: usize = 16;

/// The place up to which everything is shipped, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    form: u32,
    url: String,
    restores: u64,
    file: String,
    offset: u64,
    position: u64,
    gap_at_us: Option<i64>,
    /// It was said at the place how far everything is there.
    is_told: bool,
}

/// What ships the log.
pub(crate) struct LogLine {
    config: ShipConfig,
    place: Option<Place>,
    whose: Whose,
    pace: Pace,
    mark: Option<PartPlace>,
    is_known: bool,
    is_told: bool,
    /// On the monotonic clock.
    shipped_at: Option<Duration>,
}

impl LogLine {
    pub(super) fn new(config: ShipConfig, whose: Whose, bytes_per_second: u64) -> Self {
        Self {
            config,
            place: None,
            whose,
            pace: Pace::new(bytes_per_second),
            mark: None,
            is_known: false,
            is_told: false,
            shipped_at: None,
        }
    }
}

impl App {
    pub(crate) async fn ship_log_round(&self, line: &mut LogLine) -> Result<()> {
        if line.place.is_none() {
            let (url, s3) = (&line.config.url, &line.config.s3);
            line.place = Some(Place::open(url, s3, &self.0.egress)?);
        }
        let Some(place) = line.place.clone() else { return Ok(()) };
        if !line.is_known {
            self.find_mark(line, &place).await?;
            line.is_known = true;
        }
        self.ship_log(line, &place).await
    }

    /// Where it stopped the last time: by its own file, or else by what is there.
    async fn find_mark(&self, line: &mut LogLine, place: &Place) -> Result<()> {
        let path = self.0.config.data.join(FILE);
        let kept = if path.exists() { read_kept(&path) } else { None };
        let kept =
            kept.filter(|kept| kept.restores == line.whose.restores && kept.url == line.config.url);
        line.mark = match kept {
            Some(kept) => {
                line.is_told = kept.is_told;
                let gap_at = kept.gap_at_us.map(Timestamp::from_micros);
                self.0.upkeep.ships.set(|status| status.gap_at = gap_at);
                if let Some(taken_at) = self.last_backup_at().await? {
                    self.0.upkeep.ships.backed_up(taken_at);
                }
                let (offset, position) = (kept.offset, kept.position);
                kept.file.parse().ok().map(|file| PartPlace { file, offset, position })
            }
            None => match place.last(&line.whose.folder("log")).await? {
                Some(name) => Some(self.end_of(&line.whose, place, &name).await?),
                None => None,
            },
        };
        self.show_mark(line);
        Ok(())
    }

    fn show_mark(&self, line: &LogLine) {
        // Before anything was shipped the log is kept from its beginning.
        let position = line.mark.map(|mark| mark.position);
        self.0.upkeep.ships.set(|status| status.position = position);
    }

    /// Where a part ends that is there already.
    async fn end_of(&self, whose: &Whose, place: &Place, name: &str) -> Result<PartPlace> {
        let sealed = place.get(name).await?;
        let (head, _) = open_part(&self.0.keys, whose, name, &sealed)?;
        let file: FileId =
            head.file.parse().map_err(|_| Error::invalid_at(name, "names a file that is none"))?;
        let (offset, position) = (head.offset + head.bytes, head.end_position);
        Ok(PartPlace { file, offset, position })
    }

    async fn ship_log(&self, line: &mut LogLine, place: &Place) -> Result<()> {
        let since = self.clock().monotonic();
        let wait = line.config.interval;
        let is_due = line.shipped_at.is_none_or(|at| since.saturating_sub(at) >= wait);
        // Taken before the end of the log is: what was acknowledged by now is in it.
        let now = self.clock().now();
        let end = self.0.log.tail_position();
        for _ in 0..PARTS_PER_ROUND_MAX {
            let is_behind = line.mark.map_or(0, |mark| mark.position) < end;
            let part = if is_behind { self.next_part(line.mark).await } else { Ok(None) };
            let part = match part {
                Err(LogError::Truncated { .. }) => {
                    tracing::error!(
                        "a part of the log was cut before it was shipped: make a new backup, \
                         moments after it can be restored from that one only"
                    );
                    self.begin_anew(line, now);
                    continue;
                }
                other => other?,
            };
            let Some(part) = part else {
                if is_due {
                    self.note_reached(line, place, now).await?;
                    line.shipped_at = Some(since);
                }
                return Ok(());
            };
            if !is_due && !part.ends_file && part.bytes.len() < PART_BYTES {
                return Ok(());
            }
            self.send_part(line, place, &part).await?;
        }
        Ok(())
    }

    /// Begins with the oldest of the log that is still there.
    fn begin_anew(&self, line: &mut LogLine, now: Timestamp) {
        line.mark = None;
        self.0.upkeep.ships.set(|status| status.gap_at = Some(now));
        self.show_mark(line);
    }

    async fn send_part(&self, line: &mut LogLine, place: &Place, part: &LogPart) -> Result<()> {
        line.pace.wait(part.bytes.len() as u64).await;
        let name = part_name(&line.whose, &part.from);
        let sealed = seal_part(&self.0.keys, &line.whose, part, self.clock().now())?;
        let to = match place.put(&name, sealed.into()).await? {
            Put::New => part.to,
            // Sent before a stop that came before its note; perhaps of another length.
            Put::There => self.end_of(&line.whose, place, &name).await?,
        };
        line.mark = Some(to);
        self.keep_mark(line).await
    }

    async fn next_part(
        &self,
        mark: Option<PartPlace>,
    ) -> std::result::Result<Option<LogPart>, LogError> {
        let log = self.0.log.clone();
        let read = tokio::task::spawn_blocking(move || log.part_after(mark, PART_BYTES));
        read.await.map_err(|_| LogError::Closed)?
    }

    async fn keep_mark(&self, line: &LogLine) -> Result<()> {
        self.show_mark(line);
        let Some(mark) = line.mark else { return Ok(()) };
        let gap_at = self.0.upkeep.ships.status().gap_at;
        let kept = Kept {
            form: part::FORM,
            url: line.config.url.clone(),
            restores: line.whose.restores,
            file: mark.file.to_string(),
            offset: mark.offset,
            position: mark.position,
            gap_at_us: gap_at.map(Timestamp::as_micros),
            is_told: line.is_told,
        };
        let bytes = serde_json::to_vec(&kept).map_err(|e| Error::Internal(e.to_string()))?;
        let path = self.0.config.data.join(FILE);
        crate::backup::blocking(move || write_whole(&path, &bytes)).await
    }

    /// Says that everything up to a moment is there.
    async fn note_reached(&self, line: &mut LogLine, place: &Place, at: Timestamp) -> Result<()> {
        let name = line.whose.reached_name();
        let there = if line.is_told { place.find(&name).await? } else { None };
        // An emptied place, or a folder whose disk is not mounted, would be no copy.
        if line.is_told && there.is_none() {
            tracing::error!(
                place = place.shown(),
                "what was shipped is not there any more: the disk may not be mounted. Shipping \
                 begins anew: make a new backup, moments after it can be restored from that one \
                 only"
            );
            line.is_told = false;
            self.begin_anew(line, at);
            return Ok(());
        }
        // Until this start has copied records, those of before it are the newest.
        let before = there.and_then(|sealed| line.whose.open_reached(&self.0.keys, &sealed).ok());
        let before = before.and_then(|before| before.records_at_us).map(Timestamp::from_micros);
        let records_at = self.0.upkeep.ships.status().records_at.max(before);
        let position = line.mark.map_or(0, |mark| mark.position);
        let reached = Reached::new(&line.whose, at, position, records_at);
        let sealed = seal_head(&self.0.keys, &reached)?;
        place.replace(&name, sealed.into()).await?;
        self.0.upkeep.ships.set(|status| status.reached_at = Some(at));
        if !line.is_told {
            line.is_told = true;
            self.keep_mark(line).await?;
        }
        Ok(())
    }
}

/// A file that does not read is none: the place itself is asked then.
fn read_kept(path: &Path) -> Option<Kept> {
    let bytes = read_small(path).ok()?;
    serde_json::from_slice(&bytes).ok().filter(|kept: &Kept| kept.form == part::FORM)
}
