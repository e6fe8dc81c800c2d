//! Latest values, history questions and answers.

use veritwin_domain::{DeviceId, Key, Quality, SiteId, Timestamp, Value};

pub use veritwin_telemetry::{
    Aggregate, BucketRow, Buckets, CalendarUnit, Fill, PERCENTILE_MAX, QualityFilter, Weekday, Zone,
};

/// Which latest values are wanted; everything given must hold.
#[derive(Debug, Clone, Default)]
pub struct LatestFilter {
    /// Devices; all that the actor may see when not given.
    pub devices: Option<Vec<DeviceId>>,
    /// Devices of one twin.
    pub twin: Option<SiteId>,
    /// Series; all when not given.
    pub keys: Option<Vec<Key>>,
    /// What they said at this time; now when not given.
    pub at: Option<Timestamp>,
}

/// A latest value.
#[derive(Debug, Clone, PartialEq)]
pub struct LatestView {
    /// The device.
    pub device: DeviceId,
    /// The series.
    pub key: Key,
    /// When it was measured.
    pub at: Timestamp,
    /// What was measured.
    pub value: Value,
    /// How far it can be trusted.
    pub quality: Quality,
}

/// Which series' history is wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId {
    /// The device.
    pub device: DeviceId,
    /// The series.
    pub key: Key,
}

/// A history question.
#[derive(Debug, Clone)]
pub struct HistoryQuery {
    /// Which series; at most [`SERIES_PER_QUERY_MAX`].
    pub series: Vec<SeriesId>,
    /// From, inclusive.
    pub from: Timestamp,
    /// To, exclusive.
    pub to: Timestamp,
    /// Width of buckets, in microseconds; none for raw points.
    pub bucket_micros: Option<i64>,
    /// At most this many points a series; with raw points too many turn into buckets.
    pub points_max: Option<usize>,
    /// Raw points a series.
    pub limit: usize,
    /// Newest first.
    pub descending: bool,
    /// Buckets as they are asked in detail.
    pub down: Option<BucketQuery>,
    /// So many raw points at most, chosen for a line that looks the same.
    pub line_points_max: Option<usize>,
    /// Which readings count; of buckets by [`Self::bucket_micros`] and of raw points that turn into
    /// buckets all do.
    pub quality: QualityFilter,
}

/// How readings are taken together.
#[derive(Debug, Clone, PartialEq)]
pub struct BucketQuery {
    /// Into which stretches of time.
    pub buckets: Buckets,
    /// What is asked of each.
    pub aggregates: Vec<Aggregate>,
    /// The numbers count upwards and begin at zero again.
    pub is_counter: bool,
    /// What stands in buckets without readings.
    pub fill: Fill,
    /// So many at most, from the earliest on, with where to go on; all of them without it.
    pub rows_max: Option<usize>,
}

/// Most series of which one request may ask what they said at a time.
pub const AS_OF_SERIES_MAX: usize = 10_000;

/// Most series in one question.
pub const SERIES_PER_QUERY_MAX: usize = 128;

/// Most points of one series in one answer.
pub const POINTS_PER_SERIES_MAX: usize = 100_000;

/// One raw point.
#[derive(Debug, Clone, PartialEq)]
pub struct PointView {
    /// When it was measured.
    pub at: Timestamp,
    /// What was measured.
    pub value: Value,
    /// How far it can be trusted.
    pub quality: Quality,
}

/// A device as a statement reads of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDevice {
    /// Its id.
    pub id: DeviceId,
    /// Its name.
    pub name: String,
    /// What it is, in the customer's words.
    pub kind: String,
    /// The twin it is bound to.
    pub twin: Option<SiteId>,
    /// Whether the actor may list it; otherwise its name stands beside its readings and nowhere
    /// else.
    pub is_listed: bool,
}

/// One bucket of a numeric series.
#[derive(Debug, Clone, PartialEq)]
pub struct BucketView {
    /// Where it begins.
    pub at: Timestamp,
    /// Readings in it.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// The earliest.
    pub first: f64,
    /// The latest.
    pub last: f64,
    /// Readings in it that a simulation has made up.
    pub simulated: u64,
}

/// The points or buckets of one series.
#[derive(Debug, Clone, PartialEq)]
pub enum HistoryData {
    /// As recorded.
    Points(Vec<PointView>),
    /// Down-sampled.
    Buckets {
        /// Their width in microseconds.
        width_micros: i64,
        /// Those with at least one reading.
        buckets: Vec<BucketView>,
    },
    /// Down-sampled as asked in detail.
    Rows(Vec<BucketRow>),
}

/// One series of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct HistorySeries {
    /// Which.
    pub series: SeriesId,
    /// Its unit, when known.
    pub unit: Option<String>,
    /// Its data.
    pub data: HistoryData,
    /// Where to go on when `limit` cut it: the last point's time.
    pub next: Option<Timestamp>,
}

/// Exact figures of a series over a range.
#[derive(Debug, Clone, PartialEq)]
pub struct StatsView {
    /// Which.
    pub series: SeriesId,
    /// Readings.
    pub count: u64,
    /// The least number.
    pub min: Option<f64>,
    /// The greatest number.
    pub max: Option<f64>,
    /// The earliest.
    pub first_at: Option<Timestamp>,
    /// The latest.
    pub last_at: Option<Timestamp>,
}
