//! SUBSCRIBE and UNSUBSCRIBE: what a session is sent from now on.

use std::sync::Arc;

use veritwin_domain::LimitExceeded;

use super::device::Device;
use super::frame::Version;
use super::note::Note;
use super::packet::{Options, Subscribe, Unsubscribe};
use super::session::{SessionState, Subscription};
use super::topic::{self, FilterKind, Subscriber, TopicError};

/// Retain Handling (MQTT 5.0, 3.8.3.1).
const ONLY_NEW: u8 = 1;
const NEVER: u8 = 2;

impl Device {
    pub(super) fn subscribe(&mut self, subscribe: &Subscribe<'_>) {
        let Subscribe { packet_id, filters, id } = subscribe;
        let mut codes = Vec::with_capacity(filters.len());
        let (mut first_error, mut told) = (None, Vec::new());
        let session = Arc::clone(&self.state);
        let mut state = session.lock();
        let listened = (self.link.wants_rpc(), state.wants_child_rpc());
        let me = self.session.device.to_string();
        for (filter, options) in filters {
            let kind = match self.check_subscription(&state, filter, &me) {
                Ok(kind) => kind,
                Err(error) => {
                    codes.push(self.subscription_code(filter, &error));
                    first_error.get_or_insert_with(|| error.text());
                    continue;
                }
            };
            let filter = (*filter).to_owned();
            let subscription = Subscription { filter, kind, options: *options, id: *id };
            if kind == FilterKind::Relay && !state.is_over() {
                session.relay().insert(&session, &subscription);
            }
            let known = find(&state, &subscription.filter);
            if wants_retained(&subscription, known.is_none()) {
                state.retained.want(&subscription);
            }
            if state.held.is_some() {
                told.push((subscription.clone(), known.is_none()));
            }
            match known.and_then(|at| state.subscriptions.get_mut(at)) {
                Some(known) => *known = subscription,
                None => state.subscriptions.push(subscription),
            }
            codes.push(options.qos);
        }
        state.state_interests(&self.link, self.session.gateway);
        drop(state);
        self.listens(listened);
        // Of a session that is kept a subscription is durable before the client is told.
        let is_told = !told.is_empty() && self.note(&Note::Subscribed(told));
        let out = if is_told { &mut self.pending.late } else { &mut self.output };
        self.encoder.subscribed(out, *packet_id, &codes, first_error.as_deref());
    }

    fn check_subscription(
        &self,
        state: &SessionState,
        filter: &str,
        me: &str,
    ) -> Result<FilterKind, TopicError> {
        let limits = self.limits();
        // Version 3 knows no shares.
        let is_v5 = self.encoder.version == Version::V5;
        let is_gateway = self.session.gateway;
        let who = Subscriber { id: me, is_gateway, knows_shared: is_v5 };
        let kind = topic::check_filter(filter, who, limits)?;
        let max = limits.subscriptions_max;
        if find(state, filter).is_none() && state.subscriptions.len() >= max {
            let limit = LimitExceeded { name: "subscriptions_max", max, actual: max + 1 };
            return Err(TopicError::Limit(limit));
        }
        Ok(kind)
    }

    fn subscription_code(&self, filter: &str, error: &TopicError) -> u8 {
        if self.encoder.version == Version::V3 {
            return 0x80;
        }
        match error {
            TopicError::Malformed(_) => 0x8f,
            TopicError::Limit(_) => 0x97,
            TopicError::Unsupported(_) if filter.starts_with(topic::SHARED) => 0x9e,
            TopicError::Unsupported(_) => 0x83,
            TopicError::Unknown | TopicError::Foreign | TopicError::NoGateway => 0x87,
        }
    }

    pub(super) fn unsubscribe(&mut self, unsubscribe: &Unsubscribe<'_>) {
        let Unsubscribe { packet_id, filters } = unsubscribe;
        let (mut codes, mut told) = (Vec::with_capacity(filters.len()), Vec::new());
        let session = Arc::clone(&self.state);
        let mut state = session.lock();
        for filter in filters {
            let Some(at) = find(&state, filter) else {
                codes.push(0x11);
                continue;
            };
            if state.subscriptions.remove(at).kind == FilterKind::Relay {
                session.relay().remove(session.number(), filter);
            }
            state.retained.forget(filter);
            told.push((*filter).to_owned());
            codes.push(0);
        }
        state.state_interests(&self.link, self.session.gateway);
        drop(state);
        let is_told = !told.is_empty() && self.note(&Note::Unsubscribed(told));
        let out = if is_told { &mut self.pending.late } else { &mut self.output };
        self.encoder.unsubscribed(out, *packet_id, &codes);
    }
}

/// Retained messages go to a subscription as its options ask; to a share none does.
fn wants_retained(subscription: &Subscription, is_new: bool) -> bool {
    let Options { retain_handling, .. } = subscription.options;
    subscription.kind == FilterKind::Relay
        && topic::share(&subscription.filter).0.is_none()
        && retain_handling != NEVER
        && (is_new || retain_handling != ONLY_NEW)
}

fn find(state: &SessionState, filter: &str) -> Option<usize> {
    state.subscriptions.iter().position(|known| known.filter == filter)
}
