//! Statements against readings in memory: what they answer, what of it is read, what is refused and
//! in which words, and which bounds hold.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Value as Json, json};
use veritwin_domain::{DeviceId, Key, Quality, SiteId, Timestamp, Value};
use veritwin_sql::{Answer, Bounds, DeviceRow, Error, Failure, Format, Page, Point, Source};

/// 2026-03-28T00:00:00Z.
const T0: i64 = 1_774_656_000_000_000;
const MINUTE: i64 = 60_000_000;
const BOUNDS: Bounds =
    Bounds { memory_bytes_max: 32 * 1024 * 1024, rows_max: 100_000, bytes_max: 64 * 1024 * 1024 };

/// Devices that measure once a minute, and what was asked of them.
#[derive(Debug)]
struct Memory {
    devices: Vec<DeviceRow>,
    minutes: i64,
    page_points: i64,
    /// The device's number, the series, and the times that were asked for.
    asked: Mutex<Vec<(String, String, i64, i64)>>,
    pages: AtomicUsize,
    fails: bool,
}

fn device(number: u8) -> DeviceRow {
    DeviceRow {
        id: DeviceId::from_bytes([number; 16]),
        name: format!("meter {number}"),
        kind: "meter".to_owned(),
        twin: (number == 1).then(|| SiteId::from_bytes([9; 16])),
        is_listed: number != 3,
    }
}

impl Memory {
    fn new(devices: u8, minutes: i64) -> Self {
        Self {
            devices: (1..=devices).map(device).collect(),
            minutes,
            page_points: 100,
            asked: Mutex::new(Vec::new()),
            pages: AtomicUsize::new(0),
            fails: false,
        }
    }

    fn point(key: &str, minute: i64) -> Point {
        let value = match key {
            "power" => Value::Double(f64::from(i32::try_from(minute).expect("few")) / 2.0),
            "count" => Value::Integer(minute),
            "on" => Value::Boolean(minute % 2 == 0),
            _ => Value::Text(format!("=state {minute}").into()),
        };
        let quality = if minute % 10 == 9 { Quality::Bad } else { Quality::Good };
        Point { at: Timestamp::from_micros(T0 + minute * MINUTE), value, quality }
    }
}

#[async_trait]
impl Source for Memory {
    fn devices(&self) -> &[DeviceRow] {
        &self.devices
    }

    async fn keys(&self, _device: DeviceId) -> Result<Vec<Key>, Failure> {
        let keys = ["count", "on", "power", "state"].into_iter();
        Ok(keys.map(Key::new).collect::<Result<_, _>>()?)
    }

    async fn latest(&self, device: DeviceId) -> Result<Vec<(Key, Point)>, Failure> {
        let keys = self.keys(device).await?.into_iter();
        Ok(keys.map(|key| (key.clone(), Self::point(&key, self.minutes - 1))).collect())
    }

    async fn page(
        &self,
        device: DeviceId,
        key: &Key,
        (from, to): (Timestamp, Timestamp),
    ) -> Result<Page, Failure> {
        if self.fails {
            return Err("the disk is gone".into());
        }
        self.pages.fetch_add(1, Ordering::Relaxed);
        let times = (from.as_micros(), to.as_micros());
        let asked = (device.to_string(), key.to_string(), times.0, times.1);
        self.asked.lock().expect("no panic").push(asked);
        let is_inside = |minute: &i64| {
            let at = T0 + minute * MINUTE;
            times.0 <= at && at < times.1
        };
        let mut minutes = (0..self.minutes).filter(is_inside);
        let count = usize::try_from(self.page_points)?;
        let points: Vec<Point> =
            minutes.by_ref().take(count).map(|minute| Self::point(key, minute)).collect();
        let next = minutes.next().map(|minute| Timestamp::from_micros(T0 + minute * MINUTE));
        Ok(Page { points, next })
    }
}

async fn bytes_of(
    statement: &str,
    format: Format,
    source: &Arc<Memory>,
    bounds: Bounds,
) -> Result<Vec<u8>, Error> {
    let now = Timestamp::from_micros(T0 + 60 * MINUTE);
    let source: Arc<dyn Source> = Arc::<Memory>::clone(source);
    let mut answer = Answer::begin(statement, format, source, (now, bounds)).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = answer.next().await? {
        bytes.extend_from_slice(&piece.bytes);
        assert_eq!(piece.bytes_so_far, bytes.len());
    }
    Ok(bytes)
}

/// The rows of an answer.
#[track_caller]
fn rows(statement: &str, source: &Arc<Memory>) -> Vec<Json> {
    let bytes = run(bytes_of(statement, Format::Json, source, BOUNDS));
    let bytes = bytes.unwrap_or_else(|error| panic!("{statement}: {error}"));
    let answer: Json = serde_json::from_slice(&bytes).expect("JSON");
    answer["rows"].as_array().expect("rows").clone()
}

/// Why there is no answer.
#[track_caller]
fn refusal(statement: &str) -> Error {
    let source = Arc::new(Memory::new(2, 5));
    match run(bytes_of(statement, Format::Json, &source, BOUNDS)) {
        Ok(bytes) => panic!("{statement}: {}", String::from_utf8_lossy(&bytes)),
        Err(error) => error,
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
    runtime.expect("a runtime").block_on(work)
}

#[test]
fn rows_are_readings_with_their_types() {
    let source = Arc::new(Memory::new(3, 250));
    let found = rows("SELECT count(*) AS n FROM readings", &source);
    assert_eq!(found, [json!({"n": 3 * 4 * 250})]);
    let one = "SELECT device, key, at, type, number, integer, text, quality FROM readings \
               WHERE device = 'meter 2' AND at = '2026-03-28T00:09:00Z' ORDER BY key";
    let row = |key: &str, kind: &str, values: Json| {
        json!({
            "device": "meter 2", "key": key, "at": "2026-03-28T00:09:00Z", "type": kind,
            "number": values[0], "integer": values[1], "text": values[2], "quality": "bad",
        })
    };
    assert_eq!(
        rows(one, &source),
        [
            row("count", "integer", json!([9.0, 9, null])),
            row("on", "boolean", json!([0.0, null, null])),
            row("power", "double", json!([4.5, null, null])),
            row("state", "text", json!([null, null, "=state 9"])),
        ]
    );
    let hours = "SELECT date_trunc('hour', at) AS hour, avg(number) AS mean, count(*) AS n \
                 FROM readings WHERE key = 'count' AND quality <> 'bad' GROUP BY 1 ORDER BY 1";
    let found = rows(hours, &source);
    assert_eq!(found.len(), 5);
    assert_eq!(found[0], json!({"hour": "2026-03-28T00:00:00Z", "mean": 29.0, "n": 3 * 54}));
    let groups = "SELECT key, count(*) AS n FROM readings GROUP BY ROLLUP (key) ORDER BY n DESC";
    let groups = rows(groups, &source);
    assert_eq!((groups.len(), &groups[0]["n"]), (5, &json!(3 * 4 * 250)));
    let both = "SELECT count(*) AS n FROM (SELECT key FROM readings WHERE key = 'on' \
                UNION ALL SELECT key FROM readings WHERE key = 'power') t";
    assert_eq!(rows(both, &source), [json!({"n": 2 * 3 * 250})]);
    let latest = rows("SELECT key, integer FROM latest WHERE key = 'count'", &source);
    assert_eq!(latest, vec![json!({"key": "count", "integer": 249}); 3]);
    let devices = rows("SELECT device, type, twin_id FROM devices ORDER BY device", &source);
    assert_eq!(devices.len(), 2, "one may not be listed: {devices:?}");
    assert_eq!(devices[0]["twin_id"], SiteId::from_bytes([9; 16]).to_string());
    let joined = "SELECT d.device, max(r.number) AS most FROM readings r \
                  JOIN devices d ON d.device_id = r.device_id WHERE r.key = 'power' \
                  GROUP BY d.device ORDER BY d.device";
    let expect = ["meter 1", "meter 2"].map(|name| json!({"device": name, "most": 124.5}));
    assert_eq!(rows(joined, &source), expect);
    let steps = "SELECT at, integer - lag(integer) OVER (PARTITION BY device_id ORDER BY at) AS step \
                 FROM readings WHERE key = 'count' AND device = 'meter 1' ORDER BY at LIMIT 2";
    let found = rows(steps, &source);
    assert_eq!([&found[0]["step"], &found[1]["step"]], [&Json::Null, &json!(1)]);
}

#[test]
fn only_what_conditions_leave_is_read() {
    let check = |condition: &str, series: usize, range: (i64, i64)| {
        let source = Arc::new(Memory::new(3, 50));
        rows(&format!("SELECT count(*) AS n FROM readings WHERE {condition}"), &source);
        let asked = source.asked.lock().expect("no panic").clone();
        assert_eq!(asked.len(), series, "{condition}: {asked:?}");
        for (_, _, from, to) in asked {
            assert_eq!((from, to), range, "{condition}");
        }
    };
    let all = (i64::MIN, i64::MAX);
    check("number > 3", 12, all);
    check("key = 'power'", 3, all);
    check("key IN ('power', 'on')", 6, all);
    check("key IN ('power', 'on', 'count', 'state', 'none')", 12, all);
    check("device = 'meter 2' AND key = 'on'", 1, all);
    check(&format!("device_id = '{}'", DeviceId::from_bytes([3; 16])), 4, all);
    check("device = 'nobody'", 0, all);
    let minute = |number: i64| T0 + number * MINUTE;
    let times = "at >= '2026-03-28T00:10:00Z' AND at < '2026-03-28T00:20:00Z'";
    check(&format!("key = 'on' AND {times}"), 3, (minute(10), minute(20) + 1));
    check("key = 'on' AND at > now() - INTERVAL '30 minutes'", 3, (minute(30), i64::MAX));
    check("key = 'on' AND at < '1999-01-01' AND at > '2000-01-01'", 0, all);
}

#[test]
fn readings_are_read_as_they_are_taken() {
    let source = Arc::new(Memory::new(20, 10_000));
    let found = rows("SELECT number FROM readings WHERE key = 'power' LIMIT 3", &source);
    assert_eq!(found.len(), 3);
    let read = source.pages.load(Ordering::Relaxed);
    assert!(read < 200, "{read} pages for three rows");
    // Whoever takes one piece and goes has read little more than that.
    let source = Arc::new(Memory::new(20, 10_000));
    run(async {
        let now = Timestamp::from_micros(T0);
        let from: Arc<dyn Source> = Arc::<Memory>::clone(&source);
        let asked = "SELECT * FROM readings";
        let mut answer = Answer::begin(asked, Format::Csv, from, (now, BOUNDS)).await?;
        answer.next().await.map(drop)
    })
    .expect("a piece");
    let read = source.pages.load(Ordering::Relaxed);
    assert!(read < 300, "{read} pages for one piece");
}

#[test]
fn whatever_writes_or_reaches_outside_is_refused() {
    for statement in [
        "INSERT INTO readings (number) VALUES (1)",
        "UPDATE readings SET number = 1",
        "DELETE FROM readings",
        "TRUNCATE TABLE readings",
        "CREATE TABLE t AS SELECT * FROM readings",
        "CREATE VIEW v AS SELECT * FROM readings",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE FUNCTION f(int) RETURNS int RETURN $1",
        "DROP TABLE readings",
        "ALTER TABLE readings ADD COLUMN x INT",
        "COPY readings TO '/tmp/readings.csv'",
        "COPY (SELECT 1) TO 's3://bucket/x.parquet' STORED AS PARQUET",
        "SET datafusion.execution.batch_size = 1",
        "SHOW TABLES",
        "SHOW ALL",
        "DESCRIBE readings",
        "EXPLAIN SELECT * FROM readings",
        "EXPLAIN ANALYZE SELECT * FROM readings",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "BEGIN",
        "SELECT 1; SELECT 2",
        "SELECT * INTO t FROM readings",
        "WITH d AS (DELETE FROM readings) SELECT 1",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT * FROM r",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM \"/etc/passwd\"",
        "SELECT * FROM '/tmp/x.csv'",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM other.readings",
        "SELECT * FROM pg_catalog.pg_class",
        "SELECT * FROM generate_series(1, 1000000000)",
        "SELECT * FROM range(1, 10)",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT version()",
        "SELECT uuid()",
        "SELECT random()",
        "SELECT repeat('x', 1000000000)",
        "SELECT lpad('x', 1000000000)",
        "SELECT text || text FROM readings",
        "SELECT concat(text, text) FROM readings",
        "SELECT overlay(text PLACING text FROM 1) FROM readings",
        "SELECT replace(text, 's', text) FROM readings",
        "SELECT array_agg(number) FROM readings",
        "SELECT string_agg(text, ',') FROM readings",
        "SELECT text FROM readings WHERE text ~ '(a+)+'",
        "SELECT text FROM readings WHERE text SIMILAR TO 'a*'",
        "SELECT regexp_replace(text, 'a', 'b') FROM readings",
        "SELECT to_char(at, '%c') FROM readings",
        "SELECT unnest([1, 2])",
        "SELECT current_setting('x')",
        "SELECT @@version",
        "SELECT number FROM readings WHERE number > $1",
        "SELECT count(*) OVER () FROM readings a CROSS JOIN readings b",
        "SELECT key, count(*) FROM readings GROUP BY CUBE (key, device)",
        "SELECT key, count(*) FROM readings GROUP BY ROLLUP (key), ROLLUP (device)",
        "SELECT row_number() OVER () FROM readings WHERE number > (SELECT avg(number) FROM readings)",
    ] {
        let error = refusal(statement);
        assert!(matches!(error, Error::Invalid { .. }), "{statement}: {error}");
    }
    let many = "key, ".repeat(32);
    let many = format!("SELECT count(*) FROM readings GROUP BY GROUPING SETS ({many}device)");
    assert!(matches!(refusal(&many), Error::Invalid { .. }));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let check = |statement: &str, place: Option<&str>, part: &str| match refusal(statement) {
        Error::Invalid { detail, position } => {
            assert_eq!(position.as_deref(), place, "{statement}: {detail}");
            assert!(detail.contains(part), "{statement}: {detail}");
        }
        other => panic!("{statement}: {other}"),
    };
    check("SELECT number\nFROM readings WHERE )", Some("line 2, column 21"), "expected");
    check("SELECT 'open FROM readings", Some("line 1, column 8"), "not closed");
    check("SELECT wattage FROM readings", Some("line 1, column 8"), "wattage");
    check("SELECT 1; SELECT 2", None, "one statement");
    check("", None, "SELECT");
    check("DROP TABLE readings", None, "only SELECT");
    check("SELECT integer / 0 FROM readings", None, "divided by zero");
}

#[test]
fn errors_hold_no_value() {
    let source = Arc::new(Memory::new(2, 50));
    for (statement, value) in [
        ("SELECT number FROM readings WHERE at = 'Ada Lovelace'", "Lovelace"),
        ("SELECT CAST('Ada Lovelace' AS INT)", "Lovelace"),
        ("SELECT nothing('Ada Lovelace')", "Lovelace"),
        ("SELECT 'Ada Lovelace' + at FROM readings", "Lovelace"),
        ("SELECT FROM WHERE 'Ada Lovelace'", "Lovelace"),
        ("SELECT CAST(text AS INT) AS n FROM readings WHERE key = 'state'", "state "),
    ] {
        let error = run(bytes_of(statement, Format::Json, &source, BOUNDS)).expect_err(statement);
        assert!(!error.to_string().contains(value), "{statement}: {error}");
    }
}

#[test]
fn bounds_have_names() {
    let named = |statement: &str, bounds: Bounds| {
        let source = Arc::new(Memory::new(20, 2_000));
        match run(bytes_of(statement, Format::Csv, &source, bounds)) {
            Err(Error::Limit(limit)) => limit.name,
            Err(other) => panic!("{statement:.80}: {other}"),
            Ok(bytes) => panic!("{statement:.80}: {} bytes", bytes.len()),
        }
    };
    let long = format!("SELECT '{}'", "x".repeat(17_000));
    assert_eq!(named(&long, BOUNDS), "sql_query_bytes_max");
    let many = format!("SELECT {} 1", "1, ".repeat(2_500));
    assert_eq!(named(&many, BOUNDS), "sql_tokens_max");
    let deep = format!("SELECT {} 1", "1 + ".repeat(600));
    assert_eq!(named(&deep, BOUNDS), "sql_operators_max");
    let nested = format!("SELECT {}1{}", "(".repeat(120), ")".repeat(120));
    assert_eq!(named(&nested, BOUNDS), "sql_depth_max");
    let wide: Vec<String> = (0..101).map(|number| format!("1 AS n{number}")).collect();
    let wide = format!("SELECT {} FROM readings", wide.join(", "));
    assert_eq!(named(&wide, BOUNDS), "sql_columns_max");
    let literal = format!("SELECT '{}'", "x".repeat(1_025));
    assert_eq!(named(&literal, BOUNDS), "sql_literal_bytes_max");
    let tables: Vec<String> = (0..13).map(|number| format!("devices d{number}")).collect();
    let tables = format!("SELECT count(*) FROM {}", tables.join(", "));
    assert_eq!(named(&tables, BOUNDS), "sql_tables_max");
    // Each name is written out as what it stands for: three times as much with each question.
    let mut written = "WITH t0 AS (SELECT number AS n FROM readings)".to_owned();
    for number in 0..10 {
        let next = number + 1;
        written.push_str(&format!(", t{next} AS (SELECT n + n + n AS n FROM t{number})"));
    }
    written.push_str(" SELECT n FROM t10 WHERE n > 1");
    assert_eq!(named(&written, BOUNDS), "sql_parts_max");
    let all = "SELECT * FROM readings";
    assert_eq!(named(all, BOUNDS), "sql_rows_max");
    let few_bytes = Bounds { bytes_max: 10_000, ..BOUNDS };
    assert_eq!(named(all, few_bytes), "sql_answer_bytes_max");
    let small = Bounds { memory_bytes_max: 256 * 1024, ..BOUNDS };
    for held in [
        "SELECT * FROM readings ORDER BY text",
        "SELECT device_id, key, at, count(*) FROM readings GROUP BY device_id, key, at",
        "SELECT a.text FROM readings a JOIN readings b ON a.text = b.text",
        "SELECT a.number FROM readings a CROSS JOIN readings b",
        "SELECT text, count(*) OVER () FROM readings",
        "SELECT ntile(4) OVER () FROM readings",
    ] {
        assert_eq!(named(held, small), "sql_memory_bytes_max", "{held}");
    }
}

#[test]
fn what_cannot_be_read_is_told_as_it_is() {
    let mut memory = Memory::new(1, 5);
    memory.fails = true;
    let error = run(bytes_of("SELECT * FROM readings", Format::Json, &Arc::new(memory), BOUNDS));
    match error {
        Err(Error::Source(failure)) => assert_eq!(failure.to_string(), "the disk is gone"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn forms_say_the_same() {
    let source = Arc::new(Memory::new(1, 2));
    let asked = "SELECT key, text, integer FROM readings WHERE key IN ('state', 'count') \
                 ORDER BY key, at";
    let text = |format| run(bytes_of(asked, format, &source, BOUNDS)).expect("an answer");
    let csv = String::from_utf8(text(Format::Csv)).expect("UTF-8");
    let lines =
        "key,text,integer\r\ncount,,0\r\ncount,,1\r\nstate,'=state 0,\r\nstate,'=state 1,\r\n";
    assert_eq!(csv, lines);
    let json: Json = serde_json::from_slice(&text(Format::Json)).expect("JSON");
    let columns = json!([
        {"name": "key", "type": "text"}, {"name": "text", "type": "text"},
        {"name": "integer", "type": "integer"},
    ]);
    assert_eq!(json["columns"], columns);
    assert_eq!(json["rows"][0], json!({"key": "count", "text": null, "integer": 0}));
    let arrow = text(Format::Arrow);
    assert_eq!(arrow.get(..4), Some(&[0xff; 4][..]), "a message of Arrow's stream");
    let none = "SELECT key FROM readings WHERE key = 'none'";
    let empty = run(bytes_of(none, Format::Json, &source, BOUNDS)).expect("an answer");
    assert_eq!(empty, b"{\"columns\":[{\"name\":\"key\",\"type\":\"text\"}],\"rows\":[]}");
    let moment = rows("SELECT now() AS now", &source);
    assert_eq!(moment, [json!({"now": "2026-03-28T01:00:00Z"})]);
}
