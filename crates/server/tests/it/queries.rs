//! History asked in detail: days as they are in Berlin, aggregates, tables, lines, values as of a
//! time; each question refused by the name of what is wrong with it.

use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, PrimitiveArray, RecordBatch, StringArray};
use arrow_ipc::reader::StreamReader;
use serde_json::{Value, json};

use crate::harness::Platform;
use crate::http::Answer;
use crate::tenant::{Device, Tenant};

/// 2026-03-28T00:00:00Z in milliseconds: the day before clocks go forward in Berlin.
const T0: i64 = 1_774_656_000_000;
const HOUR: i64 = 3_600_000;

/// A meter that counts a kilowatt-hour each hour, for three days.
fn meter(tenant: &Tenant, name: &str) -> Device {
    let device = tenant.device(name);
    let rows: Vec<Value> = (0..72)
        .map(|hour| {
            json!({"ts": T0 + hour * HOUR, "values": {"energy": hour, "state": format!("s{hour}")}})
        })
        .collect();
    tenant.send(&device, &json!(rows)).expect(200);
    device
}

fn body(devices: &[&Device], key: &str, more: Value) -> Value {
    let series: Vec<Value> =
        devices.iter().map(|device| json!({"device_id": device.id, "key": key})).collect();
    let mut body = json!({
        "series": series, "from": "2026-03-27T23:00:00Z", "to": "2026-03-30T22:00:00Z",
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn ask(tenant: &Tenant, body: &Value) -> Answer {
    tenant.post("/v1/telemetry/query", body)
}

fn table(tenant: &Tenant, body: &Value, form: &str) -> Answer {
    tenant.request("POST", "/v1/telemetry/query").header("accept", form).json(body).send()
}

#[test]
fn days_are_as_long_as_they_are_in_berlin() {
    let tenant = Platform::shared().tenant();
    let device = meter(&tenant, "meter");
    let days = json!({
        "bucket": "day", "time_zone": "Europe/Berlin", "shape": "columns",
        "aggregates": ["count", "delta", "rate", "p50", "time_weighted_avg", "first"],
    });
    let found = ask(&tenant, &body(&[&device], "energy", days)).expect(200);
    let one = &found["series"][0];
    let starts = [T0 - HOUR, T0 + 23 * HOUR, T0 + 46 * HOUR, T0 + 70 * HOUR];
    assert_eq!(one["at_ms"], json!(&starts[..3]), "{one}");
    assert_eq!(one["to_ms"], json!(&starts[1..]), "{one}");
    // The first reading came an hour into its day; the day after has 23 hours.
    assert_eq!(one["count"], json!([23, 23, 24]), "{one}");
    assert_eq!(one["delta"], json!([22.0, 23.0, 24.0]), "{one}");
    assert_eq!(one["p50"], json!([11.0, 34.0, 57.5]), "{one}");
    assert_eq!(one["first"], json!([0, 23, 46]), "{one}");
    let mean = one["time_weighted_avg"][1].as_f64().unwrap();
    assert!((mean - 34.0).abs() < 1e-9, "{one}");
    let rate = one["rate"][2].as_f64().unwrap();
    assert!((rate - 1.0 / 3600.0).abs() < 1e-12, "{one}");
}

#[test]
fn buckets_without_readings_are_filled_as_asked() {
    let tenant = Platform::shared().tenant();
    let device = tenant.device("sparse");
    let rows = json!([
        {"ts": T0, "values": {"level": 4}}, {"ts": T0 + 4 * HOUR, "values": {"level": 12}},
    ]);
    tenant.send(&device, &rows).expect(200);
    let check = |fill: Value, expect: Value| {
        let mut more = json!({
            "from": "2026-03-28T00:00:00Z", "to": "2026-03-28T06:00:00Z", "bucket": "hour",
            "aggregates": ["last", "count"], "shape": "columns",
        });
        more.as_object_mut().unwrap().extend(fill.as_object().unwrap().clone());
        let found = ask(&tenant, &body(&[&device], "level", more)).expect(200);
        assert_eq!(found["series"][0]["last"], expect, "{fill}");
    };
    check(json!({}), json!([4, 12]));
    check(json!({"fill": "null"}), json!([4, null, null, null, 12, null]));
    check(json!({"fill": "previous"}), json!([4, 4, 4, 4, 12, 12]));
    check(json!({"fill": "linear"}), json!([4, 6.0, 8.0, 10.0, 12, null]));
    let number = json!({"fill": "value", "fill_value": -1});
    check(number, json!([4, -1.0, -1.0, -1.0, 12, -1.0]));
}

#[test]
fn a_table_says_what_json_says() {
    let tenant = Platform::shared().tenant();
    let devices: Vec<Device> = (0..6).map(|number| meter(&tenant, &format!("m{number}"))).collect();
    let devices: Vec<&Device> = devices.iter().collect();
    let days = json!({"bucket": "range", "aggregates": ["sum", "last"]});
    let asked = body(&devices, "energy", days);
    let found = ask(&tenant, &asked).expect(200);
    let ids: Vec<&str> = found["series"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["device_id"].as_str().unwrap())
        .collect();
    let expect: Vec<&str> = devices.iter().map(|device| device.id.as_str()).collect();
    assert_eq!(ids, expect, "six series, in the order in which they are asked for");
    let csv = table(&tenant, &asked, "text/csv");
    assert_eq!((csv.status, csv.header("content-type")), (200, Some("text/csv; charset=utf-8")));
    let csv = csv.text();
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("device_id,key,from,to,sum,last"));
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), 6, "{csv}");
    assert!(lines[0].starts_with(&format!("{},energy,2026-03-27T23:00:00", expect[0])), "{csv}");
    // 0 to 69: the range ends before the last two.
    assert!(lines[0].ends_with(",2415.0,69"), "{csv}");

    let arrow = table(&tenant, &asked, "application/vnd.apache.arrow.stream");
    assert_eq!(arrow.header("content-type"), Some("application/vnd.apache.arrow.stream"));
    let batches = read(&arrow);
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 6);
    let texts = batches[5].column(0).as_any().downcast_ref::<StringArray>().unwrap();
    assert_eq!(texts.value(0), expect[5]);
    let sums = batches[5].column_by_name("sum").unwrap().as_any();
    let sums = sums.downcast_ref::<PrimitiveArray<Float64Type>>().unwrap();
    assert!((sums.value(0) - 2415.0).abs() < 1e-9);
}

#[test]
fn the_ends_of_a_bucket_keep_their_type_in_arrow() {
    let tenant = Platform::shared().tenant();
    let device = tenant.device("exact");
    // No double is this number.
    let large = (1_i64 << 53) + 1;
    let rows = json!([
        {"ts": T0, "values": {"count": large}}, {"ts": T0 + HOUR, "values": {"count": "reset"}},
    ]);
    tenant.send(&device, &rows).expect(200);
    let asked = json!({"bucket": "range", "aggregates": ["first", "last", "count"]});
    let asked = body(&[&device], "count", asked);
    let batches = read(&table(&tenant, &asked, "application/vnd.apache.arrow.stream"));
    let column = |name: &str| batches[0].column_by_name(name).unwrap().as_any();
    let integer = |name| column(name).downcast_ref::<PrimitiveArray<Int64Type>>().unwrap();
    let text = |name| column(name).downcast_ref::<StringArray>().unwrap();
    assert_eq!(integer("first_integer").value(0), large);
    assert!(integer("last_integer").is_null(0) && text("first_text").is_null(0));
    let types = [text("first_type").value(0), text("last_type").value(0)];
    assert_eq!((types, text("last_text").value(0)), (["integer", "text"], "reset"));
    assert_eq!(integer("count").value(0), 2);
}

fn read(answer: &Answer) -> Vec<RecordBatch> {
    let reader = StreamReader::try_new(answer.body.as_slice(), None).unwrap();
    reader.map(Result::unwrap).collect()
}

#[test]
fn points_come_as_a_table_too_and_go_on_where_it_was_cut() {
    let tenant = Platform::shared().tenant();
    let device = meter(&tenant, "paged");
    let asked = body(&[&device], "state", json!({"limit": 50}));
    let first = table(&tenant, &asked, "text/csv");
    let cursor = first.header("veritwin-next-cursor").expect("there is more").to_owned();
    assert_eq!(first.text().lines().count(), 51);
    assert!(first.text().contains(",s0,good\r\n"), "{}", first.text());
    let asked = body(&[&device], "state", json!({"limit": 50, "cursor": cursor}));
    let second = table(&tenant, &asked, "application/vnd.apache.arrow.stream");
    assert_eq!(second.header("veritwin-next-cursor"), None);
    let batches = read(&second);
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 20);
    let times = batches[0].column_by_name("at").unwrap().as_any();
    let times = times.downcast_ref::<PrimitiveArray<TimestampMicrosecondType>>().unwrap();
    assert_eq!(times.value(0), (T0 + 50 * HOUR) * 1000);
    let texts = batches[0].column_by_name("text").unwrap().as_any();
    assert_eq!(texts.downcast_ref::<StringArray>().unwrap().value(0), "s50");
    let numbers = batches[0].column_by_name("number").unwrap();
    assert_eq!(numbers.null_count(), 20, "texts are no numbers");
}

#[test]
fn buckets_go_on_where_they_were_cut() {
    let tenant = Platform::shared().tenant();
    let device = meter(&tenant, "pages");
    let asked = |more: Value| {
        let mut whole = json!({
            "bucket": "day", "time_zone": "Europe/Berlin", "shape": "columns",
            "aggregates": ["count", "delta", "last"],
        });
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body(&[&device], "energy", whole)
    };
    let whole = ask(&tenant, &asked(json!({}))).expect(200);
    assert_eq!(whole["next_cursor"], Value::Null, "{whole}");
    for fill in ["none", "null"] {
        let first = ask(&tenant, &asked(json!({"limit": 2, "fill": fill}))).expect(200);
        assert_eq!(first["series"][0]["count"], json!([23, 23]), "{first}");
        let cursor = first["next_cursor"].as_str().expect("there is more").to_owned();
        let rest = json!({"limit": 2, "fill": fill, "cursor": cursor});
        let second = ask(&tenant, &asked(rest)).expect(200);
        assert_eq!(second["next_cursor"], Value::Null, "{second}");
        for column in ["at_ms", "to_ms", "count", "delta", "last"] {
            let of = |answer: &Value| answer["series"][0][column].as_array().unwrap().clone();
            assert_eq!([of(&first), of(&second)].concat(), of(&whole), "{column}");
        }
    }
    let csv = table(&tenant, &asked(json!({"limit": 1})), "text/csv");
    assert!(csv.header("veritwin-next-cursor").is_some());
    assert_eq!(csv.text().lines().count(), 2, "a head and a bucket");
    let hanging = asked(json!({"limit": 2, "fill": "previous"}));
    assert_eq!(ask(&tenant, &hanging).problem(400)["position"], "fill");
}

#[test]
fn a_line_has_as_many_points_as_asked_and_a_time_has_its_values() {
    let tenant = Platform::shared().tenant();
    let device = meter(&tenant, "line");
    let asked = body(&[&device], "energy", json!({"lttb": 10, "shape": "columns"}));
    let found = ask(&tenant, &asked).expect(200);
    let times = found["series"][0]["at_ms"].as_array().unwrap().clone();
    assert_eq!((times.len(), &times[0]), (10, &json!(T0)), "{found}");
    assert_eq!(times[9], json!(T0 + 69 * HOUR), "{found}");

    let latest = |at: &str| {
        let body = json!({"device_ids": [device.id], "at": at});
        let found = tenant.post("/v1/telemetry/latest", &body).expect(200);
        let items = found["items"].as_array().unwrap().clone();
        items.into_iter().map(|item| item["value"].clone()).collect::<Vec<Value>>()
    };
    assert_eq!(latest("2026-03-28T05:59:59Z"), [json!(5), json!("s5")]);
    assert_eq!(latest("2026-03-28T06:00:00Z"), [json!(6), json!("s6")]);
    assert!(latest("2026-03-27T00:00:00Z").is_empty());
    let body = json!({"device_ids": [device.id], "at": "2026-03-28T06:30:00Z"});
    let request = tenant.request("POST", "/v1/telemetry/latest").header("accept", "text/csv");
    let csv = request.json(&body).send().text();
    let line = format!("{},energy,2026-03-28T06:00:00Z,6,good\r\n", device.id);
    assert!(csv.starts_with(&format!("device_id,key,at,value,quality\r\n{line}")), "{csv}");
}

#[test]
fn a_question_is_refused_by_what_is_wrong_with_it() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = meter(&tenant, "asked");
    let check = |more: Value, position: &str| {
        let problem = ask(&tenant, &body(&[&device], "energy", more)).problem(400);
        assert_eq!(problem["position"], position, "{problem}");
    };
    check(json!({"bucket": "day", "time_zone": "Europe/Atlantis"}), "time_zone");
    check(json!({"bucket": "day", "aggregates": ["median"]}), "aggregates[0]");
    check(json!({"lttb": 1}), "lttb");
    check(json!({"aggregates": ["avg"]}), "aggregates");
    let problem = ask(
        &tenant,
        &body(&[&device], "energy", json!({"bucket_ms": 1, "aggregates": ["avg"], "fill": "null"})),
    )
    .problem(400);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("query_points_max") || detail.contains("query_memory"), "{problem}");
    // Another tenant's device is as good as not there, in every form.
    let other = platform.tenant();
    let asked = body(&[&device], "energy", json!({"bucket": "day"}));
    for form in ["application/json", "text/csv", "application/vnd.apache.arrow.stream"] {
        table(&other, &asked, form).problem(404);
    }
}

#[cfg(not(feature = "sql"))]
#[test]
fn a_build_without_sql_says_how_to_have_it() {
    let tenant = Platform::shared().tenant();
    let problem = tenant.post("/v1/telemetry/sql", &json!({"query": "SELECT 1"})).problem(501);
    assert_eq!(problem["type"], "/problems/not-built", "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("--features sql"), "{problem}");
    tenant.post("/v1/telemetry/sql", &json!({"query": " "})).problem(400);
}
