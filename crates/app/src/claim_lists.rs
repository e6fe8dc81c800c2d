//! What is seen of claims: by whoever prepares devices which ones wait and which went where, of a
//! single device where it is, and whether a name alone is enough.

use std::collections::HashMap;

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Kind};
use veritwin_domain::{DeviceId, OpContext};
use veritwin_metastore::{ClaimWindow, DeviceMove, MoveState};

use crate::change::Change;
use crate::claims::{SETTING, by_name_alone};
use crate::model::{ClaimState, ClaimedDevice, ClaimsView, DeviceClaimView, WaitingDevice};
use crate::{App, Result};

/// Most devices that wait, and that were claimed, in the list.
const CLAIMS_LISTED_MAX: u64 = 500;

const fn state(state: MoveState) -> ClaimState {
    match state {
        MoveState::Away => ClaimState::Away,
        MoveState::Here => ClaimState::Here,
        MoveState::GivenBack => ClaimState::GivenBack,
        MoveState::Back => ClaimState::Back,
    }
}

impl App {
    /// The devices of the context's tenant that wait to be claimed, and those that were.
    #[boxed]
    pub async fn device_claims(&self, context: &OpContext) -> Result<ClaimsView> {
        let resource = self.authorize_all(context, Action::ProvisioningRead, Kind::Tenant)?;
        let tx = self.0.store.read(context).await?;
        let windows = tx.claim_windows(context.at, CLAIMS_LISTED_MAX).await?;
        let away = tx.devices_away(CLAIMS_LISTED_MAX).await?;
        let alone = by_name_alone(&tx).await?;
        let ids = windows.iter().map(|one| one.device).chain(away.iter().map(|one| one.device));
        let devices = tx.devices_by_id(&ids.collect::<Vec<_>>()).await?;
        let names: HashMap<_, _> = devices.into_iter().map(|one| (one.id, one.name)).collect();
        let name = |id: DeviceId| names.get(&id).cloned().unwrap_or_default();
        let waiting = |one: &ClaimWindow| -> Result<WaitingDevice> {
            Ok(WaitingDevice {
                device: one.device,
                name: name(one.device),
                opened_at: one.opened_at,
                expires_at: one.expires_at,
                by_name_alone: self.is_by_name_alone(context.tenant, one)?,
            })
        };
        let claimed = |one: &DeviceMove| ClaimedDevice {
            device: one.device,
            name: name(one.device),
            organisation: self.branch_name(context.tenant, one.other_tenant),
            claimed_at: one.moved_at,
        };
        let view = ClaimsView {
            waiting: windows.iter().map(waiting).collect::<Result<_>>()?,
            claimed: away.iter().map(claimed).collect(),
            by_name_alone: alone,
        };
        self.note(context, Action::ProvisioningRead, &resource, "done");
        Ok(view)
    }

    /// Says whether devices of the context's tenant may be claimed by their names alone. Windows
    /// that are open stay.
    #[boxed]
    pub async fn set_claiming(&self, context: &OpContext, alone: bool) -> Result<()> {
        let resource = self.authorize_all(context, Action::ProvisioningWrite, Kind::Tenant)?;
        let tx = self.0.store.begin(context).await?;
        let before = by_name_alone(&tx).await?;
        let body = if alone { &b"by name alone"[..] } else { b"by secret" };
        tx.setting_put(SETTING, body, None).await?;
        let change = Change::from_to(
            json!({"claimed_by_name_alone": before}),
            json!({"claimed_by_name_alone": alone}),
        );
        self.record_change(&tx, context, Action::ProvisioningWrite, &resource, change).await?;
        Ok(tx.commit().await?)
    }

    /// Where a device is that was claimed, and until when one waits.
    #[boxed]
    pub async fn device_claim(&self, context: &OpContext, id: DeviceId) -> Result<DeviceClaimView> {
        let resource = self.authorize_device(context, Action::DeviceRead, id).await?;
        let tx = self.0.store.read(context).await?;
        tx.device(id).await?;
        let moved = tx.device_move(id).await?;
        let window = tx.claim_window(id).await?.filter(|window| context.at < window.expires_at);
        self.note(context, Action::DeviceRead, &resource, "done");
        let away = moved.filter(|moved| moved.state == MoveState::Away);
        Ok(DeviceClaimView {
            state: moved.map_or(ClaimState::None, |moved| state(moved.state)),
            moved_at: moved.map(|moved| moved.moved_at),
            organisation: away.and_then(|one| self.branch_name(context.tenant, one.other_tenant)),
            waits_until: window.map(|window| window.expires_at),
        })
    }
}
