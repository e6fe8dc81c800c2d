//! Routing: places outside, rules, how it went, and parked messages.

use veritwin_domain::{
    DeviceId, GroupId, RouteDestinationId, RouteMessageId, RouteRuleId, Secret, SiteId, Timestamp,
    UserId,
};

/// How messages get to a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteKind {
    /// Signed, to an HTTPS address.
    Webhook,
    /// To a topic of an MQTT broker.
    Mqtt {
        /// The topic.
        topic: String,
        /// Who signs in; empty: nobody.
        user: String,
    },
    /// To a subject of a NATS server.
    Nats {
        /// The subject.
        topic: String,
        /// Who signs in; empty: nobody.
        user: String,
    },
    /// To another topic inside the tenant.
    Topic {
        /// Its template: `{device}`, `{type}` and `{topic}` stand for those of a message.
        topic: String,
    },
    /// By mail to people of the tenant.
    Mail {
        /// Who.
        people: Vec<UserId>,
    },
}

impl RouteKind {
    /// The name in the API and in records.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Mqtt { .. } => "mqtt",
            Self::Nats { .. } => "nats",
            Self::Topic { .. } => "topic",
            Self::Mail { .. } => "mail",
        }
    }
}

/// A place outside, as it is registered.
#[derive(Debug, Clone)]
pub struct RouteDestinationInput {
    /// How messages get there.
    pub kind: RouteKind,
    /// The password of its user; none: the one that is known stays.
    pub password: Option<Secret<String>>,
    /// What people call it.
    pub name: String,
    /// Who receives what is sent there.
    pub recipient: String,
    /// What for.
    pub purpose: String,
    /// Its address: `https://`, `mqtts://` or `nats://`; empty of what stays inside.
    pub url: String,
    /// Whether whoever registers it says that the recipient is one that the customer instructed.
    pub instructed: bool,
    /// Whether messages go there.
    pub enabled: bool,
}

/// A place outside, without its secret.
#[derive(Debug, Clone)]
pub struct RouteDestinationView {
    /// The place.
    pub id: RouteDestinationId,
    /// What is set of it.
    pub input: RouteDestinationInput,
    /// Who said that the recipient is instructed.
    pub instructed_by: String,
    /// When that was.
    pub instructed_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// For `ETag` and `If-Match`.
    pub version: i64,
}

/// Which messages a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteMatch {
    /// Messages of devices to topics, by an MQTT topic filter.
    Messages {
        /// The filter.
        topic: String,
    },
    /// Readings. What is empty narrows nothing.
    Readings {
        /// Of these devices, and of those in these groups.
        devices: Vec<DeviceId>,
        /// Groups, as they are when a message comes.
        groups: Vec<GroupId>,
        /// Of devices of these types.
        types: Vec<String>,
        /// Of devices of this twin.
        twin: Option<SiteId>,
        /// Of these series.
        keys: Vec<String>,
        /// Of devices whose attributes are as all of these say.
        attributes: Vec<RouteAttribute>,
    },
}

/// An attribute that a device has to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteAttribute {
    /// `server`, `shared` or `client`.
    pub scope: String,
    /// Its name.
    pub name: String,
    /// What it has to be: a text, a number, true or false.
    pub equals: serde_json::Value,
}

/// A rule, as it is written.
#[derive(Debug, Clone)]
pub struct RouteRuleInput {
    /// What people call it.
    pub name: String,
    /// Which messages it is about.
    pub matches: RouteMatch,
    /// A condition that has to hold besides; none: every message.
    pub expression: Option<String>,
    /// Where they go.
    pub destinations: Vec<RouteDestinationId>,
    /// Whether it holds.
    pub enabled: bool,
}

/// A rule.
#[derive(Debug, Clone)]
pub struct RouteRuleView {
    /// The rule.
    pub id: RouteRuleId,
    /// What it says.
    pub input: RouteRuleInput,
    /// When it was made.
    pub created_at: Timestamp,
    /// For `ETag` and `If-Match`.
    pub version: i64,
}

/// A place that was just made, or was given another secret.
#[derive(Debug, Clone)]
pub struct MadeRouteDestination {
    /// The place.
    pub view: RouteDestinationView,
    /// What its messages are signed with, of a webhook; shown once.
    pub secret: Option<Secret<String>>,
}

/// What became of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSample {
    /// The HTTP status; none: nothing was answered.
    pub status: Option<u16>,
    /// Why it did not get through, in words; none: it did.
    pub problem: Option<String>,
}

/// Which parked messages are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct RouteParkedQuery {
    /// By this rule.
    pub rule: Option<RouteRuleId>,
    /// To this place.
    pub destination: Option<RouteDestinationId>,
}

/// A parked message, without what it says.
#[derive(Debug, Clone)]
pub struct RouteParkedView {
    /// The message.
    pub id: RouteMessageId,
    /// By which rule.
    pub rule: RouteRuleId,
    /// Where to.
    pub destination: RouteDestinationId,
    /// Of which device.
    pub device: DeviceId,
    /// Its size, in bytes.
    pub bytes: u64,
    /// Why it is parked.
    pub reason: &'static str,
    /// What the other side answered.
    pub status: Option<u64>,
    /// When it was taken up.
    pub created_at: Timestamp,
    /// Since when it is parked.
    pub parked_at: Timestamp,
}
