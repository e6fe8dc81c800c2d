//! Continuous shipping of the log: each durable part goes to a folder or a bucket soon after it
//! was written, with copies of the records now and then, so that a platform can be put back as it
//! was at a moment. The keyring is never shipped.

mod board;
mod copies;
mod log_line;
pub(crate) mod pace;
pub(crate) mod parcel;
pub(crate) mod part;
pub(crate) mod place;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use veritwin_domain::Secret;

use self::board::Line;
pub(crate) use self::board::ShipBoard;
pub use self::board::ShipStatus;
pub(crate) use self::copies::{Copies, done_at, records_folder};
pub(crate) use self::log_line::LogLine;
use self::part::{Reached, Whose};
use self::place::Place;
use crate::backup::files::instance_of;
use crate::job_board::{Job, JobWatch};
use crate::{App, Error, Result};

/// Where the place in the log is kept up to which everything is shipped.
pub(crate) const FILE: &str = "shipping.json";
/// A copy of the records on its way.
pub(crate) const COPY: &str = "shipping.copy";
/// How often something to ship is looked for.
const ROUND: Duration = Duration::from_secs(1);

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

impl App {
    /// Starts shipping where it is configured.
    pub(crate) fn start_shipping(&self) -> Result<()> {
        let Some(config) = self.0.config.shipping.clone() else { return Ok(()) };
        self.0.upkeep.ships.set(|status| status.place = Some(config.url.clone()));
        let (log, copies) = self.ship_lines(&config)?;
        let (app, watch) = (self.clone(), self.watch_job(Job::Shipping));
        self.0.tasks.spawn(async move {
            // Beside each other: a large copy of the records makes no part of the log late.
            tokio::join!(app.keep_log_shipped(log, &watch), app.keep_copies_shipped(copies));
        });
        Ok(())
    }

    /// What ships the log, and what ships copies of the records.
    pub(crate) fn ship_lines(&self, config: &ShipConfig) -> Result<(LogLine, Copies)> {
        let whose = Whose {
            instance: instance_of(&self.0.config.data.join("instance.json"))?,
            restores: self.0.lineage.restores(),
        };
        let rate = self.0.config.disk_bytes_per_second;
        let log = LogLine::new(config.clone(), whose.clone(), rate);
        Ok((log, Copies::new(config.clone(), whose, rate)))
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
        let position = self.0.upkeep.ships.status().position.unwrap_or(0);
        // What others hold the log for is not shipping's to give up.
        if self.0.log.bytes_from(position) > config.log_hold_bytes_max {
            return u64::MAX;
        }
        position
    }

    async fn keep_log_shipped(&self, mut line: LogLine, watch: &JobWatch) {
        let mut interval = rounds();
        loop {
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                _ = interval.tick() => {}
            }
            // A place that does not answer makes nothing of the platform late.
            watch.turned();
            let done = tokio::select! {
                () = self.0.stop.cancelled() => return,
                done = self.ship_log_round(&mut line) => done,
            };
            self.note_ship_round(Line::Log, done);
        }
    }

    async fn keep_copies_shipped(&self, mut copies: Copies) {
        let mut interval = rounds();
        loop {
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                _ = interval.tick() => {}
            }
            if !copies.is_due(self.clock().monotonic()) {
                continue;
            }
            let done = tokio::select! {
                () = self.0.stop.cancelled() => return,
                done = self.ship_copies_round(&mut copies) => done,
            };
            self.note_ship_round(Line::Copies, done);
        }
    }

    fn note_ship_round(&self, line: Line, done: Result<()>) {
        let board = &self.0.upkeep.ships;
        match done {
            Ok(()) => {
                if board.works(line) {
                    tracing::info!(?line, "what was not shipped is shipped again");
                }
            }
            Err(error) => {
                metrics::counter!("veritwin_ship_failures_total").increment(1);
                let text = crate::store_check::describe(&error);
                let text = match &error {
                    Error::Invalid { at: Some(at), .. } => format!("{at}: {text}"),
                    _ => text,
                };
                if board.fails(line, self.clock().now(), &text) {
                    tracing::error!(?line, problem = %text, "it is not shipped; trying again");
                }
            }
        }
        // One line may be out of room while the other gets on.
        self.note_room_for("shipping", board.full());
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

fn rounds() -> tokio::time::Interval {
    let mut interval = tokio::time::interval(ROUND);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Up to where everything is shipped, by what the place says.
pub(crate) async fn reached(
    keys: &veritwin_keys::KeyService,
    whose: &Whose,
    place: &Place,
) -> Result<Option<Reached>> {
    let sealed = place.find(&whose.reached_name()).await?;
    sealed.map(|sealed| whose.open_reached(keys, &sealed)).transpose()
}

/// Opens the place of a configuration, for a restore.
pub(crate) fn open_place(config: &ShipConfig) -> Result<Place> {
    let egress = Arc::new(veritwin_outbound::register::EgressRegister::default());
    Place::open(&config.url, &config.s3, &egress)
}
