//! P09: an end customer's request lands with its partner and not with the platform. The check
//! writes as a customer of a partner, both of nobody, and looks into both inboxes.

use std::sync::Arc;

use veritwin_access::jobs;
use veritwin_domain::{LogId, Role, Secret, TenantId};
use veritwin_metastore::{Tenant, TenantKind, TenantPlace};

use super::run::InApp;
use super::{PlatformProbe, ProbeAnswer};
use crate::brands::StoredBrand;
use crate::model::{BrandInput, ContactInput, Writer};
use crate::provision::PLATFORM_TENANT;
use crate::{App, Result};

const PROMISE: u8 = 9;
const VERSION: u32 = 1;

/// A partner of nobody, in no list.
pub(crate) const PROBE_PARTNER: TenantId =
    TenantId::from_bytes([0, 0, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 3]);
/// Its customer.
pub(crate) const PROBE_CUSTOMER: TenantId =
    TenantId::from_bytes([0, 0, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 4]);
const NAME: &str = "partner probe";

/// The check.
pub(super) fn probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, PROMISE, VERSION, |app: App| async move { app.check_partners().await })
}

impl App {
    async fn check_partners(&self) -> Result<ProbeAnswer> {
        self.ensure_probe_tree().await?;
        let mut nonce = [0u8; 16];
        self.rng().fill(&mut nonce);
        let text = format!("{NAME} {}", hex::encode(nonce));
        let customer = self.open_probe_identity(PROBE_CUSTOMER, NAME, Role::Administrator).await?;
        let shown = self.placed_tenant(&customer.context).await;
        let platform = self.above(&customer.context);
        self.close_probe_identity(&customer).await?;
        let answered_by = shown?.answered_by;
        let input = ContactInput {
            email: Secret::new("probe@customer.invalid".to_owned()),
            text: Secret::new(text.clone()),
        };
        self.send_contact(&platform, Writer::In(PROBE_CUSTOMER), input).await?;
        let with_partner = self.take_messages(PROBE_PARTNER, &text).await?;
        let with_platform = self.take_messages(PLATFORM_TENANT, &text).await?;
        let facts = vec![
            ("named as answering".to_owned(), answered_by.name.clone()),
            ("with the partner".to_owned(), with_partner.to_string()),
            ("with the platform".to_owned(), with_platform.to_string()),
        ];
        let is_named = !answered_by.is_platform && answered_by.name == NAME;
        if is_named && with_partner == 1 && with_platform == 0 {
            let summary = "A request of a partner's customer lands with the partner alone.";
            return Ok(ProbeAnswer::Passed { summary: summary.to_owned(), facts });
        }
        Ok(ProbeAnswer::Failed {
            summary: "A request of a partner's customer does not land with the partner.".to_owned(),
            facts,
            place: "POST /v1/contact".to_owned(),
        })
    }

    /// Counts the messages with this text and deletes them.
    async fn take_messages(&self, tenant: TenantId, text: &str) -> Result<usize> {
        let identity = self.open_probe_identity(tenant, NAME, Role::Administrator).await?;
        let taken = async {
            let mut found = self.all_contact(&identity.context).await?;
            found.retain(|message| message.text.expose() == text);
            for message in &found {
                self.close_contact(&identity.context, message.id).await?;
            }
            Ok::<usize, crate::Error>(found.len())
        };
        let taken = taken.await;
        self.close_probe_identity(&identity).await?;
        taken
    }

    async fn ensure_probe_tree(&self) -> Result<()> {
        let partner = TenantPlace { kind: TenantKind::Partner, ..TenantPlace::default() };
        let customer = TenantPlace { parent: Some(PROBE_PARTNER), ..TenantPlace::default() };
        self.ensure_probe(PROBE_PARTNER, partner).await?;
        self.ensure_probe(PROBE_CUSTOMER, customer).await?;
        let is_named = self.0.tree.read().brands.contains_key(&PROBE_PARTNER);
        if !is_named {
            // Without an address nothing is mailed to nobody.
            let body = BrandInput { contact_name: NAME.to_owned(), ..BrandInput::default() };
            let context = self.job_in(jobs::PROMISES, PROBE_PARTNER);
            let stored = StoredBrand { body, ..StoredBrand::default() };
            self.store_brand(&context, stored, None).await?;
        }
        Ok(())
    }

    async fn ensure_probe(&self, id: TenantId, place: TenantPlace) -> Result<()> {
        if self.0.tree.read().get(id).is_some() {
            return Ok(());
        }
        let context = self.job(jobs::PROMISES);
        self.0.keys.create_tenant(id)?;
        let mut log = [0u8; 16];
        self.rng().fill(&mut log);
        let row = Tenant {
            id,
            name: NAME.to_owned(),
            log_id: LogId::from_bytes(log),
            archive_subscribed: false,
            simulated: true,
            place,
            version: 0,
            created_at: context.at,
        };
        let tx = self.0.store.begin_platform(&context).await?;
        tx.tenant_create(&row).await?;
        let stored = tx.tenant(id).await?;
        tx.commit().await?;
        self.0.tree.write().put(stored);
        Ok(())
    }
}
