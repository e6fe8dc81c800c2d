//! A device that lets itself be claimed: asked of the sink with the submission that its message
//! came with, and acknowledged when that is durable.

use veritwin_domain::ClaimRequest;

use super::message::{Refused, reason_code};
use super::pending::Told;
use crate::claim;
use crate::model::{DeviceSession, Origin, Refusal, RefusalReason, SinkEntry};
use crate::traits::{Sink, SubmitError};

/// One request, and its acknowledgement where it has one.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(super) request: ClaimRequest,
    pub(super) ack: Option<usize>,
    /// Whether that can carry a refusal.
    pub(super) can_tell: bool,
    pub(super) payload_bytes: u64,
}

impl Claim {
    pub(super) fn read(
        payload: &[u8],
        ack: Option<usize>,
        can_tell: bool,
    ) -> Result<Self, Refused> {
        let refused = |text| Refused::new(RefusalReason::Payload, text);
        let request = claim::parse(payload).map_err(refused)?;
        Ok(Self { request, ack, can_tell, payload_bytes: payload.len() as u64 })
    }
}

impl Told {
    /// Asks for each. What is refused is told, or a durable record says it; what may succeed later
    /// fails by itself: what came with it is stored.
    pub(super) async fn claim_all(
        &mut self,
        sink: &dyn Sink,
        session: &DeviceSession,
        claims: Vec<Claim>,
    ) {
        for Claim { request, ack, can_tell, payload_bytes } in claims {
            let (reason, limit, detail) = match sink.claim(session, request).await {
                Ok(()) => continue,
                Err(error @ SubmitError::Unavailable(_)) => {
                    self.fail(ack, &error);
                    continue;
                }
                Err(SubmitError::Busy { detail, limit, .. }) => {
                    (RefusalReason::Limit, limit, detail)
                }
                Err(SubmitError::Invalid(detail)) => (RefusalReason::Payload, None, detail),
                Err(error) => (RefusalReason::NotAllowed, None, error.to_string()),
            };
            if let Some(ack) = ack.filter(|_| can_tell).and_then(|at| self.acks.get_mut(at)) {
                ack.answer.reason = reason_code(reason);
                ack.answer.text = Some(detail);
                continue;
            }
            let refusal = Refusal {
                tenant: session.tenant,
                device: session.device,
                credential: session.credential,
                received_at: self.received_at,
                reason,
                detail,
                position: None,
                limit,
                payload_bytes,
            };
            let entries = vec![SinkEntry::Refusal(refusal)];
            if let Err(error) = sink.submit(Origin::Device(session), entries).await {
                self.fail(ack, &error);
            }
        }
    }
}
