//! P02: by each way out that customers choose, a canary is sent to an address that nobody
//! registered, and nothing may leave. What the egress register holds for routing has to be what
//! customers registered.

use std::sync::Arc;

use bytes::Bytes;
use veritwin_domain::Secret;
use veritwin_outbound::guard::{GuardError, Target};

use super::canary::canary;
use super::run::InApp;
use super::{PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::route_places::{Outlet, ROUTE_PURPOSE, StoredKind};
use crate::{App, Error, Result};

const PROMISE: u8 = 2;
const VERSION: u32 = 1;

pub(super) fn probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, PROMISE, VERSION, |app: App| async move { app.check_egress().await })
}

fn failed(summary: &str, place: &str) -> ProbeAnswer {
    ProbeAnswer::Failed { summary: summary.to_owned(), facts: Vec::new(), place: place.to_owned() }
}

impl App {
    async fn check_egress(&self) -> Result<ProbeAnswer> {
        // A name of the top-level domain that is nobody's (RFC 2606).
        let canary = canary(self.rng());
        let target = Target::parse(&format!("https://{canary}.invalid/"))
            .map_err(|error| Error::Internal(error.to_string()))?;
        let named = || (canary.clone(), String::new());
        let ((topic, user), (subject, nobody)) = (named(), named());
        let ways = [
            ("webhook", StoredKind::Webhook),
            ("MQTT", StoredKind::Mqtt { topic, user }),
            ("NATS", StoredKind::Nats { topic: subject, user: nobody }),
        ];
        let tried = ways.len();
        for (way, kind) in ways {
            let secret = Secret::new(canary.clone().into_bytes());
            let (name, target) = (canary.clone(), Some(target.clone()));
            let outlet = Outlet { name, kind, target, secret };
            let body = Bytes::from(canary.clone());
            let sent = self.send_route(PROBE_TENANT, &outlet, (&canary, body)).await;
            if let Some(place) = outlet.place() {
                self.0.egress.withdraw(&place);
            }
            match sent {
                Err(GuardError::NotRegistered(_)) => {}
                Err(GuardError::Busy(limit)) => {
                    return Ok(ProbeAnswer::CouldNotRun(format!("no room: {limit}")));
                }
                _ => {
                    let summary = "a message went on its way to an address that nobody registered";
                    return Ok(failed(summary, &format!("egress register, {way}")));
                }
            }
        }
        let rows = self.0.egress.rows();
        let of_routing = rows.iter().filter(|row| row.purpose == ROUTE_PURPOSE);
        let mut routed = 0usize;
        for row in of_routing {
            routed += 1;
            if !self.0.routes.places.names(&row.destination) {
                let summary = "the register opens an address for routing that no customer names";
                return Ok(failed(summary, "egress register"));
            }
        }
        let calls: u64 = rows.iter().map(|row| row.calls).sum();
        Ok(ProbeAnswer::Passed {
            summary: "nothing leaves to an address that is not registered".to_owned(),
            facts: vec![
                ("ways tried".to_owned(), tried.to_string()),
                ("registered addresses".to_owned(), rows.len().to_string()),
                ("of these for routing".to_owned(), routed.to_string()),
                ("calls since the start".to_owned(), calls.to_string()),
            ],
        })
    }
}
