//! Making tenants. A tenant's keys come first, then its row; what a crash leaves between the two
//! is a key nobody uses. The platform's own tenant holds the platform's ledger log.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_access::passkey::RelyingParty;
use veritwin_access::{Action, jobs};
use veritwin_domain::{
    LogId, OpContext, Origin, PlatformContext, Purpose, Role, ScopeOf, Secret, TenantId,
};
use veritwin_metastore::{Realm, Tenant, TenantKind, TenantPlace, every_row};

use crate::change::Change;
use crate::knock::Knock;
use crate::links::text;
use crate::mail_names::refuse_address;
use crate::model::{
    NewApiKey, NewCredential, RightView, RoleOf, SignedIn, TenantInput, TenantView, Welcome,
};
use crate::people::tenant_view;
use crate::sign_in::Proof;
use crate::{App, Arrival, Error, Result, recorded};

/// The tenant that stands for the platform itself, the root of the tree: its people are the
/// platform's administration, its ledger log holds the digests of promise evidence. It is in no
/// list.
pub(crate) const PLATFORM_TENANT: TenantId =
    TenantId::from_bytes([0, 0, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 1]);
const PLATFORM_NAME: &str = "Platform";
const DEMO_KEY_NAME: &str = "demo";
const DEMO_KEY_LIFETIME: Duration = Duration::from_secs(30 * 86_400);

/// Whether a tenant is the platform's own, of which no list tells.
pub(crate) fn is_own(tenant: TenantId) -> bool {
    use crate::promises::{PROBE_CUSTOMER, PROBE_KEYS, PROBE_PARTNER, PROBE_TENANT};
    let own = [PLATFORM_TENANT, PROBE_TENANT, PROBE_PARTNER, PROBE_CUSTOMER, PROBE_KEYS];
    own.contains(&tenant)
}

/// Whether a tenant belongs to the platform's own checks: nobody is in it, and nobody is written to
/// for it.
pub(crate) fn is_nobodys(tenant: TenantId) -> bool {
    is_own(tenant) && tenant != PLATFORM_TENANT
}

/// The name of a tenant.
pub(crate) fn tenant_name(field: &str, name: &str) -> Result<String> {
    let name = text(field, name)?;
    refuse_address(field, &name)?;
    Ok(name)
}

/// A tenant whose keys exist and whose row does not yet.
pub(crate) struct NewTenant {
    pub(crate) row: Tenant,
}

impl App {
    /// The tenant whose people are the platform's administration.
    pub const fn platform_tenant() -> TenantId {
        PLATFORM_TENANT
    }

    pub(crate) fn new_tenant(&self, context: &PlatformContext, name: &str) -> Result<NewTenant> {
        self.tenant_row(context, TenantId::generate(context.at, self.rng()), name)
    }

    pub(crate) fn tenant_row(
        &self,
        context: &PlatformContext,
        id: TenantId,
        name: &str,
    ) -> Result<NewTenant> {
        self.0.keys.create_tenant(id)?;
        // The id under which a log is served is a secret of its own: 128 random bits.
        let mut log = [0u8; 16];
        self.rng().fill(&mut log);
        let row = Tenant {
            id,
            name: name.to_owned(),
            log_id: LogId::from_bytes(log),
            archive_subscribed: id != PLATFORM_TENANT,
            simulated: self.0.config.simulated || self.0.config.demo,
            place: TenantPlace::default(),
            version: 0,
            created_at: context.at,
        };
        Ok(NewTenant { row })
    }

    /// Makes the platform's own tenant at the first start.
    pub(crate) async fn ensure_platform_tenant(&self) -> Result<()> {
        let context = self.local_operator();
        let tx = self.0.store.read_platform(&context).await?;
        let is_there = tx.tenant(PLATFORM_TENANT).await.is_ok();
        drop(tx);
        if is_there {
            return Ok(());
        }
        let NewTenant { row } = self.tenant_row(&context, PLATFORM_TENANT, PLATFORM_NAME)?;
        let tx = self.0.store.begin_platform(&context).await?;
        tx.tenant_create(&row).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Every customer.
    pub(crate) async fn customer_tenants(&self, context: &PlatformContext) -> Result<Vec<Tenant>> {
        let mut tenants = self.all_tenants(context).await?;
        tenants.retain(|tenant| !is_own(tenant.id));
        Ok(tenants)
    }

    /// Every tenant, the platform's own included.
    pub(crate) async fn all_tenants(&self, context: &PlatformContext) -> Result<Vec<Tenant>> {
        let tx = &self.0.store.read_platform(context).await?;
        Ok(every_row(|page| async move { tx.tenants(&page).await }).await?)
    }

    /// The tenants of this installation, for whoever holds the data directory.
    #[boxed]
    pub async fn list_tenants(&self, context: &PlatformContext) -> Result<Vec<TenantView>> {
        self.authorize_platform(context, Action::TenantList)?;
        let tenants = self.customer_tenants(context).await?;
        Ok(tenants.into_iter().map(tenant_view).collect())
    }

    /// Makes a customer or partner directly below the platform, without people, for whoever holds
    /// the data directory; an administrator link brings the first one in.
    #[boxed]
    pub async fn create_tenant(
        &self,
        context: &PlatformContext,
        input: TenantInput,
    ) -> Result<TenantView> {
        self.authorize_platform(context, Action::TenantCreate)?;
        let name = tenant_name("name", &input.name)?;
        self.check_tenants_quota(PLATFORM_TENANT)?;
        let NewTenant { mut row } = self.new_tenant(context, &name)?;
        row.archive_subscribed = input.archive_subscribed;
        if input.is_partner {
            row.place.kind = TenantKind::Partner;
        }
        let tx = self.0.store.begin_platform(context).await?;
        tx.tenant_create(&row).await?;
        let stored = tx.tenant(row.id).await?;
        let done = (Action::TenantCreate, "done", Change::to(recorded::tenant(&stored, None)));
        self.record_platform_change(&tx, context, Some(row.id), done).await?;
        tx.commit().await?;
        self.0.tree.write().put(stored.clone());
        self.tenant_ready(row.id);
        Ok(tenant_view(stored))
    }

    /// Whether anybody can sign in yet.
    #[boxed]
    pub async fn has_tenants(&self) -> Result<bool> {
        let context = self.local_operator();
        Ok(!self.customer_tenants(&context).await?.is_empty())
    }

    /// A context of the demo's set-up inside its tenant.
    pub fn demo_context(&self, tenant: TenantId) -> OpContext {
        self.job_in(jobs::DEMO, tenant)
    }

    /// The demo's tenant with its person, made through the same use cases as everybody's; at a
    /// second call the one that was made.
    #[boxed]
    pub async fn provision_demo(
        &self,
        organisation: &str,
        email: &str,
        password: &Secret<String>,
    ) -> Result<TenantId> {
        let context = self.anonymous(Arrival {
            purpose: Purpose::AuthenticationSecurity,
            request: self.local_operator().request,
            origin: Origin::default(),
        });
        let email = Secret::new(email.to_owned());
        if self.has_tenants().await? {
            let proof = Proof::Password { password: password.clone(), second: None };
            let party = RelyingParty::of("https://localhost");
            let knock = Knock { email: &email, tenant: None, host: None };
            return match self.sign_in(&context, knock, proof, &party, None).await {
                Ok(signed_in) => self.set_up_by(signed_in).await,
                // The password is right: the person set up a second factor since.
                Err(Error::SecondFactor) => self.tenant_of(&context, &email).await,
                Err(Error::Unauthenticated(_)) => {
                    Err(Error::Conflict("this data directory has a tenant already".to_owned()))
                }
                Err(error) => Err(error),
            };
        }
        let token = self.issue_admin_link(&self.local_operator(), None).await?;
        let welcome = Welcome {
            organisation: Some(organisation.to_owned()),
            email: Some(email),
            name: None,
            password: password.clone(),
            attested: true,
        };
        let signed_in = self.redeem_link(&context, &token, welcome, "https://localhost").await?;
        self.set_up_by(signed_in).await
    }

    /// The tenant of the person in whose name the demo was set up. Nobody sits before a browser
    /// yet, so the session that came of it ends at once.
    async fn set_up_by(&self, signed_in: SignedIn) -> Result<TenantId> {
        let arrival = Arrival {
            purpose: Purpose::AuthenticationSecurity,
            request: self.local_operator().request,
            origin: Origin::default(),
        };
        let context = self.authenticate_session(&signed_in.token, arrival, true).await?;
        self.sign_out(&context).await?;
        Ok(signed_in.session.tenant.id)
    }

    async fn tenant_of(
        &self,
        context: &PlatformContext,
        email: &Secret<String>,
    ) -> Result<TenantId> {
        let tx = self.0.store.read_platform(context).await?;
        let user = tx.user_by_email(Realm::PLATFORM, email.expose()).await?;
        let user = user.ok_or(Error::NotFound("account"))?;
        let memberships = tx.memberships(user.id).await?;
        memberships.first().map(|(tenant, _)| *tenant).ok_or(Error::NotFound("tenant"))
    }

    /// An administrator's API key of the demo, instead of any that was made before.
    #[boxed]
    pub async fn demo_api_key(&self, tenant: TenantId) -> Result<Secret<String>> {
        let context = self.demo_context(tenant);
        for known in self.list_api_keys(&context).await? {
            if known.name == DEMO_KEY_NAME {
                self.revoke_api_key(&context, known.id).await?;
            }
        }
        let expires_at = context.at.saturating_add(DEMO_KEY_LIFETIME);
        let role = RoleOf::BuiltIn(Role::Administrator);
        let new = NewApiKey {
            name: DEMO_KEY_NAME.to_owned(),
            right: RightView { role, scope: ScopeOf::Tenant },
            expires_at: Some(expires_at),
            addresses: Vec::new(),
        };
        Ok(self.create_api_key(&context, new).await?.1)
    }

    /// A new access token of a demo's device, instead of any that was made before.
    #[boxed]
    pub async fn demo_token(&self, tenant: TenantId, device: &str) -> Result<Secret<String>> {
        let context = self.demo_context(tenant);
        let found = self.devices_by_name(tenant, &[device.to_owned()]).await?;
        let device = found.into_iter().flatten().next().ok_or(Error::NotFound("device"))?;
        for known in self.credentials(&context, device).await? {
            self.revoke_credential(&context, device, known.id).await?;
        }
        let made = self.add_credential(&context, device, NewCredential::default()).await?;
        made.secret.ok_or(Error::NotFound("token"))
    }
}
