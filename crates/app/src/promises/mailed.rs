//! P10, as far as mails go: mails are rendered of fields that are told apart by a word of their
//! own each, by the same functions as those that leave. A word in one whose field is not on the
//! list of its kind is one field too many. Nothing is queued.

use serde_json::json;
use veritwin_access::jobs;
use veritwin_domain::{AlertId, DeviceId, Rng, Secret, UserId};
use veritwin_governance::Language;

use super::PROBE_TENANT;
use super::canary::canary;
use crate::cases::letters;
use crate::invitations::{invitation_mail, welcome_link};
use crate::legal_notices::notice_mail;
use crate::links::Payload;
use crate::mail::MailPayload;
use crate::mail_kinds::MessageKind;
use crate::{App, Error, Result};

/// What mails of a kind may hold. Moments, and what a template says by itself, are no fields.
const LISTS: [(MessageKind, &[&str]); 4] = [
    (MessageKind::Alert, &["severity", "headline", "paragraph", "rule", "destination", "message"]),
    (MessageKind::Onboarding, &["organisation", "product", "link"]),
    (MessageKind::Policy, &["summary", "link"]),
    (MessageKind::RightsCase, &["number", "code", "authority", "words of whoever answers"]),
];

/// Fields, each with a word of its own.
struct Marked<'a> {
    rng: &'a dyn Rng,
    fields: Vec<(&'static str, String)>,
}

impl<'a> Marked<'a> {
    const fn new(rng: &'a dyn Rng) -> Self {
        Self { rng, fields: Vec::new() }
    }

    /// The word of a field.
    fn word(&mut self, name: &'static str) -> String {
        self.is(name, canary(self.rng))
    }

    /// A field that is told by what it is.
    fn is(&mut self, name: &'static str, word: String) -> String {
        self.fields.push((name, word.clone()));
        word
    }

    fn rendered(self, mail: MailPayload) -> Rendered {
        Rendered { mail, fields: self.fields }
    }
}

/// A mail, and the fields that its template could take from.
struct Rendered {
    mail: MailPayload,
    fields: Vec<(&'static str, String)>,
}

impl Rendered {
    /// The first field that it holds and that is not on the list of its kind.
    fn beyond(&self) -> Option<String> {
        let MailPayload { kind, subject, text, .. } = &self.mail;
        let list = LISTS.iter().find(|(known, _)| known == kind);
        let is_listed = |name: &str| list.is_some_and(|(_, fields)| fields.contains(&name));
        let is_said = |word: &str| subject.contains(word) || text.contains(word);
        let mut beyond =
            self.fields.iter().filter(|(name, word)| is_said(word) && !is_listed(name));
        beyond.next().map(|(name, _)| format!("a mail of the kind {}: {name}", kind.as_str()))
    }
}

fn damaged(error: serde_json::Error) -> Error {
    Error::Internal(error.to_string())
}

/// The mail of an alert, and the one of messages that a rule sends on.
fn alerts(app: &App) -> Result<[Rendered; 2]> {
    let now = app.clock().now();
    let mut marked = Marked::new(app.rng());
    let to = format!("{}@people.invalid", marked.word("address"));
    let alert = AlertId::generate(now, app.rng());
    marked.is("id of the alert", alert.to_string());
    let digest = json!({
        "rule": marked.word("id of the rule"),
        "alerts": [alert.to_string()],
        "severity": marked.word("severity"),
        "headline": marked.word("headline"),
        "paragraph": marked.word("paragraph"),
        "raised": 1,
        "cleared": 0,
        "is_active": true,
        "since": null,
        "ended_at": null,
    });
    let digest = serde_json::from_value(digest).map_err(damaged)?;
    let mail = crate::alert_mail::write(&to, alert, digest, None)?;
    let alert = marked.rendered(serde_json::from_slice(&mail).map_err(damaged)?);
    let mut marked = Marked::new(app.rng());
    let to = format!("{}@people.invalid", marked.word("address"));
    let device = DeviceId::generate(now, app.rng());
    let device = marked.is("id of the device", device.to_string());
    let keys = [marked.word("keys of the message")];
    let row = json!({"device": device, "keys": keys, "line": marked.word("message")});
    let routed = json!({
        "rule": marked.word("rule"),
        "destination": marked.word("destination"),
        "rows": [row],
        "more": 0,
    });
    let routed = serde_json::from_value(routed).map_err(damaged)?;
    let mail = crate::route_mail::payload(&to, &routed)?;
    Ok([alert, marked.rendered(serde_json::from_slice(&mail).map_err(damaged)?)])
}

fn invitation(app: &App) -> Rendered {
    let mut marked = Marked::new(app.rng());
    let payload = Payload {
        email: Some(format!("{}@people.invalid", marked.word("address"))),
        name: Some(marked.word("name")),
        role: Some(marked.word("role")),
        scope: Some(marked.word("scope")),
        ..Payload::default()
    };
    let token = Secret::new(marked.word("link"));
    let (organisation, product) = (marked.word("organisation"), marked.word("product"));
    let link = welcome_link("https://localhost", &token);
    marked.rendered(invitation_mail(&payload, (&organisation, &product), &link))
}

/// The notice of a version of the policy; none where none is in force.
fn notice(app: &App) -> Option<Rendered> {
    let now = app.clock().now();
    let mut marked = Marked::new(app.rng());
    let mut version = app.0.legal.in_force(now)?;
    version.body.summary = marked.word("summary");
    let user = UserId::generate(now, app.rng());
    marked.is("id of the account", user.to_string());
    let to = format!("{}@people.invalid", marked.word("address"));
    let pages = format!("https://{}.invalid", marked.word("link"));
    Some(marked.rendered(notice_mail(&version, &pages, (user, to), Language::English)))
}

impl App {
    /// Letters of a request of nobody; nothing of it is stored.
    async fn letters_of_nobody(&self) -> Result<Vec<Rendered>> {
        self.ensure_probe_tenant().await?;
        let context = self.job_in(jobs::PROMISES, PROBE_TENANT);
        let tx = self.0.store.read(&context).await?;
        let mut case = self.open_case_of_nobody(&tx, &context).await?;
        drop(tx);
        let now = context.at;
        let mut marked = Marked::new(self.rng());
        case.body.email = Some(format!("{}@people.invalid", marked.word("address")));
        case.body.person = Some(marked.word("person"));
        case.body.text = marked.word("what was asked for");
        case.body.made_by = marked.word("who entered it");
        case.body.answer = Some(marked.word("an earlier answer"));
        marked.is("number", case.row.id.to_string());
        let code = marked.word("code");
        let authority = marked.word("authority");
        let words = marked.word("words of whoever answers");
        let letters = [
            letters::acknowledgement(&case, now),
            letters::code(&case, &code, 1),
            letters::lifted(&case, &authority),
            letters::extension(&case, now, &words, &authority),
            letters::refusal(&case, "unfounded", &words, &authority),
            letters::reopened(&case, now),
            letters::answer(&case, &words, Some(&code)),
        ];
        let mails = letters.iter().filter_map(|letter| self.letter_mail(&case, letter));
        Ok(mails.map(|mail| Rendered { mail, fields: marked.fields.clone() }).collect())
    }

    /// What mails may hold, by kind; or a field that one holds and may not.
    pub(super) async fn check_mailed(
        &self,
    ) -> Result<std::result::Result<Vec<(String, String)>, String>> {
        let mut rendered = self.letters_of_nobody().await?;
        rendered.extend(alerts(self)?);
        rendered.extend([invitation(self)]);
        rendered.extend(notice(self));
        if let Some(beyond) = rendered.iter().find_map(Rendered::beyond) {
            return Ok(Err(beyond));
        }
        let mut facts = vec![("mails rendered".to_owned(), rendered.len().to_string())];
        for (kind, fields) in LISTS {
            facts.push((format!("fields of mails: {}", kind.as_str()), fields.join(", ")));
        }
        Ok(Ok(facts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_not_listed_is_found() {
        let check = |kind: MessageKind, text: &str, expect: Option<&str>| {
            let (number, name) = (("number", "12".to_owned()), ("name", "Ada".to_owned()));
            let mail = MailPayload { text: text.to_owned(), ..MailPayload::of(kind) };
            let found = Rendered { mail, fields: vec![number, name] }.beyond();
            assert_eq!(found.as_deref(), expect, "{text}");
        };
        check(MessageKind::RightsCase, "Your request 12 came.", None);
        let found = Some("a mail of the kind rights_case: name");
        check(MessageKind::RightsCase, "Dear Ada, your request 12 came.", found);
        // A kind without a list may hold none.
        check(MessageKind::Billing, "12", Some("a mail of the kind billing: number"));
    }
}
