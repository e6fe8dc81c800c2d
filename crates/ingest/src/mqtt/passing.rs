//! Messages that the platform passes on to another topic of their tenant, by a rule: made durable
//! like what a device publishes, then put before who has subscribed.

use std::sync::Arc;

use tokio::time::sleep;
use veritwin_domain::RelayMessage;

use super::broker::Broker;
use super::relay::{NOBODY, Report};
use crate::model::{DeviceSession, Origin, SinkEntry};
use crate::sparkplug::NO_CREDENTIAL;
use crate::traits::SubmitError;

impl Broker {
    /// Publishes a message that is no client's own. `Ok` says that it is durable, and that
    /// everybody has been offered it who has subscribed. What it costs in deliveries is waited for.
    pub async fn pass_on(&self, message: Arc<RelayMessage>) -> Result<(), SubmitError> {
        // While it is held, what stands in the log before the message is not let go.
        let epoch = self.sessions.epoch();
        let session = DeviceSession::new(message.tenant, message.device, NO_CREDENTIAL);
        let origin = Origin::Device(&session);
        let entry = SinkEntry::Relay { message: Arc::clone(&message), refusal_recorded: false };
        let (refused, placed) = self.sink.submit_placed(origin, vec![entry]).await?;
        if let Some(one) = refused.into_iter().next() {
            return Err(SubmitError::Limit(one.limit));
        }
        let position = placed.first().map(|(_, position)| *position);
        let mut fanout = self.sessions.relay_of(message.tenant).begin(message, NOBODY).at(position);
        let mut report = Report::default();
        fanout.go_on(usize::MAX, &mut report);
        drop((fanout, epoch));
        if !report.dropped.is_empty() {
            let count = report.dropped.len();
            tracing::warn!(count, "clients read too slowly for a message that was passed on");
        }
        let deliveries = u32::try_from(report.deliveries).unwrap_or(u32::MAX);
        let hold = self.sink.pace(Origin::Device(&session), 0, deliveries);
        if !hold.is_zero() {
            sleep(hold).await;
        }
        Ok(())
    }
}
