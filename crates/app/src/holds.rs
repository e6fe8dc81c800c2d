//! Holds on activity records: asked for by one person, approved by another, for a time, and ended
//! before it by two again, neither of them whose records they keep. Placing one keeps things, so
//! it asks less of the two than ending one. The purge keeps what they name and nothing else
//! (promise P53).

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{ActorKind, HoldId, OpContext, Timestamp, UserId};
use veritwin_metastore::{Hold, HoldReason, Line, Release, TenantTx};

use crate::change::Change;
use crate::model::{HoldInput, HoldScope, HoldView};
use crate::records::check_action;
use crate::two_people::{BY_WHOEVER_ANSWERS, check_two_keepers, check_two_people, of_member};
use crate::{App, Error, Result};

/// Longest hold; a new one can be asked for before it ends.
const HOLD_LIFETIME_MAX: Duration = Duration::from_secs(731 * 86_400);
/// Single records that one hold names.
const RECORDS_MAX: usize = 200;
const NOTE_CHARS_MAX: usize = 1000;
/// A release that nobody confirmed for so long is asked for no more.
const RELEASE_ASKED_MAX: Duration = Duration::from_secs(7 * 86_400);

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
    } else if hold.approved_at.is_some() && asked_release(hold, now).is_some() {
        "release_asked"
    } else if hold.approved_at.is_some() {
        "in_force"
    } else {
        "asked"
    }
}

/// Who asked to end it, as long as that counts.
fn asked_release(hold: &Hold, now: Timestamp) -> Option<Release> {
    let counts =
        |one: &Release| now.since(Timestamp::from_micros(one.asked_at_micros)) < RELEASE_ASKED_MAX;
    hold.release.filter(counts)
}

/// Whether a hold is about what one of these people did: by their account, or by a key that they
/// made, revoked or not; as its actor, or in single records.
async fn is_held(tx: &TenantTx, hold: &Hold, people: &[UserId]) -> Result<bool> {
    let actors = match hold.scope.actor {
        Some(actor) => vec![actor],
        None => tx.activity_actors(&hold.scope.records).await?,
    };
    let is_theirs = |person: &UserId| actors.contains(person.as_bytes());
    if people.iter().any(is_theirs) {
        return Ok(true);
    }
    Ok(tx.key_makers(&actors).await?.iter().any(|maker| people.contains(maker)))
}

/// Somebody and whoever is in their line.
fn with_line(line: &Line) -> Vec<UserId> {
    let above = line.inviters.iter().map(|(inviter, _)| *inviter);
    std::iter::once(line.user).chain(above).collect()
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
    #[boxed]
    pub async fn list_holds(&self, context: &OpContext) -> Result<Vec<HoldView>> {
        let resource = self.authorize_all(context, Action::HoldList, Kind::Hold)?;
        let tx = self.0.store.read(context).await?;
        let people = crate::incidents::people(&tx).await?;
        let holds = tx.holds().await?;
        let own = person(context).ok();
        let people_of_own = match own {
            Some(own) => tx.line(own).await?.as_ref().map(with_line).unwrap_or_default(),
            None => Vec::new(),
        };
        let mut held = std::collections::HashSet::new();
        for hold in &holds {
            let is_open = matches!(state(hold, context.at), "in_force" | "release_asked");
            if is_open && is_held(&tx, hold, &people_of_own).await? {
                held.insert(hold.id);
            }
        }
        self.note(context, Action::HoldList, &resource, "done");
        let name = |user: UserId| people.get(&user).cloned();
        let view = |hold: Hold| HoldView {
            is_held: held.contains(&hold.id),
            is_own_release: asked_release(&hold, context.at)
                .is_some_and(|one| own == Some(one.asked_by)),
            release_asked_by: asked_release(&hold, context.at)
                .map(|one| name(one.asked_by).unwrap_or_else(|| "former member".to_owned())),
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
    #[boxed]
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
            release: None,
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

    /// Approves a hold that somebody else asked for, who is another person as far as can be told;
    /// more is asked of the two when one of them is whose records it keeps.
    #[boxed]
    pub async fn approve_hold(&self, context: &OpContext, id: HoldId) -> Result<()> {
        let resource = resource(context, id);
        self.authorize(context, Action::HoldApprove, &resource)?;
        let tx = self.0.store.begin(context).await?;
        let hold = tx.hold(id).await?;
        let approver = person(context)?;
        let own = of_member(tx.line(approver).await?)?;
        let asker = of_member(tx.line(hold.requested_by).await?)?;
        let (two, way) = ((&asker, &own), BY_WHOEVER_ANSWERS);
        if is_held(&tx, &hold, &[hold.requested_by, approver]).await? {
            check_two_people(two, context.at, way)?;
        } else {
            check_two_keepers(two, context.at, way)?;
        }
        if hold.expires_at <= context.at {
            return Err(Error::Conflict("the hold has ended".to_owned()));
        }
        tx.hold_approve(id, approver, context.at).await?;
        let change = Change::from_to(json!({"state": "asked"}), json!({"state": "in_force"}));
        self.record_change(&tx, context, Action::HoldApprove, &resource, change).await?;
        Ok(tx.commit().await?)
    }

    /// Ends a hold before its time: one person asks, another confirms, and neither of them is whose
    /// records it keeps, or was brought in by them. One that nobody approved is taken back by one.
    /// Whether it is ended.
    #[boxed]
    pub async fn release_hold(&self, context: &OpContext, id: HoldId) -> Result<bool> {
        let resource = resource(context, id);
        self.authorize(context, Action::HoldRelease, &resource)?;
        let tx = self.0.store.begin(context).await?;
        let mut hold = tx.hold(id).await?;
        let own = person(context)?;
        let before = state(&hold, context.at);
        // What somebody asked who is no member any more is asked for again.
        let asker = match asked_release(&hold, context.at) {
            Some(asked) => tx.line(asked.asked_by).await?,
            None => None,
        };
        let is_over = match before {
            "in_force" => false,
            "release_asked" => asker.is_some(),
            _ => true,
        };
        if matches!(before, "in_force" | "release_asked") {
            let line = of_member(tx.line(own).await?)?;
            if is_held(&tx, &hold, &with_line(&line)).await? {
                let detail = "neither whose records a hold keeps, nor whom they brought in or gave \
                              a role, ends it: two others do, or it ends at its time";
                return Err(Error::Conflict(detail.to_owned()));
            }
            if let Some(asker) = asker {
                check_two_people((&asker, &line), context.at, BY_WHOEVER_ANSWERS)?;
            }
        }
        if is_over {
            tx.hold_release(id, context.at).await?;
        } else {
            let asked_at_micros = context.at.as_micros();
            hold.release = Some(Release { asked_by: own, asked_at_micros });
            tx.hold_release_ask(&hold).await?;
        }
        let after = if is_over { "released" } else { "release_asked" };
        let change = Change::from_to(json!({"state": before}), json!({"state": after}));
        self.record_change(&tx, context, Action::HoldRelease, &resource, change).await?;
        tx.commit().await?;
        Ok(is_over)
    }
}
