//! `Idempotency-Key`: a creating request that is repeated gets the answer of the first time. Kept
//! sealed for a day, per actor and route.

use std::collections::HashSet;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use parking_lot::Mutex;
use veritwin_domain::{ActorKind, OpContext};

use crate::{App, Error, Result};

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 200;
/// How long an answer is kept.
pub(crate) const KEPT: Duration = Duration::from_secs(86_400);

/// Requests that are being answered right now.
#[derive(Debug, Default)]
pub(crate) struct InFlight(Mutex<HashSet<String>>);

/// A request under an idempotency key; while it lives, no other with the same key runs.
#[derive(Debug)]
pub struct Idempotent {
    app: App,
    name: String,
    request_sha256: [u8; 32],
}

impl Drop for Idempotent {
    fn drop(&mut self) {
        self.app.0.in_flight.0.lock().remove(&self.name);
    }
}

impl App {
    /// Begins a request under a key. `route` is method and path; `body` the whole request body.
    pub fn idempotent(
        &self,
        context: &OpContext,
        key: &str,
        route: &str,
        body: &[u8],
    ) -> Result<Idempotent> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            let detail = format!("needs 1 to {KEY_BYTES_MAX} characters");
            return Err(Error::invalid_at("Idempotency-Key", detail));
        }
        let actor = match &context.actor.kind {
            ActorKind::User { user, .. } => user.to_string(),
            ActorKind::ApiKey(key) => key.to_string(),
            _ => "other".to_owned(),
        };
        let digest = veritwin_keys::sha256(format!("{actor}\n{route}\n{key}").as_bytes());
        let name = format!("{}/{}", context.tenant, hex::encode(digest));
        if !self.0.in_flight.0.lock().insert(name.clone()) {
            let detail = "a request with this Idempotency-Key is being carried out";
            return Err(Error::Conflict(detail.to_owned()));
        }
        let request_sha256 = veritwin_keys::sha256(body);
        Ok(Idempotent { app: self.clone(), name, request_sha256 })
    }
}

impl Idempotent {
    /// The answer of the first time, if there was one.
    #[boxed]
    pub async fn answer(&self, context: &OpContext) -> Result<Option<Vec<u8>>> {
        let tx = self.app.0.store.read(context).await?;
        Ok(tx.idempotent_answer(&self.name, &self.request_sha256).await?)
    }

    /// Keeps the answer for repetitions.
    #[boxed]
    pub async fn keep(&self, context: &OpContext, answer: &[u8]) -> Result<()> {
        let tx = self.app.0.store.begin(context).await?;
        tx.idempotent_keep(&self.name, &self.request_sha256, answer).await?;
        Ok(tx.commit().await?)
    }
}
