//! P20: a sign-in from a known address leaves city and country, and no coordinate. P34: credential
//! stuffing, impossible travel and a bulk export each raise an alert and an incident, and who
//! travelled is held up. P35: support sees nothing before and after a grant, and every step stands
//! in the customer's records. All of it happens in a tenant of nobody, from addresses that only
//! documents use.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::http::{Method, StatusCode, header};
use serde_json::{Value, json};
use veritwin_app::{AccessFixture, App, PlatformProbe, ProbeAnswer, ProbePerson};
use veritwin_domain::{DeviceId, Secret};
use veritwin_simulator::geo::{self, Location};

use super::Wiring;
use super::walk::{Answered, Ask, ask};

const VERSION: u32 = 2;
/// Coordinates of the made-up location file: found anywhere, they were read from it.
const LATITUDE: f64 = 12.3456;
const LONGITUDE: f64 = 65.4321;
/// How long a finding may take until it is written down.
const FOUND_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// One more account than an address may fail at.
const GUESSED: usize = 11;
/// One more export than an hour allows.
const EXPORTS: usize = 21;
const EXPORT: &str = "/v1/activity/export?action=device.&format=json";

/// What a probe asks with.
#[derive(Clone)]
pub(super) struct Outside {
    pub(super) app: App,
    pub(super) router: Router,
}

impl Outside {
    pub(super) fn new(app: &App, wiring: &Wiring) -> Self {
        Self { app: app.clone(), router: wiring.router.clone() }
    }

    /// A new address of 2001:db8:NETWORK::/48 (RFC 3849).
    pub(super) fn address(&self, network: u16) -> IpAddr {
        let mut random = [0u8; 10];
        self.app.rng().fill(&mut random);
        let pair = |index: usize| u16::from_be_bytes([random[index], random[index + 1]]);
        Ipv6Addr::new(0x2001, 0xdb8, network, pair(0), pair(2), pair(4), pair(6), pair(8)).into()
    }

    fn locate(&self) -> Result<(), String> {
        let place = |network: u16, country: &str, city: &str| Location {
            network: Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, 0).into(),
            bits: 48,
            country: country.to_owned(),
            city: city.to_owned(),
            coordinates: Some((LATITUDE, LONGITUDE)),
        };
        let file = geo::database(&[place(1, "TW", "Taipei"), place(2, "GB", "London")]);
        self.app.locate_documentation(file).map_err(|error| ProbeAnswer::told(&error))
    }

    async fn ask(&self, question: Ask<'_>) -> Result<Answered, String> {
        ask(&self.router, question).await
    }

    pub(super) async fn sign_in(
        &self,
        email: &Secret<String>,
        password: &Secret<String>,
        code: Option<String>,
        peer: IpAddr,
    ) -> Result<Answered, String> {
        let mut body = json!({"email": email.expose(), "password": password.expose()});
        if let Some(code) = code {
            body["code"] = Value::String(code);
        }
        let question = Ask::json(Method::POST, "/v1/session", &body);
        self.ask(Ask { peer, ..question }).await
    }

    /// Signs a person of the check in; the session's cookie.
    pub(super) async fn session(
        &self,
        person: &ProbePerson,
        peer: IpAddr,
    ) -> Result<String, String> {
        let code = person.code(self.app.clock().now());
        let answer = self.sign_in(&person.email, &person.password, code, peer).await?;
        cookie(&answer).ok_or_else(|| format!("sign-in of the check: {}", answer.status.as_u16()))
    }

    async fn as_session(
        &self,
        cookie: &str,
        method: Method,
        uri: &str,
        body: Option<Value>,
    ) -> Result<Answered, String> {
        let question = match &body {
            Some(body) => Ask::json(method, uri, body),
            None => Ask { method, ..Ask::get(uri) },
        };
        self.ask(Ask { cookie: Some(cookie), ..question }).await
    }

    /// Runs a check with people of its own and tidies up.
    pub(super) async fn with<F>(&self, name: &'static str, check: F) -> ProbeAnswer
    where
        F: AsyncFnOnce(&Self, &AccessFixture) -> Result<ProbeAnswer, String>,
    {
        let fixture = match self.app.open_access_fixture(name).await {
            Ok(fixture) => fixture,
            Err(error) => return error.into(),
        };
        let answer = check(self, &fixture).await;
        if let Err(error) = self.app.close_access_fixture(fixture).await {
            tracing::warn!(%error, "the people of a check were not removed");
        }
        answer.unwrap_or_else(ProbeAnswer::CouldNotRun)
    }
}

/// `name=value` of the session cookie that an answer sets.
pub(super) fn cookie(answer: &Answered) -> Option<String> {
    let set = answer.headers.get(header::SET_COOKIE)?.to_str().ok()?;
    set.split(';').next().filter(|pair| !pair.ends_with('=')).map(str::to_owned)
}

pub(super) fn body(answer: &Answered) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
}

pub(super) fn fact(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}

macro_rules! probe {
    ($name:ident, $promise:literal, $title:literal, $check:path) => {
        pub(super) struct $name(Outside);

        impl $name {
            pub(super) fn new(app: &App, wiring: &Wiring) -> Self {
                Self(Outside::new(app, wiring))
            }
        }

        #[async_trait]
        impl PlatformProbe for $name {
            fn promise(&self) -> u8 {
                $promise
            }

            fn version(&self) -> u32 {
                VERSION
            }

            async fn check(&self) -> ProbeAnswer {
                self.0.with($title, $check).await
            }
        }
    };
}

probe!(Locations, 20, "location probe", check_locations);
probe!(Anomalies, 34, "anomaly probe", check_anomalies);
probe!(Support, 35, "support probe", check_support);

async fn check_locations(out: &Outside, fixture: &AccessFixture) -> Result<ProbeAnswer, String> {
    out.locate()?;
    out.session(&fixture.customer, out.address(1)).await?;
    let written = out.app.located_records(fixture).await;
    let written = written.map_err(|error| ProbeAnswer::told(&error))?;
    let has = |text: &str| written.iter().any(|record| record.contains(text));
    if !has("Taipei") || !has("TW") {
        return Err("the sign-in of the check was not located".to_owned());
    }
    let coordinates = has("12.34") || has("65.43");
    let file = if out.app.has_locations() { "supplied by the operator" } else { "none" };
    let facts = vec![
        fact("records of the sign-in", written.len()),
        fact("city and country found", "yes"),
        fact("coordinates of the location file found", if coordinates { "yes" } else { "no" }),
        fact("location file in use", file),
    ];
    Ok(if coordinates {
        ProbeAnswer::Failed {
            summary: "A record of a sign-in holds coordinates.".to_owned(),
            facts,
            place: "table activity, column envelope".to_owned(),
        }
    } else {
        let summary = "A sign-in from a known address leaves city and country and no coordinate.";
        ProbeAnswer::Passed { summary: summary.to_owned(), facts }
    })
}

async fn check_anomalies(out: &Outside, fixture: &AccessFixture) -> Result<ProbeAnswer, String> {
    out.locate()?;
    // Travel: the same person here and, a moment later, half a world away.
    out.session(&fixture.customer, out.address(1)).await?;
    let far = out.session(&fixture.customer, out.address(2)).await?;
    let held = out.as_session(&far, Method::GET, EXPORT, None).await?.status;
    // Stuffing: many accounts from one address, one of them real.
    let attacker = out.address(1);
    let wrong = Secret::new("not the password of anybody".to_owned());
    out.sign_in(&fixture.customer.email, &wrong, None, attacker).await?;
    for _ in 1..GUESSED {
        let guess = DeviceId::generate(out.app.clock().now(), out.app.rng());
        let guess = Secret::new(format!("{guess}@probe.invalid"));
        out.sign_in(&guess, &wrong, None, attacker).await?;
    }
    for _ in 0..EXPORTS {
        let token = Some(fixture.api_key().expose().as_str());
        let answer = out.ask(Ask { token, ..Ask::get(EXPORT) }).await?;
        if answer.status != StatusCode::OK {
            return Err(format!("an export of the check: {}", answer.status.as_u16()));
        }
    }
    let wanted = ["credential_stuffing", "impossible_travel", "bulk_export"];
    let (kinds, open) = wait_for_findings(out, fixture, &wanted).await?;
    let mut facts: Vec<_> = wanted
        .iter()
        .map(|kind| {
            let is_found = kinds.iter().any(|found| found == kind);
            fact(&kind.replace('_', " "), if is_found { "alert raised" } else { "not noticed" })
        })
        .collect();
    facts.push(fact("incidents open", open));
    facts.push(fact("an export by the session that travelled", held.as_u16()));
    let missing = wanted.iter().find(|kind| !kinds.iter().any(|found| found == *kind));
    Ok(match missing {
        None if open >= wanted.len() && held != StatusCode::FORBIDDEN => ProbeAnswer::Failed {
            summary: "A session that travelled impossibly was not held up.".to_owned(),
            facts,
            place: "table sessions".to_owned(),
        },
        None if open >= wanted.len() => ProbeAnswer::Passed {
            summary: "Stuffing, impossible travel and a bulk export each raised an alert and an \
                      incident, and the session that travelled is held up."
                .to_owned(),
            facts,
        },
        None => ProbeAnswer::Failed {
            summary: "An alert has no incident.".to_owned(),
            facts,
            place: "table incidents".to_owned(),
        },
        Some(kind) => ProbeAnswer::Failed {
            summary: format!("{} was not noticed.", kind.replace('_', " ")),
            facts,
            place: "table security_alerts".to_owned(),
        },
    })
}

async fn wait_for_findings(
    out: &Outside,
    fixture: &AccessFixture,
    wanted: &[&str],
) -> Result<(Vec<String>, usize), String> {
    let looks = FOUND_WITHIN.as_millis() / LOOK_AGAIN.as_millis();
    let mut interval = tokio::time::interval(LOOK_AGAIN);
    let mut found = (Vec::new(), 0);
    for _ in 0..looks {
        interval.tick().await;
        let seen = out.app.access_findings(fixture.since).await;
        found = seen.map_err(|error| ProbeAnswer::told(&error))?;
        if wanted.iter().all(|kind| found.0.iter().any(|seen| seen == kind)) {
            break;
        }
    }
    Ok(found)
}

/// Steps of the support check with what was answered.
#[derive(Default)]
struct Steps {
    seen: Vec<(String, String)>,
    wrong: Option<String>,
}

impl Steps {
    fn expect(&mut self, step: &str, answer: &Answered, expect: u16) {
        let status = answer.status.as_u16();
        self.seen.push(fact(step, status));
        if status != expect && self.wrong.is_none() {
            self.wrong = Some(format!("{step}: answered {status} instead of {expect}"));
        }
    }
}

async fn check_support(out: &Outside, fixture: &AccessFixture) -> Result<ProbeAnswer, String> {
    let local = Ask::get("/").peer;
    let customer = out.session(&fixture.customer, local).await?;
    let staff = out.session(&fixture.staff, local).await?;
    let mut steps = Steps::default();
    let enter = async |tenant: &str| {
        let body = json!({"tenant_id": tenant});
        out.as_session(&staff, Method::POST, "/v1/support-desk/session", Some(body)).await
    };
    let tenant = fixture.tenant.to_string();
    let nobody = DeviceId::generate(out.app.clock().now(), out.app.rng()).to_string();
    steps.expect("a tenant that never asked", &enter(&nobody).await?, 404);
    let ticket = json!({"subject": "support probe", "text": "support probe"});
    let ticket =
        out.as_session(&customer, Method::POST, "/v1/support-tickets", Some(ticket)).await?;
    let ticket = body(&ticket)["id"].as_str().unwrap_or_default().to_owned();
    steps.expect("before the grant", &enter(&tenant).await?, 403);
    let grant = json!({"areas": ["devices"], "hours": 1});
    let uri = format!("/v1/support-tickets/{ticket}/grants");
    let grant = out.as_session(&customer, Method::POST, &uri, Some(grant)).await?;
    let grant = body(&grant)["id"].as_str().unwrap_or_default().to_owned();
    let entered = enter(&tenant).await?;
    steps.expect("with the grant", &entered, 201);
    let inside = cookie(&entered).unwrap_or_default();
    for (step, method, uri, expect) in [
        ("what was granted", Method::GET, "/v1/devices", 200),
        ("what was not granted", Method::GET, "/v1/users", 403),
        ("a change", Method::POST, "/v1/devices", 403),
    ] {
        let body = (method == Method::POST).then(|| json!({"name": "support probe"}));
        let answer = out.as_session(&inside, method, uri, body).await?;
        steps.expect(step, &answer, expect);
    }
    let uri = format!("/v1/support-grants/{grant}");
    out.as_session(&customer, Method::DELETE, &uri, None).await?;
    let after = out.as_session(&inside, Method::GET, "/v1/devices", None).await?;
    steps.expect("in the session, after the grant", &after, 401);
    steps.expect("entering after the grant", &enter(&tenant).await?, 403);
    // The customer's view of the same steps.
    let uri = format!("/v1/activity?actor={grant}");
    let shown = body(&out.as_session(&customer, Method::GET, &uri, None).await?);
    let has = |action: &str, outcome: &str| {
        let is_it = |row: &Value| row["action"] == action && row["outcome"] == outcome;
        shown["items"].as_array().is_some_and(|rows| rows.iter().any(is_it))
    };
    let complete = has("support.serve", "done")
        && has("device.list", "done")
        && has("user.list", "denied")
        && has("device.create", "denied");
    steps.seen.push(fact("every step in the customer's records", complete));
    let uri = format!("/v1/support-tickets/{ticket}");
    out.as_session(&customer, Method::DELETE, &uri, None).await?;
    let Steps { seen: facts, wrong } = steps;
    Ok(match wrong {
        None if complete => ProbeAnswer::Passed {
            summary: "Support sees a tenant by its grant alone, for reading, and every step is in \
                      the customer's records."
                .to_owned(),
            facts,
        },
        None => ProbeAnswer::Failed {
            summary: "A step of support is missing in the customer's records.".to_owned(),
            facts,
            place: "GET /v1/activity".to_owned(),
        },
        Some(wrong) => ProbeAnswer::Failed {
            summary: "Support may do what it should not, or not what was granted.".to_owned(),
            facts,
            place: wrong,
        },
    })
}
