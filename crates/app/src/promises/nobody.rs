//! The tenants of nobody, where the checks act: a customer by itself, and a partner with a
//! customer. They are in no list, and nothing of them is anybody's.

use veritwin_access::jobs;
use veritwin_domain::TenantId;
use veritwin_metastore::{Tenant, TenantKind, TenantPlace};

use crate::brands::StoredBrand;
use crate::model::BrandInput;
use crate::provision::NewTenant;
use crate::{App, Result};

/// A customer of the platform. Its things are what nobody else may see.
pub(crate) const PROBE_TENANT: TenantId = tenant(2);
/// A partner.
pub(crate) const PROBE_PARTNER: TenantId = tenant(3);
/// Its customer.
pub(crate) const PROBE_CUSTOMER: TenantId = tenant(4);
/// A customer whose keys come and go.
pub(crate) const PROBE_KEYS: TenantId = tenant(5);
const TENANT_NAME: &str = "Isolation probe";
/// The name of the partner and its customer.
pub(super) const PARTNER_NAME: &str = "partner probe";

const fn tenant(number: u8) -> TenantId {
    TenantId::from_bytes([0, 0, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, number])
}

impl App {
    pub(super) async fn ensure_probe_tenant(&self) -> Result<()> {
        self.ensure_probe(PROBE_TENANT, TENANT_NAME, TenantPlace::default()).await
    }

    pub(super) async fn ensure_keys_tenant(&self) -> Result<()> {
        self.ensure_probe(PROBE_KEYS, TENANT_NAME, TenantPlace::default()).await
    }

    pub(super) async fn ensure_probe_tree(&self) -> Result<()> {
        let partner = TenantPlace { kind: TenantKind::Partner, ..TenantPlace::default() };
        let customer = TenantPlace { parent: Some(PROBE_PARTNER), ..TenantPlace::default() };
        self.ensure_probe(PROBE_PARTNER, PARTNER_NAME, partner).await?;
        self.ensure_probe(PROBE_CUSTOMER, PARTNER_NAME, customer).await?;
        let is_named = self.0.tree.read().brands.contains_key(&PROBE_PARTNER);
        if !is_named {
            // Without an address nothing is mailed to nobody.
            let body =
                BrandInput { contact_name: PARTNER_NAME.to_owned(), ..BrandInput::default() };
            let context = self.job_in(jobs::PROMISES, PROBE_PARTNER);
            let stored = StoredBrand { body, ..StoredBrand::default() };
            self.store_brand(&context, stored, None).await?;
        }
        Ok(())
    }

    /// Makes a tenant that is not there yet. Checks begin together at a start: one at a time.
    async fn ensure_probe(&self, id: TenantId, name: &str, place: TenantPlace) -> Result<()> {
        let _turn = self.0.promises.tenant_turn.lock().await;
        if self.0.tree.read().get(id).is_some() {
            return Ok(());
        }
        let context = self.job(jobs::PROMISES);
        let NewTenant { row } = self.tenant_row(&context, id, name)?;
        let row = Tenant { archive_subscribed: false, simulated: true, place, ..row };
        let tx = self.0.store.begin_platform(&context).await?;
        tx.tenant_create(&row).await?;
        let stored = tx.tenant(id).await?;
        tx.commit().await?;
        self.0.tree.write().put(stored);
        Ok(())
    }
}
