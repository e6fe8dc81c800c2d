//! Where an alert is, in names: device, space, storey, building; and what it keeps of them. It
//! stands where its device does, and moves with it while it is open.

use std::sync::Arc;

use veritwin_alerting::{Condition, Message, Names, Rule, SeriesId, Transition};
use veritwin_domain::SiteId;
use veritwin_metastore::{AlertFilter, AlertOrder, AlertQuery, Device, Page, TenantTx};
use veritwin_twin::TwinModel;

use crate::alerts::{Detail, detail_of};
use crate::{App, Error, Result};

/// Open alerts of a device that are read at a time while it moves.
const ALERTS_AT_ONCE: u32 = 500;

/// Where a device stands, as far as its building's model tells.
#[derive(Default)]
pub(crate) struct Standing {
    pub(crate) twin: Option<SiteId>,
    space_id: Option<String>,
    storey_id: Option<String>,
}

impl Standing {
    fn of(device: &Device, model: Option<&TwinModel>) -> Self {
        let space = device.placement.as_ref().and_then(|place| place.space_id.as_deref());
        let space = space.and_then(|id| model?.space(id));
        Self {
            twin: device.twin,
            space_id: space.map(|space| space.id.to_string()),
            storey_id: space.map(|space| space.storey_id.to_string()),
        }
    }
}

/// The names around a series.
#[derive(Default)]
pub(crate) struct PlaceNames {
    pub(crate) names: Names,
    pub(crate) standing: Standing,
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
        space_id: place.standing.space_id.clone(),
        storey_id: place.standing.storey_id.clone(),
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
        tx: &TenantTx,
        device: &Device,
        series: &SeriesId,
    ) -> PlaceNames {
        let model = self.model_around(tx, device).await;
        let standing = Standing::of(device, model.as_deref());
        let unit = series.key.as_ref().and_then(|key| device.units.get(&**key));
        let mut names = Names {
            device: device.name.clone(),
            unit: unit.cloned().unwrap_or_default(),
            ..Names::default()
        };
        let Some(model) = model else { return PlaceNames { names, standing } };
        names.building =
            model.buildings.first().map(|building| building.name.clone()).unwrap_or_default();
        let Some(space) = standing.space_id.as_deref().and_then(|id| model.space(id)) else {
            return PlaceNames { names, standing };
        };
        names.space =
            if space.long_name.is_empty() { space.name.clone() } else { space.long_name.clone() };
        names.storey =
            model.storey(&space.storey_id).map(|storey| storey.name.clone()).unwrap_or_default();
        PlaceNames { names, standing }
    }

    async fn model_around(&self, tx: &TenantTx, device: &Device) -> Option<Arc<TwinModel>> {
        let row = tx.twin(device.twin?).await.ok()?;
        self.load_model(tx.tenant_id(), &row).await.ok()
    }

    /// The open alerts of a device that moves go with it, in the transaction that moves it.
    pub(crate) async fn move_alerts(
        &self,
        tx: &TenantTx,
        stood: &Device,
        device: &Device,
    ) -> Result<()> {
        if (stood.twin, &stood.placement) == (device.twin, &device.placement) {
            return Ok(());
        }
        self.put_alerts(tx, device).await
    }

    /// The open alerts of a device stand where it does.
    pub(crate) async fn put_alerts(&self, tx: &TenantTx, device: &Device) -> Result<()> {
        let open = AlertQuery {
            filter: AlertFilter::Open,
            device: Some(device.id),
            ..AlertQuery::default()
        };
        let mut page = Page::first(ALERTS_AT_ONCE);
        let mut known = None;
        loop {
            let listed = tx.alerts_of(&open, AlertOrder::Newest, &page).await?;
            for mut alert in listed.items {
                if known.is_none() {
                    let model = self.model_around(tx, device).await;
                    known = Some(Standing::of(device, model.as_deref()));
                }
                let Some(standing) = &known else { continue };
                alert.twin = standing.twin;
                // One whose detail is damaged is found under its building all the same.
                if let Ok(mut detail) = detail_of(&alert) {
                    detail.space_id.clone_from(&standing.space_id);
                    detail.storey_id.clone_from(&standing.storey_id);
                    alert.detail = serde_json::to_vec(&detail)
                        .map_err(|error| Error::Internal(error.to_string()))?;
                }
                tx.alert_update(&alert, Some(alert.version)).await?;
            }
            let Some(next) = listed.next else { return Ok(()) };
            page.after = Some(next);
        }
    }
}
