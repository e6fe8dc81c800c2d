//! Routing for the checks that ask for others' things: a place outside that is switched off, a rule
//! that is switched off, and a parked message that says nothing.

use std::collections::BTreeMap;

use veritwin_domain::{DeviceId, OpContext, RouteDestinationId, RouteMessageId, RouteRuleId};
use veritwin_metastore::{
    Page, RouteDestination, RouteFailure, RouteMessage, RouteMessageState, RouteParkedFilter,
    RouteRule,
};

use super::things::found_or_made;
use crate::route_places::{StoredDestination, StoredKind};
use crate::route_rules::{StoredMatch, StoredRule};
use crate::{App, Result};

const NAME: &str = "probe";

impl App {
    /// Finds or makes a place, a rule and a parked message.
    pub(super) async fn probe_routes(
        &self,
        context: &OpContext,
        device: DeviceId,
        things: &mut BTreeMap<&'static str, String>,
    ) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        let made = self.no_place(context)?;
        let known = tx.route_destinations().await?.first().map(|known| known.id);
        let destination = found_or_made(known, made.id, tx.route_destination_create(&made)).await?;
        let made = self.no_rule(context)?;
        let known = tx.route_rules().await?.first().map(|known| known.id);
        let rule = found_or_made(known, made.id, tx.route_rule_create(&made)).await?;
        let made = RouteMessage {
            id: RouteMessageId::generate(context.at, self.rng()),
            rule,
            destination,
            device,
            position: 0,
            part: 0,
            state: RouteMessageState::Parked,
            body: b"{}".to_vec(),
            reason: Some(RouteFailure::Refused),
            status: None,
            created_at: context.at,
            updated_at: context.at,
        };
        let all = RouteParkedFilter::default();
        let parked = tx.route_messages_parked(all, &Page::first(1)).await?.items;
        let known = parked.first().map(|known| known.id);
        let message = found_or_made(known, made.id, tx.route_message_add(&made)).await?;
        tx.commit().await?;
        things.insert("route_destination", destination.to_string());
        things.insert("route_rule", rule.to_string());
        things.insert("route_message", message.to_string());
        Ok(())
    }

    fn no_place(&self, context: &OpContext) -> Result<RouteDestination> {
        let stored = StoredDestination {
            kind: StoredKind::Webhook,
            name: NAME.to_owned(),
            recipient: NAME.to_owned(),
            purpose: NAME.to_owned(),
            url: "https://probe.invalid/".to_owned(),
            instructed_by: NAME.to_owned(),
            instructed_at_us: context.at.as_micros(),
        };
        Ok(RouteDestination {
            id: RouteDestinationId::generate(context.at, self.rng()),
            body: stored.bytes()?,
            secret: self.route_secret(),
            enabled: false,
            version: 1,
            created_at: context.at,
        })
    }

    fn no_rule(&self, context: &OpContext) -> Result<RouteRule> {
        let stored = StoredRule {
            name: NAME.to_owned(),
            matches: StoredMatch::Messages { topic: NAME.to_owned() },
            expression: None,
            destinations: Vec::new(),
        };
        Ok(RouteRule {
            id: RouteRuleId::generate(context.at, self.rng()),
            body: stored.bytes()?,
            enabled: false,
            version: 1,
            created_at: context.at,
        })
    }
}
