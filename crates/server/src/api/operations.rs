//! Backups, the shipped log and the last reading of everything that is stored, for the platform's
//! own administration.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::{BackupMade, ScrubFinding, ScrubRun, ShipStatus};
use veritwin_domain::Timestamp;

use super::auth::Caller;
use super::body;
use super::{Answer, Api};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(operations))
}

/// A backup that was made.
#[derive(Serialize, ToSchema)]
struct BackupBody {
    /// Its folder on the platform's machine.
    folder: String,
    taken_at: String,
    bytes: u64,
    /// Of a copy of the keyring: until when a restore takes it.
    expires_at: Option<String>,
}

/// How far the log is shipped.
#[derive(Serialize, ToSchema)]
struct ShippingBody {
    place: String,
    /// Everything that was acknowledged by then is there.
    reached_at: Option<String>,
    /// The newest copy of the records there.
    records_at: Option<String>,
    failing_since: Option<String>,
    problem: Option<String>,
    /// A part of the log was cut before it was shipped: make a backup after it.
    gap_at: Option<String>,
}

/// Something that is not as it was written.
#[derive(Serialize, ToSchema)]
struct FindingBody {
    /// From the data directory on.
    file: String,
    byte: Option<u64>,
    tenant_id: Option<String>,
    /// First and last time of what cannot be read.
    from: Option<String>,
    to: Option<String>,
    problem: String,
    /// What can be done.
    advice: String,
    /// Something is lost; else something is left over.
    loss: bool,
}

/// One reading of everything that is stored.
#[derive(Serialize, ToSchema)]
struct ScrubBody {
    started_at: String,
    /// Null while it runs.
    ended_at: Option<String>,
    bytes: u64,
    parts: u64,
    /// Parts that could not be judged: their tenant's key is withdrawn or gone.
    closed: u64,
    findings: Vec<FindingBody>,
    /// Findings that are not in the list.
    more: u64,
    /// What could not be looked at.
    skipped: Vec<String>,
    /// What is being read; null of one that ended.
    stage: Option<String>,
}

/// Backups and stored data.
#[derive(Serialize, ToSchema)]
struct OperationsBody {
    backup: Option<BackupBody>,
    keyring: Option<BackupBody>,
    shipping: Option<ShippingBody>,
    running: Option<ScrubBody>,
    last: Option<ScrubBody>,
    /// When everything is read next; null: never by itself.
    next_at: Option<String>,
}

fn made(made: BackupMade, expires_at: Option<Timestamp>) -> BackupBody {
    BackupBody {
        folder: made.folder.display().to_string(),
        taken_at: body::time(made.taken_at),
        bytes: made.bytes,
        expires_at: expires_at.map(body::time),
    }
}

fn shipping(status: ShipStatus) -> Option<ShippingBody> {
    Some(ShippingBody {
        place: status.place?,
        reached_at: status.reached_at.map(body::time),
        records_at: status.records_at.map(body::time),
        failing_since: status.failing_since.map(body::time),
        problem: status.problem,
        gap_at: status.gap_at.map(body::time),
    })
}

fn finding(finding: ScrubFinding) -> FindingBody {
    FindingBody {
        file: finding.file,
        byte: finding.byte,
        tenant_id: finding.tenant,
        from: finding.from,
        to: finding.to,
        problem: finding.problem,
        advice: finding.advice,
        loss: finding.is_loss,
    }
}

fn scrub(run: ScrubRun, stage: Option<&'static str>) -> ScrubBody {
    let time = |micros| body::time(Timestamp::from_micros(micros));
    ScrubBody {
        started_at: time(run.started_at_us),
        ended_at: run.ended_at_us.map(time),
        bytes: run.bytes,
        parts: run.parts,
        closed: run.closed,
        findings: run.findings.into_iter().map(finding).collect(),
        more: run.more,
        skipped: run.skipped,
        stage: stage.map(str::to_owned),
    }
}

/// Backups, the shipped log, and whether what is stored reads back.
#[utoipa::path(get, path = "/v1/operations", tag = "system",
    responses((status = 200, body = OperationsBody), (status = 403)))]
async fn operations(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<OperationsBody>> {
    let (backup, stored) = api.app.operations(&context).await?;
    Ok(axum::Json(OperationsBody {
        backup: backup.platform.map(|one| made(one, None)),
        keyring: backup.keyring.map(|(one, until)| made(one, Some(until))),
        shipping: shipping(backup.shipping),
        running: stored.running.map(|(run, stage)| scrub(run, Some(stage))),
        last: stored.last.map(|run| scrub(run, None)),
        next_at: stored.next_at.map(body::time),
    }))
}
