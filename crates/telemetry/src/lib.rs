//! The time-series engine: memory table, sealed segments, compaction, queries. It takes readings
//! from the log in order, each once, and refuses to hold anything readable in its store.
//!
//! Invariants: of two readings of a series with one time, the one committed later counts; a query
//! sees one consistent state; the manifest with the highest number describes a complete state;
//! `persisted_position` never passes a reading that is not in a segment.

mod aggregate;
mod cache;
mod catalog;
mod codec;
mod compact;
mod directory;
mod engine;
mod error;
mod expire;
mod flush;
mod latest;
mod manifest;
pub mod measure;
mod memory;
mod pin;
mod query;
mod reader;
mod room;
mod scrub;
mod section;
mod series;
mod sweep;
mod values;
mod wire;

pub use aggregate::{Bucket, Stats};
pub use compact::Maintained;
pub use engine::{Engine, EngineConfig, EngineLimits, EngineStatus};
pub use error::TelemetryError;
pub use expire::{Expired, Expiry};
pub use latest::LATEST_AHEAD_MAX;
pub use memory::Latest;
pub use pin::Pinned;
pub use query::{Order, Page, Point, RangeQuery, Series, TimeRange};
pub use room::Room;
pub use scrub::{Scrub, Scrubbed, SegmentDamage};
