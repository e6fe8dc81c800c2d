//! Guessing at passwords: from one address, and 500 guesses a second from several. What comes of it
//! stands in docs/reference/attacks.md.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use crate::harness::{Mode, Options, PATIENCE, Platform, link_token};
use crate::http::{Answer, Request};

fn sign_in_from(platform: &Platform, source: Ipv4Addr, email: &str, password: &str) -> Answer {
    sign_in(platform, email, password).from(source).send()
}

fn sign_in(platform: &Platform, email: &str, password: &str) -> Request {
    platform.http().post("/v1/session").json(&json!({"email": email, "password": password}))
}

#[test]
fn credential_stuffing() {
    let platform = Platform::serve();
    let tenant = platform.tenant();
    let (attacker, owner) = (Ipv4Addr::new(127, 9, 0, 1), Ipv4Addr::new(127, 9, 0, 2));
    let mut refused = None;
    for number in 0..140 {
        // Every tenth guess is at an account that exists; the answers do not tell which.
        let email = match number % 10 {
            0 => tenant.email.clone(),
            _ => format!("nobody-{number}@stuffing.example"),
        };
        let answer = sign_in_from(&platform, attacker, &email, "Summer2025!Summer");
        match answer.status {
            401 => assert_eq!(answer.problem(401)["detail"], "this sign-in is wrong"),
            _ => refused = Some(answer).filter(|_| number % 10 != 0).or(refused),
        }
    }
    let refused = refused.expect("the address is slowed down as a whole");
    refused.problem(429);
    assert!(refused.header("retry-after").is_some());
    // The right password does not help the attacker's address now, and the owner does not wait.
    assert_eq!(sign_in_from(&platform, attacker, &tenant.email, &tenant.password).status, 429);
    sign_in_from(&platform, owner, &tenant.email, &tenant.password).expect(200);
    // Guessing at tokens of devices ends, too, before each of them costs a look-up.
    let mut connection = platform.http().connect_from(attacker).unwrap();
    let guess = |number: u32| {
        let token = format!("vtd_{number:032}");
        platform.http().post("/api/v1/telemetry").bearer(&token).json(&json!({"t": 1}))
    };
    let refused = (0..400)
        .map(|number| connection.send(guess(number)).unwrap())
        .find(|answer| answer.status == 429)
        .expect("guesses end");
    assert_eq!(refused.problem(429)["limit"], "failed_device_logins_per_second");
}

#[test]
fn an_account_of_the_same_name_elsewhere_gives_no_more_guesses() {
    let platform = Platform::serve();
    let (victim, thief) = (platform.tenant(), platform.tenant());
    // An organisation makes an account that it alone knows under the address of a stranger.
    let invite = json!({"email": victim.email, "role": "viewer"});
    let link = thief.post("/v1/users", &invite).expect(201)["link"].as_str().unwrap().to_owned();
    let token = link_token(&link);
    let own = "a password of the thief's own";
    let welcome = json!({"token": token, "password": own, "attested": true});
    platform.http().post("/v1/welcome").json(&welcome).send().expect(201);
    let source = Ipv4Addr::new(127, 9, 0, 5);
    let own_door = || {
        let body = json!({"email": victim.email, "password": own, "organisation": thief.id});
        platform.http().post("/v1/session").json(&body).from(source).send()
    };
    own_door().expect(200);
    // Signing in there between the guesses forgives none of them.
    let mut judged = 0;
    for _ in 0..40 {
        let guess = sign_in_from(&platform, source, &victim.email, "Summer2025!Summer");
        judged += usize::from(guess.status == 401);
        own_door();
    }
    // Five that cost nothing, one more, and one after each wait that is over by then.
    assert!(judged <= 15, "{judged} of 40 guesses were looked at");
    let owner = Ipv4Addr::new(127, 9, 0, 6);
    sign_in_from(&platform, owner, &victim.email, &victim.password).expect(200);
    // What was refused says whose sign-in it was, and at what.
    let records = victim.get("/v1/activity?action=session.create&outcome=denied").expect(200);
    let first = &records["items"][0];
    assert_eq!(first["after"]["reason"], "password", "{first}");
    assert!(first["after"]["account"].is_string(), "{first}");
}

#[test]
fn passkeys_that_nobody_knows_are_counted_for_their_address() {
    let platform = Platform::serve();
    let source = Ipv4Addr::new(127, 9, 0, 7);
    let junk = json!({"passkey": {
        "id": "AAAA", "client_data": "AAAA", "authenticator_data": "AAAA", "signature": "AAAA",
    }});
    let refused = (0..140)
        .map(|_| platform.http().post("/v1/session").json(&junk).from(source).send())
        .find(|answer| answer.status == 429);
    assert!(refused.is_some_and(|answer| answer.header("retry-after").is_some()));
    let answer = platform.http().post("/v1/session").json(&junk).send();
    assert_eq!(answer.status, 401, "another address");
}

/// Addresses that guess, and connections of each: more guesses wait for their turn to be hashed
/// than are hashed in the five seconds that anybody waits.
const GUESSING: u8 = 10;
const CONNECTIONS: usize = 50;
/// Guesses of an address that are looked at: the failures that cost nothing, and those after its
/// doubling waits.
const LOOKED_AT_MAX: usize = 110;
/// Guesses a second, while the owner signs in.
const RATE: f64 = 500.0;

/// How the guesses of one connection were answered, until the owner is done with them.
fn guess(
    platform: &Platform,
    (source, number): (Ipv4Addr, usize),
    victim: &str,
    (ready, made, stop): (&Barrier, &AtomicUsize, &AtomicBool),
) -> BTreeMap<u16, usize> {
    let mut answers = BTreeMap::new();
    let mut connection = platform.http().connect_from(source).ok();
    ready.wait();
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let email = match (number + round) % 10 {
            0 => victim.to_owned(),
            _ => format!("nobody-{source}-{number}-{round}@stuffing.example"),
        };
        let guess = sign_in(platform, &email, "Summer2025!Summer");
        let answer = connection.as_mut().and_then(|open| open.send(guess).ok());
        match answer {
            Some(answer) => {
                made.fetch_add(1, Ordering::Relaxed);
                *answers.entry(answer.status).or_default() += 1;
            }
            // Closed, as it may be.
            None => connection = platform.http().connect_from(source).ok(),
        }
    }
    answers
}

#[test]
fn five_hundred_guesses_a_second() {
    /// Ends the guesses, also where the test fails.
    struct Ends<'a>(&'a AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let platform = &Platform::start(Mode::Serve, Options::default());
    let tenant = &platform.tenant();
    let owner = Ipv4Addr::new(127, 9, 0, 3);
    sign_in_from(platform, owner, &tenant.email, &tenant.password).expect(200);
    let (stop, made) = (&AtomicBool::new(false), &AtomicUsize::new(0));
    let ready = &Barrier::new(usize::from(GUESSING) * CONNECTIONS + 1);
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        for address in 0..GUESSING {
            let source = Ipv4Addr::new(127, 9, 1, address);
            for number in 0..CONNECTIONS {
                let shared = (ready, made, stop);
                running.push(
                    scope.spawn(move || guess(platform, (source, number), &tenant.email, shared)),
                );
            }
        }
        let ends = Ends(stop);
        ready.wait();
        let began = Instant::now();
        let (mut signed_in, mut rate) = (0, 0.0);
        // The owner signs in all the while, from where they were before. At first the guesses are
        // hashed, and are as many as that takes; then their addresses are refused.
        while signed_in < 3 || rate < RATE {
            let (since, before) = (Instant::now(), made.load(Ordering::Relaxed));
            sign_in_from(platform, owner, &tenant.email, &tenant.password).expect(200);
            signed_in += 1;
            let guesses = u32::try_from(made.load(Ordering::Relaxed) - before).unwrap();
            rate = f64::from(guesses) / since.elapsed().as_secs_f64();
            assert!(began.elapsed() < PATIENCE, "{rate:.0} guesses a second");
        }
        drop(ends);
        let mut answers = BTreeMap::new();
        for thread in running {
            for (status, count) in thread.join().unwrap() {
                *answers.entry(status).or_insert(0) += count;
            }
        }
        println!("{rate:.0} guesses a second, {signed_in} sign-ins beside them: {answers:?}");
        // Nobody got in, none broke anything, and what was looked at is what an address may fail.
        assert!(answers.keys().all(|status| [401, 429].contains(status)), "{answers:?}");
        let looked_at = answers.get(&401).copied().unwrap_or_default();
        assert!(looked_at <= usize::from(GUESSING) * LOOKED_AT_MAX, "{answers:?}");
    });
    // It is told of.
    let activity = tenant.get("/v1/activity?action=session.create&outcome=denied").expect(200);
    assert!(!activity["items"].as_array().unwrap().is_empty(), "{activity}");
}
