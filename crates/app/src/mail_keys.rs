//! The keys that sign the platform's mail (DKIM): an RSA and an Ed25519 key of one generation, made
//! at the first mail, and the next one beside them until its DNS records are published. A private
//! key leaves only sealed, and is destroyed with its generation's retirement.

use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use veritwin_access::{Action, jobs};
use veritwin_domain::{OpContext, PlatformContext, Timestamp};
use veritwin_keys::{Aad, DataClass, DekScope, RsaSigningKey, SigningKey, sealed_dek_id};
use veritwin_outbound::mail::{ComposedMail, Mailer};
use veritwin_outbound::register::EgressRegister;
use veritwin_verify::{DkimAlgorithm, DkimDraft, DkimKey, DkimPlace};

use crate::model::MailKeyView;
use crate::{App, Error, Result};

const SETTING: &str = "mail_keys";
/// Generations that are remembered; the oldest retired one makes room.
const GENERATIONS_MAX: usize = 20;

/// The mailer and the keys that it signs with.
pub(crate) struct Post {
    pub(crate) mailer: Mailer,
    /// With the version of the ring that it is of.
    signer: RwLock<Option<(u64, Arc<Signer>)>>,
    /// Taken to make or change keys.
    changes: tokio::sync::Mutex<()>,
}

impl Post {
    /// As the platform is configured; none without a mail server.
    pub(crate) fn open(
        config: &crate::Config,
        egress: &Arc<EgressRegister>,
    ) -> Result<Option<Self>> {
        let mailer = config.mail.as_ref().map(|mail| Mailer::new(mail, Arc::clone(egress)));
        let mailer = mailer.transpose().map_err(|error| Error::invalid(error.to_string()))?;
        Ok(mailer.map(Self::new))
    }

    fn new(mailer: Mailer) -> Self {
        Self { mailer, signer: RwLock::new(None), changes: tokio::sync::Mutex::new(()) }
    }

    /// The keys of a version of the ring, if they are the ones that are known.
    fn signer_of(&self, version: u64) -> Option<Arc<Signer>> {
        let known = self.signer.read();
        known.as_ref().filter(|(of, _)| *of == version).map(|(_, signer)| Arc::clone(signer))
    }
}

/// As it is stored: what was made, the oldest first.
#[derive(Default, Serialize, Deserialize)]
struct Ring {
    generations: Vec<Generation>,
}

#[derive(Serialize, Deserialize)]
struct Generation {
    domain: String,
    made_at_us: i64,
    active_at_us: Option<i64>,
    retired_at_us: Option<i64>,
    keys: Vec<StoredKey>,
}

impl Generation {
    const fn state(&self) -> &'static str {
        match (self.active_at_us, self.retired_at_us) {
            (_, Some(_)) => "retired",
            (Some(_), None) => "active",
            (None, None) => "next",
        }
    }

    fn retire(&mut self, at: Timestamp) {
        self.retired_at_us = Some(at.as_micros());
        for key in &mut self.keys {
            key.sealed = None;
        }
    }
}

#[derive(Serialize, Deserialize)]
struct StoredKey {
    algorithm: String,
    selector: String,
    /// Base64.
    public: String,
    /// The sealed private key, base64; none once it is retired.
    sealed: Option<String>,
}

impl StoredKey {
    fn algorithm(&self) -> Result<DkimAlgorithm> {
        let known = DkimAlgorithm::ALL.into_iter().find(|one| one.as_str() == self.algorithm);
        known.ok_or_else(damaged)
    }

    fn public(&self) -> Result<DkimKey> {
        let public = STANDARD.decode(&self.public).map_err(|_| damaged())?;
        Ok(DkimKey { algorithm: self.algorithm()?, public })
    }
}

fn damaged() -> Error {
    Error::Internal("the stored keys of mail are damaged".to_owned())
}

enum PrivateKey {
    Rsa(Box<RsaSigningKey>),
    Ed25519(SigningKey),
}

struct OneSigner {
    place: DkimPlace,
    public: DkimKey,
    private: PrivateKey,
}

/// The generation that signs.
pub(crate) struct Signer(Vec<OneSigner>);

impl Signer {
    /// Puts the signatures before a mail.
    pub(crate) fn sign(&self, mail: &mut ComposedMail, at: Timestamp) -> Result<()> {
        let seconds = at.as_micros().div_euclid(1_000_000);
        let mut fields = String::new();
        for one in &self.0 {
            let draft = DkimDraft::new(mail.bytes(), &one.place, one.public.algorithm, seconds)
                .map_err(|error| Error::Internal(error.to_string()))?;
            let signature = match &one.private {
                PrivateKey::Rsa(key) => key.sign(&draft.to_sign())?,
                PrivateKey::Ed25519(key) => key.sign(&draft.to_sign()).to_vec(),
            };
            fields.push_str(&draft.field(&signature));
        }
        mail.put_before(&fields);
        Ok(())
    }

    /// `SELECTOR._domainkey.DOMAIN RECORD` of each key.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |one: &OneSigner| format!("{} {}", one.place.name(), one.public.record());
        self.0.iter().map(line).collect()
    }
}

fn aad(selector: &str) -> String {
    format!("mail-key/{selector}")
}

impl App {
    fn post(&self) -> Result<&Post> {
        let none = || Error::Conflict("no mail server is configured (smtp.url)".to_owned());
        self.0.mailer.as_ref().ok_or_else(none)
    }

    async fn mail_ring(&self) -> Result<(Ring, u64)> {
        let tx = self.0.store.read_platform(&self.job(jobs::MAIL)).await?;
        let Some(setting) = tx.setting(SETTING).await? else { return Ok((Ring::default(), 0)) };
        let ring = serde_json::from_slice(&setting.body).map_err(|_| damaged())?;
        Ok((ring, setting.version))
    }

    async fn save_mail_ring(&self, ring: &Ring, version: u64) -> Result<()> {
        let body = serde_json::to_vec(ring).map_err(|error| Error::Internal(error.to_string()))?;
        let tx = self.0.store.begin_platform(&self.job(jobs::MAIL)).await?;
        tx.setting_put(SETTING, &body, Some(version)).await?;
        Ok(tx.commit().await?)
    }

    /// A new generation; making an RSA key takes up to a second of a core.
    async fn new_mail_keys(&self, domain: &str, at: Timestamp) -> Result<Generation> {
        let rsa = tokio::task::spawn_blocking(RsaSigningKey::generate);
        let rsa = rsa.await.map_err(|_| Error::Internal("making a key stopped".to_owned()))??;
        let ed25519 = SigningKey::generate(self.rng());
        let mut id = [0; 4];
        self.rng().fill(&mut id);
        let dek = self.0.keys.dek(&DekScope::platform(DataClass::Blob))?;
        let selector = |kind: &str| format!("vt{}{kind}", hex::encode(id));
        let (rsa_name, ed_name) = (selector("r"), selector("e"));
        let label = |name: &str| aad(name).into_bytes();
        let (rsa_label, ed_label) = (label(&rsa_name), label(&ed_name));
        let sealed_rsa = rsa.seal(&dek, Aad::new(None, DataClass::Blob, &rsa_label))?;
        let sealed_ed = ed25519.seal(&dek, Aad::new(None, DataClass::Blob, &ed_label))?;
        let stored = |algorithm: DkimAlgorithm, selector, public: &[u8], sealed: &[u8]| StoredKey {
            algorithm: algorithm.as_str().to_owned(),
            selector,
            public: STANDARD.encode(public),
            sealed: Some(STANDARD.encode(sealed)),
        };
        Ok(Generation {
            domain: domain.to_owned(),
            made_at_us: at.as_micros(),
            active_at_us: None,
            retired_at_us: None,
            keys: vec![
                stored(DkimAlgorithm::RsaSha256, rsa_name, rsa.public_der(), &sealed_rsa),
                stored(DkimAlgorithm::Ed25519Sha256, ed_name, &ed25519.public_bytes(), &sealed_ed),
            ],
        })
    }

    fn open_mail_key(&self, domain: &str, key: &StoredKey) -> Result<OneSigner> {
        let sealed = key.sealed.as_ref().ok_or_else(damaged)?;
        let sealed = STANDARD.decode(sealed).map_err(|_| damaged())?;
        let dek = self.0.keys.dek_by_id(sealed_dek_id(&sealed)?)?;
        let label = aad(&key.selector).into_bytes();
        let aad = Aad::new(None, DataClass::Blob, &label);
        let private = match key.algorithm()? {
            DkimAlgorithm::RsaSha256 => {
                PrivateKey::Rsa(Box::new(RsaSigningKey::from_sealed(&dek, aad, &sealed)?))
            }
            DkimAlgorithm::Ed25519Sha256 => {
                PrivateKey::Ed25519(SigningKey::from_sealed(&dek, aad, &sealed)?)
            }
        };
        let place = DkimPlace { domain: domain.to_owned(), selector: key.selector.clone() };
        Ok(OneSigner { place, public: key.public()?, private })
    }

    /// The keys that sign now, made if there are none for the sender's domain.
    pub(crate) async fn mail_signer(&self, post: &Post) -> Result<Arc<Signer>> {
        // Another process may have activated others: those of before are destroyed then.
        let (_, version) = self.mail_ring().await?;
        if let Some(signer) = post.signer_of(version) {
            return Ok(signer);
        }
        let _held = post.changes.lock().await;
        let domain = post.mailer.domain();
        let (mut ring, mut version) = self.mail_ring().await?;
        if let Some(signer) = post.signer_of(version) {
            return Ok(signer);
        }
        let is_own = |one: &Generation| one.state() == "active" && one.domain == domain;
        if !ring.generations.iter().any(is_own) {
            let now = self.clock().now();
            let mut made = self.new_mail_keys(domain, now).await?;
            made.active_at_us = Some(now.as_micros());
            for one in ring.generations.iter_mut().filter(|one| one.state() == "active") {
                one.retire(now);
            }
            push(&mut ring, made);
            self.save_mail_ring(&ring, version).await?;
            (ring, version) = self.mail_ring().await?;
        }
        let active = ring.generations.iter().find(|one| is_own(one)).ok_or_else(damaged)?;
        let keys = active.keys.iter().map(|key| self.open_mail_key(domain, key));
        let signer = Arc::new(Signer(keys.collect::<Result<_>>()?));
        *post.signer.write() = Some((version, Arc::clone(&signer)));
        Ok(signer)
    }

    /// The keys of mail with their DNS records. For whoever sees the running system.
    #[boxed]
    pub async fn mail_keys(&self, context: &OpContext) -> Result<Vec<MailKeyView>> {
        self.authorize_system_read(context)?;
        self.mail_key_views().await
    }

    /// The same for whoever holds the data directory.
    #[boxed]
    pub async fn all_mail_keys(&self, context: &PlatformContext) -> Result<Vec<MailKeyView>> {
        self.authorize_platform(context, Action::SystemMaintain)?;
        self.mail_key_views().await
    }

    async fn mail_key_views(&self) -> Result<Vec<MailKeyView>> {
        let Ok(post) = self.post() else { return Ok(Vec::new()) };
        // Shown before the first mail: the records are published first.
        self.mail_signer(post).await?;
        let (ring, _) = self.mail_ring().await?;
        let mut views = Vec::new();
        for generation in ring.generations.iter().rev() {
            for key in &generation.keys {
                let place =
                    DkimPlace { domain: generation.domain.clone(), selector: key.selector.clone() };
                views.push(MailKeyView {
                    name: place.name(),
                    record: key.public()?.record(),
                    algorithm: key.algorithm()?.as_str(),
                    state: generation.state(),
                    made_at: Timestamp::from_micros(generation.made_at_us),
                    retired_at: generation.retired_at_us.map(Timestamp::from_micros),
                });
            }
        }
        Ok(views)
    }

    /// Makes the next keys of mail; they sign once [`App::activate_mail_keys`] says so.
    #[boxed]
    pub async fn rotate_mail_keys(&self, context: &PlatformContext) -> Result<()> {
        self.authorize_platform(context, Action::SystemMaintain)?;
        let post = self.post()?;
        self.mail_signer(post).await?;
        let _held = post.changes.lock().await;
        let (mut ring, version) = self.mail_ring().await?;
        if ring.generations.iter().any(|one| one.state() == "next") {
            let problem = "there are next keys already: publish their records and activate them";
            return Err(Error::Conflict(problem.to_owned()));
        }
        let made = self.new_mail_keys(post.mailer.domain(), context.at).await?;
        push(&mut ring, made);
        self.save_mail_ring(&ring, version).await
    }

    /// Signs with the next keys from now on; the private keys of before are destroyed. Their DNS
    /// records stay until what they signed has arrived.
    #[boxed]
    pub async fn activate_mail_keys(&self, context: &PlatformContext) -> Result<()> {
        self.authorize_platform(context, Action::SystemMaintain)?;
        let post = self.post()?;
        let _held = post.changes.lock().await;
        let (mut ring, version) = self.mail_ring().await?;
        let Some(next) = ring.generations.iter().position(|one| one.state() == "next") else {
            let problem = "there are no next keys: make them with `veritwin mail rotate`";
            return Err(Error::Conflict(problem.to_owned()));
        };
        for one in ring.generations.iter_mut().filter(|one| one.state() == "active") {
            one.retire(context.at);
        }
        if let Some(next) = ring.generations.get_mut(next) {
            next.active_at_us = Some(context.at.as_micros());
        }
        self.save_mail_ring(&ring, version).await?;
        *post.signer.write() = None;
        Ok(())
    }
}

fn push(ring: &mut Ring, made: Generation) {
    ring.generations.push(made);
    while ring.generations.len() > GENERATIONS_MAX {
        let Some(oldest) = ring.generations.iter().position(|one| one.state() == "retired") else {
            return;
        };
        ring.generations.remove(oldest);
    }
}
