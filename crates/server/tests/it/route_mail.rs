//! Messages that rules send by mail: several in one, one a minute, to confirmed addresses only, and
//! nobody of another kind.

use std::sync::mpsc::Receiver;

use serde_json::{Value, json};

use crate::harness::{Mode, Options, PATIENCE, Platform, wait_for};
use crate::smtp::{Mail, smtp_server};
use crate::tenant::Tenant;

const SMTP_URL: &str = "VERITWIN__SMTP__URL";
const START: &str = "2027-01-10T00:00:00Z";

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
            .environment(SMTP_URL, &format!("smtp://127.0.0.1:{port}"))
            .environment("VERITWIN__SMTP__FROM", "routing@veritwin.example");
        let platform = Platform::start(Mode::Serve, options);
        let tenant = platform.tenant();
        Self { platform, tenant, mails }
    }

    /// The next mail whose subject has this in it.
    #[track_caller]
    fn mail(&self, about: &str) -> Mail {
        loop {
            let mail = self.mails.recv_timeout(PATIENCE).expect("a mail");
            if mail.subject().contains(about) {
                return mail;
            }
        }
    }

    fn is_nothing_routed(&self) -> bool {
        self.mails.try_iter().all(|mail| !mail.subject().contains("Heat"))
    }

    /// Invites somebody by mail, who comes in: their address is confirmed.
    fn person(&self, email: &str) -> String {
        let invited = self.tenant.post("/v1/users", &json!({"email": email, "role": "viewer"}));
        assert_eq!(invited.expect(201)["link"], Value::Null);
        let mail = self.mail("invited");
        let words = mail.words();
        let token = words.split_once("/welcome#").expect("a link").1;
        let token = token.split_whitespace().next().unwrap();
        let welcome =
            json!({"token": token, "password": "a password of a colleague", "attested": true});
        let session = self.platform.http().post("/v1/welcome").json(&welcome).send();
        session.expect(201)["user"]["id"].as_str().unwrap().to_owned()
    }

    fn place(&self, people: &[&str]) -> String {
        let body = json!({
            "name": "Colleagues", "kind": "mail", "recipient": "colleagues", "instructed": true,
            "purpose": "to know", "user_ids": people,
        });
        let made = self.tenant.post("/v1/route-destinations", &body).expect(201);
        assert_eq!(made["destination"]["user_ids"], json!(people));
        made["destination"]["id"].as_str().unwrap().to_owned()
    }

    fn rule(&self, place: &str) {
        let rule =
            json!({"name": "Heat", "matches": {"kind": "readings"}, "destination_ids": [place]});
        self.tenant.post("/v1/route-rules", &rule).expect(201);
    }

    fn counts(&self) -> Value {
        self.tenant.get("/v1/route-counts").expect(200)["items"][0].clone()
    }

    fn advance(&self, time: &str) {
        self.platform.cli(&["clock", "advance", time]).done();
    }

    fn delivered(&self, count: u64) {
        wait_for("messages handed over", || (self.counts()["delivered"] == count).then_some(()));
    }
}

#[test]
fn what_waits_goes_in_one_mail_a_minute_to_confirmed_addresses() {
    let stage = Stage::new();
    let ann = stage.person("ann@people.example");
    let pump = stage.tenant.device("pump");
    let place = stage.place(&[&ann]);
    stage.rule(&place);
    stage.tenant.send(&pump, &json!({"t": 1})).expect(200);
    let mail = stage.mail("Heat");
    assert!(mail.to.contains("<ann@people.example>") && mail.subject() == "Heat: 1 message");
    assert!(mail.words().contains("pump  t 1"), "{mail:?}");
    stage.delivered(1);

    for value in 2..=61 {
        stage.tenant.send(&pump, &json!({"t": value})).expect(200);
    }
    wait_for("messages that wait", || (stage.counts()["matched"] == 61).then_some(()));
    assert_eq!(stage.counts()["delivered"], 1, "less than a minute has passed");
    assert!(stage.is_nothing_routed());
    stage.advance("61s");
    let mail = stage.mail("Heat");
    assert_eq!(mail.subject(), "Heat: 60 messages");
    let words = mail.words();
    assert!(words.contains("pump  t 51") && !words.contains("pump  t 52"), "{words}");
    assert!(words.contains("Not shown here: 10"), "{words}");
    stage.delivered(61);
}

#[test]
fn nobody_is_written_to_whose_address_is_not_confirmed() {
    let stage = Stage::new();
    let users = stage.tenant.get("/v1/users").expect(200);
    // The first administrator came in by a link that was handed over, not mailed.
    let admin = users["items"][0]["id"].as_str().unwrap().to_owned();
    let place = stage.place(&[&admin]);
    let path = format!("/v1/route-destinations/{place}/test");
    let sample = stage.tenant.post(&path, &json!({})).expect(200);
    assert_eq!(sample["delivered"], false);
    assert!(sample["problem"].as_str().unwrap().contains("confirmed"), "{sample}");
    stage.rule(&place);
    let pump = stage.tenant.device("pump");
    stage.tenant.send(&pump, &json!({"t": 1})).expect(200);
    let parked = wait_for("a parked message", || {
        stage.advance("60s");
        let parked = stage.tenant.get("/v1/route-messages").expect(200);
        parked["items"].get(0).cloned()
    });
    assert_eq!(parked["reason"], "refused");
    assert!(stage.is_nothing_routed());
}
