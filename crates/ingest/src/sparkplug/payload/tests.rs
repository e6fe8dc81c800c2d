//! Payloads of every shape: bounds, what is whole, what must not be kept, and bytes at random.

use super::super::wire::Writer;
use super::*;

fn message(field: u64, content: &[u8]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.bytes(field, content);
    writer.finish()
}

/// A payload with one metric, whose value is this field.
fn with(field: u64, content: &[u8]) -> Vec<u8> {
    message(2, &message(field, content))
}

fn fault(bytes: &[u8]) -> (usize, String) {
    let error = read(bytes, Screening::ALL).expect_err("refused");
    let name = error.limit.as_ref().map(|limit| limit.name.to_owned());
    (error.position, name.unwrap_or_else(|| error.detail.into_owned()))
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| {
        let template = (1..depth).fold(Vec::new(), |inner, _| message(2, &message(18, &inner)));
        with(18, &template)
    };
    assert!(read(&nested(NESTING_MAX), Screening::ALL).is_ok());
    assert_eq!(fault(&nested(NESTING_MAX + 1)).1, "sparkplug_nesting_max");
    let sets = (0..=NESTING_MAX)
        .fold(Vec::new(), |inner, _| [message(1, b"k"), message(2, &message(9, &inner))].concat());
    assert_eq!(fault(&with(9, &sets)).1, "sparkplug_nesting_max");
}

#[test]
fn parts_are_bounded() {
    let metric = message(2, b"");
    assert!(read(&metric.repeat(PARTS_MAX), Screening::ALL).is_ok());
    let (position, limit) = fault(&metric.repeat(PARTS_MAX + 1));
    assert_eq!((position, &*limit), (PARTS_MAX * metric.len(), "sparkplug_parts_max"));
    let types = [0x1a_u8, 3, 1, 1, 1].repeat(PARTS_MAX);
    assert_eq!(fault(&with(17, &types)).1, "sparkplug_parts_max");
}

#[test]
fn tables_and_property_sets_are_whole() {
    let cell = message(1, &[0x08, 7]);
    let row = message(4, &cell);
    let table = |parts: &[&[u8]]| with(17, &parts.concat());
    let column = message(2, b"a");
    let good = table(&[&[0x08, 1], &column, &[0x18, 3], &row, &row]);
    let found = read(&good, Screening::ALL).expect("whole");
    let Raw::DataSet(set) = &found.metrics[0].value else { panic!("no data set") };
    assert_eq!((set.columns.len(), set.rows.len()), (1, 2));
    assert_eq!(set.rows[0], [Raw::Number(7)]);
    for bad in [
        table(&[&[0x08, 2], &column, &[0x18, 3], &row]),
        table(&[&column, &row]),
        table(&[&column, &[0x18, 3], &message(4, &[cell.clone(), cell.clone()].concat())]),
    ] {
        assert!(fault(&bad).1.contains("a data set"), "{bad:02x?}");
    }
    assert!(fault(&with(9, &message(1, b"k"))).1.contains("as many values as keys"));
}

#[test]
fn whatever_comes_is_read_or_refused_with_its_byte() {
    let cell = message(1, &[0x08, 7]);
    let table = [message(2, b"a"), vec![0x18, 3], message(4, &cell)].concat();
    let property = [message(1, b"k"), message(2, &message(8, b"text"))].concat();
    let metric = [message(1, b"name"), message(9, &property), message(17, &table)].concat();
    let good = [vec![0x08, 5], message(2, &metric), vec![0x18, 1]].concat();
    assert!(read(&good, Screening::ALL).is_ok());
    let check = |bytes: &[u8]| {
        if let Err(error) = read(bytes, Screening::ALL) {
            assert!(error.position <= bytes.len(), "{bytes:02x?}: {error}");
        }
    };
    for end in 0..good.len() {
        check(&good[..end]);
    }
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            check(&bad);
        }
    }
}

#[test]
fn quality_and_unit_are_made_use_of() {
    let property = |key: &[u8], value: &[u8]| [message(1, key), message(2, value)].concat();
    let unit = property(b"engUnit", &message(8, "°C".as_bytes()));
    let quality = property(b"Quality", &[0x18, 0xc0, 1]);
    let bytes = with(9, &[unit, quality].concat());
    let found = read(&bytes, Screening::ALL).expect("well formed");
    let expect = Properties { quality: Some(192), unit: Some("°C") };
    assert_eq!(found.metrics[0].properties, expect);
}

#[test]
fn nothing_that_must_not_be_kept_is_inside() {
    let named = |name: &[u8], value: &[u8]| [message(1, name), value.to_vec()].concat();
    let text = |field: u64| message(field, b"4111 1111 1111 1111");
    let is_null = [0x38u8, 1];
    let in_template = |part: u64, content: &[u8]| with(18, &message(part, content));
    let inside: [(&str, Vec<u8>); 8] = [
        ("a metric of a template", in_template(2, &named(b"religion", &[0x50, 1]))),
        ("its text", in_template(2, &named(b"note", &text(15)))),
        ("a parameter", in_template(3, &named(b"religion", &[0x18, 1]))),
        ("its text", in_template(3, &named(b"note", &text(8)))),
        ("a column", with(17, &[message(2, b"religion"), vec![0x18, 3]].concat())),
        (
            "a cell",
            with(
                17,
                &[message(2, b"a"), vec![0x18, 12], message(4, &message(1, &text(6)))].concat(),
            ),
        ),
        (
            "what a null holds all the same",
            message(
                2,
                &[&is_null[..], &message(18, &message(2, &named(b"religion", &[])))].concat(),
            ),
        ),
        ("the text of a null", message(2, &[&is_null[..], &text(15)].concat())),
    ];
    for (what, bytes) in inside {
        let error = read(&bytes, Screening::ALL).expect_err(what);
        assert!(error.rule.is_some(), "{what}: {error}");
        assert!(read(&bytes, Screening::NONE).is_ok(), "{what}");
    }
    // Where the metrics become keys they are looked at as such.
    let whole = message(2, &named(b"religion", &[0x50, 1]));
    assert!(read(&whole, Screening::ALL).is_ok());
    for passed_on in [whole, message(2, &named(b"note", &text(15)))] {
        assert!(read_passed_on(&passed_on, Screening::ALL).expect_err("refused").rule.is_some());
    }
    let twice = message(2, &[message(1, b"religion"), message(1, b"a")].concat());
    assert!(fault(&twice).1.contains("two names"));
    let twice = message(2, &[text(15), message(15, b"a")].concat());
    assert!(fault(&twice).1.contains("two values"));
}
