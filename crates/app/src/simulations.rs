//! Whether a device may be simulated: by whom it may be changed and given a credential, and only
//! while nothing real is heard from it, so that made-up readings never mix with measured ones.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_access::Action;
use veritwin_domain::{DeviceId, OpContext, Timestamp};

use crate::{App, Error, Result};

/// A device that was heard within this time is not simulated.
const SILENT_FOR: Duration = Duration::from_secs(24 * 3600);

/// Whether something real was heard a short while ago: something after the last simulation.
fn is_heard(seen: Option<Timestamp>, simulated_until: Option<Timestamp>, now: Timestamp) -> bool {
    let is_real = |seen: &Timestamp| simulated_until.is_none_or(|until| *seen > until);
    seen.filter(is_real).is_some_and(|seen| seen.saturating_add(SILENT_FOR) > now)
}

impl App {
    /// Whether a device may be simulated now, by this actor. `simulated_until` is when the last
    /// simulation of it ended, if that is known.
    #[boxed]
    pub async fn check_simulation(
        &self,
        context: &OpContext,
        id: DeviceId,
        simulated_until: Option<Timestamp>,
    ) -> Result<()> {
        self.authorize_device(context, Action::DeviceUpdate, id).await?;
        self.authorize_device(context, Action::CredentialCreate, id).await?;
        let device = self.0.store.read(context).await?.device(id).await?;
        let presence = self.0.presence.of(context.tenant, id);
        if presence.connected {
            let detail = "the device is connected: only one that is silent can be simulated";
            return Err(Error::Conflict(detail.to_owned()));
        }
        let seen = presence.last_seen_at.max(device.last_seen_at);
        if is_heard(seen, simulated_until, context.at) {
            let detail = "the device was heard within the last day: only one that is silent can be \
                          simulated";
            return Err(Error::Conflict(detail.to_owned()));
        }
        Ok(())
    }

    /// Whether a simulation of a device may be ended by this actor.
    #[boxed]
    pub async fn check_simulation_end(&self, context: &OpContext, id: DeviceId) -> Result<()> {
        self.authorize_device(context, Action::DeviceUpdate, id).await?;
        self.0.store.read(context).await?.device(id).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_real_keeps_a_device_from_being_simulated() {
        let hour = |hours: i64| Timestamp::from_micros(hours * 3_600_000_000);
        let check = |seen: Option<i64>, until: Option<i64>, expect: bool| {
            let heard = is_heard(seen.map(hour), until.map(hour), hour(100));
            assert_eq!(heard, expect, "{seen:?} {until:?}");
        };
        check(None, None, false);
        check(Some(99), None, true);
        check(Some(75), None, false);
        check(Some(99), Some(99), false);
        check(Some(99), Some(98), true);
    }
}
