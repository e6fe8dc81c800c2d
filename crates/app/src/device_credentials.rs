//! A device's credentials: made, shown without their secrets, given an end so that another takes
//! over, disabled and revoked. Secrets leave once, when they are made.

use async_recursion::async_recursion as boxed;
use serde_json::{Value, json};
use veritwin_access::x509::CertificateFault;
use veritwin_access::{Action, Kind, Resource, TokenKind, x509};
use veritwin_domain::{CredentialId, DeviceId, LimitExceeded, OpContext, Secret, Timestamp};
use veritwin_keys::token;
use veritwin_metastore::{Credential, CredentialFacts, CredentialKind, Device, TenantTx};

use crate::authorities::invalid_certificate;
use crate::change::Change;
use crate::claim_lists::refuse_moved;
use crate::credential_digests::{basic_digest, common_name_digest, made_digest, random_hash};
use crate::devices::check_text;
use crate::model::{
    CredentialChange, CredentialInput, CredentialView, MadeCredential, NewCredential,
};
use crate::{App, Error, Result};

/// Most credentials of a device that were not revoked.
pub(crate) const CREDENTIALS_PER_DEVICE_MAX: usize = 16;
/// Shortest password that somebody chose, in bytes. A token of a device's own is held to it too.
const DEVICE_PASSWORD_BYTES_MIN: usize = 12;
/// Longest password of a device, in bytes.
const DEVICE_PASSWORD_BYTES_MAX: usize = 256;
/// Longest MQTT client id or user name of a credential, in bytes.
const DEVICE_USER_BYTES_MAX: usize = 256;
const NAME_CHARS_MAX: usize = 100;
/// What passwords begin with that are made here.
const PASSWORD_PREFIX: &str = "vtw";

const TAKEN: &str = "a credential of this or another device uses this already: choose another \
                     client id, user name, token or certificate, or let the password or token be \
                     made here";

/// What a credential is found by and checked against, with what is shown once.
pub(crate) struct Prepared {
    pub(crate) kind: CredentialKind,
    pub(crate) facts: CredentialFacts,
    pub(crate) digest: [u8; 32],
    pub(crate) hash: Option<Secret<String>>,
    pub(crate) secret: Option<Secret<String>>,
    /// The end of a certificate.
    pub(crate) ends_at: Option<Timestamp>,
}

fn credential_view(one: &Credential) -> CredentialView {
    let facts = one.facts.clone();
    CredentialView {
        id: one.id,
        kind: one.kind.as_str(),
        name: facts.name,
        client_id: facts.client_id,
        user: facts.user,
        fingerprint: facts.fingerprint,
        common_name: facts.common_name,
        authority: facts.authority,
        created_at: one.created_at,
        valid_from: one.valid_from,
        valid_until: one.valid_until,
        disabled_at: one.disabled_at,
        used_at: one.used_at,
    }
}

/// A credential as a change of it is recorded.
fn recorded(one: &Credential) -> Value {
    json!({
        "credential": one.id.to_string(),
        "kind": one.kind.as_str(),
        "name": one.facts.name,
        "fingerprint": one.facts.fingerprint,
        "common_name": one.facts.common_name,
        "valid_from": one.valid_from.map(|at| at.to_string()),
        "valid_until": one.valid_until.map(|at| at.to_string()),
        "disabled": one.disabled_at.is_some(),
    })
}

fn check_user(field: &str, text: Option<&str>) -> Result<()> {
    let Some(text) = text else { return Ok(()) };
    if text.is_empty() || text.len() > DEVICE_USER_BYTES_MAX {
        let detail = format!("needs 1 to {DEVICE_USER_BYTES_MAX} bytes, or leave it out");
        return Err(Error::invalid_at(field, detail));
    }
    check_text(field, text, DEVICE_USER_BYTES_MAX)
}

fn check_chosen(field: &str, secret: &Secret<String>) -> Result<()> {
    let bytes = secret.expose().len();
    if (DEVICE_PASSWORD_BYTES_MIN..=DEVICE_PASSWORD_BYTES_MAX).contains(&bytes) {
        return Ok(());
    }
    let (min, max) = (DEVICE_PASSWORD_BYTES_MIN, DEVICE_PASSWORD_BYTES_MAX);
    Err(Error::invalid_at(field, format!("needs {min} to {max} bytes, or leave it out")))
}

/// From when until when something counts.
fn check_period(from: Option<Timestamp>, until: Option<Timestamp>, now: Timestamp) -> Result<()> {
    if until.is_some_and(|until| until <= now || from.is_some_and(|from| until <= from)) {
        return Err(Error::invalid_at("valid_until", "must be later than now and valid_from"));
    }
    Ok(())
}

/// Refuses one credential of a device too many.
async fn check_credential_place(tx: &TenantTx, device: DeviceId) -> Result<()> {
    let kept = tx.credentials(device).await?;
    let kept = kept.iter().filter(|one| one.revoked_at.is_none()).count();
    if kept >= CREDENTIALS_PER_DEVICE_MAX {
        let (name, max) = ("credentials_per_device_max", CREDENTIALS_PER_DEVICE_MAX);
        return Err(Error::Limit(LimitExceeded { name, max, actual: kept + 1 }));
    }
    Ok(())
}

fn taken(error: veritwin_metastore::Error) -> Error {
    match error {
        veritwin_metastore::Error::Conflict { .. } => Error::Conflict(TAKEN.to_owned()),
        other => other.into(),
    }
}

impl App {
    /// Makes what a credential is found by and checked against.
    pub(crate) async fn prepare_credential(
        &self,
        context: &OpContext,
        input: CredentialInput,
    ) -> Result<Prepared> {
        let nothing = |kind, digest| Prepared {
            kind,
            facts: CredentialFacts::default(),
            digest,
            hash: None,
            secret: None,
            ends_at: None,
        };
        match input {
            CredentialInput::Token => {
                let (made, digest) = TokenKind::Device.generate(self.0.rng.as_ref());
                let token = nothing(CredentialKind::AccessToken, digest.0);
                Ok(Prepared { secret: Some(made), ..token })
            }
            CredentialInput::OwnToken(own) => {
                check_chosen("token", &own)?;
                check_text("token", own.expose(), DEVICE_PASSWORD_BYTES_MAX)?;
                let digest = TokenKind::Device.digest(own.expose());
                let digest = digest.ok_or_else(|| {
                    Error::invalid_at("token", "begins like a key of another kind")
                })?;
                Ok(nothing(CredentialKind::AccessToken, digest.0))
            }
            CredentialInput::Basic { client_id, user, password } => {
                self.prepare_basic(client_id, user, password).await
            }
            CredentialInput::Certificate { certificate, proof } => {
                let at = |field: &'static str| {
                    move |fault: CertificateFault| invalid_certificate(field, &fault)
                };
                let der = x509::certificate_of_pem(&certificate).map_err(at("certificate"))?;
                let proof = x509::certificate_of_pem(&proof).map_err(at("proof"))?;
                let said = x509::read_device_certificate(&der, context.at);
                let said = said.map_err(at("certificate"))?;
                let code = self.proof_code(context.tenant, &said.fingerprint)?;
                x509::check_proof(&proof, &der, &code).map_err(at("proof"))?;
                let mut prepared = nothing(CredentialKind::X509, said.fingerprint);
                prepared.facts.fingerprint = Some(hex::encode(said.fingerprint));
                prepared.facts.common_name = said.common_name;
                prepared.ends_at = Some(said.not_after);
                Ok(prepared)
            }
            CredentialInput::CommonName { authority, common_name } => {
                check_user("common_name", Some(&common_name))?;
                let tx = self.0.store.read(context).await?;
                tx.device_authority(authority).await.map_err(|error| match error {
                    veritwin_metastore::Error::NotFound { .. } => {
                        Error::invalid_at("authority_id", "there is no such authority")
                    }
                    other => other.into(),
                })?;
                let digest = common_name_digest(authority, &common_name);
                let mut prepared = nothing(CredentialKind::X509, digest);
                prepared.facts.authority = Some(authority.to_string());
                prepared.facts.common_name = Some(common_name);
                Ok(prepared)
            }
        }
    }

    async fn prepare_basic(
        &self,
        client_id: Option<String>,
        user: Option<String>,
        password: Option<Secret<String>>,
    ) -> Result<Prepared> {
        check_user("client_id", client_id.as_deref())?;
        check_user("user", user.as_deref())?;
        if client_id.is_none() && user.is_none() {
            let detail = "needs a user name, a client id or both, and has a password in any case";
            return Err(Error::invalid_at("user", detail));
        }
        let names = (client_id.as_deref(), user.as_deref());
        let (digest, hash, secret) = match password {
            Some(chosen) => {
                check_chosen("password", &chosen)?;
                let hash = self.hash_device_password(chosen).await?;
                (basic_digest(names.0, names.1), hash, None)
            }
            None => {
                let made = token::generate(self.0.rng.as_ref(), PASSWORD_PREFIX);
                let bytes = made.expose().as_bytes();
                (made_digest(names, bytes), Secret::new(random_hash(bytes)), Some(made))
            }
        };
        let facts = CredentialFacts { client_id, user, ..CredentialFacts::default() };
        let kind = CredentialKind::Basic;
        Ok(Prepared { kind, facts, digest, hash: Some(hash), secret, ends_at: None })
    }

    /// Writes a prepared credential of a device.
    pub(crate) async fn write_credential(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        device: DeviceId,
        prepared: &Prepared,
    ) -> Result<Credential> {
        let credential = Credential {
            id: CredentialId::generate(context.at, self.rng()),
            device,
            kind: prepared.kind,
            facts: prepared.facts.clone(),
            created_at: context.at,
            valid_from: None,
            valid_until: prepared.ends_at,
            disabled_at: None,
            used_at: None,
            certificate_until: prepared.ends_at,
            revoked_at: None,
        };
        self.keep_credential(tx, &credential, prepared).await?;
        Ok(credential)
    }

    async fn keep_credential(
        &self,
        tx: &TenantTx,
        credential: &Credential,
        prepared: &Prepared,
    ) -> Result<()> {
        let created = tx.credential_create(credential, prepared.digest, prepared.hash.as_ref());
        created.await.map_err(taken)
    }

    /// Whether somebody may give out a credential of a device, which may be worth more than the
    /// part of the tenant that it stands in.
    pub(crate) fn check_gives_credential(
        &self,
        context: &OpContext,
        device: &Device,
    ) -> Result<()> {
        self.check_gives_host(context, device)?;
        self.check_gives_gateway(context, device)
    }

    pub(crate) async fn new_token(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        device: DeviceId,
    ) -> Result<(Credential, Secret<String>)> {
        let mut prepared = self.prepare_credential(context, CredentialInput::Token).await?;
        let credential = self.write_credential(tx, context, device, &prepared).await?;
        let token = prepared.secret.take();
        Ok((credential, token.ok_or(Error::NotFound("token"))?))
    }

    /// A device's credentials, without their secrets.
    #[boxed]
    pub async fn credentials(
        &self,
        context: &OpContext,
        id: DeviceId,
    ) -> Result<Vec<CredentialView>> {
        let resource = self.authorize_device(context, Action::CredentialList, id).await?;
        let tx = self.0.store.read(context).await?;
        tx.device(id).await?;
        let credentials = tx.credentials(id).await?;
        self.note(context, Action::CredentialList, &resource, "done");
        let kept = credentials.iter().filter(|credential| credential.revoked_at.is_none());
        Ok(kept.map(credential_view).collect())
    }

    /// Gives a device another credential. One that it takes the place of goes on until a stated
    /// time, so that the device can be changed over in between.
    #[boxed]
    pub async fn add_credential(
        &self,
        context: &OpContext,
        id: DeviceId,
        new: NewCredential,
    ) -> Result<MadeCredential> {
        let resource = self.authorize_device(context, Action::CredentialCreate, id).await?;
        check_text("name", &new.name, NAME_CHARS_MAX)?;
        check_period(new.valid_from, new.valid_until, context.at)?;
        if new.replaces.is_some() {
            self.authorize_device(context, Action::CredentialUpdate, id).await?;
        }
        let tx = self.0.store.read(context).await?;
        self.check_gives_credential(context, &tx.device(id).await?)?;
        // No hash is made for what has no place.
        check_credential_place(&tx, id).await?;
        // A password is hashed in a turn that is waited for: nothing of the records is held then.
        drop(tx);
        let gone = self.refuse_claimed(context, id).await?;
        let mut prepared = self.prepare_credential(context, new.input).await?;
        prepared.facts.name = new.name;
        let valid_until = [new.valid_until, prepared.ends_at].into_iter().flatten().min();
        let credential = Credential {
            id: CredentialId::generate(context.at, self.rng()),
            device: id,
            kind: prepared.kind,
            facts: prepared.facts.clone(),
            created_at: context.at,
            valid_from: new.valid_from,
            valid_until,
            disabled_at: None,
            used_at: None,
            certificate_until: prepared.ends_at,
            revoked_at: None,
        };
        let tx = self.0.store.begin(context).await?;
        // Held: nobody claims it or makes it a host or a gateway meanwhile.
        self.check_gives_credential(context, &tx.device_held(id).await?)?;
        check_credential_place(&tx, id).await?;
        refuse_moved(&tx, id, gone).await?;
        self.keep_credential(&tx, &credential, &prepared).await?;
        let change = Change::to(recorded(&credential));
        self.record_change(&tx, context, Action::CredentialCreate, &resource, change).await?;
        let replaced = match new.replaces {
            Some((old, until)) => Some((old, self.end_by(&tx, context, (id, old), until).await?)),
            None => None,
        };
        tx.commit().await?;
        if let Some((old, until)) = replaced {
            self.0.logins.ends.note(*old.as_bytes(), Some(until), self.clock().monotonic());
        }
        self.0.logins.forget_device(id);
        let (view, secret) = (credential_view(&credential), prepared.secret.take());
        Ok(MadeCredential { view, secret, replaced })
    }

    /// Ends a credential by a stated time: when it ends earlier by itself, then. Gives when.
    async fn end_by(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (device, id): (DeviceId, CredentialId),
        until: Timestamp,
    ) -> Result<Timestamp> {
        if until <= context.at {
            return Err(Error::invalid_at("replaces.until", "must be later than now"));
        }
        let known = tx.credential(device, id).await?;
        if let Some(end) = known.valid_until.filter(|end| *end <= until) {
            return Ok(end);
        }
        let change =
            CredentialChange { valid_until: Some(Some(until)), ..CredentialChange::default() };
        self.change_credential(tx, context, (device, id), change).await?;
        Ok(until)
    }

    async fn change_credential(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (device, id): (DeviceId, CredentialId),
        change: CredentialChange,
    ) -> Result<Credential> {
        let mut credential = tx.credential(device, id).await?;
        let before = recorded(&credential);
        if let Some(name) = change.name {
            check_text("name", &name, NAME_CHARS_MAX)?;
            credential.facts.name = name;
        }
        if let Some(until) = change.valid_until {
            check_period(credential.valid_from, until, context.at)?;
            credential.valid_until = until;
        }
        if let Some(disabled) = change.disabled {
            let since = credential.disabled_at.unwrap_or(context.at);
            credential.disabled_at = disabled.then_some(since);
        }
        tx.credential_update(&credential).await?;
        let change = Change::from_to(before, recorded(&credential));
        let resource = Resource::device(context.tenant, device);
        self.record_change(tx, context, Action::CredentialUpdate, &resource, change).await?;
        Ok(credential)
    }

    /// Changes the name of a credential, until when it counts, or whether it is disabled. Live
    /// connections that it opened are for the caller to end.
    #[boxed]
    pub async fn update_credential(
        &self,
        context: &OpContext,
        (device, id): (DeviceId, CredentialId),
        change: CredentialChange,
    ) -> Result<CredentialView> {
        self.authorize_device(context, Action::CredentialUpdate, device).await?;
        let disables = change.disabled == Some(true);
        let tx = self.0.store.begin(context).await?;
        let known = tx.device_held(device).await?;
        if change.disabled == Some(false) || change.valid_until.is_some() {
            self.check_gives_credential(context, &known)?;
        }
        let credential = self.change_credential(&tx, context, (device, id), change).await?;
        if disables {
            // What was shut out may have asked for it, or for a device behind it.
            tx.claim_window_close(device).await?;
            tx.claim_windows_close_behind(device).await?;
        }
        tx.commit().await?;
        let now = self.clock().monotonic();
        if credential.disabled_at.is_some() {
            self.0.logins.ended.note(*id.as_bytes(), (), now);
        } else {
            self.0.logins.ended.forget(id.as_bytes());
        }
        self.0.logins.ends.note(*id.as_bytes(), credential.valid_until, now);
        self.0.logins.forget_device(device);
        Ok(credential_view(&credential))
    }

    /// Revokes a credential of a device.
    #[boxed]
    pub async fn revoke_credential(
        &self,
        context: &OpContext,
        id: DeviceId,
        credential: CredentialId,
    ) -> Result<()> {
        let resource = self.authorize_device(context, Action::CredentialDelete, id).await?;
        let tx = self.0.store.begin(context).await?;
        tx.device(id).await?;
        let known = tx.credentials(id).await?;
        let known = known.iter().find(|one| one.id == credential && one.revoked_at.is_none());
        tx.credential_revoke(id, credential, context.at).await?;
        // What is shut out may have asked for it, or for a device behind it.
        tx.claim_window_close(id).await?;
        tx.claim_windows_close_behind(id).await?;
        let change = known.map(|one| Change::from(recorded(one))).unwrap_or_default();
        self.record_change(&tx, context, Action::CredentialDelete, &resource, change).await?;
        tx.commit().await?;
        self.0.logins.ended.note(*credential.as_bytes(), (), self.clock().monotonic());
        self.0.logins.forget_device(id);
        Ok(())
    }

    /// What the proof for a certificate has to carry as its common name.
    #[boxed]
    pub async fn certificate_code(&self, context: &OpContext, pem: &str) -> Result<String> {
        let resource = self.authorize_all(context, Action::ProvisioningRead, Kind::Tenant)?;
        let der = x509::certificate_of_pem(pem)
            .map_err(|fault| invalid_certificate("certificate", &fault))?;
        let said = x509::read_certificate(&der)
            .map_err(|fault| invalid_certificate("certificate", &fault))?;
        self.note(context, Action::ProvisioningRead, &resource, "done");
        self.proof_code(context.tenant, &said.fingerprint)
    }
}
