//! Sign-in providers of tenants, whose person is which account, certificates of host names.

use veritwin_domain::UserId;
use veritwin_metastore::{Error, HostCertificate, HostOrder, IdentityProvider};

use crate::accounts::user;
use crate::world::{START, everywhere, later};

#[tokio::test]
async fn a_provider_is_its_tenants_own() {
    everywhere(async |world| {
        let provider = IdentityProvider {
            body: b"{}".to_vec(),
            client_secret: Some(b"of the client".to_vec()),
            version: 1,
            updated_at: START,
        };
        let tx = world.begin().await;
        assert_eq!(tx.identity_provider().await.expect("none"), None);
        tx.identity_provider_put(&provider, Some(0)).await.expect("set");
        assert_eq!(tx.identity_provider().await.expect("set"), Some(provider.clone()));
        let late = tx.identity_provider_put(&provider, Some(0)).await;
        assert!(matches!(late, Err(Error::Conflict { .. })), "{late:?}");
        let public = IdentityProvider { client_secret: None, ..provider.clone() };
        tx.identity_provider_put(&public, Some(1)).await.expect("changed");
        let known = tx.identity_provider().await.expect("changed").expect("one");
        assert_eq!((known.version, known.client_secret), (2, None));
        tx.commit().await.expect("commit");

        let people = [user(world, "ada@example.org"), user(world, "lin@example.org")];
        let tx = world.platform().await;
        for person in &people {
            tx.user_create(person).await.expect("an account");
        }
        let (ada, lin) = (people[0].id, people[1].id);
        let find = async |tenant, subject| -> Option<UserId> {
            tx.provider_identity(tenant, subject).await.expect("looked up")
        };
        tx.provider_identity_add(world.tenant, "one", ada).await.expect("ada's");
        assert_eq!(find(world.tenant, "one").await, Some(ada));
        assert_eq!(find(world.tenant, "two").await, None);
        assert_eq!(find(world.other, "one").await, None);
        tx.provider_identity_add(world.other, "one", lin).await.expect("another tenant's");
        assert_eq!(find(world.other, "one").await, Some(lin));
        tx.commit().await.expect("commit");
        // Nobody is two of the provider's people, and none of these is two accounts.
        for (subject, person) in [("two", ada), ("one", lin)] {
            let tx = world.platform().await;
            let again = tx.provider_identity_add(world.tenant, subject, person).await;
            assert!(matches!(again, Err(Error::Conflict { .. })), "{subject}: {again:?}");
        }

        let tx = world.begin().await;
        tx.identity_provider_delete().await.expect("gone");
        assert!(matches!(tx.identity_provider_delete().await, Err(Error::NotFound { .. })));
        tx.commit().await.expect("commit");
        let tx = world.platform().await;
        assert_eq!(tx.provider_identity(world.tenant, "one").await.expect("gone"), None);
        assert_eq!(tx.provider_identity(world.other, "one").await.expect("kept"), Some(lin));
    })
    .await;
}

#[tokio::test]
async fn a_host_has_one_certificate() {
    everywhere(async |world| {
        let certificate = |host: &str, days: u64| HostCertificate {
            tenant: world.tenant,
            host: host.to_owned(),
            chain: b"chain".to_vec(),
            private_key: b"key".to_vec(),
            not_after: later(days * 86_400),
            created_at: START,
        };
        let tx = world.platform().await;
        tx.host_certificate_put(&certificate("a.example", 1)).await.expect("first");
        tx.host_certificate_put(&certificate("b.example", 2)).await.expect("another");
        tx.host_certificate_put(&certificate("a.example", 90)).await.expect("instead");
        let mut all = tx.host_certificates(10).await.expect("all");
        all.sort_by(|one, two| one.host.cmp(&two.host));
        assert_eq!(all, [certificate("a.example", 90), certificate("b.example", 2)]);
        let foreign = tx.host_certificate_delete(world.other, "a.example").await;
        assert!(matches!(foreign, Err(Error::NotFound { .. })), "{foreign:?}");
        tx.host_certificate_delete(world.tenant, "a.example").await.expect("gone");
        assert_eq!(tx.host_certificates(10).await.expect("left").len(), 1);
    })
    .await;
}

#[tokio::test]
async fn orders_are_counted_and_accounts_are_kept() {
    everywhere(async |world| {
        let order = |host: &str, is_automatic: bool, next_s: u64| HostOrder {
            tenant: world.tenant,
            host: host.to_owned(),
            is_automatic,
            refusals: 2,
            refusal: is_automatic.then(|| b"{}".to_vec()),
            day_at: START,
            day_tries: 3,
            next_at: later(next_s),
        };
        let tx = world.platform().await;
        assert_eq!(tx.host_order("a.example").await.expect("none"), None);
        for (host, is_automatic, next_s) in
            [("a.example", true, 9), ("b.example", true, 5), ("c.example", false, 1)]
        {
            tx.host_order_put(&order(host, is_automatic, next_s)).await.expect("put");
        }
        tx.host_order_put(&order("a.example", true, 1)).await.expect("instead");
        let due = tx.host_orders(10).await.expect("all that are wanted");
        assert_eq!(due, [order("a.example", true, 1), order("b.example", true, 5)]);
        // What was counted stays for its day.
        tx.host_orders_forget(START).await.expect("nothing yet");
        assert!(tx.host_order("c.example").await.expect("there").is_some());
        tx.host_orders_forget(later(1)).await.expect("forgotten");
        assert_eq!(tx.host_order("c.example").await.expect("gone"), None);
        assert_eq!(tx.host_orders(10).await.expect("kept").len(), 2);

        let (one, two) = ("https://one.example/directory", "https://two.example/directory");
        tx.acme_account_put(one, b"first", START).await.expect("put");
        tx.acme_account_put(one, b"second", START).await.expect("instead");
        assert_eq!(tx.acme_account(one).await.expect("there").as_deref(), Some(&b"second"[..]));
        assert_eq!(tx.acme_account(two).await.expect("none"), None);
    })
    .await;
}
