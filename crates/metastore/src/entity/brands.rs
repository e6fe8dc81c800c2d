//! Brands and the host names they are shown under. Sealed under the platform's key: a sign-in
//! page is shown before anybody's tenant is known.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{TenantId, Timestamp};

use crate::bind::opaque_debug;
use crate::seal::Cell;
use crate::{CHANGED, Error, PlatformTx, Result};

const TABLE: &str = "brands";
const HOSTS: &str = "brand_hosts";
const DOMAINS: &str = "tenant_domains";

/// The brand of a tenant.
#[derive(Clone, PartialEq, Eq)]
pub struct Brand {
    /// Whose it is.
    pub tenant: TenantId,
    /// What it says, as JSON.
    pub body: Vec<u8>,
    /// A PNG image.
    pub logo: Option<Vec<u8>>,
    /// Counts changes.
    pub version: u64,
    /// When it last changed.
    pub updated_at: Timestamp,
}

opaque_debug!(Brand { tenant, version });

fn cell<'a>(column: &'static str, tenant: &'a TenantId) -> Cell<'a> {
    Cell { table: TABLE, column, row: tenant.as_bytes() }
}

impl PlatformTx {
    /// Writes a brand; `expected` is the version it was read with.
    #[boxed]
    pub async fn brand_put(&self, brand: &Brand, expected: Option<u64>) -> Result<()> {
        let known = self.core.maybe(self.select(TABLE).eq("tenant_id", brand.tenant)).await?;
        let version: u64 = known.map_or(Ok(0), |row| row.get("version"))?;
        if expected.is_some_and(|expected| expected != version) {
            return Err(Error::Conflict { what: TABLE, reason: CHANGED });
        }
        let vault = self.vault();
        let logo = brand.logo.as_ref();
        let insert = self
            .insert(TABLE)
            .set("tenant_id", brand.tenant)
            .set("body", vault.seal(cell("body", &brand.tenant), &brand.body)?)
            .set("logo", logo.map(|png| vault.seal(cell("logo", &brand.tenant), png)).transpose()?)
            .set("version", 1u64)
            .set("updated_at", brand.updated_at)
            .or_overwrite(&["tenant_id"], &["body", "logo", "updated_at"]);
        self.core.insert(insert).await.map(|_| ())
    }

    /// Every brand, at most `limit`.
    #[boxed]
    pub async fn brands(&self, limit: u64) -> Result<Vec<Brand>> {
        let vault = self.vault();
        let rows = self.core.all(self.select(TABLE).ascending("tenant_id").limit(limit)).await?;
        rows.iter()
            .map(|row| {
                let tenant: TenantId = row.get("tenant_id")?;
                Ok(Brand {
                    tenant,
                    body: vault.open(row, "body", tenant.as_bytes())?,
                    logo: vault.maybe_open(row, "logo", tenant.as_bytes())?,
                    version: row.get("version")?,
                    updated_at: row.get("updated_at")?,
                })
            })
            .collect()
    }

    /// Gives a host name to a tenant; `Conflict` if one has it.
    #[boxed]
    pub async fn host_add(&self, tenant: TenantId, host: &str) -> Result<()> {
        let index = self.core.sealer.blind_index("host", &[0; 16], host);
        let mut id = [0; 16];
        id.copy_from_slice(&index[..16]);
        let sealed = Cell { table: HOSTS, column: "host", row: &id };
        let insert = self
            .insert(HOSTS)
            .set("id", id)
            .set("tenant_id", tenant)
            .set("host_index", index)
            .set("host", self.vault().seal(sealed, host.as_bytes())?)
            .set("created_at", self.core.at);
        self.core.insert(insert).await.map(|_| ())
    }

    /// Takes a host name from a tenant.
    #[boxed]
    pub async fn host_remove(&self, tenant: TenantId, host: &str) -> Result<()> {
        let index = self.core.sealer.blind_index("host", &[0; 16], host);
        let delete = self.delete(HOSTS).eq("host_index", index).eq("tenant_id", tenant);
        if self.core.delete(delete).await? == 0 {
            return Err(Error::NotFound { what: "host" });
        }
        Ok(())
    }

    /// Every host name with its tenant, at most `limit`.
    #[boxed]
    pub async fn hosts(&self, limit: u64) -> Result<Vec<(String, TenantId)>> {
        let vault = self.vault();
        let rows = self.core.all(self.select(HOSTS).ascending("created_at").limit(limit)).await?;
        rows.iter()
            .map(|row| {
                let id: [u8; 16] = row.get("id")?;
                Ok((vault.open_text(row, "host", &id)?, row.get("tenant_id")?))
            })
            .collect()
    }

    /// Confirms a domain of a partner; `Conflict` if it is confirmed.
    #[boxed]
    pub async fn domain_add(&self, tenant: TenantId, domain: &str) -> Result<()> {
        let index = self.domain_index(tenant, domain);
        let mut id = [0; 16];
        id.copy_from_slice(&index[..16]);
        let sealed = Cell { table: DOMAINS, column: "domain", row: &id };
        let insert = self
            .insert(DOMAINS)
            .set("id", id)
            .set("tenant_id", tenant)
            .set("domain_index", index)
            .set("domain", self.vault().seal(sealed, domain.as_bytes())?)
            .set("created_at", self.core.at);
        self.core.insert(insert).await.map(|_| ())
    }

    /// Takes a domain back.
    #[boxed]
    pub async fn domain_remove(&self, tenant: TenantId, domain: &str) -> Result<()> {
        let index = self.domain_index(tenant, domain);
        let delete = self.delete(DOMAINS).eq("domain_index", index).eq("tenant_id", tenant);
        if self.core.delete(delete).await? == 0 {
            return Err(Error::NotFound { what: "domain" });
        }
        Ok(())
    }

    /// Every confirmed domain with its partner, at most `limit`.
    #[boxed]
    pub async fn domains(&self, limit: u64) -> Result<Vec<(String, TenantId)>> {
        let vault = self.vault();
        let rows = self.core.all(self.select(DOMAINS).ascending("created_at").limit(limit)).await?;
        rows.iter()
            .map(|row| {
                let id: [u8; 16] = row.get("id")?;
                Ok((vault.open_text(row, "domain", &id)?, row.get("tenant_id")?))
            })
            .collect()
    }

    fn domain_index(&self, tenant: TenantId, domain: &str) -> [u8; 32] {
        self.core.sealer.blind_index("tenant domain", tenant.as_bytes(), domain)
    }
}
