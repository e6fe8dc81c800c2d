//! An edge node and its devices (Sparkplug 3.0, 5 and 6): births, deaths, sequence numbers and
//! aliases. Pure: messages go in, readings and what has to be asked for come out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use veritwin_domain::{DeviceId, LimitExceeded, Reading, Timestamp};

use super::metric::{BD_SEQ, Context, Metrics, Share, Wrong};
use super::payload::{Payload, Raw};
use super::value::DataType;
use super::view::SparkplugView;
use crate::payload::PayloadError;

/// Most devices of one edge node.
pub const DEVICES_MAX: usize = 1_000;
/// An edge node is asked for a new birth at most once in this time.
pub const REBIRTH_INTERVAL: Duration = Duration::from_secs(10);
/// Nobody's connection.
const NOBODY: u64 = 0;

/// Why a message of an edge node is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    Payload(PayloadError),
    /// There is no birth that it could be understood by: a new one is asked for.
    Unborn(&'static str),
    /// The node is another device's, or speaks through another connection now.
    Foreign(&'static str),
    Limit(LimitExceeded),
}

impl From<PayloadError> for Fault {
    fn from(error: PayloadError) -> Self {
        Self::Payload(error)
    }
}

impl From<Wrong> for Fault {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Payload(error) => Self::Payload(error),
            Wrong::Undefined(_) => {
                Self::Unborn("a metric that no birth has defined: expected a new birth first")
            }
        }
    }
}

impl Fault {
    fn text(&self) -> String {
        match self {
            Self::Payload(error) => error.to_string(),
            Self::Unborn(text) | Self::Foreign(text) => (*text).to_owned(),
            Self::Limit(limit) => limit.to_string(),
        }
    }
}

/// Who sends, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sender {
    /// The device that is connected.
    pub(crate) device: DeviceId,
    /// The link of its connection.
    pub(crate) link: u64,
    /// Now.
    pub(crate) at: Timestamp,
}

/// A device behind an edge node.
#[derive(Debug)]
struct Behind {
    id: DeviceId,
    is_online: bool,
    born_at: Timestamp,
    metrics: Metrics,
}

/// An edge node.
#[derive(Debug)]
pub(crate) struct Node {
    /// The device that it is.
    device: DeviceId,
    /// The link of the connection that its birth came by.
    holder: u64,
    is_online: bool,
    bd_seq: Option<u64>,
    next_seq: u8,
    born_at: Option<Timestamp>,
    metrics: Metrics,
    devices: BTreeMap<Box<str>, Behind>,
    /// Whose each alias is; of the node itself the empty name.
    aliases: HashMap<u64, Box<str>>,
    share: Share,
    births: u64,
    deaths: u64,
    gaps: u64,
    rebirths: u64,
    asked_at: Option<Duration>,
    wants_rebirth: bool,
    last_error: Option<(Timestamp, String)>,
}

impl Node {
    pub(crate) fn new(device: DeviceId, all_metrics: &Arc<AtomicUsize>) -> Self {
        Self {
            device,
            holder: NOBODY,
            is_online: false,
            bd_seq: None,
            next_seq: 0,
            born_at: None,
            metrics: Metrics::default(),
            devices: BTreeMap::new(),
            aliases: HashMap::new(),
            share: Share::of(all_metrics),
            births: 0,
            deaths: 0,
            gaps: 0,
            rebirths: 0,
            asked_at: None,
            wants_rebirth: false,
            last_error: None,
        }
    }

    pub(crate) const fn is_online(&self) -> bool {
        self.is_online
    }

    /// When it was heard of last, for who has to make room.
    pub(crate) fn born_at(&self) -> Option<Timestamp> {
        self.born_at
    }

    /// Whether this device of the platform's, the node's or one behind it, is alive.
    pub(crate) fn is_alive(&self, id: DeviceId) -> bool {
        let is_behind = |behind: &Behind| behind.id == id && behind.is_online;
        (self.device == id && self.is_online) || self.devices.values().any(is_behind)
    }

    /// The device behind it that is this one of the platform's.
    pub(crate) fn name_of(&self, id: DeviceId) -> Option<Option<&str>> {
        if self.device == id {
            return Some(None);
        }
        let found = self.devices.iter().find(|(_, behind)| behind.id == id);
        found.map(|(name, _)| Some(&**name))
    }

    /// The platform's device behind it with this name.
    pub(crate) fn behind(&self, name: &str) -> Option<DeviceId> {
        self.devices.get(name).map(|behind| behind.id)
    }

    /// Notes what was wrong.
    pub(crate) fn note(&mut self, at: Timestamp, fault: &Fault) {
        self.wants_rebirth |= matches!(fault, Fault::Unborn(_));
        self.last_error = Some((at, fault.text()));
    }

    /// Whether a new birth is to be asked for now. Then it counts as asked for.
    pub(crate) fn ask_for_birth(&mut self, now: Duration) -> bool {
        let is_due = |asked_at: Duration| now.saturating_sub(asked_at) >= REBIRTH_INTERVAL;
        if !std::mem::take(&mut self.wants_rebirth) || !self.asked_at.is_none_or(is_due) {
            return false;
        }
        self.asked_at = Some(now);
        self.rebirths += 1;
        true
    }

    /// NBIRTH: everything that was known is replaced.
    pub(crate) fn birth(
        &mut self,
        sender: Sender,
        payload: &Payload<'_>,
        context: &mut Context<'_>,
    ) -> Result<Vec<Reading>, Fault> {
        if self.device != sender.device && self.is_online {
            return Err(Fault::Foreign("this edge node is another device's"));
        }
        let seq = seq_of(payload)?;
        let bd_seq = bd_seq_of(payload).ok_or_else(|| {
            PayloadError::new(0, "NBIRTH without bdSeq: expected the number of its NDEATH")
        })?;
        let (metrics, readings) = Metrics::of_birth(payload, context)?;
        self.share.set(metrics.len()).map_err(Fault::Limit)?;
        self.aliases = metrics.aliases().map(|alias| (alias, Box::default())).collect();
        // Its devices are born again, too (6.4.21).
        self.devices.clear();
        (self.device, self.holder) = (sender.device, sender.link);
        (self.metrics, self.is_online) = (metrics, true);
        (self.bd_seq, self.next_seq) = (Some(bd_seq), seq.wrapping_add(1));
        self.born_at = Some(sender.at);
        self.births += 1;
        self.wants_rebirth = false;
        Ok(readings)
    }

    /// What every later message passes, also one that is refused for another reason: the node is
    /// alive on this connection, and its numbers count on.
    pub(crate) fn go_on(&mut self, sender: Sender, payload: &Payload<'_>) -> Result<(), Fault> {
        if self.device != sender.device && self.is_online {
            return Err(Fault::Foreign("this edge node is another device's"));
        }
        if !self.is_online {
            return Err(Fault::Unborn("the edge node is not born: expected NBIRTH first"));
        }
        if self.holder != sender.link {
            return Err(Fault::Foreign("this edge node was born on another connection since"));
        }
        let seq = seq_of(payload)?;
        if seq != self.next_seq {
            let expected = self.next_seq;
            self.gaps += 1;
            self.wants_rebirth = true;
            let text = format!("sequence number {seq} came where {expected} was expected");
            self.last_error = Some((sender.at, text));
        }
        self.next_seq = seq.wrapping_add(1);
        Ok(())
    }

    /// NDATA.
    pub(crate) fn data(
        &mut self,
        sender: Sender,
        payload: &Payload<'_>,
        context: &mut Context<'_>,
    ) -> Result<Vec<Reading>, Fault> {
        self.go_on(sender, payload)?;
        Ok(self.metrics.take(payload, context)?)
    }

    /// DBIRTH of a device, which the platform knows as `id`.
    pub(crate) fn device_birth(
        &mut self,
        sender: Sender,
        (name, id): (&str, DeviceId),
        payload: &Payload<'_>,
        context: &mut Context<'_>,
    ) -> Result<Vec<Reading>, Fault> {
        self.go_on(sender, payload)?;
        if self.devices.len() >= DEVICES_MAX && !self.devices.contains_key(name) {
            let (max, actual) = (DEVICES_MAX, DEVICES_MAX + 1);
            let limit = LimitExceeded { name: "sparkplug_devices_max", max, actual };
            return Err(Fault::Limit(limit));
        }
        let (metrics, readings) = Metrics::of_birth(payload, context)?;
        let is_taken = |alias: u64| self.aliases.get(&alias).is_some_and(|owner| **owner != *name);
        if metrics.aliases().any(is_taken) {
            let text = "an alias that another metric of this edge node has";
            return Err(PayloadError::new(0, text).into());
        }
        let old = self.devices.get(name).map_or(0, |behind| behind.metrics.len());
        let others = self.metrics.len()
            + self.devices.values().map(|behind| behind.metrics.len()).sum::<usize>()
            - old;
        self.share.set(others + metrics.len()).map_err(Fault::Limit)?;
        if let Some(old) = self.devices.get(name) {
            for alias in old.metrics.aliases() {
                self.aliases.remove(&alias);
            }
        }
        self.aliases.extend(metrics.aliases().map(|alias| (alias, name.into())));
        let behind = Behind { id, is_online: true, born_at: sender.at, metrics };
        self.devices.insert(name.into(), behind);
        Ok(readings)
    }

    /// DDATA of a device; with its id.
    pub(crate) fn device_data(
        &mut self,
        sender: Sender,
        name: &str,
        payload: &Payload<'_>,
        context: &mut Context<'_>,
    ) -> Result<(DeviceId, Vec<Reading>), Fault> {
        self.go_on(sender, payload)?;
        let behind = self.devices.get_mut(name).filter(|behind| behind.is_online);
        let Some(behind) = behind else {
            return Err(Fault::Unborn("the device is not born: expected DBIRTH first"));
        };
        Ok((behind.id, behind.metrics.take(payload, context)?))
    }

    /// DDEATH of a device: its id, if it was alive.
    pub(crate) fn device_death(
        &mut self,
        sender: Sender,
        name: &str,
        payload: &Payload<'_>,
    ) -> Result<Option<DeviceId>, Fault> {
        self.go_on(sender, payload)?;
        let Some(behind) = self.devices.get_mut(name) else { return Ok(None) };
        Ok(std::mem::take(&mut behind.is_online).then_some(behind.id))
    }

    /// NDEATH: it is of the birth with the same number, or of an older one and says nothing.
    pub(crate) fn death(&mut self, sender: Sender, payload: &Payload<'_>) -> Result<(), Fault> {
        if self.device != sender.device {
            return Err(Fault::Foreign("this edge node is another device's"));
        }
        let bd_seq = bd_seq_of(payload).ok_or_else(|| {
            PayloadError::new(0, "NDEATH without bdSeq: expected the number of its NBIRTH")
        })?;
        if self.bd_seq == Some(bd_seq) {
            self.die();
        }
        Ok(())
    }

    /// Its connection is over.
    pub(crate) fn left(&mut self, link: u64) {
        if self.holder == link {
            self.die();
        }
    }

    fn die(&mut self) {
        self.deaths += u64::from(self.is_online);
        self.is_online = false;
        for behind in self.devices.values_mut() {
            behind.is_online = false;
        }
    }

    /// The data type and the alias of a metric that may be written: of the node, or of a device.
    pub(crate) fn writable(
        &self,
        device: Option<&str>,
        metric: &str,
    ) -> Option<(DataType, Option<u64>)> {
        match device {
            None if self.is_online => self.metrics.of_name(metric),
            Some(name) => {
                let behind = self.devices.get(name).filter(|behind| behind.is_online)?;
                behind.metrics.of_name(metric)
            }
            None => None,
        }
    }

    /// What there is to show of the node, or of a device behind it.
    pub(crate) fn view(&self, (group, node): (&str, &str), device: Option<&str>) -> SparkplugView {
        let behind = device.and_then(|name| self.devices.get(name));
        let (is_online, born_at, metrics) = match behind {
            Some(one) => (one.is_online, Some(one.born_at), &one.metrics),
            None => (self.is_online, self.born_at, &self.metrics),
        };
        let alive = self.devices.values().filter(|behind| behind.is_online).count();
        SparkplugView {
            group: group.to_owned(),
            node: node.to_owned(),
            device: device.map(str::to_owned),
            is_online,
            bd_seq: self.bd_seq,
            seq: self.born_at.map(|_| self.next_seq.wrapping_sub(1)),
            born_at,
            births: self.births,
            deaths: self.deaths,
            gaps: self.gaps,
            rebirths: self.rebirths,
            last_error: self.last_error.clone(),
            devices: (self.devices.len(), alive),
            metrics: metrics.view(!is_online),
        }
    }
}

fn seq_of(payload: &Payload<'_>) -> Result<u8, PayloadError> {
    let seq = payload.seq.and_then(|seq| u8::try_from(seq).ok());
    seq.ok_or_else(|| PayloadError::new(0, "seq: expected a number from 0 to 255"))
}

pub(super) fn bd_seq_of(payload: &Payload<'_>) -> Option<u64> {
    let metric = payload.metrics.iter().find(|metric| metric.name == Some(BD_SEQ))?;
    match metric.value {
        Raw::Number(number) => Some(number),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
