//! Live connections of devices end with what let them in: their credential, their certificate, or
//! what vouches for it.

use std::net::IpAddr;
use std::sync::Arc;

use veritwin_app::Error;
use veritwin_domain::{ClientCertificate, CredentialId, DeviceId, TenantId, Timestamp};
use veritwin_ingest::{CloseReason, DeviceLink};

use super::devices::LiveState;

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

    /// Ends the live connections whose credential or certificate has ended.
    pub(crate) fn end_what_ended(&self, now: Timestamp) {
        for one in self.attached.lock().values().flatten() {
            if let Some(reason) = one.ended(now) {
                one.link.close(reason);
            }
        }
    }

    /// Looks at the certificates of a tenant's live connections again: those that do not let their
    /// device in any more are ended.
    pub(crate) async fn recheck_certificates(&self, tenant: TenantId) {
        let shown: Vec<_> = {
            let attached = self.attached.lock();
            let own = attached.iter().filter(|(owned, _)| owned.0 == tenant);
            let all = own.flat_map(|(_, all)| all);
            all.filter_map(|one| {
                let (certificate, _) = one.certificate.as_ref()?;
                Some((one.link.clone(), one.credential, Arc::clone(certificate)))
            })
            .collect()
        };
        for (link, credential, certificate) in shown {
            // Where it came from was looked at when it came.
            let login = self.app().recheck_certificate(&certificate).await;
            let counts = match login {
                Ok(login) => login.is_some_and(|id| id == credential),
                // What cannot be said now is said at the next log-in.
                Err(Error::Unavailable(_) | Error::Busy { .. } | Error::Internal(_)) => true,
                Err(_) => false,
            };
            if !counts {
                link.close(CloseReason::CertificateRevoked);
            }
        }
    }
}
