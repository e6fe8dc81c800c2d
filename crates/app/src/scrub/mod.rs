//! Reading everything that is stored and comparing, in the background and when it is asked for:
//! keyrings, records, log, segments, objects, the references between them, and the ledger's
//! payloads. It changes nothing but its own note, and goes on after a stop where it was.

mod stages;

use std::path::Path;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use tokio::time::MissedTickBehavior;
use veritwin_access::{Action, Finding};
use veritwin_domain::{PlatformContext, Timestamp};

use self::stages::Stage;
use crate::backup::blocking;
use crate::backup::files::{read_small, write_whole};
use crate::job_board::{Job, JobWatch};
use crate::provision::PLATFORM_TENANT;
use crate::security::{Found, fact};
use crate::shipping::pace::Pace;
use crate::{App, Error, Result};

/// Where it is noted how far it is and what was found.
pub(crate) const FILE: &str = "scrub.json";
const FORM: u32 = 1;
/// The records as a finding names them.
const RECORDS: &str = "records.db";
/// How often it is looked whether one is due.
const LOOK: Duration = Duration::from_secs(60);
/// A platform that was never read is read so long after its start.
const FIRST_AFTER: Duration = Duration::from_secs(3600);
/// The note is written after so many bytes or parts.
const NOTED_BYTES: u64 = 256 * 1024 * 1024;
const NOTED_PARTS: u64 = 2000;
/// Findings that are named; more are counted.
const SCRUB_FINDINGS_MAX: usize = 100;
/// Findings that an alert names.
const ALERT_FACTS_MAX: usize = 10;

/// How everything is read and compared in the background.
#[derive(Debug, Clone, Copy)]
pub struct ScrubConfig {
    /// How often; none: never by itself.
    pub every: Option<Duration>,
    /// Bytes in a second.
    pub bytes_per_second: u64,
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScrubFinding {
    /// The file, from the data directory on.
    pub file: String,
    /// Where in it.
    pub byte: Option<u64>,
    /// Whose it is.
    pub tenant: Option<String>,
    /// First time of what cannot be read, RFC 3339.
    pub from: Option<String>,
    /// Last time of it.
    pub to: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// What can be done.
    pub advice: String,
    /// Whether something is lost; else something is left over.
    pub is_loss: bool,
}

/// One reading of everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScrubRun {
    /// When it began, microseconds since 1970.
    pub started_at_us: i64,
    /// When it ended; none while it runs.
    pub ended_at_us: Option<i64>,
    /// Bytes that were read.
    pub bytes: u64,
    /// Files and parts of files that were read.
    pub parts: u64,
    /// Parts that could not be judged: their tenant's key is withdrawn, gone or out of reach.
    pub closed: u64,
    /// What was found, the first hundred.
    pub findings: Vec<ScrubFinding>,
    /// How many more there are.
    pub more: u64,
    /// What could not be looked at, in words.
    pub skipped: Vec<String>,
}

/// What the background reading did and does.
#[derive(Debug, Clone, Default)]
pub struct ScrubStatus {
    /// The one that runs, or goes on soon, and what it reads.
    pub running: Option<(ScrubRun, &'static str)>,
    /// The last that ended.
    pub last: Option<ScrubRun>,
    /// When the next begins.
    pub next_at: Option<Timestamp>,
}

/// What is noted in the data directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Note {
    form: u32,
    running: Option<Running>,
    last: Option<ScrubRun>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Running {
    stage: Stage,
    /// Behind what to go on.
    place: String,
    run: ScrubRun,
    /// Findings that the operators were told of.
    #[serde(default)]
    told: usize,
}

/// One at a time.
#[derive(Debug, Default)]
pub(crate) struct ScrubTurn(tokio::sync::Mutex<()>);

/// One reading on its way.
struct Walk<'a> {
    app: &'a App,
    watch: Option<&'a JobWatch>,
    pace: Pace,
    stage: Stage,
    place: String,
    run: ScrubRun,
    told: usize,
    unsaved: (u64, u64),
}

impl App {
    /// Starts the background reading where it is wanted.
    pub(crate) fn start_scrub(&self) {
        let Some(every) = self.0.config.scrub.every else { return };
        let (app, watch) = (self.clone(), self.watch_job(Job::Scrub));
        self.0.tasks.spawn(async move { app.keep_scrub(every, &watch).await });
    }

    async fn keep_scrub(&self, every: Duration, watch: &JobWatch) {
        let mut interval = tokio::time::interval(LOOK);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                _ = interval.tick() => {}
            }
            watch.turned();
            let is_due = match self.scrub_note().await {
                Ok(note) => note.running.is_some() || self.next_scrub(&note, every).is_none(),
                Err(error) => {
                    tracing::warn!(%error, "the note of what was read and compared cannot be read");
                    false
                }
            };
            let Ok(_turn) = self.0.upkeep.scrub.0.try_lock() else { continue };
            if !is_due {
                continue;
            }
            let rate = self.0.config.scrub.bytes_per_second;
            if let Err(error) = self.run_scrub(rate, Some(watch)).await {
                tracing::warn!(%error, "not everything was read and compared; going on later");
            }
        }
    }

    /// When the next is due; none: now.
    fn next_scrub(&self, note: &Note, every: Duration) -> Option<Timestamp> {
        let next = match &note.last {
            Some(last) => Timestamp::from_micros(last.started_at_us).saturating_add(every),
            None => self.0.started_at.saturating_add(FIRST_AFTER),
        };
        (next > self.clock().now()).then_some(next)
    }

    /// Reads everything now, at most so many bytes in a second (0: without bound). For whoever
    /// holds the data directory.
    #[boxed]
    pub async fn scrub(
        &self,
        context: &PlatformContext,
        bytes_per_second: u64,
    ) -> Result<ScrubRun> {
        self.authorize_platform(context, Action::SystemMaintain)?;
        let Ok(_turn) = self.0.upkeep.scrub.0.try_lock() else {
            let detail = "everything is being read and compared already: see its status";
            return Err(Error::Conflict(detail.to_owned()));
        };
        // From the beginning, whatever another had read.
        let note = Note { form: FORM, running: None, last: self.scrub_note().await?.last };
        self.write_scrub_note(note).await?;
        self.run_scrub(bytes_per_second, None).await
    }

    /// What the background reading did and does. For whoever holds the data directory.
    #[boxed]
    pub async fn scrub_status(&self, context: &PlatformContext) -> Result<ScrubStatus> {
        self.authorize_platform(context, Action::SystemMaintain)?;
        self.own_scrub_status().await
    }

    /// The same for the platform's own pages.
    pub(crate) async fn own_scrub_status(&self) -> Result<ScrubStatus> {
        let note = self.scrub_note().await?;
        let every = self.0.config.scrub.every;
        let now = self.clock().now();
        let next_at = every.map(|every| self.next_scrub(&note, every).unwrap_or(now));
        let running = note.running.map(|running| (running.run, running.stage.as_str()));
        Ok(ScrubStatus { running, last: note.last, next_at })
    }

    async fn run_scrub(&self, rate: u64, watch: Option<&JobWatch>) -> Result<ScrubRun> {
        let note = self.scrub_note().await?;
        let started_at_us = self.clock().now().as_micros();
        let running = note.running.unwrap_or_else(|| Running {
            stage: Stage::FIRST,
            place: String::new(),
            run: ScrubRun { started_at_us, ..ScrubRun::default() },
            told: 0,
        });
        let Running { stage, place, run, told } = running;
        let pace = Pace::new(rate);
        let mut walk = Walk { app: self, watch, pace, stage, place, run, told, unsaved: (0, 0) };
        walk.go().await?;
        let mut run = walk.run;
        run.ended_at_us = Some(self.clock().now().as_micros());
        self.write_scrub_note(Note { form: FORM, running: None, last: Some(run.clone()) }).await?;
        let losses = run.findings.iter().filter(|finding| finding.is_loss).count();
        metrics::gauge!("veritwin_scrub_damaged").set(losses as f64);
        metrics::gauge!("veritwin_scrub_ended_seconds")
            .set(self.clock().now().as_millis() as f64 / 1e3);
        Ok(run)
    }

    /// Tells the operators: an alert with mail, and the log.
    async fn tell_damage(&self, findings: &[ScrubFinding]) {
        let lost = findings.iter().filter(|finding| finding.is_loss);
        let mut facts = Vec::new();
        for finding in lost {
            let (file, byte, problem) = (&finding.file, finding.byte, &finding.problem);
            tracing::error!(%file, ?byte, %problem, "stored data does not read back");
            if facts.len() < ALERT_FACTS_MAX {
                let place =
                    byte.map_or_else(|| file.clone(), |byte| format!("{file}, byte {byte}"));
                facts.push(fact("damaged", place));
            }
        }
        if facts.is_empty() {
            return;
        }
        let kind = Finding::StorageDamaged;
        let found = Found { tenant: PLATFORM_TENANT, kind, facts, session: None };
        if let Err(error) = self.raise_finding(&found).await {
            tracing::error!(%error, "the operators were not told of damage");
        }
    }

    async fn scrub_note(&self) -> Result<Note> {
        let path = self.0.config.data.join(FILE);
        blocking(move || Ok(read_note(&path))).await
    }

    async fn write_scrub_note(&self, note: Note) -> Result<()> {
        let bytes = serde_json::to_vec(&note).map_err(|e| Error::Internal(e.to_string()))?;
        let path = self.0.config.data.join(FILE);
        blocking(move || write_whole(&path, &bytes)).await
    }
}

/// It only informs: one that does not read is as good as none.
fn read_note(path: &Path) -> Note {
    let bytes = read_small(path).unwrap_or_default();
    let note: Note = serde_json::from_slice(&bytes).unwrap_or_default();
    if note.form == FORM { note } else { Note::default() }
}

/// The last reading of a data directory that ended, whether a platform runs in it or not.
pub fn last_scrub(data: &Path) -> Option<ScrubRun> {
    read_note(&data.join(FILE)).last
}

impl Walk<'_> {
    /// A part was read: waits as long as its bytes take.
    async fn read(&mut self, place: &str, bytes: u64) -> Result<()> {
        place.clone_into(&mut self.place);
        self.run.bytes += bytes;
        self.run.parts += 1;
        self.unsaved.0 += bytes;
        self.unsaved.1 += 1;
        if let Some(watch) = self.watch {
            watch.turned();
        }
        if self.unsaved.0 >= NOTED_BYTES || self.unsaved.1 >= NOTED_PARTS {
            self.save().await?;
        }
        if self.app.0.stop.is_cancelled() {
            self.save().await?;
            return Err(Error::Unavailable("the platform stops".to_owned()));
        }
        tokio::select! {
            // Noted at the next part.
            () = self.app.0.stop.cancelled() => {}
            () = self.pace.wait(bytes) => {}
        }
        Ok(())
    }

    fn found(&mut self, finding: ScrubFinding) {
        if self.run.findings.len() < SCRUB_FINDINGS_MAX {
            self.run.findings.push(finding);
        } else {
            self.run.more += 1;
        }
    }

    async fn save(&mut self) -> Result<()> {
        self.unsaved = (0, 0);
        let note = self.app.scrub_note().await?;
        let (stage, place, run) = (self.stage, self.place.clone(), self.run.clone());
        let running = Some(Running { stage, place, run, told: self.told });
        self.app.write_scrub_note(Note { form: FORM, running, last: note.last }).await
    }

    async fn go(&mut self) -> Result<()> {
        loop {
            if let Err(error) = self.stage().await {
                let is_lost = |found: &ScrubFinding| found.is_loss && found.file == RECORDS;
                if self.app.0.stop.is_cancelled() || !self.run.findings.iter().any(is_lost) {
                    return Err(error);
                }
                // Damaged records may not say what has to be there; that they are is told.
                self.run.skipped.push(format!("{}: {}", self.stage.as_str(), error.told()));
            }
            // At once: what comes later may take days, or wait for another.
            let findings = self.run.findings.get(self.told..).unwrap_or_default();
            self.app.tell_damage(findings).await;
            self.told = self.run.findings.len();
            self.place.clear();
            match self.stage.next() {
                None => return Ok(()),
                Some(next) => self.stage = next,
            }
            self.save().await?;
        }
    }
}
