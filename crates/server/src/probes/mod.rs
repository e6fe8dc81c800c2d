//! Probes of promises that need the listeners and the pages: undeclared streams (P04), card numbers
//! (P05), special categories (P06), locations (P20), transport (P23), roles (P30), isolation (P31),
//! floods (P33), anomalous access (P34), support access (P35), cookies (P56). They ask from
//! outside, as a client would; the app runs them and keeps what they find.

mod access;
mod arrow;
mod cookies;
mod flood;
mod isolation;
mod kinds;
mod opening;
mod refused;
mod refused_mqtt;
mod roles;
mod scan;
mod streams;
mod transport;
mod walk;
mod words;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use veritwin_app::{App, PlatformProbe};
use veritwin_ingest::mqtt::Broker;

pub(crate) use self::transport::reachable;
use self::walk::Walker;
use crate::controls::Controls;
use crate::guard::Guard;

/// What the composition root knows and the probes need.
pub(crate) struct Wiring {
    /// Everything the HTTPS listener serves.
    pub(crate) router: Router,
    pub(crate) broker: Arc<Broker>,
    pub(crate) controls: Arc<Controls>,
    pub(crate) guard: Arc<Guard>,
    /// Listed balancers begin connections to the HTTPS listener with the PROXY protocol.
    pub(crate) proxy_protocol: bool,
    pub(crate) https_address: SocketAddr,
    pub(crate) mqtts_address: SocketAddr,
    /// `host:port`.
    pub(crate) archive_address: String,
    /// The platform's own authority.
    pub(crate) ca_pem: String,
    /// The name in the server certificate.
    pub(crate) server_name: String,
    /// The operator's certificate is in use instead of one of our authority.
    pub(crate) own_certificate: bool,
}

/// Registers the probes. Their first checks run at once.
pub(crate) fn register(app: &App, wiring: &Wiring) {
    #[cfg(feature = "test-controls")]
    wiring.controls.attach(app.clone());
    let probes: [Arc<dyn PlatformProbe>; 11] = [
        Arc::new(transport::Transport::new(app, wiring)),
        Arc::new(Walker(isolation::Isolation::new(app, wiring))),
        Arc::new(cookies::Cookies::new(app, wiring)),
        Arc::new(Walker(roles::Roles::new(app, wiring))),
        Arc::new(access::Locations::new(app, wiring)),
        Arc::new(access::Anomalies::new(app, wiring)),
        Arc::new(access::Support::new(app, wiring)),
        Arc::new(flood::Flood::new(app, wiring)),
        Arc::new(Walker(streams::Streams::new(app, wiring))),
        Arc::new(Walker(refused::Refused::cards(app, wiring))),
        Arc::new(Walker(refused::Refused::people(app, wiring))),
    ];
    for probe in probes {
        if let Err(error) = app.register_probe(probe) {
            tracing::error!(%error, "a promise's probe");
        }
    }
}
