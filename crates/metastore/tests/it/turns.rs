//! Writers of SQLite take turns by tenant.

use futures::future::join_all;
use parking_lot::Mutex;
use veritwin_domain::TenantId;

use crate::world::World;

#[tokio::test]
async fn one_tenants_writers_do_not_hold_up_anothers() {
    let world = World::sqlite().await;
    let order = Mutex::new(Vec::new());
    let write = async |name: &'static str, tenant: TenantId| {
        let tx = world.begin_in(tenant).await;
        order.lock().push(name);
        tx.commit().await.expect("a commit");
    };
    let first = world.begin().await;
    let mine = (0..20).map(|_| write("mine", world.tenant));
    let writers = join_all(mine.chain([write("theirs", world.other)]));
    let platform = async {
        let tx = world.platform().await;
        order.lock().push("platform");
        tx.commit().await.expect("a commit");
    };
    let release = async { first.commit().await.expect("a commit") };
    tokio::join!(writers, platform, release);
    assert_eq!(order.lock()[..4], ["mine", "theirs", "platform", "mine"]);
}
