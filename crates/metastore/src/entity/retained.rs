//! Retained messages of MQTT: one row per topic of a tenant that has one.

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::Expr;
use veritwin_domain::{MessageId, Timestamp};

use crate::bind::{Row, opaque_debug};
use crate::query::at_most;
use crate::seal::Cell;
use crate::{Error, Result, TenantTx};

const TABLE: &str = "retained_messages";

/// A retained message.
#[derive(Clone, PartialEq, Eq)]
pub struct RetainedMessage {
    /// Its id, the same as long as the topic has one.
    pub id: MessageId,
    /// Topic and content, in a form of the caller's.
    pub body: Vec<u8>,
    /// When it is no longer delivered.
    pub expires_at: Option<Timestamp>,
}

opaque_debug!(RetainedMessage { id, expires_at });

impl TenantTx {
    /// All retained messages of the tenant, in the order of their ids. The body of one whose seal
    /// does not open is empty; without the tenant's keys none is given.
    #[boxed]
    pub async fn retained_messages(&self) -> Result<Vec<RetainedMessage>> {
        let vault = self.vault();
        let rows = self.core.all(self.select(TABLE).ascending("id")).await?;
        let load = |row: &Row| -> Result<RetainedMessage> {
            let id: MessageId = row.get("id")?;
            let body = match vault.open(row, "body", id.as_bytes()) {
                Err(Error::Corrupt { .. }) => Vec::new(),
                other => other?,
            };
            Ok(RetainedMessage { id, body, expires_at: row.maybe("expires_at")? })
        };
        rows.iter().map(load).collect()
    }

    /// How many retained messages of the tenant are past their time.
    #[boxed]
    pub async fn retained_expired(&self, now: Timestamp) -> Result<u64> {
        let count = Expr::cust("count(*)");
        let select = self.select(TABLE).filter(at_most("expires_at", now)).only(count, "count");
        self.core.one(select).await?.get("count")
    }

    /// Removes the retained messages of the tenant that are past their time, whatever has become of
    /// their content.
    #[boxed]
    pub async fn retained_delete_expired(&self, now: Timestamp) -> Result<()> {
        let delete = self.delete(TABLE).filter(at_most("expires_at", now));
        self.core.delete(delete).await.map(drop)
    }

    /// Writes a retained message, over the one with its id if there is one.
    #[boxed]
    pub async fn retained_put(&self, message: &RetainedMessage) -> Result<()> {
        let cell = Cell { table: TABLE, column: "body", row: message.id.as_bytes() };
        let insert = self
            .insert(TABLE)
            .set("id", message.id)
            .set("body", self.vault().seal(cell, &message.body)?)
            .set("expires_at", message.expires_at)
            .set("version", 1u64)
            .set("updated_at", self.core.at)
            .or_overwrite(&["tenant_id", "id"], &["body", "expires_at", "updated_at"]);
        self.core.insert(insert).await.map(drop)
    }

    /// Removes a retained message.
    #[boxed]
    pub async fn retained_delete(&self, id: MessageId) -> Result<()> {
        self.delete_id(TABLE, id).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use veritwin_domain::{
        Actor, ActorKind, LogId, ManualClock, Origin, PlatformContext, Purpose, RequestId,
        SeededRng, TenantId,
    };
    use veritwin_keys::{KeyService, PlatformFile};

    use super::*;
    use crate::{CONNECTIONS_DEFAULT, Config, Database, Metastore, Tenant, TenantPlace};

    const AT: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
    const TENANT: TenantId = TenantId::from_bytes([1; 16]);

    /// Flips a bit of what is stored of a message.
    async fn damage(tx: &TenantTx, id: MessageId, byte: impl Fn(&mut Vec<u8>) -> &mut u8) {
        let rows = tx.core.all(tx.select(TABLE)).await.expect("rows");
        let is_it = |row: &&Row| row.get::<MessageId>("id").expect("an id") == id;
        let row = rows.iter().find(is_it).expect("a row");
        let mut body = row.get::<Vec<u8>>("body").expect("a body");
        *byte(&mut body) ^= 1;
        let insert = tx
            .insert(TABLE)
            .set("id", id)
            .set("body", body)
            .set("expires_at", None::<Timestamp>)
            .set("version", 1u64)
            .set("updated_at", AT)
            .or_overwrite(&["tenant_id", "id"], &["body"]);
        tx.core.insert(insert).await.expect("written");
    }

    #[tokio::test]
    async fn one_that_does_not_open_is_empty_and_hides_no_other() {
        let directory = tempfile::tempdir().expect("a directory");
        let (clock, rng) = (Arc::new(ManualClock::new(AT)), Arc::new(SeededRng::new(1)));
        let root = PlatformFile::open_or_create(&directory.path().join("root"), rng.clone());
        let keyring = directory.path().join("keyring");
        let root = Box::new(root.expect("a root key"));
        let keys = KeyService::open(root, &keyring, clock.clone(), rng.clone()).expect("a keyring");
        let config = Config {
            database: Database::Sqlite(directory.path().join("records.db")),
            connections_max: CONNECTIONS_DEFAULT,
            keys: keys.clone(),
            clock: clock.clone(),
        };
        let store = Metastore::open(config).await.expect("a store");
        let context = PlatformContext {
            acts_from: None,
            turn_of: None,
            actor: Actor::without_roles(ActorKind::LocalOperator),
            purpose: Purpose::SecuritySupport,
            request: RequestId::generate(AT, rng.as_ref()),
            origin: Origin::default(),
            at: AT,
            clock: clock.clone(),
        };
        let tenant = Tenant {
            id: TENANT,
            name: "Harbour House".to_owned(),
            log_id: LogId::generate(AT, rng.as_ref()),
            archive_subscribed: true,
            simulated: false,
            place: TenantPlace::default(),
            version: 1,
            created_at: AT,
        };
        keys.create_tenant(TENANT).expect("keys");
        let tx = store.begin_platform(&context).await.expect("a transaction");
        tx.tenant_create(&tenant).await.expect("a tenant");
        tx.commit().await.expect("committed");
        let context = context.in_tenant(TENANT, Actor::without_roles(ActorKind::LocalOperator));
        let tx = store.begin(&context).await.expect("a transaction");
        let id = |number: u8| MessageId::from_bytes([number; 16]);
        for number in 1..=4 {
            let body = b"on".to_vec();
            let message = RetainedMessage { id: id(number), body, expires_at: None };
            tx.retained_put(&message).await.expect("written");
        }
        // The id of its key or the form before it, the content, the end of the seal.
        damage(&tx, id(1), |body| &mut body[2]).await;
        damage(&tx, id(2), |body| body.last_mut().expect("a byte")).await;
        damage(&tx, id(4), |body| {
            let middle = body.len() / 2;
            &mut body[middle]
        })
        .await;
        tx.commit().await.expect("committed");
        let tx = store.read(&context).await.expect("a transaction");
        let found = tx.retained_messages().await.expect("read");
        let bodies: Vec<&[u8]> = found.iter().map(|one| &*one.body).collect();
        assert_eq!(bodies, [&b""[..], b"", b"on", b""]);
        keys.revoke(TENANT).expect("revoked");
        let denied = tx.retained_messages().await.map(|found| found.len());
        assert!(matches!(denied, Err(Error::KeyDenied(_))), "{denied:?}");
    }
}
