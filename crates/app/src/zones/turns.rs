//! Windows of public zones that are over: the budget is spent first, then the numbers become
//! readings of the zone, and then it is noted that they are. A crash in between makes a gap.

use std::sync::Arc;
use std::time::Duration;

use veritwin_access::jobs;
use veritwin_collection::{Book, Release};
use veritwin_domain::{CredentialId, DeviceBatch, Key, Quality, Reading, Timestamp};
use veritwin_metastore::{RegisterKind, RegisterState};

use super::StoredZone;
use super::board::Zone;
use crate::{App, Error, Result, Submission};

/// How often it is looked whether a window is over.
const TICK: Duration = Duration::from_secs(1);
/// How long a zone waits whose window could not be let out: its next turn is a gap, and written.
const AGAIN: Duration = Duration::from_secs(60);

fn json(book: &Book) -> Result<Vec<u8>> {
    serde_json::to_vec(book).map_err(|error| Error::Internal(error.to_string()))
}

impl App {
    /// Brings every zone to memory, before any device is listened to.
    pub(crate) async fn load_zones(&self) -> Result<()> {
        let tx = self.0.store.read_platform(&self.job(jobs::INGEST)).await?;
        let entries = tx.register_entries_of_all(&[RegisterKind::Zone]).await?;
        drop(tx);
        let in_force = |state: RegisterState| state == RegisterState::InForce;
        for (tenant, entry) in entries.into_iter().filter(|(_, entry)| in_force(entry.state)) {
            let stored = StoredZone::read(&entry.body)?;
            let book = super::book_of(&entry)?.begun();
            let attestation = stored.attested();
            let (owner, now) = ((tenant, entry.id), self.clock().now());
            let zone = Zone::new(owner, stored, (attestation, book), now);
            self.0.zones.put(Arc::new(zone));
        }
        Ok(())
    }

    /// Settles windows as they end.
    pub(crate) fn start_zones(&self) {
        let app = self.clone();
        self.0.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = app.0.stop.cancelled() => return,
                    () = tokio::time::sleep(TICK) => {}
                }
                app.settle_zones().await;
            }
        });
    }

    /// Settles what is over, in every zone.
    pub(crate) async fn settle_zones(&self) {
        for zone in self.0.zones.all() {
            if let Err(error) = self.settle_zone(&zone).await {
                zone.wait_until(self.clock().monotonic().saturating_add(AGAIN));
                let zone = zone.id;
                // While a customer's key is away it is so every minute.
                if error.is_withheld() {
                    tracing::debug!(%error, %zone, "a public zone waits for its key");
                } else {
                    tracing::warn!(%error, %zone, "a window of a public zone will be a gap");
                }
            }
        }
    }

    pub(crate) async fn settle_zone(&self, zone: &Arc<Zone>) -> Result<()> {
        let now = self.clock().now();
        if !zone.is_due((now, self.clock().monotonic())) {
            return Ok(());
        }
        let _turn = self.0.zones.turn.lock().await;
        // Meanwhile it may have ended, or been set anew with the book of before.
        if !self.0.zones.holds(zone) {
            return Ok(());
        }
        let context = self.job_in(jobs::INGEST, zone.tenant);
        let devices = self.tenant_devices(&context).await?;
        let there = zone.stored.devices.iter().copied();
        let sources = there.filter(|device| devices.get(*device).is_some()).collect();
        let Some(turn) = zone.settle((now, sources), self.zone_noise()) else { return Ok(()) };
        self.keep_book(zone, turn.book).await?;
        let batches = turn.releases.iter().map(|release| batch(zone, release, now));
        let batches = batches.map(Submission::Readings).collect();
        if let Err(error) = self.submit(zone.tenant, batches).await {
            *zone.book.lock() = turn.book.begun();
            return Err(error);
        }
        *zone.book.lock() = turn.book.done();
        self.keep_book(zone, turn.book.done()).await
    }

    async fn keep_book(&self, zone: &Zone, book: Book) -> Result<()> {
        let context = self.job_in(jobs::INGEST, zone.tenant);
        let tx = self.0.store.begin(&context).await?;
        let mut entry = tx.register_entry(zone.id).await?;
        entry.book = Some(json(&book)?);
        tx.register_entry_update(&entry).await?;
        Ok(tx.commit().await?)
    }
}

/// A window as the zone's device says it.
fn batch(zone: &Zone, release: &Release, received_at: Timestamp) -> DeviceBatch {
    let mut readings = release.readings();
    readings.extend(Key::new("attestation").ok().map(|key| Reading {
        key,
        at: release.to,
        value: zone.attestation.clone(),
        quality: Quality::Good,
    }));
    DeviceBatch {
        tenant: zone.tenant,
        device: zone.stored.output,
        // Nobody comes in as the zone.
        credential: CredentialId::from_bytes([0; 16]),
        received_at,
        readings,
    }
}
