//! Who may ask that a device can be claimed, which is itself or the gateway that it is behind, and
//! what stands in the way of one that is to move.

use veritwin_domain::{CredentialId, DeviceId};
use veritwin_metastore::{Device, TenantTx};

use crate::error::found;
use crate::{Error, Result};

const BEHIND: &str = "this device speaks through a gateway and cannot move by itself: its gateway \
                      asks for it (v1/gateway/claim), or take it from its gateway first";
const NOT_ASKED_BY: &str = "whoever asks is neither this device nor the gateway that it is behind";
const HAS_CHILDREN: &str = "devices are behind this gateway and would not move with it: take them \
                            from it first";
const IS_EDGE: &str = "an edge signs its batches for this gateway and would not move with it: \
                       revoke its keys first";
const IS_HOST: &str = "this device is a Sparkplug host, which stays where it is: take that from it \
                       first";

/// Who asks with a credential that a device may be claimed: the device itself, or its gateway,
/// which is given. A window of a device behind a gateway is always that gateway's: who puts it
/// there, or takes it from there, closes the one before.
pub(crate) async fn offered_by(
    tx: &TenantTx,
    device: &Device,
    credential: CredentialId,
) -> Result<Option<DeviceId>> {
    let owners = [(device.id, None)].into_iter();
    for (owner, gateway) in owners.chain(device.gateway.map(|gateway| (gateway, Some(gateway)))) {
        let known = found(tx.credential(owner, credential).await)?;
        if known.is_some_and(|known| known.disabled_at.is_none()) {
            return Ok(gateway);
        }
    }
    Err(Error::Forbidden(NOT_ASKED_BY.to_owned()))
}

/// Refuses a device that would not move whole. `gateway` is the one that lets it go.
pub(crate) async fn check_moves(
    tx: &TenantTx,
    device: &Device,
    gateway: Option<DeviceId>,
) -> Result<()> {
    if device.gateway != gateway {
        return Err(Error::Conflict(BEHIND.to_owned()));
    }
    if device.is_sparkplug_host {
        return Err(Error::Conflict(IS_HOST.to_owned()));
    }
    if device.is_gateway && tx.devices_behind(device.id).await? > 0 {
        return Err(Error::Conflict(HAS_CHILDREN.to_owned()));
    }
    if tx.edge_keys(device.id).await?.iter().any(|key| key.revoked_at.is_none()) {
        return Err(Error::Conflict(IS_EDGE.to_owned()));
    }
    Ok(())
}
