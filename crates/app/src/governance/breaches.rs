//! Breaches of personal data (Articles 33 and 34 of the GDPR): how one is opened, what is known of
//! it, its alarms, and how it is closed. A drill is the same in everything but that nothing of it
//! leaves.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use serde_json::json;
use veritwin_access::{Action, Kind, Resource, jobs};
use veritwin_domain::{GovernanceId, IncidentId, OpContext, TenantId, Timestamp};
use veritwin_metastore::{GovernanceKind, TenantTx};
use veritwin_outbound::mail::is_address;

use super::breach_owed::{
    Owed, alarms_due, ends_at, first_to_tell, missing, next_alarm, not_done, owed, was_told,
};
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
const ROLES: [&str; 2] = ["controller", "processor"];
pub(super) const RISKS: [&str; 4] = ["unknown", "unlikely", "risk", "high"];
/// On which ground people are not told of a high risk (Article 34(3) of the GDPR): nobody can read
/// the data; the high risk is gone; it is out of proportion, and the public is told in its place.
pub(super) const GROUNDS: [&str; 3] = ["protected", "removed", "disproportionate"];
/// The states in which something may be owed.
const UNCLOSED: [&str; 2] = ["open", "told"];
/// Breaches without a next alarm that are read at once.
const TIMELESS_AT_ONCE: u64 = 200;
/// Alarms that a breach shows, the newest.
const ALARMS_KEPT: usize = 100;
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
    let content = ground_checked(content)?;
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

/// Why the people concerned are not told: one of the grounds, and what it rests on.
fn ground_checked(content: BreachContent) -> Result<BreachContent> {
    let ground = content.not_told_ground.as_str();
    let why = text("why_not_subjects", &content.why_not_subjects, NOTE_CHARS_MAX)?;
    let public = text("public_notice", &content.public_notice, NAME_CHARS_MAX)?;
    if ground.is_empty() && !(why.is_empty() && public.is_empty()) {
        let detail = format!("say which it is: {}", GROUNDS.join(", "));
        return Err(Error::invalid_at("not_told_ground", detail));
    }
    if !ground.is_empty() {
        word("not_told_ground", ground, &GROUNDS)?;
        if why.is_empty() {
            return Err(Error::invalid_at("why_not_subjects", "say what the ground rests on"));
        }
        if ground == "disproportionate" && public.is_empty() {
            let detail = "say where the public is told in their place (Article 34(3)(c))";
            return Err(Error::invalid_at("public_notice", detail));
        }
    }
    Ok(BreachContent { why_not_subjects: why, public_notice: public, ..content })
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
    let owed = owed(&breach).into_iter().map(Owed::as_str);
    let facts = BreachFacts {
        ends_at,
        owed: owed.map(str::to_owned).collect(),
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
        // Who has to be told follows from the risk.
        breach.row.due_at = next_alarm(&breach);
        let done = (Action::IncidentUpdate, "written");
        self.put_changed(&tx, context, done, (before, &mut breach)).await?;
        Ok(tx.commit().await?)
    }

    /// Closes a breach with a conclusion. Where somebody has to be told, they were told everything,
    /// or it says on which ground not.
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
            return Err(Error::Conflict(lacks));
        }
        let before = breach.value();
        breach.row.state = "closed".to_owned();
        breach.facts.conclusion = conclusion;
        breach.row.due_at = None;
        let done = (Action::IncidentUpdate, "closed");
        self.put_changed(&tx, context, done, (before, &mut breach)).await?;
        Ok(tx.commit().await?)
    }

    /// Gives open breaches that still owe something the time of their next alarm where none is
    /// stored: an earlier version raised none after 72 hours, or once somebody was told. One that
    /// cannot be read holds no other.
    #[boxed]
    pub(crate) async fn await_breaches(&self) -> Result<()> {
        let context = self.job(jobs::GOVERNANCE);
        let mut behind = None;
        loop {
            let tx = self.0.store.read_platform(&context).await?;
            let some = tx.governance_timeless(KIND, &UNCLOSED, behind, TIMELESS_AT_ONCE).await?;
            drop(tx);
            for (tenant, id) in &some {
                match self.await_breach(*tenant, *id).await {
                    Ok(()) => {}
                    // A tenant whose keys are denied is looked at again.
                    Err(error) if error.is_withheld() => {}
                    Err(error) => {
                        tracing::warn!(%tenant, %error, "a breach waits for its alarms");
                    }
                }
            }
            behind = some.last().map(|(_, id)| *id);
            if behind.is_none() {
                return Ok(());
            }
        }
    }

    async fn await_breach(&self, tenant: TenantId, id: GovernanceId) -> Result<()> {
        let tx = self.0.store.begin(&self.job_in(jobs::GOVERNANCE, tenant)).await?;
        let breach: Breach = thing(&tx, KIND, id).await?;
        if let Some(at) = next_alarm(&breach) {
            tx.governance_await(id, breach.row.version, at).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// An hour of the clock at which somebody is told has come. A drill's alarms stay inside.
    pub(super) async fn breach_is_due(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        id: GovernanceId,
    ) -> Result<Option<Due>> {
        let mut breach: Breach = thing(tx, KIND, id).await?;
        let raised = |breach: &Breach| json!({"facts": {"alarms": breach.facts.alarms}});
        let before = raised(&breach);
        let due = alarms_due(&breach, context.at);
        let mut newest = None;
        if let Some((owed, hours)) = due {
            newest = hours.last().map(|hours| Due::of_breach(owed, *hours));
            let alarms = &mut breach.facts.alarms;
            alarms.extend(hours);
            alarms.drain(..alarms.len().saturating_sub(ALARMS_KEPT));
        }
        breach.row.due_at = next_alarm(&breach);
        // What is known is not repeated for each alarm, of which there may be many.
        let values = (before, raised(&breach));
        let done = (Action::IncidentUpdate, "alarm");
        self.put_changed_as(tx, context, done, &mut breach, values).await?;
        Ok(newest.filter(|_| !breach.content.is_drill))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ground_says_what_it_rests_on() {
        let wrong = |ground: &str, why: &str, public: &str| {
            let content = BreachContent {
                not_told_ground: ground.to_owned(),
                why_not_subjects: why.to_owned(),
                public_notice: public.to_owned(),
                ..BreachContent::default()
            };
            match ground_checked(content) {
                Err(Error::Invalid { at, .. }) => at,
                other => other.map(|_| None).expect("checked"),
            }
        };
        assert_eq!(wrong("", "", ""), None);
        assert_eq!(wrong("protected", " Encrypted, and the key is safe ", ""), None);
        assert_eq!(wrong("", "Encrypted", "").as_deref(), Some("not_told_ground"));
        assert_eq!(wrong("because", "Encrypted", "").as_deref(), Some("not_told_ground"));
        assert_eq!(wrong("removed", " ", "").as_deref(), Some("why_not_subjects"));
        assert_eq!(wrong("disproportionate", "Millions", "").as_deref(), Some("public_notice"));
        assert_eq!(wrong("disproportionate", "Millions", "On our site"), None);
    }

    #[test]
    fn what_was_stored_before_is_read() {
        let stored = r#"{"title":"Lost","role":"controller","is_drill":false,
            "risk":"high","risk_reason":"Passwords were in clear"}"#;
        let content: BreachContent = serde_json::from_str(stored).expect("a content");
        assert_eq!((content.not_told_ground.as_str(), content.public_notice.as_str()), ("", ""));
        let stored = r#"{"alarms":[24],"notices":[{"to":"authority","phase":"first","at":"",
            "recipients":1,"sha256":"ab","is_drill":false,"is_late":false}],"conclusion":""}"#;
        let facts: Facts = serde_json::from_str(stored).expect("facts");
        assert!(facts.notices[0].texts.is_empty());
    }
}
