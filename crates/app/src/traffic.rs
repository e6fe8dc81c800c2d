//! Who may watch what a device sends, as it comes: whoever may read the device and what it reports.
//! Watching leaves a record, and is asked again when rights or declarations change.

use std::collections::HashSet;

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind};
use veritwin_domain::{DeviceId, Key, OpContext};

use crate::access::place_of;
use crate::sight::SeenStreams;
use crate::{App, Error, Result};

/// What somebody who watches a device sees of it.
#[derive(Debug)]
pub struct WatchedDevice {
    device: DeviceId,
    seen: SeenStreams,
    sees_attributes: bool,
    sees_calls: bool,
}

impl WatchedDevice {
    /// Whether a reading of this stream may be shown; also of one that sends for the first time.
    pub fn shows(&self, key: &Key) -> bool {
        self.seen.shows(self.device, key)
    }

    /// Whether its attributes may be shown.
    pub const fn shows_attributes(&self) -> bool {
        self.sees_attributes
    }

    /// Whether it may be shown what it is told to do.
    pub const fn shows_calls(&self) -> bool {
        self.sees_calls
    }
}

impl App {
    /// Begins to watch a device; leaves a record.
    #[boxed]
    pub async fn watch_device(&self, context: &OpContext, id: DeviceId) -> Result<WatchedDevice> {
        let watched = self.watched_device(context, id).await?;
        self.note_watch(context, id);
        Ok(watched)
    }

    /// What is seen of a device that is watched already; an error when nothing may be any more.
    #[boxed]
    pub async fn watched_device(&self, context: &OpContext, id: DeviceId) -> Result<WatchedDevice> {
        self.authorize_device(context, Action::DeviceRead, id).await?;
        if self.is_in_zone(context.tenant, id) {
            let why = "the device is a source of a public zone: nobody sees what it sends";
            return Err(Error::Conflict(why.to_owned()));
        }
        let reach = self.reach(context, Action::TelemetryRead, Kind::Telemetry)?;
        let attributes = self.0.authorizer.reach(context, Action::AttributeRead, Kind::Device);
        let calls = self.0.authorizer.reach(context, Action::DeviceCommand, Kind::Device);
        let sight = self.sight(context).await?;
        let devices = self.tenant_devices(context).await?;
        let device = devices.get(id).filter(|device| reach.covers(place_of(device)));
        let device = device.ok_or(Error::NotFound("device"))?;
        let sees_attributes = attributes.is_ok_and(|reach| reach.covers(place_of(device)))
            && sight.shows(device, None);
        let sees_calls = calls.is_ok_and(|reach| reach.covers(place_of(device)));
        let seen = sight.following(devices, HashSet::from([id]));
        Ok(WatchedDevice { device: id, seen, sees_attributes, sees_calls })
    }
}
