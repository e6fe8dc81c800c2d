//! Retained messages for a client that has subscribed (MQTT 5.0, 3.3.1.3): fetched for one
//! subscription at a time, and sent before what was published since.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use veritwin_domain::RelayMessage;

use super::device::Device;
use super::outbox::Delivery;
use super::session::Subscription;
use super::topic;

/// Retained messages and the subscription that they are for.
pub(crate) type Found = (Subscription, Vec<Arc<RelayMessage>>);

/// What a connection has to send of retained messages.
#[derive(Default)]
pub(super) struct Retained {
    /// Subscriptions that wait for theirs; of each filter one.
    wanted: VecDeque<Subscription>,
    /// Messages that wait to be sent. They share their content with the store.
    pub(super) backlog: VecDeque<Delivery>,
}

impl Retained {
    pub(super) fn want(&mut self, subscription: &Subscription) {
        self.forget(&subscription.filter);
        self.wanted.push_back(subscription.clone());
    }

    pub(super) fn forget(&mut self, filter: &str) {
        self.wanted.retain(|known| known.filter != filter);
    }
}

impl Device {
    /// Whether messages that were published since have to wait.
    pub(super) fn awaits_retained(&self) -> bool {
        !self.fetching.is_empty()
            || !self.retained.backlog.is_empty()
            || !self.retained.wanted.is_empty()
    }

    /// Asks for the retained messages of the next subscription, once those of the one before are
    /// sent: what waits is bounded by what a tenant may have.
    pub(super) fn fetch_retained(&mut self) {
        if !self.fetching.is_empty() || !self.retained.backlog.is_empty() {
            return;
        }
        let Some(subscription) = self.retained.wanted.pop_front() else { return };
        let (sink, session) = (Arc::clone(&self.broker.sink), Arc::clone(&self.session));
        let fetch = async move {
            let found = sink.retained(&session, &subscription.filter).await;
            let messages = found.unwrap_or_else(|error| {
                tracing::warn!(device = %session.device, %error, "retained messages not read");
                Vec::new()
            });
            (subscription, messages)
        };
        self.fetching.push(fetch.boxed());
    }

    /// Retained messages were read.
    pub(crate) fn found_retained(&mut self, (subscription, messages): Found) {
        for message in messages {
            let is_foreign =
                topic::owner(&message.topic).is_some() && message.device != self.session.device;
            if is_foreign {
                continue;
            }
            let ids = subscription.id.into_iter().collect();
            let delivery = Delivery::of(&message, subscription.options.qos, true, ids);
            self.retained.backlog.push_back(delivery);
        }
    }
}

/// Where retained messages are read.
pub(crate) type Fetching = FuturesUnordered<BoxFuture<'static, Found>>;
