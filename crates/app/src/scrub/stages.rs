//! What is read in which order, and what can be done about what is found.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::Path;

use object_store::ObjectStoreExt;
use object_store::path::Path as ObjectPath;
use serde::{Deserialize, Serialize};
use veritwin_access::jobs;
use veritwin_domain::{TenantId, Timestamp};
use veritwin_keys::sha256;
use veritwin_log::{FileLog, LogError, PartPlace};
use veritwin_metastore::every_row;
use veritwin_verify::{Act, Leaf};

use super::{RECORDS, ScrubFinding, Walk};
use crate::backup::blocking;
use crate::backup::files::plain_files;
use crate::store_check::describe;
use crate::{Error, Result, StoreLook, Stored, look_at};

/// Bytes of the log that are read at a time.
const LOG_BYTES: usize = 4 * 1024 * 1024;
/// Packs that nothing names, which are named.
const STRANGERS_MAX: usize = 10;

const RESTORE: &str = "copy the data directory, check the disk, and restore the newest backup and \
                       the shipped log into another directory: what is damaged here is whole there";
const SEGMENT: &str = "readings of this time cannot be answered; later ones are not touched. Check \
                       the disk, then put the object back from a backup that holds it, while the \
                       platform is stopped, or restore to a moment before the damage";
const LEDGER: &str = "put the file back from the archive's own backup; the leaf stays provable, \
                      its records are not readable until then";
const OBJECT: &str = "the twin or package it belongs to does not open. Put the object back from a \
                      backup, or upload the file again";
const LEFT_OVER: &str = "nothing: the next start deletes it";

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    Keyrings,
    Records,
    Log,
    Segments,
    Objects,
    References,
    Ledger,
}

impl Stage {
    pub(super) const FIRST: Self = Self::Keyrings;

    pub(super) const fn next(self) -> Option<Self> {
        Some(match self {
            Self::Keyrings => Self::Records,
            Self::Records => Self::Log,
            Self::Log => Self::Segments,
            Self::Segments => Self::Objects,
            Self::Objects => Self::References,
            Self::References => Self::Ledger,
            Self::Ledger => return None,
        })
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Keyrings => "keyrings",
            Self::Records => "records",
            Self::Log => "log",
            Self::Segments => "segments",
            Self::Objects => "objects",
            Self::References => "references",
            Self::Ledger => "ledger",
        }
    }
}

/// A loss without a place in time.
fn lost(file: &str, problem: String, advice: &str) -> ScrubFinding {
    ScrubFinding {
        file: file.to_owned(),
        byte: None,
        tenant: None,
        from: None,
        to: None,
        problem,
        advice: advice.to_owned(),
        is_loss: true,
    }
}

impl Walk<'_> {
    /// Reads what the stage is of.
    pub(super) async fn stage(&mut self) -> Result<()> {
        match self.stage {
            Stage::Keyrings => self.keyrings().await,
            Stage::Records => self.records().await,
            Stage::Log => self.log().await,
            Stage::Segments => self.segments().await,
            Stage::Objects => self.objects().await,
            Stage::References => self.references().await,
            Stage::Ledger => self.ledger().await,
        }
    }

    async fn keyrings(&mut self) -> Result<()> {
        for stored in [Stored::Keyring, Stored::ArchiveKeyring, Stored::ArchiveJournal] {
            let data = self.app.0.config.data.clone();
            let look = blocking(move || Ok(look_at(stored, &data))).await?;
            // What is being written ends in an unfinished write at times.
            if let Some(StoreLook::Damaged(problem)) = look {
                let advice = "the platform works on with what it has in memory. Copy the data \
                              directory, check the disk, and put the file back from its newest \
                              copy before the next start";
                self.found(lost(stored.folder_name(), problem, advice));
            }
            self.read(stored.as_str(), 0).await?;
        }
        Ok(())
    }

    async fn records(&mut self) -> Result<()> {
        let context = self.app.job(jobs::RETENTION);
        let problems = match self.app.0.store.verify(&context).await {
            Ok(problems) => problems,
            Err(error) => vec![describe(&error)],
        };
        for problem in problems {
            self.found(lost(RECORDS, problem, RESTORE));
        }
        self.read("", 0).await
    }

    async fn log(&mut self) -> Result<()> {
        self.thinned_log().await?;
        let mut place: Option<PartPlace> = None;
        loop {
            match next_part(self.app.0.log.clone(), place).await {
                Ok(None) => return Ok(()),
                // Cut meanwhile: what was cut is in segments.
                Err(LogError::Truncated { .. }) => return Ok(()),
                Ok(Some(part)) => {
                    place = Some(part.to);
                    self.read(&part.name, part.bytes.len() as u64).await?;
                }
                Err(LogError::Damaged { path, offset, reason }) => {
                    let name = path.file_name().unwrap_or_default().display().to_string();
                    let file = format!("log/{name}");
                    let mut finding = lost(&file, reason, RESTORE);
                    finding.byte = Some(offset);
                    self.found(finding);
                    return Ok(());
                }
                Err(error) => {
                    self.found(lost("log", describe(&error), RESTORE));
                    return Ok(());
                }
            }
        }
    }

    /// The log's files that keep what some tenants need.
    async fn thinned_log(&mut self) -> Result<()> {
        for path in self.app.0.log.thinned_files() {
            let name = path.file_name().unwrap_or_default().display().to_string();
            let read = tokio::task::spawn_blocking(move || FileLog::check_thinned(&path));
            match read.await.map_err(|_| LogError::Closed)? {
                Ok(bytes) => self.read(&name, bytes).await?,
                Err(LogError::Damaged { offset, reason, .. }) => {
                    let mut finding = lost(&format!("log/{name}"), reason, RESTORE);
                    finding.byte = Some(offset);
                    self.found(finding);
                }
                // Cut meanwhile: nobody needs it any more.
                Err(LogError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                Err(error) => self.found(lost("log", describe(&error), RESTORE)),
            }
        }
        Ok(())
    }

    async fn segments(&mut self) -> Result<()> {
        let after = Some(self.place.clone()).filter(|place| !place.is_empty());
        let mut scrub = self.app.0.engine.scrub(after.as_deref());
        while let Some(step) = scrub.step().await {
            self.run.closed += u64::from(step.is_closed);
            for damage in step.damage {
                let times = damage.times.map(|(from, to)| (from.to_string(), to.to_string()));
                let (from, to) = times.unzip();
                self.found(ScrubFinding {
                    file: format!("objects/segments/{}", damage.object),
                    byte: Some(damage.offset),
                    tenant: damage.tenant.map(|tenant| tenant.to_string()),
                    from,
                    to,
                    problem: damage.problem,
                    advice: SEGMENT.to_owned(),
                    is_loss: true,
                });
            }
            self.read(&step.place, step.bytes).await?;
        }
        let strangers = self.app.0.engine.stranger_packs(STRANGERS_MAX).await?;
        for name in strangers {
            let file = format!("objects/segments/{name}");
            let finding = lost(&file, "nothing names it".to_owned(), LEFT_OVER);
            self.found(ScrubFinding { is_loss: false, ..finding });
        }
        Ok(())
    }

    async fn objects(&mut self) -> Result<()> {
        let data = self.app.0.config.data.clone();
        let listed = blocking(move || plain_files(&data, Path::new("objects/twins"))).await?;
        let after = self.place.clone();
        for path in listed {
            let Some(name) = path.to_str().filter(|name| *name > after.as_str()) else { continue };
            let mut parts = name.split('/').skip(2);
            let tenant = parts.next().and_then(|text| text.parse::<TenantId>().ok());
            let (Some(tenant), Some(object)) = (tenant, name.strip_prefix("objects/")) else {
                let finding = lost(name, "it is no object of a tenant".to_owned(), LEFT_OVER);
                let advice = "look what it is, and move it away".to_owned();
                self.found(ScrubFinding { is_loss: false, advice, ..finding });
                continue;
            };
            let mut bytes = 0;
            match self.app.get_object(tenant, object).await {
                Ok(opened) => bytes = opened.len() as u64,
                Err(error) if error.is_withheld() => self.run.closed += 1,
                // Deleted since it was listed.
                Err(Error::NotFound(_)) => {}
                Err(error) => {
                    let mut finding = lost(name, describe(&error), OBJECT);
                    finding.tenant = Some(tenant.to_string());
                    self.found(finding);
                }
            }
            self.read(name, bytes).await?;
        }
        Ok(())
    }

    /// What the records name is there.
    async fn references(&mut self) -> Result<()> {
        let context = self.app.job(jobs::RETENTION);
        for tenant in self.app.all_tenants(&context).await? {
            let id = tenant.id.to_string();
            if id <= self.place {
                continue;
            }
            match self.names_of(tenant.id).await {
                Ok(names) => {
                    for name in self.missing(tenant.id, names).await? {
                        let file = format!("objects/{name}");
                        let problem = "the records name it and it is not there".to_owned();
                        let mut finding = lost(&file, problem, OBJECT);
                        finding.tenant = Some(id.clone());
                        self.found(finding);
                    }
                }
                Err(error) if error.is_withheld() => self.run.closed += 1,
                Err(error) => return Err(error),
            }
            self.read(&id, 0).await?;
        }
        Ok(())
    }

    async fn names_of(&self, tenant: TenantId) -> Result<HashSet<String>> {
        let context = self.app.job_in(jobs::RETENTION, tenant);
        let tx = &self.app.0.store.read(&context).await?;
        let mut names = HashSet::new();
        for twin in every_row(|page| async move { tx.twins(&page).await }).await? {
            names.extend(crate::storage::objects(&twin).map(str::to_owned));
        }
        names.extend(tx.packages().await?.into_iter().map(|package| package.object));
        Ok(names)
    }

    /// Names of objects that are not there, and that the records still name afterwards.
    async fn missing(&self, tenant: TenantId, names: HashSet<String>) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        for name in names {
            if self.is_missing(&name).await? {
                missing.push(name);
            }
        }
        if !missing.is_empty() {
            let still = self.names_of(tenant).await?;
            missing.retain(|name| still.contains(name));
        }
        Ok(missing)
    }

    async fn is_missing(&self, name: &str) -> Result<bool> {
        match self.app.0.objects.head(&ObjectPath::from(name)).await {
            Ok(_) => Ok(false),
            Err(object_store::Error::NotFound { .. }) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    async fn ledger(&mut self) -> Result<()> {
        if self.app.archive().is_err() {
            self.run.skipped.push("the ledger archive is not connected".to_owned());
            return Ok(());
        }
        let context = self.app.job(jobs::LEDGER);
        for tenant in self.app.all_tenants(&context).await? {
            let id = tenant.id.to_string();
            if id <= self.place {
                continue;
            }
            let size = match self.app.summary_of(tenant.log_id).await {
                Ok(summary) => summary.size,
                // Nothing was sealed of it yet.
                Err(Error::NotFound(_)) => 0,
                // What the archive has under another key is not this log.
                Err(Error::Conflict(problem)) => {
                    self.run.skipped.push(problem);
                    0
                }
                Err(error) => return Err(error),
            };
            let mut gone = Gone::default();
            // From the newest on: what says that payloads were destroyed comes after them.
            for index in (0..size).rev() {
                // A statement behind it ended its bundle.
                if index < gone.below {
                    break;
                }
                let leaf = self.app.leaf(tenant.log_id, index, size).await?.leaf;
                gone.note(&leaf);
                if leaf.payload_bytes > 0 && !gone.holds(index) {
                    self.payload(tenant.id, index, (tenant.log_id, &leaf)).await?;
                }
            }
            self.read(&id, 0).await?;
        }
        Ok(())
    }

    async fn payload(
        &mut self,
        tenant: TenantId,
        index: u64,
        (log, leaf): (veritwin_domain::LogId, &Leaf),
    ) -> Result<()> {
        let problem = match self.app.payload(log, leaf).await {
            Ok(Some(bytes)) if sha256(&bytes) == *leaf.payload.as_bytes() => None,
            Ok(Some(_)) => Some("its SHA-256 is not the one its leaf names".to_owned()),
            Ok(None) => Some("its leaf names it and it is not there".to_owned()),
            Err(error) => {
                // An archive that answers other questions has trouble with this one alone.
                if self.app.archive()?.about().await.is_err() {
                    return Err(error);
                }
                Some(describe(&error))
            }
        };
        if let Some(problem) = problem {
            let payload = leaf.payload.to_string();
            let front = payload.get(..2).unwrap_or_default();
            let file = format!("archive/archive/logs/{log}/payload/{front}/{payload}");
            let problem = format!("payload of leaf {index}: {problem}");
            let mut finding = lost(&file, problem, LEDGER);
            finding.tenant = Some(tenant.to_string());
            let text = |at: Timestamp| Some(at.to_string());
            (finding.from, finding.to) = (text(leaf.events_from), text(leaf.events_to));
            self.found(finding);
        }
        let place = self.place.clone();
        self.read(&place, leaf.payload_bytes).await
    }
}

async fn next_part(
    log: FileLog,
    place: Option<PartPlace>,
) -> std::result::Result<Option<veritwin_log::LogPart>, LogError> {
    let read = tokio::task::spawn_blocking(move || log.part_after(place, LOG_BYTES));
    read.await.map_err(|_| LogError::Closed)?
}

/// Payloads that were destroyed lawfully or sealed anew.
#[derive(Debug, Default)]
struct Gone {
    below: u64,
    ranges: Vec<(u64, u64)>,
    resealed: HashSet<u64>,
}

impl Gone {
    fn note(&mut self, leaf: &Leaf) {
        match &leaf.act {
            Act::Retention { minimum_index, .. } => self.below = self.below.max(*minimum_index),
            Act::Shred { from, to, .. } => self.ranges.push((*from, *to)),
            Act::Reseal { index, .. } => {
                self.resealed.insert(*index);
            }
            Act::Batch | Act::Evidence | Act::SubmitterKey { .. } | Act::Edge(_) => {}
        }
    }

    fn holds(&self, index: u64) -> bool {
        index < self.below
            || self.resealed.contains(&index)
            || self.ranges.iter().any(|(from, to)| (*from..*to).contains(&index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_its_turn() {
        let mut stages = vec![Stage::FIRST];
        while let Some(next) = stages[stages.len() - 1].next() {
            stages.push(next);
        }
        let names: Vec<&str> = stages.iter().map(|stage| stage.as_str()).collect();
        let expected =
            ["keyrings", "records", "log", "segments", "objects", "references", "ledger"];
        assert_eq!(names, expected);
    }

    #[test]
    fn what_was_destroyed_is_not_missed() {
        let gone = Gone { below: 3, ranges: vec![(5, 7)], resealed: HashSet::from([9]) };
        let held: Vec<u64> = (0..12).filter(|index| gone.holds(*index)).collect();
        assert_eq!(held, [0, 1, 2, 5, 6, 9]);
    }
}
