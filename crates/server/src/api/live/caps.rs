//! How much of a tenant and of one of its people may be connected, or asked, at once.

use std::sync::Arc;

use veritwin_domain::{ActorKind, LimitExceeded, OpContext, TenantId};

use super::seats::{Seat, Seats};

/// The bounds, each under its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caps {
    pub(crate) tenant_connections_max: usize,
    pub(crate) tenant_requests_max: usize,
    pub(crate) tenant_sockets_max: usize,
    pub(crate) person_sockets_max: usize,
}

/// A person or program and the tenant it acts in.
pub(super) type Party = (TenantId, [u8; 16]);

/// Whose connection it is.
pub(super) const fn party_of(context: &OpContext) -> Party {
    let id = match context.actor.kind {
        ActorKind::User { user, .. } | ActorKind::Support { user, .. } => *user.as_bytes(),
        ActorKind::ApiKey(key) => *key.as_bytes(),
        _ => [0; 16],
    };
    (context.tenant, id)
}

/// What is taken of each bound.
pub(crate) struct Places {
    devices: Arc<Seats<TenantId>>,
    requests: Arc<Seats<TenantId>>,
    sockets: Arc<Seats<TenantId>>,
    party_sockets: Arc<Seats<Party>>,
}

/// What a person's or program's WebSocket holds while it is open.
pub(super) struct PartySeats {
    _own: Seat<Party>,
    _among: Seat<TenantId>,
}

impl Places {
    pub(super) fn new(caps: Caps) -> Self {
        Self {
            devices: Seats::new("tenant_connections_max", caps.tenant_connections_max),
            requests: Seats::new("tenant_requests_max", caps.tenant_requests_max),
            sockets: Seats::new("tenant_sockets_max", caps.tenant_sockets_max),
            party_sockets: Seats::new("person_sockets_max", caps.person_sockets_max),
        }
    }

    /// A place for a device's connection among those of its tenant.
    pub(crate) fn connect(&self, tenant: TenantId) -> Result<Seat<TenantId>, LimitExceeded> {
        self.devices.take(tenant).inspect_err(|limit| refused("devices", limit))
    }

    /// A place for a request among those of its tenant.
    pub(crate) fn begin_request(&self, tenant: TenantId) -> Result<Seat<TenantId>, LimitExceeded> {
        self.requests.take(tenant).inspect_err(|limit| {
            metrics::counter!("veritwin_rate_refusals_total", "limit" => limit.name).increment(1);
        })
    }

    /// Places for the WebSocket of a person or program: among its own and its tenant's.
    pub(super) fn open_socket(&self, context: &OpContext) -> Result<PartySeats, LimitExceeded> {
        let seats = self.party_sockets.take(party_of(context)).and_then(|own| {
            let among = self.sockets.take(context.tenant)?;
            Ok(PartySeats { _own: own, _among: among })
        });
        seats.inspect_err(|limit| refused("people", limit))
    }
}

fn refused(listener: &'static str, limit: &LimitExceeded) {
    metrics::counter!(
        "veritwin_connections_refused_total", "listener" => listener, "limit" => limit.name
    )
    .increment(1);
}
