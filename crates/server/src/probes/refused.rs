//! P05 and P06: samples of what must not be kept are written by every door of the HTTPS listener
//! and of the broker, by devices, programs and people. Each has to be refused by its rule, nothing
//! of it may come back in the answer, and no file holds it afterwards. What is exempt has to be
//! taken.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use veritwin_app::{App, Error, ProbeAnswer, RefusedFixture};
use veritwin_ingest::mqtt::Broker;

use super::Wiring;
use super::arrow::{self, CONTENT_TYPE as ARROW};
use super::refused_mqtt::{self, Letter};
use super::walk::{Answered, Ask, Walk, ask};

const CARDS: u8 = 5;
const PEOPLE: u8 = 6;
const JSON: &str = "application/json";
const CSV: &str = "text/csv";
/// Deeper than any parser reads, in a member that nobody asks for.
const TOO_DEEP: usize = 200;

/// A key of each category that is not accepted, with the rule it breaks.
const KEYS: [(&str, &str); 10] = [
    ("patient_heartRate", "health"),
    ("blood.pressure", "health"),
    ("fingerprint_template", "biometric"),
    ("dna-profile", "genetic"),
    ("religion", "religion"),
    ("politicalParty", "politics"),
    ("ethnicity", "ethnicity"),
    ("child_name", "children"),
    ("ssn", "national_id"),
    ("身分證字號", "national_id"),
];
/// A national identity number of each state, as its authority or encyclopaedias show it.
const NUMBERS: [(&str, &str); 12] = [
    ("身分證 A123456789", "national_id_tw"),
    ("My Number 1234 5678 9018", "national_id_jp"),
    ("900101-1234568", "national_id_kr"),
    ("身份证 11010519491231002X", "national_id_cn"),
    ("NI number AB 12 34 56 C", "national_id_gb"),
    ("SSN 123-45-6789", "national_id_us"),
    ("Steuer-ID 86095742719", "national_id_de"),
    ("DNI 12345678Z", "national_id_es"),
    ("RSSMRA80A01H501U", "national_id_it"),
    ("2 55 08 14 168 025 38", "national_id_fr"),
    ("PESEL 44051401359", "national_id_pl"),
    ("personnummer 811218-9876", "national_id_se"),
];

pub(super) struct Refused {
    app: App,
    router: Router,
    broker: Arc<Broker>,
    promise: u8,
}

/// Something that must not be kept.
struct Sample {
    /// The key it is written under.
    key: String,
    text: String,
    /// The rule that has to refuse it.
    rule: &'static str,
    /// The text is what breaks the rule, so it is refused as a name too; otherwise the key is.
    is_text: bool,
}

/// One way of writing a sample.
struct Door {
    name: &'static str,
    method: Method,
    uri: String,
    /// Written with the device's token; with the key otherwise.
    by_device: bool,
    content_type: &'static str,
    body: Vec<u8>,
    /// What the refusal says where it is not the sample's rule: the body cannot be looked at to its
    /// end.
    unreadable: Option<&'static str>,
}

/// What a walk saw.
pub(super) struct Walked {
    promise: u8,
    samples: usize,
    refused: usize,
    taken: usize,
    files: u64,
    /// What was wrong, and where.
    wrong: Option<(String, String)>,
}

impl Refused {
    pub(super) fn cards(app: &App, wiring: &Wiring) -> Self {
        Self::of(app, wiring, CARDS)
    }

    pub(super) fn people(app: &App, wiring: &Wiring) -> Self {
        Self::of(app, wiring, PEOPLE)
    }

    fn of(app: &App, wiring: &Wiring, promise: u8) -> Self {
        let (router, broker) = (wiring.router.clone(), Arc::clone(&wiring.broker));
        Self { app: app.clone(), router, broker, promise }
    }

    /// A random number that passes for a card's, and a random text to mark other samples with.
    fn mark(&self) -> (String, String) {
        let mut random = [0u8; 14];
        self.app.rng().fill(&mut random);
        let body: String =
            "4".chars().chain(random.iter().map(|byte| char::from(b'0' + byte % 10))).collect();
        let letters = random.iter().map(|byte| char::from(b'a' + byte % 16));
        (format!("{body}{}", check_digit(&body)), "vmark".chars().chain(letters).collect())
    }

    fn samples(&self, card: &str, mark: &str) -> Vec<Sample> {
        let text = |text: String, rule| {
            let (key, is_text) = ("note".to_owned(), true);
            Sample { key, text, rule, is_text }
        };
        if self.promise == CARDS {
            let groups: Vec<&str> = (0..4).filter_map(|at| card.get(at * 4..at * 4 + 4)).collect();
            return vec![
                text(card.to_owned(), "card_number"),
                text(format!("card {}, 12/29", groups.join(" ")), "card_number"),
                text(groups.join("-"), "card_number"),
            ];
        }
        let keys = KEYS.map(|(key, rule)| {
            let (key, text, is_text) = (key.to_owned(), mark.to_owned(), false);
            Sample { key, text, rule, is_text }
        });
        let numbers = NUMBERS.map(|(number, rule)| text(format!("{mark} {number}"), rule));
        keys.into_iter().chain(numbers).collect()
    }

    /// What looks like it and is not: it has to be taken.
    fn exempt(&self) -> Vec<Value> {
        match self.promise {
            CARDS => vec![
                json!({"imei": "378282246310005"}),
                json!({"ts": 1_451_649_600_512_i64, "values": {"e": 4_111_111_111_111_111_i64}}),
                json!({"sent": "1451649600512", "serial": "4111111111111112"}),
            ],
            _ => vec![json!({"heart_beat": 1, "battery_health": 98, "cert_fingerprint": "ab:cd"})],
        }
    }

    async fn write(&self, fixture: &RefusedFixture, door: Door) -> Result<Answered, String> {
        let token = if door.by_device { fixture.token() } else { fixture.api_key() };
        let question = Ask {
            method: door.method,
            token: Some(token.expose().as_str()),
            content_type: door.content_type,
            body: door.body,
            ..Ask::get(&door.uri)
        };
        ask(&self.router, question).await
    }

    async fn write_all(&self, fixture: &RefusedFixture) -> Result<Walked, String> {
        let (card, mark) = self.mark();
        let samples = self.samples(&card, &mark);
        let mut walked = Walked {
            promise: self.promise,
            samples: samples.len(),
            refused: 0,
            taken: 0,
            files: 0,
            wrong: None,
        };
        for sample in &samples {
            for door in doors(sample, &fixture.device().to_string()) {
                let (name, unreadable) = (door.name, door.unreadable);
                let answered = self.write(fixture, door).await?;
                if let Some(problem) = judge(sample, unreadable, &answered) {
                    walked.wrong = Some((problem, name.to_owned()));
                    return Ok(walked);
                }
                walked.refused += 1;
            }
        }
        for body in self.exempt() {
            let door = telemetry("telemetry, exempt", &body);
            let name = door.name;
            let status = self.write(fixture, door).await?.status;
            if !status.is_success() {
                let problem = format!("What is exempt was answered {}.", status.as_u16());
                walked.wrong = Some((problem, name.to_owned()));
                return Ok(walked);
            }
            walked.taken += 1;
        }
        self.write_over_mqtt(fixture, &samples, &mut walked).await?;
        if walked.wrong.is_some() {
            return Ok(walked);
        }
        let needle = if self.promise == CARDS { card } else { mark };
        let searched = self.app.search_files(&needle).await;
        let searched = searched.map_err(|error| ProbeAnswer::told(&error))?;
        walked.files = searched.files;
        walked.wrong = searched.hit.map(|place| {
            ("What was refused can be read in a file of the data directory.".to_owned(), place)
        });
        Ok(walked)
    }

    /// The same over MQTT, and one that is exempt at last.
    async fn write_over_mqtt(
        &self,
        fixture: &RefusedFixture,
        samples: &[Sample],
        walked: &mut Walked,
    ) -> Result<(), String> {
        let (mut of, mut letters): (Vec<&Sample>, Vec<Letter>) = (Vec::new(), Vec::new());
        for sample in samples {
            for letter in refused_mqtt::letters(&sample.key, &sample.text) {
                of.push(sample);
                letters.push(letter);
            }
        }
        let (key, text) = match self.promise {
            CARDS => ("serial", "4111111111111112"),
            _ => ("battery_health", "98"),
        };
        letters.push(refused_mqtt::birth("Sparkplug B, exempt", key, text));
        let told = refused_mqtt::tell(&self.broker, fixture.token(), &letters).await?;
        for ((sample, letter), told) in of.into_iter().zip(&letters).zip(&told) {
            let answered = (told.code == refused_mqtt::REFUSED, told.code.into());
            if let Some(problem) = judge_words(sample, None, answered, &told.text) {
                walked.wrong = Some((problem, letter.name.to_owned()));
                return Ok(());
            }
            walked.refused += 1;
        }
        match (letters.last(), told.last()) {
            (Some(_), Some(told)) if told.code == 0 => walked.taken += 1,
            (Some(letter), Some(told)) => {
                let problem = format!("What is exempt was answered {}.", told.code);
                walked.wrong = Some((problem, letter.name.to_owned()));
            }
            _ => {}
        }
        Ok(())
    }
}

/// The digit that makes Luhn's formula come out.
fn check_digit(body: &str) -> u32 {
    let weigh = |(place, digit): (usize, u32)| match digit * 2 {
        _ if place % 2 == 1 => digit,
        double if double > 9 => double - 9,
        double => double,
    };
    let digits = body.chars().rev().filter_map(|c| c.to_digit(10));
    (10 - digits.enumerate().map(weigh).sum::<u32>() % 10) % 10
}

fn telemetry(name: &'static str, body: &Value) -> Door {
    Door {
        name,
        method: Method::POST,
        uri: "/api/v1/telemetry".to_owned(),
        by_device: true,
        content_type: JSON,
        body: body.to_string().into_bytes(),
        unreadable: None,
    }
}

/// Every way in for a sample. What people write is wrong besides, so that nothing is made of it
/// should the rule not be there.
fn doors(sample: &Sample, device: &str) -> Vec<Door> {
    let Sample { key, text, is_text, .. } = sample;
    let by_device = |name, uri: &str, content_type, body: String| Door {
        uri: uri.to_owned(),
        content_type,
        body: body.into_bytes(),
        ..telemetry(name, &Value::Null)
    };
    let by_person = |name, method, uri: &str, content_type, body: String| Door {
        name,
        method,
        uri: uri.to_owned(),
        by_device: false,
        content_type,
        body: body.into_bytes(),
        unreadable: None,
    };
    let plain = json!({key: text});
    let pack = json!([{"n": key, "vs": text}]);
    let write = "/v1/telemetry/write";
    let attributes = format!("/v1/devices/{device}/attributes");
    let mut doors = vec![
        telemetry("telemetry, text", &plain),
        telemetry("telemetry, JSON", &json!({"more": {"list": [1, plain]}})),
        by_device("client attributes", "/api/v1/attributes", JSON, plain.to_string()),
        by_device("line protocol", write, "text/plain", format!("probe {key}=\"{text}\"")),
        by_device("NDJSON", write, "application/x-ndjson", plain.to_string()),
        by_device("SenML", write, "application/senml+json", pack.to_string()),
        Door { body: arrow::stream(key, text), ..by_device("Arrow", write, ARROW, String::new()) },
        by_person(
            "shared attributes",
            Method::PATCH,
            &attributes,
            JSON,
            json!({"shared": plain}).to_string(),
        ),
        by_person("profile", Method::PATCH, "/v1/account", JSON, json!({key: text}).to_string()),
    ];
    let patch = |name, body| by_person(name, Method::PATCH, &attributes, JSON, body);
    let deep = ["[".repeat(TOO_DEEP), "]".repeat(TOO_DEEP)].concat();
    let mut not_utf8 = patch("body that is not UTF-8", String::new());
    not_utf8.body = [&br#"{"zz":""#[..], &[0xff], br#"","server":"#].concat();
    not_utf8.body.extend_from_slice(format!("{plain}}}").as_bytes());
    doors.extend([
        patch("attribute named as a secret", json!({"server": {"token": plain}}).to_string()),
        Door { unreadable: Some("not UTF-8"), ..not_utf8 },
        Door {
            unreadable: Some("json_nesting_max"),
            ..patch("body nested too deep", format!(r#"{{"zz":{deep},"server":{plain}}}"#))
        },
    ]);
    if *is_text {
        let post = |name, uri: &str, body: Value| {
            by_person(name, Method::POST, uri, JSON, body.to_string())
        };
        doors.extend([
            post("device's name", "/v1/devices", json!({"name": text, "declaration": "none"})),
            post("ticket", "/v1/support-tickets", json!({"subject": "", "text": text})),
            post("comment", "/v1/alerts/acknowledge", json!({"ids": [], "comment": text})),
            by_person(
                "inventory file",
                Method::POST,
                "/v1/devices/import",
                CSV,
                format!("name,declaration\n\"{text}\",none\n"),
            ),
        ]);
    }
    doors
}

/// What is wrong with an answer to a sample; none when it was refused as it has to be.
fn judge(sample: &Sample, unreadable: Option<&'static str>, answered: &Answered) -> Option<String> {
    let status = answered.status;
    let is_refusal = matches!(status, StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST);
    let body = String::from_utf8_lossy(&answered.body);
    judge_words(sample, unreadable, (is_refusal, status.as_u16()), &body)
}

/// The same of an answer that is a refusal or none, by its code and words.
fn judge_words(
    sample: &Sample,
    unreadable: Option<&'static str>,
    (is_refusal, status): (bool, u16),
    body: &str,
) -> Option<String> {
    let Sample { key, text, rule, is_text } = sample;
    let is_refused = is_refusal
        && match unreadable {
            Some(why) => body.contains(why),
            None => body.contains(&format!("(rule {rule})")),
        };
    if !is_refused {
        return Some(format!("A sample of rule {rule} was answered {status}, not refused by it."));
    }
    // Some keys have the name of their rule.
    let quotes = body.contains(text.as_str()) || (!is_text && key != rule && body.contains(key));
    quotes.then(|| format!("A refusal by rule {rule} quotes what it refuses."))
}

fn answer(walked: Walked) -> ProbeAnswer {
    let facts = vec![
        ("samples".to_owned(), walked.samples.to_string()),
        ("refused, over all doors".to_owned(), walked.refused.to_string()),
        ("exempt and taken".to_owned(), walked.taken.to_string()),
        ("files searched afterwards".to_owned(), walked.files.to_string()),
        ("written by".to_owned(), "a device and a program of a tenant of nobody".to_owned()),
    ];
    let what = match walked.promise {
        CARDS => "card numbers",
        _ => "national ids and special categories",
    };
    match walked.wrong {
        Some((summary, place)) => ProbeAnswer::Failed { summary, facts, place },
        None => ProbeAnswer::Passed {
            summary: format!(
                "Samples of {what} were refused {} times, quoted nowhere and are in no file.",
                walked.refused
            ),
            facts,
        },
    }
}

#[async_trait]
impl Walk for Refused {
    type Fixture = RefusedFixture;
    type Walked = Walked;

    const VERSION: u32 = 4;

    fn promise(&self) -> u8 {
        self.promise
    }

    async fn open(&self) -> Result<RefusedFixture, Error> {
        self.app.open_refused_fixture(&format!("probe of P{:02}", self.promise)).await
    }

    async fn walk(&self, fixture: &RefusedFixture) -> Result<Walked, String> {
        self.write_all(fixture).await
    }

    async fn close(&self, fixture: RefusedFixture) -> Result<(), Error> {
        self.app.close_refused_fixture(fixture).await
    }

    fn answer(walked: Walked) -> ProbeAnswer {
        answer(walked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_digits_come_out() {
        for (body, expect) in [("411111111111111", 1), ("555555555555444", 4), ("7992739871", 3)] {
            assert_eq!(check_digit(body), expect, "{body}");
        }
    }

    #[test]
    fn answers_are_judged() {
        type Why = Option<&'static str>;
        let judged = |is_text: bool, why: Why, status: u16, body: &str, expect: Option<&str>| {
            let sample = Sample {
                key: "heart_rate".to_owned(),
                text: "sample".to_owned(),
                rule: "health",
                is_text,
            };
            let answered = Answered {
                status: StatusCode::from_u16(status).expect("a status"),
                headers: axum::http::HeaderMap::new(),
                body: body.to_owned().into(),
            };
            let found = judge(&sample, why, &answered);
            assert_eq!(found.is_some(), expect.is_some(), "{found:?}");
            assert!(found.unwrap_or_default().contains(expect.unwrap_or_default()));
        };
        let check = |is_text, status, body, expect| judged(is_text, None, status, body, expect);
        check(false, 422, "this key names (rule health)", None);
        check(true, 400, "this field holds (rule health)", None);
        check(false, 200, "", Some("answered 200"));
        check(false, 400, "unknown field", Some("answered 400"));
        check(false, 422, "(rule religion)", Some("not refused by it"));
        check(false, 422, "(rule health): heart_rate", Some("quotes"));
        check(true, 422, "(rule health): sample", Some("quotes"));
        // A platform with one of the holes takes the body, or does not say why it does not.
        for why in ["not UTF-8", "json_nesting_max"] {
            judged(true, Some(why), 400, &format!("limit {why} at 1"), None);
            judged(true, Some(why), 200, "{}", Some("answered 200"));
            judged(true, Some(why), 400, "recursion limit", Some("answered 400"));
            judged(true, Some(why), 400, &format!("{why}: sample"), Some("quotes"));
        }
    }

    #[test]
    fn every_hole_of_bodies_has_a_door() {
        let (key, text, is_text) = ("note".to_owned(), "sample".to_owned(), true);
        let sample = Sample { key, text, rule: "card_number", is_text };
        let doors = doors(&sample, "d");
        let body = |name: &str| &doors.iter().find(|door| door.name == name).expect(name).body[..];
        assert_eq!(
            body("attribute named as a secret"),
            br#"{"server":{"token":{"note":"sample"}}}"#
        );
        assert_eq!(
            body("body that is not UTF-8"),
            b"{\"zz\":\"\xff\",\"server\":{\"note\":\"sample\"}}"
        );
        assert!(body("body nested too deep").starts_with(br#"{"zz":[[[["#));
        assert!(body("body nested too deep").ends_with(br#"]]],"server":{"note":"sample"}}"#));
    }
}
