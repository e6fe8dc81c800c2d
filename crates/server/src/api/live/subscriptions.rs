//! The subscriptions of one connection: which streams it may see, what changed since the last
//! flush. Bounded by the number of series, not by the rate of readings.

use std::collections::{BTreeMap, HashMap};

use veritwin_app::model::{LatestFilter, LatestView};
use veritwin_app::{LATEST_AHEAD_MAX, LiveEvent, LiveReading, SeenStreams};
use veritwin_domain::{DeviceId, Key, OpContext, SiteId, Timestamp};
use veritwin_ingest::ws::{Command, Topic};

use super::super::{Api, body};
use super::following::{Following, only_device};
use super::protocol::{LatestDelta, ServerMessage};

/// Most subscriptions of one connection.
const SUBSCRIPTIONS_MAX: usize = 32;

struct Latest {
    filter: LatestFilter,
    /// What may be shown; nothing before the first snapshot.
    seen: Option<Box<SeenStreams>>,
    changed: HashMap<(DeviceId, Key), LatestDelta>,
    needs_snapshot: bool,
}

enum Subscription {
    Latest(Latest),
    Alerts(Events),
    Twins(Events),
    Traffic(Box<Following>),
}

/// A subscription of single events, which no snapshot stands for.
#[derive(Default)]
struct Events {
    missed: bool,
}

/// The subscriptions of one connection.
#[derive(Default)]
pub(super) struct Subscriptions {
    by_id: BTreeMap<u64, Subscription>,
    seq: u64,
}

fn delta(view: &LatestView) -> LatestDelta {
    LatestDelta {
        device_id: view.device.to_string(),
        key: view.key.to_string(),
        at_ms: view.at.as_millis(),
        value: body::value(&view.value),
        quality: view.quality.as_str(),
    }
}

fn parse_filter(
    twin_id: Option<String>,
    device_ids: Option<Vec<String>>,
) -> Result<LatestFilter, String> {
    let twin: Option<SiteId> =
        twin_id.map(|id| id.parse()).transpose().map_err(|_| "twin_id: not an id".to_owned())?;
    let devices = device_ids
        .map(|ids| ids.iter().map(|id| id.parse()).collect::<Result<Vec<DeviceId>, _>>())
        .transpose()
        .map_err(|_| "device_ids: not an id".to_owned())?;
    Ok(LatestFilter { devices, twin, keys: None, at: None })
}

impl Subscriptions {
    fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// Carries out a command.
    pub(super) async fn command(
        &mut self,
        api: &Api,
        context: &OpContext,
        command: Command,
    ) -> Vec<ServerMessage> {
        let id = command.id();
        match self.try_command(api, context, command).await {
            Ok(messages) => messages,
            Err(detail) => vec![ServerMessage::error(id, detail)],
        }
    }

    async fn try_command(
        &mut self,
        api: &Api,
        context: &OpContext,
        command: Command,
    ) -> Result<Vec<ServerMessage>, String> {
        match command {
            Command::Subscribe { id, topic, twin_id, device_ids } => {
                if self.by_id.len() >= SUBSCRIPTIONS_MAX && !self.by_id.contains_key(&id) {
                    return Err(format!(
                        "limit subscriptions_max exceeded: at most {SUBSCRIPTIONS_MAX}"
                    ));
                }
                let subscription = match topic {
                    Topic::Latest => Subscription::Latest(Latest {
                        filter: parse_filter(twin_id, device_ids)?,
                        seen: None,
                        changed: HashMap::new(),
                        needs_snapshot: true,
                    }),
                    Topic::Alerts => {
                        api.app.authorize_alert_list(context).map_err(|error| error.told())?;
                        Subscription::Alerts(Events::default())
                    }
                    Topic::Twins => {
                        api.app.authorize_twin_list(context).map_err(|error| error.told())?;
                        Subscription::Twins(Events::default())
                    }
                    Topic::Traffic => {
                        let device = only_device(twin_id.as_deref(), device_ids.as_deref())?;
                        // The one that it replaces gives up its place.
                        self.by_id.remove(&id);
                        let following = Following::begin(api, context, device).await?;
                        Subscription::Traffic(Box::new(following))
                    }
                };
                self.by_id.insert(id, subscription);
                Ok(self.flush(api, context).await)
            }
            Command::Unsubscribe { id } => {
                self.by_id.remove(&id);
                Ok(vec![ServerMessage::Done { id: Some(id) }])
            }
            Command::Publish { .. } => {
                Err("publishing needs a device token; programs use /v1/telemetry/write".to_owned())
            }
            Command::Authenticate { .. } => Err("already authenticated".to_owned()),
        }
    }

    /// The channel dropped events, or other things may be seen now: latest values need a new
    /// snapshot, and subscribers of events are told that they missed some.
    pub(super) fn lagged(&mut self) {
        self.renew_snapshots();
        for subscription in self.by_id.values_mut() {
            if let Subscription::Alerts(events) | Subscription::Twins(events) = subscription {
                events.missed = true;
            }
        }
    }

    fn renew_snapshots(&mut self) {
        for subscription in self.by_id.values_mut() {
            match subscription {
                Subscription::Latest(latest) => latest.needs_snapshot = true,
                Subscription::Traffic(following) => following.renew(),
                Subscription::Alerts(_) | Subscription::Twins(_) => {}
            }
        }
    }

    /// One message for each subscription of events that missed some since the last call.
    fn missed(&mut self) -> Vec<ServerMessage> {
        let mut messages = Vec::new();
        for (id, subscription) in &mut self.by_id {
            let (Subscription::Alerts(events) | Subscription::Twins(events)) = subscription else {
                continue;
            };
            if std::mem::take(&mut events.missed) {
                self.seq += 1;
                messages.push(ServerMessage::Missed { id: *id, seq: self.seq });
            }
        }
        messages
    }

    /// Takes note of an event; alerts and twin changes go out at once.
    pub(super) async fn take(
        &mut self,
        api: &Api,
        context: &OpContext,
        event: LiveEvent,
    ) -> Vec<ServerMessage> {
        match event {
            LiveEvent::Entry(entry) => {
                let end = api.app.clock().now().saturating_add(LATEST_AHEAD_MAX);
                self.note(&entry.readings(), end);
                Vec::new()
            }
            LiveEvent::Alert(alert) => {
                let ids: Vec<u64> = self.ids(|one| matches!(one, Subscription::Alerts(_)));
                if ids.is_empty() {
                    return Vec::new();
                }
                let Ok(_) = api.app.authorize_alert_list(context) else { return Vec::new() };
                let mut messages = Vec::new();
                for id in ids {
                    if let Ok(view) = api.app.alert(context, alert).await {
                        let seq = self.next_seq();
                        let alert = Box::new(view.into());
                        messages.push(ServerMessage::Alert { id, seq, alert });
                    }
                }
                messages
            }
            LiveEvent::Access => {
                self.lagged();
                Vec::new()
            }
            LiveEvent::Devices => {
                self.renew_snapshots();
                Vec::new()
            }
            LiveEvent::Sessions => Vec::new(),
            LiveEvent::Twin(twin, change) => {
                // A device may have moved into or out of a subscribed twin.
                self.renew_snapshots();
                if !api.app.sees_twin(context, twin) {
                    return Vec::new();
                }
                let ids = self.ids(|one| matches!(one, Subscription::Twins(_)));
                ids.into_iter()
                    .map(|id| ServerMessage::Twin {
                        id,
                        seq: self.next_seq(),
                        twin_id: twin.to_string(),
                        change: change.as_str(),
                    })
                    .collect()
            }
        }
    }

    fn ids(&self, wanted: impl Fn(&Subscription) -> bool) -> Vec<u64> {
        self.by_id.iter().filter(|(_, one)| wanted(one)).map(|(id, _)| *id).collect()
    }

    /// Notes changes; a reading past `end` is from the future and no latest value yet.
    fn note(&mut self, readings: &[LiveReading<'_>], end: Timestamp) {
        for subscription in self.by_id.values_mut() {
            let Subscription::Latest(latest) = subscription else { continue };
            for reading in readings {
                let is_shown = |seen: &SeenStreams| seen.shows(reading.device, reading.key);
                if reading.at > end || !latest.seen.as_deref().is_some_and(is_shown) {
                    continue;
                }
                let at_ms = reading.at.as_millis();
                let slot = (reading.device, reading.key.clone());
                if latest.changed.get(&slot).is_some_and(|known| known.at_ms > at_ms) {
                    continue;
                }
                let change = LatestDelta {
                    device_id: reading.device.to_string(),
                    key: reading.key.to_string(),
                    at_ms,
                    value: body::value(reading.value),
                    quality: reading.quality.as_str(),
                };
                latest.changed.insert(slot, change);
            }
        }
    }

    /// What is due: missed events, snapshots and coalesced changes.
    pub(super) async fn flush(&mut self, api: &Api, context: &OpContext) -> Vec<ServerMessage> {
        let mut messages = self.missed();
        let mut seq = self.seq;
        for (id, subscription) in &mut self.by_id {
            let Subscription::Latest(latest) = subscription else { continue };
            let items = if latest.needs_snapshot {
                match api.app.latest_to_follow(context, &latest.filter).await {
                    Ok((seen, items)) => {
                        latest.seen = Some(Box::new(seen));
                        latest.needs_snapshot = false;
                        latest.changed.clear();
                        items.iter().map(delta).collect()
                    }
                    Err(error) => {
                        // What may not be read any more is not sent on either.
                        latest.seen = None;
                        latest.changed.clear();
                        latest.needs_snapshot = false;
                        messages.push(ServerMessage::error(Some(*id), error.told()));
                        continue;
                    }
                }
            } else if latest.changed.is_empty() {
                continue;
            } else {
                latest.changed.drain().map(|(_, change)| change).collect::<Vec<_>>()
            };
            seq += 1;
            messages.push(ServerMessage::Latest { id: *id, seq, items });
        }
        self.seq = seq;
        self.flush_traffic(api, context, &mut messages).await;
        messages
    }

    /// What devices that are followed did; one that may not be followed any more ends.
    async fn flush_traffic(
        &mut self,
        api: &Api,
        context: &OpContext,
        messages: &mut Vec<ServerMessage>,
    ) {
        let (mut seq, mut ended) = (self.seq, Vec::new());
        for (id, subscription) in &mut self.by_id {
            let Subscription::Traffic(following) = subscription else { continue };
            match following.due(api, context).await {
                Ok(None) => {}
                Ok(Some((items, left_out))) => {
                    seq += 1;
                    messages.push(ServerMessage::Traffic { id: *id, seq, items, left_out });
                }
                Err(detail) => {
                    ended.push(*id);
                    messages.push(ServerMessage::error(Some(*id), detail));
                }
            }
        }
        self.seq = seq;
        self.by_id.retain(|id, _| !ended.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use super::{Events, ServerMessage, Subscription, Subscriptions};

    fn told(subscriptions: &mut Subscriptions) -> Vec<(u64, u64)> {
        let messages = subscriptions.missed();
        let ids = messages.iter().map(|message| match message {
            ServerMessage::Missed { id, seq } => (*id, *seq),
            _ => panic!("another message"),
        });
        ids.collect()
    }

    #[test]
    fn dropped_alerts_and_twin_changes_are_told_once() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.by_id.insert(2, Subscription::Alerts(Events::default()));
        subscriptions.by_id.insert(3, Subscription::Twins(Events::default()));
        assert_eq!(told(&mut subscriptions), []);
        subscriptions.lagged();
        subscriptions.lagged();
        assert_eq!(told(&mut subscriptions), [(2, 1), (3, 2)]);
        assert_eq!(told(&mut subscriptions), []);
    }
}
