//! The way of a reading towards the log: who a device is, and when it was last heard of. Presence
//! is kept in memory and written down now and then.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use parking_lot::{Mutex, RwLock};
use veritwin_access::{Action, Kind, Resource, TokenKind, jobs};
use veritwin_alerting::DeviceClock;
use veritwin_domain::{
    CredentialId, DeviceId, OpContext, Origin, Purpose, RequestId, Secret, TenantId, Timestamp,
};
use veritwin_log::{CommitObserver, Committed, Entry, Record, SessionEvent, SessionEventKind};
use veritwin_metastore::{CredentialKind, CredentialMatch};

use crate::access::place_of;
use crate::error::found;
use crate::gateway_names::ChildCache;
use crate::lately::Lately;
use crate::{App, Arrival, DeviceLogin, Error, Result, WriterLogin};

/// How long a looked-up credential is believed without asking again.
const LOGIN_TTL: Duration = Duration::from_secs(30);
/// Most credentials that are remembered.
const LOGINS_MAX: usize = 65_536;
/// A credential that was used since is not noted as used again.
const USE_NOTED: Duration = Duration::from_secs(600);
/// Most devices whose presence is kept.
const PRESENCE_MAX: usize = 1_000_000;

/// A clock that is off by less is not spoken of.
const CLOCK_OFF_SECONDS_MIN: i64 = 120;

pub(crate) const UNKNOWN: Error = Error::Unauthenticated("unknown credential");

/// When a credential let its device in.
#[derive(Debug, Clone, Copy)]
struct Use {
    at: Timestamp,
    /// When the certificate ends that was shown.
    certificate_until: Option<Timestamp>,
}

struct Remembered {
    login: DeviceLogin,
    until: Duration,
}

/// Credentials that were looked up a moment ago.
#[derive(Default)]
pub(crate) struct LoginCache {
    by_digest: Mutex<HashMap<[u8; 32], Remembered>>,
    /// When credentials last let their devices in, until that is written down.
    used: Mutex<HashMap<(TenantId, CredentialId), Use>>,
    /// Credentials and devices that were ended.
    pub(crate) ended: Lately<()>,
    /// Credentials that were given another end.
    pub(crate) ends: Lately<Option<Timestamp>>,
    /// Devices that were made host applications of Sparkplug, or are none any more.
    pub(crate) hosts: Lately<bool>,
    pub(crate) children: ChildCache,
}

impl LoginCache {
    fn get(&self, digest: &[u8; 32], now: Duration) -> Option<DeviceLogin> {
        let logins = self.by_digest.lock();
        logins.get(digest).filter(|one| one.until > now).map(|one| one.login.clone())
    }

    /// Whoever was let in by this process, however long ago, and was not changed since.
    fn get_late(&self, digest: &[u8; 32]) -> Option<DeviceLogin> {
        self.by_digest.lock().get(digest).map(|one| one.login.clone())
    }

    fn put(&self, digest: [u8; 32], login: DeviceLogin, now: Duration) {
        let mut logins = self.by_digest.lock();
        if logins.len() >= LOGINS_MAX {
            logins.retain(|_, one| one.until > now);
        }
        if logins.len() < LOGINS_MAX {
            logins.insert(digest, Remembered { login, until: now + LOGIN_TTL });
        }
    }

    /// Notes that a credential let its device in; one more than is remembered is not written down.
    fn note_use(&self, tenant: TenantId, credential: CredentialId, now: Use) {
        let mut used = self.used.lock();
        if used.len() < LOGINS_MAX || used.contains_key(&(tenant, credential)) {
            used.insert((tenant, credential), now);
        }
    }

    fn take_used(&self) -> HashMap<(TenantId, CredentialId), Use> {
        std::mem::take(&mut *self.used.lock())
    }

    pub(crate) fn forget_device(&self, device: DeviceId) {
        self.by_digest.lock().retain(|_, one| one.login.device != device);
        self.children.forget(device);
    }

    pub(crate) fn forget_all(&self) {
        self.by_digest.lock().clear();
        self.children.forget_all();
    }
}

/// What is known of a device's presence.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DevicePresence {
    pub(crate) connected: bool,
    pub(crate) last_seen_at: Option<Timestamp>,
    /// By how much its clock is slow; negative when it is fast, none as long as nothing tells.
    pub(crate) clock_slow_micros: Option<i64>,
}

impl DevicePresence {
    /// By how many seconds the clock is slow, when that is worth saying.
    pub(crate) fn clock_slow_seconds(self) -> Option<i64> {
        let seconds = self.clock_slow_micros? / 1_000_000;
        (seconds.abs() >= CLOCK_OFF_SECONDS_MIN).then_some(seconds)
    }
}

#[derive(Debug, Default)]
struct Seen {
    connections: u32,
    at: Option<Timestamp>,
    written_at: Option<Timestamp>,
    clock: DeviceClock,
}

/// What a device was last heard of.
#[derive(Debug, Clone, Copy)]
struct Heard {
    device: (TenantId, DeviceId),
    received_at: Timestamp,
    /// When the newest reading of its last message was measured.
    newest_at: Option<Timestamp>,
}

/// Presence of all devices.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    devices: RwLock<HashMap<(TenantId, DeviceId), Seen>>,
}

impl Presence {
    pub(crate) fn of(&self, tenant: TenantId, device: DeviceId) -> DevicePresence {
        let devices = self.devices.read();
        devices.get(&(tenant, device)).map_or_else(DevicePresence::default, |seen| DevicePresence {
            connected: seen.connections > 0,
            last_seen_at: seen.at,
            clock_slow_micros: seen.clock.slow_micros(),
        })
    }

    fn connection(&self, tenant: TenantId, device: DeviceId, opened: bool) {
        let mut devices = self.devices.write();
        let seen = devices.entry((tenant, device)).or_default();
        seen.connections = if opened {
            seen.connections.saturating_add(1)
        } else {
            seen.connections.saturating_sub(1)
        };
    }

    fn seen(&self, heard: &[Heard]) {
        let mut devices = self.devices.write();
        for Heard { device, received_at, newest_at } in heard {
            if devices.len() >= PRESENCE_MAX && !devices.contains_key(device) {
                continue;
            }
            let seen = devices.entry(*device).or_default();
            seen.at = seen.at.max(Some(*received_at));
            if let Some(newest_at) = newest_at {
                seen.clock.hear(*newest_at, *received_at);
            }
        }
    }

    /// What changed since it was last written down.
    fn unwritten(&self) -> Vec<(TenantId, DeviceId, Timestamp)> {
        let mut devices = self.devices.write();
        let changed = devices.iter_mut().filter_map(|((tenant, device), seen)| {
            let at = seen.at?;
            if seen.written_at == Some(at) {
                return None;
            }
            seen.written_at = Some(at);
            Some((*tenant, *device, at))
        });
        changed.collect()
    }
}

/// Notes who sent what is durable.
pub(crate) struct PresenceObserver(Arc<Presence>);

impl PresenceObserver {
    pub(crate) fn new(presence: Arc<Presence>) -> Self {
        Self(presence)
    }
}

impl CommitObserver for PresenceObserver {
    fn committed(&mut self, batch: &Arc<Committed>) {
        let mut heard: Vec<Heard> = Vec::new();
        for entry in &batch.entries {
            if let Record::Readings(readings) = &entry.record {
                let device = (entry.tenant, readings.device);
                let newest_at = readings.readings.iter().map(|reading| reading.at).max();
                let now = Heard { device, received_at: readings.received_at, newest_at };
                match heard.iter_mut().rev().take(64).find(|one| one.device == device) {
                    Some(known) if known.received_at <= now.received_at => *known = now,
                    Some(_) => {}
                    None => heard.push(now),
                }
            }
        }
        self.0.seen(&heard);
    }
}

impl App {
    /// The device behind an access token that is shown from an address.
    #[boxed]
    pub async fn login_device(
        &self,
        token: &Secret<String>,
        address: Option<IpAddr>,
    ) -> Result<DeviceLogin> {
        let login = self.known_device(token, address).await?;
        self.refuse_unserved(login.tenant)?;
        self.check_device_network(&self.job(jobs::INGEST), login.tenant, address).await?;
        Ok(login)
    }

    /// Whether a credential, or its device, was ended while a log-in by it was under way.
    pub fn is_login_ended(&self, device: DeviceId, credential: CredentialId) -> bool {
        let (ended, now) = (&self.0.logins.ended, self.clock().monotonic());
        let ids = [device.as_bytes(), credential.as_bytes()];
        ids.into_iter().any(|id| ended.get(id, now).is_some())
    }

    /// The end that a credential was given while a log-in by it was under way; some none: it has
    /// no end now.
    pub fn new_login_end(&self, credential: CredentialId) -> Option<Option<Timestamp>> {
        self.0.logins.ends.get(credential.as_bytes(), self.clock().monotonic())
    }

    /// Whether a device was made a host application of Sparkplug a moment ago, or is none any more:
    /// a log-in of it that is under way may have looked before.
    pub fn new_sparkplug_host(&self, device: DeviceId) -> Option<bool> {
        self.0.logins.hosts.get(device.as_bytes(), self.clock().monotonic())
    }

    /// Notes that a credential let its device in, with the end of the certificate that was shown.
    /// What was noted lately is not noted again: a device that asks by HTTP comes in all day.
    pub(crate) fn note_use(&self, found: &CredentialMatch, certificate_until: Option<Timestamp>) {
        let (credential, at) = (&found.credential, self.clock().now());
        let is_fresh = credential.used_at.is_some_and(|used| at < used.saturating_add(USE_NOTED));
        let is_known =
            certificate_until.is_none() || certificate_until == credential.certificate_until;
        if !(is_fresh && is_known) {
            let now = Use { at, certificate_until };
            self.0.logins.note_use(found.tenant, credential.id, now);
        }
    }

    async fn known_device(
        &self,
        token: &Secret<String>,
        address: Option<IpAddr>,
    ) -> Result<DeviceLogin> {
        let refused = || {
            self.count_failed_device_login(address);
            UNKNOWN
        };
        let digest = TokenKind::Device.digest(token.expose()).ok_or_else(refused)?.0;
        let (now, at) = (self.clock().monotonic(), self.clock().now());
        let as_now = |mut login: DeviceLogin| {
            if let Some(ends_at) = self.new_login_end(login.credential) {
                login.ends_at = ends_at;
            }
            if let Some(is_host) = self.new_sparkplug_host(login.device) {
                login.is_sparkplug_host = is_host;
            }
            login
        };
        let known = self.0.logins.get(&digest, now).map(as_now);
        let counts = |login: &DeviceLogin| {
            login.ends_at.is_none_or(|end| at < end)
                && !self.is_login_ended(login.device, login.credential)
        };
        if let Some(login) = known.filter(counts) {
            return Ok(login);
        }
        self.check_device_logins(address)?;
        let found = match self.find_credential(digest, CredentialKind::AccessToken).await {
            // Nothing of the tenant can be read for now, and what its devices send is still taken.
            Err(Error::KeySilent) => {
                let late = self.0.logins.get_late(&digest).map(as_now);
                return late.filter(counts).ok_or(Error::KeySilent);
            }
            found => found?.ok_or_else(refused)?,
        };
        let login = self.counting(&found)?;
        self.note_use(&found, None);
        self.0.logins.put(digest, login.clone(), now);
        Ok(login)
    }

    /// Whoever may use the bulk write with this token.
    #[boxed]
    pub async fn login_writer(
        &self,
        token: &Secret<String>,
        origin: Origin,
    ) -> Result<WriterLogin> {
        if TokenKind::of(token.expose()) != Some(TokenKind::ApiKey) {
            return self.login_device(token, origin.address).await.map(WriterLogin::Device);
        }
        let arrival = Arrival {
            purpose: Purpose::IngestRouting,
            request: RequestId::generate(self.clock().now(), self.rng()),
            origin,
        };
        let context = self.authenticate_api_key(token, arrival).await?;
        self.count_request(&context)?;
        // Somewhere at least; each device is asked for when it is named.
        self.reach(&context, Action::TelemetryWrite, Kind::Device)?;
        let resource = Resource::all(context.tenant, Kind::Device);
        self.note(&context, Action::TelemetryWrite, &resource, "done");
        let veritwin_domain::ActorKind::ApiKey(key) = context.actor.kind else {
            return Err(UNKNOWN);
        };
        let credential = CredentialId::from_bytes(*key.as_bytes());
        Ok(WriterLogin::Program { context: Box::new(context), credential })
    }

    /// The devices with these names or ids that the actor may write for, in the same order: one
    /// decision for all of them. Any other is as unknown as one that never was.
    #[boxed]
    pub async fn devices_to_write(
        &self,
        context: &OpContext,
        names: &[String],
    ) -> Result<Vec<Option<DeviceId>>> {
        let reach = self.reach(context, Action::TelemetryWrite, Kind::Device)?;
        let mut found = self.devices_by_name(context.tenant, names).await?;
        if !reach.is_whole() {
            let devices = self.tenant_devices(context).await?;
            let covers =
                |id: &DeviceId| devices.get(*id).is_some_and(|one| reach.covers(place_of(one)));
            found.iter_mut().for_each(|id| *id = id.take().filter(covers));
        }
        Ok(found)
    }

    /// The tenant's devices with these names or ids, in the same order.
    pub(crate) async fn devices_by_name(
        &self,
        tenant: TenantId,
        names: &[String],
    ) -> Result<Vec<Option<DeviceId>>> {
        let context = self.job_in(jobs::INGEST, tenant);
        let devices = self.tenant_devices(&context).await?;
        let find = |name: &String| {
            let by_id = name.parse().ok().filter(|id| devices.get(*id).is_some());
            by_id.or_else(|| devices.named(name))
        };
        Ok(names.iter().map(find).collect())
    }

    /// A device connected or went; leaves one record per session.
    pub fn device_connected(
        &self,
        tenant: TenantId,
        device: DeviceId,
        credential: CredentialId,
        connected: bool,
    ) {
        self.0.presence.connection(tenant, device, connected);
        let kind =
            if connected { SessionEventKind::Connected } else { SessionEventKind::Disconnected };
        let event = SessionEvent { device, credential, kind, at: self.clock().now() };
        let log = self.0.log.clone();
        self.0.tasks.spawn(async move {
            let entry = Entry { tenant, record: Record::Session(event) };
            if let Err(error) = log.append(vec![entry]).await {
                tracing::debug!(%error, "a session event was not recorded");
            }
        });
    }

    /// Writes down when devices were last seen; what fails for one tenant leaves the others alone.
    pub(crate) async fn flush_presence(&self) {
        let mut by_tenant: HashMap<TenantId, Vec<(DeviceId, Timestamp)>> = HashMap::new();
        for (tenant, device, at) in self.0.presence.unwritten() {
            by_tenant.entry(tenant).or_default().push((device, at));
        }
        for (tenant, seen) in by_tenant {
            if let Err(error) = self.write_presence(tenant, seen).await {
                tracing::debug!(%tenant, %error, "presence was not written down");
            }
        }
        let mut used: HashMap<TenantId, Vec<(CredentialId, Use)>> = HashMap::new();
        for ((tenant, credential), now) in self.0.logins.take_used() {
            used.entry(tenant).or_default().push((credential, now));
        }
        for (tenant, used) in used {
            if let Err(error) = self.write_used(tenant, used).await {
                tracing::debug!(%tenant, %error, "use of credentials was not written down");
            }
        }
        self.flush_connections().await;
    }

    async fn write_used(&self, tenant: TenantId, used: Vec<(CredentialId, Use)>) -> Result<()> {
        let tx = self.0.store.begin(&self.job_in(jobs::INGEST, tenant)).await?;
        for (credential, Use { at, certificate_until }) in used {
            tx.credential_used(credential, at, certificate_until).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn write_presence(
        &self,
        tenant: TenantId,
        seen: Vec<(DeviceId, Timestamp)>,
    ) -> Result<()> {
        let context = self.job_in(jobs::INGEST, tenant);
        let tx = self.0.store.begin(&context).await?;
        for (device, at) in seen {
            // It may have been deleted in the meantime.
            found(tx.device_seen(device, at).await)?;
        }
        Ok(tx.commit().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presence_is_a_tenants_own_even_where_ids_are_equal() {
        let presence = Presence::default();
        let device = DeviceId::from_bytes([7; 16]);
        let (mine, theirs) = (TenantId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]));
        let at = Timestamp::from_micros(5);
        presence.connection(theirs, device, true);
        presence.seen(&[Heard { device: (theirs, device), received_at: at, newest_at: None }]);
        let of_mine = presence.of(mine, device);
        assert!(!of_mine.connected && of_mine.last_seen_at.is_none());
        let of_theirs = presence.of(theirs, device);
        assert!(of_theirs.connected && of_theirs.last_seen_at == Some(at));
        assert_eq!(presence.unwritten(), [(theirs, device, at)]);
        assert!(presence.unwritten().is_empty(), "written down once");
    }
}
