//! What the probes need inside the platform: a program's identity for the length of a check, and
//! two tenants of nobody with one thing of each kind, to ask for one's things with the other's
//! rights. Customers' things are never touched.

use std::collections::BTreeMap;
use std::time::Duration;

use veritwin_access::{Action, Resource, TokenKind, jobs};
use veritwin_domain::{
    AlertId, ApiKeyId, CustomRoleId, Declaration, DeviceId, GrantId, GroupId, LogId, OpContext,
    Origin, Purpose, Role, RuleId, ScopeOf, Secret, SiteId, TenantId, UserId, WorkspaceId,
};
use veritwin_metastore::{
    Alert, AlertFilter, AlertSeverity, AlertState, ApiKey, DeviceGroup, Grant, GrantRole, Holder,
    Page, Realm, StoredRole, Tenant, User, Workspace,
};

use crate::model::{DeviceInput, RuleCondition, RuleInput, RuleScope};
use crate::provision::PLATFORM_TENANT;
use crate::{App, Arrival, Result};

/// A tenant of nobody, in no list. Its things are what nobody else may see.
pub(crate) const PROBE_TENANT: TenantId =
    TenantId::from_bytes([0, 0, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 2]);
const PROBE_TENANT_NAME: &str = "Isolation probe";
/// The name of every fixed thing.
const NAME: &str = "isolation probe";
/// A probe's rights end by themselves after this.
const IDENTITY_LIFETIME: Duration = Duration::from_secs(600);

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

/// A program's identity that a probe acts with.
pub(crate) struct ProbeIdentity {
    /// Its context.
    pub(super) context: OpContext,
    key: ApiKeyId,
    secret: Secret<String>,
}

/// Two tenants' things by kind (`device`, `credential`, `twin`, `rule`, `alert`, `user`,
/// `api_key`, as ids in text), and an administrator's key of the first tenant.
pub struct IsolationFixture {
    /// What the key's tenant owns.
    pub own: BTreeMap<&'static str, String>,
    /// What another tenant owns.
    pub foreign: BTreeMap<&'static str, String>,
    identity: ProbeIdentity,
}

impl std::fmt::Debug for IsolationFixture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IsolationFixture").field("foreign", &self.foreign).finish_non_exhaustive()
    }
}

impl IsolationFixture {
    /// The API key to ask with.
    pub fn api_key(&self) -> &Secret<String> {
        &self.identity.secret
    }
}

/// API keys of the probes' tenant, one for each built-in role.
pub struct RoleFixture {
    identities: Vec<(Role, ProbeIdentity)>,
}

impl RoleFixture {
    /// Each role with the key that has it.
    pub fn keys(&self) -> impl Iterator<Item = (Role, &Secret<String>)> {
        self.identities.iter().map(|(role, identity)| (*role, &identity.secret))
    }
}

impl std::fmt::Debug for RoleFixture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoleFixture").field("keys", &self.identities.len()).finish()
    }
}

impl App {
    /// Makes an API key of a probe tenant and acts with it, like any program.
    pub(super) async fn open_probe_identity(
        &self,
        tenant: TenantId,
        name: &str,
        role: Role,
    ) -> Result<ProbeIdentity> {
        let context = self.job_in(jobs::PROMISES, tenant);
        let (secret, digest) = TokenKind::ApiKey.generate(self.rng());
        let key = ApiKey {
            id: ApiKeyId::generate(context.at, self.rng()),
            name: name.to_owned(),
            role,
            created_at: context.at,
            expires_at: Some(context.at.saturating_add(IDENTITY_LIFETIME)),
            last_used_at: None,
            last_used_from: None,
            maker: None,
            maker_key: None,
            addresses: Vec::new(),
        };
        let tx = self.0.store.begin(&context).await?;
        tx.api_key_create(&key, digest.0).await?;
        let resource = Resource::api_key(tenant, key.id);
        self.record(&tx, &context, Action::ApiKeyCreate, &resource).await?;
        tx.commit().await?;
        let arrival = Arrival {
            purpose: Purpose::SecuritySupport,
            request: context.request,
            origin: Origin::default(),
        };
        let context = self.authenticate_api_key(&secret, arrival).await?;
        Ok(ProbeIdentity { context, key: key.id, secret })
    }

    /// Takes the identity back.
    pub(super) async fn close_probe_identity(&self, identity: &ProbeIdentity) -> Result<()> {
        let context = self.job_in(jobs::PROMISES, identity.context.tenant);
        let tx = self.0.store.begin(&context).await?;
        tx.api_key_delete(identity.key).await?;
        let resource = Resource::api_key(context.tenant, identity.key);
        self.record(&tx, &context, Action::ApiKeyDelete, &resource).await?;
        tx.commit().await?;
        self.0.logins.forget_all();
        Ok(())
    }

    /// `host:port` of the archive that is connected now; it may move when it starts again.
    pub fn archive_address(&self) -> Option<String> {
        self.archive().ok().map(|client| client.address())
    }

    /// One thing of each kind in two tenants, and an administrator's key of the first.
    pub async fn open_isolation_fixture(&self) -> Result<IsolationFixture> {
        self.ensure_probe_tenant().await?;
        let other = self.open_probe_identity(PROBE_TENANT, NAME, Role::Administrator).await?;
        let foreign = self.probe_things(&other.context).await;
        self.close_probe_identity(&other).await?;
        let foreign = foreign?;
        let identity = self.open_probe_identity(PLATFORM_TENANT, NAME, Role::Administrator).await?;
        let own = match self.probe_things(&identity.context).await {
            Ok(own) => self.widen_probe(&identity, &own).await.map(|()| own),
            Err(error) => Err(error),
        };
        match own {
            Ok(own) => {
                #[cfg(feature = "test-controls")]
                if let Some(device) = foreign.get("device") {
                    self.0.promises.note_victim(device);
                }
                Ok(IsolationFixture { own, foreign, identity })
            }
            Err(error) => {
                self.close_probe_identity(&identity).await?;
                Err(error)
            }
        }
    }

    /// One API key of the probes' tenant for each built-in role.
    pub async fn open_role_fixture(&self) -> Result<RoleFixture> {
        self.ensure_probe_tenant().await?;
        let mut fixture = RoleFixture { identities: Vec::new() };
        for role in Role::ALL {
            match self.open_probe_identity(PROBE_TENANT, NAME, role).await {
                Ok(identity) => fixture.identities.push((role, identity)),
                Err(error) => {
                    self.close_role_fixture(fixture).await?;
                    return Err(error);
                }
            }
        }
        Ok(fixture)
    }

    /// Ends those keys.
    pub async fn close_role_fixture(&self, fixture: RoleFixture) -> Result<()> {
        for (_, identity) in &fixture.identities {
            self.close_probe_identity(identity).await?;
        }
        Ok(())
    }

    /// The published matrix: whether a role lets a program do this.
    pub fn role_permits_program(&self, role: Role, action: &str) -> bool {
        let action = action.parse::<Action>();
        action.is_ok_and(|action| self.0.authorizer.permitted(role, true).contains(&action))
    }

    /// Ends the key. The things stay for the next check.
    pub async fn close_isolation_fixture(&self, fixture: IsolationFixture) -> Result<()> {
        self.close_probe_identity(&fixture.identity).await
    }

    /// No built-in role lets a program give rights; the probe asks those endpoints too, so its key
    /// holds a role that permits everything there is.
    async fn widen_probe(
        &self,
        identity: &ProbeIdentity,
        own: &BTreeMap<&'static str, String>,
    ) -> Result<()> {
        let context = &identity.context;
        let role = own.get("role").and_then(|id| id.parse().ok());
        let role =
            role.ok_or_else(|| crate::Error::Internal("the probe has no role".to_owned()))?;
        let tx = self.0.store.begin(context).await?;
        tx.grant_create(&Grant {
            id: GrantId::generate(context.at, self.rng()),
            holder: Holder::ApiKey(identity.key),
            role: GrantRole::Custom(role),
            scope: ScopeOf::Tenant,
            expires_at: None,
            created_at: context.at,
        })
        .await?;
        tx.commit().await?;
        self.access_changed(context.tenant);
        Ok(())
    }

    async fn ensure_probe_tenant(&self) -> Result<()> {
        let _turn = self.0.promises.tenant_turn.lock().await;
        let context = self.job(jobs::PROMISES);
        let tx = self.0.store.read_platform(&context).await?;
        let is_there = tx.tenant(PROBE_TENANT).await.is_ok();
        drop(tx);
        if is_there {
            return Ok(());
        }
        self.0.keys.create_tenant(PROBE_TENANT)?;
        let mut log = [0u8; 16];
        self.rng().fill(&mut log);
        let tx = self.0.store.begin_platform(&context).await?;
        tx.tenant_create(&Tenant {
            id: PROBE_TENANT,
            name: PROBE_TENANT_NAME.to_owned(),
            log_id: LogId::from_bytes(log),
            archive_subscribed: false,
            simulated: true,
            version: 0,
            created_at: context.at,
        })
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Finds or makes one thing of each kind.
    async fn probe_things(&self, context: &OpContext) -> Result<BTreeMap<&'static str, String>> {
        let device = self.probe_device(context).await?;
        let tx = self.0.store.read(context).await?;
        let credential = tx.credentials(device).await?.first().map(|credential| credential.id);
        drop(tx);
        let mut things = BTreeMap::from([
            ("device", device.to_string()),
            ("twin", self.probe_twin(context).await?.to_string()),
            ("user", self.probe_user(context).await?.to_string()),
            ("api_key", self.probe_api_key(context).await?.to_string()),
        ]);
        if let Some(credential) = credential {
            things.insert("credential", credential.to_string());
        }
        let rule = self.probe_rule(context, device).await?;
        self.probe_access(context, &mut things).await?;
        things.insert("rule", rule.to_string());
        things.insert("alert", self.probe_alert(context, rule).await?.to_string());
        Ok(things)
    }

    /// A role of the tenant's own, a group, a workspace and a grant.
    async fn probe_access(
        &self,
        context: &OpContext,
        things: &mut BTreeMap<&'static str, String>,
    ) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        let role = match tx.custom_roles().await?.first() {
            Some(role) => role.id,
            None => {
                let role = StoredRole {
                    id: CustomRoleId::generate(context.at, self.rng()),
                    name: NAME.to_owned(),
                    allows: self
                        .0
                        .authorizer
                        .grantable()
                        .into_iter()
                        .map(|action| action.as_str().to_owned())
                        .collect(),
                    denies: Vec::new(),
                    version: 0,
                    created_at: context.at,
                };
                tx.custom_role_create(&role).await?;
                role.id
            }
        };
        let workspace = match tx.workspaces().await?.first() {
            Some(workspace) => workspace.id,
            None => {
                let id = WorkspaceId::generate(context.at, self.rng());
                let (name, twins) = (NAME.to_owned(), Vec::new());
                let at = context.at;
                tx.workspace_create(&Workspace { id, name, twins, version: 0, created_at: at })
                    .await?;
                id
            }
        };
        let group = match tx.device_groups().await?.first() {
            Some(group) => group.id,
            None => {
                let group = DeviceGroup {
                    id: GroupId::generate(context.at, self.rng()),
                    name: NAME.to_owned(),
                    workspace: None,
                    devices: Vec::new(),
                    version: 0,
                    created_at: context.at,
                };
                tx.device_group_create(&group).await?;
                group.id
            }
        };
        let grant = match tx.grants().await?.first() {
            Some(grant) => grant.id,
            None => {
                // Its holder is nobody.
                let grant = Grant {
                    id: GrantId::generate(context.at, self.rng()),
                    holder: Holder::User(UserId::generate(context.at, self.rng())),
                    role: GrantRole::BuiltIn(Role::Viewer),
                    scope: ScopeOf::Group(group),
                    expires_at: Some(context.at),
                    created_at: context.at,
                };
                tx.grant_create(&grant).await?;
                grant.id
            }
        };
        tx.commit().await?;
        self.access_changed(context.tenant);
        things.insert("role", role.to_string());
        things.insert("workspace", workspace.to_string());
        things.insert("group", group.to_string());
        things.insert("grant", grant.to_string());
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
            version: 0,
            created_at: context.at,
        };
        tx.user_create(&user).await?;
        tx.membership_add(context.tenant, user.id, Role::Operator).await?;
        tx.commit().await?;
        Ok(user.id)
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
        };
        Ok(self.create_rule(context, input).await?.id)
    }

    async fn probe_alert(&self, context: &OpContext, rule: RuleId) -> Result<AlertId> {
        let tx = self.0.store.begin(context).await?;
        let known = tx.alerts(AlertFilter::All, &Page::first(1)).await?.items;
        if let Some(alert) = known.first() {
            return Ok(alert.id);
        }
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
            detail: b"{}".to_vec(),
            version: 0,
        };
        tx.alert_create(&alert).await?;
        tx.commit().await?;
        Ok(alert.id)
    }
}
