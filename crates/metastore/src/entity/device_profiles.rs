//! Profiles of devices: what each is, what it was before, and which device has which.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{DeviceId, DeviceProfileId, Timestamp};

use crate::bind::{Row, opaque_debug};
use crate::query::below;
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{Result, TenantTx};

const TABLE: &str = "device_profiles";
const VERSIONS: &str = "device_profile_versions";
const DEVICES: &str = "device_profile_devices";

/// A profile of devices.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceProfile {
    /// Its id.
    pub id: DeviceProfileId,
    /// What it is, in a form of the caller's.
    pub body: Vec<u8>,
    /// Counts changes: the ETag.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

opaque_debug!(DeviceProfile { id, version });

/// What a profile was.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceProfileVersion {
    /// The version.
    pub version: u64,
    /// What it was, and by whom, in a form of the caller's.
    pub body: Vec<u8>,
    /// Since when.
    pub created_at: Timestamp,
}

opaque_debug!(DeviceProfileVersion { version });

fn load(row: &Row, vault: &Vault<'_>) -> Result<DeviceProfile> {
    let id: DeviceProfileId = row.get("id")?;
    Ok(DeviceProfile {
        id,
        body: vault.open(row, "body", id.as_bytes())?,
        version: row.get("version")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}

/// What a sealed version is bound to.
fn place(profile: DeviceProfileId, version: u64) -> Vec<u8> {
    [profile.as_bytes().as_slice(), &version.to_be_bytes()].concat()
}

fn load_version(
    row: &Row,
    vault: &Vault<'_>,
    profile: DeviceProfileId,
) -> Result<DeviceProfileVersion> {
    let version: u64 = row.get("version")?;
    Ok(DeviceProfileVersion {
        version,
        body: vault.open(row, "body", &place(profile, version))?,
        created_at: row.get("created_at")?,
    })
}

impl TenantTx {
    fn seal_device_profile(&self, one: &DeviceProfile) -> Result<Vec<u8>> {
        let cell = Cell { table: TABLE, column: "body", row: one.id.as_bytes() };
        self.vault().seal(cell, &one.body)
    }

    /// Every profile of the tenant, oldest first; how many there are is bounded where they are
    /// made.
    #[boxed]
    pub async fn device_profiles(&self) -> Result<Vec<DeviceProfile>> {
        let vault = self.vault();
        let rows = self.core.all(self.select(TABLE).ascending("id")).await?;
        rows.iter().map(|row| load(row, &vault)).collect()
    }

    /// One profile.
    #[boxed]
    pub async fn device_profile(&self, id: DeviceProfileId) -> Result<DeviceProfile> {
        load(&self.core.one(self.select(TABLE).eq("id", id)).await?, &self.vault())
    }

    /// Writes a new profile.
    #[boxed]
    pub async fn device_profile_create(&self, profile: &DeviceProfile) -> Result<()> {
        let insert = self
            .insert(TABLE)
            .set("id", profile.id)
            .set("body", self.seal_device_profile(profile)?)
            .set("version", 1u64)
            .set("created_at", self.core.at)
            .set("updated_at", self.core.at);
        self.core.insert(insert).await.map(drop)
    }

    /// Writes a changed profile, if its version is still `expected`.
    #[boxed]
    pub async fn device_profile_update(
        &self,
        profile: &DeviceProfile,
        expected: Option<u64>,
    ) -> Result<()> {
        let update = self
            .update(TABLE)
            .set("body", self.seal_device_profile(profile)?)
            .set("updated_at", self.core.at);
        self.update_version(update, *profile.id.as_bytes(), expected).await
    }

    /// Removes a profile with its versions; devices that had it have none of their own.
    #[boxed]
    pub async fn device_profile_delete(&self, id: DeviceProfileId) -> Result<()> {
        self.delete_id(TABLE, id).await
    }

    /// Keeps what a profile is in this version, and forgets versions before `kept_from`.
    #[boxed]
    pub async fn device_profile_version_add(
        &self,
        id: DeviceProfileId,
        (version, body): (u64, &[u8]),
        kept_from: u64,
    ) -> Result<()> {
        let cell = Cell { table: VERSIONS, column: "body", row: &place(id, version) };
        let insert = self
            .insert(VERSIONS)
            .set("profile_id", id)
            .set("version", version)
            .set("body", self.vault().seal(cell, body)?)
            .set("created_at", self.core.at);
        self.core.insert(insert).await.map(drop)?;
        let old = self.delete(VERSIONS).eq("profile_id", id).filter(below("version", kept_from));
        self.core.delete(old).await.map(drop)
    }

    /// The versions of a profile that are kept, newest first.
    #[boxed]
    pub async fn device_profile_versions(
        &self,
        id: DeviceProfileId,
    ) -> Result<Vec<DeviceProfileVersion>> {
        let vault = self.vault();
        let select = self.select(VERSIONS).eq("profile_id", id).descending("version");
        let rows = self.core.all(select).await?;
        rows.iter().map(|row| load_version(row, &vault, id)).collect()
    }

    /// One version of a profile.
    #[boxed]
    pub async fn device_profile_version(
        &self,
        id: DeviceProfileId,
        version: u64,
    ) -> Result<DeviceProfileVersion> {
        let select = self.select(VERSIONS).eq("profile_id", id).eq("version", version);
        load_version(&self.core.one(select).await?, &self.vault(), id)
    }

    /// Gives a device a profile of its own, in place of the one that it had.
    #[boxed]
    pub async fn device_profile_assign(
        &self,
        device: DeviceId,
        profile: DeviceProfileId,
    ) -> Result<()> {
        let insert = self
            .insert(DEVICES)
            .set("device_id", device)
            .set("profile_id", profile)
            .set("version", 1u64)
            .set("created_at", self.core.at)
            .or_overwrite(&["tenant_id", "device_id"], &["profile_id", "created_at"]);
        self.core.insert(insert).await.map(drop)
    }

    /// Takes a device's own profile from it, if it is this one; whether it was.
    #[boxed]
    pub async fn device_profile_unassign(
        &self,
        device: DeviceId,
        profile: DeviceProfileId,
    ) -> Result<bool> {
        let delete = self.delete(DEVICES).eq("device_id", device).eq("profile_id", profile);
        Ok(self.core.delete(delete).await? > 0)
    }

    /// The devices with a profile of their own, and which; in the order of their ids.
    #[boxed]
    pub async fn device_profile_devices(&self) -> Result<Vec<(DeviceId, DeviceProfileId)>> {
        let rows = self.core.all(self.select(DEVICES).ascending("device_id")).await?;
        rows.iter().map(|row| Ok((row.get("device_id")?, row.get("profile_id")?))).collect()
    }
}
