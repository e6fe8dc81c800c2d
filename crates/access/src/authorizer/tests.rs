//! That the policies are what the authorizer takes them for.

use cedar_policy::{Effect, ValidationMode, Validator};

use super::*;

/// Strictly: a misspelt action or an attribute that does not exist is an error here.
#[test]
fn each_policy_fits_the_schema() {
    let Embedded { schema, policies, .. } = Embedded::parse().expect("policies");
    let checked = Validator::new(schema).validate(&policies, ValidationMode::Strict);
    let errors: Vec<_> = checked.validation_errors().map(ToString::to_string).collect();
    assert!(checked.validation_passed(), "{}", errors.join("; "));
}

#[test]
fn the_policies_themselves_keep_tenants_apart() {
    let authorizer = Authorizer::new().expect("policies");
    let everything = RoleSet::new(&Role::ALL);
    let open = SupportAreas::of(&veritwin_domain::SupportArea::ALL);
    for class in [Class::User(everything), Class::Program(everything), Class::Support(open)] {
        for action in Action::ALL {
            if action.kind() != Kind::Platform {
                let question =
                    Question { same_tenant: false, ..Question::of(class, *action, action.kind()) };
                let verdict = authorizer.ask(question).verdict;
                assert_ne!(verdict, Verdict::Permits, "{action}");
            }
        }
    }
    let own = Question::of(Class::User(everything), Action::TwinRead, Kind::Twin);
    assert_eq!(authorizer.ask(own).verdict, Verdict::Permits);
}

#[test]
fn roles_together_permit_what_one_of_them_does() {
    let Embedded { policies, .. } = Embedded::parse().expect("policies");
    let forbids = policies.policies().filter(|one| one.effect() == Effect::Forbid);
    let mut forbids: Vec<_> = forbids.filter_map(|one| one.annotation("id")).collect();
    forbids.sort_unstable();
    assert_eq!(forbids, ["isolation.device", "isolation.tenant", "own-role.denies", "scope"]);
    let authorizer = Authorizer::new().expect("policies");
    for roles in [
        &Role::ALL[..],
        &[Role::Viewer, Role::Auditor],
        &[Role::Analyst, Role::PrivacyOfficer, Role::SecurityLead, Role::Integrator],
    ] {
        let set = RoleSet::new(roles);
        for class in [Class::User(set), Class::Program(set)] {
            for action in Action::ALL {
                let question = Question::of(class, *action, action.kind());
                let together = authorizer.ask(question).verdict;
                assert_eq!(authorizer.verdict(question), together, "{roles:?} {action}");
            }
        }
    }
    // Whatever roles somebody has together, there is as much to remember.
    assert!(authorizer.remembered() <= 2 * Role::ALL.len() * Action::ALL.len());
}

/// That a role of a tenant's own can be asked about with the one action alone.
#[test]
fn of_what_a_role_permits_and_denies_only_the_action_asked_for_counts() {
    for list in ["allows", "denies"] {
        let read = format!("principal.{list}");
        let asked = format!("{read}.contains(context.action)");
        let count = |text: &str| {
            POLICIES.iter().map(|policies| policies.matches(text).count()).sum::<usize>()
        };
        assert_eq!((count(&read), count(&asked)), (1, 1), "{list}");
    }
}
