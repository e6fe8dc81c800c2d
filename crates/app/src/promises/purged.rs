//! P29: readings of nobody are destroyed as the documented procedure says, by whoever holds the
//! machine, up to a certificate that is right. No key can do it, whatever its role; people of the
//! platform and of a partner do not get into an organisation that is not theirs; and support that
//! is let in destroys nothing.

use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_access::jobs;
use veritwin_domain::{
    Actor, ActorKind, DestructionId, DeviceId, OpContext, Role, SessionId, SignIn, SupportArea,
    SupportAreas, SupportGrantId, TenantId, UserId,
};
use veritwin_metastore::DestructionState;

use super::run::InApp;
use super::sign_up::fact;
use super::{PROBE_CUSTOMER, PROBE_PARTNER, PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::destruction_certificate::check_certificate;
use crate::destructions::Body;
use crate::model::{DestructionInput, DestructionScope};
use crate::provision::PLATFORM_TENANT;
use crate::{App, Error, Result};

const PROMISE: u8 = 29;
/// With the people of the platform and of a partner.
const VERSION: u32 = 2;
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

/// Whether something was done that has to be refused.
fn is_done<T>(tried: Result<T>) -> Result<bool> {
    match tried {
        Ok(_) => Ok(true),
        Err(Error::Forbidden(_) | Error::NotFound(_)) => Ok(false),
        Err(error) => Err(error),
    }
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
        facts.push(fact("people of the platform and of a partner that tried it", "of every role"));
        if let Some(place) = self.taken_from_above().await? {
            return Ok(ProbeAnswer::Failed {
                summary: "Somebody from elsewhere gets at what is an organisation's to destroy."
                    .to_owned(),
                facts,
                place,
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
            let summary = "Readings are destroyed by the documented procedure, and not by a key, \
                           the platform's people, a partner's or support.";
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

    /// The first way by which people of the platform, of a partner, or support get at a customer's
    /// readings; none, as it should be. Nothing of these people is stored.
    #[boxed]
    async fn taken_from_above(&self) -> Result<Option<String>> {
        self.ensure_probe_tree().await?;
        for tenant in [PLATFORM_TENANT, PROBE_PARTNER] {
            for role in Role::ALL {
                let somebody = self.somebody_of(tenant, role);
                if is_done(self.switch_tenant(&somebody, PROBE_CUSTOMER).await)? {
                    return Ok(Some(format!("POST /v1/session/tenants as {}", role.as_str())));
                }
            }
        }
        let staff = self.somebody_of(PLATFORM_TENANT, Role::Support);
        if is_done(self.enter_by_grants(&staff, PROBE_CUSTOMER).await)? {
            return Ok(Some("POST /v1/support-desk/session without a grant".to_owned()));
        }
        // Where a customer has opened everything that it can open.
        let job = self.job(jobs::PROMISES);
        let kind = ActorKind::Support {
            user: UserId::generate(job.at, self.rng()),
            session: SessionId::generate(job.at, self.rng()),
            grant: SupportGrantId::generate(job.at, self.rng()),
            areas: SupportAreas::of(&SupportArea::ALL),
        };
        let inside = job.in_tenant(PROBE_CUSTOMER, Actor::with_roles(kind, vec![Role::Support]));
        let device = DeviceId::generate(job.at, self.rng());
        let tried = self.request_destruction(&inside, &all_of(device), (NAME, "0-0")).await;
        // What lacks only the right confirmation would have been done with it.
        let is_let = matches!(tried, Err(Error::Invalid { .. }));
        let is_let = is_let || is_done(tried)?;
        Ok(is_let.then(|| "POST /v1/destructions as support with a grant".to_owned()))
    }

    /// Somebody who is signed in with one role, and proved just now who they are.
    pub(super) fn somebody_of(&self, tenant: TenantId, role: Role) -> OpContext {
        let job = self.job(jobs::PROMISES);
        let kind = ActorKind::User {
            user: UserId::generate(job.at, self.rng()),
            session: SessionId::generate(job.at, self.rng()),
            sign_in: SignIn::proved(job.at),
        };
        job.in_tenant(tenant, Actor::with_roles(kind, vec![role]))
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

#[cfg(test)]
mod tests {
    use crate::promises::tests::platform;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_is_not_of_the_organisation_gets_nowhere() {
        let root = tempfile::tempdir().expect("temporary folder");
        let app = platform(root.path()).await;
        assert_eq!(app.taken_from_above().await.expect("tried"), None);
        #[cfg(feature = "test-controls")]
        {
            app.sabotage(29, true);
            let place = app.taken_from_above().await.expect("tried");
            assert_eq!(place.as_deref(), Some("POST /v1/destructions as support with a grant"));
        }
        app.close().await;
    }
}
