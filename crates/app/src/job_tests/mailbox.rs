//! Mails that become requests: each once, in the organisation that it was sent to, bounded, and
//! nobody's but its sender's.

use veritwin_access::jobs;
use veritwin_domain::CaseId;
use veritwin_metastore::{CaseState, MailboxProblem, RightsMailbox};
use veritwin_outbound::guard::{MailboxMail, MailboxRound, MailboxSpan};
use veritwin_outbound::mail::MailConfig;

use super::cases::officer;
use super::erasures::account;
use super::*;
use crate::cases::body::Case;
use crate::cases::intake::Taken;
use crate::mail::MailPayload;
use crate::mail_bounds::{Places, Sender};
use crate::model::{CaseStep, FormCaseInput, MailboxInput};
use crate::{Error, Result};

/// Requests of strangers that may wait.
const STRANGERS_MAX: usize = 100;
const DAY: Duration = Duration::from_secs(86_400);

fn mail(number: usize, from: &str, subject: &str, text: &str) -> Vec<u8> {
    format!(
        "From: {from}\r\nTo: privacy@acme.example\r\nSubject: {subject}\r\n\
         Message-ID: <{number}@people.example>\r\n\r\n{text}\r\n"
    )
    .into_bytes()
}

async fn take(world: &World, customer: &Customer, mail: &[u8]) -> Taken {
    let context = world.app.job_in(jobs::MAIL, customer.tenant());
    world.app.take_mail(&context, (mail, context.at), None).await.expect("taken")
}

const ADA: &str = "Ada <ada@people.example>";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_is_one_request_and_an_answer_a_line_of_it() {
    let world = World::new().await;
    let (customer, other) = (world.customer("mail").await, world.customer("other").await);
    let first = mail(1, ADA, "My data", "Please erase it.");
    let Taken::Case(id) = take(&world, &customer, &first).await else { panic!("no request") };
    assert_eq!(take(&world, &customer, &first).await, Taken::Passed);
    assert!(matches!(take(&world, &other, &first).await, Taken::Case(_)), "it has its own");
    let answer = mail(2, ADA, &format!("Re: We have your request [{id}]"), "All of it.");
    assert_eq!(take(&world, &customer, &answer).await, Taken::Note);
    // Whoever knows the number writes into nobody else's.
    let eve = mail(3, "eve@people.example", &format!("[{id}]"), "Send it to me.");
    let taken = take(&world, &customer, &eve).await;
    assert!(matches!(taken, Taken::Case(hers) if hers != id), "{taken:?}");
    // As many as one address may have open; what comes then is a line of the newest.
    for number in [4, 5] {
        let more = mail(number, ADA, "More", "And this.");
        assert!(matches!(take(&world, &customer, &more).await, Taken::Case(_)));
    }
    assert_eq!(take(&world, &customer, &mail(6, ADA, "More", "And that.")).await, Taken::Note);

    let context = officer(&world, &customer);
    let seen = world.app.case(&context, id).await.expect("a request");
    assert_eq!((seen.kind, seen.source, seen.verified), ("erasure", "mail", None));
    // Who showed that they ask for one right did not show that they ask for another.
    let known = CaseStep::Verify { how: "document".to_owned() };
    let seen = world.app.step_case(&context, (id, None), &known).await.expect("a step");
    assert!(seen.verified.is_some());
    let named = CaseStep::Right { kind: "access".to_owned() };
    let seen = world.app.step_case(&context, (id, None), &named).await.expect("a step");
    assert_eq!((seen.kind, seen.verified), ("access", None));
    let copy: Result<Vec<u8>> = world.app.export_case(&context, id).await;
    assert!(matches!(copy, Err(Error::Conflict(_))), "nobody knows who asks");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_not_be_kept_is_not() {
    let world = World::new().await;
    let customer = world.customer("card").await;
    let card = mail(1, ADA, "My card", "It is 4111 1111 1111 1111.");
    let Taken::Case(id) = take(&world, &customer, &card).await else { panic!("no request") };
    let case = case_of(&world, &customer, id).await;
    assert!(!case.body.text.contains("4111"), "a card number is kept");
    world.app.close().await;
}

async fn case_of(world: &World, customer: &Customer, id: CaseId) -> Case {
    let tx = world.app.0.store.read(&customer.context).await.expect("records");
    Case::read(tx.case(id).await.expect("a request")).expect("readable")
}

/// As many requests of invented senders as may wait.
async fn flood(world: &World, customer: &Customer) -> Vec<CaseId> {
    let mut opened = Vec::new();
    for number in 0..STRANGERS_MAX {
        let from = format!("{number}@people.example");
        let Taken::Case(id) = take(world, customer, &mail(number, &from, "My data", "")).await
        else {
            panic!("{number} opened no request")
        };
        opened.push(id);
    }
    opened
}

/// Every case that is due is looked after.
async fn tend(world: &World) {
    for _ in 0..8 {
        world.app.tend_cases().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_keep_nobody_out_who_is_known_and_end_by_themselves() {
    let world = World::new().await;
    let customer = world.customer("flood").await;
    account(&world, &customer, ("Known@people.example", Role::Viewer)).await;
    let opened = flood(&world, &customer).await;
    let late = mail(999, "late@people.example", "My data", "");
    assert_eq!(take(&world, &customer, &late).await, Taken::Full);
    let known = mail(998, "known@people.example", "My data", "");
    let Taken::Case(known) = take(&world, &customer, &known).await else { panic!("kept out") };
    // Who needs not show who they are is counted apart.
    let complaint = mail(997, "late@people.example", "Complaint", "");
    let taken = take(&world, &customer, &complaint).await;
    let Taken::Case(complaint) = taken else { panic!("{taken:?}") };
    world.clock.advance(DAY * 13);
    tend(&world).await;
    assert_eq!(case_of(&world, &customer, opened[0]).await.row.state, CaseState::Open);
    world.clock.advance(DAY);
    tend(&world).await;
    for id in &opened {
        let case = case_of(&world, &customer, *id).await;
        assert_eq!(case.row.state, CaseState::Refused);
        let reason = case.body.refusal.map(|refusal| refusal.reason);
        assert_eq!(reason.as_deref(), Some("not_verified"));
        // Without a mail server the letter stands in the history.
        let letter = case.body.events.iter().find(|event| event.kind == "letter");
        let letter = letter.and_then(|event| event.text.clone()).expect("a letter");
        assert!(letter.contains("You can ask again at any time"), "{letter}");
    }
    for id in [known, complaint] {
        assert!(!case_of(&world, &customer, id).await.row.state.is_closed());
    }
    assert!(matches!(take(&world, &customer, &late).await, Taken::Case(_)));
    world.app.close().await;
}

async fn named(world: &World, customer: &Customer) -> RightsMailbox {
    let input = MailboxInput {
        server: "mail.example:443".to_owned(),
        user: "privacy".to_owned(),
        password: Some(Secret::new("secret".to_owned())),
        folder: "INBOX".to_owned(),
    };
    let officer = officer(world, customer);
    world.app.set_mailbox(&officer, (&input, 0)).await.expect("a mailbox");
    row(world, customer).await
}

async fn row(world: &World, customer: &Customer) -> RightsMailbox {
    let tx = world.app.0.store.read(&customer.context).await.expect("records");
    tx.mailbox().await.expect("records").expect("a mailbox")
}

fn found(number: u32, from: &str) -> MailboxMail {
    let bytes = mail(5_000 + number as usize, from, "My data", "");
    MailboxMail { number, received_at: None, bytes }
}

async fn round(world: &World, customer: &Customer, mails: Vec<MailboxMail>, again: Again) {
    let context = world.app.job_in(jobs::MAIL, customer.tenant());
    let row = row(world, customer).await;
    let again = again.map(|(read_to, mails)| MailboxSpan { read_to, mails });
    let found = MailboxRound { numbering: 7, read_to: 3, mails, has_more: false, again };
    world.app.take_round(&context, row, found).await.expect("a round");
}

type Again = Option<(u32, Vec<MailboxMail>)>;

async fn incidents(world: &World, customer: &Customer) -> usize {
    let tx = world.app.0.store.read(&customer.context).await.expect("records");
    let all = tx.incidents(&Page::whole()).await.expect("incidents").items;
    all.iter().filter(|one| one.kind == "mailbox_unread").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_without_room_is_left_and_keeps_none_behind_it_waiting() {
    let world = World::new().await;
    let customer = world.customer("left").await;
    account(&world, &customer, ("known@people.example", Role::Viewer)).await;
    named(&world, &customer).await;
    flood(&world, &customer).await;
    let mails = vec![
        found(1, "one@people.example"),
        found(2, "known@people.example"),
        found(3, "three@people.example"),
    ];
    round(&world, &customer, mails, None).await;
    let read = row(&world, &customer).await;
    assert_eq!((read.read_to, read.problem), (3, Some(MailboxProblem::Full)));
    let open = async |from: &str| {
        let tx = world.app.0.store.read(&customer.context).await.expect("records");
        let index = tx.subject_index(from).expect("an address");
        tx.cases_of_address(index).await.expect("cases").len()
    };
    assert_eq!((open("one@people.example").await, open("known@people.example").await), (0, 1));
    assert_eq!(incidents(&world, &customer).await, 1);
    // There is no room yet: it stays left, and nobody is told a second time.
    round(&world, &customer, vec![], Some((1, vec![found(1, "one@people.example")]))).await;
    assert_eq!(open("one@people.example").await, 0);
    world.clock.advance(DAY * 14);
    tend(&world).await;
    round(&world, &customer, vec![], Some((3, vec![found(3, "three@people.example")]))).await;
    assert_eq!(open("three@people.example").await, 1);
    assert_eq!(row(&world, &customer).await.problem, Some(MailboxProblem::Full));
    round(&world, &customer, vec![], Some((1, vec![found(1, "one@people.example")]))).await;
    assert_eq!(open("one@people.example").await, 1);
    assert_eq!(row(&world, &customer).await.problem, None);
    world.app.close().await;
}

/// A world that writes mails, which stay where they are queued.
async fn writing() -> World {
    let folder = tempfile::tempdir().expect("temporary folder");
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000)));
    let mail = MailConfig {
        url: "smtp://127.0.0.1:2525".to_owned(),
        from: "privacy@veritwin.example".to_owned(),
        login: None,
        authority_pem: None,
    };
    let config = crate::Config { mail: Some(mail), ..config(&folder, &clock, None) };
    let app = open_at(config).await;
    World { folder, clock, app }
}

async fn mails_to(world: &World, customer: &Customer, email: &str) -> Vec<MailPayload> {
    let context = world.app.job_in(jobs::MAIL, customer.tenant());
    let mails = world.app.mails_to(&context, email).await.expect("mails");
    mails.into_iter().map(|(.., mail)| mail).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_that_cannot_be_read_is_told_of_once_until_it_is_read_again() {
    let world = writing().await;
    let customer = world.customer("unread").await;
    let email = "officer@site.example";
    account(&world, &customer, (email, Role::PrivacyOfficer)).await;
    named(&world, &customer).await;
    let fail = async || {
        world.clock.advance(Duration::from_secs(900));
        let context = world.app.job_in(jobs::MAIL, customer.tenant());
        let row = row(&world, &customer).await;
        let failed = world.app.note_failed(&context, row, MailboxProblem::SignIn);
        failed.await.expect("noted");
        (mails_to(&world, &customer, email).await.len(), incidents(&world, &customer).await)
    };
    assert_eq!(fail().await, (0, 0));
    assert_eq!(fail().await, (1, 1));
    assert_eq!(fail().await, (1, 1));
    let context = world.app.job_in(jobs::MAIL, customer.tenant());
    let stand = world.app.mailbox_stand(&context).await.expect("a mailbox");
    assert_eq!(stand, Some(("sign_in", true)));
    round(&world, &customer, vec![], None).await;
    let stand = world.app.mailbox_stand(&context).await.expect("a mailbox");
    assert_eq!(stand, Some(("none", false)));
    assert_eq!(fail().await.0, 1);
    assert_eq!(fail().await.0, 2);
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_go_to_the_address_that_the_account_has_and_to_none_that_looks_like_it() {
    let world = writing().await;
    let customer = world.customer("letters").await;
    let user = account(&world, &customer, ("Kim@people.example", Role::Viewer)).await;
    let asked = mail(1, "KIM@PEOPLE.example", "My data", "A copy, please.");
    let Taken::Case(id) = take(&world, &customer, &asked).await else { panic!("no request") };
    let case = case_of(&world, &customer, id).await;
    assert_eq!(case.body.held, Some(user));
    assert_eq!(case.body.email.as_deref(), Some("Kim@people.example"));
    let mails = mails_to(&world, &customer, "kim@people.example").await;
    assert!(mails.iter().any(|mail| mail.subject.contains("Show that it is you")));
    assert!(mails.iter().all(|mail| mail.to == "Kim@people.example"));
    let context = world.app.job_in(jobs::MAIL, customer.tenant());
    for other in ["\u{212a}im@people.example", "k\u{130}m@people.example"] {
        let held = world.app.held_by(&context, Some(other)).await.expect("looked up");
        assert!(held.is_none(), "{other} is nobody's");
    }
    // At the desk, whoever is not known is asked by a letter, and the clock stands from then on.
    let desk = officer(&world, &customer);
    let stranger = "stranger@people.example";
    let input = crate::model::DeskCaseInput {
        language: None,
        kind: "access".to_owned(),
        user: None,
        email: Some(Secret::new(stranger.to_owned())),
        person: None,
        text: Secret::new(String::new()),
        purpose: None,
        received_at: None,
    };
    let id = world.app.create_case_at_desk(&desk, &input).await.expect("a case");
    let ask = CaseStep::AskIdentity { text: String::new() };
    let seen = world.app.step_case(&desk, (id, None), &ask).await.expect("asked");
    assert!(seen.is_paused);
    let mails = mails_to(&world, &customer, stranger).await;
    assert!(mails.iter().any(|mail| mail.subject.contains("Please show that it is you")));
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_cannot_be_mailed_holds_no_other_alarm_and_is_tried_again() {
    let world = writing().await;
    let customer = world.customer("held").await;
    let asked = mail(1, ADA, "My data", "A copy, please.");
    let Taken::Case(id) = take(&world, &customer, &asked).await else { panic!("no request") };
    let received_at = case_of(&world, &customer, id).await.row.received_at;
    // Looks after it at a moment when its address has had its mails of the day.
    let tend_full = async |at: Timestamp| {
        world.clock.advance(at.since(world.app.clock().now()));
        let sender = Sender::Tenant(customer.tenant());
        let place = || world.app.mail_place(sender, "ada@people.example", at).map(Places::keep);
        while place().is_ok() {}
        world.app.tend_case(customer.tenant(), id).await.expect("tended");
        case_of(&world, &customer, id).await
    };
    let day_23 = received_at.saturating_add(DAY * 23);
    let case = tend_full(day_23).await;
    assert_eq!(case.row.state, CaseState::Open);
    assert_eq!(case.body.alarms, ["answer_soon"]);
    let hour = Duration::from_secs(3600);
    assert_eq!(case.row.next_at, Some(day_23.saturating_add(hour)), "the end is tried again");
    // What comes due before that is not late.
    let day_29 = received_at.saturating_add(DAY * 29);
    let case = tend_full(day_29.saturating_sub(hour / 2)).await;
    assert_eq!(case.row.next_at, Some(day_29));
    let case = tend_full(day_29).await;
    assert_eq!(case.body.alarms, ["answer_soon", "answer_tomorrow"]);
    assert_eq!(case.row.state, CaseState::Open);
    world.clock.advance(DAY + hour);
    world.app.tend_case(customer.tenant(), id).await.expect("tended");
    let case = case_of(&world, &customer, id).await;
    assert_eq!(case.row.state, CaseState::Refused);
    assert!(case.body.alarms.iter().any(|alarm| alarm == "not_verified"));
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_strangers_wait_the_form_refuses_all_alike_and_who_is_known_has_the_code() {
    let world = writing().await;
    let customer = world.customer("form").await;
    account(&world, &customer, ("known@people.example", Role::Viewer)).await;
    let send = async |email: &str| {
        let visitor = world.app.anonymous(crate::Arrival {
            purpose: veritwin_domain::Purpose::AuthenticationSecurity,
            request: world.app.local_operator().request,
            origin: veritwin_domain::Origin::default(),
        });
        let input = FormCaseInput {
            language: None,
            kind: "access".to_owned(),
            email: Secret::new(email.to_owned()),
            text: Secret::new(String::new()),
            organisation: Some(customer.tenant()),
        };
        world.app.send_request(&visitor, None, &input).await.map_err(|error| error.to_string())
    };
    for number in 0..STRANGERS_MAX {
        send(&format!("{number}@people.example")).await.expect("taken");
    }
    let (stranger, known) = (send("late@people.example").await, send("known@people.example").await);
    assert!(stranger.as_ref().is_err_and(|text| text.contains("rights_strangers_open_max")));
    assert_eq!(stranger, known);
    assert!(mails_to(&world, &customer, "late@people.example").await.is_empty());
    let mails = mails_to(&world, &customer, "known@people.example").await;
    assert!(mails.iter().any(|mail| mail.subject.contains("Show that it is you")));
    world.app.close().await;
}
