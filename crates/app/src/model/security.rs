//! Activity records, holds, security alerts, incidents and support, as people see them.

use veritwin_domain::{
    ActivityId, AlertId, HoldId, IncidentId, RequestId, SupportAreas, SupportGrantId, TenantId,
    TicketId, Timestamp,
};

use super::PageRequest;

/// Which activity records are wanted.
#[derive(Debug, Clone, Default)]
pub struct ActivityQuery {
    /// The id of an account, key, device or support grant.
    pub actor: Option<[u8; 16]>,
    /// What the action begins with.
    pub action: Option<String>,
    /// How it ended.
    pub outcome: Option<String>,
    /// From this moment on.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub to: Option<Timestamp>,
    /// A text that the record has to hold.
    pub search: Option<String>,
    /// Which page.
    pub page: PageRequest,
}

/// One row of the activity record.
#[derive(Debug, Clone)]
pub struct ActivityView {
    /// The row.
    pub id: ActivityId,
    /// When.
    pub at: Timestamp,
    /// Who: a person's name or address, an API key's name, a device, a job.
    pub actor: String,
    /// Of a person from above the tenant: whom they belong to.
    pub actor_of: Option<String>,
    /// The id to filter by.
    pub actor_id: Option<[u8; 16]>,
    /// What, as in the policies.
    pub action: String,
    /// To what.
    pub resource: String,
    /// `done`, `denied`, `not_found`, `failed`.
    pub outcome: String,
    /// For tracing.
    pub request: RequestId,
    /// Address it came from.
    pub address: Option<String>,
    /// Kind of browser or program.
    pub browser: Option<String>,
    /// Operating system.
    pub system: Option<String>,
    /// The session.
    pub session: Option<String>,
    /// ISO 3166-1 alpha-2 code.
    pub country: Option<String>,
    /// English name.
    pub city: Option<String>,
    /// How often it was repeated within a minute.
    pub times: Option<u64>,
    /// What was before a change.
    pub before: Option<serde_json::Value>,
    /// What is after a change.
    pub after: Option<serde_json::Value>,
}

/// What a hold keeps; every part that is set has to fit.
#[derive(Debug, Clone, Default)]
pub struct HoldScope {
    /// The id of an account, key, device or support grant.
    pub actor: Option<[u8; 16]>,
    /// What the action begins with.
    pub action: Option<String>,
    /// From this moment on.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub to: Option<Timestamp>,
    /// Single records.
    pub records: Vec<ActivityId>,
}

/// A hold to ask for.
#[derive(Debug, Clone)]
pub struct HoldInput {
    /// Which records.
    pub scope: HoldScope,
    /// `fraud`, `incident` or `legal_duty`.
    pub reason: String,
    /// Why, in words.
    pub note: String,
    /// Its end.
    pub expires_at: Timestamp,
}

/// A hold.
#[derive(Debug, Clone)]
pub struct HoldView {
    /// Its id.
    pub id: HoldId,
    /// Which records.
    pub scope: HoldScope,
    /// `fraud`, `incident` or `legal_duty`.
    pub reason: &'static str,
    /// Why, in words.
    pub note: String,
    /// `asked`, `in_force`, `release_asked`, `expired` or `released`.
    pub state: &'static str,
    /// Who asked for it.
    pub requested_by: String,
    /// When.
    pub requested_at: Timestamp,
    /// Whether whoever asks now may approve it: somebody else asked.
    pub is_own: bool,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// When.
    pub approved_at: Option<Timestamp>,
    /// Its end.
    pub expires_at: Timestamp,
    /// Who asked to end it before its time.
    pub release_asked_by: Option<String>,
    /// Whether whoever asks now asked for that, and so cannot confirm it.
    pub is_own_release: bool,
    /// Whether it keeps records of whoever asks now, who cannot end it.
    pub is_held: bool,
    /// When it was ended before its time.
    pub released_at: Option<Timestamp>,
}

/// A security alert.
#[derive(Debug, Clone)]
pub struct SecurityAlertView {
    /// Its id.
    pub id: AlertId,
    /// The incident it belongs to.
    pub incident: IncidentId,
    /// What was found.
    pub kind: String,
    /// `critical`, `high`, `medium` or `low`.
    pub severity: String,
    /// What was seen, by name.
    pub facts: Vec<(String, String)>,
    /// When it was raised.
    pub raised_at: Timestamp,
    /// When somebody took note.
    pub acknowledged_at: Option<Timestamp>,
    /// Who.
    pub acknowledged_by: Option<String>,
}

/// An incident.
#[derive(Debug, Clone)]
pub struct IncidentView {
    /// Its id.
    pub id: IncidentId,
    /// What was found, or `other`.
    pub kind: String,
    /// `critical`, `high`, `medium` or `low`.
    pub severity: String,
    /// What it is about.
    pub title: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// What happened to it, oldest first; empty in lists.
    pub notes: Vec<IncidentNoteView>,
}

/// What happened to an incident.
#[derive(Debug, Clone)]
pub struct IncidentNoteView {
    /// `opened`, `alert`, `note` or `closed`.
    pub kind: String,
    /// Who; none for the platform.
    pub by: Option<String>,
    /// When.
    pub at: Timestamp,
    /// What it says.
    pub text: String,
}

/// A support ticket of the tenant.
#[derive(Debug, Clone)]
pub struct TicketView {
    /// Its id.
    pub id: TicketId,
    /// What it is about.
    pub subject: String,
    /// What happened.
    pub text: String,
    /// Who opened it.
    pub opened_by: String,
    /// When.
    pub opened_at: Timestamp,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// What was granted for it, newest first.
    pub grants: Vec<SupportGrantView>,
}

/// What support may see, until when.
#[derive(Debug, Clone)]
pub struct SupportGrantView {
    /// Its id; the actor of support's steps.
    pub id: SupportGrantId,
    /// The ticket; none when nobody of the tenant asked.
    pub ticket: Option<TicketId>,
    /// What it opens.
    pub areas: SupportAreas,
    /// Why, in words.
    pub reason: String,
    /// `asked`, `live`, `revoked` or `ended`.
    pub state: &'static str,
    /// When it was given or asked for.
    pub requested_at: Timestamp,
    /// Its end.
    pub expires_at: Timestamp,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
}

/// A grant at the staff's desk.
#[derive(Debug, Clone)]
pub struct DeskGrant {
    /// The grant.
    pub grant: SupportGrantView,
    /// The customer's tenant.
    pub tenant: TenantId,
    /// Its name.
    pub tenant_name: String,
    /// The ticket's subject and text; none when nobody of the customer asked.
    pub ticket: Option<(String, String)>,
    /// Whether whoever asks now asked for it.
    pub is_own: bool,
}

/// What a support session is allowed, for its banner.
#[derive(Debug, Clone)]
pub struct SupportView {
    /// The grant.
    pub grant: SupportGrantId,
    /// What it opens.
    pub areas: SupportAreas,
    /// Its end.
    pub expires_at: Timestamp,
    /// Nobody of the customer asked.
    pub is_break_glass: bool,
}
