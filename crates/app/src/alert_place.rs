//! Where an alert is, in names: device, space, storey, building; and what it keeps of them.

use veritwin_access::jobs;
use veritwin_alerting::{Condition, Message, Names, Rule, SeriesId, Transition};
use veritwin_domain::{SiteId, TenantId};

use crate::App;
use crate::alerts::Detail;
use crate::directory::TenantDevices;

/// The names around a series.
#[derive(Default)]
pub(crate) struct PlaceNames {
    pub(crate) names: Names,
    pub(crate) twin: Option<SiteId>,
    space_id: Option<String>,
    storey_id: Option<String>,
}

/// What an alert keeps of the moment it was raised.
pub(crate) fn detail(
    rule: &Rule,
    transition: &Transition,
    place: &PlaceNames,
    message: &Message,
) -> Detail {
    Detail {
        rule_name: rule.name.clone(),
        device_name: place.names.device.clone(),
        key: rule.condition.key().map(ToString::to_string),
        unit: Some(place.names.unit.clone()).filter(|unit| !unit.is_empty()),
        space_id: place.space_id.clone(),
        storey_id: place.storey_id.clone(),
        code: Some(message.what.code.to_owned()),
        message: message.headline(),
        value: transition.value,
        threshold: match rule.condition {
            Condition::Threshold { threshold, .. } => Some(threshold),
            Condition::NoData { .. } => None,
        },
        what_helps: rule.what_helps.clone(),
    }
}

impl App {
    /// The names around a series; without the model they only say less about the place.
    pub(crate) async fn place_names(
        &self,
        tenant: TenantId,
        devices: &TenantDevices,
        series: &SeriesId,
    ) -> PlaceNames {
        let mut place = PlaceNames::default();
        let Some(device) = devices.get(series.device) else { return place };
        place.names.device = device.name.clone();
        let unit = series.key.as_ref().and_then(|key| device.units.get(&**key));
        place.names.unit = unit.cloned().unwrap_or_default();
        place.twin = device.twin;
        let Some(twin) = device.twin else { return place };
        let context = self.job_in(jobs::ALERTS, tenant);
        let model = async {
            let tx = self.0.store.read(&context).await?;
            let row = tx.twin(twin).await?;
            drop(tx);
            self.load_model(tenant, &row).await
        };
        let Ok(model) = model.await else { return place };
        place.names.building =
            model.buildings.first().map(|building| building.name.clone()).unwrap_or_default();
        let space_id = device.placement.as_ref().and_then(|place| place.space_id.clone());
        let Some(space) = space_id.as_deref().and_then(|id| model.space(id)) else { return place };
        place.space_id = space_id;
        place.storey_id = Some(space.storey_id.to_string());
        place.names.space =
            if space.long_name.is_empty() { space.name.clone() } else { space.long_name.clone() };
        place.names.storey =
            model.storey(&space.storey_id).map(|storey| storey.name.clone()).unwrap_or_default();
        place
    }
}
