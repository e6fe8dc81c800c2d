//! Publishing of ledgers' checkpoints: what grew since the last round gets cosignatures of the
//! witnesses, a place in the log of logs, and now and then a time stamp. A round seals one leaf,
//! whatever grew; what no witness has cosigned is shown as unwitnessed.

mod breaker;
mod cosign;
mod draft;
mod roll;
mod source;
mod stamped;
mod view;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use parking_lot::Mutex;
use veritwin_access::jobs;
use veritwin_domain::{LogId, TenantId};
use veritwin_outbound::register::EgressRegister;
use veritwin_outbound::stamp::StampClient;
use veritwin_outbound::witness::WitnessClient;
use veritwin_verify::{Policy, StampAuthorities, VerifierKey};

use breaker::Breaker;
use draft::Draft;
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
    breaker: Breaker,
}

struct Stamps {
    client: StampClient,
    authorities: StampAuthorities,
    interval: Duration,
    breaker: Breaker,
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
    witnesses: Vec<KnownWitness>,
    stamps: Option<Stamps>,
    interval: Duration,
    every_log: bool,
    grown: Mutex<Grown>,
    /// The tree size that a witness is known to have, by log and the witness's place.
    sizes: Mutex<HashMap<(LogId, usize), u64>>,
    /// What contradicts the archive's log of a tenant.
    alarms: Mutex<HashMap<(TenantId, Contradicts), String>>,
}

/// What a log may contradict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Contradicts {
    /// What was published of it before.
    Published,
    /// What a witness has seen.
    Witness,
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
            witnesses.push(KnownWitness { name, key, client, breaker: Breaker::default() });
        }
        let stamps = publish.stamps.as_ref().map(|stamps| open_stamps(stamps, egress));
        Ok(Self {
            policy,
            witnesses,
            stamps: stamps.transpose()?,
            interval: publish.interval.max(Duration::from_millis(100)),
            every_log: publish.every_log,
            grown: Mutex::default(),
            sizes: Mutex::default(),
            alarms: Mutex::default(),
        })
    }

    fn is_idle(&self) -> bool {
        self.witnesses.is_empty() && self.stamps.is_none()
    }

    /// Notes what contradicts what was published of a tenant's log; said once, shown as long as it
    /// is so.
    fn alarm(&self, (tenant, what): (TenantId, Contradicts), problem: Option<String>) {
        let mut alarms = self.alarms.lock();
        let Some(problem) = problem else {
            alarms.remove(&(tenant, what));
            return;
        };
        if alarms.get(&(tenant, what)) != Some(&problem) {
            tracing::error!(%tenant, problem, "a ledger contradicts what was published of it");
            alarms.insert((tenant, what), problem);
        }
    }

    fn alarm_of(&self, tenant: TenantId) -> Option<String> {
        let alarms = self.alarms.lock();
        let known = [Contradicts::Published, Contradicts::Witness];
        known.into_iter().find_map(|what| alarms.get(&(tenant, what)).cloned())
    }

    /// Forgets what contradicts the log of a tenant that is gone.
    fn forget(&self, tenant: TenantId) {
        self.alarms.lock().retain(|(of, _), _| *of != tenant);
    }

    /// How many logs contradict what was published of them, or what a witness has seen.
    pub(crate) fn contradicted_logs(&self) -> usize {
        let alarms = self.alarms.lock();
        let tenants: HashSet<TenantId> = alarms.keys().map(|(tenant, _)| *tenant).collect();
        tenants.len()
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
    let breaker = Breaker::default();
    Ok(Stamps { client, authorities, interval: config.interval, breaker })
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
    /// it is the log of logs, and holds a leaf for the others then.
    async fn publish_round(&self) {
        let mut taken = self.0.publisher.grown.lock().take(PUBLISHED_AT_ONCE_MAX);
        taken.retain(|tenant| *tenant != PLATFORM_TENANT);
        let drafts = taken.into_iter().map(|tenant| self.clone().draft_or_again(tenant));
        let drafts = stream::iter(drafts).buffer_unordered(LOGS_AT_ONCE);
        let mut drafts: Vec<Draft> = drafts.filter_map(std::future::ready).collect().await;
        if self.0.stop.is_cancelled() {
            return;
        }
        if let Err(error) = self.enter_in_roll(&mut drafts).await {
            tracing::debug!(%error, "the log of logs waits");
        }
        let turns = drafts.into_iter().map(|draft| self.clone().finish_or_again(draft));
        let mut turns = stream::iter(turns).buffer_unordered(LOGS_AT_ONCE);
        while turns.next().await.is_some() {
            if self.0.stop.is_cancelled() {
                return;
            }
        }
        if let Some(draft) = self.clone().draft_or_again(PLATFORM_TENANT).await {
            self.clone().finish_or_again(draft).await;
        }
    }

    /// What fails comes again in the next round.
    async fn draft_or_again(self, tenant: TenantId) -> Option<Draft> {
        match self.draft(tenant).await {
            Ok(draft) => draft,
            Err(error) => {
                tracing::debug!(%tenant, %error, "a ledger's checkpoint is not published yet");
                if !matches!(error, Error::NotFound(_)) {
                    self.0.publisher.grown(tenant);
                }
                None
            }
        }
    }

    /// So does what is not witnessed as the policy wants.
    async fn finish_or_again(self, draft: Draft) {
        let tenant = draft.tenant;
        match self.finish(draft).await {
            Ok(true) => {}
            Ok(false) => self.0.publisher.grown(tenant),
            Err(error) => {
                tracing::debug!(%tenant, %error, "a ledger's checkpoint is not published yet");
                self.0.publisher.grown(tenant);
            }
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

    #[test]
    fn a_log_that_is_contradicted_counts_once_and_as_long_as_it_is() {
        let publisher = Publisher {
            policy: None,
            witnesses: Vec::new(),
            stamps: None,
            interval: Duration::from_secs(1),
            every_log: true,
            grown: Mutex::default(),
            sizes: Mutex::default(),
            alarms: Mutex::default(),
        };
        let [one, other] = [1, 2].map(|id| TenantId::from_bytes([id; 16]));
        let both = [Contradicts::Published, Contradicts::Witness];
        for what in both {
            publisher.alarm((one, what), Some("it went back".to_owned()));
        }
        publisher.alarm((other, Contradicts::Witness), Some("another tree".to_owned()));
        assert_eq!(publisher.contradicted_logs(), 2);
        publisher.alarm((one, Contradicts::Witness), None);
        assert_eq!(publisher.contradicted_logs(), 2);
        publisher.alarm((one, Contradicts::Published), None);
        assert_eq!(publisher.contradicted_logs(), 1);
        publisher.forget(other);
        assert_eq!(publisher.contradicted_logs(), 0);
    }
}
