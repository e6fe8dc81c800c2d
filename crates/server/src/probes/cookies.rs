//! P56: whatever is asked, with and without a session, the only cookie that is ever set is the one
//! of the register, also by a real sign-in and its end; no page, script or style sheet loads
//! anything from another host, and the content security policy would not let it. Which pages there
//! are comes from the web application's own list of routes, and what is asked of the API from the
//! OpenAPI document.

use std::collections::{BTreeSet, VecDeque};

use async_trait::async_trait;
use axum::http::{Method, header};
use serde_json::{Value, json};
use veritwin_app::{AccessFixture, App, Document, PlatformProbe, ProbeAnswer};
use veritwin_domain::DeviceId;

use super::Wiring;
use super::access::{Outside, cookie};
use super::scan::{foreign_load, foreign_source, references};
use super::walk::{Answered, Ask, ask};
use super::words;
use crate::api::SESSION_COOKIE;

const PROMISE: u8 = 56;
/// With the cookie of a real session, and every page of the application.
const VERSION: u32 = 2;
/// The name of what the check makes.
const NAME: &str = "cookie probe";
/// The register: every cookie there is, and why it is strictly necessary.
const REGISTER: [(&str, &str); 1] = [(SESSION_COOKIE, "keeps a person signed in")];
/// Most files of the pages that are followed.
const FILES_MAX: usize = 1000;
/// Where the web application says which pages it has.
const ROUTES: [&str; 2] = [
    include_str!("../../../../web/src/app/router.tsx"),
    include_str!("../../../../web/src/lib/providers.ts"),
];
/// Answers of every kind that are neither pages of the application nor in the OpenAPI document.
const BESIDE: [&str; 11] = [
    "/no/such/page",
    "/no-such-file.txt",
    "/v1/docs",
    "/v1/docs.css",
    "/v1/openapi.json",
    "/healthz",
    "/readyz",
    "/theme.css",
    "/brand/logo.png",
    "/ledger/$id/checkpoint",
    "/trust/$id",
];

/// The paths of the pages that a source of the application names, as it writes them.
fn pages_of(source: &str) -> impl Iterator<Item = String> + '_ {
    let quoted = source.split("'/").skip(1).filter_map(|rest| rest.split_once('\''));
    let is_path = |path: &&str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "/$-_".contains(c);
        path.chars().all(is_part) && !path.starts_with("v1/")
    };
    quoted.map(|(path, _)| path).filter(is_path).map(|path| format!("/{path}"))
}

/// A path with every part filled that stands for something: a text of each name, or an id of
/// nothing.
fn filled(path: &str, never: &str) -> Vec<String> {
    let with = |name: &str| -> String {
        let parts = path.split('/').map(|part| if part.starts_with('$') { name } else { part });
        parts.collect::<Vec<_>>().join("/")
    };
    if path.starts_with("/legal/") {
        Document::ALL.iter().map(|document| with(document.as_str())).collect()
    } else {
        vec![with(never)]
    }
}

/// Every page and the answers beside them.
fn paths(never: &str) -> BTreeSet<String> {
    let pages = ROUTES.iter().flat_map(|source| pages_of(source));
    let beside = BESIDE.iter().map(|path| (*path).to_owned());
    pages.chain(beside).flat_map(|path| filled(&path, never)).collect()
}

/// What can be read through the API without naming anything.
fn readable(document: &Value) -> Vec<String> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let is_read = |(path, item): &(&String, &Value)| !path.contains('{') && item["get"].is_object();
    paths.filter(is_read).map(|(path, _)| path.clone()).collect()
}

pub(super) struct Cookies(Outside);

/// What a walk saw, and the first thing that should not be.
#[derive(Debug, Default)]
struct Walked {
    answers: usize,
    /// Paths that were asked for, with and without the session.
    paths: usize,
    /// Endpoints of the API that were read with the session.
    asked: usize,
    pages: usize,
    files: usize,
    bytes: usize,
    cookies: BTreeSet<String>,
    wrong: Option<(String, String)>,
}

/// What is wrong with a cookie: not registered, or not bound as it should be.
fn cookie_problem(line: &str) -> Result<String, String> {
    let mut parts = line.split(';').map(str::trim);
    let name = parts.next().and_then(|pair| pair.split_once('=')).map_or("", |(name, _)| name);
    if !REGISTER.iter().any(|(registered, _)| *registered == name) {
        return Err(format!("sets the cookie {name:?}, which is in no register"));
    }
    let attributes: Vec<String> = parts.map(str::to_ascii_lowercase).collect();
    for needed in ["secure", "httponly", "samesite=strict", "path=/"] {
        if !attributes.iter().any(|attribute| attribute == needed) {
            return Err(format!("sets the cookie {name} without {needed}"));
        }
    }
    if attributes.iter().any(|attribute| attribute.starts_with("domain")) {
        return Err(format!("sets the cookie {name} for other hosts"));
    }
    Ok(name.to_owned())
}

impl Walked {
    /// Takes note of an answer; its text, when it is one that can load something.
    fn take(&mut self, place: &str, answer: &Answered) -> Option<String> {
        self.answers += 1;
        for line in answer.headers.get_all(header::SET_COOKIE) {
            match cookie_problem(line.to_str().unwrap_or_default()) {
                Ok(name) => {
                    self.cookies.insert(name);
                }
                Err(problem) => self.note(place, problem),
            }
        }
        let kind = answer.content_type();
        let is_page = kind.starts_with("text/html");
        let is_text =
            is_page || ["text/css", "javascript", "svg"].iter().any(|known| kind.contains(known));
        if is_page {
            self.pages += 1;
            let policy = answer.headers.get(header::CONTENT_SECURITY_POLICY);
            match policy.and_then(|policy| policy.to_str().ok()) {
                None => self.note(place, "has no content security policy".to_owned()),
                Some(policy) => {
                    if let Some(source) = foreign_source(policy) {
                        self.note(place, format!("its content security policy has {source}"));
                    }
                }
            }
        }
        if !is_text {
            return None;
        }
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        self.bytes += text.len();
        if let Some(host) = foreign_load(&text) {
            self.note(place, format!("loads from {host}"));
        }
        Some(text)
    }

    fn note(&mut self, place: &str, problem: String) {
        self.wrong.get_or_insert((place.to_owned(), problem));
    }
}

/// A walk, and the files of pages that it still has to look at.
#[derive(Default)]
struct Crawl {
    walked: Walked,
    waiting: VecDeque<String>,
    known: BTreeSet<String>,
}

impl Crawl {
    /// Takes note of an answer, and of the files that it names.
    fn take(&mut self, place: &str, answer: &Answered) {
        let text = self.walked.take(place, answer);
        for file in text.as_deref().map(references).unwrap_or_default() {
            if self.known.len() < FILES_MAX && self.known.insert(file.clone()) {
                self.waiting.push_back(file);
            }
        }
    }

    /// Asks for a path, with a session or without.
    async fn get(
        &mut self,
        out: &Outside,
        path: &str,
        session: Option<&str>,
    ) -> Result<(), String> {
        let question = Ask { cookie: session, ..Ask::get(path) };
        let answer = ask(&out.router, question).await?;
        self.take(path, &answer);
        Ok(())
    }

    async fn files(&mut self, out: &Outside) -> Result<(), String> {
        while let Some(file) = self.waiting.pop_front() {
            let answer = ask(&out.router, Ask::get(&file)).await?;
            // A name in a text may be no file of ours.
            self.walked.files += usize::from(answer.status.is_success());
            self.take(&file, &answer);
        }
        Ok(())
    }
}

impl Cookies {
    pub(super) fn new(app: &App, wiring: &Wiring) -> Self {
        Self(Outside::new(app, wiring))
    }
}

async fn check_cookies(out: &Outside, fixture: &AccessFixture) -> Result<ProbeAnswer, String> {
    let never = DeviceId::generate(out.app.clock().now(), out.app.rng()).to_string();
    let paths = paths(&never);
    let mut crawl = Crawl::default();
    for path in &paths {
        crawl.get(out, path, None).await?;
    }
    for (method, path, body) in refused(&never) {
        let answer = ask(&out.router, Ask::json(method, path, &body)).await?;
        crawl.take(path, &answer);
    }
    let customer = &fixture.customer;
    // From where nobody failed to sign in just now.
    let code = customer.code(out.app.clock().now());
    let entered = out.sign_in(&customer.email, &customer.password, code, out.address(3)).await?;
    crawl.take("POST /v1/session", &entered);
    let status = entered.status.as_u16();
    let session = cookie(&entered).ok_or_else(|| format!("sign-in of the check: {status}"))?;
    let asked = readable(&words::openapi()?);
    for path in paths.iter().chain(&asked) {
        crawl.get(out, path, Some(&session)).await?;
    }
    let leave = Ask { method: Method::DELETE, cookie: Some(&session), ..Ask::get("/v1/session") };
    let left = ask(&out.router, leave).await?;
    crawl.take("DELETE /v1/session", &left);
    crawl.files(out).await?;
    let mut walked = crawl.walked;
    (walked.paths, walked.asked) = (paths.len(), asked.len());
    if !walked.cookies.contains(SESSION_COOKIE) && walked.wrong.is_none() {
        return Err("the cookie of the check's session was not seen".to_owned());
    }
    Ok(answer(&walked))
}

/// Requests that must fail, and may set nothing either.
fn refused(nobody: &str) -> [(Method, &'static str, Value); 4] {
    [
        (
            Method::POST,
            "/v1/session",
            json!({"email": format!("{nobody}@probe.invalid"), "password": nobody}),
        ),
        (Method::DELETE, "/v1/session", json!({})),
        (Method::POST, "/v1/welcome/inspect", json!({"token": nobody})),
        (Method::POST, "/v1/devices", json!({"name": "x"})),
    ]
}

fn answer(walked: &Walked) -> ProbeAnswer {
    let listed = |names: &mut dyn Iterator<Item = String>| {
        let joined = names.collect::<Vec<_>>().join(", ");
        if joined.is_empty() { "none".to_owned() } else { joined }
    };
    let pages = if crate::web::is_built() {
        walked.pages.to_string()
    } else {
        format!("{} (the application's are not in this binary)", walked.pages)
    };
    let registered = REGISTER.iter().map(|(name, why)| format!("{name} ({why})"));
    let facts = vec![
        ("answers looked at".to_owned(), walked.answers.to_string()),
        ("bytes of pages, scripts and styles searched".to_owned(), walked.bytes.to_string()),
        ("cookies registered".to_owned(), listed(&mut registered.into_iter())),
        ("cookies set in this walk".to_owned(), listed(&mut walked.cookies.iter().cloned())),
        ("endpoints read with a session".to_owned(), walked.asked.to_string()),
        ("files of the pages".to_owned(), walked.files.to_string()),
        ("pages".to_owned(), pages),
        ("paths asked for, with a session and without".to_owned(), walked.paths.to_string()),
    ];
    match &walked.wrong {
        None => ProbeAnswer::Passed {
            summary: format!(
                "{} answers, a sign-in and its end among them, set no cookie but the registered \
                 one, and nothing is loaded from elsewhere.",
                walked.answers
            ),
            facts,
        },
        Some((place, problem)) => ProbeAnswer::Failed {
            summary: format!("An answer {problem}."),
            facts,
            place: place.clone(),
        },
    }
}

#[async_trait]
impl PlatformProbe for Cookies {
    fn promise(&self) -> u8 {
        PROMISE
    }

    fn version(&self) -> u32 {
        VERSION
    }

    async fn check(&self) -> ProbeAnswer {
        self.0.with(NAME, check_cookies).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_of_the_application_is_walked() {
        let paths = paths("id");
        for page in ["/", "/sign-in", "/sign-in/return", "/withdraw", "/devices/id", "/trust/id"] {
            assert!(paths.contains(page), "{page}: {paths:?}");
        }
        for document in Document::ALL {
            assert!(paths.contains(&format!("/legal/{document}")), "{document}");
        }
        // One for each page that the router makes; a new one adds itself.
        let made = ROUTES[0].matches("lazyRouteComponent(() => import(").count();
        assert!(made > 30 && paths.len() >= made, "{made} pages, {} paths", paths.len());
        assert!(paths.iter().all(|path| !path.contains('$')), "{paths:?}");
        let named: Vec<String> = pages_of("page('/new', x) '/v1/a' '../b' '/a b'").collect();
        assert_eq!(named, ["/new"]);
    }

    #[test]
    fn what_names_nothing_is_read() {
        let document = json!({"paths": {
            "/v1/a": {"get": {}, "post": {}}, "/v1/b": {"post": {}}, "/v1/c/{id}": {"get": {}},
        }});
        assert_eq!(readable(&document), ["/v1/a"]);
    }

    #[test]
    fn cookies_are_judged() {
        let good = "__Host-session=t; Path=/; Secure; HttpOnly; SameSite=Strict";
        assert_eq!(cookie_problem(good).as_deref(), Ok(SESSION_COOKIE));
        let check = |line: &str, expect: &str| {
            let problem = cookie_problem(line).expect_err(line);
            assert!(problem.contains(expect), "{problem}");
        };
        check("visitor=1; Path=/", "in no register");
        check("", "in no register");
        check(&good.replace(" HttpOnly;", ""), "without httponly");
        check(&good.replace("Strict", "Lax"), "without samesite=strict");
        check(&format!("{good}; Domain=example.com"), "other hosts");
    }
}
