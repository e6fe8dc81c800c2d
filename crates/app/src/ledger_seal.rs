//! Sealing a record of one's own: written in the transaction of what it tells of, sealed in the
//! tenant's ledger a moment later. Nothing in it may be about a person.

use std::sync::atomic::Ordering;

use async_recursion::async_recursion as boxed;
use serde_json::Value;
use veritwin_domain::{LedgerItemId, OpContext};
use veritwin_metastore::{LedgerItem, LedgerKind, TenantTx};

use crate::rights::bounded;
use crate::{App, Error, Result};

/// Largest record, in bytes of compact JSON.
const RECORD_BYTES_MAX: usize = 16 * 1024;

impl App {
    /// Seals a record about something (a case, a consent, a mail: 16 bytes of its id) with what
    /// `tx` does: both are durable, or neither. `body` is sealed as it is and outlives what it is
    /// about, so that it holds ids, words of closed lists, times and salted digests, and nothing
    /// that tells who somebody is. The answer is the id under which it is found.
    #[boxed]
    pub async fn seal_record(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (kind, about): (LedgerKind, Option<[u8; 16]>),
        body: &Value,
    ) -> Result<LedgerItemId> {
        if !body.is_object() {
            return Err(Error::Internal("a sealed record is an object".to_owned()));
        }
        let body = body.to_string().into_bytes();
        bounded("ledger_record_bytes_max", RECORD_BYTES_MAX, body.len())?;
        let id = LedgerItemId::generate(context.at, self.rng());
        tx.ledger_item_add(&LedgerItem { id, kind, about, body, created_at: context.at }).await?;
        Ok(id)
    }

    /// From here on records that wait are sealed.
    pub(crate) fn start_sealing_records(&self) {
        self.0.ledger.seals_records.store(true, Ordering::Relaxed);
    }

    pub(crate) fn seals_records(&self) -> bool {
        self.0.ledger.seals_records.load(Ordering::Relaxed)
    }
}
