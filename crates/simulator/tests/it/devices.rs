//! Simulated devices: they say that they are simulated, measure, answer and stop.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use veritwin_domain::{Secret, SeededRng, SystemClock};
use veritwin_simulator::building::demo_devices;
use veritwin_simulator::devices::{DevicesConfig, DevicesStatus, SimulatedDevice, run};

use crate::broker::{Behaviour, start};

#[tokio::test]
async fn devices_measure_answer_and_stop() {
    let behaviour = Behaviour {
        refuses: vec!["token-AHU-1"],
        asks: [("token-CH-1", json!({"method": "fail", "params": {}}))].into(),
        cuts_first_at: None,
    };
    let (endpoint, mut published) = start(behaviour).await;
    let devices: Vec<SimulatedDevice> = demo_devices()
        .into_iter()
        .filter(|device| ["CH-1", "AHU-1", "RS-1.02"].contains(&device.name.as_str()))
        .map(|device| {
            let token = Secret::new(format!("token-{}", device.name));
            SimulatedDevice { device, token }
        })
        .collect();
    let config = DevicesConfig {
        endpoint,
        devices,
        interval: Duration::from_millis(20),
        speed: 500.0,
        faults: None,
        clock: Arc::new(SystemClock::new()),
        rng: Arc::new(SeededRng::new(1)),
    };
    let status = Arc::new(DevicesStatus::default());
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(run(config, Arc::clone(&status), shutdown.clone()));
    let (mut answered, mut room, mut warmest) = (false, false, 0.0f64);
    while !(answered && room && warmest > 10.0) {
        let message = published.recv().await.expect("a message");
        match (message.token.as_str(), message.topic.as_str()) {
            (_, "v1/devices/me/attributes") => assert_eq!(message.body["simulated"], true),
            ("token-CH-1", "v1/devices/me/rpc/response/7") => {
                answered = message.body == json!({"chiller_failed": true, "by_order": true});
            }
            ("token-CH-1", "v1/devices/me/telemetry") => {
                let celsius = message.body["supply_water_temperature"].as_f64().expect("a number");
                warmest = warmest.max(celsius);
            }
            ("token-RS-1.02", "v1/devices/me/telemetry") => {
                room = message.body["co2"].as_f64().is_some();
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(status.refused(), 1, "a refused device stops and the others go on");
    assert!(status.connected() == 2 && status.published() > 0);
    shutdown.cancel();
    task.await.expect("ended");
    assert_eq!(status.connected(), 0);
}
