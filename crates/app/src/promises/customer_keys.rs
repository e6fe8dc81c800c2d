//! P24: a tenant of nobody has its key held; every way to read asks for it. Once the key is
//! refused, and once it is out of reach, each of them refuses; given back, each answers. P25: what
//! the root key is in, and whether a certificate says so.

use std::sync::Arc;
use std::time::Duration;

use veritwin_access::jobs;
use veritwin_domain::{OpContext, Role, TenantId};
use veritwin_keys::{KeyLevel, NewAbove, SecretKey};

use super::fixture::NAME;
use super::run::InApp;
use super::{PROBE_KEYS, PlatformProbe, ProbeAnswer};
use crate::governance::module_certificates;
use crate::model::{AlertQuery, DeviceFilter, LatestFilter, PageRequest};
use crate::provision::PLATFORM_TENANT;
use crate::{App, Error, Result};

const HELD_PROMISE: u8 = 24;
const MODULE_PROMISE: u8 = 25;
const VERSION: u32 = 1;
/// With a look into the register of certificates; a passphrase is no module.
const MODULE_VERSION: u32 = 3;
/// What the key is wrapped for while the check holds it.
const LABEL: &str = "promise check of held keys";
/// Longer than the check takes.
const FRESH: Duration = Duration::from_secs(120);

pub(super) fn held_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, HELD_PROMISE, VERSION, |app: App| async move { app.check_held_keys().await })
}

pub(super) fn module_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, MODULE_PROMISE, MODULE_VERSION, |app: App| async move {
        app.check_key_module().await
    })
}

/// The ways to read, by name, with what each answered.
type Answers = Vec<(&'static str, Result<()>)>;

impl App {
    async fn check_held_keys(&self) -> Result<ProbeAnswer> {
        self.ensure_keys_tenant().await?;
        self.release_held(PROBE_KEYS)?;
        let identity = self.open_probe_identity(PROBE_KEYS, NAME, Role::Administrator).await?;
        let found = self.ask_with_held_key(&identity.context).await;
        self.release_held(PROBE_KEYS)?;
        self.close_probe_identity(&identity).await?;
        let [open, refused, silent, again] = found?;
        let closed = |answers: &Answers, is_right: fn(&Error) -> bool| {
            let open = answers.iter().find(|(_, answer)| !answer.as_ref().is_err_and(is_right));
            open.map(|(name, _)| *name)
        };
        let facts = vec![
            ("ways to read".to_owned(), open.len().to_string()),
            ("answered with the key".to_owned(), count(&open).to_string()),
            ("answered with a refused key".to_owned(), count(&refused).to_string()),
            ("answered without an answer of the service".to_owned(), count(&silent).to_string()),
            ("answered after it came back".to_owned(), count(&again).to_string()),
        ];
        let failed = |summary: String, place: &str| ProbeAnswer::Failed {
            summary,
            facts: facts.clone(),
            place: place.to_owned(),
        };
        Ok(if let Some(name) = closed(&refused, |error| matches!(error, Error::KeyRevoked)) {
            failed(format!("{name} goes on after the key was refused."), name)
        } else if let Some(name) = closed(&silent, |error| matches!(error, Error::KeySilent)) {
            failed(format!("{name} goes on past the key's time."), name)
        } else if count(&open) < open.len() || count(&again) < again.len() {
            failed("Not everything can be read with the key.".to_owned(), "key service")
        } else {
            let summary = "Every way to read closes with a held key and opens with it.";
            ProbeAnswer::Passed { summary: summary.to_owned(), facts }
        })
    }

    /// What is answered with the key, with the key refused, out of reach, and back.
    async fn ask_with_held_key(&self, context: &OpContext) -> Result<[Answers; 4]> {
        let tenant = context.tenant;
        let kek = self.0.keys.new_kek(tenant)?;
        let secret = kek.secret().clone();
        let wrapped = self.vault().seal(LABEL, secret.expose())?;
        let now = self.clock().monotonic();
        let fresh_until = now.saturating_add(FRESH);
        self.install_kek(kek, NewAbove::Held { wrapped, fresh_until }).await?;
        let open = self.ask_everything(context).await;
        self.0.keys.revoke(tenant)?;
        self.wipe_tenant(tenant);
        let refused = self.ask_everything(context).await;
        // Given back, and not asked for yet: the service might as well not answer.
        self.0.keys.restore(tenant)?;
        let silent = self.ask_everything(context).await;
        let version = self.0.keys.wrapped_kek(tenant)?.context.version;
        self.0.keys.admit(tenant, version, secret, now.saturating_add(FRESH))?;
        let again = self.ask_everything(context).await;
        Ok([open, refused, silent, again])
    }

    async fn ask_everything(&self, context: &OpContext) -> Answers {
        let page = PageRequest::default();
        vec![
            ("latest values", self.latest(context, &LatestFilter::default()).await.map(drop)),
            (
                "devices",
                self.list_devices(context, &DeviceFilter::default(), &page).await.map(drop),
            ),
            ("alerts", self.list_alerts(context, &AlertQuery::default(), &page).await.map(drop)),
            ("rules", self.list_rules(context).await.map(drop)),
            ("twins", self.list_twins(context).await.map(drop)),
        ]
    }

    /// Puts the platform's root above the tenant of nobody again, also after a check that was cut
    /// off.
    fn release_held(&self, tenant: TenantId) -> Result<()> {
        let keys = &self.0.keys;
        if keys.level(tenant) != KeyLevel::Held {
            return Ok(());
        }
        keys.restore(tenant)?;
        let kek = keys.wrapped_kek(tenant)?;
        let plain = zeroize::Zeroizing::new(self.vault().open(LABEL, &kek.wrapped)?);
        let damaged = |_| Error::Internal("a key of a promise check is damaged".to_owned());
        let bytes: [u8; 32] = plain.as_slice().try_into().map_err(damaged)?;
        let fresh_until = self.clock().monotonic().saturating_add(FRESH);
        keys.admit(tenant, kek.context.version, SecretKey::from_bytes(bytes), fresh_until)?;
        keys.install_kek(keys.new_kek(tenant)?, NewAbove::Platform)?;
        Ok(())
    }

    async fn check_key_module(&self) -> Result<ProbeAnswer> {
        let root = self.0.keys.status(None)?.root;
        let held = self.0.keys.held_tenants().len();
        let operator = self.job_in(jobs::PROMISES, PLATFORM_TENANT);
        let tx = self.0.store.read(&operator).await?;
        let certificates = module_certificates(&tx, operator.at).await?;
        drop(tx);
        Ok(match missing_of((root.kind, root.is_in_module), certificates) {
            None => ProbeAnswer::Passed {
                summary: "The root key is in a module, and a certificate of one is on file."
                    .to_owned(),
                facts: vec![
                    ("kind of the root key".to_owned(), root.kind.to_owned()),
                    ("certificates of modules that count".to_owned(), certificates.to_string()),
                    ("customers who hold their keys elsewhere".to_owned(), held.to_string()),
                ],
            },
            Some(missing) => ProbeAnswer::CouldNotRun(format!(
                "{missing}; {held} customers hold their keys elsewhere"
            )),
        })
    }
}

/// What is missing for a root key in a module that is certified.
fn missing_of((kind, is_in_module): (&str, bool), certificates: usize) -> Option<String> {
    let of_key = format!("the root key is of the kind {kind}, which is no module");
    let of_paper = "the operator's register holds no certificate to FIPS 140 that counts today";
    match (is_in_module, certificates > 0) {
        (true, true) => None,
        (true, false) => Some(of_paper.to_owned()),
        (false, true) => Some(of_key),
        (false, false) => Some(format!("{of_key}, and {of_paper}")),
    }
}

fn count(answers: &Answers) -> usize {
    answers.iter().filter(|(_, answer)| answer.is_ok()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certified_module_takes_the_module_and_the_certificate() {
        assert_eq!(missing_of(("pkcs11", true), 1), None);
        let missing = |root, certificates| missing_of(root, certificates).unwrap_or_default();
        assert!(missing(("pkcs11", true), 0).contains("FIPS 140"));
        for kind in ["platform_file", "passphrase"] {
            let of_key = missing((kind, false), 1);
            assert!(of_key.contains(kind) && !of_key.contains("FIPS"), "{of_key}");
            let both = missing((kind, false), 0);
            assert!(both.contains(kind) && both.contains("FIPS 140"), "{both}");
        }
    }
}
