//! Copies of the records beside the shipped log, and of the objects that they name; and the end of
//! what is past its time.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use veritwin_access::jobs;
use veritwin_domain::{DAY_MICROS, Timestamp};

use super::pace::Pace;
use super::parcel::{Carrier, RecordsFacts, folder_of, head_name};
use super::part::Whose;
use super::place::Place;
use super::{COPY, ShipConfig};
use crate::backup::files::{create_private, io, plain_files};
use crate::{App, Result};

/// What failed is tried again so long after.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Older copies of the records are kept one a day.
const EACH_KEPT: Duration = Duration::from_secs(48 * 3600);
/// Files that are deleted in one go; the next copy goes on.
const ENDED_AT_ONCE: usize = 10_000;
/// Objects that records name and the log does not hold.
const OBJECTS: &str = "objects/twins";

/// What ships copies of the records.
pub(crate) struct Copies {
    config: ShipConfig,
    place: Option<Place>,
    whose: Whose,
    pace: Pace,
    /// When the next copy is due, on the monotonic clock; none: now.
    due_at: Option<Duration>,
    /// The objects of the last copy are not all there yet.
    has_rest: bool,
    /// Nothing is tried before, on the monotonic clock.
    waits_until: Duration,
}

impl Copies {
    pub(super) fn new(config: ShipConfig, whose: Whose, bytes_per_second: u64) -> Self {
        Self {
            config,
            place: None,
            whose,
            pace: Pace::new(bytes_per_second),
            due_at: None,
            has_rest: false,
            waits_until: Duration::ZERO,
        }
    }

    fn copy_is_due(&self, now: Duration) -> bool {
        self.due_at.is_none_or(|at| now >= at)
    }

    /// Whether there is anything to do.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        now >= self.waits_until && (self.has_rest || self.copy_is_due(now))
    }
}

/// The folder of one copy of the records; names sort by time.
pub(crate) fn records_folder(whose: &Whose, done_at: Timestamp) -> String {
    format!("{}/{:020}", whose.folder("records"), done_at.as_micros().max(0))
}

/// When the copy was done whose head has this name.
pub(crate) fn done_at(name: &str) -> Option<Timestamp> {
    let number = folder_of(name)?.rsplit('/').next()?;
    number.parse().ok().map(Timestamp::from_micros)
}

impl App {
    /// Ships a copy of the records when it is due, the objects that are not there yet, and deletes
    /// what is past its time. What failed is tried again later, and what went well is not.
    pub(crate) async fn ship_copies_round(&self, copies: &mut Copies) -> Result<()> {
        if copies.place.is_none() {
            let (url, s3) = (&copies.config.url, &copies.config.s3);
            copies.place = Some(Place::open(url, s3, &self.0.egress)?);
        }
        let Some(place) = copies.place.clone() else { return Ok(()) };
        copies.waits_until = self.clock().monotonic() + AGAIN_AFTER;
        self.ship_copies(copies, &place).await?;
        copies.waits_until = Duration::ZERO;
        Ok(())
    }

    async fn ship_copies(&self, copies: &mut Copies, place: &Place) -> Result<()> {
        let whose = copies.whose.clone();
        let carrier = Carrier { place, keys: &self.0.keys, whose: &whose };
        let now = self.clock().monotonic();
        if copies.copy_is_due(now) {
            // A backup has its own copy of the records on its way.
            if !self.0.upkeep.backup.is_on() {
                let done_at = self.ship_records(&carrier, &mut copies.pace).await?;
                self.0.upkeep.ships.set(|status| status.records_at = Some(done_at));
            }
            copies.due_at = Some(now + copies.config.records_interval);
            copies.has_rest = true;
        }
        if copies.has_rest {
            self.send_objects(&carrier, &mut copies.pace).await?;
            copies.has_rest = false;
            // A key without the right to delete is a good one: the bucket's own rules end files.
            if let Err(error) = self.end_shipped(&carrier, copies.config.kept).await {
                let error = crate::store_check::describe(&error);
                tracing::warn!(error, "shipped files that are past their time stay");
            }
        }
        Ok(())
    }

    async fn ship_records(&self, carrier: &Carrier<'_>, pace: &mut Pace) -> Result<Timestamp> {
        let copy = self.0.config.data.join(COPY);
        let sent = self.send_records(carrier, &copy, pace).await;
        let removed = match tokio::fs::remove_file(&copy).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(io("remove", &copy)),
        };
        let done_at = sent?;
        removed?;
        Ok(done_at)
    }

    async fn send_records(
        &self,
        carrier: &Carrier<'_>,
        copy: &Path,
        pace: &mut Pace,
    ) -> Result<Timestamp> {
        let context = self.job(jobs::RETENTION);
        let mut file = tokio::fs::File::from_std(create_private(copy)?);
        let copied = self.0.store.export(&context, &mut file).await?;
        file.sync_all().await.map_err(io("make durable", copy))?;
        drop(file);
        // Read in this order: the log up to here was received by then, and holds everything that
        // the copy says of it.
        let log_position = self.0.log.tail_position();
        let done_at = self.clock().now();
        let facts = RecordsFacts {
            done_at_us: done_at.as_micros(),
            schema: copied.schema,
            rows: copied.rows,
            log_position,
        };
        let folder = records_folder(carrier.whose, done_at);
        let sent = carrier.send(copy, &folder, Some(facts), pace).await;
        if sent.is_err() {
            carrier.forget(&folder).await;
        }
        sent.map(|_| done_at)
    }

    async fn send_objects(&self, carrier: &Carrier<'_>, pace: &mut Pace) -> Result<()> {
        let data = self.0.config.data.clone();
        let listed = crate::backup::blocking(move || plain_files(&data, Path::new(OBJECTS)));
        let files = listed.await?;
        let front = carrier.whose.folder("objects");
        let there: HashSet<String> = carrier.place.list(&front).await?.into_iter().collect();
        for file in &files {
            let Some(name) = file.to_str() else { continue };
            let folder = format!("{front}/{name}");
            if there.contains(&head_name(&folder)) {
                continue;
            }
            let path = self.0.config.data.join(file);
            // Deleted since it was listed.
            if path.exists() {
                carrier.send(&path, &folder, None, pace).await?;
            }
        }
        Ok(())
    }

    /// Deletes what was shipped and is past its time, of lives before a restore too.
    async fn end_shipped(&self, carrier: &Carrier<'_>, kept: Duration) -> Result<()> {
        let context = self.job(jobs::RETENTION);
        let high_water = self.0.store.read_platform(&context).await?.clock_high_water().await?;
        // A clock that jumped ahead must not delete everything.
        let now = self.trusted(context.at, high_water);
        let before = now.saturating_sub(kept);
        let instance = &carrier.whose.instance;
        for restores in 0..carrier.whose.restores {
            let life = Whose { instance: instance.clone(), restores };
            for kind in ["log", "records", "objects"] {
                carrier.end_old(&life.folder(kind), before, |_| true).await?;
            }
        }
        carrier.end_old(&carrier.whose.folder("log"), before, |_| true).await?;
        let heads = carrier.place.list(&carrier.whose.folder("records")).await?;
        let copies: Vec<(Timestamp, &str)> =
            heads.iter().filter_map(|name| Some((done_at(name)?, folder_of(name)?))).collect();
        for folder in superfluous(&copies, now, before) {
            carrier.delete(folder).await?;
        }
        // Pieces of a copy that was cut off: no head names them.
        let whole: HashSet<&str> = copies.iter().map(|(_, folder)| *folder).collect();
        let is_left = |name: &str| name.rsplit_once('/').is_some_and(|one| !whole.contains(one.0));
        carrier.end_old(&carrier.whose.folder("records"), before, is_left).await?;
        let front = carrier.whose.folder("objects");
        for name in carrier.place.before(&front, before, usize::MAX).await? {
            let Some(folder) = folder_of(&name) else { continue };
            let file = folder.strip_prefix(&front).and_then(|file| file.strip_prefix('/'));
            if file.is_some_and(|file| !self.0.config.data.join(file).exists()) {
                carrier.delete(folder).await?;
            }
        }
        Ok(())
    }
}

impl Carrier<'_> {
    /// Deletes the wanted files of a folder that were written before a moment.
    async fn end_old(
        &self,
        folder: &str,
        before: Timestamp,
        is_wanted: impl Fn(&str) -> bool + Send,
    ) -> Result<()> {
        for name in self.place.before(folder, before, ENDED_AT_ONCE).await? {
            if is_wanted(&name) {
                self.place.delete(&name).await?;
            }
        }
        Ok(())
    }

    /// Deletes what there is of a parcel that was not ended, as far as that goes.
    async fn forget(&self, folder: &str) {
        for name in self.place.list(folder).await.unwrap_or_default() {
            if let Err(error) = self.place.delete(&name).await {
                tracing::debug!(%error, "a copy that was not ended stays until its time is over");
                return;
            }
        }
    }
}

/// Copies that are past their time, or not the last of their day after two days. The newest stays.
fn superfluous<'a>(
    copies: &[(Timestamp, &'a str)],
    now: Timestamp,
    before: Timestamp,
) -> Vec<&'a str> {
    let day = |at: Timestamp| at.as_micros().div_euclid(DAY_MICROS);
    let each_from = now.saturating_sub(EACH_KEPT);
    let pairs = copies.iter().zip(copies.iter().skip(1));
    pairs
        .filter(|((at, _), (next, _))| *at < before || (*at < each_from && day(*at) == day(*next)))
        .map(|((_, folder), _)| *folder)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_copy_of_a_day_stays() {
        let hour = |hours: u64| Timestamp::EPOCH.saturating_add(Duration::from_secs(hours * 3600));
        let copies = [
            (hour(1), "old"),
            (hour(30), "morning"),
            (hour(40), "evening"),
            (hour(95), "lately"),
            (hour(96), "now"),
        ];
        let check = |kept_from: u64, expect: &[&str]| {
            assert_eq!(superfluous(&copies, hour(96), hour(kept_from)), expect, "{kept_from}");
        };
        check(0, &["morning"]);
        check(20, &["old", "morning"]);
        check(200, &["old", "morning", "evening", "lately"]);
    }

    #[test]
    fn names_say_when() {
        let whose = Whose { instance: "i".to_owned(), restores: 2 };
        let at = Timestamp::from_micros(1_800_000_000_000_000);
        let name = head_name(&records_folder(&whose, at));
        assert_eq!(name, "i/00002/records/00001800000000000000/head");
        assert_eq!(done_at(&name), Some(at));
        assert_eq!(done_at("i/00002/records/00001800000000000000/000001"), None);
    }

    #[test]
    fn what_failed_waits_and_what_went_well_is_not_done_again() {
        let secs = Duration::from_secs;
        let config = ShipConfig {
            url: String::new(),
            s3: crate::S3Access {
                endpoint: String::new(),
                region: String::new(),
                access_key_id: String::new(),
                secret_access_key: veritwin_domain::Secret::new(String::new()),
            },
            interval: secs(1),
            records_interval: secs(3600),
            kept: secs(1),
            log_hold_bytes_max: 0,
        };
        let whose = Whose { instance: "i".to_owned(), restores: 0 };
        let mut copies = Copies::new(config, whose, 0);
        assert!(copies.is_due(secs(0)) && copies.copy_is_due(secs(0)), "the first is due");
        copies.waits_until = secs(60);
        assert!(!copies.is_due(secs(59)) && copies.is_due(secs(60)));
        (copies.due_at, copies.has_rest) = (Some(secs(3600)), true);
        assert!(copies.is_due(secs(60)) && !copies.copy_is_due(secs(60)), "the rest alone");
        copies.has_rest = false;
        assert!(!copies.is_due(secs(3599)) && copies.is_due(secs(3600)));
    }
}
