//! Work that takes a whole core for a while, in a thread of its own and of less priority: what
//! devices and people wait for comes first.

use tokio::sync::oneshot;

use crate::error::TelemetryError;

/// How much nicer than others such a thread is, from 0 to 19. It still goes on when everybody is
/// busy: what memory holds has to get out.
const NICE: i32 = 10;

/// Runs `work` apart. [`TelemetryError::Stopped`] if there is no thread to be had, or it ended.
pub(crate) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, TelemetryError> {
    let (done, waits) = oneshot::channel();
    let run = move || {
        // On Linux this is about the thread that asks. Without it the work only disturbs more.
        let nice = std::env::var("VT_NICE").ok().and_then(|n| n.parse().ok()).unwrap_or(NICE);
        if let Err(error) = rustix::process::setpriority_process(None, nice) {
            tracing::debug!(%error, "segments are made at the usual priority");
        }
        // Whoever asked may be gone.
        let _ = done.send(work());
    };
    let thread = std::thread::Builder::new().name("segments".to_owned()).spawn(run);
    thread.map_err(|_| TelemetryError::Stopped)?;
    waits.await.map_err(|_| TelemetryError::Stopped)
}
