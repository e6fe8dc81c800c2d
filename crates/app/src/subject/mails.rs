//! The mails to one person: those of a tenant, the platform's own to the account, and the records
//! of those that a server took.

use serde_json::{Value, json};
use veritwin_access::jobs;
use veritwin_domain::{OpContext, Timestamp};
use veritwin_metastore::OutboxId;

use super::Subject;
use crate::mail::MailPayload;
use crate::provision::PLATFORM_TENANT;
use crate::rights::bounded;
use crate::{App, Result};

/// Mails that are looked through at a time.
const MAILS_AT_ONCE: u64 = 1_000;
/// Most mails to one person that one copy holds.
const MAILS_MAX: usize = 100_000;

/// A mail with its id and when it was written.
type Written = (OutboxId, Timestamp, MailPayload);

/// The mails of a page that go to an address.
fn to_address(page: Vec<(OutboxId, Timestamp, Vec<u8>)>, email: &str) -> Vec<Written> {
    let read = |(id, at, payload): (OutboxId, Timestamp, Vec<u8>)| {
        let mail = serde_json::from_slice::<MailPayload>(&payload).ok()?;
        mail.to.trim().eq_ignore_ascii_case(email.trim()).then_some((id, at, mail))
    };
    page.into_iter().filter_map(read).collect()
}

/// A mail as a copy shows it: links and codes stand in its text.
fn shown((_, at, mail): &Written) -> Value {
    json!({"at": at.to_string(), "to": mail.to, "subject": mail.subject})
}

fn ids(mails: &[Written]) -> Vec<OutboxId> {
    mails.iter().map(|(id, ..)| *id).collect()
}

impl App {
    /// The mails of a tenant to an address, with their ids.
    pub(crate) async fn mails_to(&self, context: &OpContext, email: &str) -> Result<Vec<Written>> {
        let tx = self.0.store.read(context).await?;
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = tx.outbox_written(after, MAILS_AT_ONCE).await?;
            let Some((last, ..)) = page.last() else { return Ok(found) };
            after = Some(*last);
            found.extend(to_address(page, email));
            bounded("subject_mails_max", MAILS_MAX, found.len())?;
        }
    }

    /// The platform's own mails to an account; what it wrote for another organisation is not this
    /// one's.
    async fn platform_mails_to(&self, context: &OpContext, email: &str) -> Result<Vec<Written>> {
        let tx = self.0.store.read_platform(&self.above(context)).await?;
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = tx.outbox_written(after, MAILS_AT_ONCE).await?;
            let Some((last, ..)) = page.last() else { return Ok(found) };
            after = Some(*last);
            let theirs = to_address(page, email).into_iter();
            let is_here = |mail: &MailPayload| mail.voice.is_none_or(|of| of == context.tenant);
            found.extend(theirs.filter(|(.., mail)| is_here(mail)));
            bounded("subject_mails_max", MAILS_MAX, found.len())?;
        }
    }

    pub(super) async fn assemble_mails(
        &self,
        context: &OpContext,
        subject: &Subject,
    ) -> Result<Vec<Value>> {
        let Some(email) = &subject.email else { return Ok(Vec::new()) };
        #[cfg(feature = "test-controls")]
        if self.0.promises.is_sabotaged(40) {
            return Ok(Vec::new());
        }
        let mails = self.mails_to(context, email).await?;
        let mut rows: Vec<Value> = mails.iter().map(shown).collect();
        rows.extend(self.sent_of(context, &ids(&mails)).await?);
        // Of an address without an account the platform says nothing.
        if subject.user.is_some() {
            let above = self.platform_mails_to(context, email).await?;
            rows.extend(above.iter().map(shown));
            let platform = self.job_in(jobs::MAIL, PLATFORM_TENANT);
            rows.extend(self.sent_of(&platform, &ids(&above)).await?);
        }
        Ok(rows)
    }
}
