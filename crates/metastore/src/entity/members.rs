//! The people of a tenant, as the tenant sees them.

use std::collections::BTreeMap;

use async_recursion::async_recursion as boxed;
use veritwin_domain::{Role, UserId};

use super::bringers::TABLE as BRINGERS;
use super::grants::Holder;
use super::users::{self, User};
use crate::query::{above, one_of};
use crate::seal::Owner;
use crate::{Cursor, Error, Listed, Page, Result, TenantTx};

const TABLE: &str = "memberships";
const SESSIONS: &str = "sessions";

/// An account with its roles in this tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The account; its password hash is left out.
    pub user: User,
    /// Its roles here.
    pub roles: Vec<Role>,
}

impl TenantTx {
    /// The tenant's people, oldest account first.
    #[boxed]
    pub async fn members(&self, page: &Page) -> Result<Listed<Member>> {
        let mut select = self.select(users::TABLE).ascending("id").limit(page.rows() + 1);
        if let Some(cursor) = &page.after {
            select = select.filter(above("id", cursor.id()?));
        }
        let mut people = Vec::new();
        for row in self.core.all(select).await? {
            let vault = self.core.vault(Owner::Subject(row.get("id")?));
            people.push(users::load(&row, &vault)?);
        }
        let mut roles = self.roles_of(people.iter().map(|user| user.id)).await?;
        let items = people
            .into_iter()
            .map(|user| Member {
                roles: roles.remove(&user.id).unwrap_or_default(),
                user: User { password_hash: None, ..user },
            })
            .collect();
        Ok(Listed::cut(items, page, |member: &Member| Cursor::by_id(member.user.id.as_bytes())))
    }

    /// One of the tenant's people.
    #[boxed]
    pub async fn member(&self, id: UserId) -> Result<Member> {
        let row = self.core.one(self.select(users::TABLE).eq("id", id)).await?;
        let user = users::load(&row, &self.core.vault(Owner::Subject(id)))?;
        let roles = self.roles_of([id]).await?.remove(&id).unwrap_or_default();
        Ok(Member { user: User { password_hash: None, ..user }, roles })
    }

    /// Takes every role in this tenant from an account and ends its sessions here.
    #[boxed]
    pub async fn member_remove(&self, id: UserId) -> Result<()> {
        if self.core.delete(self.delete(TABLE).eq("user_id", id)).await? == 0 {
            return Err(Error::NotFound { what: TABLE });
        }
        self.grants_delete_of(Holder::User(id)).await?;
        self.core.delete(self.delete(BRINGERS).eq("user_id", id)).await?;
        self.core.delete(self.delete(SESSIONS).eq("user_id", id)).await.map(|_| ())
    }

    /// Gives an account exactly these roles in this tenant; at least one.
    #[boxed]
    pub async fn member_roles_set(&self, id: UserId, roles: &[Role]) -> Result<()> {
        let known = self.core.all(self.select(TABLE).eq("user_id", id)).await?;
        // Since when somebody belongs here, and who invited them, stays as it was.
        let (mut since, mut invited_by) = (self.core.at, None::<UserId>);
        for row in &known {
            since = since.min(row.get("created_at")?);
            invited_by = invited_by.or(row.maybe("invited_by")?);
        }
        if self.core.delete(self.delete(TABLE).eq("user_id", id)).await? == 0 || roles.is_empty() {
            return Err(Error::NotFound { what: TABLE });
        }
        for role in roles {
            let insert = self
                .insert(TABLE)
                .set("user_id", id)
                .set("role", *role)
                .set("created_at", since)
                .set("invited_by", invited_by);
            self.core.insert(insert).await?;
        }
        Ok(())
    }

    async fn roles_of(
        &self,
        people: impl IntoIterator<Item = UserId>,
    ) -> Result<BTreeMap<UserId, Vec<Role>>> {
        let select = self.select(TABLE).filter(one_of("user_id", people)).ascending("role");
        let mut roles: BTreeMap<UserId, Vec<Role>> = BTreeMap::new();
        for row in self.core.all(select).await? {
            roles.entry(row.get("user_id")?).or_default().push(row.get("role")?);
        }
        Ok(roles)
    }
}
