//! Gives the MQTT broker its sessions back, before anybody connects: the log is read from where
//! they begin in it.

use std::sync::Arc;

use anyhow::Context;
use tokio_util::task::TaskTracker;
use veritwin_app::{App, SessionEntry};
use veritwin_ingest::mqtt::{Broker, Restoring, WaitingWill};

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
/// revoked may be newer than what the log says of its session.
pub(crate) async fn publish_wills(app: App, wills: Vec<WaitingWill>, tasks: TaskTracker) {
    for will in wills {
        let own = will.session();
        let (tenant, device) = (own.tenant, own.device);
        match app.is_credential(tenant, device, own.credential).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::info!(%tenant, %device, "the will of a lost credential is none");
                continue;
            }
            Err(error) => tracing::warn!(%tenant, %device, %error, "a will is published unasked"),
        }
        let will = match app.is_sparkplug_host(tenant, device).await {
            Ok(true) => will.of_sparkplug_host(),
            Ok(false) => will,
            Err(error) => {
                tracing::warn!(%tenant, %device, %error, "whether a will is of a Sparkplug host");
                will
            }
        };
        tasks.spawn(will.publish());
    }
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
