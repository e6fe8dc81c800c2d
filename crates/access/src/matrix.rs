//! The whole of who may do what, read out of the policies: for the printed document, the promise
//! check and the test that shows every change. It decides nothing.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use veritwin_domain::{Role, SupportArea, SupportAreas};

use crate::authorizer::{Class, Question, RoleSet, Verdict};
use crate::{Action, Authorizer, Kind, jobs};

const DOCUMENT_HEAD: &str = "\
# Roles

Who may do what. Printed from the policies in `crates/access/policies` by \
`VERITWIN_WRITE_DOCUMENTS=1 cargo test -p veritwin-access`; a test fails when this file is out of \
date, and another asks every endpoint with every role. See [access](../concepts/access.md).

`yes`: people and API keys with this role. `people`: people only; an API key does this only where \
a role of the tenant's own says so. Empty: no. `support` may do nothing without a grant.

";

/// One action with every actor that may do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixRow {
    /// The action.
    pub action: Action,
    /// The names of the actors it is allowed to, in the order of [`Matrix::actors`].
    pub allowed: Vec<String>,
}

/// Action by actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    /// Every kind of actor: roles, programs with a role, support with an area, a device on itself,
    /// jobs, the local operator, the anonymous.
    pub actors: Vec<String>,
    /// One row per action, in the order of [`Action::ALL`].
    pub rows: Vec<MatrixRow>,
}

impl Authorizer {
    /// The matrix as the policies give it. An action that is done to the platform as well as to
    /// a tenant's view counts as allowed when either is.
    pub fn matrix(&self) -> Matrix {
        let classes = classes();
        let row = |action: &Action| {
            let may = |class: &Class| {
                let kinds = [action.kind(), Kind::Platform];
                kinds.into_iter().any(|kind| self.permits(*class, *action, kind))
            };
            let allowed =
                classes.iter().filter(|(_, class)| may(class)).map(|(name, _)| name.clone());
            MatrixRow { action: *action, allowed: allowed.collect() }
        };
        let rows = Action::ALL.iter().map(row).collect();
        Matrix { actors: classes.into_iter().map(|(name, _)| name).collect(), rows }
    }
}

impl Authorizer {
    fn permits(&self, class: Class, action: Action, kind: Kind) -> bool {
        self.verdict(Question::of(class, action, kind)) == Verdict::Permits
    }

    /// What a built-in role lets a person do in its tenant, or a program.
    pub fn permitted(&self, role: Role, is_program: bool) -> BTreeSet<Action> {
        let set = RoleSet::new(&[role]);
        let class = if is_program { Class::Program(set) } else { Class::User(set) };
        let all = Action::ALL.iter().copied();
        all.filter(|action| self.permits(class, *action, action.kind())).collect()
    }

    /// What a role of a tenant's own may permit or deny: whatever an owner may do, but making
    /// owners, saying which provider speaks for them, and what everybody does with their own
    /// session.
    pub fn grantable(&self) -> BTreeSet<Action> {
        let mut actions = self.permitted(Role::Owner, false);
        let is_owners = [Action::OwnerAppoint, Action::IdentityProviderWrite];
        actions.retain(|action| !is_owners.contains(action) && action.kind() != Kind::Session);
        actions
    }

    /// The matrix of the built-in roles as a document.
    pub fn roles_document(&self) -> String {
        let mut text = String::from(DOCUMENT_HEAD);
        let names = Role::ALL.map(|role| role.to_string().replace('_', " "));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| action | {} |", names.join(" | "));
        let _ = writeln!(text, "|---|{}", "---|".repeat(names.len()));
        let held = Role::ALL.map(|role| (self.permitted(role, false), self.permitted(role, true)));
        for action in Action::ALL {
            if held
                .iter()
                .all(|(person, program)| !person.contains(action) && !program.contains(action))
            {
                continue;
            }
            let cell = |(person, program): &(BTreeSet<Action>, BTreeSet<Action>)| match (
                person.contains(action),
                program.contains(action),
            ) {
                (true, true) => "yes",
                (true, false) => "people",
                (false, true) => "keys",
                (false, false) => "",
            };
            let cells: Vec<&str> = held.iter().map(cell).collect();
            let _ = writeln!(text, "| `{action}` | {} |", cells.join(" | "));
        }
        text
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            writeln!(f, "{:<24} {}", row.action.as_str(), row.allowed.join(", "))?;
        }
        Ok(())
    }
}

fn classes() -> Vec<(String, Class)> {
    let mut classes = vec![("no role".to_owned(), Class::User(RoleSet::default()))];
    for role in Role::ALL {
        classes.push((role.to_string(), Class::User(RoleSet::new(&[role]))));
    }
    for role in Role::ALL {
        classes.push((format!("api key ({role})"), Class::Program(RoleSet::new(&[role]))));
    }
    for area in SupportArea::ALL {
        classes.push((format!("support ({area})"), Class::Support(SupportAreas::of(&[area]))));
    }
    classes.push(("device on itself".to_owned(), Class::Device { is_self: true }));
    classes.push(("device on others".to_owned(), Class::Device { is_self: false }));
    classes.extend(jobs::ALL.map(|name| (format!("job {name}"), Class::Job(name))));
    classes.push(("local operator".to_owned(), Class::LocalOperator));
    classes.push(("anonymous".to_owned(), Class::Anonymous));
    classes
}
