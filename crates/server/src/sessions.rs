//! Gives the MQTT broker its sessions back, before anybody connects: the log is read from where
//! they begin in it.

use std::sync::Arc;

use anyhow::Context;
use tokio_util::task::TaskTracker;
use veritwin_app::{App, SessionEntry};
use veritwin_ingest::mqtt::{Broker, Restoring};

/// Restores the sessions, and publishes the wills of those whose connection is lost in their time.
pub(crate) async fn restore_sessions(
    app: &App,
    broker: &Arc<Broker>,
    tasks: &TaskTracker,
) -> anyhow::Result<()> {
    let from = app.sessions_from().await?;
    let (app, restoring) = (app.clone(), Restoring::new(Arc::clone(broker), from));
    let reading = tokio::task::spawn_blocking(move || read(&app, from, restoring));
    let restored = reading.await.context("reading sessions stopped")??;
    for will in restored.finish() {
        tasks.spawn(will.publish());
    }
    Ok(())
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
