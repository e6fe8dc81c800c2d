//! The broker: who is connected, under which limits, and where messages go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;
use veritwin_domain::{Clock, IngestLimits, Rng};

use super::intake::Intake;
use super::sessions::Sessions;
use super::turns::Turns;
use crate::model::{CloseReason, Transport};
use crate::sparkplug::{Certificates, Host};
use crate::traits::{Login, Sink};

/// Connections beyond `connections_max` that may wait to be told so; further ones are dropped.
pub(super) const TURNED_AWAY_MAX: usize = 1024;

/// What a broker is made of.
#[derive(Clone)]
pub struct BrokerParts {
    /// Who may connect.
    pub login: Arc<dyn Login>,
    /// Where messages go.
    pub sink: Arc<dyn Sink>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// For client ids that the server assigns.
    pub rng: Arc<dyn Rng>,
    /// The bounds.
    pub limits: IngestLimits,
}

/// The MQTT broker. Listeners hand it their streams; it holds no socket itself.
pub struct Broker {
    pub(super) login: Arc<dyn Login>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rng: Arc<dyn Rng>,
    pub(super) limits: IngestLimits,
    pub(super) sessions: Sessions,
    pub(super) sparkplug: Host,
    pub(super) certificates: Certificates,
    pub(super) turns: Turns,
    pub(super) intake: Intake,
    /// Wills that wait for their delay.
    pub(super) waiting_wills: AtomicUsize,
    /// Becomes true when every connection is ended.
    pub(super) closing: watch::Sender<bool>,
    connections: AtomicUsize,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("connections", &self.connections()).finish_non_exhaustive()
    }
}

/// One counted connection.
pub(super) struct Counted<'a>(&'a Broker);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Broker {
    /// A broker without connections.
    pub fn new(parts: BrokerParts) -> Arc<Self> {
        let BrokerParts { login, sink, clock, rng, limits } = parts;
        let (sessions, turns) = (Sessions::default(), Turns::default());
        let (connections, waiting_wills) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let closing = watch::Sender::new(false);
        let sparkplug = Host::new(clock.now());
        Arc::new(Self {
            login,
            sink,
            clock,
            rng,
            limits,
            sessions,
            sparkplug,
            certificates: Certificates::default(),
            turns,
            intake: Intake::default(),
            waiting_wills,
            closing,
            connections,
        })
    }

    /// Open connections, those that have not sent CONNECT yet included.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    /// Ends every connection, at shut-down with [`CloseReason::ShuttingDown`]. Messages that were
    /// read are still made durable and acknowledged; wills do not wait any longer.
    pub fn close_all(&self, reason: CloseReason) {
        if reason == CloseReason::ShuttingDown {
            self.end_host();
        }
        self.sessions.close_all(reason);
        self.closing.send_replace(true);
    }

    pub(super) fn enter(&self) -> (Counted<'_>, usize) {
        let now = self.connections.fetch_add(1, Ordering::AcqRel) + 1;
        (Counted(self), now)
    }

    /// What counts the messages of a connection: looked up once for all that are read from it.
    pub(super) fn counter(transport: Transport) -> metrics::Counter {
        metrics::counter!("veritwin_ingest_messages_total", "transport" => transport.as_str())
    }

    /// Counts refused messages.
    pub(super) fn count_refusals(&self, transport: Transport, refusals: u64) {
        if refusals > 0 {
            let transport = transport.as_str();
            metrics::counter!("veritwin_ingest_refusals_total", "transport" => transport)
                .increment(refusals);
        }
    }
}
