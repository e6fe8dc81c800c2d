//! Twins: import from IFC, model, geometry, graph. The client's extraction is never trusted: the
//! model is made here, and geometry is accepted only for the source it was converted from.

use async_recursion::async_recursion as boxed;
use bytes::Bytes;
use veritwin_access::{Action, Kind, Reach, Resource};
use veritwin_domain::{OpContext, Place, SiteId};
use veritwin_metastore::{
    AlertFilter, AlertQuery, Device, DeviceFilter, TenantTx, Twin, every_row,
};
use veritwin_twin::ifc::{self, IfcLimits};
use veritwin_twin::{Binding, DeviceNode, GlobalId, Graph, LostEnd, TwinModel};

use crate::access::place_of;
use crate::change::Change;
use crate::live::{LiveEvent, TwinChange};
use crate::model::{GraphQuery, ModelView, TwinCounts, TwinOutcome, TwinView};
use crate::model_view::model_view;
use crate::place_changes::Move;
use crate::rule_sight::is_elsewhere;
use crate::{App, Error, Result};

const NAME_CHARS_MAX: usize = 200;
const GRAPH_ROWS_MAX: usize = 10_000;
/// The first bytes of every GLB file (glTF 2.0, section 4.4.2).
const GLB_MAGIC: &[u8; 4] = b"glTF";

fn counts_to_bytes(model: &TwinModel) -> Vec<u8> {
    let counts =
        [model.storeys.len(), model.spaces.len(), model.elements.len(), model.sensor_count()];
    serde_json::to_vec(&counts).unwrap_or_default()
}

fn counts_from_bytes(bytes: &[u8]) -> TwinCounts {
    let counts: [usize; 4] = serde_json::from_slice(bytes).unwrap_or_default();
    let [storeys, spaces, elements, sensors] = counts;
    TwinCounts { storeys, spaces, elements, sensors, devices: 0 }
}

fn global(id: &str) -> Option<GlobalId> {
    GlobalId::new(id).ok()
}

impl App {
    /// How many devices and active alerts of a twin the actor may list.
    async fn twin_counts(
        &self,
        context: &OpContext,
        tx: &TenantTx,
        twin: SiteId,
    ) -> Result<(usize, usize)> {
        let lists = |action, kind| {
            let reach = self.0.authorizer.reach(context, action, kind);
            reach.unwrap_or_else(|_| Reach::nowhere())
        };
        let listed = lists(Action::DeviceList, Kind::Device);
        let alerting = lists(Action::AlertList, Kind::Alert);
        let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let devices = if listed.is_whole() {
            let (_, by_twin) = tx.device_counts().await?;
            by_twin.get(&twin).copied().map_or(0, number)
        } else {
            let bound = bound_devices(tx, twin).await?;
            bound.iter().filter(|device| listed.covers(place_of(device))).count()
        };
        let alerts = if alerting.is_whole() {
            tx.alert_counts_by_twin().await?.get(&twin).copied().map_or(0, number)
        } else {
            let devices = self.devices_in(context, &alerting).await?;
            let active = AlertQuery {
                filter: AlertFilter::Active,
                twin: Some(twin),
                among: devices.as_deref(),
                ..AlertQuery::default()
            };
            number(tx.alert_counts(&active).await?.iter().map(|found| found.count).sum())
        };
        Ok((devices, alerts))
    }

    async fn twin_view(&self, context: &OpContext, tx: &TenantTx, twin: Twin) -> Result<TwinView> {
        let (devices, active_alerts) = self.twin_counts(context, tx, twin.id).await?;
        let counts = TwinCounts { devices, ..counts_from_bytes(&twin.detail) };
        Ok(TwinView {
            id: twin.id,
            name: twin.name,
            schema: twin.source_schema,
            source_sha256: twin.source_sha256,
            source_bytes: twin.source_bytes,
            counts,
            has_geometry: twin.geometry_object.is_some(),
            active_alerts,
            updated_at: twin.updated_at,
        })
    }

    /// Lists twins.
    #[boxed]
    pub async fn list_twins(&self, context: &OpContext) -> Result<Vec<TwinView>> {
        let reach = self.reach(context, Action::TwinList, Kind::Twin)?;
        let resource = Resource::all(context.tenant, Kind::Twin);
        let tx = &self.0.store.read(context).await?;
        let mut views = Vec::new();
        for twin in every_row(|page| async move { tx.twins(&page).await }).await? {
            if reach.covers(Place::TwinSeen(twin.id)) {
                views.push(self.twin_view(context, tx, twin).await?);
            }
        }
        self.note(context, Action::TwinList, &resource, "done");
        Ok(views)
    }

    /// Whether the actor may follow changes of twins.
    pub fn authorize_twin_list(&self, context: &OpContext) -> Result<()> {
        self.reach(context, Action::TwinList, Kind::Twin).map(|_| ())
    }

    /// Whether the actor may see a twin.
    pub fn sees_twin(&self, context: &OpContext, id: SiteId) -> bool {
        let reach = self.0.authorizer.reach(context, Action::TwinList, Kind::Twin);
        reach.is_ok_and(|reach| reach.covers(Place::TwinSeen(id)))
    }

    /// Reads a twin.
    #[boxed]
    pub async fn twin(&self, context: &OpContext, id: SiteId) -> Result<TwinView> {
        let (tx, twin) = self.read_twin(context, id).await?;
        self.twin_view(context, &tx, twin).await
    }

    async fn read_twin(&self, context: &OpContext, id: SiteId) -> Result<(TenantTx, Twin)> {
        let resource = self.authorize_twin(context, Action::TwinRead, id)?;
        let tx = self.0.store.read(context).await?;
        let twin = tx.twin(id).await?;
        self.note(context, Action::TwinRead, &resource, "done");
        Ok((tx, twin))
    }

    async fn extract(&self, bytes: Bytes) -> Result<ifc::Import> {
        // Reading a large file takes seconds of one core.
        let imported = tokio::task::spawn_blocking(move || {
            ifc::import(&bytes, veritwin_keys::sha256(&bytes), &IfcLimits::default())
        })
        .await
        .map_err(|_| Error::Internal("the import stopped".to_owned()))?;
        let imported = imported.map_err(|error| Error::invalid_at("file", error.to_string()))?;
        self.check_labels(&imported.model)?;
        Ok(imported)
    }

    /// Whether a model would be taken, asked before any of it is read: as a new twin, or as the
    /// next version of one.
    pub fn may_import_twin(&self, context: &OpContext, id: Option<SiteId>) -> Result<()> {
        match id {
            None => self.authorize_all(context, Action::TwinImport, Kind::Twin).map(drop),
            Some(id) => {
                self.authorize(context, Action::TwinImport, &Resource::twin(context.tenant, id))
            }
        }
    }

    /// Whether converted geometry would be taken, asked before any of it is read.
    pub fn may_put_twin_geometry(&self, context: &OpContext, id: SiteId) -> Result<()> {
        self.authorize(context, Action::TwinWriteGeometry, &Resource::twin(context.tenant, id))
    }

    /// Imports an IFC file as a new twin.
    #[boxed]
    pub async fn import_twin(
        &self,
        context: &OpContext,
        name: Option<String>,
        bytes: Bytes,
    ) -> Result<TwinOutcome> {
        self.authorize_all(context, Action::TwinImport, Kind::Twin)?;
        self.check_kept("name", name.as_deref().unwrap_or_default())?;
        self.check_storage_for(context.tenant, bytes.len()).await?;
        let ifc::Import { model, warnings } = self.extract(bytes.clone()).await?;
        let building = model.buildings.first().map(|building| building.name.clone());
        let name = [name, Some(model.name.clone()), building]
            .into_iter()
            .flatten()
            .map(|name| name.trim().chars().take(NAME_CHARS_MAX).collect::<String>())
            .find(|name| !name.is_empty())
            .unwrap_or_else(|| "Building".to_owned());
        let source_object = self.put_object(context.tenant, "source", bytes).await?;
        let model_bytes = model.to_bytes().map_err(|error| Error::Internal(error.to_string()))?;
        let model_object = self.put_object(context.tenant, "model", model_bytes.into()).await?;
        let twin = Twin {
            id: SiteId::generate(context.at, self.rng()),
            name,
            source_kind: "ifc".to_owned(),
            source_schema: model.source.schema.clone(),
            source_sha256: model.source.sha256,
            source_bytes: model.source.bytes,
            source_object,
            model_object,
            geometry_object: None,
            detail: counts_to_bytes(&model),
            version: 0,
            created_at: context.at,
            updated_at: context.at,
        };
        let tx = self.0.store.begin(context).await?;
        tx.twin_create(&twin).await?;
        let resource = Resource::twin(context.tenant, twin.id);
        self.record(&tx, context, Action::TwinImport, &resource).await?;
        let view = self.twin_view(context, &tx, twin).await?;
        tx.commit().await?;
        self.twins_stored(context.tenant).await;
        self.twin_changed(context, view.id, TwinChange::Model);
        Ok(TwinOutcome { twin: view, warnings })
    }

    /// Imports a new version of a twin's file; bindings are kept by GlobalId.
    #[boxed]
    pub async fn replace_twin(
        &self,
        context: &OpContext,
        id: SiteId,
        bytes: Bytes,
    ) -> Result<TwinOutcome> {
        let resource = self.authorize_twin(context, Action::TwinImport, id)?;
        self.check_storage_for(context.tenant, bytes.len()).await?;
        let tx = self.0.store.read(context).await?;
        let old = tx.twin(id).await?;
        let old_model = self.load_model(context.tenant, &old).await?;
        drop(tx);
        let sight = self.sight(context).await?;
        let ifc::Import { model, mut warnings } = self.extract(bytes.clone()).await?;
        let source_object = self.put_object(context.tenant, "source", bytes).await?;
        let model_bytes = model.to_bytes().map_err(|error| Error::Internal(error.to_string()))?;
        let model_object = self.put_object(context.tenant, "model", model_bytes.into()).await?;
        let tx = self.0.store.begin(context).await?;
        let mut twin = tx.twin(id).await?;
        let dropped: Vec<String> =
            [Some(twin.source_object), Some(twin.model_object), twin.geometry_object]
                .into_iter()
                .flatten()
                .collect();
        twin.source_schema = model.source.schema.clone();
        twin.source_sha256 = model.source.sha256;
        twin.source_bytes = model.source.bytes;
        twin.source_object = source_object;
        twin.model_object = model_object;
        twin.geometry_object = None;
        twin.detail = counts_to_bytes(&model);
        tx.twin_update(&twin, Some(old.version)).await?;
        let rebound = self.rebind(&tx, id, &old_model, &model, &mut warnings).await?;
        let moves: Vec<Move<'_>> = rebound.iter().map(|(stood, device)| (stood, device)).collect();
        self.check_rebound(context, &tx, (id, &model), &moves).await?;
        let moved = moves.iter().filter(|(stood, device)| is_elsewhere(stood, device));
        let moved: Vec<_> = moved.map(|(_, device)| Device::clone(device)).collect();
        self.rules_stay(&tx, context, &sight, &moved).await?;
        self.record(&tx, context, Action::TwinImport, &resource).await?;
        let view = self.twin_view(context, &tx, twin).await?;
        tx.commit().await?;
        self.delete_objects(dropped).await;
        self.twins_stored(context.tenant).await;
        // What is in a branch may have changed with the file.
        self.access_changed(context.tenant);
        self.twin_changed(context, id, TwinChange::Model);
        self.devices_changed(context, Some(id)).await?;
        Ok(TwinOutcome { twin: view, warnings })
    }

    /// Binds devices anew to what is in the new file; answers each as it stood and as it stands.
    async fn rebind(
        &self,
        tx: &TenantTx,
        id: SiteId,
        old: &TwinModel,
        new: &TwinModel,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<(Device, Device)>> {
        let devices = bound_devices(tx, id).await?;
        let bindings: Vec<Binding> = devices.iter().map(binding).collect();
        let outcome = veritwin_twin::rebind(old, new, &bindings);
        for lost in &outcome.lost {
            let name = devices
                .iter()
                .find(|device| device.id == lost.binding.device)
                .map_or_else(String::new, |device| device.name.clone());
            warnings.push(match &lost.lost {
                LostEnd::Space { name: space, .. } => {
                    format!("device {name}: its space {space} is not in the new file")
                }
                LostEnd::Element { name: element, .. } => {
                    format!("device {name}: its element {element} is not in the new file")
                }
            });
        }
        // Storeys may have changed where rooms did not.
        let alerting = tx.alerting_devices().await?;
        let mut rebound = Vec::with_capacity(devices.len());
        for mut device in devices {
            let stood = device.clone();
            let kept = outcome.kept.iter().find(|kept| kept.device == device.id);
            device.placement = kept.map(|kept| veritwin_metastore::Placement {
                space_id: kept.space.as_ref().map(ToString::to_string),
                element_id: kept.element.as_ref().map(ToString::to_string),
                position: kept.position,
            });
            if kept.is_none() {
                device.twin = None;
            }
            tx.device_update(&device, None).await?;
            if alerting.contains(&device.id) {
                self.put_alerts(tx, &device).await?;
            }
            rebound.push((stood, device));
        }
        Ok(rebound)
    }

    /// Deletes a twin with its objects; its devices stay with their open alerts, bound to nothing.
    #[boxed]
    pub async fn delete_twin(&self, context: &OpContext, id: SiteId) -> Result<()> {
        let resource = self.authorize_twin(context, Action::TwinDelete, id)?;
        let sight = self.sight(context).await?;
        let tx = self.0.store.begin(context).await?;
        let twin = tx.twin(id).await?;
        self.check_twin_leaving(context, &tx, id).await?;
        let mut released =
            if sight.sees_everything() { Vec::new() } else { bound_devices(&tx, id).await? };
        tx.twin_delete(id).await?;
        released.iter_mut().for_each(|device| (device.twin, device.placement) = (None, None));
        self.rules_stay(&tx, context, &sight, &released).await?;
        let change = Change::from(serde_json::json!({"name": twin.name}));
        self.record_change(&tx, context, Action::TwinDelete, &resource, change).await?;
        tx.commit().await?;
        let objects = [Some(twin.source_object), Some(twin.model_object), twin.geometry_object];
        self.delete_objects(objects.into_iter().flatten().collect()).await;
        self.twins_stored(context.tenant).await;
        self.access_changed(context.tenant);
        self.twin_changed(context, id, TwinChange::Deleted);
        self.devices_changed(context, None).await
    }

    fn twin_changed(&self, context: &OpContext, id: SiteId, change: TwinChange) {
        self.0.live.publish(context.tenant, || LiveEvent::Twin(id, change));
    }

    /// The IFC file of a twin, for whoever may import.
    #[boxed]
    pub async fn twin_source(&self, context: &OpContext, id: SiteId) -> Result<Bytes> {
        let resource = self.authorize_twin(context, Action::TwinImport, id)?;
        let tx = self.0.store.read(context).await?;
        let twin = tx.twin(id).await?;
        drop(tx);
        self.note(context, Action::TwinImport, &resource, "done");
        self.get_object(context.tenant, &twin.source_object).await
    }

    /// Storeys, spaces and elements of a twin.
    #[boxed]
    pub async fn twin_model(&self, context: &OpContext, id: SiteId) -> Result<ModelView> {
        let (_, twin) = self.read_twin(context, id).await?;
        let model = self.load_model(context.tenant, &twin).await?;
        Ok(model_view(id, &model))
    }

    /// The converted geometry of a twin.
    #[boxed]
    pub async fn twin_geometry(&self, context: &OpContext, id: SiteId) -> Result<Bytes> {
        let (tx, twin) = self.read_twin(context, id).await?;
        drop(tx);
        let object = twin.geometry_object.ok_or(Error::NotFound("geometry"))?;
        self.get_object(context.tenant, &object).await
    }

    /// Stores converted geometry for the source it was converted from.
    #[boxed]
    pub async fn put_twin_geometry(
        &self,
        context: &OpContext,
        id: SiteId,
        source_sha256: [u8; 32],
        bytes: Bytes,
    ) -> Result<()> {
        let resource = self.authorize_twin(context, Action::TwinWriteGeometry, id)?;
        check_glb(&bytes)?;
        self.check_storage_for(context.tenant, bytes.len()).await?;
        let tx = self.0.store.read(context).await?;
        let twin = tx.twin(id).await?;
        drop(tx);
        if twin.source_sha256 != source_sha256 {
            let detail = "the twin's source has changed: convert the current one";
            return Err(Error::Conflict(detail.to_owned()));
        }
        let object = self.put_object(context.tenant, "geometry", bytes).await?;
        let tx = self.0.store.begin(context).await?;
        let mut current = tx.twin(id).await?;
        let dropped = current.geometry_object.replace(object);
        tx.twin_update(&current, Some(twin.version)).await?;
        self.record(&tx, context, Action::TwinWriteGeometry, &resource).await?;
        tx.commit().await?;
        self.delete_objects(dropped.into_iter().collect()).await;
        self.twins_stored(context.tenant).await;
        self.twin_changed(context, id, TwinChange::Geometry);
        Ok(())
    }

    /// Relations of a twin's graph.
    #[boxed]
    pub async fn twin_graph(
        &self,
        context: &OpContext,
        id: SiteId,
        query: &GraphQuery,
    ) -> Result<Vec<(String, String, String)>> {
        let sight = self.sight(context).await?;
        let (tx, twin) = self.read_twin(context, id).await?;
        let model = self.load_model(context.tenant, &twin).await?;
        let listed = self.0.authorizer.reach(context, Action::DeviceList, Kind::Device);
        let listed = listed.unwrap_or_else(|_| Reach::nowhere());
        let nodes: Vec<DeviceNode> = bound_devices(&tx, id)
            .await?
            .iter()
            .filter(|device| listed.covers(place_of(device)))
            .map(|device| DeviceNode {
                device: device.id,
                keys: self.keys_seen(&sight, device).0,
                binding: Some(binding(device)),
            })
            .collect();
        let graph = Graph::build(&model, &nodes).ok_or_else(|| {
            Error::invalid(format!(
                "limit graph_edges_max exceeded: at most {}",
                veritwin_twin::GRAPH_EDGES_MAX
            ))
        })?;
        let parse =
            |field: &'static str, detail: &'static str| move |_| Error::invalid_at(field, detail);
        let query = veritwin_twin::GraphQuery {
            subject: query
                .subject
                .as_deref()
                .map(|text| text.parse().map_err(|_| Error::NotFound("subject")))
                .transpose()?,
            relation: query
                .relation
                .as_deref()
                .map(|text| {
                    text.parse().map_err(parse(
                        "relation",
                        "must be hasPart, isPartOf, hasPoint, isPointOf, hasLocation or isLocationOf",
                    ))
                })
                .transpose()?,
            class: query.class.clone(),
            limit: GRAPH_ROWS_MAX,
        };
        let found = graph.query(&query);
        Ok(found
            .into_iter()
            .map(|fact| {
                (fact.subject.to_string(), fact.relation.to_string(), fact.object.to_string())
            })
            .collect())
    }
}

fn check_glb(bytes: &[u8]) -> Result<()> {
    let header = bytes.get(..12);
    let is_glb = header.is_some_and(|header| {
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        &header[..4] == GLB_MAGIC && word(4) == 2 && word(8) as usize == bytes.len()
    });
    if is_glb {
        Ok(())
    } else {
        Err(Error::invalid_at("body", "not a glTF 2.0 binary (GLB) of the stated length"))
    }
}

async fn bound_devices(tx: &TenantTx, twin: SiteId) -> Result<Vec<Device>> {
    let filter = &DeviceFilter { search: None, twin: Some(twin), among: None };
    Ok(every_row(|page| async move { tx.devices(filter, &page).await }).await?)
}

fn binding(device: &Device) -> Binding {
    let place = device.placement.clone().unwrap_or_default();
    Binding {
        device: device.id,
        space: place.space_id.as_deref().and_then(global),
        element: place.element_id.as_deref().and_then(global),
        position: place.position,
    }
}
