//! Writes what there is for a client, within a time.

use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::connection::Stream;
use super::device::{Device, End};

/// A client takes what we write within this time.
const WRITE_SECONDS_MAX: u64 = 30;

/// Writes what there is for the client. Who takes nothing of it is let go, and that is recorded.
pub(super) async fn say<S: Stream>(stream: &mut S, device: &mut Device) -> Result<(), End> {
    let Err(error) = write_output(stream, device).await else { return Ok(()) };
    if error.kind() == std::io::ErrorKind::TimedOut {
        device.record_stalled(WRITE_SECONDS_MAX);
    }
    Err(End::Lost)
}

pub(super) async fn write_output<S: Stream>(
    stream: &mut S,
    device: &mut Device,
) -> std::io::Result<()> {
    let output = device.output.split();
    let result = write(stream, &output).await;
    // The buffer is used again unless one long answer made it large.
    drop(output);
    device.output.reserve(64);
    result
}

pub(super) async fn write<S: Stream>(stream: &mut S, bytes: &[u8]) -> std::io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let all = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    tokio::pin!(all);
    // Nearly always all of it is taken at once: then no timer is made.
    if let Poll::Ready(result) = futures::poll!(all.as_mut()) {
        return result;
    }
    timeout(Duration::from_secs(WRITE_SECONDS_MAX), all)
        .await
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}
