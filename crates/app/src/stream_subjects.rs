//! Whose data: the readings about one person in a tenant's personal streams, as declarations name
//! them: by the person whose device it is, or reading by reading through the field that names them.

use std::collections::BTreeSet;

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{Declaration, Key, LimitExceeded, OpContext, Timestamp, Value};
use veritwin_metastore::Device;
use veritwin_telemetry::{Order, Point, RangeQuery, TimeRange};

use crate::model::{StreamSubject, SubjectStreamView};
use crate::sight::SeenSeries;
use crate::streams::{Among, PERSON_CHARS_MAX, subject_of};
use crate::{App, Error, Result};

/// Readings that are read at a time.
const POINTS_AT_ONCE: usize = 10_000;
/// Most readings of one series that are looked through for a person.
const SUBJECT_READINGS_MAX: usize = 1_000_000;

/// What was found of one stream.
#[derive(Default)]
struct Tally {
    readings: u64,
    first_at: Option<Timestamp>,
    last_at: Option<Timestamp>,
}

impl Tally {
    fn add(&mut self, at: Timestamp) {
        self.readings += 1;
        self.first_at = Some(self.first_at.map_or(at, |first| first.min(at)));
        self.last_at = Some(self.last_at.map_or(at, |last| last.max(at)));
    }
}

/// Whether a value names a person.
fn names(value: &Value, person: &str) -> bool {
    match value {
        Value::Text(text) => text.trim() == person,
        Value::Integer(number) => number.to_string() == person,
        _ => false,
    }
}

impl App {
    /// The personal streams with readings about a person, and how many there are in each.
    #[boxed]
    pub async fn streams_about(
        &self,
        context: &OpContext,
        person: &str,
    ) -> Result<Vec<SubjectStreamView>> {
        let among = self.among(context, Action::StreamRead).await?;
        let resource = Resource::all(context.tenant, Kind::Telemetry);
        let person = person.trim();
        if person.is_empty() || person.chars().count() > PERSON_CHARS_MAX {
            let detail = format!("needs 1 to {PERSON_CHARS_MAX} characters");
            return Err(Error::invalid_at("person", detail));
        }
        let mut devices: Vec<_> = among.devices.all().filter(|one| among.has(one)).collect();
        devices.sort_by_key(|one| one.id);
        let mut found = Vec::new();
        for device in devices {
            let mut keys = self.streams_of(context.tenant, device.id)?;
            keys.sort();
            for key in keys {
                let tally = self.tally(&among, (device, &key), person).await?;
                if tally.readings > 0 {
                    found.push(SubjectStreamView {
                        device: device.id,
                        device_name: device.name.as_str().into(),
                        key,
                        readings: tally.readings,
                        first_at: tally.first_at,
                        last_at: tally.last_at,
                    });
                }
            }
        }
        self.note(context, Action::StreamRead, &resource, "done");
        Ok(found)
    }

    /// What one stream has about a person: all of it, or what stands at the times at which its
    /// field names them.
    async fn tally(
        &self,
        among: &Among,
        (device, key): (&Device, &Key),
        person: &str,
    ) -> Result<Tally> {
        let mut tally = Tally::default();
        let verdict = among.sight.verdict(device, Some(key));
        let subject = subject_of(&verdict, among.sight.book().said(device.id));
        if verdict.declaration != Declaration::Personal {
            return Ok(tally);
        }
        let Some(seen) = among.sight.series(device, key) else { return Ok(tally) };
        match subject {
            Some(StreamSubject::Device { person: Some(named) }) if named.trim() == person => {
                let stats = self.read_stats(&seen, TimeRange::ALL).await?;
                tally.readings = stats.count;
                (tally.first_at, tally.last_at) = (stats.first_at, stats.last_at);
            }
            Some(StreamSubject::Field { key: field }) => {
                let field = Key::new(&field).ok();
                let field = field.and_then(|field| among.sight.series(device, &field));
                let Some(field) = field else { return Ok(tally) };
                let mut times = BTreeSet::new();
                self.each_point(&field, |point| {
                    if names(&point.value, person) {
                        times.insert(point.at);
                    }
                })
                .await?;
                if !times.is_empty() {
                    let add =
                        |point: &Point| times.contains(&point.at).then(|| tally.add(point.at));
                    self.each_point(&seen, add).await?;
                }
            }
            _ => {}
        }
        Ok(tally)
    }

    async fn each_point<Answer>(
        &self,
        seen: &SeenSeries,
        mut take: impl FnMut(&Point) -> Answer + Send,
    ) -> Result<()> {
        let (mut after, mut count) = (None, 0);
        loop {
            let (range, order) = (TimeRange::ALL, Order::Ascending);
            let asked = RangeQuery { range, order, limit: POINTS_AT_ONCE, after };
            let page = self.read_range(seen, asked).await?;
            count += page.points.len();
            if count > SUBJECT_READINGS_MAX {
                let (name, max) = ("subject_readings_max", SUBJECT_READINGS_MAX);
                return Err(LimitExceeded { name, max, actual: count }.into());
            }
            for point in &page.points {
                take(point);
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }
}
