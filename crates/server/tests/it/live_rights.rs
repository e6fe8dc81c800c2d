//! What one may read or write, where it is asked late or for many at once: open sockets, bulk
//! writing, declarations, and the answer to why.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use veritwin_simulator::building::demo_ifc;

use crate::harness::Platform;
use crate::http::Answer;
use crate::tenant::{Device, Tenant};
use crate::websocket::WebSocket;

/// Far below the 30 s after which a socket asks again by itself.
const AT_ONCE: Duration = Duration::from_secs(10);

/// A reading that nobody may see here, longer than what ids and times hold by chance.
const HIDDEN: i64 = 47_110_815;

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap_or_else(|| panic!("no id: {value}")).to_owned()
}

fn declare(tenant: &Tenant, cookie: &str, device: &Device, declaration: &str) -> Answer {
    let path = format!("/v1/devices/{}", device.id);
    let request = tenant.http().request("PATCH", &path).header("cookie", cookie);
    request.json(&json!({"declaration": declaration})).send()
}

/// The devices of the next snapshot.
#[track_caller]
fn snapshot(socket: &mut WebSocket) -> Vec<String> {
    let message = socket.receive();
    assert_eq!(message["type"], "latest", "{message}");
    assert!(!message.to_string().contains(&HIDDEN.to_string()), "{message}");
    let items = message["items"].as_array().unwrap().iter();
    items.map(|item| item["device_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_open_socket_shows_no_device_that_was_closed_to_its_reader() {
    let tenant = Platform::shared().tenant();
    let (kept, gone) = (tenant.device("kept"), tenant.device("gone"));
    for device in [&kept, &gone] {
        tenant.send(device, &json!({"t": 1})).expect(200);
    }
    let (_, viewer) = tenant.member("reads", "viewer");
    let mut socket = WebSocket::of_session(tenant.http(), &viewer);
    socket.send(&json!({"op": "subscribe", "id": 1, "topic": "latest"}));
    assert_eq!(snapshot(&mut socket).len(), 2);
    // Neither stands in a twin; nothing is sent that could bring a snapshot about.
    declare(&tenant, &tenant.cookie, &gone, "personal").expect(200);
    assert_eq!(snapshot(&mut socket), [kept.id.as_str()]);
    tenant.send(&gone, &json!({"t": HIDDEN})).expect(200);
    tenant.send(&kept, &json!({"t": 2})).expect(200);
    assert_eq!(snapshot(&mut socket), [kept.id.as_str()]);
    tenant.delete(&format!("/v1/devices/{}", kept.id)).expect(204);
    assert!(snapshot(&mut socket).is_empty());
}

#[test]
fn opening_what_is_personal_takes_the_right_to_read_it() {
    let tenant = Platform::shared().tenant();
    let device = tenant.device("meter");
    let (_, integrator) = tenant.member("sets-up", "integrator");
    let import = |declaration: &str| {
        let csv = format!("name,type,declaration\nmeter,test,{declaration}\n");
        let request = tenant.http().post("/v1/devices/import").header("cookie", &integrator);
        request.body("text/csv", csv.as_bytes()).send()
    };
    for (declaration, status) in [
        ("undeclared", 200),
        ("non_personal", 403),
        ("personal", 200),
        ("undeclared", 403),
        ("non_personal", 403),
        ("personal", 200),
    ] {
        let answer = declare(&tenant, &integrator, &device, declaration);
        assert_eq!(answer.status, status, "{declaration}: {}", answer.text());
    }
    import("non_personal").problem(403);
    let path = format!("/v1/devices/{}", device.id);
    assert_eq!(tenant.get(&path).expect(200)["declaration"], "personal");
    import("personal").expect(200);
    // Why it stays closed is said as it is.
    let (viewer, _) = tenant.member("reads", "viewer");
    let may = || {
        let query = format!("user_id={viewer}&action=telemetry.read&device_id={}", device.id);
        tenant.get(&format!("/v1/access/explain?{query}")).expect(200)["allowed"].clone()
    };
    assert_eq!(may(), false);
    declare(&tenant, &tenant.cookie, &device, "non_personal").expect(200);
    assert_eq!(may(), true);
}

#[test]
fn moving_what_is_personal_into_sight_takes_the_right_to_read_it() {
    let tenant = Platform::shared().tenant();
    let device = tenant.device("meter");
    declare(&tenant, &tenant.cookie, &device, "personal").expect(200);
    let twin =
        tenant.request("POST", "/v1/twins").body("application/x-step", demo_ifc().as_bytes());
    let twin = id(&twin.send().expect(201)["twin"]);
    let (person, cookie) = tenant.member("sets-up", "integrator");
    let role = json!({"name": "sees", "allows": ["telemetry.read_personal"]});
    let role = id(&tenant.post("/v1/roles", &role).expect(201));
    let body = json!({"user_id": person, "custom_role_id": role, "scope": {"twin_id": twin}});
    tenant.post("/v1/grants", &body).expect(201);
    let by =
        |method: &str, path: &str| tenant.http().request(method, path).header("cookie", &cookie);
    let path = format!("/v1/devices/{}", device.id);
    let binding = format!("/v1/twins/{twin}/bindings/{}", device.id);
    by("PUT", &binding).json(&json!({})).send().problem(403);
    assert_eq!(tenant.get(&path).expect(200)["twin_id"], Value::Null);
    // Where they see it already, they move it as they like.
    tenant.put(&binding, &json!({})).expect(204);
    by("DELETE", &binding).send().expect(204);
}

#[test]
fn bulk_writing_asks_for_each_device_where_it_stands() {
    let tenant = Platform::shared().tenant();
    let (inside, outside) = (tenant.device("inside"), tenant.device("outside"));
    let group = json!({"name": "part", "device_ids": [inside.id]});
    let group = id(&tenant.post("/v1/groups", &group).expect(201));
    let scope = json!({"group_id": group});
    let key = |scope: &Value| {
        let body = json!({"name": "k", "role": "integrator", "scope": scope});
        tenant.post("/v1/api-keys", &body).expect(201)
    };
    let write = |key: &Value, device: &Device| {
        let row = format!(
            "{{\"device\":\"{}\",\"ts\":1764000000000,\"values\":{{\"n\":9999}}}}\n",
            device.name
        );
        let secret = key["secret"].as_str().unwrap();
        let request = tenant.http().post("/v1/telemetry/write").bearer(secret);
        request.body("application/x-ndjson", row.as_bytes()).send()
    };
    let part = key(&scope);
    write(&part, &inside).expect(200);
    write(&part, &outside).problem(400);
    let all = key(&json!({}));
    write(&all, &inside).expect(200);
    let role = json!({"name": "hands off", "denies": ["telemetry.write"]});
    let role = id(&tenant.post("/v1/roles", &role).expect(201));
    let body = json!({"api_key_id": id(&all["api_key"]), "custom_role_id": role, "scope": scope});
    tenant.post("/v1/grants", &body).expect(201);
    write(&all, &inside).problem(400);
    write(&all, &outside).expect(200);
}

/// Sends a command over and over, until a rate refuses it and then the connection ends.
#[track_caller]
fn sent_until_put_out(socket: &mut WebSocket, command: &str, limit: &str) {
    let refused = (0..20_000).find_map(|_| {
        socket.send_text(command);
        let detail = socket.receive()["detail"].as_str().unwrap_or_default().to_owned();
        detail.contains(limit).then_some(detail)
    });
    let refused = refused.expect("a rate");
    assert!(refused.contains("try again in"), "{refused}");
    // Whoever goes on is put out.
    for _ in 0..400 {
        socket.send_text(command);
    }
    let (code, reason) = socket.closed_after();
    assert_eq!(code, 1008);
    assert!(reason.contains("commands_refused_max"), "{reason}");
}

#[test]
fn commands_of_a_socket_count_as_requests() {
    let tenant = Platform::shared().tenant();
    for (name, command) in [
        ("hurries", r#"{"op":"unsubscribe","id":1}"#),
        ("mumbles", r#"{"op":"unsubscribe","id":1,"#),
        ("invents", r#"{"op":"guess"}"#),
    ] {
        let (_, viewer) = tenant.member(name, "viewer");
        let mut socket = WebSocket::of_session(tenant.http(), &viewer);
        sent_until_put_out(&mut socket, command, "user_requests_per_second");
    }
    // Nobody talks on without saying who they are.
    let mut socket = WebSocket::connect(tenant.http());
    for _ in 0..33 {
        socket.send_text("{");
    }
    let (code, reason) = socket.closed_after();
    assert!(code == 1008 && reason.contains("commands_refused_max"), "{code} {reason}");
}

#[test]
fn a_session_that_ended_takes_its_sockets_along() {
    let tenant = Platform::shared().tenant();
    let sign_in = || {
        let body = json!({"email": tenant.email, "password": tenant.password});
        let answer = tenant.http().post("/v1/session").json(&body).send();
        answer.expect(200);
        answer.cookie().expect("a session")
    };
    let closed = |mut socket: WebSocket, end: &dyn Fn()| {
        let began = Instant::now();
        end();
        assert_eq!(socket.closed(), (1008, "the session has ended".to_owned()));
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    };
    let own = |method: &str, path: &str| {
        tenant.http().request(method, path).header("cookie", &tenant.cookie).send()
    };
    let mut kept = WebSocket::of_session(tenant.http(), &tenant.cookie);
    let other = WebSocket::of_session(tenant.http(), &sign_in());
    closed(other, &|| assert_eq!(own("DELETE", "/v1/account/sessions").status, 204));
    let left = sign_in();
    let socket = WebSocket::of_session(tenant.http(), &left);
    let out = || tenant.http().request("DELETE", "/v1/session").header("cookie", &left).send();
    closed(socket, &|| assert_eq!(out().status, 204));
    let (user, member) = tenant.member("leaves", "viewer");
    let socket = WebSocket::of_session(tenant.http(), &member);
    let path = format!("/v1/users/{user}");
    closed(socket, &|| assert_eq!(own("DELETE", &path).status, 204));
    let key = tenant.post("/v1/api-keys", &json!({"name": "k", "role": "viewer"})).expect(201);
    let socket = WebSocket::authenticated(tenant.http(), key["secret"].as_str().unwrap());
    let path = format!("/v1/api-keys/{}", id(&key["api_key"]));
    closed(socket, &|| assert_eq!(own("DELETE", &path).status, 204));
    // The one that goes on does.
    kept.send(&json!({"op": "unsubscribe", "id": 1}));
    assert_eq!(kept.receive(), json!({"type": "done", "id": 1}));
}
