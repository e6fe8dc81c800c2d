//! The one gate through which readings leave (promise P04): what of a device's streams an actor may
//! see, and the reads of the telemetry engine that ask it. A test sees to it that no other part of
//! this crate reads the engine for anybody.

use std::collections::HashSet;
use std::sync::Arc;

use veritwin_access::{Action, Kind, Reach};
use veritwin_domain::{DeviceId, Key, OpContext, Place, Purpose, SiteId, TenantId, Timestamp};
use veritwin_governance::streams::Verdict;
use veritwin_metastore::{Device, TenantTx};
use veritwin_telemetry::{
    Answer, Answers, Bucket, Budget, Latest, Page, QualityFilter, Question, RangeQuery, Series,
    Stats, TimeRange,
};

use crate::access::place_of;
use crate::directory::TenantDevices;
use crate::stream_book::StreamBook;
use crate::{App, Error, Result};

/// What an actor sees of a tenant's streams. A stream that is declared not personal is open to
/// whoever reads telemetry there; any other one, declared or not, takes a right of its own.
pub(crate) struct Sight {
    tenant: TenantId,
    book: Arc<StreamBook>,
    /// Where personal streams, and those that nobody declared, may be seen.
    personal: Reach,
    /// What they are looked at for; none where what people limited is kept for them all the same.
    purpose: Option<Purpose>,
}

/// A series that its reader may see. Only [`Sight::series`] makes one.
pub(crate) struct SeenSeries {
    series: Series,
    pub(crate) is_open: bool,
}

/// Streams as somebody follows them live.
pub struct SeenStreams {
    sight: Sight,
    devices: Arc<TenantDevices>,
    among: HashSet<DeviceId>,
}

impl std::fmt::Debug for SeenStreams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeenStreams").field("devices", &self.among.len()).finish_non_exhaustive()
    }
}

impl SeenStreams {
    /// Whether a reading of this stream may be shown; also of one that sends for the first time.
    pub fn shows(&self, device: DeviceId, key: &Key) -> bool {
        let known = self.devices.get(device).filter(|_| self.among.contains(&device));
        known.is_some_and(|known| self.sight.shows(known, Some(key)))
    }
}

impl Sight {
    /// What is declared of the tenant's streams.
    pub(crate) fn book(&self) -> &StreamBook {
        &self.book
    }

    /// What counts for a stream of a device as it stands, or as it is about to stand.
    pub(crate) fn verdict<'a>(&'a self, device: &'a Device, key: Option<&str>) -> Verdict<'a> {
        self.book.verdict(device, key)
    }

    /// Whether the actor sees what is personal or not declared at the place of a device.
    pub(crate) fn sees_personal_of(&self, device: &Device) -> bool {
        self.personal.covers(place_of(device))
    }

    /// Whether the actor sees what is personal or not declared at a place.
    pub(crate) fn sees_personal_at(&self, place: Place<'_>) -> bool {
        self.personal.covers(place)
    }

    /// Whether the actor sees what is personal or not declared wherever it stands in a twin.
    pub(crate) fn sees_personal_throughout(&self, twin: SiteId) -> bool {
        self.personal.covers_whole_twin(twin)
    }

    /// Whether the actor sees what is personal or not declared in the whole tenant.
    pub(crate) fn sees_everything(&self) -> bool {
        self.personal.is_whole()
    }

    /// Whether a stream may be shown; without a key, what is known of the device as a whole.
    pub(crate) fn shows(&self, device: &Device, key: Option<&str>) -> bool {
        let may = self.sees_personal_of(device) || self.book.is_open(device, key);
        may && !self.is_limited(device, key)
    }

    /// Whether a stream is of somebody who restricted what is done with their data, or objected to
    /// what it is looked at for.
    fn is_limited(&self, device: &Device, key: Option<&str>) -> bool {
        self.purpose.is_some_and(|purpose| self.book.is_limited(device, key, purpose))
    }

    /// Whether a stream would be shown, did its person not limit what is done with it.
    pub(crate) fn keeps_back(&self, device: &Device, key: &Key) -> bool {
        let may = self.sees_personal_of(device) || self.book.is_open(device, Some(key));
        may && self.is_limited(device, Some(key))
    }

    /// A series of a device, if its reader may see it.
    pub(crate) fn series(&self, device: &Device, key: &Key) -> Option<SeenSeries> {
        let is_open = self.verdict(device, Some(key)).is_open();
        let series = Series { tenant: self.tenant, device: device.id, key: key.clone() };
        let may = is_open || self.sees_personal_of(device);
        (may && !self.is_limited(device, Some(key))).then_some(SeenSeries { series, is_open })
    }

    /// To follow the streams of these devices.
    pub(crate) fn following(
        self,
        devices: Arc<TenantDevices>,
        among: HashSet<DeviceId>,
    ) -> SeenStreams {
        SeenStreams { sight: self, devices, among }
    }
}

impl App {
    /// What the actor sees of the tenant's streams; asked once per operation.
    pub(crate) async fn sight(&self, context: &OpContext) -> Result<Sight> {
        let book = self.stream_book(context).await?;
        let reach =
            self.0.authorizer.reach(context, Action::TelemetryReadPersonal, Kind::Telemetry);
        let personal = reach.unwrap_or_else(|_| Reach::nowhere());
        #[cfg(feature = "test-controls")]
        let personal = if self.0.promises.is_sabotaged(4) { Reach::default() } else { personal };
        let purpose = Some(context.purpose).filter(|purpose| *purpose != Purpose::LegalDuty);
        #[cfg(feature = "test-controls")]
        let purpose = purpose.filter(|_| !self.0.promises.forgets_limits());
        Ok(Sight { tenant: context.tenant, book, personal, purpose })
    }

    /// Every stream of a device, whoever asks: for what is decided, not for what is shown.
    pub(crate) fn streams_of(&self, tenant: TenantId, device: DeviceId) -> Result<Vec<Key>> {
        Ok(self.0.engine.keys(tenant, device)?)
    }

    /// The streams of a device that may be shown, and how many there are besides.
    pub(crate) fn keys_seen(&self, sight: &Sight, device: &Device) -> (Vec<Key>, usize) {
        let mut keys = self.streams_of(sight.tenant, device.id).unwrap_or_default();
        let all = keys.len();
        keys.retain(|key| sight.shows(device, Some(key)));
        let hidden = all - keys.len();
        (keys, hidden)
    }

    /// The latest values of a device that may be shown.
    pub(crate) async fn read_latest(
        &self,
        sight: &Sight,
        device: &Device,
        keys: Option<&[Key]>,
    ) -> Result<Vec<Latest>> {
        let mut latest = self.0.engine.latest(sight.tenant, device.id, keys).await?;
        latest.retain(|one| sight.shows(device, Some(&one.key)));
        Ok(latest)
    }

    /// The newest value of a series.
    pub(crate) async fn read_newest(&self, seen: &SeenSeries) -> Result<Option<Latest>> {
        let Series { tenant, device, key } = &seen.series;
        let keys = Some(std::slice::from_ref(key));
        Ok(self.0.engine.latest(*tenant, *device, keys).await?.pop())
    }

    /// What the first of some series answer to a question: as many as fit into one budget.
    pub(crate) async fn read_answers(
        &self,
        seen: &[SeenSeries],
        question: &Question,
    ) -> Result<Answers> {
        let series: Vec<Series> = seen.iter().map(|seen| seen.series.clone()).collect();
        Ok(self.0.engine.ask_many(&series, question).await?)
    }

    /// The streams of a device that may be shown, of those that are named.
    pub(crate) fn keys_wanted(
        &self,
        sight: &Sight,
        device: &Device,
        named: Option<&[Key]>,
    ) -> Result<Vec<Key>> {
        let mut keys = self.streams_of(sight.tenant, device.id)?;
        keys.retain(|key| named.is_none_or(|named| named.contains(key)));
        keys.retain(|key| sight.shows(device, Some(key)));
        Ok(keys)
    }

    /// What streams of a device said at a time, if they may be shown; taken from a budget.
    pub(crate) async fn read_as_of(
        &self,
        sight: &Sight,
        device: &Device,
        keys: &[Key],
        (at, budget): (Timestamp, &Budget),
    ) -> Result<Vec<Latest>> {
        let seen: Vec<SeenSeries> =
            keys.iter().filter_map(|key| sight.series(device, key)).collect();
        let question = Question::AsOf(at, QualityFilter::Any);
        let series: Vec<Series> = seen.into_iter().map(|seen| seen.series).collect();
        let answers = self.0.engine.ask_all(&series, &question, budget).await?;
        let mut latest = Vec::with_capacity(series.len());
        for (series, answer) in series.into_iter().zip(answers) {
            let Answer::Points(page) = answer else { continue };
            latest.extend(page.points.into_iter().map(|point| Latest {
                key: series.key.clone(),
                at: point.at,
                value: point.value,
                quality: point.quality,
            }));
        }
        Ok(latest)
    }

    /// Points of a series.
    pub(crate) async fn read_range(&self, seen: &SeenSeries, query: RangeQuery) -> Result<Page> {
        Ok(self.0.engine.range(&seen.series, query).await?)
    }

    /// Points of a series, taken from a budget.
    pub(crate) async fn read_points(
        &self,
        seen: &SeenSeries,
        query: RangeQuery,
        budget: &Budget,
    ) -> Result<Page> {
        let any = QualityFilter::Any;
        Ok(self.0.engine.range_filtered(&seen.series, query, any, budget).await?)
    }

    /// Figures of a series.
    pub(crate) async fn read_stats(&self, seen: &SeenSeries, range: TimeRange) -> Result<Stats> {
        Ok(self.0.engine.stats(&seen.series, range).await?)
    }

    /// Buckets of a series, taken from a budget.
    pub(crate) async fn read_buckets(
        &self,
        seen: &SeenSeries,
        range: TimeRange,
        width_micros: i64,
        budget: &Budget,
    ) -> Result<Vec<Bucket>> {
        let (engine, series) = (&self.0.engine, &seen.series);
        Ok(engine.buckets_with_figures(series, range, width_micros, budget).await?)
    }

    /// Who makes a device's streams less protected, or moves them to where they see personal data,
    /// opens what they have sent, so that takes the right to read them where they stood. Making
    /// them more protected takes no more than the change itself. Judged by what is declared as of
    /// the transaction of the change: something may have been closed since the actor asked.
    pub(crate) async fn authorize_protection(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        sight: &Sight,
        (stood, changed): (&Device, &Device),
    ) -> Result<()> {
        use veritwin_domain::{ActorKind, Declaration};
        let care = |declaration: Declaration| match declaration {
            Declaration::NonPersonal => 0,
            Declaration::Undeclared => 1,
            Declaration::Personal => 2,
        };
        // Whoever holds the data directory brings data in for every tenant.
        if matches!(context.actor.kind, ActorKind::LocalOperator) || sight.sees_personal_of(stood) {
            return Ok(());
        }
        let comes_into_sight = sight.sees_personal_of(changed);
        let counts_as_it_did =
            stood.declaration == changed.declaration && stood.kind == changed.kind;
        if counts_as_it_did && !comes_into_sight {
            return Ok(());
        }
        let book = StreamBook::of_device(tx, stood.id).await?;
        let opens = |key: Option<&str>| {
            let (was, is) = (book.verdict(stood, key), book.verdict(changed, key));
            let is_lowered = care(is.declaration) < care(was.declaration);
            !was.is_open() && (is_lowered || is.is_open() || comes_into_sight)
        };
        let keys = self.streams_of(context.tenant, stood.id)?;
        let mut all = keys.iter().map(|key| Some(&**key)).chain([None]);
        if care(changed.declaration) < care(stood.declaration) || all.any(opens) {
            return Err(Error::Forbidden(Action::TelemetryReadPersonal.to_string()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    /// Where the engine is read without a reader: the gate itself, rules that judge what stands
    /// (what they raise is concealed), and tests.
    const WITHOUT_READER: [&str; 3] = ["sight.rs", "alert_present.rs", "job_tests/"];
    /// Methods of the engine that give out readings or names of streams.
    const READS: [&str; 17] = [
        "latest",
        "latest_within",
        "range",
        "range_filtered",
        "stats",
        "buckets",
        "buckets_many",
        "buckets_with_figures",
        "figures",
        "downsample",
        "downsample_page",
        "triangles",
        "as_of",
        "ask",
        "ask_many",
        "ask_all",
        "keys",
    ];

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn nothing_else_reads_the_engine_for_anybody() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
        let mut files = Vec::new();
        sources(root, &mut files);
        assert!(files.len() > 100, "{} files", files.len());
        for file in files {
            let name = file.strip_prefix(root).expect("below").display().to_string();
            if WITHOUT_READER.iter().any(|one| name.starts_with(one)) {
                continue;
            }
            let text = std::fs::read_to_string(&file).expect("text");
            let text: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
            for read in READS {
                assert!(!text.contains(&format!("engine.{read}(")), "{name} reads engine.{read}");
            }
        }
    }
}
