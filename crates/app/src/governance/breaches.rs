//! Breaches of personal data (Articles 33 and 34 of the GDPR): the clock of 72 hours from the
//! moment of awareness with its alarms, what has to be known, and how one is closed. A drill is the
//! same in everything but that nothing of it leaves.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{GovernanceId, IncidentId, OpContext, Timestamp};
use veritwin_metastore::{GovernanceKind, TenantTx};
use veritwin_outbound::mail::is_address;

use super::due_words::Due;
use super::{
    NAME_CHARS_MAX, NOTE_CHARS_MAX, TITLE_CHARS_MAX, Thing, author, check_version, page_of, text,
    thing, things, word,
};
use crate::holds::words;
use crate::model::{
    BreachContent, BreachFacts, BreachNoticeView, BreachPlaces, Governed, Page, PageRequest,
};
use crate::{App, Error, Result};

pub(super) const KIND: GovernanceKind = GovernanceKind::Breach;
/// How long an organisation has from the moment of awareness.
pub(super) const CLOCK: Duration = Duration::from_secs(72 * 3600);
/// Hours after awareness at which an alarm is raised while nobody was told yet.
pub(crate) const ALARM_HOURS: [u64; 6] = [24, 48, 60, 66, 70, 72];
const ROLES: [&str; 2] = ["controller", "processor"];
const RISKS: [&str; 4] = ["unknown", "unlikely", "risk", "high"];
/// Longest time back that awareness may lie: older ones are written down elsewhere.
const AWARE_BACK_MAX: Duration = Duration::from_secs(366 * 86_400);

/// What came of what people did with a breach.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Facts {
    pub(super) alarms: Vec<u64>,
    pub(super) notices: Vec<BreachNoticeView>,
    pub(super) conclusion: String,
}

pub(super) type Breach = Thing<BreachContent, Facts>;

pub(super) fn incident_resource(context: &OpContext, id: GovernanceId) -> Resource {
    Resource::one(context.tenant, Kind::Incident, id.as_bytes())
}

/// Whom a breach has to be told to within the 72 hours: a processor tells its controllers.
pub(super) fn first_to_tell(content: &BreachContent) -> &'static str {
    if content.role == "processor" { "controllers" } else { "authority" }
}

fn was_told(breach: &Breach, to: &str) -> bool {
    breach.facts.notices.iter().any(|notice| notice.to == to)
}

pub(super) fn ends_at(content: &BreachContent) -> Option<Timestamp> {
    content.aware_at.map(|at| at.saturating_add(CLOCK))
}

/// When the next alarm is due.
pub(super) fn next_alarm(breach: &Breach) -> Option<Timestamp> {
    let is_open = breach.row.state == "open" || breach.row.state == "told";
    if !is_open || was_told(breach, first_to_tell(&breach.content)) {
        return None;
    }
    let aware_at = breach.content.aware_at?;
    let next = ALARM_HOURS.into_iter().find(|hours| !breach.facts.alarms.contains(hours))?;
    Some(aware_at.saturating_add(Duration::from_secs(next * 3600)))
}

/// The fields that a notice still lacks. In a first notice the numbers may follow (Article 33(4));
/// in every other they are stated.
pub(super) fn missing(
    content: &BreachContent,
    (to, phase): (&str, &str),
    is_late: bool,
) -> Vec<&'static str> {
    let is_first = phase == "first";
    let is_subjects = to == "subjects";
    let is_authority = to == "authority";
    let lacks = [
        ("nature", content.nature.is_empty()),
        ("subjects", content.subjects.is_none() && !is_first && !is_subjects),
        ("records", content.records.is_none() && !is_first && !is_subjects),
        ("contact", content.contact.is_empty()),
        ("consequences", content.consequences.is_empty()),
        ("measures", content.measures.is_empty()),
        ("risk", content.risk == "unknown" && is_authority),
        ("authority", content.authority.is_empty() && is_authority),
        ("authority_email", content.authority_email.is_empty() && is_authority),
        ("late_reason", is_late && content.late_reason.is_empty() && !is_subjects),
    ];
    lacks.into_iter().filter(|(_, lacks)| *lacks).map(|(field, _)| field).collect()
}

fn checked(content: BreachContent, now: Timestamp) -> Result<BreachContent> {
    word("role", &content.role, &ROLES)?;
    word("risk", &content.risk, &RISKS)?;
    let aware_at = content.aware_at.unwrap_or(now);
    if aware_at > now {
        return Err(Error::invalid_at("aware_at", "must not be in the future"));
    }
    if now.since(aware_at) > AWARE_BACK_MAX {
        return Err(Error::invalid_at("aware_at", "at most 366 days ago"));
    }
    let authority_email = content.authority_email.trim();
    if !authority_email.is_empty() && !is_address(authority_email) {
        return Err(Error::invalid_at("authority_email", "expected an address for mail"));
    }
    let authority_email = authority_email.to_owned();
    let long = |field: &'static str, value: &str| text(field, value, NOTE_CHARS_MAX);
    Ok(BreachContent {
        title: words("title", &content.title, TITLE_CHARS_MAX)?,
        aware_at: Some(aware_at),
        nature: long("nature", &content.nature)?,
        contact: text("contact", &content.contact, NAME_CHARS_MAX)?,
        consequences: long("consequences", &content.consequences)?,
        measures: long("measures", &content.measures)?,
        risk_reason: long("risk_reason", &content.risk_reason)?,
        authority: text("authority", &content.authority, NAME_CHARS_MAX)?,
        authority_email,
        late_reason: long("late_reason", &content.late_reason)?,
        ..content
    })
}

fn view(
    breach: Breach,
    known: BreachPlaces,
    now: Timestamp,
) -> Governed<BreachContent, BreachFacts> {
    let ends_at = ends_at(&breach.content);
    let is_late = ends_at.is_some_and(|at| now > at);
    let to = first_to_tell(&breach.content);
    let is_told = was_told(&breach, to);
    let missing = missing(&breach.content, (to, "final"), is_late && !is_told);
    let facts = BreachFacts {
        ends_at,
        missing: missing.into_iter().map(str::to_owned).collect(),
        notices: breach.facts.notices.clone(),
        alarms: breach.facts.alarms.clone(),
        known,
    };
    breach.view(facts)
}

impl App {
    /// The breaches, newest first, a page at a time, drills among them.
    #[boxed]
    pub async fn list_breaches(
        &self,
        context: &OpContext,
        page: &PageRequest,
    ) -> Result<Page<Governed<BreachContent, BreachFacts>>> {
        let all = self.authorize_all(context, Action::IncidentList, Kind::Incident)?;
        let tx = self.0.store.read(context).await?;
        let known = self.breach_places(&tx, context).await?;
        let shown = |breach: Breach| Some(view(breach, known.clone(), context.at));
        let breaches = page_of(&tx, KIND, page, shown).await?;
        self.note(context, Action::IncidentList, &all, "done");
        Ok(breaches)
    }

    /// All of them, oldest first: the register that an authority asks for.
    #[boxed]
    pub async fn breach_register(
        &self,
        context: &OpContext,
    ) -> Result<Vec<Governed<BreachContent, BreachFacts>>> {
        let all = self.authorize_all(context, Action::IncidentList, Kind::Incident)?;
        let tx = self.0.store.read(context).await?;
        let breaches: Vec<Breach> = things(&tx, KIND, None).await?;
        let known = self.breach_places(&tx, context).await?;
        self.note(context, Action::IncidentList, &all, "done");
        let shown = |breach| view(breach, known.clone(), context.at);
        Ok(breaches.into_iter().map(shown).collect())
    }

    /// One breach.
    #[boxed]
    pub async fn breach(
        &self,
        context: &OpContext,
        id: GovernanceId,
    ) -> Result<Governed<BreachContent, BreachFacts>> {
        let resource = incident_resource(context, id);
        self.authorize(context, Action::IncidentRead, &resource)?;
        let tx = self.0.store.read(context).await?;
        let breach: Breach = thing(&tx, KIND, id).await?;
        let known = self.breach_places(&tx, context).await?;
        self.note(context, Action::IncidentRead, &resource, "done");
        Ok(view(breach, known, context.at))
    }

    /// Opens a breach, out of an incident or by hand; its clock runs from the moment of awareness.
    #[boxed]
    pub async fn open_breach(
        &self,
        context: &OpContext,
        content: BreachContent,
    ) -> Result<GovernanceId> {
        self.authorize_all(context, Action::IncidentOpen, Kind::Incident)?;
        let content = checked(content, context.at)?;
        let mut breach = Breach::new(self, context, KIND, (content, Facts::default()), "open");
        breach.row.due_at = next_alarm(&breach);
        let tx = self.0.store.begin(context).await?;
        self.check_breach_places(&tx, context, (&breach.content, None)).await?;
        if let Some(incident) = &breach.content.incident {
            self.note_breach_at(&tx, context, incident, breach.content.is_drill).await?;
        }
        self.put_new(&tx, context, Action::IncidentOpen, &breach).await?;
        tx.commit().await?;
        Ok(breach.row.id)
    }

    async fn note_breach_at(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        incident: &str,
        is_drill: bool,
    ) -> Result<()> {
        let unknown = || Error::invalid_at("incident", "there is no such incident");
        let incident: IncidentId = incident.parse().map_err(|_| unknown())?;
        if crate::error::found(tx.incident(incident).await)?.is_none() {
            return Err(unknown());
        }
        let text = if is_drill {
            "A drill treats this as a breach of personal data."
        } else {
            "It is treated as a breach of personal data."
        };
        let note = ("note", author(context), context.at);
        self.note_incident(tx, incident, note, text.to_owned()).await
    }

    /// Changes what is known of a breach. What it is, and when its clock began, stay.
    #[boxed]
    pub async fn replace_breach(
        &self,
        context: &OpContext,
        id: GovernanceId,
        content: BreachContent,
        expected: Option<i64>,
    ) -> Result<()> {
        self.authorize(context, Action::IncidentUpdate, &incident_resource(context, id))?;
        let tx = self.0.store.begin(context).await?;
        let mut breach: Breach = thing(&tx, KIND, id).await?;
        check_version(breach.row.version, expected)?;
        if breach.row.state == "closed" {
            return Err(Error::Conflict("this breach is closed".to_owned()));
        }
        let before = breach.value();
        let known = &breach.content;
        let content = BreachContent {
            is_drill: known.is_drill,
            aware_at: known.aware_at,
            incident: known.incident.clone(),
            role: known.role.clone(),
            ..content
        };
        self.check_breach_places(&tx, context, (&content, Some(known))).await?;
        // What was true when it was opened is not held against the time that has passed since.
        breach.content = checked(content, known.aware_at.unwrap_or(context.at))?;
        let done = (Action::IncidentUpdate, "written");
        self.put_changed(&tx, context, done, (before, &mut breach)).await?;
        Ok(tx.commit().await?)
    }

    /// Closes a breach with a conclusion. Where somebody has to be told, they were, or it says why
    /// not.
    #[boxed]
    pub async fn close_breach(
        &self,
        context: &OpContext,
        id: GovernanceId,
        conclusion: &str,
    ) -> Result<()> {
        self.authorize(context, Action::IncidentUpdate, &incident_resource(context, id))?;
        let tx = self.0.store.begin(context).await?;
        let mut breach: Breach = thing(&tx, KIND, id).await?;
        let conclusion = words("text", conclusion, NOTE_CHARS_MAX)?;
        if breach.row.state == "closed" {
            return Err(Error::Conflict("this breach is closed already".to_owned()));
        }
        if let Some(lacks) = not_done(&breach) {
            return Err(Error::Conflict(lacks.to_owned()));
        }
        let before = breach.value();
        breach.row.state = "closed".to_owned();
        breach.facts.conclusion = conclusion;
        breach.row.due_at = None;
        let done = (Action::IncidentUpdate, "closed");
        self.put_changed(&tx, context, done, (before, &mut breach)).await?;
        Ok(tx.commit().await?)
    }

    /// An hour of the clock at which somebody is told has come. A drill's alarms stay inside.
    pub(super) async fn breach_is_due(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        id: GovernanceId,
    ) -> Result<Option<Due>> {
        let mut breach: Breach = thing(tx, KIND, id).await?;
        let before = breach.value();
        let Some(aware_at) = breach.content.aware_at else { return Ok(None) };
        let hours = context.at.since(aware_at).as_secs() / 3600;
        let mut newest = None;
        for alarm in ALARM_HOURS.into_iter().filter(|alarm| *alarm <= hours) {
            if !breach.facts.alarms.contains(&alarm) {
                breach.facts.alarms.push(alarm);
                newest = Some(alarm);
            }
        }
        breach.row.due_at = next_alarm(&breach);
        let done = (Action::IncidentUpdate, "alarm");
        self.put_changed(tx, context, done, (before, &mut breach)).await?;
        let told = newest.filter(|_| !breach.content.is_drill);
        Ok(told.map(Due::Breach))
    }
}

/// What has to be done before a breach is closed.
fn not_done(breach: &Breach) -> Option<&'static str> {
    let content = &breach.content;
    match content.risk.as_str() {
        "unknown" => return Some("say how high the risk is first"),
        "unlikely" if content.risk_reason.is_empty() => {
            return Some("say why the risk is unlikely: then nobody has to be told");
        }
        "unlikely" if content.role != "processor" => return None,
        _ => {}
    }
    if !was_told(breach, first_to_tell(content)) {
        return Some(if content.role == "processor" {
            "the controllers have not been told"
        } else {
            "the authority has not been told"
        });
    }
    let owes_subjects = content.risk == "high" && content.role != "processor";
    if owes_subjects && !was_told(breach, "subjects") && content.risk_reason.is_empty() {
        return Some("the people concerned have not been told, and it does not say why not");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn breach(role: &str) -> Breach {
        let at = Timestamp::from_micros(1_800_000_000_000_000);
        Breach {
            row: veritwin_metastore::GovernanceItem {
                id: GovernanceId::from_bytes([1; 16]),
                kind: KIND,
                parent: None,
                state: "open".to_owned(),
                body: Vec::new(),
                due_at: None,
                version: 1,
                created_at: at,
                updated_at: at,
            },
            content: BreachContent {
                title: "Lost laptop".to_owned(),
                role: role.to_owned(),
                risk: "high".to_owned(),
                aware_at: Some(at),
                ..BreachContent::default()
            },
            facts: Facts::default(),
        }
    }

    fn told(to: &str) -> BreachNoticeView {
        BreachNoticeView {
            to: to.to_owned(),
            phase: "first".to_owned(),
            at: String::new(),
            recipients: 1,
            sha256: String::new(),
            is_drill: false,
            is_late: false,
        }
    }

    #[test]
    fn alarms_come_at_their_hours_until_somebody_was_told() {
        let mut breach = breach("controller");
        let aware = breach.content.aware_at.expect("a moment").as_micros();
        for hours in ALARM_HOURS {
            let next = next_alarm(&breach).expect("an alarm").as_micros() - aware;
            assert_eq!(next, i64::try_from(hours).expect("hours") * HOUR);
            breach.facts.alarms.push(hours);
        }
        assert_eq!(next_alarm(&breach), None);
        breach.facts.alarms.clear();
        breach.facts.notices.push(told("authority"));
        assert_eq!(next_alarm(&breach), None);
    }

    #[test]
    fn a_notice_says_what_it_has_to() {
        let mut content = breach("controller").content;
        let all = missing(&content, ("authority", "final"), true);
        let expect = [
            "nature",
            "subjects",
            "records",
            "contact",
            "consequences",
            "measures",
            "authority",
            "authority_email",
            "late_reason",
        ];
        assert_eq!(all, expect);
        let first = missing(&content, ("authority", "first"), false);
        assert!(!first.contains(&"subjects") && !first.contains(&"late_reason"));
        content.nature = "Names of tenants".to_owned();
        assert!(!missing(&content, ("authority", "final"), true).contains(&"nature"));
        assert!(!missing(&content, ("subjects", "final"), true).contains(&"records"));
    }

    #[test]
    fn nothing_is_closed_before_those_were_told_who_have_to_be() {
        let mut breach = breach("controller");
        assert_eq!(not_done(&breach), Some("the authority has not been told"));
        breach.facts.notices.push(told("authority"));
        assert!(not_done(&breach).is_some_and(|text| text.starts_with("the people")));
        breach.facts.notices.push(told("subjects"));
        assert_eq!(not_done(&breach), None);
        breach.content.risk = "unlikely".to_owned();
        breach.facts.notices.clear();
        assert!(not_done(&breach).is_some());
        breach.content.risk_reason = "It was encrypted".to_owned();
        assert_eq!(not_done(&breach), None);
        breach.content.role = "processor".to_owned();
        assert_eq!(not_done(&breach), Some("the controllers have not been told"));
    }
}
