//! What the gateway of a public place lets out: amounts and counts of whole groups over whole
//! windows, with noise under a budget, and nothing of anybody. Pure: it stores and sends nothing.

pub mod attacks;
mod book;
mod collector;
mod noise;
mod release;
mod zone;

pub use book::{Book, Turn};
pub use collector::{Collector, OPEN_WINDOWS_MAX};
pub use noise::Noise;
pub use release::{
    Contribution, Outcome, Release, SHARE_SENSITIVITY, STATUS_SENSITIVITY, Withheld,
};
pub use zone::{
    BUDGET_MILLI_PER_DAY_MAX, BUDGET_SQUARES_PER_YEAR, EPSILON_MILLI_MAX, GROUP_MIN, MEASURES_MAX,
    Measure, MeasureKind, SHARE_MAX_PERCENT, SOURCES_MAX, STATUS_WORDS_MAX, STEPS_MAX,
    WINDOW_MINUTES_MIN, ZoneConfig, ZoneError,
};
