//! The egress register: the closed list of places the platform may speak to, and a count of what
//! went there. A destination that is not in it is refused before any packet leaves (promise P02).

use std::collections::BTreeMap;
use std::net::IpAddr;

use parking_lot::Mutex;

/// Most destinations at once: many tenants with as many routing destinations as they may have.
pub const DESTINATIONS_MAX: usize = 100_000;

/// Why a place may be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DestinationKind {
    /// A sub-processor of the platform: mail relay, payment, cloud.
    SubProcessor,
    /// A recipient that the customer instructed.
    Recipient,
    /// A part of the platform run beside it: the ledger archive, a database.
    OwnPart,
}

impl DestinationKind {
    /// The name used in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SubProcessor => "sub_processor",
            Self::Recipient => "recipient",
            Self::OwnPart => "own_part",
        }
    }
}

/// A host and port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// Host name or address, lower case.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Destination {
    /// A destination; the host is compared without regard to case.
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_ascii_lowercase(), port }
    }

    /// Whether this names the same machine, where TLS may be left out.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// The destination is not in the register.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("destination {host}:{port} is not registered: nothing was sent")]
pub struct NotRegistered {
    /// The host asked for.
    pub host: String,
    /// The port asked for.
    pub port: u16,
}

/// One row of the register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where.
    pub destination: Destination,
    /// Why it may be spoken to.
    pub kind: DestinationKind,
    /// For what, in plain words.
    pub purpose: String,
    /// How often it was spoken to since the start.
    pub calls: u64,
}

/// The closed list of destinations.
#[derive(Debug, Default)]
pub struct EgressRegister {
    rows: Mutex<BTreeMap<Destination, Row>>,
}

impl EgressRegister {
    /// Adds a destination; one that is there keeps its count.
    pub fn register(&self, destination: Destination, kind: DestinationKind, purpose: &str) {
        let mut rows = self.rows.lock();
        if rows.len() >= DESTINATIONS_MAX && !rows.contains_key(&destination) {
            tracing::error!("limit destinations_max exceeded: a destination was not registered");
            return;
        }
        let row =
            Row { destination: destination.clone(), kind, purpose: purpose.to_owned(), calls: 0 };
        rows.entry(destination).or_insert(row);
    }

    /// Takes a destination out.
    pub fn withdraw(&self, destination: &Destination) {
        self.rows.lock().remove(destination);
    }

    /// Takes a destination out that was put in for this purpose; another's stays.
    pub fn withdraw_of(&self, destination: &Destination, purpose: &str) {
        let mut rows = self.rows.lock();
        if rows.get(destination).is_some_and(|row| row.purpose == purpose) {
            rows.remove(destination);
        }
    }

    /// Asked before every outgoing connection; counts it.
    pub fn check(&self, destination: &Destination) -> Result<(), NotRegistered> {
        match self.rows.lock().get_mut(destination) {
            Some(row) => {
                row.calls += 1;
                Ok(())
            }
            None => Err(NotRegistered { host: destination.host.clone(), port: destination.port }),
        }
    }

    /// The whole register, for its page and its promise check.
    pub fn rows(&self) -> Vec<Row> {
        self.rows.lock().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_registered_is_called() {
        let register = EgressRegister::default();
        let relay = Destination::new("Mail.Example", 465);
        assert!(register.check(&relay).is_err());
        register.register(relay.clone(), DestinationKind::SubProcessor, "alert mail");
        assert!(register.check(&Destination::new("mail.example", 465)).is_ok());
        assert!(register.check(&Destination::new("mail.example", 25)).is_err());
        assert_eq!(register.rows()[0].calls, 1);
        register.register(relay.clone(), DestinationKind::Recipient, "a customer's");
        register.withdraw_of(&relay, "a customer's");
        assert!(register.check(&relay).is_ok(), "it is there for another purpose");
        register.withdraw(&relay);
        assert!(register.check(&relay).is_err());
    }

    #[test]
    fn loopback_is_recognised() {
        for (host, expect) in [
            ("localhost", true),
            ("127.0.0.2", true),
            ("[::1]", true),
            ("10.0.0.1", false),
            ("mail.example", false),
        ] {
            assert_eq!(Destination::new(host, 1).is_loopback(), expect, "{host}");
        }
    }
}
