//! A public zone that is set anew or ends while a window of it waits for its turn; and details that
//! people gave by consent, which are found by what an officer names them and leave their record.

use veritwin_domain::{RegisterEntryId, SessionId, SignIn, UserId};

use super::*;
use crate::cases::body::Case;
use crate::cases::erasure::Moved;
use crate::check_consent;
use crate::model::{
    CaseStep, DeskCaseInput, Measure, MeasureKind, OptInDetails, OptInInput, OptInView, ZoneConfig,
    ZoneInput,
};

fn administrator(world: &World, customer: &Customer) -> OpContext {
    let at = world.app.clock().now();
    let (user, session) = (UserId::from_bytes([6; 16]), SessionId::from_bytes([5; 16]));
    let kind = ActorKind::User { user, session, sign_in: SignIn::proved(at) };
    let actor = Actor::with_roles(kind, vec![Role::Administrator]);
    OpContext { actor, at, ..customer.context.clone() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_that_was_set_anew_or_taken_out_settles_no_window() {
    let world = World::new().await;
    let customer = world.customer("One").await;
    let app = &world.app;
    let input = DeviceInput {
        name: "square".to_owned(),
        declaration: Declaration::NonPersonal,
        ..DeviceInput::default()
    };
    let output = app.create_device(&customer.context, input).await.expect("a device").0.id;
    let kind = MeasureKind::Amount { step: 1.0, steps_max: 100 };
    let config = ZoneConfig {
        name: "square".to_owned(),
        window_minutes: 60,
        budget_milli_per_day: 400,
        measures: vec![Measure { key: KEY.to_owned(), epsilon_milli: 100, kind }],
    };
    let input = ZoneInput { config, output, devices: vec![customer.device] };
    let context = administrator(&world, &customer);
    let of = || app.0.zones.of(customer.tenant(), customer.device).expect("a zone");
    let made = app.create_zone(&context, input.clone()).await.expect("a zone");
    assert!(made.is_as_signed && made.year_spent_squares == 0);
    let first = of();
    app.update_zone(&context, made.id, input).await.expect("set anew");
    let second = of();
    assert!(!app.0.zones.holds(&first) && app.0.zones.holds(&second));
    app.0.zones.remove(customer.tenant(), made.id);
    world.clock.advance(Duration::from_secs(2 * 3_600));
    for zone in [&first, &second] {
        app.settle_zone(zone).await.expect("nothing to do");
        assert_eq!(zone.book.lock().settled_us, None, "it let something out");
    }
    let tx = app.0.store.read(&customer.context).await.expect("records");
    assert_eq!(tx.register_entry(made.id).await.expect("a zone").book, None);
    drop(tx);
    app.0.zones.put(Arc::clone(&second));
    app.settle_zone(&first).await.expect("nothing to do");
    assert_eq!(first.book.lock().settled_us, None, "it was replaced");
    app.settle_zone(&second).await.expect("settled");
    assert!(second.book.lock().settled_us.is_some());
    world.app.close().await;
}

/// Erases whom an officer names so, up to the letter.
async fn erase(world: &World, customer: &Customer, person: &str) {
    let desk = administrator(world, customer);
    let input = DeskCaseInput {
        language: None,
        kind: "erasure".to_owned(),
        user: None,
        email: None,
        person: Some(Secret::new(person.to_owned())),
        text: Secret::new(String::new()),
        purpose: None,
        received_at: None,
    };
    let id = world.app.create_case_at_desk(&desk, &input).await.expect("a request");
    let known = CaseStep::Verify { how: "known".to_owned() };
    world.app.step_case(&desk, (id, None), &known).await.expect("known");
    world.app.fulfil_case(&desk, id).await.expect("begun");
    loop {
        let tx = world.app.0.store.read(&customer.context).await.expect("records");
        let case = Case::read(tx.case(id).await.expect("a case")).expect("a case");
        drop(tx);
        if case.told_at().is_some() {
            return;
        }
        let moved = world.app.erasure_step(customer.tenant(), id).await.expect("a step");
        assert_eq!(moved, Moved::On);
    }
}

async fn opt_in(world: &World, customer: &Customer, details: OptInDetails) -> OptInView {
    let (how, text) = ("by_word".to_owned(), "You may write to me.".to_owned());
    let input = OptInInput { consent: true, how, text, details };
    let given = world.app.opt_in(&administrator(world, customer), input).await;
    given.expect("details")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gave_a_number_or_a_name_alone_is_erased_and_the_consent_stays_recorded() {
    let world = World::new().await;
    let customer = world.customer("One").await;
    let app = &world.app;
    let name = || OptInDetails { name: Some("Ada Lovelace".to_owned()), ..OptInDetails::default() };
    let number = Some("+44 20 7946 0000".to_owned());
    let by_number = OptInDetails { phone: number, ..OptInDetails::default() };
    let by_number = opt_in(&world, &customer, by_number).await;
    let by_name = opt_in(&world, &customer, name()).await;
    let namesake = opt_in(&world, &customer, name()).await;
    let key = app.consent_signer_of(customer.tenant()).await.expect("a key").public_key();
    for given in [&by_number, &by_name] {
        let [record] = given.records.as_slice() else { panic!("{given:?}") };
        let checked = check_consent(record.as_bytes(), Some(&key)).expect("right");
        for said in ["by_word", "dpv:ConsentGiven", "You may write to me.", "06060606"] {
            assert!(checked.record.contains(said), "{said}: {}", checked.record);
        }
        assert!(!checked.record.contains("Ada") && !checked.record.contains("7946"));
    }
    // A name is many people's: it finds nobody.
    erase(&world, &customer, "Ada Lovelace").await;
    let of = |person| app.opt_ins_of(&customer.context, (None, Some(person)));
    assert_eq!(of("+442079460000").await.expect("read").len(), 1);
    assert_eq!(of(&by_name.identity).await.expect("read").len(), 1);
    erase(&world, &customer, "+442079460000").await;
    erase(&world, &customer, &by_name.identity).await;
    let left = app.list_opt_ins(&administrator(&world, &customer)).await.expect("read");
    let find = |id: RegisterEntryId| left.iter().find(|one| one.id == id).expect("an opt-in");
    for id in [by_number.id, by_name.id] {
        let gone = find(id);
        assert!(gone.withdrawn_at.is_some() && gone.details.name.is_none());
        assert!(gone.details.phone.is_none());
        let [given, withdrawn] = gone.records.as_slice() else { panic!("{gone:?}") };
        assert!(check_consent(given.as_bytes(), Some(&key)).is_ok());
        let checked = check_consent(withdrawn.as_bytes(), Some(&key)).expect("right");
        assert!(checked.record.contains("dpv:ConsentWithdrawn"), "{}", checked.record);
    }
    assert_eq!(find(namesake.id).details.name.as_deref(), Some("Ada Lovelace"));
    world.app.close().await;
}
