//! Pages of lists. A cursor is opaque outside: it holds ids and times, never content, and means
//! something only inside the tenant whose list it came from.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use veritwin_domain::Timestamp;

use crate::{Error, Result};

/// Most rows of one page.
pub const PAGE_ROWS_MAX: u32 = 1000;

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(Vec<u8>);

/// Longest cursor that is looked at, in bytes.
const CURSOR_BYTES_MAX: usize = 64;

const BAD_CURSOR: Error = Error::Invalid {
    what: "cursor",
    reason: "not one that this list gave out; start again without a cursor",
};

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(&self.0))
    }
}

impl FromStr for Cursor {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        if text.len() > CURSOR_BYTES_MAX {
            return Err(BAD_CURSOR);
        }
        URL_SAFE_NO_PAD.decode(text).map(Self).map_err(|_| BAD_CURSOR)
    }
}

impl Cursor {
    pub(crate) fn by_id(id: &[u8; 16]) -> Self {
        Self(id.to_vec())
    }

    pub(crate) fn id(&self) -> Result<[u8; 16]> {
        self.0.as_slice().try_into().map_err(|_| BAD_CURSOR)
    }

    pub(crate) fn by_time(at: Timestamp, id: &[u8; 16]) -> Self {
        Self([&at.as_micros().to_be_bytes()[..], id].concat())
    }

    pub(crate) fn time(&self) -> Result<(Timestamp, [u8; 16])> {
        let (at, id) = self.0.split_at_checked(8).ok_or(BAD_CURSOR)?;
        let at = i64::from_be_bytes(at.try_into().map_err(|_| BAD_CURSOR)?);
        Ok((Timestamp::from_micros(at), id.try_into().map_err(|_| BAD_CURSOR)?))
    }

    pub(crate) fn by_rank(rank: u32, id: &[u8; 16]) -> Self {
        Self([&rank.to_be_bytes()[..], id].concat())
    }

    pub(crate) fn rank(&self) -> Result<(u32, [u8; 16])> {
        let (rank, id) = self.0.split_at_checked(4).ok_or(BAD_CURSOR)?;
        let rank = u32::from_be_bytes(rank.try_into().map_err(|_| BAD_CURSOR)?);
        Ok((rank, id.try_into().map_err(|_| BAD_CURSOR)?))
    }
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Most rows to return; held at [`PAGE_ROWS_MAX`], at least one.
    pub limit: u32,
    /// Where to go on; none starts at the beginning.
    pub after: Option<Cursor>,
}

impl Page {
    /// The first rows.
    pub const fn first(limit: u32) -> Self {
        Self { limit, after: None }
    }

    /// As many rows as one page can hold.
    pub const fn whole() -> Self {
        Self::first(PAGE_ROWS_MAX)
    }

    pub(crate) fn rows(&self) -> u64 {
        u64::from(self.limit.clamp(1, PAGE_ROWS_MAX))
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins; none at the end.
    pub next: Option<Cursor>,
}

impl<T> Listed<T> {
    /// Cuts the one row too many that a query asked for to learn whether there is more.
    pub(crate) fn cut(mut items: Vec<T>, page: &Page, cursor: impl Fn(&T) -> Cursor) -> Self {
        let rows = usize::try_from(page.rows()).unwrap_or(usize::MAX);
        let more = items.len() > rows;
        items.truncate(rows);
        let next = if more { items.last().map(cursor) } else { None };
        Self { items, next }
    }
}
