//! A twin's model as the pages see it.

use veritwin_domain::SiteId;
use veritwin_twin::{GlobalId, TwinModel};

use crate::model::{ElementView, ModelView, SpaceView, StoreyView};

pub(crate) fn model_view(id: SiteId, model: &TwinModel) -> ModelView {
    let optional = |id: &Option<GlobalId>| id.as_ref().map(ToString::to_string);
    ModelView {
        twin: id,
        name: model.name.clone(),
        bounds: [model.bounds.min, model.bounds.max],
        storeys: model
            .storeys
            .iter()
            .map(|storey| StoreyView {
                id: storey.id.to_string(),
                name: storey.name.clone(),
                index: storey.index,
                elevation_m: storey.elevation_m,
                height_m: storey.height_m,
            })
            .collect(),
        spaces: model
            .spaces
            .iter()
            .map(|space| SpaceView {
                id: space.id.to_string(),
                name: space.name.clone(),
                long_name: space.long_name.clone(),
                storey_id: space.storey_id.to_string(),
                area_m2: space.area_m2,
                height_m: space.height_m,
                elevation_m: space.elevation_m,
                polygon: space.polygon.clone(),
            })
            .collect(),
        elements: model
            .elements
            .iter()
            .map(|element| ElementView {
                id: element.id.to_string(),
                name: element.name.clone(),
                class: element.class.clone(),
                storey_id: optional(&element.storey_id),
                space_id: optional(&element.space_id),
                position: element.position,
            })
            .collect(),
    }
}
