//! Devices from an inventory file, in batches that leave the records' one writer free in between.
//! Everything is checked before the first batch; an import that was cut off is completed by
//! importing the same file again, with a report as if it had run through.

use std::collections::{BTreeMap, HashSet};

use async_recursion::async_recursion as boxed;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{Declaration, OpContext, SiteId, TenantId, Timestamp};
use veritwin_metastore::{Device, TenantTx};
use veritwin_twin::inventory::{self, InventoryDevice, InventoryLimits};

use crate::model::{DeviceInput, InventoryOutcome, Placement};
use crate::rule_sight::is_elsewhere;
use crate::sight::Sight;
use crate::stream_book::note_declared;
use crate::{App, Error, Result};

/// Devices that one transaction writes: other writers wait for no more than these.
const DEVICES_AT_ONCE: usize = 64;
/// Where an import that runs, or was cut off, notes how far it is.
const SETTING: &str = "inventory_import";

/// Tenants whose import runs.
#[derive(Debug, Default)]
pub(crate) struct Imports(Mutex<HashSet<TenantId>>);

/// How far an import is; written with each batch, in its transaction.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Progress {
    /// SHA-256 over file and twin.
    file: String,
    began_at_us: i64,
    /// Devices of the file that are written.
    done: usize,
    finished: bool,
}

/// Runs while it lives. However it ends, what is in memory learns of the devices.
struct Running<'a> {
    app: &'a App,
    tenant: TenantId,
    twin: Option<SiteId>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.app.0.imports.0.lock().remove(&self.tenant);
        self.app.0.stream_books.changed(self.tenant);
        self.app.note_devices_changed(self.tenant, self.twin);
    }
}

/// One device of the file, checked.
struct Row {
    row: InventoryDevice,
    device: Device,
    has_place: bool,
}

impl App {
    /// Imports an inventory CSV. Devices that exist are changed. A mistake in the file changes
    /// nothing; what fails later says how much is written, and the same file goes on from there.
    #[boxed]
    pub async fn import_inventory(
        &self,
        context: &OpContext,
        twin: Option<SiteId>,
        bytes: &[u8],
    ) -> Result<InventoryOutcome> {
        self.reach(context, Action::DeviceImport, Kind::Device)?;
        if let Some(twin) = twin {
            self.authorize_twin(context, Action::TwinList, twin)?;
        }
        let rows = self.checked_rows(context, twin, bytes).await?;
        if !self.0.imports.0.lock().insert(context.tenant) {
            let detail = "another inventory is being imported: wait until it is done";
            return Err(Error::Conflict(detail.to_owned()));
        }
        let _running = Running { app: self, tenant: context.tenant, twin };
        let sight = self.sight(context).await?;
        let mut progress = self.import_progress(context, twin, bytes).await?;
        let done_before = progress.done.min(rows.len());
        let mut outcome = InventoryOutcome { created: 0, updated: 0, tokens: Vec::new() };
        let mut place = 0;
        for batch in rows.chunks(DEVICES_AT_ONCE) {
            let end = place + batch.len();
            progress.done = end.max(done_before);
            progress.finished = end == rows.len();
            let began_at = Timestamp::from_micros(progress.began_at_us);
            // What an earlier run made is known by its time.
            let made_since = |place: usize| (place < done_before).then_some(began_at);
            let written = async {
                let tx = self.0.store.begin(context).await?;
                let (mut counts_otherwise, mut moved) = (false, Vec::new());
                for (offset, row) in batch.iter().enumerate() {
                    let since = made_since(place + offset);
                    let row = self.import_row(&tx, context, &sight, row, since, &mut outcome);
                    let Some((stood, known)) = row.await? else { continue };
                    let is_moved = is_elsewhere(&stood, &known);
                    counts_otherwise |= is_moved
                        || (stood.declaration, &stood.kind) != (known.declaration, &known.kind);
                    if is_moved {
                        moved.push(known);
                    }
                }
                self.rules_stay(&tx, context, &sight, &moved).await?;
                let count = tx.usage().await?.devices;
                self.check_quota(context.tenant, crate::tree::Quota::Devices, count)?;
                let body =
                    serde_json::to_vec(&progress).map_err(|e| Error::Internal(e.to_string()))?;
                tx.setting_put(SETTING, &body, None).await?;
                if place == 0 {
                    let resource = Resource::all(context.tenant, Kind::Device);
                    self.record(&tx, context, Action::DeviceImport, &resource).await?;
                }
                tx.commit().await?;
                Ok(counts_otherwise)
            };
            if written.await.map_err(|error| cut_off(error, place, rows.len()))? {
                // What a batch closed or put elsewhere is so from then on, not from the file's end.
                self.0.stream_books.changed(context.tenant);
                self.note_devices_changed(context.tenant, twin);
            }
            place = end;
        }
        Ok(outcome)
    }

    /// Reads the file and checks every row, before anything is written.
    async fn checked_rows(
        &self,
        context: &OpContext,
        twin: Option<SiteId>,
        bytes: &[u8],
    ) -> Result<Vec<Row>> {
        let model = match twin {
            Some(twin) => {
                let tx = self.0.store.read(context).await?;
                let row = tx.twin(twin).await?;
                drop(tx);
                Some(self.load_model(context.tenant, &row).await?)
            }
            None => None,
        };
        let limits = InventoryLimits { screening: self.screening(), ..InventoryLimits::default() };
        let parsed = inventory::parse(bytes, model.as_deref(), &limits);
        let parsed = parsed.map_err(|error| {
            let at = error.place();
            Error::invalid_at(at, error.problem)
        })?;
        parsed.into_iter().map(|row| self.checked_row(context, twin, row)).collect()
    }

    fn checked_row(
        &self,
        context: &OpContext,
        twin: Option<SiteId>,
        row: InventoryDevice,
    ) -> Result<Row> {
        let units: BTreeMap<String, String> = row
            .keys
            .iter()
            .filter(|key| !key.unit.is_empty())
            .map(|key| (key.key.to_string(), key.unit.clone()))
            .collect();
        let has_place = row.space.is_some() || row.element.is_some() || row.position.is_some();
        let input = DeviceInput {
            name: row.name.clone(),
            kind: row.device_type.clone(),
            placement: Placement {
                twin_id: twin,
                space_id: row.space.as_ref().map(ToString::to_string),
                element_id: row.element.as_ref().map(ToString::to_string),
                position: row.position,
            },
            declaration: row.declaration,
            units,
        };
        let device = self.new_device(context, input).map_err(|error| match error {
            Error::Invalid { detail, at } => {
                Error::invalid_at(format!("row {}, {}", row.row, at.unwrap_or_default()), detail)
            }
            other => other,
        })?;
        Ok(Row { row, device, has_place })
    }

    /// Where to go on: at the beginning, or where the same import was cut off.
    async fn import_progress(
        &self,
        context: &OpContext,
        twin: Option<SiteId>,
        bytes: &[u8],
    ) -> Result<Progress> {
        let twin = twin.map_or_else(String::new, |twin| twin.to_string());
        let file = [twin.as_bytes(), b"\n", &veritwin_keys::sha256(bytes)].concat();
        let file = hex::encode(veritwin_keys::sha256(&file));
        let tx = self.0.store.read(context).await?;
        let known = tx.setting(SETTING).await?;
        let known = known.and_then(|known| serde_json::from_slice::<Progress>(&known.body).ok());
        let began_at_us = context.at.as_micros();
        Ok(known.filter(|known| known.file == file && !known.finished).unwrap_or(Progress {
            file,
            began_at_us,
            done: 0,
            finished: false,
        }))
    }

    /// Writes a row; of a device that was there, how it stood and how it stands.
    async fn import_row(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        sight: &Sight,
        Row { row, device, has_place }: &Row,
        made_since: Option<Timestamp>,
        outcome: &mut InventoryOutcome,
    ) -> Result<Option<(Device, Device)>> {
        let Some(mut known) = tx.device_by_name(&row.name).await? else {
            self.authorize_new(context, Action::DeviceImport, device)?;
            tx.device_create(device).await?;
            let (_, token) = self.new_token(tx, context, device.id).await?;
            outcome.created += 1;
            outcome.tokens.push((row.name.clone(), token));
            return Ok(None);
        };
        if let Some(since) = made_since.filter(|since| known.created_at >= *since) {
            self.check_gives_credential(context, &known)?;
            // The token that was made with it never reached anybody.
            for unknown in tx.credentials(known.id).await? {
                if unknown.created_at >= since && unknown.revoked_at.is_none() {
                    tx.credential_revoke(known.id, unknown.id, context.at).await?;
                }
            }
            let (_, token) = self.new_token(tx, context, known.id).await?;
            outcome.created += 1;
            outcome.tokens.push((row.name.clone(), token));
            return Ok(None);
        }
        self.authorize_new(context, Action::DeviceImport, &known)?;
        let stood = known.clone();
        // What the file does not say stays.
        if !row.device_type.is_empty() {
            known.kind.clone_from(&row.device_type);
        }
        known.units.extend(device.units.clone());
        if row.declaration != Declaration::Undeclared {
            known.declaration = row.declaration;
        }
        if *has_place {
            known.twin = device.twin;
            known.placement.clone_from(&device.placement);
        }
        self.authorize_new(context, Action::DeviceImport, &known)?;
        self.check_moved(context, tx, &[(&stood, &known)]).await?;
        self.authorize_protection(tx, context, sight, (&stood, &known)).await?;
        tx.device_update(&known, None).await?;
        note_declared(tx, &stood, &known).await?;
        self.move_alerts(tx, &stood, &known).await?;
        outcome.updated += 1;
        Ok(Some((stood, known)))
    }
}

/// Says how much is written when that is not nothing.
fn cut_off(error: Error, done: usize, all: usize) -> Error {
    // A limit keeps its name.
    if done == 0 || matches!(error, Error::Limit(_)) {
        return error;
    }
    let told = error.told();
    Error::Unavailable(format!(
        "{told}; the first {done} of {all} devices are written: import the same file again to \
         complete it and to get every token"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_that_is_cut_off_says_how_far_it_came_and_not_what_broke_inside() {
        let told = |error: Error| cut_off(error, 3, 9).to_string();
        let broke = told(Error::Internal("log: /srv/data/log/7: bad block".to_owned()));
        assert!(broke.contains("the first 3 of 9") && !broke.contains("/srv"), "{broke}");
        let away = told(Error::Unavailable("the platform's disk is full".to_owned()));
        assert!(away.contains("the platform's disk is full; the first 3 of 9"), "{away}");
        let none = cut_off(Error::Internal("log".to_owned()), 0, 9);
        assert!(matches!(none, Error::Internal(detail) if detail == "log"));
    }
}
