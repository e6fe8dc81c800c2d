//! Destruction of readings (promise P51), as people ask for it: a preview with counts, then the
//! confirmation of exactly that. What then happens is a job that a crash cannot end half done.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use serde_json::json;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{ActorKind, DestructionId, OpContext, TenantId, Timestamp};
use veritwin_keys::{constant_time_eq, hmac_sha256};
use veritwin_metastore::{DestructionState, HoldScope, StoredDestruction, TenantTx};
use veritwin_telemetry::Selection;

use crate::activity::actor_text;
use crate::backup::KEYRING_HORIZON;
use crate::change::Change;
use crate::destruction_certificate::{Certificate, DestroyedKey, stays};
use crate::destruction_scope::StoredScope;
use crate::holds::words;
use crate::ledger_end::due_at;
use crate::model::{
    DestructionCounts, DestructionInput, DestructionPreview, DestructionScope, DestructionView,
};
use crate::provision::is_own;
use crate::records::{Names, names};
use crate::rights::bounded;
use crate::{App, Error, Result};

/// How long a preview can be confirmed.
const CONFIRM_LASTS: Duration = Duration::from_secs(15 * 60);
/// Most destructions of a tenant that are under way at once.
const DESTRUCTIONS_OPEN_MAX: usize = 10;
const REASON_CHARS_MAX: usize = 1000;
/// Of the platform's secret that confirmations are made with.
const CONFIRM_LABEL: &str = "destruction preview v1";
/// The first and the last month that can be named.
const MONTHS: std::ops::RangeInclusive<i64> = -12_000..=96_000;

/// What a destruction has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) readings: u64,
    pub(crate) rewritten: u64,
    pub(crate) dropped: u64,
}

/// How much it was when it was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) devices: u64,
    pub(crate) series: u64,
    pub(crate) readings: u64,
    pub(crate) sections: u64,
    pub(crate) bytes: u64,
}

/// What is stored of a destruction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Body {
    pub(crate) scope: StoredScope,
    pub(crate) attributes: bool,
    pub(crate) reason: String,
    /// The actor, as records name it.
    pub(crate) requested_by: String,
    pub(crate) requested_at: i64,
    pub(crate) counts: Counts,
    /// What the retired keys of the log sealed stands before this position.
    pub(crate) log_mark: Option<u64>,
    pub(crate) done: Done,
    pub(crate) keys: Vec<DestroyedKey>,
    pub(crate) destroyed_at: Option<i64>,
    pub(crate) certificate: Option<Certificate>,
    pub(crate) ledger_index: Option<u64>,
    /// It carries out the end of an organisation, with which accounts and rows go too.
    #[serde(default)]
    pub(crate) is_end: bool,
    /// Nobody asked for it: days of the ledger are past the time that a plan keeps them.
    #[serde(default)]
    pub(crate) is_period: bool,
    /// When the ledger was told of it, where it ends what that sealed: it is told once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stated_at: Option<i64>,
}

impl Body {
    /// As it was stored.
    pub(crate) fn read(stored: &[u8]) -> Result<Self> {
        let damaged = |_| Error::Internal("a stored destruction is damaged".to_owned());
        serde_json::from_slice(stored).map_err(damaged)
    }

    /// As it is stored.
    pub(crate) fn to_store(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::Internal(error.to_string()))
    }
}

fn resource(context: &OpContext, id: DestructionId) -> Resource {
    Resource::one(context.tenant, Kind::Keys, id.as_bytes())
}

/// Whether a hold over a period keeps some of what a scope is about.
pub(crate) fn is_held(scope: &StoredScope, holds: &[HoldScope]) -> bool {
    holds.iter().any(|hold| {
        let (Some(from), Some(to)) = (hold.from, hold.to) else { return false };
        match scope {
            StoredScope::Month { month } => {
                let month = Selection::of_month(TenantId::from_bytes([0; 16]), *month);
                // A hold keeps its days whole.
                from.day() <= month.to.day() && month.from.day() <= to.day()
            }
            _ => true,
        }
    })
}

impl App {
    /// The holds over a period that a tenant has.
    pub(crate) async fn own_holds(&self, context: &OpContext) -> Result<Vec<HoldScope>> {
        let holds = self.holds_of_all(context).await?.into_iter();
        Ok(holds.filter(|(owner, _)| *owner == context.tenant).map(|(_, hold)| hold).collect())
    }

    /// What a destruction would meet, and what confirms it. Nothing is destroyed.
    #[boxed]
    pub async fn preview_destruction(
        &self,
        context: &OpContext,
        input: &DestructionInput,
    ) -> Result<DestructionPreview> {
        let resource = self.authorize_all(context, Action::DestructionRead, Kind::Keys)?;
        check(context, input)?;
        let (scope, counts) = self.met(context, input).await?;
        let holds = self.own_holds(context).await?;
        self.note(context, Action::DestructionRead, &resource, "done");
        let stays = stays(&fresh(context, (scope.clone(), input.attributes), ""));
        Ok(DestructionPreview {
            counts,
            is_held: is_held(&scope, &holds),
            stays,
            backup_horizon: context.at.saturating_add(KEYRING_HORIZON),
            confirm: self.confirmation(context, input, context.at)?,
            confirm_until: context.at.saturating_add(CONFIRM_LASTS),
        })
    }

    /// The scope as it is stored, and how much it is about now.
    async fn met(
        &self,
        context: &OpContext,
        input: &DestructionInput,
    ) -> Result<(StoredScope, DestructionCounts)> {
        let scope = self.stored_scope(context, input).await?;
        let selection = self.selection(context, &scope).await?;
        let found = self.0.engine.selected(&selection).await?;
        let named = match &input.scope {
            DestructionScope::Device(device) => Some(*device),
            DestructionScope::Key { device, .. } => *device,
            _ => None,
        };
        if let Some(device) = named
            && found.points == 0
            && self.tenant_devices(context).await?.get(device).is_none()
        {
            return Err(Error::NotFound("device"));
        }
        let counts = DestructionCounts {
            devices: found.devices,
            series: found.series,
            readings: found.points,
            sections: found.sections,
            bytes: found.bytes,
        };
        Ok((scope, counts))
    }

    /// What confirms a preview of a moment: nobody can make one without having seen it, and nobody
    /// can use another's.
    fn confirmation(
        &self,
        context: &OpContext,
        input: &DestructionInput,
        at: Timestamp,
    ) -> Result<String> {
        let secret = self.0.keys.platform_subkey(CONFIRM_LABEL)?;
        let by = actor_text(&context.actor.kind);
        let seen = format!("{} {} {by} {input:?}", context.tenant, at.as_micros());
        let mac = hmac_sha256(secret.expose(), seen.as_bytes());
        Ok(format!("{}-{}", at.as_micros(), hex::encode(mac)))
    }

    fn check_confirmation(
        &self,
        context: &OpContext,
        input: &DestructionInput,
        confirm: &str,
    ) -> Result<()> {
        let wrong = "must be what a preview of exactly this gave in the last 15 minutes";
        let wrong = || Error::invalid_at("confirm", wrong);
        let (at, _) = confirm.split_once('-').ok_or_else(wrong)?;
        let at = Timestamp::from_micros(at.parse().map_err(|_| wrong())?);
        let right = self.confirmation(context, input, at)?;
        let is_late = at > context.at || context.at.since(at) > CONFIRM_LASTS;
        if is_late || !constant_time_eq(right.as_bytes(), confirm.as_bytes()) {
            return Err(wrong());
        }
        Ok(())
    }

    /// Destroys readings for ever: what a preview has shown, confirmed by whoever has seen it. The
    /// rest goes on in the background.
    #[boxed]
    pub async fn request_destruction(
        &self,
        context: &OpContext,
        input: &DestructionInput,
        (reason, confirm): (&str, &str),
    ) -> Result<DestructionId> {
        self.authorize_all(context, Action::DestructionCreate, Kind::Keys)?;
        check(context, input)?;
        let reason = words("reason", reason, REASON_CHARS_MAX)?;
        self.check_confirmation(context, input, confirm)?;
        self.0.destructions.shreds.check_room(context.tenant)?;
        let (scope, counts) = self.met(context, input).await?;
        if is_held(&scope, &self.own_holds(context).await?) {
            return Err(Error::Conflict(
                "a hold keeps some of these readings: they can be destroyed when it has ended"
                    .to_owned(),
            ));
        }
        let id = DestructionId::generate(context.at, self.rng());
        let mut body = fresh(context, (scope, input.attributes), &reason);
        body.counts = stored_counts(&counts);
        let stored = StoredDestruction {
            id,
            state: DestructionState::Asked,
            body: body.to_store()?,
            version: 1,
            requested_at: context.at,
        };
        let tx = self.0.store.begin(context).await?;
        check_open(&tx).await?;
        tx.destruction_create(&stored).await?;
        let change = Change::to(json!({
            "scope": body.scope.kind(),
            "readings_at_most": counts.readings,
            "devices": counts.devices,
        }));
        let action = Action::DestructionCreate;
        self.record_change(&tx, context, action, &resource(context, id), change).await?;
        tx.commit().await?;
        self.0.destructions.wake();
        Ok(id)
    }

    /// The destruction of everything of an organisation that has ended. What its people decided is
    /// not asked again; it is stored with the end itself.
    pub(crate) async fn ended_destruction(
        &self,
        context: &OpContext,
        (asked_by, reason): (&str, &str),
    ) -> Result<StoredDestruction> {
        self.0.destructions.shreds.check_room(context.tenant)?;
        let input = DestructionInput { scope: DestructionScope::Tenant, attributes: false };
        let (scope, counts) = self.met(context, &input).await?;
        let mut body = fresh(context, (scope, input.attributes), reason);
        body.requested_by = asked_by.to_owned();
        body.is_end = true;
        body.counts = stored_counts(&counts);
        Ok(StoredDestruction {
            id: DestructionId::generate(context.at, self.rng()),
            state: DestructionState::Asked,
            body: body.to_store()?,
            version: 1,
            requested_at: context.at,
        })
    }

    /// The destructions of a tenant, newest first.
    #[boxed]
    pub async fn list_destructions(&self, context: &OpContext) -> Result<Vec<DestructionView>> {
        let resource = self.authorize_all(context, Action::DestructionRead, Kind::Keys)?;
        let tx = self.0.store.read(context).await?;
        let (stored, names) = (tx.destructions().await?, names_of(&tx).await?);
        self.note(context, Action::DestructionRead, &resource, "done");
        stored.iter().map(|one| self.view(context.tenant, one, &names)).collect()
    }

    /// One destruction.
    #[boxed]
    pub async fn destruction(
        &self,
        context: &OpContext,
        id: DestructionId,
    ) -> Result<DestructionView> {
        let resource = resource(context, id);
        self.authorize(context, Action::DestructionRead, &resource)?;
        let tx = self.0.store.read(context).await?;
        let (stored, names) = (tx.destruction(id).await?, names_of(&tx).await?);
        self.note(context, Action::DestructionRead, &resource, "done");
        self.view(context.tenant, &stored, &names)
    }

    /// The certificate of a destruction that is over, as a file.
    #[boxed]
    pub async fn destruction_certificate(
        &self,
        context: &OpContext,
        id: DestructionId,
    ) -> Result<String> {
        let resource = resource(context, id);
        self.authorize(context, Action::DestructionRead, &resource)?;
        let stored = self.0.store.read(context).await?.destruction(id).await?;
        let body = Body::read(&stored.body)?;
        self.note(context, Action::DestructionRead, &resource, "done");
        let certificate = body.certificate.ok_or_else(|| {
            Error::Conflict("there is a certificate once the keys are destroyed".to_owned())
        })?;
        Ok(certificate.to_text(body.ledger_index))
    }

    fn view(
        &self,
        tenant: TenantId,
        stored: &StoredDestruction,
        names: &Names,
    ) -> Result<DestructionView> {
        let body = Body::read(&stored.body)?;
        let by = names.get(&body.requested_by).cloned();
        Ok(DestructionView {
            id: stored.id,
            state: stored.state.as_str(),
            scope: body.scope.shown()?,
            attributes: body.attributes,
            waits_for: self.waits_for(tenant, (stored.state, &body)),
            due_at: due_at(&body),
            reason: body.reason,
            requested_by: by.unwrap_or(body.requested_by),
            requested_at: stored.requested_at,
            counts: DestructionCounts {
                devices: body.counts.devices,
                series: body.counts.series,
                readings: body.counts.readings,
                sections: body.counts.sections,
                bytes: body.counts.bytes,
            },
            readings_destroyed: body.done.readings,
            sections_rewritten: body.done.rewritten,
            sections_dropped: body.done.dropped,
            keys: body.keys.len() as u64,
            destroyed_at: body.destroyed_at.map(Timestamp::from_micros),
            has_certificate: body.certificate.is_some(),
            ledger_index: body.ledger_index,
        })
    }
}

const fn stored_counts(counts: &DestructionCounts) -> Counts {
    Counts {
        devices: counts.devices,
        series: counts.series,
        readings: counts.readings,
        sections: counts.sections,
        bytes: counts.bytes,
    }
}

/// Refuses what cannot be asked for.
fn check(context: &OpContext, input: &DestructionInput) -> Result<()> {
    match &input.scope {
        DestructionScope::Tenant if !matches!(context.actor.kind, ActorKind::LocalOperator) => {
            let detail = "a whole organisation is destroyed by the operator: veritwin purge";
            return Err(Error::Forbidden(detail.to_owned()));
        }
        DestructionScope::Tenant | DestructionScope::Ledger if is_own(context.tenant) => {
            return Err(Error::Conflict("the platform's own keys are not destroyed".to_owned()));
        }
        DestructionScope::Month(month) if !MONTHS.contains(month) => {
            return Err(Error::invalid_at("scope.month", "is out of range"));
        }
        _ => {}
    }
    Ok(())
}

async fn check_open(tx: &TenantTx) -> Result<()> {
    let all = tx.destructions().await?;
    // Days that end by themselves while the archive is away take nobody's place.
    let is_period = |one: &StoredDestruction| Body::read(&one.body).is_ok_and(|of| of.is_period);
    let open = all.iter().filter(|one| one.state != DestructionState::Done && !is_period(one));
    let open = open.count();
    bounded("destructions_open_max", DESTRUCTIONS_OPEN_MAX, open + 1)
}

/// Names of actors; none of a tenant whose keys are gone.
async fn names_of(tx: &TenantTx) -> Result<Names> {
    match names(tx).await {
        Err(error) if error.is_withheld() => Ok(Names::new()),
        other => other,
    }
}

/// One that nothing is done of yet.
pub(crate) fn fresh(
    context: &OpContext,
    (scope, attributes): (StoredScope, bool),
    reason: &str,
) -> Body {
    Body {
        scope,
        attributes,
        reason: reason.to_owned(),
        requested_by: actor_text(&context.actor.kind),
        requested_at: context.at.as_micros(),
        counts: Counts::default(),
        log_mark: None,
        done: Done::default(),
        keys: Vec::new(),
        destroyed_at: None,
        certificate: None,
        ledger_index: None,
        is_end: false,
        is_period: false,
        stated_at: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_over_a_period_keeps_what_it_overlaps() {
        let time = |text: &str| Timestamp::parse_rfc3339(text).ok();
        let hold = |from: Option<&str>, to: Option<&str>| HoldScope {
            from: from.and_then(time),
            to: to.and_then(time),
            ..HoldScope::default()
        };
        let october = StoredScope::Month { month: 681 };
        let in_time = hold(Some("2026-10-31T23:00:00Z"), Some("2026-11-05T00:00:00Z"));
        let later = hold(Some("2026-11-01T00:00:00Z"), Some("2026-11-05T00:00:00Z"));
        assert!(is_held(&october, &[in_time]));
        assert!(!is_held(&october, std::slice::from_ref(&later)));
        let key = StoredScope::Key { key: "t".to_owned(), device: None };
        assert!(is_held(&key, &[later]), "its days may be among them");
        assert!(!is_held(&key, &[hold(Some("2026-11-01T00:00:00Z"), None)]));
    }
}
