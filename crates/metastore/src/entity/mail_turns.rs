//! Which mail is sent next: by what it is about, and within that by turns of the tenants, so that
//! nobody waits behind somebody else's thousands.

use std::collections::{BTreeMap, HashMap};

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::{Expr, ExprTrait};
use veritwin_domain::Timestamp;

use super::outbox::{OutboxEntry, OutboxId, TABLE, load};
use crate::query::{at_most, equals, is_null};
use crate::{Error, PlatformTx, Result};

/// Most entries that are claimed at once.
const CLAIM_MAX: usize = 100;
/// Every so many claims begin with the last class, so that it never stands still.
const LAST_FIRST_CLAIMS: u64 = 16;
/// Tenants whose last turn is remembered.
const TURNS_MAX: usize = 30_000;

/// What a mail is about, in the order in which a tenant's mail leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MailRank {
    /// Somebody's account: passwords, addresses, who came in where.
    Account,
    /// An invitation of one person.
    Invitation,
    /// A critical alert.
    Critical,
    /// A high alert.
    High,
    /// A medium alert.
    Medium,
    /// A low alert.
    Low,
    /// Anything else.
    Notice,
    /// Invitations of many.
    Bulk,
}

impl MailRank {
    pub(super) const fn stored(self) -> u64 {
        self as u64
    }
}

/// Classes of ranks, one before the other whoever's turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Class {
    Account,
    Alert,
    Bulk,
}

impl Class {
    const ALL: [Self; 3] = [Self::Account, Self::Alert, Self::Bulk];
    const LAST_FIRST: [Self; 3] = [Self::Bulk, Self::Account, Self::Alert];

    /// Mail of a build that knew no ranks leaves with alerts: most of it is that.
    const fn of(rank: Option<u64>) -> Self {
        match rank {
            Some(rank) if rank < MailRank::Critical.stored() => Self::Account,
            Some(rank) if rank >= MailRank::Bulk.stored() => Self::Bulk,
            _ => Self::Alert,
        }
    }

    fn filter(self) -> Expr {
        let (from, to) = match self {
            Self::Account => (MailRank::Account, MailRank::Invitation),
            Self::Alert => (MailRank::Critical, MailRank::Notice),
            Self::Bulk => (MailRank::Bulk, MailRank::Bulk),
        };
        let bound = |rank: MailRank| i64::try_from(rank.stored()).unwrap_or(i64::MAX);
        let within = Expr::col("rank").between(bound(from), bound(to));
        if self == Self::Alert { within.or(is_null("rank")) } else { within }
    }
}

type Turn = Option<[u8; 16]>;

/// When each tenant had its last turn.
#[derive(Debug, Default)]
pub struct MailTurns {
    claims: u64,
    served: HashMap<(Class, Turn), u64>,
}

impl MailTurns {
    /// Who waited longest comes first; among equals, whose best mail matters most.
    fn order(&self, class: Class, waiting: &BTreeMap<Turn, u64>) -> Vec<Turn> {
        let mut order: Vec<(u64, u64, Turn)> = waiting
            .iter()
            .map(|(turn, rank)| {
                (self.served.get(&(class, *turn)).copied().unwrap_or(0), *rank, *turn)
            })
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(_, _, turn)| turn).collect()
    }

    fn begin(&mut self) -> [Class; 3] {
        self.claims += 1;
        if self.served.len() > TURNS_MAX {
            self.served.clear();
        }
        let last_first = self.claims.is_multiple_of(LAST_FIRST_CLAIMS);
        if last_first { Class::LAST_FIRST } else { Class::ALL }
    }
}

impl PlatformTx {
    /// Takes due entries for sending, by class, then by turns, then by rank and age. Each counts
    /// one attempt more and comes due again at `until` unless it is done before: commit, then
    /// send. An entry whose key is out of reach waits.
    #[boxed]
    pub async fn outbox_claim(
        &self,
        turns: &mut MailTurns,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<OutboxEntry>> {
        let mut room = limit.clamp(1, CLAIM_MAX);
        let waiting = self.outbox_waiting_by_turn(now).await?;
        let mut due = Vec::new();
        for class in turns.begin() {
            let Some(waiting) = waiting.get(&class) else { continue };
            let order = turns.order(class, waiting);
            while room > 0 {
                let (share, before) = ((room / order.len()).max(1), room);
                for turn in &order {
                    let taken =
                        self.outbox_take((class, *turn), (now, until), share.min(room)).await?;
                    if taken.is_empty() {
                        continue;
                    }
                    turns.served.insert((class, *turn), turns.claims);
                    room -= taken.len();
                    due.extend(taken.into_iter().flatten());
                    if room == 0 {
                        break;
                    }
                }
                if room == before {
                    break;
                }
            }
        }
        Ok(due)
    }

    /// Who has mail that is due, with the best rank of it.
    async fn outbox_waiting_by_turn(
        &self,
        now: Timestamp,
    ) -> Result<BTreeMap<Class, BTreeMap<Turn, u64>>> {
        let select = self
            .select(TABLE)
            .filter(is_null("done_at"))
            .filter(at_most("next_at", now))
            .only(Expr::col("turn_id"), "turn_id")
            .also(Expr::col("rank"), "rank")
            .group_by("turn_id")
            .group_by("rank");
        let mut waiting: BTreeMap<Class, BTreeMap<Turn, u64>> = BTreeMap::new();
        for row in self.core.all(select).await? {
            let rank: Option<u64> = row.maybe("rank")?;
            let best = waiting.entry(Class::of(rank)).or_default();
            let best = best.entry(row.maybe("turn_id")?).or_insert(u64::MAX);
            *best = Ord::min(*best, rank.unwrap_or(u64::MAX));
        }
        Ok(waiting)
    }

    /// Claims entries of one turn; none in the place of one that cannot be read now.
    async fn outbox_take(
        &self,
        (class, turn): (Class, Turn),
        (now, until): (Timestamp, Timestamp),
        limit: usize,
    ) -> Result<Vec<Option<OutboxEntry>>> {
        let whose = turn.map_or_else(|| is_null("turn_id"), |turn| equals("turn_id", turn));
        let select = self
            .select(TABLE)
            .filter(is_null("done_at"))
            .filter(at_most("next_at", now))
            .filter(class.filter())
            .filter(whose)
            .only(Expr::col("id"), "id")
            .ascending("rank")
            .ascending("next_at")
            .limit(limit as u64);
        let mut taken = Vec::new();
        for row in self.core.all(select).await? {
            let id: [u8; 16] = row.get("id")?;
            let claim = self
                .update(TABLE)
                .set("next_at", until)
                .set("claimed_until", until)
                .increment("attempts")
                .eq("id", id)
                .filter(is_null("done_at"))
                .filter(at_most("next_at", now));
            // Another node may have claimed it since it was read.
            if self.core.update(claim).await? == 0 {
                continue;
            }
            // What it says may have changed since it was read, too.
            let row = self.core.one(self.select(TABLE).eq("id", id)).await?;
            taken.push(match load(&self.core, &row, OutboxId(id)) {
                Ok(entry) => Some(entry),
                Err(Error::KeyUnavailable(_) | Error::KeyDenied(_)) => None,
                Err(error) => return Err(error),
            });
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waited_longest_comes_first_and_the_last_class_in_its_time() {
        let (one, two) = (Some([1; 16]), Some([2; 16]));
        let waiting = BTreeMap::from([(None, 5), (one, 2), (two, 2)]);
        let mut turns = MailTurns::default();
        assert_eq!(turns.order(Class::Alert, &waiting), [one, two, None]);
        turns.served.insert((Class::Alert, one), 3);
        assert_eq!(turns.order(Class::Alert, &waiting), [two, None, one]);
        assert_eq!(turns.order(Class::Bulk, &waiting), [one, two, None], "each class by itself");
        for _ in 1..LAST_FIRST_CLAIMS {
            assert_eq!(turns.begin(), Class::ALL);
        }
        assert_eq!(turns.begin(), Class::LAST_FIRST);
    }
}
