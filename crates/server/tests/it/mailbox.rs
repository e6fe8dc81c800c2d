//! Requests of data subjects by mail, with real servers on this machine that others wrote: Dovecot
//! for IMAP, with TLS and a password, and aiosmtpd for SMTP, both of Debian's packages. Nobody but a
//! person opens a case, and each mail opens one.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Mode, Options, PATIENCE, Platform, wait_for};
use crate::rights::Person;
use crate::skipped::skipped;
use crate::smtp::smtp_server;
use crate::tenant::Tenant;
use crate::webhooks::Papers;

const DOVECOT: &str = "/usr/sbin/dovecot";
const AIOSMTPD: &str = "/usr/bin/aiosmtpd";
const MAILBOX: &str = "/v1/requests/mailbox";
/// One word: a space ends it in the mail server's own file.
const PASSWORD: &str = "correct-horse-battery";
/// Who owns mails where the server was started by root, which may not.
const NOBODY: u32 = 65_534;

/// A server of mail, until it is dropped.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An IMAP server with the mails in a folder.
struct Imap {
    port: u16,
    folder: TempDir,
    _server: Served,
}

/// A platform that may call it, and a tenant.
struct Stage {
    platform: Platform,
    tenant: Tenant,
    imap: Imap,
}

/// A mail server that puts what it is given into a Maildir.
struct Smtp {
    port: u16,
    folder: PathBuf,
    _server: Served,
}

impl Smtp {
    /// None where the program is not installed (said).
    fn start(folder: PathBuf) -> Option<Self> {
        if !Path::new(AIOSMTPD).exists() {
            skipped(&format!("{AIOSMTPD} is not installed"));
            return None;
        }
        let port = free_port();
        let mut command = Command::new("sh");
        // Others read what it writes.
        command.args(["-c", "umask 022; exec \"$@\"", "sh", AIOSMTPD, "-n"]);
        command.args(["-l", &format!("127.0.0.1:{port}"), "-c", "aiosmtpd.handlers.Mailbox"]);
        let server = command.arg(&folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = Served(server.unwrap());
        wait_for("the SMTP server", || TcpStream::connect(("127.0.0.1", port)).ok());
        Some(Self { port, folder, _server: server })
    }

    /// Hands it a mail as a person's program does.
    fn post(&self, from: &str, to: &str, text: &str, scratch: &Path) {
        fs::write(scratch, text).unwrap();
        let sent = Command::new("curl")
            .args(["-sS", "--url", &format!("smtp://127.0.0.1:{}", self.port)])
            .args(["--mail-from", from, "--mail-rcpt", to, "--upload-file"])
            .arg(scratch)
            .output()
            .unwrap();
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    }

    /// A mail that came, as it is, once one holds some words.
    fn taken(&self, words: &str) -> String {
        wait_for(words, || {
            let files = fs::read_dir(self.folder.join("new")).ok()?;
            let mut texts = files.flatten().filter_map(|one| fs::read_to_string(one.path()).ok());
            // Without the line breaks of quoted-printable.
            texts.find(|text| text.replace("=\n", "").contains(words))
        })
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

impl Imap {
    /// None where the program is not installed (said).
    fn start() -> Option<Self> {
        if !Path::new(DOVECOT).exists() {
            skipped(&format!("{DOVECOT} is not installed"));
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
        let port = free_port();
        let file = folder.path().join("dovecot.conf");
        fs::write(&file, config(folder.path(), port)).unwrap();
        let mut command = Command::new(DOVECOT);
        command.arg("-F").arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Served(command.spawn().unwrap());
        wait_for("the mail server", || TcpStream::connect(("127.0.0.1", port)).ok());
        Some(Self { port, folder, _server: server })
    }
}

impl Stage {
    /// A platform that sends mail to a server of SMTP and reads at one of IMAP.
    fn on(imap: Imap, smtp: u16) -> Self {
        let authority = imap.folder.path().join("authority.pem");
        let options = Options::default()
            .environment("VERITWIN__SMTP__URL", &format!("smtp://127.0.0.1:{smtp}"))
            .environment("VERITWIN__SMTP__FROM", "privacy@veritwin.example")
            .environment("VERITWIN__OUTBOUND__ALLOWED_NETWORKS", "127.0.0.0/8, ::1")
            .environment("VERITWIN__OUTBOUND__PORTS", &imap.port.to_string())
            .environment("VERITWIN__OUTBOUND__AUTHORITIES", authority.to_str().unwrap());
        let platform = Platform::start(Mode::Serve, options);
        let tenant = platform.tenant();
        Self { platform, tenant, imap }
    }

    fn put(&self, password: Option<&str>) -> Value {
        let known = self.tenant.person("GET", MAILBOX).send().expect(200);
        let version = known["mailbox"]["version"].as_u64().unwrap_or(0);
        let mut mailbox =
            json!({"server": format!("localhost:{}", self.imap.port), "user": "privacy"});
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
        let folder = self.imap.folder.path();
        let path: PathBuf = folder.join("mail/tmp").join(name);
        fs::write(&path, text).unwrap();
        if rustix::process::geteuid().is_root() {
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        fs::rename(&path, folder.join("mail/new").join(name)).unwrap();
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
    let Some(imap) = Imap::start() else { return };
    let (smtp, sent) = smtp_server();
    let stage = Stage::on(imap, smtp);
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
        let mail = sent.recv_timeout(PATIENCE).ok()?;
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
    let officer = stage.tenant.member_by_mail(&sent, ("officer", "privacy_officer"));
    let officer = Person::of(&stage.platform, officer);
    officer.post(&format!("{path}/fulfil"), &json!({})).problem(409);
    let log = stage.platform.stderr();
    assert!(!log.contains("ada@people.example") && !log.contains(PASSWORD), "nothing is logged");
}

#[test]
fn a_request_comes_in_and_its_letters_go_out_through_servers_of_others() {
    let Some(imap) = Imap::start() else { return };
    let Some(inward) = Smtp::start(imap.folder.path().join("mail")) else { return };
    // Where people have their own mailboxes.
    let Some(outward) = Smtp::start(imap.folder.path().join("people")) else { return };
    let stage = Stage::on(imap, outward.port);
    let scratch = stage.platform.scratch("letter.eml");
    let post =
        |text: &str| inward.post("ada@people.example", "privacy@acme.example", text, &scratch);
    let shown = stage.read(Some(PASSWORD));
    assert_eq!(shown["problem"], Value::Null, "{shown}");
    post(&letter("one", "", "Please send me what you know of me."));
    stage.read(None);
    let cases = stage.cases();
    assert_eq!(cases.len(), 1, "{cases:?}");
    let id = cases[0]["id"].as_str().unwrap();
    let told = outward.taken(id);
    assert!(told.contains("X-RcptTo: ada@people.example"), "{told}");
    assert!(told.contains("Auto-Submitted: auto-generated"), "{told}");
    // What she writes back, by the number that she was told, is a line of the same request.
    let subject = format!("Re: My data [{id}]");
    post(&letter("two", "", "Only the readings.").replace("My data", &subject));
    stage.read(None);
    assert_eq!(stage.cases().len(), 1);
    let path = format!("/v1/requests/{id}");
    let welcome = || Some(outward.taken("/welcome#").replace("=\n", ""));
    let officer = stage.tenant.member_mailed(("officer", "privacy_officer"), welcome);
    let officer = Person::of(&stage.platform, officer);
    let seen = officer.get(&path).expect(200);
    let lines = seen["events"].as_array().unwrap();
    assert!(lines.iter().any(|line| line["kind"] == "mail"), "{seen}");
    // Through to the answer, which she gets.
    let step = |body: Value| officer.post(&format!("{path}/steps"), &body).expect(200);
    step(json!({"step": "verify", "how": "document"}));
    step(json!({"step": "answer", "text": "Nothing is kept of you here."}));
    let answer = outward.taken("Nothing is kept of you here.");
    assert!(answer.contains("X-RcptTo: ada@people.example"), "{answer}");
    assert_eq!(officer.get(&path).expect(200)["request"]["state"], "answered");
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
