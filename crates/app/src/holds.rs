//! Holds on activity records: asked for by one person, approved by another, for a time. The purge
//! keeps what they name and nothing else (promise P53).

use std::time::Duration;

use serde_json::json;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{ActorKind, HoldId, OpContext, Timestamp, UserId};
use veritwin_metastore::{Hold, HoldReason};

use crate::change::Change;
use crate::model::{HoldInput, HoldScope, HoldView};
use crate::records::check_action;
use crate::{App, Error, Result};

/// Longest hold; a new one can be asked for before it ends.
const HOLD_LIFETIME_MAX: Duration = Duration::from_secs(731 * 86_400);
/// Single records that one hold names.
const RECORDS_MAX: usize = 200;
const NOTE_CHARS_MAX: usize = 1000;

/// Two people are told apart by their accounts: a program cannot stand for one.
pub(crate) fn person(context: &OpContext) -> Result<UserId> {
    match context.actor.kind {
        ActorKind::User { user, .. } => Ok(user),
        _ => Err(Error::Forbidden("this needs a person who is signed in".to_owned())),
    }
}

fn resource(context: &OpContext, id: HoldId) -> Resource {
    Resource::one(context.tenant, Kind::Hold, id.as_bytes())
}

fn state(hold: &Hold, now: Timestamp) -> &'static str {
    if hold.released_at.is_some() {
        "released"
    } else if hold.expires_at <= now {
        "expired"
    } else if hold.approved_at.is_some() {
        "in_force"
    } else {
        "asked"
    }
}

/// A text that a person has to give.
pub(crate) fn words(field: &'static str, text: &str, chars_max: usize) -> Result<String> {
    let text = text.trim();
    let chars = text.chars().count();
    if chars == 0 || chars > chars_max {
        return Err(Error::invalid_at(field, format!("needs 1 to {chars_max} characters")));
    }
    Ok(text.to_owned())
}

fn check_scope(scope: &HoldScope) -> Result<()> {
    if let Some(action) = &scope.action {
        check_action(action)?;
    }
    if scope.records.len() > RECORDS_MAX {
        return Err(Error::invalid_at("records", format!("at most {RECORDS_MAX} records")));
    }
    if let (Some(from), Some(to)) = (scope.from, scope.to)
        && from >= to
    {
        return Err(Error::invalid_at("to", "must be after `from`"));
    }
    let is_bounded = scope.actor.is_some()
        || scope.action.is_some()
        || (scope.from.is_some() && scope.to.is_some())
        || !scope.records.is_empty();
    if !is_bounded {
        let detail = "a hold names an actor, an action, a time from and to, or single records: \
                      it cannot keep everything";
        return Err(Error::invalid_at("scope", detail));
    }
    Ok(())
}

impl App {
    /// The tenant's holds, newest first.
    pub async fn list_holds(&self, context: &OpContext) -> Result<Vec<HoldView>> {
        let resource = self.authorize_all(context, Action::HoldList, Kind::Hold)?;
        let tx = self.0.store.read(context).await?;
        let people = crate::incidents::people(&tx).await?;
        let holds = tx.holds().await?;
        self.note(context, Action::HoldList, &resource, "done");
        let own = person(context).ok();
        let name = |user: UserId| people.get(&user).cloned();
        let view = |hold: Hold| HoldView {
            id: hold.id,
            state: state(&hold, context.at),
            reason: hold.reason.as_str(),
            note: hold.note,
            requested_by: name(hold.requested_by).unwrap_or_else(|| "former member".to_owned()),
            requested_at: hold.requested_at,
            is_own: own == Some(hold.requested_by),
            approved_by: hold.approved_by.map(|user| name(user).unwrap_or_default()),
            approved_at: hold.approved_at,
            expires_at: hold.expires_at,
            released_at: hold.released_at,
            scope: HoldScope {
                actor: hold.scope.actor,
                action: hold.scope.action,
                from: hold.scope.from,
                to: hold.scope.to,
                records: hold.scope.records,
            },
        };
        Ok(holds.into_iter().map(view).collect())
    }

    /// Asks for a hold. It keeps nothing until somebody else approves it.
    pub async fn request_hold(&self, context: &OpContext, input: HoldInput) -> Result<HoldId> {
        self.authorize_all(context, Action::HoldRequest, Kind::Hold)?;
        let requested_by = person(context)?;
        check_scope(&input.scope)?;
        let note = words("note", &input.note, NOTE_CHARS_MAX)?;
        let reason = HoldReason::parse(&input.reason).ok_or_else(|| {
            Error::invalid_at("reason", "must be one of fraud, incident, legal_duty")
        })?;
        if input.expires_at <= context.at {
            return Err(Error::invalid_at("expires_at", "must be in the future"));
        }
        if input.expires_at.since(context.at) > HOLD_LIFETIME_MAX {
            return Err(Error::invalid_at("expires_at", "at most two years from now"));
        }
        let scope = input.scope;
        let hold = Hold {
            id: HoldId::generate(context.at, self.rng()),
            scope: veritwin_metastore::HoldScope {
                actor: scope.actor,
                action: scope.action,
                from: scope.from,
                to: scope.to,
                records: scope.records,
            },
            reason,
            note,
            requested_by,
            requested_at: context.at,
            approved_by: None,
            approved_at: None,
            expires_at: input.expires_at,
            released_at: None,
        };
        let tx = self.0.store.begin(context).await?;
        tx.hold_create(&hold).await?;
        let change = Change::to(json!({
            "reason": reason.as_str(), "expires_at": hold.expires_at.to_string(),
        }));
        let resource = resource(context, hold.id);
        self.record_change(&tx, context, Action::HoldRequest, &resource, change).await?;
        tx.commit().await?;
        Ok(hold.id)
    }

    /// Approves a hold that somebody else asked for.
    pub async fn approve_hold(&self, context: &OpContext, id: HoldId) -> Result<()> {
        let resource = resource(context, id);
        self.authorize(context, Action::HoldApprove, &resource)?;
        let tx = self.0.store.begin(context).await?;
        let hold = tx.hold(id).await?;
        let approver = person(context)?;
        if hold.requested_by == approver {
            let detail = "whoever asked for a hold cannot approve it: a second person does";
            return Err(Error::Conflict(detail.to_owned()));
        }
        if hold.expires_at <= context.at {
            return Err(Error::Conflict("the hold has ended".to_owned()));
        }
        tx.hold_approve(id, approver, context.at).await?;
        self.record(&tx, context, Action::HoldApprove, &resource).await?;
        Ok(tx.commit().await?)
    }

    /// Ends a hold: what is past its time goes with the next purge.
    pub async fn release_hold(&self, context: &OpContext, id: HoldId) -> Result<()> {
        let resource = resource(context, id);
        self.authorize(context, Action::HoldRelease, &resource)?;
        let tx = self.0.store.begin(context).await?;
        let hold = tx.hold(id).await?;
        let own = person(context)?;
        if hold.approved_at.is_some() && hold.scope.actor == Some(*own.as_bytes()) {
            let detail = "whose records a hold keeps cannot end it: another person does";
            return Err(Error::Conflict(detail.to_owned()));
        }
        tx.hold_release(id, context.at).await?;
        self.record(&tx, context, Action::HoldRelease, &resource).await?;
        Ok(tx.commit().await?)
    }
}
