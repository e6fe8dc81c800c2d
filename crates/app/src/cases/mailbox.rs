//! The mailbox that requests of data subjects are read from: how to get there, and reading it in
//! turn. What becomes of its mails is in `intake`.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinSet;
use veritwin_access::{Action, Finding, Kind, jobs};
use veritwin_domain::{OpContext, Secret, TenantId, Timestamp};
use veritwin_metastore::{MailRank, MailboxProblem, RightsMailbox, TenantTx};
use veritwin_outbound::guard::{
    GuardError, MailboxCall, MailboxError, MailboxMail, MailboxRound, Target,
};
use veritwin_outbound::mail::is_address;
use veritwin_outbound::register::{Destination, DestinationKind};

use super::intake::Taken;
use super::mailbox_progress::Progress;
use super::officer_words::mailbox_mails;
use crate::change::Change;
use crate::model::{MailboxInput, MailboxView};
use crate::route_places::place_at;
use crate::security::{Found, fact};
use crate::{App, Error, Result};

/// The port of IMAP over TLS (RFC 8314).
const IMAPS_PORT: u16 = 993;
const TEXT_BYTES_MAX: usize = 255;
const PASSWORD_BYTES_MAX: usize = 1024;
/// How often it is looked which mailboxes are due.
const TICK: Duration = Duration::from_secs(5);
/// How often a mailbox is read.
const READ_EVERY: Duration = Duration::from_secs(5 * 60);
/// How long it rests after it could not be read.
const REST: Duration = Duration::from_secs(15 * 60);
/// Most mailboxes that are read at once.
const AT_ONCE: usize = 8;
/// Why such a place is in the egress register.
const MAILBOX_PURPOSE: &str = "mailbox for requests of data subjects that a customer registered";

/// What is kept of a mailbox.
#[derive(Clone, Serialize, Deserialize)]
struct StoredMailbox {
    server: String,
    user: String,
    password: String,
    folder: String,
    /// What is left to read, and what was told of it.
    #[serde(default)]
    progress: Progress,
}

impl StoredMailbox {
    fn body(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::Internal(error.to_string()))
    }

    fn read(row: &RightsMailbox) -> Result<Self> {
        let damaged = |_| Error::Internal("a stored mailbox is damaged".to_owned());
        serde_json::from_slice(&row.body).map_err(damaged)
    }

    /// What records say of it.
    fn recorded(&self) -> serde_json::Value {
        json!({"server": self.server, "user": self.user, "folder": self.folder})
    }

    fn is_same_place(&self, other: &Self) -> bool {
        (&self.server, &self.user, &self.folder) == (&other.server, &other.user, &other.folder)
    }
}

/// The place that a server's name stands for.
fn target(server: &str) -> Result<Target> {
    let refused = |text: String| Error::invalid_at("server", text);
    if server.contains(['/', '?', '@']) {
        return Err(refused("expected the form host or host:port".to_owned()));
    }
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let has_port = server.rsplit_once(':').is_some_and(|(_, port)| is_digits(port));
    let more = if has_port { String::new() } else { format!(":{IMAPS_PORT}") };
    Target::parse(&format!("https://{server}{more}/")).map_err(|error| refused(error.to_string()))
}

fn checked(at: &'static str, text: &str) -> Result<String> {
    let text = text.trim();
    let is_right = (1..=TEXT_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if !is_right {
        let detail = format!("needs 1 to {TEXT_BYTES_MAX} letters, digits and signs of ASCII");
        return Err(Error::invalid_at(at, detail));
    }
    Ok(text.to_owned())
}

fn checked_password(password: &Secret<String>) -> Result<String> {
    let text = password.expose();
    let is_right =
        (1..=PASSWORD_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    if !is_right {
        let detail = format!("needs 1 to {PASSWORD_BYTES_MAX} bytes without control characters");
        return Err(Error::invalid_at("password", detail));
    }
    Ok(text.clone())
}

fn view(row: &RightsMailbox) -> Result<MailboxView> {
    let stored = StoredMailbox::read(row)?;
    Ok(MailboxView {
        server: stored.server,
        user: stored.user,
        folder: stored.folder,
        read_at: row.read_at,
        problem: row.problem.map(MailboxProblem::as_str),
        next_at: row.next_at,
        version: row.version,
    })
}

/// Why a mailbox was not read, as it is kept.
fn problem(error: &MailboxError) -> MailboxProblem {
    match error {
        MailboxError::SignIn => MailboxProblem::SignIn,
        MailboxError::Folder => MailboxProblem::Folder,
        MailboxError::Protocol => MailboxProblem::Protocol,
        MailboxError::Guard(GuardError::Unreachable { problem, .. })
            if problem.starts_with("TLS") =>
        {
            MailboxProblem::Tls
        }
        MailboxError::Guard(
            GuardError::Unreachable { .. } | GuardError::Resolve { .. } | GuardError::Busy(_),
        ) => MailboxProblem::Unreachable,
        MailboxError::Guard(_) => MailboxProblem::Refused,
    }
}

impl App {
    /// The mailbox that requests are read from, if there is one.
    #[boxed]
    pub async fn mailbox(&self, context: &OpContext) -> Result<Option<MailboxView>> {
        let resource = self.authorize_all(context, Action::RequestRead, Kind::Case)?;
        let row = self.0.store.read(context).await?.mailbox().await?;
        self.note(context, Action::RequestRead, &resource, "done");
        row.as_ref().map(view).transpose()
    }

    /// Sets the mailbox that requests are read from, and has it read at once.
    #[boxed]
    pub async fn set_mailbox(
        &self,
        context: &OpContext,
        (input, version): (&MailboxInput, u64),
    ) -> Result<MailboxView> {
        let resource = self.authorize_all(context, Action::RequestFulfil, Kind::Case)?;
        let (server, user) = (checked("server", &input.server)?, checked("user", &input.user)?);
        let folder = checked("folder", &input.folder)?;
        let place = target(&server)?;
        let judged = self.0.providers.client.guard().check(&place);
        judged.map_err(|error| Error::invalid_at("server", error.to_string()))?;
        let given = input.password.as_ref().map(checked_password).transpose()?;
        let tx = self.0.store.begin(context).await?;
        let known = tx.mailbox().await?;
        let before = known.as_ref().map(StoredMailbox::read).transpose()?;
        let kept = before.as_ref().filter(|one| one.server == server && one.user == user);
        let has_given = given.is_some();
        // Whoever may say where it is does not thereby learn a password.
        let password = given.or_else(|| kept.map(|one| one.password.clone())).ok_or_else(|| {
            Error::invalid_at("password", "needed, since server or user is another")
        })?;
        let progress = Progress::default();
        let mut stored = StoredMailbox { server, user, password, folder, progress };
        let same = before.as_ref().filter(|one| one.is_same_place(&stored));
        let from = known.as_ref().filter(|_| same.is_some());
        if let Some(progress) = same.map(|one| one.progress.clone()) {
            stored.progress = progress.anew();
        }
        let row = RightsMailbox {
            body: stored.body()?,
            numbering: from.map_or(0, |one| one.numbering),
            read_to: from.map_or(0, |one| one.read_to),
            read_at: None,
            problem: None,
            next_at: context.at,
            version,
        };
        tx.mailbox_put(&row, version).await?;
        let mut after = stored.recorded();
        after["password_changed"] = has_given.into();
        let change = match &before {
            Some(before) => Change::from_to(before.recorded(), after),
            None => Change::to(after),
        };
        self.record_change(&tx, context, Action::RequestFulfil, &resource, change).await?;
        let made = tx.mailbox().await?.ok_or(Error::NotFound("mailbox"))?;
        tx.commit().await?;
        self.forget_place(before.as_ref());
        view(&made)
    }

    /// Reads no mailbox any more.
    #[boxed]
    pub async fn remove_mailbox(&self, context: &OpContext) -> Result<()> {
        let resource = self.authorize_all(context, Action::RequestFulfil, Kind::Case)?;
        let tx = self.0.store.begin(context).await?;
        let known = tx.mailbox().await?.ok_or(Error::NotFound("mailbox"))?;
        let before = StoredMailbox::read(&known)?;
        tx.mailbox_delete().await?;
        let change = Change::from(before.recorded());
        self.record_change(&tx, context, Action::RequestFulfil, &resource, change).await?;
        tx.commit().await?;
        self.forget_place(Some(&before));
        Ok(())
    }

    /// The address of the mailbox, where its user is one.
    pub(super) async fn mailbox_address(&self, tx: &TenantTx) -> Result<Option<String>> {
        let row = tx.mailbox().await?;
        let stored = row.as_ref().map(StoredMailbox::read).transpose()?;
        Ok(stored.map(|one| one.user).filter(|user| is_address(user)))
    }

    /// Takes a place out of the egress register. Whoever else reads there enters it again.
    fn forget_place(&self, mailbox: Option<&StoredMailbox>) {
        if let Some(Ok(target)) = mailbox.map(|one| target(&one.server)) {
            let place: Destination = place_at(&target);
            self.0.egress.withdraw_of(&place, MAILBOX_PURPOSE);
        }
    }

    /// Reads mailboxes as they are due, until the platform stops.
    pub(crate) async fn keep_mailboxes(&self) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.next_round(&mut interval).await {
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                () = self.read_mailboxes() => {}
            }
        }
    }

    async fn read_mailboxes(&self) {
        let due = async {
            let context = self.job(jobs::MAIL);
            let tx = self.0.store.read_platform(&context).await?;
            Ok::<_, Error>(tx.mailboxes_due(context.at).await?)
        };
        let due = match due.await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "mailboxes wait");
                return;
            }
        };
        let mut reading = JoinSet::new();
        for tenant in due {
            if reading.len() >= AT_ONCE {
                reading.join_next().await;
            }
            let app = self.clone();
            reading.spawn(async move {
                if let Err(error) = app.read_mailbox_of(tenant).await {
                    tracing::warn!(%tenant, %error, "a mailbox waits");
                    app.note_waiting(tenant, error.is_withheld()).await;
                }
            });
        }
        while reading.join_next().await.is_some() {}
    }

    /// Notes that what came could not be taken in. While a tenant's key is away nothing of its own
    /// is written.
    async fn note_waiting(&self, tenant: TenantId, is_withheld: bool) {
        let context = self.job_in(jobs::MAIL, tenant);
        let noted = async {
            let Some(row) = self.0.store.read(&context).await?.mailbox().await? else {
                return Ok::<_, Error>(());
            };
            self.note_failed(&context, row, MailboxProblem::Failed).await
        };
        if is_withheld || noted.await.is_err() {
            self.postpone_mailbox(tenant).await;
        }
    }

    async fn postpone_mailbox(&self, tenant: TenantId) {
        let later = async {
            let context = self.job(jobs::MAIL);
            let tx = self.0.store.begin_platform(&context).await?;
            tx.mailbox_postpone(tenant, context.at.saturating_add(REST)).await?;
            Ok::<_, Error>(tx.commit().await?)
        };
        if let Err(error) = later.await {
            tracing::warn!(%tenant, %error, "a mailbox was not postponed");
        }
    }

    /// One round of a tenant's mailbox.
    #[boxed]
    async fn read_mailbox_of(&self, tenant: TenantId) -> Result<()> {
        let is_served = self.0.tree.read().is_served(tenant);
        if !is_served {
            self.postpone_mailbox(tenant).await;
            return Ok(());
        }
        let context = self.job_in(jobs::MAIL, tenant);
        let tx = self.0.store.read(&context).await?;
        let Some(row) = tx.mailbox().await? else { return Ok(()) };
        drop(tx);
        let stored = StoredMailbox::read(&row)?;
        let target = target(&stored.server)?;
        self.0.egress.register(place_at(&target), DestinationKind::Recipient, MAILBOX_PURPOSE);
        let number = |stored: u64| u32::try_from(stored).unwrap_or(0);
        let call = MailboxCall {
            target: &target,
            user: &stored.user,
            password: &Secret::new(stored.password.clone()),
            folder: &stored.folder,
            numbering: number(row.numbering),
            read_to: number(row.read_to),
            again: stored.progress.again(),
        };
        let found = self.0.providers.client.read_mailbox(self.caller(tenant), &call).await;
        match found {
            Ok(round) => self.take_round(&context, row, round).await,
            Err(error) => self.note_failed(&context, row, problem(&error)).await,
        }
    }

    /// Writes how a reading went. When that is news, those who look after requests are told: by an
    /// alert, which is written first, and by mail.
    #[boxed]
    async fn note_reading(
        &self,
        context: &OpContext,
        row: RightsMailbox,
        is_news: bool,
    ) -> Result<()> {
        let problem = row.problem.filter(|_| is_news);
        if let Some(problem) = problem {
            let facts = vec![fact("problem", problem.as_str())];
            let kind = Finding::MailboxUnread;
            let found = Found { tenant: context.tenant, kind, facts, session: None };
            self.raise_finding(&found).await?;
        }
        let tx = self.0.store.begin(context).await?;
        if let Some(problem) = problem {
            let mails = mailbox_mails(problem == MailboxProblem::Full);
            let event = format!("mailbox {} {}", problem.as_str(), context.at.as_micros());
            self.mail_officers(&tx, MailRank::Account, &mails, &event).await?;
        }
        tx.mailbox_read(&row).await?;
        Ok(tx.commit().await?)
    }

    pub(crate) async fn note_failed(
        &self,
        context: &OpContext,
        row: RightsMailbox,
        problem: MailboxProblem,
    ) -> Result<()> {
        let mut stored = StoredMailbox::read(&row)?;
        let is_news = stored.progress.note_failed();
        let next_at = context.at.saturating_add(REST);
        let (body, problem) = (stored.body()?, Some(problem));
        let row = RightsMailbox { body, problem, next_at, ..row };
        self.note_reading(context, row, is_news).await
    }

    /// Takes the mails of a round in, one by one: each is a case, or part of one, in the step that
    /// says that it was read. One that there is no room for is left, and looked at again later; it
    /// keeps none behind it waiting.
    pub(crate) async fn take_round(
        &self,
        context: &OpContext,
        mut row: RightsMailbox,
        round: MailboxRound,
    ) -> Result<()> {
        let mut stored = StoredMailbox::read(&row)?;
        let own = stored.user.clone();
        let again = stored.progress.again();
        if row.numbering != u64::from(round.numbering) {
            stored.progress.numbered_anew(row.read_at);
            row.numbering = u64::from(round.numbering);
        }
        for mail in &round.mails {
            row.read_to = u64::from(mail.number);
            row.body = stored.body()?;
            let (received_at, at) = received(context, mail);
            if stored.progress.was_read(received_at) {
                continue;
            }
            let taken =
                self.take_mail(context, (&mail.bytes, at), Some((&row, own.as_str()))).await?;
            if taken == Taken::Full {
                stored.progress.leave(mail.number, at);
            }
        }
        row.read_to = u64::from(round.read_to);
        let mut is_taken = false;
        if let (Some((from, _)), Some(found)) = (again, &round.again) {
            let mut still = Vec::new();
            for mail in &found.mails {
                let mut after = stored.clone();
                after.progress.take((mail.number, mail.number));
                row.body = after.body()?;
                let (_, at) = received(context, mail);
                match self.take_mail(context, (&mail.bytes, at), Some((&row, own.as_str()))).await?
                {
                    Taken::Full => still.push(mail.number),
                    Taken::Case(_) | Taken::Note | Taken::Passed => {
                        stored = after;
                        is_taken = true;
                    }
                }
            }
            stored.progress.looked((from, found.read_to), &still);
        }
        let is_news = stored.progress.note_read(round.has_more);
        let is_full = stored.progress.is_full();
        let wait = if round.has_more || (is_taken && is_full) { TICK } else { READ_EVERY };
        let now = self.clock().now();
        let read = RightsMailbox {
            body: stored.body()?,
            read_at: Some(now),
            problem: is_full.then_some(MailboxProblem::Full),
            next_at: now.saturating_add(wait),
            ..row
        };
        self.note_reading(context, read, is_news).await
    }

    /// The problem of a tenant's mailbox, or `none`, and whether it is unread for longer than one
    /// round; none where no mailbox is read.
    pub(crate) async fn mailbox_stand(
        &self,
        context: &OpContext,
    ) -> Result<Option<(&'static str, bool)>> {
        let Some(row) = self.0.store.read(context).await?.mailbox().await? else {
            return Ok(None);
        };
        let is_unread = StoredMailbox::read(&row)?.progress.is_unread();
        Ok(Some((row.problem.map_or("none", MailboxProblem::as_str), is_unread)))
    }
}

/// When the server received a mail, as it says, and as it counts.
fn received(context: &OpContext, mail: &MailboxMail) -> (Option<Timestamp>, Timestamp) {
    let micros = mail.received_at.map(|at| at.saturating_mul(1_000_000));
    let said = micros.map(Timestamp::from_micros);
    (said, said.unwrap_or(context.at).min(context.at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_with_a_port_or_without() {
        let check = |server: &str, expect: Option<(&str, u16)>| {
            let found = target(server).ok();
            let found = found.as_ref().map(|one| (one.host(), one.port()));
            assert_eq!(found, expect, "{server}");
        };
        check("mail.example", Some(("mail.example", 993)));
        check("mail.example:1993", Some(("mail.example", 1993)));
        check("[2606:4700::1111]", Some(("[2606:4700::1111]", 993)));
        check("user@mail.example", None);
        check("mail.example/inbox", None);
        check("imap://mail.example", None);
        check("", None);
    }

    #[test]
    fn what_a_server_is_told_has_no_control_characters() {
        for wrong in ["", "a\r\nLOGOUT", "\u{e9}"] {
            assert!(checked("user", wrong).is_err(), "{wrong:?}");
        }
        assert!(checked_password(&Secret::new("a\nb".to_owned())).is_err());
        assert!(checked_password(&Secret::new("p\u{e4}ss".to_owned())).is_ok());
    }

    #[test]
    fn problems_say_nothing_of_what_a_server_said() {
        let problem_of = |error: GuardError| problem(&MailboxError::Guard(error));
        let unreachable = |problem: &str| {
            let (host, problem) = ("mail.example".to_owned(), problem.to_owned());
            problem_of(GuardError::Unreachable { host, problem })
        };
        assert_eq!(unreachable("TLS: invalid peer certificate"), MailboxProblem::Tls);
        assert_eq!(unreachable("no connection in time"), MailboxProblem::Unreachable);
        let port = GuardError::Port { port: 993, allowed: "443".to_owned() };
        assert_eq!(problem_of(port), MailboxProblem::Refused);
        assert_eq!(problem(&MailboxError::SignIn), MailboxProblem::SignIn);
    }
}
