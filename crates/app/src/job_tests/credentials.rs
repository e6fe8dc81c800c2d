//! What lets devices in, where the platform is busy, a credential has ended, or a gateway is none
//! any more.

use veritwin_domain::{
    ClaimRequest, ProvisionAnswer, ProvisionCredential, ProvisionRequest, SessionId, SignIn, UserId,
};

use super::*;
use crate::gateways::Asked;
use crate::model::{
    CredentialChange, CredentialInput, LandingInput, NewCredential, ProfileInput, ProvisionStrategy,
};
use crate::{BasicLogin, ChildWanted, DeviceLogin, Error};

fn basic(password: Option<&str>) -> NewCredential {
    let input = CredentialInput::Basic {
        client_id: None,
        user: Some("pump".to_owned()),
        password: password.map(|text| Secret::new(text.to_owned())),
    };
    let (valid_from, valid_until, replaces) = (None, None, None);
    NewCredential { name: String::new(), input, valid_from, valid_until, replaces }
}

/// Somebody who administers the tenant, signed in just now.
pub(super) fn administrator(world: &World, customer: &Customer) -> OpContext {
    let at = world.app.clock().now();
    let sign_in = SignIn::proved(at);
    let (user, session) = (UserId::from_bytes([8; 16]), SessionId::from_bytes([9; 16]));
    let actor = ActorKind::User { user, session, sign_in };
    let actor = Actor::with_roles(actor, vec![Role::Administrator]);
    OpContext { actor, ..world.app.demo_context(customer.tenant()) }
}

fn shown(password: &str) -> BasicLogin {
    BasicLogin {
        client_id: Secret::new("c1".to_owned()),
        user: Secret::new("pump".to_owned()),
        password: Secret::new(password.as_bytes().to_vec()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_platform_slows_no_honest_device_down() {
    const CHOSEN: &str = "correct horse battery";
    let world = World::new().await;
    let customer = world.customer("Only").await;
    let (app, context, device) = (&world.app, &customer.context, customer.device);
    app.add_credential(context, device, basic(Some(CHOSEN))).await.expect("chosen");
    let made = app.add_credential(context, device, basic(None)).await.expect("made");
    let made = made.secret.expect("shown once");
    // No turn comes any more: as if all waited too long.
    app.0.device_passwords.hashing.close();
    let here = Some(std::net::IpAddr::from([192, 0, 2, 1]));
    for _ in 0..200 {
        let busy = app.login_device_basic(&shown(CHOSEN), here).await;
        assert!(matches!(busy, Err(Error::Busy { .. })), "no turn");
    }
    // One that takes no turn is not held to it.
    let login = app.login_device_basic(&shown(made.expose()), here).await.expect("in");
    assert_eq!(login.device, device);
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_hashed_for_what_has_no_place() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    let (app, context, device) = (&world.app, &customer.context, customer.device);
    let refused = async || loop {
        let token = NewCredential { input: CredentialInput::Token, ..basic(None) };
        if let Err(error) = app.add_credential(context, device, token).await {
            break error;
        }
    };
    assert!(matches!(refused().await, Error::Limit(_)), "a bound");
    app.0.device_passwords.hashing.close();
    let full = app.add_credential(context, device, basic(Some("correct horse battery"))).await;
    let Err(Error::Limit(limit)) = full else { panic!("a turn was waited for") };
    assert_eq!(limit.name, "credentials_per_device_max");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_whose_credential_has_ended_is_not_told_that_it_is_in() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    let input = ProfileInput {
        name: "Lot".to_owned(),
        strategy: ProvisionStrategy::CreateNew,
        devices_max: 10,
        landing: LandingInput::default(),
        expires_at: None,
    };
    let app = &world.app;
    let person = administrator(&world, &customer);
    let (_, key, secret) = app.create_profile(&person, input).await.expect("a profile");
    let ask = async || {
        let token = Secret::new("a token of its own".to_owned());
        let request = ProvisionRequest {
            name: "valve".to_owned(),
            key: key.clone(),
            secret: secret.clone(),
            credential: ProvisionCredential::Token(Some(token)),
        };
        app.provision_device(request, None, None).await
    };
    for _ in 0..2 {
        assert!(matches!(ask().await, Ok(ProvisionAnswer::Token(_))), "its answer was lost");
    }
    let tx = app.0.store.read(&customer.context).await.expect("records");
    let valve = tx.device_by_name("valve").await.expect("read").expect("made").id;
    let credential = tx.credentials(valve).await.expect("read")[0].id;
    drop(tx);
    let until = app.clock().now().saturating_add(Duration::from_secs(60));
    let change = CredentialChange { valid_until: Some(Some(until)), ..CredentialChange::default() };
    app.update_credential(&person, (valve, credential), change).await.expect("an end");
    assert!(ask().await.is_ok(), "not yet");
    world.clock.advance(Duration::from_secs(61));
    assert!(matches!(ask().await, Err(Error::Conflict(_))), "it ended");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_gateway_any_more_makes_no_device() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    let (app, context) = (&world.app, &customer.context);
    let gateway = DeviceLogin {
        tenant: customer.tenant(),
        device: customer.device,
        credential: CredentialId::from_bytes([1; 16]),
        name: "pump".into(),
        is_gateway: true,
        is_sparkplug_host: false,
        ends_at: None,
        certificate: None,
    };
    // It was one when its names were looked up.
    let wanted = [ChildWanted { name: "meter".to_owned(), kind: None }];
    let mut asked = Asked::new(&wanted);
    let made = app.make_children(context, &gateway, &mut asked).await;
    assert!(matches!(made, Err(Error::Forbidden(_))), "no gateway");
    let tx = app.0.store.read(context).await.expect("records");
    assert!(tx.device_by_name("meter").await.expect("read").is_none());
    drop(tx);
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_in_no_more_is_told_from_who_does() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    let (app, context, device) = (&world.app, &customer.context, customer.device);
    for name in ["one", "two"] {
        let input =
            CredentialInput::Basic { client_id: None, user: Some(name.to_owned()), password: None };
        let (valid_from, valid_until, replaces) = (None, None, None);
        let new = NewCredential { name: name.to_owned(), input, valid_from, valid_until, replaces };
        app.add_credential(context, device, new).await.expect("made");
    }
    let tx = app.0.store.read(context).await.expect("records");
    let all: Vec<_> = tx.credentials(device).await.expect("read");
    drop(tx);
    let owners: Vec<_> = all.iter().map(|one| (device, one.id)).collect();
    let lost = async |tenant| app.credentials_lost(tenant, &owners).await.expect("known");
    assert!(lost(customer.tenant()).await.is_empty());
    // Of another tenant nobody comes in by them.
    let other = world.customer("Other").await;
    assert_eq!(lost(other.tenant()).await, owners);
    let tx = app.0.store.begin(context).await.expect("records");
    tx.credential_revoke(device, owners[0].1, context.at).await.expect("revoked");
    tx.commit().await.expect("written");
    assert_eq!(lost(customer.tenant()).await, owners[..1]);
    // Under another device it is none.
    let elsewhere = [(other.device, owners[1].1)];
    let wrong = app.credentials_lost(customer.tenant(), &elsewhere).await.expect("known");
    assert_eq!(wrong, elsewhere);
    let administrator = customer.somebody(Role::Administrator);
    app.delete_device(&administrator, device).await.expect("deleted");
    assert_eq!(lost(customer.tenant()).await, owners);
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_with_one_credential_is_bounded_over_all_devices() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    let (app, tenant) = (&world.app, customer.tenant());
    let ask = async |number: u16, credential: u8| {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let secret = Secret::new("long enough".to_owned());
        let request = ClaimRequest { secret, duration: None };
        let who = (tenant, DeviceId::from_bytes(id), CredentialId::from_bytes([credential; 16]));
        app.offer_device(who, request).await
    };
    for number in 0..256 {
        let unknown = ask(number, 1).await;
        assert!(matches!(unknown, Err(Error::NotFound(_))), "{unknown:?}");
    }
    let over = ask(256, 1).await;
    assert!(matches!(over, Err(Error::Rate(_))), "{over:?}");
    let other = ask(256, 2).await;
    assert!(matches!(other, Err(Error::NotFound(_))), "{other:?}");
    world.app.close().await;
}
