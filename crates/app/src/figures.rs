//! Figures for `/metrics`: a tenant's own for its people and programs; those of the whole platform
//! only for the operator's key, which belongs to the platform's own tenant.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind, TokenKind};
use veritwin_domain::{ApiKeyId, OpContext, PlatformContext, Role, Secret, Timestamp};
use veritwin_metastore::{AlertFilter, AlertQuery, ApiKey, Page};

use crate::model::Figure;
use crate::provision::PLATFORM_TENANT;
use crate::{App, Result};

/// The operator's key ends after a year.
const KEY_LIFETIME: Duration = Duration::from_secs(365 * 86_400);

impl App {
    /// The figures of the actor's own tenant; none for the platform's own, which sees those of
    /// the whole platform.
    #[boxed]
    pub async fn own_figures(&self, context: &OpContext) -> Result<Option<Vec<Figure>>> {
        let resource = self.authorize_all(context, Action::MetricsRead, Kind::System)?;
        self.note(context, Action::MetricsRead, &resource, "done");
        if context.tenant == PLATFORM_TENANT {
            return Ok(None);
        }
        let tx = self.0.store.read(context).await?;
        let open = AlertQuery { filter: AlertFilter::Open, ..AlertQuery::default() };
        let open = tx.alert_counts(&open).await?.iter().map(|found| found.count).sum();
        let incidents = tx.incidents(&Page::whole()).await?.items;
        let incidents = incidents.iter().filter(|one| one.closed_at.is_none()).count();
        let now = context.at;
        let grants = tx.support_grants().await?.iter().filter(|grant| grant.is_live(now)).count();
        let figure = |name, help, value: usize| Figure { name, help, value: value as u64 };
        let members = tx.members(&Page::whole()).await?.items.len();
        let keys = tx.api_keys(&Page::whole()).await?.items.len();
        let rules = tx.rules(&Page::whole()).await?.items.len();
        let devices = tx.device_counts().await?.0;
        Ok(Some(vec![
            Figure { name: "veritwin_tenant_devices", help: "Devices.", value: devices },
            figure("veritwin_tenant_rules", "Alert rules.", rules),
            Figure { name: "veritwin_tenant_alerts_open", help: "Open alerts.", value: open },
            figure("veritwin_tenant_incidents_open", "Open security incidents.", incidents),
            figure("veritwin_tenant_users", "People, at most 1000 counted.", members),
            figure("veritwin_tenant_api_keys", "API keys, at most 1000 counted.", keys),
            figure("veritwin_tenant_support_grants", "Support grants in force.", grants),
        ]))
    }

    /// A key that reads the figures of the whole platform and no tenant's data. For whoever holds
    /// the data directory.
    #[boxed]
    pub async fn issue_metrics_key(
        &self,
        context: &PlatformContext,
    ) -> Result<(Timestamp, Secret<String>)> {
        self.authorize_platform(context, Action::SystemMaintain)?;
        let (secret, digest) = TokenKind::ApiKey.generate(self.rng());
        let expires_at = context.at.saturating_add(KEY_LIFETIME);
        let key = ApiKey {
            id: ApiKeyId::generate(context.at, self.rng()),
            name: "metrics".to_owned(),
            role: Role::Viewer,
            created_at: context.at,
            expires_at: Some(expires_at),
            last_used_at: None,
            last_used_from: None,
            maker: None,
            maker_key: None,
            addresses: Vec::new(),
        };
        let inside = context.in_tenant(PLATFORM_TENANT, context.actor.clone());
        let tx = self.0.store.begin(&inside).await?;
        tx.api_key_create(&key, digest.0).await?;
        let resource = veritwin_access::Resource::api_key(PLATFORM_TENANT, key.id);
        self.record(&tx, &inside, Action::ApiKeyCreate, &resource).await?;
        tx.commit().await?;
        Ok((expires_at, secret))
    }
}
