//! The trust page of an organisation: a signed file that tells outsiders what is promised, how it
//! stands and what shows it. Somebody of the organisation publishes and withdraws it; while it is
//! out it is made anew every day.

mod check;
mod page;

use std::collections::BTreeMap;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;
use veritwin_access::{Action, Kind, Resource, jobs};
use veritwin_domain::{LogId, OpContext, RegisterEntryId, TenantId, Timestamp};
use veritwin_governance::OutcomeKind;
use veritwin_keys::sha256;
use veritwin_ledger::{LogSummary, open_payload, payload_dek_id};
use veritwin_metastore::{RegisterEntry, RegisterKind, RegisterState, TenantTx};
use veritwin_verify::{Digest, Leaf, RecordProof, TlogProof};

use crate::change::Change;
use crate::holds::person;
use crate::model::TrustPageView;
use crate::promises::StatedPromise;
use crate::provision::{PLATFORM_TENANT, is_nobodys};
use crate::registers::Fields;
use crate::rights::bounded;
use crate::{App, Error, Result};

pub use check::{CheckedTrustPage, TRUST_PAGE_BYTES_MAX, check_trust_page};
use page::{
    Organisation, PROVES, PageSignature, Regions, SIGNED, STATEMENT, STATEMENT_VERSION, Stated,
    StatedFlow, StatedProcessor, Statement,
};

/// After this a page that is out is made anew.
const RENEWED_AFTER: Duration = Duration::from_secs(86_400);
/// After this it is tried again when it could not be.
const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(3600);
/// Most pages that are made anew in one round.
const RENEWED_AT_ONCE: u64 = 16;

/// Pages that are made at once, of everybody: each asks the archive for a proof of every promise.
static MAKING: Semaphore = Semaphore::const_new(2);
/// Largest page, in bytes.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Largest compressed page: one value of the records.
const STORED_BYTES_MAX: usize = 1000 * 1024;
/// zstd's ordinary level: a page is made once a day.
const LEVEL: i32 = 3;

/// What is stored of a page, beside the file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct StoredPage {
    /// SHA-256 of the file, in hexadecimal.
    digest: String,
    /// Who published it.
    entered_by: String,
    /// When it was made, in microseconds.
    made_at: i64,
    /// The leaf of the organisation's log that holds the digest.
    ledger_index: Option<u64>,
}

impl StoredPage {
    fn read(entry: &RegisterEntry) -> Result<Self> {
        serde_json::from_slice(&entry.body)
            .map_err(|_| Error::Internal("a stored trust page is damaged".to_owned()))
    }

    fn to_store(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::Internal(error.to_string()))
    }
}

/// A page that was made: what is stored of it, and the file, compressed.
struct MadePage {
    stored: StoredPage,
    file: Vec<u8>,
}

fn compressed(page: &str) -> Result<Vec<u8>> {
    bounded("trust_page_bytes_max", PAGE_BYTES_MAX, page.len())?;
    let file = zstd::bulk::compress(page.as_bytes(), LEVEL)
        .map_err(|error| Error::Internal(format!("a trust page: {error}")))?;
    bounded("trust_page_stored_bytes_max", STORED_BYTES_MAX, file.len())?;
    Ok(file)
}

fn whole(file: &[u8]) -> Result<String> {
    let damaged = || Error::Internal("a stored trust page is damaged".to_owned());
    let bytes = zstd::bulk::decompress(file, PAGE_BYTES_MAX).map_err(|_| damaged())?;
    String::from_utf8(bytes).map_err(|_| damaged())
}

/// What all pages have in common, made once for a round.
struct Proven {
    at: Timestamp,
    promises: Vec<Stated>,
    lists: BTreeMap<u64, String>,
    origin: String,
    vkey: String,
}

async fn newest(tx: &TenantTx) -> Result<Option<RegisterEntry>> {
    Ok(tx.register_entries(RegisterKind::TrustPage).await?.into_iter().next())
}

fn resource(context: &OpContext) -> Resource {
    Resource::all(context.tenant, Kind::Tenant)
}

impl App {
    /// The organisation's page, if it ever had one: where it is, and whether it is out.
    #[boxed]
    pub async fn list_trust_pages(&self, context: &OpContext) -> Result<Vec<TrustPageView>> {
        let resource = self.authorize_all(context, Action::RegisterRead, Kind::Tenant)?;
        let tx = self.0.store.read(context).await?;
        let entry = newest(&tx).await?;
        let log = tx.tenant().await?.log_id;
        drop(tx);
        self.note(context, Action::RegisterRead, &resource, "done");
        entry.iter().map(|entry| view(entry, log)).collect()
    }

    /// Makes the page as things stand now and lets anybody read it who knows its address. Who
    /// publishes types the organisation's name.
    #[boxed]
    pub async fn publish_trust_page(
        &self,
        context: &OpContext,
        confirm: &str,
    ) -> Result<TrustPageView> {
        self.authorize_all(context, Action::RegisterWrite, Kind::Tenant)?;
        let by = person(context)?.to_string();
        let tenant = self.0.store.read(context).await?.tenant().await?;
        if confirm.trim() != tenant.name.trim() {
            let detail = "what is published is there for everybody: type the organisation's name";
            return Err(Error::invalid_at("confirm", detail));
        }
        let proven = self.proven_promises().await?;
        let made = self.made_page(context, &proven, by).await?;
        let entry = self.put_trust_page(context, made).await?;
        view(&entry, tenant.log_id)
    }

    /// Takes the page back: its address answers like one that was never there.
    #[boxed]
    pub async fn withdraw_trust_page(&self, context: &OpContext) -> Result<()> {
        self.authorize_all(context, Action::RegisterWrite, Kind::Tenant)?;
        let tx = self.0.store.begin(context).await?;
        let is_out = |entry: &RegisterEntry| entry.state == RegisterState::InForce;
        let Some(mut entry) = newest(&tx).await?.filter(is_out) else {
            return Err(Error::Conflict("no trust page is published".to_owned()));
        };
        let stored = StoredPage::read(&entry)?;
        (entry.state, entry.review_at, entry.book) = (RegisterState::Ended, None, None);
        tx.register_entry_update(&entry).await?;
        let change = Change::from_to(
            json!({"trust_page": "published", "sha256": stored.digest}),
            json!({"trust_page": "withdrawn"}),
        );
        self.record_change(&tx, context, Action::RegisterWrite, &resource(context), change).await?;
        Ok(tx.commit().await?)
    }

    /// The published page of whoever has this log, as a file of HTML.
    #[boxed]
    pub async fn public_trust_page(&self, log: &str) -> Result<String> {
        let unknown = || Error::NotFound("trust page");
        let log: LogId = log.parse().map_err(|_| unknown())?;
        let tx = self.0.store.read_platform(&self.job(jobs::PROMISES)).await?;
        let tenant = crate::error::found(tx.tenant_of_log(log).await)?.ok_or_else(unknown)?;
        drop(tx);
        let tx = self.0.store.read(&self.job_in(jobs::PROMISES, tenant)).await?;
        let entry = newest(&tx).await?.filter(|entry| entry.state == RegisterState::InForce);
        whole(&entry.and_then(|entry| entry.book).ok_or_else(unknown)?)
    }

    /// Makes anew what is older than a day, a bounded number at a time.
    #[boxed]
    pub(crate) async fn renew_trust_pages(&self) {
        if let Err(error) = self.renew_due().await {
            tracing::warn!(%error, "trust pages wait to be made anew");
        }
    }

    async fn renew_due(&self) -> Result<()> {
        let context = self.job(jobs::PROMISES);
        let tx = self.0.store.read_platform(&context).await?;
        let kind = RegisterKind::TrustPage;
        let due = tx.register_entries_due(kind, context.at, RENEWED_AT_ONCE).await?;
        drop(tx);
        if due.is_empty() {
            return Ok(());
        }
        let proven = self.proven_promises().await;
        for (tenant, id) in due {
            let renewed = match &proven {
                Ok(proven) => self.renew_one(tenant, proven).await,
                Err(error) => Err(Error::Unavailable(error.to_string())),
            };
            if let Err(error) = renewed {
                tracing::warn!(%tenant, %error, "a trust page was not made anew; trying again");
                self.postpone_trust_page(tenant, id).await?;
            }
        }
        Ok(())
    }

    async fn renew_one(&self, tenant: TenantId, proven: &Proven) -> Result<()> {
        let context = self.job_in(jobs::PROMISES, tenant);
        let tx = self.0.store.read(&context).await?;
        let Some(known) = newest(&tx).await? else { return Ok(()) };
        drop(tx);
        let by = StoredPage::read(&known)?.entered_by;
        let made = self.made_page(&context, proven, by).await?;
        let tx = self.0.store.begin(&context).await?;
        // Withdrawn meanwhile, or published anew: that stands.
        let is_same = |entry: &RegisterEntry| {
            entry.state == RegisterState::InForce && entry.version == known.version
        };
        let Some(mut entry) = newest(&tx).await?.filter(is_same) else { return Ok(()) };
        (entry.body, entry.book) = (made.stored.to_store()?, Some(made.file));
        entry.review_at = Some(context.at.saturating_add(RENEWED_AFTER));
        tx.register_entry_update(&entry).await?;
        Ok(tx.commit().await?)
    }

    async fn postpone_trust_page(&self, tenant: TenantId, id: RegisterEntryId) -> Result<()> {
        // Also of a tenant whose key is away: it holds up no other.
        let context = self.job(jobs::PROMISES);
        let at = context.at.saturating_add(TRIED_AGAIN_AFTER);
        let tx = self.0.store.begin_platform(&context).await?;
        tx.register_entry_postpone((tenant, id), at).await?;
        Ok(tx.commit().await?)
    }

    async fn put_trust_page(&self, context: &OpContext, made: MadePage) -> Result<RegisterEntry> {
        let tx = self.0.store.begin(context).await?;
        let review_at = Some(context.at.saturating_add(RENEWED_AFTER));
        let (body, book) = (made.stored.to_store()?, Some(made.file));
        let state = RegisterState::InForce;
        let entry = match newest(&tx).await? {
            Some(known) => {
                let entry = RegisterEntry { state, body, book, review_at, ..known };
                tx.register_entry_update(&entry).await?;
                entry
            }
            None => {
                let entry = RegisterEntry {
                    id: RegisterEntryId::generate(context.at, self.rng()),
                    kind: RegisterKind::TrustPage,
                    state,
                    body,
                    book,
                    review_at,
                    version: 1,
                    created_at: context.at,
                };
                tx.register_entry_create(&entry).await?;
                entry
            }
        };
        let change = Change::to(json!({"trust_page": "published", "sha256": made.stored.digest}));
        self.record_change(&tx, context, Action::RegisterWrite, &resource(context), change).await?;
        tx.commit().await?;
        Ok(entry)
    }

    /// Makes and signs a page, and seals its digest into the organisation's log.
    #[boxed]
    async fn made_page(
        &self,
        context: &OpContext,
        proven: &Proven,
        by: String,
    ) -> Result<MadePage> {
        let statement = self.trust_statement(context, proven).await?;
        let unsigned = page::unsigned(&statement)?;
        let key = self.submitter_key(PLATFORM_TENANT).await?;
        let signature = PageSignature {
            public_key: hex::encode(key.public_bytes()),
            signature: hex::encode(key.sign(&[SIGNED, unsigned.as_bytes()].concat())),
        };
        let page = page::signed(&unsigned, &signature)?;
        let file = compressed(&page)?;
        let digest = sha256(page.as_bytes());
        let ledger_index = if is_nobodys(context.tenant) {
            None
        } else {
            self.seal_evidence_of(context.tenant, digest, context.at).await?
        };
        let digest = hex::encode(digest);
        let made_at = proven.at.as_micros();
        let stored = StoredPage { digest, entered_by: by, made_at, ledger_index };
        Ok(MadePage { stored, file })
    }

    async fn trust_statement(&self, context: &OpContext, proven: &Proven) -> Result<Statement> {
        let tx = self.0.store.read(context).await?;
        let tenant = tx.tenant().await?;
        let flows = tx.register_entries(RegisterKind::Flow).await?;
        let own = tx.register_entries(RegisterKind::Subprocessor).await?;
        drop(tx);
        let in_force = self.0.legal.in_force(context.at);
        let in_force =
            in_force.ok_or_else(|| Error::Internal("no policy is in force".to_owned()))?;
        let (operator, policy_version) = self.controller()?;
        let of_platform = in_force.body.sub_processors.iter().map(|one| StatedProcessor {
            name: one.name.clone(),
            purpose: one.purpose.clone(),
            country: one.country.clone(),
            agreement: one.agreement.clone(),
            of: "platform".to_owned(),
        });
        let home = |tenant| {
            let board = self.0.routes.flows.of(tenant);
            board.and_then(|flows| flows.home().map(str::to_owned))
        };
        let is_open = |entry: &&RegisterEntry| is_in_force(entry, context.at);
        Ok(Statement {
            kind: STATEMENT.to_owned(),
            version: STATEMENT_VERSION,
            organisation: Organisation { id: tenant.id.to_string(), name: tenant.name },
            operator: operator.operator,
            policy_version,
            made_at: proven.at.to_string(),
            log_origin: proven.origin.clone(),
            log_vkey: proven.vkey.clone(),
            promises: proven.promises.clone(),
            lists: proven.lists.clone(),
            sub_processors: of_platform
                .chain(own.iter().filter(is_open).filter_map(stated_processor))
                .collect(),
            regions: Regions {
                platform: home(PLATFORM_TENANT),
                pinned: home(context.tenant),
                flows: flows.iter().filter(is_open).filter_map(stated_flow).collect(),
            },
            proves: PROVES.to_owned(),
        })
    }

    /// Every promise with its evidence and, where that is sealed, the proofs of its leaf.
    #[boxed]
    async fn proven_promises(&self) -> Result<Proven> {
        let busy = |_| Error::Busy { retry_after: Duration::from_secs(10) };
        let _turn = MAKING.try_acquire().map_err(busy)?;
        // What was found last is proven as well, and does not wait for the day's list.
        if let Err(error) = self.seal_list().await {
            tracing::warn!(%error, "evidence waits for the ledger");
        }
        let (log, _) = self.log_of(&self.job_in(jobs::PROMISES, PLATFORM_TENANT)).await?;
        let summary = self.summary_of(log).await?;
        let at = self.clock().now();
        let stated = self.0.promises.stated(at);
        let (mut promises, mut lists) = (Vec::with_capacity(stated.len()), BTreeMap::new());
        for one in stated {
            promises.push(self.stated((log, &mut lists), &summary, one).await?);
        }
        Ok(Proven { at, promises, lists, origin: summary.origin, vkey: summary.vkey })
    }

    #[boxed]
    async fn stated(
        &self,
        (log, lists): (LogId, &mut BTreeMap<u64, String>),
        summary: &LogSummary,
        promise: StatedPromise,
    ) -> Result<Stated> {
        let mut stated = Stated {
            id: promise.id.to_string(),
            text: promise.text,
            state: promise.state.to_owned(),
            reason: promise.reason,
            ..Stated::default()
        };
        let Some(evidence) = promise.evidence else { return Ok(stated) };
        let bytes = evidence.canonical_bytes();
        stated.summary = Some(evidence.outcome().summary().to_owned());
        stated.checked_at = Some(evidence.finished_at().to_string());
        let digest = sha256(&bytes);
        stated.evidence_sha256 = Some(hex::encode(digest));
        // Where something is broken is nobody's business outside before it is mended.
        if evidence.outcome().kind() != OutcomeKind::Failed {
            stated.evidence = Some(hex::encode(bytes));
        }
        let Some(index) = promise.ledger_index else { return Ok(stated) };
        let proof = match self.prove(log, index).await {
            Err(Error::NotFound(_)) => return Ok(stated),
            other => other?,
        };
        let leaf = Leaf::decode(&proof.leaf).map_err(|error| Error::Internal(error.to_string()))?;
        // Of a leaf whose payload is gone the digest can be shown no more.
        let Some(record) = self.record_of(log, &leaf, &summary.origin).await? else {
            return Ok(stated);
        };
        if record.record[..] != digest && !lists.contains_key(&index) {
            let list = self.evidence_list(index).await?;
            // Of a list that lost a part to its end nothing can be shown any more.
            if sha256(list.as_bytes())[..] != record.record[..] {
                return Ok(stated);
            }
            lists.insert(index, list);
        }
        let path = proof.path.iter().map(|hash| Digest::from_bytes(*hash)).collect();
        let proof =
            TlogProof { entry: Some(proof.leaf), index, path, checkpoint: proof.checkpoint };
        stated.ledger_index = Some(index);
        stated.record_proof = Some(record.to_json());
        stated.leaf_proof = Some(proof.to_text());
        Ok(stated)
    }

    /// The proof that a leaf of the platform's log holds the digest that it was sealed for.
    async fn record_of(
        &self,
        log: LogId,
        leaf: &Leaf,
        origin: &str,
    ) -> Result<Option<RecordProof>> {
        let Some(payload) = self.payload(log, leaf).await? else { return Ok(None) };
        let damaged = |error: &dyn std::fmt::Display| Error::Internal(format!("payload: {error}"));
        let id = payload_dek_id(&payload).map_err(|error| damaged(&error))?;
        let Ok(dek) = self.0.keys.dek_by_id(id) else { return Ok(None) };
        let opened = open_payload(&payload, leaf, origin, (PLATFORM_TENANT, &dek))
            .map_err(|error| damaged(&error))?;
        Ok(opened.prove(leaf.first_sequence))
    }
}

/// Whether an entry counts now.
fn is_in_force(entry: &RegisterEntry, now: Timestamp) -> bool {
    entry.state == RegisterState::InForce && entry.review_at.is_none_or(|at| at > now)
}

fn stated_processor(entry: &RegisterEntry) -> Option<StatedProcessor> {
    let fields = Fields::read(&entry.body).ok()?;
    let said = |name: &str| fields.get(name).unwrap_or_default().to_owned();
    Some(StatedProcessor {
        name: fields.get("name")?.to_owned(),
        purpose: format!("{}: {}", said("service"), said("data")),
        country: said("jurisdiction"),
        agreement: said("agreement"),
        of: "organisation".to_owned(),
    })
}

fn stated_flow(entry: &RegisterEntry) -> Option<StatedFlow> {
    let fields = Fields::read(&entry.body).ok()?;
    Some(StatedFlow {
        way: fields.get("way")?.to_owned(),
        jurisdiction: fields.get("jurisdiction").unwrap_or_default().to_owned(),
        mechanism: fields.get("mechanism").unwrap_or_default().to_owned(),
        review_at: entry.review_at.map(|at| at.to_string()).unwrap_or_default(),
    })
}

fn view(entry: &RegisterEntry, log: LogId) -> Result<TrustPageView> {
    let stored = StoredPage::read(entry)?;
    let is_published = entry.state == RegisterState::InForce;
    Ok(TrustPageView {
        is_published,
        path: format!("/trust/{log}"),
        sha256: stored.digest,
        made_at: Timestamp::from_micros(stored.made_at),
        published_by: stored.entered_by,
        ledger_index: stored.ledger_index,
    })
}
