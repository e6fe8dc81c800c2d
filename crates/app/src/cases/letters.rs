//! What is written to people about their requests. Every refusal is made here and names the
//! authority to complain to; no letter holds what was asked for but its kind.

use veritwin_domain::{OpContext, Timestamp};
use veritwin_metastore::{MailRank, NewMail, TenantTx};

use super::body::Case;
use super::letter_words::{REASONS, Words};
use super::stay_words::stay_words;
use crate::alert_mail::waiting_max;
use crate::languages::{filled, moment_in};
use crate::mail::{MailPayload, mail_key};
use crate::mail_kinds::MessageKind;
use crate::provision::PLATFORM_TENANT;
use crate::{App, Error, Result};

/// The jurisdiction whose authority is named where nobody says another.
const OWN_JURISDICTION: &str = "GB";

/// Where the profile of the European Union counts: its members, Iceland, Liechtenstein, Norway.
const UNION: [&str; 30] = [
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IS",
    "IT", "LI", "LT", "LU", "LV", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK",
];

/// Whom one complains to, by the code of the jurisdiction.
pub(crate) fn authorities() -> Result<Vec<(String, String)>> {
    let profiles = crate::processing::jurisdictions()?.into_iter();
    Ok(profiles.filter_map(|one| Some((one.code, one.complain_to?))).collect())
}

/// A reason for which something may be refused.
pub(super) fn check_reason(name: &str) -> Result<()> {
    if REASONS.contains(&name) {
        return Ok(());
    }
    Err(Error::invalid_at("reason", format!("must be one of {}", REASONS.join(", "))))
}

/// A letter: its subject and its text.
pub(crate) struct Letter {
    pub(crate) name: &'static str,
    pub(crate) subject: String,
    pub(crate) text: String,
}

impl Letter {
    /// A letter in the words of a language, about a case.
    fn of(
        case: &Case,
        (name, (subject, text)): (&'static str, (&str, &str)),
        said: &[(&str, &str)],
    ) -> Self {
        let number = case.row.id.to_string();
        let right = Words::of(case.language()).right(case.row.kind);
        let mut all = vec![("right", right), ("number", number.as_str())];
        all.extend_from_slice(said);
        Self { name, subject: format!("{subject} [{number}]"), text: filled(text, &all) }
    }
}

/// That it came, and until when it is answered.
pub(crate) fn acknowledgement(case: &Case, now: Timestamp) -> Letter {
    let language = case.language();
    let words = Words::of(language);
    let since = moment_in(language, case.row.received_at);
    let by = moment_in(language, case.answer_by(now));
    let stands = match case.clocks().verifying_since {
        Some(_) => words.stands,
        None => ends(case, words),
    };
    let said = [("since", since.as_str()), ("by", by.as_str()), ("stands", stands)];
    Letter::of(case, ("acknowledgement", words.acknowledgement), &said)
}

/// The code that shows that an address is the person's.
pub(crate) fn code(case: &Case, code: &str, hours: u64) -> Letter {
    let words = Words::of(case.language());
    let hours = hours.to_string();
    Letter::of(case, ("code", words.code), &[("code", code), ("hours", hours.as_str())])
}

/// What is said where a request ends by itself without proof.
fn ends(case: &Case, words: &Words) -> &'static str {
    if case.lapses_at().is_some() { words.ends } else { "" }
}

/// That it has to be shown who asks, where no code can be mailed.
pub(crate) fn proof(case: &Case) -> Letter {
    let words = Words::of(case.language());
    Letter::of(case, ("proof", words.proof), &[("ends", ends(case, words))])
}

/// That a restriction or an objection ends.
pub(crate) fn lifted(case: &Case, authority: &str) -> Letter {
    let words = Words::of(case.language());
    Letter::of(case, ("lifted", words.lifted), &[("authority", authority)])
}

/// That it takes longer, and why.
pub(crate) fn extension(case: &Case, until: Timestamp, reason: &str, authority: &str) -> Letter {
    let language = case.language();
    let by = moment_in(language, until);
    let said = [("by", by.as_str()), ("reason", reason), ("authority", authority)];
    Letter::of(case, ("extension", Words::of(language).extension), &said)
}

/// That it is not done, why, and where to complain.
pub(crate) fn refusal(case: &Case, reason: &str, text: &str, authority: &str) -> Letter {
    let words = Words::of(case.language());
    let why = words.reason(reason).unwrap_or(reason);
    let more = if text.is_empty() { String::new() } else { format!("\n\n{text}") };
    let said = [("why", why), ("more", more.as_str()), ("authority", authority)];
    Letter::of(case, ("refusal", words.refusal), &said)
}

/// That a refusal is taken back, and until when it is answered now.
pub(crate) fn reopened(case: &Case, now: Timestamp) -> Letter {
    let language = case.language();
    let by = moment_in(language, case.answer_by(now));
    Letter::of(case, ("reopened", Words::of(language).reopened), &[("by", by.as_str())])
}

/// The answer; with a code where the copy can be fetched by it.
pub(crate) fn answer(case: &Case, text: &str, fetch: Option<&str>) -> Letter {
    let words = Words::of(case.language());
    let number = case.row.id.to_string();
    let said = |code| [("number", number.as_str()), ("code", code)];
    let fetch = fetch.map(|code| filled(words.fetch, &said(code)));
    let said = [("text", text), ("fetch", fetch.as_deref().unwrap_or_default())];
    Letter::of(case, ("answer", words.answer), &said)
}

/// That everything is erased: what stays, and why, and how that can be shown.
pub(crate) fn erased(
    case: &Case,
    (stays, is_elsewhere): (&[(&str, &str)], bool),
    (digest, authority): (&str, &str),
) -> Letter {
    let language = case.language();
    let words = Words::of(language);
    let mut kept = String::new();
    for &(store, why) in stays {
        let (name, why) = stay_words(language, store).unwrap_or((store, why));
        kept.extend(["- ", name, ": ", why, "\n"]);
    }
    let elsewhere = if is_elsewhere { words.elsewhere } else { "" };
    let said = [
        ("kept", kept.as_str()),
        ("elsewhere", elsewhere),
        ("digest", digest),
        ("authority", authority),
    ];
    Letter::of(case, ("erased", words.erased), &said)
}

impl App {
    /// The authority that a letter names: of a jurisdiction, or the platform's own.
    pub(crate) fn named_authority(&self, asked: Option<&str>) -> Result<String> {
        #[cfg(feature = "test-controls")]
        if self.0.promises.is_sabotaged(46) {
            return Ok(String::new());
        }
        let known = authorities()?;
        let of = |code: &str| {
            let found = known.iter().find(|(known, _)| known.eq_ignore_ascii_case(code));
            found.map(|(_, text)| text.clone())
        };
        if let Some(asked) = asked {
            let codes: Vec<&str> = known.iter().map(|(code, _)| code.as_str()).collect();
            let wrong = || format!("must be one of {}", codes.join(", "));
            return of(asked).ok_or_else(|| Error::invalid_at("jurisdiction", wrong()));
        }
        // Where the operator says that the platform stands, if there is a profile of that.
        let place = self.0.routes.flows.of(PLATFORM_TENANT);
        let place = place.as_ref().and_then(|flows| flows.home());
        let place = place.and_then(|code| of(if UNION.contains(&code) { "EU" } else { code }));
        let own = place.or_else(|| of(OWN_JURISDICTION));
        own.ok_or_else(|| Error::Internal("no authority is known".to_owned()))
    }

    /// The mail of a letter; none without an address.
    pub(crate) fn letter_mail(&self, case: &Case, letter: &Letter) -> Option<MailPayload> {
        let text = letter.text.clone();
        #[cfg(feature = "test-controls")]
        let text = self.0.promises.with_what_was_asked(text, &case.body.text);
        Some(MailPayload {
            to: case.body.email.clone()?,
            subject: letter.subject.clone(),
            text,
            ..MailPayload::of(MessageKind::RightsCase)
        })
    }

    /// Queues a letter to whom a case is about; false if there is no address, or no mail.
    pub(crate) async fn mail_subject(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (case, letter): (&Case, &Letter),
    ) -> Result<bool> {
        let Some(mail) = self.letter_mail(case, letter) else { return Ok(false) };
        if self.0.mailer.is_none() || crate::provision::is_nobodys(context.tenant) {
            return Ok(false);
        }
        let event = format!("case {} {} {}", case.row.id, letter.name, context.at.as_micros());
        let key = mail_key(&event, &mail.to);
        // What they write back is read where requests are.
        let reply_to = self.mailbox_address(tx).await?;
        let mail = MailPayload { reply_to, voice: Some(context.tenant), ..mail };
        let body = serde_json::to_vec(&mail).map_err(|e| Error::Internal(e.to_string()))?;
        // What anybody can ask for stands behind what is owed to people who are signed in.
        let by_anybody = super::is_anybodys(case.row.source);
        let rank = if by_anybody { MailRank::Notice } else { MailRank::Account };
        if by_anybody && tx.outbox_waiting().await? >= waiting_max(rank) {
            return Ok(false);
        }
        Ok(tx.outbox_add(NewMail::new(rank, &key, &body)).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_words_and_every_jurisdiction_an_authority() {
        for name in REASONS {
            assert!(check_reason(name).is_ok());
        }
        assert!(check_reason("because").is_err());
        let known = authorities().expect("profiles");
        let codes: Vec<&str> = known.iter().map(|(code, _)| code.as_str()).collect();
        assert_eq!(codes, ["GB", "EU", "US-CA", "JP", "KR", "TW"]);
        assert!(known.iter().all(|(_, text)| text.contains("https")));
    }
}
