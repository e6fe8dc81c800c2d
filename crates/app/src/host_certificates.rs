//! Certificates of the host names that a tenant was given. Whoever hands one in has had it judged;
//! here it is kept, told of, and taken away with its host name.

use async_recursion::async_recursion as boxed;
use tokio::sync::watch;
use veritwin_access::{Action, Kind};
use veritwin_domain::{OpContext, Secret, TenantId, Timestamp};

use crate::acme::AcmeView;
use crate::change::Change;
use crate::tree::HOSTS_MAX;
use crate::{App, Error, Result, recorded};

/// Longest chain, in bytes of PEM.
pub const HOST_CHAIN_BYTES_MAX: usize = 64 * 1024;

/// The certificate of a host name.
#[derive(Debug, Clone)]
pub struct HostCertificate {
    /// The host name.
    pub host: String,
    /// The chain, PEM, the host's own first.
    pub chain_pem: Vec<u8>,
    /// The private key, DER as it came (PKCS #8, SEC 1 or PKCS #1).
    pub private_key: Secret<Vec<u8>>,
    /// When it ends.
    pub not_after: Timestamp,
}

/// A host name of one's own.
#[derive(Debug, Clone)]
pub struct HostView {
    /// The host name.
    pub host: String,
    /// When its own certificate ends; none: it answers with the platform's.
    pub not_after: Option<Timestamp>,
    /// How it stands with fetching one.
    pub acme: AcmeView,
}

impl HostCertificate {
    pub(crate) fn into_stored(
        self,
        tenant: TenantId,
        host: String,
        created_at: Timestamp,
    ) -> veritwin_metastore::HostCertificate {
        veritwin_metastore::HostCertificate {
            tenant,
            host,
            chain: self.chain_pem,
            private_key: self.private_key.into_exposed(),
            not_after: self.not_after,
            created_at,
        }
    }
}

impl App {
    /// Tells of every change of host names' certificates.
    pub fn watch_host_certificates(&self) -> watch::Receiver<u64> {
        self.0.host_certificates.subscribe()
    }

    pub(crate) fn host_certificates_changed(&self) {
        self.0.host_certificates.send_modify(|count| *count += 1);
    }

    /// The certificates of all host names, for the listeners.
    #[boxed]
    pub async fn host_certificates(&self) -> Result<Vec<HostCertificate>> {
        let tx = self.0.store.read_platform(&self.local_operator()).await?;
        let all = tx.host_certificates(HOSTS_MAX as u64).await?;
        let taken = |stored: veritwin_metastore::HostCertificate| HostCertificate {
            host: stored.host,
            chain_pem: stored.chain,
            private_key: Secret::new(stored.private_key),
            not_after: stored.not_after,
        };
        let tree = self.0.tree.read();
        let is_given = |one: &veritwin_metastore::HostCertificate| {
            tree.hosts.get(&one.host) == Some(&one.tenant)
        };
        Ok(all.into_iter().filter(is_given).map(taken).collect())
    }

    /// One's own host names, until when their certificates last, and how it stands `now`, by the
    /// machine's clock, with those that are fetched.
    #[boxed]
    pub async fn own_hosts(&self, context: &OpContext, now: Timestamp) -> Result<Vec<HostView>> {
        let resource = self.authorize_all(context, Action::CertificateRead, Kind::Tenant)?;
        let tx = self.0.store.read_platform(&self.above_as(context)).await?;
        let mut all = tx.host_certificates(HOSTS_MAX as u64).await?;
        all.retain(|one| one.tenant == context.tenant);
        let mut orders = tx.host_orders(HOSTS_MAX as u64).await?;
        orders.retain(|one| one.tenant == context.tenant);
        self.note(context, Action::CertificateRead, &resource, "done");
        let end = |host: &str| all.iter().find(|one| one.host == host).map(|one| one.not_after);
        let view = |host: String| {
            let not_after = end(&host);
            let order = orders.iter().find(|one| one.host == host);
            let acme = self.acme_view(order, not_after.is_some(), now);
            HostView { host, not_after, acme }
        };
        Ok(self.hosts_of(context).into_iter().map(view).collect())
    }

    /// The one form of a host name that is the context's own, before its certificate is judged.
    pub fn check_own_host(&self, context: &OpContext, host: &str) -> Result<String> {
        self.authorize_all(context, Action::CertificateWrite, Kind::Tenant)?;
        self.own_host(context, host)
    }

    pub(crate) fn own_host(&self, context: &OpContext, host: &str) -> Result<String> {
        let missing = Error::NotFound("host name");
        let Some(host) = crate::partners::host_name(host) else { return Err(missing) };
        if self.0.tree.read().hosts.get(&host) == Some(&context.tenant) {
            return Ok(host);
        }
        Err(missing)
    }

    /// Puts a certificate of one's own host name in place, instead of one that is there. From then
    /// on none is fetched.
    #[boxed]
    pub async fn put_host_certificate(
        &self,
        context: &OpContext,
        certificate: HostCertificate,
    ) -> Result<HostView> {
        self.authorize_all(context, Action::CertificateWrite, Kind::Tenant)?;
        let host = self.own_host(context, &certificate.host)?;
        let row = certificate.into_stored(context.tenant, host.clone(), context.at);
        let platform = self.above_as(context);
        let tx = self.0.store.begin_platform(&platform).await?;
        let before =
            recorded::certificate_of(&tx.host_certificates(HOSTS_MAX as u64).await?, &host);
        tx.host_certificate_put(&row).await?;
        self.order_end(&tx, &host).await?;
        let after = Some(recorded::certificate(&host, row.not_after, &row.chain));
        let done = (Action::CertificateWrite, "done", Change { before, after });
        self.record_platform_change(&tx, &platform, Some(context.tenant), done).await?;
        tx.commit().await?;
        self.host_certificates_changed();
        let acme = self.acme_view(None, true, context.at);
        Ok(HostView { host, not_after: Some(row.not_after), acme })
    }

    /// Takes the certificate of one's own host name away, and fetches none any more: it answers
    /// with the platform's again.
    #[boxed]
    pub async fn delete_host_certificate(&self, context: &OpContext, host: &str) -> Result<()> {
        self.authorize_all(context, Action::CertificateWrite, Kind::Tenant)?;
        let host = self.own_host(context, host)?;
        let platform = self.above_as(context);
        let tx = self.0.store.begin_platform(&platform).await?;
        let before =
            recorded::certificate_of(&tx.host_certificates(HOSTS_MAX as u64).await?, &host);
        let was_fetched = self.order_end(&tx, &host).await?;
        match tx.host_certificate_delete(context.tenant, &host).await {
            Err(veritwin_metastore::Error::NotFound { .. }) if was_fetched => {}
            done => done?,
        }
        let before = before.unwrap_or_else(|| serde_json::json!({"host": host, "by": "acme"}));
        let done = (Action::CertificateWrite, "done", Change::from(before));
        self.record_platform_change(&tx, &platform, Some(context.tenant), done).await?;
        tx.commit().await?;
        self.host_certificates_changed();
        Ok(())
    }
}
