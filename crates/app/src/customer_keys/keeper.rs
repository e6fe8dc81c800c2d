//! The job that asks customers' key services. It asks again before the time of a key is over; a
//! service that stays silent past it costs the tenant its memory, a refusal or a destroyed key
//! costs it its access until the customer acts. An outage is asked again, a refusal never.

use std::sync::Arc;
use std::time::Duration;

use veritwin_access::{Action, jobs};
use veritwin_domain::{Purpose, RequestId, TenantId, Timestamp};
use veritwin_keys::{
    KeyCall, KeyProvider, PROVIDER_TIMEOUT, ProviderAnswer, ProviderError, SecretKey, WrappedKek,
};
use zeroize::Zeroizing;

use super::Reason;
use super::book::KeyBook;
use crate::change::Change;
use crate::job_board::{Job, JobWatch};
use crate::promises::PROBE_KEYS;
use crate::security_words::SecurityMail;
use crate::{App, Error, LiveEvent, Result};

const TURN: Duration = Duration::from_millis(250);
/// How often is looked for changes of level that were cut off.
const CHANGES_LOOK: Duration = Duration::from_secs(10);
/// A key whose time is 0 is asked for anew each time this has passed.
const SHORTEST: Duration = Duration::from_secs(1);
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(15);
const HOUR_MICROS: i64 = 3_600_000_000;
/// A service has its own bound; this one is for an adapter that does not keep it.
const ANSWER_MAX: Duration = PROVIDER_TIMEOUT.saturating_mul(2);

/// Why there is no key.
pub(super) enum Missing {
    Service(ProviderError),
    Here(Error),
}

/// Waits for an answer, and not for ever.
pub(super) async fn answer<T>(
    asked: ProviderAnswer<'_, T>,
) -> std::result::Result<T, ProviderError> {
    let late = |_| ProviderError::Unavailable("no answer in time".to_owned());
    tokio::time::timeout(ANSWER_MAX, asked).await.map_err(late)?
}

/// What a service unwraps. From "destroyed" there is no way back: it has to say so again when it is
/// asked about the key itself.
async fn unwrapped(
    provider: &dyn KeyProvider,
    call: &KeyCall,
    wrapped: &[u8],
) -> std::result::Result<Zeroizing<Vec<u8>>, ProviderError> {
    let asked = answer(provider.unwrap(call, wrapped)).await;
    if !matches!(asked, Err(ProviderError::Destroyed)) {
        return asked;
    }
    Err(answer(provider.metadata(call)).await.map_or_else(
        |error| error,
        |_| ProviderError::Invalid("it says of one key that it is gone and there".to_owned()),
    ))
}

pub(super) fn secret(bytes: &Zeroizing<Vec<u8>>) -> std::result::Result<SecretKey, ProviderError> {
    let wrong = |_| ProviderError::Invalid("it unwrapped something that is no key".to_owned());
    let bytes: [u8; 32] = bytes.as_slice().try_into().map_err(wrong)?;
    Ok(SecretKey::from_bytes(bytes))
}

/// What the people who answer for a tenant are told.
fn told_of(kind: &str) -> Option<SecurityMail> {
    match kind {
        "silent" => Some(SecurityMail::KeySilent),
        "refused" => Some(SecurityMail::KeyRefused),
        "destroyed" => Some(SecurityMail::KeyDestroyed),
        _ => None,
    }
}

fn wait(tries: u32) -> Duration {
    RETRY_MIN.saturating_mul(2u32.saturating_pow(tries)).min(RETRY_MAX)
}

impl App {
    pub(crate) fn start_key_keeper(&self) {
        let (app, watch) = (self.clone(), self.watch_job(Job::Keys));
        self.0.tasks.spawn(async move { app.keep_keys(&watch).await });
        let app = self.clone();
        self.0.tasks.spawn(async move { app.keep_key_changes().await });
        let app = self.clone();
        self.0.tasks.spawn(async move { app.keep_resealing().await });
    }

    async fn keep_keys(&self, watch: &JobWatch) {
        let mut interval = tokio::time::interval(TURN);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.0.stop.cancelled() => break,
                _ = interval.tick() => {}
            }
            // Nothing in here waits: what leaves memory does so in time, whoever else is slow.
            let lapsed = self.0.keys.lapse();
            for tenant in &lapsed {
                tracing::warn!(%tenant, "a customer's key service is silent past the key's time");
                self.wipe_tenant(*tenant);
            }
            if !lapsed.is_empty() {
                let app = self.clone();
                self.0.tasks.spawn(async move {
                    for tenant in lapsed {
                        app.record_key(tenant, ("failed", "silent")).await;
                    }
                });
            }
            self.ask_due_keys();
            watch.turned();
        }
    }

    async fn keep_key_changes(&self) {
        let mut interval = tokio::time::interval(CHANGES_LOOK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.0.stop.cancelled() => break,
                _ = interval.tick() => {}
            }
            if let Err(error) = self.resume_key_changes().await {
                tracing::warn!(%error, "changes of customers' keys wait");
            }
        }
    }

    /// Asks every service whose time has come, each in a task of its own.
    fn ask_due_keys(&self) {
        let now = self.clock().monotonic();
        // The key of a check is with no service.
        let held = self.0.keys.held_tenants().into_iter().filter(|tenant| *tenant != PROBE_KEYS);
        for tenant in held {
            let known = self.0.key_board.known.lock();
            let is_due = known.get(&tenant).is_none_or(|known| known.next_ask <= now);
            drop(known);
            if !is_due || !self.0.key_board.asking.lock().insert(tenant) {
                continue;
            }
            let app = self.clone();
            self.0.tasks.spawn(async move {
                if let Ok(_turn) = Arc::clone(&app.0.key_board.turns).acquire_owned().await {
                    app.ask_key(tenant).await;
                }
                app.0.key_board.asking.lock().remove(&tenant);
            });
        }
    }

    /// Asks a tenant's service for its key, and acts on the answer.
    pub(super) async fn ask_key(&self, tenant: TenantId) {
        let (asked_at, told_at) = (self.clock().monotonic(), self.clock().now());
        let Ok(asked) = self.0.keys.wrapped_kek(tenant) else { return };
        let version = asked.context.version;
        let unwrapped = self.unwrap_kek(tenant, &asked).await;
        if self.0.keys.wrapped_kek(tenant).ok().as_ref() != Some(&asked) {
            // Another key, or another service, by now: this answer says nothing of it.
            return;
        }
        match unwrapped {
            Ok((kek, ttl)) => {
                let fresh_until = asked_at.saturating_add(ttl.max(SHORTEST));
                match self.0.keys.admit(tenant, version, kek, fresh_until) {
                    Ok(was_silent) => {
                        let next_ask = asked_at.saturating_add(ttl.max(SHORTEST) / 2);
                        self.note_answer(tenant, next_ask, told_at);
                        self.replay_withheld(tenant).await;
                        if was_silent {
                            tracing::info!(%tenant, "a customer's key is within reach");
                            self.alert_sources_changed(tenant);
                            self.0.live.publish(tenant, || LiveEvent::Access);
                            self.record_key(tenant, ("done", "returned")).await;
                        }
                    }
                    Err(error) => self.note_silence(tenant, &Error::from(error).told()),
                }
            }
            Err(Missing::Service(ProviderError::Denied)) => {
                if let Err(error) = self.0.keys.note_refused(tenant, version) {
                    tracing::error!(%tenant, %error, "a refused key was not noted as revoked");
                    return;
                }
                tracing::warn!(%tenant, "a customer's key service refuses the key");
                self.0.key_board.forget(tenant);
                self.wipe_tenant(tenant);
                self.record_key(tenant, ("denied", "refused")).await;
            }
            Err(Missing::Service(ProviderError::Destroyed)) => {
                if let Err(error) = self.0.keys.note_gone(tenant, version) {
                    tracing::error!(%tenant, %error, "a destroyed key was not noted");
                    return;
                }
                tracing::warn!(%tenant, "a customer's key was destroyed where it was held");
                self.0.key_board.forget(tenant);
                self.wipe_tenant(tenant);
                self.record_key(tenant, ("not_found", "destroyed")).await;
            }
            Err(Missing::Service(error)) => self.note_silence(tenant, &error.to_string()),
            Err(Missing::Here(error)) => self.note_silence(tenant, &error.told()),
        }
    }

    /// Carries out again what was destroyed before a backup that this platform was restored from,
    /// now that the tenant's key is there.
    async fn replay_withheld(&self, tenant: TenantId) {
        if !self.0.key_board.unreplayed.lock().contains(&tenant) {
            return;
        }
        self.0.key_board.replaying.lock().insert(tenant);
        let replayed = self.replay_shreds(Some(tenant)).await;
        let is_done = self.0.key_board.replaying.lock().remove(&tenant);
        match replayed {
            Ok(_) if is_done => drop(self.0.key_board.unreplayed.lock().remove(&tenant)),
            Ok(_) => {}
            Err(error) => tracing::error!(%tenant, %error, "a destruction waits"),
        }
    }

    fn note_answer(&self, tenant: TenantId, next_ask: Duration, told_at: Timestamp) {
        if let Some(known) = self.0.key_board.known.lock().get_mut(&tenant) {
            known.told_at = Some(told_at);
            known.next_ask = next_ask;
            known.tries = 0;
            known.answered_at = Some(self.clock().now());
            known.problem = None;
        }
    }

    fn note_silence(&self, tenant: TenantId, problem: &str) {
        tracing::debug!(%tenant, problem, "a customer's key service gave no key");
        let now = self.clock().monotonic();
        let mut all = self.0.key_board.known.lock();
        let known = all.entry(tenant).or_default();
        known.next_ask = now.saturating_add(wait(known.tries));
        known.tries = known.tries.saturating_add(1);
        known.problem = Some(problem.to_owned());
    }

    /// The service that wrapped this version of a tenant's KEK, connected as its settings say.
    async fn key_service(
        &self,
        tenant: TenantId,
        version: u32,
    ) -> Result<(Arc<dyn KeyProvider>, Duration)> {
        if let Some(known) = self.0.key_board.known.lock().get(&tenant)
            && known.version == version
            && let Some(provider) = &known.provider
        {
            return Ok((Arc::clone(provider), known.ttl));
        }
        let book = self.key_book(tenant).await?;
        let Some(service) = book.service_of(version) else {
            return Err(Error::Internal("a held key has no service".to_owned()));
        };
        let provider = self
            .0
            .key_board
            .connector
            .connect(&service.settings()?)
            .map_err(|error| Error::Unavailable(error.to_string()))?;
        let ttl = Duration::from_secs(service.ttl_s);
        let mut all = self.0.key_board.known.lock();
        let known = all.entry(tenant).or_default();
        known.provider = Some(Arc::clone(&provider));
        known.version = version;
        known.ttl = ttl;
        Ok((provider, ttl))
    }

    async fn unwrap_kek(
        &self,
        tenant: TenantId,
        kek: &WrappedKek,
    ) -> std::result::Result<(SecretKey, Duration), Missing> {
        let service = self.key_service(tenant, kek.context.version).await;
        let (provider, ttl) = service.map_err(Missing::Here)?;
        let call = self.key_call(tenant, kek.context.associated_data());
        let bytes = unwrapped(provider.as_ref(), &call, &kek.wrapped).await;
        let secret = bytes.and_then(|bytes| secret(&bytes)).map_err(Missing::Service)?;
        Ok((secret, ttl))
    }

    /// What travels with a question: who needed the key last since the one before, and why. When
    /// nobody did it is the platform's own work that goes on.
    pub(super) fn key_call(&self, tenant: TenantId, associated_data: Vec<u8>) -> KeyCall {
        let at = self.clock().now();
        let told_at = self.0.key_board.known.lock().get(&tenant).and_then(|known| known.told_at);
        let reason = self.0.key_board.reason(tenant);
        let reason = reason.filter(|reason| told_at.is_none_or(|told| reason.at >= told));
        let reason = reason.unwrap_or_else(|| Reason {
            purpose: Purpose::IngestRouting,
            actor: format!("job:{}", jobs::SEGMENTS),
            at,
        });
        KeyCall {
            tenant,
            purpose: reason.purpose,
            actor: reason.actor,
            request: RequestId::generate(at, self.rng()),
            associated_data,
        }
    }

    /// Drops what is in memory of a tenant whose key may not be used now.
    pub(crate) fn wipe_tenant(&self, tenant: TenantId) {
        self.0.log.forget_recent();
        self.0.engine.set_aside(tenant);
        self.0.store.forget_names(tenant);
        self.0.models.lock().retain(|((owner, _), _)| *owner != tenant);
        self.0.chunks.forget(tenant);
        self.alert_sources_changed(tenant);
        // Whoever follows something is asked again whether they may.
        self.0.live.publish(tenant, || LiveEvent::Access);
    }

    /// Leaves a record of what became of a tenant's key. Its envelope is the platform's, so that
    /// it is written although the tenant's key is away.
    async fn record_key(&self, tenant: TenantId, (outcome, kind): (&str, &'static str)) {
        let context = self.job(jobs::SECURITY);
        let written = async {
            let tx = self.0.store.begin_platform(&context).await?;
            let what = (Action::KeyManage, outcome, Change::default());
            self.record_platform_change(&tx, &context, Some(tenant), what).await?;
            Ok::<_, Error>(tx.commit().await?)
        };
        if let Err(error) = written.await {
            tracing::warn!(%tenant, %error, kind, "what became of a key was not recorded");
        }
        if let Some(mail) = told_of(kind) {
            // One an hour of each kind: a service that comes and goes is no reason for a hundred.
            let hour = context.at.as_micros().div_euclid(HOUR_MICROS);
            let event = format!("customer_key.{kind}.{tenant}.{hour}");
            let told = self.mail_administrators_from_above(tenant, mail, &event);
            if let Err(error) = told.await {
                tracing::warn!(%tenant, %error, kind, "nobody was mailed about a key");
            }
        }
        metrics::counter!("veritwin_customer_key_events_total", "kind" => kind).increment(1);
    }

    /// Takes up changes of level that a stop or an outage cut off.
    async fn resume_key_changes(&self) -> Result<()> {
        for tenant in self.keys_changing().await? {
            if self.0.stop.is_cancelled() {
                break;
            }
            if let Err(error) = self.resume_key_change(tenant).await {
                tracing::debug!(%tenant, %error, "a change of a customer's key waits");
            }
        }
        Ok(())
    }

    async fn resume_key_change(&self, tenant: TenantId) -> Result<()> {
        // Whoever asked for it goes on by themselves.
        let Some(_turn) = self.0.key_board.free_turn(tenant) else { return Ok(()) };
        let Some(change) = self.key_book(tenant).await?.change else { return Ok(()) };
        let Err(error) = self.finish_hold(tenant).await else { return Ok(()) };
        let problem = error.told_again();
        if change.problem.as_ref() != Some(&problem) {
            tracing::warn!(%tenant, %error, "a change of a customer's key waits");
            let note = move |book: &mut KeyBook| {
                if let Some(change) = &mut book.change {
                    change.problem = Some(problem);
                }
            };
            self.change_key_book(tenant, note).await?;
        }
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use veritwin_keys::{KeyMetadata, KeyProtection, ProviderKind};

    use super::*;

    /// A service that answers each kind of question in one way.
    #[derive(Debug)]
    struct Says {
        unwrap: ProviderError,
        metadata: std::result::Result<KeyMetadata, ProviderError>,
    }

    impl KeyProvider for Says {
        fn kind(&self) -> ProviderKind {
            ProviderKind::Xks
        }

        fn wrap<'a>(&'a self, _: &'a KeyCall, _: &'a [u8]) -> ProviderAnswer<'a, Vec<u8>> {
            Box::pin(async { Err(ProviderError::Denied) })
        }

        fn unwrap<'a>(
            &'a self,
            _: &'a KeyCall,
            _: &'a [u8],
        ) -> ProviderAnswer<'a, Zeroizing<Vec<u8>>> {
            Box::pin(async { Err(self.unwrap.clone()) })
        }

        fn metadata<'a>(&'a self, _: &'a KeyCall) -> ProviderAnswer<'a, KeyMetadata> {
            Box::pin(async { self.metadata.clone() })
        }

        fn health<'a>(&'a self, _: &'a KeyCall) -> ProviderAnswer<'a, ()> {
            Box::pin(async { Ok(()) })
        }
    }

    #[tokio::test]
    async fn a_key_is_destroyed_when_its_service_says_so_twice() {
        let call = KeyCall {
            tenant: TenantId::from_bytes([1; 16]),
            purpose: Purpose::IngestRouting,
            actor: "job:segments".to_owned(),
            request: RequestId::from_bytes([2; 16]),
            associated_data: Vec::new(),
        };
        let there = KeyMetadata {
            key: "k".to_owned(),
            spec: "AES_256".to_owned(),
            enabled: true,
            protection: KeyProtection::Unstated,
        };
        let away = || ProviderError::Unavailable("late".to_owned());
        let ask = async |unwrap: ProviderError, metadata| {
            let says = Says { unwrap, metadata };
            unwrapped(&says, &call, b"wrapped").await.expect_err("no key")
        };
        let destroyed = || ProviderError::Destroyed;
        assert_eq!(ask(destroyed(), Err(destroyed())).await, ProviderError::Destroyed);
        assert!(matches!(ask(destroyed(), Ok(there)).await, ProviderError::Invalid(_)));
        assert_eq!(ask(destroyed(), Err(away())).await, away());
        assert_eq!(ask(ProviderError::Denied, Err(destroyed())).await, ProviderError::Denied);
    }

    #[test]
    fn silence_is_asked_again_ever_less_often_up_to_a_bound() {
        let waits: Vec<u128> = (0..8).map(|tries| wait(tries).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
    }
}
