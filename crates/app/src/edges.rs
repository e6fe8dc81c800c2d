//! Store-and-forward edges: which key a gateway signs its batches with, and what becomes of a
//! batch. It is durable together with its statement, once, whatever is lost or killed in between.

mod book;

use async_recursion::async_recursion as boxed;
use serde_json::json;
use tokio::sync::{Mutex as Line, OwnedMutexGuard};
use veritwin_access::{Action, Resource, jobs};
use veritwin_domain::{DeviceId, EdgeKeyId, LimitExceeded, OpContext, Shared, TenantId, Timestamp};
use veritwin_keys::sha256;
use veritwin_log::{EdgeEntry, Record, Unreadable};
use veritwin_metastore::EdgeKey;
use veritwin_verify::{EdgeKind, EdgeStatement};

use crate::change::Change;
use crate::devices::check_text;
use crate::gateways::NO_GATEWAY;
use crate::model::{EdgeAnswer, EdgeKeyInput, EdgeKeyView, EdgeOutcome, EdgeSender};
use crate::{App, Error, Result, Submission};
use book::Book;

/// Most keys of one gateway, revoked ones included.
pub const EDGE_KEYS_PER_DEVICE_MAX: usize = 16;
const NAME_CHARS_MAX: usize = 100;

/// Where the batches of one edge wait for each other.
pub(crate) type EdgeLines = Shared<(TenantId, DeviceId), Line<()>>;

/// A key as a change of it is recorded.
fn recorded(key: &EdgeKey, book: &Book) -> serde_json::Value {
    json!({
        "edge_key": key.id.to_string(),
        "fingerprint": hex::encode(key.digest),
        "name": book.name,
        "last_counter": book.last,
        "revoked": key.revoked_at.is_some(),
    })
}

fn view(key: &EdgeKey) -> Result<EdgeKeyView> {
    let book = Book::of(key)?;
    Ok(EdgeKeyView {
        id: key.id,
        public_key: book.key,
        fingerprint: hex::encode(key.digest),
        name: book.name,
        created_at: key.created_at,
        revoked_at: key.revoked_at,
        last_counter: book.last,
        batches: book.batches,
        entries: book.entries,
        missing: book.missing,
        given_up: book.given_up,
        forks: book.forks,
        waiting: book.waiting,
        seen_at: book.seen_at_us.map(Timestamp::from_micros),
        clock_offset_us: book.clock_offset_us,
    })
}

/// A key that was revoked, for the checks that ask for others' things.
pub(crate) fn revoked(
    id: EdgeKeyId,
    device: DeviceId,
    digest: [u8; 32],
    at: Timestamp,
) -> Result<EdgeKey> {
    let body =
        serde_json::to_vec(&Book::default()).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(EdgeKey {
        id,
        device,
        digest,
        body,
        pending_position: None,
        revoked_at: Some(at),
        version: 1,
        created_at: at,
    })
}

/// A batch whose turn it is: until it is dropped no other one of its edge is looked at.
#[derive(Debug)]
pub struct EdgeTurn {
    sender: EdgeSender,
    context: OpContext,
    statement: EdgeStatement,
    key: EdgeKey,
    book: Book,
    _line: OwnedMutexGuard<()>,
}

/// A batch that is durable.
#[derive(Debug, Clone)]
pub struct EdgeKept {
    /// What the edge is answered.
    pub answer: EdgeAnswer,
    /// How many parts pass a bound of their device's: they are not kept.
    pub parts_refused: u64,
}

/// What came of the offer of a batch.
#[derive(Debug)]
pub enum EdgeOffer {
    /// Nothing of it is to be kept.
    Answered(EdgeAnswer),
    /// It is new: what is in it is to be handed to [`App::edge_keep`].
    New(Box<EdgeTurn>),
}

impl App {
    async fn edge_line(&self, owner: (TenantId, DeviceId)) -> OwnedMutexGuard<()> {
        self.0.edge_lines.of(owner, Line::default).lock_owned().await
    }

    async fn save_edge(&self, context: &OpContext, key: &mut EdgeKey, book: &Book) -> Result<()> {
        key.body = serde_json::to_vec(book).map_err(|error| Error::Internal(error.to_string()))?;
        let tx = self.0.store.begin(context).await?;
        tx.edge_key_update(key).await?;
        tx.commit().await?;
        key.version += 1;
        Ok(())
    }

    /// A gateway's batch, looked at before anything of it is kept. A statement that is not its
    /// own, not of a registered key or not about this content is refused.
    #[boxed]
    pub async fn edge_offer(
        &self,
        sender: EdgeSender,
        (statement, content): (&[u8], &[u8]),
        waiting: Option<u64>,
    ) -> Result<EdgeOffer> {
        self.refuse_unserved(sender.tenant)?;
        let context = self.device_context(sender.tenant, sender.device, sender.credential);
        let itself = Resource::device(sender.tenant, sender.device);
        self.authorize(&context, Action::DeviceSpeakFor, &itself)?;
        let statement = EdgeStatement::decode(statement)
            .map_err(|error| Error::invalid_at("statement", error.to_string()))?;
        let fields = statement.fields();
        if fields.edge != sender.device {
            let detail = "the statement is of another edge than this gateway";
            return Err(Error::Forbidden(detail.to_owned()));
        }
        statement.verify().map_err(|error| Error::invalid_at("statement", error.to_string()))?;
        let is_its_content = match fields.kind {
            EdgeKind::Batch => sha256(content) == *fields.content.as_bytes(),
            EdgeKind::DiskFull { .. } => content.is_empty(),
        };
        if !is_its_content {
            return Err(Error::invalid_at("content", "is not what the statement is about"));
        }
        let line = self.edge_line((sender.tenant, sender.device)).await;
        let (mut key, mut book) = self.edge_book(&context, sender.device, &fields.key).await?;
        self.settle_pending(&context, &mut key, &mut book).await?;
        book.seen_at_us = Some(context.at.as_micros());
        book.waiting = waiting;
        let outcome = book.judge(&statement);
        match outcome {
            EdgeOutcome::Kept => {
                let turn = EdgeTurn { sender, context, statement, key, book, _line: line };
                return Ok(EdgeOffer::New(Box::new(turn)));
            }
            EdgeOutcome::Fork => self.note_fork(sender, &statement, &mut book).await?,
            EdgeOutcome::Known | EdgeOutcome::Passed => {}
        }
        self.save_edge(&context, &mut key, &book).await?;
        Ok(EdgeOffer::Answered(book.answer(outcome)))
    }

    /// The registered key of a gateway, and what was submitted under it.
    async fn edge_book(
        &self,
        context: &OpContext,
        device: DeviceId,
        public: &[u8; 32],
    ) -> Result<(EdgeKey, Book)> {
        let tx = self.0.store.read(context).await?;
        if !tx.device(device).await?.is_gateway {
            return Err(Error::Forbidden(NO_GATEWAY.to_owned()));
        }
        let known = tx.edge_key(device, sha256(public)).await?;
        let Some(key) = known.filter(|key| key.revoked_at.is_none()) else {
            let detail = "the key of the statement is not registered for this gateway, or revoked";
            return Err(Error::Forbidden(detail.to_owned()));
        };
        let book = Book::of(&key)?;
        Ok((key, book))
    }

    /// The first statement that contradicts one before it is kept, for those who read the ledger;
    /// further ones are counted.
    async fn note_fork(
        &self,
        sender: EdgeSender,
        statement: &EdgeStatement,
        book: &mut Book,
    ) -> Result<()> {
        tracing::warn!(tenant = %sender.tenant, device = %sender.device,
            counter = statement.counter(), "an edge contradicts what it stated before");
        metrics::counter!("veritwin_edge_forks_total").increment(1);
        // One that follows nothing has no place in the sequence.
        if !book.fork_stated && statement.counter() <= book.last {
            let entry = self.edge_entry(sender, statement);
            self.submit(sender.tenant, vec![Submission::Edge(entry)]).await?;
            book.fork_stated = true;
        }
        book.forks = book.forks.saturating_add(1);
        Ok(())
    }

    fn edge_entry(&self, sender: EdgeSender, statement: &EdgeStatement) -> EdgeEntry {
        EdgeEntry {
            device: sender.device,
            credential: sender.credential,
            received_at: self.clock().now(),
            statement: statement.as_bytes().as_slice().into(),
        }
    }

    /// Makes a batch durable, with its statement behind it, and notes it. Whoever waits for the
    /// answer may go away: what was begun is finished.
    #[boxed]
    pub async fn edge_keep(
        &self,
        turn: Box<EdgeTurn>,
        submissions: Vec<Submission>,
    ) -> Result<EdgeKept> {
        let app = self.clone();
        let keeping =
            self.0.tasks.spawn(async move { app.keep_edge_batch(*turn, submissions).await });
        let kept = keeping.await;
        kept.map_err(|_| Error::Internal("keeping an edge's batch stopped".to_owned()))?
    }

    /// Before anything is appended it is noted where the log ends and what is about to come: after
    /// a crash the log itself says whether it came.
    async fn keep_edge_batch(
        &self,
        turn: EdgeTurn,
        mut submissions: Vec<Submission>,
    ) -> Result<EdgeKept> {
        let EdgeTurn { sender, context, statement, mut key, mut book, _line } = turn;
        book.pending = Some(hex::encode(statement.as_bytes()));
        key.pending_position = Some(self.0.log.tail_position());
        self.save_edge(&context, &mut key, &book).await?;
        submissions.push(Submission::Edge(self.edge_entry(sender, &statement)));
        let mut parts_refused = 0;
        match self.submit(sender.tenant, submissions).await {
            Ok(refused) => {
                parts_refused = refused.len() as u64;
                book.keep(&statement);
                book.pending = None;
                key.pending_position = None;
                self.save_edge(&context, &mut key, &book).await?;
            }
            Err(error) => {
                self.settle_pending(&context, &mut key, &mut book).await?;
                if book.judge(&statement) != EdgeOutcome::Known {
                    return Err(error);
                }
            }
        }
        metrics::counter!("veritwin_edge_batches_total").increment(1);
        Ok(EdgeKept { answer: book.answer(EdgeOutcome::Kept), parts_refused })
    }

    /// Finds out what became of a batch of which it is not noted.
    async fn settle_pending(
        &self,
        context: &OpContext,
        key: &mut EdgeKey,
        book: &mut Book,
    ) -> Result<()> {
        let Some(position) = key.pending_position else { return Ok(()) };
        // What a failed write left on the disk is known after the next start only.
        if self.0.log.is_poisoned() {
            return Err(Error::Unavailable("the log is closed for writing".to_owned()));
        }
        if let Some(statement) = book.pending()
            && self.is_in_log((context.tenant, key.device), position, statement).await?
        {
            book.keep(&statement);
        }
        book.pending = None;
        key.pending_position = None;
        self.save_edge(context, key, book).await
    }

    async fn is_in_log(
        &self,
        (tenant, device): (TenantId, DeviceId),
        position: u64,
        statement: EdgeStatement,
    ) -> Result<bool> {
        let log = self.0.log.clone();
        let looking = tokio::task::spawn_blocking(move || {
            let from = position.max(log.first_position()).min(log.tail_position());
            for batch in log.read_from(from)? {
                for (_, entry) in batch?.iter().filter(|(_, entry)| entry.tenant == tenant) {
                    match &entry.record {
                        Record::Edge(edge)
                            if edge.device == device
                                && *edge.statement == statement.as_bytes()[..] =>
                        {
                            return Ok(true);
                        }
                        Record::Unreadable(Unreadable::KeyRevoked | Unreadable::KeyUnavailable) => {
                            let detail = "the key of this tenant's log cannot be used now";
                            return Err(Error::Unavailable(detail.to_owned()));
                        }
                        _ => {}
                    }
                }
            }
            Ok::<_, Error>(false)
        });
        looking.await.map_err(|_| Error::Internal("reading the log stopped".to_owned()))?
    }

    /// How far edges need the log: where a batch may be of which it is not noted whether it was
    /// kept. What can be found out is noted now. Of one tenant, or of all.
    pub(crate) async fn edges_position(&self, of: Option<TenantId>) -> Result<u64> {
        let open = self.edges_open(of).await?;
        Ok(open.into_iter().map(|(_, position)| position).min().unwrap_or(u64::MAX))
    }

    /// The same for each tenant whose edges need it.
    pub(crate) async fn edges_open(&self, of: Option<TenantId>) -> Result<Vec<(TenantId, u64)>> {
        let tx = self.0.store.read_platform(&self.job(jobs::INGEST)).await?;
        let pending = tx.edge_keys_pending(of).await?;
        drop(tx);
        let mut open = Vec::new();
        for (tenant, device, position) in pending {
            match self.settle_edge(tenant, device).await {
                Ok(true) => {}
                Ok(false) => open.push((tenant, position)),
                // Its batches are read by nobody any more.
                Err(_) if self.is_tenant_destroyed(tenant) => {}
                Err(error) => {
                    tracing::debug!(%error, %device, "what became of an edge's batch is open");
                    open.push((tenant, position));
                }
            }
        }
        Ok(open)
    }

    /// False while a batch of the edge is on its way.
    async fn settle_edge(&self, tenant: TenantId, device: DeviceId) -> Result<bool> {
        let line = self.0.edge_lines.of((tenant, device), Line::default);
        let Ok(_line) = line.try_lock() else { return Ok(false) };
        let context = self.job_in(jobs::INGEST, tenant);
        let keys = self.0.store.read(&context).await?.edge_keys(device).await?;
        for mut key in keys {
            let mut book = Book::of(&key)?;
            self.settle_pending(&context, &mut key, &mut book).await?;
        }
        Ok(true)
    }

    /// The keys that a gateway signs its batches with.
    #[boxed]
    pub async fn edge_keys(&self, context: &OpContext, id: DeviceId) -> Result<Vec<EdgeKeyView>> {
        let resource = self.authorize_device(context, Action::CredentialList, id).await?;
        let tx = self.0.store.read(context).await?;
        tx.device(id).await?;
        let keys = tx.edge_keys(id).await?;
        self.note(context, Action::CredentialList, &resource, "done");
        keys.iter().map(view).collect()
    }

    /// Registers a key of an edge.
    #[boxed]
    pub async fn register_edge_key(
        &self,
        context: &OpContext,
        id: DeviceId,
        input: EdgeKeyInput,
    ) -> Result<EdgeKeyView> {
        let resource = self.authorize_device(context, Action::CredentialCreate, id).await?;
        check_text("name", &input.name, NAME_CHARS_MAX)?;
        self.check_kept("name", &input.name)?;
        let mut public = [0; 32];
        hex::decode_to_slice(&input.public_key, &mut public).map_err(|_| {
            Error::invalid_at("public_key", "needs 64 hexadecimal digits, as the edge prints them")
        })?;
        let tx = self.0.store.begin(context).await?;
        let gateway = tx.device_held(id).await?;
        if !gateway.is_gateway {
            return Err(Error::Conflict(NO_GATEWAY.to_owned()));
        }
        // What it signs is taken of every device behind the gateway.
        self.check_gives_gateway(context, &gateway)?;
        let (max, actual) = (EDGE_KEYS_PER_DEVICE_MAX, tx.edge_keys(id).await?.len() + 1);
        if actual > max {
            return Err(LimitExceeded { name: "edge_keys_per_device_max", max, actual }.into());
        }
        let book = Book { key: hex::encode(public), name: input.name, ..Book::default() };
        let key = EdgeKey {
            id: EdgeKeyId::generate(context.at, self.rng()),
            device: id,
            digest: sha256(&public),
            body: serde_json::to_vec(&book).map_err(|error| Error::Internal(error.to_string()))?,
            pending_position: None,
            revoked_at: None,
            version: 1,
            created_at: context.at,
        };
        tx.edge_key_create(&key).await.map_err(|error| match error {
            veritwin_metastore::Error::Conflict { .. } => {
                Error::Conflict("this key is registered already".to_owned())
            }
            other => other.into(),
        })?;
        let change = Change::to(recorded(&key, &book));
        self.record_change(&tx, context, Action::CredentialCreate, &resource, change).await?;
        tx.commit().await?;
        view(&key)
    }

    /// Revokes a key of an edge: nothing is taken any more that is signed with it. What was
    /// submitted stays.
    #[boxed]
    pub async fn revoke_edge_key(
        &self,
        context: &OpContext,
        (device, id): (DeviceId, EdgeKeyId),
    ) -> Result<()> {
        let resource = self.authorize_device(context, Action::CredentialDelete, device).await?;
        // Not between the two notes of a batch.
        let _line = self.edge_line((context.tenant, device)).await;
        let tx = self.0.store.begin(context).await?;
        tx.device(device).await?;
        let keys = tx.edge_keys(device).await?;
        let known = keys.into_iter().find(|key| key.id == id && key.revoked_at.is_none());
        let mut key = known.ok_or(Error::NotFound("edge key"))?;
        let book = Book::of(&key)?;
        let before = recorded(&key, &book);
        key.revoked_at = Some(context.at);
        tx.edge_key_update(&key).await?;
        let change = Change::from_to(before, recorded(&key, &book));
        self.record_change(&tx, context, Action::CredentialDelete, &resource, change).await?;
        Ok(tx.commit().await?)
    }
}
