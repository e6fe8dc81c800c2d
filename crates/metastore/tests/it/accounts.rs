//! Tenants, accounts, sessions, links, API keys.

use veritwin_domain::{ApiKeyId, Role, Secret, SessionId, UserId};
use veritwin_metastore::{
    Activity, ApiKey, Attestation, Bringer, Error, Line, LinkKind, OneTimeLink, Page, Realm,
    Session, SessionMethod, User,
};

use crate::platform::record;
use crate::world::{START, World, everywhere, later};

pub(crate) fn user(world: &World, email: &str) -> User {
    User {
        id: UserId::generate(START, world.rng.as_ref()),
        realm: Realm::PLATFORM,
        email: email.to_owned(),
        name: Some("Ada Canary".to_owned()),
        password_hash: Some(Secret::new("$argon2id$v=19$...".to_owned())),
        disabled: false,
        email_verified_at: Some(START),
        attestation: Some(Attestation { at: START, text: "2026-1".to_owned() }),
        version: 1,
        created_at: START,
    }
}

#[tokio::test]
async fn tenants_are_made_listed_changed_and_deleted() {
    everywhere(async |world| {
        let tx = world.platform().await;
        let first = tx.tenants(&Page::first(1)).await.expect("a page");
        assert_eq!(first.items.len(), 1);
        let next = Page { limit: 1, after: first.next.clone() };
        let second = tx.tenants(&next).await.expect("a page");
        assert_ne!(first.items, second.items);
        let found = tx.tenant(world.tenant).await.expect("the tenant");
        assert_eq!(found.name, "Harbour House");
        assert_eq!(tx.tenant_of_log(found.log_id).await.expect("by log"), world.tenant);
        drop(tx);

        let tx = world.begin().await;
        let mut own = tx.tenant().await.expect("own");
        own.name = "Harbour House 2".to_owned();
        tx.tenant_update(&own, Some(1)).await.expect("an update");
        let stale = tx.tenant_update(&own, Some(1)).await.expect_err("stale");
        assert!(matches!(stale, Error::Conflict { .. }), "{stale:?}");
        assert_eq!(tx.tenant().await.expect("own").version, 2);
        tx.commit().await.expect("commit");

        let tx = world.platform().await;
        tx.tenant_delete(world.other).await.expect("deleted");
        let gone = tx.tenant(world.other).await.expect_err("gone");
        assert!(matches!(gone, Error::NotFound { .. }));
    })
    .await;
}

#[tokio::test]
async fn an_address_has_one_account_in_its_realm() {
    everywhere(async |world| {
        let ada = user(world, "Ada@Example.org");
        let tx = world.platform().await;
        tx.user_create(&ada).await.expect("an account");
        let found = tx.user_by_email(Realm::PLATFORM, " ada@example.ORG ").await;
        assert_eq!(found.expect("look-up"), Some(ada.clone()));
        let elsewhere = Realm([1; 16]);
        assert_eq!(tx.user_by_email(elsewhere, "ada@example.org").await.expect("none"), None);
        let twin = User { realm: elsewhere, ..user(world, "ada@example.org") };
        tx.user_create(&twin).await.expect("another realm");
        tx.commit().await.expect("commit");

        let tx = world.platform().await;
        let taken = tx.user_create(&user(world, "ADA@example.org")).await.expect_err("taken");
        assert!(matches!(taken, Error::Conflict { .. }), "{taken:?}");
        let commit = tx.commit().await.expect_err("nothing is kept");
        assert!(matches!(commit, Error::Conflict { what: "transaction", .. }));

        let tx = world.platform().await;
        let changed = User { disabled: true, name: None, ..ada.clone() };
        tx.user_update(&changed, Some(1)).await.expect("an update");
        assert!(matches!(tx.user_update(&ada, Some(1)).await, Err(Error::Conflict { .. })));
        let found = tx.user(ada.id).await.expect("the account");
        assert_eq!(found, User { version: 2, ..changed });
        assert!(!format!("{found:?}").contains("example"));
        tx.user_delete(ada.id).await.expect("deleted");
        assert!(matches!(tx.user_delete(ada.id).await, Err(Error::NotFound { .. })));
        let found = tx.user_by_email(Realm::PLATFORM, "ada@example.org").await;
        assert_eq!(found.expect("look-up"), None);
    })
    .await;
}

#[tokio::test]
async fn people_belong_to_tenants_by_their_roles() {
    everywhere(async |world| {
        let (ada, bob) = (user(world, "ada@example.org"), user(world, "bob@example.org"));
        let tx = world.platform().await;
        for person in [&ada, &bob] {
            tx.user_create(person).await.expect("an account");
            tx.membership_add(world.tenant, person.id, Role::Operator).await.expect("a role");
        }
        tx.membership_add(world.tenant, ada.id, Role::Administrator).await.expect("a role");
        tx.membership_add(world.tenant, ada.id, Role::Administrator).await.expect("again");
        tx.membership_add(world.other, ada.id, Role::Operator).await.expect("elsewhere");
        tx.session_create(&session(world, ada.id), [7; 32]).await.expect("a session");
        assert_eq!(tx.memberships(ada.id).await.expect("roles").len(), 3);
        tx.commit().await.expect("commit");

        let tx = world.begin().await;
        let people = tx.members(&Page::whole()).await.expect("people").items;
        assert_eq!(people.len(), 2);
        let found = tx.member(ada.id).await.expect("ada");
        assert_eq!(found.roles, [Role::Administrator, Role::Operator]);
        assert_eq!(found.user.password_hash, None);
        tx.member_remove(ada.id).await.expect("removed");
        assert!(matches!(tx.member(ada.id).await, Err(Error::NotFound { .. })));
        assert!(matches!(tx.member_remove(ada.id).await, Err(Error::NotFound { .. })));
        tx.commit().await.expect("commit");

        let tx = world.platform().await;
        tx.user_create(&user(world, "nobody@example.org")).await.expect("an account");
        assert_eq!(tx.users_of_nobody(9).await.expect("nobody's").len(), 1);
        let roles = tx.memberships(ada.id).await.expect("roles");
        assert_eq!(roles, [(world.other, Role::Operator)]);
        assert_eq!(tx.session_by_digest([7; 32]).await.expect("ended"), None);
        // A tenant that lost its last person is no new one.
        tx.user_delete(ada.id).await.expect("deleted");
        assert!(!tx.has_members(world.other).await.expect("asked"));
        assert!(tx.had_members(world.other).await.expect("asked"));
    })
    .await;
}

#[tokio::test]
async fn a_line_keeps_who_left_and_ends_with_the_membership() {
    everywhere(async |world| {
        let names = ["root", "middle", "low"].map(|name| format!("{name}@example.org"));
        let [root, middle, low] = names.each_ref().map(|email| user(world, email));
        let tx = world.platform().await;
        for person in [&root, &middle, &low] {
            tx.user_create(person).await.expect("an account");
            tx.membership_add(world.tenant, person.id, Role::Operator).await.expect("a role");
        }
        tx.brought(world.tenant, root.id, Bringer::Operator).await.expect("by the operator");
        tx.brought(world.tenant, middle.id, Bringer::Person(root.id)).await.expect("by root");
        tx.commit().await.expect("commit");

        let inviters = |line: Option<Line>| {
            let mut all: Vec<UserId> =
                line.expect("a member").inviters.into_iter().map(|(id, _)| id).collect();
            all.sort();
            all
        };
        let both = || {
            let mut both = vec![root.id, middle.id];
            both.sort();
            both
        };
        let tx = world.begin().await;
        // By a role; in the other direction it changes nothing of whom the operator brought in.
        tx.brought(low.id, Bringer::Person(middle.id)).await.expect("a role given");
        tx.brought(root.id, Bringer::Person(low.id)).await.expect("nothing");
        let line = tx.line(root.id).await.expect("a line").expect("a member");
        assert!(line.by_operator && line.inviters.is_empty(), "{line:?}");
        assert_eq!(inviters(tx.line(low.id).await.expect("a line")), both());
        tx.member_remove(middle.id).await.expect("removed");
        assert_eq!(inviters(tx.line(low.id).await.expect("a line")), both());
        assert_eq!(tx.line(middle.id).await.expect("nobody's"), None);
        tx.commit().await.expect("commit");

        // Who comes again begins anew.
        let tx = world.platform().await;
        tx.membership_add(world.tenant, middle.id, Role::Operator).await.expect("a role");
        let line = tx.line(world.tenant, middle.id).await.expect("a line");
        assert!(inviters(line).is_empty());
        assert_eq!(tx.line(world.other, root.id).await.expect("nobody's"), None);
    })
    .await;
}

pub(crate) fn session(world: &World, user: UserId) -> Session {
    Session {
        id: SessionId::generate(START, world.rng.as_ref()),
        tenant: world.tenant,
        user,
        created_at: START,
        expires_at: later(12 * 3600),
        last_seen_at: START,
        proved_at: START,
        doubted_at: None,
        second_factor: true,
        method: SessionMethod::Provider,
        browser: Some("Firefox".to_owned()),
        system: Some("Windows 10".to_owned()),
    }
}

#[tokio::test]
async fn sessions_live_and_end() {
    everywhere(async |world| {
        let ada = user(world, "ada@example.org");
        let tx = world.platform().await;
        tx.user_create(&ada).await.expect("an account");
        let (one, two) = (session(world, ada.id), session(world, ada.id));
        tx.session_create(&one, [1; 32]).await.expect("one");
        tx.session_create(&two, [2; 32]).await.expect("two");
        assert_eq!(tx.session_by_digest([1; 32]).await.expect("found"), Some(one.clone()));
        assert_eq!(tx.session_by_digest([3; 32]).await.expect("none"), None);
        tx.session_touch(one.id, later(100)).await.expect("touched");
        assert_eq!(tx.sessions_of(ada.id).await.expect("both").len(), 2);
        assert_eq!(tx.sessions_purge(later(200), later(50)).await.expect("purged"), 1);
        let left = tx.session_by_digest([1; 32]).await.expect("found").expect("still there");
        assert_eq!(left.last_seen_at, later(100));
        // Doubted until its person proves themselves again, also at the very same moment.
        assert!(!left.is_doubted());
        tx.session_ask_step_up(one.id, left.proved_at).await.expect("asked");
        let doubted = tx.session_by_digest([1; 32]).await.expect("found").expect("still there");
        assert!(doubted.is_doubted());
        tx.session_prove(&doubted, [4; 32]).await.expect("proven");
        let proven = tx.session_by_digest([4; 32]).await.expect("found").expect("still there");
        assert!(!proven.is_doubted() && proven.proved_at == left.proved_at);
        tx.session_delete(one.id).await.expect("ended");
        tx.session_delete(one.id).await.expect("again");
        assert!(tx.session_touch(one.id, later(1)).await.is_err());
        tx.session_create(&one, [1; 32]).await.expect("one");
        assert_eq!(tx.sessions_delete_of(ada.id).await.expect("ended"), 1);
    })
    .await;
}

#[tokio::test]
async fn a_link_works_once_and_before_its_end() {
    everywhere(async |world| {
        let link = OneTimeLink {
            kind: LinkKind::Invitation,
            tenant: Some(world.tenant),
            user: Some(UserId::generate(START, world.rng.as_ref())),
            payload: br#"{"email":"bob@example.org"}"#.to_vec(),
            created_at: START,
            expires_at: later(60),
            used_at: None,
        };
        let tx = world.begin().await;
        tx.link_create(&link, [1; 32]).await.expect("a link");
        tx.commit().await.expect("commit");
        let tx = world.platform().await;
        let first =
            OneTimeLink { kind: LinkKind::FirstAdministrator, tenant: None, ..link.clone() };
        let first = OneTimeLink { user: None, ..first };
        tx.link_create(&first, [2; 32]).await.expect("a link");
        assert_eq!(tx.link_by_digest([1; 32]).await.expect("found"), Some(link.clone()));
        assert!(tx.link_open(LinkKind::FirstAdministrator, later(59)).await.expect("open"));
        assert!(!tx.link_open(LinkKind::FirstAdministrator, later(60)).await.expect("closed"));
        let used = tx.link_use([1; 32], later(59)).await.expect("used");
        assert_eq!(used.used_at, Some(later(59)));
        assert!(matches!(tx.link_use([1; 32], later(59)).await, Err(Error::NotFound { .. })));
        assert!(matches!(tx.link_use([2; 32], later(60)).await, Err(Error::NotFound { .. })));
        assert_eq!(tx.links_purge(later(61)).await.expect("purged"), 2);
    })
    .await;
}

#[tokio::test]
async fn api_keys_are_found_by_their_digest_only() {
    everywhere(async |world| {
        let key = ApiKey {
            id: ApiKeyId::generate(START, world.rng.as_ref()),
            name: "export job".to_owned(),
            role: Role::Operator,
            created_at: START,
            expires_at: Some(later(10)),
            last_used_at: None,
            last_used_from: None,
            maker: None,
            maker_key: None,
            addresses: Vec::new(),
        };
        let tx = world.begin().await;
        tx.api_key_create(&key, [1; 32]).await.expect("a key");
        assert_eq!(
            tx.api_keys(&Page::whole()).await.expect("keys").items,
            std::slice::from_ref(&key)
        );
        tx.commit().await.expect("commit");
        let tx = world.platform().await;
        let found = tx.api_key_by_digest([1; 32]).await.expect("found");
        assert_eq!(found, Some((world.tenant, key.clone())));
        assert_eq!(tx.api_key_by_digest([2; 32]).await.expect("none"), None);
        tx.api_key_touch(world.tenant, key.id, later(5), None).await.expect("touched");
        tx.commit().await.expect("commit");
        let tx = world.begin().await;
        assert_eq!(tx.api_key(key.id).await.expect("key").last_used_at, Some(later(5)));
        tx.api_key_delete(key.id).await.expect("revoked");
        assert!(matches!(tx.api_key(key.id).await, Err(Error::NotFound { .. })));
    })
    .await;
}

#[tokio::test]
async fn the_maker_of_a_revoked_key_is_known_as_long_as_its_records() {
    everywhere(async |world| {
        let maker = UserId::from_bytes([5; 16]);
        let key = |number: u8, maker_key: Option<ApiKeyId>| ApiKey {
            id: ApiKeyId::from_bytes([number; 16]),
            name: "a key".to_owned(),
            role: Role::Operator,
            created_at: START,
            expires_at: None,
            last_used_at: None,
            last_used_from: None,
            maker: Some(maker),
            maker_key,
            addresses: Vec::new(),
        };
        let (first, second) = (key(1, None), key(2, Some(ApiKeyId::from_bytes([1; 16]))));
        let tx = world.begin().await;
        tx.api_key_create(&first, [1; 32]).await.expect("a key");
        tx.api_key_create(&second, [2; 32]).await.expect("a key that it made");
        let of_key = Activity { actor: Some([2; 16]), ..record(world, 1) };
        tx.activity_add(&of_key).await.expect("a record");
        let actors = tx.activity_actors(&[of_key.id]).await.expect("its actor");
        assert_eq!(actors, [[2; 16]]);
        let both = [[1; 16], [2; 16], [9; 16]];
        assert_eq!(tx.key_makers(&both).await.expect("makers"), [maker, maker]);
        tx.api_key_delete(first.id).await.expect("revoked, with what it made");
        assert_eq!(tx.key_makers(&both).await.expect("makers"), [maker, maker]);
        tx.commit().await.expect("commit");
        // While there are records of what a key did, its maker is known.
        let tx = world.platform().await;
        assert_eq!(tx.key_makers_purge(later(9)).await.expect("purged"), 1);
        tx.activity_purge(later(9), &[]).await.expect("purged");
        assert_eq!(tx.key_makers_purge(later(9)).await.expect("purged"), 1);
        tx.commit().await.expect("commit");
        let tx = world.read().await;
        assert_eq!(tx.key_makers(&both).await.expect("makers"), []);
    })
    .await;
}
