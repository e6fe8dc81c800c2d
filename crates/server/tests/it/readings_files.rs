//! Readings in from files and out into files: nothing twice, nothing lost when either side is
//! killed, refused rows named, and nothing for another tenant.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{Output, Platform, wait_for};
use crate::kill::T0;
use crate::tenant::{Device, Tenant};

fn import(platform: &Platform, tenant: &Tenant, arguments: &[&str]) -> Output {
    let common = ["readings", "import", "--json", "--api-key", &tenant.api_key];
    platform.cli(&[&common[..], arguments].concat())
}

/// A CSV file of so many rows, a second apart.
fn csv(rows: i64) -> String {
    let mut text = String::from("machine,when,temp,state\n");
    for row in 0..rows {
        let (at, temp) = (T0 + row * 1_000, row as f64 / 10.0);
        writeln!(text, "Mill,{at},{temp:?},{}", if row % 2 == 0 { "on" } else { "off" }).unwrap();
    }
    text
}

const PLAN: [&str; 10] = [
    "--device-column",
    "machine",
    "--time-column",
    "when",
    "--time-format",
    "ms",
    "--value",
    "temp=temperature:double",
    "--value",
    "state",
];

#[test]
fn a_file_is_imported_once_and_its_wrong_rows_are_written_out() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let mill = tenant.device("Mill");
    let file = platform.scratch("mill.csv");
    let mut text = csv(1_000);
    text.push_str("Mill,soon,1,on\nNobody,1767225600000,1,on\nMill,1767225600001,warm,on\n");
    fs::write(&file, &text).unwrap();
    let arguments = [&[file.to_str().unwrap()][..], &PLAN].concat();
    let output = import(platform, &tenant, &arguments);
    assert_eq!(output.code, 1, "{output:?}");
    let done: Value = serde_json::from_str(&output.stdout).unwrap();
    let done = &done["files"][0];
    assert_eq!((&done["rows"], &done["readings"]), (&json!(1_003), &json!(2_000)), "{done}");
    assert_eq!(done["refused"], 3, "{done}");
    let refused = fs::read_to_string(done["refused_file"].as_str().unwrap()).unwrap();
    let mode = fs::metadata(done["refused_file"].as_str().unwrap()).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "nobody else reads them: {mode:o}");
    let refused: Vec<Value> =
        refused.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rows: Vec<&Value> = refused.iter().map(|one| &one["row"]).collect();
    assert_eq!(rows, [&json!(1_002), &json!(1_003), &json!(1_004)]);
    assert_eq!(refused[0]["line"], "Mill,soon,1,on");
    assert!(refused[1]["detail"].as_str().unwrap().contains("unknown device"), "{refused:?}");
    assert_eq!(refused[2]["column"], 3);
    assert_eq!(tenant.stats(&mill, "temperature"), (1_000, Some(0.0), Some(99.9)));

    // The same command again is the same import; another import of the same values, the same.
    let again: Value = serde_json::from_str(&import(platform, &tenant, &arguments).stdout).unwrap();
    assert_eq!(again["files"][0]["was_done"], true, "{again}");
    assert_eq!(again["files"][0]["import"], done["import"]);
    let other = [&arguments[..], &["--quality-column", "state"]].concat();
    assert_eq!(import(platform, &tenant, &other).code, 1, "no quality is called on");
    let renamed = platform.scratch("mill-again.csv");
    fs::write(&renamed, csv(1_000).replace("machine", "device")).unwrap();
    let mut arguments = [&[renamed.to_str().unwrap()][..], &PLAN].concat();
    arguments[2] = "device";
    import(platform, &tenant, &arguments).done();
    assert_eq!(tenant.stats(&mill, "temperature"), (1_000, Some(0.0), Some(99.9)));
    assert_eq!(tenant.points(&mill, "state").len(), 1_000);
    let list = tenant.get("/v1/imports").expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 3, "{list}");
    let other = platform.tenant();
    let id = done["import"].as_str().unwrap();
    other.get(&format!("/v1/imports/{id}")).problem(404);
    other.get(&format!("/v1/imports/{id}/refused")).problem(404);
}

#[test]
fn an_import_goes_on_after_either_side_was_killed() {
    let mut platform = Platform::serve();
    let tenant = platform.tenant();
    let mill = tenant.device("Mill");
    let file = platform.scratch("long.csv");
    // Some pieces of four MiB.
    let rows = 500_000;
    fs::write(&file, csv(rows)).unwrap();
    let arguments = [&[file.to_str().unwrap()][..], &PLAN].concat();
    let moved = |tenant: &Tenant| {
        let list = tenant.get("/v1/imports").expect(200);
        list["items"][0]["rows"].as_u64().unwrap_or_default()
    };
    let start = |platform: &Platform| {
        let mut command = platform.command();
        command.args(["readings", "import", "--json", "--api-key", &tenant.api_key]);
        command.args(&arguments).env("VERITWIN_DATA", platform.data());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    // The client goes.
    let mut client = start(&platform);
    wait_for("the first rows", || (moved(&tenant) > 0).then_some(()));
    client.kill().unwrap();
    client.wait().unwrap();
    let before = moved(&tenant);
    // The platform goes.
    let mut client = start(&platform);
    wait_for("more rows", || {
        let ended = client.try_wait().unwrap().is_some();
        (ended || moved(&tenant) > before).then_some(())
    });
    platform.kill();
    let _ = client.kill();
    client.wait().unwrap();
    platform.start_again();
    let tenant = tenant.at(platform.http());
    let output = import(&platform, &tenant, &arguments);
    assert_eq!(output.code, 0, "{output:?}");
    let done: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(done["files"][0]["rows"], rows, "{done}");
    assert_eq!(done["files"][0]["readings"], 2 * rows, "{done}");
    let (count, least, most) = tenant.stats(&mill, "temperature");
    assert_eq!((count, least), (rows as u64, Some(0.0)));
    assert_eq!(most, Some((rows - 1) as f64 / 10.0));
    assert_eq!(tenant.stats(&mill, "state").0, rows as u64);
}

#[test]
fn what_is_exported_is_imported_elsewhere() {
    let platform = Platform::shared();
    let (from, to) = (platform.tenant(), platform.tenant());
    let device = from.device("Pump");
    for row in 0..50 {
        let values = json!({
            "flow": f64::from(row) / 4.0, "count": row, "on": row % 2 == 0,
            "note": format!("a \"b\", {row}"), "more": {"row": row},
        });
        from.send(&device, &json!({"ts": T0 + i64::from(row) * 60_000, "values": values}))
            .expect(200);
    }
    let keys = ["flow", "count", "on", "note", "more"];
    let of = |tenant: &Tenant, device: &Device| keys.map(|key| tenant.points(device, key));
    let before = of(&from, &device);
    // Line protocol, which has no JSON, comes last.
    for format in ["csv", "ndjson", "parquet", "lp"] {
        let file = platform.scratch(&format!("pump.{format}"));
        let path = file.to_str().unwrap();
        let arguments =
            ["readings", "export", path, "--json", "--api-key", &from.api_key, "--key", "flow"];
        let more = ["--key", "count", "--key", "on", "--key", "note", "--key", "more"];
        let done = platform.cli(&[&arguments[..], &more].concat()).json();
        assert_eq!(done["bytes"], fs::metadata(&file).unwrap().len(), "{format}");
        // Another tenant has no such device: every row is refused.
        let precision = if format == "lp" { &["--precision", "us"][..] } else { &[] };
        let refused = import(platform, &to, &[&[path][..], precision].concat());
        assert_eq!(refused.code, 1, "{format}: {refused:?}");
        let refused: Value = serde_json::from_str(&refused.stdout).unwrap();
        let refused = &refused["files"][0];
        assert_eq!((&refused["readings"], &refused["refused"]), (&json!(0), &json!(250)));
        // Its own tenant takes them back as they are.
        import(platform, &from, &[&[path][..], precision].concat()).done();
        let told = if format == "lp" { keys.len() - 1 } else { keys.len() };
        assert_eq!(before[..told], of(&from, &device)[..told], "{format}");
        assert_eq!(from.stats(&device, "flow").0, 50, "{format}");
    }
    let foreign = json!({"device_ids": [device.id]});
    to.post("/v1/telemetry/export", &foreign).problem(404);
    let pump = to.device("Pump");
    let path = platform.scratch("pump.csv");
    let by_name = [
        path.to_str().unwrap(),
        "--device-column",
        "device",
        "--key-column",
        "key",
        "--value-column",
        "value",
        "--kind-column",
        "type",
        "--quality-column",
        "quality",
    ];
    import(platform, &to, &by_name).done();
    assert_eq!(before, of(&to, &pump));
    let records = from.get("/v1/activity?action=telemetry.export").expect(200);
    assert_eq!(records["items"].as_array().unwrap().len(), 4, "{records}");
}

#[test]
fn pieces_come_in_their_order_and_a_plan_can_be_tried() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("Meter");
    let new = json!({"name": "m.ndjson", "digest": "m", "plan": {"format": "ndjson"}});
    let import = tenant.post("/v1/imports", &new).expect(201);
    let again = tenant.post("/v1/imports", &new).expect(200);
    assert_eq!(again["id"], import["id"]);
    let id = import["id"].as_str().unwrap();
    let send = |number: u64, last: bool, line: &str| {
        let path = format!("/v1/imports/{id}/piece?number={number}&last={last}");
        let body = line.as_bytes();
        tenant.request("PUT", &path).body("application/octet-stream", body).send()
    };
    let line = |ts: i64, value: i64| {
        format!("{{\"device\":\"Meter\",\"ts\":{ts},\"values\":{{\"kwh\":{value}}}}}\n")
    };
    send(1, false, &line(T0, 1)).problem(409);
    let taken = send(0, false, &line(T0, 1)).expect(200);
    assert_eq!((&taken["next_piece"], &taken["readings"]), (&json!(1), &json!(1)));
    // It was taken: what it says now counts for nothing.
    assert_eq!(send(0, false, &line(T0, 7)).expect(200)["readings"], 1);
    tenant.delete(&format!("/v1/imports/{id}")).expect(204);
    send(1, true, &line(T0 + 1, 2)).problem(409);
    assert_eq!(tenant.post("/v1/imports", &new).expect(200)["state"], "open");
    assert_eq!(send(1, true, &line(T0 + 1, 2)).expect(200)["state"], "done");
    assert_eq!(tenant.points(&device, "kwh"), [(T0, json!(1)), (T0 + 1, json!(2))]);

    let plan = [
        "%7B%22format%22%3A%22csv%22%2C%22device%22%3A%22Meter%22%2C%22time_column%22%3A%22t%22",
        "%2C%22time_format%22%3A%22local%22%2C%22time_zone%22%3A%22Asia%2FTokyo%22%7D",
    ]
    .concat();
    let body = b"t,kwh\n2026-01-01 09:00:00,5\nsometime,6\n";
    let path = format!("/v1/imports/preview?plan={plan}");
    let preview = tenant.request("POST", &path).body("text/csv", body).send().expect(200);
    assert_eq!(preview["columns"], json!(["t", "kwh"]));
    assert_eq!(preview["readings"][0]["at"], "2026-01-01T00:00:00Z", "{preview}");
    assert_eq!(preview["readings"][0]["device_known"], true);
    assert_eq!(preview["refused"][0]["row"], 3);
    assert_eq!(tenant.points(&device, "kwh").len(), 2, "a preview stores nothing");
}

#[test]
fn an_export_holds_what_its_receiver_may_see() {
    let tenant = Platform::shared().tenant();
    let device = |declaration: &str| {
        let body = json!({"name": declaration, "type": "test", "declaration": declaration});
        let made = tenant.post("/v1/devices", &body).expect(201);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (id, token) = (text(&made["device"]["id"]), text(&made["token"]));
        let device = Device { id, name: declaration.to_owned(), token };
        tenant.send(&device, &json!({"ts": T0, "values": {"t": 1}})).expect(200);
        device
    };
    let open = device("non_personal");
    let closed = [device("personal"), device("undeclared")];
    let export = |cookie: &str, body: &Value| {
        tenant.http().post("/v1/telemetry/export").header("cookie", cookie).json(body).send()
    };
    let (_, analyst) = tenant.member("studies", "analyst");
    let answer = export(&analyst, &json!({}));
    assert_eq!(answer.status, 200);
    let rows = answer.text();
    assert!(rows.contains(&open.id), "{rows}");
    for device in &closed {
        assert!(!rows.contains(&device.id), "{rows}");
        // Named, it has nothing that may be shown.
        let rows = export(&analyst, &json!({"device_ids": [device.id]})).text();
        assert_eq!(rows.lines().count(), 1, "{rows}");
    }
    let rows = export(&tenant.cookie, &json!({})).text();
    assert!(closed.iter().all(|device| rows.contains(&device.id)), "{rows}");
    // Who may read and not take away gets nothing, and neither does who may do nothing any more.
    let (_, viewer) = tenant.member("reads", "viewer");
    export(&viewer, &json!({})).problem(403);
    tenant.http().request("DELETE", "/v1/session").header("cookie", &analyst).send().expect(204);
    export(&analyst, &json!({})).problem(401);
}
