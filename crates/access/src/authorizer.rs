//! Asks Cedar and remembers the answer. A decision depends on one role (a built-in one, or whether
//! one of a tenant's own permits or denies the action), the action, the resource's kind and whether
//! it is in the role's scope, so each such question is evaluated once; tenants are compared before.
//! None of it is a tenant's: there is as much to remember whatever roles they make.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use cedar_policy::{
    Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression, Schema,
};
use parking_lot::RwLock;
use veritwin_domain::{
    Actor, ActorKind, OpContext, Place, PlatformContext, Role, Scope, SupportAreas,
};

use crate::{Action, Kind, Resource};

const SCHEMA: &str = include_str!("../policies/schema.cedarschema");
const POLICIES: [&str; 11] = [
    include_str!("../policies/isolation.cedar"),
    include_str!("../policies/people.cedar"),
    include_str!("../policies/partners.cedar"),
    include_str!("../policies/rights.cedar"),
    include_str!("../policies/providers.cedar"),
    include_str!("../policies/routes.cedar"),
    include_str!("../policies/devices.cedar"),
    include_str!("../policies/jobs.cedar"),
    include_str!("../policies/records.cedar"),
    include_str!("../policies/governance.cedar"),
    include_str!("../policies/support.cedar"),
];
/// The policy by which a tenant's own role denies; see `policies/rights.cedar`.
const OWN_ROLE_DENIES: &str = "own-role.denies";

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
#[derive(Debug, Clone, thiserror::Error)]
#[error("access policies are invalid: {0}")]
pub struct PolicyError(String);

/// What a decision depends on of the actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Class {
    User(RoleSet),
    Program(RoleSet),
    /// A role of a tenant's own, as far as one action goes: of what it permits and denies the
    /// policies ask whether the action is in it, and no more.
    OwnRole {
        is_program: bool,
        allows: bool,
        denies: bool,
    },
    Support(SupportAreas),
    Device {
        is_self: bool,
    },
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

    fn is_several(self) -> bool {
        self.0.count_ones() > 1
    }

    fn iter(self) -> impl Iterator<Item = Role> {
        let held = move |(index, role): (usize, Role)| (self.0 & (1 << index) != 0).then_some(role);
        Role::ALL.into_iter().enumerate().filter_map(held)
    }
}

/// One question to Cedar.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    pub(crate) class: Class,
    pub(crate) action: Action,
    pub(crate) kind: Kind,
    pub(crate) in_scope: bool,
    pub(crate) same_tenant: bool,
}

impl Question {
    pub(crate) fn of(class: Class, action: Action, kind: Kind) -> Self {
        Self { class, action, kind, in_scope: true, same_tenant: true }
    }
}

/// What one role says to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It permits.
    Permits,
    /// It says nothing, which is no.
    Silent,
    /// It denies, whatever another one permits.
    Denies,
}

/// A verdict, and the names of the policies that decided it.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    pub(crate) policies: Arc<[String]>,
}

impl Answer {
    fn silent() -> Self {
        Self { verdict: Verdict::Silent, policies: Arc::default() }
    }
}

/// The schema and the policies, which are part of the program and the same in all of it.
struct Embedded {
    schema: Schema,
    policies: PolicySet,
    /// The kinds of entities by their names, each of which takes a parser to read.
    kinds: HashMap<String, EntityTypeName>,
}

static EMBEDDED: LazyLock<Result<Embedded, PolicyError>> = LazyLock::new(Embedded::parse);

impl Embedded {
    /// Reads the texts. That each policy fits the schema is a test's to say: the check takes longer
    /// than all else at a start, and what it looks at is settled when the program is built.
    fn parse() -> Result<Self, PolicyError> {
        let (schema, warnings) = Schema::from_cedarschema_str(SCHEMA)
            .map_err(|error| PolicyError(format!("schema: {error}")))?;
        if let Some(warning) = warnings.into_iter().next() {
            return Err(PolicyError(format!("schema: {warning}")));
        }
        let policies = PolicySet::from_str(&POLICIES.join("\n"))
            .map_err(|error| PolicyError(format!("policies: {error}")))?;
        let action = EntityTypeName::from_str("Action")
            .map_err(|error| PolicyError(format!("actions: {error}")))?;
        let kinds = schema.entity_types().cloned().chain([action]);
        let kinds = kinds.map(|kind| (kind.to_string(), kind)).collect();
        Ok(Self { schema, policies, kinds })
    }
}

/// Decides on every action of every actor.
pub struct Authorizer {
    cedar: cedar_policy::Authorizer,
    embedded: &'static Embedded,
    decisions: RwLock<HashMap<(Class, Action, Kind, bool), Answer>>,
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorizer").field("decisions", &self.decisions.read().len()).finish()
    }
}

impl Authorizer {
    /// Takes the embedded schema and policies, which are parsed once in a process.
    pub fn new() -> Result<Self, PolicyError> {
        let embedded = match &*EMBEDDED {
            Ok(embedded) => embedded,
            Err(error) => return Err(error.clone()),
        };
        Ok(Self {
            cedar: cedar_policy::Authorizer::new(),
            embedded,
            decisions: RwLock::new(HashMap::new()),
        })
    }

    /// Decides an operation inside a tenant on what belongs to the whole tenant: only what is
    /// held over the whole tenant counts. A resource of another tenant is hidden, and so is every
    /// other device from a device.
    pub fn check(
        &self,
        context: &OpContext,
        action: Action,
        resource: &Resource,
    ) -> Result<(), Denied> {
        self.check_at(context, action, resource, Place::Tenant)
    }

    /// Decides an operation inside a tenant on a resource that stands at a place. Where the actor
    /// may do this elsewhere only, the resource is hidden.
    pub fn check_at(
        &self,
        context: &OpContext,
        action: Action,
        resource: &Resource,
        place: Place<'_>,
    ) -> Result<(), Denied> {
        if resource.tenant().is_some_and(|owner| owner != context.tenant) {
            return Err(Denied { hidden: true, action });
        }
        self.decide(&context.actor, action, resource, place)
    }

    /// Decides an operation on the platform itself.
    pub fn check_platform(&self, context: &PlatformContext, action: Action) -> Result<(), Denied> {
        self.decide(&context.actor, action, &Resource::Platform, Place::Tenant)
    }

    fn decide(
        &self,
        actor: &Actor,
        action: Action,
        resource: &Resource,
        place: Place<'_>,
    ) -> Result<(), Denied> {
        let class = classify(actor, resource);
        if !actor.rights.is_confined() {
            if self.verdict(Question::of(class, action, resource.kind())) == Verdict::Permits {
                return Ok(());
            }
            let hidden = class == Class::Device { is_self: false }
                && matches!(resource, Resource::Owned { id: Some(_), .. });
            return Err(Denied { hidden, action });
        }
        let is_one = matches!(resource, Resource::Owned { id: Some(_), .. });
        let covers = |scope: &Scope| scope.covers(place);
        self.decide_facets(actor, class, action, resource.kind(), &covers)
            .map_err(|outside| Denied { hidden: outside && is_one, action })
    }

    /// What a role says, or several built-in ones together. No policy asks for two of those, and
    /// none forbids by one: several permit what one of them does.
    pub(crate) fn verdict(&self, question: Question) -> Verdict {
        let alone = |role: Role| match question.class {
            Class::Program(_) => Class::Program(RoleSet::new(&[role])),
            _ => Class::User(RoleSet::new(&[role])),
        };
        let verdict = |question| self.look_up(question, |answer| answer.verdict);
        match question.class {
            Class::User(set) | Class::Program(set) if set.is_several() => {
                let of = |role| Question { class: alone(role), ..question };
                let is_permitted = set.iter().any(|role| verdict(of(role)) == Verdict::Permits);
                if is_permitted { Verdict::Permits } else { Verdict::Silent }
            }
            _ => verdict(question),
        }
    }

    /// The remembered answer of one role.
    pub(crate) fn answer(&self, question: Question) -> Answer {
        self.look_up(question, Answer::clone)
    }

    fn look_up<T>(&self, question: Question, take: impl FnOnce(&Answer) -> T) -> T {
        let Question { class, action, kind, in_scope, .. } = question;
        let slot = (class, action, kind, in_scope);
        if let Some(answer) = self.decisions.read().get(&slot) {
            return take(answer);
        }
        let answer = self.ask(question);
        let taken = take(&answer);
        self.decisions.write().insert(slot, answer);
        taken
    }

    /// Forgets every remembered answer, to measure what the first one costs.
    pub fn forget_decisions(&self) {
        self.decisions.write().clear();
    }

    /// How many answers are remembered.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.decisions.read().len()
    }

    /// One evaluation. A request that does not fit the schema (this action is not for that kind
    /// of actor or resource) and every error mean no.
    pub(crate) fn ask(&self, question: Question) -> Answer {
        self.try_ask(question).unwrap_or_else(Answer::silent)
    }

    fn try_ask(&self, question: Question) -> Option<Answer> {
        let (request, entities) = self.request(question)?;
        let response = self.cedar.is_authorized(&request, &self.embedded.policies, &entities);
        if response.diagnostics().errors().next().is_some() {
            return None;
        }
        let policies: Arc<[String]> = response
            .diagnostics()
            .reason()
            .filter_map(|id| self.embedded.policies.policy(id)?.annotation("id").map(str::to_owned))
            .collect();
        let verdict = match response.decision() {
            Decision::Allow => Verdict::Permits,
            Decision::Deny if policies.iter().any(|id| id == OWN_ROLE_DENIES) => Verdict::Denies,
            Decision::Deny => Verdict::Silent,
        };
        Some(Answer { verdict, policies })
    }

    fn request(&self, question: Question) -> Option<(Request, Entities)> {
        let Question { class, action, kind, .. } = question;
        let own = uid("Tenant", "own")?;
        let other = uid("Tenant", "other")?;
        let scope = uid("Scope", "held")?;
        let (principal, roles) = principal(class)?;
        let is_self = class == Class::Device { is_self: true };
        let owner = if question.same_tenant { &own } else { &other };
        let resource = match kind {
            Kind::Tenant => owner.clone(),
            Kind::Device if is_self => principal.clone(),
            _ => uid(kind.as_str(), "resource")?,
        };
        let parents: HashSet<EntityUid> =
            question.in_scope.then(|| scope.clone()).into_iter().collect();
        let tenant_parents = if kind == Kind::Tenant { parents.clone() } else { HashSet::new() };
        let mut entities = vec![Entity::new_no_attrs(scope.clone(), HashSet::new())];
        match kind {
            Kind::Tenant => {}
            Kind::Platform => entities.push(Entity::new_no_attrs(resource.clone(), parents)),
            _ if resource == principal => {}
            _ => entities.push(owned(resource.clone(), owner, parents)?),
        }
        entities.push(match class {
            Class::User(_) | Class::Program(_) => {
                holder(principal.clone(), (&own, &scope), roles, None)?
            }
            Class::OwnRole { allows, denies, .. } => {
                let lists = [allows, denies].map(|has| has.then_some(action));
                holder(principal.clone(), (&own, &scope), roles, Some(lists))?
            }
            Class::Device { .. } => owned(principal.clone(), &own, roles)?,
            Class::Support(areas) => support_session(principal.clone(), &own, areas, roles)?,
            _ => Entity::new_no_attrs(principal.clone(), roles),
        });
        entities.push(owned(own.clone(), &own, tenant_parents.clone())?);
        entities.push(owned(other.clone(), &other, tenant_parents)?);
        let entities = Entities::from_entities(entities, Some(&self.embedded.schema)).ok()?;
        let has_roles = matches!(class, Class::User(_) | Class::Program(_) | Class::OwnRole { .. });
        let name = action.as_str();
        let asked = [("action".to_owned(), RestrictedExpression::new_string(name.to_owned()))];
        let action = uid("Action", name)?;
        let make = |context| {
            let (principal, resource) = (principal.clone(), resource.clone());
            let schema = Some(&self.embedded.schema);
            Request::new(principal, action.clone(), resource, context, schema).ok()
        };
        // Which context an action takes is the schema's: those that people may do take its name.
        let request = match make(Context::from_pairs(asked).ok()?) {
            Some(request) => request,
            None if !has_roles => make(Context::empty())?,
            None => return None,
        };
        Some((request, entities))
    }
}

pub(crate) fn classify(actor: &Actor, resource: &Resource) -> Class {
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
        Class::OwnRole { is_program: false, .. } => (uid("User", "actor")?, HashSet::new()),
        Class::OwnRole { is_program: true, .. } => (uid("Program", "actor")?, HashSet::new()),
        Class::Support(_) => {
            (uid("SupportSession", "actor")?, roles(RoleSet::new(&[Role::Support]))?)
        }
        Class::Device { .. } => (uid("Device", "actor")?, HashSet::new()),
        Class::Job(name) => (uid("Job", name)?, HashSet::new()),
        Class::LocalOperator => (uid("LocalOperator", "actor")?, HashSet::new()),
        Class::Anonymous => (uid("Anonymous", "actor")?, HashSet::new()),
    })
}

/// Whoever holds roles: a person or program. `lists` is what a role of the tenant's own permits and
/// denies, as far as the action goes.
fn holder(
    uid: EntityUid,
    (tenant, scope): (&EntityUid, &EntityUid),
    roles: HashSet<EntityUid>,
    lists: Option<[Option<Action>; 2]>,
) -> Option<Entity> {
    let entity = |uid: &EntityUid| RestrictedExpression::new_entity_uid(uid.clone());
    let names = |action: Option<Action>| {
        let name = action.map(|action| action.as_str().to_owned());
        RestrictedExpression::new_set(name.into_iter().map(RestrictedExpression::new_string))
    };
    let mut attributes =
        HashMap::from([("tenant".to_owned(), entity(tenant)), ("scope".to_owned(), entity(scope))]);
    if let Some([allows, denies]) = lists {
        attributes.insert("allows".to_owned(), names(allows));
        attributes.insert("denies".to_owned(), names(denies));
    }
    Entity::new(uid, attributes, roles).ok()
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
    let Ok(embedded) = &*EMBEDDED else { return None };
    let kind = embedded.kinds.get(kind)?.clone();
    Some(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

#[cfg(test)]
mod tests;
