//! The places outside to which a tenant's messages may go: registered by somebody who says that
//! the customer instructed the recipient (promise P02), judged by the guard, each with a secret of
//! its own that is shown once.

use std::collections::HashMap;

use async_recursion::async_recursion as boxed;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use veritwin_access::{Action, Kind};
use veritwin_domain::{
    LimitExceeded, OpContext, RouteDestinationId, RouteMessageId, Secret, TenantId, Timestamp,
};
use veritwin_metastore::{RouteDestination, TenantTx};
use veritwin_outbound::guard::{Target, webhook_secret};
use veritwin_outbound::register::{Destination, DestinationKind, EgressRegister};

use crate::activity::ActorName;
use crate::change::Change;
use crate::devices::check_text;
use crate::model::{
    MadeRouteDestination, RouteDestinationInput, RouteDestinationView, RouteSample,
};
use crate::route_body::sample_body;
use crate::route_rules::StoredRule;
use crate::{App, Error, Result};

/// Most places of a tenant.
const ROUTE_DESTINATIONS_MAX: usize = 50;
const NAME_CHARS_MAX: usize = 100;
const PURPOSE_CHARS_MAX: usize = 500;
const SECRET_BYTES: usize = 32;
/// Why such a place is in the egress register.
const PURPOSE: &str = "routing destination that a customer registered";
const UNSAID: &str = "say that the recipient is one that your organisation instructed: nothing \
    leaves to anybody else (promise P02)";

/// What is kept of a place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredDestination {
    pub(crate) name: String,
    pub(crate) recipient: String,
    pub(crate) purpose: String,
    pub(crate) url: String,
    pub(crate) instructed_by: String,
    pub(crate) instructed_at_us: i64,
}

impl StoredDestination {
    pub(crate) fn read(one: &RouteDestination) -> Result<Self> {
        let damaged = |_| Error::Internal("a routing destination is damaged".to_owned());
        serde_json::from_slice(&one.body).map_err(damaged)
    }

    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::Internal(error.to_string()))
    }
}

/// Which places of which tenants are in the egress register.
#[derive(Debug, Default)]
pub(crate) struct RoutePlaces(Mutex<HashMap<(TenantId, RouteDestinationId), Destination>>);

impl RoutePlaces {
    /// Enters a place, or takes it out; what nobody names any more leaves the register.
    pub(crate) fn put(
        &self,
        register: &EgressRegister,
        whose: (TenantId, RouteDestinationId),
        place: Option<Destination>,
    ) {
        let mut places = self.0.lock();
        let gone = match place {
            Some(place) => {
                register.register(place.clone(), DestinationKind::Recipient, PURPOSE);
                places.insert(whose, place)
            }
            None => places.remove(&whose),
        };
        if let Some(gone) = gone
            && places.values().all(|known| *known != gone)
        {
            register.withdraw_of(&gone, PURPOSE);
        }
    }
}

fn view(one: &RouteDestination) -> Result<RouteDestinationView> {
    let stored = StoredDestination::read(one)?;
    Ok(RouteDestinationView {
        id: one.id,
        input: RouteDestinationInput {
            name: stored.name,
            recipient: stored.recipient,
            purpose: stored.purpose,
            url: stored.url,
            instructed: true,
            enabled: one.enabled,
        },
        instructed_by: stored.instructed_by,
        instructed_at: Timestamp::from_micros(stored.instructed_at_us),
        created_at: one.created_at,
        version: i64::try_from(one.version).unwrap_or(i64::MAX),
    })
}

/// A place as a change of it is recorded.
fn recorded(view: &RouteDestinationView) -> Value {
    json!({
        "destination": view.id.to_string(),
        "name": view.input.name,
        "recipient": view.input.recipient,
        "purpose": view.input.purpose,
        "kind": "webhook",
        "url": view.input.url,
        "instructed_by": view.instructed_by,
        "enabled": view.input.enabled,
    })
}

fn check_words(field: &str, text: &str, chars_max: usize) -> Result<()> {
    if text.trim().is_empty() {
        return Err(Error::invalid_at(field, "must not be empty"));
    }
    check_text(field, text, chars_max)
}

/// The place of an address, as the egress register names it.
pub(crate) fn place_at(target: &Target) -> Destination {
    Destination::new(target.host(), target.port())
}

impl App {
    /// Reads an address, and asks the guard whether it may be stored.
    fn check_url(&self, url: &str) -> Result<Target> {
        let target = Target::parse(url).map_err(|e| Error::invalid_at("url", e.to_string()))?;
        let judged = self.0.providers.client.guard().check(&target);
        judged.map_err(|error| Error::invalid_at("url", error.to_string()))?;
        Ok(target)
    }

    fn check_destination(&self, input: &RouteDestinationInput) -> Result<()> {
        check_words("name", &input.name, NAME_CHARS_MAX)?;
        check_words("recipient", &input.recipient, NAME_CHARS_MAX)?;
        check_words("purpose", &input.purpose, PURPOSE_CHARS_MAX)?;
        if !input.instructed {
            return Err(Error::invalid_at("instructed", UNSAID));
        }
        self.check_url(&input.url).map(drop)
    }

    pub(crate) fn route_secret(&self) -> Vec<u8> {
        let mut secret = vec![0; SECRET_BYTES];
        self.rng().fill(&mut secret);
        secret
    }

    /// Enters a place of a tenant into the egress register, or takes it out.
    pub(crate) fn enter_route_place(
        &self,
        tenant: TenantId,
        id: RouteDestinationId,
        place: Option<Destination>,
    ) {
        self.0.routes.places.put(&self.0.egress, (tenant, id), place);
    }

    /// The places outside of the context's tenant.
    #[boxed]
    pub async fn route_destinations(
        &self,
        context: &OpContext,
    ) -> Result<Vec<RouteDestinationView>> {
        let resource = self.authorize_all(context, Action::RouteRead, Kind::Tenant)?;
        let all = self.0.store.read(context).await?.route_destinations().await?;
        self.note(context, Action::RouteRead, &resource, "done");
        all.iter().map(view).collect()
    }

    /// Registers a place; gives its secret, this once.
    #[boxed]
    pub async fn create_route_destination(
        &self,
        context: &OpContext,
        input: RouteDestinationInput,
    ) -> Result<MadeRouteDestination> {
        let resource = self.authorize_all(context, Action::RouteWrite, Kind::Tenant)?;
        self.check_destination(&input)?;
        let tx = self.0.store.begin(context).await?;
        let known = tx.route_destinations().await?.len();
        if known >= ROUTE_DESTINATIONS_MAX {
            let (name, max) = ("route_destinations_max", ROUTE_DESTINATIONS_MAX);
            return Err(Error::Limit(LimitExceeded { name, max, actual: known + 1 }));
        }
        let stored = StoredDestination {
            name: input.name,
            recipient: input.recipient,
            purpose: input.purpose,
            url: input.url,
            instructed_by: ActorName::of(&context.actor.kind).to_string(),
            instructed_at_us: context.at.as_micros(),
        };
        let made = RouteDestination {
            id: RouteDestinationId::generate(context.at, self.rng()),
            body: stored.bytes()?,
            secret: self.route_secret(),
            enabled: input.enabled,
            version: 1,
            created_at: context.at,
        };
        tx.route_destination_create(&made).await?;
        let after = view(&made)?;
        let change = Change::to(recorded(&after));
        self.record_change(&tx, context, Action::RouteWrite, &resource, change).await?;
        tx.commit().await?;
        self.destination_written(context.tenant, &after)?;
        Ok(MadeRouteDestination { view: after, secret: webhook_secret(&made.secret) })
    }

    /// Changes a place. Whoever changes where messages go or who receives them says again that
    /// this was instructed.
    #[boxed]
    pub async fn replace_route_destination(
        &self,
        context: &OpContext,
        id: RouteDestinationId,
        input: RouteDestinationInput,
        if_version: Option<i64>,
    ) -> Result<RouteDestinationView> {
        let resource = self.authorize_all(context, Action::RouteWrite, Kind::Tenant)?;
        let tx = self.0.store.begin(context).await?;
        let mut one = tx.route_destination(id).await?;
        self.check_destination(&input)?;
        let before = view(&one)?;
        let mut stored = StoredDestination::read(&one)?;
        if stored.url != input.url || stored.recipient != input.recipient {
            stored.instructed_by = ActorName::of(&context.actor.kind).to_string();
            stored.instructed_at_us = context.at.as_micros();
        }
        (stored.name, stored.recipient) = (input.name, input.recipient);
        (stored.purpose, stored.url) = (input.purpose, input.url);
        (one.body, one.enabled) = (stored.bytes()?, input.enabled);
        let expected = if_version.map(|version| u64::try_from(version).unwrap_or(0));
        tx.route_destination_update(&one, expected).await?;
        // What waited because of how it was is tried with what it is now.
        tx.route_lanes_wake(id).await?;
        let after = view(&tx.route_destination(id).await?)?;
        let change = Change::from_to(recorded(&before), recorded(&after));
        self.record_change(&tx, context, Action::RouteWrite, &resource, change).await?;
        tx.commit().await?;
        self.destination_written(context.tenant, &after)?;
        Ok(after)
    }

    /// Gives a place another secret, this once shown; the one of before signs nothing more.
    #[boxed]
    pub async fn renew_route_secret(
        &self,
        context: &OpContext,
        id: RouteDestinationId,
    ) -> Result<MadeRouteDestination> {
        let resource = self.authorize_all(context, Action::RouteWrite, Kind::Tenant)?;
        let tx = self.0.store.begin(context).await?;
        let mut one = tx.route_destination(id).await?;
        one.secret = self.route_secret();
        tx.route_destination_update(&one, None).await?;
        let after = view(&tx.route_destination(id).await?)?;
        let renewed = json!({ "destination": id.to_string(), "secret_renewed": true });
        let change = Change::to(renewed);
        self.record_change(&tx, context, Action::RouteWrite, &resource, change).await?;
        tx.commit().await?;
        Ok(MadeRouteDestination { view: after, secret: webhook_secret(&one.secret) })
    }

    /// Removes a place, with what waits for it and what is parked. Refused while a rule names it.
    #[boxed]
    pub async fn delete_route_destination(
        &self,
        context: &OpContext,
        id: RouteDestinationId,
    ) -> Result<()> {
        let resource = self.authorize_all(context, Action::RouteWrite, Kind::Tenant)?;
        let tx = self.0.store.begin(context).await?;
        let before = view(&tx.route_destination(id).await?)?;
        if let Some(rule) = rule_that_names(&tx, id).await? {
            let text = format!("the rule {rule} sends messages there: change it first");
            return Err(Error::Conflict(text));
        }
        tx.route_destination_delete(id).await?;
        let change = Change::from(recorded(&before));
        self.record_change(&tx, context, Action::RouteWrite, &resource, change).await?;
        tx.commit().await?;
        self.enter_route_place(context.tenant, id, None);
        self.route_sources_changed(context.tenant);
        Ok(())
    }

    fn destination_written(&self, tenant: TenantId, after: &RouteDestinationView) -> Result<()> {
        let target = self.check_url(&after.input.url)?;
        let place = after.input.enabled.then(|| place_at(&target));
        self.enter_route_place(tenant, after.id, place);
        self.route_sources_changed(tenant);
        Ok(())
    }

    /// Sends a sample to a place, switched on or not, and says what became of it.
    #[boxed]
    pub async fn sample_route_destination(
        &self,
        context: &OpContext,
        id: RouteDestinationId,
    ) -> Result<RouteSample> {
        let resource = self.authorize_all(context, Action::RouteDeliver, Kind::Tenant)?;
        let one = self.0.store.read(context).await?.route_destination(id).await?;
        let stored = StoredDestination::read(&one)?;
        let target = self.check_url(&stored.url)?;
        self.enter_route_place(context.tenant, id, Some(place_at(&target)));
        let message = RouteMessageId::generate(context.at, self.rng()).to_string();
        let body = sample_body(context.at)?;
        let secret = Secret::new(one.secret);
        let sent = self.send_route(context.tenant, (&target, &secret), (&message, body)).await;
        if !one.enabled {
            self.enter_route_place(context.tenant, id, None);
        }
        self.note(context, Action::RouteDeliver, &resource, "done");
        Ok(match sent {
            Ok(reply) if (200..300).contains(&reply.status) => {
                RouteSample { status: Some(reply.status), problem: None }
            }
            Ok(reply) => {
                let problem = Some(format!("it answered with status {}", reply.status));
                RouteSample { status: Some(reply.status), problem }
            }
            Err(error) => RouteSample { status: None, problem: Some(error.to_string()) },
        })
    }
}

/// The name of a rule that sends messages to a place.
async fn rule_that_names(tx: &TenantTx, id: RouteDestinationId) -> Result<Option<String>> {
    for rule in tx.route_rules().await? {
        let stored = StoredRule::read(&rule)?;
        if stored.destinations.contains(&id) {
            return Ok(Some(stored.name));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_stays_registered_as_long_as_somebody_names_it() {
        let (register, places) = (EgressRegister::default(), RoutePlaces::default());
        let tenant = |number| TenantId::from_bytes([number; 16]);
        let id = RouteDestinationId::from_bytes([9; 16]);
        let hook = Destination::new("hooks.example", 443);
        places.put(&register, (tenant(1), id), Some(hook.clone()));
        places.put(&register, (tenant(2), id), Some(hook.clone()));
        places.put(&register, (tenant(1), id), None);
        assert!(register.check(&hook).is_ok(), "the second names it");
        places.put(&register, (tenant(2), id), Some(Destination::new("other.example", 443)));
        assert!(register.check(&hook).is_err());
    }
}
