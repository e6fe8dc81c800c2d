//! Which restores a directory went through. The log of a restored platform begins again at an
//! older position, so the positions told to the ledger archive carry the number of restores: an
//! archive that is ahead of the restored log neither gets a record twice nor misses a new one.

use std::path::Path;

use serde::{Deserialize, Serialize};
use veritwin_domain::Timestamp;

use crate::backup::files::{io, write_whole};
use crate::{Error, Result};

pub(crate) const FILE: &str = "lineage.json";
/// Largest file that is read, in bytes.
const BYTES_MAX: u64 = 1024 * 1024;
/// Bits of a cursor that hold the position; the others count restores.
const POSITION_BITS: u32 = 48;
const POSITION_MASK: u64 = (1 << POSITION_BITS) - 1;
const RESTORES_MAX: usize = 65_535;

/// One restore.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Restore {
    /// When, RFC 3339.
    at: String,
    /// The log's position from which on entries are new; learnt at the first start.
    from: Option<u64>,
}

/// The restores of a directory, oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lineage {
    restores: Vec<Restore>,
}

impl Lineage {
    pub(crate) fn read(data: &Path) -> Result<Self> {
        let path = data.join(FILE);
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Ok(facts) if facts.len() > BYTES_MAX => {
                return Err(Error::invalid_at(path.display().to_string(), "is too large"));
            }
            _ => {}
        }
        let bytes = std::fs::read(&path).map_err(io("read", &path))?;
        serde_json::from_slice(&bytes)
            .map_err(|_| Error::invalid_at(path.display().to_string(), "is damaged"))
    }

    fn write(&self, data: &Path) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(self).map_err(|e| Error::Internal(e.to_string()))?;
        write_whole(&data.join(FILE), &bytes)
    }

    /// Notes a restore in a directory that has not been opened since.
    pub(crate) fn note_restore(data: &Path, at: Timestamp) -> Result<()> {
        let mut lineage = Self::read(data)?;
        if lineage.restores.len() >= RESTORES_MAX {
            return Err(Error::invalid("this platform was restored 65,535 times"));
        }
        lineage.restores.push(Restore { at: at.to_string(), from: None });
        lineage.write(data)
    }

    /// Opens the lineage of a directory whose log ends at `tail`, before anything is appended.
    pub(crate) fn open(data: &Path, tail: u64) -> Result<Self> {
        let mut lineage = Self::read(data)?;
        if let Some(last) = lineage.restores.last_mut()
            && last.from.is_none()
        {
            last.from = Some(tail);
            lineage.write(data)?;
        }
        Ok(lineage)
    }

    /// How many restores the directory went through.
    pub(crate) fn restores(&self) -> u64 {
        self.restores.len() as u64
    }

    /// What the archive is told for a position.
    pub(crate) fn cursor(&self, position: u64) -> u64 {
        ((self.restores.len() as u64) << POSITION_BITS) | (position & POSITION_MASK)
    }

    /// The position up to which this directory's log is sealed, by what the archive tells.
    pub(crate) fn position(&self, cursor: u64) -> Result<u64> {
        let restores = usize::try_from(cursor >> POSITION_BITS).unwrap_or(usize::MAX);
        let Some(later) = self.restores.get(restores..) else {
            return Err(Error::Conflict(
                "the ledger archive was written by a later restore of this platform".to_owned(),
            ));
        };
        // What the archive has beyond the place of a restore is not in this log any more.
        let ends = later.iter().filter_map(|restore| restore.from);
        Ok(ends.fold(cursor & POSITION_MASK, u64::min))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lineage(from: &[u64]) -> Lineage {
        let restores = from.iter().map(|from| Restore { at: String::new(), from: Some(*from) });
        Lineage { restores: restores.collect() }
    }

    #[test]
    fn cursors_of_before_a_restore_end_where_it_began() {
        let check = |from: &[u64], cursor: u64, expect: Option<u64>| {
            assert_eq!(lineage(from).position(cursor).ok(), expect, "{from:?} {cursor:#x}");
        };
        let once = 1u64 << POSITION_BITS;
        check(&[], 70, Some(70));
        check(&[50], 70, Some(50));
        check(&[50], 30, Some(30));
        check(&[50], once | 70, Some(70));
        check(&[50, 60], 70, Some(50));
        check(&[50, 60], once | 70, Some(60));
        check(&[50, 40], 70, Some(40));
        check(&[], once, None);
        let lineage = lineage(&[50, 60]);
        assert_eq!(lineage.position(lineage.cursor(99)).ok(), Some(99));
    }

    #[test]
    fn a_restore_learns_its_place_at_the_first_opening() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(Lineage::open(dir.path(), 9).expect("opens").cursor(9), 9);
        assert!(!dir.path().join(FILE).exists());
        Lineage::note_restore(dir.path(), Timestamp::EPOCH).expect("noted");
        Lineage::open(dir.path(), 20).expect("opens");
        let again = Lineage::open(dir.path(), 30).expect("opens");
        assert_eq!(again.position(25).ok(), Some(20));
    }
}
