//! Watches for sessions of devices that are over, by the platform's clock, and for those whose
//! certificate may not count any more.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use veritwin_app::App;

use crate::api::LiveState;

/// How often it is looked for them.
const INTERVAL: Duration = Duration::from_secs(1);

/// Watches until the platform stops.
pub(crate) async fn watch(app: App, live: Arc<LiveState>, stop: CancellationToken) {
    tokio::join!(end(app, Arc::clone(&live), stop.clone()), settle(live, stop));
}

/// Ends the sessions of devices whose credential or certificate has ended, by the platform's clock.
async fn end(app: App, live: Arc<LiveState>, stop: CancellationToken) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => live.end_what_ended(app.clock().now()),
        }
    }
}

/// Looks at the certificates of sessions when what vouches for them has changed.
async fn settle(live: Arc<LiveState>, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = live.settle_doubts() => {}
    }
}
