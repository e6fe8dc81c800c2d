//! Files that say more than they hold, put together byte by byte.

use super::codec::Codec;
use super::meta::{Chunk, Physical};
use super::pages::ColumnReader;
use super::thrift::{I32, STRUCT, Writer};
use super::*;
use crate::bulk::Precision;
use crate::bulk::files::{DeviceFrom, FileForm, TimeForm, ValuesFrom};

/// A page and its header: `of` is 0 for values and 2 for a dictionary.
fn page(of: i32, (values, encoding): (i32, i32), body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len()).expect("a short page");
    let mut head = Writer::root();
    head.int(1, of);
    head.int(2, length);
    head.int(3, length);
    head.begin(if of == 0 { 5 } else { 7 });
    head.int(1, values);
    head.int(2, encoding);
    head.end();
    head.end();
    [&head.bytes[..], body].concat()
}

fn texts(pages: &[Vec<u8>]) -> ColumnReader {
    let file = Bytes::from(pages.concat());
    let column = Column {
        name: "word".to_owned(),
        physical: Physical::Bytes,
        meaning: Meaning::Itself,
        is_optional: false,
    };
    let chunk = Chunk { range: 0..file.len(), codec: Codec::Plain, values: 2 };
    ColumnReader::new(&file, &column, &chunk)
}

/// One number as a block of differences.
fn alone(number: u32) -> Vec<u8> {
    let mut block = vec![0x80, 1, 4, 1];
    let mut left = number << 1;
    while left >= 0x80 {
        block.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    block.push(left as u8);
    block
}

#[test]
fn what_holds_no_value_is_not_opened_and_a_dictionary_comes_once() {
    // Of a text behind its length; the page before it is none at all.
    let word = page(0, (1, 0), &[2, 0, 0, 0, b'h', b'i']);
    let mut column = texts(&[page(0, (0, 99), b"no page"), word.clone()]);
    assert_eq!(column.open_page().expect("a page"), 6);
    column.advance().expect("a value");
    assert_eq!(column.cell(), Cell::Text("hi"));
    let dictionary = page(2, (1, 0), &[2, 0, 0, 0, b'h', b'i']);
    let twice = texts(&[dictionary.clone(), dictionary, word]).open_page();
    assert!(twice.expect_err("twice").0.contains("two dictionaries"));
}

#[test]
fn a_text_that_outlives_its_page_is_counted() {
    let long = "a".repeat(10_000);
    let first = [alone(0), alone(10_000), long.clone().into_bytes()].concat();
    let second = [alone(10_000), alone(0)].concat();
    let mut column = texts(&[page(0, (1, 7), &first), page(0, (1, 7), &second)]);
    for _ in 0..2 {
        assert!(column.needs_page());
        column.open_page().expect("a page");
        column.advance().expect("a value");
        assert_eq!(column.cell(), Cell::Text(&long));
        assert!(column.held() >= 10_000, "{}", column.held());
    }
}

/// A file of two columns whose groups have so many rows, and each so many parts.
fn file(rows: i64, parts: usize) -> Bytes {
    let mut meta = Writer::root();
    meta.list(2, STRUCT, 3);
    meta.begin_element();
    meta.binary(4, b"root");
    meta.int(5, 2);
    meta.end();
    for name in [&b"time"[..], b"value"] {
        meta.begin_element();
        meta.int(1, 2);
        meta.int(3, 0);
        meta.binary(4, name);
        meta.end();
    }
    meta.list(4, STRUCT, 1);
    meta.begin_element();
    meta.list(1, STRUCT, parts);
    for _ in 0..parts {
        meta.begin_element();
        meta.begin(3);
        meta.int(4, 0);
        meta.long(5, rows);
        meta.long(9, 4);
        meta.end();
        meta.end();
    }
    meta.long(3, rows);
    meta.end();
    meta.end();
    let length = u32::try_from(meta.bytes.len()).expect("a short footer").to_le_bytes();
    Bytes::from([&b"PAR1"[..], &meta.bytes, &length, b"PAR1"].concat())
}

fn open(body: Bytes) -> Option<String> {
    let mapping = FileMapping {
        form: FileForm::Parquet,
        delimiter: b',',
        device: DeviceFrom::Named("pump".to_owned()),
        time_column: "time".to_owned(),
        time: TimeForm::Milliseconds,
        values: ValuesFrom::Others,
        quality_column: None,
        precision: Precision::default(),
    };
    let piece = Piece { body, header: Vec::new(), is_first: true, before: 0, rows_taken: 0 };
    ParquetSource::open(&mapping, piece).err().map(|error| error.detail)
}

#[test]
fn a_footer_that_says_too_much_is_refused() {
    assert_eq!(open(file(1_000, 2)), None);
    let rows = open(file(1 << 40, 2)).expect("too many rows");
    assert!(rows.contains("parquet_group_values_max"), "{rows}");
    let parts = open(file(1, COLUMNS_MAX + 1)).expect("too many parts");
    assert!(parts.contains("file_columns_max"), "{parts}");
    // A number of a field beyond all numbers is none.
    let mut meta = vec![0x16, 0];
    meta.extend([I32, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0]);
    meta.extend([0x15, 0, 0]);
    let length = u32::try_from(meta.len()).expect("short").to_le_bytes();
    let body = [&b"PAR1"[..], &meta, &length, b"PAR1"].concat();
    assert!(open(Bytes::from(body)).is_some());
}
