//! One read-only SQL statement over the readings that somebody may see, with DataFusion: which
//! statements are understood, how tables are read, and how answers are written. Everything is
//! behind the feature `engine`. It reads through `Source` only, and refuses whatever would write,
//! reach outside of its three tables, or pass a named bound.

#[cfg(feature = "engine")]
mod answer;
#[cfg(feature = "engine")]
mod columns;
#[cfg(feature = "engine")]
mod encode;
#[cfg(feature = "engine")]
mod error;
#[cfg(feature = "engine")]
mod gate;
#[cfg(feature = "engine")]
mod session;
#[cfg(feature = "engine")]
mod source;
#[cfg(feature = "engine")]
mod table;
#[cfg(feature = "engine")]
mod text;
#[cfg(feature = "engine")]
mod wanted;

#[cfg(feature = "engine")]
pub use answer::{Answer, Bounds, Piece};
#[cfg(feature = "engine")]
pub use encode::Format;
#[cfg(feature = "engine")]
pub use error::Error;
#[cfg(feature = "engine")]
pub use source::{DeviceRow, Failure, Page, Point, Source};
