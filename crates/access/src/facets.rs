//! Several roles of one actor, each with its scope. Every grant is asked by itself, as a facet of
//! the actor; one that denies where the resource stands wins over all that permit; and whoever
//! made the actor has to be permitted the same.

use std::sync::Arc;

use veritwin_domain::{Actor, Facet, HeldRole, OpContext, Place, Scope, SiteId};

use crate::authorizer::{Answer, Class, Question, RoleSet, Verdict, classify};
use crate::{Action, Authorizer, Denied, Kind, Resource};

/// What one role says, for an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// It permits.
    Permits,
    /// It denies, whatever another one permits.
    Denies,
    /// It would permit, in another part of the tenant.
    PermitsElsewhere,
    /// It says nothing, which is no.
    Silent,
}

impl Says {
    /// The name used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Permits => "permits",
            Self::Denies => "denies",
            Self::PermitsElsewhere => "permits_elsewhere",
            Self::Silent => "silent",
        }
    }
}

/// One role of an actor with what it says.
#[derive(Debug, Clone)]
pub struct FacetSays {
    /// The role, the grant it came with, and its scope.
    pub facet: Facet,
    /// What it says.
    pub says: Says,
    /// The names of the policies that decided it.
    pub policies: Vec<String>,
    /// Whether it is the actor's own, or a right of whoever made the actor.
    pub is_bound: bool,
}

/// Why somebody may or may not do something.
#[derive(Debug, Clone)]
pub struct Explained {
    /// The decision.
    pub is_allowed: bool,
    /// Whether the resource is as good as not there for the actor.
    pub is_hidden: bool,
    /// Every role, with what it says.
    pub facets: Vec<FacetSays>,
}

/// Where an actor may do something: what a list shows is confined to it.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// Everything in all of these; none for everything.
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Default)]
struct Part {
    allowed: Vec<Arc<Scope>>,
    denied: Vec<Arc<Scope>>,
}

impl Part {
    fn is_whole(&self) -> bool {
        self.denied.is_empty() && self.allowed.iter().any(|scope| scope.is_whole())
    }

    fn covers(&self, place: Place<'_>) -> bool {
        self.allowed.iter().any(|scope| scope.covers(place))
            && !self.denied.iter().any(|scope| scope.covers(place))
    }
}

impl Reach {
    /// Nowhere.
    pub fn nowhere() -> Self {
        Self { parts: vec![Part::default()] }
    }

    /// Whether it is the whole tenant.
    pub fn is_whole(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether what stands at a place is in it.
    pub fn covers(&self, place: Place<'_>) -> bool {
        self.parts.iter().all(|part| part.covers(place))
    }

    /// Whether a whole twin is in it, with whatever stands there. Where anything is denied it is
    /// not: that may be a part of the twin.
    pub fn covers_whole_twin(&self, twin: SiteId) -> bool {
        let is_whole = |part: &Part| {
            part.denied.is_empty()
                && part.allowed.iter().any(|scope| scope.covers(Place::Twin(twin)))
        };
        self.parts.iter().all(is_whole)
    }
}

/// One role of an actor, ready to be asked.
struct Held<'a> {
    role: &'a HeldRole,
    is_program: bool,
}

impl Held<'_> {
    fn question(&self, action: Action, kind: Kind, in_scope: bool) -> Question {
        let class = match self.role {
            HeldRole::BuiltIn(role) => {
                let set = RoleSet::new(&[*role]);
                if self.is_program { Class::Program(set) } else { Class::User(set) }
            }
            HeldRole::Custom(role) => Class::OwnRole {
                is_program: self.is_program,
                allows: role.allows.contains(action.as_str()),
                denies: role.denies.contains(action.as_str()),
            },
        };
        Question { in_scope, ..Question::of(class, action, kind) }
    }
}

/// The outcome over several roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Permitted,
    /// Permitted or denied in a part of the tenant only: what stands elsewhere is hidden.
    Outside,
    Refused,
}

impl Authorizer {
    /// Decides over roles and grants; the error says whether the actor may do this elsewhere.
    pub(crate) fn decide_facets(
        &self,
        actor: &Actor,
        class: Class,
        action: Action,
        kind: Kind,
        covers: &dyn Fn(&Scope) -> bool,
    ) -> Result<(), bool> {
        let is_program = matches!(class, Class::Program(_));
        let base = self.verdict(Question::of(class, action, kind));
        let own = self.fold(base, &actor.rights.facets, is_program, action, kind, covers);
        let mut outcome = own;
        for bound in &actor.rights.bounds {
            // What bounds a program is a person, or a key that a person made.
            let bound = self.fold(Verdict::Silent, bound, false, action, kind, covers);
            outcome = match (outcome, bound) {
                (Outcome::Permitted, other) => other,
                (Outcome::Refused, _) | (_, Outcome::Refused) => Outcome::Refused,
                (Outcome::Outside, _) => Outcome::Outside,
            };
        }
        match outcome {
            Outcome::Permitted => Ok(()),
            Outcome::Outside => Err(true),
            Outcome::Refused => Err(false),
        }
    }

    fn fold(
        &self,
        base: Verdict,
        facets: &[Facet],
        is_program: bool,
        action: Action,
        kind: Kind,
        covers: &dyn Fn(&Scope) -> bool,
    ) -> Outcome {
        let (mut permitted, mut elsewhere) = (base == Verdict::Permits, false);
        for facet in facets {
            let held = Held { role: &facet.role, is_program };
            let in_scope = is_inside(kind, &facet.scope, covers);
            match self.verdict(held.question(action, kind, in_scope)) {
                Verdict::Denies if facet.scope.is_whole() => return Outcome::Refused,
                Verdict::Denies => return Outcome::Outside,
                Verdict::Permits => permitted = true,
                Verdict::Silent => {
                    elsewhere |= !in_scope
                        && self.verdict(held.question(action, kind, true)) == Verdict::Permits;
                }
            }
        }
        match (permitted, elsewhere && kind.has_places()) {
            (true, _) => Outcome::Permitted,
            (false, true) => Outcome::Outside,
            (false, false) => Outcome::Refused,
        }
    }

    /// Where the actor may do something: one decision for a whole list. Refused when it may
    /// nowhere.
    pub fn reach(&self, context: &OpContext, action: Action, kind: Kind) -> Result<Reach, Denied> {
        let denied = Denied { hidden: false, action };
        let resource = Resource::all(context.tenant, kind);
        let actor = &context.actor;
        if !actor.rights.is_confined() {
            return self.check(context, action, &resource).map(|()| Reach::default());
        }
        let class = classify(actor, &resource);
        let is_program = matches!(class, Class::Program(_));
        let base = self.verdict(Question::of(class, action, kind)) == Verdict::Permits;
        let mut parts = vec![self.part(base, &actor.rights.facets, is_program, action, kind)];
        for bound in &actor.rights.bounds {
            parts.push(self.part(false, bound, false, action, kind));
        }
        if parts
            .iter()
            .any(|part| part.allowed.is_empty() || part.denied.iter().any(|scope| scope.is_whole()))
        {
            return Err(denied);
        }
        parts.retain(|part| !part.is_whole());
        Ok(Reach { parts })
    }

    fn part(
        &self,
        is_whole: bool,
        facets: &[Facet],
        is_program: bool,
        action: Action,
        kind: Kind,
    ) -> Part {
        let mut part = Part::default();
        if is_whole {
            part.allowed.push(Arc::new(Scope::whole()));
        }
        for facet in facets {
            let held = Held { role: &facet.role, is_program };
            match self.verdict(held.question(action, kind, true)) {
                Verdict::Permits => part.allowed.push(Arc::clone(&facet.scope)),
                Verdict::Denies => part.denied.push(Arc::clone(&facet.scope)),
                Verdict::Silent => {}
            }
        }
        part
    }

    /// Says of every role of the actor what it says to an action at a place, and by which policy.
    pub fn explain(
        &self,
        context: &OpContext,
        action: Action,
        resource: &Resource,
        place: Place<'_>,
    ) -> Explained {
        let decision = self.check_at(context, action, resource, place);
        let actor = &context.actor;
        let is_program = matches!(classify(actor, resource), Class::Program(_));
        let kind = resource.kind();
        let roles: Vec<Facet> = actor.roles.iter().copied().map(Facet::whole).collect();
        let say = |facet: &Facet, is_program: bool, is_bound: bool| {
            let held = Held { role: &facet.role, is_program };
            let in_scope = is_inside(kind, &facet.scope, &|scope| scope.covers(place));
            let Answer { verdict, policies } = self.answer(held.question(action, kind, in_scope));
            let elsewhere =
                || !in_scope && self.verdict(held.question(action, kind, true)) == Verdict::Permits;
            let says = match verdict {
                Verdict::Permits => Says::Permits,
                Verdict::Denies => Says::Denies,
                Verdict::Silent if elsewhere() => Says::PermitsElsewhere,
                Verdict::Silent => Says::Silent,
            };
            FacetSays { facet: facet.clone(), says, policies: policies.to_vec(), is_bound }
        };
        let own = roles.iter().chain(&actor.rights.facets);
        let mut facets: Vec<FacetSays> = own.map(|facet| say(facet, is_program, false)).collect();
        let bounds = actor.rights.bounds.iter().flatten();
        facets.extend(bounds.map(|facet| say(facet, false, true)));
        Explained {
            is_allowed: decision.is_ok(),
            is_hidden: decision.is_err_and(|denied| denied.hidden),
            facets,
        }
    }

    /// Everything that a role permits somebody over its own scope.
    pub fn permitted_by(&self, role: &HeldRole) -> Vec<Action> {
        let inside = |action: &Action| action.kind() != Kind::Session;
        let permits = |action: &Action| self.role_permits(role, *action, false);
        Action::ALL.iter().copied().filter(inside).filter(permits).collect()
    }

    /// Whether a role permits an action over its own scope, to a person or to a program.
    pub fn role_permits(&self, role: &HeldRole, action: Action, is_program: bool) -> bool {
        let held = Held { role, is_program };
        self.verdict(held.question(action, action.kind(), true)) == Verdict::Permits
    }
}

/// A session is its holder's own, wherever their rights are.
fn is_inside(kind: Kind, scope: &Scope, covers: &dyn Fn(&Scope) -> bool) -> bool {
    kind == Kind::Session || scope.is_whole() || covers(scope)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use veritwin_domain::{Branch, CustomRole, CustomRoleId, Role, ScopeOf};

    use super::*;

    /// As many roles as a tenant may have and more, of which some permit everything, some deny it.
    #[test]
    fn what_is_remembered_does_not_grow_with_the_roles_of_tenants() {
        let authorizer = Authorizer::new().expect("policies");
        let names = |all: bool| Action::ALL.iter().filter(move |_| all).map(|one| one.to_string());
        let facet = |number: u8| {
            let role = CustomRole {
                id: CustomRoleId::from_bytes([number; 16]),
                version: number.into(),
                allows: names(number & 1 != 0).collect(),
                denies: names(number & 2 != 0).collect(),
            };
            Facet { role: HeldRole::Custom(Arc::new(role)), ..Facet::whole(Role::Viewer) }
        };
        let ask = |facets: &[Facet]| {
            for action in Action::ALL {
                authorizer.part(false, facets, false, *action, action.kind());
            }
            authorizer.remembered()
        };
        let of_four = ask(&(0..4).map(facet).collect::<Vec<_>>());
        assert_eq!(of_four, 4 * Action::ALL.len());
        assert_eq!(ask(&(4..204).map(facet).collect::<Vec<_>>()), of_four);
    }

    #[test]
    fn a_whole_twin_is_covered_only_where_nothing_is_denied() {
        type Scopes = Vec<Arc<Scope>>;
        let twin = SiteId::from_bytes([1; 16]);
        let scope = |twins: &[SiteId], branch: Option<Branch>| {
            let (of, devices) = (ScopeOf::Twin { twin, node: None }, HashSet::new());
            Arc::new(Scope { of, devices, twins: twins.iter().copied().collect(), branch })
        };
        let whole = || Arc::new(Scope::whole());
        let of_twin = || scope(&[twin], None);
        let of_branch = || scope(&[], Some(Branch { twin, nodes: HashSet::new() }));
        let check = |parts: Vec<(Scopes, Scopes)>, expect: bool| {
            let parts = parts.into_iter().map(|(allowed, denied)| Part { allowed, denied });
            let reach = Reach { parts: parts.collect() };
            assert_eq!(reach.covers_whole_twin(twin), expect, "{reach:?}");
        };
        check(vec![], true);
        check(vec![(vec![of_twin()], vec![])], true);
        check(vec![(vec![of_branch()], vec![])], false);
        check(vec![(vec![of_branch(), whole()], vec![])], true);
        check(vec![(vec![of_twin()], vec![of_branch()])], false);
        check(vec![(vec![whole()], vec![]), (vec![of_branch()], vec![])], false);
        check(vec![(vec![scope(&[], None)], vec![])], false);
    }
}
