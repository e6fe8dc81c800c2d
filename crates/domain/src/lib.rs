//! The vocabulary every crate shares: ids, time, readings, actors, purposes and the operation
//! context. It does no input or output and depends on (almost) nothing; a type earns its place
//! here only when two crates that must not know each other both need it.

mod certificate;
mod clock;
mod context;
mod id_map;
mod ids;
mod limits;
mod network;
mod provisioning;
mod purpose;
mod reading;
mod refused;
mod relay;
mod rights;
mod rng;
mod secret;
mod shared;
mod support;
mod text;
mod time;

pub use certificate::ClientCertificate;
pub use clock::{Clock, ManualClock, SystemClock};
pub use context::{Actor, ActorKind, OpContext, Origin, PlatformContext, Role, SignIn};
pub use id_map::{IdHasher, IdMap, IdState};
pub use ids::{
    ActivityId, AlertId, ApiKeyId, AuthorityId, BatchId, CallId, CaseId, ConnectionId, ConsentId,
    CredentialId, CustomRoleId, DestructionId, DeviceId, DeviceProfileId, EdgeKeyId, EvidenceId,
    FactorId, FileId, GovernanceId, GrantId, GroupId, HoldId, IdError, ImportId, IncidentId,
    LedgerItemId, LinkId, LogId, MailingId, MessageId, PackageId, PlanId, ProvisionProfileId,
    RegisterEntryId, RequestId, RouteDestinationId, RouteMessageId, RouteRuleId, RuleId,
    SentMailId, SessionId, SiteId, StreamActId, StreamRuleId, SupportGrantId, TenantId, TicketId,
    UserId, WorkspaceId,
};
pub use limits::{IngestLimits, LimitExceeded};
pub use network::{
    ADDRESS_LIST_NETWORKS_MAX, AddressList, AddressListError, Network, NetworkError, address_party,
};
pub use provisioning::{ClaimRequest, ProvisionAnswer, ProvisionCredential, ProvisionRequest};
pub use purpose::Purpose;
pub use reading::{
    Declaration, DeviceBatch, Key, KeyError, Quality, Reading, Value, ValueError, count_attributes,
    count_readings, count_text_bytes, stored_bytes,
};
pub use refused::{Category, JsonFound, JsonOptions, JsonPart, NationalId, Rule, Screening};
pub use relay::{RelayMessage, SessionNote};
pub use rights::{Branch, CustomRole, Facet, HeldRole, Place, Rights, Scope, ScopeOf};
pub use rng::{Rng, SeededRng};
pub use secret::Secret;
pub use shared::Shared;
pub use support::{SupportArea, SupportAreas};
pub use text::{NAME_RULE, find_unseen, is_unseen};
pub use time::{DAY_MICROS, Timestamp, TimestampError};
