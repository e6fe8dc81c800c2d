//! The time-series engine: memory table, sealed segments, compaction, queries. It takes readings
//! from the log in order, each once, and refuses to hold anything readable in its store.
//!
//! Invariants: of two readings of a series with one time, the one committed later counts; a query
//! sees one consistent state; the manifest with the highest number describes a complete state;
//! `persisted_position` never passes a reading that is not in a segment.

mod aggregate;
mod aggregate_fill;
mod aggregate_state;
mod bucket;
mod budget;
mod cache;
mod calendar;
mod catalog;
mod catch_up;
mod codec;
mod commit;
mod compact;
mod destroy;
mod directory;
mod engine;
mod epoch;
mod error;
mod expire;
mod figures;
mod flush;
mod latest;
mod manifest;
pub mod measure;
mod memory;
mod merge_plan;
mod merged;
mod pace;
mod pin;
mod quantiles;
mod query;
mod query_downsample;
mod query_lttb;
mod query_many;
mod query_walk;
mod reader;
mod room;
mod scrub;
mod section;
mod selection;
mod series;
mod sweep;
mod values;
mod wire;

pub use aggregate::{Bucket, Stats};
pub use aggregate_fill::Fill;
pub use aggregate_state::{Aggregate, BucketRow, PERCENTILE_MAX};
pub use bucket::{BeforeRequest, BucketConfig, open_bucket};
pub use budget::Budget;
pub use calendar::{Buckets, CalendarUnit, Weekday, Zone};
pub use compact::Maintained;
pub use engine::{Engine, EngineConfig, EngineLimits, EngineStatus, OwnKeys, Units};
pub use error::TelemetryError;
pub use expire::{Expired, Expiry};
pub use figures::FIGURES_MICROS;
pub use latest::LATEST_AHEAD_MAX;
pub use memory::{Latest, LatestSize};
pub use pin::Pinned;
pub use quantiles::PERCENTILE_EXACT_MAX;
pub use query::{Order, Page, Point, QualityFilter, RangeQuery, Series, TimeRange};
pub use query_downsample::{AGGREGATES_MAX, BucketPage, Downsample};
pub use query_lttb::TRIANGLES_EXACT_MAX;
pub use query_many::{Answer, Answers, Question};
pub use room::Room;
pub use scrub::{Scrub, Scrubbed, SegmentDamage};
pub use selection::{Meant, Rewritten, Selected, Selection, SeriesTest, Which};
