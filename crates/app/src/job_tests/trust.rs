//! Trust pages on a real archive: a list proves what it names.

use veritwin_domain::{SessionId, SignIn, UserId};

use super::*;
use crate::check_trust_page;
use crate::promises::tests::passes;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_that_a_list_names_is_proven_on_a_page() {
    let world = World::new().await;
    world.archive().await;
    let customer = world.customer("One").await;
    world.app.start_ledger();
    // The first run has a leaf of its own, the second says the same and is in a list.
    passes(&world.app).await;
    world.clock.advance(Duration::from_secs(60));
    passes(&world.app).await;
    let at = world.app.clock().now();
    let sign_in =
        SignIn { proved_at: at, lacks_second_factor: false, by_provider: false, is_doubted: false };
    let (user, session) = (UserId::from_bytes([5; 16]), SessionId::from_bytes([5; 16]));
    let kind = ActorKind::User { user, session, sign_in };
    let actor = Actor::with_roles(kind, vec![Role::Owner]);
    let context = OpContext { actor, at, ..customer.context.clone() };
    let log = world.app.log_of(&context).await.expect("a log").0.to_string();
    let (page, checked) = world
        .until("a page", async || {
            world.app.publish_trust_page(&context, "One").await.ok()?;
            let page = world.app.public_trust_page(&log).await.ok()?;
            let checked = check_trust_page(page.as_bytes(), None).ok()?;
            (checked.in_log == 1).then_some((page, checked))
        })
        .await;
    assert!(page.contains("veritwin evidence list v1"));
    assert_eq!(checked.not_in_log, Vec::<String>::new());
    world.app.close().await;
}
