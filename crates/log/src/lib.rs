//! The durable log: entries of all tenants in one order, sealed under each tenant's key, durable
//! before they are acknowledged. It never appends to an old file, never retries a failed write,
//! and refuses to skip damage.

mod codec;
mod config;
mod consumer;
mod error;
mod fair;
mod files;
mod format;
mod log;
mod opening;
mod reader;
mod record;
mod shared;
mod ship;
mod storage;
mod thin;
mod writer;

pub use config::LogConfig;
pub use consumer::Consumer;
pub use error::LogError;
pub use files::{LogCheck, Truncation};
pub use log::FileLog;
pub use reader::LogReader;
pub use record::{
    AppendedRange, AttributeScope, Attributes, CommitObserver, Committed, EdgeEntry, Entry, Record,
    Refusal, SessionEvent, SessionEventKind, Unreadable,
};
pub use ship::{LogPart, MomentBounds, MomentCut, PartPlace};
pub use storage::{DiskStorage, LogWrite, Storage};
pub use thin::{Thinned, is_thinned};
