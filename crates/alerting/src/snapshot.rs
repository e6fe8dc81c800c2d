//! The evaluator's state as versioned bytes, to be stored in one transaction with the transitions
//! it led to. Rules and devices are not in it: they come from their own store.

use serde::{Deserialize, Serialize};
use veritwin_domain::{DeviceId, Key, Quality, RuleId, Timestamp};

use crate::device_clock::DeviceClock;
use crate::evaluator::Evaluator;
use crate::judge::Judged;
use crate::series::{SeriesId, SeriesState};
use crate::wire::{ConditionWire, ScopeWire};

/// Version of the snapshot's form.
pub const SNAPSHOT_VERSION: u32 = 1;

/// Why bytes are not a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Not of the expected shape.
    #[error("alert snapshot cannot be read: {0}")]
    Format(#[from] serde_json::Error),
    /// Written by another version.
    #[error("alert snapshot has version {0}, this program reads version {SNAPSHOT_VERSION}")]
    Version(u32),
    /// An id, key or quality inside is malformed.
    #[error("alert snapshot is inconsistent: {0}")]
    Inconsistent(&'static str),
}

#[derive(Deserialize)]
struct VersionOnly {
    v: u32,
}

#[derive(Serialize, Deserialize)]
struct SnapshotWire {
    v: u32,
    position: Option<u64>,
    ticked_at: i64,
    series: Vec<SeriesWire>,
    /// Rules, and what their series were judged by; not there in states of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    judged: Option<Vec<(String, ScopeWire, ConditionWire)>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    clocks: Vec<ClockWire>,
    /// More of some of these clocks; not there in states of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    clock_paces: Vec<PaceWire>,
}

/// Device; by how much it is slow; messages that may be in step, the delay and receive time of
/// the first of them.
type ClockWire = (String, Option<i64>, (u32, i64, i64));

/// Device; whether its delay wanders, whether it was live; how often the delay went down among the
/// messages that may go on, and the delay of the last of them.
type PaceWire = (String, (bool, bool), (u32, i64));

/// Rule, device, key; transitions and whether active; event time, receive time, value and
/// quality of the last reading; since when pending. Times are microseconds.
type SeriesWire = (
    (String, String, Option<String>),
    (u64, bool),
    (Option<i64>, i64, Option<(f64, u8)>),
    Option<i64>,
);

impl Evaluator {
    /// The state as bytes; the same state gives the same bytes.
    pub fn snapshot(&self) -> Result<Vec<u8>, SnapshotError> {
        let wire = SnapshotWire {
            v: SNAPSHOT_VERSION,
            position: self.position,
            ticked_at: self.ticked_at.as_micros(),
            series: self.series.iter().map(|(id, state)| write(id, state)).collect(),
            judged: Some(
                self.judged
                    .iter()
                    .map(|(id, Judged { scope, condition })| {
                        (id.to_string(), ScopeWire::of(scope), ConditionWire::of(condition))
                    })
                    .collect(),
            ),
            clocks: self
                .clocks
                .iter()
                .map(|(device, clock)| {
                    let first = clock.first_received_at.as_micros();
                    let step = (clock.messages, clock.first_slow_micros, first);
                    (device.to_string(), clock.slow_micros, step)
                })
                .collect(),
            clock_paces: self
                .clocks
                .iter()
                .map(|(device, clock)| {
                    let turns = (clock.turns, clock.last_slow_micros);
                    (device.to_string(), (clock.wanders, clock.was_live), turns)
                })
                .collect(),
        };
        Ok(serde_json::to_vec(&wire)?)
    }

    /// Takes up the state of a snapshot. Call it on a new evaluator, before rules and devices are
    /// put in.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let VersionOnly { v } = serde_json::from_slice(bytes)?;
        if v != SNAPSHOT_VERSION {
            return Err(SnapshotError::Version(v));
        }
        let wire: SnapshotWire = serde_json::from_slice(bytes)?;
        let series = wire.series.into_iter().map(read).collect::<Result<_, _>>()?;
        self.is_judged_unknown = wire.judged.is_none();
        let judged = wire.judged.unwrap_or_default().into_iter().map(read_judged);
        self.judged = judged.collect::<Result<_, _>>()?;
        self.clocks = wire.clocks.into_iter().map(read_clock).collect::<Result<_, _>>()?;
        for (device, (wanders, was_live), (turns, last_slow_micros)) in wire.clock_paces {
            let device = device.parse().map_err(malformed)?;
            if let Some(clock) = self.clocks.get_mut(&device) {
                let known = std::mem::take(clock);
                *clock = DeviceClock { wanders, was_live, turns, last_slow_micros, ..known };
            }
        }
        self.series = series;
        self.position = wire.position;
        self.ticked_at = Timestamp::from_micros(wire.ticked_at);
        Ok(())
    }
}

fn write(id: &SeriesId, state: &SeriesState) -> SeriesWire {
    (
        (id.rule.to_string(), id.device.to_string(), id.key.as_ref().map(ToString::to_string)),
        (state.transitions, state.active),
        (
            state.last_at.map(Timestamp::as_micros),
            state.last_received_at.as_micros(),
            state.last_value.map(|(value, quality)| (value, quality.as_u8())),
        ),
        state.pending_since.map(Timestamp::as_micros),
    )
}

fn read(wire: SeriesWire) -> Result<(SeriesId, SeriesState), SnapshotError> {
    let ((rule, device, key), (transitions, active), (last_at, received, value), pending) = wire;
    let inconsistent = |what| move || SnapshotError::Inconsistent(what);
    let id = SeriesId {
        rule: rule.parse().ok().ok_or_else(inconsistent("a rule id is malformed"))?,
        device: device.parse().ok().ok_or_else(inconsistent("a device id is malformed"))?,
        key: match key {
            None => None,
            Some(text) => {
                Some(Key::new(&text).ok().ok_or_else(inconsistent("a key is malformed"))?)
            }
        },
    };
    let last_value = match value {
        None => None,
        Some((value, quality)) => {
            let quality = Quality::from_u8(quality);
            Some((value, quality.ok_or_else(inconsistent("a quality is unknown"))?))
        }
    };
    let state = SeriesState {
        transitions,
        active,
        last_at: last_at.map(Timestamp::from_micros),
        last_received_at: Timestamp::from_micros(received),
        last_value,
        pending_since: pending.map(Timestamp::from_micros),
    };
    Ok((id, state))
}

fn read_judged(
    (rule, scope, condition): (String, ScopeWire, ConditionWire),
) -> Result<(RuleId, Judged), SnapshotError> {
    let inconsistent = |what| move |_| SnapshotError::Inconsistent(what);
    let rule = rule.parse().map_err(|_| SnapshotError::Inconsistent("a rule id is malformed"))?;
    let scope = scope.read().map_err(inconsistent("a scope is malformed"))?;
    let condition = condition.read().map_err(inconsistent("a condition is malformed"))?;
    Ok((rule, Judged { scope, condition }))
}

fn read_clock(wire: ClockWire) -> Result<(DeviceId, DeviceClock), SnapshotError> {
    let (device, slow_micros, (messages, first_slow_micros, first_received_at)) = wire;
    let clock = DeviceClock {
        slow_micros,
        messages,
        first_slow_micros,
        first_received_at: Timestamp::from_micros(first_received_at),
        // States of earlier versions know a clock of devices that go on alone.
        was_live: slow_micros.is_some(),
        last_slow_micros: first_slow_micros,
        ..DeviceClock::default()
    };
    Ok((device.parse().map_err(malformed)?, clock))
}

fn malformed<E>(_: E) -> SnapshotError {
    SnapshotError::Inconsistent("a device id is malformed")
}
