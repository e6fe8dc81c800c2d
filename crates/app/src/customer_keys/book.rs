//! What the platform keeps of a customer's key: how its service is reached, an import that waits,
//! a change of level on its way. One sealed setting of the platform for each tenant.

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use veritwin_access::jobs;
use veritwin_domain::{Secret, TenantId, Timestamp};
use veritwin_keys::{ProviderKind, ProviderSettings};
use veritwin_metastore::PlatformTx;

use crate::{App, Error, Result};

/// Names the tenants whose change of level is on its way.
const CHANGING: &str = "customer_keys.changing";

/// What is kept of one tenant's key.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeyBook {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) service: Option<StoredService>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) change: Option<StoredChange>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) import: Option<StoredImport>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reseal: Option<StoredReseal>,
}

/// How a service that holds a key is reached.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredService {
    kind: String,
    pub(super) address: String,
    pub(super) key: String,
    pub(super) place: Option<String>,
    user: Option<String>,
    credential: Option<String>,
    trust: Option<String>,
    pub(super) ttl_s: u64,
    /// What the service said of the key when it was connected.
    pub(super) protection: String,
}

/// A change of whose key stands above.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredChange {
    pub(super) level: String,
    pub(super) since_micros: i64,
    /// The version of the tenant's key from which on the change is done.
    pub(super) version: u32,
    /// The service that the key will be held at.
    pub(super) service: Option<StoredService>,
    /// What it waits for, as people are told it. What older versions noted as `problem` may quote
    /// what broke inside: it is not read.
    #[serde(default, rename = "told", skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<String>,
}

/// Readings that are sealed anew under new data keys.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredReseal {
    /// Names the act in the keyring, in hexadecimal digits.
    pub(super) act: String,
    /// Keys that were made before it are old.
    pub(super) since_micros: i64,
    /// Old keys when it began, as far as is known.
    pub(super) total: u64,
    pub(super) left: u64,
    /// What it waits for, as people are told it. What older versions noted as `problem` may quote
    /// what broke inside: it is not read.
    #[serde(default, rename = "told", skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<String>,
}

/// An import that waits for the wrapped key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredImport {
    pub(super) id: String,
    /// The private key, sealed once more under a key of its own kind, in hexadecimal digits.
    pub(super) sealed: String,
    pub(super) ends_micros: i64,
}

impl StoredService {
    pub(super) fn new(settings: ProviderSettings, ttl_s: u64, protection: &str) -> Self {
        Self {
            kind: settings.kind.as_str().to_owned(),
            address: settings.address,
            key: settings.key,
            place: settings.place,
            user: settings.user,
            credential: settings.credential.map(Secret::into_exposed),
            trust: settings.trust,
            ttl_s,
            protection: protection.to_owned(),
        }
    }

    pub(super) fn kind(&self) -> Result<ProviderKind> {
        ProviderKind::from_name(&self.kind).ok_or_else(damaged)
    }

    pub(super) fn settings(&self) -> Result<ProviderSettings> {
        Ok(ProviderSettings {
            kind: self.kind()?,
            address: self.address.clone(),
            key: self.key.clone(),
            place: self.place.clone(),
            user: self.user.clone(),
            credential: self.credential.clone().map(Secret::new),
            trust: self.trust.clone(),
        })
    }

    /// What an activity record says of it.
    pub(super) fn recorded(&self) -> serde_json::Value {
        serde_json::json!({
            "kind": self.kind,
            "address": self.address,
            "key": self.key,
            "place": self.place,
            "ttl_s": self.ttl_s,
        })
    }
}

impl KeyBook {
    /// The service that wrapped this version of the tenant's key: until it is noted as the
    /// tenant's, that of a change.
    pub(super) fn service_of(&self, version: u32) -> Option<&StoredService> {
        let changed = self.change.as_ref().filter(|change| change.version <= version);
        changed.and_then(|change| change.service.as_ref()).or(self.service.as_ref())
    }

    /// Ends a change of a tenant whose key has this version: the service that wrapped it stays.
    pub(super) fn settle(&mut self, version: u32, is_held: bool) {
        let wrapped_by = self.service_of(version).filter(|_| is_held).cloned();
        self.service = wrapped_by;
        self.change = None;
    }
}

impl StoredChange {
    pub(super) const fn since(&self) -> Timestamp {
        Timestamp::from_micros(self.since_micros)
    }
}

impl StoredReseal {
    pub(super) const fn since(&self) -> Timestamp {
        Timestamp::from_micros(self.since_micros)
    }
}

impl StoredImport {
    pub(super) const fn ends_at(&self) -> Timestamp {
        Timestamp::from_micros(self.ends_micros)
    }
}

fn damaged() -> Error {
    Error::Internal("what is stored of a customer's key is not in its form".to_owned())
}

fn name(tenant: TenantId) -> String {
    format!("customer_key.{tenant}")
}

/// A book as it was read; the version it has to have when it is written.
pub(super) struct Opened {
    pub(super) book: KeyBook,
    version: u64,
}

pub(super) async fn read_book(tx: &PlatformTx, tenant: TenantId) -> Result<Opened> {
    let Some(stored) = tx.setting(&name(tenant)).await? else {
        return Ok(Opened { book: KeyBook::default(), version: 0 });
    };
    let book = serde_json::from_slice(&stored.body).map_err(|_| damaged())?;
    Ok(Opened { book, version: stored.version })
}

pub(super) async fn write_book(tx: &PlatformTx, tenant: TenantId, opened: &Opened) -> Result<()> {
    let body = serde_json::to_vec(&opened.book).map_err(|_| damaged())?;
    tx.setting_put(&name(tenant), &body, Some(opened.version)).await?;
    let (mut changing, version) = read_changing(tx).await?;
    let is_known = changing.contains(&tenant);
    let is_changing = opened.book.change.is_some() || opened.book.reseal.is_some();
    if is_known == is_changing {
        return Ok(());
    }
    changing.retain(|one| *one != tenant);
    if is_changing {
        changing.push(tenant);
    }
    let body = serde_json::to_vec(&changing).map_err(|_| damaged())?;
    Ok(tx.setting_put(CHANGING, &body, Some(version)).await?)
}

/// The tenants, and the version that the list has.
async fn read_changing(tx: &PlatformTx) -> Result<(Vec<TenantId>, u64)> {
    let Some(stored) = tx.setting(CHANGING).await? else { return Ok((Vec::new(), 0)) };
    let tenants = serde_json::from_slice(&stored.body).map_err(|_| damaged())?;
    Ok((tenants, stored.version))
}

impl App {
    /// What is kept of a tenant's key.
    pub(super) async fn key_book(&self, tenant: TenantId) -> Result<KeyBook> {
        let tx = self.0.store.read_platform(&self.job(jobs::SECURITY)).await?;
        Ok(read_book(&tx, tenant).await?.book)
    }

    /// Changes what is kept of a tenant's key.
    pub(super) async fn change_key_book(
        &self,
        tenant: TenantId,
        change: impl FnOnce(&mut KeyBook) + Send,
    ) -> Result<()> {
        // What was read is what is written over: two at once would lose one.
        let _alone = self.0.key_board.books.lock().await;
        let tx = self.0.store.begin_platform(&self.job(jobs::SECURITY)).await?;
        let mut opened = read_book(&tx, tenant).await?;
        change(&mut opened.book);
        write_book(&tx, tenant, &opened).await?;
        Ok(tx.commit().await?)
    }

    /// Drops what is kept of the key of a tenant whose keys are destroyed: with what its service
    /// was asked is nobody's to have any more.
    #[boxed]
    pub(crate) async fn forget_key_book(&self, tenant: TenantId) -> Result<()> {
        self.0.key_board.forget_all(tenant);
        if self.key_book(tenant).await? == KeyBook::default() {
            return Ok(());
        }
        self.change_key_book(tenant, |book| *book = KeyBook::default()).await
    }

    /// Tenants whose change of level is on its way.
    pub(super) async fn keys_changing(&self) -> Result<Vec<TenantId>> {
        let tx = self.0.store.read_platform(&self.job(jobs::SECURITY)).await?;
        Ok(read_changing(&tx).await?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(address: &str) -> StoredService {
        let settings = ProviderSettings {
            kind: ProviderKind::Xks,
            address: address.to_owned(),
            key: "k".to_owned(),
            place: None,
            user: None,
            credential: None,
            trust: None,
        };
        StoredService::new(settings, 60, "unstated")
    }

    /// A key of version 5 at one service, on its way to another as version 6.
    fn on_its_way() -> KeyBook {
        let change = StoredChange {
            level: "held".to_owned(),
            since_micros: 0,
            version: 6,
            service: Some(service("https://new")),
            problem: None,
        };
        KeyBook {
            service: Some(service("https://old")),
            change: Some(change),
            ..KeyBook::default()
        }
    }

    #[test]
    fn what_an_older_version_noted_of_a_problem_is_not_read() {
        let older = serde_json::json!({
            "change": {
                "level": "held", "since_micros": 0, "version": 6, "service": null,
                "problem": "internal error: keys: /srv/keys/journal: short write",
            },
            "reseal": {
                "act": "00", "since_micros": 0, "total": 9, "left": 4,
                "problem": "internal error: telemetry: object segments/7",
            },
        });
        let mut book: KeyBook = serde_json::from_value(older).expect("an older book is read");
        let problems = |book: &KeyBook| {
            let change = book.change.as_ref().and_then(|change| change.problem.clone());
            (change, book.reseal.as_ref().and_then(|reseal| reseal.problem.clone()))
        };
        assert_eq!(problems(&book), (None, None));
        let told = Some("the key of this data is revoked".to_owned());
        if let Some(change) = &mut book.change {
            change.problem.clone_from(&told);
        }
        let stored = serde_json::to_string(&book).expect("written");
        assert!(!stored.contains("/srv") && !stored.contains("segments/7"), "{stored}");
        let again: KeyBook = serde_json::from_str(&stored).expect("read again");
        assert_eq!(problems(&again), (told, None));
    }

    #[test]
    fn a_change_that_ends_leaves_the_service_that_wrapped_the_key() {
        for (version, is_held, expect) in
            [(5, true, Some("https://old")), (6, true, Some("https://new")), (6, false, None)]
        {
            let mut book = on_its_way();
            book.settle(version, is_held);
            assert!(book.change.is_none());
            let left = book.service.as_ref().map(|service| service.address.as_str());
            assert_eq!(left, expect, "{version} {is_held}");
        }
    }
}
