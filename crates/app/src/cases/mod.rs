//! Requests of data subjects (promises P40 to P48): each is a case with clocks, of a person whose
//! identity is shown before anything is disclosed or changed, and of which a letter says what came
//! of it. What happens by itself is in `tend`, what is done with data in `fulfil`.

pub(crate) mod body;
pub(crate) mod clock;
mod desk;
pub(crate) mod erasure;
mod forget;
mod form;
mod fulfil;
pub(crate) mod intake;
mod letter_words;
pub(crate) mod letters;
mod mailbox;
mod mailbox_progress;
mod officer_words;
mod own;
mod stay_words;
mod tend;

use std::time::Duration;

use veritwin_access::{Kind, Resource};
use veritwin_domain::{CaseId, OpContext, Purpose, Secret, Timestamp, UserId};
use veritwin_keys::{constant_time_eq, hmac_sha256};
use veritwin_metastore::{CaseKind, CaseSource, CaseState, StoredCase, TenantTx};

use crate::activity::actor_text;
use crate::model::{CaseEventView, CaseStepView, CaseView};
use crate::records::Names;
use crate::rights::bounded;
use crate::tree::over;
use crate::{App, Error, Result};
use body::{Case, CaseBody, MailedCode};
use clock::{ACKNOWLEDGE_WITHIN, answer_by};
use form::Held;

/// Most cases of a tenant that are open at once.
const CASES_OPEN_MAX: u64 = 2_000;
/// So many are open when none is taken any more that came by the form or by mail: who is signed in,
/// and whoever writes one down at the desk, is kept out by nobody.
const ANYBODYS_OPEN_MAX: u64 = 1_500;
/// Most open cases that came by the form, and by mail, from addresses that nobody here is known
/// under, and as many complaints: anybody can make up such addresses, and keeps nobody out by it
/// who is known.
const STRANGERS_OPEN_MAX: usize = 100;
/// Most cases by the form, and by mail, of one address.
const FORMS_OF_ADDRESS_MAX: usize = 3;
/// Longest text of a request, answer or note, in characters.
const TEXT_CHARS_MAX: usize = 4000;
/// How long a mailed code can be shown.
const CODE_LASTS: Duration = Duration::from_secs(24 * 3600);
/// How long a copy can be fetched by its code.
pub(crate) const DOWNLOAD_LASTS: Duration = Duration::from_secs(14 * 86_400);
/// Wrong codes that a case takes.
const CODE_TRIES_MAX: u32 = 5;
/// Of the platform's secret that codes are kept under.
const CODE_LABEL: &str = "rights case code v1";
/// How long a closed case is kept.
pub(crate) const CASES_KEPT: Duration = Duration::from_secs(731 * 86_400);

/// How often one code hands a copy over.
const FETCHES_MAX: u32 = 3;

/// The purposes to which one can object: what is shown of twins, and mails and messages that are
/// not owed.
const OBJECTED_TO: [Purpose; 2] = [Purpose::TwinBuilding, Purpose::ServiceCommunication];

/// What a new case is made of.
struct NewCase {
    kind: CaseKind,
    source: CaseSource,
    user: Option<UserId>,
    mail: Option<[u8; 32]>,
    received_at: Timestamp,
    body: CaseBody,
}

/// Whether anybody on the internet can bring in requests that way.
pub(crate) const fn is_anybodys(source: CaseSource) -> bool {
    matches!(source, CaseSource::Form | CaseSource::Mail)
}

fn resource(context: &OpContext, id: CaseId) -> Resource {
    Resource::one(context.tenant, Kind::Case, id.as_bytes())
}

/// A right by its name.
fn kind_of(name: &str) -> Result<CaseKind> {
    CaseKind::parse(name).ok_or_else(|| {
        let names: Vec<&str> = CaseKind::ALL.iter().map(|kind| kind.as_str()).collect();
        Error::invalid_at("kind", format!("must be one of {}", names.join(", ")))
    })
}

/// Text that a person wrote.
fn words(field: &'static str, text: &Secret<String>, chars_min: usize) -> Result<String> {
    let text = text.expose().trim();
    let has_control = |c: char| c.is_control() && c != '\n' && c != '\r' && c != '\t';
    let chars = text.chars().count();
    if chars < chars_min || chars > TEXT_CHARS_MAX || text.chars().any(has_control) {
        let detail = format!("needs {chars_min} to {TEXT_CHARS_MAX} characters of plain text");
        return Err(Error::invalid_at(field, detail));
    }
    Ok(text.to_owned())
}

/// The purpose that an objection is about; none for other rights.
fn purpose_of(kind: CaseKind, purpose: Option<&str>) -> Result<Option<String>> {
    if kind != CaseKind::Objection {
        return Ok(None);
    }
    let found = purpose.and_then(|name| name.parse::<Purpose>().ok());
    let found = found.filter(|purpose| OBJECTED_TO.contains(purpose)).ok_or_else(|| {
        let names = OBJECTED_TO.map(Purpose::as_str).join(", ");
        Error::invalid_at("purpose", format!("must be one of {names}"))
    })?;
    Ok(Some(found.as_str().to_owned()))
}

fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// A case as people see it.
fn view(case: Case, names: &Names, now: Timestamp) -> CaseView {
    let (is_paused, answer_by) = (case.clocks().verifying_since.is_some(), case.answer_by(now));
    let Case { row, body } = case;
    let shown = |actor: String| names.get(&actor).cloned().unwrap_or(actor);
    let event = |one: body::CaseEvent| CaseEventView {
        at: time(one.at),
        kind: one.kind,
        by: one.by.map(&shown),
        text: one.text,
    };
    let step =
        |one: body::StepDone| CaseStepView { name: one.name, at: time(one.at), met: one.met };
    let subject = body.pseudonym.or_else(|| body.email.clone()).or_else(|| body.person.clone());
    let subject = subject.or_else(|| row.user.map(|user| user.to_string()));
    CaseView {
        id: row.id,
        kind: row.kind.as_str(),
        state: row.state.as_str(),
        source: row.source.as_str(),
        subject: Secret::new(subject.unwrap_or_default()),
        user: row.user,
        person: body.person.map(Secret::new),
        text: Secret::new(body.text),
        purpose: body.purpose,
        received_at: row.received_at,
        acknowledge_by: row.received_at.saturating_add(ACKNOWLEDGE_WITHIN),
        acknowledged_at: body.acknowledged_at.map(time),
        answer_by,
        is_paused,
        verified: body.verified.map(|one| (one.how, time(one.at))),
        extension: body.extension.map(|one| (time(one.until), one.reason)),
        alarm: body.alarms.into_iter().next_back(),
        refusal: body.refusal.map(|one| (one.reason, one.text, one.authority)),
        answer: body.answer,
        events: body.events.into_iter().map(event).collect(),
        steps: body.steps.into_iter().map(step).collect(),
        destruction: body.destruction,
        has_certificate: body.certificate.is_some(),
        ledger_index: body.ledger_index,
        closed_at: row.closed_at,
        version: row.version,
    }
}

/// The cases of an address, newest first. Addresses that are found by the same index and are others
/// all the same are left out.
async fn cases_of_email(tx: &TenantTx, email: &str) -> Result<Vec<StoredCase>> {
    let mut theirs = Vec::new();
    for row in tx.cases_of_address(tx.subject_index(email)?).await? {
        let case = Case::read(row)?;
        if case.is_of(email) {
            theirs.push(case.row);
        }
    }
    Ok(theirs)
}

/// Refuses one more request from an address that nobody here is known under, where as many wait as
/// may.
async fn check_strangers(tx: &TenantTx, (source, kind): (CaseSource, CaseKind)) -> Result<()> {
    let is_complaint = |kind: CaseKind| kind == CaseKind::Complaint;
    let mut waiting = 0;
    for row in tx.cases_without_account(source).await? {
        let is_alike = is_complaint(row.kind) == is_complaint(kind);
        if is_alike && Case::read(row)?.is_strangers() {
            waiting += 1;
        }
    }
    bounded("rights_strangers_open_max", STRANGERS_OPEN_MAX, waiting + 1)
}

impl App {
    /// A new case with its first line; nothing is stored yet.
    async fn open_case(&self, tx: &TenantTx, context: &OpContext, new: NewCase) -> Result<Case> {
        let source = new.source;
        let max = if is_anybodys(source) { ANYBODYS_OPEN_MAX } else { CASES_OPEN_MAX };
        let open = tx.cases_open(None).await?;
        if open >= max {
            return Err(over("rights_cases_open_max", max, open + 1));
        }
        let email = new.body.email.as_deref();
        if let Some(email) = email.filter(|_| is_anybodys(source)) {
            let theirs = cases_of_email(tx, email).await?;
            let is_form = |one: &&StoredCase| one.source == source && !one.state.is_closed();
            let forms = theirs.iter().filter(is_form).count();
            bounded("rights_forms_of_address_max", FORMS_OF_ADDRESS_MAX, forms + 1)?;
        }
        let address = email.map(|email| tx.subject_index(email)).transpose()?;
        let row = StoredCase {
            id: CaseId::generate(context.at, self.rng()),
            kind: new.kind,
            state: CaseState::Open,
            source: new.source,
            address,
            user: new.user,
            mail: new.mail,
            body: Vec::new(),
            received_at: new.received_at,
            answer_by: answer_by(new.received_at, Duration::ZERO),
            next_at: None,
            closed_at: None,
            version: 1,
        };
        let mut case = Case { row, body: new.body };
        let by = Some(actor_text(&context.actor.kind));
        case.note(context.at, "received", (by, None))?;
        Ok(case)
    }

    /// A request of nobody, opened as any other is, for a check that stores nothing of it.
    pub(crate) async fn open_case_of_nobody(
        &self,
        tx: &TenantTx,
        context: &OpContext,
    ) -> Result<Case> {
        let (kind, source, body) = (CaseKind::Access, CaseSource::Officer, CaseBody::default());
        let received_at = context.at;
        let new = NewCase { kind, source, user: None, mail: None, received_at, body };
        self.open_case(tx, context, new).await
    }

    /// A case as it is stored, with its next look worked out.
    fn scheduled(&self, case: &Case, now: Timestamp) -> Result<StoredCase> {
        let stored = case.to_store(now)?;
        #[cfg(feature = "test-controls")]
        let stored = if self.0.promises.forgets_clocks() {
            StoredCase { next_at: None, ..stored }
        } else {
            stored
        };
        Ok(stored)
    }

    /// Stores a case that was just made.
    async fn create_case(&self, tx: &TenantTx, case: &Case, now: Timestamp) -> Result<()> {
        Ok(tx.case_create(&self.scheduled(case, now)?).await?)
    }

    /// Stores a case that was changed; its version is the next one then.
    async fn save_case(&self, tx: &TenantTx, case: &mut Case, now: Timestamp) -> Result<()> {
        if case.body.account_ended && case.row.state.is_closed() {
            case.forget();
        }
        let stored = self.scheduled(case, now)?;
        tx.case_update(&stored).await?;
        case.row = StoredCase { version: stored.version + 1, ..stored };
        Ok(())
    }

    /// Tells the person that their request came. Who is signed in, or has sent the form, sees it:
    /// either is the acknowledgement.
    async fn acknowledge_case(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        case: &mut Case,
    ) -> Result<bool> {
        let letter = letters::acknowledgement(case, context.at);
        let is_mailed = self.mail_subject(tx, context, (&*case, &letter)).await?;
        let is_shown = matches!(case.row.source, CaseSource::Account | CaseSource::Form);
        if is_mailed || is_shown {
            case.body.acknowledged_at = Some(context.at.as_micros());
            case.note(context.at, "acknowledged", (None, None))?;
        }
        Ok(is_mailed || is_shown)
    }

    /// A fresh code for a case, and what is stored of it.
    fn fresh_code(&self, id: CaseId, until: Timestamp) -> Result<(String, MailedCode)> {
        let code = format!("{:08}", self.rng().next_u64() % 100_000_000);
        let mac = self.code_mac(id, &code)?;
        Ok((code, MailedCode { mac, until: until.as_micros(), tries: 0, fetched: 0 }))
    }

    fn code_mac(&self, id: CaseId, code: &str) -> Result<String> {
        let secret = self.0.keys.platform_subkey(CODE_LABEL)?;
        Ok(hex::encode(hmac_sha256(secret.expose(), format!("{id} {code}").as_bytes())))
    }

    /// Whether a code is the one that was mailed. Of a wrong one a try is counted.
    fn is_code(
        &self,
        (id, stored): (CaseId, &mut Option<MailedCode>),
        code: &str,
        now: Timestamp,
    ) -> Result<bool> {
        let Some(known) = stored else { return Ok(false) };
        if known.tries >= CODE_TRIES_MAX || now > time(known.until) {
            return Ok(false);
        }
        let digits: String = code.chars().filter(char::is_ascii_digit).collect();
        let is_right =
            constant_time_eq(self.code_mac(id, &digits)?.as_bytes(), known.mac.as_bytes());
        if !is_right {
            known.tries += 1;
        }
        Ok(is_right)
    }

    /// Mails a code to the account that is held under the address of a case, at the address that
    /// the account has: all further letters go there, too. The clock stands until it is shown. A
    /// complaint needs no identity. Whose account it is was looked up before a turn to write was
    /// taken.
    async fn ask_identity(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (case, held): (&mut Case, Option<&Held>),
    ) -> Result<bool> {
        if case.row.kind == CaseKind::Complaint || case.body.verified.is_some() {
            return Ok(false);
        }
        let Some(held) = held else { return Ok(false) };
        // Whose it is counts once the code was shown.
        case.body = std::mem::take(&mut case.body).held_by(Some(held));
        let (code, stored) = self.fresh_code(case.row.id, context.at.saturating_add(CODE_LASTS))?;
        let letter = letters::code(case, &code, CODE_LASTS.as_secs() / 3600);
        if !self.mail_subject(tx, context, (&*case, &letter)).await? {
            return Ok(false);
        }
        case.body.code = Some(stored);
        case.pause(context.at);
        case.note(context.at, "code_sent", (None, None))?;
        Ok(true)
    }

    /// Queues a letter; one that cannot be mailed stands in the history, to be handed over.
    async fn send_letter(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (case, letter): (&mut Case, &letters::Letter),
    ) -> Result<()> {
        let is_mailed = self.mail_subject(tx, context, (&*case, letter)).await?;
        if !is_mailed && case.row.source != CaseSource::Account {
            case.note(context.at, "letter", (None, Some(letter.text.clone())))?;
        }
        Ok(())
    }
}
