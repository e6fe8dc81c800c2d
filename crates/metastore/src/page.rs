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

    pub(crate) fn by_urgency(rank: u8, at: Timestamp, id: &[u8; 16]) -> Self {
        Self([&[rank][..], &at.as_micros().to_be_bytes()[..], id].concat())
    }

    pub(crate) fn urgency(&self) -> Result<(u8, Timestamp, [u8; 16])> {
        let (rank, rest) = self.0.split_first().ok_or(BAD_CURSOR)?;
        let (at, id) = Self(rest.to_vec()).time()?;
        Ok((*rank, at, id))
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

/// Most rows that [`every_row`] gathers.
pub const WALK_ROWS_MAX: usize = 1_000_000;

/// Reads every page of a list, one after the other: `read` is given each page in turn.
pub async fn every_row<T, F, Answer>(read: F) -> Result<Vec<T>>
where
    F: Fn(Page) -> Answer,
    Answer: Future<Output = Result<Listed<T>>>,
{
    let mut rows = Vec::new();
    let mut page = Page::whole();
    loop {
        let listed = read(page).await?;
        rows.extend(listed.items);
        if rows.len() > WALK_ROWS_MAX {
            let reason = "limit walk_rows_max exceeded: at most 1,000,000 rows at once";
            return Err(Error::Invalid { what: "list", reason });
        }
        match listed.next {
            Some(next) => page = Page { after: Some(next), ..Page::whole() },
            None => return Ok(rows),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_reads_every_page_once_and_ends() {
        let id = |row: u8| Cursor::by_id(&[row; 16]);
        let read = |page: Page| {
            let first = page.after.map_or(0, |after| after.id().expect("an id")[0]);
            let items: Vec<u8> = (first..7).take(3).collect();
            let end = first + 3;
            let next = (end < 7).then(|| id(end));
            std::future::ready(Ok(Listed { items, next }))
        };
        let rows = futures::executor::block_on(every_row(read)).expect("rows");
        assert_eq!(rows, [0, 1, 2, 3, 4, 5, 6]);
        let failing = |_| std::future::ready(Err::<Listed<u8>, _>(BAD_CURSOR));
        assert!(futures::executor::block_on(every_row(failing)).is_err());
    }
}
