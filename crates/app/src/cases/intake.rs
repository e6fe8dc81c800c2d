//! What becomes of a mail that came into the mailbox for requests: a case, once, or a line of the
//! case that it names. Nothing is kept of it but who wrote it and what it says; what a machine
//! sent is passed by (RFC 3834). Who wrote it is not known by that: it is shown by a code.

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::Action;
use veritwin_domain::{Actor, ActorKind, CaseId, LimitExceeded, OpContext, Timestamp};
use veritwin_governance::Language;
use veritwin_keys::hmac_sha256;
use veritwin_metastore::{
    CaseKind, CaseSource, RightsMailbox, StoredCase, TenantTx, normalise_email,
};
use veritwin_outbound::received::ReceivedMail;

use super::body::{Case, CaseBody};
use super::form::Held;
use super::{
    FORMS_OF_ADDRESS_MAX, NewCase, TEXT_CHARS_MAX, cases_of_email, check_strangers, resource,
};
use crate::activity::actor_text;
use crate::change::Change;
use crate::languages::language_of;
use crate::mail_bounds::Sender;
use crate::{App, Error, Result};

/// Of the platform's secret that mails are told apart with.
const MAIL_LABEL: &str = "rights mail v1";
/// Most mails that are written into one case.
const MAIL_LINES_MAX: usize = 20;
/// How such a line of a case's history is named.
const MAIL_LINE: &str = "mail";
/// What stands for a text that must not be kept.
const NOT_KEPT: &str = "[The mail holds what is not kept here, such as a card number or a national \
                        id. Read it in the mailbox.]";
/// Which right words are about, the more special ones first; a mail that has none of them asks for
/// a copy until somebody who reads it says otherwise.
const RIGHTS: [(CaseKind, &[&str]); 6] = [
    (CaseKind::Complaint, &["complain", "投訴", "苦情", "불만"]),
    (CaseKind::Objection, &["object to", "objection", "opt out", "反對", "異議", "반대"]),
    (CaseKind::Restriction, &["restrict", "限制處理", "処理の制限", "처리 제한"]),
    (CaseKind::Portability, &["portab", "可攜", "ポータビリティ", "이동권"]),
    (
        CaseKind::Erasure,
        &["erase", "erasure", "delete", "deletion", "刪除", "削除", "消去", "삭제"],
    ),
    (CaseKind::Rectification, &["rectif", "correct", "更正", "訂正", "정정"]),
];

/// What became of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// A case was opened.
    Case(CaseId),
    /// It was written into a case that was there.
    Note,
    /// It is nobody's, a machine's, or was read before.
    Passed,
    /// So many requests wait already: it is read later.
    Full,
}

/// Which right a mail is about, as far as words tell.
fn right_asked(mail: &ReceivedMail) -> CaseKind {
    let said = format!("{} {}", mail.subject, mail.text).to_lowercase();
    let has = |words: &&[&str]| words.iter().any(|word| said.contains(word));
    RIGHTS.iter().find(|(_, words)| has(words)).map_or(CaseKind::Access, |(kind, _)| *kind)
}

/// The language of a mail, as far as its letters tell.
fn written_in(text: &str) -> Option<Language> {
    let has = |range: std::ops::RangeInclusive<char>| text.chars().any(|c| range.contains(&c));
    if has('\u{ac00}'..='\u{d7a3}') {
        Some(Language::Korean)
    } else if has('\u{3040}'..='\u{30ff}') {
        Some(Language::Japanese)
    } else if has('\u{4e00}'..='\u{9fff}') {
        Some(Language::ChineseTraditional)
    } else {
        None
    }
}

/// The numbers of requests that a subject holds.
fn numbers_in(subject: &str) -> impl Iterator<Item = CaseId> {
    let parts = subject.split(|c: char| !c.is_ascii_hexdigit() && c != '-');
    parts.filter(|part| part.len() == 36).filter_map(|part| part.parse().ok())
}

/// What is kept of what a mail says.
fn kept(mail: &ReceivedMail) -> String {
    let whole = format!("{}\n\n{}", mail.subject.trim(), mail.text.trim());
    whole.trim().chars().take(TEXT_CHARS_MAX).collect()
}

impl App {
    /// What tells a mail from others: its id, as long as its sender writes one, with the sender's
    /// address, so that nobody else's mail stands in its way.
    fn mail_digest(&self, from: &str, mail: &ReceivedMail) -> Result<[u8; 32]> {
        let secret = self.0.keys.platform_subkey(MAIL_LABEL)?;
        let told = match &mail.message_id {
            Some(id) => format!("id\0{from}\0{id}"),
            None => format!("text\0{from}\0{}\0{}", mail.subject, mail.text),
        };
        Ok(hmac_sha256(secret.expose(), told.as_bytes()))
    }

    /// Takes a mail in. Up to where the mailbox was read by that is written in the same step.
    #[boxed]
    pub(crate) async fn take_mail(
        &self,
        context: &OpContext,
        (bytes, received_at): (&[u8], Timestamp),
        read: Option<(&RightsMailbox, &str)>,
    ) -> Result<Taken> {
        let mail = ReceivedMail::parse(bytes);
        // A mailbox does not write to itself.
        let own = read.map(|(_, own)| own).unwrap_or_default();
        let counts =
            |from: &String| !from.eq_ignore_ascii_case(own) && normalise_email(from).is_ok();
        let from = mail.from.clone().filter(counts);
        let taken = match from.filter(|_| !mail.is_automatic) {
            Some(from) => {
                let held = self.held_by(context, Some(&from)).await?;
                let tx = self.0.store.begin(context).await?;
                let new = (from.as_str(), held.as_ref(), received_at);
                let taken = self.put_mail(&tx, context, (&mail, new)).await;
                match taken {
                    Ok(taken) => {
                        if let Some((read, _)) = read {
                            tx.mailbox_read(read).await?;
                        }
                        tx.commit().await?;
                        taken
                    }
                    Err(Error::Limit(LimitExceeded { .. })) => Taken::Full,
                    // Nothing would be otherwise the next time.
                    Err(Error::Invalid { .. }) => Taken::Passed,
                    Err(error) => return Err(error),
                }
            }
            None => Taken::Passed,
        };
        if taken == Taken::Passed {
            tracing::debug!(tenant = %context.tenant, "a mail was passed by");
        }
        Ok(taken)
    }

    async fn put_mail(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (mail, (from, held, received_at)): (&ReceivedMail, (&str, Option<&Held>, Timestamp)),
    ) -> Result<Taken> {
        let digest = self.mail_digest(from, mail)?;
        if tx.case_of_mail(digest).await?.is_some() {
            return Ok(Taken::Passed);
        }
        let mut text = kept(mail);
        if self.screening().text(None, &text).is_some() {
            NOT_KEPT.clone_into(&mut text);
        }
        let theirs = cases_of_email(tx, from).await?;
        if let Some(known) = continued(&theirs, &mail.subject) {
            return self.add_mail_line(tx, context, (known, &text)).await;
        }
        let kind = right_asked(mail);
        if held.is_none() {
            check_strangers(tx, (CaseSource::Mail, kind)).await?;
        }
        let language = match written_in(&mail.text) {
            Some(language) => language,
            None => language_of(tx, held.map(|held| held.user)).await?,
        };
        let nobody = Actor::without_roles(ActorKind::Anonymous);
        let body = CaseBody {
            email: Some(from.to_owned()),
            language: Some(language.as_str().to_owned()),
            text,
            purpose: (kind == CaseKind::Objection)
                .then(|| veritwin_domain::Purpose::ServiceCommunication.to_string()),
            made_by: actor_text(&nobody.kind),
            ..CaseBody::default()
        };
        let body = body.held_by(held);
        let (source, mail) = (CaseSource::Mail, Some(digest));
        let new = NewCase { kind, source, user: None, mail, received_at, body };
        let mut case = self.open_case(tx, context, new).await?;
        self.ask_identity(tx, context, (&mut case, held)).await?;
        #[cfg(feature = "test-controls")]
        if self.0.promises.is_sabotaged(48) {
            case.verify(context.at, "known", None);
        }
        self.answer_mail(tx, context, &mut case).await?;
        self.create_case(tx, &case, context.at).await?;
        self.tell_officers_of(tx, context, &case).await?;
        let change = Change::to(json!({"right": kind.as_str(), "source": source.as_str()}));
        let about = resource(context, case.row.id);
        self.record_change(tx, context, Action::RequestWrite, &about, change).await?;
        Ok(Taken::Case(case.row.id))
    }

    /// Tells the sender that it came. An address that anybody may have written gets few mails a
    /// day.
    pub(super) async fn answer_mail(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        case: &mut Case,
    ) -> Result<()> {
        let Some(to) = case.body.email.clone().filter(|_| self.0.mailer.is_some()) else {
            return Ok(());
        };
        let Ok(place) = self.mail_place(Sender::Tenant(context.tenant), &to, context.at) else {
            return Ok(());
        };
        if self.acknowledge_case(tx, context, case).await? {
            place.keep();
        }
        Ok(())
    }

    /// Writes what a mail says into the case that it is about.
    async fn add_mail_line(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (known, text): (&StoredCase, &str),
    ) -> Result<Taken> {
        let mut case = Case::read(known.clone())?;
        // A case holds so many and no more: what comes then is in the mailbox.
        let mails = case.body.events.iter().filter(|event| event.kind == MAIL_LINE).count();
        if mails >= MAIL_LINES_MAX {
            return Ok(Taken::Passed);
        }
        if case.note(context.at, MAIL_LINE, (None, Some(text.to_owned()))).is_err() {
            return Ok(Taken::Passed);
        }
        self.save_case(tx, &mut case, context.at).await?;
        let change = Change::to(json!({"step": "mail"}));
        let about = resource(context, case.row.id);
        self.record_change(tx, context, Action::RequestWrite, &about, change).await?;
        Ok(Taken::Note)
    }
}

/// The case of the same address that a mail goes on with: the one whose number it names, or the
/// newest that is open where there are as many as there may be.
fn continued<'c>(theirs: &'c [StoredCase], subject: &str) -> Option<&'c StoredCase> {
    let open = || theirs.iter().filter(|one| !one.state.is_closed());
    let named: Vec<CaseId> = numbers_in(subject).take(FORMS_OF_ADDRESS_MAX).collect();
    let by_mail = open().filter(|one| one.source == CaseSource::Mail);
    let newest = by_mail.clone().next().filter(|_| by_mail.count() >= FORMS_OF_ADDRESS_MAX);
    open().find(|one| named.contains(&one.id)).or(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(subject: &str, text: &str) -> ReceivedMail {
        ReceivedMail {
            from: Some("ada@people.example".to_owned()),
            message_id: None,
            subject: subject.to_owned(),
            text: text.to_owned(),
            is_automatic: false,
        }
    }

    #[test]
    fn words_say_which_right_it_is() {
        let check = |subject: &str, text: &str, expect: CaseKind| {
            assert_eq!(right_asked(&mail(subject, text)), expect, "{subject} {text}");
        };
        check("My data", "Please send me what you have.", CaseKind::Access);
        check("Please DELETE my account", "", CaseKind::Erasure);
        check("", "請刪除我的資料", CaseKind::Erasure);
        check("訂正のお願い", "", CaseKind::Rectification);
        check("", "처리 제한을 요청합니다", CaseKind::Restriction);
        check("Complaint", "You did not delete it.", CaseKind::Complaint);
    }

    #[test]
    fn letters_tell_the_language() {
        let check = |text: &str, expect: Option<Language>| assert_eq!(written_in(text), expect);
        check("請刪除我的資料", Some(Language::ChineseTraditional));
        check("訂正のお願い", Some(Language::Japanese));
        check("처리 제한을 요청합니다", Some(Language::Korean));
        check("Please send me what you have.", None);
    }

    #[test]
    fn a_number_in_the_subject_is_found() {
        let id = "01900000-0000-7000-8000-000000000001";
        let found: Vec<CaseId> = numbers_in(&format!("Re: We have your request [{id}]")).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].to_string(), id);
        assert_eq!(numbers_in("Re: nothing [0190]").count(), 0);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let long = mail("subject", &"x".repeat(TEXT_CHARS_MAX * 2));
        assert_eq!(kept(&long).chars().count(), TEXT_CHARS_MAX);
        assert_eq!(kept(&mail(" s ", " t ")), "s\n\nt");
    }
}
