//! Inventories: others write in between, and a cut is mended by the same file.

use super::*;
use crate::live::LiveEvent;

/// A file with this many devices.
fn inventory(devices: usize) -> String {
    let rows = (0..devices).map(|number| format!("sensor-{number:05},sensor,non_personal\n"));
    std::iter::once("name,type,declaration\n".to_owned()).chain(rows).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_leaves_the_writer_to_others() {
    const DEVICES: usize = 3000;
    let world = World::new().await;
    let (large, small) = (world.customer("Large").await, world.customer("Small").await);
    let (app, context) = (world.app.clone(), large.context.clone());
    let started = std::time::Instant::now();
    let importing = tokio::spawn(async move {
        app.import_inventory(&context, None, inventory(DEVICES).as_bytes()).await
    });
    let (mut writes, mut longest) = (0u32, Duration::ZERO);
    while !importing.is_finished() {
        let began = std::time::Instant::now();
        world.setting(&small, "other", b"1").await;
        longest = longest.max(began.elapsed());
        writes += 1;
    }
    let outcome = importing.await.expect("runs").expect("imported");
    let took = started.elapsed();
    println!("{DEVICES} devices in {took:?}; meanwhile {writes} writes, the longest {longest:?}");
    assert_eq!((outcome.created, outcome.tokens.len()), (DEVICES, DEVICES));
    assert!(writes >= 20, "only {writes} writes in {took:?}");
    assert!(longest < took / 4, "a write waited {longest:?} of {took:?}");
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_was_cut_off_is_completed_by_the_same_file() {
    const DEVICES: usize = 600;
    let mut world = World::new().await;
    let customer = world.customer("Only").await;
    let file = inventory(DEVICES);
    let count = async |world: &World| {
        let tx = world.app.0.store.read(&customer.context).await.expect("records");
        tx.device_counts().await.expect("a count").0
    };
    let (app, context, bytes) = (world.app.clone(), customer.context.clone(), file.clone());
    let importing =
        tokio::spawn(async move { app.import_inventory(&context, None, bytes.as_bytes()).await });
    world.until("the first batch", async || (count(&world).await > 1).then_some(())).await;
    importing.abort();
    let cut_off = importing.await;
    // In a new process; a commit that was on its way is through by then.
    world = world.reopen().await;
    let written = count(&world).await;
    println!("cut off with {written} devices: {}", cut_off.is_err());
    let context = world.app.demo_context(customer.tenant());
    let damaged = format!("{file}sensor-x,sensor,perhaps\n");
    let refused = world.app.import_inventory(&context, None, damaged.as_bytes()).await;
    let at = |error: crate::Error| match error {
        crate::Error::Invalid { at, .. } => at.unwrap_or_default(),
        other => other.to_string(),
    };
    assert_eq!(refused.map_err(at).err().as_deref(), Some("row 602, column declaration"));
    assert_eq!(count(&world).await, written, "a mistake changes nothing");
    let outcome = world.app.import_inventory(&context, None, file.as_bytes()).await;
    let outcome = outcome.expect("completed");
    let expect = if cut_off.is_err() { (DEVICES, 0) } else { (0, DEVICES) };
    assert_eq!((outcome.created, outcome.updated), expect);
    assert_eq!(count(&world).await, DEVICES as u64 + 1);
    for (name, token) in &outcome.tokens {
        assert_eq!(*world.app.login_device(token, None).await.expect("lets in").name, **name);
    }
    let again = world.app.import_inventory(&context, None, file.as_bytes()).await.expect("again");
    assert_eq!((again.created, again.updated), (0, DEVICES));
    world.app.close().await;
}

#[tokio::test]
async fn what_a_file_does_not_say_stays() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    let import = async |file: &str| {
        let imported = world.app.import_inventory(&customer.context, None, file.as_bytes());
        imported.await.expect("imported")
    };
    import("name,type,key,unit\nchiller,chiller,t,C\n").await;
    assert_eq!(import("name,key,unit\nCHILLER,flow,l/s\n").await.updated, 1);
    let tx = world.app.0.store.read(&customer.context).await.expect("records");
    let device = tx.device_by_name("chiller").await.expect("a look").expect("a device");
    assert_eq!(device.kind, "chiller");
    assert_eq!(device.units.keys().collect::<Vec<_>>(), ["flow", "t"]);
    drop(tx);
    world.app.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_memory_learns_of_a_batch_only_where_streams_may_count_otherwise() {
    const DEVICES: usize = 150;
    let world = World::new().await;
    let customer = world.customer("Only").await;
    let owner = customer.somebody(Role::Owner);
    let told = async |file: String| {
        let mut events = world.app.0.live.subscribe(customer.tenant());
        let imported = world.app.import_inventory(&owner, None, file.as_bytes());
        imported.await.expect("imported");
        let mut count = 0;
        while let Ok(event) = events.try_recv() {
            count += usize::from(matches!(event, LiveEvent::Devices));
        }
        count
    };
    let file = inventory(DEVICES);
    assert_eq!(told(file.clone()).await, 1, "new devices");
    assert_eq!(told(file.clone()).await, 1, "nothing changes");
    let last = format!("sensor-{:05},sensor,non_personal", DEVICES - 1);
    let one = file.replace(&last, &last.replace("non_personal", "personal"));
    assert_eq!(told(one).await, 2, "one is closed, in the last batch");
    assert_eq!(told(file.replace(",sensor,", ",meter,")).await, 4, "a type of each batch");
    let twin = some_twin(SiteId::from_bytes([3; 16]), &customer);
    let tx = world.app.0.store.begin(&owner).await.expect("records");
    tx.twin_create(&twin).await.expect("a twin");
    let mut device = tx.device_by_name("sensor-00000").await.expect("a look").expect("a device");
    device.twin = Some(twin.id);
    tx.device_update(&device, None).await.expect("put there");
    tx.commit().await.expect("committed");
    let moved = "name,x,y,z\nsensor-00000,1,2,3\n".to_owned();
    assert_eq!(told(moved.clone()).await, 2, "one is put elsewhere");
    assert_eq!(told(moved).await, 1, "it stands there already");
    world.app.close().await;
}
