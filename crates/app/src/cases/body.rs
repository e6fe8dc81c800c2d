//! What is stored of a case beside its clocks, and how it changes. Texts are a person's own words
//! or an officer's; they and the address go with the account, or when the case ends after that.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use veritwin_domain::{DestructionId, Timestamp, UserId};
use veritwin_governance::Language;
use veritwin_metastore::{CaseKind, CaseState, StoredCase};

use super::clock::{Alarm, Clocks, LAPSES_AFTER, VERIFIED_WITHIN};
use crate::destruction_certificate::Certificate;
use crate::rights::bounded;
use crate::{Error, Result};

/// Most lines of a case's history.
const EVENTS_MAX: usize = 300;
/// Above this nobody notes anything more: what is left is for clocks and for the answer.
const NOTES_MAX: usize = 250;

/// That it is known who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verified {
    pub(crate) at: i64,
    /// `session`, `code`, `document` or `known`.
    pub(crate) how: String,
    /// The officer who has seen it.
    pub(crate) by: Option<String>,
}

/// A code that was mailed and can still be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MailedCode {
    /// The keyed digest of the code, in hexadecimal.
    pub(crate) mac: String,
    pub(crate) until: i64,
    pub(crate) tries: u32,
    /// How often it was used.
    #[serde(default)]
    pub(crate) fetched: u32,
}

/// A time in which the clock stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pause {
    pub(crate) from: i64,
    pub(crate) to: Option<i64>,
}

/// That it takes longer, as the person was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Extension {
    pub(crate) until: i64,
    pub(crate) reason: String,
    pub(crate) told_at: i64,
}

/// Why something is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    pub(crate) text: String,
    /// The authority that the letter names.
    pub(crate) authority: String,
}

/// A line of a case's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CaseEvent {
    pub(crate) at: i64,
    pub(crate) kind: String,
    pub(crate) by: Option<String>,
    pub(crate) text: Option<String>,
}

/// A step of an erasure that is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepDone {
    pub(crate) name: String,
    pub(crate) at: i64,
    /// How much it met, by store.
    pub(crate) met: Vec<(String, u64)>,
}

/// What is stored of a case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CaseBody {
    /// In which language letters are; of older ones, English.
    pub(crate) language: Option<String>,
    /// Where answers go.
    pub(crate) email: Option<String>,
    /// How personal streams name the person.
    pub(crate) person: Option<String>,
    pub(crate) text: String,
    /// Of an objection: what stops.
    pub(crate) purpose: Option<String>,
    /// Who made it, as records name actors.
    pub(crate) made_by: String,
    pub(crate) acknowledged_at: Option<i64>,
    pub(crate) verified: Option<Verified>,
    /// The account that the address belongs to, until it is shown that it is the writer's. Letters
    /// go to the address that it has, not to the one that somebody wrote.
    pub(crate) held: Option<UserId>,
    pub(crate) code: Option<MailedCode>,
    /// A code by which the copy can be fetched without an account.
    pub(crate) download: Option<MailedCode>,
    pub(crate) pauses: Vec<Pause>,
    pub(crate) extension: Option<Extension>,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) answer: Option<String>,
    pub(crate) events: Vec<CaseEvent>,
    /// Alarms that were raised.
    pub(crate) alarms: Vec<String>,
    pub(crate) steps: Vec<StepDone>,
    pub(crate) destruction: Option<DestructionId>,
    pub(crate) certificate: Option<Certificate>,
    pub(crate) ledger_index: Option<u64>,
    /// What stands for the person once their data is gone.
    pub(crate) pseudonym: Option<String>,
    /// The account that it was about is gone: with its end the rest goes that names somebody.
    pub(crate) account_ended: bool,
}

/// A case with its body open.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) row: StoredCase,
    pub(crate) body: CaseBody,
}

impl Case {
    /// In which language letters are.
    pub(crate) fn language(&self) -> Language {
        let chosen = self.body.language.as_deref().and_then(|tag| tag.parse().ok());
        chosen.unwrap_or(Language::English)
    }

    /// As it was stored.
    pub(crate) fn read(row: StoredCase) -> Result<Self> {
        let damaged = |_| Error::Internal("a case is damaged".to_owned());
        let body = serde_json::from_slice(&row.body).map_err(damaged)?;
        Ok(Self { row, body })
    }

    /// As it is stored, with its next look worked out.
    pub(crate) fn to_store(&self, now: Timestamp) -> Result<StoredCase> {
        let internal = |error: serde_json::Error| Error::Internal(error.to_string());
        let body = serde_json::to_vec(&self.body).map_err(internal)?;
        let closed_at = self.row.closed_at.or(self.row.state.is_closed().then_some(now));
        let next_at = match self.row.state {
            state if state.is_closed() => None,
            // Who was told waits for nothing.
            _ if self.told_at().is_some() => None,
            _ => self.clocks().next(&self.body.alarms),
        };
        Ok(StoredCase { body, closed_at, next_at, ..self.row.clone() })
    }

    /// What its clocks go by.
    pub(crate) fn clocks(&self) -> Clocks {
        let open = self.body.pauses.iter().find(|pause| pause.to.is_none());
        Clocks {
            received_at: self.row.received_at,
            answer_by: self.row.answer_by,
            is_acknowledged: self.body.acknowledged_at.is_some(),
            verifying_since: open.map(|pause| Timestamp::from_micros(pause.from)),
            lapses_at: self.lapses_at(),
        }
    }

    /// Whether an address is the one that it was made with.
    pub(crate) fn is_of(&self, email: &str) -> bool {
        let own = self.body.email.as_deref();
        own.is_some_and(|own| own.trim().eq_ignore_ascii_case(email.trim()))
    }

    /// Whether it came from an address that nobody here is known under, and nothing has shown yet
    /// whose it is: anybody can make up as many as they like.
    pub(crate) fn is_strangers(&self) -> bool {
        let is_known = self.row.user.is_some() || self.body.held.is_some();
        super::is_anybodys(self.row.source)
            && !is_known
            && self.body.verified.is_none()
            && !self.body.account_ended
    }

    /// When a stranger's request ends without proof: some time after the last thing that anybody
    /// did about it. A complaint needs nobody's identity, and waits for its answer.
    pub(crate) fn lapses_at(&self) -> Option<Timestamp> {
        if !self.is_strangers() || self.row.kind == CaseKind::Complaint {
            return None;
        }
        let done = self.body.events.iter().filter(|event| !Alarm::is_named(&event.kind));
        let last = done.map(|event| Timestamp::from_micros(event.at)).max();
        Some(last.unwrap_or(self.row.received_at).saturating_add(LAPSES_AFTER))
    }

    /// How long its clock has stood, up to a moment; at most so long as somebody has to show who
    /// they are.
    pub(crate) fn stood(&self, now: Timestamp) -> Duration {
        let length = |pause: &Pause| {
            let to = pause.to.map_or(now, Timestamp::from_micros);
            to.since(Timestamp::from_micros(pause.from)).min(VERIFIED_WITHIN)
        };
        self.body.pauses.iter().map(length).sum()
    }

    /// When it has to be answered, as far as is known now.
    pub(crate) fn answer_by(&self, now: Timestamp) -> Timestamp {
        let open = self.clocks().verifying_since;
        open.map_or(self.row.answer_by, |since| {
            self.row.answer_by.saturating_add(now.since(since).min(VERIFIED_WITHIN))
        })
    }

    /// Adds a line to its history.
    pub(crate) fn note(
        &mut self,
        now: Timestamp,
        kind: &str,
        (by, text): (Option<String>, Option<String>),
    ) -> Result<()> {
        let max = if kind == "note" { NOTES_MAX } else { EVENTS_MAX };
        bounded("case_events_max", max, self.body.events.len() + 1)?;
        let at = now.as_micros();
        self.body.events.push(CaseEvent { at, kind: kind.to_owned(), by, text });
        Ok(())
    }

    /// Lets the clock stand until it is known who asks: once, and not when the time to answer is
    /// over.
    pub(crate) fn pause(&mut self, now: Timestamp) {
        if self.body.pauses.is_empty() && now <= self.row.answer_by {
            self.body.pauses.push(Pause { from: now.as_micros(), to: None });
            self.row.state = CaseState::Verifying;
        }
    }

    /// It is known who asks: the clock goes on.
    pub(crate) fn verify(&mut self, now: Timestamp, how: &str, by: Option<String>) {
        let answer_by = self.answer_by(now);
        if answer_by != self.row.answer_by {
            self.forget_answer_alarms();
        }
        self.row.answer_by = answer_by;
        for pause in &mut self.body.pauses {
            pause.to.get_or_insert(now.as_micros());
        }
        self.body.code = None;
        self.body.verified = Some(Verified { at: now.as_micros(), how: how.to_owned(), by });
        if self.row.state == CaseState::Verifying {
            self.row.state = CaseState::Open;
        }
    }

    /// The account that it is about goes. What is open still has to be answered, at its address.
    pub(crate) fn end_account(&mut self, now: Timestamp) {
        let id = self.row.user.take().or(self.body.held.take());
        self.body.pseudonym = self.body.pseudonym.take().or(id.map(|id| id.to_string()));
        self.body.account_ended = true;
        if self.is_limit() && self.row.state != CaseState::Refused {
            self.row.state = CaseState::Withdrawn;
        }
        // A history that is full stops nobody from being forgotten.
        let _ = self.note(now, "account_ended", (None, None));
    }

    /// Takes out who it was about: address, name and words. What was asked and done stays.
    pub(crate) fn forget(&mut self) {
        self.row.address = None;
        let body = &mut self.body;
        (body.email, body.person) = (None, None);
        if body.certificate.is_none() {
            // What is said of an erasure names nobody.
            body.answer = None;
        }
        (body.code, body.download) = (None, None);
        body.text.clear();
        body.events.iter_mut().for_each(|event| event.text = None);
        if let Some(refusal) = &mut body.refusal {
            refusal.text.clear();
        }
        if let Some(extension) = &mut body.extension {
            extension.reason.clear();
        }
    }

    /// The time to answer has moved: its alarms are raised again.
    pub(crate) fn forget_answer_alarms(&mut self) {
        self.body.alarms.retain(|alarm| !alarm.starts_with("answer_"));
    }

    /// Refuses to act on a case that is closed, or under way.
    pub(crate) fn check_open(&self) -> Result<()> {
        match self.row.state {
            CaseState::Verifying | CaseState::Open => Ok(()),
            CaseState::CarryingOut => {
                Err(Error::Conflict("what was asked for is being done".to_owned()))
            }
            _ => Err(Error::Conflict("the case is closed".to_owned())),
        }
    }

    /// Refuses to do anything for somebody of whom it is not known who they are.
    pub(crate) fn check_verified(&self) -> Result<()> {
        if self.body.verified.is_some() && self.row.state != CaseState::Verifying {
            return Ok(());
        }
        let detail = "first make sure who asks: nothing is disclosed or changed before";
        Err(Error::Conflict(detail.to_owned()))
    }

    /// Whether it stops something.
    pub(crate) const fn is_limit(&self) -> bool {
        matches!(self.row.kind, CaseKind::Restriction | CaseKind::Objection)
    }

    /// Whether data of somebody leaves by this case.
    pub(crate) const fn gives_copy(&self) -> bool {
        matches!(self.row.kind, CaseKind::Access | CaseKind::Portability)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use veritwin_domain::CaseId;
    use veritwin_metastore::CaseSource;

    use super::*;
    use crate::cases::clock::answer_by;

    const DAY: Duration = Duration::from_secs(86_400);

    pub(crate) fn case(received_at: Timestamp) -> Case {
        let row = StoredCase {
            id: CaseId::from_bytes([1; 16]),
            kind: CaseKind::Access,
            state: CaseState::Open,
            source: CaseSource::Form,
            address: None,
            user: None,
            mail: None,
            body: Vec::new(),
            received_at,
            answer_by: answer_by(received_at, Duration::ZERO),
            next_at: None,
            closed_at: None,
            version: 1,
        };
        Case { row, body: CaseBody::default() }
    }

    #[test]
    fn the_clock_stands_only_while_it_is_not_known_who_asks() {
        let start = Timestamp::parse_rfc3339("2027-01-31T09:00:00Z").expect("a time");
        let due = Timestamp::parse_rfc3339("2027-02-28T09:00:00Z").expect("a time");
        let mut one = case(start);
        one.pause(start);
        assert!(one.check_verified().is_err());
        let later = start.saturating_add(DAY * 3);
        assert_eq!(one.answer_by(later), due.saturating_add(DAY * 3));
        one.verify(later, "code", None);
        assert_eq!(one.row.state, CaseState::Open);
        assert!(one.check_verified().is_ok());
        assert_eq!(one.row.answer_by, due.saturating_add(DAY * 3));
        // It stands once.
        one.pause(later);
        assert_eq!(one.row.state, CaseState::Open);
        // Later it goes on.
        assert_eq!(one.answer_by(later.saturating_add(DAY)), due.saturating_add(DAY * 3));
        let stored = one.to_store(later).expect("stored");
        assert!(stored.next_at.is_some_and(|at| at < one.row.answer_by));
        one.row.state = CaseState::Refused;
        let closed = one.to_store(later).expect("stored");
        assert_eq!((closed.next_at, closed.closed_at), (None, Some(later)));
        assert_eq!(Case::read(closed).expect("read").body, one.body);
    }

    #[test]
    fn only_what_came_from_nobody_who_is_known_ends_by_itself() {
        let start = Timestamp::parse_rfc3339("2027-03-01T09:00:00Z").expect("a time");
        let day = |days: u32| start.saturating_add(DAY * days);
        let mut one = case(start);
        one.note(start, "received", (None, None)).expect("a line");
        assert_eq!(one.lapses_at(), Some(day(14)));
        assert_eq!(one.to_store(start).expect("stored").next_at, Some(day(5)));
        // What somebody did about it gives it time, an alarm gives none.
        one.note(day(3), "mail", (None, None)).expect("a line");
        one.note(day(5), "acknowledge_soon", (None, None)).expect("a line");
        assert_eq!(one.lapses_at(), Some(day(17)));
        let lapses = |change: &dyn Fn(&mut Case)| {
            let mut other = one.clone();
            change(&mut other);
            other.lapses_at()
        };
        let held = UserId::from_bytes([1; 16]);
        assert_eq!(lapses(&|case| case.body.held = Some(held)), None);
        assert_eq!(lapses(&|case| case.row.user = Some(held)), None);
        assert_eq!(lapses(&|case| case.row.kind = CaseKind::Complaint), None);
        assert_eq!(lapses(&|case| case.row.source = CaseSource::Officer), None);
        assert_eq!(lapses(&|case| case.verify(start, "document", None)), None);
    }

    #[test]
    fn a_history_has_an_end() {
        let mut one = case(Timestamp::from_micros(0));
        let full =
            std::iter::repeat_with(|| one.note(Timestamp::from_micros(0), "note", (None, None)))
                .take_while(Result::is_ok)
                .count();
        assert_eq!(full, NOTES_MAX);
        assert!(one.note(Timestamp::from_micros(0), "refused", (None, None)).is_ok());
    }
}
