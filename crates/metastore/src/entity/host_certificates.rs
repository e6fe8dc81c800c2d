//! Certificates of host names with their private keys. Sealed under the platform's key: a
//! handshake comes before anybody is known.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{TenantId, Timestamp};

use crate::bind::opaque_debug;
use crate::query::above;
use crate::seal::Cell;
use crate::{Error, PlatformTx, Result};

const TABLE: &str = "host_certificates";

/// The certificate of a host name.
#[derive(Clone, PartialEq, Eq)]
pub struct HostCertificate {
    /// Whose host name it is.
    pub tenant: TenantId,
    /// The host name, in its one form.
    pub host: String,
    /// The chain, PEM, the host's own first.
    pub chain: Vec<u8>,
    /// The private key, PKCS #8.
    pub private_key: Vec<u8>,
    /// When it ends.
    pub not_after: Timestamp,
    /// When it was put in place.
    pub created_at: Timestamp,
}

opaque_debug!(HostCertificate { tenant, not_after, created_at });

impl PlatformTx {
    fn host_key(&self, host: &str) -> ([u8; 16], [u8; 32]) {
        let index = self.core.sealer.blind_index("host certificate", &[0; 16], host);
        let mut id = [0; 16];
        id.copy_from_slice(&index[..16]);
        (id, index)
    }

    /// Puts a certificate in place, instead of one of the same host name.
    #[boxed]
    pub async fn host_certificate_put(&self, certificate: &HostCertificate) -> Result<()> {
        let (id, index) = self.host_key(&certificate.host);
        self.core.delete(self.delete(TABLE).eq("host_index", index)).await?;
        let vault = self.vault();
        let sealed = |column: &'static str, plain: &[u8]| {
            vault.seal(Cell { table: TABLE, column, row: &id }, plain)
        };
        let insert = self
            .insert(TABLE)
            .set("id", id)
            .set("tenant_id", certificate.tenant)
            .set("host_index", index)
            .set("host", sealed("host", certificate.host.as_bytes())?)
            .set("chain", sealed("chain", &certificate.chain)?)
            .set("private_key", sealed("private_key", &certificate.private_key)?)
            .set("not_after", certificate.not_after)
            .set("created_at", certificate.created_at);
        self.core.insert(insert).await.map(|_| ())
    }

    /// Takes the certificate of a tenant's host name away.
    #[boxed]
    pub async fn host_certificate_delete(&self, tenant: TenantId, host: &str) -> Result<()> {
        let (_, index) = self.host_key(host);
        let delete = self.delete(TABLE).eq("tenant_id", tenant).eq("host_index", index);
        if self.core.delete(delete).await? == 0 {
            return Err(Error::NotFound { what: TABLE });
        }
        Ok(())
    }

    /// The host names of a tenant that have a certificate at `now`.
    #[boxed]
    pub async fn hosts_certified(&self, tenant: TenantId, now: Timestamp) -> Result<Vec<String>> {
        let vault = self.vault();
        let select = self.select(TABLE).eq("tenant_id", tenant).filter(above("not_after", now));
        let rows = self.core.all(select).await?;
        let host = |row: &crate::bind::Row| {
            let id: [u8; 16] = row.get("id")?;
            vault.open_text(row, "host", &id)
        };
        rows.iter().map(host).collect()
    }

    /// Every certificate, at most `limit`.
    #[boxed]
    pub async fn host_certificates(&self, limit: u64) -> Result<Vec<HostCertificate>> {
        let vault = self.vault();
        let select = self.select(TABLE).ascending("created_at").limit(limit);
        let load = |row: &crate::bind::Row| {
            let id: [u8; 16] = row.get("id")?;
            Ok(HostCertificate {
                tenant: row.get("tenant_id")?,
                host: vault.open_text(row, "host", &id)?,
                chain: vault.open(row, "chain", &id)?,
                private_key: vault.open(row, "private_key", &id)?,
                not_after: row.get("not_after")?,
                created_at: row.get("created_at")?,
            })
        };
        self.core.all(select).await?.iter().map(load).collect()
    }
}
