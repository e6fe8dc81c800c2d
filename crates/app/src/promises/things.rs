//! One thing of each kind in a tenant of a probe: found, or made once. Nothing in them is
//! anybody's.

use std::collections::BTreeMap;

use veritwin_access::{TokenKind, jobs};
use veritwin_domain::{
    AlertId, ApiKeyId, CustomRoleId, Declaration, DeviceId, GrantId, GroupId, HoldId, IncidentId,
    LinkId, OpContext, Role, RuleId, ScopeOf, SiteId, SupportAreas, SupportGrantId, TicketId,
    UserId, WorkspaceId,
};
use veritwin_metastore::{
    Alert, AlertFilter, AlertSeverity, AlertState, ApiKey, DeviceGroup, Grant, GrantRole, Hold,
    HoldReason, HoldScope, Holder, HostCertificate, Incident, LinkKind, Page, Realm, SecurityAlert,
    StoredRole, SupportGrant, SupportTicket, User, Workspace,
};

use super::fixture::NAME;
use crate::alerts::Detail;
use crate::links::Payload;
use crate::model::{
    DeviceInput, PageRequest, RuleCondition, RuleInput, RuleScope, StreamRuleInput, StreamRuleView,
    StreamSubject,
};
use crate::tree::HOSTS_MAX;
use crate::{App, Result};

/// A smallest building: one storey, nothing in it.
pub(super) fn ifc(name: &str) -> String {
    let id = |tail: &str| format!("{tail:0>22}");
    format!(
        "ISO-10303-21;\nHEADER;\nFILE_DESCRIPTION((''),'2;1');\n\
         FILE_NAME('','',(''),(''),'','','');\nFILE_SCHEMA(('IFC4'));\nENDSEC;\nDATA;\n\
         #1=IFCPROJECT('{}',$,'{name}',$,$,$,$,$,#2);\n#2=IFCUNITASSIGNMENT((#3));\n\
         #3=IFCSIUNIT(*,.LENGTHUNIT.,$,.METRE.);\n\
         #4=IFCBUILDING('{}',$,'{name}',$,$,$,$,$,$,$,$,$);\n\
         #5=IFCBUILDINGSTOREY('{}',$,'{name}',$,$,$,$,$,$,0.);\n\
         #6=IFCRELAGGREGATES('{}',$,$,$,#4,(#5));\nENDSEC;\nEND-ISO-10303-21;\n",
        id("P"),
        id("B"),
        id("S"),
        id("R"),
    )
}

/// The id of a thing that is there, or of the one that is created now.
pub(super) async fn found_or_made<I>(
    known: Option<I>,
    made: I,
    create: impl Future<Output = veritwin_metastore::Result<()>>,
) -> Result<I> {
    match known {
        Some(known) => Ok(known),
        None => {
            create.await?;
            Ok(made)
        }
    }
}

impl App {
    /// Finds or makes one thing of each kind.
    pub(super) async fn probe_things(
        &self,
        context: &OpContext,
    ) -> Result<BTreeMap<&'static str, String>> {
        let device = self.probe_device(context).await?;
        let tx = self.0.store.read(context).await?;
        let credential = tx.credentials(device).await?.first().map(|credential| credential.id);
        drop(tx);
        let mut things = BTreeMap::from([
            ("device", device.to_string()),
            ("tenant", context.tenant.to_string()),
            ("twin", self.probe_twin(context).await?.to_string()),
            ("user", self.probe_user(context).await?.to_string()),
            ("api_key", self.probe_api_key(context).await?.to_string()),
            ("invitation", self.probe_invitation(context).await?.to_string()),
        ]);
        if let Some(credential) = credential {
            things.insert("credential", credential.to_string());
        }
        let rule = self.probe_rule(context, device).await?;
        self.probe_access(context, &mut things).await?;
        things.insert("rule", rule.to_string());
        things.insert("host", self.probe_host(context).await?);
        things.insert("alert", self.probe_alert(context, rule).await?.to_string());
        self.probe_cases(context, &mut things).await?;
        self.probe_destruction(context, &mut things).await?;
        self.probe_request(context, &mut things).await?;
        self.probe_zones(context, &mut things).await?;
        self.probe_streams(context, &mut things).await?;
        self.probe_provisioning(context, &mut things).await?;
        self.probe_sent(context, device, &mut things).await?;
        self.probe_routes(context, device, &mut things).await?;
        self.probe_governed(context, &mut things).await?;
        Ok(things)
    }

    /// A rule for streams that nobody sends, and the act that made it.
    async fn probe_streams(
        &self,
        context: &OpContext,
        things: &mut BTreeMap<&'static str, String>,
    ) -> Result<()> {
        let is_own = |rule: &StreamRuleView| rule.rule.key.as_deref() == Some(NAME);
        let rule = match self.list_stream_rules(context).await?.into_iter().find(is_own) {
            Some(rule) => rule,
            None => {
                let input = StreamRuleInput {
                    device_type: None,
                    key: Some(NAME.to_owned()),
                    declaration: Declaration::Personal,
                    subject: Some(StreamSubject::Device { person: None }),
                };
                self.create_stream_rule(context, input).await?
            }
        };
        things.insert("stream_rule", rule.id.to_string());
        let acts = self.list_stream_acts(context, &PageRequest::default()).await?.items;
        let act = acts.last().ok_or(crate::Error::NotFound("declaration"))?;
        things.insert("stream_act", act.id.to_string());
        Ok(())
    }

    /// A role of the tenant's own, a group, a workspace and a grant.
    async fn probe_access(
        &self,
        context: &OpContext,
        things: &mut BTreeMap<&'static str, String>,
    ) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        let grantable = self.0.authorizer.grantable().into_iter();
        let made = StoredRole {
            id: CustomRoleId::generate(context.at, self.rng()),
            name: NAME.to_owned(),
            allows: grantable.map(|action| action.as_str().to_owned()).collect(),
            denies: Vec::new(),
            by_owner: false,
            version: 0,
            created_at: context.at,
        };
        let known = tx.custom_roles().await?.first().map(|known| known.id);
        let role = found_or_made(known, made.id, tx.custom_role_create(&made)).await?;
        let made = Workspace {
            id: WorkspaceId::generate(context.at, self.rng()),
            name: NAME.to_owned(),
            twins: Vec::new(),
            version: 0,
            created_at: context.at,
        };
        let known = tx.workspaces().await?.first().map(|known| known.id);
        let workspace = found_or_made(known, made.id, tx.workspace_create(&made)).await?;
        let made = DeviceGroup {
            id: GroupId::generate(context.at, self.rng()),
            name: NAME.to_owned(),
            workspace: None,
            devices: Vec::new(),
            version: 0,
            created_at: context.at,
        };
        let known = tx.device_groups().await?.first().map(|known| known.id);
        let group = found_or_made(known, made.id, tx.device_group_create(&made)).await?;
        // Its holder is nobody.
        let made = Grant {
            id: GrantId::generate(context.at, self.rng()),
            holder: Holder::User(UserId::generate(context.at, self.rng())),
            role: GrantRole::BuiltIn(Role::Viewer),
            scope: ScopeOf::Group(group),
            expires_at: Some(context.at),
            created_at: context.at,
        };
        let known = tx.grants().await?.first().map(|known| known.id);
        let grant = found_or_made(known, made.id, tx.grant_create(&made)).await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        things.insert("role", role.to_string());
        things.insert("workspace", workspace.to_string());
        things.insert("group", group.to_string());
        things.insert("grant", grant.to_string());
        Ok(())
    }

    /// A hold that ended when it began, a closed incident with its alert, a closed ticket with a
    /// grant that was taken back.
    async fn probe_cases(
        &self,
        context: &OpContext,
        things: &mut BTreeMap<&'static str, String>,
    ) -> Result<()> {
        let (at, nobody) = (context.at, UserId::from_bytes([1; 16]));
        let tx = self.0.store.begin(context).await?;
        let known = (tx.holds().await?, tx.tickets().await?, tx.support_grants().await?);
        let alerts = tx.security_alerts(&Page::first(1)).await?.items;
        if let (Some(hold), Some(ticket), Some(grant)) =
            (known.0.first(), known.1.first(), known.2.first())
            && let Some(alert) = alerts.first()
        {
            things.insert("hold", hold.id.to_string());
            things.insert("ticket", ticket.id.to_string());
            things.insert("support_grant", grant.id.to_string());
            things.insert("security_alert", alert.id.to_string());
            things.insert("incident", alert.incident.to_string());
            return Ok(());
        }
        let hold = Hold {
            id: HoldId::generate(at, self.rng()),
            scope: HoldScope { action: Some("device.".to_owned()), ..HoldScope::default() },
            reason: HoldReason::Incident,
            note: NAME.to_owned(),
            requested_by: nobody,
            requested_at: at,
            approved_by: None,
            approved_at: None,
            expires_at: at,
            release: None,
            released_at: Some(at),
        };
        let incident = Incident {
            id: IncidentId::generate(at, self.rng()),
            kind: "other".to_owned(),
            severity: "low".to_owned(),
            title: NAME.to_owned(),
            opened_at: at,
            closed_at: Some(at),
            version: 0,
        };
        let alert = SecurityAlert {
            id: AlertId::generate(at, self.rng()),
            incident: incident.id,
            kind: "other".to_owned(),
            severity: "low".to_owned(),
            body: b"[]".to_vec(),
            raised_at: at,
            acknowledged_at: Some(at),
            acknowledged_by: None,
        };
        let ticket = SupportTicket {
            id: TicketId::generate(at, self.rng()),
            subject: NAME.to_owned(),
            text: NAME.to_owned(),
            opened_by: nobody,
            opened_at: at,
            closed_at: Some(at),
        };
        let grant = SupportGrant {
            id: SupportGrantId::generate(at, self.rng()),
            ticket: Some(ticket.id),
            areas: SupportAreas::default(),
            reason: String::new(),
            requested_by: nobody,
            requested_at: at,
            approved_by: None,
            granted_at: Some(at),
            expires_at: at,
            revoked_at: Some(at),
        };
        tx.hold_create(&hold).await?;
        tx.incident_create(&incident).await?;
        tx.security_alert_create(&alert).await?;
        tx.ticket_create(&ticket).await?;
        tx.support_grant_create(&grant).await?;
        tx.commit().await?;
        things.insert("hold", hold.id.to_string());
        things.insert("incident", incident.id.to_string());
        things.insert("security_alert", alert.id.to_string());
        things.insert("ticket", ticket.id.to_string());
        things.insert("support_grant", grant.id.to_string());
        Ok(())
    }

    async fn probe_device(&self, context: &OpContext) -> Result<DeviceId> {
        let tx = self.0.store.read(context).await?;
        let known = tx.device_by_name(NAME).await?;
        drop(tx);
        if let Some(device) = known {
            return Ok(device.id);
        }
        let input = DeviceInput {
            name: NAME.to_owned(),
            declaration: Declaration::NonPersonal,
            ..DeviceInput::default()
        };
        Ok(self.create_device(context, input).await?.0.id)
    }

    async fn probe_twin(&self, context: &OpContext) -> Result<SiteId> {
        let tx = self.0.store.read(context).await?;
        let twins = tx.twins(&Page::whole()).await?.items;
        drop(tx);
        if let Some(twin) = twins.iter().find(|twin| twin.name == NAME) {
            return Ok(twin.id);
        }
        let file = ifc(NAME).into_bytes();
        Ok(self.import_twin(context, Some(NAME.to_owned()), file.into()).await?.twin.id)
    }

    /// A host name with a certificate of nobody. The name is given to no tenant: no listener
    /// looks at it.
    async fn probe_host(&self, context: &OpContext) -> Result<String> {
        let host = format!("{}.invalid", context.tenant);
        let platform = self.job(jobs::PROMISES);
        let tx = self.0.store.begin_platform(&platform).await?;
        let known = tx.host_certificates(HOSTS_MAX as u64).await?;
        if !known.iter().any(|one| one.host == host) {
            tx.host_certificate_put(&HostCertificate {
                tenant: context.tenant,
                host: host.clone(),
                chain: NAME.as_bytes().to_vec(),
                private_key: NAME.as_bytes().to_vec(),
                not_after: context.at,
                created_at: context.at,
            })
            .await?;
            tx.commit().await?;
        }
        Ok(host)
    }

    /// A member that cannot sign in: it has no password and is disabled.
    async fn probe_user(&self, context: &OpContext) -> Result<UserId> {
        let email = format!("probe@{}.invalid", context.tenant);
        let platform = self.job(jobs::PROMISES);
        let tx = self.0.store.begin_platform(&platform).await?;
        if let Some(user) = tx.user_by_email(Realm::PLATFORM, &email).await? {
            return Ok(user.id);
        }
        let user = User {
            id: UserId::generate(context.at, self.rng()),
            realm: Realm::PLATFORM,
            email,
            name: None,
            password_hash: None,
            disabled: true,
            email_verified_at: None,
            attestation: None,
            version: 0,
            created_at: context.at,
        };
        tx.user_create(&user).await?;
        tx.membership_add(context.tenant, user.id, Role::Operator).await?;
        tx.commit().await?;
        Ok(user.id)
    }

    /// An open invitation whose link nobody has.
    async fn probe_invitation(&self, context: &OpContext) -> Result<LinkId> {
        let tx = self.0.store.begin(context).await?;
        if let Some((id, _)) = tx.links_open(LinkKind::Invitation, context.at, 1).await?.first() {
            return Ok(*id);
        }
        let payload = Payload { role: Some(Role::Viewer.to_string()), ..Payload::default() };
        let (kind, tenant) = (LinkKind::Invitation, Some(context.tenant));
        let (link, _, digest) = self.new_link(&self.above(context), kind, tenant, &payload)?;
        let id = tx.link_create(&link, digest).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// A key whose secret nobody has, and which ended when it began.
    async fn probe_api_key(&self, context: &OpContext) -> Result<ApiKeyId> {
        let tx = self.0.store.begin(context).await?;
        let keys = tx.api_keys(&Page::whole()).await?.items;
        if let Some(key) = keys.iter().find(|key| key.role == Role::Operator && key.name == NAME) {
            return Ok(key.id);
        }
        let (_, digest) = TokenKind::ApiKey.generate(self.rng());
        let key = ApiKey {
            id: ApiKeyId::generate(context.at, self.rng()),
            name: NAME.to_owned(),
            role: Role::Operator,
            created_at: context.at,
            expires_at: Some(context.at),
            last_used_at: None,
            last_used_from: None,
            maker: None,
            maker_key: None,
            addresses: Vec::new(),
        };
        tx.api_key_create(&key, digest.0).await?;
        tx.commit().await?;
        Ok(key.id)
    }

    async fn probe_rule(&self, context: &OpContext, device: DeviceId) -> Result<RuleId> {
        let known = self.list_rules(context).await?;
        if let Some(view) = known.iter().find(|view| view.rule.name == NAME) {
            return Ok(view.id);
        }
        let input = RuleInput {
            name: NAME.to_owned(),
            severity: "low".to_owned(),
            enabled: false,
            scope: RuleScope { device_id: Some(device), ..RuleScope::default() },
            condition: RuleCondition::NoData { key: None, after_seconds: 86_400 },
            notify_emails: Vec::new(),
            what_helps: String::new(),
            sees_closed: None,
        };
        Ok(self.create_rule(context, input).await?.id)
    }

    async fn probe_alert(&self, context: &OpContext, rule: RuleId) -> Result<AlertId> {
        let tx = self.0.store.begin(context).await?;
        let known = tx.alerts(AlertFilter::All, &Page::first(1)).await?.items;
        if let Some(alert) = known.first() {
            return Ok(alert.id);
        }
        let name = NAME.to_owned();
        let detail = Detail { rule_name: name.clone(), message: name, ..Detail::default() };
        let detail = serde_json::to_vec(&detail)
            .map_err(|error| crate::Error::Internal(error.to_string()))?;
        let alert = Alert {
            id: AlertId::generate(context.at, self.rng()),
            rule,
            device: None,
            twin: None,
            state: AlertState::Cleared,
            severity: AlertSeverity::Low,
            raised_at: context.at,
            cleared_at: Some(context.at),
            acknowledged_at: Some(context.at),
            acknowledged_by: None,
            detail,
            version: 0,
        };
        tx.alert_create(&alert).await?;
        tx.commit().await?;
        Ok(alert.id)
    }
}
