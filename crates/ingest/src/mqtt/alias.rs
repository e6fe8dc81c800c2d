//! Topic aliases of one connection, both ways (MQTT 5.0, 3.3.2.3.4). They end with it.

use veritwin_domain::LimitExceeded;

use super::topic;
use super::wire::{Fault, PROTOCOL_ERROR};

/// Topic Alias Maximum that a client is told: so many topics it may name by number.
pub const TOPIC_ALIAS_MAXIMUM: u16 = 16;

const TOPIC_ALIAS_INVALID: u8 = 0x94;
const QUOTA_EXCEEDED: u8 = 0x97;

/// The aliases that a client has given.
#[derive(Debug, Default)]
pub(crate) struct InboundAliases {
    /// The topic of alias 1, 2 and so on; empty where there is none.
    topics: Vec<String>,
}

impl InboundAliases {
    /// The topic of a message with an alias. One that comes with a topic gets it as its new
    /// meaning; that allocates only when the topic is another one than before.
    pub(crate) fn resolve<'a>(
        &'a mut self,
        name: &'a str,
        alias: u16,
        topic_bytes_max: usize,
    ) -> Result<&'a str, Fault> {
        if alias == 0 {
            let text = format!("topic alias: expected 1 to {TOPIC_ALIAS_MAXIMUM}, found 0");
            return Err(Fault { code: TOPIC_ALIAS_INVALID, text });
        }
        if alias > TOPIC_ALIAS_MAXIMUM {
            let (max, actual) = (usize::from(TOPIC_ALIAS_MAXIMUM), usize::from(alias));
            let limit = LimitExceeded { name: "topic_alias_maximum", max, actual };
            return Err(Fault { code: TOPIC_ALIAS_INVALID, text: limit.to_string() });
        }
        let index = usize::from(alias) - 1;
        if name.is_empty() {
            let known = self.topics.get(index).filter(|topic| !topic.is_empty());
            return known.map(String::as_str).ok_or_else(|| {
                let text = format!("topic alias {alias} was given no topic in this connection");
                Fault { code: PROTOCOL_ERROR, text }
            });
        }
        let (max, actual) = (topic_bytes_max, name.len());
        if actual > max {
            let limit = LimitExceeded { name: "topic_bytes_max", max, actual };
            return Err(Fault { code: QUOTA_EXCEEDED, text: limit.to_string() });
        }
        if self.topics.len() <= index {
            self.topics.resize_with(index + 1, String::new);
        }
        if let Some(topic) = self.topics.get_mut(index)
            && topic != name
        {
            topic.clear();
            topic.push_str(name);
        }
        Ok(name)
    }
}

/// The aliases that the broker has given, for a client that allows some.
#[derive(Debug, Default)]
pub(crate) struct OutboundAliases {
    max: usize,
    /// The topic of alias 1, 2 and so on.
    topics: Vec<String>,
}

/// How a message names its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Naming {
    pub(crate) alias: Option<u16>,
    /// The client knows the alias: the topic is left out.
    pub(crate) is_known: bool,
}

impl Naming {
    /// By the topic alone.
    pub(crate) const PLAIN: Self = Self { alias: None, is_known: false };
}

impl OutboundAliases {
    /// `asked` is the client's Topic Alias Maximum.
    pub(crate) fn new(asked: u16) -> Self {
        Self { max: usize::from(asked.min(TOPIC_ALIAS_MAXIMUM)), topics: Vec::new() }
    }

    /// How to name `name`. An alias that is not known yet has to be kept by [`Self::sent`].
    pub(crate) fn naming(&self, name: &str) -> Naming {
        let known = self.topics.iter().position(|topic| topic == name);
        // A topic that ends in an id comes once: an alias would only make it longer.
        let is_new = known.is_none() && self.topics.len() < self.max && !topic::ends_in_id(name);
        let index = known.or(is_new.then_some(self.topics.len()));
        let alias = index.and_then(|index| u16::try_from(index + 1).ok());
        Naming { alias, is_known: known.is_some() }
    }

    /// A message went out with this naming.
    pub(crate) fn sent(&mut self, name: &str, naming: Naming) {
        if naming.alias.is_some() && !naming.is_known {
            self.topics.push(name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inbound() {
        let mut aliases = InboundAliases::default();
        let mut check = |name: &str, alias: u16, expect: Result<&str, u8>| {
            let found = aliases.resolve(name, alias, 8).map_err(|fault| fault.code);
            assert_eq!(found, expect, "{name} {alias}");
        };
        check("", 2, Err(PROTOCOL_ERROR));
        check("b", 2, Ok("b"));
        check("", 2, Ok("b"));
        check("", 1, Err(PROTOCOL_ERROR));
        check("c", 2, Ok("c"));
        check("", 2, Ok("c"));
        check("d", TOPIC_ALIAS_MAXIMUM, Ok("d"));
        check("e", 0, Err(TOPIC_ALIAS_INVALID));
        check("e", TOPIC_ALIAS_MAXIMUM + 1, Err(TOPIC_ALIAS_INVALID));
        check("longer than 8", 3, Err(QUOTA_EXCEEDED));
        check("", 3, Err(PROTOCOL_ERROR));
    }

    #[test]
    fn outbound() {
        let mut aliases = OutboundAliases::new(2);
        let mut check = |name: &str, alias: Option<u16>, is_known: bool| {
            let naming = aliases.naming(name);
            assert_eq!(naming, Naming { alias, is_known }, "{name}");
            aliases.sent(name, naming);
        };
        check("a/7", None, false);
        check("a", Some(1), false);
        check("a", Some(1), true);
        check("b", Some(2), false);
        check("c", None, false);
        check("b", Some(2), true);
        assert_eq!(OutboundAliases::new(0).naming("a"), Naming::PLAIN);
        assert_eq!(OutboundAliases::new(u16::MAX).max, usize::from(TOPIC_ALIAS_MAXIMUM));
    }
}
