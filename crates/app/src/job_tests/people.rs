//! What people hold, and how they might come to more: nobody gives it to themselves, nobody gives
//! what outlasts their own right, a key makes none that works elsewhere, and what asks by itself
//! keeps no session.

use std::net::{IpAddr, Ipv4Addr};

use veritwin_access::{SESSION_ABSOLUTE_MAX, TokenKind};
use veritwin_domain::{Origin, Purpose, ScopeOf, SessionId, UserId};
use veritwin_metastore::{ApiKey, Realm, Session, SessionMethod, User};

use super::*;
use crate::model::{
    HolderOf, Invitee, NewApiKey, NewGrant, RightView, RoleInput, RoleOf, SignedIn,
};
use crate::rights::OWN;
use crate::{Arrival, Error, Result};

const PAGES: &str = "https://localhost";
const HERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const THERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const MINUTE: Duration = Duration::from_secs(60);

impl World {
    fn arrival(&self, from: Ipv4Addr) -> Arrival {
        let origin = Origin { address: Some(IpAddr::V4(from)), ..Origin::default() };
        let request = self.app.local_operator().request;
        Arrival { purpose: Purpose::AuthenticationSecurity, request, origin }
    }

    /// A member, with the token of a session.
    async fn member(
        &self,
        customer: &Customer,
        name: &str,
        role: Role,
    ) -> (UserId, Secret<String>) {
        let app = &self.app;
        let job = app.local_operator();
        let user = User {
            id: UserId::generate(job.at, app.rng()),
            realm: Realm::PLATFORM,
            email: address(name),
            name: None,
            password_hash: None,
            disabled: false,
            email_verified_at: None,
            attestation: None,
            version: 0,
            created_at: job.at,
        };
        let (token, digest) = TokenKind::Session.generate(app.rng());
        let session = Session {
            id: SessionId::generate(job.at, app.rng()),
            tenant: customer.tenant(),
            user: user.id,
            created_at: job.at,
            expires_at: job.at.saturating_add(SESSION_ABSOLUTE_MAX),
            last_seen_at: job.at,
            proved_at: job.at,
            doubted_at: None,
            second_factor: false,
            method: SessionMethod::Account,
            browser: None,
            system: None,
        };
        let tx = app.0.store.begin_platform(&job).await.expect("a transaction");
        tx.user_create(&user).await.expect("an account");
        tx.membership_add(customer.tenant(), user.id, role).await.expect("a member");
        tx.session_create(&session, digest.0).await.expect("a session");
        tx.commit().await.expect("commit");
        (user.id, token)
    }

    async fn by_session(&self, token: &Secret<String>) -> OpContext {
        let arrival = self.arrival(HERE);
        self.app.authenticate_session(token, arrival, true).await.expect("a session")
    }

    async fn by_key(&self, secret: &Secret<String>, from: Ipv4Addr) -> Result<OpContext> {
        self.app.authenticate_api_key(secret, self.arrival(from)).await
    }

    /// A role of the tenant's own.
    async fn role(&self, owner: &OpContext, allows: &[&str]) -> RoleOf {
        let allows = allows.iter().map(|name| (*name).to_owned()).collect();
        let input = RoleInput { name: "own".to_owned(), allows, denies: Vec::new() };
        RoleOf::Custom(self.app.create_role(owner, input).await.expect("a role").id)
    }

    /// An invitation's token.
    async fn invited(&self, by: &OpContext, name: &str, role: Role) -> Result<Secret<String>> {
        let email = Secret::new(address(name));
        let invitee = Invitee { email, name: None, role, scope: ScopeOf::Tenant };
        let invited = self.app.invite_user(by, invitee, PAGES).await?;
        let link = invited.link.expect("a link").into_exposed();
        Ok(Secret::new(link.split_once('#').expect("a token").1.to_owned()))
    }
}

fn address(name: &str) -> String {
    format!("{name}@people.example")
}

fn over_all(role: RoleOf) -> RightView {
    RightView { role, scope: ScopeOf::Tenant }
}

fn to(user: UserId, role: RoleOf, expires_at: Option<Timestamp>) -> NewGrant {
    NewGrant { holder: HolderOf::User(user), right: over_all(role), expires_at }
}

fn key(role: RoleOf, addresses: &[&str]) -> NewApiKey {
    let addresses = addresses.iter().map(|text| (*text).to_owned()).collect();
    NewApiKey { name: "k".to_owned(), right: over_all(role), expires_at: None, addresses }
}

fn is_own<T>(answer: Result<T>) -> bool {
    matches!(answer, Err(Error::Forbidden(detail)) if detail == OWN)
}

fn is_wrong<T>(answer: &Result<T>, place: &str) -> bool {
    matches!(answer, Err(Error::Invalid { at: Some(at), .. }) if at == place)
}

#[tokio::test]
async fn a_session_that_nobody_uses_ends_although_a_view_asks_again() {
    let world = World::new().await;
    let customer = world.customer("Idle").await;
    let (_, token) = world.member(&customer, "idle", Role::Viewer).await;
    let ask = async |is_used: bool| {
        world.clock.advance(MINUTE * 20);
        let arrival = world.arrival(HERE);
        world.app.authenticate_session(&token, arrival, is_used).await.map(drop)
    };
    for is_used in [true, true, false] {
        ask(is_used).await.expect("a session");
    }
    let ended = ask(false).await;
    assert!(matches!(ended, Err(Error::Unauthenticated(_))), "{ended:?}");
    world.app.close().await;
}

#[tokio::test]
async fn nobody_gives_themselves_rights_by_a_key_or_an_invitation_of_their_own() {
    let world = World::new().await;
    let app = &world.app;
    let customer = world.customer("Own").await;
    let (_, owner) = world.member(&customer, "owner", Role::Owner).await;
    let (own, token) = world.member(&customer, "own", Role::Administrator).await;
    let (other, _) = world.member(&customer, "other", Role::Viewer).await;
    let (owner, person) = (world.by_session(&owner).await, world.by_session(&token).await);
    let gives = world.role(&owner, &["grant.write"]).await;
    let (_, secret) = app.create_api_key(&person, key(gives, &[])).await.expect("a key");
    let program = world.by_key(&secret, HERE).await.expect("a key");
    app.create_grant(&program, to(other, gives, None)).await.expect("to somebody else");
    for by in [&person, &program] {
        assert!(is_own(app.create_grant(by, to(own, gives, None)).await));
    }
    let held = app.create_grant(&owner, to(own, gives, None)).await.expect("by an owner");
    for by in [&person, &program] {
        assert!(is_own(app.delete_grant(by, held.id).await));
    }

    // A key that nobody made is bounded by nobody.
    let of_nobody = ApiKey {
        id: ApiKeyId::generate(owner.at, app.rng()),
        name: "old".to_owned(),
        role: Role::Viewer,
        created_at: owner.at,
        expires_at: None,
        last_used_at: None,
        last_used_from: None,
        maker: None,
        maker_key: None,
        addresses: Vec::new(),
    };
    let tx = app.0.store.begin(&owner).await.expect("a transaction");
    tx.api_key_create(&of_nobody, [9; 32]).await.expect("a key");
    tx.commit().await.expect("commit");
    let holder = HolderOf::ApiKey(of_nobody.id);
    let new = NewGrant { holder, right: over_all(gives), expires_at: None };
    let refused = app.create_grant(&owner, new).await;
    assert!(is_wrong(&refused, "api_key_id"), "{refused:?}");

    let token = world.invited(&person, "own", Role::Viewer).await.expect("an invitation");
    assert!(is_own(app.join_tenant(&person, &token).await));
    let token = world.invited(&owner, "own", Role::Viewer).await.expect("an invitation");
    let SignedIn { session, .. } = app.join_tenant(&person, &token).await.expect("by another");
    let mut roles = session.user.roles;
    roles.sort_unstable();
    assert_eq!(roles, [Role::Administrator, Role::Viewer]);
    app.close().await;
}

#[tokio::test]
async fn what_is_held_for_a_while_is_given_for_no_longer() {
    let world = World::new().await;
    let app = &world.app;
    let customer = world.customer("While").await;
    let (_, owner) = world.member(&customer, "owner", Role::Owner).await;
    let (own, token) = world.member(&customer, "while", Role::Viewer).await;
    let (other, _) = world.member(&customer, "other", Role::Auditor).await;
    let owner = world.by_session(&owner).await;
    let role = RoleOf::BuiltIn;
    let end = owner.at.saturating_add(MINUTE * 10);
    let (before, after) = (end.saturating_sub(MINUTE), end.saturating_add(MINUTE));
    let new = to(own, role(Role::Administrator), Some(end));
    app.create_grant(&owner, new).await.expect("a grant");
    let person = world.by_session(&token).await;
    for (given, asked, until) in [
        (Role::Operator, None, Some(end)),
        (Role::Operator, Some(before), Some(before)),
        // What the membership gives has no end.
        (Role::Viewer, None, None),
        (Role::Viewer, Some(after), Some(after)),
    ] {
        let made = app.create_grant(&person, to(other, role(given), asked)).await.expect("a grant");
        assert_eq!(made.grant.expires_at, until, "{given} {asked:?}");
    }
    let refused = app.create_grant(&person, to(other, role(Role::Operator), Some(after))).await;
    assert!(is_wrong(&refused, "expires_at"), "{refused:?}");
    // What has no end is for others to give.
    let refused = world.invited(&person, "guest", Role::Operator).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    world.invited(&person, "guest", Role::Viewer).await.expect("an invitation");
    let refused = app.update_user(&person, other, &[Role::Auditor, Role::Operator]).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    app.update_user(&person, other, &[Role::Auditor, Role::Viewer]).await.expect("a viewer");
    let allows = vec!["device.update".to_owned()];
    let input = RoleInput { name: "own".to_owned(), allows, denies: Vec::new() };
    let refused = app.create_role(&person, input).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    app.close().await;
}

#[tokio::test]
async fn a_key_makes_none_that_works_where_it_does_not() {
    let world = World::new().await;
    let app = &world.app;
    let customer = world.customer("Bound").await;
    let (_, owner) = world.member(&customer, "owner", Role::Owner).await;
    let owner = world.by_session(&owner).await;
    let makes = world.role(&owner, &["api_key.create", "device.read"]).await;
    let near = key(makes, &["127.0.0.0/8"]);
    let (parent, secret) = app.create_api_key(&owner, near).await.expect("a key");
    let program = world.by_key(&secret, HERE).await.expect("from here");
    assert!(world.by_key(&secret, THERE).await.is_err());
    let none: &[&str] = &[];
    for (asked, bound) in [(none, "127.0.0.0/8"), (&["127.0.0.1"][..], "127.0.0.1/32")] {
        let made = app.create_api_key(&program, key(makes, asked)).await;
        let (view, secret) = made.expect("a key");
        assert_eq!(view.addresses, [bound]);
        world.by_key(&secret, HERE).await.expect("from here");
        assert!(world.by_key(&secret, THERE).await.is_err(), "{asked:?}");
    }
    for wider in ["192.0.2.0/24", "0.0.0.0/0", "::/0"] {
        let refused = app.create_api_key(&program, key(makes, &[wider])).await.map(drop);
        assert!(is_wrong(&refused, "addresses[0]"), "{wider}: {refused:?}");
    }
    // One that was made before is held to the same.
    let (secret, digest) = TokenKind::ApiKey.generate(app.rng());
    let made_before = ApiKey {
        id: ApiKeyId::generate(owner.at, app.rng()),
        name: "old".to_owned(),
        role: Role::Viewer,
        created_at: owner.at,
        expires_at: None,
        last_used_at: None,
        last_used_from: None,
        maker: parent.maker,
        maker_key: Some(parent.id),
        addresses: Vec::new(),
    };
    let tx = app.0.store.begin(&owner).await.expect("a transaction");
    tx.api_key_create(&made_before, digest.0).await.expect("a key");
    tx.commit().await.expect("commit");
    world.by_key(&secret, HERE).await.expect("from here");
    assert!(world.by_key(&secret, THERE).await.is_err());
    app.close().await;
}
