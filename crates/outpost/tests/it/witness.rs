//! A witness and its client: what is cosigned, what is refused, and what a restart remembers.

use std::sync::Arc;

use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use veritwin_domain::{ManualClock, SeededRng, Timestamp};
use veritwin_keys::SigningKey;
use veritwin_outbound::register::EgressRegister;
use veritwin_outbound::witness::{WitnessClient, WitnessReply};
use veritwin_outpost::witness::{
    Witness, WitnessConfig, WitnessError, witness_key, witnessed_logs,
};
use veritwin_verify::{
    AddCheckpoint, Checkpoint, Digest, KeyAlgorithm, Policy, ProofError, SignedCheckpoint,
    TileHashes, TileKind, TilePath, VerifierKey, consistency_path, leaf_hash, root_of,
    valid_cosignatures,
};

const SEED_KEY: u64 = 5;

/// A log in memory, with at most 256 leaves: one tile.
pub(crate) struct Log {
    origin: String,
    key: SigningKey,
    leaves: Vec<Digest>,
}

impl TileHashes for Log {
    fn hashes(&self, tile: TilePath) -> Result<Vec<Digest>, ProofError> {
        assert_eq!(tile.kind, TileKind::Hashes(0));
        Ok(self.leaves[..usize::from(tile.width)].to_vec())
    }
}

impl Log {
    pub(crate) fn new(origin: &str, leaves: u8) -> Self {
        let key = SigningKey::generate(&SeededRng::new(SEED_KEY));
        let leaves = (0..leaves).map(|leaf| leaf_hash(&[leaf])).collect();
        Self { origin: origin.to_owned(), key, leaves }
    }

    pub(crate) fn vkey(&self) -> VerifierKey {
        VerifierKey::new(&self.origin, KeyAlgorithm::Ed25519, self.key.public_bytes()).unwrap()
    }

    pub(crate) fn checkpoint(&self, size: usize) -> String {
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            size: size as u64,
            root: root_of(&self.leaves[..size]),
        };
        let text = checkpoint.text();
        let line = self.vkey().signature_line(&self.key.sign(text.as_bytes()));
        format!("{text}\n{line}")
    }

    fn request(&self, old: usize, new: usize) -> AddCheckpoint {
        let proof = consistency_path(self, old as u64, new as u64).unwrap();
        AddCheckpoint { old_size: old as u64, proof, note: self.checkpoint(new) }
    }
}

struct World {
    directory: TempDir,
    log: Log,
}

struct Running {
    client: WitnessClient,
    vkey: VerifierKey,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), WitnessError>>,
}

impl Running {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }

    /// The HTTP status, with what is in the body of a conflict.
    async fn ask(&self, request: &AddCheckpoint) -> (u16, String) {
        match self.client.add_checkpoint(request.to_text()).await.unwrap() {
            WitnessReply::Cosigned(lines) => (200, lines),
            WitnessReply::Conflict(size) => (409, size),
            WitnessReply::Refused(status) => (status, String::new()),
        }
    }
}

impl World {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), log: Log::new("log.example/a", 200) }
    }

    fn config(&self) -> WitnessConfig {
        let now = Timestamp::parse_rfc3339("2026-03-01T08:00:00Z").unwrap();
        WitnessConfig {
            directory: self.directory.path().join("witness"),
            root_key: self.directory.path().join("witness.key"),
            listen: "127.0.0.1:0".parse().unwrap(),
            names: vec!["127.0.0.1".to_owned()],
            name: "witness.example/w1".to_owned(),
            logs: vec![self.log.vkey()],
            logs_file: None,
            clock: Arc::new(ManualClock::new(now)),
            rng: Arc::new(SeededRng::new(1)),
        }
    }

    async fn start(&self) -> Running {
        let witness = Witness::bind(self.config()).await.unwrap();
        let (address, vkey) = (witness.address(), witness.vkey().clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(witness.run(async {
            stopped.await.ok();
        }));
        let certificate = self.directory.path().join("witness/certificate.pem");
        let authority = std::fs::read_to_string(certificate).unwrap();
        let register = Arc::new(EgressRegister::default());
        let client = WitnessClient::new(&format!("https://{address}/"), Some(&authority), register);
        Running { client: client.unwrap(), vkey, stop, task }
    }
}

#[tokio::test]
async fn a_checkpoint_that_extends_the_last_is_cosigned() {
    let world = World::new();
    let running = world.start().await;
    let first = world.log.request(0, 10);
    let (status, lines) = running.ask(&first).await;
    assert_eq!(status, 200);
    let found = valid_cosignatures(&first.note, &lines, std::slice::from_ref(&running.vkey));
    assert_eq!(found.len(), 1);
    let signed = SignedCheckpoint::parse(format!("{}{}", first.note, found[0]).as_bytes()).unwrap();
    assert_eq!(running.vkey.verify(&signed.note).unwrap(), 1_772_352_000);
    let policy = format!("witness w {}\nquorum w\n", running.vkey);
    assert!(Policy::parse(&policy).unwrap().evaluate(&signed).met);
    // The same once more, then more leaves.
    assert_eq!(running.ask(&world.log.request(10, 10)).await.0, 200);
    assert_eq!(running.ask(&world.log.request(10, 150)).await.0, 200);
    running.stop().await;
}

#[tokio::test]
async fn whatever_else_is_refused_with_its_status() {
    let mut world = World::new();
    let running = world.start().await;
    assert_eq!(running.ask(&world.log.request(0, 100)).await.0, 200);
    let check = async |request: AddCheckpoint, status: u16, body: &str| {
        assert_eq!(running.ask(&request).await, (status, body.to_owned()));
    };
    check(world.log.request(0, 120), 409, "100\n").await;
    check(world.log.request(90, 120), 409, "100\n").await;
    // Back to fewer leaves.
    check(AddCheckpoint { old_size: 100, proof: Vec::new(), ..world.log.request(0, 50) }, 400, "")
        .await;
    check(world.log.request(20, 50), 409, "100\n").await;
    // Without a proof, with a wrong one, and with one too many.
    let good = world.log.request(100, 150);
    check(AddCheckpoint { proof: Vec::new(), ..good.clone() }, 422, "").await;
    let mut wrong = good.clone();
    wrong.proof[0] = Digest::ZERO;
    check(wrong, 422, "").await;
    let mut longer = good.clone();
    longer.proof.push(Digest::ZERO);
    check(longer, 422, "").await;
    // Another log, and another key of this one.
    check(Log::new("log.example/b", 5).request(0, 5), 404, "").await;
    let mut forged = Log::new("log.example/a", 5);
    forged.key = SigningKey::generate(&SeededRng::new(99));
    check(forged.request(0, 5), 403, "").await;
    // Another history of the same length, and one that is longer.
    world.log.leaves[3] = Digest::ZERO;
    check(world.log.request(100, 100), 409, "100\n").await;
    check(world.log.request(100, 150), 422, "").await;
    assert_eq!(running.ask(&good).await.0, 200);
    running.stop().await;
}

#[tokio::test]
async fn a_restart_and_a_second_process_change_nothing() {
    let world = World::new();
    let key = witness_key(&world.config()).unwrap();
    let running = world.start().await;
    assert_eq!(running.vkey, key);
    assert_eq!(running.ask(&world.log.request(0, 40)).await.0, 200);
    let second = Witness::bind(world.config()).await.unwrap_err().to_string();
    assert!(second.contains("runs in"), "{second}");
    running.stop().await;
    let seen = witnessed_logs(&world.config().directory, &[world.log.vkey()]).unwrap();
    assert_eq!((seen.len(), seen[0].size), (1, 40));
    let running = world.start().await;
    assert_eq!(running.vkey, key);
    assert_eq!(running.ask(&world.log.request(0, 30)).await, (409, "40\n".to_owned()));
    assert_eq!(running.ask(&world.log.request(40, 41)).await.0, 200);
    running.stop().await;
    // A file that was changed stops the start: forgetting would be a way back.
    let folder = world.directory.path().join("witness/logs");
    let file = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let note = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, note.replacen("\n41\n", "\n40\n", 1)).unwrap();
    let damaged = Witness::bind(world.config()).await.unwrap_err();
    assert!(matches!(damaged, WitnessError::Damaged(_)), "{damaged}");
}
