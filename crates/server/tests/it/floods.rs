//! What one device or tenant may hand in beside others: readings are counted as readings however
//! they come, memory has room for others, and the ledger's archive takes so much a day.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::guard::{names_its_limit, start};
use crate::harness::{Mode, Options, Platform, wait_for};
use crate::http::Answer;
use crate::mqtt::{Packet, Version};
use crate::tenant::{Device, Tenant};
use crate::websocket::WebSocket;

const TELEMETRY: &str = "v1/devices/me/telemetry";

/// So many readings, the last of them of this number.
fn many(count: usize) -> Vec<Value> {
    (1..=count).map(|number| json!({"t": number})).collect()
}

fn squeezed(telemetry: &Value) -> Vec<u8> {
    let mut body = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    body.write_all(telemetry.to_string().as_bytes()).unwrap();
    body.finish().unwrap()
}

#[track_caller]
fn of_the_device(refused: &Answer) {
    names_its_limit(refused, "device_readings_per_second", "at most 10 a second and 20 at once");
}

#[test]
fn a_message_of_many_readings_costs_what_they_cost() {
    let platform = start(&[("VERITWIN__LIMITS__DEVICE_READINGS_PER_SECOND", "10")]);
    let tenant = platform.tenant();
    let (http, one) = (platform.http(), json!({"t": 1}));

    // A full bucket takes the large ones whole; what it did not hold is paid for.
    let squeezing = tenant.device("squeezing");
    let body = squeezed(&Value::from(many(300)));
    let request = http.post("/api/v1/telemetry").bearer(&squeezing.token);
    let request = request.header("content-encoding", "gzip").body("application/json", &body);
    request.clone().send().expect(200);
    of_the_device(&request.send());
    of_the_device(&tenant.send(&squeezing, &one));
    assert_eq!(tenant.stats(&squeezing, "t").0, 300, "nothing of the refused is stored");
    let saved = http.post("/api/v1/attributes").bearer(&squeezing.token).json(&json!({"a": 1}));
    of_the_device(&saved.send());

    let bulk = tenant.device("bulk");
    let lines: Vec<String> = (1..=300).map(|number| format!("bulk t={number}")).collect();
    let lines = lines.join("\n");
    let write = http.post("/v1/telemetry/write").bearer(&bulk.token);
    let write = write.body("text/plain", lines.as_bytes());
    write.clone().send().expect(200);
    of_the_device(&write.send());
    assert_eq!(tenant.stats(&bulk, "t").0, 300);

    let wordy = tenant.device("wordy");
    tenant.send(&wordy, &json!({"t": "x".repeat(40 * 1024)})).expect(200);
    of_the_device(&tenant.send(&wordy, &one));

    let talking = tenant.device("talking");
    let mut socket = WebSocket::authenticated(http, &talking.token);
    let values: Map<String, Value> =
        (0..300).map(|number| (format!("k{number}"), json!(number))).collect();
    socket.send(&json!({"op": "publish", "id": 1, "values": values}));
    assert_eq!(socket.receive()["type"], "done");
    socket.send(&json!({"op": "publish", "id": 2, "values": one}));
    let said = socket.receive();
    let text = said.to_string();
    assert!(said["type"] == "error" && text.contains("device_readings_per_second"), "{said}");

    tenant.send(&tenant.device("calm"), &one).expect(200);
}

#[test]
fn readings_over_mqtt_are_read_more_slowly() {
    let platform = start(&[("VERITWIN__LIMITS__DEVICE_READINGS_PER_SECOND", "10")]);
    let tenant = platform.tenant();
    let device = tenant.device("meter");
    let mut client = platform.mqtt(Version::V311, &device.token);
    let began = Instant::now();
    // Three seconds of them more than the bucket holds.
    let large = Value::from(many(50)).to_string();
    client.send(TELEMETRY, large.as_bytes()).unwrap();
    assert!(matches!(client.read().unwrap(), Packet::PubAck(_, 0, _)));
    client.send(TELEMETRY, b"{\"t\":51}").unwrap();
    assert!(matches!(client.read().unwrap(), Packet::PubAck(_, 0, _)));
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(2_800), "{took:?}");
    assert_eq!(tenant.stats(&device, "t").0, 51, "and none is lost");
}

#[test]
fn readings_of_a_tenant_do_not_use_up_anothers() {
    let platform = start(&[("VERITWIN__LIMITS__TENANT_READINGS_PER_SECOND", "10")]);
    let (mine, theirs) = (platform.tenant(), platform.tenant());
    let names = ["a", "b", "c"];
    let devices = names.map(|name| mine.device(name));
    let other = theirs.device("other");
    let lines: Vec<String> = (0..300).map(|n| format!("{} t={n}", names[n % 3])).collect();
    mine.write("", "text/plain", &lines.join("\n")).expect(200);
    let refused = mine.write("", "text/plain", "a t=1");
    let limit = "tenant_readings_per_second";
    names_its_limit(&refused, limit, "at most 10 a second and 20 at once");
    let refused = mine.send(&devices[0], &json!({"t": 1}));
    names_its_limit(&refused, limit, "at most 10 a second and 20 at once");
    theirs.send(&other, &json!({"t": 1})).expect(200);
}

/// Ends the floods, also where the test fails: nobody would wait for them otherwise.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How long readings wait for room before they are refused.
const ROOM_WAIT: Duration = Duration::from_secs(5);

/// Hands in readings until it is told to stop; how many, and the names of refusals.
fn flood(
    tenant: &Tenant,
    device: &Device,
    refused: &AtomicUsize,
    stop: &AtomicBool,
) -> (usize, Vec<Value>) {
    let body = Value::from(many(5_000));
    let (mut taken, mut limits) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let answer = tenant.send(device, &body);
        if answer.status == 200 {
            taken += 5_000;
        } else {
            limits.push(answer.problem(429)["limit"].clone());
            refused.fetch_add(1, Ordering::Relaxed);
        }
    }
    (taken, limits)
}

#[test]
fn whoever_fills_the_memory_leaves_room_for_others() {
    // One tenant's flood is more than the table holds.
    let platform = start(&[
        ("VERITWIN__TELEMETRY__MEMORY_BYTES_MAX", "1000000"),
        ("VERITWIN__LIMITS__DEVICE_READINGS_PER_SECOND", "1000000000"),
        ("VERITWIN__LIMITS__TENANT_READINGS_PER_SECOND", "1000000000"),
    ]);
    let (loud, quiet) = (platform.tenant(), platform.tenant());
    let flooding = ["one", "two", "three", "four"].map(|name| loud.device(name));
    let victim = quiet.device("meter");
    // No segment can be written, so that nothing makes room: were the table there for whoever
    // comes first, the other one would wait as long as the flood does, and be refused as it is.
    let store = platform.data().join("objects/segments");
    let packs = store.join("segments");
    std::fs::create_dir_all(&store).unwrap();
    if packs.exists() {
        std::fs::rename(&packs, store.join("aside")).unwrap();
    }
    std::fs::write(&packs, "no folder").unwrap();
    let (stop, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let ends = Ends(&stop);
        let running =
            flooding.each_ref().map(|device| scope.spawn(|| flood(&loud, device, &refused, &stop)));
        wait_for("the flood to find no room", || {
            (refused.load(Ordering::Relaxed) >= flooding.len()).then_some(())
        });
        let mut slowest = Duration::ZERO;
        for number in 0..20 {
            let began = Instant::now();
            quiet.send(&victim, &json!({"t": number})).expect(200);
            slowest = slowest.max(began.elapsed());
        }
        drop(ends);
        let mut taken = 0;
        for thread in running {
            let (more, limits) = thread.join().unwrap();
            taken += more;
            assert!(limits.iter().all(|limit| *limit == "tenant_memory_bytes_max"), "{limits:?}");
        }
        assert!(slowest < ROOM_WAIT, "the other one waited {slowest:?} beside {taken} readings");
    });
    assert_eq!(quiet.stats(&victim, "t").0, 20);
    // With segments there is room again.
    std::fs::remove_file(&packs).unwrap();
    if store.join("aside").exists() {
        std::fs::rename(store.join("aside"), &packs).unwrap();
    }
    wait_for("room", || (loud.send(&flooding[0], &json!({"t": 0})).status == 200).then_some(()));
}

#[test]
fn the_ledger_takes_so_much_of_a_tenant_in_a_day() {
    const LIMIT: &str = "ledger_bytes_per_day";
    let arguments = vec!["--simulated-clock".to_owned(), "2026-03-10T08:00:00Z".to_owned()];
    let options = Options { arguments, ..Options::default() };
    let options = options.environment("VERITWIN__LIMITS__LEDGER_BYTES_PER_DAY", "3000");
    let platform = Platform::start(Mode::Serve, options);
    let (tenant, other) = (platform.tenant(), platform.tenant());
    let (device, theirs) = (tenant.device("meter"), other.device("meter"));
    tenant.send(&device, &json!({"t": "x".repeat(4_000)})).expect(200);
    tenant.sealed(1);
    let problem = tenant.send(&device, &json!({"t": 1})).problem(507);
    assert_eq!(problem["limit"], LIMIT, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("at most 3000"), "{problem}");
    let problem = tenant.write("", "text/plain", "meter t=2").problem(507);
    assert_eq!(problem["limit"], LIMIT, "{problem}");
    let (code, reason) = platform.mqtt(Version::V5, &device.token).publish(TELEMETRY, b"{\"t\":3}");
    assert!(code == 0x97 && reason.contains(LIMIT), "{code:#x} {reason}");
    let (code, _) = platform.mqtt(Version::V311, &device.token).publish(TELEMETRY, b"{\"t\":4}");
    assert_eq!(code, 0, "3.1.1 cannot be told");
    let listed = tenant.get(&format!("/v1/devices/{}/refusals", device.id)).expect(200);
    assert_eq!(listed["items"][0]["limit"], LIMIT, "{listed}");
    other.send(&theirs, &json!({"t": 5})).expect(200);
    platform.control("clock_advance", json!({"micros": 86_400_000_000u64})).unwrap();
    wait_for("the next day", || {
        (tenant.send(&device, &json!({"t": 6})).status == 200).then_some(())
    });
}
