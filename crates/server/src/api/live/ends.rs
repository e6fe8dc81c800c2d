//! Live connections of devices end with what let them in: their credential, their certificate, or
//! what vouches for it. Certificates are looked at again one by one, away from whoever changed what
//! vouches for them, and until it could be said whether they count.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval, timeout};
use veritwin_app::Error;
use veritwin_domain::{ClientCertificate, CredentialId, DeviceId, TenantId, Timestamp};
use veritwin_ingest::{CloseReason, DeviceLink, DeviceSession};

use super::devices::LiveState;
use crate::by_tenant::TENANTS_AT_ONCE;

/// How often it is looked for certificates in doubt.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What the records do not say of a certificate within this time is asked again.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// After so many certificates of which they say nothing they are left alone for now.
const UNSAID_MAX: u32 = 16;
/// A change of what vouches for certificates is remembered for this long: a log-in that was under
/// way may have looked before.
const CHANGE_KEPT: Duration = Duration::from_secs(60);

/// The certificate of a live connection that is to be looked at again.
struct Doubt {
    device: (TenantId, DeviceId),
    link: DeviceLink,
    credential: CredentialId,
    certificate: Arc<ClientCertificate>,
}

/// Those of one tenant, by their connections.
type OfTenant = HashMap<u64, Doubt>;

/// Doubts that wait, each tenant's by themselves. There are no more than live connections.
#[derive(Default)]
struct Waiting {
    tenants: HashMap<TenantId, OfTenant>,
    /// Tenants whose doubts nobody is settling, in their turns.
    turns: VecDeque<TenantId>,
    settling: HashSet<TenantId>,
}

impl Waiting {
    fn add(&mut self, tenant: TenantId, doubts: impl IntoIterator<Item = (u64, Doubt)>) {
        let mut doubts = doubts.into_iter().peekable();
        if doubts.peek().is_none() {
            return;
        }
        if !self.tenants.contains_key(&tenant) && !self.settling.contains(&tenant) {
            self.turns.push_back(tenant);
        }
        self.tenants.entry(tenant).or_default().extend(doubts);
    }

    /// The doubts of so many tenants. Each is to be given back.
    fn take(&mut self, count: usize) -> Vec<(TenantId, OfTenant)> {
        let mut taken = Vec::new();
        while taken.len() < count
            && let Some(tenant) = self.turns.pop_front()
        {
            if let Some(doubts) = self.tenants.remove(&tenant) {
                self.settling.insert(tenant);
                taken.push((tenant, doubts));
            }
        }
        taken
    }

    /// Nobody is settling the tenant's any more. What could not be said of these waits again.
    fn give_back(&mut self, tenant: TenantId, rest: OfTenant) {
        self.settling.remove(&tenant);
        let newer = self.tenants.remove(&tenant).unwrap_or_default();
        let rest = rest.into_iter().filter(|(_, doubt)| !doubt.link.is_closed());
        self.add(tenant, rest.chain(newer));
    }
}

/// Certificates that are to be looked at again.
#[derive(Default)]
pub(super) struct Doubts {
    waiting: Mutex<Waiting>,
    /// Tenants in which something changed, and until when that is remembered.
    changed: Mutex<HashMap<TenantId, Duration>>,
}

/// A connection of a device.
pub(super) struct Attached {
    pub(super) credential: CredentialId,
    pub(super) address: Option<IpAddr>,
    /// When the credential ends.
    pub(super) ends_at: Option<Timestamp>,
    /// The certificate it came with, and when that ends.
    pub(super) certificate: Option<(Arc<ClientCertificate>, Timestamp)>,
    pub(super) link: DeviceLink,
}

impl Attached {
    fn doubt(&self, device: (TenantId, DeviceId)) -> Option<Doubt> {
        let (certificate, _) = self.certificate.as_ref()?;
        let (link, certificate) = (self.link.clone(), Arc::clone(certificate));
        Some(Doubt { device, link, credential: self.credential, certificate })
    }

    /// Why it is over at a moment.
    fn ended(&self, now: Timestamp) -> Option<CloseReason> {
        if self.certificate.as_ref().is_some_and(|(_, end)| *end <= now) {
            return Some(CloseReason::CertificateEnded);
        }
        self.ends_at.filter(|end| *end <= now).map(|_| CloseReason::CredentialEnded)
    }
}

impl LiveState {
    /// A credential has another end: the live connections that it opened end then.
    pub(crate) fn credential_ends(
        &self,
        tenant: TenantId,
        (device, credential): (DeviceId, CredentialId),
        ends_at: Option<Timestamp>,
    ) {
        for one in self.attached.lock().get_mut(&(tenant, device)).into_iter().flatten() {
            if one.credential == credential {
                one.ends_at = ends_at;
            }
        }
    }

    /// What vouches for a certificate has another end: the connection ends then.
    fn certificate_ends(&self, doubt: &Doubt, ends_at: Timestamp) {
        for one in self.attached.lock().get_mut(&doubt.device).into_iter().flatten() {
            if one.link.id() == doubt.link.id()
                && let Some((_, end)) = &mut one.certificate
            {
                *end = ends_at;
            }
        }
    }

    /// Ends the live connections whose credential or certificate has ended.
    pub(crate) fn end_what_ended(&self, now: Timestamp) {
        for one in self.attached.lock().values().flatten() {
            if let Some(reason) = one.ended(now) {
                one.link.close(reason);
            }
        }
    }

    /// A connection is there now: what was changed while its log-in was under way did not find it.
    pub(super) fn catch_up(&self, session: &DeviceSession, link: &DeviceLink) {
        if self.app().is_login_ended(session.device, session.credential) {
            link.close(CloseReason::Revoked);
        }
        let is_host = self.app().new_sparkplug_host(session.device);
        if session.sparkplug_host && is_host == Some(false) {
            link.close(CloseReason::Revoked);
        }
        let (tenant, owned) = (session.tenant, (session.device, session.credential));
        if let Some(ends_at) = self.app().new_login_end(session.credential) {
            self.credential_ends(tenant, owned, ends_at);
        }
        let Some((certificate, _)) = &session.certificate else { return };
        let now = self.app().clock().monotonic();
        if self.doubts.changed.lock().get(&tenant).is_some_and(|until| now < *until) {
            let (link, certificate) = (link.clone(), Arc::clone(certificate));
            let device = (tenant, session.device);
            let doubt = Doubt { device, link, credential: session.credential, certificate };
            self.doubts.waiting.lock().add(tenant, [(doubt.link.id(), doubt)]);
        }
    }

    /// Something changed of what vouches for certificates of a tenant's devices: those of its live
    /// connections are looked at again, and those that do not let their device in any more end.
    pub(crate) fn doubt_certificates(&self, tenant: TenantId) {
        let now = self.app().clock().monotonic();
        // Tenants below may have claimed devices that it vouches for.
        let tenants: HashSet<_> = self.app().tenants_vouched_for(tenant).into_iter().collect();
        {
            // Before the connections are looked through: one that comes meanwhile sees it.
            let mut changed = self.doubts.changed.lock();
            changed.retain(|_, until| now < *until);
            changed.extend(tenants.iter().map(|tenant| (*tenant, now + CHANGE_KEPT)));
        }
        let doubts: Vec<_> = {
            let attached = self.attached.lock();
            let own = attached.iter().filter(|((of, _), _)| tenants.contains(of));
            own.flat_map(|(device, all)| all.iter().filter_map(move |one| one.doubt(*device)))
                .collect()
        };
        let mut waiting = self.doubts.waiting.lock();
        for doubt in doubts {
            waiting.add(doubt.device.0, [(doubt.link.id(), doubt)]);
        }
    }

    /// Looks at the certificates that are in doubt, for as long as it is polled: tenants' beside
    /// each other. What cannot be said now waits for the next time.
    pub(crate) async fn settle_doubts(&self) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut settling, mut left) = (FuturesUnordered::new(), 0);
        loop {
            tokio::select! {
                _ = ticks.tick() => left = self.doubts.waiting.lock().turns.len(),
                Some(()) = settling.next() => {}
            }
            // All that wait have their turn, however many tenants they are of.
            let free = TENANTS_AT_ONCE.saturating_sub(settling.len()).min(left);
            let taken = self.doubts.waiting.lock().take(free);
            left -= taken.len();
            let settle = |(tenant, doubts)| self.settle_of(tenant, doubts);
            settling.extend(taken.into_iter().map(settle));
        }
    }

    async fn settle_of(&self, tenant: TenantId, mut doubts: OfTenant) {
        let ids: Vec<u64> = doubts.keys().copied().collect();
        let mut unsaid = 0;
        for id in ids {
            let Some(doubt) = doubts.get(&id) else { continue };
            // Where it came from was looked at when it came.
            let asking = self.app().recheck_certificate(&doubt.certificate);
            let said = match timeout(ASK_TIMEOUT, asking).await {
                Ok(Ok(found)) => {
                    let own = found.filter(|(known, _)| *known == doubt.credential);
                    Some(own.map(|(_, ends_at)| ends_at))
                }
                Ok(Err(Error::Unavailable(_) | Error::Busy { .. } | Error::Internal(_)))
                | Err(_) => None,
                Ok(Err(_)) => Some(None),
            };
            let Some(ends_at) = said else {
                unsaid += 1;
                if unsaid < UNSAID_MAX {
                    continue;
                }
                break;
            };
            match ends_at {
                Some(ends_at) => self.certificate_ends(doubt, ends_at),
                None => doubt.link.close(CloseReason::CertificateRevoked),
            }
            doubts.remove(&id);
        }
        self.doubts.waiting.lock().give_back(tenant, doubts);
    }
}

#[cfg(test)]
mod tests {
    use veritwin_ingest::Transport;

    use super::*;

    fn tenant(number: u8) -> TenantId {
        TenantId::from_bytes([number; 16])
    }

    fn doubt() -> (u64, Doubt) {
        let (link, _end) = DeviceLink::new(Transport::Mqtt5);
        let certificate = ClientCertificate { leaf: Vec::new(), between: Vec::new() };
        let credential = CredentialId::from_bytes([1; 16]);
        let device = (tenant(1), DeviceId::from_bytes([1; 16]));
        (link.id(), Doubt { device, link, credential, certificate: Arc::new(certificate) })
    }

    #[test]
    fn a_tenant_whose_doubts_are_being_settled_holds_up_no_others() {
        let mut waiting = Waiting::default();
        waiting.add(tenant(1), (0..1_000).map(|_| doubt()));
        waiting.add(tenant(2), [doubt()]);
        waiting.add(tenant(3), []);
        let taken = waiting.take(1);
        assert_eq!((taken[0].0, taken[0].1.len()), (tenant(1), 1_000));
        // What comes meanwhile waits until these are given back; others do not.
        waiting.add(tenant(1), [doubt()]);
        let others: Vec<TenantId> = waiting.take(9).into_iter().map(|(tenant, _)| tenant).collect();
        assert_eq!(others, [tenant(2)]);
        let mut rest: OfTenant = [doubt(), doubt()].into();
        // One that is closed is in no doubt.
        rest.values().next().expect("one").link.close(CloseReason::TakenOver);
        rest.extend([doubt()]);
        waiting.give_back(tenant(1), rest);
        waiting.give_back(tenant(2), OfTenant::new());
        let again = waiting.take(9);
        assert_eq!((again.len(), again[0].0, again[0].1.len()), (1, tenant(1), 3));
    }
}
