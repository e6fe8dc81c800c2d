//! What the log holds of clients' sessions: it is read again at the start, and kept until the
//! broker has written all of it anew.

use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use veritwin_access::jobs;
use veritwin_domain::{CredentialId, DeviceId, RelayMessage, SessionNote, TenantId};
use veritwin_log::{Entry, Record};

use crate::error::found;
use crate::{App, Error, Result};

const CONSUMER: &str = "sessions";
/// So many credentials are asked for in one statement.
const CREDENTIALS_AT_ONCE: usize = 256;

/// Something in the log that concerns sessions.
#[derive(Debug)]
pub enum SessionEntry {
    /// A message that may be for some.
    Message(Arc<RelayMessage>),
    /// What became of one.
    Note(SessionNote),
}

impl App {
    /// The position from which the log says where every session stands. From now on the log is not
    /// cut behind it: call it before [`App::start`].
    #[boxed]
    pub async fn sessions_from(&self) -> Result<u64> {
        let tx = self.0.store.read_platform(&self.job(jobs::INGEST)).await?;
        let offset = tx.offset(CONSUMER).await?.unwrap_or(0);
        drop(tx);
        let from = offset.clamp(self.0.log.first_position(), self.0.log.tail_position());
        *self.0.sessions_from.lock() = Some(from);
        Ok(from)
    }

    /// Reads what concerns sessions from a position on, in order. Blocks.
    pub fn read_sessions(&self, from: u64, each: &mut dyn FnMut(u64, SessionEntry)) -> Result<()> {
        for batch in self.0.log.read_from(from)? {
            let batch = batch?;
            for (position, entry) in batch.iter() {
                match &entry.record {
                    Record::Relay(message) => {
                        each(position, SessionEntry::Message(Arc::clone(message)));
                    }
                    Record::Note(note) => each(position, SessionEntry::Note(note.clone())),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Whether a device and one of its credentials are there, and the credential is not disabled.
    #[boxed]
    pub async fn is_credential(
        &self,
        tenant: TenantId,
        device: DeviceId,
        credential: CredentialId,
    ) -> Result<bool> {
        let tx = self.0.store.read(&self.job_in(jobs::INGEST, tenant)).await?;
        let is_there = found(tx.device(device).await)?.is_some();
        let known = found(tx.credential(device, credential).await)?;
        Ok(is_there && known.is_some_and(|known| known.disabled_at.is_none()))
    }

    /// Of devices of a tenant and credentials that let them in, those that do not any more: the
    /// device is gone or was handed over, or the credential is revoked or disabled.
    #[boxed]
    pub async fn credentials_lost(
        &self,
        tenant: TenantId,
        all: &[(DeviceId, CredentialId)],
    ) -> Result<Vec<(DeviceId, CredentialId)>> {
        let mut lost = Vec::new();
        let tx = self.0.store.read(&self.job_in(jobs::INGEST, tenant)).await?;
        for some in all.chunks(CREDENTIALS_AT_ONCE) {
            let ids: Vec<CredentialId> = some.iter().map(|(_, credential)| *credential).collect();
            let known = tx.credentials_in_force(&ids).await?;
            lost.extend(some.iter().filter(|one| !known.contains(one)));
        }
        Ok(lost)
    }

    /// Makes notes of a tenant's sessions durable. They are the platform's own and hold no
    /// readings: they wait for no room in memory, and behind no write of a device, so that a
    /// tenant that floods keeps nobody's log from being cut.
    #[boxed]
    pub async fn note_sessions(&self, tenant: TenantId, notes: Vec<SessionNote>) -> Result<()> {
        if notes.iter().any(|note| note.tenant != tenant) {
            return Err(Error::NotFound("device"));
        }
        let of_one = |note| Entry { tenant, record: Record::Note(note) };
        let entries: Vec<Entry> = notes.into_iter().map(of_one).collect();
        if !entries.is_empty() {
            self.0.log.append(entries).await?;
        }
        Ok(())
    }

    /// The position that the next entry of the log will get.
    pub fn log_tail(&self) -> u64 {
        self.0.log.tail_position()
    }

    /// From a position on the log says where every session stands: what is before it may go.
    #[boxed]
    pub async fn sessions_kept_from(&self, position: u64) -> Result<()> {
        let tx = self.0.store.begin_platform(&self.job(jobs::INGEST)).await?;
        if tx.offset(CONSUMER).await?.is_none_or(|known| known < position) {
            tx.offset_advance(CONSUMER, position).await?;
            tx.commit().await?;
        }
        *self.0.sessions_from.lock() = Some(position);
        Ok(())
    }

    /// How far the sessions need the log; everything may go while no broker runs.
    pub(crate) fn sessions_position(&self) -> u64 {
        self.0.sessions_from.lock().unwrap_or(u64::MAX)
    }
}
