//! What happens to the end of an organisation by itself: it is decided or lapses, everybody is
//! reminded, and when its time has come everything is destroyed, step by step. Each step can be
//! cut short and is taken again.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Kind, Resource, jobs};
use veritwin_domain::{DestructionId, OpContext, TenantId, Timestamp, UserId};
use veritwin_metastore::{
    DestructionState, MailRank, Member, NewMail, StoredDestruction, StoredTenantEnd,
    TenantEndState, TenantState, every_row, tenant_tables,
};

use super::words::News;
use super::{EndBody, Said, answers, decided, decided_words, letter, reminder_words};
use crate::change::Change;
use crate::destructions::Body;
use crate::languages::language_of_user;
use crate::provision::is_nobodys;
use crate::{App, Error, Result};

/// When something is looked at again that failed.
const AGAIN: Duration = Duration::from_secs(3600);
/// What could not be mailed for so long is not mailed.
const LAST_MAILS_WITHIN: Duration = Duration::from_secs(7 * 86_400);
/// When an end is looked at again that something holds up.
const HELD: Duration = Duration::from_secs(86_400);

impl App {
    /// Looks after every end that is due. One that fails waits, and holds no other.
    #[boxed]
    pub(crate) async fn tend_ends(&self) {
        let due = async {
            let context = self.job(jobs::RETENTION);
            let tx = self.0.store.read_platform(&context).await?;
            // A clock that jumped ahead destroys nothing.
            let now = self.trusted(context.at, tx.clock_high_water().await?);
            Ok::<_, Error>((tx.tenant_ends_due(now).await?, now))
        };
        let (due, now) = match due.await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "ends of organisations wait");
                return;
            }
        };
        for tenant in due {
            if let Err(error) = self.tend_end(tenant, now).await {
                tracing::warn!(%tenant, %error, "the end of an organisation waits");
                self.postpone_end(tenant).await;
            }
        }
    }

    async fn postpone_end(&self, tenant: TenantId) {
        let later = async {
            let context = self.job(jobs::RETENTION);
            let tx = self.0.store.begin_platform(&context).await?;
            tx.tenant_end_postpone(tenant, context.at.saturating_add(AGAIN)).await?;
            Ok::<_, Error>(tx.commit().await?)
        };
        if let Err(error) = later.await {
            tracing::warn!(%tenant, %error, "the end of an organisation was not postponed");
        }
    }

    /// Takes the next step of an end.
    #[boxed]
    pub(crate) async fn tend_end(&self, tenant: TenantId, now: Timestamp) -> Result<()> {
        let context = self.job_in(jobs::RETENTION, tenant);
        let tx = self.0.store.read(&context).await?;
        let Some(stored) = tx.tenant_end().await? else { return Ok(()) };
        drop(tx);
        let body = EndBody::read(&stored.body)?;
        match stored.state {
            TenantEndState::Asked => self.end_of_wait(&context, (stored, body), now).await,
            TenantEndState::Decided if now < body.ends() => {
                self.remind(&context, (stored, body), now).await
            }
            TenantEndState::Decided => self.begin_end(&context, (stored, body), now).await,
            TenantEndState::Destroying => self.finish_end(&context, (stored, body), now).await,
            TenantEndState::Done => Ok(()),
        }
    }

    /// Nobody took it back: where nobody else could agree it is decided, else it lapses.
    async fn end_of_wait(
        &self,
        context: &OpContext,
        (stored, mut body): (StoredTenantEnd, EndBody),
        now: Timestamp,
    ) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        let asker = crate::error::found(tx.member(body.requested_by).await)?;
        let outcome = if body.is_sole && asker.is_some_and(|asker| answers(&asker)) {
            body.decide(now, None);
            tx.tenant_end_update(&decided(&stored, &body)?).await?;
            self.tell_members(&tx, &decided_words(&body)).await?;
            "decided"
        } else {
            tx.tenant_end_delete().await?;
            let event = format!("tenant end {} lapsed", stored.asked_at.as_micros());
            self.tell_members(&tx, &Said::of(News::Lapsed, event)).await?;
            "lapsed"
        };
        let change = Change::from_to(json!({"state": "asked"}), json!({"state": outcome}));
        let about = Resource::all(context.tenant, Kind::Tenant);
        self.record_change(&tx, context, Action::TenantDelete, &about, change).await?;
        Ok(tx.commit().await?)
    }

    async fn remind(
        &self,
        context: &OpContext,
        (stored, mut body): (StoredTenantEnd, EndBody),
        now: Timestamp,
    ) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        for name in body.reminders(now) {
            self.tell_members(&tx, &reminder_words(&body, name)).await?;
            body.told.push(name.to_owned());
        }
        let next = StoredTenantEnd { body: body.to_store()?, due_at: Some(body.next()), ..stored };
        tx.tenant_end_update(&next).await?;
        Ok(tx.commit().await?)
    }

    /// What an end waits for although its time has come.
    async fn held_up(&self, context: &OpContext) -> Result<Option<&'static str>> {
        if !self.own_holds(context).await?.is_empty() {
            return Ok(Some("hold"));
        }
        Ok((self.0.tree.read().count_below(context.tenant) > 0).then_some("tenants_below"))
    }

    /// Nobody is served any more, and the destruction of everything begins.
    async fn begin_end(
        &self,
        context: &OpContext,
        (stored, mut body): (StoredTenantEnd, EndBody),
        now: Timestamp,
    ) -> Result<()> {
        let held_up = self.held_up(context).await?;
        body.waits_for = held_up.map(ToOwned::to_owned);
        if held_up.is_some() {
            let due_at = Some(now.saturating_add(HELD));
            let next = StoredTenantEnd { body: body.to_store()?, due_at, ..stored };
            let tx = self.0.store.begin(context).await?;
            tx.tenant_end_update(&next).await?;
            return Ok(tx.commit().await?);
        }
        let asked_by = crate::activity::ActorName::User(body.requested_by).to_string();
        let made = self.ended_destruction(context, (&asked_by, &body.reason)).await?;
        body.destruction = Some(made.id);
        let next = StoredTenantEnd {
            state: TenantEndState::Destroying,
            body: body.to_store()?,
            due_at: Some(now),
            ..stored
        };
        let tx = self.0.store.begin(context).await?;
        tx.destruction_create(&made).await?;
        tx.tenant_end_update(&next).await?;
        let change = Change::from_to(json!({"state": "decided"}), json!({"state": "destroying"}));
        let about = Resource::all(context.tenant, Kind::Tenant);
        match self.record_change(&tx, context, Action::TenantDelete, &about, change).await {
            // The keys are gone already: this platform was restored from a backup of before.
            Err(error) if !error.is_withheld() => return Err(error),
            _ => {}
        }
        tx.commit().await?;
        let stopped = self.stop_serving(context.tenant).await;
        self.0.destructions.wake();
        stopped
    }

    /// A backup of before was restored, and the keys were destroyed again: what is left of the
    /// organisation goes again, too.
    #[boxed]
    pub(crate) async fn end_again(&self, context: &OpContext, id: DestructionId) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        let known = tx.tenant_end().await?;
        if known.as_ref().is_some_and(|known| known.state == TenantEndState::Done) {
            return Ok(());
        }
        let before = known.as_ref().map(|known| EndBody::read(&known.body)).transpose()?;
        let body = EndBody { destruction: Some(id), ..before.unwrap_or_else(EndBody::of_nobody) };
        let again = StoredTenantEnd {
            state: TenantEndState::Destroying,
            body: body.to_store()?,
            asked_at: known.as_ref().map_or(context.at, |known| known.asked_at),
            due_at: Some(context.at),
            version: known.as_ref().map_or(1, |known| known.version),
        };
        match known {
            Some(_) => tx.tenant_end_update(&again).await?,
            None => tx.tenant_end_create(&again).await?,
        }
        tx.commit().await?;
        self.stop_serving(context.tenant).await
    }

    /// Nobody gets in from here on, and no device.
    async fn stop_serving(&self, tenant: TenantId) -> Result<()> {
        let platform = self.job(jobs::RETENTION);
        let tx = self.0.store.begin_platform(&platform).await?;
        let mut row = tx.tenant(tenant).await?;
        row.place.state = TenantState::DeletionRequested;
        tx.tenant_change(&row, None).await?;
        let stored = tx.tenant(tenant).await?;
        tx.commit().await?;
        self.0.tree.write().put(stored);
        self.0.logins.forget_all();
        self.sessions_ended([tenant]);
        Ok(())
    }

    /// The keys are gone: what is left of rows goes, and the accounts that belong nowhere else;
    /// then the mails that said so.
    async fn finish_end(
        &self,
        context: &OpContext,
        (stored, body): (StoredTenantEnd, EndBody),
        now: Timestamp,
    ) -> Result<()> {
        let is_served = self.0.tree.read().is_served(context.tenant);
        if is_served {
            self.stop_serving(context.tenant).await?;
        }
        let id = body.destruction.ok_or(Error::NotFound("destruction"))?;
        let tx = self.0.store.read(context).await?;
        let destruction = tx.destruction(id).await?;
        drop(tx);
        if destruction.state != DestructionState::Done {
            return Ok(());
        }
        match body.done_at {
            None => self.empty_ended(context, (stored, body), &destruction, now).await,
            Some(at) => {
                let since = Timestamp::from_micros(at);
                self.close_end(context, (stored, body), (since, now)).await
            }
        }
    }

    async fn empty_ended(
        &self,
        context: &OpContext,
        (stored, mut body): (StoredTenantEnd, EndBody),
        destruction: &StoredDestruction,
        now: Timestamp,
    ) -> Result<()> {
        let tenant = context.tenant;
        let tx = self.0.store.read(context).await?;
        let own = &tx;
        let members = every_row(|page| async move { own.members(&page).await }).await?;
        drop(tx);
        let certificate = Body::read(&destruction.body)?;
        let said = over_words(&certificate, &destruction.id.to_string());
        self.say_it_is_over(tenant, &members, &said).await?;
        for table in tenant_tables() {
            let tx = self.0.store.begin_platform(&self.job(jobs::RETENTION)).await?;
            tx.tenant_empty(tenant, table).await?;
            tx.commit().await?;
        }
        self.forget_tenant(tenant).await?;
        let people: Vec<UserId> = members.iter().map(|member| member.user.id).collect();
        for person in people {
            self.destroy_of_nobody(person).await?;
        }
        body.reason.clear();
        body.done_at = Some(now.as_micros());
        let emptied = StoredTenantEnd { body: body.to_store()?, due_at: Some(now), ..stored };
        let tx = self.0.store.begin(context).await?;
        tx.tenant_end_update(&emptied).await?;
        Ok(tx.commit().await?)
    }

    /// Once the last mails have left, or will not, nothing holds an address any more.
    async fn close_end(
        &self,
        context: &OpContext,
        (stored, body): (StoredTenantEnd, EndBody),
        (since, now): (Timestamp, Timestamp),
    ) -> Result<()> {
        // Accounts that were left where this was cut short.
        self.destroy_all_of_nobody().await?;
        let platform = self.job(jobs::RETENTION);
        let tx = self.0.store.read_platform(&platform).await?;
        if tx.outbox_waits_for(context.tenant).await? && now.since(since) < LAST_MAILS_WITHIN {
            return Ok(());
        }
        let mails = tx.outbox_written_for(context.tenant).await?;
        drop(tx);
        // Their records are the platform's own, and name the address in part. What the ledger
        // sealed of them stays; cut short, they are found again by the mails.
        self.forget_last_sent(&mails, now).await?;
        let tx = self.0.store.begin_platform(&platform).await?;
        tx.outbox_forget(context.tenant).await?;
        // Nothing can be sealed for a tenant whose keys are gone.
        let written = (Action::TenantDelete, "done", Change::from(json!({"state": "destroying"})));
        self.record_platform_change(&tx, &platform, None, written).await?;
        tx.commit().await?;
        let over = StoredTenantEnd {
            state: TenantEndState::Done,
            body: body.to_store()?,
            due_at: None,
            ..stored
        };
        let tx = self.0.store.begin(context).await?;
        tx.tenant_end_update(&over).await?;
        Ok(tx.commit().await?)
    }

    /// Its name goes, and what is known of it in memory.
    async fn forget_tenant(&self, tenant: TenantId) -> Result<()> {
        let tx = self.0.store.begin_platform(&self.job(jobs::RETENTION)).await?;
        let mut row = tx.tenant(tenant).await?;
        row.name = tenant.to_string();
        tx.tenant_change(&row, None).await?;
        let stored = tx.tenant(tenant).await?;
        tx.commit().await?;
        {
            let mut tree = self.0.tree.write();
            tree.put(stored);
            tree.hosts.retain(|_, owner| *owner != tenant);
            tree.brands.remove(&tenant);
            tree.domains.remove(&tenant);
        }
        self.0.zones.forget(tenant);
        self.access_changed(tenant);
        self.0.logins.forget_all();
        Ok(())
    }

    /// The last mail goes to those who answered, under the platform's key.
    async fn say_it_is_over(
        &self,
        tenant: TenantId,
        members: &[Member],
        said: &Said,
    ) -> Result<()> {
        if self.0.mailer.is_none() || is_nobodys(tenant) {
            return Ok(());
        }
        let tx = self.0.store.begin_platform(&self.job(jobs::RETENTION)).await?;
        for member in members.iter().filter(|member| answers(member)) {
            let language = language_of_user(&tx, member.user.id).await?;
            let (key, body) = letter(None, (member, language), said)?;
            let mail = NewMail::new(MailRank::Account, &key, &body);
            tx.outbox_add(mail, Some(tenant)).await?;
        }
        Ok(tx.commit().await?)
    }
}

fn over_words(body: &Body, id: &str) -> Said {
    let digest = body.certificate.as_ref().map(|one| hex::encode(one.digest()));
    let certificate = digest.as_deref().zip(body.ledger_index);
    Said::of(News::Over { number: id, certificate }, format!("tenant end {id} over"))
}
