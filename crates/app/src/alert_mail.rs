//! What alerts say by mail: one mail for each rule, device and recipient in a window, the first at
//! once, then one that gathers what happened since. Nothing is left out without a note.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use veritwin_access::jobs;
use veritwin_alerting::{Message, Rule, SeriesId, Severity, Transition, TransitionKind};
use veritwin_domain::{AlertId, TenantId, Timestamp};
use veritwin_metastore::{AlertEventKind, MailAbout, MailRank, NewMail, TenantTx, WaitingMail};

use crate::alerts::{Detail, detail_of};
use crate::error::found;
use crate::mail::{MAILS_WAITING_MAX, MailNote, MailPayload, mail_key, note_on};
use crate::mail_kinds::MessageKind;
use crate::sms::SmsStory;
use crate::stream_book::is_open_now;
use crate::{App, Error, Result};

/// After a mail about a rule on a device to somebody, the next one gathers what happened for this
/// long.
pub(crate) const ALERT_MAIL_WINDOW: Duration = Duration::from_secs(15 * 60);
/// A mail about an alert that could not leave for this long is no news any more.
pub(crate) const ALERT_MAIL_AGE_MAX: Duration = Duration::from_secs(3_600);
/// Most alerts that one mail is noted on; the newest.
const ALERTS_OF_A_MAIL_MAX: usize = 16;

/// What a mail says of a stream that is not open.
const CONCEALED: &str = "An alert was raised. Sign in to see it.";
/// What such a mail is about when its alert is gone.
const NAMELESS: &str = "an alert";
/// Alerts whose mail is asked for at once.
const ALERTS_ASKED_MAX: usize = 1_000;

/// What a mail says about a rule on a device.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Digest {
    pub(crate) rule: String,
    /// The alerts it tells of, the newest last.
    pub(crate) alerts: Vec<String>,
    severity: String,
    headline: String,
    paragraph: String,
    raised: u64,
    cleared: u64,
    is_active: bool,
    /// Since when it counts, if a mail went out before.
    since: Option<String>,
    ended_at: Option<String>,
}

/// What one write has to say about a rule on a device.
struct Story {
    series: SeriesId,
    /// The name of its first transition.
    first: String,
    begins_with: TransitionKind,
    alert: AlertId,
    digest: Digest,
    /// What is needed to tell somebody new; none while it was cleared only.
    telling: Option<Telling>,
}

struct Telling {
    rank: MailRank,
    recipients: Vec<String>,
    /// What a text message says, of what is urgent enough for one: nothing of values.
    sms: Option<String>,
}

/// What one write has to say by mail.
#[derive(Default)]
pub(crate) struct Stories {
    all: Vec<Story>,
    places: HashMap<SeriesId, usize>,
}

/// A moment in whole seconds, which read better.
fn moment(at: Timestamp) -> String {
    let seconds = at.as_micros().div_euclid(1_000_000);
    Timestamp::from_micros(seconds.saturating_mul(1_000_000)).to_string()
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    }
}

const fn rank(severity: Severity) -> MailRank {
    match severity {
        Severity::Critical => MailRank::Critical,
        Severity::High => MailRank::High,
        Severity::Medium => MailRank::Medium,
        Severity::Low => MailRank::Low,
    }
}

impl Digest {
    /// Counts what this transition stands for: it went in and out by turns.
    const fn left_out(&mut self, transition: &Transition) {
        self.raised += transition.left_out / 2;
        self.cleared += transition.left_out / 2;
    }

    const fn is_plain(&self) -> bool {
        self.raised == 1 && self.since.is_none()
    }

    fn subject(&self) -> String {
        let Self { severity, headline, raised, .. } = self;
        match (self.is_plain(), self.is_active) {
            (true, true) => format!("[{severity}] {headline}"),
            (true, false) => format!("[{severity}] Over: {headline}"),
            (false, is_active) => {
                let now = if is_active { "now raised" } else { "now over" };
                format!("[{severity}] Raised {}, {now}: {headline}", times(*raised))
            }
        }
    }

    fn text(&self) -> String {
        let ended = self.ended_at.as_deref().unwrap_or("an unknown time");
        if self.is_plain() && self.is_active {
            return self.paragraph.clone();
        }
        if self.is_plain() {
            let over = format!("It was over at {ended}, before this mail left.");
            return format!("{}\n\n{over}", self.paragraph);
        }
        let since = self.since.as_deref();
        let since = since.map(|at| format!(" since the mail of {at}")).unwrap_or_default();
        let now = if self.is_active {
            "now it is raised".to_owned()
        } else {
            format!("now it is over, since {ended}")
        };
        format!(
            "Raised {}, cleared {}{since}; {now}.\n\nThe last time: {}",
            times(self.raised),
            times(self.cleared),
            self.paragraph
        )
    }

    fn tells_of(&mut self, alert: &str) {
        self.alerts.retain(|known| known != alert);
        self.alerts.push(alert.to_owned());
        let over = self.alerts.len().saturating_sub(ALERTS_OF_A_MAIL_MAX);
        self.alerts.drain(..over);
    }

    /// Adds what happened later.
    fn take(&mut self, later: &Self) {
        self.raised += later.raised;
        self.cleared += later.cleared;
        self.is_active = later.is_active;
        self.ended_at.clone_from(&later.ended_at);
        later.alerts.iter().for_each(|alert| self.tells_of(alert));
        if later.raised > 0 {
            self.severity.clone_from(&later.severity);
            self.headline.clone_from(&later.headline);
            self.paragraph.clone_from(&later.paragraph);
        }
    }
}

impl Stories {
    fn story(&mut self, transition: &Transition, alert: AlertId) -> &mut Story {
        let series = &transition.id.series;
        let place = *self.places.entry(series.clone()).or_insert(self.all.len());
        if place == self.all.len() {
            self.all.push(Story {
                series: series.clone(),
                first: transition.id.to_string(),
                begins_with: transition.kind,
                alert,
                digest: Digest { rule: series.rule.to_string(), ..Digest::default() },
                telling: None,
            });
        }
        let story = &mut self.all[place];
        story.alert = alert;
        story.digest.tells_of(&alert.to_string());
        story
    }

    /// An alert was raised. Mail leaves the platform: with `is_open` it shows values, otherwise
    /// only that there is something to see.
    pub(crate) fn raised(
        &mut self,
        transition: &Transition,
        (alert, rule): (AlertId, &Rule),
        message: &Message,
        is_open: bool,
    ) {
        if transition.late || rule.notify_emails.is_empty() {
            return;
        }
        let story = self.story(transition, alert);
        let digest = &mut story.digest;
        digest.left_out(transition);
        digest.raised += 1;
        digest.is_active = true;
        digest.ended_at = None;
        rule.severity.as_str().clone_into(&mut digest.severity);
        (digest.headline, digest.paragraph) = if is_open {
            (message.headline(), message.paragraph())
        } else {
            (rule.name.clone(), CONCEALED.to_owned())
        };
        let recipients = rule.notify_emails.clone();
        let is_urgent = matches!(rule.severity, Severity::Critical | Severity::High);
        let sms = is_urgent.then(|| format!("[{}] {}", rule.severity.as_str(), rule.name));
        story.telling = Some(Telling { rank: rank(rule.severity), recipients, sms });
    }

    /// An alert was cleared: nobody is written to for that alone.
    pub(crate) fn cleared(&mut self, transition: &Transition, alert: AlertId) {
        let digest = &mut self.story(transition, alert).digest;
        digest.left_out(transition);
        digest.cleared += 1;
        digest.is_active = false;
        digest.ended_at = Some(moment(transition.at));
    }
}

/// What a queued mail has gathered. One that cannot be read is left alone: it holds no alert up.
fn gathered(payload: &[u8]) -> Option<(MailPayload, Digest)> {
    let mut payload = serde_json::from_slice::<MailPayload>(payload).ok()?;
    let digest = payload.digest.take()?;
    Some((payload, digest))
}

/// How many mails may wait before one of this rank: the last quarter is for critical alerts.
pub(crate) const fn waiting_max(rank: MailRank) -> u64 {
    match rank {
        MailRank::Critical => MAILS_WAITING_MAX,
        _ => MAILS_WAITING_MAX - MAILS_WAITING_MAX / 4,
    }
}

/// The mail about an alert, as it is stored.
pub(crate) fn write(
    to: &str,
    alert: AlertId,
    digest: Digest,
    waits: Option<MailNote>,
) -> Result<Vec<u8>> {
    let payload = MailPayload {
        to: to.to_owned(),
        subject: digest.subject(),
        text: digest.text(),
        alert: Some(alert.to_string()),
        digest: Some(digest),
        waits,
        ..MailPayload::of(MessageKind::Alert)
    };
    serde_json::to_vec(&payload).map_err(|error| Error::Internal(error.to_string()))
}

/// Adds what happened to a mail that has not left; false if it leaves just now.
async fn add_to(tx: &TenantTx, mail: &WaitingMail, story: &Story) -> Result<bool> {
    let known = gathered(&mail.payload).filter(|_| !mail.is_leaving);
    let Some((MailPayload { to, waits, .. }, mut digest)) = known else { return Ok(false) };
    digest.take(&story.digest);
    let body = write(&to, story.alert, digest, waits)?;
    Ok(tx.outbox_rewrite(mail.id, story.alert, &body).await?)
}

/// Adds the story to the first mail that has not left; false if none waits.
async fn add_to_any(tx: &TenantTx, waiting: &[WaitingMail], story: &Story) -> Result<bool> {
    for mail in waiting {
        if add_to(tx, mail, story).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Adds to waiting mail what was only cleared.
async fn tell_end(tx: &TenantTx, stories: &[Story]) -> Result<()> {
    let ended = stories.iter().filter(|story| story.telling.is_none());
    let ended: HashMap<AlertId, &Story> = ended.map(|story| (story.alert, story)).collect();
    let alerts: Vec<AlertId> = ended.keys().copied().collect();
    for some in alerts.chunks(ALERTS_ASKED_MAX) {
        for mail in tx.outbox_about(some).await? {
            if let Some(story) = mail.alert.and_then(|alert| ended.get(&alert)) {
                add_to(tx, &mail, story).await?;
            }
        }
    }
    Ok(())
}

impl App {
    /// Takes the values out of a mail that is about to leave, unless its stream is open now: it
    /// may have been closed, or its device deleted, since the mail was written. What it says then
    /// is what it says when it is tried again.
    pub(crate) async fn conceal_closed(
        &self,
        tenant: TenantId,
        payload: &mut MailPayload,
    ) -> Result<()> {
        let Some(digest) = payload.digest.as_mut().filter(|one| one.paragraph != CONCEALED) else {
            return Ok(());
        };
        let tx = self.0.store.read(&self.job_in(jobs::MAIL, tenant)).await?;
        let alert = match payload.alert.as_ref().and_then(|id| id.parse::<AlertId>().ok()) {
            Some(id) => found(tx.alert(id).await)?,
            None => None,
        };
        let device = match alert.as_ref().and_then(|alert| alert.device) {
            Some(id) => found(tx.device(id).await)?,
            None => None,
        };
        let detail = alert.and_then(|alert| detail_of(&alert).ok());
        if let (Some(device), Some(Detail { key, .. })) = (&device, &detail)
            && is_open_now(&tx, device, key.as_deref()).await?
        {
            return Ok(());
        }
        let rule_name = detail.map(|detail| detail.rule_name);
        digest.headline = rule_name.unwrap_or_else(|| NAMELESS.to_owned());
        CONCEALED.clone_into(&mut digest.paragraph);
        (payload.subject, payload.text) = (digest.subject(), digest.text());
        Ok(())
    }

    /// Queues what a write has to say by mail, in the same transaction.
    pub(crate) async fn queue_stories(&self, tx: &TenantTx, stories: Stories) -> Result<()> {
        if stories.all.is_empty() {
            return Ok(());
        }
        tell_end(tx, &stories.all).await?;
        let urgent = stories.all.iter().filter_map(|story| story.telling.as_ref());
        let urgent = urgent.filter_map(|telling| {
            let text = format!("{}. Sign in to see it.", telling.sms.as_ref()?);
            Some(SmsStory { recipients: telling.recipients.clone(), text })
        });
        self.queue_sms(tx, &urgent.collect::<Vec<_>>()).await?;
        let mut waiting = tx.outbox_waiting().await?;
        for story in stories.all {
            let Some(Telling { rank, recipients, .. }) = &story.telling else { continue };
            if self.0.mailer.is_none() {
                note_missed(tx, self.clock().now(), &story, ("no_server", recipients.len()))
                    .await?;
                continue;
            }
            let mut missed = 0;
            for email in recipients {
                if waiting >= waiting_max(*rank) {
                    let known = tx.outbox_thread(&thread(&story, email)).await?;
                    missed += usize::from(!add_to_any(tx, &known.waiting, &story).await?);
                } else if self.tell(tx, &story, (*rank, email)).await? {
                    waiting += 1;
                }
            }
            if missed > 0 {
                let why = ("mails_waiting_max", missed);
                note_missed(tx, self.clock().now(), &story, why).await?;
            }
        }
        Ok(())
    }

    /// Tells somebody; whether that made a mail more.
    async fn tell(
        &self,
        tx: &TenantTx,
        story: &Story,
        (rank, email): (MailRank, &str),
    ) -> Result<bool> {
        let now = self.clock().now();
        let thread = thread(story, email);
        let known = tx.outbox_thread(&thread).await?;
        if add_to_any(tx, &known.waiting, story).await? {
            return Ok(false);
        }
        let leaving = known.waiting.into_iter().map(|mail| (now, mail.payload)).next();
        let before = leaving.or(known.last);
        let mut digest = story.digest.clone();
        let mut next_at = None;
        let is_recent = |at: Timestamp| now.since(at) < ALERT_MAIL_WINDOW;
        if let Some((at, payload)) = before.filter(|(at, _)| is_recent(*at)) {
            let told = gathered(&payload).is_some_and(|(_, digest)| digest.is_active);
            // It said that it is raised; it was cleared since, or it could not be raised again.
            digest.cleared += u64::from(told && story.begins_with == TransitionKind::Raised);
            digest.since = Some(moment(at));
            next_at = Some(at.saturating_add(ALERT_MAIL_WINDOW));
        }
        let body = write(email, story.alert, digest, None)?;
        let key = mail_key(&story.first, email);
        let mail = NewMail {
            next_at,
            about: Some(MailAbout { alert: story.alert, thread: &thread }),
            ..NewMail::new(rank, &key, &body)
        };
        Ok(tx.outbox_add(mail).await?)
    }
}

fn thread(story: &Story, email: &str) -> String {
    let SeriesId { rule, device, .. } = &story.series;
    format!("{rule} {device} {}", email.to_lowercase())
}

async fn note_missed(
    tx: &TenantTx,
    at: Timestamp,
    story: &Story,
    (reason, count): (&str, usize),
) -> Result<()> {
    let note = MailNote { count: Some(count as u64), ..MailNote::of(reason) };
    note_on(tx, story.alert, &note.event(at, AlertEventKind::NotMailed)?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(raised: u64, cleared: u64, is_active: bool, since: bool) -> Digest {
        Digest {
            severity: "high".to_owned(),
            headline: "pump: t is 11".to_owned(),
            paragraph: "Pump: t is 11.".to_owned(),
            raised,
            cleared,
            is_active,
            since: since.then(|| "08:00".to_owned()),
            ended_at: (!is_active).then(|| "08:05".to_owned()),
            ..Digest::default()
        }
    }

    #[test]
    fn a_mail_says_what_happened_until_it_left() {
        let check = |digest: &Digest, subject: &str, text: &str| {
            assert_eq!((digest.subject().as_str(), digest.text().as_str()), (subject, text));
        };
        check(&digest(1, 0, true, false), "[high] pump: t is 11", "Pump: t is 11.");
        check(
            &digest(1, 1, false, false),
            "[high] Over: pump: t is 11",
            "Pump: t is 11.\n\nIt was over at 08:05, before this mail left.",
        );
        check(
            &digest(1, 1, true, true),
            "[high] Raised once, now raised: pump: t is 11",
            "Raised once, cleared once since the mail of 08:00; now it is raised.\n\n\
             The last time: Pump: t is 11.",
        );
        check(
            &digest(400, 400, false, false),
            "[high] Raised 400 times, now over: pump: t is 11",
            "Raised 400 times, cleared 400 times; now it is over, since 08:05.\n\n\
             The last time: Pump: t is 11.",
        );
    }

    #[test]
    fn what_came_later_is_taken_in() {
        let mut told = Digest { alerts: vec!["a".to_owned()], ..digest(1, 0, true, false) };
        let ended = Digest { alerts: vec!["a".to_owned()], ..digest(0, 1, false, false) };
        told.take(&Digest { headline: String::new(), ..ended });
        assert_eq!((told.raised, told.cleared, told.is_active), (1, 1, false));
        assert_eq!(told.headline, "pump: t is 11", "it is still about what was raised");
        for number in 0..ALERTS_OF_A_MAIL_MAX {
            let later = Digest { alerts: vec![number.to_string()], ..digest(1, 0, true, false) };
            told.take(&later);
        }
        assert_eq!(told.alerts.len(), ALERTS_OF_A_MAIL_MAX);
        assert_eq!(told.alerts.first().map(String::as_str), Some("0"), "the oldest goes");
        assert_eq!((told.raised, told.is_active), (17, true));
    }
}
