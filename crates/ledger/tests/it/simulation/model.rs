//! What has to be true of one log: every acknowledged leaf is there, in its place; every checkpoint
//! that was ever seen is of this one history; a pruned prefix is gone and the rest is proven.

use std::collections::BTreeMap;
use std::path::Path;

use veritwin_ledger::{Archive, LeafReference, LedgerError, SealedBatch};
use veritwin_verify::{
    Digest, ExitClass, Frontier, Leaf, SignedCheckpoint, TileKind, TilePath, VerifierKey,
    VerifyOptions, decode_bundle, leaf_hash, verify_log,
};

use super::statement;
use crate::fixture::{Submitter, World};

/// What is known of a log at a moment, to go back to.
#[derive(Clone)]
pub(crate) struct Mark {
    entries: Vec<Vec<u8>>,
    seen: BTreeMap<u64, Digest>,
    payloads: BTreeMap<u64, (Digest, Vec<u8>)>,
    previous: Option<LeafReference>,
}

/// One log as it has to be.
pub(crate) struct Known {
    pub(crate) submitter: Submitter,
    pub(crate) entries: Vec<Vec<u8>>,
    vkey: VerifierKey,
    /// Sent, and not acknowledged: each may be there, in this order, or none behind one that is
    /// not.
    pending: Vec<Vec<u8>>,
    /// Root hashes of the checkpoints that were seen.
    seen: BTreeMap<u64, Digest>,
    /// Payloads of acknowledged leaves, by leaf.
    payloads: BTreeMap<u64, (Digest, Vec<u8>)>,
    minimum_index: u64,
}

impl Known {
    pub(crate) async fn create(world: &World, archive: &Archive) -> Self {
        let submitter = Submitter::create(world, archive).await;
        let vkey = archive.summary(submitter.log).unwrap().vkey.parse().unwrap();
        Self {
            submitter,
            entries: Vec::new(),
            vkey,
            pending: Vec::new(),
            seen: BTreeMap::new(),
            payloads: BTreeMap::new(),
            minimum_index: 0,
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            entries: self.entries.clone(),
            seen: self.seen.clone(),
            payloads: self.payloads.clone(),
            previous: self.submitter.previous,
        }
    }

    /// Goes back to a moment before which no statement was.
    pub(crate) fn reset(&mut self, mark: &Mark) {
        let Mark { entries, seen, payloads, previous } = mark.clone();
        (self.submitter.previous, self.submitter.size) = (previous, entries.len() as u64);
        (self.entries, self.seen, self.payloads) = (entries, seen, payloads);
        self.pending.clear();
        self.minimum_index = 0;
    }

    /// A checkpoint that somebody was shown. Two of one size have one root, for ever.
    fn saw(&mut self, note: &str) {
        let signed = SignedCheckpoint::parse(note.as_bytes()).unwrap();
        let checkpoint = signed.verify(&self.vkey).unwrap();
        let root = *self.seen.entry(checkpoint.size).or_insert(checkpoint.root);
        assert_eq!(root, checkpoint.root, "a fork at {} leaves was signed", checkpoint.size);
    }

    /// Reads the checkpoint as anybody may.
    pub(crate) fn look(&mut self, archive: &Archive) {
        let note = archive.read(self.submitter.log, "checkpoint").unwrap().unwrap();
        self.saw(&String::from_utf8(note).unwrap());
    }

    fn acknowledged(&mut self, batch: &SealedBatch, checkpoint: &str) {
        if let Some(payload) = &batch.payload {
            let index = self.entries.len() as u64;
            self.payloads.insert(index, (batch.leaf.payload, payload.clone()));
        }
        self.entries.push(batch.entry.clone());
        self.submitter.advance(batch);
        self.saw(checkpoint);
    }

    async fn send(&mut self, archive: &Archive, batch: &SealedBatch) -> Result<(), LedgerError> {
        match archive.append(self.submitter.request(batch)).await {
            Ok(appended) => {
                assert_eq!(appended.index, self.entries.len() as u64);
                self.acknowledged(batch, &appended.checkpoint);
                Ok(())
            }
            Err(error) => {
                self.pending.push(batch.entry.clone());
                Err(error)
            }
        }
    }

    pub(crate) async fn append(
        &mut self,
        archive: &Archive,
        records: u64,
    ) -> Result<(), LedgerError> {
        let batch = self.submitter.digest(records);
        self.send(archive, &batch).await
    }

    pub(crate) async fn append_payload(
        &mut self,
        archive: &Archive,
        records: u64,
    ) -> Result<(), LedgerError> {
        let batch = self.submitter.batch(records);
        self.send(archive, &batch).await
    }

    /// Several leaves on their way at once.
    pub(crate) async fn append_several(
        &mut self,
        archive: &Archive,
        count: u64,
    ) -> Result<(), LedgerError> {
        let (mut sent, mut waiting) = (Vec::new(), Vec::new());
        let before = (self.submitter.previous, self.submitter.size);
        let mut outcome = Ok(());
        for _ in 0..count {
            let batch = self.submitter.digest(1);
            match archive.submit(self.submitter.request(&batch)).await {
                Ok(pending) => waiting.push(pending),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
            self.submitter.advance(&batch);
            sent.push(batch);
        }
        (self.submitter.previous, self.submitter.size) = before;
        for (batch, pending) in sent.iter().zip(waiting) {
            match archive.answer(pending).await {
                Ok(appended) if outcome.is_ok() => {
                    assert_eq!(appended.index, self.entries.len() as u64);
                    self.acknowledged(batch, &appended.checkpoint);
                }
                Ok(_) => unreachable!("a leaf behind one that failed was taken"),
                Err(error) => {
                    self.pending.push(batch.entry.clone());
                    outcome = Err(error);
                }
            }
        }
        outcome
    }

    pub(crate) async fn append_many(&mut self, archive: &Archive, count: u64) {
        let mut left = count;
        while left > 0 {
            let some = left.min(50);
            self.append_several(archive, some).await.unwrap();
            left -= some;
        }
        self.append_payload(archive, 1).await.unwrap();
    }

    /// The last leaf once more: it is recognised.
    pub(crate) async fn repeat_last(&mut self, archive: &Archive) -> Result<(), LedgerError> {
        let size = self.entries.len() as u64;
        let Some(entry) = self.entries.last().cloned() else { return Ok(()) };
        let leaf = Leaf::decode(&entry).unwrap();
        let payload = self.payloads.get(&(size - 1)).map(|(_, bytes)| bytes.clone());
        if payload.is_none() && leaf.payload_bytes > 0 {
            // One that was adopted after a crash: who sent it has no payload of it any more.
            return Ok(());
        }
        let request = veritwin_ledger::Append {
            log: self.submitter.log,
            expected_size: size - 1,
            cursor: 0,
            entry,
            payload,
        };
        let appended = archive.append(request).await?;
        assert!(appended.duplicate && appended.index == size - 1, "{appended:?}");
        self.saw(&appended.checkpoint);
        Ok(())
    }

    /// A leaf of a writer that has not seen the last one.
    fn stale(&mut self, previous: Option<LeafReference>, size: u64) -> SealedBatch {
        let now = (self.submitter.previous, self.submitter.size);
        (self.submitter.previous, self.submitter.size) = (previous, size);
        let batch = self.submitter.digest(1);
        (self.submitter.previous, self.submitter.size) = now;
        batch
    }

    /// A second writer with the same key goes on from before the last leaf: whatever size it
    /// believes in, it is refused.
    pub(crate) async fn second_writer(&mut self, archive: &Archive) -> Result<(), LedgerError> {
        let size = self.entries.len() as u64;
        let Some(before) = size.checked_sub(2) else { return Ok(()) };
        let entry = &self.entries[before as usize];
        let previous = Some(Leaf::decode(entry).unwrap().reference());
        let batch = self.stale(previous, size - 1);
        for believed in [size - 1, size] {
            let mut request = self.submitter.request(&batch);
            request.expected_size = believed;
            match archive.append(request).await {
                Err(LedgerError::Conflict { .. }) => {}
                Err(error) => return Err(error),
                Ok(appended) => unreachable!("a fork was taken at {}", appended.index),
            }
        }
        Ok(())
    }

    /// Two writers at once, each with a leaf behind the same one: at most one is taken.
    pub(crate) async fn race(&mut self, archive: &Archive) -> Result<(), LedgerError> {
        let both = [self.submitter.digest(1), self.submitter.digest(2)];
        let mut waiting = Vec::new();
        for batch in &both {
            waiting.push(archive.submit(self.submitter.request(batch)).await);
        }
        let mut outcome = Ok(());
        let mut taken = None;
        for (batch, pending) in both.iter().zip(waiting) {
            let answer = match pending {
                Ok(pending) => archive.answer(pending).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(appended) => {
                    assert!(taken.replace((batch, appended)).is_none(), "both were taken");
                }
                Err(LedgerError::Conflict { .. }) => {}
                Err(error) => {
                    self.pending.push(batch.entry.clone());
                    outcome = Err(error);
                }
            }
        }
        if let Some((batch, appended)) = taken {
            self.pending.clear();
            self.acknowledged(batch, &appended.checkpoint);
        }
        outcome
    }

    /// Ends as much of the prefix as there are whole bundles.
    pub(crate) async fn retention(&mut self, archive: &Archive) -> Result<(), LedgerError> {
        let minimum_index = self.entries.len() as u64 / 256 * 256;
        let batch = statement(self, minimum_index);
        self.send(archive, &batch).await?;
        self.minimum_index = self.minimum_index.max(minimum_index);
        Ok(())
    }

    fn bundle(&self, archive: &Archive, index: u64, size: u64) -> Option<Vec<Vec<u8>>> {
        let path = TilePath::in_tree(TileKind::Entries, index, size).unwrap();
        let bytes = archive.read(self.submitter.log, &path.to_string()).unwrap()?;
        Some(decode_bundle(&bytes).unwrap().into_iter().map(<[u8]>::to_vec).collect())
    }

    /// Takes what the archive has after an opening, if it may have it.
    pub(crate) fn adopt(&mut self, archive: &Archive) {
        let summary = archive.summary(self.submitter.log).unwrap();
        let known = self.entries.len() as u64;
        assert!(summary.size >= known, "{} of {known} acknowledged leaves", summary.size);
        assert!(summary.minimum_index >= self.minimum_index, "a statement is forgotten");
        self.minimum_index = summary.minimum_index;
        let mut pending = std::mem::take(&mut self.pending).into_iter();
        for index in 0..summary.size.div_ceil(256) {
            let first = index * 256;
            let Some(found) = self.bundle(archive, index, summary.size) else {
                assert!(first < self.minimum_index, "bundle {index} is not there");
                continue;
            };
            assert!(first >= self.minimum_index, "bundle {index} was ended and is shown");
            for (at, entry) in (first as usize..).zip(found) {
                match self.entries.get(at) {
                    Some(known) => assert_eq!(*known, entry, "leaf {at} is another"),
                    None => {
                        assert!(pending.any(|sent| sent == entry), "leaf {at} was never sent");
                        self.entries.push(entry);
                    }
                }
            }
        }
        let last = self.entries.last().map(|entry| Leaf::decode(entry).unwrap().reference());
        (self.submitter.previous, self.submitter.size) = (last, self.entries.len() as u64);
        assert_eq!(self.submitter.size, summary.size);
        self.look(archive);
        self.check_seen();
    }

    /// Every checkpoint that was seen is of this history.
    fn check_seen(&self) {
        let mut frontier = Frontier::new();
        let mut seen = self.seen.iter();
        let mut next = seen.next();
        for size in 0..=self.entries.len() as u64 {
            if let Some((_, root)) = next.filter(|(at, _)| **at == size) {
                assert_eq!(frontier.root(), *root, "the history at {size} leaves is another");
                next = seen.next();
            }
            if let Some(entry) = self.entries.get(size as usize) {
                frontier.push(leaf_hash(entry));
            }
        }
        assert!(next.is_none(), "a checkpoint of more leaves than there are was seen");
    }

    /// The whole of it, with nothing in the way.
    pub(crate) fn check_whole(&mut self, archive: &Archive, logs: &Path) {
        self.look(archive);
        self.check_seen();
        let log = self.submitter.log;
        let options = VerifyOptions::default();
        let report = verify_log(&archive.source(log), &options, &mut |_| {});
        assert_eq!(report.exit, ExitClass::Verified, "{report}");
        for (index, (payload, bytes)) in &self.payloads {
            let found = archive.read(log, &format!("payload/{payload}")).unwrap();
            if *index < self.minimum_index {
                assert_eq!(found, None, "the payload of pruned leaf {index}");
            } else {
                assert_eq!(found.as_ref(), Some(bytes), "the payload of leaf {index}");
            }
        }
        let own = logs.join(log.to_string());
        if !own.exists() {
            return;
        }
        for index in 0..self.minimum_index / 256 {
            let path = TilePath { kind: TileKind::Entries, index, width: 256 };
            assert!(!own.join(path.to_string()).exists(), "bundle {index} is still on the disk");
        }
    }
}
