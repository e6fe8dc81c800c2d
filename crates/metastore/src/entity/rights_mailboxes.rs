//! Mailboxes from which requests of data subjects are read, one of a tenant: how to get there,
//! sealed under the tenant's key, and how far it was read.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{TenantId, Timestamp};

use crate::bind::{Row, opaque_debug, stored_enum};
use crate::query::{at_most, is_set};
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{CHANGED, Error, PlatformTx, Result, TenantTx};

const TABLE: &str = "rights_mailboxes";
/// Mailboxes that are looked at in one go.
const DUE_AT_ONCE: u64 = 64;

stored_enum! {
    /// Why a mailbox could not be read.
    MailboxProblem {
        /// Its address is refused here.
        Refused = "refused",
        /// No connection.
        Unreachable = "unreachable",
        /// No TLS that can be trusted.
        Tls = "tls",
        /// The server did not let the user in.
        SignIn = "sign_in",
        /// There is no such folder.
        Folder = "folder",
        /// The server said what cannot be read.
        Protocol = "protocol",
        /// So many requests wait already that mails are left in it.
        Full = "full",
        /// It was read, and what came could not be taken in.
        Failed = "failed",
    }
}

/// A mailbox.
#[derive(Clone, PartialEq, Eq)]
pub struct RightsMailbox {
    /// Server, user, password and what is left to read, in a form of the caller's.
    pub body: Vec<u8>,
    /// Which numbering of its mails counts (UIDVALIDITY); 0: none was seen.
    pub numbering: u64,
    /// Up to which number they were read.
    pub read_to: u64,
    /// When it was last read.
    pub read_at: Option<Timestamp>,
    /// Why the last try did not work.
    pub problem: Option<MailboxProblem>,
    /// When it is read next.
    pub next_at: Timestamp,
    /// Counts changes of how to get there.
    pub version: u64,
}

opaque_debug!(RightsMailbox { problem, version });

fn load(row: &Row, vault: &Vault<'_>) -> Result<RightsMailbox> {
    let tenant: TenantId = row.get("tenant_id")?;
    Ok(RightsMailbox {
        body: vault.open(row, "body", tenant.as_bytes())?,
        numbering: row.get("numbering")?,
        read_to: row.get("read_to")?,
        read_at: row.maybe("read_at")?,
        problem: row.maybe("problem")?,
        next_at: row.get("next_at")?,
        version: row.get("version")?,
    })
}

impl TenantTx {
    /// The tenant's mailbox, if it has one.
    #[boxed]
    pub async fn mailbox(&self) -> Result<Option<RightsMailbox>> {
        let row = self.core.maybe(self.select(TABLE)).await?;
        row.map(|row| load(&row, &self.vault())).transpose()
    }

    fn seal_mailbox(&self, body: &[u8]) -> Result<Vec<u8>> {
        let cell = Cell { table: TABLE, column: "body", row: self.tenant.as_bytes() };
        self.vault().seal(cell, body)
    }

    /// Writes how to get to the tenant's mailbox, and from where on it is read. `expected` is the
    /// version it was read with, 0 if there was none.
    #[boxed]
    pub async fn mailbox_put(&self, mailbox: &RightsMailbox, expected: u64) -> Result<()> {
        let sealed = self.seal_mailbox(&mailbox.body)?;
        let written = if expected == 0 {
            let insert = self
                .insert(TABLE)
                .set("body", sealed)
                .set("numbering", mailbox.numbering)
                .set("read_to", mailbox.read_to)
                .set("next_at", mailbox.next_at)
                .set("version", 1u64)
                .set("updated_at", self.core.at);
            self.core.insert(insert.or_ignore(&["tenant_id"])).await?
        } else {
            let update = self
                .update(TABLE)
                .set("body", sealed)
                .set("numbering", mailbox.numbering)
                .set("read_to", mailbox.read_to)
                .set("next_at", mailbox.next_at)
                .set("problem", Option::<String>::None)
                .set("updated_at", self.core.at)
                .increment("version")
                .eq("version", expected);
            self.core.update(update).await?
        };
        if written == 0 {
            return Err(Error::Conflict { what: TABLE, reason: CHANGED });
        }
        Ok(())
    }

    /// Writes up to where a mailbox was read, if it is still the one that was read.
    #[boxed]
    pub async fn mailbox_read(&self, mailbox: &RightsMailbox) -> Result<()> {
        let update = self
            .update(TABLE)
            .set("body", self.seal_mailbox(&mailbox.body)?)
            .set("numbering", mailbox.numbering)
            .set("read_to", mailbox.read_to)
            .set("read_at", mailbox.read_at)
            .set("problem", mailbox.problem.map(|one| one.as_str().to_owned()))
            .set("next_at", mailbox.next_at)
            .set("updated_at", self.core.at)
            .eq("version", mailbox.version);
        self.core.update(update).await.map(drop)
    }

    /// Removes the tenant's mailbox from the records. Its mails stay where they are.
    #[boxed]
    pub async fn mailbox_delete(&self) -> Result<()> {
        if self.core.delete(self.delete(TABLE)).await? == 0 {
            return Err(Error::NotFound { what: TABLE });
        }
        Ok(())
    }
}

impl PlatformTx {
    /// Tenants whose mailbox is to be read, a bounded number, longest due first.
    #[boxed]
    pub async fn mailboxes_due(&self, now: Timestamp) -> Result<Vec<TenantId>> {
        let select = self.select(TABLE).filter(at_most("next_at", now));
        let rows = self.core.all(select.ascending("next_at").limit(DUE_AT_ONCE)).await?;
        rows.iter().map(|row| row.get("tenant_id")).collect()
    }

    /// How many mailboxes of all tenants have a problem.
    #[boxed]
    pub async fn mailboxes_with_problem(&self) -> Result<u64> {
        let select = self.select(TABLE).filter(is_set("problem"));
        let select = select.only(sea_orm::sea_query::Expr::cust("count(*)"), "count");
        self.core.one(select).await?.get("count")
    }

    /// Looks at a mailbox again at a later time, whatever else is known of it.
    #[boxed]
    pub async fn mailbox_postpone(&self, tenant: TenantId, at: Timestamp) -> Result<()> {
        let update = self.update(TABLE).set("next_at", at).eq("tenant_id", tenant);
        self.core.update(update).await.map(drop)
    }
}
