//! What names somebody where nothing is theirs, and what their devices hold beside readings; and in
//! which sealed columns a text stands, of all that the schema has.

use serde_json::json;
use veritwin_domain::{CallId, RelayMessage, UserId};
use veritwin_metastore::{AttributeScope, LinkKind, SealedPlace};

use super::*;
use crate::links::Payload;

/// Whom rules mail beside them.
const DUTY: &str = "duty@site.example";
/// What of others names somebody, and what their devices hold.
pub(super) const ELSEWHERE: [SealedPlace; 5] = [
    ("attributes", "body"),
    ("device_calls", "body"),
    ("one_time_links", "payload"),
    ("retained_messages", "body"),
    ("rules", "body"),
];

/// A rule that mails somebody beside others, and an invitation to them.
pub(super) async fn name_elsewhere(world: &World, customer: &Customer, email: &str) {
    let (app, at) = (&world.app, world.app.clock().now());
    let mails = Vec::from([email, DUTY].map(|one| Secret::new(one.to_owned())));
    let input = RuleInput { notify_emails: mails, ..rule(false) };
    app.create_rule(&customer.context, input).await.expect("a rule");
    let payload = Payload { email: Some(email.to_owned()), ..Payload::default() };
    let (kind, tenant) = (LinkKind::Invitation, Some(customer.tenant()));
    let made = app.new_link(&app.local_operator(), kind, tenant, &payload).expect("a link");
    let (mut link, _, digest) = made;
    link.user = Some(UserId::generate(at, app.rng()));
    let tx = app.0.store.begin(&customer.context).await.expect("records");
    tx.link_create(&link, digest).await.expect("an invitation");
    tx.commit().await.expect("written");
}

/// An attribute of a device, a call to it, and what it retains, with a text.
pub(super) async fn hold(world: &World, customer: &Customer, (device, text): (DeviceId, &str)) {
    let (app, at) = (&world.app, world.app.clock().now());
    let attributes = json!({"note": ["t", text]}).to_string();
    let id = CallId::generate(at, app.rng());
    let mut call = crate::calls::withdrawn(id, device, at).expect("a call");
    let body = json!({"method": "show", "params": text, "two_way": false, "retries": 0});
    call.body = body.to_string().into_bytes();
    let tx = app.0.store.begin(&customer.context).await.expect("records");
    let (scope, body) = (AttributeScope::Server, attributes.as_bytes());
    tx.attributes_put(device, scope, body, None).await.expect("attributes");
    tx.call_put(&call).await.expect("a call");
    tx.commit().await.expect("written");
    let message = RelayMessage {
        tenant: customer.tenant(),
        device,
        credential: CredentialId::from_bytes([1; 16]),
        received_at: at,
        expires_at: None,
        topic: format!("note/{device}").into(),
        properties: Arc::default(),
        payload: text.as_bytes().into(),
        qos: 1,
        retain: true,
        hops: 0,
    };
    let mut draft = app.retained_draft(customer.tenant()).await.expect("the turn");
    assert_eq!(draft.take(&Arc::new(message)), None);
    app.store_retained(customer.tenant(), draft).await.expect("retained");
}

/// The sealed columns of a customer in which a text stands.
pub(super) async fn sealed(world: &World, customer: &Customer, text: &str) -> Vec<SealedPlace> {
    world.app.flush_activity().await;
    let tx = world.app.0.store.read(&customer.context).await.expect("records");
    let places = tx.sealed_holding(&[text.to_owned()]).await.expect("looked through");
    places.into_iter().collect()
}
