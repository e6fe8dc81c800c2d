//! The broker as host application: what it shows of edge nodes, what it writes to them, and what it
//! says of itself in each tenant's tree.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value as Json;
use veritwin_domain::{DeviceId, RelayMessage, TenantId};

use super::broker::Broker;
use super::relay::{Fanout, NOBODY, Report};
use super::topic;
use crate::model::DeviceSession;
use crate::sparkplug::{self, CERTIFICATES, NO_CREDENTIAL, PREFIX, Place, SparkplugView, Written};

/// Why nothing was sent to an edge node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The device is no edge node and behind none, as far as is known since the start.
    #[error("this device has not been born as an edge node or a device of one")]
    Unknown,
    /// No such metric, or a value that is none of its type.
    #[error("{0}")]
    Invalid(String),
    /// Nobody listens.
    #[error("{0}")]
    Offline(&'static str),
}

const DEAD: &str = "the edge node or device is not online";
const DEAF: &str = "the edge node has not subscribed to its commands";

impl Broker {
    /// What is known of a device as an edge node, or behind one, since the start.
    pub fn sparkplug_view(&self, tenant: TenantId, device: DeviceId) -> Option<SparkplugView> {
        self.sparkplug.view(tenant, device)
    }

    /// The same, and of one that was not born since what its birth certificate says.
    pub async fn sparkplug_known(
        &self,
        tenant: TenantId,
        device: DeviceId,
    ) -> Option<SparkplugView> {
        let known = self.sparkplug.view(tenant, device);
        if known.is_some() {
            return known;
        }
        let session = DeviceSession::new(tenant, device, NO_CREDENTIAL);
        let topic = match self.certificates.of(tenant, device) {
            Some(topic) => topic?,
            None => {
                self.look_through_certificates(&session).await?;
                self.certificates.of(tenant, device)??
            }
        };
        let page = self.certificates_of(&session, &topic, None).await?;
        // It may be another device's by now.
        let found = page.iter().find(|one| one.device == device)?;
        sparkplug::of_certificate(found, &self.limits)
    }

    async fn certificates_of(
        &self,
        session: &DeviceSession,
        filter: &str,
        after: Option<Arc<str>>,
    ) -> Option<Vec<Arc<RelayMessage>>> {
        let page = self.sink.retained(session, filter, after).await;
        page.inspect_err(|error| tracing::warn!(%error, "birth certificates")).ok()
    }

    /// Notes which devices of a tenant have certificates; nothing when they cannot be read.
    async fn look_through_certificates(&self, session: &DeviceSession) -> Option<()> {
        let (filter, mut after) = (format!("{CERTIFICATES}#"), None);
        let mut found = HashMap::new();
        loop {
            let page = self.certificates_of(session, &filter, after).await?;
            let Some(last) = page.last() else { break };
            after = Some(Arc::clone(&last.topic));
            found.extend(page.iter().map(|one| (one.device, Arc::clone(&one.topic))));
        }
        self.certificates.note_all(session.tenant, found);
        Some(())
    }

    /// Writes a metric: NCMD to an edge node, DCMD to a device behind one, in the type that its
    /// birth gave. It is sent when this returns, and nothing says that it is carried out.
    pub fn sparkplug_write(
        &self,
        tenant: TenantId,
        device: DeviceId,
        metric: &str,
        value: &Json,
    ) -> Result<(), CommandError> {
        let place = self.sparkplug.place(tenant, device).ok_or(CommandError::Unknown)?;
        let found = place.node.lock().writable(place.device.as_deref(), metric);
        let Some((datatype, alias)) = found else {
            let is_alive = self.sparkplug.view(tenant, device).is_some_and(|view| view.is_online);
            let text = "metric: expected the name of one that the birth has defined";
            let unknown = || CommandError::Invalid(text.to_owned());
            return Err(if is_alive { unknown() } else { CommandError::Offline(DEAD) });
        };
        let sent = sparkplug::to_send(datatype, value)
            .map_err(|text| CommandError::Invalid(format!("value: {text}")))?;
        let of = alias.map_or(Written::Name(metric), Written::Alias);
        let payload = sparkplug::command(of, datatype, &sent, self.clock.now());
        self.send_command((tenant, device), &place, place.device.as_deref(), payload)
    }

    /// Asks an edge node for a new birth, or the one that a device is behind.
    pub fn sparkplug_rebirth(
        &self,
        tenant: TenantId,
        device: DeviceId,
    ) -> Result<(), CommandError> {
        let place = self.sparkplug.place(tenant, device).ok_or(CommandError::Unknown)?;
        let payload = sparkplug::rebirth(self.clock.now());
        self.send_command((tenant, device), &place, None, payload)
    }

    fn send_command(
        &self,
        owner: (TenantId, DeviceId),
        place: &Place,
        device: Option<&str>,
        payload: Vec<u8>,
    ) -> Result<(), CommandError> {
        let topic = sparkplug::of_command(&place.group, &place.node_name, device);
        let message = Arc::new(sparkplug::said(owner, topic, payload, self.clock.now()));
        let fanout = self.sessions.relay_of(message.tenant).begin(message, NOBODY);
        // Others may listen as well, and carry nothing out.
        if !fanout.reaches(|device| place.node.lock().is_of(device)) {
            return Err(CommandError::Offline(DEAF));
        }
        put(fanout);
        Ok(())
    }

    /// Puts a message of the platform's own before its subscribers, at once.
    fn tell(&self, message: Arc<RelayMessage>) {
        put(self.sessions.relay_of(message.tenant).begin(message, NOBODY));
    }

    /// Says in the tree of every tenant with edge nodes that the host goes.
    pub(super) fn end_host(&self) {
        for tenant in self.sparkplug.tenants() {
            self.tell(self.sparkplug.state(tenant, false));
        }
    }

    /// The retained messages of a page, with the state of the host where its topic belongs: that is
    /// not stored, for it is what it is whenever somebody asks.
    pub(super) fn with_state(
        &self,
        tenant: TenantId,
        filter: &str,
        after: Option<&str>,
        mut page: Vec<Arc<RelayMessage>>,
    ) -> Vec<Arc<RelayMessage>> {
        let is_asked_for = filter.starts_with(PREFIX);
        if !is_asked_for && !self.sparkplug.is_used_by(tenant) {
            return page;
        }
        let state = self.sparkplug.state(tenant, true);
        let comes_later = page.last().is_some_and(|last| last.topic < state.topic);
        let is_passed = after.is_some_and(|after| *after >= *state.topic);
        if comes_later || is_passed || !topic::matches(filter, &state.topic) {
            return page;
        }
        if is_asked_for {
            self.sparkplug.tenant(tenant);
        }
        let at = page.partition_point(|one| one.topic < state.topic);
        page.insert(at, state);
        page
    }
}

/// Puts a message before all of its subscribers.
fn put(mut fanout: Fanout) {
    let mut report = Report::default();
    fanout.go_on(usize::MAX, &mut report);
    if !report.dropped.is_empty() {
        let count = report.dropped.len();
        tracing::warn!(count, "clients read too slowly for a message of the platform's own");
    }
}
