//! Parquet against another implementation: what that writes is read, in every encoding and
//! compression, what is written here that reads, and a damaged file is refused and costs nothing.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::record::RowAccessor;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use veritwin_domain::{IngestLimits, Quality, Screening, Timestamp, Value};
use veritwin_ingest::bulk::{
    DeviceFrom, ExportedRow, FileForm, FileMapping, FileRules, FileWriter, Piece, PieceReader,
    Precision, TimeForm, ValuesFrom,
};

const SCHEMA: &str = "message readings {
    required int64 time (TIMESTAMP(NANOS, true));
    optional double t;
    optional int32 n;
    optional boolean on;
    optional binary word (UTF8);
}";
const ROWS: i64 = 3_000;

/// A file of every kind of column, a third of its values absent.
fn file(properties: WriterProperties) -> Bytes {
    let schema = Arc::new(parse_message_type(SCHEMA).expect("a schema"));
    let mut file = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut file, schema, Arc::new(properties)).expect("a writer");
    for group in 0..2 {
        let mut rows = writer.next_row_group().expect("a group");
        let numbers: Vec<i64> = (group * ROWS..(group + 1) * ROWS).collect();
        let there: Vec<i64> = numbers.iter().copied().filter(|number| number % 3 != 0).collect();
        let levels: Vec<i16> = numbers.iter().map(|number| i16::from(number % 3 != 0)).collect();
        let times: Vec<i64> = numbers.iter().map(|number| number * 1_000_000_000 + 999).collect();
        let doubles: Vec<f64> = there.iter().map(|number| *number as f64 / 4.0).collect();
        let integers: Vec<i32> = there.iter().map(|number| *number as i32 - 500).collect();
        let flags: Vec<bool> = there.iter().map(|number| number % 2 == 0).collect();
        let word = |number: &i64| ByteArray::from(format!("wörd {}", number % 40).as_str());
        let words: Vec<ByteArray> = there.iter().map(word).collect();
        let mut column = rows.next_column().expect("next").expect("a column");
        column.typed::<Int64Type>().write_batch(&times, None, None).expect("written");
        column.close().expect("closed");
        let mut column = rows.next_column().expect("next").expect("a column");
        column.typed::<DoubleType>().write_batch(&doubles, Some(&levels), None).expect("written");
        column.close().expect("closed");
        let mut column = rows.next_column().expect("next").expect("a column");
        column.typed::<Int32Type>().write_batch(&integers, Some(&levels), None).expect("written");
        column.close().expect("closed");
        let mut column = rows.next_column().expect("next").expect("a column");
        column.typed::<BoolType>().write_batch(&flags, Some(&levels), None).expect("written");
        column.close().expect("closed");
        let mut column = rows.next_column().expect("next").expect("a column");
        column.typed::<ByteArrayType>().write_batch(&words, Some(&levels), None).expect("written");
        column.close().expect("closed");
        rows.close().expect("closed");
    }
    writer.close().expect("closed");
    Bytes::from(file)
}

fn mapping() -> FileMapping {
    FileMapping {
        form: FileForm::Parquet,
        delimiter: b',',
        device: DeviceFrom::Named("pump".to_owned()),
        time_column: "time".to_owned(),
        time: TimeForm::Nanoseconds,
        values: ValuesFrom::Others,
        quality_column: None,
        precision: Precision::Nanoseconds,
    }
}

/// All readings of a file, or why it cannot be read.
fn read(file: Bytes) -> Result<Vec<(String, i64, Value)>, String> {
    read_as(file, mapping())
}

fn read_as(file: Bytes, mapping: FileMapping) -> Result<Vec<(String, i64, Value)>, String> {
    let piece = Piece { body: file, header: Vec::new(), is_first: true, before: 0, rows_taken: 0 };
    let rules = FileRules::new(IngestLimits::default(), Screening::ALL);
    let mut reader = PieceReader::open(mapping, rules, piece).map_err(|error| error.to_string())?;
    let mut rows = Vec::new();
    loop {
        let step = reader.step().map_err(|error| error.to_string())?;
        for device in step.devices {
            rows.extend(
                device.readings.into_iter().map(|reading| {
                    (reading.key.to_string(), reading.at.as_micros(), reading.value)
                }),
            );
        }
        if step.is_end {
            return Ok(rows);
        }
    }
}

fn check(what: &str, properties: WriterPropertiesBuilder) {
    let rows = read(file(properties.build())).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(rows.len(), 4 * 4_000, "{what}");
    for number in (0..2 * ROWS).filter(|number| number % 3 != 0) {
        let first = usize::try_from(4 * (number - number / 3 - 1)).expect("a place");
        let at = number * 1_000_000;
        let expect = [
            ("t", Value::Double(number as f64 / 4.0)),
            ("n", Value::Integer(number - 500)),
            ("on", Value::Boolean(number % 2 == 0)),
            ("word", Value::Text(format!("wörd {}", number % 40).into())),
        ];
        for (row, (key, value)) in rows[first..first + 4].iter().zip(expect) {
            assert_eq!(*row, (key.to_owned(), at, value), "{what}: row {number}");
        }
    }
}

#[test]
fn every_compression_and_encoding_is_read() {
    let builder = WriterProperties::builder;
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4_RAW,
    ] {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let what = format!("{compression:?} {version:?}");
            let properties = builder().set_compression(compression).set_writer_version(version);
            check(&what, properties.set_data_page_size_limit(2_000));
        }
    }
    let column = |name: &str| parquet::schema::types::ColumnPath::from(name);
    for (name, encoding) in [
        ("n", Encoding::DELTA_BINARY_PACKED),
        ("time", Encoding::DELTA_BINARY_PACKED),
        ("t", Encoding::BYTE_STREAM_SPLIT),
        ("word", Encoding::DELTA_LENGTH_BYTE_ARRAY),
        ("word", Encoding::DELTA_BYTE_ARRAY),
        ("on", Encoding::RLE),
        ("word", Encoding::PLAIN),
    ] {
        let properties = builder().set_dictionary_enabled(false);
        let properties = properties.set_column_encoding(column(name), encoding);
        check(&format!("{name} in {encoding:?}"), properties);
    }
}

#[test]
fn times_without_an_offset_need_their_zone() {
    let schema = "message readings {
        required int64 time (TIMESTAMP(MICROS, false));
        required int64 n;
    }";
    let schema = Arc::new(parse_message_type(schema).expect("a schema"));
    let properties = Arc::new(WriterProperties::builder().build());
    let mut file = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut file, schema, properties).expect("a writer");
    let mut rows = writer.next_row_group().expect("a group");
    for number in [1_769_851_800_000_000, 7] {
        let mut column = rows.next_column().expect("next").expect("a column");
        column.typed::<Int64Type>().write_batch(&[number], None, None).expect("written");
        column.close().expect("closed");
    }
    rows.close().expect("closed");
    writer.close().expect("closed");
    let file = Bytes::from(file);
    let error = read_as(file.clone(), mapping()).expect_err("no zone");
    assert!(error.contains("no time zone"), "{error}");
    let berlin = TimeForm::parse("local", Some("Europe/Berlin"), None).expect("a form");
    let found = read_as(file, FileMapping { time: berlin, ..mapping() }).expect("rows");
    assert_eq!(found, [("n".to_owned(), 1_769_848_200_000_000, Value::Integer(7))]);
}

#[test]
fn what_is_written_another_implementation_reads() {
    let mut file = Vec::new();
    let mut writer = FileWriter::new(FileForm::Parquet, &mut file);
    let rows = 60_000;
    for number in 0..rows {
        let value = Value::Double(f64::from(number) / 2.0);
        let at = Timestamp::from_micros(i64::from(number));
        let row = ExportedRow {
            device_id: "id",
            device: "Pump",
            key: "flow",
            at,
            value: &value,
            quality: Quality::Good,
        };
        writer.push(&row, &mut file).expect("written");
    }
    writer.end(&mut file).expect("written");
    let reader = SerializedFileReader::new(Bytes::from(file)).expect("Parquet");
    assert_eq!(reader.metadata().file_metadata().num_rows(), i64::from(rows));
    let mut read = 0;
    for row in reader.get_row_iter(None).expect("rows") {
        let row = row.expect("a row");
        assert_eq!(row.get_string(2).expect("a key"), "flow");
        assert_eq!(row.get_timestamp_micros(3).expect("a time"), i64::from(read));
        assert!((row.get_double(4).expect("a value") - f64::from(read) / 2.0).abs() < 1e-9);
        read += 1;
    }
    assert_eq!(read, rows);
}

/// What is damaged: the same file in every case.
static WHOLE: LazyLock<Bytes> = LazyLock::new(|| {
    file(WriterProperties::builder().set_compression(Compression::SNAPPY).build())
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever becomes of a file: an answer, and no more than the bounds.
    #[test]
    fn damaged_files_are_answered(
        at in 0usize..100_000,
        bytes in proptest::collection::vec(any::<u8>(), 1..9),
        cut in any::<bool>(),
    ) {
        let mut damaged = WHOLE.to_vec();
        let length = damaged.len();
        for (index, byte) in bytes.iter().enumerate() {
            damaged[(at + index) % length] = *byte;
        }
        if cut {
            damaged.truncate(at % length);
        }
        let _answer = read(Bytes::from(damaged));
    }
}
