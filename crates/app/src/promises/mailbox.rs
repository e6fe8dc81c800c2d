//! P48: a mail of nobody is handed to what reads mailboxes. A case has to open, once, nothing may
//! be disclosed before it is known who wrote it, and what a machine sent has to be passed by. The
//! platform's own mailbox, if it names one, must not be unread.

use std::sync::Arc;

use veritwin_access::jobs;
use veritwin_domain::{CaseId, OpContext};
use veritwin_metastore::{CaseSource, Page};

use super::run::InApp;
use super::{PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::cases::body::Case;
use crate::cases::intake::Taken;
use crate::error::found;
use crate::provision::PLATFORM_TENANT;
use crate::{App, Result};

const BY_MAIL: u8 = 48;
/// With how it stands with mailboxes.
const VERSION: u32 = 2;

pub(super) fn probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, BY_MAIL, VERSION, |app: App| async move { app.check_mailbox().await })
}

/// A mail of nobody.
fn mail(id: &str, headers: &str) -> Vec<u8> {
    format!(
        "From: probe-{id}@people.invalid\r\nTo: privacy@probe.invalid\r\nSubject: My data\r\n\
         Message-ID: <{id}@people.invalid>\r\n{headers}\r\nPlease send me a copy of my data.\r\n"
    )
    .into_bytes()
}

impl App {
    async fn check_mailbox(&self) -> Result<ProbeAnswer> {
        self.ensure_probe_tenant().await?;
        let context = self.job_in(jobs::PROMISES, PROBE_TENANT);
        self.remove_mailed(&context).await?;
        let id = CaseId::generate(context.at, self.rng()).to_string();
        let (by_person, at) = (mail(&id, ""), context.at);
        let by_machine = mail(&format!("{id}.auto"), "Auto-Submitted: auto-replied\r\n");
        let first = self.take_mail(&context, (&by_person, at), None).await?;
        let again = self.take_mail(&context, (&by_person, at), None).await?;
        let machine = self.take_mail(&context, (&by_machine, at), None).await?;
        let is_closed_to = match first {
            Taken::Case(case) => Some(self.is_nothing_disclosed(&context, case).await?),
            _ => None,
        };
        self.remove_mailed(&context).await?;
        let own = self.job_in(jobs::PROMISES, PLATFORM_TENANT);
        let stand = self.mailbox_stand(&own).await?;
        let tx = self.0.store.read_platform(&self.job(jobs::PROMISES)).await?;
        let with_problem = tx.mailboxes_with_problem().await?;
        drop(tx);
        let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        let facts = vec![
            ("a mail opens a case".to_owned(), yes(is_closed_to.is_some())),
            ("the same mail opens another".to_owned(), yes(again != Taken::Passed)),
            ("a machine's mail is taken".to_owned(), yes(machine != Taken::Passed)),
            (
                "something is given before it is known who asks".to_owned(),
                yes(is_closed_to == Some(false)),
            ),
            (
                "problem of the platform's own mailbox".to_owned(),
                stand.map_or("it names none", |(problem, _)| problem).to_owned(),
            ),
            ("mailboxes of all organisations with a problem".to_owned(), with_problem.to_string()),
        ];
        let failed = |summary: &str| ProbeAnswer::Failed {
            summary: summary.to_owned(),
            facts: facts.clone(),
            place: "requests by mail".to_owned(),
        };
        Ok(match is_closed_to {
            None => failed("A mail with a request opens no case."),
            Some(false) => failed("A request by mail counts as its sender's before that is known."),
            Some(true) if again != Taken::Passed => failed("A mail opens more than one case."),
            Some(true) if machine != Taken::Passed => failed("Mails of machines are taken in."),
            Some(true) if stand.is_some_and(|(_, is_unread)| is_unread) => {
                failed("The mailbox that requests come to cannot be read.")
            }
            Some(true) => ProbeAnswer::Passed {
                summary: "A mail opens one case, and nothing is given before it is known who asks."
                    .to_owned(),
                facts: facts.clone(),
            },
        })
    }

    async fn is_nothing_disclosed(&self, context: &OpContext, id: CaseId) -> Result<bool> {
        let tx = self.0.store.read(context).await?;
        let Some(row) = found(tx.case(id).await)? else { return Ok(true) };
        let case = Case::read(row)?;
        Ok(case.check_verified().is_err() && case.row.source == CaseSource::Mail)
    }

    /// What this check made, or an earlier run that was cut short.
    async fn remove_mailed(&self, context: &OpContext) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        for left in tx.cases(true, &Page::first(50)).await?.items {
            if left.source == CaseSource::Mail {
                tx.case_delete(left.id).await?;
            }
        }
        Ok(tx.commit().await?)
    }
}
