//! What the command line asks of the ledger beside its export.

use serde_json::{Value, json};
use veritwin_app::App;
use veritwin_domain::TenantId;

use super::{Dispatcher, refused};

impl Dispatcher {
    pub(super) async fn ledger_keys(&self) -> anyhow::Result<Value> {
        let keys = self.app.ledger_keys(&self.app.local_operator()).await.map_err(refused)?;
        let own = keys.iter().find(|(tenant, _)| *tenant == App::platform_tenant());
        let log_of_logs = own.map(|(_, vkey)| vkey.clone());
        let shown = |(tenant, vkey): (TenantId, String)| json!({"tenant": tenant, "vkey": vkey});
        let items: Vec<Value> = keys.into_iter().map(shown).collect();
        Ok(json!({"log_of_logs": log_of_logs, "items": items}))
    }
}
