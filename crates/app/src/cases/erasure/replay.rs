//! An erasure where no backup reaches: a line of the shred journal without the person's name or
//! address. When a backup of before is restored, the same is taken away again before anybody is
//! listened to.

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use veritwin_access::jobs;
use veritwin_domain::{CaseId, DestructionId, OpContext, Timestamp};
use veritwin_metastore::{CaseKind, CaseSource, CaseState, StoredCase};

use super::whom::Whom;
use crate::cases::body::{Case, CaseBody};
use crate::destruction_scope::StoredScope;
use crate::error::found;
use crate::shred_journal::ShredEntry;
use crate::subject::STORES;
use crate::{App, Result};

/// An erasure as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErasedCase {
    pub(crate) id: CaseId,
    whom: Whom,
    source: String,
    received_at: i64,
    answer_by: i64,
    /// The case without what tells of the person.
    body: CaseBody,
}

impl App {
    /// Writes down what was erased, before anybody is told that it was.
    pub(super) fn journal_erasure(&self, context: &OpContext, case: &Case) -> Result<()> {
        let whom = self.whom(context.tenant, case)?;
        self.append_erasure(context, case, (whom, false))
    }

    /// The same with all that came since; by now the case names nobody.
    pub(super) fn journal_end(&self, context: &OpContext, case: &Case) -> Result<()> {
        let known = self.0.destructions.shreds.entry(line_of(case.row.id))?;
        let whom = match known.and_then(|known| known.erased) {
            Some(erased) => erased.whom,
            None => self.whom(context.tenant, case)?,
        };
        self.append_erasure(context, case, (whom, true))
    }

    /// Whether it is written where no backup reaches that a case was an erasure.
    pub(crate) fn is_journaled(&self, id: CaseId) -> Result<bool> {
        let known = self.0.destructions.shreds.entry(line_of(id))?;
        Ok(known.is_some_and(|known| known.erased.is_some()))
    }

    /// Whether a case is unknown because its time was over, and not because these records are older
    /// than what was done: whoever came back since is not erased once more.
    async fn is_purged(&self, entry: &ShredEntry) -> Result<bool> {
        let tx = self.0.store.read_platform(&self.job(jobs::RETENTION)).await?;
        let known_at = tx.clock_high_water().await?;
        Ok(known_at.is_some_and(|at| at.as_micros() > entry.at))
    }

    fn append_erasure(
        &self,
        context: &OpContext,
        case: &Case,
        (whom, done): (Whom, bool),
    ) -> Result<()> {
        let mut less = case.clone();
        less.end_account(context.at);
        less.forget();
        let erased = ErasedCase {
            id: case.row.id,
            whom,
            source: case.row.source.as_str().to_owned(),
            received_at: case.row.received_at.as_micros(),
            answer_by: case.row.answer_by.as_micros(),
            body: less.body,
        };
        self.0.destructions.shreds.append(&ShredEntry {
            id: line_of(case.row.id),
            tenant: context.tenant,
            scope: StoredScope::Subject { person: String::new(), series: Vec::new(), mark: None },
            attributes: false,
            at: context.at.as_micros(),
            keys: Vec::new(),
            body: String::new(),
            done,
            erased: Some(Box::new(erased)),
        })
    }

    /// Erases again what a line says, where these records do not know it; whether they did not.
    /// Readings have a line of their own.
    #[boxed]
    pub(crate) async fn replay_erasure(
        &self,
        context: &OpContext,
        (entry, erased): (&ShredEntry, &ErasedCase),
    ) -> Result<bool> {
        let tx = self.0.store.read(context).await?;
        let known = found(tx.case(erased.id).await)?;
        drop(tx);
        let is_known = known.as_ref().is_some_and(|row| {
            let case = Case::read(row.clone());
            case.is_ok_and(|case| case.body.certificate.is_some())
        });
        if is_known || (known.is_none() && self.is_purged(entry).await?) {
            return Ok(false);
        }
        for store in STORES {
            self.erase_in(context, (erased.id, store), &erased.whom).await?;
        }
        let at = Timestamp::from_micros(entry.at);
        let row = StoredCase {
            id: erased.id,
            kind: CaseKind::Erasure,
            state: CaseState::Answered,
            source: CaseSource::parse(&erased.source).unwrap_or(CaseSource::Officer),
            address: None,
            user: None,
            mail: None,
            body: Vec::new(),
            received_at: Timestamp::from_micros(erased.received_at),
            answer_by: Timestamp::from_micros(erased.answer_by),
            next_at: None,
            closed_at: Some(context.at),
            version: known.as_ref().map_or(1, |row| row.version),
        };
        let stored = Case { row, body: erased.body.clone() }.to_store(at)?;
        let tx = self.0.store.begin(context).await?;
        match known {
            Some(_) => {
                // The erasure of the account may have changed it meanwhile.
                let version = tx.case(erased.id).await?.version;
                tx.case_update(&StoredCase { version, ..stored }).await?;
            }
            None => tx.case_create(&stored).await?,
        }
        tx.commit().await?;
        Ok(true)
    }
}

/// The id of a case's line in the journal.
fn line_of(id: CaseId) -> DestructionId {
    DestructionId::from_bytes(*id.as_bytes())
}
