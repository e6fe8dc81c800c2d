//! Firmware and software packages, and which device is to have which. The bytes are elsewhere.

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::Expr;
use serde::{Deserialize, Serialize};
use veritwin_domain::{DeviceId, PackageId, Timestamp};

use crate::bind::{Row, opaque_debug, stored_enum};
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{Error, Result, TenantTx};

const TABLE: &str = "packages";
const ASSIGNMENTS: &str = "package_assignments";

stored_enum! {
    /// What a package is.
    PackageKind {
        /// What a device runs on.
        Firmware = "firmware",
        /// What runs on a device.
        Software = "software",
    }
}

/// A package.
#[derive(Clone, PartialEq, Eq)]
pub struct Package {
    /// Its id.
    pub id: PackageId,
    /// What it is.
    pub kind: PackageKind,
    /// Its title.
    pub title: String,
    /// Its version; with kind and title unique in the tenant.
    pub version: String,
    /// Such as `sha256`.
    pub checksum_algorithm: String,
    /// In hexadecimal digits.
    pub checksum: String,
    /// Where the bytes are.
    pub object: String,
    /// How many there are.
    pub bytes: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

opaque_debug!(Package { id, kind, bytes });

#[derive(Serialize, Deserialize)]
struct Body {
    kind: String,
    title: String,
    version: String,
    checksum_algorithm: String,
    checksum: String,
    object: String,
}

fn load(row: &Row, vault: &Vault<'_>) -> Result<Package> {
    let id: PackageId = row.get("id")?;
    let body: Body = vault.open_json(row, "body", id.as_bytes())?;
    Ok(Package {
        id,
        kind: PackageKind::parse(&body.kind).ok_or(Error::Corrupt { what: TABLE })?,
        title: body.title,
        version: body.version,
        checksum_algorithm: body.checksum_algorithm,
        checksum: body.checksum,
        object: body.object,
        bytes: row.get("bytes")?,
        created_at: row.get("created_at")?,
    })
}

impl TenantTx {
    /// Writes a new package; `Conflict` if kind, title and version are taken.
    #[boxed]
    pub async fn package_create(&self, package: &Package) -> Result<()> {
        let body = Body {
            kind: package.kind.as_str().to_owned(),
            title: package.title.clone(),
            version: package.version.clone(),
            checksum_algorithm: package.checksum_algorithm.clone(),
            checksum: package.checksum.clone(),
            object: package.object.clone(),
        };
        let name = format!("{}\n{}\n{}", body.kind, body.title, body.version);
        let index = self.core.sealer.blind_index("package", self.tenant.as_bytes(), &name);
        let cell = Cell { table: TABLE, column: "body", row: package.id.as_bytes() };
        let insert = self
            .insert(TABLE)
            .set("id", package.id)
            .set("name_index", index)
            .set("body", self.vault().seal_json(cell, &body)?)
            .set("bytes", package.bytes)
            .set("created_at", package.created_at);
        self.core.insert(insert).await.map(drop)
    }

    /// All packages of the tenant, oldest first.
    #[boxed]
    pub async fn packages(&self) -> Result<Vec<Package>> {
        let vault = self.vault();
        let rows = self.core.all(self.select(TABLE).ascending("id")).await?;
        rows.iter().map(|row| load(row, &vault)).collect()
    }

    /// One package.
    #[boxed]
    pub async fn package(&self, id: PackageId) -> Result<Package> {
        load(&self.core.one(self.select(TABLE).eq("id", id)).await?, &self.vault())
    }

    /// Deletes a package.
    #[boxed]
    pub async fn package_delete(&self, id: PackageId) -> Result<()> {
        self.delete_id(TABLE, id).await
    }

    /// Says which package a device is to have, in place of the one of its kind that it had.
    #[boxed]
    pub async fn package_assign(
        &self,
        device: DeviceId,
        kind: PackageKind,
        package: PackageId,
    ) -> Result<()> {
        let insert = self
            .insert(ASSIGNMENTS)
            .set("device_id", device)
            .set("kind", kind)
            .set("package_id", package)
            .set("version", 1u64)
            .set("created_at", self.core.at)
            .or_overwrite(&["tenant_id", "device_id", "kind"], &["package_id", "created_at"]);
        self.core.insert(insert).await.map(drop)
    }

    /// A device is to have no package of this kind; false if it was to have none.
    #[boxed]
    pub async fn package_unassign(&self, device: DeviceId, kind: PackageKind) -> Result<bool> {
        let delete = self.delete(ASSIGNMENTS).eq("device_id", device).eq("kind", kind);
        Ok(self.core.delete(delete).await? > 0)
    }

    /// The package of a kind that a device is to have.
    #[boxed]
    pub async fn package_of(&self, device: DeviceId, kind: PackageKind) -> Result<Option<Package>> {
        let select = self.select(ASSIGNMENTS).eq("device_id", device).eq("kind", kind);
        let Some(row) = self.core.maybe(select).await? else { return Ok(None) };
        self.package(row.get("package_id")?).await.map(Some)
    }

    /// The devices that are to have a package, in the order of their ids.
    #[boxed]
    pub async fn package_devices(
        &self,
        package: PackageId,
        rows_max: u64,
    ) -> Result<Vec<DeviceId>> {
        let select = self.select(ASSIGNMENTS).eq("package_id", package).ascending("device_id");
        let rows = self.core.all(select.limit(rows_max)).await?;
        rows.iter().map(|row| row.get("device_id")).collect()
    }

    /// How many devices are to have a package.
    #[boxed]
    pub async fn package_devices_count(&self, package: PackageId) -> Result<u64> {
        let count = Expr::cust("count(*)");
        let select = self.select(ASSIGNMENTS).eq("package_id", package).only(count, "count");
        self.core.one(select).await?.get("count")
    }
}
