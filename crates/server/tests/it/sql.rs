//! SQL over readings, in a build that has it: it says what the history question says, holds what
//! its caller may see and nothing else, writes nothing, and ends with whoever asked.

use std::io::Write;

use arrow_array::{Array, Float64Array, RecordBatch};
use arrow_ipc::reader::StreamReader;
use serde_json::{Value, json};

use crate::harness::{Platform, wait_for};
use crate::http::Answer;
use crate::tenant::{Device, Tenant};

const PATH: &str = "/v1/telemetry/sql";
/// 2026-03-28T00:00:00Z in milliseconds.
const T0: i64 = 1_774_656_000_000;
const HOUR: i64 = 3_600_000;

/// A meter that counts, for three days.
fn meter(tenant: &Tenant, name: &str) -> Device {
    let device = tenant.device(name);
    let row = |hour: i64| {
        let values =
            json!({"energy": hour, "level": hour as f64 + 0.25, "state": format!("s{hour}")});
        json!({"ts": T0 + hour * HOUR, "values": values})
    };
    tenant.send(&device, &json!((0..72).map(row).collect::<Vec<_>>())).expect(200);
    device
}

/// Other tests ask the same platform: where there is no place for now, it is asked again.
#[track_caller]
fn placed(send: impl Fn() -> Answer) -> Answer {
    wait_for("a place among statements", || {
        let answer = send();
        (answer.status != 503).then_some(answer)
    })
}

#[track_caller]
fn ask(tenant: &Tenant, query: &str) -> Answer {
    placed(|| tenant.post(PATH, &json!({"query": query})))
}

fn rows_of(answer: &Answer) -> Vec<Value> {
    answer.expect(200)["rows"].as_array().unwrap().clone()
}

#[track_caller]
fn rows(tenant: &Tenant, query: &str) -> Vec<Value> {
    rows_of(&ask(tenant, query))
}

#[test]
fn it_says_what_history_says() {
    let tenant = Platform::shared().tenant();
    let (one, other) = (meter(&tenant, "one"), meter(&tenant, "other"));
    let history = |more: Value| {
        let mut body = json!({
            "series": [{"device_id": one.id, "key": "level"}],
            "from": "2026-03-28T05:00:00Z", "to": "2026-03-30T00:00:00Z",
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        tenant.post("/v1/telemetry/query", &body).expect(200)["series"][0].clone()
    };
    let range = format!(
        "device_id = '{}' AND key = 'level' AND at >= '2026-03-28T05:00:00Z' \
         AND at < '2026-03-30T00:00:00Z'",
        one.id
    );
    let raw =
        format!("SELECT at, number AS value, quality FROM readings WHERE {range} ORDER BY at");
    assert_eq!(json!(rows(&tenant, &raw)), history(json!({}))["points"]);
    let days = format!(
        "SELECT date_trunc('day', at) AS at, count(*) AS count, avg(number) AS avg, \
         sum(number) AS sum, min(number) AS min, max(number) AS max FROM readings \
         WHERE {range} GROUP BY 1 ORDER BY 1"
    );
    let buckets = history(json!({"bucket_ms": 24 * HOUR}));
    let found = rows(&tenant, &days);
    assert_eq!(found.len(), buckets["points"].as_array().unwrap().len());
    for (row, bucket) in found.iter().zip(buckets["points"].as_array().unwrap()) {
        for field in ["at", "count", "avg", "sum", "min", "max"] {
            assert_eq!(row[field], bucket[field], "{field}: {row} {bucket}");
        }
    }
    let latest = "SELECT device, key, text FROM latest WHERE key = 'state' ORDER BY device";
    let expect =
        ["one", "other"].map(|name| json!({"device": name, "key": "state", "text": "s71"}));
    assert_eq!(rows(&tenant, latest), expect);
    let devices = rows(&tenant, "SELECT device_id, device, type FROM devices ORDER BY device");
    let row =
        |device: &Device| json!({"device_id": device.id, "device": device.name, "type": "test"});
    assert_eq!(devices, [row(&one), row(&other)]);
    // Other forms hold the same.
    let form =
        |format: &str| placed(|| tenant.post(PATH, &json!({"query": raw, "format": format})));
    let csv = form("csv");
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    let csv = csv.text();
    assert!(csv.starts_with("at,value,quality\r\n2026-03-28T05:00:00Z,5.25,good\r\n"), "{csv}");
    assert_eq!(csv.lines().count(), 44);
    let arrow = form("arrow");
    assert_eq!(arrow.header("content-type"), Some("application/vnd.apache.arrow.stream"));
    let batches: Vec<RecordBatch> =
        StreamReader::try_new(&arrow.body[..], None).unwrap().map(Result::unwrap).collect();
    let numbers = |batch: &RecordBatch| -> f64 {
        let column = batch.column(1).as_any().downcast_ref::<Float64Array>().unwrap();
        (0..column.len()).map(|row| column.value(row)).sum()
    };
    let sum: f64 = batches.iter().map(numbers).sum();
    assert!((sum - (5..48).map(|hour| f64::from(hour) + 0.25).sum::<f64>()).abs() < 1e-9, "{sum}");
    let recorded = || {
        let found = tenant.get("/v1/activity?action=telemetry.read").expect(200);
        found["items"].get(0).cloned()
    };
    wait_for("a record of the reading", recorded);
}

#[test]
fn the_command_prints_what_is_answered() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    meter(&tenant, "printed");
    let run = |statement: &str| {
        platform.cli(&["readings", "sql", "--api-key", &tenant.api_key, statement])
    };
    let output = run("SELECT key, count(*) AS n FROM readings GROUP BY key ORDER BY key");
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(output.stdout, "key,n\r\nenergy,72\r\nlevel,72\r\nstate,72\r\n");
    let refused = run("DROP TABLE readings");
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.stderr.contains("only SELECT"), "{refused:?}");
}

#[test]
fn a_tenant_has_its_own_alone() {
    let platform = Platform::shared();
    let (mine, theirs) = (platform.tenant(), platform.tenant());
    let own = meter(&mine, "same name");
    let foreign = meter(&theirs, "same name");
    let ids = |query: &str| {
        rows(&mine, query)
            .iter()
            .map(|row| row["device_id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    for table in ["readings", "latest", "devices"] {
        assert_eq!(ids(&format!("SELECT DISTINCT device_id FROM {table}")), [own.id.as_str()]);
        let named = format!("SELECT device_id FROM {table} WHERE device_id = '{}'", foreign.id);
        assert_eq!(ids(&named), [""; 0]);
        let any = format!("SELECT device_id FROM {table} WHERE device = 'same name' OR 1 = 1");
        assert!(ids(&any).iter().all(|id| *id == own.id));
    }
    let all = rows(&mine, "SELECT count(*) AS n FROM readings a CROSS JOIN devices b");
    assert_eq!(all, [json!({"n": 3 * 72})]);
    // Whose data is asked is not for the statement to say.
    for query in [
        format!("SELECT * FROM \"{}\".readings", theirs.id),
        format!("SELECT * FROM readings WHERE tenant_id = '{}'", theirs.id),
        "SELECT * FROM information_schema.tables".to_owned(),
    ] {
        let problem = ask(&mine, &query).problem(400);
        assert!(!problem.to_string().contains(&foreign.id), "{problem}");
    }
}

#[test]
fn hidden_streams_are_as_good_as_not_there() {
    let tenant = Platform::shared().tenant();
    let made = |declaration: &str| {
        let body = json!({"name": declaration, "type": "test", "declaration": declaration});
        let made = tenant.post("/v1/devices", &body).expect(201);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (id, token) = (text(&made["device"]["id"]), text(&made["token"]));
        let device = Device { id, name: declaration.to_owned(), token };
        tenant.send(&device, &json!({"ts": T0, "values": {"t": 47110815}})).expect(200);
        device
    };
    let open = made("non_personal");
    let closed = [made("personal"), made("undeclared")];
    let by = |cookie: &str, query: &str| {
        let body = json!({"query": query});
        let request = || tenant.http().post(PATH).header("cookie", cookie).json(&body);
        rows_of(&placed(|| request().send()))
    };
    let (_, viewer) = tenant.member("reads", "viewer");
    for table in ["readings", "latest"] {
        let ids = format!("SELECT device_id FROM {table}");
        assert_eq!(by(&viewer, &ids), [json!({"device_id": open.id})], "{table}");
        for device in &closed {
            let count =
                format!("SELECT count(*) AS n FROM {table} WHERE device = '{}'", device.name);
            assert_eq!(by(&viewer, &count), [json!({"n": 0})], "{table} of {}", device.name);
        }
        let sum = format!("SELECT sum(number) AS sum FROM {table} WHERE key <> 'none'");
        assert_eq!(by(&viewer, &sum), [json!({"sum": 47_110_815.0})], "{table}");
        // Whoever may see what is personal sees it here too.
        assert_eq!(by(&tenant.cookie, &ids).len(), 3, "{table}");
    }
    let ended = tenant.http().request("DELETE", "/v1/session").header("cookie", &viewer).send();
    ended.expect(204);
    let asked = tenant.http().post(PATH).header("cookie", &viewer);
    asked.json(&json!({"query": "SELECT 1"})).send().problem(401);
}

#[test]
fn a_statement_is_refused_with_its_place() {
    let tenant = Platform::shared().tenant();
    let device = meter(&tenant, "kept");
    for query in [
        "DELETE FROM readings",
        "INSERT INTO devices (device) VALUES ('x')",
        "DROP TABLE readings",
        "CREATE TABLE t AS SELECT * FROM readings",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "COPY readings TO '/tmp/veritwin-sql.csv'",
        "SELECT * FROM '/etc/passwd'",
        "SET datafusion.execution.batch_size = 1",
        "EXPLAIN SELECT * FROM readings",
        "SELECT 1; SELECT 2",
        "SELECT random()",
    ] {
        ask(&tenant, query).problem(400);
    }
    assert_eq!(tenant.points(&device, "energy").len(), 72);
    let problem = ask(&tenant, "SELECT wattage FROM readings").problem(400);
    assert_eq!(problem["position"], "line 1, column 8", "{problem}");
    let problem = ask(&tenant, " ").problem(400);
    assert_eq!(problem["position"], "query", "{problem}");
    let long = format!("SELECT '{}'", "x".repeat(17_000));
    assert_eq!(ask(&tenant, &long).problem(413)["limit"], "sql_query_bytes_max");
    let body = json!({"query": "SELECT 1", "format": "xlsx"});
    let answer = tenant.post(PATH, &body);
    assert!(matches!(answer.status, 400 | 422), "{}", answer.text());
}

#[test]
fn memory_is_bounded() {
    let tenant = Platform::shared().tenant();
    let device = tenant.device("writes");
    let note = "a note ".repeat(400);
    let row = |minute: i64| json!({"ts": T0 + minute * 60_000, "values": {"note": note}});
    for part in 0..10_i64 {
        let rows: Vec<Value> = (part * 20..part * 20 + 20).map(row).collect();
        tenant.send(&device, &json!(rows)).expect(200);
    }
    let query = "SELECT a.text FROM readings a CROSS JOIN readings b ORDER BY b.at, a.at";
    let problem = ask(&tenant, query).problem(413);
    assert_eq!(problem["limit"], "sql_memory_bytes_max", "{problem}");
    assert_eq!(rows(&tenant, "SELECT count(*) AS n FROM readings"), [json!({"n": 200})]);
}

#[test]
fn a_statement_ends_with_whoever_asked() {
    let tenant = Platform::shared().tenant();
    meter(&tenant, "read for long");
    let joins = "readings a CROSS JOIN readings b CROSS JOIN readings c CROSS JOIN readings d";
    let body = json!({"query": format!("SELECT a.text, b.text, c.text FROM {joins}")}).to_string();
    let begin = || {
        let mut stream = tenant.http().connect().unwrap().into_stream();
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            tenant.http().ports().https,
            tenant.api_key,
            body.len()
        );
        stream.get_mut().write_all(head.as_bytes()).unwrap();
        stream.get_mut().flush().unwrap();
        stream
    };
    let under_way = [begin(), begin()];
    let short = || tenant.post(PATH, &json!({"query": "SELECT 1 AS one"}));
    let refused = wait_for("both to be under way", || {
        let answer = short();
        (answer.status == 429).then(|| answer.problem(429))
    });
    assert_eq!(refused["limit"], "sql_tenant_at_once_max", "{refused}");
    drop(under_way);
    let found = wait_for("both to have ended", || {
        let answer = short();
        (answer.status == 200).then(|| rows_of(&answer))
    });
    assert_eq!(found, [json!({"one": 1})]);
}
