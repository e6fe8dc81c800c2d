//! What an account signs in with besides its password: an authenticator, passkeys, recovery codes.
//! Each under the person's own key; passkeys and codes are found by a digest.

use async_recursion::async_recursion as boxed;
use veritwin_domain::{FactorId, Timestamp, UserId};

use crate::bind::{Row, opaque_debug, stored_enum};
use crate::query::below;
use crate::seal::Cell;
use crate::{Error, PlatformTx, Result};

const TABLE: &str = "factors";

stored_enum! {
    /// What kind of factor it is.
    FactorKind {
        /// Codes of an authenticator app.
        Totp = "totp",
        /// An authenticator whose first code was not entered yet.
        TotpPending = "totp_pending",
        /// A passkey.
        Passkey = "passkey",
        /// A recovery code that was not used yet.
        Recovery = "recovery",
    }
}

/// A factor.
#[derive(Clone, PartialEq, Eq)]
pub struct Factor {
    /// Its id.
    pub id: FactorId,
    /// Whose it is.
    pub user: UserId,
    /// What it is.
    pub kind: FactorKind,
    /// The digest under which it is found, of passkeys and recovery codes.
    pub lookup: Option<[u8; 32]>,
    /// The secret, or the key with its name, as the caller writes it.
    pub body: Vec<u8>,
    /// The last step of an authenticator, the signature counter of a passkey.
    pub counter: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
}

opaque_debug!(Factor { id, user, kind, created_at, last_used_at });

impl PlatformTx {
    fn factor(&self, row: &Row) -> Result<Factor> {
        let (id, user): (FactorId, UserId) = (row.get("id")?, row.get("user_id")?);
        Ok(Factor {
            id,
            user,
            kind: row.get("kind")?,
            lookup: row.maybe("lookup")?,
            body: self.vault_of_subject(user).open(row, "body", id.as_bytes())?,
            counter: row.get("counter")?,
            created_at: row.get("created_at")?,
            last_used_at: row.maybe("last_used_at")?,
        })
    }

    /// Adds a factor; `Conflict` if one with its digest exists.
    #[boxed]
    pub async fn factor_add(&self, factor: &Factor) -> Result<()> {
        let cell = Cell { table: TABLE, column: "body", row: factor.id.as_bytes() };
        let insert = self
            .insert(TABLE)
            .set("id", factor.id)
            .set("user_id", factor.user)
            .set("kind", factor.kind)
            .set("lookup", factor.lookup)
            .set("body", self.vault_of_subject(factor.user).seal(cell, &factor.body)?)
            .set("counter", factor.counter)
            .set("created_at", factor.created_at)
            .set("last_used_at", factor.last_used_at);
        self.core.insert(insert).await.map(|_| ())
    }

    /// The factors of an account, oldest first.
    #[boxed]
    pub async fn factors_of(&self, user: UserId) -> Result<Vec<Factor>> {
        let select = self.select(TABLE).eq("user_id", user).ascending("created_at").ascending("id");
        self.core.all(select).await?.iter().map(|row| self.factor(row)).collect()
    }

    /// The factor with this digest, whoever's it is.
    #[boxed]
    pub async fn factor_by_lookup(&self, lookup: [u8; 32]) -> Result<Option<Factor>> {
        let row = self.core.maybe(self.select(TABLE).eq("lookup", lookup)).await?;
        row.map(|row| self.factor(&row)).transpose()
    }

    /// Notes that a factor was used, once per counter: false if `counter` was passed already.
    #[boxed]
    pub async fn factor_advance(&self, id: FactorId, counter: u64, at: Timestamp) -> Result<bool> {
        let update = self
            .update(TABLE)
            .set("counter", counter)
            .set("last_used_at", at)
            .eq("id", id)
            .filter(below("counter", counter));
        Ok(self.core.update(update).await? > 0)
    }

    /// Notes that a factor without a counter was used.
    #[boxed]
    pub async fn factor_used(&self, id: FactorId, at: Timestamp) -> Result<()> {
        let update = self.update(TABLE).set("last_used_at", at).eq("id", id);
        self.core.update(update).await.map(|_| ())
    }

    /// Takes a factor from an account.
    #[boxed]
    pub async fn factor_delete(&self, user: UserId, id: FactorId) -> Result<()> {
        let delete = self.delete(TABLE).eq("user_id", user).eq("id", id);
        if self.core.delete(delete).await? == 0 {
            return Err(Error::NotFound { what: TABLE });
        }
        Ok(())
    }

    /// Takes every factor of a kind from an account.
    #[boxed]
    pub async fn factors_delete(&self, user: UserId, kind: FactorKind) -> Result<u64> {
        self.core.delete(self.delete(TABLE).eq("user_id", user).eq("kind", kind)).await
    }
}
