//! What the command line asks of the ledger beside its export.

use serde_json::{Value, json};
use veritwin_domain::TenantId;

use super::{Dispatcher, refused};

impl Dispatcher {
    pub(super) async fn ledger_keys(&self) -> anyhow::Result<Value> {
        let keys = self.app.ledger_keys(&self.app.local_operator()).await.map_err(refused)?;
        let shown = |(tenant, vkey): (TenantId, String)| json!({"tenant": tenant, "vkey": vkey});
        Ok(json!({"items": keys.into_iter().map(shown).collect::<Vec<_>>()}))
    }
}
