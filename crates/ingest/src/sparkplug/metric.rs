//! The metrics of an edge node or of one of its devices: what its birth said of them, and the last
//! value of each. A message is taken whole or not at all.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use veritwin_domain::{IngestLimits, Key, LimitExceeded, Quality, Reading, Timestamp, Value};

use super::payload::{Metric, Payload, Raw};
use super::value::{DataType, kept};
use super::view::MetricView;
use crate::payload::{Kept, KeyTable, PayloadError, RefusedValue, check_value};

/// Longest text of a last value that is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 256;
/// Longest unit that is shown, in bytes.
const UNIT_BYTES_MAX: usize = 32;
/// The number of a node's birth (6.4.21).
pub(super) const BD_SEQ: &str = "bdSeq";
const CONTROLS: [&str; 2] = ["Node Control/", "Device Control/"];
/// The good and the bad of `Quality`; any other is doubt.
const QUALITY_GOOD: u32 = 192;
const QUALITY_BAD: u32 = 0;

/// What a message is read with.
pub(crate) struct Context<'a> {
    /// The keys of the connection, and the rules on what must not be kept.
    pub(crate) keys: &'a mut KeyTable,
    /// The bounds.
    pub(crate) limits: &'a IngestLimits,
    /// The time of readings that carry none.
    pub(crate) untimed: Timestamp,
}

/// A metric as its birth defined it.
#[derive(Debug)]
struct Definition {
    key: Key,
    datatype: DataType,
    alias: Option<u64>,
    unit: Option<Box<str>>,
    last: Option<(Timestamp, Option<Value>)>,
}

/// What a birth has defined.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    all: Vec<Definition>,
    by_name: HashMap<Key, usize>,
    by_alias: HashMap<u64, usize>,
}

/// One value of a message.
struct Taken {
    index: usize,
    at: Timestamp,
    value: Option<Value>,
    quality: Quality,
    is_historical: bool,
    is_transient: bool,
}

/// What is wrong with a message of metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is not what it should be, or must not be kept.
    Payload(PayloadError),
    /// It names a metric that no birth has defined; its byte.
    Undefined(usize),
}

impl From<PayloadError> for Wrong {
    fn from(error: PayloadError) -> Self {
        Self::Payload(error)
    }
}

/// Whether a metric is about the node itself: no reading is made of it.
fn is_control(name: &str) -> bool {
    name == BD_SEQ || CONTROLS.iter().any(|control| name.starts_with(control))
}

fn refused_value(position: usize, refused: RefusedValue) -> PayloadError {
    let RefusedValue { rule, limit, detail } = refused;
    PayloadError { rule, limit, ..PayloadError::new(position, detail) }
}

/// When a metric was measured: by itself, or with its message.
fn time_of(
    metric: &Metric<'_>,
    payload: &Payload<'_>,
    untimed: Timestamp,
) -> Result<Timestamp, PayloadError> {
    let Some(millis) = metric.timestamp.or(payload.timestamp) else { return Ok(untimed) };
    let millis = i64::try_from(millis).ok();
    millis.and_then(|millis| Timestamp::from_millis(millis).ok()).ok_or_else(|| {
        let text = "timestamp: expected milliseconds since 1970, up to the year 9999";
        PayloadError::new(metric.at, text)
    })
}

fn quality_of(metric: &Metric<'_>) -> Quality {
    match metric.properties.quality {
        None | Some(QUALITY_GOOD) => Quality::Good,
        Some(QUALITY_BAD) => Quality::Bad,
        Some(_) => Quality::Uncertain,
    }
}

impl Metrics {
    /// What a birth defines, with its values: each metric has a name and a data type of its own.
    pub(super) fn of_birth(
        payload: &Payload<'_>,
        context: &mut Context<'_>,
    ) -> Result<(Self, Vec<Reading>), PayloadError> {
        let mut metrics = Self::default();
        for metric in &payload.metrics {
            metrics.define(metric, context)?;
        }
        let readings = match metrics.take(payload, context) {
            Ok(readings) => readings,
            Err(Wrong::Payload(error)) => return Err(error),
            Err(Wrong::Undefined(at)) => return Err(PayloadError::new(at, "expected a name")),
        };
        Ok((metrics, readings))
    }

    fn define(
        &mut self,
        metric: &Metric<'_>,
        context: &mut Context<'_>,
    ) -> Result<(), PayloadError> {
        let at = metric.at;
        let wrong = |text: &'static str| PayloadError::new(at, text);
        let name = metric.name.ok_or_else(|| wrong("a metric of a birth: expected a name"))?;
        let key = context.keys.key(name).map_err(|error| {
            let (detail, rule) = error.told();
            PayloadError { rule, ..PayloadError::new(at, detail) }
        })?;
        let number =
            metric.datatype.ok_or_else(|| wrong("a metric of a birth: expected a data type"))?;
        let datatype = DataType::of(number, at)?;
        let index = self.all.len();
        if self.by_name.insert(key.clone(), index).is_some() {
            return Err(wrong("a metric of a birth: expected a name that no other has"));
        }
        if let Some(alias) = metric.alias
            && self.by_alias.insert(alias, index).is_some()
        {
            return Err(wrong("a metric of a birth: expected an alias that no other has"));
        }
        let unit = metric.properties.unit.filter(|unit| unit.len() <= UNIT_BYTES_MAX);
        self.all.push(Definition {
            key,
            datatype,
            alias: metric.alias,
            unit: unit.map(Into::into),
            last: None,
        });
        Ok(())
    }

    /// The values of a message, each of a metric that is defined. What is no reading (null, what
    /// passes by, what is about the node itself) is noted as the last value only.
    pub(super) fn take(
        &mut self,
        payload: &Payload<'_>,
        context: &mut Context<'_>,
    ) -> Result<Vec<Reading>, Wrong> {
        let mut all = Vec::with_capacity(payload.metrics.len());
        for metric in &payload.metrics {
            all.push(self.look_at(metric, payload, context)?);
        }
        let mut readings = Vec::with_capacity(all.len());
        for one in all {
            let Some(definition) = self.all.get_mut(one.index) else { continue };
            let Taken { at, value, quality, is_historical, is_transient, .. } = one;
            if !is_historical {
                let is_shown = |value: &Value| value.text_bytes() <= SHOWN_BYTES_MAX;
                definition.last = Some((at, value.clone().filter(is_shown)));
            }
            let key = &definition.key;
            if let Some(value) = value.filter(|_| !is_transient && !is_control(key)) {
                readings.push(Reading { key: key.clone(), at, value, quality });
            }
        }
        Ok(readings)
    }

    fn look_at(
        &self,
        metric: &Metric<'_>,
        payload: &Payload<'_>,
        context: &Context<'_>,
    ) -> Result<Taken, Wrong> {
        let index = match (metric.name, metric.alias) {
            (Some(name), _) if !name.is_empty() => self.by_name.get(name),
            (_, Some(alias)) => self.by_alias.get(&alias),
            _ => return Err(PayloadError::new(metric.at, "expected a name or an alias").into()),
        };
        let definition = index.and_then(|index| Some((*index, self.all.get(*index)?)));
        let (index, definition) = definition.ok_or(Wrong::Undefined(metric.at))?;
        if let Some(number) = metric.datatype
            && DataType::of(number, metric.at)? != definition.datatype
        {
            let text = "the data type is not that of the metric's birth";
            return Err(PayloadError::new(metric.at, text).into());
        }
        if !metric.is_null && metric.value == Raw::None {
            let text = "a metric without a value: expected one, or is_null";
            return Err(PayloadError::new(metric.at, text).into());
        }
        let value = kept(definition.datatype, metric, context.limits)?;
        if let Some(value) = &value {
            check_value(context.keys.screening(), &definition.key, value, Kept::Telemetry)
                .map_err(|refused| refused_value(metric.at, refused))?;
        }
        let at = time_of(metric, payload, context.untimed)?;
        let Metric { is_historical, is_transient, .. } = *metric;
        let quality = quality_of(metric);
        Ok(Taken { index, at, value, quality, is_historical, is_transient })
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn aliases(&self) -> impl Iterator<Item = u64> {
        self.by_alias.keys().copied()
    }

    /// The data type of a metric, and its alias.
    pub(super) fn of_name(&self, name: &str) -> Option<(DataType, Option<u64>)> {
        let definition = self.all.get(*self.by_name.get(name)?)?;
        Some((definition.datatype, definition.alias))
    }

    /// What there is to show.
    pub(super) fn view(&self, is_stale: bool) -> Vec<MetricView> {
        let view = |one: &Definition| MetricView {
            name: one.key.clone(),
            datatype: one.datatype.name(),
            alias: one.alias,
            unit: one.unit.as_deref().map(str::to_owned),
            // What the platform timed has its time where it is kept.
            at: one.last.as_ref().map(|(at, _)| *at).filter(|at| *at >= Timestamp::EPOCH),
            value: one.last.as_ref().and_then(|(_, value)| value.clone()),
            is_stale,
            is_control: is_control(&one.key),
        };
        self.all.iter().map(view).collect()
    }
}

/// Most metrics of the edge nodes of a tenant and their devices, together.
pub const METRICS_MAX: usize = 200_000;
/// The same of all tenants.
pub const ALL_METRICS_MAX: usize = 2_000_000;

/// How many metrics the nodes of a tenant have, and those of all.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    of_tenant: Arc<AtomicUsize>,
    of_all: Arc<AtomicUsize>,
}

impl Counts {
    /// Of one more tenant.
    pub(super) fn of(all: &Arc<AtomicUsize>) -> Self {
        Self { of_tenant: Arc::default(), of_all: Arc::clone(all) }
    }

    /// Whether the tenant has half of what it may.
    pub(super) fn is_scarce(&self) -> bool {
        self.of_tenant.load(Ordering::Acquire) > METRICS_MAX / 2
    }

    /// How many the tenant has.
    pub(super) fn own(&self) -> usize {
        self.of_tenant.load(Ordering::Acquire)
    }

    /// Counts more, or names the bound. A tenant takes no more of all than it leaves free, so that
    /// whoever comes later finds some.
    fn add(&self, more: usize) -> Result<(), LimitExceeded> {
        if more == 0 {
            return Ok(());
        }
        let own = self.of_tenant.fetch_add(more, Ordering::AcqRel) + more;
        let all = self.of_all.fetch_add(more, Ordering::AcqRel) + more;
        let (name, max) = if own > METRICS_MAX {
            ("sparkplug_metrics_max", METRICS_MAX)
        } else if own > ALL_METRICS_MAX.saturating_sub(all) {
            // What it would be without these.
            let free = ALL_METRICS_MAX.saturating_sub(all.saturating_sub(own));
            ("sparkplug_all_metrics_max", free / 2)
        } else {
            return Ok(());
        };
        self.give_back(more);
        Err(LimitExceeded { name, max, actual: own })
    }

    fn give_back(&self, count: usize) {
        self.of_tenant.fetch_sub(count, Ordering::AcqRel);
        self.of_all.fetch_sub(count, Ordering::AcqRel);
    }
}

/// What an edge node takes of the bounds; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    counts: Counts,
    taken: usize,
}

impl Share {
    pub(super) fn of(counts: &Counts) -> Self {
        let (of_tenant, of_all) = (Arc::clone(&counts.of_tenant), Arc::clone(&counts.of_all));
        Self { counts: Counts { of_tenant, of_all }, taken: 0 }
    }

    /// Takes so many instead of what it has taken, or names the bound.
    pub(super) fn set(&mut self, count: usize) -> Result<(), LimitExceeded> {
        self.counts.add(count.saturating_sub(self.taken))?;
        self.counts.give_back(self.taken.saturating_sub(count));
        self.taken = count;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.counts.give_back(self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nodes_take_is_bounded_of_a_tenant_and_of_all() {
        let all: Arc<AtomicUsize> = Arc::default();
        let tenants: Vec<Counts> = (0..11).map(|_| Counts::of(&all)).collect();
        let mut shares: Vec<Share> = tenants.iter().map(Share::of).collect();
        assert_eq!(shares[0].set(METRICS_MAX), Ok(()));
        assert!(tenants[0].is_scarce() && !tenants[1].is_scarce());
        let mut other = Share::of(&tenants[0]);
        let name = |found: Result<(), LimitExceeded>| found.map_err(|limit| limit.name);
        assert_eq!(name(other.set(1)), Err("sparkplug_metrics_max"));
        for share in &mut shares[1..9] {
            assert_eq!(share.set(METRICS_MAX), Ok(()));
        }
        // What is left is not one tenant's: each leaves as much as it takes.
        assert_eq!(name(shares[9].set(METRICS_MAX)), Err("sparkplug_all_metrics_max"));
        assert_eq!(shares[9].set(METRICS_MAX / 2), Ok(()));
        let refused = shares[10].set(METRICS_MAX / 4 + 1).expect_err("over half of what is free");
        assert_eq!((refused.name, refused.max), ("sparkplug_all_metrics_max", METRICS_MAX / 4));
        assert_eq!(shares[10].set(METRICS_MAX / 4), Ok(()));
        // What is refused takes nothing, of the tenant neither; what is born again stays.
        assert_eq!(tenants[10].own(), METRICS_MAX / 4);
        assert_eq!(shares[0].set(METRICS_MAX), Ok(()));
        drop(shares);
        drop(other);
        assert_eq!(all.load(Ordering::Acquire), 0);
        assert!(!tenants[0].is_scarce());
    }
}
