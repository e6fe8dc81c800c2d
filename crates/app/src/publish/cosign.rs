//! Cosignatures of witnesses: all are asked at once, each with the proof from where it stands.

use std::slice;

use futures::future::join_all;
use veritwin_domain::LogId;
use veritwin_metastore::PublishedCheckpoint;
use veritwin_outbound::witness::WitnessReply;
use veritwin_verify::{
    AddCheckpoint, Digest, SignedCheckpoint, consistency_at, tree_size, valid_cosignatures,
};

use super::{KNOWN_SIZES_MAX, KnownWitness};
use crate::{App, Error, Result};

/// How often a witness that stands elsewhere than thought is asked in one round.
const TURNS_MAX: usize = 3;

/// Why a witness did not cosign.
enum Unsigned {
    /// It did not answer lately, and was not asked.
    NotAsked,
    /// It did not answer, or refused.
    Refused(String),
    /// What it has seen contradicts the archive's log.
    Contradicted(String),
}

impl App {
    /// Adds the cosignatures that a checkpoint lacks; a witness that refuses is left out. The
    /// answer is what a witness contradicts.
    pub(super) async fn cosign(
        &self,
        log: LogId,
        base: &str,
        now: &mut PublishedCheckpoint,
    ) -> Result<Option<String>> {
        let publisher = &self.0.publisher;
        let damaged = || Error::Internal("a published checkpoint is damaged".to_owned());
        let mut note = String::from_utf8(now.note.clone()).map_err(|_| damaged())?;
        let signed = SignedCheckpoint::parse(note.as_bytes());
        let signed = signed.map_err(|_| damaged())?;
        let lacking = publisher
            .witnesses
            .iter()
            .enumerate()
            .filter(|(_, witness)| witness.key.verify(&signed.note).is_err());
        let size = now.size;
        let asked = lacking.map(|(place, witness)| async move {
            let answer = self.ask(log, (place, witness), base, size).await;
            (witness, answer)
        });
        let mut contradicted = None;
        for (witness, answer) in join_all(asked).await {
            let witness = witness.name.as_str();
            match answer {
                Ok(line) => note.push_str(&line),
                Err(Unsigned::NotAsked) => {}
                Err(Unsigned::Refused(problem)) => {
                    tracing::debug!(witness, problem, %log, "a witness did not cosign");
                }
                Err(Unsigned::Contradicted(problem)) => {
                    contradicted = Some(format!("{witness}: {problem}"));
                }
            }
        }
        let signed = SignedCheckpoint::parse(note.as_bytes()).map_err(|_| damaged())?;
        now.note = note.into_bytes();
        now.met = match &publisher.policy {
            Some(policy) => {
                let state = policy.evaluate(&signed);
                now.cosigned = state.cosigned.len() as u64;
                state.met
            }
            None => true,
        };
        Ok(contradicted)
    }

    /// Asks one witness; the answer is its line, or why there is none.
    async fn ask(
        &self,
        log: LogId,
        (place, witness): (usize, &KnownWitness),
        base: &str,
        size: u64,
    ) -> std::result::Result<String, Unsigned> {
        if !witness.breaker.may_ask(self.clock().monotonic()) {
            return Err(Unsigned::NotAsked);
        }
        let refused = |problem: &str| Unsigned::Refused(problem.to_owned());
        let mut old = self.0.publisher.sizes.lock().get(&(log, place)).copied().unwrap_or(0);
        for _ in 0..TURNS_MAX {
            let proof = self.extension(log, old, size).await.map_err(Unsigned::Refused)?;
            let request = AddCheckpoint { old_size: old, proof, note: base.to_owned() };
            let reply = match witness.client.add_checkpoint(request.to_text()).await {
                Ok(reply) => reply,
                Err(error) => {
                    if witness.breaker.failed(self.clock().monotonic()) {
                        let witness = witness.name.as_str();
                        tracing::warn!(witness, %error, "a witness does not answer");
                    }
                    return Err(Unsigned::Refused(error.to_string()));
                }
            };
            witness.breaker.answered();
            match reply {
                WitnessReply::Cosigned(lines) => {
                    let key = slice::from_ref(&witness.key);
                    let line = valid_cosignatures(base, &lines, key).pop();
                    let line = line.ok_or_else(|| refused("its cosignature does not verify"))?;
                    self.witness_has(log, place, size);
                    return Ok(line);
                }
                WitnessReply::Conflict(text) => {
                    let known = tree_size(text.trim_end_matches('\n'));
                    let known = known.ok_or_else(|| refused("its conflict names no tree size"))?;
                    if known > size {
                        return Err(Unsigned::Contradicted(format!(
                            "it has seen {known} leaves, and the archive has {size}: the log was \
                             set back"
                        )));
                    }
                    if known == old {
                        return Err(Unsigned::Contradicted(format!(
                            "it has seen another tree of {known} leaves"
                        )));
                    }
                    old = known;
                    self.witness_has(log, place, known);
                }
                WitnessReply::Refused(status) => {
                    return Err(Unsigned::Refused(format!("it answered {status}")));
                }
            }
        }
        Err(refused("it stands elsewhere each time it is asked"))
    }

    fn witness_has(&self, log: LogId, place: usize, size: u64) {
        let mut sizes = self.0.publisher.sizes.lock();
        if sizes.len() >= KNOWN_SIZES_MAX {
            sizes.clear();
        }
        sizes.insert((log, place), size);
    }

    async fn extension(
        &self,
        log: LogId,
        old: u64,
        size: u64,
    ) -> std::result::Result<Vec<Digest>, String> {
        if old == 0 || old >= size {
            return Ok(Vec::new());
        }
        let source = self.archive().map_err(|error| error.to_string())?.source(log);
        let built = tokio::task::spawn_blocking(move || consistency_at(&source, old, size));
        let built = built.await.map_err(|error| error.to_string())?;
        built.map_err(|error| error.to_string())
    }
}
