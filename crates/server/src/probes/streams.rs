//! P04: streams that nobody declared are sent, have to be taken and hidden from an operator by
//! every way of reading, are declared by a privacy officer, and have to be there whole; a
//! declaration that is taken back closes them again.

use async_trait::async_trait;
use axum::Router;
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use veritwin_app::{App, Error, ProbeAnswer, StreamFixture};
use veritwin_domain::Secret;

use super::Wiring;
use super::walk::{Ask, Walk, ask};

const PROMISE: u8 = 4;
/// Readings of each stream.
const SENT: usize = 20;

pub(super) struct Streams {
    app: App,
    router: Router,
}

/// What a walk saw, and the first thing that was wrong.
#[derive(Default)]
pub(super) struct Walked {
    facts: Vec<(String, String)>,
    wrong: Option<String>,
}

impl Walked {
    fn expect(&mut self, what: &str, found: &Value, expect: &Value) {
        self.facts.push((what.to_owned(), found.to_string()));
        if found != expect && self.wrong.is_none() {
            self.wrong = Some(format!("{what}: {found} instead of {expect}"));
        }
    }
}

impl Streams {
    pub(super) fn new(app: &App, wiring: &Wiring) -> Self {
        Self { app: app.clone(), router: wiring.router.clone() }
    }

    async fn ask(
        &self,
        token: &Secret<String>,
        method: Method,
        uri: &str,
        body: Option<Value>,
    ) -> Result<(StatusCode, Value), String> {
        let token = Some(token.expose().as_str());
        let question = match &body {
            Some(body) => Ask { token, ..Ask::json(method, uri, body) },
            None => Ask { token, method, ..Ask::get(uri) },
        };
        let answer = ask(&self.router, question).await?;
        Ok((answer.status, serde_json::from_slice(&answer.body).unwrap_or_default()))
    }

    async fn send(&self, token: &Secret<String>, body: Value) -> Result<u16, String> {
        let sent = self.ask(token, Method::POST, "/api/v1/telemetry", Some(body)).await?;
        Ok(sent.0.as_u16())
    }

    /// How many readings of a stream somebody gets; null when there is no such stream for them.
    async fn read(
        &self,
        key: &Secret<String>,
        device: &str,
        series: &str,
    ) -> Result<Value, String> {
        let body = json!({
            "series": [{"device_id": device, "key": series}],
            "from": "1970-01-01T00:00:00Z", "to": "2200-01-01T00:00:00Z",
        });
        let (status, found) =
            self.ask(key, Method::POST, "/v1/telemetry/query", Some(body)).await?;
        let points = found["series"][0]["points"].as_array().map(Vec::len);
        Ok(match (status, points) {
            (StatusCode::OK, Some(count)) => json!(count),
            (StatusCode::NOT_FOUND, _) => Value::Null,
            (other, _) => json!(format!("answered {}", other.as_u16())),
        })
    }

    /// What else shows of a device: latest values, names of streams, how many more there are.
    async fn shown(&self, key: &Secret<String>, device: &str) -> Result<Value, String> {
        let body = json!({"device_ids": [device]});
        let latest = self.ask(key, Method::POST, "/v1/telemetry/latest", Some(body)).await?.1;
        let known = self.ask(key, Method::GET, &format!("/v1/devices/{device}"), None).await?.1;
        let count = |list: &Value| list.as_array().map(Vec::len);
        Ok(json!([count(&latest["items"]), count(&known["keys"]), known["streams_hidden"]]))
    }

    async fn papers(&self, key: &Secret<String>, device: &str) -> Result<Value, String> {
        let uri = format!("/v1/ledger/papers?device_id={device}&key=level");
        Ok(json!(self.ask(key, Method::GET, &uri, None).await?.0.as_u16()))
    }

    /// Declares a stream; the id of the act.
    async fn declare(
        &self,
        fixture: &StreamFixture,
        (device, key): (&str, &str),
        declaration: &str,
        subject: Value,
    ) -> Result<String, String> {
        let body = json!({
            "targets": [{"device_id": device, "key": key}],
            "declaration": declaration, "subject": subject,
        });
        let uri = "/v1/stream-declarations";
        let (status, act) = self.ask(fixture.officer(), Method::POST, uri, Some(body)).await?;
        let id = act["id"].as_str().filter(|_| status == StatusCode::CREATED);
        let id = id.ok_or_else(|| format!("a declaration: answered {}", status.as_u16()))?;
        Ok(id.to_owned())
    }

    async fn check_streams(&self, fixture: &StreamFixture) -> Result<Walked, String> {
        let (officer, operator) = (fixture.officer(), fixture.operator());
        let (device, door) = (&fixture.device.0.to_string(), &fixture.door.0.to_string());
        let mut walked = Walked::default();
        let now = self.app.clock().now().as_millis();
        let sent: Vec<Value> = (0..SENT)
            .map(|number| {
                let at = now - i64::try_from(SENT - number).unwrap_or(0) * 1000;
                json!({"ts": at, "values": {"level": number, "tag": "c", "holder": "h"}})
            })
            .collect();
        let taken = self.send(&fixture.device.1, json!(sent)).await?;
        walked.expect("undeclared streams, sent", &json!(taken), &json!(200));
        let taken = self.send(&fixture.door.1, json!({"state": 1})).await?;
        walked.expect("a door reader's stream, sent", &json!(taken), &json!(200));

        let hidden = self.read(operator, device, "level").await?;
        walked.expect("history, to an operator", &hidden, &Value::Null);
        let shown = self.shown(operator, device).await?;
        walked.expect("latest, names, hidden, to an operator", &shown, &json!([0, 0, 3]));
        let hidden = self.papers(operator, device).await?;
        walked.expect("papers, to an operator", &hidden, &json!(404));
        let hidden = self.read(operator, door, "state").await?;
        walked.expect("a door reader's stream, to an operator", &hidden, &Value::Null);
        let whole = self.read(officer, device, "level").await?;
        walked.expect("history, to a privacy officer", &whole, &json!(SENT));
        let uri = format!("/v1/streams?device_id={door}");
        let listed = self.ask(officer, Method::GET, &uri, None).await?.1;
        let ground = &listed["items"][0]["ground"];
        walked.expect("a door reader's stream counts as", ground, &json!("presumed"));

        let act = self.declare(fixture, (device, "level"), "non_personal", Value::Null).await?;
        let whole = self.read(operator, device, "level").await?;
        walked.expect("once declared, to an operator", &whole, &json!(SENT));
        let shown = self.shown(operator, device).await?;
        walked.expect("of the others, to an operator", &shown, &json!([1, 1, 2]));
        let subject = json!({"kind": "field", "field": "holder"});
        self.declare(fixture, (device, "tag"), "personal", subject.clone()).await?;
        let uri = format!("/v1/streams?device_id={device}&state=personal");
        let listed = self.ask(officer, Method::GET, &uri, None).await?.1;
        walked.expect("whose data it is", &listed["items"][0]["subject"], &subject);
        let hidden = self.read(operator, device, "tag").await?;
        walked.expect("a personal stream, to an operator", &hidden, &Value::Null);
        let uri = format!("/v1/stream-declarations/{act}/undo");
        let undone = self.ask(officer, Method::POST, &uri, None).await?.0;
        walked.expect("taken back", &json!(undone.as_u16()), &json!(200));
        let hidden = self.read(operator, device, "level").await?;
        walked.expect("then, to an operator", &hidden, &Value::Null);
        Ok(walked)
    }
}

#[async_trait]
impl Walk for Streams {
    type Fixture = StreamFixture;
    type Walked = Walked;

    const VERSION: u32 = 1;

    fn promise(&self) -> u8 {
        PROMISE
    }

    async fn open(&self) -> Result<StreamFixture, Error> {
        self.app.open_stream_fixture().await
    }

    async fn walk(&self, fixture: &StreamFixture) -> Result<Walked, String> {
        self.check_streams(fixture).await
    }

    async fn close(&self, fixture: StreamFixture) -> Result<(), Error> {
        self.app.close_stream_fixture(fixture).await
    }

    fn answer(walked: Walked) -> ProbeAnswer {
        let Walked { facts, wrong } = walked;
        match wrong {
            None => ProbeAnswer::Passed {
                summary: "Undeclared streams were taken and hidden, and released whole by their \
                          declaration."
                    .to_owned(),
                facts,
            },
            Some(place) => ProbeAnswer::Failed {
                summary: "A stream shows without its declaration, or not with it.".to_owned(),
                facts,
                place,
            },
        }
    }
}
