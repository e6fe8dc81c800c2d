//! What the probes need inside the platform: a program's identity for the length of a check, and
//! two tenants of nobody with one thing of each kind, to ask for one's things with the other's
//! rights. Customers' things are never touched.

use std::collections::BTreeMap;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Resource, TokenKind, jobs};
use veritwin_domain::{
    ApiKeyId, GrantId, OpContext, Origin, Purpose, Role, ScopeOf, Secret, TenantId,
};
use veritwin_metastore::{ApiKey, Grant, GrantRole, Holder};

use super::nobody::{PROBE_PARTNER, PROBE_TENANT};
use crate::{App, Arrival, Result};

/// The name of every fixed thing.
pub(super) const NAME: &str = "isolation probe";
/// A probe's rights end by themselves after this.
pub(super) const IDENTITY_LIFETIME: Duration = Duration::from_secs(600);

/// A program's identity that a probe acts with.
pub(crate) struct ProbeIdentity {
    /// Its context.
    pub(super) context: OpContext,
    key: ApiKeyId,
    pub(super) secret: Secret<String>,
}

/// Two tenants' things by kind (`device`, `credential`, `twin`, `rule`, `alert`, `user`,
/// `api_key` and others, as ids in text; `host` as a name), and an administrator's key of the first
/// tenant.
pub struct IsolationFixture {
    /// What the key's tenant owns.
    pub own: BTreeMap<&'static str, String>,
    /// What another tenant owns.
    pub foreign: BTreeMap<&'static str, String>,
    identity: ProbeIdentity,
}

impl std::fmt::Debug for IsolationFixture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IsolationFixture").field("foreign", &self.foreign).finish_non_exhaustive()
    }
}

impl IsolationFixture {
    /// The API key to ask with.
    pub fn api_key(&self) -> &Secret<String> {
        &self.identity.secret
    }
}

/// API keys of the probes' tenant, one for each built-in role.
pub struct RoleFixture {
    identities: Vec<(Role, ProbeIdentity)>,
}

impl RoleFixture {
    /// Each role with the key that has it.
    pub fn keys(&self) -> impl Iterator<Item = (Role, &Secret<String>)> {
        self.identities.iter().map(|(role, identity)| (*role, &identity.secret))
    }
}

impl std::fmt::Debug for RoleFixture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoleFixture").field("keys", &self.identities.len()).finish()
    }
}

impl App {
    /// Makes an API key of a probe tenant and acts with it, like any program.
    pub(super) async fn open_probe_identity(
        &self,
        tenant: TenantId,
        name: &str,
        role: Role,
    ) -> Result<ProbeIdentity> {
        let context = self.job_in(jobs::PROMISES, tenant);
        let (secret, digest) = TokenKind::ApiKey.generate(self.rng());
        let key = ApiKey {
            id: ApiKeyId::generate(context.at, self.rng()),
            name: name.to_owned(),
            role,
            created_at: context.at,
            expires_at: Some(context.at.saturating_add(IDENTITY_LIFETIME)),
            last_used_at: None,
            last_used_from: None,
            maker: None,
            maker_key: None,
            addresses: Vec::new(),
        };
        let tx = self.0.store.begin(&context).await?;
        tx.api_key_create(&key, digest.0).await?;
        let resource = Resource::api_key(tenant, key.id);
        self.record(&tx, &context, Action::ApiKeyCreate, &resource).await?;
        tx.commit().await?;
        let arrival = Arrival {
            purpose: Purpose::SecuritySupport,
            request: context.request,
            origin: Origin::default(),
        };
        let context = self.authenticate_api_key(&secret, arrival).await?;
        Ok(ProbeIdentity { context, key: key.id, secret })
    }

    /// Takes the identity back.
    pub(super) async fn close_probe_identity(&self, identity: &ProbeIdentity) -> Result<()> {
        let context = self.job_in(jobs::PROMISES, identity.context.tenant);
        let tx = self.0.store.begin(&context).await?;
        tx.api_key_delete(identity.key).await?;
        let resource = Resource::api_key(context.tenant, identity.key);
        self.record(&tx, &context, Action::ApiKeyDelete, &resource).await?;
        tx.commit().await?;
        self.0.logins.forget_all();
        Ok(())
    }

    /// `host:port` of the archive that is connected now; it may move when it starts again.
    pub fn archive_address(&self) -> Option<String> {
        self.archive().ok().map(|client| client.address())
    }

    /// One thing of each kind in two tenants, and an administrator's key of the first.
    #[boxed]
    pub async fn open_isolation_fixture(&self) -> Result<IsolationFixture> {
        self.ensure_probe_tree().await?;
        self.ensure_probe_tenant().await?;
        let other = self.open_probe_identity(PROBE_TENANT, NAME, Role::Administrator).await?;
        let foreign = self.probe_things(&other.context).await;
        self.close_probe_identity(&other).await?;
        let foreign = foreign?;
        let identity = self.open_probe_identity(PROBE_PARTNER, NAME, Role::Administrator).await?;
        let own = match self.probe_things(&identity.context).await {
            Ok(own) => self.widen_probe(&identity, &own).await.map(|()| own),
            Err(error) => Err(error),
        };
        match own {
            Ok(own) => {
                #[cfg(feature = "test-controls")]
                if let Some(device) = foreign.get("device") {
                    self.0.promises.note_victim(device);
                }
                Ok(IsolationFixture { own, foreign, identity })
            }
            Err(error) => {
                self.close_probe_identity(&identity).await?;
                Err(error)
            }
        }
    }

    /// One API key of the probes' tenant for each built-in role.
    #[boxed]
    pub async fn open_role_fixture(&self) -> Result<RoleFixture> {
        self.ensure_probe_tenant().await?;
        let mut fixture = RoleFixture { identities: Vec::new() };
        for role in Role::ALL {
            match self.open_probe_identity(PROBE_TENANT, NAME, role).await {
                Ok(identity) => fixture.identities.push((role, identity)),
                Err(error) => {
                    self.close_role_fixture(fixture).await?;
                    return Err(error);
                }
            }
        }
        Ok(fixture)
    }

    /// Ends those keys.
    #[boxed]
    pub async fn close_role_fixture(&self, fixture: RoleFixture) -> Result<()> {
        for (_, identity) in &fixture.identities {
            self.close_probe_identity(identity).await?;
        }
        Ok(())
    }

    /// The published matrix: whether a role lets a program do this.
    pub fn role_permits_program(&self, role: Role, action: &str) -> bool {
        let action = action.parse::<Action>();
        action.is_ok_and(|action| self.0.authorizer.permitted(role, true).contains(&action))
    }

    /// Ends the key. The things stay for the next check.
    #[boxed]
    pub async fn close_isolation_fixture(&self, fixture: IsolationFixture) -> Result<()> {
        self.close_probe_identity(&fixture.identity).await
    }

    /// No built-in role lets a program give rights; the probe asks those endpoints too, so its key
    /// holds a role that permits everything there is.
    async fn widen_probe(
        &self,
        identity: &ProbeIdentity,
        own: &BTreeMap<&'static str, String>,
    ) -> Result<()> {
        let context = &identity.context;
        let role = own.get("role").and_then(|id| id.parse().ok());
        let role =
            role.ok_or_else(|| crate::Error::Internal("the probe has no role".to_owned()))?;
        let tx = self.0.store.begin(context).await?;
        tx.grant_create(&Grant {
            id: GrantId::generate(context.at, self.rng()),
            holder: Holder::ApiKey(identity.key),
            role: GrantRole::Custom(role),
            scope: ScopeOf::Tenant,
            expires_at: None,
            created_at: context.at,
        })
        .await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        Ok(())
    }
}
