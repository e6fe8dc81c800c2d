//! Coordinates of tiles and entry bundles and their paths (C2SP tlog-tiles). Only canonical paths
//! are accepted: no leading zeroes, no width outside 1 to 255, no level above 63.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

/// Hashes in a full tile, entries in a full bundle.
pub const TILE_WIDTH: u64 = 256;
/// Bytes of a full hash tile.
pub const TILE_BYTES_MAX: u64 = TILE_WIDTH * 32;

/// Why a text is not a tile path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a tile path: expected tile/LEVEL/NNN or tile/entries/NNN, optionally .p/WIDTH")]
pub struct TileError;

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TileKind {
    /// The log entries themselves.
    Entries,
    /// Hashes at this level (0 = leaf hashes), at most 63.
    Hashes(u8),
}

/// One tile or entry bundle, with the width wanted of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TilePath {
    /// Entries, or the level of the hashes.
    pub kind: TileKind,
    /// Index within the level.
    pub index: u64,
    /// Entries or hashes in it: 1 to 256; 256 is a full tile.
    pub width: u16,
}

impl TilePath {
    /// The tile `index` of `kind` in a tree of `tree_size` leaves; `None` when the tree does not
    /// reach it.
    pub fn in_tree(kind: TileKind, index: u64, tree_size: u64) -> Option<Self> {
        let level = match kind {
            TileKind::Entries => 0,
            TileKind::Hashes(level) => level,
        };
        let total = hashes_at(level, tree_size);
        let before = index.checked_mul(TILE_WIDTH)?;
        let width = total.checked_sub(before)?.min(TILE_WIDTH);
        (width > 0).then_some(Self { kind, index, width: width as u16 })
    }

    /// True when it holds 256.
    pub const fn is_full(&self) -> bool {
        self.width as u64 == TILE_WIDTH
    }

    /// The full tile in the same place.
    pub const fn full(self) -> Self {
        Self { width: TILE_WIDTH as u16, ..self }
    }
}

/// Number of hashes that a tree of `tree_size` leaves has at a tile level.
pub(crate) fn hashes_at(level: u8, tree_size: u64) -> u64 {
    tree_size.checked_shr(u32::from(level) * 8).unwrap_or(0)
}

/// Every tile and bundle of a tree of `tree_size` leaves, bundles first, then levels upwards.
pub fn tiles_of(tree_size: u64) -> impl Iterator<Item = TilePath> {
    let kinds = std::iter::once(TileKind::Entries).chain((0..8).map(TileKind::Hashes));
    kinds.flat_map(move |kind| {
        (0u64..).map_while(move |index| TilePath::in_tree(kind, index, tree_size))
    })
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Entries => f.write_str("tile/entries/")?,
            TileKind::Hashes(level) => write!(f, "tile/{level}/")?,
        }
        let mut tail = format!("{:03}", self.index % 1000);
        let mut rest = self.index / 1000;
        while rest > 0 {
            let mut element = String::with_capacity(5 + tail.len());
            write!(element, "x{:03}/{tail}", rest % 1000)?;
            tail = element;
            rest /= 1000;
        }
        f.write_str(&tail)?;
        if !self.is_full() {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

fn decimal(text: &str) -> Result<u64, TileError> {
    let canonical = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    if canonical { text.parse().map_err(|_| TileError) } else { Err(TileError) }
}

impl FromStr for TilePath {
    type Err = TileError;

    fn from_str(text: &str) -> Result<Self, TileError> {
        let rest = text.strip_prefix("tile/").ok_or(TileError)?;
        let (kind, rest) = rest.split_once('/').ok_or(TileError)?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            level => match decimal(level)? {
                level @ 0..=63 => TileKind::Hashes(level as u8),
                _ => return Err(TileError),
            },
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => match decimal(width)? {
                width @ 1..=255 => (number, width as u16),
                _ => return Err(TileError),
            },
            None => (rest, TILE_WIDTH as u16),
        };
        let mut index = 0u64;
        let mut elements = number.split('/').peekable();
        while let Some(element) = elements.next() {
            let digits = if elements.peek().is_some() {
                element.strip_prefix('x').ok_or(TileError)?
            } else {
                element
            };
            if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(TileError);
            }
            let part: u64 = digits.parse().map_err(|_| TileError)?;
            index = index.checked_mul(1000).and_then(|i| i.checked_add(part)).ok_or(TileError)?;
        }
        let path = Self { kind, index, width };
        // A path has one spelling, so that no tile can be stored or cached under two names.
        if path.to_string() == text { Ok(path) } else { Err(TileError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_round_trip_and_other_spellings_are_refused() {
        let check = |text: &str, kind, index, width| {
            let path = TilePath { kind, index, width };
            assert_eq!(path.to_string(), text);
            assert_eq!(text.parse(), Ok(path), "{text}");
        };
        check("tile/0/000", TileKind::Hashes(0), 0, 256);
        check("tile/1/x001/x234/067", TileKind::Hashes(1), 1_234_067, 256);
        check("tile/entries/x001/000.p/5", TileKind::Entries, 1000, 5);
        for bad in [
            "tile/0/0",
            "tile/00/000",
            "tile/64/000",
            "tile/0/x000/001",
            "tile/0/001/002",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/x001",
            "tile/data/000",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
            "../tile/0/000",
        ] {
            assert_eq!(bad.parse::<TilePath>(), Err(TileError), "{bad}");
        }
    }

    #[test]
    fn the_specification_s_example_tree() {
        let widths = |size| {
            let mut widths = std::collections::BTreeMap::new();
            for tile in tiles_of(size) {
                widths.entry((tile.kind, tile.width)).and_modify(|n| *n += 1).or_insert(1);
            }
            widths.into_iter().collect::<Vec<_>>()
        };
        let hashes = TileKind::Hashes;
        let expect = vec![
            ((TileKind::Entries, 112), 1),
            ((TileKind::Entries, 256), 273),
            ((hashes(0), 112), 1),
            ((hashes(0), 256), 273),
            ((hashes(1), 17), 1),
            ((hashes(1), 256), 1),
            ((hashes(2), 1), 1),
        ];
        assert_eq!(widths(70_000), expect);
        let expect =
            vec![((TileKind::Entries, 256), 1), ((hashes(0), 256), 1), ((hashes(1), 1), 1)];
        assert_eq!(widths(256), expect);
    }
}
