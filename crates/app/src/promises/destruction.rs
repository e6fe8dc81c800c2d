//! P51: readings of a device of nobody are sealed and destroyed as anybody's would be. Their keys
//! are gone, nothing of them can be opened, the certificate is right, and no tenant has readings
//! past its plan's time that no hold names.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use veritwin_access::jobs;
use veritwin_domain::{
    CredentialId, DestructionId, DeviceBatch, DeviceId, Key, OpContext, Quality, Reading,
    Timestamp, Value,
};
use veritwin_keys::DekId;
use veritwin_log::Entry;
use veritwin_metastore::{DestructionState, StoredDestruction};

use super::run::InApp;
use super::{PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::destruction_certificate::{check_certificate, destroyed_key};
use crate::destruction_scope::StoredScope;
use crate::destructions::{Body, fresh};
use crate::retention::Kept;
use crate::{App, Error, Result};

const PROMISE: u8 = 51;
const VERSION: u32 = 1;
/// Readings that are written and destroyed.
const READINGS: i64 = 24;

pub(super) fn probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, PROMISE, VERSION, |app: App| async move { app.check_destruction().await })
}

/// What a round has found.
struct Found {
    written: u64,
    left: u64,
    keys: usize,
    live: usize,
    certificate: String,
    overdue: u64,
}

impl App {
    /// A destruction of nothing that is over.
    pub(super) async fn probe_destruction(
        &self,
        context: &OpContext,
        things: &mut BTreeMap<&'static str, String>,
    ) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        let known = tx.destructions().await?.first().map(|known| known.id);
        let id = known.unwrap_or_else(|| DestructionId::generate(context.at, self.rng()));
        if known.is_none() {
            let stored = StoredDestruction {
                id,
                state: DestructionState::Done,
                body: fresh(context, (StoredScope::Month { month: 0 }, false), "").to_store()?,
                version: 1,
                requested_at: context.at,
            };
            tx.destruction_create(&stored).await?;
            tx.commit().await?;
        }
        things.insert("destruction", id.to_string());
        Ok(())
    }

    async fn check_destruction(&self) -> Result<ProbeAnswer> {
        self.ensure_probe_tenant().await?;
        let found = self.destroy_and_look(&self.job_in(jobs::RETENTION, PROBE_TENANT)).await?;
        let facts = vec![
            ("readings written".to_owned(), found.written.to_string()),
            ("left after their destruction".to_owned(), found.left.to_string()),
            ("keys of them".to_owned(), found.keys.to_string()),
            ("keys that can still be used".to_owned(), found.live.to_string()),
            ("SHA-256 of the certificate".to_owned(), found.certificate),
            ("sections of all tenants past their time".to_owned(), found.overdue.to_string()),
        ];
        let failed = |summary: &str| ProbeAnswer::Failed {
            summary: summary.to_owned(),
            facts: facts.clone(),
            place: "keyring".to_owned(),
        };
        Ok(if found.written == 0 || found.keys == 0 {
            ProbeAnswer::CouldNotRun("the readings to destroy were not sealed".to_owned())
        } else if found.live > 0 {
            failed("A key is still there of readings that were destroyed.")
        } else if found.left > 0 {
            failed("Readings that were destroyed can still be read.")
        } else if found.overdue > 0 {
            failed("Readings past their plan's time are there without a hold.")
        } else {
            let summary = "Destroyed readings cannot be opened, and the certificate is right.";
            ProbeAnswer::Passed { summary: summary.to_owned(), facts }
        })
    }

    #[boxed]
    async fn destroy_and_look(&self, context: &OpContext) -> Result<Found> {
        let device = DeviceId::generate(context.at, self.rng());
        let act = DestructionId::generate(context.at, self.rng());
        self.write_readings(context, device).await?;
        let scope = StoredScope::Device { device };
        let selection = self.selection(context, &scope).await?;
        let written = self.0.engine.selected(&selection).await?.points;
        let done = self.0.engine.destroy(&selection, *act.as_bytes()).await?;
        let retired = self.0.keys.retired_by(*act.as_bytes());
        let mut body: Body = fresh(context, (scope, false), "promise check");
        body.done.readings = done.points;
        body.keys =
            retired.iter().map(|one| destroyed_key(one, selection.method(&one.scope))).collect();
        self.destroy_shredded(context.tenant, &body.scope, &body.keys)?;
        let made =
            self.certify(context.tenant, (act.to_string().as_str(), context.at), &body).await?;
        let checked = check_certificate(made.to_text(None).as_bytes(), Some(&made.public_key))?;
        if checked.is_expected != Some(true) {
            return Err(Error::Internal("a certificate is not by its own key".to_owned()));
        }
        let ids: Vec<DekId> = retired.iter().map(|one| one.id).collect();
        let live = self.0.keys.live(&ids).len();
        let left = self.0.engine.selected(&selection).await?.points;
        let overdue = self.overdue_sections(context).await?;
        let certificate = checked.digest;
        Ok(Found { written, left, keys: ids.len(), live, certificate, overdue })
    }

    pub(super) async fn write_readings(&self, context: &OpContext, device: DeviceId) -> Result<()> {
        let key = Key::new("check").map_err(|error| Error::Internal(error.to_string()))?;
        let reading = |back: i64| Reading {
            key: key.clone(),
            at: Timestamp::from_micros(context.at.as_micros() - back * 1000),
            value: Value::Integer(back),
            quality: Quality::Good,
        };
        let batch = DeviceBatch {
            tenant: context.tenant,
            device,
            credential: CredentialId::from_bytes([0; 16]),
            received_at: context.at,
            readings: (0..READINGS).map(reading).collect(),
        };
        self.0.log.append(vec![Entry::from(batch)]).await?;
        Ok(())
    }

    /// Sections past their plans' time after a purge, measured by the clock that purges trust.
    #[boxed]
    async fn overdue_sections(&self, context: &OpContext) -> Result<u64> {
        self.purge_records().await?;
        let platform = self.job(jobs::RETENTION);
        let tx = self.0.store.read_platform(&platform).await?;
        let trusted = tx.clock_high_water().await?.unwrap_or(context.at).min(context.at);
        let holds = tx.holds_in_force(context.at).await?;
        drop(tx);
        let expiries = self.expiries(Kept::Readings, trusted, &holds);
        let overdue = expiries.iter().map(|expiry| self.0.engine.expiring(expiry).sections as u64);
        Ok(overdue.sum())
    }
}
