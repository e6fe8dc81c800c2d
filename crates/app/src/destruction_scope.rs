//! Which readings a destruction is about: as it is stored, as a selection of the telemetry engine,
//! and taken out by it. A person's series are looked up once, as their declarations stand when it
//! is asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use veritwin_access::Action;
use veritwin_domain::{Declaration, DeviceId, Key, OpContext, Purpose, Value};
use veritwin_keys::{DataClass, DekSummary, DestructionMethod};
use veritwin_telemetry::{Meant, Point, Rewritten, Selection, SeriesTest, TimeRange, Which};

use crate::cases::erasure::Marker;
use crate::destruction_certificate::{DestroyedKey, destroyed_key};
use crate::model::{DestructionInput, DestructionScope, StreamSubject};
use crate::rights::bounded;
use crate::stream_subjects::{names, spells};
use crate::streams::{PERSON_CHARS_MAX, make_room, subject_of};
use crate::{App, Error, Result};

/// Most series of one person that one destruction is about.
const SUBJECT_SERIES_MAX: usize = 10_000;
/// Most times at which one field names a person.
const SUBJECT_MOMENTS_MAX: usize = 2_000_000;

/// Series of a device that are about a person: whole, or when a field names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubjectSeries {
    device: DeviceId,
    keys: Vec<String>,
    field: Option<String>,
}

/// Whom a field has to name: somebody by name, or by what is left of a name.
enum Named<'a> {
    Name(&'a str),
    Mark(Marker, &'a str),
}

impl Named<'_> {
    fn is(&self, value: &Value) -> bool {
        match self {
            Self::Name(person) => names(value, person),
            Self::Mark(marker, mark) => spells(value, |text| marker.is_mark_of(mark, text)),
        }
    }
}

/// Which readings are destroyed, as it is stored and signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum StoredScope {
    Tenant,
    Device {
        device: DeviceId,
    },
    Key {
        key: String,
        device: Option<DeviceId>,
    },
    Subject {
        person: String,
        series: Vec<SubjectSeries>,
        /// Of somebody whose data is erased: what is left of the name, which stands nowhere else.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mark: Option<String>,
    },
    Month {
        month: i64,
    },
    /// What the ledger sealed before a moment, in microseconds: no readings.
    Ledger {
        before: i64,
    },
}

impl StoredScope {
    /// As people see it.
    pub(crate) fn shown(&self) -> Result<DestructionScope> {
        let key = |text: &str| {
            let damaged = |_| Error::Internal("a stored destruction is damaged".to_owned());
            Key::new(text).map_err(damaged)
        };
        Ok(match self {
            Self::Tenant => DestructionScope::Tenant,
            Self::Device { device } => DestructionScope::Device(*device),
            Self::Key { key: name, device } => {
                DestructionScope::Key { key: key(name)?, device: *device }
            }
            Self::Subject { person, .. } => DestructionScope::Subject(person.clone()),
            Self::Month { month } => DestructionScope::Month(*month),
            Self::Ledger { .. } => DestructionScope::Ledger,
        })
    }

    /// Whether single readings are meant, those at which a field names somebody.
    pub(crate) fn is_named_by_fields(&self) -> bool {
        match self {
            Self::Subject { series, .. } => series.iter().any(|one| one.field.is_some()),
            _ => false,
        }
    }

    /// What is taken out one after the other. A stream that says of others whom they are about goes
    /// after these, so that whoever was cut off can still read what is left to take.
    pub(crate) fn passes(&self) -> Vec<Self> {
        let Self::Subject { person, series, mark } = self else { return vec![self.clone()] };
        let (mut passes, mut left) = (Vec::new(), series.clone());
        while !left.is_empty() {
            let (now, later) = first_of(&left);
            // Streams that name each other go together.
            let (now, later) = if now.is_empty() { (left, Vec::new()) } else { (now, later) };
            let (person, mark) = (person.clone(), mark.clone());
            passes.push(Self::Subject { person, series: now, mark });
            left = later;
        }
        if passes.is_empty() { vec![self.clone()] } else { passes }
    }

    /// The name of its kind.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Device { .. } => "device",
            Self::Key { .. } => "key",
            Self::Subject { .. } => "subject",
            Self::Month { .. } => "month",
            Self::Ledger { .. } => "ledger",
        }
    }

    /// Whether readings are taken out before the keys go.
    pub(crate) const fn takes_out(&self) -> bool {
        !matches!(self, Self::Tenant | Self::Ledger { .. })
    }
}

/// The series that name nobody for others of them, and the rest.
fn first_of(all: &[SubjectSeries]) -> (Vec<SubjectSeries>, Vec<SubjectSeries>) {
    let named = all.iter().filter_map(|one| {
        let field = one.field.as_ref()?;
        let is_for_others = one.keys.iter().any(|key| key != field);
        is_for_others.then_some((one.device, field))
    });
    let named: HashSet<(DeviceId, &String)> = named.collect();
    let part = |is_named: bool| {
        let parts = all.iter().map(|one| {
            let keys =
                one.keys.iter().filter(|key| named.contains(&(one.device, *key)) == is_named);
            SubjectSeries { keys: keys.cloned().collect(), ..one.clone() }
        });
        parts.filter(|one| !one.keys.is_empty()).collect()
    };
    (part(false), part(true))
}

impl App {
    /// What was asked for, as it is stored.
    pub(crate) async fn stored_scope(
        &self,
        context: &OpContext,
        input: &DestructionInput,
    ) -> Result<StoredScope> {
        if input.attributes && !matches!(input.scope, DestructionScope::Device(_)) {
            return Err(Error::invalid_at("attributes", "only a device has attributes"));
        }
        Ok(match &input.scope {
            DestructionScope::Tenant => StoredScope::Tenant,
            DestructionScope::Device(device) => StoredScope::Device { device: *device },
            DestructionScope::Key { key, device } => {
                StoredScope::Key { key: key.to_string(), device: *device }
            }
            DestructionScope::Month(month) => StoredScope::Month { month: *month },
            DestructionScope::Ledger => StoredScope::Ledger { before: context.at.as_micros() },
            DestructionScope::Subject(person) => {
                let person = person.trim();
                if person.is_empty() || person.chars().count() > PERSON_CHARS_MAX {
                    let detail = format!("needs 1 to {PERSON_CHARS_MAX} characters");
                    return Err(Error::invalid_at("scope.person", detail));
                }
                let series = self.series_about(context, person).await?;
                StoredScope::Subject { person: person.to_owned(), series, mark: None }
            }
        })
    }

    /// The series that are about a person. Whoever asks has to see them all.
    pub(crate) async fn series_about(
        &self,
        context: &OpContext,
        person: &str,
    ) -> Result<Vec<SubjectSeries>> {
        let among = self.among(context, Action::StreamRead).await?;
        if !among.is_whole() {
            let detail = "this needs the right to see personal streams of the whole organisation";
            return Err(Error::Forbidden(detail.to_owned()));
        }
        let mut found: BTreeMap<(DeviceId, Option<String>), Vec<String>> = BTreeMap::new();
        for (turn, device) in among.devices.all().enumerate() {
            make_room(turn).await;
            for key in self.streams_of(context.tenant, device.id)? {
                let verdict = among.sight.verdict(device, Some(&key));
                if verdict.declaration != Declaration::Personal {
                    continue;
                }
                let field = match subject_of(&verdict, among.sight.book().said(device.id)) {
                    Some(StreamSubject::Device { person: Some(named) })
                        if named.trim() == person =>
                    {
                        None
                    }
                    Some(StreamSubject::Field { key }) => Some(key),
                    _ => continue,
                };
                found.entry((device.id, field)).or_default().push(key.to_string());
            }
        }
        bounded("subject_series_max", SUBJECT_SERIES_MAX, found.values().map(Vec::len).sum())?;
        let series = |((device, field), keys)| SubjectSeries { device, keys, field };
        Ok(found.into_iter().map(series).collect())
    }

    /// Takes readings out, and answers the keys that the act has retired so far.
    #[boxed]
    pub(crate) async fn take_readings(
        &self,
        context: &OpContext,
        scope: &StoredScope,
        act: [u8; 16],
    ) -> Result<(Rewritten, Vec<DestroyedKey>)> {
        let mut done = Rewritten::default();
        let mut last = None;
        for pass in scope.passes() {
            let selection = self.selection(context, &pass).await?;
            let one = self.0.engine.destroy(&selection, act).await?;
            done.points += one.points;
            done.sections += one.sections;
            done.dropped += one.dropped;
            last = Some(selection);
        }
        let retired = self.0.keys.retired_by(act).into_iter().map(|one| {
            let of = |selection: &Selection| method(selection, &one);
            let method = last.as_ref().map_or(DestructionMethod::RewrittenThenKeyDestroyed, of);
            destroyed_key(&one, method)
        });
        Ok((done, retired.collect()))
    }

    pub(crate) async fn destroy_attributes(
        &self,
        context: &OpContext,
        (scope, is_asked): (&StoredScope, bool),
    ) -> Result<()> {
        let StoredScope::Device { device } = scope else { return Ok(()) };
        if is_asked {
            let tx = self.0.store.begin(context).await?;
            tx.attributes_delete(*device).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// The readings that a stored scope is about.
    pub(crate) async fn selection(
        &self,
        context: &OpContext,
        scope: &StoredScope,
    ) -> Result<Selection> {
        let tenant = context.tenant;
        Ok(match scope {
            StoredScope::Tenant => Selection::of(tenant, Which::All),
            StoredScope::Month { month } => Selection::of_month(tenant, *month),
            StoredScope::Ledger { .. } => {
                Selection::of(tenant, Which::Devices(Arc::new(BTreeSet::new())))
            }
            StoredScope::Device { device } => {
                Selection::of(tenant, Which::Devices(Arc::new(BTreeSet::from([*device]))))
            }
            StoredScope::Key { key, device } => {
                let (key, device) = (key.clone(), *device);
                let test: SeriesTest = Arc::new(move |id: DeviceId, name: &Key| {
                    let is_meant = **name == *key && device.is_none_or(|device| device == id);
                    if is_meant { Meant::All } else { Meant::No }
                });
                Selection::of(tenant, Which::Series(test))
            }
            StoredScope::Subject { person, series, mark } => {
                let named = match mark {
                    Some(mark) => Named::Mark(self.marker(context.tenant)?, mark),
                    None => Named::Name(person),
                };
                let meant = self.meant(context, &named, series).await?;
                let test: SeriesTest = Arc::new(move |id: DeviceId, name: &Key| {
                    let known = meant.get(&id).and_then(|keys| keys.get(&**name));
                    known.cloned().unwrap_or(Meant::No)
                });
                Selection::of(tenant, Which::Series(test))
            }
        })
    }

    /// What of each series is about a person.
    async fn meant(
        &self,
        context: &OpContext,
        named: &Named<'_>,
        series: &[SubjectSeries],
    ) -> Result<HashMap<DeviceId, HashMap<String, Meant>>> {
        let mut meant: HashMap<DeviceId, HashMap<String, Meant>> = HashMap::new();
        for one in series {
            let of_them = match &one.field {
                None => Meant::All,
                Some(field) => self.moments(context, (one.device, field), named).await?,
            };
            let keys = meant.entry(one.device).or_default();
            for key in &one.keys {
                keys.insert(key.clone(), of_them.clone());
            }
        }
        Ok(meant)
    }

    /// When a field of a device names a person. Of a device that is gone meanwhile nobody can read
    /// that any more: its streams go whole.
    async fn moments(
        &self,
        context: &OpContext,
        (device, field): (DeviceId, &str),
        named: &Named<'_>,
    ) -> Result<Meant> {
        let mut times = BTreeSet::new();
        let devices = self.tenant_devices(context).await?;
        let (Some(device), Ok(field)) = (devices.get(device), Key::new(field)) else {
            return Ok(Meant::All);
        };
        // Also of people who restricted what is done with their data.
        let duty = OpContext { purpose: Purpose::LegalDuty, ..context.clone() };
        let sight = self.sight(&duty).await?;
        let Some(seen) = sight.series(device, &field) else {
            return Err(Error::Forbidden("the field that names people may not be read".to_owned()));
        };
        let add = |point: &Point| {
            if named.is(&point.value) && times.len() <= SUBJECT_MOMENTS_MAX {
                times.insert(point.at.as_micros());
            }
        };
        self.each_point(&seen, (TimeRange::ALL, usize::MAX), add).await?;
        bounded("subject_moments_max", SUBJECT_MOMENTS_MAX, times.len())?;
        Ok(Meant::At(Arc::new(times)))
    }
}

/// How a key's content goes: that of the log was read to its end, and stays where it was put.
fn method(selection: &Selection, key: &DekSummary) -> DestructionMethod {
    if key.scope.class == DataClass::Log {
        DestructionMethod::RewrittenThenKeyDestroyed
    } else {
        selection.method(&key.scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(device: u8, keys: &[&str], field: Option<&str>) -> SubjectSeries {
        SubjectSeries {
            device: DeviceId::from_bytes([device; 16]),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            field: field.map(str::to_owned),
        }
    }

    fn passes(series: Vec<SubjectSeries>) -> Vec<Vec<SubjectSeries>> {
        let scope = StoredScope::Subject { person: "Ada".to_owned(), series, mark: None };
        let each = scope.passes().into_iter().map(|pass| match pass {
            StoredScope::Subject { series, .. } => series,
            other => panic!("{other:?}"),
        });
        each.collect()
    }

    #[test]
    fn whoever_names_people_goes_after_those_it_names_them_for() {
        let found = passes(vec![
            series(1, &["driver", "speed"], Some("driver")),
            series(1, &["shift"], Some("driver")),
            series(2, &["driver"], None),
        ]);
        let first = vec![
            series(1, &["speed"], Some("driver")),
            series(1, &["shift"], Some("driver")),
            series(2, &["driver"], None),
        ];
        assert_eq!(found, [first, vec![series(1, &["driver"], Some("driver"))]]);
        let chain = vec![series(1, &["a"], Some("b")), series(1, &["b"], Some("c"))];
        assert_eq!(passes(chain.clone()), [vec![chain[0].clone()], vec![chain[1].clone()]]);
        let ring = vec![series(1, &["a"], Some("b")), series(1, &["b"], Some("a"))];
        assert_eq!(passes(ring.clone()), [ring]);
        assert_eq!(passes(Vec::new()).len(), 1, "nothing of a person is looked for, too");
        assert_eq!(StoredScope::Tenant.passes(), [StoredScope::Tenant]);
    }
}
