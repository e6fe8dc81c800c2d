//! Many tenants with people in them, made in bulk, and the time of decisions among them: what a
//! benchmark of scale needs. The rows are those that the use cases write.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{
    Actor, ActorKind, PlatformContext, Role, Secret, SessionId, SignIn, TenantId, UserId,
};
use veritwin_keys::{DataClass, DekScope, ShredUnit};
use veritwin_metastore::{Realm, User};

use crate::{App, Error, Result};

/// Tenants whose rows are written in one transaction.
const TENANTS_TOGETHER: usize = 10;
/// Decisions of one measured round.
const DECISIONS_TOGETHER: u32 = 64;

/// How many to make.
#[derive(Debug, Clone, Copy)]
pub struct Population {
    /// Tenants.
    pub tenants: usize,
    /// People in each.
    pub users_per_tenant: usize,
}

/// A person's address in a populated platform.
pub fn populated_email(tenant: usize, user: usize) -> String {
    format!("user-{user}@tenant-{tenant}.example")
}

impl App {
    /// Makes tenants with people who share a password; the first of each is an administrator.
    /// `progress` hears how many tenants there are. For whoever holds the data directory.
    pub async fn populate(
        &self,
        context: &PlatformContext,
        population: Population,
        password: Secret<String>,
        progress: impl Fn(usize),
    ) -> Result<Vec<TenantId>> {
        self.authorize_platform(context, Action::TenantCreate)?;
        let hash = self.hash_password(password).await?;
        let mut made = Vec::with_capacity(population.tenants);
        while made.len() < population.tenants {
            let first = made.len();
            let count = TENANTS_TOGETHER.min(population.tenants - first);
            let mut rows = Vec::with_capacity(count);
            for number in first..first + count {
                rows.push(self.new_tenant(context, &format!("Tenant {number}"))?.row);
            }
            let mut people = Vec::with_capacity(count * population.users_per_tenant);
            for (place, row) in rows.iter().enumerate() {
                for user in 0..population.users_per_tenant {
                    let email = populated_email(first + place, user);
                    people.push((row.id, user, self.person(context, email, hash.clone())));
                }
            }
            // Each person's key, all durable together.
            let scopes: Vec<DekScope> = people
                .iter()
                .map(|(_, _, user)| {
                    DekScope::platform(DataClass::Record)
                        .with_unit(ShredUnit::Subject(*user.id.as_bytes()))
                })
                .collect();
            for key in self.0.keys.deks(&scopes) {
                key?;
            }
            let tx = self.0.store.begin_platform(context).await?;
            for row in &rows {
                tx.tenant_create(row).await?;
                made.push(row.id);
            }
            for (tenant, number, user) in &people {
                tx.user_create(user).await?;
                let role = if *number == 0 { Role::Administrator } else { Role::Operator };
                tx.membership_add(*tenant, user.id, role).await?;
            }
            tx.commit().await?;
            progress(made.len());
        }
        Ok(made)
    }

    fn person(&self, context: &PlatformContext, email: String, hash: Secret<String>) -> User {
        User {
            id: UserId::generate(context.at, self.rng()),
            realm: Realm::PLATFORM,
            email,
            name: Some("Populated".to_owned()),
            password_hash: Some(hash),
            disabled: false,
            email_verified_at: None,
            attestation: None,
            version: 0,
            created_at: context.at,
        }
    }

    /// How long one decision takes, as often as asked: people of these tenants, every role,
    /// their own tenant's things and other tenants'.
    pub fn time_decisions(&self, tenants: &[TenantId], rounds: usize) -> Result<Vec<Duration>> {
        if tenants.is_empty() {
            return Err(Error::invalid("there is no tenant to decide for"));
        }
        let actions = [
            (Action::DeviceRead, Kind::Device),
            (Action::UserList, Kind::User),
            (Action::RuleWrite, Kind::Rule),
            (Action::TelemetryRead, Kind::Telemetry),
        ];
        let platform = self.local_operator();
        let mut times = Vec::with_capacity(rounds);
        let mut turn = 0usize;
        for _ in 0..rounds {
            let contexts: Vec<_> = (0..DECISIONS_TOGETHER)
                .map(|_| {
                    turn += 1;
                    let tenant = tenants[(turn * 7919) % tenants.len()];
                    let other = tenants[(turn * 104_729) % tenants.len()];
                    let owner = if turn.is_multiple_of(5) { other } else { tenant };
                    let kind = ActorKind::User {
                        user: UserId::generate(platform.at, self.rng()),
                        session: SessionId::generate(platform.at, self.rng()),
                        sign_in: SignIn::proved(platform.at),
                    };
                    let roles = vec![Role::ALL[turn % Role::ALL.len()]];
                    let (action, kind_of_thing) = actions[turn % actions.len()];
                    let context = platform.in_tenant(tenant, Actor::with_roles(kind, roles));
                    (context, action, Resource::all(owner, kind_of_thing))
                })
                .collect();
            let started = self.clock().monotonic();
            let mut allowed = 0u32;
            for (context, action, resource) in &contexts {
                allowed += u32::from(self.0.authorizer.check(context, *action, resource).is_ok());
            }
            let took = self.clock().monotonic().saturating_sub(started);
            debug_assert!(allowed <= DECISIONS_TOGETHER);
            times.push(took / DECISIONS_TOGETHER);
        }
        Ok(times)
    }

    /// How long one check of a password takes by itself.
    #[boxed]
    pub async fn time_password(&self, password: Secret<String>) -> Result<Duration> {
        let started = self.clock().monotonic();
        self.hash_password(password).await?;
        Ok(self.clock().monotonic().saturating_sub(started))
    }
}
