//! The log of logs: the platform's own log holds, in one leaf for each round, the root over the
//! blinded checkpoints of the tenants' logs that grew. It shows that a checkpoint was there then.

use serde::{Deserialize, Serialize};
use veritwin_access::jobs;
use veritwin_domain::{LogId, TenantId};
use veritwin_ledger::{open_payload, payload_dek_id};
use veritwin_verify::{
    Digest, RecordProof, RollPlace, RollProof, RollRound, TlogProof, inclusion_at, roll_digest,
};

use super::draft::Draft;
use crate::provision::PLATFORM_TENANT;
use crate::{App, Error, Result};

/// What is kept of a place in the log of logs.
#[derive(Serialize, Deserialize)]
struct Entered {
    /// The leaf.
    index: u64,
    secret: [u8; 32],
    /// Where the checkpoint stands among those of the leaf.
    place: u64,
    of: u64,
    path: Vec<[u8; 32]>,
    /// [`RecordProof::to_json`].
    record: String,
}

impl App {
    /// Gives the checkpoints that lack one a place: together they take one leaf. While the archive
    /// is away they get none.
    pub(super) async fn enter_in_roll(&self, drafts: &mut [Draft]) -> Result<()> {
        let mut lacking: Vec<(&mut Draft, [u8; 32])> = Vec::new();
        for draft in drafts.iter_mut().filter(|draft| draft.lacks_roll()) {
            let mut secret = [0; 32];
            self.rng().fill(&mut secret);
            lacking.push((draft, secret));
        }
        if lacking.is_empty() {
            return Ok(());
        }
        let digest = |(draft, secret): &(&mut Draft, [u8; 32])| roll_digest(secret, &draft.text);
        let digests: Vec<Digest> = lacking.iter().map(digest).collect();
        let round = RollRound::new(&digests);
        let (root, now) = (*round.root().as_bytes(), self.clock().now());
        let Some(index) = self.seal_evidence_of(PLATFORM_TENANT, root, now).await? else {
            return Ok(());
        };
        // Shown while the key of its payload is certainly there.
        let record = self.roll_record(index).await?.to_json();
        let internal = |error: &dyn std::fmt::Display| Error::Internal(error.to_string());
        for ((draft, secret), number) in lacking.into_iter().zip(0..) {
            let place = round.place(number).map_err(|error| internal(&error))?;
            let entered = Entered {
                index,
                secret,
                place: place.index,
                of: place.size,
                path: place.path.iter().map(|hash| *hash.as_bytes()).collect(),
                record: record.clone(),
            };
            let bytes = serde_json::to_vec(&entered).map_err(|error| internal(&error))?;
            draft.now.roll = Some(bytes);
        }
        Ok(())
    }

    async fn platform_log(&self) -> Result<LogId> {
        let tx = self.0.store.read(&self.job_in(jobs::LEDGER, PLATFORM_TENANT)).await?;
        Ok(tx.tenant().await?.log_id)
    }

    async fn roll_record(&self, index: u64) -> Result<RecordProof> {
        let log = self.platform_log().await?;
        let summary = self.summary_of(log).await?;
        let leaf = self.leaf(log, index, summary.size).await?.leaf;
        let lost = || Error::Internal("a leaf of the log of logs cannot be read back".to_owned());
        let payload = self.payload(log, &leaf).await?.ok_or_else(lost)?;
        let dek = self.0.keys.dek_by_id(payload_dek_id(&payload).map_err(|_| lost())?)?;
        let tenant: TenantId = PLATFORM_TENANT;
        let opened = open_payload(&payload, &leaf, &summary.origin, (tenant, &dek));
        let opened = opened.map_err(|_| lost())?;
        opened.prove(leaf.first_sequence).ok_or_else(lost)
    }

    /// The proof of a leaf in the log of logs, under its newest published checkpoint where that
    /// reaches so far, else under its newest.
    pub(super) async fn roll_proof(&self, entered: &[u8]) -> Result<Option<Vec<u8>>> {
        let damaged = || Error::Internal("an entry of the log of logs is damaged".to_owned());
        let entered: Entered = serde_json::from_slice(entered).map_err(|_| damaged())?;
        let record = RecordProof::from_json(&entered.record).map_err(|_| damaged())?;
        let index = entered.index;
        let log = self.platform_log().await?;
        let tx = self.0.store.read(&self.job_in(jobs::LEDGER, PLATFORM_TENANT)).await?;
        let published = tx.ledger_published_newest(false, 1).await?.pop();
        drop(tx);
        let (size, checkpoint) = match published.filter(|one| one.size > index) {
            Some(one) => (one.size, String::from_utf8(one.note).map_err(|_| damaged())?),
            None => {
                let summary = self.summary_of(log).await?;
                (summary.size, summary.checkpoint)
            }
        };
        let leaf = self.leaf(log, index, size).await?.leaf;
        let source = self.archive()?.source(log);
        let path = tokio::task::spawn_blocking(move || inclusion_at(&source, index, size));
        let path = path.await.map_err(|error| Error::Internal(error.to_string()))?;
        let path = path.map_err(|error| Error::Unavailable(error.to_string()))?;
        let proof = TlogProof { entry: Some(leaf.encode()), index, path, checkpoint };
        let path = entered.path.into_iter().map(Digest::from_bytes).collect();
        let place = RollPlace { index: entered.place, size: entered.of, path };
        let proof = RollProof { secret: entered.secret, place, record, proof };
        Ok(Some(proof.to_json().into_bytes()))
    }
}
