//! The load generator against the ingest broker: each quality of service's handshake, deliveries,
//! retained messages, idle connections, and the names of a setting's figures.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use veritwin_bench::{Cell, CellOptions, MOSQUITTO, PeerCertificate, Qos, cell};
use veritwin_domain::SystemClock;
use veritwin_simulator::load::{
    self, FanOutOptions, LoadError, LoadOptions, RetainedOptions, Target,
};

use crate::{Server, options, serve};

const WARM_UP: Duration = Duration::from_millis(50);
const DURATION: Duration = Duration::from_millis(200);
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);
const EVERY: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

fn target(server: &Server, is_plain: bool, token: &str) -> Target {
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(server.ca_pem.as_bytes()).expect("PEM");
    roots.add(authority).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Target {
        address: if is_plain { server.plain.clone() } else { server.address.clone() },
        server_name: ServerName::try_from("localhost").expect("a name"),
        tls: (!is_plain).then(|| Arc::new(tls)),
        tokens: vec![token.to_owned()],
    }
}

fn readings(target: Target, qos: Qos, messages_per_s_max: Option<f64>) -> LoadOptions {
    LoadOptions {
        target,
        topic: "v1/devices/me/telemetry".to_owned(),
        qos,
        connections: 3,
        window: 20,
        payload_bytes: 100,
        messages_per_s_max,
        warm_up: WARM_UP,
        duration: DURATION,
        clock: Arc::new(SystemClock::new()),
    }
}

/// How many readings there are, once there are so many: QoS 0 does not wait for them.
async fn stored(server: &Server, expect: u64) -> u64 {
    let count = || server.counter.readings.load(Ordering::Relaxed);
    let enough = async {
        while count() < expect {
            tokio::task::yield_now().await;
        }
    };
    let _ = tokio::time::timeout(PATIENCE, enough).await;
    count()
}

#[tokio::test]
async fn what_is_acknowledged_is_stored_at_every_quality_of_service() {
    for qos in EVERY {
        for is_plain in [false, true] {
            for pace in [None, Some(2000.0)] {
                let server = serve().await;
                let load = readings(target(&server, is_plain, "token"), qos, pace);
                let report = load::run(load, |_| ()).await.expect("a report");
                // Each message carries ts and four values.
                let stored = stored(&server, 4 * report.messages).await;
                let case = format!("{qos:?} {is_plain} {pace:?}: {report:?}, {stored}");
                assert!(report.messages > 0 && stored / 4 >= report.messages, "{case}");
                assert_eq!(stored % 4, 0, "{case}");
            }
        }
    }
}

#[tokio::test]
async fn every_subscriber_gets_every_message() {
    let server = serve().await;
    for qos in EVERY {
        let options = FanOutOptions {
            target: target(&server, qos == Qos::AtLeastOnce, "token"),
            topic: format!("fan/{}", qos.number()),
            qos,
            subscribers: 3,
            window: 10,
            payload_bytes: 100,
            warm_up: WARM_UP,
            duration: DURATION,
            clock: Arc::new(SystemClock::new()),
        };
        // A message that is lost, or comes twice, is an error.
        let report = load::fan_out(options, |_| ()).await.expect("a report");
        assert!(report.deliveries > 0, "{qos:?}: {report:?}");
    }
}

#[tokio::test]
async fn all_retained_messages_are_stored_and_come() {
    let server = serve().await;
    let options = RetainedOptions {
        target: target(&server, false, "token"),
        messages: 250,
        messages_per_connection: 100,
        window: 30,
        payload_bytes: 50,
        clock: Arc::new(SystemClock::new()),
    };
    assert_eq!(options.connections(), 3);
    let report = load::retained(options).await.expect("a report");
    assert!(report.store_per_s > 0.0 && report.deliver_per_s > 0.0, "{report:?}");
    assert_eq!(server.counter.kept.lock().expect("no test panicked").len(), 250);
}

#[tokio::test]
async fn idle_connections_are_still_there() {
    let server = serve().await;
    let mut open = load::idle(&target(&server, false, "token"), 5).await.expect("connections");
    open.check().await.expect("they answer");
    let refused = load::idle(&target(&server, true, "wrong"), 1).await.err();
    assert!(matches!(refused, Some(LoadError::Refused(4))), "{refused:?}");
    let none = load::idle(&target(&server, true, "token"), 0).await.err();
    assert!(matches!(none, Some(LoadError::Options(_))), "{none:?}");
}

#[tokio::test]
async fn a_setting_has_its_figures_beside_the_peers() {
    let server = serve().await;
    let files = tempfile::tempdir().expect("a directory");
    let (certificate, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
    std::fs::write(&certificate, &server.ca_pem).expect("written");
    std::fs::write(&key, server.certificate.signing_key.serialize_pem()).expect("written");
    let check = async |cell_: Cell, expect: &[&str]| {
        let address = if cell_.is_plain() { &server.plain } else { &server.address };
        let (certificate, key) = (certificate.clone(), key.clone());
        let options = CellOptions {
            cell: cell_,
            address: address.clone(),
            peer: Some(PeerCertificate { certificate, key }),
            ..options(&server, "token")
        };
        let entries = cell(&options).await.expect("figures");
        let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, expect);
        let has_peer = entries.iter().all(|entry| entry.peer.is_some());
        assert_eq!(has_peer, std::path::Path::new(MOSQUITTO).exists(), "{entries:?}");
    };
    let publish = |qos, is_plain| Cell::Publish { qos, is_plain, connections: 2 };
    let qos2 = [
        "mqtt.qos2.tls.durable.c2.messages_per_s",
        "mqtt.qos2.tls.durable.c2.cpu_s_per_million",
        "mqtt.qos2.tls.durable.c2.ack_p50_ms",
        "mqtt.qos2.tls.durable.c2.ack_p99_ms",
        "mqtt.qos2.tls.durable.c2.half_load.ack_p99_ms",
    ];
    check(publish(Qos::ExactlyOnce, false), &qos2).await;
    let qos0 = ["mqtt.qos0.plain.c2.messages_per_s", "mqtt.qos0.plain.c2.cpu_s_per_million"];
    check(publish(Qos::AtMostOnce, true), &qos0).await;
    let retained = ["mqtt.retained.25.store_per_s", "mqtt.retained.25.deliver_per_s"];
    check(Cell::Retained { is_plain: false, messages: 25 }, &retained).await;
    let fan_out = [
        "mqtt.fan_out.2.deliveries_per_s",
        "mqtt.fan_out.2.delivery_p50_ms",
        "mqtt.fan_out.2.delivery_p99_ms",
        "mqtt.fan_out.2.cpu_s_per_million",
    ];
    let two = Cell::FanOut { qos: Qos::AtLeastOnce, is_plain: false, subscribers: 2 };
    check(two, &fan_out).await;
}
