//! Places outside as they are kept: how messages get there, and which of them are in the egress
//! register.

use std::collections::HashMap;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use veritwin_domain::{RouteDestinationId, Secret, TenantId, UserId};
use veritwin_keys::sha256;
use veritwin_metastore::RouteDestination;
use veritwin_outbound::guard::Target;
use veritwin_outbound::register::{Destination, DestinationKind, EgressRegister};

use crate::model::{RouteDestinationInput, RouteKind};
use crate::route_topic::check_template;
use crate::{Error, Result};

const TOPIC_BYTES_MAX: usize = 1024;
const USER_BYTES_MAX: usize = 255;
const PASSWORD_BYTES_MAX: usize = 1024;
/// Why such a place is in the egress register.
pub(crate) const ROUTE_PURPOSE: &str = "routing destination that a customer registered";

/// How messages get to a place, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoredKind {
    Webhook,
    Mqtt { topic: String, user: String },
    Nats { topic: String, user: String },
    Topic { topic: String },
    Mail { people: Vec<UserId> },
}

impl StoredKind {
    pub(crate) fn of(kind: RouteKind) -> Self {
        match kind {
            RouteKind::Webhook => Self::Webhook,
            RouteKind::Mqtt { topic, user } => Self::Mqtt { topic, user },
            RouteKind::Nats { topic, user } => Self::Nats { topic, user },
            RouteKind::Topic { topic } => Self::Topic { topic },
            RouteKind::Mail { people } => Self::Mail { people },
        }
    }

    /// Who signs in there; empty: nobody.
    pub(crate) fn user(&self) -> &str {
        if let Self::Mqtt { user, .. } | Self::Nats { user, .. } = self { user } else { "" }
    }

    pub(crate) fn shown(self) -> RouteKind {
        match self {
            Self::Webhook => RouteKind::Webhook,
            Self::Mqtt { topic, user } => RouteKind::Mqtt { topic, user },
            Self::Nats { topic, user } => RouteKind::Nats { topic, user },
            Self::Topic { topic } => RouteKind::Topic { topic },
            Self::Mail { people } => RouteKind::Mail { people },
        }
    }

    /// Whether somebody signs in there with a password.
    pub(crate) const fn has_password(&self) -> bool {
        matches!(self, Self::Mqtt { .. } | Self::Nats { .. })
    }

    /// Whether messages leave the platform there.
    pub(crate) const fn leads_outside(&self) -> bool {
        !matches!(self, Self::Topic { .. })
    }

    /// The place outside that an address names; none of what stays inside.
    pub(crate) fn target(&self, url: &str) -> Result<Option<Target>> {
        let refused = |text: String| Error::invalid_at("url", text);
        let parsed = |url: &str| Target::parse(url).map_err(|error| refused(error.to_string()));
        let (scheme, port) = match self {
            Self::Webhook => return parsed(url).map(Some),
            Self::Topic { .. } | Self::Mail { .. } if url.is_empty() => return Ok(None),
            Self::Topic { .. } | Self::Mail { .. } => {
                return Err(refused("a destination of this kind has no address".to_owned()));
            }
            Self::Mqtt { .. } => ("mqtts://", 8883),
            Self::Nats { .. } => ("nats://", 4222),
        };
        let rest = url.strip_prefix(scheme).filter(|rest| !rest.contains(['/', '?']));
        let rest = rest.ok_or_else(|| refused(format!("expected the form {scheme}host:port")))?;
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| is_digits(port));
        let more = if has_port { String::new() } else { format!(":{port}") };
        parsed(&format!("https://{rest}{more}/")).map(Some)
    }
}

/// What is kept of a place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredDestination {
    pub(crate) kind: StoredKind,
    pub(crate) name: String,
    pub(crate) recipient: String,
    pub(crate) purpose: String,
    pub(crate) url: String,
    pub(crate) instructed_by: String,
    pub(crate) instructed_at_us: i64,
}

impl StoredDestination {
    pub(crate) fn read(one: &RouteDestination) -> Result<Self> {
        let damaged = |_| Error::Internal("a routing destination is damaged".to_owned());
        serde_json::from_slice(&one.body).map_err(damaged)
    }

    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::Internal(error.to_string()))
    }

    /// How the egress register names it; none of what stays inside.
    pub(crate) fn place(&self) -> Result<Option<Destination>> {
        Ok(self.kind.target(&self.url)?.as_ref().map(place_at))
    }
}

/// A place, and how messages get there.
pub(crate) struct Outlet {
    pub(crate) name: String,
    pub(crate) kind: StoredKind,
    /// None of what stays inside.
    pub(crate) target: Option<Target>,
    /// What is signed with, or the password.
    pub(crate) secret: Secret<Vec<u8>>,
}

impl Outlet {
    pub(crate) fn of(one: RouteDestination) -> Result<Self> {
        let StoredDestination { kind, name, url, .. } = StoredDestination::read(&one)?;
        let target = kind.target(&url)?;
        Ok(Self { name, kind, target, secret: Secret::new(one.secret) })
    }

    /// How the egress register names it; none of what stays inside.
    pub(crate) fn place(&self) -> Option<Destination> {
        self.target.as_ref().map(place_at)
    }
}

/// Which places of which tenants are in the egress register.
#[derive(Debug, Default)]
pub(crate) struct RoutePlaces(Mutex<HashMap<(TenantId, RouteDestinationId), Destination>>);

impl RoutePlaces {
    /// Whether a tenant names a place.
    pub(crate) fn names(&self, place: &Destination) -> bool {
        self.0.lock().values().any(|known| known == place)
    }

    /// Enters a place, or takes it out; what nobody names any more leaves the register.
    pub(crate) fn put(
        &self,
        register: &EgressRegister,
        whose: (TenantId, RouteDestinationId),
        place: Option<Destination>,
    ) {
        let mut places = self.0.lock();
        let gone = match place {
            Some(place) => {
                register.register(place.clone(), DestinationKind::Recipient, ROUTE_PURPOSE);
                places.insert(whose, place.clone()).filter(|known| *known != place)
            }
            None => places.remove(&whose),
        };
        if let Some(gone) = gone
            && places.values().all(|known| *known != gone)
        {
            register.withdraw_of(&gone, ROUTE_PURPOSE);
        }
    }

    /// Takes out the places of a tenant that are not its any more.
    pub(crate) fn keep(
        &self,
        register: &EgressRegister,
        tenant: TenantId,
        is_kept: impl Fn(RouteDestinationId) -> bool,
    ) {
        let is_gone =
            |whose: &(TenantId, RouteDestinationId)| whose.0 == tenant && !is_kept(whose.1);
        let gone: Vec<_> = self.0.lock().keys().copied().filter(is_gone).collect();
        for whose in gone {
            self.put(register, whose, None);
        }
    }

    /// Every place that is in the register, and whose it is.
    pub(crate) fn all(&self) -> Vec<((TenantId, RouteDestinationId), Destination)> {
        self.0.lock().iter().map(|(whose, place)| (*whose, place.clone())).collect()
    }
}

/// An address without what stands behind the host, which may be a secret of the receiver's, and a
/// digest by which one sees that it changed.
pub(crate) fn url_recorded(url: &str) -> (String, String) {
    let begin = url.find("://").map_or(0, |at| at + 3);
    let end = url[begin..].find(['/', '?']).map_or(url.len(), |at| begin + at);
    let shown = url.get(..end).unwrap_or_default();
    let rest = if end < url.len() { "/…" } else { "" };
    let digest = hex::encode(sha256(url.as_bytes()).get(..8).unwrap_or_default());
    (format!("{shown}{rest}"), digest)
}

/// The topic or subject of a place; none of a webhook.
pub(crate) fn topic_of(kind: &RouteKind) -> Option<&str> {
    match kind {
        RouteKind::Webhook | RouteKind::Mail { .. } => None,
        RouteKind::Mqtt { topic, .. }
        | RouteKind::Nats { topic, .. }
        | RouteKind::Topic { topic } => Some(topic),
    }
}

/// A topic that one may publish to, or a subject; a user and a password that fit a packet.
pub(crate) fn check_kind(input: &RouteDestinationInput) -> Result<()> {
    let password = input.password.as_ref().map_or("", |password| password.expose().as_str());
    let (topic, user, is_topic) = match &input.kind {
        RouteKind::Webhook | RouteKind::Mail { .. } if password.is_empty() => return Ok(()),
        RouteKind::Webhook => {
            let detail = "a webhook has a signing secret, which is made here, and no password";
            return Err(Error::invalid_at("password", detail));
        }
        RouteKind::Topic { topic } if password.is_empty() => return check_template(topic),
        RouteKind::Topic { .. } | RouteKind::Mail { .. } => {
            let detail = "nobody signs in to a destination of this kind";
            return Err(Error::invalid_at("password", detail));
        }
        RouteKind::Mqtt { topic, user } => {
            let is_topic = !topic.contains(['+', '#']) && !topic.chars().any(char::is_control);
            (topic, user, is_topic)
        }
        RouteKind::Nats { topic, user } => {
            let is_visible = topic.bytes().all(|byte| byte.is_ascii_graphic());
            let is_whole = !topic.split('.').any(str::is_empty);
            (topic, user, is_visible && is_whole && !topic.contains(['*', '>']))
        }
    };
    if topic.is_empty() || topic.len() > TOPIC_BYTES_MAX || !is_topic {
        let detail = "needs a topic or subject of 1 to 1024 bytes without wildcards";
        return Err(Error::invalid_at("topic", detail));
    }
    if user.len() > USER_BYTES_MAX || user.chars().any(char::is_control) {
        return Err(Error::invalid_at("user", "at most 255 bytes, no control characters"));
    }
    if user.is_empty() && !password.is_empty() {
        return Err(Error::invalid_at("user", "needed with a password"));
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(Error::invalid_at("password", "at most 1024 bytes"));
    }
    Ok(())
}

/// The place of an address, as the egress register names it.
pub(crate) fn place_at(target: &Target) -> Destination {
    Destination::new(target.host(), target.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_brokers_are_taken_apart() {
        let named = || (String::new(), String::new());
        let (topic, user) = named();
        let mqtt = StoredKind::Mqtt { topic, user };
        let (topic, user) = named();
        let nats = StoredKind::Nats { topic, user };
        let check = |kind: &StoredKind, url: &str, expect: Option<(&str, u16)>| {
            let found = kind.target(url).ok().flatten();
            let found = found.as_ref().map(|target| (target.host(), target.port()));
            assert_eq!(found, expect, "{url}");
        };
        check(&mqtt, "mqtts://broker.example", Some(("broker.example", 8883)));
        check(&mqtt, "mqtts://[::1]:443", Some(("[::1]", 443)));
        check(&mqtt, "mqtts://[::1]", Some(("[::1]", 8883)));
        check(&mqtt, "mqtt://broker.example", None);
        check(&mqtt, "mqtts://broker.example/x", None);
        check(&mqtt, "mqtts://user:secret@broker.example", None);
        check(&nats, "nats://broker.example", Some(("broker.example", 4222)));
        check(&StoredKind::Webhook, "https://hooks.example/", Some(("hooks.example", 443)));
        check(&StoredKind::Webhook, "nats://broker.example", None);
        let inside = StoredKind::Topic { topic: String::new() };
        assert!(matches!(inside.target(""), Ok(None)));
        assert!(inside.target("https://hooks.example/").is_err());
    }

    #[test]
    fn records_leave_out_what_may_be_a_secret() {
        for (url, expect) in [
            ("https://hooks.example/services/T0/secret", "https://hooks.example/…"),
            ("https://hooks.example:8443?key=secret", "https://hooks.example:8443/…"),
            ("mqtts://broker.example:8883", "mqtts://broker.example:8883"),
        ] {
            let (shown, digest) = url_recorded(url);
            assert_eq!((shown.as_str(), digest.len()), (expect, 16));
        }
        let digest = |url| url_recorded(url).1;
        assert_ne!(digest("https://hooks.example/a"), digest("https://hooks.example/b"));
    }

    #[test]
    fn a_place_stays_registered_as_long_as_somebody_names_it() {
        let (register, places) = (EgressRegister::default(), RoutePlaces::default());
        let tenant = |number| TenantId::from_bytes([number; 16]);
        let id = RouteDestinationId::from_bytes([9; 16]);
        let hook = Destination::new("hooks.example", 443);
        places.put(&register, (tenant(1), id), Some(hook.clone()));
        places.put(&register, (tenant(2), id), Some(hook.clone()));
        places.put(&register, (tenant(1), id), None);
        assert!(register.check(&hook).is_ok(), "the second names it");
        places.put(&register, (tenant(2), id), Some(Destination::new("other.example", 443)));
        assert!(register.check(&hook).is_err());
        places.put(&register, (tenant(1), id), Some(hook.clone()));
        places.keep(&register, tenant(2), |_| false);
        assert!(register.check(&hook).is_ok(), "another's stay");
        places.keep(&register, tenant(1), |_| false);
        assert!(register.check(&hook).is_err() && places.all().is_empty());
    }
}
