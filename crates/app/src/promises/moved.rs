//! Until schema 15 the checks acted in the platform's own tenant as well. What they left there is
//! removed at a start. It is known by what only a check makes (a hold by nobody, a key that ended
//! when it began, an account that nobody can use) and by the moment it was made, never by a name
//! alone.

use std::collections::HashSet;

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind, Resource, jobs};
use veritwin_domain::{
    AlertId, ApiKeyId, CustomRoleId, DeviceId, GrantId, GroupId, HoldId, IncidentId, LinkId,
    OpContext, Role, RuleId, SiteId, TicketId, Timestamp, UserId, WorkspaceId,
};
use veritwin_metastore::{
    ActivityFilter, Alert, AlertFilter, AlertState, ApiKey, DeviceFilter, Grant, LinkKind, Page,
    Realm, TenantTx, every_row,
};

use super::fixture::{IDENTITY_LIFETIME, NAME};
use crate::activity::{ActorName, Details, Envelope, resource_text};
use crate::change::Change;
use crate::error::found;
use crate::links::Payload;
use crate::provision::PLATFORM_TENANT;
use crate::rules::{all_rules, stored};
use crate::{App, Result};

/// Open invitations that are looked at.
const LINKS_MAX: u64 = 1_000;

/// What the checks left.
#[derive(Default)]
struct Left {
    devices: Vec<DeviceId>,
    twins: Vec<SiteId>,
    rules: Vec<RuleId>,
    alerts: Vec<AlertId>,
    keys: Vec<ApiKeyId>,
    links: Vec<LinkId>,
    grants: Vec<GrantId>,
    roles: Vec<CustomRoleId>,
    workspaces: Vec<WorkspaceId>,
    groups: Vec<GroupId>,
    holds: Vec<HoldId>,
    incidents: Vec<IncidentId>,
    tickets: Vec<TicketId>,
    user: Option<UserId>,
    /// When the checks are known to have made things.
    moments: HashSet<Timestamp>,
}

impl Left {
    /// How many things of each kind, for the record.
    fn counts(&self) -> serde_json::Value {
        serde_json::json!({
            "devices": self.devices.len(),
            "twins": self.twins.len(),
            "rules": self.rules.len(),
            "alerts": self.alerts.len(),
            "access": self.keys.len() + self.grants.len() + self.roles.len(),
            "groups": self.groups.len() + self.workspaces.len(),
            "people": self.links.len() + usize::from(self.user.is_some()),
            "cases": self.holds.len() + self.incidents.len() + self.tickets.len(),
        })
    }
}

fn is_probes_key(key: &ApiKey) -> bool {
    let ends = [key.created_at, key.created_at.saturating_add(IDENTITY_LIFETIME)];
    key.name == NAME
        && key.maker.is_none()
        && key.maker_key.is_none()
        && key.expires_at.is_some_and(|end| ends.contains(&end))
}

fn is_probes_grant(grant: &Grant) -> bool {
    grant.expires_at == Some(grant.created_at)
}

fn is_probes_alert(alert: &Alert) -> bool {
    let at_once = Some(alert.raised_at);
    alert.state == AlertState::Cleared
        && alert.device.is_none()
        && alert.acknowledged_by.is_none()
        && alert.cleared_at == at_once
        && alert.acknowledged_at == at_once
}

/// People invite an address, and it is written down who they are.
fn is_probes_link(payload: &[u8]) -> bool {
    serde_json::from_slice(payload).is_ok_and(|payload: Payload| {
        payload.email.is_none()
            && payload.name.is_none()
            && payload.inviter.is_none()
            && !payload.first
            && !payload.by_operator
            && payload.role.as_deref() == Some(Role::Viewer.as_str())
    })
}

impl App {
    /// Removes what the checks of before left in the platform's own tenant.
    #[boxed]
    pub(crate) async fn remove_old_fixture(&self) -> Result<()> {
        let job = self.job_in(jobs::PROMISES, PLATFORM_TENANT);
        let left = self.find_old_fixture(&job).await?;
        if left.moments.is_empty() {
            return Ok(());
        }
        let identity = self.open_probe_identity(PLATFORM_TENANT, NAME, Role::Administrator).await?;
        let gone = self.remove_old_things(&identity.context, &left).await;
        self.close_probe_identity(&identity).await?;
        gone?;
        let tx = self.0.store.begin(&job).await?;
        remove_old_rows(&tx, &left).await?;
        let resource = Resource::all(PLATFORM_TENANT, Kind::Promise);
        let change = Change::from(serde_json::json!({"removed": left.counts()}));
        self.record_change(&tx, &job, Action::PromiseCheck, &resource, change).await?;
        tx.commit().await?;
        self.remove_old_account(left.user).await?;
        self.access_changed(PLATFORM_TENANT);
        tracing::info!("what the checks of before left in the platform's own tenant is removed");
        Ok(())
    }

    async fn find_old_fixture(&self, job: &OpContext) -> Result<Left> {
        let mut left = Left::default();
        let platform = self.job(jobs::PROMISES);
        let tx = self.0.store.read_platform(&platform).await?;
        let email = format!("probe@{PLATFORM_TENANT}.invalid");
        if let Some(user) = tx.user_by_email(Realm::PLATFORM, &email).await?
            && user.password_hash.is_none()
            && user.disabled
        {
            left.user = Some(user.id);
            left.moments.insert(user.created_at);
        }
        drop(tx);
        let tx = self.0.store.read(job).await?;
        find_marks(&tx, job.at, &mut left).await?;
        self.find_named(&tx, &mut left).await?;
        if !left.moments.is_empty() {
            let tx = &tx;
            let all = |page| async move { tx.alerts(AlertFilter::All, &page).await };
            let alerts = every_row(all).await?;
            left.alerts = alerts.iter().filter(|one| is_probes_alert(one)).map(|a| a.id).collect();
        }
        Ok(left)
    }

    /// What bears the checks' name, where the moment or the records say that a check made it.
    async fn find_named(&self, tx: &TenantTx, left: &mut Left) -> Result<()> {
        let search = Some(NAME.to_owned());
        let filter = DeviceFilter { search, ..DeviceFilter::default() };
        for device in tx.devices(&filter, &Page::whole()).await?.items {
            if device.name == NAME && self.is_by_a_check(tx, device.created_at, left).await? {
                left.devices.push(device.id);
            }
        }
        for twin in every_row(|page| async move { tx.twins(&page).await }).await? {
            if twin.name == NAME && self.is_by_a_check(tx, twin.created_at, left).await? {
                left.twins.push(twin.id);
            }
        }
        for row in all_rules(tx).await? {
            let is_named = stored(&row).is_ok_and(|rule| rule.name == NAME);
            if is_named && self.is_by_a_check(tx, row.created_at, left).await? {
                left.rules.push(row.id);
            }
        }
        let at = &left.moments;
        let roles = tx.custom_roles().await?;
        let roles = roles.iter().filter(|role| role.name == NAME && at.contains(&role.created_at));
        left.roles = roles.map(|role| role.id).collect();
        let found = tx.workspaces().await?;
        let found = found.iter().filter(|one| one.name == NAME && at.contains(&one.created_at));
        left.workspaces = found.map(|one| one.id).collect();
        let groups = tx.device_groups().await?;
        let groups = groups.iter().filter(|one| one.name == NAME && at.contains(&one.created_at));
        left.groups = groups.map(|group| group.id).collect();
        Ok(())
    }

    /// Whether a check made something at this moment: other things of it say so, or the records,
    /// where a key did it that a check made for itself.
    async fn is_by_a_check(&self, tx: &TenantTx, at: Timestamp, left: &mut Left) -> Result<bool> {
        if left.moments.contains(&at) {
            return Ok(true);
        }
        let (from, to) = (Some(at), Some(at.just_after()));
        let then = ActivityFilter { from, to, ..ActivityFilter::default() };
        let made = tx.activity(&then, &Page::whole()).await?.items;
        let from = Some(at.saturating_sub(IDENTITY_LIFETIME));
        let action = Some(Action::ApiKeyCreate.as_str().to_owned());
        let before = ActivityFilter { action, from, to, ..ActivityFilter::default() };
        let keys = tx.activity(&before, &Page::whole()).await?.items;
        let by = ActorName::Job(jobs::PROMISES);
        let by_checks: HashSet<String> = keys
            .iter()
            .filter(|record| {
                let envelope = serde_json::from_slice(&record.envelope);
                envelope.is_ok_and(|it: Envelope| ActorName::read(&it.actor) == Some(by))
            })
            .filter_map(|record| {
                let details: Details = serde_json::from_slice(record.details.as_ref()?).ok()?;
                Some(details.resource)
            })
            .collect();
        let is_checks = made.iter().filter_map(|record| record.actor).any(|actor| {
            let key = Resource::api_key(PLATFORM_TENANT, ApiKeyId::from_bytes(actor));
            by_checks.contains(&resource_text(&key))
        });
        if is_checks {
            left.moments.insert(at);
        }
        Ok(is_checks)
    }

    /// What other parts of the platform have to hear of.
    async fn remove_old_things(&self, context: &OpContext, left: &Left) -> Result<()> {
        for rule in &left.rules {
            self.delete_rule(context, *rule).await?;
        }
        for twin in &left.twins {
            self.delete_twin(context, *twin).await?;
        }
        for device in &left.devices {
            self.delete_device(context, *device).await?;
        }
        Ok(())
    }

    async fn remove_old_account(&self, user: Option<UserId>) -> Result<()> {
        let platform = self.job(jobs::PROMISES);
        let tx = self.0.store.begin_platform(&platform).await?;
        let host = format!("{PLATFORM_TENANT}.invalid");
        found(tx.host_certificate_delete(PLATFORM_TENANT, &host).await)?;
        // Whoever made the account a member elsewhere keeps it.
        if let Some(user) = user
            && tx.memberships(user).await?.is_empty()
        {
            tx.user_delete(user).await?;
        }
        Ok(tx.commit().await?)
    }
}

/// What only a check makes.
async fn find_marks(tx: &TenantTx, now: Timestamp, left: &mut Left) -> Result<()> {
    let nobody = UserId::from_bytes([1; 16]);
    for key in every_row(|page| async move { tx.api_keys(&page).await }).await? {
        if is_probes_key(&key) {
            left.moments.insert(key.created_at);
            left.keys.push(key.id);
        }
    }
    for grant in tx.grants().await?.iter().filter(|grant| is_probes_grant(grant)) {
        left.moments.insert(grant.created_at);
        left.grants.push(grant.id);
    }
    for hold in tx.holds().await?.iter().filter(|hold| hold.requested_by == nobody) {
        left.moments.insert(hold.requested_at);
        left.holds.push(hold.id);
    }
    for ticket in tx.tickets().await?.iter().filter(|ticket| ticket.opened_by == nobody) {
        left.moments.insert(ticket.opened_at);
        left.tickets.push(ticket.id);
    }
    for incident in every_row(|page| async move { tx.incidents(&page).await }).await? {
        if incident.title == NAME && incident.closed_at == Some(incident.opened_at) {
            left.moments.insert(incident.opened_at);
            left.incidents.push(incident.id);
        }
    }
    for (id, link) in tx.links_open(LinkKind::Invitation, now, LINKS_MAX).await? {
        if is_probes_link(&link.payload) {
            left.moments.insert(link.created_at);
            left.links.push(id);
        }
    }
    Ok(())
}

async fn remove_old_rows(tx: &TenantTx, left: &Left) -> Result<()> {
    for id in &left.alerts {
        tx.alert_delete(*id).await?;
    }
    for id in &left.grants {
        tx.grant_delete(*id).await?;
    }
    for id in &left.roles {
        match tx.custom_role_delete(*id).await {
            // Somebody put it to use: it is theirs now.
            Ok(()) | Err(veritwin_metastore::Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for id in &left.groups {
        tx.device_group_delete(*id).await?;
    }
    for id in &left.workspaces {
        tx.workspace_delete(*id).await?;
    }
    for id in &left.keys {
        tx.api_key_delete(*id).await?;
    }
    for id in &left.links {
        tx.link_delete(*id).await?;
    }
    for id in &left.holds {
        tx.hold_delete(*id).await?;
    }
    for id in &left.incidents {
        tx.incident_delete(*id).await?;
    }
    for id in &left.tickets {
        tx.ticket_delete(*id).await?;
    }
    if let Some(user) = left.user {
        found(tx.member_remove(user).await)?;
    }
    Ok(())
}
