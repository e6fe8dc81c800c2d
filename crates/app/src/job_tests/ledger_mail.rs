//! Checkpoints are mailed to an outside auditor where the register of flows lets them go.

use std::collections::BTreeMap;

use veritwin_domain::RegisterEntryId;
use veritwin_metastore::{
    LedgerMailing, MailRank, NewMail, RegisterEntry, RegisterKind, RegisterState,
};

use super::erasures::account;
use super::*;
use crate::Error;
use crate::ledger_mail_files::Past;
use crate::mail::MailPayload;
use crate::mail_kinds::MessageKind;
use crate::model::{MailingInput, MailingTo};
use crate::registers::Fields;
use crate::transfers::Flows;

const AUDITOR: &str = "eve@Audit.example";

fn entry(world: &World, kind: RegisterKind, fields: &[(&str, &str)]) -> RegisterEntry {
    let at = world.app.clock().now();
    let fields = fields.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let fields: BTreeMap<String, String> = fields.collect();
    RegisterEntry {
        id: RegisterEntryId::generate(at, world.app.rng()),
        kind,
        state: RegisterState::InForce,
        body: Fields::entered(fields, "somebody").to_store().expect("stored"),
        book: None,
        review_at: Some(at.saturating_add(Duration::from_secs(86_400))),
        version: 1,
        created_at: at,
    }
}

impl World {
    fn enter(&self, customer: &Customer, entries: &[RegisterEntry]) {
        self.app.0.routes.flows.put(customer.tenant(), Flows::of(entries));
    }

    /// Why a mail is not written: there is no mail server, but that is looked at last.
    async fn problem(&self, customer: &Customer, mailing: veritwin_domain::MailingId) -> String {
        let context = customer.somebody(Role::Owner);
        match self.app.send_ledger_mail(&context, mailing).await {
            Err(Error::Conflict(problem)) => problem,
            other => panic!("expected a conflict, got {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outside_auditor_is_mailed_what_the_register_of_flows_lets_go() {
    let world = World::new().await;
    let customer = world.customer("Mailed").await;
    let eve = account(&world, &customer, (AUDITOR, Role::Auditor)).await;
    let to = Some(MailingTo::Auditor(eve));
    let input = MailingInput { to, every: "never".to_owned(), entries: Vec::new() };
    let context = customer.somebody(Role::Owner);
    let mailing = world.app.create_ledger_mailing(&context, input).await.expect("a mailing").id;
    let check = async |expected: &str| {
        let problem = world.problem(&customer, mailing).await;
        assert!(problem.contains(expected), "{problem}");
    };
    check("no mail server").await;
    let pin = entry(&world, RegisterKind::Residency, &[("jurisdiction", "GB")]);
    world.enter(&customer, std::slice::from_ref(&pin));
    check("register of flows").await;
    let listed = world.app.ledger_mailings(&context).await.expect("mailings");
    assert_eq!(listed[0].waits, Some("no_flow"));
    let flow = [("way", "routing"), ("host", "audit.example"), ("jurisdiction", "GB")];
    let flow = entry(&world, RegisterKind::Flow, &flow);
    world.enter(&customer, &[pin.clone(), flow]);
    check("no mail server").await;
    // Who has another part in the organisation is one of its own.
    world.enter(&customer, std::slice::from_ref(&pin));
    check("register of flows").await;
    let operator = world.app.local_operator();
    let tx = world.app.0.store.begin_platform(&operator).await.expect("records");
    tx.membership_add(customer.tenant(), eve, Role::Viewer).await.expect("a member");
    tx.commit().await.expect("written");
    check("no mail server").await;
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_that_waited_leaves_only_where_its_flow_is_still_entered() {
    let world = World::new().await;
    let customer = world.customer("Pinned").await;
    let queue = async |is_outside: bool, key: &str| {
        let kind = MailPayload::of(MessageKind::Ledger);
        let mail = MailPayload { to: AUDITOR.to_owned(), is_outside, ..kind };
        let mail = serde_json::to_vec(&mail).expect("JSON");
        let tx = world.app.0.store.begin(&customer.context).await.expect("records");
        tx.outbox_add(NewMail::new(MailRank::Notice, key, &mail)).await.expect("a mail");
        tx.commit().await.expect("written");
    };
    queue(true, "outside").await;
    queue(false, "inside").await;
    let context = world.app.job(veritwin_access::jobs::MAIL);
    let tx = world.app.0.store.begin_platform(&context).await.expect("records");
    let until = context.at.saturating_add(Duration::from_secs(60));
    let mut turns = veritwin_metastore::MailTurns::default();
    let claimed = tx.outbox_claim(&mut turns, context.at, until, 10).await.expect("claimed");
    tx.commit().await.expect("written");
    let kept = async || {
        let mut all = Vec::new();
        for mail in &claimed {
            let payload = world.app.admitted(&mail.payload).expect("a mail");
            let why = world.app.kept_from(mail, &payload).await.expect("looked");
            all.push((payload.is_outside, why));
        }
        all.sort_unstable();
        all
    };
    assert_eq!(kept().await, [(false, None), (true, None)]);
    let pin = entry(&world, RegisterKind::Residency, &[("jurisdiction", "GB")]);
    world.enter(&customer, &[pin]);
    assert_eq!(kept().await, [(false, None), (true, Some("flow"))]);
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailing_goes_on_from_those_that_were_ended() {
    let world = World::new().await;
    let customer = world.customer("Mailed").await;
    let eve = account(&world, &customer, (AUDITOR, Role::Auditor)).await;
    let context = customer.somebody(Role::Owner);
    let make = async || {
        let to = Some(MailingTo::Auditor(eve));
        let input = MailingInput { to, every: "never".to_owned(), entries: Vec::new() };
        world.app.create_ledger_mailing(&context, input).await.expect("a mailing").id
    };
    let (ended, unsent) = (make().await, make().await);
    let tx = world.app.0.store.begin(&customer.context).await.expect("records");
    let row = tx.ledger_mailing(ended).await.expect("the mailing");
    let mut body: serde_json::Value = serde_json::from_slice(&row.body).expect("JSON");
    body["past"] = serde_json::json!([
        {"number": 2, "tree_size": 7, "note": "second"},
        {"number": 1, "tree_size": 3, "note": "first"},
    ]);
    let mailed = LedgerMailing { body: serde_json::to_vec(&body).expect("JSON"), ..row };
    tx.ledger_mailing_update(&mailed).await.expect("written");
    tx.commit().await.expect("written");
    let new = make().await;
    let before = async || {
        let before = world.app.mailed_before(&context, (new, &[])).await.expect("read");
        let of = |all: &[Past]| -> Vec<_> {
            all.iter().map(|one| (one.mailing, one.number, one.tree_size)).collect()
        };
        (of(&before.going), of(&before.ended))
    };
    let newest = vec![(Some(ended), 2, 7)];
    assert_eq!(before().await, (newest.clone(), Vec::new()));
    for one in [ended, unsent] {
        world.app.delete_ledger_mailing(&context, one).await.expect("ended");
    }
    assert_eq!(before().await, (Vec::new(), newest));
    world.app.close().await;
}
