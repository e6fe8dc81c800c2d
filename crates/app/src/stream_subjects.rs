//! Whose data: the readings about one person in a tenant's personal streams, as declarations name
//! them: by the person whose device it is, or reading by reading through the field that names them.
//! A page ends where much was looked through, and a stream that is too long says so.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{Declaration, Key, OpContext, Timestamp, Value};
use veritwin_metastore::Device;
use veritwin_telemetry::{Order, Point, RangeQuery, TimeRange};

use crate::model::{Page, PageRequest, StreamSubject, SubjectQuery, SubjectStreamView};
use crate::sight::SeenSeries;
use crate::streams::{Among, PERSON_CHARS_MAX, behind, make_room, subject_of};
use crate::{App, Error, Result};

/// Readings that are read at a time.
const POINTS_AT_ONCE: usize = 10_000;
/// Most readings of one series that are looked through for a person.
const SUBJECT_READINGS_MAX: usize = 1_000_000;
/// A page ends when so many readings were looked through for it.
const PAGE_READINGS_MAX: usize = 2_000_000;
/// Most fields of one device of which it is kept when they name the person.
const FIELDS_KEPT_MAX: usize = 4;

/// What was found of one stream.
#[derive(Default)]
struct Tally {
    readings: u64,
    first_at: Option<Timestamp>,
    last_at: Option<Timestamp>,
    truncated: bool,
}

impl Tally {
    fn add(&mut self, at: Timestamp) {
        self.readings += 1;
        self.first_at = Some(self.first_at.map_or(at, |first| first.min(at)));
        self.last_at = Some(self.last_at.map_or(at, |last| last.max(at)));
    }
}

/// When a field names the person.
struct Named {
    times: BTreeSet<Timestamp>,
    truncated: bool,
}

/// A search for a person.
struct Search<'a> {
    among: &'a Among,
    person: &'a str,
    range: TimeRange,
    /// Readings that were looked through.
    looked: usize,
    /// Of the device that is looked through: each of its fields is read once.
    fields: HashMap<Key, Arc<Named>>,
}

/// Whether a value names a person.
pub(crate) fn names(value: &Value, person: &str) -> bool {
    spells(value, |text| text == person)
}

/// Whether a value that could name somebody names who is meant.
pub(crate) fn spells(value: &Value, is_meant: impl FnOnce(&str) -> bool) -> bool {
    match value {
        Value::Text(text) => is_meant(text.trim()),
        Value::Integer(number) => is_meant(&number.to_string()),
        _ => false,
    }
}

impl App {
    /// The personal streams with readings about a person in a time, and how many there are in each,
    /// by device. A page may have few rows, or none, where much was looked through for it.
    #[boxed]
    pub async fn streams_about(
        &self,
        context: &OpContext,
        query: &SubjectQuery,
        page: &PageRequest,
    ) -> Result<Page<SubjectStreamView>> {
        let resource = Resource::all(context.tenant, Kind::Telemetry);
        let found = self.find_streams_about(context, query, page).await?;
        self.note(context, Action::StreamRead, &resource, "done");
        Ok(found)
    }

    /// The same, for what is owed to the person themselves.
    #[boxed]
    pub(crate) async fn find_streams_about(
        &self,
        context: &OpContext,
        query: &SubjectQuery,
        page: &PageRequest,
    ) -> Result<Page<SubjectStreamView>> {
        let among = self.among(context, Action::StreamRead).await?;
        let person = query.person.trim();
        if person.is_empty() || person.chars().count() > PERSON_CHARS_MAX {
            let detail = format!("needs 1 to {PERSON_CHARS_MAX} characters");
            return Err(Error::invalid_at("person", detail));
        }
        let range = TimeRange {
            from: query.from.unwrap_or(TimeRange::ALL.from),
            to: query.to.unwrap_or(TimeRange::ALL.to),
        };
        if range.from >= range.to {
            return Err(Error::invalid_at("to", "must be after from"));
        }
        let behind = page.cursor.as_deref().map(behind).transpose()?;
        let mut devices: Vec<_> = among.devices.all().filter(|one| among.has(one)).collect();
        devices.retain(|one| behind.is_none_or(|(from, _)| from <= one.id));
        devices.sort_by_key(|one| one.id);
        let fields = HashMap::new();
        let mut search = Search { among: &among, person, range, looked: 0, fields };
        let (mut items, mut next_cursor) = (Vec::new(), None);
        'devices: for (turn, device) in devices.into_iter().enumerate() {
            make_room(turn).await;
            search.fields.clear();
            let mut keys = self.streams_of(context.tenant, device.id)?;
            keys.sort();
            for key in keys {
                if behind.is_some_and(|(from, last)| from == device.id && *key <= *last) {
                    continue;
                }
                let tally = self.tally(&mut search, device, &key).await?;
                let here = format!("{}/{key}", device.id);
                if tally.readings > 0 || tally.truncated {
                    items.push(SubjectStreamView {
                        device: device.id,
                        device_name: device.name.as_str().into(),
                        key,
                        readings: tally.readings,
                        first_at: tally.first_at,
                        last_at: tally.last_at,
                        truncated: tally.truncated,
                    });
                }
                if items.len() >= page.rows() || search.looked >= PAGE_READINGS_MAX {
                    next_cursor = Some(here);
                    break 'devices;
                }
            }
        }
        Ok(Page { items, next_cursor })
    }

    /// What one stream has about a person: all of it, or what stands at the times at which its
    /// field names them.
    async fn tally(&self, search: &mut Search<'_>, device: &Device, key: &Key) -> Result<Tally> {
        let (among, person, range) = (search.among, search.person, search.range);
        let mut tally = Tally::default();
        let verdict = among.sight.verdict(device, Some(key));
        let subject = subject_of(&verdict, among.sight.book().said(device.id));
        if verdict.declaration != Declaration::Personal {
            return Ok(tally);
        }
        let Some(seen) = among.sight.series(device, key) else { return Ok(tally) };
        match subject {
            Some(StreamSubject::Device { person: Some(named) }) if named.trim() == person => {
                let stats = self.read_stats(&seen, range).await?;
                tally.readings = stats.count;
                let looked = usize::try_from(stats.count).unwrap_or(usize::MAX);
                search.looked = search.looked.saturating_add(looked);
                (tally.first_at, tally.last_at) = (stats.first_at, stats.last_at);
            }
            Some(StreamSubject::Field { key: field }) => {
                let Ok(field) = Key::new(&field) else { return Ok(tally) };
                let Some(named) = self.named(search, device, &field).await? else {
                    return Ok(tally);
                };
                tally.truncated = named.truncated;
                if !named.times.is_empty() {
                    let add = |point: &Point| {
                        if named.times.contains(&point.at) {
                            tally.add(point.at);
                        }
                    };
                    let (looked, is_cut) =
                        self.each_point(&seen, (range, SUBJECT_READINGS_MAX), add).await?;
                    search.looked = search.looked.saturating_add(looked);
                    tally.truncated |= is_cut;
                }
            }
            _ => {}
        }
        Ok(tally)
    }

    /// When a field names the person; none of a field that may not be read.
    async fn named(
        &self,
        search: &mut Search<'_>,
        device: &Device,
        field: &Key,
    ) -> Result<Option<Arc<Named>>> {
        if let Some(known) = search.fields.get(field) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(seen) = search.among.sight.series(device, field) else { return Ok(None) };
        let (mut times, person) = (BTreeSet::new(), search.person);
        let add = |point: &Point| {
            if names(&point.value, person) {
                times.insert(point.at);
            }
        };
        let within = (search.range, SUBJECT_READINGS_MAX);
        let (looked, truncated) = self.each_point(&seen, within, add).await?;
        search.looked = search.looked.saturating_add(looked);
        let named = Arc::new(Named { times, truncated });
        if search.fields.len() >= FIELDS_KEPT_MAX {
            search.fields.clear();
        }
        search.fields.insert(field.clone(), Arc::clone(&named));
        Ok(Some(named))
    }

    /// Looks through a series from the beginning of a time, so many readings at most; answers how
    /// many it were, and whether there may be more.
    pub(crate) async fn each_point(
        &self,
        seen: &SeenSeries,
        (range, readings_max): (TimeRange, usize),
        mut take: impl FnMut(&Point) + Send,
    ) -> Result<(usize, bool)> {
        let (mut after, mut count) = (None, 0);
        loop {
            let order = Order::Ascending;
            let limit = POINTS_AT_ONCE.min(readings_max - count);
            let page = self.read_range(seen, RangeQuery { range, order, limit, after }).await?;
            count += page.points.len();
            page.points.iter().for_each(&mut take);
            after = page.next;
            if after.is_none() || count >= readings_max {
                return Ok((count, after.is_some()));
            }
        }
    }
}
