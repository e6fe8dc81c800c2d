//! The tenants that a job serves from the log, in order. One that cannot be served is held by
//! itself and the others go on; it is read in again when its time has come. It is late then: it
//! has on a lane of its own what it has not had, until it goes on with the others. What is done
//! to a batch is the job's.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use veritwin_domain::TenantId;
use veritwin_log::{Committed, Consumer, LogError};

use crate::held::{HeldTenants, Lane, next_of};
use crate::{App, Error};

/// Where others see whom a job holds, and before which position everything has had its effect.
type Board = fn(&App) -> (&HeldTenants, &Mutex<u64>);

/// What becomes of a step of a job.
pub(crate) type Step<J, T = ()> = Result<T, <J as LaneJob>::Stop>;

/// The tenants of a job, and how far they are.
pub(crate) struct Lanes<T> {
    app: App,
    /// The job's name, and its consumer's.
    name: &'static str,
    board: Board,
    /// Tenants that are not held, and held ones on their way back.
    pub(crate) tenants: HashMap<TenantId, T>,
    /// Everything before this position was given to the tenants that are not late.
    pub(crate) here: u64,
    /// Reads again what late tenants have not had.
    late: Option<Lane>,
}

/// What a job is given next.
pub(crate) enum Next {
    /// For the tenants that are not late.
    Front(Arc<Committed>),
    /// For late tenants.
    Late(Arc<Committed>),
    /// Late tenants get nothing more.
    Lost(LogError),
}

impl<T> Lanes<T> {
    pub(crate) fn new(app: &App, name: &'static str, board: Board) -> Self {
        Self { app: app.clone(), name, board, tenants: HashMap::new(), here: 0, late: None }
    }

    /// Goes to the stored offset, or to `otherwise` if there is none; whether there is one.
    pub(crate) async fn begin(&mut self, otherwise: u64) -> veritwin_metastore::Result<bool> {
        let tx = self.app.0.store.read_platform(&self.app.job(self.name)).await?;
        let offset = tx.offset(self.name).await?;
        drop(tx);
        let log = &self.app.0.log;
        self.here = offset.unwrap_or(otherwise).clamp(log.first_position(), log.tail_position());
        let (held, saved) = (self.board)(&self.app);
        *saved.lock() = self.here;
        held.note_front(self.here);
        Ok(offset.is_some())
    }

    /// Drops what is in memory of every tenant.
    pub(crate) fn clear(&mut self) {
        self.tenants.clear();
        self.late = None;
    }

    /// What comes next of the log that `front` reads, or of the late tenants' lane; none once the
    /// log is closed. May be cancelled.
    pub(crate) async fn next(&mut self, front: &mut Consumer) -> Result<Option<Next>, LogError> {
        loop {
            tokio::select! {
                next = front.next() => match next {
                    Err(LogError::Truncated { first, .. }) => {
                        *front = self.app.0.log.consumer(first)?;
                    }
                    next => return Ok(next?.map(Next::Front)),
                },
                next = next_of(&mut self.late) => match next {
                    Ok(Some(batch)) => return Ok(Some(Next::Late(batch))),
                    Ok(None) => self.late = None,
                    Err(error) => return Ok(Some(Next::Lost(error))),
                },
            }
        }
    }

    pub(crate) fn held(&self) -> &HeldTenants {
        (self.board)(&self.app).0
    }

    /// Whether there is no such tenant any more.
    pub(crate) fn is_gone(&self, tenant: TenantId, error: &Error) -> bool {
        // Its row is gone, or came after the cut of a backup.
        let is_rowless = matches!(error, Error::NotFound("tenants"));
        is_rowless || self.app.is_tenant_destroyed(tenant)
    }

    /// Holds a tenant with everything from `position` on; false for one that is gone, which is
    /// held no more.
    pub(crate) fn hold(&self, tenant: TenantId, position: u64, error: &Error) -> bool {
        if self.is_gone(tenant, error) {
            self.release(tenant);
            return false;
        }
        self.held().hold(self.name, tenant, position, error, self.app.clock());
        true
    }

    /// The tenant is served again, or needs it no more.
    pub(crate) fn release(&self, tenant: TenantId) {
        self.held().release(self.name, tenant);
    }

    /// Notes how far everybody is: to what a held tenant has not had, or to `open`, from where on
    /// a tenant's effect is not written yet.
    pub(crate) async fn advance(&self, open: Option<u64>) -> veritwin_metastore::Result<()> {
        let (held, saved) = (self.board)(&self.app);
        let front = open.map_or(self.here, |open| open.min(self.here));
        let position = held.lowest().map_or(front, |lowest| lowest.min(front));
        let tx = self.app.0.store.begin_platform(&self.app.job(self.name)).await?;
        if tx.offset(self.name).await?.is_none_or(|known| known < position) {
            tx.offset_advance(self.name, position).await?;
        }
        tx.commit().await?;
        held.note_front(front);
        let mut saved = saved.lock();
        *saved = (*saved).max(position);
        Ok(())
    }
}

/// A job that serves tenants from the log.
#[async_trait]
pub(crate) trait LaneJob: Send + Sized {
    /// What it keeps of a tenant.
    type Tenant: Send;
    /// What stops all of it. A job without any holds each tenant by itself.
    type Stop: Send;

    fn lanes(&mut self) -> &mut Lanes<Self::Tenant>;

    /// Whether a tenant is behind the others, on its way back to them.
    fn late(one: &mut Self::Tenant) -> &mut bool;

    /// Gives the entries to the tenants they belong to: to late ones, or to all others.
    async fn take(&mut self, batch: &Committed, late: bool) -> Step<Self>;

    /// A batch was taken, and `here` is behind it.
    async fn taken(&mut self) -> Step<Self> {
        Ok(())
    }

    /// Reads a tenant in, or holds it with everything from `position` on.
    async fn take_in(&mut self, tenant: TenantId, position: u64, late: bool) -> Step<Self>;

    /// Whether a late tenant that has had everything may go on with the others.
    async fn may_join(&mut self, _tenant: TenantId) -> Step<Self, bool> {
        Ok(true)
    }

    /// The late tenants' lane could not be read.
    fn lost(&mut self, error: Error) -> Step<Self>;

    /// Serves what comes next.
    async fn serve(&mut self, next: Next) -> Step<Self> {
        match next {
            Next::Front(batch) => {
                self.take(&batch, false).await?;
                self.lanes().here = batch.end();
                self.taken().await
            }
            Next::Late(batch) => {
                self.take(&batch, true).await?;
                if self.late_tenants().is_empty() {
                    // Who is held again reads from its own place, on a lane of then.
                    self.lanes().late = None;
                }
                self.taken().await?;
                self.join().await
            }
            Next::Lost(error) => {
                self.lanes().late = None;
                self.lost(error.into())
            }
        }
    }

    fn late_tenants(&mut self) -> Vec<TenantId> {
        let tenants = self.lanes().tenants.iter_mut();
        tenants.filter_map(|(tenant, one)| Self::late(one).then_some(*tenant)).collect()
    }

    /// Reads held tenants in again whose time has come. They share one lane; who is further back
    /// than it waits for the next.
    async fn retry(&mut self) -> Step<Self> {
        let lanes = self.lanes();
        let due = lanes.held().due(lanes.app.clock().monotonic());
        for (tenant, position) in due {
            let lanes = self.lanes();
            let is_past = lanes.late.as_ref().is_some_and(|lane| lane.position() > position);
            if !is_past && !lanes.tenants.contains_key(&tenant) {
                self.take_in(tenant, position, true).await?;
            }
        }
        if self.lanes().late.is_some() {
            return Ok(());
        }
        let late = self.late_tenants();
        let lanes = self.lanes();
        let from = late.into_iter().filter_map(|one| lanes.held().position(one)).min();
        if let Some(from) = from.filter(|from| *from < lanes.here) {
            let log = &lanes.app.0.log;
            match log.consumer(from.max(log.first_position())) {
                Ok(reader) => lanes.late = Some(Lane::start(reader, &lanes.app.0.tasks)),
                Err(error) => self.lost(error.into())?,
            }
        }
        self.join().await
    }

    /// Late tenants that have had everything go on with the others.
    async fn join(&mut self) -> Step<Self> {
        let lanes = self.lanes();
        if lanes.late.as_ref().is_some_and(|lane| lane.position() < lanes.here) {
            return Ok(());
        }
        lanes.late = None;
        for tenant in self.late_tenants() {
            if !self.may_join(tenant).await? {
                continue;
            }
            let lanes = self.lanes();
            if let Some(one) = lanes.tenants.get_mut(&tenant) {
                *Self::late(one) = false;
                lanes.release(tenant);
            }
        }
        Ok(())
    }
}
