//! How devices come in by themselves: the profiles that let them, found by a digest of their key,
//! and which devices came in so.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{DeviceId, ProvisionProfileId, TenantId, Timestamp};

use crate::bind::{Row, opaque_debug};
use crate::query::below;
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{PlatformTx, Result, TenantTx};

const TABLE: &str = "provision_profiles";
const DEVICES: &str = "provisioned_devices";

/// A provisioning profile.
#[derive(Clone, PartialEq, Eq)]
pub struct ProvisionProfile {
    /// Its id.
    pub id: ProvisionProfileId,
    /// What it lets in, in a form of the caller's.
    pub body: Vec<u8>,
    /// How many devices came in by it.
    pub made: u64,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Since when it lets nobody in.
    pub disabled_at: Option<Timestamp>,
    /// Counts changes.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

opaque_debug!(ProvisionProfile { id, made, expires_at, disabled_at, version });

/// A profile, whose it is, and what its secret is checked against.
#[derive(Clone)]
pub struct FoundProfile {
    /// The tenant.
    pub tenant: TenantId,
    /// The profile.
    pub profile: ProvisionProfile,
    /// The digest of its secret.
    pub secret_digest: [u8; 32],
}

opaque_debug!(FoundProfile { tenant, profile });

/// A device that came in by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProvisionedDevice {
    /// The device.
    pub device: DeviceId,
    /// By which profile.
    pub profile: ProvisionProfileId,
    /// Of what it asked for.
    pub request_digest: [u8; 32],
}

fn load(row: &Row, vault: &Vault<'_>) -> Result<ProvisionProfile> {
    let id: ProvisionProfileId = row.get("id")?;
    Ok(ProvisionProfile {
        id,
        body: vault.open(row, "body", id.as_bytes())?,
        made: row.get("made")?,
        expires_at: row.maybe("expires_at")?,
        disabled_at: row.maybe("disabled_at")?,
        version: row.get("version")?,
        created_at: row.get("created_at")?,
    })
}

impl TenantTx {
    fn seal_profile(&self, one: &ProvisionProfile) -> Result<Vec<u8>> {
        let cell = Cell { table: TABLE, column: "body", row: one.id.as_bytes() };
        self.vault().seal(cell, &one.body)
    }

    /// Every profile of the tenant, oldest first; how many there are is bounded where they are
    /// made.
    #[boxed]
    pub async fn provision_profiles(&self) -> Result<Vec<ProvisionProfile>> {
        let vault = self.vault();
        let rows = self.core.all(self.select(TABLE).ascending("id")).await?;
        rows.iter().map(|row| load(row, &vault)).collect()
    }

    /// One profile.
    #[boxed]
    pub async fn provision_profile(&self, id: ProvisionProfileId) -> Result<ProvisionProfile> {
        load(&self.core.one(self.select(TABLE).eq("id", id)).await?, &self.vault())
    }

    /// Writes a new profile, with the digests of its key and of its secret.
    #[boxed]
    pub async fn provision_profile_create(
        &self,
        profile: &ProvisionProfile,
        (key_digest, secret_digest): ([u8; 32], [u8; 32]),
    ) -> Result<()> {
        let insert = self
            .insert(TABLE)
            .set("id", profile.id)
            .set("key_digest", key_digest)
            .set("secret_digest", secret_digest)
            .set("body", self.seal_profile(profile)?)
            .set("made", 0u64)
            .set("expires_at", profile.expires_at)
            .set("disabled_at", profile.disabled_at)
            .set("version", 1u64)
            .set("created_at", self.core.at)
            .set("updated_at", self.core.at);
        self.core.insert(insert).await.map(drop)
    }

    /// Writes a changed profile, if its version is still `expected`. Key, secret and the number of
    /// devices stay.
    #[boxed]
    pub async fn provision_profile_update(
        &self,
        profile: &ProvisionProfile,
        expected: Option<u64>,
    ) -> Result<()> {
        let update = self
            .update(TABLE)
            .set("body", self.seal_profile(profile)?)
            .set("expires_at", profile.expires_at)
            .set("disabled_at", profile.disabled_at)
            .set("updated_at", self.core.at);
        self.update_version(update, *profile.id.as_bytes(), expected).await
    }

    /// Counts a device of a profile; false if it has let in `devices_max` already.
    #[boxed]
    pub async fn provision_profile_count(
        &self,
        id: ProvisionProfileId,
        devices_max: u64,
    ) -> Result<bool> {
        let update = self.update(TABLE).increment("made").eq("id", id);
        Ok(self.core.update(update.filter(below("made", devices_max))).await? > 0)
    }

    /// Removes a profile. Devices that came in by it stay.
    #[boxed]
    pub async fn provision_profile_delete(&self, id: ProvisionProfileId) -> Result<()> {
        self.delete_id(TABLE, id).await
    }

    /// How a device came in by itself, if it did.
    #[boxed]
    pub async fn provisioned(&self, device: DeviceId) -> Result<Option<ProvisionedDevice>> {
        let row = self.core.maybe(self.select(DEVICES).eq("device_id", device)).await?;
        row.map(|row| {
            Ok(ProvisionedDevice {
                device: row.get("device_id")?,
                profile: row.get("profile_id")?,
                request_digest: row.get("request_digest")?,
            })
        })
        .transpose()
    }

    /// Notes that a device came in by itself; `Conflict` if it did already.
    #[boxed]
    pub async fn provisioned_add(&self, one: &ProvisionedDevice) -> Result<()> {
        let insert = self
            .insert(DEVICES)
            .set("device_id", one.device)
            .set("profile_id", one.profile)
            .set("request_digest", one.request_digest)
            .set("created_at", self.core.at);
        self.core.insert(insert).await.map(drop)
    }
}

impl PlatformTx {
    /// The profile with this key.
    #[boxed]
    pub async fn provision_profile_by_key(
        &self,
        key_digest: [u8; 32],
    ) -> Result<Option<FoundProfile>> {
        let row = self.core.maybe(self.select(TABLE).eq("key_digest", key_digest)).await?;
        let Some(row) = row else { return Ok(None) };
        let tenant: TenantId = row.get("tenant_id")?;
        Ok(Some(FoundProfile {
            tenant,
            profile: load(&row, &self.vault_of(tenant))?,
            secret_digest: row.get("secret_digest")?,
        }))
    }
}
