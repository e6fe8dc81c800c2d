//! Gives the MQTT broker its sessions back, before anybody connects: the log is read from where
//! they begin in it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, stream};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use veritwin_app::{App, SessionEntry};
use veritwin_ingest::mqtt::{Broker, Restoring, WaitingWill};

use crate::by_tenant::for_each_tenant;

/// The records are asked so often about a will, and an answer, or the next time, is waited for so
/// long.
const ASKED_MAX: u32 = 3;
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// So many wills of a tenant are looked at at once.
const WILLS_AT_ONCE: usize = 8;

/// Restores the sessions; gives the wills of those whose connection is lost.
pub(crate) async fn restore_sessions(
    app: &App,
    broker: &Arc<Broker>,
) -> anyhow::Result<Vec<WaitingWill>> {
    let from = app.sessions_from().await?;
    let (app, restoring) = (app.clone(), Restoring::new(Arc::clone(broker), from));
    let reading = tokio::task::spawn_blocking(move || read(&app, from, restoring));
    let restored = reading.await.context("reading sessions stopped")??;
    Ok(restored.finish())
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
