//! Requests of data subjects. Who asks, for what, and what was done is sealed under the tenant's
//! key; beside it stand what clocks and lists need.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{CaseId, LedgerItemId, TenantId, Timestamp, UserId};
use veritwin_keys::sha256;

use super::ledger_items::{LedgerItem, LedgerKind};
use super::users::folded_email;
use crate::bind::{Row, opaque_debug, stored_enum};
use crate::query::{at_most, is_null, is_set, one_of};
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{CHANGED, Cursor, Error, Listed, Page, PlatformTx, Result, TenantTx};

const TABLE: &str = "rights_cases";
/// Cases of several tenants that are looked at in one go.
const DUE_AT_ONCE: u64 = 64;
/// Most cases of one person that are listed, newest first.
const OWN_LISTED_MAX: u64 = 200;
/// Most cases without an account that are read at once: there are no more open ones.
const WITHOUT_ACCOUNT_MAX: u64 = 2_000;
/// Most erasures that are carried on in one round, those that came first.
const CARRIED_MAX: u64 = 10_000;

stored_enum! {
    /// Which right a case is about.
    CaseKind {
        /// A copy of everything that is kept of somebody.
        Access = "access",
        /// Something is wrong and is put right.
        Rectification = "rectification",
        /// Everything about somebody goes.
        Erasure = "erasure",
        /// Data is kept and nothing else is done with it.
        Restriction = "restriction",
        /// A copy that other programs read.
        Portability = "portability",
        /// A purpose stops for somebody.
        Objection = "objection",
        /// A complaint.
        Complaint = "complaint",
    }
}

stored_enum! {
    /// How a case came.
    CaseSource {
        /// From somebody who was signed in.
        Account = "account",
        /// Through the public form.
        Form = "form",
        /// By mail.
        Mail = "mail",
        /// Written down by an officer.
        Officer = "officer",
    }
}

stored_enum! {
    /// How far a case is.
    CaseState {
        /// It is not known yet whether who asks is who they say; its clock stands meanwhile.
        Verifying = "verifying",
        /// It waits for an officer.
        Open = "open",
        /// What was asked for is being done.
        CarryingOut = "carrying_out",
        /// It was answered.
        Answered = "answered",
        /// It was refused, with reasons.
        Refused = "refused",
        /// Who asked took it back.
        Withdrawn = "withdrawn",
    }
}

impl CaseState {
    /// Whether nothing more is done about it.
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Answered | Self::Refused | Self::Withdrawn)
    }
}

/// A case.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredCase {
    /// Its id.
    pub id: CaseId,
    /// Which right it is about.
    pub kind: CaseKind,
    /// How far it is.
    pub state: CaseState,
    /// How it came.
    pub source: CaseSource,
    /// The keyed index of the address it was made with.
    pub address: Option<[u8; 32]>,
    /// The account it is about.
    pub user: Option<UserId>,
    /// The digest of the mail it came with.
    pub mail: Option<[u8; 32]>,
    /// Everything else, in a form of the caller's.
    pub body: Vec<u8>,
    /// When it came.
    pub received_at: Timestamp,
    /// When it has to be answered.
    pub answer_by: Timestamp,
    /// When it is looked at next by itself.
    pub next_at: Option<Timestamp>,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// Counts changes.
    pub version: u64,
}

opaque_debug!(StoredCase { id, kind, state, version });

fn load(row: &Row, vault: &Vault<'_>) -> Result<StoredCase> {
    let id: CaseId = row.get("id")?;
    Ok(StoredCase {
        id,
        kind: row.get("kind")?,
        state: row.get("state")?,
        source: row.get("source")?,
        address: row.maybe("address_index")?,
        user: row.maybe("user_id")?,
        mail: row.maybe("mail_digest")?,
        body: vault.open(row, "body", id.as_bytes())?,
        received_at: row.get("received_at")?,
        answer_by: row.get("answer_by")?,
        next_at: row.maybe("next_at")?,
        closed_at: row.maybe("closed_at")?,
        version: row.get("version")?,
    })
}

fn cell(id: &CaseId) -> Cell<'_> {
    Cell { table: TABLE, column: "body", row: id.as_bytes() }
}

impl TenantTx {
    /// The keyed index of an address, by which cases of one person are found. Letters beyond ASCII
    /// are taken in lower case for it, as they always were: who goes by it alone finds too much
    /// rather than too little, so what is shown of a case has to be compared with its own address.
    pub fn subject_index(&self, email: &str) -> Result<[u8; 32]> {
        let email = folded_email(email)?;
        Ok(self.core.sealer.blind_index("data subject", self.tenant.as_bytes(), &email))
    }

    /// Writes a new case.
    #[boxed]
    pub async fn case_create(&self, case: &StoredCase) -> Result<()> {
        let insert = self
            .insert(TABLE)
            .set("id", case.id)
            .set("kind", case.kind)
            .set("state", case.state)
            .set("source", case.source)
            .set("address_index", case.address)
            .set("user_id", case.user)
            .set("mail_digest", case.mail)
            .set("body", self.vault().seal(cell(&case.id), &case.body)?)
            .set("received_at", case.received_at)
            .set("answer_by", case.answer_by)
            .set("next_at", case.next_at)
            .set("closed_at", case.closed_at)
            .set("version", 1u64)
            .set("updated_at", self.core.at);
        self.core.insert(insert).await?;
        self.seal_step(case, 1).await
    }

    /// What the ledger seals of a step: which right it is about, and where it stands.
    async fn seal_step(&self, case: &StoredCase, version: u64) -> Result<()> {
        let (id, at) = (case.id.as_bytes(), self.core.at);
        let key = [&id[..], &version.to_be_bytes(), &at.as_micros().to_be_bytes()].concat();
        let mut own = [0; 16];
        own.copy_from_slice(&sha256(&key)[..16]);
        let body = serde_json::json!({
            "right": case.kind.as_str(),
            "state": case.state.as_str(),
            "version": version,
        });
        let item = LedgerItem {
            id: LedgerItemId::from_bytes(own),
            kind: LedgerKind::RightsCase,
            about: Some(*id),
            body: body.to_string().into_bytes(),
            created_at: at,
        };
        self.ledger_item_add(&item).await
    }

    /// Writes a case, if its version is still the one that was read.
    #[boxed]
    pub async fn case_update(&self, case: &StoredCase) -> Result<()> {
        let update = self
            .update(TABLE)
            .set("kind", case.kind)
            .set("state", case.state)
            .set("address_index", case.address)
            .set("user_id", case.user)
            .set("body", self.vault().seal(cell(&case.id), &case.body)?)
            .set("answer_by", case.answer_by)
            .set("next_at", case.next_at)
            .set("closed_at", case.closed_at)
            .set("updated_at", self.core.at)
            .increment("version")
            .eq("id", case.id)
            .eq("version", case.version);
        if self.core.update(update).await? == 0 {
            self.case(case.id).await?;
            return Err(Error::Conflict { what: TABLE, reason: CHANGED });
        }
        self.seal_step(case, case.version.saturating_add(1)).await
    }

    /// One case.
    #[boxed]
    pub async fn case(&self, id: CaseId) -> Result<StoredCase> {
        let row = self.core.one(self.select(TABLE).eq("id", id)).await?;
        load(&row, &self.vault())
    }

    /// The case that a mail has opened, if one has.
    #[boxed]
    pub async fn case_of_mail(&self, digest: [u8; 32]) -> Result<Option<StoredCase>> {
        let row = self.core.maybe(self.select(TABLE).eq("mail_digest", digest)).await?;
        row.map(|row| load(&row, &self.vault())).transpose()
    }

    /// The tenant's cases, newest first; those that are open only, or all.
    #[boxed]
    pub async fn cases(&self, only_open: bool, page: &Page) -> Result<Listed<StoredCase>> {
        let mut select = self.select(TABLE);
        if only_open {
            select = select.filter(is_null("closed_at"));
        }
        if let Some(cursor) = &page.after {
            let (at, id) = cursor.time()?;
            select = select.before("received_at", at, id);
        }
        let select = select.descending("received_at").descending("id").limit(page.rows() + 1);
        let vault = self.vault();
        let rows = self.core.all(select).await?;
        let items = rows.iter().map(|row| load(row, &vault)).collect::<Result<Vec<_>>>()?;
        Ok(Listed::cut(items, page, |one| Cursor::by_time(one.received_at, one.id.as_bytes())))
    }

    /// The cases about an account, newest first.
    #[boxed]
    pub async fn cases_of(&self, user: UserId) -> Result<Vec<StoredCase>> {
        let select = self.select(TABLE).eq("user_id", user).descending("received_at");
        let vault = self.vault();
        let rows = self.core.all(select.limit(OWN_LISTED_MAX)).await?;
        rows.iter().map(|row| load(row, &vault)).collect()
    }

    /// The cases of an address, newest first.
    #[boxed]
    pub async fn cases_of_address(&self, address: [u8; 32]) -> Result<Vec<StoredCase>> {
        let select = self.select(TABLE).eq("address_index", address).descending("received_at");
        let vault = self.vault();
        let rows = self.core.all(select.limit(OWN_LISTED_MAX)).await?;
        rows.iter().map(|row| load(row, &vault)).collect()
    }

    /// How many cases are open; of those that came by one way, if one is named.
    #[boxed]
    pub async fn cases_open(&self, source: Option<CaseSource>) -> Result<u64> {
        let mut select = self.select(TABLE).filter(is_null("closed_at"));
        if let Some(source) = source {
            select = select.eq("source", source);
        }
        let select = select.only(sea_orm::sea_query::Expr::cust("count(*)"), "count");
        self.core.one(select).await?.get("count")
    }

    /// The open cases that came by one way and are about no account yet, a bounded number, the
    /// oldest first.
    #[boxed]
    pub async fn cases_without_account(&self, source: CaseSource) -> Result<Vec<StoredCase>> {
        let select = self.select(TABLE).filter(is_null("closed_at")).filter(is_null("user_id"));
        let select = select.eq("source", source).ascending("received_at");
        let vault = self.vault();
        let rows = self.core.all(select.limit(WITHOUT_ACCOUNT_MAX)).await?;
        rows.iter().map(|row| load(row, &vault)).collect()
    }

    /// Removes a case; for checks in a tenant of nobody.
    #[boxed]
    pub async fn case_delete(&self, id: CaseId) -> Result<()> {
        self.delete_id(TABLE, id).await
    }
}

impl PlatformTx {
    /// In whose tenant a case is.
    #[boxed]
    pub async fn tenant_of_case(&self, id: CaseId) -> Result<Option<TenantId>> {
        let row = self.core.maybe(self.select(TABLE).eq("id", id)).await?;
        row.map(|row| row.get("tenant_id")).transpose()
    }

    /// Cases about an account, in whichever tenant they are, a bounded number.
    #[boxed]
    pub async fn cases_of_account(&self, user: UserId) -> Result<Vec<(TenantId, CaseId)>> {
        let select = self.select(TABLE).eq("user_id", user).limit(DUE_AT_ONCE);
        let rows = self.core.all(select).await?;
        rows.iter().map(|row| Ok((row.get("tenant_id")?, row.get("id")?))).collect()
    }

    /// Cases of all tenants that are due to be looked at, a bounded number, those that wait longest
    /// first.
    #[boxed]
    pub async fn cases_due(&self, now: Timestamp) -> Result<Vec<(TenantId, CaseId)>> {
        let select = self.select(TABLE).filter(is_set("next_at")).filter(at_most("next_at", now));
        let rows = self.core.all(select.ascending("next_at").limit(DUE_AT_ONCE)).await?;
        rows.iter().map(|row| Ok((row.get("tenant_id")?, row.get("id")?))).collect()
    }

    /// Cases of all tenants whose request is being carried out, a bounded number.
    #[boxed]
    pub async fn cases_carried(&self) -> Result<Vec<(TenantId, CaseId)>> {
        let select = self.select(TABLE).filter(is_null("closed_at"));
        let select = select.eq("state", CaseState::CarryingOut).ascending("received_at");
        let rows = self.core.all(select.limit(CARRIED_MAX)).await?;
        rows.iter().map(|row| Ok((row.get("tenant_id")?, row.get("id")?))).collect()
    }

    /// Looks at a case again at a later time, whatever else is known of it.
    #[boxed]
    pub async fn case_postpone(&self, tenant: TenantId, id: CaseId, at: Timestamp) -> Result<()> {
        let update = self.update(TABLE).set("next_at", at).eq("tenant_id", tenant).eq("id", id);
        self.core.update(update.filter(is_set("next_at"))).await.map(drop)
    }

    /// Deletes cases that were closed up to a moment. One whose limit still counts stays: it is
    /// what ends the limit.
    #[boxed]
    pub async fn cases_purge(&self, before: Timestamp) -> Result<u64> {
        let limits = [CaseKind::Restriction, CaseKind::Objection];
        let others = CaseKind::ALL.iter().copied().filter(|kind| !limits.contains(kind));
        let closed =
            || self.delete(TABLE).filter(is_set("closed_at")).filter(at_most("closed_at", before));
        let gone = self.core.delete(closed().filter(one_of("kind", others))).await?;
        let ended = [CaseState::Refused, CaseState::Withdrawn];
        let limits = closed().filter(one_of("kind", limits)).filter(one_of("state", ended));
        Ok(gone + self.core.delete(limits).await?)
    }
}
