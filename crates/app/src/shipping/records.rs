//! Copies of the records beside the shipped log, and of the objects that they name; and the end of
//! what is past its time.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use veritwin_access::jobs;
use veritwin_domain::{DAY_MICROS, Timestamp};

use super::parcel::{Carrier, RecordsFacts, folder_of, head_name};
use super::part::Whose;
use super::place::Place;
use super::{COPY, SHIPPED_FILES_MAX, Shipper};
use crate::backup::files::{create_private, io, plain_files};
use crate::{App, Result};

/// Older copies of the records are kept one a day.
const EACH_KEPT: Duration = Duration::from_secs(48 * 3600);
/// Objects that records name and the log does not hold.
const OBJECTS: &str = "objects/twins";

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
    /// Ships a copy of the records and the objects that are not there yet, and deletes what is
    /// past its time.
    pub(super) async fn ship_records(&self, shipper: &mut Shipper, place: &Place) -> Result<()> {
        // A backup has its own copy of the records on its way.
        if self.0.upkeep.backup.is_on() {
            return Ok(());
        }
        let whose = shipper.whose.clone();
        let carrier = Carrier { place, keys: &self.0.keys, whose: &whose };
        let copy = self.0.config.data.join(COPY);
        let sent = self.send_records(&carrier, &copy, shipper).await;
        let removed = match tokio::fs::remove_file(&copy).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(io("remove", &copy)),
        };
        let done_at = sent?;
        removed?;
        self.send_objects(&carrier, shipper).await?;
        self.0.upkeep.ships.set(|status| status.records_at = Some(done_at));
        self.end_shipped(&carrier, shipper).await
    }

    async fn send_records(
        &self,
        carrier: &Carrier<'_>,
        copy: &Path,
        shipper: &mut Shipper,
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
        carrier.send(copy, &folder, Some(facts), &mut shipper.pace).await?;
        Ok(done_at)
    }

    async fn send_objects(&self, carrier: &Carrier<'_>, shipper: &mut Shipper) -> Result<()> {
        let data = self.0.config.data.clone();
        let listed = crate::backup::blocking(move || plain_files(&data, Path::new(OBJECTS)));
        let files = listed.await?;
        let front = carrier.whose.folder("objects");
        let there = carrier.place.list(&front, SHIPPED_FILES_MAX).await?;
        let there: HashSet<&str> = there.iter().map(|(name, _)| name.as_str()).collect();
        for file in &files {
            let Some(name) = file.to_str() else { continue };
            let folder = format!("{front}/{name}");
            if there.contains(head_name(&folder).as_str()) {
                continue;
            }
            let path = self.0.config.data.join(file);
            // Deleted since it was listed.
            if path.exists() {
                carrier.send(&path, &folder, None, &mut shipper.pace).await?;
            }
        }
        Ok(())
    }

    /// Deletes what was shipped and is past its time.
    async fn end_shipped(&self, carrier: &Carrier<'_>, shipper: &Shipper) -> Result<()> {
        let now = self.clock().now();
        let before = now.saturating_sub(shipper.config.kept);
        let heads = carrier.place.list(&carrier.whose.folder("records"), SHIPPED_FILES_MAX).await?;
        let copies: Vec<(Timestamp, &str)> =
            heads.iter().filter_map(|(name, _)| Some((done_at(name)?, folder_of(name)?))).collect();
        for folder in superfluous(&copies, now, before) {
            carrier.delete(folder).await?;
        }
        for (name, meta) in
            carrier.place.list(&carrier.whose.folder("log"), SHIPPED_FILES_MAX).await?
        {
            if Timestamp::from_micros(meta.last_modified.timestamp_micros()) < before {
                carrier.place.delete(&name).await?;
            }
        }
        let front = carrier.whose.folder("objects");
        for (name, meta) in carrier.place.list(&front, SHIPPED_FILES_MAX).await? {
            let Some(folder) = folder_of(&name) else { continue };
            let Some(file) = folder.strip_prefix(&front).and_then(|f| f.strip_prefix('/')) else {
                continue;
            };
            let is_old = Timestamp::from_micros(meta.last_modified.timestamp_micros()) < before;
            if is_old && !self.0.config.data.join(file).exists() {
                carrier.delete(folder).await?;
            }
        }
        Ok(())
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
}
