//! What has to hold for any bytes of a ledger: nothing has a second spelling, and nothing is
//! verified for ever. Compiled for tests, which read the kept corpus and the regressions, and for
//! the targets in `fuzz/`, which look for more.

use std::collections::HashMap;
use std::io::{Cursor, Read};

use crate::{
    AddCheckpoint, Checkpoint, Digest, ExitClass, GapOptions, Leaf, MailFile, Policy,
    ReceiptOptions, RecordProof, RollProof, SignedCheckpoint, SignedNote, Source, SourceError,
    TILE_WIDTH, TileKind, TilePath, TlogProof, VerifierKey, VerifyOptions, decode_bundle,
    encode_bundle, gaps, leaf_hash, proof, receipts, root_of, unzip_stored, verify_log,
    verify_stamp,
};

/// Most findings in a report, and the line that says that there are more.
const FINDINGS_MAX: usize = 1001;

/// Which format in the first byte, then the bytes.
pub fn ledger_formats(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else { return };
    let text = std::str::from_utf8(bytes);
    match (first % 14, text) {
        (0, _) => {
            let Ok(leaf) = Leaf::decode(bytes) else { return };
            assert_eq!(leaf.encode(), bytes, "a second spelling of a leaf");
            let _ = (leaf.verify_signature("a.example/log"), leaf.last_sequence());
        }
        (1, _) => {
            let Ok(entries) = decode_bundle(bytes) else { return };
            let again = encode_bundle(&entries);
            assert_eq!(again.as_deref(), Ok(bytes), "a second spelling of a bundle");
        }
        (2, _) => check_note(bytes),
        (3, Ok(text)) => {
            let Ok(path) = text.parse::<TilePath>() else { return };
            assert_eq!(path.to_string(), text, "a second spelling of a tile");
        }
        (4, Ok(text)) => {
            let Ok(key) = text.parse::<VerifierKey>() else { return };
            assert_eq!(key.to_string(), text, "a second spelling of a key");
        }
        (5, Ok(text)) => {
            let Ok(policy) = Policy::parse(text) else { return };
            assert!(policy.logs().len() <= text.len());
        }
        (6, Ok(text)) => {
            let Ok(proof) = TlogProof::parse(text) else { return };
            assert_eq!(proof.to_text(), text, "a second spelling of a proof");
        }
        (7, Ok(text)) => {
            let Ok(proof) = RecordProof::from_json(text) else { return };
            assert_eq!(RecordProof::from_json(&proof.to_json()), Ok(proof));
        }
        (8, Ok(text)) => {
            let Ok(checkpoint) = Checkpoint::parse(text) else { return };
            let again = checkpoint.text();
            assert!(text == again.trim_end_matches('\n') || text.starts_with(&again));
            assert_eq!(Checkpoint::parse(&again), Ok(checkpoint));
        }
        (9, _) => assert!(verify_stamp(bytes, Digest::ZERO, None, None).is_err(), "of nothing"),
        (10, Ok(text)) => {
            let Ok(proof) = RollProof::from_json(text) else { return };
            assert_eq!(RollProof::from_json(&proof.to_json()), Ok(proof));
        }
        (11, Ok(text)) => {
            let Ok((request, _)) = AddCheckpoint::parse(text) else { return };
            assert_eq!(request.to_text(), text, "a second spelling of a witness's request");
        }
        (12, _) => {
            let Ok(files) = unzip_stored(bytes) else { return };
            assert!(files.values().map(Vec::len).sum::<usize>() <= bytes.len());
        }
        (13, _) => {
            let mail = MailFile { name: "a.eml".to_owned(), bytes: bytes.to_vec() };
            let out = receipts([mail], &ReceiptOptions::default());
            assert!(out.report.findings.len() <= FINDINGS_MAX);
        }
        _ => {}
    }
}

fn check_note(bytes: &[u8]) {
    let Ok(note) = SignedNote::parse(bytes) else { return };
    assert!(bytes.starts_with(note.text().as_bytes()));
    assert!(note.text().ends_with('\n') && note.signatures().len() <= 128);
    if let Ok(signed) = SignedCheckpoint::parse(bytes) {
        assert_eq!(signed.note, note);
    }
}

/// The entries of a log as one bundle; tiles, root and checkpoint are made to fit.
pub fn ledger_log(data: &[u8]) {
    let Ok(entries) = decode_bundle(data) else { return };
    let hashes: Vec<Digest> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    let size = hashes.len() as u64;
    let (origin, root) = ("a.example/log".to_owned(), root_of(&hashes));
    let text = Checkpoint { origin, size, root }.text();
    let note = format!("{text}\n\u{2014} a.example/log AAAAAAAA\n");
    let mut files = HashMap::from([("checkpoint".to_owned(), note.into_bytes())]);
    for kind in [TileKind::Entries, TileKind::Hashes(0)] {
        let Some(path) = TilePath::in_tree(kind, 0, size.min(TILE_WIDTH)) else { continue };
        let bytes = match kind {
            TileKind::Entries => data.to_vec(),
            TileKind::Hashes(_) => hashes.iter().flat_map(|hash| *hash.as_bytes()).collect(),
        };
        files.insert(path.to_string(), bytes);
    }
    if size == TILE_WIDTH {
        let path = TilePath { kind: TileKind::Hashes(1), index: 0, width: 1 };
        files.insert(path.to_string(), root.as_bytes().to_vec());
    }
    let source = Memory(files);
    let report = verify_log(&source, &VerifyOptions::default(), &mut |_| {});
    assert!(report.findings.len() <= FINDINGS_MAX);
    if report.exit == ExitClass::Verified {
        assert!(entries.iter().all(|entry| Leaf::decode(entry).is_ok()), "no leaf, and verified");
    }
    let _ = gaps(&source, &GapOptions::default(), &mut |_| {});
    if size > 0 {
        let _ = proof(&source, size - 1, &VerifyOptions::default());
    }
}

struct Memory(HashMap<String, Vec<u8>>);

impl Source for Memory {
    fn open(&self, name: &str) -> Result<Option<Box<dyn Read + '_>>, SourceError> {
        Ok(self.0.get(name).map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn Read>))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Every file that is kept for a target, corpus and regressions.
    fn check(name: &str, target: fn(&[u8])) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
        let mut count = 0;
        for kept in ["corpus", "regressions"] {
            let Ok(files) = std::fs::read_dir(root.join(kept).join(name)) else { continue };
            for file in files {
                target(&std::fs::read(file.unwrap().path()).unwrap());
                count += 1;
            }
        }
        assert!(count > 0, "nothing is kept for {name}");
    }

    #[test]
    fn what_fuzzing_has_kept() {
        check("ledger_formats", super::ledger_formats);
        check("ledger_log", super::ledger_log);
    }
}
