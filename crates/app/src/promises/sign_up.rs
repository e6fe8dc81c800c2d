//! P14 and P55: a person of nobody's tenant is invited and signs up the way everybody does. With
//! nothing that is optional they get everything a person with a name gets; without the attestation
//! nobody gets in; and flagged as a child's, the account is destroyed at once.

use std::sync::Arc;

use veritwin_access::jobs;
use veritwin_access::passkey::RelyingParty;
use veritwin_domain::{OpContext, Origin, PlatformContext, Purpose, Role, Secret};
use veritwin_metastore::{LinkKind, Page};

use super::run::InApp;
use super::{PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::knock::Knock;
use crate::links::Payload;
use crate::model::{ActivityQuery, SignedIn, Welcome};
use crate::sign_in::Proof;
use crate::{App, Arrival, Error, Result};

const OPTIONAL: u8 = 14;
const ATTESTATION: u8 = 55;
const OPTIONAL_VERSION: u32 = 2;
const ATTESTATION_VERSION: u32 = 1;

pub(super) fn optional_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(
        app,
        OPTIONAL,
        OPTIONAL_VERSION,
        |app: App| async move { app.check_optional().await },
    )
}

pub(super) fn attestation_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, ATTESTATION, ATTESTATION_VERSION, |app: App| async move {
        app.check_attestation().await
    })
}

/// A person of nobody's tenant who signed up.
pub(super) struct Guest {
    pub(super) email: Secret<String>,
    password: Secret<String>,
    pub(super) signed_in: SignedIn,
}

pub(super) fn answer(
    found: std::result::Result<Vec<(String, String)>, (String, String)>,
    held: &str,
) -> ProbeAnswer {
    match found {
        Ok(facts) => ProbeAnswer::Passed { summary: held.to_owned(), facts },
        Err((summary, place)) => ProbeAnswer::Failed { summary, facts: Vec::new(), place },
    }
}

pub(super) fn fact(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// Where the pages of a platform are that shows nobody any.
pub(super) const PAGES: &str = "https://localhost";

impl App {
    pub(super) fn visitor(&self) -> PlatformContext {
        self.anonymous(Arrival {
            purpose: Purpose::AuthenticationSecurity,
            request: self.job(jobs::PROMISES).request,
            origin: Origin::default(),
        })
    }

    fn random_text(&self) -> String {
        // Digits might by chance be a number that must not be kept.
        super::canary::canary(self.rng())
    }

    /// Signs up with a fresh invitation, giving only what has to be given.
    pub(super) async fn sign_up_guest(&self, attested: bool) -> Result<Guest> {
        self.sign_up_invited(attested, false).await
    }

    /// The same; mailed as if the invitation had come to the mailbox, which shows whose it is.
    pub(super) async fn sign_up_invited(&self, attested: bool, mailed: bool) -> Result<Guest> {
        self.ensure_probe_tenant().await?;
        let email = format!("{}@guest.invalid", self.random_text());
        let payload = Payload {
            email: Some(email.clone()),
            role: Some(Role::Administrator.to_string()),
            mailed,
            ..Payload::default()
        };
        let context = self.job(jobs::PROMISES);
        let (link, token, digest) =
            self.new_link(&context, LinkKind::Invitation, Some(PROBE_TENANT), &payload)?;
        let tx = self.0.store.begin_platform(&context).await?;
        tx.link_create(&link, digest).await?;
        tx.commit().await?;
        let password = Secret::new(self.random_text());
        let welcome = Welcome {
            organisation: None,
            email: None,
            name: None,
            password: password.clone(),
            attested,
        };
        let signed_in = self.redeem_link(&self.visitor(), &token, welcome, PAGES).await?;
        Ok(Guest { email: Secret::new(email), password, signed_in })
    }

    pub(super) async fn guest_context(&self, signed_in: &SignedIn) -> Result<OpContext> {
        let visitor = self.visitor();
        let arrival = Arrival {
            purpose: visitor.purpose,
            request: visitor.request,
            origin: visitor.origin.clone(),
        };
        self.authenticate_session(&signed_in.token, arrival, true).await
    }

    /// Signs in with the password.
    pub(super) async fn sign_in_guest(&self, guest: &Guest) -> Result<OpContext> {
        let party = RelyingParty::of("https://localhost");
        let proof = Proof::Password { password: guest.password.clone(), second: None };
        let knock = Knock { email: &guest.email, tenant: None, host: None };
        let again = self.sign_in(&self.visitor(), knock, proof, &party, None).await?;
        self.guest_context(&again).await
    }

    /// What every person does here: look around, look after their account, leave.
    pub(super) async fn core_journey(&self, guest: &Guest) -> Result<usize> {
        let context = self.sign_in_guest(guest).await?;
        self.session(&context).await?;
        self.list_twins(&context).await?;
        self.list_users(&context).await?;
        self.list_activity(&context, &ActivityQuery::default()).await?;
        self.list_promises(&context).await?;
        self.account(&context).await?;
        self.list_sessions(&context).await?;
        self.sign_out(&context).await?;
        Ok(9)
    }

    async fn check_optional(&self) -> Result<ProbeAnswer> {
        let guest = match self.sign_up_guest(true).await {
            Ok(guest) => guest,
            Err(Error::Invalid { at, .. }) => {
                let place = format!("sign-up, field {}", at.unwrap_or_default());
                let summary = "Signing up asks for a field that is said to be optional.".to_owned();
                return Ok(ProbeAnswer::Failed { summary, facts: Vec::new(), place });
            }
            Err(error) => return Err(error),
        };
        let walked = self.core_journey(&guest).await;
        self.destroy_account(guest.signed_in.session.user.id).await?;
        let found = walked.map_err(|error| {
            let why = ProbeAnswer::told(&error);
            (format!("A person who leaves it out gets less: {why}."), "core journey".to_owned())
        });
        let found = found.map(|steps| {
            vec![fact("optional fields", "name"), fact("steps without them", &steps.to_string())]
        });
        Ok(answer(
            found,
            "A person who leaves out every optional field signs up and gets the same service.",
        ))
    }

    async fn check_attestation(&self) -> Result<ProbeAnswer> {
        let failed = |summary: &str, place: &str| Err((summary.to_owned(), place.to_owned()));
        let refused = match self.sign_up_guest(false).await {
            Ok(guest) => {
                self.destroy_account(guest.signed_in.session.user.id).await?;
                false
            }
            Err(Error::Invalid { at: Some(at), .. }) => at == "attested",
            Err(error) => return Err(error),
        };
        if !refused {
            let found = failed("An account was made without the attestation.", "sign-up");
            return Ok(answer(found, ""));
        }
        let guest = self.sign_up_guest(true).await?;
        let id = guest.signed_in.session.user.id;
        let platform = self.job(jobs::PROMISES);
        let tx = self.0.store.read_platform(&platform).await?;
        let attestation = tx.user(id).await?.attestation;
        drop(tx);
        let keys = self.destroy_account(id).await?;
        let tx = self.0.store.read_platform(&platform).await?;
        let is_gone = tx.user(id).await.is_err() && tx.sessions_of(id).await?.is_empty();
        drop(tx);
        let tx = self.0.store.read(&self.job_in(jobs::PROMISES, PROBE_TENANT)).await?;
        let is_listed = tx.members(&Page::whole()).await?.items.iter().any(|one| one.user.id == id);
        drop(tx);
        let found = match attestation {
            None => failed("The attestation of a person was not recorded.", "table users"),
            Some(_) if !is_gone || is_listed => {
                failed("A flagged account is still there.", "tables users and sessions")
            }
            Some(_) if keys.is_empty() => {
                failed("The key of a flagged account was not destroyed.", "keyring")
            }
            Some(made) => Ok(vec![
                fact("text attested", &made.text),
                fact("destroyed keys of the flagged account", &keys.len().to_string()),
            ]),
        };
        Ok(answer(
            found,
            "Nobody signs up without the attestation; a flagged account is destroyed at once.",
        ))
    }
}
