//! Rates, connection caps, balancers and the networks of a tenant, each on a real platform whose
//! bounds are set low. Addresses are this machine's own, out of 127.0.0.0/8.

use std::io::{BufRead, Write};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Mode, Options, Platform, wait_for};
use crate::http::{Connection, Tls, plain, secured};
use crate::mqtt::{Mqtt, Packet, Version};
use crate::tenant::Tenant;
use crate::websocket::WebSocket;

const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 1);
const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 0, 3, 1);
const TELEMETRY: &str = "v1/devices/me/telemetry";

pub(crate) fn start(environment: &[(&str, &str)]) -> Platform {
    let options = environment
        .iter()
        .fold(Options::default(), |options, (key, value)| options.environment(key, value));
    Platform::start(Mode::Serve, options)
}

/// Asks until something is refused; how often it was served, and the refusal.
fn until_refused(mut ask: impl FnMut() -> crate::http::Answer) -> (usize, crate::http::Answer) {
    for served in 0..100 {
        let answer = ask();
        if answer.status == 429 {
            return (served, answer);
        }
    }
    panic!("nothing was refused");
}

#[track_caller]
pub(crate) fn names_its_limit(refused: &crate::http::Answer, limit: &str, value: &str) {
    let problem = refused.problem(429);
    assert_eq!(problem["limit"], limit, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains(value), "{problem}");
    let wait: u32 = refused.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
}

#[test]
fn requests_of_an_address_a_person_and_a_key() {
    let platform = start(&[
        ("VERITWIN__LIMITS__ADDRESS_REQUESTS_PER_SECOND", "4"),
        ("VERITWIN__LIMITS__USER_REQUESTS_PER_SECOND", "1"),
        ("VERITWIN__LIMITS__API_KEY_REQUESTS_PER_SECOND", "1"),
    ]);
    let tenant = platform.tenant();
    let mut flooding = platform.http().connect_from(ONE).unwrap();
    let health = platform.http().get("/healthz");
    let (served, refused) = until_refused(|| flooding.send(health.clone()).unwrap());
    assert!(served >= 12, "{served}");
    names_its_limit(&refused, "address_requests_per_second", "at most 4 a second and 12 at once");
    assert_eq!(health.clone().from(OTHER).send().status, 200, "another address is served");
    let number = std::cell::Cell::new(10u8);
    let elsewhere = || {
        number.set(number.get() + 1);
        Ipv4Addr::new(127, 0, 4, number.get())
    };
    let own = platform.http().get("/v1/devices").header("cookie", &tenant.cookie);
    let (_, refused) = until_refused(|| own.clone().from(elsewhere()).send());
    names_its_limit(&refused, "user_requests_per_second", "at most 1 a second and 10 at once");
    let by_key = tenant.request("GET", "/v1/devices");
    let (_, refused) = until_refused(|| by_key.clone().from(elsewhere()).send());
    names_its_limit(&refused, "api_key_requests_per_second", "at most 1 a second");
    let metrics = platform.control("metrics_key", json!({})).unwrap();
    let key = metrics["key"].as_str().or(metrics["secret"].as_str()).unwrap_or_default();
    if !key.is_empty() {
        let text = platform.http().get("/metrics").bearer(key).from(elsewhere()).send().text();
        assert!(text.contains("veritwin_rate_refusals_total"), "{text}");
    }
}

#[test]
fn requests_of_a_tenant_do_not_use_up_anothers() {
    let platform = start(&[("VERITWIN__LIMITS__TENANT_REQUESTS_PER_SECOND", "2")]);
    let (mine, theirs) = (platform.tenant(), platform.tenant());
    let (_, refused) = until_refused(|| mine.get("/v1/devices"));
    names_its_limit(&refused, "tenant_requests_per_second", "at most 2 a second and 10 at once");
    theirs.get("/v1/devices").expect(200);
}

#[test]
fn messages_over_http_are_refused_and_over_mqtt_held_back() {
    let platform = start(&[("VERITWIN__LIMITS__DEVICE_MESSAGES_PER_SECOND", "20")]);
    let tenant = platform.tenant();
    let (loud, calm) = (tenant.device("loud"), tenant.device("calm"));
    let ask = platform.http().post("/api/v1/telemetry").bearer(&loud.token);
    let mut connection = platform.http().connect().unwrap();
    let mut served = 0;
    let refused = loop {
        let answer = connection.send(ask.clone().json(&json!({"t": served}))).unwrap();
        if answer.status == 429 {
            break answer;
        }
        served += 1;
        assert!(served < 5000, "nothing was refused");
    };
    assert!(served >= 40, "{served}");
    names_its_limit(&refused, "device_messages_per_second", "at most 20 a second and 40 at once");
    tenant.send(&calm, &json!({"t": 1})).expect(200);
    // Whoever publishes faster than that loses nothing.
    let third = tenant.device("fast");
    let mut client = platform.mqtt(Version::V311, &third.token);
    let count = 80;
    for number in 0..count {
        client.send(TELEMETRY, format!("{{\"n\":{number}}}").as_bytes()).unwrap();
    }
    for _ in 0..count {
        assert!(matches!(client.read().unwrap(), Packet::PubAck(_, 0, _)));
    }
    assert_eq!(tenant.latest(&third, "n"), f64::from(count - 1));
}

#[test]
fn a_plan_sets_the_rate_of_its_tenants() {
    let platform = Platform::serve();
    let link = platform.control("admin_link", json!({"platform": true})).unwrap();
    let token = crate::harness::link_token(link["link"].as_str().unwrap());
    let operator = Tenant::redeem(platform.http(), token, 900);
    let plan = json!({"name": "Small", "limits": {"messages_per_second": 2}});
    let as_operator = |method: &str, path: &str, body: &Value| {
        let request = platform.http().request(method, path).header("cookie", &operator.cookie);
        request.json(body).send()
    };
    let made = as_operator("POST", "/v1/plans", &plan).expect(201);
    assert_eq!(made["limits"]["messages_per_second"], 2);
    let tenant = platform.tenant();
    let path = format!("/v1/tenants/{}", tenant.id);
    as_operator("PATCH", &path, &json!({"plan_id": made["id"]})).expect(200);
    let device = tenant.device("meter");
    let (served, refused) = until_refused(|| tenant.send(&device, &json!({"t": 1})));
    assert!(served >= 4, "{served}");
    names_its_limit(&refused, "tenant_messages_per_second", "at most 2 a second and 4 at once");
}

#[test]
fn connections_of_an_address_and_of_a_tenant() {
    let platform = start(&[
        ("VERITWIN__HTTP__CONNECTIONS_PER_ADDRESS_MAX", "2"),
        ("VERITWIN__MQTT__CONNECTIONS_PER_ADDRESS_MAX", "3"),
        ("VERITWIN__LIMITS__TENANT_CONNECTIONS_MAX", "2"),
    ]);
    let tenant = platform.tenant();
    let health = || platform.http().get("/healthz");
    let mut held: Vec<Connection> = Vec::new();
    for _ in 0..2 {
        let mut connection = platform.http().connect_from(ONE).unwrap();
        assert_eq!(connection.send(health()).unwrap().status, 200);
        held.push(connection);
    }
    let mut third = platform.http().connect_from(ONE).unwrap();
    let refused = third.send(health()).unwrap();
    names_its_limit(&refused, "connections_per_address_max", "at most 2, got 3");
    assert_eq!(refused.header("connection"), Some("close"));
    assert_eq!(health().from(OTHER).send().status, 200, "another address has its own places");
    drop((held, third));
    wait_for("a place", || (health().from(ONE).try_send().ok()?.status == 200).then_some(()));

    let device = tenant.device("meter");
    let connect = || Mqtt::connect(platform.http(), Version::V5, &device.token);
    let first = connect().expect("a place");
    let second = connect().expect("a place");
    assert_eq!(connect().err(), Some(0x97), "tenant_connections_max");
    let other = platform.tenant();
    let theirs = other.device("meter");
    // Until whoever was refused is gone, there are three from this address.
    let theirs_too = || Mqtt::connect(platform.http(), Version::V5, &theirs.token).ok();
    let third = wait_for("a place of their own", theirs_too);
    // Three from this address: the next is told so before anybody asks who it is.
    let fourth = Mqtt::connect(platform.http(), Version::V311, &theirs.token);
    assert_eq!(fourth.err(), Some(3), "connections_per_address_max");
    drop((first, second, third));
    let again = wait_for("a place", || connect().ok());
    drop(again);
}

#[test]
fn sockets_of_a_person_and_of_a_tenant() {
    let platform = start(&[
        ("VERITWIN__LIMITS__PERSON_SOCKETS_MAX", "2"),
        ("VERITWIN__LIMITS__TENANT_SOCKETS_MAX", "3"),
    ]);
    let (tenant, other) = (platform.tenant(), platform.tenant());
    let (http, key) = (platform.http(), tenant.api_key.as_str());
    let first = WebSocket::authenticated(http, key);
    let second = WebSocket::authenticated(http, key);
    let told = |token: &str| {
        let mut socket = WebSocket::connect(http);
        socket.send(&json!({"op": "authenticate", "token": token}));
        socket.closed()
    };
    let (code, reason) = told(key);
    assert!(code == 1008 && reason.contains("limit person_sockets_max exceeded"), "{reason}");
    let upgrade = || {
        let request = http.get("/v1/ws").header("connection", "Upgrade");
        let request = request.header("upgrade", "websocket").header("sec-websocket-version", "13");
        request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    let refused = upgrade().bearer(key).send();
    names_its_limit(&refused, "person_sockets_max", "at most 2, got 3");
    // Somebody else of the tenant still has a place; the next has not.
    let mut held = http.connect().unwrap();
    let answer = held.send(upgrade().header("cookie", &tenant.cookie)).unwrap();
    assert_eq!(answer.status, 101);
    let refused = upgrade().header("cookie", &tenant.cookie).send();
    names_its_limit(&refused, "tenant_sockets_max", "at most 3, got 4");
    let _theirs = WebSocket::authenticated(http, &other.api_key);
    drop((first, second, held));
    wait_for("a place", || {
        let mut again = http.connect().unwrap();
        (again.send(upgrade().bearer(key)).unwrap().status == 101).then_some(())
    });
}

#[test]
fn requests_of_a_tenant_at_once() {
    let platform = start(&[("VERITWIN__LIMITS__TENANT_REQUESTS_MAX", "2")]);
    let (tenant, other) = (platform.tenant(), platform.tenant());
    let body = |name: &str| json!({"name": name}).to_string().into_bytes();
    let head = |name: &str| {
        let (host, key) = (platform.ports().https, tenant.api_key.as_str());
        format!(
            "POST /v1/devices HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\nexpect: 100-continue\r\n\
             content-length: {}\r\n\r\n",
            body(name).len()
        )
    };
    // Two that say what they want and keep their bodies back; they are told when they have a place.
    let slow = ["one", "two"].map(|name| {
        let mut stream = platform.http().connect().unwrap().into_stream();
        stream.get_mut().write_all(head(name).as_bytes()).unwrap();
        stream.get_mut().flush().unwrap();
        let mut told = String::new();
        while !told.ends_with("\r\n\r\n") {
            assert_ne!(stream.read_line(&mut told).unwrap(), 0, "{told}");
        }
        assert!(told.starts_with("HTTP/1.1 100 "), "{told}");
        (name, stream.into_inner())
    });
    let asked = tenant.request("GET", "/v1/devices");
    let refused = asked.clone().send();
    names_its_limit(&refused, "tenant_requests_max", "at most 2, got 3");
    assert_eq!(refused.problem(429)["title"], "Too many requests at once");
    other.get("/v1/devices").expect(200);
    // A body that comes after all is taken, and its place is free again.
    for (name, stream) in slow {
        let answer = Connection::of_stream(stream).send_raw(&body(name)).unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    wait_for("a place", || (asked.clone().send().status == 200).then_some(()));
}

/// Where the platform believes a request to come from.
fn seen_from(tenant: &Tenant, connection: &mut Connection, headers: &[(&str, &str)]) -> String {
    let request = tenant.request("GET", "/v1/networks");
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    let seen = connection.send(request).unwrap().expect(200);
    seen["your_address"].as_str().unwrap().to_owned()
}

#[test]
fn only_listed_balancers_say_where_a_client_is() {
    let platform = start(&[("VERITWIN__PROXIES__NETWORKS", "127.0.3.0/24")]);
    let tenant = platform.tenant();
    let check = |source: Ipv4Addr, headers: &[(&str, &str)], expect: &str| {
        let mut connection = platform.http().connect_from(source).unwrap();
        assert_eq!(seen_from(&tenant, &mut connection, headers), expect, "{headers:?}");
    };
    check(ONE, &[("x-forwarded-for", "198.51.100.7")], "127.0.1.1");
    check(BALANCER, &[("x-forwarded-for", "198.51.100.7")], "198.51.100.7");
    check(BALANCER, &[("x-forwarded-for", "192.0.2.1, 198.51.100.7, 127.0.3.9")], "198.51.100.7");
    check(BALANCER, &[("forwarded", "for=198.51.100.7")], "127.0.3.1");
    check(BALANCER, &[], "127.0.3.1");
    let doctor = platform.cli(&["doctor", "--json"]);
    assert!(doctor.stdout.contains("x-forwarded-for is believed from them"), "{doctor:?}");
}

fn tls_after(platform: &Platform, source: Ipv4Addr, address: &str, first: &[u8]) -> Option<Tls> {
    let mut stream = plain(source, address).unwrap();
    stream.write_all(first).unwrap();
    let mut stream = secured(stream, address, platform.http().tls()).ok()?;
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).ok()?;
    }
    Some(stream)
}

#[test]
fn the_proxy_protocol_is_taken_from_listed_balancers_only() {
    let platform = start(&[
        ("VERITWIN__PROXIES__NETWORKS", "127.0.3.0/24"),
        ("VERITWIN__PROXIES__HEADER", ""),
        ("VERITWIN__PROXIES__HTTP_PROTOCOL", "true"),
        ("VERITWIN__PROXIES__MQTT_PROTOCOL", "true"),
    ]);
    let tenant = platform.tenant();
    let line = b"PROXY TCP4 198.51.100.7 198.51.100.1 4711 443\r\n".as_slice();
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    binary.extend_from_slice(&[198, 51, 100, 8, 198, 51, 100, 1, 0x12, 0x67, 1, 187]);
    let https = platform.ports().https;
    for (first, expect) in [(line, "198.51.100.7"), (binary.as_slice(), "198.51.100.8")] {
        let stream = tls_after(&platform, BALANCER, &https, first).expect("TLS");
        assert_eq!(seen_from(&tenant, &mut Connection::of_stream(stream), &[]), expect);
    }
    let local = b"PROXY UNKNOWN\r\n";
    let stream = tls_after(&platform, BALANCER, &https, local).expect("TLS");
    assert_eq!(seen_from(&tenant, &mut Connection::of_stream(stream), &[]), "127.0.3.1");
    // A listed balancer has to say it; nobody else may; others need not.
    assert!(tls_after(&platform, BALANCER, &https, b"").is_none());
    assert!(tls_after(&platform, ONE, &https, line).is_none());
    let mut direct = platform.http().connect_from(ONE).unwrap();
    assert_eq!(seen_from(&tenant, &mut direct, &[("x-forwarded-for", "192.0.2.1")]), "127.0.1.1");
    // Devices are kept to the tenant's networks by the address that the balancer names.
    tenant.put("/v1/networks", &json!({"people": [], "devices": ["198.51.100.8"]})).expect(200);
    let device = tenant.device("meter");
    let mqtts = platform.ports().mqtts;
    let connect = |first: &[u8]| {
        let stream = tls_after(&platform, BALANCER, &mqtts, first).expect("TLS");
        Mqtt::connect_on(stream, Version::V5, &device.token)
    };
    assert_eq!(connect(line).err(), Some(0x87));
    connect(&binary).expect("from its network");
}

#[test]
fn a_tenants_people_and_devices_come_from_its_networks() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = tenant.device("meter");
    let as_admin = |source: Ipv4Addr, method: &str, path: &str| {
        platform.http().request(method, path).header("cookie", &tenant.cookie).from(source)
    };
    let networks = as_admin(ONE, "GET", "/v1/networks").send();
    let etag = networks.header("etag").unwrap().to_owned();
    let shown = networks.expect(200);
    assert_eq!(shown, json!({"people": [], "devices": [], "your_address": "127.0.1.1"}));
    let set = |people: Value, devices: Value| {
        as_admin(ONE, "PUT", "/v1/networks").json(&json!({"people": people, "devices": devices}))
    };
    // Nobody shuts themselves out, and mistakes are named.
    let refused = set(json!(["127.0.2.0/24"]), json!([])).send().problem(400);
    assert_eq!(refused["position"], "people");
    let refused = set(json!(["127.0.1.0/24", "127.0.1.1/24"]), json!([])).send().problem(400);
    assert_eq!(refused["position"], "people[1]");
    assert!(refused["detail"].as_str().unwrap().contains("did you mean 127.0.1.0/24"));
    assert_eq!(as_admin(ONE, "GET", "/v1/networks").send().expect(200), shown, "nothing changed");

    let mut connected = platform.mqtt(Version::V5, &device.token);
    let change = set(json!(["127.0.1.0/24"]), json!(["127.0.2.0/24"]));
    let mut elsewhere = WebSocket::of_session(platform.http(), &tenant.cookie);
    let began = Instant::now();
    change.header("if-match", &etag).send().expect(200);
    // Far below the 30 s after which a live view asks again by itself.
    assert_eq!(elsewhere.closed().0, 1008);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    set(json!([]), json!([])).header("if-match", &etag).send().problem(409);
    // Sessions and sign-ins from elsewhere are refused; programs have lists of their own.
    as_admin(ONE, "GET", "/v1/devices").send().expect(200);
    let refused = as_admin(OTHER, "GET", "/v1/devices").send().problem(403);
    assert_eq!(refused["type"], "/problems/network");
    let credentials = json!({"email": tenant.email, "password": tenant.password});
    let sign_in = |source| platform.http().post("/v1/session").json(&credentials).from(source);
    assert_eq!(sign_in(OTHER).send().problem(403)["type"], "/problems/network");
    sign_in(ONE).send().expect(200);
    tenant.get("/v1/devices").expect(200);
    // The device that was connected from elsewhere is disconnected and does not come back.
    wait_for("the device's end", || match connected.read() {
        Ok(Packet::Disconnect(0x98)) | Err(_) => Some(()),
        _ => None,
    });
    let again = Mqtt::connect(platform.http(), Version::V5, &device.token);
    assert_eq!(again.err(), Some(0x87));
    let send = |source| {
        let request = platform.http().post("/api/v1/telemetry").bearer(&device.token);
        request.json(&json!({"t": 1})).from(source).send()
    };
    send(ONE).problem(403);
    send(OTHER).expect(200);
    // The operator opens it again for those who shut themselves out from elsewhere.
    platform.cli(&["admin", "open-networks", "--tenant", &tenant.id]).done();
    send(ONE).expect(200);
    // An administrator lets more in, and leaves nobody out: an owner may be there.
    let (_, cookie) = tenant.member("networks", "administrator");
    let by_administrator = |people: Value| {
        let body = json!({"people": people, "devices": []});
        let request = platform.http().request("PUT", "/v1/networks").header("cookie", &cookie);
        request.json(&body).from(OTHER).send()
    };
    let refused = by_administrator(json!(["127.0.2.0/24"])).problem(403);
    assert!(refused["detail"].to_string().contains("an owner"), "{refused}");
    as_admin(ONE, "GET", "/v1/devices").send().expect(200);
    set(json!(["127.0.0.0/8"]), json!([])).send().expect(200);
    by_administrator(json!(["127.0.2.0/24"])).problem(403);
    by_administrator(json!(["127.0.0.0/8", "192.0.2.0/24"])).expect(200);
    by_administrator(json!([])).expect(200);
    // The change stands in the records, with what was before.
    let row = wait_for("the record", || {
        let found = tenant.get("/v1/activity?action=tenant.update").expect(200);
        let rows = found["items"].as_array()?.clone();
        rows.into_iter().find(|row| row.to_string().contains("127.0.2.0/24"))
    });
    let text = row.to_string();
    assert!(text.contains("\"before\"") && text.contains("\"after\""), "{text}");
    assert!(text.contains("\"devices\":[]"), "{text}");
}
