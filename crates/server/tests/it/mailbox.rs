//! Requests of data subjects by mail, with a real IMAP server on this machine: Dovecot, with TLS
//! and a password. Nobody but a person opens a case, and each mail opens one.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Mode, Options, PATIENCE, Platform, wait_for};
use crate::rights::Person;
use crate::smtp::{Mail, smtp_server};
use crate::tenant::Tenant;
use crate::webhooks::Papers;

const DOVECOT: &str = "/usr/sbin/dovecot";
const MAILBOX: &str = "/v1/requests/mailbox";
const PASSWORD: &str = "correct horse battery";
/// Who owns mails where the server was started by root, which may not.
const NOBODY: u32 = 65_534;

/// An IMAP server, a platform that may call it, and a tenant.
struct Stage {
    platform: Platform,
    tenant: Tenant,
    sent: Receiver<Mail>,
    port: u16,
    folder: TempDir,
    server: Child,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn config(folder: &Path, port: u16) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    let is_root = rustix::process::geteuid().is_root();
    // Started by anybody else it changes no user.
    let (uid, gid) = if is_root {
        (NOBODY, NOBODY)
    } else {
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    };
    let users = if is_root {
        String::new()
    } else {
        let name = std::env::var("USER").unwrap_or_else(|_| "nobody".to_owned());
        format!("default_internal_user = {name}\ndefault_login_user = {name}\n")
    };
    format!(
        "{users}base_dir = {}\nstate_dir = {}\nlog_path = {}\nprotocols = imap\n\
         listen = 127.0.0.1\nssl = required\nssl_cert = <{}\nssl_key = <{}\n\
         mail_location = maildir:{}\nfirst_valid_uid = 0\ndisable_plaintext_auth = yes\n\
         passdb {{\n  driver = static\n  args = password={PASSWORD}\n}}\n\
         userdb {{\n  driver = static\n  args = uid={uid} gid={gid} home={}\n}}\n\
         service imap-login {{\n  chroot =\n  inet_listener imap {{\n    port = 0\n  }}\n  \
         inet_listener imaps {{\n    port = {port}\n    ssl = yes\n  }}\n}}\n\
         service anvil {{\n  chroot =\n}}\nservice stats {{\n  chroot =\n}}\n",
        at("run"),
        at("state"),
        at("log"),
        at("certificate.pem"),
        at("key.pem"),
        at("mail"),
        at("home"),
    )
}

impl Stage {
    /// None where the program is not installed (said).
    fn new() -> Option<Self> {
        if !Path::new(DOVECOT).exists() {
            println!("skipped: {DOVECOT} is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let papers = Papers::new();
        for (name, text) in [
            ("authority.pem", &papers.authority),
            ("certificate.pem", &papers.certificate),
            ("key.pem", &papers.key),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let is_root = rustix::process::geteuid().is_root();
        for name in ["home", "mail", "mail/new", "mail/cur", "mail/tmp"] {
            let path = folder.path().join(name);
            fs::create_dir_all(&path).unwrap();
            if is_root {
                chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        if is_root {
            // Its login processes and its mails are other users'.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(folder.path(), mode).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = folder.path().join("dovecot.conf");
        fs::write(&file, config(folder.path(), port)).unwrap();
        let mut command = Command::new(DOVECOT);
        command.arg("-F").arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let server = command.spawn().unwrap();
        wait_for("the mail server", || TcpStream::connect(("127.0.0.1", port)).ok());
        let (smtp, sent) = smtp_server();
        let authority = folder.path().join("authority.pem");
        let options = Options::default()
            .environment("VERITWIN__SMTP__URL", &format!("smtp://127.0.0.1:{smtp}"))
            .environment("VERITWIN__SMTP__FROM", "privacy@veritwin.example")
            .environment("VERITWIN__OUTBOUND__ALLOWED_NETWORKS", "127.0.0.0/8, ::1")
            .environment("VERITWIN__OUTBOUND__PORTS", &port.to_string())
            .environment("VERITWIN__OUTBOUND__AUTHORITIES", authority.to_str().unwrap());
        let platform = Platform::start(Mode::Serve, options);
        let tenant = platform.tenant();
        Some(Self { platform, tenant, sent, port, folder, server })
    }

    fn put(&self, password: Option<&str>) -> Value {
        let known = self.tenant.person("GET", MAILBOX).send().expect(200);
        let version = known["mailbox"]["version"].as_u64().unwrap_or(0);
        let mut mailbox = json!({"server": format!("localhost:{}", self.port), "user": "privacy"});
        if let Some(password) = password {
            mailbox["password"] = json!(password);
        }
        let put = self.tenant.person("PUT", MAILBOX).header("if-match", &format!("\"{version}\""));
        put.json(&mailbox).send().expect(200)
    }

    /// Has it read now, and waits until it was.
    fn read(&self, password: Option<&str>) -> Value {
        let before = self.put(password)["read_at"].clone();
        wait_for("a reading", || {
            let shown = self.tenant.person("GET", MAILBOX).send().expect(200)["mailbox"].clone();
            let is_over = shown["read_at"] != before || !shown["problem"].is_null();
            is_over.then_some(shown)
        })
    }

    fn mail(&self, name: &str, text: &str) {
        let path: PathBuf = self.folder.path().join("mail/tmp").join(name);
        fs::write(&path, text).unwrap();
        if rustix::process::geteuid().is_root() {
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        fs::rename(&path, self.folder.path().join("mail/new").join(name)).unwrap();
    }

    fn cases(&self) -> Vec<Value> {
        let listed = self.tenant.person("GET", "/v1/requests").send().expect(200);
        listed["items"].as_array().unwrap().clone()
    }
}

fn letter(id: &str, headers: &str, text: &str) -> String {
    format!(
        "From: Ada <ada@people.example>\r\nTo: privacy@acme.example\r\nSubject: My data\r\n\
         Message-ID: <{id}@people.example>\r\n{headers}\r\n{text}\r\n"
    )
}

#[test]
fn a_mail_is_one_case_and_a_machine_opens_none() {
    let Some(stage) = Stage::new() else { return };
    stage.mail("0", &letter("before", "", "This was there before."));
    let wrong = stage.read(Some("wrong"));
    assert_eq!(wrong["problem"], "sign_in", "{wrong}");
    let shown = stage.read(Some(PASSWORD));
    assert_eq!(shown["problem"], Value::Null, "{shown}");
    assert!(!shown.to_string().contains(PASSWORD), "{shown}");
    assert!(stage.cases().is_empty(), "what was there is left alone");
    stage.mail("1", &letter("one", "", "Please delete my data."));
    stage.mail("2", &letter("one", "", "Please delete my data."));
    stage.mail("3", &letter("two", "Auto-Submitted: auto-replied\r\n", "I am away."));
    stage.mail("4", &letter("three", "Precedence: list\r\n", "News."));
    stage.read(None);
    let cases = stage.cases();
    assert_eq!(cases.len(), 1, "{cases:?}");
    let case = &cases[0];
    assert_eq!((&case["source"], &case["kind"]), (&json!("mail"), &json!("erasure")), "{case}");
    assert_eq!(case["subject"], "ada@people.example", "{case}");
    assert_eq!(case["verified"], Value::Null, "{case}");
    // The sender is told, and a machine that reads it knows that it need not answer.
    let told = wait_for("the acknowledgement", || {
        let mail = stage.sent.recv_timeout(PATIENCE).ok()?;
        mail.to.contains("ada@people.example").then_some(mail)
    });
    assert!(told.text.contains("Auto-Submitted: auto-generated"), "{}", told.text);
    let id = case["id"].as_str().unwrap();
    assert!(told.subject().contains(id), "{}", told.subject());
    // What names the request is a line of it, and no other one.
    let answer = letter("four", "", "I mean all of it.").replace("My data", &told.subject());
    stage.mail("5", &answer);
    stage.read(None);
    assert_eq!(stage.cases().len(), 1);
    let path = format!("/v1/requests/{id}");
    let seen = stage.tenant.person("GET", &path).send().expect(200);
    let lines = seen["events"].as_array().unwrap();
    assert!(lines.iter().any(|line| line["kind"] == "mail"), "{seen}");
    // Nothing is done before it is known who asks.
    let officer = stage.tenant.member_by_mail(&stage.sent, ("officer", "privacy_officer"));
    let officer = Person::of(&stage.platform, officer);
    officer.post(&format!("{path}/fulfil"), &json!({})).problem(409);
    let log = stage.platform.stderr();
    assert!(!log.contains("ada@people.example") && !log.contains(PASSWORD), "nothing is logged");
}

#[test]
fn addresses_inside_are_refused_and_others_see_no_mailbox() {
    let platform = Platform::shared();
    let tenant = platform.tenant();
    let officer = Person::new(platform, &tenant, "mail-officer", "privacy_officer");
    let viewer = Person::new(platform, &tenant, "mail-looker", "viewer");
    viewer.get(MAILBOX).problem(403);
    assert_eq!(officer.get(MAILBOX).expect(200)["mailbox"], Value::Null);
    let put = |server: &str| {
        let body = json!({"server": server, "user": "privacy", "password": "p"});
        officer.request("PUT", MAILBOX).header("if-match", "\"0\"").json(&body).send()
    };
    for inside in ["127.0.0.1:8443", "169.254.169.254:443", "10.0.0.1:8443", "mail.example:25"] {
        put(inside).problem(400);
    }
    put("user@mail.example:443").problem(400);
    officer.request("DELETE", MAILBOX).send().problem(404);
}
