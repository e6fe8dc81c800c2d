//! What is seen of claims: by whoever prepares devices which ones wait and which went where, of a
//! single device where it is, and whether a name alone is enough. What is away is not made use of.

use std::collections::HashMap;

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Kind};
use veritwin_domain::{DeviceId, OpContext};
use veritwin_metastore::{ClaimWindow, DeviceMove, MoveState, TenantTx};

use crate::change::Change;
use crate::claims::{SETTING, by_name_alone};
use crate::model::{ClaimState, ClaimedDevice, ClaimsView, DeviceClaimView, WaitingDevice};
use crate::{App, Error, Result};

/// Most devices that wait, and that were claimed, in the list.
const CLAIMS_LISTED_MAX: u64 = 500;

const WAS_CLAIMED: &str = "this device was claimed: it is another organisation's now";

const fn state(state: MoveState) -> ClaimState {
    match state {
        MoveState::Away => ClaimState::Away,
        MoveState::Here => ClaimState::Here,
        MoveState::GivenBack => ClaimState::GivenBack,
        MoveState::Back => ClaimState::Back,
    }
}

/// The move by which a device went away, if another tenant claimed it from here.
pub(crate) async fn away(tx: &TenantTx, device: DeviceId) -> Result<Option<DeviceMove>> {
    let moves = tx.device_moves(device).await?;
    Ok(moves.into_iter().find(|moved| moved.state == MoveState::Away))
}

/// Refuses a device that went away since [`App::refuse_claimed`] looked, which gave `gone`.
pub(crate) async fn refuse_moved(
    tx: &TenantTx,
    device: DeviceId,
    gone: Option<DeviceMove>,
) -> Result<()> {
    match away(tx, device).await? {
        Some(moved) if gone != Some(moved) => Err(Error::Conflict(WAS_CLAIMED.to_owned())),
        _ => Ok(()),
    }
}

/// Where a device is now: away, or here from elsewhere, before what it was once.
fn current(moves: &[DeviceMove]) -> Option<DeviceMove> {
    let of = |state: MoveState| moves.iter().find(|moved| moved.state == state);
    of(MoveState::Away).or_else(|| of(MoveState::Here)).or(moves.first()).copied()
}

impl App {
    /// Refuses a device that another tenant claimed from here and has still: what it was stays as
    /// it is. One that was deleted there may come in here again; its move is given. Nothing else
    /// of the records may be held meanwhile.
    pub(crate) async fn refuse_claimed(
        &self,
        context: &OpContext,
        device: DeviceId,
    ) -> Result<Option<DeviceMove>> {
        let tx = self.0.store.read(context).await?;
        let moved = away(&tx, device).await?;
        drop(tx);
        let Some(moved) = moved else { return Ok(None) };
        let tx = self.0.store.read_platform(&self.above(context)).await?;
        if tx.device_is_where_it_went(context.tenant, &moved).await? {
            return Err(Error::Conflict(WAS_CLAIMED.to_owned()));
        }
        Ok(Some(moved))
    }

    /// Whether a window lets its device be claimed now: one without a secret does only while
    /// names are enough.
    fn is_waiting(&self, context: &OpContext, window: &ClaimWindow, alone: bool) -> Result<bool> {
        let lets = alone || !self.is_by_name_alone(context.tenant, window)?;
        Ok(lets && context.at < window.expires_at)
    }

    /// The devices of the context's tenant that wait to be claimed, and those that were.
    #[boxed]
    pub async fn device_claims(&self, context: &OpContext) -> Result<ClaimsView> {
        let resource = self.authorize_all(context, Action::ProvisioningRead, Kind::Tenant)?;
        let tx = self.0.store.read(context).await?;
        let alone = by_name_alone(&tx).await?;
        let mut windows = Vec::new();
        for window in tx.claim_windows(context.at, CLAIMS_LISTED_MAX).await? {
            if self.is_waiting(context, &window, alone)? {
                windows.push(window);
            }
        }
        let away = tx.devices_away(CLAIMS_LISTED_MAX).await?;
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

    /// Says whether devices of the context's tenant may be claimed by their names alone. When they
    /// may not, those that wait without a secret are not claimed.
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
        let moved = current(&tx.device_moves(id).await?);
        let window = match tx.claim_window(id).await? {
            Some(window) => {
                let alone = by_name_alone(&tx).await?;
                self.is_waiting(context, &window, alone)?.then_some(window)
            }
            None => None,
        };
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
