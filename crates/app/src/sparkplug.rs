//! Writing metrics of edge nodes and the devices behind them: who may, and what is recorded of it.

use async_recursion::async_recursion as boxed;
use serde_json::{Value, json};
use veritwin_access::Action;
use veritwin_domain::{DeviceId, Key, OpContext};

use crate::change::Change;
use crate::devices::check_text;
use crate::{App, DeviceCommand, Error, Result};

impl App {
    /// Whether the actor may write this metric of the device: a command like any other. What is to
    /// be written is recorded.
    #[boxed]
    pub async fn authorize_metric(
        &self,
        context: &OpContext,
        id: DeviceId,
        metric: &str,
        value: &Value,
    ) -> Result<DeviceCommand> {
        if metric.is_empty() {
            return Err(Error::invalid_at("metric", "needs a name"));
        }
        check_text("metric", metric, Key::BYTES_MAX)?;
        let resource = self.authorize_device(context, Action::DeviceCommand, id).await?;
        let tx = self.0.store.begin(context).await?;
        tx.device(id).await?;
        let change = Change::to(json!({"metric": metric, "value": value}));
        self.record_change(&tx, context, Action::DeviceCommand, &resource, change).await?;
        tx.commit().await?;
        Ok(DeviceCommand { tenant: context.tenant, device: id })
    }
}
