//! What an erasure changed in a record whose digest the ledger has. The digest that it has since is
//! sealed with the change, so that what an erasure did is told from what somebody else did to it.

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use veritwin_domain::{CaseId, LedgerItemId, OpContext};
use veritwin_metastore::{Activity, LedgerKind, TenantTx};

use crate::cases::body::Case;
use crate::error::found;
use crate::ledger_lookup::sealed_item;
use crate::model::ErasedView;
use crate::{App, Error, Result};

/// Changes of one record that are looked at, newest first.
const CHANGES_MAX: usize = 8;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Erased,
}

/// What is sealed of the change: ids, and the record's digest since.
#[derive(Serialize, Deserialize)]
struct ErasedBody {
    event: Event,
    case: CaseId,
    sha256: String,
}

/// Whether an erasure made a record what it is.
pub(crate) enum Erased {
    /// None that is sealed.
    No,
    /// One changed it, and that is not sealed yet.
    Waits,
    By(ErasedView),
}

impl App {
    /// Seals what a record is since an erasure changed it, in the transaction that does.
    #[boxed]
    pub(crate) async fn seal_erased(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (case, record): (CaseId, &Activity),
    ) -> Result<()> {
        let sha256 = hex::encode(record.digest());
        let body = serde_json::to_value(ErasedBody { event: Event::Erased, case, sha256 });
        let body = body.map_err(|error| Error::Internal(error.to_string()))?;
        let what = (LedgerKind::RightsCase, Some(*record.id.as_bytes()));
        self.seal_record(tx, context, what, &body).await.map(drop)
    }

    /// By which erasure a record has the digest that it has now.
    #[boxed]
    pub(crate) async fn erased(
        &self,
        context: &OpContext,
        (record, digest): (LedgerItemId, &str),
    ) -> Result<Erased> {
        let tx = self.0.store.read(context).await?;
        let places = tx.ledger_places_about(*record.as_bytes()).await?;
        drop(tx);
        let of_cases = places.iter().filter(|place| place.kind == LedgerKind::RightsCase);
        for place in of_cases.take(CHANGES_MAX) {
            if place.sealed.is_none() {
                return Ok(Erased::Waits);
            }
            let view = self.place_view(context, place, true).await?;
            let item = view.proof.as_ref().and_then(sealed_item);
            let body = item.and_then(|item| serde_json::from_value::<ErasedBody>(item.body).ok());
            if let Some(body) = body.filter(|body| body.sha256 == digest) {
                return Ok(Erased::By(ErasedView {
                    case: body.case,
                    record: place.id,
                    entry: view.entry.map(|entry| entry.index),
                    certificate: self.erasure_digest(context, body.case).await?,
                }));
            }
        }
        Ok(Erased::No)
    }

    /// The SHA-256 of an erasure's certificate, where it has one and is still kept.
    async fn erasure_digest(&self, context: &OpContext, case: CaseId) -> Result<Option<String>> {
        let tx = self.0.store.read(context).await?;
        let Some(row) = found(tx.case(case).await)? else { return Ok(None) };
        let certificate = Case::read(row)?.body.certificate;
        Ok(certificate.map(|certificate| hex::encode(certificate.digest())))
    }
}
