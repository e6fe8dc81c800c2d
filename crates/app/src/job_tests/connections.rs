//! The list of a device's connections, over the end of the platform.

use super::credentials::administrator;
use super::*;
use crate::model::ConnectionView;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_went_with_the_platform_does_not_seem_to_go_on() {
    let world = World::new().await;
    let customer = world.customer("Only").await;
    world.clock.advance(Duration::from_secs(1));
    let view = ConnectionView {
        connected_at: world.app.clock().now(),
        ended_at: None,
        protocol: "mqtt5".to_owned(),
        is_relayed: false,
        credential: CredentialId::from_bytes([3; 16]),
        address: None,
        keep_alive_seconds: Some(60),
        ended_by: None,
        code: None,
        reason: None,
    };
    let (person, device) = (administrator(&world, &customer), customer.device);
    world.app.connection_opened((customer.tenant(), device), 1, view.clone());
    let listed = world.app.device_connections(&person, device).await.expect("listed");
    assert_eq!(listed, std::slice::from_ref(&view), "before it is written");
    world.app.flush_connections().await;
    let listed = world.app.device_connections(&person, device).await.expect("listed");
    assert_eq!(listed, std::slice::from_ref(&view));

    world.clock.advance(Duration::from_secs(60));
    let world = world.reopen().await;
    let ended = ConnectionView { ended_at: Some(world.app.0.started_at), ..view };
    // Whether or not that is written yet.
    let listed = world.app.device_connections(&person, device).await.expect("listed");
    assert_eq!(listed, std::slice::from_ref(&ended));
    world.app.flush_connections().await;
    let listed = world.app.device_connections(&person, device).await.expect("listed");
    assert_eq!(listed, [ended]);
    world.app.close().await;
}
