//! Sealing a tenant's readings anew, when somebody may have got hold of its keys: a new version of
//! the tenant's key first, then section after section under new data keys in the background, then
//! the old data keys are destroyed. A stop in between costs nothing but time.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Kind};
use veritwin_domain::{OpContext, TenantId, Timestamp};
use veritwin_keys::{DataClass, DekId, DestructionMethod};

use super::book::{KeyBook, StoredReseal};
use crate::change::Change;
use crate::{App, Error, Result};

/// How often is looked whether something is to be sealed anew.
const LOOK: Duration = Duration::from_secs(5);
const ACT_BYTES: usize = 16;

impl App {
    /// Seals the tenant's readings anew under new data keys, in the background. What is asked for
    /// while it goes on begins it again.
    #[boxed]
    pub async fn reseal_keys(&self, context: &OpContext) -> Result<()> {
        let resource = self.authorize_all(context, Action::KeyManage, Kind::Keys)?;
        let tenant = context.tenant;
        self.0.keys.check(tenant)?;
        self.rotate_keys(context).await?;
        let _turn = self.0.key_board.turn(tenant).await;
        // One that is on its way goes on under its name: what it has retired is its to destroy.
        let act = match self.key_book(tenant).await?.reseal {
            Some(known) => known.act,
            None => {
                let mut act = [0u8; ACT_BYTES];
                self.rng().fill(&mut act);
                hex::encode(act)
            }
        };
        let all = self.0.keys.list(Some(tenant)).into_iter();
        let total = all.filter(|one| one.scope.class == DataClass::Segment).count() as u64;
        let reseal = StoredReseal {
            act,
            since_micros: self.clock().now().as_micros(),
            total,
            left: total,
            problem: None,
        };
        let tx = self.0.store.begin(context).await?;
        let change = Change::to(json!({"sealed_anew": "segment", "keys": total}));
        self.record_change(&tx, context, Action::KeyManage, &resource, change).await?;
        tx.commit().await?;
        self.change_key_book(tenant, |book| book.reseal = Some(reseal)).await
    }

    pub(super) async fn keep_resealing(&self) {
        let mut interval = tokio::time::interval(LOOK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.0.stop.cancelled() => break,
                _ = interval.tick() => {}
            }
            while self.reseal_some().await {}
        }
    }

    /// One key of each tenant that seals anew, so that nobody waits for all of another's; whether
    /// it goes on.
    async fn reseal_some(&self) -> bool {
        let Ok(tenants) = self.keys_changing().await else { return false };
        let mut goes_on = false;
        for tenant in tenants {
            match self.reseal_one(tenant).await {
                Ok(is_left) => goes_on |= is_left,
                Err(error) => {
                    if let Err(error) = self.note_reseal(tenant, &error).await {
                        tracing::debug!(%tenant, %error, "why it waits was not noted");
                    }
                }
            }
        }
        goes_on && !self.0.stop.is_cancelled()
    }

    async fn note_reseal(&self, tenant: TenantId, error: &Error) -> Result<()> {
        let problem = error.told_again();
        let known = self.key_book(tenant).await?.reseal.and_then(|reseal| reseal.problem);
        if known.as_ref() == Some(&problem) {
            tracing::debug!(%tenant, %error, "sealing readings anew still waits");
            return Ok(());
        }
        tracing::warn!(%tenant, %error, "sealing readings anew waits");
        self.change_key_book(tenant, move |book| {
            if let Some(reseal) = &mut book.reseal {
                reseal.problem = Some(problem);
            }
        })
        .await
    }

    /// Seals anew what one key sealed; whether more is left.
    async fn reseal_one(&self, tenant: TenantId) -> Result<bool> {
        let Some(reseal) = self.key_book(tenant).await?.reseal else { return Ok(false) };
        let damaged = || Error::Internal("what is stored of sealing anew is damaged".to_owned());
        let mut act = [0u8; ACT_BYTES];
        hex::decode_to_slice(&reseal.act, &mut act).map_err(|_| damaged())?;
        let before = reseal.since();
        if self.is_tenant_destroyed(tenant) {
            self.end_reseal(tenant, before).await?;
            return Ok(false);
        }
        if self.0.stop.is_cancelled() {
            return Ok(false);
        }
        self.0.keys.check(tenant)?;
        let left = self.0.engine.reseal_step(tenant, act, before).await?;
        if left == 0 {
            self.destroy_resealed(act).await?;
            self.end_reseal(tenant, before).await?;
            return Ok(false);
        }
        // The key of this step is done.
        let left = (left - 1) as u64;
        let note = move |book: &mut KeyBook| {
            if let Some(known) = book.reseal.as_mut().filter(|known| known.since() == before) {
                known.left = left;
                known.total = known.total.max(left);
                known.problem = None;
            }
        };
        self.change_key_book(tenant, note).await?;
        Ok(true)
    }

    /// Destroys the old keys that an act has retired.
    async fn destroy_resealed(&self, act: [u8; ACT_BYTES]) -> Result<()> {
        let old: Vec<DekId> = self.0.keys.retired_by(act).iter().map(|one| one.id).collect();
        if old.is_empty() {
            return Ok(());
        }
        let keys = self.0.keys.clone();
        let method = DestructionMethod::RewrittenThenKeyDestroyed;
        let destroyed = tokio::task::spawn_blocking(move || keys.destroy(&old, method)).await;
        destroyed.map_err(|_| Error::Internal("destroying old keys stopped".to_owned()))??;
        Ok(())
    }

    /// Another one that was asked for meanwhile goes on.
    async fn end_reseal(&self, tenant: TenantId, since: Timestamp) -> Result<()> {
        self.change_key_book(tenant, move |book| {
            book.reseal.take_if(|known| known.since() == since);
        })
        .await
    }
}
