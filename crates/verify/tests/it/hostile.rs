//! Bytes made to hurt: nothing panics, nothing runs for ever, nothing is believed.

use std::collections::HashMap;
use std::io::{Cursor, Read};

use veritwin_domain::{Rng, SeededRng};
use veritwin_verify::{
    Checkpoint, Digest, DirectorySource, ExitClass, GapOptions, Leaf, LeafError, Policy,
    RecordProof, SignedCheckpoint, SignedNote, Source, SourceError, TilePath, TlogProof,
    VerifierKey, VerifyOptions, decode_bundle, gaps, proof, verify_log,
};

struct Memory(HashMap<&'static str, Vec<u8>>);

impl Source for Memory {
    fn open(&self, name: &str) -> Result<Option<Box<dyn Read + '_>>, SourceError> {
        Ok(self.0.get(name).map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn Read>))
    }
}

#[test]
fn a_checkpoint_may_claim_any_size() {
    let root = Digest::ZERO;
    for size in [1, 257, 1 << 40, i64::MAX as u64] {
        let text = Checkpoint { origin: "a.example/log".to_owned(), size, root }.text();
        let note = format!("{text}\n\u{2014} a.example/log AAAAAAAA\n");
        let tile = vec![7; 8192];
        let files = [("checkpoint", note.into_bytes()), ("tile/7/000", tile)];
        let source = Memory(HashMap::from(files));
        let report = verify_log(&source, &VerifyOptions::default(), &mut |_| {});
        assert_eq!(report.exit, ExitClass::Missing, "{size}");
        assert!(report.findings.len() <= 1000);
        let answer = proof(&source, size - 1, &VerifyOptions::default());
        assert!(answer.proof.is_none());
        let found = gaps(&source, &GapOptions::default(), &mut |_| {});
        assert!(found.gaps.is_empty() && found.checked.exit == ExitClass::Missing);
    }
}

#[test]
fn a_pipe_in_a_folder_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("checkpoint");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let Err(error) = DirectorySource::new(folder.path()).open("checkpoint") else {
        panic!("a pipe was opened");
    };
    assert_eq!(error.to_string(), "checkpoint: not a file");
}

#[test]
fn random_bytes_are_refused_in_good_order() {
    let rng = SeededRng::new(77);
    for round in 0..4000u64 {
        let mut bytes = vec![0; (rng.next_u64() % 600) as usize];
        rng.fill(&mut bytes);
        if round % 2 == 0 && bytes.len() > 2 {
            bytes[0] = 1;
            bytes[1] = (round % 8) as u8;
        }
        assert!(Leaf::decode(&bytes).is_err());
        if let Ok(entries) = decode_bundle(&bytes) {
            assert!(entries.len() <= 256);
        }
        assert!(SignedNote::parse(&bytes).is_err());
        assert!(SignedCheckpoint::parse(&bytes).is_err());
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.parse::<TilePath>().is_err());
        assert!(text.parse::<VerifierKey>().is_err());
        assert!(Policy::parse(&text).is_err());
        assert!(TlogProof::parse(&text).is_err());
        assert!(RecordProof::from_json(&text).is_err());
    }
    assert_eq!(Leaf::decode(&[2; 400]), Err(LeafError::Version(2)));
    let mut zeroes = [0; 272];
    zeroes[0] = 1;
    assert_eq!(Leaf::decode(&zeroes), Err(LeafError::Kind(0)));
}
