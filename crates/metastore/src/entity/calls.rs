//! Calls to devices that are kept until their end, and for some time after it.

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::Expr;
use veritwin_domain::{CallId, DeviceId, Timestamp};

use crate::bind::{Row, opaque_debug, stored_enum};
use crate::query::{at_most, below, one_of};
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{Cursor, Error, Listed, Page, PlatformTx, Result, TenantTx};

const TABLE: &str = "device_calls";

stored_enum! {
    /// What became of a call so far.
    CallState {
        /// It waits for the device.
        Queued = "queued",
        /// It is on its way.
        Sent = "sent",
        /// The device has it; its answer is waited for.
        Delivered = "delivered",
        /// The device has it, or has answered it, whichever was asked for.
        Successful = "successful",
        /// The device had it and did not answer in time.
        Timeout = "timeout",
        /// The device did not come in time.
        Expired = "expired",
        /// It could not be delivered as often as it was tried.
        Failed = "failed",
        /// Somebody withdrew it.
        Deleted = "deleted",
    }
}

impl CallState {
    const OPEN: [Self; 3] = [Self::Queued, Self::Sent, Self::Delivered];

    /// Whether something can still become of it.
    pub fn is_open(self) -> bool {
        Self::OPEN.contains(&self)
    }
}

/// A call.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredCall {
    /// Its id.
    pub id: CallId,
    /// Whom it is for.
    pub device: DeviceId,
    /// What the device knows it by.
    pub number: u64,
    /// What became of it.
    pub state: CallState,
    /// Method, parameters and answer, in a form of the caller's.
    pub body: Vec<u8>,
    /// How often it was sent.
    pub attempts: u64,
    /// When it is no longer delivered, nor its answer taken.
    pub expires_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

opaque_debug!(StoredCall { id, device, number, state });

fn load(row: &Row, vault: &Vault<'_>) -> Result<StoredCall> {
    let id: CallId = row.get("id")?;
    Ok(StoredCall {
        id,
        device: row.get("device_id")?,
        number: row.get("number")?,
        state: row.get("state")?,
        body: vault.open(row, "body", id.as_bytes())?,
        attempts: row.get("attempts")?,
        expires_at: row.get("expires_at")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}

impl TenantTx {
    /// Writes a call, over the one with its id if there is one.
    #[boxed]
    pub async fn call_put(&self, call: &StoredCall) -> Result<()> {
        let cell = Cell { table: TABLE, column: "body", row: call.id.as_bytes() };
        let insert = self
            .insert(TABLE)
            .set("id", call.id)
            .set("device_id", call.device)
            .set("number", call.number)
            .set("state", call.state)
            .set("body", self.vault().seal(cell, &call.body)?)
            .set("attempts", call.attempts)
            .set("expires_at", call.expires_at)
            .set("version", 1u64)
            .set("created_at", call.created_at)
            .set("updated_at", self.core.at)
            .or_overwrite(&["tenant_id", "id"], &["state", "body", "attempts", "updated_at"]);
        self.core.insert(insert).await.map(drop)
    }

    /// One call to a device.
    #[boxed]
    pub async fn call(&self, device: DeviceId, id: CallId) -> Result<StoredCall> {
        let select = self.select(TABLE).eq("id", id).eq("device_id", device);
        load(&self.core.one(select).await?, &self.vault())
    }

    /// The call that a device knows by this number.
    #[boxed]
    pub async fn call_by_number(
        &self,
        device: DeviceId,
        number: u64,
    ) -> Result<Option<StoredCall>> {
        let select = self.select(TABLE).eq("device_id", device).eq("number", number);
        self.core.maybe(select).await?.map(|row| load(&row, &self.vault())).transpose()
    }

    /// The calls to a device of which something can still become, in the order of their making.
    #[boxed]
    pub async fn calls_open(&self, device: DeviceId, rows_max: u64) -> Result<Vec<StoredCall>> {
        let select = self.select(TABLE).eq("device_id", device);
        let select = select.filter(one_of("state", CallState::OPEN)).ascending("number");
        let rows = self.core.all(select.limit(rows_max)).await?;
        let vault = self.vault();
        rows.iter().map(|row| load(row, &vault)).collect()
    }

    /// How many calls of the tenant are kept, and of how many something can still become.
    #[boxed]
    pub async fn calls_count(&self) -> Result<(u64, u64)> {
        let count = || Expr::cust("count(*)");
        let all = self.core.one(self.select(TABLE).only(count(), "count")).await?;
        let open = self.select(TABLE).filter(one_of("state", CallState::OPEN));
        let open = self.core.one(open.only(count(), "count")).await?;
        Ok((all.get("count")?, open.get("count")?))
    }

    /// The highest number of a call to a device; none without one.
    #[boxed]
    pub async fn call_number_max(&self, device: DeviceId) -> Result<Option<u64>> {
        let select = self.select(TABLE).eq("device_id", device).descending("number").limit(1);
        self.core.maybe(select).await?.map(|row| row.get("number")).transpose()
    }

    /// The calls to a device, newest first.
    #[boxed]
    pub async fn calls(&self, device: DeviceId, page: &Page) -> Result<Listed<StoredCall>> {
        let select = self.select(TABLE).eq("device_id", device).descending("id");
        let mut select = select.limit(page.rows() + 1);
        if let Some(cursor) = &page.after {
            select = select.filter(below("id", cursor.id()?));
        }
        let vault = self.vault();
        let rows = self.core.all(select).await?;
        let items = rows.iter().map(|row| load(row, &vault)).collect::<Result<Vec<_>>>()?;
        Ok(Listed::cut(items, page, |call| Cursor::by_id(call.id.as_bytes())))
    }

    /// Withdraws a call; `Conflict` when nothing can become of it any more.
    #[boxed]
    pub async fn call_delete(&self, device: DeviceId, id: CallId) -> Result<()> {
        let update = self
            .update(TABLE)
            .set("state", CallState::Deleted)
            .set("updated_at", self.core.at)
            .increment("version")
            .eq("id", id)
            .eq("device_id", device)
            .filter(one_of("state", CallState::OPEN));
        if self.core.update(update).await? > 0 {
            return Ok(());
        }
        self.core.one(self.select(TABLE).eq("id", id).eq("device_id", device)).await?;
        Err(Error::Conflict { what: TABLE, reason: "nothing can become of it any more" })
    }

    /// Deletes every call to a device; how many there were.
    #[boxed]
    pub async fn calls_delete_of(&self, device: DeviceId) -> Result<u64> {
        self.core.delete(self.delete(TABLE).eq("device_id", device)).await
    }
}

impl PlatformTx {
    /// How many calls are past their time and still open.
    #[boxed]
    pub async fn calls_due(&self, now: Timestamp) -> Result<u64> {
        let due = self.select(TABLE).filter(one_of("state", CallState::OPEN));
        let due = due.filter(at_most("expires_at", now)).only(Expr::cust("count(*)"), "count");
        self.core.one(due).await?.get("count")
    }

    /// Ends calls that are past their time.
    #[boxed]
    pub async fn calls_expire(&self, now: Timestamp) -> Result<()> {
        let ends = [
            (CallState::Queued, CallState::Expired),
            (CallState::Sent, CallState::Expired),
            (CallState::Delivered, CallState::Timeout),
        ];
        for (from, to) in ends {
            let update = self
                .update(TABLE)
                .set("state", to)
                .set("updated_at", now)
                .increment("version")
                .eq("state", from)
                .filter(at_most("expires_at", now));
            self.core.update(update).await?;
        }
        Ok(())
    }

    /// Deletes calls that ended up to `before`.
    #[boxed]
    pub async fn calls_purge(&self, before: Timestamp) -> Result<u64> {
        let ended = CallState::ALL.iter().copied().filter(|state| !state.is_open());
        let delete = self.delete(TABLE).filter(one_of("state", ended));
        self.core.delete(delete.filter(at_most("updated_at", before))).await
    }
}
