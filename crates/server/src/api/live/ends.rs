//! Live connections of devices end with what let them in: their credential, their certificate, or
//! what vouches for it. Certificates are looked at again one by one, away from whoever changed what
//! vouches for them, and until it could be said whether they count.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use veritwin_app::Error;
use veritwin_domain::{ClientCertificate, CredentialId, DeviceId, TenantId, Timestamp};
use veritwin_ingest::{CloseReason, DeviceLink, DeviceSession};

use super::devices::LiveState;

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

/// Certificates that are to be looked at again, by their connections.
#[derive(Default)]
pub(super) struct Doubts {
    waiting: Mutex<HashMap<u64, Doubt>>,
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
    fn doubt(&self, device: (TenantId, DeviceId)) -> Option<(u64, Doubt)> {
        let (certificate, _) = self.certificate.as_ref()?;
        let (link, certificate) = (self.link.clone(), Arc::clone(certificate));
        Some((link.id(), Doubt { device, link, credential: self.credential, certificate }))
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
            self.doubts.waiting.lock().insert(doubt.link.id(), doubt);
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
        self.doubts.waiting.lock().extend(doubts);
    }

    /// Looks at the certificates that are in doubt. What cannot be said now waits for the next
    /// time.
    pub(crate) async fn settle_doubts(&self) {
        let mut doubts = std::mem::take(&mut *self.doubts.waiting.lock()).into_iter();
        while let Some((id, doubt)) = doubts.next() {
            // Where it came from was looked at when it came.
            let ends_at = match self.app().recheck_certificate(&doubt.certificate).await {
                Ok(found) => found
                    .filter(|(credential, _)| *credential == doubt.credential)
                    .map(|(_, ends_at)| ends_at),
                Err(Error::Unavailable(_) | Error::Busy { .. } | Error::Internal(_)) => {
                    let mut waiting = self.doubts.waiting.lock();
                    waiting.insert(id, doubt);
                    waiting.extend(doubts);
                    return;
                }
                Err(_) => None,
            };
            match ends_at {
                Some(ends_at) => self.certificate_ends(&doubt, ends_at),
                None => doubt.link.close(CloseReason::CertificateRevoked),
            }
        }
    }
}
