//! Gives the MQTT broker its sessions back, before anybody connects: the log is read from where
//! they begin in it. Those of devices that are gone or were handed over end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use veritwin_app::{App, SessionEntry};
use veritwin_domain::{CredentialId, DeviceId, TenantId};
use veritwin_ingest::mqtt::{Broker, Restoring, WaitingWill};

use crate::by_tenant::for_each_tenant;

/// The records are asked so often about a will, and an answer, or the next time, is waited for so
/// long.
const ASKED_MAX: u32 = 3;
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// The start waits so long until it is known whose sessions are over. Of the rest it is asked on
/// while the platform runs.
const ASKED_AT_START: Duration = Duration::from_secs(10);
/// So many wills of a tenant are looked at at once.
const WILLS_AT_ONCE: usize = 8;

/// Whose a session is.
type Owner = (TenantId, DeviceId, CredentialId);

/// What the last end of the platform has left.
pub(crate) struct Restored {
    /// Of connections that it has cut off.
    pub(crate) wills: Vec<WaitingWill>,
    pub(crate) unasked: Unasked,
}

/// Owners of sessions that may be over: it is not known yet whether they may come in still. A
/// device is deleted, handed over or locked out first, and its sessions end after that: a process
/// that is killed in between leaves them.
#[derive(Default)]
pub(crate) struct Unasked(Mutex<BTreeSet<Owner>>);

impl Unasked {
    /// Ends the sessions of those who are lost. Those of whom it cannot be said stay in.
    async fn ask(&self, app: &App, broker: &Broker) {
        let all = self.0.lock().clone();
        let of_tenants = all.into_iter().map(|owner| (owner.0, owner));
        for_each_tenant(of_tenants, |owners| self.ask_of_tenant(app, broker, owners)).await;
    }

    async fn ask_of_tenant(&self, app: &App, broker: &Broker, owners: Vec<Owner>) {
        let Some((tenant, ..)) = owners.first().copied() else { return };
        let of_tenant: Vec<_> = owners.iter().map(|(_, device, one)| (*device, *one)).collect();
        let asking = app.credentials_lost(tenant, &of_tenant);
        let lost = match timeout(ASK_TIMEOUT, asking).await {
            Ok(Ok(lost)) => lost,
            Ok(Err(error)) => {
                tracing::debug!(%tenant, %error, "sessions were not looked at");
                return;
            }
            Err(_) => {
                tracing::debug!(%tenant, "sessions were not looked at in time");
                return;
            }
        };
        for (device, credential) in lost {
            tracing::info!(%tenant, %device, "a session of a lost credential is over");
            broker.end_sessions_of(tenant, device, Some(credential));
        }
        let mut unasked = self.0.lock();
        for owner in &owners {
            unasked.remove(owner);
        }
    }

    /// Asks on until all is known, or the platform stops.
    pub(crate) async fn ask_on(self, app: App, broker: Arc<Broker>, stop: CancellationToken) {
        while !self.0.lock().is_empty() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(ASK_TIMEOUT) => self.ask(&app, &broker).await,
            }
        }
    }
}

/// Restores the sessions, but for those of credentials that let nobody in any more.
pub(crate) async fn restore_sessions(app: &App, broker: &Arc<Broker>) -> anyhow::Result<Restored> {
    let from = app.sessions_from().await?;
    let (reader, restoring) = (app.clone(), Restoring::new(Arc::clone(broker), from));
    let reading = tokio::task::spawn_blocking(move || read(&reader, from, restoring));
    let wills = reading.await.context("reading sessions stopped")??.finish();
    let unasked = Unasked(Mutex::new(broker.owners_of_kept().into_iter().collect()));
    if timeout(ASKED_AT_START, unasked.ask(app, broker)).await.is_err() {
        tracing::warn!("whether restored sessions are over was not known in time: it is asked on");
    }
    Ok(Restored { wills, unasked })
}

/// Publishes wills in their time. Whose credential is not one any more has none: that it was
/// revoked may be newer than what the log says of its session. It is asked of tenants beside each
/// other: one that is slow holds up no others' wills.
pub(crate) async fn publish_wills(app: App, wills: Vec<WaitingWill>, tasks: TaskTracker) {
    let of_tenants = wills.into_iter().map(|will| (will.session().tenant, will));
    for_each_tenant(of_tenants, |wills| publish_of_tenant(&app, wills, &tasks)).await;
}

async fn publish_of_tenant(app: &App, wills: Vec<WaitingWill>, tasks: &TaskTracker) {
    let publish = |will| publish_will(app, will, tasks);
    stream::iter(wills).for_each_concurrent(WILLS_AT_ONCE, publish).await;
}

async fn publish_will(app: &App, will: WaitingWill, tasks: &TaskTracker) {
    if !is_wanted(app, &will).await {
        return;
    }
    let will = if is_of_host(app, &will).await { will.of_sparkplug_host() } else { will };
    tasks.spawn(will.publish());
}

/// Whether the credential still is one. Where that cannot be said for long the will is wanted: that
/// a device is gone has to be told.
async fn is_wanted(app: &App, will: &WaitingWill) -> bool {
    let own = will.session();
    let (tenant, device) = (own.tenant, own.device);
    for _ in 0..ASKED_MAX {
        let asking = app.is_credential(tenant, device, own.credential);
        match timeout(ASK_TIMEOUT, asking).await {
            Ok(Ok(true)) => return true,
            Ok(Ok(false)) => {
                tracing::info!(%tenant, %device, "the will of a lost credential is none");
                return false;
            }
            Ok(Err(error)) => {
                tracing::debug!(%tenant, %device, %error, "a will was not looked at");
                sleep(ASK_TIMEOUT).await;
            }
            Err(_) => tracing::debug!(%tenant, %device, "a will was not looked at in time"),
        }
    }
    tracing::warn!(%tenant, %device, "a will is published unasked");
    true
}

/// Whether its device is a host application of Sparkplug now. Where that cannot be said it is none.
async fn is_of_host(app: &App, will: &WaitingWill) -> bool {
    let (tenant, device) = (will.session().tenant, will.session().device);
    match timeout(ASK_TIMEOUT, app.is_sparkplug_host(tenant, device)).await {
        Ok(Ok(is_host)) => return is_host,
        Ok(Err(error)) => {
            tracing::warn!(%tenant, %device, %error, "whether a will is of a Sparkplug host");
        }
        Err(_) => {
            tracing::warn!(%tenant, %device, "whether a will is of a Sparkplug host, in time")
        }
    }
    false
}

fn read(app: &App, from: u64, mut restoring: Restoring) -> veritwin_app::Result<Restoring> {
    app.read_sessions(from, &mut |_, entry| {
        if let SessionEntry::Note(note) = entry {
            restoring.look(&note);
        }
    })?;
    restoring.begin();
    app.read_sessions(from, &mut |position, entry| match entry {
        SessionEntry::Message(message) => restoring.message(position, &message),
        SessionEntry::Note(note) => restoring.note(&note),
    })?;
    Ok(restoring)
}
