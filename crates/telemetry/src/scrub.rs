//! Reading everything that is stored and comparing: each chunk of each section is opened past the
//! caches and decoded, each tenant's latest values and the manifest too. It changes nothing.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use futures::stream::TryStreamExt;
use object_store::path::Path;
use veritwin_domain::{FileId, TenantId, Timestamp};

use crate::catalog::{Catalog, LatestPlace, Pack, Section};
use crate::directory::Chunk;
use crate::engine::{Engine, read_object};
use crate::reader::OpenSection;
use crate::{TelemetryError, manifest};

/// Damaged places that are named of one section.
const NAMED_MAX: usize = 8;
/// A pack that nothing names is no part of a flush any more after this time.
const STRANGER_AGE: Duration = Duration::from_secs(86_400);

/// A damaged place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentDamage {
    /// The object in the store.
    pub object: String,
    /// Where in it the damaged part begins.
    pub offset: u64,
    /// Whose it is; none of the manifest.
    pub tenant: Option<TenantId>,
    /// First and last time of what cannot be read; none where times are not known.
    pub times: Option<(Timestamp, Timestamp)>,
    /// What is wrong.
    pub problem: String,
}

/// What was read in one step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scrubbed {
    /// Bytes that were read.
    pub bytes: u64,
    /// Whether it could not be judged: the tenant's key is withdrawn, gone or out of reach.
    pub is_closed: bool,
    /// What is damaged.
    pub damage: Vec<SegmentDamage>,
    /// Where to go on after a stop.
    pub place: String,
}

enum Item {
    Manifest,
    Section(TenantId, Arc<Section>),
    Latest(TenantId, LatestPlace),
}

/// A walk over one state of the store, in the order of places.
pub struct Scrub {
    engine: Engine,
    // Packs that a catalog refers to are not deleted.
    catalog: Arc<Catalog>,
    items: std::vec::IntoIter<(String, Item)>,
    left_bytes: u64,
}

impl std::fmt::Debug for Scrub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scrub").field("left_bytes", &self.left_bytes).finish_non_exhaustive()
    }
}

impl Engine {
    /// Begins a walk over what is stored now, behind `after`, the place of a walk before.
    pub fn scrub(&self, after: Option<&str>) -> Scrub {
        let catalog = Arc::clone(&self.inner.memory.read().catalog);
        let place = |pack: &Pack, offset: u64| format!("{}/{offset:020}", pack.file);
        let mut items = Vec::new();
        let mut left_bytes = 0;
        if catalog.number > 0 {
            // Sorts before every id of a pack.
            items.push((String::new(), Item::Manifest));
        }
        for (tenant, entry) in &catalog.tenants {
            for section in entry.all() {
                let item = Item::Section(*tenant, Arc::clone(section));
                items.push((place(&section.pack, section.offset), item));
            }
            if let Some(latest) = &entry.latest {
                let item = Item::Latest(*tenant, latest.clone());
                items.push((place(&latest.pack, latest.offset), item));
            }
        }
        items.retain(|(place, _)| after.is_none_or(|after| place.as_str() > after));
        items.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        for (_, item) in &items {
            left_bytes += match item {
                Item::Manifest => 0,
                Item::Section(_, section) => section.bytes(),
                Item::Latest(_, latest) => u64::from(latest.bytes),
            };
        }
        Scrub { engine: self.clone(), catalog, items: items.into_iter(), left_bytes }
    }

    /// Packs in the store that nothing names and that no flush writes any more: the next start
    /// deletes them. Their names, at most `max`.
    #[boxed]
    pub async fn stranger_packs(&self, max: usize) -> Result<Vec<String>, TelemetryError> {
        let prefix = Path::from(Pack::PREFIX);
        let failed = |source| TelemetryError::store("list", &Path::from(Pack::PREFIX), source);
        let before = self.inner.clock.now().saturating_sub(STRANGER_AGE).as_micros();
        let mut found = Vec::new();
        let mut objects = self.inner.reader.store.list(Some(&prefix));
        while let Some(meta) = objects.try_next().await.map_err(failed)? {
            if meta.last_modified.timestamp_micros() < before {
                found.push(meta.location);
            }
        }
        let known: HashSet<FileId> = self.inner.packs.lock().iter().map(|pack| pack.file).collect();
        found.retain(|path| {
            let file = path.filename().and_then(|name| name.parse::<FileId>().ok());
            file.is_none_or(|file| !known.contains(&file))
        });
        found.truncate(max);
        let found = found.iter().map(ToString::to_string).collect();
        Ok(found)
    }
}

impl Scrub {
    /// Bytes that are yet to be read.
    pub const fn left_bytes(&self) -> u64 {
        self.left_bytes
    }

    /// Reads the next part; none at the end. The store's refusal is damage too: what cannot be
    /// read is not there.
    #[boxed]
    pub async fn step(&mut self) -> Option<Scrubbed> {
        let (place, item) = self.items.next()?;
        let (object, offset, tenant, bytes) = match &item {
            Item::Manifest => (manifest::path_of(self.catalog.number), 0, None, 0),
            Item::Section(tenant, section) => {
                let path = Pack::path_of(section.pack.file);
                (path, section.offset, Some(*tenant), section.bytes())
            }
            Item::Latest(tenant, latest) => {
                let path = Pack::path_of(latest.pack.file);
                (path, latest.offset, Some(*tenant), u64::from(latest.bytes))
            }
        };
        self.left_bytes = self.left_bytes.saturating_sub(bytes);
        let mut scrubbed = Scrubbed { bytes, place, ..Scrubbed::default() };
        let times = match &item {
            Item::Section(_, section) => Some((section.t_min, section.t_max)),
            _ => None,
        };
        let outcome = match &item {
            Item::Manifest => self.manifest().await,
            Item::Section(tenant, section) => {
                self.section(*tenant, section, &mut scrubbed.damage).await
            }
            Item::Latest(tenant, latest) => {
                self.engine.inner.reader.latest(*tenant, latest).await.map(drop)
            }
        };
        match outcome {
            Ok(()) => {}
            Err(error) if error.is_withheld() && self.is_closed(&item) => scrubbed.is_closed = true,
            Err(error) => scrubbed.damage.push(SegmentDamage {
                object: object.to_string(),
                offset,
                tenant,
                times: times.map(times_of),
                problem: describe(&error),
            }),
        }
        Some(scrubbed)
    }

    /// Whether the key that the manifest names is withdrawn, gone or out of reach; a damaged header
    /// may name another.
    fn is_closed(&self, item: &Item) -> bool {
        let Item::Section(_, section) = item else { return true };
        let key = self.engine.inner.reader.keys.dek_by_id(section.dek);
        key.is_err_and(|error| error.is_withheld())
    }

    async fn manifest(&self) -> Result<(), TelemetryError> {
        let (inner, number) = (&self.engine.inner, self.catalog.number);
        let path = manifest::path_of(number);
        let sealed = match read_object(&inner.reader.store, &path).await {
            // Another took its place since, and it was deleted.
            Err(_) if inner.memory.read().catalog.number != number => return Ok(()),
            other => other?,
        };
        let found = manifest::open(number, &sealed, &inner.reader.keys)?;
        if found.tenants.len() == self.catalog.tenants.len()
            && found.persisted_position == self.catalog.persisted_position
        {
            return Ok(());
        }
        let reason = "it says something else than what is in memory".to_owned();
        Err(TelemetryError::Damaged { object: path.to_string(), reason })
    }

    async fn section(
        &self,
        tenant: TenantId,
        section: &Section,
        damage: &mut Vec<SegmentDamage>,
    ) -> Result<(), TelemetryError> {
        let reader = &self.engine.inner.reader;
        let whole = reader.whole(section).await?;
        let open = reader.open_whole(tenant, section, &whole)?;
        let mut points = 0u64;
        for (device, series) in &open.directory.devices {
            for entry in series {
                for chunk in &entry.chunks {
                    points += u64::from(chunk.count);
                    let frames = [chunk.times, chunk.values].map(|frame| {
                        let start = frame.offset.saturating_sub(section.offset);
                        let start = usize::try_from(start).unwrap_or(usize::MAX);
                        let end = start.saturating_add(frame.bytes as usize);
                        whole.get(start..end).unwrap_or_default()
                    });
                    let decoded = open.decode(*device, &entry.key, chunk, frames, i64::MAX);
                    let problem = match &decoded {
                        Ok(column) => mismatch(&column.at, chunk).map(str::to_owned),
                        Err(error) => Some(describe(error)),
                    };
                    if let Some(problem) = problem
                        && damage.len() < NAMED_MAX
                    {
                        damage.push(damaged_chunk(&open, tenant, chunk, problem));
                    }
                    tokio::task::consume_budget().await;
                }
            }
        }
        if points != section.points && damage.is_empty() {
            let object = Pack::path_of(section.pack.file).to_string();
            let expected = section.points;
            let reason = format!("a section holds {points} points, its manifest says {expected}");
            return Err(TelemetryError::Damaged { object, reason });
        }
        Ok(())
    }
}

/// What the directory says of a chunk and its times do not.
fn mismatch(at: &[i64], chunk: &Chunk) -> Option<&'static str> {
    if at.len() != chunk.count as usize {
        return Some("a chunk holds another number of points than its directory says");
    }
    let is_right = at.first() == Some(&chunk.t_min) && at.last() == Some(&chunk.t_max);
    (!is_right).then_some("a chunk begins or ends at another time than its directory says")
}

fn damaged_chunk(
    open: &OpenSection,
    tenant: TenantId,
    chunk: &Chunk,
    problem: String,
) -> SegmentDamage {
    SegmentDamage {
        object: Pack::path_of(open.file).to_string(),
        offset: chunk.times.offset.min(chunk.values.offset),
        tenant: Some(tenant),
        times: Some(times_of((chunk.t_min, chunk.t_max))),
        problem,
    }
}

fn times_of((from, to): (i64, i64)) -> (Timestamp, Timestamp) {
    (Timestamp::from_micros(from), Timestamp::from_micros(to))
}

/// An error with its causes.
fn describe(error: &TelemetryError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
