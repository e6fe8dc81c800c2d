//! The published versions of the policy, and who was told of which: by mail, or by the announcement
//! in the service.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{Timestamp, UserId};

use crate::bind::{Row, opaque_debug, stored_enum};
use crate::query::above;
use crate::seal::Cell;
use crate::{PAGE_ROWS_MAX, PlatformTx, Result};

const VERSIONS: &str = "legal_versions";
const RECEIPTS: &str = "notice_receipts";

stored_enum! {
    /// How somebody was told.
    NoticeKind {
        /// By mail.
        Mail = "mail",
        /// By the announcement in the service.
        Announcement = "announcement",
    }
}

stored_enum! {
    /// What became of a notice.
    NoticeState {
        /// It has not left.
        Queued = "queued",
        /// The mail server took it.
        Delivered = "delivered",
        /// It could not be delivered.
        Failed = "failed",
        /// The person saw it.
        Seen = "seen",
    }
}

/// A published version.
#[derive(Clone, PartialEq, Eq)]
pub struct LegalVersion {
    /// Its number in this installation, from 1.
    pub number: u64,
    /// The version of the texts in the product.
    pub text_version: u64,
    /// Whether it changes something for people.
    pub is_material: bool,
    /// The installation's facts and what changed, as JSON.
    pub body: Vec<u8>,
    /// SHA-256 of its texts.
    pub digest: [u8; 32],
    /// When it was announced.
    pub announced_at: Timestamp,
    /// When it takes effect.
    pub effective_at: Timestamp,
}

opaque_debug!(LegalVersion { number, text_version, is_material, announced_at, effective_at });

/// That somebody was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeReceipt {
    /// Who.
    pub user: UserId,
    /// Of which version.
    pub version: u64,
    /// How.
    pub kind: NoticeKind,
    /// SHA-256 of what they were told.
    pub digest: [u8; 32],
    /// What became of it.
    pub state: NoticeState,
    /// When it was written down.
    pub at: Timestamp,
    /// When it ended in this state.
    pub done_at: Option<Timestamp>,
}

fn receipt(row: &Row) -> Result<NoticeReceipt> {
    Ok(NoticeReceipt {
        user: row.get("user_id")?,
        version: row.get("notice_version")?,
        kind: row.get("kind")?,
        digest: row.get("digest")?,
        state: row.get("state")?,
        at: row.get("at")?,
        done_at: row.maybe("done_at")?,
    })
}

impl PlatformTx {
    /// Every published version, oldest first.
    #[boxed]
    pub async fn legal_versions(&self) -> Result<Vec<LegalVersion>> {
        let rows = self.core.all(self.select(VERSIONS).ascending("number")).await?;
        let load = |row: &Row| {
            let number: u64 = row.get("number")?;
            Ok(LegalVersion {
                number,
                text_version: row.get("text_version")?,
                is_material: row.get("material")?,
                body: self.vault().open(row, "body", &number.to_be_bytes())?,
                digest: row.get("digest")?,
                announced_at: row.get("announced_at")?,
                effective_at: row.get("effective_at")?,
            })
        };
        rows.iter().map(load).collect()
    }

    /// Publishes a version; `Conflict` if its number is taken.
    #[boxed]
    pub async fn legal_version_add(&self, version: &LegalVersion) -> Result<()> {
        let key = version.number.to_be_bytes();
        let cell = Cell { table: VERSIONS, column: "body", row: &key };
        let insert = self
            .insert(VERSIONS)
            .set("number", version.number)
            .set("text_version", version.text_version)
            .set("material", version.is_material)
            .set("body", self.vault().seal(cell, &version.body)?)
            .set("digest", version.digest)
            .set("announced_at", version.announced_at)
            .set("effective_at", version.effective_at);
        self.core.insert(insert).await.map(|_| ())
    }

    /// Writes down that somebody is told; one that is there stays as it is. Whether it is new.
    #[boxed]
    pub async fn notice_add(&self, told: &NoticeReceipt) -> Result<bool> {
        let insert = self
            .insert(RECEIPTS)
            .set("user_id", told.user)
            .set("notice_version", told.version)
            .set("kind", told.kind)
            .set("digest", told.digest)
            .set("state", told.state)
            .set("at", told.at)
            .set("done_at", told.done_at)
            .or_ignore(&["user_id", "notice_version", "kind"]);
        Ok(self.core.insert(insert).await? > 0)
    }

    /// Writes down what became of a notice.
    #[boxed]
    pub async fn notice_done(
        &self,
        (user, version, kind): (UserId, u64, NoticeKind),
        state: NoticeState,
        at: Timestamp,
    ) -> Result<()> {
        let update = self
            .update(RECEIPTS)
            .set("state", state)
            .set("done_at", at)
            .eq("user_id", user)
            .eq("notice_version", version)
            .eq("kind", kind);
        self.core.update(update).await.map(|_| ())
    }

    /// Of what somebody was told.
    #[boxed]
    pub async fn notices_of(&self, user: UserId) -> Result<Vec<NoticeReceipt>> {
        let select = self.select(RECEIPTS).eq("user_id", user).ascending("at");
        self.core.all(select).await?.iter().map(receipt).collect()
    }

    /// How many notices of a version are in which state: queued, delivered, failed, seen.
    #[boxed]
    pub async fn notice_counts(&self, version: u64) -> Result<[u64; 4]> {
        let mut counts = [0; 4];
        for (place, state) in NoticeState::ALL.iter().enumerate() {
            let select = self.select(RECEIPTS).eq("notice_version", version).eq("state", *state);
            let counted = sea_orm::sea_query::Expr::cust("count(*)");
            counts[place] = self.core.one(select.only(counted, "count")).await?.get("count")?;
        }
        Ok(counts)
    }

    /// People behind this one, in the order of their ids: for notices to everybody. Of an account
    /// whose key is lost nothing is known but its id; it holds no other.
    #[boxed]
    pub async fn users_after(
        &self,
        after: Option<UserId>,
    ) -> Result<Vec<(UserId, Option<crate::User>)>> {
        let mut select = self.select("users").ascending("id").limit(u64::from(PAGE_ROWS_MAX));
        if let Some(last) = after {
            select = select.filter(above("id", last));
        }
        let rows = self.core.all(select).await?;
        let load = |row: &Row| {
            let id: UserId = row.get("id")?;
            Ok((id, super::users::load(row, &self.vault_of_subject(id)).ok()))
        };
        rows.iter().map(load).collect()
    }
}
