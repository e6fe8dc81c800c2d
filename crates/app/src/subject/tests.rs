//! No store is forgotten.

use std::collections::BTreeMap;

use veritwin_metastore::PERSON_COLUMNS;
use veritwin_metastore::schema::{Category, columns};

use super::{Assembler, Eraser, STORES};

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
