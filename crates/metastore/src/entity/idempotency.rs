//! Answers to creating requests that carried an `Idempotency-Key`: a repetition gets the same
//! answer, another request under the same key is refused.

use async_recursion::async_recursion as boxed;
use veritwin_domain::Timestamp;

use crate::query::at_most;
use crate::seal::Cell;
use crate::{Error, PlatformTx, Result, TenantTx};

const TABLE: &str = "idempotency_keys";

/// Longest key, in bytes; with the actor and the route that the caller puts before it.
const KEY_BYTES_MAX: usize = 512;

impl TenantTx {
    fn idempotency_index(&self, key: &str) -> Result<[u8; 32]> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(Error::Invalid { what: "Idempotency-Key", reason: "is empty or too long" });
        }
        Ok(self.core.sealer.blind_index("idempotency", self.tenant.as_bytes(), key))
    }

    fn request_digest(&self, request: &[u8; 32]) -> [u8; 32] {
        let request = hex::encode(request);
        self.core.sealer.blind_index("idempotent request", self.tenant.as_bytes(), &request)
    }

    /// The answer that was given under this key, if there is one. `key` names actor and route as
    /// well; `request` is the SHA-256 of the body. `Conflict` if the key came with another body.
    #[boxed]
    pub async fn idempotent_answer(
        &self,
        key: &str,
        request: &[u8; 32],
    ) -> Result<Option<Vec<u8>>> {
        let index = self.idempotency_index(key)?;
        let Some(row) = self.core.maybe(self.select(TABLE).eq("key_index", index)).await? else {
            return Ok(None);
        };
        if row.get::<[u8; 32]>("request_digest")? != self.request_digest(request) {
            let reason = "was used with another request";
            return Err(Error::Conflict { what: "Idempotency-Key", reason });
        }
        self.vault().open(&row, "answer", &index).map(Some)
    }

    /// Keeps the answer, in the transaction of what was created; `Conflict` if the same request
    /// ran at the same time and was first.
    #[boxed]
    pub async fn idempotent_keep(
        &self,
        key: &str,
        request: &[u8; 32],
        answer: &[u8],
    ) -> Result<()> {
        let index = self.idempotency_index(key)?;
        let cell = Cell { table: TABLE, column: "answer", row: &index };
        let insert = self
            .insert(TABLE)
            .set("key_index", index)
            .set("request_digest", self.request_digest(request))
            .set("answer", self.vault().seal(cell, answer)?)
            .set("created_at", self.core.at);
        self.core.insert(insert).await.map(|_| ())
    }
}

impl PlatformTx {
    /// Forgets answers up to `before`.
    #[boxed]
    pub async fn idempotency_purge(&self, before: Timestamp) -> Result<u64> {
        self.core.delete(self.delete(TABLE).filter(at_most("created_at", before))).await
    }
}
