//! What is not done any more with somebody's data: a restriction leaves nothing but keeping it
//! (promise P43), an objection takes one purpose away (P45). The gate for readings asks here, and
//! so do alert rules and mails.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use veritwin_access::jobs;
use veritwin_alerting::Rule;
use veritwin_domain::{Declaration, DeviceId, Key, OpContext, Purpose, RuleId, TenantId, UserId};
use veritwin_metastore::{CaseKind, Device, StoredLimit, TenantTx};

use crate::cases::body::Case;
use crate::directory::TenantDevices;
use crate::error::found;
use crate::model::{PageRequest, StreamSubject, SubjectQuery};
use crate::rights::bounded;
use crate::rule_streams::Withheld;
use crate::stream_book::StreamBook;
use crate::streams::subject_of;
use crate::{App, Error, Result};

/// Most streams that name one person by a field and are kept back with them.
const LIMIT_STREAMS_MAX: usize = 10_000;

/// Most limits of a tenant: all of them are in memory while its readings are followed.
const LIMITS_MAX: usize = 2_000;

/// What is stored of a limit.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct LimitBody {
    person: Option<String>,
    streams: Vec<(DeviceId, String)>,
}

/// A limit as the gate for readings knows it.
#[derive(Debug)]
pub(crate) struct StreamLimit {
    person: Option<String>,
    /// Streams that name several people by a field: kept back whole while one of them is.
    streams: HashMap<DeviceId, HashSet<String>>,
    purpose: Option<Purpose>,
}

impl StreamLimit {
    fn stops(&self, purpose: Purpose) -> bool {
        self.purpose.is_none_or(|stopped| stopped == purpose)
    }

    fn covers(&self, book: &StreamBook, device: &Device, key: Option<&str>) -> bool {
        let shared = self.streams.get(&device.id);
        if key.is_some_and(|key| shared.is_some_and(|keys| keys.contains(key))) {
            return true;
        }
        let Some(person) = &self.person else { return false };
        let verdict = book.verdict(device, key);
        if verdict.declaration != Declaration::Personal {
            return false;
        }
        match subject_of(&verdict, book.said(device.id)) {
            Some(StreamSubject::Device { person: Some(named) }) => named.trim() == person,
            _ => false,
        }
    }
}

impl StreamBook {
    /// Whether a stream is of somebody whose data may not be used for a purpose.
    pub(crate) fn is_limited(&self, device: &Device, key: Option<&str>, purpose: Purpose) -> bool {
        let mut stops = self.limits().iter().filter(|limit| limit.stops(purpose));
        stops.any(|limit| limit.covers(self, device, key))
    }
}

/// The limits of a tenant that are about streams.
pub(crate) async fn limits_in(tx: &TenantTx) -> Result<Vec<StreamLimit>> {
    let read = |limit: StoredLimit| {
        let damaged = |_| Error::Internal("a stored limit is damaged".to_owned());
        let body: LimitBody = serde_json::from_slice(&limit.body).map_err(damaged)?;
        // A purpose that this build does not know stops nothing that it does.
        let purpose = match limit.purpose {
            None => None,
            Some(name) => match name.parse::<Purpose>() {
                Ok(purpose) => Some(purpose),
                Err(()) => return Ok(None),
            },
        };
        let mut streams: HashMap<DeviceId, HashSet<String>> = HashMap::new();
        for (device, key) in body.streams {
            streams.entry(device).or_default().insert(key);
        }
        Ok(Some(StreamLimit { person: body.person, streams, purpose }))
    };
    tx.limits().await?.into_iter().filter_map(|limit| read(limit).transpose()).collect()
}

/// Whether it stops mails and messages that are not owed.
fn stops_mail(limit: &StoredLimit) -> bool {
    let purpose = limit.purpose.as_deref();
    purpose.is_none_or(|purpose| purpose == Purpose::ServiceCommunication.as_str())
}

/// Keeps every rule off the streams of people whose data is restricted.
pub(crate) fn withhold_limited(
    withheld: &mut Withheld,
    rules: &BTreeMap<RuleId, Rule>,
    (devices, book): (&TenantDevices, &StreamBook),
) {
    if book.limits().is_empty() {
        return;
    }
    for device in devices.all() {
        for rule in rules.values().filter(|rule| rule.enabled) {
            let covers = rule.scope.covers(device.id, &device.kind, device.twin);
            let key = rule.condition.key().map(|key| &**key);
            if covers && book.is_limited(device, key, Purpose::IngestRouting) {
                let set = withheld.entry(device.id).or_default();
                Arc::make_mut(set).insert(rule.id);
            }
        }
    }
}

impl App {
    /// The same tenant as a job that keeps a legal duty: what is limited is read for nothing else.
    pub(crate) fn by_duty(&self, tenant: TenantId) -> OpContext {
        OpContext { purpose: Purpose::LegalDuty, ..self.job_in(jobs::RETENTION, tenant) }
    }

    /// The streams with readings that name a person.
    pub(crate) async fn streams_naming(
        &self,
        context: &OpContext,
        person: &str,
    ) -> Result<Vec<(DeviceId, Key)>> {
        let duty = self.by_duty(context.tenant);
        let query = SubjectQuery { person: person.to_owned(), from: None, to: None };
        let mut page = PageRequest { cursor: None, limit: None };
        let mut found = Vec::new();
        loop {
            let listed = self.find_streams_about(&duty, &query, &page).await?;
            found.extend(listed.items.into_iter().map(|one| (one.device, one.key)));
            bounded("limit_streams_max", LIMIT_STREAMS_MAX, found.len())?;
            match listed.next_cursor {
                Some(next) => page.cursor = Some(next),
                None => return Ok(found),
            }
        }
    }

    /// Those of them that name several people by a field.
    pub(crate) async fn shared_streams_naming(
        &self,
        context: &OpContext,
        person: &str,
    ) -> Result<Vec<(DeviceId, Key)>> {
        let mut found = self.streams_naming(context, person).await?;
        let duty = self.by_duty(context.tenant);
        let sight = self.sight(&duty).await?;
        let devices = self.tenant_devices(&duty).await?;
        found.retain(|(id, key)| {
            let Some(device) = devices.get(*id) else { return false };
            let verdict = sight.verdict(device, Some(key));
            let subject = subject_of(&verdict, sight.book().said(*id));
            matches!(subject, Some(StreamSubject::Field { .. }))
        });
        Ok(found)
    }

    /// Writes the limit that a case asks for, or what it covers beside.
    pub(crate) async fn add_limit(
        &self,
        tx: &TenantTx,
        case: &Case,
        streams: Vec<(DeviceId, Key)>,
    ) -> Result<()> {
        let limits = tx.limits().await?;
        if !limits.iter().any(|limit| limit.id == case.row.id) {
            bounded("rights_limits_max", LIMITS_MAX, limits.len() + 1)?;
        }
        let streams = streams.into_iter().map(|(device, key)| (device, key.to_string())).collect();
        let body = LimitBody { person: case.body.person.clone(), streams };
        let limit = StoredLimit {
            id: case.row.id,
            user: case.row.user,
            address: case.row.address,
            purpose: (case.row.kind == CaseKind::Objection)
                .then(|| case.body.purpose.clone())
                .flatten(),
            body: serde_json::to_vec(&body).map_err(|error| Error::Internal(error.to_string()))?,
            since: case.row.received_at,
        };
        Ok(tx.limit_add(&limit).await?)
    }

    /// Limits of a tenant changed: what is kept in memory of them goes.
    pub(crate) fn limits_changed(&self, tenant: TenantId) {
        self.0.stream_books.changed(tenant);
        // Open connections, too.
        self.note_devices_changed(tenant, None);
    }

    /// Whether a person of a tenant may be told something that is not owed, or written to: they are
    /// still a member, and restricted nothing.
    pub(crate) async fn may_be_reached(&self, tenant: TenantId, user: UserId) -> Result<bool> {
        let tx = self.0.store.read(&self.by_duty(tenant)).await?;
        if found(tx.member(user).await)?.is_none() {
            return Ok(false);
        }
        #[cfg(feature = "test-controls")]
        if self.0.promises.is_sabotaged(43) {
            return Ok(true);
        }
        let is_meant = |limit: &StoredLimit| stops_mail(limit) && limit.user == Some(user);
        Ok(!tx.limits().await?.iter().any(is_meant))
    }

    /// Whether nothing but what is owed may be written to an address: its person restricted what is
    /// done with their data, or objected to that.
    pub(crate) async fn is_address_restricted(
        &self,
        tenant: TenantId,
        address: &str,
    ) -> Result<bool> {
        #[cfg(feature = "test-controls")]
        if self.0.promises.is_sabotaged(43) {
            return Ok(false);
        }
        let tx = self.0.store.read(&self.by_duty(tenant)).await?;
        let limits = tx.limits().await?;
        if limits.is_empty() {
            return Ok(false);
        }
        let Ok(index) = tx.subject_index(address) else { return Ok(false) };
        drop(tx);
        let mut stopping = limits.iter().filter(|limit| stops_mail(limit));
        if stopping.any(|limit| limit.address == Some(index)) {
            return Ok(true);
        }
        // It may be their address since.
        let held = self.held_by(&self.by_duty(tenant), Some(address)).await?;
        let held = held.map(|held| held.user);
        Ok(held.is_some() && limits.iter().any(|limit| stops_mail(limit) && limit.user == held))
    }
}
