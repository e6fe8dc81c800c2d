//! Writing metrics of edge nodes and the devices behind them: who may, and what is recorded of it.
//! Which devices are host applications, and command them over MQTT.

use async_recursion::async_recursion as boxed;
use serde_json::{Value, json};
use veritwin_access::{Action, Kind, jobs};
use veritwin_domain::{DeviceId, Key, OpContext, TenantId};
use veritwin_metastore::Device;

use crate::change::Change;
use crate::devices::check_text;
use crate::error::found;
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

    /// Makes a device a host application, or takes that from it. What a host may do, its maker has
    /// to be able to: command every device of the tenant.
    pub(crate) fn make_host(
        &self,
        context: &OpContext,
        device: &mut Device,
        change: Option<bool>,
    ) -> Result<()> {
        let Some(is_host) = change else { return Ok(()) };
        if is_host && !device.is_sparkplug_host {
            self.check_commands_all(context)?;
        }
        device.is_sparkplug_host = is_host;
        Ok(())
    }

    /// Whoever has a credential of a host commands as it does: giving one out, or having one count
    /// again, takes as much as making the host.
    pub(crate) fn check_gives_host(&self, context: &OpContext, device: &Device) -> Result<()> {
        if device.is_sparkplug_host { self.check_commands_all(context) } else { Ok(()) }
    }

    fn check_commands_all(&self, context: &OpContext) -> Result<()> {
        if self.reach(context, Action::DeviceCommand, Kind::Device)?.is_whole() {
            return Ok(());
        }
        let detail = "a Sparkplug host commands every edge node: that takes the right to command \
            devices in the whole tenant";
        Err(Error::Forbidden(detail.to_owned()))
    }

    /// Whether a device is a host application now.
    #[boxed]
    pub async fn is_sparkplug_host(&self, tenant: TenantId, device: DeviceId) -> Result<bool> {
        let tx = self.0.store.read(&self.job_in(jobs::INGEST, tenant)).await?;
        Ok(found(tx.device(device).await)?.is_some_and(|device| device.is_sparkplug_host))
    }
}
