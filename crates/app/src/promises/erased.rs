//! P42: a person of nobody's tenant with something in every store asks for erasure. It is carried
//! out as anybody's would be; then nothing of them is found, the certificate is right, and it is
//! written where no backup reaches. A backup of before is restored beside it, and erased again.

use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_access::jobs;
use veritwin_domain::CaseId;
use veritwin_keys::ShredUnit;

use super::rights::{Canary, Found, asks, wrong};
use super::run::InApp;
use super::sign_up::{answer, fact};
use super::{PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::cases::body::Case;
use crate::destruction_certificate::check_certificate;
use crate::subject::Subject;
use crate::{App, Error, Result};

const PROMISE: u8 = 42;
/// With a backup that is restored.
const VERSION: u32 = 2;
/// Between looks at how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// So often it is looked at, two minutes in all.
const LOOKS_MAX: u32 = 480;

pub(super) fn probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, PROMISE, VERSION, |app: App| async move { app.check_erasure().await })
}

impl App {
    async fn check_erasure(&self) -> Result<ProbeAnswer> {
        let canary = self.open_canary().await?;
        // The destruction of readings ends in the ledger: without one it would wait for ever.
        let with_readings = self.archive().is_ok();
        let asked = self.ask_for_erasure(&canary, with_readings).await;
        let walked = match &asked {
            Ok(id) => self.walk_erasure(&canary, (*id, with_readings)).await,
            Err(_) => Ok(wrong("An erasure could not begin.", "table rights_cases")),
        };
        // What says that it was erased stays, or it would be erased again at each start.
        self.close_canary(&canary, asked.as_ref().ok().copied()).await?;
        asked?;
        let mut walked = walked?;
        if let Ok(facts) = &mut walked {
            match self.check_restored().await? {
                Ok(more) => facts.extend(more),
                Err(wrong) => walked = Err(wrong),
            }
        }
        Ok(answer(
            walked,
            "Of a person who was erased nothing is found, also after a restore of a backup of \
             before, and a certificate says so.",
        ))
    }

    pub(super) async fn ask_for_erasure(
        &self,
        canary: &Canary,
        with_readings: bool,
    ) -> Result<CaseId> {
        let id = self.create_own_case(&canary.context, &asks("erasure", "", None)).await?;
        let job = self.job_in(jobs::RETENTION, PROBE_TENANT);
        let tx = self.0.store.begin(&job).await?;
        let mut case = Case::read(tx.case(id).await?)?;
        if !with_readings {
            case.body.person = None;
            tx.case_update(&case.to_store(job.at)?).await?;
            case = Case::read(tx.case(id).await?)?;
        }
        tx.commit().await?;
        self.begin_erasure(&job, &case).await?;
        Ok(id)
    }

    /// Waits until nothing of the person is left in the request itself.
    async fn await_erased(&self, id: CaseId) -> Result<Case> {
        let job = self.job_in(jobs::RETENTION, PROBE_TENANT);
        let mut looks = tokio::time::interval(LOOK_AGAIN);
        for _ in 0..LOOKS_MAX {
            looks.tick().await;
            let tx = self.0.store.read(&job).await?;
            let case = Case::read(tx.case(id).await?)?;
            drop(tx);
            if case.is_forgotten() {
                return Ok(case);
            }
        }
        Err(Error::Unavailable("the erasure did not come to its end in two minutes".to_owned()))
    }

    /// What is found of somebody who was erased, and where.
    #[boxed]
    pub(super) async fn traces_of(
        &self,
        canary: &Canary,
        subject: &Subject,
    ) -> Result<Option<(&'static str, &'static str)>> {
        let context = self.job_in(jobs::RETENTION, PROBE_TENANT);
        let bundle = self.subject_bundle(&context, subject).await?;
        for (name, bytes) in crate::subject::unzipped(&bundle.bytes) {
            let text = String::from_utf8_lossy(&bytes);
            if text.contains(&canary.word) || text.contains(&canary.email) {
                tracing::warn!(file = name, "a copy tells of somebody who was erased");
                let summary = "Something of a person is found who was erased.";
                return Ok(Some((summary, "a copy of what is kept of them")));
            }
        }
        let tx = self.0.store.read_platform(&self.job(jobs::PROMISES)).await?;
        let is_there = crate::error::found(tx.user(canary.user).await)?.is_some();
        drop(tx);
        let unit = ShredUnit::Subject(*canary.user.as_bytes());
        if is_there || self.0.keys.list(None).iter().any(|key| key.scope.unit == unit) {
            let summary = "The account or the key of a person is there who was erased.";
            return Ok(Some((summary, "table users and keyring")));
        }
        Ok(None)
    }

    #[boxed]
    async fn walk_erasure(
        &self,
        canary: &Canary,
        (id, with_readings): (CaseId, bool),
    ) -> Result<Found> {
        let case = self.await_erased(id).await?;
        let mut subject = canary.subject();
        if !with_readings {
            subject.person = None;
        }
        if let Some((summary, place)) = self.traces_of(canary, &subject).await? {
            return Ok(wrong(summary, place));
        }
        let row = String::from_utf8_lossy(&case.row.body).into_owned();
        if row.contains(&canary.email) || row.contains(&canary.word) {
            return Ok(wrong("The request names whom it erased.", "table rights_cases"));
        }
        let Some(certificate) = &case.body.certificate else {
            return Ok(wrong("An erasure has no certificate.", "table rights_cases"));
        };
        let text = certificate.to_text(None);
        let checked = check_certificate(text.as_bytes(), Some(&certificate.public_key));
        if !checked.is_ok_and(|one| one.is_expected == Some(true)) {
            return Ok(wrong("The certificate of an erasure is wrong.", "table rights_cases"));
        }
        if !self.is_journaled(id)? {
            return Ok(wrong("A backup of before would bring the person back.", "shred journal"));
        }
        Ok(Ok(vec![
            fact("stores", &case.body.steps.len().to_string()),
            fact("readings", if with_readings { "erased" } else { "without a ledger, not asked" }),
            fact("SHA-256 of the certificate", &hex::encode(certificate.digest())),
        ]))
    }
}
