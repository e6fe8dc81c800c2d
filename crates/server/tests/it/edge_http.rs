//! An edge's door for devices that speak HTTP: what is answered with 2xx is on its disk and comes
//! to the platform once, and a call of the platform gets to who waits for one.

use serde_json::{Value, json};

use crate::edge::{Edge, child, gateway, register};
use crate::harness::{Platform, wait_for};

const AT_MS: i64 = 1_767_225_600_000;

#[test]
fn what_comes_over_http_is_kept_and_handed_over_once() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let site = gateway(&tenant, "site-http");
    let mut edge = Edge::new(platform, &site, "listen_http = \"127.0.0.1:0\"\n");
    let token = edge.device(platform, "meter-http");
    edge.start(platform);
    let http = edge.http();
    let post = |path: &str| http.post(path).bearer(&token);
    let reading = json!({"ts": AT_MS, "values": {"t": 21}});
    post("/api/v1/telemetry").json(&reading).send().expect(200);
    // As ThingsBoard's devices ask: the token in the path.
    let path = format!("/api/v1/{token}/attributes");
    http.post(&path).json(&json!({"fw": "1.2"})).send().expect(200);
    let line = format!("boiler u=5 {}", (AT_MS + 1) * 1_000_000);
    let written = post("/v1/telemetry/write").body("text/plain", line.as_bytes()).send();
    assert_eq!(written.expect(200)["readings"], 1);

    // What is refused says why, and nothing of it waits.
    let stranger = http.post("/api/v1/telemetry").bearer("vte_other").json(&reading).send();
    stranger.expect(401);
    post("/api/v1/telemetry").json(&json!(7)).send().expect(400);
    let card = json!({"note": "4111 1111 1111 1111"});
    let refused = post("/api/v1/telemetry").json(&card).send();
    assert_eq!(refused.status, 422, "{}", refused.text());
    let large = vec![b' '; 1024 * 1024 + 1];
    let large = post("/api/v1/telemetry").body("application/json", &large).send();
    assert_eq!(large.status, 413, "{}", large.text());
    let firmware = http.get("/api/v1/firmware?title=a&version=1").bearer(&token).send();
    assert_eq!(firmware.status, 404, "{}", firmware.text());
    let batches = post("/v1/edge/batches").body("application/octet-stream", b"").send();
    assert!((400..500).contains(&batches.status), "{}", batches.text());

    // Killed before it may hand anything over; then its key counts.
    edge.kill();
    register(&tenant, &site, &edge.key);
    edge.start(platform);
    edge.drained(platform, 3, (&tenant, &site));
    let meter = child(&tenant, "meter-http");
    assert_eq!(tenant.latest(&meter, "t"), 21);
    let attributes = tenant.get(&format!("/v1/devices/{}/attributes", meter.id)).expect(200);
    assert!(attributes.to_string().contains("1.2"), "{attributes}");
}

#[test]
fn a_call_reaches_who_waits_for_one_over_http() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let site = gateway(&tenant, "site-polls");
    let mqtts = platform.ports().mqtts;
    let (_, port) = mqtts.rsplit_once(':').unwrap();
    let more = format!("platform_mqtt = \"localhost:{port}\"\nlisten_http = \"127.0.0.1:0\"\n");
    let mut edge = Edge::new(platform, &site, &more);
    register(&tenant, &site, &edge.key);
    let token = edge.device(platform, "valve-http");
    edge.start(platform);
    wait_for("the way down", || (edge.status(platform)["hears_platform"] == true).then_some(()));
    let http = edge.http();
    let call = json!({"method": "set", "params": {"open": 40}, "timeout_ms": 60_000});
    let answered = std::thread::scope(|scope| {
        let poll = || http.get("/api/v1/rpc?timeout=120000").bearer(&token).send().expect(200);
        let polling = scope.spawn(poll);
        let calling = scope.spawn(|| {
            // The platform knows the device as soon as it listens.
            let id = wait_for("the device at the platform", || {
                let found = tenant.get("/v1/devices?search=valve-http").expect(200);
                found["items"][0]["id"].as_str().map(str::to_owned)
            });
            let rpc = format!("/v1/devices/{id}/rpc");
            wait_for("the call to be taken", || {
                let called = tenant.post(&rpc, &call);
                (called.status == 200).then(|| called.expect(200))
            })
        });
        let asked = polling.join().unwrap();
        assert_eq!((&asked["method"], &asked["params"]), (&json!("set"), &json!({"open": 40})));
        let reply = format!("/api/v1/rpc/{}", asked["id"]);
        http.post(&reply).bearer(&token).json(&json!({"done": true})).send().expect(200);
        // Once is once: nobody waits for it any more.
        http.post(&reply).bearer(&token).json(&json!({"done": false})).send().expect(404);
        calling.join().unwrap()
    });
    assert_eq!(answered["result"], json!({"done": true}));
}

#[test]
fn packages_come_through_an_edge_in_pieces() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let site = gateway(&tenant, "site-packages");
    let mqtts = platform.ports().mqtts;
    let (_, port) = mqtts.rsplit_once(':').unwrap();
    let more = format!("platform_mqtt = \"localhost:{port}\"\nlisten_http = \"127.0.0.1:0\"\n");
    let mut edge = Edge::new(platform, &site, &more);
    register(&tenant, &site, &edge.key);
    let token = edge.device(platform, "pump-packages");
    edge.start(platform);
    wait_for("the way down", || (edge.status(platform)["hears_platform"] == true).then_some(()));
    let mut client = edge.mqtt(&token);
    client.subscribe("v1/devices/me/attributes");
    client.subscribe("v2/sw/response/+/chunk/+");
    let id = wait_for("the device at the platform", || {
        let found = tenant.get("/v1/devices?search=pump-packages").expect(200)["items"][0].clone();
        (found["online"] == true).then(|| found["id"].as_str().unwrap().to_owned())
    });
    let bytes: Vec<u8> = (0..700_000u32).map(|number| (number % 251) as u8).collect();
    let kept = tenant.request("POST", "/v1/packages?kind=software&title=App&version=1%202");
    let kept = kept.body("application/octet-stream", &bytes).send().expect(201);
    let path = format!("/v1/packages/{}/devices", kept["id"].as_str().unwrap());
    assert_eq!(tenant.post(&path, &json!({"device_ids": [id]})).expect(200)["changed"], 1);
    // It is told of it, and fetches it from the edge.
    let (_, told) = client.message();
    let told: Value = serde_json::from_slice(&told).unwrap();
    assert_eq!((&told["sw_title"], &told["sw_version"]), (&json!("App"), &json!("1 2")));
    let mut fetched = Vec::new();
    for chunk in 0..2 {
        let asked = client.publish(&format!("v2/sw/request/7/chunk/{chunk}"), b"400000");
        assert_eq!(asked.0, 0, "{}", asked.1);
        let (topic, piece) = client.message();
        assert_eq!(topic, format!("v2/sw/response/7/chunk/{chunk}"));
        fetched.extend(piece);
    }
    assert!(fetched == bytes, "{} bytes", fetched.len());
    let at = |query: &str| {
        let path = format!("/api/v1/software?{query}");
        edge.http().get(&path).bearer(&token).send()
    };
    let whole = at("title=App&version=1%202");
    assert!(whole.status == 200 && whole.body == bytes, "{} bytes", whole.body.len());
    assert_eq!(at("title=App&version=3").status, 404);
    // At the platform it is had by the gateway that the device is behind, and by no other.
    let ask = |token: &str, query: &str| {
        platform.http().get(&format!("/v1/edge/packages?{query}")).bearer(token).send()
    };
    let query = "device=pump-packages&kind=software&size=100&chunk=2";
    let piece = ask(&site.token, query);
    assert_eq!((piece.status, piece.body.as_slice()), (200, &bytes[200..300]));
    assert_eq!(piece.header("veritwin-package"), kept["id"].as_str());
    let other = gateway(&tenant, "site-other");
    assert_eq!(ask(&other.token, query).status, 404);
    let stranger = platform.tenant();
    assert_eq!(ask(&gateway(&stranger, "site-packages").token, query).status, 404);
    let plain = tenant.device("no-gateway");
    assert!(matches!(ask(&plain.token, query).status, 403 | 404));
    ask(&site.token, "device=pump-packages").expect(400);
    ask(&site.token, "device=pump-packages&kind=software&size=600000").expect(413);
}
