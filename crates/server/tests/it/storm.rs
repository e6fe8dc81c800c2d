//! Reconnect storms: the platform is killed, and every device comes back at once. Each finds its
//! session, nothing acknowledged is lost, and others are served meanwhile.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use crate::guard::start;
use crate::harness::{Platform, pause};
use crate::kill::{T0, number};
use crate::mqtt::{Mqtt, Packet};
use crate::skipped::skipped;
use crate::tenant::{Device, Tenant};

const TELEMETRY: &str = "v1/devices/me/telemetry";
/// So many clients' ends are worked on at once.
const THREADS: usize = 32;
/// And so many devices are made at once: the records take one after the other.
const MAKERS: usize = 4;
/// A client whose connection is refused tries again after so long.
const TRY_AGAIN: Duration = Duration::from_millis(100);
/// Longest until one of 20,000 devices is in: all of them come within minutes on two cores.
const COMING_IN_MAX: Duration = Duration::from_secs(600);
/// Longest that another tenant waits for an answer: for its turn, never for the end of the storm.
const BESIDE_MAX: Duration = Duration::from_secs(20);

/// What `each` gives for every number, on some threads.
fn on_threads<T: Send>(threads: usize, count: usize, each: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let (next, each) = (&next, &each);
    let work = move || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return done;
            }
            done.push((number, each(number)));
        }
    };
    let mut all = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended = threads.into_iter().flat_map(|thread| thread.join().expect("a thread"));
        ended.collect::<Vec<_>>()
    });
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, done)| done).collect()
}

/// Connects for as long as it takes; whether the session was there, and how often it was tried.
fn come_in(platform: &Platform, device: &Device) -> (Mqtt, bool, u32) {
    let started = Instant::now();
    for tried in 1.. {
        if let Some((client, present)) = Mqtt::try_kept(platform.http(), "c", &device.token) {
            return (client, present, tried);
        }
        assert!(started.elapsed() < COMING_IN_MAX, "{} does not come in", device.name);
        pause(TRY_AGAIN);
    }
    unreachable!("it is tried for ever")
}

/// Publishes one reading and waits until it is acknowledged.
fn say(client: &mut Mqtt, at: i64) {
    let reading = json!({"ts": T0 + at, "values": {"t": at}});
    let id = client.send(TELEMETRY, reading.to_string().as_bytes()).expect("sent");
    assert_eq!(client.read().expect("told"), Packet::PubAck(id, 0, String::new()));
}

/// The slowest answer that another tenant gets while something happens.
fn beside<T>((calm, meter): (&Tenant, &Device), what: impl FnOnce() -> T) -> (T, Duration, usize) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let (mut slowest, mut served) = (Duration::ZERO, 0);
            loop {
                let started = Instant::now();
                calm.send(meter, &json!({"t": 1})).expect(200);
                slowest = slowest.max(started.elapsed());
                served += 1;
                if is_over.load(Ordering::Acquire) {
                    return (slowest, served);
                }
                pause(Duration::from_millis(20));
            }
        });
        let done = what();
        is_over.store(true, Ordering::Release);
        let (slowest, served) = asking.join().expect("the calm tenant is served");
        (done, slowest, served)
    })
}

/// So many devices come in, are cut off by a kill, and come back at once.
fn storm(mut platform: Platform, count: usize) {
    let (tenant, calm) = (platform.tenant(), platform.tenant());
    let meter = calm.device("meter");
    let devices = on_threads(MAKERS, count, |number| tenant.device(&format!("storm-{number}")));
    let clients = on_threads(THREADS, count, |number| {
        let (mut client, present, _) = come_in(&platform, &devices[number]);
        assert!(!present);
        say(&mut client, 1);
        client
    });
    assert_eq!(clients.len(), count);
    platform.kill();
    drop(clients);
    platform.start_again();
    println!("{count} sessions, start after the kill in {:?}", platform.start_time());

    let started = Instant::now();
    let (back, slowest, served) = beside((&calm, &meter), || {
        on_threads(THREADS, count, |number| {
            let (mut client, present, tried) = come_in(&platform, &devices[number]);
            assert!(present, "{} has lost its session", devices[number].name);
            say(&mut client, 2);
            (client, tried)
        })
    });
    let took = started.elapsed();
    let tried: u32 = back.iter().map(|(_, tried)| tried).sum();
    println!(
        "{count} devices were back in {took:?} ({:.0} a second, {tried} tries); another tenant \
         was served {served} times, in {slowest:?} at most",
        count as f64 / took.as_secs_f64()
    );
    assert!(slowest < BESIDE_MAX, "another tenant waited for {slowest:?}");
    // All of them are there, at once.
    drop(back);
    let step = count.div_ceil(300);
    for device in devices.iter().step_by(step) {
        assert_eq!(tenant.stats(device, "t").0, 2, "{} has lost a reading", device.name);
    }
}

#[test]
fn a_small_storm() {
    storm(Platform::serve(), 300);
}

/// `VERITWIN_STORM_DEVICES` devices, 20,000 where nothing is said.
#[test]
#[ignore = "long: cargo xtask soak runs it"]
fn a_storm_of_all_devices() {
    let count = usize::try_from(number("VERITWIN_STORM_DEVICES", 20_000)).unwrap();
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if allowed < count as u64 + 1_000 {
        skipped(&format!("{allowed} open files are allowed: too few for {count} connections"));
        return;
    }
    let most = (count + 1_000).to_string();
    let most = most.as_str();
    let platform = start(&[
        ("VERITWIN__MQTT__CONNECTIONS_MAX", most),
        ("VERITWIN__MQTT__CONNECTIONS_PER_ADDRESS_MAX", most),
        ("VERITWIN__LIMITS__TENANT_CONNECTIONS_MAX", most),
        ("VERITWIN__LIMITS__ADDRESS_REQUESTS_PER_SECOND", "100000"),
        ("VERITWIN__LIMITS__API_KEY_REQUESTS_PER_SECOND", "100000"),
        ("VERITWIN__LIMITS__TENANT_REQUESTS_PER_SECOND", "100000"),
    ]);
    storm(platform, count);
}
