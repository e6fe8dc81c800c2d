//! Continuous shipping of the log: each durable part goes to a folder or a bucket soon after it
//! was written, with copies of the records now and then, so that a platform can be put back as it
//! was at a moment. The keyring is never shipped.

pub(crate) mod pace;
pub(crate) mod parcel;
pub(crate) mod part;
pub(crate) mod place;
mod records;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::MissedTickBehavior;
use veritwin_domain::{FileId, Secret, Timestamp};
use veritwin_log::{LogError, LogPart, PartPlace};

use self::pace::Pace;
use self::part::{Reached, Whose, open_head, open_part, part_name, seal_head, seal_part};
use self::place::{Place, Put};
pub(crate) use self::records::{done_at, records_folder};
use crate::backup::files::{instance_of, read_small, write_whole};
use crate::job_board::{Job, JobWatch};
use crate::{App, Error, Result};

/// Where the place in the log is kept up to which everything is shipped.
pub(crate) const FILE: &str = "shipping.json";
/// A copy of the records on its way.
pub(crate) const COPY: &str = "shipping.copy";
/// How often something to ship is looked for.
const ROUND: Duration = Duration::from_secs(1);
/// Bytes of the log that go into one file.
const PART_BYTES: usize = 4 * 1024 * 1024;
/// Parts that are sent before other work of the round has its turn.
const PARTS_PER_ROUND_MAX: usize = 16;
/// Files below one folder of the place that are listed.
pub(crate) const SHIPPED_FILES_MAX: usize = 2_000_000;

/// Where the log is shipped to, and how.
#[derive(Debug, Clone)]
pub struct ShipConfig {
    /// `file:///FOLDER` or `s3://BUCKET/FRONT`.
    pub url: String,
    /// How a bucket is reached.
    pub s3: S3Access,
    /// What was acknowledged is shipped within this time.
    pub interval: Duration,
    /// How often the records are copied.
    pub records_interval: Duration,
    /// How long shipped files are kept.
    pub kept: Duration,
    /// The log is kept for a place that does not answer up to this size, in bytes.
    pub log_hold_bytes_max: u64,
}

/// How a bucket is reached.
#[derive(Debug, Clone)]
pub struct S3Access {
    /// `https://HOST:PORT`; empty: Amazon's own.
    pub endpoint: String,
    /// The region.
    pub region: String,
    /// Who.
    pub access_key_id: String,
    /// With what secret.
    pub secret_access_key: Secret<String>,
}

/// How far shipping is.
#[derive(Debug, Clone, Default)]
pub struct ShipStatus {
    /// The place in words; none when nothing is shipped.
    pub place: Option<String>,
    /// Everything before this position of the log is shipped.
    pub position: Option<u64>,
    /// Everything that was acknowledged by then is shipped.
    pub reached_at: Option<Timestamp>,
    /// When the newest shipped copy of the records was done.
    pub records_at: Option<Timestamp>,
    /// Since when it fails.
    pub failing_since: Option<Timestamp>,
    /// Why.
    pub problem: Option<String>,
    /// When a part of the log was cut before it was shipped: moments after need a newer base.
    pub gap_at: Option<Timestamp>,
}

/// What the job tells.
#[derive(Debug, Default)]
pub(crate) struct ShipBoard(Mutex<ShipStatus>);

impl ShipBoard {
    pub(crate) fn status(&self) -> ShipStatus {
        self.0.lock().clone()
    }

    fn set(&self, change: impl FnOnce(&mut ShipStatus)) {
        change(&mut self.0.lock());
    }
}

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
}

/// The job's own state.
pub(super) struct Shipper {
    pub(super) config: ShipConfig,
    pub(super) place: Option<Place>,
    pub(super) whose: Whose,
    pub(super) pace: Pace,
    mark: Option<PartPlace>,
    gap_at: Option<Timestamp>,
    is_known: bool,
    /// On the monotonic clock.
    shipped_at: Option<Duration>,
    records_at: Option<Duration>,
}

impl App {
    /// Starts shipping where it is configured.
    pub(crate) fn start_shipping(&self) -> Result<()> {
        let Some(config) = self.0.config.shipping.clone() else { return Ok(()) };
        let data = &self.0.config.data;
        let whose = Whose {
            instance: instance_of(&data.join("instance.json"))?,
            restores: self.0.lineage.restores(),
        };
        self.0.upkeep.ships.set(|status| status.place = Some(config.url.clone()));
        let shipper = Shipper {
            pace: Pace::new(self.0.config.disk_bytes_per_second),
            config,
            place: None,
            whose,
            mark: None,
            gap_at: None,
            is_known: false,
            shipped_at: None,
            records_at: None,
        };
        let (app, watch) = (self.clone(), self.watch_job(Job::Shipping));
        self.0.tasks.spawn(async move { app.keep_shipping(shipper, &watch).await });
        Ok(())
    }

    /// How far shipping is.
    pub(crate) fn ship_status(&self) -> ShipStatus {
        let mut status = self.0.upkeep.ships.status();
        if status.place.is_none() {
            // Of a stopped platform that is only opened to be asked.
            status.place = self.0.config.shipping.as_ref().map(|config| config.url.clone());
        }
        status
    }

    /// Up to where the log may be cut for all that shipping cares. A place that does not answer
    /// holds the log up to a bound; then the log goes on and the copies have a gap.
    pub(crate) fn shipped_position(&self) -> u64 {
        let Some(config) = &self.0.config.shipping else { return u64::MAX };
        if self.0.log.size_bytes() > config.log_hold_bytes_max {
            return u64::MAX;
        }
        self.0.upkeep.ships.status().position.unwrap_or(0)
    }

    async fn keep_shipping(&self, mut shipper: Shipper, watch: &JobWatch) {
        let mut interval = tokio::time::interval(ROUND);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                _ = interval.tick() => {}
            }
            // A place that does not answer makes nothing of the platform late.
            watch.turned();
            let done = tokio::select! {
                () = self.0.stop.cancelled() => return,
                done = self.ship_round(&mut shipper) => done,
            };
            self.note_ship_round(done);
        }
    }

    fn note_ship_round(&self, done: Result<()>) {
        let now = self.clock().now();
        match done {
            Ok(()) => {
                self.note_room("shipping", None);
                self.0.upkeep.ships.set(|status| {
                    if status.problem.take().is_some() {
                        tracing::info!("the log is shipped again");
                    }
                    status.failing_since = None;
                });
            }
            Err(error) => {
                metrics::counter!("veritwin_ship_failures_total").increment(1);
                self.note_room("shipping", Some(&error));
                let text = crate::store_check::describe(&error);
                let text = match &error {
                    Error::Invalid { at: Some(at), .. } => format!("{at}: {text}"),
                    _ => text,
                };
                self.0.upkeep.ships.set(|status| {
                    if status.problem.as_ref() != Some(&text) {
                        tracing::error!(problem = %text, "the log is not shipped; trying again");
                    }
                    status.failing_since.get_or_insert(now);
                    status.problem = Some(text);
                });
            }
        }
    }

    async fn ship_round(&self, shipper: &mut Shipper) -> Result<()> {
        if shipper.place.is_none() {
            let (url, s3) = (&shipper.config.url, &shipper.config.s3);
            shipper.place = Some(Place::open(url, s3, &self.0.egress)?);
        }
        let Some(place) = shipper.place.clone() else { return Ok(()) };
        if !shipper.is_known {
            self.find_mark(shipper, &place).await?;
            shipper.is_known = true;
        }
        self.ship_log(shipper, &place).await?;
        let now = self.clock().monotonic();
        let wait = shipper.config.records_interval;
        if shipper.records_at.is_none_or(|at| now.saturating_sub(at) >= wait) {
            self.ship_records(shipper, &place).await?;
            shipper.records_at = Some(now);
        }
        Ok(())
    }

    /// Where it stopped the last time: by its own file, or else by what is there.
    async fn find_mark(&self, shipper: &mut Shipper, place: &Place) -> Result<()> {
        let path = self.0.config.data.join(FILE);
        let kept = if path.exists() { read_kept(&path) } else { None };
        let kept = kept.filter(|kept| {
            kept.restores == shipper.whose.restores && kept.url == shipper.config.url
        });
        shipper.mark = match kept {
            Some(kept) => {
                shipper.gap_at = kept.gap_at_us.map(Timestamp::from_micros);
                let (offset, position) = (kept.offset, kept.position);
                kept.file.parse().ok().map(|file| PartPlace { file, offset, position })
            }
            None => {
                let parts = place.list(&shipper.whose.folder("log"), SHIPPED_FILES_MAX).await?;
                match parts.last() {
                    Some((name, _)) => Some(self.end_of(&shipper.whose, place, name).await?),
                    None => None,
                }
            }
        };
        self.show_mark(shipper);
        Ok(())
    }

    fn show_mark(&self, shipper: &Shipper) {
        // Before anything was shipped the log is kept from its beginning.
        let position = shipper.mark.map(|mark| mark.position);
        self.0.upkeep.ships.set(|status| {
            status.position = position;
            status.gap_at = shipper.gap_at;
        });
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

    async fn ship_log(&self, shipper: &mut Shipper, place: &Place) -> Result<()> {
        let since = self.clock().monotonic();
        let wait = shipper.config.interval;
        let is_due = shipper.shipped_at.is_none_or(|at| since.saturating_sub(at) >= wait);
        // Taken before the end of the log is: what was acknowledged by now is in it.
        let now = self.clock().now();
        let end = self.0.log.tail_position();
        for _ in 0..PARTS_PER_ROUND_MAX {
            let is_behind = shipper.mark.map_or(0, |mark| mark.position) < end;
            let part = if is_behind { self.next_part(shipper.mark).await } else { Ok(None) };
            let part = match part {
                Err(LogError::Truncated { .. }) => {
                    tracing::error!(
                        "a part of the log was cut before it was shipped: make a new backup, \
                         moments after it can be restored from that one only"
                    );
                    shipper.gap_at = Some(now);
                    shipper.mark = None;
                    continue;
                }
                other => other?,
            };
            let Some(part) = part else {
                if is_due {
                    self.note_reached(shipper, place, now).await?;
                    shipper.shipped_at = Some(since);
                }
                return Ok(());
            };
            if !is_due && !part.ends_file && part.bytes.len() < PART_BYTES {
                return Ok(());
            }
            self.send_part(shipper, place, &part).await?;
        }
        Ok(())
    }

    async fn send_part(&self, shipper: &mut Shipper, place: &Place, part: &LogPart) -> Result<()> {
        shipper.pace.wait(part.bytes.len() as u64).await;
        let name = part_name(&shipper.whose, &part.from);
        let sealed = seal_part(&self.0.keys, &shipper.whose, part, self.clock().now())?;
        let to = match place.put(&name, sealed.into()).await? {
            Put::New => part.to,
            // Sent before a stop that came before its note; perhaps of another length.
            Put::There => self.end_of(&shipper.whose, place, &name).await?,
        };
        shipper.mark = Some(to);
        self.keep_mark(shipper).await
    }

    async fn next_part(
        &self,
        mark: Option<PartPlace>,
    ) -> std::result::Result<Option<LogPart>, LogError> {
        let log = self.0.log.clone();
        let read = tokio::task::spawn_blocking(move || log.part_after(mark, PART_BYTES));
        read.await.map_err(|_| LogError::Closed)?
    }

    async fn keep_mark(&self, shipper: &Shipper) -> Result<()> {
        self.show_mark(shipper);
        let Some(mark) = shipper.mark else { return Ok(()) };
        let kept = Kept {
            form: part::FORM,
            url: shipper.config.url.clone(),
            restores: shipper.whose.restores,
            file: mark.file.to_string(),
            offset: mark.offset,
            position: mark.position,
            gap_at_us: shipper.gap_at.map(Timestamp::as_micros),
        };
        let bytes = serde_json::to_vec(&kept).map_err(|e| Error::Internal(e.to_string()))?;
        let path = self.0.config.data.join(FILE);
        crate::backup::blocking(move || write_whole(&path, &bytes)).await
    }

    /// Says that everything up to a moment is there.
    async fn note_reached(&self, shipper: &Shipper, place: &Place, at: Timestamp) -> Result<()> {
        let position = shipper.mark.map_or(0, |mark| mark.position);
        let reached = Reached::new(&shipper.whose, at, position);
        let sealed = seal_head(&self.0.keys, &reached)?;
        place.replace(&shipper.whose.reached_name(), sealed.into()).await?;
        self.0.upkeep.ships.set(|status| status.reached_at = Some(at));
        Ok(())
    }

    /// Sets the gauges about shipping.
    pub(crate) fn record_ship_gauges(&self) {
        let status = self.ship_status();
        if status.place.is_none() {
            return;
        }
        let now = self.clock().now();
        let behind = status.reached_at.map_or(f64::INFINITY, |at| now.since(at).as_secs_f64());
        metrics::gauge!("veritwin_ship_behind_seconds").set(behind);
        let old = status.records_at.map_or(f64::INFINITY, |at| now.since(at).as_secs_f64());
        metrics::gauge!("veritwin_ship_records_age_seconds").set(old);
        let has_gap = f64::from(u8::from(status.gap_at.is_some()));
        metrics::gauge!("veritwin_ship_gap").set(has_gap);
    }
}

/// A file that does not read is none: the place itself is asked then.
fn read_kept(path: &Path) -> Option<Kept> {
    let bytes = read_small(path).ok()?;
    serde_json::from_slice(&bytes).ok().filter(|kept: &Kept| kept.form == part::FORM)
}

/// Up to where everything is shipped, by what the place says.
pub(crate) async fn reached(
    keys: &veritwin_keys::KeyService,
    whose: &Whose,
    place: &Place,
) -> Result<Option<Reached>> {
    let name = whose.reached_name();
    let Some(sealed) = place.find(&name).await? else { return Ok(None) };
    let (found, _): (Reached, _) = open_head(keys, &name, &sealed)?;
    whose.check(&name, &found.instance, found.restores)?;
    Ok(Some(found))
}

/// Opens the place of a configuration, for a restore.
pub(crate) fn open_place(config: &ShipConfig) -> Result<Place> {
    let egress = Arc::new(veritwin_outbound::register::EgressRegister::default());
    Place::open(&config.url, &config.s3, &egress)
}
