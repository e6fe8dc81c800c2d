//! What makes two accounts two people, as far as a platform can tell: neither brought the other in
//! or gave them a role, nobody did both just now, and it is known who brought each in.

use std::time::Duration;

use veritwin_domain::{ActorKind, OpContext, Timestamp, UserId};
use veritwin_metastore::{Bringer, Line, SessionMethod, TenantTx};

use crate::sign_in::person;
use crate::{App, Error, Result};

/// Whoever was brought in by the same people takes no part with the other before so long.
const NEW_FOR: Duration = Duration::from_secs(7 * 86_400);
const SAME: &str = "whoever asked cannot do this: a second person does";
/// Where members of the platform's staff get another person from.
pub(crate) const BY_OPERATOR: &str = "the operator brings one in (veritwin admin link)";
/// Where people of a customer do.
pub(crate) const BY_WHOEVER_ANSWERS: &str =
    "whoever answers for your organisation has somebody of yours brought in by the operator";

/// The line of somebody who takes part.
pub(crate) fn of_member(line: Option<Line>) -> Result<Line> {
    let none = || Error::Conflict("whoever takes part has to be a member still".to_owned());
    line.ok_or_else(none)
}

/// Whether somebody is in this line.
fn is_of(line: &Line, person: UserId) -> bool {
    line.inviters.iter().any(|(inviter, _)| *inviter == person)
}

/// Why these two do not count as two; none when they do.
fn objection(one: &Line, other: &Line, now: Timestamp) -> Option<&'static str> {
    if one.user == other.user {
        return Some(SAME);
    }
    if is_of(one, other.user) || is_of(other, one.user) {
        return Some(
            "one of you brought the other in, or gave them a role: somebody does it whom neither \
             the one who asked nor their invitations brought in",
        );
    }
    if is_unknown(one) || is_unknown(other) {
        return Some("it is not known who brought one of you in: somebody else does it");
    }
    if are_new_of_one(one, other, now) {
        return Some(
            "the same person brought both of you in, or gave you roles, and one of you less than \
             seven days ago: somebody else does it",
        );
    }
    None
}

/// Whether the same person brought both in, one of them just now.
fn are_new_of_one(one: &Line, other: &Line, now: Timestamp) -> bool {
    one.inviters.iter().any(|(inviter, at)| {
        let same = other.inviters.iter().find(|(theirs, _)| theirs == inviter);
        same.is_some_and(|(_, theirs)| is_new(*at, now) || is_new(*theirs, now))
    })
}

/// Why these two do not keep records together. Keeping is the harmless side, so a week later who
/// brought the other in counts as two: a small customer has nobody else.
fn objection_to_keeping(one: &Line, other: &Line, now: Timestamp) -> Option<&'static str> {
    if one.user == other.user {
        return Some(SAME);
    }
    let just_brought = |line: &Line, by: UserId| {
        line.inviters.iter().any(|(inviter, at)| *inviter == by && is_new(*at, now))
    };
    if just_brought(one, other.user) || just_brought(other, one.user) {
        return Some(
            "one of you brought the other in, or gave them a role, less than seven days ago: \
             somebody else does it, or you when the seven days are over",
        );
    }
    if are_new_of_one(one, other, now) {
        return Some(
            "the same person brought both of you in, or gave you roles, and one of you less than \
             seven days ago: somebody else does it, or you when the seven days are over",
        );
    }
    let is_new_of_nobody = |line: &Line| is_unknown(line) && is_new(line.since, now);
    if is_new_of_nobody(one) || is_new_of_nobody(other) {
        return Some(
            "it is not known who brought one of you in, less than seven days ago: somebody else \
             does it, or you when the seven days are over",
        );
    }
    None
}

/// Of whom nobody can tell where they come from may be anybody's.
const fn is_unknown(line: &Line) -> bool {
    line.is_cut || (!line.by_operator && line.inviters.is_empty())
}

fn is_new(at: Timestamp, now: Timestamp) -> bool {
    now.since(at) < NEW_FOR
}

/// Refuses two accounts that may be one person's. `way` says where another person comes from.
pub(crate) fn check_two_people(
    (asked, does): (&Line, &Line),
    now: Timestamp,
    way: &str,
) -> Result<()> {
    refuse(objection(asked, does, now), way)
}

/// The same for what only keeps records.
pub(crate) fn check_two_keepers(
    (asked, does): (&Line, &Line),
    now: Timestamp,
    way: &str,
) -> Result<()> {
    refuse(objection_to_keeping(asked, does, now), way)
}

fn refuse(why: Option<&'static str>, way: &str) -> Result<()> {
    match why {
        Some(SAME) => Err(Error::Conflict(SAME.to_owned())),
        Some(why) => Err(Error::Conflict(format!("{why}, or {way}"))),
        None => Ok(()),
    }
}

impl App {
    /// Asks for a second factor of the account itself, proven in this session. How recent the proof
    /// has to be is the action's.
    pub(crate) async fn check_own_second_factor(&self, context: &OpContext) -> Result<()> {
        let (user, session) = person(context)?;
        let tx = self.0.store.read_platform(&self.above(context)).await?;
        let own = tx.session(session).await?;
        if own.is_some_and(|own| own.second_factor && own.method == SessionMethod::Account) {
            return Ok(());
        }
        if crate::factors::has_second_factor(&tx.factors_of(user).await?) {
            return Err(Error::NotProven("prove again who you are, with your second factor"));
        }
        Err(Error::Conflict(
            "this takes a second factor of your own: set one up in Settings first".to_owned(),
        ))
    }

    /// Notes who gave a member a role: they, or whose key did.
    pub(crate) async fn note_bringer(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        user: UserId,
    ) -> Result<()> {
        let by = match context.actor.kind {
            ActorKind::User { user, .. } => Some(user),
            ActorKind::ApiKey(key) => tx.api_key(key).await?.maker,
            _ => None,
        };
        let Some(by) = by else { return Ok(()) };
        Ok(tx.brought(user, Bringer::Person(by)).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: u64 = 86_400;

    fn id(number: u8) -> UserId {
        UserId::from_bytes([number; 16])
    }

    fn ago(days: u64) -> Timestamp {
        now().saturating_sub(Duration::from_secs(days * DAY_S))
    }

    /// Somebody whom these brought in so many days ago.
    fn came(user: u8, days: u64, inviters: &[u8]) -> Line {
        let inviters = inviters.iter().map(|one| (id(*one), ago(days))).collect();
        Line { user: id(user), since: ago(days), by_operator: false, inviters, is_cut: false }
    }

    fn by_operator(user: u8, days: u64, inviters: &[u8]) -> Line {
        Line { by_operator: true, ..came(user, days, inviters) }
    }

    fn now() -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000)
    }

    #[test]
    fn who_keeps_records_is_less_strict_and_still_two() {
        let check = |one: &Line, other: &Line, begins: Option<&str>| {
            for (one, other) in [(one, other), (other, one)] {
                let found = objection_to_keeping(one, other, now());
                let fits = match (found, begins) {
                    (Some(found), Some(begins)) => found.starts_with(begins),
                    (found, begins) => found.is_none() && begins.is_none(),
                };
                assert!(fits, "{one:?} {other:?}: {found:?}");
            }
        };
        let owner = by_operator(1, 0, &[]);
        check(&owner, &owner, Some("whoever asked"));
        check(&came(2, 90, &[1]), &came(3, 6, &[1]), Some("the same person"));
        check(&came(2, 8, &[1]), &came(3, 8, &[1]), None);
        check(&owner, &came(2, 6, &[1]), Some("one of you brought"));
        check(&owner, &came(2, 8, &[1]), None);
        check(&came(2, 0, &[1]), &came(4, 0, &[2, 1]), Some("one of you brought"));
        check(&came(1, 90, &[]), &came(2, 90, &[]), None);
        check(&came(1, 6, &[]), &came(2, 90, &[]), Some("it is not known"));
        let cut = Line { is_cut: true, ..came(2, 6, &[1]) };
        check(&cut, &owner, Some("one of you brought"));
        check(&cut, &came(3, 90, &[]), Some("it is not known"));
    }

    #[test]
    fn two_accounts_count_as_two_people_or_not() {
        let check = |one: &Line, other: &Line, begins: Option<&str>| {
            for (one, other) in [(one, other), (other, one)] {
                let found = objection(one, other, now());
                let fits = match (found, begins) {
                    (Some(found), Some(begins)) => found.starts_with(begins),
                    (found, begins) => found.is_none() && begins.is_none(),
                };
                assert!(fits, "{one:?} {other:?}: {found:?}");
            }
        };
        let own = |user| by_operator(user, 0, &[]);
        check(&own(1), &own(1), Some("whoever asked"));
        check(&own(1), &own(2), None);
        check(&own(1), &came(2, 90, &[1]), Some("one of you brought"));
        check(&own(1), &came(3, 90, &[2, 1]), Some("one of you brought"));
        check(&came(2, 0, &[1]), &came(3, 0, &[1]), Some("the same person"));
        check(&came(2, 90, &[1]), &came(3, 6, &[1]), Some("the same person"));
        check(&came(2, 0, &[1]), &came(4, 0, &[3, 1]), Some("the same person"));
        check(&came(2, 90, &[1]), &came(3, 8, &[1]), None);
        check(&came(2, 0, &[1]), &came(4, 0, &[3]), None);
        check(&by_operator(2, 0, &[1]), &came(4, 0, &[3]), None);
        // Members for long, whom one person gave their roles just now.
        let given = |user| Line { since: ago(90), ..came(user, 0, &[1]) };
        check(&given(2), &given(3), Some("the same person"));
        // Nobody knows where they come from.
        check(&came(1, 90, &[]), &came(2, 90, &[]), Some("it is not known"));
        check(&came(1, 90, &[]), &own(2), Some("it is not known"));
        let cut = Line { is_cut: true, ..came(2, 90, &[1]) };
        check(&cut, &own(3), Some("it is not known"));
    }
}
