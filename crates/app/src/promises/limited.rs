//! P43 and P45: a person of nobody's tenant restricts what is done with their data: it is kept, and
//! neither read nor mailed about. Another objects: what they objected to stops, and nothing else.
//! Both are undone, and what was shown is shown again.

use std::sync::Arc;

use veritwin_domain::{DeviceId, OpContext, Purpose, Role};

use super::fixture::ProbeIdentity;
use super::rights::{Canary, Found, asks, key, wrong};
use super::run::InApp;
use super::sign_up::{answer, fact};
use super::{PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::{App, Result};

const VERSION: u32 = 1;
const NAME: &str = "limits probe";
/// The table to look at.
const PLACE: &str = "table rights_limits";

pub(super) fn probes(app: &App) -> [Arc<dyn PlatformProbe>; 2] {
    [
        InApp::shared(app, 43, VERSION, |app: App| async move { app.check_restriction().await }),
        InApp::shared(app, 45, VERSION, |app: App| async move { app.check_objection().await }),
    ]
}

impl App {
    async fn check_restriction(&self) -> Result<ProbeAnswer> {
        let canary = self.open_canary().await?;
        let reader = self.open_probe_identity(PROBE_TENANT, NAME, Role::PrivacyOfficer).await;
        let walked = match &reader {
            Ok(reader) => self.walk_restriction(&canary, reader).await,
            Err(_) => Ok(wrong("There is nobody who reads.", "table api_keys")),
        };
        self.close_canary(&canary, None).await?;
        self.close_probe_identity(&reader?).await?;
        Ok(answer(walked?, "Restricted data is kept, and neither read nor mailed about."))
    }

    /// Whether a reading of a device is shown.
    async fn sees(&self, context: &OpContext, device: DeviceId) -> Result<bool> {
        let sight = self.sight(context).await?;
        let devices = self.tenant_devices(context).await?;
        let key = key()?;
        Ok(devices.get(device).is_some_and(|device| sight.series(device, &key).is_some()))
    }

    /// Whether anything that is not owed may be written to somebody.
    async fn is_written_to(&self, canary: &Canary) -> Result<bool> {
        let by_address = !self.is_address_restricted(PROBE_TENANT, &canary.email).await?;
        Ok(by_address || self.may_be_reached(PROBE_TENANT, canary.user).await?)
    }

    async fn walk_restriction(&self, canary: &Canary, reader: &ProbeIdentity) -> Result<Found> {
        let (context, device) = (&reader.context, canary.device);
        if !self.sees(context, device).await? || !self.is_written_to(canary).await? {
            return Ok(wrong("What nobody restricted is not shown.", PLACE));
        }
        let id = self.create_own_case(&canary.context, &asks("restriction", "", None)).await?;
        if self.sees(context, device).await? {
            return Ok(wrong("Readings of somebody who restricted them are shown.", PLACE));
        }
        if self.is_written_to(canary).await? {
            return Ok(wrong("Somebody who restricted their data is written to.", PLACE));
        }
        if !self.sees(&self.by_duty(PROBE_TENANT), device).await? {
            return Ok(wrong("Restricted readings are not kept.", PLACE));
        }
        self.withdraw_own_case(&canary.context, id).await?;
        if !self.sees(context, device).await? {
            return Ok(wrong("A restriction that ended still counts.", PLACE));
        }
        Ok(Ok(vec![fact("kept from", "reads, mails, messages"), fact("kept", "readings")]))
    }

    async fn check_objection(&self) -> Result<ProbeAnswer> {
        let canary = self.open_canary().await?;
        let reader = self.open_probe_identity(PROBE_TENANT, NAME, Role::PrivacyOfficer).await;
        let walked = match &reader {
            Ok(reader) => self.walk_objection(&canary, reader).await,
            Err(_) => Ok(wrong("There is nobody who reads.", "table api_keys")),
        };
        self.close_canary(&canary, None).await?;
        self.close_probe_identity(&reader?).await?;
        Ok(answer(walked?, "The purpose that somebody objected to stops for them, and no other."))
    }

    async fn walk_objection(&self, canary: &Canary, reader: &ProbeIdentity) -> Result<Found> {
        let device = canary.device;
        let other = &reader.context;
        let twins = &OpContext { purpose: Purpose::TwinBuilding, ..reader.context.clone() };
        let purpose = Purpose::TwinBuilding.as_str();
        let asked = asks("objection", "", Some(purpose));
        if !self.sees(twins, device).await? {
            return Ok(wrong("What nobody objected to is not shown.", PLACE));
        }
        let id = self.create_own_case(&canary.context, &asked).await?;
        if self.sees(twins, device).await? {
            return Ok(wrong("A twin shows readings of somebody who objected to it.", PLACE));
        }
        if !self.sees(other, device).await? || !self.is_written_to(canary).await? {
            return Ok(wrong("An objection to one purpose stops another.", PLACE));
        }
        self.withdraw_own_case(&canary.context, id).await?;
        if !self.sees(twins, device).await? {
            return Ok(wrong("An objection that ended still counts.", PLACE));
        }
        let asked = asks("objection", "", Some(Purpose::ServiceCommunication.as_str()));
        let id = self.create_own_case(&canary.context, &asked).await?;
        if self.is_written_to(canary).await? {
            return Ok(wrong("Somebody who objected to mails is written to.", PLACE));
        }
        if !self.sees(other, device).await? || !self.sees(twins, device).await? {
            return Ok(wrong("An objection to mails stops another purpose.", PLACE));
        }
        self.withdraw_own_case(&canary.context, id).await?;
        Ok(Ok(vec![fact(
            "purposes stopped and begun again",
            "twin_building, service_communication",
        )]))
    }
}
