//! Devices from an inventory file: all of it or nothing, in one transaction.

use std::collections::BTreeMap;

use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{Declaration, OpContext, SiteId};
use veritwin_metastore::TenantTx;
use veritwin_twin::inventory::{self, InventoryDevice, InventoryLimits};

use crate::devices::store_placement;
use crate::model::{DeviceInput, InventoryOutcome, Placement};
use crate::{App, Error, Result};

impl App {
    /// Imports an inventory CSV, all of it or nothing. Devices that exist are changed.
    pub async fn import_inventory(
        &self,
        context: &OpContext,
        twin: Option<SiteId>,
        bytes: &[u8],
    ) -> Result<InventoryOutcome> {
        self.authorize_all(context, Action::DeviceImport, Kind::Device)?;
        let tx = self.0.store.begin(context).await?;
        let model = match twin {
            Some(twin) => {
                let row = tx.twin(twin).await?;
                Some(self.load_model(context.tenant, &row).await?)
            }
            None => None,
        };
        let rows = inventory::parse(bytes, model.as_deref(), &InventoryLimits::default()).map_err(
            |error| {
                Error::invalid_at(
                    format!("row {}, column {}", error.row, error.column),
                    error.problem,
                )
            },
        )?;
        let mut outcome = InventoryOutcome { created: 0, updated: 0, tokens: Vec::new() };
        for row in rows {
            self.import_row(&tx, context, twin, row, &mut outcome).await?;
        }
        let resource = Resource::all(context.tenant, Kind::Device);
        self.record(&tx, context, Action::DeviceImport, &resource).await?;
        tx.commit().await?;
        self.devices_changed(context, twin).await?;
        Ok(outcome)
    }

    async fn import_row(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        twin: Option<SiteId>,
        row: InventoryDevice,
        outcome: &mut InventoryOutcome,
    ) -> Result<()> {
        let units: BTreeMap<String, String> = row
            .keys
            .iter()
            .filter(|key| !key.unit.is_empty())
            .map(|key| (key.key.to_string(), key.unit.clone()))
            .collect();
        let has_place = row.space.is_some() || row.element.is_some() || row.position.is_some();
        let placement = Placement {
            twin_id: twin,
            space_id: row.space.map(|id| id.to_string()),
            element_id: row.element.map(|id| id.to_string()),
            position: row.position,
        };
        let at_row = |error: Error| match error {
            Error::Invalid { detail, at } => Error::Invalid {
                detail,
                at: Some(format!("row {}, {}", row.row, at.unwrap_or_default())),
            },
            other => other,
        };
        if let Some(mut known) = tx.device_by_name(&row.name).await? {
            known.kind = row.device_type;
            known.units.extend(units);
            if row.declaration != Declaration::Undeclared {
                known.declaration = row.declaration;
            }
            if has_place {
                known.twin = twin;
                known.placement = store_placement(&placement);
            }
            tx.device_update(&known, None).await?;
            outcome.updated += 1;
            return Ok(());
        }
        let input = DeviceInput {
            name: row.name.clone(),
            kind: row.device_type,
            placement,
            declaration: row.declaration,
            units,
        };
        let device = self.new_device(context, input).map_err(at_row)?;
        tx.device_create(&device).await?;
        let (_, token) = self.new_token(tx, context, device.id).await?;
        outcome.created += 1;
        outcome.tokens.push((row.name, token));
        Ok(())
    }
}
