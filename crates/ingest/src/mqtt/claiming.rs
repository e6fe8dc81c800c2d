//! A device that lets itself be claimed, or devices for which their gateway asks: asked of the sink
//! with the submission that the message came with, and acknowledged when that is durable.

use std::sync::Arc;

use veritwin_domain::ClaimRequest;

use super::gateway::{Act, Found, GatewayMessage, Spoken};
use super::message::{Refused, reason_code};
use super::pending::Told;
use crate::claim::{self, ChildrenRefused};
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

/// Why one is refused for good: the bound, if it passes one, and the text for its device.
#[derive(Debug)]
struct Why {
    reason: RefusalReason,
    limit: Option<&'static str>,
    detail: String,
}

/// Where a refusal is told.
#[derive(Debug, Clone, Copy)]
struct Place {
    ack: Option<usize>,
    can_tell: bool,
    payload_bytes: u64,
}

/// One request of a gateway, for devices behind it.
#[derive(Debug)]
pub(super) struct ChildClaims {
    wanted: Vec<(Arc<DeviceSession>, ClaimRequest)>,
    /// How many were named.
    all: usize,
    refused: usize,
    /// Why the first of those was refused.
    why: Option<Why>,
    place: Place,
}

impl ChildClaims {
    /// Takes the devices that were found.
    pub(super) fn of(message: GatewayMessage, found: &Found) -> Self {
        let GatewayMessage { spoken, ack, reply, payload_bytes, .. } = message;
        let place = Place { ack: reply, can_tell: ack.is_some(), payload_bytes };
        let (wanted, all) = (Vec::with_capacity(spoken.len()), spoken.len());
        let mut claims = Self { wanted, all, refused: 0, why: None, place };
        for Spoken { name, act, .. } in spoken {
            let Act::Claim(request) = act else { continue };
            match found.get(&name) {
                Some(Ok(child)) => claims.wanted.push((Arc::clone(child), request)),
                Some(Err(error)) => claims.refuse(Why {
                    reason: RefusalReason::NotAllowed,
                    limit: None,
                    detail: error.to_string(),
                }),
                None => {}
            }
        }
        claims
    }

    fn refuse(&mut self, why: Why) {
        self.refused += 1;
        self.why.get_or_insert(why);
    }
}

/// What a gateway asks for devices behind it.
pub(super) fn read_children(payload: &[u8]) -> Result<Vec<Spoken>, Refused> {
    let all = claim::parse_children(payload).map_err(|refused| match refused {
        ChildrenRefused::Form(text) => Refused::new(RefusalReason::Payload, text.to_owned()),
        ChildrenRefused::Limit(limit) => limit.into(),
    })?;
    let spoken = |(name, request)| Spoken { name, kind: None, act: Act::Claim(request) };
    Ok(all.into_iter().map(spoken).collect())
}

/// Why the sink refuses one for good, or the error of one that may succeed later.
fn why_not(error: SubmitError) -> Result<Why, SubmitError> {
    let (reason, limit, detail) = match error {
        later @ SubmitError::Unavailable(_) => return Err(later),
        SubmitError::Busy { detail, limit, .. } => (RefusalReason::Limit, limit, detail),
        SubmitError::Invalid(detail) => (RefusalReason::Payload, None, detail),
        error => (RefusalReason::NotAllowed, None, error.to_string()),
    };
    Ok(Why { reason, limit, detail })
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
            let Err(error) = sink.claim(session, request).await else { continue };
            match why_not(error) {
                Ok(why) => {
                    let place = Place { ack, can_tell, payload_bytes };
                    self.refuse_claim((sink, session), place, why).await;
                }
                Err(error) => self.fail(ack, &error),
            }
        }
    }

    /// The same for devices behind a gateway. Where one may succeed later all of it may be said
    /// again: whoever waits to be claimed then waits anew.
    pub(super) async fn claim_children(
        &mut self,
        sink: &dyn Sink,
        gateway: &DeviceSession,
        mut claims: ChildClaims,
    ) {
        for (child, request) in std::mem::take(&mut claims.wanted) {
            let Err(error) = sink.claim(&child, request).await else { continue };
            match why_not(error) {
                Ok(why) => claims.refuse(why),
                Err(error) => return self.fail(claims.place.ack, &error),
            }
        }
        let ChildClaims { all, refused, why, place, .. } = claims;
        let Some(why) = why else { return };
        let detail = &why.detail;
        let detail =
            format!("{refused} of {all} devices refused, the others may be claimed: {detail}");
        self.refuse_claim((sink, gateway), place, Why { detail, ..why }).await;
    }

    async fn refuse_claim(
        &mut self,
        (sink, session): (&dyn Sink, &DeviceSession),
        Place { ack, can_tell, payload_bytes }: Place,
        Why { reason, limit, detail }: Why,
    ) {
        if let Some(ack) = ack.filter(|_| can_tell).and_then(|at| self.acks.get_mut(at)) {
            ack.answer.reason = reason_code(reason);
            ack.answer.text = Some(detail);
            return;
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
