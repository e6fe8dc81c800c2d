//! The matrix as a snapshot: every change of a policy shows here.

use veritwin_access::{Action, Authorizer};

#[test]
fn who_may_do_what() {
    let matrix = Authorizer::new().expect("policies").matrix();
    insta::assert_snapshot!(matrix.to_string());
}

#[test]
fn every_action_is_open_to_somebody() {
    let matrix = Authorizer::new().expect("policies").matrix();
    for row in &matrix.rows {
        assert!(!row.allowed.is_empty(), "{} is open to nobody", row.action);
    }
}

#[test]
fn action_names_are_unique_and_round_trip() {
    for action in Action::ALL {
        assert_eq!(action.as_str().parse(), Ok(*action));
    }
}
