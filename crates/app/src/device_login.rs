//! How a device is let in: by the credential that it shows, if that counts now.

use std::net::IpAddr;
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use veritwin_access::x509::CertificateFault;
use veritwin_access::{Action, jobs, x509};
use veritwin_domain::{ClientCertificate, CredentialId, Secret, Timestamp};
use veritwin_metastore::{CredentialKind, CredentialMatch, FoundAuthority};

use crate::authorities::StoredAuthority;
use crate::credential_digests::{basic_digest, common_name_digest, made_digest};
use crate::ingest::UNKNOWN;
use crate::{App, BasicLogin, DeviceLogin, Error, Result};

/// In how many ways a credential may fit a client id and a user name: by both, by the user name
/// alone, by the client id alone.
const BASIC_WAYS: usize = 3;
/// Most authorities of one name that a certificate is held to: each organisation may have
/// [`crate::authorities::AUTHORITIES_OF_NAME_MAX`] of a name, so that no few crowd out another.
const AUTHORITIES_PER_NAME_MAX: u64 = 256;

/// What a certificate leads to.
struct Vouched {
    tenant: veritwin_domain::TenantId,
    authority: FoundAuthority,
    stored: StoredAuthority,
    ends_at: Timestamp,
}

impl App {
    /// The credential of a kind behind a digest.
    pub(crate) async fn find_credential(
        &self,
        digest: [u8; 32],
        kind: CredentialKind,
    ) -> Result<Option<CredentialMatch>> {
        let context = self.job(jobs::INGEST);
        self.authorize_platform(&context, Action::DeviceAuthenticate)?;
        let tx = self.0.store.read_platform(&context).await?;
        let found = tx.credential_by_digest(digest).await?;
        Ok(found.filter(|found| found.credential.kind == kind))
    }

    /// The credentials of a client id, a user name and a password: one whose password was made
    /// here is found by all it has, whatever others use its names; then those whose password was
    /// chosen, one for each way in which the names may be given. They may be several tenants'.
    async fn find_basic(
        &self,
        (client, user): (&str, &str),
        shown: &[u8],
    ) -> Result<Vec<CredentialMatch>> {
        // The narrower first: a user name that is bound to a client id counts with that only.
        let names = [(Some(client), Some(user)), (None, Some(user)), (Some(client), None)];
        let made = names.map(|names| made_digest(names, shown));
        let chosen = names.map(|(client, user)| basic_digest(client, user));
        let context = self.job(jobs::INGEST);
        self.authorize_platform(&context, Action::DeviceAuthenticate)?;
        let tx = self.0.store.read_platform(&context).await?;
        let mut found = tx.credentials_by_digest(&[made, chosen].concat()).await?;
        found.retain(|found| found.credential.kind == CredentialKind::Basic);
        Ok(found)
    }

    /// The login by a credential that was shown, if it counts now.
    pub(crate) fn counting(&self, found: &CredentialMatch) -> Result<DeviceLogin> {
        let (credential, now) = (&found.credential, self.clock().now());
        let is_ended = self.is_login_ended(credential.device, credential.id);
        if credential.disabled_at.is_some() || is_ended {
            return Err(Error::Forbidden("this credential is disabled".to_owned()));
        }
        if let Some(from) = credential.valid_from.filter(|from| now < *from) {
            return Err(Error::Forbidden(format!("this credential counts from {from} on")));
        }
        if let Some(until) = credential.valid_until.filter(|until| *until <= now) {
            return Err(Error::Forbidden(format!("this credential ended at {until}")));
        }
        let is_host = self.new_sparkplug_host(credential.device);
        Ok(DeviceLogin {
            tenant: found.tenant,
            device: credential.device,
            credential: credential.id,
            name: found.device_name.expose().as_str().into(),
            is_gateway: found.is_gateway,
            is_sparkplug_host: is_host.unwrap_or(found.is_sparkplug_host),
            ends_at: credential.valid_until,
            certificate: None,
        })
    }

    async fn check_served(&self, login: &DeviceLogin, address: Option<IpAddr>) -> Result<()> {
        self.refuse_unserved(login.tenant)?;
        self.check_device_network(&self.job(jobs::INGEST), login.tenant, address).await
    }

    /// The device behind a user name and a password that are shown from an address.
    #[boxed]
    pub async fn login_device_basic(
        &self,
        shown: &BasicLogin,
        address: Option<IpAddr>,
    ) -> Result<DeviceLogin> {
        self.check_device_logins(address)?;
        let names = (shown.client_id.expose().as_str(), shown.user.expose().as_str());
        let passwords = &self.0.device_passwords;
        let attempt = passwords.attempt(names, address);
        let now = self.clock().monotonic();
        let throttled = passwords.throttle.lock().attempt(&attempt, now);
        throttled.map_err(|throttled| Error::Busy { retry_after: throttled.retry_after })?;
        let looked = self.look_at_password(names, &shown.password).await;
        // What could not be looked at is no guess: a platform that is busy slows nobody down.
        let looked = looked.inspect_err(|_| passwords.throttle.lock().withdrawn(&attempt))?;
        let Some((found, is_alone)) = looked else {
            // Each slow hash that it cost.
            (0..ways_of(names)).for_each(|_| self.count_failed_device_login(address));
            return Err(UNKNOWN);
        };
        if is_alone {
            passwords.throttle.lock().succeeded(&attempt, self.clock().monotonic());
        } else {
            // Whoever has one beside another organisation's forgives himself no guess at that one.
            passwords.throttle.lock().withdrawn(&attempt);
        }
        let login = self.counting(&found)?;
        self.check_served(&login, address).await?;
        self.note_use(&found, None);
        Ok(login)
    }

    /// The credential whose names fit and whose password this is, and whether no other
    /// organisation's has names that fit too.
    async fn look_at_password(
        &self,
        names: (&str, &str),
        shown: &Secret<Vec<u8>>,
    ) -> Result<Option<(CredentialMatch, bool)>> {
        let mut found = self.find_basic(names, shown.expose()).await?;
        let matches = self.device_password_matches(&found, ways_of(names), shown);
        let Some(at) = matches.await? else { return Ok(None) };
        let owner = found[at].tenant;
        let is_alone = found.iter().all(|one| one.tenant == owner);
        Ok(Some((found.swap_remove(at), is_alone)))
    }

    /// The device behind a certificate whose private key a handshake has proved: one that was
    /// registered itself, or one that leads to an authority of a tenant. A device that such an
    /// authority vouches for is made if the tenant said so.
    #[boxed]
    pub async fn login_device_certificate(
        &self,
        shown: &Arc<ClientCertificate>,
        address: Option<IpAddr>,
    ) -> Result<DeviceLogin> {
        self.check_device_logins(address)?;
        let refused = || {
            self.count_failed_device_login(address);
            UNKNOWN
        };
        let said = x509::read_certificate(&shown.leaf).map_err(|_| refused())?;
        let now = self.clock().now();
        said.check_time(now).map_err(|fault| not_counting(&fault))?;
        let own = self.find_credential(said.fingerprint, CredentialKind::X509).await?;
        if let Some(found) = own {
            let mut login = self.counting(&found)?;
            login.certificate = Some((Arc::clone(shown), said.not_after));
            self.check_served(&login, address).await?;
            self.note_use(&found, Some(said.not_after));
            return Ok(login);
        }
        let vouched = self.vouched_for(shown, now).await?.ok_or_else(refused)?;
        let Some(common_name) = said.common_name else {
            let text = "the certificate needs one common name, which says which device it is";
            return Err(Error::Forbidden(text.to_owned()));
        };
        let authority = vouched.authority.authority.id;
        let digest = common_name_digest(authority, &common_name);
        let mut found = self.find_credential(digest, CredentialKind::X509).await?;
        // Of one that was claimed its own organisation says from where it comes.
        let is_own = found.as_ref().is_none_or(|found| found.tenant == vouched.tenant);
        if is_own && !vouched.stored.landing.allows(address) {
            let text = "the authority lets devices in from networks of its choice only";
            return Err(Error::Forbidden(text.to_owned()));
        }
        if found.is_none() {
            self.refuse_unserved(vouched.tenant)?;
            let asked = (vouched.tenant, authority, common_name.as_str());
            let made = self.provision_by_certificate(asked, address).await;
            found = self.find_credential(digest, CredentialKind::X509).await?;
            // It may have come on two connections at once, and the other one made it.
            if found.is_none() {
                made?;
            }
        }
        let found = found.filter(|found| self.vouches_for(vouched.tenant, found.tenant));
        let found = found.ok_or_else(refused)?;
        let mut login = self.counting(&found)?;
        login.certificate = Some((Arc::clone(shown), vouched.ends_at));
        self.check_served(&login, address).await?;
        self.note_use(&found, Some(said.not_after));
        Ok(login)
    }

    /// The credential that a certificate leads to now, and until when the certificate counts,
    /// without letting anybody in.
    #[boxed]
    pub async fn recheck_certificate(
        &self,
        shown: &ClientCertificate,
    ) -> Result<Option<(CredentialId, Timestamp)>> {
        let now = self.clock().now();
        let said = x509::read_certificate(&shown.leaf).map_err(|_| UNKNOWN)?;
        said.check_time(now).map_err(|fault| not_counting(&fault))?;
        let mut found = self.find_credential(said.fingerprint, CredentialKind::X509).await?;
        let mut ends_at = said.not_after;
        if found.is_none()
            && let Some(vouched) = self.vouched_for(shown, now).await?
            && let Some(common_name) = said.common_name
        {
            let digest = common_name_digest(vouched.authority.authority.id, &common_name);
            found = self.find_credential(digest, CredentialKind::X509).await?;
            found = found.filter(|found| self.vouches_for(vouched.tenant, found.tenant));
            ends_at = vouched.ends_at;
        }
        let counts = found.map(|found| self.counting(&found)).transpose()?;
        Ok(counts.map(|login| (login.credential, ends_at)))
    }

    /// The authority nearest to a certificate that vouches for it now. One that revoked it ends
    /// the search.
    async fn vouched_for(
        &self,
        shown: &ClientCertificate,
        now: Timestamp,
    ) -> Result<Option<Vouched>> {
        let context = self.job(jobs::INGEST);
        self.authorize_platform(&context, Action::DeviceAuthenticate)?;
        let between: Vec<&[u8]> = shown.between.iter().map(Vec::as_slice).collect();
        let between = &between[..between.len().min(x509::CERTIFICATES_BETWEEN_MAX)];
        for der in std::iter::once(shown.leaf.as_slice()).chain(between.iter().copied()) {
            let Ok(said) = x509::read_certificate(der) else { return Ok(None) };
            let tx = self.0.store.read_platform(&context).await?;
            let named = tx.device_authorities_named(said.issuer_digest, AUTHORITIES_PER_NAME_MAX);
            let named = named.await?;
            drop(tx);
            let chain = (shown.leaf.as_slice(), between);
            for found in named {
                // One that is damaged is not in the way of others of its name.
                let Ok(stored) = StoredAuthority::read(&found.authority) else { continue };
                let Ok(own) = stored.certificate() else { continue };
                // Another key may have the same name: nothing is told of it.
                if x509::check_chain(chain, (&own, None), now).is_err() {
                    continue;
                }
                // Lists are large: only that of the authority which the chain leads to is read.
                if let Some(list) = self.revocation_list(&found).await? {
                    x509::check_chain(chain, (&own, Some(&list)), now)
                        .map_err(|fault| not_counting(&fault))?;
                }
                return self.vouched(shown, (found, stored), now).map(Some);
            }
        }
        Ok(None)
    }

    async fn revocation_list(&self, found: &FoundAuthority) -> Result<Option<Vec<u8>>> {
        if found.authority.revocation_until.is_none() {
            return Ok(None);
        }
        let tx = self.0.store.read_platform(&self.job(jobs::INGEST)).await?;
        let list = tx.device_authority_revocation(found.tenant, found.authority.id).await?;
        // It, or its list, is gone since: whoever tries again is told.
        let gone = || Error::Unavailable("the authority changed meanwhile: try again".to_owned());
        list.ok_or_else(gone).map(Some)
    }

    fn vouched(
        &self,
        shown: &ClientCertificate,
        (authority, stored): (FoundAuthority, StoredAuthority),
        now: Timestamp,
    ) -> Result<Vouched> {
        if authority.authority.disabled_at.is_some() {
            let text = "the authority of this certificate is disabled";
            return Err(Error::Forbidden(text.to_owned()));
        }
        let until = authority.authority.valid_until;
        if until <= now {
            let text = format!("the authority of this certificate ended at {until}");
            return Err(Error::Forbidden(text));
        }
        let all = std::iter::once(&shown.leaf).chain(&shown.between);
        let ends = all.filter_map(|der| x509::read_certificate(der).ok());
        let ends_at = ends.map(|said| said.not_after).min().unwrap_or(until).min(until);
        Ok(Vouched { tenant: authority.tenant, authority, stored, ends_at })
    }
}

/// In how many ways a credential may fit these names. With one name only there is one.
const fn ways_of((client, user): (&str, &str)) -> usize {
    if client.is_empty() || user.is_empty() { 1 } else { BASIC_WAYS }
}

fn not_counting(fault: &CertificateFault) -> Error {
    Error::Forbidden(match fault {
        CertificateFault::OutOfTime(from, until) => {
            format!("the certificate counts from {from} to {until}, which is not now")
        }
        other => other.to_string(),
    })
}
