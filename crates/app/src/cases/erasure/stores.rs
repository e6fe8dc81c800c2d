//! What is taken away of one person, store by store. Each may be done again: it takes away what is
//! there, and nothing of anybody else. Whom it is about comes as digests, so that the same works
//! on a backup that was restored.

use std::collections::BTreeMap;

use async_recursion::async_recursion as boxed;
use serde_json::Value;
use veritwin_access::jobs;
use veritwin_domain::{CaseId, DestructionId, OpContext};
use veritwin_governance::streams::DeviceStatements;
use veritwin_metastore::{
    Activity, ActivityFilter, DestructionState, OutboxId, Page, StoredDestruction, StoredLimit,
    StreamAct, StreamStatements, TenantTx, every_row,
};

use super::scrub::{drop_person, is_kept, scrubbed};
use super::whom::{Marker, Whom};
use crate::cases::body::Case;
use crate::destruction_scope::StoredScope;
use crate::destructions::{Body, Counts, fresh};
use crate::error::found;
use crate::mail::MailPayload;
use crate::model::OptInView;
use crate::provision::PLATFORM_TENANT;
use crate::stream_book::stored;
use crate::subject::{Eraser, SubjectStore};
use crate::zones::names_of;
use crate::{App, Error, Result};

/// How much was met, by what it is.
pub(super) type Met = Vec<(String, u64)>;

/// Most rows of one column that are counted.
const COUNTED_MAX: u64 = 100_000;
/// Mails and records that are looked through at a time.
const AT_ONCE: u32 = 500;
/// Most destructions of a tenant that take readings out at once.
const DESTRUCTIONS_AT_ONCE: usize = 10;

fn erased(count: u64) -> Met {
    vec![("erased".to_owned(), count)]
}

pub(super) fn written<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::Internal(error.to_string()))
}

impl App {
    /// How many rows of the tenant refer to the account, by table, before any goes.
    pub(super) async fn count_rows(&self, context: &OpContext, whom: &Whom) -> Result<Met> {
        let Some(user) = whom.user else { return Ok(Vec::new()) };
        let tx = self.0.store.read(context).await?;
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for row in tx.rows_naming(user, COUNTED_MAX).await? {
            *counts.entry(row.table).or_default() += 1;
        }
        Ok(counts.into_iter().map(|(table, count)| (table.to_owned(), count)).collect())
    }

    /// Takes away what one store holds of somebody, all but readings.
    #[boxed]
    pub(super) async fn erase_in(
        &self,
        context: &OpContext,
        (id, store): (CaseId, &SubjectStore),
        whom: &Whom,
    ) -> Result<Met> {
        Ok(match store.eraser {
            Eraser::Account => erased(self.erase_account(context, whom).await?),
            Eraser::SignIn => {
                let own = self.erase_account(context, whom).await?;
                erased(own + self.erase_invitations(context, whom).await?)
            }
            Eraser::Rules => erased(self.erase_from_rules(context, whom).await?),
            Eraser::Devices => erased(self.erase_of_devices(context, whom).await?),
            Eraser::Records => self.erase_records(context, (id, whom)).await?,
            Eraser::Mails => erased(self.erase_mails(context, whom).await?),
            Eraser::Messages => erased(self.erase_messages(context, whom).await?),
            Eraser::Requests => erased(self.erase_requests(context, (id, whom)).await?),
            Eraser::Registers => erased(self.erase_opt_ins(context, whom).await?),
            Eraser::Declarations => erased(self.erase_declarations(context, whom).await?),
            Eraser::Readings | Eraser::Stays(_) | Eraser::Nothing => Vec::new(),
        })
    }

    async fn erase_account(&self, context: &OpContext, whom: &Whom) -> Result<u64> {
        let Some(user) = whom.user else { return Ok(0) };
        Ok(u64::from(self.erase_member(context, user).await?))
    }

    /// Asks once for the destruction of the readings that are about somebody, and answers how many
    /// there were when their keys are gone.
    #[boxed]
    pub(super) async fn erase_readings(
        &self,
        context: &OpContext,
        case: &Case,
    ) -> Result<Option<Met>> {
        let Some(person) = &case.body.person else { return Ok(Some(Vec::new())) };
        if let Some(id) = case.body.destruction {
            let stored = self.0.store.read(context).await?.destruction(id).await?;
            let is_over =
                matches!(stored.state, DestructionState::Certifying | DestructionState::Done);
            let body = Body::read(&stored.body)?;
            let keys = u64::try_from(body.keys.len()).unwrap_or(u64::MAX);
            let met = vec![("erased".to_owned(), body.done.readings), ("keys".to_owned(), keys)];
            return Ok(is_over.then_some(met));
        }
        let duty = self.by_duty(context.tenant);
        let series = self.series_about(&duty, person).await?;
        if series.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let mark = Some(self.marker(context.tenant)?.mark(person));
        let scope = StoredScope::Subject { person: case.row.id.to_string(), series, mark };
        let counted = self.0.engine.selected(&self.selection(&duty, &scope).await?).await?;
        let mut body = fresh(context, (scope, false), "the erasure of a person's data");
        body.counts = Counts {
            devices: counted.devices,
            series: counted.series,
            readings: counted.points,
            sections: counted.sections,
            bytes: counted.bytes,
        };
        let stored = StoredDestruction {
            id: DestructionId::generate(context.at, self.rng()),
            state: DestructionState::Asked,
            body: body.to_store()?,
            version: 1,
            requested_at: context.at,
        };
        let tx = self.0.store.begin(context).await?;
        let is_open = |one: &&StoredDestruction| {
            !matches!(one.state, DestructionState::Certifying | DestructionState::Done)
        };
        if tx.destructions().await?.iter().filter(is_open).count() >= DESTRUCTIONS_AT_ONCE {
            return Ok(None);
        }
        tx.destruction_create(&stored).await?;
        let mut case = Case::read(tx.case(case.row.id).await?)?;
        case.body.destruction = Some(stored.id);
        self.save_case(&tx, &mut case, context.at).await?;
        tx.commit().await?;
        self.0.destructions.wake();
        Ok(None)
    }

    /// Records stay, without what tells of the person, but those that a hold keeps.
    async fn erase_records(&self, context: &OpContext, (id, whom): (CaseId, &Whom)) -> Result<Met> {
        self.flush_activity().await;
        let marker = self.marker(context.tenant)?;
        let holds = self.own_holds(context).await?;
        let (mut done, mut kept) = (0, 0);
        let mut page = Page::first(AT_ONCE);
        loop {
            let tx = self.0.store.read(context).await?;
            let listed = tx.activity(&ActivityFilter::default(), &page).await?;
            let mut changed = Vec::new();
            for record in listed.items {
                let is_theirs = |text: &str| whom.is_in((&tx, &marker), text);
                let Some(less) = scrubbed(&record, whom, &is_theirs)? else { continue };
                if holds.iter().any(|hold| is_kept(hold, &record)) {
                    kept += 1;
                } else {
                    changed.push(less);
                }
            }
            drop(tx);
            done += self.write_scrubbed(context, (id, &changed)).await?;
            match listed.next {
                Some(next) => page = Page { after: Some(next), ..Page::first(AT_ONCE) },
                None => break,
            }
        }
        Ok(vec![("erased".to_owned(), done), ("kept".to_owned(), kept)])
    }

    /// What the records are from here on is sealed as well: the ledger has their digests of before.
    async fn write_scrubbed(
        &self,
        context: &OpContext,
        (id, records): (CaseId, &[Activity]),
    ) -> Result<u64> {
        if records.is_empty() {
            return Ok(0);
        }
        let tx = self.0.store.begin(context).await?;
        for record in records {
            tx.activity_scrub(record).await?;
            self.seal_erased(&tx, context, (id, record)).await?;
        }
        tx.commit().await?;
        Ok(u64::try_from(records.len()).unwrap_or(u64::MAX))
    }

    /// Mails to the address, and those that somebody is to answer to it.
    pub(super) async fn erase_mails(&self, context: &OpContext, whom: &Whom) -> Result<u64> {
        if whom.address.is_none() {
            return Ok(0);
        }
        let is_theirs = |tx: &TenantTx, payload: &[u8]| {
            serde_json::from_slice::<MailPayload>(payload).is_ok_and(|mail| {
                let back = mail.reply_to.as_deref().is_some_and(|to| whom.is_address(tx, to));
                back || whom.is_address(tx, &mail.to)
            })
        };
        let (mut count, mut after) = (0, None);
        loop {
            let tx = self.0.store.read(context).await?;
            let page = tx.outbox_written(after, u64::from(AT_ONCE)).await?;
            let Some((last, ..)) = page.last() else { break };
            after = Some(*last);
            let theirs = page.iter().filter(|(_, _, payload)| is_theirs(&tx, payload));
            let theirs: Vec<OutboxId> = theirs.map(|(id, ..)| *id).collect();
            drop(tx);
            if theirs.is_empty() {
                continue;
            }
            self.forget_sent(context, &theirs).await?;
            let tx = self.0.store.begin(context).await?;
            for id in theirs {
                tx.outbox_remove(id).await?;
                count += 1;
            }
            tx.commit().await?;
        }
        Ok(count + self.erase_platform_mails(context, whom).await?)
    }

    /// The platform's own mails to an account that is gone. Those of one that another organisation
    /// has are not this one's.
    async fn erase_platform_mails(&self, context: &OpContext, whom: &Whom) -> Result<u64> {
        let Some(user) = whom.user else { return Ok(0) };
        let above = self.above(context);
        let tx = self.0.store.read_platform(&above).await?;
        if found(tx.user(user).await)?.is_some() {
            return Ok(0);
        }
        drop(tx);
        let (mut count, mut after) = (0, None);
        loop {
            let tx = self.0.store.read_platform(&above).await?;
            let page = tx.outbox_written(after, u64::from(AT_ONCE)).await?;
            drop(tx);
            let Some((last, ..)) = page.last() else { return Ok(count) };
            after = Some(*last);
            let index = self.0.store.read(context).await?;
            let theirs = page.iter().filter(|(_, _, payload)| {
                let mail = serde_json::from_slice::<MailPayload>(payload);
                mail.is_ok_and(|mail| whom.is_address(&index, &mail.to))
            });
            let theirs: Vec<OutboxId> = theirs.map(|(id, ..)| *id).collect();
            drop(index);
            if theirs.is_empty() {
                continue;
            }
            self.forget_sent(&self.job_in(jobs::MAIL, PLATFORM_TENANT), &theirs).await?;
            let tx = self.0.store.begin_platform(&above).await?;
            for id in theirs {
                tx.outbox_remove(id).await?;
                count += 1;
            }
            tx.commit().await?;
        }
    }

    async fn erase_messages(&self, context: &OpContext, whom: &Whom) -> Result<u64> {
        let is_theirs = |tx: &TenantTx, from: &str| whom.is_address(tx, from);
        let messages = self.messages_that(context, is_theirs).await?;
        let tx = self.0.store.begin(context).await?;
        let mut count = 0;
        for (id, ..) in messages {
            count += u64::from(found(tx.contact_delete(id).await)?.is_some());
        }
        tx.commit().await?;
        Ok(count)
    }

    /// Other requests name nobody any more, and what they limited ends: there is nothing left that
    /// it would keep back. One that came since is answered first.
    async fn erase_requests(
        &self,
        context: &OpContext,
        (id, whom): (CaseId, &Whom),
    ) -> Result<u64> {
        let mut count = 0;
        loop {
            let tx = self.0.store.read(context).await?;
            let mut theirs = Vec::new();
            if let Some(user) = whom.user {
                theirs.extend(tx.cases_of(user).await?);
            }
            if let Some(address) = whom.address {
                theirs.extend(tx.cases_of_address(address).await?);
            }
            drop(tx);
            theirs.retain(|one| one.id != id && one.state.is_closed());
            let mut ids: Vec<CaseId> = theirs.into_iter().map(|one| one.id).collect();
            ids.sort_unstable();
            ids.dedup();
            if ids.is_empty() {
                break;
            }
            for one in ids {
                self.forget_case(context, one).await?;
                count += 1;
            }
        }
        let tx = self.0.store.begin(context).await?;
        let is_theirs = |limit: &StoredLimit| {
            let by_account = whom.user.is_some() && limit.user == whom.user;
            by_account || (whom.address.is_some() && limit.address == whom.address)
        };
        for limit in tx.limits().await?.iter().filter(|limit| is_theirs(limit)) {
            tx.limit_delete(limit.id).await?;
            count += 1;
        }
        tx.commit().await?;
        self.limits_changed(context.tenant);
        Ok(count)
    }

    async fn erase_opt_ins(&self, context: &OpContext, whom: &Whom) -> Result<u64> {
        let marker = self.marker(context.tenant)?;
        let is_theirs = |tx: &TenantTx, given: &OptInView| {
            let email = given.details.email.as_deref();
            email.is_some_and(|email| whom.is_address(tx, email))
                || names_of(given).iter().any(|name| whom.is_person(&marker, name))
        };
        let mut count = 0;
        for one in self.opt_ins_that(context, is_theirs).await? {
            match self.drop_opt_in(context, one.id).await {
                Ok(()) => count += 1,
                Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    /// Whose devices are named so, and in which acts it was said.
    async fn erase_declarations(&self, context: &OpContext, whom: &Whom) -> Result<u64> {
        if whom.person.is_none() {
            return Ok(0);
        }
        let marker = &self.marker(context.tenant)?;
        let tx = self.0.store.read(context).await?;
        let read = &tx;
        let mut devices = Vec::new();
        for row in every_row(|page| async move { read.stream_statements(&page).await }).await? {
            if unnamed(&row, (whom, marker))?.is_some() {
                devices.push(row.device);
            }
        }
        let mut acts = Vec::new();
        for head in every_row(|page| async move { read.stream_act_heads(&page).await }).await? {
            acts.extend(unnamed_act(read.stream_act(head.id).await?, (whom, marker))?);
        }
        drop(tx);
        let tx = self.0.store.begin(context).await?;
        let mut count = 0;
        for device in devices {
            // As it is said by now.
            let Some(row) = tx.stream_statements_of(device).await? else { continue };
            let Some(said) = unnamed(&row, (whom, marker))? else { continue };
            if said.is_empty() {
                tx.stream_statements_delete(device).await?;
            } else {
                let body = written(&said)?;
                tx.stream_statements_put(&StreamStatements { device, body }).await?;
            }
            count += 1;
        }
        for act in acts {
            tx.stream_act_scrub(&act).await?;
            count += 1;
        }
        tx.commit().await?;
        // Open connections and the next flush see what is declared now.
        self.limits_changed(context.tenant);
        Ok(count)
    }
}

/// What is said of a device without a name; none if that is not in it.
fn unnamed(
    row: &StreamStatements,
    (whom, marker): (&Whom, &Marker),
) -> Result<Option<DeviceStatements>> {
    let said: DeviceStatements = stored(&row.body)?;
    let is_theirs = said.person.as_deref().is_some_and(|person| whom.is_person(marker, person));
    Ok(is_theirs.then_some(DeviceStatements { person: None, ..said }))
}

/// An act over declarations without a name; none if that is not in it.
fn unnamed_act(act: StreamAct, (whom, marker): (&Whom, &Marker)) -> Result<Option<StreamAct>> {
    let is_theirs = |text: &str| whom.is_person(marker, text);
    let mut body: Value = stored(&act.body)?;
    let mut head = act.head.as_deref().map(stored::<Value>).transpose()?;
    let in_head = head.as_mut().is_some_and(|head| drop_person(head, &is_theirs));
    if !drop_person(&mut body, &is_theirs) && !in_head {
        return Ok(None);
    }
    let head = head.as_ref().map(written).transpose()?;
    Ok(Some(StreamAct { head, body: written(&body)?, ..act }))
}
