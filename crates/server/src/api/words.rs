//! Closed sets of words, as the OpenAPI document spells them out.

use utoipa::openapi::schema::{Array, Object, ObjectBuilder, SchemaType, Type};
use veritwin_app::model::{ImportWrapping, KeyLevel, ProviderKind};
use veritwin_domain::{Role, SupportArea};

use super::Problem;

fn one_of(words: &[&str]) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words.iter().map(|word| (*word).to_owned())))
        .build()
}

pub(super) fn severity() -> Object {
    one_of(&["critical", "high", "medium", "low"])
}

pub(super) fn alert_state() -> Object {
    one_of(&["active_unacknowledged", "active_acknowledged", "cleared_unacknowledged", "cleared"])
}

pub(super) fn alert_event() -> Object {
    one_of(&["raised", "cleared", "acknowledged", "notified", "not_mailed", "mail_waits"])
}

pub(super) fn operator() -> Object {
    one_of(&["gt", "ge", "lt", "le"])
}

pub(super) fn tenant_kind() -> Object {
    one_of(&["customer", "partner", "platform"])
}

pub(super) fn tenant_state() -> Object {
    one_of(&["active", "suspended", "deletion_requested"])
}

/// One of the levels, or null.
pub(super) fn key_level_or_none() -> Object {
    let words = KeyLevel::ALL.map(|level| Some(level.as_str()));
    let type_of = SchemaType::from_iter([Type::String, Type::Null]);
    let words = words.into_iter().chain([None]);
    ObjectBuilder::new().schema_type(type_of).enum_values(Some(words)).build()
}

pub(super) fn key_level() -> Object {
    one_of(&KeyLevel::ALL.map(KeyLevel::as_str))
}

pub(super) fn key_state() -> Object {
    one_of(&["active", "silent", "revoked", "gone", "destroyed"])
}

pub(super) fn key_service_kind() -> Object {
    one_of(&ProviderKind::ALL.map(ProviderKind::as_str))
}

pub(super) fn import_wrapping() -> Object {
    one_of(&ImportWrapping::ALL.map(ImportWrapping::as_str))
}

pub(super) fn role() -> Object {
    one_of(&Role::ALL.map(Role::as_str))
}

pub(super) fn parsed_role(text: &str) -> Result<Role, Problem> {
    let known = || format!("role must be one of {}", Role::ALL.map(Role::as_str).join(", "));
    text.parse().map_err(|()| Problem::invalid(known()).at("role"))
}

pub(super) fn roles() -> Array {
    Array::new(role())
}

pub(super) fn declaration() -> Object {
    one_of(&["undeclared", "non_personal", "personal"])
}

pub(super) fn ground() -> Object {
    one_of(&["stream", "device", "rule", "presumed", "nothing"])
}

pub(super) fn declared() -> Object {
    one_of(&["non_personal", "personal"])
}

pub(super) fn credential() -> Object {
    one_of(&["access_token", "basic", "x509"])
}

pub(super) fn strategy() -> Object {
    one_of(&["create_new", "pre_provisioned"])
}

pub(super) fn claim_state() -> Object {
    one_of(&["none", "away", "here", "given_back", "back"])
}

pub(super) fn attribute_scope() -> Object {
    one_of(&["server", "shared", "client"])
}

pub(super) fn route_kind() -> Object {
    one_of(&["webhook", "mqtt", "nats", "topic", "mail"])
}

pub(super) fn route_failure() -> Object {
    one_of(&["unreachable", "failing", "refused", "redirect", "not_allowed", "full", "looped"])
}

pub(super) fn quality() -> Object {
    one_of(&["good", "uncertain", "bad", "simulated"])
}

pub(super) fn outcome() -> Object {
    one_of(&["done", "denied", "not_found", "failed"])
}

pub(super) fn hold_reason() -> Object {
    one_of(&["fraud", "incident", "legal_duty"])
}

pub(super) fn destruction_scope() -> Object {
    one_of(&["tenant", "device", "key", "subject", "month", "ledger"])
}

pub(super) fn destruction_state() -> Object {
    one_of(&["asked", "waiting", "destroying", "certifying", "done"])
}

pub(super) fn hold_state() -> Object {
    one_of(&["asked", "in_force", "release_asked", "expired", "released"])
}

pub(super) fn finding() -> Object {
    one_of(&[
        "credential_stuffing",
        "impossible_travel",
        "new_device",
        "bulk_export",
        "denied_spike",
        "refused_keys",
        "odd_hours",
        "certificates_ending",
        "storage_damaged",
        "quota_near",
        "promise_broken",
        "mailbox_unread",
        "other",
    ])
}

pub(super) fn incident_note() -> Object {
    one_of(&["opened", "alert", "note", "closed"])
}

pub(super) fn policy_step() -> Object {
    one_of(&["review", "return", "publish", "retire"])
}

pub(super) fn treatment() -> Object {
    one_of(&["mitigate", "transfer", "avoid", "accept"])
}

pub(super) fn applies() -> Object {
    one_of(&["undecided", "applicable", "not_applicable"])
}

pub(super) fn implementation() -> Object {
    one_of(&["not_started", "planned", "in_place"])
}

pub(super) fn shipped_framework() -> Object {
    one_of(&["iso-27001-2022", "soc-2", "nist-csf-2"])
}

pub(super) fn evidence_result() -> Object {
    one_of(&["passed", "failed", "partial", "not_applicable"])
}

pub(super) fn standard() -> Object {
    one_of(&["iso_27001", "iso_27017", "iso_27018", "soc_2_type_2", "fips_140", "other"])
}

pub(super) fn certificate_relation() -> Object {
    one_of(&["own", "supplier"])
}

pub(super) fn notice_kind() -> Object {
    one_of(&["onboarding", "release", "service", "transfer"])
}

pub(super) fn onboarding_step() -> Object {
    one_of(&["people", "devices", "twin", "rule", "policy", "risk", "framework"])
}

pub(super) fn breach_role() -> Object {
    one_of(&["controller", "processor"])
}

pub(super) fn breach_risk() -> Object {
    one_of(&["unknown", "unlikely", "risk", "high"])
}

pub(super) fn breach_ground() -> Object {
    one_of(&["", "protected", "removed", "disproportionate"])
}

pub(super) fn breach_notice_to() -> Object {
    one_of(&["authority", "subjects", "controllers"])
}

pub(super) fn breach_phase() -> Object {
    one_of(&["first", "further", "final"])
}

pub(super) fn support_areas() -> Array {
    Array::new(one_of(&SupportArea::ALL.map(SupportArea::as_str)))
}

pub(super) fn grant_state() -> Object {
    one_of(&["asked", "live", "revoked", "ended"])
}

pub(super) fn geometry() -> Object {
    one_of(&["none", "glb"])
}

pub(super) fn check_scope() -> Object {
    one_of(&["nobody", "platform", "everybody"])
}

pub(super) fn promise_state() -> Object {
    one_of(&["proven", "failing", "stale", "not_evidenced", "not_applicable"])
}
