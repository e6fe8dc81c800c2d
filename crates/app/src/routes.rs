//! The places outside to which a tenant's messages may go: registered by somebody who says that
//! the customer instructed the recipient (promise P02), judged by the guard, each with a secret of
//! its own that is shown once.

use async_recursion::async_recursion as boxed;
use serde_json::{Value, json};
use veritwin_access::{Action, Kind};
use veritwin_domain::{
    LimitExceeded, OpContext, RouteDestinationId, RouteMessageId, Secret, TenantId, Timestamp,
};
use veritwin_metastore::{RouteDestination, TenantTx};
use veritwin_outbound::guard::{BrokerReply, GuardError, webhook_secret};
use veritwin_outbound::register::Destination;

use crate::activity::ActorName;
use crate::change::Change;
use crate::devices::check_text;
use crate::model::{
    MadeRouteDestination, RouteDestinationInput, RouteDestinationView, RouteKind, RouteSample,
};
use crate::plan_routes::RouteQuota;
use crate::route_body::sample_body;
use crate::route_delivery::{RouteReply, Tried};
use crate::route_mail::check_people;
use crate::route_places::{
    Outlet, StoredDestination, StoredKind, check_kind, topic_of, url_recorded,
};
use crate::route_rules::StoredRule;
use crate::{App, Error, Result};

/// Most places of a tenant.
const ROUTE_DESTINATIONS_MAX: usize = 50;
const NAME_CHARS_MAX: usize = 100;
const PURPOSE_CHARS_MAX: usize = 500;
const SECRET_BYTES: usize = 32;
const UNSAID: &str = "say that the recipient is one that your organisation instructed: nothing \
    leaves to anybody else (promise P02)";

fn view(one: &RouteDestination) -> Result<RouteDestinationView> {
    let stored = StoredDestination::read(one)?;
    Ok(RouteDestinationView {
        id: one.id,
        input: RouteDestinationInput {
            kind: stored.kind.shown(),
            password: None,
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
    let (url, digest) = url_recorded(&view.input.url);
    json!({
        "destination": view.id.to_string(),
        "name": view.input.name,
        "recipient": view.input.recipient,
        "purpose": view.input.purpose,
        "kind": view.input.kind.as_str(),
        "topic": topic_of(&view.input.kind),
        "people": people_of(&view.input.kind),
        "url": url,
        "url_digest": digest,
        "instructed_by": view.instructed_by,
        "enabled": view.input.enabled,
    })
}

/// Who is written to, as it is recorded; none of any other kind.
fn people_of(kind: &RouteKind) -> Option<Vec<String>> {
    match kind {
        RouteKind::Mail { people } => Some(people.iter().map(ToString::to_string).collect()),
        _ => None,
    }
}

fn check_words(field: &str, text: &str, chars_max: usize) -> Result<()> {
    if text.trim().is_empty() {
        return Err(Error::invalid_at(field, "must not be empty"));
    }
    check_text(field, text, chars_max)
}

impl App {
    /// Reads an address, and asks the guard whether it may be stored.
    fn check_url(&self, kind: &StoredKind, url: &str) -> Result<()> {
        let Some(target) = kind.target(url)? else { return Ok(()) };
        let judged = self.0.providers.client.guard().check(&target);
        judged.map_err(|error| Error::invalid_at("url", error.to_string()))
    }

    fn check_destination(&self, input: &RouteDestinationInput) -> Result<()> {
        check_words("name", &input.name, NAME_CHARS_MAX)?;
        check_words("recipient", &input.recipient, NAME_CHARS_MAX)?;
        check_words("purpose", &input.purpose, PURPOSE_CHARS_MAX)?;
        let kind = StoredKind::of(input.kind.clone());
        if !input.instructed && kind.leads_outside() {
            return Err(Error::invalid_at("instructed", UNSAID));
        }
        check_kind(input)?;
        self.check_url(&kind, &input.url)
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
        // What stands behind the host may be a secret: only those see it who send there.
        let sees_all = self.0.authorizer.check(context, Action::RouteDeliver, &resource).is_ok();
        let shown = |one: &RouteDestination| -> Result<RouteDestinationView> {
            let mut shown = view(one)?;
            if !sees_all {
                shown.input.url = url_recorded(&shown.input.url).0;
            }
            Ok(shown)
        };
        all.iter().map(shown).collect()
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
        check_people(&tx, &input.kind).await?;
        let known = tx.route_destinations().await?.len();
        if known >= ROUTE_DESTINATIONS_MAX {
            let (name, max) = ("route_destinations_max", ROUTE_DESTINATIONS_MAX);
            return Err(Error::Limit(LimitExceeded { name, max, actual: known + 1 }));
        }
        self.check_route_quota(context.tenant, RouteQuota::Destinations, known + 1)?;
        let kind = StoredKind::of(input.kind);
        let secret = match (&kind, input.password) {
            (StoredKind::Webhook, _) => self.route_secret(),
            (_, password) => password.map(Secret::into_exposed).unwrap_or_default().into_bytes(),
        };
        let stored = StoredDestination {
            kind,
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
            secret,
            enabled: input.enabled,
            version: 1,
            created_at: context.at,
        };
        tx.route_destination_create(&made).await?;
        let after = view(&made)?;
        let change = Change::to(recorded(&after));
        self.record_change(&tx, context, Action::RouteWrite, &resource, change).await?;
        tx.commit().await?;
        self.destination_written(context.tenant, &after, stored.place()?);
        let is_signed = stored.kind == StoredKind::Webhook;
        let secret = is_signed.then(|| webhook_secret(&made.secret));
        Ok(MadeRouteDestination { view: after, secret })
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
        check_people(&tx, &input.kind).await?;
        let before = view(&one)?;
        let mut stored = StoredDestination::read(&one)?;
        let known_secret = one.secret.clone();
        let kind = StoredKind::of(input.kind);
        if std::mem::discriminant(&kind) != std::mem::discriminant(&stored.kind) {
            let detail = "stays what it is: register another destination";
            return Err(Error::invalid_at("kind", detail));
        }
        let is_elsewhere = stored.url != input.url || stored.kind != kind;
        let is_secret_kept = kind != StoredKind::Webhook && input.password.is_none();
        if kind != StoredKind::Webhook && kind.user().is_empty() {
            one.secret = Vec::new();
        }
        if is_elsewhere && is_secret_kept && !one.secret.is_empty() {
            // Whoever may say where messages go does not thereby learn a password.
            let detail = "needed again, since the address, topic or user is another";
            return Err(Error::invalid_at("password", detail));
        }
        if let Some(password) = input.password.filter(|_| kind.has_password()) {
            one.secret = password.into_exposed().into_bytes();
        }
        if is_elsewhere || stored.recipient != input.recipient {
            stored.instructed_by = ActorName::of(&context.actor.kind).to_string();
            stored.instructed_at_us = context.at.as_micros();
        }
        (stored.kind, stored.name, stored.recipient) = (kind, input.name, input.recipient);
        (stored.purpose, stored.url) = (input.purpose, input.url);
        (one.body, one.enabled) = (stored.bytes()?, input.enabled);
        let is_resealed = one.secret != known_secret;
        let expected = if_version.map(|version| u64::try_from(version).unwrap_or(0));
        tx.route_destination_update(&one, expected).await?;
        // What waited because of how it was is tried with what it is now.
        tx.route_lanes_wake(id).await?;
        let after = view(&tx.route_destination(id).await?)?;
        let mut said = recorded(&after);
        if is_resealed {
            said["password_changed"] = Value::from(true);
        }
        let change = Change::from_to(recorded(&before), said);
        self.record_change(&tx, context, Action::RouteWrite, &resource, change).await?;
        tx.commit().await?;
        self.destination_written(context.tenant, &after, stored.place()?);
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
        if StoredDestination::read(&one)?.kind != StoredKind::Webhook {
            let text = "only webhooks have a signing secret: change the destination to give it \
                another password";
            return Err(Error::Conflict(text.to_owned()));
        }
        one.secret = self.route_secret();
        tx.route_destination_update(&one, None).await?;
        let after = view(&tx.route_destination(id).await?)?;
        let renewed = json!({ "destination": id.to_string(), "secret_renewed": true });
        let change = Change::to(renewed);
        self.record_change(&tx, context, Action::RouteWrite, &resource, change).await?;
        tx.commit().await?;
        Ok(MadeRouteDestination { view: after, secret: Some(webhook_secret(&one.secret)) })
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

    fn destination_written(
        &self,
        tenant: TenantId,
        after: &RouteDestinationView,
        place: Option<Destination>,
    ) {
        self.enter_route_place(tenant, after.id, place.filter(|_| after.input.enabled));
        self.route_sources_changed(tenant);
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
        let enabled = one.enabled;
        let outlet = Outlet::of(one)?;
        let message = RouteMessageId::generate(context.at, self.rng()).to_string();
        let body = sample_body(context.at)?;
        if let StoredKind::Topic { topic } = &outlet.kind {
            let sample = (message.as_str(), body.to_vec());
            let tried = self.pass_on_sample((context.tenant, topic), sample).await?;
            self.note(context, Action::RouteDeliver, &resource, "done");
            return Ok(sample_inside(tried));
        }
        if let StoredKind::Mail { people } = &outlet.kind {
            let sample = self.mail_sample(context, (&message, people)).await?;
            self.note(context, Action::RouteDeliver, &resource, "done");
            return Ok(sample);
        }
        self.enter_route_place(context.tenant, id, outlet.place());
        let sent = self.send_route(context.tenant, &outlet, (&message, body)).await;
        if !enabled {
            self.enter_route_place(context.tenant, id, None);
        }
        self.note(context, Action::RouteDeliver, &resource, "done");
        Ok(sample_of(sent))
    }
}

fn sample_inside(tried: Tried) -> RouteSample {
    let is_taken = tried == Tried::Delivered;
    let problem = (!is_taken).then(|| "the broker here did not take it now".to_owned());
    RouteSample { status: None, problem }
}

fn sample_of(sent: std::result::Result<RouteReply, GuardError>) -> RouteSample {
    let (status, problem) = match sent {
        Ok(RouteReply::Http(reply)) => {
            let is_taken = (200..300).contains(&reply.status);
            let text = || format!("it answered with status {}", reply.status);
            (Some(reply.status), (!is_taken).then(text))
        }
        Ok(RouteReply::Broker(BrokerReply::Taken)) => (None, None),
        Ok(RouteReply::Broker(BrokerReply::NotLetIn)) => {
            (None, Some("the broker did not let the user in".to_owned()))
        }
        Ok(RouteReply::Broker(BrokerReply::NotTaken)) => {
            (None, Some("the broker did not take the message".to_owned()))
        }
        Err(error) => (None, Some(error.to_string())),
    };
    RouteSample { status, problem }
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
