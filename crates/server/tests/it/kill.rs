//! The process is killed at random moments while writers record what was acknowledged; after each
//! restart every acknowledged reading is there with its value, without any repair. The seed is
//! printed and `VERITWIN_SEED` repeats it.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use veritwin_domain::{Rng, SeededRng};

use crate::guard::start;
use crate::harness::{Platform, now_ms, pause, wait_for};
use crate::http::{Connection, Http};
use crate::mqtt::{Mqtt, Packet, Version};
use crate::tenant::{Device, Tenant};

const TELEMETRY: &str = "v1/devices/me/telemetry";
/// Publications that an MQTT writer keeps in flight.
const WINDOW: i64 = 8;
/// The writer that leaves the time to the platform, and what it keeps in flight: many messages
/// come in one read.
const UNTIMED: usize = 2;
const UNTIMED_WINDOW: i64 = 100;
const KEY: &str = "k";
/// 2026-01-01T00:00:00Z in milliseconds.
pub(crate) const T0: i64 = 1_767_225_600_000;
/// Time stamps that each round has for itself.
pub(crate) const ROUND_MS: i64 = 1_000_000;

pub(crate) fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

pub(crate) fn below(rng: &SeededRng, bound: u64) -> u64 {
    let mut bytes = [0u8; 8];
    rng.fill(&mut bytes);
    u64::from_le_bytes(bytes) % bound
}

/// The value that belongs to a time stamp, so that a wrong one is seen.
pub(crate) fn value_at(at: i64) -> f64 {
    (at - T0) as f64 / 8.0 - 3.0
}

fn reading(at: i64) -> Value {
    json!({"ts": at, "values": {KEY: value_at(at)}})
}

/// One acknowledged reading: which device, and when.
pub(crate) type Acknowledged = (usize, i64);

/// The key of the readings without a time: what a round sent is told by it.
fn untimed_key(at: i64) -> String {
    format!("round-{}", (at - T0) / ROUND_MS)
}

/// Publishes until the connection breaks.
pub(crate) fn write_mqtt(client: Mqtt, device: usize, from: i64, told: &Sender<Acknowledged>) {
    publish(client, device, from, told, (WINDOW, reading));
}

fn publish(
    mut client: Mqtt,
    device: usize,
    from: i64,
    told: &Sender<Acknowledged>,
    (window, message): (i64, fn(i64) -> Value),
) {
    let mut waiting: HashMap<u16, i64> = HashMap::new();
    let mut next = from;
    loop {
        while next - from < ROUND_MS && (waiting.len() as i64) < window {
            let Ok(id) = client.send(TELEMETRY, message(next).to_string().as_bytes()) else {
                return;
            };
            waiting.insert(id, next);
            next += 1;
        }
        match client.read() {
            Ok(Packet::PubAck(id, 0, _)) => {
                let at = waiting.remove(&id).expect("an acknowledgement of what was sent");
                let _ = told.send((device, at));
            }
            Ok(Packet::Disconnect(_)) | Err(_) => return,
            Ok(other) => panic!("{other:?}"),
        }
    }
}

/// Posts until the connection breaks.
pub(crate) fn write_http(
    http: &Http,
    token: &str,
    device: usize,
    from: i64,
    told: &Sender<Acknowledged>,
) {
    let Ok(mut connection) = http.connect() else { return };
    for at in from..from + ROUND_MS {
        let request = http.post("/api/v1/telemetry").bearer(token).json(&reading(at));
        match Connection::send(&mut connection, request) {
            Ok(answer) if answer.status == 200 => {
                let _ = told.send((device, at));
            }
            // Never acknowledged, so never asked back.
            Ok(answer) if answer.status == 503 => return,
            Ok(answer) => panic!("{}", answer.text()),
            Err(_) => return,
        }
    }
}

struct World {
    platform: Platform,
    tenant: Tenant,
    devices: Vec<Device>,
    rng: SeededRng,
    acknowledged: Vec<Acknowledged>,
    slowest_start: Duration,
}

impl World {
    /// Lets everybody write, and kills the process at a random moment.
    fn round(&mut self, round: i64) {
        let from = T0 + round * ROUND_MS;
        let (told, heard) = channel();
        let (platform, devices) = (&mut self.platform, &self.devices);
        let until = 1 + below(&self.rng, 300);
        let extra = Duration::from_micros(below(&self.rng, 20_000));
        let acknowledged = std::thread::scope(|scope| {
            for (index, device) in devices.iter().enumerate() {
                let told = told.clone();
                let http = platform.http().clone();
                let version = [Version::V311, Version::V5][index % 2];
                scope.spawn(move || {
                    if index < 3 {
                        let Ok(client) = Mqtt::connect(&http, version, &device.token) else {
                            return;
                        };
                        if index == UNTIMED {
                            let message = |at| json!({untimed_key(at): value_at(at)});
                            publish(client, index, from, &told, (UNTIMED_WINDOW, message));
                        } else {
                            write_mqtt(client, index, from, &told);
                        }
                    } else {
                        write_http(&http, &device.token, index, from, &told);
                    }
                });
            }
            drop(told);
            let mut acknowledged = Vec::new();
            while (acknowledged.len() as u64) < until {
                acknowledged.push(heard.recv().expect("an acknowledgement"));
            }
            drain_for(&heard, extra, &mut acknowledged);
            platform.kill();
            // What was on its way to us when the process died counts too.
            acknowledged.extend(heard);
            acknowledged
        });
        self.acknowledged.extend(&acknowledged);
        if below(&self.rng, 4) == 0 {
            // Killed again in the middle of the recovery.
            self.platform.spawn();
            pause(Duration::from_millis(below(&self.rng, 250)));
            self.platform.kill();
        }
        self.platform.start_again();
        let took = self.platform.start_time();
        self.slowest_start = self.slowest_start.max(took);
        println!("round {round}: {} acknowledged, start in {took:?}", acknowledged.len());
        self.check(round, &acknowledged);
    }

    /// Every acknowledged reading of a round is there, and nothing that nobody sent.
    fn check(&self, round: i64, acknowledged: &[Acknowledged]) {
        let from = T0 + round * ROUND_MS;
        let untimed = self.untimed_values(from);
        for (_, at) in acknowledged.iter().filter(|one| one.0 == UNTIMED) {
            let expect = value_at(*at);
            assert!(untimed.contains(&expect), "{expect} of round {round} is lost");
        }
        let timed = self.devices.iter().enumerate().filter(|(index, _)| *index != UNTIMED);
        for (index, device) in timed {
            let points = points_between(&self.tenant, device, from, from + ROUND_MS);
            for (at, value) in &points {
                assert_eq!(*value, value_at(*at), "{} at {at}", device.name);
            }
            for (_, at) in acknowledged.iter().filter(|one| one.0 == index) {
                assert!(points.contains_key(at), "{}: {at} of round {round} is lost", device.name);
            }
        }
    }
}

impl World {
    /// What the writer without times has of a round.
    fn untimed_values(&self, from: i64) -> Vec<f64> {
        let series = json!([{"device_id": self.devices[UNTIMED].id, "key": untimed_key(from)}]);
        let (from, to) = ("2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z");
        let query = json!({"series": series, "from": from, "to": to, "shape": "columns"});
        let answer = self.tenant.post("/v1/telemetry/query", &query).expect(200);
        assert!(answer["next_cursor"].is_null(), "{answer}");
        let values = answer["series"][0]["value"].as_array().unwrap().iter();
        values.map(|value| value.as_f64().unwrap()).collect()
    }
}

fn drain_for(heard: &Receiver<Acknowledged>, time: Duration, into: &mut Vec<Acknowledged>) {
    let end = Instant::now() + time;
    loop {
        match heard.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(one) => into.push(one),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
    }
}

pub(crate) fn points_between(
    tenant: &Tenant,
    device: &Device,
    from: i64,
    to: i64,
) -> HashMap<i64, f64> {
    let time = |at: i64| veritwin_domain::Timestamp::from_millis(at).expect("in range").to_string();
    let answer = tenant
        .post(
            "/v1/telemetry/query",
            &json!({
                "series": [{"device_id": device.id, "key": KEY}],
                "from": time(from), "to": time(to), "shape": "columns",
            }),
        )
        .expect(200);
    let series = &answer["series"][0];
    let times = series["at_ms"].as_array().unwrap().iter().map(|at| at.as_i64().unwrap());
    let values = series["value"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap());
    times.zip(values).collect()
}

#[test]
fn no_acknowledged_reading_is_lost() {
    let rounds = number("VERITWIN_KILL_ROUNDS", 20);
    let seed = number("VERITWIN_SEED", now_ms().unsigned_abs());
    println!("seed {seed}: repeat with VERITWIN_SEED={seed} VERITWIN_KILL_ROUNDS={rounds}");
    let platform = Platform::serve();
    let tenant = platform.tenant();
    let devices = (0..4).map(|index| tenant.device(&format!("writer-{index}"))).collect();
    let mut world = World {
        platform,
        tenant,
        devices,
        rng: SeededRng::new(seed),
        acknowledged: Vec::new(),
        slowest_start: Duration::ZERO,
    };
    for round in 0..i64::try_from(rounds).unwrap() {
        world.round(round);
    }
    for round in 0..i64::try_from(rounds).unwrap() {
        let of_round = |one: &&Acknowledged| (one.1 - T0) / ROUND_MS == round;
        let acknowledged: Vec<Acknowledged> =
            world.acknowledged.iter().filter(of_round).copied().collect();
        world.check(round, &acknowledged);
    }
    println!(
        "{} readings acknowledged in {rounds} rounds, slowest start {:?}",
        world.acknowledged.len(),
        world.slowest_start
    );
    ledger_is_whole(&world);
}

/// The ledger verifies, has no gap and no overlap, and a sample of the readings has its papers.
fn ledger_is_whole(world: &World) {
    let size = world.tenant.sealed(1);
    let out = world.platform.scratch("export");
    let out = out.to_str().unwrap();
    let platform = &world.platform;
    platform.cli(&["ledger", "export", out, "--tenant", &world.tenant.id]).done();
    let vkey = world.tenant.get("/v1/ledger").expect(200)["vkey"].as_str().unwrap().to_owned();
    let verified = platform.cli(&["ledger", "verify", out, "--vkey", &vkey]);
    assert_eq!(verified.code, 0, "{verified:?}");
    platform.cli(&["ledger", "gaps", out]).done();

    let mut next_sequence = None;
    let mut entries = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = world.tenant.get(&format!("/v1/ledger/entries?limit=500{cursor}")).expect(200);
        entries.extend(page["items"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert!(entries.len() as u64 >= size);
    let number = |entry: &Value, key: &str| entry[key].as_u64().unwrap();
    // What people did is sealed between what devices sent, and numbered with it.
    for entry in entries.iter().rev().filter(|entry| entry["count"] != 0) {
        let (first, last) = (number(entry, "first_sequence"), number(entry, "last_sequence"));
        assert_eq!(last - first + 1, number(entry, "count"), "{entry}");
        assert!(next_sequence.is_none_or(|next| next == first), "{entry}");
        next_sequence = Some(last + 1);
    }
    // The last reading of each device before each kill is the one most likely to be missed.
    let mut last: HashMap<(usize, i64), i64> = HashMap::new();
    for (device, at) in world.acknowledged.iter().filter(|one| one.0 != UNTIMED) {
        let newest = last.entry((*device, (at - T0) / ROUND_MS)).or_default();
        *newest = (*newest).max(*at);
    }
    for ((device, _), at) in last {
        let device = &world.devices[device];
        let time = veritwin_domain::Timestamp::from_millis(at).unwrap();
        let path = format!("/v1/ledger/papers?device_id={}&key={KEY}&at={time}", device.id);
        let papers = wait_for(&format!("papers of {} at {at}", device.name), || {
            let papers = world.tenant.get(&path).expect(200);
            papers["leaf"].is_object().then_some(papers)
        });
        assert_eq!(papers["reading"]["value"], value_at(at), "{papers}");
    }
}

/// Stores `VERITWIN_KILL_POINTS` points, kills and starts.
#[test]
#[ignore = "long: cargo xtask soak runs it"]
fn start_after_a_kill_with_many_points() {
    const SERIES: u64 = 50;
    const POINTS_PER_BODY: u64 = 50_000;
    let points = number("VERITWIN_KILL_POINTS", 10_000_000);
    let mut platform = start(&[("VERITWIN__LIMITS__TENANT_READINGS_PER_SECOND", "100000000")]);
    let tenant = platform.tenant();
    let device = tenant.device("many");
    let rows = points.div_ceil(SERIES);
    let rows_per_body = POINTS_PER_BODY / SERIES;
    let fields = |row: u64| {
        let fields: Vec<String> = (0..SERIES)
            .map(|series| format!("s{series}={}", (row * 7 + series * 13) % 1000))
            .collect();
        fields.join(",")
    };
    let started = Instant::now();
    for body in 0..rows.div_ceil(rows_per_body) {
        let rows = body * rows_per_body..((body + 1) * rows_per_body).min(rows);
        let lines: Vec<String> = rows
            .map(|row| format!("many {} {}", fields(row), T0 + 1000 * i64::try_from(row).unwrap()))
            .collect();
        tenant.write("?precision=ms", "text/plain", &lines.join("\n")).expect(200);
    }
    println!("{} points written in {:?}", rows * SERIES, started.elapsed());
    platform.kill();
    platform.start_again();
    let took = platform.start_time();
    println!("start after a kill with {} points stored: {took:?}", rows * SERIES);
    for series in 0..SERIES {
        assert_eq!(tenant.stats(&device, &format!("s{series}")).0, rows, "series {series}");
    }
    assert!(took < Duration::from_secs(2), "{took:?}");
}
