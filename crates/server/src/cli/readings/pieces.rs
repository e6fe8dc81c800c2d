//! A file in pieces of whole rows: the same pieces each time, so that an import goes on with the
//! one that is next. No more than a piece of text is held.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use veritwin_ingest::bulk::{FileForm, cut_of};
use veritwin_verify::sha256;

use crate::imports::PARQUET_PIECE_BYTES_MAX;

/// Bytes of a piece of text at most.
const PIECE_BYTES: usize = 4 * 1024 * 1024;

/// A file that is read piece by piece.
pub(super) struct Pieces {
    file: File,
    form: FileForm,
    delimiter: u8,
    rest: Vec<u8>,
    is_read: bool,
    is_done: bool,
}

/// A piece.
pub(super) struct FilePiece {
    pub(super) body: Bytes,
    pub(super) is_last: bool,
}

impl Pieces {
    pub(super) fn open(path: &Path, form: FileForm, delimiter: u8) -> anyhow::Result<Self> {
        let shown = path.display();
        let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
        let bytes = file.metadata()?.len();
        ensure!(
            form != FileForm::Parquet || bytes <= PARQUET_PIECE_BYTES_MAX as u64,
            "{shown}: limit parquet_piece_bytes_max exceeded: at most {PARQUET_PIECE_BYTES_MAX}, \
             got {bytes}: write it as several files"
        );
        Ok(Self { file, form, delimiter, rest: Vec::new(), is_read: false, is_done: false })
    }

    fn fill(&mut self, bytes: usize) -> anyhow::Result<()> {
        while !self.is_read && self.rest.len() <= bytes {
            let more = (bytes + 1 - self.rest.len()) as u64;
            let read = (&mut self.file).take(more).read_to_end(&mut self.rest)?;
            self.is_read = read == 0;
        }
        Ok(())
    }

    /// The next piece; none behind the last one.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<FilePiece>> {
        if self.is_done {
            return Ok(None);
        }
        let max =
            if self.form == FileForm::Parquet { PARQUET_PIECE_BYTES_MAX } else { PIECE_BYTES };
        self.fill(max)?;
        let cut = match self.form {
            FileForm::Parquet => Some(self.rest.len()),
            form => cut_of(form, self.delimiter, &self.rest, max),
        };
        let Some(cut) = cut else {
            bail!("limit piece_bytes_max exceeded: a row is longer than {max} bytes");
        };
        let behind = self.rest.split_off(cut);
        let body = Bytes::from(std::mem::replace(&mut self.rest, behind));
        self.is_done = self.is_read && self.rest.is_empty();
        Ok(Some(FilePiece { body, is_last: self.is_done }))
    }
}

/// What tells a file from others: the hash of the hashes of its parts, and its length.
pub(super) fn fingerprint(path: &Path) -> anyhow::Result<(String, u64)> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (mut hashes, mut bytes) = (Vec::new(), 0);
    loop {
        let mut part = Vec::new();
        (&mut file).take(PIECE_BYTES as u64).read_to_end(&mut part)?;
        if part.is_empty() {
            break;
        }
        bytes += part.len() as u64;
        hashes.extend_from_slice(sha256(&part).as_bytes());
    }
    Ok((hex::encode(sha256(&hashes).as_bytes()), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_file_and_the_same_each_time() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("long.ndjson");
        let line = format!("{{\"device\":\"{}\"}}\n", "d".repeat(1_000));
        let text = line.repeat(9_000);
        std::fs::write(&path, &text).expect("written");
        let read = || {
            let mut pieces = Pieces::open(&path, FileForm::NdJson, b',').expect("opened");
            let mut all = Vec::new();
            while let Some(piece) = pieces.next().expect("a piece") {
                assert!(piece.body.len() <= PIECE_BYTES && piece.body.ends_with(b"\n"));
                all.push((piece.body, piece.is_last));
            }
            all
        };
        let first = read();
        assert_eq!(first.len(), 3);
        assert!(first.iter().map(|piece| piece.1).eq([false, false, true]));
        assert_eq!(first.iter().map(|piece| piece.0.len()).sum::<usize>(), text.len());
        assert_eq!(first, read());
        assert_eq!(fingerprint(&path).expect("read"), fingerprint(&path).expect("read"));
    }
}
