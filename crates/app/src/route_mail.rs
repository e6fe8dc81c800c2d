//! Messages that rules send by mail: to people of the tenant whose address is confirmed, several in
//! one mail, at most one a minute to each destination and a bounded number a day to each person.
//! What waits in a lane goes into the queue of mail in the transaction that takes it out.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use veritwin_access::jobs;
use veritwin_domain::{DeviceId, OpContext, TenantId, Timestamp, UserId};
use veritwin_metastore::{MailRank, NewMail, RouteFailure, RouteLane, RouteSettled, TenantTx};

use crate::alert_mail::waiting_max;
use crate::error::found;
use crate::mail::{MailPayload, mail_key};
use crate::mail_kinds::MessageKind;
use crate::model::{RouteKind, RouteSample};
use crate::rights::missing;
use crate::route_body::RouteBody;
use crate::route_delivery::Tried;
use crate::route_queue::count;
use crate::route_rules::StoredRule;
use crate::{App, Error, Result};

/// Messages that a mail shows; of more it says how many they are.
const MAILED_MESSAGES_MAX: u64 = 50;
/// Between two mails to a destination.
const MAIL_EVERY: Duration = Duration::from_secs(60);
/// Mails to a person in a day, of all destinations of a tenant.
const ROUTE_MAILS_PER_DAY_MAX: u32 = 100;
/// Most people of a destination.
const ROUTE_PEOPLE_MAX: usize = 10;
/// How long a destination whose people have had enough waits until it is looked at again.
const ENOUGH_WAIT: Duration = Duration::from_secs(900);
/// Longest line about a message, in characters.
const LINE_CHARS_MAX: usize = 200;
/// People of whom it is counted; over that, those whose day is over are forgotten.
const COUNTED_MAX: usize = 10_000;
const DAY: Duration = Duration::from_secs(86_400);

/// How many mails people were sent in the day that began with the first of them.
#[derive(Debug, Default)]
pub(crate) struct RouteMails(Mutex<HashMap<(TenantId, UserId), (Timestamp, u32)>>);

impl RouteMails {
    /// Counts a mail to somebody; false if it is one too many.
    fn take(&self, whom: (TenantId, UserId), now: Timestamp) -> bool {
        let mut counted = self.0.lock();
        if counted.len() >= COUNTED_MAX {
            counted.retain(|_, (since, _)| now.since(*since) < DAY);
        }
        let (since, mails) = counted.entry(whom).or_insert((now, 0));
        if now.since(*since) >= DAY {
            (*since, *mails) = (now, 0);
        }
        if *mails >= ROUTE_MAILS_PER_DAY_MAX {
            return false;
        }
        *mails += 1;
        true
    }
}

/// What a mail shows of a message.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct RoutedRow {
    device: DeviceId,
    /// The series in it; none of a message to a topic.
    keys: Vec<String>,
    line: String,
}

/// What a mail tells of messages.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RoutedMail {
    rule: String,
    destination: String,
    rows: Vec<RoutedRow>,
    /// Messages that it does not show.
    more: u64,
}

fn clipped(mut line: String) -> String {
    if let Some((at, _)) = line.char_indices().nth(LINE_CHARS_MAX) {
        line.truncate(at);
        line.push('…');
    }
    line
}

/// JSON in one line, whatever stands in it.
fn plain(value: &Json) -> String {
    value.to_string()
}

fn row_of(body: &RouteBody) -> RoutedRow {
    let data = &body.data;
    let name = &data.device.name;
    let (keys, line) = match (&data.topic, data.readings.first()) {
        (Some(topic), _) => {
            let bytes = data.base64.as_ref().map(|_| Json::from("(bytes)"));
            let text = data.text.as_deref().map(Json::from);
            let said = data.payload.clone().or(text).or(bytes).unwrap_or_default();
            let at = &body.timestamp;
            (Vec::new(), format!("{at}  {name}  {topic}  {}", plain(&said)))
        }
        (None, Some(row)) => {
            let values = row.values.iter().map(|(key, value)| format!("{key} {}", plain(value)));
            let values = values.collect::<Vec<_>>().join(", ");
            let more = match data.readings.len() - 1 {
                0 => String::new(),
                more => format!("  (and {more} more moments)"),
            };
            let made_up = if data.simulated { "(simulated)  " } else { "" };
            let keys = row.values.keys().cloned().collect();
            (keys, format!("{}  {name}  {made_up}{values}{more}", row.at))
        }
        (None, None) => (Vec::new(), format!("{}  {name}", body.timestamp)),
    };
    RoutedRow { device: data.device.id, keys, line: clipped(line) }
}

impl RoutedMail {
    fn total(&self) -> u64 {
        self.more.saturating_add(self.rows.len() as u64)
    }

    fn subject(&self) -> String {
        let Self { rule, .. } = self;
        match self.total() {
            1 => format!("{rule}: 1 message"),
            many => format!("{rule}: {many} messages"),
        }
    }

    fn text(&self) -> String {
        let Self { rule, destination, more, .. } = self;
        let mut text = format!("Messages that the rule \"{rule}\" sent on: {}\n\n", self.total());
        for row in &self.rows {
            text.push_str(&row.line);
            text.push('\n');
        }
        if *more > 0 {
            text.push_str(&format!("Not shown here: {more}\n"));
        }
        text.push_str(&format!(
            "\nYou get this because your organisation chose you for the destination \
             \"{destination}\". To get no more of it, ask an administrator of your organisation: it \
             is on the page Routing."
        ));
        text
    }
}

/// Whether the people of a destination are some of the tenant's; nothing of any other kind.
pub(crate) async fn check_people(tx: &TenantTx, kind: &RouteKind) -> Result<()> {
    let RouteKind::Mail { people } = kind else { return Ok(()) };
    if people.is_empty() || people.len() > ROUTE_PEOPLE_MAX {
        let detail = format!("needs 1 to {ROUTE_PEOPLE_MAX} people");
        return Err(Error::invalid_at("user_ids", detail));
    }
    for id in people {
        tx.member(*id).await.map_err(missing("user_ids"))?;
    }
    Ok(())
}

/// The addresses of people who are in the tenant now, may sign in and have confirmed theirs.
pub(crate) async fn confirmed(tx: &TenantTx, people: &[UserId]) -> Result<Vec<(UserId, String)>> {
    let mut all = Vec::new();
    for id in people {
        let Some(member) = found(tx.member(*id).await)? else { continue };
        let is_confirmed = member.user.email_verified_at.is_some() && !member.user.disabled;
        if is_confirmed && !member.roles.is_empty() {
            all.push((*id, member.user.email));
        }
    }
    Ok(all)
}

/// The mail that tells of messages, as it is stored.
pub(crate) fn payload(to: &str, routed: &RoutedMail) -> Result<Vec<u8>> {
    let payload = MailPayload {
        to: to.to_owned(),
        subject: routed.subject(),
        text: routed.text(),
        routed: Some(routed.clone()),
        ..MailPayload::of(MessageKind::Alert)
    };
    serde_json::to_vec(&payload).map_err(|error| Error::Internal(error.to_string()))
}

/// A mail that has ended, without the messages that it told of, or what was attached to it; none of
/// any other mail.
pub(crate) fn without_messages(mail: &MailPayload) -> Option<Result<Vec<u8>>> {
    let subject = match &mail.routed {
        Some(routed) => routed.subject(),
        None if mail.files.is_empty() => return None,
        None => mail.subject.clone(),
    };
    let rest = MailPayload { to: mail.to.clone(), subject, ..MailPayload::of(mail.kind) };
    Some(serde_json::to_vec(&rest).map_err(|error| Error::Internal(error.to_string())))
}

impl App {
    /// Hands everything that waits in a lane to the queue of mail. None: it is done, or put off;
    /// otherwise what became of the try.
    pub(crate) async fn mail_lane(
        &self,
        tenant: TenantId,
        lane: &RouteLane,
        (destination, people): (&str, &[UserId]),
    ) -> Result<Option<Tried>> {
        let context = self.job_in(jobs::ROUTES, tenant);
        let tx = self.0.store.read(&context).await?;
        let lanes = tx.route_lanes().await?;
        let mut whom = confirmed(&tx, people).await?;
        let waiting = tx.outbox_waiting().await?;
        drop(tx);
        let of_place = lanes.iter().filter(|one| one.destination == lane.destination);
        let last = of_place.filter_map(|one| one.delivered_at).max();
        let due = last.map(|at| at.saturating_add(MAIL_EVERY)).filter(|due| *due > context.at);
        if let Some(due) = due {
            return self.put_off(&context, lane, due).await;
        }
        if self.0.mailer.is_none() || waiting >= waiting_max(MailRank::Notice) {
            return Ok(Some(Tried::failed(RouteFailure::Failing)));
        }
        if whom.is_empty() {
            return Ok(Some(Tried::failed(RouteFailure::Refused)));
        }
        whom.retain(|(id, _)| self.0.routes.mails.take((tenant, *id), context.at));
        if whom.is_empty() {
            let later = context.at.saturating_add(ENOUGH_WAIT);
            return self.put_off(&context, lane, later).await;
        }
        self.queue_routed(&context, lane, (destination, &whom)).await.map(|()| None)
    }

    async fn put_off(
        &self,
        context: &OpContext,
        lane: &RouteLane,
        until: Timestamp,
    ) -> Result<Option<Tried>> {
        let tx = self.0.store.begin(context).await?;
        tx.route_hold().await?;
        tx.route_lane_next((lane.rule, lane.destination), Some(until)).await?;
        tx.commit().await?;
        Ok(None)
    }

    async fn queue_routed(
        &self,
        context: &OpContext,
        lane: &RouteLane,
        (destination, whom): (&str, &[(UserId, String)]),
    ) -> Result<()> {
        let key = (lane.rule, lane.destination);
        let devices = self.tenant_devices(context).await?;
        let book = self.stream_book(context).await?;
        let tx = self.0.store.begin(context).await?;
        tx.route_hold().await?;
        // First, so that whoever adds a message now waits until all of them are taken out.
        tx.route_lane_settled(key, RouteSettled::Nothing).await?;
        let rule = StoredRule::read(&tx.route_rule(lane.rule).await?)?.name;
        let first = tx.route_messages_first(key, MAILED_MESSAGES_MAX).await?;
        let mut rows = Vec::new();
        for message in &first {
            let Some(device) = devices.get(message.device) else { continue };
            // What cannot be read is dropped.
            let Ok(mut body) = RouteBody::read(&message.body) else { continue };
            if body.keep(|key| book.is_open(device, key)) {
                rows.push(row_of(&body));
            }
        }
        let looked_at = first.len() as u64;
        let more = tx.route_messages_take(key).await?.saturating_sub(looked_at);
        let dropped = looked_at.saturating_sub(rows.len() as u64);
        let routed = RoutedMail { rule, destination: destination.to_owned(), rows, more };
        let delivered = routed.total();
        if let Some(message) = first.first().filter(|_| delivered > 0) {
            for (_, email) in whom {
                let body = payload(email, &routed)?;
                let queued = mail_key(&format!("route {}", message.id), email);
                tx.outbox_add(NewMail::new(MailRank::Notice, &queued, &body)).await?;
            }
        }
        tx.route_lane_emptied(key, (delivered, dropped)).await?;
        tx.commit().await?;
        count("delivered", delivered);
        count("dropped", dropped);
        Ok(())
    }

    /// Takes out of a mail that is about to leave what may not leave any more: its stream was
    /// closed, or its device deleted, since the mail was written.
    pub(crate) async fn conceal_routed(
        &self,
        tenant: TenantId,
        payload: &mut MailPayload,
    ) -> Result<()> {
        let Some(routed) = payload.routed.as_mut() else { return Ok(()) };
        let context = self.job_in(jobs::ROUTES, tenant);
        let devices = self.tenant_devices(&context).await?;
        let book = self.stream_book(&context).await?;
        let before = routed.rows.len();
        routed.rows.retain(|row| {
            let Some(device) = devices.get(row.device) else { return false };
            let is_open = |key: &String| book.is_open(device, Some(key.as_str()));
            if row.keys.is_empty() {
                return book.is_open(device, None);
            }
            row.keys.iter().all(is_open)
        });
        let gone = before - routed.rows.len();
        routed.more = routed.more.saturating_add(gone as u64);
        (payload.subject, payload.text) = (routed.subject(), routed.text());
        Ok(())
    }

    /// Queues a sample for the people of a destination.
    pub(crate) async fn mail_sample(
        &self,
        context: &OpContext,
        (id, people): (&str, &[UserId]),
    ) -> Result<RouteSample> {
        let failed =
            |problem: &str| Ok(RouteSample { status: None, problem: Some(problem.to_owned()) });
        if self.0.mailer.is_none() {
            return failed("this platform sends no mail: its operator names a mail server");
        }
        let tx = self.0.store.begin(context).await?;
        let whom = confirmed(&tx, people).await?;
        if whom.is_empty() {
            return failed("nobody of these people has a confirmed address now");
        }
        let tenant = context.tenant;
        let mut queued = 0;
        for (user, email) in &whom {
            if !self.0.routes.mails.take((tenant, *user), context.at) {
                continue;
            }
            let mail = MailPayload {
                to: email.clone(),
                subject: "A sample of routing".to_owned(),
                text: "This is a sample: messages that rules send by mail reach you.".to_owned(),
                ..MailPayload::of(MessageKind::Alert)
            };
            let body = serde_json::to_vec(&mail);
            let body = body.map_err(|error| Error::Internal(error.to_string()))?;
            let key = mail_key(&format!("route {id}"), email);
            tx.outbox_add(NewMail::new(MailRank::Notice, &key, &body)).await?;
            queued += 1;
        }
        tx.commit().await?;
        if queued == 0 {
            return failed("these people had as many mails in a day as they may have");
        }
        Ok(RouteSample { status: None, problem: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(data: Json) -> RouteBody {
        let mut said = serde_json::json!({
            "type": "readings", "timestamp": "2026-11-29T10:00:00Z", "data": {
                "rule": { "id": "01890000-0000-7000-8000-000000000001", "name": "Heat" },
                "device": {
                    "id": "01890000-0000-7000-8000-000000000002", "name": "pump", "type": "",
                },
            }
        });
        let fields = said["data"].as_object_mut().expect("an object");
        fields.extend(data.as_object().expect("an object").clone());
        serde_json::from_value(said).expect("a body")
    }

    #[test]
    fn a_line_says_what_a_message_says() {
        let check = |data: Json, expect: &str, keys: &[&str]| {
            let row = row_of(&body(data));
            assert_eq!(
                (row.line.as_str(), row.keys),
                (expect, keys.iter().map(|key| (*key).to_owned()).collect())
            );
        };
        let readings = serde_json::json!({"readings": [
            {"at": "10:00", "values": {"t": 31.5, "text": "a\nb"}},
            {"at": "10:01", "values": {"t": 32}},
        ]});
        let expect = r#"10:00  pump  t 31.5, text "a\nb"  (and 1 more moments)"#;
        check(readings, expect, &["t", "text"]);
        let made_up = serde_json::json!({
            "simulated": true, "readings": [{"at": "10:00", "values": {"t": 1}}],
        });
        check(made_up, "10:00  pump  (simulated)  t 1", &["t"]);
        let at = "2026-11-29T10:00:00Z  pump  a/b";
        let message = serde_json::json!({"topic": "a/b", "payload": {"on": true}});
        check(message, &format!(r#"{at}  {{"on":true}}"#), &[]);
        let text = serde_json::json!({"topic": "a/b", "text": "x\r\ny"});
        check(text, &format!(r#"{at}  "x\r\ny""#), &[]);
        let bytes = serde_json::json!({"topic": "a/b", "base64": "AA=="});
        check(bytes, &format!(r#"{at}  "(bytes)""#), &[]);
        assert_eq!(clipped("ä".repeat(500)).chars().count(), LINE_CHARS_MAX + 1);
    }

    #[test]
    fn what_is_not_shown_is_counted() {
        let row = row_of(&body(serde_json::json!({"topic": "a", "payload": 1})));
        let mail = |rows: usize, more: u64| RoutedMail {
            rule: "Heat".to_owned(),
            destination: "Home".to_owned(),
            rows: vec![row.clone(); rows],
            more,
        };
        assert_eq!(mail(1, 0).subject(), "Heat: 1 message");
        assert_eq!(mail(50, 12).subject(), "Heat: 62 messages");
        assert!(mail(50, 12).text().contains("Not shown here: 12\n"));
        assert!(!mail(2, 0).text().contains("Not shown"));
    }

    #[test]
    fn nobody_gets_more_than_so_many_mails_in_a_day() {
        let (mails, start) = (RouteMails::default(), Timestamp::from_micros(0));
        let ann = (TenantId::from_bytes([1; 16]), UserId::from_bytes([1; 16]));
        let other = (TenantId::from_bytes([2; 16]), UserId::from_bytes([1; 16]));
        let taken = (0..200).filter(|_| mails.take(ann, start)).count();
        assert_eq!(taken, ROUTE_MAILS_PER_DAY_MAX as usize);
        assert!(mails.take(other, start));
        assert!(mails.take(ann, start.saturating_add(DAY)));
    }
}
