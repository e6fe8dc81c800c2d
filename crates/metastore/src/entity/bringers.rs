//! Who brought whom into a tenant: by inviting, by setting up the provider that somebody came by,
//! by giving a role. An account carries everybody in its line itself, so that nobody drops out of
//! it by leaving.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{TenantId, Timestamp, UserId};

use crate::bind::Row;
use crate::{PlatformTx, Result, TenantTx};

pub(super) const TABLE: &str = "bringers";
const MEMBERSHIPS: &str = "memberships";
const OPERATOR: UserId = UserId::from_bytes([0; 16]);

/// Most people of a line. One that is longer counts as unknown.
const LINE_MAX: usize = 1000;

/// Who brings somebody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bringer {
    /// Whoever holds the data directory, by a link that says so.
    Operator,
    /// A person of this tenant, or of one above it.
    Person(UserId),
}

/// How an account came to what it is in a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Whose it is.
    pub user: UserId,
    /// Since when it belongs to the tenant.
    pub since: Timestamp,
    /// Whether whoever holds the data directory brought it in.
    pub by_operator: bool,
    /// Who brought it in, who brought those in, and so on; each with when that last happened.
    pub inviters: Vec<(UserId, Timestamp)>,
    /// Whether it has more inviters than are kept.
    pub is_cut: bool,
}

impl Line {
    /// None for who does not belong to the tenant.
    fn read(user: UserId, memberships: &[Row], bringers: &[Row]) -> Result<Option<Self>> {
        let Some(first) = memberships.first() else { return Ok(None) };
        let since: Timestamp = first.get("created_at")?;
        let is_cut = bringers.len() > LINE_MAX;
        let mut line = Self { user, since, by_operator: false, inviters: Vec::new(), is_cut };
        for row in bringers {
            let (by, at): (UserId, Timestamp) = (row.get("by_id")?, row.get("created_at")?);
            if by == OPERATOR {
                // What was noted of a membership that ended says nothing of this one.
                line.by_operator |= at >= since;
            } else {
                line.inviters.push((by, at));
            }
        }
        for row in memberships {
            // Where members of before version 15 have it.
            let by: Option<UserId> = row.maybe("invited_by")?;
            if let Some(by) = by.filter(|by| line.inviters.iter().all(|(known, _)| known != by)) {
                line.inviters.push((by, since));
            }
        }
        Ok(Some(line))
    }

    /// Whom a bringer with this line puts into the line of somebody.
    fn ahead(bringer: Bringer, of_bringer: Option<Self>, user: UserId) -> Vec<UserId> {
        let Bringer::Person(by) = bringer else { return vec![OPERATOR] };
        let above = of_bringer.into_iter().flat_map(|line| line.inviters).map(|(id, _)| id);
        std::iter::once(by).chain(above).filter(|id| *id != user).collect()
    }
}

impl TenantTx {
    /// How one of the tenant's people came to what they are; none for who is no member.
    #[boxed]
    pub async fn line(&self, user: UserId) -> Result<Option<Line>> {
        let select = self.select(MEMBERSHIPS).eq("user_id", user).ascending("created_at");
        let memberships = self.core.all(select).await?;
        let select = self.select(TABLE).eq("user_id", user).limit(LINE_MAX as u64 + 1);
        Line::read(user, &memberships, &self.core.all(select).await?)
    }

    /// Notes that somebody made a member what they are. Whom whoever holds the data directory
    /// brought in stays in a line of their own.
    #[boxed]
    pub async fn brought(&self, user: UserId, bringer: Bringer) -> Result<()> {
        let own = self.line(user).await?;
        if own.is_some_and(|line| line.by_operator) {
            return Ok(());
        }
        let above = match bringer {
            Bringer::Operator => None,
            Bringer::Person(by) => self.line(by).await?,
        };
        for by in Line::ahead(bringer, above, user) {
            self.core.delete(self.delete(TABLE).eq("user_id", user).eq("by_id", by)).await?;
            let insert = self.insert(TABLE).set("user_id", user).set("by_id", by);
            self.core.insert(insert.set("created_at", self.core.at)).await?;
        }
        Ok(())
    }
}

impl PlatformTx {
    /// As [`TenantTx::line`], of any tenant.
    #[boxed]
    pub async fn line(&self, tenant: TenantId, user: UserId) -> Result<Option<Line>> {
        let select = self.select(MEMBERSHIPS).eq("tenant_id", tenant).eq("user_id", user);
        let memberships = self.core.all(select.ascending("created_at")).await?;
        let select = self.select(TABLE).eq("tenant_id", tenant).eq("user_id", user);
        let bringers = self.core.all(select.limit(LINE_MAX as u64 + 1)).await?;
        Line::read(user, &memberships, &bringers)
    }

    /// As [`TenantTx::brought`], in any tenant.
    #[boxed]
    pub async fn brought(&self, tenant: TenantId, user: UserId, bringer: Bringer) -> Result<()> {
        let own = self.line(tenant, user).await?;
        if own.is_some_and(|line| line.by_operator) {
            return Ok(());
        }
        let above = match bringer {
            Bringer::Operator => None,
            Bringer::Person(by) => self.line(tenant, by).await?,
        };
        for by in Line::ahead(bringer, above, user) {
            let known = self.delete(TABLE).eq("tenant_id", tenant).eq("user_id", user);
            self.core.delete(known.eq("by_id", by)).await?;
            let insert = self.insert(TABLE).set("tenant_id", tenant).set("user_id", user);
            self.core.insert(insert.set("by_id", by).set("created_at", self.core.at)).await?;
        }
        Ok(())
    }
}
