//! The provider that a tenant's people may sign in through, under the tenant's key, and which of
//! its people is which account, found by a blind index.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{TenantId, Timestamp, UserId};

use crate::bind::opaque_debug;
use crate::seal::Cell;
use crate::{CHANGED, Error, PlatformTx, Result, TenantTx};

const TABLE: &str = "identity_providers";
const IDENTITIES: &str = "provider_identities";

/// A tenant's provider.
#[derive(Clone, PartialEq, Eq)]
pub struct IdentityProvider {
    /// What is set, as JSON.
    pub body: Vec<u8>,
    /// The client's secret; none: a public client.
    pub client_secret: Option<Vec<u8>>,
    /// Counts changes.
    pub version: u64,
    /// When it last changed.
    pub updated_at: Timestamp,
}

opaque_debug!(IdentityProvider { version, updated_at });

fn cell<'a>(column: &'static str, tenant: &'a TenantId) -> Cell<'a> {
    Cell { table: TABLE, column, row: tenant.as_bytes() }
}

impl TenantTx {
    /// The tenant's provider, if it has one.
    #[boxed]
    pub async fn identity_provider(&self) -> Result<Option<IdentityProvider>> {
        let tenant = self.tenant_id();
        let Some(row) = self.core.maybe(self.select(TABLE)).await? else { return Ok(None) };
        let vault = self.vault();
        Ok(Some(IdentityProvider {
            body: vault.open(&row, "body", tenant.as_bytes())?,
            client_secret: vault.maybe_open(&row, "client_secret", tenant.as_bytes())?,
            version: row.get("version")?,
            updated_at: row.get("updated_at")?,
        }))
    }

    /// Sets the provider; `expected` is the version it was read with, 0 if there was none.
    #[boxed]
    pub async fn identity_provider_put(
        &self,
        provider: &IdentityProvider,
        expected: Option<u64>,
    ) -> Result<()> {
        let tenant = self.tenant_id();
        let known = self.core.maybe(self.select(TABLE)).await?;
        let version: u64 = known.map_or(Ok(0), |row| row.get("version"))?;
        if expected.is_some_and(|expected| expected != version) {
            return Err(Error::Conflict { what: TABLE, reason: CHANGED });
        }
        let vault = self.vault();
        let secret = provider.client_secret.as_ref();
        let secret = secret.map(|secret| vault.seal(cell("client_secret", &tenant), secret));
        let insert = self
            .insert(TABLE)
            .set("body", vault.seal(cell("body", &tenant), &provider.body)?)
            .set("client_secret", secret.transpose()?)
            .set("version", 1u64)
            .set("updated_at", provider.updated_at)
            .or_overwrite(&["tenant_id"], &["body", "client_secret", "updated_at"]);
        self.core.insert(insert).await.map(|_| ())
    }

    /// Removes the provider and forgets which of its people is which account.
    #[boxed]
    pub async fn identity_provider_delete(&self) -> Result<()> {
        if self.core.delete(self.delete(TABLE)).await? == 0 {
            return Err(Error::NotFound { what: TABLE });
        }
        self.provider_identities_forget().await
    }

    /// Forgets which of the provider's people is which account.
    #[boxed]
    pub async fn provider_identities_forget(&self) -> Result<()> {
        self.core.delete(self.delete(IDENTITIES)).await.map(|_| ())
    }
}

impl PlatformTx {
    fn subject_index(&self, tenant: TenantId, subject: &str) -> [u8; 32] {
        self.core.sealer.blind_index("provider subject", tenant.as_bytes(), subject)
    }

    /// The account that a provider's person is in a tenant. `subject` names issuer and person.
    #[boxed]
    pub async fn provider_identity(
        &self,
        tenant: TenantId,
        subject: &str,
    ) -> Result<Option<UserId>> {
        let index = self.subject_index(tenant, subject);
        let select = self.select(IDENTITIES).eq("tenant_id", tenant).eq("subject_index", index);
        self.core.maybe(select).await?.map(|row| row.get("user_id")).transpose()
    }

    /// Whether an account is connected with the tenant's provider.
    #[boxed]
    pub async fn provider_connected(&self, tenant: TenantId, user: UserId) -> Result<bool> {
        let select = self.select(IDENTITIES).eq("tenant_id", tenant).eq("user_id", user).limit(1);
        Ok(self.core.maybe(select).await?.is_some())
    }

    /// Notes that a provider's person is this account; `Conflict` if either is another's already.
    #[boxed]
    pub async fn provider_identity_add(
        &self,
        tenant: TenantId,
        subject: &str,
        user: UserId,
    ) -> Result<()> {
        let index = self.subject_index(tenant, subject);
        let mut id = [0; 16];
        id.copy_from_slice(&index[..16]);
        let insert = self
            .insert(IDENTITIES)
            .set("tenant_id", tenant)
            .set("id", id)
            .set("user_id", user)
            .set("subject_index", index)
            .set("created_at", self.core.at);
        self.core.insert(insert).await.map(|_| ())
    }
}
