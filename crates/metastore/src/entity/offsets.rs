//! How far each consumer of the log has come. A tenant's offset is written in the transaction of
//! the effect, so that a replay after a crash never doubles it.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{TenantId, Timestamp};

use crate::bind::code;
use crate::query::below;
use crate::{Error, PlatformTx, Result, TenantTx};

const TABLE: &str = "consumer_offsets";
const PLATFORM: &str = "platform_offsets";
const CLOCK: &str = "clock_marks";
const HIGH_WATER: &str = "high_water";

const BACKWARDS: Error =
    Error::Conflict { what: TABLE, reason: "the consumer has been at or past this position" };

impl TenantTx {
    /// The position up to which a consumer has done this tenant's records, itself included; none
    /// if it has done none.
    #[boxed]
    pub async fn offset(&self, consumer: &str) -> Result<Option<u64>> {
        let select = self.select(TABLE).eq("consumer", consumer.to_owned());
        self.core.maybe(select).await?.map(|row| row.get("position")).transpose()
    }

    /// Moves a consumer ahead to `position`. `Conflict` if it has been there: then the effect in
    /// this transaction is a repetition and must not be committed.
    #[boxed]
    pub async fn offset_advance(&self, consumer: &str, position: u64) -> Result<()> {
        let consumer = code("consumer", consumer)?;
        let insert = self
            .insert(TABLE)
            .set("consumer", consumer.clone())
            .set("position", position)
            .or_ignore(&["tenant_id", "consumer"]);
        if self.core.insert(insert).await? > 0 {
            return Ok(());
        }
        let update = self
            .update(TABLE)
            .set("position", position)
            .eq("consumer", consumer)
            .filter(below("position", position));
        if self.core.update(update).await? == 0 { Err(BACKWARDS) } else { Ok(()) }
    }
}

impl PlatformTx {
    /// The offsets of a consumer in every tenant it has seen.
    #[boxed]
    pub async fn offsets(&self, consumer: &str) -> Result<Vec<(TenantId, u64)>> {
        let select = self.select(TABLE).eq("consumer", consumer.to_owned()).ascending("tenant_id");
        let rows = self.core.all(select).await?;
        rows.iter().map(|row| Ok((row.get("tenant_id")?, row.get("position")?))).collect()
    }

    /// The position up to which a consumer has done the whole log.
    #[boxed]
    pub async fn offset(&self, consumer: &str) -> Result<Option<u64>> {
        let select = self.select(PLATFORM).eq("consumer", consumer.to_owned());
        self.core.maybe(select).await?.map(|row| row.get("position")).transpose()
    }

    /// Moves a consumer of the whole log ahead; `Conflict` if it has been there.
    #[boxed]
    pub async fn offset_advance(&self, consumer: &str, position: u64) -> Result<()> {
        let consumer = code("consumer", consumer)?;
        let insert = self
            .insert(PLATFORM)
            .set("consumer", consumer.clone())
            .set("position", position)
            .or_ignore(&["consumer"]);
        if self.core.insert(insert).await? > 0 {
            return Ok(());
        }
        let update = self
            .update(PLATFORM)
            .set("position", position)
            .eq("consumer", consumer)
            .filter(below("position", position));
        if self.core.update(update).await? == 0 { Err(BACKWARDS) } else { Ok(()) }
    }

    /// The latest wall time ever noted; none in a new database.
    #[boxed]
    pub async fn clock_high_water(&self) -> Result<Option<Timestamp>> {
        let select = self.select(CLOCK).eq("name", HIGH_WATER.to_owned());
        self.core.maybe(select).await?.map(|row| row.get("at")).transpose()
    }

    /// Raises the latest wall time; an earlier one changes nothing.
    #[boxed]
    pub async fn clock_raise(&self, at: Timestamp) -> Result<()> {
        let name = HIGH_WATER.to_owned();
        let insert =
            self.insert(CLOCK).set("name", name.clone()).set("at", at).or_ignore(&["name"]);
        if self.core.insert(insert).await? == 0 {
            let update = self.update(CLOCK).set("at", at).eq("name", name);
            self.core.update(update.filter(below("at", at))).await?;
        }
        Ok(())
    }
}
