//! Device attributes, one JSON object per device and scope.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{DeviceId, Timestamp};

use crate::bind::{Row, opaque_debug, stored_enum};
use crate::query::one_of;
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{CHANGED, Error, Result, TenantTx};

const TABLE: &str = "attributes";
const DEVICES: &str = "devices";

stored_enum! {
    /// Who writes an attribute and who sees it (ThingsBoard's scopes).
    AttributeScope {
        /// Written by the device.
        Client = "client",
        /// Written by the platform, sent to the device.
        Shared = "shared",
        /// Written by the platform, never sent to the device.
        Server = "server",
    }
}

/// The attributes of one scope.
#[derive(Clone, PartialEq, Eq)]
pub struct Attributes {
    /// The scope.
    pub scope: AttributeScope,
    /// A JSON object.
    pub body: Vec<u8>,
    /// Counts changes.
    pub version: u64,
    /// When it last changed.
    pub updated_at: Timestamp,
}

opaque_debug!(Attributes { scope, version });

fn key(device: DeviceId, scope: AttributeScope) -> Vec<u8> {
    [device.as_bytes(), scope.as_str().as_bytes()].concat()
}

fn load(row: &Row, device: DeviceId, vault: &Vault<'_>) -> Result<Attributes> {
    let scope = row.get("scope")?;
    Ok(Attributes {
        scope,
        body: vault.open(row, "body", &key(device, scope))?,
        version: row.get("version")?,
        updated_at: row.get("updated_at")?,
    })
}

fn load_of(row: &Row, vault: &Vault<'_>) -> Result<(DeviceId, Attributes)> {
    let device = row.get("device_id")?;
    Ok((device, load(row, device, vault)?))
}

impl TenantTx {
    /// A device's attributes in the scopes that have any.
    #[boxed]
    pub async fn attributes(&self, device: DeviceId) -> Result<Vec<Attributes>> {
        self.core.one(self.select(DEVICES).eq("id", device)).await?;
        let select = self.select(TABLE).eq("device_id", device).ascending("scope");
        let vault = self.vault();
        self.core.all(select).await?.iter().map(|row| load(row, device, &vault)).collect()
    }

    /// Deletes all attributes of a device; of how many scopes there were some.
    #[boxed]
    pub async fn attributes_delete(&self, device: DeviceId) -> Result<u64> {
        self.core.delete(self.delete(TABLE).eq("device_id", device)).await
    }

    /// The attributes of some devices in some scopes; what is not there is left out.
    #[boxed]
    pub async fn attributes_of(
        &self,
        devices: &[DeviceId],
        scopes: &[AttributeScope],
    ) -> Result<Vec<(DeviceId, Attributes)>> {
        let select = self
            .select(TABLE)
            .filter(one_of("device_id", devices.iter().copied()))
            .filter(one_of("scope", scopes.iter().copied()));
        let vault = self.vault();
        self.core.all(select).await?.iter().map(|row| load_of(row, &vault)).collect()
    }

    /// Writes a scope's attributes as a whole. `expected` is the version they were read with,
    /// 0 if there were none; without it the last writer wins.
    #[boxed]
    pub async fn attributes_put(
        &self,
        device: DeviceId,
        scope: AttributeScope,
        body: &[u8],
        expected: Option<u64>,
    ) -> Result<()> {
        let row = key(device, scope);
        let sealed = self.vault().seal(Cell { table: TABLE, column: "body", row: &row }, body)?;
        let insert = self
            .insert(TABLE)
            .set("device_id", device)
            .set("scope", scope)
            .set("body", sealed.clone())
            .set("version", 1u64)
            .set("updated_at", self.core.at);
        let keys = &["tenant_id", "device_id", "scope"];
        let written = match expected {
            None => self.core.insert(insert.or_overwrite(keys, &["body", "updated_at"])).await?,
            Some(0) => self.core.insert(insert.or_ignore(keys)).await?,
            Some(version) => {
                let update = self
                    .update(TABLE)
                    .set("body", sealed)
                    .set("updated_at", self.core.at)
                    .increment("version")
                    .eq("device_id", device)
                    .eq("scope", scope)
                    .eq("version", version);
                self.core.update(update).await?
            }
        };
        if written == 0 {
            self.core.one(self.select(DEVICES).eq("id", device)).await?;
            return Err(Error::Conflict { what: TABLE, reason: CHANGED });
        }
        Ok(())
    }
}
