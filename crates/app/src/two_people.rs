//! What makes two of the staff two people, as far as a platform can tell: they prove a second
//! factor of their own, neither brought the other in, and nobody brought both in just now.

use std::time::Duration;

use veritwin_domain::{OpContext, Timestamp, UserId};
use veritwin_metastore::{PlatformTx, SessionMethod};

use crate::provision::PLATFORM_TENANT;
use crate::sign_in::person;
use crate::{App, Error, Result};

/// Whoever was brought in by the same people takes no part with the other before so long.
const NEW_FOR: Duration = Duration::from_secs(7 * 86_400);
/// Longest line of inviters that is followed.
const INVITERS_MAX: usize = 32;

/// How somebody came to the staff.
#[derive(Debug, Clone)]
struct Line {
    user: UserId,
    since: Timestamp,
    /// Who invited them, who invited those, and so on.
    inviters: Vec<UserId>,
}

async fn line(tx: &PlatformTx, user: UserId) -> Result<Line> {
    let none = || Error::Forbidden("only members of the staff take part".to_owned());
    let (since, mut by) = tx.membership_origin(PLATFORM_TENANT, user).await?.ok_or_else(none)?;
    let mut inviters = Vec::new();
    while let Some(inviter) = by.filter(|inviter| !inviters.contains(inviter)) {
        if inviters.len() >= INVITERS_MAX {
            break;
        }
        inviters.push(inviter);
        by = tx.membership_origin(PLATFORM_TENANT, inviter).await?.and_then(|(_, by)| by);
    }
    Ok(Line { user, since, inviters })
}

/// Why these two do not count as two; none when they do.
fn objection(one: &Line, other: &Line, now: Timestamp) -> Option<&'static str> {
    if one.user == other.user {
        return Some("whoever asked cannot approve it: a second member of the staff does");
    }
    if one.inviters.contains(&other.user) || other.inviters.contains(&one.user) {
        return Some(
            "one of you brought the other in: somebody approves whom neither the one who asked nor \
             their invitations brought in",
        );
    }
    let is_common = one.inviters.iter().any(|inviter| other.inviters.contains(inviter));
    let is_new = |line: &Line| now.since(line.since) < NEW_FOR;
    if is_common && (is_new(one) || is_new(other)) {
        return Some(
            "the same person brought both of you in, and one of you less than seven days ago: \
             somebody else approves, or the operator brings one in (veritwin admin link --support)",
        );
    }
    None
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

    /// Refuses two accounts that may be one person's.
    pub(crate) async fn check_two_people(
        &self,
        tx: &PlatformTx,
        (asked, approves): (UserId, UserId),
        now: Timestamp,
    ) -> Result<()> {
        let (one, other) = (line(tx, asked).await?, line(tx, approves).await?);
        objection(&one, &other, now).map_or(Ok(()), |why| Err(Error::Conflict(why.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: u64 = 86_400;

    fn id(number: u8) -> UserId {
        UserId::from_bytes([number; 16])
    }

    /// Somebody who came in so many days ago.
    fn came(user: u8, days: u64, inviters: &[u8]) -> Line {
        let since = now().saturating_sub(Duration::from_secs(days * DAY_S));
        Line { user: id(user), since, inviters: inviters.iter().map(|one| id(*one)).collect() }
    }

    fn now() -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000)
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
        check(&came(1, 90, &[]), &came(1, 90, &[]), Some("whoever asked"));
        // By the operator, each in a line of their own.
        check(&came(1, 0, &[]), &came(2, 0, &[]), None);
        check(&came(1, 90, &[]), &came(2, 90, &[1]), Some("one of you brought"));
        check(&came(1, 90, &[]), &came(3, 90, &[2, 1]), Some("one of you brought"));
        check(&came(2, 0, &[1]), &came(3, 0, &[1]), Some("the same person"));
        check(&came(2, 90, &[1]), &came(3, 6, &[1]), Some("the same person"));
        check(&came(2, 0, &[1]), &came(4, 0, &[3, 1]), Some("the same person"));
        check(&came(2, 90, &[1]), &came(3, 8, &[1]), None);
        check(&came(2, 0, &[1]), &came(4, 0, &[3]), None);
    }
}
