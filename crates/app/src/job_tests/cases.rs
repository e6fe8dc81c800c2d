//! The clocks of requests, with the platform's time moved over every deadline.

use std::time::Duration;

use veritwin_domain::{
    Actor, ActorKind, CaseId, OpContext, Role, Secret, SessionId, SignIn, UserId,
};
use veritwin_governance::Language;

use super::{Customer, World};
use crate::Error;
use crate::model::{CaseStep, CaseView, DeskCaseInput};

const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn officer(world: &World, customer: &Customer) -> OpContext {
    let at = world.app.clock().now();
    let sign_in = SignIn::proved(at);
    let session = SessionId::from_bytes([5; 16]);
    let kind = ActorKind::User { user: UserId::from_bytes([6; 16]), session, sign_in };
    let actor = Actor::with_roles(kind, vec![Role::PrivacyOfficer]);
    OpContext { actor, at, ..customer.context.clone() }
}

async fn step(world: &World, customer: &Customer, id: CaseId, step: CaseStep) -> CaseView {
    let context = officer(world, customer);
    world.app.step_case(&context, (id, None), &step).await.expect("a step")
}

/// Moves time to a day after the request came; the newest alarm then.
async fn alarm_on(world: &World, customer: &Customer, id: CaseId, days: u32) -> Option<String> {
    let context = officer(world, customer);
    let received_at = world.app.case(&context, id).await.expect("a case").received_at;
    let passed = context.at.since(received_at);
    world.clock.advance((DAY * days).saturating_sub(passed));
    world.app.tend_case(customer.tenant(), id).await.expect("tended");
    world.app.case(&officer(world, customer), id).await.expect("a case").alarm
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alarms_come_on_day_7_and_day_30_and_nothing_is_given_before_it_is_known_who_asks() {
    let world = World::new().await;
    let customer = world.customer("clocks").await;
    let input = DeskCaseInput {
        language: None,
        kind: "access".to_owned(),
        user: None,
        email: Some(Secret::new("ada@site.example".to_owned())),
        person: None,
        text: Secret::new("everything".to_owned()),
        purpose: None,
        received_at: None,
    };
    let desk = officer(&world, &customer);
    let id = world.app.create_case_at_desk(&desk, &input).await.expect("a case");
    let early = world.app.export_case(&desk, id).await;
    assert!(matches!(early, Err(Error::Conflict(_))), "{early:?}");
    let how = "document".to_owned();
    let known = step(&world, &customer, id, CaseStep::Verify { how }).await;
    assert_eq!((known.state, known.is_paused), ("open", false));
    assert_eq!(alarm_on(&world, &customer, id, 4).await, None);
    assert_eq!(alarm_on(&world, &customer, id, 5).await.as_deref(), Some("acknowledge_soon"));
    assert_eq!(alarm_on(&world, &customer, id, 7).await.as_deref(), Some("acknowledge_missed"));
    step(&world, &customer, id, CaseStep::Acknowledge).await;
    assert_eq!(alarm_on(&world, &customer, id, 23).await.as_deref(), Some("answer_soon"));
    assert_eq!(alarm_on(&world, &customer, id, 29).await.as_deref(), Some("answer_tomorrow"));
    assert_eq!(alarm_on(&world, &customer, id, 30).await.as_deref(), Some("answer_missed"));
    let context = officer(&world, &customer);
    world.app.export_case(&context, id).await.expect("a copy");
    let (reason, text) = ("excessive".to_owned(), String::new());
    let refuse = CaseStep::Refuse { reason, text, jurisdiction: Some("jp".to_owned()) };
    let refused = step(&world, &customer, id, refuse).await;
    assert_eq!(refused.state, "refused");
    assert!(refused.refusal.is_some_and(|(_, _, authority)| authority.contains("ppc.go.jp")));
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_stands_once_and_an_extension_begins_its_alarms_anew() {
    let world = World::new().await;
    let customer = world.customer("pauses").await;
    let input = DeskCaseInput {
        language: None,
        kind: "rectification".to_owned(),
        user: None,
        email: Some(Secret::new("bob@site.example".to_owned())),
        person: None,
        text: Secret::new("My name is spelt otherwise.".to_owned()),
        purpose: None,
        received_at: None,
    };
    let desk = officer(&world, &customer);
    let id = world.app.create_case_at_desk(&desk, &input).await.expect("a case");
    // Without a mail server nobody was asked, so no clock stands.
    let ask = |text: &str| CaseStep::AskIdentity { text: text.to_owned() };
    let unasked = world.app.step_case(&desk, (id, None), &ask(" ")).await;
    assert!(matches!(unasked, Err(Error::Invalid { .. })), "{unasked:?}");
    let seen = world.app.case(&desk, id).await.expect("a case");
    assert!(!seen.is_paused && seen.events.iter().all(|event| event.kind != "identity_asked"));
    let asked = step(&world, &customer, id, ask("By telephone, at nine.")).await;
    assert!(asked.is_paused);
    let said = asked.events.iter().find(|event| event.kind == "identity_asked");
    assert_eq!(said.and_then(|event| event.text.as_deref()), Some("By telephone, at nine."));
    let until = desk.at.saturating_add(DAY * 80);
    let extend = CaseStep::Extend { until, reason: "many".to_owned() };
    let early = world.app.step_case(&desk, (id, None), &extend).await;
    assert!(matches!(early, Err(Error::Conflict(_))), "{early:?}");
    let how = "document".to_owned();
    let known = step(&world, &customer, id, CaseStep::Verify { how }).await;
    assert!(!known.is_paused);
    let desk_again = officer(&world, &customer);
    let again = world.app.step_case(&desk_again, (id, None), &ask("Again.")).await;
    assert!(matches!(again, Err(Error::Conflict(_))), "{again:?}");
    step(&world, &customer, id, CaseStep::Acknowledge).await;
    assert_eq!(alarm_on(&world, &customer, id, 29).await.as_deref(), Some("answer_tomorrow"));
    let extended = step(&world, &customer, id, extend).await;
    assert_eq!((extended.answer_by, extended.alarm), (until, None));
    assert_eq!(alarm_on(&world, &customer, id, 79).await.as_deref(), Some("answer_tomorrow"));
    assert_eq!(alarm_on(&world, &customer, id, 80).await.as_deref(), Some("answer_missed"));
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_31_january_is_answered_by_the_last_of_february() {
    let world = World::new().await;
    let customer = world.customer("february").await;
    // The world begins on the 15th.
    world.clock.advance(DAY * 16);
    let input = DeskCaseInput {
        language: None,
        kind: "access".to_owned(),
        user: None,
        email: Some(Secret::new("eve@site.example".to_owned())),
        person: None,
        text: Secret::new("everything".to_owned()),
        purpose: None,
        received_at: None,
    };
    let desk = officer(&world, &customer);
    assert_eq!(desk.at.date(), (2027, 1, 31));
    let id = world.app.create_case_at_desk(&desk, &input).await.expect("a case");
    let how = "document".to_owned();
    let known = step(&world, &customer, id, CaseStep::Verify { how }).await;
    // 30 days would be the 2nd of March.
    assert_eq!(known.answer_by.since(desk.at), DAY * 28);
    assert_eq!(known.answer_by.date(), (2027, 2, 28));
    step(&world, &customer, id, CaseStep::Acknowledge).await;
    assert_eq!(alarm_on(&world, &customer, id, 27).await.as_deref(), Some("answer_tomorrow"));
    assert_eq!(alarm_on(&world, &customer, id, 28).await.as_deref(), Some("answer_missed"));
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_in_the_language_of_their_person() {
    let world = World::new().await;
    let customer = world.customer("letters").await;
    let words = [
        (Language::English, "We do not do that"),
        (Language::ChineseTraditional, "我們不予辦理"),
        (Language::Japanese, "ご請求には応じられません"),
        (Language::Korean, "들어드릴 수 없습니다"),
    ];
    for (language, expect) in words {
        let input = DeskCaseInput {
            language: Some(language),
            kind: "erasure".to_owned(),
            user: None,
            email: Some(Secret::new("ada@site.example".to_owned())),
            person: None,
            text: Secret::new(String::new()),
            purpose: None,
            received_at: None,
        };
        let desk = officer(&world, &customer);
        let id = world.app.create_case_at_desk(&desk, &input).await.expect("a case");
        let (reason, text) = ("not_held".to_owned(), "{authority}".to_owned());
        let refuse = CaseStep::Refuse { reason, text, jurisdiction: Some("JP".to_owned()) };
        let refused = step(&world, &customer, id, refuse).await;
        // Without a mail server the letter stands in the history.
        let letter = refused.events.iter().find(|event| event.kind == "letter");
        let letter = letter.and_then(|event| event.text.clone()).expect("a letter");
        assert!(letter.contains(expect), "{letter}");
        assert!(letter.contains("{authority}"), "what an officer wrote is no place: {letter}");
    }
    world.app.close().await;
}
