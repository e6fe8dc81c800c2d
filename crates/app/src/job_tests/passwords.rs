//! A password that was hashed with other parameters is hashed anew when its person signs in.

use veritwin_access::passkey::RelyingParty;
use veritwin_domain::{Origin, Purpose, Role, Secret, UserId};
use veritwin_keys::password;
use veritwin_metastore::{Realm, User};

use super::World;
use crate::knock::Knock;
use crate::sign_in::Proof;
use crate::{Arrival, Error};

const PASSWORD: &str = "correct horse battery staple";
/// Of that password, with 8 KiB and one pass.
const OLD: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA\
                   $E/9XOcEJe3mPXG7g015mjI/Ptw7gpcl7bw+7BNqI9bQ";

#[tokio::test]
async fn an_old_hash_is_made_anew_at_the_next_sign_in() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    let app = &world.app;
    let job = app.local_operator();
    let row = User {
        id: UserId::generate(job.at, app.rng()),
        realm: Realm::PLATFORM,
        email: "old@people.example".to_owned(),
        name: None,
        password_hash: Some(Secret::new(OLD.to_owned())),
        disabled: false,
        email_verified_at: None,
        attestation: None,
        version: 0,
        created_at: job.at,
    };
    let tx = app.0.store.begin_platform(&job).await.expect("a transaction");
    tx.user_create(&row).await.expect("an account");
    tx.membership_add(customer.context.tenant, row.id, Role::Viewer).await.expect("a member");
    tx.commit().await.expect("commit");
    let sign_in = async |text: &str| {
        let visitor = app.anonymous(Arrival {
            purpose: Purpose::AuthenticationSecurity,
            request: job.request,
            origin: Origin::default(),
        });
        let email = Secret::new(row.email.clone());
        let knock = Knock { email: &email, tenant: None, host: None };
        let proof = Proof::Password { password: Secret::new(text.to_owned()), second: None };
        let party = RelyingParty::of("https://localhost");
        app.sign_in(&visitor, knock, proof, &party, None).await.map(drop)
    };
    let stored = async || {
        let tx = app.0.store.read_platform(&job).await.expect("a transaction");
        let user = tx.user(row.id).await.expect("the account");
        user.password_hash.expect("a hash").into_exposed()
    };
    assert!(matches!(sign_in("another").await, Err(Error::Unauthenticated(_))));
    assert_eq!(stored().await, OLD, "nobody proved that they know it");
    sign_in(PASSWORD).await.expect("signed in");
    let fresh = stored().await;
    assert!(!password::needs_rehash(&fresh) && password::verify(PASSWORD, &fresh), "{fresh}");
    sign_in(PASSWORD).await.expect("signed in");
    assert_eq!(stored().await, fresh, "made once");
    world.app.close().await;
}
