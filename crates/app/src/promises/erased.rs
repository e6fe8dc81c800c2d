//! P42: a person of nobody's tenant with something in every store asks for erasure. It is carried
//! out as anybody's would be; then nothing of them is found in any sealed column of the schema, the
//! certificate is right, and it is written where no backup reaches. A backup of before is restored
//! beside it, and erased again.

use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_access::jobs;
use veritwin_domain::{CaseId, Value};
use veritwin_keys::ShredUnit;
use veritwin_telemetry::Point;

use super::rights::{Canary, Found, asks, wrong};
use super::run::InApp;
use super::sign_up::{answer, fact};
use super::{PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::cases::body::Case;
use crate::destruction_certificate::check_certificate;
use crate::{App, Error, Result};

const PROMISE: u8 = 42;
/// With every sealed column looked through.
const VERSION: u32 = 3;
/// Mails of the platform that are looked through at a time.
const MAILS_AT_ONCE: u64 = 500;
/// Between looks at how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// So often it is looked at, two minutes in all.
const LOOKS_MAX: u32 = 480;

pub(super) fn probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, PROMISE, VERSION, |app: App| async move { app.check_erasure().await })
}

impl App {
    async fn check_erasure(&self) -> Result<ProbeAnswer> {
        // The destruction of readings ends in the ledger: without one it would wait for ever.
        let with_readings = self.archive().is_ok();
        let canary = self.open_canary_with(with_readings).await?;
        let asked = self.ask_for_erasure(&canary).await;
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

    pub(super) async fn ask_for_erasure(&self, canary: &Canary) -> Result<CaseId> {
        let id = self.create_own_case(&canary.context, &asks("erasure", "", None)).await?;
        let job = self.job_in(jobs::RETENTION, PROBE_TENANT);
        let case = Case::read(self.0.store.read(&job).await?.case(id).await?)?;
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

    /// What is found of somebody who was erased, and where. Where to look is what the schema says,
    /// and not the list of stores that was erased by.
    #[boxed]
    pub(super) async fn traces_of(
        &self,
        canary: &Canary,
    ) -> Result<Option<(&'static str, String)>> {
        let texts = canary.traces();
        let context = self.job_in(jobs::RETENTION, PROBE_TENANT);
        let tx = self.0.store.read(&context).await?;
        let place = tx.sealed_holding(&texts).await?.pop_first();
        drop(tx);
        let found = "Something of a person is found who was erased.";
        if let Some((table, column)) = place {
            return Ok(Some((found, format!("column {table}.{column}"))));
        }
        if self.is_in_platform_mails(&texts).await? {
            return Ok(Some((found, "mails of the platform".to_owned())));
        }
        let is_theirs =
            |point: &Point| matches!(&point.value, Value::Text(text) if **text == *canary.word);
        if self.points_of(canary.device).await?.iter().any(is_theirs) {
            return Ok(Some((found, "readings of their device".to_owned())));
        }
        let tx = self.0.store.read_platform(&self.job(jobs::PROMISES)).await?;
        let is_there = crate::error::found(tx.user(canary.user).await)?.is_some();
        drop(tx);
        let unit = ShredUnit::Subject(*canary.user.as_bytes());
        if is_there || self.0.keys.list(None).iter().any(|key| key.scope.unit == unit) {
            let summary = "The account or the key of a person is there who was erased.";
            return Ok(Some((summary, "table users and keyring".to_owned())));
        }
        Ok(None)
    }

    /// Whether a mail that the platform itself wrote tells of somebody.
    async fn is_in_platform_mails(&self, texts: &[String]) -> Result<bool> {
        let tx = self.0.store.read_platform(&self.job(jobs::PROMISES)).await?;
        let mut after = None;
        loop {
            let page = tx.outbox_written(after, MAILS_AT_ONCE).await?;
            let Some((last, ..)) = page.last() else { return Ok(false) };
            after = Some(*last);
            for (.., payload) in &page {
                let mail = String::from_utf8_lossy(payload);
                if texts.iter().any(|text| mail.contains(text.as_str())) {
                    return Ok(true);
                }
            }
        }
    }

    #[boxed]
    async fn walk_erasure(
        &self,
        canary: &Canary,
        (id, with_readings): (CaseId, bool),
    ) -> Result<Found> {
        let case = self.await_erased(id).await?;
        if let Some((summary, place)) = self.traces_of(canary).await? {
            return Ok(wrong(summary, &place));
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
            fact(
                "readings",
                if with_readings { "erased" } else { "without a ledger, none were made" },
            ),
            fact("SHA-256 of the certificate", &hex::encode(certificate.digest())),
        ]))
    }
}
