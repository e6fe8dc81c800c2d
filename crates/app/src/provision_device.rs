//! A device that comes by itself: with the key and secret of a provisioning profile, or with a
//! certificate that an authority of the tenant vouches for. It is let in once, and the same request
//! is answered alike when its first answer was lost and the device brought its own secret.

use std::net::IpAddr;
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Resource, jobs, x509};
use veritwin_domain::{
    AuthorityId, ClientCertificate, DeviceId, GroupId, OpContext, ProvisionAnswer,
    ProvisionCredential, ProvisionRequest, Secret, TenantId,
};
use veritwin_keys::{constant_time_eq, hmac_sha256, token};
use veritwin_metastore::{
    Credential, CredentialFacts, CredentialKind, Device, FoundProfile, ProvisionedDevice, TenantTx,
};

use crate::authorities::{Landing, StoredAuthority};
use crate::change::Change;
use crate::claim_lists::away;
use crate::device_credentials::Prepared;
use crate::devices::check_name;
use crate::ingest::UNKNOWN;
use crate::model::{CredentialInput, DeviceInput, ProvisionStrategy};
use crate::provisioning::StoredProfile;
use crate::tree::Quota;
use crate::{App, Error, Result};

/// Under which key requests are compared: the same after a restart.
const REQUEST_KEY: &str = "provisioning requests v1";

const EXISTS: &str = "a device of this name is there already";
const NO_DEVICE: &str = "there is no device of this name that waits for its credential";
const FULL: &str = "the profile has let in as many devices as it may";
const MAKES_NONE: &str = "the authority is disabled, or has let in as many devices as it may";
const NOT_SHOWN: &str = "expected the certificate that the device shows in its TLS handshake \
                         (MQTT), as PEM in hash";

/// Who came, and what vouched for it.
struct Newcomer<'a> {
    name: String,
    landing: &'a Landing,
    by: serde_json::Value,
}

impl App {
    /// Lets a device in that shows the key and secret of a provisioning profile. What is refused
    /// counts as a failed log-in: the secret is in every device of a lot, and whoever has taken it
    /// out of one tries names with it.
    #[boxed]
    pub async fn provision_device(
        &self,
        request: ProvisionRequest,
        shown: Option<&Arc<ClientCertificate>>,
        address: Option<IpAddr>,
    ) -> Result<ProvisionAnswer> {
        let found = self.find_profile(&request, address).await?;
        let answer = self.provision_known(&found, request, shown).await;
        if let Err(Error::Conflict(_) | Error::Invalid { .. } | Error::Limit(_)) = &answer {
            self.count_failed_device_login(address);
        }
        answer
    }

    async fn provision_known(
        &self,
        found: &FoundProfile,
        request: ProvisionRequest,
        shown: Option<&Arc<ClientCertificate>>,
    ) -> Result<ProvisionAnswer> {
        let stored = StoredProfile::read(&found.profile)?;
        let context = self.job_in(jobs::INGEST, found.tenant);
        let name = check_name(&request.name)?;
        let digest = self.request_digest(found, &request)?;
        let (prepared, answer) = self.prepare_asked(&context, request.credential, shown).await?;
        let tx = self.0.store.begin(&context).await?;
        let known = tx.device_by_name(&name).await?;
        if let Some(device) = &known
            && let Some(before) = tx.provisioned(device.id).await?
        {
            let is_same = before.profile == found.profile.id
                && digest.is_some_and(|digest| constant_time_eq(&digest, &before.request_digest));
            let in_force = |one: &Credential| {
                one.revoked_at.is_none()
                    && one.disabled_at.is_none()
                    && one.valid_from.is_none_or(|from| from <= context.at)
                    && one.valid_until.is_none_or(|end| context.at < end)
            };
            let lets_in = tx.credentials(device.id).await?.iter().any(in_force);
            // Its answer was lost: what it brought counts already. One that was shut out since is
            // not told that it is in.
            let is_in = is_same && lets_in;
            return if is_in { Ok(answer) } else { Err(Error::Conflict(EXISTS.to_owned())) };
        }
        let device = match (stored.strategy()?, known) {
            (ProvisionStrategy::CreateNew, Some(_)) => {
                return Err(Error::Conflict(EXISTS.to_owned()));
            }
            (ProvisionStrategy::CreateNew, None) => {
                let by = json!(found.profile.id.to_string());
                let newcomer = Newcomer { name, landing: &stored.landing, by };
                self.make_newcomer(&tx, &context, &newcomer).await?
            }
            (ProvisionStrategy::PreProvisioned, Some(device)) => {
                self.check_waits(&tx, &device, &stored.landing).await?;
                device
            }
            (ProvisionStrategy::PreProvisioned, None) => {
                return Err(Error::Conflict(NO_DEVICE.to_owned()));
            }
        };
        if !tx.provision_profile_count(found.profile.id, stored.devices_max).await? {
            return Err(Error::Conflict(FULL.to_owned()));
        }
        self.write_credential(&tx, &context, device.id, &prepared).await?;
        let provisioned = ProvisionedDevice {
            device: device.id,
            profile: found.profile.id,
            request_digest: digest.unwrap_or_else(|| self.no_digest()),
        };
        tx.provisioned_add(&provisioned).await?;
        let resource = Resource::device(found.tenant, device.id);
        let change = Change::to(json!({
            "profile": found.profile.id.to_string(),
            "name": device.name,
            "credential": prepared.kind.as_str(),
        }));
        self.record_change(&tx, &context, Action::DeviceProvision, &resource, change).await?;
        tx.commit().await?;
        self.newcomer_in(found.tenant, &stored.landing);
        Ok(answer)
    }

    /// Refuses a device that does not wait for its credential: one that was heard of, that came in
    /// by another or was claimed, or that is not of the type and group which the profile is for,
    /// or that is a Sparkplug host. Otherwise the secret of a lot would open every device of the
    /// organisation.
    async fn check_waits(&self, tx: &TenantTx, device: &Device, landing: &Landing) -> Result<()> {
        let presence = self.0.presence.of(tx.tenant_id(), device.id);
        let is_heard_of = device.last_seen_at.or(presence.last_seen_at).is_some();
        let credentials = tx.credentials(device.id).await?;
        let is_used = credentials.iter().any(|one| one.used_at.is_some());
        let is_of_type = landing.kind.is_empty() || landing.kind == device.kind;
        let is_in_group = match landing.group {
            None => true,
            Some(group) => {
                let groups = tx.device_groups().await?;
                groups.iter().any(|known| known.id == group && known.devices.contains(&device.id))
            }
        };
        let is_away = away(tx, device.id).await?.is_some();
        let is_in_use = is_heard_of || presence.connected || is_used || is_away;
        // The secret of a lot makes nobody a host, who commands every edge node.
        if is_in_use || device.is_sparkplug_host || !is_of_type || !is_in_group {
            return Err(Error::Conflict(NO_DEVICE.to_owned()));
        }
        Ok(())
    }

    /// The profile whose key and secret were shown, if it lets devices in from there now. Whoever
    /// does not know both learns nothing of it.
    async fn find_profile(
        &self,
        request: &ProvisionRequest,
        address: Option<IpAddr>,
    ) -> Result<FoundProfile> {
        self.check_device_logins(address)?;
        let context = self.job(jobs::INGEST);
        self.authorize_platform(&context, Action::DeviceProvision)?;
        let tx = self.0.store.read_platform(&context).await?;
        let found = tx.provision_profile_by_key(token::digest(request.key.expose())).await?;
        drop(tx);
        let secret = token::digest(request.secret.expose());
        let found = found.filter(|found| constant_time_eq(&found.secret_digest, &secret));
        let Some(found) = found else {
            self.count_failed_device_login(address);
            return Err(UNKNOWN);
        };
        let refuse = |text: &str| Err(Error::Forbidden(text.to_owned()));
        if found.profile.disabled_at.is_some() {
            return refuse("the profile is disabled");
        }
        if found.profile.expires_at.is_some_and(|end| end <= self.clock().now()) {
            return refuse("the profile has ended");
        }
        self.refuse_unserved(found.tenant)?;
        self.check_device_network(&context, found.tenant, address).await?;
        if !StoredProfile::read(&found.profile)?.landing.allows(address) {
            return refuse("the profile lets devices in from networks of its choice only");
        }
        Ok(found)
    }

    /// What the same request is known by again; none of one whose secret is made here, which
    /// nobody is shown twice.
    fn request_digest(
        &self,
        found: &FoundProfile,
        request: &ProvisionRequest,
    ) -> Result<Option<[u8; 32]>> {
        let parts: Vec<&[u8]> = match &request.credential {
            ProvisionCredential::Token(Some(token)) => {
                vec![&b"token"[..], token.expose().as_bytes()]
            }
            ProvisionCredential::Basic { client_id, user, password: Some(password) } => vec![
                &b"basic"[..],
                client_id.as_deref().unwrap_or_default().as_bytes(),
                user.as_deref().unwrap_or_default().as_bytes(),
                password.expose().as_bytes(),
            ],
            ProvisionCredential::Certificate(pem) => vec![&b"x509"[..], pem.as_bytes()],
            ProvisionCredential::Token(None) | ProvisionCredential::Basic { .. } => {
                return Ok(None);
            }
        };
        let mut text = found.profile.id.as_bytes().to_vec();
        for part in parts.into_iter().chain([request.name.as_bytes()]) {
            text.extend_from_slice(&(part.len() as u64).to_be_bytes());
            text.extend_from_slice(part);
        }
        let key = self.0.keys.platform_subkey(REQUEST_KEY)?;
        Ok(Some(hmac_sha256(key.expose(), &text)))
    }

    /// What no request is known by.
    fn no_digest(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.rng().fill(&mut bytes);
        bytes
    }

    /// The credential that a device asks for, and what it is answered.
    async fn prepare_asked(
        &self,
        context: &OpContext,
        asked: ProvisionCredential,
        shown: Option<&Arc<ClientCertificate>>,
    ) -> Result<(Prepared, ProvisionAnswer)> {
        let input = match asked {
            ProvisionCredential::Token(None) => CredentialInput::Token,
            ProvisionCredential::Token(Some(token)) => CredentialInput::OwnToken(token),
            ProvisionCredential::Basic { client_id, user, password } => {
                CredentialInput::Basic { client_id, user, password }
            }
            ProvisionCredential::Certificate(pem) => {
                let prepared = shown_certificate(&pem, shown, context)?;
                return Ok((prepared, ProvisionAnswer::Certificate));
            }
        };
        let own = match &input {
            CredentialInput::OwnToken(own) => Some(own.clone()),
            CredentialInput::Basic { password, .. } => password.clone(),
            _ => None,
        };
        let mut prepared = self.prepare_credential(context, input).await?;
        let secret: Option<Secret<String>> = prepared.secret.take().or(own);
        let secret = secret.ok_or(Error::NotFound("credential"))?;
        let answer = match prepared.kind {
            CredentialKind::Basic => ProvisionAnswer::Basic {
                client_id: prepared.facts.client_id.clone(),
                user: prepared.facts.user.clone(),
                password: secret,
            },
            CredentialKind::AccessToken | CredentialKind::X509 => ProvisionAnswer::Token(secret),
        };
        Ok((prepared, answer))
    }

    async fn make_newcomer(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        newcomer: &Newcomer<'_>,
    ) -> Result<Device> {
        let count = tx.usage().await?.devices + 1;
        self.check_quota(context.tenant, Quota::Devices, count)?;
        let kind = newcomer.landing.kind.clone();
        let name = newcomer.name.clone();
        let device = self.new_device(context, DeviceInput { name, kind, ..Default::default() })?;
        tx.device_create(&device).await?;
        if let Some(group) = newcomer.landing.group {
            self.put_into_group(tx, group, device.id).await?;
        }
        let resource = Resource::device(context.tenant, device.id);
        let change = Change::to(json!({"name": device.name, "came_by": newcomer.by}));
        self.record_change(tx, context, Action::DeviceCreate, &resource, change).await?;
        Ok(device)
    }

    /// A group that is gone takes nobody; the device comes in all the same.
    async fn put_into_group(&self, tx: &TenantTx, group: GroupId, device: DeviceId) -> Result<()> {
        if tx.device_groups().await?.iter().any(|known| known.id == group) {
            tx.group_device_add(group, device).await?;
        }
        Ok(())
    }

    fn newcomer_in(&self, tenant: TenantId, landing: &Landing) {
        self.note_devices_changed(tenant, None);
        if landing.group.is_some() {
            self.access_changed(tenant);
        }
    }

    /// What an authority makes of a common name, and under which name, if it may make a device.
    async fn check_makes(
        &self,
        tx: &TenantTx,
        authority: AuthorityId,
        common_name: &str,
    ) -> Result<(StoredAuthority, String)> {
        let known = tx.device_authority(authority).await?;
        let stored = StoredAuthority::read(&known)?;
        if !stored.creates {
            let text = "no device is set up for the common name of this certificate";
            return Err(Error::Forbidden(text.to_owned()));
        }
        if known.disabled_at.is_some() || known.made >= stored.devices_max {
            return Err(Error::Forbidden(MAKES_NONE.to_owned()));
        }
        let name = check_name(&stored.device_name_of(common_name))?;
        if tx.device_by_name(&name).await?.is_some() {
            return Err(Error::Forbidden(format!("{EXISTS}, without this certificate")));
        }
        Ok((stored, name))
    }

    /// Makes the device for a common name that an authority vouches for, if it may.
    pub(crate) async fn provision_by_certificate(
        &self,
        (tenant, authority, common_name): (TenantId, AuthorityId, &str),
        address: Option<IpAddr>,
    ) -> Result<()> {
        self.authorize_platform(&self.job(jobs::INGEST), Action::DeviceProvision)?;
        let context = self.job_in(jobs::INGEST, tenant);
        self.check_device_network(&self.job(jobs::INGEST), tenant, address).await?;
        // A device that is refused comes again and again: no turn to write is taken for it.
        let tx = self.0.store.read(&context).await?;
        self.check_makes(&tx, authority, common_name).await?;
        drop(tx);
        let input = CredentialInput::CommonName { authority, common_name: common_name.to_owned() };
        let prepared = self.prepare_credential(&context, input).await?;
        let tx = self.0.store.begin(&context).await?;
        let (stored, name) = self.check_makes(&tx, authority, common_name).await?;
        if !tx.device_authority_count(authority, stored.devices_max).await? {
            return Err(Error::Forbidden(MAKES_NONE.to_owned()));
        }
        let by = json!(authority.to_string());
        let newcomer = Newcomer { name, landing: &stored.landing, by };
        let device = self.make_newcomer(&tx, &context, &newcomer).await?;
        self.write_credential(&tx, &context, device.id, &prepared).await?;
        let resource = Resource::device(tenant, device.id);
        let change = Change::to(json!({
            "authority": authority.to_string(),
            "name": device.name,
            "credential": prepared.kind.as_str(),
        }));
        self.record_change(&tx, &context, Action::DeviceProvision, &resource, change).await?;
        tx.commit().await?;
        self.newcomer_in(tenant, &stored.landing);
        Ok(())
    }
}

/// The certificate that a device asks to come in with, which its handshake proved.
fn shown_certificate(
    pem: &str,
    shown: Option<&Arc<ClientCertificate>>,
    context: &OpContext,
) -> Result<Prepared> {
    let not_shown = || Error::invalid_at("hash", NOT_SHOWN);
    let der = x509::certificate_of_pem(pem).map_err(|_| not_shown())?;
    let shown = shown.filter(|shown| shown.leaf == der).ok_or_else(not_shown)?;
    let invalid = |fault: x509::CertificateFault| Error::invalid_at("hash", fault.to_string());
    let said = x509::read_certificate(&shown.leaf).map_err(invalid)?;
    said.check_time(context.at).map_err(invalid)?;
    let facts = CredentialFacts {
        fingerprint: Some(hex::encode(said.fingerprint)),
        common_name: said.common_name,
        ..CredentialFacts::default()
    };
    Ok(Prepared {
        kind: CredentialKind::X509,
        facts,
        digest: said.fingerprint,
        hash: None,
        secret: None,
        ends_at: Some(said.not_after),
    })
}
