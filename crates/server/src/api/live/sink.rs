//! What devices send, ask and answer: the ingest crate's `Sink`, answered by use cases.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use veritwin_app::model::{AttributesView, PieceWanted, RefusalView};
use veritwin_app::{CALL_NUMBER_MIN, Error, Load, RefusedPart, RetainedPage, Submission};
use veritwin_domain::{DeviceId, Key, Reading, RelayMessage, Screening, Value};
use veritwin_ingest::mqtt::{RETAINED_PAGE_BYTES_MAX, RETAINED_PAGE_MESSAGES_MAX, topic_matches};
use veritwin_ingest::{
    Arrivals, Attributes, AttributesRequest, ChunkRequest, ClientRpc, DeviceLink, DeviceSession,
    EntryRefused, Objection, Origin, PackageKind, RpcReply, Sink, SinkEntry, SubmitError,
};

use super::devices::{Attached, LiveState};

fn submit_error(error: Error) -> SubmitError {
    match error {
        Error::Forbidden(detail) => SubmitError::Denied(detail),
        Error::NotFound(what) => SubmitError::NotFound(what.to_owned()),
        Error::Rate(exceeded) => SubmitError::Busy {
            detail: exceeded.to_string(),
            limit: Some(exceeded.name),
            retry_after: exceeded.retry_after,
        },
        Error::Crowded(limit) => SubmitError::Busy {
            detail: format!("limit {} is reached, others wait to be written", limit.name),
            limit: Some(limit.name),
            retry_after: veritwin_app::ROOM_TIMEOUT,
        },
        // Sent again they would be refused again.
        Error::Limit(limit) => SubmitError::Limit(limit),
        Error::Invalid { detail, at: Some(at) } => SubmitError::Invalid(format!("{at}: {detail}")),
        Error::Invalid { detail, at: None } => SubmitError::Invalid(detail),
        other => SubmitError::Unavailable(other.to_string()),
    }
}

/// The device that is counted: a program writes for many.
const fn device_of(origin: Origin<'_>) -> Option<DeviceId> {
    match origin {
        Origin::Device(session) => Some(session.device),
        Origin::Writer(_) => None,
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
        let tenant = origin.tenant();
        let submissions = entries
            .into_iter()
            .map(|entry| match entry {
                SinkEntry::Readings(batch) => Submission::Readings(batch),
                SinkEntry::Attributes(update) => Submission::ClientAttributes {
                    device: update.device,
                    credential: update.credential,
                    received_at: update.received_at,
                    entries: update.entries,
                    payload_bytes: update.payload_bytes,
                    refusal_recorded: update.refusal_recorded,
                },
                SinkEntry::Relay { message, refusal_recorded } => {
                    Submission::Relay { message, refusal_recorded }
                }
                SinkEntry::Refusal(refusal) => Submission::Refusal {
                    device: refusal.device,
                    credential: refusal.credential,
                    refusal: RefusalView {
                        at: refusal.received_at,
                        reason: refusal.reason.as_str(),
                        detail: refusal.detail,
                        position: refusal.position,
                        limit: refusal.limit,
                        payload_bytes: refusal.payload_bytes,
                    },
                },
            })
            .collect();
        let refused = self.app.submit(tenant, submissions).await.map_err(submit_error)?;
        let refused = refused.into_iter();
        Ok(refused.map(|RefusedPart { index, limit }| EntryRefused { index, limit }).collect())
    }

    fn admit(&self, origin: Origin<'_>, messages: u32) -> Result<(), SubmitError> {
        self.app.admit_messages(origin.tenant(), device_of(origin), messages).map_err(submit_error)
    }

    fn admit_readings(&self, origin: Origin<'_>, readings: u32) -> Result<(), SubmitError> {
        self.app.admit_readings(origin.tenant(), device_of(origin), readings).map_err(submit_error)
    }

    fn inspect(&self, origin: Origin<'_>, readings: &[Reading]) -> Result<(), Objection> {
        self.app.check_storage(origin.tenant(), readings).map_err(|error| match error {
            Error::StorageFull(limit) => Objection::Storage(limit),
            other => Objection::Policy(other.to_string()),
        })
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

    async fn rpc_reply(&self, session: &DeviceSession, reply: RpcReply) -> Result<(), SubmitError> {
        let device = (session.tenant, session.device);
        if reply.id >= CALL_NUMBER_MIN {
            let RpcReply { id, body } = reply;
            let answered = self.app.answer_call(device, session.credential, (id, body)).await;
            self.call_notes().waits(device);
            return answered.map_err(submit_error);
        }
        let waiting = self.calls.lock().remove(&(device, reply.id));
        match waiting {
            // The caller may have gone; the device has done its part.
            Some(answer) => {
                let _ = answer.send(reply.body);
                Ok(())
            }
            None => Err(SubmitError::NotFound("no open call has this number".to_owned())),
        }
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

    async fn chunk(
        &self,
        session: &DeviceSession,
        request: ChunkRequest,
    ) -> Result<Vec<u8>, SubmitError> {
        let wanted = PieceWanted {
            is_firmware: request.kind == PackageKind::Firmware,
            expected: request.expected,
            piece_bytes: request.chunk_bytes,
            piece: request.chunk,
        };
        let device = (session.tenant, session.device);
        self.app.package_piece(device, session.credential, wanted).await.map_err(submit_error)
    }

    async fn attach(&self, session: &Arc<DeviceSession>, link: DeviceLink) {
        let (credential, address) = (session.credential, session.address);
        let attached = Attached { credential, address, link };
        let owned = (session.tenant, session.device);
        self.attached.lock().entry(owned).or_default().push(attached);
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
        drop(attached);
        self.app.device_connected(session.tenant, session.device, session.credential, false);
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::LimitExceeded;

    use super::*;

    #[test]
    fn a_busy_answer_names_the_limit() {
        let limit = LimitExceeded { name: "tenant_memory_bytes_max", max: 1, actual: 2 };
        let text = submit_error(Error::Crowded(limit)).to_string();
        assert!(text.contains("tenant_memory_bytes_max") && text.contains("5s"), "{text}");
    }

    #[test]
    fn what_would_be_refused_again_is_not_asked_for_again() {
        let limit = || LimitExceeded { name: "append_bytes_max", max: 1, actual: 2 };
        let check = |error: Error, is_final: bool, part: &str| {
            let error = submit_error(error);
            assert!(error.is_final() == is_final && error.to_string().contains(part), "{error:?}");
        };
        check(Error::Limit(limit()), true, "limit append_bytes_max exceeded: at most 1, got 2");
        check(Error::invalid("expected a number"), true, "expected a number");
        check(Error::invalid_at("attributes", "too long"), true, "attributes: too long");
        check(Error::Crowded(limit()), false, "append_bytes_max");
        check(Error::Unavailable("the disk is full".to_owned()), false, "not durable");
    }
}
