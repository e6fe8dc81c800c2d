//! The erasure of a person that is cut off after each of its steps, and whose steps are done again
//! as if nobody had written down that they were: nothing of the person is left in any store, also
//! when a backup of before is restored, and everything of somebody else is.

use serde_json::json;
use veritwin_domain::{
    CaseId, LedgerItemId, MessageId, Origin, RegisterEntryId, SentMailId, SessionId, SignIn, UserId,
};
use veritwin_keys::ShredUnit;
use veritwin_metastore::{
    Activity, ActivityFilter, ContactMessage, DestructionState, MailRank, NewMail, Realm,
    RegisterEntry, RegisterKind, RegisterState, SentMail, User, every_row,
};

use super::elsewhere::{ELSEWHERE, hold, name_elsewhere, sealed};
use super::*;
use crate::cases::body::Case;
use crate::cases::erasure::Moved;
use crate::mail::MailPayload;
use crate::mail_kinds::MessageKind;
use crate::model::{
    CaseStep, DeclarationInput, DeskCaseInput, LedgerPlaceView, OwnCaseInput, StreamSubject,
    StreamTarget,
};
use crate::subject::{Subject, unzipped};
use crate::{Error, check_certificate};

const ADA: &str = "ada.canary@site.example";
const BOB: &str = "bob.canary@site.example";
const ADDRESS: &str = "192.0.2.77";

fn acting(world: &World, customer: &Customer, (user, role): (UserId, Role)) -> OpContext {
    let at = world.app.clock().now();
    let sign_in = SignIn::proved(at);
    let session = SessionId::from_bytes([5; 16]);
    let kind = ActorKind::User { user, session, sign_in };
    let actor = Actor::with_roles(kind, vec![role]);
    let address = Some(ADDRESS.parse().expect("an address"));
    let origin = Origin { address, ..Origin::default() };
    OpContext { actor, at, origin, ..customer.context.clone() }
}

fn officer(world: &World, customer: &Customer) -> OpContext {
    acting(world, customer, (UserId::from_bytes([6; 16]), Role::PrivacyOfficer))
}

fn asks(kind: &str) -> OwnCaseInput {
    OwnCaseInput {
        language: None,
        kind: kind.to_owned(),
        text: Secret::new(String::new()),
        purpose: None,
    }
}

pub(super) async fn account(
    world: &World,
    customer: &Customer,
    (email, role): (&str, Role),
) -> UserId {
    let context = world.app.local_operator();
    let id = UserId::generate(context.at, world.app.rng());
    let user = User {
        id,
        realm: Realm::PLATFORM,
        email: email.to_owned(),
        name: None,
        password_hash: None,
        disabled: false,
        email_verified_at: Some(context.at),
        attestation: None,
        version: 0,
        created_at: context.at,
    };
    let tx = world.app.0.store.begin_platform(&context).await.expect("records");
    tx.user_create(&user).await.expect("an account");
    tx.membership_add(customer.tenant(), id, role).await.expect("a member");
    tx.commit().await.expect("written");
    id
}

/// A mail to somebody, a message from them, details that they gave.
async fn fill(world: &World, customer: &Customer, email: &str) {
    let (app, at) = (&world.app, world.app.clock().now());
    let mail = MailPayload { to: email.to_owned(), ..MailPayload::of(MessageKind::Support) };
    let mail = serde_json::to_vec(&mail).expect("JSON");
    let message = json!({"email": email, "text": format!("from {email}")});
    let details = json!({"identity": "one", "text": "yes", "agreed_at_us": 0, "email": email});
    let tx = app.0.store.begin(&customer.context).await.expect("records");
    tx.outbox_add(NewMail::new(MailRank::Notice, email, &mail)).await.expect("a mail");
    let contact = ContactMessage {
        id: MessageId::generate(at, app.rng()),
        from: None,
        body: serde_json::to_vec(&message).expect("JSON"),
        created_at: at,
    };
    tx.contact_add(&contact).await.expect("a message");
    let entry = RegisterEntry {
        id: RegisterEntryId::generate(at, app.rng()),
        kind: RegisterKind::OptIn,
        state: RegisterState::InForce,
        body: serde_json::to_vec(&details).expect("JSON"),
        book: None,
        review_at: None,
        version: 1,
        created_at: at,
    };
    tx.register_entry_create(&entry).await.expect("details");
    tx.commit().await.expect("written");
    name_elsewhere(world, customer, email).await;
}

/// A device that is said to be somebody's, with a reading.
async fn wear(world: &World, customer: &Customer, email: &str) {
    let input = DeviceInput {
        name: format!("band {}", &email[..1]),
        declaration: Declaration::Personal,
        ..DeviceInput::default()
    };
    let device = world.app.create_device(&customer.context, input).await.expect("a device").0.id;
    let subject = StreamSubject::Device { person: Some(email.to_owned()) };
    let said = DeclarationInput {
        targets: vec![StreamTarget { device, key: None }],
        declaration: Declaration::Personal,
        subject: Some(subject),
    };
    let context = officer(world, customer);
    world.app.declare_streams(&context, said).await.expect("declared");
    hold(world, customer, (device, &format!("worn by {email}"))).await;
    let worn = Customer { context: customer.context.clone(), device, rule: customer.rule };
    world.send(&worn, 71.0).await;
}

/// Everything of somebody that a copy holds, and their records with what they say of themselves.
async fn found(world: &World, customer: &Customer, (user, email): (UserId, &str)) -> String {
    let whom = Some(email.to_owned());
    let subject = Subject { user: Some(user), email: whom.clone(), person: whom };
    let context = officer(world, customer);
    let copy = world.app.subject_bundle(&context, &subject).await.expect("a copy");
    let mut text = String::new();
    for (_, bytes) in unzipped(&copy.bytes) {
        text.push_str(&String::from_utf8_lossy(&bytes));
    }
    world.app.flush_activity().await;
    let tx = &world.app.0.store.read(&customer.context).await.expect("records");
    let filter = &ActivityFilter { actor: Some(*user.as_bytes()), ..ActivityFilter::default() };
    let records = every_row(|page| async move { tx.activity(filter, &page).await }).await;
    for record in records.expect("records") {
        text.push_str(&String::from_utf8_lossy(&record.envelope));
    }
    text
}

async fn case_of(world: &World, customer: &Customer, id: CaseId) -> Case {
    let tx = world.app.0.store.read(&customer.context).await.expect("records");
    Case::read(tx.case(id).await.expect("a case")).expect("a case")
}

/// As if the crash came before the last step was written down; its name.
async fn forget_last(world: &World, customer: &Customer, id: CaseId) -> String {
    let mut case = case_of(world, customer, id).await;
    let last = case.body.steps.pop().expect("a step");
    let stored = case.to_store(world.app.clock().now()).expect("a case");
    let tx = world.app.0.store.begin(&customer.context).await.expect("records");
    tx.case_update(&stored).await.expect("written");
    tx.commit().await.expect("written");
    last.name
}

/// Does what an erasure waits for: the destruction of readings, and the ledger.
async fn unblock(world: &World, customer: &Customer, id: CaseId) -> Moved {
    let (stop, served) = world.jobs().await;
    if let Some(destruction) = case_of(world, customer, id).await.body.destruction {
        while world.destruction(customer, destruction).await.state != DestructionState::Done {
            world.step_of(customer, destruction).await;
        }
    }
    let moved = world
        .until("an erasure", async || {
            let moved = world.app.erasure_step(customer.tenant(), id).await.expect("a step");
            (moved != Moved::Waits).then_some(moved)
        })
        .await;
    stop.cancel();
    served.await.expect("a clean end");
    moved
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_ends_once_wherever_it_is_cut_off() {
    let mut world = World::new().await;
    let customer = world.customer("One").await;
    let tenant = customer.tenant();
    let ada = account(&world, &customer, (ADA, Role::Viewer)).await;
    let bob = account(&world, &customer, (BOB, Role::Viewer)).await;
    for email in [ADA, BOB] {
        fill(&world, &customer, email).await;
        wear(&world, &customer, email).await;
    }
    let of_ada = acting(&world, &customer, (ada, Role::Viewer));
    let of_bob = acting(&world, &customer, (bob, Role::Viewer));
    for context in [&of_ada, &of_bob] {
        world.app.create_own_case(context, &asks("restriction")).await.expect("a restriction");
        world.app.list_own_cases(context).await.expect("one's own");
    }
    let before = found(&world, &customer, (ada, ADA)).await;
    assert!(before.contains(ADA) && before.contains("71.0") && before.contains(ADDRESS));
    assert_eq!(before.matches(&format!("worn by {ADA}")).count(), 3, "what her device holds");
    assert!(before.contains("\"rule\": \"Too warm\""), "{before}");
    let places = sealed(&world, &customer, ADA).await;
    assert!(ELSEWHERE.iter().all(|place| places.contains(place)), "{places:?}");
    let id = world.app.create_own_case(&of_ada, &asks("erasure")).await.expect("a request");
    world.app.fulfil_case(&officer(&world, &customer), id).await.expect("begun");
    let again = world.app.fulfil_case(&officer(&world, &customer), id).await;
    assert!(matches!(again, Err(Error::Conflict(_))), "{again:?}");
    let mut steps = 0;
    loop {
        let mut moved = world.app.erasure_step(tenant, id).await.expect("a step");
        if moved == Moved::Waits {
            moved = unblock(&world, &customer, id).await;
        }
        if moved == Moved::Over {
            break;
        }
        let done = case_of(&world, &customer, id).await.body.steps.len();
        let undone = match done > steps {
            true => Some(forget_last(&world, &customer, id).await),
            false => None,
        };
        steps = done;
        world = world.reopen().await;
        if let Some(name) = undone {
            let twice = world.app.erasure_step(tenant, id).await.expect("a step");
            assert_eq!(twice, Moved::On, "{name}");
            let last = case_of(&world, &customer, id).await.body.steps.pop();
            assert_eq!(last.map(|step| step.name), Some(name));
        }
    }
    assert_gone(&world, &customer, (ada, id)).await;
    let others = found(&world, &customer, (bob, BOB)).await;
    let message = format!("from {BOB}");
    for kept in [BOB, "71.0", ADDRESS, message.as_str()] {
        assert!(others.contains(kept), "{kept}");
    }
    let places = sealed(&world, &customer, BOB).await;
    assert!(ELSEWHERE.iter().all(|place| places.contains(place)), "{places:?}");

    // A backup of before is restored: nobody knows of the request, and there is a mail again.
    fill(&world, &customer, ADA).await;
    let tx = world.app.0.store.begin(&customer.context).await.expect("records");
    tx.case_delete(id).await.expect("deleted");
    tx.commit().await.expect("written");
    let world = world.reopen().await;
    assert_gone(&world, &customer, (ada, id)).await;
    assert_eq!(world.app.replay_shreds(None).await.expect("nothing to do"), 0);
    // After two years the case goes, and nothing is done again because of that.
    world.clock.advance(Duration::from_secs(732 * 86_400));
    let context = world.app.local_operator();
    let tx = world.app.0.store.begin_platform(&context).await.expect("records");
    tx.clock_raise(context.at).await.expect("noted");
    tx.cases_purge(context.at.saturating_sub(crate::cases::CASES_KEPT)).await.expect("purged");
    tx.commit().await.expect("written");
    let tx = world.app.0.store.read(&customer.context).await.expect("records");
    assert!(tx.case(id).await.is_err(), "it is kept for two years");
    drop(tx);
    assert_eq!(world.app.replay_shreds(None).await.expect("nothing to do"), 0);
    world.app.close().await;
}

/// Nothing of the person is left, and the certificate is right.
async fn assert_gone(world: &World, customer: &Customer, (user, id): (UserId, CaseId)) {
    let left = found(world, customer, (user, ADA)).await;
    for gone in [ADA, "71.0", ADDRESS] {
        assert!(!left.contains(gone), "{gone} in {left}");
    }
    let places = sealed(world, customer, ADA).await;
    assert!(places.is_empty(), "{places:?}");
    let app = &world.app;
    let rules = app.list_rules(&customer.context).await.expect("rules").into_iter();
    let mailed = rules.map(|one| one.rule.notify_emails.len()).collect::<Vec<_>>();
    assert!(mailed.contains(&1), "others are mailed as before: {mailed:?}");
    let tx = app.0.store.read_platform(&app.local_operator()).await.expect("records");
    assert!(tx.user(user).await.is_err(), "the account is there");
    drop(tx);
    let unit = ShredUnit::Subject(*user.as_bytes());
    assert!(app.0.keys.list(None).iter().all(|key| key.scope.unit != unit));
    let case = case_of(world, customer, id).await;
    assert_eq!(case.row.state.as_str(), "answered");
    let row = String::from_utf8_lossy(&case.row.body).to_lowercase();
    assert!(!row.contains(ADA), "{row}");
    let lines = app.0.destructions.shreds.entries(Some(customer.tenant())).expect("lines");
    let lines = serde_json::to_string(&lines).expect("JSON");
    assert!(!lines.contains(ADA), "{lines}");
    let tx = app.0.store.read(&customer.context).await.expect("records");
    assert!(tx.limits().await.expect("limits").iter().all(|limit| limit.user != Some(user)));
    for one in tx.destructions().await.expect("destructions") {
        assert!(!String::from_utf8_lossy(&one.body).contains(ADA));
    }
    drop(tx);
    let context = officer(world, customer);
    let text = app.erasure_certificate(&context, id).await.expect("a certificate");
    let checked = check_certificate(text.as_bytes(), None).expect("right");
    assert!(checked.statement.contains(&id.to_string()), "{}", checked.statement);
    assert!(case.body.ledger_index.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_erased_on_an_officers_word_alone_or_before_they_are_answered() {
    let world = World::new().await;
    let customer = world.customer("Two").await;
    let app = &world.app;
    let owner = account(&world, &customer, ("owner@site.example", Role::Owner)).await;
    let ada = account(&world, &customer, (ADA, Role::Viewer)).await;
    let desk = officer(&world, &customer);
    let input = DeskCaseInput {
        language: None,
        kind: "erasure".to_owned(),
        user: Some(ada),
        email: None,
        person: None,
        text: Secret::new(String::new()),
        purpose: None,
        received_at: None,
    };
    // A privacy officer takes nobody out.
    let id = app.create_case_at_desk(&desk, &input).await.expect("a request");
    let known = CaseStep::Verify { how: "known".to_owned() };
    app.step_case(&desk, (id, None), &known).await.expect("known");
    let early = app.fulfil_case(&desk, id).await;
    assert!(matches!(early, Err(Error::Forbidden(_))), "{early:?}");
    // Nor is there an answer without an erasure.
    let answer = CaseStep::Answer { text: "Done.".to_owned() };
    let unanswered = app.step_case(&desk, (id, None), &answer).await;
    assert!(matches!(unanswered, Err(Error::Conflict(_))), "{unanswered:?}");
    // What she asked for herself waits for what she asked for beside it.
    let of_ada = acting(&world, &customer, (ada, Role::Viewer));
    let own = app.create_own_case(&of_ada, &asks("erasure")).await.expect("a request");
    let busy = app.fulfil_case(&desk, own).await;
    assert!(matches!(busy, Err(Error::Conflict(_))), "{busy:?}");
    let (reason, text) = ("excessive".to_owned(), String::new());
    let refuse = CaseStep::Refuse { reason, text, jurisdiction: None };
    app.step_case(&desk, (id, None), &refuse).await.expect("refused");
    app.fulfil_case(&desk, own).await.expect("begun");
    // The last owner stays until there is another.
    let of_owner = acting(&world, &customer, (owner, Role::Owner));
    let last = app.create_own_case(&of_owner, &asks("erasure")).await.expect("a request");
    let stays = app.fulfil_case(&desk, last).await;
    assert!(matches!(stays, Err(Error::Conflict(_))), "{stays:?}");
    world.app.close().await;
}

async fn mails(world: &World, customer: &Customer) -> usize {
    let tx = world.app.0.store.read(&customer.context).await.expect("records");
    tx.outbox_written(None, 10).await.expect("mails").len()
}

/// The record of a mail that a server took.
async fn sent(world: &World, customer: &Customer) {
    let tx = world.app.0.store.read(&customer.context).await.expect("records");
    let (mail, at, _) = tx.outbox_written(None, 1).await.expect("mails").remove(0);
    drop(tx);
    let body = json!({
        "v": 1, "kind": "mail", "sent_at_us": 0, "message_id": hex::encode(mail.0),
        "about": "other", "to": "", "sha256": "", "bytes": 0, "code": "250", "reply": "",
        "dkim": [], "salt": "",
    });
    let body = serde_json::to_vec(&body).expect("JSON");
    let mail = SentMail { id: SentMailId::generate(at, world.app.rng()), sent_at: at, body };
    let context = world.app.local_operator();
    let tx = world.app.0.store.begin_platform(&context).await.expect("records");
    tx.sent_mail_add(customer.tenant(), &mail, b"{}".to_vec()).await.expect("written");
    tx.commit().await.expect("written");
}

async fn sent_records(world: &World, customer: &Customer) -> usize {
    let tx = world.app.0.store.read(&customer.context).await.expect("records");
    tx.sent_mails(&Page::first(10)).await.expect("records").items.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_known_elsewhere_too_keeps_their_account_there() {
    let world = World::new().await;
    let (here, there) = (world.customer("Here").await, world.customer("There").await);
    let ada = account(&world, &here, (ADA, Role::Viewer)).await;
    let context = world.app.local_operator();
    let tx = world.app.0.store.begin_platform(&context).await.expect("records");
    tx.membership_add(there.tenant(), ada, Role::Viewer).await.expect("a member");
    tx.commit().await.expect("written");
    for customer in [&here, &there] {
        fill(&world, customer, ADA).await;
        sent(&world, customer).await;
    }
    // A copy holds the record of the mail, as its digest is sealed.
    let copy = found(&world, &here, (ada, ADA)).await;
    assert!(copy.contains("sent_mails") && copy.contains("message_id"), "{copy}");
    let of_ada = acting(&world, &here, (ada, Role::Viewer));
    let id = world.app.create_own_case(&of_ada, &asks("erasure")).await.expect("a request");
    world.app.fulfil_case(&officer(&world, &here), id).await.expect("begun");
    let step = async || world.app.erasure_step(here.tenant(), id).await.expect("a step");
    while case_of(&world, &here, id).await.told_at().is_none() {
        assert_eq!(step().await, Moved::On);
    }
    // The last letter has time to leave; then the address goes as well.
    let letter = MailPayload { to: ADA.to_owned(), ..MailPayload::of(MessageKind::RightsCase) };
    let letter = serde_json::to_vec(&letter).expect("JSON");
    let tx = world.app.0.store.begin(&here.context).await.expect("records");
    tx.outbox_add(NewMail::new(MailRank::Account, "letter", &letter)).await.expect("a letter");
    tx.commit().await.expect("written");
    assert_eq!(step().await, Moved::Waits);
    world.clock.advance(Duration::from_secs(2 * 86_400));
    assert_eq!(step().await, Moved::Waits);
    world.clock.advance(Duration::from_secs(2 * 86_400));
    assert_eq!(step().await, Moved::On);
    assert_eq!(step().await, Moved::Waits, "there is no ledger");
    let tx = world.app.0.store.read_platform(&context).await.expect("records");
    assert!(tx.user(ada).await.is_ok());
    let left = tx.memberships(ada).await.expect("memberships");
    assert_eq!(left.iter().map(|(tenant, _)| *tenant).collect::<Vec<_>>(), [there.tenant()]);
    drop(tx);
    let said = case_of(&world, &here, id).await.body.answer.expect("told");
    assert!(said.contains("another organisation"), "{said}");
    assert_eq!((mails(&world, &here).await, mails(&world, &there).await), (0, 1));
    let records = (sent_records(&world, &here).await, sent_records(&world, &there).await);
    assert_eq!(records, (0, 1));
    // No alarm comes of what was told, and it closes without a ledger after a week.
    world.clock.advance(Duration::from_secs(40 * 86_400));
    world.app.tend_case(here.tenant(), id).await.expect("tended");
    assert!(case_of(&world, &here, id).await.body.alarms.is_empty());
    let over = world.app.erasure_step(here.tenant(), id).await.expect("a step");
    assert_eq!(over, Moved::Over);
    let case = case_of(&world, &here, id).await;
    assert_eq!((case.row.state.as_str(), case.body.ledger_index), ("answered", None));
    world.app.close().await;
}

/// How the ledger's lookup answers of a record.
async fn looked_up(world: &World, customer: &Customer, id: LedgerItemId) -> LedgerPlaceView {
    let context = customer.somebody(Role::Owner);
    world.app.find_sealed_record(&context, id).await.expect("found")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_tells_a_record_that_an_erasure_changed_from_one_that_somebody_did() {
    let world = World::new().await;
    world.archive().await;
    let customer = world.customer("Sealed").await;
    let ada = account(&world, &customer, (ADA, Role::Viewer)).await;
    let of_ada = acting(&world, &customer, (ada, Role::Viewer));
    let id = world.app.create_own_case(&of_ada, &asks("erasure")).await.expect("a request");
    world.app.flush_activity().await;
    let filter = ActivityFilter { actor: Some(*ada.as_bytes()), ..ActivityFilter::default() };
    let tx = world.app.0.store.read(&customer.context).await.expect("records");
    let record = tx.activity(&filter, &Page::first(1)).await.expect("records").items.remove(0);
    drop(tx);
    let sealed = LedgerItemId::from_bytes(*record.id.as_bytes());
    world.app.start_sealing_records();
    world.app.start_ledger();
    let first = world.until("its leaf", async || {
        let view = looked_up(&world, &customer, sealed).await;
        (view.state == "sealed").then_some(view)
    });
    let first = first.await;
    assert_eq!((first.unchanged, first.erased.is_some()), (Some(true), false));

    world.app.fulfil_case(&officer(&world, &customer), id).await.expect("begun");
    while case_of(&world, &customer, id).await.body.certificate.is_none() {
        let moved = world.app.erasure_step(customer.tenant(), id).await.expect("a step");
        assert_eq!(moved, Moved::On);
    }
    let second = world.until("the leaf of the change", async || {
        let view = looked_up(&world, &customer, sealed).await;
        view.erased.is_some().then_some(view)
    });
    let second = second.await;
    let certificate = case_of(&world, &customer, id).await.body.certificate.expect("signed");
    let erased = second.erased.expect("an erasure");
    assert_eq!((second.state, second.unchanged), ("sealed", Some(false)));
    assert_eq!((erased.case, erased.certificate), (id, Some(hex::encode(certificate.digest()))));
    let change = looked_up(&world, &customer, erased.record).await;
    assert_eq!((change.kind, change.about), ("rights_case", Some(sealed)));
    let shown = String::from_utf8(change.proof.expect("a proof").record).expect("text");
    assert!(shown.contains(&id.to_string()) && !shown.contains(ADA), "{shown}");

    // Whoever changes it after that is no erasure.
    let tx = world.app.0.store.begin(&customer.context).await.expect("records");
    let forged = Activity { envelope: b"{}".to_vec(), ..record };
    tx.activity_scrub(&forged).await.expect("written");
    tx.commit().await.expect("written");
    let third = looked_up(&world, &customer, sealed).await;
    assert_eq!((third.unchanged, third.erased.is_some()), (Some(false), false));
    world.app.close().await;
}
