//! No store is forgotten, and no sealed body of one in which nothing is said to be of a person.

use std::collections::{BTreeMap, BTreeSet};

use veritwin_metastore::PERSON_COLUMNS;
use veritwin_metastore::schema::{Category, ColumnKind, columns};

use super::{Assembler, Eraser, STORES};

/// Each table with a sealed body whose store assembles nothing: what stands in the body, and why
/// nobody's address or name is looked for in it. Read the stored form before you add one.
const SEALED: &[(&str, &str)] = &[
    ("acme_accounts", "the platform's own credentials at an authority for certificates"),
    ("brand_hosts", "host names of organisations"),
    ("brands", "an organisation's name, colours and logo"),
    ("credentials", "digests of devices' secrets, and facts of their certificates"),
    ("custom_roles", "names of roles and what they may"),
    ("destructions", "a person by name is in what an officer asked for: a signed proof of that"),
    ("device_authorities", "certificates of makers and organisations"),
    ("device_connections", "when a device came, and from which network"),
    ("device_groups", "names of groups of devices"),
    ("device_profile_versions", "keys, units and programs of a kind of device"),
    ("device_profiles", "the name of a kind of device"),
    ("devices", "names, kinds and places of devices"),
    ("edge_keys", "names and digests of devices' keys"),
    ("host_certificates", "certificates of host names"),
    ("host_orders", "host names that a certificate is ordered for"),
    ("idempotency_keys", "answers for whoever repeats a request, for a short time"),
    ("identity_providers", "addresses and credentials of an organisation's provider"),
    ("import_refusals", "what is wrong with a row of a file of readings"),
    ("imports", "a file's name and the plan of its columns; its author by id"),
    ("ledger_items", "digests, ids and words of closed lists"),
    ("ledger_kept", "what opens such a record once it is sealed"),
    ("ledger_mailings", "to whom checkpoints go, by the id of an account or destination"),
    ("ledger_published", "checkpoints with their countersignatures"),
    ("legal_versions", "the platform's own texts"),
    ("packages", "names and digests of programs for devices"),
    ("plans", "names and bounds of plans"),
    ("platform_settings", "the platform's own keys and counters"),
    ("promise_evidence", "what checks found, of nobody's data"),
    ("provision_profiles", "names and bounds of profiles by which devices come in"),
    ("rights_mailboxes", "the organisation's own mailbox for requests"),
    ("route_destinations", "places of an organisation, and people by the id of their account"),
    ("route_messages", "readings on their way to a destination"),
    ("route_rules", "what of devices' messages is sent on"),
    ("settings", "bounds, keys and counters; people by the id of their account"),
    ("tenant_domains", "domains of organisations"),
    ("tenant_ends", "why an organisation ends; people by the id of their account"),
    ("tenants", "an organisation's name"),
    ("twins", "names of buildings and what was read of their models"),
    ("workspaces", "names of parts of an organisation"),
];

fn assembles_nothing(table: &str) -> bool {
    let store = STORES.iter().find(|store| store.tables.contains(&table));
    store.is_some_and(|store| matches!(store.assembler, Assembler::Nothing(_)))
}

#[test]
fn a_sealed_body_without_an_assembler_has_a_reason_of_its_own() {
    let sealed = columns().into_iter().filter(|column| column.kind == ColumnKind::Sealed);
    let lacking: BTreeSet<&str> =
        sealed.map(|column| column.table).filter(|table| assembles_nothing(table)).collect();
    let reasons: BTreeSet<&str> = SEALED.iter().map(|(table, _)| *table).collect();
    assert_eq!(reasons.len(), SEALED.len(), "a table is named twice");
    let unsaid: Vec<_> = lacking.difference(&reasons).collect();
    assert!(unsaid.is_empty(), "{unsaid:?}: who assembles and erases them, or why nobody?");
    let gone: Vec<_> = reasons.difference(&lacking).collect();
    assert!(gone.is_empty(), "{gone:?}: there is an assembler, or nothing is sealed");
    assert!(SEALED.iter().all(|(_, why)| !why.is_empty()));
}

#[test]
fn every_table_has_an_assembler_and_an_eraser() {
    let mut named: BTreeMap<&str, &str> = BTreeMap::new();
    for store in STORES {
        for table in store.tables {
            assert_eq!(named.insert(table, store.name), None, "{table} is named twice");
        }
    }
    for column in columns() {
        let table = column.table;
        let Some(name) = named.get(table) else {
            panic!("table {table}: say in subject::STORES who assembles and who erases it")
        };
        let store = STORES.iter().find(|store| store.name == *name).expect("a store");
        let is_nothing = matches!(store.assembler, Assembler::Nothing(_));
        let is_of_account =
            matches!(column.category, Category::Account) && !matches!(table, "custom_roles");
        let names_person = PERSON_COLUMNS.contains(&column.column);
        assert!(
            !(is_nothing && (is_of_account || names_person)),
            "table {table}, column {}: it is about people",
            column.column
        );
    }
    let known: Vec<&str> = columns().iter().map(|column| column.table).collect();
    for table in named.keys() {
        assert!(known.contains(table), "there is no table {table}");
    }
}

#[test]
fn what_is_assembled_is_erased_or_stays_with_a_reason() {
    for store in STORES {
        let is_assembled = !matches!(store.assembler, Assembler::Nothing(_));
        let is_left = matches!(store.eraser, Eraser::Nothing);
        assert!(!(is_assembled && is_left), "{}: nobody erases it", store.name);
    }
}
