//! Devices that wait to be claimed, and devices that went from one tenant to another: both tenants
//! keep a row of a move, and neither reads the other's.

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use veritwin_domain::{CredentialId, DeviceId, Secret, TenantId, Timestamp};

use crate::bind::{Row, opaque_debug, stored_enum};
use crate::query::{above, at_most, equals, is_null, one_of};
use crate::{Credential, Error, PlatformTx, Result, TenantTx};

const WINDOWS: &str = "claim_windows";
const MOVES: &str = "device_moves";
const DEVICES: &str = "devices";
const CREDENTIALS: &str = "credentials";

/// A device that waits to be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimWindow {
    /// The device.
    pub device: DeviceId,
    /// Of its secret.
    pub secret_digest: [u8; 32],
    /// When it asked.
    pub opened_at: Timestamp,
    /// Until when it may be claimed.
    pub expires_at: Timestamp,
}

stored_enum! {
    /// Where a device is that was claimed.
    MoveState {
        /// It is at the other tenant, which claimed it from here.
        Away = "away",
        /// It is here, claimed from the other tenant.
        Here = "here",
        /// It was here, and was given back.
        GivenBack = "given_back",
        /// It was away, and was given back.
        Back = "back",
    }
}

impl MoveState {
    /// The states of moves on the same side: with the tenant that prepared a device, or with one
    /// that claimed it from here. One that was claimed may be claimed from there again.
    const fn of_side(self) -> [Self; 2] {
        match self {
            Self::Here | Self::GivenBack => [Self::Here, Self::GivenBack],
            Self::Away | Self::Back => [Self::Away, Self::Back],
        }
    }
}

/// What one tenant keeps of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMove {
    /// The device, as this tenant has it.
    pub device: DeviceId,
    /// The other tenant.
    pub other_tenant: TenantId,
    /// The device, as the other tenant has it.
    pub other_device: DeviceId,
    /// Where it is.
    pub state: MoveState,
    /// Since when.
    pub moved_at: Timestamp,
}

/// A credential that is taken from a device, for another row.
pub struct TakenCredential {
    /// As it was.
    pub credential: Credential,
    /// What it is found by.
    pub lookup_digest: [u8; 32],
    /// The hash of its password.
    pub secret_hash: Option<Secret<String>>,
}

opaque_debug!(TakenCredential { credential });

fn load_window(row: &Row) -> Result<ClaimWindow> {
    Ok(ClaimWindow {
        device: row.get("device_id")?,
        secret_digest: row.get("secret_digest")?,
        opened_at: row.get("opened_at")?,
        expires_at: row.get("expires_at")?,
    })
}

fn load_move(row: &Row) -> Result<DeviceMove> {
    Ok(DeviceMove {
        device: row.get("device_id")?,
        other_tenant: row.get("other_tenant_id")?,
        other_device: row.get("other_device_id")?,
        state: row.get("state")?,
        moved_at: row.get("moved_at")?,
    })
}

impl TenantTx {
    /// Lets a device be claimed; a window that it had is over, and so are those of the tenant that
    /// are past.
    #[boxed]
    pub async fn claim_window_open(&self, window: &ClaimWindow) -> Result<()> {
        self.core.delete(self.delete(WINDOWS).filter(at_most("expires_at", self.core.at))).await?;
        self.claim_window_close(window.device).await?;
        let insert = self
            .insert(WINDOWS)
            .set("device_id", window.device)
            .set("secret_digest", window.secret_digest)
            .set("opened_at", window.opened_at)
            .set("expires_at", window.expires_at);
        self.core.insert(insert).await.map(drop)
    }

    /// The window of a device, past or not.
    #[boxed]
    pub async fn claim_window(&self, device: DeviceId) -> Result<Option<ClaimWindow>> {
        let row = self.core.maybe(self.select(WINDOWS).eq("device_id", device)).await?;
        row.as_ref().map(load_window).transpose()
    }

    /// The device waits to be claimed no longer; whether it had a window, past or not.
    #[boxed]
    pub async fn claim_window_close(&self, device: DeviceId) -> Result<bool> {
        Ok(self.core.delete(self.delete(WINDOWS).eq("device_id", device)).await? > 0)
    }

    /// The devices behind a gateway wait to be claimed no longer.
    #[boxed]
    pub async fn claim_windows_close_behind(&self, gateway: DeviceId) -> Result<()> {
        let behind = Query::select()
            .column("id")
            .from(DEVICES)
            .and_where(equals("tenant_id", self.tenant))
            .and_where(equals("gateway_id", gateway))
            .take();
        let windows = self.delete(WINDOWS).filter(Expr::col("device_id").in_subquery(behind));
        self.core.delete(windows).await.map(drop)
    }

    /// The windows that are open after a moment, at most `limit`, the first to close first.
    #[boxed]
    pub async fn claim_windows(&self, now: Timestamp, limit: u64) -> Result<Vec<ClaimWindow>> {
        let select = self.select(WINDOWS).filter(above("expires_at", now));
        let rows = self.core.all(select.ascending("expires_at").limit(limit)).await?;
        rows.iter().map(load_window).collect()
    }

    /// What is kept of the moves of a device, the newest first: the last with the tenant that
    /// prepared it, and the last with one that claimed it from here.
    #[boxed]
    pub async fn device_moves(&self, device: DeviceId) -> Result<Vec<DeviceMove>> {
        let select = self.select(MOVES).eq("device_id", device).descending("moved_at");
        self.core.all(select).await?.iter().map(load_move).collect()
    }

    /// The last move of the device that another tenant has as `other_device`.
    #[boxed]
    pub async fn device_moved_from(
        &self,
        other_tenant: TenantId,
        other_device: DeviceId,
    ) -> Result<Option<DeviceMove>> {
        let select = self.select(MOVES).eq("other_tenant_id", other_tenant);
        let select = select.eq("other_device_id", other_device).descending("moved_at").limit(1);
        self.core.maybe(select).await?.as_ref().map(load_move).transpose()
    }

    /// Devices that are away, at most `limit`, the last to go first.
    #[boxed]
    pub async fn devices_away(&self, limit: u64) -> Result<Vec<DeviceMove>> {
        let select = self.select(MOVES).eq("state", MoveState::Away);
        let rows = self.core.all(select.descending("moved_at").limit(limit)).await?;
        rows.iter().map(load_move).collect()
    }

    /// Keeps a move in the place of the device's last one on the same side.
    #[boxed]
    pub async fn device_move_put(&self, one: &DeviceMove) -> Result<()> {
        let last = self.delete(MOVES).eq("device_id", one.device);
        self.core.delete(last.filter(one_of("state", one.state.of_side()))).await?;
        let insert = self
            .insert(MOVES)
            .set("device_id", one.device)
            .set("other_tenant_id", one.other_tenant)
            .set("other_device_id", one.other_device)
            .set("state", one.state)
            .set("moved_at", one.moved_at);
        self.core.insert(insert).await.map(drop)
    }

    /// Takes every credential from a device that was not revoked: here they are revoked, so that
    /// readings go on to name them, and what they are found by is free for another row.
    #[boxed]
    pub async fn credentials_take(
        &self,
        device: DeviceId,
        at: Timestamp,
    ) -> Result<Vec<TakenCredential>> {
        // Held from here on: one that is being revoked or disabled is read as it is then.
        let held = self.update(CREDENTIALS).set("revoked_at", Option::<Timestamp>::None);
        let held = held.eq("device_id", device).filter(is_null("revoked_at"));
        self.core.update(held).await?;
        let select = self.select(CREDENTIALS).eq("device_id", device);
        let rows = self.core.all(select.filter(is_null("revoked_at")).ascending("id")).await?;
        let known = self.credentials(device).await?;
        let mut taken = Vec::with_capacity(rows.len());
        for row in &rows {
            let id: CredentialId = row.get("id")?;
            let credential = known.iter().find(|one| one.id == id).cloned();
            let credential = credential.ok_or(Error::NotFound { what: CREDENTIALS })?;
            let hash = self.vault().maybe_open(row, "secret_hash", id.as_bytes())?;
            let corrupt = |_| Error::Corrupt { what: CREDENTIALS };
            let hash = hash.map(|hash| String::from_utf8(hash).map_err(corrupt)).transpose()?;
            taken.push(TakenCredential {
                credential,
                lookup_digest: row.get("lookup_digest")?,
                secret_hash: hash.map(Secret::new),
            });
            self.credential_revoke(device, id, at).await?;
        }
        Ok(taken)
    }
}

impl PlatformTx {
    /// Whether a device that went away is still where it went: it was not deleted there.
    #[boxed]
    pub async fn device_is_where_it_went(
        &self,
        tenant: TenantId,
        away: &DeviceMove,
    ) -> Result<bool> {
        let there = self
            .select(MOVES)
            .eq("tenant_id", away.other_tenant)
            .eq("device_id", away.other_device)
            .eq("state", MoveState::Here)
            .eq("other_tenant_id", tenant)
            .eq("other_device_id", away.device);
        Ok(self.core.maybe(there).await?.is_some())
    }

    /// The window of the device that a tenant has by this name, past or not. As much is asked for
    /// one that there is not.
    #[boxed]
    pub async fn claim_window_named(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<Option<ClaimWindow>> {
        let index = self.core.sealer.device_name_index(tenant, name);
        let device = self.select(DEVICES).eq("tenant_id", tenant).eq("name_index", index);
        let device = self.core.maybe(device).await?;
        let device: Option<DeviceId> = device.map(|row| row.get("id")).transpose()?;
        let device = device.unwrap_or(DeviceId::from_bytes([0; 16]));
        let window = self.select(WINDOWS).eq("tenant_id", tenant).eq("device_id", device);
        self.core.maybe(window).await?.as_ref().map(load_window).transpose()
    }
}
