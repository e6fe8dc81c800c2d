//! Contexts and the checks every use case begins with, and what listeners hand in.

use std::sync::Arc;

use veritwin_access::{Action, Denied, Kind, Resource};
use veritwin_domain::{
    Actor, ActorKind, ClientCertificate, CredentialId, DeviceBatch, DeviceId, Key, LimitExceeded,
    OpContext, Origin, PlatformContext, Purpose, RelayMessage, RequestId, Secret, SessionNote,
    TenantId, Timestamp, Value,
};

use crate::sign_in::check_proof;
use crate::{App, Error, Result};

/// How a request arrives, before anybody knows who sends it.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// What it is for.
    pub purpose: Purpose,
    /// Its id.
    pub request: RequestId,
    /// Where it comes from.
    pub origin: Origin,
}

/// A device that was let in.
#[derive(Debug, Clone)]
pub struct DeviceLogin {
    /// Its tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// The credential it showed.
    pub credential: CredentialId,
    /// Its name.
    pub name: Arc<str>,
    /// Whether it may speak for other devices.
    pub is_gateway: bool,
    /// Whether it is a host application of Sparkplug.
    pub is_sparkplug_host: bool,
    /// When the credential ends.
    pub ends_at: Option<Timestamp>,
    /// The certificate that it showed, and when that or what vouches for it ends.
    pub certificate: Option<(Arc<ClientCertificate>, Timestamp)>,
}

/// A user name and a password as they are shown.
#[derive(Debug, Clone)]
pub struct BasicLogin {
    /// The MQTT client id.
    pub client_id: Secret<String>,
    /// The user name.
    pub user: Secret<String>,
    /// The password.
    pub password: Secret<Vec<u8>>,
}

/// Whoever may use the bulk write.
#[derive(Debug, Clone)]
pub enum WriterLogin {
    /// A device, for itself only.
    Device(DeviceLogin),
    /// A program, for devices of its tenant.
    Program {
        /// Who it is, and what it may.
        context: Box<OpContext>,
        /// The bytes of its API key's id.
        credential: CredentialId,
    },
}

/// Something a device sends, to be made durable.
#[derive(Debug, Clone)]
pub enum Submission {
    /// Readings.
    Readings(DeviceBatch),
    /// Client-side attributes.
    ClientAttributes {
        /// The device.
        device: DeviceId,
        /// The credential that sent them.
        credential: CredentialId,
        /// When the platform received them.
        received_at: Timestamp,
        /// The attributes.
        entries: Vec<(Key, Value)>,
        /// Size of the message, in bytes.
        payload_bytes: u64,
        /// Nobody can tell the sender that they are refused: a durable record says it.
        refusal_recorded: bool,
    },
    /// A refused message, without what it held.
    Refusal {
        /// The device.
        device: DeviceId,
        /// The credential that sent it.
        credential: CredentialId,
        /// What was wrong.
        refusal: crate::model::RefusalView,
    },
    /// A message of one device to others of its tenant.
    Relay {
        /// The message; with `retain` it is kept for those who subscribe later.
        message: Arc<RelayMessage>,
        /// As that of attributes.
        refusal_recorded: bool,
    },
    /// What became of a client's session.
    Note(SessionNote),
    /// The statement of an edge, about what is submitted together with it.
    Edge(veritwin_log::EdgeEntry),
}

/// Where a message or a note of a submission stands in the log: its place among the submissions,
/// and its position.
pub type Placed = (usize, u64);

/// A part of what was submitted that passes a bound. Nothing of it is stored; the rest is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedPart {
    /// Which of the submissions, by its place.
    pub index: usize,
    /// The bound.
    pub limit: LimitExceeded,
}

/// A command that may be sent.
#[derive(Debug, Clone, Copy)]
pub struct DeviceCommand {
    /// The tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
}

impl App {
    /// The context of a request that shows no credential.
    pub fn anonymous(&self, arrival: Arrival) -> PlatformContext {
        let Arrival { purpose, request, origin } = arrival;
        PlatformContext {
            acts_from: None,
            turn_of: None,
            actor: Actor::without_roles(ActorKind::Anonymous),
            purpose,
            request,
            origin,
            at: self.clock().now(),
            clock: self.shared_clock(),
        }
    }

    /// The same request above its tenant, as nobody: for what accounts and sessions need.
    pub(crate) fn above(&self, context: &OpContext) -> PlatformContext {
        let (purpose, request, origin) = (context.purpose, context.request, context.origin.clone());
        let nobody = self.anonymous(Arrival { purpose, request, origin });
        PlatformContext { turn_of: Some(context.tenant), ..nobody }
    }

    /// The same request by the same actor above its tenant: for what is done to another tenant by
    /// whoever stands above it, whose record then names the actor.
    pub(crate) fn above_as(&self, context: &OpContext) -> PlatformContext {
        let acts_from = Some(context.tenant);
        PlatformContext { actor: context.actor.clone(), acts_from, ..self.above(context) }
    }

    /// The context of whoever holds the data directory.
    pub fn local_operator(&self) -> PlatformContext {
        self.platform_context(Actor::without_roles(ActorKind::LocalOperator))
    }

    /// The context of whoever holds the data directory, inside one tenant.
    pub fn local_operator_in(&self, tenant: TenantId) -> OpContext {
        let context = self.local_operator();
        let actor = context.actor.clone();
        context.in_tenant(tenant, actor)
    }

    pub(crate) fn job(&self, name: &'static str) -> PlatformContext {
        self.platform_context(Actor::job(name))
    }

    pub(crate) fn job_in(&self, name: &'static str, tenant: TenantId) -> OpContext {
        self.job(name).in_tenant(tenant, Actor::job(name))
    }

    fn platform_context(&self, actor: Actor) -> PlatformContext {
        let at = self.clock().now();
        PlatformContext {
            acts_from: None,
            turn_of: None,
            actor,
            purpose: Purpose::SecuritySupport,
            request: RequestId::generate(at, self.rng()),
            origin: Origin::default(),
            at,
            clock: self.shared_clock(),
        }
    }

    /// Authorises an action on a tenant's resource; a refusal leaves a record.
    pub(crate) fn authorize(
        &self,
        context: &OpContext,
        action: Action,
        resource: &Resource,
    ) -> Result<()> {
        #[cfg(feature = "test-controls")]
        if self.0.promises.forgets_rights(action) {
            return Ok(());
        }
        let decision = self.0.authorizer.check(context, action, resource);
        decision.map_err(|denied| self.denied(context, action, resource, denied))?;
        check_proof(context, action)?;
        self.check_key(context, action)
    }

    /// A refusal leaves a record and counts towards what is watched for.
    pub(crate) fn denied(
        &self,
        context: &OpContext,
        action: Action,
        resource: &Resource,
        denied: Denied,
    ) -> Error {
        self.note(context, action, resource, "denied");
        self.watch_denied(context);
        Error::from(denied)
    }

    /// Authorises an action on a tenant's collection of a kind.
    pub(crate) fn authorize_all(
        &self,
        context: &OpContext,
        action: Action,
        kind: Kind,
    ) -> Result<Resource> {
        let resource = Resource::all(context.tenant, kind);
        self.authorize(context, action, &resource)?;
        Ok(resource)
    }

    pub(crate) fn authorize_platform(
        &self,
        context: &PlatformContext,
        action: Action,
    ) -> Result<()> {
        self.0.authorizer.check_platform(context, action).map_err(Error::from)
    }
}
