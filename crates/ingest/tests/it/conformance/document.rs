//! `docs/reference/mqtt-conformance.md` is held to the cases: it has a row for every statement of
//! both standards, calls tested what a case or a named test shows, and counts right.

use std::collections::{BTreeMap, BTreeSet};

const DOCUMENT: &str = include_str!("../../../../../docs/reference/mqtt-conformance.md");

/// The tests that a row may name beside the cases.
const SOURCES: [(&str, &str); 5] = [
    ("conformance", include_str!("mod.rs")),
    ("mqtt", include_str!("../mqtt.rs")),
    ("mqtt_malformed", include_str!("../mqtt_malformed.rs")),
    ("mqtt_websocket", include_str!("../../../../server/tests/it/mqtt_websocket.rs")),
    ("topic", include_str!("../../../src/mqtt/topic.rs")),
];

const STATES: [&str; 5] = ["tested", "elsewhere", "client", "not applicable", "not yet"];

/// Sections of the standards, and the first and last statement of each.
const VERSION_5: [(&str, u32, u32); 56] = [
    ("1.5.4", 1, 3),
    ("1.5.5", 1, 1),
    ("1.5.7", 1, 1),
    ("2.1.3", 1, 1),
    ("2.2.1", 2, 6),
    ("2.2.2", 1, 1),
    ("3.1.0", 1, 2),
    ("3.1.2", 1, 30),
    ("3.1.3", 1, 12),
    ("3.1.4", 1, 6),
    ("3.2.0", 1, 2),
    ("3.2.2", 1, 22),
    ("3.3.1", 1, 13),
    ("3.3.2", 1, 20),
    ("3.3.4", 1, 10),
    ("3.4.2", 1, 3),
    ("3.5.2", 1, 3),
    ("3.6.1", 1, 1),
    ("3.6.2", 1, 3),
    ("3.7.2", 1, 3),
    ("3.8.1", 1, 1),
    ("3.8.3", 1, 5),
    ("3.8.4", 1, 8),
    ("3.9.2", 1, 2),
    ("3.9.3", 1, 2),
    ("3.10.1", 1, 1),
    ("3.10.3", 1, 2),
    ("3.10.4", 1, 6),
    ("3.11.2", 1, 2),
    ("3.11.3", 1, 2),
    ("3.12.4", 1, 1),
    ("3.14.0", 1, 1),
    ("3.14.1", 1, 1),
    ("3.14.2", 1, 4),
    ("3.14.4", 1, 3),
    ("3.15.1", 1, 1),
    ("3.15.2", 1, 3),
    ("4.1.0", 1, 2),
    ("4.2.0", 1, 1),
    ("4.3.1", 1, 1),
    ("4.3.2", 1, 5),
    ("4.3.3", 1, 13),
    ("4.4.0", 1, 2),
    ("4.5.0", 1, 2),
    ("4.6.0", 1, 6),
    ("4.7.0", 1, 1),
    ("4.7.1", 1, 2),
    ("4.7.2", 1, 1),
    ("4.7.3", 1, 4),
    ("4.8.2", 1, 6),
    ("4.9.0", 1, 3),
    ("4.12.0", 1, 7),
    ("4.12.1", 1, 2),
    ("4.13.1", 1, 1),
    ("4.13.2", 1, 1),
    ("6.0.0", 1, 4),
];
const VERSION_3: [(&str, u32, u32); 40] = [
    ("1.5.3", 1, 3),
    ("2.2.2", 1, 2),
    ("2.3.1", 1, 7),
    ("3.1.0", 1, 2),
    ("3.1.2", 1, 24),
    ("3.1.3", 1, 11),
    ("3.1.4", 1, 5),
    ("3.2.0", 1, 1),
    ("3.2.2", 1, 6),
    ("3.3.1", 1, 12),
    ("3.3.2", 1, 3),
    ("3.3.4", 1, 1),
    ("3.3.5", 1, 2),
    ("3.6.1", 1, 1),
    ("3.8.1", 1, 1),
    ("3.8.3", 1, 3),
    // Printed so in the standard.
    ("3-8.3", 4, 4),
    ("3.8.4", 1, 6),
    ("3.9.3", 1, 2),
    ("3.10.1", 1, 1),
    ("3.10.3", 1, 2),
    ("3.10.4", 1, 6),
    ("3.12.4", 1, 1),
    ("3.14.1", 1, 1),
    ("3.14.4", 1, 3),
    ("4.1.0", 1, 2),
    ("4.3.1", 1, 1),
    ("4.3.2", 1, 2),
    ("4.3.3", 1, 2),
    ("4.4.0", 1, 1),
    ("4.5.0", 1, 2),
    ("4.6.0", 1, 6),
    ("4.7.1", 1, 3),
    ("4.7.2", 1, 1),
    ("4.7.3", 1, 4),
    ("4.8.0", 1, 2),
    ("6.0.0", 1, 4),
    ("7.0.0", 1, 2),
    ("7.1.1", 1, 1),
    ("7.1.2", 1, 1),
];

struct Row {
    state: &'static str,
    note: &'static str,
}

/// The rows of a level's section, by the statement's number.
fn rows(level: u8) -> BTreeMap<&'static str, Row> {
    let title = if level == 5 { "## MQTT 5.0" } else { "## MQTT 3.1.1" };
    let section = DOCUMENT.split_once(title).expect(title).1;
    let section = section.split_once("\n## ").map_or(section, |(this, _)| this);
    let mut rows = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with("| MQTT-")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", number, asks, state, note, ""] = cells[..] else { panic!("{line}") };
        assert!(!asks.is_empty(), "{line}");
        assert!(STATES.contains(&state), "{line}");
        assert!(state == "tested" || !note.is_empty(), "a reason: {line}");
        let number = number.trim_start_matches("MQTT-");
        assert!(rows.insert(number, Row { state, note }).is_none(), "twice: {line}");
    }
    rows
}

fn statements(level: u8) -> BTreeSet<String> {
    let sections = match level {
        5 => &VERSION_5[..],
        _ => &VERSION_3[..],
    };
    let of = |(section, first, last): &(&'static str, u32, u32)| {
        let section = *section;
        (*first..=*last).map(move |number| format!("{section}-{number}"))
    };
    sections.iter().flat_map(of).collect()
}

#[test]
fn every_statement_has_a_row() {
    for level in [5, 4] {
        let found: BTreeSet<String> = rows(level).keys().map(|key| (*key).to_owned()).collect();
        let expected = statements(level);
        let missing: Vec<_> = expected.difference(&found).collect();
        let unknown: Vec<_> = found.difference(&expected).collect();
        assert!(missing.is_empty() && unknown.is_empty(), "{level}: {missing:?} {unknown:?}");
    }
}

#[test]
fn what_is_called_tested_is_and_nothing_else() {
    for level in [5, 4] {
        let tested: BTreeSet<&str> = rows(level)
            .into_iter()
            .filter(|(_, row)| row.state == "tested")
            .map(|(number, _)| number)
            .collect();
        let shown = super::shown(level);
        let only_said: Vec<_> = tested.difference(&shown).collect();
        let only_shown: Vec<_> = shown.difference(&tested).collect();
        assert!(only_said.is_empty(), "{level}: no case shows {only_said:?}");
        assert!(only_shown.is_empty(), "{level}: a case shows {only_shown:?}");
    }
}

#[test]
fn tests_that_are_named_exist() {
    for row in [5, 4].into_iter().flat_map(|level| rows(level).into_values()) {
        if row.state != "elsewhere" {
            continue;
        }
        let name = row.note.split('`').nth(1).expect(row.note);
        let (file, test) = name.split_once("::").expect(name);
        let source = SOURCES.iter().find(|(known, _)| *known == file).expect(name).1;
        assert!(source.contains(&format!("fn {test}(")), "{name}");
    }
}

#[test]
fn the_totals_are_right() {
    for level in [5, 4] {
        let rows = rows(level);
        let count = |state: &str| rows.values().filter(|row| row.state == state).count();
        let [tested, elsewhere, client, not_applicable, not_yet] = STATES.map(count);
        let expect = format!(
            "{} statements: {tested} tested by a case, {elsewhere} by another test, {client} of \
             clients only, {not_applicable} not applicable, {not_yet} not yet.",
            rows.len()
        );
        assert!(DOCUMENT.contains(&expect), "expected: {expect}");
    }
}
