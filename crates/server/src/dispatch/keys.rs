//! What the command line does with the key above a customer's keys.

use serde::Deserialize;
use serde_json::{Value, json};
use veritwin_app::KEY_REVOKE_WORD;
use veritwin_app::model::ImportWrapping;
use veritwin_domain::TenantId;

use super::{Dispatcher, InTenant, refused};

/// A key that was wrapped for an import.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportKey {
    tenant: Option<TenantId>,
    id: String,
    wrapping: String,
    /// In base 64.
    wrapped_key: String,
}

impl Dispatcher {
    pub(super) async fn keys_import_begin(&self, arguments: &InTenant) -> anyhow::Result<Value> {
        let context = self.in_tenant(arguments.tenant).await?;
        let import = self.app.begin_key_import(&context).await.map_err(refused)?;
        Ok(json!({
            "tenant": context.tenant,
            "id": import.id,
            "public_key": import.public_key_pem,
            "ends_at": import.ends_at.to_string(),
        }))
    }

    pub(super) async fn keys_import(&self, arguments: &ImportKey) -> anyhow::Result<Value> {
        let context = self.in_tenant(arguments.tenant).await?;
        let Some(wrapping) = ImportWrapping::from_name(&arguments.wrapping) else {
            let names = ImportWrapping::ALL.map(ImportWrapping::as_str).join(" or ");
            anyhow::bail!("wrapping: expected {names}");
        };
        let (id, wrapped) = (&arguments.id, &arguments.wrapped_key);
        let done = self.app.finish_key_import(&context, id, wrapping, wrapped).await;
        done.map_err(refused)?;
        let key = self.app.customer_key(&context).await.map_err(refused)?;
        Ok(json!({
            "tenant": context.tenant,
            "level": key.level,
            "fingerprint": key.fingerprint,
        }))
    }

    pub(super) async fn keys_revoke(&self, arguments: &InTenant) -> anyhow::Result<Value> {
        let context = self.in_tenant(arguments.tenant).await?;
        self.app.revoke_keys(&context, KEY_REVOKE_WORD).await.map_err(refused)?;
        Ok(json!({"tenant": context.tenant, "state": "revoked"}))
    }

    pub(super) async fn keys_restore(&self, arguments: &InTenant) -> anyhow::Result<Value> {
        let context = self.in_tenant(arguments.tenant).await?;
        self.app.restore_keys(&context).await.map_err(refused)?;
        Ok(json!({"tenant": context.tenant, "state": "active"}))
    }
}
