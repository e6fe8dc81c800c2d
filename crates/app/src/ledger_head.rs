//! The newest checkpoint that the archive gave for each tenant's log, kept by the platform: an
//! archive that answers with less, or with another history, gets nothing more to sign. Of each log
//! the platform keeps the right edge of the tree, too: it knows what the checkpoint behind its next
//! leaf has to be, and believes no other.

use std::collections::HashMap;

use veritwin_access::jobs;
use veritwin_domain::TenantId;
use veritwin_ledger::{Appended, Source};
use veritwin_verify::{
    Digest, FindingKind, Frontier, ProofError, SignedCheckpoint, SourceTiles, TileHashes as _,
    TileKind, TilePath, VerifierKey,
};

use crate::ledger_open::OpenedLog;
use crate::{App, Error, Result};

pub(crate) const HEAD_SETTING: &str = "ledger_head";
/// Checkpoints written down in one go while the platform runs, longest unwritten first.
const SAVED_AT_ONCE_MAX: usize = 64;

struct Head {
    vkey: VerifierKey,
    /// The signed checkpoint.
    note: String,
    /// The tree that it is of.
    frontier: Frontier,
    is_saved: bool,
    /// The round in which it was last written down.
    round: u64,
}

/// The newest checkpoints of this process; they outlive the archive's connection.
#[derive(Default)]
pub(crate) struct Heads {
    of: HashMap<TenantId, Head>,
    round: u64,
}

impl Heads {
    /// Takes what the archive says of a log, if it is the log that was acknowledged before, or an
    /// extension of it.
    pub(crate) async fn open(
        &mut self,
        app: &App,
        tenant: TenantId,
        opened: &OpenedLog,
    ) -> Result<()> {
        let vkey: VerifierKey = opened
            .vkey
            .parse()
            .map_err(|_| Error::Internal("the stored ledger key is damaged".to_owned()))?;
        let known = match self.of.get(&tenant) {
            Some(head) => Some(head.note.clone()),
            None => app.known_head(tenant).await?,
        };
        let note = opened.summary.checkpoint.clone();
        let is_saved = known.as_ref() == Some(&note);
        if let Some(known) = known.filter(|_| !is_saved) {
            app.check_extends(opened, known, vkey.clone()).await?;
        }
        let frontier = app.frontier(opened, &vkey).await?;
        self.of.insert(tenant, Head { vkey, note, frontier, is_saved, round: 0 });
        Ok(())
    }

    /// The archive acknowledged the leaf with this hash, which was sent as the one with this index.
    /// Nobody else adds to the log: the checkpoint has to be that of the tree so far with it.
    pub(crate) fn note(
        &mut self,
        tenant: TenantId,
        (leaf, index): (Digest, u64),
        appended: &Appended,
    ) -> Result<()> {
        let wrong =
            |problem: &str| Error::Internal(format!("the ledger archive's answer {problem}"));
        let head = self.of.get_mut(&tenant).ok_or(Error::NotFound("ledger log"))?;
        let signed = SignedCheckpoint::parse(appended.checkpoint.as_bytes());
        let unsigned = || wrong("is not signed with the log's key");
        let signed = signed.map_err(|_| unsigned())?;
        let checkpoint = signed.verify(&head.vkey).map_err(|_| unsigned())?;
        let mut frontier = head.frontier.clone();
        frontier.push(leaf);
        let size = frontier.size();
        if appended.index != index || index + 1 != size || appended.size != size {
            return Err(wrong("names another place than the one the leaf was sent for"));
        }
        if checkpoint.size != size || checkpoint.root != frontier.root() {
            return Err(wrong("is not signed for the log as it was sent"));
        }
        head.note.clone_from(&appended.checkpoint);
        (head.frontier, head.is_saved) = (frontier, false);
        Ok(())
    }

    pub(crate) fn forget(&mut self, tenant: TenantId) {
        self.of.remove(&tenant);
    }

    /// Writes them down: all, or a bounded number. What fails for one tenant alone stays for the
    /// next time.
    pub(crate) async fn save(&mut self, app: &App, everything: bool) -> Result<()> {
        self.round += 1;
        let mut waiting: Vec<_> = self.of.iter_mut().filter(|(_, head)| !head.is_saved).collect();
        waiting.sort_by_key(|(_, head)| head.round);
        let most = if everything { waiting.len() } else { SAVED_AT_ONCE_MAX };
        for (tenant, head) in waiting.into_iter().take(most) {
            head.round = self.round;
            match app.save_head(*tenant, &head.note).await {
                Ok(()) => head.is_saved = true,
                Err(error) if app.is_database_away().await => return Err(error),
                Err(error) => {
                    tracing::debug!(%tenant, %error, "a ledger checkpoint is not written down");
                }
            }
        }
        Ok(())
    }
}

impl App {
    async fn known_head(&self, tenant: TenantId) -> Result<Option<String>> {
        let tx = self.0.store.read(&self.job_in(jobs::LEDGER, tenant)).await?;
        let Some(setting) = tx.setting(HEAD_SETTING).await? else { return Ok(None) };
        let damaged = |_| Error::Internal("the stored ledger checkpoint is damaged".to_owned());
        String::from_utf8(setting.body).map(Some).map_err(damaged)
    }

    async fn save_head(&self, tenant: TenantId, note: &str) -> Result<()> {
        let tx = self.0.store.begin(&self.job_in(jobs::LEDGER, tenant)).await?;
        tx.setting_put(HEAD_SETTING, note.as_bytes(), None).await?;
        Ok(tx.commit().await?)
    }

    /// The right edge of a log's tree as the archive has it, which has to lead to the checkpoint
    /// that it signed.
    async fn frontier(&self, opened: &OpenedLog, vkey: &VerifierKey) -> Result<Frontier> {
        let wrong = |problem: String| Error::Conflict(format!("ledger archive: {problem}"));
        let signed = SignedCheckpoint::parse(opened.summary.checkpoint.as_bytes());
        let signed = signed.map_err(|error| wrong(error.to_string()))?;
        let checkpoint = signed.verify(vkey).map_err(|error| wrong(error.to_string()))?;
        let (size, root) = (checkpoint.size, checkpoint.root);
        let source = self.archive()?.source(opened.row.log_id);
        let read = tokio::task::spawn_blocking(move || frontier_of(&source, size));
        let read = read.await.map_err(|error| Error::Internal(error.to_string()))?;
        let frontier = read.map_err(|error| wrong(error.to_string()))?;
        if frontier.root() != root {
            return Err(wrong("its hashes do not lead to the checkpoint it signed".to_owned()));
        }
        Ok(frontier)
    }

    /// Refuses a log that does not extend the checkpoint `known`.
    async fn check_extends(
        &self,
        opened: &OpenedLog,
        known: String,
        vkey: VerifierKey,
    ) -> Result<()> {
        let source = self.archive()?.source(opened.row.log_id);
        let answer = tokio::task::spawn_blocking(move || {
            veritwin_verify::consistency(&source, known.as_bytes(), &vkey)
        });
        let answer = answer.await.map_err(|error| Error::Internal(error.to_string()))?;
        let Err(finding) = answer else { return Ok(()) };
        let what = match finding.kind {
            FindingKind::Unreadable => {
                return Err(Error::Unavailable("the ledger archive does not answer".to_owned()));
            }
            FindingKind::Rewind => "went back behind what it acknowledged",
            FindingKind::Fork => "holds another history than the one it acknowledged",
            _ => "cannot prove that it holds what it acknowledged",
        };
        let log = opened.row.log_id;
        let problem = format!(
            "ledger archive: log {log} {what} ({finding}): nothing more is sealed until the \
             archive's folder is put back with every entry that it acknowledged"
        );
        Err(Error::Conflict(problem))
    }
}

/// The right edge of a tree: what the partial tiles hold, from the highest level down.
fn frontier_of(source: &dyn Source, size: u64) -> std::result::Result<Frontier, ProofError> {
    let tiles = SourceTiles::new(source);
    let mut frontier = Frontier::new();
    for level in (0..8u8).rev() {
        let hashes = size >> (8 * u32::from(level));
        let (index, width) = (hashes / 256, (hashes % 256) as u16);
        if width == 0 {
            continue;
        }
        let tile = TilePath { kind: TileKind::Hashes(level), index, width };
        for hash in tiles.hashes(tile)? {
            frontier.push_subtree(8 * u32::from(level), hash);
        }
    }
    Ok(frontier)
}

#[cfg(test)]
mod tests {
    use veritwin_domain::SeededRng;
    use veritwin_keys::SigningKey;
    use veritwin_verify::{Checkpoint, KeyAlgorithm, SourceError, leaf_hash, root_of};

    use super::*;

    const ORIGIN: &str = "archive.example/ledger/1";

    fn leaf(index: u64) -> Digest {
        leaf_hash(&index.to_be_bytes())
    }

    fn tree(size: u64) -> Frontier {
        let mut frontier = Frontier::new();
        (0..size).for_each(|index| frontier.push(leaf(index)));
        frontier
    }

    /// What an archive with this key signs.
    fn signed(key: &SigningKey, size: u64, root: Digest) -> String {
        let public = key.public_bytes();
        let vkey = VerifierKey::new(ORIGIN, KeyAlgorithm::Ed25519, public).expect("a key");
        let text = Checkpoint { origin: ORIGIN.to_owned(), size, root }.text();
        format!("{text}\n{}", vkey.signature_line(&key.sign(text.as_bytes())))
    }

    #[test]
    fn of_what_an_archive_signs_only_the_tree_that_was_sent_is_believed() {
        let rng = SeededRng::new(1);
        let (key, other) = (SigningKey::generate(&rng), SigningKey::generate(&rng));
        let tenant = TenantId::from_bytes([1; 16]);
        let vkey = VerifierKey::new(ORIGIN, KeyAlgorithm::Ed25519, key.public_bytes());
        let head = Head {
            vkey: vkey.expect("a key"),
            note: signed(&key, 100, tree(100).root()),
            frontier: tree(100),
            is_saved: true,
            round: 0,
        };
        let mut heads = Heads::default();
        heads.of.insert(tenant, head);
        let mut note = |index: u64, size: u64, checkpoint: String| {
            let appended = Appended { index, size, checkpoint, duplicate: false };
            heads.note(tenant, (leaf(100), 100), &appended).map_err(|error| error.to_string())
        };
        let right = signed(&key, 101, tree(101).root());
        let refused = [
            // A genuine checkpoint of before, whatever is said of it.
            note(100, 101, signed(&key, 50, tree(50).root())),
            note(100, 50, signed(&key, 50, tree(50).root())),
            note(100, 100, signed(&key, 100, tree(100).root())),
            // Of another history, or of more than was sent.
            note(100, 101, signed(&key, 101, tree(102).root())),
            note(100, 102, signed(&key, 102, tree(102).root())),
            note(101, 101, right.clone()),
            note(100, 102, right.clone()),
            note(100, 101, signed(&other, 101, tree(101).root())),
        ];
        for (at, refused) in refused.into_iter().enumerate() {
            let told = refused.expect_err("believed");
            assert!(told.contains("the ledger archive's answer"), "{at}: {told}");
        }
        note(100, 101, right.clone()).expect("the tree as it was sent");
        let again = note(100, 101, right).expect_err("there is one leaf of each index");
        assert!(again.contains("another place"), "{again}");
    }

    /// The hash tiles of a tree.
    struct Tiles(u64);

    impl Source for Tiles {
        fn open(
            &self,
            name: &str,
        ) -> std::result::Result<Option<Box<dyn std::io::Read + '_>>, SourceError> {
            let tile: TilePath = name.parse().expect("a tile");
            let TileKind::Hashes(level) = tile.kind else { return Ok(None) };
            assert!(tile.index * 256 + u64::from(tile.width) <= self.0 >> (8 * u32::from(level)));
            let each = 1u64 << (8 * u32::from(level));
            let mut bytes = Vec::new();
            for hash in 0..u64::from(tile.width) {
                let first = (tile.index * 256 + hash) * each;
                let leaves: Vec<_> = (first..first + each).map(leaf).collect();
                bytes.extend_from_slice(root_of(&leaves).as_bytes());
            }
            Ok(Some(Box::new(std::io::Cursor::new(bytes))))
        }
    }

    #[test]
    fn the_edge_of_a_tree_is_read_from_its_partial_tiles() {
        for size in [0, 1, 3, 255, 256, 257, 512, 700, 65_536, 66_100] {
            let frontier = frontier_of(&Tiles(size), size).expect("the tiles");
            assert_eq!(frontier, tree(size), "{size}");
        }
    }
}
