//! What auditors get: checkpoints by mail, which verify as a folder and contradict what is changed,
//! and bundles of evidence that verify without the platform.

use std::fs;
use std::path::Path;
use std::sync::mpsc::Receiver;

use serde_json::{Value, json};
use veritwin_verify::{EVIDENCE_PAGE, unzip_stored, zip_stored};

use crate::harness::{Mode, Options, PATIENCE, Platform, wait_for};
use crate::smtp::{Mail, smtp_server};
use crate::tenant::Tenant;

const START: &str = "2027-01-10T00:00:00Z";
const TAMPERED: i32 = 10;
const MISSING: i32 = 11;

struct Stage {
    platform: Platform,
    tenant: Tenant,
    mails: Receiver<Mail>,
}

impl Stage {
    fn new() -> Self {
        let (port, mails) = smtp_server();
        let arguments = vec!["--simulated-clock".to_owned(), START.to_owned()];
        let options = Options { arguments, ..Options::default() }
            .environment("VERITWIN__SMTP__URL", &format!("smtp://127.0.0.1:{port}"))
            .environment("VERITWIN__SMTP__FROM", "ledger@veritwin.example");
        let platform = Platform::start(Mode::Serve, options);
        let tenant = platform.tenant();
        Self { platform, tenant, mails }
    }

    #[track_caller]
    fn mail(&self, about: &str) -> Mail {
        loop {
            let mail = self.mails.recv_timeout(PATIENCE).expect("a mail");
            if mail.subject().contains(about) {
                return mail;
            }
        }
    }

    /// Invites somebody by mail, who comes in: their address is confirmed.
    fn person(&self, email: &str, role: &str) -> String {
        let invited = json!({"email": email, "role": role});
        self.tenant.post("/v1/users", &invited).expect(201);
        let mail = self.mail("invited");
        let words = mail.words();
        let token = words.split_once("/welcome#").expect("a link").1;
        let token = token.split_whitespace().next().unwrap();
        let welcome =
            json!({"token": token, "password": "a password of a colleague", "attested": true});
        let session = self.platform.http().post("/v1/welcome").json(&welcome).send();
        session.expect(201)["user"]["id"].as_str().unwrap().to_owned()
    }

    fn receipts(&self, folder: &str, more: &[&str]) -> (i32, String) {
        let mut arguments = vec!["ledger", "receipts", folder];
        arguments.extend(more);
        let output = self.platform.cli(&arguments);
        (output.code, output.stdout + &output.stderr)
    }
}

#[test]
fn mailed_checkpoints_verify_as_a_folder_and_name_what_is_missing_or_changed() {
    let stage = Stage::new();
    let auditor = stage.person("ada@auditor.example", "auditor");
    let device = stage.tenant.device("sealed");
    stage.tenant.send(&device, &json!({"t": 1})).expect(200);
    let size = stage.tenant.sealed(1);

    let viewer = stage.person("vic@people.example", "viewer");
    let refused = json!({"user_id": viewer, "every": "day"});
    stage.tenant.post("/v1/ledger/mailings", &refused).expect(400);

    let new = json!({"user_id": auditor, "every": "day", "entries": [0]});
    let mailing = stage.tenant.post("/v1/ledger/mailings", &new).expect(201);
    let mut mails = vec![stage.mail("Ledger checkpoint 1:")];
    stage.tenant.send(&device, &json!({"t": 2})).expect(200);
    stage.tenant.sealed(size + 1);
    stage.platform.cli(&["clock", "advance", "25h"]).done();
    mails.push(stage.mail("Ledger checkpoint 2:"));
    stage.platform.cli(&["clock", "advance", "2m"]).done();
    let path = format!("/v1/ledger/mailings/{}/send", mailing["id"].as_str().unwrap());
    let sent = stage.tenant.post(&path, &json!({})).expect(200);
    assert_eq!(sent["mails"], 3);
    mails.push(stage.mail("Ledger checkpoint 3:"));

    let folder = stage.platform.scratch("mails");
    fs::create_dir_all(&folder).unwrap();
    for (number, mail) in mails.iter().enumerate() {
        assert!(mail.to.contains("<ada@auditor.example>"), "{}", mail.to);
        assert!(!mail.text.contains("Content-Disposition: inline"));
        fs::write(folder.join(format!("{}.eml", number + 1)), mail.text.clone() + "\n").unwrap();
    }
    let shown = folder.to_str().unwrap();
    let vkey = stage.tenant.get("/v1/ledger").expect(200)["vkey"].as_str().unwrap().to_owned();
    let keys = stage.platform.scratch("dkim.txt");
    let listed = stage.tenant.get("/v1/system/mail-keys").expect(200);
    let line = |key: &Value| {
        format!("{} {}\n", key["name"].as_str().unwrap(), key["record"].as_str().unwrap())
    };
    let lines: String = listed["items"].as_array().unwrap().iter().map(line).collect();
    assert!(lines.contains("k=rsa") && lines.contains("k=ed25519"), "{lines}");
    fs::write(&keys, lines).unwrap();
    let given = ["--vkey", vkey.as_str(), "--dkim", keys.to_str().unwrap()];
    let (code, text) = stage.receipts(shown, &given);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("3 mails hold 6 DKIM signatures"), "{text}");
    assert!(text.contains("3 proofs of entries hold") && !text.contains("not proven"), "{text}");
    let (code, text) = stage.receipts(shown, &[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("not proven: who sent the mails"), "{text}");

    let second = fs::read_to_string(folder.join("2.eml")).unwrap();
    fs::remove_file(folder.join("2.eml")).unwrap();
    let (code, text) = stage.receipts(shown, &given);
    assert_eq!(code, MISSING, "{text}");
    assert!(text.contains("mail 2 of mailing"), "{text}");
    fs::write(folder.join("2.eml"), second.replace("ada@auditor", "eve@auditor")).unwrap();
    let (code, text) = stage.receipts(shown, &given);
    assert_eq!(code, TAMPERED, "{text}");
    assert!(text.contains("2.eml: DKIM signature by"), "{text}");
    fs::write(folder.join("2.eml"), second).unwrap();

    let archived = wait_for("sealed records of sent mail", || {
        let mails = stage.tenant.get("/v1/ledger/mails").expect(200);
        let mails = mails["items"].as_array().unwrap().clone();
        let is_ledger = |mail: &&Value| mail["about"] == "ledger";
        let ledger: Vec<Value> = mails.iter().filter(is_ledger).cloned().collect();
        let sealed = ledger.iter().all(|mail| mail["leaf"].is_u64());
        (ledger.len() == 3 && sealed).then_some(ledger)
    });
    assert_eq!(
        (&archived[0]["code"], &archived[0]["to"]),
        (&json!("250"), &json!("a…@auditor.example"))
    );
    let leaf = archived[0]["leaf"].as_u64().unwrap();
    stage.tenant.get(&format!("/v1/ledger/entries/{leaf}/proof")).expect(200);
    let id = archived[0]["id"].as_str().unwrap();
    let found = stage.tenant.get(&format!("/v1/ledger/lookup?record={id}")).expect(200);
    let found = &found["items"][0];
    assert_eq!((&found["kind"], &found["state"]), (&json!("mail"), &json!("sealed")));

    other_mailings_go_on_from_it(&stage, (&auditor, shown), &given);
    let rotated = stage.platform.cli(&["mail", "rotate", "--json"]).json();
    assert_eq!(rotated["keys"].as_array().unwrap().len(), 4, "{rotated}");
    assert_ne!(stage.platform.cli(&["mail", "rotate"]).code, 0, "there are next keys already");
    let active = stage.platform.cli(&["mail", "activate", "--json"]).json();
    let states: Vec<&str> = active["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["active", "active", "retired", "retired"]);
}

/// A new mailing proves that it extends those before, which go on or were ended.
fn other_mailings_go_on_from_it(stage: &Stage, (auditor, folder): (&str, &str), given: &[&str]) {
    let device = stage.tenant.device("later");
    let one = |mailing: &Value| format!("/v1/ledger/mailings/{}", mailing["id"].as_str().unwrap());
    for number in [4, 5] {
        let size = stage.tenant.get("/v1/ledger").expect(200)["tree_size"].as_u64().unwrap();
        stage.tenant.send(&device, &json!({"t": number})).expect(200);
        stage.tenant.sealed(size + 1);
        let new = json!({"user_id": auditor, "every": "never", "entries": []});
        let mailing = stage.tenant.post("/v1/ledger/mailings", &new).expect(201);
        stage.tenant.post(&format!("{}/send", one(&mailing)), &json!({})).expect(200);
        let mail = stage.mail("Ledger checkpoint 1:").text.clone() + "\n";
        fs::write(Path::new(folder).join(format!("{number}.eml")), mail).unwrap();
        let (code, text) = stage.receipts(folder, given);
        assert_eq!(code, 0, "{text}");
        let mailings = text.lines().filter(|line| line.starts_with("mailing ")).count();
        assert_eq!(mailings, number - 2, "{text}");
        let expected = format!("{number} mails hold {} DKIM signatures", number * 2);
        assert!(text.contains(&expected), "{text}");
        let listed = stage.tenant.get("/v1/ledger/mailings").expect(200);
        for mailing in listed["items"].as_array().unwrap() {
            stage.tenant.delete(&one(mailing)).expect(204);
        }
    }
}

#[test]
fn a_bundle_of_evidence_verifies_without_the_platform_and_names_a_changed_byte() {
    let platform = Platform::serve();
    let tenant = platform.tenant();
    let device = tenant.device("sealed");
    tenant.send(&device, &json!({"t": 21.5})).expect(200);
    tenant.sealed(1);
    let query = format!("/v1/ledger/evidence?device_id={}&key=t", device.id);
    let found = wait_for("the sealed reading", || {
        let found = tenant.get(&query).expect(200);
        (!found["items"].as_array().unwrap().is_empty()).then_some(found)
    });
    let hit = &found["items"][0];
    assert_eq!((&hit["kind"], &hit["readings"][0]["value"]), (&json!("readings"), &json!(21.5)));
    tenant.post("/v1/ledger/evidence", &json!({})).expect(400);

    let asked = json!({"device_id": device.id, "key": "t"});
    let answer = tenant.post("/v1/ledger/evidence", &asked);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let vkey = tenant.get("/v1/ledger").expect(200)["vkey"].as_str().unwrap().to_owned();
    let bundle = platform.scratch("evidence.zip");
    fs::write(&bundle, &answer.body).unwrap();
    let verify = |path: &str| {
        let output = platform.cli(&["ledger", "verify", path, "--vkey", &vkey]);
        (output.code, output.stdout + &output.stderr)
    };
    let (code, text) = verify(bundle.to_str().unwrap());
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("1 records are proven"), "{text}");
    let files = unzip_stored(&answer.body).unwrap();
    for name in ["READ-ME.txt", "checkpoint", "log.vkey", "readings.csv", EVIDENCE_PAGE] {
        assert!(files.contains_key(name), "{name}");
    }
    for name in files.keys() {
        let mut changed = files.clone();
        let bytes = changed.get_mut(name).unwrap();
        // In the page, a byte of the evidence itself.
        let at = bytes.windows(7).position(|part| part == b"\"leaf\":").map_or(9, |at| at + 12);
        bytes[at] ^= 1;
        let changed: Vec<(String, Vec<u8>)> = changed.into_iter().collect();
        fs::write(&bundle, zip_stored(&changed).unwrap()).unwrap();
        let (code, text) = verify(bundle.to_str().unwrap());
        // What is only for people to read may be that of another version.
        let expect = if name == "READ-ME.txt" { 0 } else { TAMPERED };
        assert_eq!(code, expect, "{name}: {text}");
        let is_named = text.contains("not checked: READ-ME.txt");
        assert_eq!(is_named, expect == 0, "{name}: {text}");
    }

    a_counter_shows_what_was_never_sent(&platform, &tenant, &vkey);

    // An auditor sees it without the right to watch; a viewer does not.
    let ask = |role: &str| {
        let (_, cookie) = tenant.member(role, role);
        tenant.http().get(&query).header("cookie", &cookie).send().status
    };
    assert_eq!((ask("auditor"), ask("viewer")), (200, 403));
}

/// A device numbers its messages; the third never arrives.
fn a_counter_shows_what_was_never_sent(platform: &Platform, tenant: &Tenant, vkey: &str) {
    let device = tenant.device("counted");
    for number in [1, 2, 4] {
        tenant.send(&device, &json!({"n": number})).expect(200);
    }
    let query = format!("/v1/ledger/evidence?device_id={}&key=n", device.id);
    wait_for("three sealed records", || {
        let found = tenant.get(&query).expect(200);
        (found["items"].as_array().unwrap().len() == 3).then_some(())
    });
    let answer = tenant.post("/v1/ledger/evidence", &json!({"device_id": device.id, "key": "n"}));
    let folder = platform.scratch("bundles");
    fs::create_dir_all(&folder).unwrap();
    // One record may be in several bundles.
    for name in ["one.zip", "two.zip"] {
        fs::write(folder.join(name), &answer.body).unwrap();
    }
    let place = folder.to_str().unwrap();
    let gaps = |counter: &str| {
        let words = ["ledger", "gaps", place, "--counter", counter, "--vkey", vkey, "--json"];
        platform.cli(&words)
    };
    let found = gaps("n");
    assert_eq!(found.code, MISSING, "{found:?}");
    let counted = serde_json::from_str::<Value>(&found.stdout).unwrap();
    let expected = json!({
        "device": device.id, "first": 1, "last": 4, "numbers": 3, "repeated": 0,
        "missing": [[3, 3]], "others": 0, "truncated": false,
    });
    assert_eq!(
        (&counted["key"], &counted["devices"]),
        (&json!("authenticated"), &json!([expected]))
    );
    assert_eq!(gaps("none").code, 2, "no record holds it");
}
