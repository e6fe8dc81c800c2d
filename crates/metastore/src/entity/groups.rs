//! Parts of a tenant: workspaces with their twins, and groups of devices.

use std::collections::BTreeMap;

use async_recursion::async_recursion as boxed;
use veritwin_domain::{DeviceId, GroupId, SiteId, Timestamp, WorkspaceId};

use crate::bind::{Row, opaque_debug};
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{Result, TenantTx};

const WORKSPACES: &str = "workspaces";
const TWINS: &str = "workspace_twins";
const GROUPS: &str = "device_groups";
const DEVICES: &str = "group_devices";

/// A part of a tenant.
#[derive(Clone, PartialEq, Eq)]
pub struct Workspace {
    /// Its id.
    pub id: WorkspaceId,
    /// Its name.
    pub name: String,
    /// Its twins; a twin is in one workspace.
    pub twins: Vec<SiteId>,
    /// Counts changes.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

opaque_debug!(Workspace { id, version });

/// A group of devices.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceGroup {
    /// Its id.
    pub id: GroupId,
    /// Its name.
    pub name: String,
    /// The workspace it belongs to.
    pub workspace: Option<WorkspaceId>,
    /// Its devices.
    pub devices: Vec<DeviceId>,
    /// Counts changes.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

opaque_debug!(DeviceGroup { id, version });

fn load_workspace(row: &Row, vault: &Vault<'_>) -> Result<Workspace> {
    let id: WorkspaceId = row.get("id")?;
    Ok(Workspace {
        id,
        name: vault.open_text(row, "name", id.as_bytes())?,
        twins: Vec::new(),
        version: row.get("version")?,
        created_at: row.get("created_at")?,
    })
}

fn load_group(row: &Row, vault: &Vault<'_>) -> Result<DeviceGroup> {
    let id: GroupId = row.get("id")?;
    Ok(DeviceGroup {
        id,
        name: vault.open_text(row, "name", id.as_bytes())?,
        workspace: row.maybe("workspace_id")?,
        devices: Vec::new(),
        version: row.get("version")?,
        created_at: row.get("created_at")?,
    })
}

impl TenantTx {
    /// Every workspace, oldest first; how many there are is bounded where they are made.
    #[boxed]
    pub async fn workspaces(&self) -> Result<Vec<Workspace>> {
        let vault = self.vault();
        let rows = self.core.all(self.select(WORKSPACES).ascending("id")).await?;
        let mut all =
            rows.iter().map(|row| load_workspace(row, &vault)).collect::<Result<Vec<_>>>()?;
        let mut twins: BTreeMap<WorkspaceId, Vec<SiteId>> = BTreeMap::new();
        for row in self.core.all(self.select(TWINS)).await? {
            twins.entry(row.get("workspace_id")?).or_default().push(row.get("twin_id")?);
        }
        for workspace in &mut all {
            workspace.twins = twins.remove(&workspace.id).unwrap_or_default();
        }
        Ok(all)
    }

    /// Writes a new workspace.
    #[boxed]
    pub async fn workspace_create(&self, workspace: &Workspace) -> Result<()> {
        let cell = Cell { table: WORKSPACES, column: "name", row: workspace.id.as_bytes() };
        let insert = self
            .insert(WORKSPACES)
            .set("id", workspace.id)
            .set("name", self.vault().seal(cell, workspace.name.as_bytes())?)
            .set("version", 1u64)
            .set("created_at", self.core.at)
            .set("updated_at", self.core.at);
        self.core.insert(insert).await?;
        self.workspace_twins_put(workspace).await
    }

    /// Writes a changed workspace, if its version is still `expected`. Its twins leave the
    /// workspace they were in.
    #[boxed]
    pub async fn workspace_update(
        &self,
        workspace: &Workspace,
        expected: Option<u64>,
    ) -> Result<()> {
        let cell = Cell { table: WORKSPACES, column: "name", row: workspace.id.as_bytes() };
        let name = self.vault().seal(cell, workspace.name.as_bytes())?;
        let update = self.update(WORKSPACES).set("name", name).set("updated_at", self.core.at);
        self.update_version(update, *workspace.id.as_bytes(), expected).await?;
        self.core.delete(self.delete(TWINS).eq("workspace_id", workspace.id)).await?;
        self.workspace_twins_put(workspace).await
    }

    async fn workspace_twins_put(&self, workspace: &Workspace) -> Result<()> {
        for twin in &workspace.twins {
            self.core.delete(self.delete(TWINS).eq("twin_id", *twin)).await?;
            let insert = self.insert(TWINS).set("twin_id", *twin).set("workspace_id", workspace.id);
            self.core.insert(insert).await?;
        }
        Ok(())
    }

    /// Deletes a workspace with the grants over it; twins and groups stay, in none.
    #[boxed]
    pub async fn workspace_delete(&self, id: WorkspaceId) -> Result<()> {
        self.delete_id(WORKSPACES, id).await?;
        let none = Option::<WorkspaceId>::None;
        let update = self.update(GROUPS).set("workspace_id", none).eq("workspace_id", id);
        self.core.update(update).await?;
        self.grants_delete_over(*id.as_bytes()).await
    }

    /// Every group of devices, oldest first; how many there are is bounded where they are made.
    #[boxed]
    pub async fn device_groups(&self) -> Result<Vec<DeviceGroup>> {
        let vault = self.vault();
        let rows = self.core.all(self.select(GROUPS).ascending("id")).await?;
        let mut all = rows.iter().map(|row| load_group(row, &vault)).collect::<Result<Vec<_>>>()?;
        let mut devices: BTreeMap<GroupId, Vec<DeviceId>> = BTreeMap::new();
        for row in self.core.all(self.select(DEVICES).ascending("device_id")).await? {
            devices.entry(row.get("group_id")?).or_default().push(row.get("device_id")?);
        }
        for group in &mut all {
            group.devices = devices.remove(&group.id).unwrap_or_default();
        }
        Ok(all)
    }

    /// Writes a new group.
    #[boxed]
    pub async fn device_group_create(&self, group: &DeviceGroup) -> Result<()> {
        let cell = Cell { table: GROUPS, column: "name", row: group.id.as_bytes() };
        let insert = self
            .insert(GROUPS)
            .set("id", group.id)
            .set("workspace_id", group.workspace)
            .set("name", self.vault().seal(cell, group.name.as_bytes())?)
            .set("version", 1u64)
            .set("created_at", self.core.at)
            .set("updated_at", self.core.at);
        self.core.insert(insert).await?;
        self.group_devices_put(group).await
    }

    /// Writes a changed group, if its version is still `expected`.
    #[boxed]
    pub async fn device_group_update(
        &self,
        group: &DeviceGroup,
        expected: Option<u64>,
    ) -> Result<()> {
        let cell = Cell { table: GROUPS, column: "name", row: group.id.as_bytes() };
        let update = self
            .update(GROUPS)
            .set("workspace_id", group.workspace)
            .set("name", self.vault().seal(cell, group.name.as_bytes())?)
            .set("updated_at", self.core.at);
        self.update_version(update, *group.id.as_bytes(), expected).await?;
        self.core.delete(self.delete(DEVICES).eq("group_id", group.id)).await?;
        self.group_devices_put(group).await
    }

    async fn group_devices_put(&self, group: &DeviceGroup) -> Result<()> {
        for device in &group.devices {
            let insert = self.insert(DEVICES).set("group_id", group.id).set("device_id", *device);
            self.core.insert(insert).await?;
        }
        Ok(())
    }

    /// Puts a device into a group; nothing changes if it is in it.
    #[boxed]
    pub async fn group_device_add(&self, group: GroupId, device: DeviceId) -> Result<()> {
        let insert = self.insert(DEVICES).set("group_id", group).set("device_id", device);
        let insert = insert.or_ignore(&["tenant_id", "group_id", "device_id"]);
        self.core.insert(insert).await.map(drop)
    }

    /// Deletes a group with the grants over it; its devices stay.
    #[boxed]
    pub async fn device_group_delete(&self, id: GroupId) -> Result<()> {
        self.delete_id(GROUPS, id).await?;
        self.grants_delete_over(*id.as_bytes()).await
    }
}
