//! P56: whatever is asked, with and without rights, the only cookie that is ever set is the one of
//! the register; no page, script or style sheet loads anything from another host, and the content
//! security policy would not let it.

use std::collections::{BTreeSet, VecDeque};

use async_trait::async_trait;
use axum::Router;
use axum::http::{Method, header};
use serde_json::json;
use veritwin_app::{App, PlatformProbe, ProbeAnswer};

use super::Wiring;
use super::scan::{foreign_load, foreign_source, references};
use super::walk::{Answered, Ask, ask};
use crate::api::SESSION_COOKIE;

const PROMISE: u8 = 56;
const VERSION: u32 = 1;
/// The register: every cookie there is, and why it is strictly necessary.
const REGISTER: [(&str, &str); 1] = [(SESSION_COOKIE, "keeps a person signed in")];
/// Most files of the pages that are followed.
const FILES_MAX: usize = 1000;
/// Pages and answers of every kind, without a sign-in.
const PATHS: [&str; 19] = [
    "/",
    "/welcome",
    "/alerts",
    "/devices",
    "/twins",
    "/rules",
    "/ledger",
    "/promises",
    "/activity",
    "/settings",
    "/no/such/page",
    "/no-such-file.txt",
    "/v1/docs",
    "/v1/openapi.json",
    "/v1/session",
    "/v1/devices",
    "/healthz",
    "/readyz",
    "/ledger/00000000-0000-7000-8000-000000000000/checkpoint",
];

pub(super) struct Cookies {
    app: App,
    router: Router,
}

/// What a walk saw, and the first thing that should not be.
#[derive(Debug, Default)]
struct Walked {
    answers: usize,
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

impl Cookies {
    pub(super) fn new(app: &App, wiring: &Wiring) -> Self {
        Self { app: app.clone(), router: wiring.router.clone() }
    }

    async fn walk(&self) -> Result<Walked, String> {
        let mut walked = Walked::default();
        let mut waiting: VecDeque<String> = VecDeque::new();
        let mut known: BTreeSet<String> = BTreeSet::new();
        let mut follow = |text: Option<String>, waiting: &mut VecDeque<String>| {
            for file in text.as_deref().map(references).unwrap_or_default() {
                if known.len() < FILES_MAX && known.insert(file.clone()) {
                    waiting.push_back(file);
                }
            }
        };
        for path in PATHS {
            let answer = ask(&self.router, Ask::get(path)).await?;
            follow(walked.take(path, &answer), &mut waiting);
        }
        for (method, path, body) in self.refused() {
            let question = Ask {
                method,
                uri: path,
                content_type: "application/json",
                body: body.to_string().into_bytes(),
                ..Ask::get(path)
            };
            let answer = ask(&self.router, question).await?;
            walked.take(path, &answer);
        }
        while let Some(file) = waiting.pop_front() {
            let answer = ask(&self.router, Ask::get(&file)).await?;
            // A name in a text may be no file of ours.
            if answer.status.is_success() {
                walked.files += 1;
            }
            follow(walked.take(&file, &answer), &mut waiting);
        }
        Ok(walked)
    }

    /// Requests that must fail, and may set nothing either.
    fn refused(&self) -> [(Method, &'static str, serde_json::Value); 4] {
        let mut random = [0u8; 16];
        self.app.rng().fill(&mut random);
        let nobody = hex::encode(random);
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
        ("files of the pages".to_owned(), walked.files.to_string()),
        ("pages".to_owned(), pages),
    ];
    match &walked.wrong {
        None => ProbeAnswer::Passed {
            summary: format!(
                "{} answers set no cookie but the registered one, and nothing is loaded from \
                 elsewhere.",
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
        match self.walk().await {
            Ok(walked) => answer(&walked),
            Err(reason) => ProbeAnswer::CouldNotRun(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
