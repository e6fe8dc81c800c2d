//! A tenant as its administrator sees it: REST calls with the tenant's own API key, devices and
//! their readings, and the questions that tests ask again and again.

use std::sync::mpsc::Receiver;

use serde_json::{Value, json};

use crate::harness::wait_for;
use crate::http::{Answer, Http, Request};
use crate::smtp::Mail;

/// A tenant with one administrator and one API key.
#[derive(Clone)]
pub(crate) struct Tenant {
    http: Http,
    pub(crate) id: String,
    pub(crate) email: String,
    pub(crate) password: String,
    /// `name=value` of the administrator's session.
    pub(crate) cookie: String,
    pub(crate) api_key: String,
}

/// A device and its access token.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) token: String,
}

impl Tenant {
    /// Redeems the token of an administrator's link.
    pub(crate) fn redeem(http: &Http, token: &str, number: u32) -> Self {
        let email = format!("admin-{number}@tenant.example");
        let password = format!("correct horse {number} battery");
        let welcome = json!({
            "token": token, "organisation": format!("Tenant {number}"), "email": email,
            "name": "Ada Admin", "password": password, "attested": true,
        });
        let answer = http.post("/v1/welcome").json(&welcome).send();
        let session = answer.expect(201);
        let cookie = answer.cookie().expect("a session cookie");
        let id = session["tenant"]["id"].as_str().unwrap().to_owned();
        let key = json!({"name": "tests", "role": "administrator"});
        let key = http.post("/v1/api-keys").header("cookie", &cookie).json(&key).send().expect(201);
        let api_key = key["secret"].as_str().unwrap().to_owned();
        Self { http: http.clone(), id, email, password, cookie, api_key }
    }

    /// The demo's tenant, out of the part `demo` of `run.json`.
    pub(crate) fn of_demo(http: &Http, demo: &Value) -> Self {
        let text = |key: &str| demo[key].as_str().unwrap_or_default().to_owned();
        Self {
            http: http.clone(),
            id: text("tenant"),
            email: text("user"),
            password: text("password"),
            cookie: String::new(),
            api_key: text("api_key"),
        }
    }

    /// The same tenant of a platform that was restored elsewhere.
    pub(crate) fn at(&self, http: &Http) -> Self {
        Self { http: http.clone(), ..self.clone() }
    }

    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    /// A request with the API key; where rights are given, records held, support let in
    /// or what counts for everybody is set, with the administrator's session: no built-in role lets
    /// a key do that.
    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        const GIVES: [&str; 22] = [
            "/v1/agreements",
            "/v1/api-keys",
            "/v1/certificates",
            "/v1/collection-zones",
            "/v1/destructions",
            "/v1/device-authorities",
            "/v1/grants",
            "/v1/holds",
            "/v1/identity-provider",
            "/v1/networks",
            "/v1/opt-ins",
            "/v1/provision-profiles",
            "/v1/register-entries",
            "/v1/requests",
            "/v1/retention",
            "/v1/roles",
            "/v1/route-destinations",
            "/v1/route-rules",
            "/v1/support-",
            "/v1/tenants",
            "/v1/trust-pages",
            "/v1/users",
        ];
        if method != "GET" && GIVES.iter().any(|one| path.starts_with(one)) {
            return self.person(method, path);
        }
        self.http.request(method, path).bearer(&self.api_key)
    }

    /// A request with the administrator's session.
    pub(crate) fn person(&self, method: &str, path: &str) -> Request {
        self.http.request(method, path).header("cookie", &self.cookie)
    }

    /// Invites a person with a role and redeems the invitation; answers the id and the session.
    #[track_caller]
    pub(crate) fn member(&self, name: &str, role: &str) -> (String, String) {
        let invited = self.invited(name, role);
        self.come_in(crate::harness::link_token(invited["link"].as_str().unwrap()))
    }

    /// The same where invitations are mailed. Other mails that come meanwhile are passed by.
    #[track_caller]
    pub(crate) fn member_by_mail(
        &self,
        mails: &Receiver<Mail>,
        (name, role): (&str, &str),
    ) -> (String, String) {
        self.member_mailed((name, role), || {
            let mail = mails.try_recv().ok().filter(|mail| mail.to.contains(name))?;
            Some(mail.words())
        })
    }

    /// The same, by whatever gives the words of mails that have come.
    #[track_caller]
    pub(crate) fn member_mailed(
        &self,
        (name, role): (&str, &str),
        mut words: impl FnMut() -> Option<String>,
    ) -> (String, String) {
        let invited = self.invited(name, role);
        assert_eq!(invited["link"], Value::Null, "it is mailed");
        let token = wait_for("an invitation", || {
            let words = words()?;
            let (_, token) = words.split_once("/welcome#")?;
            token.split_whitespace().next().map(str::to_owned)
        });
        self.come_in(&token)
    }

    #[track_caller]
    fn invited(&self, name: &str, role: &str) -> Value {
        let email = format!("{name}-{}@tenant.example", &self.id[24..]);
        self.post("/v1/users", &json!({"email": email, "role": role})).expect(201)
    }

    /// Redeems an invitation; the id and the session.
    #[track_caller]
    fn come_in(&self, token: &str) -> (String, String) {
        let welcome =
            json!({"token": token, "password": "a password of a colleague", "attested": true});
        let answer = self.http.post("/v1/welcome").json(&welcome).send();
        let session = answer.expect(201);
        let id = session["user"]["id"].as_str().unwrap().to_owned();
        (id, answer.cookie().expect("a session cookie"))
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", path).send()
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path).json(body).send()
    }

    #[track_caller]
    pub(crate) fn put(&self, path: &str, body: &Value) -> Answer {
        self.request("PUT", path).json(body).send()
    }

    #[track_caller]
    pub(crate) fn patch(&self, path: &str, body: &Value) -> Answer {
        self.request("PATCH", path).json(body).send()
    }

    #[track_caller]
    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.request("DELETE", path).send()
    }

    #[track_caller]
    pub(crate) fn device(&self, name: &str) -> Device {
        let body = json!({"name": name, "type": "test", "declaration": "non_personal"});
        let made = self.post("/v1/devices", &body).expect(201);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Device { id: text(&made["device"]["id"]), name: name.into(), token: text(&made["token"]) }
    }

    /// Sends telemetry over the HTTP device API; 200 means that it is durable.
    #[track_caller]
    pub(crate) fn send(&self, device: &Device, telemetry: &Value) -> Answer {
        self.http.post("/api/v1/telemetry").bearer(&device.token).json(telemetry).send()
    }

    /// Bulk write with the API key.
    #[track_caller]
    pub(crate) fn write(&self, query: &str, content_type: &str, body: &str) -> Answer {
        let path = format!("/v1/telemetry/write{query}");
        self.request("POST", &path).body(content_type, body.as_bytes()).send()
    }

    /// The latest value of a series; null when there is none.
    #[track_caller]
    pub(crate) fn latest(&self, device: &Device, key: &str) -> Value {
        let body = json!({"device_ids": [device.id], "keys": [key]});
        let found = self.post("/v1/telemetry/latest", &body).expect(200);
        found["items"].get(0).map_or(Value::Null, |item| item["value"].clone())
    }

    /// All points of a series as (milliseconds, value), oldest first.
    #[track_caller]
    pub(crate) fn points(&self, device: &Device, key: &str) -> Vec<(i64, Value)> {
        let mut points = Vec::new();
        let mut cursor = Value::Null;
        loop {
            let answer = self
                .post(
                    "/v1/telemetry/query",
                    &json!({
                        "series": [{"device_id": device.id, "key": key}],
                        "from": "1970-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z",
                        "shape": "columns", "cursor": cursor,
                    }),
                )
                .expect(200);
            let column = |name: &str| answer["series"][0][name].as_array().cloned().unwrap();
            let times = column("at_ms").into_iter().map(|at| at.as_i64().unwrap());
            points.extend(times.zip(column("value")));
            cursor = answer["next_cursor"].clone();
            if cursor.is_null() {
                return points;
            }
        }
    }

    /// Count, minimum and maximum of a series.
    #[track_caller]
    pub(crate) fn stats(&self, device: &Device, key: &str) -> (u64, Option<f64>, Option<f64>) {
        let body = json!({"series": [{"device_id": device.id, "key": key}]});
        let found = self.post("/v1/telemetry/stats", &body).expect(200);
        let one = &found["series"][0];
        (one["count"].as_u64().unwrap(), one["min"].as_f64(), one["max"].as_f64())
    }

    /// Waits until everything that is durable is sealed in the ledger, and what a device sent in a
    /// leaf behind the `at_least - 1` leaves before; its tree size. The platform's own records of
    /// what people did have leaves, too.
    pub(crate) fn sealed(&self, at_least: u64) -> u64 {
        wait_for("the ledger to seal", || {
            let answer = self.get("/v1/ledger");
            if answer.status != 200 {
                return None;
            }
            let ledger = answer.expect(200);
            let size = ledger["tree_size"].as_u64()?;
            let entries = self.get("/v1/ledger/entries?limit=100").expect(200);
            let is_there = entries["items"].as_array()?.iter().any(|entry| {
                let index = entry["index"].as_u64().unwrap_or_default();
                entry["kind"] == "batch" && index + 1 >= at_least
            });
            (ledger["pending_records"] == 0 && (is_there || at_least == 0)).then_some(size)
        })
    }
}
