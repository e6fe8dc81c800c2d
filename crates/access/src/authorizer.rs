//! Asks Cedar and remembers the answer. A decision depends only on the actor's class (kind and
//! roles), the action, the resource's kind and whether a device means itself, so each such
//! question is evaluated once; tenants are compared before anything else, on every check.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;

use cedar_policy::{
    Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression, Schema, ValidationMode, Validator,
};
use parking_lot::RwLock;
use veritwin_domain::{Actor, ActorKind, OpContext, PlatformContext, Role, SupportAreas};

use crate::{Action, Kind, Resource};

const SCHEMA: &str = include_str!("../policies/schema.cedarschema");
const POLICIES: [&str; 8] = [
    include_str!("../policies/isolation.cedar"),
    include_str!("../policies/people.cedar"),
    include_str!("../policies/partners.cedar"),
    include_str!("../policies/providers.cedar"),
    include_str!("../policies/devices.cedar"),
    include_str!("../policies/jobs.cedar"),
    include_str!("../policies/records.cedar"),
    include_str!("../policies/support.cedar"),
];

/// Most remembered decisions. All questions that can be asked today are fewer; past the bound
/// Cedar is asked each time.
const DECISIONS_MAX: usize = 16_384;

/// A refusal. `hidden` resources are answered as if they did not exist (404), others with 403.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub struct Denied {
    /// Whether the actor must not learn that the resource exists.
    pub hidden: bool,
    /// What was refused.
    pub action: Action,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.hidden {
            f.write_str("not found")
        } else {
            write!(f, "not allowed: {}", self.action)
        }
    }
}

/// The embedded policies do not fit the embedded schema; the text says where.
#[derive(Debug, thiserror::Error)]
#[error("access policies are invalid: {0}")]
pub struct PolicyError(String);

/// What a decision depends on of the actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Class {
    User(RoleSet),
    Program(RoleSet),
    Support(SupportAreas),
    Device { is_self: bool },
    Job(&'static str),
    LocalOperator,
    Anonymous,
}

/// Roles as bits, in the order of [`Role::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct RoleSet(u32);

impl RoleSet {
    pub(crate) fn new(roles: &[Role]) -> Self {
        let bit = |role: &Role| Role::ALL.iter().position(|known| known == role);
        Self(roles.iter().filter_map(bit).fold(0, |bits, index| bits | 1 << index))
    }

    fn iter(self) -> impl Iterator<Item = Role> {
        let held = move |(index, role): (usize, Role)| (self.0 & (1 << index) != 0).then_some(role);
        Role::ALL.into_iter().enumerate().filter_map(held)
    }
}

/// Decides on every action of every actor.
pub struct Authorizer {
    cedar: cedar_policy::Authorizer,
    policies: PolicySet,
    schema: Schema,
    decisions: RwLock<HashMap<(Class, Action, Kind), bool>>,
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorizer").field("decisions", &self.decisions.read().len()).finish()
    }
}

impl Authorizer {
    /// Parses the embedded schema and policies and validates each policy against the schema,
    /// strictly: a misspelt action or an attribute that does not exist is an error here.
    pub fn new() -> Result<Self, PolicyError> {
        let (schema, warnings) = Schema::from_cedarschema_str(SCHEMA)
            .map_err(|error| PolicyError(format!("schema: {error}")))?;
        if let Some(warning) = warnings.into_iter().next() {
            return Err(PolicyError(format!("schema: {warning}")));
        }
        let policies = PolicySet::from_str(&POLICIES.join("\n"))
            .map_err(|error| PolicyError(format!("policies: {error}")))?;
        let checked = Validator::new(schema.clone()).validate(&policies, ValidationMode::Strict);
        if !checked.validation_passed() {
            let errors: Vec<_> = checked.validation_errors().map(ToString::to_string).collect();
            return Err(PolicyError(errors.join("; ")));
        }
        Ok(Self {
            cedar: cedar_policy::Authorizer::new(),
            policies,
            schema,
            decisions: RwLock::new(HashMap::new()),
        })
    }

    /// Decides an operation inside a tenant. A resource of another tenant is hidden, and so is
    /// every other device from a device.
    pub fn check(
        &self,
        context: &OpContext,
        action: Action,
        resource: &Resource,
    ) -> Result<(), Denied> {
        if resource.tenant().is_some_and(|owner| owner != context.tenant) {
            return Err(Denied { hidden: true, action });
        }
        self.decide(&context.actor, action, resource)
    }

    /// Decides an operation on the platform itself.
    pub fn check_platform(&self, context: &PlatformContext, action: Action) -> Result<(), Denied> {
        self.decide(&context.actor, action, &Resource::Platform)
    }

    fn decide(&self, actor: &Actor, action: Action, resource: &Resource) -> Result<(), Denied> {
        let class = classify(actor, resource);
        if self.permits(class, action, resource.kind()) {
            return Ok(());
        }
        let hidden = class == Class::Device { is_self: false }
            && matches!(resource, Resource::Owned { id: Some(_), .. });
        Err(Denied { hidden, action })
    }

    pub(crate) fn permits(&self, class: Class, action: Action, kind: Kind) -> bool {
        let question = (class, action, kind);
        if let Some(answer) = self.decisions.read().get(&question) {
            return *answer;
        }
        let answer = self.ask(class, action, kind, true);
        let mut decisions = self.decisions.write();
        if decisions.len() < DECISIONS_MAX {
            decisions.insert(question, answer);
        }
        answer
    }

    /// One evaluation. A request that does not fit the schema (this action is not for that kind
    /// of actor or resource) and every error mean no.
    pub(crate) fn ask(&self, class: Class, action: Action, kind: Kind, same_tenant: bool) -> bool {
        self.try_ask(class, action, kind, same_tenant).unwrap_or(false)
    }

    fn try_ask(&self, class: Class, action: Action, kind: Kind, same_tenant: bool) -> Option<bool> {
        let own = uid("Tenant", "own")?;
        let other = uid("Tenant", "other")?;
        let (principal, roles) = principal(class)?;
        let is_self = class == Class::Device { is_self: true };
        let owner = if same_tenant { &own } else { &other };
        let resource = match kind {
            Kind::Tenant => owner.clone(),
            Kind::Device if is_self => principal.clone(),
            _ => uid(kind.as_str(), "resource")?,
        };
        let mut entities = Vec::new();
        if !matches!(kind, Kind::Platform | Kind::Tenant) && resource != principal {
            entities.push(owned(resource.clone(), owner, HashSet::new())?);
        }
        entities.push(match class {
            Class::User(_) | Class::Program(_) | Class::Device { .. } => {
                owned(principal.clone(), &own, roles)?
            }
            Class::Support(areas) => support_session(principal.clone(), &own, areas, roles)?,
            _ => Entity::new_no_attrs(principal.clone(), roles),
        });
        entities.push(owned(own.clone(), &own, HashSet::new())?);
        entities.push(owned(other.clone(), &other, HashSet::new())?);
        if kind == Kind::Platform {
            entities.push(Entity::new_no_attrs(resource.clone(), HashSet::new()));
        }
        let entities = Entities::from_entities(entities, Some(&self.schema)).ok()?;
        let action = uid("Action", action.as_str())?;
        let request =
            Request::new(principal, action, resource, Context::empty(), Some(&self.schema)).ok()?;
        let response = self.cedar.is_authorized(&request, &self.policies, &entities);
        let clean = response.diagnostics().errors().next().is_none();
        Some(clean && response.decision() == Decision::Allow)
    }
}

fn classify(actor: &Actor, resource: &Resource) -> Class {
    match &actor.kind {
        ActorKind::User { .. } => Class::User(RoleSet::new(&actor.roles)),
        ActorKind::Support { areas, .. } => Class::Support(*areas),
        ActorKind::ApiKey(_) => Class::Program(RoleSet::new(&actor.roles)),
        ActorKind::Device { device, .. } => {
            let meant = match resource {
                Resource::Owned { kind: Kind::Device, id, .. } => *id,
                _ => None,
            };
            Class::Device { is_self: meant == Some(*device.as_bytes()) }
        }
        ActorKind::Job(name) => Class::Job(name),
        ActorKind::LocalOperator => Class::LocalOperator,
        ActorKind::Anonymous => Class::Anonymous,
    }
}

fn principal(class: Class) -> Option<(EntityUid, HashSet<EntityUid>)> {
    let roles = |set: RoleSet| {
        set.iter().map(|role| uid("Role", role.as_str())).collect::<Option<HashSet<_>>>()
    };
    Some(match class {
        Class::User(set) => (uid("User", "actor")?, roles(set)?),
        Class::Program(set) => (uid("Program", "actor")?, roles(set)?),
        Class::Support(_) => {
            (uid("SupportSession", "actor")?, roles(RoleSet::new(&[Role::Support]))?)
        }
        Class::Device { .. } => (uid("Device", "actor")?, HashSet::new()),
        Class::Job(name) => (uid("Job", name)?, HashSet::new()),
        Class::LocalOperator => (uid("LocalOperator", "actor")?, HashSet::new()),
        Class::Anonymous => (uid("Anonymous", "actor")?, HashSet::new()),
    })
}

fn owned(uid: EntityUid, tenant: &EntityUid, parents: HashSet<EntityUid>) -> Option<Entity> {
    let tenant = RestrictedExpression::new_entity_uid(tenant.clone());
    Entity::new(uid, HashMap::from([("tenant".to_owned(), tenant)]), parents).ok()
}

/// A support session carries what its grant opens.
fn support_session(
    uid: EntityUid,
    tenant: &EntityUid,
    areas: SupportAreas,
    roles: HashSet<EntityUid>,
) -> Option<Entity> {
    let names = areas.iter().map(|area| RestrictedExpression::new_string(area.to_string()));
    let attributes = HashMap::from([
        ("tenant".to_owned(), RestrictedExpression::new_entity_uid(tenant.clone())),
        ("areas".to_owned(), RestrictedExpression::new_set(names)),
    ]);
    Entity::new(uid, attributes, roles).ok()
}

fn uid(kind: &str, id: &str) -> Option<EntityUid> {
    let kind = EntityTypeName::from_str(kind).ok()?;
    Some(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policies_themselves_keep_tenants_apart() {
        let authorizer = Authorizer::new().expect("policies");
        let everything = RoleSet::new(&Role::ALL);
        let open = SupportAreas::of(&veritwin_domain::SupportArea::ALL);
        for class in [Class::User(everything), Class::Program(everything), Class::Support(open)] {
            for action in Action::ALL {
                if action.kind() != Kind::Platform {
                    assert!(!authorizer.ask(class, *action, action.kind(), false), "{action}");
                }
            }
        }
        assert!(authorizer.ask(Class::User(everything), Action::TwinRead, Kind::Twin, true));
    }
}
