//! The newest checkpoint that the archive gave for each tenant's log, kept by the platform: an
//! archive that answers with less, or with another history, gets nothing more to sign.

use std::collections::HashMap;

use veritwin_access::jobs;
use veritwin_domain::TenantId;
use veritwin_verify::{FindingKind, SignedCheckpoint, VerifierKey};

use crate::ledger_open::OpenedLog;
use crate::{App, Error, Result};

pub(crate) const HEAD_SETTING: &str = "ledger_head";
/// Checkpoints written down in one go while the platform runs, longest unwritten first.
const SAVED_AT_ONCE_MAX: usize = 64;

struct Head {
    vkey: VerifierKey,
    /// The signed checkpoint.
    note: String,
    is_saved: bool,
    /// The round in which it was last written down.
    round: u64,
}

/// The newest checkpoints of this process; they outlive the archive's connection.
#[derive(Default)]
pub(crate) struct Heads {
    of: HashMap<TenantId, Head>,
    round: u64,
}

impl Heads {
    /// Takes what the archive says of a log, if it is the log that was acknowledged before, or an
    /// extension of it.
    pub(crate) async fn open(
        &mut self,
        app: &App,
        tenant: TenantId,
        opened: &OpenedLog,
    ) -> Result<()> {
        let vkey: VerifierKey = opened
            .vkey
            .parse()
            .map_err(|_| Error::Internal("the stored ledger key is damaged".to_owned()))?;
        let known = match self.of.get(&tenant) {
            Some(head) => Some(head.note.clone()),
            None => app.known_head(tenant).await?,
        };
        let note = opened.summary.checkpoint.clone();
        let is_saved = known.as_ref() == Some(&note);
        if let Some(known) = known.filter(|_| !is_saved) {
            app.check_extends(opened, known, vkey.clone()).await?;
        }
        self.of.insert(tenant, Head { vkey, note, is_saved, round: 0 });
        Ok(())
    }

    /// The archive acknowledged a leaf with this checkpoint.
    pub(crate) fn note(&mut self, tenant: TenantId, note: String) -> Result<()> {
        let Some(head) = self.of.get_mut(&tenant) else { return Ok(()) };
        let signed = SignedCheckpoint::parse(note.as_bytes());
        if !signed.is_ok_and(|signed| signed.verify(&head.vkey).is_ok()) {
            let problem = "the ledger archive's answer is not signed with the log's key";
            return Err(Error::Conflict(problem.to_owned()));
        }
        head.note = note;
        head.is_saved = false;
        Ok(())
    }

    pub(crate) fn forget(&mut self, tenant: TenantId) {
        self.of.remove(&tenant);
    }

    /// Writes them down: all, or a bounded number. What fails for one tenant alone stays for the
    /// next time.
    pub(crate) async fn save(&mut self, app: &App, everything: bool) -> Result<()> {
        self.round += 1;
        let mut waiting: Vec<_> = self.of.iter_mut().filter(|(_, head)| !head.is_saved).collect();
        waiting.sort_by_key(|(_, head)| head.round);
        let most = if everything { waiting.len() } else { SAVED_AT_ONCE_MAX };
        for (tenant, head) in waiting.into_iter().take(most) {
            head.round = self.round;
            match app.save_head(*tenant, &head.note).await {
                Ok(()) => head.is_saved = true,
                Err(error) if app.is_database_away().await => return Err(error),
                Err(error) => {
                    tracing::debug!(%tenant, %error, "a ledger checkpoint is not written down");
                }
            }
        }
        Ok(())
    }
}

impl App {
    async fn known_head(&self, tenant: TenantId) -> Result<Option<String>> {
        let tx = self.0.store.read(&self.job_in(jobs::LEDGER, tenant)).await?;
        let Some(setting) = tx.setting(HEAD_SETTING).await? else { return Ok(None) };
        let damaged = |_| Error::Internal("the stored ledger checkpoint is damaged".to_owned());
        String::from_utf8(setting.body).map(Some).map_err(damaged)
    }

    async fn save_head(&self, tenant: TenantId, note: &str) -> Result<()> {
        let tx = self.0.store.begin(&self.job_in(jobs::LEDGER, tenant)).await?;
        tx.setting_put(HEAD_SETTING, note.as_bytes(), None).await?;
        Ok(tx.commit().await?)
    }

    /// Refuses a log that does not extend the checkpoint `known`.
    async fn check_extends(
        &self,
        opened: &OpenedLog,
        known: String,
        vkey: VerifierKey,
    ) -> Result<()> {
        let source = self.archive()?.source(opened.row.log_id);
        let answer = tokio::task::spawn_blocking(move || {
            veritwin_verify::consistency(&source, known.as_bytes(), &vkey)
        });
        let answer = answer.await.map_err(|error| Error::Internal(error.to_string()))?;
        let Err(finding) = answer else { return Ok(()) };
        let what = match finding.kind {
            FindingKind::Unreadable => {
                return Err(Error::Unavailable("the ledger archive does not answer".to_owned()));
            }
            FindingKind::Rewind => "went back behind what it acknowledged",
            FindingKind::Fork => "holds another history than the one it acknowledged",
            _ => "cannot prove that it holds what it acknowledged",
        };
        let log = opened.row.log_id;
        let problem = format!(
            "ledger archive: log {log} {what} ({finding}): nothing more is sealed until the \
             archive's folder is put back with every entry that it acknowledged"
        );
        Err(Error::Conflict(problem))
    }
}
