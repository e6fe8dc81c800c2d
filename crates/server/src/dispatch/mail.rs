//! What the command line does with the keys that sign mail.

use serde_json::{Value, json};
use veritwin_app::model::MailKeyView;

use super::{Dispatcher, refused};

fn shown(key: &MailKeyView) -> Value {
    json!({
        "name": key.name,
        "record": key.record,
        "algorithm": key.algorithm,
        "state": key.state,
        "made_at": key.made_at.to_string(),
        "retired_at": key.retired_at.map(|at| at.to_string()),
    })
}

impl Dispatcher {
    pub(super) async fn mail_keys(&self) -> anyhow::Result<Value> {
        let keys = self.app.all_mail_keys(&self.app.local_operator()).await.map_err(refused)?;
        Ok(json!({"keys": keys.iter().map(shown).collect::<Vec<_>>()}))
    }

    pub(super) async fn mail_rotate(&self) -> anyhow::Result<Value> {
        self.app.rotate_mail_keys(&self.app.local_operator()).await.map_err(refused)?;
        self.mail_keys().await
    }

    pub(super) async fn mail_activate(&self) -> anyhow::Result<Value> {
        self.app.activate_mail_keys(&self.app.local_operator()).await.map_err(refused)?;
        self.mail_keys().await
    }
}
