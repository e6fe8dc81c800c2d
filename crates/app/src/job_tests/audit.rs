//! The end of the ledger's payloads: days that are over are destroyed, held ones stay, and the log
//! goes on being proven.

use veritwin_access::jobs;
use veritwin_domain::{HoldId, Origin, PlanId, Purpose, UserId};
use veritwin_keys::DataClass;
use veritwin_metastore::{
    ActivityFilter, Hold, HoldReason, HoldScope, Plan, RetentionWait, TenantPlace, Waits,
};

use super::ledger::seal;
use super::*;
use crate::model::{PapersView, PlanLimits};
use crate::{Arrival, Error};

const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

fn limits(audit_days: Option<u64>) -> PlanLimits {
    PlanLimits { audit_days, ..PlanLimits::default() }
}

impl World {
    async fn plan(&self, customer: &Customer, audit_days: u64) -> PlanId {
        let context = self.app.job(jobs::RETENTION);
        let plan = Plan {
            id: PlanId::generate(context.at, self.app.rng()),
            body: crate::plan_form::plan_body("Short", &limits(Some(audit_days))).expect("a plan"),
            version: 1,
            created_at: context.at,
        };
        let tx = self.app.0.store.begin_platform(&context).await.expect("records");
        tx.plan_create(&plan).await.expect("made");
        let mut tenant = tx.tenant(customer.tenant()).await.expect("the tenant");
        tenant.place = TenantPlace { plan: Some(plan.id), ..tenant.place };
        tx.tenant_change(&tenant, None).await.expect("given");
        tx.commit().await.expect("written");
        self.app.load_tree().await.expect("read");
        plan.id
    }

    /// Keeps the days from one moment to another for a day.
    async fn hold(&self, customer: &Customer, from: Timestamp, to: Timestamp) {
        let context = self.app.job_in(jobs::RETENTION, customer.tenant());
        let nobody = |number: u8| UserId::from_bytes([number; 16]);
        let hold = Hold {
            id: HoldId::generate(context.at, self.app.rng()),
            scope: HoldScope { from: Some(from), to: Some(to), ..HoldScope::default() },
            reason: HoldReason::LegalDuty,
            note: String::new(),
            requested_by: nobody(1),
            requested_at: context.at,
            approved_by: Some(nobody(2)),
            approved_at: Some(context.at),
            expires_at: context.at.saturating_add(DAY),
            release: None,
            released_at: None,
        };
        let tx = self.app.0.store.begin(&context).await.expect("records");
        tx.hold_create(&hold).await.expect("made");
        tx.commit().await.expect("written");
    }

    async fn papers(&self, customer: &Customer, at: Timestamp) -> crate::Result<PapersView> {
        let key = self.app.demo_api_key(customer.tenant()).await.expect("an API key");
        let arrival = Arrival {
            purpose: Purpose::AuthenticationSecurity,
            request: self.app.local_operator().request,
            origin: Origin::default(),
        };
        let context = self.app.authenticate_api_key(&key, arrival).await.expect("known");
        let key = Key::new(KEY).expect("a key");
        self.app.papers(&context, customer.device, &key, Some(at)).await
    }

    /// Of which days the papers can be opened; all others say that they were destroyed.
    async fn readable(&self, customer: &Customer, times: &[Timestamp]) -> Vec<usize> {
        let mut found = Vec::new();
        for (day, at) in times.iter().enumerate() {
            match self.papers(customer, *at).await {
                Ok(papers) => {
                    assert!(papers.record.is_some(), "{day}");
                    found.push(day);
                }
                Err(Error::Destroyed(detail)) => {
                    assert!(detail.contains("its leaves stay"), "{detail}");
                }
                Err(other) => panic!("day {day}: {other}"),
            }
        }
        found
    }

    fn ledger_days(&self, customer: &Customer) -> BTreeSet<i64> {
        let all = self.app.0.keys.day_keys(DataClass::Ledger).into_iter();
        all.filter(|key| key.tenant == customer.tenant()).map(|key| key.day).collect()
    }

    /// What the tenant's records say of payloads that ended, newest first.
    async fn ends(&self, customer: &Customer) -> Vec<String> {
        let context = self.app.job_in(jobs::RETENTION, customer.tenant());
        let tx = self.app.0.store.read(&context).await.expect("records");
        let action = Some("ledger.maintain".to_owned());
        let filter = ActivityFilter { action, ..ActivityFilter::default() };
        let found = tx.activity(&filter, &Page::whole()).await.expect("read").items;
        let details = |one: veritwin_metastore::Activity| one.details.unwrap_or_default();
        found.into_iter().map(|one| String::from_utf8(details(one)).expect("text")).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledgers_payloads_end_by_days_and_the_log_is_still_proven() {
    let world = World::new().await;
    let stop = CancellationToken::new();
    let served = world.archive_until(stop.clone()).await;
    let (customer, other) = (world.customer("Short").await, world.customer("Other").await);
    world.app.start_ledger();
    let mut times = Vec::new();
    for day in 0..6 {
        seal(&world, &other, day + 1).await;
        seal(&world, &customer, day + 1).await;
        let latest = world.app.0.engine.latest(customer.tenant(), customer.device, None).await;
        times.push(latest.expect("read")[0].at);
        if day < 5 {
            world.clock.advance(DAY);
        }
    }
    let first = times[0].day();
    let all: BTreeSet<i64> = (first..first + 6).collect();
    assert_eq!(world.ledger_days(&customer), all);
    world.app.purge_records().await.expect("purged");
    assert_eq!(world.ledger_days(&customer), all, "without a plan nothing ends");

    // Of day 1, and the day after for what was sealed late.
    world.hold(&customer, times[1], times[1]).await;
    world.plan(&customer, 1).await;
    // Who could not be told loses nothing, and waits for nobody.
    world.app.0.keys.revoke(customer.tenant()).expect("withdrawn");
    world.app.purge_records().await.expect("purged");
    assert_eq!(world.ledger_days(&customer), all);
    world.app.0.keys.restore(customer.tenant()).expect("given back");
    world.app.purge_records().await.expect("purged");
    let left = [1, 2, 4, 5].map(|day| first + day).into();
    assert_eq!(world.ledger_days(&customer), left);
    assert_eq!(world.readable(&customer, &times).await, [1, 2, 4, 5]);
    assert_eq!(world.ledger_days(&other), all, "another tenant's stay");
    let told = world.ends(&customer).await;
    assert_eq!(told.len(), 1, "{told:?}");
    for part in ["\"ledger_days\":2", "\"ledger_days_under_a_hold\":2", "\"before\":\"2027-01-19T"]
    {
        assert!(told[0].contains(part), "{part} in {}", told[0]);
    }
    world.app.purge_records().await.expect("purged");
    assert_eq!(world.ends(&customer).await.len(), 1, "what ended is told once");
    let (log, _) = world.app.log_of(&customer.context).await.expect("a log");
    for index in 0..6 {
        assert_eq!(world.app.prove(log, index).await.expect("proven").index, index);
    }

    // What was destroyed stays so beyond a restart, sealing goes on, and the hold ends.
    let world = world.reopen().await;
    stop.cancel();
    served.await.expect("closed");
    assert_eq!(world.ledger_days(&customer), left);
    world.archive().await;
    world.app.start_ledger();
    world.clock.advance(DAY);
    seal(&world, &customer, 7).await;
    world.clock.advance(DAY);
    for _ in 0..3 {
        world.app.purge_records().await.expect("purged");
    }
    assert_eq!(world.ledger_days(&customer), [first + 6].into());
    assert_eq!(world.readable(&customer, &times).await, [0usize; 0]);
    assert_eq!(world.sealed(&customer).await, 7);
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_archive_keeps_a_log_for_the_audit_period_of_its_plan() {
    let world = World::new().await;
    world.archive().await;
    let (old, new) = (world.customer("Old").await, world.customer("New").await);
    world.plan(&new, 400).await;
    world.app.start_ledger();
    seal(&world, &old, 1).await;
    seal(&world, &new, 1).await;
    let kept = async |customer: &Customer| {
        let (log, _) = world.app.log_of(&customer.context).await.expect("a log");
        world.app.summary_of(log).await.expect("where it stands").period_min
    };
    assert_eq!(kept(&new).await, DAY * 400, "from its first leaf on");
    assert_eq!(kept(&old).await, Duration::ZERO, "without a plan nothing is stated");
    // A plan that comes later lengthens it, and a shorter one changes nothing.
    world.plan(&old, 90).await;
    let longer = async || (kept(&old).await == DAY * 90).then_some(());
    world.until("the longer period", longer).await;
    world.plan(&new, 30).await;
    seal(&world, &new, 2).await;
    world.app.open_log(new.tenant()).await.expect("opened");
    assert_eq!(kept(&new).await, DAY * 400);
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shorter_audit_period_waits_beyond_a_restart() {
    let world = World::new().await;
    let customer = world.customer("Short").await;
    let plan = world.plan(&customer, 30).await;
    let now = world.app.clock().now();
    let rewaits = world.app.rewaits(plan, &limits(Some(1)), now);
    let until = now.saturating_add(WEEK);
    let ledger = Some(RetentionWait { until, days: Some(30) });
    assert_eq!(rewaits.len(), 1);
    assert_eq!(rewaits[0].waits, Waits { readings: None, ledger });
    let context = world.app.job(jobs::RETENTION);
    let tx = world.app.0.store.begin_platform(&context).await.expect("records");
    tx.tenant_waits(customer.tenant(), rewaits[0].waits).await.expect("written");
    let short = Plan {
        id: plan,
        body: crate::plan_form::plan_body("Short", &limits(Some(1))).expect("a plan"),
        version: 2,
        created_at: now,
    };
    tx.plan_update(&short, None).await.expect("changed");
    tx.commit().await.expect("written");
    let world = world.reopen().await;
    let first_day = |at: Timestamp| {
        let ends = world.app.expiries(crate::retention::Kept::Ledger, at, &[]);
        ends.iter().map(|end| at.day() - end.first_day).collect::<Vec<_>>()
    };
    assert_eq!(first_day(now), [30]);
    assert_eq!(first_day(until.saturating_sub(Duration::from_secs(1))), [30]);
    assert_eq!(first_day(until), [1]);
    let plan = Some(plan);
    assert_eq!(world.app.limits(plan).audit_days, Some(1));
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_that_is_not_sealed_yet_was_not_destroyed() {
    let world = World::new().await;
    world.archive().await;
    let customer = world.customer("Short").await;
    world.app.start_ledger();
    // Sent with one whose clock was wrong: its batch covers every time from then on.
    let sent = world.app.clock().now();
    let ahead = sent.saturating_add(Duration::from_secs(70 * 365 * 86_400));
    world.send_of(&customer, &[(sent, 1.0), (ahead, 1.0)]).await;
    let sealed = async |count| (world.sealed(&customer).await == count).then_some(());
    world.until("the first leaf", async || sealed(1).await).await;
    world.plan(&customer, 1).await;
    for _ in 0..4 {
        world.clock.advance(DAY);
    }
    world.app.purge_records().await.expect("purged");
    assert!(world.readable(&customer, &[sent, ahead]).await.is_empty());

    for count in 2..5 {
        // Nothing is sealed while the clock stands.
        let fresh = world.app.clock().now();
        world.send_of(&customer, &[(fresh, 2.0)]).await;
        let papers = world.papers(&customer, fresh).await.expect("not destroyed");
        assert!(papers.record.is_none(), "{count}");
        assert!(world.readable(&customer, &[sent, ahead]).await.is_empty(), "{count}");
        world.until("its leaf", async || sealed(count).await).await;
        let papers = world.papers(&customer, fresh).await.expect("sealed");
        assert!(papers.record.is_some(), "{count}");
    }
    world.app.close().await;
}
