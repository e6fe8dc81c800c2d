//! What devices send, ask and answer: the ingest crate's `Sink`, answered by use cases.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use veritwin_app::model::{AttributesView, PackagePiece, PieceWanted};
use veritwin_app::{CALL_NUMBER_MIN, Error, Load, RefusedPart, RetainedPage};
use veritwin_domain::{
    ClaimRequest, DeviceId, Key, Reading, RelayMessage, Screening, SessionNote, TenantId, Value,
};
use veritwin_ingest::mqtt::{RETAINED_PAGE_BYTES_MAX, RETAINED_PAGE_MESSAGES_MAX, topic_matches};
use veritwin_ingest::{
    Arrivals, Attributes, AttributesRequest, Chunk, ChunkRequest, ClientRpc, DeviceLink,
    DeviceSession, EdgeAnswer, EdgeBatch, EntryRefused, Objection, Origin, PackageKind, Placed,
    Refusal, RpcReply, SeenMessage, Sink, SinkEntry, SubmitError,
};

use super::devices::LiveState;
use super::edge;
use super::ends::Attached;
use super::entries::{submission_of, submit_error, view_of};

/// The device that is counted: a program writes for many.
const fn device_of(origin: Origin<'_>) -> Option<DeviceId> {
    match origin {
        Origin::Device(session) => Some(session.device),
        Origin::Writer(_) => None,
    }
}

/// What is in the way of a device that would be claimed; the text is for the device.
fn claim_error(error: Error) -> SubmitError {
    match error {
        Error::Conflict(detail) => SubmitError::Denied(detail),
        Error::Invalid { detail, at } => {
            SubmitError::Invalid(format!("{}: {detail}", at.as_deref().unwrap_or("secretKey")))
        }
        other => submit_error(other),
    }
}

fn attributes_of(
    scope: std::collections::BTreeMap<String, Value>,
    wanted: Option<&[Key]>,
    everything: bool,
) -> Vec<(Key, Value)> {
    let pairs = scope.into_iter().filter_map(|(key, value)| Some((Key::new(&key).ok()?, value)));
    match wanted {
        Some(keys) => pairs.filter(|(key, _)| keys.contains(key)).collect(),
        None if everything => pairs.collect(),
        None => Vec::new(),
    }
}

#[async_trait]
impl Sink for LiveState {
    fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    fn screening(&self) -> Screening {
        self.app.screening()
    }

    async fn submit(
        &self,
        origin: Origin<'_>,
        entries: Vec<SinkEntry>,
    ) -> Result<Vec<EntryRefused>, SubmitError> {
        self.submit_placed(origin, entries).await.map(|(refused, _)| refused)
    }

    async fn submit_placed(
        &self,
        origin: Origin<'_>,
        mut entries: Vec<SinkEntry>,
    ) -> Result<(Vec<EntryRefused>, Vec<Placed>), SubmitError> {
        let tenant = origin.tenant();
        self.simulated.heard_in(tenant, &mut entries);
        let shown = self.traffic.before(origin, &entries, || self.app.clock().monotonic());
        let submissions = entries.into_iter().map(submission_of).collect();
        let submitted = self.app.submit_placed(tenant, submissions).await;
        let outcome = submitted.map_err(submit_error).map(|(refused, placed)| {
            let refused = refused.into_iter();
            let refused = refused.map(|RefusedPart { index, limit }| EntryRefused { index, limit });
            (refused.collect::<Vec<_>>(), placed)
        });
        if let Some(shown) = shown {
            self.traffic.after(*shown, self.app.clock().monotonic(), &outcome);
        }
        outcome
    }

    fn keeps_sessions(&self) -> bool {
        true
    }

    fn log_tail(&self) -> u64 {
        self.app.log_tail()
    }

    async fn tell_sessions(
        &self,
        tenant: TenantId,
        notes: Vec<SessionNote>,
    ) -> Result<(), SubmitError> {
        self.app.note_sessions(tenant, notes).await.map_err(submit_error)
    }

    async fn sessions_kept_from(&self, position: u64) -> Result<(), SubmitError> {
        self.app.sessions_kept_from(position).await.map_err(submit_error)
    }

    fn admit(&self, origin: Origin<'_>, messages: u32) -> Result<(), SubmitError> {
        self.app.admit_messages(origin.tenant(), device_of(origin), messages).map_err(submit_error)
    }

    fn admit_readings(&self, origin: Origin<'_>, readings: u32) -> Result<(), SubmitError> {
        self.app.admit_readings(origin.tenant(), device_of(origin), readings).map_err(submit_error)
    }

    fn inspect(&self, origin: Origin<'_>, readings: &[Reading]) -> Result<(), Objection> {
        let checked = self.app.check_storage(origin.tenant(), device_of(origin), readings);
        checked.map_err(|error| match error {
            Error::StorageFull(limit) => Objection::Storage(limit),
            other => Objection::Policy(other.told()),
        })
    }

    fn spare_bytes(&self, origin: Origin<'_>) -> Option<u64> {
        self.app.spare_storage(origin.tenant())
    }

    fn pace(&self, origin: Origin<'_>, messages: u32, readings: u32) -> Duration {
        self.app.pace(origin.tenant(), device_of(origin), Load { messages, readings })
    }

    async fn attributes(
        &self,
        session: &DeviceSession,
        request: AttributesRequest,
    ) -> Result<Attributes, SubmitError> {
        let AttributesView { client, shared, .. } = self
            .app
            .device_attributes(session.tenant, session.device, session.credential)
            .await
            .map_err(submit_error)?;
        let everything = request.client.is_none() && request.shared.is_none();
        Ok(Attributes {
            client: attributes_of(client, request.client.as_deref(), everything),
            shared: attributes_of(shared, request.shared.as_deref(), everything),
        })
    }

    async fn retained(
        &self,
        session: &DeviceSession,
        filter: &str,
        after: Option<Arc<str>>,
    ) -> Result<Vec<Arc<RelayMessage>>, SubmitError> {
        let matches = |topic: &str| topic_matches(filter, topic);
        let page = RetainedPage {
            after,
            messages_max: RETAINED_PAGE_MESSAGES_MAX,
            bytes_max: RETAINED_PAGE_BYTES_MAX,
        };
        self.app.retained(session.tenant, &matches, page).await.map_err(submit_error)
    }

    async fn edge_batch(
        &self,
        session: &Arc<DeviceSession>,
        batch: EdgeBatch,
    ) -> Result<EdgeAnswer, SubmitError> {
        edge::take(self, session, batch).await
    }

    async fn rpc_reply(&self, session: &DeviceSession, reply: RpcReply) -> Result<(), SubmitError> {
        let device = (session.tenant, session.device);
        self.show_answer(device, &reply);
        if reply.id >= CALL_NUMBER_MIN {
            let RpcReply { id, body } = reply;
            let answered = self.app.answer_call(device, session.credential, (id, body)).await;
            self.call_notes().waits(device);
            return answered.map_err(submit_error);
        }
        let waiting = self.calls.lock().remove(&(device, reply.id));
        match waiting {
            // Whoever called sees no single source's words; the call ends unanswered.
            Some(_) if self.app.is_in_zone(session.tenant, session.device) => Ok(()),
            // The caller may have gone; the device has done its part.
            Some(answer) => {
                let _ = answer.send(reply.body);
                Ok(())
            }
            None => Err(SubmitError::NotFound("no open call has this number".to_owned())),
        }
    }

    async fn claim(
        &self,
        session: &DeviceSession,
        request: ClaimRequest,
    ) -> Result<(), SubmitError> {
        let device = (session.tenant, session.device, session.credential);
        self.app.offer_device(device, request).await.map_err(claim_error)
    }

    async fn rpc_call(
        &self,
        _session: &DeviceSession,
        call: ClientRpc,
    ) -> Result<String, SubmitError> {
        match call.method.as_str() {
            "getCurrentTime" => Ok(self.app.clock().now().as_millis().to_string()),
            // ThingsBoard's own client libraries ask this when they connect.
            "getSessionLimits" => Ok(serde_json::json!({
                "maxPayloadSize": self.limits.packet_bytes_max,
                "maxInflightMessages": self.limits.receive_maximum,
                "rateLimits": {},
            })
            .to_string()),
            _ => Err(SubmitError::NotFound(
                "the platform answers getCurrentTime and getSessionLimits".to_owned(),
            )),
        }
    }

    fn listens(&self, session: &DeviceSession) {
        self.call_notes().listens(session);
    }

    fn call_delivered(&self, session: &DeviceSession, id: u32) {
        self.call_notes().delivered(session, id);
    }

    fn is_watched(&self, session: &DeviceSession) -> bool {
        self.traffic.is_watched((session.tenant, session.device))
    }

    fn saw(&self, session: &DeviceSession, message: SeenMessage) {
        let clock = self.app.clock();
        let device = (session.tenant, session.device);
        self.traffic.show_message(device, (clock.now(), clock.monotonic()), message);
    }

    fn told(&self, refusal: Refusal) {
        self.traffic.show_refusal(self.app.clock().monotonic(), &refusal);
        self.app.note_told(refusal.tenant, refusal.device, view_of(refusal));
    }

    async fn chunk(
        &self,
        session: &DeviceSession,
        request: ChunkRequest,
    ) -> Result<Chunk, SubmitError> {
        let wanted = PieceWanted {
            is_firmware: request.kind == PackageKind::Firmware,
            expected: request.expected,
            piece_bytes: request.chunk_bytes,
            piece: request.chunk,
            begun: request.begun,
        };
        let device = (session.tenant, session.device);
        let piece = self.app.package_piece(device, session.credential, wanted).await;
        let PackagePiece { package, bytes } = piece.map_err(|error| match error {
            // What it has begun with is not to be had any more.
            Error::Conflict(detail) => SubmitError::NotFound(detail),
            other => submit_error(other),
        })?;
        Ok(Chunk { package, bytes })
    }

    async fn attach(&self, session: &Arc<DeviceSession>, link: DeviceLink) {
        let (ends_at, certificate) = (session.ends_at, session.certificate.clone());
        let (credential, address) = (session.credential, session.address);
        let attached = Attached { credential, address, ends_at, certificate, link };
        let owned = (session.tenant, session.device);
        let link = attached.link.clone();
        self.note_opened(session, &link);
        self.attached.lock().entry(owned).or_default().push(attached);
        self.simulated.heard(owned, credential);
        self.catch_up(session, &link);
        self.app.device_connected(session.tenant, session.device, session.credential, true);
    }

    async fn detach(&self, session: &Arc<DeviceSession>, link: &DeviceLink) {
        let mut attached = self.attached.lock();
        let owned = (session.tenant, session.device);
        if let Some(links) = attached.get_mut(&owned) {
            links.retain(|one| one.link.id() != link.id());
            if links.is_empty() {
                attached.remove(&owned);
            }
        }
        let is_gone = !attached.contains_key(&owned);
        drop(attached);
        if is_gone {
            self.call_notes().gone(owned);
        }
        self.note_ended(session, link);
        self.app.device_connected(session.tenant, session.device, session.credential, false);
    }
}
