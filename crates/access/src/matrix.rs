//! The whole of who may do what, read out of the policies: for the printed document, the promise
//! check and the test that shows every change. It decides nothing.

use std::fmt;

use veritwin_domain::{Role, SupportArea, SupportAreas};

use crate::authorizer::{Class, RoleSet};
use crate::{Action, Authorizer, Kind, jobs};

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
                self.permits(*class, *action, action.kind())
                    || self.permits(*class, *action, Kind::Platform)
            };
            let allowed =
                classes.iter().filter(|(_, class)| may(class)).map(|(name, _)| name.clone());
            MatrixRow { action: *action, allowed: allowed.collect() }
        };
        let rows = Action::ALL.iter().map(row).collect();
        Matrix { actors: classes.into_iter().map(|(name, _)| name).collect(), rows }
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
