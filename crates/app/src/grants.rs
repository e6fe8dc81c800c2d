//! Grants: a person or program holds a role over a part of the tenant, until it is taken away.

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{ActorKind, GrantId, OpContext, Role, Timestamp, UserId};
use veritwin_metastore::{Grant, GrantRole, Holder, StoredRole, TenantTx};

use crate::change::Change;
use crate::model::{GrantView, HolderOf, NewGrant, RightView};
use crate::rights::{OWN, allows, denying, has_ended, is_owner, missing};
use crate::{App, Error, Result, recorded};

pub(crate) const NOTHING_FROM_OWNERS: &str =
    "no role takes anything from an owner: take away that they are one first";

/// A key that somebody made is worth no more than they are.
const OF_NOBODY: &str =
    "it is not known who made this key, so nothing bounds what it is given: make another one";

fn grant_view(grant: Grant) -> GrantView {
    let holder = match grant.holder {
        Holder::User(id) => HolderOf::User(id),
        Holder::ApiKey(id) => HolderOf::ApiKey(id),
    };
    let right = RightView { role: grant.role.into(), scope: grant.scope };
    let given = NewGrant { holder, right, expires_at: grant.expires_at };
    GrantView { id: grant.id, grant: given, created_at: grant.created_at }
}

impl App {
    /// The tenant's grants.
    #[boxed]
    pub async fn list_grants(&self, context: &OpContext) -> Result<Vec<GrantView>> {
        let resource = self.authorize_all(context, Action::GrantRead, Kind::Access)?;
        let tx = self.0.store.read(context).await?;
        let all = tx.grants().await?;
        self.note(context, Action::GrantRead, &resource, "done");
        Ok(all.into_iter().map(grant_view).collect())
    }

    /// Gives a person or program a role over a part of the tenant.
    #[boxed]
    pub async fn create_grant(&self, context: &OpContext, new: NewGrant) -> Result<GrantView> {
        self.authorize_all(context, Action::GrantWrite, Kind::Access)?;
        if new.expires_at.is_some_and(|end| end <= context.at) {
            return Err(Error::invalid_at("expires_at", "must be in the future"));
        }
        let tx = self.0.store.begin(context).await?;
        let mut is_to_owner = false;
        let holder = match new.holder {
            HolderOf::User(user) => {
                let member = tx.member(user).await.map_err(missing("user_id"))?;
                self.refuse_own(context, &tx, user).await?;
                is_to_owner = member.roles.contains(&Role::Owner);
                Holder::User(user)
            }
            HolderOf::ApiKey(key) => {
                let held = tx.api_key(key).await.map_err(missing("api_key_id"))?;
                if context.actor.kind == ActorKind::ApiKey(key) {
                    return Err(Error::Forbidden(OWN.to_owned()));
                }
                if held.maker.is_none() {
                    return Err(Error::invalid_at("api_key_id", OF_NOBODY));
                }
                Holder::ApiKey(key)
            }
        };
        let role = GrantRole::from(new.right.role);
        if role == GrantRole::BuiltIn(Role::Owner) {
            let detail = "an owner answers for the whole tenant: change the person's roles";
            return Err(Error::invalid_at("role", detail));
        }
        self.check_scope_exists(&tx, &new.right.scope).await?;
        let until = self.check_giving(context, role, &new.right.scope).await?;
        let expires_at = new.expires_at.or((until < Timestamp::MAX).then_some(until));
        if expires_at.is_some_and(|end| end > until) {
            return Err(Error::invalid_at(
                "expires_at",
                "you hold this yourself until before that",
            ));
        }
        self.check_room_for_grant(&tx).await?;
        let grant = Grant {
            id: GrantId::generate(context.at, self.rng()),
            holder,
            role,
            scope: new.right.scope,
            expires_at,
            created_at: context.at,
        };
        let roles = tx.custom_roles().await?;
        if is_to_owner && denying(&roles, &grant).is_some() {
            return Err(Error::invalid_at("user_id", NOTHING_FROM_OWNERS));
        }
        tx.grant_create(&grant).await?;
        if let Holder::User(user) = grant.holder
            && allows(&roles, &grant)
        {
            self.note_bringer(&tx, context, user).await?;
        }
        if let Some(role) = denying(&roles, &grant).filter(|_| is_owner(context))
            && !role.by_owner
        {
            // From now on an owner stands behind what it denies.
            tx.custom_role_update(&StoredRole { by_owner: true, ..role.clone() }, None).await?;
        }
        let resource = Resource::grant(context.tenant, grant.id);
        let given = Change::to(recorded::grant(&grant, &roles));
        self.record_change(&tx, context, Action::GrantWrite, &resource, given).await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        Ok(grant_view(grant))
    }

    /// Takes away what denied something to somebody who became an owner: it would come back with
    /// the day they step down.
    pub(crate) async fn drop_denials(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        user: UserId,
    ) -> Result<()> {
        let roles = tx.custom_roles().await?;
        for grant in tx.grants().await? {
            if grant.holder != Holder::User(user) || denying(&roles, &grant).is_none() {
                continue;
            }
            tx.grant_delete(grant.id).await?;
            let resource = Resource::grant(context.tenant, grant.id);
            let taken = Change::from(recorded::grant(&grant, &roles));
            self.record_change(tx, context, Action::GrantWrite, &resource, taken).await?;
        }
        Ok(())
    }

    /// Takes a grant away at once.
    #[boxed]
    pub async fn delete_grant(&self, context: &OpContext, id: GrantId) -> Result<()> {
        let resource = Resource::grant(context.tenant, id);
        self.authorize(context, Action::GrantWrite, &resource)?;
        let tx = self.0.store.begin(context).await?;
        let grant = tx.grant(id).await?;
        match grant.holder {
            Holder::User(user) => self.refuse_own(context, &tx, user).await?,
            Holder::ApiKey(key) if context.actor.kind == ActorKind::ApiKey(key) => {
                return Err(Error::Forbidden(OWN.to_owned()));
            }
            Holder::ApiKey(_) => {}
        }
        let roles = tx.custom_roles().await?;
        if let Some(role) = denying(&roles, &grant).filter(|_| !has_ended(&grant, context)) {
            self.check_lifting(context, role, &role.denies, &grant.scope).await?;
        }
        tx.grant_delete(id).await?;
        let taken = Change::from(recorded::grant(&grant, &roles));
        self.record_change(&tx, context, Action::GrantWrite, &resource, taken).await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        Ok(())
    }
}
