//! What the probes of access need inside the platform: people of nobody's tenants with a password
//! for the length of a check, and what the watch over access wrote down about them.

use async_recursion::async_recursion as boxed;
use veritwin_access::jobs;
use veritwin_domain::{FactorId, OpContext, Role, Secret, TenantId, Timestamp, UserId};
use veritwin_keys::totp;
use veritwin_metastore::{ActivityFilter, Factor, FactorKind, Page, Realm, User};

use super::PROBE_TENANT;
use super::fixture::ProbeIdentity;
use crate::provision::PLATFORM_TENANT;
use crate::{App, Result};

/// The check that looks for findings.
const ANOMALIES: &str = "anomaly probe";

/// People and an administrator's key of the tenant of nobody, for one check.
pub struct AccessFixture {
    /// An owner of the tenant of nobody.
    pub customer: ProbePerson,
    /// A member of the platform's support.
    pub staff: ProbePerson,
    /// The tenant of nobody.
    pub tenant: TenantId,
    /// When the check began.
    pub since: Timestamp,
    name: &'static str,
    identity: ProbeIdentity,
}

/// Somebody who can sign in.
pub struct ProbePerson {
    user: UserId,
    /// Address.
    pub email: Secret<String>,
    /// Password.
    pub password: Secret<String>,
    /// The secret of an authenticator, of whoever has a second factor.
    authenticator: Option<[u8; totp::TOTP_SECRET_BYTES]>,
}

impl std::fmt::Debug for AccessFixture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessFixture").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ProbePerson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProbePerson").finish_non_exhaustive()
    }
}

impl AccessFixture {
    /// The API key to ask with.
    pub fn api_key(&self) -> &Secret<String> {
        &self.identity.secret
    }
}

impl ProbePerson {
    /// What the authenticator shows at a moment.
    pub fn code(&self, at: Timestamp) -> Option<String> {
        self.authenticator.map(|secret| totp::code(&secret, step(at)))
    }
}

/// The step of an authenticator's codes at a moment.
fn step(at: Timestamp) -> u64 {
    u64::try_from(at.as_micros() / 1_000_000).unwrap_or(0) / totp::TOTP_STEP_S
}

impl App {
    /// Makes the people of a check.
    #[boxed]
    pub async fn open_access_fixture(&self, name: &'static str) -> Result<AccessFixture> {
        self.ensure_probe_tenant().await?;
        let since = self.clock().now();
        let identity = self.open_probe_identity(PROBE_TENANT, name, Role::Administrator).await?;
        let customer = self.probe_person(PROBE_TENANT, Role::Owner).await?;
        let staff = self.probe_person(PLATFORM_TENANT, Role::Support).await?;
        Ok(AccessFixture { customer, staff, tenant: PROBE_TENANT, since, name, identity })
    }

    /// Removes them, and what they and the watch over them left in the tenant of nobody: the
    /// incidents since the check began, and tickets with the check's name.
    #[boxed]
    pub async fn close_access_fixture(&self, fixture: AccessFixture) -> Result<()> {
        self.close_probe_identity(&fixture.identity).await?;
        let tx = self.0.store.begin_platform(&self.job(jobs::PROMISES)).await?;
        for person in [&fixture.customer, &fixture.staff] {
            tx.user_delete(person.user).await?;
        }
        tx.commit().await?;
        let context = self.job_in(jobs::PROMISES, PROBE_TENANT);
        let tx = self.0.store.begin(&context).await?;
        for ticket in tx.tickets().await? {
            if ticket.subject == fixture.name {
                tx.ticket_delete(ticket.id).await?;
            }
        }
        // Other checks run beside: only the one that looks for findings tidies them up.
        if fixture.name == ANOMALIES {
            for incident in tx.incidents(&Page::first(100)).await?.items {
                if incident.kind != "other" {
                    tx.incident_delete(incident.id).await?;
                }
            }
        }
        Ok(tx.commit().await?)
    }

    async fn probe_person(&self, tenant: TenantId, role: Role) -> Result<ProbePerson> {
        let context = self.job(jobs::PROMISES);
        let mut random = [0u8; 16];
        self.rng().fill(&mut random);
        let password = Secret::new(hex::encode(random));
        let user = UserId::generate(context.at, self.rng());
        let email = format!("probe-{user}@probe.invalid");
        // Only who proved a second factor of their own enters for support.
        let authenticator = (role == Role::Support).then(|| totp::generate(self.rng()));
        let row = User {
            id: user,
            realm: Realm::PLATFORM,
            email: email.clone(),
            name: None,
            password_hash: Some(self.hash_password(password.clone()).await?),
            disabled: false,
            email_verified_at: None,
            attestation: None,
            version: 0,
            created_at: context.at,
        };
        let tx = self.0.store.begin_platform(&context).await?;
        tx.user_create(&row).await?;
        tx.membership_add(tenant, user, role).await?;
        if let Some(secret) = &authenticator {
            let factor = Factor {
                id: FactorId::generate(context.at, self.rng()),
                user,
                kind: FactorKind::Totp,
                lookup: None,
                body: secret.to_vec(),
                counter: 0,
                created_at: context.at,
                last_used_at: None,
            };
            tx.factor_add(&factor).await?;
        }
        tx.commit().await?;
        Ok(ProbePerson { user, email: Secret::new(email), password, authenticator })
    }

    /// Kinds of the security alerts of the tenant of nobody since a moment, and how many of its
    /// incidents are open.
    #[boxed]
    pub async fn access_findings(&self, since: Timestamp) -> Result<(Vec<String>, usize)> {
        let tx = self.0.store.read(&self.job_in(jobs::PROMISES, PROBE_TENANT)).await?;
        let alerts = tx.security_alerts(&Page::first(100)).await?.items;
        let kinds = alerts.into_iter().filter(|alert| alert.raised_at >= since);
        let open = tx.incidents(&Page::first(100)).await?.items;
        let open = open.iter().filter(|one| one.closed_at.is_none()).count();
        Ok((kinds.map(|alert| alert.kind).collect(), open))
    }

    /// What lies in the records of the person of a check about where they were, as it was written.
    #[boxed]
    pub async fn located_records(&self, fixture: &AccessFixture) -> Result<Vec<String>> {
        let context: OpContext = self.job_in(jobs::PROMISES, PROBE_TENANT);
        let filter = ActivityFilter {
            actor: Some(*fixture.customer.user.as_bytes()),
            ..ActivityFilter::default()
        };
        let tx = self.0.store.read(&context).await?;
        let records = tx.activity(&filter, &Page::whole()).await?.items;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let both = records
            .iter()
            .flat_map(|record| [Some(text(&record.envelope)), record.details.as_deref().map(text)]);
        Ok(both.flatten().collect())
    }

    /// Locations of the addresses that documents use (2001:db8::/32, RFC 3849), for a check: no
    /// real request comes from there.
    pub fn locate_documentation(&self, database: Vec<u8>) -> Result<()> {
        self.0.geo.overlay(database)
    }

    /// Whether the operator supplied a location file.
    pub fn has_locations(&self) -> bool {
        self.0.geo.is_loaded()
    }
}
