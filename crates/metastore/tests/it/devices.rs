//! Devices, credentials, attributes, twins.

use std::sync::Arc;

use veritwin_domain::{
    AuthorityId, CredentialId, Declaration, DeviceId, MessageId, ProvisionProfileId, Secret, SiteId,
};
use veritwin_metastore::{
    AttributeScope, Credential, CredentialFacts, CredentialKind, Device, DeviceAuthority,
    DeviceFilter, Error, Page, Placement, ProvisionProfile, ProvisionedDevice, RetainedMessage,
    Twin,
};

use crate::world::{START, World, device, everywhere, later};

pub(crate) fn twin(world: &World, name: &str) -> Twin {
    Twin {
        id: SiteId::generate(START, world.rng.as_ref()),
        name: name.to_owned(),
        source_kind: "ifc".to_owned(),
        source_schema: "IFC4".to_owned(),
        source_sha256: [9; 32],
        source_bytes: 1234,
        source_object: "twins/1/source".to_owned(),
        model_object: "twins/1/model".to_owned(),
        geometry_object: None,
        detail: br#"{"storeys":2}"#.to_vec(),
        version: 1,
        created_at: START,
        updated_at: START,
    }
}

pub(crate) fn credential(world: &World, device: DeviceId) -> Credential {
    Credential {
        id: CredentialId::generate(START, world.rng.as_ref()),
        device,
        kind: CredentialKind::AccessToken,
        facts: CredentialFacts::default(),
        created_at: START,
        valid_from: None,
        valid_until: None,
        disabled_at: None,
        used_at: None,
        certificate_until: None,
        revoked_at: None,
    }
}

#[tokio::test]
async fn devices_are_made_changed_and_deleted() {
    everywhere(async |world| {
        let pump = device(world, "Pump 1");
        let tx = world.begin().await;
        tx.device_create(&pump).await.expect("a device");
        assert_eq!(tx.device(pump.id).await.expect("found"), pump);
        assert_eq!(tx.device_held(pump.id).await.expect("found"), pump);
        let by_name = tx.device_by_name(" pump 1").await.expect("look-up");
        assert_eq!(by_name.map(|found| found.id), Some(pump.id));
        assert_eq!(tx.device_by_name("pump 2").await.expect("look-up"), None);
        let changed = Device {
            name: "Pump 2".to_owned(),
            declaration: Declaration::Personal,
            placement: Some(Placement {
                space_id: Some("0BTBFw6f90Nfh9rP1dl_3P".to_owned()),
                element_id: None,
                position: Some([1.5, -2.0, 3.25]),
            }),
            ..pump.clone()
        };
        tx.device_update(&changed, Some(1)).await.expect("an update");
        let stale = tx.device_update(&changed, Some(1)).await.expect_err("stale");
        assert!(matches!(stale, Error::Conflict { .. }), "{stale:?}");
        tx.device_update(&changed, None).await.expect("whatever the version");
        tx.device_seen(pump.id, later(9)).await.expect("seen");
        tx.device_seen(pump.id, later(3)).await.expect("seen earlier");
        let found = tx.device(pump.id).await.expect("found");
        let last_seen_at = Some(later(9));
        assert_eq!(found, Device { version: 3, last_seen_at, ..changed });
        tx.device_delete(pump.id).await.expect("deleted");
        assert!(matches!(tx.device(pump.id).await, Err(Error::NotFound { .. })));
        assert!(matches!(tx.device_delete(pump.id).await, Err(Error::NotFound { .. })));
        tx.commit().await.expect("commit");
    })
    .await;
}

#[tokio::test]
async fn a_name_is_taken_once_in_a_tenant() {
    everywhere(async |world| {
        for tenant in [world.tenant, world.other] {
            let tx = world.begin_in(tenant).await;
            tx.device_create(&device(world, "Pump")).await.expect("a device");
            tx.commit().await.expect("commit");
        }
        let tx = world.begin().await;
        let taken = tx.device_create(&device(world, "pump ")).await.expect_err("taken");
        assert!(matches!(taken, Error::Conflict { .. }), "{taken:?}");
        drop(tx);
        let tx = world.begin().await;
        let blank = tx.device_create(&device(world, "  ")).await.expect_err("blank");
        assert!(matches!(blank, Error::Invalid { .. }), "{blank:?}");
    })
    .await;
}

async fn names(world: &World, filter: DeviceFilter, limit: u32) -> Vec<Vec<String>> {
    let tx = world.read().await;
    let mut page = Page::first(limit);
    let mut pages = Vec::new();
    loop {
        let listed = tx.devices(&filter, &page).await.expect("a page");
        pages.push(listed.items.iter().map(|device| device.name.clone()).collect());
        match listed.next {
            Some(cursor) => page.after = Some(cursor.to_string().parse().expect("a cursor")),
            None => return pages,
        }
    }
}

#[tokio::test]
async fn lists_are_sorted_searched_paged_and_follow_changes() {
    everywhere(async |world| {
        let home = twin(world, "Home");
        let tx = world.begin().await;
        tx.twin_create(&home).await.expect("a twin");
        let mut made = Vec::new();
        for name in ["delta", "Alpha", "charlie", "Bravo"] {
            let mut device = device(world, name);
            device.twin = (name != "delta").then_some(home.id);
            tx.device_create(&device).await.expect("a device");
            made.push(device);
        }
        tx.commit().await.expect("commit");
        let all = DeviceFilter::default;
        assert_eq!(
            names(world, all(), 3).await,
            [vec!["Alpha", "Bravo", "charlie"], vec!["delta"]]
        );
        let search =
            DeviceFilter { search: Some("A".to_owned()), twin: Some(home.id), among: None };
        let total = async |filter: &DeviceFilter| {
            let turn = world.store.names_turn(world.tenant, filter).await;
            let tx = world.read().await;
            let found = tx.device_page(filter, &Page::first(1), turn).await;
            let (first, total) = found.expect("a page");
            if let Some(after) = first.next {
                let turn = world.store.names_turn(world.tenant, filter).await;
                let next = Page { limit: 1, after: Some(after) };
                let (next, none) = tx.device_page(filter, &next, turn).await.expect("a page");
                assert!(next.items[0].name != first.items[0].name && none.is_none());
            }
            total.expect("a total")
        };
        assert_eq!((total(&search).await, total(&all()).await), (3, 4));
        assert_eq!(names(world, search, 9).await, [["Alpha", "Bravo", "charlie"]]);
        let kind = made[0].kind.clone();
        let words = DeviceFilter { search: Some(format!("LT {kind} de")), ..all() };
        assert_eq!(
            (total(&words).await, names(world, words, 9).await),
            (1, vec![vec!["delta".to_owned()]])
        );
        let among = Some(Arc::new([made[0].id, made[3].id].into()));
        let chosen = DeviceFilter { among, ..all() };
        assert_eq!((total(&chosen).await, names(world, chosen, 1).await.len()), (2, 2));

        let tx = world.begin().await;
        let renamed = Device { name: "Zulu".to_owned(), ..made[1].clone() };
        tx.device_update(&renamed, None).await.expect("renamed");
        tx.device_delete(made[2].id).await.expect("deleted");
        let counts = tx.device_counts().await.expect("counts");
        assert_eq!((counts.0, counts.1.get(&home.id)), (3, Some(&2)));
        tx.commit().await.expect("commit");
        assert_eq!(names(world, all(), 9).await, [["Bravo", "delta", "Zulu"]]);

        let tx = world.begin().await;
        tx.twin_delete(home.id).await.expect("deleted");
        tx.commit().await.expect("commit");
        let bound = DeviceFilter { search: None, twin: Some(home.id), among: None };
        assert_eq!(names(world, bound, 9).await, [Vec::<String>::new()]);
        let tx = world.begin().await;
        tx.device_create(&device(world, "rolled back")).await.expect("a device");
        drop(tx);
        world.store.forget_names(world.tenant);
        assert_eq!(names(world, all(), 9).await, [["Bravo", "delta", "Zulu"]]);
        let bad = "AAAA".parse().map(|after| Page { limit: 1, after: Some(after) });
        let refused = world.read().await.devices(&all(), &bad.expect("base64")).await;
        assert!(matches!(refused, Err(Error::Invalid { what: "cursor", .. })));
    })
    .await;
}

#[tokio::test]
async fn credentials_lead_to_their_device_until_revoked() {
    everywhere(async |world| {
        let pump = device(world, "Pump");
        let token = credential(world, pump.id);
        let basic = Credential { kind: CredentialKind::Basic, ..credential(world, pump.id) };
        let hash = Secret::new("$argon2id$hash".to_owned());
        let tx = world.begin().await;
        tx.device_create(&pump).await.expect("a device");
        tx.credential_create(&token, [1; 32], None).await.expect("a token");
        tx.credential_create(&basic, [2; 32], Some(&hash)).await.expect("a password");
        assert_eq!(tx.credentials(pump.id).await.expect("both").len(), 2);
        tx.commit().await.expect("commit");

        let tx = world.platform().await;
        let found = tx.credential_by_digest([2; 32]).await.expect("look-up").expect("found");
        assert_eq!((found.tenant, found.credential.clone()), (world.tenant, basic.clone()));
        assert_eq!(found.secret_hash, Some(hash));
        assert_eq!(found.device_name.expose(), "Pump");
        for (digests, first) in [([[1; 32], [2; 32]], &token), ([[9; 32], [2; 32]], &basic)] {
            let found = tx.credentials_by_digest(&digests).await.expect("look-up");
            assert_eq!(found[0].credential, *first, "the first of these");
        }
        let found = tx.credentials_by_digest(&[[2; 32], [1; 32]]).await.expect("look-up");
        let found: Vec<_> = found.iter().map(|one| &one.credential).collect();
        assert_eq!(found, [&basic, &token], "all of them, in the order asked for");
        assert!(tx.credentials_by_digest(&[[9; 32]]).await.expect("look-up").is_empty());
        drop(tx);

        let tx = world.begin_in(world.other).await;
        let elsewhere = device(world, "Pump");
        tx.device_create(&elsewhere).await.expect("a device");
        let taken = tx.credential_create(&credential(world, elsewhere.id), [1; 32], None).await;
        assert!(matches!(taken, Err(Error::Conflict { .. })), "{taken:?}");
        drop(tx);

        let tx = world.begin().await;
        let known = tx.credentials_in_force(&[token.id, basic.id]).await.expect("both");
        assert_eq!(known.len(), 2, "{known:?}");
        tx.credential_revoke(pump.id, token.id, later(1)).await.expect("revoked");
        let known = tx.credentials_in_force(&[token.id, basic.id]).await.expect("one");
        assert_eq!(known, [(pump.id, basic.id)]);
        tx.credential_revoke(pump.id, token.id, later(2)).await.expect("again");
        let kept = tx.credentials(pump.id).await.expect("both");
        assert_eq!(kept[0].revoked_at.or(kept[1].revoked_at), Some(later(1)));
        tx.commit().await.expect("commit");
        let tx = world.platform().await;
        assert!(tx.credential_by_digest([1; 32]).await.expect("look-up").is_none());
        drop(tx);
        let tx = world.begin().await;
        tx.device_delete(pump.id).await.expect("deleted");
        tx.commit().await.expect("commit");
        let tx = world.platform().await;
        assert!(tx.credential_by_digest([2; 32]).await.expect("look-up").is_none());
    })
    .await;
}

#[tokio::test]
async fn certificates_that_end_soon_are_found_while_their_credentials_are_in_force() {
    everywhere(async |world| {
        let pump = device(world, "Pump");
        let of = |until| Credential {
            kind: CredentialKind::X509,
            certificate_until: until,
            ..credential(world, pump.id)
        };
        let (soon, late, unseen) = (of(Some(later(5))), of(Some(later(90))), of(None));
        let tx = world.begin().await;
        tx.device_create(&pump).await.expect("a device");
        for (one, digest) in [(&soon, [1; 32]), (&late, [2; 32]), (&unseen, [3; 32])] {
            tx.credential_create(one, digest, None).await.expect("a certificate");
        }
        let found = tx.certificates_ending((START, later(30)), 9).await.expect("found");
        assert_eq!(found.iter().map(|one| one.credential).collect::<Vec<_>>(), [soon.id]);
        assert_eq!((found[0].device, found[0].ends_at), (pump.id, later(5)));
        // Another one was shown, and then one without an end that is known.
        tx.credential_used(soon.id, later(1), Some(later(80))).await.expect("used");
        tx.credential_used(unseen.id, later(1), Some(later(6))).await.expect("used");
        tx.credential_used(unseen.id, later(2), None).await.expect("used");
        let found = tx.certificates_ending((START, later(30)), 9).await.expect("found");
        assert_eq!(found.iter().map(|one| one.credential).collect::<Vec<_>>(), [unseen.id]);
        tx.credential_revoke(pump.id, unseen.id, later(3)).await.expect("revoked");
        assert!(tx.certificates_ending((START, later(30)), 9).await.expect("none").is_empty());
        tx.commit().await.expect("commit");
    })
    .await;
}

pub(crate) fn authority(world: &World) -> DeviceAuthority {
    DeviceAuthority {
        id: AuthorityId::generate(START, world.rng.as_ref()),
        body: b"a".to_vec(),
        valid_until: later(60),
        revocation_until: Some(later(30)),
        made: 0,
        disabled_at: None,
        version: 1,
        created_at: START,
    }
}

#[tokio::test]
async fn what_lets_devices_in_is_its_tenants_own() {
    everywhere(async |world| {
        let authority = authority(world);
        let profile = ProvisionProfile {
            id: ProvisionProfileId::generate(START, world.rng.as_ref()),
            body: b"p".to_vec(),
            made: 0,
            expires_at: None,
            disabled_at: None,
            version: 1,
            created_at: START,
        };
        let pump = device(world, "Pump");
        let provisioned =
            ProvisionedDevice { device: pump.id, profile: profile.id, request_digest: [5; 32] };
        let tx = world.begin().await;
        tx.device_create(&pump).await.expect("a device");
        tx.device_authority_create(&authority, ([1; 32], [2; 32])).await.expect("an authority");
        tx.device_authority_list(authority.id, Some(b"list")).await.expect("a list");
        assert!(tx.device_authority_count(authority.id, 1).await.expect("the first"));
        assert!(!tx.device_authority_count(authority.id, 1).await.expect("one too many"));
        tx.provision_profile_create(&profile, ([3; 32], [4; 32])).await.expect("a profile");
        tx.provisioned_add(&provisioned).await.expect("noted");
        assert!(tx.provision_profile_count(profile.id, 1).await.expect("the first"));
        assert!(!tx.provision_profile_count(profile.id, 1).await.expect("one too many"));
        tx.commit().await.expect("commit");

        let tx = world.begin_in(world.other).await;
        let missing = |answer: Result<(), Error>| {
            assert!(matches!(answer, Err(Error::NotFound { .. })), "{answer:?}");
        };
        missing(tx.device_authority(authority.id).await.map(drop));
        missing(tx.device_authority_update(&authority, None).await);
        missing(tx.device_authority_delete(authority.id).await);
        assert!(!tx.device_authority_count(authority.id, 9).await.expect("not theirs"));
        tx.device_authority_list(authority.id, None).await.expect("nothing happens");
        missing(tx.provision_profile(profile.id).await.map(drop));
        missing(tx.provision_profile_update(&profile, None).await);
        missing(tx.provision_profile_delete(profile.id).await);
        assert!(!tx.provision_profile_count(profile.id, 9).await.expect("not theirs"));
        assert!(tx.device_authorities().await.expect("none").is_empty());
        assert!(tx.provision_profiles().await.expect("none").is_empty());
        assert_eq!(tx.provisioned(pump.id).await.expect("none"), None);
        let taken = tx.device_authority_create(&authority, ([1; 32], [9; 32])).await;
        assert!(matches!(taken, Err(Error::Conflict { .. })), "{taken:?}");
        drop(tx);

        let tx = world.platform().await;
        let named = tx.device_authorities_named([2; 32], 9).await.expect("look-up");
        assert_eq!((named.len(), named[0].tenant), (1, world.tenant));
        assert_eq!(named[0].authority, DeviceAuthority { made: 1, ..authority.clone() });
        let list = tx.device_authority_revocation(world.tenant, authority.id).await;
        assert_eq!(list.expect("look-up").as_deref(), Some(&b"list"[..]));
        let theirs = tx.device_authority_revocation(world.other, authority.id).await;
        assert_eq!(theirs.expect("look-up"), None);
        let found = tx.provision_profile_by_key([3; 32]).await.expect("look-up").expect("found");
        assert_eq!((found.tenant, found.secret_digest), (world.tenant, [4; 32]));
        assert_eq!(found.profile.made, 1);
        drop(tx);

        let tx = world.begin().await;
        assert_eq!(tx.provisioned(pump.id).await.expect("noted"), Some(provisioned));
        tx.device_delete(pump.id).await.expect("deleted");
        assert_eq!(tx.provisioned(pump.id).await.expect("gone with it"), None);
        tx.commit().await.expect("commit");
    })
    .await;
}

#[tokio::test]
async fn attributes_are_kept_per_scope_and_version() {
    everywhere(async |world| {
        let pump = device(world, "Pump");
        let tx = world.begin().await;
        tx.device_create(&pump).await.expect("a device");
        let put = async |body: &[u8], expected| {
            tx.attributes_put(pump.id, AttributeScope::Shared, body, expected).await
        };
        assert!(matches!(put(b"{}", Some(3)).await, Err(Error::Conflict { .. })));
        put(b"{}", Some(0)).await.expect("new");
        assert!(matches!(put(b"{}", Some(0)).await, Err(Error::Conflict { .. })));
        put(br#"{"a":1}"#, Some(1)).await.expect("changed");
        put(br#"{"a":2}"#, None).await.expect("whatever the version");
        let server = AttributeScope::Server;
        tx.attributes_put(pump.id, server, b"{}", None).await.expect("another scope");
        let found = tx.attributes(pump.id).await.expect("attributes");
        assert_eq!(found.len(), 2);
        assert_eq!((found[1].body.as_slice(), found[1].version), (&br#"{"a":2}"#[..], 3));
        let fan = device(world, "Fan");
        tx.device_create(&fan).await.expect("another device");
        tx.attributes_put(fan.id, server, b"[]", None).await.expect("of another device");
        let both = [pump.id, fan.id];
        let of_server = tx.attributes_of(&both, &[server]).await.expect("of both");
        let mut bodies: Vec<_> = of_server.iter().map(|(id, one)| (*id, &one.body[..])).collect();
        bodies.sort_unstable();
        let mut expect = [(pump.id, &b"{}"[..]), (fan.id, &b"[]"[..])];
        expect.sort_unstable();
        assert_eq!(bodies, expect);
        tx.commit().await.expect("commit");
        let tx = world.begin_in(world.other).await;
        assert!(tx.attributes_of(&both, &[server]).await.expect("none").is_empty());
    })
    .await;
}

#[tokio::test]
async fn twins_are_made_changed_and_deleted() {
    everywhere(async |world| {
        let home = twin(world, "Home");
        let tx = world.begin().await;
        tx.twin_create(&home).await.expect("a twin");
        let mut pump = device(world, "Pump");
        pump.twin = Some(home.id);
        pump.placement = Some(Placement::default());
        tx.device_create(&pump).await.expect("a device");
        assert_eq!(tx.twin(home.id).await.expect("found"), home);
        let changed = Twin { geometry_object: Some("g".to_owned()), ..home.clone() };
        tx.twin_update(&changed, Some(1)).await.expect("an update");
        assert!(matches!(tx.twin_update(&home, Some(1)).await, Err(Error::Conflict { .. })));
        let listed = tx.twins(&Page::whole()).await.expect("twins").items;
        assert_eq!(listed, [Twin { version: 2, ..changed }]);
        tx.twin_delete(home.id).await.expect("deleted");
        assert!(matches!(tx.twin(home.id).await, Err(Error::NotFound { .. })));
        let unbound = tx.device(pump.id).await.expect("still there");
        assert_eq!((unbound.twin, unbound.placement, unbound.version), (None, None, 2));
        tx.commit().await.expect("commit");
    })
    .await;
}

#[tokio::test]
async fn retained_messages_are_the_tenants_own_and_go_with_it() {
    everywhere(async |world| {
        let id = MessageId::generate(START, world.rng.as_ref());
        let first = RetainedMessage { id, body: b"first".to_vec(), expires_at: None };
        let second = RetainedMessage { id, body: b"second".to_vec(), expires_at: Some(later(60)) };
        let more = RetainedMessage {
            id: MessageId::generate(later(1), world.rng.as_ref()),
            ..first.clone()
        };
        let tx = world.begin().await;
        for message in [&first, &second, &more] {
            tx.retained_put(message).await.expect("written");
        }
        tx.commit().await.expect("commit");
        let read = world.read().await.retained_messages().await.expect("read");
        assert_eq!(read, [second, more.clone()]);
        for (now, expect) in [(later(59), 0), (later(60), 1)] {
            let tx = world.begin_in(world.other).await;
            tx.retained_delete_expired(now).await.expect("nothing of another tenant's");
            tx.commit().await.expect("commit");
            let tx = world.read().await;
            assert_eq!(tx.retained_expired(now).await.expect("counted"), expect, "{now:?}");
            drop(tx);
            // What is dropped without a commit is there still.
            let tx = world.begin().await;
            tx.retained_delete_expired(now).await.expect("deleted");
            assert_eq!(tx.retained_expired(now).await.expect("counted"), 0, "{now:?}");
        }

        let tx = world.begin_in(world.other).await;
        assert!(tx.retained_messages().await.expect("read").is_empty());
        let missing = tx.retained_delete(more.id).await.expect_err("another tenant's");
        assert!(matches!(missing, Error::NotFound { .. }), "{missing:?}");
        drop(tx);

        let tx = world.begin().await;
        tx.retained_delete(id).await.expect("deleted");
        assert_eq!(tx.retained_messages().await.expect("read"), [more]);
        tx.commit().await.expect("commit");
        let tx = world.platform().await;
        tx.tenant_delete(world.tenant).await.expect("deleted");
        tx.commit().await.expect("commit");
        let tx = world.begin_in(world.tenant).await;
        assert!(tx.retained_messages().await.expect("read").is_empty(), "{}", world.label);
    })
    .await;
}
