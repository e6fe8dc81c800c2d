//! Authorities whose certificates let a tenant's devices in. Whoever registers one shows that they
//! hold its private key, so that nobody takes another's devices by uploading a certificate that
//! everybody may have; and a key belongs to one tenant.

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use veritwin_access::x509::{CertificateFacts, CertificateFault};
use veritwin_access::{Action, Kind, Resource, x509};
use veritwin_domain::{AddressList, AuthorityId, GroupId, LimitExceeded, OpContext, TenantId};
use veritwin_metastore::{DeviceAuthority, TenantTx};

use crate::change::Change;
use crate::devices::check_text;
use crate::model::{AuthorityInput, AuthorityView, LandingInput};
use crate::{App, Error, Result};

/// Most authorities of a tenant.
const DEVICE_AUTHORITIES_MAX: usize = 32;
/// Most authorities of one name in a tenant: all of a name are looked at when a device comes.
pub(crate) const AUTHORITIES_OF_NAME_MAX: usize = 4;
/// Most devices that an authority or a profile may let in.
const PROVISIONED_DEVICES_MAX: u64 = 100_000;
const NAME_CHARS_MAX: usize = 100;
const KIND_CHARS_MAX: usize = 100;
/// Under which key the codes of proofs are made: the same after a restart.
const PROOF_KEY: &str = "device certificate proofs v1";

/// What is kept of an authority.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredAuthority {
    pub(crate) name: String,
    /// DER, in hexadecimal.
    pub(crate) certificate: String,
    pub(crate) subject: String,
    pub(crate) creates: bool,
    pub(crate) device_name: String,
    pub(crate) devices_max: u64,
    pub(crate) landing: Landing,
    pub(crate) revoked: Option<u64>,
}

/// Where devices land that come in by themselves, as it is kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Landing {
    pub(crate) kind: String,
    pub(crate) group: Option<GroupId>,
    pub(crate) networks: Vec<String>,
}

impl Landing {
    pub(crate) fn view(&self) -> LandingInput {
        let Self { kind, group, networks } = self.clone();
        LandingInput { kind, group, networks }
    }

    /// Whether devices may come from an address.
    pub(crate) fn allows(&self, address: Option<std::net::IpAddr>) -> bool {
        AddressList::parse(&self.networks).is_ok_and(|list| list.allows(address))
    }
}

impl StoredAuthority {
    pub(crate) fn read(authority: &DeviceAuthority) -> Result<Self> {
        let damaged = |_| Error::Internal("an authority of devices is damaged".to_owned());
        serde_json::from_slice(&authority.body).map_err(damaged)
    }

    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::Internal(error.to_string()))
    }

    pub(crate) fn certificate(&self) -> Result<Vec<u8>> {
        let damaged = |_| Error::Internal("an authority of devices is damaged".to_owned());
        hex::decode(&self.certificate).map_err(damaged)
    }

    /// The name of the device for a common name.
    pub(crate) fn device_name_of(&self, common_name: &str) -> String {
        self.device_name.replacen('*', common_name, 1)
    }

    fn set(&mut self, input: &AuthorityInput, landing: Landing) {
        self.name.clone_from(&input.name);
        self.creates = input.creates;
        self.device_name.clone_from(&input.device_name);
        self.devices_max = input.devices_max;
        self.landing = landing;
    }
}

/// What the certificate of a registered authority says; nothing of one that is nobody's.
fn said_of(authority: &DeviceAuthority) -> Result<Option<CertificateFacts>> {
    let certificate = StoredAuthority::read(authority)?.certificate()?;
    Ok(x509::read_certificate(&certificate).ok())
}

/// What is wrong with a certificate that somebody hands in.
pub(crate) fn invalid_certificate(field: &str, fault: &CertificateFault) -> Error {
    Error::invalid_at(field, fault.to_string())
}

fn view(authority: &DeviceAuthority) -> Result<AuthorityView> {
    let stored = StoredAuthority::read(authority)?;
    let certificate = stored.certificate()?;
    Ok(AuthorityView {
        id: authority.id,
        fingerprint: hex::encode(veritwin_keys::sha256(&certificate)),
        subject: stored.subject,
        valid_until: authority.valid_until,
        revoked: stored.revoked,
        revocation_until: authority.revocation_until,
        made: authority.made,
        created_at: authority.created_at,
        version: i64::try_from(authority.version).unwrap_or(i64::MAX),
        input: AuthorityInput {
            name: stored.name,
            creates: stored.creates,
            device_name: stored.device_name,
            devices_max: stored.devices_max,
            landing: stored.landing.view(),
            disabled: authority.disabled_at.is_some(),
        },
    })
}

/// An authority as a change of it is recorded.
fn recorded(view: &AuthorityView) -> Value {
    json!({
        "authority": view.id.to_string(),
        "name": view.input.name,
        "subject": view.subject,
        "fingerprint": view.fingerprint,
        "creates": view.input.creates,
        "device_name": view.input.device_name,
        "devices_max": view.input.devices_max,
        "type": view.input.landing.kind,
        "group": view.input.landing.group.map(|id| id.to_string()),
        "networks": view.input.landing.networks,
        "disabled": view.input.disabled,
        "revoked": view.revoked,
        "revocation_until": view.revocation_until.map(|at| at.to_string()),
    })
}

fn check_input(input: &AuthorityInput) -> Result<()> {
    if input.name.trim().is_empty() {
        return Err(Error::invalid_at("name", "needs a name"));
    }
    check_text("name", &input.name, NAME_CHARS_MAX)?;
    check_text("device_name", &input.device_name, NAME_CHARS_MAX)?;
    if input.device_name.matches('*').count() != 1 {
        let detail = "needs one *, which stands for the common name of a certificate";
        return Err(Error::invalid_at("device_name", detail));
    }
    check_devices_max(input.devices_max)
}

pub(crate) fn check_devices_max(devices_max: u64) -> Result<()> {
    if devices_max == 0 || devices_max > PROVISIONED_DEVICES_MAX {
        let detail = format!("must be 1 to {PROVISIONED_DEVICES_MAX}");
        return Err(Error::invalid_at("devices_max", detail));
    }
    Ok(())
}

impl App {
    /// What a proof for a certificate carries in this tenant.
    pub(crate) fn proof_code(&self, tenant: TenantId, fingerprint: &[u8; 32]) -> Result<String> {
        let key = self.0.keys.platform_subkey(PROOF_KEY)?;
        Ok(x509::proof_code(key.expose(), tenant.as_bytes(), fingerprint))
    }

    /// Where devices land, checked.
    pub(crate) async fn landing(&self, tx: &TenantTx, input: &LandingInput) -> Result<Landing> {
        check_text("type", &input.kind, KIND_CHARS_MAX)?;
        let networks = AddressList::parse(&input.networks)
            .map_err(|error| Error::invalid_at("networks", error.to_string()))?;
        if let Some(group) = input.group
            && !tx.device_groups().await?.iter().any(|known| known.id == group)
        {
            return Err(Error::invalid_at("group_id", "there is no such group"));
        }
        Ok(Landing { kind: input.kind.clone(), group: input.group, networks: networks.texts() })
    }

    /// The authorities of the context's tenant.
    #[boxed]
    pub async fn device_authorities(&self, context: &OpContext) -> Result<Vec<AuthorityView>> {
        let resource = self.authorize_all(context, Action::ProvisioningRead, Kind::Tenant)?;
        let tx = self.0.store.read(context).await?;
        let all = tx.device_authorities().await?;
        self.note(context, Action::ProvisioningRead, &resource, "done");
        all.iter().map(view).collect()
    }

    /// Registers an authority: its certificate, and the proof that its private key is at hand. A
    /// newer certificate of the same name and key takes the place of the one that is registered:
    /// what it let in and what was set of it stay. Live connections that it opened are for the
    /// caller to look at.
    #[boxed]
    pub async fn register_authority(
        &self,
        context: &OpContext,
        (certificate, proof): (&str, &str),
        input: AuthorityInput,
    ) -> Result<AuthorityView> {
        let resource = self.authorize_all(context, Action::ProvisioningWrite, Kind::Tenant)?;
        check_input(&input)?;
        let at =
            |field: &'static str| move |fault: CertificateFault| invalid_certificate(field, &fault);
        let der = x509::certificate_of_pem(certificate).map_err(at("certificate"))?;
        let proof = x509::certificate_of_pem(proof).map_err(at("proof"))?;
        let said = x509::read_authority(&der, context.at).map_err(at("certificate"))?;
        let code = self.proof_code(context.tenant, &said.fingerprint)?;
        x509::check_proof(&proof, &der, &code).map_err(at("proof"))?;
        let tx = self.0.store.begin(context).await?;
        let known = tx.device_authorities().await?;
        let names = known.iter().map(said_of).collect::<Result<Vec<_>>>()?;
        let same = |one: &Option<CertificateFacts>| {
            one.as_ref().is_some_and(|one| one.subject_digest == said.subject_digest)
        };
        let renewed = known.iter().zip(&names).find(|(_, one)| {
            same(one) && one.as_ref().is_some_and(|one| one.key_digest == said.key_digest)
        });
        if let Some((authority, _)) = renewed {
            let stored = self.renew(&tx, context, (&resource, authority), (&der, &said)).await?;
            tx.commit().await?;
            return Ok(stored);
        }
        let of_name = names.iter().filter(|one| same(one)).count();
        for (name, max, count) in [
            ("device_authorities_max", DEVICE_AUTHORITIES_MAX, known.len()),
            ("authorities_of_name_max", AUTHORITIES_OF_NAME_MAX, of_name),
        ] {
            if count >= max {
                return Err(Error::Limit(LimitExceeded { name, max, actual: count + 1 }));
            }
        }
        let authority = self.new_authority(&tx, context, (&der, &said), &input).await?;
        let digests = (said.key_digest, said.subject_digest);
        tx.device_authority_create(&authority, digests).await.map_err(|error| match error {
            veritwin_metastore::Error::Conflict { .. } => Error::Conflict(
                "an authority with this key is registered already: it lets devices into one \
                 organisation only"
                    .to_owned(),
            ),
            other => other.into(),
        })?;
        let stored = view(&tx.device_authority(authority.id).await?)?;
        let change = Change::to(recorded(&stored));
        self.record_change(&tx, context, Action::ProvisioningWrite, &resource, change).await?;
        tx.commit().await?;
        Ok(stored)
    }

    /// Puts a newer certificate of an authority in the place of the one that is registered.
    async fn renew(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (resource, known): (&Resource, &DeviceAuthority),
        (der, said): (&[u8], &CertificateFacts),
    ) -> Result<AuthorityView> {
        let before = view(known)?;
        let mut stored = StoredAuthority::read(known)?;
        stored.certificate = hex::encode(der);
        let (body, valid_until) = (stored.bytes()?, said.not_after);
        let authority = DeviceAuthority { body, valid_until, ..known.clone() };
        self.write_authority(tx, context, resource, (&authority, &before), None).await?;
        view(&tx.device_authority(known.id).await?)
    }

    async fn new_authority(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (der, said): (&[u8], &CertificateFacts),
        input: &AuthorityInput,
    ) -> Result<DeviceAuthority> {
        let mut stored = StoredAuthority {
            name: String::new(),
            certificate: hex::encode(der),
            subject: said.subject.chars().take(300).collect(),
            creates: false,
            device_name: String::new(),
            devices_max: 0,
            landing: Landing::default(),
            revoked: None,
        };
        stored.set(input, self.landing(tx, &input.landing).await?);
        Ok(DeviceAuthority {
            id: AuthorityId::generate(context.at, self.rng()),
            body: stored.bytes()?,
            valid_until: said.not_after,
            revocation_until: None,
            made: 0,
            disabled_at: input.disabled.then_some(context.at),
            version: 1,
            created_at: context.at,
        })
    }

    /// Changes what is set of an authority. Live connections that it opened are for the caller to
    /// look at.
    #[boxed]
    pub async fn update_authority(
        &self,
        context: &OpContext,
        id: AuthorityId,
        input: AuthorityInput,
        if_version: Option<i64>,
    ) -> Result<AuthorityView> {
        let resource = self.authorize_all(context, Action::ProvisioningWrite, Kind::Tenant)?;
        check_input(&input)?;
        let tx = self.0.store.begin(context).await?;
        let mut authority = tx.device_authority(id).await?;
        let before = view(&authority)?;
        let mut stored = StoredAuthority::read(&authority)?;
        stored.set(&input, self.landing(&tx, &input.landing).await?);
        authority.body = stored.bytes()?;
        let since = authority.disabled_at.unwrap_or(context.at);
        authority.disabled_at = input.disabled.then_some(since);
        self.write_authority(&tx, context, &resource, (&authority, &before), if_version).await?;
        let stored = view(&tx.device_authority(id).await?)?;
        tx.commit().await?;
        Ok(stored)
    }

    async fn write_authority(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        resource: &Resource,
        (authority, before): (&DeviceAuthority, &AuthorityView),
        if_version: Option<i64>,
    ) -> Result<()> {
        let expected = if_version.map(|version| u64::try_from(version).unwrap_or(0));
        tx.device_authority_update(authority, expected).await?;
        let change = Change::from_to(recorded(before), recorded(&view(authority)?));
        self.record_change(tx, context, Action::ProvisioningWrite, resource, change).await
    }

    /// Sets an authority's revocation list, PEM or DER; an empty one takes it away.
    #[boxed]
    pub async fn set_revocation_list(
        &self,
        context: &OpContext,
        id: AuthorityId,
        list: &[u8],
    ) -> Result<AuthorityView> {
        let resource = self.authorize_all(context, Action::ProvisioningWrite, Kind::Tenant)?;
        let tx = self.0.store.begin(context).await?;
        let mut authority = tx.device_authority(id).await?;
        let before = view(&authority)?;
        let mut stored = StoredAuthority::read(&authority)?;
        if list.is_empty() {
            (authority.revocation_until, stored.revoked) = (None, None);
            tx.device_authority_list(id, None).await?;
        } else {
            let read = x509::read_revocation_list(list, &stored.certificate()?, context.at)
                .map_err(|fault| invalid_certificate("list", &fault))?;
            stored.revoked = Some(read.revoked as u64);
            authority.revocation_until = Some(read.next_update);
            tx.device_authority_list(id, Some(&read.der)).await?;
        }
        authority.body = stored.bytes()?;
        self.write_authority(&tx, context, &resource, (&authority, &before), None).await?;
        let stored = view(&tx.device_authority(id).await?)?;
        tx.commit().await?;
        Ok(stored)
    }

    /// Takes an authority away: its certificates let nobody in any more. The devices stay.
    #[boxed]
    pub async fn delete_authority(&self, context: &OpContext, id: AuthorityId) -> Result<()> {
        let resource = self.authorize_all(context, Action::ProvisioningWrite, Kind::Tenant)?;
        let tx = self.0.store.begin(context).await?;
        let before = view(&tx.device_authority(id).await?)?;
        tx.device_authority_delete(id).await?;
        let change = Change::from(recorded(&before));
        self.record_change(&tx, context, Action::ProvisioningWrite, &resource, change).await?;
        Ok(tx.commit().await?)
    }
}
