//! What is written to people about their requests. Every refusal is made here and names the
//! authority to complain to; no letter holds what was asked for but its kind.

use veritwin_domain::{OpContext, Timestamp};
use veritwin_metastore::{CaseKind, MailRank, NewMail, TenantTx};

use super::body::Case;
use crate::alert_mail::waiting_max;
use crate::mail::{MailPayload, mail_key};
use crate::mail_kinds::MessageKind;
use crate::provision::PLATFORM_TENANT;
use crate::wording::moment;
use crate::{App, Error, Result};

/// Why something may be refused: the name, and what the letter says.
const REASONS: [(&str, &str); 6] = [
    ("not_verified", "we could not make sure that the request comes from you (Article 12(6))"),
    ("unfounded", "the request is manifestly unfounded (Article 12(5))"),
    ("excessive", "the request is excessive, in particular because it repeats (Article 12(5))"),
    ("not_held", "we hold no data about you that this right reaches"),
    ("legal_duty", "a legal duty, or a legal claim, keeps us from it (Articles 17(3) and 23)"),
    ("others_rights", "it would adversely affect the rights of others (Article 15(4))"),
];

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

/// What a letter says of a reason.
pub(super) fn reason(name: &str) -> Result<&'static str> {
    let found = REASONS.into_iter().find(|(known, _)| *known == name);
    found.map(|(_, text)| text).ok_or_else(|| {
        let names: Vec<&str> = REASONS.into_iter().map(|(known, _)| known).collect();
        Error::invalid_at("reason", format!("must be one of {}", names.join(", ")))
    })
}

/// Which right it is, in a sentence.
const fn right(kind: CaseKind) -> &'static str {
    match kind {
        CaseKind::Access => "a copy of your data",
        CaseKind::Rectification => "the correction of your data",
        CaseKind::Erasure => "the erasure of your data",
        CaseKind::Restriction => "the restriction of what is done with your data",
        CaseKind::Portability => "a copy of your data that other programs read",
        CaseKind::Objection => "that a use of your data stops",
        CaseKind::Complaint => "that we look into your complaint",
    }
}

/// A letter: its subject and its text.
pub(crate) struct Letter {
    pub(crate) name: &'static str,
    pub(crate) subject: String,
    pub(crate) text: String,
}

fn subject(case: &Case, what: &str) -> String {
    format!("{what} [{}]", case.row.id)
}

/// That it came, and until when it is answered.
pub(crate) fn acknowledgement(case: &Case, now: Timestamp) -> Letter {
    let (kind, by) = (right(case.row.kind), moment(case.answer_by(now)));
    let stands = if case.clocks().verifying_since.is_some() {
        " We first have to make sure that it is you who asks; the time for that is added."
    } else {
        ""
    };
    Letter {
        name: "acknowledgement",
        subject: subject(case, "We have your request"),
        text: format!(
            "You asked for {kind}. We have your request since {}, and answer it by {by} at the \
             latest.{stands}\n\nThe number of your request is {}. Keep it in the subject when you \
             write to us about it.\n",
            moment(case.row.received_at),
            case.row.id,
        ),
    }
}

/// The code that shows that an address is the person's.
pub(crate) fn code(case: &Case, code: &str, hours: u64) -> Letter {
    Letter {
        name: "code",
        subject: subject(case, "Show that it is you"),
        text: format!(
            "Somebody, probably you, asked for {} with this address. So that we give nothing to \
             anybody else, show that it is you: the code is\n\n{code}\n\nIt works for {hours} \
             hours, on the page for requests (/requests), with the number {} of your request. If it \
             was not you, ignore this mail: nothing happens without the code.\n",
            right(case.row.kind),
            case.row.id,
        ),
    }
}

/// That a restriction or an objection ends.
pub(crate) fn lifted(case: &Case, authority: &str) -> Letter {
    Letter {
        name: "lifted",
        subject: subject(case, "What you asked for ends"),
        text: format!(
            "You asked for {}. That ends now.\n\nIf you think that we are wrong, you can complain \
             to {authority}\n",
            right(case.row.kind),
        ),
    }
}

/// That it takes longer, and why.
pub(crate) fn extension(case: &Case, until: Timestamp, reason: &str, authority: &str) -> Letter {
    Letter {
        name: "extension",
        subject: subject(case, "Your request takes longer"),
        text: format!(
            "You asked for {}. It takes us longer than we said: we answer by {}. The \
             reason:\n\n{reason}\n\nYou can complain about this to {authority}\n",
            right(case.row.kind),
            moment(until),
        ),
    }
}

/// That it is not done, why, and where to complain.
pub(crate) fn refusal(case: &Case, why: &str, text: &str, authority: &str) -> Letter {
    let more = if text.is_empty() { String::new() } else { format!("\n\n{text}") };
    Letter {
        name: "refusal",
        subject: subject(case, "Your request"),
        text: format!(
            "You asked for {}. We do not do that, because {why}.{more}\n\nIf you think that we are \
             wrong, you can complain to {authority}\n\nYou can also go to court.\n",
            right(case.row.kind),
        ),
    }
}

/// That a refusal is taken back, and until when it is answered now.
pub(crate) fn reopened(case: &Case, now: Timestamp) -> Letter {
    Letter {
        name: "reopened",
        subject: subject(case, "We look at your request again"),
        text: format!(
            "You asked for {}. We had refused that, and were wrong: your request is open again. It \
             has to be answered by {}.\n",
            right(case.row.kind),
            moment(case.answer_by(now)),
        ),
    }
}

/// The answer; with a code where the copy can be fetched by it.
pub(crate) fn answer(case: &Case, text: &str, fetch: Option<&str>) -> Letter {
    let fetch = fetch.map(|code| {
        format!(
            "\n\nYour copy can be fetched for 14 days, on the page for requests \
             (/requests): the number of the request is {}, the code is\n\n{code}",
            case.row.id
        )
    });
    Letter {
        name: "answer",
        subject: subject(case, "The answer to your request"),
        text: format!(
            "You asked for {}.\n\n{text}{}\n",
            right(case.row.kind),
            fetch.unwrap_or_default()
        ),
    }
}

/// That everything is erased: what stays, and why, and how that can be shown.
pub(crate) fn erased(
    case: &Case,
    (stays, is_elsewhere): (&[(&str, &str)], bool),
    (digest, authority): (&str, &str),
) -> Letter {
    let mut kept = String::new();
    for (name, why) in stays {
        kept.push_str(&format!("- {name}: {why}\n"));
    }
    let elsewhere = if is_elsewhere {
        "\nYour account is also used by another organisation, where it stays: ask them.\n"
    } else {
        ""
    };
    Letter {
        name: "erased",
        subject: subject(case, "Your data is erased"),
        text: format!(
            "You asked for {}. It is done: your account here, what we wrote to you and you to us, \
             and the readings about you are gone, and cannot be brought back.\n\nWhat stays, and \
             why:\n\n{kept}{elsewhere}\nThere is a signed certificate. Its SHA-256 is {digest}. \
             This mail is removed on our side once it has left.\n\nIf you think that we are wrong, \
             you can complain to {authority}\n",
            right(case.row.kind),
        ),
    }
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

    /// Queues a letter to whom a case is about; false if there is no address, or no mail.
    pub(crate) async fn mail_subject(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (case, letter): (&Case, &Letter),
    ) -> Result<bool> {
        let Some(to) = case.body.email.clone() else { return Ok(false) };
        if self.0.mailer.is_none() || crate::provision::is_nobodys(context.tenant) {
            return Ok(false);
        }
        let event = format!("case {} {} {}", case.row.id, letter.name, context.at.as_micros());
        let key = mail_key(&event, &to);
        // What they write back is read where requests are.
        let reply_to = self.mailbox_address(tx).await?;
        let mail = MailPayload {
            to,
            subject: letter.subject.clone(),
            text: letter.text.clone(),
            reply_to,
            voice: Some(context.tenant),
            ..MailPayload::of(MessageKind::RightsCase)
        };
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
        for (name, text) in REASONS {
            assert_eq!(reason(name).expect("known"), text);
        }
        assert!(reason("because").is_err());
        let known = authorities().expect("profiles");
        let codes: Vec<&str> = known.iter().map(|(code, _)| code.as_str()).collect();
        assert_eq!(codes, ["GB", "EU", "US-CA", "JP", "KR", "TW"]);
        assert!(known.iter().all(|(_, text)| text.contains("https")));
    }
}
