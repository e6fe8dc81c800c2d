//! Publishing of ledgers' checkpoints: what grew since the last round gets cosignatures of the
//! witnesses, a leaf in the log of logs, and now and then a time stamp. Sealing never waits for it;
//! what no witness has cosigned is shown as unwitnessed.

mod cosign;
mod roll;
mod source;
mod stamped;
mod view;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use futures::stream::{self, StreamExt as _};
use parking_lot::Mutex;
use veritwin_access::jobs;
use veritwin_domain::{LogId, TenantId};
use veritwin_metastore::PublishedCheckpoint;
use veritwin_outbound::register::EgressRegister;
use veritwin_outbound::stamp::StampClient;
use veritwin_outbound::witness::WitnessClient;
use veritwin_verify::{
    PUBLISHED_MAX, Policy, SignedCheckpoint, StampAuthorities, StampRequest, VerifierKey, sha256,
    verify_stamp,
};

pub(crate) use stamped::stamped_under;

use crate::provision::PLATFORM_TENANT;
use crate::{App, Error, Result};

/// Most logs that are published in one round; the others follow in the next.
pub const PUBLISHED_AT_ONCE_MAX: usize = 1000;
/// Logs that are being published at the same time.
const LOGS_AT_ONCE: usize = 8;
/// Most witnesses.
pub const WITNESSES_MAX: usize = 16;
/// Most tree sizes of witnesses that are remembered; beyond it they are asked again.
const KNOWN_SIZES_MAX: usize = 500_000;

/// How checkpoints of ledgers are published.
#[derive(Debug, Clone, Default)]
pub struct PublishConfig {
    /// A policy (C2SP tlog-policy) whose witnesses have addresses; none: no witnesses.
    pub policy: Option<String>,
    /// Authorities of the witnesses' certificates beside the public ones, PEM.
    pub witness_authorities_pem: Option<String>,
    /// Between two rounds.
    pub interval: Duration,
    /// Every log is witnessed by itself, not the log of logs alone.
    pub every_log: bool,
    /// The authority of time stamps; none: no time stamps.
    pub stamps: Option<StampConfig>,
}

/// An authority of time stamps (RFC 3161).
#[derive(Debug, Clone)]
pub struct StampConfig {
    /// Its address, `https://` or `http://`.
    pub url: String,
    /// Whose certificates its answers have to come from, PEM.
    pub authorities_pem: String,
    /// Authorities of its TLS certificate beside the public ones, PEM.
    pub tls_authorities_pem: Option<String>,
    /// Between two time stamps of one log.
    pub interval: Duration,
}

/// One witness.
pub(crate) struct KnownWitness {
    name: String,
    key: VerifierKey,
    client: WitnessClient,
}

struct Stamps {
    client: StampClient,
    authorities: StampAuthorities,
    interval: Duration,
}

/// Logs that grew, in the order in which they did.
#[derive(Default)]
struct Grown {
    queue: VecDeque<TenantId>,
    known: HashSet<TenantId>,
}

impl Grown {
    fn push(&mut self, tenant: TenantId) {
        if self.known.insert(tenant) {
            self.queue.push_back(tenant);
        }
    }

    fn take(&mut self, most: usize) -> Vec<TenantId> {
        let count = most.min(self.queue.len());
        let taken: Vec<TenantId> = self.queue.drain(..count).collect();
        for tenant in &taken {
            self.known.remove(tenant);
        }
        taken
    }
}

/// What publishes.
pub(crate) struct Publisher {
    policy: Option<Policy>,
    policy_text: Option<String>,
    witnesses: Vec<KnownWitness>,
    stamps: Option<Stamps>,
    interval: Duration,
    every_log: bool,
    grown: Mutex<Grown>,
    /// The tree size that a witness is known to have, by log and the witness's place.
    sizes: Mutex<HashMap<(LogId, usize), u64>>,
}

fn bad(detail: impl ToString) -> Error {
    Error::invalid(detail.to_string())
}

impl Publisher {
    /// Reads the policy, and enters witnesses and authority in the register.
    pub(crate) fn open(config: &crate::Config, egress: &Arc<EgressRegister>) -> Result<Self> {
        let publish = &config.publish;
        let policy = publish.policy.as_deref().map(Policy::parse).transpose();
        let policy = policy.map_err(|error| bad(format!("witness.policy: {error}")))?;
        let mut witnesses = Vec::new();
        for witness in policy.iter().flat_map(Policy::witnesses) {
            let Some(url) = &witness.url else { continue };
            if witnesses.len() == WITNESSES_MAX {
                let detail = format!("witness.policy: at most {WITNESSES_MAX} with an address");
                return Err(bad(detail));
            }
            let authorities = publish.witness_authorities_pem.as_deref();
            let client = WitnessClient::new(url, authorities, Arc::clone(egress));
            let client = client.map_err(|error| bad(format!("{}: {error}", witness.name)))?;
            let (name, key) = (witness.name.clone(), witness.key.clone());
            witnesses.push(KnownWitness { name, key, client });
        }
        let stamps = publish.stamps.as_ref().map(|stamps| open_stamps(stamps, egress));
        Ok(Self {
            policy,
            policy_text: publish.policy.clone(),
            witnesses,
            stamps: stamps.transpose()?,
            interval: publish.interval.max(Duration::from_millis(100)),
            every_log: publish.every_log,
            grown: Mutex::default(),
            sizes: Mutex::default(),
        })
    }

    fn is_idle(&self) -> bool {
        self.witnesses.is_empty() && self.stamps.is_none()
    }

    /// A tenant's log has another checkpoint.
    pub(crate) fn grown(&self, tenant: TenantId) {
        if !self.is_idle() {
            self.grown.lock().push(tenant);
        }
    }
}

fn open_stamps(config: &StampConfig, egress: &Arc<EgressRegister>) -> Result<Stamps> {
    let tls = config.tls_authorities_pem.as_deref();
    let client = StampClient::new(&config.url, tls, Arc::clone(egress)).map_err(bad)?;
    let authorities = StampAuthorities::from_pem(&config.authorities_pem).map_err(bad)?;
    Ok(Stamps { client, authorities, interval: config.interval })
}

impl App {
    pub(crate) fn start_publishing(&self) {
        if self.0.publisher.is_idle() {
            return;
        }
        let app = self.clone();
        self.0.tasks.spawn(async move {
            let mut looked = false;
            loop {
                tokio::select! {
                    () = app.0.stop.cancelled() => return,
                    () = tokio::time::sleep(app.0.publisher.interval) => {}
                }
                if !looked {
                    looked = app.look_at_every_log().await;
                }
                app.publish_round().await;
            }
        });
    }

    /// What grew while nobody was here; false when the records could not be asked.
    async fn look_at_every_log(&self) -> bool {
        match self.all_tenants(&self.job(jobs::LEDGER)).await {
            Ok(tenants) => {
                let mut grown = self.0.publisher.grown.lock();
                tenants.iter().for_each(|tenant| grown.push(tenant.id));
                true
            }
            Err(error) => {
                tracing::debug!(%error, "which ledgers there are is asked again");
                false
            }
        }
    }

    /// Publishes what grew, at most [`PUBLISHED_AT_ONCE_MAX`] logs. The platform's own comes last:
    /// it is the log of logs, and holds a leaf for each of the others then.
    async fn publish_round(&self) {
        let mut taken = self.0.publisher.grown.lock().take(PUBLISHED_AT_ONCE_MAX);
        taken.retain(|tenant| *tenant != PLATFORM_TENANT);
        let turns = taken.into_iter().map(|tenant| self.clone().publish_or_again(tenant));
        let mut turns = stream::iter(turns).buffer_unordered(LOGS_AT_ONCE);
        while turns.next().await.is_some() {
            if self.0.stop.is_cancelled() {
                return;
            }
        }
        self.clone().publish_or_again(PLATFORM_TENANT).await;
    }

    /// What fails, or is not witnessed as the policy wants, comes again in the next round.
    async fn publish_or_again(self, tenant: TenantId) {
        match self.publish(tenant).await {
            Ok(true) => {}
            Ok(false) => self.0.publisher.grown(tenant),
            Err(error) => {
                tracing::debug!(%tenant, %error, "a ledger's checkpoint is not published yet");
                if !matches!(error, Error::NotFound(_)) {
                    self.0.publisher.grown(tenant);
                }
            }
        }
    }

    /// Publishes the newest checkpoint of a log. True when nothing is left to be done for it.
    #[boxed]
    async fn publish(&self, tenant: TenantId) -> Result<bool> {
        let context = self.job_in(jobs::LEDGER, tenant);
        let tx = self.0.store.read(&context).await?;
        let row = tx.tenant().await?;
        let last = tx.ledger_published_newest(false, 1).await?.pop();
        let stamped = tx.ledger_published_newest(true, 1).await?.pop();
        drop(tx);
        let Some(vkey) = self.known_log_key(tenant).await? else { return Ok(true) };
        let summary = self.summary_of(row.log_id).await?;
        if summary.size == 0 {
            return Ok(true);
        }
        let damaged = |error: String| Error::Conflict(format!("ledger archive: {error}"));
        let vkey: VerifierKey = vkey.parse().map_err(|_| damaged("its key".to_owned()))?;
        let signed = SignedCheckpoint::parse(summary.checkpoint.as_bytes());
        let signed = signed.map_err(|error| damaged(error.to_string()))?;
        signed.verify(&vkey).map_err(|error| damaged(error.to_string()))?;
        let fresh = PublishedCheckpoint {
            size: summary.size,
            met: false,
            cosigned: 0,
            note: summary.checkpoint.clone().into_bytes(),
            stamp: None,
            stamped_at: None,
            roll: None,
            published_at: context.at,
        };
        let before = last.unwrap_or_else(|| PublishedCheckpoint { size: 0, ..fresh.clone() });
        if before.size > fresh.size {
            return Err(damaged(format!("the log went back behind {} leaves", before.size)));
        }
        let mut now = if before.size == fresh.size { before.clone() } else { fresh };
        let is_platform = tenant == PLATFORM_TENANT;
        // A time stamp is over the note with the cosignatures that it had.
        if now.stamp.is_none() && (is_platform || self.0.publisher.every_log) {
            self.cosign(row.log_id, &summary.checkpoint, &mut now).await?;
        }
        if !is_platform && now.roll.is_none() {
            now.roll = self.enter_in_roll(&signed).await?;
        }
        let done = now.met || !is_platform && !self.0.publisher.every_log;
        let counts = is_platform || row.archive_subscribed;
        if counts && done && now.stamp.is_none() && self.is_stamp_due(stamped.as_ref()) {
            self.stamp(&mut now).await;
        }
        let is_worth = now.cosigned > 0 || now.stamp.is_some() || now.roll.is_some();
        if now != before && is_worth {
            now.published_at = self.clock().now();
            self.keep_published(tenant, &now).await?;
        }
        Ok(done)
    }

    async fn keep_published(&self, tenant: TenantId, now: &PublishedCheckpoint) -> Result<()> {
        let tx = self.0.store.begin(&self.job_in(jobs::LEDGER, tenant)).await?;
        tx.ledger_published_put(now).await?;
        if now.met || !self.0.publisher.every_log {
            tx.ledger_published_thin(now.size).await?;
        }
        if now.stamp.is_some() {
            let most = PUBLISHED_MAX as u64;
            let sizes = tx.ledger_published_sizes(0, most.saturating_add(1)).await?;
            if sizes.len() >= PUBLISHED_MAX {
                // The oldest goes: what it vouches for, the next one vouches for too, a bit later.
                tx.ledger_published_cut(sizes.first().copied().unwrap_or(0)).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    fn is_stamp_due(&self, stamped: Option<&PublishedCheckpoint>) -> bool {
        let Some(stamps) = &self.0.publisher.stamps else { return false };
        let now = self.clock().now();
        stamped.is_none_or(|last| now.since(last.published_at) >= stamps.interval)
    }

    /// Asks for a time stamp over the note as it is stored, cosignatures included.
    async fn stamp(&self, now: &mut PublishedCheckpoint) {
        let Some(stamps) = &self.0.publisher.stamps else { return };
        let mut random = [0; veritwin_verify::STAMP_NONCE_BYTES];
        self.rng().fill(&mut random);
        let request = StampRequest::new(sha256(&now.note), random);
        let outcome = match stamps.client.stamp(request.to_der()).await {
            Err(error) => Err(error.to_string()),
            Ok(answer) => {
                let nonce = Some(request.nonce());
                let authorities = Some(&stamps.authorities);
                verify_stamp(&answer, request.imprint(), nonce, authorities)
                    .map(|stamp| (answer, stamp.at))
                    .map_err(|error| error.to_string())
            }
        };
        match outcome {
            Ok((answer, at)) => {
                now.stamp = Some(answer.to_vec());
                now.stamped_at = Some(at);
            }
            Err(problem) => tracing::warn!(problem, "no time stamp of a ledger's checkpoint"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_published_in_turn_and_once() {
        let [one, other, third] = [1, 2, 3].map(|id| TenantId::from_bytes([id; 16]));
        let mut grown = Grown::default();
        [one, other, one, third].into_iter().for_each(|tenant| grown.push(tenant));
        assert_eq!(grown.take(2), [one, other]);
        grown.push(one);
        assert_eq!(grown.take(10), [third, one]);
        assert!(grown.take(10).is_empty());
    }
}
