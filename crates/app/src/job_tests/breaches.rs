//! The clock of a breach over weeks: alarms go on until the people concerned and the final notice
//! are out, and it stays open until then.

use std::time::Duration;

use veritwin_domain::{GovernanceId, OpContext};

use super::cases::officer;
use super::{Customer, World};
use crate::model::{BreachContent, BreachFacts, BreachNoticeInput};
use crate::{Error, Result};

const HOUR: Duration = Duration::from_secs(3600);

/// A drill of a high risk, as far as a first notice needs it.
fn drill() -> BreachContent {
    let said = || "said".to_owned();
    BreachContent {
        title: said(),
        role: "controller".to_owned(),
        is_drill: true,
        nature: said(),
        contact: said(),
        consequences: said(),
        measures: said(),
        risk: "high".to_owned(),
        risk_reason: "Passwords were in clear".to_owned(),
        authority: said(),
        authority_email: "authority@example.test".to_owned(),
        ..BreachContent::default()
    }
}

struct Watched<'a> {
    world: &'a World,
    customer: &'a Customer,
    id: GovernanceId,
}

impl Watched<'_> {
    fn officer(&self) -> OpContext {
        officer(self.world, self.customer)
    }

    async fn facts(&self) -> BreachFacts {
        let breach = self.world.app.breach(&self.officer(), self.id).await;
        breach.expect("a breach").facts
    }

    /// The alarms once so many hours more have passed and the job has looked.
    async fn alarms_after(&self, hours: u32) -> Vec<u64> {
        self.world.clock.advance(HOUR * hours);
        let told = self.world.app.tell_one(self.customer.tenant(), self.id).await;
        told.expect("looked at");
        self.facts().await.alarms
    }

    /// Leaves it as earlier versions did, which knew of no alarm after those of 72 hours.
    async fn forget_next_alarm(&self) {
        let tx = self.world.app.0.store.begin(&self.officer()).await.expect("records");
        let mut row = tx.governance_any(self.id).await.expect("a breach");
        row.due_at = None;
        tx.governance_replace(&row, row.version).await.expect("written");
        tx.commit().await.expect("written");
    }

    async fn tell(&self, to: &str, phase: &str) -> Result<()> {
        let person = || "person@example.test".to_owned();
        let recipients = (to != "authority").then(person).into_iter().collect();
        let (to, phase) = (to.to_owned(), phase.to_owned());
        let notice = BreachNoticeInput { to, phase, recipients, ..BreachNoticeInput::default() };
        self.world.app.notify_breach(&self.officer(), self.id, notice).await
    }

    /// Why it cannot be closed.
    async fn keeps_open(&self) -> String {
        match self.world.app.close_breach(&self.officer(), self.id, "It is over").await {
            Err(Error::Conflict(why)) => why,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alarms_go_on_until_the_people_and_the_final_notice_are_out() {
    let world = World::new().await;
    let customer = world.customer("breached").await;
    let id = world.app.open_breach(&officer(&world, &customer), drill()).await.expect("opened");
    let watched = Watched { world: &world, customer: &customer, id };
    assert_eq!(watched.alarms_after(25).await, [24]);
    assert_eq!(watched.facts().await.owed, ["first", "subjects"]);
    watched.tell("authority", "first").await.expect("a first notice");
    assert_eq!(watched.facts().await.owed, ["subjects", "final"]);
    let why = watched.keeps_open().await;
    assert!(why.contains("lacks subjects, records"), "{why}");
    assert_eq!(watched.alarms_after(24).await, [24, 48]);
    assert_eq!(watched.alarms_after(24).await, [24, 48, 72]);
    watched.tell("subjects", "first").await.expect("the people are told");
    assert_eq!(watched.facts().await.owed, ["final"]);
    assert_eq!(watched.alarms_after(90).await, [24, 48, 72], "hour 163");
    assert_eq!(watched.alarms_after(6).await, [24, 48, 72, 168]);
    let early = watched.tell("authority", "final").await;
    assert!(matches!(&early, Err(Error::Invalid { at: Some(at), .. }) if at == "subjects"));
    let known = BreachContent { subjects: Some(12), records: Some(120), ..drill() };
    let officer = watched.officer();
    world.app.replace_breach(&officer, id, known, None).await.expect("numbers");
    let why = watched.keeps_open().await;
    assert!(why.contains("not a final one"), "{why}");
    watched.tell("authority", "final").await.expect("a final notice");
    let breach = world.app.breach(&officer, id).await.expect("a breach");
    assert_eq!((breach.due_at, breach.facts.owed), (None, Vec::new()));
    assert_eq!(watched.alarms_after(400).await, [24, 48, 72, 168]);
    let officer = watched.officer();
    world.app.close_breach(&officer, id, "It is over").await.expect("closed");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breach_of_before_has_its_next_alarm_without_being_changed() {
    let world = World::new().await;
    let customer = world.customer("before").await;
    let desk = officer(&world, &customer);
    let id = world.app.open_breach(&desk, drill()).await.expect("opened");
    let unlikely = BreachContent { risk: "unlikely".to_owned(), ..drill() };
    let nobodys = world.app.open_breach(&desk, unlikely).await.expect("opened");
    let watched = Watched { world: &world, customer: &customer, id };
    let all = watched.alarms_after(73).await;
    assert_eq!(all, [24, 48, 60, 66, 70, 72]);
    watched.forget_next_alarm().await;
    assert_eq!(watched.alarms_after(48).await, all, "nothing says that it is due");
    let before = world.app.breach(&watched.officer(), id).await.expect("a breach");
    world.app.await_breaches().await.expect("looked for");
    let after = world.app.breach(&watched.officer(), id).await.expect("a breach");
    assert_eq!(after.due_at, Some(desk.at.saturating_add(HOUR * 96)));
    assert_eq!(after.version, before.version, "whoever changes it meanwhile is not in the way");
    let nobodys = world.app.breach(&watched.officer(), nobodys).await.expect("a breach");
    assert_eq!(nobodys.due_at, None, "it owes nothing");
    assert_eq!(watched.alarms_after(0).await, [24, 48, 60, 66, 70, 72, 120]);
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_risk_that_turns_out_high_raises_an_alarm_at_once() {
    let world = World::new().await;
    let customer = world.customer("worse").await;
    let known = BreachContent {
        risk: "risk".to_owned(),
        subjects: Some(12),
        records: Some(120),
        ..drill()
    };
    let opened = world.app.open_breach(&officer(&world, &customer), known.clone()).await;
    let watched = Watched { world: &world, customer: &customer, id: opened.expect("opened") };
    watched.tell("authority", "final").await.expect("a final notice");
    assert!(watched.alarms_after(200).await.is_empty());
    let high = BreachContent { risk: "high".to_owned(), ..known.clone() };
    let id = watched.id;
    world.app.replace_breach(&watched.officer(), id, high.clone(), None).await.expect("worse");
    assert_eq!(watched.alarms_after(0).await, [192], "that of the newest day");
    assert_eq!(watched.alarms_after(16).await, [192, 216]);
    let why = watched.keeps_open().await;
    assert!(why.contains("the people concerned"), "{why}");
    let waived = BreachContent {
        not_told_ground: "protected".to_owned(),
        why_not_subjects: "Every disk is encrypted".to_owned(),
        ..high
    };
    world.app.replace_breach(&watched.officer(), id, waived, None).await.expect("a ground");
    let closed = world.app.close_breach(&watched.officer(), id, "It is over").await;
    closed.expect("closed");
    world.app.close().await;
}
