//! Scripted attacks on a real platform, each with the answer it gets. What is tried, and what comes
//! of it, stands in docs/reference/attacks.md; a test compares its rows with the tests here.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Mode, Options, Platform, now_ms, pause, wait_for};
use crate::http::{Tls, connect};
use crate::mqtt::{Mqtt, Version, connect_packet};
use crate::rights::{Person, id};
use crate::skipped::skipped;

/// The table of the attacks, as the documents show it.
const TABLE: &str = include_str!("../../../../docs/reference/attacks.md");
const SOURCES: [(&str, &str); 3] = [
    ("attacks", include_str!("attacks.rs")),
    ("attacks_http2", include_str!("attacks_http2.rs")),
    ("attacks_stuffing", include_str!("attacks_stuffing.rs")),
];

/// By when a connection is closed whose headers do not come: [`impatient`] waits 1 s, the rest is
/// for a busy machine. Were the setting ignored, it would be the default of 15 s, or hyper's 30 s.
const HEADERS_END: Duration = Duration::from_secs(12);
/// The same for bodies, after 1 s as well. Were that ignored, it would be the default of 30 s.
const BODY_END: Duration = Duration::from_secs(20);
/// The same before TLS and CONNECT, after 10 s that nobody sets. Without them it would be never.
const HELLO_END: Duration = Duration::from_secs(30);

/// A platform that does not wait long for whoever is slow.
fn impatient() -> &'static Platform {
    static PLATFORM: OnceLock<Platform> = OnceLock::new();
    PLATFORM.get_or_init(|| {
        let options = Options::default()
            .environment("VERITWIN__HTTP__HEADER_SECONDS_MAX", "1")
            .environment("VERITWIN__HTTP__BODY_IDLE_SECONDS_MAX", "1");
        Platform::start(Mode::Serve, options)
    })
}

#[test]
fn every_attack_stands_in_the_documents() {
    let mut count = 0;
    for (module, source) in SOURCES {
        let tests = source.split("#[test]\nfn ").skip(1);
        let names = tests.filter_map(|rest| rest.split('(').next());
        // Not this one, whose name comes first.
        for name in names.skip(usize::from(module == "attacks")) {
            let name = format!("`{module}::{name}`");
            assert!(TABLE.contains(&name), "{name} is not in the documents");
            count += 1;
        }
    }
    assert!(count >= 15, "{count}");
}

#[test]
fn session_fixation() {
    let platform = Platform::shared();
    let (victim, attacker) = (platform.tenant(), platform.tenant());
    let account =
        |cookie: &str| platform.http().get("/v1/account").header("cookie", cookie).send().status;
    // A made-up session, and the attacker's own, planted in the victim's browser.
    for planted in ["__Host-session=vts_planted", attacker.cookie.as_str()] {
        let body = json!({"email": victim.email, "password": victim.password});
        let request = platform.http().post("/v1/session").header("cookie", planted);
        let answer = request.json(&body).send();
        answer.expect(200);
        let fresh = answer.cookie().expect("a session of its own");
        assert_ne!(fresh, planted);
        assert_eq!((account(&fresh), account(planted)), (200, 401), "{planted}");
    }
    let line = platform.sign_in(&victim.email, &victim.password);
    let line = line.header("set-cookie").unwrap().to_owned();
    for part in ["__Host-session=", "Path=/", "Secure", "HttpOnly", "SameSite=Strict"] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!line.contains("Domain"), "{line}");
}

#[test]
fn cross_site_requests() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let device = json!({"name": "forged", "type": "x", "declaration": "non_personal"});
    let post = || platform.http().post("/v1/devices").header("cookie", &tenant.cookie);
    let foreign: [&[(&str, &str)]; 5] = [
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "http://localhost")],
    ];
    for headers in foreign {
        let request =
            headers.iter().fold(post(), |request, (name, value)| request.header(name, value));
        let refused = request.json(&device).send().problem(403);
        assert_eq!(refused["type"], "/problems/cross-site", "{headers:?}");
    }
    // What a form can send is no JSON.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let status = post().body(kind, device.to_string().as_bytes()).send().status;
        assert!(matches!(status, 400 | 415), "{kind}: {status}");
    }
    let upgrade = [("upgrade", "websocket"), ("connection", "upgrade"), ("origin", "https://x.y")];
    let socket = platform.http().get("/v1/ws").header("cookie", &tenant.cookie);
    let socket = upgrade.iter().fold(socket, |request, (name, value)| request.header(name, value));
    assert_eq!(socket.send().status, 403);
    assert!(!tenant.get("/v1/devices").expect(200).to_string().contains("forged"));
    assert_eq!(tenant.get("/v1/devices").header("access-control-allow-origin"), None);
}

#[test]
fn ids_of_others() {
    // Every operation that takes an id is walked in `isolation`; here the forms an id can take.
    let platform = Platform::shared();
    let (mine, theirs) = (platform.tenant(), platform.tenant());
    let device = theirs.device("theirs");
    let absent = mine.get("/v1/devices/00000000-0000-7000-8000-000000000000").problem(404);
    let upper = device.id.to_uppercase();
    let plain = device.id.replace('-', "");
    for id in [&device.id, &upper, &plain, &format!("{{{}}}", device.id)] {
        for tail in ["", "/attributes", "/credentials"] {
            let path = format!("/v1/devices/{id}{tail}").replace('{', "%7B").replace('}', "%7D");
            assert_eq!(mine.get(&path).problem(404), absent, "{path}");
        }
    }
    let series = json!({
        "series": [{"device_id": device.id, "key": "t"}],
        "from": "1970-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z", "shape": "columns",
    });
    let answer = mine.post("/v1/telemetry/query", &series);
    assert!(!answer.text().contains("\"at_ms\":[1"), "{}", answer.text());
    let line = format!("m,device={} t=1", device.id);
    mine.write("", "text/plain", &line).expect(400);
    // A device's token is no key, and a key is no device.
    let by_token = platform.http().get("/v1/devices").bearer(&device.token);
    by_token.send().problem(401);
    let refused = Mqtt::connect(platform.http(), Version::V5, &mine.api_key);
    assert_eq!(refused.err(), Some(0x86));
}

#[test]
fn tokens_of_another_kind() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhZG1pbiIsInJvbGUiOiJvd25lciJ9.";
    let signed = format!("{none}c2lnbmF0dXJl");
    let session = tenant.cookie.split_once('=').unwrap().1.to_owned();
    let (start, rest) = tenant.api_key.split_at(12);
    let other = if rest.starts_with('A') { "B" } else { "A" };
    let altered = format!("{start}{other}{}", &rest[1..]);
    for token in [none, &signed, &session, &altered, "", "null", "undefined", "vtk_", "' OR 1=1--"]
    {
        let answer = platform.http().get("/v1/devices").bearer(token).send();
        answer.problem(401);
        let cookie = format!("__Host-session={token}");
        if token != session {
            let answer = platform.http().get("/v1/devices").header("cookie", &cookie).send();
            answer.problem(401);
        }
        let answer = platform.http().post("/api/v1/telemetry").bearer(token);
        let status = answer.json(&json!({"t": 1})).send().status;
        assert_eq!(status, 401, "{token}");
    }
    for scheme in ["Basic", "Digest", "Negotiate", "Token", "JWT"] {
        let line = format!("{scheme} {}", tenant.api_key);
        platform.http().get("/v1/devices").header("authorization", &line).send().problem(401);
    }
}

#[test]
fn foreign_host_headers() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let own = platform.run()["https"].as_str().unwrap();
    let forged = ["host", "x-forwarded-host", "x-host", "x-original-url", "x-rewrite-url"];
    for (number, name) in forged.iter().enumerate() {
        let page = platform.http().get("/").header(name, "evil.example").send();
        assert!(!page.text().contains("evil.example"), "{name}");
        assert!(page.headers.iter().all(|(_, value)| !value.contains("evil.example")), "{name}");
        let body =
            json!({"email": format!("host-{number}@{}.example", tenant.id), "role": "viewer"});
        let request = tenant.request("POST", "/v1/users").header(name, "evil.example");
        let link = request.json(&body).send().expect(201)["link"].as_str().unwrap().to_owned();
        assert!(link.starts_with(own), "{name}: {link}");
    }
    // Another path in a header reaches nothing.
    let request = platform.http().get("/healthz").header("x-original-url", "/v1/devices");
    assert_eq!(request.send().text(), "ok\n");
}

#[test]
fn injected_cookies_and_headers() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let twice = format!("{}; {}", tenant.cookie, tenant.cookie);
    platform.http().get("/v1/account").header("cookie", &twice).send().problem(401);
    let nested = format!("a=\"; {}\"", tenant.cookie);
    platform.http().get("/v1/account").header("cookie", &nested).send().problem(401);
    let bare = tenant.cookie.replace("__Host-", "");
    platform.http().get("/v1/account").header("cookie", &bare).send().problem(401);
    for path in [
        "/%0d%0aset-cookie:%20a=b",
        "/v1/devices%0d%0aset-cookie:%20a=b",
        "/v1/devices?cursor=%0d%0aset-cookie:%20a=b",
        "/welcome?next=%0d%0alocation:%20https://evil.example",
    ] {
        let answer = tenant.get(path);
        assert_eq!(answer.header("set-cookie"), None, "{path}");
        assert_eq!(answer.header("location"), None, "{path}");
    }
    // A name with a line break comes back as JSON, not as a header.
    let name = json!({"name": "a\r\nset-cookie: b=c", "type": "x", "declaration": "non_personal"});
    let answer = tenant.post("/v1/devices", &name);
    assert!(matches!(answer.status, 201 | 400), "{}", answer.text());
    assert_eq!(answer.header("set-cookie"), None);
}

#[test]
fn path_tricks() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    tenant.device("hidden-meter");
    for path in [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "/assets/../../records.db",
        "/assets/%2e%2e/%2e%2e/run.json",
        "/assets/..%5c..%5crun.json",
        "/run.json",
        "/.git/config",
        "//v1/devices",
        "/v1//devices",
        "/v1/./devices",
        "/v1/session/../devices",
        "/v1/session/%2e%2e/devices",
        "/V1/devices",
        "/v1/devices/",
        "/v1/devices;jsessionid=1",
        "/v1/devices%00",
        "/v1/devices%2f",
        "/healthz/../v1/devices",
    ] {
        let answer = platform.http().get(path).send();
        let text = answer.text();
        assert!(!text.contains("root:") && !text.contains("SQLite format"), "{path}");
        assert!(!text.contains("hidden-meter") && !text.contains("\"pid\""), "{path}: {text}");
        // 503: this build has no pages.
        assert!(matches!(answer.status, 200 | 400 | 401 | 404 | 503), "{path}: {}", answer.status);
        if answer.status == 200 {
            let kind = answer.header("content-type").unwrap_or_default();
            assert!(kind.starts_with("text/html"), "{path}: {kind}");
        }
    }
    // As a stranger's request target: another server is not asked.
    for target in
        ["GET http://169.254.169.254/latest HTTP/1.1", "CONNECT evil.example:443 HTTP/1.1"]
    {
        let mut connection = platform.http().connect().unwrap();
        let request = format!("{target}\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        if let Ok(answer) = connection.send_raw(request.as_bytes()) {
            let is_page = answer.header("content-type").is_some_and(|kind| kind.contains("html"));
            assert!(answer.status >= 400 || is_page, "{target}: {}", answer.status);
        }
    }
}

/// What a change has stored is in force, whether or not anybody waited for it.
#[test]
fn hanging_up_during_a_change() {
    let platform = Platform::serve();
    let tenant = platform.tenant();
    let person = Person::new(&platform, &tenant, "eve", "viewer");
    let is_listed = || {
        let listed = tenant.get("/v1/grants").expect(200);
        listed["items"].as_array().unwrap().iter().any(|one| one["user_id"] == person.id.as_str())
    };
    let may_create = || {
        let device = json!({"name": format!("d{}", now_ms()), "type": "sensor"});
        person.post("/v1/devices", &device).status != 403
    };
    let grant = json!({"user_id": person.id, "role": "administrator", "scope": {}});
    // From before it has begun to after it is done.
    let first = id(&tenant.post("/v1/grants", &grant).expect(201));
    let started = Instant::now();
    tenant.delete(&format!("/v1/grants/{first}")).expect(204);
    let whole = started.elapsed();
    let mut ended = 0;
    for step in 0..40u32 {
        let id = id(&tenant.post("/v1/grants", &grant).expect(201));
        assert!(may_create(), "it was granted");
        let mut gone = connect(&platform.ports().https, platform.http().tls()).unwrap();
        let head = format!(
            "DELETE /v1/grants/{id} HTTP/1.1\r\nhost: localhost\r\ncookie: {}\r\n\r\n",
            tenant.cookie
        );
        gone.write_all(head.as_bytes()).unwrap();
        gone.flush().unwrap();
        pause(whole * step / 20);
        drop(gone);
        // It may not have begun; what was ended is ended for everybody.
        wait_for("the grant to be ended in the list and in force", || {
            (is_listed() == may_create()).then_some(())
        });
        if is_listed() {
            tenant.delete(&format!("/v1/grants/{id}")).expect(204);
        } else {
            ended += 1;
        }
    }
    assert!(ended > 0, "no hang-up met a change");
}

#[test]
fn header_bombs_and_smuggling() {
    let platform = Platform::shared();
    let raw = |head: String| {
        let mut connection = platform.http().connect().unwrap();
        connection.send_raw(head.as_bytes()).map(|answer| answer.status)
    };
    let get = |headers: &str| format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
    assert_eq!(raw(get("")).unwrap(), 200);
    let many: String = (0..150).map(|number| format!("x-{number}: a\r\n")).collect();
    assert_eq!(raw(get(&many)).unwrap(), 431);
    let large = format!("x-large: {}\r\n", "a".repeat(70 * 1024));
    assert_eq!(raw(get(&large)).unwrap(), 431);
    let target = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "a".repeat(70 * 1024));
    assert!(matches!(raw(target), Ok(414 | 431)));
    for head in [
        "POST /v1/session HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        "POST /v1/session HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        "POST /v1/session HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, identity\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nhost : x\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n",
        "GET /healthz HTTP/1.1\nhost: x\n bad\n\n",
        "GET  /healthz HTTP/9.9\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
    ] {
        let answer = raw(head.to_owned());
        assert!(answer.as_ref().map_or(true, |status| *status == 400), "{head:?}: {answer:?}");
    }
    // Two lengths at once: the chunks count (RFC 9112, 6.3), and nothing follows on the connection.
    let both = "POST /v1/session HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\
                transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let answer = raw(both.to_owned());
    assert!(answer.as_ref().map_or(true, |status| matches!(status, 400 | 415)), "{answer:?}");
}

/// A connection on which so much is said, and then no more; reading waits so long for its end.
fn slow(address: &str, says: &[u8], end: Duration) -> Tls {
    let mut stream = connect(address, impatient().http().tls()).unwrap();
    stream.write_all(says).and_then(|()| stream.flush()).unwrap();
    stream.sock.set_read_timeout(Some(end)).unwrap();
    stream
}

/// Reads until the other side closes; what it said.
#[track_caller]
fn until_closed(stream: &mut impl Read) -> String {
    let mut said = Vec::new();
    // A reset is an end like any other; only silence until the time to read is over is not.
    let ended = stream.read_to_end(&mut said);
    let is_late = |end: Error| matches!(end.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    assert!(!ended.is_err_and(is_late), "still open when it should long be closed");
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn slow_senders() {
    let platform = impatient();
    let ports = platform.ports();
    let https = |says: &[u8], end: Duration| slow(&ports.https, says, end);
    // Before TLS, and before CONNECT.
    let mut hello = TcpStream::connect(&ports.https).unwrap();
    hello.set_read_timeout(Some(HELLO_END)).unwrap();
    hello.write_all(&[0x16, 3, 1, 2, 0, 1]).unwrap();
    let begun = &connect_packet(Version::V5, "slow", "token")[..9];
    let mut mqtt = slow(&ports.mqtts, begun, HELLO_END);
    let head = "POST /v1/session HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n{\"email\":";
    let mut body = https(head.as_bytes(), BODY_END);
    let head = "POST /api/v1/telemetry HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer x\r\n\
                content-length: 100\r\n\r\n{\"t\":";
    let mut device = https(head.as_bytes(), BODY_END);
    let mut idle = https(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n", HEADERS_END);
    let mut silent = https(b"", HEADERS_END);
    // The last, as its end is waited for first: nothing else counts against its time.
    let mut heads = https(b"GET /healthz HTTP/1.1\r\nhost: local", HEADERS_END);
    // Whoever is not slow is served meanwhile.
    assert_eq!(platform.http().get("/healthz").send().status, 200);
    let said = until_closed(&mut heads);
    assert!(said.is_empty() || said.contains(" 408 "), "{said}");
    assert!(until_closed(&mut silent).is_empty());
    assert!(until_closed(&mut idle).contains(" 200 "), "served, then closed");
    let said = until_closed(&mut body);
    assert!(said.contains(" 408 ") && said.contains("body_idle_seconds_max"), "{said}");
    let said = until_closed(&mut device);
    assert!(said.contains(" 401 ") || said.contains(" 408 "), "{said}");
    assert!(until_closed(&mut hello).is_empty());
    assert!(until_closed(&mut mqtt).is_empty());
}

#[test]
fn tls_renegotiation() {
    let platform = impatient();
    let ca = platform.data().join(platform.run()["ca"].as_str().unwrap());
    let ports = platform.ports();
    for (address, end) in [(&ports.https, HEADERS_END), (&ports.mqtts, HELLO_END)] {
        let child = Command::new("openssl")
            .args(["s_client", "-connect", address, "-tls1_2", "-servername", "localhost"])
            .args(["-state", "-CAfile"])
            .arg(&ca)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            skipped("openssl is not installed");
            return;
        };
        // `R` at the start of a line asks for renegotiation; the input stays open.
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"R\n").unwrap();
        let (told, ended) = channel();
        std::thread::spawn(move || told.send(child.wait_with_output()));
        let output = ended.recv_timeout(end).expect("the listener closes what idles").unwrap();
        drop(input);
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        // The client asks, no second handshake begins, and the listener closes what then idles.
        let hellos = |name: &str| said.matches(name).count();
        assert!(hellos("write client hello") >= 2, "{address}: {said}");
        assert_eq!(hellos("read server hello"), 1, "{address}: {said}");
    }
}

#[test]
fn floods_of_one_tenant() {
    // The others' waits are measured by `veritwin bench fair`; here, that they are served at all.
    let platform = Platform::shared();
    let (loud, calm) = (platform.tenant(), platform.tenant());
    let device = loud.device("loud");
    let meter = calm.device("meter");
    let mut flood = platform.mqtt(Version::V311, &device.token);
    let payload = json!({"t": 1, "text": "x".repeat(2000)}).to_string();
    for _ in 0..500 {
        flood.send("v1/devices/me/telemetry", payload.as_bytes()).unwrap();
    }
    calm.send(&meter, &json!({"t": 1})).expect(200);
    assert_eq!(calm.latest(&meter, "t"), Value::from(1));
    for _ in 0..500 {
        flood.read().unwrap();
    }
}
