//! P02: by each way out that customers choose, a canary is sent to an address that nobody
//! registered, and nothing may leave. What the egress register holds for routing has to be what
//! customers registered.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use veritwin_access::jobs;
use veritwin_domain::{RouteDestinationId, Secret, TenantId};
use veritwin_outbound::guard::{GuardError, Target};
use veritwin_outbound::register::{Destination, Row};

use super::canary::canary;
use super::run::InApp;
use super::{PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::error::found;
use crate::route_places::{Outlet, ROUTE_PURPOSE, StoredDestination, StoredKind};
use crate::{App, Error, Result};

const PROMISE: u8 = 2;
const VERSION: u32 = 1;
/// Registered places that are compared with the records at one time.
const COMPARED_MAX: usize = 1_000;

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
        let is_routed = |row: &&Row| row.purpose == ROUTE_PURPOSE;
        let named = self.0.routes.places.all().into_iter().map(|(_, place)| place);
        let named: HashSet<Destination> = named.collect();
        let mut routed = 0usize;
        for row in rows.iter().filter(is_routed) {
            routed += 1;
            let is_named =
                named.contains(&row.destination) || self.0.routes.places.names(&row.destination);
            // It may have been given up in between.
            let is_there = |now: &Row| now.destination == row.destination && is_routed(&now);
            if !is_named && self.0.egress.rows().iter().any(is_there) {
                let summary = "the register opens an address for routing that no customer names";
                return Ok(failed(summary, "egress register"));
            }
        }
        if let Some(failed) = self.compare_places().await {
            return Ok(failed);
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

    /// Whether what is in the register for tenants is what their records say.
    async fn compare_places(&self) -> Option<ProbeAnswer> {
        for (whose, place) in self.0.routes.places.all().into_iter().take(COMPARED_MAX) {
            // Records that cannot be read now say nothing.
            if self.is_recorded(whose, &place).await.unwrap_or(true) {
                continue;
            }
            // It may have been changed in between.
            if self.0.routes.places.all().contains(&(whose, place)) {
                let summary = "the register opens an address that its customer gave up";
                return Some(failed(summary, "egress register"));
            }
        }
        None
    }

    async fn is_recorded(
        &self,
        (tenant, id): (TenantId, RouteDestinationId),
        place: &Destination,
    ) -> Result<bool> {
        let tx = self.0.store.read(&self.job_in(jobs::ROUTES, tenant)).await?;
        let Some(one) = found(tx.route_destination(id).await)? else { return Ok(false) };
        let stored = StoredDestination::read(&one)?;
        Ok(stored.place().is_ok_and(|recorded| recorded.as_ref() == Some(place)))
    }
}
