//! P29: readings of nobody are destroyed as the documented procedure says, by whoever holds the
//! machine, up to a certificate that is right. No key can do it, whatever its role, and so nobody
//! from elsewhere.

use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_domain::{DestructionId, DeviceId, OpContext, Role};
use veritwin_metastore::DestructionState;

use super::run::InApp;
use super::sign_up::fact;
use super::{PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::destruction_certificate::check_certificate;
use crate::destructions::Body;
use crate::model::{DestructionInput, DestructionScope};
use crate::{App, Error, Result};

const PROMISE: u8 = 29;
const VERSION: u32 = 1;
/// What its keys are called, and the reason that its destructions give.
const NAME: &str = "purge probe";
/// Between looks at how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// So often it is looked at, two minutes in all.
const LOOKS_MAX: u32 = 480;

pub(super) fn probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, PROMISE, VERSION, |app: App| async move { app.check_purge().await })
}

fn all_of(device: DeviceId) -> DestructionInput {
    DestructionInput { scope: DestructionScope::Device(device), attributes: false }
}

impl App {
    async fn check_purge(&self) -> Result<ProbeAnswer> {
        self.ensure_probe_tenant().await?;
        let mut facts = vec![fact("roles of keys that tried it", &Role::ALL.len().to_string())];
        if let Some(role) = self.taken_from_afar().await? {
            return Ok(ProbeAnswer::Failed {
                summary: "Readings can be destroyed from elsewhere.".to_owned(),
                facts,
                place: format!("POST /v1/destructions with a key of the role {}", role.as_str()),
            });
        }
        if self.archive().is_err() {
            let reason = "the ledger archive does not answer, and certificates are sealed there";
            return Ok(ProbeAnswer::CouldNotRun(reason.to_owned()));
        }
        let context = self.local_operator_in(PROBE_TENANT);
        let id = self.begin_purge(&context).await?;
        let Some(body) = self.await_purged(&context, id).await? else {
            let reason = "the destruction was not over after two minutes";
            return Ok(ProbeAnswer::CouldNotRun(reason.to_owned()));
        };
        let text = self.destruction_certificate(&context, id).await?;
        let key = body.certificate.as_ref().map(|one| one.public_key.as_str());
        let checked = check_certificate(text.as_bytes(), key).ok();
        let is_right = checked.as_ref().is_some_and(|one| one.is_expected == Some(true));
        let left = self.0.engine.selected(&self.selection(&context, &body.scope).await?).await?;
        facts.push(fact("readings destroyed", &body.done.readings.to_string()));
        facts.push(fact("left after it", &left.points.to_string()));
        let digest = checked.map(|one| one.digest).unwrap_or_default();
        facts.push(fact("SHA-256 of the certificate", &digest));
        let failed = |summary: &str, place: &str| ProbeAnswer::Failed {
            summary: summary.to_owned(),
            facts: facts.clone(),
            place: place.to_owned(),
        };
        Ok(if left.points > 0 {
            failed("Readings are there that the procedure destroyed.", "segments")
        } else if !is_right || body.ledger_index.is_none() {
            failed("The certificate of a destruction is wrong.", "table destructions")
        } else {
            let summary = "Readings are destroyed by the documented procedure, and by no key.";
            ProbeAnswer::Passed { summary: summary.to_owned(), facts }
        })
    }

    /// The first role whose key may destroy readings; none, as it should be.
    #[boxed]
    async fn taken_from_afar(&self) -> Result<Option<Role>> {
        let device = DeviceId::generate(self.clock().now(), self.rng());
        for role in Role::ALL {
            let identity = self.open_probe_identity(PROBE_TENANT, NAME, role).await?;
            let said = (NAME, "0-0");
            let tried = self.request_destruction(&identity.context, &all_of(device), said).await;
            self.close_probe_identity(&identity).await?;
            match tried {
                Err(Error::Forbidden(_) | Error::NotFound(_)) => {}
                // It was asked for what confirms it: so it would have been let do it.
                Ok(_) | Err(Error::Invalid { .. }) => return Ok(Some(role)),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Looks, and confirms what was seen, as the procedure says. What an earlier check began that
    /// was cut short is gone on with.
    #[boxed]
    async fn begin_purge(&self, context: &OpContext) -> Result<DestructionId> {
        let tx = self.0.store.read(context).await?;
        let known = tx.destructions().await?;
        drop(tx);
        for one in known.iter().filter(|one| one.state != DestructionState::Done) {
            if Body::read(&one.body)?.reason == NAME {
                return Ok(one.id);
            }
        }
        let device = DeviceId::generate(context.at, self.rng());
        self.write_readings(context, device).await?;
        let input = all_of(device);
        let seen = self.preview_destruction(context, &input).await?;
        self.request_destruction(context, &input, (NAME, seen.confirm.as_str())).await
    }

    /// What is stored of a destruction once it is over; none if that takes too long.
    async fn await_purged(&self, context: &OpContext, id: DestructionId) -> Result<Option<Body>> {
        let mut looks = tokio::time::interval(LOOK_AGAIN);
        for _ in 0..LOOKS_MAX {
            looks.tick().await;
            let stored = self.0.store.read(context).await?.destruction(id).await?;
            if stored.state == DestructionState::Done {
                return Body::read(&stored.body).map(Some);
            }
        }
        Ok(None)
    }
}
