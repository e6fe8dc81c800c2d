//! A device that lets itself be claimed: asked of the sink with the submission that its message
//! came with, and acknowledged when that is durable.

use veritwin_domain::{ClaimRequest, Timestamp};

use super::message::{Refused, reason_code};
use super::pending::Ack;
use crate::claim;
use crate::model::{DeviceSession, Origin, Refusal, RefusalReason, SinkEntry};
use crate::traits::{Sink, SubmitError};

/// One request, and its acknowledgement if that can carry a refusal.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(super) request: ClaimRequest,
    pub(super) ack: Option<usize>,
    pub(super) payload_bytes: u64,
}

impl Claim {
    pub(super) fn read(payload: &[u8], ack: Option<usize>) -> Result<Self, Refused> {
        let refused = |text| Refused::new(RefusalReason::Payload, text);
        let request = claim::parse(payload).map_err(refused)?;
        Ok(Self { request, ack, payload_bytes: payload.len() as u64 })
    }
}

/// Asks for each. What is refused is told, or a durable record says it; what may succeed later
/// fails all of the submission.
pub(super) async fn ask(
    sink: &dyn Sink,
    session: &DeviceSession,
    (claims, received_at): (Vec<Claim>, Timestamp),
    acks: &mut [Ack],
) -> Result<(), SubmitError> {
    let mut refusals = Vec::new();
    for Claim { request, ack, payload_bytes } in claims {
        let (reason, limit, detail) = match sink.claim(session, request).await {
            Ok(()) => continue,
            Err(error @ SubmitError::Unavailable(_)) => return Err(error),
            Err(SubmitError::Busy { detail, limit, .. }) => (RefusalReason::Limit, limit, detail),
            Err(SubmitError::Invalid(detail)) => (RefusalReason::Payload, None, detail),
            Err(error) => (RefusalReason::NotAllowed, None, error.to_string()),
        };
        if let Some(ack) = ack.and_then(|at| acks.get_mut(at)) {
            ack.answer.reason = reason_code(reason);
            ack.answer.text = Some(detail);
            continue;
        }
        refusals.push(SinkEntry::Refusal(Refusal {
            tenant: session.tenant,
            device: session.device,
            credential: session.credential,
            received_at,
            reason,
            detail,
            position: None,
            limit,
            payload_bytes,
        }));
    }
    if !refusals.is_empty() {
        sink.submit(Origin::Device(session), refusals).await?;
    }
    Ok(())
}
