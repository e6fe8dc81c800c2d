//! What the check of P04 needs inside the platform: two devices of nobody's tenant that nobody
//! declared, one of them a door reader, and keys of a privacy officer and of an operator.

use async_recursion::async_recursion as boxed;
use veritwin_access::jobs;
use veritwin_domain::{DeviceId, Role, Secret};
use veritwin_metastore::{DeviceFilter, Page};

use super::PROBE_TENANT;
use super::fixture::ProbeIdentity;
use crate::model::DeviceInput;
use crate::stream_acts::head_of;
use crate::{App, Result};

/// What every device of the check is called first.
const NAME: &str = "stream probe";

/// Two devices with their tokens, and two keys to ask with.
pub struct StreamFixture {
    /// A device of no known kind.
    pub device: (DeviceId, Secret<String>),
    /// A door reader.
    pub door: (DeviceId, Secret<String>),
    officer: ProbeIdentity,
    operator: ProbeIdentity,
}

impl std::fmt::Debug for StreamFixture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamFixture").field("device", &self.device.0).finish_non_exhaustive()
    }
}

impl StreamFixture {
    /// A privacy officer's key.
    pub const fn officer(&self) -> &Secret<String> {
        &self.officer.secret
    }

    /// An operator's key.
    pub const fn operator(&self) -> &Secret<String> {
        &self.operator.secret
    }
}

impl App {
    /// Two devices of nobody's tenant that nobody declared, and keys to ask with.
    #[boxed]
    pub async fn open_stream_fixture(&self) -> Result<StreamFixture> {
        self.ensure_probe_tenant().await?;
        let maker = self.open_probe_identity(PROBE_TENANT, NAME, Role::Administrator).await?;
        let made = self.stream_devices(&maker).await;
        self.close_probe_identity(&maker).await?;
        let (device, door) = made?;
        let officer = self.open_probe_identity(PROBE_TENANT, NAME, Role::PrivacyOfficer).await?;
        let operator = self.open_probe_identity(PROBE_TENANT, NAME, Role::Operator).await?;
        Ok(StreamFixture { device, door, officer, operator })
    }

    async fn stream_devices(
        &self,
        maker: &ProbeIdentity,
    ) -> Result<((DeviceId, Secret<String>), (DeviceId, Secret<String>))> {
        self.remove_stream_devices(maker).await?;
        let input = |name: &str, kind: &str| DeviceInput {
            name: format!("{NAME}{name}"),
            kind: kind.to_owned(),
            ..DeviceInput::default()
        };
        let device = self.create_device(&maker.context, input("", "probe")).await?;
        let door = self.create_device(&maker.context, input(", door", "door reader")).await?;
        Ok(((device.0.id, device.1), (door.0.id, door.1)))
    }

    /// Removes the check's devices, also those that a crash left, with what was declared of them.
    async fn remove_stream_devices(&self, maker: &ProbeIdentity) -> Result<()> {
        self.remove_declared_devices(maker, NAME).await
    }

    /// Removes devices whose names begin with this.
    pub(super) async fn remove_declared_devices(
        &self,
        maker: &ProbeIdentity,
        name: &str,
    ) -> Result<()> {
        let tx = self.0.store.read(&self.job_in(jobs::PROMISES, PROBE_TENANT)).await?;
        let filter = DeviceFilter { search: Some(name.to_owned()), twin: None, among: None };
        let left = tx.devices(&filter, &Page::whole()).await?.items;
        let acts = tx.stream_act_heads(&Page::whole()).await?.items;
        let mut heads = Vec::with_capacity(acts.len());
        for row in &acts {
            heads.push((row.id, head_of(&tx, row).await?));
        }
        drop(tx);
        let left: Vec<_> = left.iter().filter(|device| device.name.starts_with(name)).collect();
        let tx = self.0.store.begin(&maker.context).await?;
        for (id, head) in &heads {
            if left.iter().any(|device| head.is_about(device.id)) {
                tx.stream_act_delete(*id).await?;
            }
        }
        tx.commit().await?;
        for device in left {
            self.delete_device(&maker.context, device.id).await?;
        }
        Ok(())
    }

    /// Removes the devices with what was declared of them, and ends the keys.
    #[boxed]
    pub async fn close_stream_fixture(&self, fixture: StreamFixture) -> Result<()> {
        self.close_probe_identity(&fixture.officer).await?;
        self.close_probe_identity(&fixture.operator).await?;
        let maker = self.open_probe_identity(PROBE_TENANT, NAME, Role::Administrator).await?;
        let removed = self.remove_stream_devices(&maker).await;
        self.close_probe_identity(&maker).await?;
        removed
    }
}
