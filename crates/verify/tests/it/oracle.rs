//! Comparison with independent implementations.

use signed_note::{Note, StandardSigner, StandardVerifier, VerifierList};
use tlog_tiles::{Hash, HashReader, Tile};
use veritwin_verify::{
    Checkpoint, Digest, Frontier, KeyAlgorithm, ProofError, SignedCheckpoint, SignedNote,
    TileHashes, TileKind, TilePath, TlogProof, TlogProofError, VerifierKey, consistency_path,
    inclusion_path, leaf_hash, node_hash, root_of, verify_consistency, verify_inclusion,
};

/// RFC 8032, section 7.1, tests 1 and 2.
const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";

#[derive(Default)]
struct Oracle {
    stored: Vec<Hash>,
    leaves: Vec<Digest>,
}

impl HashReader for Oracle {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.stored[*index as usize]).collect())
    }
}

impl TileHashes for Oracle {
    fn hashes(&self, tile: TilePath) -> Result<Vec<Digest>, ProofError> {
        let TileKind::Hashes(level) = tile.kind else { panic!("no proof needs entries") };
        let span = 256usize.pow(u32::from(level));
        let all = self.leaves.chunks_exact(span).skip(tile.index as usize * 256);
        Ok(all.take(usize::from(tile.width)).map(root_of).collect())
    }
}

impl Oracle {
    fn of(size: u64) -> Self {
        let mut oracle = Self::default();
        for n in 0..size {
            let entry = format!("entry {n}");
            let more = tlog_tiles::stored_hashes(n, entry.as_bytes(), &oracle).unwrap();
            oracle.stored.extend(more);
            oracle.leaves.push(leaf_hash(entry.as_bytes()));
        }
        oracle
    }

    fn root(&self, size: u64) -> Digest {
        ours(tlog_tiles::tree_hash(size, self).unwrap())
    }
}

fn ours(hash: Hash) -> Digest {
    Digest::from_bytes(hash.0)
}

fn theirs(digest: Digest) -> Hash {
    Hash(*digest.as_bytes())
}

#[test]
fn roots_and_proofs_agree() {
    let oracle = Oracle::of(600);
    let mut frontier = Frontier::new();
    assert_eq!(frontier.root(), oracle.root(0));
    for (n, leaf) in oracle.leaves.iter().enumerate() {
        frontier.push(*leaf);
        assert_eq!(frontier.root(), oracle.root(n as u64 + 1), "size {}", n + 1);
    }
    let sizes = [1, 2, 3, 5, 7, 8, 100, 255, 256, 257, 300, 511, 512, 513, 600];
    for size in sizes {
        let root = oracle.root(size);
        for index in [0, 1, size / 3, size / 2, size.saturating_sub(2), size - 1] {
            if index >= size {
                continue;
            }
            let path = inclusion_path(&oracle, index, size).unwrap();
            let proof = tlog_tiles::prove_record(size, index, &oracle).unwrap();
            assert_eq!(path, proof.into_iter().map(ours).collect::<Vec<_>>(), "{index} of {size}");
            let leaf = oracle.leaves[index as usize];
            assert_eq!(verify_inclusion(index, leaf, &path, size, root), Ok(()));
            let proof = path.iter().copied().map(theirs).collect();
            tlog_tiles::check_record(&proof, size, theirs(root), index, theirs(leaf)).unwrap();
            refuses_changed_path(index, leaf, &path, size, root);
        }
        for old in sizes.into_iter().filter(|old| *old <= size) {
            let path = consistency_path(&oracle, old, size).unwrap();
            let proof = tlog_tiles::prove_tree(size, old, &oracle).unwrap();
            assert_eq!(path, proof.iter().copied().map(ours).collect::<Vec<_>>(), "{old} {size}");
            let (old_tree, tree) = ((old, oracle.root(old)), (size, root));
            assert_eq!(verify_consistency(old_tree, tree, &path), Ok(()), "{old} to {size}");
            let forged = (old, node_hash(&root, &root));
            assert!(verify_consistency(forged, tree, &path).is_err(), "{old} to {size}");
            if !path.is_empty() {
                assert!(verify_consistency(old_tree, tree, &path[1..]).is_err());
            }
        }
    }
}

fn refuses_changed_path(index: u64, leaf: Digest, path: &[Digest], size: u64, root: Digest) {
    for position in 0..path.len() {
        let mut changed = path.to_vec();
        changed[position] = node_hash(&changed[position], &leaf);
        assert!(verify_inclusion(index, leaf, &changed, size, root).is_err());
        changed.remove(position);
        assert!(verify_inclusion(index, leaf, &changed, size, root).is_err());
    }
    assert!(verify_inclusion(index + 1, leaf, path, size, root).is_err());
    assert!(verify_inclusion(index, root, path, size, root).is_err() || size == 1);
}

#[test]
fn tile_paths_agree() {
    for (level, index, width) in
        [(0, 0, 256), (1, 5, 17), (0, 1_234_067, 256), (3, 999, 255), (2, 1000, 1)]
    {
        let path = TilePath { kind: TileKind::Hashes(level), index, width };
        let tile = Tile::new(8, level, index, u32::from(width), false);
        let theirs = tile.path().replacen("tile/8/", "tile/", 1);
        assert_eq!(path.to_string(), theirs);
    }
}

fn signer(name: &str) -> (StandardSigner, VerifierKey) {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let seed = hex::decode(SEED).unwrap();
    let public =
        hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").unwrap();
    let key = VerifierKey::new(name, KeyAlgorithm::Ed25519, public.try_into().unwrap()).unwrap();
    let secret = STANDARD.encode([&[1][..], &seed].concat());
    let text = format!("PRIVATE+KEY+{name}+{:08x}+{secret}", key.key_id());
    (StandardSigner::new(&text).unwrap(), key)
}

#[test]
fn notes_of_the_other_implementation_verify_here_and_the_other_way_round() {
    let (signer, key) = signer("example.com/log");
    let root = root_of(&[leaf_hash(b"a")]);
    let checkpoint = Checkpoint { origin: "example.com/log".to_owned(), size: 1, root };
    let parsed = tlog_tiles::Checkpoint::from_bytes(checkpoint.text().as_bytes()).unwrap();
    assert_eq!((parsed.origin(), parsed.size()), ("example.com/log", 1));
    assert_eq!(ours(*parsed.hash()), root);

    let mut note = Note::new(checkpoint.text().as_bytes(), &[]).unwrap();
    note.add_sigs(&[&signer]).unwrap();
    let signed = SignedCheckpoint::parse(&note.to_bytes()).unwrap();
    assert_eq!(signed.verify(&key).unwrap(), &checkpoint);

    // Rebuilt from our parts it is the same note, byte for byte.
    let line = key.signature_line(&signed.note.signatures()[0].signature);
    let rebuilt = format!("{}\n{line}", signed.note.text());
    assert_eq!(rebuilt.as_bytes(), note.to_bytes());
    let verifier = StandardVerifier::new(&key.to_string()).unwrap();
    let list = VerifierList::new(vec![Box::new(verifier)]);
    assert_eq!(Note::from_bytes(rebuilt.as_bytes()).unwrap().verify(&list).unwrap().0.len(), 1);
    assert_eq!(key.to_string().parse::<VerifierKey>().unwrap(), key);
}

#[test]
fn notes_are_refused_alike() {
    let (signer, key) = signer("example.com/log");
    let mut note = Note::new(b"example.com/log\n1\ntext\n", &[]).unwrap();
    note.add_sigs(&[&signer]).unwrap();
    let good = note.to_bytes();
    let verifier = || StandardVerifier::new(&key.to_string()).unwrap();
    for position in 0..good.len() {
        for bit in [1u8, 0x20, 0x80] {
            let mut bad = good.clone();
            bad[position] ^= bit;
            let here = SignedNote::parse(&bad).and_then(|note| key.verify(&note)).is_ok();
            let list = VerifierList::new(vec![Box::new(verifier())]);
            let there = Note::from_bytes(&bad).is_ok_and(|note| note.verify(&list).is_ok());
            assert_eq!(here, there, "byte {position} bit {bit:#x}");
            assert!(!here, "byte {position} bit {bit:#x}");
        }
    }
    for bad in ["", "\n", "a\n", "a\n\n", "a\n\nb\n", "a\n\n\u{2014} x\n", "a\n\n\u{2014} x y z\n"]
    {
        assert!(SignedNote::parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
}

#[test]
fn proof_text_round_trips_and_bad_lines_are_named() {
    let oracle = Oracle::of(300);
    let (signer, _) = signer("example.com/log");
    let root = oracle.root(300);
    let text = Checkpoint { origin: "example.com/log".to_owned(), size: 300, root }.text();
    let mut note = Note::new(text.as_bytes(), &[]).unwrap();
    note.add_sigs(&[&signer]).unwrap();
    let proof = TlogProof {
        entry: Some(b"entry 7".to_vec()),
        index: 7,
        path: inclusion_path(&oracle, 7, 300).unwrap(),
        checkpoint: String::from_utf8(note.to_bytes()).unwrap(),
    };
    let text = proof.to_text();
    assert_eq!(TlogProof::parse(&text).unwrap(), proof);
    let check = |text: String, wanted: usize| match TlogProof::parse(&text) {
        Err(TlogProofError::Line { line, .. }) => assert_eq!(line, wanted, "{text}"),
        other => panic!("{other:?} for {text}"),
    };
    check(text.replace("proof@v1", "proof@v2"), 1);
    check(text.replace("extra ", "extra !"), 2);
    check(text.replace("index 7", "index 07"), 3);
    check(text.replace("index 7", "idx 7"), 3);
    let first = proof.path[0].to_base64();
    check(text.replace(&first, &first[1..]), 4);
}
