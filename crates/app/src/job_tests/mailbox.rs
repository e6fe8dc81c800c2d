//! Mails that become requests: each once, in the organisation that it was sent to, bounded, and
//! nobody's but its sender's.

use veritwin_access::jobs;

use super::cases::officer;
use super::{Customer, World};
use crate::cases::body::Case;
use crate::cases::intake::Taken;
use crate::model::CaseStep;
use crate::{Error, Result};

/// Requests by mail that may be open.
const OPEN_MAX: usize = 200;

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
async fn what_must_not_be_kept_is_not_and_a_flood_waits() {
    let world = World::new().await;
    let customer = world.customer("flood").await;
    let card = mail(1, ADA, "My card", "It is 4111 1111 1111 1111.");
    let Taken::Case(id) = take(&world, &customer, &card).await else { panic!("no request") };
    let tx = world.app.0.store.read(&customer.context).await.expect("records");
    let case = Case::read(tx.case(id).await.expect("a request")).expect("readable");
    drop(tx);
    assert!(!case.body.text.contains("4111"), "a card number is kept");
    for number in 2..=OPEN_MAX {
        let from = format!("{number}@people.example");
        let taken = take(&world, &customer, &mail(number, &from, "My data", "")).await;
        assert!(matches!(taken, Taken::Case(_)), "{number}: {taken:?}");
    }
    let late = mail(999, "late@people.example", "My data", "");
    assert_eq!(take(&world, &customer, &late).await, Taken::Full);
    world.app.close().await;
}
