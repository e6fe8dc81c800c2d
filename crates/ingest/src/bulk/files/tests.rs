//! Files of readings: what is read, refused and named, and what is written is read again.

use veritwin_domain::{Quality, Timestamp, Value};

use super::*;
use crate::bulk::Precision;

fn rules() -> FileRules {
    FileRules::new(IngestLimits::default(), Screening::ALL)
}

fn csv(columns: &[(&str, &str, ValueKind)]) -> FileMapping {
    let column = |(column, key, kind): &(&str, &str, ValueKind)| ValueColumn {
        column: (*column).to_owned(),
        key: (*key).to_owned(),
        kind: *kind,
    };
    FileMapping {
        form: FileForm::Csv,
        delimiter: b',',
        device: DeviceFrom::Column("device".to_owned()),
        time_column: "time".to_owned(),
        time: TimeForm::Rfc3339,
        values: ValuesFrom::Columns(columns.iter().map(column).collect()),
        quality_column: None,
        precision: Precision::Microseconds,
    }
}

/// What [`FileWriter`] writes.
fn exported(form: FileForm) -> FileMapping {
    let values = match form {
        FileForm::Csv => vec!["value".to_owned()],
        _ => ["double", "integer", "boolean", "text"].map(str::to_owned).to_vec(),
    };
    FileMapping {
        form,
        device: DeviceFrom::Column("device_id".to_owned()),
        values: ValuesFrom::Pairs { key: "key".to_owned(), values, kind: Some("type".to_owned()) },
        quality_column: Some("quality".to_owned()),
        ..csv(&[])
    }
}

fn piece(body: &[u8], header: &[&str]) -> Piece {
    Piece {
        body: Bytes::copy_from_slice(body),
        header: header.iter().map(|name| (*name).to_owned()).collect(),
        is_first: true,
        before: 0,
        rows_taken: 0,
    }
}

/// A device's name, a key, microseconds, and the value then.
type Row = (String, String, i64, Value);

/// Everything that is in a piece.
fn read(mapping: &FileMapping, piece: Piece) -> (Vec<Row>, Vec<RefusedRow>) {
    let mut reader = PieceReader::open(mapping.clone(), rules(), piece).expect("a piece");
    let (mut rows, mut refused) = (Vec::new(), Vec::new());
    loop {
        let step = reader.step().expect("a step");
        for device in step.devices {
            let name = device.device.expect("a name");
            rows.extend(device.readings.into_iter().map(|reading| {
                (name.clone(), reading.key.to_string(), reading.at.as_micros(), reading.value)
            }));
        }
        refused.extend(step.refused);
        if step.is_end {
            return (rows, refused);
        }
    }
}

#[test]
fn a_wrong_row_costs_itself_alone_and_is_named() {
    let mapping = csv(&[("t", "temperature", ValueKind::Double), ("on", "on", ValueKind::Auto)]);
    let text = "device,time,t,on\n\
        a,2026-01-01T00:00:00Z,21,true\n\
        a,2026-01-01T00:01:00Z,warm,\n\
        a,yesterday,21,\n\
        ,2026-01-01T00:02:00Z,21,\n\
        a,2026-01-01T00:03:00Z,21\n\
        \"b\nc\",2026-01-01T00:04:00Z,,no\n\
        a,2026-01-01T00:05:00Z,,\n";
    let (rows, refused) = read(&mapping, piece(text.as_bytes(), &["device", "time", "t", "on"]));
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert_eq!(rows[0].3, Value::Double(21.0));
    assert_eq!(rows[1].3, Value::Boolean(true));
    assert_eq!(rows[2].3, Value::Text("no".into()));
    let places: Vec<(u64, u64)> = refused.iter().map(|one| (one.row, one.column)).collect();
    assert_eq!(places, [(3, 3), (4, 2), (5, 1), (6, 0)]);
    assert!(refused[0].detail.contains("a number"), "{refused:?}");
    assert!(!refused.iter().any(|one| one.detail.contains("warm")), "{refused:?}");
}

#[test]
fn what_was_taken_is_not_taken_again() {
    let mapping = csv(&[("t", "t", ValueKind::Auto)]);
    let mut text = String::from("device,time,t\n");
    for minute in 0..60 {
        text.push_str(&format!("a,2026-01-01T00:{minute:02}:00Z,{minute}\n"));
    }
    let whole = piece(text.as_bytes(), &["device", "time", "t"]);
    let rest = Piece { rows_taken: 58, ..whole.clone() };
    let (rows, _) = read(&mapping, rest);
    assert_eq!(
        rows.iter().map(|row| row.3.clone()).collect::<Vec<_>>(),
        [Value::Integer(58), Value::Integer(59)]
    );
    assert_eq!(read(&mapping, whole).0.len(), 60);
}

#[test]
fn lines_need_a_time_and_wrong_ones_are_left_out() {
    let ndjson = FileMapping { form: FileForm::NdJson, ..csv(&[]) };
    let text = "{\"device\":\"a\",\"ts\":1,\"values\":{\"t\":1.5}}\n\
        {\"device\":\"a\",\"values\":{\"t\":2}}\n\
        \n\
        {\"device\":\"b\",\"ts_us\":1500,\"values\":{\"t\":3},\"quality\":\"bad\"}\n\
        {\"device\":\"b\",\"ts\":1,\"ts_us\":1,\"values\":{\"t\":3}}\n";
    let (rows, refused) = read(&ndjson, piece(text.as_bytes(), &[]));
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!((rows[1].2, refused.len()), (1_500, 2), "{refused:?}");
    assert_eq!((refused[0].row, refused[1].row), (2, 5));
    let protocol = FileMapping { form: FileForm::LineProtocol, ..csv(&[]) };
    let text = "t,device=a value=1.5 1000\nt,device=a value= 2000\nt,device=a value=2\n";
    let (rows, refused) = read(&protocol, piece(text.as_bytes(), &[]));
    assert_eq!(rows, [("a".to_owned(), "t".to_owned(), 1_000, Value::Double(1.5))]);
    assert_eq!(refused.iter().map(|one| one.row).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn what_is_written_is_read_again() {
    let values = [
        Value::Double(1.0),
        Value::Double(-1.5e300),
        Value::Integer(i64::MIN),
        Value::Boolean(false),
        Value::Text("21".into()),
        Value::Text("=1+1".into()),
        Value::Text("'=1+1".into()),
        Value::Text("'quoted'".into()),
        Value::Text("a \"b\", c\\d = é".into()),
        Value::Json("{\"a\":[1,null]}".into()),
    ];
    for form in FileForm::ALL {
        let mut file = Vec::new();
        let mut writer = FileWriter::new(form, &mut file);
        for (index, value) in values.iter().enumerate() {
            let at = Timestamp::from_micros(1_769_848_200_000_001 + index as i64);
            let row = ExportedRow {
                device_id: "0197-a",
                device: "-North, hall",
                key: "a key, with = and \\",
                at,
                value,
                quality: Quality::Simulated,
            };
            writer.push(&row, &mut file).expect("written");
        }
        writer.end(&mut file).expect("written");
        let text = String::from_utf8_lossy(&file);
        assert!(form != FileForm::Csv || text.contains(",'=1+1,text,"), "{text}");
        let header: Vec<String> = columns_of(form, b',', &file).expect("columns");
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        let mut reader =
            PieceReader::open(exported(form), rules(), piece(&file, &header)).expect("a piece");
        let step = reader.step().expect("a step");
        let mut readings = step.devices.iter().flat_map(|device| &device.readings);
        // Line protocol has no form for quality.
        let is_told = form != FileForm::LineProtocol;
        assert!(readings.all(|one| (one.quality == Quality::Simulated) == is_told), "{form:?}");
        let (rows, refused) = read(&exported(form), piece(&file, &header));
        assert!(refused.is_empty(), "{form:?}: {refused:?}");
        assert_eq!(rows.len(), values.len(), "{form:?}");
        for (index, (row, value)) in rows.iter().zip(&values).enumerate() {
            assert_eq!(row.0, "0197-a");
            assert_eq!(row.1, "a key, with = and \\", "{form:?}");
            assert_eq!(row.2, 1_769_848_200_000_001 + index as i64, "{form:?}");
            // Line protocol has no form for JSON.
            let is_same = match (form, value) {
                (FileForm::LineProtocol, Value::Json(json)) => row.3 == Value::Text(json.clone()),
                _ => row.3 == *value,
            };
            assert!(is_same, "{form:?}: {:?} for {value:?}", row.3);
        }
    }
}

#[test]
fn mappings_name_what_is_not_there() {
    let header = ["device", "time", "t"];
    let open = |mapping: FileMapping, text: &str| {
        let opened = PieceReader::open(mapping, rules(), piece(text.as_bytes(), &header));
        opened.err().map(|error| error.detail).unwrap_or_default()
    };
    let absent = open(csv(&[("humidity", "h", ValueKind::Auto)]), "device,time,t\n");
    assert!(absent.contains("humidity") && absent.contains("time"), "{absent}");
    let other = open(csv(&[("t", "t", ValueKind::Auto)]), "device,time,u\n");
    assert!(other.contains("another header"), "{other}");
    let parquet = FileMapping { form: FileForm::Parquet, ..csv(&[]) };
    let none = open(parquet, "PAR1 and nothing");
    assert!(none.contains("no Parquet file"), "{none}");
}

#[test]
fn pieces_are_cut_between_rows() {
    let text = b"a,b\n\"x\ny\",2\n3,4\n";
    assert_eq!(cut_of(FileForm::Csv, b',', text, 7), Some(4));
    assert_eq!(cut_of(FileForm::NdJson, b',', text, 7), Some(7));
    assert_eq!(cut_of(FileForm::Csv, b',', text, 100), Some(text.len()));
    assert_eq!(cut_of(FileForm::Csv, b',', b"a very long row", 4), None);
    // A quote within a field is a letter; doubled ones within quotes end nothing.
    assert_eq!(cut_of(FileForm::Csv, b';', b"5\" pipe;1\n6;2\n7;3\n", 16), Some(14));
    assert_eq!(cut_of(FileForm::Csv, b';', b"\"a\"\"\nb\";1\n6;2\n7", 13), Some(10));
    assert_eq!(lines_of(text), 4);
}
