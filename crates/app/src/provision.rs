//! Making tenants. A tenant's keys come first, then its row; what a crash leaves between the two
//! is a key nobody uses. The platform's own tenant holds the platform's ledger log.

use veritwin_access::{Action, jobs};
use veritwin_domain::{LogId, OpContext, Origin, PlatformContext, Purpose, Role, Secret, TenantId};
use veritwin_metastore::{Tenant, every_row};

use crate::model::{LinkKind, TenantView, Welcome};
use crate::people::tenant_view;
use crate::{App, Arrival, Error, Result};

/// The tenant that stands for the platform itself: its ledger log holds the digests of promise
/// evidence. It has no people and is in no list.
pub(crate) const PLATFORM_TENANT: TenantId =
    TenantId::from_bytes([0, 0, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 1]);
const PLATFORM_NAME: &str = "Platform";

/// Whether a tenant is the platform's own, of which no list tells.
pub(crate) fn is_own(tenant: TenantId) -> bool {
    tenant == PLATFORM_TENANT || tenant == crate::promises::PROBE_TENANT
}

/// A tenant whose keys exist and whose row does not yet.
pub(crate) struct NewTenant {
    pub(crate) row: Tenant,
}

/// What the demo is given: a tenant, a person and an API key, each new.
#[derive(Debug)]
pub struct Provisioned {
    /// The tenant.
    pub tenant: TenantView,
    /// The person's address.
    pub email: Secret<String>,
    /// The person's password.
    pub password: Secret<String>,
    /// An administrator's API key.
    pub api_key: Secret<String>,
}

impl App {
    pub(crate) fn new_tenant(&self, context: &PlatformContext, name: &str) -> Result<NewTenant> {
        self.tenant_row(context, TenantId::generate(context.at, self.rng()), name)
    }

    fn tenant_row(&self, context: &PlatformContext, id: TenantId, name: &str) -> Result<NewTenant> {
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
    pub async fn list_tenants(&self, context: &PlatformContext) -> Result<Vec<TenantView>> {
        self.authorize_platform(context, Action::TenantList)?;
        let tenants = self.customer_tenants(context).await?;
        Ok(tenants.into_iter().map(tenant_view).collect())
    }

    /// Makes a tenant without people, for whoever holds the data directory; an administrator link
    /// brings the first one in.
    pub async fn create_tenant(
        &self,
        context: &PlatformContext,
        name: &str,
        archive_subscribed: bool,
    ) -> Result<TenantView> {
        self.authorize_platform(context, Action::TenantCreate)?;
        let name = crate::links::text("name", name)?;
        let NewTenant { mut row } = self.new_tenant(context, &name)?;
        row.archive_subscribed = archive_subscribed;
        let tx = self.0.store.begin_platform(context).await?;
        tx.tenant_create(&row).await?;
        let tenant = tenant_view(tx.tenant(row.id).await?);
        self.record_platform(&tx, context, Action::TenantCreate, Some(row.id), "done").await?;
        tx.commit().await?;
        self.tenant_ready(row.id);
        Ok(tenant)
    }

    /// Whether anybody can sign in yet.
    pub async fn has_tenants(&self) -> Result<bool> {
        let context = self.local_operator();
        Ok(!self.customer_tenants(&context).await?.is_empty())
    }

    /// A context of the demo's set-up inside its tenant.
    pub fn demo_context(&self, tenant: TenantId) -> OpContext {
        self.job_in(jobs::DEMO, tenant)
    }

    /// Makes the demo's tenant, person and API key through the same use cases as everybody's.
    pub async fn provision_demo(
        &self,
        organisation: &str,
        email: &str,
        password: Secret<String>,
    ) -> Result<Provisioned> {
        let token = self.issue_admin_link(&self.local_operator(), None).await?;
        let context = self.anonymous(Arrival {
            purpose: Purpose::AuthenticationSecurity,
            request: self.local_operator().request,
            origin: Origin::default(),
        });
        let link = self.inspect_link(&context, &token).await?;
        if link.kind != LinkKind::FirstAdministrator {
            return Err(Error::Conflict("this data directory has a tenant already".to_owned()));
        }
        let welcome = Welcome {
            organisation: Some(organisation.to_owned()),
            email: Some(Secret::new(email.to_owned())),
            name: None,
            password: password.clone(),
        };
        let signed_in = self.redeem_link(&context, &token, welcome).await?;
        let tenant = signed_in.session.tenant;
        let demo = self.demo_context(tenant.id);
        let expires_at = demo.at.saturating_add(std::time::Duration::from_secs(30 * 86_400));
        let (_, api_key) =
            self.create_api_key(&demo, "demo", Role::Administrator, expires_at).await?;
        Ok(Provisioned { tenant, email: Secret::new(email.to_owned()), password, api_key })
    }
}
