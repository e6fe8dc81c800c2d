//! Searches the files of a directory for a text in clear: as UTF-8, UTF-16 and hexadecimal. It
//! reads whatever is a regular file, newest first, up to a bound, and follows no link.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Most bytes read in one search.
pub(super) const SEARCH_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// What names of objects of the bucket begin with, in the place of the searched directory.
pub(super) const BUCKET: &str = "bucket:";
/// Most files looked at.
const FILES_MAX: usize = 100_000;
/// Bytes read at a time.
const CHUNK_BYTES: usize = 1024 * 1024;

/// One form in which the text would be readable (Horspool's search, 1980).
struct Needle {
    form: &'static str,
    bytes: Vec<u8>,
    /// How far the window may move, by its last byte.
    shifts: [usize; 256],
}

impl Needle {
    fn new(form: &'static str, bytes: Vec<u8>) -> Self {
        let mut shifts = [bytes.len(); 256];
        for (index, byte) in bytes.iter().enumerate().take(bytes.len().saturating_sub(1)) {
            shifts[usize::from(*byte)] = bytes.len() - 1 - index;
        }
        Self { form, bytes, shifts }
    }

    fn find(&self, haystack: &[u8]) -> Option<usize> {
        let length = self.bytes.len();
        let mut start = 0;
        while let Some(window) = haystack.get(start..start + length) {
            if window == self.bytes {
                return Some(start);
            }
            start += self.shifts[usize::from(*window.last()?)];
        }
        None
    }
}

/// The text in every form that is searched for.
pub(super) struct Needles(Vec<Needle>);

impl Needles {
    /// The forms of an ASCII text.
    pub(super) fn of(text: &str) -> Self {
        let wide = |order: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(order).collect();
        Self(vec![
            Needle::new("UTF-8", text.as_bytes().to_vec()),
            Needle::new("UTF-16, little-endian", wide(u16::to_le_bytes)),
            Needle::new("UTF-16, big-endian", wide(u16::to_be_bytes)),
            Needle::new("hexadecimal", hex::encode(text).into_bytes()),
            Needle::new("hexadecimal, upper case", hex::encode_upper(text).into_bytes()),
        ])
    }

    /// The first form that is in `bytes`, and where.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<(&'static str, usize)> {
        self.0.iter().find_map(|needle| needle.find(bytes).map(|at| (needle.form, at)))
    }

    fn longest(&self) -> usize {
        self.0.iter().map(|needle| needle.bytes.len()).max().unwrap_or(0)
    }

    /// Whether each form is found where it is put: the search is worth something.
    pub(super) fn find_themselves(&self) -> bool {
        self.0.iter().all(|needle| {
            let mut buffer = vec![0x5a; 777];
            buffer.splice(333..333, needle.bytes.iter().copied());
            needle.find(&buffer) == Some(333)
        })
    }
}

/// Where the text was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hit {
    /// The file, below the searched directory.
    pub(super) file: PathBuf,
    /// The form.
    pub(super) form: &'static str,
    /// The byte it begins at.
    pub(super) offset: u64,
}

impl Hit {
    /// Where it is, as every tenant may read it. Which file it is, is said in the operator's log.
    pub(super) fn place(&self) -> String {
        let (file, offset) = (self.file.display(), self.offset);
        tracing::warn!(%file, offset, form = self.form, "a file holds a text in clear");
        let is_object = self.file.starts_with(BUCKET);
        let place = if is_object {
            "an object of the bucket of segments"
        } else {
            "a file of the data directory"
        };
        place.to_owned()
    }
}

/// What a search saw.
#[derive(Debug, Default)]
pub(super) struct Searched {
    /// Files read.
    pub(super) files: u64,
    /// Bytes read.
    pub(super) bytes: u64,
    /// Files that the bounds left out, or read in part only.
    pub(super) left_out: u64,
    /// How many of the files are readable by design.
    pub(super) public: u64,
    /// The first place where the text was found.
    pub(super) hit: Option<Hit>,
}

struct Found {
    path: PathBuf,
    modified: SystemTime,
}

/// Files that hold nothing but what anybody may know, or what the operator is told.
fn is_public(relative: &Path) -> bool {
    let in_pki = relative.parent().is_some_and(|parent| parent.ends_with("pki"));
    relative == Path::new("run.json")
        || relative == Path::new("instance.json")
        || (in_pki && relative.extension().is_some_and(|extension| extension == "pem"))
}

/// Regular files below `directory`. What vanishes meanwhile is passed by.
fn collect(directory: &Path, files: &mut Vec<Found>, left_out: &mut u64) -> std::io::Result<()> {
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        let entries = match std::fs::read_dir(&next) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            if metadata.is_dir() {
                waiting.push(entry.path());
            } else if metadata.is_file() {
                if files.len() >= FILES_MAX {
                    *left_out += 1;
                    continue;
                }
                files.push(Found { path: entry.path(), modified: metadata.modified()? });
            }
        }
    }
    Ok(())
}

/// Searches every regular file below `root`, newest first, reading at most `bytes_max` bytes.
pub(super) fn search(root: &Path, needles: &Needles, bytes_max: u64) -> std::io::Result<Searched> {
    let mut searched = Searched::default();
    let mut files = Vec::new();
    collect(root, &mut files, &mut searched.left_out)?;
    files.sort_by(|a, b| b.modified.cmp(&a.modified).then_with(|| a.path.cmp(&b.path)));
    for found in files {
        let relative = found.path.strip_prefix(root).unwrap_or(&found.path).to_owned();
        searched.public += u64::from(is_public(&relative));
        let room = bytes_max.saturating_sub(searched.bytes);
        if room == 0 {
            searched.left_out += 1;
            continue;
        }
        let file = match File::open(&found.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            file => file?,
        };
        let read = search_file(file, needles, room)?;
        searched.files += 1;
        searched.bytes += read.bytes;
        searched.left_out += u64::from(read.bytes >= room);
        if searched.hit.is_none() {
            searched.hit = read.hit.map(|(form, offset)| Hit { file: relative, form, offset });
        }
    }
    Ok(searched)
}

struct FileRead {
    bytes: u64,
    hit: Option<(&'static str, u64)>,
}

fn search_file(file: File, needles: &Needles, room: u64) -> std::io::Result<FileRead> {
    let overlap = needles.longest().saturating_sub(1);
    let mut file = file.take(room);
    let mut buffer: Vec<u8> = Vec::with_capacity(CHUNK_BYTES + overlap);
    let mut read = FileRead { bytes: 0, hit: None };
    loop {
        // A text that lies across two reads is found in the second.
        let kept = buffer.len().min(overlap);
        buffer.drain(..buffer.len() - kept);
        let start = read.bytes - kept as u64;
        let count = (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut buffer)?;
        if count == 0 {
            return Ok(read);
        }
        read.bytes += count as u64;
        if let Some((form, at)) = needles.find(&buffer) {
            read.hit = Some((form, start + at as u64));
            return Ok(read);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "vcanaryabcdefghijklmnop";

    fn file_with(bytes: &[u8]) -> (tempfile::TempDir, Searched) {
        let dir = tempfile::tempdir().expect("temporary folder");
        std::fs::create_dir_all(dir.path().join("log/deep")).expect("create");
        std::fs::write(dir.path().join("log/deep/1.log"), bytes).expect("write");
        std::fs::write(dir.path().join("run.json"), "{}").expect("write");
        let searched = search(dir.path(), &Needles::of(TEXT), SEARCH_BYTES_MAX).expect("search");
        (dir, searched)
    }

    #[test]
    fn every_form_is_found_and_located() {
        assert!(Needles::of(TEXT).find_themselves());
        let wide: Vec<u8> = TEXT.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let check = |needle: &[u8], form: &str| {
            let bytes = [&b"before"[..], needle, b"after"].concat();
            let (_dir, searched) = file_with(&bytes);
            let hit = searched.hit.expect(form);
            assert_eq!((hit.file.as_path(), hit.form), (Path::new("log/deep/1.log"), form));
            assert_eq!(hit.offset, 6);
            assert!(!hit.place().contains("log"));
        };
        check(TEXT.as_bytes(), "UTF-8");
        check(&wide, "UTF-16, little-endian");
        check(hex::encode(TEXT).as_bytes(), "hexadecimal");
        check(hex::encode_upper(TEXT).as_bytes(), "hexadecimal, upper case");
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        let (_dir, searched) = file_with(&vec![7; 3 * CHUNK_BYTES]);
        assert_eq!(searched.hit, None);
        assert_eq!((searched.files, searched.left_out), (2, 0));
        assert_eq!(searched.bytes, 3 * CHUNK_BYTES as u64 + 2);
        assert_eq!(searched.public, 1);
    }

    #[test]
    fn a_text_across_two_reads_is_found() {
        let mut bytes = vec![b'v'; CHUNK_BYTES + 100];
        let at = CHUNK_BYTES - 5;
        bytes.splice(at..at + TEXT.len(), TEXT.bytes());
        let (_dir, searched) = file_with(&bytes);
        assert_eq!(searched.hit.expect("found").offset, at as u64);
    }

    #[test]
    fn the_bound_is_kept_and_said() {
        let dir = tempfile::tempdir().expect("temporary folder");
        for name in ["a", "b"] {
            std::fs::write(dir.path().join(name), vec![0; 1000]).expect("write");
        }
        let searched = search(dir.path(), &Needles::of(TEXT), 1200).expect("search");
        assert_eq!((searched.bytes, searched.left_out), (1200, 1));
    }
}
