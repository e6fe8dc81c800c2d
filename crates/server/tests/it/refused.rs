//! What must not be kept, at every door of a real platform: refused by its rule and with its place,
//! told to the device even where MQTT 3.1.1 has no word for it, and afterwards in no file and no
//! log. Promises P05 and P06.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Mode, Options, Platform, files_below};
use crate::http::Answer;
use crate::mqtt::Version;
use crate::tenant::Tenant;
use crate::websocket::WebSocket;

const TELEMETRY: &str = "v1/devices/me/telemetry";
const ATTRIBUTES: &str = "v1/devices/me/attributes";
/// A Visa number that nobody else's tests use.
const CARD: &str = "4539148803436467";
const CARD_IN_GROUPS: &str = "4539-1488-0343-6467";
/// Marks texts that are refused for what their key says, or for another number in them.
const MARK: &str = "Kanarienvogel-refused-q7x9";

/// The refusal of a sample quotes nothing and names its rule.
#[track_caller]
fn refused(answer: &Answer, status: u16, rule: &str) -> Value {
    let problem = answer.problem(status);
    let text = problem.to_string();
    assert!(text.contains(&format!("(rule {rule})")), "{text}");
    for part in [CARD, CARD_IN_GROUPS, MARK, "A123456789", "heart"] {
        assert!(!text.contains(part), "{text}");
    }
    problem
}

fn device_doors(platform: &Platform, tenant: &Tenant) {
    let device = tenant.device("refusals");
    let post = |path: &str, kind: &str, body: String| {
        let request = platform.http().post(path).bearer(&device.token);
        request.body(kind, body.as_bytes()).send()
    };
    let json = "application/json";
    let check = |path: &str, kind: &str, body: String, rule: &str, place: (&str, u64)| {
        let problem = refused(&post(path, kind, body), 422, rule);
        assert_eq!(problem[place.0], place.1, "{problem}");
    };
    let (telemetry, write) = ("/api/v1/telemetry", "/v1/telemetry/write");
    let note = json!({"note": format!("card {CARD}")}).to_string();
    let heart = json!({"heart_rate": MARK}).to_string();
    let id = json!({"who": format!("{MARK} ID card A123456789")}).to_string();
    for path in [telemetry, "/api/v1/attributes"] {
        check(path, json, note.clone(), "card_number", ("position", 1));
        check(path, json, heart.clone(), "health", ("position", 1));
        check(path, json, id.clone(), "national_id_tw", ("position", 1));
    }
    check(write, "text/plain", format!("m t=1\nm n=\"{CARD}\""), "card_number", ("line", 2));
    check(write, "application/x-ndjson", format!("{{}}\n{note}"), "card_number", ("line", 2));
    let pack = format!("[\n{{\"n\":\"x\",\"vs\":\"{CARD_IN_GROUPS}\"}}]");
    check(write, "application/senml+json", pack, "card_number", ("line", 2));

    let mut client = platform.mqtt(Version::V5, &device.token);
    for topic in [TELEMETRY, ATTRIBUTES] {
        let (code, text) = client.publish(topic, note.as_bytes());
        assert_eq!(code, 0x87, "{text}");
        assert!(text.contains("(rule card_number)") && !text.contains(CARD), "{text}");
    }
    let mut client = platform.mqtt(Version::V311, &device.token);
    assert_eq!(client.publish(TELEMETRY, note.as_bytes()).0, 0);
    assert_eq!(client.publish(ATTRIBUTES, heart.as_bytes()).0, 0);
    let path = format!("/v1/devices/{}/refusals", device.id);
    let listed = tenant.get(&path).expect(200);
    let text = listed.to_string();
    assert!(text.contains("(rule health)") && text.contains("(rule card_number)"), "{text}");
    assert!(!text.contains(CARD) && !text.contains(MARK) && !text.contains("heart"), "{text}");
    assert_eq!(listed["items"][0]["reason"], "policy", "{text}");

    let mut socket = WebSocket::authenticated(platform.http(), &device.token);
    socket.send(&json!({"op": "publish", "id": 3, "values": {"note": CARD}}));
    let answer = socket.receive();
    let text = answer.to_string();
    assert!(text.contains("(rule card_number)") && !text.contains(CARD), "{text}");
    assert_eq!((&answer["type"], &answer["id"]), (&json!("error"), &json!(3)), "{text}");

    // Measured numbers, times and declared numbers of equipment are what they were.
    let fine = json!({"energy": 4_539_148_803_436_467_i64, "sent": "1451649600512",
        "imei": "378282246310005", "heart_beat": 1});
    assert_eq!(post(telemetry, json, fine.to_string()).status, 200);
    let kept = tenant.latest(&device, "imei");
    assert_eq!(kept, "378282246310005");
    let gone = tenant.get(&format!("/v1/devices/{}", device.id)).expect(200).to_string();
    assert!(!gone.contains("note") && !gone.contains("heart_rate"), "{gone}");
}

fn people_doors(platform: &Platform, tenant: &Tenant) {
    let device = tenant.device("labels");
    let attributes = format!("/v1/devices/{}/attributes", device.id);
    let text = format!("Pump {CARD_IN_GROUPS}");
    let check = |method: &str, path: &str, body: Value, rule: &str, at: &str| {
        let answer = tenant.request(method, path).json(&body).send();
        assert_eq!(refused(&answer, 422, rule)["position"], at, "{path}");
    };
    check("PATCH", &attributes, json!({"shared": {"a": [1, CARD]}}), "card_number", "/shared/a/1");
    let number: i64 = CARD.parse().unwrap();
    check("PATCH", &attributes, json!({"server": {"n": number}}), "card_number", "/server/n");
    check("PATCH", &attributes, json!({"server": {"heart_rate": MARK}}), "health", "/server");
    let id = format!("{MARK} ID card A123456789");
    check("POST", "/v1/devices", json!({"name": text}), "card_number", "/name");
    check("POST", "/v1/devices", json!({"name": "x", "type": id}), "national_id_tw", "/type");
    check("POST", "/v1/workspaces", json!({"name": text}), "card_number", "/name");
    let ticket = json!({"subject": "Help", "text": id});
    check("POST", "/v1/support-tickets", ticket, "national_id_tw", "/text");
    let rows = [
        ("/v1/devices/import", format!("name,type\nfine,x\n\"{text}\",x\n"), "card_number"),
        ("/v1/devices/import", "name,key\nfine,heart_rate\n".to_owned(), "health"),
        (
            "/v1/users/import",
            format!("email,role,name\nx@tenant.example,viewer,\"{id}\"\n"),
            "national_id_tw",
        ),
    ];
    for (path, file, rule) in rows {
        let answer = tenant.request("POST", path).body("text/csv", file.as_bytes()).send();
        let problem = refused(&answer, 400, rule);
        let position = problem["position"].as_str().unwrap();
        assert!(position.contains("column"), "{position}");
    }
    let named = format!("/v1/twins?name={CARD}");
    let ifc = veritwin_simulator::building::demo_ifc();
    let import = |path: &str, file: &str| {
        let request = platform.http().post(path).bearer(&tenant.api_key);
        request.body("application/x-step", file.as_bytes()).send()
    };
    refused(&import(&named, &ifc), 400, "card_number");
    let error = platform.control("create_tenant", json!({"name": text})).expect_err("refused");
    assert!(error.contains("(rule card_number)") && !error.contains(CARD_IN_GROUPS), "{error}");
    // A password is nobody's card, and is kept as a digest only.
    let sign_in = json!({"email": tenant.email, "password": CARD});
    platform.http().post("/v1/session").json(&sign_in).send().problem(401);
}

/// Bodies that a parser takes and that hold more than it asks for: under secrets' names where the
/// body has no secret, beside a byte that is not UTF-8, behind nesting that is stepped over. Each
/// with the status of its refusal, and the position or limit that this names.
#[cfg(feature = "test-controls")]
fn holes() -> [(Vec<u8>, u16, &'static str); 5] {
    let deep = "[".repeat(200) + &"]".repeat(200);
    let rest = format!(r#"{{"note2":"{CARD}","ssn":"x"}}"#);
    let not_utf8 = [&br#"{"zz":""#[..], &[0xff], br#"","server":"#, rest.as_bytes(), b"}"].concat();
    let too_deep = format!(r#"{{"zz":{deep},"server":{rest}}}"#);
    let token = format!(r#"{{"server":{{"token":{{"pan":{CARD},"heart_rate":80}}}}}}"#);
    let list = format!(r#"{{"server":{{"secret":[1,{{"ssn":1,"pan":{CARD}}}]}}}}"#);
    let code = format!(r#"{{"server":{{"code":"{CARD_IN_GROUPS}","ssn":1}}}}"#);
    [
        (code.into_bytes(), 422, "/server/code"),
        (token.into_bytes(), 422, "/server/token/pan"),
        (list.into_bytes(), 422, "/server/secret/1"),
        (not_utf8, 400, "byte 7"),
        (too_deep.into_bytes(), 400, "json_nesting_max"),
    ]
}

/// None of them gets by, and each would with the rules of P05 and P06 out.
#[cfg(feature = "test-controls")]
#[test]
fn bodies_that_hold_more_than_a_parser_asks_for_are_refused() {
    let platform = Platform::start(Mode::Serve, Options::default());
    let tenant = platform.tenant();
    let device = tenant.device("holes");
    let path = format!("/v1/devices/{}/attributes", device.id);
    let patch = |body: &[u8]| tenant.request("PATCH", &path).body("application/json", body).send();
    let before = tenant.get(&path).expect(200);
    for (body, status, place) in holes() {
        let problem = patch(&body).problem(status);
        let found = [&problem["position"], &problem["limit"]];
        assert!(found.contains(&&Value::from(place)), "{problem}");
        let text = problem.to_string();
        assert!(!text.contains(CARD) && !text.contains(CARD_IN_GROUPS), "{text}");
    }
    assert_eq!(tenant.get(&path).expect(200), before);
    let sabotage = |on: bool| {
        for promise in [5, 6] {
            platform.control("sabotage", json!({"promise": promise, "on": on})).expect("sabotage");
        }
    };
    sabotage(true);
    for (body, _, place) in holes() {
        assert_eq!(patch(&body).status, 200, "{place}");
    }
    sabotage(false);
    for (body, status, _) in holes() {
        patch(&body).problem(status);
    }
}

/// Every endpoint with a JSON body, so that one added later cannot be forgotten.
fn every_body(platform: &Platform, tenant: &Tenant) {
    let document = platform.http().get("/v1/openapi.json").send().expect(200);
    let never = "00000000-0000-0000-0000-000000000000";
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (verb, operation) in item.as_object().unwrap() {
            if operation["requestBody"]["content"].get("application/json").is_none() {
                continue;
            }
            let path = path
                .split('/')
                .map(|part| if part.starts_with('{') { never } else { part })
                .collect::<Vec<_>>()
                .join("/");
            let request = tenant.person(&verb.to_uppercase(), &path);
            let answer = request.json(&json!({"probe": {"note": CARD_IN_GROUPS}})).send();
            let problem = refused(&answer, 422, "card_number");
            assert_eq!(problem["position"], "/probe/note", "{verb} {path}");
            asked += 1;
        }
    }
    assert!(asked > 50, "{asked}");
}

#[test]
fn what_must_not_be_kept_is_refused_at_every_door_and_in_no_file() {
    let options =
        Options::default().environment("VERITWIN_LOG", "debug,sqlx=warn,hyper=info,rustls=info");
    let mut platform = Platform::start(Mode::Serve, options);
    let tenant = platform.tenant();
    device_doors(&platform, &tenant);
    people_doors(&platform, &tenant);
    every_body(&platform, &tenant);
    platform.stop();
    let files = files_below(&platform.data());
    assert!(files.len() > 10, "{files:?}");
    let logs = ("logs".to_owned(), platform.stderr().into_bytes());
    let read = |path: &std::path::PathBuf| (path.display().to_string(), fs::read(path).unwrap());
    for (name, bytes) in files.iter().map(read).chain([logs]) {
        for needle in [CARD, CARD_IN_GROUPS, MARK] {
            let found = bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
            assert!(!found, "{name}: {needle}");
        }
    }
}
