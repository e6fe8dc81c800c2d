//! What the command line asks for people: one-time links, and the operator's key for metrics.

use anyhow::ensure;
use serde::Deserialize;
use serde_json::{Value, json};
use veritwin_app::App;
use veritwin_app::model::NetworksInput;
use veritwin_domain::TenantId;

use super::{Dispatcher, InTenant, refused};

/// How long a one-time link lives, as `access` sets it.
const LINK_HOURS: u64 = 72;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AdminLink {
    tenant: Option<TenantId>,
    /// Into the platform's own administration instead of a customer's.
    #[serde(default)]
    platform: bool,
    /// For a member of the platform's support instead of an administrator.
    #[serde(default)]
    support: bool,
}

impl Dispatcher {
    pub(super) async fn admin_link(&self, arguments: &AdminLink) -> anyhow::Result<Value> {
        let context = self.app.local_operator();
        ensure!(
            !(arguments.support && (arguments.tenant.is_some() || arguments.platform)),
            "a support link belongs to the platform itself: name nothing beside it"
        );
        let token = match arguments.support {
            true => self.app.issue_support_link(&context).await,
            false => {
                let platform = arguments.platform.then(App::platform_tenant);
                self.app.issue_admin_link(&context, platform.or(arguments.tenant)).await
            }
        };
        let token = token.map_err(refused)?;
        Ok(json!({
            // The token follows `#`, so that no server ever logs it.
            "link": format!("{}/welcome#{}", self.address, token.expose()),
            "expires_in_hours": LINK_HOURS,
            "ca_fingerprint": self.ca_fingerprint,
        }))
    }

    /// Lets a tenant's people and devices in from everywhere again: when nobody gets in any more.
    pub(super) async fn open_networks(&self, arguments: &InTenant) -> anyhow::Result<Value> {
        let context = self.in_tenant(arguments.tenant).await?;
        let input = NetworksInput::default();
        self.app.set_networks(&context, input, None).await.map_err(refused)?;
        Ok(json!({"tenant": context.tenant}))
    }

    pub(super) async fn metrics_key(&self) -> anyhow::Result<Value> {
        let context = self.app.local_operator();
        let (expires_at, secret) = self.app.issue_metrics_key(&context).await.map_err(refused)?;
        Ok(json!({"secret": secret.expose(), "expires_at": expires_at.to_string()}))
    }
}
