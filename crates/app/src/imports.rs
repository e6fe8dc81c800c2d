//! Imports of readings: a file comes in pieces, and how far it has come is noted once what was in a
//! step is durable. A step that is repeated after a failure writes the same readings at the same
//! times, of which the engine keeps one, and moves the import on once.

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use serde_json::json;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{
    ActorKind, CredentialId, DeviceBatch, ImportId, OpContext, Timestamp, count_readings,
};
use veritwin_metastore::{Import, ImportRefusal, ImportState};

use crate::access::place_of;
use crate::change::Change;
use crate::devices::check_text;
use crate::model::{ImportInput, ImportRefusedRow, ImportStep, ImportView};
use crate::tree::over;
use crate::{App, Error, Result, Submission};

/// Most imports of a tenant, ended ones included; the oldest ended one makes room.
pub const IMPORTS_MAX: u64 = 200;
/// Most refused rows of an import that are kept with their reasons; more are counted.
pub const IMPORT_REFUSED_KEPT_MAX: u64 = 10_000;
/// Refused rows that are written in one transaction.
const REFUSED_AT_ONCE: usize = 500;
/// Longest plan, in bytes.
pub const IMPORT_PLAN_BYTES_MAX: usize = 128 * 1024;
const NAME_CHARS_MAX: usize = 255;
const DIGEST_BYTES_MAX: usize = 128;

/// What is written of an import besides its numbers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    name: String,
    plan: String,
    author: String,
}

fn author_of(kind: &ActorKind) -> String {
    match kind {
        ActorKind::User { user, .. } => format!("user:{user}"),
        ActorKind::ApiKey(key) => format!("api_key:{key}"),
        ActorKind::LocalOperator => "local_operator".to_owned(),
        ActorKind::Support { .. }
        | ActorKind::Device { .. }
        | ActorKind::Job(_)
        | ActorKind::Anonymous => String::new(),
    }
}

/// What the readings of an import carry as their sender.
fn credential_of(kind: &ActorKind) -> CredentialId {
    match kind {
        ActorKind::User { user, .. } => CredentialId::from_bytes(*user.as_bytes()),
        ActorKind::ApiKey(key) => CredentialId::from_bytes(*key.as_bytes()),
        _ => CredentialId::from_bytes([0; 16]),
    }
}

fn body_of(import: &Import) -> Result<Body> {
    serde_json::from_slice(&import.body)
        .map_err(|error| Error::Internal(format!("an import cannot be read: {error}")))
}

fn view(import: &Import, body: Body) -> ImportView {
    ImportView {
        id: import.id,
        name: body.name,
        plan: body.plan,
        state: import.state.as_str(),
        piece: import.piece,
        rows_taken: import.rows_taken,
        rows_before: import.rows_before,
        rows: import.rows,
        readings: import.readings,
        refused: import.refused,
        created_at: import.created_at,
        updated_at: import.updated_at,
        ended_at: import.ended_at,
    }
}

fn recorded(import: &Import, body: &Body) -> serde_json::Value {
    json!({
        "import": import.id.to_string(),
        "name": body.name,
        "state": import.state.as_str(),
        "rows": import.rows,
        "readings": import.readings,
        "refused": import.refused,
    })
}

fn new_import(id: ImportId, body: Vec<u8>, at: Timestamp) -> Import {
    Import {
        id,
        state: ImportState::Open,
        body,
        piece: 0,
        rows_taken: 0,
        rows_before: 0,
        rows: 0,
        readings: 0,
        refused: 0,
        version: 1,
        created_at: at,
        updated_at: at,
        ended_at: None,
    }
}

/// An import that was cancelled, for the checks that ask for others' things.
pub(crate) fn cancelled(id: ImportId, at: Timestamp) -> Result<Import> {
    // A plan that says nothing is read as one.
    let (name, plan) = ("probe".to_owned(), "{}".to_owned());
    let body = Body { name, plan, author: String::new() };
    let body = serde_json::to_vec(&body).map_err(|error| Error::Internal(error.to_string()))?;
    let (state, ended_at) = (ImportState::Cancelled, Some(at));
    Ok(Import { state, ended_at, ..new_import(id, body, at) })
}

/// How far an import is once a step of it is durable.
fn moved(import: &Import, step: &ImportStep, readings: u64, at: Timestamp) -> Import {
    let mut moved = Import {
        rows: import.rows + step.rows,
        readings: import.readings + readings,
        refused: import.refused + step.refused.len() as u64,
        rows_taken: import.rows_taken + step.rows,
        ..import.clone()
    };
    if let Some(lines) = step.ends_piece {
        moved.piece += 1;
        moved.rows_taken = 0;
        moved.rows_before += lines;
        if step.ends_file {
            moved.state = ImportState::Done;
            moved.ended_at = Some(at);
        }
    }
    moved
}

impl App {
    /// Whether the actor may write readings somewhere, before anything long is read.
    pub fn may_import(&self, context: &OpContext) -> Result<()> {
        self.reach(context, Action::TelemetryWrite, Kind::Device).map(drop)
    }

    /// The import of a file that is read like this: a new one, or the one that there is, however
    /// far it has come. One that was cancelled goes on.
    #[boxed]
    pub async fn open_import(
        &self,
        context: &OpContext,
        input: ImportInput,
    ) -> Result<(ImportView, bool)> {
        self.may_import(context)?;
        if input.name.trim().is_empty() {
            return Err(Error::invalid_at("name", "needs a text"));
        }
        check_text("name", &input.name, NAME_CHARS_MAX)?;
        self.check_kept("name", &input.name)?;
        let digest = &input.digest;
        if digest.is_empty() || digest.len() > DIGEST_BYTES_MAX {
            let detail = format!("needs 1 to {DIGEST_BYTES_MAX} bytes, such as a SHA-256");
            return Err(Error::invalid_at("digest", detail));
        }
        if input.plan.len() > IMPORT_PLAN_BYTES_MAX {
            let (max, actual) = (IMPORT_PLAN_BYTES_MAX as u64, input.plan.len() as u64);
            return Err(over("import_plan_bytes_max", max, actual));
        }
        let author = author_of(&context.actor.kind);
        // Whose it is belongs to it: nobody goes on with what somebody else has begun.
        let file = format!("{author}\n{digest}\n{}", input.plan);
        let tx = self.0.store.begin(context).await?;
        if let Some(mut known) = tx.import_of(&file).await? {
            if known.state == ImportState::Cancelled {
                known.state = ImportState::Open;
                known.ended_at = None;
                tx.import_update(&known).await?;
                tx.commit().await?;
            }
            let body = body_of(&known)?;
            return Ok((view(&known, body), false));
        }
        let all = tx.imports().await?;
        if all.len() as u64 >= IMPORTS_MAX {
            let ended = all.iter().rev().find(|import| import.state != ImportState::Open);
            let Some(ended) = ended else {
                return Err(over("imports_max", IMPORTS_MAX, all.len() as u64 + 1));
            };
            tx.import_delete(ended.id).await?;
        }
        let body = Body { name: input.name.trim().to_owned(), plan: input.plan, author };
        let bytes =
            serde_json::to_vec(&body).map_err(|error| Error::Internal(error.to_string()))?;
        let id = ImportId::generate(context.at, self.rng());
        let import = new_import(id, bytes, context.at);
        tx.import_create(&import, &file).await?;
        let resource = Resource::all(context.tenant, Kind::Device);
        let change = Change::to(recorded(&import, &body));
        self.record_change(&tx, context, Action::TelemetryWrite, &resource, change).await?;
        tx.commit().await?;
        Ok((view(&import, body), true))
    }

    /// An import, if it is the actor's own or the actor may write in the whole tenant.
    async fn own_import(&self, context: &OpContext, id: ImportId) -> Result<(Import, Body)> {
        let reach = self.reach(context, Action::TelemetryWrite, Kind::Device)?;
        let import = self.0.store.read(context).await?.import(id).await?;
        let body = body_of(&import)?;
        if !reach.is_whole() && body.author != author_of(&context.actor.kind) {
            return Err(Error::NotFound("import"));
        }
        Ok((import, body))
    }

    /// How an import stands.
    #[boxed]
    pub async fn import(&self, context: &OpContext, id: ImportId) -> Result<ImportView> {
        let (import, body) = self.own_import(context, id).await?;
        let resource = Resource::all(context.tenant, Kind::Device);
        self.note(context, Action::TelemetryWrite, &resource, "done");
        Ok(view(&import, body))
    }

    /// The imports that the actor may see, newest first.
    #[boxed]
    pub async fn imports(&self, context: &OpContext) -> Result<Vec<ImportView>> {
        let reach = self.reach(context, Action::TelemetryWrite, Kind::Device)?;
        let author = author_of(&context.actor.kind);
        let mut views = Vec::new();
        for import in self.0.store.read(context).await?.imports().await? {
            let body = body_of(&import)?;
            if reach.is_whole() || body.author == author {
                views.push(view(&import, body));
            }
        }
        let resource = Resource::all(context.tenant, Kind::Device);
        self.note(context, Action::TelemetryWrite, &resource, "done");
        Ok(views)
    }

    /// Makes the readings of a step durable and then moves the import on, if it still stands where
    /// `known` saw it: whoever repeats a step, or comes second, changes nothing.
    #[boxed]
    pub async fn take_import_step(
        &self,
        context: &OpContext,
        known: &ImportView,
        step: ImportStep,
    ) -> Result<ImportView> {
        let (import, body) = self.own_import(context, known.id).await?;
        if import.state != ImportState::Open {
            let detail = format!("the import is {}: it takes nothing more", import.state.as_str());
            return Err(Error::Conflict(detail));
        }
        if (import.piece, import.rows_taken) != (known.piece, known.rows_taken) {
            return Err(Error::Changed("import"));
        }
        let readings = self.store_import_step(context, &step).await?;
        self.keep_refused(context, &import, &step.refused).await?;
        let moved = moved(&import, &step, readings, context.clock.now());
        let tx = self.0.store.begin(context).await?;
        tx.import_update(&moved).await?;
        if moved.state == ImportState::Done {
            let resource = Resource::all(context.tenant, Kind::Device);
            let change = Change::to(recorded(&moved, &body));
            self.record_change(&tx, context, Action::TelemetryWrite, &resource, change).await?;
        }
        tx.commit().await?;
        Ok(view(&moved, body))
    }

    /// Notes rows of a step that are refused, as many as are kept of an import, some at a time:
    /// other writers go in between. A step that is repeated notes the same ones.
    async fn keep_refused(
        &self,
        context: &OpContext,
        import: &Import,
        refused: &[ImportRefusedRow],
    ) -> Result<()> {
        let room = IMPORT_REFUSED_KEPT_MAX.saturating_sub(import.refused);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        for some in refused.get(..room).unwrap_or(refused).chunks(REFUSED_AT_ONCE) {
            let tx = self.0.store.begin(context).await?;
            for ImportRefusedRow { row, column, detail } in some.iter().cloned() {
                tx.import_refusal_add(import.id, &ImportRefusal { row, column, detail }).await?;
            }
            tx.commit().await?;
        }
        Ok(())
    }

    /// How many readings of a step are durable now.
    async fn store_import_step(&self, context: &OpContext, step: &ImportStep) -> Result<u64> {
        let tenant = context.tenant;
        let reach = self.reach(context, Action::TelemetryWrite, Kind::Device)?;
        let devices = self.tenant_devices(context).await?;
        let credential = credential_of(&context.actor.kind);
        let received_at = context.clock.now();
        let (mut submissions, mut counted, mut stored) = (Vec::new(), 0u32, 0u64);
        for (device, readings) in step.batches.iter().filter(|(_, readings)| !readings.is_empty()) {
            let known = devices.get(*device).filter(|device| reach.covers(place_of(device)));
            known.ok_or(Error::NotFound("device"))?;
            self.check_storage(tenant, None, readings)?;
            counted = counted.saturating_add(count_readings(readings));
            stored += readings.len() as u64;
            let (device, readings) = (*device, readings.clone());
            let batch = DeviceBatch { tenant, device, credential, received_at, readings };
            submissions.push(Submission::Readings(batch));
        }
        self.admit_readings(tenant, None, counted)?;
        if !submissions.is_empty() {
            self.submit(tenant, submissions).await?;
        }
        Ok(stored)
    }

    /// Ends an import: what was stored stays.
    #[boxed]
    pub async fn cancel_import(&self, context: &OpContext, id: ImportId) -> Result<()> {
        let (import, body) = self.own_import(context, id).await?;
        if import.state != ImportState::Open {
            return Ok(());
        }
        let at = context.clock.now();
        let ended = Import { state: ImportState::Cancelled, ended_at: Some(at), ..import.clone() };
        let tx = self.0.store.begin(context).await?;
        tx.import_update(&ended).await?;
        let resource = Resource::all(context.tenant, Kind::Device);
        let change = Change::from_to(recorded(&import, &body), recorded(&ended, &body));
        self.record_change(&tx, context, Action::TelemetryWrite, &resource, change).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Rows that an import refused, behind one of them.
    #[boxed]
    pub async fn import_refused(
        &self,
        context: &OpContext,
        id: ImportId,
        (after, rows_max): (u64, u64),
    ) -> Result<Vec<ImportRefusedRow>> {
        self.own_import(context, id).await?;
        let rows = self.0.store.read(context).await?.import_refusals(id, after, rows_max).await?;
        let resource = Resource::all(context.tenant, Kind::Device);
        self.note(context, Action::TelemetryWrite, &resource, "done");
        let row = |one: ImportRefusal| {
            let ImportRefusal { row, column, detail } = one;
            ImportRefusedRow { row, column, detail }
        };
        Ok(rows.into_iter().map(row).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_moves_on_piece_by_piece() {
        let import = new_import(ImportId::from_bytes([1; 16]), Vec::new(), Timestamp::EPOCH);
        let refused = ImportRefusedRow { row: 3, column: 1, detail: "wrong".to_owned() };
        let step = ImportStep { rows: 5, refused: vec![refused], ..ImportStep::default() };
        let within = moved(&import, &step, 4, Timestamp::EPOCH);
        assert_eq!((within.piece, within.rows_taken, within.rows_before), (0, 5, 0));
        assert_eq!((within.rows, within.readings, within.refused), (5, 4, 1));
        let last = ImportStep { rows: 2, ends_piece: Some(8), ends_file: true, ..step };
        let done = moved(&within, &last, 1, Timestamp::EPOCH);
        assert_eq!((done.piece, done.rows_taken, done.rows_before), (1, 0, 8));
        assert_eq!((done.state, done.rows, done.readings), (ImportState::Done, 7, 5));
    }
}
