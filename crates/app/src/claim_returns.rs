//! Claims that end: whoever claimed a device gives it back, or whoever prepared it takes it back.
//! What it sent in between stays where it was. Taken back, it comes in by nothing that it had.

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Resource};
use veritwin_domain::{AuthorityId, DeviceId, OpContext, TenantId};
use veritwin_metastore::{Device, DeviceMove, MoveState, TenantTx};

use crate::change::Change;
use crate::claim_lists::{away, refuse_moved};
use crate::claim_moves::check_moves;
use crate::claims::{COLLISIONS_MAX, has_place};
use crate::devices::recorded;
use crate::error::found;
use crate::model::MovedDevice;
use crate::{App, Error, Result};

const HOST_THERE: &str = "whoever prepared this device has made it a Sparkplug host: they have to \
                          take that from it first";
const NOT_CLAIMED: &str = "this device was not claimed: there is nobody to give it back to";
const NO_PLACE: &str = "whoever prepared this device keeps it no longer, or has no place for its \
                        credentials: it cannot be given back";
const NOT_AWAY: &str = "this device is not at another organisation that claimed it";
const NOT_BELOW: &str = "the organisation that claimed this device is not below yours any more: it \
                         has to give the device back";
/// It does not say what: that is the other organisation's.
const HELD_THERE: &str = "something at the organisation that claimed this device depends on it: \
                          it has to give the device back";

impl App {
    /// Gives a device that was claimed back to whoever prepared it; what it was here stays. Live
    /// connections that it has are for the caller to end.
    #[boxed]
    pub async fn return_device(&self, context: &OpContext, id: DeviceId) -> Result<MovedDevice> {
        let resource = self.authorize_device(context, Action::DeviceReturn, id).await?;
        for _ in 0..COLLISIONS_MAX {
            match self.give_back(context, &resource, id).await {
                Err(error) if error.is_collision() => {}
                done => return done,
            }
        }
        self.give_back(context, &resource, id).await
    }

    /// The same, in one transaction over both tenants.
    async fn give_back(
        &self,
        context: &OpContext,
        resource: &Resource,
        id: DeviceId,
    ) -> Result<MovedDevice> {
        let gone = self.refuse_claimed(context, id).await?;
        let tx = self.0.store.begin_platform(&self.above_as(context)).await?;
        let tx = tx.inside(context.tenant).await?;
        let device = tx.device_held(id).await?;
        let moves = tx.device_moves(id).await?;
        let moved = moves.into_iter().find(|moved| moved.state == MoveState::Here);
        let moved = moved.ok_or_else(|| Error::Conflict(NOT_CLAIMED.to_owned()))?;
        refuse_moved(&tx, id, gone).await?;
        let (partner, former) = (moved.other_tenant, moved.other_device);
        check_moves(&tx, &device, None).await?;
        let taken = tx.credentials_take(id, context.at).await?;
        let mut given = Vec::with_capacity(taken.len());
        for one in &taken {
            // What an authority of one's own vouches for lets nobody in elsewhere.
            let authority = one.credential.facts.authority.as_deref();
            let authority = authority.and_then(|id| id.parse::<AuthorityId>().ok());
            let is_own = match authority {
                Some(authority) => found(tx.device_authority(authority).await)?.is_some(),
                None => false,
            };
            if !is_own {
                given.push(one);
            }
        }
        tx.claim_window_close(id).await?;
        self.keep_move(&tx, context, (id, MoveState::GivenBack), (partner, former)).await?;
        let change = Change::from(recorded(&device));
        self.record_change(&tx, context, Action::DeviceReturn, resource, change).await?;
        let tx = tx.above().await?.inside(partner).await?;
        let no_place = || Error::Conflict(NO_PLACE.to_owned());
        let kept = found(tx.device_held(former).await)?.ok_or_else(no_place)?;
        // With what it comes back with, a stranger would command.
        if kept.is_sparkplug_host {
            return Err(Error::Conflict(HOST_THERE.to_owned()));
        }
        if !has_place(&tx, former, given.len()).await? {
            return Err(no_place());
        }
        self.give_credentials(&tx, context, former, &given).await?;
        self.keep_move(&tx, context, (former, MoveState::Back), (context.tenant, id)).await?;
        let organisation = self.branch_name(partner, context.tenant);
        let change = Change::from_to(
            json!({"name": kept.name, "organisation": organisation}),
            json!({"name": kept.name, "organisation": null}),
        );
        self.record_elsewhere(&tx, Action::DeviceReturn, former, change).await?;
        tx.commit().await?;
        self.moved(&taken, (context.tenant, id), (partner, former));
        Ok(MovedDevice { device: former, left: (context.tenant, id) })
    }

    /// Takes a device back that an organisation below claimed. It is there no longer and what it
    /// sent there stays; it comes in nowhere until it is given credentials here, so that nothing
    /// that stands at the other organisation reports to this one by that alone. Live connections
    /// that it has are for the caller to end.
    #[boxed]
    pub async fn take_back_device(&self, context: &OpContext, id: DeviceId) -> Result<MovedDevice> {
        let resource = self.authorize_device(context, Action::DeviceReturn, id).await?;
        for _ in 0..COLLISIONS_MAX {
            match self.move_back(context, &resource, id).await {
                Err(error) if error.is_collision() => {}
                done => return done,
            }
        }
        self.move_back(context, &resource, id).await
    }

    /// The same, in one transaction over both tenants.
    async fn move_back(
        &self,
        context: &OpContext,
        resource: &Resource,
        id: DeviceId,
    ) -> Result<MovedDevice> {
        let tx = self.0.store.read(context).await?;
        tx.device(id).await?;
        let moved = away(&tx, id).await?;
        drop(tx);
        let moved = moved.ok_or_else(|| Error::Conflict(NOT_AWAY.to_owned()))?;
        let organisation = self.branch_name(context.tenant, moved.other_tenant);
        if organisation.is_none() {
            return Err(Error::Conflict(NOT_BELOW.to_owned()));
        }
        let tx = self.0.store.begin_platform(&self.above_as(context)).await?;
        // Theirs before ours, as when it is given back.
        let tx = tx.inside(moved.other_tenant).await?;
        let mut taken = Vec::new();
        // What they deleted only comes back here.
        if let Some(device) = found(tx.device_held(moved.other_device).await)? {
            self.check_taken_back(&tx, &device, (context.tenant, id)).await?;
            taken = tx.credentials_take(device.id, context.at).await?;
            tx.claim_window_close(device.id).await?;
            let other = (context.tenant, id);
            self.keep_move(&tx, context, (device.id, MoveState::GivenBack), other).await?;
            let change = Change::from(recorded(&device));
            self.record_elsewhere(&tx, Action::DeviceReturn, device.id, change).await?;
        }
        let tx = tx.above().await?.inside(context.tenant).await?;
        let own = tx.device_held(id).await?;
        // Somebody else may have been first.
        if away(&tx, id).await? != Some(moved) {
            return Err(Error::Conflict(NOT_AWAY.to_owned()));
        }
        let other = (moved.other_tenant, moved.other_device);
        self.keep_move(&tx, context, (id, MoveState::Back), other).await?;
        let change = Change::from_to(
            json!({"name": own.name, "organisation": organisation}),
            json!({"name": own.name, "organisation": null}),
        );
        self.record_change(&tx, context, Action::DeviceReturn, resource, change).await?;
        tx.commit().await?;
        self.moved(&taken, other, (context.tenant, id));
        Ok(MovedDevice { device: id, left: other })
    }

    /// Refuses a device that is not the one which was claimed from here, or would not go whole.
    async fn check_taken_back(
        &self,
        tx: &TenantTx,
        device: &Device,
        from: (TenantId, DeviceId),
    ) -> Result<()> {
        let is_it = |one: &DeviceMove| {
            one.state == MoveState::Here && (one.other_tenant, one.other_device) == from
        };
        let moves = tx.device_moves(device.id).await?;
        if !moves.iter().any(is_it) {
            return Err(Error::Conflict(NOT_AWAY.to_owned()));
        }
        let held = || Error::Conflict(HELD_THERE.to_owned());
        if moves.iter().any(|one| one.state == MoveState::Away)
            || self.is_in_zone(tx.tenant_id(), device.id)
        {
            return Err(held());
        }
        match check_moves(tx, device, None).await {
            Err(Error::Conflict(_)) => Err(held()),
            other => other,
        }
    }
}
