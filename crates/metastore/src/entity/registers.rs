//! Registers of an organisation: public zones, flows to other jurisdictions, sub-processors and
//! what else is entered there. What an entry says is the caller's to write.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{RegisterEntryId, TenantId, Timestamp};

use crate::bind::{Row, opaque_debug, stored_enum};
use crate::query::{at_most, is_set, one_of};
use crate::seal::{Cell, Owner};
use crate::tx::Vault;
use crate::{CHANGED, Error, PlatformTx, Result, TenantTx};

const TABLE: &str = "register_entries";
/// Most entries of one register of a tenant.
pub const REGISTER_ENTRIES_MAX: u64 = 1000;
/// Entries of all tenants that are loaded at a start.
const LOADED_MAX: u64 = 1_000_000;

stored_enum! {
    /// Which register.
    RegisterKind {
        /// Public zones.
        Zone = "zone",
        /// People who gave their details of their own will.
        OptIn = "opt_in",
        /// In which jurisdiction the organisation's data is to stay.
        Residency = "residency",
        /// Flows to another jurisdiction.
        Flow = "flow",
        /// Sub-processors.
        Subprocessor = "subprocessor",
        /// Documented instructions to the processor.
        Instruction = "instruction",
        /// Disclosures that the law compels.
        Disclosure = "disclosure",
        /// Transfers of the business.
        BusinessTransfer = "business_transfer",
        /// Data processing agreements.
        Agreement = "agreement",
        /// The page that tells outsiders what is promised and what shows it.
        TrustPage = "trust_page",
    }
}

stored_enum! {
    /// Whether an entry counts.
    RegisterState {
        /// Somebody asked for it.
        Asked = "asked",
        /// It counts.
        InForce = "in_force",
        /// It counts no more.
        Ended = "ended",
    }
}

/// An entry of a register.
#[derive(Clone, PartialEq, Eq)]
pub struct RegisterEntry {
    /// Its id.
    pub id: RegisterEntryId,
    /// The register.
    pub kind: RegisterKind,
    /// Whether it counts.
    pub state: RegisterState,
    /// What people wrote, in a form of the caller's.
    pub body: Vec<u8>,
    /// What the platform notes about it.
    pub book: Option<Vec<u8>>,
    /// Until when it counts.
    pub review_at: Option<Timestamp>,
    /// Counts changes.
    pub version: u64,
    /// When it was entered.
    pub created_at: Timestamp,
}

opaque_debug!(RegisterEntry { id, kind, state, version });

/// Personal details are the tenant's own; the rest is read while the tenant's keys are away, too.
const fn owner(tenant: TenantId, kind: RegisterKind) -> Owner {
    match kind {
        RegisterKind::OptIn => Owner::Tenant(tenant),
        _ => Owner::Platform,
    }
}

fn load(row: &Row, vault: &Vault<'_>) -> Result<RegisterEntry> {
    let id: RegisterEntryId = row.get("id")?;
    Ok(RegisterEntry {
        id,
        kind: row.get("kind")?,
        state: row.get("state")?,
        body: vault.open(row, "body", id.as_bytes())?,
        book: vault.maybe_open(row, "book", id.as_bytes())?,
        review_at: row.maybe("review_at")?,
        version: row.get("version")?,
        created_at: row.get("created_at")?,
    })
}

impl TenantTx {
    fn register_sealed(&self, entry: &RegisterEntry) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
        let vault = self.core.vault(owner(self.tenant, entry.kind));
        let cell = |column| Cell { table: TABLE, column, row: entry.id.as_bytes() };
        let book = entry.book.as_deref().map(|book| vault.seal(cell("book"), book)).transpose()?;
        Ok((vault.seal(cell("body"), &entry.body)?, book))
    }

    /// Writes a new entry.
    #[boxed]
    pub async fn register_entry_create(&self, entry: &RegisterEntry) -> Result<()> {
        let (body, book) = self.register_sealed(entry)?;
        let insert = self
            .insert(TABLE)
            .set("id", entry.id)
            .set("kind", entry.kind)
            .set("state", entry.state)
            .set("body", body)
            .set("book", book)
            .set("review_at", entry.review_at)
            .set("version", 1u64)
            .set("created_at", entry.created_at)
            .set("updated_at", self.core.at);
        self.core.insert(insert).await.map(drop)
    }

    /// Writes an entry anew, if its version is still the one that was read.
    #[boxed]
    pub async fn register_entry_update(&self, entry: &RegisterEntry) -> Result<()> {
        let (body, book) = self.register_sealed(entry)?;
        let update = self
            .update(TABLE)
            .set("state", entry.state)
            .set("body", body)
            .set("book", book)
            .set("review_at", entry.review_at)
            .set("updated_at", self.core.at)
            .increment("version")
            .eq("id", entry.id)
            .eq("version", entry.version);
        if self.core.update(update).await? == 0 {
            self.register_entry(entry.id).await?;
            return Err(Error::Conflict { what: TABLE, reason: CHANGED });
        }
        Ok(())
    }

    fn register_load(&self, row: &Row) -> Result<RegisterEntry> {
        let kind: RegisterKind = row.get("kind")?;
        load(row, &self.core.vault(owner(self.tenant, kind)))
    }

    /// One entry.
    #[boxed]
    pub async fn register_entry(&self, id: RegisterEntryId) -> Result<RegisterEntry> {
        let row = self.core.one(self.select(TABLE).eq("id", id)).await?;
        self.register_load(&row)
    }

    /// A register's entries, newest first.
    #[boxed]
    pub async fn register_entries(&self, kind: RegisterKind) -> Result<Vec<RegisterEntry>> {
        let select = self.select(TABLE).eq("kind", kind);
        let select = select.descending("created_at").limit(REGISTER_ENTRIES_MAX);
        self.core.all(select).await?.iter().map(|row| self.register_load(row)).collect()
    }

    /// A register's entries in a state, newest first.
    #[boxed]
    pub async fn register_entries_in(
        &self,
        kind: RegisterKind,
        state: RegisterState,
    ) -> Result<Vec<RegisterEntry>> {
        let select = self.select(TABLE).eq("kind", kind).eq("state", state);
        let select = select.descending("created_at").limit(REGISTER_ENTRIES_MAX);
        self.core.all(select).await?.iter().map(|row| self.register_load(row)).collect()
    }

    /// Removes an entry whole.
    #[boxed]
    pub async fn register_entry_delete(&self, id: RegisterEntryId) -> Result<()> {
        self.delete_id(TABLE, id).await
    }
}

impl PlatformTx {
    /// Every tenant's entries of registers that are read without the tenant's keys.
    #[boxed]
    pub async fn register_entries_of_all(
        &self,
        kinds: &[RegisterKind],
    ) -> Result<Vec<(TenantId, RegisterEntry)>> {
        let kinds = kinds.iter().copied().filter(|kind| *kind != RegisterKind::OptIn);
        let select = self.select(TABLE).filter(one_of("kind", kinds)).limit(LOADED_MAX);
        let vault = self.vault();
        let rows = self.core.all(select).await?;
        rows.iter().map(|row| Ok((row.get("tenant_id")?, load(row, &vault)?))).collect()
    }

    /// Entries of a register that are in force and are due again, the longest due first.
    #[boxed]
    pub async fn register_entries_due(
        &self,
        kind: RegisterKind,
        now: Timestamp,
        most: u64,
    ) -> Result<Vec<(TenantId, RegisterEntryId)>> {
        let select = self
            .select(TABLE)
            .eq("kind", kind)
            .eq("state", RegisterState::InForce)
            .filter(is_set("review_at"))
            .filter(at_most("review_at", now));
        let rows = self.core.all(select.ascending("review_at").limit(most)).await?;
        rows.iter().map(|row| Ok((row.get("tenant_id")?, row.get("id")?))).collect()
    }

    /// Looks at an entry again at a later time, whatever else is known of it.
    #[boxed]
    pub async fn register_entry_postpone(
        &self,
        (tenant, id): (TenantId, RegisterEntryId),
        at: Timestamp,
    ) -> Result<()> {
        let update = self.update(TABLE).set("review_at", at).eq("tenant_id", tenant).eq("id", id);
        self.core.update(update.filter(is_set("review_at"))).await.map(drop)
    }
}
