//! The tenant's ledger as people see it: checkpoint, entries, proofs, and the papers of one
//! reading. Everything is read back from the archive; nothing here can alter it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_recursion::async_recursion as boxed;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;
use veritwin_access::{Action, Kind};
use veritwin_domain::{LogId, OpContext, TenantId};
use veritwin_keys::{DataClass, DekScope};
use veritwin_ledger::{Leaf, LogSummary};
use veritwin_outbound::archive::{
    ArchiveClient, ArchiveClientConfig, ArchiveError, ClientIdentity, ServerTrust,
};
use veritwin_outbound::register::{Destination, DestinationKind};
use veritwin_verify::{
    Digest, SignedCheckpoint, TILE_WIDTH, TileKind, TilePath, VerifyOptions, decode_bundle,
    leaf_hash,
};

use crate::ledger_job::PendingEvidence;
use crate::model::{LedgerEntryView, LedgerProofView, LedgerView, Page, PageRequest};
use crate::storage::LedgerBytes;
use crate::{App, Error, Result};

/// Evidence that waits to be sealed.
const EVIDENCE_QUEUE: usize = 256;
/// Full bundles of leaves that are kept.
const BUNDLES_MAX: usize = 256;

/// How to reach the archive.
#[derive(Debug)]
pub struct ArchiveAccess {
    /// Its host name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its certificate, to be pinned (PEM).
    pub server_certificate_pem: String,
    /// The platform's certificate towards it (PEM).
    pub client_certificate_pem: String,
    /// That certificate's key (PEM).
    pub client_key_pem: veritwin_domain::Secret<String>,
    /// It is a part of this platform, not another party's.
    pub is_own: bool,
}

/// A log and the number of a bundle in it.
type BundleId = (LogId, u64);

struct Attached {
    client: ArchiveClient,
    shared_host: bool,
}

/// The platform's side of the archive.
pub(crate) struct LedgerState {
    attached: RwLock<Option<Attached>>,
    /// The archive does not start; why stands in the log.
    starts_not: AtomicBool,
    pub(crate) evidence: mpsc::Sender<PendingEvidence>,
    pub(crate) evidence_queue: Mutex<Option<mpsc::Receiver<PendingEvidence>>>,
    pub(crate) unsealed: Mutex<Unsealed>,
    pub(crate) saved_position: Mutex<u64>,
    pub(crate) bytes: LedgerBytes,
    /// One mailing is made at a time: they are counted before.
    pub(crate) mailings: tokio::sync::Mutex<()>,
    /// Whether records that wait in the store are sealed.
    pub(crate) seals_records: AtomicBool,
    bundles: Mutex<HashMap<BundleId, Arc<Vec<Leaf>>>>,
    /// Most leaves that were on their way at once.
    #[cfg(test)]
    most_on_way: std::sync::atomic::AtomicUsize,
}

#[cfg(test)]
impl LedgerState {
    pub(crate) fn note_on_way(&self, leaves: usize) {
        self.most_on_way.fetch_max(leaves, Ordering::Relaxed);
    }

    pub(crate) fn most_on_way(&self) -> usize {
        self.most_on_way.load(Ordering::Relaxed)
    }
}

/// What is durable and not sealed yet.
#[derive(Default)]
pub(crate) struct Unsealed {
    /// Everything before this position of the log is sealed, in a tenant's open batch, of a held
    /// tenant, or needs no sealing.
    pub(crate) taken_to: u64,
    /// Of each tenant: records of its open batch, and the position of the first of them.
    pub(crate) open: HashMap<TenantId, (u64, Option<u64>)>,
}

impl Unsealed {
    pub(crate) fn records(&self, tenant: TenantId) -> u64 {
        self.open.get(&tenant).map_or(0, |(records, _)| *records)
    }

    /// Everything of the tenant before this position is sealed, unless the tenant is held.
    fn position(&self, tenant: TenantId) -> u64 {
        let open = self.open.get(&tenant).and_then(|(_, from)| *from);
        open.unwrap_or(self.taken_to).min(self.taken_to)
    }
}

impl Default for LedgerState {
    fn default() -> Self {
        let (evidence, queue) = mpsc::channel(EVIDENCE_QUEUE);
        Self {
            attached: RwLock::new(None),
            starts_not: AtomicBool::new(false),
            evidence,
            evidence_queue: Mutex::new(Some(queue)),
            unsealed: Mutex::new(Unsealed::default()),
            saved_position: Mutex::new(0),
            bytes: LedgerBytes::default(),
            mailings: tokio::sync::Mutex::default(),
            seals_records: AtomicBool::new(false),
            bundles: Mutex::new(HashMap::new()),
            #[cfg(test)]
            most_on_way: std::sync::atomic::AtomicUsize::new(0),
        }
    }
}

impl From<ArchiveError> for Error {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Unreachable { .. } | ArchiveError::Answer { .. } => {
                Self::Unavailable("the ledger archive does not answer".to_owned())
            }
            other => Self::Internal(format!("archive: {other}")),
        }
    }
}

/// A leaf with its index.
pub(crate) struct IndexedLeaf {
    pub(crate) index: u64,
    pub(crate) leaf: Leaf,
}

pub(crate) fn entry_view(index: u64, leaf: &Leaf) -> LedgerEntryView {
    let has_records = leaf.count > 0;
    LedgerEntryView {
        index,
        kind: leaf.kind().as_str().to_owned(),
        batch: leaf.batch,
        first_sequence: leaf.first_sequence,
        last_sequence: leaf.last_sequence(),
        count: u64::from(leaf.count),
        from: has_records.then_some(leaf.events_from),
        to: has_records.then_some(leaf.events_to),
        payload_sha256: *leaf.payload.as_bytes(),
        payload_bytes: leaf.payload_bytes,
        records_root: *leaf.records_root.as_bytes(),
        leaf_hash: *leaf_hash(&leaf.encode()).as_bytes(),
        sealed_at: leaf.sealed_at,
    }
}

impl App {
    /// Connects the archive. The platform works without one: what is durable waits to be sealed.
    #[boxed]
    pub async fn attach_archive(&self, access: ArchiveAccess) -> Result<()> {
        let server = ServerTrust::certificate_pem(&access.server_certificate_pem)
            .map_err(|error| Error::Internal(error.to_string()))?;
        let identity = ClientIdentity::from_pem(
            &access.client_certificate_pem,
            access.client_key_pem.expose(),
        )
        .map_err(|error| Error::Internal(error.to_string()))?;
        let config = ArchiveClientConfig::new(&access.host, access.port, server, identity);
        let kind =
            if access.is_own { DestinationKind::OwnPart } else { DestinationKind::SubProcessor };
        let destination = Destination::new(&access.host, access.port);
        self.0.egress.register(destination, kind, "ledger archive");
        let client = ArchiveClient::new(config, Arc::clone(&self.0.egress))
            .map_err(|error| Error::Internal(error.to_string()))?;
        let shared_host = client.about().await?.is_of_this_process();
        *self.0.ledger.attached.write() = Some(Attached { client, shared_host });
        self.0.ledger.starts_not.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the archive runs on the platform's host under its user, as it is shown.
    pub(crate) fn shares_host(&self) -> bool {
        let attached = self.0.ledger.attached.read();
        attached.as_ref().is_some_and(|attached| attached.shared_host)
    }

    /// Notes that the archive does not start; what is durable waits to be sealed until one is
    /// attached. Why it does not is for the operator's log.
    pub fn archive_does_not_start(&self) {
        self.0.ledger.starts_not.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_archive_down(&self) -> bool {
        self.0.ledger.starts_not.load(Ordering::Relaxed)
    }

    pub(crate) fn archive(&self) -> Result<ArchiveClient> {
        self.0
            .ledger
            .attached
            .read()
            .as_ref()
            .map(|attached| attached.client.clone())
            .ok_or_else(|| Error::Unavailable("the ledger archive is not connected".to_owned()))
    }

    /// Everything before this position is sealed or needs no sealing.
    pub(crate) fn sealed_position(&self) -> u64 {
        *self.0.ledger.saved_position.lock()
    }

    /// Everything of the tenant before this position is sealed or needs no sealing.
    pub(crate) fn sealed_position_of(&self, tenant: TenantId) -> u64 {
        let position = self.0.ledger.unsealed.lock().position(tenant);
        self.0.jobs.ledger_held.position(tenant).map_or(position, |held| held.min(position))
    }

    pub(crate) async fn log_of(
        &self,
        context: &OpContext,
    ) -> Result<(LogId, veritwin_metastore::Tenant)> {
        let tx = self.0.store.read(context).await?;
        let tenant = tx.tenant().await?;
        Ok((tenant.log_id, tenant))
    }

    /// The tenant's ledger at a glance.
    #[boxed]
    pub async fn ledger(&self, context: &OpContext) -> Result<LedgerView> {
        let resource = self.authorize_all(context, Action::LedgerRead, Kind::Ledger)?;
        let (log, tenant) = self.log_of(context).await?;
        let summary = self.own_summary(context, log).await?;
        let last = summary.last_entry.as_deref().and_then(|entry| Leaf::decode(entry).ok());
        let (witness, stamp) = self.witnessed(context, summary.size).await?;
        self.note(context, Action::LedgerRead, &resource, "done");
        let shared_host = self.shares_host();
        Ok(LedgerView {
            log_id: log.to_string(),
            origin: summary.origin,
            vkey: summary.vkey,
            tree_size: summary.size,
            root_hash: *summary.root.as_bytes(),
            checkpoint: summary.checkpoint,
            last_sealed_at: last.map(|leaf| leaf.sealed_at),
            pending_records: self.0.ledger.unsealed.lock().records(context.tenant),
            held_up: self.ledger_held_up(context.tenant),
            connected: true,
            subscribed: tenant.archive_subscribed,
            shared_host,
            witness,
            stamp,
        })
    }

    /// The leaves of one bundle of a tree of `size` leaves.
    pub(crate) async fn bundle(
        &self,
        log: LogId,
        number: u64,
        size: u64,
    ) -> Result<Arc<Vec<Leaf>>> {
        let path = TilePath::in_tree(TileKind::Entries, number, size)
            .ok_or(Error::NotFound("ledger entry"))?;
        let cached = self.0.ledger.bundles.lock().get(&(log, number)).cloned();
        if let Some(leaves) = cached
            && leaves.len() >= usize::from(path.width)
        {
            return Ok(leaves);
        }
        let bytes = self
            .archive()?
            .read(log, &path.to_string())
            .await?
            .ok_or_else(|| Error::Internal(format!("the archive lacks {path}")))?;
        let damaged = |what: String| Error::Internal(format!("{path}: {what}"));
        let leaves = decode_bundle(&bytes)
            .map_err(|error| damaged(error.to_string()))?
            .into_iter()
            .map(|entry| Leaf::decode(entry).map_err(|error| damaged(error.to_string())))
            .collect::<Result<Vec<_>>>()?;
        let leaves = Arc::new(leaves);
        let mut bundles = self.0.ledger.bundles.lock();
        if bundles.len() >= BUNDLES_MAX {
            bundles.clear();
        }
        bundles.insert((log, number), Arc::clone(&leaves));
        Ok(leaves)
    }

    pub(crate) async fn leaf(&self, log: LogId, index: u64, size: u64) -> Result<IndexedLeaf> {
        if index >= size {
            return Err(Error::NotFound("ledger entry"));
        }
        let leaves = self.bundle(log, index / TILE_WIDTH, size).await?;
        let at = usize::try_from(index % TILE_WIDTH).unwrap_or(usize::MAX);
        let leaf = leaves.get(at).cloned().ok_or(Error::NotFound("ledger entry"))?;
        Ok(IndexedLeaf { index, leaf })
    }

    /// Leaves, newest first.
    #[boxed]
    pub async fn ledger_entries(
        &self,
        context: &OpContext,
        page: &PageRequest,
    ) -> Result<Page<LedgerEntryView>> {
        let resource = self.authorize_all(context, Action::LedgerRead, Kind::Ledger)?;
        let (log, _) = self.log_of(context).await?;
        let LogSummary { size, minimum_index, .. } = self.own_summary(context, log).await?;
        let before = match &page.cursor {
            Some(text) => text
                .parse::<u64>()
                .map_err(|_| Error::invalid_at("cursor", "not a cursor of this list"))?
                .min(size),
            None => size,
        };
        let first = before.saturating_sub(page.rows() as u64).max(minimum_index);
        let mut items = Vec::new();
        for index in (first..before).rev() {
            let found = self.leaf(log, index, size).await?;
            items.push(entry_view(found.index, &found.leaf));
        }
        self.note(context, Action::LedgerRead, &resource, "done");
        Ok(Page { items, next_cursor: (first > minimum_index).then(|| first.to_string()) })
    }

    /// Proves that a leaf is in the tenant's log.
    #[boxed]
    pub async fn ledger_proof(&self, context: &OpContext, index: u64) -> Result<LedgerProofView> {
        let resource = self.authorize_all(context, Action::LedgerRead, Kind::Ledger)?;
        let (log, _) = self.log_of(context).await?;
        let view = self.prove(log, index).await?;
        self.note(context, Action::LedgerRead, &resource, "done");
        Ok(view)
    }

    pub(crate) async fn prove(&self, log: LogId, index: u64) -> Result<LedgerProofView> {
        let vkey = self.summary_of(log).await?.vkey;
        let source = self.archive()?.source(log);
        let answer = tokio::task::spawn_blocking(move || {
            let options = VerifyOptions { skip_payloads: true, ..VerifyOptions::default() };
            veritwin_verify::proof(&source, index, &options)
        })
        .await
        .map_err(|_| Error::Internal("the proof stopped".to_owned()))?;
        let (Some(proof), Some(leaf)) = (answer.proof, answer.leaf) else {
            return Err(Error::NotFound("ledger entry"));
        };
        let tree = SignedCheckpoint::parse(proof.checkpoint.as_bytes())
            .map_err(|error| Error::Internal(error.to_string()))?;
        let bytes = leaf.encode();
        Ok(LedgerProofView {
            index,
            tree_size: tree.checkpoint.size,
            leaf_hash: *leaf_hash(&bytes).as_bytes(),
            leaf: bytes,
            path: proof.path.iter().map(|hash: &Digest| *hash.as_bytes()).collect(),
            checkpoint: proof.checkpoint,
            vkey,
        })
    }

    /// The payload of a leaf, as it lies in the archive.
    pub(crate) async fn payload(&self, log: LogId, leaf: &Leaf) -> Result<Option<Bytes>> {
        if leaf.payload_bytes == 0 {
            return Ok(None);
        }
        let name = format!("payload/{}", leaf.payload);
        Ok(self.archive()?.read(log, &name).await?)
    }

    /// Where the tenant's own log stands; a new tenant's is made by asking for it.
    pub(crate) async fn own_summary(&self, context: &OpContext, log: LogId) -> Result<LogSummary> {
        match self.summary_of(log).await {
            Err(Error::NotFound(_)) => Ok(self.open_log(context.tenant).await?.summary),
            other => other,
        }
    }

    /// A bundle of entries, or a sealed payload, of the caller's own log: for those who may take
    /// the ledger away, to verify it from afar.
    #[boxed]
    pub async fn ledger_part(&self, context: &OpContext, log: &str, name: &str) -> Result<Bytes> {
        let resource = self.authorize_all(context, Action::LedgerExport, Kind::Ledger)?;
        let asked: LogId = log.parse().map_err(|_| Error::NotFound("log"))?;
        let (own, _) = self.log_of(context).await?;
        let tile = name.parse::<TilePath>().ok().filter(|tile| tile.kind == TileKind::Entries);
        let payload = name.strip_prefix("payload/").and_then(|hash| hash.parse::<Digest>().ok());
        if asked != own || (tile.is_none() && payload.is_none()) {
            return Err(Error::NotFound("part of a log"));
        }
        let read = self.archive()?.read(own, name).await?;
        let bytes = read.ok_or(Error::NotFound("part of a log"))?;
        self.note(context, Action::LedgerExport, &resource, "done");
        if let Some(tile) = tile {
            // Whoever verifies a log begins with its first bundle.
            self.watch_taken(context, u64::from(tile.width), tile.index == 0);
        } else {
            self.watch_taken(context, 1, false);
        }
        Ok(bytes)
    }

    /// Writes a tenant's log out in the C2SP layout. For whoever holds the data directory.
    #[boxed]
    pub async fn export_ledger(
        &self,
        context: &OpContext,
        out: std::path::PathBuf,
    ) -> Result<veritwin_ledger::ExportSummary> {
        let resource = self.authorize_all(context, Action::LedgerExport, Kind::Ledger)?;
        let (log, _) = self.log_of(context).await?;
        let source = self.published_source(context, log).await?;
        let summary = tokio::task::spawn_blocking(move || {
            veritwin_ledger::export(&source, &out, &mut |_, _| {})
        })
        .await
        .map_err(|_| Error::Internal("the export stopped".to_owned()))?
        .map_err(|error| Error::Internal(error.to_string()))?;
        self.note(context, Action::LedgerExport, &resource, "done");
        self.watch_taken(context, summary.size, true);
        Ok(summary)
    }

    /// The key that lives as long as the tenant: the submitter's key is sealed under it.
    pub(crate) fn ledger_dek(&self, tenant: TenantId) -> Result<veritwin_keys::Dek> {
        Ok(self.0.keys.dek(&DekScope::tenant(tenant, DataClass::Ledger))?)
    }
}
