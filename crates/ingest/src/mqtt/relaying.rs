//! Messages that a client publishes to others of its tenant: held to the rules on what must not be
//! kept, made durable with everything else of the read, then put before who has subscribed.

use std::sync::Arc;
use std::time::Duration;

use veritwin_domain::{LimitExceeded, RelayMessage, Rule, Screening};

use super::device::{Close, Device};
use super::frame::PublishView;
use super::intake::PACKET_SECONDS_MAX;
use super::message::Refused;
use super::payload_rules;
use super::properties::{self, PassedOn};
use super::relay::Dropped;
use super::sessions::NO_CREDENTIAL;
use super::topic::{self, TopicError};
use crate::model::{Refusal, RefusalReason, SinkEntry};

impl Device {
    /// Takes a message that is to be relayed; its place in the submission.
    pub(super) fn relay(&mut self, view: &PublishView<'_>) -> Result<Option<usize>, Refused> {
        let message = self.relayable(view)?;
        let refusal_recorded = self.is_recorded(view);
        Ok(Some(self.push_relayed(message, refusal_recorded)))
    }

    /// A message that may be relayed.
    pub(super) fn relayable(&self, view: &PublishView<'_>) -> Result<Arc<RelayMessage>, Refused> {
        let is_own = |id: &str| id == self.session.device.to_string();
        if topic::owner(view.topic).is_some_and(|id| !is_own(id)) {
            return Err(TopicError::Foreign.into());
        }
        let passed = properties::passed_on(view.properties)
            .map_err(|fault| Refused::new(RefusalReason::Payload, fault.text))?;
        if let Some((rule, part)) = refused(self.keys.screening(), view, &passed)? {
            return Err(Refused::new(RefusalReason::Policy, rule.refusal(part)));
        }
        let expiry = passed.expiry_seconds.map(|seconds| Duration::from_secs(u64::from(seconds)));
        Ok(Arc::new(RelayMessage {
            tenant: self.session.tenant,
            device: self.session.device,
            credential: self.session.credential,
            received_at: self.received_at,
            expires_at: expiry.map(|expiry| self.received_at.saturating_add(expiry)),
            topic: view.topic.into(),
            properties: passed.bytes.into(),
            payload: view.payload.into(),
            qos: view.relay_qos,
            retain: view.retain,
            hops: 0,
        }))
    }

    /// Its place in the submission.
    pub(super) fn push_relayed(
        &mut self,
        message: Arc<RelayMessage>,
        refusal_recorded: bool,
    ) -> usize {
        let entry = SinkEntry::Relay { message: Arc::clone(&message), refusal_recorded };
        let at = self.pending.push(&self.session, self.received_at, entry);
        self.pending.relayed.push((at, message));
        at
    }

    /// Durable records, each with its subscriber, that messages are dropped from now on. They name
    /// no credential: the publisher's is not the subscriber's.
    pub(super) fn record_dropped(&mut self, dropped: Vec<Dropped>) {
        let (tenant, received_at) = (self.session.tenant, self.broker.clock.now());
        let of_one = |(device, limit): Dropped| Refusal {
            tenant,
            device,
            credential: NO_CREDENTIAL,
            received_at,
            reason: RefusalReason::Limit,
            detail: format!(
                "limit {limit} reached: messages that others published were not delivered, from \
                 this one on"
            ),
            position: None,
            limit: Some(limit),
            payload_bytes: 0,
        };
        self.record(dropped.into_iter().map(of_one).collect());
    }

    /// A durable record of how many messages to this client were dropped.
    pub(super) fn record_all_dropped(&mut self, count: u64, limit: &'static str) {
        let detail = format!("limit {limit} was reached: {count} messages were not delivered");
        self.record(vec![Refusal {
            tenant: self.session.tenant,
            device: self.session.device,
            credential: self.session.credential,
            received_at: self.broker.clock.now(),
            reason: RefusalReason::Limit,
            detail,
            position: None,
            limit: Some(limit),
            payload_bytes: 0,
        }]);
    }

    /// A durable record that the client has taken nothing of what is for it for so long: its
    /// connection ends.
    pub(super) fn record_stalled(&mut self, seconds: u64) {
        let limit = "write_seconds_max";
        let detail = format!(
            "limit {limit} reached: the client took nothing of what it was sent for {seconds} s; \
             its connection has ended"
        );
        self.record_end(limit, detail);
    }

    /// A large packet that is not whole in time: that is recorded, and the connection closed.
    pub(super) fn check_late(&mut self, is_late: bool) -> Result<(), Close> {
        if !is_late {
            return Ok(());
        }
        let limit = "packet_seconds_max";
        let detail =
            format!("limit {limit} reached: a packet was not whole after {PACKET_SECONDS_MAX} s");
        self.record_end(limit, detail.clone());
        Err(Close::new(0x97, detail))
    }

    fn record_end(&mut self, limit: &'static str, detail: String) {
        let (session, received_at) = (&self.session, self.broker.clock.now());
        let refusal = Refusal {
            tenant: session.tenant,
            device: session.device,
            credential: session.credential,
            received_at,
            reason: RefusalReason::Limit,
            detail,
            position: None,
            limit: Some(limit),
            payload_bytes: 0,
        };
        self.record(vec![refusal]);
    }

    /// Makes records, in one submission.
    fn record(&mut self, refusals: Vec<Refusal>) {
        if refusals.is_empty() {
            return;
        }
        let session = Arc::clone(&self.session);
        for refusal in refusals {
            let at = refusal.received_at;
            self.pending.push(&session, at, SinkEntry::Refusal(refusal));
        }
        let held_until = self.held_until;
        self.submit_pending();
        // A record is nothing that its cause is held back for, nor let go.
        self.held_until = self.held_until.max(held_until);
    }
}

/// The rule that a message breaks, and by which part of it. `Err` where JSON nests deeper than it
/// can be looked into.
fn refused(
    screening: Screening,
    view: &PublishView<'_>,
    passed: &PassedOn<'_>,
) -> Result<Option<(Rule, &'static str)>, LimitExceeded> {
    // A level names what is below it, as a key names its value.
    let of_level = |level: &str| screening.key(level);
    let of_levels = || view.topic.split('/').find_map(of_level);
    if let Some(rule) = screening.text(None, view.topic).or_else(of_levels) {
        return Ok(Some((rule, "the topic of this message")));
    }
    let of_property = |(name, text): &(Option<&str>, &str)| {
        let named = name.and_then(|name| screening.key(name));
        named.or_else(|| screening.text(*name, text))
    };
    if let Some(rule) = passed.texts.iter().find_map(of_property) {
        return Ok(Some((rule, "a property of this message")));
    }
    if let Some(rule) = payload_rules::broken(screening, passed.correlation)? {
        return Ok(Some((rule, "a property of this message")));
    }
    let rule = payload_rules::broken(screening, view.payload)?;
    Ok(rule.map(|rule| (rule, "the payload of this message")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relayed_messages_are_held_to_the_rules() {
        let check = |name: &str, properties: &[u8], payload: &[u8], expect: Option<&str>| {
            let view = PublishView {
                topic: name,
                qos: 0,
                relay_qos: 0,
                retain: false,
                packet_id: 0,
                payload,
                topic_alias: None,
                properties,
            };
            let passed = properties::passed_on(properties).unwrap();
            let found = match refused(Screening::ALL, &view, &passed) {
                Ok(found) => found.map(|(_, part)| part),
                Err(limit) => Some(limit.name),
            };
            assert_eq!(found, expect, "{name} {payload:?}");
        };
        let deep = [b"[".repeat(200), b"]".repeat(200)].concat();
        check("a", b"", &deep, Some("json_nesting_max"));
        let payload = Some("the payload of this message");
        check("a", b"", b"hello", None);
        check("a", b"", b"\xff\x004111111111111111", payload);
        check("a", b"", b"4111 1111 1111 1111", payload);
        check("a", b"", b"{\"n\":\"4111111111111111\"}", payload);
        check("a", b"", b"{\"religion\":1}", payload);
        check("a", b"", b"{\"count\":4111111111111111}", None);
        check("a", b"", b"{4111111111111111", payload);
        check("cards/4111111111111111", b"", b"", Some("the topic of this message"));
        check("patient/heart_rate", b"", b"", Some("the topic of this message"));
        let property = b"\x0e\x26\x00\x08religion\x00\x01x";
        check("a", property, b"", Some("a property of this message"));
        let correlation = b"\x13\x09\x00\x104111111111111111";
        check("a", correlation, b"", Some("a property of this message"));
    }
}
