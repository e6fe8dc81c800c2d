//! Messages that rules send to other topics inside their tenant, handed to the broker.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use veritwin_app::{Error, TopicBroker};
use veritwin_domain::RelayMessage;
use veritwin_ingest::SubmitError;
use veritwin_ingest::mqtt::Broker;

/// The broker, as long as there is one: it holds the application.
struct Topics(Weak<Broker>);

/// The way to the broker.
pub(crate) fn to(broker: &Arc<Broker>) -> Arc<dyn TopicBroker> {
    Arc::new(Topics(Arc::downgrade(broker)))
}

#[async_trait]
impl TopicBroker for Topics {
    async fn publish(&self, message: Arc<RelayMessage>) -> veritwin_app::Result<()> {
        let stopped = || Error::Unavailable("the broker stopped".to_owned());
        let broker = self.0.upgrade().ok_or_else(stopped)?;
        broker.pass_on(message).await.map_err(|error| match error {
            SubmitError::Limit(limit) => Error::Limit(limit),
            SubmitError::Invalid(detail) => Error::invalid(detail),
            other => Error::Unavailable(other.to_string()),
        })
    }
}
