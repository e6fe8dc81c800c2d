//! The platform behind `veritwin bench mqtt --plain`: a new directory, a listener without TLS on
//! the loopback interface, and an end with its standard input. Only this command opens such a
//! listener: no configuration names it, and `serve` and `demo` do not come here.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use veritwin_ingest::mqtt::Broker;
use veritwin_ingest::{PeerInfo, Transport};

use crate::config::{Config, Database, Objects};
use crate::run::Platform;

/// Out of file descriptors, mostly: let others finish before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Refuses a directory and a database that are there: what is measured without TLS is nobody's
/// data.
pub(super) fn refuse_old(data: &Path, config: &Config) -> anyhow::Result<()> {
    ensure!(
        config.database == Database::default() && config.objects == Objects::default(),
        "a benchmark keeps records and objects in a directory of its own: leave database.url, \
         database.owner_url and objects.url alone"
    );
    ensure!(
        data.symlink_metadata().is_err(),
        "a benchmark makes a directory of its own, and {} is there already",
        data.display()
    );
    Ok(())
}

/// Listens and says so, until the benchmark has gone.
pub(super) async fn run(platform: Platform) -> anyhow::Result<()> {
    let socket = TcpListener::bind("127.0.0.1:0").await.context("a port of the benchmark's own")?;
    let address = socket.local_addr()?;
    let (broker, stop, tasks) = platform.broker();
    tasks.spawn(accept(socket, Arc::clone(broker), stop.clone(), tasks.clone()));
    let mut signals = platform.announce(Some(("mqtt_plain", json!(address.to_string()))))?;
    let mut input = tokio::io::stdin();
    let mut byte = [0; 1];
    tokio::select! {
        () = signals.come() => {}
        // Nobody writes there: it ends when the other end is gone.
        _ = input.read(&mut byte) => {}
    }
    platform.shut_down().await;
    Ok(())
}

async fn accept(
    socket: TcpListener,
    broker: Arc<Broker>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = socket.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let broker = Arc::clone(&broker);
        // The broker bounds how many there are.
        tasks.spawn(async move {
            broker.serve(stream, PeerInfo::new(Some(peer), Transport::Mqtt3)).await;
        });
    }
}
