//! Settings of a tenant and of the platform: JSON under a name that code made up.

use async_recursion::async_recursion as boxed;
use veritwin_domain::Timestamp;

use crate::bind::{Row, code, opaque_debug};
use crate::query::{Insert, Update};
use crate::seal::Cell;
use crate::tx::{Core, Vault};
use crate::{CHANGED, Error, PlatformTx, Result, TenantTx};

const TENANT: &str = "settings";
const PLATFORM: &str = "platform_settings";

/// One setting.
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its value, as JSON.
    pub body: Vec<u8>,
    /// Counts changes.
    pub version: u64,
    /// When it last changed.
    pub updated_at: Timestamp,
}

opaque_debug!(Setting { version, updated_at });

fn load(row: &Row, vault: &Vault<'_>, name: &str) -> Result<Setting> {
    Ok(Setting {
        body: vault.open(row, "body", name.as_bytes())?,
        version: row.get("version")?,
        updated_at: row.get("updated_at")?,
    })
}

/// A write to either table: an update of the row with the expected version, an insert if there
/// should be none, either if nothing is expected.
struct Put {
    update: Update,
    insert: Insert,
    keys: &'static [&'static str],
    expected: Option<u64>,
}

impl Put {
    async fn run(self, core: &Core, name: String, sealed: Vec<u8>) -> Result<()> {
        let what = self.update.table;
        let insert = self
            .insert
            .set("name", name.clone())
            .set("body", sealed.clone())
            .set("version", 1u64)
            .set("updated_at", core.at);
        let written = match self.expected {
            None => core.insert(insert.or_overwrite(self.keys, &["body", "updated_at"])).await?,
            Some(0) => core.insert(insert.or_ignore(self.keys)).await?,
            Some(version) => {
                let update = self
                    .update
                    .set("body", sealed)
                    .set("updated_at", core.at)
                    .increment("version")
                    .eq("name", name)
                    .eq("version", version);
                core.update(update).await?
            }
        };
        if written == 0 {
            return Err(Error::Conflict { what, reason: CHANGED });
        }
        Ok(())
    }
}

impl TenantTx {
    /// A setting of the tenant, if it was set.
    #[boxed]
    pub async fn setting(&self, name: &str) -> Result<Option<Setting>> {
        let row = self.core.maybe(self.select(TENANT).eq("name", name.to_owned())).await?;
        row.map(|row| load(&row, &self.vault(), name)).transpose()
    }

    /// Sets a setting of the tenant. `expected` is the version it was read with, 0 if it was not
    /// set; without it the last writer wins.
    #[boxed]
    pub async fn setting_put(&self, name: &str, body: &[u8], expected: Option<u64>) -> Result<()> {
        let name = code("setting", name)?;
        let cell = Cell { table: TENANT, column: "body", row: name.as_bytes() };
        let sealed = self.vault().seal(cell, body)?;
        let keys = &["tenant_id", "name"];
        let put = Put { update: self.update(TENANT), insert: self.insert(TENANT), keys, expected };
        put.run(&self.core, name, sealed).await
    }
}

impl PlatformTx {
    /// A setting of the platform, if it was set.
    #[boxed]
    pub async fn setting(&self, name: &str) -> Result<Option<Setting>> {
        let row = self.core.maybe(self.select(PLATFORM).eq("name", name.to_owned())).await?;
        row.map(|row| load(&row, &self.vault(), name)).transpose()
    }

    /// Sets a setting of the platform, as [`TenantTx::setting_put`].
    #[boxed]
    pub async fn setting_put(&self, name: &str, body: &[u8], expected: Option<u64>) -> Result<()> {
        let name = code("setting", name)?;
        let cell = Cell { table: PLATFORM, column: "body", row: name.as_bytes() };
        let sealed = self.vault().seal(cell, body)?;
        let keys = &["name"];
        let (update, insert) = (self.update(PLATFORM), self.insert(PLATFORM));
        Put { update, insert, keys, expected }.run(&self.core, name, sealed).await
    }
}
