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

#[test]
fn texts_that_nothing_is_made_of_are_held_to_the_rules() {
    let card = b"4111 1111 1111 1111";
    let in_template = |part: u64, content: &[u8]| with(18, &message(part, content));
    let property = |value: &[u8]| with(9, &[message(1, b"note"), message(2, value)].concat());
    let null_text = [&[0x10u8, 1][..], &message(8, card)].concat();
    let in_list = message(10, &message(1, &[message(1, b"k"), message(2, &null_text)].concat()));
    let inside = [
        ("the UUID of a payload", message(4, card)),
        ("the content type of a metric", with(8, &message(2, card))),
        ("its file name", with(8, &message(5, card))),
        ("its file type", with(8, &message(6, card))),
        ("its checksum", with(8, &message(7, card))),
        ("its description", with(8, &message(8, card))),
        ("the version of a template", in_template(1, card)),
        ("the reference of a template", in_template(4, b"religion")),
        ("the text of a null property", property(&null_text)),
        ("a null property in a list", property(&in_list)),
    ];
    for (what, bytes) in inside {
        let error = read(&bytes, Screening::ALL).expect_err(what);
        assert!(error.rule.is_some(), "{what}: {error}");
        assert!(error.position < bytes.len(), "{what}: {error}");
        assert!(read(&bytes, Screening::NONE).is_ok(), "{what}");
    }
    let metadata = [message(2, b"text/csv"), message(5, b"log.csv"), message(6, b"csv")].concat();
    assert!(read(&with(8, &metadata), Screening::ALL).is_ok());
}

#[test]
fn of_two_values_none_is_taken() {
    let (card, fine) = (b"4111 1111 1111 1111", b"fine");
    let set = [message(1, b"k"), message(2, &message(8, fine))].concat();
    let property = |value: &[u8]| with(9, &[message(1, b"note"), message(2, value)].concat());
    let cell = |value: &[u8]| {
        let table = [message(2, b"a"), vec![0x18, 12], message(4, &message(1, value))].concat();
        with(17, &table)
    };
    let parameter = |value: &[u8]| with(18, &message(3, value));
    let both = |field: u64| [message(field, card), message(field, fine)].concat();
    let names = [message(1, b"religion"), message(1, fine)].concat();
    type Door = fn(&[u8], Screening) -> Result<Payload<'_>, PayloadError>;
    let doors: [Door; 2] = [read, read_passed_on];
    let check = |bytes: &[u8], expect: &str| {
        // Whatever is screened, and whichever of the two it is that must not be kept.
        for screening in [Screening::ALL, Screening::NONE] {
            for door in doors {
                let error = door(bytes, screening).expect_err(expect);
                assert!(error.rule.is_some() || error.detail.contains(expect), "{error}");
            }
        }
        assert!(read(bytes, Screening::NONE).expect_err(expect).detail.contains(expect));
    };
    check(&property(&both(8)), "a property with two values");
    check(&property(&[message(8, card), vec![0x18, 1]].concat()), "a property with two values");
    check(&property(&[message(9, &set), message(8, fine)].concat()), "a property with two values");
    check(&cell(&both(6)), "a cell with two values");
    check(&cell(&[message(6, card), vec![0x08, 1]].concat()), "a cell with two values");
    check(&cell(&[message(6, card), message(7, b"")].concat()), "a cell with two values");
    check(&parameter(&both(8)), "a parameter with two values");
    check(&parameter(&[message(8, card), message(9, b"")].concat()), "a parameter with two values");
    check(&parameter(&names), "a parameter with two names");
    // One of each is.
    for bytes in
        [property(&message(8, fine)), cell(&message(6, fine)), parameter(&message(8, fine))]
    {
        assert!(read(&bytes, Screening::ALL).is_ok(), "{bytes:02x?}");
    }
}

#[test]
fn a_null_property_says_nothing() {
    let unit = [&[0x10u8, 1][..], &message(8, "°C".as_bytes())].concat();
    let bytes = with(9, &[message(1, b"engUnit"), message(2, &unit)].concat());
    let found = read(&bytes, Screening::ALL).expect("well formed");
    assert_eq!(found.metrics[0].properties, Properties::default());
}
