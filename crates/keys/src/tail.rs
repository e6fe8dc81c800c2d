//! The end of a file that is only appended to: what of it a crash may have left, what was cut off
//! it (kept in a file beside it), and the mark that says that it was closed with nothing open.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A disk writes whole blocks: of a write that a power loss stopped, whole ones are missing.
const BLOCK_BYTES: u64 = 512;
/// Most files of cut bytes that one directory keeps; beyond it the oldest goes.
pub const CUTS_MAX: usize = 16;
/// Name of the mark in a directory.
const END_FILE: &str = "closed";
const END_BYTES_MAX: u64 = 512;

/// True when `tail`, which stands at `offset` of its file, is what a power loss leaves of a write
/// that was never acknowledged: what of it lies in some block is nothing but zeros.
pub fn is_lost_block(tail: &[u8], offset: u64) -> bool {
    let in_first_block = BLOCK_BYTES - offset % BLOCK_BYTES;
    let first = tail.len().min(usize::try_from(in_first_block).unwrap_or(usize::MAX));
    let (first, rest) = tail.split_at(first);
    let is_lost = |part: &[u8]| !part.is_empty() && part.iter().all(|byte| *byte == 0);
    is_lost(first) || rest.chunks(BLOCK_BYTES as usize).any(is_lost)
}

/// Bytes that were cut off a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Where they are kept.
    pub kept: PathBuf,
    /// How many there are.
    pub bytes: u64,
}

/// Keeps what stands in `path` from `offset` on, behind `front`, in a file beside it; durable when
/// this returns.
pub fn keep(path: &Path, offset: u64, front: &[u8]) -> Result<Cut> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let known = cuts(directory)?;
    let number = known.last().map_or(1, |(number, _)| number.saturating_add(1));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let kept = directory.join(format!("{name}.cut-{number}"));
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&kept)?;
    out.write_all(front)?;
    let bytes = std::io::copy(&mut file, &mut out)?;
    out.sync_all()?;
    for (_, oldest) in known.iter().take((known.len() + 1).saturating_sub(CUTS_MAX)) {
        tracing::warn!(path = %oldest.display(), "the oldest file of cut bytes made room");
        std::fs::remove_file(oldest)?;
    }
    File::open(directory)?.sync_all()?;
    Ok(Cut { kept, bytes })
}

/// Cuts a file at `offset`, once what is cut is kept beside it.
pub fn cut(path: &Path, offset: u64) -> Result<Cut> {
    let cut = keep(path, offset, &[])?;
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(offset)?;
    file.sync_all()?;
    Ok(cut)
}

/// Files of cut bytes in a directory, oldest first.
pub fn kept(directory: &Path) -> Result<Vec<PathBuf>> {
    Ok(cuts(directory)?.into_iter().map(|(_, path)| path).collect())
}

fn cuts(directory: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for item in std::fs::read_dir(directory)? {
        let path = item?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.rsplit_once(".cut-").and_then(|(_, number)| number.parse().ok());
        if let Some(number) = number {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Says that the newest file of a directory was closed at this length, with everything in it.
pub fn mark_closed(path: &Path, bytes: u64) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let line = format!("{name} {bytes}");
    let partial = directory.join(format!("{END_FILE}.new"));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    writeln!(file, "{line} {:08x}", crc32fast::hash(line.as_bytes()))?;
    file.sync_all()?;
    std::fs::rename(&partial, directory.join(END_FILE))?;
    File::open(directory)?.sync_all()
}

/// The length at which `path` was closed; none if it was not, or the mark cannot be read.
pub fn closed_at(path: &Path) -> Result<Option<u64>> {
    let mut text = String::new();
    match File::open(path.with_file_name(END_FILE)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => match file?.take(END_BYTES_MAX).read_to_string(&mut text) {
            Err(error) if error.kind() != ErrorKind::InvalidData => return Err(error),
            _ => {}
        },
    }
    let parts = text.trim_end().rsplit_once(' ').and_then(|(line, sum)| {
        let right = u32::from_str_radix(sum, 16).ok()? == crc32fast::hash(line.as_bytes());
        let (name, bytes) = line.rsplit_once(' ')?;
        (right && path.file_name()?.to_str()? == name).then(|| bytes.parse().ok())?
    });
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_blocks_are_lost() {
        let check = |tail: &[u8], offset: u64, expect: bool| {
            assert_eq!(is_lost_block(tail, offset), expect, "{} bytes at {offset}", tail.len());
        };
        check(&[], 8, false);
        check(&[0; 20], 8, true);
        check(&[1; 20], 8, false);
        check(&[[1; 10], [0; 10]].concat(), 8, false);
        // The block that begins at byte 4096 never came.
        check(&[[1; 10], [0; 10]].concat(), 4086, true);
        check(&[[1; 10], [0; 10]].concat(), 4075, false);
        // The second block came, the first did not.
        check(&[[0; 10], [1; 10]].concat(), 4086, true);
        check(&[[0; 10], [1; 10]].concat(), 4085, false);
    }

    #[test]
    fn cut_bytes_are_kept_up_to_a_number_of_files() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.journal");
        for round in 0..CUTS_MAX as u64 + 3 {
            std::fs::write(&path, format!("right and wrong {round}")).expect("written");
            let cut = cut(&path, 5).expect("cut");
            assert_eq!(std::fs::read(&path).expect("left"), b"right");
            let text = format!(" and wrong {round}");
            assert_eq!(std::fs::read(&cut.kept).expect("kept"), text.as_bytes());
            assert_eq!(cut.bytes, text.len() as u64);
        }
        let kept = kept(dir.path()).expect("listed");
        assert_eq!(kept.len(), CUTS_MAX);
        assert!(kept[0].ends_with("a.journal.cut-4"), "{kept:?}");
    }

    #[test]
    fn the_mark_is_of_one_file_and_checked() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("one");
        assert_eq!(closed_at(&path).expect("read"), None);
        mark_closed(&path, 77).expect("marked");
        assert_eq!(closed_at(&path).expect("read"), Some(77));
        assert_eq!(closed_at(&dir.path().join("two")).expect("read"), None);
        let mark = dir.path().join(END_FILE);
        let right = std::fs::read(&mark).expect("a mark");
        for at in 0..right.len() - 1 {
            let mut wrong = right.clone();
            wrong[at] ^= 1;
            std::fs::write(&mark, wrong).expect("written");
            assert_eq!(closed_at(&path).expect("read"), None, "flip at {at}");
        }
    }
}
