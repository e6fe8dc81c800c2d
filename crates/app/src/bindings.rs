//! Where devices stand: binding them to a twin's rooms and elements.

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Resource};
use veritwin_domain::{DeviceId, OpContext, SiteId};
use veritwin_metastore::{Device, TenantTx};

use crate::change::Change;
use crate::devices::{recorded, store_placement};
use crate::model::Placement;
use crate::rule_sight::is_elsewhere;
use crate::sight::Sight;
use crate::{App, Error, Result};

impl App {
    /// Binds a device to a place in a twin.
    #[boxed]
    pub async fn bind_device(
        &self,
        context: &OpContext,
        id: DeviceId,
        place: Placement,
    ) -> Result<()> {
        let twin = place.twin_id.ok_or_else(|| Error::invalid_at("twin_id", "needed"))?;
        self.authorize_twin(context, Action::TwinBind, twin)?;
        if context.actor.rights.is_confined() {
            self.authorize_device(context, Action::DeviceUpdate, id).await?;
        }
        let sight = self.sight(context).await?;
        // A twin of another tenant is as unknown as one that never was.
        let tx = self.0.store.begin(context).await?;
        tx.twin(twin).await?;
        let mut device = tx.device(id).await?;
        self.check_placement(&tx, &place).await?;
        let stood = device.clone();
        let old_twin = stood.twin;
        device.twin = Some(twin);
        device.placement = store_placement(&place);
        self.place_device(&tx, context, &sight, (&stood, &device)).await?;
        tx.commit().await?;
        self.devices_changed(context, Some(twin)).await?;
        if old_twin != Some(twin) {
            self.devices_changed(context, old_twin).await?;
        }
        Ok(())
    }

    /// Releases a device from a twin.
    #[boxed]
    pub async fn unbind_device(
        &self,
        context: &OpContext,
        twin: SiteId,
        id: DeviceId,
    ) -> Result<()> {
        self.authorize_twin(context, Action::TwinBind, twin)?;
        if context.actor.rights.is_confined() {
            self.authorize_device(context, Action::DeviceUpdate, id).await?;
        }
        let sight = self.sight(context).await?;
        let tx = self.0.store.begin(context).await?;
        let mut device = tx.device(id).await?;
        if device.twin != Some(twin) {
            return Err(Error::NotFound("binding"));
        }
        let stood = device.clone();
        device.twin = None;
        device.placement = None;
        self.place_device(&tx, context, &sight, (&stood, &device)).await?;
        tx.commit().await?;
        self.devices_changed(context, Some(twin)).await
    }

    /// Puts a device elsewhere, as a binding.
    async fn place_device(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        sight: &Sight,
        (stood, device): (&Device, &Device),
    ) -> Result<()> {
        self.check_moved(context, tx, &[(stood, device)]).await?;
        self.authorize_protection(tx, context, sight, (stood, device)).await?;
        tx.device_update(device, None).await?;
        if is_elsewhere(stood, device) {
            self.rules_stay(tx, context, sight, std::slice::from_ref(device)).await?;
        }
        self.move_alerts(tx, stood, device).await?;
        let resource = Resource::device(context.tenant, device.id);
        let change = Change::from_to(recorded(stood), recorded(device));
        self.record_change(tx, context, Action::TwinBind, &resource, change).await
    }
}
