//! The tenant's audit ledger: checkpoint, entries, proofs, and the papers of one reading.

use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{
    ErasedView, LedgerEntryView, LedgerPlaceView, LedgerView, PapersView, SeriesId,
};
use veritwin_verify::RecordProof;

use super::auth::Caller;
use super::body::{self, ListBody, PageQuery, Path, Query};
use super::ledger_witness::{StampBody, WitnessBody};
use super::{Answer, Api, Problem, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(read))
        .routes(routes!(entries))
        .routes(routes!(proof))
        .routes(routes!(papers))
        .routes(routes!(lookup))
}

/// The archive that holds the log.
#[derive(Serialize, ToSchema)]
struct ArchiveBody {
    connected: bool,
    /// It runs on this host under this user: a limit to its neutrality.
    shared_host: bool,
    /// Readings are sealed; otherwise digests only.
    subscribed: bool,
}

/// A tenant's ledger at a glance.
#[derive(Serialize, ToSchema)]
struct LedgerBody {
    /// The log is served at `/ledger/LOG/checkpoint` and `/ledger/LOG/tile/...`.
    log_id: String,
    origin: String,
    /// `NAME+HEX+BASE64`.
    vkey: String,
    tree_size: u64,
    /// Base64.
    root_hash: String,
    /// The signed checkpoint.
    checkpoint: String,
    last_sealed_at: Option<String>,
    /// Records that are durable but not sealed yet.
    pending_records: u64,
    /// Sealing waits for this tenant alone, and loses nothing; absent when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_up: Option<HeldBody>,
    archive: ArchiveBody,
    witness: WitnessBody,
    /// The newest time stamp of an authority (RFC 3161); absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_stamp: Option<StampBody>,
}

/// Why something waits for this tenant.
#[derive(Serialize, ToSchema)]
struct HeldBody {
    since: String,
    reason: String,
}

impl From<LedgerView> for LedgerBody {
    fn from(view: LedgerView) -> Self {
        Self {
            log_id: view.log_id,
            origin: view.origin,
            vkey: view.vkey,
            tree_size: view.tree_size,
            root_hash: STANDARD.encode(view.root_hash),
            checkpoint: view.checkpoint,
            last_sealed_at: view.last_sealed_at.map(body::time),
            pending_records: view.pending_records,
            held_up: view
                .held_up
                .map(|held| HeldBody { since: body::time(held.since), reason: held.reason }),
            archive: ArchiveBody {
                connected: view.connected,
                shared_host: view.shared_host,
                subscribed: view.subscribed,
            },
            witness: view.witness.into(),
            time_stamp: view.stamp.map(StampBody::from),
        }
    }
}

/// The ledger at a glance.
#[utoipa::path(get, path = "/v1/ledger", tag = "ledger",
    responses((status = 200, body = LedgerBody), (status = 503)))]
async fn read(State(api): State<Api>, Caller(context): Caller) -> Answer<axum::Json<LedgerBody>> {
    Ok(axum::Json(api.app.ledger(&context).await?.into()))
}

/// One leaf.
#[derive(Serialize, ToSchema)]
struct EntryBody {
    index: u64,
    /// `batch`, `evidence`, ...
    kind: String,
    batch_id: String,
    first_sequence: u64,
    last_sequence: u64,
    /// Records in the batch.
    count: u64,
    /// Earliest event time.
    from: Option<String>,
    /// Latest event time.
    to: Option<String>,
    /// Of the payload's ciphertext, hexadecimal.
    payload_sha256: String,
    payload_bytes: u64,
    /// Hexadecimal.
    records_root: String,
    /// RFC 6962, base64.
    leaf_hash: String,
    sealed_at: String,
}

impl From<LedgerEntryView> for EntryBody {
    fn from(view: LedgerEntryView) -> Self {
        Self {
            index: view.index,
            kind: view.kind,
            batch_id: view.batch.to_string(),
            first_sequence: view.first_sequence,
            last_sequence: view.last_sequence,
            count: view.count,
            from: view.from.map(body::time),
            to: view.to.map(body::time),
            payload_sha256: hex::encode(view.payload_sha256),
            payload_bytes: view.payload_bytes,
            records_root: hex::encode(view.records_root),
            leaf_hash: STANDARD.encode(view.leaf_hash),
            sealed_at: body::time(view.sealed_at),
        }
    }
}

/// Lists leaves, newest first.
#[utoipa::path(get, path = "/v1/ledger/entries", tag = "ledger", params(PageQuery),
    responses((status = 200, body = ListBody<EntryBody>), (status = 503)))]
async fn entries(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(query): Query<PageQuery>,
) -> Answer<axum::Json<ListBody<EntryBody>>> {
    let page = api.app.ledger_entries(&context, &query.into()).await?;
    Ok(axum::Json(ListBody::of(page, EntryBody::from)))
}

/// The proof that a leaf is in the log.
#[derive(Serialize, ToSchema)]
struct ProofBody {
    index: u64,
    tree_size: u64,
    /// The leaf's bytes, base64.
    leaf: String,
    /// Base64.
    leaf_hash: String,
    /// The audit path, bottom up, base64.
    path: Vec<String>,
    checkpoint: String,
    vkey: String,
}

/// Proves that a leaf is in the log.
#[utoipa::path(get, path = "/v1/ledger/entries/{index}/proof", tag = "ledger",
    params(("index" = u64, Path)), responses((status = 200, body = ProofBody), (status = 404)))]
async fn proof(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(index): Path<u64>,
) -> Answer<axum::Json<ProofBody>> {
    let view = api.app.ledger_proof(&context, index).await?;
    Ok(axum::Json(ProofBody {
        index: view.index,
        tree_size: view.tree_size,
        leaf: STANDARD.encode(&view.leaf),
        leaf_hash: STANDARD.encode(view.leaf_hash),
        path: view.path.iter().map(|hash| STANDARD.encode(hash)).collect(),
        checkpoint: view.checkpoint,
        vkey: view.vkey,
    }))
}

/// Which reading's papers are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
struct PapersQuery {
    device_id: String,
    key: String,
    /// RFC 3339; the latest reading when not given.
    at: Option<String>,
}

/// The reading itself.
#[derive(Serialize, ToSchema)]
struct ReadingBody {
    at: String,
    value: serde_json::Value,
    #[schema(schema_with = words::quality)]
    quality: &'static str,
}

/// The device that sent it.
#[derive(Serialize, ToSchema)]
struct PapersDevice {
    id: String,
    name: String,
}

/// When it became durable.
#[derive(Serialize, ToSchema)]
struct DurableBody {
    /// Position in the durable log.
    position: Option<u64>,
    received_at: Option<String>,
}

/// The credential that sent it.
#[derive(Serialize, ToSchema)]
struct PapersCredential {
    id: String,
    /// `access_token`, or `api_key` for a program.
    kind: &'static str,
}

/// The batch that holds it.
#[derive(Serialize, ToSchema)]
struct PapersBatch {
    batch_id: String,
    first_sequence: u64,
    last_sequence: u64,
    count: u64,
    /// Of the payload's ciphertext, hexadecimal.
    payload_sha256: String,
    sealed_at: String,
}

/// The leaf of that batch.
#[derive(Serialize, ToSchema)]
struct PapersLeaf {
    index: u64,
    /// RFC 6962, base64.
    leaf_hash: String,
}

/// The record that holds the reading, with its proof under the leaf's records root.
#[derive(Serialize, ToSchema)]
struct PapersRecord {
    sequence: u64,
    /// The record's own salt, base64.
    salt: String,
    /// The canonical bytes, base64: JSON as in `docs/reference/ledger.md`.
    record: String,
    /// Sibling hashes from the record up, base64.
    path: Vec<String>,
}

impl From<RecordProof> for PapersRecord {
    fn from(proof: RecordProof) -> Self {
        Self {
            sequence: proof.sequence,
            salt: STANDARD.encode(proof.salt),
            record: STANDARD.encode(&proof.record),
            path: proof.path.iter().map(|hash| hash.to_base64()).collect(),
        }
    }
}

/// The checkpoint that covers the leaf.
#[derive(Serialize, ToSchema)]
struct PapersCheckpoint {
    tree_size: u64,
    /// Base64.
    root_hash: String,
}

/// Which key seals it.
#[derive(Serialize, ToSchema)]
struct PapersKey {
    /// Version of the tenant's key-encryption key.
    tenant_kek_version: u32,
    /// Class of the data key.
    dek_class: &'static str,
    /// The UTC day whose data key seals the reading's segment.
    dek_epoch: String,
}

/// The papers of one reading: the chain from device to checkpoint.
#[derive(Serialize, ToSchema)]
struct PapersBody {
    reading: ReadingBody,
    device: PapersDevice,
    /// Null until the batch is sealed.
    credential: Option<PapersCredential>,
    durable: DurableBody,
    /// Null until sealed, or without archive subscription.
    batch: Option<PapersBatch>,
    leaf: Option<PapersLeaf>,
    record: Option<PapersRecord>,
    checkpoint: Option<PapersCheckpoint>,
    key: PapersKey,
}

impl From<PapersView> for PapersBody {
    fn from(view: PapersView) -> Self {
        let batch = view.entry.as_ref().map(|entry| PapersBatch {
            batch_id: entry.batch.to_string(),
            first_sequence: entry.first_sequence,
            last_sequence: entry.last_sequence,
            count: entry.count,
            payload_sha256: hex::encode(entry.payload_sha256),
            sealed_at: body::time(entry.sealed_at),
        });
        let leaf = view.entry.as_ref().map(|entry| PapersLeaf {
            index: entry.index,
            leaf_hash: STANDARD.encode(entry.leaf_hash),
        });
        let day = veritwin_domain::Timestamp::from_micros(
            view.reading.at.day().saturating_mul(veritwin_domain::DAY_MICROS),
        );
        Self {
            reading: ReadingBody {
                at: body::time(view.reading.at),
                value: body::value(&view.reading.value),
                quality: view.reading.quality.as_str(),
            },
            device: PapersDevice {
                id: view.reading.device.to_string(),
                name: view.device_name.to_string(),
            },
            credential: view.credential.map(|credential| PapersCredential {
                id: credential.id.to_string(),
                kind: credential.kind,
            }),
            durable: DurableBody {
                position: view.position,
                received_at: view.received_at.map(body::time),
            },
            batch,
            leaf,
            record: view.record.map(PapersRecord::from),
            checkpoint: view.checkpoint.map(|(tree_size, root)| PapersCheckpoint {
                tree_size,
                root_hash: STANDARD.encode(root),
            }),
            key: PapersKey {
                tenant_kek_version: view.kek_version,
                dek_class: "segment",
                dek_epoch: body::time(day).chars().take(10).collect(),
            },
        }
    }
}

/// The papers of one reading.
#[utoipa::path(get, path = "/v1/ledger/papers", tag = "ledger", params(PapersQuery),
    responses((status = 200, body = PapersBody), (status = 404),
        (status = 410, description = "What the ledger sealed of it was destroyed.")))]
async fn papers(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(query): Query<PapersQuery>,
) -> Answer<axum::Json<PapersBody>> {
    let device = body::id_at("device_id", &query.device_id)?;
    let key = veritwin_domain::Key::new(&query.key)
        .map_err(|error| Problem::invalid(error.to_string()).at("key"))?;
    let at = query.at.as_deref().map(|text| body::parse_time("at", text)).transpose()?;
    Ok(axum::Json(api.app.papers(&context, device, &key, at).await?.into()))
}

/// What is looked for: a reading (`device_id`, `key`, `at`), a record (`record`), or the records
/// about something (`about`: the id of an alert, a consent, a case).
#[derive(Debug, Deserialize, utoipa::IntoParams)]
struct LookupQuery {
    device_id: Option<String>,
    key: Option<String>,
    /// RFC 3339: the reading's own time.
    at: Option<String>,
    record: Option<String>,
    about: Option<String>,
}

/// Where something was sealed.
#[derive(Serialize, ToSchema)]
struct PlaceBody {
    /// `readings`, `activity`, `key`, `alert`, `consent`, `rights_case`, `governance` or `mail`.
    kind: &'static str,
    /// The record's id; null of readings.
    record_id: Option<String>,
    about_id: Option<String>,
    /// `waiting`, `sealed`, `destroyed` (the leaf is proven, what the record said is gone), `ended`
    /// (the leaf went with the end of the audit period) or `misplaced` (the leaf that the index
    /// names does not hold it).
    state: &'static str,
    recorded_at: String,
    /// The record's number in the log.
    sequence: Option<u64>,
    entry: Option<EntryBody>,
    /// The record with its proof under the leaf's records root.
    record: Option<PapersRecord>,
    /// Of an activity record: whether it still is what was sealed. Null also while a change by an
    /// erasure waits for its leaf.
    unchanged: Option<bool>,
    /// The erasure of a person that changed it; null where none did, also of a record that somebody
    /// else changed.
    erased: Option<ErasedBody>,
}

/// The erasure after which a record is what it is now, as the ledger has it.
#[derive(Serialize, ToSchema)]
struct ErasedBody {
    /// The data subject's request that was carried out.
    request_id: String,
    /// The sealed record of the change, with the digest that the record has since.
    record_id: String,
    /// The entry that holds it.
    entry: Option<u64>,
    /// SHA-256 of the erasure's certificate, once there is one and while the request is kept.
    certificate_sha256: Option<String>,
}

impl From<ErasedView> for ErasedBody {
    fn from(view: ErasedView) -> Self {
        Self {
            request_id: view.case.to_string(),
            record_id: view.record.to_string(),
            entry: view.entry,
            certificate_sha256: view.certificate,
        }
    }
}

impl From<LedgerPlaceView> for PlaceBody {
    fn from(view: LedgerPlaceView) -> Self {
        Self {
            kind: view.kind,
            record_id: view.id.map(|id| id.to_string()),
            about_id: view.about.map(|id| id.to_string()),
            state: view.state,
            recorded_at: body::time(view.recorded_at),
            sequence: view.sequence,
            entry: view.entry.map(EntryBody::from),
            record: view.proof.map(PapersRecord::from),
            unchanged: view.unchanged,
            erased: view.erased.map(ErasedBody::from),
        }
    }
}

/// Says which leaf holds a reading or a record, and proves it without showing the others.
#[utoipa::path(get, path = "/v1/ledger/lookup", tag = "ledger", params(LookupQuery),
    responses((status = 200, body = ListBody<PlaceBody>), (status = 400), (status = 404),
        (status = 410, description = "What the ledger sealed of it was destroyed.")))]
async fn lookup(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(query): Query<LookupQuery>,
) -> Answer<axum::Json<ListBody<PlaceBody>>> {
    let places = match (&query.record, &query.about, &query.device_id, &query.key, &query.at) {
        (Some(record), None, None, None, None) => {
            let id = body::id_at("record", record)?;
            vec![api.app.find_sealed_record(&context, id).await?]
        }
        (None, Some(about), None, None, None) => {
            api.app.find_sealed_about(&context, body::id_at("about", about)?).await?
        }
        (None, None, Some(device), Some(key), Some(at)) => {
            let device = body::id_at("device_id", device)?;
            let key = veritwin_domain::Key::new(key)
                .map_err(|error| Problem::invalid(error.to_string()).at("key"))?;
            let at = body::parse_time("at", at)?;
            api.app.find_sealed_reading(&context, &SeriesId { device, key }, at).await?
        }
        _ => {
            let detail = "expected device_id, key and at, or record, or about";
            return Err(Problem::invalid(detail.to_owned()));
        }
    };
    Ok(axum::Json(ListBody::whole(places.into_iter().map(PlaceBody::from).collect())))
}
