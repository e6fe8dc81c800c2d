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

/// The document is written by `VERITWIN_WRITE_DOCUMENTS=1 cargo test -p veritwin-access`.
#[test]
fn the_printed_matrix_is_what_the_policies_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/roles.md");
    let document = Authorizer::new().expect("policies").roles_document();
    if std::env::var_os("VERITWIN_WRITE_DOCUMENTS").is_some() {
        std::fs::write(path, &document).expect("the document is written");
    }
    let printed = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(printed, document, "docs/reference/roles.md is out of date");
}
