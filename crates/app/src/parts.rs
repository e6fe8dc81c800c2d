//! Parts of a tenant that grants are about: workspaces of twins and groups, and groups of devices.
//! Nothing is taken out of a part where a role denies by who may not lift that.

use std::collections::BTreeSet;

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{GroupId, OpContext, ScopeOf, WorkspaceId};
use veritwin_metastore::{DeviceGroup, TenantTx, Workspace};

use crate::links::text;
use crate::model::{GroupInput, GroupView, WorkspaceInput, WorkspaceView};
use crate::rights::{bounded, expected, missing, version};
use crate::{App, Error, Result, recorded};

/// Most workspaces of a tenant.
const WORKSPACES_MAX: usize = 200;
/// Most groups of devices of a tenant.
const GROUPS_MAX: usize = 500;
/// Most devices of one group.
const GROUP_DEVICES_MAX: usize = 10_000;
/// Most twins of one workspace.
const WORKSPACE_TWINS_MAX: usize = 1000;

fn workspace_view(one: Workspace) -> WorkspaceView {
    let input = WorkspaceInput { name: one.name, twins: one.twins };
    WorkspaceView { id: one.id, workspace: input, version: version(one.version) }
}

fn group_view(one: DeviceGroup) -> GroupView {
    let input = GroupInput { name: one.name, workspace: one.workspace, devices: one.devices };
    GroupView { id: one.id, group: input, version: version(one.version) }
}

impl App {
    /// The tenant's workspaces.
    #[boxed]
    pub async fn list_workspaces(&self, context: &OpContext) -> Result<Vec<WorkspaceView>> {
        let resource = self.authorize_all(context, Action::GroupRead, Kind::Access)?;
        let tx = self.0.store.read(context).await?;
        let all = tx.workspaces().await?;
        self.note(context, Action::GroupRead, &resource, "done");
        Ok(all.into_iter().map(workspace_view).collect())
    }

    /// Makes a workspace, or changes one. Its twins leave the workspace they were in.
    #[boxed]
    pub async fn put_workspace(
        &self,
        context: &OpContext,
        known: Option<WorkspaceId>,
        input: WorkspaceInput,
        if_version: Option<i64>,
    ) -> Result<WorkspaceView> {
        let id = known.unwrap_or_else(|| WorkspaceId::generate(context.at, self.rng()));
        let resource = Resource::workspace(context.tenant, id);
        self.authorize(context, Action::GroupWrite, &resource)?;
        let tx = self.0.store.begin(context).await?;
        let all = tx.workspaces().await?;
        if known.is_some() && !all.iter().any(|one| one.id == id) {
            return Err(Error::NotFound("workspace"));
        }
        self.refuse_held(context, |_, of| *of == ScopeOf::Workspace(id))?;
        let name = text("name", &input.name)?;
        bounded("workspace_twins_max", WORKSPACE_TWINS_MAX, input.twins.len())?;
        let twins: BTreeSet<_> = input.twins.into_iter().collect();
        for twin in &twins {
            tx.twin(*twin).await.map_err(missing("twin_ids"))?;
            // A twin that leaves takes devices out of somebody's reach: not out of one's own.
            let from = all.iter().find(|one| one.twins.contains(twin)).map(|one| one.id);
            self.refuse_held(context, |_, of| {
                from.is_some_and(|id| *of == ScopeOf::Workspace(id))
            })?;
        }
        // Nor out of where a role denies, without the right to lift that.
        let leaves = |one: &Workspace| {
            let stays = |twin| (one.id == id) == twins.contains(twin);
            !one.twins.iter().all(stays)
        };
        let left: Vec<WorkspaceId> =
            all.iter().filter(|one| leaves(one)).map(|one| one.id).collect();
        let is_left = |of: &ScopeOf| matches!(of, ScopeOf::Workspace(id) if left.contains(id));
        self.check_leaving(context, &tx, is_left).await?;
        let workspace = Workspace {
            id,
            name,
            twins: twins.into_iter().collect(),
            version: 0,
            created_at: context.at,
        };
        if known.is_some() {
            tx.workspace_update(&workspace, expected(if_version)).await?;
        } else {
            bounded("workspaces_max", WORKSPACES_MAX, all.len() + 1)?;
            tx.workspace_create(&workspace).await?;
        }
        let stored = tx.workspaces().await?.into_iter().find(|one| one.id == id);
        let change = recorded::workspace(all.iter().find(|one| one.id == id), stored.as_ref());
        self.record_change(&tx, context, Action::GroupWrite, &resource, change).await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        stored.map(workspace_view).ok_or(Error::NotFound("workspace"))
    }

    /// Deletes a workspace with the grants over it; its twins and groups stay.
    #[boxed]
    pub async fn delete_workspace(&self, context: &OpContext, id: WorkspaceId) -> Result<()> {
        let resource = Resource::workspace(context.tenant, id);
        self.authorize(context, Action::GroupWrite, &resource)?;
        self.refuse_held(context, |_, of| *of == ScopeOf::Workspace(id))?;
        let tx = self.0.store.begin(context).await?;
        self.check_leaving(context, &tx, |of| *of == ScopeOf::Workspace(id)).await?;
        let known = tx.workspaces().await?;
        tx.workspace_delete(id).await?;
        let gone = recorded::workspace(known.iter().find(|one| one.id == id), None);
        self.record_change(&tx, context, Action::GroupWrite, &resource, gone).await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        Ok(())
    }

    /// The tenant's groups of devices.
    #[boxed]
    pub async fn list_groups(&self, context: &OpContext) -> Result<Vec<GroupView>> {
        let resource = self.authorize_all(context, Action::GroupRead, Kind::Access)?;
        let tx = self.0.store.read(context).await?;
        let all = tx.device_groups().await?;
        self.note(context, Action::GroupRead, &resource, "done");
        Ok(all.into_iter().map(group_view).collect())
    }

    /// Makes a group of devices, or changes one.
    #[boxed]
    pub async fn put_group(
        &self,
        context: &OpContext,
        known: Option<GroupId>,
        input: GroupInput,
        if_version: Option<i64>,
    ) -> Result<GroupView> {
        let id = known.unwrap_or_else(|| GroupId::generate(context.at, self.rng()));
        let resource = Resource::group(context.tenant, id);
        self.authorize(context, Action::GroupWrite, &resource)?;
        let tx = self.0.store.begin(context).await?;
        let all = tx.device_groups().await?;
        let before = all.iter().find(|one| one.id == id);
        if known.is_some() && before.is_none() {
            return Err(Error::NotFound("group"));
        }
        let spaces: Vec<WorkspaceId> =
            before.and_then(|one| one.workspace).into_iter().chain(input.workspace).collect();
        self.refuse_held(context, |_, of| match of {
            ScopeOf::Group(group) => *group == id,
            ScopeOf::Workspace(space) => spaces.contains(space),
            _ => false,
        })?;
        let name = text("name", &input.name)?;
        bounded("group_devices_max", GROUP_DEVICES_MAX, input.devices.len())?;
        if let Some(space) = input.workspace
            && !tx.workspaces().await?.iter().any(|one| one.id == space)
        {
            let detail = "there is no such thing in this tenant";
            return Err(Error::invalid_at("workspace_id", detail));
        }
        let devices: BTreeSet<_> = input.devices.into_iter().collect();
        let known_devices = self.tenant_devices(context).await?;
        if devices.iter().any(|device| known_devices.get(*device).is_none()) {
            let detail = "there is no such thing in this tenant";
            return Err(Error::invalid_at("device_ids", detail));
        }
        let group = DeviceGroup {
            id,
            name,
            workspace: input.workspace,
            devices: devices.into_iter().collect(),
            version: 0,
            created_at: context.at,
        };
        if known.is_some() {
            self.check_group_leaving(context, &tx, id, Some(&group)).await?;
            tx.device_group_update(&group, expected(if_version)).await?;
        } else {
            bounded("groups_max", GROUPS_MAX, all.len() + 1)?;
            tx.device_group_create(&group).await?;
        }
        let stored = tx.device_groups().await?.into_iter().find(|one| one.id == id);
        let change = recorded::group(before, stored.as_ref());
        self.record_change(&tx, context, Action::GroupWrite, &resource, change).await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        stored.map(group_view).ok_or(Error::NotFound("group"))
    }

    /// Devices leave no group or workspace where a role denies, without the right to lift that.
    async fn check_group_leaving(
        &self,
        context: &OpContext,
        tx: &TenantTx,
        id: GroupId,
        now: Option<&DeviceGroup>,
    ) -> Result<()> {
        let groups = tx.device_groups().await?;
        let Some(before) = groups.into_iter().find(|one| one.id == id) else { return Ok(()) };
        let stays = |device| now.is_some_and(|now| now.devices.contains(device));
        let loses = now.is_none() || !before.devices.iter().all(stays);
        let moves = now.is_none_or(|now| now.workspace != before.workspace);
        let is_left = |of: &ScopeOf| match of {
            ScopeOf::Group(group) => *group == id && loses,
            ScopeOf::Workspace(space) => before.workspace == Some(*space) && (loses || moves),
            _ => false,
        };
        self.check_leaving(context, tx, is_left).await
    }

    /// Deletes a group with the grants over it; its devices stay.
    #[boxed]
    pub async fn delete_group(&self, context: &OpContext, id: GroupId) -> Result<()> {
        let resource = Resource::group(context.tenant, id);
        self.authorize(context, Action::GroupWrite, &resource)?;
        self.refuse_held(context, |_, of| *of == ScopeOf::Group(id))?;
        let tx = self.0.store.begin(context).await?;
        self.check_group_leaving(context, &tx, id, None).await?;
        let known = tx.device_groups().await?;
        tx.device_group_delete(id).await?;
        let gone = recorded::group(known.iter().find(|one| one.id == id), None);
        self.record_change(&tx, context, Action::GroupWrite, &resource, gone).await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        Ok(())
    }
}
