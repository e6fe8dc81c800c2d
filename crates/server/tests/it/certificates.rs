//! Certificates of host names: each tenant's own, used at once, told by name in the handshake, gone
//! with the host name.

use std::sync::{Arc, Mutex};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};

use crate::harness::{Mode, Options, Platform, Ports, link_token, now_ms, wait_for};
use crate::http::{Answer, Http, client_tls};
use crate::mqtt::{Mqtt, Version};
use crate::tenant::Tenant;

/// An authority of a partner's own, with a certificate of one host name below it.
pub(crate) struct Made {
    authority: String,
    pub(crate) chain: String,
    pub(crate) key: String,
}

pub(crate) fn made(host: &str) -> Made {
    made_for(host, 90)
}

/// The same, which ends after so many days.
fn made_for(host: &str, days: u32) -> Made {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = root.self_signed(&key).unwrap().pem();
    let issuer = Issuer::from_ca_cert_pem(&authority, &key).unwrap();
    let own = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new([host.to_owned()]).unwrap();
    let end = std::time::Duration::from_millis(now_ms().unsigned_abs())
        + std::time::Duration::from_secs(86_400) * days;
    leaf.not_after = time::OffsetDateTime::UNIX_EPOCH + end;
    let leaf = leaf.signed_by(&own, &issuer).unwrap();
    let chain = format!("{}{authority}", leaf.pem());
    Made { authority, chain, key: own.serialize_pem() }
}

/// Whether a handshake for this name succeeds with this authority.
pub(crate) fn answers(platform: &Platform, authority: &str, name: &str) -> bool {
    use std::io::{Read, Write};
    let tls = client_tls(authority.as_bytes());
    let stream = std::net::TcpStream::connect(platform.ports().https).unwrap();
    let server = ServerName::try_from(name.to_owned()).unwrap();
    let connection = ClientConnection::new(Arc::clone(&tls), server).unwrap();
    let mut stream = StreamOwned::new(connection, stream);
    let request = format!("GET /healthz HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n");
    if stream.write_all(request.as_bytes()).is_err() {
        return false;
    }
    let mut text = String::new();
    stream.read_to_string(&mut text).is_ok_and(|_| text.starts_with("HTTP/1.1 200"))
}

pub(crate) struct Person {
    pub(crate) tenant: String,
    cookie: String,
}

fn welcome(platform: &Platform, link: &str, email: &str) -> Person {
    let body = json!({
        "token": link_token(link), "email": email, "password": "correct horse battery",
        "attested": true,
    });
    let answer = platform.http().post("/v1/welcome").json(&body).send();
    let tenant = answer.expect(201)["tenant"]["id"].as_str().unwrap().to_owned();
    Person { tenant, cookie: answer.cookie().unwrap() }
}

pub(crate) fn ask(
    platform: &Platform,
    person: &Person,
    method: &str,
    path: &str,
    body: &Value,
) -> Answer {
    let request = platform.http().request(method, path).header("cookie", &person.cookie);
    request.json(body).send()
}

/// The platform's first administrator.
pub(crate) fn administration(platform: &Platform) -> Person {
    let link = platform.control("admin_link", json!({"platform": true})).unwrap();
    welcome(platform, link["link"].as_str().unwrap(), "root@hosts.example")
}

/// A partner with the host name `NAME.hosts.example`.
pub(crate) fn partner(platform: &Platform, root: &Person, name: &str) -> Person {
    let body = json!({"name": name, "kind": "partner"});
    let made = ask(platform, root, "POST", "/v1/tenants", &body).expect(201);
    let path = format!("/v1/tenants/{}", made["id"].as_str().unwrap());
    let hosts = json!({"hosts": [format!("{name}.hosts.example")]});
    ask(platform, root, "PUT", &format!("{path}/hosts"), &hosts).expect(200);
    let email = format!("{name}@hosts.example");
    let invite = json!({"email": email});
    let invited = ask(platform, root, "POST", &format!("{path}/invitations"), &invite);
    let invited = invited.expect(201);
    welcome(platform, invited["link"].as_str().unwrap(), &email)
}

#[test]
fn a_host_name_answers_with_its_own_certificate() {
    let mut platform = Platform::start(Mode::Serve, Options::default());
    let root = administration(&platform);
    let partner = |name: &str| partner(&platform, &root, name);
    let (north, south) = (partner("north"), partner("south"));
    let (host, path) = ("north.hosts.example", "/v1/certificates/north.hosts.example");
    let own = made(host);
    let input = json!({"chain": own.chain, "private_key": own.key});
    assert!(!answers(&platform, &own.authority, host));

    // Nobody else's host name, and none that is nobody's.
    ask(&platform, &south, "PUT", path, &input).problem(404);
    ask(&platform, &root, "PUT", path, &input).problem(404);
    ask(&platform, &north, "PUT", "/v1/certificates/x.hosts.example", &input).problem(404);
    let other = made("south.hosts.example");
    let wrong = json!({"chain": other.chain, "private_key": other.key});
    let problem = ask(&platform, &north, "PUT", path, &wrong).problem(400);
    assert!(problem["detail"].as_str().unwrap().contains("is not for"), "{problem}");
    let mixed = json!({"chain": own.chain, "private_key": other.key});
    let problem = ask(&platform, &north, "PUT", path, &mixed).problem(400);
    assert!(problem["detail"].as_str().unwrap().contains("does not belong"), "{problem}");

    let put = ask(&platform, &north, "PUT", path, &input).expect(200);
    assert!(put["not_after"].is_string() && !put.to_string().contains("PRIVATE"), "{put}");
    wait_for("the new certificate", || answers(&platform, &own.authority, host).then_some(()));
    // Other names, and none of ours, answer as before.
    assert!(!answers(&platform, &own.authority, "south.hosts.example"));
    assert_eq!(platform.http().get("/healthz").send().status, 200);
    let listed = ask(&platform, &north, "GET", "/v1/certificates", &json!({})).expect(200);
    assert_eq!(listed["items"][0]["host"], host);
    assert!(listed["items"][0]["not_after"].is_string(), "{listed}");
    let listed = ask(&platform, &south, "GET", "/v1/certificates", &json!({})).expect(200);
    assert!(listed["items"][0]["not_after"].is_null(), "{listed}");
    // The key lies sealed.
    let body: String = own.key.lines().filter(|line| !line.starts_with('-')).collect();
    for file in crate::harness::files_below(&platform.data()) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        let found = bytes.windows(32).any(|part| part == &body.as_bytes()[..32]);
        assert!(!found, "{}", file.display());
    }

    // It is there after a start, and replaced while running.
    platform.stop();
    platform.start_again();
    assert!(answers(&platform, &own.authority, host));
    let renewed = made(host);
    let input = json!({"chain": renewed.chain, "private_key": renewed.key});
    ask(&platform, &north, "PUT", path, &input).expect(200);
    wait_for("the renewed one", || answers(&platform, &renewed.authority, host).then_some(()));

    // One that ends soon is told of.
    let short = made_for(host, 10);
    let input = json!({"chain": short.chain, "private_key": short.key});
    ask(&platform, &north, "PUT", path, &input).expect(200);
    let alarm = "a host name's certificate ends soon";
    wait_for("the alarm", || platform.stderr().contains(alarm).then_some(()));
    wait_for("the short one", || answers(&platform, &short.authority, host).then_some(()));

    // With its host name it goes.
    let path = format!("/v1/tenants/{}/hosts", north.tenant);
    ask(&platform, &root, "PUT", &path, &json!({"hosts": []})).expect(200);
    wait_for("its end", || (!answers(&platform, &short.authority, host)).then_some(()));
    ask(&platform, &root, "PUT", &path, &json!({"hosts": [host]})).expect(200);
    let listed = ask(&platform, &north, "GET", "/v1/certificates", &json!({})).expect(200);
    assert!(listed["items"][0]["not_after"].is_null(), "{listed}");
}

/// Whether a listener shows a certificate of this authority for a name.
fn shows(address: &str, authority: &str, name: &str) -> bool {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let server = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(client_tls(authority.as_bytes()), server).unwrap();
    while connection.is_handshaking() {
        if connection.complete_io(&mut stream).is_err() {
            return false;
        }
    }
    true
}

#[test]
fn the_platforms_own_names_are_nobodys_and_devices_see_its_certificate_alone() {
    let options = Options::default().environment("VERITWIN__HTTP__EXTRA_NAMES", "Own.Example");
    let platform = Platform::start(Mode::Serve, options);
    let root = administration(&platform);
    let other = partner(&platform, &root, "other");
    let path = format!("/v1/tenants/{}/hosts", other.tenant);
    for host in ["own.example", "OWN.example."] {
        let wanted = json!({"hosts": ["other.hosts.example", host]});
        ask(&platform, &root, "PUT", &path, &wanted).problem(409);
    }
    let host = "other.hosts.example";
    let shown = made(host);
    let input = json!({"chain": shown.chain, "private_key": shown.key});
    ask(&platform, &other, "PUT", &format!("/v1/certificates/{host}"), &input).expect(200);
    let ports = platform.ports();
    wait_for("its certificate", || shows(&ports.https, &shown.authority, host).then_some(()));
    assert!(!shows(&ports.mqtts, &shown.authority, host), "MQTT has the platform's only");
    let own = std::fs::read_to_string(platform.data().join("pki/ca.pem")).unwrap();
    assert!(shows(&ports.mqtts, &own, "own.example") && shows(&ports.https, &own, "own.example"));
}

/// The platform under the name of its certificate.
fn over(platform: &Platform, authority: &str) -> Http {
    let local = |address: String| {
        let (_, port) = address.rsplit_once(':').unwrap();
        format!("localhost:{port}")
    };
    let ports = platform.ports();
    let (https, mqtts) = (local(ports.https), local(ports.mqtts));
    let ports = Ports { https, mqtts, archive: ports.archive };
    Http::new(Arc::new(Mutex::new(ports)), client_tls(authority.as_bytes()))
}

#[test]
fn the_operators_certificate_is_replaced_while_running_and_told_of_before_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    let put = |path: &std::path::Path, text: &str| {
        // Renamed, so that no half-written file is read.
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(fresh, path).unwrap();
    };
    let first = made_for("localhost", 10);
    put(&certificate, &first.chain);
    put(&key, &first.key);
    let options = Options::default()
        .environment("VERITWIN__TLS__CERTIFICATE", certificate.to_str().unwrap())
        .environment("VERITWIN__TLS__PRIVATE_KEY", key.to_str().unwrap());
    let platform = Platform::start(Mode::Serve, options);
    assert!(answers(&platform, &first.authority, "localhost"));
    let alarm = "the server certificate ends soon";
    wait_for("the alarm", || platform.stderr().contains(alarm).then_some(()));
    let http = over(&platform, &first.authority);
    let made_tenant = platform.control("create_tenant", json!({"name": "Rotation"})).unwrap();
    let link = platform.control("admin_link", json!({"tenant": made_tenant["tenant"]})).unwrap();
    let tenant = Tenant::redeem(&http, link_token(link["link"].as_str().unwrap()), 900);
    let device = tenant.device("meter");
    let mut session = Mqtt::connect(&http, Version::V5, &device.token).unwrap();
    assert_eq!(session.publish("v1/devices/me/telemetry", b"{\"t\":1}").0, 0);

    // A pair that does not belong together is refused; the old one stays in use.
    let next = made("localhost");
    put(&key, &next.key);
    let refused = "the new certificate cannot be used";
    wait_for("the refusal", || platform.stderr().contains(refused).then_some(()));
    assert!(answers(&platform, &first.authority, "localhost"));
    assert!(!answers(&platform, &next.authority, "localhost"));
    // With the other half it is taken into use.
    put(&certificate, &next.chain);
    wait_for("the new leaf", || answers(&platform, &next.authority, "localhost").then_some(()));
    assert!(!answers(&platform, &first.authority, "localhost"));
    assert_eq!(platform.stderr().matches(alarm).count(), 1, "told once");
    // A session that was there stays; who comes now is shown the new one.
    assert_eq!(session.publish("v1/devices/me/telemetry", b"{\"t\":2}").0, 0);
    let http = over(&platform, &first.authority);
    assert!(Mqtt::connect(&http, Version::V5, &device.token).is_err());
    let http = over(&platform, &next.authority);
    assert!(Mqtt::connect(&http, Version::V5, &device.token).is_ok());
    assert_eq!(tenant.at(&http).latest(&device, "t"), json!(2));
}
