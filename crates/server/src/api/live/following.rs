//! A subscription of what one device does: what of it its subscriber may see is asked again when
//! rights or declarations change, and it ends when nothing may be seen any more.

use veritwin_app::{Error, WatchedDevice};
use veritwin_domain::{DeviceId, OpContext};

use super::super::Api;
use super::protocol::TrafficItem;
use super::traffic::Watching;

/// One who follows a device.
pub(super) struct Following {
    device: DeviceId,
    watching: Watching,
    watched: WatchedDevice,
    /// Something changed of what may be seen.
    is_stale: bool,
}

/// Which device is meant: one, by its id.
pub(super) fn only_device(
    twin_id: Option<&str>,
    device_ids: Option<&[String]>,
) -> Result<DeviceId, String> {
    match (twin_id, device_ids) {
        (None, Some([id])) => id.parse().map_err(|_| "device_ids: not an id".to_owned()),
        _ => Err("traffic takes device_ids with one id, and no twin_id".to_owned()),
    }
}

impl Following {
    /// Begins to follow a device; leaves a record.
    pub(super) async fn begin(
        api: &Api,
        context: &OpContext,
        device: DeviceId,
    ) -> Result<Self, String> {
        let watched = api.app.watch_device(context, device).await;
        let watched = watched.map_err(|error| error.told())?;
        let watching = api.live.watch(context, device);
        let watching = watching.map_err(|limit| limit.to_string())?;
        Ok(Self { device, watching, watched, is_stale: false })
    }

    /// What may be seen has possibly changed.
    pub(super) fn renew(&mut self) {
        self.is_stale = true;
    }

    /// What happened since the last call, if anything did; an error ends it.
    pub(super) async fn due(
        &mut self,
        api: &Api,
        context: &OpContext,
    ) -> Result<Option<(Vec<TrafficItem>, u64)>, String> {
        if self.is_stale {
            match api.app.watched_device(context, self.device).await {
                Ok(watched) => self.watched = watched,
                // Nothing is shown until it is known what may be: what comes meanwhile waits.
                Err(
                    Error::Unavailable(_)
                    | Error::KeySilent
                    | Error::Busy { .. }
                    | Error::Crowded(_),
                ) => {
                    return Ok(None);
                }
                Err(error) => return Err(error.told()),
            }
            self.is_stale = false;
        }
        let (items, left_out) = self.watching.take(&self.watched);
        Ok((!items.is_empty() || left_out > 0).then_some((items, left_out)))
    }
}

#[cfg(test)]
mod tests {
    use super::only_device;

    #[test]
    fn one_device_is_followed_by_its_id() {
        let id = DEVICE.to_owned();
        assert!(only_device(None, Some(std::slice::from_ref(&id))).is_ok());
        let check = |twin: Option<&str>, ids: Option<&[String]>| {
            assert!(only_device(twin, ids).is_err(), "{twin:?} {ids:?}");
        };
        check(None, None);
        check(None, Some(&[]));
        check(None, Some(&["x".to_owned()]));
        check(None, Some(&[id.clone(), id.clone()]));
        check(Some(DEVICE), Some(&[id]));
    }

    const DEVICE: &str = "0190c7a2-0000-7000-8000-000000000001";
}
