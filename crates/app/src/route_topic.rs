//! Messages that rules send to other topics inside their tenant, through the broker. Refuses topics
//! of the platform's own, and what was passed on too often already.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use veritwin_domain::{CredentialId, DeviceId, RelayMessage, TenantId};
use veritwin_metastore::RouteFailure;

use crate::route_body::RouteBody;
use crate::route_delivery::Tried;
use crate::{App, Error, Result};

/// How often a message may be passed on: rules that feed each other end there.
const ROUTE_HOPS_MAX: u8 = 3;
const TOPIC_BYTES_MAX: usize = 1024;
/// What no rule sends to: the device API, topics of one device, Sparkplug, provisioning, and what
/// begins with `$`.
const OWN: [&str; 6] = ["v1/", "v2/", "devices/", "spBv1.0/", "/provision/", "$"];
/// Names a message in its user properties (MQTT 5.0, 3.3.2.3.7), the same for every try.
const ID_PROPERTY: &str = "message-id";
const USER_PROPERTY: u8 = 0x26;
const PAYLOAD_FORMAT: u8 = 0x01;
/// What of readings stands for their topic.
const READINGS: &str = "telemetry";
const PLACES: [&str; 3] = ["device", "type", "topic"];

/// The broker.
#[async_trait]
pub trait TopicBroker: Send + Sync {
    /// Publishes a message inside its tenant. `Ok` says that it is durable and was offered to
    /// everybody who has subscribed.
    async fn publish(&self, message: Arc<RelayMessage>) -> Result<()>;
}

/// The way to the broker, once there is one.
#[derive(Default)]
pub(crate) struct TopicDoor(OnceLock<Arc<dyn TopicBroker>>);

impl std::fmt::Debug for TopicDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TopicDoor").field(&self.0.get().is_some()).finish()
    }
}

/// What stands in a template for a message.
struct Named<'a> {
    device: &'a str,
    kind: &'a str,
    topic: &'a str,
}

/// A name as one level of a topic.
fn level(name: &str) -> String {
    let is_apart = |letter: char| matches!(letter, '/' | '+' | '#' | '$') || letter.is_control();
    name.chars().map(|letter| if is_apart(letter) { '_' } else { letter }).collect()
}

/// A template with everything in its place; none if a place is not one of those that there are.
fn filled(template: &str, named: &Named<'_>) -> Option<String> {
    let (mut topic, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once('{') {
        let (place, after) = after.split_once('}')?;
        topic.push_str(before);
        match place {
            "device" => topic.push_str(&level(named.device)),
            "type" => topic.push_str(&level(named.kind)),
            "topic" => topic.push_str(named.topic),
            _ => return None,
        }
        rest = after;
    }
    topic.push_str(rest);
    (!rest.contains('}')).then_some(topic)
}

/// Why nothing may be sent to a topic; none: it may.
fn fault(topic: &str) -> Option<&'static str> {
    if topic.is_empty() || topic.len() > TOPIC_BYTES_MAX {
        return Some("needs 1 to 1024 bytes");
    }
    if topic.contains(['+', '#']) || topic.chars().any(char::is_control) {
        return Some("must not hold wildcards or control characters");
    }
    let is_own = OWN.iter().any(|own| topic.starts_with(own));
    is_own.then_some("must not begin with v1/, v2/, devices/, spBv1.0/, /provision/ or $")
}

/// Whether a template may be stored.
pub(crate) fn check_template(template: &str) -> Result<()> {
    let wrong = |detail: String| Error::invalid_at("topic", detail);
    let sample = Named { device: "d", kind: "t", topic: "m" };
    let Some(topic) = filled(template, &sample) else {
        let places = PLACES.map(|place| format!("{{{place}}}")).join(", ");
        return Err(wrong(format!("in braces expected one of {places}")));
    };
    fault(&topic).map_or(Ok(()), |detail| Err(wrong(detail.to_owned())))
}

fn property(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![PAYLOAD_FORMAT, 1, USER_PROPERTY];
    for text in [name, value] {
        let length = u16::try_from(text.len()).unwrap_or(0);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

impl App {
    /// Where rules send messages to topics: called once, before the application is started.
    pub fn set_topic_broker(&self, broker: Arc<dyn TopicBroker>) {
        let _known = self.0.routes.topics.0.set(broker);
    }

    /// Publishes a message to the topic that a template names for it.
    pub(crate) async fn pass_on(
        &self,
        (tenant, template): (TenantId, &str),
        (id, hops): (&str, u8),
        body: &RouteBody,
    ) -> Result<Tried> {
        let hops = hops.saturating_add(1);
        if hops > ROUTE_HOPS_MAX {
            return Ok(Tried::failed(RouteFailure::Looped));
        }
        let data = &body.data;
        let named = Named {
            device: &data.device.name,
            kind: &data.device.kind,
            topic: data.topic.as_deref().unwrap_or(READINGS),
        };
        let topic = filled(template, &named).filter(|topic| fault(topic).is_none());
        let Some(topic) = topic else { return Ok(Tried::failed(RouteFailure::NotAllowed)) };
        self.publish_to(tenant, (data.device.id, &topic), (id, hops), body.bytes()?).await
    }

    /// Publishes a sample to the topic that a template names for a device, type and topic that are
    /// called `sample`. It is of no device, so that no rule passes it on.
    pub(crate) async fn pass_on_sample(
        &self,
        (tenant, template): (TenantId, &str),
        (id, body): (&str, Vec<u8>),
    ) -> Result<Tried> {
        let named = Named { device: "sample", kind: "sample", topic: "sample" };
        let topic = filled(template, &named).filter(|topic| fault(topic).is_none());
        let Some(topic) = topic else { return Ok(Tried::failed(RouteFailure::NotAllowed)) };
        let nobody = DeviceId::from_bytes([0; 16]);
        self.publish_to(tenant, (nobody, &topic), (id, ROUTE_HOPS_MAX), body).await
    }

    async fn publish_to(
        &self,
        tenant: TenantId,
        (device, topic): (DeviceId, &str),
        (id, hops): (&str, u8),
        payload: Vec<u8>,
    ) -> Result<Tried> {
        let Some(broker) = self.0.routes.topics.0.get() else { return Ok(Tried::Busy) };
        let message = RelayMessage {
            tenant,
            device,
            credential: CredentialId::from_bytes([0; 16]),
            received_at: self.clock().now(),
            expires_at: None,
            topic: topic.into(),
            properties: property(ID_PROPERTY, id).into(),
            payload: payload.into(),
            qos: 1,
            retain: false,
            hops,
        };
        match broker.publish(Arc::new(message)).await {
            Ok(()) => Ok(Tried::Delivered),
            Err(Error::Limit(_) | Error::Invalid { .. }) => {
                Ok(Tried::failed(RouteFailure::Refused))
            }
            Err(error) => {
                tracing::debug!(%error, "a message was not passed on; trying again");
                Ok(Tried::failed(RouteFailure::Failing))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_name_a_topic_for_each_message() {
        let named = Named { device: "pump 1/a", kind: "heat+#", topic: "site/a/state" };
        let check = |template: &str, expect: Option<&str>| {
            assert_eq!(filled(template, &named).as_deref(), expect, "{template}");
        };
        check("plain", Some("plain"));
        check("out/{type}/{device}", Some("out/heat__/pump 1_a"));
        check("copy/{topic}", Some("copy/site/a/state"));
        check("{topic}{topic}", Some("site/a/statesite/a/state"));
        check("a/{unknown}", None);
        check("a/{device", None);
        check("a/device}", None);
    }

    #[test]
    fn topics_of_the_platform_and_wildcards_are_refused() {
        let check = |template: &str, is_right: bool| {
            assert_eq!(check_template(template).is_ok(), is_right, "{template}");
        };
        for right in ["out/{device}", "{topic}/copy", "v1", "a"] {
            check(right, true);
        }
        for wrong in [
            "",
            "v1/devices/me/telemetry",
            "v1/{topic}",
            "v2/t",
            "spBv1.0/g/NCMD/n",
            "$SYS/x",
            "devices/{device}/x",
            "/provision/request",
            "a/#",
            "a/+/b",
            "a\u{0}b",
            "{name}",
        ] {
            check(wrong, false);
        }
        assert!(fault(&"x".repeat(TOPIC_BYTES_MAX + 1)).is_some());
        // What a message brings in is looked at as well.
        let named = Named { device: "d", kind: "t", topic: "v1/devices/me/telemetry" };
        let topic = filled("{topic}", &named).expect("a topic");
        assert!(fault(&topic).is_some());
    }

    #[test]
    fn the_id_is_a_user_property() {
        assert_eq!(property("id", "7"), [1, 1, 0x26, 0, 2, b'i', b'd', 0, 1, b'7']);
    }
}
